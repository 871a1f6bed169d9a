/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What all checks share: how many probes may be under way, and who waits. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "edge/check/check_int.h"

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

int check_pool_allows(const struct check_pool *pool, const struct model_check *spec, struct err *e)
{
	char path[320];
	int name_len = (int)strcspn(spec->target, " ");

	if (spec->kind != MODEL_CHECK_EXEC)
		return 0;
	if (!pool->program_dir[0])
		return err_set(e, -EACCES,
			       "check: exec: this node's edge.conf allows no programs: [worker] "
			       "check_dir is not set");
	snprintf(path, sizeof(path), "%s/%.*s", pool->program_dir, name_len, spec->target);
	if (access(path, X_OK))
		return err_set(e, -errno, "check: run: %.120s: %s", path, strerror(errno));
	return 0;
}

int check_dir_trust(const char *path, struct err *e)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_set(e, -errno, "check_dir %s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "check_dir %s: not a directory", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(e, -EPERM,
			       "check_dir %s: belongs to user %u, want root or user %u, who runs "
			       "the programs",
			       path, (unsigned int)st.st_uid, (unsigned int)geteuid());
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(e, -EPERM,
			       "check_dir %s: mode %04o, group or others may write there; want "
			       "0755 or less",
			       path, (unsigned int)st.st_mode & 07777);
	return 0;
}

bool check_pool_take(struct check_pool *pool, bool is_program, struct check_waiter *w)
{
	unsigned max = is_program ? CHECK_PROGRAMS_MAX : CHECK_PROBES_MAX;

	if (pool->running[is_program] < max) {
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
	struct check_waiter *w = TAILQ_FIRST(&pool->waiting[is_program]);

	pool->running[is_program]--;
	if (w) {
		check_pool_forget(pool, is_program, w);
		pool->wake(w);
	}
	check_pool_handle_closed(pool);
}

void check_pool_forget(struct check_pool *pool, bool is_program, struct check_waiter *w)
{
	if (!w->is_waiting)
		return;
	w->is_waiting = false;
	TAILQ_REMOVE(&pool->waiting[is_program], w, link);
}
