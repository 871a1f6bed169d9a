/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_meter.h - rates: one word for all CPUs together, exact over time, no window and no clock but jiffies.
 *
 * The word is the time until which what was let in is paid for: a packet moves it on by 1/rate of a second, and it may be
 * at most one second ahead of now. So a bucket that holds one second's worth; what is refused costs a read.
 * Units     jiffies << DP_METER_SHIFT: a rate of 10 million a second is still exact to a third of a percent
 */
#ifndef DP_METER_H
#define DP_METER_H

#include "bpf/dp_work.h"

#define DP_METER_SHIFT 24

static __always_inline __u64 dp_meter_second(void)
{
	return (__u64)(dp_hz ? dp_hz : 250) << DP_METER_SHIFT;
}

static __always_inline __u64 dp_meter_now(void)
{
	return bpf_jiffies64() << DP_METER_SHIFT;
}

/* What one packet costs at this rate, which is not 0. */
static __always_inline __u64 dp_meter_cost(__u32 per_s)
{
	return dp_meter_second() / per_s;
}

/* Takes `cost` if there is room for it: 1, else 0. What costs more than a second is paid with all of one. is_dry: only
 * asks. */
static __always_inline int dp_meter_take(__u64 *due, __u64 now, __u64 cost, __u32 is_dry)
{
	__u64 second = dp_meter_second(), full = now + second;
	__u64 was = *(volatile __u64 *)due;

	if (cost > second)
		cost = second;
	if ((was < now ? now : was) + cost > full)
		return 0;
	if (is_dry)
		return 1;
	if (was < now) /* if it fails, another CPU has done it */
		(void)__sync_val_compare_and_swap(due, was, now);
	if (__sync_fetch_and_add(due, cost) + cost <= full)
		return 1;
	__sync_fetch_and_add(due, -cost); /* other CPUs took the rest meanwhile */
	return 0;
}

#endif
