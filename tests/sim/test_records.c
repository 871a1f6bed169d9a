/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records through partitions, restarts, lost disks, wrong clocks, removals; the property that all of anti-entropy rests on. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/record_table.h"
#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_watch.h"

static struct sim *cluster(size_t nodes, uint64_t seed, unsigned int loss_pct)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = nodes,
						     .seed = sim_seed(seed),
						     .loss_pct = loss_pct,
						     .dup_pct = 5,
						     .check_every = 499});

	sim_start_all(s, 200);
	for (size_t i = 0; i < nodes; i++)
		assert_int_equal(sim_put(s, i, SIM_KIND, "a", 100 + i, false), 0);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	return s;
}

static size_t count_with(struct sim *s, size_t origin, uint8_t kind, const char *key, int64_t value)
{
	size_t n = 0;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		n += sim_get(s, i, origin, kind, key) == value;
	return n;
}

static void test_partition_when_healed_then_all_are_equal(void **state)
{
	struct sim *s = cluster(30, 1, 5);
	int64_t ms;

	(void)state;
	for (size_t i = 0; i < 30; i++)
		sim_partition(s, i, i % 3 == 0);
	sim_run(s, 10000);
	for (size_t i = 0; i < 30; i++) {
		assert_int_equal(sim_state_of(s, 0, i), i % 3 == 0 ? GOSSIP_ALIVE : GOSSIP_DEAD);
		assert_int_equal(sim_put(s, i, SIM_KIND, "b", i, i % 2), 0);
	}
	/* One shared record written on both sides, one deleted on one side. */
	assert_int_equal(sim_put(s, 0, SIM_KIND_SHARED, "both", 1, true), 0);
	assert_int_equal(sim_put(s, 1, SIM_KIND_SHARED, "both", 2, true), 0);
	assert_int_equal(sim_del(s, 3, SIM_KIND, "a", true), 0);
	sim_run(s, 60000);
	sim_heal(s);
	ms = sim_run_until(s, sim_is_converged, NULL, 60000);
	printf("# 30 nodes, 10 against 20 for 60 s: one view %lld ms after the heal\n",
	       (long long)ms);
	assert_in_range(ms, 0, 15000);
	for (size_t i = 0; i < 30; i++)
		assert_int_equal(count_with(s, i, SIM_KIND, "b", (int64_t)i), 30);
	assert_int_equal(count_with(s, 0, SIM_KIND_SHARED, "both",
				    sim_get(s, 0, 0, SIM_KIND_SHARED, "both")),
			 30);
	assert_int_equal(count_with(s, 3, SIM_KIND, "a", -1), 30);
	assert_true(sim_watermarks_hold(s));
	sim_free(s);
}

static bool is_whole_everywhere(struct sim *s, void *arg)
{
	size_t origin = *(size_t *)arg;

	for (size_t i = 0; i < s->cfg.nodes; i++) {
		struct origin *o =
			s->node[i].core ? table_origin(s->node[i].core, &s->node[origin].id) : NULL;

		if (s->node[i].core &&
		    (!o || !o->is_whole || o->generation != s->node[origin].core->cfg.generation))
			return false;
	}
	return sim_is_equal(s, NULL);
}

static size_t dropped_early; /* a record that the new generation restates went away in between */

static void count_gone(struct sim *s, struct sim_node *n, const struct gossip_event *ev, void *arg)
{
	const size_t *origin = arg;

	(void)n;
	if (ev->kind == GOSSIP_EV_RECORD_GONE && ev->record.kind == SIM_KIND &&
	    node_id_cmp(&ev->record.writer, &s->node[*origin].id) == 0 &&
	    memcmp(ev->record.key, "keep", 4) == 0)
		dropped_early++;
}

static void test_restart_when_something_is_not_restated_then_it_goes_at_the_end(void **state)
{
	struct sim *s = cluster(12, 2, 10);
	size_t origin = 5;

	(void)state;
	for (int k = 0; k < 40; k++) {
		char key[16];

		snprintf(key, sizeof(key), "%s%d", k % 2 ? "keep" : "drop", k);
		assert_int_equal(sim_put(s, origin, SIM_KIND, key, 7, false), 0);
	}
	assert_true(sim_run_until(s, sim_is_converged, NULL, 20000) >= 0);
	s->event_cb = count_gone;
	s->arg = &origin;
	sim_crash(s, origin);
	sim_run(s, 3000);
	/* What its disk has forgotten, it doesn't restate. */
	for (struct sim_stored **p = &s->node[origin].records; *p;) {
		struct sim_stored *e = *p;

		if (node_id_cmp(&e->r.writer, &s->node[origin].id) == 0 && e->r.key[0] == 'd') {
			*p = e->next;
			free(e);
		} else {
			p = &e->next;
		}
	}
	assert_int_equal(count_with(s, origin, SIM_KIND, "drop0", 7), 11);
	sim_start(s, origin);
	assert_true(sim_run_until(s, is_whole_everywhere, &origin, 20000) >= 0);
	assert_int_equal(count_with(s, origin, SIM_KIND, "drop0", -1), 12);
	assert_int_equal(count_with(s, origin, SIM_KIND, "keep1", 7), 12);
	assert_int_equal(dropped_early, 0);
	sim_free(s);
}

static void test_restart_when_the_disk_and_the_clock_are_wrong_then_it_jumps_above(void **state)
{
	struct sim *s = cluster(12, 3, 10);
	size_t origin = 4;
	uint64_t before = s->node[origin].generation;

	(void)state;
	sim_crash(s, origin);
	sim_wipe(s, origin);
	s->node[origin].clock_skew_s = -86400;
	sim_run(s, 5000);
	sim_start(s, origin);
	assert_true(s->node[origin].generation < before);
	assert_int_equal(sim_put(s, origin, SIM_KIND, "new", 9, true), 0);
	assert_true(sim_run_until(s, is_whole_everywhere, &origin, 30000) >= 0);
	assert_true(s->node[origin].generation > before);
	assert_true(s->node[origin].generation_events > 0);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 10000) >= 0);
	assert_int_equal(count_with(s, origin, SIM_KIND, "new", 9), 12);
	assert_int_equal(count_with(s, origin, SIM_KIND, "a", -1), 12);
	sim_free(s);
}

/* What the others would tell it of its former self goes to where it was. */
static void test_restart_when_it_also_has_moved_then_it_jumps_above(void **state)
{
	struct sim *s = cluster(12, 8, 10);
	size_t origin = 4;
	uint64_t before = s->node[origin].generation;

	(void)state;
	sim_off(s, origin);
	sim_wipe(s, origin);
	sim_move(s, origin);
	s->node[origin].clock_skew_s = -86400;
	sim_run(s, 10000);
	sim_start(s, origin);
	assert_true(s->node[origin].generation < before);
	assert_in_range(sim_run_until(s, sim_is_converged, NULL, 30000), 0, 30000);
	assert_true(s->node[origin].generation > before);
	sim_free(s);
}

/* Twice without memory and without the others, it gives one number to two contents. */
static void test_shared_when_one_version_is_written_twice_then_one_wins(void **state)
{
	struct sim *s = cluster(6, 9, 0);

	(void)state;
	for (int half = 0; half < 2; half++) {
		sim_heal(s);
		for (size_t i = 0; i < 6; i++)
			sim_partition(s, i, i != 3 && i / 3 != (size_t)half);
		sim_off(s, 3);
		sim_wipe(s, 3);
		sim_start(s, 3);
		assert_int_equal(sim_put(s, 3, SIM_KIND_SHARED, "twin", 1 + (uint64_t)half, true),
				 0);
		/* Without its disk, and its seeds out of reach, it is found by chance, among the dead. */
		sim_run(s, 40000);
	}
	assert_int_equal(sim_get(s, 0, 0, SIM_KIND_SHARED, "twin"), 1);
	assert_int_equal(sim_get(s, 5, 0, SIM_KIND_SHARED, "twin"), 2);
	sim_heal(s);
	assert_in_range(sim_run_until(s, sim_is_converged, NULL, 60000), 0, 60000);
	assert_int_equal(count_with(s, 0, SIM_KIND_SHARED, "twin",
				    sim_get(s, 0, 0, SIM_KIND_SHARED, "twin")),
			 6);
	sim_free(s);
}

static void test_start_when_cut_off_then_it_knows_what_it_stored(void **state)
{
	struct sim *s = cluster(8, 4, 0);

	(void)state;
	sim_run(s, 3000);
	sim_off(s, 2);
	sim_partition(s, 2, 1);
	sim_start(s, 2);
	for (size_t i = 0; i < 8; i++)
		assert_int_equal(sim_get(s, 2, i, SIM_KIND, "a"), 100 + i);
	assert_int_equal(s->node[2].core->ring_count, 8);
	sim_heal(s);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 20000) >= 0);
	sim_free(s);
}

static void removal_key(struct sim *s, size_t i, char key[33])
{
	for (size_t k = 0; k < NODE_ID_BYTES; k++)
		snprintf(key + 2 * k, 3, "%02x", s->node[i].id.b[k]);
}

static void test_removal_when_it_stands_then_nothing_of_the_node_counts(void **state)
{
	struct sim *s = cluster(10, 5, 10);
	char key[33];

	(void)state;
	removal_key(s, 6, key);
	assert_int_equal(sim_put(s, 1, RECORD_KIND_REMOVAL, key, 1, true), 0);
	assert_true(sim_run_until(s, sim_is_equal, NULL, 20000) >= 0);
	sim_run(s, 5000);
	assert_true(sim_is_equal(s, NULL));
	assert_int_equal(count_with(s, 6, SIM_KIND, "a", -1), 10);
	/* It goes on writing; nobody cares. */
	assert_int_equal(sim_put(s, 6, SIM_KIND, "b", 3, true), 0);
	sim_run(s, 5000);
	assert_true(sim_is_equal(s, NULL));
	assert_int_equal(count_with(s, 6, SIM_KIND, "b", -1), 10);
	/* Lifted: all of it is back. */
	assert_int_equal(sim_del(s, 2, RECORD_KIND_REMOVAL, key, true), 0);
	sim_run(s, 3000);
	assert_true(sim_run_until(s, sim_is_equal, NULL, 20000) >= 0);
	assert_int_equal(count_with(s, 6, SIM_KIND, "a", 106), 10);
	assert_int_equal(count_with(s, 6, SIM_KIND, "b", 3), 10);
	sim_free(s);
}

/* Deleting so much that tombstones are collected; a node that slept through it must not bring anything back. */
static void test_gc_when_a_node_slept_through_it_then_nothing_comes_back(void **state)
{
	struct sim *s = cluster(8, 6, 5);
	char key[16];

	(void)state;
	for (int k = 0; k < 3 * CORE_TOMBSTONES_MAX; k++) {
		snprintf(key, sizeof(key), "k%d", k);
		assert_int_equal(sim_put(s, 2, SIM_KIND, key, 1, false), 0);
	}
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 3000);
	sim_crash(s, 5);
	for (int k = 0; k < 3 * CORE_TOMBSTONES_MAX - 2; k++) {
		snprintf(key, sizeof(key), "k%d", k);
		assert_int_equal(sim_del(s, 2, SIM_KIND, key, false), 0);
	}
	sim_run(s, 20000);
	assert_true(s->node[2].core->own->gc > 0);
	assert_true(s->node[2].core->own_tombstones <= CORE_TOMBSTONES_MAX);
	sim_start(s, 5);
	assert_true(sim_get(s, 5, 2, SIM_KIND, "k0") == 1); /* as its disk remembers */
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	assert_int_equal(count_with(s, 2, SIM_KIND, "k0", -1), 8);
	snprintf(key, sizeof(key), "k%d", 3 * CORE_TOMBSTONES_MAX - 1);
	assert_int_equal(count_with(s, 2, SIM_KIND, key, 1), 8);
	sim_free(s);
}

static size_t tombstones_at(struct sim *s, size_t i)
{
	struct gossip_shared shared;

	gossip_core_shared(s->node[i].core, &shared);
	return shared.tombstones;
}

/* Everywhere as few as an owner keeps of its own. */
static bool is_collected(struct sim *s, void *arg)
{
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (s->node[i].core && tombstones_at(s, i) > CORE_TOMBSTONES_MAX)
			return false;
	return sim_is_equal(s, arg);
}

#define SHARED_KEYS (2 * CORE_TOMBSTONES_MAX)

static void write_shared(struct sim *s, size_t i, bool is_delete)
{
	char key[16];

	for (unsigned int k = 0; k < SHARED_KEYS; k++) {
		snprintf(key, sizeof(key), "s%u", k);
		if (is_delete)
			assert_int_equal(sim_del(s, i, SIM_KIND_SHARED, key, false), 0);
		else
			assert_int_equal(sim_put(s, i, SIM_KIND_SHARED, key, 1, false), 0);
	}
}

static size_t count_shared(struct sim *s)
{
	char key[16];
	size_t n = 0;

	for (unsigned int k = 0; k < SHARED_KEYS; k++) {
		snprintf(key, sizeof(key), "s%u", k);
		n += count_with(s, 0, SIM_KIND_SHARED, key, 1);
	}
	return n;
}

static void test_shared_when_all_saw_it_deleted_then_tombstones_go(void **state)
{
	struct sim *s = cluster(8, 11, 5);
	struct gossip_shared shared;
	int64_t ms;

	(void)state;
	write_shared(s, 2, false);
	assert_true(sim_run_until(s, sim_is_equal, NULL, 20000) >= 0);
	assert_int_equal(count_shared(s), 8 * SHARED_KEYS);
	write_shared(s, 3, true);
	ms = sim_run_until(s, is_collected, NULL, 60000);
	printf("# 8 nodes: %u tombstones collected everywhere after %lld ms\n",
	       SHARED_KEYS - CORE_TOMBSTONES_MAX / 2, (long long)ms);
	assert_in_range(ms, 0, 60000);
	gossip_core_shared(s->node[5].core, &shared);
	assert_true(shared.floor > 0);
	/* It stays so over restarts, and for who comes new. */
	for (size_t i = 0; i < 8; i++) {
		sim_off(s, i);
		if (i == 4)
			sim_wipe(s, i);
		sim_run(s, 1000);
		sim_start(s, i);
		sim_run(s, 1000);
	}
	assert_true(sim_run_until(s, sim_is_converged, NULL, 20000) >= 0);
	assert_true(is_collected(s, NULL));
	assert_int_equal(count_shared(s), 0);
	/* And deleting goes on. */
	write_shared(s, 4, false);
	write_shared(s, 4, true);
	assert_true(sim_run_until(s, is_collected, NULL, 60000) >= 0);
	assert_int_equal(count_shared(s), 0);
	sim_free(s);
}

static void test_shared_when_a_member_is_away_then_tombstones_wait(void **state)
{
	struct sim *s = cluster(6, 12, 5);
	struct gossip_shared shared;

	(void)state;
	write_shared(s, 2, false);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 20000) >= 0);
	sim_off(s, 5);
	sim_run(s, 5000);
	write_shared(s, 1, true);
	sim_run(s, 120000);
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(tombstones_at(s, i), SHARED_KEYS);
		gossip_core_shared(s->node[i].core, &shared);
		assert_true(shared.is_waiting);
		assert_int_equal(node_id_cmp(&shared.whom, &s->node[5].id), 0);
	}
	sim_start(s, 5);
	assert_int_equal(sim_get(s, 5, 0, SIM_KIND_SHARED, "s0"), 1); /* as its disk remembers */
	assert_true(sim_run_until(s, is_collected, NULL, 60000) >= 0);
	assert_int_equal(count_shared(s), 0);
	sim_free(s);
}

static void test_shared_when_who_is_away_is_removed_then_it_brings_nothing_back(void **state)
{
	struct sim *s = cluster(6, 13, 5);
	char key[33];

	(void)state;
	write_shared(s, 2, false);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 20000) >= 0);
	sim_off(s, 5);
	sim_run(s, 5000);
	write_shared(s, 1, true);
	sim_run(s, 5000);
	removal_key(s, 5, key);
	assert_int_equal(sim_put(s, 0, RECORD_KIND_REMOVAL, key, 1, true), 0);
	assert_true(sim_run_until(s, is_collected, NULL, 60000) >= 0);
	/* It wakes up with all that the others have forgotten. */
	sim_start(s, 5);
	assert_int_equal(sim_get(s, 5, 0, SIM_KIND_SHARED, "s0"), 1);
	assert_true(sim_run_until(s, is_collected, NULL, 20000) >= 0);
	assert_int_equal(count_shared(s), 0);
	assert_int_equal(sim_put(s, 5, SIM_KIND_SHARED, "mine", 1, true), -EPERM);
	assert_int_equal(sim_del(s, 5, RECORD_KIND_REMOVAL, key, true), -EPERM);
	/* Taken back: it is one of them again. */
	assert_int_equal(sim_del(s, 3, RECORD_KIND_REMOVAL, key, true), 0);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 20000) >= 0);
	assert_int_equal(sim_put(s, 5, SIM_KIND_SHARED, "mine", 1, true), 0);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 20000) >= 0);
	assert_int_equal(count_shared(s), 0);
	assert_int_equal(count_with(s, 5, SIM_KIND, "a", 105), 6);
	assert_int_equal(count_with(s, 0, SIM_KIND_SHARED, "mine", 1), 6);
	sim_free(s);
}

static void test_shared_when_too_many_wait_then_no_more_deletions_are_begun(void **state)
{
	struct sim *s = cluster(2, 14, 0);
	unsigned int refused = 0;
	char key[16];

	(void)state;
	sim_off(s, 1);
	sim_run(s, 5000);
	for (unsigned int k = 0; k < CORE_SHARED_TOMBSTONES_MAX + 10; k++) {
		snprintf(key, sizeof(key), "s%u", k);
		assert_int_equal(sim_put(s, 0, SIM_KIND_SHARED, key, 1, false), 0);
		refused += sim_del(s, 0, SIM_KIND_SHARED, key, false) == -ENOSPC;
	}
	assert_int_equal(refused, 10);
	assert_int_equal(tombstones_at(s, 0), CORE_SHARED_TOMBSTONES_MAX);
	sim_start(s, 1);
	assert_true(sim_run_until(s, is_collected, NULL, 120000) >= 0);
	assert_int_equal(sim_del(s, 0, SIM_KIND_SHARED, key, false), 0);
	sim_free(s);
}

/* ---- random eager delivery x replacement x restart x wipe x gc x relays: equal watermarks, equal records */

#define PROP_NODES 7

static size_t random_up(struct sim *s)
{
	for (;;) {
		size_t i = sim_below(&s->rng, PROP_NODES);

		if (s->node[i].life == SIM_UP)
			return i;
	}
}

static size_t count_up(struct sim *s)
{
	size_t n = 0;

	for (size_t i = 0; i < PROP_NODES; i++)
		n += s->node[i].life == SIM_UP;
	return n;
}

static void burst_of_deletes(struct sim *s, size_t i, uint8_t kind)
{
	char key[16];

	for (int k = 0; k < CORE_TOMBSTONES_MAX + 40; k++) {
		snprintf(key, sizeof(key), "gc%d", k);
		(void)sim_put(s, i, kind, key, 1, false);
		if (k % 8 == 0)
			sim_run(s, 5);
	}
	sim_run(s, sim_below(&s->rng, 1500));
	for (int k = 0; k < CORE_TOMBSTONES_MAX + 40; k++) {
		snprintf(key, sizeof(key), "gc%d", k);
		if (s->node[i].life == SIM_UP)
			(void)sim_del(s, i, kind, key, k % 3 == 0);
	}
}

static void random_step(struct sim *s)
{
	uint64_t what = sim_below(&s->rng, 100);
	size_t i = random_up(s);
	char key[16];

	snprintf(key, sizeof(key), "k%llu", (unsigned long long)sim_below(&s->rng, 12));
	if (what < 40) {
		(void)sim_put(s, i, SIM_KIND, key, sim_random(&s->rng) >> 8, what % 2);
	} else if (what < 52) {
		(void)sim_del(s, i, SIM_KIND, key, what % 2);
	} else if (what < 62) {
		(void)sim_put(s, i, SIM_KIND_SHARED, key, sim_random(&s->rng) >> 8, what % 2);
	} else if (what < 66) {
		(void)sim_del(s, i, SIM_KIND_SHARED, key, what % 2);
	} else if (what < 70) {
		if (count_up(s) > 2)
			what % 2 ? sim_crash(s, i) : sim_off(s, i);
	} else if (what < 80) {
		i = sim_below(&s->rng, PROP_NODES);
		if (s->node[i].life != SIM_UP) {
			if (sim_below(&s->rng, 4) == 0)
				sim_wipe(s, i);
			s->node[i].clock_skew_s = (int64_t)sim_below(&s->rng, 200000) - 100000;
			sim_start(s, i);
		}
	} else if (what < 84) {
		sim_partition(s, sim_below(&s->rng, PROP_NODES), (int)sim_below(&s->rng, 2));
	} else if (what < 88) {
		sim_heal(s);
	} else if (what < 89) {
		burst_of_deletes(s, i, sim_below(&s->rng, 2) ? SIM_KIND : SIM_KIND_SHARED);
	} else {
		sim_run(s, sim_below(&s->rng, 2500));
	}
	sim_run(s, sim_below(&s->rng, 60));
}

/* Every live record of the owner, and no other, is at every node. */
static void assert_as_owners_say(struct sim *s)
{
	for (size_t i = 0; i < PROP_NODES; i++) {
		struct gossip_core *own = s->node[i].core;

		for (size_t k = 0; k < PROP_NODES; k++) {
			struct origin *o = table_origin(s->node[k].core, &s->node[i].id);

			assert_non_null(o);
			assert_true(digest_eq(&o->sum, &own->own->sum));
			assert_true(o->is_whole);
			gossip_core_check(s->node[k].core);
		}
	}
}

static bool is_settled(struct sim *s, void *arg)
{
	if (!sim_is_converged(s, arg))
		return false;
	for (size_t i = 0; i < PROP_NODES; i++)
		for (size_t k = 0; k < PROP_NODES; k++) {
			struct origin *o = table_origin(s->node[k].core, &s->node[i].id);

			if (!o || !o->is_whole)
				return false;
		}
	return true;
}

static void run_property(uint64_t seed)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = PROP_NODES,
						     .seed = seed,
						     .loss_pct = (unsigned int)(seed * 7 % 31),
						     .dup_pct = 10,
						     .latency_min_ms = 1,
						     .latency_max_ms = seed % 3 ? 20 : 150,
						     .check_every = 97});

	sim_watch_begin(s, &(struct sim_watch_config){.own_keys = 12 + CORE_TOMBSTONES_MAX + 40,
						      .shared_keys = 12 + CORE_TOMBSTONES_MAX + 40,
						      .burst = 2000,
						      .is_trusting = true});
	sim_start_all(s, 100);
	for (unsigned int step = 0; step < 250; step++) {
		random_step(s);
		if (step % 4 == 0)
			sim_watch_agree(s);
	}
	sim_heal(s);
	for (size_t i = 0; i < PROP_NODES; i++)
		if (s->node[i].life != SIM_UP)
			sim_start(s, i);
	assert_in_range(sim_run_until(s, is_settled, NULL, 120000), 0, 120000);
	assert_true(sim_watermarks_hold(s));
	assert_as_owners_say(s);
	sim_free(s);
}

static void
test_records_when_anything_happens_then_equal_watermarks_mean_equal_records(void **state)
{
	(void)state;
	assert_int_equal(sim_watch_seeds(40, run_property), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_partition_when_healed_then_all_are_equal),
		cmocka_unit_test(
			test_restart_when_something_is_not_restated_then_it_goes_at_the_end),
		cmocka_unit_test(
			test_restart_when_the_disk_and_the_clock_are_wrong_then_it_jumps_above),
		cmocka_unit_test(test_restart_when_it_also_has_moved_then_it_jumps_above),
		cmocka_unit_test(test_shared_when_one_version_is_written_twice_then_one_wins),
		cmocka_unit_test(test_start_when_cut_off_then_it_knows_what_it_stored),
		cmocka_unit_test(test_removal_when_it_stands_then_nothing_of_the_node_counts),
		cmocka_unit_test(test_gc_when_a_node_slept_through_it_then_nothing_comes_back),
		cmocka_unit_test(test_shared_when_all_saw_it_deleted_then_tombstones_go),
		cmocka_unit_test(test_shared_when_a_member_is_away_then_tombstones_wait),
		cmocka_unit_test(
			test_shared_when_who_is_away_is_removed_then_it_brings_nothing_back),
		cmocka_unit_test(test_shared_when_too_many_wait_then_no_more_deletions_are_begun),
		cmocka_unit_test(
			test_records_when_anything_happens_then_equal_watermarks_mean_equal_records),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
