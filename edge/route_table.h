/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/route_table.h - tables of an earlier plan, found by what went into them. PURE.
 *
 * A table follows from its size and its backends' names and weights, in order: where all of that is as it was, the rows
 * are copied, which is what makes a computation after one change cheap.
 * Cost      begin O(entries log entries), find O(log entries + backends), copy O(rows)
 * Memory    begin allocates, done frees; zero-initialised is empty and finds nothing
 */
#ifndef EDGE_ROUTE_TABLE_H
#define EDGE_ROUTE_TABLE_H

#include "edge/route.h"

struct route_tables {
	struct route_table {
		uint64_t key;
		const struct route_entry *entry;
	} * table; /* by key */
	size_t count;
	uint32_t *place; /* by the old view's backend index: place in its table */
};

int route_tables_begin(const struct route_plan *old,
		       struct route_tables *ret_tables); /* 0 | -ENOMEM */
void route_tables_done(struct route_tables *t);
/* Rows of `e`, whose backends, names and weights are set, from a table that is the same. False: there is none. */
bool route_tables_copy(struct route_tables *t, struct route_entry *e);

#endif
