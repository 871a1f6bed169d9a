/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_icmp.h - ICMP to VIPs and about flows. The packet is in dp_work.pkt. */
#ifndef DP_ICMP_H
#define DP_ICMP_H

#include "bpf/dp_choose.h"

/* Client's side -> edge, to a VIP: DP_IS_ROW with dp_work.choice filled in, or the end. */
__noinline int dp_icmp_edge_xdp(struct xdp_md *ctx)
{
	DP_USES(ctx);
	return DP_OUT(DP_R_PROTO_UNSUPPORTED, XDP_DROP);
}

__noinline int dp_icmp_edge_tc(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_OUT(DP_R_PROTO_UNSUPPORTED, TC_ACT_SHOT);
}

/* Edge -> worker, about a flow; the tunnel is still on. Finds the flow: DP_GO with dp_work.hop filled in, or the end. */
__noinline int dp_icmp_worker_in(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_OUT(DP_R_PROTO_UNSUPPORTED, TC_ACT_SHOT);
}

/* Then, bare: rewrites it for the backend of dp_work.hop. DP_GO: deliver it. */
__noinline int dp_icmp_worker_nat(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_OUT(DP_R_PROTO_UNSUPPORTED, TC_ACT_SHOT);
}

/* A backend or this machine -> client: rewritten, with dp_work.back filled in (DP_GO: encapsulate it); DP_IS_PASS: about
 * no flow of ours; or the end. The packet lies at dp_work.path.l2. */
__noinline int dp_icmp_worker_out(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_IS_PASS;
}

/* Worker -> edge -> client; the tunnel is still on. DP_GO: it is about a service of ours, send it out. */
__noinline int dp_icmp_edge_out(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_OUT(DP_R_PROTO_UNSUPPORTED, TC_ACT_SHOT);
}

#endif
