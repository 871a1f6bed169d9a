/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/wire.h"

#include <errno.h>
#include <string.h>

#define FIELDS_MAX 64 /* top-level keys of one message, unknown ones included */
#define LIST_MAX 65536

/* Elements are arrays of at least `min` fields; later versions may append, we skip what we don't know. */
static int element_begin(struct mp_reader *r, size_t min, size_t *ret_extra)
{
	size_t n;

	if (mp_read_array(r, 64, &n) || n < min)
		return -EBADMSG;
	*ret_extra = n - min;
	return 0;
}

static int element_end(struct mp_reader *r, size_t extra)
{
	while (extra-- > 0)
		if (mp_skip(r))
			return -EBADMSG;
	return 0;
}

static int read_id(struct mp_reader *r, struct node_id *ret_id)
{
	return mp_read_bytes(r, ret_id->b, NODE_ID_BYTES);
}

/* Names reach operators' terminals: nothing but [a-z0-9-]. */
static int read_name(struct mp_reader *r, char ret_name[GOSSIP_NAME_MAX])
{
	if (mp_read_text(r, ret_name, GOSSIP_NAME_MAX) || !ret_name[0])
		return -EBADMSG;
	for (const char *p = ret_name; *p; p++)
		if (!(*p >= 'a' && *p <= 'z') && !(*p >= '0' && *p <= '9') && *p != '-')
			return -EBADMSG;
	return 0;
}

static int read_addr(struct mp_reader *r, struct gossip_addr *ret_addr)
{
	uint8_t b[18];

	if (mp_read_bytes(r, b, sizeof(b)))
		return -EBADMSG;
	memcpy(ret_addr->ip, b, 16);
	ret_addr->port = (uint16_t)(b[16] << 8 | b[17]);
	return 0;
}

static int read_incarnation(struct mp_reader *r, uint32_t *ret_incarnation)
{
	uint64_t v;

	if (mp_read_uint(r, WIRE_INCARNATION_MAX, &v))
		return -EBADMSG;
	*ret_incarnation = (uint32_t)v;
	return 0;
}

static int read_card(struct mp_reader *r, struct wire_card *c)
{
	uint64_t flags;
	size_t extra;

	memset(c, 0, sizeof(*c));
	if (element_begin(r, 9, &extra) || mp_read_bytes(r, c->pub, sizeof(c->pub)) ||
	    mp_read_bytes(r, c->sig, sizeof(c->sig)) || read_name(r, c->name) ||
	    read_name(r, c->region) || read_addr(r, &c->addr) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &c->generation) ||
	    mp_read_uint(r, UINT64_MAX, &c->boot_nonce) || read_incarnation(r, &c->incarnation) ||
	    mp_read_uint(r, UINT16_MAX, &flags) || element_end(r, extra))
		return -EBADMSG;
	c->has_forwarder = flags & 1;
	c->is_left = flags & 2;
	c->rest = (uint16_t)(flags & 0xfc);
	c->version.lo = (uint8_t)(1 + (flags >> 8 & 15));
	c->version.hi = (uint8_t)(1 + (flags >> 12));
	return c->version.lo <= c->version.hi ? 0 : -EBADMSG;
}

static int read_vote(struct mp_reader *r, struct wire_vote *v)
{
	uint64_t state;
	size_t extra;

	if (element_begin(r, 4, &extra) || read_id(r, &v->id) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &v->generation) ||
	    read_incarnation(r, &v->incarnation) || mp_read_uint(r, GOSSIP_DEAD, &state) ||
	    element_end(r, extra) || state < GOSSIP_HEADLESS)
		return -EBADMSG;
	v->state = (enum gossip_state)state;
	return 0;
}

static int read_seen(struct mp_reader *r, struct wire_seen *s)
{
	size_t extra;

	if (element_begin(r, 3, &extra) || read_id(r, &s->id) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &s->generation) ||
	    read_incarnation(r, &s->incarnation) || element_end(r, extra))
		return -EBADMSG;
	return 0;
}

static int read_origin(struct mp_reader *r, struct wire_origin *o)
{
	size_t extra;

	if (element_begin(r, 6, &extra) || read_id(r, &o->id) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &o->generation) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &o->watermark) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &o->top) || mp_read_uint(r, RECORD_SEQ_MAX, &o->gc) ||
	    mp_read_bytes(r, o->sum, sizeof(o->sum)) || element_end(r, extra))
		return -EBADMSG;
	return 0;
}

static int read_shared_key(struct mp_reader *r, struct wire_shared_key *k)
{
	const char *text;
	uint64_t kind;
	size_t extra;

	if (element_begin(r, 4, &extra) || mp_read_uint(r, UINT8_MAX, &kind) ||
	    mp_read_str(r, RECORD_KEY_MAX, &text, &k->key_len) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &k->counter) || read_id(r, &k->writer) ||
	    element_end(r, extra))
		return -EBADMSG;
	k->kind = (uint8_t)kind;
	k->key = (const uint8_t *)text;
	return 0;
}

static int read_version(struct mp_reader *r, struct gossip_version *v)
{
	/* Sums of writers' numbers: of RECORD_SEQ_MAX each there could be too many, and it is no matter. */
	return mp_read_uint(r, RECORD_SEQ_MAX, &v->removals) ||
			       mp_read_uint(r, UINT64_MAX, &v->lives) ||
			       mp_read_uint(r, UINT64_MAX, &v->marks) ||
			       mp_read_bytes(r, v->hash, sizeof(v->hash))
		       ? -EBADMSG
		       : 0;
}

static int read_region(struct mp_reader *r, struct wire_region *x)
{
	size_t extra;

	memset(x, 0, sizeof(*x));
	if (element_begin(r, 10, &extra) || read_name(r, x->name) || read_version(r, &x->version) ||
	    mp_read_uint(r, GOSSIP_SUMMARY_MAX, &x->len) || read_id(r, &x->speaker) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &x->generation) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &x->seq) || mp_read_uint(r, UINT64_MAX, &x->cards) ||
	    element_end(r, extra))
		return -EBADMSG;
	return 0;
}

static int read_summary(struct mp_reader *r, struct wire_msg *m)
{
	struct wire_summary *s = &m->summary;
	size_t extra;

	m->has_summary = true;
	if (element_begin(r, 8, &extra) || read_name(r, s->region) ||
	    read_version(r, &s->version) || mp_read_uint(r, GOSSIP_SUMMARY_MAX, &s->total) ||
	    mp_read_uint(r, s->total, &s->offset) ||
	    mp_read_bin(r, s->total - s->offset, &s->data, &s->len) || element_end(r, extra))
		return -EBADMSG;
	return 0;
}

static int read_record(struct mp_reader *r, struct record *rec)
{
	uint64_t kind, flags;
	const char *key;
	size_t extra;

	memset(rec, 0, sizeof(*rec));
	if (element_begin(r, 8, &extra) || mp_read_uint(r, UINT8_MAX, &kind) ||
	    mp_read_uint(r, UINT32_MAX, &flags) || mp_read_bytes(r, rec->pub, sizeof(rec->pub)) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &rec->generation) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &rec->seq) ||
	    mp_read_bytes(r, rec->sig, sizeof(rec->sig)) ||
	    mp_read_str(r, RECORD_KEY_MAX, &key, &rec->key_len) ||
	    mp_read_bin(r, RECORD_VALUE_MAX, &rec->value, &rec->value_len) || element_end(r, extra))
		return -EBADMSG;
	rec->kind = (uint8_t)kind;
	rec->key = (const uint8_t *)key;
	rec->is_tombstone = flags & 1;
	rec->is_urgent = flags & 2;
	return 0;
}

static int read_delta(struct mp_reader *r, struct wire_delta *d)
{
	uint64_t flags;
	struct record rec;
	size_t extra;

	if (element_begin(r, 7, &extra) || read_id(r, &d->id) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &d->generation) ||
	    mp_read_uint(r, RECORD_SEQ_MAX, &d->from) || mp_read_uint(r, RECORD_SEQ_MAX, &d->gc) ||
	    mp_read_array(r, LIST_MAX, &d->records.count))
		return -EBADMSG;
	d->records.r = *r;
	for (size_t i = 0; i < d->records.count; i++)
		if (read_record(r, &rec))
			return -EBADMSG;
	if (mp_read_uint(r, RECORD_SEQ_MAX, &d->to) || mp_read_uint(r, UINT32_MAX, &flags) ||
	    element_end(r, extra))
		return -EBADMSG;
	d->flags = (unsigned int)flags;
	return 0;
}

bool wire_next_card(struct wire_list *l, struct wire_card *ret_card)
{
	return l->count > 0 && l->count-- && read_card(&l->r, ret_card) == 0;
}

bool wire_next_vote(struct wire_list *l, struct wire_vote *ret_vote)
{
	return l->count > 0 && l->count-- && read_vote(&l->r, ret_vote) == 0;
}

bool wire_next_seen(struct wire_list *l, struct wire_seen *ret_seen)
{
	return l->count > 0 && l->count-- && read_seen(&l->r, ret_seen) == 0;
}

bool wire_next_origin(struct wire_list *l, struct wire_origin *ret_origin)
{
	return l->count > 0 && l->count-- && read_origin(&l->r, ret_origin) == 0;
}

bool wire_next_key(struct wire_list *l, struct wire_shared_key *ret_key)
{
	return l->count > 0 && l->count-- && read_shared_key(&l->r, ret_key) == 0;
}

bool wire_next_delta(struct wire_list *l, struct wire_delta *ret_delta)
{
	return l->count > 0 && l->count-- && read_delta(&l->r, ret_delta) == 0;
}

bool wire_next_region(struct wire_list *l, struct wire_region *ret_region)
{
	return l->count > 0 && l->count-- && read_region(&l->r, ret_region) == 0;
}

bool wire_next_record(struct wire_list *l, struct record *ret_record)
{
	return l->count > 0 && l->count-- && read_record(&l->r, ret_record) == 0;
}

/* Remember where the list begins, and walk it once so that later walks can't fail. */
static int read_list(struct mp_reader *r, enum wire_key key, struct wire_list *ret_list)
{
	struct wire_list l;
	union {
		struct wire_card card;
		struct wire_vote vote;
		struct wire_seen seen;
		struct wire_origin origin;
		struct wire_shared_key key;
		struct wire_delta delta;
		struct wire_region region;
		struct record record;
	} e;
	int err = 0;

	if (mp_read_array(r, LIST_MAX, &l.count))
		return -EBADMSG;
	l.r = *r;
	for (size_t i = 0; i < l.count && !err; i++) {
		if (key == WIRE_K_CARDS)
			err = read_card(r, &e.card);
		else if (key == WIRE_K_VOTES)
			err = read_vote(r, &e.vote);
		else if (key == WIRE_K_SEEN)
			err = read_seen(r, &e.seen);
		else if (key == WIRE_K_ORIGINS)
			err = read_origin(r, &e.origin);
		else if (key == WIRE_K_KEYS)
			err = read_shared_key(r, &e.key);
		else if (key == WIRE_K_DELTAS)
			err = read_delta(r, &e.delta);
		else if (key == WIRE_K_REGIONS)
			err = read_region(r, &e.region);
		else
			err = read_record(r, &e.record);
	}
	if (!err)
		*ret_list = l;
	return err;
}

static int read_digest(struct mp_reader *r, struct wire_msg *m)
{
	size_t extra;

	m->has_digest = true;
	if (element_begin(r, 2, &extra) || mp_read_bytes(r, m->root, sizeof(m->root)) ||
	    mp_read_uint(r, UINT64_MAX, &m->members))
		return -EBADMSG;
	if (extra > 0) {
		m->has_standing = true;
		if (mp_read_uint(r, UINT64_MAX, &m->standing))
			return -EBADMSG;
		extra--;
	}
	if (extra > 0) {
		m->has_regions = true;
		if (mp_read_uint(r, UINT64_MAX, &m->regions_digest))
			return -EBADMSG;
		extra--;
	}
	return element_end(r, extra) ? -EBADMSG : 0;
}

static int read_range(struct mp_reader *r, struct wire_msg *m)
{
	size_t extra;

	m->has_range = true;
	if (element_begin(r, 2, &extra) || read_id(r, &m->range_lo) || read_id(r, &m->range_hi) ||
	    element_end(r, extra))
		return -EBADMSG;
	return 0;
}

static int read_fixed(struct mp_reader *r, size_t len, const uint8_t **ret_data)
{
	size_t got;

	if (mp_read_bin(r, len, ret_data, &got) || got != len)
		return -EBADMSG;
	return 0;
}

static int read_field(struct mp_reader *r, uint64_t key, struct wire_msg *m)
{
	uint64_t v;

	if (key > WIRE_K_SUMS)
		return mp_skip(r);
	switch ((enum wire_key)key) {
	case WIRE_K_VERSION:
		return mp_read_uint(r, UINT32_MAX, &v); /* looked at before */
	case WIRE_K_TYPE:
		if (mp_read_uint(r, UINT16_MAX, &v))
			return -EBADMSG;
		m->type = (unsigned int)v;
		return 0;
	case WIRE_K_COOKIE:
		m->has_cookie = true;
		return mp_read_uint(r, UINT64_MAX, &m->cookie);
	case WIRE_K_TARGET:
		m->has_target = true;
		return read_id(r, &m->target);
	case WIRE_K_DIGEST:
		return read_digest(r, m);
	case WIRE_K_FLAGS:
		if (mp_read_uint(r, UINT32_MAX, &v))
			return -EBADMSG;
		m->flags = (unsigned int)v;
		return 0;
	case WIRE_K_CARDS:
		return read_list(r, WIRE_K_CARDS, &m->cards);
	case WIRE_K_VOTES:
		return read_list(r, WIRE_K_VOTES, &m->votes);
	case WIRE_K_RECORDS:
		return read_list(r, WIRE_K_RECORDS, &m->records);
	case WIRE_K_RANGE:
		return read_range(r, m);
	case WIRE_K_SEEN:
		return read_list(r, WIRE_K_SEEN, &m->seen);
	case WIRE_K_ORIGINS:
		return read_list(r, WIRE_K_ORIGINS, &m->origins);
	case WIRE_K_BUCKETS:
		return read_fixed(r, WIRE_BUCKETS * WIRE_BUCKET_BYTES, &m->buckets);
	case WIRE_K_DELTAS:
		return read_list(r, WIRE_K_DELTAS, &m->deltas);
	case WIRE_K_MASK:
		return read_fixed(r, WIRE_MASK_BYTES, &m->mask);
	case WIRE_K_KEYS:
		return read_list(r, WIRE_K_KEYS, &m->keys);
	case WIRE_K_REGIONS:
		return read_list(r, WIRE_K_REGIONS, &m->regions);
	case WIRE_K_SUMMARY:
		return read_summary(r, m);
	case WIRE_K_SUMS:
		return read_fixed(r, WIRE_BUCKETS * WIRE_BUCKET_BYTES, &m->sums);
	}
	return mp_skip(r); /* a number between that is another version's */
}

int wire_decode(const uint8_t *buf, size_t len, struct wire_msg *ret_msg)
{
	return wire_decode_as(buf, len, (struct version_range){WIRE_VERSION, WIRE_VERSION},
			      ret_msg);
}

int wire_decode_as(const uint8_t *buf, size_t len, struct version_range readable,
		   struct wire_msg *ret_msg)
{
	struct wire_msg m = {0};
	struct mp_reader r;
	uint32_t had = 0;
	uint64_t key, version;
	size_t pairs;

	mp_reader_init(&r, buf, len);
	if (mp_read_map(&r, FIELDS_MAX, &pairs) || pairs < 2)
		return -EBADMSG;
	for (size_t i = 0; i < pairs; i++) {
		if (mp_read_uint(&r, UINT32_MAX, &key))
			return -EBADMSG;
		/* The version comes first: what follows it may have changed. */
		if (i == 0) {
			struct mp_reader v = r;

			if (key != WIRE_K_VERSION || mp_read_uint(&v, UINT32_MAX, &version))
				return -EBADMSG;
			m.version = ret_msg->version = (uint32_t)version;
			if (version < readable.lo || version > readable.hi)
				return -EPROTONOSUPPORT;
		}
		if (key < 32) {
			if (had & 1u << key)
				return -EBADMSG;
			had |= 1u << key;
		}
		if (read_field(&r, key, &m))
			return -EBADMSG;
	}
	if (!mp_at_end(&r) || !(had & 1u << WIRE_K_TYPE))
		return -EBADMSG;
	*ret_msg = m;
	return 0;
}
