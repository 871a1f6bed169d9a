/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the other lacks, and what we lacked: cards, and deltas of writers' records. */
#include <stdlib.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/sync.h"
#include "gossip/version.h"

#define LAG_PART_MS 900 /* messages of one comparison come closer together than this */

/* ---- a run of delta messages */

void sync_run_begin(struct sync_run *run, struct gossip_core *c, struct member *to)
{
	memset(run, 0, sizeof(*run));
	run->c = c;
	run->to = to;
	if (!c->stream)
		c->stream = malloc(GOSSIP_STREAM_MAX);
	run->is_over = !c->stream;
}

void sync_run_flush(struct sync_run *run)
{
	size_t len;

	if (!run->is_open)
		return;
	if (run->list)
		wire_list_end(&run->o);
	run->list = 0;
	run->is_open = false;
	len = wire_end(&run->o);
	queue_packet(run->c, GOSSIP_STREAM, &run->to->card.addr, 1, run->c->stream, len);
	if (++run->messages >= SYNC_CHUNKS_MAX)
		run->is_over = true;
}

bool sync_run_list(struct sync_run *run, enum wire_key list)
{
	if (run->is_open && run->list == list)
		return true;
	/* A message has each key once: what was there before may be there already, so begin afresh. */
	if (run->is_open && list < run->list)
		sync_run_flush(run);
	if (run->is_over)
		return false;
	if (!run->is_open) {
		version_begin(run->c, &run->o, run->c->stream, GOSSIP_STREAM_MAX, WIRE_DELTA);
		run->is_open = true;
	}
	if (run->list)
		wire_list_end(&run->o);
	wire_list_begin(&run->o, list);
	run->list = list;
	return true;
}

bool sync_run_record(struct sync_run *run, const struct record *r)
{
	if (!sync_run_list(run, WIRE_K_RECORDS))
		return false;
	if (wire_add_record(&run->o, r))
		return true;
	sync_run_flush(run);
	return sync_run_list(run, WIRE_K_RECORDS) && wire_add_record(&run->o, r);
}

/* ---- what the other lacks */

static bool add_card(struct sync_run *run, const struct member *m)
{
	for (int tries = 0; tries < 2; tries++) {
		if (!sync_run_list(run, WIRE_K_CARDS))
			return false;
		if (wire_add_card(&run->o, &m->card))
			return true;
		sync_run_flush(run);
	}
	return false;
}

/* Opinions go along with the cards: nobody shall take a dead node for alive. */
static void add_votes(struct sync_run *run)
{
	struct gossip_core *c = run->c;

	if (!run->is_open || !sync_run_list(run, WIRE_K_VOTES))
		return;
	for (size_t i = 0; i < c->ring_count; i++) {
		const struct member *m = c->ring[i];
		struct wire_vote v = {.id = m->id,
				      .generation = m->card.generation,
				      .incarnation = m->card.incarnation,
				      .state = m->state};

		if (m->has_card && m->state >= GOSSIP_HEADLESS && m->state <= GOSSIP_DEAD &&
		    !wire_add_vote(&run->o, &v))
			return;
	}
}

static void answer_members(struct sync_run *run, const struct wire_msg *msg)
{
	struct gossip_core *c = run->c;
	struct wire_list l = msg->seen;
	struct wire_seen s;
	uint32_t mark = ++c->touch;
	struct member *m;

	while (wire_next_seen(&l, &s)) {
		m = member_get(c, &s.id);
		if (m && member_cmp_version(m, s.generation, s.incarnation) >= 0)
			m->mark = mark;
	}
	for (size_t i = 0; i < c->ring_count; i++) {
		m = c->ring[i];
		if (m->mark == mark || !m->has_card || node_id_cmp(&m->id, &msg->range_lo) < 0 ||
		    node_id_cmp(&m->id, &msg->range_hi) > 0)
			continue;
		if (!add_card(run, m))
			break;
	}
	add_votes(run);
}

static int cmp_seq(const void *a, const void *b)
{
	const struct record *x = &(*(struct rec *const *)a)->blob->r;
	const struct record *y = &(*(struct rec *const *)b)->blob->r;

	return record_cmp_version(x, y);
}

#define ALL_LOOSE UINT64_MAX

struct delta_plan {
	struct origin *o;
	uint64_t from;
	bool is_reset, is_loose_wanted;
	struct rec **loose, **ordered;
	size_t loose_count, ordered_count;
};

/* What to send a peer that described this writer as `w`. false: nothing. */
static bool plan_delta(struct origin *o, const struct wire_origin *w, bool is_writer,
		       struct delta_plan *ret)
{
	bool is_same_gen = w->generation == o->generation;
	struct digest sum;
	bool is_equal;

	digest_from(w->sum, &sum);
	is_equal = digest_eq(&sum, &o->sum);
	*ret = (struct delta_plan){.o = o, .is_loose_wanted = !is_equal};
	/* Ahead of us: what we hold may still be in use there until the new generation is whole. And a writer that lost its
	 * memory must be shown all that it has forgotten. */
	if (w->generation > o->generation || (o->is_disputed && is_writer)) {
		ret->from = ALL_LOOSE;
		return !is_equal;
	}
	if (!is_same_gen) {
		ret->is_reset = o->gc_told > 0;
		return true;
	}
	ret->from = w->watermark;
	if (w->watermark < o->watermark) {
		ret->is_reset = w->watermark < o->gc_told;
	} else if (w->watermark == o->watermark && !is_equal && w->top <= w->watermark &&
		   o->top <= o->watermark) {
		/* As far as we are, yet not the same: state it all again. */
		ret->is_reset = true;
	}
	if (ret->is_reset)
		ret->from = 0;
	return w->watermark < o->watermark || !is_equal;
}

static bool plan_collect(struct delta_plan *p, const struct wire_origin *w)
{
	struct rec *r;

	p->loose = malloc(2 * (p->o->rec_count + 1) * sizeof(struct rec *));
	if (!p->loose)
		return false;
	p->ordered = p->loose + p->o->rec_count + 1;
	TAILQ_FOREACH(r, &p->o->recs, of_origin)
	{
		const struct record *v = &r->blob->r;

		if (record_scope_of(v->kind) != RECORD_OWN)
			continue;
		if (p->from != ALL_LOOSE && v->generation == p->o->generation &&
		    v->seq <= p->o->watermark) {
			if (v->seq > p->from)
				p->ordered[p->ordered_count++] = r;
		} else if (p->is_loose_wanted &&
			   (p->from == ALL_LOOSE || v->generation != w->generation ||
			    v->seq > w->watermark)) {
			p->loose[p->loose_count++] = r;
		}
	}
	qsort(p->ordered, p->ordered_count, sizeof(struct rec *), cmp_seq);
	return true;
}

static bool delta_open(struct sync_run *run, const struct origin *o, uint64_t from)
{
	for (int tries = 0; tries < 2; tries++) {
		if (!sync_run_list(run, WIRE_K_DELTAS))
			return false;
		/* A delta needs its head and a little company, or it isn't worth its frame. */
		if (wire_room(&run->o) > 256 &&
		    wire_delta_begin(&run->o, &o->id, o->generation, from, o->gc_told))
			return true;
		sync_run_flush(run);
	}
	return false;
}

/* Loose records first, and in the same message as the first ordered one: whoever counts up to our watermark must hold
 * what replaced the versions below it. When they don't fit, nothing is counted this time. */
static void send_delta(struct sync_run *run, struct delta_plan *p)
{
	unsigned int flags = p->is_reset ? WIRE_D_RESET : 0;
	struct origin *o = p->o;
	uint64_t at = p->from;
	bool is_counted = p->from != ALL_LOOSE;
	size_t i;

	if (p->loose_count + p->ordered_count == 0 && (!is_counted || at >= o->watermark))
		return;
	if (p->loose_count > 0)
		sync_run_flush(run);
	if (!delta_open(run, o, is_counted ? at : 0))
		return;
	for (i = 0; i < p->loose_count; i++) {
		if (wire_add_record(&run->o, &p->loose[i]->blob->r))
			continue;
		is_counted = false;
		wire_delta_end(&run->o, 0, 0);
		sync_run_flush(run);
		if (!delta_open(run, o, 0))
			return;
		(void)wire_add_record(&run->o,
				      &p->loose[i]->blob->r); /* an empty message has room */
	}
	if (!is_counted) {
		wire_delta_end(&run->o, 0, 0);
		return;
	}
	for (i = 0; i < p->ordered_count; i++) {
		const struct record *v = &p->ordered[i]->blob->r;

		if (!wire_add_record(&run->o, v)) {
			bool is_alone = i == 0 && p->loose_count > 0;

			wire_delta_end(&run->o, is_alone ? 0 : at, is_alone ? 0 : flags);
			sync_run_flush(run);
			if (is_alone || !delta_open(run, o, at))
				return;
			(void)wire_add_record(&run->o, v);
		}
		at = v->seq;
	}
	wire_delta_end(&run->o, o->watermark, flags | WIRE_D_LAST);
}

/* Who lacks what, for people: by the sums; a peer that merely has not counted yet lacks nothing. */
static void note_lag(struct sync_lag *lag, const struct delta_plan *p, const struct wire_origin *w)
{
	if (!p->is_loose_wanted)
		return;
	if (p->loose_count + p->ordered_count > 0) {
		lag->writers++;
		lag->records += p->loose_count + p->ordered_count;
	}
	if (w->generation > p->o->generation ||
	    (w->generation == p->o->generation && w->top > p->o->top))
		lag->ahead++;
}

static void answer_origin(struct sync_run *run, struct origin *o, const struct wire_origin *w)
{
	struct delta_plan p;

	bool is_writer = node_id_cmp(&o->id, &run->to->id) == 0;

	if (run->is_over || !plan_delta(o, w, is_writer, &p) || !plan_collect(&p, w))
		return;
	note_lag(&run->to->lag, &p, w);
	send_delta(run, &p);
	free(p.loose);
}

static void answer_origins(struct sync_run *run, const struct wire_msg *msg)
{
	struct gossip_core *c = run->c;
	struct wire_list l = msg->origins;
	struct wire_origin w;
	uint32_t mark = ++c->touch;
	struct origin *o, *next;

	while (wire_next_origin(&l, &w)) {
		o = table_origin(c, &w.id);
		if (!o && !table_is_removed(c, &w.id))
			run->to->lag.ahead++;
		if (!o || o->is_removed)
			continue;
		o->mark = mark;
		answer_origin(run, o, &w);
	}
	HASH_ITER(hh, c->origins, o, next)
	{
		if (o->mark == mark || o->is_removed || o->rec_count == 0 ||
		    node_id_cmp(&o->id, &msg->range_lo) < 0 ||
		    node_id_cmp(&o->id, &msg->range_hi) > 0)
			continue;
		w = (struct wire_origin){.id = o->id};
		answer_origin(run, o, &w);
	}
}

void sync_lag_begin(struct gossip_core *c, struct member *m)
{
	if (c->now_ms >= m->lag.at_ms + LAG_PART_MS)
		memset(&m->lag, 0, sizeof(m->lag));
	m->lag.at_ms = c->now_ms;
}

void sync_answer(struct gossip_core *c, struct member *from, const struct wire_msg *msg)
{
	struct sync_run run;

	sync_lag_begin(c, from);
	sync_run_begin(&run, c, from);
	answer_members(&run, msg);
	answer_origins(&run, msg);
	sync_run_flush(&run);
}

/* ---- what we lacked */

/* The mark for the records of this chunk: 0 if it is no part of a restatement, or not the next one. */
static uint32_t reset_touch(struct gossip_core *c, const struct origin *o,
			    const struct member *from, const struct wire_delta *d)
{
	if (!(d->flags & WIRE_D_RESET))
		return 0;
	if (d->from == 0)
		return ++c->touch;
	if (!o || d->generation != o->generation || d->from != o->reset_at ||
	    node_id_cmp(&o->reset_from, &from->id) != 0)
		return 0;
	return o->reset_touch;
}

static void on_delta(struct gossip_core *c, struct member *from, struct wire_delta *d)
{
	struct origin *o = table_origin(c, &d->id);
	uint32_t touch = reset_touch(c, o, from, d);
	struct record r;

	while (wire_next_record(&d->records, &r)) {
		c->cfg.signer.id_of(c->cfg.signer.arg, r.pub, &r.writer);
		if (record_scope_of(r.kind) != RECORD_OWN || node_id_cmp(&r.writer, &d->id) != 0) {
			c->n.refused_records++;
			continue;
		}
		(void)table_offer(c, &r, TABLE_SYNCED,
				  touch); /* what is refused is counted there */
	}
	/* Only a record of that generation, signed, can have raised ours to it. */
	o = table_origin(c, &d->id);
	if (!o || o == c->own || d->generation != o->generation)
		return;
	if (!(d->flags & WIRE_D_RESET)) {
		if (d->from <= o->watermark && d->gc <= o->watermark)
			table_count(c, o, d->to, d->gc);
		return;
	}
	if (!touch)
		return;
	o->reset_touch = touch;
	o->reset_from = from->id;
	o->reset_at = d->to;
	if (d->flags & WIRE_D_LAST)
		table_end_reset(c, o, d->gc);
}

void sync_on_delta(struct gossip_core *c, struct member *from, const struct wire_msg *msg)
{
	struct wire_list l = msg->deltas;
	struct wire_delta d;

	while (wire_next_delta(&l, &d))
		on_delta(c, from, &d);
}
