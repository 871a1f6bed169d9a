/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* store/stmt.h - every SQL statement of the running store, prepared once; rows <-> structs; SQLite's errors -> errno.
 *
 * Memory    what a load callback gets points into the statement: valid during that call
 * Errors    stmt_errno(): BUSY -EBUSY | FULL -ENOSPC | CORRUPT, NOTADB -EBADMSG | NOMEM -ENOMEM | CONSTRAINT -EEXIST |
 *           READONLY -EROFS | can't open -EACCES or what the system said | else -EIO
 * Threads   one at a time
 */
#ifndef STORE_STMT_H
#define STORE_STMT_H

#include <sqlite3.h>

#include "store/store.h"

enum stmt_name {
	STMT_BEGIN,
	STMT_COMMIT,
	STMT_ROLLBACK,
	STMT_RECORD_PUT,
	STMT_RECORD_DEL,
	STMT_RECORD_ALL,
	STMT_MEMBER_PUT,
	STMT_MEMBER_ALL,
	STMT_ORIGIN_PUT,
	STMT_ORIGIN_DEL,
	STMT_ORIGIN_ALL,
	STMT_SETTING_PUT,
	STMT_SETTING_RAISE,
	STMT_SETTING_GET,
	STMT_COUNT,
};
struct stmts {
	sqlite3 *db;
	sqlite3_stmt *s[STMT_COUNT];
};

int stmt_errno(sqlite3 *db);
/* On failure nothing is left prepared. A file of schema 1 that can only be read has no origins. */
int stmts_prepare(struct stmts *x, sqlite3 *db);
void stmts_done(struct stmts *x);

int stmt_begin(struct stmts *x);
int stmt_commit(struct stmts *x);
void stmt_rollback(struct stmts *x); /* also right when there is no transaction any more */

/* An older version than the one that stands changes nothing, and is no error. */
int stmt_put_record(struct stmts *x, const struct record *r);
int stmt_del_record(struct stmts *x, const struct record *identity);
int stmt_put_member(struct stmts *x, const struct store_member *m);
int stmt_put_origin(struct stmts *x, const struct store_origin *o);
int stmt_del_origin(struct stmts *x, const struct node_id *id);
int stmt_put_setting(struct stmts *x, const char *name, uint64_t value);
int stmt_raise_setting(struct stmts *x, const char *name, uint64_t value); /* never lowers */
int stmt_get_setting(struct stmts *x, const char *name, uint64_t def, uint64_t *ret_value);

/* Rows that can't be right are skipped and counted in *bad_rows. A callback's non-zero result ends it and is returned. */
int stmt_all_records(struct stmts *x, int (*cb)(const struct record *r, void *arg), void *arg,
		     size_t *bad_rows);
int stmt_all_members(struct stmts *x, int (*cb)(const struct store_member *m, void *arg), void *arg,
		     size_t *bad_rows);
int stmt_all_origins(struct stmts *x, int (*cb)(const struct store_origin *o, void *arg), void *arg,
		     size_t *bad_rows);

#endif
