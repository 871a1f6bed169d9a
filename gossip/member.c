/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/dissem.h"
#include "gossip/record_table.h"
#include "gossip/region.h"
#include "gossip/suspect.h"
#include "gossip/suspect_probe.h"
#include "gossip/sync.h"
#include "gossip/twin.h"
#include "gossip/version.h"

#define NUMBER_BYTES 4 /* the node number is the first bytes of the id */
#define CONFLICT_EVERY_MS 10000
#define AROUND 32 /* of those around one on the ring, so many stand before it */

struct member *member_get(const struct gossip_core *c, const struct node_id *id)
{
	struct member *m = NULL;

	HASH_FIND(hh, c->members, id, sizeof(*id), m);
	return m;
}

static bool addr_eq(const struct gossip_addr *a, const struct gossip_addr *b)
{
	return a->port == b->port && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool member_is_at(const struct member *m, const struct gossip_addr *addr)
{
	return addr_eq(&m->card.addr, addr);
}

struct member *member_by_addr(const struct gossip_core *c, const struct gossip_addr *addr)
{
	struct member *best = NULL;

	/* A dead node and its successor may share an address: prefer who lives. */
	for (size_t i = 0; i < c->ring_count; i++) {
		struct member *m = c->ring[i];

		if (addr_eq(&m->card.addr, addr) && (!best || m->state < best->state))
			best = m;
	}
	return best;
}

int member_cmp_version(const struct member *m, uint64_t generation, uint32_t incarnation)
{
	if (generation != m->card.generation)
		return generation < m->card.generation ? -1 : 1;
	if (incarnation != m->card.incarnation)
		return incarnation < m->card.incarnation ? -1 : 1;
	return 0;
}

/* ---- the set of cards has a digest, so that two nodes see when they know different members */

static uint64_t hash_card(const struct member *m)
{
	uint64_t h = 0;
	uint8_t left = m->card.is_left;

	if (!m->has_card)
		return 0;
	core_fnv(&h, m->id.b, sizeof(m->id.b));
	core_fnv(&h, &m->card.generation, sizeof(m->card.generation));
	core_fnv(&h, &m->card.incarnation, sizeof(m->card.incarnation));
	core_fnv(&h, &left, 1);
	h ^= h >> 31;
	return h * 0x9e3779b97f4a7c15ull;
}

static void set_card(struct gossip_core *c, struct member *m, const struct wire_card *card,
		     bool is_signed)
{
	struct origin *o;

	c->members_digest -= m->card_hash;
	version_discount(c, m);
	m->card = *card;
	version_count(c, m);
	m->has_card = is_signed;
	m->card_hash = hash_card(m);
	c->members_digest += m->card_hash;
	o = table_origin(c, &m->id);
	if (o)
		origin_standing(c, o);
	region_members_changed(c);
}

/* ---- ring */

/* Where it is, or would be. */
static size_t ring_place(const struct gossip_core *c, const struct node_id *id)
{
	size_t lo = 0, hi = c->ring_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (node_id_cmp(&c->ring[mid]->id, id) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

size_t member_ring_idx(const struct gossip_core *c, const struct member *m)
{
	return ring_place(c, &m->id);
}

/* Ids are sorted, so whoever shares the number is a neighbour. */
static struct member *same_number(const struct gossip_core *c, const struct node_id *id)
{
	size_t at = ring_place(c, id);

	if (at < c->ring_count && memcmp(c->ring[at]->id.b, id->b, NUMBER_BYTES) == 0)
		return c->ring[at];
	if (at > 0 && memcmp(c->ring[at - 1]->id.b, id->b, NUMBER_BYTES) == 0)
		return c->ring[at - 1];
	return NULL;
}

static void drop(struct gossip_core *c, struct member *m)
{
	struct origin *o = table_origin(c, &m->id);
	size_t at = member_ring_idx(c, m);

	probe_forget(c, m);
	dissem_forget_member(c, m);
	c->members_digest -= m->card_hash;
	c->state_count[m->state]--;
	c->ring_count--;
	memmove(c->ring + at, c->ring + at + 1, (c->ring_count - at) * sizeof(struct member *));
	HASH_DEL(c->members, m);
	free(m);
	if (o)
		origin_standing(c, o);
}

/* The table is full: who left longest ago goes, or else who died. Who lives stays. */
static bool evict(struct gossip_core *c)
{
	struct member *worst = NULL;

	for (size_t i = 0; i < c->ring_count; i++) {
		struct member *m = c->ring[i];

		if (m->state < GOSSIP_DEAD || m->is_self || m == c->speaker)
			continue;
		if (!worst || m->state > worst->state ||
		    (m->state == worst->state && m->since_ms < worst->since_ms))
			worst = m;
	}
	if (worst)
		drop(c, worst);
	return worst != NULL;
}

static struct member *add(struct gossip_core *c, const struct node_id *id, bool is_gone)
{
	size_t at;
	struct member *m;

	/* For one that is gone already nobody has to make room. */
	if (c->ring_count >= GOSSIP_MEMBERS_MAX && (is_gone || !evict(c)))
		return NULL;
	at = ring_place(c, id);
	if (c->ring_count >= c->ring_cap) {
		size_t cap = c->ring_cap ? c->ring_cap * 2 : 16;
		struct member **ring = realloc(c->ring, cap * sizeof(struct member *));

		if (!ring)
			return NULL;
		c->ring = ring;
		c->ring_cap = cap;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->id = *id;
	m->state = GOSSIP_ALIVE;
	m->since_ms = c->now_ms;
	c->state_count[GOSSIP_ALIVE]++;
	memmove(c->ring + at + 1, c->ring + at, (c->ring_count - at) * sizeof(struct member *));
	c->ring[at] = m;
	c->ring_count++;
	HASH_ADD(hh, c->members, id, sizeof(m->id), m);
	return m;
}

/* State without a word to anyone. */
static void enter_state(struct gossip_core *c, struct member *m, enum gossip_state state)
{
	c->state_count[m->state]--;
	version_discount(c, m);
	m->state = state;
	version_count(c, m);
	m->since_ms = c->now_ms;
	c->state_count[state]++;
	region_members_changed(c);
}

void member_set_state(struct gossip_core *c, struct member *m, enum gossip_state state)
{
	enum gossip_state old = m->state;

	if (old == state)
		return;
	enter_state(c, m, state);
	if (state == GOSSIP_ALIVE && old <= GOSSIP_SUSPECT)
		reach_on_return(c, m);
	if (state == GOSSIP_ALIVE || state == GOSSIP_LEFT)
		suspect_clear(c, m);
	m->differs_since_ms = m->members_differ_since_ms = 0;
	queue_member_event(c, GOSSIP_EV_MEMBER, m, old, false);
	dissem_member(c, m, DISSEM_LAZY);
}

/* ---- cards */

bool member_is_card_signed(struct gossip_core *c, const struct wire_card *card)
{
	uint8_t buf[WIRE_CARD_SIGNED_MAX];
	size_t len = wire_card_signed_bytes(card, buf);

	if (c->cfg.signer.verify(c->cfg.signer.arg, card->pub, buf, len, card->sig) == 0)
		return true;
	c->n.bad_signatures++;
	return false;
}

void member_conflict(struct gossip_core *c, struct member *m)
{
	if (m->conflict_ms && c->now_ms < m->conflict_ms + CONFLICT_EVERY_MS)
		return;
	m->conflict_ms = c->now_ms;
	queue_member_event(c, GOSSIP_EV_CONFLICT, m, m->state, false);
}

static void check_name(struct gossip_core *c, struct member *m)
{
	for (size_t i = 0; i < c->ring_count; i++) {
		struct member *x = c->ring[i];

		if (x != m && x->state <= GOSSIP_SUSPECT && m->state <= GOSSIP_SUSPECT &&
		    strcmp(x->card.name, m->card.name) == 0)
			member_conflict(c, m);
	}
}

/* Someone shows our own card. A newer one than ours: we have been here before. */
static enum card_result own_card(struct gossip_core *c, const struct wire_card *card)
{
	struct member *m = c->self;
	int d = member_cmp_version(m, card->generation, card->incarnation);

	if (d < 0 || (d == 0 && card->boot_nonce == m->card.boot_nonce) ||
	    !member_is_card_signed(c, card))
		return CARD_OLD;
	twin_look(c, card);
	if (card->generation > m->card.generation) {
		core_want_generation(c, card->generation);
	} else if (card->incarnation < WIRE_INCARNATION_MAX) {
		m->card.incarnation = card->incarnation;
		member_renew_self(c, true);
	}
	return CARD_OLD;
}

/* Does the bearer of this card say that its owner is dead? */
static bool is_told_dead(const struct node_id *id, const struct wire_card *card,
			 const struct wire_list *votes)
{
	struct wire_list l = votes ? *votes : (struct wire_list){.count = 0};
	struct wire_vote v;

	while (wire_next_vote(&l, &v))
		if (v.state == GOSSIP_DEAD && node_id_cmp(&v.id, id) == 0)
			return v.generation == card->generation &&
			       v.incarnation == card->incarnation;
	return false;
}

static enum card_result new_card(struct gossip_core *c, const struct node_id *id,
				 const struct wire_card *card, bool is_dead,
				 struct member **ret_member)
{
	struct member *m = same_number(c, id);

	if (m) {
		/* Maps and rows name nodes by number: the one that was here first keeps it. */
		member_conflict(c, m);
		return CARD_REFUSED;
	}
	m = add(c, id, card->is_left || is_dead);
	if (!m)
		return CARD_REFUSED;
	set_card(c, m, card, true);
	if (card->is_left)
		enter_state(c, m, GOSSIP_LEFT);
	else if (is_dead)
		enter_state(c, m, GOSSIP_DEAD);
	queue_member_event(c, GOSSIP_EV_MEMBER, m, m->state, true);
	check_name(c, m);
	dissem_member(c, m, DISSEM_RELAY);
	*ret_member = m;
	return CARD_NEW;
}

enum card_result member_offer_card(struct gossip_core *c, const struct wire_card *card,
				   const struct wire_list *votes, struct member **ret_member)
{
	struct member *m, *dummy;
	struct node_id id;
	enum gossip_state old, state;
	bool is_same, is_news;

	if (!ret_member)
		ret_member = &dummy;
	c->cfg.signer.id_of(c->cfg.signer.arg, card->pub, &id);
	m = member_get(c, &id);
	*ret_member = m;
	if (m == c->self)
		return own_card(c, card);
	if (c->regions && !region_is_own(c, card->region)) {
		/* Who moves has to be removed first: what it wrote here stands. */
		if (m && member_cmp_version(m, card->generation, card->incarnation) > 0 &&
		    member_is_card_signed(c, card))
			member_conflict(c, m);
		else if (!m)
			region_offer_card(c, card);
		*ret_member = NULL;
		return CARD_REFUSED;
	}
	if (!version_allows(c, m, card)) {
		if (member_is_card_signed(c, card))
			version_refused(c, &id, &card->addr, card->version.lo, card->version.hi);
		*ret_member = NULL;
		return CARD_REFUSED;
	}
	if (!m && !member_is_card_signed(c, card))
		return CARD_REFUSED;
	if (!m)
		return new_card(c, &id, card, is_told_dead(&id, card, votes), ret_member);
	is_same = member_cmp_version(m, card->generation, card->incarnation) == 0;
	if (is_same && m->has_card)
		dissem_known_member(c, m);
	if (member_cmp_version(m, card->generation, card->incarnation) < 0 ||
	    (is_same && m->has_card) || !member_is_card_signed(c, card))
		return CARD_OLD;
	/* The same version as the store remembered it adds nothing but the signature. */
	if (is_same && m->state != GOSSIP_LEFT) {
		set_card(c, m, card, true);
		return CARD_UPDATED;
	}
	is_news = m->card.generation != card->generation || !addr_eq(&m->card.addr, &card->addr);
	old = m->state;
	set_card(c, m, card, true);
	suspect_clear(c, m);
	state = card->is_left					       ? GOSSIP_LEFT
		: old == GOSSIP_DEAD && is_told_dead(&id, card, votes) ? GOSSIP_DEAD
								       : GOSSIP_ALIVE;
	if (old != state)
		member_set_state(c, m, state);
	else if (is_news)
		queue_member_event(c, GOSSIP_EV_MEMBER, m, old, false);
	dissem_member(c, m, DISSEM_RELAY);
	return CARD_UPDATED;
}

void member_renew_self(struct gossip_core *c, bool is_bump)
{
	uint8_t buf[WIRE_CARD_SIGNED_MAX];
	struct wire_card card = c->self->card;

	if (is_bump && card.incarnation < WIRE_INCARNATION_MAX)
		card.incarnation++;
	/* A signer that fails leaves the old card: still true, only not newer. */
	if (c->cfg.signer.sign(c->cfg.signer.arg, buf, wire_card_signed_bytes(&card, buf),
			       card.sig))
		return;
	set_card(c, c->self, &card, true);
	for (size_t i = 0; i < c->ring_count; i++)
		c->ring[i]->told = 0;
	dissem_member(c, c->self, DISSEM_ALL);
}

int member_add_self(struct gossip_core *c)
{
	struct wire_card card = {.addr = c->cfg.addr,
				 .generation = c->cfg.generation,
				 .boot_nonce = c->cfg.boot_nonce,
				 .has_forwarder = c->cfg.has_forwarder,
				 .version = c->cfg.version};
	struct node_id id;

	memcpy(card.pub, c->cfg.pub, sizeof(card.pub));
	memcpy(card.name, c->cfg.name, sizeof(card.name));
	memcpy(card.region, c->cfg.region, sizeof(card.region));
	c->cfg.signer.id_of(c->cfg.signer.arg, c->cfg.pub, &id);
	c->self = add(c, &id, false);
	if (!c->self)
		return -ENOMEM;
	c->self->is_self = true;
	c->self->nonce = c->cfg.boot_nonce;
	set_card(c, c->self, &card, false);
	member_renew_self(c, false);
	return c->self->has_card ? 0 : -EIO;
}

int member_load(struct gossip_core *c, const struct gossip_member *g)
{
	struct wire_card card = {.addr = g->addr,
				 .generation = g->generation,
				 .incarnation = g->incarnation,
				 .has_forwarder = g->has_forwarder,
				 .is_left = g->state == GOSSIP_LEFT};
	struct node_id id;
	struct member *m;

	c->cfg.signer.id_of(c->cfg.signer.arg, g->pub, &id);
	if (node_id_cmp(&id, &g->id) || g->generation > RECORD_SEQ_MAX ||
	    g->incarnation > WIRE_INCARNATION_MAX ||
	    strnlen(g->name, GOSSIP_NAME_MAX) >= GOSSIP_NAME_MAX ||
	    strnlen(g->region, GOSSIP_NAME_MAX) >= GOSSIP_NAME_MAX)
		return -EBADMSG;
	if (node_id_cmp(&id, &c->self->id) == 0 || member_get(c, &id))
		return 0;
	if (c->regions && !region_is_own(c, g->region))
		return -EXDEV;
	if (same_number(c, &id))
		return -EEXIST;
	m = add(c, &id, g->state >= GOSSIP_DEAD);
	if (!m)
		return -ENOSPC;
	memcpy(card.pub, g->pub, sizeof(card.pub));
	memcpy(card.name, g->name, sizeof(card.name));
	memcpy(card.region, g->region, sizeof(card.region));
	set_card(c, m, &card, false);
	/* What it was before we slept is a start; probes tell within seconds. */
	if (g->state == GOSSIP_DEAD || g->state == GOSSIP_LEFT)
		enter_state(c, m, g->state);
	return 0;
}

/* ---- signs of life */

void member_heard(struct gossip_core *c, struct member *m)
{
	m->heard_ms = c->any_heard_ms = c->now_ms;
	m->asked_ms = m->try_ms = m->unheard_ms = 0;
	if (m->state == GOSSIP_HEADLESS)
		member_set_state(c, m, GOSSIP_ALIVE);
}

/* ---- choosing */

struct member *member_random_alive(struct gossip_core *c, const struct member *not1,
				   const struct member *not2)
{
	size_t start;

	if (c->ring_count == 0)
		return NULL;
	for (unsigned int tries = 0; tries < 8; tries++) {
		struct member *m = c->ring[core_random_below(c, c->ring_count)];

		if (m->state == GOSSIP_ALIVE && !m->is_self && m != not1 && m != not2)
			return m;
	}
	start = core_random_below(c, c->ring_count);
	for (size_t i = 0; i < c->ring_count; i++) {
		struct member *m = c->ring[(start + i) % c->ring_count];

		if (m->state == GOSSIP_ALIVE && !m->is_self && m != not1 && m != not2)
			return m;
	}
	return NULL;
}

struct member *member_neighbour(const struct gossip_core *c, const struct member *m, bool is_before,
				const struct member *not1)
{
	size_t at = member_ring_idx(c, m), step = is_before ? c->ring_count - 1 : 1;

	for (size_t i = 1; i < c->ring_count; i++) {
		struct member *x;

		at = (at + step) % c->ring_count;
		x = c->ring[at];
		if (x->state == GOSSIP_ALIVE && x != not1)
			return x;
	}
	return NULL;
}

struct member *member_next_in(struct gossip_core *c, enum gossip_state state, size_t *cursor)
{
	if (c->state_count[state] == 0)
		return NULL;
	for (size_t i = 0; i < c->ring_count; i++) {
		struct member *m = c->ring[(*cursor)++ % c->ring_count];

		if (m->state == state && !m->is_self)
			return m;
	}
	return NULL;
}

size_t member_live_addrs(struct gossip_core *c, const struct member *m,
			 struct gossip_addr *ret_addrs, size_t max)
{
	size_t start = core_random_below(c, c->ring_count), n = 0;

	if (m)
		start = member_ring_idx(c, m) + c->ring_count - AROUND % c->ring_count;

	for (size_t i = 0; i < c->ring_count && n < max; i++) {
		const struct member *x = c->ring[(start + i) % c->ring_count];

		if (x->state <= GOSSIP_SUSPECT && !x->is_self)
			ret_addrs[n++] = x->card.addr;
	}
	return n;
}

void member_export(const struct gossip_core *c, const struct member *m,
		   struct gossip_member *ret_member)
{
	uint64_t since = sync_is_fresh(c, m) ? m->differs_since_ms : 0;

	memset(ret_member, 0, sizeof(*ret_member));
	ret_member->id = m->id;
	memcpy(ret_member->pub, m->card.pub, sizeof(ret_member->pub));
	memcpy(ret_member->name, m->card.name, sizeof(ret_member->name));
	memcpy(ret_member->region, m->card.region, sizeof(ret_member->region));
	ret_member->addr = m->card.addr;
	ret_member->has_forwarder = m->card.has_forwarder;
	ret_member->version = m->card.version;
	ret_member->state = m->state;
	ret_member->generation = m->card.generation;
	ret_member->boot_nonce = m->card.boot_nonce;
	ret_member->since_ms = m->since_ms;
	ret_member->heard_ms = m->heard_ms;
	ret_member->data_heard_ms = m->data_heard_ms;
	ret_member->rtt_us = m->rtt_us;
	ret_member->incarnation = m->card.incarnation;
	ret_member->is_self = m->is_self;
	ret_member->is_removed = table_is_removed(c, &m->id);
	ret_member->is_behind = since && c->now_ms >= since + SYNC_DIFFERS_MS;
	ret_member->behind_since_ms = since;
	if (ret_member->is_behind) {
		ret_member->lacks_records = m->lag.records;
		ret_member->lacks_writers = m->lag.writers;
		ret_member->lacks_shared = m->lag.shared;
		ret_member->ahead_writers = m->lag.ahead;
	}
}

void member_free_all(struct gossip_core *c)
{
	HASH_CLEAR(hh, c->members);
	for (size_t i = 0; i < c->ring_count; i++)
		free(c->ring[i]);
	free(c->ring);
}
