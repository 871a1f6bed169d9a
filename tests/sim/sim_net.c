/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/sim/sim_net.h"

#include <stdlib.h>
#include <string.h>

uint64_t sim_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

uint64_t sim_below(uint64_t *state, uint64_t n)
{
	return n ? sim_random(state) % n : 0;
}

uint64_t sim_mix(uint64_t seed, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t h = seed ^ (len * 0x9e3779b97f4a7c15ull), w;

	while (len > 0) {
		size_t n = len < 8 ? len : 8;

		w = 0;
		memcpy(&w, p, n);
		h = (h ^ w) * 0xff51afd7ed558ccdull;
		h ^= h >> 29;
		p += n;
		len -= n;
	}
	h *= 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 32;
}

struct sim_payload *sim_payload_new(const void *bytes, size_t len)
{
	struct sim_payload *p = malloc(sizeof(*p) + len);

	if (!p)
		abort();
	p->refs = 1;
	p->len = len;
	memcpy(p->bytes, bytes, len);
	return p;
}

void sim_payload_unref(struct sim_payload *p)
{
	if (p && --p->refs == 0)
		free(p);
}

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

void sim_queue_push(struct sim_queue *q, struct sim_event e)
{
	size_t i = q->count++;

	if (q->count > q->cap) {
		q->cap = q->cap ? q->cap * 2 : 1024;
		q->heap = realloc(q->heap, q->cap * sizeof(*q->heap));
		if (!q->heap)
			abort();
	}
	e.order = q->order++;
	while (i > 0 && is_before(&e, &q->heap[(i - 1) / 2])) {
		q->heap[i] = q->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	q->heap[i] = e;
}

bool sim_queue_pop(struct sim_queue *q, uint64_t until_ms, struct sim_event *ret_event)
{
	struct sim_event last;
	size_t i = 0;

	if (q->count == 0 || q->heap[0].at_ms > until_ms)
		return false;
	*ret_event = q->heap[0];
	last = q->heap[--q->count];
	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= q->count)
			break;
		if (child + 1 < q->count && is_before(&q->heap[child + 1], &q->heap[child]))
			child++;
		if (!is_before(&q->heap[child], &last))
			break;
		q->heap[i] = q->heap[child];
		i = child;
	}
	q->heap[i] = last;
	return true;
}

void sim_queue_done(struct sim_queue *q)
{
	for (size_t i = 0; i < q->count; i++)
		sim_payload_unref(q->heap[i].payload);
	free(q->heap);
	*q = (struct sim_queue){0};
}
