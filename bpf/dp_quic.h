/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_quic.h - connection ids that name the backend. The packet is in dp_work.pkt, its service in
 * dp_work.choice.svc_idx. DP_IS_BACKEND with dp_work.choice filled in, or DP_GO: by the hash, as usual. */
#ifndef DP_QUIC_H
#define DP_QUIC_H

#include "bpf/dp_choose.h"

__noinline int dp_quic_xdp(struct xdp_md *ctx)
{
	DP_USES(ctx);
	return DP_GO;
}

__noinline int dp_quic_tc(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_GO;
}

#endif
