/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/migrate.h"

#define LIMIT_MS 20000
#define OWN 2 /* some kind of each scope */
#define SHARED 70
#define VOLATILE 130

static char dir[64];
static uv_loop_t uv;
static uv_timer_t limit;
static bool has_mounts; /* our own mount namespace */

static void limit_cb(uv_timer_t *t)
{
	(void)t;
	fprintf(stderr, "not ok - waited for %d ms\n", LIMIT_MS);
	exit(1); /* no jump out of libuv */
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/esto-store-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	uv_loop_init(&uv);
	uv_timer_init(&uv, &limit);
	return 0;
}

static int teardown(void **state)
{
	char cmd[200];

	(void)state;
	uv_close((uv_handle_t *)&limit, NULL);
	for (int i = 0; i < 100; i++)
		uv_run(&uv, UV_RUN_NOWAIT);
	snprintf(cmd, sizeof(cmd), "umount -l %s 2>/dev/null; rm -rf %s", dir, dir);
	if (system(cmd) != 0)
		return -1;
	return uv_loop_close(&uv); /* 0, or something was left open */
}

#define WAIT(cond)                                                                                 \
	do {                                                                                       \
		uv_timer_start(&limit, limit_cb, LIMIT_MS, 0);                                     \
		while (!(cond))                                                                    \
			uv_run(&uv, UV_RUN_ONCE);                                                  \
		uv_timer_stop(&limit);                                                             \
	} while (0)

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static struct store *open_store(bool want_reset)
{
	struct store *s;
	struct err e = {0};
	bool was_reset = !want_reset;

	if (store_open(dir, &uv, &s, &was_reset, &e) < 0)
		fail_msg("open: %d %s", e.code, e.text);
	assert_int_equal(was_reset, want_reset);
	return s;
}

static void closed_cb(void *arg)
{
	*(bool *)arg = true;
}

static void close_store(struct store *s)
{
	bool is_closed = false;

	store_close(s, closed_cb, &is_closed);
	WAIT(is_closed);
}

/* A record of writer number w; the value tells which it is. */
static struct record record_of(uint8_t kind, uint8_t w, const char *key, uint64_t generation,
			       uint64_t seq, const char *text)
{
	static uint8_t value[8][64];
	static unsigned turn;
	uint8_t *v = value[turn++ % 8];
	struct record r = {.kind = kind, .generation = kind == SHARED ? 0 : generation, .seq = seq};

	memset(r.writer.b, w, sizeof(r.writer.b));
	memset(r.pub, w + 1, sizeof(r.pub));
	memset(r.sig, w + 2, sizeof(r.sig));
	r.key = (const uint8_t *)key;
	r.key_len = strlen(key);
	r.is_tombstone = !text;
	if (text) {
		v[0] = 0x81; /* {"v": text} */
		v[1] = 0xa1;
		v[2] = 'v';
		v[3] = (uint8_t)(0xa0 | strlen(text));
		memcpy(v + 4, text, strlen(text));
		r.value = v;
		r.value_len = 4 + strlen(text);
	}
	return r;
}

struct seen {
	size_t count;
	char text[4096]; /* "kind/writer/key@generation.seq=value " for each, in order */
};

static int seen_cb(const struct record *r, void *arg)
{
	struct seen *s = arg;
	size_t at = strlen(s->text);

	s->count++;
	snprintf(s->text + at, sizeof(s->text) - at, "%d/%d/%.*s@%lu.%lu=%.*s ", r->kind,
		 r->writer.b[15], (int)r->key_len, (const char *)r->key, r->generation, r->seq,
		 r->is_tombstone ? 1 : (int)r->value_len - 4,
		 r->is_tombstone ? "-" : (const char *)r->value + 4);
	assert_int_equal(r->pub[31], r->writer.b[0] + 1);
	assert_int_equal(r->sig[63], r->writer.b[0] + 2);
	return 0;
}

static void assert_records(struct store *s, const char *want)
{
	struct seen seen = {0};

	assert_int_equal(store_load_records(s, seen_cb, &seen), 0);
	assert_string_equal(seen.text, want);
}

struct ack {
	int count, status;
};

static void ack_cb(int status, void *arg)
{
	struct ack *a = arg;

	a->count++;
	a->status = status;
}

static void put(struct store *s, struct record r, struct ack *a)
{
	assert_int_equal(store_write_record(s, &r, a ? ack_cb : NULL, a), 0);
}

static void put_wait(struct store *s, struct record r)
{
	struct ack a = {0};

	put(s, r, &a);
	WAIT(a.count == 1);
	assert_int_equal(a.status, 0);
}

/* Through a connection of its own: what is committed. */
static int count_rows(const char *sql)
{
	sqlite3 *db;
	sqlite3_stmt *st;
	int n;

	assert_int_equal(sqlite3_open_v2(path_of("edge.db"), &db, SQLITE_OPEN_READONLY, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &st, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(st), SQLITE_ROW);
	n = sqlite3_column_int(st, 0);
	sqlite3_finalize(st);
	sqlite3_close(db);
	return n;
}

static void exec_sql(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path_of("edge.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* ---- tests */

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

static void test_open_when_in_use_then_refused_with_the_pid(void **state)
{
	struct store *s = open_store(false), *other = NULL;
	struct err e = {0};
	char want[128];

	(void)state;
	snprintf(want, sizeof(want), "another edged uses %s (pid %d)", dir, (int)getpid());
	assert_int_equal(store_open(dir, NULL, &other, NULL, &e), -EBUSY);
	assert_string_equal(e.text, want);
	assert_null(other);
	close_store(s);
	assert_int_equal(store_open(dir, NULL, &other, NULL, &e),
			 0); /* uv NULL: the blocking half */
	assert_int_equal(store_set_generation(other, 5), 0);
	assert_int_equal(store_write_generation(other, 6, NULL, NULL), -EINVAL);
	store_close(other, NULL, NULL);
}

static void test_open_when_killed_then_next_one_opens_with_what_was_answered(void **state)
{
	struct store *s;
	int status;
	pid_t pid;

	(void)state;
	s = open_store(false);
	close_store(s);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		uv_loop_t child;
		struct ack a = {0};
		struct record r = record_of(OWN, 1, "k", 10, 1, "kept");

		uv_loop_init(&child);
		if (store_open(dir, &child, &s, NULL, NULL) < 0 ||
		    store_write_record(s, &r, ack_cb, &a) < 0)
			_exit(1);
		while (a.count == 0)
			uv_run(&child, UV_RUN_ONCE);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	s = open_store(false);
	assert_records(s, "2/1/k@10.1=kept ");
	close_store(s);
}

static void overwrite(const char *name, long at, size_t len)
{
	uint8_t junk[8192];
	int fd = open(path_of(name), O_RDWR);

	memset(junk, 0x5a, sizeof(junk));
	assert_true(fd >= 0 && len <= sizeof(junk));
	assert_int_equal(pwrite(fd, junk, len, at), len);
	close(fd);
}

static void test_open_when_corrupt_then_set_aside_and_fresh(void **state)
{
	static const struct row {
		const char *name;
		long at;
		size_t len;
	} rows[] = {
		{"header", 0, 100},
		{"first page", 100, 3000},
		{"a page", 4096, 4096},
		{"a later page", 5 * 4096, 4096},
	};
	struct store_status st;
	char bad[32];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store *s = open_store(false);
		char key[16];

		print_message("# %s\n", rows[i].name);
		for (int k = 0; k < 200; k++) {
			snprintf(key, sizeof(key), "k%d", k);
			put(s, record_of(OWN, 1, key, 10, (uint64_t)k + 1, "x"), NULL);
		}
		close_store(s);
		overwrite("edge.db", rows[i].at, rows[i].len);
		s = open_store(true);
		assert_records(s, "");
		store_get_status(s, &st);
		snprintf(bad, sizeof(bad), "edge.db.bad-%zu", i + 1);
		assert_non_null(strstr(st.last_text, bad));
		assert_int_equal(access(path_of(bad), F_OK), 0);
		put_wait(s, record_of(OWN, 1, "new", 11, 1, "x"));
		close_store(s);
		s = open_store(false);
		assert_records(s, "2/1/new@11.1=x ");
		close_store(s);
	}
}

static void test_open_when_too_many_bad_files_then_the_last_is_overwritten(void **state)
{
	char name[32];

	(void)state;
	for (int i = 0; i < STORE_BAD_MAX + 3; i++) {
		struct store *s = open_store(i > 0);

		close_store(s);
		overwrite("edge.db", 0, 100);
	}
	snprintf(name, sizeof(name), "edge.db.bad-%d", STORE_BAD_MAX + 1);
	assert_int_equal(access(path_of(name), F_OK), -1);
	assert_int_equal(access(path_of("edge.db.bad-9"), F_OK), 0);
}

static void test_open_when_not_ours_to_use_then_refused_and_untouched(void **state)
{
	static const struct row {
		const char *name, *sql, *says;
	} rows[] = {
		{"newer schema", "PRAGMA user_version = 99", "schema 99"},
		{"another program's", "PRAGMA application_id = 5", "another program's"},
		{"another program's, unmarked",
		 "PRAGMA application_id = 0; PRAGMA user_version = 0", "another program's"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store *s = open_store(false);
		struct err e = {0};

		print_message("# %s\n", rows[i].name);
		put_wait(s, record_of(OWN, 1, "k", 10, 1, "x"));
		close_store(s);
		exec_sql(rows[i].sql);
		assert_int_equal(store_open(dir, &uv, &s, NULL, &e), -EPROTONOSUPPORT);
		assert_non_null(strstr(e.text, rows[i].says));
		assert_int_equal(access(path_of("edge.db.bad-1"), F_OK), -1);
		assert_int_equal(count_rows("SELECT count(*) FROM record"), 1);
		unlink(path_of("edge.db"));
	}
	/* ours, but without its tables: that is corrupt */
	struct store *s = open_store(false);

	close_store(s);
	exec_sql("DROP TABLE member");
	s = open_store(true);
	close_store(s);
}

static void test_open_when_directory_is_read_only_then_says_so(void **state)
{
	struct store *s = NULL;
	struct err e = {0};
	int r;

	(void)state;
	assert_int_equal(chmod(dir, 0555), 0);
	if (getuid() == 0)
		assert_int_equal(seteuid(65534), 0); /* root may write anywhere */
	r = store_open(dir, NULL, &s, NULL, &e);
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, -EACCES);
	assert_non_null(strstr(e.text, dir));
	assert_non_null(strstr(e.text, "Permission denied"));
	assert_int_equal(store_open("/proc/none/x", NULL, &s, NULL, &e), -ENOENT);
	assert_null(s);
}

/* Writes beyond the size that the process may give a file fail with EFBIG: a disk that breaks, and is mended. */
static void test_write_when_disk_breaks_then_kept_told_and_retried(void **state)
{
	struct rlimit was, none;
	struct store *s = open_store(false);
	struct store_status st;
	struct ack a = {0}, b = {0}, c = {0};

	(void)state;
	put_wait(s, record_of(OWN, 1, "before", 10, 1, "x"));
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	none = was;
	none.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	put(s, record_of(OWN, 1, "k", 10, 5, "broken"), &a);
	put(s, record_of(OWN, 1, "k", 10, 6, "newest"), &c); /* while the first is under way */
	WAIT(a.count == 1);
	assert_int_equal(a.status, -EIO);
	store_get_status(s, &st);
	assert_true(st.is_broken);
	assert_int_equal(st.last_error, -EIO);
	assert_non_null(strstr(st.last_text, "disk I/O error"));
	assert_int_equal(st.queued, 1);
	/* what came since, for the same identity and others, and an older one that must not win */
	put(s, record_of(OWN, 1, "k", 10, 4, "older"), &b);
	put(s, record_of(OWN, 1, "other", 10, 6, "y"), NULL);
	WAIT(b.count == 1); /* the retry: not at once, but told */
	assert_int_equal(b.status, -EIO);
	assert_int_equal(c.count, 1);
	assert_int_equal(c.status, -EIO);
	assert_int_equal(a.count, 1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	put(s, record_of(OWN, 1, "third", 10, 7, "z"), &c);
	WAIT(c.count == 2);
	assert_int_equal(c.status, 0);
	store_get_status(s, &st);
	assert_false(st.is_broken);
	assert_int_equal(st.queued, 0);
	assert_records(s, "2/1/before@10.1=x 2/1/k@10.6=newest 2/1/other@10.6=y 2/1/third@10.7=z ");
	close_store(s);
}

static void test_close_when_disk_is_broken_then_ends_and_tells(void **state)
{
	struct rlimit was, none;
	struct store *s = open_store(false);
	struct ack a = {0}, b = {0};
	bool is_closed = false;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	none = was;
	none.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	put(s, record_of(OWN, 1, "k", 10, 5, "x"), &a);
	put(s, record_of(OWN, 1, "l", 10, 6, "x"), &b);
	store_close(s, closed_cb, &is_closed);
	WAIT(is_closed);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(a.count + b.count, 2);
	assert_int_equal(a.status, -EIO);
	assert_int_equal(b.status, -EIO);
	s = open_store(false);
	assert_records(s, "");
	close_store(s);
}

static void fill_disk(void)
{
	static const char junk[4096];
	int fd = open(path_of("filler"), O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	while (write(fd, junk, sizeof(junk)) > 0)
		;
	close(fd);
}

static void test_write_when_disk_is_full_then_enospc_and_retried(void **state)
{
	struct store *s;
	struct store_status st;
	struct ack a = {0}, b = {0};

	(void)state;
	if (!has_mounts) {
		print_message("# needs root and a mount namespace\n");
		skip();
	}
	assert_int_equal(mount("esto", dir, "tmpfs", 0, "size=256k"), 0);
	s = open_store(false);
	put_wait(s, record_of(OWN, 1, "before", 10, 1, "x"));
	fill_disk();
	for (int i = 0; i < 100 && a.status == 0; i++) { /* until the WAL has to grow */
		int before = a.count;

		put(s, record_of(OWN, 1, "k", 10, (uint64_t)i + 2, "x"), &a);
		WAIT(a.count == before + 1);
	}
	assert_int_equal(a.status, -ENOSPC);
	store_get_status(s, &st);
	assert_true(st.is_broken);
	assert_int_equal(st.last_error, -ENOSPC);
	unlink(path_of("filler"));
	put(s, record_of(OWN, 1, "after", 10, 1, "x"), &b);
	WAIT(b.count == 1);
	assert_int_equal(b.status, 0);
	assert_int_equal(count_rows("SELECT count(*) FROM record"), 3);
	close_store(s);
	s = open_store(false);
	close_store(s);
	assert_int_equal(umount(dir), 0);
}

/* A node that starts on a broken disk still has what it last knew, and is whole again when the disk is. */
static void test_open_when_disk_is_read_only_or_full_then_loads_and_mends(void **state)
{
	static const struct row {
		const char *name;
		bool is_full, was_killed;
		int want;
	} rows[] = {
		{"read-only", false, false, -EROFS},
		{"read-only, after kill -9", false, true, -EROFS},
		{"full", true, false, -ENOSPC},
	};

	(void)state;
	if (!has_mounts) {
		print_message("# needs root and a mount namespace\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store *s;
		struct store_status st;
		struct ack a = {0}, b = {0};
		uint64_t v;

		print_message("# %s\n", rows[i].name);
		assert_int_equal(mount("esto", dir, "tmpfs", 0, "size=512k"), 0);
		s = open_store(false);
		assert_int_equal(store_set_generation(s, 77), 0);
		put_wait(s, record_of(OWN, 1, "known", 10, 1, "x"));
		if (rows[i].was_killed) { /* what is in the log only: a copy of the files as they stand now */
			char cmd[400];

			snprintf(cmd, sizeof(cmd), "cd %s && mkdir was && cp edge.db* was", dir);
			assert_int_equal(system(cmd), 0);
			close_store(s);
			snprintf(cmd, sizeof(cmd), "cd %s && mv was/* . && test -s edge.db-wal",
				 dir);
			assert_int_equal(system(cmd), 0);
		} else {
			close_store(s);
		}
		if (rows[i].is_full)
			fill_disk();
		else
			assert_int_equal(mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		s = open_store(false);
		store_get_status(s, &st);
		assert_true(st.is_broken);
		assert_int_equal(st.last_error, rows[i].want);
		assert_true(st.last_text[0]);
		assert_records(s, "2/1/known@10.1=x ");
		assert_int_equal(store_get_generation(s, &v), 0);
		assert_int_equal(v, 77);
		assert_true(store_set_generation(s, 78) < 0);
		put(s, record_of(OWN, 1, "news", 10, 2, "y"), &a);
		WAIT(a.count == 1);
		assert_int_equal(a.status, rows[i].want);
		if (rows[i].is_full)
			unlink(path_of("filler"));
		else
			assert_int_equal(mount(NULL, dir, NULL, MS_REMOUNT, NULL), 0);
		put(s, record_of(OWN, 1, "third", 10, 3, "z"), &b);
		WAIT(b.count > 0);
		if (b.status < 0) { /* asked before the disk was mended: once more */
			put(s, record_of(OWN, 1, "third", 10, 4, "z"), &b);
			WAIT(b.count == 2);
		}
		assert_int_equal(b.status, 0);
		store_get_status(s, &st);
		assert_false(st.is_broken);
		assert_int_equal(store_set_generation(s, 79), 0);
		assert_int_equal(count_rows("SELECT count(*) FROM record"), 3);
		close_store(s);
		assert_int_equal(umount(dir), 0);
	}
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

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
		STORE_TEST(test_open_when_in_use_then_refused_with_the_pid),
		STORE_TEST(test_open_when_killed_then_next_one_opens_with_what_was_answered),
		STORE_TEST(test_open_when_corrupt_then_set_aside_and_fresh),
		STORE_TEST(test_open_when_too_many_bad_files_then_the_last_is_overwritten),
		STORE_TEST(test_open_when_not_ours_to_use_then_refused_and_untouched),
		STORE_TEST(test_open_when_directory_is_read_only_then_says_so),
		STORE_TEST(test_write_when_disk_breaks_then_kept_told_and_retried),
		STORE_TEST(test_close_when_disk_is_broken_then_ends_and_tells),
		STORE_TEST(test_write_when_disk_is_full_then_enospc_and_retried),
		STORE_TEST(test_open_when_disk_is_read_only_or_full_then_loads_and_mends),
		STORE_TEST(test_callback_when_it_writes_then_queued),
	};

	/* Before there are threads: mounts made here are gone with the process. */
	has_mounts = getuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
		     mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
