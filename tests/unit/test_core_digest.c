/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What probes and their answers say of all that a node has, and what it need not be told then. */
#include "tests/unit/core_peer.h"

/* A probe of `p`: with the core's own digest, or with another. */
static void probe_from(struct fixture *f, const struct peer *p, bool is_same)
{
	uint8_t root[16];

	digest_bytes(&f->c->root, root);
	root[0] ^= !is_same;
	begin(f, WIRE_PROBE);
	wire_put_cookie(&f->o, 5);
	wire_put_digest(&f->o, root, f->c->members_digest, f->c->standing, NULL);
	assert_int_equal(deliver(f, p), 0);
	assert_true(f->acked);
}

static void ack_same(struct fixture *f, const struct peer *p)
{
	begin(f, WIRE_ACK);
	wire_put_cookie(&f->o, f->last_cookie);
	wire_put_flags(&f->o, WIRE_F_SAME);
	assert_int_equal(deliver(f, p), 0);
}

static void put(struct fixture *f, const char *key)
{
	assert_int_equal(
		gossip_core_put(f->c, f->now, KIND, key, (const uint8_t *)"\x80", 1, false), 0);
	drain(f);
}

static void until_probed(struct fixture *f)
{
	do {
		f->now = gossip_core_deadline_ms(f->c);
		gossip_core_tick(f->c, f->now);
		drain(f);
	} while (!f->probed);
}

static void test_ack_when_the_probe_has_our_digest_then_says_so_in_a_bit(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);

	(void)state;
	introduce(f, &a, NULL);
	probe_from(f, &a, true);
	assert_true(f->ack_is_same && !f->ack_has_digest);
	probe_from(f, &a, false);
	assert_true(!f->ack_is_same && f->ack_has_digest);
	fixture_free(f);
}

static void test_ack_when_it_says_same_then_it_has_what_the_probe_said(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct member *m;

	(void)state;
	introduce(f, &a, NULL);
	m = member_get(f->c, &a.sender.id);
	assert_non_null(m);
	until_probed(f);
	assert_int_equal(m->digest_ms, 0);
	ack_same(f, &a);
	assert_int_equal(m->digest_ms, f->now);
	assert_int_equal(m->differs_since_ms, 0);
	assert_int_equal(m->has_top, f->c->shared_top);
	fixture_free(f);
}

static void test_ack_when_ours_changed_meanwhile_then_same_says_nothing(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct member *m;

	(void)state;
	introduce(f, &a, NULL);
	m = member_get(f->c, &a.sender.id);
	assert_non_null(m);
	until_probed(f);
	put(f, "k");
	ack_same(f, &a);
	assert_int_equal(m->digest_ms, 0);
	fixture_free(f);
}

static void test_ack_when_the_probe_was_sent_with_two_digests_then_same_says_nothing(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct member *m;
	uint64_t cookie;

	(void)state;
	introduce(f, &a, NULL);
	m = member_get(f->c, &a.sender.id);
	assert_non_null(m);
	until_probed(f);
	cookie = f->last_cookie;
	put(f, "k");
	until_probed(f); /* nothing came: the burst */
	assert_int_equal(f->last_cookie, cookie);
	ack_same(f, &a);
	assert_int_equal(m->digest_ms, 0);
	fixture_free(f);
}

static void test_news_when_the_other_has_all_then_not_told(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), b = peer_new(2);

	(void)state;
	introduce(f, &a, NULL);
	introduce(f, &b, NULL);
	put(f, "k");
	probe_from(f, &a, false);
	assert_true(f->ack_records > 0);
	probe_from(f, &a, true);
	assert_int_equal(f->ack_records, 0);
	/* It had all until this. */
	put(f, "another");
	begin(f, WIRE_PROBE);
	wire_put_cookie(&f->o, 5);
	assert_int_equal(deliver(f, &a), 0);
	assert_true(f->ack_records > 0);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ack_when_the_probe_has_our_digest_then_says_so_in_a_bit),
		cmocka_unit_test(test_ack_when_it_says_same_then_it_has_what_the_probe_said),
		cmocka_unit_test(test_ack_when_ours_changed_meanwhile_then_same_says_nothing),
		cmocka_unit_test(
			test_ack_when_the_probe_was_sent_with_two_digests_then_same_says_nothing),
		cmocka_unit_test(test_news_when_the_other_has_all_then_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
