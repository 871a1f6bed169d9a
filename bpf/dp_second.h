/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_second.h - a packet of a flow that may live elsewhere: one hop to where it lived before. The packet is in
 * dp_work.pkt, its tunnel in dp_work.tunnel and still on. */
#ifndef DP_SECOND_H
#define DP_SECOND_H

#include "bpf/dp_encap.h"

/* Edge: the sequence word that goes with dp_work.choice, 0 = none. */
static __always_inline __u32 dp_second_seq(const struct dp_choice *c)
{
	return 0;
}

/* Worker without the flow: DP_GO: make it here; else how the program ends (passed on, passed back, dropped). */
__noinline int dp_second_try(struct __sk_buff *skb)
{
	DP_USES(skb);
	return DP_GO;
}

#endif
