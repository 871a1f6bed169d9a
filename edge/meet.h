/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/meet.h - at which edge pointers to long connections are kept (bpf/dp_meet.h). PURE.
 *
 * Input is mesh records and who is alive: nodes that know the same edges agree on every row, whatever their regions. Edges,
 * because those are known everywhere, also where regions are known by summaries.
 * Rendezvous hashing: who comes takes 1/n of the rows from all, who goes gives its own to all; no other row changes
 * Cost      O(rows * edges)
 */
#ifndef EDGE_MEET_H
#define EDGE_MEET_H

#include "edge/route.h"

#define MEET_NONE SIZE_MAX

/* May this node keep pointers: an edge with a forwarder, not known to be gone, and not about to go? */
bool meet_is_keeper(const struct route_node *n);
/* By row an index into view->node; MEET_NONE where there is no keeper at all. */
void meet_rows(const struct route_view *view, size_t ret_row[DP_MEET_ROWS]);

#endif
