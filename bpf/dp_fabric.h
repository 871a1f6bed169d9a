/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_fabric.h - a mesh over trusted Ethernet: the tunnel on and off in XDP. The packet is in dp_work.pkt, its backend in
 * dp_work.choice. */
#ifndef DP_FABRIC_H
#define DP_FABRIC_H

#include "bpf/dp_encap.h"

/* Edge: encapsulate and send. DP_GO: leave it to TC. */
__noinline int dp_fabric_out(struct xdp_md *ctx)
{
	DP_USES(ctx);
	return DP_GO;
}

#endif
