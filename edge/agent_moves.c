/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pointers to long connections (docs/adr/0015): where they are kept, and carrying this worker's own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"
#include "edge/meet.h"

/* Something else than the last time? Keepers and their indexes, in any order. */
static uint64_t digest(const struct agent *a)
{
	const struct route_view *v = &a->world->view;
	uint64_t sum = 1;

	for (size_t i = 0; i < v->node_count; i++) {
		uint32_t idx = plan_node_idx(a->plan, &v->node[i].id);
		uint64_t h = MAGLEV_HASH_INIT;

		if (!meet_is_keeper(&v->node[i]))
			continue;
		h = maglev_hash_add(h, v->node[i].id.b, sizeof(v->node[i].id.b));
		sum += maglev_hash_end(maglev_hash_add(h, &idx, sizeof(idx)));
	}
	return sum;
}

int agent_moves_write(struct agent *a, struct err *e)
{
	const struct route_view *v = &a->world->view;
	uint64_t now = digest(a);
	size_t row[DP_MEET_ROWS];

	if (a->meet_digest == now)
		return 0;
	meet_rows(v, row);
	for (uint32_t r = 0; r < DP_MEET_ROWS; r++) {
		uint32_t idx =
			row[r] == MEET_NONE ? 0 : plan_node_idx(a->plan, &v->node[row[r]].id);
		int err = a->meet_digest && a->meet[r] == idx ? 0 : mapw_set_meet(a->mapw, r, idx);

		if (err) {
			a->meet_digest = 0;
			return err_set(e, err, "dp_meet: %s", strerror(-err));
		}
		a->meet[r] = idx;
	}
	a->meet_digest = now;
	a->map_writes++;
	return 0;
}

/* ---- carrying */

static bool addr_cb(uint32_t node_idx, uint8_t ret_addr[16], void *arg)
{
	const struct agent *a = arg;

	return a->mapw && mapw_node_addr(a->mapw, node_idx, ret_addr);
}

static uint32_t mesh_cb(void *arg)
{
	const struct agent *a = arg;
	struct dp_host host;

	return a->mapw && !mapw_get_host(a->mapw, &host) ? host.mesh_ifindex : 0;
}

static void on_closed(void *arg)
{
	agent_handle_closed(arg);
}

void agent_moves_maps(struct agent *a)
{
	struct pointer_config cfg = {.mesh_cb = mesh_cb, .addr_cb = addr_cb, .arg = a};
	struct err e = {0};

	a->meet_digest = 0;
	if (pointers_open(a->uv, a->fds.leave, &cfg, &a->pointers, &e)) {
		a->pointers = NULL;
		agent_log("error", "pointers_unavailable", "error=\"%s\"", e.text);
		return;
	}
	a->open_handles++;
}

void agent_moves_no_maps(struct agent *a)
{
	if (a->pointers)
		pointers_close(a->pointers, on_closed, a);
	a->pointers = NULL;
}
