/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Regions that know summaries of each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"
#include "tests/sim/sim_cluster.h"

#define REGIONS 5
#define PER_REGION 7
#define NODES (REGIONS * PER_REGION)

static struct sim *start(uint64_t seed, unsigned int loss_pct)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = NODES,
						     .seed = sim_seed(seed),
						     .has_regions = true,
						     .regions = REGIONS,
						     .loss_pct = loss_pct,
						     .dup_pct = 1,
						     .jitter_pct = 10,
						     .check_every = 997});

	sim_start_all(s, 500);
	for (size_t i = 0; i < NODES; i++)
		assert_int_equal(sim_put(s, i, SIM_KIND, "load", i, false), 0);
	return s;
}

static void explain(struct sim *s)
{
	for (size_t i = 0; i < s->cfg.nodes; i++) {
		const struct gossip_core *c = s->node[i].core;

		if (!c || !c->regions)
			continue;
		printf("# n%zu region %zu rank %d alive %zu ring %zu:", i, s->node[i].region,
		       c->regions->rank, c->state_count[GOSSIP_ALIVE], c->ring_count);
		for (size_t k = 0; k < gossip_core_region_count(c); k++) {
			struct gossip_region g;

			gossip_core_region_at(c, k, &g);
			printf(" [%s %s %zu B %02x%02x, %zu senders, live %zu down %zu%s]", g.name,
			       g.is_dead ? "dead" : "lives", g.len, g.version.hash[0],
			       g.version.hash[1], g.sender_count, g.live_count, g.down_count,
			       g.is_behind ? " behind" : "");
		}
		puts("");
	}
}

static void become_one(struct sim *s, uint64_t limit_ms, const char *what)
{
	int64_t ms = sim_run_until(s, sim_regions_are_one, NULL, limit_ms);

	if (ms < 0)
		explain(s);
	printf("# %s: one view after %lld ms\n", what, (long long)ms);
	assert_true(ms >= 0);
}

static void test_start_then_all_have_all_summaries_and_no_others_members(void **state)
{
	struct sim *s = start(1, 1);

	(void)state;
	become_one(s, 30000, "start");
	sim_free(s);
}

/* The lowest of a region that is up, but for the first `skip`. */
static size_t lowest(const struct sim *s, size_t region, size_t skip)
{
	bool taken[NODES] = {false};
	size_t best = SIZE_MAX;

	for (size_t k = 0; k <= skip; k++) {
		best = SIZE_MAX;
		for (size_t i = 0; i < s->cfg.nodes; i++)
			if (s->node[i].region == region && s->node[i].life == SIM_UP && !taken[i] &&
			    (best == SIZE_MAX ||
			     node_id_cmp(&s->node[i].id, &s->node[best].id) < 0))
				best = i;
		if (best != SIZE_MAX)
			taken[best] = true;
	}
	return best;
}

static bool is_service(struct sim *s, void *arg)
{
	for (size_t i = 0; i < NODES; i++)
		if (sim_get(s, i, 0, SIM_KIND_SHARED, "service") != *(const int64_t *)arg)
			return false;
	return true;
}

static void test_put_when_in_one_region_then_visible_in_all_others(void **state)
{
	struct sim *s = start(2, 20);
	int64_t want, ms;

	(void)state;
	become_one(s, 60000, "start with 20 % loss");
	for (size_t k = 0; k < 5; k++) {
		assert_int_equal(sim_put(s, 3 + 6 * k, SIM_KIND, "load", 1000 + k, k % 2), 0);
		become_one(s, 20000, k % 2 ? "an urgent change" : "a change");
	}
	want = 5;
	assert_int_equal(sim_put(s, 8, SIM_KIND_SHARED, "service", 5, true), 0);
	ms = sim_run_until(s, is_service, &want, 20000);
	printf("# a shared record is everywhere after %lld ms\n", (long long)ms);
	assert_true(ms >= 0);
	become_one(s, 20000, "a shared record");
	want = -1;
	assert_int_equal(sim_del(s, 13, SIM_KIND_SHARED, "service", false), 0);
	assert_true(sim_run_until(s, is_service, &want, 20000) >= 0);
	become_one(s, 20000, "a shared record deleted");
	sim_free(s);
}

static void test_summary_when_of_many_parts_then_it_comes_whole(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = 12,
						     .seed = sim_seed(3),
						     .has_regions = true,
						     .regions = 3,
						     .summary_bytes = 200000});

	(void)state;
	sim_start_all(s, 500);
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(sim_put(s, i, SIM_KIND, "load", i, false), 0);
	become_one(s, 30000, "start, 200 kB each");
	sim_free(s);
}

/* Each region knows one other at first, and what it hears of must be reached through tunnels that open first. */
static void test_start_when_all_tunnels_are_cold_then_regions_hear_of_each_other_ahead(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = 100,
						     .seed = sim_seed(12),
						     .has_regions = true,
						     .regions = 20,
						     .has_region_seeds = true,
						     .jitter_pct = 10,
						     .loss_pct = 1,
						     .cold_after_ms = 180000,
						     .check_every = 997});

	(void)state;
	sim_start_all(s, 2000);
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(sim_put(s, i, SIM_KIND, "load", i, false), 0);
	become_one(s, 28000, "20 regions on cold tunnels");
	sim_free(s);
}

struct down {
	size_t region, of;
};

/* All others of the region that are up say that this one is down there. */
static bool is_down_everywhere(struct sim *s, void *arg)
{
	const struct down *d = arg;
	struct gossip_region g;

	for (size_t i = 0; i < s->cfg.nodes; i++) {
		bool is_there = false;

		if (s->node[i].life != SIM_UP || s->node[i].region == d->region)
			continue;
		if (!sim_region_at(s, i, d->region, &g))
			return false;
		for (size_t k = 0; k < g.down_count; k++)
			is_there |= memcmp(g.down[k], s->node[d->of].id.b, 4) == 0;
		if (!is_there)
			return false;
	}
	return true;
}

static void kill_one_and_two_who_speak(uint64_t seed)
{
	struct sim *s = start(seed, 5);
	struct down d = {.region = 2};
	int64_t ms;

	become_one(s, 30000, "start");
	sim_run(s, 3000);
	d.of = lowest(s, 2, 5);
	sim_off(s, d.of);
	ms = sim_run_until(s, is_down_everywhere, &d, 10000);
	printf("# a node of another region is known to be down after %lld ms\n", (long long)ms);
	if (ms < 0)
		explain(s);
	assert_in_range(ms, 0, 6000);
	/* Whoever speaks for it dies: the next one says the same, and more. */
	for (size_t k = 0; k < 2; k++) {
		d.of = lowest(s, 2, 0);
		sim_off(s, d.of);
		ms = sim_run_until(s, is_down_everywhere, &d, 20000);
		printf("# who speaks for its region is known to be down after %lld ms\n",
		       (long long)ms);
		/* The others of its region say so before it was silent for long. */
		assert_in_range(ms, 0, 2500);
	}
	/* Both who send are gone; a change still gets out. */
	assert_int_equal(sim_put(s, lowest(s, 2, 1), SIM_KIND, "load", 77, false), 0);
	become_one(s, 20000, "a change in a region without its two lowest");
	sim_free(s);
}

static void test_node_when_it_dies_then_other_regions_know_that_it_is_down(void **state)
{
	(void)state;
	/* With some of them a node misses the one packet that says who speaks now. */
	for (uint64_t seed = 1; seed <= 12; seed++)
		kill_one_and_two_who_speak(seed);
}

struct fate {
	size_t region;
	bool is_dead;
};

static bool is_region_seen(struct sim *s, void *arg)
{
	const struct fate *f = arg;
	struct gossip_region g;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (s->node[i].life == SIM_UP && s->node[i].region != f->region &&
		    (!sim_region_at(s, i, f->region, &g) || g.is_dead != f->is_dead))
			return false;
	return true;
}

static void test_region_when_it_is_cut_off_then_dead_and_back(void **state)
{
	struct sim *s = start(5, 2);
	struct fate f = {.region = 3, .is_dead = true};
	int64_t ms;

	(void)state;
	become_one(s, 30000, "start");
	sim_run(s, 3000);
	for (size_t i = 0; i < NODES; i++)
		sim_partition(s, i, s->node[i].region == 3);
	ms = sim_run_until(s, is_region_seen, &f, 20000);
	printf("# a region that was cut off is dead everywhere after %lld ms\n", (long long)ms);
	if (ms < 0)
		explain(s);
	assert_in_range(ms, 0, 8000);
	assert_int_equal(sim_put(s, lowest(s, 3, 4), SIM_KIND, "load", 99, false), 0);
	assert_int_equal(sim_put(s, lowest(s, 1, 4), SIM_KIND, "load", 98, false), 0);
	sim_run(s, 60000);
	sim_heal(s);
	f.is_dead = false;
	ms = sim_run_until(s, is_region_seen, &f, 20000);
	printf("# and lives again after %lld ms\n", (long long)ms);
	assert_in_range(ms, 0, 10000);
	become_one(s, 30000, "after the cut");
	sim_free(s);
}

static void test_region_when_all_three_lowest_fall_silent_then_the_others_are_found(void **state)
{
	struct sim *s = start(6, 2);
	struct fate f = {.region = 4, .is_dead = false};

	(void)state;
	become_one(s, 30000, "start");
	sim_run(s, 3000);
	for (size_t k = 0; k < 3; k++)
		sim_off(s, lowest(s, 4, 0));
	sim_run(s, 20000);
	assert_true(is_region_seen(s, &f));
	become_one(s, 30000, "the three lowest of one region gone");
	/* The same in all regions at once, but for the seeds. */
	for (size_t r = 0; r < REGIONS; r++)
		for (size_t k = 0; k < 3 - (r == 4); k++) {
			size_t i = lowest(s, r, 0);

			sim_off(s, i < 2 ? lowest(s, r, 1) : i);
		}
	sim_run(s, 20000);
	become_one(s, 60000, "the lowest of all regions gone");
	assert_int_equal(sim_put(s, lowest(s, 4, 0), SIM_KIND, "load", 55, false), 0);
	become_one(s, 30000, "and a change");
	sim_free(s);
}

static bool are_speakers_known(struct sim *s, void *arg)
{
	struct gossip_region g;

	(void)arg;
	for (size_t i = 0; i < NODES; i++)
		if (s->node[i].region == 0 &&
		    (!sim_region_at(s, i, 1, &g) || g.live_count != PER_REGION))
			return false;
	return true;
}

/* As if it had come to know, and heard, no others of region 1 than the four highest, who don't speak. */
static void know_the_highest_alone(struct sim *s, size_t i)
{
	const struct gossip_core *of = s->node[lowest(s, 1, 0)].core;
	struct gossip_core *c = s->node[i].core;
	struct region *r = region_find(c, of->cfg.region);

	assert_non_null(r);
	for (size_t k = 0; k < REGION_SLOTS; k++) {
		rblob_unref(r->slot[k].state);
		free(r->slot[k].m);
		memset(&r->slot[k], 0, sizeof(r->slot[k]));
	}
	memset(&r->counts, 0, sizeof(r->counts));
	memset(r->wanted, 0, sizeof(r->wanted));
	for (size_t k = 0; k < REGION_SLOTS; k++)
		region_offer_card(c, &of->ring[of->ring_count - 1 - k]->card);
	for (size_t k = 0; k < REGION_SLOTS; k++) {
		assert_non_null(r->slot[k].m);
		r->slot[k].m->heard_ms = c->now_ms;
	}
}

static void
test_region_when_only_those_are_known_who_do_not_speak_then_the_speakers_are_found(void **state)
{
	struct sim *s = start(11, 0);
	int64_t ms;

	(void)state;
	become_one(s, 30000, "start");
	sim_run(s, 3000);
	/* Until none of them says any more that it hears one who speaks. */
	for (size_t k = 0; k < 40; k++) {
		for (size_t i = 0; i < NODES; i++)
			if (s->node[i].region == 0)
				know_the_highest_alone(s, i);
		sim_run(s, 50);
	}
	ms = sim_run_until(s, are_speakers_known, NULL, 20000);
	if (ms < 0)
		explain(s);
	printf("# those who speak were found after %lld ms\n", (long long)ms);
	assert_in_range(ms, 0, 10000);
	sim_free(s);
}

static void hex_of(const struct node_id *id, char key[2 * NODE_ID_BYTES + 1])
{
	for (size_t i = 0; i < NODE_ID_BYTES; i++)
		snprintf(key + 2 * i, 3, "%02x", id->b[i]);
}

static void test_removal_then_the_version_goes_up_though_the_sums_fall(void **state)
{
	struct sim *s = start(7, 2);
	char key[2 * NODE_ID_BYTES + 1];
	struct gossip_region before, after;
	size_t gone;

	(void)state;
	become_one(s, 30000, "start");
	sim_run(s, 3000);
	assert_true(sim_region_at(s, 0, 2, &before));
	gone = lowest(s, 2, 4);
	hex_of(&s->node[gone].id, key);
	sim_off(s, gone);
	/* By a node of another region. */
	assert_int_equal(sim_put(s, 1, RECORD_KIND_REMOVAL, key, 1, true), 0);
	become_one(s, 30000, "a removal");
	assert_true(sim_region_at(s, 0, 2, &after));
	assert_true(after.version.lives < before.version.lives);
	assert_true(gossip_version_cmp(&after.version, &before.version) > 0);
	assert_memory_not_equal(after.version.hash, before.version.hash, 8);
	before = after;
	assert_int_equal(sim_del(s, 3, RECORD_KIND_REMOVAL, key, true), 0);
	sim_run(s, 3000);
	sim_start(s, gone);
	become_one(s, 30000, "the removal lifted, and the node back");
	assert_true(sim_region_at(s, 0, 2, &after));
	assert_true(gossip_version_cmp(&after.version, &before.version) > 0);
	sim_free(s);
}

static void test_restart_when_with_or_without_disk_then_all_comes_back(void **state)
{
	struct sim *s = start(8, 2);

	(void)state;
	become_one(s, 30000, "start");
	for (size_t k = 0; k < 4; k++) {
		size_t i = k % 2 ? lowest(s, 1, 0) : lowest(s, 1, 5);
		uint64_t away_ms = k < 2 ? 500 : 15000;

		sim_off(s, i);
		if (k == 1 || k == 2)
			sim_wipe(s, i);
		sim_run(s, away_ms);
		sim_start(s, i);
		assert_int_equal(sim_put(s, i, SIM_KIND, "load", 500 + k, false), 0);
		become_one(s, 30000, k == 1 || k == 2 ? "back without disk" : "back with disk");
	}
	/* A whole region at once. */
	for (size_t i = 0; i < NODES; i++)
		if (s->node[i].region == 2)
			sim_off(s, i);
	sim_run(s, 10000);
	for (size_t i = 0; i < NODES; i++)
		if (s->node[i].region == 2)
			sim_start(s, i);
	become_one(s, 30000, "a whole region back");
	/* All of them, and where they were all is dark. */
	for (size_t i = 0; i < NODES; i++)
		sim_off(s, i);
	sim_run(s, 5000);
	for (size_t i = 0; i < NODES; i++)
		sim_start(s, i);
	become_one(s, 60000, "all back");
	sim_free(s);
}

static void test_mode_when_turned_on_then_what_is_of_others_is_dropped(void **state)
{
	struct sim *s = start(9, 1);

	(void)state;
	sim_free(s);
	s = sim_new(&(struct sim_config){
		.nodes = NODES, .seed = sim_seed(9), .has_regions = true, .loss_pct = 1});
	for (size_t i = 0; i < NODES; i++)
		s->node[i].region = i % REGIONS;
	s->cfg.config_cb = NULL;
	sim_start_all(s, 500);
	for (size_t i = 0; i < NODES; i++)
		assert_int_equal(sim_put(s, i, SIM_KIND, "load", i, false), 0);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 3000);
	s->cfg.regions = REGIONS;
	for (size_t i = 0; i < NODES; i++)
		sim_off(s, i);
	for (size_t i = 0; i < NODES; i++)
		sim_start(s, i);
	become_one(s, 60000, "the mode turned on");
	for (size_t i = 0; i < NODES; i++)
		for (size_t k = 0; k < NODES; k++)
			if (s->node[i].region != s->node[k].region) {
				assert_null(table_origin(s->node[i].core, &s->node[k].id));
				assert_false(sim_sees(s, i, k));
			}
	for (size_t i = 0; i < NODES; i++)
		for (const struct sim_stored *e = s->node[i].records; e; e = e->next)
			if (record_scope_of(e->r.kind) == RECORD_OWN)
				assert_non_null(table_origin(s->node[i].core, &e->r.writer));
	sim_free(s);
}

static void one_is_flat(const struct sim_node *n, struct gossip_config *cfg, void *arg)
{
	cfg->has_regions = cfg->has_regions && n->idx != *(const size_t *)arg;
}

static void test_mode_when_one_has_another_then_both_say_so_and_the_rest_is_well(void **state)
{
	struct gossip_mismatch x[GOSSIP_MISMATCHES_MAX];
	struct gossip_counters n;
	size_t flat = 12, said = 0, count;
	struct sim *s = sim_new(&(struct sim_config){.nodes = NODES,
						     .seed = sim_seed(10),
						     .has_regions = true,
						     .regions = REGIONS,
						     .loss_pct = 1,
						     .config_cb = one_is_flat,
						     .config_arg = &flat});

	(void)state;
	s->cfg.config_cb = one_is_flat;
	for (size_t i = 0; i < NODES; i++)
		sim_start(s, i);
	for (size_t i = 0; i < NODES; i++)
		assert_int_equal(i == flat ? 0 : sim_put(s, i, SIM_KIND, "load", i, false), 0);
	sim_run(s, 20000);
	assert_true(gossip_core_mismatches(s->node[flat].core, x) > 0);
	for (size_t i = 0; i < NODES; i++) {
		count = gossip_core_mismatches(s->node[i].core, x);
		if (i == flat)
			continue;
		gossip_core_counters(s->node[i].core, &n);
		assert_in_range(count, 0, 1);
		if (count > 0) {
			assert_memory_equal(&x[0].id, &s->node[flat].id, sizeof(x[0].id));
			assert_true(n.mode_mismatches > 0);
			said++;
		}
		for (size_t k = 0; k < NODES; k++)
			if (s->node[i].region != s->node[k].region)
				assert_null(table_origin(s->node[i].core, &s->node[k].id));
	}
	printf("# %zu of %d say that one has the other mode\n", said, NODES - 1);
	assert_true(said >= 1);
	/* It takes the others' mode: now all agree. */
	flat = SIZE_MAX;
	sim_off(s, 12);
	sim_start(s, 12);
	assert_int_equal(sim_put(s, 12, SIM_KIND, "load", 12, false), 0);
	become_one(s, 60000, "all have one mode");
	sim_run(s, 31000);
	for (size_t i = 0; i < NODES; i++)
		assert_int_equal(gossip_core_mismatches(s->node[i].core, x), 0);
	sim_free(s);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start_then_all_have_all_summaries_and_no_others_members),
		cmocka_unit_test(test_put_when_in_one_region_then_visible_in_all_others),
		cmocka_unit_test(
			test_start_when_all_tunnels_are_cold_then_regions_hear_of_each_other_ahead),
		cmocka_unit_test(test_summary_when_of_many_parts_then_it_comes_whole),
		cmocka_unit_test(test_node_when_it_dies_then_other_regions_know_that_it_is_down),
		cmocka_unit_test(test_region_when_it_is_cut_off_then_dead_and_back),
		cmocka_unit_test(
			test_region_when_all_three_lowest_fall_silent_then_the_others_are_found),
		cmocka_unit_test(
			test_region_when_only_those_are_known_who_do_not_speak_then_the_speakers_are_found),
		cmocka_unit_test(test_removal_then_the_version_goes_up_though_the_sums_fall),
		cmocka_unit_test(test_restart_when_with_or_without_disk_then_all_comes_back),
		cmocka_unit_test(test_mode_when_turned_on_then_what_is_of_others_is_dropped),
		cmocka_unit_test(
			test_mode_when_one_has_another_then_both_say_so_and_the_rest_is_well),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
