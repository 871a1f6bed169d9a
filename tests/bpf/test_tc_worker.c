/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The worker's mesh ingress: GRE from an edge to a host socket or a container, and the flow table it leaves. */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"

#define ACT_OK 0u
#define ACT_SHOT 2u
#define ACT_REDIRECT 7u

static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};

static const struct target {
	int family;
	uint32_t svc;
	const char *vip;
	uint16_t port;
	const char *backend;
	uint16_t bport;
	bool is_bridge;
} targets[] = {
	{4, BF_SVC_HOST4, "192.0.2.12", 80, "10.0.0.5", 8080, false},
	{6, BF_SVC_HOST6, "2001:db8::12", 80, "2001:db8:1::5", 8080, false},
	{4, BF_SVC_HOSTRANGE4, "192.0.2.12", 6299, "10.0.0.5", 7299, false},
	{6, BF_SVC_HOSTRANGE6, "2001:db8::12", 6001, "2001:db8:1::5", 7001, false},
	{4, BF_SVC_BRIDGE4, "192.0.2.13", 80, "172.17.0.2", 8080, true},
	{6, BF_SVC_BRIDGE6, "2001:db8::13", 80, "fd17::2", 8080, true},
};
#define TARGETS (sizeof(targets) / sizeof(*targets))

static struct bf_in from_edge(const struct target *t, uint8_t proto, int outer)
{
	return (struct bf_in){.pkt = {.src = t->family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				      .dst = t->vip,
				      .sport = 40000,
				      .dport = t->port,
				      .l4_proto = proto,
				      .payload = 200,
				      .outer_src = outer == 4 ? "10.99.0.2" : "fd99::3",
				      .outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1",
				      .gre_key = DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE))}};
}

static void expect_shot(struct bf *b, const struct bf_in *in, uint32_t reason, const char *where)
{
	struct bf_out out;

	bf_run(b, BF_MESH_IN, in, &out);
	bf_expect_reason(b, reason, where);
	assert_int_equal(out.retval, ACT_SHOT);
}

static struct dp_flow_fwd_key fwd_key(const struct pkt_spec *p)
{
	struct dp_flow_fwd_key k = {};

	bf_addr(p->src, k.client);
	bf_addr(p->dst, k.vip);
	k.cport_be = htons(p->sport);
	k.vport_be = htons(p->dport);
	k.l4_proto = p->l4_proto;
	return k;
}

static struct dp_flow_rev_key rev_key(const struct pkt_spec *p, const struct target *t,
				      uint16_t cport)
{
	struct dp_flow_rev_key k = {};

	bf_addr(p->src, k.client);
	if (t->is_bridge)
		bf_addr(t->backend, k.local);
	k.cport_be = htons(cport);
	k.bport_be = htons(t->bport);
	k.l4_proto = p->l4_proto;
	return k;
}

static void test_mesh_in_when_token_fits_then_delivered(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < TARGETS * 4; i++) {
		const struct target *t = &targets[i / 4];
		struct bf_in in = from_edge(t, protos[i & 1], i & 2 ? 6 : 4);
		struct dp_flow_fwd_key fk = fwd_key(&in.pkt);
		struct dp_flow_rev_key rk = rev_key(&in.pkt, t, 40000);
		struct dp_flow_fwd f;
		struct dp_flow_rev r;
		struct bf_out out;

		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, t->is_bridge ? DP_R_DELIVERED_BRIDGE : DP_R_DELIVERED_HOST,
				 t->vip);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_string_equal(out.seen.outer_src, "");
		assert_string_equal(out.seen.src, in.pkt.src);
		assert_string_equal(out.seen.dst, t->backend);
		assert_int_equal(out.seen.sport, 40000);
		assert_int_equal(out.seen.dport, t->bport);
		assert_int_equal(out.seen.payload, 200);
		assert_int_equal(out.seen.trailer, 0);
		if (!t->is_bridge)
			assert_memory_equal(out.seen.eth_dst, "\2\0\0\0\0\x55", 6);
		assert_int_equal(bf_stat_packets(b, "dp_be_stat", t->svc), (i & 3) + 1);
		assert_int_equal(bf_stat_packets(b, "dp_svc_stat", t->svc), (i & 3) + 1);

		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_fwd_new"), &fk, &f), 0);
		assert_int_equal(f.slot, t->svc);
		assert_int_equal(f.use_count, BF_USE);
		assert_int_equal(f.cport_be, htons(40000));
		assert_int_equal(f.edge_idx, i & 2 ? BF_NODE_V6 : BF_NODE_V4);
		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_rev_new"), &rk, &r), 0);
		assert_memory_equal(r.vip, fk.vip, 16);
		assert_int_equal(r.vport_be, htons(t->port));
		assert_int_equal(r.cport_be, htons(40000));
		assert_int_equal(r.edge_idx, f.edge_idx);
	}
	/* The same flows again through another edge each time: no second entry. */
	assert_int_equal(bf_map_count(b, "dp_fwd_new", sizeof(struct dp_flow_fwd_key)),
			 TARGETS * 2);
	assert_int_equal(bf_map_count(b, "dp_rev_new", sizeof(struct dp_flow_rev_key)),
			 TARGETS * 2);
}

static void test_mesh_in_when_no_deliver_ifindex_then_stays_on_mesh(void **state)
{
	struct bf *b = *state;
	struct dp_host h = bf_host();

	bf_need(b);
	h.deliver_ifindex4 = 0;
	h.deliver_ifindex6 = h.mesh_ifindex;
	bf_set_host(b, &h);
	for (int i = 0; i < 2; i++) {
		struct bf_in in = from_edge(&targets[i], IPPROTO_TCP, targets[i].family);
		struct bf_out out;

		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_DELIVERED_HOST, in.pkt.dst);
		assert_int_equal(out.retval, ACT_OK);
		assert_string_equal(out.seen.dst, targets[i].backend);
	}
}

static void test_token_when_it_does_not_fit_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < TARGETS; i++) {
		const struct target *t = &targets[i];
		struct bf_in in = from_edge(t, IPPROTO_UDP, 4);
		struct dp_local l = bf_local(t->svc);

		in.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE + 1));
		expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "use count");
		in.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(targets[(i + 2) % TARGETS].svc, BF_USE));
		expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "another service's");
		in.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(DP_LOCAL_MAX - 1, 0));
		expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "free slot");
		in = from_edge(t, IPPROTO_UDP, 4);
		in.pkt.dport = 9;
		expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "no service on that port");
		in = from_edge(t, IPPROTO_UDP, 4);
		l.live = 0;
		bf_set_local(b, t->svc, &l);
		expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "not live");
	}
	assert_int_equal(bf_map_count(b, "dp_fwd_new", sizeof(struct dp_flow_fwd_key)), 0);
	assert_int_equal(bf_map_count(b, "dp_rev_new", sizeof(struct dp_flow_rev_key)), 0);
}

static void test_mesh_in_when_inner_is_bad_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int family = 4; family <= 6; family += 2) {
		const struct target *t = &targets[family == 6];
		struct bf_in in = from_edge(t, IPPROTO_UDP, 4);

		in.pkt.is_later_frag = true;
		expect_shot(b, &in, DP_R_FRAG_NO_FIRST, "later fragment");
		in = from_edge(t, 132, 4);
		expect_shot(b, &in, DP_R_PROTO_UNSUPPORTED, "SCTP");
	}
	struct bf_in in = from_edge(&targets[1], IPPROTO_UDP, 4);

	in.pkt.dest_options = 9;
	expect_shot(b, &in, DP_R_BAD_EXT_HEADER, "endless extensions");
	const struct target misfit = {4,    BF_SVC_MISFIT4, "192.0.2.17", 80, "2001:db8:1::5",
				      8080, false};

	in = from_edge(&misfit, IPPROTO_UDP, 4);
	expect_shot(b, &in, DP_R_FAMILY_MISMATCH, "IPv6 backend, IPv4 packet");
}

/* An established flow stays where it is whatever the token says, and goes when its backend goes. */
static void test_flow_when_known_then_token_does_not_matter(void **state)
{
	struct bf *b = *state;
	struct bf_in in = from_edge(&targets[0], IPPROTO_TCP, 4);
	struct dp_local l = bf_local(BF_SVC_HOST4);
	struct bf_out out;

	bf_need(b);
	bf_run(b, BF_MESH_IN, &in, &out);
	bf_expect_reason(b, DP_R_DELIVERED_HOST, "first");
	in.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(77, 7));
	bf_run(b, BF_MESH_IN, &in, &out);
	bf_expect_reason(b, DP_R_DELIVERED_HOST, "second");
	/* The slot gets a new tenant: the old flow must not reach it, neither by entry nor by old token. */
	l.use_count++;
	bf_set_local(b, BF_SVC_HOST4, &l);
	expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "slot reused");
	assert_int_equal(bf_map_count(b, "dp_fwd_new", sizeof(struct dp_flow_fwd_key)), 0);
	in.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(BF_SVC_HOST4, l.use_count));
	bf_run(b, BF_MESH_IN, &in, &out);
	bf_expect_reason(b, DP_R_DELIVERED_HOST, "new token");
}

static void test_flow_when_edge_moves_then_both_entries_follow(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < TARGETS; i++) {
		struct bf_in in = from_edge(&targets[i], IPPROTO_UDP, 4);
		struct dp_flow_fwd_key fk = fwd_key(&in.pkt);
		struct dp_flow_rev_key rk = rev_key(&in.pkt, &targets[i], 40000);
		struct dp_flow_fwd f;
		struct dp_flow_rev r;
		struct bf_out out;

		bf_run(b, BF_MESH_IN, &in, &out);
		/* The way back is lost meanwhile: it is made again. */
		assert_int_equal(bpf_map_delete_elem(bf_map(b, "dp_rev_new"), &rk), 0);
		in.pkt.outer_src = "fd99::3";
		in.pkt.outer_dst = "fd99::1";
		bf_run(b, BF_MESH_IN, &in, &out);
		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_fwd_new"), &fk, &f), 0);
		assert_int_equal(f.edge_idx, BF_NODE_V6);
		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_rev_new"), &rk, &r), 0);
		assert_int_equal(r.edge_idx, BF_NODE_V6);
	}
}

/* A way back that some other flow of that backend's still has. */
static struct dp_flow_rev others(struct bf *b, const struct dp_flow_rev_key *rk)
{
	struct dp_flow_rev r;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_rev_new"), rk, &r), 0);
	r.vport_be = htons(1);
	return r;
}

/* One client port, two VIPs, one backend: the second flow gets another client port, and keeps it. */
static void test_flow_when_reply_key_is_taken_then_port_shifts(void **state)
{
	const struct target twin = {4, BF_SVC_TWIN4, "192.0.2.14", 80, "10.0.0.5", 8080, false};
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 2; i++) {
		struct bf_in one = from_edge(&targets[0], protos[i], 4),
			     two = from_edge(&twin, protos[i], 4);
		struct bf_out out;
		uint16_t shifted;

		bf_run(b, BF_MESH_IN, &one, &out);
		assert_int_equal(out.seen.sport, 40000);
		bf_run(b, BF_MESH_IN, &two, &out);
		shifted = out.seen.sport;
		assert_int_not_equal(shifted, 40000);
		assert_in_range(shifted, 1024, 65535);
		bf_run(b, BF_MESH_IN, &two, &out);
		assert_int_equal(out.seen.sport, shifted);
		bf_run(b, BF_MESH_IN, &one, &out);
		assert_int_equal(out.seen.sport, 40000);
	}
}

static void test_flow_when_all_shifts_are_taken_then_clash(void **state)
{
	const struct target twin = {4, BF_SVC_TWIN4, "192.0.2.14", 80, "10.0.0.5", 8080, false};
	struct bf_in two = from_edge(&twin, IPPROTO_UDP, 4);
	struct bf *b = *state;
	struct bf_out out;

	bf_need(b);
	/* Find out which ports it would take, and give each to another VIP's flow. */
	for (int i = 0; i <= 4; i++) {
		struct dp_flow_rev_key rk;
		struct dp_flow_rev r;
		struct dp_flow_fwd_key fk = fwd_key(&two.pkt);

		bf_run(b, BF_MESH_IN, &two, &out);
		bf_expect_reason(b, DP_R_DELIVERED_HOST, "a port left");
		rk = rev_key(&two.pkt, &twin, out.seen.sport);
		r = others(b, &rk);
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_rev_new"), &rk, &r, BPF_EXIST),
				 0);
		assert_int_equal(bpf_map_delete_elem(bf_map(b, "dp_fwd_new"), &fk), 0);
	}
	expect_shot(b, &two, DP_R_FLOW_PORT_CLASH, "none left");
}

/* The way back was evicted and another flow took its key: the flow must not answer from the other's VIP. */
static void test_flow_when_way_back_is_lost_to_another_then_port_shifts(void **state)
{
	struct bf *b = *state;
	struct bf_in in = from_edge(&targets[0], IPPROTO_UDP, 4);
	struct dp_flow_rev_key rk = rev_key(&in.pkt, &targets[0], 40000);
	struct dp_flow_rev other;
	struct bf_out out;

	bf_need(b);
	bf_run(b, BF_MESH_IN, &in, &out);
	assert_int_equal(out.seen.sport, 40000);
	other = others(b, &rk);
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_rev_new"), &rk, &other, BPF_EXIST), 0);
	in.pkt.outer_src = "fd99::3"; /* looked at when the edge moves, and once a second */
	in.pkt.outer_dst = "fd99::1";
	bf_run(b, BF_MESH_IN, &in, &out);
	assert_int_not_equal(out.seen.sport, 40000);
}

static void test_syn_when_mss_is_large_then_clamped(void **state)
{
	static const struct {
		uint16_t mss;
		uint8_t nops, flags;
		bool is_clamped;
	} rows[] = {{1460, 0, 2, true}, {1460, 1, 2, true}, {1460, 2, 2, true},
		    {9000, 3, 2, true}, {500, 0, 2, false}, {1460, 0, 0x10, false}};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows) * 4; i++) {
		size_t r = i / 4;
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		struct bf_in in = from_edge(&targets[i & 1], IPPROTO_TCP, outer);
		uint16_t fits =
			(uint16_t)(BF_MTU - (outer == 4 ? 28 : 48) - (family == 4 ? 40 : 60));
		struct bf_out out;

		in.pkt.mss = rows[r].mss;
		in.pkt.mss_nops = rows[r].nops;
		in.pkt.tcp_flags = rows[r].flags;
		in.pkt.payload = 0;
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_DELIVERED_HOST, "syn");
		assert_int_equal(out.seen.mss, rows[r].is_clamped ? fits : rows[r].mss);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, bf_setup)
	const struct CMUnitTest tests[] = {
		T(test_mesh_in_when_token_fits_then_delivered),
		T(test_mesh_in_when_no_deliver_ifindex_then_stays_on_mesh),
		T(test_token_when_it_does_not_fit_then_dropped),
		T(test_mesh_in_when_inner_is_bad_then_dropped),
		T(test_flow_when_known_then_token_does_not_matter),
		T(test_flow_when_edge_moves_then_both_entries_follow),
		T(test_flow_when_reply_key_is_taken_then_port_shifts),
		T(test_flow_when_all_shifts_are_taken_then_clash),
		T(test_flow_when_way_back_is_lost_to_another_then_port_shifts),
		T(test_syn_when_mss_is_large_then_clamped),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
