/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bpf/second_cells.h - family x protocol x edge's family for the tests of second chances: packets to a service of this
 * node, the tables that matter, and what is expected of a hop. Included by test_second*.c. */
#ifndef SECOND_CELLS_H
#define SECOND_CELLS_H

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"

#define ACT_OK 0u
#define ACT_SHOT 2u
#define ACT_REDIRECT 7u

#define SECOND DP_GRE_F_SECOND
#define FINAL (DP_GRE_F_SECOND | DP_GRE_F_FINAL)
#define NUM(node_idx) ((node_idx)*1000u)

/* Family, protocol, and which of the two other nodes is the edge; the remaining one is the previous owner. */
static const struct cell {
	int family;
	uint8_t proto;
	uint32_t edge, prev;
} cells[] = {
	{4, IPPROTO_UDP, BF_NODE_V4, BF_NODE_V6}, {4, IPPROTO_TCP, BF_NODE_V4, BF_NODE_V6},
	{6, IPPROTO_UDP, BF_NODE_V4, BF_NODE_V6}, {6, IPPROTO_TCP, BF_NODE_V4, BF_NODE_V6},
	{4, IPPROTO_UDP, BF_NODE_V6, BF_NODE_V4}, {4, IPPROTO_TCP, BF_NODE_V6, BF_NODE_V4},
	{6, IPPROTO_UDP, BF_NODE_V6, BF_NODE_V4}, {6, IPPROTO_TCP, BF_NODE_V6, BF_NODE_V4},
};
#define CELLS (sizeof(cells) / sizeof(*cells))
#define FOR_CELLS(c) for (const struct cell *(c) = cells; (c) < cells + CELLS; (c)++)

static inline const char *addr_of(uint32_t node_idx)
{
	return node_idx == BF_NODE_V4 ? "10.99.0.2" : "fd99::3";
}

static inline uint32_t svc_of(const struct cell *c)
{
	return c->family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6;
}

static inline const char *name_of(const struct cell *c)
{
	static char text[64];

	snprintf(text, sizeof(text), "IPv%d, protocol %u, edge %u", c->family, c->proto, c->edge);
	return text;
}

/* A packet to the service on this node, out of `from`'s tunnel. */
static inline struct bf_in packet(const struct cell *c, uint32_t from, uint32_t marks, uint32_t seq)
{
	return (struct bf_in){.pkt = {.src = c->family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				      .dst = c->family == 4 ? "192.0.2.12" : "2001:db8::12",
				      .sport = 40000,
				      .dport = 80,
				      .l4_proto = c->proto,
				      .tcp_flags = 0x10,
				      .payload = 200,
				      .outer_src = addr_of(from),
				      .outer_dst = from == BF_NODE_V4 ? "10.99.0.1" : "fd99::1",
				      .gre_key = DP_GRE_KEY(marks, DP_TOKEN(svc_of(c), BF_USE)),
				      .gre_seq = seq}};
}

static inline struct dp_flow_fwd_key fwd_key(const struct pkt_spec *p)
{
	struct dp_flow_fwd_key k = {};

	bf_addr(p->src, k.client);
	bf_addr(p->dst, k.vip);
	k.cport_be = htons(p->sport);
	k.vport_be = htons(p->dport);
	k.l4_proto = p->l4_proto;
	return k;
}

/* 0 with *f, or -1: no such entry among the unassured. */
static inline int entry(struct bf *b, const struct bf_in *in, struct dp_flow_fwd *f)
{
	struct dp_flow_fwd_key k = fwd_key(&in->pkt);

	return bpf_map_lookup_elem(bf_map(b, "dp_fwd_new"), &k, f);
}

static inline void put_entry(struct bf *b, const struct bf_in *in, const struct dp_flow_fwd *f)
{
	struct dp_flow_fwd_key k = fwd_key(&in->pkt);

	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_fwd_new"), &k, f, BPF_ANY), 0);
}

static inline void drop_flows(struct bf *b)
{
	static const char *const maps[] = {"dp_fwd", "dp_fwd_new", "dp_rev", "dp_rev_new"};
	uint8_t key[40];

	for (size_t i = 0; i < 4; i++)
		while (!bpf_map_get_next_key(bf_map(b, maps[i]), NULL, key))
			assert_int_equal(bpf_map_delete_elem(bf_map(b, maps[i]), key), 0);
}

static inline void set_svc_flags(struct bf *b, uint32_t svc_idx, uint32_t flags)
{
	struct dp_svc svc;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_svc"), &svc_idx, &svc), 0);
	svc.flags = flags;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_svc"), &svc_idx, &svc, BPF_ANY), 0);
}

static inline void set_svc(struct bf *b, uint32_t svc_idx, uint32_t local_slot, uint32_t hop_pps)
{
	struct dp_svc svc;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_svc"), &svc_idx, &svc), 0);
	svc.local_slot = local_slot;
	svc.hop_pps = hop_pps;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_svc"), &svc_idx, &svc, 0), 0);
}

static inline void set_rows(struct bf *b, uint32_t svc_idx, uint32_t owner, uint32_t prev)
{
	struct dp_row row = {.owner = owner, .prev = prev};

	for (uint32_t i = 0; i < 251; i++) {
		uint32_t at = bf_row_of(svc_idx) + i;

		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_rows"), &at, &row, 0), 0);
	}
}

/* Every budget fresh, or spent for this window and the next. */
static inline void set_budget(struct bf *b, uint64_t used)
{
	for (uint32_t i = 0; i < 4096; i++) {
		struct {
			uint64_t window, used;
		} h;

		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_hops"), &i, &h), 0);
		h.used = used;
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_hops"), &i, &h, 0), 0);
	}
}

static inline void expect_here(struct bf *b, const struct bf_in *in, uint32_t reason,
			       const char *where)
{
	struct bf_out out;

	bf_run(b, BF_MESH_IN, in, &out);
	bf_expect_reason(b, reason, where);
	assert_int_equal(out.retval, ACT_REDIRECT);
	assert_string_equal(out.seen.outer_src, "");
	assert_string_equal(out.seen.dst, strchr(in->pkt.dst, ':') ? "2001:db8:1::5" : "10.0.0.5");
	assert_int_equal(out.seen.dport, 8080);
	assert_int_equal(out.seen.payload, in->pkt.payload);
}

static inline void expect_shot(struct bf *b, const struct bf_in *in, uint32_t reason,
			       const char *where)
{
	struct bf_out out;

	bf_run(b, BF_MESH_IN, in, &out);
	bf_expect_reason(b, reason, where);
	assert_int_equal(out.retval, ACT_SHOT);
}

/* It went to node `to`, marked so, entered by `edge`, with this token, otherwise as it was. */
static inline void expect_hop(struct bf *b, enum bf_prog prog, const struct bf_in *in,
			      uint32_t reason, uint32_t to, uint32_t marks, uint32_t edge,
			      uint32_t token)
{
	struct bf_out out;

	bf_run(b, prog, in, &out);
	bf_expect_reason(b, reason, "hop");
	assert_int_equal(out.retval, ACT_REDIRECT);
	assert_int_equal(out.mark, BF_MARK);
	assert_string_equal(out.seen.outer_dst, addr_of(to));
	assert_string_equal(out.seen.outer_src, to == BF_NODE_V4 ? "10.99.0.1" : "fd99::1");
	assert_int_equal(out.seen.gre_flags, 0x3000);
	assert_int_equal(out.seen.gre_seq, NUM(edge));
	assert_int_equal(out.seen.gre_key, DP_GRE_KEY(marks, token));
	assert_string_equal(out.seen.src, in->pkt.src);
	assert_string_equal(out.seen.dst, in->pkt.dst);
	assert_int_equal(out.seen.sport, in->pkt.sport);
	assert_int_equal(out.seen.dport, in->pkt.dport);
	assert_int_equal(out.seen.payload, in->pkt.payload);
	assert_int_equal(out.seen.trailer, 0);
}

static inline void expect_passed_on(struct bf *b, const struct cell *c, const struct bf_in *in)
{
	expect_hop(b, BF_MESH_IN, in, DP_R_PASSED_ON, c->prev, SECOND, c->edge,
		   DP_TOKEN(svc_of(c), BF_USE));
}

static inline int setup(void **state)
{
	struct bf *b = *state;
	int rc = bf_setup(state);

	if (!b->load_rc)
		set_budget(b, 0);
	return rc;
}

#endif
