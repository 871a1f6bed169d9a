/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Memory of the plan: counted blocks, operation lists, indexes and row ranges given out. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/plan_priv.h"

static struct plan_block *block_new(uint32_t count, size_t size)
{
	struct plan_block *b = calloc(1, sizeof(*b) + count * size);

	if (b) {
		b->refs = 1;
		b->count = count;
	}
	return b;
}

struct plan_block *plan_block_rows(uint32_t count)
{
	_Static_assert(sizeof(struct dp_row) == sizeof(uint64_t), "plan_past_of() counts words");
	return block_new(count, sizeof(struct dp_row) + sizeof(struct plan_past));
}

struct plan_block *plan_block_words(const uint32_t word[256])
{
	struct plan_block *b = block_new(DP_PORTS_PER_PAGE, sizeof(uint32_t));

	if (b)
		memcpy(plan_words_of(b), word, DP_PORTS_PER_PAGE * sizeof(uint32_t));
	return b;
}

struct plan_block *plan_block_ref(struct plan_block *b)
{
	if (b)
		b->refs++;
	return b;
}

void plan_block_unref(struct plan_block *b)
{
	if (b && --b->refs == 0)
		free(b);
}

int plan_list_add(struct plan_list *l, const struct plan_op *op, struct plan_block *b)
{
	if (l->op_count == l->op_cap) {
		size_t cap = l->op_cap ? 2 * l->op_cap : 16;
		struct plan_op *p = realloc(l->op, cap * sizeof(*p));

		if (!p)
			return -ENOMEM;
		l->op = p;
		l->op_cap = cap;
	}
	l->op[l->op_count++] = *op;
	if (b) {
		b->list_next = l->blocks;
		l->blocks = plan_block_ref(b);
	}
	return 0;
}

void plan_list_clear(struct plan_list *l)
{
	while (l->blocks) {
		struct plan_block *b = l->blocks;

		l->blocks = b->list_next;
		plan_block_unref(b);
	}
	free(l->op);
	*l = (struct plan_list){0};
}

/* ---- indexes */

int plan_pool_copy(const struct plan_pool *from, struct plan_pool *ret_pool)
{
	struct plan_pool p = *from;

	p.head = 0;
	p.room = from->count;
	p.free = NULL;
	if (from->count) {
		p.free = malloc(from->count * sizeof(*p.free));
		if (!p.free)
			return -ENOMEM;
		memcpy(p.free, from->free + from->head, from->count * sizeof(*p.free));
	}
	*ret_pool = p;
	return 0;
}

int plan_pool_take(struct plan_pool *p, uint32_t *ret_idx)
{
	if (p->high < p->cap) {
		*ret_idx = p->high++;
	} else if (p->count) {
		*ret_idx = p->free[p->head++];
		p->count--;
	} else {
		return -ENOSPC;
	}
	return 0;
}

int plan_pool_give(struct plan_pool *p, uint32_t idx)
{
	if (p->head + p->count == p->room) {
		size_t room = p->room ? 2 * p->room : 16;
		uint32_t *f = realloc(p->free, room * sizeof(*f));

		if (!f)
			return -ENOMEM;
		p->free = f;
		p->room = room;
	}
	p->free[p->head + p->count++] = idx;
	return 0;
}

/* ---- rows */

int plan_ranges_copy(const struct plan_ranges *from, struct plan_ranges *ret_ranges)
{
	struct plan_ranges s = {.count = from->count, .room = from->count};

	if (from->count) {
		s.r = malloc(from->count * sizeof(*s.r));
		if (!s.r)
			return -ENOMEM;
		memcpy(s.r, from->r, from->count * sizeof(*s.r));
	}
	*ret_ranges = s;
	return 0;
}

static void range_remove(struct plan_ranges *s, size_t i)
{
	s->count--;
	memmove(s->r + i, s->r + i + 1, (s->count - i) * sizeof(*s->r));
}

static int range_insert(struct plan_ranges *s, size_t i, uint32_t offset, uint32_t count)
{
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 16;
		struct plan_range *r = realloc(s->r, room * sizeof(*r));

		if (!r)
			return -ENOMEM;
		s->r = r;
		s->room = room;
	}
	memmove(s->r + i + 1, s->r + i, (s->count - i) * sizeof(*s->r));
	s->r[i] = (struct plan_range){offset, count};
	s->count++;
	return 0;
}

int plan_ranges_take(struct plan_ranges *s, uint32_t count, uint32_t *ret_offset)
{
	for (size_t i = 0; i < s->count; i++) {
		struct plan_range *r = &s->r[i];

		if (r->count < count)
			continue;
		*ret_offset = r->offset;
		r->offset += count;
		r->count -= count;
		if (r->count == 0)
			range_remove(s, i);
		return 0;
	}
	return -ENOSPC;
}

/* First range that ends behind `offset`. */
static size_t range_at(const struct plan_ranges *s, uint32_t offset)
{
	size_t lo = 0, hi = s->count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if ((uint64_t)s->r[mid].offset + s->r[mid].count > offset)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

int plan_ranges_take_at(struct plan_ranges *s, uint32_t offset, uint32_t count)
{
	size_t i = range_at(s, offset);
	struct plan_range was;
	uint32_t before, behind;
	int rc;

	if (i == s->count || s->r[i].offset > offset ||
	    (uint64_t)s->r[i].offset + s->r[i].count < (uint64_t)offset + count)
		return -EEXIST;
	was = s->r[i];
	before = offset - was.offset;
	behind = was.count - before - count;
	if (before && behind) {
		rc = range_insert(s, i + 1, offset + count, behind);
		if (rc)
			return rc;
		s->r[i].count = before;
	} else if (before) {
		s->r[i].count = before;
	} else if (behind) {
		s->r[i] = (struct plan_range){offset + count, behind};
	} else {
		range_remove(s, i);
	}
	return 0;
}

int plan_ranges_give(struct plan_ranges *s, uint32_t offset, uint32_t count)
{
	size_t i = range_at(s, offset);
	bool left = i > 0 && s->r[i - 1].offset + s->r[i - 1].count == offset;
	bool right = i < s->count && offset + count == s->r[i].offset;

	if (left && right) {
		s->r[i - 1].count += count + s->r[i].count;
		range_remove(s, i);
	} else if (left) {
		s->r[i - 1].count += count;
	} else if (right) {
		s->r[i].offset = offset;
		s->r[i].count += count;
	} else {
		return range_insert(s, i, offset, count);
	}
	return 0;
}

/* ---- rest */

int plan_rest_add(struct plan_state *s, const struct plan_rest *r)
{
	if (s->rest_count == s->rest_room) {
		size_t room = s->rest_room ? 2 * s->rest_room : 16;
		struct plan_rest *p = realloc(s->rest, room * sizeof(*p));

		if (!p)
			return -ENOMEM;
		s->rest = p;
		s->rest_room = room;
	}
	s->rest[s->rest_count++] = *r;
	return 0;
}
