/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_choose.h - the edge's decision, the same code in XDP and TC: packet -> VIP -> service -> row -> usable owner.
 *
 * Arrays only, for an ordinary packet: no hash table, no clock, no flow state (docs/adr/0002). What is not ordinary
 * (ICMP, later fragments, services with limits or connection ids) goes through functions of its own.
 */
#ifndef DP_CHOOSE_H
#define DP_CHOOSE_H

#include "bpf/dp_count.h"

/* 0: this address is no VIP. */
static __always_inline struct dp_vip *dp_vip_find(const void *addr)
{
	__u32 slot = dp_vip_slot(addr), idx, *known = bpf_map_lookup_elem(&dp_vipslot, &slot);
	struct dp_vip *vip;

	if (!known || !*known)
		return 0;
	idx = *known;
	if (idx == DP_VIP_SLOT_ASK) {
		struct dp_addr_key key __attribute__((aligned(8)));

		dp_addr_copy(key.addr, addr);
		known = bpf_map_lookup_elem(&dp_vipmap, &key);
		if (!known)
			return 0;
		idx = *known;
	}
	vip = bpf_map_lookup_elem(&dp_vip, &idx);
	return vip && dp_addr_same(vip->addr, addr) ? vip : 0;
}

/* Service index on this port, 0 = none. */
static __always_inline __u32 dp_svc_on_port(const struct dp_vip *vip, __u8 l4_proto, __be16 port_be)
{
	__u32 port = bpf_ntohs(port_be), idx, *page, *svc_idx;
	__u32 dir = l4_proto == IPPROTO_TCP ? vip->dir_tcp : vip->dir_udp;

	if (!dir || (l4_proto != IPPROTO_TCP && l4_proto != IPPROTO_UDP))
		return 0;
	idx = dir * DP_PORTS_PER_PAGE + (port >> 8);
	page = bpf_map_lookup_elem(&dp_portdir, &idx);
	if (!page || !*page)
		return 0;
	idx = *page * DP_PORTS_PER_PAGE + (port & 0xff);
	svc_idx = bpf_map_lookup_elem(&dp_portpage, &idx);
	return svc_idx ? *svc_idx : 0;
}

/* Can this backend take packets now? Fills the backend half of *c. */
static __always_inline int dp_backend_usable(__u32 backend_idx, struct dp_choice *c)
{
	struct dp_node *node;
	__u64 *word;

	c->backend_idx = backend_idx;
	if (!backend_idx)
		return 0;
	word = bpf_map_lookup_elem(&dp_backend, &backend_idx);
	if (!word)
		return 0;
	c->backend_word = *(volatile __u64 *)word;
	if (DP_BE_STATE(c->backend_word) != DP_BE_UP)
		return 0;
	node = dp_node_get(DP_BE_NODE(c->backend_word));
	return node && *(volatile __u32 *)&node->state == DP_NODE_UP;
}

/* The same for the owner of a row. */
static __always_inline int dp_row_usable(__u32 row, struct dp_choice *c)
{
	struct dp_row *r = bpf_map_lookup_elem(&dp_rows, &row);

	if (!r)
		return 0;
	c->row = row;
	c->prev_idx = *(volatile __u32 *)&r->prev;
	return dp_backend_usable(*(volatile __u32 *)&r->owner, c);
}

/* Until the table is rebuilt, the substitute of a suspect owner asks it as it asks a previous one: its flows are there, and in no
 * other row's past. c: as dp_row_usable() left it. */
static __always_inline int dp_owner_is_suspect(const struct dp_choice *c)
{
	struct dp_node *node;

	if (!c->backend_idx || DP_BE_STATE(c->backend_word) != DP_BE_UP)
		return 0;
	node = dp_node_get(DP_BE_NODE(c->backend_word));
	return node && *(volatile __u32 *)&node->state == DP_NODE_SUSPECT;
}

/* The row of a flow hash, or of its substitute: DP_IS_ROW with *c filled in, or the reason to drop. */
static __always_inline int dp_pick_row(const struct dp_svc *svc, __u32 hash, struct dp_choice *c)
{
	__u64 table = *(volatile __u64 *)&svc->table;
	__u32 rows = dp_class_rows(DP_TABLE_CLASS(table)), first, prev_idx;

	if (!(table & DP_TABLE_VALID) || !rows)
		return DP_R_NO_BACKEND;
	first = dp_row_pick(hash, rows);
	if (dp_row_usable(DP_TABLE_OFFSET(table) + first, c))
		return DP_IS_ROW;
	prev_idx = dp_owner_is_suspect(c) ? c->backend_idx : 0;
	for (__u32 try = 1; try <= DP_SUBST_TRIES; try++) {
		if (!dp_row_usable(DP_TABLE_OFFSET(table) + dp_row_subst(first, try, rows), c))
			continue;
		if (prev_idx)
			c->prev_idx = prev_idx;
		return DP_IS_ROW;
	}
	return DP_R_NO_BACKEND;
}

/* By the packet's own addresses and ports, as they stand. */
static __always_inline int dp_pick(const struct dp_pkt *p, const struct dp_svc *svc,
				   const struct dp_self *self, struct dp_choice *c)
{
	__u32 hash;

	if (svc->hash == DP_HASH_PACKET)
		hash = bpf_get_prandom_u32();
	else
		hash = (__u32)dp_flow_hash(self->seed, svc->hash, p->family, p->src, p->dst,
					   p->sport_be, p->dport_be, p->l4_proto);
	return dp_pick_row(svc, hash, c);
}

#endif
