/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/core.h - the inside of the gossip core, shared by its parts only; the public face is gossip/gossip.h.
 *
 *   core.c          life cycle, input, time, looking      member.c   who is there: cards, states, conflicts
 *   core_queue.c    packets and events that wait           suspect.c  probes, votes, suspicion
 *   record_table.c  records in force, digests              dissem.c   spreading news
 *   record_take.c   versions that arrive                   sync.c, sync_delta.c, sync_shared.c  anti-entropy
 *   record_origin.c writers: counting, heads               record_own.c  what this node writes
 *   record_shared.c removals                               twin.c  two machines with one key
 *                                                          reach.c, reach_row.c, reach_find.c  who hears whom
 *                                                          region*.c  other regions, by summaries
 *
 * Memory    members live until the core is freed, so pointers to them stay good, but for those that left or died when the
 *           table is full (member.c evict()); records may go at any time
 */
#ifndef GOSSIP_CORE_H
#define GOSSIP_CORE_H

#include <sys/queue.h>

#include <uthash.h>

#include "gossip/arena.h"
#include "gossip/gossip.h"
#include "gossip/reach.h"
#include "gossip/wire.h"

#define CORE_RECORDS_DEFAULT 65536
#define CORE_OUT_MAX 8192	       /* packets that wait to be sent */
#define CORE_OUT_BYTES_MAX (32u << 20) /* and their bytes */
#define CORE_FROZEN_MS 100	       /* a tick this late means that we did not run */
#define CORE_SEEDS_MAX 16
#define CORE_FANOUT 250 /* urgent news goes to so many at most */
/* Urgent news may take so many bytes a second (all destinations, sealed), and so many at once; beyond that it waits, newer in
 * the place of older, and packs. What else is sent has a rhythm of its own: probes and their answers. */
#define CORE_URGENT_BYTES_S 4000000
#define CORE_URGENT_BURST_BYTES 1000000
#define CORE_HEAD_MS 1000 /* a statement of what we have is renewed at most this often */
#define CORE_TOMBSTONES_MAX                                                                        \
	128 /* of our own, and of shared records; over it all but the newest half of this are collected */
#define CORE_SHARED_TOMBSTONES_MAX                                                                 \
	4096 /* while they can't be collected, no more deletions are begun here */

/* A sum of 128-bit hashes: order does not matter, elements can be taken out again. */
struct digest {
	uint64_t w[2];
};
static inline void digest_add(struct digest *d, const struct digest *x)
{
	d->w[0] += x->w[0];
	d->w[1] += x->w[1];
}
static inline void digest_sub(struct digest *d, const struct digest *x)
{
	d->w[0] -= x->w[0];
	d->w[1] -= x->w[1];
}
static inline bool digest_eq(const struct digest *a, const struct digest *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1];
}
void digest_bytes(const struct digest *d, uint8_t ret[16]);
void digest_from(const uint8_t b[16], struct digest *ret_digest);

/* ---- records */

struct rblob { /* one version, shared by the table and by events that wait */
	unsigned int refs;
	struct record r; /* key and value point into bytes */
	uint8_t bytes[];
};

struct origin;

#define IDENT_MAX (1 + NODE_ID_BYTES + RECORD_KEY_MAX)

struct rec { /* the version in force of one identity */
	UT_hash_handle hh;
	struct rblob *blob;
	struct origin *origin; /* NULL: shared */
	struct digest hash;
	size_t idx;	  /* in core.recs */
	uint64_t arrival; /* shared: order in which we took them */
	uint32_t touch;	  /* last restatement or comparison that named it */
	uint8_t tx_left, tx_fresh;
	bool in_news;
	bool in_urgent, urgent_all; /* waits to go to everyone, or to two */
	TAILQ_ENTRY(rec) of_origin, news, urgent;
	uint8_t ident_len;
	uint8_t ident[]; /* kind, writer (zero in shared), key */
};
TAILQ_HEAD(rec_list, rec);

/* A writer of own records. Invariants: verified <= watermark; top >= every held seq of `generation`; is_whole: nothing
 * of an older generation is held. */
struct origin {
	UT_hash_handle hh;
	struct node_id id;
	uint64_t generation; /* the highest seen */
	uint64_t watermark;  /* contiguous to here, as far as peers told */
	uint64_t verified;   /* contiguous to here, by our own count or proven by a head */
	uint64_t top;
	uint64_t gc;	  /* tombstones up to here are gone: proven by a head */
	uint64_t gc_told; /* the same, as the peers said whose deltas we counted; >= gc */
	bool is_whole;	  /* a head proved that we hold all of `generation` */
	bool is_closed;	  /* nothing older than `generation` is taken any more, whole or not */
	bool is_disputed; /* signed two contents with one version of this generation, or lived it twice */
	uint8_t unmet; /* so often we were told of all that its head speaks of, and it was not met */
	/* The generation before, and how far it was counted: what was deleted there stays so until the new one is whole. */
	uint64_t former, former_watermark;
	bool is_removed; /* only ever true for ourselves: not part of the digest, not in force */
	struct rec *head;
	struct digest sum;  /* all stored-scope records held */
	struct digest gsum; /* those of `generation`, without the head */
	size_t stored_count;
	uint64_t share; /* of core.standing */
	struct rec_list recs;
	size_t rec_count;
	uint32_t mark; /* named by the comparison under way */
	uint32_t reset_touch;
	struct node_id reset_from;
	uint64_t reset_at;
	bool is_changed; /* since the caller was told */
	TAILQ_ENTRY(origin) changed;
};
TAILQ_HEAD(origin_list, origin);

/* ---- members */

#define VOTES_MAX 3

/* What the last comparison with a peer found: for people. */
struct sync_lag {
	uint64_t at_ms;
	size_t writers, records; /* of ours that it lacked: own records, and whose */
	size_t shared;		 /* shared ones */
	size_t ahead;		 /* writers of whom it had more */
};

struct member {
	UT_hash_handle hh;
	struct node_id id;
	struct wire_card card;
	uint64_t card_hash; /* its share of members_digest */
	bool has_card;	    /* card.sig is good: it may be passed on */
	bool is_elsewhere;  /* it spoke from another address than its card has */
	bool is_self;
	enum gossip_state state;
	uint64_t since_ms, heard_ms, data_heard_ms;
	uint32_t rtt_us, rtt_var_us;
	/* boot nonces: two that live at once are two nodes with one key */
	uint64_t nonce, nonce_before, nonce_since_ms, conflict_ms;
	unsigned int nonce_strikes;
	uint64_t hold_nonce, hold_ms; /* of who says from elsewhere that it is this one (twin.h) */
	/* suspicion */
	struct node_id voter[VOTES_MAX];
	unsigned int vote_count;
	bool my_vote;
	unsigned int my_vote_sends;
	uint64_t my_vote_next_ms;
	uint64_t vote_ms; /* of the last vote */
	uint64_t suspect_until_ms;
	uint64_t asked_ms; /* first unanswered probe for somebody else */
	/* The first and the last probe that it did not answer, while we heard nothing else of it either; 0: heard since. */
	uint64_t try_ms, try_last_ms;
	uint64_t
		unheard_ms; /* first probe since it was heard last, of the time that we ran; 0: none */
	/* convergence */
	uint64_t differs_since_ms, members_differ_since_ms, digest_ms, sync_ms;
	bool is_sums_sent; /* and not answered yet */
	uint64_t same;	   /* sync_has_all() */
	/* When it last had our very shared records: what we had taken, and the highest counter. */
	uint64_t has_arrival, has_top, has_life;
	struct sync_lag lag;
	uint32_t mark;	     /* named by the comparison under way */
	uint8_t told;	     /* how often it was sent our present card */
	bool has_other_mode; /* of regions: what it has is not comparable */
	uint64_t
		regions_differ_ms; /* what it knows of other regions is not what we know, since then */
	struct reach_path reach;
	/* news */
	uint8_t tx_left, tx_fresh;
	bool in_news, in_urgent, urgent_all;
	TAILQ_ENTRY(member) news, urgent;
};
TAILQ_HEAD(member_list, member);

#define PROBES_MAX 128
#define PROBE_HELPERS 3

enum probe_role {
	PROBE_FREE,
	PROBE_OWN,
	PROBE_ASKED,
	PROBE_CHALLENGE,
	PROBE_JOIN,
	PROBE_RETRY,
	PROBE_LATE
};

struct probe {
	enum probe_role role;
	struct member *m; /* NULL: challenge, join */
	struct gossip_addr addr;
	uint64_t cookie, data_cookie;
	uint64_t said; /* the digest in it, as sync_word(); 0: not sent yet, or they differed */
	uint64_t start_ms, sent_ms, next_ms;
	unsigned int stage; /* 0: first probe is out; 1..: rounds of the burst done */
	bool is_sent, is_data_acked, is_pinged, is_helped;
	struct member *helper[PROBE_HELPERS];
	struct member *requester; /* asked */
	uint64_t requester_cookie;
};

/* ---- queues */

struct out {
	TAILQ_ENTRY(out) link;
	enum gossip_via via;
	size_t to_count, len;
	struct gossip_addr *to;
	uint8_t *buf;
};
TAILQ_HEAD(out_list, out);

struct region_value;
struct queued_event {
	TAILQ_ENTRY(queued_event) link;
	struct gossip_event e;
	struct rblob *blob;
	struct region_value *value;
	struct gossip_region *region;
};
TAILQ_HEAD(event_list, queued_event);

struct gossip_core {
	struct gossip_config cfg;
	struct member *self;
	uint64_t rng;
	uint64_t now_ms;
	struct gossip_counters n;
	bool has_left, has_begun; /* begun: join was called, the first head may go out */

	/* members */
	struct member *members;
	struct member **ring; /* by id, ourselves included */
	size_t ring_count, ring_cap;
	size_t state_count[GOSSIP_LEFT + 1];
	uint64_t members_digest;
	struct member_list member_news, member_urgent;

	/* failure detection */
	struct probe probe[PROBES_MAX];
	size_t probe_top; /* from here on all are free */
	uint64_t probe_next_ms, scan_next_ms, retry_next_ms;
	size_t retry_at[2]; /* in the ring: which of the dead, of the headless, is tried next */
	unsigned int probe_count;
	unsigned int health; /* Lifeguard's: 0 is well */
	uint64_t any_heard_ms;
	uint64_t stood_ms; /* how long we stood still, all gaps together */
	uint64_t refuted_ms;
	struct reach_state reach;
	size_t death_next; /* in the ring: whose death is told again next */
	struct gossip_addr seed[CORE_SEEDS_MAX];
	size_t seed_count;
	bool is_joined;
	uint64_t join_next_ms;
	uint32_t join_wait_ms;
	struct member *speaker; /* whose message is being taken */

	/* another machine with our key (twin.h) */
	bool is_taken;	 /* somebody answered us as who we are */
	bool is_yielded; /* it keeps the id: we are still */
	bool is_yielded_say;
	struct gossip_addr twin_addr;
	uint64_t twin_cookie, twin_next_ms, twin_heard_ms;

	/* records */
	struct rec *table;
	struct rec **recs;
	size_t rec_count, rec_cap;
	size_t removals; /* records of that kind */
	struct origin *origins, *own;
	struct origin_list origins_changed;
	struct digest root;
	struct digest bucket[WIRE_BUCKETS];
	uint64_t
		standing; /* of shared records, and of the lives of writers of own ones: changes seldom */
	uint64_t seq, volatile_seq, shared_top;
	uint64_t
		shared_marks; /* sum over shared records: any that comes or is replaced adds to it */
	uint64_t arrivals;    /* shared records taken */
	uint64_t
		strand_ms; /* when to write tombstones again that nobody else takes, 0 = there are none */
	uint64_t floor; /* of shared tombstones; floor_ms: when to look again */
	uint64_t floor_ms;
	size_t shared_tombstones;
	uint32_t touch;
	size_t own_tombstones;
	bool is_head_stale;
	uint64_t head_ms;
	uint64_t generation_wanted; /* announced to the caller, not yet set */
	uint64_t generation_ms, generation_wait_ms;
	struct rec_list news, urgent;
	uint64_t sync_next_ms;
	int64_t urgent_bytes; /* may still be spent; below 0: overdrawn by one packet */
	uint64_t urgent_ms;   /* when it was filled last */

	struct {
		uint32_t lo[WIRE_VERSION_MAX + 1],
			hi[WIRE_VERSION_MAX + 1]; /* live members by what they speak */
		uint8_t spoken, asked; /* asked: of the message that is being taken, 0 = none */
		uint32_t knocks;
	} version;		 /* version.h */
	struct regions *regions; /* region.h; NULL: everyone knows everyone */
	struct gossip_mismatch mismatch[GOSSIP_MISMATCHES_MAX];
	size_t mismatch_count;

	struct out_list out;
	size_t out_count, out_bytes;
	struct out *out_current;
	struct event_list events;
	struct queued_event *event_current;
	uint8_t dgram[GOSSIP_DGRAM_MAX];
	uint8_t *stream; /* GOSSIP_STREAM_MAX bytes, made when first needed */
};

/* core.c */
uint64_t core_random(struct gossip_core *c);
size_t core_random_below(struct gossip_core *c, size_t n);
void core_fnv(uint64_t *h, const void *bytes, size_t len);
/* Someone speaks as us with a higher generation, or with ours and what we never wrote. */
void core_want_generation(struct gossip_core *c, uint64_t heard);

/* core_queue.c: copies; a full queue drops and counts. */
void queue_packet(struct gossip_core *c, enum gossip_via via, const struct gossip_addr *to,
		  size_t to_count, const uint8_t *buf, size_t len);
void queue_member_event(struct gossip_core *c, enum gossip_event_kind kind, const struct member *m,
			enum gossip_state old_state, bool is_new);
void queue_record_event(struct gossip_core *c, enum gossip_event_kind kind, struct rblob *blob);
void queue_summary_event(struct gossip_core *c, const struct gossip_summary *s,
			 struct region_value *value);
void queue_region_event(struct gossip_core *c, const struct gossip_region *r, bool is_new);
void queue_generation_event(struct gossip_core *c, uint64_t generation);
void queue_drop_all(struct gossip_core *c); /* packets */
void queue_free_all(struct gossip_core *c);
void rblob_unref(struct rblob *b);

/* At the start of whatever the caller may call: its memory, and the tap. */
static inline void core_told(const struct gossip_core *c, const struct gossip_input *in)
{
	arena_enter(c->cfg.arena);
	if (c->cfg.tap.input)
		c->cfg.tap.input(c->cfg.tap.arg, c, in);
}

/* What a core is made of (uthash's tables too) comes from its arena. */
#define malloc(bytes) arena_malloc(bytes)
#define calloc(n, bytes) arena_calloc(n, bytes)
#define realloc(p, bytes) arena_realloc(p, bytes)
#define free(p) arena_free(p)

/* core_queue.c: who is heard and not understood, and who is again. */
void core_mismatch(struct gossip_core *c, const struct gossip_mismatch *x);
void core_match(struct gossip_core *c, const struct node_id *id);

#endif
