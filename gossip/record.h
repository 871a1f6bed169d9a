/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/record.h - one versioned, signed fact, and how two versions of it merge. Pure: no I/O, no clock.
 *
 * Identity  a node has an Ed25519 key; its id is BLAKE2b-128 of the public key. Records carry their writer's
 *           whole public key, so each can be verified by itself, whoever relayed it.
 * Scopes    by kind number, so that nodes carry kinds they have never heard of:
 *             1..63    own       written by their node only; identity (writer, kind, key);
 *                                version (generation, sequence)
 *             64..127  shared    written on any allowed node; identity (kind, key); version (counter, writer id)
 *             128..191 volatile  own, but neither stored nor part of any digest
 *           192..255 are refused.
 * Memory    struct record borrows key and value: they live as long as the buffer they came from.
 * Errors    0 | -EBADMSG malformed | -EMSGSIZE over a limit
 * Limits    RECORD_KEY_MAX, RECORD_VALUE_MAX: a record with its envelope fits one 1200-byte datagram
 */
#ifndef GOSSIP_RECORD_H
#define GOSSIP_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_ID_BYTES 16
#define NODE_PUB_BYTES 32
#define NODE_SIG_BYTES 64
#define RECORD_KEY_MAX 128   /* bytes, UTF-8 text without NUL */
#define RECORD_VALUE_MAX 700 /* bytes, one MessagePack map */
#define RECORD_SEQ_MAX                                                                             \
	(1ull                                                                                      \
	 << 60) /* generation, sequence, counter: nobody can push one to the end of the numbers */

struct node_id {
	uint8_t b[NODE_ID_BYTES];
};

enum record_scope { RECORD_OWN, RECORD_SHARED, RECORD_VOLATILE, RECORD_REFUSED };

/* Kinds that gossip itself understands. All others are the application's (edge/model.h): an application stores and
 * otherwise ignores these. */
#define RECORD_KIND_HEAD                                                                           \
	63 /* own; key "head"; written by gossip alone: a writer's signed statement of all it has
				  in this generation, up to this sequence: {"gc": n, "sum": bin 16} */
#define RECORD_KIND_REMOVAL                                                                        \
	64 /* shared; key = hex node id; voids all records of that node while it stands */

#define RECORD_KIND_FLOOR                                                                          \
	127 /* shared; key = hex id of its writer; written by gossip alone: tombstones of shared records
				  with a counter up to this are gone: {"to": n} */

struct record {
	uint8_t kind;
	bool is_tombstone;
	bool is_urgent;	       /* a hint to the spreading, not signed, not stored */
	struct node_id writer; /* = id of pub */
	uint8_t pub[NODE_PUB_BYTES];
	uint64_t generation; /* own, volatile; 0 in shared */
	uint64_t seq;	     /* own: sequence within the generation; shared: counter */
	uint8_t sig[NODE_SIG_BYTES];
	const uint8_t *key;
	size_t key_len;
	const uint8_t *value; /* empty in a tombstone */
	size_t value_len;
};

enum record_scope record_scope_of(uint8_t kind);

/* <0, 0, >0 as a's version is older than, the same as, newer than b's. Both must have one identity. */
int record_cmp_version(const struct record *a, const struct record *b);

int node_id_cmp(const struct node_id *a, const struct node_id *b);

/* The bytes that are signed: domain, kind, tombstone, generation, seq, key, value, in that order, lengths
 * included. Returns the length, or -EMSGSIZE. `buf` of RECORD_SIGNED_MAX always suffices. */
#define RECORD_SIGNED_MAX (64 + RECORD_KEY_MAX + RECORD_VALUE_MAX)
int record_signed_bytes(const struct record *r, uint8_t *buf, size_t cap);

/* Lengths, kind and scope rules (a shared record has generation 0, ...). Not the signature. */
int record_check(const struct record *r);

#endif
