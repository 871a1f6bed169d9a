/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Owners and previous owners of a table's rows, from those of the table before it. edge/plan.h has the rules. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/dp_hash.h"
#include "edge/plan_priv.h"

#define PREV_S (PLAN_PREV_MS / 1000)
#define SETTLE_S (PLAN_SETTLE_MS / 1000)
#define SUBST_TRIES 16u

struct row {
	struct dp_row row;
	struct plan_past past;
};

static bool is_remembered(const struct plan_work *w, const struct row *was, uint32_t owner,
			  uint32_t now_s)
{
	return was->row.prev && was->row.prev != owner && was->row.prev < w->old->sizes.backends &&
	       w->may_be_prev[was->row.prev] && now_s - was->past.prev_s < PREV_S;
}

/* `was` is of no table (owner 0) when the service has had none. */
static struct row next_row(const struct plan_work *w, const struct row *was, uint32_t owner)
{
	uint32_t now_s = plan_second(w->now_ms);
	bool is_kept = is_remembered(w, was, owner, now_s);
	struct row next = {.row = {.owner = owner}, .past = {.since_s = now_s}};
	bool is_settled, may_be;

	if (owner == was->row.owner) {
		next.past.since_s = was->past.since_s;
	} else {
		is_settled = !was->past.since_s || now_s - was->past.since_s >= SETTLE_S;
		may_be = was->row.owner < w->old->sizes.backends && w->may_be_prev[was->row.owner];
		if (owner == was->row.prev)
			next.past.since_s = 0; /* it is back: its flows never left */
		if (may_be && (is_settled || !is_kept)) {
			next.row.prev = was->row.owner;
			next.past.prev_s = now_s;
			return next;
		}
	}
	if (is_kept) {
		next.row.prev = was->row.prev;
		next.past.prev_s = was->past.prev_s;
	}
	return next;
}

static struct row row_at(struct plan_block *old, uint32_t i, uint32_t count)
{
	struct row none = {.row = {0}};
	uint32_t at;

	if (!old)
		return none;
	/* A flow is in row hash * count >> 32: this part of the hashes was in that row. */
	at = old->count == count ? i : (uint32_t)((uint64_t)i * old->count / count);
	return (struct row){plan_rows_of(old)[at], plan_past_of(old)[at]};
}

/* Owner of row i of `count`. A backend that had no room gives its rows away. */
static uint32_t owner_at(const struct plan_work *w, const struct route_entry *e, uint32_t i,
			 uint32_t count)
{
	uint32_t at = count == e->row_count ? i : (uint32_t)((uint64_t)i * e->row_count / count);
	uint32_t idx = 0;

	for (uint32_t try = 0; !idx && try < SUBST_TRIES; try++)
		idx = w->backend_idx[e->row[try ? dp_row_subst(at, try, e->row_count) : at]];
	for (uint32_t k = 0; !idx && k < e->row_count; k++)
		idx = w->backend_idx[e->row[k]];
	return idx;
}

/* The row that an edge would have had before the last changes. */
static struct row row_before(const struct plan_work *w, const struct route_entry *e, uint32_t i,
			     uint32_t count)
{
	const struct route_entry *b = &w->before->entry[e - w->routes->entry];
	struct row was = {.row = {0}};

	if (b->row_count && b->service_idx == e->service_idx && b->family == e->family &&
	    b->part.lo == e->part.lo && b->part.hi == e->part.hi)
		was.row.owner = owner_at(w, b, i, count);
	return was;
}

bool plan_has_owner(struct plan_block *rows)
{
	return rows->count && plan_rows_of(rows)[0].owner; /* any has if one has */
}

int plan_make_rows(const struct plan_work *w, const struct route_entry *e, struct plan_block *old,
		   uint32_t count, struct plan_block **ret_rows, uint64_t *ret_forget_ms)
{
	bool is_same = old && old->count == count, is_replay = w->before != NULL;
	struct plan_block *b = NULL;
	uint64_t forget_ms = UINT64_MAX;

	for (uint32_t i = 0; i < count; i++) {
		struct row was = is_replay ? row_before(w, e, i, count) : row_at(old, i, count);
		struct row next = next_row(w, &was, owner_at(w, e, i, count));
		uint64_t due_ms = (uint64_t)(next.past.prev_s - 1 + PREV_S) * 1000;

		if (next.row.prev && due_ms < forget_ms)
			forget_ms = due_ms;
		if (is_same && next.row.owner == plan_rows_of(old)[i].owner &&
		    next.row.prev == plan_rows_of(old)[i].prev)
			continue;
		if (!b) {
			b = plan_block_rows(count);
			if (!b)
				return -ENOMEM;
			/* So far it was the same. */
			for (uint32_t k = 0; k < i; k++) {
				plan_rows_of(b)[k] = plan_rows_of(old)[k];
				plan_past_of(b)[k] = plan_past_of(old)[k];
			}
			is_same = false;
		}
		plan_rows_of(b)[i] = next.row;
		plan_past_of(b)[i] = next.past;
	}
	*ret_rows = b ? b : plan_block_ref(old);
	*ret_forget_ms = forget_ms;
	return 0;
}

/* ---- digest */

static uint64_t name_hash(const struct plan_backend_key *key, uint64_t h)
{
	uint8_t port_be[2] = {(uint8_t)(key->port >> 8), (uint8_t)key->port};

	h = maglev_hash_add(h, key->node.b, sizeof(key->node.b));
	h = maglev_hash_add(h, key->addr.b, sizeof(key->addr.b));
	return maglev_hash_end(maglev_hash_add(h, port_be, sizeof(port_be)));
}

static uint64_t digest_half(const struct plan_svc_ent *svc, const struct plan_backend_ent **by_idx,
			    uint64_t h)
{
	uint64_t init = h;

	h = maglev_hash_add(h, svc->name, strlen(svc->name) + 1);
	h = maglev_hash_add(h, &svc->value.family, sizeof(svc->value.family));
	h = maglev_hash_add(h, &svc->part, sizeof(svc->part));
	for (uint32_t i = 0; i < svc->value.rows; i++) {
		const struct plan_backend_ent *b = by_idx[plan_rows_of(svc->rows)[i].prev];

		h = maglev_hash_end(h ^ (b ? name_hash(&b->key, init) : 0));
	}
	return maglev_hash_end(h);
}

int plan_prev_digest(const struct plan_state *s, const char *service, uint8_t family,
		     struct ip_port_range part, struct plan_prev *ret_prev)
{
	static const uint64_t init[2] = {MAGLEV_HASH_INIT, ~MAGLEV_HASH_INIT};
	const struct plan_svc_ent *svc =
		plan_find_svc(s, &(struct plan_svc_key){service, family, part});
	const struct plan_backend_ent **by_idx;
	struct plan_prev prev = {.row_count = 0};

	if (!svc)
		return -ENOENT;
	by_idx = calloc((size_t)s->sizes.backends + 1, sizeof(*by_idx));
	if (!by_idx)
		return -ENOMEM;
	for (size_t i = 0; i < s->backend_count; i++)
		by_idx[s->backend[i].idx] = &s->backend[i];
	for (uint32_t i = 0; i < svc->value.rows; i++)
		prev.row_count += plan_rows_of(svc->rows)[i].prev != 0;
	for (size_t half = 0; half < 2; half++) {
		uint64_t h = digest_half(svc, by_idx, init[half]);

		for (size_t i = 0; i < 8; i++)
			prev.digest[half * 8 + i] = (uint8_t)(h >> (8 * i));
	}
	free(by_idx);
	*ret_prev = prev;
	return 0;
}
