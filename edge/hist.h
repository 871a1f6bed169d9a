/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/hist.h - how long the forwarder's programs run: reads, clears and judges dp_hist.
 *
 * Units     nanoseconds; slot i holds runs of [2^i, 2^(i+1)) ns
 * Errors    0 | -ENOMEM | what the kernel says; nothing is written then
 */
#ifndef EDGE_HIST_H
#define EDGE_HIST_H

#include "bpf/dp_see_abi.h"
#include "edge/dp.h"

struct hist {
	const char *name; /* of the hook */
	uint64_t runs;	  /* timed ones */
	uint64_t sum_ns;
	uint64_t slot[DP_HIST_SUM];
};
/* Fills DP_HOOK_COUNT entries. CPUs are read one after another while packets go on. */
int hist_read(const struct dp_fds *fds, struct hist ret_hist[DP_HOOK_COUNT]);
int hist_clear(const struct dp_fds *fds);
/* So many percent of the runs took less than this; 0 if there were none. The slot's upper end: at most twice too much. */
uint64_t hist_below_ns(const struct hist *h, unsigned int pct);

#endif
