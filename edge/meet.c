/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/meet.h"

bool meet_is_keeper(const struct route_node *n)
{
	return n->node.is_edge && n->node.has_forwarder && !n->is_drained &&
	       n->state != GOSSIP_DEAD && n->state != GOSSIP_LEFT &&
	       !ip_is_zero(&n->node.mesh_addr);
}

static uint64_t score(uint64_t node, uint32_t row)
{
	return maglev_hash_end(node ^ (row + 1) * 0x9e3779b97f4a7c15ull);
}

void meet_rows(const struct route_view *view, size_t ret_row[DP_MEET_ROWS])
{
	uint64_t best[DP_MEET_ROWS];

	for (uint32_t r = 0; r < DP_MEET_ROWS; r++)
		ret_row[r] = MEET_NONE;
	for (size_t i = 0; i < view->node_count; i++) {
		const struct route_node *n = &view->node[i];
		uint64_t hash = maglev_hash_end(
			maglev_hash_add(MAGLEV_HASH_INIT, n->id.b, sizeof(n->id.b)));

		if (!meet_is_keeper(n))
			continue;
		for (uint32_t r = 0; r < DP_MEET_ROWS; r++) {
			uint64_t s = score(hash, r);

			if (ret_row[r] == MEET_NONE || s > best[r] ||
			    (s == best[r] && node_id_cmp(&n->id, &view->node[ret_row[r]].id) < 0)) {
				ret_row[r] = i;
				best[r] = s;
			}
		}
	}
}
