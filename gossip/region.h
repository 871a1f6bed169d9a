/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/region.h - between regions go summaries (docs/adr/0014): the inside of the regions mode.
 *
 * region.c        the table of regions, versions, values, looking
 * region_word.c   states and views: what speakers say
 * region_slot.c   other regions' lowest nodes: cards, whose word counts, what is dead
 * region_talk.c   messages between regions, and what they bring
 * region_spread.c values in chunks, asked for and passed on; lists compared within a region
 * region_tick.c   when what is due; shared records on their way to other regions
 *
 * Speakers  the three lowest live ids of a region; they alone ask other regions. The two lowest send values.
 * State     a signed record of kind REGION_KIND, key "state", by each speaker: who is down in its region, which are the lowest.
 *           It goes by the lowest speaker that we believe alive.
 * View      the same kind, key "view", within the region: which regions this speaker hears, and which of their speakers. All of
 *           a region go by the views of their speakers, so that they come to the same.
 * Memory    all of it in core.regions; NULL is the flat mode
 */
#ifndef GOSSIP_REGION_H
#define GOSSIP_REGION_H

#include "gossip/core.h"

#define REGION_KIND 133
#define REGION_KEY_STATE "state"
#define REGION_KEY_VIEW "view"
#define REGION_SLOTS 4
#define REGION_SPEAKERS GOSSIP_SENDERS_MAX

/* ---- words (region_word.c) */

struct region_word { /* key "state" */
	uint8_t down[GOSSIP_DOWN_MAX][4];
	size_t down_count;
	struct node_id lowest[REGION_SPEAKERS];
	size_t lowest_count;
	uint64_t live;
};
int region_word_encode(const struct region_word *w, uint8_t *buf, size_t cap);
int region_word_decode(const uint8_t *buf, size_t len, struct region_word *ret_word);

struct region_view { /* key "view" */
	struct region_view_of {
		uint32_t region; /* reach_region_of(name) */
		bool is_dead;
		uint8_t speaker[4]; /* number of the lowest that it hears, or 0 */
	} of[GOSSIP_REGIONS_MAX];
	size_t count;
	uint64_t turn;
};
int region_view_encode(const struct region_view *v, uint8_t *buf, size_t cap);
int region_view_decode(const uint8_t *buf, size_t len, struct region_view *ret_view);

/* ---- the table */

struct region_value {
	unsigned int refs;
	size_t len;
	uint8_t bytes[];
};

/* A node of another region that speaks for it, or may. */
struct region_slot {
	struct member *m;    /* not one of core.members; NULL: free */
	struct rblob *state; /* its last one, or NULL */
	uint64_t cookie;     /* of the probe that is out, 0 = none */
	uint64_t sent_ms, due_ms;
	uint64_t
		told_cards; /* hash of our lowest cards that it has; sent_cards: the probe that is out brings them */
	uint64_t sent_cards;
};

struct region_incoming {
	struct region_value *value; /* NULL: nothing comes */
	struct gossip_version version;
	struct node_id from;
	size_t got;
	uint64_t at_ms;
};

struct region {
	char name[GOSSIP_NAME_MAX];
	uint32_t hash; /* reach_region_of(name) */
	struct gossip_version version;
	struct region_value *value;
	struct node_id from;
	uint64_t value_ms;
	struct region_slot slot[REGION_SLOTS];
	/* what all views of our region come to */
	bool is_dead, is_told;
	uint64_t since_ms, heard_ms;
	struct node_id counts; /* whose state counts; zero: nobody's */
	uint8_t wanted[4];     /* number of whose state should, by the views */
	uint64_t told_hash;    /* of what the caller was told */
	uint64_t inside_hash;  /* of what we told our region */
	/* somebody has more */
	struct gossip_version newest;
	struct gossip_addr newest_at;
	struct node_id newest_from;
	uint64_t behind_ms, ask_ms;
	struct region_incoming in;
};

struct regions {
	struct region *r[GOSSIP_REGIONS_MAX]; /* own first, then by name */
	size_t count;
	struct gossip_version drained; /* of what the caller was told by events */
	uint64_t removal_top;
	bool is_push_due; /* our value goes out */
	uint64_t pushed_ms;
	bool is_stale;	   /* `drained` is to be summed up anew */
	bool is_dirty;	   /* look at views and states again */
	bool is_hurried;   /* our state is another: tell it now */
	bool is_foreign;   /* what is being taken comes from another region */
	int rank;	   /* among those of our region that live; -1: not one of the first three */
	uint64_t begun_ms; /* we ask others since then; or did not run until then */
	uint64_t tick_ms, said_ms, seeds_ms, compare_ms, shared_ms;
	struct region_view view; /* as we said it last */
	int64_t tell_left;
	uint64_t tell_ms;
};

/* region.c */
int region_begin(struct gossip_core *c);
void region_free_all(struct gossip_core *c);
void region_value_unref(struct region_value *v);
struct region *region_find(const struct gossip_core *c, const char *name);
/* NULL: the table is full. */
struct region *region_get(struct gossip_core *c, const char *name);
/* The caller knows all that we know. */
void region_drained(struct gossip_core *c);
/* Take `value` (its reference becomes ours) if it is newer. true: it is another one. */
bool region_take(struct gossip_core *c, struct region *r, const struct gossip_version *version,
		 struct region_value *value, const struct node_id *from);
void region_hash_value(struct gossip_core *c, const uint8_t *bytes, size_t len, uint8_t ret[8]);
bool region_is_own(const struct gossip_core *c, const char *name);

/* region_slot.c */
struct region_slot *region_slot_of(const struct gossip_core *c, const struct node_id *id,
				   struct region **ret_region);
/* The slot whose state counts, or NULL. */
struct region_slot *region_counting(const struct region *r);
/* A card of another region's node, from whomever. */
void region_offer_card(struct gossip_core *c, const struct wire_card *card);
/* A speaker's state. true: it is newer. */
bool region_offer_state(struct gossip_core *c, const struct record *r);
/* What this node of our region said under REGION_KEY_STATE or REGION_KEY_VIEW; NULL: nothing. */
const struct rec *region_word_of(const struct gossip_core *c, const struct node_id *id,
				 const char *key);
/* It speaks for its region no more: others are lower now, and its last state is out of date. */
void region_unspoken(struct gossip_core *c, struct region_slot *s);
/* The lowest of ours that live, ourselves included. */
size_t region_lowest(const struct gossip_core *c, struct member *ret[REGION_SPEAKERS]);
/* Was it heard lately, by ourselves? */
bool region_is_heard(const struct gossip_core *c, const struct region_slot *s);
/* All others of its region that we hear, one at least, say that it is suspect or dead; but for those of whom two say so, whose
 * word is from before they fell silent. */
bool region_is_called_down(const struct gossip_core *c, const struct region *r,
			   const struct region_slot *s);
/* Of those who speak for another region. */
size_t region_rtts(const struct gossip_core *c, const char *name, uint32_t *ret, size_t max);
bool region_is_silent(const struct gossip_core *c, const struct region *r);
/* The n-th (of those heard, around) that may be sent something; NULL: none. */
struct region_slot *region_pick(const struct gossip_core *c, const struct region *r, size_t n);
/* What the views come to; events. */
void region_settle(struct gossip_core *c);
uint64_t region_cards_hash(const struct gossip_core *c, const struct region *r);
uint64_t region_digest(const struct gossip_core *c);

/* region_talk.c */
/* From who is no member of ours. true: it was from another region, and is dealt with. */
bool region_on_stranger(struct gossip_core *c, enum gossip_via via,
			const struct gossip_sender *sender, const struct gossip_addr *from,
			const struct wire_msg *msg);
void region_on_message(struct gossip_core *c, struct member *from, const struct gossip_addr *addr,
		       const struct wire_msg *msg);
/* Of each probe and ack that comes, in either mode: which mode has its sender? */
void region_note_mode(struct gossip_core *c, struct member *from,
		      const struct gossip_sender *sender, const struct gossip_addr *addr,
		      const struct wire_msg *msg);
void region_hello(struct gossip_core *c, struct region *r, struct region_slot *s);
void region_send(struct gossip_core *c, struct wire_out *o, const struct gossip_addr *to,
		 size_t to_count);

/* region_spread.c */
struct wire_region region_describe(const struct gossip_core *c, const struct region *r);
void region_send_value(struct gossip_core *c, const struct region *r, const struct gossip_addr *to);
void region_on_chunk(struct gossip_core *c, struct region *r, const struct node_id *from,
		     const struct wire_summary *s);
/* What somebody says that it has. */
void region_on_entry(struct gossip_core *c, const struct wire_region *x, const struct node_id *from,
		     const struct gossip_addr *addr);
void region_on_wants(struct gossip_core *c, const struct wire_msg *msg,
		     const struct gossip_addr *addr);
void region_ask(struct gossip_core *c, struct region *r);
/* Tell others of our region that we have a new value. */
void region_announce(struct gossip_core *c, const struct region *r, const struct node_id *not_to);
/* Tell all of our region whose word counts there, and what it is. */
void region_tell_inside(struct gossip_core *c, struct region *r);
void region_on_digest(struct gossip_core *c, struct member *from, uint64_t digest);
void region_on_list(struct gossip_core *c, struct member *from, const struct wire_msg *msg);

/* region_tick.c */
void region_tick(struct gossip_core *c);
uint64_t region_deadline(const struct gossip_core *c);
void region_thaw(struct gossip_core *c);
/* A shared record came into force here; it did so in our region first. */
void region_pass_on(struct gossip_core *c, const struct record *r);
void region_shared_root(const struct gossip_core *c, uint8_t ret[16]);
void region_note_record(struct gossip_core *c, const struct record *r);
/* Members changed. */
static inline void region_members_changed(struct gossip_core *c)
{
	if (c->regions)
		c->regions->is_dirty = true;
}

#endif
