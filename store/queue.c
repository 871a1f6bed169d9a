/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The queue in front of the database: one waiting write per identity, one batch at a time on libuv's pool. */
#include "store/store_priv.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define BATCH_MAX                                                                                  \
	4096 /* writes in one transaction: some 10 ms of work, so that closing and blocking calls need not wait */

enum op_what { OP_RECORD, OP_MEMBER, OP_GENERATION, OP_ORIGIN };

struct store_waiter {
	STAILQ_ENTRY(store_waiter) link;
	store_cb cb;
	void *arg;
};

/* What is to happen to one identity: maybe a delete, then maybe a write. */
struct store_op {
	TAILQ_ENTRY(store_op) link;
	UT_hash_handle hh;
	struct ident {
		uint8_t what, kind;
		uint8_t owner[NODE_ID_BYTES]; /* zeros for shared kinds */
		uint8_t key[RECORD_KEY_MAX];
		uint8_t key_len;
	} ident;
	bool has_delete, has_write;
	struct record record; /* key in ident, value in `value` */
	uint8_t *value;
	struct store_member member;
	struct store_origin origin;
	uint64_t generation;
	struct store_waiters waiters;
};

static void op_free(struct store_op *op)
{
	if (!op)
		return;
	assert(STAILQ_EMPTY(&op->waiters));
	free(op->value);
	free(op);
}

/* ---- what waits */

static void queue_append(struct store *s, struct store_op *op)
{
	TAILQ_INSERT_TAIL(&s->waiting, op, link);
	HASH_ADD(hh, s->by_ident, ident, sizeof(op->ident), op);
	s->waiting_count++;
}

static void queue_remove(struct store *s, struct store_op *op)
{
	TAILQ_REMOVE(&s->waiting, op, link);
	HASH_DEL(s->by_ident, op);
	s->waiting_count--;
}

static bool is_newer(const struct store_op *a, const struct store_op *b)
{
	switch ((enum op_what)a->ident.what) {
	case OP_RECORD:
		return record_cmp_version(&a->record, &b->record) > 0;
	case OP_MEMBER:
	case OP_ORIGIN:
		return true; /* they have no version: the later call counts */
	case OP_GENERATION:
		return a->generation > b->generation;
	}
	return true;
}

static void take_write(struct store_op *to, struct store_op *from)
{
	uint8_t *value = to->value;

	to->record = from->record;
	to->record.key = to->ident.key;
	to->value = from->value;
	from->value = value;
	to->member = from->member;
	to->origin = from->origin;
	to->generation = from->generation;
	to->has_write = true;
}

/* `to` was asked for first, `later` after it; `later` is freed. */
static void merge(struct store_op *to, struct store_op *later)
{
	if (later->has_delete) {
		to->has_delete = true;
		to->has_write = false;
	}
	if (later->has_write && (!to->has_write || is_newer(later, to)))
		take_write(to, later);
	STAILQ_CONCAT(&to->waiters, &later->waiters);
	op_free(later);
}

/* ---- the batch, on the pool thread */

static int op_run(struct stmts *x, const struct store_op *op)
{
	int r = 0;

	switch ((enum op_what)op->ident.what) {
	case OP_RECORD:
		if (op->has_delete)
			r = stmt_del_record(x, &op->record);
		if (r == 0 && op->has_write)
			r = stmt_put_record(x, &op->record);
		break;
	case OP_MEMBER:
		r = stmt_put_member(x, &op->member);
		break;
	case OP_ORIGIN:
		r = op->has_write ? stmt_put_origin(x, &op->origin)
				  : stmt_del_origin(x, &op->origin.id);
		break;
	case OP_GENERATION:
		r = stmt_raise_setting(x, "generation", op->generation);
		break;
	}
	return r;
}

static void work_cb(uv_work_t *w)
{
	struct store *s = w->data;
	struct store_op *op;
	int r;

	uv_mutex_lock(&s->mutex);
	r = store_reopen_db(s, s->batch_text, sizeof(s->batch_text));
	if (r == 0)
		r = store_rescue_db(s, s->batch_text, sizeof(s->batch_text));
	if (r < 0)
		goto out;
	r = stmt_begin(&s->stmts);
	TAILQ_FOREACH(op, &s->batch, link)
	if (r == 0)
		r = op_run(&s->stmts, op);
	if (r == 0)
		r = stmt_commit(&s->stmts);
	if (r < 0) {
		snprintf(s->batch_text, sizeof(s->batch_text), "%s", sqlite3_errmsg(s->db));
		stmt_rollback(&s->stmts);
	}
out:
	s->batch_result = r;
	uv_mutex_unlock(&s->mutex);
}

/* ---- turns of the queue, on the loop's thread */

static void kick(struct store *s);

static void call_waiters(struct store *s, struct store_waiters *waiters, int status)
{
	struct store_waiter *w;

	while ((w = STAILQ_FIRST(waiters))) {
		STAILQ_REMOVE_HEAD(waiters, link);
		s->waiter_count--;
		w->cb(status, w->arg);
		free(w);
	}
}

/* Back to the front of the queue, in their order; what came later for the same identity joins them. */
static void requeue_batch(struct store *s)
{
	struct store_op *op;

	while ((op = TAILQ_LAST(&s->batch, store_ops))) {
		struct store_op *later;

		TAILQ_REMOVE(&s->batch, op, link);
		HASH_FIND(hh, s->by_ident, &op->ident, sizeof(op->ident), later);
		if (later) {
			queue_remove(s, later);
			merge(op, later);
		}
		TAILQ_INSERT_HEAD(&s->waiting, op, link);
		HASH_ADD(hh, s->by_ident, ident, sizeof(op->ident), op);
		s->waiting_count++;
	}
}

static void drop_all(struct store *s, struct store_waiters *waiters)
{
	struct store_op *op;

	while ((op = TAILQ_FIRST(&s->waiting))) {
		queue_remove(s, op);
		STAILQ_CONCAT(waiters, &op->waiters);
		op_free(op);
	}
}

static void after_cb(uv_work_t *w, int status)
{
	struct store *s = w->data;
	struct store_waiters waiters = STAILQ_HEAD_INITIALIZER(waiters);
	struct store_op *op;
	int r = status < 0 ? status : s->batch_result;

	TAILQ_FOREACH(op, &s->batch, link)
	STAILQ_CONCAT(&waiters, &op->waiters);
	if (r == 0) {
		while ((op = TAILQ_FIRST(&s->batch))) {
			TAILQ_REMOVE(&s->batch, op, link);
			op_free(op);
		}
		s->status.commits++;
		s->status.is_broken = false;
	} else {
		requeue_batch(s);
		s->status.is_broken = true;
		s->status.last_error = r;
		memcpy(s->status.last_text, s->batch_text, sizeof(s->status.last_text));
		if (s->is_closing)
			drop_all(s, &waiters);
	}
	s->batch_count = 0;
	s->is_working = false;
	s->status.rescues = s->rescues;
	kick(s); /* before the callbacks: they may queue more, which must not find the queue between two states */
	call_waiters(s, &waiters, r);
}

static void closed_cb(uv_handle_t *h)
{
	store_destroy(h->data);
}

static void close_work_cb(uv_work_t *w)
{
	struct store *s = w->data;

	if (s->db)
		store_close_db(s);
}

static void after_close_cb(uv_work_t *w, int status)
{
	struct store *s = w->data;

	(void)status; /* not cancelled by us; the file is closed in store_destroy() otherwise */
	uv_close((uv_handle_t *)&s->timer, closed_cb);
}

static void start_batch(struct store *s)
{
	struct store_op *op;

	uv_timer_stop(&s->timer);
	s->is_due = false;
	while (s->batch_count < BATCH_MAX && (op = TAILQ_FIRST(&s->waiting))) {
		queue_remove(s, op);
		TAILQ_INSERT_TAIL(&s->batch, op, link);
		s->batch_count++;
	}
	s->is_working = true;
	s->began_ns = uv_hrtime();
	uv_queue_work(s->uv, &s->work, work_cb, after_cb); /* fails only without a work_cb */
}

static void timer_cb(uv_timer_t *t)
{
	struct store *s = t->data;

	s->is_due = true;
	kick(s);
}

/* Start what can be started now, or arm the timer for it. */
static void kick(struct store *s)
{
	uint64_t wait_ms = s->status.is_broken	 ? STORE_RETRY_MS
			   : s->waiter_count > 0 ? 0
						 : STORE_LINGER_MS;

	if (s->is_working || s->is_closed)
		return;
	if (!TAILQ_EMPTY(&s->waiting)) {
		if (s->is_due || s->is_closing || wait_ms == 0)
			start_batch(s);
		else if (!uv_is_active((uv_handle_t *)&s->timer))
			uv_timer_start(&s->timer, timer_cb, wait_ms, 0);
	} else if (s->is_closing) {
		s->is_closed = true;
		uv_queue_work(s->uv, &s->work, close_work_cb, after_close_cb);
	}
}

int store_queue_init(struct store *s)
{
	TAILQ_INIT(&s->waiting);
	TAILQ_INIT(&s->batch);
	s->work.data = s;
	if (!s->uv)
		return 0;
	s->timer.data = s;
	return uv_timer_init(s->uv, &s->timer);
}

void store_queue_close(struct store *s)
{
	uv_timer_stop(&s->timer);
	kick(s);
}

/* ---- writes */

static struct store_op *op_new(enum op_what what)
{
	struct store_op *op = calloc(1, sizeof(*op));

	if (op) {
		op->ident.what = (uint8_t)what;
		STAILQ_INIT(&op->waiters);
	}
	return op;
}

/* Takes op over, whatever the result. */
static int submit(struct store *s, struct store_op *op, store_cb cb, void *arg)
{
	struct store_op *earlier;
	struct store_waiter *w = NULL;

	if (!op)
		return -ENOMEM;
	if (!s->uv || s->is_closing) {
		op_free(op);
		return -EINVAL;
	}
	HASH_FIND(hh, s->by_ident, &op->ident, sizeof(op->ident), earlier);
	if ((!earlier && s->waiting_count + s->batch_count >= STORE_QUEUE_MAX) ||
	    (cb && s->waiter_count >= STORE_QUEUE_MAX)) {
		s->status.refused++;
		op_free(op);
		return -ENOBUFS;
	}
	if (cb) {
		w = malloc(sizeof(*w));
		if (!w) {
			op_free(op);
			return -ENOMEM;
		}
		w->cb = cb;
		w->arg = arg;
		STAILQ_INSERT_TAIL(&op->waiters, w, link);
		s->waiter_count++;
	}
	if (earlier)
		merge(earlier, op);
	else
		queue_append(s, op);
	kick(s);
	return 0;
}

static struct store_op *record_op(const struct record *r)
{
	struct store_op *op = op_new(OP_RECORD);

	if (!op)
		return NULL;
	op->ident.kind = r->kind;
	if (record_scope_of(r->kind) == RECORD_OWN)
		memcpy(op->ident.owner, r->writer.b, sizeof(op->ident.owner));
	memcpy(op->ident.key, r->key, r->key_len);
	op->ident.key_len = (uint8_t)r->key_len;
	op->record = *r;
	op->record.key = op->ident.key;
	op->record.value = NULL;
	op->record.value_len = 0;
	return op;
}

static bool is_stored(uint8_t kind)
{
	enum record_scope scope = record_scope_of(kind);

	return scope == RECORD_OWN || scope == RECORD_SHARED;
}

int store_write_record(struct store *s, const struct record *r, store_cb cb, void *arg)
{
	struct store_op *op;
	int bad;

	if (!is_stored(r->kind))
		return -EINVAL;
	bad = record_check(r);
	if (bad < 0)
		return bad;
	op = record_op(r);
	if (!op)
		return -ENOMEM;
	op->has_write = true;
	if (r->value_len > 0) {
		op->value = malloc(r->value_len);
		if (!op->value) {
			op_free(op);
			return -ENOMEM;
		}
		memcpy(op->value, r->value, r->value_len);
		op->record.value = op->value;
		op->record.value_len = r->value_len;
	}
	return submit(s, op, cb, arg);
}

int store_delete_record(struct store *s, const struct record *identity, store_cb cb, void *arg)
{
	struct store_op *op;

	if (!is_stored(identity->kind) || identity->key_len == 0 ||
	    identity->key_len > RECORD_KEY_MAX)
		return -EINVAL;
	op = record_op(identity);
	if (op)
		op->has_delete = true;
	return submit(s, op, cb, arg);
}

int store_write_member(struct store *s, const struct store_member *m, store_cb cb, void *arg)
{
	struct store_op *op;

	if (m->generation > RECORD_SEQ_MAX)
		return -EINVAL;
	op = op_new(OP_MEMBER);
	if (op) {
		memcpy(op->ident.owner, m->id.b, sizeof(op->ident.owner));
		op->member = *m;
		op->has_write = true;
	}
	return submit(s, op, cb, arg);
}

int store_write_generation(struct store *s, uint64_t generation, store_cb cb, void *arg)
{
	struct store_op *op;

	if (generation > RECORD_SEQ_MAX)
		return -EINVAL;
	op = op_new(OP_GENERATION);
	if (op) {
		op->generation = generation;
		op->has_write = true;
	}
	return submit(s, op, cb, arg);
}

static struct store_op *origin_op(const struct node_id *id)
{
	struct store_op *op = op_new(OP_ORIGIN);

	if (op) {
		memcpy(op->ident.owner, id->b, sizeof(op->ident.owner));
		op->origin.id = *id;
	}
	return op;
}

int store_write_origin(struct store *s, const struct store_origin *o)
{
	struct store_op *op;

	if (o->generation > RECORD_SEQ_MAX || o->watermark > RECORD_SEQ_MAX)
		return -EINVAL;
	op = origin_op(&o->id);
	if (op) {
		op->origin = *o;
		op->has_write = true;
	}
	return submit(s, op, NULL, NULL);
}

int store_delete_origin(struct store *s, const struct node_id *id)
{
	struct store_op *op = origin_op(id);

	if (op)
		op->has_delete = true;
	return submit(s, op, NULL, NULL);
}
