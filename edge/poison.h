/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/poison.h - which record was being applied when the process died, and the records that are not applied any more.
 *
 * One file of fixed size in the state directory, mapped shared: plain stores into it outlive the process, whatever ended it.
 * Before a record is looked at it stands there as the current one; records that changed something stay in a list until
 * a computation with them has come to its end. At the next start, the state in which the last process died tells whom
 * to suspect:
 *   one        the current record: strikes + 2 if our signal handler saw the crash, + 1 if nobody did (kill -9, no memory)
 *   batch      those of the list that have a strike, else all of them; of too many to be listed, nobody in particular
 * Two strikes put a lone suspect into quarantine. Several suspects, or nobody in particular, are tried first, in child
 * processes that may die of them (edge/agent_poison.c): only who crashes one is quarantined. If none does, the suspects get
 * another chance, and after that they are all quarantined. A computation that ends well takes their strikes from all that were
 * applied before it.
 *
 * Identity   (kind, writer of own kinds, key); what is quarantined is one content of it, so a writer that restates the
 *            same under a new number is not tried again, and any other content is
 * Former     the value that was in force goes along, so that it still is after a restart
 * Durable    against the end of the process; what a start decides is written to disk too
 * Errors     without a file all works, and is forgotten with the process
 * Limits     POISON_HELD_MAX in quarantine: unreadable ones go first, then the oldest
 * Threads    one; a crash of another thread is not ours
 */
#ifndef EDGE_POISON_H
#define EDGE_POISON_H

#include "edge/model.h"
#include "gossip/err.h"
#include "gossip/record.h"

#define POISON_HELD_MAX 64
#define POISON_FRESH_MAX 64
#define POISON_STRIKES 2

enum poison_cause {
	POISON_UNREADABLE, /* it can't be decoded: looked at again at every start */
	POISON_DEATH,	   /* processes died of it */
};
struct poison_entry {
	uint8_t kind, cause, strikes, signal; /* signal: that ended the last one, 0 = not known */
	uint8_t is_tried, has_former;
	uint8_t is_seen; /* applied since the start */
	uint8_t is_past; /* of those in quarantine: a newer one was applied, 1 in this life, 2 before it */
	uint16_t key_len, value_len, former_len;
	struct node_id writer;
	uint64_t generation, seq, content, unix_s;
	uint8_t key[RECORD_KEY_MAX];
	uint8_t value[RECORD_VALUE_MAX]; /* nobody else may have got it */
	uint8_t former[RECORD_VALUE_MAX];
};

/* What has to be done about the last death, once all records are loaded. */
enum poison_trial {
	POISON_NO_TRIAL,
	POISON_TRY_SUSPECTS, /* poison_suspect_at() */
	POISON_TRY_ALL,
};

struct poison;

/* dir NULL: memory only. On failure (e says why) *ret_poison is such a one too; -ENOMEM: there is none. */
int poison_open(const char *dir, struct poison **ret_poison, struct err *e);
void poison_close(struct poison *p); /* in good order: nobody is suspected of that */
/* From now on SIGSEGV and its like leave their mark before they end the process. */
void poison_catch(struct poison *p);

/* ---- applying. former NULL: what the file remembers of it, if anything. */
void poison_begin(struct poison *p, const struct record *r, const uint8_t *former,
		  size_t former_len);
void poison_end(struct poison *p, bool has_changed);
/* View, routes, plan, maps. has_ended: all that is new went through; else it is looked at again by the next one. */
void poison_batch_begin(struct poison *p);
void poison_batch_end(struct poison *p, bool has_ended);
/* What the next batch begins anew with (maps that were not there): any record may be to blame. */
void poison_all_new(struct poison *p);

/* ---- quarantine */
/* That of this identity, whatever its content, also one that waits for its trial; NULL = none. Valid until the next call that changes anything. */
const struct poison_entry *poison_find(const struct poison *p, const struct record *r);
/* Not to be applied: quarantined for a death with this content, or waiting for its trial. */
bool poison_is_held(const struct poison *p, const struct record *r);
/* It is held, and comes again under a newer number: shown again; former: what is in force meanwhile. */
void poison_again(struct poison *p, const struct record *r, const uint8_t *former,
		  size_t former_len);
void poison_hold(struct poison *p, const struct record *r, enum poison_cause cause,
		 const uint8_t *former, size_t former_len);
void poison_drop(struct poison *p, const struct record *r);
/* r was applied, or takes the record away: an older one in quarantine is shown no longer. It is kept until a start has found
 * a newer one: the store may not have got that yet. */
void poison_outdated(struct poison *p, const struct record *r);
size_t poison_count(const struct poison *p);
const struct poison_entry *poison_at(const struct poison *p, size_t i); /* i < count */

/* ---- trial */
enum poison_trial poison_trial(const struct poison *p);
size_t poison_suspect_count(const struct poison *p);
const struct poison_entry *poison_suspect_at(const struct poison *p, size_t i);
/* Guilty: with what is said of it there. Index as above; those behind it move up. */
void poison_convict(struct poison *p, size_t suspect);
/* The trial is over. has_found: somebody was convicted, so the others are free; else they keep a strike, or, if they were
 * tried before, go into quarantine. */
void poison_trial_end(struct poison *p, bool has_found);

/* ---- edge/poison_hook.c: does nothing. A test program has another one of that name, which crashes. */
enum poison_step {
	POISON_DECODE,
	POISON_VIEW,
	POISON_ROUTE,
	POISON_PLAN,
	POISON_MAP,
	POISON_STEPS
};
void poison_hook(enum poison_step step, const struct model_service *service, size_t count);

#endif
