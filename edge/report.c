/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/model_map.h"

#define TOLD_FIELDS 5
#define OWN_FIELDS 7

uint32_t report_node_num(const struct node_id *id)
{
	return (uint32_t)id->b[0] << 24 | (uint32_t)id->b[1] << 16 | (uint32_t)id->b[2] << 8 |
	       id->b[3];
}

/* ---- the record */

static void pack_numbers(struct model_packer *p, const uint64_t *n, size_t count)
{
	msgpack_pack_array(&p->pk, count);
	for (size_t i = 0; i < count; i++)
		msgpack_pack_uint64(&p->pk, n[i]);
}

int report_encode(const struct report_msg *m, uint8_t *buf, size_t cap)
{
	struct model_packer p;

	model_pack_begin(&p, buf, cap, 2);
	model_pack_text(&p, "r");
	msgpack_pack_array(&p.pk, m->told_count);
	for (size_t i = 0; i < m->told_count; i++) {
		const struct report_told *t = &m->told[i];

		pack_numbers(&p,
			     (uint64_t[]){t->origin, t->generation, t->seq, t->wrote_us, t->ago_us},
			     TOLD_FIELDS);
	}
	model_pack_text(&p, "c");
	msgpack_pack_array(&p.pk, m->own_count);
	for (size_t i = 0; i < m->own_count; i++) {
		const struct report_own *o = &m->own[i];

		pack_numbers(&p,
			     (uint64_t[]){o->generation, o->seq, o->sum.edges, o->sum.p50_us,
					  o->sum.p99_us, o->sum.most_us, o->sum.slowest},
			     OWN_FIELDS);
	}
	return model_pack_end(&p);
}

/* An array of `count` numbers; later versions may append. */
static int read_numbers(struct mp_reader *r, uint64_t *n, size_t count)
{
	size_t had;

	if (mp_read_array(r, 32, &had) || had < count)
		return -EBADMSG;
	for (size_t i = 0; i < had; i++) {
		if (i >= count) {
			if (mp_skip(r))
				return -EBADMSG;
		} else if (mp_read_uint(r, UINT64_MAX, &n[i])) {
			return -EBADMSG;
		}
	}
	return 0;
}

static bool is_u32(const uint64_t *n, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (n[i] > UINT32_MAX)
			return false;
	return true;
}

static int read_told(struct mp_reader *r, struct report_msg *m)
{
	size_t count;

	if (mp_read_array(r, REPORT_TOLD_MAX, &count))
		return -EBADMSG;
	for (m->told_count = 0; m->told_count < count; m->told_count++) {
		uint64_t n[TOLD_FIELDS];

		if (read_numbers(r, n, TOLD_FIELDS) || !is_u32(n, 2) || !is_u32(n + 3, 2))
			return -EBADMSG;
		m->told[m->told_count] = (struct report_told){.origin = (uint32_t)n[0],
							      .generation = (uint32_t)n[1],
							      .seq = n[2],
							      .wrote_us = (uint32_t)n[3],
							      .ago_us = (uint32_t)n[4]};
	}
	return 0;
}

static int read_own(struct mp_reader *r, struct report_msg *m)
{
	size_t count;

	if (mp_read_array(r, REPORT_SUMS_MAX, &count))
		return -EBADMSG;
	for (m->own_count = 0; m->own_count < count; m->own_count++) {
		struct report_own *o = &m->own[m->own_count];
		uint64_t n[OWN_FIELDS];

		if (read_numbers(r, n, OWN_FIELDS) || !is_u32(n, 1) || !is_u32(n + 2, 5))
			return -EBADMSG;
		*o = (struct report_own){.generation = (uint32_t)n[0], .seq = n[1]};
		o->sum = (struct report_sum){.edges = (uint32_t)n[2],
					     .p50_us = (uint32_t)n[3],
					     .p99_us = (uint32_t)n[4],
					     .most_us = (uint32_t)n[5],
					     .slowest = (uint32_t)n[6]};
	}
	return 0;
}

int report_decode(const uint8_t *buf, size_t len, struct report_msg *ret_msg)
{
	struct report_msg msg = {0};
	struct mp_reader r;
	struct model_map m;
	int rc;

	mp_reader_init(&r, buf, len);
	if (model_map_open(&m, &r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "r"))
			rc = read_told(&r, &msg);
		else if (model_map_is(&m, "c"))
			rc = read_own(&r, &msg);
		else
			rc = mp_skip(&r);
		if (rc)
			return -EBADMSG;
	}
	if (rc || !mp_at_end(&r))
		return -EBADMSG;
	*ret_msg = msg;
	return 0;
}

/* ---- events */

struct report_event *report_event_new(struct reports *r)
{
	struct report_event *e = &r->event[r->next_seq % REPORT_EVENTS_MAX];

	memset(e, 0, sizeof(*e));
	e->seq = ++r->next_seq;
	return e;
}

const struct report_event *report_event_next(const struct reports *r, uint64_t *cursor)
{
	if (r->next_seq > REPORT_EVENTS_MAX && *cursor < r->next_seq - REPORT_EVENTS_MAX)
		*cursor = r->next_seq - REPORT_EVENTS_MAX;
	if (*cursor >= r->next_seq)
		return NULL;
	return &r->event[(*cursor)++ % REPORT_EVENTS_MAX];
}

struct report_event *report_event_of(struct reports *r, uint32_t origin, uint32_t generation,
				     uint64_t seq)
{
	uint64_t count = r->next_seq < REPORT_EVENTS_MAX ? r->next_seq : REPORT_EVENTS_MAX;

	for (uint64_t i = 1; i <= count; i++) {
		struct report_event *e = &r->event[(r->next_seq - i) % REPORT_EVENTS_MAX];

		if (e->record_seq == seq && e->origin == origin && e->generation == generation)
			return e;
	}
	return NULL;
}

/* ---- reach */

struct report_change *report_change_new(struct reports *r, uint32_t generation, uint64_t seq,
					uint64_t born_us, uint64_t said_us)
{
	struct report_change *c = &r->change[r->changes++ % REPORT_CHANGES_MAX];

	memset(c, 0, sizeof(*c));
	c->generation = generation;
	c->seq = seq;
	c->born_us = born_us;
	c->said_us = said_us;
	return c;
}

struct report_change *report_change_find(struct reports *r, uint32_t generation, uint64_t seq)
{
	for (size_t i = 0; i < REPORT_CHANGES_MAX; i++)
		if (r->change[i].seq == seq && r->change[i].generation == generation &&
		    r->change[i].born_us)
			return &r->change[i];
	return NULL;
}

bool report_change_told(struct report_change *c, uint32_t edge, const struct report_told *t,
			uint64_t now_us)
{
	uint64_t least = c->said_us - c->born_us + t->wrote_us, most = now_us - c->born_us;
	struct report_edge *e = NULL;

	if (now_us < c->born_us || most < t->ago_us || most - t->ago_us > UINT32_MAX)
		return false;
	most -= t->ago_us;
	/* Clocks run by the same second but for some parts in a million. */
	if (least > most + most / 1000 + 1000)
		return false;
	if (least > most)
		least = most;
	for (uint32_t i = 0; i < c->count && i < REPORT_EDGES_MAX && !e; i++)
		if (c->edge[i].number == edge)
			e = &c->edge[i];
	if (!e) {
		if (c->count >= REPORT_EDGES_MAX)
			return true;
		e = &c->edge[c->count++];
		*e = (struct report_edge){.number = edge, .most_us = UINT32_MAX};
	}
	if (most < e->most_us) {
		e->most_us = (uint32_t)most;
		e->least_us = (uint32_t)least;
	}
	return true;
}

static int cmp_edge(const void *x, const void *y)
{
	const struct report_edge *a = x, *b = y;

	return a->most_us < b->most_us ? -1 : a->most_us > b->most_us;
}

/* Nearest rank: of few, p99 is the slowest. */
static uint32_t rank_of(uint32_t count, uint32_t pct)
{
	return (count * pct + 99) / 100 - 1;
}

void report_change_sum(const struct report_change *c, struct report_sum *ret_sum)
{
	struct report_edge edge[REPORT_EDGES_MAX];
	uint32_t count = c->count;

	*ret_sum = (struct report_sum){0};
	if (!count)
		return;
	memcpy(edge, c->edge, count * sizeof(*edge));
	qsort(edge, count, sizeof(*edge), cmp_edge);
	*ret_sum = (struct report_sum){.edges = count,
				       .p50_us = edge[rank_of(count, 50)].most_us,
				       .p99_us = edge[rank_of(count, 99)].most_us,
				       .most_us = edge[count - 1].most_us,
				       .slowest = edge[count - 1].number};
}
