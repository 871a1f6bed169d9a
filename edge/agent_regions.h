/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/agent_regions.h - the table of other regions. For edge/agent_regions*.c alone. */
#ifndef EDGE_AGENT_REGIONS_H
#define EDGE_AGENT_REGIONS_H

#include "edge/agent_int.h"
#include "edge/summary.h"

struct agent_region {
	char name[MODEL_NAME_MAX];
	struct summary *summary; /* in force, NULL = none came that could be read */
	struct gossip_version version;
	bool is_dead;
	uint8_t down[GOSSIP_DOWN_MAX][4];
	size_t down_count;
	bool is_unstored;
	uint64_t stored_ms;
};

struct agent_regions {
	struct agent_region *r[GOSSIP_REGIONS_MAX]; /* by name; they live as long as the agent */
	size_t count;
	uv_timer_t say_timer;
	bool is_say_armed;
	uint64_t said_ms;
	size_t own_bytes;
	char clash_text[AGENT_TEXT_MAX]; /* of the last view: a number that two have, "" = none */
};

#endif
