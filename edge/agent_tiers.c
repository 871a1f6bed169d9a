/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The order of the other regions: those that are configured first, then by distance in bands, as all nodes of this region
 * together see it, so that all its edges come to the same order. */
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"
#include "gossip/reach.h"

#define LOOK_MS 10000 /* bands change rarely, and a change moves rows */

struct region {
	const char *name;
	uint32_t rtt; /* band; REACH_RTT_BANDS: nobody has said anything */
};

static int nearest_first(const void *pa, const void *pb)
{
	const struct region *a = pa, *b = pb;

	if (a->rtt != b->rtt)
		return a->rtt < b->rtt ? -1 : 1;
	return strcmp(a->name, b->name);
}

static bool is_named(const struct route_view *v, const struct region *list, size_t count,
		     const char *region)
{
	if (!strcmp(region, v->region))
		return true;
	for (size_t i = 0; i < v->order_count; i++)
		if (!strcmp(v->order[i], region))
			return true;
	for (size_t i = 0; i < count; i++)
		if (!strcmp(list[i].name, region))
			return true;
	return false;
}

void agent_tiers(const struct agent *a, struct route_view *v)
{
	struct reach_node *reach = calloc(v->node_count + 1, sizeof(*reach));
	struct region list[ROUTE_REGIONS_MAX];
	size_t count = 0, reach_count;

	memcpy(v->order, a->cfg.order, sizeof(v->order));
	v->order_count = a->cfg.order_count;
	if (!reach)
		return; /* regions that are not named are taken by their names */
	reach_count = reach_collect(a->core, reach, v->node_count);
	for (size_t i = 0; i < v->node_count; i++) {
		const char *name = v->node[i].node.region;
		struct reach_band band;

		if (v->order_count + count >= ROUTE_REGIONS_MAX || !name[0] ||
		    is_named(v, list, count, name))
			continue;
		list[count++] = (struct region){
			.name = name,
			.rtt = reach_region_band(reach, reach_count, v->region, name, &band)
				       ? band.rtt
				       : REACH_RTT_BANDS};
	}
	free(reach);
	qsort(list, count, sizeof(*list), nearest_first);
	for (size_t i = 0; i < count; i++)
		snprintf(v->order[v->order_count++], sizeof(v->order[0]), "%s", list[i].name);
}

void agent_tiers_tick(struct agent *a, uint64_t now_ms)
{
	struct route_view v;

	if (!a->world || now_ms < a->tiers_ms + LOOK_MS)
		return;
	a->tiers_ms = now_ms;
	v = a->world->view;
	memset(v.order, 0, sizeof(v.order));
	agent_tiers(a, &v);
	if (v.order_count == a->world->view.order_count &&
	    !memcmp(v.order, a->world->view.order, sizeof(v.order)))
		return;
	agent_log("info", "tiers", "nearest=%s", v.order_count ? v.order[0] : "none");
	agent_kick(a, false);
}
