/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Meshes in which not all speak the same versions of the protocol, and upgrades node by node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/member.h"
#include "gossip/version.h"
#include "tests/sim/sim_cluster.h"

#define NODES 12

static struct version_range speaks[NODES];

static void set_versions(const struct sim_node *n, struct gossip_config *cfg, void *arg)
{
	(void)arg;
	cfg->version = speaks[n->idx];
}

static struct sim *new_mesh(uint64_t seed)
{
	return sim_new(&(struct sim_config){.nodes = NODES,
					    .seed = sim_seed(seed),
					    .loss_pct = 1,
					    .dup_pct = 1,
					    .jitter_pct = 10,
					    .check_every = 97,
					    .config_cb = set_versions});
}

static bool all_speak(struct sim *s, void *arg)
{
	for (size_t i = 0; i < NODES; i++)
		if (s->node[i].core && version_spoken(s->node[i].core) != *(uint8_t *)arg)
			return false;
	return sim_is_converged(s, NULL);
}

static void speak(struct sim *s, uint8_t version, const char *what)
{
	int64_t ms = sim_run_until(s, all_speak, &version, 30000);

	printf("# %s: all speak %u and agree after %lld ms\n", what, version, (long long)ms);
	assert_true(ms >= 0);
}

static uint64_t mismatches(const struct sim *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < NODES; i++) {
		struct gossip_counters n = {0};

		if (s->node[i].core)
			gossip_core_counters(s->node[i].core, &n);
		sum += n.version_mismatches;
	}
	return sum;
}

static void restart(struct sim *s, size_t i, uint8_t lo, uint8_t hi)
{
	speaks[i] = (struct version_range){lo, hi};
	sim_crash(s, i);
	sim_run(s, 300);
	sim_start(s, i);
	sim_run(s, 700);
}

static void test_upgrade_when_node_by_node_then_all_talk_all_the_time(void **state)
{
	struct sim *s = new_mesh(1);

	(void)state;
	for (size_t i = 0; i < NODES; i++)
		speaks[i] = (struct version_range){1, i % 2 ? 2 : 1};
	sim_start_all(s, 500);
	speak(s, 1, "half of them new");
	for (size_t i = 0; i < NODES; i += 2)
		restart(s, i, 1, 2);
	speak(s, 2, "all of them new");
	for (size_t i = 0; i < NODES; i++)
		restart(s, i, 2, 3);
	speak(s, 3, "and the next ones");
	assert_int_equal(mismatches(s), 0);
	/* One goes back: others learn it by its card. */
	for (size_t i = 0; i < NODES; i++)
		restart(s, i, 1, 3);
	restart(s, 5, 1, 1);
	speak(s, 1, "one goes back");
	sim_free(s);
}

static size_t known_at(const struct sim *s, size_t who)
{
	size_t n = 0;

	for (size_t i = 0; i < NODES; i++)
		n += i != who && s->node[i].core &&
		     member_get(s->node[i].core, &s->node[who].id) != NULL;
	return n;
}

static bool is_well_but(struct sim *s, size_t who)
{
	for (size_t i = 0; i < NODES; i++)
		for (size_t k = 0; i != who && k < NODES; k++) {
			struct gossip_member m;

			if (k != who &&
			    (!gossip_core_member_get(s->node[i].core, &s->node[k].id, &m) ||
			     m.state != GOSSIP_ALIVE))
				return false;
		}
	return true;
}

static size_t named_by(const struct sim *s, size_t who, uint32_t lo)
{
	struct gossip_mismatch x[GOSSIP_MISMATCHES_MAX];
	size_t n = 0;

	for (size_t i = 0; i < NODES; i++) {
		size_t count = i == who ? 0 : gossip_core_mismatches(s->node[i].core, x);

		for (size_t k = 0; k < count; k++)
			n += !node_id_cmp(&x[k].id, &s->node[who].id) && x[k].version_lo == lo;
	}
	return n;
}

/* One that only half of them could hear is let in by none, until the last old one is upgraded. */
static void test_join_when_not_all_could_talk_with_it_then_by_none_and_it_is_named(void **state)
{
	size_t late = NODES - 1;
	struct sim *s = new_mesh(2);
	uint8_t two = 2;

	(void)state;
	for (size_t i = 0; i < NODES; i++)
		speaks[i] = (struct version_range){1, i == 3 ? 1 : 2};
	speaks[late] = (struct version_range){2, 2};
	for (size_t i = 0; i < late; i++)
		sim_start(s, i);
	sim_run(s, 5000);
	sim_start(s, late);
	sim_run(s, 20000);
	assert_int_equal(known_at(s, late), 0);
	assert_true(named_by(s, late, 2) > 0);
	assert_true(is_well_but(s, late));
	restart(s, 3, 1, 2);
	assert_true(sim_run_until(s, all_speak, &two, 60000) >= 0);
	assert_int_equal(known_at(s, late), NODES - 1);
	sim_free(s);
}

static void test_join_when_nobody_speaks_its_version_then_it_harms_nobody(void **state)
{
	size_t late = NODES - 1;
	struct sim *s = new_mesh(3);

	(void)state;
	for (size_t i = 0; i < NODES; i++)
		speaks[i] = (struct version_range){1, 2};
	speaks[late] = (struct version_range){5, 6};
	sim_start_all(s, 500);
	sim_run(s, 30000);
	assert_int_equal(known_at(s, late), 0);
	assert_true(named_by(s, late, 5) > 0);
	assert_true(is_well_but(s, late));
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_upgrade_when_node_by_node_then_all_talk_all_the_time),
		cmocka_unit_test(
			test_join_when_not_all_could_talk_with_it_then_by_none_and_it_is_named),
		cmocka_unit_test(test_join_when_nobody_speaks_its_version_then_it_harms_nobody),
	};

	return cmocka_run_group_tests_name("versions", tests, NULL, NULL);
}
