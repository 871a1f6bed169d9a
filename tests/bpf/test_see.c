/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The histogram and the capture: off they leave no trace, on they have each packet with what became of it. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edge/capture.h"
#include "edge/hist.h"
#include "tests/lib/bpf_fixture.h"

#define UDP .l4_proto = IPPROTO_UDP
#define C4 .src = BF_CLIENT4, .sport = 40000
#define C6 .src = BF_CLIENT6, .sport = 40000

static const struct bf_in known = {
	.pkt = {C4, .dst = "192.0.2.10", .dport = 53, UDP, .payload = 30}};
static const struct bf_in known6 = {
	.pkt = {C6, .dst = "2001:db8::10", .dport = 53, UDP, .payload = 400}};
static const struct bf_in lost = {.pkt = {C4, .dst = "192.0.2.10", .dport = 54, UDP, .payload = 1}};

static struct dp_ctl *ctl;
static struct dp_fds fds;
static uv_loop_t loop;
static struct capture_frame got[64];
static size_t got_count, answers;
static uint64_t got_lost;
static int got_status, over, closed;

static int setup(void **state)
{
	struct bf *b = *state;
	int rc = bf_setup(state);

	if (rc || b->load_rc)
		return rc;
	fds = (struct dp_fds){.ctl = bf_map(b, "dp_ctl"),
			      .hist = bf_map(b, "dp_hist"),
			      .capture = bf_map(b, "dp_capture"),
			      .capture_lost = bf_map(b, "dp_capture_lost")};
	ctl = mmap(NULL, (size_t)sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE, MAP_SHARED, fds.ctl,
		   0);
	if (ctl == MAP_FAILED)
		return -1;
	memset(ctl, 0, sizeof(*ctl));
	got_count = answers = 0;
	over = closed = 0;
	return hist_clear(&fds) || uv_loop_init(&loop);
}

static int teardown(void **state)
{
	struct bf *b = *state;

	if (b->load_rc)
		return 0;
	memset(ctl, 0, sizeof(*ctl));
	munmap(ctl, (size_t)sysconf(_SC_PAGESIZE));
	return uv_loop_close(&loop);
}

static void run(struct bf *b, enum bf_prog prog, const struct bf_in *in)
{
	struct bf_out out;

	bf_run(b, prog, in, &out);
}

/* ---- histogram */

static void test_hist_when_off_then_counts_nothing(void **state)
{
	struct hist h[DP_HOOK_COUNT];
	struct bf *b = *state;

	bf_need(b);
	run(b, BF_XDP, &known);
	run(b, BF_PUB_IN, &known);
	assert_int_equal(hist_read(&fds, h), 0);
	for (size_t i = 0; i < DP_HOOK_COUNT; i++)
		assert_int_equal(h[i].runs + h[i].sum_ns, 0);
}

static void test_hist_when_every_packet_then_each_hook_has_its_runs(void **state)
{
	static const struct {
		enum bf_prog prog;
		enum dp_hook hook;
		const char *name;
	} row[] = {
		{BF_XDP, DP_HOOK_XDP, "xdp"},
		{BF_PUB_IN, DP_HOOK_PUB_IN, "pub_in"},
		{BF_MESH_IN, DP_HOOK_MESH_IN, "mesh_in"},
		{BF_MESH_OUT, DP_HOOK_MESH_OUT, "mesh_out"},
		{BF_UP_OUT, DP_HOOK_UP_OUT, "up_out"},
		{BF_BR_IN, DP_HOOK_BR_IN, "br_in"},
		{BF_XDP_MESH, DP_HOOK_XDP_MESH, "xdp_mesh"},
	};
	struct hist h[DP_HOOK_COUNT];
	struct bf *b = *state;

	bf_need(b);
	ctl->hist_every = 1;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		for (size_t k = 0; k <= i; k++)
			run(b, row[i].prog, &known);
	assert_int_equal(hist_read(&fds, h), 0);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		const struct hist *one = &h[row[i].hook];
		uint64_t p50 = hist_below_ns(one, 50), p100 = hist_below_ns(one, 100);

		assert_string_equal(one->name, row[i].name);
		if (one->runs != i + 1)
			fail_msg("%s: %llu runs", one->name, (unsigned long long)one->runs);
		/* a run takes its time, and not a second; the mean lies below the highest slot's end */
		assert_in_range(one->sum_ns, one->runs, 1000000000 * one->runs);
		assert_true(p50 <= p100 && one->sum_ns / one->runs < p100);
	}
}

static void test_hist_when_one_in_ten_then_about_so_many(void **state)
{
	struct hist h[DP_HOOK_COUNT];
	struct bf *b = *state;

	bf_need(b);
	ctl->hist_every = 10;
	for (int i = 0; i < 2000; i++)
		run(b, BF_XDP, &known);
	assert_int_equal(hist_read(&fds, h), 0);
	/* 200 expected, deviation 8: more than ten of them */
	assert_in_range(h[DP_HOOK_XDP].runs, 70, 330);
	assert_int_equal(hist_clear(&fds), 0);
	assert_int_equal(hist_read(&fds, h), 0);
	assert_int_equal(h[DP_HOOK_XDP].runs, 0);
	assert_int_equal(hist_below_ns(&h[DP_HOOK_XDP], 50), 0);
}

/* ---- capture */

static void on_over(void *arg)
{
	(void)arg;
	over++;
}

static void on_closed(void *arg)
{
	(void)arg;
	closed++;
}

static void on_batch(int status, const struct capture_batch *batch, void *arg)
{
	(void)arg;
	answers++;
	got_status = status;
	if (status)
		return;
	got_lost = batch->lost;
	for (size_t i = 0; i < batch->count; i++)
		if (got_count < sizeof(got) / sizeof(got[0]))
			got[got_count++] = batch->frame[i];
}

static struct capture *begin(const struct capture_config *cfg)
{
	struct capture *c = NULL;
	struct err e = {};

	if (capture_open(&loop, &fds, ctl, cfg, on_over, NULL, &c, &e))
		fail_msg("%s", e.text);
	return c;
}

static void end(struct capture *c)
{
	capture_close(c, on_closed, NULL);
	assert_int_equal(ctl->capture_every, 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(closed, 1);
}

static void test_capture_when_packets_pass_then_each_with_its_verdict(void **state)
{
	const struct capture_config all = {.every = 1};
	struct bf *b = *state;
	struct capture *c;
	uint8_t frame[PKT_MAX];

	bf_need(b);
	run(b, BF_XDP, &known); /* before it is on */
	c = begin(&all);
	run(b, BF_XDP, &known);
	run(b, BF_XDP, &lost);
	run(b, BF_PUB_IN, &known6);
	assert_int_equal(capture_read(c, on_batch, NULL), 0);
	assert_int_equal(answers, 1);
	assert_int_equal(got_count, 3);
	assert_int_equal(got_lost, 0);
	assert_int_equal(got[0].rec.hook, DP_HOOK_XDP);
	assert_int_equal(got[0].rec.reason, DP_R_FORWARD_CHOSEN);
	assert_int_equal(got[0].rec.action, 2); /* XDP_PASS */
	assert_int_equal(got[0].rec.frame_bytes, 14 + 20 + 8 + 30);
	assert_int_equal(got[0].rec.bytes, got[0].rec.frame_bytes);
	(void)pkt_build(&known.pkt, frame);
	assert_memory_equal(got[0].rec.data, frame, got[0].rec.bytes);
	assert_false(capture_is_raw_ip(&got[0].rec));
	assert_int_equal(got[1].rec.reason, DP_R_NO_SERVICE);
	assert_int_equal(got[1].rec.action, 1); /* XDP_DROP */
	assert_true(got[1].unix_ns >= got[0].unix_ns);
	/* encapsulated: the tunnel is on, the link header of before is not worth showing; cut at 256 bytes */
	assert_int_equal(got[2].rec.hook, DP_HOOK_PUB_IN);
	assert_int_equal(got[2].rec.reason, DP_R_FORWARDED);
	assert_true(capture_is_raw_ip(&got[2].rec));
	assert_int_equal(got[2].rec.data[0], 0x45);
	assert_int_equal(got[2].rec.frame_bytes, 20 + 8 + 40 + 8 + 400);
	assert_int_equal(got[2].rec.bytes, DP_CAPTURE_BYTES - 14);
	end(c);
	run(b, BF_XDP, &known); /* off: into no ring */
	got_count = 0;
	closed = 0;
	c = begin(&all);
	assert_int_equal(capture_read(c, on_batch, NULL), 0);
	end(c);
	assert_int_equal(got_count, 0);
	assert_int_equal(got_status, -ECANCELED);
}

static void test_capture_when_reasons_are_named_then_only_those(void **state)
{
	struct capture_config some = {.every = 1};
	struct bf *b = *state;
	struct capture *c;

	bf_need(b);
	some.reasons[DP_R_NO_SERVICE / 64] |= 1ull << DP_R_NO_SERVICE % 64;
	c = begin(&some);
	for (int i = 0; i < 5; i++) {
		run(b, BF_XDP, &known);
		run(b, BF_XDP, &lost);
	}
	assert_int_equal(capture_read(c, on_batch, NULL), 0);
	end(c);
	assert_int_equal(got_count, 5);
	for (size_t i = 0; i < got_count; i++)
		assert_int_equal(got[i].rec.reason, DP_R_NO_SERVICE);
}

static void test_capture_when_nobody_reads_then_bounded_counted_and_over(void **state)
{
	const struct capture_config all = {.every = 1};
	const unsigned room = DP_CAPTURE_RING / (sizeof(struct dp_captured) + 8);
	struct bf *b = *state;
	struct capture *c;

	bf_need(b);
	c = begin(&all);
	for (unsigned i = 0; i < room + 100; i++)
		run(b, BF_XDP, &known);
	assert_int_equal(capture_read(c, on_batch, NULL), 0);
	assert_in_range(got_lost, 90, 110);
	/* silence is the end, on its own: the next turns of the loop bring it */
	while (!over)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(ctl->capture_every, 0);
	end(c);
}

static void test_capture_when_read_waits_then_a_packet_or_time_answers(void **state)
{
	const struct capture_config all = {.every = 1};
	struct bf *b = *state;
	struct capture *c;

	bf_need(b);
	c = begin(&all);
	assert_int_equal(capture_read(c, on_batch, NULL), 0);
	assert_int_equal(answers, 0);
	assert_int_equal(capture_read(c, on_batch, NULL), -EBUSY);
	run(b, BF_XDP, &known);
	while (!answers)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(got_count, 1);
	assert_int_equal(capture_read(c, on_batch, NULL), 0);
	while (answers < 2)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(got_status, 0);
	assert_int_equal(got_count, 1);
	end(c);
}

static void test_is_raw_ip_when_bytes_say_so_then_true(void **state)
{
	static const struct {
		const char *name;
		uint8_t hook, data[60];
		uint16_t bytes;
		uint32_t frame_bytes;
		bool want;
	} row[] = {
		{"IPv4", DP_HOOK_MESH_OUT, {0x45, 0, 0, 40}, 40, 40, true},
		{"IPv6", DP_HOOK_MESH_IN, {0x60, 0, 0, 0, 0, 20}, 60, 60, true},
		{"cut IPv4", DP_HOOK_PUB_IN, {0x45, 0, 5, 0}, 60, 1280, true},
		{"Ethernet",
		 DP_HOOK_UP_OUT,
		 {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45},
		 60,
		 60,
		 false},
		{"Ethernet to an address that begins like IP",
		 DP_HOOK_XDP,
		 {0x45, 0, 0, 1, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45},
		 60,
		 60,
		 false},
		{"wrong length on the mesh", DP_HOOK_MESH_IN, {0x45, 0, 9, 9}, 40, 40, true},
		{"Ethernet on the mesh",
		 DP_HOOK_MESH_IN,
		 {0x46, 0, 0, 1, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45},
		 60,
		 60,
		 false},
		{"nothing", DP_HOOK_MESH_IN, {0}, 0, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct dp_captured rec = {.hook = row[i].hook,
					  .bytes = row[i].bytes,
					  .frame_bytes = row[i].frame_bytes};

		memcpy(rec.data, row[i].data, sizeof(row[i].data));
		if (capture_is_raw_ip(&rec) != row[i].want)
			fail_msg("%s", row[i].name);
	}
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_hist_when_off_then_counts_nothing),
		CASE(test_hist_when_every_packet_then_each_hook_has_its_runs),
		CASE(test_hist_when_one_in_ten_then_about_so_many),
		CASE(test_capture_when_packets_pass_then_each_with_its_verdict),
		CASE(test_capture_when_reasons_are_named_then_only_those),
		CASE(test_capture_when_nobody_reads_then_bounded_counted_and_over),
		CASE(test_capture_when_read_waits_then_a_packet_or_time_answers),
		cmocka_unit_test(test_is_raw_ip_when_bytes_say_so_then_true),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
