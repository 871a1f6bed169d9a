/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_gate.h - lists and limits of a service, judged at the edge. The packet is in dp_work.pkt, its service in
 * dp_work.choice.svc_idx. DP_GO: let in; else how the program ends.
 *
 * Order     lists, SYN flood, the source's rate, the service's rate: what is refused earlier costs the later ones nothing
 * Lists     dp_filter: of every service (the operator's), then the service's own; within one list the longest prefix
 *           wins. A deny of the first can't be overruled by a service; an allow there only makes a hole in a wider
 *           deny, it opens no closed service
 * Rates     dp_meter.h, for all CPUs together; a CPU takes a service's packets in small lots
 */
#ifndef DP_GATE_H
#define DP_GATE_H

#include "bpf/dp_syn.h"

/* The longest prefix of this list that matches the source: enum dp_filter_verb, 0 = none. */
static __always_inline __u32 dp_filter_ask(const struct dp_pkt *p, __u32 svc_id)
{
	struct dp_filter_key key __attribute__((aligned(8)));
	__u32 *verb;

	key.prefix_bits = 32 + 128;
	key.svc_id = svc_id;
	dp_addr_copy(key.addr, p->src);
	verb = bpf_map_lookup_elem(&dp_filter, &key);
	return verb ? *verb : 0;
}

static __always_inline int dp_gate_is_denied(const struct dp_pkt *p, const struct dp_svc *svc)
{
	struct dp_ctl *ctl = dp_ctl_get();
	__u32 verb = 0;

	if (ctl && (ctl->flags & DP_CTL_FILTER) && dp_filter_ask(p, 0) == DP_FILTER_DENY)
		return 1;
	if (!(svc->flags & DP_SVC_GATE))
		return 0;
	if (svc->flags & DP_SVC_FILTER)
		verb = dp_filter_ask(p, svc->svc_id);
	if (svc->flags & DP_SVC_CLOSED)
		return verb != DP_FILTER_ALLOW;
	return verb == DP_FILTER_DENY;
}

/* A CPU takes a 4096th of a second's packets beyond what it needs now, at most so many: 64 CPUs that hold a lot each
 * are 1.6 % of a second. */
#define DP_LOT_SHIFT 12
#define DP_LOT_MAX 32u

static __always_inline int dp_gate_service(__u32 svc_idx, struct dp_gate *g, __u32 pps,
					   __u32 packets, __u32 is_dry)
{
	struct dp_lot *lot = bpf_map_lookup_elem(&dp_lot, &svc_idx);
	__u32 left, more = pps >> DP_LOT_SHIFT;
	__u64 now = dp_meter_now();

	if (!lot)
		return 0;
	left = now - lot->taken < dp_meter_second() ? lot->left : 0;
	if (left < packets) {
		if (more > DP_LOT_MAX)
			more = DP_LOT_MAX;
		if (!dp_meter_take(&g->due, now, dp_meter_cost(pps) * (packets + more), is_dry))
			return 0;
		lot->taken = is_dry ? lot->taken : now;
		left += packets + more;
	}
	if (!is_dry)
		lot->left = left - packets;
	return 1;
}

/* Keeps the first `bits` of a 16-byte address. */
static __always_inline void dp_addr_mask(__u8 *addr, __u32 bits)
{
	dp_word32 *word = (void *)addr;

	for (__u32 i = 0; i < 4; i++) {
		__u32 keep = bits > 32 ? 32 : bits;

		word[i] &= keep ? bpf_htonl(0xffffffffu << (32 - keep)) : 0;
		bits -= keep;
	}
}

static __always_inline void dp_source_key(const struct dp_pkt *p, __u32 svc_idx,
					  const struct dp_svc *svc, struct dp_source_key *key)
{
	__u32 bits = p->family == 4 ? svc->prefix4 : svc->prefix6;

	/* 0 is not said: an address, or what a household gets. */
	if (p->family == 4)
		bits = 96 + (bits && bits < 32 ? bits : 32);
	else
		bits = bits ? bits : 64;
	dp_addr_copy(key->addr, p->src);
	dp_addr_mask(key->addr, bits);
	key->svc_idx = svc_idx;
	key->pad = 0;
}

static __always_inline int dp_gate_source(const struct dp_pkt *p, __u32 svc_idx,
					  const struct dp_svc *svc, __u32 packets, __u32 is_dry)
{
	struct dp_source_key key __attribute__((aligned(8)));
	__u64 *due, now = dp_meter_now();

	dp_source_key(p, svc_idx, svc, &key);
	due = bpf_map_lookup_elem(&dp_source, &key);
	if (!due) {
		if (is_dry)
			return 1;
		/* If it fails, another CPU was first, or there is no memory: then nothing is known of it. */
		(void)bpf_map_update_elem(&dp_source, &key, &now, BPF_NOEXIST);
		due = bpf_map_lookup_elem(&dp_source, &key);
		if (!due)
			return 1;
	}
	return dp_meter_take(due, now, dp_meter_cost(svc->source_pps) * packets, is_dry);
}

/* The rates of a packet that stands for so many: DP_GO, or the reason. */
static __always_inline int dp_gate_rates(const struct dp_pkt *p, __u32 svc_idx,
					 const struct dp_svc *svc, struct dp_gate *g, __u32 packets,
					 __u32 is_dry)
{
	if (svc->source_pps && !dp_gate_source(p, svc_idx, svc, packets, is_dry))
		return DP_R_RATE_SOURCE;
	if (svc->pps && !dp_gate_service(svc_idx, g, svc->pps, packets, is_dry))
		return DP_R_RATE_SERVICE;
	return DP_GO;
}

/* What the gate would say to this packet in XDP now, and nothing is taken, made or answered: DP_GO, or the reason. Needs no
 * dp_work. */
static __always_inline int dp_gate_ask(const struct dp_pkt *p, __u32 svc_idx,
				       const struct dp_svc *svc)
{
	struct dp_gate *g = bpf_map_lookup_elem(&dp_gate, &svc_idx);

	if (dp_gate_is_denied(p, svc))
		return DP_R_DENIED;
	if (!g || !(svc->flags & DP_SVC_GATE))
		return DP_GO;
	if (p->l4_proto == IPPROTO_TCP && dp_syn_is_asked(p, g, svc, 1))
		return DP_R_SYN_CHALLENGED;
	return dp_gate_rates(p, svc_idx, svc, g, 1, 1);
}

__noinline int dp_gate_xdp(struct xdp_md *ctx)
{
	DP_USES(ctx);
	struct dp_work *w = dp_work_get();
	struct dp_gate *g;
	struct dp_svc *svc;
	__u32 svc_idx;
	int out;

	if (!w)
		return DP_GO;
	svc_idx = w->choice.svc_idx;
	svc = dp_svc_get(svc_idx);
	g = bpf_map_lookup_elem(&dp_gate, &svc_idx);
	if (!svc || !g)
		return DP_GO;
	if (dp_gate_is_denied(&w->pkt, svc))
		return DP_OUT(DP_R_DENIED, XDP_DROP);
	if (!(svc->flags & DP_SVC_GATE))
		return DP_GO;
	if (svc->syn_pps && w->pkt.l4_proto == IPPROTO_TCP) {
		out = dp_syn_xdp(ctx);
		if (out != DP_GO)
			return out;
	}
	out = dp_gate_rates(&w->pkt, svc_idx, svc, g, 1, 0);
	return out == DP_GO ? out : DP_OUT(out, XDP_DROP);
}

__noinline int dp_gate_tc(struct __sk_buff *skb)
{
	DP_USES(skb);
	struct dp_work *w = dp_work_get();
	struct dp_gate *g;
	struct dp_svc *svc;
	__u32 svc_idx;
	int out = DP_GO;

	if (!w)
		return DP_GO;
	svc_idx = w->choice.svc_idx;
	svc = dp_svc_get(svc_idx);
	g = bpf_map_lookup_elem(&dp_gate, &svc_idx);
	if (!svc || !g)
		return DP_GO;
	if (dp_gate_is_denied(&w->pkt, svc))
		return DP_OUT(DP_R_DENIED, TC_ACT_SHOT);
	if (!(svc->flags & DP_SVC_GATE))
		return DP_GO;
	if (w->pkt.l4_proto == IPPROTO_TCP)
		out = dp_syn_tc(&w->pkt, g, svc);
	if (out == DP_GO)
		out = dp_gate_rates(&w->pkt, svc_idx, svc, g, skb->gso_segs ? skb->gso_segs : 1, 0);
	return out == DP_GO ? out : DP_OUT(out, TC_ACT_SHOT);
}

#endif
