/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/edgectl/edgectl.h"

#define CELL_MAX 1024 /* bytes; longer ones are cut */

struct cell {
	char *text;
	size_t width;
	bool is_group;
};
struct ectl_table {
	const char *const *heads;
	size_t columns, width[ECTL_COLUMNS_MAX];
	struct cell *cell;
	size_t count, cap;
};

void *ectl_need(void *p)
{
	if (!p) {
		fputs("edgectl: out of memory\n", stderr);
		exit(ECTL_REFUSED);
	}
	return p;
}

/* Bytes of the character at p: 1 for ASCII that prints, 2..4 for well-formed UTF-8 that is no control, else 0. */
static size_t char_bytes(const unsigned char *p)
{
	size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

	if (n == 1)
		return p[0] >= 0x20 && p[0] != 0x7f;
	if (p[0] < 0xc2 || p[0] > 0xf4 || (p[0] == 0xc2 && p[1] < 0xa0))
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* What a terminal would obey becomes '?'. Returns the number of characters. */
static size_t make_harmless(char *text)
{
	unsigned char *p = (unsigned char *)text;
	size_t width = 0;

	while (*p) {
		size_t n = char_bytes(p);

		if (n == 0) {
			*p = '?';
			n = 1;
		}
		p += n;
		width++;
	}
	return width;
}

struct ectl_table *ectl_table_new(const char *const *heads)
{
	struct ectl_table *t = ectl_need(calloc(1, sizeof(*t)));

	t->heads = heads;
	for (; heads[t->columns]; t->columns++)
		t->width[t->columns] = strlen(heads[t->columns]) - (heads[t->columns][0] == '>');
	return t;
}

static struct cell *add(struct ectl_table *t)
{
	if (t->count == t->cap) {
		t->cap = t->cap ? 2 * t->cap : 64;
		t->cell = ectl_need(realloc(t->cell, t->cap * sizeof(*t->cell)));
	}
	t->cell[t->count] = (struct cell){0};
	return &t->cell[t->count++];
}

void ectl_cell(struct ectl_table *t, const char *fmt, ...)
{
	struct cell *c = add(t);
	char text[CELL_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	c->width = make_harmless(text);
	c->text = ectl_need(strdup(text[0] ? text : "-"));
	if (!c->width)
		c->width = 1;
}

void ectl_group(struct ectl_table *t, const char *title)
{
	struct cell *c = add(t);

	c->is_group = true;
	c->text = ectl_need(strdup(title));
	c->width = make_harmless(c->text);
}

static void put(const struct ectl_table *t, size_t column, const char *text, size_t width)
{
	size_t gap = t->width[column] - width;
	bool is_right = t->heads[column][0] == '>', is_last = column + 1 == t->columns;

	printf("%*s%s", is_right ? (int)gap : 0, "", text);
	if (!is_last)
		printf("%*s", (int)((is_right ? 0 : gap) + 2), "");
}

void ectl_table_print(struct ectl_table *t, const char *indent)
{
	size_t column = 0;

	for (size_t i = 0; i < t->count; i++) {
		if (t->cell[i].is_group)
			continue;
		if (t->cell[i].width > t->width[column])
			t->width[column] = t->cell[i].width;
		column = (column + 1) % t->columns;
	}
	fputs(indent, stdout);
	for (size_t k = 0; k < t->columns; k++) {
		const char *head = t->heads[k] + (t->heads[k][0] == '>');

		put(t, k, head, strlen(head));
	}
	putchar('\n');
	column = 0;
	for (size_t i = 0; i < t->count; i++) {
		const struct cell *c = &t->cell[i];

		if (c->is_group) {
			printf("%.*s%s\n", (int)(strlen(indent) / 2), indent, c->text);
			continue;
		}
		if (column == 0)
			fputs(indent, stdout);
		put(t, column, c->text, c->width);
		column = (column + 1) % t->columns;
		if (column == 0)
			putchar('\n');
	}
	for (size_t i = 0; i < t->count; i++)
		free(t->cell[i].text);
	free(t->cell);
	free(t);
}

void ectl_line(const char *fmt, ...)
{
	char text[CELL_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)make_harmless(text);
	puts(text);
}

void ectl_show_text(const msgpack_object *r)
{
	char text[ECTL_TEXT_MAX];

	ectl_line("%s", ectl_text(r, "text", text));
}
