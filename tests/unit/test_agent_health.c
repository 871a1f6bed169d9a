/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Signals become health: who may be taken out, who comes back when, whose signals are believed; which port is watched. */
#include "tests/unit/agent_fake.h"

#define PASSING MODEL_HEALTH_PASSING
#define FAILING MODEL_HEALTH_FAILING

static struct own_backend *own(uint16_t port)
{
	char key[MODEL_KEY_MAX];
	struct own_backend *o;

	snprintf(key, sizeof(key), "web/10.80.0.1:%u", port);
	o = agent_own_find(current->agent, key);
	assert_non_null(o);
	return o;
}

static void signal_now(uint16_t port)
{
	agent_health_signal(own(port), "port unreachable", uv_hrtime());
}

static uint16_t awaited_port;
static uint8_t awaited_state, awaited_cause;
static bool is_so(void)
{
	const struct model_health *h = &own(awaited_port)->health;

	return h->state == awaited_state && h->cause == awaited_cause;
}
static void until(uint16_t port, uint8_t state, uint8_t cause)
{
	awaited_port = port;
	awaited_state = state;
	awaited_cause = cause;
	turn_until(is_so);
}

static uint8_t awaited_share;
static bool is_share(void)
{
	return own(awaited_port)->health.share_pct == awaited_share;
}
static bool is_slow(void)
{
	return own(awaited_port)->slow_ms != 0;
}
static void until_share(uint16_t port, uint8_t share_pct)
{
	awaited_port = port;
	awaited_share = share_pct;
	turn_until(is_share);
}

/* A service on TCP 80 with `count` backends from port 8001 on. */
static void begin(struct node *n, unsigned count, enum model_check_kind kind)
{
	struct model_service s = service("web", "198.51.100.1", IPPROTO_TCP, 80, 80);

	node_ready(n);
	add_service(&s, 0, "");
	for (unsigned i = 1; i <= count; i++) {
		struct model_backend b = backend("web", "10.80.0.1", (uint16_t)(8000 + i));

		model_check_default(kind, &b.check);
		b.check.interval_ms = 60000;
		b.check.timeout_ms = 1000;
		b.check.fall = 5;
		add_backend(&b, 0, "");
		until((uint16_t)(8000 + i), PASSING, MODEL_CAUSE_CHECK);
	}
	agent_compute(current->agent);
}

static void test_slow_start_when_backend_returns_then_its_share_rises_in_steps(void **state)
{
	static const char *const slow[] = {"slow_start=40"}, *const off[] = {"slow_start=off"};

	begin(*state, 2, MODEL_CHECK_NONE);
	assert_int_equal(own(8001)->health.share_pct, 0);
	agent_service_set(current->agent, "web", slow, 1, on_answer, NULL);
	expect(0, "");
	signal_now(8001);
	assert_int_equal(own(8001)->health.share_pct, 0);
	now_ms += 5000;
	until(8001, PASSING, MODEL_CAUSE_CHECK);
	assert_int_equal(own(8001)->health.share_pct, 10);
	now_ms += 9999;
	until_share(8001, 10);
	now_ms += 1;
	until_share(8001, 25);
	agent_compute(current->agent);
	for (size_t i = 0; i < current->agent->world->view.backend_count; i++)
		assert_int_equal(current->agent->world->backend[i].share_pct,
				 current->agent->world->backend[i].backend.port == 8001 ? 25 : 0);
	/* As after a restart: on from there. */
	own(8001)->slow_ms = 0;
	turn_until(is_slow);
	now_ms += 10000;
	until_share(8001, 50);
	now_ms += 10000;
	until_share(8001, 75);
	agent_service_set(current->agent, "web", off, 1, on_answer, NULL);
	expect(0, "");
	until_share(8001, 0);
	node_stop(*state);
}

static void test_signal_when_share_is_reached_then_the_rest_stays(void **state)
{
	static const char *const all[] = {"eject=100"};

	begin(*state, 4, MODEL_CHECK_NONE);
	signal_now(8001);
	assert_int_equal(own(8001)->health.state, FAILING);
	assert_int_equal(own(8001)->health.cause, MODEL_CAUSE_SIGNAL);
	assert_non_null(strstr(own(8001)->health.why, "port unreachable"));
	signal_now(8002);
	assert_int_equal(own(8002)->health.state, FAILING);
	signal_now(8003); /* three of four are more than half */
	assert_int_equal(own(8003)->health.state, PASSING);
	agent_service_set(current->agent, "web", all, 1, on_answer, NULL);
	expect(0, "");
	signal_now(8003);
	assert_int_equal(own(8003)->health.state, FAILING);
	signal_now(8004); /* whatever the share: the last one stays */
	assert_int_equal(own(8004)->health.state, PASSING);
	node_stop(*state);
}

static void test_signal_when_there_is_no_check_then_back_ever_later(void **state)
{
	begin(*state, 2, MODEL_CHECK_NONE);
	for (unsigned i = 0; i < 3; i++) {
		signal_now(8001);
		assert_int_equal(own(8001)->health.state, FAILING);
		assert_int_equal(own(8001)->backoff_ms, 5000 << i);
		assert_int_equal(own(8001)->return_ms, now_ms + (5000 << i));
		now_ms += 5000ull << i;
		until(8001, PASSING, MODEL_CAUSE_CHECK);
	}
	/* Long after that it begins anew. */
	now_ms += 10 * 20000;
	signal_now(8001);
	assert_int_equal(own(8001)->backoff_ms, 5000);
	node_stop(*state);
}

static int listening(uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, "10.80.0.1", &sa.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static bool is_not_doubted(void)
{
	return !own(8001)->is_doubted;
}

static void test_signal_when_the_check_contradicts_then_not_believed_alone(void **state)
{
	int one = listening(8001), two = listening(8002);

	begin(*state, 2, MODEL_CHECK_TCP);
	signal_now(8001);
	assert_int_equal(own(8001)->health.state, FAILING);
	until(8001, PASSING, MODEL_CAUSE_CHECK);
	assert_int_equal(own(8001)->distrust_ms, 10000);
	/* Not believed now: it stays, whatever is said, while its check passes. */
	signal_now(8001);
	assert_int_equal(own(8001)->health.state, PASSING);
	turn_until(is_not_doubted);
	assert_int_equal(own(8001)->health.state, PASSING);
	/* Believed again later, and wrong again: for twice as long. */
	now_ms += 10001;
	signal_now(8001);
	assert_int_equal(own(8001)->health.state, FAILING);
	until(8001, PASSING, MODEL_CAUSE_CHECK);
	assert_int_equal(own(8001)->distrust_ms, 20000);
	/* Right this time: one failing probe is enough, though five would be needed without. */
	close(one);
	signal_now(8001);
	assert_int_equal(own(8001)->health.state, PASSING);
	until(8001, FAILING, MODEL_CAUSE_CHECK);
	assert_int_equal(own(8001)->distrust_ms, 0);
	close(two);
	node_stop(*state);
}

static void test_signal_when_the_check_agrees_then_the_check_has_it(void **state)
{
	int one = listening(8001), two = listening(8002);

	begin(*state, 2, MODEL_CHECK_TCP);
	close(one);
	signal_now(8001);
	assert_int_equal(own(8001)->health.cause, MODEL_CAUSE_SIGNAL);
	until(8001, FAILING, MODEL_CAUSE_CHECK);
	assert_string_equal(own(8001)->health.why, "connection refused");
	close(two);
	node_stop(*state);
}

/* ---- the watched port */

static void watched(const char *name, const char *check, uint8_t proto, uint16_t port)
{
	struct own_backend o = {.agent = current->agent};
	struct dp_local l = {0};

	o.model = backend(name, "10.80.0.1", 7000);
	assert_int_equal(model_check_parse(check, &o.model.check, NULL), 0);
	agent_health_watch(&o, &l);
	if (l.watch_proto != proto || ntohs(l.watch_port_be) != port)
		fail_msg("%s with %s: %u/%u, want %u/%u", name, check, l.watch_proto,
			 ntohs(l.watch_port_be), proto, port);
}

static void test_watch_when_ports_and_checks_vary_then_the_one_that_says_most(void **state)
{
	struct model_service single = service("single", "198.51.100.1", IPPROTO_UDP, 53, 53),
			     range = service("range", "198.51.100.2", IPPROTO_TCP, 5000, 5099),
			     both = service("both", "198.51.100.3", IPPROTO_UDP, 53, 53);

	node_ready(*state);
	both.port[1] = (struct model_port){IPPROTO_TCP, {53, 53}};
	both.port_count = 2;
	add_service(&single, 0, "");
	add_service(&range, 0, "");
	add_service(&both, 0, "");
	watched("single", "none", IPPROTO_UDP, 7000);
	watched("single", "udp", IPPROTO_UDP, 7000);
	watched("single", "tcp:port=9000", IPPROTO_UDP, 7000); /* its health page elsewhere */
	watched("range", "none", 0, 0);
	watched("range", "tcp", IPPROTO_TCP, 7000);
	watched("range", "tcp:port=7042", IPPROTO_TCP, 7042);
	watched("range", "tcp:port=7100", 0, 0); /* none of its ports */
	watched("range", "udp", 0, 0);
	watched("both", "none", 0, 0);
	watched("both", "udp", IPPROTO_UDP, 7000);
	watched("both", "tcp", IPPROTO_TCP, 7000);
	watched("nowhere", "tcp", 0, 0);
	node_stop(*state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_signal_when_share_is_reached_then_the_rest_stays),
		CASE(test_slow_start_when_backend_returns_then_its_share_rises_in_steps),
		CASE(test_signal_when_there_is_no_check_then_back_ever_later),
		CASE(test_signal_when_the_check_contradicts_then_not_believed_alone),
		CASE(test_signal_when_the_check_agrees_then_the_check_has_it),
		CASE(test_watch_when_ports_and_checks_vary_then_the_one_that_says_most),
	};

	return cmocka_run_group_tests_name("agent_health", tests, setup_net, NULL);
}
