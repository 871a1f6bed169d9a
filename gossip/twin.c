/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/twin.h"

#include <errno.h>
#include <string.h>

#include "gossip/dissem.h"
#include "gossip/member.h"
#include "gossip/suspect.h"
#include "gossip/suspect_probe.h"
#include "gossip/version.h"

#define NONCE_STRIKES 3	      /* messages of the older boot after the newer one was heard */
#define NONCE_OVERLAP_MS 1000 /* packets of the old process may be on their way this long */
#define HOLD_MS 450	  /* the known address is given so long to answer, and two round trips */
#define HOLD_LIFE_MS 5000 /* after so long it is asked again */
#define ASK_EVERY_MS 2000 /* who yielded asks its twin so often */
#define YIELD_MS 7000	  /* and takes so long a silence for its end */

/* ---- of another */

static bool is_from_card(const struct member *m, enum gossip_via via,
			 const struct gossip_addr *from)
{
	/* A stream comes from any port. */
	return memcmp(m->card.addr.ip, from->ip, sizeof(from->ip)) == 0 &&
	       (via == GOSSIP_STREAM || m->card.addr.port == from->port);
}

static void take_nonce(struct gossip_core *c, struct member *m, uint64_t nonce)
{
	m->nonce_before = m->nonce;
	m->nonce = nonce;
	m->nonce_since_ms = c->now_ms;
	m->nonce_strikes = 0;
	m->hold_nonce = 0;
}

static bool is_held(struct gossip_core *c, struct member *m, uint64_t nonce)
{
	uint64_t wait_ms = HOLD_MS + 2 * probe_rtt_ms(c, m);
	bool is_heard = m->hold_nonce && m->heard_ms > m->hold_ms;

	if (m->state == GOSSIP_DEAD || m->state == GOSSIP_LEFT)
		return false;
	if (m->hold_nonce == nonce && is_heard)
		member_conflict(c, m);
	if (m->hold_nonce != nonce || (is_heard && c->now_ms >= m->hold_ms + HOLD_LIFE_MS)) {
		m->hold_nonce = nonce;
		m->hold_ms = c->now_ms;
	} else if (is_heard) {
		return true;
	} else if (c->now_ms >= m->hold_ms + wait_ms) {
		return false;
	}
	probe_again(c, m);
	return true;
}

bool twin_admit(struct gossip_core *c, struct member *m, enum gossip_via via,
		const struct gossip_sender *sender, const struct gossip_addr *from,
		const struct wire_msg *msg)
{
	uint64_t nonce = sender->boot_nonce;

	if (nonce == m->nonce)
		return true;
	if (m->nonce != 0 && nonce == m->nonce_before) {
		if (c->now_ms < m->nonce_since_ms + NONCE_OVERLAP_MS)
			return false;
		if (++m->nonce_strikes >= NONCE_STRIKES) {
			m->nonce_strikes = 0;
			member_conflict(c, m);
		}
		return false;
	}
	if (!is_from_card(m, via, from)) {
		if (via == GOSSIP_STREAM)
			return false;
		if (is_held(c, m, nonce)) {
			if (msg->type == WIRE_PROBE && msg->has_cookie)
				probe_ack_held(c, m, from, msg->cookie);
			return false;
		}
	}
	take_nonce(c, m, nonce);
	return true;
}

/* ---- of ourselves */

/* To our twin alone: no news, and our card to prove that we have the key. */
static void say(struct gossip_core *c, enum wire_type type, uint64_t cookie, unsigned int flags)
{
	struct wire_out o;

	version_begin(c, &o, c->dgram, sizeof(c->dgram), type);
	wire_put_cookie(&o, cookie);
	if (flags)
		wire_put_flags(&o, flags);
	wire_list_begin(&o, WIRE_K_CARDS);
	(void)wire_add_card(&o, &c->self->card); /* an empty datagram has room */
	wire_list_end(&o);
	c->is_yielded_say = true;
	dissem_send(c, &o, &c->twin_addr, 1);
	c->is_yielded_say = false;
}

static void ask(struct gossip_core *c)
{
	c->twin_cookie = core_random(c);
	c->twin_next_ms = c->now_ms + ASK_EVERY_MS;
	say(c, WIRE_PROBE, c->twin_cookie, 0);
}

void twin_look(struct gossip_core *c, const struct wire_card *card)
{
	if (card->boot_nonce == c->cfg.boot_nonce || member_is_at(c->self, &card->addr) ||
	    c->is_yielded || (c->twin_next_ms && c->now_ms < c->twin_next_ms))
		return;
	c->twin_addr = card->addr;
	ask(c);
}

/* The seal says that it belongs to the cluster; only with our key can it say that it is us, there and now. */
static bool is_proven(struct gossip_core *c, const struct wire_msg *msg,
		      const struct gossip_sender *sender, const struct gossip_addr *from)
{
	struct wire_list l = msg->cards;
	struct wire_card card;

	while (wire_next_card(&l, &card))
		if (memcmp(card.pub, c->cfg.pub, sizeof(card.pub)) == 0)
			return card.boot_nonce == sender->boot_nonce &&
			       card.addr.port == from->port &&
			       memcmp(card.addr.ip, from->ip, sizeof(from->ip)) == 0 &&
			       member_is_card_signed(c, &card);
	return false;
}

static void yield(struct gossip_core *c)
{
	c->twin_heard_ms = c->now_ms;
	if (c->is_yielded)
		return;
	c->is_yielded = true;
	c->is_taken = false;
	queue_drop_all(c);
	probe_void_all(c);
	c->self->conflict_ms = 0;
	member_conflict(c, c->self);
}

int twin_on_self(struct gossip_core *c, enum gossip_via via, const struct gossip_sender *sender,
		 const struct gossip_addr *from, const uint8_t *buf, size_t len)
{
	struct wire_msg msg;
	bool is_theirs;

	if (sender->boot_nonce == c->cfg.boot_nonce)
		return -ELOOP; /* our own message, come back */
	if (!c->is_yielded)
		member_conflict(c, c->self);
	if (via != GOSSIP_DGRAM || wire_decode_as(buf, len, c->cfg.version, &msg) ||
	    !msg.has_cookie || !is_proven(c, &msg, sender, from))
		return -EEXIST;
	if (msg.type == WIRE_PROBE) {
		/* Asked: so are we there; and who asks may have to yield. */
		c->twin_addr = *from;
		if (!c->is_yielded)
			say(c, WIRE_ACK, msg.cookie, c->is_taken ? WIRE_F_TAKEN : 0);
		if (!c->is_yielded && c->now_ms >= c->twin_next_ms)
			ask(c);
		return -EEXIST;
	}
	if (msg.type != WIRE_ACK || !c->twin_cookie || msg.cookie != c->twin_cookie)
		return -EEXIST;
	c->twin_cookie = 0;
	is_theirs = (msg.flags & WIRE_F_TAKEN) != 0;
	if (c->is_yielded ||
	    (is_theirs != c->is_taken ? is_theirs : sender->boot_nonce < c->cfg.boot_nonce)) {
		c->twin_addr = *from;
		yield(c);
	}
	return -EEXIST;
}

bool twin_is_taken(struct gossip_core *c, const struct wire_msg *msg)
{
	struct wire_list l = msg->cards;
	struct wire_card card;

	if (!(msg->flags & WIRE_F_HELD)) {
		c->is_taken = true;
		return true;
	}
	while (wire_next_card(&l, &card))
		if (memcmp(card.pub, c->cfg.pub, sizeof(card.pub)) == 0)
			twin_look(c, &card);
	return false;
}

void twin_tick(struct gossip_core *c)
{
	if (!c->is_yielded || c->now_ms < c->twin_next_ms)
		return;
	if (c->now_ms < c->twin_heard_ms + YIELD_MS) {
		ask(c);
		return;
	}
	c->is_yielded = false;
	c->is_joined = false;
	c->join_next_ms = c->probe_next_ms = c->scan_next_ms = c->retry_next_ms = c->now_ms;
	c->join_wait_ms = JOIN_WAIT_MS;
	c->any_heard_ms = c->now_ms;
	member_renew_self(c, true);
}

uint64_t twin_deadline(const struct gossip_core *c)
{
	return c->is_yielded ? c->twin_next_ms : UINT64_MAX;
}
