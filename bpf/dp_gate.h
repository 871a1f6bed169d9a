/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_gate.h - lists and limits of a service, judged at the edge. The packet is in dp_work.pkt, its service in
 * dp_work.choice.svc_idx. DP_GO: let in; else how the program ends. */
#ifndef DP_GATE_H
#define DP_GATE_H

#include "bpf/dp_choose.h"

__noinline int dp_gate_xdp(struct xdp_md *ctx)
{
	DP_USES(ctx);
	return DP_GO;
}

__noinline int dp_gate_tc(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_GO;
}

#endif
