/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What was before the last changes. Rows remember the owner that they had (edge/plan.h), but an edge that comes new has seen
 * nothing: flows that moved a minute ago would find nobody through it. So the node of a backend tells, for as long as rows
 * remember, whether that was used before its last change, and a new edge computes the table of that time beside the present one. It
 * announces nothing until it has heard the mesh out.
 *
 * As in a row, the state counts that stood for PLAN_SETTLE_MS. A restart of this daemon forgets what it was about to tell. */
#include <stdlib.h>

#include "edge/agent_int.h"

#define QUIET_MS 300 /* no record for so long: all that others know is here */
#define HEARD_MAX_MS 5000

/* ---- of an own backend */

static uint8_t use_of(const struct own_backend *o)
{
	struct agent *a = o->agent;
	uint64_t now_s = agent_unix_ms() / 1000;

	return model_health_is_good(&o->model.check, (enum model_health_state)o->health.state) &&
			       !o->model.is_draining &&
			       !agent_backend_is_drained(a, &a->cfg.self, o->key, now_s) &&
			       !agent_node_is_drained(a, &a->cfg.self, now_s)
		       ? MODEL_WAS_USED
		       : MODEL_WAS_UNUSED;
}

void agent_past_is_new(struct own_backend *o)
{
	o->past = (struct own_past){.now = MODEL_WAS_UNUSED, .settled = MODEL_WAS_UNUSED};
}

uint8_t agent_past_was(struct own_backend *o)
{
	uint64_t now_ms = agent_now_ms(o->agent);
	struct own_past *p = &o->past;
	uint8_t use = use_of(o);

	if (use != p->now) {
		p->now = use;
		p->since_ms = now_ms;
	}
	if (p->now != p->settled && now_ms - p->since_ms >= PLAN_SETTLE_MS) {
		p->was = p->settled;
		p->until_ms = p->since_ms + PLAN_PREV_MS;
		p->settled = p->now;
	}
	if (p->now != p->settled)
		return p->settled;
	return now_ms < p->until_ms ? p->was : MODEL_WAS_SAME;
}

/* ---- of all */

bool agent_past_is_heard(struct agent *a)
{
	uint64_t now_ms = agent_now_ms(a);
	bool is_behind = false, is_any = false;

	if (now_ms - a->opened_ms >= HEARD_MAX_MS)
		return true;
	if (now_ms - a->opened_ms < QUIET_MS || now_ms - a->record_ms < QUIET_MS)
		return false;
	for (size_t i = 0; i < gossip_core_member_count(a->core); i++) {
		struct gossip_member m;

		gossip_core_member_at(a->core, i, &m);
		is_any |= !m.is_self && m.state == GOSSIP_ALIVE && m.heard_ms;
		is_behind |= m.is_behind;
	}
	return !is_behind && (is_any || !a->cfg.has_seeds);
}

struct route_plan *agent_past_routes(const struct agent *a)
{
	const struct world *w = a->world;
	struct route_view before = w->view;
	struct route_plan *routes = NULL;
	struct route_backend *b = malloc((before.backend_count + 1) * sizeof(*b));
	size_t changed = 0;

	for (size_t i = 0; b && i < before.backend_count; i++) {
		b[i] = w->backend[i];
		changed += w->health[i].was != MODEL_WAS_SAME;
		if (w->health[i].was == MODEL_WAS_USED) {
			b[i].health = MODEL_HEALTH_PASSING;
			b[i].backend.is_draining = b[i].is_overridden = false;
		} else if (w->health[i].was == MODEL_WAS_UNUSED) {
			b[i].health = MODEL_HEALTH_FAILING;
			b[i].is_gone = true;
		}
	}
	before.backend = b;
	if (changed && route_compute_from(&before, w->routes, &routes))
		routes = NULL;
	free(b);
	return routes;
}
