/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A few services of a plan anew; entries of the others are shared with the plan before. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/route_priv.h"

/* Entries [from, to) of `old` are those of one service: the most that any service of the list needs. */
static size_t service_end(const struct route_plan *old, size_t from)
{
	size_t to = from + 1;

	while (to < old->entry_count && old->entry[to].service_idx == old->entry[from].service_idx)
		to++;
	return to;
}

/* All its backends: each is in one entry of each family. */
static size_t gather_backends(const struct route_plan *old, size_t from, size_t to, size_t *ret_idx)
{
	size_t n = 0;

	for (size_t i = from; i < to && old->entry[i].family == old->entry[from].family; i++) {
		for (size_t k = 0; ret_idx && k < old->entry[i].choice_count; k++)
			ret_idx[n + k] = old->entry[i].choice[k].backend_idx;
		n += old->entry[i].choice_count;
	}
	return n;
}

static bool has_same_table(const struct route_entry *a, const struct route_entry *b)
{
	return a->row_count == b->row_count && a->used_count == b->used_count &&
	       !memcmp(a->used, b->used, a->used_count * sizeof(*a->used)) &&
	       !memcmp(a->weight, b->weight, a->used_count * sizeof(*a->weight));
}

static int update_entry(const struct route_work *w, const struct route_entry *draft,
			const struct route_entry *old, struct route_entry *e)
{
	int rc;

	if (draft->family != old->family || route_part_cmp(&draft->part, &old->part) != 0)
		return -EAGAIN;
	rc = route_make_piece(w, draft, e);
	if (rc)
		return rc;
	e->is_shadowed = old->is_shadowed;
	if (!e->used_count)
		return 0;
	if (!has_same_table(e, old))
		return route_fill_rows(e);
	memcpy(e->row, old->row, e->row_count * sizeof(*e->row));
	return 0;
}

static int update_service(struct route_work *w, const struct route_plan *old, size_t from,
			  size_t to, struct route_plan *p)
{
	size_t s = old->entry[from].service_idx, n = gather_backends(old, from, to, w->backend);
	int rc = 0;

	w->entry_count = w->choice_count = 0;
	if (route_has_family(&w->view->service[s], 4))
		route_add_parts(w, s, 4, 0, n);
	if (route_has_family(&w->view->service[s], 6))
		route_add_parts(w, s, 6, 0, n);
	if (w->entry_count != to - from)
		return -EAGAIN;
	for (size_t i = from; i < to && !rc; i++)
		rc = update_entry(w, &w->entry[i - from], &old->entry[i], &p->entry[i]);
	return rc;
}

/* Room for the largest service. */
static int alloc_update(struct route_work *w, const struct route_plan *old)
{
	size_t backends = 1, entries, nodes = w->view->node_count + 1, to;

	for (size_t from = 0; from < old->entry_count; from = to) {
		size_t n = gather_backends(old, from, to = service_end(old, from), NULL);

		backends = n > backends ? n : backends;
	}
	entries = 2 * (backends + 1);
	w->tier = calloc(nodes, sizeof(*w->tier));
	w->service = calloc(nodes, sizeof(*w->service)); /* nodes in order of their regions */
	w->backend = calloc(backends, sizeof(*w->backend));
	w->part = calloc(backends, sizeof(*w->part));
	w->choice = calloc(2 * backends, sizeof(*w->choice));
	w->entry = calloc(entries, sizeof(*w->entry));
	w->weight = calloc(backends, sizeof(*w->weight));
	return w->tier && w->service && w->backend && w->part && w->choice && w->entry && w->weight
		       ? 0
		       : -ENOMEM;
}

int route_update(const struct route_view *view, const struct route_plan *old, const size_t *service,
		 size_t count, struct route_plan **ret_plan)
{
	struct route_work w = {.view = view};
	struct route_plan *p = route_plan_alloc(old->entry_count);
	bool *is_named = calloc(view->service_count + 1, sizeof(*is_named));
	int rc = p && is_named ? alloc_update(&w, old) : -ENOMEM;
	size_t to;

	for (size_t i = 0; i < count && !rc; i++) {
		if (service[i] >= view->service_count)
			rc = -EINVAL;
		else
			is_named[service[i]] = true;
	}
	if (!rc)
		route_rank_nodes(&w, w.service);
	for (size_t from = 0; from < old->entry_count && !rc; from = to) {
		to = service_end(old, from);
		if (is_named[old->entry[from].service_idx]) {
			rc = update_service(&w, old, from, to, p);
			continue;
		}
		for (size_t i = from; i < to; i++) {
			p->entry[i] = old->entry[i];
			p->entry[i].piece->refs++;
		}
	}
	free(is_named);
	route_work_done(&w);
	if (rc)
		route_free(p);
	else
		*ret_plan = p;
	return rc;
}
