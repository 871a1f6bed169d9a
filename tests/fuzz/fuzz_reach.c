/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rows of reachability: what is read is within its bounds and comes back the same; findings from such rows are about nodes that
 * there are. */
#include <stdlib.h>
#include <string.h>

#include "gossip/reach.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NODES 4

static void find(const struct reach_row *row)
{
	static const uint8_t first[NODES] = {0, 1, 0x7f, 0xff};
	struct reach_node node[NODES] = {0};
	struct reach_finding f[8];
	struct reach_band b;
	size_t n;

	for (size_t i = 0; i < NODES; i++) {
		node[i].id.b[0] = first[i];
		/* Some of those that the row names. */
		if (i < row->peer_count)
			memcpy(node[i].id.b + 1, row->peer[i].number + 1, 3);
		node[i].name = i % 2 ? "x" : "y";
		node[i].region = "r";
		node[i].is_up = node[i].has_row = true;
		node[i].row = *row;
	}
	n = reach_find(node, NODES, f, 8);
	if (n > 8)
		abort();
	for (size_t i = 0; i < n; i++)
		if (f[i].a >= NODES || (f[i].b >= NODES && f[i].b != REACH_NOBODY))
			abort();
	if (reach_region_band(node, NODES, "r", "r", &b) &&
	    (b.rtt >= REACH_RTT_BANDS || b.loss >= REACH_LOSS_BANDS))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t buf[REACH_ROW_BYTES_MAX];
	struct reach_row row, again;
	int len;

	if (reach_decode(data, size, &row))
		return 0;
	if (row.peer_count > REACH_PEERS_MAX || row.region_count > REACH_REGIONS_MAX ||
	    row.stall_pct > 100)
		abort();
	len = reach_encode(&row, buf, sizeof(buf));
	if (len <= 0 || reach_decode(buf, (size_t)len, &again))
		abort();
	if (again.peer_count != row.peer_count || again.region_count != row.region_count ||
	    again.stall_pct != row.stall_pct)
		abort();
	find(&row);
	return 0;
}
