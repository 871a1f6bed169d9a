/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What XDP does with each kind of packet: pass, choose, or drop for which reason; and which row it chooses. */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "bpf/dp_hash.h"
#include "tests/lib/bpf_fixture.h"

#define XDP_DROP_ 1u
#define XDP_PASS_ 2u

struct row {
	const char *name;
	struct pkt_spec pkt;
	uint32_t reason;
	uint32_t svc; /* chosen */
};

#define TCP .l4_proto = IPPROTO_TCP
#define UDP .l4_proto = IPPROTO_UDP
#define C4 .src = BF_CLIENT4, .sport = 40000
#define C6 .src = BF_CLIENT6, .sport = 40000

static const struct row rows[] = {
	{"v4 udp exact",
	 {C4, .dst = "192.0.2.10", .dport = 53, UDP, .payload = 30},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_EXACT4},
	{"v4 tcp exact",
	 {C4, .dst = "192.0.2.10", .dport = 53, TCP, .tcp_flags = 2},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_EXACT4},
	{"v6 udp exact",
	 {C6, .dst = "2001:db8::10", .dport = 53, UDP, .payload = 30},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_EXACT6},
	{"v6 tcp exact",
	 {C6, .dst = "2001:db8::10", .dport = 53, TCP, .tcp_flags = 2},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_EXACT6},
	{"v4 udp range low",
	 {C4, .dst = "192.0.2.11", .dport = 5000, UDP},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_RANGE4},
	{"v4 tcp range next page",
	 {C4, .dst = "192.0.2.11", .dport = 5120, TCP},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_RANGE4},
	{"v6 udp range high",
	 {C6, .dst = "2001:db8::11", .dport = 5299, UDP},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_RANGE6},
	{"v6 tcp range middle",
	 {C6, .dst = "2001:db8::11", .dport = 5150, TCP},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_RANGE6},
	{"v4 options",
	 {C4, .dst = "192.0.2.10", .dport = 53, UDP, .ip_options = 10},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_EXACT4},
	{"v6 destination options",
	 {C6, .dst = "2001:db8::10", .dport = 53, TCP, .dest_options = 5},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_EXACT6},
	{"v6 atomic fragment",
	 {C6, .dst = "2001:db8::10", .dport = 53, UDP, .is_atomic_frag = true},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_EXACT6},
	{"v4 padded frame",
	 {C4, .dst = "192.0.2.10", .dport = 53, UDP, .payload = 4, .padding = 14},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_EXACT4},

	{"v4 not ours", {C4, .dst = "203.0.113.1", .dport = 53, UDP}, DP_R_XDP_PASS, 0},
	{"v6 not ours", {C6, .dst = "2001:db8:f::1", .dport = 53, TCP}, DP_R_XDP_PASS, 0},
	{"v4 not ours, icmp",
	 {C4, .dst = "203.0.113.1", .l4_proto = IPPROTO_ICMP, .payload = 8},
	 DP_R_XDP_PASS,
	 0},
	{"v4 not ours, cut short",
	 {C4, .dst = "203.0.113.1", UDP, .payload = 20, .cut = 4},
	 DP_R_XDP_PASS,
	 0},
	{"v4 not ours, fragment",
	 {C4, .dst = "203.0.113.1", UDP, .payload = 20, .is_later_frag = true},
	 DP_R_XDP_PASS,
	 0},
	{"v6 not ours, endless extensions",
	 {C6, .dst = "2001:db8:f::1", UDP, .dest_options = 9},
	 DP_R_XDP_PASS,
	 0},
	{"vlan", {C4, .dst = "192.0.2.10", .dport = 53, UDP, .is_vlan = true}, DP_R_XDP_PASS, 0},

	{"v4 udp other port", {C4, .dst = "192.0.2.10", .dport = 54, UDP}, DP_R_NO_SERVICE, 0},
	{"v4 tcp other page", {C4, .dst = "192.0.2.10", .dport = 22, TCP}, DP_R_NO_SERVICE, 0},
	{"v4 tcp no page at all",
	 {C4, .dst = "192.0.2.10", .dport = 22222, TCP},
	 DP_R_NO_SERVICE,
	 0},
	{"v6 tcp below the range",
	 {C6, .dst = "2001:db8::11", .dport = 4999, TCP},
	 DP_R_NO_SERVICE,
	 0},
	{"v6 udp above the range",
	 {C6, .dst = "2001:db8::11", .dport = 5300, UDP},
	 DP_R_NO_SERVICE,
	 0},
	{"v4 icmp to a VIP",
	 {C4, .dst = "192.0.2.10", .l4_proto = IPPROTO_ICMP, .payload = 8},
	 DP_R_ICMP_UNKNOWN,
	 0},
	{"v6 icmp to a VIP",
	 {C6, .dst = "2001:db8::10", .l4_proto = IPPROTO_ICMPV6, .payload = 8},
	 DP_R_ICMP_UNKNOWN,
	 0},
	{"v4 sctp to a VIP",
	 {C4, .dst = "192.0.2.10", .l4_proto = 132, .payload = 12},
	 DP_R_PROTO_UNSUPPORTED,
	 0},
	{"v4 first fragment",
	 {C4, .dst = "192.0.2.10", .dport = 53, UDP, .payload = 40, .is_first_frag = true},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_EXACT4},
	{"v4 later fragment",
	 {C4, .dst = "192.0.2.10", UDP, .payload = 40, .is_later_frag = true, .frag_id = 9},
	 DP_R_FRAG_NO_FIRST,
	 0},
	{"v6 first fragment",
	 {C6, .dst = "2001:db8::10", .dport = 53, UDP, .payload = 40, .is_first_frag = true},
	 DP_R_FORWARD_CHOSEN,
	 BF_SVC_EXACT6},
	{"v6 later fragment",
	 {C6, .dst = "2001:db8::10", UDP, .payload = 40, .is_later_frag = true, .frag_id = 9},
	 DP_R_FRAG_NO_FIRST,
	 0},
	{"v6 fragment behind options",
	 {C6, .dst = "2001:db8::10", UDP, .payload = 40, .dest_options = 2, .is_later_frag = true,
	  .frag_id = 9},
	 DP_R_FRAG_NO_FIRST,
	 0},
	{"v4 cut short",
	 {C4, .dst = "192.0.2.10", .dport = 53, UDP, .payload = 20, .cut = 1},
	 DP_R_BAD_PACKET,
	 0},
	{"v4 half an UDP header",
	 {C4, .dst = "192.0.2.10", .dport = 53, UDP, .cut = 4},
	 DP_R_BAD_PACKET,
	 0},
	{"v6 half a TCP header",
	 {C6, .dst = "2001:db8::10", .dport = 53, TCP, .cut = 10},
	 DP_R_BAD_PACKET,
	 0},
	{"v6 endless extensions",
	 {C6, .dst = "2001:db8::10", .dport = 53, UDP, .dest_options = 9},
	 DP_R_BAD_EXT_HEADER,
	 0},
	{"v6 cut in an extension",
	 {C6, .dst = "2001:db8::10", UDP, .dest_options = 2, .cut = 16},
	 DP_R_BAD_EXT_HEADER,
	 0},
	{"v4 no table", {C4, .dst = "192.0.2.15", .dport = 80, TCP}, DP_R_NO_BACKEND, 0},
};

static void check_verdict(const struct row *r, const struct bf_out *out)
{
	bool is_pass = r->reason == DP_R_XDP_PASS || r->reason == DP_R_FORWARD_CHOSEN;
	struct dp_verdict v;

	if (out->retval != (is_pass ? XDP_PASS_ : XDP_DROP_))
		fail_msg("%s: returned %u", r->name, out->retval);
	if (!is_pass)
		return;
	assert_int_equal(out->meta_len, sizeof(v));
	memcpy(&v, out->meta, sizeof(v));
	assert_int_equal(v.magic, DP_VERDICT_MAGIC);
	assert_int_equal(v.version, DP_VERDICT_VERSION);
	assert_int_equal(v.verdict, r->svc ? DP_VERDICT_FORWARD : DP_VERDICT_PASS);
	assert_int_equal(v.svc_idx, r->svc);
	if (r->svc)
		assert_in_range(v.row, bf_row_of(r->svc), bf_row_of(r->svc) + 250);
}

static void test_xdp_rows(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct bf_in in = {.pkt = rows[i].pkt};
		uint8_t before[PKT_MAX];
		size_t len = pkt_build(&rows[i].pkt, before);
		struct bf_out out;

		bf_run(b, BF_XDP, &in, &out);
		bf_expect_reason(b, rows[i].reason, rows[i].name);
		check_verdict(&rows[i], &out);
		assert_int_equal(out.len, len);
		assert_memory_equal(out.frame, before, len); /* XDP never rewrites */
		if (rows[i].svc) {
			assert_int_equal(bf_stat_packets(b, "dp_svc_stat", rows[i].svc) > 0, 1);
			assert_int_equal(bf_stat_packets(b, "dp_be_stat", rows[i].svc) > 0, 1);
		}
	}
}

/* The same through TC without metadata: same verdicts, same reasons. */
static void test_tc_without_metadata_decides_alike(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct bf_in in = {.pkt = rows[i].pkt};
		uint32_t reason = rows[i].reason;
		struct bf_out out;

		if (reason == DP_R_XDP_PASS)
			reason = DP_R_PASS_NOT_OURS;
		if (reason == DP_R_FORWARD_CHOSEN)
			reason = DP_R_FORWARDED;
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, reason, rows[i].name);
		assert_int_equal(out.retval, reason == DP_R_PASS_NOT_OURS ? (uint32_t)-1
					     : reason == DP_R_FORWARDED	  ? 7u
									  : 2u);
	}
}

static uint32_t chosen_row(struct bf *b, const struct pkt_spec *pkt)
{
	struct bf_in in = {.pkt = *pkt};
	struct bf_out out;
	struct dp_verdict v;

	bf_run(b, BF_XDP, &in, &out);
	assert_int_equal(out.meta_len, sizeof(v));
	memcpy(&v, out.meta, sizeof(v));
	return v.row;
}

static uint32_t row_in_c(const struct pkt_spec *p, uint32_t svc, uint8_t policy)
{
	struct dp_self self = bf_self();
	uint8_t src[16] __attribute__((aligned(8))), dst[16] __attribute__((aligned(8)));

	bf_addr(p->src, src);
	bf_addr(p->dst, dst);
	return bf_row_of(svc) +
	       dp_row_pick((uint32_t)dp_flow_hash(self.seed, policy, strchr(p->src, ':') ? 6 : 4,
						  src, dst, htons(p->sport), htons(p->dport),
						  p->l4_proto),
			   251);
}

static void test_row_when_compared_with_c_then_same(void **state)
{
	struct bf *b = *state;
	struct pkt_spec p4 = {C4, .dst = "192.0.2.10", .dport = 53, UDP};
	struct pkt_spec p6 = {C6, .dst = "2001:db8::10", .dport = 53, TCP};
	uint32_t first = 0, differ = 0;

	bf_need(b);
	for (uint16_t port = 1000; port < 1064; port++) {
		uint32_t row;

		p4.sport = p6.sport = port;
		row = chosen_row(b, &p4);
		assert_int_equal(row, row_in_c(&p4, BF_SVC_EXACT4, DP_HASH_5TUPLE));
		assert_int_equal(chosen_row(b, &p6), row_in_c(&p6, BF_SVC_EXACT6, DP_HASH_5TUPLE));
		differ += row != first;
		first = row;
	}
	assert_in_range(differ, 50, 64);
}

static void set_policy(struct bf *b, uint32_t svc_idx, uint8_t policy)
{
	struct dp_svc svc;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_svc"), &svc_idx, &svc), 0);
	svc.hash = policy;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_svc"), &svc_idx, &svc, BPF_ANY), 0);
}

static void test_row_when_policy_source_then_ports_do_not_matter(void **state)
{
	struct bf *b = *state;
	struct pkt_spec p = {C4, .dst = "192.0.2.10", .dport = 53, UDP};
	uint32_t row;

	bf_need(b);
	set_policy(b, BF_SVC_EXACT4, DP_HASH_SOURCE);
	row = row_in_c(&p, BF_SVC_EXACT4, DP_HASH_SOURCE);
	for (p.sport = 1000; p.sport < 1016; p.sport++)
		assert_int_equal(chosen_row(b, &p), row);
}

static void test_row_when_policy_packet_then_one_flow_spreads(void **state)
{
	struct bf *b = *state;
	struct pkt_spec p = {C4, .dst = "192.0.2.10", .dport = 53, UDP};
	uint32_t row, differ = 0;

	bf_need(b);
	set_policy(b, BF_SVC_EXACT4, DP_HASH_PACKET);
	row = chosen_row(b, &p);
	for (int i = 0; i < 32; i++)
		differ += chosen_row(b, &p) != row;
	assert_in_range(differ, 16, 32);
}

static void test_owner_when_dead_then_substitute_row_and_spread(void **state)
{
	struct bf *b = *state;
	struct pkt_spec p = {C4, .dst = "192.0.2.10", .dport = 53, UDP};
	uint32_t hit = row_in_c(&p, BF_SVC_EXACT4, DP_HASH_5TUPLE),
		 rel = hit - bf_row_of(BF_SVC_EXACT4);

	bf_need(b);
	/* Half of the rows belong to another backend; the owner of the flow's row dies. */
	for (uint32_t r = 0; r < 251; r++)
		bf_set_row(b, bf_row_of(BF_SVC_EXACT4) + r, BF_SVC_RANGE4);
	bf_set_row(b, hit, BF_SVC_EXACT4);
	bf_set_backend(b, BF_SVC_EXACT4, DP_BE_DEAD, BF_NODE_V4);
	assert_int_equal(chosen_row(b, &p), bf_row_of(BF_SVC_EXACT4) + dp_row_subst(rel, 1, 251));
	/* The first substitute is dead too, by its own node's death. */
	bf_set_row(b, bf_row_of(BF_SVC_EXACT4) + dp_row_subst(rel, 1, 251), BF_SVC_NOADDR4);
	bf_set_node_state(b, BF_NODE_NO_ADDR, DP_NODE_DOWN);
	assert_int_equal(chosen_row(b, &p), bf_row_of(BF_SVC_EXACT4) + dp_row_subst(rel, 2, 251));
}

static void expect_drop(struct bf *b, const struct pkt_spec *p, uint32_t reason)
{
	struct bf_in in = {.pkt = *p};
	struct bf_out out;

	bf_run(b, BF_XDP, &in, &out);
	assert_int_equal(out.retval, XDP_DROP_);
	bf_expect_reason(b, reason, "drop");
}

static void test_owner_when_all_dead_then_no_backend(void **state)
{
	struct bf *b = *state;
	struct pkt_spec p = {C6, .dst = "2001:db8::10", .dport = 53, TCP};

	bf_need(b);
	bf_set_backend(b, BF_SVC_EXACT6, DP_BE_DEAD, BF_NODE_V4);
	expect_drop(b, &p, DP_R_NO_BACKEND);
	bf_set_backend(b, BF_SVC_EXACT6, DP_BE_UP, BF_NODE_V4);
	bf_set_node_state(b, BF_NODE_V4, DP_NODE_DOWN);
	expect_drop(b, &p, DP_R_NO_BACKEND);
	bf_set_backend(b, BF_SVC_EXACT6, DP_BE_UP, 0);
	expect_drop(b, &p, DP_R_NO_BACKEND);
	bf_set_backend(b, BF_SVC_EXACT6, DP_BE_UP, 0xffffff);
	expect_drop(b, &p, DP_R_NO_BACKEND);
}

static void test_node_when_not_ready_then_only_vips_are_dropped(void **state)
{
	struct bf *b = *state;
	struct pkt_spec vip = {C4, .dst = "192.0.2.10", .dport = 53, UDP};
	struct bf_in other = {.pkt = {C4, .dst = "203.0.113.1", .dport = 53, UDP}};
	struct dp_self self = bf_self();
	struct bf_out out;

	bf_need(b);
	self.ready = 0;
	bf_set_self(b, &self);
	expect_drop(b, &vip, DP_R_NOT_READY);
	bf_run(b, BF_XDP, &other, &out);
	assert_int_equal(out.retval, XDP_PASS_);
	bf_expect_reason(b, DP_R_XDP_PASS, "not ours");
}

/* Cut anywhere behind the IPv6 header (the test run takes no less), any number of extensions: one reason each. */
static void test_xdp_when_cut_anywhere_then_one_reason_each(void **state)
{
	struct bf *b = *state;
	uint64_t total = 0;
	uint32_t rnd = 12345, runs = 0;

	bf_need(b);
	for (int i = 0; i < 400; i++) {
		struct bf_in in = {.pkt = {C6, .dst = "2001:db8::10", .dport = 53, TCP,
					   .payload = 60, .dest_options = 2}};
		struct bf_out out;

		rnd = rnd * 1103515245u + 12345u;
		in.pkt.dest_options = (uint8_t)(rnd >> 8) % 8;
		in.pkt.cut = (uint16_t)((rnd >> 16) % (80u + in.pkt.dest_options * 8u));
		bf_run(b, i & 1 ? BF_XDP : BF_PUB_IN, &in, &out);
		runs++;
	}
	for (uint32_t r = 0; r < DP_REASON_COUNT; r++)
		total += bf_reason(b, r);
	assert_int_equal(total, runs);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, bf_setup)
	const struct CMUnitTest tests[] = {
		T(test_xdp_rows),
		T(test_tc_without_metadata_decides_alike),
		T(test_row_when_compared_with_c_then_same),
		T(test_row_when_policy_source_then_ports_do_not_matter),
		T(test_row_when_policy_packet_then_one_flow_spreads),
		T(test_owner_when_dead_then_substitute_row_and_spread),
		T(test_owner_when_all_dead_then_no_backend),
		T(test_node_when_not_ready_then_only_vips_are_dropped),
		T(test_xdp_when_cut_anywhere_then_one_reason_each),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
