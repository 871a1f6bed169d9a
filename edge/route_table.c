/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/route_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint64_t key_of(const struct route_entry *e)
{
	uint64_t h = maglev_hash_add(MAGLEV_HASH_INIT, &e->row_count, sizeof(e->row_count));

	/* The names are hashes already: one step for each will do. */
	for (size_t i = 0; i < e->used_count; i++)
		h = maglev_hash_end(h ^ e->name[i]) + e->weight[i];
	return h;
}

static int table_order(const void *pa, const void *pb)
{
	const struct route_table *a = pa, *b = pb;

	return a->key < b->key ? -1 : a->key > b->key;
}

int route_tables_begin(const struct route_plan *old, struct route_tables *ret_tables)
{
	struct route_tables t = {0};
	size_t places = 1;

	for (size_t i = 0; old && i < old->entry_count; i++)
		for (size_t k = 0; k < old->entry[i].used_count; k++)
			if (old->entry[i].used[k] >= places)
				places = (size_t)old->entry[i].used[k] + 1;
	if (old) {
		t.table = calloc(old->entry_count + 1, sizeof(*t.table));
		t.place = calloc(places, sizeof(*t.place));
		if (!t.table || !t.place) {
			route_tables_done(&t);
			return -ENOMEM;
		}
	}
	for (size_t i = 0; old && i < old->entry_count; i++)
		if (old->entry[i].row_count)
			t.table[t.count++] =
				(struct route_table){key_of(&old->entry[i]), &old->entry[i]};
	if (t.count)
		qsort(t.table, t.count, sizeof(*t.table), table_order);
	*ret_tables = t;
	return 0;
}

void route_tables_done(struct route_tables *t)
{
	free(t->table);
	free(t->place);
	*t = (struct route_tables){0};
}

static bool is_same(const struct route_entry *a, const struct route_entry *b)
{
	return a->row_count == b->row_count && a->used_count == b->used_count &&
	       memcmp(a->name, b->name, a->used_count * sizeof(*a->name)) == 0 &&
	       memcmp(a->weight, b->weight, a->used_count * sizeof(*a->weight)) == 0;
}

bool route_tables_copy(struct route_tables *t, struct route_entry *e)
{
	const struct route_table want = {.key = t->count ? key_of(e) : 0}, *hit;
	const struct route_entry *old;

	hit = t->count ? bsearch(&want, t->table, t->count, sizeof(want), table_order) : NULL;
	if (!hit || !is_same(hit->entry, e))
		return false;
	old = hit->entry;
	for (size_t k = 0; k < e->used_count; k++)
		t->place[old->used[k]] = e->used[k];
	for (uint32_t r = 0; r < e->row_count; r++)
		e->row[r] = t->place[old->row[r]];
	return true;
}
