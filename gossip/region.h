/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/region.h - between regions go summaries (docs/adr/0014): the inside of the regions mode.
 *
 * region.c        the table of regions, versions, values, looking
 * region_talk.c   asking other regions' lowest nodes; who counts, what is dead
 * region_say.c    what this node says: of its region to others, of others to its region
 * region_spread.c values in chunks, asked for and passed on; lists compared
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
#define REGION_SLOTS 4

struct region_value {
	unsigned int refs;
	size_t len;
	uint8_t bytes[];
};

/* A node of another region that speaks for it, or may. */
struct region_slot {
	struct member *m;     /* not one of core.members; NULL: free */
	struct rblob *state;  /* its last one, or NULL */
	uint64_t cookie;      /* of the probe that is out, 0 = none */
	uint64_t sent_ms;     /* the last probe */
	uint64_t told_cards;  /* hash of our lowest cards that it has */
	uint64_t told_cookie; /* the probe that carries them, and their hash */
	uint64_t told_hash;
};

struct region_incoming {
	struct region_value *value; /* refs 0; NULL: nothing comes */
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
	uint64_t down_hash;    /* as the caller was told */
	/* what this speaker sees */
	bool is_silent;
	uint64_t begun_ms; /* it asks since then */
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
	uint64_t push_ms; /* our value goes out, 0 = nothing to send */
	uint64_t pushed_ms;
	bool is_dirty; /* look at views and states again */
	int rank;      /* among those of our region that live; -1: not one of the first three */
	uint64_t tick_ms, say_ms, seeds_ms, thaw_ms, compare_ms;
	uint32_t say_count;
	size_t rumour; /* whose card is told next */
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
/* Take `value` (its reference becomes ours) if it is newer. */
bool region_take(struct gossip_core *c, struct region *r, const struct gossip_version *version,
		 struct region_value *value, const struct node_id *from);
struct region_slot *region_counting(const struct region *r);

#endif
