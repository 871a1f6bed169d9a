/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Shared records that gossip itself understands: removals of nodes, and the floor of tombstones.
 *
 * A tombstone of a shared record may go when nobody holds an older version any more. A node that says that it has the very
 * shared records that we have (`standing` on probes), has them; what it writes later has a higher counter than all of them.
 * So when every node, away or not, has said so since we took a tombstone, all have it; and when all have said so with
 * counters up to n known, no other tombstone up to n will ever come. Then the lowest node that lives writes a floor, n, and
 * everyone drops those tombstones that it lists, and takes none up to it again. What is up to it and not listed, its writer has
 * never had: it was written by, or came from, somebody who was alone and had lost the count; it is written again under a new
 * counter. Every node: the members, and who ever wrote an own
 * record; these records, heads at least, outlive memories of members, and `standing` says that we know of the same ones, in
 * the same lives: a word given in a former life counts no more.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"

#define FLOOR_EVERY_MS 1000
#define FLOOR_LIST_MAX 128 /* tombstones that one floor lets go; 4 bytes each of its value */
#define STRAND_MS                                                                                  \
	1000 /* one that is no floor's to drop is written again after 1 to 5 s: the first one does it for all */
#define STRAND_JITTER_MS 4000
#define STRANDS_AT_ONCE 32

static const char hex[] = "0123456789abcdef";

static void hex_key(const struct node_id *id, uint8_t key[2 * NODE_ID_BYTES])
{
	for (size_t i = 0; i < NODE_ID_BYTES; i++) {
		key[2 * i] = (uint8_t)hex[id->b[i] >> 4];
		key[2 * i + 1] = (uint8_t)hex[id->b[i] & 15];
	}
}

static bool id_of_key(const struct record *r, struct node_id *ret_id)
{
	if (r->key_len != 2 * NODE_ID_BYTES)
		return false;
	for (size_t i = 0; i < r->key_len; i++) {
		const char *digit = memchr(hex, r->key[i], 16);

		if (!digit)
			return false;
		ret_id->b[i / 2] = (uint8_t)(ret_id->b[i / 2] << 4 | (digit - hex));
	}
	return true;
}

/* ---- removals */

bool table_is_removed(const struct gossip_core *c, const struct node_id *id)
{
	uint8_t key[2 * NODE_ID_BYTES];
	struct rec *r;

	if (c->removals == 0)
		return false;
	hex_key(id, key);
	r = table_find(c, id, RECORD_KIND_REMOVAL, key, sizeof(key));
	return r && !r->blob->r.is_tombstone;
}

/* Nobody takes shared records from who was removed, for it may hold what all others have forgotten: neither shall it keep
 * them. What stands comes back by comparing. */
static void forget_shared(struct gossip_core *c, const struct rec *removal)
{
	size_t i = 0;

	while (i < c->rec_count) {
		struct rec *r = c->recs[i];

		/* The last one takes the place of one that goes. */
		if (r->origin || r == removal)
			i++;
		else
			table_drop(c, r);
	}
}

/* A removal came into force or was lifted. Our own records are kept, but count no more. */
static void note_removal(struct gossip_core *c, const struct rec *e, enum table_source source)
{
	const struct record *r = &e->blob->r;
	struct node_id id;
	struct origin *o;

	if (!id_of_key(r, &id))
		return;
	o = table_origin(c, &id);
	if (!o)
		return;
	if (o != c->own) {
		if (!r->is_tombstone)
			table_drop_origin(c, o);
		return;
	}
	if (o->is_removed == !r->is_tombstone)
		return;
	o->is_removed = !r->is_tombstone;
	origin_standing(c, o);
	if (o->is_removed)
		digest_sub(&c->root, &o->sum);
	else
		digest_add(&c->root, &o->sum);
	if (o->is_removed && source != TABLE_LOADED)
		forget_shared(c, e);
}

/* ---- the floor */

bool floor_decode(const struct record *r, struct floor *ret_floor)
{
	struct floor f = {0};
	struct mp_reader m;
	const char *key;
	size_t pairs, len;

	mp_reader_init(&m, r->value, r->value_len);
	if (r->is_tombstone || mp_read_map(&m, 16, &pairs))
		return false;
	while (pairs-- > 0) {
		if (mp_read_str(&m, 16, &key, &len))
			return false;
		if (len == 2 && memcmp(key, "to", 2) == 0) {
			if (mp_read_uint(&m, RECORD_SEQ_MAX, &f.to))
				return false;
		} else if (len == 4 && memcmp(key, "list", 4) == 0) {
			if (mp_read_bin(&m, RECORD_VALUE_MAX, &f.list, &f.list_len))
				return false;
		} else if (mp_skip(&m)) {
			return false;
		}
	}
	*ret_floor = f;
	return f.to < r->seq; /* so that deleting goes on above it */
}

static void put_mark(const struct rec *r, uint8_t mark[4])
{
	for (unsigned int i = 0; i < 4; i++)
		mark[i] = (uint8_t)(r->hash.w[0] >> (8 * i));
}

static bool is_listed(const struct floor *f, const struct rec *r)
{
	uint8_t mark[4];

	put_mark(r, mark);
	for (size_t i = 0; i + 4 <= f->list_len; i += 4)
		if (memcmp(f->list + i, mark, 4) == 0)
			return true;
	return false;
}

bool shared_is_sane(const struct record *r)
{
	uint8_t key[2 * NODE_ID_BYTES];

	if (r->kind != RECORD_KIND_FLOOR)
		return true;
	hex_key(&r->writer, key);
	return r->key_len == sizeof(key) && memcmp(r->key, key, sizeof(key)) == 0;
}

bool shared_is_collected(const struct gossip_core *c, const struct record *r, const struct rec *e,
			 enum table_source source)
{
	if (e || record_scope_of(r->kind) != RECORD_SHARED || r->seq > c->floor)
		return false;
	/* News that lay about while we, or who sent it, stood still. Who lacks a living one up to the floor has just come, and
	 * is given it by comparing; so is everyone what somebody wrote who was alone and had lost the count. */
	return source == TABLE_HEARD || (source == TABLE_SYNCED && r->is_tombstone);
}

static bool is_below(const struct gossip_core *c, const struct rec *r)
{
	return !r->origin && r->blob->r.is_tombstone && r->blob->r.seq <= c->floor;
}

static void strand(struct gossip_core *c)
{
	if (c->strand_ms == 0)
		c->strand_ms = c->now_ms + STRAND_MS + core_random_below(c, STRAND_JITTER_MS);
}

static void take_floor(struct gossip_core *c, const struct floor *f)
{
	size_t i = 0;

	if (f->to > c->floor)
		c->floor = f->to;
	while (i < c->rec_count) {
		struct rec *r = c->recs[i];

		/* The last one takes the place of one that goes. */
		if (is_below(c, r) && is_listed(f, r)) {
			table_drop(c, r);
			continue;
		}
		if (is_below(c, r))
			strand(c);
		i++;
	}
}

static void write_stranded(struct gossip_core *c)
{
	unsigned int written = 0;

	if (c->strand_ms == 0 || c->now_ms < c->strand_ms)
		return;
	c->strand_ms = 0;
	/* A new version keeps its place. */
	for (size_t i = 0; i < c->rec_count; i++) {
		if (!is_below(c, c->recs[i]))
			continue;
		if (written++ == STRANDS_AT_ONCE || own_write_again(c, &c->recs[i]->blob->r)) {
			c->strand_ms = c->now_ms + STRAND_MS;
			return;
		}
	}
}

void shared_note(struct gossip_core *c, struct rec *e, enum table_source source)
{
	const struct record *r = &e->blob->r;
	struct floor f;

	if (r->kind == RECORD_KIND_REMOVAL) {
		note_removal(c, e, source);
	} else if (r->kind == RECORD_KIND_FLOOR) {
		if (floor_decode(r, &f))
			take_floor(c, &f);
	} else if (is_below(c, e)) {
		strand(c); /* it has deleted what we held, and others won't take it */
	}
}

/* ---- who has what */

void shared_confirm(struct gossip_core *c, struct member *m)
{
	if (c->own->is_removed || table_is_removed(c, &m->id))
		return;
	m->has_arrival = c->arrivals;
	m->has_top = c->shared_top;
	m->has_life = origin_life(c, &m->id);
}

/* Who had our records the longest time ago, of members and of all who ever wrote a record; NULL: there is no other. */
static const struct node_id *find_last(const struct gossip_core *c, uint64_t *ret_arrival,
				       uint64_t *ret_top)
{
	const struct node_id *last = NULL;
	struct origin *o, *next;

	*ret_arrival = *ret_top = UINT64_MAX;
	HASH_ITER(hh, c->origins, o, next)
	{
		if (o == c->own || o->stored_count == 0 || member_get(c, &o->id))
			continue;
		*ret_arrival = *ret_top = 0;
		last = &o->id;
	}
	for (size_t i = 0; i < c->ring_count; i++) {
		const struct member *m = c->ring[i];
		/* Started anew, it may have lost its disk, and learned from somebody who was away. */
		bool is_same = m->has_life == origin_life(c, &m->id);
		uint64_t has_arrival = is_same ? m->has_arrival : 0;
		uint64_t has_top = is_same ? m->has_top : 0;

		if (m->is_self || table_is_removed(c, &m->id))
			continue;
		if (!last || has_arrival < *ret_arrival) {
			*ret_arrival = has_arrival;
			last = &m->id;
		}
		if (has_top < *ret_top)
			*ret_top = has_top;
	}
	return last;
}

static int cmp_seq(const void *a, const void *b)
{
	uint64_t x = (*(struct rec *const *)a)->blob->r.seq;
	uint64_t y = (*(struct rec *const *)b)->blob->r.seq;

	return x < y ? -1 : x > y;
}

/* The oldest tombstones that may go; the newest half of what is allowed stays. Returns how many. */
static size_t find_floor(const struct gossip_core *c, struct rec **list, uint64_t *ret_to)
{
	uint64_t arrival, to;
	size_t n = 0, count = 0;

	if (!find_last(c, &arrival, &to))
		return 0; /* alone: who knows what we have forgotten */
	for (size_t i = 0; i < c->rec_count; i++)
		if (!c->recs[i]->origin && c->recs[i]->blob->r.is_tombstone)
			list[n++] = c->recs[i];
	qsort(list, n, sizeof(*list), cmp_seq);
	while (count < FLOOR_LIST_MAX && count + CORE_TOMBSTONES_MAX / 2 < n &&
	       list[count]->arrival <= arrival && list[count]->blob->r.seq <= to)
		count++;
	/* Of those with one counter all or none. */
	while (count > 0 && count < n && list[count]->blob->r.seq == list[count - 1]->blob->r.seq)
		count--;
	if (count > 0)
		*ret_to = list[count - 1]->blob->r.seq;
	return count;
}

/* All that live have our last floor, so that none misses what it lists. */
static bool is_floor_known(const struct gossip_core *c)
{
	uint8_t key[2 * NODE_ID_BYTES];
	const struct rec *r;

	hex_key(&c->self->id, key);
	r = table_find(c, &c->self->id, RECORD_KIND_FLOOR, key, sizeof(key));
	for (size_t i = 0; r && i < c->ring_count; i++)
		if (!c->ring[i]->is_self && c->ring[i]->state == GOSSIP_ALIVE &&
		    c->ring[i]->has_arrival < r->arrival && !table_is_removed(c, &c->ring[i]->id))
			return false;
	return true;
}

static bool is_lowest_alive(const struct gossip_core *c)
{
	for (size_t i = 0; i < c->ring_count && !c->ring[i]->is_self; i++)
		if (c->ring[i]->state == GOSSIP_ALIVE && !table_is_removed(c, &c->ring[i]->id))
			return false;
	return true;
}

static void write_floor(struct gossip_core *c, struct rec *const *list, size_t count, uint64_t to)
{
	uint8_t key[2 * NODE_ID_BYTES], marks[4 * FLOOR_LIST_MAX], value[sizeof(marks) + 32];
	struct mp_buf b = {.p = value, .cap = sizeof(value)};
	msgpack_packer pk;

	for (size_t i = 0; i < count; i++)
		put_mark(list[i], marks + 4 * i);
	hex_key(&c->self->id, key);
	msgpack_packer_init(&pk, &b, mp_buf_write);
	msgpack_pack_map(&pk, 2);
	msgpack_pack_str_with_body(&pk, "to", 2);
	msgpack_pack_uint64(&pk, to);
	msgpack_pack_str_with_body(&pk, "list", 4);
	msgpack_pack_bin_with_body(&pk, marks, 4 * count);
	/* Without memory for it: at the next look. */
	(void)own_write(c, RECORD_KIND_FLOOR, key, sizeof(key), value, b.len, false, false);
}

void shared_tick(struct gossip_core *c)
{
	struct rec **list;
	size_t count;
	uint64_t to;

	write_stranded(c);
	if (c->now_ms < c->floor_ms)
		return;
	c->floor_ms = c->now_ms + FLOOR_EVERY_MS;
	/* Of the nodes of other regions nobody here knows what they have. */
	if (gossip_core_region_count(c) > 1)
		return;
	if (c->shared_tombstones <= CORE_TOMBSTONES_MAX || c->own->is_removed ||
	    (c->seed_count > 0 && !c->is_joined) || !is_lowest_alive(c) || !is_floor_known(c))
		return;
	list = malloc(c->shared_tombstones * sizeof(struct rec *));
	if (!list)
		return;
	count = find_floor(c, list, &to);
	if (count > 0)
		write_floor(c, list, count, to);
	free(list);
}

void gossip_core_shared(const struct gossip_core *c, struct gossip_shared *ret_shared)
{
	uint64_t arrival, top;
	const struct node_id *last = find_last(c, &arrival, &top);

	*ret_shared = (struct gossip_shared){.tombstones = c->shared_tombstones, .floor = c->floor};
	if (c->shared_tombstones <= CORE_TOMBSTONES_MAX || !last || arrival == c->arrivals)
		return;
	ret_shared->is_waiting = true;
	ret_shared->whom = *last;
}
