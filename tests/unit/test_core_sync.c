/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What one core asks for, tells and takes when it compares with another. */
#include "gossip/sync.h"
#include "tests/unit/core_peer.h"

/* It slept while something was deleted and collected: the restatement takes that away, and nothing else. */
static void test_delta_when_restated_then_drops_what_the_head_leaves_out(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct digest sum;
	struct record r, head;
	uint8_t value[27];

	(void)state;
	introduce(f, &a, NULL);
	r = record_of(f, a.pub, KIND, "stale", 100, 2, 1);
	assert_int_equal(news(f, &a, &r), 0);
	r = record_of(f, a.pub, KIND, "new", 100, 12, 1);
	assert_int_equal(news(f, &a, &r), 0);
	r = record_of(f, a.pub, KIND, "keep", 100, 1, 1);
	assert_int_equal(news(f, &a, &r), 0);
	hash_of(&r, &sum);
	head = head_of(f, &a, 100, 10, 5, &sum, value);
	begin(f, WIRE_DELTA);
	wire_list_begin(&f->o, WIRE_K_DELTAS);
	assert_true(wire_delta_begin(&f->o, &a.sender.id, 100, 0, 5));
	assert_true(wire_add_record(&f->o, &r));
	assert_true(wire_add_record(&f->o, &head));
	wire_delta_end(&f->o, 10, WIRE_D_RESET | WIRE_D_LAST);
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, &a), 0);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "keep"), 1);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "stale"), -1);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "new"), 1);
	assert_int_equal(table_origin(f->c, &a.sender.id)->watermark, 10);
	/* And it stays away. */
	r = record_of(f, a.pub, KIND, "stale", 100, 2, 1);
	assert_int_equal(news(f, &a, &r), 0);
	assert_int_equal(value_of(f, &a.sender.id, KIND, "stale"), -1);
	fixture_free(f);
}

static void test_sync_when_a_writer_forgot_then_it_is_shown(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1);
	struct wire_origin w = {.id = a.sender.id, .generation = 100, .watermark = 9, .top = 9};
	struct record r;
	size_t before;

	(void)state;
	introduce(f, &a, NULL);
	r = record_of(f, a.pub, KIND, "a", 100, 1, 1);
	assert_int_equal(news(f, &a, &r), 0);
	/* It is ahead of us: nothing to say about itself. */
	sync_of(f, &a, &w);
	before = f->delta_records;
	/* Another content under a version that it has signed before. */
	r = record_of(f, a.pub, KIND, "a", 100, 1, 2);
	assert_int_equal(news(f, &a, &r), 0);
	sync_of(f, &a, &w);
	assert_int_equal(f->delta_records, before + 1);
	fixture_free(f);
}

/* What goes out next, as far as it is a sync. */
struct syncs {
	size_t count, lists, seen, origins, bytes;
	bool has_buckets, is_reply;
	struct node_id lo, hi;
	uint8_t sums[WIRE_BUCKETS * WIRE_BUCKET_BYTES];
};

static struct syncs drain_syncs(struct fixture *f)
{
	struct gossip_packet p;
	struct syncs s = {0};
	struct wire_msg m;

	while (gossip_core_next_packet(f->c, &p)) {
		if (p.via == GOSSIP_PING || wire_decode(p.buf, p.len, &m) || m.type != WIRE_SYNC)
			continue;
		s.count++;
		s.bytes += p.len;
		s.lists += m.has_range;
		s.seen += m.seen.count;
		s.origins += m.origins.count;
		s.has_buckets |= m.buckets != NULL;
		s.is_reply |= m.flags & WIRE_F_REPLY;
		s.lo = m.range_lo;
		s.hi = m.range_hi;
		if (m.sums)
			memcpy(s.sums, m.sums, sizeof(s.sums));
	}
	drain(f);
	return s;
}

static void say_sums(struct fixture *f, const struct peer *from, const uint8_t *sums,
		     unsigned int flags)
{
	begin(f, WIRE_SYNC);
	if (flags)
		wire_put_flags(&f->o, flags);
	wire_put_sums(&f->o, sums);
	assert_int_equal(gossip_core_recv(f->c, f->now, GOSSIP_STREAM, &from->sender,
					  &from->card.addr, f->buf, wire_end(&f->o)),
			 0);
}

/* Many nodes: sums first, then lists of those buckets alone in which something differs. */
static void test_sync_when_many_then_lists_only_what_differs(void **state)
{
	struct fixture *f = fixture_new();
	struct peer p[40];
	struct member *m;
	struct syncs s;

	(void)state;
	for (uint8_t i = 0; i < 40; i++) {
		struct record r;

		p[i] = peer_new((uint8_t)(i + 1));
		introduce(f, &p[i], i ? &p[0] : NULL);
		r = record_of(f, p[i].pub, KIND, "a", 100, 1, i);
		assert_int_equal(news(f, &p[0], &r), 0);
	}
	m = member_get(f->c, &p[0].sender.id);
	sync_start(f->c, m);
	s = drain_syncs(f);
	assert_int_equal(s.count, 1);
	assert_int_equal(s.lists, 0);
	assert_true(s.has_buckets);
	/* The same: said so, and nothing listed. */
	say_sums(f, &p[0], s.sums, 0);
	s = drain_syncs(f);
	assert_int_equal(s.count, 1);
	assert_true(s.is_reply);
	assert_int_equal(s.lists, 0);
	/* One node differs. */
	s.sums[7 * WIRE_BUCKET_BYTES] ^= 1;
	say_sums(f, &p[0], s.sums, 0);
	s = drain_syncs(f);
	assert_int_equal(s.count, 1);
	assert_false(s.is_reply || s.has_buckets);
	assert_int_equal(s.lists, 1);
	assert_int_equal(s.seen, 1);
	assert_int_equal(s.origins, 1);
	assert_int_equal(s.lo.b[0], 7);
	assert_int_equal(s.hi.b[0], 7);
	assert_true(s.bytes < 250);
	/* All do: not more than so many ranges, and everything in them. */
	memset(s.sums, 0x77, sizeof(s.sums));
	for (size_t i = 0; i < 40; i += 2)
		memset(s.sums, 0, i);
	say_sums(f, &p[0], s.sums, 0);
	s = drain_syncs(f);
	assert_true(s.lists >= 1 && s.lists <= 16);
	assert_int_equal(s.origins, 41);
	/* Who does not answer sums gets the lists. */
	sync_start(f->c, m);
	s = drain_syncs(f);
	assert_int_equal(s.lists, 1);
	assert_int_equal(s.origins, 41);
	sync_start(f->c, m);
	s = drain_syncs(f);
	assert_int_equal(s.lists, 0);
	say_sums(f, &p[0], s.sums, WIRE_F_REPLY);
	assert_int_equal(drain_syncs(f).count, 0);
	sync_start(f->c, m);
	assert_int_equal(drain_syncs(f).lists, 0);
	fixture_free(f);
}

/* Who is behind: by how many records of how many writers, and who is ahead. */
static void test_member_when_behind_then_says_by_how_much(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), b = peer_new(2), c = peer_new(3);
	struct gossip_member m;
	struct wire_origin w[] = {
		{.id = b.sender.id, .generation = 100, .watermark = 1, .top = 1},
		{.id = c.sender.id, .generation = 100, .watermark = 9, .top = 9},
	};
	struct node_id lo, hi;
	char key[16];

	(void)state;
	introduce(f, &a, NULL);
	introduce(f, &b, &a);
	introduce(f, &c, &a);
	for (unsigned int i = 1; i <= 5; i++) {
		struct record r;

		snprintf(key, sizeof(key), "k%u", i);
		r = record_of(f, b.pub, KIND, key, 100, i, 1);
		assert_int_equal(news(f, &a, &r), 0);
	}
	for (unsigned int i = 0; i < 2; i++) { /* other digests, for over a second */
		begin(f, WIRE_PROBE);
		wire_put_cookie(&f->o, 1);
		wire_put_digest(&f->o, (const uint8_t *)"0123456789abcdef", 0, 0, NULL);
		assert_int_equal(deliver(f, &a), 0);
		f->now += 1100;
	}
	memset(&lo, 0, sizeof(lo));
	memset(&hi, 0xff, sizeof(hi));
	begin(f, WIRE_SYNC);
	wire_put_range(&f->o, &lo, &hi);
	wire_list_begin(&f->o, WIRE_K_ORIGINS);
	assert_true(wire_add_origin(&f->o, &w[0]));
	assert_true(wire_add_origin(&f->o, &w[1]));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, &a), 0);
	assert_true(gossip_core_member_get(f->c, &a.sender.id, &m));
	assert_true(m.is_behind);
	assert_int_equal(m.lacks_writers, 2); /* our head, too */
	assert_int_equal(m.lacks_records, 5);
	assert_int_equal(m.ahead_writers, 1);
	fixture_free(f);
}

static void seen_of(struct fixture *f, const struct peer *from, const struct wire_seen *seen,
		    size_t count)
{
	struct node_id lo, hi;

	memset(&lo, 0, sizeof(lo));
	memset(&hi, 0xff, sizeof(hi));
	begin(f, WIRE_SYNC);
	wire_put_range(&f->o, &lo, &hi);
	wire_put_flags(&f->o, WIRE_F_REPLY);
	wire_list_begin(&f->o, WIRE_K_SEEN);
	for (size_t i = 0; i < count; i++)
		assert_true(wire_add_seen(&f->o, &seen[i]));
	wire_list_end(&f->o);
	assert_int_equal(deliver(f, from), 0);
}

/* Who knows a node's former card gets the present one; who knows the present one, or a later, gets none. */
static void test_sync_when_a_card_is_older_then_the_newer_is_sent(void **state)
{
	struct fixture *f = fixture_new();
	struct peer a = peer_new(1), b = peer_new(2);
	struct wire_seen seen[3] = {{.id = a.sender.id, .generation = 100},
				    {.id = b.sender.id, .generation = 100},
				    {.id = f->c->self->id, .generation = 1000}};

	(void)state;
	introduce(f, &a, NULL);
	introduce(f, &b, &a);
	seen_of(f, &a, seen, 3);
	assert_int_equal(f->delta_cards, 0);
	seen[1].generation = 99;
	seen_of(f, &a, seen, 3);
	assert_int_equal(f->delta_cards, 1);
	seen[1].generation = 101;
	seen_of(f, &a, seen, 3);
	assert_int_equal(f->delta_cards, 0);
	seen_of(f, &a, seen, 1);
	assert_int_equal(f->delta_cards, 2);
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
	uint8_t value[27];

	(void)state;
	introduce(f, &a, NULL);
	introduce(f, &mad, &a);
	r = record_of(f, a.pub, KIND, "keep", 100, 1, 1);
	assert_int_equal(news(f, &a, &r), 0);
	head = head_of(f, &a, 101, 9, 0, &sum, value);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delta_when_restated_then_drops_what_the_head_leaves_out),
		cmocka_unit_test(test_sync_when_a_writer_forgot_then_it_is_shown),
		cmocka_unit_test(test_delta_when_a_relayer_hides_records_then_nothing_is_dropped),
		cmocka_unit_test(test_sync_when_a_card_is_older_then_the_newer_is_sent),
		cmocka_unit_test(test_sync_when_many_then_lists_only_what_differs),
		cmocka_unit_test(test_member_when_behind_then_says_by_how_much),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
