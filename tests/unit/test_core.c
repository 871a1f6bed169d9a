/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One core, and peers made of hand-packed messages: what it believes, from whom, and what it does then. */
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

static void stub_hash(void *arg, const uint8_t *msg, size_t len, uint8_t ret[16])
{
	uint64_t h[2] = {1, 2};

	(void)arg;
	core_fnv(&h[0], msg, len);
	core_fnv(&h[1], &h[0], 8);
	core_fnv(&h[1], msg, len);
	memcpy(ret, h, 16);
}

static void stub_id_of(void *arg, const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id)
{
	(void)arg;
	memcpy(ret_id->b, pub, NODE_ID_BYTES);
}

static void sign_as(const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg, size_t len,
		    uint8_t sig[NODE_SIG_BYTES])
{
	uint8_t h[16];

	stub_hash(NULL, msg, len, h);
	for (size_t i = 0; i < NODE_SIG_BYTES; i++)
		sig[i] = (uint8_t)(h[i % 16] ^ pub[i % NODE_PUB_BYTES] ^ 0xa5);
}

static int stub_sign(void *arg, const uint8_t *msg, size_t len, uint8_t sig[NODE_SIG_BYTES])
{
	sign_as(arg, msg, len, sig);
	return 0;
}

static int stub_verify(void *arg, const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg, size_t len,
		       const uint8_t sig[NODE_SIG_BYTES])
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

static struct peer peer_new(uint8_t n)
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

static void card_sign(struct peer *p)
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
	uint64_t last_cookie; /* of the last probe it sent */
	bool probed, acked, sent_stream;
};

static void drain(struct fixture *f)
{
	struct gossip_packet p;
	struct gossip_event ev;
	struct wire_msg m;

	f->packets = f->pings = f->member_events = f->record_events = f->gone_events = 0;
	f->conflicts = f->generations = 0;
	f->probed = f->acked = f->sent_stream = false;
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
		f->acked |= m.type == WIRE_ACK;
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
		}
	}
	gossip_core_check(f->c);
}

static struct gossip_config config(void)
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

static struct fixture *fixture_new(void)
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

static void fixture_free(struct fixture *f)
{
	gossip_core_free(f->c);
	free(f);
}

static void begin(struct fixture *f, enum wire_type type)
{
	wire_begin(&f->o, f->buf, type >= WIRE_SYNC ? sizeof(f->buf) : GOSSIP_DGRAM_MAX, type);
}

/* Hand what was packed to the core, as from `p`. */
static int deliver(struct fixture *f, const struct peer *p)
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
static void introduce(struct fixture *f, struct peer *p, const struct peer *bearer)
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

static enum gossip_state state_of(struct fixture *f, const struct peer *p)
{
	struct gossip_member m;

	assert_true(gossip_core_member_get(f->c, &p->sender.id, &m));
	return m.state;
}

static void vote(struct fixture *f, const struct peer *voter, const struct node_id *id,
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
static struct record record_of(struct fixture *f, const uint8_t *pub, uint8_t kind, const char *key,
			       uint64_t generation, uint64_t seq, uint8_t number)
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

static int news(struct fixture *f, const struct peer *from, const struct record *r)
{
	begin(f, WIRE_NEWS);
	wire_list_begin(&f->o, WIRE_K_RECORDS);
	assert_true(wire_add_record(&f->o, r));
	wire_list_end(&f->o);
	return deliver(f, from);
}

static int value_of(struct fixture *f, const struct node_id *id, uint8_t kind, const char *key)
{
	struct record r;

	if (!gossip_core_get_record(f->c, id, kind, key, &r))
		return -1;
	assert_int_equal(r.value_len, 4);
	return r.value[3];
}

/* ---- cases */

static void test_new_when_the_configuration_is_wrong_then_says_what(void **state)
{
	struct gossip_core *c = NULL;
	struct gossip_config cfg;
	struct err e;

	(void)state;
	cfg = config();
	snprintf(cfg.name, sizeof(cfg.name), "Self");
	assert_int_equal(gossip_core_new(&cfg, T0, &c, &e), -EINVAL);
	assert_non_null(strstr(e.text, "'Self'"));
	cfg = config();
	cfg.region[0] = 0;
	assert_int_equal(gossip_core_new(&cfg, T0, &c, &e), -EINVAL);
	cfg = config();
	cfg.generation = 0;
	assert_int_equal(gossip_core_new(&cfg, T0, &c, NULL), -EINVAL);
	cfg = config();
	cfg.signer.verify = NULL;
	assert_int_equal(gossip_core_new(&cfg, T0, &c, &e), -EINVAL);
	assert_null(c);
	gossip_core_free(NULL);
}

static void test_recv_when_the_sender_is_unknown_then_only_its_cookie_lets_it_in(void **state)
{
	struct fixture *f = fixture_new();
	struct peer p = peer_new(1);
	struct record r = record_of(f, p.pub, KIND, "a", 100, 1, 1);

	(void)state;
	card_sign(&p);
	assert_int_equal(news(f, &p, &r), 0);
	assert_int_equal(f->record_events, 0);
	assert_true(f->probed);
	/* An answer to something that we never asked. */
	begin(f, WIRE_ACK);
	wire_put_cookie(&f->o, f->last_cookie + 1);
	wire_list_begin(&f->o, WIRE_K_CARDS);
	assert_true(wire_add_card(&f->o, &p.card));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, &p), 0);
	assert_int_equal(gossip_core_member_count(f->c), 1);
	introduce(f, &p, NULL);
	assert_int_equal(gossip_core_member_count(f->c), 2);
	assert_int_equal(state_of(f, &p), GOSSIP_ALIVE);
	assert_true(f->sent_stream); /* what do you have? */
	assert_int_equal(news(f, &p, &r), 0);
	assert_int_equal(f->record_events, 1);
	fixture_free(f);
}

static void test_recv_when_a_card_is_not_its_owners_then_refused(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), b = peer_new(2);
	struct gossip_counters n;

	(void)state;
	introduce(f, &a, NULL);
	card_sign(&b);
	b.card.addr.ip[15] = 99; /* after signing */
	begin(f, WIRE_NEWS);
	wire_list_begin(&f->o, WIRE_K_CARDS);
	assert_true(wire_add_card(&f->o, &b.card));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, &a), 0);
	assert_int_equal(gossip_core_member_count(f->c), 2);
	gossip_core_counters(f->c, &n);
	assert_int_equal(n.bad_signatures, 1);
	fixture_free(f);
}

static void test_recv_when_records_are_forged_then_refused(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), b = peer_new(2);
	struct gossip_counters n;
	struct record r;

	(void)state;
	introduce(f, &a, NULL);
	introduce(f, &b, &a);
	/* b's key, signed by nobody; a value changed on the way; a version raised on the way. */
	r = record_of(f, b.pub, KIND, "a", 100, 1, 1);
	memset(r.sig, 0, sizeof(r.sig));
	assert_int_equal(news(f, &a, &r), 0);
	r = record_of(f, b.pub, KIND, "a", 100, 1, 1);
	f->value[3] = 9;
	assert_int_equal(news(f, &a, &r), 0);
	r = record_of(f, b.pub, KIND, "a", 100, 1, 1);
	r.seq = 2;
	assert_int_equal(news(f, &a, &r), 0);
	gossip_core_counters(f->c, &n);
	assert_int_equal(n.bad_signatures, 3);
	/* Broken rules: a shared record with a generation, a head under a false name. */
	r = record_of(f, a.pub, SHARED, "a", 1, 1, 1);
	assert_int_equal(news(f, &a, &r), 0);
	r = record_of(f, a.pub, RECORD_KIND_HEAD, "tail", 100, 1, 1);
	assert_int_equal(news(f, &a, &r), 0);
	gossip_core_counters(f->c, &n);
	assert_int_equal(n.refused_records, 2);
	assert_int_equal(n.records_new, 1); /* our own head */
	/* What is right is taken from anybody. */
	r = record_of(f, b.pub, KIND, "a", 100, 1, 1);
	assert_int_equal(news(f, &a, &r), 0);
	assert_int_equal(value_of(f, &b.sender.id, KIND, "a"), 1);
	/* Older and same versions change nothing. */
	r = record_of(f, b.pub, KIND, "a", 99, 8, 3);
	assert_int_equal(news(f, &a, &r), 0);
	assert_int_equal(f->record_events, 0);
	assert_int_equal(value_of(f, &b.sender.id, KIND, "a"), 1);
	fixture_free(f);
}

static void test_recv_when_two_contents_have_one_version_then_all_keep_the_same(void **state)
{
	struct fixture *f = fixture_new(), *g = fixture_new();
	struct peer a = peer_new(1);
	struct record r;

	(void)state;
	introduce(f, &a, NULL);
	introduce(g, &a, NULL);
	r = record_of(f, a.pub, KIND, "a", 100, 1, 1);
	(void)news(f, &a, &r);
	r = record_of(f, a.pub, KIND, "a", 100, 1, 2);
	(void)news(f, &a, &r);
	r = record_of(g, a.pub, KIND, "a", 100, 1, 2);
	(void)news(g, &a, &r);
	r = record_of(g, a.pub, KIND, "a", 100, 1, 1);
	(void)news(g, &a, &r);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "a"),
			 value_of(g, &a.sender.id, KIND, "a"));
	fixture_free(f);
	fixture_free(g);
}

static void test_recv_when_full_then_refuses_and_stays_full(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct gossip_counters n;
	char key[16];

	(void)state;
	introduce(f, &a, NULL);
	for (unsigned int i = 1; i <= 300; i++) {
		struct record r;

		snprintf(key, sizeof(key), "k%u", i);
		r = record_of(f, a.pub, KIND, key, 100, i, 1);
		assert_int_equal(news(f, &a, &r), 0);
	}
	assert_int_equal(f->c->rec_count, 200);
	gossip_core_counters(f->c, &n);
	assert_int_equal(n.refused_records, 101);
	assert_int_equal(
		gossip_core_put(f->c, f->now, KIND, "mine", (const uint8_t *)"\x80", 1, false),
		-ENOSPC);
	fixture_free(f);
}

static void test_members_when_too_many_then_refused(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);

	(void)state;
	introduce(f, &a, NULL);
	for (unsigned int i = 0; i < GOSSIP_MEMBERS_MAX + 100; i++) {
		struct peer p = peer_new(2);

		p.pub[2] = p.card.pub[2] = (uint8_t)(i >> 8);
		p.pub[3] = p.card.pub[3] = (uint8_t)i;
		snprintf(p.card.name, sizeof(p.card.name), "n%u", i);
		card_sign(&p);
		(void)member_offer_card(f->c, &p.card, NULL, NULL);
	}
	assert_int_equal(gossip_core_member_count(f->c), GOSSIP_MEMBERS_MAX);
	drain(f);
	fixture_free(f);
}

static void test_vote_when_one_then_nothing_and_when_two_then_suspect_and_later_dead(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), b = peer_new(2), m = peer_new(3);

	(void)state;
	introduce(f, &a, NULL);
	introduce(f, &b, &a);
	introduce(f, &m, &a);
	/* One voter may shout as often as it likes; and an old version counts for nobody. */
	for (int i = 0; i < 5; i++)
		vote(f, &a, &m.sender.id, 100, 0, i % 2 ? GOSSIP_DEAD : GOSSIP_SUSPECT);
	assert_int_equal(state_of(f, &m), GOSSIP_ALIVE);
	vote(f, &b, &m.sender.id, 99, 0, GOSSIP_SUSPECT);
	assert_int_equal(state_of(f, &m), GOSSIP_ALIVE);
	vote(f, &b, &m.sender.id, 100, 0, GOSSIP_SUSPECT);
	assert_int_equal(state_of(f, &m), GOSSIP_SUSPECT);
	assert_int_equal(f->member_events, 1);
	/* It refutes with the next incarnation. */
	m.card.incarnation = 1;
	introduce(f, &m, &a);
	assert_int_equal(state_of(f, &m), GOSSIP_ALIVE);
	/* This time it doesn't. */
	vote(f, &a, &m.sender.id, 100, 1, GOSSIP_SUSPECT);
	vote(f, &b, &m.sender.id, 100, 1, GOSSIP_SUSPECT);
	assert_int_equal(state_of(f, &m), GOSSIP_SUSPECT);
	for (uint64_t t = f->now; f->now < t + 1400; f->now += 20) {
		gossip_core_tick(f->c, f->now);
		/* The voters live. */
		vote(f, &a, &a.sender.id, 1, 0, GOSSIP_SUSPECT);
		assert_int_equal(state_of(f, &m), GOSSIP_SUSPECT);
	}
	for (uint64_t t = f->now; f->now < t + 6000 && state_of(f, &m) != GOSSIP_DEAD;) {
		f->now += 20;
		gossip_core_tick(f->c, f->now);
		drain(f);
	}
	assert_int_equal(state_of(f, &m), GOSSIP_DEAD);
	fixture_free(f);
}

static void test_vote_when_about_us_then_refuted(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct gossip_member self;
	struct gossip_counters n;

	(void)state;
	introduce(f, &a, NULL);
	vote(f, &a, &f->c->self->id, 50, 0, GOSSIP_SUSPECT);
	assert_true(gossip_core_member_get(f->c, &f->c->self->id, &self));
	assert_int_equal(self.state, GOSSIP_ALIVE);
	assert_int_equal(self.incarnation, 1);
	assert_true(f->packets > 0);
	/* About a version that we never had: nobody can drive our numbers up. */
	f->now += 1000;
	vote(f, &a, &f->c->self->id, 50, 1000000, GOSSIP_SUSPECT);
	vote(f, &a, &f->c->self->id, 5000, 1, GOSSIP_DEAD);
	assert_true(gossip_core_member_get(f->c, &f->c->self->id, &self));
	assert_int_equal(self.incarnation, 1);
	assert_int_equal(f->generations, 0);
	gossip_core_counters(f->c, &n);
	assert_int_equal(n.refutations, 1);
	fixture_free(f);
}

static void test_recv_when_we_hear_of_a_higher_self_then_we_jump_above_it(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct record r, mine;

	(void)state;
	introduce(f, &a, NULL);
	assert_int_equal(
		gossip_core_put(f->c, f->now, KIND, "a", (const uint8_t *)"\x81\xa1v\x05", 4, true),
		0);
	drain(f);
	/* Forged: nothing. Signed by us in a former life: above it. */
	r = record_of(f, self_pub, KIND, "old", 90, 3, 1);
	r.sig[0] ^= 1;
	assert_int_equal(news(f, &a, &r), 0);
	assert_int_equal(f->generations, 0);
	r.sig[0] ^= 1;
	assert_int_equal(news(f, &a, &r), 0);
	assert_int_equal(f->generations, 1);
	assert_int_equal(f->generation, 91);
	/* The same again does not ask again. */
	assert_int_equal(news(f, &a, &r), 0);
	assert_int_equal(f->generations, 0);
	gossip_core_set_generation(f->c, f->now, 91);
	drain(f);
	assert_true(gossip_core_get_record(f->c, &f->c->self->id, KIND, "a", &mine));
	assert_int_equal(mine.generation, 91);
	assert_int_equal(mine.value[3], 5);
	assert_int_equal(value_of(f, &f->c->self->id, KIND, "old"), -1);
	/* Lower than it is: refused. */
	gossip_core_set_generation(f->c, f->now, 60);
	assert_int_equal(f->c->cfg.generation, 91);
	/* And our own numbers under what we never wrote. */
	f->now += 5000;
	r = record_of(f, self_pub, KIND, "a", 91, 400, 9);
	assert_int_equal(news(f, &a, &r), 0);
	assert_int_equal(f->generation, 92);
	fixture_free(f);
}

static void test_recv_when_two_nodes_have_one_identity_then_shown(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), twin = a, b = peer_new(2), c = peer_new(3);
	struct record r;

	(void)state;
	introduce(f, &a, NULL);
	/* A restart: a new nonce takes over, without noise. */
	twin.sender.boot_nonce = 5;
	r = record_of(f, a.pub, KIND, "a", 100, 1, 1);
	assert_int_equal(news(f, &twin, &r), 0);
	assert_int_equal(f->conflicts, 0);
	/* But the old one goes on talking: two of them. */
	f->now += 3000;
	for (int i = 0; i < 3; i++)
		assert_int_equal(news(f, &a, &r), -EEXIST);
	assert_int_equal(f->conflicts, 1);
	/* Somebody with our own identity. */
	c.sender.id = f->c->self->id;
	assert_int_equal(news(f, &c, &r), -EEXIST);
	assert_int_equal(f->conflicts, 1);
	/* One name twice: both stay, and it is shown. */
	snprintf(b.card.name, sizeof(b.card.name), "peer-1");
	introduce(f, &b, &twin);
	assert_int_equal(f->conflicts, 1);
	assert_int_equal(gossip_core_member_count(f->c), 3);
	/* One node number twice: the newcomer stays out. */
	c = peer_new(2);
	c.pub[8] = c.card.pub[8] = 1;
	snprintf(c.card.name, sizeof(c.card.name), "other");
	f->now += 20000;
	introduce(f, &c, &twin);
	assert_int_equal(f->conflicts, 1);
	assert_int_equal(gossip_core_member_count(f->c), 3);
	fixture_free(f);
}

/* A relayer says that we have everything, and shows the writer's true head. */
static void test_delta_when_a_relayer_hides_records_then_nothing_is_dropped(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), mad = peer_new(2);
	struct origin *o;
	struct record r, head;
	struct digest sum = {{123, 456}}; /* of records that we don't have */
	uint8_t value[32] = {0x82, 0xa2, 'g', 'c', 0, 0xa3, 's', 'u', 'm', 0xc4, 16};
	uint8_t buf[RECORD_SIGNED_MAX];

	(void)state;
	introduce(f, &a, NULL);
	introduce(f, &mad, &a);
	r = record_of(f, a.pub, KIND, "keep", 100, 1, 1);
	assert_int_equal(news(f, &a, &r), 0);
	head = record_of(f, a.pub, RECORD_KIND_HEAD, HEAD_KEY, 101, 9, 1);
	digest_bytes(&sum, value + 11);
	head.value = value;
	head.value_len = 27;
	sign_as(a.pub, buf, (size_t)record_signed_bytes(&head, buf, sizeof(buf)), head.sig);
	for (unsigned int flags = 0; flags <= (WIRE_D_RESET | WIRE_D_LAST); flags++) {
		begin(f, WIRE_DELTA);
		wire_list_begin(&f->o, WIRE_K_DELTAS);
		assert_true(wire_delta_begin(&f->o, &a.sender.id, 101, 0, 0));
		assert_true(wire_add_record(&f->o, &head));
		wire_delta_end(&f->o, 1000, flags);
		wire_list_end(&f->o);
		assert_int_equal(deliver(f, &mad), 0);
		assert_int_equal(value_of(f, &a.sender.id, KIND, "keep"), 1);
	}
	o = table_origin(f->c, &a.sender.id);
	assert_false(o->is_whole);
	/* The writer's head took the lie back: what it really has comes through. */
	assert_true(o->watermark < 9);
	r = record_of(f, a.pub, KIND, "hidden", 101, 4, 7);
	assert_int_equal(news(f, &a, &r), 0);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "hidden"), 7);
	fixture_free(f);
}

static void test_removal_when_it_stands_then_records_are_void(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	char key[33];
	struct record r;

	(void)state;
	introduce(f, &a, NULL);
	r = record_of(f, a.pub, KIND, "a", 100, 1, 1);
	assert_int_equal(news(f, &a, &r), 0);
	for (size_t i = 0; i < NODE_ID_BYTES; i++)
		snprintf(key + 2 * i, 3, "%02x", a.sender.id.b[i]);
	assert_int_equal(gossip_core_put(f->c, f->now, RECORD_KIND_REMOVAL, key,
					 (const uint8_t *)"\x80", 1, true),
			 0);
	drain(f);
	assert_int_equal(f->gone_events, 1);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "a"), -1);
	r = record_of(f, a.pub, KIND, "b", 100, 2, 1);
	assert_int_equal(news(f, &a, &r), 0);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "b"), -1);
	assert_int_equal(gossip_core_del(f->c, f->now, RECORD_KIND_REMOVAL, key, true), 0);
	assert_int_equal(news(f, &a, &r), 0);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "b"), 1);
	fixture_free(f);
}

static void test_put_when_asked_then_numbered_and_checked(void **state)
{
	struct fixture *f = fixture_new();
	const uint8_t v1[] = {0x81, 0xa1, 'v', 1}, v2[] = {0x81, 0xa1, 'v', 2};
	uint8_t big[RECORD_VALUE_MAX + 1] = {0};
	char long_key[RECORD_KEY_MAX + 2];
	struct record r;
	uint64_t seq;

	(void)state;
	assert_int_equal(gossip_core_put(f->c, f->now, KIND, "a", v1, 4, false), 0);
	assert_true(gossip_core_get_record(f->c, &f->c->self->id, KIND, "a", &r));
	seq = r.seq;
	assert_int_equal(gossip_core_put(f->c, f->now, KIND, "a", v1, 4, false), 0);
	assert_true(gossip_core_get_record(f->c, &f->c->self->id, KIND, "a", &r));
	assert_int_equal(r.seq, seq);
	assert_int_equal(gossip_core_put(f->c, f->now, KIND, "a", v2, 4, false), 0);
	assert_true(gossip_core_get_record(f->c, &f->c->self->id, KIND, "a", &r));
	assert_int_equal(r.seq, seq + 1);
	assert_int_equal(gossip_core_put(f->c, f->now, 0, "a", v1, 4, false), -EINVAL);
	assert_int_equal(gossip_core_put(f->c, f->now, 192, "a", v1, 4, false), -EINVAL);
	assert_int_equal(gossip_core_put(f->c, f->now, RECORD_KIND_HEAD, "head", v1, 4, false),
			 -EINVAL);
	assert_int_equal(gossip_core_put(f->c, f->now, KIND, "", v1, 4, false), -EINVAL);
	assert_int_equal(gossip_core_put(f->c, f->now, KIND, "a", v1, 3, false), -EINVAL);
	assert_int_equal(
		gossip_core_put(f->c, f->now, KIND, "a", (const uint8_t *)"\x90", 1, false),
		-EINVAL);
	assert_int_equal(gossip_core_put(f->c, f->now, KIND, "a", big, sizeof(big), false),
			 -EMSGSIZE);
	memset(long_key, 'k', sizeof(long_key) - 1);
	long_key[sizeof(long_key) - 1] = 0;
	assert_int_equal(gossip_core_put(f->c, f->now, KIND, long_key, v1, 4, false), -EMSGSIZE);
	assert_int_equal(gossip_core_del(f->c, f->now, KIND, "none", false), -ENOENT);
	assert_int_equal(gossip_core_del(f->c, f->now, KIND, "a", false), 0);
	assert_int_equal(gossip_core_del(f->c, f->now, KIND, "a", false), -ENOENT);
	assert_false(gossip_core_get_record(f->c, &f->c->self->id, KIND, "a", &r));
	/* Shared: above whatever was seen. */
	assert_int_equal(gossip_core_put(f->c, f->now, SHARED, "s", v1, 4, false), 0);
	assert_true(gossip_core_get_record(f->c, NULL, SHARED, "s", &r));
	assert_int_equal(r.seq, 1);
	drain(f);
	fixture_free(f);
}

static void test_load_when_stored_then_in_force_and_verified(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct gossip_member m = {.generation = 100, .state = GOSSIP_DEAD};
	struct record r = record_of(f, a.pub, KIND, "a", 100, 1, 1);

	(void)state;
	assert_int_equal(gossip_core_load_record(f->c, &r), 0);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "a"), 1);
	r.seq = 2;
	assert_int_equal(gossip_core_load_record(f->c, &r), -EBADMSG);
	m.id = a.sender.id;
	memcpy(m.pub, a.pub, sizeof(m.pub));
	snprintf(m.name, sizeof(m.name), "peer-1");
	snprintf(m.region, sizeof(m.region), "r");
	assert_int_equal(gossip_core_load_member(f->c, &m), 0);
	assert_int_equal(state_of(f, &a), GOSSIP_DEAD);
	m.id.b[0] ^= 1;
	assert_int_equal(gossip_core_load_member(f->c, &m), -EBADMSG);
	drain(f);
	assert_int_equal(f->record_events, 0);
	assert_int_equal(f->member_events, 0);
	fixture_free(f);
}

static void test_tick_when_late_then_nobody_is_accused(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct gossip_counters n;

	(void)state;
	introduce(f, &a, NULL);
	for (int i = 0; i < 20; i++) {
		f->now = gossip_core_deadline_ms(f->c) + 1000; /* frozen again and again */
		gossip_core_tick(f->c, f->now);
		drain(f);
		assert_int_equal(state_of(f, &a), GOSSIP_ALIVE);
	}
	gossip_core_counters(f->c, &n);
	assert_int_equal(n.frozen, 20);
	assert_int_equal(n.probes_failed, 0);
	/* In time, it is found out. */
	for (int i = 0; i < 2000 && state_of(f, &a) == GOSSIP_ALIVE; i++) {
		f->now = gossip_core_deadline_ms(f->c);
		gossip_core_tick(f->c, f->now);
		drain(f);
	}
	assert_int_equal(state_of(f, &a), GOSSIP_SUSPECT);
	fixture_free(f);
}

static void test_send_failed_when_local_then_it_counts_as_a_failed_probe(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	uint64_t start;

	(void)state;
	introduce(f, &a, NULL);
	start = f->now;
	while (f->now < start + 1000 && state_of(f, &a) == GOSSIP_ALIVE) {
		gossip_core_send_failed(f->c, f->now, GOSSIP_DGRAM, &a.card.addr, -EPERM);
		gossip_core_tick(f->c, f->now);
		drain(f);
		f->now += 10;
	}
	assert_int_equal(state_of(f, &a), GOSSIP_SUSPECT);
	assert_in_range(f->now - start, 1, 250);
	fixture_free(f);
}

static void test_recv_when_not_ours_then_counted(void **state)
{
	static const uint8_t array32[] = {0xdd, 4, 0, 0, 0};
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct gossip_counters n;

	(void)state;
	introduce(f, &a, NULL);
	assert_int_equal(gossip_core_recv(f->c, f->now, GOSSIP_DGRAM, &a.sender, &a.card.addr,
					  array32, sizeof(array32)),
			 -EBADMSG);
	assert_int_equal(
		gossip_core_recv(f->c, f->now, GOSSIP_DGRAM, &a.sender, &a.card.addr, array32, 0),
		-EBADMSG);
	assert_int_equal(
		gossip_core_recv(f->c, f->now, GOSSIP_PING, NULL, &a.card.addr, array32, 5),
		-EBADMSG);
	assert_int_equal(
		gossip_core_recv(f->c, f->now, GOSSIP_DGRAM, NULL, &a.card.addr, array32, 5),
		-EINVAL);
	/* A stream's message in a datagram. */
	begin(f, WIRE_SYNC);
	assert_int_equal(gossip_core_recv(f->c, f->now, GOSSIP_DGRAM, &a.sender, &a.card.addr,
					  f->buf, wire_end(&f->o)),
			 -EBADMSG);
	/* A later version's kind of message. */
	begin(f, (enum wire_type)40);
	assert_int_equal(gossip_core_recv(f->c, f->now, GOSSIP_DGRAM, &a.sender, &a.card.addr,
					  f->buf, wire_end(&f->o)),
			 0);
	gossip_core_counters(f->c, &n);
	assert_int_equal(n.bad_dgrams, 4);
	drain(f);
	fixture_free(f);
}

static void test_leave_when_asked_then_says_so_and_is_still(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);

	(void)state;
	introduce(f, &a, NULL);
	gossip_core_leave(f->c, f->now);
	drain(f);
	assert_int_equal(f->packets, 2);
	assert_true(gossip_core_deadline_ms(f->c) > f->now + 1000000);
	gossip_core_tick(f->c, f->now + 10000);
	drain(f);
	assert_int_equal(f->packets, 0);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_when_the_configuration_is_wrong_then_says_what),
		cmocka_unit_test(
			test_recv_when_the_sender_is_unknown_then_only_its_cookie_lets_it_in),
		cmocka_unit_test(test_recv_when_a_card_is_not_its_owners_then_refused),
		cmocka_unit_test(test_recv_when_records_are_forged_then_refused),
		cmocka_unit_test(
			test_recv_when_two_contents_have_one_version_then_all_keep_the_same),
		cmocka_unit_test(test_recv_when_full_then_refuses_and_stays_full),
		cmocka_unit_test(test_members_when_too_many_then_refused),
		cmocka_unit_test(
			test_vote_when_one_then_nothing_and_when_two_then_suspect_and_later_dead),
		cmocka_unit_test(test_vote_when_about_us_then_refuted),
		cmocka_unit_test(test_recv_when_we_hear_of_a_higher_self_then_we_jump_above_it),
		cmocka_unit_test(test_recv_when_two_nodes_have_one_identity_then_shown),
		cmocka_unit_test(test_delta_when_a_relayer_hides_records_then_nothing_is_dropped),
		cmocka_unit_test(test_removal_when_it_stands_then_records_are_void),
		cmocka_unit_test(test_put_when_asked_then_numbered_and_checked),
		cmocka_unit_test(test_load_when_stored_then_in_force_and_verified),
		cmocka_unit_test(test_tick_when_late_then_nobody_is_accused),
		cmocka_unit_test(test_send_failed_when_local_then_it_counts_as_a_failed_probe),
		cmocka_unit_test(test_recv_when_not_ours_then_counted),
		cmocka_unit_test(test_leave_when_asked_then_says_so_and_is_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
