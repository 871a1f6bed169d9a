/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_meet.h - pointers to long connections, for a client whose path moves to an edge with another table. The packet is in
 * dp_work.pkt, as the client sent it. docs/DATAPATH.md and docs/adr/0015 have the whole way.
 *
 * Left      by the worker that has the connection, at the edge that dp_meet names for it: where DP_MEET_S seconds, counted
 *           from a moment of the connection's own, end between two of its packets. So nothing is kept of when it was done
 *           last, and a connection that is over sooner seldom leaves one. What carries it is edged
 * Kept      in a table of their own, written by nothing else: no flood of clients touches it, and no pointer touches a flow
 * Asked for by a worker without the flow, once, with DP_GRE_F_ASK (dp_second.h)
 * Believed  of known nodes, about themselves. One that lies gets packets of connections that have moved, and has no flow for
 *           them: they are adopted or reset as they were without it
 */
#ifndef DP_MEET_H
#define DP_MEET_H

#include "bpf/dp_encap.h"

#define DP_MEET_SHIFT 4 /* seconds, as a power of two */
#define DP_MEET_S (1u << DP_MEET_SHIFT)
#define DP_POINTER_S 7440	 /* as long as an open TCP connection may be silent */
#define DP_RATE_POINTER_MAX 1340 /* about 20,000 a second and CPU */

/* Is this a packet of a connection that may have a pointer? */
static __always_inline int dp_meet_is_for(const struct dp_work *w, __u32 svc_idx)
{
	struct dp_svc *svc;

	if (w->pkt.l4_proto != IPPROTO_TCP || w->pkt.frag || (w->pkt.tcp_flags & DP_TCP_SYN))
		return 0;
	svc = dp_svc_get(svc_idx);
	return svc && (svc->flags & DP_SVC_MOVES);
}

/* The node that keeps it, 0 = none. */
static __always_inline __u32 dp_meet_node(const struct dp_work *w)
{
	struct dp_self *self = dp_self_get();
	__u32 row, *node_idx;

	if (!self)
		return 0;
	row = dp_meet_row(dp_flow_hash(self->seed, DP_HASH_5TUPLE, w->pkt.family, w->pkt.src,
				       w->pkt.dst, w->pkt.sport_be, w->pkt.dport_be,
				       w->pkt.l4_proto));
	node_idx = bpf_map_lookup_elem(&dp_meet, &row);
	return node_idx ? *(volatile __u32 *)node_idx : 0;
}

/* Who has dp_work.fwd_key, as far as is known here; 0 = not known. */
static __always_inline __u32 dp_meet_find(const struct dp_work *w)
{
	struct dp_pointer *p = bpf_map_lookup_elem(&dp_pointer, &w->fwd_key);

	if (!p || (__s32)(dp_now_s() - p->seen_s) > DP_POINTER_S)
		return 0;
	return p->node_idx;
}

/* Is it time, at a packet at now_s, the last one before it at seen_s? */
static __always_inline int dp_meet_is_due(const struct dp_work *w, __u32 seen_s, __u32 now_s)
{
	__u32 own_s = bpf_ntohs(w->pkt.sport_be) % DP_MEET_S;

	return (seen_s + own_s) >> DP_MEET_SHIFT != (now_s + own_s) >> DP_MEET_SHIFT;
}

/* This worker has the connection dp_work.fwd_key. It is asked for at its own keeper: that one looks into its flows first. */
__noinline int dp_meet_leave(void)
{
	struct dp_work *w = dp_work_get();
	struct dp_self *self = dp_self_get();
	struct dp_leave *l;
	__u32 node_idx;

	if (!w || !self)
		return 0;
	node_idx = dp_meet_node(w);
	if (!node_idx || node_idx == self->node_idx)
		return 0;
	l = bpf_ringbuf_reserve(&dp_leave, sizeof(*l), 0);
	if (!l)
		return 0; /* in DP_MEET_S, then */
	l->key = w->fwd_key;
	l->node_idx = node_idx;
	l->pad = 0;
	bpf_ringbuf_submit(l, 0);
	return 1;
}

static __always_inline int dp_is_pointer(struct __sk_buff *skb, const struct dp_pkt *p)
{
	const __u32 bytes = sizeof(struct udphdr) + sizeof(struct dp_pointer_msg);
	__be32 magic_be;

	if (p->l4_proto != IPPROTO_UDP || p->frag || p->dport_be != bpf_htons(DP_PING_PORT) ||
	    p->l3_off + p->l3_bytes < p->l4_off + bytes)
		return 0;
	return !bpf_skb_load_bytes(skb, p->l4_off + sizeof(struct udphdr), &magic_be,
				   sizeof(magic_be)) &&
	       magic_be == bpf_htonl(DP_POINTER_MAGIC_BE);
}

/* A pointer for us to keep. How the program ends. */
__noinline int dp_meet_note(struct __sk_buff *skb)
{
	const int refused = DP_OUT(DP_R_POINTER_REFUSED, TC_ACT_SHOT);
	struct dp_addr_key from __attribute__((aligned(8)));
	struct dp_work *w = dp_work_get();
	struct dp_pointer p = {};
	__u32 *node_idx;

	if (!w)
		return refused;
	dp_addr_copy(from.addr, w->pkt.src);
	node_idx = bpf_map_lookup_elem(&dp_known, &from);
	if (!node_idx || !dp_rate_take(DP_RATE_POINTER, DP_RATE_POINTER_MAX))
		return refused;
	p.node_idx = *node_idx;
	p.seen_s = dp_now_s();
	if (bpf_skb_load_bytes(skb,
			       w->pkt.l4_off + sizeof(struct udphdr) +
				       offsetof(struct dp_pointer_msg, key),
			       &w->fwd_key, sizeof(w->fwd_key)) ||
	    bpf_map_update_elem(&dp_pointer, &w->fwd_key, &p, BPF_ANY))
		return refused;
	return DP_OUT(DP_R_POINTER_NOTED, TC_ACT_SHOT);
}

#endif
