/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/route_priv.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "edge/route_panic.h"
#include "edge/route_share.h"
#include "edge/route_table.h"

/* ---- order */

static int region_cmp(const void *pa, const void *pb, void *arg)
{
	const struct route_view *view = arg;

	return strcmp(view->node[*(const size_t *)pa].node.region,
		      view->node[*(const size_t *)pb].node.region);
}

/* Place of a region that is named: own first, then as configured; -1 = only by its name. */
static int named_tier(const struct route_view *view, const char *region)
{
	if (strcmp(region, view->region) == 0)
		return 0;
	for (size_t i = 0; i < view->order_count && i < ROUTE_REGIONS_MAX; i++)
		if (strcmp(region, view->order[i]) == 0)
			return (int)i + 1;
	return -1;
}

void route_rank_nodes(struct route_work *w, size_t *sorted)
{
	const struct route_view *view = w->view;
	uint32_t next = (uint32_t)view->order_count + 1;
	const char *last = NULL;

	for (size_t i = 0; i < view->node_count; i++)
		sorted[i] = i;
	qsort_r(sorted, view->node_count, sizeof(*sorted), region_cmp, (void *)view);
	for (size_t i = 0; i < view->node_count; i++) {
		const char *region = view->node[sorted[i]].node.region;
		int tier = named_tier(view, region);

		if (tier < 0) {
			if (last && strcmp(last, region) != 0)
				next++;
			last = region;
			tier = (int)next;
		}
		w->tier[sorted[i]] = (uint32_t)tier;
	}
}

static int service_name_cmp(const void *pa, const void *pb, void *arg)
{
	const struct route_view *view = arg;

	return strcmp(view->service[*(const size_t *)pa].name,
		      view->service[*(const size_t *)pb].name);
}

static int backend_name_cmp(const struct route_view *view, size_t ia, size_t ib)
{
	const struct route_backend *a = &view->backend[ia], *b = &view->backend[ib];
	int rc = node_id_cmp(&view->node[a->node_idx].id, &view->node[b->node_idx].id);

	if (!rc)
		rc = memcmp(a->backend.addr.b, b->backend.addr.b, sizeof(a->backend.addr.b));
	return rc ? rc : (int)a->backend.port - (int)b->backend.port;
}

static int backend_cmp(const void *pa, const void *pb, void *arg)
{
	size_t a = *(const size_t *)pa, b = *(const size_t *)pb;
	const struct route_view *view = arg;
	int rc = strcmp(view->backend[a].backend.service, view->backend[b].backend.service);

	return rc ? rc : backend_name_cmp(view, a, b);
}

static int choice_cmp(const void *pa, const void *pb, void *arg)
{
	const struct route_choice *a = pa, *b = pb;

	if (a->tier != b->tier)
		return a->tier < b->tier ? -1 : 1;
	return backend_name_cmp(arg, a->backend_idx, b->backend_idx);
}

/* ---- one service in one family */

static uint16_t service_port_hi(const struct model_service *s)
{
	uint16_t hi = 0;

	for (size_t i = 0; i < s->port_count; i++)
		if (s->port[i].ports.hi > hi)
			hi = s->port[i].ports.hi;
	return hi;
}

/* The ports of an entry, as far as the service goes: those above its lowest must fit above a backend's port. */
static uint32_t port_span(const struct model_service *s, const struct route_entry *e)
{
	uint16_t hi = service_port_hi(s);

	if (e->part.lo && e->part.hi < hi)
		hi = e->part.hi;
	return hi > e->port_lo ? hi - e->port_lo : 0;
}

static enum route_why judge(const struct route_view *view, const struct route_entry *e,
			    const struct route_backend *b)
{
	const struct model_service *s = &view->service[e->service_idx];
	const struct route_node *n = &view->node[b->node_idx];

	if (ip_is_v4(&b->backend.addr) != (e->family == 4))
		return ROUTE_OTHER_FAMILY;
	if (b->backend.port + port_span(s, e) > UINT16_MAX)
		return ROUTE_PORT_OVERFLOW;
	if (n->state != GOSSIP_ALIVE && n->state != GOSSIP_HEADLESS)
		return ROUTE_NODE_DOWN;
	if (!n->node.has_forwarder)
		return ROUTE_NO_FORWARDER;
	if (b->is_overridden)
		return ROUTE_OVERRIDDEN;
	if (b->backend.is_draining)
		return ROUTE_DRAINING;
	if (model_health_is_good(&b->backend.check, b->health))
		return ROUTE_USED;
	return b->health == MODEL_HEALTH_UNKNOWN ? ROUTE_UNCHECKED : ROUTE_UNHEALTHY;
}

static uint64_t backend_hash(const struct route_view *view, size_t idx, uint64_t h)
{
	const struct route_backend *b = &view->backend[idx];
	uint8_t port_be[2] = {(uint8_t)(b->backend.port >> 8), (uint8_t)b->backend.port};

	h = maglev_hash_add(h, view->node[b->node_idx].id.b, NODE_ID_BYTES);
	h = maglev_hash_add(h, b->backend.service, strlen(b->backend.service) + 1);
	h = maglev_hash_add(h, b->backend.addr.b, sizeof(b->backend.addr.b));
	return maglev_hash_add(h, port_be, sizeof(port_be));
}

/* The used backends of e into its lists. */
static void collect_used(const struct route_work *w, struct route_entry *e)
{
	size_t n = 0;

	for (size_t i = 0; i < e->choice_count; i++) {
		size_t b = e->choice[i].backend_idx;

		if (e->choice[i].why != ROUTE_USED)
			continue;
		e->used[n] = (uint32_t)b;
		e->weight[n] = e->choice[i].weight;
		e->name[n++] = maglev_hash_end(backend_hash(w->view, b, MAGLEV_HASH_INIT));
	}
}

/* See "Class" in the header. The choices are sorted by tier. */
static uint8_t class_of(struct route_work *w, const struct route_entry *e)
{
	const struct model_policy *policy = &w->view->service[e->service_idx].policy;
	bool is_shared = policy->spill_pct != 0; /* several tiers may share a table */
	uint32_t asked = policy->rows;
	uint8_t class = 0, wanted;
	size_t known = 0, n = 0;

	for (uint8_t k = 0; asked && k < DP_SIZE_CLASSES; k++)
		if (maglev_size(k) == asked)
			return k;
	for (size_t i = 0; i < e->choice_count; i++) {
		const struct route_choice *c = &e->choice[i];
		uint16_t weight = w->view->backend[c->backend_idx].backend.weight;

		if (c->why != ROUTE_OTHER_FAMILY && c->why != ROUTE_PORT_OVERFLOW) {
			known++;
			w->weight[n++] = weight ? weight : 1;
		}
		if (i + 1 < e->choice_count && (is_shared || c->tier == e->choice[i + 1].tier))
			continue;
		wanted = maglev_class(w->weight, n);
		if (wanted > class)
			class = wanted;
		n = 0;
	}
	return known == 1 ? MAGLEV_CLASS_ALONE : class;
}

static bool is_in_part(const struct route_backend *b, uint8_t family, struct ip_port_range part)
{
	/* What is of the other family is shown with the whole service. */
	if (ip_is_v4(&b->backend.addr) != (family == 4))
		return part.lo == 0;
	return b->backend.ports.lo == part.lo && b->backend.ports.hi == part.hi;
}

static uint32_t tier_of(const struct route_work *w, size_t service_idx, size_t node_idx)
{
	uint32_t tier = w->tier[node_idx];

	if (!w->view->service[service_idx].policy.is_local)
		return tier;
	return node_id_cmp(&w->view->node[node_idx].id, &w->view->self) ? tier + 1 : 0;
}

/* Entry of a part of service s in a family, with those of the backends in w->backend[from .. to) that state it: choices,
 * not rows yet. */
static void add_entry(struct route_work *w, size_t s, uint8_t family, struct ip_port_range part,
		      size_t from, size_t to)
{
	struct route_entry *e = &w->entry[w->entry_count++];
	const struct route_view *view = w->view;

	*e = (struct route_entry){
		.service_idx = s,
		.family = family,
		.part = part,
		.served = part,
		.port_lo = part.lo ? part.lo : model_service_port_lo(&view->service[s]),
		.is_shadowed = w->claims.shadowed &&
			       (w->claims.shadowed[s] &
				(family == 4 ? ROUTE_SHADOWED_V4 : ROUTE_SHADOWED_V6)),
		.choice = w->choice + w->choice_count,
	};
	for (size_t i = from; i < to; i++) {
		const struct route_backend *b = &view->backend[w->backend[i]];

		if (!is_in_part(b, family, part))
			continue;
		e->choice[e->choice_count++] = (struct route_choice){
			.backend_idx = w->backend[i],
			.tier = tier_of(w, s, b->node_idx),
			.why = judge(view, e, b),
		};
	}
	w->choice_count += e->choice_count;
	qsort_r(e->choice, e->choice_count, sizeof(*e->choice), choice_cmp, (void *)view);
	e->used_count = route_share(view, e, route_panic(view, e));
	if (e->used_count) {
		e->size_class = class_of(w, e);
		e->row_count = maglev_size(e->size_class);
	}
}

bool route_has_family(const struct model_service *s, uint8_t family)
{
	for (size_t i = 0; i < s->vip_count; i++)
		if (ip_is_v4(&s->vip[i]) == (family == 4))
			return true;
	return false;
}

int route_part_cmp(const void *pa, const void *pb)
{
	const struct ip_port_range *a = pa, *b = pb;

	return a->lo != b->lo ? (int)a->lo - (int)b->lo : (int)a->hi - (int)b->hi;
}

/* The entries of service s in a family: the whole, then its parts. */
void route_add_parts(struct route_work *w, size_t s, uint8_t family, size_t from, size_t to)
{
	static const struct ip_port_range whole;
	size_t n = 0;
	uint32_t next = 1; /* lowest port that no part has yet */

	add_entry(w, s, family, whole, from, to);
	for (size_t i = from; i < to; i++) {
		const struct model_backend *b = &w->view->backend[w->backend[i]].backend;

		if (b->ports.lo && ip_is_v4(&b->addr) == (family == 4))
			w->part[n++] = b->ports;
	}
	qsort(w->part, n, sizeof(*w->part), route_part_cmp);
	for (size_t i = 0; i < n; i++) {
		struct route_entry *e = &w->entry[w->entry_count];

		if (i && route_part_cmp(&w->part[i - 1], &w->part[i]) == 0)
			continue;
		add_entry(w, s, family, w->part[i], from, to);
		/* What lies below `next` and not below this part is a lower part's. */
		if (next > e->part.hi)
			e->served = (struct ip_port_range){1, 0};
		else if (next > e->part.lo)
			e->served.lo = (uint16_t)next;
		if (next <= e->part.hi)
			next = e->part.hi + 1u;
	}
}

/* Services and backends, both sorted by the service's name, walked side by side. */
static void add_entries(struct route_work *w)
{
	const struct route_view *view = w->view;
	size_t from = 0, to;

	for (size_t i = 0; i < view->service_count; i++, from = to) {
		size_t s = w->service[i];
		const char *name = view->service[s].name;

		while (from < view->backend_count &&
		       strcmp(view->backend[w->backend[from]].backend.service, name) < 0)
			from++;
		for (to = from; to < view->backend_count; to++)
			if (strcmp(view->backend[w->backend[to]].backend.service, name) != 0)
				break;
		if (route_has_family(&view->service[s], 4))
			route_add_parts(w, s, 4, from, to);
		if (route_has_family(&view->service[s], 6))
			route_add_parts(w, s, 6, from, to);
	}
}

/* ---- the plan: struct and entries, and for each entry a piece with choices, names, lists, rows */

static void piece_unref(struct route_piece *p)
{
	if (p && --p->refs == 0)
		free(p);
}

struct route_plan *route_plan_alloc(size_t entry_count)
{
	struct route_plan *p;

	_Static_assert(alignof(struct route_plan) >= alignof(struct route_entry),
		       "entries follow the struct");
	p = calloc(1, sizeof(*p) + entry_count * sizeof(struct route_entry));
	if (p) {
		p->entry = (struct route_entry *)(p + 1);
		p->entry_count = entry_count;
	}
	return p;
}

/* What `draft` says, into memory of its own, with its names, weights and room for rows. */
int route_make_piece(const struct route_work *w, const struct route_entry *draft,
		     struct route_entry *e)
{
	struct route_piece *piece;

	_Static_assert(alignof(struct route_choice) <= alignof(uint64_t),
		       "each part of the piece ends aligned for the next");
	piece = malloc(sizeof(*piece) + draft->choice_count * sizeof(*e->choice) +
		       draft->used_count * (sizeof(*e->name) + 2 * sizeof(uint32_t)) +
		       draft->row_count * sizeof(uint32_t));
	if (!piece)
		return -ENOMEM;
	piece->refs = 1;
	*e = *draft;
	e->piece = piece;
	e->name = piece->data;
	e->choice = (struct route_choice *)(e->name + e->used_count);
	e->used = (uint32_t *)(e->choice + e->choice_count);
	e->weight = e->used + e->used_count;
	e->row = e->weight + e->used_count;
	if (e->choice_count)
		memcpy(e->choice, draft->choice, e->choice_count * sizeof(*e->choice));
	collect_used(w, e);
	return 0;
}

int route_fill_rows(struct route_entry *e)
{
	int rc = maglev_fill(e->name, e->weight, e->used_count, e->row, e->row_count);

	for (uint32_t r = 0; r < e->row_count && !rc; r++)
		e->row[r] = e->used[e->row[r]];
	return rc;
}

static int build_plan(struct route_work *w, const struct route_plan *old,
		      struct route_plan **ret_plan)
{
	struct route_plan *p = route_plan_alloc(w->entry_count);
	struct route_tables tables = {0};
	int rc = p ? route_tables_begin(old, &tables) : -ENOMEM;

	for (size_t i = 0; i < w->entry_count && !rc; i++) {
		struct route_entry *e = &p->entry[i];

		rc = route_make_piece(w, &w->entry[i], e);
		if (!rc && e->used_count && !route_tables_copy(&tables, e))
			rc = route_fill_rows(e);
	}
	route_tables_done(&tables);
	if (rc)
		route_free(p);
	else
		*ret_plan = p;
	return rc;
}

/* Every backend belongs to one service at most, which has two families at most, and is of one part. */
static int alloc_work(struct route_work *w)
{
	size_t nodes = w->view->node_count + 1, services = w->view->service_count + 1;
	size_t backends = w->view->backend_count + 1;

	w->tier = calloc(nodes, sizeof(*w->tier));
	w->service = calloc(services, sizeof(*w->service));
	w->backend = calloc(backends, sizeof(*w->backend));
	w->part = calloc(backends, sizeof(*w->part));
	w->choice = calloc(2 * backends, sizeof(*w->choice));
	w->entry = calloc(2 * services + backends, sizeof(*w->entry));
	w->weight = calloc(backends, sizeof(*w->weight));
	if (!w->tier || !w->service || !w->backend || !w->part || !w->choice || !w->entry ||
	    !w->weight)
		return -ENOMEM;
	return route_claims_compute(w->view, &w->claims);
}

void route_work_done(struct route_work *w)
{
	free(w->tier);
	free(w->service);
	free(w->backend);
	free(w->part);
	free(w->choice);
	free(w->entry);
	free(w->weight);
	route_claims_done(&w->claims);
}

static bool is_view_sound(const struct route_view *view)
{
	if (view->backend_count > UINT32_MAX)
		return false;
	for (size_t i = 0; i < view->backend_count; i++)
		if (view->backend[i].node_idx >= view->node_count)
			return false;
	return true;
}

int route_compute_from(const struct route_view *view, const struct route_plan *old,
		       struct route_plan **ret_plan)
{
	struct route_work w = {.view = view};
	size_t *sorted = NULL;
	int rc = -EINVAL;

	if (!is_view_sound(view))
		goto out;
	rc = alloc_work(&w);
	if (rc)
		goto out;
	rc = -ENOMEM;
	sorted = calloc(view->node_count + 1, sizeof(*sorted));
	if (!sorted)
		goto out;
	route_rank_nodes(&w, sorted);
	for (size_t i = 0; i < view->service_count; i++)
		w.service[i] = i;
	qsort_r(w.service, view->service_count, sizeof(*w.service), service_name_cmp, (void *)view);
	for (size_t i = 0; i < view->backend_count; i++)
		w.backend[i] = i;
	qsort_r(w.backend, view->backend_count, sizeof(*w.backend), backend_cmp, (void *)view);
	add_entries(&w);
	rc = build_plan(&w, old, ret_plan);
out:
	free(sorted);
	route_work_done(&w);
	return rc;
}

int route_compute(const struct route_view *view, struct route_plan **ret_plan)
{
	return route_compute_from(view, NULL, ret_plan);
}

void route_free(struct route_plan *p)
{
	for (size_t i = 0; p && i < p->entry_count; i++)
		piece_unref(p->entry[i].piece);
	free(p);
}

void route_digest(const struct route_view *view, const struct route_entry *e,
		  uint8_t ret_digest[16])
{
	static const uint64_t init[2] = {MAGLEV_HASH_INIT, ~MAGLEV_HASH_INIT};

	for (size_t half = 0; half < 2; half++) {
		const char *name = view->service[e->service_idx].name;
		uint64_t h = maglev_hash_add(init[half], name, strlen(name) + 1);
		uint64_t name_hash = 0;
		uint32_t last = UINT32_MAX;

		h = maglev_hash_add(h, &e->family, sizeof(e->family));
		h = maglev_hash_add(h, &e->part, sizeof(e->part));
		h = maglev_hash_add(h, &e->size_class, sizeof(e->size_class));
		for (uint32_t i = 0; i < e->row_count; i++) {
			if (e->row[i] != last)
				name_hash = backend_hash(view, e->row[i], init[half]);
			last = e->row[i];
			h = maglev_hash_end(h ^ maglev_hash_end(name_hash));
		}
		h = maglev_hash_end(h);
		for (size_t i = 0; i < 8; i++)
			ret_digest[half * 8 + i] = (uint8_t)(h >> (8 * i));
	}
}
