/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/suspect_probe.h"

#include <string.h>

#include "gossip/dissem.h"
#include "gossip/member.h"
#include "gossip/region.h"
#include "gossip/suspect.h"
#include "gossip/sync.h"
#include "gossip/version.h"

#define ACK_MIN_MS 60	   /* the first probe's answer is waited for at least so long */
#define ACK_UNKNOWN_MS 150 /* before a round trip was measured */
#define ACK_SLACK_MS 20
#define ACK_MAX_MS 1000
#define BURST_STEP_MS 30
#define BURST_ROUNDS 5	 /* at 0, 30, ... 120 ms */
#define BURST_WAIT_MS 30 /* after the last round */
#define ASKED_LIFE_MS 300
#define RETRY_LIFE_MS 2000
#define LATE_LIFE_MS 2000 /* after a failed burst an answer still tells how far it is */
#define HELPED_LIFE_MS 150
#define PONG_LIFE_MS 500
#define RTT_FAR_MS 350	 /* another region, of which nobody was measured yet */
#define GUESS_MAX_MS 500 /* it may have been frozen, not far */
#define CHALLENGES_MAX 64
#define UNHEARD_MS                                                                                 \
	5000 /* of our running time, asked without an answer: that we stand still now and then is no excuse */
#define HANDSHAKE_MS 6000 /* a tunnel whose first handshake was lost is there after so long */
#define RTT_SHIFT 3
#define RTT_VAR_SHIFT 2

static struct probe *find_cookie(struct gossip_core *c, uint64_t cookie)
{
	for (size_t i = 0; i < c->probe_top; i++)
		if (c->probe[i].role != PROBE_FREE && c->probe[i].cookie == cookie)
			return &c->probe[i];
	return NULL;
}

static struct probe *find_role(struct gossip_core *c, const struct member *m, enum probe_role role)
{
	for (size_t i = 0; i < c->probe_top; i++)
		if (c->probe[i].role == role && c->probe[i].m == m)
			return &c->probe[i];
	return NULL;
}

static struct probe *probe_new(struct gossip_core *c, enum probe_role role, struct member *m,
			       const struct gossip_addr *addr, uint64_t life_ms)
{
	struct probe *p = NULL;

	for (size_t i = 0; i < PROBES_MAX && !(p && p->role == PROBE_FREE); i++)
		if (c->probe[i].role == PROBE_FREE || (!p && c->probe[i].role == PROBE_LATE))
			p = &c->probe[i];
	if (!p) {
		c->n.queue_drops++;
		return NULL;
	}
	if (p >= c->probe + c->probe_top)
		c->probe_top = (size_t)(p - c->probe) + 1;
	*p = (struct probe){.role = role,
			    .m = m,
			    .addr = *addr,
			    .cookie = core_random(c),
			    .data_cookie = core_random(c),
			    .start_ms = c->now_ms,
			    .sent_ms = c->now_ms,
			    .next_ms = c->now_ms + life_ms};
	return p;
}

static void put_digest(struct gossip_core *c, struct wire_out *o)
{
	uint64_t regions = c->regions ? region_digest(c) : 0;
	uint8_t root[16];

	digest_bytes(&c->root, root);
	wire_put_digest(o, root, c->members_digest, c->standing, c->regions ? &regions : NULL);
}

bool probe_is_path_known(const struct gossip_core *c, const struct member *m)
{
	return (m->heard_ms && c->now_ms < m->heard_ms + PROBE_WARM_MS) ||
	       (m->try_ms && c->now_ms >= m->try_ms + HANDSHAKE_MS) ||
	       c->now_ms >= c->any_heard_ms + HANDSHAKE_MS;
}

static void send_probe(struct gossip_core *c, struct probe *p)
{
	struct wire_out o;

	if (p->m) {
		if (!p->m->try_ms || c->now_ms >= p->m->try_last_ms + PROBE_WARM_MS)
			p->m->try_ms = c->now_ms;
		p->m->try_last_ms = c->now_ms;
		if (!p->m->unheard_ms)
			p->m->unheard_ms = c->now_ms - c->stood_ms;
	}
	/* Which of several is answered can't be told. */
	p->said = !p->is_sent || p->said == sync_word(c) ? sync_word(c) : 0;
	p->is_sent = true;
	version_knock(c, &o, p->m);
	wire_put_cookie(&o, p->cookie);
	put_digest(c, &o);
	if (!p->m)
		wire_put_flags(&o, WIRE_F_STRANGER);
	dissem_fill(c, &o, p->m);
	dissem_send(c, &o, &p->addr, 1);
	c->n.probes_sent++;
}

static void send_data_ping(struct gossip_core *c, struct probe *p)
{
	uint8_t buf[8];

	if (!p->m || !p->m->card.has_forwarder)
		return;
	for (unsigned int i = 0; i < 8; i++)
		buf[i] = (uint8_t)(p->data_cookie >> (8 * i));
	queue_packet(c, GOSSIP_PING, &p->addr, 1, buf, sizeof(buf));
}

static void send_ack(struct gossip_core *c, struct member *to, const struct gossip_addr *addr,
		     uint64_t cookie, unsigned int flags)
{
	struct wire_out o;

	version_begin(c, &o, c->dgram, sizeof(c->dgram), WIRE_ACK);
	wire_put_cookie(&o, cookie);
	if (!(flags & WIRE_F_SAME))
		put_digest(c, &o);
	if (flags)
		wire_put_flags(&o, flags);
	if (to)
		to->is_elsewhere = !member_is_at(to, addr);
	dissem_fill(c, &o, to);
	dissem_send(c, &o, addr, 1);
}

uint64_t probe_rtt_ms(const struct gossip_core *c, const struct member *m)
{
	uint32_t far_us = 0;

	if (m->rtt_us || strcmp(m->card.region, c->cfg.region) == 0)
		return m->rtt_us / 1000;
	/* Its neighbours are as far. */
	for (size_t i = 0; i < c->ring_count; i++)
		if (c->ring[i]->rtt_us > far_us &&
		    strcmp(c->ring[i]->card.region, m->card.region) == 0)
			far_us = c->ring[i]->rtt_us;
	return far_us ? far_us / 1000 : RTT_FAR_MS;
}

static uint64_t ack_wait_ms(const struct gossip_core *c, const struct member *m)
{
	uint32_t slack_us = m->rtt_us / 4 > 4 * m->rtt_var_us ? m->rtt_us / 4 : 4 * m->rtt_var_us;
	uint64_t ms = m->rtt_us ? (m->rtt_us + slack_us) / 1000 + ACK_SLACK_MS : ACK_UNKNOWN_MS;

	if (ms < ACK_MIN_MS)
		ms = ACK_MIN_MS;
	ms *= 1 + c->health;
	return ms < ACK_MAX_MS ? ms : ACK_MAX_MS;
}

/* ---- our own */

/* Its neighbours on the ring talk to it all the time, so their tunnels to it are not cold; and one by chance. */
static void choose_helpers(struct gossip_core *c, struct probe *p)
{
	p->helper[0] = member_neighbour(c, p->m, false, c->self);
	p->helper[1] = member_neighbour(c, p->m, true, c->self);
	p->helper[2] = member_random_alive(c, p->m, p->helper[0]);
	for (unsigned int i = 1; i < PROBE_HELPERS; i++)
		if (p->helper[i] == p->m || p->helper[i] == p->helper[i - 1])
			p->helper[i] = NULL;
}

static void burst_round(struct gossip_core *c, struct probe *p)
{
	struct wire_out o;

	if (p->stage == 0)
		choose_helpers(c, p);
	p->stage++;
	send_probe(c, p);
	send_data_ping(c, p);
	for (unsigned int i = 0; i < PROBE_HELPERS; i++) {
		if (!p->helper[i])
			continue;
		version_begin(c, &o, c->dgram, sizeof(c->dgram), WIRE_ASK);
		wire_put_cookie(&o, p->cookie);
		wire_put_target(&o, &p->m->id);
		dissem_send(c, &o, &p->helper[i]->card.addr, 1);
	}
	p->next_ms = c->now_ms + BURST_STEP_MS;
	if (p->stage % BURST_ROUNDS == 0)
		p->next_ms = c->now_ms + BURST_WAIT_MS + probe_rtt_ms(c, p->m) * 3 / 2;
}

void probe_start(struct gossip_core *c, struct member *m)
{
	struct probe *p;

	if (find_role(c, m, PROBE_OWN))
		return;
	p = probe_new(c, PROBE_OWN, m, &m->card.addr, ack_wait_ms(c, m));
	if (!p)
		return;
	send_probe(c, p);
	/* Of a headless or suspected node the kernel is all that may answer. */
	if (m->state != GOSSIP_ALIVE) {
		send_data_ping(c, p);
	} else if (reach_wants_ping(c, m)) {
		reach_on_ping(c, m);
		p->is_pinged = true;
		send_data_ping(c, p);
	}
}

void probe_burst(struct gossip_core *c, struct member *m)
{
	struct probe *p = find_role(c, m, PROBE_OWN);

	if (!p)
		p = probe_new(c, PROBE_OWN, m, &m->card.addr, 0);
	if (p && p->stage == 0)
		burst_round(c, p);
}

void probe_once(struct gossip_core *c, struct member *m)
{
	struct probe *p;

	if (find_role(c, m, PROBE_RETRY))
		return;
	p = probe_new(c, PROBE_RETRY, m, &m->card.addr, RETRY_LIFE_MS);
	if (!p)
		return;
	send_probe(c, p);
	if (m->state != GOSSIP_ALIVE)
		send_data_ping(c, p);
}

void probe_again(struct gossip_core *c, struct member *m)
{
	struct probe *p = find_role(c, m, PROBE_RETRY);

	if (p)
		send_probe(c, p);
	else
		probe_once(c, m);
}

void probe_ack_held(struct gossip_core *c, struct member *m, const struct gossip_addr *addr,
		    uint64_t cookie)
{
	struct wire_out o;

	version_begin(c, &o, c->dgram, sizeof(c->dgram), WIRE_ACK);
	wire_put_cookie(&o, cookie);
	wire_put_flags(&o, WIRE_F_HELD);
	wire_list_begin(&o, WIRE_K_CARDS);
	(void)wire_add_card(&o, &c->self->card); /* an empty datagram has room for two */
	if (m->has_card)
		(void)wire_add_card(&o, &m->card);
	wire_list_end(&o);
	dissem_send(c, &o, addr, 1);
}

void probe_forget(struct gossip_core *c, struct member *m)
{
	for (size_t i = 0; i < c->probe_top; i++) {
		struct probe *p = &c->probe[i];

		if (p->m == m || p->requester == m) {
			p->role = PROBE_FREE;
			p->m = p->requester = NULL;
		}
		for (unsigned int k = 0; k < PROBE_HELPERS; k++)
			if (p->helper[k] == m)
				p->helper[k] = NULL;
	}
}

static void verdict(struct gossip_core *c, struct probe *p)
{
	struct member *m = p->m;
	bool is_data_alive = p->is_data_acked, is_known = probe_is_path_known(c, m);

	p->role = PROBE_LATE;
	p->next_ms = c->now_ms + LATE_LIFE_MS;
	c->n.probes_failed++;
	if (!is_known)
		return;
	/* Whom we know not to answer says nothing about us. */
	if (m->state == GOSSIP_ALIVE)
		suspect_health(c, 1);
	if (m->state == GOSSIP_DEAD || m->state == GOSSIP_LEFT)
		return;
	if (!is_data_alive) {
		suspect_cast_vote(c, m);
	} else if (m->state != GOSSIP_HEADLESS) {
		suspect_clear(c, m);
		member_set_state(c, m, GOSSIP_HEADLESS);
		dissem_vote(c, m, GOSSIP_HEADLESS);
	}
}

/* Its machine lives, so there is no hurry: where much is lost on the way a second burst tells whether its daemon does. */
static unsigned int burst_rounds(struct gossip_core *c, const struct probe *p)
{
	return p->is_data_acked && !reach_is_clean(c, p->m) ? 2 * BURST_ROUNDS : BURST_ROUNDS;
}

static void probe_due(struct gossip_core *c, struct probe *p)
{
	if (p->role != PROBE_OWN) {
		if (p->role == PROBE_LATE && p->is_helped && probe_is_path_known(c, p->m))
			reach_on_detour(c, p->m);
		p->role = PROBE_FREE;
		return;
	}
	if (p->stage == 0 && p->m->state == GOSSIP_ALIVE)
		reach_on_sample(c, p->m, true);
	/* Headless as we knew it, and its kernel is well. */
	if (p->m->state == GOSSIP_HEADLESS && p->is_data_acked)
		p->role = PROBE_FREE;
	else if (p->stage < burst_rounds(c, p))
		burst_round(c, p);
	else
		verdict(c, p);
}

void probe_tick(struct gossip_core *c)
{
	for (size_t i = 0; i < c->probe_top; i++)
		if (c->probe[i].role != PROBE_FREE && c->now_ms >= c->probe[i].next_ms)
			probe_due(c, &c->probe[i]);
	while (c->probe_top > 0 && c->probe[c->probe_top - 1].role == PROBE_FREE)
		c->probe_top--;
}

uint64_t probe_deadline(const struct gossip_core *c)
{
	uint64_t d = UINT64_MAX;

	for (size_t i = 0; i < c->probe_top; i++)
		if (c->probe[i].role != PROBE_FREE && c->probe[i].next_ms < d)
			d = c->probe[i].next_ms;
	return d;
}

bool probe_is_unheard(const struct gossip_core *c, const struct member *m)
{
	return m->unheard_ms && c->now_ms - c->stood_ms >= m->unheard_ms + UNHEARD_MS;
}

static void void_one(struct probe *p)
{
	p->role = PROBE_FREE;
	if (p->m)
		p->m->asked_ms = 0;
}

void probe_void_all(struct gossip_core *c)
{
	for (size_t i = 0; i < c->probe_top; i++)
		void_one(&c->probe[i]);
}

void probe_void(struct gossip_core *c)
{
	for (size_t i = 0; i < c->probe_top; i++)
		if (!c->probe[i].m || !probe_is_unheard(c, c->probe[i].m))
			void_one(&c->probe[i]);
}

/* ---- strangers */

static struct probe *find_addr(struct gossip_core *c, const struct gossip_addr *addr,
			       size_t *ret_count)
{
	struct probe *found = NULL;

	*ret_count = 0;
	for (size_t i = 0; i < c->probe_top; i++) {
		struct probe *p = &c->probe[i];

		if (p->role != PROBE_CHALLENGE && p->role != PROBE_JOIN)
			continue;
		++*ret_count;
		if (p->addr.port == addr->port &&
		    memcmp(p->addr.ip, addr->ip, sizeof(addr->ip)) == 0)
			found = p;
	}
	return found;
}

static void probe_stranger(struct gossip_core *c, enum probe_role role,
			   const struct gossip_addr *addr)
{
	size_t count;
	struct probe *p = find_addr(c, addr, &count);

	if (!p && count < CHALLENGES_MAX)
		p = probe_new(c, role, NULL, addr, RETRY_LIFE_MS);
	if (p)
		send_probe(c, p);
}

void suspect_challenge(struct gossip_core *c, const struct gossip_addr *addr)
{
	probe_stranger(c, PROBE_CHALLENGE, addr);
}

void probe_join(struct gossip_core *c)
{
	for (size_t i = 0; i < c->seed_count; i++)
		probe_stranger(c, PROBE_JOIN, &c->seed[i]);
}

bool suspect_is_awaited(const struct gossip_core *c, uint64_t cookie)
{
	for (size_t i = 0; i < c->probe_top; i++)
		if ((c->probe[i].role == PROBE_CHALLENGE || c->probe[i].role == PROBE_JOIN) &&
		    c->probe[i].cookie == cookie)
			return true;
	return false;
}

/* ---- what arrives */

void suspect_on_probe(struct gossip_core *c, struct member *from, const struct gossip_addr *addr,
		      const struct wire_msg *msg)
{
	send_ack(c, from, addr, msg->cookie, sync_is_same(c, msg) ? WIRE_F_SAME : 0);
	if (!from)
		suspect_challenge(c, addr);
}

void suspect_ack_stranger(struct gossip_core *c, const struct gossip_addr *addr, uint64_t cookie)
{
	send_ack(c, NULL, addr, cookie, 0);
}

static void measure(struct gossip_core *c, struct probe *p, uint64_t max_us)
{
	uint64_t us = (c->now_ms - p->sent_ms) * 1000 + 500, off;
	struct member *m = p->m;

	if (us > max_us)
		us = max_us;
	if (m->rtt_us == 0) {
		m->rtt_us = (uint32_t)us;
		m->rtt_var_us = (uint32_t)us / 2;
		return;
	}
	off = us > m->rtt_us ? us - m->rtt_us : m->rtt_us - us;
	m->rtt_var_us =
		(uint32_t)((((uint64_t)m->rtt_var_us << RTT_VAR_SHIFT) - m->rtt_var_us + off) >>
			   RTT_VAR_SHIFT);
	m->rtt_us = (uint32_t)((((uint64_t)m->rtt_us << RTT_SHIFT) - m->rtt_us + us) >> RTT_SHIFT);
}

static void data_life(struct gossip_core *c, struct probe *p)
{
	struct member *m = p->m;

	p->is_data_acked = true;
	m->data_heard_ms = c->now_ms;
	if (m->state == GOSSIP_SUSPECT || m->state == GOSSIP_DEAD) {
		suspect_clear(c, m);
		member_set_state(c, m, GOSSIP_HEADLESS);
	}
}

static void on_helper_ack(struct gossip_core *c, struct probe *p, const struct wire_msg *msg)
{
	if (p->role != PROBE_OWN)
		return;
	if (msg->flags & WIRE_F_DATA) {
		data_life(c, p);
		return;
	}
	/* It lives; whether it answers us as well is another question. */
	p->role = PROBE_LATE;
	p->is_helped = true;
	p->next_ms = c->now_ms + HELPED_LIFE_MS + probe_rtt_ms(c, p->m) * 3 / 2;
	p->m->asked_ms = 0;
}

enum probe_role suspect_on_ack(struct gossip_core *c, struct member *from,
			       const struct wire_msg *msg)
{
	struct probe *p = msg->has_cookie ? find_cookie(c, msg->cookie) : NULL;
	enum probe_role role;

	if (!p)
		return PROBE_FREE;
	if (msg->flags & WIRE_F_HELPER) {
		if (p->m && from != p->m)
			on_helper_ack(c, p, msg);
		return PROBE_FREE;
	}
	role = p->role;
	if (p->m && p->m != from)
		return PROBE_FREE;
	if ((msg->flags & WIRE_F_SAME) && p->said == sync_word(c))
		sync_on_same(c, from);
	if (role == PROBE_ASKED)
		send_ack(c, p->requester, &p->requester->card.addr, p->requester_cookie,
			 WIRE_F_HELPER);
	/* Which of several an answer belongs to can't be told: it is no nearer than this, and that counts only where we know
	 * nothing better, or waited too short. */
	if (p->m)
		reach_on_answer(c, p->m);
	if (role == PROBE_OWN && p->stage == 0) {
		measure(c, p, UINT32_MAX / 16);
		reach_on_sample(c, p->m, false);
		suspect_health(c, -1);
	} else if (p->m && (role == PROBE_LATE || !p->m->rtt_us)) {
		measure(c, p, GUESS_MAX_MS * 1000);
	}
	p->role = PROBE_FREE;
	if (p->is_pinged && !p->is_data_acked) {
		/* Its kernel's answer is still to come. */
		p->role = PROBE_LATE;
		p->is_helped = false;
		p->cookie = core_random(c);
		p->next_ms = c->now_ms + PONG_LIFE_MS + probe_rtt_ms(c, p->m);
	}
	return role;
}

void suspect_on_pong(struct gossip_core *c, uint64_t cookie)
{
	for (size_t i = 0; i < c->probe_top; i++) {
		struct probe *p = &c->probe[i];

		if (p->role == PROBE_FREE || !p->m || p->data_cookie != cookie)
			continue;
		data_life(c, p);
		reach_on_pong(c, p->m);
		if (p->role == PROBE_ASKED)
			send_ack(c, p->requester, &p->requester->card.addr, p->requester_cookie,
				 WIRE_F_HELPER | WIRE_F_DATA);
		return;
	}
}

void suspect_on_ask(struct gossip_core *c, struct member *from, const struct wire_msg *msg)
{
	struct member *m = msg->has_target ? member_get(c, &msg->target) : NULL;
	struct probe *p = NULL;

	if (!m || m->is_self || m == from || !msg->has_cookie)
		return;
	for (size_t i = 0; i < c->probe_top && !p; i++)
		if (c->probe[i].role == PROBE_ASKED && c->probe[i].m == m &&
		    c->probe[i].requester_cookie == msg->cookie && c->probe[i].requester == from)
			p = &c->probe[i];
	if (!p) {
		p = probe_new(c, PROBE_ASKED, m, &m->card.addr, ASKED_LIFE_MS + probe_rtt_ms(c, m));
		if (!p)
			return;
		p->requester = from;
		p->requester_cookie = msg->cookie;
	}
	send_probe(c, p);
	send_data_ping(c, p);
	if (!m->asked_ms || c->now_ms >= m->asked_ms + ASKED_FRESH_MS)
		m->asked_ms = c->now_ms;
}

void suspect_on_send_failed(struct gossip_core *c, struct member *m)
{
	struct probe *p = find_role(c, m, PROBE_OWN);

	if (m->state != GOSSIP_ALIVE)
		return;
	if (!p)
		probe_start(c, m);
	else if (p->stage == 0)
		p->next_ms = c->now_ms;
}
