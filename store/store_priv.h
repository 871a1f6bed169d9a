/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* store/store_priv.h - what store.c (files, blocking half) and queue.c (batches) share; for no one else. */
#ifndef STORE_STORE_PRIV_H
#define STORE_STORE_PRIV_H

#include <limits.h>
#include <sys/queue.h>

#include "store/stmt.h"

struct store_op;
TAILQ_HEAD(store_ops, store_op);
STAILQ_HEAD(store_waiters, store_waiter);

struct store {
	char dir[PATH_MAX];
	char path[PATH_MAX];
	int lock_fd;
	sqlite3 *db;
	struct stmts stmts;
	dev_t file_dev; /* of what is open; under the mutex, like the next one */
	ino_t file_ino;
	uint32_t rescues;  /* the pool thread's while is_working */
	uint64_t began_ns; /* the batch that is_working */
	bool is_read_only; /* opened so because the disk let us do no better; under the mutex, as the two above */
	uv_mutex_t mutex; /* held through a transaction: the connection has one at a time */

	uv_loop_t *uv; /* NULL: no queue */
	uv_timer_t timer;
	bool is_due; /* the timer said so */
	bool is_closing, is_closed;
	void (*close_cb)(void *arg);
	void *close_arg;

	struct store_ops waiting;
	struct store_op *by_ident; /* uthash of what waits */
	size_t waiting_count, waiter_count;

	uv_work_t work;
	bool is_working;
	struct store_ops batch; /* the pool thread's while is_working, with the two below */
	size_t batch_count;
	int batch_result;
	char batch_text[160];

	struct store_status status;
};

/* store.c: on the pool thread or with no loop */
void store_close_db(struct store *s);
/* Mutex held: if the file is open for reading only, try to do better. 0: it can be written. */
int store_reopen_db(struct store *s, char *text, size_t cap);
/* Mutex held, file open for writing: if it is not the one at its path any more, write that anew. */
int store_rescue_db(struct store *s, char *text, size_t cap);
/* Everything but the database; frees s and calls back. */
void store_destroy(struct store *s);

int store_queue_init(struct store *s);
/* Drain, then store_close_db() and store_destroy(). */
void store_queue_close(struct store *s);

#endif
