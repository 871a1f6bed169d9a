/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* plan   {region, load, services: [{service, family: 4 | 6, is_lost (had backends, would have none), moved: permille of its
 *         traffic that would change its backend, regions: [{region, before, after}], permille of today's traffic; after
 *         times load, backends: [{spec, before, after}]: those that change, the most loaded first, PLAN_BACKENDS_MAX at most}]}
 * An entry that nothing would happen to is left out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/ctl_int.h"
#include "edge/whatif.h"

#define BACKENDS_MAX 10

struct comparison {
	const struct ctl_look *l;
	const struct whatif *w;
	const struct route_entry *was, *will;
	uint64_t load_pct; /* of today's, after */
};

static uint64_t permille(uint64_t rows, const struct route_entry *e, uint64_t load_pct)
{
	return e->row_count ? (1000 * rows * load_pct / 100 + e->row_count / 2) / e->row_count : 0;
}

static uint64_t moved(const struct comparison *c)
{
	uint64_t n = 0, rows = c->was->row_count;

	if (!rows || !c->will->row_count)
		return rows ? 1000 : 0;
	/* Tables of two sizes are laid over each other in parts of their length. */
	for (uint64_t r = 0; r < rows; r++)
		n += c->was->row[r] != c->will->row[r * c->will->row_count / rows];
	return (1000 * n + rows / 2) / rows;
}

static void put_regions(const struct comparison *c, struct ctl_out *o, struct ctl_block *m)
{
	const struct route_view *v = c->l->v.view;
	const char *seen[ROUTE_REGIONS_MAX + 1];
	struct ctl_block list, one;
	size_t count = 0;

	ctl_key(o, m, "regions");
	ctl_array(o, &list);
	for (size_t i = 0; i < c->was->choice_count; i++) {
		const char *region =
			v->node[v->backend[c->was->choice[i].backend_idx].node_idx].node.region;
		uint64_t before, after;
		size_t k = 0;

		while (k < count && strcmp(seen[k], region) != 0)
			k++;
		if (k < count || count > ROUTE_REGIONS_MAX)
			continue;
		seen[count++] = region;
		before = permille(whatif_rows_region(v, c->was, region), c->was, 100);
		after = permille(whatif_rows_region(&c->w->view, c->will, region), c->will,
				 c->load_pct);
		if (!before && !after)
			continue;
		ctl_item(&list);
		ctl_map(o, &one);
		ctl_key_text(o, &one, "region", region);
		ctl_key_uint(o, &one, "before", before);
		ctl_key_uint(o, &one, "after", after);
		ctl_end(o, &one);
	}
	ctl_end(o, &list);
}

struct load {
	size_t backend_idx;
	uint64_t before, after;
};

static int most_loaded_first(const void *pa, const void *pb)
{
	const struct load *a = pa, *b = pb;

	return a->after < b->after ? 1 : a->after > b->after ? -1 : 0;
}

static int put_backends(const struct comparison *c, struct ctl_out *o, struct ctl_block *m)
{
	struct load *load = calloc(c->was->choice_count + 1, sizeof(*load));
	struct ctl_block list, one;
	char spec[CTL_SPEC_MAX];
	size_t count = 0;

	if (!load)
		return -ENOMEM;
	for (size_t i = 0; i < c->was->choice_count; i++) {
		size_t idx = c->was->choice[i].backend_idx;
		struct load x = {.backend_idx = idx};

		x.before = permille(whatif_rows_backend(c->was, idx), c->was, 100);
		x.after = permille(whatif_rows_backend(c->will, idx), c->will, c->load_pct);
		if (x.before != x.after)
			load[count++] = x;
	}
	qsort(load, count, sizeof(*load), most_loaded_first);
	ctl_key(o, m, "backends");
	ctl_array(o, &list);
	for (size_t i = 0; i < count && i < BACKENDS_MAX; i++) {
		ctl_item(&list);
		ctl_map(o, &one);
		ctl_key_text(o, &one, "spec",
			     ctl_backend_spec(c->l->v.view, load[i].backend_idx, spec));
		ctl_key_uint(o, &one, "before", load[i].before);
		ctl_key_uint(o, &one, "after", load[i].after);
		ctl_end(o, &one);
	}
	ctl_end(o, &list);
	free(load);
	return 0;
}

static int put_entry(const struct comparison *c, struct ctl_out *o, struct ctl_block *list)
{
	uint64_t share = moved(c);
	struct ctl_block m;
	int rc;

	if (!share && c->load_pct == 100)
		return 0;
	ctl_item(list);
	ctl_map(o, &m);
	ctl_key_text(o, &m, "service", c->l->v.view->service[c->was->service_idx].name);
	ctl_key_uint(o, &m, "family", c->was->family);
	ctl_key_bool(o, &m, "is_lost", c->was->row_count && !c->will->row_count);
	ctl_key_uint(o, &m, "moved", share);
	put_regions(c, o, &m);
	rc = put_backends(c, o, &m);
	ctl_end(o, &m);
	return rc;
}

int ctl_plan(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o, struct err *e)
{
	struct comparison c = {.l = l, .load_pct = 100 + a->load};
	const char *kill[WHATIF_KILLS_MAX];
	struct ctl_block m, list;
	struct whatif w;
	int rc;

	_Static_assert(MODEL_PORTS_MAX <= WHATIF_KILLS_MAX, "all of them fit");
	for (size_t i = 0; i < a->kill.count; i++)
		kill[i] = a->kill.text[i];
	if (!l->v.routes)
		return err_set(e, -EAGAIN, "plan: no routes yet");
	rc = whatif_compute(l->v.view, kill, a->kill.count, &w, e);
	if (rc)
		return rc;
	c.w = &w;
	ctl_map(o, &m);
	ctl_key_text(o, &m, "region", l->v.view->region);
	ctl_key_uint(o, &m, "load", c.load_pct);
	ctl_key(o, &m, "services");
	ctl_array(o, &list);
	/* Neither services nor what backends are known has changed: both plans have the same entries. */
	for (size_t i = 0; i < w.routes->entry_count && i < l->v.routes->entry_count && !rc; i++) {
		c.was = &l->v.routes->entry[i];
		c.will = &w.routes->entry[i];
		rc = put_entry(&c, o, &list);
	}
	ctl_end(o, &list);
	ctl_end(o, &m);
	whatif_free(&w);
	return rc;
}
