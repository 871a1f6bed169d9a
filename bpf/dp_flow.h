/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_flow.h - the worker's flow table: packet -> backend on the way in, reply -> VIP and edge on the way out.
 *
 * Keys      forward: what the client sent; reverse: what the application answers (dp_abi.h). Two flows with one
 *           reverse key get different client ports as the application sees them
 * Assured   the application has answered: moved from dp_fwd_new/dp_rev_new to dp_fwd/dp_rev. A SYN-ACK or a reset is
 *           the kernel's answer, not the application's, and moves nothing
 * Invariant an entry in force names a slot that is live with the same use count; else it is deleted when seen
 */
#ifndef DP_FLOW_H
#define DP_FLOW_H

#include "bpf/dp_second.h"

#define DP_PORT_TRIES 4
#define DP_PORT_LO 1024u

static __always_inline void dp_fwd_key(const struct dp_pkt *p, struct dp_flow_fwd_key *k)
{
	__builtin_memset(k, 0, sizeof(*k));
	dp_addr_copy(k->client, p->src);
	dp_addr_copy(k->vip, p->dst);
	k->cport_be = p->sport_be;
	k->vport_be = p->dport_be;
	k->l4_proto = p->l4_proto;
}

static __always_inline void dp_rev_key(const struct dp_pkt *p, const struct dp_local *l,
				       const struct dp_hop *hop, struct dp_flow_rev_key *k)
{
	__builtin_memset(k, 0, sizeof(*k));
	dp_addr_copy(k->client, p->src);
	if (l->ifindex)
		dp_addr_copy(k->local, l->addr);
	k->cport_be = hop->cport_be;
	k->bport_be = hop->bport_be;
	k->l4_proto = p->l4_proto;
}

/* The backend's port for this packet: ranges keep their distance from the lowest port. */
static __always_inline __be16 dp_backend_port(const struct dp_pkt *p, const struct dp_local *l)
{
	struct dp_svc *svc = dp_svc_get(l->svc_idx);
	__u32 base = svc ? svc->port_lo : bpf_ntohs(p->dport_be);

	return bpf_htons((__u16)(l->port + bpf_ntohs(p->dport_be) - base));
}

static __always_inline int dp_rev_is_of(const struct dp_flow_rev *r, const struct dp_pkt *p)
{
	return dp_addr_same(r->vip, p->dst) && r->vport_be == p->dport_be &&
	       r->cport_be == p->sport_be;
}

static __always_inline void dp_rev_fill(struct dp_flow_rev *r, const struct dp_work *w,
					__u32 use_count)
{
	__builtin_memset(r, 0, sizeof(*r));
	dp_addr_copy(r->vip, w->pkt.dst);
	r->vport_be = w->pkt.dport_be;
	r->cport_be = w->pkt.sport_be;
	r->edge_idx = w->tunnel.edge_idx;
	r->seen_s = dp_now_s();
	r->slot = w->hop.slot;
	r->use_count = use_count;
}

/* The way back of a flow that we know (dp_work.hop): refreshed, or made again if it was evicted.
 * 0, or -1: another flow has taken the reverse key meanwhile. */
static __noinline int dp_rev_keep(struct dp_work *w, __u32 is_assured)
{
	struct dp_local *l = dp_local_get(w->hop.slot);
	struct dp_flow_rev *r;

	if (!l)
		return -1;
	dp_rev_key(&w->pkt, l, &w->hop, &w->rev_key);
	r = bpf_map_lookup_elem(&dp_rev, &w->rev_key);
	if (!r)
		r = bpf_map_lookup_elem(&dp_rev_new, &w->rev_key);
	if (r) {
		if (!dp_rev_is_of(r, &w->pkt))
			return -1;
		r->edge_idx = w->tunnel.edge_idx;
		r->seen_s = dp_now_s();
		r->slot = w->hop.slot;
		r->use_count = l->use_count;
		return 0;
	}
	dp_rev_fill(&w->rev, w, l->use_count);
	if (is_assured)
		return bpf_map_update_elem(&dp_rev, &w->rev_key, &w->rev, BPF_ANY) ? -1 : 0;
	return bpf_map_update_elem(&dp_rev_new, &w->rev_key, &w->rev, BPF_ANY) ? -1 : 0;
}

/* The client port that the application sees at this attempt. */
static __always_inline __be16 dp_shift_port(__be16 cport_be, __u32 try)
{
	__u32 port = bpf_ntohs(cport_be);

	if (!try)
		return cport_be;
	return bpf_htons((__u16)(DP_PORT_LO + (port * 31 + try * 7919) % (65536 - DP_PORT_LO)));
}

/* Claims a reverse key for a new flow; hop.cport_be says which. 0 or the reason to drop. */
static __noinline int dp_rev_claim(struct dp_work *w)
{
	struct dp_local *l = dp_local_get(w->hop.slot);

	if (!l)
		return DP_R_TOKEN_UNKNOWN;
	for (__u32 try = 0; try <= DP_PORT_TRIES; try++) {
		struct dp_flow_rev *r;

		w->hop.cport_be = dp_shift_port(w->pkt.sport_be, try);
		dp_rev_key(&w->pkt, l, &w->hop, &w->rev_key);
		dp_rev_fill(&w->rev, w, l->use_count);
		r = bpf_map_lookup_elem(&dp_rev, &w->rev_key);
		if (!r) {
			if (!bpf_map_update_elem(&dp_rev_new, &w->rev_key, &w->rev, BPF_NOEXIST))
				return 0;
			r = bpf_map_lookup_elem(&dp_rev_new, &w->rev_key);
			if (!r)
				return DP_R_FLOW_TABLE_FULL;
		}
		if (dp_rev_is_of(r, &w->pkt)) {
			*r = w->rev;
			return 0;
		}
	}
	return DP_R_FLOW_PORT_CLASH;
}

/* Does this token name a live backend here that serves what the packet asks for? */
static __always_inline struct dp_local *dp_token_local(const struct dp_pkt *p, __u32 token)
{
	struct dp_local *l = dp_local_get(DP_TOKEN_SLOT(token));
	struct dp_vip *vip;

	if (!l || !l->live || l->use_count != DP_TOKEN_USE(token))
		return 0;
	vip = dp_vip_find(p->dst);
	if (!vip || !l->svc_idx || dp_svc_on_port(vip, p->l4_proto, p->dport_be) != l->svc_idx)
		return 0;
	return l;
}

static __always_inline int dp_local_is_family(const struct dp_local *l, __u32 family)
{
	return dp_addr_is_v4(l->addr) == (family == 4);
}

static __noinline int dp_flow_new(struct dp_work *w)
{
	__u32 token = DP_GRE_KEY_TOKEN(w->tunnel.key);
	struct dp_local *l = dp_token_local(&w->pkt, token);
	int rc;

	if (!l)
		return DP_R_TOKEN_UNKNOWN;
	if (!dp_local_is_family(l, w->pkt.family))
		return DP_R_FAMILY_MISMATCH;
	w->hop.slot = DP_TOKEN_SLOT(token);
	w->hop.bport_be = dp_backend_port(&w->pkt, l);
	rc = dp_rev_claim(w);
	if (rc)
		return rc;
	__builtin_memset(&w->fwd, 0, sizeof(w->fwd));
	w->fwd.slot = w->hop.slot;
	w->fwd.use_count = DP_TOKEN_USE(token);
	w->fwd.cport_be = w->hop.cport_be;
	w->fwd.edge_idx = w->tunnel.edge_idx;
	w->fwd.seen_s = dp_now_s();
	return bpf_map_update_elem(&dp_fwd_new, &w->fwd_key, &w->fwd, BPF_ANY)
		       ? DP_R_FLOW_TABLE_FULL
		       : 0;
}

static __always_inline int dp_flow_begin(struct __sk_buff *skb, struct dp_work *w)
{
	int rc = dp_second_try(skb);

	if (rc != DP_GO)
		return rc;
	rc = dp_flow_new(w);
	return rc ? DP_OUT(rc, TC_ACT_SHOT) : DP_GO;
}

/* A client's packet (dp_work.pkt), its token and the edge it came by in dp_work.tunnel. DP_GO: dp_work.hop is filled in;
 * else how the program ends. */
__noinline int dp_flow_in(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	__u32 is_assured = 1, now_s = dp_now_s();
	struct dp_flow_fwd *f;
	struct dp_local *l;

	if (!w)
		return DP_OUT(DP_R_FLOW_TABLE_FULL, TC_ACT_SHOT);
	dp_fwd_key(&w->pkt, &w->fwd_key);
	f = bpf_map_lookup_elem(&dp_fwd, &w->fwd_key);
	if (!f) {
		f = bpf_map_lookup_elem(&dp_fwd_new, &w->fwd_key);
		is_assured = 0;
	}
	if (!f)
		return dp_flow_begin(skb, w);
	l = dp_local_get(f->slot);
	if (l && l->live && l->use_count == f->use_count) {
		w->hop.slot = f->slot;
		w->hop.cport_be = f->cport_be;
		w->hop.bport_be = dp_backend_port(&w->pkt, l);
		if (f->edge_idx == w->tunnel.edge_idx && f->seen_s == now_s)
			return DP_GO;
		f->edge_idx = w->tunnel.edge_idx;
		f->seen_s = now_s;
		if (!dp_rev_keep(w, is_assured))
			return DP_GO;
	}
	/* The backend is gone, or the way back is another flow's now: begin again. */
	bpf_map_delete_elem(&dp_fwd, &w->fwd_key);
	bpf_map_delete_elem(&dp_fwd_new, &w->fwd_key);
	return dp_flow_begin(skb, w);
}

/* The application has answered: move the flow (rev_key, rev) to the tables that no flood can flush. */
static __noinline int dp_flow_assure(struct dp_work *w)
{
	__builtin_memset(&w->fwd_key, 0, sizeof(w->fwd_key));
	dp_addr_copy(w->fwd_key.client, w->rev_key.client);
	dp_addr_copy(w->fwd_key.vip, w->rev.vip);
	w->fwd_key.cport_be = w->rev.cport_be;
	w->fwd_key.vport_be = w->rev.vport_be;
	w->fwd_key.l4_proto = w->rev_key.l4_proto;
	__builtin_memset(&w->fwd, 0, sizeof(w->fwd));
	w->fwd.slot = w->rev.slot;
	w->fwd.use_count = (__u16)w->rev.use_count;
	w->fwd.cport_be = w->rev_key.cport_be;
	w->fwd.edge_idx = w->rev.edge_idx;
	w->fwd.seen_s = w->rev.seen_s;
	if (bpf_map_update_elem(&dp_fwd, &w->fwd_key, &w->fwd, BPF_ANY) ||
	    bpf_map_update_elem(&dp_rev, &w->rev_key, &w->rev, BPF_ANY))
		return -1; /* stays unassured; the next reply tries again */
	bpf_map_delete_elem(&dp_fwd_new, &w->fwd_key);
	bpf_map_delete_elem(&dp_rev_new, &w->rev_key);
	return 0;
}

/* An outgoing packet (dp_work.pkt): is it a reply of a flow? 1 with dp_work.back filled in, or 0. `is_bridge`: it came in
 * through a bridge, so the flow's key holds its source address. */
__noinline int dp_flow_back(__u32 is_bridge)
{
	struct dp_work *w = dp_work_get();
	__u32 is_new = 0;
	struct dp_flow_rev *r;

	if (!w)
		return 0;
	__builtin_memset(&w->rev_key, 0, sizeof(w->rev_key));
	dp_addr_copy(w->rev_key.client, w->pkt.dst);
	if (is_bridge)
		dp_addr_copy(w->rev_key.local, w->pkt.src);
	w->rev_key.cport_be = w->pkt.dport_be;
	w->rev_key.bport_be = w->pkt.sport_be;
	w->rev_key.l4_proto = w->pkt.l4_proto;
	r = bpf_map_lookup_elem(&dp_rev, &w->rev_key);
	if (!r) {
		r = bpf_map_lookup_elem(&dp_rev_new, &w->rev_key);
		if (!r)
			return 0;
		is_new = 1;
	}
	w->rev = *r;
	/* A client's reply from the VIP itself, on its way out of an edge that is a worker too, is no host socket's. */
	if (!is_bridge && dp_vip_find(w->pkt.src))
		return 0;
	dp_addr_copy(w->back.vip, w->rev.vip);
	w->back.vport_be = w->rev.vport_be;
	w->back.cport_be = w->rev.cport_be;
	w->back.edge_idx = w->rev.edge_idx;
	w->back.slot = w->rev.slot;
	if (is_new && !(w->pkt.tcp_flags & (DP_TCP_SYN | DP_TCP_RST)))
		(void)dp_flow_assure(w);
	return 1;
}

#endif
