/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_choose.h - the edge's decision, the same code in XDP and TC: packet -> service -> row -> usable owner.
 *
 * One hash lookup (VIP), the rest are arrays; no clock, no flow state (docs/adr/0002).
 */
#ifndef DP_CHOOSE_H
#define DP_CHOOSE_H

#include "bpf/dp_count.h"
#include "bpf/dp_parse.h"

struct dp_choice {
	__u64 backend_word;
	__u32 row; /* absolute */
	__u32 svc_idx;
	__u32 backend_idx;
	__u32 pad;
};

static __always_inline struct dp_self *dp_self_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dp_self, &zero);
}

/* NULL: this address is no VIP. Protocols other than TCP and UDP ask with 0. */
static __always_inline struct dp_vip *dp_vip_get(const void *addr, __u8 l4_proto)
{
	struct dp_vip_key key __attribute__((aligned(8))) = {};

	dp_addr_copy(key.addr, addr);
	key.l4_proto = l4_proto;
	return bpf_map_lookup_elem(&dp_vip, &key);
}

/* Service index on this port, 0 = none. */
static __always_inline __u32 dp_svc_on_port(const struct dp_vip *vip, __be16 port_be)
{
	__u32 port = bpf_ntohs(port_be), idx, *page, *svc_idx;

	if (!vip->dir_idx)
		return 0;
	idx = vip->dir_idx * DP_PORTS_PER_PAGE + (port >> 8);
	page = bpf_map_lookup_elem(&dp_portdir, &idx);
	if (!page || !*page)
		return 0;
	idx = *page * DP_PORTS_PER_PAGE + (port & 0xff);
	svc_idx = bpf_map_lookup_elem(&dp_portpage, &idx);
	return svc_idx ? *svc_idx : 0;
}

static __always_inline struct dp_node *dp_node_get(__u32 node_idx)
{
	return node_idx ? bpf_map_lookup_elem(&dp_node, &node_idx) : 0;
}

/* Fills the backend half of *c from row `row` and says whether its owner can take packets now. */
static __always_inline int dp_row_usable(__u32 row, struct dp_choice *c)
{
	struct dp_row *r = bpf_map_lookup_elem(&dp_rows, &row);
	struct dp_node *node;
	__u64 *word;

	if (!r)
		return 0;
	c->row = row;
	c->backend_idx = *(volatile __u32 *)&r->owner;
	if (!c->backend_idx)
		return 0;
	word = bpf_map_lookup_elem(&dp_backend, &c->backend_idx);
	if (!word)
		return 0;
	c->backend_word = *(volatile __u64 *)word;
	if (DP_BE_STATE(c->backend_word) != DP_BE_UP)
		return 0;
	node = dp_node_get(DP_BE_NODE(c->backend_word));
	return node && *(volatile __u32 *)&node->state == DP_NODE_UP;
}

static __always_inline __u32 dp_pick(const struct dp_pkt *p, const struct dp_self *self,
				     struct dp_choice *c)
{
	struct dp_svc *svc = bpf_map_lookup_elem(&dp_svc, &c->svc_idx);
	__u32 rows, first, hash;
	__u64 table;

	if (!svc)
		return DP_R_NO_SERVICE;
	table = *(volatile __u64 *)&svc->table;
	rows = dp_class_rows(DP_TABLE_CLASS(table));
	if (!(table & DP_TABLE_VALID) || !rows)
		return DP_R_NO_BACKEND;
	if (svc->hash == DP_HASH_PACKET)
		hash = bpf_get_prandom_u32();
	else
		hash = (__u32)dp_flow_hash(self->seed, svc->hash, p->family, p->src, p->dst,
					   p->sport_be, p->dport_be, p->l4_proto);
	first = dp_row_pick(hash, rows);
	if (dp_row_usable(DP_TABLE_OFFSET(table) + first, c))
		return DP_R_FORWARD_CHOSEN;
	for (__u32 try = 1; try <= DP_SUBST_TRIES; try++)
		if (dp_row_usable(DP_TABLE_OFFSET(table) + dp_row_subst(first, try, rows), c))
			return DP_R_FORWARD_CHOSEN;
	return DP_R_NO_BACKEND;
}

/* PASS_NOT_OURS, FORWARD_CHOSEN with *c filled in, or the reason to drop. parse_rc is what the parser said:
 * a malformed packet is dropped only if it is for a VIP. */
static __always_inline __u32 dp_choose(const struct dp_pkt *p, int parse_rc, struct dp_choice *c)
{
	struct dp_self *self;
	struct dp_vip *vip;
	__u8 l4_proto = 0;

	if (!p->has_addrs)
		return DP_R_PASS_NOT_OURS;
	if (!parse_rc && !p->frag && (p->l4_proto == IPPROTO_TCP || p->l4_proto == IPPROTO_UDP))
		l4_proto = p->l4_proto;
	vip = dp_vip_get(p->dst, l4_proto);
	if (!vip)
		return DP_R_PASS_NOT_OURS;
	if (parse_rc)
		return (__u32)parse_rc;
	if (p->frag)
		return DP_R_FRAGMENT;
	if (!l4_proto)
		return DP_R_PROTO_UNSUPPORTED;
	self = dp_self_get();
	if (!self || !self->ready)
		return DP_R_NOT_READY;
	c->svc_idx = dp_svc_on_port(vip, p->dport_be);
	if (!c->svc_idx)
		return DP_R_NO_SERVICE;
	return dp_pick(p, self, c);
}

#endif
