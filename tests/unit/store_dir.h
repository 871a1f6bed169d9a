/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/unit/store_dir.h - a store in a directory of its own, and records to put into it. Included by test_store*.c. */
#ifndef STORE_DIR_H
#define STORE_DIR_H

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "store/store.h"

#define LIMIT_MS 20000
#define OWN 2 /* some kind of each scope */
#define SHARED 70
#define VOLATILE 130

static char dir[64];
static uv_loop_t uv;
static uv_timer_t limit;

static inline void limit_cb(uv_timer_t *t)
{
	(void)t;
	fprintf(stderr, "not ok - waited for %d ms\n", LIMIT_MS);
	exit(1); /* no jump out of libuv */
}

static inline int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/esto-store-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	uv_loop_init(&uv);
	uv_timer_init(&uv, &limit);
	return 0;
}

static inline int teardown(void **state)
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

static inline const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static inline struct store *open_store(bool want_reset)
{
	struct store *s;
	struct err e = {0};
	bool was_reset = !want_reset;

	if (store_open(dir, &uv, &s, &was_reset, &e) < 0)
		fail_msg("open: %d %s", e.code, e.text);
	assert_int_equal(was_reset, want_reset);
	return s;
}

static inline void closed_cb(void *arg)
{
	*(bool *)arg = true;
}

static inline void close_store(struct store *s)
{
	bool is_closed = false;

	store_close(s, closed_cb, &is_closed);
	WAIT(is_closed);
}

/* A record of writer number w; the value tells which it is. */
static inline struct record record_of(uint8_t kind, uint8_t w, const char *key, uint64_t generation,
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

static inline int seen_cb(const struct record *r, void *arg)
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

static inline void assert_records(struct store *s, const char *want)
{
	struct seen seen = {0};

	assert_int_equal(store_load_records(s, seen_cb, &seen), 0);
	assert_string_equal(seen.text, want);
}

struct ack {
	int count, status;
};

static inline void ack_cb(int status, void *arg)
{
	struct ack *a = arg;

	a->count++;
	a->status = status;
}

static inline void put(struct store *s, struct record r, struct ack *a)
{
	assert_int_equal(store_write_record(s, &r, a ? ack_cb : NULL, a), 0);
}

static inline void put_wait(struct store *s, struct record r)
{
	struct ack a = {0};

	put(s, r, &a);
	WAIT(a.count == 1);
	assert_int_equal(a.status, 0);
}

/* Through a connection of its own: what is committed. */
static inline int count_rows(const char *sql)
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

static inline void exec_sql(const char *sql)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path_of("edge.db"), &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
