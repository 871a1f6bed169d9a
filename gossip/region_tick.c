/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* When what is due between regions; what this node says; shared records on their way to other regions. */
#include <stdlib.h>
#include <string.h>

#include "gossip/dissem.h"
#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"
#include "gossip/suspect.h"
#include "gossip/suspect_probe.h"
#include "gossip/version.h"

#define TICK_MS 100
#define IDLE_MS 500 /* of who is no speaker */
#define ASK_MS 1000 /* the speaker whose word counts; the others half as often */
#define AGAIN_MS 300
#define GIVEN_UP_MS 12000 /* who is silent for so long is asked every AWAY_MS, for ever */
#define AWAY_MS 5000
#define SAY_MS 5000 /* a view is said again, for who has just come */
#define SEEDS_MS 5000
#define PUSH_MS 200
#define TELL_PER_S 50
#define TELL_BURST 100

/* ---- what we say */

static void say_state(struct gossip_core *c)
{
	struct region_word w = {.live = c->state_count[GOSSIP_ALIVE]};
	uint8_t buf[RECORD_VALUE_MAX];
	struct member *low[REGION_SPEAKERS];
	uint64_t before = c->volatile_seq;
	int len;

	w.lowest_count = region_lowest(c, low);
	for (size_t i = 0; i < w.lowest_count; i++)
		w.lowest[i] = low[i]->id;
	/* Suspects first: of the dead everyone may know. */
	for (int state = GOSSIP_SUSPECT; state <= GOSSIP_DEAD; state++)
		for (size_t i = 0; c->state_count[state] && i < c->ring_count; i++)
			if (c->ring[i]->state == (enum gossip_state)state &&
			    w.down_count < GOSSIP_DOWN_MAX)
				memcpy(w.down[w.down_count++], c->ring[i]->id.b, 4);
	len = region_word_encode(&w, buf, sizeof(buf));
	if (len > 0)
		(void)own_write(c, REGION_KIND, (const uint8_t *)REGION_KEY_STATE,
				strlen(REGION_KEY_STATE), buf, (size_t)len, false, false);
	if (c->volatile_seq != before)
		c->regions->is_hurried = true;
}

/* Whose word counts: the lowest that we hear. Who is called down by all others will not be heard much longer; where they all call
 * each other that, we have no better. */
static const struct region_slot *speaker_of(const struct gossip_core *c, const struct region *r)
{
	const struct region_slot *low = NULL;
	bool is_low_down = false;

	for (size_t k = 0; k < REGION_SLOTS; k++) {
		const struct region_slot *s = &r->slot[k];
		bool is_down;

		if (!s->state || !region_is_heard(c, s) || table_is_removed(c, &s->m->id))
			continue;
		is_down = region_is_called_down(c, r, s);
		if (low &&
		    (is_down != is_low_down ? is_down : node_id_cmp(&s->m->id, &low->m->id) > 0))
			continue;
		low = s;
		is_low_down = is_down;
	}
	return low;
}

static void make_view(const struct gossip_core *c, struct region_view *v)
{
	memset(v, 0, sizeof(*v));
	for (size_t i = 1; i < c->regions->count; i++) {
		const struct region *r = c->regions->r[i];
		const struct region_slot *low = speaker_of(c, r);
		struct region_view_of *x = &v->of[v->count++];

		x->region = r->hash;
		x->is_dead = region_is_silent(c, r);
		if (low)
			memcpy(x->speaker, low->m->id.b, sizeof(x->speaker));
	}
}

static void say_view(struct gossip_core *c)
{
	struct regions *rs = c->regions;
	uint8_t buf[RECORD_VALUE_MAX];
	struct region_view v;
	bool is_news;
	int len;

	make_view(c, &v);
	v.turn = rs->view.turn;
	is_news = memcmp(&v, &rs->view, sizeof(v)) != 0;
	if (!is_news && c->now_ms < rs->said_ms + SAY_MS)
		return;
	v.turn++;
	rs->said_ms = c->now_ms;
	rs->view = v;
	len = region_view_encode(&v, buf, sizeof(buf));
	if (len > 0)
		(void)own_write(c, REGION_KIND, (const uint8_t *)REGION_KEY_VIEW,
				strlen(REGION_KEY_VIEW), buf, (size_t)len, false, is_news);
	rs->is_dirty = true;
}

/* ---- asking */

static uint64_t next_ask(const struct gossip_core *c, const struct region *r,
			 const struct region_slot *s)
{
	uint64_t heard =
		s->m->heard_ms > c->regions->begun_ms ? s->m->heard_ms : c->regions->begun_ms;

	if (!s->sent_ms)
		return 0;
	if (c->regions->is_hurried)
		return c->now_ms;
	if (s->sent_ms <= s->m->heard_ms)
		return s->sent_ms + (node_id_cmp(&s->m->id, &r->counts) == 0 ? ASK_MS : 2 * ASK_MS);
	if (c->now_ms < heard + GIVEN_UP_MS)
		return s->sent_ms + AGAIN_MS + s->m->rtt_us / 1000;
	return s->sent_ms + AWAY_MS;
}

static void ask_all(struct gossip_core *c)
{
	for (size_t i = 1; i < c->regions->count; i++) {
		struct region *r = c->regions->r[i];

		for (size_t k = 0; k < REGION_SLOTS; k++) {
			struct region_slot *s = &r->slot[k];

			if (!s->m || table_is_removed(c, &s->m->id) ||
			    c->now_ms < next_ask(c, r, s))
				continue;
			if (s->cookie && s->m->rtt_us)
				reach_on_sample(c, s->m, true);
			region_hello(c, r, s);
		}
	}
	c->regions->is_hurried = false;
}

static void ask_seeds(struct gossip_core *c)
{
	struct regions *rs = c->regions;
	bool is_lost = rs->count < 2;

	for (size_t i = 1; i < rs->count; i++)
		is_lost |= region_is_silent(c, rs->r[i]);
	if (!is_lost || c->seed_count == 0 || c->now_ms < rs->seeds_ms + SEEDS_MS)
		return;
	rs->seeds_ms = c->now_ms;
	probe_join(c);
}

/* ---- our value */

static void push(struct gossip_core *c)
{
	struct regions *rs = c->regions;

	if (!rs->is_push_due || c->now_ms < rs->pushed_ms + PUSH_MS || c->own->is_removed)
		return;
	rs->is_push_due = false;
	rs->pushed_ms = c->now_ms;
	for (size_t i = 1; i < rs->count && rs->r[0]->value; i++) {
		const struct region_slot *s = region_pick(c, rs->r[i], (size_t)rs->rank);

		if (s)
			region_send_value(c, rs->r[0], &s->m->card.addr);
	}
}

/* ---- shared records */

void region_shared_root(const struct gossip_core *c, uint8_t ret[16])
{
	struct digest sum = {{0, 0}};

	for (size_t i = 0; i < WIRE_BUCKETS; i++)
		digest_add(&sum, &c->bucket[i]);
	digest_bytes(&sum, ret);
}

void region_pass_on(struct gossip_core *c, const struct record *r)
{
	struct gossip_addr to[GOSSIP_REGIONS_MAX];
	struct regions *rs = c->regions;
	struct record v = *r;
	struct wire_out o;
	size_t n = 0;

	if (rs->is_foreign || rs->rank < 0 || rs->rank > 1 || c->own->is_removed)
		return;
	if (c->now_ms >= rs->tell_ms + 1000 / TELL_PER_S) {
		rs->tell_left += (int64_t)((c->now_ms - rs->tell_ms) * TELL_PER_S / 1000);
		rs->tell_ms = c->now_ms;
		if (rs->tell_left > TELL_BURST)
			rs->tell_left = TELL_BURST;
	}
	if (rs->tell_left <= 0)
		return; /* comparing brings it */
	rs->tell_left--;
	for (size_t i = 1; i < rs->count; i++) {
		const struct region_slot *s = region_pick(c, rs->r[i], (size_t)rs->rank);

		if (s)
			to[n++] = s->m->card.addr;
	}
	if (n == 0)
		return;
	v.is_urgent = true;
	version_begin(c, &o, c->dgram, sizeof(c->dgram), WIRE_REGION);
	wire_list_begin(&o, WIRE_K_RECORDS);
	(void)wire_add_record(&o, &v); /* an empty datagram has room */
	wire_list_end(&o);
	region_send(c, &o, to, n);
}

/* A view of one of ours, or somebody's removal, or the lifting of one. */
void region_note_record(struct gossip_core *c, const struct record *r)
{
	c->regions->is_dirty = true;
	if (r->kind == RECORD_KIND_REMOVAL && r->seq > c->regions->removal_top) {
		c->regions->removal_top = r->seq;
		c->regions->is_stale = true;
	}
}

/* ---- time */

static void find_rank(struct gossip_core *c)
{
	struct member *low[REGION_SPEAKERS];
	size_t count = region_lowest(c, low);
	int rank = -1;

	for (size_t i = 0; i < count; i++)
		if (low[i]->is_self)
			rank = (int)i;
	if (rank >= 0 && c->regions->rank < 0)
		c->regions->begun_ms = c->now_ms;
	if (rank >= 0 && rank < 2 && (c->regions->rank < 0 || c->regions->rank > 1))
		c->regions->is_push_due = true;
	c->regions->rank = rank;
}

static void tell_inside(struct gossip_core *c)
{
	for (size_t i = 1; i < c->regions->count; i++) {
		struct region *r = c->regions->r[i];
		const struct region_slot *s = region_counting(r);
		uint64_t h = 1;

		if (!s)
			continue;
		core_fnv(&h, s->m->id.b, sizeof(s->m->id.b));
		core_fnv(&h, &s->state->r.generation, sizeof(s->state->r.generation));
		core_fnv(&h, &s->state->r.seq, sizeof(s->state->r.seq));
		if (h == r->inside_hash)
			continue;
		r->inside_hash = h;
		if (c->regions->rank >= 0 && c->regions->rank < 2)
			region_tell_inside(c, r);
	}
}

void region_tick(struct gossip_core *c)
{
	struct regions *rs = c->regions;

	if (!rs)
		return;
	if (c->now_ms < rs->tick_ms && !rs->is_dirty)
		return;
	if (c->now_ms >= rs->tick_ms) {
		find_rank(c);
		if (rs->rank >= 0) {
			say_state(c);
			ask_all(c);
			ask_seeds(c);
			say_view(c);
			if (rs->rank < 2)
				push(c);
		}
		for (size_t i = 1; i < rs->count; i++)
			if (rs->r[i]->behind_ms)
				region_ask(c, rs->r[i]);
		rs->tick_ms = c->now_ms + (rs->rank >= 0 ? TICK_MS : IDLE_MS);
	}
	if (rs->is_dirty)
		region_settle(c);
	tell_inside(c);
}

uint64_t region_deadline(const struct gossip_core *c)
{
	if (!c->regions)
		return UINT64_MAX;
	return c->regions->is_dirty ? c->now_ms : c->regions->tick_ms;
}

void region_thaw(struct gossip_core *c)
{
	if (c->regions)
		c->regions->begun_ms = c->now_ms;
}
