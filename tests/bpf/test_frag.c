/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments at all four places: client to edge, edge to worker, backend outwards, worker to edge. What went in as the
 * fragments of a datagram comes out as fragments that join to that datagram, rewritten, with a right checksum. */
#include "tests/bpf/frag_cases.h"

/* ---- client -> edge */

static void test_edge_in_xdp_when_fragmented_then_one_verdict(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < REMOTES * 2; i++) {
		const struct remote *r = &remotes[i / 2];
		struct bf_in in = datagram(r->vip, r->port, protos[i & 1]);

		for (unsigned k = 0; k < 3; k++) {
			struct dp_verdict v;
			struct bf_out out;

			one(b, BF_XDP, &in, k, k ? DP_R_FRAG_FOLLOWED : DP_R_FORWARD_CHOSEN, &out);
			assert_int_equal(out.meta_len, sizeof(v));
			memcpy(&v, out.meta, sizeof(v));
			assert_int_equal(v.verdict, k ? DP_VERDICT_BACKEND : DP_VERDICT_FORWARD);
			assert_int_equal(v.svc_idx, r->svc);
			if (k)
				assert_int_equal(v.row, r->svc); /* its only backend */
			assert_int_equal(bf_stat_packets(b, "dp_svc_stat", r->svc),
					 (i & 1) * 3 + k + 1);
		}
	}
}

static void test_edge_in_tc_when_fragmented_then_one_worker(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < REMOTES * 2; i++) {
		const struct remote *r = &remotes[i / 2];
		struct bf_in in = datagram(r->vip, r->port, protos[i & 1]);
		struct pkt_seen seen;
		struct bf_out out;

		all(b, BF_PUB_IN, &in, DP_R_FORWARDED, ACT_REDIRECT, &seen, &out);
		expect_ends(&seen, in.pkt.src, 40000, r->vip, r->port);
		assert_string_equal(out.seen.outer_dst, r->node);
		assert_int_equal(out.seen.gre_key, DP_GRE_KEY(0, DP_TOKEN(r->svc, BF_USE)));
	}
}

/* The flow's row and the datagram's are the same: a fragmented packet goes where its flow lives. */
static void test_edge_in_when_many_owners_then_the_flows_own(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (uint32_t r = 0; r < 251; r++)
		bf_set_row(b, bf_row_of(BF_SVC_EXACT4) + r, r & 1 ? BF_SVC_EXACT4 : BF_SVC_RANGE4);
	for (uint16_t port = 1024; port < 1056; port++) {
		struct bf_in in = datagram("192.0.2.10", 53, IPPROTO_UDP), whole = in;
		struct bf_out want, out;
		struct pkt_seen seen;

		in.pkt.sport = whole.pkt.sport = port;
		whole.pkt.frag_mtu = 0;
		whole.pkt.payload = 100;
		bf_run(b, BF_PUB_IN, &whole, &want);
		bf_expect_reason(b, DP_R_FORWARDED, "whole");
		all(b, BF_PUB_IN, &in, DP_R_FORWARDED, ACT_REDIRECT, &seen, &out);
		assert_string_equal(out.seen.outer_dst, want.seen.outer_dst);
		assert_int_equal(out.seen.gre_key, want.seen.gre_key);
	}
}

static void test_edge_in_when_owner_dies_in_between_then_no_backend(void **state)
{
	struct bf *b = *state;
	struct bf_in in = datagram("192.0.2.10", 53, IPPROTO_UDP);
	struct bf_out out;

	bf_need(b);
	one(b, BF_XDP, &in, 0, DP_R_FORWARD_CHOSEN, &out);
	one(b, BF_XDP, &in, 1, DP_R_FRAG_FOLLOWED, &out);
	bf_set_backend(b, BF_SVC_EXACT4, DP_BE_DEAD, BF_NODE_V4);
	one(b, BF_XDP, &in, 2, DP_R_NO_BACKEND, &out);
	assert_int_equal(out.retval, XDP_DROPPED);
}

/* ---- edge -> worker, and the edge as its own worker */

static void test_worker_in_when_fragmented_then_all_to_one_backend(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < TARGETS * 4; i++) {
		const struct target *t = &targets[i / 4];
		struct bf_in in = datagram(t->vip, t->port, protos[i & 1]);
		struct pkt_seen seen;
		struct bf_out out;

		wrap(&in, i & 2 ? 6 : 4, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)));
		all(b, BF_MESH_IN, &in, delivered(t), ACT_REDIRECT, &seen, &out);
		expect_ends(&seen, in.pkt.src, 40000, t->backend, t->bport);
		assert_string_equal(out.seen.outer_src, "");
		assert_int_equal(bf_stat_packets(b, "dp_be_stat", t->svc), ((i & 3) + 1) * 3);
	}
}

static void test_edge_in_when_backend_is_here_then_delivered(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < TARGETS * 2; i++) {
		const struct target *t = &targets[i / 2];
		struct bf_in in = datagram(t->vip, t->port, protos[i & 1]);
		uint32_t act = t->reply == BF_BR_IN ? ACT_REDIRECT : ACT_OK;
		struct pkt_seen seen;
		struct bf_out out;

		all(b, BF_PUB_IN, &in, DP_R_LOCAL_DELIVERED, act, &seen, &out);
		expect_ends(&seen, in.pkt.src, 40000, t->backend, t->bport);
	}
}

/* What headers look like must not matter. */
static void test_worker_in_when_headers_vary_then_whole(void **state)
{
	struct bf *b = *state;
	struct pkt_seen seen;
	struct bf_out out;

	bf_need(b);
	for (int i = 0; i < 5; i++) {
		const struct target *t = &targets[i < 2 ? 0 : 1];
		struct bf_in in = datagram(t->vip, t->port, IPPROTO_UDP);

		in.pkt.is_udp_csum_zero = i == 0;
		in.pkt.ip_options = i == 1 ? 3 : 0;
		in.pkt.dest_options = i == 2 || i == 4 ? 1 : 0;
		in.pkt.frag_options = i == 3 || i == 4 ? 2 : 0;
		wrap(&in, 4, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)));
		all(b, BF_MESH_IN, &in, DP_R_DELIVERED_HOST, ACT_REDIRECT, &seen, &out);
		expect_ends(&seen, in.pkt.src, 40000, t->backend, t->bport);
		if (i == 0)
			assert_memory_equal(join.body + 6, "\0\0",
					    2); /* stays without a checksum */
	}
}

/* Two VIPs on one backend, one client port: the second flow's is shifted, fragments or not. */
static void test_worker_in_when_port_is_shifted_then_checksum_right(void **state)
{
	struct bf *b = *state;
	struct bf_in first = datagram("192.0.2.12", 80, IPPROTO_UDP);
	struct bf_in twin = datagram("192.0.2.14", 80, IPPROTO_UDP);
	struct bf_in reply;
	struct pkt_seen seen;
	struct bf_out out;

	bf_need(b);
	wrap(&first, 4, DP_GRE_KEY(0, DP_TOKEN(BF_SVC_HOST4, BF_USE)));
	all(b, BF_MESH_IN, &first, DP_R_DELIVERED_HOST, ACT_REDIRECT, &seen, &out);
	wrap(&twin, 4, DP_GRE_KEY(0, DP_TOKEN(BF_SVC_TWIN4, BF_USE)));
	all(b, BF_MESH_IN, &twin, DP_R_DELIVERED_HOST, ACT_REDIRECT, &seen, &out);
	assert_int_not_equal(seen.sport, 40000);

	reply = datagram(BF_CLIENT4, seen.sport, IPPROTO_UDP);
	reply.pkt.src = "10.0.0.5";
	reply.pkt.sport = 8080;
	all(b, BF_UP_OUT, &reply, DP_R_REPLY_ENCAP, ACT_REDIRECT, &seen, &out);
	expect_ends(&seen, "192.0.2.14", 80, BF_CLIENT4, 40000);
}

/* ---- backend -> */

static void test_worker_out_when_fragmented_then_all_to_one_edge(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < TARGETS * 4; i++) {
		const struct target *t = &targets[i / 4];
		struct bf_in in = answer(t, protos[i & 1]);
		struct pkt_seen seen;
		struct bf_out out;

		request(b, t, protos[i & 1], i & 2 ? 6 : 4);
		all(b, t->reply, &in, DP_R_REPLY_ENCAP, ACT_REDIRECT, &seen, &out);
		expect_ends(&seen, t->vip, t->port, in.pkt.dst, 40000);
		assert_string_equal(out.seen.outer_dst, i & 2 ? "fd99::3" : "10.99.0.2");
		assert_int_equal(out.seen.gre_key >> 24, DP_GRE_F_REPLY);
		assert_int_equal(out.mark, BF_MARK);
	}
}

static void test_worker_out_when_edge_is_here_then_straight_out(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < TARGETS * 2; i++) {
		const struct target *t = &targets[i / 2];
		struct bf_in in = answer(t, protos[i & 1]);
		struct pkt_seen seen;
		struct bf_out out;

		request(b, t, protos[i & 1], 0);
		all(b, t->reply, &in, DP_R_REPLY_LOCAL,
		    t->reply == BF_UP_OUT ? ACT_OK : ACT_REDIRECT, &seen, &out);
		expect_ends(&seen, t->vip, t->port, in.pkt.dst, 40000);
		assert_string_equal(out.seen.outer_src, "");
	}
}

static uint32_t pass_of(const struct target *t)
{
	return t->reply == BF_MESH_OUT ? DP_R_MESH_PASS : DP_R_PASS_NOT_OURS;
}

/* The host's own fragments pass, also under an id that a reply had a moment ago. */
static void test_worker_out_when_not_a_reply_then_left_alone(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < TARGETS; i++) {
		const struct target *t = &targets[i];
		struct bf_in in = answer(t, IPPROTO_UDP);
		struct pkt_seen seen;
		struct bf_out out;

		for (unsigned k = 0; k < 3; k++)
			one(b, t->reply, &in, k, pass_of(t), &out);
		assert_int_equal(out.retval, ACT_UNSPEC);
		request(b, t, IPPROTO_UDP, 4);
		all(b, t->reply, &in, DP_R_REPLY_ENCAP, ACT_REDIRECT, &seen, &out);
		in.pkt.sport = 9; /* another socket's */
		for (unsigned k = 0; k < 3; k++)
			one(b, t->reply, &in, k, pass_of(t), &out);
		assert_string_equal(out.seen.src, t->backend);
	}
}

static void test_worker_out_when_edge_is_unknown_then_none_leaves(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < TARGETS; i++) {
		const struct target *t = &targets[i];
		struct bf_in in = answer(t, IPPROTO_UDP);
		uint32_t two = BF_NODE_V4;
		struct dp_node node, gone = {};
		struct bf_out out;

		request(b, t, IPPROTO_UDP, 4);
		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_node"), &two, &node), 0);
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_node"), &two, &gone, 0), 0);
		for (unsigned k = 0; k < 3; k++) {
			one(b, t->reply, &in, k, DP_R_REPLY_NO_EDGE, &out);
			assert_int_equal(out.retval, ACT_SHOT);
		}
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_node"), &two, &node, 0), 0);
	}
}

/* RFC 8200 lets a later fragment name any next header: no step may go by it. */
static void test_places_when_later_fragments_name_another_protocol_then_followed(void **state)
{
	static const uint8_t lies[] = {IPPROTO_ICMPV6, IPPROTO_TCP, 60, 0};
	const struct target *t = &targets[1];
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(lies); i++) {
		struct bf_in in = datagram(t->vip, t->port, IPPROTO_UDP);
		struct pkt_seen seen;
		struct bf_out out;

		in.pkt.frag_next = lies[i];
		all(b, BF_PUB_IN, &in, DP_R_LOCAL_DELIVERED, ACT_OK, &seen, &out);
		expect_ends(&seen, in.pkt.src, 40000, t->backend, t->bport);
		wrap(&in, 4, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)));
		all(b, BF_MESH_IN, &in, DP_R_DELIVERED_HOST, ACT_REDIRECT, &seen, &out);
		expect_ends(&seen, in.pkt.src, 40000, t->backend, t->bport);
		in = answer(t, IPPROTO_UDP);
		in.pkt.frag_next = lies[i];
		all(b, BF_UP_OUT, &in, DP_R_REPLY_ENCAP, ACT_REDIRECT, &seen, &out);
		expect_ends(&seen, t->vip, t->port, in.pkt.dst, 40000);
		in = datagram(client_of(t->vip), 40000, IPPROTO_UDP);
		in.pkt.src = t->vip;
		in.pkt.sport = t->port;
		in.pkt.frag_next = lies[i];
		wrap(&in, 4, DP_GRE_KEY(DP_GRE_F_REPLY, 0));
		all(b, BF_MESH_IN, &in, DP_R_REPLY_OUT, ACT_REDIRECT, &seen, &out);
		expect_ends(&seen, t->vip, t->port, in.pkt.dst, 40000);
	}
}

/* ---- worker -> edge -> client */

static void test_edge_out_when_fragmented_then_out_to_the_client(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < REMOTES * 4; i++) {
		const struct remote *r = &remotes[i / 4];
		struct bf_in in = reply_of(r, protos[i & 1], i & 2 ? 6 : 4);
		struct pkt_seen seen;
		struct bf_out out;

		all(b, BF_MESH_IN, &in, DP_R_REPLY_OUT, ACT_REDIRECT, &seen, &out);
		expect_ends(&seen, r->vip, r->port, in.pkt.dst, 40000);
		assert_string_equal(out.seen.outer_src, "");
	}
}

static void test_edge_out_when_no_service_of_ours_then_none_goes_out(void **state)
{
	struct bf *b = *state;
	struct bf_in in = reply_of(&remotes[0], IPPROTO_UDP, 4);
	struct bf_out out;

	bf_need(b);
	in.pkt.sport = 54;
	one(b, BF_MESH_IN, &in, 0, DP_R_REPLY_NOT_SERVICE, &out);
	for (unsigned k = 1; k < 3; k++) {
		one(b, BF_MESH_IN, &in, k, DP_R_FRAG_NO_FIRST, &out);
		assert_int_equal(out.retval, ACT_SHOT);
	}
}

/* Two workers use one id towards one client: the later datagram gets through, the pieces never mix. */
static void test_edge_out_when_two_workers_share_an_id_then_not_mixed(void **state)
{
	struct bf *b = *state;
	struct bf_in one_in = reply_of(&remotes[0], IPPROTO_UDP, 4), two_in = one_in;
	struct bf_out out;

	bf_need(b);
	wrap(&two_in, 6, DP_GRE_KEY(DP_GRE_F_REPLY, 0));
	one(b, BF_MESH_IN, &one_in, 0, DP_R_REPLY_OUT, &out);
	one(b, BF_MESH_IN, &two_in, 0, DP_R_REPLY_OUT, &out);
	one(b, BF_MESH_IN, &one_in, 1, DP_R_REPLY_FRAGMENT, &out);
	one(b, BF_MESH_IN, &two_in, 1, DP_R_FRAG_FOLLOWED, &out);
	one(b, BF_MESH_IN, &one_in, 2, DP_R_REPLY_FRAGMENT, &out);
	one(b, BF_MESH_IN, &two_in, 2, DP_R_FRAG_FOLLOWED, &out);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, bf_setup)
	const struct CMUnitTest tests[] = {
		T(test_edge_in_xdp_when_fragmented_then_one_verdict),
		T(test_edge_in_tc_when_fragmented_then_one_worker),
		T(test_edge_in_when_many_owners_then_the_flows_own),
		T(test_edge_in_when_owner_dies_in_between_then_no_backend),
		T(test_worker_in_when_fragmented_then_all_to_one_backend),
		T(test_edge_in_when_backend_is_here_then_delivered),
		T(test_worker_in_when_headers_vary_then_whole),
		T(test_worker_in_when_port_is_shifted_then_checksum_right),
		T(test_worker_out_when_fragmented_then_all_to_one_edge),
		T(test_worker_out_when_edge_is_here_then_straight_out),
		T(test_worker_out_when_not_a_reply_then_left_alone),
		T(test_worker_out_when_edge_is_unknown_then_none_leaves),
		T(test_places_when_later_fragments_name_another_protocol_then_followed),
		T(test_edge_out_when_fragmented_then_out_to_the_client),
		T(test_edge_out_when_no_service_of_ours_then_none_goes_out),
		T(test_edge_out_when_two_workers_share_an_id_then_not_mixed),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
