/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* store/migrate.h - brings a database file to the schema of this build.
 *
 * PRAGMA user_version says how many of the files in store/schema/ have been applied, PRAGMA application_id that the
 * file is ours. Each file is applied in one transaction with its number; a file that was once released is never
 * changed. The texts are part of the program (.incbin at build).
 *
 * Errors    0 | -EPROTONOSUPPORT newer schema, or another program's database | -EBADMSG corrupt | as stmt_errno()
 */
#ifndef STORE_MIGRATE_H
#define STORE_MIGRATE_H

#include <sqlite3.h>

#include "gossip/err.h"

#define MIGRATE_VERSION 2
#define MIGRATE_APPLICATION_ID 0x65646765 /* "edge" */

/* Looks only: may this build use the file? An empty one it may. `path` is for the text. */
int migrate_check(sqlite3 *db, const char *path, struct err *e);
/* After migrate_check(). Blocks; on failure the file is as it was. */
int migrate_run(sqlite3 *db, const char *path, struct err *e);
/* Text of step 1..MIGRATE_VERSION, NUL-terminated. */
const char *migrate_text(int step);

#endif
