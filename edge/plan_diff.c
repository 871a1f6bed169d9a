/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The next mirror beside the old one: nodes and backends; edge/plan_svc.c has services, edge/plan_ports.c ports and VIPs. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/plan_priv.h"

int plan_take(struct plan_work *w, enum plan_pool_kind kind, uint32_t *ret_idx)
{
	static const char *const what[POOL_COUNT] = {
		[POOL_NODE] = "nodes", [POOL_BACKEND] = "backends",	[POOL_SVC] = "services",
		[POOL_PAGE] = "pages", [POOL_DIR] = "port directories", [POOL_VIP] = "VIPs",
	};

	if (plan_pool_take(&w->next.pool[kind], ret_idx))
		return err_set(&w->why, -ENOSPC,
			       "forwarder: %s: all %u in use or at rest, want more", what[kind],
			       w->next.pool[kind].cap ? w->next.pool[kind].cap - 1 : 0);
	return 0;
}

void plan_short(struct plan_work *w, const char *fmt, ...)
{
	char what[100];
	va_list ap;

	if (w->short_count++)
		return;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	(void)err_set(w->e, -ENOSPC, "%.90s; %s", w->why.text, what);
}

int plan_let_rest(struct plan_work *w, enum plan_rest_kind kind, uint32_t idx)
{
	return plan_rest_add(
		&w->next,
		&(struct plan_rest){.kind = kind, .idx = idx, .at_ms = w->now_ms + PLAN_REST_MS});
}

int plan_rows_rest(struct plan_work *w, uint32_t offset, uint32_t count)
{
	return plan_rest_add(&w->next, &(struct plan_rest){.kind = REST_ROWS,
							   .offset = offset,
							   .count = count,
							   .at_ms = w->now_ms + PLAN_REST_MS});
}

static int node_rests(struct plan_work *w, const struct plan_node_ent *n)
{
	struct plan_rest r = {.kind = REST_NODE,
			      .idx = n->idx,
			      .at_ms = w->now_ms + PLAN_REST_MS,
			      .node_num = n->value.node_num};

	memcpy(r.addr.b, n->value.addr, sizeof(r.addr.b));
	return plan_rest_add(&w->next, &r);
}

int plan_emit(struct plan_work *w, enum plan_stage stage, const struct plan_op *op)
{
	return plan_list_add(&w->stage[stage], op, NULL);
}

/* ---- what has rested */

static bool is_address_wanted(const struct plan_work *w, const struct ip_addr *a)
{
	for (size_t i = 0; i < w->view->node_count; i++)
		if (ip_equal(&w->view->node[i].node.mesh_addr, a))
			return true;
	return false;
}

static bool is_number_wanted(const struct plan_work *w, uint32_t node_num)
{
	for (size_t i = 0; i < w->node_order_count; i++)
		if (plan_node_num(&w->view->node[w->node_order[i]].id) == node_num)
			return true;
	return false;
}

static int expire(struct plan_work *w, const struct plan_rest *r)
{
	struct plan_op op = {.idx = r->idx};
	enum plan_pool_kind pool = POOL_COUNT;
	int rc;

	switch (r->kind) {
	case REST_NODE:
		op.kind = PLAN_NODE_GONE;
		/* Another node may have the address by now: dp_known is that one's then. The node itself may have
		 * another address: dp_num is that index's. */
		if (!is_address_wanted(w, &r->addr))
			memcpy(op.arg.node.addr, r->addr.b, sizeof(r->addr.b));
		if (!is_number_wanted(w, r->node_num))
			op.arg.node.node_num = r->node_num;
		pool = POOL_NODE;
		break;
	case REST_BACKEND:
		op.kind = PLAN_BACKEND;
		pool = POOL_BACKEND;
		break;
	case REST_SVC:
		op.kind = PLAN_SVC;
		pool = POOL_SVC;
		/* A packet may have read the table word just now. */
		if (r->count && plan_rows_rest(w, r->offset, r->count))
			return -ENOMEM;
		break;
	case REST_VIP:
		op.kind = PLAN_VIP_FREE;
		pool = POOL_VIP;
		break;
	case REST_PAGE:
		return plan_pool_give(&w->next.pool[POOL_PAGE], r->idx);
	case REST_DIR:
		return plan_pool_give(&w->next.pool[POOL_DIR], r->idx);
	case REST_KINDS:
		return 0;
	case REST_ROWS:
		return plan_ranges_give(&w->next.rows, r->offset, r->count);
	}
	rc = plan_emit(w, STAGE_FREE, &op);
	return rc ? rc : plan_pool_give(&w->next.pool[pool], r->idx);
}

/* What was found at rest may be referred to until the first diff after adoption is applied: it rests from then on. */
static int rest_on(struct plan_work *w, const struct plan_rest *r)
{
	struct plan_rest next = *r;

	if (w->old->is_adopted)
		next.at_ms = w->now_ms + PLAN_REST_MS;
	return plan_rest_add(&w->next, &next);
}

/* Tables go before the backends that they name, and those before their nodes. */
static int expire_all(struct plan_work *w)
{
	for (enum plan_rest_kind kind = 0; kind < REST_KINDS; kind++) {
		for (size_t i = 0; i < w->old->rest_count; i++) {
			const struct plan_rest *r = &w->old->rest[i];
			int rc;

			if (r->kind != kind)
				continue;
			rc = r->at_ms > w->now_ms || w->old->is_adopted ? rest_on(w, r)
									: expire(w, r);
			if (rc)
				return rc;
		}
	}
	return 0;
}

/* ---- nodes */

uint32_t plan_node_state(const struct route_node *n)
{
	if (n->state == GOSSIP_ALIVE || n->state == GOSSIP_HEADLESS)
		return DP_NODE_UP;
	return n->state == GOSSIP_SUSPECT ? DP_NODE_SUSPECT : DP_NODE_DOWN;
}

static int node_id_order(const void *pa, const void *pb, void *arg)
{
	const struct route_view *view = arg;

	return node_id_cmp(&view->node[*(const size_t *)pa].id,
			   &view->node[*(const size_t *)pb].id);
}

static int node_addr_order(const void *pa, const void *pb, void *arg)
{
	const struct route_view *view = arg;
	const struct route_node *a = &view->node[*(const size_t *)pa];
	const struct route_node *b = &view->node[*(const size_t *)pb];
	int rc = memcmp(a->node.mesh_addr.b, b->node.mesh_addr.b, sizeof(a->node.mesh_addr.b));

	if (rc)
		return rc;
	if ((plan_node_state(a) == DP_NODE_UP) != (plan_node_state(b) == DP_NODE_UP))
		return plan_node_state(a) == DP_NODE_UP ? -1 : 1;
	return node_id_cmp(&a->id, &b->id);
}

/* View indexes of the nodes that belong in the maps, by id: each has an address, and it is the first of those that
 * claim it (a machine that was set up anew has its old self's address). */
static size_t wanted_nodes(const struct route_view *view, size_t *order)
{
	size_t n = 0, kept = 0;

	for (size_t i = 0; i < view->node_count; i++)
		if (!ip_is_zero(&view->node[i].node.mesh_addr))
			order[n++] = i;
	qsort_r(order, n, sizeof(*order), node_addr_order, (void *)view);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || !ip_equal(&view->node[order[i]].node.mesh_addr,
					   &view->node[order[kept - 1]].node.mesh_addr))
			order[kept++] = order[i];
	qsort_r(order, kept, sizeof(*order), node_id_order, (void *)view);
	return kept;
}

static int diff_node(struct plan_work *w, const struct plan_node_ent *old, size_t view_idx)
{
	const struct route_node *n = &w->view->node[view_idx];
	struct plan_node_ent *next = &w->next.node[w->next.node_count];
	struct plan_op op = {.kind = PLAN_NODE};
	enum plan_stage stage = STAGE_NODE;
	struct dp_node was;

	*next = (struct plan_node_ent){
		.id = n->id,
		.value = {.state = plan_node_state(n),
			  .node_num = plan_node_num(&n->id),
			  .flags = node_id_cmp(&n->id, w->self) == 0 ? DP_NODE_SELF : 0},
	};
	memcpy(next->value.addr, n->node.mesh_addr.b, sizeof(next->value.addr));
	if (old) {
		next->idx = old->idx;
	} else if ((next->value.flags & DP_NODE_SELF) && w->self_idx) {
		next->idx = w->self_idx;
	} else if (plan_take(w, POOL_NODE, &next->idx)) {
		plan_short(w, "node %.31s and its backends are not reached", n->node.name);
		return 0;
	}
	w->node_idx[view_idx] = next->idx;
	w->next.node_count++;
	op.idx = next->idx;
	op.arg.node = next->value;
	if (old && !w->old->is_adopted) {
		was = old->value;
		if (memcmp(&was, &next->value, sizeof(was)) == 0)
			return 0;
		was.state = next->value.state;
		if (memcmp(&was, &next->value, sizeof(was)) == 0) {
			op.kind = PLAN_NODE_STATE;
			/* Who left serves on until no table has it: nobody needs a substitute. */
			if (next->value.state != DP_NODE_UP)
				stage = n->state == GOSSIP_LEFT ? STAGE_LEFT : STAGE_DOWN;
		}
	}
	return plan_emit(w, stage, &op);
}

/* If there is room for one new node, it is this machine. */
static void take_self(struct plan_work *w)
{
	for (size_t i = 0; i < w->node_order_count; i++) {
		const struct route_node *n = &w->view->node[w->node_order[i]];
		const struct plan_node_ent *old = plan_find_node(w->old, w->self);

		if (node_id_cmp(&n->id, w->self) == 0 &&
		    (!old || memcmp(old->value.addr, n->node.mesh_addr.b, sizeof(old->value.addr))))
			(void)plan_take(w, POOL_NODE, &w->self_idx); /* diff_node() says so */
	}
}

static int diff_nodes(struct plan_work *w)
{
	const size_t *order = w->node_order, count = w->node_order_count;
	const struct plan_state *old = w->old;
	size_t i = 0, j = 0;
	int rc;

	w->next.node = calloc(count + 1, sizeof(*w->next.node));
	rc = w->next.node ? 0 : -ENOMEM;
	take_self(w);
	while (!rc && (i < count || j < old->node_count)) {
		const struct plan_node_ent *o = &old->node[j];
		const struct route_node *n = NULL;
		int cmp = -1;

		if (i < count)
			n = &w->view->node[order[i]];
		if (j < old->node_count)
			cmp = n ? node_id_cmp(&n->id, &o->id) : 1;
		if (cmp < 0) {
			rc = diff_node(w, NULL, order[i++]);
			continue;
		}
		j++;
		if (cmp > 0) {
			rc = node_rests(w, o);
			continue;
		}
		i++;
		if (memcmp(n->node.mesh_addr.b, o->value.addr, sizeof(o->value.addr)) != 0) {
			/* 16 bytes can't be exchanged under readers: another index, and the words move over. */
			rc = node_rests(w, o);
			o = NULL;
		}
		if (!rc)
			rc = diff_node(w, o, order[i - 1]);
	}
	return rc;
}

/* ---- backends */

static int backend_order(const void *pa, const void *pb, void *arg)
{
	struct plan_backend_key a, b;

	plan_backend_key_of(arg, *(const size_t *)pa, &a);
	plan_backend_key_of(arg, *(const size_t *)pb, &b);
	return plan_backend_key_cmp(&a, &b);
}

static int diff_backend(struct plan_work *w, const struct plan_backend_ent *old, size_t view_idx,
			const struct plan_backend_key *key)
{
	const struct route_backend *b = &w->view->backend[view_idx];
	uint32_t node_idx = w->node_idx[b->node_idx];
	bool up = node_idx &&
		  (w->is_panic[view_idx] || model_health_is_good(&b->backend.check, b->health));
	struct plan_backend_ent *next = &w->next.backend[w->next.backend_count];
	struct plan_op op = {.kind = PLAN_BACKEND};
	enum plan_stage stage = STAGE_BACKEND;

	*next = (struct plan_backend_ent){
		.key = *key,
		.word = DP_BE_WORD(up ? DP_BE_UP : DP_BE_DEAD, node_idx, b->backend.token),
	};
	if (old) {
		next->idx = old->idx;
		if (!up && DP_BE_STATE(old->word) == DP_BE_UP)
			stage = STAGE_DOWN;
	} else if (plan_take(w, POOL_BACKEND, &next->idx)) {
		plan_short(w, "a backend of service %.31s gets no packets", key->service);
		return 0;
	}
	w->backend_idx[view_idx] = next->idx;
	w->next.backend_count++;
	if (old && old->word == next->word)
		return 0;
	op.idx = next->idx;
	op.arg.word = next->word;
	return plan_emit(w, stage, &op);
}

static int backend_gone(struct plan_work *w, const struct plan_backend_ent *old)
{
	struct plan_op op = {.kind = PLAN_BACKEND, .idx = old->idx};
	int rc = plan_let_rest(w, REST_BACKEND, old->idx);

	if (rc || DP_BE_STATE(old->word) == DP_BE_DEAD)
		return rc;
	op.arg.word = DP_BE_WORD(DP_BE_DEAD, DP_BE_NODE(old->word), DP_BE_TOKEN(old->word));
	return plan_emit(w, STAGE_DOWN, &op);
}

static int diff_backends(struct plan_work *w)
{
	size_t n = w->view->backend_count, *order = calloc(n + 1, sizeof(*order)), i = 0, j = 0;
	const struct plan_state *old = w->old;
	int rc = 0;

	w->next.backend = calloc(n + 1, sizeof(*w->next.backend));
	if (!order || !w->next.backend) {
		free(order);
		return -ENOMEM;
	}
	for (size_t k = 0; k < n; k++)
		order[k] = k;
	qsort_r(order, n, sizeof(*order), backend_order, (void *)w->view);
	while (!rc && (i < n || j < old->backend_count)) {
		const struct plan_backend_ent *last = NULL;
		struct plan_backend_key key;
		int cmp = -1;

		if (i < n)
			plan_backend_key_of(w->view, order[i], &key);
		if (w->next.backend_count)
			last = &w->next.backend[w->next.backend_count - 1];
		if (i < n && last && plan_backend_key_cmp(&last->key, &key) == 0) {
			w->backend_idx[order[i++]] = last->idx; /* said twice */
			continue;
		}
		if (j < old->backend_count)
			cmp = i < n ? plan_backend_key_cmp(&key, &old->backend[j].key) : 1;
		if (cmp > 0) {
			rc = backend_gone(w, &old->backend[j++]);
			continue;
		}
		rc = diff_backend(w, cmp == 0 ? &old->backend[j++] : NULL, order[i], &key);
		i++;
	}
	free(order);
	return rc;
}

/* ---- all of it */

static int begin(struct plan_work *w)
{
	const struct route_view *view = w->view;
	int rc = 0;

	w->next.sizes = w->old->sizes;
	w->node_order = calloc(view->node_count + 1, sizeof(*w->node_order));
	w->node_idx = calloc(view->node_count + 1, sizeof(*w->node_idx));
	w->backend_idx = calloc(view->backend_count + 1, sizeof(*w->backend_idx));
	w->is_panic = calloc(view->backend_count + 1, sizeof(bool));
	w->is_svc_up = calloc(w->routes->entry_count + 1, sizeof(bool));
	w->may_be_prev = calloc((size_t)w->old->sizes.backends + 1, sizeof(bool));
	w->svc_idx = calloc(w->routes->entry_count + 1, sizeof(*w->svc_idx));
	w->first_entry = calloc(2 * view->service_count + 1, sizeof(*w->first_entry));
	if (!w->node_order || !w->node_idx || !w->backend_idx || !w->may_be_prev || !w->is_svc_up ||
	    !w->svc_idx || !w->first_entry || !w->is_panic)
		return -ENOMEM;
	for (size_t i = w->routes->entry_count; i-- > 0;) {
		const struct route_entry *e = &w->routes->entry[i];

		for (size_t k = 0; k < e->choice_count; k++)
			if (e->choice[k].is_panic)
				w->is_panic[e->choice[k].backend_idx] = true;

		w->first_entry[2 * e->service_idx + (e->family == 6)] = 1 + i;
	}
	w->node_order_count = wanted_nodes(view, w->node_order);
	for (size_t i = 0; i < POOL_COUNT && !rc; i++)
		rc = plan_pool_copy(&w->old->pool[i], &w->next.pool[i]);
	if (!rc)
		rc = plan_ranges_copy(&w->old->rows, &w->next.rows);
	return rc ? rc : route_claims_compute(view, &w->claims);
}

/* The stages, one behind the other, onto the caller's list; the last thing that can fail. */
int plan_append(struct plan_list *l, struct plan_list stage[STAGE_COUNT])
{
	size_t need = l->op_count;

	for (size_t i = 0; i < STAGE_COUNT; i++)
		need += stage[i].op_count;
	if (need > l->op_cap) {
		struct plan_op *p = realloc(l->op, need * sizeof(*p));

		if (!p)
			return -ENOMEM;
		l->op = p;
		l->op_cap = need;
	}
	for (size_t i = 0; i < STAGE_COUNT; i++) {
		if (stage[i].op_count)
			memcpy(l->op + l->op_count, stage[i].op,
			       stage[i].op_count * sizeof(*l->op));
		l->op_count += stage[i].op_count;
		while (stage[i].blocks) {
			struct plan_block *b = stage[i].blocks;

			stage[i].blocks = b->list_next;
			b->list_next = l->blocks;
			l->blocks = b;
		}
	}
	return 0;
}

int plan_replay(struct plan_state *s, const struct route_view *view,
		const struct route_plan *routes, const struct route_plan *before,
		const struct node_id *self, uint64_t now_ms, struct plan_list *l, struct err *e)
{
	struct plan_work w = {.old = s,
			      .view = view,
			      .routes = routes,
			      .before = before,
			      .self = self,
			      .now_ms = now_ms,
			      .e = e};
	struct plan_state was;
	int rc;

	if (before && before->entry_count != routes->entry_count)
		w.before = NULL; /* of another shape: nothing is known */

	if (e)
		*e = (struct err){0};
	rc = begin(&w);
	if (!rc)
		rc = expire_all(&w);
	if (!rc)
		rc = diff_nodes(&w);
	if (!rc)
		rc = diff_backends(&w);
	if (!rc)
		rc = plan_diff_svcs(&w);
	if (!rc)
		rc = plan_diff_ports(&w);
	if (!rc && e && w.short_count > 1) {
		size_t len = strlen(e->text);

		snprintf(e->text + len, sizeof(e->text) - len, " (and %zu more)",
			 w.short_count - 1);
	}
	if (!rc)
		rc = plan_append(l, w.stage);
	if (rc == -ENOMEM)
		(void)err_set(e, rc, "forwarder: out of memory");
	if (!rc) {
		plan_seen_take(&w, &w.next.seen);
		was = *s;
		*s = w.next;
		w.next = was;
	}
	plan_state_done(&w.next);
	for (size_t i = 0; i < STAGE_COUNT; i++)
		plan_list_clear(&w.stage[i]);
	free(w.node_order);
	free(w.node_idx);
	free(w.backend_idx);
	free(w.may_be_prev);
	free(w.is_panic);
	free(w.is_svc_up);
	free(w.svc_idx);
	free(w.first_entry);
	route_claims_done(&w.claims);
	return rc;
}

int plan_diff(struct plan_state *s, const struct route_view *view, const struct route_plan *routes,
	      const struct node_id *self, uint64_t now_ms, struct plan_list *l, struct err *e)
{
	return plan_replay(s, view, routes, NULL, self, now_ms, l, e);
}
