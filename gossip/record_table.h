/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/record_table.h - records in force, their writers' watermarks and generations, digests, removals.
 *
 * A head is a record in which a writer states, signed, the sum of all it has up to that sequence. When what we hold of
 * its generation adds up to the same sum, we are whole: the watermark rises, collected tombstones go, and what the older
 * generation had and the new one did not restate is dropped. Nothing is ever dropped on a relayer's word alone.
 */
#ifndef GOSSIP_RECORD_TABLE_H
#define GOSSIP_RECORD_TABLE_H

#include "gossip/core.h"

enum table_source {
	TABLE_LOCAL,
	TABLE_LOADED,
	TABLE_HEARD,  /* as news */
	TABLE_SYNCED, /* by comparing: others learn it the same way */
};

/* A version arrived. 1 it came into force | 0 known or older | -EBADMSG, -ENOSPC, -EPERM refused (counted).
 * `touch` != 0 marks the record of that identity, if there is one that is no newer. r->writer must be set. */
int table_offer(struct gossip_core *c, const struct record *r, enum table_source source,
		uint32_t touch);
struct rec *table_find(const struct gossip_core *c, const struct node_id *writer, uint8_t kind,
		       const uint8_t *key, size_t key_len);
/* Take it out of force; an event says so. */
void table_drop(struct gossip_core *c, struct rec *r);
bool table_is_removed(const struct gossip_core *c, const struct node_id *id);
/* Not voided: may be shown. */
bool table_is_in_force(const struct rec *r);

/* All that was stored is loaded. A writer of whom nothing old was stored had left its former generation behind: what others
 * still hold of that must not come back here, though we can't prove yet that we are whole. */
void table_loaded(struct gossip_core *c);
struct origin *table_origin(const struct gossip_core *c, const struct node_id *id);
int table_add_self(struct gossip_core *c);
/* With all its records. */
void table_drop_origin(struct gossip_core *c, struct origin *o);
size_t table_max(const struct gossip_core *c);
/* Put version `r` into force: `e` is the entry of its identity, or NULL. Takes nothing on failure. */
int table_put(struct gossip_core *c, const struct record *r, struct rec *e, uint32_t touch,
	      struct rec **ret_rec);
void table_free_all(struct gossip_core *c);
void table_check(const struct gossip_core *c);

static inline bool rec_is_stored(const struct rec *r)
{
	return record_scope_of(r->blob->r.kind) != RECORD_VOLATILE;
}

/* Part of what its writer's head sums up. */
static inline bool rec_is_in_gsum(const struct rec *r)
{
	return r->origin && rec_is_stored(r) && r->blob->r.kind != RECORD_KIND_HEAD &&
	       r->blob->r.generation == r->origin->generation;
}

/* record_shared.c */

/* A shared record came into force; `e` may go. */
void shared_note(struct gossip_core *c, struct rec *e, enum table_source source);
/* A tombstone that was collected, and nothing that it could delete. */
bool shared_is_collected(const struct gossip_core *c, const struct record *r, const struct rec *e,
			 enum table_source source);
/* Kind and key fit each other. */
bool shared_is_sane(const struct record *r);
/* It has the very shared records that we have. */
void shared_confirm(struct gossip_core *c, struct member *m);
void shared_tick(struct gossip_core *c);
/* Write the same tombstone again, under a new counter. */
int own_write_again(struct gossip_core *c, const struct record *r);

struct floor {
	uint64_t to;
	const uint8_t *list; /* 4 bytes of the hash of each; in the record's value */
	size_t list_len;
};
/* false: it is none, or would be no lower than the counter that it came with. */
bool floor_decode(const struct record *r, struct floor *ret_floor);

/* record_origin.c */

/* The latest life of a node that we know of: generation of its head, or its card. */
uint64_t origin_life(const struct gossip_core *c, const struct node_id *id);
/* Its part of core.standing may have changed. */
void origin_standing(struct gossip_core *c, struct origin *o);
/* A record of a generation not seen before. */
void origin_raise(struct origin *o, uint64_t generation);
/* `r` was taken: count it if it is the next. */
void origin_advance(struct origin *o, const struct record *r);
/* What the caller stored of it is not true any more. */
void origin_changed(struct gossip_core *c, struct origin *o);
bool origin_next_event(struct gossip_core *c, struct gossip_event *ret_event);
/* Look whether the head is fulfilled now. */
void table_settle(struct gossip_core *c, struct origin *o);
/* A peer's delta brought us up to `to`; it had let tombstones go up to `gc`. */
void table_count(struct gossip_core *c, struct origin *o, uint64_t to, uint64_t gc);
/* A restatement ended: count it if it named all that we hold; else drop what it did not name, if the head proves it
 * whole. */
void table_end_reset(struct gossip_core *c, struct origin *o, uint64_t gc);
unsigned int table_bucket_of(uint8_t kind, const uint8_t *key, size_t key_len);

/* record_own.c: what this node writes */
int own_write(struct gossip_core *c, uint8_t kind, const uint8_t *key, size_t key_len,
	      const uint8_t *value, size_t value_len, bool is_tombstone, bool is_urgent);
void own_restate(struct gossip_core *c, uint64_t generation);
/* The caller has restated what it has: publish the first head. */
void own_begin(struct gossip_core *c);
void own_tick(struct gossip_core *c);
uint64_t own_deadline(const struct gossip_core *c);

#define HEAD_KEY "head"
#define HEAD_KEY_LEN 4

struct head {
	uint64_t gc;
	struct digest sum;
};
int head_decode(const struct record *r, struct head *ret_head);

#endif
