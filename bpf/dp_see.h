/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_see.h - looking at the programs while they run: how long they take, and which packets leave them how.
 *
 * Both are off unless edged has said otherwise in dp_ctl, and then cost one test of two words in one cache line: what
 * dp_see_begin() answers decides at the end of the program whether anything is looked at at all.
 * Sampling  one in dp_ctl.hist_every or capture_every on average: each CPU counts down, from where chance puts it, for a
 *           fixed count would beat in time with the hooks
 * Frames    as they stand when the program ends: on the mesh device a tunnel may be off already, or on
 */
#ifndef DP_SEE_H
#define DP_SEE_H

#include "bpf/dp_see_abi.h"
#include "bpf/dp_work.h"

/* hook * DP_HIST_SLOTS + slot -> runs, or nanoseconds. Writers all programs, while dp_ctl.hist_every is set. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DP_HOOK_COUNT *DP_HIST_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} dp_hist SEC(".maps");

/* packets with their verdicts, struct dp_captured. Writers all programs, while dp_ctl.capture_every is set; reader edged.
 * Full: the packet is not written, dp_capture_lost counts. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DP_CAPTURE_RING);
} dp_capture SEC(".maps");

/* 0 -> packets that found no room in dp_capture. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} dp_capture_lost SEC(".maps");

/* 0 -> packets of this CPU until one is looked at. Writers all programs. */
struct dp_see_left {
	__u32 hist, capture;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dp_see_left);
} dp_see_left SEC(".maps");

/* Is it this packet's turn? */
static __always_inline int dp_see_turn(__u32 *left, __u32 every)
{
	if (every <= 1)
		return 1;
	if (*left > 1 && *left < 2 * every) {
		*left -= 1;
		return 0;
	}
	*left = 1 + bpf_get_prandom_u32() % (2 * every - 1);
	return 1;
}

static __always_inline struct dp_see_left *dp_see_left_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dp_see_left, &zero);
}

#define DP_SEE_CAPTURE_ONLY 1ull /* no time was taken */

/* 0: nobody looks at this packet. */
static __always_inline __u64 dp_see_begin(void)
{
	struct dp_ctl *ctl = dp_ctl_get();
	struct dp_see_left *left;

	if (!ctl || !(ctl->hist_every | ctl->capture_every))
		return 0;
	left = dp_see_left_get();
	if (left && ctl->hist_every && dp_see_turn(&left->hist, ctl->hist_every))
		return bpf_ktime_get_ns();
	return ctl->capture_every ? DP_SEE_CAPTURE_ONLY : 0;
}

static __always_inline __u32 dp_log2(__u64 x)
{
	__u32 n = 0;

	for (__u32 step = 32; step; step >>= 1) {
		if (x >> step) {
			x >>= step;
			n += step;
		}
	}
	return n;
}

static __always_inline void dp_hist_bump(__u32 idx, __u64 by)
{
	__u64 *n = bpf_map_lookup_elem(&dp_hist, &idx);

	if (n)
		*n += by;
}

__noinline int dp_see_time(__u64 began_ns, __u32 hook)
{
	__u64 took_ns = bpf_ktime_get_ns() - began_ns;
	__u32 slot = dp_log2(took_ns);

	dp_hist_bump(hook * DP_HIST_SLOTS + (slot < DP_HIST_SUM ? slot : DP_HIST_SUM - 1), 1);
	dp_hist_bump(hook * DP_HIST_SLOTS + DP_HIST_SUM, took_ns);
	return 0;
}

/* Is this one to be captured? */
static __always_inline int dp_see_wants(__u32 reason)
{
	struct dp_see_left *left = dp_see_left_get();
	struct dp_ctl *ctl = dp_ctl_get();
	__u64 want[2];

	if (!ctl || !left || !ctl->capture_every)
		return 0;
	want[0] = ctl->capture_reasons;
	want[1] = ctl->capture_reasons_hi;
	if ((want[0] | want[1]) && !(want[reason >> 6 & 1] >> (reason & 63) & 1))
		return 0;
	return dp_see_turn(&left->capture, ctl->capture_every);
}

/* A record with all but the data in it, or 0: no room. */
static __always_inline struct dp_captured *dp_see_record(__u32 hook, int out, __u32 ifindex,
							 __u32 frame_bytes)
{
	struct dp_captured *rec = bpf_ringbuf_reserve(&dp_capture, sizeof(*rec), 0);
	__u32 zero = 0;
	__u64 *lost;

	if (!rec) {
		lost = bpf_map_lookup_elem(&dp_capture_lost, &zero);
		if (lost)
			*lost += 1;
		return 0;
	}
	rec->time_ns = bpf_ktime_get_ns();
	rec->ifindex = ifindex;
	rec->frame_bytes = frame_bytes;
	rec->hook = (__u8)hook;
	rec->action = (__u8)DP_OUT_ACTION(out);
	rec->reason = DP_OUT_REASON(out);
	return rec;
}

/* The compiler forgets what it knows of x, so that it keeps the check that the verifier asks for. */
#define DP_KEEP(x) __asm__ volatile("" : "+r"(x))

__noinline int dp_capture_xdp(struct xdp_md *ctx, __u32 hook, int out)
{
	__u32 frame_bytes = (__u32)(ctx->data_end - ctx->data);
	__u32 bytes = frame_bytes < DP_CAPTURE_BYTES ? frame_bytes : DP_CAPTURE_BYTES;
	struct dp_captured *rec;

	if (!dp_see_wants(DP_OUT_REASON(out)))
		return 0;
	rec = dp_see_record(hook, out, ctx->ingress_ifindex, frame_bytes);
	if (!rec)
		return 0;
	DP_KEEP(bytes);
	if (bytes - 1 >= DP_CAPTURE_BYTES || bpf_xdp_load_bytes(ctx, 0, rec->data, bytes))
		bytes = 0;
	rec->bytes = (__u16)bytes;
	bpf_ringbuf_submit(rec, 0);
	return 0;
}

__noinline int dp_capture_tc(struct __sk_buff *skb, __u32 hook, int out)
{
	__u32 frame_bytes = skb->len;
	__u32 bytes = frame_bytes < DP_CAPTURE_BYTES ? frame_bytes : DP_CAPTURE_BYTES;
	struct dp_captured *rec;

	if (!dp_see_wants(DP_OUT_REASON(out)))
		return 0;
	rec = dp_see_record(hook, out, skb->ifindex, frame_bytes);
	if (!rec)
		return 0;
	DP_KEEP(bytes);
	if (bytes - 1 >= DP_CAPTURE_BYTES || bpf_skb_load_bytes(skb, 0, rec->data, bytes))
		bytes = 0;
	rec->bytes = (__u16)bytes;
	bpf_ringbuf_submit(rec, 0);
	return 0;
}

static __always_inline void dp_see_xdp(struct xdp_md *ctx, __u32 hook, __u64 began_ns, int out)
{
	if (!began_ns)
		return;
	if (began_ns != DP_SEE_CAPTURE_ONLY)
		dp_see_time(began_ns, hook);
	dp_capture_xdp(ctx, hook, out);
}

static __always_inline void dp_see_tc(struct __sk_buff *skb, __u32 hook, __u64 began_ns, int out)
{
	if (!began_ns)
		return;
	if (began_ns != DP_SEE_CAPTURE_ONLY)
		dp_see_time(began_ns, hook);
	dp_capture_tc(skb, hook, out);
}

#endif
