/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/reach_text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int reach_look_begin(const struct gossip_core *core, struct reach_look *ret_look)
{
	size_t count = gossip_core_member_count(core);
	struct reach_look l = {.node = malloc((count + 1) * sizeof(*l.node))};

	if (!l.node)
		return -ENOMEM;
	l.node_count = reach_collect(core, l.node, count);
	l.found_count = reach_find(l.node, l.node_count, l.found, REACH_FOUND_MAX);
	*ret_look = l;
	return 0;
}

void reach_look_end(struct reach_look *l)
{
	free(l->node);
	l->node = NULL;
}

const struct reach_node *reach_look_number(const struct reach_look *l, const uint8_t number[4])
{
	for (size_t i = 0; i < l->node_count; i++)
		if (memcmp(l->node[i].id.b, number, 4) == 0)
			return &l->node[i];
	return NULL;
}

const char *reach_cause_text(uint8_t cause)
{
	switch ((enum reach_cause)cause) {
	case REACH_UNHEARD:
		return "not heard";
	case REACH_DEAF:
		return "does not hear it";
	case REACH_DATA:
		return "forwarder silent";
	case REACH_GRAY:
		return "half dead";
	case REACH_TWIN:
		return "claimed twice";
	}
	return "something that this version has no word for";
}

const char *reach_loss_text(uint8_t loss_band)
{
	static const char *const text[REACH_LOSS_BANDS] = {"under 1 %", "1 to 5 %", "5 to 15 %",
							   "15 to 35 %", "over 35 %"};

	return text[loss_band < REACH_LOSS_BANDS ? loss_band : REACH_LOSS_BANDS - 1];
}

const char *reach_finding_text(const struct reach_look *l, const struct reach_finding *f,
			       char buf[REACH_TEXT_MAX])
{
	const struct reach_node *a = &l->node[f->a];
	const char *b = f->b == REACH_NOBODY ? "" : l->node[f->b].name;

	switch (f->kind) {
	case REACH_FOUND_TWIN:
		if (f->b != REACH_NOBODY)
			snprintf(buf, REACH_TEXT_MAX, "two nodes are called %s: rename one",
				 a->name);
		else
			snprintf(buf, REACH_TEXT_MAX,
				 "two machines claim the id, name or number of node %s (%s): one "
				 "needs a key and a name of its own",
				 a->name, a->region);
		break;
	case REACH_FOUND_GRAY:
		if (a->has_row && a->row.stall_pct)
			snprintf(buf, REACH_TEXT_MAX,
				 "node %s (%s) is half dead: it stands still for a part of the "
				 "time",
				 a->name, a->region);
		else
			snprintf(buf, REACH_TEXT_MAX,
				 "node %s (%s) is half dead: it goes and comes, or answers far "
				 "later than its neighbours",
				 a->name, a->region);
		break;
	case REACH_FOUND_DATA:
		snprintf(buf, REACH_TEXT_MAX,
			 "node %s (%s): its edged answers, its forwarder does not", a->name,
			 a->region);
		break;
	case REACH_FOUND_PATHS:
		snprintf(buf, REACH_TEXT_MAX,
			 "node %s (%s) can't be reached by many that others reach", a->name,
			 a->region);
		break;
	case REACH_FOUND_ONE_WAY:
		snprintf(buf, REACH_TEXT_MAX,
			 "one-way link: packets of %s don't reach %s, those of %s reach %s",
			 a->name, b, b, a->name);
		break;
	case REACH_FOUND_TUNNEL:
		snprintf(buf, REACH_TEXT_MAX,
			 "packets between %s and %s get lost, though others reach both: their "
			 "tunnel is stuck",
			 a->name, b);
		break;
	case REACH_FOUND_UNHEARD:
		snprintf(buf, REACH_TEXT_MAX, "%s hears nothing of %s, though others do", a->name,
			 b);
		break;
	}
	return buf;
}
