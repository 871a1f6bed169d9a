/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/dissem.h"

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/suspect.h"
#include "gossip/sync.h"
#include "gossip/version.h"

#define TX_FACTOR 3 /* news rides on this many packets, times log2 of the members */
#define TX_FRESH 6  /* the first of them go before older news: both ring neighbours hear at once */
#define TX_TOLD_ALL 1	 /* the factor for what went to everyone already */
#define KNOWN_COST 3	 /* packets that an older piece of news loses when we are told it, too */
#define DEATHS_BYTES 200 /* kept free of records: deaths always find room */
#define MISSES_MAX 4	 /* after so many that don't fit we stop looking */
#define PICK_MAX 64	 /* members looked at for a packet when any is in doubt: votes are small */
#define PICK_FEW 16	 /* more cards or records than fit */
#define TOLD_TIMES 2	 /* a member is sent our card so often after it changed */
#define SEALED_EXTRA 100 /* what the seal adds */
#define REFILL_MAX_MS (2 * CORE_URGENT_BURST_BYTES / (CORE_URGENT_BYTES_S / 1000))
#define RELAYS 2      /* by each who hears urgent news */
#define RELAYS_MANY 5 /* if it could not go to all: two would leave one in twenty to the probes */

static uint8_t tx_budget(const struct gossip_core *c, unsigned int factor)
{
	unsigned int log = 1;

	for (size_t n = c->ring_count; n > 1; n /= 2)
		log++;
	return (uint8_t)(factor * log);
}

/* More than urgent news can be sent to at once. */
static bool is_many(const struct gossip_core *c)
{
	return c->state_count[GOSSIP_ALIVE] > CORE_FANOUT;
}

void dissem_record(struct gossip_core *c, struct rec *r, enum dissem_way way)
{
	/* What is not stored will be written anew before long. */
	bool is_volatile = record_scope_of(r->blob->r.kind) == RECORD_VOLATILE;
	bool is_told = is_volatile || way == DISSEM_SOME || (way != DISSEM_LAZY && !is_many(c));

	r->tx_left = tx_budget(c, is_told ? TX_TOLD_ALL : TX_FACTOR);
	r->tx_fresh = TX_FRESH;
	if (r->in_news)
		TAILQ_REMOVE(&c->news, r, news);
	TAILQ_INSERT_HEAD(&c->news, r, news);
	r->in_news = true;
	if (way == DISSEM_LAZY || way == DISSEM_SOME)
		return;
	r->urgent_all = (r->in_urgent && r->urgent_all) || way == DISSEM_ALL;
	if (!r->in_urgent) {
		TAILQ_INSERT_TAIL(&c->urgent, r, urgent);
		r->in_urgent = true;
	}
}

void dissem_member(struct gossip_core *c, struct member *m, enum dissem_way way)
{
	m->tx_left = tx_budget(c, TX_FACTOR);
	m->tx_fresh = TX_FRESH;
	if (m->in_news)
		TAILQ_REMOVE(&c->member_news, m, news);
	TAILQ_INSERT_HEAD(&c->member_news, m, news);
	m->in_news = true;
	if (way == DISSEM_LAZY)
		return;
	m->urgent_all = (m->in_urgent && m->urgent_all) || way == DISSEM_ALL;
	if (!m->in_urgent) {
		TAILQ_INSERT_TAIL(&c->member_urgent, m, urgent);
		m->in_urgent = true;
	}
}

void dissem_known_record(struct gossip_core *c, struct rec *r)
{
	uint8_t cost = r->tx_fresh > 0 ? 1 : KNOWN_COST;

	if (!r->in_news)
		return;
	r->tx_left = r->tx_left > cost ? (uint8_t)(r->tx_left - cost) : 0;
	if (r->tx_left > 0)
		return;
	TAILQ_REMOVE(&c->news, r, news);
	r->in_news = false;
}

void dissem_known_member(struct gossip_core *c, struct member *m)
{
	/* A card alone counts: that its bearer shares our doubts about it is not said. */
	uint8_t cost = m->tx_fresh > 0 ? 1 : KNOWN_COST;

	if (!m->in_news || m->state != GOSSIP_ALIVE)
		return;
	m->tx_left = m->tx_left > cost ? (uint8_t)(m->tx_left - cost) : 0;
	if (m->tx_left > 0)
		return;
	TAILQ_REMOVE(&c->member_news, m, news);
	m->in_news = false;
}

void dissem_forget_record(struct gossip_core *c, struct rec *r)
{
	if (r->in_news)
		TAILQ_REMOVE(&c->news, r, news);
	if (r->in_urgent)
		TAILQ_REMOVE(&c->urgent, r, urgent);
	r->in_news = r->in_urgent = false;
}

void dissem_forget_member(struct gossip_core *c, struct member *m)
{
	if (m->in_news)
		TAILQ_REMOVE(&c->member_news, m, news);
	if (m->in_urgent)
		TAILQ_REMOVE(&c->member_urgent, m, urgent);
	m->in_news = m->in_urgent = false;
}

void dissem_send(struct gossip_core *c, struct wire_out *o, const struct gossip_addr *to,
		 size_t to_count)
{
	size_t len = wire_end(o);

	queue_packet(c, GOSSIP_DGRAM, to, to_count, o->b.p, len);
}

static struct wire_vote vote_on(const struct member *m, enum gossip_state state)
{
	return (struct wire_vote){.id = m->id,
				  .generation = m->card.generation,
				  .incarnation = m->card.incarnation,
				  .state = state};
}

static bool is_vote_worthy(const struct member *m)
{
	return m->state == GOSSIP_HEADLESS || m->state == GOSSIP_SUSPECT || m->state == GOSSIP_DEAD;
}

void dissem_vote(struct gossip_core *c, const struct member *m, enum gossip_state state)
{
	struct gossip_addr to[GOSSIP_FANOUT_MAX];
	struct wire_vote v = vote_on(m, state);
	struct wire_out o;

	version_begin(c, &o, c->dgram, sizeof(c->dgram), WIRE_NEWS);
	wire_list_begin(&o, WIRE_K_VOTES);
	(void)wire_add_vote(&o, &v); /* an empty datagram has room */
	wire_list_end(&o);
	dissem_send(c, &o, to, member_live_addrs(c, m, to, CORE_FANOUT));
}

/* ---- filling a packet */

struct picked {
	struct member *m[PICK_MAX];
	size_t count;
};

static void pick_members(struct gossip_core *c, struct picked *ret, const struct member *dest)
{
	bool is_doubt = c->state_count[GOSSIP_HEADLESS] + c->state_count[GOSSIP_SUSPECT] +
				c->state_count[GOSSIP_DEAD] >
			0;
	size_t max = is_doubt ? PICK_MAX : PICK_FEW;
	struct member *m;

	ret->count = 0;
	TAILQ_FOREACH(m, &c->member_news, news)
	{
		if (ret->count >= max)
			break;
		if (m != dest)
			ret->m[ret->count++] = m;
	}
}

static void sent_member(struct gossip_core *c, struct member *m)
{
	TAILQ_REMOVE(&c->member_news, m, news);
	m->in_news = false;
	if (m->tx_left == 0 || --m->tx_left == 0)
		return;
	m->in_news = true;
	if (m->tx_fresh > 0 && --m->tx_fresh > 0)
		TAILQ_INSERT_HEAD(&c->member_news, m, news);
	else
		TAILQ_INSERT_TAIL(&c->member_news, m, news);
}

static void sent_record(struct gossip_core *c, struct rec *r)
{
	TAILQ_REMOVE(&c->news, r, news);
	r->in_news = false;
	if (r->tx_left == 0 || --r->tx_left == 0)
		return;
	r->in_news = true;
	if (r->tx_fresh > 0 && --r->tx_fresh > 0)
		TAILQ_INSERT_HEAD(&c->news, r, news);
	else
		TAILQ_INSERT_TAIL(&c->news, r, news);
}

static void fill_votes(struct gossip_core *c, struct wire_out *o, const struct picked *p,
		       struct member *dest)
{
	const struct member *dead;
	struct wire_vote v;

	wire_list_begin(o, WIRE_K_VOTES);
	/* Whom we suspect hears it from us first: it can refute at once. */
	if (dest && is_vote_worthy(dest)) {
		v = vote_on(dest, dest->state);
		(void)wire_add_vote(o, &v); /* first in the packet: fits */
	}
	for (size_t i = 0; i < p->count; i++) {
		if (!is_vote_worthy(p->m[i]))
			continue;
		v = vote_on(p->m[i], p->m[i]->state);
		if (!wire_add_vote(o, &v))
			break;
	}
	dead = suspect_next_death(c);
	if (dead && dead != dest && !dead->in_news) {
		v = vote_on(dead, GOSSIP_DEAD);
		(void)wire_add_vote(o, &v); /* full of others: the next packet */
	}
	wire_list_end(o);
}

static void fill_cards(struct gossip_core *c, struct wire_out *o, const struct picked *p,
		       struct member *dest)
{
	bool has_all = dest && sync_has_all(c, dest);
	unsigned int misses = 0;

	wire_list_begin(o, WIRE_K_CARDS);
	if (!dest || dest->told < TOLD_TIMES) {
		if (wire_add_card(o, &c->self->card) && dest)
			dest->told++;
	}
	/* It has lost its memory and moved: what it doesn't know of itself can't reach it where it was. */
	if (dest && dest->is_elsewhere && dest->has_card)
		(void)wire_add_card(o, &dest->card);
	for (size_t i = 0; i < p->count && misses < MISSES_MAX; i++) {
		struct member *m = p->m[i];

		if (!m->has_card || has_all || wire_add_card(o, &m->card))
			sent_member(c, m);
		else
			misses++;
	}
	wire_list_end(o);
}

/* Our own row of reachability, to who wasn't sent this version: volatile records are in no digest, so newcomers must be told. */
static void fill_row(struct gossip_core *c, struct wire_out *o, struct member *dest)
{
	const struct rec *r = table_find(c, &c->self->id, REACH_KIND, (const uint8_t *)REACH_KEY,
					 sizeof(REACH_KEY) - 1);

	if (!r || !dest || dest->reach.row_told == r->blob->r.seq || r->in_news)
		return;
	if (wire_add_record(o, &r->blob->r))
		dest->reach.row_told = r->blob->r.seq;
}

static void fill_records(struct gossip_core *c, struct wire_out *o, struct member *dest)
{
	bool has_all = sync_has_all(c, dest);
	struct rec *picked[PICK_FEW], *r;
	unsigned int misses = 0;
	size_t n = 0;

	TAILQ_FOREACH(r, &c->news, news)
	{
		if (n >= PICK_FEW)
			break;
		picked[n++] = r;
	}
	wire_list_begin(o, WIRE_K_RECORDS);
	for (size_t i = 0; i < n && misses < MISSES_MAX; i++) {
		/* What it has counts as told: at rest news cost nothing, and die as fast. */
		if ((has_all && rec_is_stored(picked[i])) ||
		    wire_add_record(o, &picked[i]->blob->r))
			sent_record(c, picked[i]);
		else
			misses++;
	}
	fill_row(c, o, dest);
	wire_list_end(o);
}

void dissem_fill(struct gossip_core *c, struct wire_out *o, struct member *dest)
{
	struct picked p;

	/* Strangers get our card and nothing more. */
	if (!dest) {
		p.count = 0;
		fill_cards(c, o, &p, NULL);
		return;
	}
	pick_members(c, &p, dest);
	fill_votes(c, o, &p, dest);
	/* Cards take at most half of what is left; records must leave room for the next deaths. */
	if (!TAILQ_EMPTY(&c->news) && wire_room(o) > 2 * DEATHS_BYTES) {
		size_t cap = o->b.cap;

		o->b.cap = o->b.len + wire_room(o) / 2;
		fill_cards(c, o, &p, dest);
		o->b.cap = cap;
	} else {
		fill_cards(c, o, &p, dest);
	}
	fill_records(c, o, dest);
}

/* ---- urgent news */

/* As many urgent records of one way as fit. false: there was none. */
static bool pack_urgent_records(struct gossip_core *c, struct wire_out *o, bool is_all)
{
	struct rec *r, *next;
	bool any = false;

	wire_list_begin(o, WIRE_K_RECORDS);
	for (r = TAILQ_FIRST(&c->urgent); r; r = next) {
		struct record v = r->blob->r;

		next = TAILQ_NEXT(r, urgent);
		if (r->urgent_all != is_all)
			continue;
		v.is_urgent = true;
		if (!wire_add_record(o, &v))
			break;
		TAILQ_REMOVE(&c->urgent, r, urgent);
		r->in_urgent = r->urgent_all = false;
		any = true;
	}
	wire_list_end(o);
	return any;
}

static bool pack_urgent_members(struct gossip_core *c, struct wire_out *o, bool is_all)
{
	struct member *m, *next, *packed[PICK_MAX];
	struct wire_vote v;
	size_t n = 0;

	wire_list_begin(o, WIRE_K_CARDS);
	for (m = TAILQ_FIRST(&c->member_urgent); m && n < PICK_MAX; m = next) {
		next = TAILQ_NEXT(m, urgent);
		if (m->urgent_all != is_all)
			continue;
		if (m->has_card && wire_room(o) > DEATHS_BYTES && wire_add_card(o, &m->card))
			packed[n++] = m;
		else if (m->has_card)
			break;
		TAILQ_REMOVE(&c->member_urgent, m, urgent);
		m->in_urgent = m->urgent_all = false;
	}
	wire_list_end(o);
	wire_list_begin(o, WIRE_K_VOTES);
	for (size_t i = 0; i < n; i++) {
		v = vote_on(packed[i], packed[i]->state);
		if (is_vote_worthy(packed[i]))
			(void)wire_add_vote(o, &v); /* room was kept */
	}
	wire_list_end(o);
	return n > 0;
}

static size_t choose_relays(struct gossip_core *c, struct gossip_addr to[RELAYS_MANY])
{
	size_t want = is_many(c) ? RELAYS_MANY : RELAYS, n = 0;
	struct member *m, *last = NULL;

	while (n < want && (m = member_random_alive(c, last, NULL))) {
		to[n++] = m->card.addr;
		last = m;
	}
	return n;
}

/* One packet of urgent news: ours goes to everyone, another's to two. false: nothing is left. */
static bool flush_one(struct gossip_core *c, bool is_all)
{
	struct gossip_addr to[GOSSIP_FANOUT_MAX];
	struct wire_out o;
	size_t n;
	bool any;

	version_begin(c, &o, c->dgram, sizeof(c->dgram), WIRE_NEWS);
	any = pack_urgent_members(c, &o, is_all);
	any |= pack_urgent_records(c, &o, is_all);
	if (!any)
		return false;
	n = is_all ? member_live_addrs(c, NULL, to, CORE_FANOUT) : choose_relays(c, to);
	dissem_send(c, &o, to, n);
	c->urgent_bytes -= (int64_t)(n * (o.b.len + SEALED_EXTRA));
	return true;
}

static bool is_urgent_waiting(const struct gossip_core *c)
{
	return !TAILQ_EMPTY(&c->urgent) || !TAILQ_EMPTY(&c->member_urgent);
}

static void refill(struct gossip_core *c)
{
	uint64_t ms = c->now_ms - c->urgent_ms;

	c->urgent_ms = c->now_ms;
	if (ms > REFILL_MAX_MS)
		ms = REFILL_MAX_MS;
	c->urgent_bytes += (int64_t)ms * (CORE_URGENT_BYTES_S / 1000);
	if (c->urgent_bytes > CORE_URGENT_BURST_BYTES)
		c->urgent_bytes = CORE_URGENT_BURST_BYTES;
}

void dissem_flush(struct gossip_core *c)
{
	refill(c);
	/* Telling and relaying empty the queues, one packet at a time; each takes at least one entry. */
	while (c->urgent_bytes > 0 && flush_one(c, true))
		;
	while (c->urgent_bytes > 0 && flush_one(c, false))
		;
}

uint64_t dissem_deadline(const struct gossip_core *c)
{
	if (!is_urgent_waiting(c))
		return UINT64_MAX;
	if (c->urgent_bytes > 0)
		return c->now_ms;
	return c->urgent_ms + 1 + (uint64_t)-c->urgent_bytes / (CORE_URGENT_BYTES_S / 1000);
}
