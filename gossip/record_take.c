/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A version arrives: may it come, is it news? */
#include <errno.h>
#include <string.h>

#include "gossip/dissem.h"
#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"

#define ORIGIN_RECORDS_SHARE 4 /* one writer may fill a quarter of the table */
#define ORIGIN_RECORDS_MIN 1024

static bool is_origin_full(const struct gossip_core *c, const struct origin *o)
{
	size_t share = table_max(c) / ORIGIN_RECORDS_SHARE;

	if (share < ORIGIN_RECORDS_MIN)
		share = ORIGIN_RECORDS_MIN;
	return o && o->rec_count >= share;
}

static bool is_signed(struct gossip_core *c, const struct record *r)
{
	uint8_t buf[RECORD_SIGNED_MAX];
	int len = record_signed_bytes(r, buf, sizeof(buf));

	if (len > 0 &&
	    c->cfg.signer.verify(c->cfg.signer.arg, r->pub, buf, (size_t)len, r->sig) == 0)
		return true;
	c->n.bad_signatures++;
	return false;
}

static bool is_same_bytes(const struct record *a, const struct record *b)
{
	return a->is_tombstone == b->is_tombstone && a->value_len == b->value_len &&
	       (a->value_len == 0 || memcmp(a->value, b->value, a->value_len) == 0);
}

/* Own records that somebody has and we don't: we were here before, with a higher number, or we lost our memory. */
static void hear_self(struct gossip_core *c, const struct record *r, const struct rec *e)
{
	bool is_stored_scope = record_scope_of(r->kind) == RECORD_OWN;
	int d = e ? record_cmp_version(r, &e->blob->r) : 1;
	bool is_strange;

	if (r->generation != c->cfg.generation)
		is_strange = r->generation > c->cfg.generation;
	else if (!e)
		/* What we deleted leaves a tombstone, until it is collected. */
		is_strange = !is_stored_scope || r->seq > c->own->gc;
	else
		is_strange = d > 0 || (d == 0 && !is_same_bytes(r, &e->blob->r));
	if (is_strange && is_signed(c, r))
		core_want_generation(c, r->generation);
}

/* We have counted past it; if we don't hold it, it was deleted, and collected. Heads always come through: they show when we
 * were told to count too far. */
static bool is_counted(const struct record *r, uint64_t watermark)
{
	return record_scope_of(r->kind) == RECORD_OWN && r->kind != RECORD_KIND_HEAD &&
	       r->seq <= watermark;
}

/* Is it known, or older than what is known? */
static bool is_old(const struct origin *o, const struct record *r, const struct rec *e)
{
	if (e && record_cmp_version(r, &e->blob->r) <= 0)
		return true;
	if (!o)
		return false;
	if (r->generation < o->generation)
		return o->is_whole || o->is_closed || r->generation < o->former ||
		       (r->generation == o->former && !e && is_counted(r, o->former_watermark));
	return !e && r->generation == o->generation && is_counted(r, o->watermark);
}

/* A writer that lost its memory has signed two contents with one version. Everyone keeps the same one, and the writer
 * is shown what it has forgotten. */
static bool is_twin(const struct record *r, const struct rec *e)
{
	return e && record_cmp_version(r, &e->blob->r) == 0 && !is_same_bytes(r, &e->blob->r);
}

static int refuse(struct gossip_core *c, int error)
{
	c->n.refused_records++;
	return error;
}

/* Of another region: from who knows all of them, as we don't. */
static bool is_elsewhere(const struct gossip_core *c, const struct record *r)
{
	return c->regions && c->speaker && c->speaker->has_other_mode && !member_get(c, &r->writer);
}

/* 1: go on and take it. */
static int may_come(struct gossip_core *c, const struct record *r, enum table_source source,
		    struct rec *e)
{
	bool is_own = record_scope_of(r->kind) != RECORD_SHARED;
	struct origin *o = is_own ? table_origin(c, &r->writer) : NULL;

	if (source != TABLE_LOCAL) {
		if (is_own && o == c->own) {
			hear_self(c, r, e);
			return 0;
		}
		if (is_own && (table_is_removed(c, &r->writer) || is_elsewhere(c, r)))
			return refuse(c, -EPERM);
		if (is_twin(r, e)) {
			if (!is_signed(c, r))
				return -EBADMSG;
			if (o && !o->is_disputed) {
				o->is_disputed = true;
				origin_changed(c, o);
			}
			return memcmp(r->sig, e->blob->r.sig, NODE_SIG_BYTES) > 0;
		}
		if (is_old(o, r, e) || shared_is_collected(c, r, e, source)) {
			c->n.records_old++;
			if (e && record_cmp_version(r, &e->blob->r) == 0)
				dissem_known_record(c, e);
			return 0;
		}
		if (!is_signed(c, r))
			return -EBADMSG;
	}
	if (!e && (c->rec_count >= table_max(c) || is_origin_full(c, o)))
		return refuse(c, -ENOSPC);
	return 1;
}

int table_offer(struct gossip_core *c, const struct record *r, enum table_source source,
		uint32_t touch)
{
	struct rec *e;
	int err;

	if (record_check(r) || !shared_is_sane(r) ||
	    (r->kind == RECORD_KIND_HEAD &&
	     (r->key_len != HEAD_KEY_LEN || memcmp(r->key, HEAD_KEY, HEAD_KEY_LEN))))
		return refuse(c, -EBADMSG);
	e = table_find(c, &r->writer, r->kind, r->key, r->key_len);
	/* What a restatement names by an older version, it does not name. */
	if (e && touch && record_cmp_version(r, &e->blob->r) >= 0)
		e->touch = touch;
	err = may_come(c, r, source, e);
	if (err <= 0)
		return err;
	if (table_put(c, r, e, touch, &e))
		return refuse(c, -ENOSPC);
	c->n.records_new++;
	if (source != TABLE_LOADED)
		queue_record_event(c, GOSSIP_EV_RECORD, e->blob);
	if (source == TABLE_HEARD)
		dissem_record(c, e, r->is_urgent ? DISSEM_RELAY : DISSEM_LAZY);
	if (source == TABLE_SYNCED)
		dissem_record(c, e, DISSEM_SOME);
	/* From here on `e` may go: it may be what the head lets go. */
	if (e->origin) {
		struct origin *o = e->origin;

		origin_advance(o, r);
		table_settle(c, o);
	} else {
		if (c->regions && source != TABLE_LOADED)
			region_pass_on(c, &e->blob->r);
		shared_note(c, e, source);
	}
	if (c->regions && (r->kind == REGION_KIND || r->kind == RECORD_KIND_REMOVAL))
		region_note_record(c, r);
	return 1;
}
