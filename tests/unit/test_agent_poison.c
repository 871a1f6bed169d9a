/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An agent that dies in a computation, in a child process, and the next one, which has to find out of what. */
#define FAKE_STATE_DIR
#include "tests/unit/agent_fake.h"

#include <sys/wait.h>
#include <time.h>

static bool is_harmless;     /* for a while */
static bool is_endless;	     /* "bad" does not crash, it never ends */
static bool is_bad_slow;     /* "bad" does not crash, it takes its time */
static bool is_slow_now;     /* "bad" does not crash, it waits for something */
static unsigned int burn_ms; /* likewise: for each service that is new */

static void burn(unsigned int ms)
{
	clock_t until = clock() + (clock_t)ms * (CLOCKS_PER_SEC / 1000);

	while (clock() < until)
		;
}

/* Instead of edge/poison_hook.c: a service "bad" with pps=666 crashes routes; "pair-b" crashes the plan where "pair-a" is. */
void poison_hook(enum poison_step step, const struct model_service *service, size_t count)
{
	bool has_a = false, has_b = false;

	for (size_t i = 0; i < count && !is_harmless; i++) {
		has_a |= !strcmp(service[i].name, "pair-a");
		has_b |= !strcmp(service[i].name, "pair-b");
		if (step == POISON_ROUTE && !strcmp(service[i].name, "bad") &&
		    service[i].policy.pps == 666 && (is_bad_slow || is_endless || is_slow_now))
			burn(burn_ms);
		else if (step == POISON_ROUTE && !strcmp(service[i].name, "bad") &&
			 service[i].policy.pps == 666)
			raise(SIGSEGV);
	}
	if (step == POISON_ROUTE && has_a && has_b)
		raise(SIGSEGV);
	for (size_t i = 0; i < count && step == POISON_ROUTE && !is_harmless; i++) {
		if (is_endless && !strcmp(service[i].name, "bad") && service[i].policy.pps == 666)
			for (;;)
				burn(100);
		if (is_slow_now && !strcmp(service[i].name, "bad") && service[i].policy.pps == 666)
			sleep(2);
		if (service[i].policy.pps == 7)
			burn(burn_ms);
	}
}

static size_t encode(const char *name, uint32_t pps, uint8_t value[RECORD_VALUE_MAX])
{
	struct model_service s = {.policy = {.pps = pps}, .vip_count = 1, .port_count = 1};
	int len;

	snprintf(s.name, sizeof(s.name), "%s", name);
	assert_int_equal(ip_parse("198.51.100.1", &s.vip[0]), 0);
	s.port[0] = (struct model_port){.l4_proto = IPPROTO_UDP, .ports = {53, 53}};
	len = model_service_encode(&s, value, RECORD_VALUE_MAX);
	assert_true(len > 0);
	return (size_t)len;
}

static enum agent_change apply(const char *name, uint32_t pps, uint64_t seq)
{
	uint8_t value[RECORD_VALUE_MAX];
	struct record r = {.kind = MODEL_KIND_SERVICE,
			   .seq = seq,
			   .key = (const uint8_t *)name,
			   .key_len = strlen(name),
			   .value = value};

	r.value_len = encode(name, pps, value);
	return agent_fact_apply(current->agent, &r);
}

static uint32_t pps_of(const char *name)
{
	const union fact_value *v = agent_fact_find(current->agent, NULL, MODEL_KIND_SERVICE, name);

	return v ? v->service.policy.pps : UINT32_MAX;
}

/* In a child: a life that applies these in one go, and dies of them. Every service was there before, with 1. */
static void die_of(struct node *n, const char *const *name, size_t count)
{
	const struct rlimit none = {0, 0};
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		node_start(n, false);
		for (size_t i = 0; i < count; i++)
			if (strncmp(name[i], "pair", 4) != 0)
				apply(name[i], 1, 1);
		agent_compute(n->agent);
		for (size_t i = 0; i < count; i++)
			apply(name[i], strcmp(name[i], "bad") ? 7 : 666, 2);
		agent_compute(n->agent);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSEGV);
}

static void assert_only_held(const char *spec, bool has_former)
{
	struct agent_quarantined q;

	assert_true(agent_quarantine_at(current->agent, 0, &q));
	assert_string_equal(q.spec, spec);
	assert_int_equal(q.has_former, has_former);
	assert_int_equal(q.signal, SIGSEGV);
	assert_false(agent_quarantine_at(current->agent, 1, &q));
}

static void test_start_after_death_of_many_then_trial_finds_the_one(void **state)
{
	static const char *const name[] = {"a", "b", "c", "bad", "d", "e", "f"};

	die_of(*state, name, 7);
	node_start(*state, false);
	assert_only_held("service/bad", true);
	/* It comes again, with others, and is not applied; what was there before it is. */
	assert_int_equal(apply("bad", 666, 2), AGENT_CHANGED);
	assert_int_equal(pps_of("bad"), 1);
	assert_int_equal(apply("a", 7, 2), AGENT_CHANGED);
	agent_compute(current->agent);
	assert_int_equal(apply("bad", 5, 3), AGENT_CHANGED);
	assert_int_equal(pps_of("bad"), 5);
	assert_int_equal(poison_count(current->agent->poison), 0);
	/* The old one, from a store that had not got the newer: still not. */
	assert_int_equal(apply("bad", 666, 2), AGENT_SAME);
	assert_int_equal(poison_count(current->agent->poison), 0);
	/* Said anew: known as deadly. */
	assert_int_equal(apply("bad", 666, 4), AGENT_SAME);
	assert_only_held("service/bad", true);
	assert_int_equal(pps_of("bad"), 5);
	agent_compute(current->agent);
	node_stop(*state);
	node_start(*state, false);
	assert_int_equal(apply("bad", 666, 4), AGENT_CHANGED);
	assert_int_equal(pps_of("bad"), 5);
	node_stop(*state);
}

static void test_start_after_death_of_a_pair_then_the_later_one_is_held(void **state)
{
	static const char *const name[] = {"a", "pair-a", "b", "pair-b", "c"};

	die_of(*state, name, 5);
	node_start(*state, false);
	assert_only_held("service/pair-b", false);
	apply("pair-a", 7, 2);
	apply("pair-b", 7, 2);
	assert_int_equal(pps_of("pair-a"), 7);
	assert_int_equal(pps_of("pair-b"), UINT32_MAX);
	agent_compute(current->agent);
	node_stop(*state);
}

static const struct agent_trial_limits usual_limits = {.cpu_s = 20, .child_s = 60, .all_s = 300};

/* It died of something, and now the machine is slow: that is nobody's fault. */
static void test_trial_when_the_machine_is_slow_then_nobody_is_held(void **state)
{
	static const char *const name[] = {"a", "bad"};

	agent_trial_limits.child_s = 1;
	die_of(*state, name, 2);
	is_slow_now = true;
	node_start(*state, false);
	is_slow_now = false;
	agent_trial_limits = usual_limits;
	assert_int_equal(poison_count(current->agent->poison), 0);
	node_stop(*state);
}

static void test_trial_when_each_takes_its_part_of_the_time_then_nobody_is_held(void **state)
{
	static const char *const name[] = {"a", "bad"};

	agent_trial_limits.cpu_s = 1;
	die_of(*state, name, 2);
	burn_ms = 700;
	is_bad_slow = true;
	node_start(*state, false);
	burn_ms = 0;
	is_bad_slow = false;
	agent_trial_limits = usual_limits;
	assert_int_equal(poison_count(current->agent->poison), 0);
	node_stop(*state);
}

static void test_trial_when_one_never_ends_then_it_is_held(void **state)
{
	static const char *const name[] = {"a", "bad"};

	agent_trial_limits.cpu_s = 1;
	die_of(*state, name, 2);
	is_endless = true;
	node_start(*state, false);
	is_endless = false;
	agent_trial_limits = usual_limits;
	assert_only_held("service/bad", true);
	node_stop(*state);
}

static bool is_stored(void)
{
	struct store_status st;

	store_get_status(current->store, &st);
	return st.queued == 0 && st.commits > 0;
}

/* A life in which nothing is poison, and "bad" is stored with others. */
static void store_poison(struct node *n)
{
	static const char *const name[] = {"a", "b", "bad", "c", "d"};
	uint8_t value[RECORD_VALUE_MAX];

	is_harmless = true;
	node_start(n, false);
	for (size_t i = 0; i < 5; i++) {
		size_t len = encode(name[i], i == 2 ? 666 : 1, value);

		assert_int_equal(gossip_core_put(n->core, now_ms, MODEL_KIND_SERVICE, name[i],
						 value, len, false),
				 0);
	}
	pump();
	turn_until(is_stored);
	node_stop(n);
	is_harmless = false;
}

static void test_start_when_the_suspects_are_innocent_then_all_are_tried(void **state)
{
	struct node *n = *state;
	const struct rlimit none = {0, 0};
	int status;
	pid_t pid;

	store_poison(n);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		is_harmless = true;
		node_start(n, false);
		agent_compute(n->agent);
		is_harmless = false;
		apply("e", 1, 90);
		apply("f", 1, 91);
		agent_compute(n->agent);
		_exit(0);
	}
	n->generation++;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	node_start(n, false);
	assert_int_equal(poison_count(n->agent->poison), 1);
	assert_memory_equal(poison_at(n->agent->poison, 0)->key, "bad", 3);
	apply("e", 1, 90);
	assert_int_equal(pps_of("e"), 1);
	agent_compute(n->agent);
	node_stop(n);
}

/* A program that can't stand what an older one could, and stored: nobody in particular is suspected. */
static void test_start_when_the_store_holds_poison_then_all_are_tried(void **state)
{
	struct node *n = *state;
	const struct rlimit none = {0, 0};
	int status;
	pid_t pid;

	store_poison(n);
	pid = fork();
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		node_start(n, false);
		_exit(0);
	}
	n->generation++;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	node_start(n, false);
	assert_int_equal(poison_count(n->agent->poison), 1);
	assert_memory_equal(poison_at(n->agent->poison, 0)->key, "bad", 3);
	assert_int_equal(pps_of("bad"), UINT32_MAX);
	assert_int_equal(pps_of("d"), 1);
	agent_compute(n->agent);
	node_stop(n);
}

static void test_release_when_it_is_no_more_known_then_just_forgotten(void **state)
{
	static const char *const name[] = {"bad"};
	struct err e = {0};

	die_of(*state, name, 1);
	node_start(*state, false);
	assert_only_held("service/bad", true);
	assert_int_equal(agent_quarantine_release(current->agent, "service/x", &e), -ENOENT);
	assert_int_equal(agent_quarantine_release(current->agent, "service/bad", &e), 0);
	assert_int_equal(poison_count(current->agent->poison), 0);
	node_stop(*state);
}

static void test_release_when_keys_look_alike_then_the_one_that_was_meant(void **state)
{
	static const char *const key[] = {"b\1d", "b\2d"};
	struct agent_quarantined q[2];
	struct err e = {0};

	node_start(*state, false);
	for (size_t i = 0; i < 2; i++) {
		struct record r = {.kind = MODEL_KIND_SERVICE,
				   .seq = 1,
				   .key = (const uint8_t *)key[i],
				   .key_len = 3,
				   .value = (const uint8_t *)"?",
				   .value_len = 1};

		assert_int_equal(agent_fact_apply(current->agent, &r), AGENT_SAME);
		assert_true(agent_quarantine_at(current->agent, i, &q[i]));
		assert_memory_equal(q[i].spec, "service/b?d#", 12);
	}
	assert_string_not_equal(q[0].spec, q[1].spec);
	assert_int_equal(agent_quarantine_release(current->agent, q[1].spec, &e), 0);
	assert_true(agent_quarantine_at(current->agent, 0, &q[1]));
	assert_string_equal(q[0].spec, q[1].spec);
	assert_false(agent_quarantine_at(current->agent, 1, &q[1]));
	node_stop(*state);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_start_after_death_of_many_then_trial_finds_the_one),
		CASE(test_trial_when_the_machine_is_slow_then_nobody_is_held),
		CASE(test_trial_when_each_takes_its_part_of_the_time_then_nobody_is_held),
		CASE(test_trial_when_one_never_ends_then_it_is_held),
		CASE(test_start_after_death_of_a_pair_then_the_later_one_is_held),
		CASE(test_start_when_the_store_holds_poison_then_all_are_tried),
		CASE(test_start_when_the_suspects_are_innocent_then_all_are_tried),
		CASE(test_release_when_keys_look_alike_then_the_one_that_was_meant),
		CASE(test_release_when_it_is_no_more_known_then_just_forgotten),
	};
#undef CASE
	const char *t = getenv("T");

	if (t)
		cmocka_set_test_filter(t);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
