/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_frag.h - fragments: the first one records what was decided, the others follow it. */
#ifndef DP_FRAG_H
#define DP_FRAG_H

#include "bpf/dp_choose.h"

/* Client -> edge, a first fragment whose row is in dp_work.choice: remember it. Not 0: it can't be served. */
__noinline int dp_frag_edge_note(void)
{
	return 1;
}

/* Client -> edge, a later fragment in dp_work.pkt: DP_IS_ROW or DP_IS_BACKEND with dp_work.choice filled in, or the end. */
__noinline int dp_frag_edge_in_xdp(struct xdp_md *ctx)
{
	DP_USES(ctx);
	return DP_OUT(DP_R_FRAGMENT, XDP_DROP);
}

__noinline int dp_frag_edge_in_tc(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_OUT(DP_R_FRAGMENT, TC_ACT_SHOT);
}

/* Edge -> worker, a fragment in dp_work.pkt, first or later; before the tunnel comes off. DP_GO: dp_work.hop is filled in.
 * A first one has been through the flow table when this is called (dp_work.hop). */
__noinline int dp_frag_worker_in(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_OUT(DP_R_FRAGMENT, TC_ACT_SHOT);
}

__noinline int dp_frag_key_set(__u32 where)
{
	struct dp_work *w = dp_work_get();

	if (!w)
		return -1;
	__builtin_memset(&w->frag_key, 0, sizeof(w->frag_key));
	dp_addr_copy(w->frag_key.src, w->pkt.src);
	dp_addr_copy(w->frag_key.dst, w->pkt.dst);
	w->frag_key.id = w->pkt.frag_id;
	w->frag_key.l4_proto = w->pkt.l4_proto;
	w->frag_key.where = (__u8)where;
	return 0;
}

/* Backend ->, a first fragment whose way back is in dp_work.back: remember it. Not 0: drop it, and what follows. */
__noinline int dp_frag_worker_note(void)
{
	struct dp_work *w = dp_work_get();

	if (!w || dp_frag_key_set(DP_FRAG_WORKER_OUT))
		return 1;
	__builtin_memset(&w->frag, 0, sizeof(w->frag));
	w->frag.drop = 1;
	w->frag.seen_s = dp_now_s();
	(void)bpf_map_update_elem(&dp_frag, &w->frag_key, &w->frag, BPF_ANY);
	return 1;
}

/* Backend ->, a later fragment in dp_work.pkt: DP_GO with dp_work.back filled in; DP_IS_PASS: not of a reply that we know;
 * or the end. */
__noinline int dp_frag_worker_out(struct __sk_buff *skb)
{
	DP_USES(skb);
	struct dp_work *w = dp_work_get();

	if (!w || dp_frag_key_set(DP_FRAG_WORKER_OUT) ||
	    !bpf_map_lookup_elem(&dp_frag, &w->frag_key))
		return DP_IS_PASS;
	return DP_OUT(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
}

/* Worker -> edge -> client, a fragment in dp_work.pkt; a first one is of a service of ours. DP_GO: send it out. */
__noinline int dp_frag_edge_out(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_OUT(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
}

#endif
