/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* store/store.h - records, members and this node's generation, durable in SQLite (WAL).
 *
 * Two halves: store_open, the loads, store_set_generation and store_set_setting block (start-up only, and said so by
 * their callers). store_write_* queue work; one batch at a time runs on libuv's pool, in order, in one transaction.
 *
 * Errors    0 | -EBUSY another process has it | -ENOSPC | -EBADMSG corrupt (the file is set aside as NAME.bad-N and a
 *           fresh one begun, ret_was_reset says so) | -EPROTONOSUPPORT newer schema, or another program's file |
 *           -EACCES | -EROFS | -ENOBUFS the queue is full | -EINVAL | -EIO
 * Durable   everything is committed with synchronous=FULL: what was answered with 0 survives a loss of power. A write
 *           without a callback may wait STORE_LINGER_MS for company; one with a callback does not.
 * Versions  a record never replaces a newer version of itself, in the queue or on disk; the newer one that stood in its
 *           way answers for it. A delete takes whatever version is there, and writes after it start anew.
 * Broken    a batch that can't be committed is kept, its callbacks get the error, and it is tried again every
 *           STORE_RETRY_MS with what came since. What does not fit the queue meanwhile is refused and counted.
 *           A file found corrupt while running is set aside at the next start, not before. On a read-only or full
 *           disk store_open still succeeds if the file can be read: loads work, is_broken is set from the start,
 *           writes wait as above, and blocking writes return the error.
 * Deleted   an edge.db that is deleted, or replaced by another file, while it is open is written anew from what is open, before
 *           the next batch; what was put in its place is set aside.
 * Memory    queued records are copied; at most STORE_QUEUE_MAX wait, a newer version replaces the one that waits
 * Threads   the loop's thread; the pool thread touches only the batch it was given. Blocking calls wait for a batch
 *           that is being written.
 * Limits    one writer: an exclusive lock on DIR/lock is held from open to close
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <uv.h>

#include "gossip/err.h"
#include "gossip/record.h"

#define STORE_QUEUE_MAX 65536 /* writes, and callbacks: 1 KiB each at most */
#define STORE_LINGER_MS 50
#define STORE_RETRY_MS 1000
#define STORE_BAD_MAX 9 /* corrupt files kept; the last of them is overwritten by the next */

/* What is kept of a member; text and numbers only, gossip's struct is not known here. */
struct store_member {
	struct node_id id;
	uint8_t pub[NODE_PUB_BYTES];
	char name[32];
	char region[32];
	uint8_t ip[16];
	uint16_t port;
	bool has_forwarder;
	uint8_t state; /* enum gossip_state, as a number */
	uint64_t generation;
};

/* How far the own records of a writer are known (struct gossip_origin). */
struct store_origin {
	struct node_id id;
	uint64_t generation, watermark, verified, gc, gc_told, former, former_watermark;
	uint8_t flags; /* STORE_ORIGIN_* */
	uint8_t sum[16];
};
#define STORE_ORIGIN_WHOLE 1u
#define STORE_ORIGIN_CLOSED 2u
#define STORE_ORIGIN_DISPUTED 4u

struct store;

/* Open DIR/edge.db under DIR/lock. uv may be NULL for tools and tests that only use the blocking half. */
int store_open(const char *dir, uv_loop_t *uv, struct store **ret_store, bool *ret_was_reset,
	       struct err *e);

/* Blocking. A load callback's non-zero result ends the load and is returned; it may queue writes, but not call into
 * this half. Rows that can't be right are skipped and counted; signatures are the caller's to verify. */
int store_load_records(struct store *s, int (*cb)(const struct record *r, void *arg), void *arg);
int store_load_members(struct store *s, int (*cb)(const struct store_member *m, void *arg),
		       void *arg);
int store_load_origins(struct store *s, int (*cb)(const struct store_origin *o, void *arg),
		       void *arg);
int store_get_generation(struct store *s, uint64_t *ret_generation); /* 0 if never set */
int store_set_generation(struct store *s, uint64_t generation);	     /* never lowers */
int store_get_setting(struct store *s, const char *name, uint64_t *ret_value, uint64_t def);
int store_set_setting(struct store *s, const char *name, uint64_t value);

/* Queued. `cb` may be NULL; it runs on the loop's thread with 0 or the error of the commit. */
typedef void (*store_cb)(int status, void *arg);
/* Records of volatile kinds are refused (-EINVAL), malformed ones too (as record_check()). Tombstones are kept. */
int store_write_record(struct store *s, const struct record *r, store_cb cb, void *arg);
int store_delete_record(struct store *s, const struct record *identity, store_cb cb, void *arg);
int store_write_member(struct store *s, const struct store_member *m, store_cb cb, void *arg);
/* Later calls for one writer replace the one that waits; in one transaction with the records queued before, unless more
 * wait than fit one. Deleting takes whatever is there. */
int store_write_origin(struct store *s, const struct store_origin *o);
int store_delete_origin(struct store *s, const struct node_id *id);
/* Generation, off the loop: for GOSSIP_EV_GENERATION while running. Never lowers. */
int store_write_generation(struct store *s, uint64_t generation, store_cb cb, void *arg);

struct store_status {
	bool is_broken;	     /* last commit failed: running from memory */
	int last_error;	     /* negative errno */
	char last_text[160]; /* of last_error; after a reset, where the bad file went */
	size_t queued;	     /* writes waiting or being written */
	uint64_t commits;
	uint64_t refused; /* writes that found the queue full */
	size_t bad_rows;  /* skipped by the loads */
	uint32_t rescues; /* edge.db was deleted or replaced under us, and written anew */
	uint64_t busy_ms; /* a batch is being written for so long */
};
void store_get_status(const struct store *s, struct store_status *ret_status);

/* Asynchronous: commits what waits (one try; with a broken disk the callbacks get the error), closes, then `cb`. With uv == NULL it blocks and `cb` may be NULL. */
void store_close(struct store *s, void (*cb)(void *arg), void *arg);

#endif
