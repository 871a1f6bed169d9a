/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bench/live.h - live frames: what the programs and their keeper tell each other. */
#ifndef BENCH_LIVE_H
#define BENCH_LIVE_H

#include <linux/types.h>

#define LIVE_FRAME_BYTES 60u

struct live_job {
	__u64 made;
	__u64 seen;
	__u32 flows;
	__u32 client; /* first source, host order */
	__u32 vip;
	__u32 ifindex;
	__u8 dst[6];
	__u8 src[6];
	__u16 port;
	__u16 pad;
};

#endif
