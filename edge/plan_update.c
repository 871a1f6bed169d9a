/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The mirror after a change of a few nodes' and backends' state: what plan_diff() would do, without a look at the rest.
 *
 * Nothing of the mirror is touched until all that can fail is done. What plan_diff() saw last is kept in plan_state.seen,
 * for view indexes are not in the mirror. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/plan_priv.h"

struct change { /* of one entry of the mirror, when all else is done */
	struct plan_node_ent *node;
	struct plan_backend_ent *backend;
	struct plan_svc_ent *svc; /* next.svc[next_svc] takes its place */
	size_t next_svc;
	uint64_t word; /* of a backend; state of a node */
};
struct update {
	struct plan_work w;
	const struct plan_touched *touched;
	struct change *change;
	size_t change_count;
	bool *is_named;	  /* by view.service */
	bool *is_changed; /* by view.backend: its word has been looked at */
};

void plan_seen_done(struct plan_seen *seen)
{
	free(seen->node_idx);
	free(seen->backend_idx);
	free(seen->svc_idx);
	free(seen->is_svc_up);
	free(seen->may_be_prev);
	*seen = (struct plan_seen){0};
}

/* All that was found room for, or this is for plan_diff(), which says so each time. */
void plan_seen_take(struct plan_work *w, struct plan_seen *ret_seen)
{
	*ret_seen = (struct plan_seen){
		.is_valid = !w->short_count,
		.node_count = w->view->node_count,
		.backend_count = w->view->backend_count,
		.service_count = w->view->service_count,
		.entry_count = w->routes->entry_count,
		.node_idx = w->node_idx,
		.backend_idx = w->backend_idx,
		.svc_idx = w->svc_idx,
		.is_svc_up = w->is_svc_up,
		.may_be_prev = w->may_be_prev,
	};
	w->node_idx = w->backend_idx = w->svc_idx = NULL;
	w->is_svc_up = w->may_be_prev = NULL;
}

/* Who claims an address that another has may get it, once that one is down. */
static bool is_any_waiting(const struct plan_seen *seen, const struct route_view *view)
{
	for (size_t i = 0; i < seen->node_count; i++)
		if (!seen->node_idx[i] && !ip_is_zero(&view->node[i].node.mesh_addr))
			return true;
	return false;
}

static bool is_same_world(const struct plan_seen *seen, const struct update *u)
{
	return seen->is_valid && seen->node_count == u->w.view->node_count &&
	       seen->backend_count == u->w.view->backend_count &&
	       seen->service_count == u->w.view->service_count &&
	       seen->entry_count == u->w.routes->entry_count;
}

/* ---- what rests: rows alone are set free here */

static int rest_of(struct plan_work *w)
{
	int rc = 0;

	for (size_t i = 0; i < w->old->rest_count && !rc; i++) {
		const struct plan_rest *r = &w->old->rest[i];

		if (r->at_ms > w->now_ms)
			rc = plan_rest_add(&w->next, r);
		else if (r->kind == REST_ROWS)
			rc = plan_ranges_give(&w->next.rows, r->offset, r->count);
		else
			rc = -EAGAIN;
	}
	return rc;
}

/* ---- nodes and backends */

static int update_node(struct update *u, size_t view_idx)
{
	const struct route_node *n = &u->w.view->node[view_idx];
	uint32_t state = plan_node_state(n);
	struct plan_node_ent *ent = plan_find_node(u->w.old, &n->id);
	struct plan_op op = {.kind = PLAN_NODE_STATE};
	enum plan_stage stage = STAGE_NODE;

	if (!ent || !u->w.node_idx[view_idx] ||
	    memcmp(ent->value.addr, n->node.mesh_addr.b, sizeof(ent->value.addr)) != 0)
		return -EAGAIN;
	if (ent->value.state == state)
		return 0;
	op.idx = ent->idx;
	op.arg.node = ent->value;
	op.arg.node.state = state;
	if (state != DP_NODE_UP)
		stage = n->state == GOSSIP_LEFT ? STAGE_LEFT : STAGE_DOWN;
	u->change[u->change_count++] = (struct change){.node = ent, .word = op.arg.node.state};
	return plan_emit(&u->w, stage, &op);
}

static int update_backend(struct update *u, size_t view_idx)
{
	const struct route_backend *b = &u->w.view->backend[view_idx];
	uint32_t node_idx = u->w.node_idx[b->node_idx], idx = u->w.backend_idx[view_idx];
	bool is_up = u->w.is_panic[view_idx] || model_health_is_good(&b->backend.check, b->health);
	struct plan_op op = {.kind = PLAN_BACKEND, .idx = idx};
	enum plan_stage stage = STAGE_BACKEND;
	struct plan_backend_key key;
	struct plan_backend_ent *ent;

	if (u->is_changed[view_idx])
		return 0;
	u->is_changed[view_idx] = true;
	plan_backend_key_of(u->w.view, view_idx, &key);
	ent = plan_find_backend(u->w.old, &key);
	if (!ent || ent->idx != idx || !node_idx)
		return -EAGAIN;
	u->w.may_be_prev[idx] = plan_may_be_prev(u->w.view, b);
	op.arg.word = DP_BE_WORD(is_up ? DP_BE_UP : DP_BE_DEAD, node_idx, b->backend.token);
	if (op.arg.word == ent->word)
		return 0;
	if (!is_up && DP_BE_STATE(ent->word) == DP_BE_UP)
		stage = STAGE_DOWN;
	u->change[u->change_count++] = (struct change){.backend = ent, .word = op.arg.word};
	return plan_emit(&u->w, stage, &op);
}

/* Those named, and those of services named, for a service in panic gives words of their own to others than who has changed. */
static int update_backends(struct update *u)
{
	const struct route_plan *r = u->w.routes;
	int rc = 0;

	for (size_t i = 0; i < r->entry_count; i++)
		for (size_t k = 0;
		     u->is_named[r->entry[i].service_idx] && k < r->entry[i].choice_count; k++)
			u->w.is_panic[r->entry[i].choice[k].backend_idx] |=
				r->entry[i].choice[k].is_panic;
	for (size_t i = 0; i < u->touched->backend_count && !rc; i++)
		rc = update_backend(u, u->touched->backend[i]);
	for (size_t i = 0; i < r->entry_count; i++)
		for (size_t k = 0;
		     !rc && u->is_named[r->entry[i].service_idx] && k < r->entry[i].choice_count;
		     k++)
			rc = update_backend(u, r->entry[i].choice[k].backend_idx);
	return rc;
}

/* ---- services that were named, or of whose rows a previous owner is to be forgotten */

static int update_svcs(struct update *u)
{
	const struct plan_state *old = u->w.old;
	const struct route_plan *r = u->w.routes;
	int rc = 0;

	if (old->svc_count != r->entry_count)
		return -EAGAIN;
	for (size_t i = 0; i < r->entry_count && !rc; i++) {
		const struct route_entry *e = &r->entry[i];
		struct plan_svc_ent *svc = &old->svc[i];

		if (!u->is_named[e->service_idx] && svc->forget_ms > u->w.now_ms)
			continue;
		if (plan_entry_cmp(&u->w, e, svc) != 0)
			return -EAGAIN;
		u->change[u->change_count++] =
			(struct change){.svc = svc, .next_svc = u->w.next.svc_count};
		rc = plan_diff_svc(&u->w, svc, e);
		/* Its VIP may be served no more, or again: that is for the ports. */
		if (!rc && (!svc->rows) != (!u->w.next.svc[u->w.next.svc_count - 1].rows))
			rc = -EAGAIN;
	}
	return rc;
}

/* ---- all of it */

static int begin(struct update *u)
{
	struct plan_seen *seen = &u->w.old->seen;
	const struct plan_touched *t = u->touched;
	struct plan_work *w = &u->w;

	if (w->old->is_adopted || !is_same_world(seen, u) || is_any_waiting(seen, w->view))
		return -EAGAIN;
	w->next.sizes = w->old->sizes;
	w->node_idx = seen->node_idx;
	w->backend_idx = seen->backend_idx;
	w->svc_idx = seen->svc_idx;
	w->is_svc_up = seen->is_svc_up;
	w->may_be_prev = malloc((size_t)w->old->sizes.backends + 1);
	w->next.svc = calloc(seen->entry_count + 1, sizeof(*w->next.svc));
	u->change = calloc(t->node_count + seen->backend_count + seen->entry_count + 1,
			   sizeof(*u->change));
	u->is_named = calloc(seen->service_count + 1, sizeof(bool));
	u->is_changed = calloc(seen->backend_count + 1, sizeof(bool));
	w->is_panic = calloc(seen->backend_count + 1, sizeof(bool));
	if (!w->may_be_prev || !w->next.svc || !u->change || !u->is_named || !u->is_changed ||
	    !w->is_panic)
		return -ENOMEM;
	memcpy(w->may_be_prev, seen->may_be_prev, (size_t)w->old->sizes.backends + 1);
	for (size_t i = 0; i < t->service_count; i++)
		u->is_named[t->service[i]] = true;
	return plan_ranges_copy(&w->old->rows, &w->next.rows);
}

/* Can't fail. */
static void commit(struct update *u, struct plan_state *s)
{
	for (size_t i = 0; i < u->change_count; i++) {
		const struct change *c = &u->change[i];
		struct plan_svc_ent was;

		if (c->node) {
			c->node->value.state = (uint32_t)c->word;
		} else if (c->backend) {
			c->backend->word = c->word;
		} else {
			was = *c->svc;
			*c->svc = u->w.next.svc[c->next_svc];
			u->w.next.svc[c->next_svc] = was;
		}
	}
	free(s->rows.r);
	s->rows = u->w.next.rows;
	u->w.next.rows = (struct plan_ranges){0};
	free(s->rest);
	s->rest = u->w.next.rest;
	s->rest_count = u->w.next.rest_count;
	s->rest_room = u->w.next.rest_room;
	u->w.next.rest = NULL;
	free(s->seen.may_be_prev);
	s->seen.may_be_prev = u->w.may_be_prev;
	u->w.may_be_prev = NULL;
}

int plan_update(struct plan_state *s, const struct route_view *view,
		const struct route_plan *routes, const struct node_id *self, uint64_t now_ms,
		const struct plan_touched *touched, struct plan_list *l)
{
	struct err short_of = {0};
	struct update u = {.w = {.old = s,
				 .view = view,
				 .routes = routes,
				 .self = self,
				 .now_ms = now_ms,
				 .e = &short_of},
			   .touched = touched};
	int rc = begin(&u);

	if (!rc)
		rc = rest_of(&u.w);
	for (size_t i = 0; i < touched->node_count && !rc; i++)
		rc = update_node(&u, touched->node[i]);
	if (!rc)
		rc = update_backends(&u);
	if (!rc)
		rc = update_svcs(&u);
	if (!rc && u.w.short_count)
		rc = -EAGAIN; /* said with everything else that is short */
	if (!rc)
		rc = plan_append(l, u.w.stage);
	if (!rc)
		commit(&u, s);
	plan_state_done(&u.w.next);
	for (size_t i = 0; i < STAGE_COUNT; i++)
		plan_list_clear(&u.w.stage[i]);
	free(u.w.may_be_prev);
	free(u.change);
	free(u.is_named);
	free(u.is_changed);
	free(u.w.is_panic);
	return rc;
}
