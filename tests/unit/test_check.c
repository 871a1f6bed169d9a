/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Checks against real listeners on loopback addresses. Time between probes is recorded, then shortened: uv_timer_start is
 * ours, so nothing here depends on how fast the machine is. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "edge/check/check.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LIMIT_MS 20000 /* a test that waits so long has failed */
#define DELAYS_MAX 64

/* ---- the clock between probes */

static uint64_t delay[DELAYS_MAX]; /* asked for, in order; probes' timeouts included */
static size_t delay_count;
static bool is_hasty; /* every delay becomes 1 ms, timeouts stay */
static uint64_t timeout_ms;

int uv_timer_start(uv_timer_t *t, uv_timer_cb cb, uint64_t timeout, uint64_t repeat)
{
	static int (*real)(uv_timer_t *, uv_timer_cb, uint64_t, uint64_t);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "uv_timer_start");
	if (timeout != LIMIT_MS && timeout && delay_count < DELAYS_MAX)
		delay[delay_count++] = timeout;
	if (is_hasty && timeout != LIMIT_MS && timeout != timeout_ms && timeout)
		timeout = 1;
	return real(t, cb, timeout, repeat);
}

/* ---- one backend and its check */

static struct bed {
	uv_loop_t uv;
	uv_timer_t limit;
	uv_poll_t poll;
	int fd; /* the backend, -1 = none */
	bool is_polling, is_limit_over;
	struct ip_addr addr;
	uint16_t port;
	struct check_pool *pool;
	struct check *check;
	/* results */
	unsigned calls;
	struct check_result last;
	bool is_stop_wanted;
	/* what the UDP backend says, one letter a request: r right, w wrong, s silent; the last goes on */
	const char *script;
	unsigned requests;
} bed;

static struct check_pool_config pool_config;

static void on_limit(uv_timer_t *t)
{
	(void)t;
	bed.is_limit_over = true;
}

static int setup(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	bed.fd = -1;
	delay_count = 0;
	is_hasty = false;
	uv_loop_init(&bed.uv);
	assert_int_equal(check_pool_open(&bed.uv, &pool_config, &bed.pool), 0);
	uv_timer_init(&bed.uv, &bed.limit);
	uv_timer_start(&bed.limit, on_limit, LIMIT_MS, 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	check_stop(bed.check);
	check_pool_close(bed.pool, NULL, NULL);
	if (bed.is_polling)
		uv_close((uv_handle_t *)&bed.poll, NULL);
	uv_close((uv_handle_t *)&bed.limit, NULL);
	uv_run(&bed.uv, UV_RUN_DEFAULT);
	if (bed.fd >= 0)
		close(bed.fd);
	return uv_loop_close(&bed.uv);
}

static void on_result(const struct check_result *r, void *arg)
{
	assert_ptr_equal(arg, &bed);
	bed.calls++;
	bed.last = *r;
	uv_stop(&bed.uv); /* called from a timer, the loop would poll before it returns */
	if (bed.is_stop_wanted) {
		check_stop(bed.check);
		bed.check = NULL;
	}
}

static void until_calls(unsigned n)
{
	while (bed.calls < n && !bed.is_limit_over)
		uv_run(&bed.uv, UV_RUN_ONCE);
	if (bed.calls < n)
		fail_msg("%u results, want %u; the last says %s", bed.calls, n, bed.last.why);
}

static void until_requests(unsigned n)
{
	while (bed.requests < n && !bed.is_limit_over)
		uv_run(&bed.uv, UV_RUN_ONCE);
	assert_true(bed.requests >= n);
}

/* A socket on loopback, on a port that the kernel picks. */
static void bind_to(const char *addr, int type)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr_in in = {.sin_family = AF_INET};
	bool is_v4;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	assert_int_equal(ip_parse(addr, &bed.addr), 0);
	is_v4 = ip_is_v4(&bed.addr);
	memcpy(&in.sin_addr, bed.addr.b + 12, 4);
	memcpy(&in6.sin6_addr, bed.addr.b, 16);
	bed.fd = socket(is_v4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(bed.fd >= 0);
	assert_int_equal(bind(bed.fd, is_v4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6,
			      is_v4 ? sizeof(in) : sizeof(in6)),
			 0);
	assert_int_equal(getsockname(bed.fd, (struct sockaddr *)&ss, &len), 0);
	bed.port = ntohs(is_v4 ? ((struct sockaddr_in *)&ss)->sin_port
			       : ((struct sockaddr_in6 *)&ss)->sin6_port);
}

/* The port is bound, so that nobody else gets it, but nobody listens. */
static void closed_port(const char *addr, int type)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	bind_to(addr, type);
	if (type == SOCK_STREAM)
		return;
	/* A UDP socket that is connected to itself refuses all others. */
	assert_int_equal(getsockname(bed.fd, (struct sockaddr *)&peer, &len), 0);
	assert_int_equal(connect(bed.fd, (struct sockaddr *)&peer, len), 0);
}

static void on_request(uv_poll_t *p, int status, int events)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char buf[64], say = bed.script[0];
	ssize_t n;

	(void)p;
	(void)status;
	(void)events;
	n = recvfrom(bed.fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
	if (n < 0)
		return;
	bed.requests++;
	assert_int_equal(n, 4);
	assert_memory_equal(buf, "ping", 4);
	if (bed.script[1])
		bed.script++;
	if (say != 's')
		(void)sendto(bed.fd, say == 'r' ? "pong!" : "poof!", 5, 0, (struct sockaddr *)&from,
			     len);
}

static void serve_udp(const char *addr, const char *script)
{
	bind_to(addr, SOCK_DGRAM);
	bed.script = script;
	uv_poll_init(&bed.uv, &bed.poll, bed.fd);
	uv_poll_start(&bed.poll, UV_READABLE, on_request);
	bed.is_polling = true;
}

static void start(const char *text, enum model_health_state state)
{
	struct check_of of = {
		.addr = bed.addr, .port = bed.port, .name = "web/x:1", .state = state};
	struct model_check spec;
	struct err e = {0};

	if (model_check_parse(text, &spec, &e))
		fail_msg("%s", e.text);
	timeout_ms = spec.timeout_ms;
	assert_int_equal(check_start(bed.pool, &of, &spec, on_result, &bed, &bed.check), 0);
}

#define UDP "udp:send=text:ping,expect=text:pong"
/* Long enough that nothing but its end would be waited for in vain. */
#define PATIENT ",interval=10s,timeout=10s"

/* ---- one result */

static void test_check_when_backend_answers_then_passing(void **state)
{
	static const struct {
		const char *addr, *spec, *why;
		int type;
	} row[] = {
		{"127.0.0.2", "tcp:interval=10s,timeout=10s", "connected in ", SOCK_STREAM},
		{"::1", "tcp:interval=10s,timeout=10s", "connected in ", SOCK_STREAM},
		{"127.0.0.3", UDP PATIENT, "5 bytes in ", SOCK_DGRAM},
		{"::1", UDP PATIENT, "5 bytes in ", SOCK_DGRAM},
		{"127.0.0.3", "udp:send=text:ping" PATIENT, "5 bytes in ", SOCK_DGRAM},
		{"127.0.0.3", "udp:send=text:ping,match=^po[mn]g!$" PATIENT, "5 bytes in ",
		 SOCK_DGRAM},
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		if (i)
			setup(state);
		if (row[i].type == SOCK_STREAM) {
			bind_to(row[i].addr, SOCK_STREAM);
			assert_int_equal(listen(bed.fd, 4), 0);
		} else {
			serve_udp(row[i].addr, "r");
		}
		start(row[i].spec, MODEL_HEALTH_UNKNOWN);
		until_calls(1);
		assert_int_equal(bed.last.state, MODEL_HEALTH_PASSING);
		if (strncmp(bed.last.why, row[i].why, strlen(row[i].why)))
			fail_msg("%s: %s", row[i].addr, bed.last.why);
		if (i + 1 < COUNT(row))
			assert_int_equal(teardown(state), 0);
	}
}

static void test_check_when_backend_is_bad_then_failing_and_says_why(void **state)
{
	static const struct {
		const char *name, *addr, *spec, *why;
	} row[] = {
		/* Refused at once: the timeout would be over the limit of the test. */
		{"tcp refused", "127.0.0.2", "tcp:interval=60s,timeout=60s", "connection refused"},
		{"tcp refused, IPv6", "::1", "tcp:interval=60s,timeout=60s", "connection refused"},
		{"udp refused", "127.0.0.3", UDP ",interval=60s,timeout=60s", "connection refused"},
		{"udp refused, IPv6", "::1", UDP ",interval=60s,timeout=60s", "connection refused"},
		{"udp wrong reply", "127.0.0.3", UDP ",interval=60s,timeout=60s",
		 "reply of 5 bytes is not as expected"},
		{"udp wrong, no match", "127.0.0.3",
		 "udp:send=text:ping,match=g$,interval=60s,timeout=60s",
		 "reply of 5 bytes does not match 'g$'"},
		{"udp silent", "127.0.0.3", UDP ",interval=60s,timeout=30ms",
		 "timed out after 30 ms"},
		{"tcp silent", "127.0.0.4", "tcp:interval=60s,timeout=30ms",
		 "timed out after 30 ms"},
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		int filler[8];
		size_t fillers = 0;

		if (i)
			setup(state);
		if (strstr(row[i].name, "refused")) {
			closed_port(row[i].addr, row[i].name[0] == 't' ? SOCK_STREAM : SOCK_DGRAM);
		} else if (row[i].name[0] == 'u') {
			serve_udp(row[i].addr, strstr(row[i].name, "wrong") ? "w" : "s");
		} else {
			/* A listener whose queue is full drops connection requests. */
			struct sockaddr_storage to;
			socklen_t len = sizeof(to);

			bind_to(row[i].addr, SOCK_STREAM);
			assert_int_equal(listen(bed.fd, 0), 0);
			getsockname(bed.fd, (struct sockaddr *)&to, &len);
			for (; fillers < COUNT(filler); fillers++) {
				filler[fillers] = socket(
					AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
				(void)connect(filler[fillers], (struct sockaddr *)&to,
					      len); /* some hang */
			}
		}
		start(row[i].spec, MODEL_HEALTH_UNKNOWN);
		until_calls(1);
		assert_int_equal(bed.last.state, MODEL_HEALTH_FAILING);
		if (strcmp(bed.last.why, row[i].why))
			fail_msg("%s: %s", row[i].name, bed.last.why);
		while (fillers)
			close(filler[--fillers]);
		if (i + 1 < COUNT(row))
			assert_int_equal(teardown(state), 0);
	}
}

static void test_check_when_none_then_passing_at_once_and_once(void **state)
{
	(void)state;
	start("none", MODEL_HEALTH_FAILING);
	until_calls(1);
	assert_int_equal(bed.last.state, MODEL_HEALTH_PASSING);
	check_kick(bed.check);
	for (size_t i = 0; i < 5; i++)
		uv_run(&bed.uv, UV_RUN_NOWAIT);
	assert_int_equal(bed.calls, 1);
	assert_int_equal(delay_count, 0);
}

static void test_check_when_port_is_given_then_that_one(void **state)
{
	char spec[80];

	(void)state;
	serve_udp("127.0.0.3", "r");
	snprintf(spec, sizeof(spec), UDP PATIENT ",port=%u", bed.port);
	bed.port = 9;
	start(spec, MODEL_HEALTH_UNKNOWN);
	until_calls(1);
	assert_int_equal(bed.last.state, MODEL_HEALTH_PASSING);
}

/* ---- results in a row */

static void test_state_when_results_vary_then_changes_after_rise_and_fall(void **state)
{
	static const struct {
		const char *name, *script, *spec;
		enum model_health_state from;
		unsigned requests; /* seen when the state changes */
		enum model_health_state to;
	} row[] = {
		{"unknown, good", "r", ",rise=3", MODEL_HEALTH_UNKNOWN, 1, MODEL_HEALTH_PASSING},
		{"unknown, bad", "w", ",fall=3", MODEL_HEALTH_UNKNOWN, 1, MODEL_HEALTH_FAILING},
		{"falls after 3", "w", ",fall=3", MODEL_HEALTH_PASSING, 3, MODEL_HEALTH_FAILING},
		{"one good one between", "wwrw", ",fall=3", MODEL_HEALTH_PASSING, 6,
		 MODEL_HEALTH_FAILING},
		{"rises after 2", "r", ",rise=2", MODEL_HEALTH_FAILING, 2, MODEL_HEALTH_PASSING},
		{"one bad one between", "rwr", ",rise=2", MODEL_HEALTH_FAILING, 4,
		 MODEL_HEALTH_PASSING},
		{"after long agreement", "rrrrrw", ",fall=2", MODEL_HEALTH_PASSING, 7,
		 MODEL_HEALTH_FAILING},
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		char spec[160];

		if (i)
			setup(state);
		is_hasty = true;
		serve_udp("127.0.0.3", row[i].script);
		snprintf(spec, sizeof(spec), "%s%s%s", UDP, PATIENT, row[i].spec);
		start(spec, row[i].from);
		until_calls(1);
		if (bed.requests != row[i].requests || bed.last.state != row[i].to)
			fail_msg("%s: state %d after %u", row[i].name, bed.last.state,
				 bed.requests);
		if (i + 1 < COUNT(row))
			assert_int_equal(teardown(state), 0);
	}
}

static void test_state_when_it_agrees_then_no_callback(void **state)
{
	(void)state;
	is_hasty = true;
	serve_udp("127.0.0.3", "r");
	start(UDP PATIENT, MODEL_HEALTH_PASSING);
	until_requests(5);
	assert_int_equal(bed.calls, 0);
}

static void test_interval_when_results_disagree_then_a_fifth_with_jitter(void **state)
{
	uint64_t least = UINT64_MAX, most = 0;
	size_t intervals = 0, fast = 0;

	(void)state;
	is_hasty = true;
	serve_udp("127.0.0.3", "rrrrrrrrrrwwr");
	start(UDP ",interval=10s,timeout=7s,fall=5", MODEL_HEALTH_PASSING);
	until_requests(20);
	assert_true(delay[0] < 500); /* the start: a little spread */
	for (size_t i = 1; i < delay_count; i++) {
		if (delay[i] == 7000)
			continue;
		if (delay[i] >= 1800 && delay[i] <= 2200) {
			fast++;
			continue;
		}
		if (delay[i] < 9000 || delay[i] > 11000)
			fail_msg("delay %zu is %llu ms", i, (unsigned long long)delay[i]);
		intervals++;
		least = delay[i] < least ? delay[i] : least;
		most = delay[i] > most ? delay[i] : most;
	}
	assert_int_equal(fast, 2);
	assert_true(intervals >= 17);
	assert_true(most - least > 100); /* they differ */
}

static void test_kick_when_called_then_next_one_comes_now(void **state)
{
	(void)state;
	serve_udp("127.0.0.3", "rw");
	start(UDP ",interval=3600s,timeout=10s,fall=1", MODEL_HEALTH_UNKNOWN);
	until_calls(1);
	check_kick(bed.check);
	until_calls(2);
	assert_int_equal(bed.last.state, MODEL_HEALTH_FAILING);
}

/* ---- stopping */

static void test_stop_when_anywhere_then_nothing_more_and_the_loop_is_empty(void **state)
{
	(void)state;
	/* before anything happened */
	serve_udp("127.0.0.3", "s");
	start(UDP PATIENT, MODEL_HEALTH_UNKNOWN);
	check_stop(bed.check);
	/* while a probe is out */
	start(UDP PATIENT, MODEL_HEALTH_UNKNOWN);
	until_requests(1);
	check_stop(bed.check);
	bed.check = NULL;
	for (size_t i = 0; i < 5; i++)
		uv_run(&bed.uv, UV_RUN_NOWAIT);
	assert_int_equal(bed.calls, 0);
	/* in the callback */
	bed.script = "r";
	bed.is_stop_wanted = true;
	start(UDP PATIENT, MODEL_HEALTH_UNKNOWN);
	until_calls(1);
	for (size_t i = 0; i < 5; i++)
		uv_run(&bed.uv, UV_RUN_NOWAIT);
	assert_int_equal(bed.calls, 1);
	check_stop(NULL);
}

static void test_check_when_no_descriptor_is_left_then_health_stays(void **state)
{
	struct rlimit was, none;
	size_t asked;

	(void)state;
	is_hasty = true;
	serve_udp("127.0.0.3", "r");
	start(UDP PATIENT, MODEL_HEALTH_PASSING);
	until_requests(1);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 3; /* no new one gets a number below it */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (asked = delay_count; delay_count < asked + 10 && !bed.is_limit_over;)
		uv_run(&bed.uv, UV_RUN_ONCE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_int_equal(bed.calls, 0);
	until_requests(bed.requests + 2);
	assert_int_equal(bed.calls, 0);
}

/* ---- signals */

/* A probe answers before the signal; then the backend does as `script` says. */
static void signalled(const char *script, bool is_out)
{
	static char kept[16];

	snprintf(kept, sizeof(kept), "r%s", script);
	serve_udp("127.0.0.3", kept);
	start(UDP PATIENT ",rise=2,fall=3", MODEL_HEALTH_PASSING);
	until_requests(1);
	check_signal(bed.check, is_out);
	until_calls(1);
	assert_true(bed.last.is_first);
}

static void test_signal_when_it_was_wrong_then_good_at_once(void **state)
{
	(void)state;
	signalled("r", true);
	assert_int_equal(bed.last.state, MODEL_HEALTH_PASSING);
	assert_int_equal(bed.requests, 2);
}

static void test_signal_when_it_was_right_then_rise_is_needed(void **state)
{
	(void)state;
	signalled("wrr", true);
	assert_int_equal(bed.last.state, MODEL_HEALTH_FAILING);
	/* Soon, however long the interval is. */
	assert_true(delay[delay_count - 1] <= 550);
	until_calls(2);
	assert_int_equal(bed.last.state, MODEL_HEALTH_PASSING);
	assert_false(bed.last.is_first);
	assert_int_equal(bed.requests, 4);
}

static void test_signal_when_only_a_doubt_then_one_result_decides(void **state)
{
	(void)state;
	signalled("w", false);
	assert_int_equal(bed.last.state, MODEL_HEALTH_FAILING);
	assert_int_equal(bed.requests, 2);
	teardown(state);
	setup(state);
	signalled("r", false);
	assert_int_equal(bed.last.state, MODEL_HEALTH_PASSING);
	assert_int_equal(bed.requests, 2);
}

/* What was asked before the signal says nothing about it. */
static void test_signal_when_a_probe_is_under_way_then_begins_anew(void **state)
{
	(void)state;
	serve_udp("127.0.0.3", "srs");
	start(UDP PATIENT, MODEL_HEALTH_FAILING);
	until_requests(1);
	check_signal(bed.check, true);
	until_calls(1);
	assert_int_equal(bed.last.state, MODEL_HEALTH_PASSING);
	assert_int_equal(bed.requests, 2);
}

int main(void)
{
#define BED(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		BED(test_signal_when_it_was_wrong_then_good_at_once),
		BED(test_signal_when_it_was_right_then_rise_is_needed),
		BED(test_signal_when_only_a_doubt_then_one_result_decides),
		BED(test_signal_when_a_probe_is_under_way_then_begins_anew),
		BED(test_check_when_backend_answers_then_passing),
		BED(test_check_when_backend_is_bad_then_failing_and_says_why),
		BED(test_check_when_none_then_passing_at_once_and_once),
		BED(test_check_when_port_is_given_then_that_one),
		BED(test_state_when_results_vary_then_changes_after_rise_and_fall),
		BED(test_state_when_it_agrees_then_no_callback),
		BED(test_interval_when_results_disagree_then_a_fifth_with_jitter),
		BED(test_kick_when_called_then_next_one_comes_now),
		BED(test_stop_when_anywhere_then_nothing_more_and_the_loop_is_empty),
		BED(test_check_when_no_descriptor_is_left_then_health_stays),
	};
#undef BED

	return cmocka_run_group_tests(tests, NULL, NULL);
}
