/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Votes and suspicion, and when to probe whom. Probes themselves are in suspect_probe.c. */
#include "gossip/suspect.h"

#include "gossip/dissem.h"
#include "gossip/member.h"
#include "gossip/suspect_probe.h"

#define VOTE_SENDS 2 /* each voter tells everyone so often */
#define VOTE_AGAIN_MS 50
#define VOTE_LIFE_MS 3000 /* a vote that nobody confirms is forgotten */
#define VOTES_NEEDED 2
#define CONFIRMERS 3	  /* about so many look for themselves when they hear a first vote */
#define EVIDENCE_MS 60	  /* a helper's own probe, unanswered this long, is evidence */
#define DATA_FRESH_MS 300 /* the kernel answered so recently: not suspect */
/* Who calls it headless heard nothing of it for a whole burst: what we heard before that, and half a round trip, says nothing. */
#define CONTROL_FRESH_MS 200
#define SCAN_MS 200
#define NEAR 2		    /* so many places on the ring know each other's tunnels warm */
#define NEAR_QUIET_MS 20000 /* after so long without a word they are probed */
#define NEAR_AGAIN_MS 1000  /* and so often while that lasts */
#define RETRY_MS 1000	    /* one dead member is tried again */
#define ISOLATED_MS 1500 /* nobody was heard: the fault may be ours, look at all of them faster */
#define ISOLATED_PROBES 4
#define BETWEEN_MAX 4 /* members that don't answer, between us and the next that lives */
#define REFUTE_EVERY_MS 100
#define HEALTH_MAX 7
#define RANDOM_EVERY 5 /* regular probes: then one goes to a random member, too */
#define DEATH_LOOKS 64 /* members looked at for a death to tell again */
#define HEARD_JUST_NOW_MS 1000
#define SUSPICION_MIN_MS 1500

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

void suspect_health(struct gossip_core *c, int change)
{
	if (change > 0 && c->health < HEALTH_MAX)
		c->health++;
	if (change < 0 && c->health > 0)
		c->health--;
}

static bool is_isolated(const struct gossip_core *c)
{
	return c->now_ms > c->any_heard_ms + ISOLATED_MS;
}

/* ---- votes */

void suspect_clear(struct gossip_core *c, struct member *m)
{
	(void)c;
	m->vote_count = 0;
	m->my_vote = false;
	m->my_vote_sends = 0;
}

/* How many votes it takes: two, unless nobody else could cast the second one. Whoever is not dead could, also one that we
 * doubt: if all fall silent at once, it is more likely us, and only time (is_isolated) makes our word enough. */
static unsigned int votes_needed(const struct gossip_core *c, const struct member *m)
{
	if (is_isolated(c))
		return 1;
	for (size_t i = 0; i < c->ring_count; i++) {
		const struct member *x = c->ring[i];

		if (x != m && !x->is_self && x->state != GOSSIP_DEAD && x->state != GOSSIP_LEFT)
			return VOTES_NEEDED;
	}
	return 1;
}

/* Lifeguard: the fewer confirm it, and the worse we ourselves are, the longer. */
static uint64_t suspicion_ms(const struct gossip_core *c, const struct member *m)
{
	uint64_t min = c->cfg.suspicion_min_ms ? c->cfg.suspicion_min_ms : SUSPICION_MIN_MS;

	if (m->vote_count < VOTES_MAX)
		min += min / 2;
	return min * (2 + c->health) / 2;
}

static void evaluate(struct gossip_core *c, struct member *m)
{
	if (m->vote_count == 0 || m->vote_count < votes_needed(c, m))
		return;
	/* More votes shorten it; nothing makes it longer. */
	if (m->state == GOSSIP_SUSPECT)
		m->suspect_until_ms =
			min_u64(m->suspect_until_ms, m->since_ms + suspicion_ms(c, m));
	if (m->state != GOSSIP_ALIVE && m->state != GOSSIP_HEADLESS)
		return;
	if (m->card.has_forwarder && m->data_heard_ms &&
	    c->now_ms < m->data_heard_ms + DATA_FRESH_MS)
		return;
	member_set_state(c, m, GOSSIP_SUSPECT);
	m->suspect_until_ms = c->now_ms + suspicion_ms(c, m);
	c->scan_next_ms = min_u64(c->scan_next_ms, m->suspect_until_ms);
	dissem_member(c, m, DISSEM_RELAY);
	/* Look once for ourselves, and let it know: it may refute, or its kernel may answer. */
	probe_once(c, m);
}

static void add_vote(struct gossip_core *c, struct member *m, const struct node_id *voter)
{
	m->vote_ms = c->now_ms;
	c->scan_next_ms = min_u64(c->scan_next_ms, c->now_ms + SCAN_MS);
	for (unsigned int i = 0; i < m->vote_count; i++)
		if (node_id_cmp(&m->voter[i], voter) == 0)
			return;
	if (m->vote_count < VOTES_MAX)
		m->voter[m->vote_count++] = *voter;
}

void suspect_cast_vote(struct gossip_core *c, struct member *m)
{
	if (m->state == GOSSIP_DEAD || m->state == GOSSIP_LEFT ||
	    (m->vote_count >= VOTES_MAX && !m->my_vote))
		return;
	add_vote(c, m, &c->self->id);
	m->my_vote = true;
	m->my_vote_sends = VOTE_SENDS - 1;
	m->my_vote_next_ms = c->now_ms + VOTE_AGAIN_MS;
	c->scan_next_ms = min_u64(c->scan_next_ms, m->my_vote_next_ms);
	dissem_vote(c, m, GOSSIP_SUSPECT);
	evaluate(c, m);
}

static void on_vote_on_self(struct gossip_core *c, struct member *from, const struct wire_vote *v)
{
	int d = member_cmp_version(c->self, v->generation, v->incarnation);

	if (c->has_left)
		return;
	if (d != 0) {
		/* Out of date: it lacks our card. (From the future it can't be: only we sign cards.) */
		from->told = 0;
		if (d < 0)
			probe_once(c, from);
		return;
	}
	if (c->refuted_ms && c->now_ms < c->refuted_ms + REFUTE_EVERY_MS)
		return;
	c->refuted_ms = c->now_ms;
	c->n.refutations++;
	if (v->state != GOSSIP_HEADLESS)
		suspect_health(c, 1);
	member_renew_self(c, true);
}

const struct member *suspect_next_death(struct gossip_core *c)
{
	if (c->state_count[GOSSIP_DEAD] == 0)
		return NULL;
	for (unsigned int i = 0; i < DEATH_LOOKS; i++) {
		const struct member *m = c->ring[c->death_next++ % c->ring_count];

		if (m->state == GOSSIP_DEAD && m->has_card)
			return m;
	}
	return NULL;
}

/* We probed it for somebody else and it kept silent: that is an opinion of our own. */
static bool has_evidence(const struct gossip_core *c, const struct member *m)
{
	return m->asked_ms && probe_is_path_known(c, m) &&
	       c->now_ms < m->asked_ms + ASKED_FRESH_MS &&
	       c->now_ms >= m->asked_ms + EVIDENCE_MS + probe_rtt_ms(c, m) &&
	       m->heard_ms < m->asked_ms &&
	       !(m->card.has_forwarder && m->data_heard_ms >= m->asked_ms);
}

/* Next to it on the ring, or the next but one: our tunnels to it are in use. */
static bool is_near(const struct gossip_core *c, const struct member *m)
{
	for (unsigned int way = 0; way < 2; way++) {
		const struct member *x = m;

		for (unsigned int i = 0; i < NEAR && x; i++) {
			x = member_neighbour(c, x, way == 0, m);
			if (x == c->self)
				return true;
		}
	}
	return false;
}

/* Somebody doubts it: shall we look for ourselves? */
static bool is_confirmer(struct gossip_core *c, const struct member *m)
{
	return is_near(c, m) || (probe_is_path_known(c, m) &&
				 core_random_below(c, c->state_count[GOSSIP_ALIVE]) < CONFIRMERS);
}

void suspect_on_vote(struct gossip_core *c, struct member *from, const struct wire_vote *v)
{
	struct member *m = member_get(c, &v->id);

	if (!m || m == from)
		return;
	if (m->is_self) {
		on_vote_on_self(c, from, v);
		return;
	}
	if (member_cmp_version(m, v->generation, v->incarnation) != 0)
		return;
	if (v->state == GOSSIP_HEADLESS) {
		if (m->state == GOSSIP_ALIVE &&
		    c->now_ms >= m->heard_ms + CONTROL_FRESH_MS + probe_rtt_ms(c, m) / 2)
			member_set_state(c, m, GOSSIP_HEADLESS);
		return;
	}
	if (m->state == GOSSIP_DEAD || m->state == GOSSIP_LEFT)
		return;
	add_vote(c, m, &from->id);
	if (!m->my_vote && m->vote_count < VOTES_MAX && m->state != GOSSIP_SUSPECT) {
		if (has_evidence(c, m))
			suspect_cast_vote(c, m);
		else if (m->vote_count == 1 && v->state == GOSSIP_DEAD &&
			 c->now_ms >= m->heard_ms + HEARD_JUST_NOW_MS)
			probe_burst(c, m); /* dead to others, and we did not hear of it: look */
		else if (m->vote_count == 1 && v->state == GOSSIP_SUSPECT && is_confirmer(c, m))
			probe_burst(c, m);
	}
	evaluate(c, m);
}

/* ---- time */

static void scan_member(struct gossip_core *c, struct member *m)
{
	if (m->my_vote && m->my_vote_sends > 0 && c->now_ms >= m->my_vote_next_ms) {
		m->my_vote_sends--;
		m->my_vote_next_ms = c->now_ms + VOTE_AGAIN_MS;
		dissem_vote(c, m, GOSSIP_SUSPECT);
	}
	if (m->state == GOSSIP_SUSPECT) {
		if (c->now_ms >= m->suspect_until_ms)
			member_set_state(c, m, GOSSIP_DEAD);
	} else if (m->vote_count > 0) {
		if (c->now_ms >= m->vote_ms + VOTE_LIFE_MS)
			suspect_clear(c, m);
		else
			evaluate(c, m);
	}
}

static void scan(struct gossip_core *c)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < c->ring_count; i++) {
		struct member *m = c->ring[i];

		if (m->is_self)
			continue;
		scan_member(c, m);
		if (m->vote_count > 0)
			next = min_u64(next, c->now_ms + SCAN_MS);
		if (m->my_vote && m->my_vote_sends > 0)
			next = min_u64(next, m->my_vote_next_ms);
		if (m->state == GOSSIP_SUSPECT)
			next = min_u64(next, m->suspect_until_ms);
	}
	c->scan_next_ms = next;
}

/* The next on the ring that lives, and those before it that don't answer; those after it when they were silent for long. */
static void probe_successor(struct gossip_core *c)
{
	size_t at = member_ring_idx(c, c->self);
	unsigned int between = 0, alive = 0;

	for (size_t i = 1; i < c->ring_count && alive < NEAR; i++) {
		struct member *m = c->ring[(at + i) % c->ring_count];

		if (m->state == GOSSIP_ALIVE) {
			if (alive++ == 0 || (c->now_ms >= m->heard_ms + NEAR_QUIET_MS &&
					     c->now_ms >= m->try_last_ms + NEAR_AGAIN_MS))
				probe_start(c, m);
			continue;
		}
		if (alive > 0)
			continue;
		if ((m->state == GOSSIP_HEADLESS || m->state == GOSSIP_SUSPECT) &&
		    between++ < BETWEEN_MAX)
			probe_start(c, m);
	}
}

static void regular_probe(struct gossip_core *c)
{
	uint64_t interval = c->cfg.probe_interval_ms ? c->cfg.probe_interval_ms : PROBE_INTERVAL_MS;
	struct member *m = NULL;

	reach_tick(c);
	/* A random one as well, not instead: the successor would wait twice as long to be missed. */
	if (++c->probe_count % RANDOM_EVERY == 0)
		m = member_random_alive(c, NULL, NULL);
	if (m)
		probe_start(c, m);
	probe_successor(c);
	if (is_isolated(c)) {
		for (unsigned int i = 0; i < ISOLATED_PROBES; i++) {
			m = member_random_alive(c, NULL, NULL);
			if (m && !m->my_vote)
				probe_start(c, m);
		}
	}
	c->probe_next_ms = c->now_ms + interval * (1 + c->health);
}

static bool wants_join(const struct gossip_core *c)
{
	return c->seed_count > 0 && (!c->is_joined || c->state_count[GOSSIP_ALIVE] <= 1);
}

void suspect_tick(struct gossip_core *c)
{
	struct member *m;

	probe_tick(c);
	if (c->now_ms >= c->probe_next_ms)
		regular_probe(c);
	if (c->now_ms >= c->scan_next_ms)
		scan(c);
	if (c->now_ms >= c->retry_next_ms) {
		m = member_next_in(c, GOSSIP_DEAD, &c->retry_at[0]);
		if (m)
			probe_once(c, m);
		/* Of whom we have the word of others, that may be long out of date. */
		m = member_next_in(c, GOSSIP_HEADLESS, &c->retry_at[1]);
		if (m)
			probe_once(c, m);
		c->retry_next_ms = c->now_ms + RETRY_MS + core_random_below(c, RETRY_MS / 4);
	}
	if (wants_join(c) && c->now_ms >= c->join_next_ms) {
		probe_join(c);
		c->join_next_ms = c->now_ms + c->join_wait_ms;
		if (c->join_wait_ms < JOIN_WAIT_MAX_MS)
			c->join_wait_ms *= 2;
	}
}

uint64_t suspect_deadline(const struct gossip_core *c)
{
	uint64_t d = min_u64(min_u64(c->probe_next_ms, c->scan_next_ms), probe_deadline(c));

	if (c->state_count[GOSSIP_DEAD] > 0)
		d = min_u64(d, c->retry_next_ms);
	if (wants_join(c))
		d = min_u64(d, c->join_next_ms);
	return d;
}

void suspect_thaw(struct gossip_core *c, uint64_t gap_ms)
{
	c->stood_ms += gap_ms;
	probe_void(c);
	suspect_health(c, 1);
	c->n.frozen++;
	reach_on_frozen(c, gap_ms);
	c->any_heard_ms = c->now_ms;
	for (size_t i = 0; i < c->ring_count; i++) {
		struct member *m = c->ring[i];

		if (m->state == GOSSIP_SUSPECT)
			m->suspect_until_ms += gap_ms;
		else if (!probe_is_unheard(c, m))
			suspect_clear(c, m);
	}
}
