/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "store/stmt.h"

#include <errno.h>
#include <string.h>

/* The comparison of versions is record_cmp_version()'s: (generation, seq) for own kinds, whose writer is part of the
 * identity; (counter, writer) for shared ones, whose generation is 0. */
static const char *const sql[STMT_COUNT] = {
	[STMT_BEGIN] = "BEGIN IMMEDIATE",
	[STMT_COMMIT] = "COMMIT",
	[STMT_ROLLBACK] = "ROLLBACK",
	[STMT_RECORD_PUT] = "INSERT INTO record (owner, kind, key, writer, pub, generation, seq, "
			    "is_tombstone, value, sig) "
			    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) "
			    "ON CONFLICT (owner, kind, key) DO UPDATE SET writer = "
			    "excluded.writer, pub = excluded.pub, "
			    "generation = excluded.generation, seq = excluded.seq, is_tombstone = "
			    "excluded.is_tombstone, "
			    "value = excluded.value, sig = excluded.sig "
			    "WHERE (excluded.generation, excluded.seq, excluded.writer) > "
			    "(record.generation, record.seq, record.writer)",
	[STMT_RECORD_DEL] = "DELETE FROM record WHERE owner = ?1 AND kind = ?2 AND key = ?3",
	[STMT_RECORD_ALL] = "SELECT owner, kind, key, writer, pub, generation, seq, is_tombstone, "
			    "value, sig FROM record "
			    "ORDER BY owner, kind, key",
	[STMT_MEMBER_PUT] = "INSERT OR REPLACE INTO member (id, pub, name, region, ip, port, "
			    "has_forwarder, state, generation) "
			    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
	[STMT_MEMBER_ALL] = "SELECT id, pub, name, region, ip, port, has_forwarder, state, "
			    "generation FROM member "
			    "ORDER BY id",
	[STMT_ORIGIN_PUT] = "INSERT OR REPLACE INTO origin (id, generation, watermark, verified, "
			    "gc, gc_told, former, former_watermark, flags, sum) "
			    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
	[STMT_ORIGIN_DEL] = "DELETE FROM origin WHERE id = ?1",
	[STMT_ORIGIN_ALL] = "SELECT id, generation, watermark, verified, gc, gc_told, former, "
			    "former_watermark, flags, sum FROM origin ORDER BY id",
	[STMT_SETTING_PUT] = "INSERT OR REPLACE INTO setting (name, value) VALUES (?1, ?2)",
	[STMT_SETTING_RAISE] =
		"INSERT INTO setting (name, value) VALUES (?1, ?2) "
		"ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
	[STMT_SETTING_GET] = "SELECT value FROM setting WHERE name = ?1",
};

int stmt_errno(sqlite3 *db)
{
	int os = sqlite3_system_errno(db);

	switch (sqlite3_errcode(db) & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EBADMSG;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CANTOPEN:
		return os > 0 ? -os : -EACCES;
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	case SQLITE_IOERR:
		return os == ENOSPC || os == EDQUOT || os == EROFS ? -os : -EIO;
	default:
		return -EIO;
	}
}

/* Schema 1 had no such table; where the file can't be written, it can't be brought up either. */
static bool is_dispensable(int name, sqlite3 *db)
{
	return name >= STMT_ORIGIN_PUT && name <= STMT_ORIGIN_ALL &&
	       sqlite3_errcode(db) == SQLITE_ERROR && sqlite3_db_readonly(db, "main") == 1;
}

int stmts_prepare(struct stmts *x, sqlite3 *db)
{
	memset(x, 0, sizeof(*x));
	x->db = db;
	for (int i = 0; i < STMT_COUNT; i++)
		if (sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &x->s[i], NULL) !=
			    SQLITE_OK &&
		    !is_dispensable(i, db)) {
			int r = stmt_errno(db);

			stmts_done(x);
			return r;
		}
	return 0;
}

void stmts_done(struct stmts *x)
{
	for (int i = 0; i < STMT_COUNT; i++) {
		sqlite3_finalize(x->s[i]);
		x->s[i] = NULL;
	}
}

/* Bound blobs are used during the step only: not copied. */
static void bind_blob(sqlite3_stmt *s, int i, const void *p, size_t len)
{
	sqlite3_bind_blob(s, i, len > 0 ? p : "", (int)len, SQLITE_STATIC);
}

static void bind_u64(sqlite3_stmt *s, int i, uint64_t v)
{
	sqlite3_bind_int64(s, i, (sqlite3_int64)v);
}

/* Failed binds leave NULL, which every column refuses: the step tells. */
static int run(struct stmts *x, enum stmt_name name)
{
	int r = sqlite3_step(x->s[name]) == SQLITE_DONE ? 0 : stmt_errno(x->db);

	sqlite3_reset(x->s[name]);
	return r;
}

int stmt_begin(struct stmts *x)
{
	return run(x, STMT_BEGIN);
}

int stmt_commit(struct stmts *x)
{
	return run(x, STMT_COMMIT);
}

void stmt_rollback(struct stmts *x)
{
	if (!sqlite3_get_autocommit(x->db))
		(void)run(x, STMT_ROLLBACK); /* the caller has the error that matters */
}

static void bind_identity(sqlite3_stmt *s, const struct record *r)
{
	bind_blob(s, 1, r->writer.b,
		  record_scope_of(r->kind) == RECORD_SHARED ? 0 : sizeof(r->writer.b));
	sqlite3_bind_int(s, 2, r->kind);
	bind_blob(s, 3, r->key, r->key_len);
}

int stmt_put_record(struct stmts *x, const struct record *r)
{
	sqlite3_stmt *s = x->s[STMT_RECORD_PUT];

	bind_identity(s, r);
	bind_blob(s, 4, r->writer.b, sizeof(r->writer.b));
	bind_blob(s, 5, r->pub, sizeof(r->pub));
	bind_u64(s, 6, r->generation);
	bind_u64(s, 7, r->seq);
	sqlite3_bind_int(s, 8, r->is_tombstone);
	bind_blob(s, 9, r->value, r->value_len);
	bind_blob(s, 10, r->sig, sizeof(r->sig));
	return run(x, STMT_RECORD_PUT);
}

int stmt_del_record(struct stmts *x, const struct record *identity)
{
	bind_identity(x->s[STMT_RECORD_DEL], identity);
	return run(x, STMT_RECORD_DEL);
}

int stmt_put_member(struct stmts *x, const struct store_member *m)
{
	sqlite3_stmt *s = x->s[STMT_MEMBER_PUT];

	bind_blob(s, 1, m->id.b, sizeof(m->id.b));
	bind_blob(s, 2, m->pub, sizeof(m->pub));
	sqlite3_bind_text(s, 3, m->name, (int)strnlen(m->name, sizeof(m->name)), SQLITE_STATIC);
	sqlite3_bind_text(s, 4, m->region, (int)strnlen(m->region, sizeof(m->region)),
			  SQLITE_STATIC);
	bind_blob(s, 5, m->ip, sizeof(m->ip));
	sqlite3_bind_int(s, 6, m->port);
	sqlite3_bind_int(s, 7, m->has_forwarder);
	sqlite3_bind_int(s, 8, m->state);
	bind_u64(s, 9, m->generation);
	return run(x, STMT_MEMBER_PUT);
}

int stmt_put_origin(struct stmts *x, const struct store_origin *o)
{
	sqlite3_stmt *s = x->s[STMT_ORIGIN_PUT];
	const uint64_t n[] = {o->generation, o->watermark, o->verified,		o->gc,
			      o->gc_told,    o->former,	   o->former_watermark, o->flags};

	if (!s)
		return -EROFS;
	bind_blob(s, 1, o->id.b, sizeof(o->id.b));
	for (int i = 0; i < 8; i++)
		bind_u64(s, 2 + i, n[i]);
	bind_blob(s, 10, o->sum, sizeof(o->sum));
	return run(x, STMT_ORIGIN_PUT);
}

int stmt_del_origin(struct stmts *x, const struct node_id *id)
{
	if (!x->s[STMT_ORIGIN_DEL])
		return -EROFS;
	bind_blob(x->s[STMT_ORIGIN_DEL], 1, id->b, sizeof(id->b));
	return run(x, STMT_ORIGIN_DEL);
}

static int put_setting(struct stmts *x, enum stmt_name how, const char *name, uint64_t value)
{
	sqlite3_bind_text(x->s[how], 1, name, -1, SQLITE_STATIC);
	bind_u64(x->s[how], 2, value);
	return run(x, how);
}

int stmt_put_setting(struct stmts *x, const char *name, uint64_t value)
{
	return put_setting(x, STMT_SETTING_PUT, name, value);
}

int stmt_raise_setting(struct stmts *x, const char *name, uint64_t value)
{
	return put_setting(x, STMT_SETTING_RAISE, name, value);
}

int stmt_get_setting(struct stmts *x, const char *name, uint64_t def, uint64_t *ret_value)
{
	sqlite3_stmt *s = x->s[STMT_SETTING_GET];
	int step, r = 0;

	sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
	step = sqlite3_step(s);
	if (step == SQLITE_ROW)
		*ret_value = (uint64_t)sqlite3_column_int64(s, 0);
	else if (step == SQLITE_DONE)
		*ret_value = def;
	else
		r = stmt_errno(x->db);
	sqlite3_reset(s);
	return r;
}

/* ---- rows to structs: the file may have been written by anyone since */

static bool get_blob(sqlite3_stmt *s, int i, void *to, size_t len)
{
	const void *p = sqlite3_column_blob(s, i);

	if (!p || (size_t)sqlite3_column_bytes(s, i) != len)
		return false;
	memcpy(to, p, len);
	return true;
}

static bool get_text(sqlite3_stmt *s, int i, char *to, size_t cap)
{
	const unsigned char *p = sqlite3_column_text(s, i);
	size_t len = (size_t)sqlite3_column_bytes(s, i);

	if (!p || len >= cap || memchr(p, 0, len))
		return false;
	memcpy(to, p, len);
	to[len] = 0;
	return true;
}

static bool get_number(sqlite3_stmt *s, int i, sqlite3_int64 max, sqlite3_int64 *ret_value)
{
	*ret_value = sqlite3_column_int64(s, i);
	return *ret_value >= 0 && *ret_value <= max;
}

static bool record_of_row(sqlite3_stmt *s, struct record *r)
{
	sqlite3_int64 kind, generation, seq;
	bool is_shared;

	memset(r, 0, sizeof(*r));
	if (!get_number(s, 1, UINT8_MAX, &kind) ||
	    !get_blob(s, 3, r->writer.b, sizeof(r->writer.b)) ||
	    !get_blob(s, 4, r->pub, sizeof(r->pub)) || !get_number(s, 5, INT64_MAX, &generation) ||
	    !get_number(s, 6, INT64_MAX, &seq) || !get_blob(s, 9, r->sig, sizeof(r->sig)))
		return false;
	r->kind = (uint8_t)kind;
	r->generation = (uint64_t)generation;
	r->seq = (uint64_t)seq;
	r->is_tombstone = sqlite3_column_int(s, 7) != 0;
	r->key = sqlite3_column_blob(s, 2);
	r->key_len = (size_t)sqlite3_column_bytes(s, 2);
	r->value = sqlite3_column_blob(s, 8);
	r->value_len = (size_t)sqlite3_column_bytes(s, 8);
	is_shared = record_scope_of(r->kind) == RECORD_SHARED;
	if (!is_shared && record_scope_of(r->kind) != RECORD_OWN)
		return false;
	if ((size_t)sqlite3_column_bytes(s, 0) != (is_shared ? 0 : sizeof(r->writer.b)) ||
	    (!is_shared &&
	     memcmp(sqlite3_column_blob(s, 0), r->writer.b, sizeof(r->writer.b)) != 0))
		return false;
	return record_check(r) == 0;
}

static bool member_of_row(sqlite3_stmt *s, struct store_member *m)
{
	sqlite3_int64 port, state, generation;

	memset(m, 0, sizeof(*m));
	if (!get_blob(s, 0, m->id.b, sizeof(m->id.b)) || !get_blob(s, 1, m->pub, sizeof(m->pub)) ||
	    !get_text(s, 2, m->name, sizeof(m->name)) ||
	    !get_text(s, 3, m->region, sizeof(m->region)) ||
	    !get_blob(s, 4, m->ip, sizeof(m->ip)) || !get_number(s, 5, UINT16_MAX, &port) ||
	    !get_number(s, 7, UINT8_MAX, &state) || !get_number(s, 8, INT64_MAX, &generation))
		return false;
	m->port = (uint16_t)port;
	m->has_forwarder = sqlite3_column_int(s, 6) != 0;
	m->state = (uint8_t)state;
	m->generation = (uint64_t)generation;
	return true;
}

int stmt_all_records(struct stmts *x, int (*cb)(const struct record *r, void *arg), void *arg,
		     size_t *bad_rows)
{
	sqlite3_stmt *s = x->s[STMT_RECORD_ALL];
	int step, r = 0;

	while (r == 0 && (step = sqlite3_step(s)) != SQLITE_DONE) {
		struct record rec;

		if (step != SQLITE_ROW)
			r = stmt_errno(x->db);
		else if (record_of_row(s, &rec))
			r = cb(&rec, arg);
		else
			(*bad_rows)++;
	}
	sqlite3_reset(s);
	return r;
}

int stmt_all_members(struct stmts *x, int (*cb)(const struct store_member *m, void *arg), void *arg,
		     size_t *bad_rows)
{
	sqlite3_stmt *s = x->s[STMT_MEMBER_ALL];
	int step, r = 0;

	while (r == 0 && (step = sqlite3_step(s)) != SQLITE_DONE) {
		struct store_member m;

		if (step != SQLITE_ROW)
			r = stmt_errno(x->db);
		else if (member_of_row(s, &m))
			r = cb(&m, arg);
		else
			(*bad_rows)++;
	}
	sqlite3_reset(s);
	return r;
}

static bool origin_of_row(sqlite3_stmt *s, struct store_origin *o)
{
	sqlite3_int64 n[8];

	memset(o, 0, sizeof(*o));
	for (int i = 0; i < 8; i++)
		if (!get_number(s, 1 + i, i == 7 ? UINT8_MAX : INT64_MAX, &n[i]))
			return false;
	o->generation = (uint64_t)n[0];
	o->watermark = (uint64_t)n[1];
	o->verified = (uint64_t)n[2];
	o->gc = (uint64_t)n[3];
	o->gc_told = (uint64_t)n[4];
	o->former = (uint64_t)n[5];
	o->former_watermark = (uint64_t)n[6];
	o->flags = (uint8_t)n[7];
	return get_blob(s, 0, o->id.b, sizeof(o->id.b)) && get_blob(s, 9, o->sum, sizeof(o->sum));
}

int stmt_all_origins(struct stmts *x, int (*cb)(const struct store_origin *o, void *arg), void *arg,
		     size_t *bad_rows)
{
	sqlite3_stmt *s = x->s[STMT_ORIGIN_ALL];
	int step, r = 0;

	if (!s)
		return 0;
	while (r == 0 && (step = sqlite3_step(s)) != SQLITE_DONE) {
		struct store_origin o;

		if (step != SQLITE_ROW)
			r = stmt_errno(x->db);
		else if (origin_of_row(s, &o))
			r = cb(&o, arg);
		else
			(*bad_rows)++;
	}
	sqlite3_reset(s);
	return r;
}
