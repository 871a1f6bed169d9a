/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_count.h - how programs end: one counter by reason; and traffic by service and backend. */
#ifndef DP_COUNT_H
#define DP_COUNT_H

#include "bpf/dp_see.h"

static __always_inline void dp_count(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&dp_reason, &reason);

	if (n)
		*n += 1;
}

/* Every program returns through one of these, once. began_ns is what dp_see_begin() said. */
static __always_inline int dp_leave_xdp(struct xdp_md *ctx, __u32 hook, __u64 began_ns, int out)
{
	dp_count(DP_OUT_REASON(out));
	dp_see_xdp(ctx, hook, began_ns, out);
	return DP_OUT_ACTION(out);
}

static __always_inline int dp_leave_tc(struct __sk_buff *skb, __u32 hook, __u64 began_ns, int out)
{
	dp_count(DP_OUT_REASON(out));
	dp_see_tc(skb, hook, began_ns, out);
	return DP_OUT_ACTION(out);
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

/* What a CPU answers within one window of 2^26 ns, 67 ms: a flood of questions makes no flood of answers. */
#define DP_RATE_WINDOW_SHIFT 26
#define DP_RATE_PING_MAX 134 /* about 2,000 a second */
#define DP_RATE_ECHO_MAX 670 /* about 10,000 */
#define DP_RATE_ERROR_MAX 67 /* about 1,000, as Linux limits its own */

/* One more answer of that enum dp_rate_kind: 1 = give it. */
static __always_inline int dp_rate_take(__u32 kind, __u32 max)
{
	__u64 window = bpf_ktime_get_ns() >> DP_RATE_WINDOW_SHIFT;
	struct dp_rate *r = bpf_map_lookup_elem(&dp_rate, &kind);

	if (!r)
		return 0;
	if (r->window != window) {
		r->window = window;
		r->used = 0;
	}
	if (r->used >= max)
		return 0;
	r->used++;
	return 1;
}

#endif
