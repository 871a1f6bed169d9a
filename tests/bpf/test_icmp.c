/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP at every hook: echo to a VIP, errors about replies on their way to the backend, errors from backends on their way to
 * the client. What comes out is compared with packets built from scratch, byte by byte, also where the quote is cut. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"
#include "tests/lib/bpf_icmp.h"

#define ACT_OK 0u
#define ACT_SHOT 2u
#define ACT_REDIRECT 7u
#define ACT_UNSPEC ((uint32_t)-1)
#define TX 3u
#define PASS 2u

static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};

static const char *client(int family)
{
	return family == 4 ? BF_CLIENT4 : BF_CLIENT6;
}

static const char *router(int family)
{
	return family == 4 ? "203.0.113.9" : "2001:db8:f::9";
}

static struct icmp_seen read_icmp(const struct bf_out *out, const char *where)
{
	struct icmp_seen seen;
	const char *wrong = icmp_read(&out->seen, &seen);

	if (wrong)
		fail_msg("%s: %s", where, wrong);
	return seen;
}

static void expect_quote(const struct icmp_seen *i, const struct pkt_spec *wanted,
			 const char *where)
{
	const char *wrong = icmp_quotes(i, wanted);

	if (wrong)
		fail_msg("%s: %s", where, wrong);
}

/* ---- echo ---- */

static struct bf_in echo_to(const char *vip, uint8_t *msg, uint16_t payload)
{
	int family = strchr(vip, ':') ? 6 : 4;
	struct bf_in in = {.pkt = {.src = client(family), .dst = vip}};
	struct icmp_spec i = {
		.type = family == 4 ? 8 : 128, .rest = 0x12345678, .payload = payload};

	icmp_fill(&in.pkt, &i, msg);
	return in;
}

static void test_echo_when_to_a_vip_then_answered(void **state)
{
	static const char *const vips[] = {"192.0.2.10", "2001:db8::10", "192.0.2.12",
					   "2001:db8::12"};
	static const uint16_t sizes[] = {0, 1, 56, 1400, 1472};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 4 * 5 * 2; i++) {
		const char *vip = vips[i % 4];
		bool is_xdp = i / 4 % 2;
		uint8_t msg[PKT_MAX], frame[PKT_MAX];
		struct bf_in in = echo_to(vip, msg, sizes[i / 8]);
		struct icmp_seen seen;
		struct bf_out out;
		size_t len;

		in.pkt.is_df = i & 1;
		bf_run(b, is_xdp ? BF_XDP : BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_ECHO_ANSWERED, vip);
		assert_int_equal(out.retval, is_xdp ? TX : ACT_REDIRECT);
		seen = read_icmp(&out, vip);
		assert_string_equal(out.seen.src, vip);
		assert_string_equal(out.seen.dst, in.pkt.src);
		assert_int_equal(out.seen.ttl, 64);
		assert_int_equal(seen.type, out.seen.family == 4 ? 0 : 129);
		assert_int_equal(seen.code, 0);
		assert_int_equal(seen.rest, 0x12345678);
		assert_int_equal(seen.body_bytes, sizes[i / 8]);
		assert_memory_equal(seen.body, msg + 8, seen.body_bytes);
		len = pkt_build(&in.pkt, frame);
		assert_int_equal(out.len, len);
		assert_memory_equal(out.frame, frame + 6, 6);
		assert_memory_equal(out.frame + 6, frame, 6);
	}
}

/* What can't be answered in place, or must not be. */
static void test_echo_when_odd_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 4; i++) {
		const char *vip = i & 1 ? "2001:db8::10" : "192.0.2.10";
		enum bf_prog prog = i & 2 ? BF_PUB_IN : BF_XDP;
		static const char *const sources[] = {"0.0.0.0", "127.0.0.1", "224.0.0.1",
						      "255.255.255.255"};
		static const char *const sources6[] = {"::", "ff02::1", "ff0e::1", "ff01::7"};
		uint8_t msg[PKT_MAX];
		struct bf_in in;
		struct bf_out out;

		for (int s = 0; s < 4; s++) {
			in = echo_to(vip, msg, 8);
			in.pkt.src = i & 1 ? sources6[s] : sources[s];
			bf_run(b, prog, &in, &out);
			bf_expect_reason(b, DP_R_ICMP_UNKNOWN, in.pkt.src);
			assert_int_equal(out.retval, i & 2 ? ACT_SHOT : 1);
		}
		in = echo_to(vip, msg, 8);
		in.pkt.ip_options = in.pkt.dest_options = 1;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_UNKNOWN, "options");
		in = echo_to(vip, msg, 8);
		msg[1] = 1;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_UNKNOWN, "code 1");
		in = echo_to(vip, msg, 8);
		in.pkt.payload = 7;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_BAD_PACKET, "cut short");
		in = echo_to(vip, msg, 8);
		msg[0] = i & 1 ? 129 : 0;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_UNKNOWN, "an answer");
		in = echo_to(vip, msg, 8);
		in.pkt.is_first_frag = true;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_FRAGMENT, "first fragment");
		in.pkt.is_first_frag = false;
		in.pkt.is_later_frag = true;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_FRAG_NO_FIRST, "later fragment");
	}
}

static void test_echo_when_not_to_a_vip_then_host_has_it(void **state)
{
	struct bf *b = *state;
	uint8_t msg[PKT_MAX];
	struct bf_out out;

	bf_need(b);
	for (int i = 0; i < 2; i++) {
		struct bf_in in = echo_to(i ? "2001:db8:1::5" : "10.0.0.5", msg, 56);

		bf_run(b, BF_XDP, &in, &out);
		bf_expect_reason(b, DP_R_XDP_PASS, in.pkt.dst);
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_PASS_NOT_OURS, in.pkt.dst);
	}
}

static void test_echo_when_flooded_then_limited(void **state)
{
	struct bf *b = *state;
	uint8_t msg[PKT_MAX];
	struct bf_in in = echo_to("192.0.2.10", msg, 56);
	struct bf_out out;

	bf_need(b);
	for (int hook = 0; hook < 2; hook++) {
		/* The window may end between the two steps. */
		for (int try = 0; try < 100 && !bf_reason(b, DP_R_ICMP_LIMITED); try++) {
			bf_set_rate(b, BF_RATE_ECHO, 670);
			bf_run(b, hook ? BF_PUB_IN : BF_XDP, &in, &out);
		}
		assert_int_equal(bf_reason(b, DP_R_ICMP_LIMITED), 1);
		assert_int_equal(out.retval, hook ? ACT_SHOT : 1);
		bf_forget_reasons(b);
		bf_set_rate(b, BF_RATE_ECHO, 669);
		bf_run(b, hook ? BF_PUB_IN : BF_XDP, &in, &out);
		bf_expect_reason(b, DP_R_ECHO_ANSWERED, "one more");
	}
}

static void test_neighbour_when_asked_for_a_vip_then_host_has_it(void **state)
{
	struct bf *b = *state;
	struct bf_out out;

	bf_need(b);
	for (uint8_t type = 135; type <= 136; type++) {
		struct bf_in in = {.pkt = {.src = BF_CLIENT6, .dst = "2001:db8::10"}};
		struct icmp_spec i = {.type = type, .payload = 16};
		uint8_t msg[PKT_MAX];

		icmp_fill(&in.pkt, &i, msg);
		bf_run(b, BF_XDP, &in, &out);
		bf_expect_reason(b, DP_R_XDP_PASS, "XDP");
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_PASS_NOT_OURS, "TC");
	}
}

/* ---- errors, at the edge, towards the backend ---- */

static const struct kind {
	uint8_t type4, code4, type6, code6;
	uint32_t rest;
} kinds[] = {
	{3, 4, 2, 0, 1300}, /* too big */
	{3, 3, 1, 4, 0},    /* port unreachable */
	{3, 1, 1, 3, 0},    /* host, address unreachable */
	{11, 0, 3, 0, 0},   /* time exceeded */
	{12, 0, 4, 1, 6},   /* parameter problem */
};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

static const struct target {
	int family;
	uint32_t svc;
	const char *vip;
	uint16_t port;
	const char *backend; /* here, or NULL */
	uint16_t bport;
	enum bf_prog hook; /* its answers leave by */
} targets[] = {
	{4, BF_SVC_EXACT4, "192.0.2.10", 53, NULL, 0, 0},
	{6, BF_SVC_EXACT6, "2001:db8::10", 53, NULL, 0, 0},
	{4, BF_SVC_RANGE4, "192.0.2.11", 5042, NULL, 0, 0},
	{6, BF_SVC_RANGE6, "2001:db8::11", 5042, NULL, 0, 0},
	{4, BF_SVC_HOST4, "192.0.2.12", 80, "10.0.0.5", 8080, BF_UP_OUT},
	{6, BF_SVC_HOST6, "2001:db8::12", 80, "2001:db8:1::5", 8080, BF_MESH_OUT},
	{4, BF_SVC_HOSTRANGE4, "192.0.2.12", 6299, "10.0.0.5", 7299, BF_MESH_OUT},
	{6, BF_SVC_HOSTRANGE6, "2001:db8::12", 6001, "2001:db8:1::5", 7001, BF_UP_OUT},
	{4, BF_SVC_BRIDGE4, "192.0.2.13", 80, "172.17.0.2", 8080, BF_BR_IN},
	{6, BF_SVC_BRIDGE6, "2001:db8::13", 80, "fd17::2", 8080, BF_BR_IN},
};
#define REMOTE 4
#define TARGETS (sizeof(targets) / sizeof(*targets))

/* What the client sent, and what the service answered. */
static struct pkt_spec request(const struct target *t, uint8_t proto)
{
	return (struct pkt_spec){.src = client(t->family),
				 .dst = t->vip,
				 .sport = 40000,
				 .dport = t->port,
				 .l4_proto = proto,
				 .payload = 64};
}

static struct pkt_spec answer(const struct target *t, uint8_t proto)
{
	return (struct pkt_spec){.src = t->vip,
				 .dst = client(t->family),
				 .sport = t->port,
				 .dport = 40000,
				 .l4_proto = proto,
				 .payload = 64};
}

static struct icmp_spec about(const struct target *t, const struct kind *k,
			      const struct pkt_spec *quote, uint16_t quote_bytes)
{
	return (struct icmp_spec){.type = t->family == 4 ? k->type4 : k->type6,
				  .code = t->family == 4 ? k->code4 : k->code6,
				  .rest = k->rest,
				  .quote = quote,
				  .quote_bytes = quote_bytes};
}

/* An error about `quote`, as a router sends it to the VIP. */
static struct bf_in to_vip(const struct target *t, const struct kind *k,
			   const struct pkt_spec *quote, uint16_t quote_bytes, uint8_t *msg)
{
	struct bf_in in = {.pkt = {.src = router(t->family), .dst = t->vip}};
	struct icmp_spec i = about(t, k, quote, quote_bytes);

	icmp_fill(&in.pkt, &i, msg);
	return in;
}

static void set_policy(struct bf *b, uint32_t svc_idx, uint8_t policy)
{
	struct dp_svc svc;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_svc"), &svc_idx, &svc), 0);
	svc.hash = policy;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_svc"), &svc_idx, &svc, BPF_ANY), 0);
}

static struct dp_verdict verdict_of(const struct bf_out *out)
{
	struct dp_verdict v;

	assert_int_equal(out->meta_len, sizeof(v));
	memcpy(&v, out->meta, sizeof(v));
	return v;
}

/* XDP sends it to the row of the flow's own packets, whatever the policy. */
static void test_error_when_about_a_reply_then_same_row(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < REMOTE * 2 * KINDS * 2 * 8; n++) {
		const struct target *t = &targets[n % REMOTE];
		uint8_t proto = protos[n / REMOTE % 2], msg[PKT_MAX];
		const struct kind *k = &kinds[n / REMOTE / 2 % KINDS];
		uint8_t policy = n / REMOTE / 2 / KINDS % 2 ? DP_HASH_SOURCE : DP_HASH_5TUPLE;
		struct bf_in req = {.pkt = request(t, proto)}, in;
		struct pkt_spec quote = answer(t, proto);
		struct dp_verdict want, got;
		struct bf_out out;

		req.pkt.sport = quote.dport = (uint16_t)(40000 + n);
		set_policy(b, t->svc, policy);
		bf_run(b, BF_XDP, &req, &out);
		want = verdict_of(&out);
		bf_expect_reason(b, DP_R_FORWARD_CHOSEN, t->vip);
		/* Routers quote all of it, or no more than they must. */
		in = to_vip(t, k, &quote, n & 1 ? 0 : (t->family == 4 ? 28 : 48), msg);
		bf_run(b, BF_XDP, &in, &out);
		got = verdict_of(&out);
		bf_expect_reason(b, DP_R_FORWARD_CHOSEN, t->vip);
		assert_int_equal(out.retval, PASS);
		assert_int_equal(got.verdict, DP_VERDICT_FORWARD);
		assert_int_equal(got.row, want.row);
		assert_int_equal(got.svc_idx, t->svc);
	}
}

static void test_error_when_about_a_reply_then_encapsulated(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < REMOTE * 2 * KINDS; n++) {
		const struct target *t = &targets[n % REMOTE];
		const struct kind *k = &kinds[n / REMOTE / 2];
		uint8_t proto = protos[n / REMOTE % 2], msg[PKT_MAX];
		struct pkt_spec quote = answer(t, proto);
		struct bf_in in = to_vip(t, k, &quote, 0, msg);
		struct icmp_seen seen;
		struct bf_out out;

		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_FORWARDED, t->vip);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_int_equal(out.mark, BF_MARK);
		assert_string_equal(out.seen.outer_dst, n % REMOTE < 2 ? "10.99.0.2" : "fd99::3");
		assert_int_equal(out.seen.gre_key, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)));
		assert_string_equal(out.seen.src, in.pkt.src);
		assert_string_equal(out.seen.dst, t->vip);
		seen = read_icmp(&out, t->vip);
		assert_int_equal(seen.rest, k->rest);
		expect_quote(&seen, &quote, t->vip);
	}
}

static void expect_unknown(struct bf *b, const struct bf_in *in, uint32_t reason, const char *where)
{
	struct bf_out out;

	bf_run(b, BF_XDP, in, &out);
	bf_expect_reason(b, reason, where);
	assert_int_equal(out.retval, 1);
	bf_run(b, BF_PUB_IN, in, &out);
	bf_expect_reason(b, reason, where);
	assert_int_equal(out.retval, ACT_SHOT);
}

static void test_error_when_about_nothing_of_ours_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < 2; n++) {
		const struct target *t = &targets[n];
		struct pkt_spec quote = answer(t, IPPROTO_UDP);
		struct dp_self self = bf_self();
		uint8_t msg[PKT_MAX];
		struct bf_in in;

		quote.sport = 54;
		in = to_vip(t, &kinds[0], &quote, 0, msg);
		expect_unknown(b, &in, DP_R_ICMP_UNKNOWN, "no such service");
		quote = answer(t, IPPROTO_UDP);
		quote.src = t->family == 4 ? "192.0.2.12" : "2001:db8::12";
		in = to_vip(t, &kinds[0], &quote, 0, msg);
		expect_unknown(b, &in, DP_R_ICMP_UNKNOWN, "another VIP quoted");
		quote = request(t, IPPROTO_UDP);
		in = to_vip(t, &kinds[0], &quote, 0, msg);
		expect_unknown(b, &in, DP_R_ICMP_UNKNOWN, "a request quoted");
		quote = answer(t, 132);
		in = to_vip(t, &kinds[0], &quote, 0, msg);
		expect_unknown(b, &in, DP_R_ICMP_UNKNOWN, "SCTP quoted");
		quote = answer(t, IPPROTO_UDP);
		quote.is_later_frag = true;
		in = to_vip(t, &kinds[0], &quote, 0, msg);
		expect_unknown(b, &in, DP_R_ICMP_UNKNOWN, "later fragment quoted");
		quote = answer(t, IPPROTO_UDP);
		for (uint16_t cut = 1; cut < (t->family == 4 ? 28 : 48); cut++) {
			in = to_vip(t, &kinds[0], &quote, cut, msg);
			expect_unknown(b, &in, DP_R_ICMP_UNKNOWN, "quote cut short");
		}
		in = to_vip(t, &(struct kind){5, 1, 137, 0, 0}, &quote, 0, msg);
		expect_unknown(b, &in, DP_R_ICMP_UNKNOWN, "redirect");
		in = to_vip(t, &kinds[0], &quote, 0, msg);
		self.ready = 0;
		bf_set_self(b, &self);
		expect_unknown(b, &in, DP_R_NOT_READY, "not ready");
		bf_setup(state);
	}
}

/* ---- errors, at the worker, towards the backend ---- */

static void through(struct pkt_spec *p, uint32_t key, int outer)
{
	p->outer_src = outer == 4 ? "10.99.0.2" : "fd99::3";
	p->outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1";
	p->gre_key = key;
}

/* Makes the flow, and says which client port the application sees. */
static uint16_t make_flow(struct bf *b, const struct target *t, uint8_t proto, int outer)
{
	struct bf_in in = {.pkt = request(t, proto)};
	struct bf_out out;

	if (outer)
		through(&in.pkt, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)), outer);
	bf_run(b, outer ? BF_MESH_IN : BF_PUB_IN, &in, &out);
	bf_forget_reasons(b);
	assert_string_equal(out.seen.dst, t->backend);
	return out.seen.sport;
}

/* The answer as the application's machine sent it. */
static struct pkt_spec bare_answer(const struct target *t, uint8_t proto, uint16_t cport)
{
	struct pkt_spec p = answer(t, proto);

	p.src = t->backend;
	p.sport = t->bport;
	p.dport = cport;
	return p;
}

static void expect_delivered(struct bf *b, const struct target *t, uint8_t proto, uint16_t cport,
			     const struct kind *k, int outer, uint16_t quote_bytes)
{
	struct pkt_spec quote = answer(t, proto), wanted = bare_answer(t, proto, cport);
	uint8_t msg[PKT_MAX];
	struct bf_in in;
	struct icmp_seen seen;
	struct bf_out out;

	in = to_vip(t, k, &quote, quote_bytes, msg);
	if (outer)
		through(&in.pkt, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)), outer);
	bf_run(b, outer ? BF_MESH_IN : BF_PUB_IN, &in, &out);
	bf_expect_reason(b, DP_R_ICMP_DELIVERED, t->vip);
	assert_int_equal(out.retval, outer || t->hook == BF_BR_IN ? ACT_REDIRECT : ACT_OK);
	assert_string_equal(out.seen.outer_src, "");
	assert_string_equal(out.seen.src, router(t->family));
	assert_string_equal(out.seen.dst, t->backend);
	seen = read_icmp(&out, t->vip);
	assert_int_equal(seen.type, t->family == 4 ? k->type4 : k->type6);
	assert_int_equal(seen.rest, k->rest);
	if (quote_bytes)
		assert_int_equal(seen.body_bytes, quote_bytes);
	expect_quote(&seen, &wanted, t->vip);
}

static void test_error_when_at_the_worker_then_rewritten_and_delivered(void **state)
{
	static const int outers[] = {4, 6, 0};
	/* Behind the IP header: all, the ports and no more, just short of TCP's checksum, just with it, odd. */
	static const uint16_t quoted[] = {0, 8, 16, 18, 41};
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < (TARGETS - REMOTE) * 2 * 3 * 5; n++) {
		const struct target *t = &targets[REMOTE + n % (TARGETS - REMOTE)];
		size_t rest = n / (TARGETS - REMOTE);
		uint8_t proto = protos[rest % 2];
		int outer = outers[rest / 2 % 3];
		uint16_t bytes = quoted[rest / 6];
		uint16_t cport;

		bf_setup(state);
		cport = make_flow(b, t, proto, outer);
		if (bytes)
			bytes = (uint16_t)(bytes + (t->family == 4 ? 20 : 40));
		for (size_t k = 0; k < KINDS; k++)
			expect_delivered(b, t, proto, cport, &kinds[k], outer, bytes);
	}
}

static void answer_leaves(struct bf *b, const struct target *t, uint8_t proto, uint16_t cport)
{
	struct bf_in in = {.pkt = bare_answer(t, proto, cport)};
	struct bf_out out;

	bf_run(b, t->hook, &in, &out);
	bf_expect_reason(b, DP_R_REPLY_ENCAP, "answer");
}

static void test_error_when_flow_is_assured_or_shifted_then_delivered(void **state)
{
	const struct target *host = &targets[REMOTE];
	const struct target twin = {4, BF_SVC_TWIN4, "192.0.2.14", 80, "10.0.0.5", 8080, BF_UP_OUT};
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 2; i++) {
		uint16_t first, second;

		bf_setup(state);
		first = make_flow(b, host, protos[i], 4);
		second = make_flow(b, &twin, protos[i], 4);
		assert_int_not_equal(first, second);
		expect_delivered(b, &twin, protos[i], second, &kinds[0], 4, 0);
		expect_delivered(b, host, protos[i], first, &kinds[0], 4, 0);
		answer_leaves(b, &twin, protos[i], second);
		assert_int_equal(bf_map_count(b, "dp_fwd", sizeof(struct dp_flow_fwd_key)), 1);
		expect_delivered(b, &twin, protos[i], second, &kinds[0], 6, 0);
	}
}

static void test_error_when_udp_has_no_checksum_then_stays_without(void **state)
{
	const struct target *t = &targets[REMOTE];
	struct bf *b = *state;
	struct pkt_spec quote, wanted;
	struct icmp_seen seen;
	uint8_t msg[PKT_MAX];
	struct bf_out out;
	struct bf_in in;

	bf_need(b);
	quote = answer(t, IPPROTO_UDP);
	wanted = bare_answer(t, IPPROTO_UDP, make_flow(b, t, IPPROTO_UDP, 4));
	quote.is_udp_csum_zero = wanted.is_udp_csum_zero = true;
	quote.ip_options = wanted.ip_options = 2;
	in = to_vip(t, &kinds[0], &quote, 0, msg);
	through(&in.pkt, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)), 4);
	bf_run(b, BF_MESH_IN, &in, &out);
	bf_expect_reason(b, DP_R_ICMP_DELIVERED, t->vip);
	seen = read_icmp(&out, t->vip);
	expect_quote(&seen, &wanted, t->vip);
}

static void test_error_when_flow_is_not_here_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = REMOTE; n < TARGETS; n++) {
		const struct target *t = &targets[n];
		struct pkt_spec quote = answer(t, IPPROTO_UDP);
		struct dp_local l = bf_local(t->svc);
		uint8_t msg[PKT_MAX];
		struct bf_in in = to_vip(t, &kinds[0], &quote, 0, msg);
		struct bf_out out;

		through(&in.pkt, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)), 4);
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_NO_FLOW, "never was");
		assert_int_equal(out.retval, ACT_SHOT);
		make_flow(b, t, IPPROTO_UDP, 4);
		l.use_count = BF_USE + 1;
		bf_set_local(b, t->svc, &l);
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_NO_FLOW, "another backend in its slot");
		l.use_count = BF_USE;
		l.live = 0;
		bf_set_local(b, t->svc, &l);
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_NO_FLOW, "backend gone");
		quote.src = t->backend;
		in = to_vip(t, &kinds[0], &quote, 0, msg);
		through(&in.pkt, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)), 4);
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_UNKNOWN, "quote is not from the VIP");
	}
}

/* The flow is known to be at another node, or the row's previous owner may have it: one hop, no second one. */
static void test_error_when_flow_is_elsewhere_then_passed_on_once(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = REMOTE; n < TARGETS; n++) {
		const struct target *t = &targets[n];
		struct pkt_spec quote = answer(t, IPPROTO_TCP);
		struct dp_flow_fwd_key k = {.l4_proto = IPPROTO_TCP};
		struct dp_flow_fwd f = {.away_idx = BF_NODE_V6, .edge_idx = BF_NODE_V4};
		uint32_t token = DP_TOKEN(t->svc, BF_USE);
		uint8_t msg[PKT_MAX];
		struct bf_in in = to_vip(t, &kinds[0], &quote, 0, msg);
		struct icmp_seen seen;
		struct bf_out out;

		bf_addr(client(t->family), k.client);
		bf_addr(t->vip, k.vip);
		k.cport_be = htons(40000);
		k.vport_be = htons(t->port);
		for (int is_noted = 0; is_noted < 2; is_noted++) {
			if (is_noted)
				assert_int_equal(
					bpf_map_update_elem(bf_map(b, "dp_fwd_new"), &k, &f, 0), 0);
			through(&in.pkt, DP_GRE_KEY(0, token), 4);
			in.pkt.gre_flags = is_noted ? 0 : 0x3000;
			in.pkt.gre_seq = is_noted ? 0 : BF_NODE_V6 * 1000;
			bf_run(b, BF_MESH_IN, &in, &out);
			bf_expect_reason(b, DP_R_PASSED_ON, t->vip);
			assert_int_equal(out.retval, ACT_REDIRECT);
			assert_string_equal(out.seen.outer_dst, "fd99::3");
			assert_int_equal(DP_GRE_KEY_FLAGS(out.seen.gre_key),
					 DP_GRE_F_SECOND | DP_GRE_F_FINAL);
			assert_string_equal(out.seen.dst, t->vip);
			seen = read_icmp(&out, t->vip);
			expect_quote(&seen, &quote, t->vip);
			through(&in.pkt, DP_GRE_KEY(DP_GRE_F_SECOND | DP_GRE_F_FINAL, token), 4);
			in.pkt.gre_flags = 0x3000;
			in.pkt.gre_seq = BF_NODE_V6 * 1000;
			bf_run(b, BF_MESH_IN, &in, &out);
			bf_expect_reason(b, DP_R_ICMP_NO_FLOW, "no second hop");
		}
	}
}

/* ---- errors of backends, towards the client ---- */

/* What the backend got of the client's request. */
static struct pkt_spec bare_request(const struct target *t, uint8_t proto, uint16_t cport)
{
	struct pkt_spec p = request(t, proto);

	p.dst = t->backend;
	p.dport = t->bport;
	p.sport = cport;
	return p;
}

static struct bf_in from_backend(const struct target *t, const struct kind *k, const char *from,
				 const struct pkt_spec *quote, uint16_t quote_bytes, uint8_t *msg)
{
	struct bf_in in = {.pkt = {.src = from, .dst = client(t->family)}};
	struct icmp_spec i = about(t, k, quote, quote_bytes);

	icmp_fill(&in.pkt, &i, msg);
	return in;
}

static void test_error_when_from_a_backend_then_in_the_vips_name(void **state)
{
	static const int outers[] = {4, 6, 0};
	static const uint16_t quoted[] = {0, 8, 18};
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < (TARGETS - REMOTE) * 2 * 3 * 3; n++) {
		const struct target *t = &targets[REMOTE + n % (TARGETS - REMOTE)];
		size_t rest = n / (TARGETS - REMOTE);
		uint8_t proto = protos[rest % 2], msg[PKT_MAX];
		int outer = outers[rest / 2 % 3];
		uint16_t cport, bytes = quoted[rest / 6];

		bf_setup(state);
		cport = make_flow(b, t, proto, outer);
		if (bytes)
			bytes = (uint16_t)(bytes + (t->family == 4 ? 20 : 40));
		for (size_t k = 0; k < KINDS; k++) {
			struct pkt_spec quote = bare_request(t, proto, cport);
			struct pkt_spec wanted = request(t, proto);
			/* The backend itself, or a router inside. */
			const char *from = k & 1 ? router(t->family) : t->backend;
			struct bf_in in = from_backend(t, &kinds[k], from, &quote, bytes, msg);
			struct icmp_seen seen;
			struct bf_out out;

			bf_run(b, t->hook, &in, &out);
			bf_expect_reason(b, outer ? DP_R_ICMP_BACK : DP_R_ICMP_OUT, t->vip);
			assert_string_equal(out.seen.outer_dst, outer == 4   ? "10.99.0.2"
								: outer == 6 ? "fd99::3"
									     : "");
			if (outer)
				assert_int_equal(out.seen.gre_key, DP_GRE_KEY(DP_GRE_F_REPLY, 0));
			assert_string_equal(out.seen.src, t->vip);
			assert_string_equal(out.seen.dst, client(t->family));
			seen = read_icmp(&out, t->vip);
			assert_int_equal(seen.rest, kinds[k].rest);
			expect_quote(&seen, &wanted, t->vip);
		}
	}
}

/* The host speaks for a container of its own that is gone. */
static void test_error_when_host_speaks_for_a_container_then_in_the_vips_name(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = TARGETS - 2; n < TARGETS; n++) {
		const struct target *t = &targets[n];
		uint16_t cport = make_flow(b, t, IPPROTO_TCP, 4);
		struct pkt_spec quote = bare_request(t, IPPROTO_TCP, cport);
		uint8_t msg[PKT_MAX];
		struct bf_in in = from_backend(t, &kinds[2], router(t->family), &quote, 0, msg);
		struct bf_out out;

		bf_run(b, BF_UP_OUT, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_BACK, t->vip);
		assert_string_equal(out.seen.src, t->vip);
	}
}

static void test_error_when_about_the_hosts_own_traffic_then_left_alone(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = REMOTE; n < TARGETS; n++) {
		const struct target *t = &targets[n];
		uint32_t pass = t->hook == BF_MESH_OUT ? DP_R_MESH_PASS : DP_R_PASS_NOT_OURS;
		uint16_t cport = make_flow(b, t, IPPROTO_UDP, 4);
		struct pkt_spec quote = bare_request(t, IPPROTO_UDP, cport);
		uint8_t msg[PKT_MAX];
		struct bf_in in;
		struct bf_out out;

		quote.sport++;
		in = from_backend(t, &kinds[1], t->backend, &quote, 0, msg);
		bf_run(b, t->hook, &in, &out);
		bf_expect_reason(b, pass, "another port");
		assert_int_equal(out.retval, ACT_UNSPEC);
		assert_string_equal(out.seen.src, t->backend);
		quote.sport = cport;
		in = from_backend(t, &kinds[1], t->backend, &quote, 0, msg);
		in.pkt.dst = router(t->family);
		bf_run(b, t->hook, &in, &out);
		bf_expect_reason(b, pass, "not to the client");
		in = from_backend(t, &kinds[1], t->vip, &quote, 0, msg);
		bf_run(b, t->hook, &in, &out);
		bf_expect_reason(b, pass, "from the VIP already");
		in = echo_to(client(t->family), msg, 56);
		in.pkt.src = t->backend;
		bf_run(b, t->hook, &in, &out);
		bf_expect_reason(b, pass, "the host's own ping");
	}
}

static void test_error_when_at_the_edge_then_out_to_the_client(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < TARGETS * 2 * KINDS; n++) {
		const struct target *t = &targets[n % TARGETS];
		uint8_t proto = protos[n / TARGETS % 2], msg[PKT_MAX];
		const struct kind *k = &kinds[n / TARGETS / 2];
		struct pkt_spec quote = request(t, proto);
		struct bf_in in = from_backend(t, k, t->vip, &quote, 0, msg);
		struct icmp_seen seen;
		struct bf_out out;

		through(&in.pkt, DP_GRE_KEY(DP_GRE_F_REPLY, 0), n & 1 ? 4 : 6);
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_OUT, t->vip);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_string_equal(out.seen.outer_src, "");
		assert_string_equal(out.seen.src, t->vip);
		assert_string_equal(out.seen.dst, client(t->family));
		seen = read_icmp(&out, t->vip);
		expect_quote(&seen, &quote, t->vip);
	}
}

static void test_error_when_wrong_at_the_edge_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < 2; n++) {
		const struct target *t = &targets[n];
		struct pkt_spec quote = request(t, IPPROTO_UDP);
		static const struct {
			const char *name;
			uint32_t reason;
		} rows[] = {{"in another's name", DP_R_ICMP_UNKNOWN},
			    {"not to the quoted client", DP_R_ICMP_UNKNOWN},
			    {"about no service", DP_R_REPLY_NOT_SERVICE},
			    {"an echo", DP_R_ICMP_UNKNOWN}};

		for (size_t r = 0; r < 4; r++) {
			uint8_t msg[PKT_MAX];
			struct bf_in in;
			struct bf_out out;

			quote.dport = r == 2 ? 54 : t->port;
			in = from_backend(t, &kinds[1], t->vip, &quote, 0, msg);
			if (r == 0)
				in.pkt.src = router(t->family);
			if (r == 1)
				in.pkt.dst = router(t->family);
			if (r == 3)
				in = echo_to(t->vip, msg, 56);
			through(&in.pkt, DP_GRE_KEY(DP_GRE_F_REPLY, 0), 4);
			bf_run(b, BF_MESH_IN, &in, &out);
			bf_expect_reason(b, rows[r].reason, rows[r].name);
			assert_int_equal(out.retval, ACT_SHOT);
		}
	}
}

static int group_setup(void **state)
{
	int rc = bf_group_setup(state);
	struct bf *b = *state;

	if (!rc)
		b->is_complete = bf_can_complete(b);
	return rc;
}

#define T(f) cmocka_unit_test_setup(f, bf_setup)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_echo_when_to_a_vip_then_answered),
		T(test_echo_when_odd_then_dropped),
		T(test_echo_when_not_to_a_vip_then_host_has_it),
		T(test_echo_when_flooded_then_limited),
		T(test_neighbour_when_asked_for_a_vip_then_host_has_it),
		T(test_error_when_about_a_reply_then_same_row),
		T(test_error_when_about_a_reply_then_encapsulated),
		T(test_error_when_about_nothing_of_ours_then_dropped),
		T(test_error_when_at_the_worker_then_rewritten_and_delivered),
		T(test_error_when_flow_is_assured_or_shifted_then_delivered),
		T(test_error_when_udp_has_no_checksum_then_stays_without),
		T(test_error_when_flow_is_not_here_then_dropped),
		T(test_error_when_flow_is_elsewhere_then_passed_on_once),
		T(test_error_when_from_a_backend_then_in_the_vips_name),
		T(test_error_when_host_speaks_for_a_container_then_in_the_vips_name),
		T(test_error_when_about_the_hosts_own_traffic_then_left_alone),
		T(test_error_when_at_the_edge_then_out_to_the_client),
		T(test_error_when_wrong_at_the_edge_then_dropped),
	};
	const char *only = getenv("T");

	if (only)
		cmocka_set_test_filter(only);
	return cmocka_run_group_tests(tests, group_setup, bf_group_teardown);
}
