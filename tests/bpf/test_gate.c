/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Lists and rates of a service at the edge: both families, both protocols, XDP and TC. Time is injected: the words of the
 * rates are moved back in their maps, nobody waits. */
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "tests/lib/bpf_fixture.h"

#define METER_SHIFT 24 /* as bpf/dp_meter.h has it: jiffies << 24 */
#define CELLS 8

/* family x protocol x program */
struct cell {
	const char *name, *src, *dst, *near,
		*far; /* near shares the source's prefix, far doesn't */
	uint32_t svc_idx;
	uint8_t l4_proto;
	enum bf_prog prog;
};

static const struct cell cells[CELLS] = {
#define CELL4(proto, prog)                                                                         \
	{                                                                                          \
		"v4 " #proto " " #prog, BF_CLIENT4, "192.0.2.10", "198.51.100.250",                \
			"198.51.101.7", BF_SVC_EXACT4, IPPROTO_##proto, BF_##prog                  \
	}
#define CELL6(proto, prog)                                                                         \
	{                                                                                          \
		"v6 " #proto " " #prog, BF_CLIENT6, "2001:db8::10", "2001:db8:c::ffff:1",          \
			"2001:db8:c:1::7", BF_SVC_EXACT6, IPPROTO_##proto, BF_##prog               \
	}
	CELL4(UDP, XDP), CELL4(TCP, XDP), CELL4(UDP, PUB_IN), CELL4(TCP, PUB_IN),
	CELL6(UDP, XDP), CELL6(TCP, XDP), CELL6(UDP, PUB_IN), CELL6(TCP, PUB_IN),
};

static struct bf_in packet(const struct cell *c, const char *src)
{
	return (struct bf_in){.pkt = {.src = src,
				      .dst = c->dst,
				      .sport = 40000,
				      .dport = 53,
				      .l4_proto = c->l4_proto,
				      .payload = 30}};
}

static struct dp_svc get_svc(struct bf *b, uint32_t svc_idx)
{
	struct dp_svc svc;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_svc"), &svc_idx, &svc), 0);
	return svc;
}

static void put_svc(struct bf *b, uint32_t svc_idx, const struct dp_svc *svc)
{
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_svc"), &svc_idx, svc, BPF_ANY), 0);
}

static void set_ctl(struct bf *b, uint32_t flags)
{
	struct dp_ctl ctl = {.flags = flags};
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_ctl"), &zero, &ctl, BPF_ANY), 0);
}

/* bits: of the address itself. */
static void list(struct bf *b, uint32_t svc_id, const char *addr, uint32_t bits, uint32_t verb)
{
	struct dp_filter_key key = {.prefix_bits = 32 + (strchr(addr, ':') ? bits : 96 + bits),
				    .svc_id = svc_id};

	bf_addr(addr, key.addr);
	if (bpf_map_update_elem(bf_map(b, "dp_filter"), &key, &verb, BPF_ANY))
		fail_msg("dp_filter: %s", strerror(errno));
}

static void forget(struct bf *b, const char *map, size_t key_bytes)
{
	uint8_t key[64];

	assert_true(key_bytes <= sizeof(key));
	while (!bpf_map_get_next_key(bf_map(b, map), NULL, key))
		if (bpf_map_delete_elem(bf_map(b, map), key))
			break;
}

static void forget_rates(struct bf *b)
{
	uint8_t zero[64 * 64] = {};

	for (uint32_t i = 0; i < BF_SVC_END; i++) {
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_gate"), &i, zero, BPF_ANY), 0);
		assert_true(libbpf_num_possible_cpus() <= 256);
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_lot"), &i, zero, BPF_ANY), 0);
	}
	forget(b, "dp_source", 24);
	forget(b, "dp_filter", sizeof(struct dp_filter_key));
}

static int setup(void **state)
{
	struct bf *b = *state;
	int rc = bf_setup(state);

	if (!rc && !b->load_rc) {
		forget_rates(b);
		set_ctl(b, 0);
	}
	return rc;
}

static uint32_t pass_reason(const struct cell *c)
{
	return c->prog == BF_XDP ? DP_R_FORWARD_CHOSEN : DP_R_FORWARDED;
}

static void expect(struct bf *b, const struct cell *c, const char *src, uint32_t reason)
{
	struct bf_in in = packet(c, src);
	bool is_pass = reason == pass_reason(c);
	char where[96];
	struct bf_out out;

	snprintf(where, sizeof(where), "%s from %s", c->name, src);
	bf_run(b, c->prog, &in, &out);
	bf_expect_reason(b, reason, where);
	if (c->prog == BF_XDP)
		assert_int_equal(out.retval, is_pass ? 2 : 1);
	else
		assert_int_equal(out.retval, is_pass ? 7 : 2);
}

/* ---- Lists ---- */

enum list_rule { NO_RULE = 0, DENY = DP_FILTER_DENY, ALLOW = DP_FILTER_ALLOW };

static const struct list_row {
	const char *name;
	enum list_rule all_wide, all_narrow, own_wide,
		own_narrow; /* of prefixes that hold the source */
	bool is_closed, is_denied;
} list_rows[] = {
	{"no rule", 0, 0, 0, 0, false, false},
	{"deny of all services", DENY, 0, 0, 0, false, true},
	{"a hole in it", DENY, ALLOW, 0, 0, false, false},
	{"a narrow deny in a wide allow", ALLOW, DENY, 0, 0, false, true},
	{"deny of its own", 0, 0, DENY, 0, false, true},
	{"a hole in its own", 0, 0, DENY, ALLOW, false, false},
	{"a narrow deny of its own", 0, 0, ALLOW, DENY, false, true},
	{"deny of all, allowed by its own", DENY, 0, 0, ALLOW, false, true},
	{"allowed by all, denied by its own", ALLOW, 0, DENY, 0, false, true},
	{"closed, no rule", 0, 0, 0, 0, true, true},
	{"closed, allowed", 0, 0, ALLOW, 0, true, false},
	{"closed, allowed, a narrow deny", 0, 0, ALLOW, DENY, true, true},
	{"closed, allowed for all only", ALLOW, 0, 0, 0, true, true},
	{"closed, allowed, denied for all", DENY, 0, ALLOW, 0, true, true},
};

static void test_lists_when_asked_then_longest_prefix_and_denial_wins(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(list_rows) / sizeof(*list_rows) * CELLS; i++) {
		const struct list_row *r = &list_rows[i / CELLS];
		const struct cell *c = &cells[i % CELLS];
		uint32_t wide = c->svc_idx == BF_SVC_EXACT4 ? 16 : 40, narrow = wide + 8;
		struct dp_svc svc = get_svc(b, c->svc_idx), was = svc;

		svc.svc_id = 0x12345678;
		svc.flags = DP_SVC_GATE | DP_SVC_FILTER | (r->is_closed ? DP_SVC_CLOSED : 0);
		put_svc(b, c->svc_idx, &svc);
		set_ctl(b, r->all_wide || r->all_narrow ? DP_CTL_FILTER : 0);
		if (r->all_wide)
			list(b, 0, c->src, wide, r->all_wide);
		if (r->all_narrow)
			list(b, 0, c->src, narrow, r->all_narrow);
		if (r->own_wide)
			list(b, svc.svc_id, c->src, wide, r->own_wide);
		if (r->own_narrow)
			list(b, svc.svc_id, c->src, narrow, r->own_narrow);
		list(b, 77, c->src, 8, DP_FILTER_DENY); /* another service's */
		if (r->is_denied)
			print_message("denied: %s, %s\n", r->name, c->name);
		expect(b, c, c->src, r->is_denied ? DP_R_DENIED : pass_reason(c));
		put_svc(b, c->svc_idx, &was);
		forget_rates(b);
	}
}

static void test_list_when_switched_off_then_not_asked(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < CELLS; i++) {
		const struct cell *c = &cells[i];

		list(b, 0, c->src, 24, DP_FILTER_DENY);
		set_ctl(b, 0);
		expect(b, c, c->src, pass_reason(c));
		/* At a service without any rule of its own. */
		set_ctl(b, DP_CTL_FILTER);
		expect(b, c, c->src, DP_R_DENIED);
	}
}

/* ---- Rates ---- */

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* So many of them; returns how many were let in. */
static uint64_t burst(struct bf *b, const struct cell *c, const char *src, uint32_t count)
{
	uint64_t before = bf_reason(b, pass_reason(c));
	struct bf_in in = packet(c, src);
	uint8_t frame[PKT_MAX], out[PKT_MAX + 256];
	uint32_t len = (uint32_t)pkt_build(&in.pkt, frame);
	/* What TC lets in it changes: a fresh one each time. */
	uint32_t runs = c->prog == BF_XDP ? 1 : count;

	for (uint32_t i = 0; i < runs; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = len,
			    .data_out = out, .data_size_out = sizeof(out),
			    .repeat = (int)(count / runs));

		assert_int_equal(bpf_prog_test_run_opts(bf_program_fd(b, c->prog), &o), 0);
	}
	return bf_reason(b, pass_reason(c)) - before;
}

/* `let` packets came through at `pps`, of which `full` were in the bucket, in a time that began at `since`. */
static void check_rate(const char *where, uint64_t let, double full, double pps, double since)
{
	double most = full * 1.02 + pps * (now_s() - since + 0.01) + 2;

	if ((double)let < full * 0.98 - 1 || (double)let > most)
		fail_msg("%s: %llu let in, want %.0f to %.0f", where, (unsigned long long)let,
			 full * 0.98 - 1, most);
}

/* A service's word, moved back by so much of a second. */
static void pass_time(struct bf *b, const char *map, const void *key, double seconds)
{
	uint64_t words[8] = {};

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, map), key, words), 0);
	words[0] -= (uint64_t)(seconds * 250 * (double)(1u << METER_SHIFT));
	assert_int_equal(bpf_map_update_elem(bf_map(b, map), key, words, BPF_EXIST), 0);
}

static void test_service_rate_when_exceeded_then_exactly_so_many(void **state)
{
	static const uint32_t rates[] = {1, 50, 2000};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < CELLS * 3; i++) {
		const struct cell *c = &cells[i / 3];
		struct dp_svc svc = get_svc(b, c->svc_idx);
		uint32_t pps = rates[i % 3];
		double since = now_s();
		char where[96];
		uint64_t let;

		snprintf(where, sizeof(where), "%s, %u a second", c->name, pps);
		svc.flags = DP_SVC_GATE;
		svc.pps = pps;
		put_svc(b, c->svc_idx, &svc);
		let = burst(b, c, c->src, 3 * pps + 1);
		check_rate(where, let, pps, pps, since);
		pass_time(b, "dp_gate", &c->svc_idx, 0.5);
		let = burst(b, c, c->src, pps);
		check_rate(where, let, pps / 2, pps, since);
		/* A week later it holds one second's worth again, no more. */
		since = now_s();
		pass_time(b, "dp_gate", &c->svc_idx, 7 * 86400);
		let = burst(b, c, c->src, 3 * pps);
		check_rate(where, let, pps, pps, since);
		svc.flags = 0;
		put_svc(b, c->svc_idx, &svc);
		bf_setup(state);
		forget_rates(b);
	}
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

/* Packets of one service through CPU after CPU: together they get what one would get. */
static void test_service_rate_when_many_cpus_then_shared(void **state)
{
	const uint32_t pps = 1000000; /* so many that a CPU takes them in lots */
	const struct cell *c = &cells[0];
	struct bf *b = *state;
	struct dp_svc svc;
	cpu_set_t was;
	uint64_t let = 0;
	double since;

	bf_need(b);
	svc = get_svc(b, c->svc_idx);
	svc.flags = DP_SVC_GATE;
	svc.pps = pps;
	put_svc(b, c->svc_idx, &svc);
	assert_int_equal(sched_getaffinity(0, sizeof(was), &was), 0);
	since = now_s();
	for (int round = 0; round < 16; round++)
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
			if (!CPU_ISSET((size_t)cpu, &was))
				continue;
			on_cpu(cpu);
			let += burst(b, c, c->src, pps / 8);
		}
	check_rate("all CPUs", let, pps, pps, since);
	assert_int_equal(sched_setaffinity(0, sizeof(was), &was), 0);
}

/* Sources known so far have no packet to spare for an hour. */
static void exhaust_sources(struct bf *b)
{
	uint8_t key[24], next[24];
	void *at = NULL;
	uint64_t due;

	while (!bpf_map_get_next_key(bf_map(b, "dp_source"), at, next)) {
		memcpy(key, next, sizeof(key));
		at = key;
		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_source"), key, &due), 0);
		due += (uint64_t)3600 * 250 << METER_SHIFT;
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_source"), key, &due, BPF_EXIST),
				 0);
	}
}

static void test_source_rate_when_exceeded_then_only_its_prefix(void **state)
{
	const uint32_t pps = 40;
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < CELLS; i++) {
		const struct cell *c = &cells[i];
		struct dp_svc svc = get_svc(b, c->svc_idx);
		double since = now_s();

		svc.flags = DP_SVC_GATE;
		svc.source_pps = pps;
		svc.prefix4 = 24;
		svc.prefix6 = 64;
		put_svc(b, c->svc_idx, &svc);
		forget_rates(b);
		check_rate(c->name, burst(b, c, c->src, 3 * pps), pps, pps, since);
		exhaust_sources(b);
		bf_setup(state);
		put_svc(b, c->svc_idx, &svc);
		expect(b, c, c->near, DP_R_RATE_SOURCE);
		expect(b, c, c->far, pass_reason(c));
		assert_int_equal(bf_map_count(b, "dp_source", 24), 2);
	}
}

/* What a source is refused costs the service nothing. */
static void test_source_rate_when_exceeded_then_service_rate_is_untouched(void **state)
{
	const struct cell *c = &cells[0];
	struct bf *b = *state;
	struct dp_svc svc;
	double since;

	bf_need(b);
	svc = get_svc(b, c->svc_idx);
	svc.flags = DP_SVC_GATE;
	svc.source_pps = 10;
	svc.pps = 1000;
	put_svc(b, c->svc_idx, &svc);
	since = now_s();
	check_rate("first source", burst(b, c, c->src, 5000), 10, 10, since);
	check_rate("second source", burst(b, c, c->far, 5000), 10, 10, since);
	assert_true(bf_reason(b, DP_R_RATE_SOURCE) > 9900);
	assert_int_equal(bf_reason(b, DP_R_RATE_SERVICE), 0);
}

/* A super-packet counts as the packets it stands for. */
static void test_rate_when_super_packet_then_its_segments_count(void **state)
{
	const struct cell *c = &cells[3]; /* TCP, TC */
	struct bf *b = *state;
	struct dp_svc svc;

	bf_need(b);
	svc = get_svc(b, c->svc_idx);
	svc.flags = DP_SVC_GATE;
	svc.pps = 5;
	put_svc(b, c->svc_idx, &svc);
	for (int i = 0; i < 8; i++) {
		struct bf_in in = packet(c, c->src);
		struct __sk_buff skb = {.gso_size = 100, .gso_segs = 5};
		uint8_t frame[PKT_MAX], out[PKT_MAX];
		LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_out = out,
			    .data_size_out = sizeof(out), .ctx_in = &skb,
			    .ctx_size_in = sizeof(skb));

		in.pkt.payload = 500;
		o.data_size_in = (uint32_t)pkt_build(&in.pkt, frame);
		assert_int_equal(bpf_prog_test_run_opts(bf_program_fd(b, c->prog), &o), 0);
	}
	assert_int_equal(bf_reason(b, DP_R_RATE_SERVICE), 7);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_lists_when_asked_then_longest_prefix_and_denial_wins),
		T(test_list_when_switched_off_then_not_asked),
		T(test_service_rate_when_exceeded_then_exactly_so_many),
		T(test_service_rate_when_many_cpus_then_shared),
		T(test_source_rate_when_exceeded_then_only_its_prefix),
		T(test_source_rate_when_exceeded_then_service_rate_is_untouched),
		T(test_rate_when_super_packet_then_its_segments_count),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
