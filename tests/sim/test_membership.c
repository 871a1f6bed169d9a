/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who comes back, how, and what harm it must not do: disks wiped and cloned, addresses, clocks, splits, the long dead. What
 * other gossip programs are known to have got wrong is here, one test each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/member.h"
#include "tests/sim/sim_cluster.h"

#define DAY_S 86400

/* Events since watch_begin(). */
struct watch {
	size_t subject;
	size_t alive_again;		 /* some node took the subject for alive again */
	size_t others_gone, others_dead; /* someone else was suspected or worse */
	size_t conflicts;
};

static void watch_cb(struct sim *s, struct sim_node *n, const struct gossip_event *ev, void *arg)
{
	struct watch *w = arg;

	(void)n;
	if (ev->kind == GOSSIP_EV_CONFLICT)
		w->conflicts++;
	if (ev->kind != GOSSIP_EV_MEMBER)
		return;
	if (node_id_cmp(&ev->member.id, &s->node[w->subject].id) == 0) {
		w->alive_again += ev->member.state <= GOSSIP_SUSPECT &&
				  (ev->is_new || ev->old_state != ev->member.state);
		return;
	}
	w->others_gone += ev->member.state == GOSSIP_SUSPECT || ev->member.state == GOSSIP_DEAD;
	w->others_dead += ev->member.state == GOSSIP_DEAD;
}

static void watch_begin(struct sim *s, struct watch *w, size_t subject)
{
	*w = (struct watch){.subject = subject};
	s->event_cb = watch_cb;
	s->arg = w;
}

static struct sim *cluster_of(const struct sim_config *cfg, size_t start)
{
	struct sim *s = sim_new(cfg);

	for (size_t i = 0; i < start; i++)
		sim_start(s, i);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 3000);
	return s;
}

static struct sim *cluster(size_t nodes, uint64_t seed)
{
	return cluster_of(&(struct sim_config){.nodes = nodes, .seed = sim_seed(seed)}, nodes);
}

struct expect {
	size_t subject;
	enum gossip_state state;
};

static bool all_say(struct sim *s, void *arg)
{
	struct expect *x = arg;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (i != x->subject && s->node[i].life == SIM_UP &&
		    node_id_cmp(&s->node[i].id, &s->node[x->subject].id) != 0 &&
		    sim_state_of(s, i, x->subject) != x->state)
			return false;
	return true;
}

static int64_t until_all_say(struct sim *s, size_t subject, enum gossip_state state,
			     uint64_t limit_ms)
{
	return sim_run_until(s, all_say, &(struct expect){subject, state}, limit_ms);
}

static bool is_at_its_address(struct sim *s, void *arg)
{
	size_t subject = *(size_t *)arg;

	for (size_t i = 0; i < s->cfg.nodes; i++) {
		struct member *m;

		if (s->node[i].life != SIM_UP ||
		    (i != subject && node_id_cmp(&s->node[i].id, &s->node[subject].id) == 0))
			continue;
		m = member_get(s->node[i].core, &s->node[subject].id);
		if (!m || m->state != GOSSIP_ALIVE || !member_is_at(m, &s->node[subject].addr))
			return false;
	}
	return true;
}

/* ---- coming back */

static void come_back(struct sim *s, size_t i, bool is_wiped, bool is_moved, int64_t skew_s,
		      bool was_dead)
{
	struct watch w;
	int64_t ms;

	sim_off(s, i);
	if (was_dead)
		assert_true(until_all_say(s, i, GOSSIP_DEAD, 10000) >= 0);
	if (is_wiped)
		sim_wipe(s, i);
	if (is_moved)
		sim_move(s, i);
	s->node[i].clock_skew_s = skew_s;
	watch_begin(s, &w, i);
	sim_start(s, i);
	ms = sim_run_until(s, is_at_its_address, &i, 10000);
	printf("# disk %s, address %s, clock %+lld h, %s: taken by all after %lld ms\n",
	       is_wiped ? "wiped" : "kept", is_moved ? "new" : "kept", (long long)skew_s / 3600,
	       was_dead ? "held dead" : "at once", (long long)ms);
	assert_in_range(ms, 0, 6000);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 20000) >= 0);
	sim_run(s, 10000);
	assert_true(sim_is_converged(s, NULL));
	assert_int_equal(w.others_gone, 0);
	s->event_cb = NULL;
}

/* A newcomer's numbers begin low, or its clock says yesterday: held dead under higher ones it must be taken all the same. */
static void test_restart_when_at_a_lower_incarnation_then_taken_again(void **state)
{
	struct sim *s = cluster(20, 1);

	(void)state;
	/* Refute some suspicions, so that others hold it at incarnation > 0. */
	for (int k = 0; k < 3; k++) {
		sim_cut(s, 0, 7, true);
		sim_freeze(s, 7, 1500);
		sim_run(s, 6000);
	}
	sim_heal(s);
	come_back(s, 7, true, false, -DAY_S, true);
	come_back(s, 7, true, false, -DAY_S, false);
	come_back(s, 7, false, false, 0, true);
	sim_free(s);
}

static void test_restart_when_the_disk_was_wiped_then_no_harm(void **state)
{
	struct sim *s = cluster(20, 2);

	(void)state;
	assert_int_equal(sim_put(s, 4, SIM_KIND, "a", 7, true), 0);
	sim_run(s, 2000);
	come_back(s, 4, true, false, 0, false);
	/* What it wrote in its former life it did not restate: gone, everywhere. */
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(sim_get(s, i, 4, SIM_KIND, "a"), -1);
	sim_free(s);
}

static void test_restart_when_the_address_is_new_then_taken_at_once(void **state)
{
	struct sim *s = cluster(20, 3);

	(void)state;
	come_back(s, 4, false, true, 0, false);
	come_back(s, 5, true, true, 0, false);
	come_back(s, 4, false, true, 0, true);
	sim_free(s);
}

static void test_restart_when_the_clock_is_a_day_off_then_no_harm(void **state)
{
	struct sim *s = cluster(20, 4);

	(void)state;
	assert_int_equal(sim_put(s, 4, SIM_KIND, "a", 7, true), 0);
	for (int k = 0; k < 4; k++) {
		come_back(s, 4, false, false, k % 2 ? -DAY_S : DAY_S, false);
		assert_int_equal(sim_put(s, 4, SIM_KIND, "a", 10 + (uint64_t)k, true), 0);
		sim_run(s, 1000);
		for (size_t i = 0; i < 20; i++)
			assert_int_equal(sim_get(s, i, 4, SIM_KIND, "a"), 10 + k);
	}
	come_back(s, 4, true, false, -DAY_S, false);
	sim_free(s);
}

/* Another machine takes over a name: nothing is kept for the one that had it. */
static void test_name_when_used_again_with_a_new_address_then_taken_at_once(void **state)
{
	struct sim *s = cluster_of(&(struct sim_config){.nodes = 21, .seed = sim_seed(5)}, 20);
	struct watch w;
	int64_t ms;

	(void)state;
	sim_off(s, 7);
	s->node[20].name_idx = 7;
	watch_begin(s, &w, 7);
	sim_start(s, 20);
	ms = until_all_say(s, 20, GOSSIP_ALIVE, 5000);
	printf("# a name again at another address, another key: taken by all after %lld ms\n",
	       (long long)ms);
	assert_in_range(ms, 0, 1500);
	assert_true(until_all_say(s, 7, GOSSIP_DEAD, 6000) >= 0);
	sim_run(s, 10000);
	assert_int_equal(w.others_gone, 0);
	/* Both alive: shown, and neither is put out. */
	w.conflicts = 0;
	sim_start(s, 7);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 10000) >= 0);
	assert_true(w.conflicts > 0);
	sim_free(s);
}

/* ---- the dead stay dead */

/* Three did not hear that a node died; those who come later and those who are compared with must not bring it back. */
static void test_death_when_missed_then_learnt_and_nobody_is_resurrected(void **state)
{
	struct sim *s = cluster_of(&(struct sim_config){.nodes = 44, .seed = sim_seed(6)}, 40);
	struct watch w;
	int64_t ms;

	(void)state;
	/* Frozen while it happens: they wake up with an old view. */
	for (size_t i = 20; i < 23; i++)
		sim_freeze(s, i, 6000);
	sim_run(s, 2500);
	sim_off(s, 9);
	sim_run(s, 3400);
	for (size_t i = 0; i < 20; i++)
		if (i != 9)
			assert_int_equal(sim_state_of(s, i, 9), GOSSIP_DEAD);
	assert_int_equal(sim_state_of(s, 21, 9), GOSSIP_ALIVE);
	watch_begin(s, &w, 9);
	ms = until_all_say(s, 9, GOSSIP_DEAD, 20000);
	printf("# a death that three nodes missed: known to them after %lld ms\n", (long long)ms);
	assert_in_range(ms, 0, 8000);
	w.alive_again = 0; /* theirs is suspicion */
	/* Full comparisons with newcomers, and with who forgot all. */
	for (size_t i = 40; i < 44; i++) {
		sim_start(s, i);
		sim_off(s, i - 10);
		sim_wipe(s, i - 10);
		sim_run(s, 500);
		sim_start(s, i - 10);
		sim_run(s, 4000);
	}
	for (size_t i = 0; i < 40; i++)
		if (i != 9)
			assert_int_equal(sim_state_of(s, i, 9), GOSSIP_DEAD);
	assert_int_equal(w.alive_again, 0);
	sim_free(s);
}

static void test_leave_when_many_left_then_they_cost_nothing(void **state)
{
	struct sim *s = cluster(60, 7);
	uint64_t before = 0, after = 0;

	(void)state;
	for (size_t i = 0; i < 20; i++)
		before -= s->node[i].core->n.bytes_out;
	sim_run(s, 10000);
	for (size_t i = 0; i < 20; i++)
		before += s->node[i].core->n.bytes_out;
	for (size_t i = 20; i < 60; i++) {
		sim_leave(s, i);
		sim_run(s, 20);
	}
	sim_run(s, 20000);
	for (size_t i = 0; i < 20; i++)
		for (size_t k = 20; k < 60; k++)
			assert_int_equal(sim_state_of(s, i, k), GOSSIP_LEFT);
	for (size_t i = 0; i < 20; i++)
		after -= s->node[i].core->n.bytes_out;
	sim_run(s, 10000);
	for (size_t i = 0; i < 20; i++)
		after += s->node[i].core->n.bytes_out;
	printf("# 20 nodes, bytes in 10 s: with 40 more %llu, after these left %llu\n",
	       (unsigned long long)before, (unsigned long long)after);
	assert_true(after <= before + before / 10);
	sim_free(s);
}

/* ---- splits */

static void test_partition_when_of_90_s_then_it_heals_in_time(void **state)
{
	struct sim *s = cluster(50, 8);
	int64_t ms;

	(void)state;
	for (size_t i = 0; i < 25; i++)
		sim_partition(s, i, 1);
	sim_run(s, 90000);
	for (size_t i = 0; i < 50; i++)
		assert_int_equal(s->node[i].core->state_count[GOSSIP_ALIVE], 25);
	sim_heal(s);
	ms = sim_run_until(s, sim_is_converged, NULL, 30000);
	printf("# 50 nodes, halves apart for 90 s: one view %lld ms after the heal\n",
	       (long long)ms);
	assert_in_range(ms, 0, 5000);
	sim_free(s);
}

/* Probes are rare here, so that three days pass in seconds; nobody joins anything again. */
static void test_partition_when_of_three_days_then_it_heals_by_itself(void **state)
{
	struct sim *s = cluster_of(
		&(struct sim_config){.nodes = 4, .seed = sim_seed(9), .probe_interval_ms = 10000},
		4);
	int64_t ms;

	(void)state;
	sim_partition(s, 0, 1);
	sim_partition(s, 2, 1);
	for (int hour = 0; hour < 72; hour++) {
		sim_run(s, 3600000);
		assert_int_equal(sim_state_of(s, 0, 1), GOSSIP_DEAD);
		assert_int_equal(sim_state_of(s, 3, 2), GOSSIP_DEAD);
		assert_int_equal(sim_state_of(s, 0, 2), GOSSIP_ALIVE);
	}
	for (size_t i = 0; i < 4; i++)
		s->node[i].core->seed_count = 0;
	sim_heal(s);
	ms = sim_run_until(s, sim_is_converged, NULL, 60000);
	printf("# 4 nodes, halves apart for three days: one view %lld ms after the heal\n",
	       (long long)ms);
	assert_in_range(ms, 0, 15000);
	sim_free(s);
}

/* What the disk remembers of others, also of the dead, is enough: the seeds are gone for good. */
static void test_restart_when_in_a_partition_then_it_finds_the_others_again(void **state)
{
	struct sim *s = cluster(12, 10);
	int64_t ms;

	(void)state;
	sim_partition(s, 5, 1);
	sim_run(s, 20000);
	for (size_t i = 0; i < 12; i++)
		if (i != 5)
			assert_int_equal(sim_state_of(s, 5, i), GOSSIP_DEAD);
	sim_off(s, 5);
	sim_run(s, 1000);
	sim_off(s, 0);
	sim_off(s, 1);
	sim_start(s, 5);
	sim_run(s, 5000);
	for (size_t i = 0; i < 12; i++)
		assert_true(i == 5 || sim_sees(s, 5, i));
	sim_heal(s);
	ms = sim_run_until(s, sim_is_converged, NULL, 30000);
	printf("# restarted while apart, seeds gone: one view %lld ms after the heal\n",
	       (long long)ms);
	assert_in_range(ms, 0, 15000);
	sim_free(s);
}

/* ---- the unwell */

static void test_node_when_overloaded_then_the_healthy_do_not_flap(void **state)
{
	struct sim *s = cluster(50, 11);
	struct watch w;

	(void)state;
	/* Late with everything, by up to two seconds: one, then four. */
	s->node[3].slow_ms = 2000;
	watch_begin(s, &w, 3);
	sim_run(s, 120000);
	printf("# 50 nodes, one late by up to 2 s, 120 s: others suspected %zu times\n",
	       w.others_gone);
	assert_int_equal(w.others_gone, 0);
	for (size_t i = 10; i < 13; i++)
		s->node[i].slow_ms = 500;
	watch_begin(s, &w, 3);
	sim_run(s, 60000);
	printf("# ... and three by up to 0.5 s, 60 s: others suspected %zu, dead %zu times\n",
	       w.others_gone, w.others_dead);
	assert_int_equal(w.others_dead, 0);
	sim_free(s);
}

static void test_send_when_it_fails_locally_then_a_failed_probe_and_no_death(void **state)
{
	struct sim *s = cluster(20, 12);
	struct watch w;
	int64_t ms;

	(void)state;
	/* One pair: a fault of that path, and of nobody. */
	sim_deny(s, 5, 9, true);
	watch_begin(s, &w, 9);
	sim_run(s, 30000);
	assert_int_equal(w.others_gone, 0);
	assert_int_equal(w.alive_again, 0);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(sim_state_of(s, i, 9), GOSSIP_ALIVE);
	/* Nobody may send to it: found at once, though no packet was ever lost. */
	for (size_t i = 0; i < 20; i++)
		sim_deny(s, i, 9, true);
	ms = until_all_say(s, 9, GOSSIP_DEAD, 10000);
	printf("# every send to one node fails locally: dead to all after %lld ms\n",
	       (long long)ms);
	assert_in_range(ms, 0, 6000);
	sim_heal(s);
	/* It may not send to anybody: it knows that it is cut off. */
	for (size_t i = 0; i < 20; i++)
		sim_deny(s, 3, i, true);
	sim_run(s, 20000);
	for (size_t i = 0; i < 20; i++)
		if (i != 3)
			assert_in_range(sim_state_of(s, i, 3), GOSSIP_HEADLESS, GOSSIP_DEAD);
	sim_heal(s);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 15000) >= 0);
	sim_free(s);
}

/* ---- one life only */

static void test_crash_when_some_have_no_forwarder_then_each_by_its_lives(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = 20, .seed = sim_seed(13)});
	int64_t two, one;

	(void)state;
	for (size_t i = 0; i < 20; i += 2)
		s->node[i].no_forwarder = true;
	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 3000);
	sim_crash(s, 7);
	two = until_all_say(s, 7, GOSSIP_HEADLESS, 5000);
	sim_crash(s, 8);
	one = until_all_say(s, 8, GOSSIP_DEAD, 8000);
	printf("# process dead: with a forwarder headless after %lld ms, without dead after %lld\n",
	       (long long)two, (long long)one);
	assert_in_range(two, 0, 1500);
	assert_in_range(one, 1500, 4000);
	sim_run(s, 20000);
	assert_true(all_say(s, &(struct expect){7, GOSSIP_HEADLESS}));
	sim_start(s, 7);
	sim_start(s, 8);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 10000) >= 0);
	sim_free(s);
}

/* ---- one key twice */

static unsigned int bids(const struct sim *s)
{
	unsigned int n = 0;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		n += s->node[i].generation_events;
	return n;
}

static void test_clone_when_the_first_answers_then_it_keeps_the_id(void **state)
{
	struct sim *s = cluster_of(&(struct sim_config){.nodes = 21, .seed = sim_seed(14)}, 20);
	size_t first = 7, copy = 20;
	struct gossip_addr at;
	struct watch w;
	int64_t ms;

	(void)state;
	assert_int_equal(sim_put(s, 7, SIM_KIND, "a", 7, true), 0);
	sim_run(s, 1000);
	watch_begin(s, &w, 7);
	sim_clone(s, first, copy);
	sim_start(s, copy);
	for (int k = 0; k < 600; k++) {
		sim_run(s, 100);
		for (size_t i = 0; i < 20; i++) {
			const struct member *m = member_get(s->node[i].core, &s->node[7].id);

			assert_true(member_is_at(m, &s->node[first].addr));
			assert_int_equal(m->state, GOSSIP_ALIVE);
		}
	}
	printf("# a cloned disk, 60 s: %zu conflicts shown, %u generations\n", w.conflicts,
	       bids(s));
	assert_true(s->node[first].conflict_events > 0);
	assert_true(s->node[copy].conflict_events > 0);
	assert_true(gossip_core_has_yielded(s->node[copy].core, &at));
	assert_memory_equal(at.ip, s->node[first].addr.ip, 16);
	assert_false(gossip_core_has_yielded(s->node[first].core, &at));
	assert_int_equal(bids(s), 0);
	assert_int_equal(w.others_gone, 0);
	for (size_t i = 0; i < 20; i++)
		assert_int_equal(sim_get(s, i, 7, SIM_KIND, "a"), 7);
	/* The first one goes: the other may have the id. */
	sim_off(s, first);
	ms = sim_run_until(s, is_at_its_address, &copy, 30000);
	printf("# ... the first one off: the clone taken after %lld ms\n", (long long)ms);
	assert_in_range(ms, 1000, 20000);
	sim_free(s);
}

/* Both were taken in, each on its side: one must yield, and quietly. */
static void test_clone_when_a_partition_heals_then_one_yields_without_a_storm(void **state)
{
	struct sim *s = cluster_of(&(struct sim_config){.nodes = 21, .seed = sim_seed(15)}, 20);
	size_t first = 7, copy = 20, keeper;
	struct gossip_addr at;
	struct watch w;
	int64_t ms;

	(void)state;
	for (size_t i = 10; i < 21; i++)
		sim_partition(s, i, 1);
	sim_run(s, 10000);
	sim_clone(s, first, copy);
	sim_start(s, copy);
	sim_run(s, 20000);
	assert_false(gossip_core_has_yielded(s->node[copy].core, &at));
	assert_int_equal(sim_state_of(s, 12, 7), GOSSIP_ALIVE);
	watch_begin(s, &w, 7);
	sim_heal(s);
	sim_run(s, 20000);
	assert_int_not_equal(gossip_core_has_yielded(s->node[copy].core, &at),
			     gossip_core_has_yielded(s->node[first].core, &at));
	keeper = gossip_core_has_yielded(s->node[first].core, &at) ? copy : first;
	ms = sim_run_until(s, is_at_its_address, &keeper, 20000);
	printf("# cloned while apart, healed: one keeps the id, %u generations, %zu conflicts\n",
	       bids(s), w.conflicts);
	assert_in_range(ms, 0, 20000);
	assert_in_range(bids(s), 0, 6);
	sim_run(s, 60000);
	assert_true(is_at_its_address(s, &keeper));
	assert_in_range(bids(s), 0, 6);
	assert_int_equal(w.others_dead, 0);
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_restart_when_at_a_lower_incarnation_then_taken_again),
		cmocka_unit_test(test_restart_when_the_disk_was_wiped_then_no_harm),
		cmocka_unit_test(test_restart_when_the_address_is_new_then_taken_at_once),
		cmocka_unit_test(test_restart_when_the_clock_is_a_day_off_then_no_harm),
		cmocka_unit_test(test_name_when_used_again_with_a_new_address_then_taken_at_once),
		cmocka_unit_test(test_death_when_missed_then_learnt_and_nobody_is_resurrected),
		cmocka_unit_test(test_leave_when_many_left_then_they_cost_nothing),
		cmocka_unit_test(test_partition_when_of_90_s_then_it_heals_in_time),
		cmocka_unit_test(test_partition_when_of_three_days_then_it_heals_by_itself),
		cmocka_unit_test(test_restart_when_in_a_partition_then_it_finds_the_others_again),
		cmocka_unit_test(test_node_when_overloaded_then_the_healthy_do_not_flap),
		cmocka_unit_test(test_send_when_it_fails_locally_then_a_failed_probe_and_no_death),
		cmocka_unit_test(test_crash_when_some_have_no_forwarder_then_each_by_its_lives),
		cmocka_unit_test(test_clone_when_the_first_answers_then_it_keeps_the_id),
		cmocka_unit_test(test_clone_when_a_partition_heals_then_one_yields_without_a_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
