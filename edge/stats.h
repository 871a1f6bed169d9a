/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/stats.h - per-CPU counters of the forwarder, summed into a snapshot.
 *
 * The CPUs are read one after another while packets go on: a sum is exact only when nothing moves.
 * Errors    0 | -ENOENT no such index | -ENOMEM | what the kernel says; nothing is written then
 */
#ifndef EDGE_STATS_H
#define EDGE_STATS_H

#include "bpf/dp_reasons.h"
#include "edge/dp.h"

struct stats_reason {
	const char *name;
	const char *meaning;
	bool is_drop;
	uint64_t packets;
};
/* Fills DP_REASON_COUNT entries. Reads one map entry per reason. */
int stats_reasons(const struct dp_fds *fds, struct stats_reason ret_reason[DP_REASON_COUNT]);
int stats_svc(const struct dp_fds *fds, uint32_t svc_idx, struct dp_stat *ret_stat);
int stats_backend(const struct dp_fds *fds, uint32_t backend_idx, struct dp_stat *ret_stat);

#endif
