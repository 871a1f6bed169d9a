/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The worker's flow table over time: idle entries, the end of TCP connections, slots that change hands, replies that must not
 * mix, and floods. tests/bpf/test_tc_worker.c has how a flow begins. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/lib/bpf_fixture.h"

#define ACT_SHOT 2u
#define ACT_REDIRECT 7u

#define FIN 0x11
#define SYN 0x02
#define RST 0x04
#define ACK 0x10

#define OTHER_SLOT 40u /* a second backend of the same service here */
#define FLOWS 500u

static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};

static struct bf_in client(int family, uint8_t proto, uint32_t slot)
{
	return (struct bf_in){.pkt = {.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				      .dst = family == 4 ? "192.0.2.12" : "2001:db8::12",
				      .sport = 40000,
				      .dport = 80,
				      .l4_proto = proto,
				      .tcp_flags = ACK,
				      .payload = 100,
				      .outer_src = "10.99.0.2",
				      .outer_dst = "10.99.0.1",
				      .gre_key = DP_GRE_KEY(0, DP_TOKEN(slot, BF_USE))}};
}

static uint32_t svc_of(int family)
{
	return family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6;
}

static struct bf_in answer(int family, uint8_t proto)
{
	return (struct bf_in){.pkt = {.src = family == 4 ? "10.0.0.5" : "2001:db8:1::5",
				      .dst = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				      .sport = 8080,
				      .dport = 40000,
				      .l4_proto = proto,
				      .tcp_flags = ACK,
				      .payload = 100}};
}

static struct dp_flow_fwd_key fwd_key(const struct bf_in *in)
{
	struct dp_flow_fwd_key k = {};

	bf_addr(in->pkt.src, k.client);
	bf_addr(in->pkt.dst, k.vip);
	k.cport_be = htons(in->pkt.sport);
	k.vport_be = htons(in->pkt.dport);
	k.l4_proto = in->pkt.l4_proto;
	return k;
}

static struct dp_flow_rev_key rev_key(const struct bf_in *in)
{
	struct dp_flow_rev_key k = {};

	bf_addr(in->pkt.src, k.client);
	k.cport_be = htons(in->pkt.sport);
	k.bport_be = htons(8080);
	k.l4_proto = in->pkt.l4_proto;
	return k;
}

struct entries {
	bool is_assured;
	struct dp_flow_fwd fwd;
	struct dp_flow_rev rev;
};

static struct entries get(struct bf *b, const struct bf_in *in)
{
	struct dp_flow_fwd_key fk = fwd_key(in);
	struct dp_flow_rev_key rk = rev_key(in);
	struct entries e = {.is_assured = true};

	if (bpf_map_lookup_elem(bf_map(b, "dp_fwd"), &fk, &e.fwd)) {
		e.is_assured = false;
		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_fwd_new"), &fk, &e.fwd), 0);
	}
	assert_int_equal(
		bpf_map_lookup_elem(bf_map(b, e.is_assured ? "dp_rev" : "dp_rev_new"), &rk, &e.rev),
		0);
	return e;
}

static void set(struct bf *b, const struct bf_in *in, const struct entries *e)
{
	struct dp_flow_fwd_key fk = fwd_key(in);
	struct dp_flow_rev_key rk = rev_key(in);

	assert_int_equal(bpf_map_update_elem(bf_map(b, e->is_assured ? "dp_fwd" : "dp_fwd_new"),
					     &fk, &e->fwd, BPF_EXIST),
			 0);
	assert_int_equal(bpf_map_update_elem(bf_map(b, e->is_assured ? "dp_rev" : "dp_rev_new"),
					     &rk, &e->rev, BPF_EXIST),
			 0);
}

static void run_in(struct bf *b, const struct bf_in *in, const char *where)
{
	struct bf_out out;

	bf_run(b, BF_MESH_IN, in, &out);
	bf_expect_reason(b, DP_R_DELIVERED_HOST, where);
}

static void run_out(struct bf *b, const struct bf_in *in, uint32_t reason, const char *where)
{
	struct bf_out out;

	bf_run(b, BF_UP_OUT, in, &out);
	bf_expect_reason(b, reason, where);
}

/* Where a packet whose token names the second backend goes: does the entry still count? */
static bool still_counts(struct bf *b, const struct bf_in *in)
{
	int family = strchr(in->pkt.src, ':') ? 6 : 4;
	struct dp_local l = bf_local(svc_of(family));
	struct bf_in probe = *in;
	struct bf_out out;

	bf_addr(family == 4 ? "10.0.0.6" : "2001:db8:1::6", l.addr);
	bf_set_local(b, OTHER_SLOT, &l);
	probe.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(OTHER_SLOT, BF_USE));
	bf_run(b, BF_MESH_IN, &probe, &out);
	bf_expect_reason(b, DP_R_DELIVERED_HOST, "either backend");
	return !strcmp(out.seen.dst, family == 4 ? "10.0.0.5" : "2001:db8:1::5");
}

static const struct {
	const char *name;
	uint8_t proto;
	bool is_assured;
	uint32_t state;
	uint32_t limit_s;
} limits[] = {
	{"UDP, unanswered", IPPROTO_UDP, false, 0, 30},
	{"UDP", IPPROTO_UDP, true, 0, 180},
	{"TCP, unanswered", IPPROTO_TCP, false, 0, 60},
	{"TCP, unanswered and reset", IPPROTO_TCP, false, DP_FLOW_CLOSING, 30},
	{"TCP", IPPROTO_TCP, true, 0, 7440},
	{"TCP, client is done", IPPROTO_TCP, true, DP_FLOW_FIN_IN, 600},
	{"TCP, backend is done", IPPROTO_TCP, true, DP_FLOW_FIN_OUT, 600},
	{"TCP, over", IPPROTO_TCP, true, DP_FLOW_CLOSING, 30},
	{"TCP, both are done", IPPROTO_TCP, true,
	 DP_FLOW_FIN_IN | DP_FLOW_FIN_OUT | DP_FLOW_CLOSING, 30},
};

static void begin(struct bf *b, const struct bf_in *in, const struct bf_in *out, bool is_assured)
{
	bf_setup((void **)&b);
	run_in(b, in, "begins");
	if (is_assured)
		run_out(b, out, DP_R_REPLY_ENCAP, "is answered");
	assert_int_equal(get(b, in).is_assured, is_assured);
}

static void test_flow_when_idle_then_absent(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(limits) / sizeof(*limits) * 2; i++) {
		size_t r = i / 2;
		int family = i & 1 ? 6 : 4;
		struct bf_in in = client(family, limits[r].proto, svc_of(family)),
			     out = answer(family, limits[r].proto);
		struct entries e;

		for (uint32_t over = 0; over < 2; over++) {
			uint32_t ago = over ? limits[r].limit_s + 2 : limits[r].limit_s - 2;

			begin(b, &in, &out, limits[r].is_assured);
			e = get(b, &in);
			e.fwd.state = e.rev.state = limits[r].state;
			e.fwd.seen_s -= ago;
			e.rev.seen_s -= ago;
			set(b, &in, &e);
			if (still_counts(b, &in) == over)
				fail_msg("%s, IPv%d, %u s ago: counts or not, wrongly",
					 limits[r].name, family, ago);
			/* And the way back. */
			begin(b, &in, &out, limits[r].is_assured);
			e = get(b, &in);
			e.rev.state = limits[r].state;
			e.rev.seen_s -= ago;
			set(b, &in, &e);
			run_out(b, &out, over ? DP_R_PASS_NOT_OURS : DP_R_REPLY_ENCAP,
				limits[r].name);
		}
		/* A client that only listens keeps its flow. */
		begin(b, &in, &out, limits[r].is_assured);
		e = get(b, &in);
		e.fwd.state = e.rev.state = limits[r].state;
		e.fwd.seen_s -= limits[r].limit_s + 2;
		set(b, &in, &e);
		assert_true(still_counts(b, &in));
	}
}

static void test_flow_when_packets_come_then_both_entries_are_fresh(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4;
		struct bf_in in = client(family, protos[i / 2], svc_of(family)),
			     out = answer(family, protos[i / 2]);
		struct entries e, now;

		begin(b, &in, &out, true);
		e = get(b, &in);
		e.fwd.seen_s -= 20;
		e.rev.seen_s -= 20;
		set(b, &in, &e);
		run_out(b, &out, DP_R_REPLY_ENCAP, "answer");
		now = get(b, &in);
		assert_true(now.rev.seen_s >= e.rev.seen_s + 20);
		set(b, &in, &e);
		run_in(b, &in, "question");
		now = get(b, &in);
		assert_true(now.fwd.seen_s >= e.fwd.seen_s + 20);
		assert_true(now.rev.seen_s >= e.rev.seen_s + 20);
	}
}

/* c: from the client, s: from the backend; each with its flags. */
static const struct {
	const char *name;
	struct {
		char from;
		uint8_t flags;
	} step[4];
	uint32_t state;
} ends[] = {
	{"open", {{'c', ACK}, {'s', ACK}}, DP_FLOW_OPEN},
	{"client is done", {{'c', FIN}}, DP_FLOW_FIN_IN},
	{"client is done, backend talks on", {{'c', FIN}, {'s', ACK}}, DP_FLOW_FIN_IN},
	{"backend is done", {{'s', FIN}}, DP_FLOW_FIN_OUT},
	{"backend is done, client talks on", {{'s', FIN}, {'c', ACK}}, DP_FLOW_FIN_OUT},
	{"both", {{'c', FIN}, {'s', FIN}}, DP_FLOW_FIN_IN | DP_FLOW_FIN_OUT | DP_FLOW_CLOSING},
	{"both, the last word",
	 {{'s', FIN}, {'c', FIN}, {'s', ACK}, {'c', ACK}},
	 DP_FLOW_FIN_IN | DP_FLOW_FIN_OUT | DP_FLOW_CLOSING},
	{"client resets", {{'c', RST}}, DP_FLOW_CLOSING},
	{"backend resets", {{'s', RST}}, DP_FLOW_CLOSING},
	{"backend resets, client talks on", {{'s', RST}, {'c', ACK}}, DP_FLOW_CLOSING},
	{"someone resets, backend does not believe it", {{'c', RST}, {'s', ACK}}, DP_FLOW_OPEN},
};

static void test_tcp_when_it_ends_then_both_entries_know_and_syn_begins_anew(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends) * 2; i++) {
		size_t r = i / 2;
		int family = i & 1 ? 6 : 4;
		struct bf_in in = client(family, IPPROTO_TCP, svc_of(family)),
			     out = answer(family, IPPROTO_TCP);
		struct entries e;

		begin(b, &in, &out, true);
		for (size_t s = 0; s < 4 && ends[r].step[s].from; s++) {
			struct bf_in *p = ends[r].step[s].from == 'c' ? &in : &out;

			p->pkt.tcp_flags = ends[r].step[s].flags;
			if (p == &in)
				run_in(b, p, ends[r].name);
			else
				run_out(b, p, DP_R_REPLY_ENCAP, ends[r].name);
		}
		e = get(b, &in);
		if (e.fwd.state != ends[r].state || e.rev.state != ends[r].state)
			fail_msg("%s: state %u and %u, want %u", ends[r].name, e.fwd.state,
				 e.rev.state, ends[r].state);
		assert_true(e.is_assured);
		in.pkt.tcp_flags = SYN;
		assert_int_equal(still_counts(b, &in), ends[r].state == DP_FLOW_OPEN);
		e = get(b, &in);
		assert_int_equal(e.is_assured, ends[r].state == DP_FLOW_OPEN);
		assert_int_equal(e.fwd.slot == OTHER_SLOT, ends[r].state != DP_FLOW_OPEN);
		assert_int_equal(e.rev.slot == OTHER_SLOT, ends[r].state != DP_FLOW_OPEN);
	}
}

/* ---- Whose reply key is it? ---- */

static void test_reply_key_when_other_flow_is_dead_then_no_clash(void **state)
{
	enum { ALIVE, OTHER_USE, NOT_LIVE, IDLE, CASES };
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < CASES * 4; i++) {
		bool is_assured = i & 1;
		uint8_t proto = protos[i >> 1 & 1];
		struct bf_in old = client(4, proto, BF_SVC_HOST4), out = answer(4, proto), twin;
		struct dp_local l = bf_local(BF_SVC_HOST4);
		struct bf_out seen;
		struct entries e;

		twin = client(4, proto, BF_SVC_TWIN4);
		twin.pkt.dst = "192.0.2.14";
		begin(b, &old, &out, is_assured);
		if (i / 4 == OTHER_USE)
			l.use_count++;
		if (i / 4 == NOT_LIVE)
			l.live = 0;
		bf_set_local(b, BF_SVC_HOST4, &l);
		e = get(b, &old);
		if (i / 4 == IDLE)
			e.rev.seen_s -= 8000;
		set(b, &old, &e);
		bf_run(b, BF_MESH_IN, &twin, &seen);
		bf_expect_reason(b, DP_R_DELIVERED_HOST, "twin");
		assert_int_equal(seen.seen.sport == 40000, i / 4 != ALIVE);
		if (i / 4 == ALIVE)
			continue;
		run_out(b, &out, DP_R_REPLY_ENCAP, "the twin's answer");
		e = get(b, &twin);
		assert_true(e.is_assured);
		assert_int_equal(e.rev.slot, BF_SVC_TWIN4);
	}
}

/* One client port, two VIPs and two ports of one, one backend port: every answer bears the name it was asked by. */
static void test_replies_when_one_backend_has_many_names_then_they_do_not_mix(void **state)
{
	static const struct {
		const char *vip;
		uint16_t port;
		uint32_t slot;
	} names[] = {{"192.0.2.12", 80, BF_SVC_HOST4},
		     {"192.0.2.14", 80, BF_SVC_TWIN4},
		     {"192.0.2.12", 6000, BF_SVC_HOSTRANGE4}};
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 2; i++) {
		struct dp_local l = bf_local(BF_SVC_HOSTRANGE4);
		uint16_t cport[3];
		struct bf_out seen;

		bf_setup(state);
		l.port = 8080;
		bf_set_local(b, BF_SVC_HOSTRANGE4, &l);
		for (size_t n = 0; n < 3; n++) {
			struct bf_in in = client(4, protos[i], names[n].slot);

			in.pkt.dst = names[n].vip;
			in.pkt.dport = names[n].port;
			bf_run(b, BF_MESH_IN, &in, &seen);
			bf_expect_reason(b, DP_R_DELIVERED_HOST, names[n].vip);
			assert_int_equal(seen.seen.dport, 8080);
			cport[n] = seen.seen.sport;
		}
		assert_true(cport[0] != cport[1] && cport[1] != cport[2] && cport[0] != cport[2]);
		for (size_t k = 0; k < 6; k++) {
			size_t n = k % 3;
			struct bf_in out = answer(4, protos[i]);

			out.pkt.dport = cport[n];
			bf_run(b, BF_UP_OUT, &out, &seen);
			bf_expect_reason(b, DP_R_REPLY_ENCAP, names[n].vip);
			assert_string_equal(seen.seen.src, names[n].vip);
			assert_int_equal(seen.seen.sport, names[n].port);
			assert_int_equal(seen.seen.dport, 40000);
		}
	}
}

/* ---- Replies that are none ---- */

static void test_reply_when_slot_changed_hands_then_not_ours(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4;
		struct bf_in in = client(family, protos[i / 2], svc_of(family)),
			     out = answer(family, protos[i / 2]);
		struct dp_local l = bf_local(svc_of(family));

		begin(b, &in, &out, false);
		l.use_count++;
		bf_set_local(b, svc_of(family), &l);
		run_out(b, &out, DP_R_PASS_NOT_OURS, "another backend's slot");
		assert_int_equal(bf_map_count(b, "dp_fwd", 40), 0);
		/* Taken off, but nobody else's yet: what it was asked before is answered. */
		l = bf_local(svc_of(family));
		l.live = 0;
		bf_set_local(b, svc_of(family), &l);
		run_out(b, &out, DP_R_REPLY_ENCAP, "last words");
		assert_int_equal(bf_map_count(b, "dp_fwd", 40), 0);
	}
}

/* An edge that is a worker too sends out what another worker answered: that is from the VIP, and nobody's answer here. */
static void test_reply_when_from_vip_then_passes_and_assures_nothing(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4;
		struct bf_in in = client(family, protos[i / 2], svc_of(family)),
			     out = answer(family, protos[i / 2]);

		begin(b, &in, &out, false);
		out.pkt.src = in.pkt.dst;
		run_out(b, &out, DP_R_PASS_NOT_OURS, "from the VIP");
		assert_int_equal(bf_map_count(b, "dp_fwd", 40), 0);
		assert_int_equal(bf_map_count(b, "dp_rev", 40), 0);
	}
}

static void test_mesh_in_when_source_is_vip_then_refused(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 8; i++) {
		int family = i & 1 ? 6 : 4;
		struct bf_in in = client(family, protos[i >> 1 & 1], svc_of(family));
		struct bf_out out;

		in.pkt.src = family == 4 ? "192.0.2.10" : "2001:db8::10";
		if (i & 4)
			in.pkt.outer_src = NULL; /* by this machine's own public interface */
		bf_run(b, i & 4 ? BF_PUB_IN : BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_SOURCE_IS_VIP, in.pkt.src);
		assert_int_equal(out.retval, ACT_SHOT);
	}
	assert_int_equal(bf_map_count(b, "dp_fwd_new", 40), 0);
}

static void test_flow_when_backend_falls_ill_then_another_here_takes_it(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4;
		struct bf_in in = client(family, protos[i / 2], svc_of(family)),
			     out = answer(family, protos[i / 2]);
		struct entries e;

		begin(b, &in, &out, true);
		bf_set_backend(b, svc_of(family), DP_BE_DEAD, BF_SELF);
		e = get(b, &in);
		e.fwd.seen_s -= 2; /* looked at once a second */
		set(b, &in, &e);
		assert_false(still_counts(b, &in));
	}
}

/* ---- Floods ---- */

/* Sources of one flood; FLOOD=16777216 is all that fit the three bytes. */
static uint32_t flood_sources(void)
{
	const char *text = getenv("FLOOD");
	unsigned long n = text ? strtoul(text, NULL, 10) : 1000000;

	return n > 0 && n < 1u << 24 ? (uint32_t)n : 1u << 24;
}

static void set_source(uint8_t *frame, uint32_t n)
{
	/* Ethernet, outer IPv4, GRE with key, inner IPv4: source address, then behind the header the source port. */
	frame[54] = 100;
	frame[55] = (uint8_t)(n >> 16);
	frame[56] = (uint8_t)(n >> 8);
	frame[57] = (uint8_t)n;
}

static double flood(struct bf *b, uint8_t proto, uint32_t sources)
{
	struct bf_in in = client(4, proto, BF_SVC_HOST4);
	uint8_t frame[PKT_MAX];
	struct timespec t0, t1;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .repeat = 1);

	in.pkt.tcp_flags = SYN;
	o.data_size_in = (uint32_t)pkt_build(&in.pkt, frame);
	clock_gettime(CLOCK_MONOTONIC, &t0);
	for (uint32_t n = 0; n < sources; n++) {
		set_source(frame, n);
		if (bpf_prog_test_run_opts(bf_program_fd(b, BF_MESH_IN), &o))
			fail_msg("test run: %s", strerror(errno));
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	return (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec) / 1e9;
}

/* FLOWS of the service that is flooded, and as many of another: how many are not as they were? */
static unsigned flows_run(struct bf *b, bool is_first)
{
	static const uint32_t svcs[] = {BF_SVC_HOST4, BF_SVC_TWIN4};
	static uint16_t cports[2 * FLOWS][2];
	unsigned changed = 0;

	for (uint32_t i = 0; i < 2 * FLOWS * 2; i++) {
		uint32_t f = i / 2;
		struct bf_in in = client(4, protos[i & 1], svcs[f & 1]),
			     out = answer(4, protos[i & 1]);
		struct bf_out seen;

		if (f & 1)
			in.pkt.dst = "192.0.2.14";
		in.pkt.sport = (uint16_t)(20000 + f);
		bf_run(b, BF_MESH_IN, &in, &seen);
		if (is_first)
			cports[f][i & 1] = seen.seen.sport;
		changed += seen.retval != ACT_REDIRECT || seen.seen.sport != cports[f][i & 1];
		out.pkt.dport = cports[f][i & 1];
		bf_run(b, BF_UP_OUT, &out, &seen);
		changed += seen.retval != ACT_REDIRECT || strcmp(seen.seen.src, in.pkt.dst) != 0;
	}
	return changed;
}

static void test_flood_when_sources_are_new_then_assured_flows_stay(void **state)
{
	uint32_t sources = flood_sources();
	struct bf *b = *state;

	bf_need(b);
	assert_int_equal(flows_run(b, true), 0);
	assert_int_equal(bf_map_count(b, "dp_fwd", 40), 4 * FLOWS);
	for (int i = 0; i < 2; i++) {
		double took = flood(b, protos[i], sources);
		size_t fwd = bf_map_count(b, "dp_fwd", 40), rev = bf_map_count(b, "dp_rev", 40);
		size_t fresh = bf_map_count(b, "dp_fwd_new", 40);
		unsigned changed = flows_run(b, false);

		print_message("%s: %u sources in %.1f s; assured flows before %u, after %zu and "
			      "%zu ways back, changed %u; unassured now %zu of 4096\n",
			      i ? "SYN" : "UDP", sources, took, 4 * FLOWS, fwd, rev, changed,
			      fresh);
		assert_int_equal(fwd, 4 * FLOWS);
		assert_int_equal(rev, 4 * FLOWS);
		assert_int_equal(changed, 0);
		assert_true(fresh <= 4096);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, bf_setup)
	const struct CMUnitTest tests[] = {
		T(test_flow_when_idle_then_absent),
		T(test_flow_when_packets_come_then_both_entries_are_fresh),
		T(test_tcp_when_it_ends_then_both_entries_know_and_syn_begins_anew),
		T(test_reply_key_when_other_flow_is_dead_then_no_clash),
		T(test_replies_when_one_backend_has_many_names_then_they_do_not_mix),
		T(test_reply_when_slot_changed_hands_then_not_ours),
		T(test_reply_when_from_vip_then_passes_and_assures_nothing),
		T(test_mesh_in_when_source_is_vip_then_refused),
		T(test_flow_when_backend_falls_ill_then_another_here_takes_it),
		T(test_flood_when_sources_are_new_then_assured_flows_stay),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
