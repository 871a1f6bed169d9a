/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bench/bench.h - what the benchmark's programs and its main program tell each other. */
#ifndef BENCH_H
#define BENCH_H

#include <linux/types.h>

#define BENCH_TEMPLATE_GRE 70u	/* Ethernet, IPv4, GRE with key, IPv4, UDP */
#define BENCH_TEMPLATE_BARE 42u /* Ethernet, IPv4, UDP */

struct bench_job {
	__u64 ns; /* TC: time inside the program */
	__u64 runs;
	__u64 sink; /* keeps the compiler from leaving a step out */
	__u32 at;
	__u32 flow_mask; /* flows - 1; 64 share an address */
	__u32 vip_mask;	 /* 0: the packet's own; else VIPs - 1, each in turn for four packets */
	__u32 vip4;	 /* first VIP, host order (IPv6: its last word) */
	__u32 family;
	__u32 is_reply;
	__u32 template_bytes;
	__u32 is_dropped; /* no verdict is left in front */
	__u32 overhead;	  /* the tunnel that is put in front, 0 = none */
	__u32 pad;
	__u8 template[72];
};

#endif
