/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/sync.h - anti-entropy: digests on probes; when one differs for over a second, compare and send what lacks.
 *
 * Three levels: the root on probes; sums of 256 buckets, of nodes by the first byte of their id and of shared records by their
 * key; lists of the buckets that differ (cards, writers' watermarks and sums; keys). Then deltas and cards, and the same from
 * the other side. Where there is little to list, the sums of nodes are left out. Every step is idempotent; a lost one is
 * repeated by the next comparison.
 */
#ifndef GOSSIP_SYNC_H
#define GOSSIP_SYNC_H

#include "gossip/core.h"

#define SYNC_DIFFERS_MS 1000 /* a mismatch must last this long: under churn there always is one */
#define SYNC_FRESH_MS 2000   /* what a member's digest was before says nothing about now */
#define SYNC_CHUNKS_MAX 16   /* stream messages that answer one sync */

/* Its digest was heard lately. */
bool sync_is_fresh(const struct gossip_core *c, const struct member *m);
void sync_on_digest(struct gossip_core *c, struct member *from, const struct wire_msg *msg);
/* The digest in its message is ours, in all parts. */
bool sync_is_same(const struct gossip_core *c, const struct wire_msg *msg);
/* It answered that its digest is the one that we have. */
void sync_on_same(struct gossip_core *c, struct member *from);
/* All that our digest says, in one word; never 0. */
uint64_t sync_word(const struct gossip_core *c);
/* Its last digests were those that we have now: of cards and stored records there is nothing to tell it. */
bool sync_has_all(const struct gossip_core *c, const struct member *m);
/* Begin a comparison now. */
void sync_start(struct gossip_core *c, struct member *to);
void sync_on_sync(struct gossip_core *c, struct member *from, const struct wire_msg *msg);
void sync_tick(struct gossip_core *c);

/* sync_delta.c */

/* Send what it lacks of what its page lists, and note how much that is. */
void sync_answer(struct gossip_core *c, struct member *from, const struct wire_msg *msg);
/* A message of a comparison with it came; its parts add up. */
void sync_lag_begin(struct gossip_core *c, struct member *m);
void sync_on_delta(struct gossip_core *c, struct member *from, const struct wire_msg *msg);

/* A run of stream messages to one peer. */
struct sync_run {
	struct gossip_core *c;
	struct member *to;
	struct wire_out o;
	unsigned int messages;
	bool is_open, is_over; /* over: enough for one answer */
	enum wire_key list;    /* the list that is open, 0 = none */
};
void sync_run_begin(struct sync_run *run, struct gossip_core *c, struct member *to);
/* Make sure that a delta message with this list is open. false: the run is over. */
bool sync_run_list(struct sync_run *run, enum wire_key list);
void sync_run_flush(struct sync_run *run);
bool sync_run_record(struct sync_run *run, const struct record *r);

/* sync_shared.c */
void shared_bucket_sums(const struct gossip_core *c, uint8_t ret[WIRE_BUCKETS * WIRE_BUCKET_BYTES]);
void shared_on_buckets(struct gossip_core *c, struct member *from, const uint8_t *buckets);
void shared_on_keys(struct gossip_core *c, struct member *from, const struct wire_msg *msg);

#endif
