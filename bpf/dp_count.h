/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_count.h - the one counter that every exit bumps, and traffic by service and backend. */
#ifndef DP_COUNT_H
#define DP_COUNT_H

#include "bpf/dp_maps.h"

/* Every return statement of a program goes through here, once. */
static __always_inline int dp_exit(__u32 reason, int action)
{
	__u64 *n = bpf_map_lookup_elem(&dp_reason, &reason);

	if (n)
		*n += 1;
	return action;
}

static __always_inline void dp_stat_one(void *map, __u32 idx, __u32 packets, __u32 bytes)
{
	struct dp_stat *s = bpf_map_lookup_elem(map, &idx);

	if (s) {
		s->packets += packets;
		s->bytes += bytes;
	}
}

static __always_inline void dp_stat_add(__u32 svc_idx, __u32 backend_idx, __u32 packets,
					__u32 bytes)
{
	dp_stat_one(&dp_svc_stat, svc_idx, packets, bytes);
	dp_stat_one(&dp_be_stat, backend_idx, packets, bytes);
}

#endif
