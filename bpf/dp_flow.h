/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_flow.h - the worker's flow table: packet -> backend on the way in, reply -> VIP and edge on the way out.
 *
 * Keys      forward: what the client sent; reverse: what the application answers (dp_abi.h). Two flows with one
 *           reverse key get different client ports as the application sees them
 * Assured   the application has answered: moved from dp_fwd_new/dp_rev_new to dp_fwd/dp_rev. A SYN-ACK or a reset is
 *           the kernel's answer, not the application's, and moves nothing
 * Away      a forward entry with away_idx: the flow lives on that node (dp_second.h). With a client port (cport_be) it is an
 *           entry of our own in doubt; else there is no reverse one
 * Invariant an entry counts while its slot has the same use count and its idle time has not passed; nobody cleans up, who
 *           meets one that doesn't count treats it as absent. Both directions keep a flow from being idle
 */
#ifndef DP_FLOW_H
#define DP_FLOW_H

#include "bpf/dp_second.h"

#define DP_PORT_TRIES 4
#define DP_PORT_LO 1024u

/* Idle times in seconds. UDP as in RFC 4787 and Linux; an open TCP connection outlives the two hours after which hosts begin
 * to probe it (RFC 1122, RFC 5382); one side of it may be silent for long after the other has said all. */
#define DP_IDLE_UDP_NEW_S 30
#define DP_IDLE_UDP_S 180
#define DP_IDLE_TCP_NEW_S 60
#define DP_IDLE_TCP_S 7440
#define DP_IDLE_TCP_HALF_S 600
#define DP_IDLE_TCP_CLOSING_S 30
/* Beyond this a flow of ours may have gone elsewhere while its backend was dead: no backend is dead and well again sooner. */
#define DP_DOUBT_S 1

static __always_inline int dp_flow_is_idle(__u32 seen_s, __u32 l4_proto, __u32 state,
					   __u32 is_assured)
{
	__s32 limit_s;

	if (l4_proto != IPPROTO_TCP)
		limit_s = is_assured ? DP_IDLE_UDP_S : DP_IDLE_UDP_NEW_S;
	else if (state & DP_FLOW_CLOSING)
		limit_s = DP_IDLE_TCP_CLOSING_S;
	else if (!is_assured)
		limit_s = DP_IDLE_TCP_NEW_S;
	else
		limit_s = state ? DP_IDLE_TCP_HALF_S : DP_IDLE_TCP_S;
	return (__s32)(dp_now_s() - seen_s) > limit_s; /* another CPU may be ahead */
}

static __always_inline int dp_is_syn(const struct dp_pkt *p)
{
	return p->l4_proto == IPPROTO_TCP && (p->tcp_flags & DP_TCP_SYN);
}

/* What becomes of a flow's state by this packet. A client's reset may be anyone's: when the backend talks on, it did not
 * believe it. */
static __always_inline __u32 dp_flow_state_next(__u32 state, const struct dp_pkt *p, __u32 is_reply)
{
	const __u32 both = DP_FLOW_FIN_IN | DP_FLOW_FIN_OUT;

	if (p->l4_proto != IPPROTO_TCP)
		return DP_FLOW_OPEN;
	if (p->tcp_flags & DP_TCP_RST)
		return state | DP_FLOW_CLOSING;
	if (p->tcp_flags & DP_TCP_FIN)
		state |= is_reply ? DP_FLOW_FIN_OUT : DP_FLOW_FIN_IN;
	else if (is_reply)
		state &= ~(__u32)DP_FLOW_CLOSING;
	return (state & both) == both ? state | DP_FLOW_CLOSING : state;
}

/* Does the backend that this entry names still have its slot? One that was taken off rests in it and takes nothing new. */
static __always_inline int dp_slot_is(const struct dp_local *l, __u32 use_count)
{
	return l && l->use_count == use_count;
}

static __always_inline int dp_slot_serves(const struct dp_local *l, __u32 use_count)
{
	return dp_slot_is(l, use_count) && l->live;
}

/* Is this backend of ours known to be unhealthy? */
static __always_inline int dp_slot_is_dead(const struct dp_local *l)
{
	__u32 backend_idx = l->backend_idx;
	__u64 *word;

	if (!backend_idx)
		return 0;
	word = bpf_map_lookup_elem(&dp_backend, &backend_idx);
	return word && DP_BE_STATE(*(volatile __u64 *)word) != DP_BE_UP;
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

/* The reverse entry of a key, whichever table has it. */
static __always_inline struct dp_flow_rev *dp_rev_find(const struct dp_flow_rev_key *key,
						       __u32 *ret_is_assured)
{
	struct dp_flow_rev *r = bpf_map_lookup_elem(&dp_rev, key);

	*ret_is_assured = 1;
	if (r)
		return r;
	*ret_is_assured = 0;
	return bpf_map_lookup_elem(&dp_rev_new, key);
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
	r->state = dp_flow_state_next(DP_FLOW_OPEN, &w->pkt, 0);
}

/* Does another flow's reverse entry still stand in the way? */
static __always_inline int dp_rev_counts(const struct dp_flow_rev *r, __u32 l4_proto,
					 __u32 is_assured)
{
	return dp_slot_serves(dp_local_get(r->slot), r->use_count) &&
	       !dp_flow_is_idle(r->seen_s, l4_proto, r->state, is_assured);
}

/* The way back of a flow that we know (dp_work.hop): refreshed, or made again if it was evicted.
 * 0, or -1: another flow has taken the reverse key meanwhile. */
static __noinline int dp_rev_keep(struct dp_work *w, __u32 is_assured, __u32 state)
{
	struct dp_local *l = dp_local_get(w->hop.slot);
	struct dp_flow_rev *r;
	__u32 ignored;

	if (!l)
		return -1;
	dp_rev_key(&w->pkt, l, &w->hop, &w->rev_key);
	r = dp_rev_find(&w->rev_key, &ignored);
	if (r) {
		if (!dp_rev_is_of(r, &w->pkt))
			return -1;
		r->edge_idx = w->tunnel.edge_idx;
		r->seen_s = dp_now_s();
		r->slot = w->hop.slot;
		r->use_count = l->use_count;
		r->state = state;
		return 0;
	}
	dp_rev_fill(&w->rev, w, l->use_count);
	w->rev.state = state;
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
	__u32 proto = w->pkt.l4_proto;

	if (!l)
		return DP_R_TOKEN_UNKNOWN;
	for (__u32 try = 0; try <= DP_PORT_TRIES; try++) {
		struct dp_flow_rev *r;

		w->hop.cport_be = dp_shift_port(w->pkt.sport_be, try);
		dp_rev_key(&w->pkt, l, &w->hop, &w->rev_key);
		dp_rev_fill(&w->rev, w, l->use_count);
		r = bpf_map_lookup_elem(&dp_rev, &w->rev_key);
		if (r) {
			if (!dp_rev_is_of(r, &w->pkt) && dp_rev_counts(r, proto, 1))
				continue;
			bpf_map_delete_elem(&dp_rev, &w->rev_key);
		}
		if (!bpf_map_update_elem(&dp_rev_new, &w->rev_key, &w->rev, BPF_NOEXIST))
			return 0;
		r = bpf_map_lookup_elem(&dp_rev_new, &w->rev_key);
		if (!r)
			return DP_R_FLOW_TABLE_FULL;
		if (dp_rev_is_of(r, &w->pkt) || !dp_rev_counts(r, proto, 0)) {
			*r = w->rev;
			return 0;
		}
	}
	return DP_R_FLOW_PORT_CLASH;
}

static __always_inline int dp_local_is_family(const struct dp_local *l, __u32 family)
{
	return dp_addr_is_v4(l->addr) == (family == 4);
}

static __always_inline int dp_local_is_of(const struct dp_local *l, __u32 svc_idx)
{
	return l && l->live && svc_idx && l->svc_idx == svc_idx;
}

/* Which backend here takes a new flow of choice.svc_idx: the token's, else our own choice. hop.slot and 0, or the reason. */
static __always_inline int dp_flow_slot(struct dp_work *w)
{
	__u32 token = DP_GRE_KEY_TOKEN(w->tunnel.key), svc_idx = w->choice.svc_idx, own;
	struct dp_local *l;
	struct dp_svc *svc;

	w->hop.slot = DP_TOKEN_SLOT(token);
	l = dp_local_get(w->hop.slot);
	if (!dp_local_is_of(l, svc_idx) || l->use_count != DP_TOKEN_USE(token)) {
		svc = dp_svc_get(svc_idx);
		own = svc ? *(volatile __u32 *)&svc->local_slot : 0;
		if (!own)
			return DP_R_TOKEN_UNKNOWN;
		w->hop.slot = own - 1;
		l = dp_local_get(own - 1);
		if (!dp_local_is_of(l, svc_idx))
			return DP_R_TOKEN_UNKNOWN;
	}
	return dp_local_is_family(l, w->pkt.family) ? 0 : DP_R_FAMILY_MISMATCH;
}

static __noinline int dp_flow_new(struct dp_work *w)
{
	struct dp_local *l = dp_local_get(w->hop.slot);
	int rc;

	if (!l)
		return DP_R_TOKEN_UNKNOWN;
	w->hop.bport_be = dp_backend_port(&w->pkt, l);
	rc = dp_rev_claim(w);
	if (rc)
		return rc;
	__builtin_memset(&w->fwd, 0, sizeof(w->fwd));
	w->fwd.slot = w->hop.slot;
	w->fwd.use_count = l->use_count;
	w->fwd.cport_be = w->hop.cport_be;
	w->fwd.edge_idx = w->tunnel.edge_idx;
	w->fwd.seen_s = dp_now_s();
	w->fwd.state = dp_flow_state_next(DP_FLOW_OPEN, &w->pkt, 0);
	return bpf_map_update_elem(&dp_fwd_new, &w->fwd_key, &w->fwd, BPF_ANY)
		       ? DP_R_FLOW_TABLE_FULL
		       : 0;
}

static __always_inline int dp_flow_begin(struct dp_work *w)
{
	struct dp_vip *vip;
	int rc;

	/* Answers to it would be taken for a client's packets. */
	if (dp_vip_find(w->pkt.src))
		return DP_OUT(DP_R_SOURCE_IS_VIP, TC_ACT_SHOT);
	if (dp_second_marks(w) == DP_GRE_F_SECOND || dp_second_is_asked(w))
		return dp_second_answer(w);
	vip = dp_vip_find(w->pkt.dst);
	w->choice.svc_idx = vip ? dp_svc_on_port(vip, w->pkt.l4_proto, w->pkt.dport_be) : 0;
	rc = dp_flow_slot(w);
	if (rc == DP_R_TOKEN_UNKNOWN)
		return dp_second_miss();
	if (!rc) {
		rc = dp_second_try();
		if (rc != DP_GO)
			return rc;
		rc = dp_flow_new(w);
	}
	return rc ? DP_OUT(rc, TC_ACT_SHOT) : DP_GO;
}

/* An entry that does not count, or no longer: it goes, and its way back with it. */
static __noinline void dp_flow_forget(struct dp_work *w, struct dp_flow_fwd *f)
{
	struct dp_local *l = dp_local_get(f->slot);
	struct dp_flow_rev *r;
	__u32 ignored;

	if (!f->away_idx && dp_slot_is(l, f->use_count)) {
		w->hop.cport_be = f->cport_be;
		w->hop.bport_be = dp_backend_port(&w->pkt, l);
		dp_rev_key(&w->pkt, l, &w->hop, &w->rev_key);
		r = dp_rev_find(&w->rev_key, &ignored);
		if (r && dp_rev_is_of(r, &w->pkt)) {
			bpf_map_delete_elem(&dp_rev, &w->rev_key);
			bpf_map_delete_elem(&dp_rev_new, &w->rev_key);
		}
	}
	bpf_map_delete_elem(&dp_fwd, &w->fwd_key);
	bpf_map_delete_elem(&dp_fwd_new, &w->fwd_key);
}

/* The client has said nothing for too long; what the backend said counts as well. */
static __noinline int dp_flow_is_silent(struct dp_work *w, const struct dp_flow_fwd *f,
					__u32 is_assured)
{
	struct dp_local *l = dp_local_get(f->slot);
	struct dp_flow_rev *r;
	__u32 is_rev_assured;

	if (!dp_flow_is_idle(f->seen_s, w->pkt.l4_proto, f->state, is_assured))
		return 0;
	if (!l)
		return 1;
	dp_rev_key(&w->pkt, l, &w->hop, &w->rev_key);
	r = dp_rev_find(&w->rev_key, &is_rev_assured);
	return !r || !dp_rev_is_of(r, &w->pkt) ||
	       dp_flow_is_idle(r->seen_s, w->pkt.l4_proto, r->state, is_rev_assured);
}

/* Where the row names a previous owner, a flow that was silent here may live there under the same ports: it went there while
 * our backend was dead, or is a new one. Then the entry says that it is away, until the packet comes back: DP_IS_HOP, DP_GO:
 * it serves; or the end. */
static __always_inline int dp_flow_doubt(struct dp_work *w, struct dp_flow_fwd *f, __u32 svc_idx,
					 __u32 now_s)
{
	int out;

	if (!w->tunnel.seq || dp_second_marks(w) || (__s32)(now_s - f->seen_s) <= DP_DOUBT_S)
		return DP_GO;
	w->choice.svc_idx = svc_idx;
	out = dp_second_ask();
	if (out != DP_IS_HOP)
		return out;
	f->away_idx = w->hop.node_idx;
	f->edge_idx = w->tunnel.edge_idx;
	f->seen_s = now_s;
	f->state = DP_FLOW_OPEN; /* if it is there, it is not over */
	return out;
}

/* An entry of this worker's own: DP_GO with dp_work.hop filled in, DP_IS_HOP, or DP_IS_PASS: it doesn't count; or the end. */
static __always_inline int dp_flow_here(struct dp_work *w, struct dp_flow_fwd *f, __u32 is_assured)
{
	__u32 now_s = dp_now_s(), state;
	struct dp_local *l = dp_local_get(f->slot);
	int out;

	if (!dp_slot_serves(l, f->use_count))
		return DP_IS_PASS;
	if (f->state && dp_is_syn(&w->pkt))
		return DP_IS_PASS; /* the client's port is used again */
	w->hop.slot = f->slot;
	w->hop.cport_be = f->cport_be;
	w->hop.bport_be = dp_backend_port(&w->pkt, l);
	state = dp_flow_state_next(f->state, &w->pkt, 0);
	if (f->edge_idx == w->tunnel.edge_idx && f->seen_s == now_s && f->state == state &&
	    !dp_second_marks(w))
		return DP_GO;
	if (dp_slot_is_dead(l) || dp_flow_is_silent(w, f, is_assured))
		return DP_IS_PASS;
	out = dp_flow_doubt(w, f, l->svc_idx, now_s);
	if (out != DP_GO)
		return out;
	if (is_assured && !state && dp_meet_is_due(w, f->seen_s, now_s) &&
	    dp_meet_is_for(w, l->svc_idx))
		(void)dp_meet_leave();
	f->edge_idx = w->tunnel.edge_idx;
	f->seen_s = now_s;
	f->state = state;
	return dp_rev_keep(w, is_assured, state) ? DP_IS_PASS : DP_GO;
}

/* An entry that says where the flow is: DP_IS_HOP, DP_IS_PASS: it doesn't count; or the end. One that was in doubt is our own
 * again then. */
static __always_inline int dp_flow_away(struct dp_work *w, struct dp_flow_fwd *f)
{
	__u32 marks = dp_second_marks(w);
	__u32 next_marks = dp_second_question(f->use_count == DP_AWAY_ASKED && !f->cport_be);
	int counts = dp_hop_may_have(w, f->away_idx) &&
		     !dp_flow_is_idle(f->seen_s, w->pkt.l4_proto, f->state, 1);

	if (marks == DP_GRE_F_SECOND) {
		if (!counts)
			return f->cport_be ? DP_IS_PASS : dp_hop_back(w);
		/* Both have nothing, or it is in doubt as well and its entry the flow's: ours is the older one. Who asks for
		 * pointers has none. */
		if (f->away_idx == w->tunnel.from_idx)
			return f->cport_be && dp_second_is_asked(w) ? DP_IS_PASS : dp_hop_back(w);
		next_marks = DP_GRE_F_SECOND | DP_GRE_F_FINAL; /* it moved twice: there it ends */
	} else if (marks && !f->cport_be &&
		   (f->use_count == DP_AWAY_PREV) == (f->away_idx == w->tunnel.from_idx)) {
		return dp_second_again();
	} else if (marks || !counts || dp_is_syn(&w->pkt)) {
		return DP_IS_PASS;
	}
	f->edge_idx = w->tunnel.edge_idx;
	f->seen_s = dp_now_s();
	f->state = dp_flow_state_next(f->state, &w->pkt, 0);
	return dp_hop_to(w, f->away_idx, next_marks, DP_R_PASSED_ON);
}

/* A client's packet (dp_work.pkt), its token and the edge it came by in dp_work.tunnel. DP_GO: dp_work.hop is filled in;
 * DP_IS_HOP: dp_work.wrap says where it goes; else how the program ends. */
__noinline int dp_flow_in(struct __sk_buff *skb)
{
	DP_USES(skb);
	struct dp_work *w = dp_work_get();
	__u32 is_assured = 1;
	struct dp_flow_fwd *f;
	int out;

	if (!w)
		return DP_OUT(DP_R_FLOW_TABLE_FULL, TC_ACT_SHOT);
	dp_fwd_key(&w->pkt, &w->fwd_key);
	f = bpf_map_lookup_elem(&dp_fwd, &w->fwd_key);
	if (!f) {
		f = bpf_map_lookup_elem(&dp_fwd_new, &w->fwd_key);
		is_assured = 0;
	}
	if (!f)
		return dp_flow_begin(w);
	out = DP_IS_PASS;
	if (f->away_idx) {
		out = dp_flow_away(w, f);
		if (out == DP_IS_PASS && f->cport_be)
			f->away_idx = 0;
	}
	if (!f->away_idx)
		out = dp_flow_here(w, f, is_assured);
	if (out != DP_IS_PASS)
		return out;
	dp_flow_forget(w, f);
	return dp_flow_begin(w);
}

/* dp_work.fwd_key, from the reverse entry (rev_key, rev). */
static __always_inline void dp_fwd_key_back(struct dp_work *w)
{
	__builtin_memset(&w->fwd_key, 0, sizeof(w->fwd_key));
	dp_addr_copy(w->fwd_key.client, w->rev_key.client);
	dp_addr_copy(w->fwd_key.vip, w->rev.vip);
	w->fwd_key.cport_be = w->rev.cport_be;
	w->fwd_key.vport_be = w->rev.vport_be;
	w->fwd_key.l4_proto = w->rev_key.l4_proto;
}

/* Is this the forward entry that belongs to the reverse one? The client may have begun anew elsewhere. */
static __always_inline int dp_fwd_is_of(const struct dp_flow_fwd *f, const struct dp_work *w)
{
	return !f->away_idx && f->slot == w->rev.slot && f->use_count == w->rev.use_count &&
	       f->cport_be == w->rev_key.cport_be;
}

/* The application has answered: move the flow (rev_key, rev) to the tables that no flood can flush. */
static __noinline int dp_flow_assure(struct dp_work *w)
{
	struct dp_flow_fwd *f;

	dp_fwd_key_back(w);
	f = bpf_map_lookup_elem(&dp_fwd_new, &w->fwd_key);
	if (!f)
		f = bpf_map_lookup_elem(&dp_fwd, &w->fwd_key);
	if (f && !dp_fwd_is_of(f, w))
		return -1;
	__builtin_memset(&w->fwd, 0, sizeof(w->fwd));
	w->fwd.slot = w->rev.slot;
	w->fwd.use_count = (__u16)w->rev.use_count;
	w->fwd.cport_be = w->rev_key.cport_be;
	w->fwd.edge_idx = w->rev.edge_idx;
	w->fwd.seen_s = w->rev.seen_s;
	w->fwd.state = w->rev.state;
	if (bpf_map_update_elem(&dp_fwd, &w->fwd_key, &w->fwd, BPF_ANY) ||
	    bpf_map_update_elem(&dp_rev, &w->rev_key, &w->rev, BPF_ANY))
		return -1; /* stays unassured; the next reply tries again */
	bpf_map_delete_elem(&dp_fwd_new, &w->fwd_key);
	bpf_map_delete_elem(&dp_rev_new, &w->rev_key);
	return 0;
}

/* The backend's FIN or RST, for the forward entry of (rev_key, rev). */
static __noinline void dp_flow_tell(struct dp_work *w)
{
	struct dp_flow_fwd *f;

	dp_fwd_key_back(w);
	f = bpf_map_lookup_elem(&dp_fwd, &w->fwd_key);
	if (!f)
		f = bpf_map_lookup_elem(&dp_fwd_new, &w->fwd_key);
	if (f && dp_fwd_is_of(f, w))
		f->state = w->rev.state;
}

/* An outgoing packet (dp_work.pkt): is it a reply of a flow? 1 with dp_work.back filled in, or 0. `is_bridge`: it came in
 * through a bridge, so the flow's key holds its source address. */
__noinline int dp_flow_back(__u32 is_bridge)
{
	struct dp_work *w = dp_work_get();
	__u32 is_assured, state, now_s;
	struct dp_flow_rev *r;
	struct dp_local *l;

	if (!w)
		return 0;
	__builtin_memset(&w->rev_key, 0, sizeof(w->rev_key));
	dp_addr_copy(w->rev_key.client, w->pkt.dst);
	if (is_bridge)
		dp_addr_copy(w->rev_key.local, w->pkt.src);
	w->rev_key.cport_be = w->pkt.dport_be;
	w->rev_key.bport_be = w->pkt.sport_be;
	w->rev_key.l4_proto = w->pkt.l4_proto;
	r = dp_rev_find(&w->rev_key, &is_assured);
	if (!r)
		return 0;
	/* A client's reply from the VIP itself, on its way out of an edge that is a worker too, is no host socket's. */
	if (!is_bridge && dp_vip_find(w->pkt.src))
		return 0;
	l = dp_local_get(r->slot);
	if (!dp_slot_is(l, r->use_count) ||
	    dp_flow_is_idle(r->seen_s, w->pkt.l4_proto, r->state, is_assured))
		return 0;
	now_s = dp_now_s();
	state = dp_flow_state_next(r->state, &w->pkt, 1);
	w->rev = *r;
	dp_addr_copy(w->back.vip, w->rev.vip);
	w->back.vport_be = w->rev.vport_be;
	w->back.cport_be = w->rev.cport_be;
	w->back.edge_idx = w->rev.edge_idx;
	w->back.slot = w->rev.slot;
	/* The last words of a backend that was taken off still reach their client. */
	if (!l->live)
		return 1;
	if (r->seen_s != now_s)
		r->seen_s = now_s;
	w->rev.seen_s = now_s;
	if (r->state != state) {
		r->state = state;
		w->rev.state = state;
		dp_flow_tell(w);
	}
	if (!is_assured && !(w->pkt.tcp_flags & (DP_TCP_SYN | DP_TCP_RST)))
		(void)dp_flow_assure(w);
	return 1;
}

#endif
