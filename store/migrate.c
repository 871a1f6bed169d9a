/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "store/migrate.h"

#include <assert.h>
#include <errno.h>

#include "store/stmt.h"

/* The file as it stands, and a NUL. Paths count from the top of the tree, where make runs. */
#define SCHEMA(symbol, path)                                                                       \
	__asm__(".pushsection .rodata\n"                                                           \
		"\t.global " #symbol "\n" #symbol ":\n"                                            \
		"\t.incbin \"" path "\"\n"                                                         \
		"\t.byte 0\n"                                                                      \
		"\t.popsection\n");                                                                \
	extern const char symbol[]

SCHEMA(migrate_0001, "store/schema/0001_initial.sql");
SCHEMA(migrate_0002, "store/schema/0002_origin.sql");

static const char *const steps[MIGRATE_VERSION] = {migrate_0001, migrate_0002};

const char *migrate_text(int step)
{
	assert(step >= 1 && step <= MIGRATE_VERSION);
	return steps[step - 1];
}

static int exec(sqlite3 *db, const char *sql)
{
	return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : stmt_errno(db);
}

static int get_int(sqlite3 *db, const char *sql, int *ret_value)
{
	sqlite3_stmt *s = NULL;
	int r = 0;

	if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
		r = stmt_errno(db);
	else
		*ret_value = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	return r;
}

int migrate_check(sqlite3 *db, const char *path, struct err *e)
{
	int version = 0, id = 0, tables = 0;
	int r = get_int(db, "PRAGMA user_version", &version);

	if (r == 0)
		r = get_int(db, "PRAGMA application_id", &id);
	if (r == 0)
		r = get_int(db, "SELECT count(*) FROM sqlite_schema", &tables);
	if (r < 0)
		return err_set(e, r, "%s: %s", path, sqlite3_errmsg(db));
	if (id != MIGRATE_APPLICATION_ID && (id != 0 || version != 0 || tables != 0))
		return err_set(e, -EPROTONOSUPPORT, "%s: is another program's database", path);
	if (version > MIGRATE_VERSION)
		return err_set(e, -EPROTONOSUPPORT,
			       "%s: has schema %d, want at most %d: a newer edged wrote it", path,
			       version, MIGRATE_VERSION);
	return 0;
}

int migrate_run(sqlite3 *db, const char *path, struct err *e)
{
	int version = 0;
	int r = get_int(db, "PRAGMA user_version", &version);

	while (r == 0 && version < MIGRATE_VERSION) {
		char sql[128];

		version++;
		snprintf(sql, sizeof(sql),
			 "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
			 MIGRATE_APPLICATION_ID, version);
		r = exec(db, "BEGIN IMMEDIATE");
		if (r == 0)
			r = exec(db, migrate_text(version));
		if (r == 0)
			r = exec(db, sql);
		if (r < 0) {
			err_set(e, r, "%s: schema %d: %s", path, version, sqlite3_errmsg(db));
			if (!sqlite3_get_autocommit(db))
				(void)exec(db, "ROLLBACK"); /* the first error is the one to tell */
			return r;
		}
	}
	return r < 0 ? err_set(e, r, "%s: %s", path, sqlite3_errmsg(db)) : 0;
}
