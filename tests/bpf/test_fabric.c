/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A mesh over Ethernet: the edge's XDP puts the tunnel on, the worker's takes it off; whatever is not ordinary is left to
 * TC as it was. And replies that go straight to the client (return=direct). tests/net/test_fabric.sh runs both ends. */
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"

#define ALL (DP_HOST_FABRIC | DP_HOST_FABRIC_OUT | DP_HOST_FABRIC_REPLY)
#define LO 1u /* a test run's packets come in through it */
#define XDP_ACT_PASS 2u
#define XDP_ACT_TX 3u
#define XDP_ACT_REDIRECT 4u
#define ACT_OK 0u
#define ACT_REDIRECT 7u
#define NEXT_HOP "\2\0\0\0\1\2"
#define OWN_MAC "\2\0\0\0\1\1"

static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};

static void set_flags(struct bf *b, uint32_t flags)
{
	struct dp_host h = bf_host();

	h.flags = flags;
	bf_set_host(b, &h);
}

static void set_l2(struct bf *b, uint32_t node_idx, const char *addr, uint32_t ifindex)
{
	struct dp_l2 l2 = {.ifindex = ifindex};

	bf_addr(addr, l2.addr);
	memcpy(l2.dst, NEXT_HOP, 6);
	memcpy(l2.src, OWN_MAC, 6);
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_l2"), &node_idx, &l2, BPF_ANY), 0);
}

static int fabric_setup(void **state)
{
	struct bf *b = *state;

	if (bf_setup(state) || b->load_rc)
		return b->load_rc ? 0 : -1;
	set_flags(b, ALL);
	set_l2(b, BF_SELF, "10.99.0.1", LO);
	set_l2(b, BF_NODE_V4, "10.99.0.2", LO);
	set_l2(b, BF_NODE_V6, "fd99::3", BF_MESH_IF);
	return 0;
}

/* To node 2 (IPv4 outside) or node 3 (IPv6). */
static struct pkt_spec from_client(int family, int outer, uint8_t proto)
{
	return (struct pkt_spec){.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				 .dst = outer == 4 ? (family == 4 ? "192.0.2.10" : "2001:db8::10")
						   : (family == 4 ? "192.0.2.11" : "2001:db8::11"),
				 .sport = 40000,
				 .dport = outer == 4 ? 53 : 5100,
				 .l4_proto = proto,
				 .payload = 200};
}

static uint32_t svc_of(int family, int outer)
{
	if (outer == 4)
		return family == 4 ? BF_SVC_EXACT4 : BF_SVC_EXACT6;
	return family == 4 ? BF_SVC_RANGE4 : BF_SVC_RANGE6;
}

static void test_fabric_out_when_neighbour_known_then_encapsulated_and_sent(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (unsigned i = 0; i < 16; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		struct bf_in in = {.pkt = from_client(family, outer, protos[i >> 2 & 1])};
		struct bf_out out;

		in.pkt.padding = i & 8 ? 7 : 0;
		bf_run(b, BF_XDP, &in, &out);
		bf_expect_reason(b, DP_R_FABRIC_OUT, in.pkt.dst);
		assert_int_equal(out.retval, outer == 4 ? XDP_ACT_TX : XDP_ACT_REDIRECT);
		assert_int_equal(out.meta_len, 0);
		assert_memory_equal(out.seen.eth_dst, NEXT_HOP, 6);
		assert_memory_equal(out.frame + 6, OWN_MAC, 6);
		assert_string_equal(out.seen.outer_src, outer == 4 ? "10.99.0.1" : "fd99::1");
		assert_string_equal(out.seen.outer_dst, outer == 4 ? "10.99.0.2" : "fd99::3");
		assert_int_equal(out.seen.outer_ttl, 64);
		assert_int_equal(out.seen.outer_df, outer == 4);
		assert_int_equal(out.seen.gre_flags, 0x2000);
		assert_int_equal(out.seen.gre_key,
				 DP_GRE_KEY(0, DP_TOKEN(svc_of(family, outer), BF_USE)));
		assert_string_equal(out.seen.src, in.pkt.src);
		assert_string_equal(out.seen.dst, in.pkt.dst);
		assert_int_equal(out.seen.sport, 40000);
		assert_int_equal(out.seen.dport, in.pkt.dport);
		assert_int_equal(out.seen.payload, 200);
		assert_int_equal(out.seen.trailer, 0);
		assert_int_equal(bf_stat_packets(b, "dp_be_stat", svc_of(family, outer)),
				 (i >> 2) + 1);
	}
}

/* Left to TC: the verdict in front, the packet as it was. */
static void expect_left(struct bf *b, const struct bf_in *in, const char *where)
{
	uint8_t before[PKT_MAX];
	size_t len = pkt_build(&in->pkt, before);
	struct dp_verdict v;
	struct bf_out out;

	bf_run(b, BF_XDP, in, &out);
	bf_expect_reason(b, DP_R_FORWARD_CHOSEN, where);
	assert_int_equal(out.retval, XDP_ACT_PASS);
	assert_int_equal(out.meta_len, sizeof(v));
	memcpy(&v, out.meta, sizeof(v));
	assert_int_equal(v.verdict, DP_VERDICT_FORWARD);
	assert_int_equal(out.len, len);
	assert_memory_equal(out.frame, before, len);
}

static void test_fabric_out_when_not_possible_then_left_to_tc(void **state)
{
	struct bf *b = *state;
	struct bf_in in4 = {.pkt = from_client(4, 4, IPPROTO_UDP)};
	struct bf_in in6 = {.pkt = from_client(6, 4, IPPROTO_TCP)};
	struct bf_in local = {.pkt = {.src = BF_CLIENT4,
				      .dst = "192.0.2.12",
				      .sport = 40000,
				      .dport = 80,
				      .l4_proto = IPPROTO_TCP}};
	struct dp_host h = bf_host();

	bf_need(b);
	expect_left(b, &local, "the backend is here");
	set_flags(b, DP_HOST_FABRIC);
	expect_left(b, &in4, "no native mode on the public interface");
	set_flags(b, ALL);
	set_l2(b, BF_NODE_V4, "10.99.0.2", 0);
	expect_left(b, &in4, "no neighbour");
	set_l2(b, BF_NODE_V4, "10.99.0.7", LO);
	expect_left(b, &in6, "that index was another node's");
	set_l2(b, BF_NODE_V4, "10.99.0.2", LO);
	in4.pkt.payload = BF_MTU - 28 - 28 + 1;
	expect_left(b, &in4, "one byte over the mesh MTU");
	h.flags = ALL;
	memset(h.mesh_addr4, 0, sizeof(h.mesh_addr4));
	bf_set_host(b, &h);
	expect_left(b, &in6, "no mesh address of that family");
}

static void test_fabric_out_when_exactly_the_mesh_mtu_then_sent(void **state)
{
	struct bf *b = *state;
	struct bf_in in = {.pkt = from_client(4, 4, IPPROTO_UDP)};
	struct bf_out out;

	bf_need(b);
	in.pkt.payload = BF_MTU - 28 - 28;
	bf_run(b, BF_XDP, &in, &out);
	bf_expect_reason(b, DP_R_FABRIC_OUT, "full");
	assert_int_equal(out.len, 14 + BF_MTU);
}

static struct bf_in to_worker(int family, int outer, uint8_t proto)
{
	struct bf_in in = {.pkt = {.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				   .dst = family == 4 ? "192.0.2.12" : "2001:db8::12",
				   .sport = 40000,
				   .dport = 80,
				   .l4_proto = proto,
				   .payload = 200,
				   .outer_src = outer == 4 ? "10.99.0.2" : "fd99::3",
				   .outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1",
				   .gre_key = DP_GRE_KEY(0, DP_TOKEN(BF_SVC_HOST4, BF_USE))}};

	return in;
}

static void test_fabric_in_when_from_a_node_then_bare_with_a_verdict(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (unsigned i = 0; i < 8; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		struct bf_in in = to_worker(family, outer, protos[i >> 2]);
		uint8_t frame[PKT_MAX];
		struct dp_verdict v;
		struct bf_out out;

		(void)pkt_build(&in.pkt, frame);
		bf_run(b, BF_XDP_MESH, &in, &out);
		bf_expect_reason(b, DP_R_FABRIC_IN, in.pkt.dst);
		assert_int_equal(out.retval, XDP_ACT_PASS);
		assert_int_equal(out.meta_len, sizeof(v));
		memcpy(&v, out.meta, sizeof(v));
		assert_int_equal(v.magic, DP_VERDICT_MAGIC);
		assert_int_equal(v.version, DP_VERDICT_VERSION);
		assert_int_equal(v.verdict, DP_VERDICT_TUNNEL);
		assert_int_equal(v.key, in.pkt.gre_key);
		assert_int_equal(v.from_idx, outer == 4 ? BF_NODE_V4 : BF_NODE_V6);
		assert_int_equal(v.seq, 0);
		assert_memory_equal(out.frame, frame, 12);
		assert_string_equal(out.seen.outer_src, "");
		assert_string_equal(out.seen.src, in.pkt.src);
		assert_string_equal(out.seen.dst, in.pkt.dst);
		assert_int_equal(out.seen.payload, 200);
		assert_int_equal(out.seen.trailer, 0);
	}
}

static void expect_untouched(struct bf *b, const struct bf_in *in, const char *where)
{
	uint8_t before[PKT_MAX];
	size_t len = pkt_build(&in->pkt, before);
	struct bf_out out;

	bf_run(b, BF_XDP_MESH, in, &out);
	bf_expect_reason(b, DP_R_XDP_PASS, where);
	assert_int_equal(out.retval, XDP_ACT_PASS);
	assert_int_equal(out.meta_len, 0);
	assert_int_equal(out.len, len);
	assert_memory_equal(out.frame, before, len);
}

static void test_fabric_in_when_not_ordinary_then_left_to_tc(void **state)
{
	struct bf *b = *state;
	struct row {
		const char *what;
		struct pkt_spec set;
	};
	static const struct row rows[] = {
		{"another's address", {.outer_dst = "10.99.0.9"}},
		{"from no node", {.outer_src = "10.99.0.66"}},
		{"a fragment outside", {.is_outer_frag = true}},
		{"a fragment inside", {.is_first_frag = true}},
		{"a later fragment inside", {.is_later_frag = true}},
		{"a sequence word", {.gre_flags = 0x3000}},
		{"no key", {.gre_flags = 0x8000}},
		{"a checksum word", {.gre_flags = 0xa000}},
		{"another version", {.gre_key = 1u << 30}},
		{"second chance", {.gre_key = DP_GRE_KEY(DP_GRE_F_SECOND, 5)}},
		{"final", {.gre_key = DP_GRE_KEY(DP_GRE_F_FINAL, 5)}},
		{"another protocol inside", {.gre_proto = 0x6558}},
		{"neither TCP nor UDP", {.l4_proto = IPPROTO_SCTP}},
		{"bytes behind the packet", {.padding = 3}},
		{"cut short", {.cut = 3}},
		{"a reply without a way out", {.gre_key = DP_GRE_KEY(DP_GRE_F_REPLY, 0)}},
	};

	bf_need(b);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct bf_in in = to_worker(4, 4, IPPROTO_UDP);
		const struct pkt_spec *s = &rows[i].set;

		in.pkt.outer_dst = s->outer_dst ? s->outer_dst : in.pkt.outer_dst;
		in.pkt.outer_src = s->outer_src ? s->outer_src : in.pkt.outer_src;
		in.pkt.is_outer_frag = s->is_outer_frag;
		in.pkt.is_first_frag = s->is_first_frag;
		in.pkt.is_later_frag = s->is_later_frag;
		in.pkt.gre_flags = s->gre_flags;
		in.pkt.gre_proto = s->gre_proto;
		in.pkt.gre_key = s->gre_key ? s->gre_key : in.pkt.gre_key;
		in.pkt.l4_proto = s->l4_proto ? s->l4_proto : in.pkt.l4_proto;
		in.pkt.padding = s->padding;
		in.pkt.cut = s->cut;
		in.is_unread = true;
		expect_untouched(b, &in, rows[i].what);
	}
}

static void test_fabric_in_when_switched_off_then_left_to_tc(void **state)
{
	struct bf *b = *state;
	struct bf_in in = to_worker(4, 4, IPPROTO_UDP);

	bf_need(b);
	set_flags(b, 0);
	expect_untouched(b, &in, "off");
}

/* ---- return=direct ---- */

static const struct way {
	enum bf_prog hook;
	int family;
	uint32_t svc;
	const char *vip, *backend;
} ways[] = {
	{BF_UP_OUT, 4, BF_SVC_HOST4, "192.0.2.12", "10.0.0.5"},
	{BF_UP_OUT, 6, BF_SVC_HOST6, "2001:db8::12", "2001:db8:1::5"},
	{BF_BR_IN, 4, BF_SVC_BRIDGE4, "192.0.2.13", "172.17.0.2"},
	{BF_BR_IN, 6, BF_SVC_BRIDGE6, "2001:db8::13", "fd17::2"},
	{BF_MESH_OUT, 4, BF_SVC_HOST4, "192.0.2.12", "10.0.0.5"},
	{BF_MESH_OUT, 6, BF_SVC_HOST6, "2001:db8::12", "2001:db8:1::5"},
};

static void set_direct(struct bf *b, uint32_t svc_idx)
{
	struct dp_svc svc;
	int fd = bf_map(b, "dp_svc");

	assert_int_equal(bpf_map_lookup_elem(fd, &svc_idx, &svc), 0);
	svc.flags |= DP_SVC_DIRECT;
	assert_int_equal(bpf_map_update_elem(fd, &svc_idx, &svc, BPF_ANY), 0);
}

static void test_reply_when_direct_then_from_the_vip_without_a_tunnel(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways) * 2; i++) {
		const struct way *w = &ways[i / 2];
		struct bf_in in = to_worker(w->family, 4, protos[i & 1]);
		struct bf_in back = {.pkt = {.src = w->backend,
					     .dst = in.pkt.src,
					     .sport = 8080,
					     .dport = 40000,
					     .l4_proto = protos[i & 1],
					     .tcp_flags = 0x12,
					     .mss = 1460,
					     .payload = 300}};
		bool is_direct = w->hook != BF_MESH_OUT;
		struct bf_out out;

		set_direct(b, w->svc);
		in.pkt.dst = w->vip;
		in.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(w->svc, BF_USE));
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b,
				 w->hook == BF_BR_IN ? DP_R_DELIVERED_BRIDGE : DP_R_DELIVERED_HOST,
				 w->vip);
		bf_run(b, w->hook, &back, &out);
		bf_expect_reason(b, is_direct ? DP_R_REPLY_DIRECT : DP_R_REPLY_ENCAP, w->vip);
		assert_int_equal(out.retval, w->hook == BF_UP_OUT ? ACT_OK : ACT_REDIRECT);
		assert_string_equal(out.seen.outer_src, is_direct ? "" : "10.99.0.1");
		assert_string_equal(out.seen.src, w->vip);
		assert_string_equal(out.seen.dst, in.pkt.src);
		assert_int_equal(out.seen.sport, 80);
		assert_int_equal(out.seen.payload, 300);
		/* What the client will send comes through the tunnel all the same. */
		assert_int_equal(out.seen.mss, protos[i & 1] == IPPROTO_TCP
						       ? BF_MTU - 32 - (w->family == 4 ? 40 : 60)
						       : 0);
	}
}

static void test_reply_when_not_direct_then_in_the_tunnel(void **state)
{
	struct bf *b = *state;
	struct bf_in in = to_worker(4, 4, IPPROTO_UDP);
	struct bf_in back = {.pkt = {.src = "10.0.0.5",
				     .dst = in.pkt.src,
				     .sport = 8080,
				     .dport = 40000,
				     .l4_proto = IPPROTO_UDP}};
	struct bf_out out;

	bf_need(b);
	set_direct(b, BF_SVC_TWIN4);
	bf_run(b, BF_MESH_IN, &in, &out);
	bf_expect_reason(b, DP_R_DELIVERED_HOST, "in");
	bf_run(b, BF_UP_OUT, &back, &out);
	bf_expect_reason(b, DP_R_REPLY_ENCAP, "back");
	assert_string_equal(out.seen.outer_dst, "10.99.0.2");
}

/* ---- one interface for all ---- */

static void test_one_when_client_or_mesh_then_as_with_two(void **state)
{
	struct bf *b = *state;
	struct bf_in client = {.pkt = from_client(4, 4, IPPROTO_UDP)};
	struct bf_in mesh = to_worker(4, 4, IPPROTO_TCP);
	struct bf_in second = to_worker(4, 4, IPPROTO_UDP);
	struct bf_in host = {.pkt = {.src = BF_CLIENT4,
				     .dst = "10.0.0.5",
				     .sport = 40000,
				     .dport = 22,
				     .l4_proto = IPPROTO_TCP}};
	struct bf_in ping = {.pkt = {.src = "10.99.0.2",
				     .dst = "10.99.0.1",
				     .sport = 5555,
				     .dport = DP_PING_PORT,
				     .l4_proto = IPPROTO_UDP,
				     .payload = DP_PING_BYTES,
				     .ping_kind = 1}};
	const struct row {
		const char *what;
		enum bf_prog prog;
		const struct bf_in *in;
		uint32_t reason;
	} rows[] = {
		{"client, XDP", BF_XDP_ONE, &client, DP_R_FABRIC_OUT},
		{"client, TC", BF_ONE_IN, &client, DP_R_FORWARDED},
		{"mesh, XDP", BF_XDP_ONE, &mesh, DP_R_FABRIC_IN},
		{"mesh, TC", BF_ONE_IN, &mesh, DP_R_DELIVERED_HOST},
		{"mesh, left by XDP", BF_XDP_ONE, &second, DP_R_XDP_PASS},
		{"host, XDP", BF_XDP_ONE, &host, DP_R_XDP_PASS},
		{"host, TC", BF_ONE_IN, &host, DP_R_PASS_NOT_OURS},
		{"ping, XDP", BF_XDP_ONE, &ping, DP_R_XDP_PASS},
		{"ping, TC", BF_ONE_IN, &ping, DP_R_PING_ANSWERED},
		{"host out", BF_ONE_OUT, &host, DP_R_PASS_NOT_OURS},
	};

	bf_need(b);
	second.pkt.gre_flags = 0x3000;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct bf_out out;

		bf_run(b, rows[i].prog, rows[i].in, &out);
		bf_expect_reason(b, rows[i].reason, rows[i].what);
	}
}

static void test_one_out_when_gre_then_only_ours_or_the_hosts(void **state)
{
	struct bf *b = *state;
	struct bf_in in = to_worker(4, 4, IPPROTO_UDP);
	struct bf_out out;

	bf_need(b);
	in.pkt.outer_src = "10.99.0.1";
	in.pkt.outer_dst = "10.99.0.2";
	bf_run(b, BF_ONE_OUT, &in, &out);
	bf_expect_reason(b, DP_R_GRE_UNMARKED, "masqueraded to the mesh address");
	in.mark = BF_MARK;
	bf_run(b, BF_ONE_OUT, &in, &out);
	bf_expect_reason(b, DP_R_MESH_OUT_MARKED, "ours");
	in.mark = 0;
	in.pkt.outer_src = "10.0.0.5";
	bf_run(b, BF_ONE_OUT, &in, &out);
	bf_expect_reason(b, DP_R_PASS_NOT_OURS, "the host's own tunnel");
}

static void test_one_out_when_reply_then_encapsulated(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 2; i++) {
		struct bf_in in = to_worker(ways[i].family, 4, IPPROTO_UDP);
		struct bf_in back = {.pkt = {.src = ways[i].backend,
					     .dst = in.pkt.src,
					     .sport = 8080,
					     .dport = 40000,
					     .l4_proto = IPPROTO_UDP}};
		struct bf_out out;

		in.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(ways[i].svc, BF_USE));
		bf_run(b, BF_ONE_IN, &in, &out);
		bf_expect_reason(b, DP_R_DELIVERED_HOST, "in");
		bf_run(b, BF_ONE_OUT, &back, &out);
		bf_expect_reason(b, DP_R_REPLY_ENCAP, "back");
		assert_string_equal(out.seen.outer_dst, "10.99.0.2");
		assert_int_equal(out.mark, BF_MARK);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, fabric_setup)
	const struct CMUnitTest tests[] = {
		T(test_fabric_out_when_neighbour_known_then_encapsulated_and_sent),
		T(test_fabric_out_when_not_possible_then_left_to_tc),
		T(test_fabric_out_when_exactly_the_mesh_mtu_then_sent),
		T(test_fabric_in_when_from_a_node_then_bare_with_a_verdict),
		T(test_fabric_in_when_not_ordinary_then_left_to_tc),
		T(test_fabric_in_when_switched_off_then_left_to_tc),
		T(test_reply_when_direct_then_from_the_vip_without_a_tunnel),
		T(test_reply_when_not_direct_then_in_the_tunnel),
		T(test_one_when_client_or_mesh_then_as_with_two),
		T(test_one_out_when_gre_then_only_ours_or_the_hosts),
		T(test_one_out_when_reply_then_encapsulated),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
