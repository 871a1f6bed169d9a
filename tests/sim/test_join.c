/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Nodes that start find each other and agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sim/sim_cluster.h"

static void join_100(unsigned int loss_pct, int64_t limit_ms)
{
	struct sim *s = sim_new(&(struct sim_config){
		.nodes = 100, .seed = sim_seed(1 + loss_pct), .loss_pct = loss_pct});
	int64_t ms;

	sim_start_all(s, 500);
	for (size_t i = 0; i < 100; i++) {
		assert_int_equal(sim_put(s, i, SIM_KIND, "a", i, true), 0);
		assert_int_equal(sim_put(s, i, SIM_KIND, "b", i, false), 0);
	}
	ms = sim_run_until(s, sim_is_converged, NULL, 30000);
	printf("# 100 nodes, %u %% loss: one view after %lld ms\n", loss_pct, (long long)ms);
	assert_in_range(ms, 0, limit_ms);
	for (size_t i = 0; i < 100; i++) {
		assert_int_equal(sim_get(s, i, 99 - i, SIM_KIND, "a"), 99 - i);
		gossip_core_check(s->node[i].core);
		assert_int_equal(s->node[i].conflict_events, 0);
	}
	sim_free(s);
}

static void test_join_when_100_start_together_then_all_agree(void **state)
{
	(void)state;
	join_100(0, 6000);
}

static void test_join_when_20_pct_are_lost_then_all_agree(void **state)
{
	(void)state;
	join_100(20, 12000);
}

static bool all_see_all(struct sim *s, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (s->node[i].core->state_count[GOSSIP_ALIVE] != s->cfg.nodes)
			return false;
	return true;
}

static void test_join_when_50_join_one_seed_at_once_then_all_see_all_in_a_second(void **state)
{
	struct sim_samples *v = calloc(1, sizeof(*v));

	(void)state;
	assert_non_null(v);
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct sim *s = sim_new(
			&(struct sim_config){.nodes = 50, .seed = seed, .has_one_seed = true});
		int64_t ms;

		sim_start(s, 0);
		sim_run(s, 2000);
		for (size_t i = 1; i < 50; i++)
			sim_start(s, i);
		ms = sim_run_until(s, all_see_all, NULL, 10000);
		assert_in_range(ms, 0, 10000);
		sim_sample(v, (uint64_t)ms);
		sim_free(s);
	}
	printf("# 50 nodes join one seed at once: all see all after p50 %llu max %llu ms (10 "
	       "runs)\n",
	       (unsigned long long)sim_percentile(v, 50),
	       (unsigned long long)sim_percentile(v, 100));
	assert_in_range(sim_percentile(v, 100), 1, 1000);
	free(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_join_when_100_start_together_then_all_agree),
		cmocka_unit_test(test_join_when_20_pct_are_lost_then_all_agree),
		cmocka_unit_test(
			test_join_when_50_join_one_seed_at_once_then_all_see_all_in_a_second),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
