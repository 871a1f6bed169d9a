/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Files, locks and the blocking half; the queue is in queue.c. */
#include "store/store_priv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/migrate.h"

#define BUSY_MS                                                                                    \
	2000 /* someone looks with sqlite3: readers don't block us in WAL, a stray writer may for a moment */
#define GENERATION "generation"

/* ---- the directory and its lock */

static int lock_dir(struct store *s, struct err *e)
{
	char path[PATH_MAX + 8], text[16] = "";
	int r;

	if (mkdir(s->dir, 0700) < 0 && errno != EEXIST)
		return err_set(e, -errno, "%s: can't make it: %s", s->dir, strerror(errno));
	snprintf(path, sizeof(path), "%s/lock", s->dir);
	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (s->lock_fd < 0 && errno == EROFS)
		s->lock_fd = open(
			path, O_RDONLY | O_CLOEXEC); /* of an earlier run; flock() needs no more */
	if (s->lock_fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		r = errno == EWOULDBLOCK ? -EBUSY : -errno;
		if (r != -EBUSY)
			return err_set(e, r, "%s: %s", path, strerror(-r));
		if (pread(s->lock_fd, text, sizeof(text) - 1, 0) <= 0)
			text[0] = 0;
		return err_set(e, r, "another edged uses %s (pid %ld)", s->dir,
			       strtol(text, NULL, 10));
	}
	/* The number is for people; the lock itself is what counts. */
	snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(s->lock_fd, 0) == 0)
		(void)!pwrite(s->lock_fd, text, strlen(text), 0);
	return 0;
}

/* edge.db, with its -wal and -shm, becomes edge.db.bad-N: returns N. */
static int set_aside(struct store *s, struct err *e)
{
	static const char *const suffix[] = {"", "-wal", "-shm"};
	char to[PATH_MAX + 32], from[PATH_MAX + 8];
	int n;

	for (n = 1; n < STORE_BAD_MAX; n++) {
		snprintf(to, sizeof(to), "%s.bad-%d", s->path, n);
		if (access(to, F_OK) < 0)
			break;
	}
	for (size_t i = 0; i < sizeof(suffix) / sizeof(suffix[0]); i++) {
		snprintf(from, sizeof(from), "%s%s", s->path, suffix[i]);
		snprintf(to, sizeof(to), "%s.bad-%d%s", s->path, n, suffix[i]);
		if (rename(from, to) < 0 && errno != ENOENT)
			return err_set(e, -errno, "%s: corrupt, and can't be renamed to %s: %s",
				       from, to, strerror(errno));
	}
	return n;
}

/* ---- the database */

static int pragma(struct store *s, const char *sql, struct err *e)
{
	if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return 0;
	return err_set(e, stmt_errno(s->db), "%s: %s", s->path, sqlite3_errmsg(s->db));
}

/* Reads every page. */
static int quick_check(struct store *s, struct err *e)
{
	sqlite3_stmt *st = NULL;
	int r = 0;

	if (sqlite3_prepare_v2(s->db, "PRAGMA quick_check(1)", -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_ROW)
		r = err_set(e, stmt_errno(s->db), "%s: %s", s->path, sqlite3_errmsg(s->db));
	else if (strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
		r = err_set(e, -EBADMSG, "%s: %s", s->path, sqlite3_column_text(st, 0));
	sqlite3_finalize(st);
	return r;
}

void store_close_db(struct store *s)
{
	stmts_done(&s->stmts);
	sqlite3_close(s->db); /* the last connection: checkpoints, removes -wal and -shm */
	s->db = NULL;
}

/* SQLite on a read-only or full disk fails in many ways, some of them with another call's errno: ask the disk itself. */
static int blame_disk(const struct store *s, int r, struct err *e)
{
	struct statvfs v;
	int disk;

	if (r != -EIO && r != -ENOENT && r != -EROFS && r != -ENOSPC)
		return r;
	if (statvfs(s->dir, &v) < 0)
		return r;
	disk = v.f_flag & ST_RDONLY ? -EROFS : v.f_bavail == 0 ? -ENOSPC : r;
	return disk == r ? r : err_set(e, disk, "%s: %s", s->path, strerror(-disk));
}

/* On failure nothing is left open. */
static int open_db(struct store *s, struct err *e)
{
	struct stat file;
	int r = 0;

	if (sqlite3_open_v2(s->path, &s->db,
			    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX |
				    SQLITE_OPEN_EXRESCODE,
			    NULL) != SQLITE_OK) {
		r = s->db ? stmt_errno(s->db) : -ENOMEM;
		err_set(e, r, "%s: %s", s->path, s->db ? sqlite3_errmsg(s->db) : "out of memory");
		goto out;
	}
	sqlite3_busy_timeout(s->db, BUSY_MS);
	r = migrate_check(s->db, s->path, e); /* first: what isn't ours is not touched */
	if (r == 0 &&
	    sqlite3_db_readonly(s->db,
				"main")) { /* SQLite opens so, unasked, what it may not write */
		r = access(s->path, W_OK) < 0 ? -errno : -EACCES;
		err_set(e, r, "%s: %s", s->path, strerror(-r));
	}
	if (r == 0)
		r = pragma(s,
			   "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA "
			   "trusted_schema = OFF;"
			   "PRAGMA cell_size_check = ON; PRAGMA journal_size_limit = 16777216",
			   e);
	if (r == 0)
		r = quick_check(s, e);
	if (r == 0)
		r = migrate_run(s->db, s->path, e);
	if (r == 0 && stmts_prepare(&s->stmts, s->db) < 0) {
		/* ours by its header, but the tables are not what they must be */
		r = err_set(e,
			    sqlite3_errcode(s->db) == SQLITE_ERROR ? -EBADMSG : stmt_errno(s->db),
			    "%s: %s", s->path, sqlite3_errmsg(s->db));
	}
	if (r == 0 && stat(s->path, &file) == 0) {
		s->file_dev = file.st_dev;
		s->file_ino = file.st_ino;
	}
out:
	if (r < 0) {
		store_close_db(s);
		r = blame_disk(s, r, e);
	}
	return r;
}

/* The disk is full or read-only: read what is there, the write-ahead log too if it can be had. */
static int open_to_read(struct store *s, struct err *e)
{
	static const char *const how[] = {"mode=ro", "immutable=1"};
	char uri[3 * PATH_MAX + 32];
	size_t n = 0;
	int r = -EIO;

	for (const char *p = s->path; *p; p++) /* every byte as %XX: no rule of URIs to get wrong */
		n += (size_t)snprintf(uri + n, sizeof(uri) - n, "%%%02X", (unsigned char)*p);
	for (size_t i = 0; r < 0 && i < 2; i++) {
		char *query = uri + n;

		snprintf(query, sizeof(uri) - n, "?%s", how[i]);
		memmove(uri + 5, uri, n + strlen(query) + 1);
		memcpy(uri, "file:", 5);
		r = sqlite3_open_v2(uri, &s->db,
				    SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_FULLMUTEX |
					    SQLITE_OPEN_EXRESCODE,
				    NULL) == SQLITE_OK
			    ? migrate_check(s->db, s->path, e)
			    : -EIO;
		if (r == 0)
			r = quick_check(s, e);
		if (r == 0)
			r = stmts_prepare(&s->stmts, s->db);
		if (r < 0)
			store_close_db(s);
		memmove(uri, uri + 5, n);
	}
	return r;
}

int store_reopen_db(struct store *s, char *text, size_t cap)
{
	struct err e = {0};
	int r;

	if (!s->is_read_only)
		return 0;
	if (s->db)
		store_close_db(s);
	r = open_db(s, &e);
	s->is_read_only = r < 0;
	if (r < 0)
		snprintf(text, cap, "%s", e.text);
	return r;
}

/* All that the open file holds, log included, into a new one, on the disk. */
static int copy_db(struct store *s, const char *to, char *text, size_t cap)
{
	sqlite3_stmt *st = NULL;
	int r = 0, fd;

	(void)unlink(to); /* of a try that was cut off */
	if (sqlite3_prepare_v2(s->db, "VACUUM INTO ?", -1, &st, NULL) != SQLITE_OK ||
	    sqlite3_bind_text(st, 1, to, -1, SQLITE_STATIC) != SQLITE_OK ||
	    sqlite3_step(st) != SQLITE_DONE) {
		r = stmt_errno(s->db);
		snprintf(text, cap, "%s", sqlite3_errmsg(s->db));
	}
	sqlite3_finalize(st);
	fd = r ? -1 : open(to, O_RDWR | O_CLOEXEC);
	if (r == 0 && (fd < 0 || fsync(fd) < 0)) {
		r = -errno;
		snprintf(text, cap, "%s: %s", to, strerror(-r));
	}
	if (fd >= 0)
		close(fd);
	return r;
}

int store_rescue_db(struct store *s, char *text, size_t cap)
{
	char copy[PATH_MAX + 8], side[PATH_MAX + 8];
	struct err e = {0};
	struct stat now;
	bool is_there = stat(s->path, &now) == 0;
	int r;

	if (is_there ? now.st_dev == s->file_dev && now.st_ino == s->file_ino : errno != ENOENT)
		return 0;
	snprintf(copy, sizeof(copy), "%s-new", s->path);
	r = copy_db(s, copy, text, cap);
	if (r < 0)
		return r;
	if (is_there)
		r = set_aside(s, &e) < 0 ? e.code : 0;
	/* A log without its file would be taken for the new one's. */
	snprintf(side, sizeof(side), "%s-wal", s->path);
	(void)unlink(side);
	snprintf(side, sizeof(side), "%s-shm", s->path);
	(void)unlink(side);
	if (r == 0 && rename(copy, s->path) < 0)
		r = err_set(&e, -errno, "%s: %s", s->path, strerror(errno));
	if (r == 0) {
		store_close_db(s);
		s->is_read_only = true; /* until it is open again */
		r = open_db(s, &e);
	}
	if (r < 0) {
		snprintf(text, cap, "%s", e.text);
		return r;
	}
	s->is_read_only = false;
	s->rescues++;
	return 0;
}

int store_open(const char *dir, uv_loop_t *uv, struct store **ret_store, bool *ret_was_reset,
	       struct err *e)
{
	struct store *s = calloc(1, sizeof(*s));
	bool was_reset = false;
	int r;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->lock_fd = -1;
	s->uv = uv;
	if (uv_mutex_init(&s->mutex) < 0) {
		free(s);
		return err_set(e, -ENOMEM, "out of memory");
	}
	if ((size_t)snprintf(s->dir, sizeof(s->dir), "%s", dir) >= sizeof(s->dir) ||
	    (size_t)snprintf(s->path, sizeof(s->path), "%s/edge.db", dir) >= sizeof(s->path) - 16)
		r = err_set(e, -ENAMETOOLONG, "%.100s...: name too long", dir);
	else
		r = lock_dir(s, e);
	if (r == 0)
		r = open_db(s, e);
	if (r == -EBADMSG) {
		r = set_aside(s, e);
		was_reset = r > 0;
		if (r > 0)
			snprintf(s->status.last_text, sizeof(s->status.last_text),
				 "corrupt: set aside as edge.db.bad-%d", r);
		if (r > 0)
			r = open_db(s, e);
	}
	if (r == -EROFS || r == -ENOSPC) {
		struct err why = {.code = r}, ignored;

		if (e)
			why = *e;
		if (open_to_read(s, &ignored) == 0) {
			s->is_read_only = s->status.is_broken = true;
			s->status.last_error = r;
			snprintf(s->status.last_text, sizeof(s->status.last_text), "%.150s",
				 why.text);
			r = 0;
		}
	}
	if (r == 0)
		r = store_queue_init(s);
	if (r < 0) {
		s->uv = NULL;
		store_destroy(s);
		return r;
	}
	if (ret_was_reset)
		*ret_was_reset = was_reset;
	*ret_store = s;
	return 0;
}

void store_destroy(struct store *s)
{
	void (*cb)(void *arg) = s->close_cb;
	void *arg = s->close_arg;

	if (s->db)
		store_close_db(s);
	if (s->lock_fd >= 0)
		close(s->lock_fd); /* after the database: the next process may come in now */
	uv_mutex_destroy(&s->mutex);
	free(s);
	if (cb)
		cb(arg);
}

void store_close(struct store *s, void (*cb)(void *arg), void *arg)
{
	assert(!s->is_closing);
	s->is_closing = true;
	s->close_cb = cb;
	s->close_arg = arg;
	if (s->uv)
		store_queue_close(s);
	else
		store_destroy(s);
}

/* ---- the blocking half. There is no database between two tries to open a broken one again. */

static int no_db(const struct store *s)
{
	return s->status.last_error < 0 ? s->status.last_error : -EIO;
}

int store_load_records(struct store *s, int (*cb)(const struct record *r, void *arg), void *arg)
{
	int r;

	uv_mutex_lock(&s->mutex);
	r = s->db ? stmt_all_records(&s->stmts, cb, arg, &s->status.bad_rows) : no_db(s);
	uv_mutex_unlock(&s->mutex);
	return r;
}

int store_load_members(struct store *s, int (*cb)(const struct store_member *m, void *arg),
		       void *arg)
{
	int r;

	uv_mutex_lock(&s->mutex);
	r = s->db ? stmt_all_members(&s->stmts, cb, arg, &s->status.bad_rows) : no_db(s);
	uv_mutex_unlock(&s->mutex);
	return r;
}

int store_load_origins(struct store *s, int (*cb)(const struct store_origin *o, void *arg),
		       void *arg)
{
	int r;

	uv_mutex_lock(&s->mutex);
	r = s->db ? stmt_all_origins(&s->stmts, cb, arg, &s->status.bad_rows) : no_db(s);
	uv_mutex_unlock(&s->mutex);
	return r;
}

int store_get_setting(struct store *s, const char *name, uint64_t *ret_value, uint64_t def)
{
	int r;

	uv_mutex_lock(&s->mutex);
	r = s->db ? stmt_get_setting(&s->stmts, name, def, ret_value) : no_db(s);
	uv_mutex_unlock(&s->mutex);
	return r;
}

int store_set_setting(struct store *s, const char *name, uint64_t value)
{
	int r;

	uv_mutex_lock(&s->mutex);
	r = s->db ? stmt_put_setting(&s->stmts, name, value) : no_db(s);
	uv_mutex_unlock(&s->mutex);
	return r;
}

int store_get_generation(struct store *s, uint64_t *ret_generation)
{
	return store_get_setting(s, GENERATION, ret_generation, 0);
}

int store_set_generation(struct store *s, uint64_t generation)
{
	int r;

	if (generation > RECORD_SEQ_MAX)
		return -EINVAL;
	uv_mutex_lock(&s->mutex);
	r = s->db ? stmt_raise_setting(&s->stmts, GENERATION, generation) : no_db(s);
	uv_mutex_unlock(&s->mutex);
	return r;
}

void store_get_status(const struct store *s, struct store_status *ret_status)
{
	*ret_status = s->status;
	ret_status->queued = s->waiting_count + s->batch_count;
	ret_status->busy_ms = s->is_working ? (uv_hrtime() - s->began_ns) / 1000000 : 0;
}
