/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The same mayhem as in test_nemesis, where regions know summaries of each other: by seed, for some virtual minutes; then all is well
 * again, and within each region and between them all must become one.
 *
 * SEEDS= and FIRST= say which seeds, SEED= runs one.
 */
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
#include "tests/sim/sim_mayhem.h"
#include "tests/sim/sim_watch.h"

#define SEEDS_IN_TEST 12
#define AGREE_MS 90000	   /* from the heal to one view */
#define DAY_MS 86400000ull /* monotonic clocks differ by up to a day */

static bool is_other(struct sim *s, size_t i, size_t k)
{
	struct origin *o = table_origin(s->node[i].core, &s->node[k].id);

	return sim_state_of(s, i, k) != GOSSIP_ALIVE || !o || !o->is_whole ||
	       !digest_eq(&o->sum, &s->node[k].core->own->sum);
}

/* Whose region's summary is not, for this node, what the other one would make of its records now. */
static bool has_other_summary(struct sim *s, size_t i, size_t k)
{
	static uint8_t want[GOSSIP_SUMMARY_MAX];
	size_t len = sim_summary(s, k, want, sizeof(want));
	struct gossip_region g;

	return !sim_region_at(s, i, s->node[k].region, &g) || !g.has_value || g.len != len ||
	       memcmp(g.value, want, len) != 0;
}

/* Whom of its own region a node does not see as it is, whose shared records are not the first one's, or who has no word on
 * a region. */
static bool find_discord(struct sim *s, size_t *ret_a, size_t *ret_b, const char **ret_what)
{
	uint8_t root[16], first[16];

	region_shared_root(s->node[0].core, first);
	for (size_t i = 0; i < s->cfg.nodes; i++) {
		*ret_a = i;
		*ret_b = 0;
		*ret_what = "holds other shared records than";
		region_shared_root(s->node[i].core, root);
		if (memcmp(root, first, sizeof(root)) != 0)
			return true;
		for (size_t k = 0; k < s->cfg.nodes; k++) {
			struct gossip_region g;

			*ret_b = k;
			*ret_what = "does not see, or holds other records of,";
			if (s->node[k].region == s->node[i].region && is_other(s, i, k))
				return true;
			*ret_what = "has another summary than is made by";
			if (has_other_summary(s, i, k))
				return true;
			*ret_what = "knows of nobody down, and how many live, in the region of";
			if (s->node[k].region != s->node[i].region &&
			    (!sim_region_at(s, i, s->node[k].region, &g) || g.down_count > 0 ||
			     g.live_count !=
				     s->cfg.nodes / s->cfg.regions +
					     (s->node[k].region < s->cfg.nodes % s->cfg.regions)))
				return true;
		}
	}
	return false;
}

static bool is_one(struct sim *s, void *arg)
{
	const char *what;
	size_t a, b;

	/* The second is dear. */
	return sim_regions_are_one(s, arg) && !find_discord(s, &a, &b, &what);
}

static void note_regions(struct sim *s, size_t i)
{
	const struct gossip_core *c = s->node[i].core;

	for (size_t k = 0; k < gossip_core_region_count(c); k++) {
		struct gossip_region g;

		gossip_core_region_at(c, k, &g);
		sim_watch_note(s, i,
			       "-- %s %s: %zu speakers, %llu live, %zu down, version %llu %llu "
			       "%llu %02x%02x%s",
			       g.name, g.is_dead ? "dead" : "lives", g.sender_count,
			       (unsigned long long)g.live_count, g.down_count,
			       (unsigned long long)g.version.removals,
			       (unsigned long long)g.version.lives,
			       (unsigned long long)g.version.marks, g.version.hash[0],
			       g.version.hash[1], g.is_behind ? ", behind" : "");
	}
}

static void settle(struct sim *s)
{
	const char *what = "has other summaries, or members, than";
	size_t a = 0, b = 1;
	int64_t ms;

	sim_mayhem_end(s);
	ms = sim_run_until(s, is_one, NULL, AGREE_MS);
	if (ms < 0) {
		if (!find_discord(s, &a, &b, &what)) {
			a = 0;
			b = s->cfg.nodes - 1;
			what = "and others have not one view of regions; see also";
		}
		note_regions(s, a);
		note_regions(s, b);
		sim_watch_fail(s, a, b, "%d s after the heal n%zu %s n%zu", AGREE_MS / 1000, a,
			       what, b);
	}
	if (getenv("SEED") || getenv("SEEDS"))
		printf("# SEED=%llu: %zu nodes in %zu regions, %llu s, one view %lld ms after the "
		       "heal\n",
		       (unsigned long long)s->cfg.seed, s->cfg.nodes, s->cfg.regions,
		       (unsigned long long)(s->now_ms / 1000 - 1000), (long long)ms);
	for (size_t i = 0; i < s->cfg.nodes; i++)
		gossip_core_check(s->node[i].core);
}

static void run_nemesis(uint64_t seed)
{
	uint64_t regions = 2 + seed % 5, nodes = regions * (2 + seed * 7 % 5) + seed % 3;
	struct sim *s = sim_new(&(struct sim_config){.nodes = nodes,
						     .seed = seed,
						     .has_regions = true,
						     .regions = regions,
						     .summary_bytes = seed % 4 == 0 ? 70000 : 0,
						     .dup_pct = 2,
						     .loss_pct = 1,
						     .cold_after_ms = 180000,
						     .check_every = 499});

	sim_watch_begin(
		s, &(struct sim_watch_config){.own_keys = SIM_MAYHEM_KEYS + SIM_MAYHEM_GC_KEYS,
					      .shared_keys = SIM_MAYHEM_KEYS + SIM_MAYHEM_GC_KEYS,
					      .burst = SIM_MAYHEM_GC_KEYS + 1000,
					      .is_trusting = true});
	for (size_t i = 0; i < nodes; i++)
		s->node[i].clock_ms = sim_below(&s->rng, DAY_MS);
	sim_start_all(s, 1000);
	for (uint64_t round = 0; round < 60; round++) {
		sim_mayhem_write(s);
		if (round > 4 && sim_below(&s->rng, 3) > 0)
			sim_mayhem(s);
		sim_run(s, sim_below(&s->rng, 2500));
		if (round % 8 == 0)
			sim_watch_agree(s);
	}
	settle(s);
	sim_watch_agree(s);
	sim_free(s);
}

static void test_nemesis_when_all_is_well_again_then_all_regions_agree(void **state)
{
	(void)state;
	assert_int_equal(sim_watch_seeds(SEEDS_IN_TEST, run_nemesis), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nemesis_when_all_is_well_again_then_all_regions_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
