/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "edge/reason.h"

#define CPUS_MAX                                                                                   \
	8192 /* more than the kernel can be built for; a wrong answer must not size our memory */

static int cpu_count(void)
{
	int n = libbpf_num_possible_cpus();

	return n > CPUS_MAX ? -E2BIG : n;
}

int stats_reasons(const struct dp_fds *fds, struct stats_reason ret_reason[DP_REASON_COUNT])
{
	struct stats_reason reason[DP_REASON_COUNT];
	int cpus = cpu_count(), rc = 0;
	uint64_t *value;

	if (cpus <= 0)
		return cpus ? cpus : -EIO;
	value = calloc((size_t)cpus, sizeof(*value));
	if (!value)
		return -ENOMEM;
	for (uint32_t i = 0; i < DP_REASON_COUNT; i++) {
		if (bpf_map_lookup_elem(fds->reason, &i, value)) {
			rc = -errno;
			break;
		}
		reason[i] = (struct stats_reason){.name = reason_name(i),
						  .meaning = reason_meaning(i),
						  .is_drop = reason_is_drop(i)};
		for (int c = 0; c < cpus; c++)
			reason[i].packets += value[c];
	}
	free(value);
	if (!rc)
		memcpy(ret_reason, reason, sizeof(reason));
	return rc;
}

static int sum_stat(int fd, uint32_t idx, struct dp_stat *ret_stat)
{
	int cpus = cpu_count(), rc = 0;
	struct dp_stat *value, sum = {0};

	if (cpus <= 0)
		return cpus ? cpus : -EIO;
	value = calloc((size_t)cpus, sizeof(*value));
	if (!value)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &idx, value))
		rc = -errno;
	for (int c = 0; c < cpus; c++) {
		sum.packets += value[c].packets;
		sum.bytes += value[c].bytes;
	}
	free(value);
	if (!rc)
		*ret_stat = sum;
	return rc;
}

int stats_svc(const struct dp_fds *fds, uint32_t svc_idx, struct dp_stat *ret_stat)
{
	return sum_stat(fds->svc_stat, svc_idx, ret_stat);
}

int stats_backend(const struct dp_fds *fds, uint32_t backend_idx, struct dp_stat *ret_stat)
{
	return sum_stat(fds->be_stat, backend_idx, ret_stat);
}
