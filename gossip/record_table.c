/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/record_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/dissem.h"
#include "gossip/member.h"
#include "gossip/region.h"

void digest_bytes(const struct digest *d, uint8_t ret[16])
{
	for (unsigned int i = 0; i < 16; i++)
		ret[i] = (uint8_t)(d->w[i / 8] >> (8 * (i % 8)));
}

void digest_from(const uint8_t b[16], struct digest *ret_digest)
{
	*ret_digest = (struct digest){{0, 0}};
	for (unsigned int i = 0; i < 16; i++)
		ret_digest->w[i / 8] |= (uint64_t)b[i] << (8 * (i % 8));
}

unsigned int table_bucket_of(uint8_t kind, const uint8_t *key, size_t key_len)
{
	uint64_t h = 0;

	core_fnv(&h, &kind, 1);
	core_fnv(&h, key, key_len);
	h ^= h >> 32;
	return (unsigned int)((h ^ h >> 16 ^ h >> 8) % WIRE_BUCKETS);
}

static size_t ident_of(uint8_t buf[IDENT_MAX], const struct node_id *writer, uint8_t kind,
		       const uint8_t *key, size_t key_len)
{
	buf[0] = kind;
	if (record_scope_of(kind) == RECORD_SHARED)
		memset(buf + 1, 0, NODE_ID_BYTES);
	else
		memcpy(buf + 1, writer->b, NODE_ID_BYTES);
	memcpy(buf + 1 + NODE_ID_BYTES, key, key_len);
	return 1 + NODE_ID_BYTES + key_len;
}

struct rec *table_find(const struct gossip_core *c, const struct node_id *writer, uint8_t kind,
		       const uint8_t *key, size_t key_len)
{
	uint8_t ident[IDENT_MAX];
	struct rec *r = NULL;
	size_t len;

	if (key_len > RECORD_KEY_MAX)
		return NULL;
	len = ident_of(ident, writer, kind, key, key_len);
	HASH_FIND(hh, c->table, ident, len, r);
	return r;
}

struct origin *table_origin(const struct gossip_core *c, const struct node_id *id)
{
	struct origin *o = NULL;

	HASH_FIND(hh, c->origins, id, sizeof(*id), o);
	return o;
}

static struct origin *origin_add(struct gossip_core *c, const struct node_id *id)
{
	struct origin *o;

	if (HASH_COUNT(c->origins) >= GOSSIP_MEMBERS_MAX)
		return NULL;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	o->id = *id;
	TAILQ_INIT(&o->recs);
	HASH_ADD(hh, c->origins, id, sizeof(o->id), o);
	return o;
}

int table_add_self(struct gossip_core *c)
{
	c->own = origin_add(c, &c->self->id);
	if (!c->own)
		return -ENOMEM;
	c->own->generation = c->cfg.generation;
	c->own->is_whole = true;
	return 0;
}

bool table_is_in_force(const struct rec *r)
{
	return !r->blob->r.is_tombstone && !(r->origin && r->origin->is_removed);
}

/* ---- sums */

uint64_t origin_life(const struct gossip_core *c, const struct node_id *id)
{
	const struct origin *o = table_origin(c, id);
	const struct member *m = member_get(c, id);
	uint64_t head = o && o->head ? o->head->blob->r.generation : 0;

	return m && m->card.generation > head ? m->card.generation : head;
}

static uint64_t share_of(const struct gossip_core *c, const struct origin *o)
{
	uint64_t h = 0, life = origin_life(c, &o->id);

	if (o->is_removed || o->stored_count == 0)
		return 0;
	core_fnv(&h, o->id.b, sizeof(o->id.b));
	core_fnv(&h, &life, sizeof(life));
	return h * 0x9e3779b97f4a7c15ull;
}

void origin_standing(struct gossip_core *c, struct origin *o)
{
	c->standing -= o->share;
	o->share = share_of(c, o);
	c->standing += o->share;
}

#define MARKS_SEQ_MAX (1ull << 32) /* so that no single one fills the sum */

/* More for each version of a record that wins over another one: a higher counter, or the same by a higher writer. */
static uint64_t marks_of(const struct rec *r)
{
	const struct record *x = &r->blob->r;
	uint64_t seq = x->seq < MARKS_SEQ_MAX ? x->seq : MARKS_SEQ_MAX;

	return seq << 16 | (uint64_t)x->writer.b[0] << 8 | x->writer.b[1];
}

static void sums_change(struct gossip_core *c, struct rec *r, bool is_added)
{
	void (*op)(struct digest * d, const struct digest *x) = is_added ? digest_add : digest_sub;
	struct origin *o = r->origin;

	if (!rec_is_stored(r))
		return;
	if (c->regions)
		c->regions->is_stale = true;
	if (!o) {
		c->standing += is_added ? r->hash.w[0] : -r->hash.w[0];
		c->shared_marks += is_added ? marks_of(r) : -marks_of(r);
		op(&c->bucket[table_bucket_of(r->blob->r.kind, r->blob->r.key, r->blob->r.key_len)],
		   &r->hash);
		op(&c->root, &r->hash);
		return;
	}
	origin_changed(c, o);
	o->stored_count += is_added ? 1 : -(size_t)1;
	op(&o->sum, &r->hash);
	if (rec_is_in_gsum(r))
		op(&o->gsum, &r->hash);
	if (!o->is_removed)
		op(&c->root, &r->hash);
}

static int hash_record(struct gossip_core *c, const struct record *r, struct digest *ret_hash)
{
	uint8_t buf[RECORD_SIGNED_MAX + NODE_PUB_BYTES], h[16];
	int len = record_signed_bytes(r, buf, RECORD_SIGNED_MAX);

	if (len < 0)
		return len;
	memcpy(buf + len, r->pub, NODE_PUB_BYTES);
	c->cfg.signer.hash(c->cfg.signer.arg, buf, (size_t)len + NODE_PUB_BYTES, h);
	digest_from(h, ret_hash);
	return 0;
}

/* ---- dropping */

static void unlink_rec(struct gossip_core *c, struct rec *r)
{
	struct origin *o = r->origin;

	sums_change(c, r, false);
	dissem_forget_record(c, r);
	c->removals -= r->blob->r.kind == RECORD_KIND_REMOVAL;
	HASH_DELETE(hh, c->table, r);
	c->recs[r->idx] = c->recs[--c->rec_count];
	c->recs[r->idx]->idx = r->idx;
	if (o) {
		TAILQ_REMOVE(&o->recs, r, of_origin);
		o->rec_count--;
		if (o->head == r)
			o->head = NULL;
		if (o == c->own && r->blob->r.is_tombstone)
			c->own_tombstones--;
		origin_standing(c, o);
	} else if (r->blob->r.is_tombstone) {
		c->shared_tombstones--;
	}
}

void table_drop(struct gossip_core *c, struct rec *r)
{
	unlink_rec(c, r);
	queue_record_event(c, GOSSIP_EV_RECORD_GONE, r->blob);
	rblob_unref(r->blob);
	free(r);
}

void table_drop_origin(struct gossip_core *c, struct origin *o)
{
	struct rec *r;

	while ((r = TAILQ_FIRST(&o->recs)))
		table_drop(c, r);
	if (o->is_changed)
		TAILQ_REMOVE(&c->origins_changed, o, changed);
	HASH_DELETE(hh, c->origins, o);
	free(o);
}

/* ---- versions */

size_t table_max(const struct gossip_core *c)
{
	return c->cfg.records_max ? c->cfg.records_max : CORE_RECORDS_DEFAULT;
}

static struct rblob *blob_new(const struct record *r)
{
	struct rblob *b = malloc(sizeof(*b) + r->key_len + r->value_len);

	if (!b)
		return NULL;
	b->refs = 1;
	b->r = *r;
	b->r.is_urgent = false;
	memcpy(b->bytes, r->key, r->key_len);
	if (r->value_len > 0)
		memcpy(b->bytes + r->key_len, r->value, r->value_len);
	b->r.key = b->bytes;
	b->r.value = b->bytes + r->key_len;
	return b;
}

static struct rec *rec_new(struct gossip_core *c, const struct record *r)
{
	uint8_t ident[IDENT_MAX];
	size_t len = ident_of(ident, &r->writer, r->kind, r->key, r->key_len);
	struct rec *e;

	if (c->rec_count >= c->rec_cap) {
		size_t cap = c->rec_cap ? c->rec_cap * 2 : 64;
		struct rec **recs = realloc(c->recs, cap * sizeof(struct rec *));

		if (!recs)
			return NULL;
		c->recs = recs;
		c->rec_cap = cap;
	}
	e = calloc(1, sizeof(*e) + len);
	if (!e)
		return NULL;
	e->ident_len = (uint8_t)len;
	memcpy(e->ident, ident, len);
	e->idx = c->rec_count;
	c->recs[c->rec_count++] = e;
	c->removals += r->kind == RECORD_KIND_REMOVAL;
	HASH_ADD_KEYPTR(hh, c->table, e->ident, len, e);
	return e;
}

int table_put(struct gossip_core *c, const struct record *r, struct rec *e, uint32_t touch,
	      struct rec **ret_rec)
{
	bool is_own = record_scope_of(r->kind) != RECORD_SHARED;
	struct origin *o = is_own ? table_origin(c, &r->writer) : NULL;
	struct rblob *b = blob_new(r);
	struct digest hash;

	if (!b || hash_record(c, r, &hash))
		goto fail;
	if (is_own && !o && !(o = origin_add(c, &r->writer)))
		goto fail;
	if (!e && !(e = rec_new(c, r)))
		goto fail;
	if (e->blob) {
		sums_change(c, e, false);
		if (o && o == c->own && e->blob->r.is_tombstone)
			c->own_tombstones--;
		if (!o && e->blob->r.is_tombstone)
			c->shared_tombstones--;
		rblob_unref(e->blob);
	} else if (o) {
		e->origin = o;
		TAILQ_INSERT_TAIL(&o->recs, e, of_origin);
		o->rec_count++;
	}
	if (o && r->generation > o->generation)
		origin_raise(o, r->generation);
	e->blob = b;
	e->hash = hash;
	sums_change(c, e, true);
	if (o && o == c->own && r->is_tombstone)
		c->own_tombstones++;
	if (o && r->kind == RECORD_KIND_HEAD)
		o->head = e;
	if (o)
		origin_standing(c, o);
	if (!o) {
		e->arrival = ++c->arrivals;
		c->shared_tombstones += r->is_tombstone;
		if (r->seq > c->shared_top)
			c->shared_top = r->seq;
	}
	e->touch = touch;
	*ret_rec = e;
	return 0;
fail:
	rblob_unref(b);
	return -ENOSPC;
}
static void check_origin(const struct gossip_core *c, const struct origin *o)
{
	struct digest sum = {{0, 0}}, gsum = {{0, 0}};
	size_t count = 0, stored = 0;
	struct rec *r;

	TAILQ_FOREACH(r, &o->recs, of_origin)
	{
		count++;
		assert(r->origin == o && node_id_cmp(&r->blob->r.writer, &o->id) == 0);
		assert(r->blob->r.generation <= o->generation);
		assert(!o->is_whole || o == c->own || r->blob->r.generation == o->generation);
		if (rec_is_stored(r)) {
			digest_add(&sum, &r->hash);
			stored++;
		}
		if (rec_is_in_gsum(r)) {
			digest_add(&gsum, &r->hash);
			assert(r->blob->r.seq <= o->top);
		}
	}
	assert(count == o->rec_count && stored == o->stored_count);
	assert(digest_eq(&sum, &o->sum) && digest_eq(&gsum, &o->gsum));
	assert(o->verified <= o->watermark);
}

void table_check(const struct gossip_core *c)
{
	struct digest root = {{0, 0}};
	struct origin *o, *next;
	size_t tombstones = 0;
	uint64_t standing = 0, marks = 0;

	assert(c->rec_count <= table_max(c) && HASH_COUNT(c->table) == c->rec_count);
	assert(HASH_COUNT(c->origins) <= GOSSIP_MEMBERS_MAX);
	for (size_t i = 0; i < c->rec_count; i++) {
		const struct rec *r = c->recs[i];

		assert(r->idx == i && r->blob->refs > 0);
		assert(record_check(&r->blob->r) == 0);
		tombstones += !r->origin && r->blob->r.is_tombstone;
		standing += r->origin ? 0 : r->hash.w[0];
		marks += r->origin ? 0 : marks_of(r);
		assert(r->origin || r->arrival <= c->arrivals);
		if (rec_is_stored(r) && !(r->origin && r->origin->is_removed))
			digest_add(&root, &r->hash);
	}
	assert(digest_eq(&root, &c->root));
	assert(tombstones == c->shared_tombstones && marks == c->shared_marks);
	HASH_ITER(hh, c->origins, o, next)
	{
		check_origin(c, o);
		assert(o->rec_count == 0 || o == c->own || !table_is_removed(c, &o->id));
		assert(o->share == share_of(c, o));
		standing += o->share;
	}
	assert(standing == c->standing);
	assert(c->own->top == c->seq && c->own->verified == c->seq);
}

void table_free_all(struct gossip_core *c)
{
	struct origin *o, *next;

	for (size_t i = 0; i < c->rec_count; i++) {
		struct rec *r = c->recs[i];

		HASH_DELETE(hh, c->table, r);
		rblob_unref(r->blob);
		free(r);
	}
	free(c->recs);
	HASH_ITER(hh, c->origins, o, next)
	{
		HASH_DELETE(hh, c->origins, o);
		free(o);
	}
}
