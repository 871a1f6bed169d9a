/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/mapset.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static size_t row_bytes(const struct mapset *s)
{
	return s->key_bytes + sizeof(uint32_t);
}

const void *mapset_key(const struct mapset *s, size_t i)
{
	return s->rows + i * row_bytes(s);
}

uint32_t mapset_value(const struct mapset *s, size_t i)
{
	uint32_t value;

	memcpy(&value, s->rows + i * row_bytes(s) + s->key_bytes, sizeof(value));
	return value;
}

void mapset_set(struct mapset *s, size_t i, uint32_t value)
{
	memcpy(s->rows + i * row_bytes(s) + s->key_bytes, &value, sizeof(value));
}

int mapset_add(struct mapset *s, const void *key, uint32_t value)
{
	uint8_t *row;

	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		uint8_t *p = realloc(s->rows, room * row_bytes(s));

		if (!p)
			return -ENOMEM;
		s->rows = p;
		s->room = room;
	}
	row = s->rows + s->count++ * row_bytes(s);
	memcpy(row, key, s->key_bytes);
	memcpy(row + s->key_bytes, &value, sizeof(value));
	return 0;
}

static int order(const void *a, const void *b, void *arg)
{
	const struct mapset *s = arg;
	uint32_t x, y;
	int c = memcmp(a, b, s->key_bytes);

	if (c)
		return c;
	memcpy(&x, (const uint8_t *)a + s->key_bytes, sizeof(x));
	memcpy(&y, (const uint8_t *)b + s->key_bytes, sizeof(y));
	return (x > y) - (x < y);
}

void mapset_sort(struct mapset *s)
{
	size_t kept = 0;

	if (!s->count)
		return;
	qsort_r(s->rows, s->count, row_bytes(s), order, s);
	for (size_t i = 0; i < s->count; i++) {
		if (kept && !memcmp(mapset_key(s, kept - 1), mapset_key(s, i), s->key_bytes))
			continue;
		if (kept != i)
			memcpy(s->rows + kept * row_bytes(s), mapset_key(s, i), row_bytes(s));
		kept++;
	}
	s->count = kept;
}

void mapset_clear(struct mapset *s)
{
	free(s->rows);
	*s = (struct mapset){.key_bytes = s->key_bytes};
}

/* Walks both; counts keys of `want` that `have` lacks, and with ops puts (is_put) what is new or other, or deletes what
 * is gone. */
static int walk(const struct mapset *have, const struct mapset *want, const struct mapset_ops *ops,
		bool is_put, size_t *ret_new)
{
	size_t i = 0, j = 0;
	int rc = 0;

	while (!rc && (i < have->count || j < want->count)) {
		int c = i == have->count ? 1
			: j == want->count
				? -1
				: memcmp(mapset_key(have, i), mapset_key(want, j), have->key_bytes);

		if (c > 0)
			++*ret_new;
		if (ops && is_put && c >= 0 &&
		    (c > 0 || mapset_value(have, i) != mapset_value(want, j)))
			rc = ops->put(ops->arg, mapset_key(want, j), mapset_value(want, j));
		if (ops && !is_put && c < 0)
			rc = ops->del(ops->arg, mapset_key(have, i));
		i += c <= 0;
		j += c >= 0;
	}
	return rc;
}

int mapset_apply(struct mapset *have, struct mapset *want, size_t room,
		 const struct mapset_ops *ops, struct err *e)
{
	size_t added = 0, ignored = 0;
	bool is_put_first;
	int rc;

	if (want->count > room)
		return err_set(
			e, -E2BIG,
			"%s: %zu are wanted, the map has room for %zu: none of the change is "
			"made",
			ops->what, want->count, room);
	(void)walk(have, want, NULL, false, &added);
	is_put_first = have->count + added <= room;
	rc = walk(have, want, ops, is_put_first, &ignored);
	if (!rc)
		rc = walk(have, want, ops, !is_put_first, &ignored);
	if (rc)
		return err_set(e, rc, "%s: the map can't be written: %s", ops->what, strerror(-rc));
	free(have->rows);
	*have = *want;
	*want = (struct mapset){.key_bytes = have->key_bytes};
	return 0;
}
