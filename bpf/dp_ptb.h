/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_ptb.h - ICMP errors of our own, from the VIP to the client: too big for the mesh, no service there. The packet is
 * in dp_work.pkt. */
#ifndef DP_PTB_H
#define DP_PTB_H

#include "bpf/dp_icmp.h"

/* The bare packet at Ethernet doesn't fit into mtu bytes: tell the client, through the interface it came by. */
__noinline int dp_too_big(struct __sk_buff *skb, __u32 mtu)
{
	DP_USES(skb);
	DP_USES(mtu);
	return DP_OUT(DP_R_TOO_BIG, TC_ACT_SHOT);
}

/* To a VIP with DP_VIP_REJECT, on a port without a service. */
__noinline int dp_reject_xdp(struct xdp_md *ctx)
{
	DP_USES(ctx);
	return DP_OUT(DP_R_NO_SERVICE, XDP_DROP);
}

__noinline int dp_reject_tc(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_OUT(DP_R_NO_SERVICE, TC_ACT_SHOT);
}

#endif
