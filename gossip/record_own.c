/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What this node writes: versions, signatures, heads, restating under a new generation. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/dissem.h"
#include "gossip/record_table.h"

#define BEGIN_MS                                                                                   \
	2000 /* without a join the first head waits this long: until then the caller restates */

static int head_encode(const struct head *h, uint8_t *buf, size_t cap)
{
	struct mp_buf b = {.p = buf, .cap = cap};
	uint8_t sum[16];
	msgpack_packer pk;

	digest_bytes(&h->sum, sum);
	msgpack_packer_init(&pk, &b, mp_buf_write);
	msgpack_pack_map(&pk, 2);
	msgpack_pack_str_with_body(&pk, "gc", 2);
	msgpack_pack_uint64(&pk, h->gc);
	msgpack_pack_str_with_body(&pk, "sum", 3);
	msgpack_pack_bin_with_body(&pk, sum, sizeof(sum));
	return b.is_full ? -EMSGSIZE : (int)b.len;
}

int head_decode(const struct record *r, struct head *ret_head)
{
	bool has_gc = false, has_sum = false;
	struct mp_reader m;
	struct head h;
	uint8_t sum[16];
	const char *key;
	size_t pairs, len;

	if (r->is_tombstone)
		return -EBADMSG;
	mp_reader_init(&m, r->value, r->value_len);
	if (mp_read_map(&m, 16, &pairs))
		return -EBADMSG;
	while (pairs-- > 0) {
		if (mp_read_str(&m, 16, &key, &len))
			return -EBADMSG;
		if (len == 2 && memcmp(key, "gc", 2) == 0 && !has_gc) {
			has_gc = true;
			if (mp_read_uint(&m, RECORD_SEQ_MAX, &h.gc))
				return -EBADMSG;
		} else if (len == 3 && memcmp(key, "sum", 3) == 0 && !has_sum) {
			has_sum = true;
			if (mp_read_bytes(&m, sum, sizeof(sum)))
				return -EBADMSG;
			digest_from(sum, &h.sum);
		} else if (mp_skip(&m)) {
			return -EBADMSG;
		}
	}
	if (!has_gc || !has_sum || h.gc > r->seq)
		return -EBADMSG;
	*ret_head = h;
	return 0;
}

static int sign(struct gossip_core *c, struct record *r)
{
	uint8_t buf[RECORD_SIGNED_MAX];
	int len = record_signed_bytes(r, buf, sizeof(buf));

	if (len < 0)
		return len;
	return c->cfg.signer.sign(c->cfg.signer.arg, buf, (size_t)len, r->sig);
}

/* Number, sign and take a version of ours. */
static int write_next(struct gossip_core *c, struct record *r, enum dissem_way way)
{
	enum record_scope scope = record_scope_of(r->kind);
	uint64_t *counter = scope == RECORD_SHARED ? &c->shared_top
			    : scope == RECORD_OWN  ? &c->seq
						   : &c->volatile_seq;
	struct rec *e;
	int err;

	r->writer = c->self->id;
	memcpy(r->pub, c->cfg.pub, sizeof(r->pub));
	r->generation = scope == RECORD_SHARED ? 0 : c->cfg.generation;
	r->seq = *counter + 1;
	err = sign(c, r);
	if (err)
		return err;
	err = table_offer(c, r, TABLE_LOCAL, 0);
	if (err < 0)
		return err;
	*counter = r->seq;
	e = table_find(c, &r->writer, r->kind, r->key, r->key_len);
	if (e)
		dissem_record(c, e, way);
	return 0;
}

int own_write(struct gossip_core *c, uint8_t kind, const uint8_t *key, size_t key_len,
	      const uint8_t *value, size_t value_len, bool is_tombstone, bool is_urgent)
{
	struct rec *e = table_find(c, &c->self->id, kind, key, key_len);
	struct record r = {.kind = kind,
			   .is_tombstone = is_tombstone,
			   .key = key,
			   .key_len = key_len,
			   .value = value,
			   .value_len = value_len};
	int err;

	if (is_tombstone && (!e || e->blob->r.is_tombstone))
		return -ENOENT;
	if (e && !is_tombstone && !e->blob->r.is_tombstone && e->blob->r.value_len == value_len &&
	    memcmp(e->blob->r.value, value, value_len) == 0)
		return 0;
	err = write_next(c, &r, is_urgent ? DISSEM_ALL : DISSEM_LAZY);
	if (!err && record_scope_of(kind) == RECORD_OWN)
		c->is_head_stale = true;
	return err;
}

int own_write_again(struct gossip_core *c, const struct record *r)
{
	uint8_t key[RECORD_KEY_MAX];
	struct record v = {
		.kind = r->kind, .is_tombstone = true, .key = key, .key_len = r->key_len};

	memcpy(key, r->key, r->key_len);
	return write_next(c, &v, DISSEM_LAZY);
}

static void write_head(struct gossip_core *c)
{
	struct head h = {.gc = c->own->gc, .sum = c->own->gsum};
	uint8_t value[64];
	int len = head_encode(&h, value, sizeof(value));
	struct record r = {.kind = RECORD_KIND_HEAD,
			   .key = (const uint8_t *)HEAD_KEY,
			   .key_len = HEAD_KEY_LEN,
			   .value = value,
			   .value_len = (size_t)len};

	c->head_ms = c->now_ms;
	if (len > 0 && write_next(c, &r, DISSEM_LAZY) == 0)
		c->is_head_stale = false;
}

static int cmp_seq(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Let all but the newest of our tombstones go; the next head tells everyone up to where. */
static void collect(struct gossip_core *c)
{
	uint64_t *seq = malloc(c->own_tombstones * sizeof(*seq));
	struct rec *r, *next;
	size_t n = 0;

	if (!seq)
		return;
	TAILQ_FOREACH(r, &c->own->recs, of_origin)
	if (r->blob->r.is_tombstone && record_scope_of(r->blob->r.kind) == RECORD_OWN)
		seq[n++] = r->blob->r.seq;
	if (n > CORE_TOMBSTONES_MAX) {
		qsort(seq, n, sizeof(*seq), cmp_seq);
		c->own->gc = c->own->gc_told = seq[n - CORE_TOMBSTONES_MAX / 2 - 1];
		for (r = TAILQ_FIRST(&c->own->recs); r; r = next) {
			next = TAILQ_NEXT(r, of_origin);
			if (r->blob->r.is_tombstone &&
			    record_scope_of(r->blob->r.kind) == RECORD_OWN &&
			    r->blob->r.seq <= c->own->gc)
				table_drop(c, r);
		}
		c->is_head_stale = true;
	}
	free(seq);
}

uint64_t own_deadline(const struct gossip_core *c)
{
	if (!c->is_head_stale || c->has_left)
		return UINT64_MAX;
	return c->head_ms + (c->has_begun ? CORE_HEAD_MS : BEGIN_MS);
}

void own_tick(struct gossip_core *c)
{
	if (c->now_ms < own_deadline(c))
		return;
	c->has_begun = true;
	if (c->own_tombstones > CORE_TOMBSTONES_MAX)
		collect(c);
	write_head(c);
}

void own_begin(struct gossip_core *c)
{
	if (c->has_begun)
		return;
	c->has_begun = true;
	write_head(c);
}

void own_restate(struct gossip_core *c, uint64_t generation)
{
	struct origin *o = c->own;
	struct rec *r, *next;

	c->cfg.generation = generation;
	c->seq = c->volatile_seq = 0;
	o->generation = generation;
	o->watermark = o->verified = o->top = o->gc = o->gc_told = 0;
	o->gsum = (struct digest){{0, 0}};
	/* Rewriting keeps a record's place in the list, so one walk meets each once. */
	for (r = TAILQ_FIRST(&o->recs); r; r = next) {
		struct rblob *b = r->blob;
		struct record v = b->r;

		next = TAILQ_NEXT(r, of_origin);
		b->refs++; /* v points into it, and a new version takes its place */
		if (v.is_tombstone || v.kind == RECORD_KIND_HEAD)
			table_drop(c, r); /* a complete statement needs no tombstones */
		else if (write_next(c, &v, DISSEM_LAZY))
			table_drop(c, r);
		rblob_unref(b);
	}
	write_head(c);
}
