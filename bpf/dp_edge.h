/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_edge.h - what an edge makes of a packet from a client: the order of the questions, for XDP and TC alike.
 *
 * `is_xdp` is a constant in both callers: it says what the context is, and which number drops.
 */
#ifndef DP_EDGE_H
#define DP_EDGE_H

#include "bpf/dp_frag.h"
#include "bpf/dp_gate.h"
#include "bpf/dp_icmp.h"
#include "bpf/dp_ptb.h"
#include "bpf/dp_quic.h"

#define DP_EDGE_DROP(reason) DP_OUT(reason, is_xdp ? (int)XDP_DROP : TC_ACT_SHOT)

/* The features that need the context see the packet in dp_work. */
static __always_inline int dp_edge_show(const struct dp_pkt *p, const struct dp_choice *c)
{
	struct dp_work *w = dp_work_get();

	if (!w)
		return 0;
	if (p != &w->pkt)
		w->pkt = *p;
	w->choice = *c;
	return 1;
}

static __always_inline void dp_edge_told(struct dp_choice *c)
{
	struct dp_work *w = dp_work_get();

	if (w)
		*c = w->choice;
}

/* Limits and lists, where the service has some: DP_GO, or the outcome. */
static __always_inline int dp_edge_gate(void *ctx, __u32 svc_idx, const int is_xdp)
{
	struct dp_svc *svc = dp_svc_get(svc_idx);
	struct dp_ctl *ctl = dp_ctl_get();

	if (!svc || !ctl)
		return DP_EDGE_DROP(DP_R_NO_SERVICE);
	if (!(svc->flags & DP_SVC_GATE) && !(ctl->flags & DP_CTL_FILTER))
		return DP_GO;
	return is_xdp ? dp_gate_xdp(ctx) : dp_gate_tc(ctx);
}

/* A later fragment, or one that has no ports at all. */
static __always_inline int dp_edge_frag(void *ctx, const int is_xdp)
{
	int out = is_xdp ? dp_frag_edge_in_xdp(ctx) : dp_frag_edge_in_tc(ctx), gate;
	struct dp_work *w = dp_work_get();

	if (out >= 0 || !w)
		return out;
	gate = dp_edge_gate(ctx, w->choice.svc_idx, is_xdp);
	return gate == DP_GO ? out : gate;
}

/* To a VIP, but not a packet with ports: ICMP, a later fragment, another protocol. */
static __always_inline int dp_edge_odd(void *ctx, const struct dp_pkt *p, struct dp_choice *c,
				       const int is_xdp)
{
	int out;

	if (!dp_edge_show(p, c))
		return DP_EDGE_DROP(DP_R_BAD_PACKET);
	if (p->frag)
		out = dp_edge_frag(ctx, is_xdp);
	else if (dp_is_icmp(p))
		out = is_xdp ? dp_icmp_edge_xdp(ctx) : dp_icmp_edge_tc(ctx);
	else
		return DP_EDGE_DROP(DP_R_PROTO_UNSUPPORTED);
	dp_edge_told(c);
	return out;
}

/* Limits, lists, connection ids: DP_GO, or the outcome. */
static __always_inline int dp_edge_special(void *ctx, const struct dp_pkt *p, __u32 svc_flags,
					   __u32 has_gate, struct dp_choice *c, const int is_xdp)
{
	int out = DP_GO;

	if (!dp_edge_show(p, c))
		return DP_EDGE_DROP(DP_R_BAD_PACKET);
	if (has_gate)
		out = is_xdp ? dp_gate_xdp(ctx) : dp_gate_tc(ctx);
	if (out == DP_GO && (svc_flags & DP_SVC_QUIC) && !p->frag)
		out = is_xdp ? dp_quic_xdp(ctx) : dp_quic_tc(ctx);
	dp_edge_told(c);
	return out;
}

/* DP_IS_PASS, DP_IS_ROW or DP_IS_BACKEND with *c filled in, or how the program ends. parse_rc is what the parser said:
 * a malformed packet is dropped only if it is for a VIP. */
static __always_inline int dp_edge(void *ctx, const struct dp_pkt *p, int parse_rc,
				   struct dp_choice *c, const int is_xdp)
{
	struct dp_self *self;
	struct dp_ctl *ctl;
	struct dp_vip *vip;
	struct dp_svc *svc;
	__u32 has_gate;
	int out;

	if (!p->has_addrs)
		return DP_IS_PASS;
	vip = dp_vip_find(p->dst);
	if (!vip)
		return DP_IS_PASS;
	if (parse_rc)
		return DP_EDGE_DROP((__u32)parse_rc);
	self = dp_self_get();
	if (!self || !self->ready)
		return DP_EDGE_DROP(DP_R_NOT_READY);
	if (!dp_is_tcp_udp(p) || p->frag == DP_FRAG_LATER)
		return dp_edge_odd(ctx, p, c, is_xdp);
	c->svc_idx = dp_svc_on_port(vip, p->l4_proto, p->dport_be);
	if (!c->svc_idx) {
		if (!(vip->flags & DP_VIP_REJECT) || !dp_edge_show(p, c))
			return DP_EDGE_DROP(DP_R_NO_SERVICE);
		return is_xdp ? dp_reject_xdp(ctx) : dp_reject_tc(ctx);
	}
	svc = dp_svc_get(c->svc_idx);
	ctl = dp_ctl_get();
	if (!svc || !ctl)
		return DP_EDGE_DROP(DP_R_NO_SERVICE);
	has_gate = (svc->flags & DP_SVC_GATE) || (ctl->flags & DP_CTL_FILTER);
	if (has_gate || (svc->flags & DP_SVC_QUIC)) {
		out = dp_edge_special(ctx, p, svc->flags, has_gate, c, is_xdp);
		if (out != DP_GO)
			return out;
	}
	out = dp_pick(p, svc, self, c);
	if (out != DP_IS_ROW)
		return DP_EDGE_DROP((__u32)out);
	if (p->frag == DP_FRAG_FIRST) {
		/* What follows it has no ports. */
		if (!dp_edge_show(p, c) || dp_frag_edge_note())
			return DP_EDGE_DROP(DP_R_FRAGMENT);
	}
	return DP_IS_ROW;
}

#endif
