/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets and events that wait for the shell. */
#include <stdlib.h>
#include <string.h>

#include "gossip/core.h"
#include "gossip/dissem.h"
#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"

void rblob_unref(struct rblob *b)
{
	if (b && --b->refs == 0)
		free(b);
}

void queue_packet(struct gossip_core *c, enum gossip_via via, const struct gossip_addr *to,
		  size_t to_count, const uint8_t *buf, size_t len)
{
	struct out *o;

	if (to_count == 0 || len == 0 || (c->is_yielded && !c->is_yielded_say))
		return;
	if (c->out_count >= CORE_OUT_MAX || c->out_bytes + len > CORE_OUT_BYTES_MAX) {
		c->n.queue_drops++;
		return;
	}
	o = malloc(sizeof(*o) + to_count * sizeof(*to) + len);
	if (!o) {
		c->n.queue_drops++;
		return;
	}
	o->via = via;
	o->to_count = to_count;
	o->len = len;
	o->to = (struct gossip_addr *)(o + 1);
	o->buf = (uint8_t *)(o->to + to_count);
	memcpy(o->to, to, to_count * sizeof(*to));
	memcpy(o->buf, buf, len);
	c->out_count++;
	c->out_bytes += len;
	TAILQ_INSERT_TAIL(&c->out, o, link);
}

bool gossip_core_next_packet(struct gossip_core *c, struct gossip_packet *ret_packet)
{
	struct out *o;

	arena_enter(c->cfg.arena);
	free(c->out_current);
	c->out_current = NULL;
	if (TAILQ_EMPTY(&c->out))
		dissem_flush(c);
	o = TAILQ_FIRST(&c->out);
	if (!o) {
		core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_PACKET});
		return false;
	}
	TAILQ_REMOVE(&c->out, o, link);
	c->out_count--;
	c->out_bytes -= o->len;
	c->out_current = o;
	switch (o->via) {
	case GOSSIP_DGRAM:
		c->n.dgrams_out += o->to_count;
		c->n.bytes_out += o->to_count * o->len;
		break;
	case GOSSIP_STREAM:
		c->n.streams_out++;
		c->n.bytes_out += o->len;
		break;
	case GOSSIP_PING:
		break;
	}
	*ret_packet = (struct gossip_packet){
		.via = o->via, .to = o->to, .to_count = o->to_count, .buf = o->buf, .len = o->len};
	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_PACKET,
					    .what = ret_packet,
					    .buf = o->buf,
					    .len = o->len});
	return true;
}

static struct queued_event *queue_event(struct gossip_core *c, enum gossip_event_kind kind)
{
	struct queued_event *q = calloc(1, sizeof(*q));

	if (!q) {
		c->n.queue_drops++;
		return NULL;
	}
	q->e.kind = kind;
	TAILQ_INSERT_TAIL(&c->events, q, link);
	return q;
}

void queue_member_event(struct gossip_core *c, enum gossip_event_kind kind, const struct member *m,
			enum gossip_state old_state, bool is_new)
{
	struct queued_event *q = queue_event(c, kind);

	if (!q)
		return;
	member_export(c, m, &q->e.member);
	q->e.old_state = old_state;
	q->e.is_new = is_new;
	q->e.generation = m->card.generation;
}

void queue_record_event(struct gossip_core *c, enum gossip_event_kind kind, struct rblob *blob)
{
	struct queued_event *q = queue_event(c, kind);

	if (!q)
		return;
	blob->refs++;
	q->blob = blob;
	q->e.record = blob->r;
	q->e.generation = blob->r.generation;
}

void queue_summary_event(struct gossip_core *c, const struct gossip_summary *s,
			 struct region_value *value)
{
	struct queued_event *q = queue_event(c, GOSSIP_EV_SUMMARY);

	if (!q)
		return;
	value->refs++;
	q->value = value;
	q->e.summary = *s;
}

void queue_region_event(struct gossip_core *c, const struct gossip_region *r, bool is_new)
{
	struct gossip_region *copy = malloc(sizeof(*copy));
	struct queued_event *q = copy ? queue_event(c, GOSSIP_EV_REGION) : NULL;

	if (!q) {
		free(copy);
		return;
	}
	*copy = *r;
	copy->value = NULL; /* may be gone when this is told */
	q->region = copy;
	q->e.region = copy;
	q->e.is_new = is_new;
}

void queue_generation_event(struct gossip_core *c, uint64_t generation)
{
	struct queued_event *q = queue_event(c, GOSSIP_EV_GENERATION);

	if (q)
		q->e.generation = generation;
}

static void event_free(struct queued_event *q)
{
	if (!q)
		return;
	rblob_unref(q->blob);
	region_value_unref(q->value);
	free(q->region);
	free(q);
}

static bool next_event(struct gossip_core *c, struct gossip_event *ret_event)
{
	struct queued_event *q = TAILQ_FIRST(&c->events);

	event_free(c->event_current);
	c->event_current = q;
	if (!q) {
		if (origin_next_event(c, ret_event))
			return true;
		region_drained(c);
		return false;
	}
	TAILQ_REMOVE(&c->events, q, link);
	*ret_event = q->e;
	return true;
}

bool gossip_core_next_event(struct gossip_core *c, struct gossip_event *ret_event)
{
	bool is_there;

	arena_enter(c->cfg.arena);
	is_there = next_event(c, ret_event);
	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_EVENT,
					    .number = is_there ? ret_event->kind : 0,
					    .what = is_there ? ret_event : NULL});
	return is_there;
}

void queue_drop_all(struct gossip_core *c)
{
	struct out *o;

	while ((o = TAILQ_FIRST(&c->out))) {
		TAILQ_REMOVE(&c->out, o, link);
		free(o);
	}
	c->out_count = c->out_bytes = 0;
}

void queue_free_all(struct gossip_core *c)
{
	struct queued_event *q;

	queue_drop_all(c);
	free(c->out_current);
	while ((q = TAILQ_FIRST(&c->events))) {
		TAILQ_REMOVE(&c->events, q, link);
		event_free(q);
	}
	event_free(c->event_current);
}

/* ---- nodes that we can't talk with, newest first */

static size_t mismatch_of(const struct gossip_core *c, const struct node_id *id)
{
	size_t i = 0;

	while (i < c->mismatch_count && node_id_cmp(&c->mismatch[i].id, id) != 0)
		i++;
	return i;
}

void core_match(struct gossip_core *c, const struct node_id *id)
{
	size_t i = mismatch_of(c, id);

	if (i < c->mismatch_count)
		memmove(c->mismatch + i, c->mismatch + i + 1,
			(--c->mismatch_count - i) * sizeof(c->mismatch[0]));
}

void core_mismatch(struct gossip_core *c, const struct gossip_mismatch *x)
{
	size_t i = mismatch_of(c, &x->id);

	if (i == c->mismatch_count && i < GOSSIP_MISMATCHES_MAX)
		c->mismatch_count++;
	if (i == GOSSIP_MISMATCHES_MAX)
		i--;
	memmove(c->mismatch + 1, c->mismatch, i * sizeof(c->mismatch[0]));
	c->mismatch[0] = *x;
}
