/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What leaves a worker: replies of host sockets (uplink, mesh device) and of containers (bridge), to a remote edge and
 * to the client when this machine is the edge; the tables that an answer moves a flow to; what must not leave. */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"

#define ACT_OK 0u
#define ACT_SHOT 2u
#define ACT_REDIRECT 7u
#define ACT_UNSPEC ((uint32_t)-1)

static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};

/* A backend and the hook that its replies pass. */
static const struct way {
	enum bf_prog hook;
	int family;
	uint32_t svc;
	const char *vip;
	uint16_t port;
	const char *backend;
	uint16_t bport;
} ways[] = {
	{BF_UP_OUT, 4, BF_SVC_HOST4, "192.0.2.12", 80, "10.0.0.5", 8080},
	{BF_UP_OUT, 6, BF_SVC_HOST6, "2001:db8::12", 80, "2001:db8:1::5", 8080},
	{BF_MESH_OUT, 4, BF_SVC_HOSTRANGE4, "192.0.2.12", 6200, "10.0.0.5", 7200},
	{BF_MESH_OUT, 6, BF_SVC_HOSTRANGE6, "2001:db8::12", 6200, "2001:db8:1::5", 7200},
	{BF_BR_IN, 4, BF_SVC_BRIDGE4, "192.0.2.13", 80, "172.17.0.2", 8080},
	{BF_BR_IN, 6, BF_SVC_BRIDGE6, "2001:db8::13", 80, "fd17::2", 8080},
};
#define WAYS (sizeof(ways) / sizeof(*ways))

static const char *client_of(const struct way *w)
{
	return w->family == 4 ? BF_CLIENT4 : BF_CLIENT6;
}

/* The client's packet comes in: outer 4 or 6 = from that edge, 0 = on our own public interface. */
static void request(struct bf *b, const struct way *w, uint8_t proto, int outer)
{
	struct bf_in in = {.pkt = {.src = client_of(w),
				   .dst = w->vip,
				   .sport = 40000,
				   .dport = w->port,
				   .l4_proto = proto,
				   .payload = 20,
				   .outer_src = outer == 4   ? "10.99.0.2"
						: outer == 6 ? "fd99::3"
							     : NULL,
				   .outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1",
				   .gre_key = DP_GRE_KEY(0, DP_TOKEN(w->svc, BF_USE))}};
	struct bf_out out;

	bf_run(b, outer ? BF_MESH_IN : BF_PUB_IN, &in, &out);
	bf_expect_reason(b,
			 !outer		       ? DP_R_LOCAL_DELIVERED
			 : w->hook == BF_BR_IN ? DP_R_DELIVERED_BRIDGE
					       : DP_R_DELIVERED_HOST,
			 w->vip);
}

static struct bf_in answer(const struct way *w, uint8_t proto)
{
	return (struct bf_in){.pkt = {.src = w->backend,
				      .dst = client_of(w),
				      .sport = w->bport,
				      .dport = 40000,
				      .l4_proto = proto,
				      .payload = 500}};
}

static void test_reply_when_edge_is_remote_then_encapsulated(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS * 4; i++) {
		const struct way *w = &ways[i / 4];
		int outer = i & 2 ? 6 : 4;
		struct bf_in in = answer(w, protos[i & 1]);
		struct bf_out out;

		request(b, w, protos[i & 1], outer);
		bf_run(b, w->hook, &in, &out);
		bf_expect_reason(b, DP_R_REPLY_ENCAP, w->vip);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_int_equal(out.mark, BF_MARK);
		assert_string_equal(out.seen.outer_src, outer == 4 ? "10.99.0.1" : "fd99::1");
		assert_string_equal(out.seen.outer_dst, outer == 4 ? "10.99.0.2" : "fd99::3");
		assert_int_equal(out.seen.gre_flags, 0x2000);
		assert_int_equal(out.seen.gre_key >> 24, DP_GRE_F_REPLY);
		assert_string_equal(out.seen.src, w->vip);
		assert_string_equal(out.seen.dst, client_of(w));
		assert_int_equal(out.seen.sport, w->port);
		assert_int_equal(out.seen.dport, 40000);
		assert_int_equal(out.seen.payload, 500);
		assert_int_equal(out.seen.trailer, 0);
	}
}

static void test_reply_when_edge_is_here_then_straight_out(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS * 2; i++) {
		const struct way *w = &ways[i / 2];
		struct bf_in in = answer(w, protos[i & 1]);
		struct bf_out out;

		request(b, w, protos[i & 1], 0);
		bf_run(b, w->hook, &in, &out);
		bf_expect_reason(b, DP_R_REPLY_LOCAL, w->vip);
		assert_int_equal(out.retval, w->hook == BF_UP_OUT ? ACT_OK : ACT_REDIRECT);
		assert_string_equal(out.seen.outer_src, "");
		assert_string_equal(out.seen.src, w->vip);
		assert_string_equal(out.seen.dst, client_of(w));
		assert_int_equal(out.seen.sport, w->port);
		assert_int_equal(out.seen.dport, 40000);
	}
}

/* A host's wildcard socket may answer from any of its addresses; a container may not borrow another's flow. */
static void test_reply_when_source_differs_then_host_yes_bridge_no(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];
		struct bf_in in = answer(w, IPPROTO_UDP);
		struct bf_out out;

		request(b, w, IPPROTO_UDP, 4);
		in.pkt.src = w->family == 4 ? "10.200.0.9" : "fd20::9";
		bf_run(b, w->hook, &in, &out);
		bf_expect_reason(b, w->hook == BF_BR_IN ? DP_R_PASS_NOT_OURS : DP_R_REPLY_ENCAP,
				 w->vip);
	}
}

static size_t flows(struct bf *b, const char *map)
{
	return bf_map_count(b, map, 40);
}

static void test_flow_when_answered_then_assured(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS; i++) {
		struct bf_in in = answer(&ways[i], IPPROTO_UDP);
		struct bf_out out;

		bf_setup(state);
		request(b, &ways[i], IPPROTO_UDP, 4);
		assert_int_equal(flows(b, "dp_fwd_new"), 1);
		assert_int_equal(flows(b, "dp_rev_new"), 1);
		for (int again = 0; again < 2; again++) {
			bf_run(b, ways[i].hook, &in, &out);
			bf_expect_reason(b, DP_R_REPLY_ENCAP, "answer");
			assert_int_equal(flows(b, "dp_fwd_new"), 0);
			assert_int_equal(flows(b, "dp_rev_new"), 0);
			assert_int_equal(flows(b, "dp_fwd"), 1);
			assert_int_equal(flows(b, "dp_rev"), 1);
			/* The next request finds the assured entry, and moves the edge in it. */
			request(b, &ways[i], IPPROTO_UDP, 6);
			assert_int_equal(flows(b, "dp_fwd_new") + flows(b, "dp_rev_new"), 0);
			bf_run(b, ways[i].hook, &in, &out);
			bf_expect_reason(b, DP_R_REPLY_ENCAP, "answer through the other edge");
			assert_string_equal(out.seen.outer_dst, "fd99::3");
		}
	}
}

static void test_flow_when_only_the_kernel_answered_then_not_assured(void **state)
{
	static const uint8_t flags[] = {0x12, 0x04, 0x14};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(flags); i++) {
		struct bf_in in = answer(&ways[0], IPPROTO_TCP);
		struct bf_out out;

		request(b, &ways[0], IPPROTO_TCP, 4);
		in.pkt.tcp_flags = flags[i];
		bf_run(b, BF_UP_OUT, &in, &out);
		bf_expect_reason(b, DP_R_REPLY_ENCAP, "SYN-ACK or RST");
		assert_int_equal(flows(b, "dp_fwd"), 0);
		assert_int_equal(flows(b, "dp_fwd_new"), 1);
	}
}

/* The second flow's client port was shifted: the client must get its own back. */
static void test_reply_when_port_was_shifted_then_put_back(void **state)
{
	const struct way twin = {BF_UP_OUT, 4, BF_SVC_TWIN4, "192.0.2.14", 80, "10.0.0.5", 8080};
	struct bf *b = *state;
	struct bf_in shifted = {.pkt = {.src = BF_CLIENT4,
					.dst = "192.0.2.14",
					.sport = 40000,
					.dport = 80,
					.l4_proto = IPPROTO_UDP,
					.outer_src = "10.99.0.2",
					.outer_dst = "10.99.0.1",
					.gre_key = DP_GRE_KEY(0, DP_TOKEN(BF_SVC_TWIN4, BF_USE))}};
	struct bf_in in = answer(&twin, IPPROTO_UDP);
	struct bf_out out;

	bf_need(b);
	request(b, &ways[0], IPPROTO_UDP, 4);
	bf_run(b, BF_MESH_IN, &shifted, &out);
	bf_expect_reason(b, DP_R_DELIVERED_HOST, "twin");
	in.pkt.dport = out.seen.sport;
	bf_run(b, BF_UP_OUT, &in, &out);
	bf_expect_reason(b, DP_R_REPLY_ENCAP, "twin's answer");
	assert_string_equal(out.seen.src, "192.0.2.14");
	assert_int_equal(out.seen.dport, 40000);
	in.pkt.dport = 40000;
	bf_run(b, BF_UP_OUT, &in, &out);
	bf_expect_reason(b, DP_R_REPLY_ENCAP, "the first one's answer");
	assert_string_equal(out.seen.src, "192.0.2.12");
}

static void test_syn_ack_when_mss_is_large_then_clamped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS * 3; i++) {
		const struct way *w = &ways[i / 3];
		int outer = (int[]){0, 4, 6}[i % 3];
		/* Clients' packets may bear a sequence word: 4 bytes more. */
		uint16_t fits =
			(uint16_t)(BF_MTU - (outer == 4 ? 32 : 52) - (w->family == 4 ? 40 : 60));
		struct bf_in in = answer(w, IPPROTO_TCP);
		struct bf_out out;

		request(b, w, IPPROTO_TCP, outer);
		in.pkt.payload = 0;
		in.pkt.mss = 1440;
		in.pkt.tcp_flags = 0x12;
		bf_run(b, w->hook, &in, &out);
		bf_expect_reason(b, outer ? DP_R_REPLY_ENCAP : DP_R_REPLY_LOCAL, w->vip);
		assert_int_equal(out.seen.mss, outer ? fits : 1440);
	}
}

static void test_reply_when_too_big_or_edge_gone_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];
		struct bf_in in = answer(w, IPPROTO_UDP);
		uint32_t idx = BF_NODE_V4;
		struct dp_node gone = {}, node;
		struct bf_out out;

		request(b, w, IPPROTO_UDP, 4);
		in.pkt.payload = (uint16_t)(BF_MTU - 28 - (w->family == 4 ? 28 : 48));
		bf_run(b, w->hook, &in, &out);
		bf_expect_reason(b, DP_R_REPLY_ENCAP, "just fits");
		in.pkt.payload++;
		bf_run(b, w->hook, &in, &out);
		bf_expect_reason(b, DP_R_TOO_BIG, "one more");
		assert_int_equal(out.retval, ACT_SHOT);
		in.pkt.payload = 10;
		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_node"), &idx, &node), 0);
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_node"), &idx, &gone, BPF_ANY),
				 0);
		bf_run(b, w->hook, &in, &out);
		bf_expect_reason(b, DP_R_REPLY_NO_EDGE, "edge gone");
		assert_int_equal(out.retval, ACT_SHOT);
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_node"), &idx, &node, BPF_ANY),
				 0);
	}
}

/* The application's own traffic, and all that is no flow of ours, stays as it is. */
static void test_out_when_not_a_reply_then_untouched(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS * 4; i++) {
		const struct way *w = &ways[i / 4];
		uint32_t pass = w->hook == BF_MESH_OUT ? DP_R_MESH_PASS : DP_R_PASS_NOT_OURS;
		struct bf_in in = answer(w, protos[i & 1]);
		uint8_t before[PKT_MAX];
		struct bf_out out;

		request(b, w, protos[i & 1], 4);
		if (i & 2)
			in.pkt.dport = 40001;
		else
			in.pkt.sport++;
		bf_run(b, w->hook, &in, &out);
		bf_expect_reason(b, pass, "another port");
		assert_int_equal(out.retval, ACT_UNSPEC);
		assert_int_equal(out.len, pkt_build(&in.pkt, before));
		assert_memory_equal(out.frame, before, out.len);
		in = answer(w, w->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
		bf_run(b, w->hook, &in, &out);
		bf_expect_reason(b, pass, "ICMP");
	}
}

/* An edge that is a worker too sends other workers' replies out of the same uplink: same client, same ports. */
static void test_up_out_when_source_is_a_vip_then_not_touched(void **state)
{
	struct bf *b = *state;
	struct bf_in in = answer(&ways[0], IPPROTO_UDP);
	struct bf_out out;

	bf_need(b);
	request(b, &ways[0], IPPROTO_UDP, 0);
	in.pkt.src = "192.0.2.10";
	bf_run(b, BF_UP_OUT, &in, &out);
	bf_expect_reason(b, DP_R_PASS_NOT_OURS, "another VIP's reply");
	assert_string_equal(out.seen.src, "192.0.2.10");
}

static void test_mesh_out_when_gre_then_only_marked_passes(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 4; i++) {
		struct bf_in in = {.pkt = {.src = BF_CLIENT4,
					   .dst = "192.0.2.10",
					   .sport = 1,
					   .dport = 53,
					   .l4_proto = IPPROTO_UDP,
					   .outer_src = i & 1 ? "fd99::1" : "10.99.0.1",
					   .outer_dst = i & 1 ? "fd99::3" : "10.99.0.2",
					   .is_outer_frag = i == 2}};
		struct dp_host h = bf_host();
		struct bf_out out;

		bf_set_host(b, &h);
		in.mark = BF_MARK;
		bf_run(b, BF_MESH_OUT, &in, &out);
		bf_expect_reason(b, DP_R_MESH_OUT_MARKED, "marked");
		assert_int_equal(out.retval, ACT_UNSPEC);
		in.mark = BF_MARK + 1;
		bf_run(b, BF_MESH_OUT, &in, &out);
		bf_expect_reason(b, DP_R_GRE_UNMARKED, "another mark");
		assert_int_equal(out.retval, ACT_SHOT);
		in.mark = h.gre_mark = 0;
		bf_set_host(b, &h);
		bf_run(b, BF_MESH_OUT, &in, &out);
		bf_expect_reason(b, DP_R_GRE_UNMARKED, "no mark set yet");
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, bf_setup)
	const struct CMUnitTest tests[] = {
		T(test_reply_when_edge_is_remote_then_encapsulated),
		T(test_reply_when_edge_is_here_then_straight_out),
		T(test_reply_when_source_differs_then_host_yes_bridge_no),
		T(test_flow_when_answered_then_assured),
		T(test_flow_when_only_the_kernel_answered_then_not_assured),
		T(test_reply_when_port_was_shifted_then_put_back),
		T(test_syn_ack_when_mss_is_large_then_clamped),
		T(test_reply_when_too_big_or_edge_gone_then_dropped),
		T(test_out_when_not_a_reply_then_untouched),
		T(test_up_out_when_source_is_a_vip_then_not_touched),
		T(test_mesh_out_when_gre_then_only_marked_passes),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
