/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Values in chunks, asked for and passed on; lists compared within a region. */
#include <stdlib.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"
#include "gossip/sync.h"
#include "gossip/version.h"

#define CHUNK_BYTES 61440
#define ASK_MS 700
#define STALLED_MS 3000 /* what comes in parts may stop so long */
#define ANNOUNCE_TO 6	/* by each who has it: one in 400 is told by nobody; of four, one in 55 */
#define COMPARE_MS 500	/* lists are compared at most so often */
#define DIFFERS_MS 600	/* and when digests differ for so long */

struct wire_region region_describe(const struct gossip_core *c, const struct region *r)
{
	const struct region_slot *s = region_counting(r);
	struct wire_region x = {.len = r->value ? r->value->len : 0};

	memcpy(x.name, r->name, sizeof(x.name));
	if (r->value)
		x.version = r->version;
	if (s) {
		x.speaker = s->m->id;
		x.generation = s->state->r.generation;
		x.seq = s->state->r.seq;
		x.cards = region_cards_hash(c, r);
	}
	return x;
}

static bool stream_begin(struct gossip_core *c, struct wire_out *o)
{
	if (!c->stream)
		c->stream = malloc(GOSSIP_STREAM_MAX);
	if (c->stream)
		version_begin(c, o, c->stream, GOSSIP_STREAM_MAX, WIRE_SUMMARY);
	return c->stream != NULL;
}

static bool has_version(const struct wire_region *x)
{
	static const struct gossip_version none;

	return memcmp(&x->version, &none, sizeof(none)) != 0;
}

/* ---- values */

void region_send_value(struct gossip_core *c, const struct region *r, const struct gossip_addr *to)
{
	struct wire_summary s = {.version = r->version, .total = r->value->len};
	struct wire_out o;

	memcpy(s.region, r->name, sizeof(s.region));
	do {
		s.data = r->value->bytes + s.offset;
		s.len = r->value->len - s.offset < CHUNK_BYTES ? r->value->len - s.offset
							       : CHUNK_BYTES;
		if (!stream_begin(c, &o))
			return;
		wire_put_summary(&o, &s);
		queue_packet(c, GOSSIP_STREAM, to, 1, c->stream, wire_end(&o));
		s.offset += s.len;
	} while (s.offset < s.total);
	c->n.summaries_out++;
}

static void in_drop(struct region *r)
{
	region_value_unref(r->in.value);
	memset(&r->in, 0, sizeof(r->in));
}

static bool in_begin(struct gossip_core *c, struct region *r, const struct node_id *from,
		     const struct wire_summary *s)
{
	/* Another one is under way: let it come, unless this is newer or that has stopped. */
	if (r->in.value && c->now_ms < r->in.at_ms + STALLED_MS &&
	    gossip_version_cmp(&s->version, &r->in.version) <= 0 &&
	    node_id_cmp(&r->in.from, from) != 0)
		return false;
	in_drop(r);
	r->in.value = malloc(sizeof(*r->in.value) + s->total);
	if (!r->in.value)
		return false;
	r->in.value->refs = 1;
	r->in.value->len = s->total;
	r->in.version = s->version;
	r->in.from = *from;
	return true;
}

void region_on_chunk(struct gossip_core *c, struct region *r, const struct node_id *from,
		     const struct wire_summary *s)
{
	struct region_value *v;
	struct gossip_version version;
	uint8_t hash[8];

	if (r->value && gossip_version_cmp(&s->version, &r->version) <= 0)
		return;
	if (s->offset == 0 && !in_begin(c, r, from, s))
		return;
	if (!r->in.value || node_id_cmp(&r->in.from, from) != 0 ||
	    gossip_version_cmp(&r->in.version, &s->version) != 0 || r->in.value->len != s->total ||
	    r->in.got != s->offset)
		return;
	if (s->len > 0)
		memcpy(r->in.value->bytes + s->offset, s->data, s->len);
	r->in.got += s->len;
	r->in.at_ms = c->now_ms;
	if (r->in.got < s->total)
		return;
	v = r->in.value;
	version = r->in.version;
	memset(&r->in, 0, sizeof(r->in));
	region_hash_value(c, v->bytes, v->len, hash);
	if (memcmp(hash, version.hash, sizeof(hash)) != 0) {
		c->n.bad_dgrams++;
		region_value_unref(v);
		return;
	}
	c->n.summaries_in++;
	if (region_take(c, r, &version, v, from))
		region_announce(c, r, from);
}

/* ---- who has more */

void region_ask(struct gossip_core *c, struct region *r)
{
	struct wire_region x = region_describe(c, r);
	struct wire_out o;

	if (c->now_ms < r->ask_ms + ASK_MS || (r->in.value && c->now_ms < r->in.at_ms + ASK_MS))
		return;
	r->ask_ms = c->now_ms;
	version_begin(c, &o, c->dgram, sizeof(c->dgram), WIRE_REGION);
	wire_put_flags(&o, WIRE_F_WANT);
	wire_list_begin(&o, WIRE_K_REGIONS);
	(void)wire_add_region(&o, &x); /* an empty datagram has room */
	wire_list_end(&o);
	region_send(c, &o, &r->newest_at, 1);
}

void region_on_entry(struct gossip_core *c, const struct wire_region *x, const struct node_id *from,
		     const struct gossip_addr *addr)
{
	struct region *r;
	bool is_same;

	if (!has_version(x) || region_is_own(c, x->name))
		return;
	r = region_get(c, x->name);
	if (!r || (r->value && gossip_version_cmp(&x->version, &r->version) <= 0))
		return;
	/* The same value under a newer version: nothing need come. */
	is_same =
		r->value && memcmp(r->version.hash, x->version.hash, sizeof(x->version.hash)) == 0;
	if (is_same) {
		r->version = x->version;
		if (r->behind_ms && gossip_version_cmp(&r->version, &r->newest) >= 0)
			r->behind_ms = 0;
		return;
	}
	if (r->behind_ms && gossip_version_cmp(&x->version, &r->newest) < 0)
		return;
	if (!r->behind_ms)
		r->behind_ms = c->now_ms;
	if (gossip_version_cmp(&x->version, &r->newest) > 0 && !r->in.value)
		r->ask_ms = 0;
	r->newest = x->version;
	r->newest_from = *from;
	r->newest_at = *addr;
	region_ask(c, r);
}

void region_on_wants(struct gossip_core *c, const struct wire_msg *msg,
		     const struct gossip_addr *addr)
{
	struct wire_list l = msg->regions;
	struct wire_region x;
	const struct region *r;

	while (wire_next_region(&l, &x)) {
		r = region_find(c, x.name);
		if (r && r->value && gossip_version_cmp(&r->version, &x.version) > 0)
			region_send_value(c, r, addr);
	}
}

void region_announce(struct gossip_core *c, const struct region *r, const struct node_id *not_to)
{
	struct wire_region x = region_describe(c, r);
	struct gossip_addr to[ANNOUNCE_TO];
	const struct member *not_m = member_get(c, not_to), *last = NULL;
	struct wire_out o;
	size_t n = 0;

	while (n < ANNOUNCE_TO) {
		const struct member *m = member_random_alive(c, not_m, last);

		if (!m)
			break;
		last = m;
		to[n++] = m->card.addr;
	}
	version_begin(c, &o, c->dgram, sizeof(c->dgram), WIRE_REGION);
	wire_list_begin(&o, WIRE_K_REGIONS);
	(void)wire_add_region(&o, &x); /* an empty datagram has room */
	wire_list_end(&o);
	if (n > 0)
		region_send(c, &o, to, n);
}

void region_tell_inside(struct gossip_core *c, struct region *r)
{
	const struct region_slot *s = region_counting(r);
	struct gossip_addr to[GOSSIP_FANOUT_MAX];
	struct wire_out o;
	size_t n;

	version_begin(c, &o, c->dgram, sizeof(c->dgram), WIRE_REGION);
	wire_list_begin(&o, WIRE_K_CARDS);
	(void)wire_add_card(&o, &s->m->card); /* an empty datagram has room for it and the record */
	wire_list_end(&o);
	wire_list_begin(&o, WIRE_K_RECORDS);
	(void)wire_add_record(&o, &s->state->r);
	wire_list_end(&o);
	n = member_live_addrs(c, NULL, to, CORE_FANOUT);
	if (n > 0)
		region_send(c, &o, to, n);
}

/* ---- lists compared within the region */

static void send_list(struct gossip_core *c, struct member *to, bool is_reply)
{
	struct wire_out o;

	if (!stream_begin(c, &o))
		return;
	wire_put_flags(&o, WIRE_F_LIST | (is_reply ? WIRE_F_REPLY : 0u));
	wire_list_begin(&o, WIRE_K_REGIONS);
	for (size_t i = 1; i < c->regions->count; i++) {
		struct wire_region x = region_describe(c, c->regions->r[i]);

		(void)wire_add_region(&o, &x); /* all fit */
	}
	wire_list_end(&o);
	queue_packet(c, GOSSIP_STREAM, &to->card.addr, 1, c->stream, wire_end(&o));
}

void region_on_digest(struct gossip_core *c, struct member *from, uint64_t digest)
{
	if (digest == region_digest(c)) {
		from->regions_differ_ms = 0;
		return;
	}
	if (!from->regions_differ_ms)
		from->regions_differ_ms = c->now_ms;
	if (c->now_ms < from->regions_differ_ms + DIFFERS_MS ||
	    c->now_ms < c->regions->compare_ms + COMPARE_MS)
		return;
	c->regions->compare_ms = c->now_ms;
	from->regions_differ_ms = c->now_ms; /* not with the same one at once */
	send_list(c, from, false);
}

static const struct wire_region *find_entry(const struct wire_region *list, size_t count,
					    const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].name, name) == 0)
			return &list[i];
	return NULL;
}

/* What it lacks of `r`, of which it said `x` (NULL: nothing). */
static bool is_word_newer(const struct region *r, const struct wire_region *x)
{
	const struct region_slot *s = region_counting(r);

	if (!s)
		return false;
	if (!x || node_id_cmp(&s->m->id, &x->speaker) != 0)
		return true;
	return s->state->r.generation != x->generation ? s->state->r.generation > x->generation
						       : s->state->r.seq > x->seq;
}

/* Another's word counts there than here: one of us lacks a view. */
static bool is_viewed_otherwise(const struct gossip_core *c, const struct wire_region *list,
				size_t count)
{
	for (size_t i = 1; i < c->regions->count; i++) {
		const struct region_slot *s = region_counting(c->regions->r[i]);
		const struct wire_region *x = find_entry(list, count, c->regions->r[i]->name);

		if (s && x && node_id_cmp(&s->m->id, &x->speaker) != 0)
			return true;
	}
	return false;
}

static void add_views(struct gossip_core *c, struct wire_out *o)
{
	struct member *low[REGION_SPEAKERS];
	size_t count = region_lowest(c, low);

	for (size_t i = 0; i < count; i++) {
		const struct rec *r = region_word_of(c, &low[i]->id, REGION_KEY_VIEW);

		if (r)
			(void)wire_add_record(o, &r->blob->r);
	}
}

static void send_lacking(struct gossip_core *c, struct member *to, const struct wire_region *list,
			 size_t count)
{
	struct regions *rs = c->regions;
	struct wire_out o;

	if (!stream_begin(c, &o))
		return;
	wire_list_begin(&o, WIRE_K_CARDS);
	for (size_t i = 1; i < rs->count; i++) {
		const struct wire_region *x = find_entry(list, count, rs->r[i]->name);

		if (x && x->cards == region_cards_hash(c, rs->r[i]) && !is_word_newer(rs->r[i], x))
			continue;
		for (size_t k = 0; k < REGION_SLOTS; k++)
			if (rs->r[i]->slot[k].m)
				(void)wire_add_card(&o, &rs->r[i]->slot[k].m->card);
	}
	wire_list_end(&o);
	wire_list_begin(&o, WIRE_K_RECORDS);
	for (size_t i = 1; i < rs->count; i++)
		if (is_word_newer(rs->r[i], find_entry(list, count, rs->r[i]->name)))
			(void)wire_add_record(&o, &region_counting(rs->r[i])->state->r);
	if (is_viewed_otherwise(c, list, count))
		add_views(c, &o);
	wire_list_end(&o);
	wire_list_begin(&o, WIRE_K_REGIONS);
	for (size_t i = 1; i < rs->count; i++) {
		const struct wire_region *x = find_entry(list, count, rs->r[i]->name);
		struct wire_region mine = region_describe(c, rs->r[i]);

		if (has_version(&mine) &&
		    (!x || gossip_version_cmp(&mine.version, &x->version) > 0))
			(void)wire_add_region(&o, &mine);
	}
	wire_list_end(&o);
	queue_packet(c, GOSSIP_STREAM, &to->card.addr, 1, c->stream, wire_end(&o));
}

void region_on_list(struct gossip_core *c, struct member *from, const struct wire_msg *msg)
{
	struct wire_region list[GOSSIP_REGIONS_MAX];
	struct wire_list l = msg->regions;
	size_t count = 0;

	while (count < GOSSIP_REGIONS_MAX && wire_next_region(&l, &list[count]))
		region_on_entry(c, &list[count++], &from->id, &from->card.addr);
	if (!(msg->flags & WIRE_F_LIST))
		return;
	send_lacking(c, from, list, count);
	if (!(msg->flags & WIRE_F_REPLY))
		send_list(c, from, true);
}
