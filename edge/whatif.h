/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/whatif.h - the route function on a view that is not there: what if these nodes, regions or backends were gone?
 *
 * Pure: the caller's view is copied and stays as it is. Shares are of one entry's traffic as this region's tables spread it;
 * what clients of other regions do is for an edge of that region to say.
 * Errors    0 | -EINVAL, -ENOENT (e names the word) | -ENOMEM
 */
#ifndef EDGE_WHATIF_H
#define EDGE_WHATIF_H

#include "edge/route.h"
#include "gossip/err.h"

#define WHATIF_KILLS_MAX 16

struct whatif {
	struct route_view view; /* changed */
	struct route_plan *routes;
	struct route_node *node;
	struct route_backend *backend;
};

/* kill: "region:NAME", "node:NAME", "backend:NODE/SERVICE/ADDR:PORT". */
int whatif_compute(const struct route_view *view, const char *const *kill, size_t kill_count,
		   struct whatif *ret_whatif, struct err *e);
void whatif_free(struct whatif *w);

/* Rows of an entry that go to a region, or to a backend. */
uint32_t whatif_rows_region(const struct route_view *view, const struct route_entry *e,
			    const char *region);
uint32_t whatif_rows_backend(const struct route_entry *e, size_t backend_idx);

#endif
