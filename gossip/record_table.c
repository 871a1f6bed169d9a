/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/record_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/dissem.h"
#include "gossip/member.h"

#define ORIGIN_RECORDS_SHARE 4 /* one writer may fill a quarter of the table */
#define ORIGIN_RECORDS_MIN 1024

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

static const char hex[] = "0123456789abcdef";

static void removal_key(const struct node_id *id, uint8_t key[2 * NODE_ID_BYTES])
{
	for (size_t i = 0; i < NODE_ID_BYTES; i++) {
		key[2 * i] = (uint8_t)hex[id->b[i] >> 4];
		key[2 * i + 1] = (uint8_t)hex[id->b[i] & 15];
	}
}

bool table_is_removed(const struct gossip_core *c, const struct node_id *id)
{
	uint8_t key[2 * NODE_ID_BYTES];
	struct rec *r;

	removal_key(id, key);
	r = table_find(c, id, RECORD_KIND_REMOVAL, key, sizeof(key));
	return r && !r->blob->r.is_tombstone;
}

bool table_is_in_force(const struct rec *r)
{
	return !r->blob->r.is_tombstone && !(r->origin && r->origin->is_removed);
}

/* ---- sums */

static bool is_stored(const struct rec *r)
{
	return record_scope_of(r->blob->r.kind) != RECORD_VOLATILE;
}

static bool is_in_gsum(const struct rec *r)
{
	return r->origin && is_stored(r) && r->blob->r.kind != RECORD_KIND_HEAD &&
	       r->blob->r.generation == r->origin->generation;
}

static void sums_change(struct gossip_core *c, struct rec *r,
			void (*op)(struct digest *d, const struct digest *x))
{
	struct origin *o = r->origin;

	if (!is_stored(r))
		return;
	if (!o) {
		op(&c->bucket[table_bucket_of(r->blob->r.kind, r->blob->r.key, r->blob->r.key_len)],
		   &r->hash);
		op(&c->root, &r->hash);
		return;
	}
	op(&o->sum, &r->hash);
	if (is_in_gsum(r))
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

	sums_change(c, r, digest_sub);
	dissem_forget_record(c, r);
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
	}
}

void table_drop(struct gossip_core *c, struct rec *r)
{
	unlink_rec(c, r);
	queue_record_event(c, GOSSIP_EV_RECORD_GONE, r->blob);
	rblob_unref(r->blob);
	free(r);
}

static void origin_free(struct gossip_core *c, struct origin *o)
{
	struct rec *r;

	while ((r = TAILQ_FIRST(&o->recs)))
		table_drop(c, r);
	HASH_DELETE(hh, c->origins, o);
	free(o);
}

/* A removal came into force or was lifted. Our own records are kept, but count no more. */
static void note_removal(struct gossip_core *c, const struct record *r)
{
	struct node_id id;
	struct origin *o;

	if (r->key_len != 2 * NODE_ID_BYTES)
		return;
	for (size_t i = 0; i < r->key_len; i++) {
		const char *digit = memchr(hex, r->key[i], 16);

		if (!digit)
			return;
		id.b[i / 2] = (uint8_t)(id.b[i / 2] << 4 | (digit - hex));
	}
	o = table_origin(c, &id);
	if (!o)
		return;
	if (o != c->own) {
		if (!r->is_tombstone)
			origin_free(c, o);
		return;
	}
	if (o->is_removed == !r->is_tombstone)
		return;
	o->is_removed = !r->is_tombstone;
	if (o->is_removed)
		digest_sub(&c->root, &o->sum);
	else
		digest_add(&c->root, &o->sum);
}

/* ---- a writer's generation becomes whole */

static bool is_collected(const struct origin *o, const struct rec *r, uint64_t gc)
{
	return r->blob->r.is_tombstone && is_stored(r) && r->blob->r.generation == o->generation &&
	       r->blob->r.seq <= gc;
}

/* The head's sum was met: what it shows to be over goes. */
static void origin_whole(struct gossip_core *c, struct origin *o, const struct head *h)
{
	struct rec *r, *next;
	uint64_t seq = o->head->blob->r.seq;

	if (seq > o->watermark)
		o->watermark = seq;
	if (seq > o->verified)
		o->verified = seq;
	if (!o->is_whole || h->gc > o->gc) {
		for (r = TAILQ_FIRST(&o->recs); r; r = next) {
			next = TAILQ_NEXT(r, of_origin);
			if (r->blob->r.generation < o->generation || is_collected(o, r, h->gc))
				table_drop(c, r);
		}
	}
	o->is_whole = true;
	o->gc = o->gc_told = h->gc;
}

/* Sum of what is held of the generation, without what the head lets go; `touch` != 0: only what that restatement named. */
static struct digest sum_for_head(const struct origin *o, const struct head *h, uint32_t touch)
{
	struct digest sum = {{0, 0}};
	struct rec *r;

	TAILQ_FOREACH(r, &o->recs, of_origin)
	if (is_in_gsum(r) && !is_collected(o, r, h->gc) && (!touch || r->touch == touch))
		digest_add(&sum, &r->hash);
	return sum;
}

static bool head_of(const struct origin *o, struct head *ret_head)
{
	return o->head && o->head->blob->r.generation == o->generation &&
	       head_decode(&o->head->blob->r, ret_head) == 0;
}

static void untold(struct origin *o)
{
	o->watermark = o->verified;
	o->gc_told = o->gc;
}

void table_settle(struct gossip_core *c, struct origin *o)
{
	struct digest sum = o->gsum;
	struct head h;

	if (o == c->own || !head_of(o, &h))
		return;
	if (h.gc > o->gc)
		sum = sum_for_head(o, &h, 0);
	if (digest_eq(&sum, &h.sum))
		origin_whole(c, o, &h);
	else if (o->watermark > o->verified && o->watermark >= o->head->blob->r.seq &&
		 o->top <= o->head->blob->r.seq)
		/* We were told that we have everything, and the writer says that we haven't. */
		untold(o);
}

void table_count(struct gossip_core *c, struct origin *o, uint64_t to, uint64_t gc)
{
	if (to <= o->watermark)
		return;
	o->watermark = to;
	if (gc > to)
		gc = to;
	if (gc > o->gc_told)
		o->gc_told = gc;
	table_settle(c, o);
}

/* Did it leave out anything that we hold and that it should have named? */
static bool is_all_named(const struct origin *o)
{
	struct rec *r;

	TAILQ_FOREACH(r, &o->recs, of_origin)
	{
		const struct record *v = &r->blob->r;

		if (record_scope_of(v->kind) == RECORD_OWN && v->generation == o->generation &&
		    v->seq <= o->reset_at && r->touch != o->reset_touch)
			return false;
	}
	return true;
}

void table_end_reset(struct gossip_core *c, struct origin *o, uint64_t gc)
{
	struct rec *r, *next;
	struct digest sum;
	struct head h;

	if (is_all_named(o)) {
		table_count(c, o, o->reset_at, gc);
		return;
	}
	if (!head_of(o, &h))
		return;
	sum = sum_for_head(o, &h, o->reset_touch);
	if (!digest_eq(&sum, &h.sum))
		return;
	for (r = TAILQ_FIRST(&o->recs); r; r = next) {
		next = TAILQ_NEXT(r, of_origin);
		/* What came after the head was written is not its to judge. */
		if (r->touch != o->reset_touch && is_in_gsum(r) &&
		    r->blob->r.seq <= o->head->blob->r.seq)
			table_drop(c, r);
	}
	origin_whole(c, o, &h);
}

/* ---- a version arrives */

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

static size_t records_max(const struct gossip_core *c)
{
	return c->cfg.records_max ? c->cfg.records_max : CORE_RECORDS_DEFAULT;
}

static bool is_origin_full(const struct gossip_core *c, const struct origin *o)
{
	size_t share = records_max(c) / ORIGIN_RECORDS_SHARE;

	if (share < ORIGIN_RECORDS_MIN)
		share = ORIGIN_RECORDS_MIN;
	return o && o->rec_count >= share;
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
	HASH_ADD_KEYPTR(hh, c->table, e->ident, len, e);
	return e;
}

static void origin_raise(struct origin *o, uint64_t generation)
{
	o->generation = generation;
	o->watermark = o->verified = o->top = o->gc = o->gc_told = 0;
	o->gsum = (struct digest){{0, 0}};
	o->is_whole = o->is_closed = o->is_disputed = false;
	o->reset_touch = 0;
}

/* Put version `r` into force: `e` is the entry of its identity, or NULL. Takes nothing on failure. */
static int put_in_force(struct gossip_core *c, const struct record *r, struct rec *e,
			uint32_t touch, struct rec **ret_rec)
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
		sums_change(c, e, digest_sub);
		if (o && o == c->own && e->blob->r.is_tombstone)
			c->own_tombstones--;
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
	sums_change(c, e, digest_add);
	if (o && o == c->own && r->is_tombstone)
		c->own_tombstones++;
	if (o && r->kind == RECORD_KIND_HEAD)
		o->head = e;
	if (!o && r->seq > c->shared_top)
		c->shared_top = r->seq;
	e->touch = touch;
	*ret_rec = e;
	return 0;
fail:
	rblob_unref(b);
	return -ENOSPC;
}

static void advance(struct origin *o, const struct record *r)
{
	if (record_scope_of(r->kind) != RECORD_OWN || r->generation != o->generation)
		return;
	if (r->seq > o->top)
		o->top = r->seq;
	if (r->seq == o->watermark + 1)
		o->watermark++;
	if (r->seq == o->verified + 1)
		o->verified++;
}

static bool is_signed(struct gossip_core *c, const struct record *r)
{
	uint8_t buf[RECORD_SIGNED_MAX];
	int len = record_signed_bytes(r, buf, sizeof(buf));

	if (len > 0 &&
	    c->cfg.signer.verify(c->cfg.signer.arg, r->pub, buf, (size_t)len, r->sig) == 0)
		return true;
	c->n.bad_signatures++;
	return false;
}

static bool is_same_bytes(const struct record *a, const struct record *b)
{
	return a->is_tombstone == b->is_tombstone && a->value_len == b->value_len &&
	       (a->value_len == 0 || memcmp(a->value, b->value, a->value_len) == 0);
}

/* Own records that somebody has and we don't: we were here before, with a higher number, or we lost our memory. */
static void hear_self(struct gossip_core *c, const struct record *r, const struct rec *e)
{
	bool is_stored_scope = record_scope_of(r->kind) == RECORD_OWN;
	int d = e ? record_cmp_version(r, &e->blob->r) : 1;
	bool is_strange;

	if (r->generation != c->cfg.generation)
		is_strange = r->generation > c->cfg.generation;
	else if (!e)
		/* What we deleted leaves a tombstone, until it is collected. */
		is_strange = !is_stored_scope || r->seq > c->own->gc;
	else
		is_strange = d > 0 || (d == 0 && !is_same_bytes(r, &e->blob->r));
	if (is_strange && is_signed(c, r))
		core_want_generation(c, r->generation);
}

/* Is it known, or older than what is known? */
static bool is_old(const struct origin *o, const struct record *r, const struct rec *e)
{
	if (e && record_cmp_version(r, &e->blob->r) <= 0)
		return true;
	if (!o)
		return false;
	if (r->generation < o->generation)
		return o->is_whole || o->is_closed;
	/* We have counted past it and don't hold it: it was deleted, and collected. Heads always come through: they show when
	 * we were told to count too far. */
	return !e && r->generation == o->generation && record_scope_of(r->kind) == RECORD_OWN &&
	       r->kind != RECORD_KIND_HEAD && r->seq <= o->watermark;
}

/* A writer that lost its memory has signed two contents with one version. Everyone keeps the same one, and the writer
 * is shown what it has forgotten. */
static bool is_twin(const struct record *r, const struct rec *e)
{
	return e && record_cmp_version(r, &e->blob->r) == 0 && !is_same_bytes(r, &e->blob->r);
}

static int refuse(struct gossip_core *c, int error)
{
	c->n.refused_records++;
	return error;
}

/* 1: go on and take it. */
static int may_come(struct gossip_core *c, const struct record *r, enum table_source source,
		    struct rec *e)
{
	bool is_own = record_scope_of(r->kind) != RECORD_SHARED;
	struct origin *o = is_own ? table_origin(c, &r->writer) : NULL;

	if (source != TABLE_LOCAL) {
		if (is_own && o == c->own) {
			hear_self(c, r, e);
			return 0;
		}
		if (is_own && table_is_removed(c, &r->writer))
			return refuse(c, -EPERM);
		if (is_twin(r, e)) {
			if (!is_signed(c, r))
				return -EBADMSG;
			if (o)
				o->is_disputed = true;
			return memcmp(r->sig, e->blob->r.sig, NODE_SIG_BYTES) > 0;
		}
		if (is_old(o, r, e)) {
			c->n.records_old++;
			return 0;
		}
		if (!is_signed(c, r))
			return -EBADMSG;
	}
	if (!e && (c->rec_count >= records_max(c) || is_origin_full(c, o)))
		return refuse(c, -ENOSPC);
	return 1;
}

int table_offer(struct gossip_core *c, const struct record *r, enum table_source source,
		uint32_t touch)
{
	struct rec *e;
	int err;

	if (record_check(r) ||
	    (r->kind == RECORD_KIND_HEAD &&
	     (r->key_len != HEAD_KEY_LEN || memcmp(r->key, HEAD_KEY, HEAD_KEY_LEN))))
		return refuse(c, -EBADMSG);
	e = table_find(c, &r->writer, r->kind, r->key, r->key_len);
	if (e && touch)
		e->touch = touch;
	err = may_come(c, r, source, e);
	if (err <= 0)
		return err;
	if (put_in_force(c, r, e, touch, &e))
		return refuse(c, -ENOSPC);
	c->n.records_new++;
	if (source != TABLE_LOADED)
		queue_record_event(c, GOSSIP_EV_RECORD, e->blob);
	if (source == TABLE_HEARD)
		dissem_record(c, e, r->is_urgent ? DISSEM_RELAY : DISSEM_LAZY);
	if (source == TABLE_SYNCED)
		dissem_record(c, e, DISSEM_SOME);
	/* From here on `e` may go: it may be what the head lets go. */
	if (e->origin) {
		struct origin *o = e->origin;

		advance(o, r);
		table_settle(c, o);
	} else if (r->kind == RECORD_KIND_REMOVAL) {
		note_removal(c, &e->blob->r);
	}
	return 1;
}

static bool has_older(const struct origin *o)
{
	struct rec *r;

	TAILQ_FOREACH(r, &o->recs, of_origin)
	if (r->blob->r.generation < o->generation)
		return true;
	return false;
}

void table_loaded(struct gossip_core *c)
{
	struct origin *o, *next;

	HASH_ITER(hh, c->origins, o, next)
	{
		o->is_closed = o->head && !has_older(o);
	}
}

static void check_origin(const struct gossip_core *c, const struct origin *o)
{
	struct digest sum = {{0, 0}}, gsum = {{0, 0}};
	size_t count = 0;
	struct rec *r;

	TAILQ_FOREACH(r, &o->recs, of_origin)
	{
		count++;
		assert(r->origin == o && node_id_cmp(&r->blob->r.writer, &o->id) == 0);
		assert(r->blob->r.generation <= o->generation);
		assert(!o->is_whole || o == c->own || r->blob->r.generation == o->generation);
		if (is_stored(r))
			digest_add(&sum, &r->hash);
		if (is_in_gsum(r)) {
			digest_add(&gsum, &r->hash);
			assert(r->blob->r.seq <= o->top);
		}
	}
	assert(count == o->rec_count);
	assert(digest_eq(&sum, &o->sum) && digest_eq(&gsum, &o->gsum));
	assert(o->verified <= o->watermark);
}

void table_check(const struct gossip_core *c)
{
	struct digest root = {{0, 0}};
	struct origin *o, *next;

	assert(c->rec_count <= records_max(c) && HASH_COUNT(c->table) == c->rec_count);
	assert(HASH_COUNT(c->origins) <= GOSSIP_MEMBERS_MAX);
	for (size_t i = 0; i < c->rec_count; i++) {
		const struct rec *r = c->recs[i];

		assert(r->idx == i && r->blob->refs > 0);
		assert(record_check(&r->blob->r) == 0);
		assert(!r->origin || r->origin == c->own || !table_is_removed(c, &r->origin->id));
		if (is_stored(r) && !(r->origin && r->origin->is_removed))
			digest_add(&root, &r->hash);
	}
	assert(digest_eq(&root, &c->root));
	HASH_ITER(hh, c->origins, o, next)
	{
		check_origin(c, o);
	}
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
