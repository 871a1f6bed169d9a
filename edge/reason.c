/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/reason.h"

#include <errno.h>
#include <string.h>

static const struct {
	const char *name, *meaning;
	bool is_drop;
} text[] = {
#define REASON_TEXT(id, name, drop, meaning) {name, meaning, drop},
	DP_REASONS(REASON_TEXT)
#undef REASON_TEXT
};

const char *reason_name(uint32_t reason)
{
	return reason < DP_REASON_COUNT ? text[reason].name : "?";
}

const char *reason_meaning(uint32_t reason)
{
	return reason < DP_REASON_COUNT ? text[reason].meaning : "?";
}

bool reason_is_drop(uint32_t reason)
{
	return reason < DP_REASON_COUNT && text[reason].is_drop;
}

int reason_find(const char *name, uint32_t *ret_reason)
{
	for (uint32_t i = 0; i < DP_REASON_COUNT; i++) {
		if (strcmp(text[i].name, name) == 0) {
			*ret_reason = i;
			return 0;
		}
	}
	return -ENOENT;
}
