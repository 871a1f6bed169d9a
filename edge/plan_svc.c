/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Services and their tables of the next mirror. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/plan_priv.h"

/* Flows may live on it, and its node may still answer. */
bool plan_may_be_prev(const struct route_view *view, const struct route_backend *b)
{
	const struct route_node *n = &view->node[b->node_idx];

	return n->state != GOSSIP_DEAD && n->node.has_forwarder &&
	       model_health_is_good(&b->backend.check, b->health);
}

/* Rows in front of which the service's word is to be written. */
static int say_rows(struct plan_work *w, struct plan_svc_ent *next, uint32_t offset, uint8_t class)
{
	struct plan_op op = {.kind = PLAN_ROWS, .idx = offset, .count = next->rows->count};

	next->value.table = DP_TABLE(offset, class);
	op.arg.rows = plan_rows_of(next->rows);
	return plan_list_add(&w->stage[STAGE_ROWS], &op, next->rows);
}

static int make_rows(const struct plan_work *w, const struct route_entry *e,
		     const struct plan_svc_ent *old, uint32_t count, struct plan_svc_ent *next)
{
	plan_block_unref(next->rows);
	next->rows = NULL;
	return plan_make_rows(w, e, old ? old->rows : NULL, count, &next->rows, &next->forget_ms);
}

/* No room for the rows that e wants: its owners on as many rows as there are. Where the old ones are, one by one, which
 * serves as well, only not from one packet to the next; else in a smaller table. */
static int make_do(struct plan_work *w, const struct route_entry *e, const struct plan_svc_ent *old,
		   struct plan_svc_ent *next)
{
	uint32_t offset;
	int rc;

	(void)err_set(&w->why, -ENOSPC,
		      "forwarder: rows: no %u free ones in a piece, want more than %u",
		      e->row_count, w->next.sizes.rows);
	if (old && old->rows) {
		rc = make_rows(w, e, old, old->rows->count, next);
		if (rc)
			return rc;
		if (old->rows->count != e->row_count)
			plan_short(w, "service %.31s stays at %u", next->name, old->rows->count);
		if (next->rows == old->rows)
			next->value.table = old->value.table;
		else
			rc = say_rows(w, next, DP_TABLE_OFFSET(old->value.table),
				      (uint8_t)DP_TABLE_CLASS(old->value.table));
		return rc;
	}
	for (uint8_t k = e->size_class; k-- > 0;) {
		if (maglev_size(k) >= e->row_count ||
		    plan_ranges_take(&w->next.rows, maglev_size(k), &offset))
			continue;
		plan_short(w, "service %.31s has %u", next->name, maglev_size(k));
		rc = make_rows(w, e, old, maglev_size(k), next);
		return rc ? rc : say_rows(w, next, offset, k);
	}
	plan_block_unref(next->rows);
	next->rows = NULL;
	plan_short(w, "service %.31s is not served", next->name);
	return 0;
}

/* The table of `next`, and rest for the old one if that is another. */
static int diff_table(struct plan_work *w, const struct route_entry *e,
		      const struct plan_svc_ent *old, struct plan_svc_ent *next)
{
	uint32_t offset;
	int rc = 0;

	if (e->row_count)
		rc = make_rows(w, e, old, e->row_count, next);
	if (rc)
		return rc;
	if (next->rows && !plan_has_owner(next->rows)) {
		plan_block_unref(
			next->rows); /* none of its backends has room: plan_short() said so */
		next->rows = NULL;
	}
	if (next->rows && old && next->rows == old->rows)
		next->value.table = old->value.table;
	else if (next->rows && plan_ranges_take(&w->next.rows, e->row_count, &offset) == 0)
		rc = say_rows(w, next, offset, e->size_class);
	else if (next->rows)
		rc = make_do(w, e, old, next);
	next->value.rows = next->rows ? next->rows->count : 0;
	if (!next->rows)
		next->forget_ms = UINT64_MAX;
	if (!rc && old && old->rows && next->value.table != old->value.table)
		rc = plan_rows_rest(w, DP_TABLE_OFFSET(old->value.table), old->rows->count);
	return rc;
}

/* 1 + slot of a backend of this machine that takes packets of this service, 0 = none: one that is used anywhere if
 * there is one, else one that drains; the lowest. */
static uint32_t local_slot(const struct plan_work *w, const struct route_entry *e)
{
	uint32_t found = 0;
	bool is_found_used = false;

	for (size_t i = 0; i < e->choice_count; i++) {
		const struct route_choice *c = &e->choice[i];
		const struct route_backend *b = &w->view->backend[c->backend_idx];
		bool is_used = c->why == ROUTE_USED || c->why == ROUTE_FARTHER_TIER;
		uint32_t slot = 1 + DP_TOKEN_SLOT(b->backend.token);

		if (node_id_cmp(&w->view->node[b->node_idx].id, w->self) != 0 ||
		    (!is_used && c->why != ROUTE_DRAINING && c->why != ROUTE_OVERRIDDEN) ||
		    !model_health_is_good(&b->backend.check, b->health))
			continue;
		if (!found || (is_used && !is_found_used) ||
		    (is_used == is_found_used && slot < found)) {
			found = slot;
			is_found_used = is_used;
		}
	}
	return found;
}

int plan_diff_svc(struct plan_work *w, const struct plan_svc_ent *old, const struct route_entry *e)
{
	const struct model_service *s = &w->view->service[e->service_idx];
	struct plan_svc_ent *next = &w->next.svc[w->next.svc_count];
	struct plan_op op = {.kind = PLAN_SVC};
	int rc;

	*next = (struct plan_svc_ent){
		.part = e->part,
		.value = {.port_lo = e->port_lo,
			  .hash = s->hash,
			  .family = e->family,
			  .svc_id = plan_svc_id(s->name),
			  .local_slot = local_slot(w, e)},
	};
	plan_policy_fill(w->view, e->service_idx, &next->value);
	memcpy(next->name, s->name, sizeof(next->name));
	next->is_local = s->policy.is_local;
	next->forget_ms = UINT64_MAX;
	if (old) {
		next->idx = old->idx;
	} else if (plan_take(w, POOL_SVC, &next->idx)) {
		plan_short(w, "service %.31s is not served", s->name);
		return 0;
	}
	w->next.svc_count++; /* from here on its block is freed with it */
	w->svc_idx[e - w->routes->entry] = next->idx;
	rc = diff_table(w, e, old, next);
	if (rc)
		return rc;
	w->is_svc_up[e - w->routes->entry] = next->rows != NULL;
	if (old && !w->old->is_adopted &&
	    memcmp(&old->value, &next->value, sizeof(next->value)) == 0)
		return 0;
	op.idx = next->idx;
	op.arg.svc = next->value;
	/* A port may be on its way to another service: until it is there, the old table serves it. */
	return plan_emit(w, old && old->rows && !next->rows ? STAGE_SVC_EMPTY : STAGE_SVC, &op);
}

static int svc_gone(struct plan_work *w, const struct plan_svc_ent *old)
{
	return plan_rest_add(&w->next, &(struct plan_rest){
					       .kind = REST_SVC,
					       .idx = old->idx,
					       .offset = DP_TABLE_OFFSET(old->value.table),
					       .count = old->rows ? old->rows->count : 0,
					       .at_ms = w->now_ms + PLAN_REST_MS,
				       });
}

int plan_entry_cmp(const struct plan_work *w, const struct route_entry *e,
		   const struct plan_svc_ent *s)
{
	const struct plan_svc_key want = {w->view->service[e->service_idx].name, e->family,
					  e->part};
	const struct plan_svc_key has = plan_svc_key_of(s);

	return plan_svc_cmp(&want, &has);
}

int plan_diff_svcs(struct plan_work *w)
{
	const struct plan_state *old = w->old;
	size_t i = 0, j = 0;
	int rc = 0;

	w->next.svc = calloc(w->routes->entry_count + 1, sizeof(*w->next.svc));
	if (!w->next.svc)
		return -ENOMEM;
	for (size_t k = 0; k < w->view->backend_count; k++)
		if (plan_may_be_prev(w->view, &w->view->backend[k]))
			w->may_be_prev[w->backend_idx[k]] = true;
	w->may_be_prev[0] = false;
	while (!rc && (i < w->routes->entry_count || j < old->svc_count)) {
		const struct route_entry *e = NULL;
		int cmp = -1;

		if (i < w->routes->entry_count)
			e = &w->routes->entry[i];
		if (j < old->svc_count)
			cmp = e ? plan_entry_cmp(w, e, &old->svc[j]) : 1;
		if (cmp > 0) {
			rc = svc_gone(w, &old->svc[j++]);
			continue;
		}
		rc = plan_diff_svc(w, cmp == 0 ? &old->svc[j++] : NULL, e);
		i++;
	}
	return rc;
}
