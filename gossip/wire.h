/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/wire.h - messages of the gossip core: bounded decode, packing. Pure: no allocation, no I/O, no clock.
 *
 * Layout    docs/WIRE.md; one MessagePack map with small unsigned keys; unknown keys are skipped, lists may grow at the end
 * Memory    decode copies nothing: lists, keys and values point into the buffer and die with it
 * Errors    0 | -EBADMSG malformed | -EPROTONOSUPPORT version. All or nothing: a message with one bad element is refused
 * Threads   re-entrant; no globals
 * Limits    counts are bounded by the bytes left, nesting by MP_DEPTH_MAX
 */
#ifndef GOSSIP_WIRE_H
#define GOSSIP_WIRE_H

#include <msgpack.h>

#include "gossip/gossip.h"
#include "gossip/mp.h"

#define WIRE_VERSION 1
#define WIRE_VERSION_MAX 16 /* as far as cards can say; one byte on the wire */
#define WIRE_BUCKETS 256    /* of shared records; 8 bytes each in a sync */
#define WIRE_BUCKET_BYTES 8
#define WIRE_MASK_BYTES (WIRE_BUCKETS / 8)
#define WIRE_INCARNATION_MAX (1u << 30)

enum wire_type {
	WIRE_PROBE = 1, /* answer with this cookie */
	WIRE_ACK = 2,
	WIRE_ASK = 3, /* probe the target for me */
	WIRE_NEWS = 4,
	WIRE_SYNC = 5,	  /* stream: what I have, compare */
	WIRE_DELTA = 6,	  /* stream: records and cards that you lack */
	WIRE_KEYS = 7,	  /* stream: identities and versions in these buckets of shared records */
	WIRE_REGION = 8,  /* to another region, or about others within one */
	WIRE_SUMMARY = 9, /* stream: a part of a region's value, or lists of versions */
};

enum wire_key {
	WIRE_K_VERSION = 0,
	WIRE_K_TYPE = 1,
	WIRE_K_COOKIE = 2,
	WIRE_K_TARGET = 3,
	WIRE_K_DIGEST = 4,
	WIRE_K_FLAGS = 5,
	WIRE_K_CARDS = 6,
	WIRE_K_VOTES = 7,
	WIRE_K_RECORDS = 8,
	WIRE_K_RANGE = 9,
	WIRE_K_SEEN = 10,
	WIRE_K_ORIGINS = 11,
	WIRE_K_BUCKETS = 12,
	WIRE_K_DELTAS = 13,
	WIRE_K_MASK = 14,
	WIRE_K_KEYS = 15,
	WIRE_K_REGIONS = 16,
	WIRE_K_SUMMARY = 17,
	WIRE_K_SUMS = 20,
};

enum wire_flag {
	WIRE_F_REPLY =
		1,	 /* sync, keys: an answer; send what is lacking, but don't answer in kind */
	WIRE_F_DATA = 2, /* ack: of the data path, seen by a helper */
	WIRE_F_HELPER = 4,   /* ack: the sender speaks for the probe's target */
	WIRE_F_STRANGER = 8, /* probe: I don't know you, show me your card */
	WIRE_F_HELD = 16,    /* ack: another address had your id before, it is being asked */
	WIRE_F_TAKEN = 32,   /* ack to a twin: the others took me in */
	WIRE_F_WANT = 64,    /* region: send me the values of the regions listed */
	WIRE_F_LIST = 128,   /* summary: these are all regions that I know */
	WIRE_F_SAME = 256,   /* ack: my digest is that of your probe */
};

/* A member's own signed statement of who and where it is. */
struct wire_card {
	uint8_t pub[NODE_PUB_BYTES];
	uint8_t sig[NODE_SIG_BYTES];
	char name[GOSSIP_NAME_MAX];
	char region[GOSSIP_NAME_MAX];
	struct gossip_addr addr;
	uint64_t generation;
	uint64_t boot_nonce;
	uint32_t incarnation;
	bool has_forwarder;
	bool is_left;
	struct version_range version; /* that it speaks */
	uint16_t rest;		      /* flags of a later version */
};
#define WIRE_CARD_SIGNED_MAX 160
/* Returns the length. */
size_t wire_card_signed_bytes(const struct wire_card *card, uint8_t buf[WIRE_CARD_SIGNED_MAX]);

/* What the sender thinks of a member's life. */
struct wire_vote {
	struct node_id id;
	uint64_t generation;
	uint32_t incarnation;
	enum gossip_state state; /* headless, suspect, dead */
};

/* Which card of a member the sender has. */
struct wire_seen {
	struct node_id id;
	uint64_t generation;
	uint32_t incarnation;
};

/* How far the sender is with a writer's own records. */
struct wire_origin {
	struct node_id id;
	uint64_t generation;
	uint64_t watermark; /* contiguous to here */
	uint64_t top;	    /* highest sequence seen */
	uint64_t gc;
	uint8_t sum[16]; /* of all its records in force */
};

struct wire_shared_key {
	uint8_t kind;
	const uint8_t *key;
	size_t key_len;
	uint64_t counter;
	struct node_id writer;
};

/* What the sender has of a region. */
struct wire_region {
	char name[GOSSIP_NAME_MAX];
	struct gossip_version version; /* all zero: no value */
	uint64_t len;
	struct node_id
		speaker; /* whose word counts there, all zero: nobody's; and the version of that word */
	uint64_t generation, seq;
	uint64_t cards; /* hash of the cards that it names */
};

/* A part of a value. */
struct wire_summary {
	char region[GOSSIP_NAME_MAX];
	struct gossip_version version;
	uint64_t total, offset;
	const uint8_t *data;
	size_t len;
};

struct wire_list {
	struct mp_reader r;
	size_t count;
};

enum wire_delta_flag {
	WIRE_D_RESET =
		1, /* a complete restatement from 0: what isn't in it may be dropped, if the head proves it */
	WIRE_D_LAST = 2, /* ends a restatement */
};

/* Records of one writer with from < seq <= to, and loose ones outside that range. */
struct wire_delta {
	struct node_id id;
	uint64_t generation, from, to, gc;
	unsigned int flags;
	struct wire_list records;
};

struct wire_msg {
	unsigned int type; /* enum wire_type, or one of the future */
	unsigned int flags;
	uint32_t version; /* also after -EPROTONOSUPPORT */
	bool has_cookie, has_target, has_digest, has_range, has_standing, has_regions, has_summary;
	uint64_t cookie;
	struct node_id target;
	uint8_t root[16];
	uint64_t members, standing, regions_digest;
	struct node_id range_lo, range_hi;
	struct wire_list cards, votes, records, seen, origins, deltas, keys, regions;
	struct wire_summary summary;
	const uint8_t *buckets; /* WIRE_BUCKETS * WIRE_BUCKET_BYTES, or NULL */
	const uint8_t *mask;	/* WIRE_MASK_BYTES, or NULL */
	const uint8_t *sums;	/* WIRE_BUCKETS * WIRE_BUCKET_BYTES, or NULL */
};

int wire_decode(const uint8_t *buf, size_t len, struct wire_msg *ret_msg); /* of WIRE_VERSION */
int wire_decode_as(const uint8_t *buf, size_t len, struct version_range readable,
		   struct wire_msg *ret_msg);

/* Take the next element; false at the end. After wire_decode() succeeded they can't fail otherwise. */
bool wire_next_card(struct wire_list *l, struct wire_card *ret_card);
bool wire_next_vote(struct wire_list *l, struct wire_vote *ret_vote);
bool wire_next_seen(struct wire_list *l, struct wire_seen *ret_seen);
bool wire_next_origin(struct wire_list *l, struct wire_origin *ret_origin);
bool wire_next_key(struct wire_list *l, struct wire_shared_key *ret_key);
bool wire_next_region(struct wire_list *l, struct wire_region *ret_region);
bool wire_next_delta(struct wire_list *l, struct wire_delta *ret_delta);
/* ret_record->writer is not set: the caller derives it from pub. */
bool wire_next_record(struct wire_list *l, struct record *ret_record);

/* ---- packing: begin, fields, lists, end. Lists take elements until one doesn't fit. */

#define WIRE_LIST_DEPTH 2

struct wire_out {
	struct mp_buf b;
	msgpack_packer pk;
	size_t cap, mask_at;
	unsigned int pairs;
	size_t depth;
	struct {
		size_t key_at, count_at, count;
	} list[WIRE_LIST_DEPTH];
};

void wire_begin(struct wire_out *o, uint8_t *buf, size_t cap, enum wire_type type);
void wire_begin_as(struct wire_out *o, uint8_t *buf, size_t cap, enum wire_type type,
		   uint8_t version);
void wire_put_cookie(struct wire_out *o, uint64_t cookie);
void wire_put_target(struct wire_out *o, const struct node_id *id);
/* regions NULL: this node's mode is flat. */
void wire_put_digest(struct wire_out *o, const uint8_t root[16], uint64_t members,
		     uint64_t standing, const uint64_t *regions);
void wire_put_summary(struct wire_out *o, const struct wire_summary *s);
void wire_put_flags(struct wire_out *o, unsigned int flags);
void wire_put_range(struct wire_out *o, const struct node_id *lo, const struct node_id *hi);
void wire_put_buckets(struct wire_out *o, const uint8_t *buckets);
void wire_put_sums(struct wire_out *o, const uint8_t *sums);
/* The mask may be written again later, while a message is still open. */
void wire_put_mask(struct wire_out *o, const uint8_t *mask);
void wire_patch_mask(struct wire_out *o, const uint8_t *mask);

void wire_list_begin(struct wire_out *o, enum wire_key key);
/* A list that stayed empty vanishes. */
void wire_list_end(struct wire_out *o);
/* false: it doesn't fit, and nothing was written. */
bool wire_add_card(struct wire_out *o, const struct wire_card *card);
bool wire_add_vote(struct wire_out *o, const struct wire_vote *vote);
bool wire_add_seen(struct wire_out *o, const struct wire_seen *seen);
bool wire_add_origin(struct wire_out *o, const struct wire_origin *origin);
bool wire_add_key(struct wire_out *o, const struct wire_shared_key *key);
bool wire_add_region(struct wire_out *o, const struct wire_region *region);
bool wire_add_record(struct wire_out *o, const struct record *r);
/* Inside a WIRE_K_DELTAS list; records follow with wire_add_record(). */
bool wire_delta_begin(struct wire_out *o, const struct node_id *id, uint64_t generation,
		      uint64_t from, uint64_t gc);
void wire_delta_end(struct wire_out *o, uint64_t to, unsigned int flags);

/* Length of the message, or 0 if a field did not fit. */
size_t wire_end(struct wire_out *o);
/* Bytes that are still free. */
size_t wire_room(const struct wire_out *o);

#endif
