/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which tiers serve an entry, and with what share each. A function of the records alone: nobody measures load here, so nothing
 * can swing, and all edges of a region that know the same records decide the same. */
#include "edge/route_share.h"

#include <stdlib.h>
#include <string.h>

#define WHOLE 1000000u /* parts of the traffic */
#define SCALE 100000u  /* weights of an entry with several tiers add up to about this */

static uint32_t weight_of(const struct route_view *view, const struct route_choice *c)
{
	uint16_t weight = view->backend[c->backend_idx].backend.weight;

	return weight ? weight : 1;
}

/* Hundredths of its weight that count. */
static uint32_t part_of(const struct route_view *view, const struct route_choice *c,
			unsigned int panic_pct)
{
	const struct route_backend *b = &view->backend[c->backend_idx];
	uint8_t node_pct = view->node[b->node_idx].share_pct;
	uint32_t pct = c->is_panic ? panic_pct : 100;

	if (b->share_pct)
		pct = pct * b->share_pct / 100;
	if (node_pct)
		pct = pct * node_pct / 100;
	return pct ? pct : 1;
}

struct tier {
	size_t from, to; /* choices */
	/* Hundredths of weights; all: what would serve if nothing failed and nothing drained. */
	uint64_t all, usable;
	uint64_t behind; /* usable, but named nowhere: a summary names some of many */
	bool is_passing; /* one of them does */
	uint32_t share;	 /* of WHOLE */
};

int route_capacity_cmp(const void *x, const void *y)
{
	const struct route_capacity *a = x, *b = y;
	int c = strcmp(a->service, b->service);

	return c ? c : strcmp(a->region, b->region);
}

/* Good by what its records say, whatever is known of its node. */
static bool is_good(const struct route_backend *b)
{
	return !b->backend.is_draining && !b->is_overridden &&
	       model_health_is_good(&b->backend.check, b->health);
}

/* A summary names at most 32 of a service's backends: how short the region is of usable ones is told of all. */
static void add_unnamed(const struct route_view *view, const struct route_entry *e, struct tier *t,
			uint64_t good)
{
	const struct route_backend *b = &view->backend[e->choice[t->from].backend_idx];
	const struct route_node *n = &view->node[b->node_idx];
	const struct route_capacity *c = NULL;
	struct route_capacity probe;

	memcpy(probe.service, view->service[e->service_idx].name, sizeof(probe.service));
	memcpy(probe.region, n->node.region, sizeof(probe.region));
	if (n->is_summary && view->capacity_count)
		c = bsearch(&probe, view->capacity, view->capacity_count, sizeof(probe),
			    route_capacity_cmp);
	if (!c || 100ull * c->known <= t->all)
		return;
	t->all = 100ull * c->known;
	t->behind = c->usable > good ? 100ull * (c->usable - good) : 0;
}

static struct tier tier_at(const struct route_view *view, const struct route_entry *e, size_t from,
			   unsigned int panic_pct)
{
	struct tier t = {.from = from, .to = from};
	uint64_t good = 0;

	for (; t.to < e->choice_count && e->choice[t.to].tier == e->choice[from].tier; t.to++) {
		const struct route_choice *c = &e->choice[t.to];

		if (c->why == ROUTE_OTHER_FAMILY || c->why == ROUTE_PORT_OVERFLOW ||
		    c->why == ROUTE_NO_FORWARDER)
			continue;
		t.all += 100ull * weight_of(view, c);
		good += is_good(&view->backend[c->backend_idx]) ? weight_of(view, c) : 0;
		if (c->why != ROUTE_USED)
			continue;
		t.usable += (uint64_t)weight_of(view, c) * part_of(view, c, panic_pct);
		t.is_passing |= !c->is_panic;
	}
	add_unnamed(view, e, &t, good);
	return t;
}

/* What of `left` the tier takes: all of it while at least `spill_pct` of its weight is usable, else in proportion. */
static uint32_t take(const struct tier *t, uint32_t left, uint8_t spill_pct)
{
	uint64_t usable = t->usable + t->behind, pct = spill_pct;

	if (!t->usable)
		return 0;
	if (!pct && !t->is_passing)
		pct = 100;
	if (!pct || 100 * usable >= t->all * pct)
		return left;
	return (uint32_t)(left * 100 * usable / (t->all * pct));
}

/* One tier: the weights as they were given, so that a table is the same with the policies and without; hundredths of them where
 * some count in part. */
static void set_plain(const struct route_view *view, struct route_entry *e, unsigned int panic_pct)
{
	bool is_part = false;

	for (size_t i = 0; i < e->choice_count; i++)
		is_part |= e->choice[i].why == ROUTE_USED &&
			   part_of(view, &e->choice[i], panic_pct) != 100;
	for (size_t i = 0; i < e->choice_count; i++) {
		struct route_choice *c = &e->choice[i];

		if (c->why == ROUTE_USED)
			c->weight =
				weight_of(view, c) * (is_part ? part_of(view, c, panic_pct) : 1);
	}
}

size_t route_share(const struct route_view *view, struct route_entry *e, unsigned int panic_pct)
{
	uint8_t spill_pct = view->service[e->service_idx].policy.spill_pct;
	uint32_t left = WHOLE;
	size_t used = 0, tiers = 0;

	for (size_t from = 0; from < e->choice_count;) {
		struct tier t = tier_at(view, e, from, panic_pct);

		t.share = take(&t, left, spill_pct);
		left -= t.share;
		tiers += t.share > 0;
		for (size_t i = t.from; i < t.to; i++) {
			struct route_choice *c = &e->choice[i];
			uint64_t weight;

			if (c->why != ROUTE_USED)
				continue;
			if (!t.share) {
				c->why = !c->is_panic ? ROUTE_FARTHER_TIER
					 : view->backend[c->backend_idx].health ==
							 MODEL_HEALTH_UNKNOWN
						 ? ROUTE_UNCHECKED
						 : ROUTE_UNHEALTHY;
				c->is_panic = false;
				continue;
			}
			weight = (uint64_t)weight_of(view, c) * part_of(view, c, panic_pct);
			c->weight = (uint32_t)(weight * t.share * (SCALE / 1000) / (WHOLE / 1000) /
					       t.usable);
			if (!c->weight)
				c->weight = 1;
			used++;
		}
		from = t.to;
	}
	if (tiers == 1)
		set_plain(view, e, panic_pct);
	return used;
}
