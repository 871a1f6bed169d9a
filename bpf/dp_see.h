/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_see.h - looking at the programs while they run: nothing yet. */
#ifndef DP_SEE_H
#define DP_SEE_H

#include "bpf/dp_work.h"

/* One per program. */
enum dp_hook {
	DP_HOOK_XDP,
	DP_HOOK_XDP_MESH,
	DP_HOOK_PUB_IN,
	DP_HOOK_MESH_IN,
	DP_HOOK_MESH_OUT,
	DP_HOOK_UP_OUT,
	DP_HOOK_BR_IN,
	DP_HOOK_COUNT
};

/* 0: nobody times this packet. */
static __always_inline __u64 dp_see_begin(void)
{
	return 0;
}

static __always_inline void dp_see_xdp(struct xdp_md *ctx, __u64 began_ns, __u32 reason)
{
}

static __always_inline void dp_see_tc(struct __sk_buff *skb, __u32 hook, __u64 began_ns,
				      __u32 reason)
{
}

#endif
