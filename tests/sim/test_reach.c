/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One-way links, stuck tunnels, half-dead nodes and silent kernels are named, by every node, in time; the healthy never are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/member.h"
#include "tests/sim/sim_cluster.h"

#define FINDINGS_MAX 64

static struct reach_node node[SIM_NODES_MAX];
static struct reach_finding finding[FINDINGS_MAX];

static size_t idx_of(const struct sim *s, size_t i)
{
	for (size_t k = 0; k < s->cfg.nodes; k++)
		if (node_id_cmp(&s->node[k].id, &node[i].id) == 0)
			return k;
	return SIZE_MAX;
}

static size_t findings_at(struct sim *s, size_t observer)
{
	size_t n = reach_collect(s->node[observer].core, node, SIM_NODES_MAX);

	return reach_find(node, n, finding, FINDINGS_MAX);
}

static void print_findings(struct sim *s, size_t observer)
{
	static const char *const text[] = {"twin",    "gray",	"data",	  "paths",
					   "one way", "tunnel", "unheard"};
	size_t n = findings_at(s, observer);

	for (size_t i = 0; i < n; i++)
		printf("# n%zu at %llu: %s n%zu n%zd, %u witnesses, %u s\n", observer,
		       (unsigned long long)s->now_ms, text[finding[i].kind],
		       idx_of(s, finding[i].a),
		       finding[i].b == REACH_NOBODY ? (ssize_t)-1
						    : (ssize_t)idx_of(s, finding[i].b),
		       finding[i].witnesses, finding[i].age_s);
}

struct expect {
	enum reach_finding_kind kind;
	size_t a, b;
	bool is_pair;  /* either order */
	size_t not_at; /* this observer need not know, SIZE_MAX */
};

static bool is_named(struct sim *s, size_t observer, const struct expect *x)
{
	size_t n = findings_at(s, observer);

	for (size_t i = 0; i < n; i++) {
		size_t a = idx_of(s, finding[i].a);
		size_t b = finding[i].b == REACH_NOBODY ? SIZE_MAX : idx_of(s, finding[i].b);

		if (finding[i].kind == x->kind &&
		    ((a == x->a && b == x->b) || (x->is_pair && a == x->b && b == x->a)))
			return true;
	}
	return false;
}

static bool all_name(struct sim *s, void *arg)
{
	struct expect *x = arg;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (i != x->not_at && sim_is_running(s, i) && !is_named(s, i, x))
			return false;
	return true;
}

static bool none_name(struct sim *s, void *arg)
{
	struct expect *x = arg;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (sim_is_running(s, i) && is_named(s, i, x))
			return false;
	return true;
}

static bool no_findings(struct sim *s, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (s->node[i].life == SIM_UP && findings_at(s, i) > 0)
			return false;
	return true;
}

static struct sim *cluster(const struct sim_config *cfg)
{
	struct sim *s = sim_new(cfg);

	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 10000);
	return s;
}

/* ---- half dead */

static bool is_gray(size_t i)
{
	return i == 3 || i == 8 || i == 15;
}

/* They stop for 1.5 s and run for 0.5 s, each in its own time. */
static void run_gray(struct sim *s, uint64_t ms)
{
	for (uint64_t end = s->now_ms + ms; s->now_ms < end;) {
		uint64_t at = s->now_ms % 2000;

		if (at == 0)
			sim_freeze(s, 3, 1500);
		if (at == 700)
			sim_freeze(s, 8, 1500);
		if (at == 1300)
			sim_freeze(s, 15, 1500);
		sim_run(s, 100);
	}
}

static void gray(bool no_forwarder, uint64_t seed)
{
	struct sim *s = cluster(&(struct sim_config){
		.nodes = 20, .seed = sim_seed(seed), .no_forwarder = no_forwarder});
	uint64_t named_ms = 0, start;

	sim_run(s, 2000 - s->now_ms % 2000);
	start = s->now_ms;
	while (s->now_ms < start + 90000) {
		size_t named = 0, observers = 0;

		run_gray(s, 500);
		for (size_t i = 0; i < 20; i++) {
			size_t n = findings_at(s, i), mine = 0;

			if (is_gray(i))
				continue;
			observers++;
			for (size_t k = 0; k < n; k++) {
				size_t a = idx_of(s, finding[k].a);

				mine += finding[k].kind == REACH_FOUND_GRAY && is_gray(a);
				if (!is_gray(a) && finding[k].kind != REACH_FOUND_UNHEARD &&
				    (finding[k].b == REACH_NOBODY ||
				     !is_gray(idx_of(s, finding[k].b)))) {
					print_findings(s, i);
					fail_msg("n%zu is healthy, and named", a);
				}
			}
			named += mine == 3;
		}
		if (!named_ms && named == observers)
			named_ms = s->now_ms;
		/* Once named, they stay so. */
		if (named_ms && named != observers)
			print_findings(s, 0);
		if (named_ms)
			assert_int_equal(named, observers);
	}
	printf("# 3 of 20 run a quarter of the time%s: named by all after %llu ms\n",
	       no_forwarder ? ", no forwarder" : "",
	       (unsigned long long)(named_ms ? named_ms - start : 0));
	assert_in_range(named_ms - start, 1, 40000);
	sim_run(s, 5000);
	assert_true(sim_run_until(s, no_findings, NULL, 180000) >= 0);
	sim_free(s);
}

static void test_gray_when_nodes_run_a_quarter_of_the_time_then_named(void **state)
{
	(void)state;
	gray(false, 1);
}

static void test_gray_when_they_have_no_forwarder_then_named(void **state)
{
	(void)state;
	gray(true, 2);
}

static void test_gray_when_a_node_is_late_with_everything_then_named(void **state)
{
	struct sim *s = cluster(&(struct sim_config){.nodes = 20, .seed = sim_seed(3)});
	struct expect x = {REACH_FOUND_GRAY, 4, SIZE_MAX, false, 4};
	int64_t ms;

	(void)state;
	s->node[4].slow_ms = 800;
	ms = sim_run_until(s, all_name, &x, 120000);
	printf("# one of 20 late by up to 0.8 s: named by all after %lld ms\n", (long long)ms);
	assert_in_range(ms, 0, 120000);
	for (size_t i = 0; i < 20; i++)
		for (size_t k = 0; k < 20; k++)
			if (k != 4)
				assert_false(is_named(
					s, i,
					&(struct expect){REACH_FOUND_GRAY, k, SIZE_MAX, 0, 0}));
	sim_free(s);
}

/* ---- paths */

static void test_link_when_one_way_then_named_with_its_direction(void **state)
{
	struct sim *s = cluster(&(struct sim_config){.nodes = 20, .seed = sim_seed(4)});
	struct expect x = {REACH_FOUND_ONE_WAY, 5, 11, false, SIZE_MAX};
	int64_t ms;

	(void)state;
	sim_cut(s, 5, 11, true);
	ms = sim_run_until(s, all_name, &x, 120000);
	printf("# 20 nodes, nothing gets from one to another: named by all after %lld ms\n",
	       (long long)ms);
	print_findings(s, 0);
	assert_in_range(ms, 0, 120000);
	assert_int_equal(findings_at(s, 0), 1);
	sim_run(s, 30000);
	assert_true(all_name(s, &x));
	assert_int_equal(findings_at(s, 7), 1);
	sim_heal(s);
	ms = sim_run_until(s, no_findings, NULL, 30000);
	printf("# ... healed: forgotten by all after %lld ms\n", (long long)ms);
	assert_in_range(ms, 0, 30000);
	sim_free(s);
}

static void test_tunnel_when_stuck_then_named(void **state)
{
	struct sim *s = cluster(&(struct sim_config){.nodes = 20, .seed = sim_seed(5)});
	struct expect x = {REACH_FOUND_TUNNEL, 2, 17, true, SIZE_MAX};
	int64_t ms;

	(void)state;
	sim_cut(s, 2, 17, true);
	sim_cut(s, 17, 2, true);
	ms = sim_run_until(s, all_name, &x, 120000);
	printf("# 20 nodes, nothing gets through between two: named by all after %lld ms\n",
	       (long long)ms);
	print_findings(s, 0);
	assert_in_range(ms, 0, 120000);
	assert_int_equal(findings_at(s, 0), 1);
	sim_heal(s);
	assert_in_range(sim_run_until(s, no_findings, NULL, 30000), 0, 30000);
	sim_free(s);
}

/* Two who can't reach it suspect it, others bring it back: it flaps, and that is what it is called. */
static void test_paths_when_one_node_misses_half_then_it_is_named_alone(void **state)
{
	struct sim *s = cluster(&(struct sim_config){.nodes = 20, .seed = sim_seed(6)});
	struct expect x = {REACH_FOUND_GRAY, 9, SIZE_MAX, false, SIZE_MAX};
	int64_t ms;

	(void)state;
	for (size_t i = 0; i < 20; i += 2) {
		sim_cut(s, 9, i, true);
		sim_cut(s, i, 9, true);
	}
	ms = sim_run_until(s, all_name, &x, 120000);
	printf("# one node can't reach half of 20: named by all after %lld ms\n", (long long)ms);
	assert_in_range(ms, 0, 120000);
	assert_int_equal(findings_at(s, 0), 1);
	sim_free(s);
}

/* Its edged answers, its forwarder does not: pings find out, though nobody suspects it. */
static void test_data_when_a_kernel_is_silent_then_named(void **state)
{
	struct sim *s = cluster(&(struct sim_config){.nodes = 20, .seed = sim_seed(7)});
	struct expect x = {REACH_FOUND_DATA, 6, SIZE_MAX, false, SIZE_MAX};
	int64_t ms;

	(void)state;
	s->node[6].no_forwarder = true; /* its card says otherwise */
	ms = sim_run_until(s, all_name, &x, 120000);
	printf("# a forwarder that is silent while its edged answers: named by all after %lld ms\n",
	       (long long)ms);
	assert_in_range(ms, 0, 120000);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(sim_state_of(s, i, 6), GOSSIP_ALIVE);
	s->node[6].no_forwarder = false;
	assert_in_range(sim_run_until(s, none_name, &x, 60000), 0, 60000);
	sim_free(s);
}

static void test_twin_when_two_have_one_name_then_named(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = 10, .seed = sim_seed(8)});
	struct expect x = {REACH_FOUND_TWIN, 4, 7, true, SIZE_MAX};

	(void)state;
	s->node[7].name_idx = 4;
	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	assert_in_range(sim_run_until(s, all_name, &x, 10000), 0, 10000);
	sim_free(s);
}

/* ---- the healthy */

static void healthy(unsigned int loss_pct)
{
	struct sim *s = cluster(&(struct sim_config){
		.nodes = 20, .seed = sim_seed(20 + loss_pct), .loss_pct = loss_pct});
	size_t bad = 0;

	for (int k = 0; k < 120; k++) {
		sim_run(s, 1000);
		for (size_t i = 0; i < 20; i++)
			bad += findings_at(s, i);
		if (bad) {
			for (size_t i = 0; i < 20; i++)
				print_findings(s, i);
			fail_msg("%u %% loss: somebody healthy is named", loss_pct);
		}
	}
	sim_free(s);
}

static void test_healthy_when_packets_are_lost_then_nobody_is_named(void **state)
{
	(void)state;
	healthy(0);
	healthy(1);
	healthy(5);
	healthy(20);
}

/* Restarts and upgrades, one frozen once, a partition: no reason to call anyone half dead. */
static void test_healthy_when_restarted_or_frozen_once_then_nobody_is_named(void **state)
{
	struct sim *s = cluster(&(struct sim_config){.nodes = 20, .seed = sim_seed(9)});

	(void)state;
	for (size_t i = 0; i < 20; i++) {
		sim_crash(s, i);
		sim_run(s, 1000 + sim_below(&s->rng, 1000));
		sim_start(s, i);
		sim_run(s, 1500);
		for (size_t k = 0; k < 20; k++)
			assert_true(findings_at(s, k) == 0);
	}
	for (size_t i = 0; i < 20; i += 5) {
		sim_freeze(s, i, 1500);
		sim_run(s, 10000);
		for (size_t k = 0; k < 20; k++)
			assert_true(findings_at(s, k) == 0);
	}
	for (size_t i = 0; i < 10; i++)
		sim_partition(s, i, 1);
	sim_run(s, 30000);
	sim_heal(s);
	sim_run(s, 10000);
	for (int k = 0; k < 30; k++) {
		sim_run(s, 1000);
		for (size_t i = 0; i < 20; i++) {
			if (findings_at(s, i))
				print_findings(s, i);
			assert_true(findings_at(s, i) == 0);
		}
	}
	sim_free(s);
}

/* ---- regions */

static void test_bands_when_regions_are_far_then_all_say_the_same_and_keep_saying_it(void **state)
{
	struct sim *s = cluster(&(struct sim_config){.nodes = 36,
						     .seed = sim_seed(10),
						     .loss_pct = 1,
						     .has_regions = true,
						     .jitter_pct = 10});
	struct reach_band band[SIM_REGIONS][SIM_REGIONS], b;
	uint64_t seq_before = 0, seq_after = 0;
	size_t n, near_far = 0;

	(void)state;
	sim_run(s, 300000);
	for (size_t i = 0; i < 36; i++) {
		n = reach_collect(s->node[i].core, node, SIM_NODES_MAX);
		assert_int_equal(n, 36);
		for (size_t from = 0; from < SIM_REGIONS; from++)
			for (size_t to = 0; to < SIM_REGIONS; to++) {
				assert_true(reach_region_band(node, n, sim_region_name(from),
							      sim_region_name(to), &b));
				if (i == 0)
					band[from][to] = b;
				assert_int_equal(b.rtt, band[from][to].rtt);
			}
		seq_before += s->node[i].core->volatile_seq;
	}
	for (size_t from = 0; from < SIM_REGIONS; from++) {
		assert_true(reach_rtt_ms(band[from][from].rtt) <= 8);
		for (size_t to = 0; to < SIM_REGIONS; to++)
			near_far += band[from][to].rtt == band[to][from].rtt;
	}
	printf("# 12 regions: virginia to oregon below %u ms, to singapore below %u ms; %zu of 144 "
	       "the same both ways\n",
	       reach_rtt_ms(band[0][2].rtt), reach_rtt_ms(band[0][7].rtt), near_far);
	assert_in_range(reach_rtt_ms(band[0][2].rtt), 90, 130);
	assert_in_range(reach_rtt_ms(band[0][7].rtt), 200, 300);
	sim_run(s, 600000);
	for (size_t i = 0; i < 36; i++)
		seq_after += s->node[i].core->volatile_seq;
	printf("# 36 nodes, ten minutes: %llu rows written anew\n",
	       (unsigned long long)(seq_after - seq_before));
	assert_in_range(seq_after - seq_before, 0, 72);
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gray_when_nodes_run_a_quarter_of_the_time_then_named),
		cmocka_unit_test(test_gray_when_they_have_no_forwarder_then_named),
		cmocka_unit_test(test_gray_when_a_node_is_late_with_everything_then_named),
		cmocka_unit_test(test_link_when_one_way_then_named_with_its_direction),
		cmocka_unit_test(test_tunnel_when_stuck_then_named),
		cmocka_unit_test(test_paths_when_one_node_misses_half_then_it_is_named_alone),
		cmocka_unit_test(test_data_when_a_kernel_is_silent_then_named),
		cmocka_unit_test(test_twin_when_two_have_one_name_then_named),
		cmocka_unit_test(test_healthy_when_packets_are_lost_then_nobody_is_named),
		cmocka_unit_test(test_healthy_when_restarted_or_frozen_once_then_nobody_is_named),
		cmocka_unit_test(
			test_bands_when_regions_are_far_then_all_say_the_same_and_keep_saying_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
