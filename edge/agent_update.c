/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The world after a change of health or of who is alive: the same nodes, services and backends, some in another state. What
 * has changed is gathered as events come, and looked at alone. Whatever else happens builds the world anew. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"

static void touch(struct touched *t, size_t idx)
{
	if (t->is_in[idx])
		return;
	t->is_in[idx] = true;
	t->idx[t->count++] = idx;
}

static void forget(struct touched *t)
{
	while (t->count)
		t->is_in[t->idx[--t->count]] = false;
}

int agent_touched_new(struct touched *t, size_t room)
{
	t->idx = calloc(room + 1, sizeof(*t->idx));
	t->is_in = calloc(room + 1, sizeof(*t->is_in));
	return t->idx && t->is_in ? 0 : -ENOMEM;
}

void agent_touched_free(struct touched *t)
{
	free(t->idx);
	free(t->is_in);
}

void agent_untouch(struct agent *a)
{
	forget(&a->world->touched_node);
	forget(&a->world->touched_backend);
	forget(&a->world->touched_service);
}

void agent_fact_changed(struct agent *a, const struct fact_id *id)
{
	struct fact_id backend = *id;
	struct fact *f;

	if (id->kind != MODEL_KIND_HEALTH || !a->world)
		a->is_reshaped = true;
	/* Where facts stand in the world says nothing then: they may point into one that was not finished. */
	if (a->is_reshaped)
		return;
	backend.kind = MODEL_KIND_BACKEND;
	HASH_FIND(hh, a->facts, &backend, sizeof(backend), f);
	/* Health that comes before its backend, or before its node: building the world finds it. */
	if (f && f->at)
		touch(&a->world->touched_backend, f->at - 1);
}

/* Its word was written ahead of the world. It may be what it was before anybody compares. */
void agent_node_changed(struct agent *a, const struct node_id *id)
{
	const struct route_node *n = a->world ? agent_world_node(a->world, id) : NULL;

	if (n)
		touch(&a->world->touched_node, (size_t)(n - a->world->node));
}

static int look_at_members(struct agent *a)
{
	struct world *w = a->world;

	for (size_t i = 0; i < w->view.node_count; i++) {
		struct gossip_member m;
		struct route_node is, *n;

		gossip_core_member_at(a->core, i, &m);
		agent_fill_node(a, &m, &is);
		n = agent_world_node(w, &is.id);
		if (!n)
			return -EAGAIN;
		if (n->state != is.state)
			touch(&w->touched_node, (size_t)(n - w->node));
		n->state = is.state;
		is.is_drained = n->is_drained;
		/* What its record says has not changed, or it would be built anew; what membership says may have. */
		if (memcmp(&n->node.mesh_addr, &is.node.mesh_addr, sizeof(is.node.mesh_addr)) ||
		    strcmp(n->node.name, is.node.name) != 0 ||
		    strcmp(n->node.region, is.node.region) != 0 ||
		    n->node.has_forwarder != is.node.has_forwarder)
			return -EAGAIN;
	}
	return 0;
}

/* Others' verdicts, and who is alive to give one, count for the backends of headless nodes. */
static void look_at_headless(struct world *w)
{
	for (size_t i = 0; i < w->view.node_count; i++)
		if (w->node[i].state == GOSSIP_HEADLESS)
			touch(&w->touched_node, i);
}

static void look_at_backends(struct agent *a)
{
	struct world *w = a->world;

	for (size_t i = 0; w->touched_node.count && i < w->view.backend_count; i++)
		if (w->touched_node.is_in[w->backend[i].node_idx])
			touch(&w->touched_backend, i);
	for (size_t k = 0; k < w->touched_backend.count; k++) {
		size_t i = w->touched_backend.idx[k];
		size_t service;

		agent_fill_health(a, w, i);
		service = agent_service_at(w, w->backend[i].backend.service);
		if (service < w->view.service_count)
			touch(&w->touched_service, service);
	}
}

static bool has_order_changed(const struct agent *a, const struct world *w)
{
	struct route_view v = w->view;

	memset(v.order, 0, sizeof(v.order));
	agent_tiers(a, &v);
	return v.order_count != w->view.order_count ||
	       memcmp(v.order, w->view.order, sizeof(v.order)) != 0;
}

int agent_world_update(struct agent *a)
{
	struct world *w = a->world;
	struct route_plan *routes;
	int err;

	/* Summaries of other regions come with nodes and backends of their own, which have no facts. */
	if (a->is_reshaped || !w || a->regions ||
	    gossip_core_member_count(a->core) != w->view.node_count ||
	    (a->next_expiry_s && agent_unix_ms() / 1000 >= a->next_expiry_s) ||
	    has_order_changed(a, w))
		return -EAGAIN;
	if (a->has_member_changed && look_at_members(a))
		return -EAGAIN;
	if (a->has_member_changed || a->has_verdict_changed)
		look_at_headless(w);
	look_at_backends(a);
	if (w->touched_service.count) {
		err = route_update(&w->view, w->routes, w->touched_service.idx,
				   w->touched_service.count, &routes);
		if (err)
			return err;
		route_free(w->routes);
		w->routes = routes;
	}
	a->has_member_changed = a->has_verdict_changed = false;
	return 0;
}
