/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Nodes that go and come, or stand still for a part of the time: they serve with a quarter of their weight until they are well, or
 * dead. By what the mesh's rows say alone, so that all edges that have the same rows give the same. If that is said of half
 * of all nodes, it says more of the network than of them, and all keep their weight. */
#include <errno.h>
#include <stdlib.h>

#include "edge/agent_int.h"
#include "gossip/reach.h"

#define GRAY_PCT 25
#define LOOK_MS 10000 /* a change moves rows */

/* is_gray: by view.node index. Nobody is gray where memory fails: the next look is soon. */
static size_t find(const struct agent *a, const struct world *w, bool *is_gray)
{
	size_t max = w->view.node_count, count, found, up = 0, gray = 0;
	struct reach_node *node = calloc(max + 1, sizeof(*node));
	struct reach_finding *f = calloc(2 * max + 1, sizeof(*f));

	count = node && f ? reach_collect(a->core, node, max) : 0;
	found = count ? reach_find(node, count, f, 2 * max) : 0;
	for (size_t i = 0; i < count; i++)
		up += node[i].is_up;
	for (size_t i = 0; i < found && i < 2 * max; i++) {
		const struct route_node *n;

		if (f[i].kind != REACH_FOUND_GRAY)
			continue;
		n = agent_world_node(w, &node[f[i].a].id);
		if (n && !is_gray[n - w->node]) {
			is_gray[n - w->node] = true;
			gray++;
		}
	}
	free(node);
	free(f);
	return 2 * gray < up ? gray : 0;
}

void agent_gray(const struct agent *a, struct world *w)
{
	bool *is_gray = calloc(w->view.node_count + 1, sizeof(*is_gray));

	if (is_gray && find(a, w, is_gray))
		for (size_t i = 0; i < w->view.node_count; i++)
			w->node[i].share_pct = is_gray[i] ? GRAY_PCT : 0;
	free(is_gray);
}

void agent_gray_tick(struct agent *a, uint64_t now_ms)
{
	struct world *w = a->world;
	bool *is_gray, has_changed = false;
	size_t gray;

	if (!w || now_ms < a->gray_ms + LOOK_MS)
		return;
	a->gray_ms = now_ms;
	is_gray = calloc(w->view.node_count + 1, sizeof(*is_gray));
	if (!is_gray)
		return;
	gray = find(a, w, is_gray);
	for (size_t i = 0; i < w->view.node_count; i++) {
		bool is_now = gray && is_gray[i];

		if (is_now == (w->node[i].share_pct != 0))
			continue;
		has_changed = true;
		agent_log("info", "gray", "node=%s share_pct=%d", w->node[i].node.name,
			  is_now ? GRAY_PCT : 100);
	}
	free(is_gray);
	if (!has_changed)
		return;
	a->is_reshaped = true;
	agent_kick(a, false);
}
