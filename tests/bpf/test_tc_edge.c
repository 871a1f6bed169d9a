/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The edge's TC programs: a client's packet into the tunnel or to a local backend, a worker's reply out to the client.
 * Family x protocol x transport; every packet out is read by a second parser that verifies its checksums. */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"

#define ACT_OK 0u
#define ACT_SHOT 2u
#define ACT_REDIRECT 7u
#define ACT_UNSPEC ((uint32_t)-1)

static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};

static struct pkt_spec client_pkt(int family, uint8_t proto, const char *vip, uint16_t port)
{
	return (struct pkt_spec){.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				 .dst = vip,
				 .sport = 40000,
				 .dport = port,
				 .l4_proto = proto,
				 .payload = 333};
}

static const struct {
	int family;
	const char *vip;
	uint16_t port;
	uint32_t svc;
	const char *outer_src, *outer_dst;
} remote[] = {
	{4, "192.0.2.10", 53, BF_SVC_EXACT4, "10.99.0.1", "10.99.0.2"},
	{6, "2001:db8::10", 53, BF_SVC_EXACT6, "10.99.0.1", "10.99.0.2"},
	{4, "192.0.2.11", 5123, BF_SVC_RANGE4, "fd99::1", "fd99::3"},
	{6, "2001:db8::11", 5299, BF_SVC_RANGE6, "fd99::1", "fd99::3"},
};

static void test_pub_in_when_remote_then_encapsulated(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(remote) / sizeof(*remote) * 2; i++) {
		size_t r = i / 2;
		struct bf_in in = {.pkt = client_pkt(remote[r].family, protos[i % 2], remote[r].vip,
						     remote[r].port)};
		struct bf_out out;

		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_FORWARDED, remote[r].vip);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_int_equal(out.mark, BF_MARK);
		assert_string_equal(out.seen.outer_src, remote[r].outer_src);
		assert_string_equal(out.seen.outer_dst, remote[r].outer_dst);
		assert_int_equal(out.seen.outer_ttl, 64);
		assert_int_equal(out.seen.outer_df, remote[r].outer_src[0] == '1');
		assert_int_equal(out.seen.gre_flags, 0x2000);
		assert_int_equal(out.seen.gre_key, DP_GRE_KEY(0, DP_TOKEN(remote[r].svc, BF_USE)));
		assert_string_equal(out.seen.src, in.pkt.src);
		assert_string_equal(out.seen.dst, in.pkt.dst);
		assert_int_equal(out.seen.sport, 40000);
		assert_int_equal(out.seen.dport, remote[r].port);
		assert_int_equal(out.seen.payload, 333);
		assert_int_equal(out.seen.trailer, 0);
		assert_int_equal(bf_stat_packets(b, "dp_be_stat", remote[r].svc), i % 2 + 1);
	}
}

static void test_pub_in_when_frame_padded_then_padding_stays_behind(void **state)
{
	struct bf *b = *state;
	struct bf_in in = {.pkt = client_pkt(4, IPPROTO_UDP, "192.0.2.10", 53)};
	struct bf_out out;

	bf_need(b);
	in.pkt.payload = 4;
	in.pkt.padding = 14;
	bf_run(b, BF_PUB_IN, &in, &out);
	bf_expect_reason(b, DP_R_FORWARDED, "padded");
	assert_int_equal(out.seen.trailer, 0);
	assert_int_equal(out.len, 14 + 28 + 20 + 8 + 4);
}

static const struct {
	int family;
	const char *vip;
	uint16_t port;
	const char *backend;
	uint16_t bport;
	uint32_t retval;
} local[] = {
	{4, "192.0.2.12", 80, "10.0.0.5", 8080, ACT_OK},
	{6, "2001:db8::12", 80, "2001:db8:1::5", 8080, ACT_OK},
	{4, "192.0.2.12", 6000, "10.0.0.5", 7000, ACT_OK},
	{6, "2001:db8::12", 6299, "2001:db8:1::5", 7299, ACT_OK},
	{4, "192.0.2.13", 80, "172.17.0.2", 8080, ACT_REDIRECT},
	{6, "2001:db8::13", 80, "fd17::2", 8080, ACT_REDIRECT},
};

static void test_pub_in_when_local_then_rewritten_and_delivered(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(local) / sizeof(*local) * 2; i++) {
		size_t r = i / 2;
		struct bf_in in = {.pkt = client_pkt(local[r].family, protos[i % 2], local[r].vip,
						     local[r].port)};
		struct bf_out out;

		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_LOCAL_DELIVERED, local[r].vip);
		assert_int_equal(out.retval, local[r].retval);
		assert_string_equal(out.seen.outer_src, "");
		assert_string_equal(out.seen.src, in.pkt.src);
		assert_string_equal(out.seen.dst, local[r].backend);
		assert_int_equal(out.seen.sport, 40000);
		assert_int_equal(out.seen.dport, local[r].bport);
		assert_int_equal(out.seen.payload, 333);
		assert_int_equal(bf_map_count(b, "dp_fwd_new", sizeof(struct dp_flow_fwd_key)),
				 i + 1);
		assert_int_equal(bf_map_count(b, "dp_rev_new", sizeof(struct dp_flow_rev_key)),
				 i + 1);
	}
}

static void test_pub_in_when_udp_has_no_checksum_then_stays_without(void **state)
{
	struct bf *b = *state;
	struct bf_in in = {.pkt = client_pkt(4, IPPROTO_UDP, "192.0.2.12", 80)};
	struct bf_out out;

	bf_need(b);
	in.pkt.is_udp_csum_zero = true;
	bf_run(b, BF_PUB_IN, &in, &out);
	bf_expect_reason(b, DP_R_LOCAL_DELIVERED, "no checksum");
	assert_memory_equal(out.frame + 14 + 20 + 6, "\0\0", 2);
}

static void expect_shot(struct bf *b, enum bf_prog prog, const struct bf_in *in, uint32_t reason,
			const char *where)
{
	struct bf_out out;

	bf_run(b, prog, in, &out);
	bf_expect_reason(b, reason, where);
	assert_int_equal(out.retval, ACT_SHOT);
}

static void test_pub_in_when_too_big_then_told_or_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t r = 0; r < sizeof(remote) / sizeof(*remote); r++) {
		struct bf_in in = {.pkt = client_pkt(remote[r].family, IPPROTO_UDP, remote[r].vip,
						     remote[r].port)};
		size_t overhead = remote[r].outer_src[0] == '1' ? 28 : 48;
		size_t headers = remote[r].family == 4 ? 28 : 48;
		/* This mesh is an Ethernet, which carries nothing larger; without DF there is nobody to tell. */
		uint32_t reason = remote[r].family == 4 ? DP_R_TOO_BIG : DP_R_TOO_BIG_SENT;
		struct bf_out out;

		in.pkt.payload = (uint16_t)(BF_MTU - overhead - headers);
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_FORWARDED, "just fits");
		assert_int_equal(out.len, 14 + BF_MTU);
		in.pkt.payload++;
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, reason, "one more");
		/* A super-packet whose segments don't fit. */
		in.pkt.payload = 100;
		in.gso_size = BF_MTU - (uint32_t)(overhead + headers) + 1;
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, reason, "segments");
		/* The kernel refuses room in a super-packet that is neither TCP nor UDP to it, as this one. */
		in.gso_size = 50;
		expect_shot(b, BF_PUB_IN, &in, DP_R_ENCAP_FAILED, "refused");
	}
}

static void test_pub_in_when_node_unreachable_then_reason_says_why(void **state)
{
	struct bf *b = *state;
	struct bf_in noaddr = {.pkt = client_pkt(4, IPPROTO_TCP, "192.0.2.16", 80)};
	struct bf_in to_v6 = {.pkt = client_pkt(4, IPPROTO_TCP, "192.0.2.11", 5000)};
	struct bf_in misfit = {.pkt = client_pkt(4, IPPROTO_TCP, "192.0.2.17", 80)};
	struct bf_in host4 = {.pkt = client_pkt(4, IPPROTO_TCP, "192.0.2.12", 80)};
	struct dp_host h = bf_host();
	struct dp_local l = bf_local(BF_SVC_HOST4);

	bf_need(b);
	expect_shot(b, BF_PUB_IN, &noaddr, DP_R_NODE_NO_ADDR, "node without address");
	memset(h.mesh_addr6, 0, 16);
	bf_set_host(b, &h);
	expect_shot(b, BF_PUB_IN, &to_v6, DP_R_NODE_NO_ADDR, "we have no IPv6 mesh address");
	expect_shot(b, BF_PUB_IN, &misfit, DP_R_FAMILY_MISMATCH, "family");
	l.use_count++;
	bf_set_local(b, BF_SVC_HOST4, &l);
	expect_shot(b, BF_PUB_IN, &host4, DP_R_TOKEN_UNKNOWN, "old token");
}

/* ---- replies ---- */

static struct bf_in reply(int family, uint8_t proto, int outer)
{
	const char *vip = family == 4 ? "192.0.2.10" : "2001:db8::10";
	struct bf_in in = {.pkt = {.src = vip,
				   .dst = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				   .sport = 53,
				   .dport = 40000,
				   .l4_proto = proto,
				   .payload = 77,
				   .outer_src = outer == 4 ? "10.99.0.2" : "fd99::3",
				   .outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1",
				   .gre_key = DP_GRE_KEY(DP_GRE_F_REPLY, 123)},
			   .mark = 5};

	return in;
}

static void test_mesh_in_when_reply_then_out_to_the_client(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 8; i++) {
		struct bf_in in = reply(i & 1 ? 6 : 4, protos[i >> 1 & 1], i & 4 ? 6 : 4);
		struct bf_out out;

		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_REPLY_OUT, in.pkt.outer_src);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_int_equal(out.mark, 0);
		assert_string_equal(out.seen.outer_src, "");
		assert_string_equal(out.seen.src, in.pkt.src);
		assert_string_equal(out.seen.dst, in.pkt.dst);
		assert_int_equal(out.seen.sport, 53);
		assert_int_equal(out.seen.dport, 40000);
		assert_int_equal(out.seen.payload, 77);
		assert_int_equal(out.seen.trailer, 0);
	}
}

static void test_mesh_in_when_reply_is_wrong_then_dropped(void **state)
{
	struct bf *b = *state;
	struct dp_host h = bf_host();

	bf_need(b);
	for (int family = 4; family <= 6; family += 2) {
		struct bf_in in = reply(family, IPPROTO_UDP, 4);

		in.pkt.sport = 54;
		expect_shot(b, BF_MESH_IN, &in, DP_R_REPLY_NOT_SERVICE,
			    "source port is no service");
		in = reply(family, IPPROTO_UDP, 4);
		in.pkt.src = family == 4 ? "10.1.1.1" : "fd00::1";
		expect_shot(b, BF_MESH_IN, &in, DP_R_REPLY_NOT_SERVICE, "source is no VIP");
		in = reply(family, IPPROTO_UDP, 4);
		in.pkt.is_later_frag = true;
		expect_shot(b, BF_MESH_IN, &in, DP_R_FRAG_NO_FIRST, "later fragment");
		in = reply(family, IPPROTO_UDP, 4);
		in.pkt.outer_src = "10.99.0.77";
		expect_shot(b, BF_MESH_IN, &in, DP_R_GRE_UNKNOWN_PEER, "unknown node");
		in = reply(family, IPPROTO_UDP, 6);
		in.pkt.outer_src = "fd99::77";
		expect_shot(b, BF_MESH_IN, &in, DP_R_GRE_UNKNOWN_PEER, "unknown node");
		in = reply(family, family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6, 4);
		expect_shot(b, BF_MESH_IN, &in, DP_R_ICMP_UNKNOWN, "ICMP inside");
	}
	h.uplink_ifindex = 0;
	bf_set_host(b, &h);
	struct bf_in in = reply(4, IPPROTO_TCP, 4);

	expect_shot(b, BF_MESH_IN, &in, DP_R_REDIRECT_FAILED, "no uplink");
}

static void test_mesh_in_when_gre_is_not_ours_then_dropped(void **state)
{
	static const struct {
		const char *name;
		uint16_t flags, proto;
		uint32_t key;
		bool is_outer_frag;
		uint32_t reason;
	} rows[] = {
		{"no key", 0x0001 << 8, 0, 0, false, DP_R_GRE_BAD}, /* reserved bit, no key */
		{"checksum", 0xa000, 0, 0, false, DP_R_GRE_BAD},
		{"PPTP's version", 0x2001, 0, 0, false, DP_R_GRE_BAD},
		{"routing bit", 0x6000, 0, 0, false, DP_R_GRE_BAD},
		{"ethernet inside", 0x2000, 0x6558, 0, false, DP_R_GRE_BAD},
		{"key version 1", 0x2000, 0, 1u << 30, false, DP_R_GRE_BAD},
		{"fragment outside", 0x2000, 0, 0, true, DP_R_GRE_BAD},
		{"IPv6 said, IPv4 inside", 0x2000, 0x86dd, DP_GRE_KEY(DP_GRE_F_REPLY, 0), false,
		 DP_R_BAD_PACKET},
		{"sequence word", 0x3000, 0, DP_GRE_KEY(DP_GRE_F_REPLY, 0), false, DP_R_REPLY_OUT},
	};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct bf_in in = reply(4, IPPROTO_UDP, 4);
		struct bf_out out;

		in.pkt.gre_flags = rows[i].flags;
		in.pkt.gre_proto = rows[i].proto;
		in.pkt.gre_key = rows[i].key;
		in.pkt.is_outer_frag = rows[i].is_outer_frag;
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, rows[i].reason, rows[i].name);
		assert_int_equal(out.retval,
				 rows[i].reason == DP_R_REPLY_OUT ? ACT_REDIRECT : ACT_SHOT);
	}
}

static void test_mesh_in_when_not_for_us_then_host_has_it(void **state)
{
	struct bf *b = *state;
	struct bf_in in = reply(4, IPPROTO_UDP, 4);
	struct bf_in ssh = {.pkt = {.src = "10.99.0.2",
				    .dst = "10.99.0.1",
				    .sport = 5,
				    .dport = 22,
				    .l4_proto = IPPROTO_TCP}};
	struct bf_in vip = {.pkt = client_pkt(4, IPPROTO_UDP, "192.0.2.10", 53)};
	struct bf_out out;

	bf_need(b);
	in.pkt.outer_dst = "10.99.0.9";
	bf_run(b, BF_MESH_IN, &in, &out);
	bf_expect_reason(b, DP_R_MESH_PASS, "GRE for another");
	assert_int_equal(out.retval, ACT_UNSPEC);
	bf_run(b, BF_MESH_IN, &ssh, &out);
	bf_expect_reason(b, DP_R_MESH_PASS, "ssh");
	bf_run(b, BF_MESH_IN, &vip, &out);
	bf_expect_reason(b, DP_R_MESH_PASS, "bare packet to a VIP");
}

static void test_ping_when_request_then_answered_in_place(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4;
		struct bf_in in = {.pkt = {.src = family == 4 ? "10.99.0.2" : "fd99::3",
					   .dst = family == 4 ? "10.99.0.1" : "fd99::1",
					   .sport = 5555,
					   .dport = DP_PING_PORT,
					   .l4_proto = IPPROTO_UDP,
					   .payload = DP_PING_BYTES,
					   .ping_kind = 1,
					   .is_udp_csum_zero = family == 4 && i & 2}};
		uint8_t before[PKT_MAX];
		size_t len = pkt_build(&in.pkt, before);
		struct bf_out out;

		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_PING_ANSWERED, in.pkt.src);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_int_equal(out.len, len);
		assert_string_equal(out.seen.src, in.pkt.dst);
		assert_string_equal(out.seen.dst, in.pkt.src);
		assert_int_equal(out.seen.sport, DP_PING_PORT);
		assert_int_equal(out.seen.dport, 5555);
		assert_int_equal(out.seen.ping_kind, 1);
		assert_memory_equal(out.seen.payload_at + 8, before + len - 8, 8); /* the cookie */
		in.pkt.ping_kind = 2;
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_MESH_PASS, "a reply is for the host");
		in.pkt.ping_kind = 1;
		in.pkt.payload = 8;
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_MESH_PASS, "too short");
	}
}

static void test_ping_when_flooded_then_limited(void **state)
{
	struct bf *b = *state;
	struct bf_in in = {.pkt = {.src = "10.99.0.2",
				   .dst = "10.99.0.1",
				   .sport = 5555,
				   .dport = DP_PING_PORT,
				   .l4_proto = IPPROTO_UDP,
				   .payload = DP_PING_BYTES,
				   .ping_kind = 1}};
	uint8_t frame[PKT_MAX], out[PKT_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_out = out,
		    .data_size_out = sizeof(out));

	bf_need(b);
	o.data_size_in = (uint32_t)pkt_build(&in.pkt, frame);
	o.repeat = 1;
	for (int i = 0; i < 5000; i++) {
		o.data_size_out = sizeof(out);
		assert_int_equal(bpf_prog_test_run_opts(bf_program_fd(b, BF_MESH_IN), &o), 0);
		if (o.retval == ACT_SHOT) {
			assert_int_equal(bf_reason(b, DP_R_PING_LIMITED), 1);
			return;
		}
	}
	fail_msg("5000 pings answered at once");
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, bf_setup)
	const struct CMUnitTest tests[] = {
		T(test_pub_in_when_remote_then_encapsulated),
		T(test_pub_in_when_frame_padded_then_padding_stays_behind),
		T(test_pub_in_when_local_then_rewritten_and_delivered),
		T(test_pub_in_when_udp_has_no_checksum_then_stays_without),
		T(test_pub_in_when_too_big_then_told_or_dropped),
		T(test_pub_in_when_node_unreachable_then_reason_says_why),
		T(test_mesh_in_when_reply_then_out_to_the_client),
		T(test_mesh_in_when_reply_is_wrong_then_dropped),
		T(test_mesh_in_when_gre_is_not_ours_then_dropped),
		T(test_mesh_in_when_not_for_us_then_host_has_it),
		T(test_ping_when_request_then_answered_in_place),
		T(test_ping_when_flooded_then_limited),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
