/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The table of regions: versions, values, looking. */
#include "gossip/region.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"

#define MISMATCH_LIFE_MS 30000 /* since it was heard last */

int gossip_version_cmp(const struct gossip_version *a, const struct gossip_version *b)
{
	if (a->removals != b->removals)
		return a->removals < b->removals ? -1 : 1;
	if (a->lives != b->lives)
		return a->lives < b->lives ? -1 : 1;
	if (a->marks != b->marks)
		return a->marks < b->marks ? -1 : 1;
	return memcmp(b->hash, a->hash, sizeof(a->hash));
}

void region_value_unref(struct region_value *v)
{
	if (v && --v->refs == 0)
		free(v);
}

/* ---- the table */

struct region *region_find(const struct gossip_core *c, const char *name)
{
	for (size_t i = 0; c->regions && i < c->regions->count; i++)
		if (strcmp(c->regions->r[i]->name, name) == 0)
			return c->regions->r[i];
	return NULL;
}

struct region *region_get(struct gossip_core *c, const char *name)
{
	struct regions *rs = c->regions;
	struct region *r = region_find(c, name);
	size_t at = 1;

	if (r || rs->count == GOSSIP_REGIONS_MAX)
		return r;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	memcpy(r->name, name, strnlen(name, GOSSIP_NAME_MAX - 1));
	r->hash = reach_region_of(r->name);
	r->since_ms = c->now_ms;
	while (at < rs->count && strcmp(rs->r[at]->name, r->name) < 0)
		at++;
	if (rs->count == 0)
		at = 0;
	memmove(rs->r + at + 1, rs->r + at, (rs->count - at) * sizeof(struct region *));
	rs->r[at] = r;
	rs->count++;
	rs->is_dirty = true;
	return r;
}

int region_begin(struct gossip_core *c)
{
	if (!c->cfg.has_regions)
		return 0;
	c->regions = calloc(1, sizeof(*c->regions));
	if (!c->regions || !region_get(c, c->cfg.region))
		return -ENOMEM;
	c->regions->rank = -1;
	c->regions->tick_ms = c->now_ms;
	return 0;
}

void region_free_all(struct gossip_core *c)
{
	if (!c->regions)
		return;
	for (size_t i = 0; i < c->regions->count; i++) {
		struct region *r = c->regions->r[i];

		for (size_t k = 0; k < REGION_SLOTS; k++) {
			rblob_unref(r->slot[k].state);
			free(r->slot[k].m);
		}
		region_value_unref(r->value);
		free(r->in.value);
		free(r);
	}
	free(c->regions);
	c->regions = NULL;
}

bool region_is_own(const struct gossip_core *c, const char *name)
{
	return strcmp(c->cfg.region, name) == 0;
}

/* ---- values */

void region_drained(struct gossip_core *c)
{
	struct gossip_version v = {0};
	struct origin *o, *next;

	if (!c->regions || !c->regions->is_stale)
		return;
	c->regions->is_stale = false;
	v.removals = c->regions->removal_top > c->floor ? c->regions->removal_top : c->floor;
	/* A tombstone that is collected takes its marks along. */
	v.lives = c->floor;
	v.marks = c->shared_marks;
	HASH_ITER(hh, c->origins, o, next)
	{
		if (o->stored_count == 0 || o->is_removed)
			continue;
		v.lives += o->generation;
		v.marks += o->watermark;
	}
	c->regions->drained = v;
}

static struct region_value *value_new(const uint8_t *bytes, size_t len)
{
	struct region_value *v = malloc(sizeof(*v) + len);

	if (!v)
		return NULL;
	v->refs = 1;
	v->len = len;
	if (len > 0)
		memcpy(v->bytes, bytes, len);
	return v;
}

void region_hash_value(struct gossip_core *c, const uint8_t *bytes, size_t len, uint8_t ret[8])
{
	uint8_t h[16];

	c->cfg.signer.hash(c->cfg.signer.arg, bytes, len, h);
	memcpy(ret, h, 8);
}

bool region_take(struct gossip_core *c, struct region *r, const struct gossip_version *version,
		 struct region_value *value, const struct node_id *from)
{
	bool is_other = !r->value || memcmp(r->version.hash, version->hash, 8) != 0;
	struct gossip_summary s = {.version = *version, .value = value->bytes, .len = value->len};

	if (r->value && gossip_version_cmp(version, &r->version) <= 0) {
		region_value_unref(value);
		return false;
	}
	r->version = *version;
	region_value_unref(r->value);
	r->value = value;
	if (r->behind_ms && gossip_version_cmp(version, &r->newest) >= 0)
		r->behind_ms = 0;
	if (!is_other)
		return false;
	r->value_ms = c->now_ms;
	if (from)
		r->from = *from;
	if (r == c->regions->r[0])
		return true;
	memcpy(s.region, r->name, sizeof(s.region));
	s.from = r->from;
	queue_summary_event(c, &s, value);
	return true;
}

int gossip_core_put_summary(struct gossip_core *c, uint64_t now_ms, const uint8_t *value,
			    size_t len)
{
	struct gossip_version v;
	struct region_value *x;

	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_PUT_SUMMARY,
					    .now_ms = now_ms,
					    .buf = value,
					    .len = len});
	if (!c->regions)
		return -ENOTSUP;
	if (len > GOSSIP_SUMMARY_MAX)
		return -EMSGSIZE;
	c->now_ms = now_ms;
	x = value_new(value, len);
	if (!x)
		return -ENOMEM;
	v = c->regions->drained;
	region_hash_value(c, value, len, v.hash);
	if (region_take(c, c->regions->r[0], &v, x, &c->self->id)) {
		c->regions->is_push_due = true;
		c->regions->tick_ms = c->now_ms; /* at once, if the last one is long ago */
	}
	return 0;
}

int gossip_core_load_summary(struct gossip_core *c, const struct gossip_summary *s)
{
	struct region_value *x;
	struct region *r;
	uint8_t hash[8];

	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_LOAD_SUMMARY,
					    .what = s,
					    .buf = s->value,
					    .len = s->len});
	if (!c->regions)
		return -ENOTSUP;
	if (strnlen(s->region, GOSSIP_NAME_MAX) >= GOSSIP_NAME_MAX || !s->region[0] ||
	    strcmp(s->region, c->cfg.region) == 0)
		return -EINVAL;
	region_hash_value(c, s->value, s->len, hash);
	if (s->len > GOSSIP_SUMMARY_MAX || memcmp(hash, s->version.hash, sizeof(hash)) != 0)
		return -EBADMSG;
	r = region_get(c, s->region);
	if (!r)
		return -ENOSPC;
	x = value_new(s->value, s->len);
	if (!x)
		return -ENOMEM;
	(void)region_take(c, r, &s->version, x, NULL);
	return 0;
}

/* ---- looking */

size_t gossip_core_region_count(const struct gossip_core *c)
{
	return c->regions ? c->regions->count : 0;
}

static void export_senders(const struct region *r, struct gossip_region *ret_region)
{
	const struct region_slot *counting = region_counting(r), *s;
	struct region_word w;

	for (size_t i = 0; i < REGION_SLOTS; i++) {
		struct gossip_contact *x = &ret_region->senders[ret_region->sender_count];

		s = &r->slot[i];
		if (!s->m || (!s->state && s != counting) ||
		    ret_region->sender_count == GOSSIP_SENDERS_MAX)
			continue;
		x->id = s->m->id;
		memcpy(x->name, s->m->card.name, sizeof(x->name));
		x->addr = s->m->card.addr;
		x->counts = s == counting;
		x->heard_ms = s->m->heard_ms;
		if (s->m->rtt_us && (!ret_region->rtt_us || s->m->rtt_us < ret_region->rtt_us))
			ret_region->rtt_us = s->m->rtt_us;
		ret_region->sender_count++;
	}
	if (!counting ||
	    region_word_decode(counting->state->r.value, counting->state->r.value_len, &w))
		return;
	ret_region->live_count = w.live;
	ret_region->down_count = w.down_count;
	memcpy(ret_region->down, w.down, sizeof(w.down));
}

void gossip_core_region_at(const struct gossip_core *c, size_t i, struct gossip_region *ret_region)
{
	const struct region *r;

	assert(c->regions && i < c->regions->count);
	r = c->regions->r[i];
	memset(ret_region, 0, sizeof(*ret_region));
	memcpy(ret_region->name, r->name, sizeof(ret_region->name));
	ret_region->is_own = i == 0;
	ret_region->is_dead = r->is_dead;
	ret_region->since_ms = r->since_ms;
	ret_region->heard_ms = r->heard_ms;
	export_senders(r, ret_region);
	if (r->value) {
		ret_region->has_value = true;
		ret_region->version = r->version;
		ret_region->value = r->value->bytes;
		ret_region->len = r->value->len;
		ret_region->from = r->from;
		ret_region->value_ms = r->value_ms;
	}
	if (r->behind_ms) {
		ret_region->is_behind = true;
		ret_region->newest = r->newest;
		ret_region->newest_from = r->newest_from;
		ret_region->behind_since_ms = r->behind_ms;
	}
}

size_t gossip_core_mismatches(const struct gossip_core *c,
			      struct gossip_mismatch ret[GOSSIP_MISMATCHES_MAX])
{
	size_t n = 0;

	while (n < c->mismatch_count && c->now_ms < c->mismatch[n].heard_ms + MISMATCH_LIFE_MS)
		n++;
	memcpy(ret, c->mismatch, n * sizeof(ret[0]));
	return n;
}
