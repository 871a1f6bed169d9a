/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Messages between regions, and what they bring. */
#include <string.h>

#include "gossip/dissem.h"
#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"
#include "gossip/suspect.h"
#include "gossip/suspect_probe.h"
#include "gossip/sync.h"
#include "gossip/version.h"

#define RTT_SHIFT 3
#define NEW_MS 10000 /* of a region that was heard of so lately more is passed on */
#define RUMOURS 4
#define DIFFERS_MS 1500 /* what differs between two regions must do so for so long */
#define SHARED_EVERY_MS 500
#define SHARED_PEER_MS 2000

void region_send(struct gossip_core *c, struct wire_out *o, const struct gossip_addr *to,
		 size_t to_count)
{
	c->n.region_dgrams_out += to_count;
	dissem_send(c, o, to, to_count);
}

/* ---- what we say */

static uint64_t own_cards_hash(const struct gossip_core *c)
{
	struct member *low[REGION_SPEAKERS];
	size_t count = region_lowest(c, low);
	uint64_t h = 1;

	for (size_t i = 0; i < count; i++)
		core_fnv(&h, &low[i]->card_hash, sizeof(low[i]->card_hash));
	return h;
}

static void add_own_cards(struct gossip_core *c, struct wire_out *o, bool is_self)
{
	struct member *low[REGION_SPEAKERS];
	size_t count = region_lowest(c, low);

	if (is_self)
		(void)wire_add_card(o, &c->self->card);
	for (size_t i = 0; i < count; i++)
		if (low[i]->has_card && (!is_self || !low[i]->is_self))
			(void)wire_add_card(o,
					    &low[i]->card); /* what doesn't fit comes next time */
}

/* One of a third region, another each time: so all come to hear of all regions. Of regions that we have known for a short time
 * more, heard or not: when all start at once, a tunnel that must open first stands between each of them and the next. */
static void add_rumours(struct gossip_core *c, struct wire_out *o, const struct region *not_of)
{
	struct regions *rs = c->regions;
	size_t start = core_random_below(c, rs->count * REGION_SLOTS), n = 0;

	for (size_t tries = 0; tries < rs->count * REGION_SLOTS && n < RUMOURS; tries++) {
		size_t at = (start + tries) % (rs->count * REGION_SLOTS);
		const struct region *r = rs->r[at % rs->count];
		const struct region_slot *s = &r->slot[at / rs->count];
		bool is_new = c->now_ms < r->since_ms + NEW_MS;

		if (r == rs->r[0] || r == not_of || !s->m || table_is_removed(c, &s->m->id))
			continue;
		if (!is_new && (n > 0 || !region_is_heard(c, s)))
			continue;
		if (!wire_add_card(o, &s->m->card))
			return;
		n++;
	}
}

static void add_cards_of(struct wire_out *o, const struct region *r, const struct node_id *not_id)
{
	for (size_t i = 0; i < REGION_SLOTS; i++)
		if (r->slot[i].m && node_id_cmp(&r->slot[i].m->id, not_id) != 0)
			(void)wire_add_card(o, &r->slot[i].m->card);
}

static void add_state(struct gossip_core *c, struct wire_out *o)
{
	const struct rec *e = region_word_of(c, &c->self->id, REGION_KEY_STATE);

	wire_list_begin(o, WIRE_K_RECORDS);
	if (e && c->regions->rank >= 0)
		(void)wire_add_record(o, &e->blob->r);
	wire_list_end(o);
}

static void begin(struct gossip_core *c, struct wire_out *o, uint64_t cookie, unsigned int flags,
		  const struct region *about)
{
	uint64_t digest = 0;
	struct wire_region x;
	uint8_t root[16];

	version_begin(c, o, c->dgram, sizeof(c->dgram), WIRE_REGION);
	wire_put_cookie(o, cookie);
	region_shared_root(c, root);
	wire_put_digest(o, root, 0, 0, &digest);
	if (flags)
		wire_put_flags(o, flags);
	wire_list_begin(o, WIRE_K_REGIONS);
	x = region_describe(c, c->regions->r[0]);
	(void)wire_add_region(o, &x); /* first in the packet: fit */
	if (about && about != c->regions->r[0]) {
		x = region_describe(c, about);
		(void)wire_add_region(o, &x);
	}
	wire_list_end(o);
	add_state(c, o);
}

void region_hello(struct gossip_core *c, struct region *r, struct region_slot *s)
{
	bool is_stranger = s->m->heard_ms == 0 || s->told_cards == 0;
	uint64_t hash = own_cards_hash(c);
	struct wire_out o;

	s->cookie = core_random(c);
	s->sent_ms = c->now_ms;
	begin(c, &o, s->cookie, is_stranger ? WIRE_F_STRANGER : 0, r);
	wire_list_begin(&o, WIRE_K_CARDS);
	if (hash != s->told_cards)
		add_own_cards(c, &o, true);
	add_rumours(c, &o, r);
	wire_list_end(&o);
	s->sent_cards = hash;
	c->n.probes_sent++;
	region_send(c, &o, &s->m->card.addr, 1);
}

/* `s` NULL: we keep no place for it. */
static void answer(struct gossip_core *c, struct region *r, const struct node_id *id,
		   const struct gossip_addr *addr, const struct wire_msg *msg)
{
	struct wire_out o;

	begin(c, &o, msg->cookie, WIRE_F_REPLY, r);
	wire_list_begin(&o, WIRE_K_CARDS);
	if (msg->flags & WIRE_F_STRANGER) {
		add_own_cards(c, &o, true);
		if (r)
			add_cards_of(&o, r, id);
		add_rumours(c, &o, r);
	}
	wire_list_end(&o);
	region_send(c, &o, addr, 1);
}

/* ---- what we hear */

static void measure(struct gossip_core *c, struct region_slot *s)
{
	uint64_t us = (c->now_ms - s->sent_ms) * 1000 + 500;

	if (us > UINT32_MAX / 16)
		us = UINT32_MAX / 16;
	s->m->rtt_us =
		s->m->rtt_us
			? (uint32_t)((((uint64_t)s->m->rtt_us << RTT_SHIFT) - s->m->rtt_us + us) >>
				     RTT_SHIFT)
			: (uint32_t)us;
	reach_on_sample(c, s->m, false);
}

static void heard(struct gossip_core *c, struct region *r, struct region_slot *s)
{
	s->m->heard_ms = r->heard_ms = c->now_ms;
}

/* Cards of our own region lead to others of it: how else would the first of them meet? */
static void take_cards(struct gossip_core *c, const struct wire_msg *msg)
{
	struct wire_list l = msg->cards;
	struct wire_card card;
	struct member *m;

	while (wire_next_card(&l, &card)) {
		if (!region_is_own(c, card.region))
			region_offer_card(c, &card);
		else if (member_offer_card(c, &card, NULL, &m) == CARD_NEW && m)
			suspect_challenge(c, &card.addr);
	}
}

static void take_records(struct gossip_core *c, const struct node_id *from,
			 const struct wire_msg *msg)
{
	bool is_removed = table_is_removed(c, from);
	struct wire_list l = msg->records;
	struct record r;

	while (wire_next_record(&l, &r)) {
		c->cfg.signer.id_of(c->cfg.signer.arg, r.pub, &r.writer);
		if (r.kind == REGION_KIND)
			(void)region_offer_state(c, &r);
		else if (!is_removed && record_scope_of(r.kind) == RECORD_SHARED)
			(void)table_offer(c, &r,
					  msg->type == WIRE_DELTA ? TABLE_SYNCED : TABLE_HEARD, 0);
		else
			c->n.refused_records++;
	}
}

static void take_entries(struct gossip_core *c, const struct node_id *from,
			 const struct gossip_addr *addr, const struct wire_msg *msg)
{
	struct wire_list l = msg->regions;
	struct wire_region x;

	while (wire_next_region(&l, &x))
		region_on_entry(c, &x, from, addr);
}

/* Have they the shared records that we have? */
static void compare_shared(struct gossip_core *c, struct region_slot *s, const struct wire_msg *msg)
{
	uint8_t root[16], sums[WIRE_BUCKETS * WIRE_BUCKET_BYTES];
	struct member *m = s->m;
	struct wire_out o;

	region_shared_root(c, root);
	if (memcmp(root, msg->root, sizeof(root)) == 0) {
		m->differs_since_ms = 0;
		return;
	}
	if (!m->differs_since_ms)
		m->differs_since_ms = c->now_ms;
	if (c->now_ms < m->differs_since_ms + DIFFERS_MS ||
	    c->now_ms < m->sync_ms + SHARED_PEER_MS ||
	    c->now_ms < c->regions->shared_ms + SHARED_EVERY_MS || c->own->is_removed)
		return;
	m->sync_ms = c->regions->shared_ms = c->now_ms;
	if (!c->stream)
		c->stream = malloc(GOSSIP_STREAM_MAX);
	if (!c->stream)
		return;
	version_begin(c, &o, c->stream, GOSSIP_STREAM_MAX, WIRE_SYNC);
	shared_bucket_sums(c, sums);
	wire_put_buckets(&o, sums);
	queue_packet(c, GOSSIP_STREAM, &m->card.addr, 1, c->stream, wire_end(&o));
}

static void on_region(struct gossip_core *c, struct region *r, struct region_slot *s,
		      const struct node_id *id, const struct gossip_addr *addr,
		      const struct wire_msg *msg)
{
	bool is_reply = msg->flags & WIRE_F_REPLY;

	if (s && is_reply && msg->has_cookie && msg->cookie == s->cookie) {
		measure(c, s);
		s->cookie = 0;
		s->told_cards = s->sent_cards;
	}
	take_entries(c, id, addr, msg);
	if (s && msg->has_digest)
		compare_shared(c, s, msg);
	if (msg->flags & WIRE_F_WANT)
		region_on_wants(c, msg, addr);
	if (msg->has_cookie && !is_reply)
		answer(c, r, id, addr, msg);
}

/* The sender's own card, if it shows one: of which region is it? */
static bool find_card(struct gossip_core *c, const struct wire_msg *msg, const struct node_id *id,
		      struct wire_card *ret_card)
{
	struct wire_list l = msg->cards;
	struct node_id x;

	while (wire_next_card(&l, ret_card)) {
		c->cfg.signer.id_of(c->cfg.signer.arg, ret_card->pub, &x);
		if (node_id_cmp(&x, id) == 0)
			return true;
	}
	return false;
}

/* Between regions nobody becomes a member, so nobody is challenged: it would go on for ever. */
static bool on_member_talk(struct gossip_core *c, const struct gossip_sender *sender,
			   const struct gossip_addr *from, const struct wire_msg *msg)
{
	struct wire_card card;
	struct region *r;

	if (find_card(c, msg, &sender->id, &card)) {
		if (region_is_own(c, card.region))
			return false;
		if (msg->type == WIRE_PROBE || (msg->type == WIRE_ACK && msg->has_cookie &&
						suspect_is_awaited(c, msg->cookie)))
			region_offer_card(c, &card);
	} else if (!region_slot_of(c, &sender->id, &r)) {
		return false;
	}
	if (msg->type == WIRE_PROBE && msg->has_cookie)
		suspect_ack_stranger(c, from, msg->cookie);
	return true;
}

static bool is_of_regions(const struct wire_msg *msg)
{
	return msg->type == WIRE_REGION || msg->type == WIRE_SUMMARY || msg->type == WIRE_SYNC ||
	       msg->type == WIRE_KEYS || msg->type == WIRE_DELTA;
}

bool region_on_stranger(struct gossip_core *c, enum gossip_via via,
			const struct gossip_sender *sender, const struct gossip_addr *from,
			const struct wire_msg *msg)
{
	struct region *r = NULL;
	struct region_slot *s;
	struct wire_card card;

	if (!is_of_regions(msg))
		return via == GOSSIP_DGRAM && on_member_talk(c, sender, from, msg);
	if (table_is_removed(c, &sender->id))
		return true;
	c->regions->is_foreign = true;
	if (find_card(c, msg, &sender->id, &card)) {
		if (region_is_own(c, card.region)) {
			c->regions->is_foreign = false;
			return false; /* it has just come: let it show that it is there */
		}
		region_offer_card(c, &card);
		r = region_find(c, card.region);
	}
	s = region_slot_of(c, &sender->id, &r);
	/* The others' cards may take the place of who was not heard. */
	if (s) {
		heard(c, r, s);
		take_records(c, &sender->id, msg);
		if (msg->type == WIRE_REGION && msg->has_cookie && msg->records.count == 0)
			region_unspoken(c, s);
	}
	take_cards(c, msg);
	s = region_slot_of(c, &sender->id, &r);
	if (via == GOSSIP_STREAM)
		c->n.streams_in++;
	else
		c->n.dgrams_in++;
	if (msg->type == WIRE_REGION)
		on_region(c, r, s, &sender->id, from, msg);
	else if (s && msg->type == WIRE_SUMMARY && msg->has_summary &&
		 strcmp(r->name, msg->summary.region) == 0)
		region_on_chunk(c, r, &sender->id, &msg->summary);
	else if (s && msg->type == WIRE_SYNC && msg->buckets)
		shared_on_buckets(c, s->m, msg->buckets);
	else if (s && msg->type == WIRE_KEYS)
		shared_on_keys(c, s->m, msg);
	c->regions->is_foreign = false;
	return true;
}

void region_on_message(struct gossip_core *c, struct member *from, const struct gossip_addr *addr,
		       const struct wire_msg *msg)
{
	struct wire_list l = msg->records;
	struct record r;

	/* It gave the cards as news, before. Of ours there are views, of others states. */
	while (wire_next_record(&l, &r)) {
		c->cfg.signer.id_of(c->cfg.signer.arg, r.pub, &r.writer);
		if (r.kind == REGION_KIND && member_get(c, &r.writer))
			(void)table_offer(c, &r, TABLE_SYNCED, 0);
		else
			(void)region_offer_state(c, &r);
	}
	if (msg->type == WIRE_REGION) {
		/* A mate that takes us for another region's is answered as by one. */
		on_region(c, c->regions->r[0], NULL, &from->id, addr, msg);
		return;
	}
	if (msg->has_summary) {
		struct region *region = region_find(c, msg->summary.region);

		if (!region && (msg->summary.region[0]))
			region = region_get(c, msg->summary.region);
		if (region && region != c->regions->r[0])
			region_on_chunk(c, region, &from->id, &msg->summary);
		return;
	}
	region_on_list(c, from, msg);
}

/* ---- modes */

void region_note_mode(struct gossip_core *c, struct member *from,
		      const struct gossip_sender *sender, const struct gossip_addr *addr,
		      const struct wire_msg *msg)
{
	struct gossip_mismatch x = {.id = sender->id, .addr = *addr, .heard_ms = c->now_ms};
	bool has = msg->has_regions, is_other;

	if (msg->type == WIRE_REGION || msg->type == WIRE_SUMMARY)
		has = true;
	else if ((msg->type != WIRE_PROBE && msg->type != WIRE_ACK) || !msg->has_digest)
		return;
	is_other = has != (c->regions != NULL);
	if (from)
		from->has_other_mode = is_other;
	if (!is_other) {
		core_match(c, &sender->id);
		return;
	}
	c->n.mode_mismatches++;
	core_mismatch(c, &x);
}
