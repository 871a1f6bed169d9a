/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What comes about regions: messages with lists of regions and parts of values, and speakers' states and views, which are read
 * within their bounds and come back the same. */
#include <stdlib.h>
#include <string.h>

#include "gossip/region.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_word(const uint8_t *data, size_t size)
{
	uint8_t buf[RECORD_VALUE_MAX];
	struct region_word w, again;
	int len;

	if (region_word_decode(data, size, &w))
		return;
	if (w.down_count > GOSSIP_DOWN_MAX || w.lowest_count > REGION_SPEAKERS)
		abort();
	len = region_word_encode(&w, buf, sizeof(buf));
	if (len < 0 || region_word_decode(buf, (size_t)len, &again) ||
	    memcmp(&w, &again, sizeof(w)) != 0)
		abort();
}

static void check_view(const uint8_t *data, size_t size)
{
	uint8_t buf[RECORD_VALUE_MAX];
	struct region_view v, again;
	int len;

	if (region_view_decode(data, size, &v))
		return;
	if (v.count > GOSSIP_REGIONS_MAX)
		abort();
	len = region_view_encode(&v, buf, sizeof(buf));
	if (len < 0 || region_view_decode(buf, (size_t)len, &again) || v.count != again.count ||
	    v.turn != again.turn || memcmp(v.of, again.of, v.count * sizeof(v.of[0])) != 0)
		abort();
}

static void check_message(const uint8_t *data, size_t size)
{
	struct wire_region x;
	struct wire_msg m;
	size_t n = 0;

	if (wire_decode(data, size, &m))
		return;
	while (wire_next_region(&m.regions, &x)) {
		if (!x.name[0] || x.len > GOSSIP_SUMMARY_MAX)
			abort();
		n++;
	}
	if (n > size)
		abort();
	if (m.has_summary &&
	    (m.summary.total > GOSSIP_SUMMARY_MAX ||
	     m.summary.offset + m.summary.len > m.summary.total ||
	     (m.summary.len > 0 &&
	      (m.summary.data < data || m.summary.data + m.summary.len > data + size))))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_word(data, size);
	check_view(data, size);
	check_message(data, size);
	return 0;
}
