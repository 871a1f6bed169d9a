/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whom one core believes, what about whom, and what it does then. */
#include "tests/unit/core_peer.h"

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

/* Who left, or died long ago, never fills the table: a newcomer takes its place, and who lives stays. */
static void test_members_when_full_of_left_then_newcomers_take_their_place(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), m = peer_new(3);
	struct gossip_member g;

	(void)state;
	introduce(f, &a, NULL);
	for (unsigned int i = 0; i < GOSSIP_MEMBERS_MAX + 100; i++) {
		struct peer p = peer_new(2);

		p.pub[2] = p.card.pub[2] = (uint8_t)(i >> 8);
		p.pub[3] = p.card.pub[3] = (uint8_t)i;
		p.card.is_left = true;
		snprintf(p.card.name, sizeof(p.card.name), "n%u", i);
		card_sign(&p);
		(void)member_offer_card(f->c, &p.card, NULL, NULL);
	}
	drain(f);
	assert_int_equal(gossip_core_member_count(f->c), GOSSIP_MEMBERS_MAX);
	for (unsigned int i = 0; i < 200; i++) {
		m = peer_new(3);
		m.pub[3] = m.card.pub[3] = (uint8_t)i;
		stub_id_of(NULL, m.pub, &m.sender.id);
		snprintf(m.card.name, sizeof(m.card.name), "new-%u", i);
		introduce(f, &m, &a);
		assert_true(gossip_core_member_get(f->c, &m.sender.id, &g));
		assert_int_equal(g.state, GOSSIP_ALIVE);
	}
	assert_int_equal(gossip_core_member_count(f->c), GOSSIP_MEMBERS_MAX);
	assert_int_equal(f->c->state_count[GOSSIP_ALIVE], 202);
	assert_int_equal(state_of(f, &a), GOSSIP_ALIVE);
	fixture_free(f);
}

/* Another address speaks with its key: it is asked where we know it, and while it answers there the other stays out. */
static void
test_recv_when_a_known_id_speaks_from_elsewhere_then_the_address_that_answers_keeps_it(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), copy = a;
	struct record r;

	(void)state;
	introduce(f, &a, NULL);
	copy.sender.boot_nonce = copy.card.boot_nonce = 5;
	copy.card.addr.ip[15] = 99;
	copy.card.generation = 200;
	r = record_of(f, a.pub, KIND, "a", 200, 1, 1);
	assert_int_equal(news(f, &copy, &r), -EEXIST);
	assert_true(f->probed);
	assert_int_equal(f->record_events, 0);
	/* It answers. */
	f->now += 5;
	begin(f, WIRE_ACK);
	wire_put_cookie(&f->o, f->last_cookie);
	assert_int_equal(deliver(f, &a), 0);
	f->now += 1000;
	assert_int_equal(news(f, &copy, &r), -EEXIST);
	assert_int_equal(f->conflicts, 1);
	assert_int_equal(f->record_events, 0);
	/* A probe of the other is answered with the card that we know, and no more. */
	begin(f, WIRE_PROBE);
	wire_put_cookie(&f->o, 5);
	assert_int_equal(deliver(f, &copy), -EEXIST);
	assert_true(f->acked);
	/* Later it is silent: it was moved. */
	f->now += 6000;
	assert_int_equal(news(f, &copy, &r), -EEXIST);
	assert_true(f->probed);
	f->now += 600;
	assert_int_equal(news(f, &copy, &r), 0);
	assert_int_equal(f->record_events, 1);
	fixture_free(f);
}

/* Only who has our key can make us yield: a member that says it is us, elsewhere, can't. */
static void test_recv_when_a_twin_is_not_proven_then_we_do_not_yield(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), twin = peer_new(4), old;
	struct gossip_addr at;
	uint64_t cookie;

	(void)state;
	introduce(f, &a, NULL);
	memcpy(twin.pub, self_pub, sizeof(twin.pub));
	twin.card = f->c->self->card;
	twin.card.addr = peer_new(4).card.addr;
	twin.card.boot_nonce = 9;
	twin.sender = (struct gossip_sender){f->c->self->id, 9};
	f->c->is_taken = false;
	/* Its card is not signed by our key: we don't even ask. */
	begin(f, WIRE_PROBE);
	wire_put_cookie(&f->o, 3);
	wire_list_begin(&f->o, WIRE_K_CARDS);
	assert_true(wire_add_card(&f->o, &twin.card));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, &twin), -EEXIST);
	assert_false(f->probed || f->acked);
	/* One of ours, from a former life, shown by another boot. */
	old = twin;
	old.card.boot_nonce = 8;
	card_sign(&old);
	begin(f, WIRE_PROBE);
	wire_put_cookie(&f->o, 3);
	wire_list_begin(&f->o, WIRE_K_CARDS);
	assert_true(wire_add_card(&f->o, &old.card));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, &twin), -EEXIST);
	assert_false(f->probed || f->acked);
	/* A true one is asked, and its answer counts. */
	card_sign(&twin);
	begin(f, WIRE_PROBE);
	wire_put_cookie(&f->o, 3);
	wire_list_begin(&f->o, WIRE_K_CARDS);
	assert_true(wire_add_card(&f->o, &twin.card));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, &twin), -EEXIST);
	assert_true(f->probed && f->acked);
	cookie = f->last_cookie;
	for (int k = 0; k < 2; k++) {
		begin(f, WIRE_ACK);
		wire_put_cookie(&f->o, k ? cookie : cookie + 1);
		wire_put_flags(&f->o, WIRE_F_TAKEN);
		wire_list_begin(&f->o, WIRE_K_CARDS);
		assert_true(wire_add_card(&f->o, &twin.card));
		wire_list_end(&f->o);
		assert_int_equal(deliver(f, &twin), -EEXIST);
		assert_int_equal(gossip_core_has_yielded(f->c, &at), k);
	}
	assert_int_equal(at.ip[15], 4);
	/* It says nothing more but to ask its twin. */
	for (uint64_t t = f->now; f->now < t + 6000;) {
		f->now = gossip_core_deadline_ms(f->c);
		gossip_core_tick(f->c, f->now);
		drain(f);
		assert_int_equal(f->packets, 1);
	}
	/* Silence: it comes back. */
	for (int k = 0; k < 10; k++) {
		f->now = gossip_core_deadline_ms(f->c);
		gossip_core_tick(f->c, f->now);
		drain(f);
	}
	assert_false(gossip_core_has_yielded(f->c, &at));
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

static void test_card_when_its_bearer_calls_it_dead_then_it_comes_dead(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), m = peer_new(3);
	struct wire_vote v = {.id = m.sender.id, .generation = 100, .state = GOSSIP_DEAD};

	(void)state;
	introduce(f, &a, NULL);
	card_sign(&m);
	begin(f, WIRE_NEWS);
	wire_list_begin(&f->o, WIRE_K_CARDS);
	assert_true(wire_add_card(&f->o, &m.card));
	wire_list_end(&f->o);
	wire_list_begin(&f->o, WIRE_K_VOTES);
	assert_true(wire_add_vote(&f->o, &v));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, &a), 0);
	assert_int_equal(state_of(f, &m), GOSSIP_DEAD);
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
		begin(f, WIRE_NEWS); /* it lives */
		assert_int_equal(deliver(f, &a), 0);
		for (int k = 0; k < 4; k++) {
			f->now = gossip_core_deadline_ms(f->c); /* its answers get lost */
			gossip_core_tick(f->c, f->now);
			drain(f);
		}
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

static void test_tick_when_always_late_then_who_never_answers_is_accused_later(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	uint64_t ran_ms = 0;

	(void)state;
	introduce(f, &a, NULL);
	for (int i = 0; i < 200 && state_of(f, &a) == GOSSIP_ALIVE; i++) {
		uint64_t due = gossip_core_deadline_ms(f->c);

		if (due > f->now)
			ran_ms += due - f->now;
		f->now = due + 1000;
		gossip_core_tick(f->c, f->now);
		drain(f);
	}
	assert_int_equal(state_of(f, &a), GOSSIP_SUSPECT);
	assert_in_range(ran_ms, 5000, 15000);
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
		cmocka_unit_test(test_members_when_too_many_then_refused),
		cmocka_unit_test(test_members_when_full_of_left_then_newcomers_take_their_place),
		cmocka_unit_test(
			test_recv_when_a_known_id_speaks_from_elsewhere_then_the_address_that_answers_keeps_it),
		cmocka_unit_test(test_recv_when_a_twin_is_not_proven_then_we_do_not_yield),
		cmocka_unit_test(
			test_vote_when_one_then_nothing_and_when_two_then_suspect_and_later_dead),
		cmocka_unit_test(test_vote_when_about_us_then_refuted),
		cmocka_unit_test(test_recv_when_we_hear_of_a_higher_self_then_we_jump_above_it),
		cmocka_unit_test(test_recv_when_two_nodes_have_one_identity_then_shown),
		cmocka_unit_test(test_card_when_its_bearer_calls_it_dead_then_it_comes_dead),
		cmocka_unit_test(test_tick_when_late_then_nobody_is_accused),
		cmocka_unit_test(
			test_tick_when_always_late_then_who_never_answers_is_accused_later),
		cmocka_unit_test(test_send_failed_when_local_then_it_counts_as_a_failed_probe),
		cmocka_unit_test(test_recv_when_not_ours_then_counted),
		cmocka_unit_test(test_leave_when_asked_then_says_so_and_is_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
