/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Anti-entropy of shared records: bucket sums, then keys and versions of the buckets that differ. */
#include <stdlib.h>
#include <string.h>

#include "gossip/record_table.h"
#include "gossip/sync.h"
#include "gossip/version.h"

void shared_bucket_sums(const struct gossip_core *c, uint8_t ret[WIRE_BUCKETS * WIRE_BUCKET_BYTES])
{
	for (size_t i = 0; i < WIRE_BUCKETS; i++) {
		uint8_t b[16];

		digest_bytes(&c->bucket[i], b);
		memcpy(ret + i * WIRE_BUCKET_BYTES, b, WIRE_BUCKET_BYTES);
	}
}

static unsigned int bucket_of(const struct rec *r)
{
	return table_bucket_of(r->blob->r.kind, r->blob->r.key, r->blob->r.key_len);
}

static bool in_mask(const uint8_t *mask, unsigned int bucket)
{
	return mask[bucket / 8] >> (bucket % 8) & 1;
}

static void keys_begin(struct gossip_core *c, struct wire_out *o, const uint8_t *mask,
		       bool is_reply)
{
	version_begin(c, o, c->stream, GOSSIP_STREAM_MAX, WIRE_KEYS);
	wire_put_mask(o, mask);
	if (is_reply)
		wire_put_flags(o, WIRE_F_REPLY);
	wire_list_begin(o, WIRE_K_KEYS);
}

static bool add_bucket(struct gossip_core *c, struct wire_out *o, unsigned int bucket)
{
	for (size_t i = 0; i < c->rec_count; i++) {
		const struct rec *r = c->recs[i];
		struct wire_shared_key k = {.kind = r->blob->r.kind,
					    .key = r->blob->r.key,
					    .key_len = r->blob->r.key_len,
					    .counter = r->blob->r.seq,
					    .writer = r->blob->r.writer};

		if (!r->origin && bucket_of(r) == bucket && !wire_add_key(o, &k))
			return false;
	}
	return true;
}

/* Identities and versions of these buckets, as many buckets as one message holds; the rest waits for the next round. A
 * bucket that alone is too large goes cut: the other side then sends what it thinks we lack. */
static void send_keys(struct gossip_core *c, struct member *to, const uint8_t *mask, bool is_reply)
{
	uint8_t covered[WIRE_MASK_BYTES] = {0};
	unsigned int first = (unsigned int)core_random_below(c, WIRE_BUCKETS);
	struct wire_out o;

	if (!c->stream)
		c->stream = malloc(GOSSIP_STREAM_MAX);
	if (!c->stream)
		return;
	keys_begin(c, &o, covered, is_reply);
	for (unsigned int i = 0; i < WIRE_BUCKETS; i++) {
		unsigned int bucket = (first + i) % WIRE_BUCKETS;
		size_t len = o.b.len, count = o.list[0].count;

		if (!in_mask(mask, bucket))
			continue;
		if (!add_bucket(c, &o, bucket) && count > 0) {
			o.b.len = len;
			o.list[0].count = count;
			break;
		}
		covered[bucket / 8] |= (uint8_t)(1u << (bucket % 8));
	}
	/* The mask stands before the list: write it again, now that it is known. */
	wire_patch_mask(&o, covered);
	wire_list_end(&o);
	queue_packet(c, GOSSIP_STREAM, &to->card.addr, 1, c->stream, wire_end(&o));
}

void shared_on_buckets(struct gossip_core *c, struct member *from, const uint8_t *buckets)
{
	uint8_t sums[WIRE_BUCKETS * WIRE_BUCKET_BYTES], mask[WIRE_MASK_BYTES] = {0};
	bool differs = false;

	shared_bucket_sums(c, sums);
	for (unsigned int i = 0; i < WIRE_BUCKETS; i++) {
		if (memcmp(sums + i * WIRE_BUCKET_BYTES, buckets + i * WIRE_BUCKET_BYTES,
			   WIRE_BUCKET_BYTES) == 0)
			continue;
		mask[i / 8] |= (uint8_t)(1u << (i % 8));
		differs = true;
	}
	if (differs)
		send_keys(c, from, mask, false);
}

static void clear_bucket(uint8_t *mask, unsigned int bucket)
{
	mask[bucket / 8] &= (uint8_t) ~(1u << (bucket % 8));
}

/* Marks what they have, or newer. `same` keeps the buckets in which neither side has a version that the other lacks,
 * though their sums differ: a writer without memory has written one version twice. */
static void mark_known(struct gossip_core *c, const struct wire_msg *msg, uint32_t mark,
		       uint8_t same[WIRE_MASK_BYTES])
{
	struct wire_list l = msg->keys;
	struct wire_shared_key k;

	memcpy(same, msg->mask, WIRE_MASK_BYTES);
	while (wire_next_key(&l, &k)) {
		struct rec *r = record_scope_of(k.kind) == RECORD_SHARED
					? table_find(c, &k.writer, k.kind, k.key, k.key_len)
					: NULL;
		struct record v = {.seq = k.counter, .writer = k.writer};
		int d = r ? record_cmp_version(&r->blob->r, &v) : -1;

		if (d <= 0 && r)
			r->touch = mark;
		if (d < 0)
			clear_bucket(same, table_bucket_of(k.kind, k.key, k.key_len));
	}
	for (size_t i = 0; i < c->rec_count; i++)
		if (!c->recs[i]->origin && c->recs[i]->touch != mark)
			clear_bucket(same, bucket_of(c->recs[i]));
}

void shared_on_keys(struct gossip_core *c, struct member *from, const struct wire_msg *msg)
{
	uint8_t same[WIRE_MASK_BYTES];
	uint32_t mark = ++c->touch;
	struct sync_run run;

	if (!msg->mask)
		return;
	mark_known(c, msg, mark, same);
	sync_lag_begin(c, from);
	sync_run_begin(&run, c, from);
	for (size_t i = 0; i < c->rec_count && !run.is_over; i++) {
		const struct rec *r = c->recs[i];

		if (!r->origin && in_mask(msg->mask, bucket_of(r)) &&
		    (r->touch != mark || in_mask(same, bucket_of(r))) &&
		    sync_run_record(&run, &r->blob->r))
			from->lag.shared++;
	}
	sync_run_flush(&run);
	if (!(msg->flags & WIRE_F_REPLY))
		send_keys(c, from, msg->mask, true);
}
