/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What another node says of its tables. What is decoded must encode, and decode to the same again. */
#include <stdlib.h>
#include <string.h>

#include "edge/agent.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent_tables t, again;
	uint8_t buf[RECORD_VALUE_MAX];
	int len;

	if (agent_tables_decode(data, size, &t))
		return 0;
	len = agent_tables_encode(&t, buf, sizeof(buf));
	if (len < 0 || agent_tables_decode(buf, (size_t)len, &again))
		abort();
	if (memcmp(t.digest, again.digest, sizeof(t.digest)) != 0 ||
	    t.is_written != again.is_written || t.has_sums != again.has_sums ||
	    t.times != again.times || memcmp(&t.sums, &again.sums, sizeof(t.sums)) != 0)
		abort();
	return 0;
}
