/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/filter.h"

#include <string.h>

#define V4_BITS 96u

static void set_key(struct dp_filter_key *k, uint32_t svc_id, const uint8_t addr[16], uint32_t bits)
{
	memset(k, 0, sizeof(*k));
	k->prefix_bits = 32 + bits;
	k->svc_id = svc_id;
	memcpy(k->addr, addr, sizeof(k->addr));
}

int filter_add(struct mapset *s, uint32_t svc_id, const struct ip_prefix *prefix, uint8_t verb)
{
	struct dp_filter_key k;

	set_key(&k, svc_id, prefix->addr.b, prefix->bits);
	return mapset_add(s, &k, verb);
}

static const uint8_t v4_mapped[16] = {[10] = 0xff, [11] = 0xff};

/* A prefix that holds all of ::ffff:0:0/96, and more. */
static bool holds_v4(const struct dp_filter_key *k)
{
	uint32_t bits = k->prefix_bits - 32;

	if (bits >= V4_BITS)
		return false;
	for (uint32_t i = 0; i < bits; i++)
		if ((k->addr[i / 8] ^ v4_mapped[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return true;
}

int filter_finish(struct mapset *s)
{
	size_t count = s->count;

	for (size_t i = 0; i < count; i++) {
		struct dp_filter_key k;
		int rc;

		memcpy(&k, mapset_key(s, i), sizeof(k));
		if (!holds_v4(&k))
			continue;
		set_key(&k, k.svc_id, v4_mapped, V4_BITS);
		rc = mapset_add(s, &k, UINT8_MAX);
		if (rc)
			return rc;
	}
	/* Of equal keys the lowest value stays: that of 0.0.0.0/0, if the list has it. */
	mapset_sort(s);
	for (size_t i = 0; i < s->count; i++)
		if (mapset_value(s, i) == UINT8_MAX)
			mapset_set(s, i, FILTER_SILENT);
	return 0;
}
