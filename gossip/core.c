/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/core.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/dissem.h"
#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"
#include "gossip/suspect.h"
#include "gossip/suspect_probe.h"
#include "gossip/sync.h"
#include "gossip/twin.h"
#include "gossip/version.h"

/* Two nodes with one key would outbid each other for ever: ever more slowly. */
#define GENERATION_WAIT_MS 1000
#define GENERATION_WAIT_MAX_MS 32000
#define GENERATION_REST_MS 60000 /* without a bid for so long the next one is the first again */

/* splitmix64: every seed gives a good stream. */
uint64_t core_random(struct gossip_core *c)
{
	uint64_t z = (c->rng += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

size_t core_random_below(struct gossip_core *c, size_t n)
{
	return n ? (size_t)(core_random(c) % n) : 0;
}

void core_fnv(uint64_t *h, const void *bytes, size_t len)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i < len; i++)
		*h = (*h ^ p[i] ^ 0xcbf29ce484222325ull) * 0x100000001b3ull;
}

void core_want_generation(struct gossip_core *c, uint64_t heard)
{
	if (heard < c->cfg.generation || heard >= RECORD_SEQ_MAX || heard < c->generation_wanted ||
	    (c->generation_ms && c->now_ms < c->generation_ms + c->generation_wait_ms))
		return;
	if (!c->generation_ms || c->now_ms >= c->generation_ms + GENERATION_REST_MS)
		c->generation_wait_ms = GENERATION_WAIT_MS;
	else if (c->generation_wait_ms < GENERATION_WAIT_MAX_MS)
		c->generation_wait_ms *= 2;
	c->generation_ms = c->now_ms;
	c->generation_wanted = heard + 1;
	queue_generation_event(c, heard + 1);
}

/* ---- life */

static bool is_name(const char *name)
{
	size_t len = strnlen(name, GOSSIP_NAME_MAX);

	if (len == 0 || len >= GOSSIP_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", name[i]))
			return false;
	return true;
}

static int check_config(const struct gossip_config *cfg, struct err *e)
{
	if (!is_name(cfg->name))
		return err_set(e, -EINVAL, "node name: got '%.31s', want 1 to %d of a-z 0-9 -",
			       cfg->name, GOSSIP_NAME_MAX - 1);
	if (!is_name(cfg->region))
		return err_set(e, -EINVAL, "region: got '%.31s', want 1 to %d of a-z 0-9 -",
			       cfg->region, GOSSIP_NAME_MAX - 1);
	if (cfg->generation == 0 || cfg->generation > RECORD_SEQ_MAX)
		return err_set(e, -EINVAL, "generation: got %llu, want 1 to 2^60",
			       (unsigned long long)cfg->generation);
	if (cfg->version.lo > cfg->version.hi || cfg->version.hi > WIRE_VERSION_MAX)
		return err_set(e, -EINVAL,
			       "protocol versions: got %u-%u, want two of 1..%u in order",
			       cfg->version.lo, cfg->version.hi, WIRE_VERSION_MAX);
	if (!cfg->signer.sign || !cfg->signer.verify || !cfg->signer.id_of || !cfg->signer.hash)
		return err_set(e, -EINVAL, "signer: a function is missing");
	return 0;
}

int gossip_core_new(const struct gossip_config *cfg, uint64_t now_ms, struct gossip_core **ret_core,
		    struct err *e)
{
	struct gossip_core *c;
	int err = check_config(cfg, e);

	if (err)
		return err;
	arena_enter(cfg->arena);
	if (cfg->tap.input)
		cfg->tap.input(cfg->tap.arg, NULL,
			       &(struct gossip_input){
				       .kind = GOSSIP_IN_NEW, .now_ms = now_ms, .what = cfg});
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, -ENOMEM, "no memory for the gossip core");
	c->cfg = *cfg;
	if (!c->cfg.version.lo)
		c->cfg.version = version_built;
	c->version.spoken = c->cfg.version.lo;
	c->rng = cfg->seed ^ cfg->boot_nonce;
	c->now_ms = c->head_ms = c->any_heard_ms = now_ms;
	c->is_head_stale = true;
	c->join_wait_ms = JOIN_WAIT_MS;
	c->urgent_ms = now_ms;
	c->urgent_bytes = CORE_URGENT_BURST_BYTES;
	TAILQ_INIT(&c->member_news);
	TAILQ_INIT(&c->member_urgent);
	TAILQ_INIT(&c->news);
	TAILQ_INIT(&c->urgent);
	TAILQ_INIT(&c->out);
	TAILQ_INIT(&c->events);
	TAILQ_INIT(&c->origins_changed);
	c->probe_next_ms = c->scan_next_ms =
		now_ms + core_random_below(c, cfg->probe_interval_ms ? cfg->probe_interval_ms
								     : PROBE_INTERVAL_MS);
	c->retry_next_ms = now_ms + core_random_below(c, 1000);
	c->retry_at[0] = c->retry_at[1] = core_random_below(c, GOSSIP_MEMBERS_MAX);
	err = member_add_self(c);
	if (!err)
		err = table_add_self(c);
	if (!err)
		err = region_begin(c);
	if (err) {
		gossip_core_free(c);
		return err_set(e, err, "own card could not be signed");
	}
	*ret_core = c;
	return 0;
}

void gossip_core_free(struct gossip_core *c)
{
	if (!c)
		return;
	arena_enter(c->cfg.arena);
	queue_free_all(c);
	table_free_all(c);
	member_free_all(c);
	region_free_all(c);
	free(c->stream);
	free(c);
}

int gossip_core_join(struct gossip_core *c, uint64_t now_ms, const struct gossip_addr *seeds,
		     size_t seed_count)
{
	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_JOIN,
					    .now_ms = now_ms,
					    .number = seed_count,
					    .what = seeds});
	if (seed_count > CORE_SEEDS_MAX)
		return -EINVAL;
	c->now_ms = now_ms;
	table_loaded(c);
	own_begin(c);
	c->seed_count = 0;
	for (size_t i = 0; i < seed_count; i++) {
		if (seeds[i].port == c->cfg.addr.port &&
		    memcmp(seeds[i].ip, c->cfg.addr.ip, sizeof(seeds[i].ip)) == 0)
			continue;
		c->seed[c->seed_count++] = seeds[i];
	}
	c->is_joined = false;
	c->join_next_ms = now_ms;
	c->join_wait_ms = JOIN_WAIT_MS;
	return 0;
}

void gossip_core_leave(struct gossip_core *c, uint64_t now_ms)
{
	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_LEAVE, .now_ms = now_ms});
	if (c->has_left)
		return;
	c->now_ms = now_ms;
	c->self->card.is_left = true;
	c->urgent_bytes = CORE_URGENT_BURST_BYTES; /* last words don't wait */
	member_renew_self(c, true);
	dissem_flush(c);
	/* Once more: nobody will ask us again. */
	dissem_member(c, c->self, DISSEM_ALL);
	dissem_flush(c);
	c->has_left = true;
	member_set_state(c, c->self, GOSSIP_LEFT);
}

void gossip_core_set_generation(struct gossip_core *c, uint64_t now_ms, uint64_t generation)
{
	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_SET_GENERATION,
					    .now_ms = now_ms,
					    .number = generation});
	c->now_ms = now_ms;
	if (generation <= c->cfg.generation || generation > RECORD_SEQ_MAX || c->has_left)
		return;
	own_restate(c, generation);
	c->self->card.generation = generation;
	c->self->card.incarnation = 0;
	member_renew_self(c, false);
	queue_member_event(c, GOSSIP_EV_MEMBER, c->self, c->self->state, false);
}

/* ---- input */

static void take_cards(struct gossip_core *c, const struct wire_msg *msg,
		       const struct node_id *only)
{
	struct wire_list l = msg->cards;
	struct wire_card card;
	struct node_id id;

	while (wire_next_card(&l, &card)) {
		if (only) {
			c->cfg.signer.id_of(c->cfg.signer.arg, card.pub, &id);
			if (node_id_cmp(&id, only) != 0)
				continue;
		}
		(void)member_offer_card(c, &card, &msg->votes, NULL);
	}
}

static void take_news(struct gossip_core *c, struct member *from, const struct wire_msg *msg)
{
	struct wire_list votes = msg->votes, records = msg->records;
	struct wire_vote v;
	struct record r;
	bool is_removed;

	/* Its records are of other regions. */
	if (c->regions && (msg->type == WIRE_REGION || msg->type == WIRE_SUMMARY))
		records.count = 0;
	take_cards(c, msg, NULL);
	while (wire_next_vote(&votes, &v))
		suspect_on_vote(c, from, &v);
	sync_on_digest(c, from, msg);
	is_removed = records.count > 0 && table_is_removed(c, &from->id);
	while (wire_next_record(&records, &r)) {
		/* It may have been away for so long that it holds what was deleted and forgotten since. */
		if (is_removed && record_scope_of(r.kind) == RECORD_SHARED) {
			c->n.refused_records++;
			continue;
		}
		c->cfg.signer.id_of(c->cfg.signer.arg, r.pub, &r.writer);
		(void)table_offer(c, &r, msg->type == WIRE_DELTA ? TABLE_SYNCED : TABLE_HEARD,
				  0); /* what is refused is counted there */
	}
}

/* A sender we don't know can only start a challenge; it becomes a member by answering ours. */
static struct member *take_stranger(struct gossip_core *c, enum gossip_via via,
				    const struct gossip_sender *sender,
				    const struct gossip_addr *addr, const struct wire_msg *msg)
{
	struct member *m;

	if (msg->type == WIRE_ACK && msg->has_cookie && suspect_is_awaited(c, msg->cookie)) {
		take_cards(c, msg, &sender->id);
		m = member_get(c, &sender->id);
		if (m)
			dissem_member(c, m, DISSEM_ALL);
		return m;
	}
	if (via == GOSSIP_STREAM)
		return NULL;
	if (msg->type == WIRE_PROBE && msg->has_cookie)
		suspect_on_probe(c, NULL, addr, msg);
	else
		suspect_challenge(c, addr);
	return NULL;
}

static void dispatch(struct gossip_core *c, struct member *from, const struct gossip_addr *addr,
		     const struct wire_msg *msg)
{
	enum probe_role role;

	if (msg->type < WIRE_PROBE || msg->type > WIRE_SUMMARY)
		return; /* a later version's: its news was taken */
	switch ((enum wire_type)msg->type) {
	case WIRE_PROBE:
		if (msg->flags & WIRE_F_STRANGER)
			from->told = 0;
		if (msg->has_cookie)
			suspect_on_probe(c, from, addr, msg);
		break;
	case WIRE_ACK:
		role = suspect_on_ack(c, from, msg);
		/* Who answers our challenge has just come; whom we join first knows the others. */
		if (role == PROBE_CHALLENGE || (role == PROBE_JOIN && !c->is_joined))
			sync_start(c, from);
		if (role == PROBE_JOIN)
			c->is_joined = true;
		break;
	case WIRE_ASK:
		suspect_on_ask(c, from, msg);
		break;
	case WIRE_NEWS:
		break;
	case WIRE_SYNC:
		sync_on_sync(c, from, msg);
		break;
	case WIRE_DELTA:
		sync_on_delta(c, from, msg);
		break;
	case WIRE_KEYS:
		shared_on_keys(c, from, msg);
		break;
	case WIRE_REGION:
	case WIRE_SUMMARY:
		if (c->regions)
			region_on_message(c, from, addr, msg);
		break;
	}
}

static int on_pong(struct gossip_core *c, const uint8_t *buf, size_t len)
{
	uint64_t cookie = 0;

	if (len != 8) {
		c->n.bad_dgrams++;
		return -EBADMSG;
	}
	for (unsigned int i = 0; i < 8; i++)
		cookie |= (uint64_t)buf[i] << (8 * i);
	suspect_on_pong(c, cookie);
	return 0;
}

static bool is_for_stream(unsigned int type)
{
	return (type >= WIRE_SYNC && type <= WIRE_KEYS) || type == WIRE_SUMMARY;
}

static int recv_message(struct gossip_core *c, enum gossip_via via,
			const struct gossip_sender *sender, const struct gossip_addr *from,
			const uint8_t *buf, size_t len)
{
	struct wire_msg msg;
	struct member *m;
	int err;

	if (c->has_left)
		return 0;
	if (via == GOSSIP_PING)
		return on_pong(c, buf, len);
	if (!sender || !from)
		return -EINVAL;
	if (node_id_cmp(&sender->id, &c->self->id) == 0)
		return twin_on_self(c, via, sender, from, buf, len);
	if (c->is_yielded)
		return 0;
	err = wire_decode_as(buf, len, c->cfg.version, &msg);
	if (err == -EPROTONOSUPPORT)
		version_refused(c, &sender->id, from, msg.version, msg.version);
	if (!err && (via == GOSSIP_STREAM) != is_for_stream(msg.type))
		err = -EBADMSG;
	if (err) {
		c->n.bad_dgrams++;
		return err;
	}
	c->version.asked = (uint8_t)msg.version;
	m = member_get(c, &sender->id);
	region_note_mode(c, m, sender, from, &msg);
	if (!m && c->regions && region_on_stranger(c, via, sender, from, &msg)) {
		c->n.bytes_in += len;
		return 0;
	}
	if (!m)
		m = take_stranger(c, via, sender, from, &msg);
	if (!m)
		return 0;
	if (!twin_admit(c, m, via, sender, from, &msg))
		return -EEXIST;
	c->n.bytes_in += len;
	if (via == GOSSIP_STREAM)
		c->n.streams_in++;
	else
		c->n.dgrams_in++;
	member_heard(c, m);
	if (msg.type == WIRE_ACK && !twin_is_taken(c, &msg)) {
		(void)suspect_on_ack(c, m, &msg);
		return 0;
	}
	c->speaker = m;
	take_news(c, m, &msg);
	dispatch(c, m, from, &msg);
	c->speaker = NULL;
	return 0;
}

int gossip_core_recv(struct gossip_core *c, uint64_t now_ms, enum gossip_via via,
		     const struct gossip_sender *sender, const struct gossip_addr *from,
		     const uint8_t *buf, size_t len)
{
	int err;

	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_RECV,
					    .now_ms = now_ms,
					    .number = via,
					    .what = sender,
					    .addr = from,
					    .buf = buf,
					    .len = len});
	c->now_ms = now_ms;
	err = recv_message(c, via, sender, from, buf, len);
	c->version.asked = 0;
	return err;
}

void gossip_core_send_failed(struct gossip_core *c, uint64_t now_ms, enum gossip_via via,
			     const struct gossip_addr *to, int error)
{
	struct member *m = member_by_addr(c, to);

	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_SEND_FAILED,
					    .now_ms = now_ms,
					    .number = via,
					    .addr = to});
	(void)via;
	(void)error; /* whatever it was: we could not send */
	c->now_ms = now_ms;
	if (m && !m->is_self && !c->has_left)
		suspect_on_send_failed(c, m);
}

void gossip_core_tick(struct gossip_core *c, uint64_t now_ms)
{
	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_TICK, .now_ms = now_ms});
	/* Probes tell whether we were frozen; a statement may be due since before it was needed. */
	uint64_t due = suspect_deadline(c);

	c->now_ms = now_ms;
	if (c->has_left)
		return;
	twin_tick(c);
	if (c->is_yielded)
		return;
	if (now_ms > due + CORE_FROZEN_MS)
		suspect_thaw(c, now_ms - due);
	if (now_ms > due + CORE_FROZEN_MS)
		region_thaw(c);
	suspect_tick(c);
	own_tick(c);
	sync_tick(c);
	shared_tick(c);
	region_tick(c);
}

uint64_t gossip_core_deadline_ms(const struct gossip_core *c)
{
	uint64_t a, b;

	if (c->has_left)
		return UINT64_MAX - CORE_FROZEN_MS;
	if (c->is_yielded)
		return twin_deadline(c);
	a = suspect_deadline(c);
	b = own_deadline(c);
	if (dissem_deadline(c) < a)
		a = dissem_deadline(c);
	if (region_deadline(c) < a)
		a = region_deadline(c);
	return a < b ? a : b;
}

/* ---- records */

static int check_write(uint8_t kind, const char *key, size_t value_len)
{
	size_t len = strnlen(key, RECORD_KEY_MAX + 1);

	if (record_scope_of(kind) == RECORD_REFUSED || kind == RECORD_KIND_HEAD ||
	    kind == RECORD_KIND_FLOOR || len == 0)
		return -EINVAL;
	if (len > RECORD_KEY_MAX || value_len > RECORD_VALUE_MAX)
		return -EMSGSIZE;
	return 0;
}

int gossip_core_put(struct gossip_core *c, uint64_t now_ms, uint8_t kind, const char *key,
		    const uint8_t *value, size_t value_len, bool is_urgent)
{
	struct mp_reader r;
	int err = check_write(kind, key, value_len);

	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_PUT,
					    .now_ms = now_ms,
					    .number = kind,
					    .is_urgent = is_urgent,
					    .key = key,
					    .buf = value,
					    .len = value_len});
	if (err)
		return err;
	mp_reader_init(&r, value, value_len);
	if (mp_peek(&r) != MP_MAP || mp_check(value, value_len))
		return -EINVAL;
	if (c->own->is_removed && record_scope_of(kind) == RECORD_SHARED)
		return -EPERM;
	c->now_ms = now_ms;
	return own_write(c, kind, (const uint8_t *)key, strlen(key), value, value_len, false,
			 is_urgent);
}

int gossip_core_del(struct gossip_core *c, uint64_t now_ms, uint8_t kind, const char *key,
		    bool is_urgent)
{
	int err = check_write(kind, key, 0);

	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_DEL,
					    .now_ms = now_ms,
					    .number = kind,
					    .is_urgent = is_urgent,
					    .key = key});
	if (err)
		return err;
	if (record_scope_of(kind) == RECORD_SHARED) {
		if (c->own->is_removed)
			return -EPERM;
		if (c->shared_tombstones >= CORE_SHARED_TOMBSTONES_MAX)
			return -ENOSPC;
	}
	c->now_ms = now_ms;
	return own_write(c, kind, (const uint8_t *)key, strlen(key), NULL, 0, true, is_urgent);
}

int gossip_core_load_record(struct gossip_core *c, const struct record *r)
{
	struct record v = *r;
	int err;

	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_LOAD_RECORD, .what = r});
	c->cfg.signer.id_of(c->cfg.signer.arg, v.pub, &v.writer);
	err = table_offer(c, &v, TABLE_LOADED, 0);
	return err < 0 ? err : 0;
}

int gossip_core_load_member(struct gossip_core *c, const struct gossip_member *m)
{
	core_told(c, &(struct gossip_input){.kind = GOSSIP_IN_LOAD_MEMBER, .what = m});
	return member_load(c, m);
}

/* ---- look */

size_t gossip_core_member_count(const struct gossip_core *c)
{
	return c->ring_count;
}

void gossip_core_member_at(const struct gossip_core *c, size_t i, struct gossip_member *ret_member)
{
	assert(i < c->ring_count);
	member_export(c, c->ring[i], ret_member);
}

bool gossip_core_member_get(const struct gossip_core *c, const struct node_id *id,
			    struct gossip_member *ret_member)
{
	const struct member *m = member_get(c, id);

	if (!m)
		return false;
	member_export(c, m, ret_member);
	return true;
}

bool gossip_core_next_record(const struct gossip_core *c, size_t *cursor, struct record *ret_record)
{
	while (*cursor < c->rec_count) {
		const struct rec *r = c->recs[(*cursor)++];

		if (!table_is_in_force(r))
			continue;
		*ret_record = r->blob->r;
		return true;
	}
	return false;
}

bool gossip_core_get_record(const struct gossip_core *c, const struct node_id *id, uint8_t kind,
			    const char *key, struct record *ret_record)
{
	const struct rec *r;

	if (!id && record_scope_of(kind) != RECORD_SHARED)
		return false;
	r = table_find(c, id, kind, (const uint8_t *)key, strnlen(key, RECORD_KEY_MAX + 1));
	if (!r || !table_is_in_force(r))
		return false;
	*ret_record = r->blob->r;
	return true;
}

bool gossip_core_has_yielded(const struct gossip_core *c, struct gossip_addr *ret_addr)
{
	if (c->is_yielded)
		*ret_addr = c->twin_addr;
	return c->is_yielded;
}

void gossip_core_digest(const struct gossip_core *c, uint8_t ret_digest[16])
{
	digest_bytes(&c->root, ret_digest);
}

void gossip_core_counters(const struct gossip_core *c, struct gossip_counters *ret_counters)
{
	*ret_counters = c->n;
}

void gossip_core_check(const struct gossip_core *c)
{
	size_t count[GOSSIP_LEFT + 1] = {0};

	assert(c->ring_count <= GOSSIP_MEMBERS_MAX && HASH_COUNT(c->members) == c->ring_count);
	for (size_t i = 0; i < c->ring_count; i++) {
		const struct member *m = c->ring[i];

		assert(i == 0 || node_id_cmp(&c->ring[i - 1]->id, &m->id) < 0);
		assert(m->vote_count <= VOTES_MAX);
		assert(m->state != GOSSIP_SUSPECT || m->suspect_until_ms > 0);
		assert(m->card.is_left == (m->state == GOSSIP_LEFT));
		count[m->state]++;
	}
	assert(memcmp(count, c->state_count, sizeof(count)) == 0);
	assert(c->out_count <= CORE_OUT_MAX && c->out_bytes <= CORE_OUT_BYTES_MAX);
	table_check(c);
}
