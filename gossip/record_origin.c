/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How far a writer's own records are known: counting, heads, generations, restatements. */
#include <errno.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"

#define UNMET_MAX 3 /* peers may be wrong once or twice */

/* ---- a writer's generation becomes whole */

static bool is_collected(const struct origin *o, const struct rec *r, uint64_t gc)
{
	return r->blob->r.is_tombstone && rec_is_stored(r) &&
	       r->blob->r.generation == o->generation && r->blob->r.seq <= gc;
}

/* The head's sum was met: what it shows to be over goes. */
static void origin_whole(struct gossip_core *c, struct origin *o, const struct head *h)
{
	struct rec *r, *next;
	uint64_t seq = o->head->blob->r.seq;

	if (seq > o->watermark)
		o->watermark = seq;
	if (seq > o->verified)
		o->verified = seq;
	if (!o->is_whole || h->gc > o->gc) {
		for (r = TAILQ_FIRST(&o->recs); r; r = next) {
			next = TAILQ_NEXT(r, of_origin);
			if (r->blob->r.generation < o->generation || is_collected(o, r, h->gc))
				table_drop(c, r);
		}
	}
	o->is_whole = true;
	o->unmet = 0;
	o->gc = o->gc_told = h->gc;
	origin_changed(c, o);
}

/* Sum of what is held of the generation, without what the head lets go; `touch` != 0: only what that restatement named. */
static struct digest sum_for_head(const struct origin *o, const struct head *h, uint32_t touch)
{
	struct digest sum = {{0, 0}};
	struct rec *r;

	TAILQ_FOREACH(r, &o->recs, of_origin)
	if (rec_is_in_gsum(r) && !is_collected(o, r, h->gc) && (!touch || r->touch == touch))
		digest_add(&sum, &r->hash);
	return sum;
}

static bool head_of(const struct origin *o, struct head *ret_head)
{
	return o->head && o->head->blob->r.generation == o->generation &&
	       head_decode(&o->head->blob->r, ret_head) == 0;
}

static void untold(struct gossip_core *c, struct origin *o)
{
	o->watermark = o->verified;
	o->gc_told = o->gc;
	origin_changed(c, o);
}

/* It gave one generation twice, and we know of a former life: what is missing lies below what we counted, so count anew; and
 * it is shown what we hold too much. */
static void recount(struct gossip_core *c, struct origin *o)
{
	o->watermark = o->verified = o->gc = o->gc_told = 0;
	o->unmet = 0;
	o->is_disputed = true;
	origin_changed(c, o);
}

void table_settle(struct gossip_core *c, struct origin *o)
{
	struct digest sum = o->gsum;
	struct head h;

	if (o == c->own || !head_of(o, &h))
		return;
	if (h.gc > o->gc)
		sum = sum_for_head(o, &h, 0);
	if (digest_eq(&sum, &h.sum)) {
		origin_whole(c, o, &h);
		return;
	}
	if (o->watermark < o->head->blob->r.seq || o->top > o->head->blob->r.seq)
		return;
	/* We counted or were told that we have everything, and the writer says that we haven't. */
	if (!o->is_disputed && (o->watermark == o->verified || ++o->unmet >= UNMET_MAX))
		recount(c, o);
	else if (o->watermark > o->verified)
		untold(c, o);
}

void table_count(struct gossip_core *c, struct origin *o, uint64_t to, uint64_t gc)
{
	if (to <= o->watermark)
		return;
	o->watermark = to;
	if (gc > to)
		gc = to;
	if (gc > o->gc_told)
		o->gc_told = gc;
	origin_changed(c, o);
	table_settle(c, o);
}

/* Did it leave out anything that we hold and that it should have named? */
static bool is_all_named(const struct origin *o)
{
	struct rec *r;

	TAILQ_FOREACH(r, &o->recs, of_origin)
	{
		const struct record *v = &r->blob->r;

		if (record_scope_of(v->kind) == RECORD_OWN && v->generation == o->generation &&
		    v->seq <= o->reset_at && r->touch != o->reset_touch)
			return false;
	}
	return true;
}

void table_end_reset(struct gossip_core *c, struct origin *o, uint64_t gc)
{
	struct rec *r, *next;
	struct digest sum;
	struct head h;

	if (is_all_named(o)) {
		table_count(c, o, o->reset_at, gc);
		return;
	}
	if (!head_of(o, &h))
		return;
	sum = sum_for_head(o, &h, o->reset_touch);
	if (!digest_eq(&sum, &h.sum))
		return;
	for (r = TAILQ_FIRST(&o->recs); r; r = next) {
		next = TAILQ_NEXT(r, of_origin);
		/* What came after the head was written is not its to judge. */
		if (r->touch != o->reset_touch && rec_is_in_gsum(r) &&
		    r->blob->r.seq <= o->head->blob->r.seq)
			table_drop(c, r);
	}
	origin_whole(c, o, &h);
}

/* ---- a writer's next generation */

void origin_raise(struct origin *o, uint64_t generation)
{
	o->former = o->generation;
	o->former_watermark = o->watermark;
	o->generation = generation;
	o->watermark = o->verified = o->top = o->gc = o->gc_told = 0;
	o->gsum = (struct digest){{0, 0}};
	o->is_whole = o->is_closed = o->is_disputed = false;
	o->reset_touch = 0;
	o->unmet = 0;
}

void origin_advance(struct origin *o, const struct record *r)
{
	if (record_scope_of(r->kind) != RECORD_OWN || r->generation != o->generation)
		return;
	if (r->seq > o->top)
		o->top = r->seq;
	if (r->seq == o->watermark + 1)
		o->watermark++;
	if (r->seq == o->verified + 1)
		o->verified++;
}

static bool has_older(const struct origin *o)
{
	struct rec *r;

	TAILQ_FOREACH(r, &o->recs, of_origin)
	if (r->blob->r.generation < o->generation)
		return true;
	return false;
}

void table_loaded(struct gossip_core *c)
{
	struct origin *o, *next;

	HASH_ITER(hh, c->origins, o, next)
	{
		/* Stored when everyone knew everyone: members of other regions were not loaded. */
		if (c->regions && o != c->own && !member_get(c, &o->id))
			table_drop_origin(c, o);
		else if (o->head && !has_older(o))
			o->is_closed = true;
	}
}

/* ---- over a restart */

void origin_changed(struct gossip_core *c, struct origin *o)
{
	if (c->regions)
		c->regions->is_stale = true;
	if (o->is_changed || o == c->own)
		return;
	o->is_changed = true;
	TAILQ_INSERT_TAIL(&c->origins_changed, o, changed);
}

bool origin_next_event(struct gossip_core *c, struct gossip_event *ret_event)
{
	struct origin *o = TAILQ_FIRST(&c->origins_changed);

	if (!o)
		return false;
	TAILQ_REMOVE(&c->origins_changed, o, changed);
	o->is_changed = false;
	memset(ret_event, 0, sizeof(*ret_event));
	ret_event->kind = GOSSIP_EV_ORIGIN;
	ret_event->generation = o->generation;
	ret_event->origin = (struct gossip_origin){.id = o->id,
						   .generation = o->generation,
						   .watermark = o->watermark,
						   .verified = o->verified,
						   .gc = o->gc,
						   .gc_told = o->gc_told,
						   .former = o->former,
						   .former_watermark = o->former_watermark,
						   .is_whole = o->is_whole,
						   .is_closed = o->is_closed,
						   .is_disputed = o->is_disputed};
	digest_bytes(&o->sum, ret_event->origin.sum);
	return true;
}

static bool is_sane(const struct origin *o, const struct gossip_origin *g)
{
	return g->generation <= RECORD_SEQ_MAX && g->watermark <= RECORD_SEQ_MAX &&
	       g->former_watermark <= RECORD_SEQ_MAX && g->verified <= g->watermark &&
	       g->gc <= g->gc_told && g->gc_told <= g->watermark &&
	       (g->former < g->generation || g->generation == 0) && (!g->is_whole || !has_older(o));
}

int gossip_core_load_origin(struct gossip_core *c, const struct gossip_origin *g)
{
	struct origin *o = table_origin(c, &g->id);
	struct digest sum;

	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_LOAD_ORIGIN, .what = g});
	digest_from(g->sum, &sum);
	if (!o || o == c->own || !digest_eq(&o->sum, &sum) || g->generation < o->generation)
		return -ESTALE;
	if (g->generation > o->generation) /* by a record that isn't stored */
		origin_raise(o, g->generation);
	if (!is_sane(o, g))
		return -EBADMSG;
	o->watermark = g->watermark;
	o->verified = g->verified;
	o->gc = g->gc;
	o->gc_told = g->gc_told;
	o->former = g->former;
	o->former_watermark = g->former_watermark;
	o->is_whole = g->is_whole;
	o->is_closed = g->is_closed;
	o->is_disputed = g->is_disputed;
	if (o->is_changed)
		TAILQ_REMOVE(&c->origins_changed, o, changed);
	o->is_changed = false;
	return 0;
}
