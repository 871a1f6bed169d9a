/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a store takes, keeps and gives back. */
#include <errno.h>

#include "store/migrate.h"
#include "tests/unit/store_dir.h"

static void test_schema_when_built_then_the_file(void **state)
{
	static const char *const name[MIGRATE_VERSION] = {"store/schema/0001_initial.sql",
							  "store/schema/0002_origin.sql"};
	static char text[16384];

	(void)state;
	for (int i = 0; i < MIGRATE_VERSION; i++) {
		FILE *f = fopen(name[i], "r");
		size_t n;

		if (!f) {
			print_message("# not run from the top of the tree\n");
			skip();
		}
		n = fread(text, 1, sizeof(text) - 1, f);
		fclose(f);
		text[n] = 0;
		assert_string_equal(migrate_text(i + 1), text);
	}
}

static int origin_cb(const struct store_origin *o, void *arg)
{
	((struct store_origin *)arg)[o->id.b[0]] = *o;
	return 0;
}

static void test_origins_when_reopened_then_the_same(void **state)
{
	struct store *s = open_store(false);
	struct store_origin o = {.generation = RECORD_SEQ_MAX,
				 .watermark = 2,
				 .verified = 3,
				 .gc = 4,
				 .gc_told = 5,
				 .former = 6,
				 .former_watermark = 7,
				 .flags = STORE_ORIGIN_WHOLE | STORE_ORIGIN_DISPUTED},
			    all[4] = {0};

	(void)state;
	memset(o.sum, 0xee, sizeof(o.sum));
	for (uint8_t i = 1; i < 4; i++) {
		o.id.b[0] = i;
		assert_int_equal(store_write_origin(s, &o), 0);
	}
	assert_int_equal(store_delete_origin(s, &o.id), 0); /* of what waits */
	o.id.b[0] = 2;
	o.watermark = 9;
	assert_int_equal(store_write_origin(s, &o), 0);
	put_wait(s, record_of(OWN, 1, "k", 10, 1, "x")); /* one transaction with them */
	o.id.b[0] = 1;
	assert_int_equal(store_delete_origin(s, &o.id), 0);
	o.watermark = RECORD_SEQ_MAX + 1;
	assert_int_equal(store_write_origin(s, &o), -EINVAL);
	close_store(s);
	s = open_store(false);
	o.id.b[0] = 2;
	o.watermark = 9;
	assert_int_equal(store_load_origins(s, origin_cb, all), 0);
	assert_memory_equal(&all[2], &o, sizeof(o));
	assert_int_equal(all[1].generation, 0);
	assert_int_equal(all[3].generation, 0);
	close_store(s);
}

/* A file of the first build: its records stay, the new table is empty. */
static void test_open_when_schema_is_old_then_brought_up(void **state)
{
	struct store_origin all[4] = {0};
	struct store *s = open_store(false);

	(void)state;
	put_wait(s, record_of(OWN, 1, "k", 10, 1, "x"));
	close_store(s);
	exec_sql("DROP TABLE origin; PRAGMA user_version = 1");
	s = open_store(false);
	assert_records(s, "2/1/k@10.1=x ");
	assert_int_equal(store_load_origins(s, origin_cb, all), 0);
	all[0].id.b[0] = 3;
	assert_int_equal(store_write_origin(s, &all[0]), 0);
	put_wait(s, record_of(OWN, 1, "k", 10, 2, "y"));
	close_store(s);
}

static void test_write_record_when_reopened_then_the_same(void **state)
{
	struct store *s = open_store(false);

	(void)state;
	put(s, record_of(OWN, 1, "web", 10, 1, "a"), NULL);
	put(s, record_of(OWN, 2, "web", 10, 1, "b"), NULL); /* own: one per writer */
	put(s, record_of(OWN + 1, 1, "web", 10, 2, "c"), NULL);
	put(s, record_of(SHARED, 1, "dns", 0, 5, "d"), NULL);
	put(s, record_of(SHARED, 2, "dns", 0, 6, "e"), NULL); /* shared: one */
	put(s, record_of(SHARED, 2, "gone", 0, 7, NULL), NULL);
	close_store(s); /* drains */
	s = open_store(false);
	assert_records(
		s, "70/2/dns@0.6=e 70/2/gone@0.7=- 2/1/web@10.1=a 3/1/web@10.2=c 2/2/web@10.1=b ");
	close_store(s);
	/* -wal and -shm go with the last connection */
	assert_int_equal(access(path_of("edge.db-wal"), F_OK), -1);
}

/* In the queue and on disk, the same rule as record_cmp_version(). */
static void test_write_record_when_versions_differ_then_newest_stays(void **state)
{
	const struct version {
		uint8_t writer;
		uint64_t generation, seq;
	} own[] = {{1, 10, 1}, {1, 10, 2}, {1, 11, 1}, {1, 300, 1}, {1, 1ull << 40, 1}},
	  shared[] = {{1, 0, 1}, {2, 0, 1},   {200, 0, 1},
		      {1, 0, 2}, {3, 0, 256}, {2, 0, 1ull << 59}};

	struct store *s = open_store(false);

	(void)state;
	for (int kind = OWN; kind <= SHARED; kind += SHARED - OWN) {
		const struct version *v = kind == OWN ? own : shared;
		size_t count = kind == OWN ? 5 : 6;

		for (size_t i = 0; i < count; i++) {
			for (size_t j = 0; j < count; j++) {
				for (int is_waiting = 0; is_waiting < 2; is_waiting++) {
					struct record a =
						record_of((uint8_t)kind, v[i].writer, "k",
							  v[i].generation, v[i].seq, "first");
					struct record b =
						record_of((uint8_t)kind, v[j].writer, "k",
							  v[j].generation, v[j].seq, "second");
					struct seen seen = {0};

					assert_int_equal(record_cmp_version(&b, &a) > 0, j > i);
					if (is_waiting)
						put(s, a, NULL);
					else
						put_wait(s, a);
					put_wait(s, b);
					assert_int_equal(store_load_records(s, seen_cb, &seen), 0);
					assert_int_equal(seen.count, 1);
					assert_non_null(
						strstr(seen.text, j > i ? "=second" : "=first"));
					assert_int_equal(store_delete_record(s, &a, NULL, NULL), 0);
				}
			}
		}
	}
	close_store(s);
}

/* With a batch under way, so that they meet in the queue; and one after the other, so that they meet on disk. */
static void test_delete_record_when_before_and_after_a_write_then_the_order_counts(void **state)
{
	struct record high = record_of(OWN, 1, "k", 20, 9, "high"),
		      low = record_of(OWN, 1, "k", 20, 3, "low");

	(void)state;
	for (int is_waiting = 0; is_waiting < 2; is_waiting++) {
		struct store *s = open_store(false);
		struct ack a = {0}, gone = {0};

		put_wait(s, high);
		if (is_waiting)
			put(s, record_of(OWN, 2, "under way", 20, 1, "x"), &a);
		assert_int_equal(store_delete_record(s, &high, ack_cb, &gone), 0);
		if (!is_waiting)
			WAIT(gone.count == 1);
		put_wait(s, low); /* older than what was deleted: stays all the same */
		assert_records(s, is_waiting ? "2/1/k@20.3=low 2/2/under way@20.1=x "
					     : "2/1/k@20.3=low ");
		if (is_waiting)
			put(s, record_of(OWN, 2, "under way", 20, 2, "y"), &a);
		put(s, high, is_waiting ? &a : NULL);
		assert_int_equal(store_delete_record(s, &low, ack_cb, &gone), 0); /* any version */
		WAIT(gone.count == 2);
		assert_records(s, is_waiting ? "2/2/under way@20.2=y " : "");
		assert_int_equal(a.count, is_waiting ? 3 : 0);
		close_store(s);
		unlink(path_of("edge.db"));
	}
}

static void test_write_record_when_volatile_or_malformed_then_refused(void **state)
{
	struct store *s = open_store(false);
	struct record r = record_of(VOLATILE, 1, "k", 10, 1, "x");

	(void)state;
	assert_int_equal(store_write_record(s, &r, NULL, NULL), -EINVAL);
	assert_int_equal(store_delete_record(s, &r, NULL, NULL), -EINVAL);
	r = record_of(200, 1, "k", 10, 1, "x");
	assert_int_equal(store_write_record(s, &r, NULL, NULL), -EINVAL);
	r = record_of(OWN, 1, "k", 10, 1, "x");
	r.key_len = RECORD_KEY_MAX + 1;
	assert_true(store_write_record(s, &r, NULL, NULL) < 0);
	assert_int_equal(store_delete_record(s, &r, NULL, NULL), -EINVAL);
	r = record_of(OWN, 1, "", 10, 1, "x");
	assert_true(store_write_record(s, &r, NULL, NULL) < 0);
	assert_int_equal(store_write_generation(s, UINT64_MAX, NULL, NULL), -EINVAL);
	assert_records(s, "");
	close_store(s);
}

static int stop_cb(const struct record *r, void *arg)
{
	(void)r;
	(*(int *)arg)++;
	return -ECANCELED;
}

static void test_load_records_when_rows_are_bad_then_skipped_and_counted(void **state)
{
	struct store *s = open_store(false);
	struct store_status st;
	int calls = 0;

	(void)state;
	for (uint8_t i = 1; i <= 9; i++)
		put(s, record_of(OWN, i, "k", 10, 1, "x"), NULL);
	close_store(s);
	exec_sql("UPDATE record SET kind = 300 WHERE substr(owner, 1, 1) = x'01';"
		 "UPDATE record SET kind = 130 WHERE substr(owner, 1, 1) = x'02';" /* volatile */
		 "UPDATE record SET seq = -1 WHERE substr(owner, 1, 1) = x'03';"
		 "UPDATE record SET key = zeroblob(4) WHERE substr(owner, 1, 1) = x'04';"
		 "UPDATE record SET value = zeroblob(701) WHERE substr(owner, 1, 1) = x'05';"
		 "UPDATE record SET writer = zeroblob(16) WHERE substr(owner, 1, 1) = x'06';"
		 "UPDATE record SET owner = x'' WHERE substr(owner, 1, 1) = x'07';"
		 "UPDATE record SET kind = 70 WHERE substr(owner, 1, 1) = x'08'");
	s = open_store(false);
	assert_records(s, "2/9/k@10.1=x ");
	store_get_status(s, &st);
	assert_int_equal(st.bad_rows, 8);
	put_wait(s, record_of(OWN, 10, "k", 10, 1, "x"));
	assert_int_equal(store_load_records(s, stop_cb, &calls), -ECANCELED);
	assert_int_equal(calls, 1);
	close_store(s);
}

static int member_cb(const struct store_member *m, void *arg)
{
	struct store_member *all = arg;

	all[m->id.b[0]] = *m;
	return 0;
}

static void test_members_and_numbers_when_reopened_then_the_same(void **state)
{
	struct store *s = open_store(false);
	struct store_member m = {.name = "edge-with-the-longest-name-31chr",
				 .region = "ams",
				 .port = 65535,
				 .has_forwarder = true,
				 .state = 3,
				 .generation = RECORD_SEQ_MAX},
			    all[4] = {0};
	struct ack a = {0};
	uint64_t v;

	(void)state;
	m.name[31] = 0;
	m.id.b[0] = 1;
	memset(m.ip, 0xfe, sizeof(m.ip));
	memset(m.pub, 7, sizeof(m.pub));
	assert_int_equal(store_write_member(s, &m, ack_cb, &a), 0);
	m.id.b[0] = 2;
	assert_int_equal(store_write_member(s, &m, ack_cb, &a), 0);
	m.state = 4;
	assert_int_equal(store_write_member(s, &m, ack_cb, &a), 0);
	assert_int_equal(store_get_generation(s, &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(store_set_generation(s, 1700000000), 0);
	assert_int_equal(store_set_generation(s, 1600000000), 0); /* never lower */
	assert_int_equal(store_set_setting(s, "token", UINT64_MAX), 0);
	WAIT(a.count == 3);
	assert_int_equal(store_write_generation(s, 1800000001, ack_cb, &a), 0);
	assert_int_equal(store_write_generation(s, 1800000000, ack_cb, &a), 0);
	WAIT(a.count == 5);
	close_store(s);
	s = open_store(false);
	assert_int_equal(store_get_generation(s, &v), 0);
	assert_int_equal(v, 1800000001);
	assert_int_equal(store_get_setting(s, "token", &v, 1), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(store_get_setting(s, "other", &v, 42), 0);
	assert_int_equal(v, 42);
	assert_int_equal(store_load_members(s, member_cb, all), 0);
	assert_memory_equal(&all[2], &m, sizeof(m));
	assert_int_equal(all[1].state, 3);
	close_store(s);
}

struct order {
	int next, bad;
};
struct order_one {
	struct order *order;
	int number;
};

static void order_cb(int status, void *arg)
{
	struct order_one *o = arg;
	char sql[128];

	assert_int_equal(status, 0);
	if (o->order->next++ != o->number)
		o->order->bad++;
	snprintf(sql, sizeof(sql), "SELECT count(*) FROM record WHERE CAST(key AS TEXT) = 'k%d'",
		 o->number);
	if (o->number % 100 == 0 && count_rows(sql) != 1)
		o->order->bad++; /* acknowledged before it was committed */
}

static void test_callbacks_when_many_then_in_order_and_after_the_commit(void **state)
{
	enum { COUNT = 500 };
	static struct order_one one[COUNT];
	struct order order = {0};
	struct store *s = open_store(false);
	struct store_status st;
	char key[16];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		struct record r;

		one[i] = (struct order_one){&order, i};
		snprintf(key, sizeof(key), "k%d", i);
		r = record_of(OWN, 1, key, 10, (uint64_t)i + 1, "x");
		assert_int_equal(store_write_record(s, &r, order_cb, &one[i]), 0);
		assert_int_equal(order.next, 0); /* never from within */
	}
	WAIT(order.next == COUNT);
	assert_int_equal(order.bad, 0);
	store_get_status(s, &st);
	assert_in_range(st.commits, 1, 5); /* batched: the first alone, the rest behind it */
	assert_int_equal(st.queued, 0);
	close_store(s);
}

static void test_queue_when_full_then_refused_and_replacing_goes_on(void **state)
{
	struct store *s = open_store(false);
	struct store_status st;
	struct record r;
	char key[16];
	int i;

	(void)state;
	for (i = 0; i < STORE_QUEUE_MAX; i++) { /* the loop does not turn: nothing is taken away */
		snprintf(key, sizeof(key), "k%d", i);
		r = record_of(OWN, 1, key, 10, 1, "x");
		assert_int_equal(store_write_record(s, &r, NULL, NULL), 0);
	}
	r = record_of(OWN, 1, "more", 10, 1, "x");
	assert_int_equal(store_write_record(s, &r, NULL, NULL), -ENOBUFS);
	r = record_of(OWN, 1, "k7", 10, 2, "newer");
	assert_int_equal(store_write_record(s, &r, NULL, NULL), 0);
	store_get_status(s, &st);
	assert_int_equal(st.queued, STORE_QUEUE_MAX);
	assert_int_equal(st.refused, 1);
	close_store(s);
	assert_int_equal(count_rows("SELECT count(*) FROM record"), STORE_QUEUE_MAX);
	assert_int_equal(count_rows("SELECT count(*) FROM record WHERE seq = 2"), 1);
}

static void again_cb(int status, void *arg)
{
	struct store **s = arg;
	struct record r = record_of(OWN, 1, "second", 10, 2, "x");

	assert_int_equal(status, 0);
	assert_int_equal(store_write_record(*s, &r, NULL, NULL), 0);
}

static void test_callback_when_it_writes_then_queued(void **state)
{
	struct store *s = open_store(false);
	struct record r = record_of(OWN, 1, "first", 10, 1, "x");
	struct store_status st = {0};

	(void)state;
	assert_int_equal(store_write_record(s, &r, again_cb, &s), 0);
	uv_timer_start(&limit, limit_cb, LIMIT_MS, 0);
	while (st.commits < 2) { /* the second without a callback: it comes by itself, later */
		uv_run(&uv, UV_RUN_ONCE);
		store_get_status(s, &st);
	}
	uv_timer_stop(&limit);
	assert_records(s, "2/1/first@10.1=x 2/1/second@10.2=x ");
	close_store(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_schema_when_built_then_the_file),
		STORE_TEST(test_origins_when_reopened_then_the_same),
		STORE_TEST(test_open_when_schema_is_old_then_brought_up),
		STORE_TEST(test_write_record_when_reopened_then_the_same),
		STORE_TEST(test_write_record_when_versions_differ_then_newest_stays),
		STORE_TEST(test_delete_record_when_before_and_after_a_write_then_the_order_counts),
		STORE_TEST(test_write_record_when_volatile_or_malformed_then_refused),
		STORE_TEST(test_load_records_when_rows_are_bad_then_skipped_and_counted),
		STORE_TEST(test_members_and_numbers_when_reopened_then_the_same),
		STORE_TEST(test_callbacks_when_many_then_in_order_and_after_the_commit),
		STORE_TEST(test_queue_when_full_then_refused_and_replacing_goes_on),
		STORE_TEST(test_callback_when_it_writes_then_queued),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
