/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packing. Counts are not known before a list ends: headers of fixed width are reserved and patched. */
#include "gossip/wire.h"

#include <string.h>

/* Kept free inside a delta for the fields that close it: two numbers of at most 9 and 5 bytes. */
#define DELTA_TAIL 16

static const char card_domain[] = "edge-card-v1";

static uint8_t *put_be(uint8_t *p, uint64_t v, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--)
		*p++ = (uint8_t)(v >> (8 * i));
	return p;
}

static unsigned int card_flags(const struct wire_card *c)
{
	unsigned int lo = c->version.lo ? c->version.lo - 1u : 0,
		     hi = c->version.lo ? c->version.hi - 1u : 0;

	return (c->has_forwarder ? 1u : 0u) | (c->is_left ? 2u : 0u) | c->rest | lo << 8 | hi << 12;
}

size_t wire_card_signed_bytes(const struct wire_card *card, uint8_t buf[WIRE_CARD_SIGNED_MAX])
{
	uint8_t *p = buf;

	_Static_assert(sizeof(card_domain) + 2 * GOSSIP_NAME_MAX + 16 + 2 + 8 + 8 + 4 + 2 <=
			       WIRE_CARD_SIGNED_MAX,
		       "a card's signed bytes fit");
	memcpy(p, card_domain, sizeof(card_domain));
	p += sizeof(card_domain);
	memset(p, 0, 2 * GOSSIP_NAME_MAX);
	memcpy(p, card->name, strnlen(card->name, GOSSIP_NAME_MAX - 1));
	p += GOSSIP_NAME_MAX;
	memcpy(p, card->region, strnlen(card->region, GOSSIP_NAME_MAX - 1));
	p += GOSSIP_NAME_MAX;
	memcpy(p, card->addr.ip, 16);
	p = put_be(p + 16, card->addr.port, 2);
	p = put_be(p, card->generation, 8);
	p = put_be(p, card->boot_nonce, 8);
	p = put_be(p, card->incarnation, 4);
	p = put_be(p, card_flags(card), 2);
	return (size_t)(p - buf);
}

static void raw(struct wire_out *o, const void *data, size_t len)
{
	(void)mp_buf_write(&o->b, data, len); /* overflow shows in is_full */
}

static void bin(struct wire_out *o, const void *data, size_t len)
{
	msgpack_pack_bin_with_body(&o->pk, data, len);
}

static void str(struct wire_out *o, const void *data, size_t len)
{
	msgpack_pack_str_with_body(&o->pk, data, len);
}

static void num(struct wire_out *o, uint64_t v)
{
	msgpack_pack_uint64(&o->pk, v);
}

static void id_out(struct wire_out *o, const struct node_id *id)
{
	bin(o, id->b, NODE_ID_BYTES);
}

static void field(struct wire_out *o, enum wire_key key)
{
	num(o, key);
	o->pairs++;
}

void wire_begin(struct wire_out *o, uint8_t *buf, size_t cap, enum wire_type type)
{
	wire_begin_as(o, buf, cap, type, WIRE_VERSION);
}

void wire_begin_as(struct wire_out *o, uint8_t *buf, size_t cap, enum wire_type type,
		   uint8_t version)
{
	static const uint8_t map16[3] = {0xde, 0, 0};

	memset(o, 0, sizeof(*o));
	o->b.p = buf;
	o->b.cap = o->cap = cap;
	msgpack_packer_init(&o->pk, &o->b, mp_buf_write);
	raw(o, map16, sizeof(map16));
	field(o, WIRE_K_VERSION);
	num(o, version);
	field(o, WIRE_K_TYPE);
	num(o, type);
}

void wire_put_cookie(struct wire_out *o, uint64_t cookie)
{
	field(o, WIRE_K_COOKIE);
	num(o, cookie);
}

void wire_put_target(struct wire_out *o, const struct node_id *id)
{
	field(o, WIRE_K_TARGET);
	id_out(o, id);
}

void wire_put_digest(struct wire_out *o, const uint8_t root[16], uint64_t members,
		     uint64_t standing, const uint64_t *regions)
{
	field(o, WIRE_K_DIGEST);
	msgpack_pack_array(&o->pk, regions ? 4 : 3);
	bin(o, root, 16);
	num(o, members);
	num(o, standing);
	if (regions)
		num(o, *regions);
}

static void version_out(struct wire_out *o, const struct gossip_version *v)
{
	num(o, v->removals);
	num(o, v->lives);
	num(o, v->marks);
	bin(o, v->hash, sizeof(v->hash));
}

void wire_put_summary(struct wire_out *o, const struct wire_summary *s)
{
	field(o, WIRE_K_SUMMARY);
	msgpack_pack_array(&o->pk, 8);
	str(o, s->region, strnlen(s->region, GOSSIP_NAME_MAX));
	version_out(o, &s->version);
	num(o, s->total);
	num(o, s->offset);
	bin(o, s->data, s->len);
}

void wire_put_flags(struct wire_out *o, unsigned int flags)
{
	field(o, WIRE_K_FLAGS);
	num(o, flags);
}

void wire_put_range(struct wire_out *o, const struct node_id *lo, const struct node_id *hi)
{
	field(o, WIRE_K_RANGE);
	msgpack_pack_array(&o->pk, 2);
	id_out(o, lo);
	id_out(o, hi);
}

void wire_put_buckets(struct wire_out *o, const uint8_t *buckets)
{
	field(o, WIRE_K_BUCKETS);
	bin(o, buckets, WIRE_BUCKETS * WIRE_BUCKET_BYTES);
}

void wire_put_sums(struct wire_out *o, const uint8_t *sums)
{
	field(o, WIRE_K_SUMS);
	bin(o, sums, WIRE_BUCKETS * WIRE_BUCKET_BYTES);
}

void wire_put_mask(struct wire_out *o, const uint8_t *mask)
{
	field(o, WIRE_K_MASK);
	bin(o, mask, WIRE_MASK_BYTES);
	o->mask_at = o->b.len - WIRE_MASK_BYTES;
}

void wire_patch_mask(struct wire_out *o, const uint8_t *mask)
{
	if (o->mask_at && !o->b.is_full)
		memcpy(o->b.p + o->mask_at, mask, WIRE_MASK_BYTES);
}

static void array_reserve(struct wire_out *o, size_t key_at)
{
	static const uint8_t array32[5] = {0xdd, 0, 0, 0, 0};

	o->list[o->depth].key_at = key_at;
	o->list[o->depth].count_at = o->b.len + 1;
	o->list[o->depth].count = 0;
	o->depth++;
	raw(o, array32, sizeof(array32));
}

static void array_patch(struct wire_out *o)
{
	o->depth--;
	if (!o->b.is_full)
		put_be(o->b.p + o->list[o->depth].count_at, o->list[o->depth].count, 4);
}

void wire_list_begin(struct wire_out *o, enum wire_key key)
{
	size_t at = o->b.len;

	field(o, key);
	array_reserve(o, at);
	/* No room even for an empty list: it will vanish, and nothing fits into it. */
	if (o->b.is_full) {
		o->b.len = at;
		o->b.is_full = false;
		o->list[0].count_at = 0;
	}
}

void wire_list_end(struct wire_out *o)
{
	if (o->list[o->depth - 1].count > 0) {
		array_patch(o);
		return;
	}
	o->depth--;
	o->b.len = o->list[o->depth].key_at;
	o->pairs--;
}

/* Keep what was written since `mark` as one more element, or take it back. */
static bool element_done(struct wire_out *o, size_t mark)
{
	if (o->b.is_full || o->list[o->depth - 1].count_at == 0) {
		o->b.len = mark;
		o->b.is_full = false;
		return false;
	}
	o->list[o->depth - 1].count++;
	return true;
}

bool wire_add_card(struct wire_out *o, const struct wire_card *card)
{
	size_t mark = o->b.len;
	uint8_t addr[18];

	msgpack_pack_array(&o->pk, 9);
	bin(o, card->pub, NODE_PUB_BYTES);
	bin(o, card->sig, NODE_SIG_BYTES);
	str(o, card->name, strnlen(card->name, GOSSIP_NAME_MAX));
	str(o, card->region, strnlen(card->region, GOSSIP_NAME_MAX));
	memcpy(addr, card->addr.ip, 16);
	put_be(addr + 16, card->addr.port, 2);
	bin(o, addr, sizeof(addr));
	num(o, card->generation);
	num(o, card->boot_nonce);
	num(o, card->incarnation);
	num(o, card_flags(card));
	return element_done(o, mark);
}

bool wire_add_vote(struct wire_out *o, const struct wire_vote *vote)
{
	size_t mark = o->b.len;

	msgpack_pack_array(&o->pk, 4);
	id_out(o, &vote->id);
	num(o, vote->generation);
	num(o, vote->incarnation);
	num(o, vote->state);
	return element_done(o, mark);
}

bool wire_add_seen(struct wire_out *o, const struct wire_seen *seen)
{
	size_t mark = o->b.len;

	msgpack_pack_array(&o->pk, 3);
	id_out(o, &seen->id);
	num(o, seen->generation);
	num(o, seen->incarnation);
	return element_done(o, mark);
}

bool wire_add_origin(struct wire_out *o, const struct wire_origin *origin)
{
	size_t mark = o->b.len;

	msgpack_pack_array(&o->pk, 6);
	id_out(o, &origin->id);
	num(o, origin->generation);
	num(o, origin->watermark);
	num(o, origin->top);
	num(o, origin->gc);
	bin(o, origin->sum, sizeof(origin->sum));
	return element_done(o, mark);
}

bool wire_add_key(struct wire_out *o, const struct wire_shared_key *key)
{
	size_t mark = o->b.len;

	msgpack_pack_array(&o->pk, 4);
	num(o, key->kind);
	str(o, key->key, key->key_len);
	num(o, key->counter);
	id_out(o, &key->writer);
	return element_done(o, mark);
}

bool wire_add_region(struct wire_out *o, const struct wire_region *region)
{
	size_t mark = o->b.len;

	msgpack_pack_array(&o->pk, 10);
	str(o, region->name, strnlen(region->name, GOSSIP_NAME_MAX));
	version_out(o, &region->version);
	num(o, region->len);
	id_out(o, &region->speaker);
	num(o, region->generation);
	num(o, region->seq);
	num(o, region->cards);
	return element_done(o, mark);
}

bool wire_add_record(struct wire_out *o, const struct record *r)
{
	size_t mark = o->b.len;

	msgpack_pack_array(&o->pk, 8);
	num(o, r->kind);
	num(o, (r->is_tombstone ? 1u : 0u) | (r->is_urgent ? 2u : 0u));
	bin(o, r->pub, NODE_PUB_BYTES);
	num(o, r->generation);
	num(o, r->seq);
	bin(o, r->sig, NODE_SIG_BYTES);
	str(o, r->key, r->key_len);
	bin(o, r->value, r->value_len);
	return element_done(o, mark);
}

bool wire_delta_begin(struct wire_out *o, const struct node_id *id, uint64_t generation,
		      uint64_t from, uint64_t gc)
{
	size_t mark = o->b.len;

	o->b.cap = o->cap - DELTA_TAIL;
	msgpack_pack_array(&o->pk, 7);
	id_out(o, id);
	num(o, generation);
	num(o, from);
	num(o, gc);
	array_reserve(o, mark);
	if (!o->b.is_full && o->list[0].count_at != 0)
		return true;
	o->depth--;
	o->b.len = mark;
	o->b.cap = o->cap;
	o->b.is_full = false;
	return false;
}

void wire_delta_end(struct wire_out *o, uint64_t to, unsigned int flags)
{
	size_t mark = o->list[o->depth - 1].key_at;

	array_patch(o);
	o->b.cap = o->cap;
	num(o, to);
	num(o, flags);
	(void)element_done(o, mark); /* the tail was kept free */
}

size_t wire_end(struct wire_out *o)
{
	if (o->b.is_full)
		return 0;
	put_be(o->b.p + 1, o->pairs, 2);
	return o->b.len;
}

size_t wire_room(const struct wire_out *o)
{
	return o->b.cap > o->b.len ? o->b.cap - o->b.len : 0;
}
