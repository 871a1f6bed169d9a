/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Nodes that start find each other and agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_join_when_100_start_together_then_all_agree),
		cmocka_unit_test(test_join_when_20_pct_are_lost_then_all_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
