/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_frag.h - fragments: the first one, which has the ports, is judged like any packet and records what was decided;
 * the others go the same way. The fragment is in dp_work.pkt.
 *
 * Places    enum dp_frag_where: an edge and a worker, inwards and outwards; one entry each, for a machine may be both
 * Key       IPv4: addresses, protocol, id; IPv6: addresses and id (RFC 8200: only the first one's next header counts)
 * Bounds    DP_FRAG_FOLLOWERS_MAX followers of one datagram; an entry that DP_FRAG_IDLE_S passed by is none; the tables are
 *           LRUs that only fragments touch. What comes before its first fragment is dropped, nothing is held back
 * Refused   later fragments that reach into the first one (it would be rewritten behind our back), or beyond 64 KB
 * Checksum  the transport's lies in the first fragment alone and covers all: the change of address and ports is
 *           carried into it there, and is right for the whole datagram
 */
#ifndef DP_FRAG_H
#define DP_FRAG_H

#include "bpf/dp_second.h"

/* The largest datagram over the smallest path of IPv6 (1,280 bytes) has 53. */
#define DP_FRAG_FOLLOWERS_MAX 64u
/* Since the last fragment. A sender's ids of 16 bits may come round in seconds; fragments follow within milliseconds. */
#define DP_FRAG_IDLE_S 5u
#define DP_DATAGRAM_MAX 65535u

static __always_inline void dp_frag_key_set(struct dp_work *w, __u32 where)
{
	__builtin_memset(&w->frag_key, 0, sizeof(w->frag_key));
	dp_addr_copy(w->frag_key.src, w->pkt.src);
	dp_addr_copy(w->frag_key.dst, w->pkt.dst);
	w->frag_key.id = w->pkt.frag_id;
	w->frag_key.l4_proto = w->pkt.family == 4 ? w->pkt.l4_proto : 0;
	w->frag_key.where = (__u8)where;
}

/* Bytes of the datagram that are in this fragment; 0: its headers fill it, or more than that. */
static __always_inline __u32 dp_frag_bytes(const struct dp_pkt *p)
{
	__u32 head = p->frag_head4 * 4u;

	return p->l3_bytes > head ? p->l3_bytes - head : 0;
}

/* Records dp_work.frag for the first fragment. 0, or negative: it could not be stored. */
static __always_inline int dp_frag_put(struct dp_work *w, __u32 where)
{
	dp_frag_key_set(w, where);
	w->frag.seen_s = dp_now_s();
	w->frag.first_bytes = (__u16)dp_frag_bytes(&w->pkt);
	if (where == DP_FRAG_WORKER_OUT)
		return bpf_map_update_elem(&dp_frag_out, &w->frag_key, &w->frag, BPF_ANY) ? -1 : 0;
	return bpf_map_update_elem(&dp_frag, &w->frag_key, &w->frag, BPF_ANY) ? -1 : 0;
}

/* What was recorded for the datagram of a later fragment: 0 with *ret_frag, or the reason to drop it. */
static __always_inline __u32 dp_frag_follow(struct dp_work *w, __u32 where,
					    struct dp_frag **ret_frag)
{
	const struct dp_pkt *p = &w->pkt;
	__u32 now_s = dp_now_s();
	struct dp_frag *f;

	dp_frag_key_set(w, where);
	if (where == DP_FRAG_WORKER_OUT)
		f = bpf_map_lookup_elem(&dp_frag_out, &w->frag_key);
	else
		f = bpf_map_lookup_elem(&dp_frag, &w->frag_key);
	if (!f || now_s - f->seen_s > DP_FRAG_IDLE_S)
		return DP_R_FRAG_NO_FIRST;
	if (!dp_frag_bytes(p) || p->frag_at < f->first_bytes ||
	    p->frag_at + dp_frag_bytes(p) > DP_DATAGRAM_MAX)
		return DP_R_BAD_PACKET;
	if (__sync_fetch_and_add(&f->count, 1) >= DP_FRAG_FOLLOWERS_MAX)
		return DP_R_FRAG_TOO_MANY;
	f->seen_s = now_s;
	*ret_frag = f;
	/* What protocol a later fragment of IPv6 names says nothing: no step from here on may go by it. */
	if (p->family == 6)
		w->pkt.l4_proto = 0;
	return 0;
}

/* Client -> edge, a first fragment whose backend is in dp_work.choice: remember it. Not 0: it can't be served. The backend
 * is recorded, not the row: the row may be another service's before the last fragment is here. */
__noinline int dp_frag_edge_note(void)
{
	struct dp_work *w = dp_work_get();

	if (!w)
		return 1;
	__builtin_memset(&w->frag, 0, sizeof(w->frag));
	w->frag.kind = DP_VERDICT_BACKEND;
	w->frag.row = w->choice.backend_idx;
	w->frag.svc_idx = w->choice.svc_idx;
	return dp_frag_put(w, DP_FRAG_EDGE_IN) ? 1 : 0;
}

/* DP_IS_BACKEND with dp_work.choice filled in, or the reason to drop it. */
static __always_inline int dp_frag_edge_in(void)
{
	struct dp_work *w = dp_work_get();
	struct dp_frag *f = 0;
	__u32 reason;

	/* A first one that comes here is neither TCP nor UDP. */
	if (!w || w->pkt.frag != DP_FRAG_LATER)
		return DP_R_FRAGMENT;
	reason = dp_frag_follow(w, DP_FRAG_EDGE_IN, &f);
	if (reason || !f)
		return (int)reason;
	w->choice.svc_idx = f->svc_idx;
	w->choice.row = 0;
	w->choice.prev_idx = 0;
	return dp_backend_usable(f->row, &w->choice) ? DP_IS_BACKEND : DP_R_NO_BACKEND;
}

/* Client -> edge, a later fragment in dp_work.pkt: DP_IS_BACKEND with dp_work.choice filled in, or the end. */
__noinline int dp_frag_edge_in_xdp(struct xdp_md *ctx)
{
	DP_USES(ctx);
	int rc = dp_frag_edge_in();

	return rc < 0 ? rc : DP_OUT((__u32)rc, XDP_DROP);
}

__noinline int dp_frag_edge_in_tc(struct __sk_buff *skb)
{
	DP_USES(skb);
	int rc = dp_frag_edge_in();

	return rc < 0 ? rc : DP_OUT((__u32)rc, TC_ACT_SHOT);
}

/* Edge -> worker, a fragment in dp_work.pkt, first or later; before the tunnel comes off. DP_GO: dp_work.hop is filled in.
 * A first one has been through the flow table when this is called (dp_work.hop). */
__noinline int dp_frag_worker_in(struct __sk_buff *skb)
{
	DP_USES(skb);
	struct dp_work *w = dp_work_get();
	struct dp_frag *f = 0;
	struct dp_local *l;
	__u32 reason;

	if (!w)
		return DP_OUT(DP_R_FRAGMENT, TC_ACT_SHOT);
	if (w->pkt.frag == DP_FRAG_FIRST) {
		__builtin_memset(&w->frag, 0, sizeof(w->frag));
		w->frag.slot = w->hop.slot;
		w->frag.node_idx = w->hop.node_idx;
		return dp_frag_put(w, DP_FRAG_WORKER_IN) ? DP_OUT(DP_R_FRAGMENT, TC_ACT_SHOT)
							 : DP_GO;
	}
	reason = dp_frag_follow(w, DP_FRAG_WORKER_IN, &f);
	if (reason || !f)
		return DP_OUT(reason, TC_ACT_SHOT);
	if (f->node_idx)
		return dp_second_frag(w, f->node_idx);
	/* A slot rests for minutes before it is another backend's. */
	l = dp_local_get(f->slot);
	if (!l || !l->live)
		return DP_OUT(DP_R_TOKEN_UNKNOWN, TC_ACT_SHOT);
	w->hop.slot = f->slot;
	return DP_GO;
}

/* Backend ->, a first fragment whose way back is in dp_work.back: remember it. Not 0: drop it. */
__noinline int dp_frag_worker_note(void)
{
	struct dp_work *w = dp_work_get();

	if (!w)
		return 1;
	__builtin_memset(&w->frag, 0, sizeof(w->frag));
	dp_addr_copy(w->frag.vip, w->back.vip);
	w->frag.node_idx = w->back.edge_idx;
	w->frag.slot = w->back.slot;
	return dp_frag_put(w, DP_FRAG_WORKER_OUT) ? 1 : 0;
}

/* Backend or this machine ->, a first fragment that is no reply: nor is what follows it, though it bear the id of an
 * earlier reply. DP_IS_PASS. */
__noinline int dp_frag_worker_other(void)
{
	struct dp_work *w = dp_work_get();

	if (w) {
		dp_frag_key_set(w, DP_FRAG_WORKER_OUT);
		bpf_map_delete_elem(&dp_frag_out, &w->frag_key);
	}
	return DP_IS_PASS;
}

/* Backend ->, a later fragment in dp_work.pkt: DP_GO with dp_work.back filled in; DP_IS_PASS: not of a reply that we know;
 * or the end. */
__noinline int dp_frag_worker_out(struct __sk_buff *skb)
{
	DP_USES(skb);
	struct dp_work *w = dp_work_get();
	struct dp_frag *f = 0;
	__u32 reason;

	if (!w)
		return DP_OUT(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
	reason = dp_frag_follow(w, DP_FRAG_WORKER_OUT, &f);
	if (reason == DP_R_FRAG_NO_FIRST)
		return DP_IS_PASS;
	if (reason || !f)
		return DP_OUT(reason, TC_ACT_SHOT);
	if (f->drop)
		return DP_OUT(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
	dp_addr_copy(w->back.vip, f->vip);
	w->back.vport_be = 0;
	w->back.cport_be = 0;
	w->back.edge_idx = f->node_idx;
	w->back.slot = f->slot;
	return DP_GO;
}

/* Worker -> edge -> client, a fragment in dp_work.pkt; a first one is of a service of ours. DP_GO: send it out. Two workers
 * may use one id towards one client at once; the later datagram then takes the place of the earlier one. */
__noinline int dp_frag_edge_out(struct __sk_buff *skb)
{
	DP_USES(skb);
	struct dp_work *w = dp_work_get();
	struct dp_frag *f = 0;
	__u32 reason;

	if (!w)
		return DP_OUT(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
	if (w->pkt.frag == DP_FRAG_FIRST) {
		if (!dp_is_tcp_udp(&w->pkt))
			return DP_OUT(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
		__builtin_memset(&w->frag, 0, sizeof(w->frag));
		w->frag.node_idx = w->tunnel.from_idx;
		return dp_frag_put(w, DP_FRAG_EDGE_OUT) ? DP_OUT(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT)
							: DP_GO;
	}
	reason = dp_frag_follow(w, DP_FRAG_EDGE_OUT, &f);
	if (reason || !f)
		return DP_OUT(reason, TC_ACT_SHOT);
	if (f->node_idx != w->tunnel.from_idx)
		return DP_OUT(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
	return DP_GO;
}

/* The reason that a packet is counted under where it is sent on: a later fragment has its own. */
static __always_inline __u32 dp_frag_reason(const struct dp_pkt *p, __u32 reason)
{
	return p->frag == DP_FRAG_LATER ? DP_R_FRAG_FOLLOWED : reason;
}

#endif
