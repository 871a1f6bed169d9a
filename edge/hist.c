/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/hist.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define CPUS_MAX 8192 /* more than the kernel can be built for */

static const char *const hook_name[] = {
#define HOOK_NAME(name, text, is_out) text,
	DP_HOOKS(HOOK_NAME)
#undef HOOK_NAME
};

static int new_value(uint64_t **ret_value)
{
	int cpus = libbpf_num_possible_cpus();

	if (cpus <= 0 || cpus > CPUS_MAX)
		return cpus < 0 ? cpus : -E2BIG;
	*ret_value = calloc((size_t)cpus, sizeof(**ret_value));
	return *ret_value ? cpus : -ENOMEM;
}

int hist_read(const struct dp_fds *fds, struct hist ret_hist[DP_HOOK_COUNT])
{
	struct hist hist[DP_HOOK_COUNT] = {0};
	uint64_t *value;
	int cpus = new_value(&value), rc = 0;

	if (cpus < 0)
		return cpus;
	for (uint32_t i = 0; !rc && i < DP_HOOK_COUNT * DP_HIST_SLOTS; i++) {
		struct hist *h = &hist[i / DP_HIST_SLOTS];
		uint32_t slot = i % DP_HIST_SLOTS;
		uint64_t sum = 0;

		if (bpf_map_lookup_elem(fds->hist, &i, value))
			rc = -errno;
		for (int c = 0; c < cpus; c++)
			sum += value[c];
		h->name = hook_name[i / DP_HIST_SLOTS];
		if (slot == DP_HIST_SUM) {
			h->sum_ns = sum;
			continue;
		}
		h->slot[slot] = sum;
		h->runs += sum;
	}
	free(value);
	if (!rc)
		memcpy(ret_hist, hist, sizeof(hist));
	return rc;
}

int hist_clear(const struct dp_fds *fds)
{
	uint64_t *zero;
	int rc = new_value(&zero);

	if (rc < 0)
		return rc;
	rc = 0;
	for (uint32_t i = 0; !rc && i < DP_HOOK_COUNT * DP_HIST_SLOTS; i++)
		if (bpf_map_update_elem(fds->hist, &i, zero, BPF_ANY))
			rc = -errno;
	free(zero);
	return rc;
}

uint64_t hist_below_ns(const struct hist *h, unsigned int pct)
{
	uint64_t seen = 0;

	for (uint32_t i = 0; i < DP_HIST_SUM; i++) {
		seen += h->slot[i];
		if (seen && seen * 100 >= h->runs * pct)
			return 2ull << i;
	}
	return 0;
}
