/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Other regions' lowest nodes: cards, whose word counts, what is dead. */
#include "gossip/region.h"

#include <stdlib.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"

#define HEARD_MS 4000  /* a speaker that was heard so lately lives */
#define SILENT_MS 1500 /* beside the time that a suspicion takes: the next probe must come first */
#define SUSPICION_MS 1500
#define COLD_MS 6000 /* who has just begun to ask may have to wait for tunnels */

struct region_slot *region_slot_of(const struct gossip_core *c, const struct node_id *id,
				   struct region **ret_region)
{
	for (size_t i = 1; i < c->regions->count; i++) {
		struct region *r = c->regions->r[i];

		for (size_t k = 0; k < REGION_SLOTS; k++)
			if (r->slot[k].m && node_id_cmp(&r->slot[k].m->id, id) == 0) {
				*ret_region = r;
				return &r->slot[k];
			}
	}
	return NULL;
}

struct region_slot *region_counting(const struct region *r)
{
	for (size_t i = 0; i < REGION_SLOTS; i++)
		if (r->slot[i].m && r->slot[i].state &&
		    node_id_cmp(&r->slot[i].m->id, &r->counts) == 0)
			return (struct region_slot *)(uintptr_t)&r->slot[i];
	return NULL;
}

bool region_is_heard(const struct gossip_core *c, const struct region_slot *s)
{
	return s->m && s->m->heard_ms &&
	       c->now_ms < s->m->heard_ms + HEARD_MS + 4 * s->m->rtt_us / 1000;
}

static bool names(const struct region_slot *x, const struct node_id *id)
{
	struct region_word w;

	if (region_word_decode(x->state->r.value, x->state->r.value_len, &w))
		return false;
	for (size_t i = 0; i < w.down_count; i++)
		if (memcmp(w.down[i], id->b, sizeof(w.down[i])) == 0)
			return true;
	return false;
}

/* How many others that we hear say that it is down. */
static unsigned int callers(const struct gossip_core *c, const struct region *r,
			    const struct region_slot *s)
{
	unsigned int n = 0;

	for (size_t i = 0; i < REGION_SLOTS; i++) {
		const struct region_slot *x = &r->slot[i];

		n += x != s && x->state && region_is_heard(c, x) && names(x, &s->m->id);
	}
	return n;
}

bool region_is_called_down(const struct gossip_core *c, const struct region *r,
			   const struct region_slot *s)
{
	if (callers(c, r, s) == 0)
		return false;
	for (size_t i = 0; i < REGION_SLOTS; i++) {
		const struct region_slot *x = &r->slot[i];

		if (x != s && x->state && region_is_heard(c, x) && !names(x, &s->m->id) &&
		    callers(c, r, x) < 2)
			return false;
	}
	return true;
}

bool region_is_silent(const struct gossip_core *c, const struct region *r)
{
	uint64_t min = c->cfg.suspicion_min_ms ? c->cfg.suspicion_min_ms : SUSPICION_MS;
	uint64_t from = c->regions->begun_ms, rtt_ms = 0;

	for (size_t i = 0; i < REGION_SLOTS; i++)
		if (r->slot[i].m && r->slot[i].m->rtt_us / 1000 > rtt_ms)
			rtt_ms = r->slot[i].m->rtt_us / 1000;
	if (r->since_ms > from && !r->is_told)
		from = r->since_ms;
	if (r->heard_ms > from)
		from = r->heard_ms;
	else
		from += COLD_MS;
	return c->now_ms > from + min * 3 / 2 + SILENT_MS + 2 * rtt_ms;
}

size_t region_rtts(const struct gossip_core *c, const char *name, uint32_t *ret, size_t max)
{
	const struct region *r = region_find(c, name);
	size_t n = 0;

	for (size_t i = 0; r && i < REGION_SLOTS && n < max; i++)
		if (r->slot[i].m && r->slot[i].m->rtt_us)
			ret[n++] = r->slot[i].m->rtt_us;
	return n;
}

size_t region_lowest(const struct gossip_core *c, struct member *ret[REGION_SPEAKERS])
{
	size_t n = 0;

	for (size_t i = 0; i < c->ring_count && n < REGION_SPEAKERS; i++)
		if (c->ring[i]->state == GOSSIP_ALIVE && !table_is_removed(c, &c->ring[i]->id))
			ret[n++] = c->ring[i];
	return n;
}

struct region_slot *region_pick(const struct gossip_core *c, const struct region *r, size_t n)
{
	const struct region_slot *sorted[REGION_SLOTS];
	size_t count = 0;

	for (size_t i = 0; i < REGION_SLOTS; i++) {
		size_t at = count;

		if (!region_is_heard(c, &r->slot[i]) || table_is_removed(c, &r->slot[i].m->id))
			continue;
		for (; at > 0 && node_id_cmp(&sorted[at - 1]->m->id, &r->slot[i].m->id) > 0; at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = &r->slot[i];
		count++;
	}
	return count ? (struct region_slot *)(uintptr_t)sorted[n % count] : NULL;
}

/* ---- cards */

static void slot_clear(struct region_slot *s)
{
	rblob_unref(s->state);
	free(s->m);
	memset(s, 0, sizeof(*s));
}

static bool is_named(const struct region *r, const struct node_id *id)
{
	const struct region_slot *s = region_counting(r);
	struct region_word w;

	if (memcmp(r->wanted, id->b, sizeof(r->wanted)) == 0)
		return true;
	if (!s || region_word_decode(s->state->r.value, s->state->r.value_len, &w))
		return false;
	for (size_t i = 0; i < w.lowest_count; i++)
		if (node_id_cmp(&w.lowest[i], id) == 0)
			return true;
	return false;
}

/* May a new one take its place? One that is not named must go for one that is; who says that he doesn't speak, for any that is
 * lower: one of the lowest does. */
static bool may_go(const struct gossip_core *c, const struct region *r, const struct region_slot *s,
		   const struct node_id *id)
{
	if (is_named(r, &s->m->id) && !table_is_removed(c, &s->m->id))
		return false;
	return !region_is_heard(c, s) || is_named(r, id) ||
	       (!s->state && node_id_cmp(id, &s->m->id) < 0);
}

/* Where a new one may go: a free place, or that of the highest that may go. */
static struct region_slot *find_place(const struct gossip_core *c, struct region *r,
				      const struct node_id *id)
{
	struct region_slot *worst = NULL;

	for (size_t i = 0; i < REGION_SLOTS; i++) {
		struct region_slot *s = &r->slot[i];

		if (!s->m)
			return s;
		if (may_go(c, r, s, id) && (!worst || node_id_cmp(&s->m->id, &worst->m->id) > 0))
			worst = s;
	}
	return worst;
}

static void set_card(struct gossip_core *c, struct region_slot *s, const struct wire_card *card)
{
	bool is_moved = !member_is_at(s->m, &card->addr);

	s->m->card = *card;
	s->m->has_card = true;
	if (is_moved)
		s->cookie = 0;
	c->regions->is_dirty = true;
}

void region_offer_card(struct gossip_core *c, const struct wire_card *card)
{
	struct region_slot *s;
	struct region *r;
	struct node_id id;

	c->cfg.signer.id_of(c->cfg.signer.arg, card->pub, &id);
	s = region_slot_of(c, &id, &r);
	if (s) {
		if (member_cmp_version(s->m, card->generation, card->incarnation) <= 0 ||
		    !member_is_card_signed(c, card))
			return;
		if (card->is_left || strcmp(r->name, card->region) != 0) {
			slot_clear(s);
			c->regions->is_dirty = true;
			return;
		}
		set_card(c, s, card);
		return;
	}
	if (card->is_left || table_is_removed(c, &id))
		return;
	r = region_find(c, card->region);
	/* What we would not keep need not be checked. */
	if (r ? !find_place(c, r, &id) : c->regions->count == GOSSIP_REGIONS_MAX)
		return;
	if (!member_is_card_signed(c, card) || !(r = region_get(c, card->region)))
		return;
	s = find_place(c, r, &id);
	if (s->m)
		slot_clear(s);
	s->m = calloc(1, sizeof(*s->m));
	if (!s->m)
		return;
	s->m->id = id;
	s->m->state = GOSSIP_ALIVE;
	s->m->since_ms = c->now_ms;
	set_card(c, s, card);
}

/* ---- words */

static struct rblob *blob_of(const struct record *r)
{
	struct rblob *b = malloc(sizeof(*b) + r->key_len + r->value_len);

	if (!b)
		return NULL;
	b->refs = 1;
	b->r = *r;
	memcpy(b->bytes, r->key, r->key_len);
	memcpy(b->bytes + r->key_len, r->value, r->value_len);
	b->r.key = b->bytes;
	b->r.value = b->bytes + r->key_len;
	return b;
}

bool region_offer_state(struct gossip_core *c, const struct record *r)
{
	uint8_t buf[RECORD_SIGNED_MAX];
	struct region *region;
	struct region_slot *s = region_slot_of(c, &r->writer, &region);
	struct region_word w;
	struct rblob *b;
	int len;

	if (!s || r->kind != REGION_KIND || record_check(r) || r->is_tombstone ||
	    table_is_removed(c, &r->writer) || r->key_len != strlen(REGION_KEY_STATE) ||
	    memcmp(r->key, REGION_KEY_STATE, r->key_len) != 0 ||
	    (s->state && record_cmp_version(r, &s->state->r) <= 0))
		return false;
	len = record_signed_bytes(r, buf, sizeof(buf));
	if (len < 0 || c->cfg.signer.verify(c->cfg.signer.arg, r->pub, buf, (size_t)len, r->sig)) {
		c->n.bad_signatures++;
		return false;
	}
	if (region_word_decode(r->value, r->value_len, &w)) {
		c->n.refused_records++;
		return false;
	}
	b = blob_of(r);
	if (!b)
		return false;
	rblob_unref(s->state);
	s->state = b;
	c->regions->is_dirty = true;
	return true;
}

void region_unspoken(struct gossip_core *c, struct region_slot *s)
{
	/* It will show who speaks, if it is asked as by a stranger. */
	s->told_cards = 0;
	if (!s->state)
		return;
	rblob_unref(s->state);
	s->state = NULL;
	c->regions->is_dirty = true;
}

/* ---- what the views come to */

const struct rec *region_word_of(const struct gossip_core *c, const struct node_id *id,
				 const char *key)
{
	return table_find(c, id, REGION_KIND, (const uint8_t *)key, strlen(key));
}

static size_t read_views(struct gossip_core *c, struct region_view view[REGION_SPEAKERS])
{
	struct member *low[REGION_SPEAKERS];
	size_t count = region_lowest(c, low), n = 0;

	for (size_t i = 0; i < count; i++) {
		const struct rec *r = region_word_of(c, &low[i]->id, REGION_KEY_VIEW);

		if (r && !r->blob->r.is_tombstone &&
		    region_view_decode(r->blob->r.value, r->blob->r.value_len, &view[n]) == 0)
			n++;
	}
	return n;
}

static const struct region_view_of *find_view(const struct region_view *v, uint32_t hash)
{
	for (size_t i = 0; i < v->count; i++)
		if (v->of[i].region == hash)
			return &v->of[i];
	return NULL;
}

static const struct region_slot *slot_of_number(const struct region *r, const uint8_t number[4])
{
	for (size_t i = 0; i < REGION_SLOTS; i++)
		if (r->slot[i].m && r->slot[i].state && memcmp(r->slot[i].m->id.b, number, 4) == 0)
			return &r->slot[i];
	return NULL;
}

static const struct region_slot *lowest_slot(const struct region *r)
{
	const struct region_slot *low = NULL;

	for (size_t i = 0; i < REGION_SLOTS; i++)
		if (r->slot[i].m && r->slot[i].state &&
		    (!low || node_id_cmp(&r->slot[i].m->id, &low->m->id) < 0))
			low = &r->slot[i];
	return low;
}

static void tell_caller(struct gossip_core *c, struct region *r, size_t at)
{
	const struct region_slot *s = region_counting(r);
	struct gossip_region g;
	uint64_t h = 0;

	core_fnv(&h, &r->is_dead, sizeof(r->is_dead));
	if (s)
		core_fnv(&h, s->state->r.value, s->state->r.value_len);
	if (r->is_told && h == r->told_hash)
		return;
	gossip_core_region_at(c, at, &g);
	queue_region_event(c, &g, !r->is_told);
	r->is_told = true;
	r->told_hash = h;
}

static void settle_one(struct gossip_core *c, struct region *r, const struct region_view *view,
		       size_t views)
{
	static const uint8_t nobody[4];
	const struct region_slot *counts = NULL;
	bool is_dead = false, is_alive = false, is_wanted = false;

	for (size_t i = 0; i < views; i++) {
		const struct region_view_of *v = find_view(&view[i], r->hash);

		if (!v)
			continue;
		is_dead |= v->is_dead;
		is_alive |= !v->is_dead;
		if (v->is_dead || is_wanted || memcmp(v->speaker, nobody, sizeof(nobody)) == 0)
			continue;
		is_wanted = true;
		memcpy(r->wanted, v->speaker, sizeof(r->wanted));
		counts = slot_of_number(r, v->speaker);
	}
	is_dead = is_dead && !is_alive;
	if (is_dead != r->is_dead) {
		r->is_dead = is_dead;
		r->since_ms = c->now_ms;
	}
	if (!counts)
		counts = region_counting(r);
	if (!counts)
		counts = lowest_slot(r);
	if (counts)
		r->counts = counts->m->id;
}

void region_settle(struct gossip_core *c)
{
	struct region_view view[REGION_SPEAKERS];
	size_t views = read_views(c, view);

	c->regions->is_dirty = false;
	for (size_t i = 1; i < c->regions->count; i++) {
		settle_one(c, c->regions->r[i], view, views);
		tell_caller(c, c->regions->r[i], i);
	}
}

/* ---- digests */

uint64_t region_cards_hash(const struct gossip_core *c, const struct region *r)
{
	const struct region_slot *s = region_counting(r), *x;
	struct region *dummy;
	struct region_word w;
	uint64_t h = 0;

	if (!s || region_word_decode(s->state->r.value, s->state->r.value_len, &w))
		return 0;
	for (size_t i = 0; i < w.lowest_count; i++) {
		core_fnv(&h, w.lowest[i].b, NODE_ID_BYTES);
		x = region_slot_of(c, &w.lowest[i], &dummy);
		if (!x)
			continue;
		core_fnv(&h, &x->m->card.generation, sizeof(x->m->card.generation));
		core_fnv(&h, &x->m->card.incarnation, sizeof(x->m->card.incarnation));
	}
	return h;
}

uint64_t region_digest(const struct gossip_core *c)
{
	uint64_t h = 0;

	for (size_t i = 1; i < c->regions->count; i++) {
		const struct region *r = c->regions->r[i];
		const struct region_slot *s = region_counting(r);
		uint64_t cards = region_cards_hash(c, r);

		core_fnv(&h, r->name, sizeof(r->name));
		core_fnv(&h, r->version.hash, sizeof(r->version.hash));
		core_fnv(&h, &cards, sizeof(cards));
		if (!s)
			continue;
		core_fnv(&h, s->m->id.b, sizeof(s->m->id.b));
		core_fnv(&h, &s->state->r.generation, sizeof(s->state->r.generation));
		core_fnv(&h, &s->state->r.seq, sizeof(s->state->r.seq));
	}
	return h;
}
