/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the agent asks edgefwd about packets: each question is answered once, whatever becomes of edgefwd. */
#include "tests/unit/agent_fake.h"

static struct {
	unsigned count;
	int status;
	char text[128];
	struct dp_trace found;
} got;

static void on_trace(int status, const char *text, const struct dp_trace *t, void *arg)
{
	(void)arg;
	got.count++;
	got.status = status;
	snprintf(got.text, sizeof(got.text), "%s", text);
	if (t)
		got.found = *t;
}

static void ask(void)
{
	static const uint8_t frame[3] = {1, 2, 3};

	agent_trace(current->agent, frame, sizeof(frame), on_trace, NULL);
}

static const struct fwd_msg *last_trace(void)
{
	for (size_t i = sent_count; i > 0; i--)
		if (sent[i - 1].kind == FWD_TRACE)
			return &sent[i - 1];
	fail_msg("no trace was asked for");
	return NULL;
}

static void answer_with(const struct fwd_msg *q, int status, const char *text, size_t bytes)
{
	struct fwd_msg a = {.kind = FWD_REPLY, .seq = q->seq, .status = status};
	const struct dp_trace t = {.reason = DP_R_NO_SERVICE, .hash = 77};

	snprintf(a.text, sizeof(a.text), "%s", text);
	a.data_bytes = (uint16_t)bytes;
	memcpy(a.data, &t, sizeof(t));
	fwd_cfg.reply_cb(q, &a, fwd_cfg.arg);
}

static int begin(void **state)
{
	memset(&got, 0, sizeof(got));
	return setup(state);
}

static void test_trace_when_edgefwd_answers_then_what_it_found(void **state)
{
	struct fwd_msg q;

	node_ready(*state);
	ask();
	assert_int_equal(got.count, 0);
	q = *last_trace();
	assert_int_equal(q.data_bytes, 3);
	assert_memory_equal(q.data, "\1\2\3", 3);
	answer_with(&q, 0, "", sizeof(struct dp_trace));
	assert_int_equal(got.count, 1);
	assert_int_equal(got.status, 0);
	assert_int_equal(got.found.hash, 77);
	/* the same again is nobody's */
	answer_with(&q, 0, "", sizeof(struct dp_trace));
	assert_int_equal(got.count, 1);
	ask();
	answer_with(last_trace(), -ENOENT, "no such program", 0);
	assert_int_equal(got.status, -ENOENT);
	assert_string_equal(got.text, "no such program");
	ask();
	answer_with(last_trace(), 0, "", 8);
	assert_int_equal(got.status, -EPROTONOSUPPORT);
	node_stop(*state);
}

static bool is_answered_all(void)
{
	return got.count == AGENT_TRACES_MAX + 1;
}

static void test_trace_when_edgefwd_is_silent_then_each_ends_in_time(void **state)
{
	node_ready(*state);
	for (unsigned i = 0; i < AGENT_TRACES_MAX; i++)
		ask();
	assert_int_equal(got.count, 0);
	ask(); /* one too many */
	assert_int_equal(got.count, 1);
	assert_int_equal(got.status, -EBUSY);
	now_ms += 10000;
	turn_until(is_answered_all);
	assert_int_equal(got.status, -ETIMEDOUT);
	ask(); /* there is room again */
	assert_int_equal(got.count, AGENT_TRACES_MAX + 1);
	node_stop(*state);
	assert_int_equal(got.count, AGENT_TRACES_MAX + 2);
}

static void test_trace_when_edgefwd_goes_then_told_so(void **state)
{
	node_start(*state, true);
	ask();
	assert_int_equal(got.count, 1);
	assert_int_equal(got.status, -ENOTCONN);
	node_stop(*state);
	node_ready(*state);
	ask();
	assert_int_equal(got.count, 1);
	fwd_cfg.down_cb("gone", fwd_cfg.arg);
	assert_int_equal(got.count, 2);
	assert_string_equal(got.text, "the connection to edgefwd is lost");
	ask();
	assert_int_equal(got.count, 3);
	assert_int_equal(got.status, -ENOTCONN);
	assert_string_equal(got.text, "gone");
	node_stop(*state);
}

static void test_see_when_there_are_no_maps_then_refused(void **state)
{
	const struct capture_config cfg = {.every = 1};
	struct hist h[DP_HOOK_COUNT];
	struct err e = {0};
	uint32_t every;

	node_start(*state, true);
	assert_int_equal(agent_hist_set(current->agent, 1, &e), -ENOTCONN);
	assert_int_equal(agent_hist_get(current->agent, &every, h, &e), -ENOTCONN);
	assert_int_equal(agent_capture_start(current->agent, &cfg, &cfg, &e), -ENOTCONN);
	assert_non_null(strstr(e.text, "no forwarder: not connected yet"));
	assert_int_equal(agent_capture_read(current->agent, &cfg, NULL, NULL, &e), -ENOENT);
	agent_capture_stop(current->agent, &cfg);
	node_stop(*state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, begin, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_trace_when_edgefwd_answers_then_what_it_found),
		CASE(test_trace_when_edgefwd_is_silent_then_each_ends_in_time),
		CASE(test_trace_when_edgefwd_goes_then_told_so),
		CASE(test_see_when_there_are_no_maps_then_refused),
	};

	return cmocka_run_group_tests_name("agent_see", tests, NULL, NULL);
}
