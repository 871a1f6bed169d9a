/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/route_panic.h"

static bool may_panic(const struct route_view *view, const struct route_choice *c)
{
	return (c->why == ROUTE_UNHEALTHY || c->why == ROUTE_UNCHECKED) &&
	       !view->backend[c->backend_idx].is_gone;
}

unsigned int route_panic(const struct route_view *view, struct route_entry *e)
{
	uint64_t pct = view->service[e->service_idx].policy.panic_pct, all = 0, passing = 0;
	unsigned int share;

	if (!pct)
		return 0;
	for (size_t i = 0; i < e->choice_count; i++) {
		const struct route_choice *c = &e->choice[i];
		uint16_t weight = view->backend[c->backend_idx].backend.weight;

		if (c->why != ROUTE_USED && c->why != ROUTE_UNHEALTHY && c->why != ROUTE_UNCHECKED)
			continue;
		all += weight ? weight : 1;
		passing += c->why == ROUTE_USED ? (weight ? weight : 1) : 0;
	}
	if (100 * passing >= all * pct)
		return 0;
	share = (unsigned int)(100 * (all * pct - 100 * passing) / (all * pct));
	for (size_t i = 0; i < e->choice_count; i++) {
		if (!may_panic(view, &e->choice[i]))
			continue;
		e->choice[i].why = ROUTE_USED;
		e->choice[i].is_panic = true;
	}
	return share ? share : 1;
}
