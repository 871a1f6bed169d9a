/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/unit/core_peer.h - one core under test, and peers made of hand-packed, hand-signed messages. Header only. */
#ifndef CORE_PEER_H
#define CORE_PEER_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/member.h"
#include "gossip/record_table.h"

#define KIND 2
#define SHARED 65
#define T0 1000000

/* ---- a signer whose ids are plain: the first bytes of the public key; a signature is a sum */

static inline void stub_hash(void *arg, const uint8_t *msg, size_t len, uint8_t ret[16])
{
	uint64_t h[2] = {1, 2};

	(void)arg;
	core_fnv(&h[0], msg, len);
	core_fnv(&h[1], &h[0], 8);
	core_fnv(&h[1], msg, len);
	memcpy(ret, h, 16);
}

static inline void stub_id_of(void *arg, const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id)
{
	(void)arg;
	memcpy(ret_id->b, pub, NODE_ID_BYTES);
}

static inline void sign_as(const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg, size_t len,
			   uint8_t sig[NODE_SIG_BYTES])
{
	uint8_t h[16];

	stub_hash(NULL, msg, len, h);
	for (size_t i = 0; i < NODE_SIG_BYTES; i++)
		sig[i] = (uint8_t)(h[i % 16] ^ pub[i % NODE_PUB_BYTES] ^ 0xa5);
}

static inline int stub_sign(void *arg, const uint8_t *msg, size_t len, uint8_t sig[NODE_SIG_BYTES])
{
	sign_as(arg, msg, len, sig);
	return 0;
}

static inline int stub_verify(void *arg, const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg,
			      size_t len, const uint8_t sig[NODE_SIG_BYTES])
{
	uint8_t want[NODE_SIG_BYTES];

	(void)arg;
	sign_as(pub, msg, len, want);
	return memcmp(sig, want, sizeof(want)) == 0 ? 0 : -EBADMSG;
}

/* ---- peers */

struct peer {
	uint8_t pub[NODE_PUB_BYTES];
	struct wire_card card;
	struct gossip_sender sender;
};

static uint8_t self_pub[NODE_PUB_BYTES] = {0x80, 1};

static inline struct peer peer_new(uint8_t n)
{
	struct peer p = {.pub = {n, 7}};

	p.card = (struct wire_card){.generation = 100, .boot_nonce = 1000u + n};
	memcpy(p.card.pub, p.pub, sizeof(p.pub));
	snprintf(p.card.name, sizeof(p.card.name), "peer-%u", n);
	snprintf(p.card.region, sizeof(p.card.region), "r");
	p.card.addr.ip[15] = n;
	p.card.addr.port = 7946;
	stub_id_of(NULL, p.pub, &p.sender.id);
	p.sender.boot_nonce = p.card.boot_nonce;
	return p;
}

static inline void card_sign(struct peer *p)
{
	uint8_t buf[WIRE_CARD_SIGNED_MAX];
	size_t len = wire_card_signed_bytes(&p->card, buf);

	sign_as(p->pub, buf, len, p->card.sig);
}

struct fixture {
	struct gossip_core *c;
	uint64_t now;
	struct wire_out o;
	uint8_t buf[GOSSIP_STREAM_MAX];
	uint8_t value[32];
	/* what the core did since the last drain */
	size_t packets, pings, member_events, record_events, gone_events, conflicts, generations;
	uint64_t generation;
	struct gossip_member last_member;
	size_t origin_events;
	struct gossip_origin last_origin;
	uint64_t last_cookie; /* of the last probe it sent */
	bool probed, acked, sent_stream;
	size_t delta_records, delta_cards; /* that it sent */
	bool ack_is_same, ack_has_digest;
	size_t ack_records;
};

static inline void drain(struct fixture *f)
{
	struct gossip_packet p;
	struct gossip_event ev;
	struct wire_delta d;
	struct wire_msg m;

	f->packets = f->pings = f->member_events = f->record_events = f->gone_events = 0;
	f->conflicts = f->generations = f->origin_events = 0;
	f->probed = f->acked = f->sent_stream = false;
	f->delta_records = f->delta_cards = 0;
	while (gossip_core_next_packet(f->c, &p)) {
		f->packets++;
		f->pings += p.via == GOSSIP_PING;
		f->sent_stream |= p.via == GOSSIP_STREAM;
		if (p.via == GOSSIP_PING)
			continue;
		assert_int_equal(wire_decode(p.buf, p.len, &m), 0);
		if (m.type == WIRE_PROBE) {
			f->probed = true;
			f->last_cookie = m.cookie;
		}
		if (m.type == WIRE_ACK) {
			f->acked = true;
			f->ack_is_same = m.flags & WIRE_F_SAME;
			f->ack_has_digest = m.has_digest;
			f->ack_records = m.records.count;
		}
		if (m.type == WIRE_DELTA)
			f->delta_cards += m.cards.count;
		while (wire_next_delta(&m.deltas, &d))
			f->delta_records += d.records.count;
	}
	while (gossip_core_next_event(f->c, &ev)) {
		switch (ev.kind) {
		case GOSSIP_EV_MEMBER:
			f->member_events++;
			f->last_member = ev.member;
			break;
		case GOSSIP_EV_RECORD:
			f->record_events++;
			break;
		case GOSSIP_EV_RECORD_GONE:
			f->gone_events++;
			break;
		case GOSSIP_EV_GENERATION:
			f->generations++;
			f->generation = ev.generation;
			break;
		case GOSSIP_EV_CONFLICT:
			f->conflicts++;
			break;
		case GOSSIP_EV_ORIGIN:
			f->origin_events++;
			f->last_origin = ev.origin;
			break;
		case GOSSIP_EV_SUMMARY:
		case GOSSIP_EV_REGION:
			break;
		}
	}
	gossip_core_check(f->c);
}

static inline struct gossip_config config(void)
{
	struct gossip_config cfg = {.name = "self",
				    .region = "r",
				    .addr = {.ip = {[15] = 200}, .port = 7946},
				    .generation = 50,
				    .boot_nonce = 77,
				    .signer = {.arg = self_pub,
					       .sign = stub_sign,
					       .verify = stub_verify,
					       .id_of = stub_id_of,
					       .hash = stub_hash},
				    .seed = 1,
				    .records_max = 200};

	memcpy(cfg.pub, self_pub, sizeof(cfg.pub));
	return cfg;
}

static inline struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct gossip_config cfg = config();
	struct err e;

	assert_non_null(f);
	f->now = T0;
	assert_int_equal(gossip_core_new(&cfg, f->now, &f->c, &e), 0);
	assert_int_equal(gossip_core_join(f->c, f->now, NULL, 0), 0);
	drain(f);
	return f;
}

static inline void fixture_free(struct fixture *f)
{
	gossip_core_free(f->c);
	free(f);
}

static inline void begin(struct fixture *f, enum wire_type type)
{
	wire_begin(&f->o, f->buf, type >= WIRE_SYNC ? sizeof(f->buf) : GOSSIP_DGRAM_MAX, type);
}

/* Hand what was packed to the core, as from `p`. */
static inline int deliver(struct fixture *f, const struct peer *p)
{
	size_t len = wire_end(&f->o);
	enum gossip_via via = f->buf[6] >= WIRE_SYNC ? GOSSIP_STREAM : GOSSIP_DGRAM;
	int err;

	assert_true(len > 0);
	err = gossip_core_recv(f->c, f->now, via, &p->sender, &p->card.addr, f->buf, len);
	drain(f);
	return err;
}

/* Known to the core by its card, passed on by itself or by another. */
static inline void introduce(struct fixture *f, struct peer *p, const struct peer *bearer)
{
	card_sign(p);
	if (!bearer) {
		/* A stranger must answer a challenge first. */
		begin(f, WIRE_PROBE);
		wire_put_cookie(&f->o, 5);
		assert_int_equal(deliver(f, p), 0);
		assert_true(f->probed && f->acked);
		begin(f, WIRE_ACK);
		wire_put_cookie(&f->o, f->last_cookie);
		bearer = p;
	} else {
		begin(f, WIRE_NEWS);
	}
	wire_list_begin(&f->o, WIRE_K_CARDS);
	assert_true(wire_add_card(&f->o, &p->card));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, bearer), 0);
}

static inline enum gossip_state state_of(struct fixture *f, const struct peer *p)
{
	struct gossip_member m;

	assert_true(gossip_core_member_get(f->c, &p->sender.id, &m));
	return m.state;
}

static inline void vote(struct fixture *f, const struct peer *voter, const struct node_id *id,
			uint64_t generation, uint32_t incarnation, enum gossip_state state)
{
	struct wire_vote v = {
		.id = *id, .generation = generation, .incarnation = incarnation, .state = state};

	begin(f, WIRE_NEWS);
	wire_list_begin(&f->o, WIRE_K_VOTES);
	assert_true(wire_add_vote(&f->o, &v));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, voter), 0);
}

/* A record of `p`, value {"v": number}, signed; valid until the next call. */
static inline struct record record_of(struct fixture *f, const uint8_t *pub, uint8_t kind,
				      const char *key, uint64_t generation, uint64_t seq,
				      uint8_t number)
{
	struct record r = {.kind = kind,
			   .generation = generation,
			   .seq = seq,
			   .key = (const uint8_t *)key,
			   .key_len = strlen(key),
			   .value = f->value,
			   .value_len = 4};
	uint8_t buf[RECORD_SIGNED_MAX];
	int len;

	memcpy(f->value, "\x81\xa1v", 3);
	f->value[3] = number;
	memcpy(r.pub, pub, sizeof(r.pub));
	len = record_signed_bytes(&r, buf, sizeof(buf));
	assert_true(len > 0);
	sign_as(pub, buf, (size_t)len, r.sig);
	return r;
}

static inline int news(struct fixture *f, const struct peer *from, const struct record *r)
{
	begin(f, WIRE_NEWS);
	wire_list_begin(&f->o, WIRE_K_RECORDS);
	assert_true(wire_add_record(&f->o, r));
	wire_list_end(&f->o);
	return deliver(f, from);
}

static inline int value_of(struct fixture *f, const struct node_id *id, uint8_t kind,
			   const char *key)
{
	struct record r;

	if (!gossip_core_get_record(f->c, id, kind, key, &r))
		return -1;
	assert_int_equal(r.value_len, 4);
	return r.value[3];
}

static inline void hash_of(const struct record *r, struct digest *ret)
{
	uint8_t buf[RECORD_SIGNED_MAX + NODE_PUB_BYTES], h[16];
	int len = record_signed_bytes(r, buf, RECORD_SIGNED_MAX);

	assert_true(len > 0);
	memcpy(buf + len, r->pub, NODE_PUB_BYTES);
	stub_hash(NULL, buf, (size_t)len + NODE_PUB_BYTES, h);
	digest_from(h, ret);
}

/* A head of `p` at `seq` over records that add up to `sum`; `value` of 27 bytes lives with the caller. */
static inline struct record head_of(struct fixture *f, const struct peer *p, uint64_t generation,
				    uint64_t seq, uint8_t gc, const struct digest *sum,
				    uint8_t *value)
{
	static const uint8_t frame[] = {0x82, 0xa2, 'g', 'c', 0, 0xa3, 's', 'u', 'm', 0xc4, 16};
	struct record head = record_of(f, p->pub, RECORD_KIND_HEAD, HEAD_KEY, generation, seq, 1);
	uint8_t buf[RECORD_SIGNED_MAX];

	memcpy(value, frame, sizeof(frame));
	value[4] = gc;
	digest_bytes(sum, value + sizeof(frame));
	head.value = value;
	head.value_len = 27;
	sign_as(p->pub, buf, (size_t)record_signed_bytes(&head, buf, sizeof(buf)), head.sig);
	return head;
}

static inline void sync_of(struct fixture *f, const struct peer *from, const struct wire_origin *w)
{
	struct node_id lo, hi;

	memset(&lo, 0, sizeof(lo));
	memset(&hi, 0xff, sizeof(hi));
	begin(f, WIRE_SYNC);
	wire_put_range(&f->o, &lo, &hi);
	wire_put_flags(&f->o, WIRE_F_REPLY);
	wire_list_begin(&f->o, WIRE_K_ORIGINS);
	assert_true(wire_add_origin(&f->o, w));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, from), 0);
}

#endif
