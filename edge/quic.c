/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/quic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>

#define IN_V4 1u
#define IN_V6 2u

/* An id given out in one service. */
struct taken {
	uint32_t id;
	uint8_t families;
	UT_hash_handle hh;
};

static struct taken *find(struct taken *all, uint32_t id)
{
	struct taken *t;

	HASH_FIND(hh, all, &id, sizeof(id), t);
	return t;
}

/* From `room`, which has one for each backend: nothing to free. */
static void take(struct taken **all, struct taken *room, uint32_t id, uint8_t families)
{
	*room = (struct taken){.id = id, .families = families};
	HASH_ADD(hh, *all, id, sizeof(room->id), room);
}

static int order(const void *pa, const void *pb, void *arg)
{
	const struct route_view *v = arg;
	const struct route_backend *a = &v->backend[*(const size_t *)pa];
	const struct route_backend *b = &v->backend[*(const size_t *)pb];
	int c = strcmp(a->backend.service, b->backend.service);

	if (!c)
		c = node_id_cmp(&v->node[a->node_idx].id, &v->node[b->node_idx].id);
	if (!c)
		c = memcmp(a->backend.addr.b, b->backend.addr.b, sizeof(a->backend.addr.b));
	return c ? c : (a->backend.port > b->backend.port) - (a->backend.port < b->backend.port);
}

static uint32_t make_id(const struct route_view *v, const struct route_backend *b, uint32_t try)
{
	const uint8_t tail[6] = {(uint8_t)(b->backend.port >> 8),
				 (uint8_t)b->backend.port,
				 (uint8_t)(try >> 24),
				 (uint8_t)(try >> 16),
				 (uint8_t)(try >> 8),
				 (uint8_t)try};
	uint64_t h = maglev_hash_add(MAGLEV_HASH_INIT, b->backend.service,
				     strlen(b->backend.service) + 1);

	h = maglev_hash_add(h, v->node[b->node_idx].id.b, sizeof(v->node[b->node_idx].id.b));
	h = maglev_hash_add(h, b->backend.addr.b, sizeof(b->backend.addr.b));
	h = maglev_hash_add(h, tail, sizeof(tail));
	return (uint32_t)(maglev_hash_end(h) >> 32);
}

/* One service: chosen ids first, so that none of them is taken by chance. */
static void name_service(const struct route_view *v, const size_t *idx, size_t count,
			 struct taken *room, uint32_t *ret_id)
{
	struct taken *all = NULL, *t;

	for (size_t i = 0; i < count; i++) {
		const struct model_backend *b = &v->backend[idx[i]].backend;
		uint8_t family = ip_is_v4(&b->addr) ? IN_V4 : IN_V6;

		ret_id[idx[i]] = 0;
		if (!b->quic_id)
			continue;
		t = find(all, b->quic_id);
		if (t && (t->families & family))
			continue;
		if (t)
			t->families |= family;
		else
			take(&all, &room[i], b->quic_id, family);
		ret_id[idx[i]] = b->quic_id;
	}
	for (size_t i = 0; i < count; i++) {
		uint32_t id = 0;

		if (v->backend[idx[i]].backend.quic_id)
			continue;
		for (uint32_t try = 0; !id || find(all, id); try++)
			id = make_id(v, &v->backend[idx[i]], try);
		take(&all, &room[i], id, IN_V4 | IN_V6);
		ret_id[idx[i]] = id;
	}
	HASH_CLEAR(hh, all);
}

int quic_ids(const struct route_view *view, uint32_t *ret_id)
{
	size_t n = view->backend_count, from = 0, to;
	size_t *idx = calloc(n + 1, sizeof(*idx));
	struct taken *room = calloc(n + 1, sizeof(*room));

	if (!idx || !room) {
		free(idx);
		free(room);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++)
		idx[i] = i;
	qsort_r(idx, n, sizeof(*idx), order, (void *)view);
	for (; from < n; from = to) {
		const char *service = view->backend[idx[from]].backend.service;

		for (to = from; to < n; to++)
			if (strcmp(view->backend[idx[to]].backend.service, service) != 0)
				break;
		name_service(view, idx + from, to - from, room, ret_id);
	}
	free(idx);
	free(room);
	return 0;
}

int quic_id_parse(const char *text, uint32_t *ret_id)
{
	uint32_t id = 0;

	if (strlen(text) != QUIC_ID_TEXT_MAX - 1)
		return -EINVAL;
	for (const char *c = text; *c; c++) {
		if (*c >= '0' && *c <= '9')
			id = id << 4 | (uint32_t)(*c - '0');
		else if (*c >= 'a' && *c <= 'f')
			id = id << 4 | (uint32_t)(*c - 'a' + 10);
		else
			return -EINVAL;
	}
	if (!id)
		return -EINVAL;
	*ret_id = id;
	return 0;
}

const char *quic_id_text(uint32_t id, char buf[QUIC_ID_TEXT_MAX])
{
	snprintf(buf, QUIC_ID_TEXT_MAX, "%08x", id);
	return buf;
}
