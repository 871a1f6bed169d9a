/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "edge/agent_int.h"
#include "edge/reach_text.h"

#define STORE_SLOW_MS 2000  /* for one batch, which takes some 10 */
#define REACH_EVERY_MS 2000 /* findings are looked for again after so long */

static void add_problem(struct agent *a, struct agent_view *v, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void add_problem(struct agent *a, struct agent_view *v, const char *fmt, ...)
{
	va_list ap;

	if (v->problem_count == AGENT_PROBLEMS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(a->problem_text[v->problem_count], AGENT_TEXT_MAX, fmt, ap);
	va_end(ap);
	v->problem[v->problem_count] = a->problem_text[v->problem_count];
	v->problem_count++;
}

static void add_record_problems(struct agent *a, struct agent_view *v)
{
	const struct route_plan *r = v->routes;
	const struct own_backend *o;
	char text[AGENT_TEXT_MAX];

	TAILQ_FOREACH(o, &a->own, link)
	if (!o->has_way)
		add_problem(a, v, "backend %s can't be delivered to: %s", o->key, o->way_text);
	for (size_t i = 0; i < r->entry_count; i++)
		if (r->entry[i].is_shadowed)
			add_problem(a, v,
				    "service %s is shadowed: an older service has one of its "
				    "addresses and ports",
				    v->view->service[r->entry[i].service_idx].name);
	for (size_t i = 0; i < poison_count(a->poison); i++)
		add_problem(a, v, "%s", agent_poison_text(a, i, text));
}

/* Connected, but its loop stands still: nothing of what edgefwd keeps is kept. */
static void add_forwarder_problem(struct agent *a, struct agent_view *v)
{
	uint64_t now_s = uv_hrtime() / 1000000000, beat_s;

	if (!a->is_fwd_up) {
		add_problem(a, v, "edgefwd is not connected: %s", a->fwd_text);
		return;
	}
	beat_s = a->mapw ? mapw_edgefwd_beat(a->mapw) : 0;
	if (beat_s && now_s > beat_s + AGENT_BEAT_SILENT_S)
		add_problem(a, v, "edgefwd is stuck: its heartbeat is %llu s old",
			    (unsigned long long)(now_s - beat_s));
}

static void add_reach_problems(struct agent *a, struct agent_view *v)
{
	uint64_t now = agent_now_ms(a);
	struct gossip_addr at;
	struct reach_look l;
	char text[IP_TEXT_MAX];

	if (gossip_core_has_yielded(a->core, &at))
		add_problem(
			a, v,
			"another machine has this node's key, at %s, and keeps its id: this node "
			"is out of the mesh until it gets a key of its own, or that one goes",
			ip_port_text((const struct ip_addr *)(const void *)at.ip, at.port, text));
	if (!a->reach_ms || now >= a->reach_ms + REACH_EVERY_MS) {
		a->reach_ms = now;
		a->reach_count = 0;
		if (reach_look_begin(a->core, &l))
			return;
		while (a->reach_count < l.found_count && a->reach_count < AGENT_REACH_MAX) {
			reach_finding_text(&l, &l.found[a->reach_count],
					   a->reach_text[a->reach_count]);
			a->reach_count++;
		}
		reach_look_end(&l);
	}
	for (size_t i = 0; i < a->reach_count; i++)
		add_problem(a, v, "%s", a->reach_text[i]);
}

static void add_region_problems(struct agent *a, struct agent_view *v)
{
	char text[AGENT_PROBLEMS_MAX / 2][AGENT_TEXT_MAX];
	size_t count = agent_regions_problems(a, text, AGENT_PROBLEMS_MAX / 2);

	for (size_t i = 0; i < count; i++)
		add_problem(a, v, "%s", text[i]);
}

static void add_problems(struct agent *a, struct agent_view *v)
{
	struct store_status st;

	store_get_status(a->store, &st);
	if (st.is_broken)
		add_problem(a, v, "the store is broken, this node runs from memory: %s",
			    st.last_text);
	else if (st.busy_ms >= STORE_SLOW_MS)
		add_problem(
			a, v,
			"the disk is slow: a write takes %llu s so far, %zu more wait in memory",
			(unsigned long long)st.busy_ms / 1000, st.queued);
	if (st.rescues)
		add_problem(
			a, v,
			"edge.db was deleted or replaced under edged (%u times since its start): "
			"it was written anew",
			st.rescues);
	if (a->map_text[0])
		add_problem(a, v, "the forwarder's maps are not written%s: %s",
			    a->is_map_part ? " in full" : "", a->map_text);
	if (a->conflict_text[0] && agent_now_ms(a) - a->conflict_ms < 60000)
		add_problem(a, v, "%s", a->conflict_text);
	if (a->cfg.fwd_socket)
		add_forwarder_problem(a, v);
	if (a->is_stale)
		add_problem(
			a, v,
			"this edge hears less than half of its region: its routes may be out of "
			"date, its VIPs are announced as stale");
	if (a->vip_text[0])
		add_problem(a, v, "%s", a->vip_text);
	if (a->cfg.fwd_socket && !agent_seed(a) &&
	    agent_now_ms(a) - a->opened_ms > AGENT_SEED_UNREACHED_MS)
		add_problem(a, v, "no flow seed yet: nothing is forwarded until a node makes it");
	add_region_problems(a, v);
	add_reach_problems(a, v);
	add_record_problems(a, v);
}

void agent_look(struct agent *a, struct agent_view *ret_view)
{
	struct agent_view v = {0};

	if (a->is_dirty && !a->is_closing)
		agent_compute(a);
	v.view = &a->world->view;
	v.routes = a->world->routes;
	v.plan = a->plan;
	v.fds = a->has_fds ? &a->fds : NULL;
	v.is_fwd_up = a->is_fwd_up;
	v.fwd_text = a->fwd_text;
	v.is_ready = a->is_ready;
	v.is_stale = a->is_stale;
	v.vip_count = a->vip_count;
	v.routes_at_ms = a->computed_ms;
	v.compute_us = a->compute_us;
	v.compute_us_max = a->compute_us_max;
	add_problems(a, &v);
	*ret_view = v;
}

bool agent_check_look(const struct agent *a, size_t backend_idx, struct check_look *ret_look)
{
	const struct route_view *v = &a->world->view;
	const struct own_backend *o;
	char key[MODEL_KEY_MAX];

	if (backend_idx >= v->backend_count ||
	    node_id_cmp(&v->node[v->backend[backend_idx].node_idx].id, &a->self) ||
	    model_backend_key(&v->backend[backend_idx].backend, key))
		return false;
	o = agent_own_find((struct agent *)(uintptr_t)a, key);
	if (!o || !o->check || o->model.check.kind == MODEL_CHECK_NONE)
		return false;
	check_see(o->check, ret_look);
	return true;
}

bool agent_health(struct agent *a, size_t backend_idx, struct model_health *ret_health)
{
	if (backend_idx >= a->world->view.backend_count)
		return false;
	*ret_health = a->world->health[backend_idx];
	return true;
}
