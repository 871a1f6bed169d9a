/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* dp_trace says of a packet what the programs then do with it, and changes nothing by saying so. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/dp_see_abi.h"
#include "edge/trace.h"
#include "tests/lib/bpf_fixture.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "bpf/dp.skel.h"
#pragma GCC diagnostic pop

#define TCP .l4_proto = IPPROTO_TCP, .tcp_flags = 2
#define UDP .l4_proto = IPPROTO_UDP
#define C4 .src = BF_CLIENT4, .sport = 40000
#define C6 .src = BF_CLIENT6, .sport = 40000

static struct dp_trace trace_frame(struct bf *b, const uint8_t *frame, size_t bytes)
{
	uint8_t after[PKT_MAX];
	struct dp_trace t;
	uint32_t zero = 0;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = (uint32_t)bytes,
		    .data_out = after, .data_size_out = sizeof(after), .repeat = 1);

	if (bpf_prog_test_run_opts(bpf_program__fd(b->skel->progs.dp_trace), &o))
		fail_msg("test run: %s", strerror(errno));
	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_trace_out"), &zero, &t), 0);
	return t;
}

static struct dp_trace trace(struct bf *b, const struct pkt_spec *pkt)
{
	uint8_t frame[PKT_MAX];

	return trace_frame(b, frame, pkt_build(pkt, frame));
}

static void set_limits(struct bf *b, uint32_t svc_idx, uint32_t flags, uint32_t pps)
{
	struct dp_svc svc;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_svc"), &svc_idx, &svc), 0);
	svc.flags = flags;
	svc.pps = pps;
	svc.svc_id = 77;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_svc"), &svc_idx, &svc, BPF_ANY), 0);
}

/* What XDP says of the same packet: its reason, and the row that it puts in front. */
static uint32_t by_xdp(struct bf *b, const struct pkt_spec *pkt, struct dp_verdict *ret_verdict)
{
	const struct bf_in in = {.pkt = *pkt};
	struct bf_out out;

	bf_forget_reasons(b);
	bf_run(b, BF_XDP, &in, &out);
	memset(ret_verdict, 0, sizeof(*ret_verdict));
	if (out.meta_len >= sizeof(*ret_verdict))
		memcpy(ret_verdict, out.meta, sizeof(*ret_verdict));
	for (uint32_t i = 0; i < DP_REASON_COUNT; i++)
		if (bf_reason(b, i))
			return i;
	fail_msg("nothing was counted");
	return 0;
}

static void expect_as_xdp(struct bf *b, const struct pkt_spec *pkt, uint32_t want,
			  const char *where)
{
	struct dp_trace t = trace(b, pkt);
	struct dp_verdict v;
	uint32_t reason = by_xdp(b, pkt, &v);

	if (t.reason != want)
		fail_msg("%s: trace says %u, want %u", where, t.reason, want);
	if (reason == DP_R_FORWARD_CHOSEN) {
		if (!(t.steps & DP_TRACE_OWNER) || v.verdict != DP_VERDICT_FORWARD ||
		    v.row != t.try[t.try_count - 1].row || v.svc_idx != t.svc_idx)
			fail_msg("%s: row %u of service %u, XDP chose %u of %u", where,
				 t.try[t.try_count - 1].row, t.svc_idx, v.row, v.svc_idx);
	} else if (reason != (want == DP_R_PASS_NOT_OURS ? DP_R_XDP_PASS : want)) {
		fail_msg("%s: trace says %u, XDP %u", where, t.reason, reason);
	}
}

static void test_trace_when_packet_is_of_each_kind_then_as_xdp(void **state)
{
	static const struct {
		const char *name;
		struct pkt_spec pkt;
		uint32_t want;
	} row[] = {
		{"v4 udp", {C4, .dst = "192.0.2.10", .dport = 53, UDP}, DP_R_FORWARDED},
		{"v4 tcp", {C4, .dst = "192.0.2.10", .dport = 53, TCP}, DP_R_FORWARDED},
		{"v6 udp", {C6, .dst = "2001:db8::10", .dport = 53, UDP}, DP_R_FORWARDED},
		{"v6 tcp", {C6, .dst = "2001:db8::10", .dport = 53, TCP}, DP_R_FORWARDED},
		{"v4 range", {C4, .dst = "192.0.2.11", .dport = 5120, UDP}, DP_R_FORWARDED},
		{"v6 range", {C6, .dst = "2001:db8::11", .dport = 5299, TCP}, DP_R_FORWARDED},
		{"v4 here", {C4, .dst = "192.0.2.12", .dport = 80, TCP}, DP_R_LOCAL_DELIVERED},
		{"v6 here", {C6, .dst = "2001:db8::12", .dport = 80, UDP}, DP_R_LOCAL_DELIVERED},
		{"not ours", {C4, .dst = "203.0.113.1", .dport = 53, UDP}, DP_R_PASS_NOT_OURS},
		{"no service", {C4, .dst = "192.0.2.10", .dport = 54, UDP}, DP_R_NO_SERVICE},
		{"no table", {C4, .dst = "192.0.2.15", .dport = 80, TCP}, DP_R_NO_BACKEND},
	};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		expect_as_xdp(b, &row[i].pkt, row[i].want, row[i].name);
}

static void test_trace_when_flows_are_many_then_each_row_is_that_of_xdp(void **state)
{
	struct bf *b = *state;
	char src[PKT_TEXT];

	bf_need(b);
	for (uint32_t i = 0; i < 400; i++) {
		struct pkt_spec v4 = {.src = src,
				      .sport = (uint16_t)(1024 + i * 31),
				      .dst = "192.0.2.10",
				      .dport = 53,
				      UDP};
		struct pkt_spec v6 = {.src = src,
				      .sport = (uint16_t)(1024 + i * 37),
				      .dst = "2001:db8::10",
				      .dport = 53,
				      TCP};

		snprintf(src, sizeof(src), "198.51.100.%u", i % 250 + 1);
		expect_as_xdp(b, &v4, DP_R_FORWARDED, "v4");
		snprintf(src, sizeof(src), "2001:db8:c::%x", i + 1);
		expect_as_xdp(b, &v6, DP_R_FORWARDED, "v6");
	}
}

static void test_trace_when_owner_is_dead_then_shows_substitutes(void **state)
{
	const struct pkt_spec pkt = {C4, .dst = "192.0.2.10", .dport = 53, UDP};
	struct bf *b = *state;
	struct dp_trace t;

	bf_need(b);
	t = trace(b, &pkt);
	assert_int_equal(t.try_count, 1);
	/* the row's owner is another backend, which is dead: the next row's is the one that lives */
	bf_set_row(b, t.try[0].row, BF_SVC_NOADDR4);
	bf_set_backend(b, BF_SVC_NOADDR4, DP_BE_DEAD, BF_NODE_NO_ADDR);
	expect_as_xdp(b, &pkt, DP_R_FORWARDED, "substitute");
	t = trace(b, &pkt);
	assert_true(t.try_count >= 2);
	assert_int_equal(t.try[0].owner, BF_SVC_NOADDR4);
	assert_int_equal(t.try[0].be_state, DP_BE_DEAD);
	assert_int_equal(t.try[t.try_count - 1].owner, BF_SVC_EXACT4);
	assert_int_equal(t.backend_idx, BF_SVC_EXACT4);
	/* up, but its node is down; and nobody else is left */
	bf_set_node_state(b, BF_NODE_V4, DP_NODE_DOWN);
	expect_as_xdp(b, &pkt, DP_R_NO_BACKEND, "nobody");
	t = trace(b, &pkt);
	assert_int_equal(t.try_count, DP_TRACE_TRIES);
	assert_int_equal(t.try[1].be_state, DP_BE_UP);
	assert_int_equal(t.try[1].node_state, DP_NODE_DOWN);
	assert_false(t.steps & DP_TRACE_OWNER);
	/* on a node without an address: chosen, and lost on its way */
	bf_set_backend(b, BF_SVC_NOADDR4, DP_BE_UP, BF_NODE_NO_ADDR);
	t = trace(b, &pkt);
	assert_int_equal(t.reason, DP_R_NODE_NO_ADDR);
}

static void test_trace_when_owner_is_elsewhere_then_names_node_token_and_previous(void **state)
{
	const struct pkt_spec pkt = {C4, .dst = "192.0.2.10", .dport = 53, UDP};
	struct bf *b = *state;
	struct dp_trace t;
	struct dp_row row = {.owner = BF_SVC_EXACT4, .prev = BF_SVC_HOST4};
	uint8_t addr[16];

	bf_need(b);
	t = trace(b, &pkt);
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_rows"), &t.try[0].row, &row, BPF_ANY),
			 0);
	t = trace(b, &pkt);
	bf_addr("10.99.0.2", addr);
	assert_memory_equal(t.node_addr, addr, 16);
	assert_int_equal(t.node_idx, BF_NODE_V4);
	assert_int_equal(DP_BE_TOKEN(t.backend_word), DP_TOKEN(BF_SVC_EXACT4, BF_USE));
	assert_int_equal(t.prev_idx, BF_SVC_HOST4);
	assert_int_equal(t.mesh_mtu, BF_MTU);
	assert_int_equal(t.self_idx, BF_SELF);
	assert_int_equal(t.flow, DP_TRACE_FLOW_NONE);
	assert_false(t.steps & DP_TRACE_LOCAL);
}

static void test_trace_when_mesh_is_ethernet_then_sent_in_xdp(void **state)
{
	const struct pkt_spec pkt = {C4, .dst = "192.0.2.10", .dport = 53, UDP, .payload = 10};
	struct dp_l2 l2 = {.dst = {2, 0, 0, 0, 0, 9}, .src = {2, 0, 0, 0, 0, 8}, .ifindex = 1},
		     gone = {0};
	uint32_t node_idx = BF_NODE_V4;
	struct dp_host h = bf_host();
	struct bf *b = *state;

	bf_need(b);
	h.flags |= DP_HOST_FABRIC | DP_HOST_FABRIC_OUT;
	bf_set_host(b, &h);
	expect_as_xdp(b, &pkt, DP_R_FORWARDED, "neighbour not known");
	bf_addr("10.99.0.2", l2.addr);
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_l2"), &node_idx, &l2, BPF_ANY), 0);
	expect_as_xdp(b, &pkt, DP_R_FABRIC_OUT, "neighbour known");
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_l2"), &node_idx, &gone, BPF_ANY), 0);
}

static void test_trace_when_connection_id_names_a_backend_then_it_not_the_row(void **state)
{
	/* the configuration in the first octet, server id 7, a nonce */
	static const uint8_t id[8] = {0x05, 0, 0, 0, 7, 1, 2, 3};
	struct trace_flow f = {.l4_proto = IPPROTO_UDP, .sport = 4000, .dport = 53, .cid_bytes = 8};
	struct dp_quic_key key = {.svc_id = 77, .server_id = 7, .family = 4};
	uint32_t idx = BF_SVC_HOST4;
	struct bf *b = *state;
	uint8_t frame[TRACE_FRAME_MAX];
	struct pkt_seen seen;
	struct dp_trace t;
	size_t bytes;

	bf_need(b);
	set_limits(b, BF_SVC_EXACT4, DP_SVC_QUIC, 0);
	bf_addr(BF_CLIENT4, f.src.b);
	bf_addr("192.0.2.10", f.dst.b);
	memcpy(f.cid, id, sizeof(id));
	assert_int_equal(trace_build(&f, frame, &bytes), 0);
	assert_int_equal(bytes, 14 + 20 + 8 + 1 + 8 + 16);
	assert_null(pkt_read(frame, bytes, &seen)); /* checksums are right */
	t = trace_frame(b, frame, bytes);
	assert_int_equal(t.quic_idx, 0);
	assert_false(t.steps & DP_TRACE_BY_ID);
	assert_int_equal(t.backend_idx, BF_SVC_EXACT4);
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_quic"), &key, &idx, BPF_ANY), 0);
	t = trace_frame(b, frame, bytes);
	assert_true(t.steps & DP_TRACE_BY_ID);
	assert_int_equal(t.backend_idx, BF_SVC_HOST4);
	assert_int_equal(t.reason, DP_R_LOCAL_DELIVERED);
	assert_int_equal(t.try_count, 0);
	bf_set_backend(b, BF_SVC_HOST4, DP_BE_DEAD, BF_SELF);
	t = trace_frame(b, frame, bytes);
	assert_int_equal(t.quic_idx, BF_SVC_HOST4);
	assert_false(t.steps & DP_TRACE_BY_ID);
	assert_int_equal(t.backend_idx, BF_SVC_EXACT4);
	assert_int_equal(bpf_map_delete_elem(bf_map(b, "dp_quic"), &key), 0);
}

static void test_trace_build_when_of_each_kind_then_sound(void **state)
{
	static const struct {
		const char *src, *dst;
		uint8_t l4_proto, cid_bytes;
		int rc;
		size_t bytes;
	} row[] = {
		{"192.0.2.1", "192.0.2.2", IPPROTO_UDP, 0, 0, 42},
		{"192.0.2.1", "192.0.2.2", IPPROTO_TCP, 0, 0, 54},
		{"2001:db8::1", "2001:db8::2", IPPROTO_UDP, 0, 0, 62},
		{"2001:db8::1", "2001:db8::2", IPPROTO_TCP, 0, 0, 74},
		{"2001:db8::1", "2001:db8::2", IPPROTO_UDP, 20, 0, 62 + 37},
		{"192.0.2.1", "192.0.2.2", IPPROTO_UDP, 1, 0, 42 + 18},
		{"192.0.2.1", "2001:db8::2", IPPROTO_UDP, 0, -EAFNOSUPPORT, 0},
		{"192.0.2.1", "192.0.2.2", IPPROTO_ICMP, 0, -EPROTONOSUPPORT, 0},
		{"192.0.2.1", "192.0.2.2", IPPROTO_TCP, 8, -EPROTONOSUPPORT, 0},
		{"192.0.2.1", "192.0.2.2", IPPROTO_UDP, 21, -EPROTONOSUPPORT, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct trace_flow f = {.l4_proto = row[i].l4_proto,
				       .sport = 1234,
				       .dport = 53,
				       .cid = {1, 2, 3},
				       .cid_bytes = row[i].cid_bytes};
		uint8_t frame[TRACE_FRAME_MAX];
		struct pkt_seen seen;
		size_t bytes = 0;

		bf_addr(row[i].src, f.src.b);
		bf_addr(row[i].dst, f.dst.b);
		assert_int_equal(trace_build(&f, frame, &bytes), row[i].rc);
		assert_int_equal(bytes, row[i].bytes);
		if (row[i].rc)
			continue;
		assert_null(pkt_read(frame, bytes, &seen)); /* lengths and checksums */
		assert_string_equal(seen.src, row[i].src);
		assert_string_equal(seen.dst, row[i].dst);
		assert_int_equal(seen.l4_proto, row[i].l4_proto);
		assert_int_equal(seen.sport, 1234);
		assert_int_equal(seen.dport, 53);
	}
}

static void test_trace_when_source_is_a_vip_then_says_so(void **state)
{
	const struct pkt_spec pkt = {
		.src = "192.0.2.13", .sport = 9, .dst = "192.0.2.12", .dport = 80, UDP};
	struct bf *b = *state;

	bf_need(b);
	assert_true(trace(b, &pkt).steps & DP_TRACE_FROM_VIP);
}

static void test_trace_when_run_then_counts_and_stores_nothing(void **state)
{
	static const struct pkt_spec pkt[] = {
		{C4, .dst = "192.0.2.10", .dport = 53, UDP},
		{C4, .dst = "192.0.2.12", .dport = 80, TCP},
		{C6, .dst = "2001:db8::13", .dport = 80, UDP},
		{C4, .dst = "192.0.2.10", .dport = 54, UDP},
	};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(pkt) / sizeof(pkt[0]); i++)
		(void)trace(b, &pkt[i]);
	for (uint32_t i = 0; i < DP_REASON_COUNT; i++)
		assert_int_equal(bf_reason(b, i), 0);
	for (uint32_t i = 0; i < BF_SVC_END; i++) {
		assert_int_equal(bf_stat_packets(b, "dp_svc_stat", i), 0);
		assert_int_equal(bf_stat_packets(b, "dp_be_stat", i), 0);
	}
	assert_int_equal(bf_map_count(b, "dp_fwd_new", sizeof(struct dp_flow_fwd_key)), 0);
	assert_int_equal(bf_map_count(b, "dp_rev_new", sizeof(struct dp_flow_rev_key)), 0);
}

/* ---- the gate */

static void test_trace_when_there_is_a_limit_then_asks_and_takes_nothing(void **state)
{
	const struct pkt_spec pkt = {C4, .dst = "192.0.2.10", .dport = 53, UDP};
	struct bf *b = *state;
	struct dp_verdict v;
	struct dp_trace t;

	bf_need(b);
	set_limits(b, BF_SVC_EXACT4, DP_SVC_GATE, 10);
	/* far more often than the limit allows packets, and the next packet passes all the same */
	for (int i = 0; i < 100; i++) {
		t = trace(b, &pkt);
		assert_int_equal(t.gate_reason, DP_TRACE_PASSES);
	}
	assert_int_equal(t.svc_pps, 10);
	assert_int_equal(by_xdp(b, &pkt, &v), DP_R_FORWARD_CHOSEN);
	for (int i = 0; i < 100 && by_xdp(b, &pkt, &v) == DP_R_FORWARD_CHOSEN; i++)
		;
	t = trace(b, &pkt);
	assert_int_equal(t.reason, DP_R_RATE_SERVICE);
	assert_int_equal(t.gate_reason, DP_R_RATE_SERVICE);
}

static void test_trace_when_source_is_listed_then_says_by_which_list(void **state)
{
	const struct pkt_spec pkt = {C4, .dst = "192.0.2.10", .dport = 53, UDP};
	struct dp_filter_key key = {.prefix_bits = 32 + 128, .svc_id = 77};
	uint32_t verb = DP_FILTER_DENY;
	struct bf *b = *state;
	struct dp_trace t;

	bf_need(b);
	set_limits(b, BF_SVC_EXACT4, DP_SVC_GATE | DP_SVC_FILTER, 0);
	bf_addr(BF_CLIENT4, key.addr);
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_filter"), &key, &verb, BPF_ANY), 0);
	expect_as_xdp(b, &pkt, DP_R_DENIED, "denied");
	t = trace(b, &pkt);
	assert_int_equal(t.filter_own, DP_FILTER_DENY);
	assert_int_equal(t.filter_all, 0);
	assert_int_equal(bpf_map_delete_elem(bf_map(b, "dp_filter"), &key), 0);
	expect_as_xdp(b, &pkt, DP_R_FORWARDED, "not denied any more");
}

/* ---- the worker's side */

static void test_trace_when_flow_is_here_then_new_then_assured(void **state)
{
	static const struct {
		const char *client, *vip, *backend;
		uint32_t svc;
		uint8_t l4_proto;
	} row[] = {
		{BF_CLIENT4, "192.0.2.12", "10.0.0.5", BF_SVC_HOST4, IPPROTO_UDP},
		{BF_CLIENT4, "192.0.2.12", "10.0.0.5", BF_SVC_HOST4, IPPROTO_TCP},
		{BF_CLIENT6, "2001:db8::12", "2001:db8:1::5", BF_SVC_HOST6, IPPROTO_UDP},
		{BF_CLIENT6, "2001:db8::12", "2001:db8:1::5", BF_SVC_HOST6, IPPROTO_TCP},
	};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct pkt_spec ask = {.src = row[i].client,
				       .sport = 40000,
				       .dst = row[i].vip,
				       .dport = 80,
				       .l4_proto = row[i].l4_proto,
				       .tcp_flags = 2};
		struct bf_in in = {.pkt = ask}, back = {};
		struct bf_out out;
		struct dp_trace t = trace(b, &ask);
		uint8_t addr[16];

		/* nobody knows it yet; the token says where it would go */
		assert_int_equal(t.flow, DP_TRACE_FLOW_NONE);
		assert_true(t.steps & DP_TRACE_LOCAL);
		assert_int_equal(t.local_idx, row[i].svc);
		in.pkt.outer_src = "10.99.0.2";
		in.pkt.outer_dst = "10.99.0.1";
		in.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(row[i].svc, BF_USE));
		bf_run(b, BF_MESH_IN, &in, &out);
		t = trace(b, &ask);
		assert_int_equal(t.flow, DP_TRACE_FLOW_NEW);
		assert_int_equal(t.flow_edge_idx, BF_NODE_V4);
		assert_int_equal(t.flow_cport, 40000);
		assert_int_equal(t.flow_slot, row[i].svc);
		back.pkt = (struct pkt_spec){.src = row[i].backend,
					     .sport = 8080,
					     .dst = row[i].client,
					     .dport = 40000,
					     .l4_proto = row[i].l4_proto,
					     .tcp_flags = 0x10,
					     .payload = 20};
		bf_run(b, BF_UP_OUT, &back, &out);
		t = trace(b, &ask);
		assert_int_equal(t.flow, DP_TRACE_FLOW_ASSURED);
		assert_int_equal(t.local_idx, row[i].svc);
		assert_int_equal(t.local_live, 1);
		assert_int_equal(t.local_port, 8080);
		bf_addr(row[i].backend, addr);
		assert_memory_equal(t.local_addr, addr, 16);
	}
}

static void test_trace_when_packet_is_none_then_says_nothing_of_it(void **state)
{
	const struct pkt_spec cut = {C4, .dst = "192.0.2.10", .dport = 53, UDP, .cut = 4};
	struct bf *b = *state;
	struct dp_trace t;

	bf_need(b);
	t = trace(b, &cut);
	assert_int_equal(t.reason, DP_R_BAD_PACKET);
	assert_int_equal(t.steps, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup(name, bf_setup)
	const struct CMUnitTest tests[] = {
		CASE(test_trace_when_packet_is_of_each_kind_then_as_xdp),
		CASE(test_trace_when_flows_are_many_then_each_row_is_that_of_xdp),
		CASE(test_trace_when_owner_is_dead_then_shows_substitutes),
		CASE(test_trace_when_owner_is_elsewhere_then_names_node_token_and_previous),
		CASE(test_trace_when_mesh_is_ethernet_then_sent_in_xdp),
		CASE(test_trace_when_connection_id_names_a_backend_then_it_not_the_row),
		CASE(test_trace_build_when_of_each_kind_then_sound),
		CASE(test_trace_when_source_is_a_vip_then_says_so),
		CASE(test_trace_when_run_then_counts_and_stores_nothing),
		CASE(test_trace_when_there_is_a_limit_then_asks_and_takes_nothing),
		CASE(test_trace_when_source_is_listed_then_says_by_which_list),
		CASE(test_trace_when_flow_is_here_then_new_then_assured),
		CASE(test_trace_when_packet_is_none_then_says_nothing_of_it),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
