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

#include "bpf/dp_encap.h"

#define DP_PORT_TRIES 4
#define DP_PORT_LO 1024u

/* Where a client's packet goes. */
struct dp_hop {
	__u32 slot;
	__be16 cport_be;
	__be16 bport_be;
};

/* Where a reply goes. */
struct dp_back {
	__u8 vip[16];
	__be16 vport_be;
	__be16 cport_be;
	__u32 edge_idx;
};

/* Coarse seconds: jiffies / 256 is 0.26 s at 1000 Hz, 1 s at 250, 2.6 s at 100. No clock is read. */
static __always_inline __u32 dp_now_s(void)
{
	return (__u32)(bpf_jiffies64() >> 8);
}

static __always_inline struct dp_local *dp_local_get(__u32 slot)
{
	return bpf_map_lookup_elem(&dp_local, &slot);
}

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
	struct dp_svc *svc = bpf_map_lookup_elem(&dp_svc, &l->svc_idx);
	__u32 base = svc ? svc->port_lo : bpf_ntohs(p->dport_be);

	return bpf_htons((__u16)(l->port + bpf_ntohs(p->dport_be) - base));
}

static __always_inline int dp_rev_is_of(const struct dp_flow_rev *r, const struct dp_pkt *p)
{
	return dp_addr_same(r->vip, p->dst) && r->vport_be == p->dport_be &&
	       r->cport_be == p->sport_be;
}

static __always_inline void dp_rev_fill(struct dp_flow_rev *r, const struct dp_pkt *p,
					const struct dp_hop *hop, __u32 use_count, __u32 edge_idx)
{
	__builtin_memset(r, 0, sizeof(*r));
	dp_addr_copy(r->vip, p->dst);
	r->vport_be = p->dport_be;
	r->cport_be = p->sport_be;
	r->edge_idx = edge_idx;
	r->seen_s = dp_now_s();
	r->slot = hop->slot;
	r->use_count = use_count;
}

/* The way back of a flow that we know: refreshed, or made again if it was evicted.
 * 0, or -1: another flow has taken the reverse key meanwhile. */
static __noinline int dp_rev_keep(const struct dp_pkt *p, const struct dp_hop *hop, __u32 edge_idx,
				  __u32 is_assured)
{
	struct dp_flow_rev_key key __attribute__((aligned(8)));
	struct dp_flow_rev fresh __attribute__((aligned(8)));
	struct dp_local *l = dp_local_get(hop->slot);
	struct dp_flow_rev *r;

	if (!l)
		return -1;
	dp_rev_key(p, l, hop, &key);
	r = bpf_map_lookup_elem(&dp_rev, &key);
	if (!r)
		r = bpf_map_lookup_elem(&dp_rev_new, &key);
	if (r) {
		if (!dp_rev_is_of(r, p))
			return -1;
		r->edge_idx = edge_idx;
		r->seen_s = dp_now_s();
		r->slot = hop->slot;
		r->use_count = l->use_count;
		return 0;
	}
	dp_rev_fill(&fresh, p, hop, l->use_count, edge_idx);
	if (is_assured)
		return bpf_map_update_elem(&dp_rev, &key, &fresh, BPF_ANY) ? -1 : 0;
	return bpf_map_update_elem(&dp_rev_new, &key, &fresh, BPF_ANY) ? -1 : 0;
}

/* The client port that the application sees at this attempt. */
static __always_inline __be16 dp_shift_port(__be16 cport_be, __u32 try)
{
	__u32 port = bpf_ntohs(cport_be);

	if (!try)
		return cport_be;
	return bpf_htons((__u16)(DP_PORT_LO + (port * 31 + try * 7919) % (65536 - DP_PORT_LO)));
}

/* Claims a reverse key for a new flow; hop->cport_be says which. 0 or the reason to drop. */
static __noinline int dp_rev_claim(const struct dp_pkt *p, struct dp_hop *hop, __u32 edge_idx)
{
	struct dp_flow_rev_key key __attribute__((aligned(8)));
	struct dp_flow_rev fresh __attribute__((aligned(8)));
	struct dp_local *l = dp_local_get(hop->slot);

	if (!l)
		return DP_R_TOKEN_UNKNOWN;
	for (__u32 try = 0; try <= DP_PORT_TRIES; try++) {
		struct dp_flow_rev *r;
		long rc;

		hop->cport_be = dp_shift_port(p->sport_be, try);
		dp_rev_key(p, l, hop, &key);
		dp_rev_fill(&fresh, p, hop, l->use_count, edge_idx);
		r = bpf_map_lookup_elem(&dp_rev, &key);
		if (!r) {
			rc = bpf_map_update_elem(&dp_rev_new, &key, &fresh, BPF_NOEXIST);
			if (!rc)
				return 0;
			r = bpf_map_lookup_elem(&dp_rev_new, &key);
			if (!r)
				return DP_R_FLOW_TABLE_FULL;
		}
		if (dp_rev_is_of(r, p)) {
			*r = fresh;
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
	vip = dp_vip_get(p->dst, p->l4_proto);
	if (!vip || !l->svc_idx || dp_svc_on_port(vip, p->dport_be) != l->svc_idx)
		return 0;
	return l;
}

static __always_inline int dp_local_is_family(const struct dp_local *l, __u32 family)
{
	return dp_addr_is_v4(l->addr) == (family == 4);
}

static __noinline int dp_flow_new(const struct dp_pkt *p, __u32 token, __u32 edge_idx,
				  struct dp_hop *hop)
{
	struct dp_flow_fwd_key key __attribute__((aligned(8)));
	struct dp_flow_fwd flow __attribute__((aligned(8))) = {};
	struct dp_local *l = dp_token_local(p, token);
	int rc;

	if (!l)
		return DP_R_TOKEN_UNKNOWN;
	if (!dp_local_is_family(l, p->family))
		return DP_R_FAMILY_MISMATCH;
	hop->slot = DP_TOKEN_SLOT(token);
	hop->bport_be = dp_backend_port(p, l);
	rc = dp_rev_claim(p, hop, edge_idx);
	if (rc)
		return rc;
	dp_fwd_key(p, &key);
	flow.slot = hop->slot;
	flow.use_count = DP_TOKEN_USE(token);
	flow.cport_be = hop->cport_be;
	flow.edge_idx = edge_idx;
	flow.seen_s = dp_now_s();
	return bpf_map_update_elem(&dp_fwd_new, &key, &flow, BPF_ANY) ? DP_R_FLOW_TABLE_FULL : 0;
}

/* A client's packet, through which edge it came and with which token -> *hop. 0 or the reason to drop. */
static __noinline int dp_flow_in(const struct dp_pkt *p, __u32 token, __u32 edge_idx,
				 struct dp_hop *hop)
{
	struct dp_flow_fwd_key key __attribute__((aligned(8)));
	struct dp_flow_fwd *f;
	struct dp_local *l;
	__u32 is_assured = 1, now_s = dp_now_s();

	dp_fwd_key(p, &key);
	f = bpf_map_lookup_elem(&dp_fwd, &key);
	if (!f) {
		f = bpf_map_lookup_elem(&dp_fwd_new, &key);
		is_assured = 0;
	}
	if (!f)
		return dp_flow_new(p, token, edge_idx, hop);
	l = dp_local_get(f->slot);
	if (l && l->live && l->use_count == f->use_count) {
		hop->slot = f->slot;
		hop->cport_be = f->cport_be;
		hop->bport_be = dp_backend_port(p, l);
		if (f->edge_idx == edge_idx && f->seen_s == now_s)
			return 0;
		f->edge_idx = edge_idx;
		f->seen_s = now_s;
		if (!dp_rev_keep(p, hop, edge_idx, is_assured))
			return 0;
	}
	/* The backend is gone, or the way back is another flow's now: begin again. */
	bpf_map_delete_elem(&dp_fwd, &key);
	bpf_map_delete_elem(&dp_fwd_new, &key);
	return dp_flow_new(p, token, edge_idx, hop);
}

/* The application has answered: move the flow to the tables that no flood can flush. */
static __noinline int dp_flow_assure(const struct dp_flow_rev_key *rkey,
				     const struct dp_flow_rev *r)
{
	struct dp_flow_fwd_key fkey __attribute__((aligned(8))) = {};
	struct dp_flow_fwd flow __attribute__((aligned(8))) = {};
	struct dp_flow_rev rev __attribute__((aligned(8)));

	rev = *r;
	dp_addr_copy(fkey.client, rkey->client);
	dp_addr_copy(fkey.vip, rev.vip);
	fkey.cport_be = rev.cport_be;
	fkey.vport_be = rev.vport_be;
	fkey.l4_proto = rkey->l4_proto;
	flow.slot = rev.slot;
	flow.use_count = (__u16)rev.use_count;
	flow.cport_be = rkey->cport_be;
	flow.edge_idx = rev.edge_idx;
	flow.seen_s = rev.seen_s;
	if (bpf_map_update_elem(&dp_fwd, &fkey, &flow, BPF_ANY) ||
	    bpf_map_update_elem(&dp_rev, rkey, &rev, BPF_ANY))
		return -1; /* stays unassured; the next reply tries again */
	bpf_map_delete_elem(&dp_fwd_new, &fkey);
	bpf_map_delete_elem(&dp_rev_new, rkey);
	return 0;
}

/* An outgoing packet: is it a reply of a flow? 1 with *back filled in, or 0. `is_bridge`: it came in through a
 * bridge, so the flow's key holds its source address. */
static __noinline int dp_flow_back(const struct dp_pkt *p, __u32 is_bridge, struct dp_back *back)
{
	struct dp_flow_rev_key key __attribute__((aligned(8))) = {};
	struct dp_flow_rev *r;

	dp_addr_copy(key.client, p->dst);
	if (is_bridge)
		dp_addr_copy(key.local, p->src);
	key.cport_be = p->dport_be;
	key.bport_be = p->sport_be;
	key.l4_proto = p->l4_proto;
	r = bpf_map_lookup_elem(&dp_rev, &key);
	if (!r) {
		r = bpf_map_lookup_elem(&dp_rev_new, &key);
		if (!r)
			return 0;
		if (!(p->tcp_flags & (DP_TCP_SYN | DP_TCP_RST)))
			(void)dp_flow_assure(&key,
					     r); /* the entry stays readable until we are done */
	}
	dp_addr_copy(back->vip, r->vip);
	back->vport_be = r->vport_be;
	back->cport_be = r->cport_be;
	back->edge_idx = r->edge_idx;
	/* A client's reply from the VIP itself, on its way out of an edge that is a worker too, is no host socket's. */
	if (!is_bridge && dp_vip_get(p->src, 0))
		return 0;
	return 1;
}

#endif
