/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What follows from all rows together. Pure. */
#include <stdlib.h>
#include <string.h>

#include "gossip/reach.h"

#define GRAY_WITNESSES 2
#define DATA_WITNESSES 2
#define PATHS_MIN 3 /* so many failed paths, and a third of all, are the node's own */
#define PATHS_SHARE 3

struct tally { /* of one node: how many say so, and the longest */
	uint32_t gray, data, paths, twin;
	uint32_t gray_s, data_s, paths_s, twin_s;
	size_t same_name;
};

struct finder {
	const struct reach_node *node;
	size_t count, up;
	struct tally *tally;
	struct reach_finding *ret;
	size_t found, max;
};

static void found(struct finder *f, struct reach_finding x)
{
	if (f->found < f->max)
		f->ret[f->found] = x;
	f->found++;
}

/* Nodes are sorted by id, and the number is its beginning. */
static size_t by_number(const struct finder *f, const uint8_t number[4])
{
	size_t lo = 0, hi = f->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (memcmp(f->node[mid].id.b, number, 4) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < f->count && memcmp(f->node[lo].id.b, number, 4) == 0 ? lo : REACH_NOBODY;
}

/* Half dead by its own account: what it says of others is about itself. */
static bool is_stalled(const struct reach_node *n)
{
	return n->has_row && n->row.stall_pct > 0;
}

static bool speaks(const struct reach_node *n)
{
	return n->is_up && n->has_row;
}

/* What a says of b, or NULL. */
static const struct reach_peer *says(const struct finder *f, size_t a, size_t b)
{
	const struct reach_node *n = &f->node[a];

	if (!speaks(n) || is_stalled(n))
		return NULL;
	for (size_t i = 0; i < n->row.peer_count; i++)
		if (memcmp(n->row.peer[i].number, f->node[b].id.b, 4) == 0)
			return &n->row.peer[i];
	return NULL;
}

static void count(uint32_t *n, uint32_t *longest_s, uint32_t age_s)
{
	++*n;
	if (age_s > *longest_s)
		*longest_s = age_s;
}

static bool is_path(uint8_t cause)
{
	return cause == REACH_UNHEARD || cause == REACH_DEAF;
}

static void tally_row(struct finder *f, size_t a)
{
	const struct reach_row *row = &f->node[a].row;

	for (size_t i = 0; i < row->peer_count; i++) {
		const struct reach_peer *p = &row->peer[i], *back;
		size_t b = by_number(f, p->number);
		struct tally *t;

		if (b == REACH_NOBODY || b == a || !f->node[b].is_up)
			continue;
		t = &f->tally[b];
		if (p->cause == REACH_GRAY)
			count(&t->gray, &t->gray_s, p->age_s);
		if (p->cause == REACH_DATA)
			count(&t->data, &t->data_s, p->age_s);
		if (p->cause == REACH_TWIN)
			count(&t->twin, &t->twin_s, p->age_s);
		if (!is_path(p->cause))
			continue;
		count(&t->paths, &t->paths_s, p->age_s);
		back = says(f, b, a);
		if (!back || !is_path(back->cause))
			count(&f->tally[a].paths, &f->tally[a].paths_s, p->age_s);
	}
}

static bool has_many_bad_paths(const struct finder *f, size_t i)
{
	uint32_t paths = f->tally[i].paths;

	return paths >= PATHS_MIN && paths > (f->up - 1) / PATHS_SHARE;
}

static bool is_gray(const struct finder *f, size_t i)
{
	uint32_t gray = f->tally[i].gray;

	return is_stalled(&f->node[i]) || gray >= GRAY_WITNESSES || (gray && f->up <= 2);
}

struct named {
	const char *name;
	size_t idx;
};

static int cmp_named(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int d = strcmp(x->name, y->name);

	return d ? d : x->idx < y->idx ? -1 : x->idx > y->idx;
}

/* Each with the next one of its name. */
static void tally_names(struct finder *f)
{
	struct named *list = malloc((f->count + 1) * sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; i < f->count; i++)
		f->tally[i].same_name = REACH_NOBODY;
	if (!list)
		return;
	for (size_t i = 0; i < f->count; i++)
		if (f->node[i].is_up)
			list[n++] = (struct named){f->node[i].name, i};
	qsort(list, n, sizeof(*list), cmp_named);
	for (size_t i = 1; i < n; i++)
		if (strcmp(list[i - 1].name, list[i].name) == 0)
			f->tally[list[i - 1].idx].same_name = list[i].idx;
	free(list);
}

/* Of two nodes with one bad path between them, alone or among few. */
static void find_pair(struct finder *f, size_t a, size_t b)
{
	const struct reach_peer *p = says(f, a, b), *q = says(f, b, a);
	uint8_t x = p ? p->cause : 0, y = q ? q->cause : 0;
	uint32_t age = p ? p->age_s : 0;
	struct reach_finding r = {.a = a, .b = b};

	if (q && q->age_s > age)
		age = q->age_s;
	r.age_s = age;
	r.witnesses = (uint32_t)(is_path(x) + is_path(y));
	if (x == REACH_DEAF && y == REACH_DEAF) {
		r.kind = REACH_FOUND_TUNNEL;
	} else if (x == REACH_DEAF) {
		r.kind = REACH_FOUND_ONE_WAY;
	} else if (y == REACH_DEAF) {
		r = (struct reach_finding){REACH_FOUND_ONE_WAY, b, a, r.witnesses, age};
	} else if (x == REACH_UNHEARD && y == REACH_UNHEARD) {
		r.kind = REACH_FOUND_TUNNEL;
	} else if (x == REACH_UNHEARD) {
		r.kind = REACH_FOUND_UNHEARD;
	} else if (y == REACH_UNHEARD) {
		r = (struct reach_finding){REACH_FOUND_UNHEARD, b, a, r.witnesses, age};
	} else {
		return;
	}
	found(f, r);
}

static void find_pairs(struct finder *f, size_t a)
{
	const struct reach_node *n = &f->node[a];

	if (has_many_bad_paths(f, a) || is_gray(f, a))
		return; /* said already */
	for (size_t i = 0; i < n->row.peer_count; i++) {
		size_t b = by_number(f, n->row.peer[i].number);
		const struct reach_peer *q;

		if (b == REACH_NOBODY || b == a || !f->node[b].is_up || is_gray(f, b))
			continue;
		if (n->row.peer[i].cause == REACH_DATA && f->tally[b].data < DATA_WITNESSES)
			found(f, (struct reach_finding){REACH_FOUND_TUNNEL, a, b, 1,
							n->row.peer[i].age_s});
		if (!is_path(n->row.peer[i].cause) || has_many_bad_paths(f, b))
			continue;
		/* Once for the two of them. */
		q = says(f, b, a);
		if (!q || !is_path(q->cause) || a < b)
			find_pair(f, a, b);
	}
}

/* What is one node's. */
static void find_node(struct finder *f, size_t i)
{
	const struct tally *t = &f->tally[i];

	if (t->same_name != REACH_NOBODY || t->twin)
		found(f, (struct reach_finding){REACH_FOUND_TWIN, i, t->same_name, t->twin,
						t->twin_s});
	if (is_gray(f, i))
		found(f, (struct reach_finding){REACH_FOUND_GRAY, i, REACH_NOBODY, t->gray,
						t->gray_s});
	if (t->data >= DATA_WITNESSES)
		found(f, (struct reach_finding){REACH_FOUND_DATA, i, REACH_NOBODY, t->data,
						t->data_s});
	if (has_many_bad_paths(f, i) && !is_gray(f, i))
		found(f, (struct reach_finding){REACH_FOUND_PATHS, i, REACH_NOBODY, t->paths,
						t->paths_s});
}

size_t reach_find(const struct reach_node *nodes, size_t node_count,
		  struct reach_finding *ret_findings, size_t max)
{
	struct finder f = {.node = nodes, .count = node_count, .ret = ret_findings, .max = max};

	f.tally = calloc(node_count + 1, sizeof(*f.tally));
	if (!f.tally)
		return 0;
	for (size_t i = 0; i < node_count; i++)
		f.up += nodes[i].is_up;
	for (size_t i = 0; i < node_count; i++)
		if (speaks(&nodes[i]) && !is_stalled(&nodes[i]))
			tally_row(&f, i);
	tally_names(&f);
	for (size_t i = 0; i < node_count; i++)
		if (nodes[i].is_up)
			find_node(&f, i);
	for (size_t i = 0; i < node_count; i++)
		if (speaks(&nodes[i]) && !is_stalled(&nodes[i]))
			find_pairs(&f, i);
	free(f.tally);
	return f.found < max ? f.found : max;
}

/* ---- regions */

static bool median_band(const struct reach_node *nodes, size_t count, const char *from,
			const char *to, struct reach_band *ret_band)
{
	size_t rtt[REACH_RTT_BANDS] = {0}, loss[REACH_LOSS_BANDS] = {0}, n = 0, sum = 0;
	uint32_t region = reach_region_of(to);
	uint8_t b = 0;

	for (size_t i = 0; i < count; i++) {
		const struct reach_row *row = &nodes[i].row;

		if (!speaks(&nodes[i]) || is_stalled(&nodes[i]) ||
		    strcmp(nodes[i].region, from) != 0)
			continue;
		for (size_t k = 0; k < row->region_count; k++) {
			if (row->region[k].region != region)
				continue;
			rtt[row->region[k].band.rtt]++;
			loss[row->region[k].band.loss]++;
			n++;
		}
	}
	if (n == 0)
		return false;
	while ((sum += rtt[b]) < (n + 1) / 2)
		b++;
	ret_band->rtt = b;
	for (b = 0, sum = 0; (sum += loss[b]) < (n + 1) / 2;)
		b++;
	ret_band->loss = b;
	return true;
}

bool reach_region_band(const struct reach_node *nodes, size_t count, const char *from,
		       const char *to, struct reach_band *ret_band)
{
	return median_band(nodes, count, from, to, ret_band) ||
	       median_band(nodes, count, to, from, ret_band);
}
