/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which records one core takes, keeps, drops, shows. */
#include "tests/unit/core_peer.h"

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

/* Counted to 10, with a tombstone that was collected; not whole, so no head can tell after the restart. */
static void test_load_when_counted_before_then_what_was_deleted_stays_away(void **state)
{
	struct peer a = peer_new(1);
	struct gossip_origin o = {.generation = 100, .watermark = 10, .verified = 1, .gc_told = 5};
	struct record r;
	struct digest sum;

	(void)state;
	for (int is_known = 0; is_known < 2; is_known++) {
		struct fixture *f = fixture_new();

		introduce(f, &a, NULL);
		o.id = a.sender.id;
		assert_int_equal(gossip_core_load_origin(f->c, &o), -ESTALE); /* no record */
		r = record_of(f, a.pub, KIND, "keep", 100, 1, 1);
		hash_of(&r, &sum);
		assert_int_equal(gossip_core_load_record(f->c, &r), 0);
		sum.w[0] += !is_known; /* of other records than are there */
		digest_bytes(&sum, o.sum);
		assert_int_equal(gossip_core_load_origin(f->c, &o), is_known ? 0 : -ESTALE);
		r = record_of(f, a.pub, KIND, "gone", 100, 2, 2);
		(void)news(f, &a, &r);
		assert_int_equal(value_of(f, &a.sender.id, KIND, "gone"), is_known ? -1 : 2);
		/* Neither while the next generation is not whole; what came later does come. */
		r = record_of(f, a.pub, KIND, "next", 101, 1, 3);
		(void)news(f, &a, &r);
		r = record_of(f, a.pub, KIND, "went", 100, 3, 4);
		(void)news(f, &a, &r);
		assert_int_equal(value_of(f, &a.sender.id, KIND, "went"), is_known ? -1 : 4);
		r = record_of(f, a.pub, KIND, "late", 100, 11, 5);
		(void)news(f, &a, &r);
		assert_int_equal(value_of(f, &a.sender.id, KIND, "late"), 5);
		assert_int_equal(f->origin_events, 1);
		assert_int_equal(f->last_origin.generation, 101);
		assert_int_equal(f->last_origin.former, 100);
		assert_int_equal(f->last_origin.former_watermark, is_known ? 10 : 2);
		fixture_free(f);
	}
}

static void test_load_origin_when_it_contradicts_itself_then_refused(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct record r = record_of(f, a.pub, KIND, "keep", 100, 1, 1);
	struct gossip_origin good = {.id = a.sender.id,
				     .generation = 100,
				     .watermark = 10,
				     .verified = 4,
				     .gc = 3,
				     .gc_told = 5,
				     .former = 99,
				     .former_watermark = 7},
			     bad[6];
	struct digest sum;

	(void)state;
	hash_of(&r, &sum);
	digest_bytes(&sum, good.sum);
	assert_int_equal(gossip_core_load_record(f->c, &r), 0);
	for (size_t i = 0; i < 6; i++)
		bad[i] = good;
	bad[0].verified = 11;
	bad[1].gc = 6;
	bad[2].gc_told = 11;
	bad[3].former = 100;
	bad[4].watermark = RECORD_SEQ_MAX + 1;
	bad[5].former_watermark = RECORD_SEQ_MAX + 1;
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(gossip_core_load_origin(f->c, &bad[i]), -EBADMSG);
	good.generation = 98; /* older than the record */
	assert_int_equal(gossip_core_load_origin(f->c, &good), -ESTALE);
	good.generation = 100;
	assert_int_equal(gossip_core_load_origin(f->c, &good), 0);
	good.generation = 102; /* raised by what isn't stored */
	good.former = 100;
	assert_int_equal(gossip_core_load_origin(f->c, &good), 0);
	good.is_whole = true; /* but an older record is in force */
	assert_int_equal(gossip_core_load_origin(f->c, &good), -EBADMSG);
	drain(f);
	fixture_free(f);
}

/* Somebody had told us to count too far, and we have slept on it: the writer's head sets it right all the same. */
static void test_load_origin_when_counted_too_far_then_the_head_takes_it_back(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct record keep = record_of(f, a.pub, KIND, "keep", 100, 1, 1), lost, head;
	struct gossip_origin o = {.generation = 100, .watermark = 36, .verified = 1};
	struct digest sum, one;
	uint8_t value[27];

	(void)state;
	introduce(f, &a, NULL);
	o.id = a.sender.id;
	hash_of(&keep, &sum);
	digest_bytes(&sum, o.sum);
	assert_int_equal(gossip_core_load_record(f->c, &keep), 0);
	assert_int_equal(gossip_core_load_origin(f->c, &o), 0);
	lost = record_of(f, a.pub, KIND, "lost", 100, 2, 5);
	(void)news(f, &a, &lost);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "lost"), -1);
	hash_of(&lost, &one);
	digest_add(&sum, &one);
	head = head_of(f, &a, 100, 3, 0, &sum, value);
	(void)news(f, &a, &head);
	lost = record_of(f, a.pub, KIND, "lost", 100, 2, 5);
	(void)news(f, &a, &lost);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "lost"), 5);
	fixture_free(f);
}

/* A floor of `p` that lists `dead`, NULL for none; as a record. The value is `value`, at least 64 bytes. */
static struct record floor_of(struct fixture *f, const struct peer *p, const char *key,
			      uint64_t seq, uint8_t to, const struct record *dead, uint8_t *value)
{
	struct record r = record_of(f, p->pub, RECORD_KIND_FLOOR, key, 0, seq, 0);
	uint8_t buf[RECORD_SIGNED_MAX];
	struct digest d = {{0, 0}};
	size_t n = 0;
	int len;

	memcpy(value, "\x82\xa2to", 4);
	value[4] = to;
	memcpy(value + 5, "\xa4list\xc4", 6);
	value[11] = dead ? 4 : 0;
	n = 12;
	if (dead) {
		hash_of(dead, &d);
		for (int i = 0; i < 4; i++)
			value[n++] = (uint8_t)(d.w[0] >> (8 * i));
	}
	r.value = value;
	r.value_len = n;
	len = record_signed_bytes(&r, buf, sizeof(buf));
	sign_as(p->pub, buf, (size_t)len, r.sig);
	return r;
}

static struct record tombstone_of(struct fixture *f, const struct peer *p, const char *key,
				  uint64_t seq)
{
	struct record r = record_of(f, p->pub, SHARED, key, 0, seq, 0);
	uint8_t buf[RECORD_SIGNED_MAX];
	int len;

	r.is_tombstone = true;
	r.value_len = 0;
	len = record_signed_bytes(&r, buf, sizeof(buf));
	sign_as(p->pub, buf, (size_t)len, r.sig);
	return r;
}

static const struct rec *shared(struct fixture *f, const char *key)
{
	return table_find(f->c, &f->c->self->id, SHARED, (const uint8_t *)key, strlen(key));
}

/* What a floor lists goes; what it does not list and lies below is written again; nothing that lives is touched. */
static void test_floor_when_taken_then_only_listed_tombstones_go(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), b = peer_new(2);
	char key[2 * NODE_ID_BYTES + 1], other[2 * NODE_ID_BYTES + 1];
	struct gossip_counters n;
	struct record r, dead;
	uint8_t value[64];

	(void)state;
	introduce(f, &a, NULL);
	introduce(f, &b, &a);
	for (size_t i = 0; i < NODE_ID_BYTES; i++) {
		snprintf(key + 2 * i, 3, "%02x", a.sender.id.b[i]);
		snprintf(other + 2 * i, 3, "%02x", b.sender.id.b[i]);
	}
	r = record_of(f, a.pub, SHARED, "lives", 0, 1, 1);
	(void)news(f, &a, &r);
	r = tombstone_of(f, &a, "stray", 3);
	(void)news(f, &a, &r);
	dead = tombstone_of(f, &a, "dead", 2);
	(void)news(f, &a, &dead);
	assert_int_equal(f->c->shared_tombstones, 2);
	/* Another's, or at its own height: nothing. */
	r = floor_of(f, &a, other, 9, 5, &dead, value);
	(void)news(f, &a, &r);
	gossip_core_counters(f->c, &n);
	assert_int_equal(n.refused_records, 1);
	r = floor_of(f, &a, key, 9, 9, &dead, value);
	(void)news(f, &a, &r);
	assert_int_equal(f->c->shared_tombstones, 2);
	assert_int_equal(f->c->floor, 0);
	r = floor_of(f, &a, key, 10, 5, &dead, value);
	(void)news(f, &a, &r);
	assert_int_equal(f->gone_events, 1);
	assert_int_equal(f->c->floor, 5);
	assert_null(shared(f, "dead"));
	assert_int_equal(value_of(f, NULL, SHARED, "lives"), 1);
	/* Not again; nor another that we never had; nor what they deleted, if it lay about until now. By comparing, what lives may come
	 * however low. */
	(void)news(f, &a, &dead);
	r = tombstone_of(f, &a, "never", 4);
	(void)news(f, &a, &r);
	assert_int_equal(f->record_events, 0);
	r = record_of(f, a.pub, SHARED, "dead", 0, 1, 7);
	(void)news(f, &a, &r);
	assert_null(shared(f, "dead"));
	r = record_of(f, a.pub, SHARED, "late", 0, 1, 7);
	(void)news(f, &a, &r);
	assert_null(shared(f, "late"));
	assert_int_equal(table_offer(f->c, &r, TABLE_SYNCED, 0), 1);
	assert_int_equal(value_of(f, NULL, SHARED, "late"), 7);
	/* One that deletes what we hold does. */
	r = tombstone_of(f, &a, "late", 2);
	(void)news(f, &a, &r);
	assert_int_equal(value_of(f, NULL, SHARED, "late"), -1);
	assert_int_equal(shared(f, "stray")->blob->r.seq, 3);
	for (int i = 0; i < 60; i++) {
		f->now += 100;
		gossip_core_tick(f->c, f->now);
		drain(f);
	}
	assert_true(shared(f, "stray")->blob->r.seq > 10 &&
		    shared(f, "stray")->blob->r.is_tombstone);
	assert_true(shared(f, "late")->blob->r.seq > 10);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recv_when_records_are_forged_then_refused),
		cmocka_unit_test(
			test_recv_when_two_contents_have_one_version_then_all_keep_the_same),
		cmocka_unit_test(test_recv_when_full_then_refuses_and_stays_full),
		cmocka_unit_test(test_removal_when_it_stands_then_records_are_void),
		cmocka_unit_test(test_put_when_asked_then_numbered_and_checked),
		cmocka_unit_test(test_load_when_stored_then_in_force_and_verified),
		cmocka_unit_test(test_load_when_counted_before_then_what_was_deleted_stays_away),
		cmocka_unit_test(test_load_origin_when_it_contradicts_itself_then_refused),
		cmocka_unit_test(test_load_origin_when_counted_too_far_then_the_head_takes_it_back),
		cmocka_unit_test(test_floor_when_taken_then_only_listed_tombstones_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
