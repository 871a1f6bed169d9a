/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP errors about replies on their way to the backend, at the edge and at the worker. */
#include "tests/bpf/icmp_cells.h"

/* ---- errors, at the edge, towards the backend ---- */

/* An error about `quote`, as a router sends it to the VIP. */
static struct bf_in to_vip(const struct target *t, const struct kind *k,
			   const struct pkt_spec *quote, uint16_t quote_bytes, uint8_t *msg)
{
	struct bf_in in = {.pkt = {.src = router(t->family), .dst = t->vip}};
	struct icmp_spec i = about(t, k, quote, quote_bytes);

	icmp_fill(&in.pkt, &i, msg);
	return in;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_error_when_about_a_reply_then_same_row),
		T(test_error_when_about_a_reply_then_encapsulated),
		T(test_error_when_about_nothing_of_ours_then_dropped),
		T(test_error_when_at_the_worker_then_rewritten_and_delivered),
		T(test_error_when_flow_is_assured_or_shifted_then_delivered),
		T(test_error_when_udp_has_no_checksum_then_stays_without),
		T(test_error_when_flow_is_not_here_then_dropped),
		T(test_error_when_flow_is_elsewhere_then_passed_on_once),
	};
	const char *only = getenv("T");

	if (only)
		cmocka_set_test_filter(only);
	return cmocka_run_group_tests(tests, group_setup, bf_group_teardown);
}
