/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who is found dead, how soon, and who must not be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/member.h"
#include "tests/sim/sim_cluster.h"

#define NODES 50

static struct sim_samples samples, deaths;

/* What the observers said, since when. */
struct watch {
	size_t subject;
	uint64_t start_ms;
	uint64_t gone_ms[SIM_NODES_MAX]; /* suspect or dead, first time; 0 = never */
	uint64_t dead_ms[SIM_NODES_MAX];
	uint64_t headless_ms[SIM_NODES_MAX];
	size_t others_gone; /* events: someone else was suspected or declared dead */
	size_t deaths;
};

static void watch_cb(struct sim *s, struct sim_node *n, const struct gossip_event *ev, void *arg)
{
	struct watch *w = arg;
	bool is_gone;

	if (ev->kind != GOSSIP_EV_MEMBER)
		return;
	is_gone = ev->member.state == GOSSIP_SUSPECT || ev->member.state == GOSSIP_DEAD;
	if (node_id_cmp(&ev->member.id, &s->node[w->subject].id) != 0) {
		w->others_gone += is_gone;
		return;
	}
	w->deaths += ev->member.state == GOSSIP_DEAD;
	if (ev->member.state == GOSSIP_DEAD && !w->dead_ms[n->idx])
		w->dead_ms[n->idx] = s->now_ms;
	if (is_gone && !w->gone_ms[n->idx])
		w->gone_ms[n->idx] = s->now_ms;
	if (ev->member.state == GOSSIP_HEADLESS && !w->headless_ms[n->idx])
		w->headless_ms[n->idx] = s->now_ms;
}

static struct sim *cluster(size_t nodes, uint64_t seed, unsigned int loss_pct, bool no_forwarder)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = nodes,
						     .seed = sim_seed(seed),
						     .loss_pct = loss_pct,
						     .no_forwarder = no_forwarder});

	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 3000);
	return s;
}

static void watch_begin(struct sim *s, struct watch *w, size_t subject)
{
	memset(w, 0, sizeof(*w));
	w->subject = subject;
	w->start_ms = s->now_ms;
	s->event_cb = watch_cb;
	s->arg = w;
}

static bool all_gone(struct sim *s, void *arg)
{
	struct watch *w = arg;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (s->node[i].life == SIM_UP && !w->gone_ms[i])
			return false;
	return true;
}

static bool all_headless(struct sim *s, void *arg)
{
	struct watch *w = arg;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (s->node[i].life == SIM_UP && sim_state_of(s, i, w->subject) != GOSSIP_HEADLESS)
			return false;
	return true;
}

static void print_samples(const char *what, struct sim_samples *v)
{
	printf("%s: p50 %llu p99 %llu max %llu ms\n", what,
	       (unsigned long long)sim_percentile(v, 50), (unsigned long long)sim_percentile(v, 99),
	       (unsigned long long)sim_percentile(v, 100));
}

/* Kill one node after another; every other one must stop using it in time. */
static void kill_some(unsigned int loss_pct, uint64_t p99_max, uint64_t max_max)
{
	struct sim *s = cluster(NODES, 11 + loss_pct, loss_pct, false);
	struct watch w;

	samples.count = deaths.count = 0;
	for (size_t k = 0; k < 10; k++) {
		size_t victim = 2 + k * 4;

		sim_run(s, sim_below(&s->rng, 400));
		watch_begin(s, &w, victim);
		sim_off(s, victim);
		assert_true(sim_run_until(s, all_gone, &w, 5000) >= 0);
		for (size_t i = 0; i < NODES; i++)
			if (s->node[i].life == SIM_UP)
				sim_sample(&samples, w.gone_ms[i] - w.start_ms);
		assert_int_equal(w.others_gone, 0);
		sim_run(s, 6000);
		for (size_t i = 0; i < NODES; i++) {
			if (s->node[i].life != SIM_UP)
				continue;
			assert_int_equal(sim_state_of(s, i, victim), GOSSIP_DEAD);
			sim_sample(&deaths, w.dead_ms[i] - w.start_ms);
		}
		sim_start(s, victim);
		assert_true(sim_run_until(s, sim_is_converged, NULL, 10000) >= 0);
	}
	printf("# %d nodes, %u %% loss, node off: routed around by each other node p50 %llu p99 "
	       "%llu "
	       "max %llu ms\n",
	       NODES, loss_pct, (unsigned long long)sim_percentile(&samples, 50),
	       (unsigned long long)sim_percentile(&samples, 99),
	       (unsigned long long)sim_percentile(&samples, 100));
	print_samples("# ... dead to each other node", &deaths);
	assert_in_range(sim_percentile(&deaths, 99), 1, 2200 + p99_max - 700);
	assert_in_range(sim_percentile(&samples, 50), 1, 450);
	assert_in_range(sim_percentile(&samples, 99), 1, p99_max);
	assert_in_range(sim_percentile(&samples, 100), 1, max_max);
	sim_free(s);
}

static void test_kill_when_the_network_is_clean_then_all_know_in_time(void **state)
{
	(void)state;
	kill_some(0, 700, 800);
}

static void test_kill_when_20_pct_are_lost_then_all_know_in_time(void **state)
{
	(void)state;
	kill_some(20, 1000, 2000);
}

static void test_run_when_20_pct_are_lost_then_nobody_is_suspected(void **state)
{
	struct sim *s = cluster(NODES, 5, 20, false);
	uint64_t failed = 0;
	struct watch w;

	(void)state;
	watch_begin(s, &w, 0);
	for (size_t i = 0; i < NODES; i++)
		failed -= s->node[i].core->n.probes_failed;
	sim_run(s, 120000);
	for (size_t i = 0; i < NODES; i++)
		failed += s->node[i].core->n.probes_failed;
	printf("# %d nodes, 20 %% loss, 120 s: %llu probes failed, %zu times suspected\n", NODES,
	       (unsigned long long)failed, w.others_gone);
	assert_int_equal(w.others_gone, 0);
	assert_int_equal(w.deaths, 0);
	sim_free(s);
}

/* Two nodes each in twelve regions, up to 360 ms apart. */
static void test_run_when_regions_are_far_then_nobody_is_suspected(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = 24,
						     .seed = sim_seed(6),
						     .loss_pct = 1,
						     .has_regions = true,
						     .jitter_pct = 10});
	size_t measured = 0;
	struct watch w;

	(void)state;
	watch_begin(s, &w, 0);
	sim_start_all(s, 500);
	assert_in_range(sim_run_until(s, sim_is_converged, NULL, 20000), 0, 20000);
	sim_run(s, 60000);
	for (size_t i = 0; i < 24; i++)
		for (size_t k = 0; k < 24; k++)
			measured += member_get(s->node[i].core, &s->node[k].id)->rtt_us >= 300000;
	printf("# 24 nodes, 12 regions, 60 s: %zu times suspected, %zu far ones measured\n",
	       w.others_gone, measured);
	assert_int_equal(w.others_gone, 0);
	assert_int_equal(w.deaths, 0);
	assert_true(measured > 20);
	sim_free(s);
}

static void headless(unsigned int loss_pct)
{
	struct sim *s = cluster(NODES, 21, loss_pct, false);
	struct watch w;
	int64_t ms;

	watch_begin(s, &w, 17);
	sim_crash(s, 17);
	ms = sim_run_until(s, all_headless, &w, 5000);
	printf("# %d nodes, %u %% loss, process dead, kernel alive: headless at all after %lld "
	       "ms\n",
	       NODES, loss_pct, (long long)ms);
	assert_in_range(ms, 1, loss_pct ? 4000 : 1500);
	sim_run(s, 60000);
	for (size_t i = 0; i < NODES; i++) {
		assert_int_equal(w.gone_ms[i], 0);
		if (i != 17)
			assert_int_equal(sim_state_of(s, i, 17), GOSSIP_HEADLESS);
	}
	assert_int_equal(w.others_gone, 0);
	/* And when the machine goes too, it is found. */
	watch_begin(s, &w, 17);
	sim_off(s, 17);
	ms = sim_run_until(s, all_gone, &w, 5000);
	printf("# ... and its machine off: routed around by all after %lld ms\n", (long long)ms);
	assert_in_range(ms, 1, 2500);
	sim_start(s, 17);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 10000) >= 0);
	sim_free(s);
}

/* One daemon after another is killed; each other node must know in time that it is headless. */
static void test_crash_when_a_daemon_is_killed_then_headless_in_time(void **state)
{
	struct sim *s = cluster(NODES, 22, 0, false);
	struct watch w;

	(void)state;
	samples.count = 0;
	for (size_t k = 0; k < 20; k++) {
		size_t victim = 2 + k * 2;

		sim_run(s, sim_below(&s->rng, 400));
		watch_begin(s, &w, victim);
		sim_crash(s, victim);
		assert_true(sim_run_until(s, all_headless, &w, 5000) >= 0);
		for (size_t i = 0; i < NODES; i++)
			if (i != victim)
				sim_sample(&samples, w.headless_ms[i] - w.start_ms);
		assert_int_equal(w.others_gone, 0);
		sim_start(s, victim);
		assert_true(sim_run_until(s, sim_is_converged, NULL, 10000) >= 0);
		sim_run(s, 2000);
	}
	print_samples("# 50 nodes, a daemon killed: headless at each other node", &samples);
	assert_in_range(sim_percentile(&samples, 50), 1, 500);
	assert_in_range(sim_percentile(&samples, 99), 1, 700);
	sim_free(s);
}

static void test_crash_when_the_kernel_answers_then_headless_and_never_suspect(void **state)
{
	(void)state;
	headless(0);
}

static void test_crash_when_20_pct_are_lost_then_headless_and_never_suspect(void **state)
{
	(void)state;
	headless(20);
}

static void test_freeze_when_short_then_it_kills_nobody(void **state)
{
	struct sim *s = cluster(NODES, 31, 0, true);
	struct watch w;

	(void)state;
	for (size_t k = 0; k < 10; k++) {
		watch_begin(s, &w, 3 + k);
		sim_freeze(s, 3 + k, 1500);
		sim_run(s, 8000);
		assert_int_equal(w.deaths, 0);	    /* it was suspected, and refuted */
		assert_int_equal(w.others_gone, 0); /* and accused nobody when it woke */
		assert_int_equal(s->node[3 + k].core->n.frozen, 1);
		assert_true(sim_is_converged(s, NULL));
	}
	sim_free(s);
}

static bool is_dead_to_all(struct sim *s, void *arg)
{
	const size_t *of = arg;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (i != *of && sim_state_of(s, i, *of) != GOSSIP_DEAD)
			return false;
	return true;
}

/* Each finds at every other step that it did not run for a while, and each time its probes prove nothing. */
static void test_kill_when_all_others_stutter_then_it_dies_later(void **state)
{
	struct sim *s = cluster(NODES, 33, 1, true);
	size_t of = 23;
	struct watch w;
	int64_t ms;

	(void)state;
	for (size_t i = 0; i < NODES; i++)
		s->node[i].slow_ms = 300;
	sim_run(s, 60000);
	watch_begin(s, &w, of);
	sim_off(s, of);
	ms = sim_run_until(s, is_dead_to_all, &of, 60000);
	printf("# all stutter by up to 300 ms: dead to all after %lld ms\n", (long long)ms);
	assert_in_range(ms, 1, 30000);
	assert_int_equal(w.others_gone, 0);
	sim_free(s);
}

static void test_kill_when_two_nodes_then_one_vote_is_enough(void **state)
{
	(void)state;
	for (size_t nodes = 2; nodes <= 4; nodes++) {
		struct sim *s = cluster(nodes, 40 + nodes, 0, false);
		struct watch w;
		int64_t ms;

		watch_begin(s, &w, 1);
		sim_off(s, 1);
		ms = sim_run_until(s, all_gone, &w, 5000);
		printf("# %zu nodes: routed around after %lld ms\n", nodes, (long long)ms);
		assert_in_range(ms, 1, 1500);
		assert_int_equal(w.others_gone, 0);
		sim_run(s, 5000);
		assert_int_equal(sim_state_of(s, 0, 1), GOSSIP_DEAD);
		sim_start(s, 1);
		assert_true(sim_run_until(s, sim_is_converged, NULL, 5000) >= 0);
		sim_free(s);
	}
}

static void test_leave_when_on_purpose_then_left_and_not_dead(void **state)
{
	struct sim *s = cluster(20, 50, 0, false);
	struct watch w;

	(void)state;
	watch_begin(s, &w, 7);
	sim_leave(s, 7);
	sim_run(s, 200);
	for (size_t i = 0; i < 20; i++)
		if (i != 7)
			assert_int_equal(sim_state_of(s, i, 7), GOSSIP_LEFT);
	sim_run(s, 10000);
	assert_int_equal(w.gone_ms[0], 0);
	sim_start(s, 7);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 10000) >= 0);
	sim_free(s);
}

/* Nobody reaches it: it must find out that the others are gone, though nobody confirms. */
static void test_partition_when_alone_then_it_sees_the_others_gone(void **state)
{
	struct sim *s = cluster(20, 60, 0, false);
	size_t gone = 0;

	(void)state;
	sim_partition(s, 4, 1);
	sim_run(s, 30000);
	for (size_t i = 0; i < 20; i++)
		gone += i != 4 && sim_state_of(s, 4, i) >= GOSSIP_SUSPECT;
	assert_int_equal(gone, 19);
	sim_heal(s);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kill_when_the_network_is_clean_then_all_know_in_time),
		cmocka_unit_test(test_kill_when_20_pct_are_lost_then_all_know_in_time),
		cmocka_unit_test(test_run_when_20_pct_are_lost_then_nobody_is_suspected),
		cmocka_unit_test(test_run_when_regions_are_far_then_nobody_is_suspected),
		cmocka_unit_test(test_crash_when_a_daemon_is_killed_then_headless_in_time),
		cmocka_unit_test(
			test_crash_when_the_kernel_answers_then_headless_and_never_suspect),
		cmocka_unit_test(test_crash_when_20_pct_are_lost_then_headless_and_never_suspect),
		cmocka_unit_test(test_freeze_when_short_then_it_kills_nobody),
		cmocka_unit_test(test_kill_when_all_others_stutter_then_it_dies_later),
		cmocka_unit_test(test_kill_when_two_nodes_then_one_vote_is_enough),
		cmocka_unit_test(test_leave_when_on_purpose_then_left_and_not_dead),
		cmocka_unit_test(test_partition_when_alone_then_it_sees_the_others_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
