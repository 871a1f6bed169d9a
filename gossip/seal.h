/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/seal.h - node keys, signatures, and sealing of every message with the cluster key (libsodium).
 *
 * Layout    docs/WIRE.md. Clear: version, flags (0), 4-byte cluster tag, 24-byte nonce. Sealed by XChaCha20-Poly1305:
 *           sender's public key, boot nonce, counter, via, message. The clear part is authenticated too.
 * Proves    that the sender holds the cluster key, no more: the sender's public key inside is a claim, which any member
 *           could make for another. That is enough because records are signed by their writer, and an answer to a probe
 *           carries our cookie. Do not build on the sender's id anything that a signature should carry.
 * Replay    per (sender, boot nonce) a window of SEAL_WINDOW messages, datagrams and streams apart; what is older or
 *           seen is -EALREADY, and so is a message of our own that came back. The table of senders is bounded
 *           (SEAL_SENDERS_MAX): the least recently heard goes. A sender we do not remember (new, evicted, or from
 *           before our own restart) starts a window with whatever it sends: what matters then must be idempotent.
 * Errors    0 | -EBADMSG not sealed with our key or malformed | -EPROTONOSUPPORT version | -EALREADY replayed |
 *           -EMSGSIZE | -EINVAL a via that is not sealed | for files: struct err says which and why
 * Memory    open() writes the plaintext into the caller's buffer; keys are sodium_malloc'ed and wiped
 * Threads   one thread per struct seal
 */
#ifndef GOSSIP_SEAL_H
#define GOSSIP_SEAL_H

#include "gossip/gossip.h"

#define SEAL_KEY_BYTES 32
#define SEAL_VERSION 1
#define SEAL_OVERHEAD 100      /* most bytes that sealing adds; it adds SEAL_ADDED of them */
#define SEAL_DGRAM_MAX 1200    /* a sealed datagram: below IPv6's least MTU with all headers */
#define SEAL_WINDOW 256	       /* messages a sender's may arrive out of order */
#define SEAL_SENDERS_MAX 16384 /* two boot nonces for each of GOSSIP_MEMBERS_MAX; 2 MiB when full */

#define SEAL_CLEAR_BYTES (1 + 1 + 4) /* version, flags, cluster tag */
#define SEAL_NONCE_BYTES 24
#define SEAL_INNER_BYTES (NODE_PUB_BYTES + 8 + 8 + 1) /* sender, boot nonce, counter, via */
#define SEAL_MAC_BYTES 16
#define SEAL_ADDED (SEAL_CLEAR_BYTES + SEAL_NONCE_BYTES + SEAL_INNER_BYTES + SEAL_MAC_BYTES)
_Static_assert(SEAL_ADDED <= SEAL_OVERHEAD, "sealing adds more than it promises");
_Static_assert(GOSSIP_DGRAM_MAX + SEAL_OVERHEAD <= SEAL_DGRAM_MAX, "a full datagram would not fit");

struct node_key; /* Ed25519 pair */

/* Read the node's key, or make it (mode 0600, written whole or not at all) if the file does not exist. The file holds
 * the 32-byte seed as 64 hex digits; it is refused if anyone but its owner may read or write it. */
int node_key_open(const char *path, struct node_key **ret_key, struct err *e);
int node_key_from_seed(const uint8_t seed[SEAL_KEY_BYTES], struct node_key **ret_key);
void node_key_free(struct node_key *k);
void node_key_pub(const struct node_key *k, uint8_t ret_pub[NODE_PUB_BYTES]);
void node_id_of_pub(const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id);
/* The signer for gossip_config; borrows k. */
struct gossip_signer node_key_signer(struct node_key *k);
/* Anonymous box to the holder of a node's key (its Ed25519 key as X25519): len + NODE_BOX_BYTES. -EBADMSG */
#define NODE_BOX_BYTES 48
int node_box(const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg, size_t len, uint8_t *ret_box);
int node_box_open(const struct node_key *k, const uint8_t *box, size_t len, uint8_t *ret_msg);
/* A text at `path`, mode 0600, whole on disk or as it was before. */
int key_file_write(const char *path, const char *text, size_t len);
/* Its whole text with a NUL, refused if others may get at it. Length | -ENOENT without a text in e, -EFBIG, ... */
int key_file_read(const char *path, char *buf, size_t cap, struct err *e);

struct seal;

/* Keys of the cluster: each of them opens, one of them seals. The id is a hash of the key and says nothing of it. */
#define SEAL_KEYS_MAX 8
#define SEAL_KEY_ID_BYTES 8
struct seal_key_id {
	uint8_t b[SEAL_KEY_ID_BYTES];
};

/* `key` and the name of the cluster make the sealing key, so two clusters never open each other's messages. Copies
 * what it needs of self. */
int seal_new(const uint8_t key[SEAL_KEY_BYTES], const char *cluster, const struct node_key *self,
	     uint64_t boot_nonce, struct seal **ret_seal);
/* The same with the key from a file: 64 hex digits, a newline allowed; refused if others may read it or if anyone but
 * its owner may write it (0640, for a group that may, is fine). */
int seal_open_file(const char *path, const char *cluster, const struct node_key *self,
		   uint64_t boot_nonce, struct seal **ret_seal, struct err *e);
void seal_free(struct seal *s);

/* ---- the ring; gossip/keyring.h decides who has which */
void seal_key_id_of(const uint8_t key[SEAL_KEY_BYTES], struct seal_key_id *ret_id);
/* From here on it opens. -EEXIST | -ENOSPC there are SEAL_KEYS_MAX */
int seal_key_add(struct seal *s, const uint8_t key[SEAL_KEY_BYTES]);
/* From here on it seals. -ENOENT */
int seal_key_use(struct seal *s, const struct seal_key_id *id);
/* What is sealed with it is noise from here on. -ENOENT | -EBUSY it is the one that seals */
int seal_key_rm(struct seal *s, const struct seal_key_id *id);
size_t seal_key_count(const struct seal *s);
void seal_key_at(const struct seal *s, size_t i, struct seal_key_id *ret_id);
void seal_key_used(const struct seal *s, struct seal_key_id *ret_id);
bool seal_key_has(const struct seal *s, const struct seal_key_id *id);
/* SEAL_KEY_BYTES, until the ring changes: for the ring's file and for who may have it. */
const uint8_t *seal_key_secret(const struct seal *s, size_t i);
/* How many messages of others were opened. */
uint64_t seal_opened(const struct seal *s);

/* Returns the sealed length (<= len + SEAL_OVERHEAD) or a negative errno. */
int seal_message(struct seal *s, enum gossip_via via, const uint8_t *msg, size_t len, uint8_t *buf,
		 size_t cap);
/* Returns the plaintext length or a negative errno; ret_sender only on success. */
int seal_open_message(struct seal *s, enum gossip_via via, const uint8_t *msg, size_t len,
		      uint8_t *buf, size_t cap, struct gossip_sender *ret_sender);

#endif
