/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/reach_text.h - what gossip/reach.h found out, for people.
 *
 * A sentence stays the same while what it says does: no ages, no counts of witnesses, so that it is one event and not many.
 * Memory    reach_look_begin() allocates, reach_look_end() frees; names are the core's: use it before that runs on
 */
#ifndef EDGE_REACH_TEXT_H
#define EDGE_REACH_TEXT_H

#include "gossip/gossip.h"
#include "gossip/reach.h"

#define REACH_FOUND_MAX 64
#define REACH_TEXT_MAX 240

struct reach_look {
	struct reach_node *node;
	size_t node_count;
	struct reach_finding found[REACH_FOUND_MAX];
	size_t found_count;
};
int reach_look_begin(const struct gossip_core *core, struct reach_look *ret_look); /* -ENOMEM */
void reach_look_end(struct reach_look *l);
const char *reach_finding_text(const struct reach_look *l, const struct reach_finding *f,
			       char buf[REACH_TEXT_MAX]);
const char *reach_cause_text(uint8_t cause);	/* "not heard", ... */
const char *reach_loss_text(uint8_t loss_band); /* "under 1 %", ... */
/* Of the node with this number, or NULL. */
const struct reach_node *reach_look_number(const struct reach_look *l, const uint8_t number[4]);

#endif
