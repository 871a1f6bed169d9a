/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What all checks share: how many probes may be under way, and who waits. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/check/check_int.h"
#include "edge/check/curl_lib.h"

int check_pool_open(uv_loop_t *uv, const struct check_pool_config *cfg,
		    struct check_pool **ret_pool)
{
	struct check_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pool->uv = uv;
	snprintf(pool->program_dir, sizeof(pool->program_dir), "%s",
		 cfg->program_dir ? cfg->program_dir : "");
	snprintf(pool->ca_file, sizeof(pool->ca_file), "%s", cfg->ca_file ? cfg->ca_file : "");
	TAILQ_INIT(&pool->waiting[0]);
	TAILQ_INIT(&pool->waiting[1]);
	pool->open_handles = 1;
	*ret_pool = pool;
	return 0;
}

void check_pool_handle_closed(struct check_pool *pool)
{
	if (--pool->open_handles)
		return;
	if (pool->close_cb)
		pool->close_cb(pool->close_arg);
	free(pool);
}

void check_pool_close(struct check_pool *pool, void (*cb)(void *arg), void *arg)
{
	if (!pool)
		return;
	pool->close_cb = cb;
	pool->close_arg = arg;
	check_http_close(pool);
	check_pool_handle_closed(pool);
}

static bool is_trusted(const struct stat *st, bool may_be_sticky)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return false;
	return !(st->st_mode & (S_IWGRP | S_IWOTH)) || (may_be_sticky && st->st_mode & S_ISVTX);
}

int check_pool_allows(const struct check_pool *pool, const struct model_check *spec, struct err *e)
{
	char path[320];
	struct stat st;
	int name_len = (int)strcspn(spec->target, " ");

	if (spec->kind == MODEL_CHECK_HTTP || spec->kind == MODEL_CHECK_HTTPS)
		return curl_lib_get(e) ? 0 : -ELIBACC;
	if (spec->kind != MODEL_CHECK_EXEC)
		return 0;
	if (!pool->program_dir[0])
		return err_set(e, -EACCES,
			       "check: exec: this node's edge.conf allows no programs: [worker] "
			       "check_dir is not set");
	snprintf(path, sizeof(path), "%s/%.*s", pool->program_dir, name_len, spec->target);
	if (access(path, X_OK) || stat(path, &st) < 0)
		return err_set(e, -errno, "check: run: %.120s: %s", path, strerror(errno));
	if (!is_trusted(&st, false))
		return err_set(e, -EPERM,
			       "check: run: %.120s: mode %04o, user %u: others may write it", path,
			       (unsigned int)st.st_mode & 07777, (unsigned int)st.st_uid);
	return 0;
}

static int distrust(const char *path, const char *part, const struct stat *st, struct err *e)
{
	if (st->st_uid != 0 && st->st_uid != geteuid())
		return err_set(e, -EPERM,
			       "check_dir %s: %s belongs to user %u, want root or user %u, who "
			       "runs the programs",
			       path, part, (unsigned int)st->st_uid, (unsigned int)geteuid());
	return err_set(e, -EPERM,
		       "check_dir %s: %s has mode %04o, group or others may write there; want "
		       "0755 or less",
		       path, part, (unsigned int)st->st_mode & 07777);
}

int check_dir_trust(const char *path, char ret_real[CHECK_DIR_MAX], struct err *e)
{
	char real[PATH_MAX], *slash;
	struct stat st;

	if (!realpath(path, real) || stat(real, &st) < 0)
		return err_set(e, -errno, "check_dir %s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "check_dir %s: not a directory", path);
	if (strlen(real) >= CHECK_DIR_MAX)
		return err_set(e, -ENAMETOOLONG, "check_dir %s: is %.60s..., want at most %d bytes",
			       path, real, CHECK_DIR_MAX - 1);
	if (!is_trusted(&st, false))
		return distrust(path, "it", &st, e);
	memcpy(ret_real, real, strlen(real) + 1);
	/* Who may write above it may put another one in its place. */
	while (strcmp(real, "/") != 0) {
		slash = strrchr(real, '/');
		slash[slash == real] = 0;
		if (stat(real, &st) < 0)
			return err_set(e, -errno, "check_dir %s: %s: %s", path, real,
				       strerror(errno));
		if (!is_trusted(&st, true))
			return distrust(path, real, &st, e);
	}
	return 0;
}

static bool has_room(const struct check_pool *pool, bool is_program)
{
	return pool->running[is_program] < (is_program ? CHECK_PROGRAMS_MAX : CHECK_PROBES_MAX);
}

static void wake_next(struct check_pool *pool, bool is_program)
{
	struct check_waiter *w = TAILQ_FIRST(&pool->waiting[is_program]);

	if (!w || !has_room(pool, is_program))
		return;
	check_pool_forget(pool, is_program, w);
	w->is_woken = true;
	pool->wake(w);
}

bool check_pool_take(struct check_pool *pool, bool is_program, struct check_waiter *w)
{
	w->is_woken = false;
	if (has_room(pool, is_program)) {
		pool->running[is_program]++;
		/* As long as any is under way the pool stays. */
		pool->open_handles++;
		return true;
	}
	w->is_waiting = true;
	TAILQ_INSERT_TAIL(&pool->waiting[is_program], w, link);
	return false;
}

void check_pool_release(struct check_pool *pool, bool is_program)
{
	pool->running[is_program]--;
	wake_next(pool, is_program);
	check_pool_handle_closed(pool);
}

void check_pool_forget(struct check_pool *pool, bool is_program, struct check_waiter *w)
{
	if (!w->is_waiting)
		return;
	w->is_waiting = false;
	TAILQ_REMOVE(&pool->waiting[is_program], w, link);
}

void check_pool_leave(struct check_pool *pool, bool is_program, struct check_waiter *w)
{
	check_pool_forget(pool, is_program, w);
	if (w->is_woken)
		wake_next(pool, is_program);
	w->is_woken = false;
}
