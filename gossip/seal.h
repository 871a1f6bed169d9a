/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/seal.h - node keys, signatures, and sealing of every message with the cluster key (libsodium).
 *
 * Layout    docs/WIRE.md: version, cluster tag, nonce, then XChaCha20-Poly1305 over (sender pub, boot nonce, counter,
 *           via, plaintext); the clear header is authenticated as additional data
 * Replay    per known sender a 256-message window per boot nonce; what is older or seen is -EALREADY. The table of
 *           senders is bounded (SEAL_SENDERS_MAX); a new sender starts a window. Streams and datagrams count apart.
 * Errors    0 | -EBADMSG not sealed with our key or malformed | -EPROTONOSUPPORT version | -EALREADY replayed |
 *           -EMSGSIZE | for files: struct err says which and why
 * Memory    open() writes the plaintext into the caller's buffer; keys are sodium_malloc'ed and wiped
 * Threads   one thread per struct seal
 */
#ifndef GOSSIP_SEAL_H
#define GOSSIP_SEAL_H

#include "gossip/gossip.h"

#define SEAL_KEY_BYTES 32
#define SEAL_OVERHEAD 100     /* most bytes that sealing adds */
#define SEAL_DGRAM_MAX 1200
#define SEAL_SENDERS_MAX 16384
_Static_assert(GOSSIP_DGRAM_MAX + SEAL_OVERHEAD <= SEAL_DGRAM_MAX, "a full datagram would not fit");

struct node_key; /* Ed25519 pair */

/* Read the node's key, or make it (mode 0600, fsynced) if the file does not exist. */
int node_key_open(const char *path, struct node_key **ret_key, struct err *e);
void node_key_free(struct node_key *k);
void node_key_pub(const struct node_key *k, uint8_t ret_pub[NODE_PUB_BYTES]);
void node_id_of_pub(const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id);
/* The signer for gossip_config; borrows k. */
struct gossip_signer node_key_signer(struct node_key *k);

struct seal;

/* `path`: 64 hex digits, a newline allowed; refused if others than the owner (or group) may read it. `cluster` is
 * mixed into the key, so two clusters never open each other's messages. */
int seal_open_file(const char *path, const char *cluster, const struct node_key *self, uint64_t boot_nonce,
		   struct seal **ret_seal, struct err *e);
void seal_free(struct seal *s);

/* Returns the sealed length (<= len + SEAL_OVERHEAD) or a negative errno. */
int seal_message(struct seal *s, enum gossip_via via, const uint8_t *msg, size_t len, uint8_t *buf, size_t cap);
/* Returns the plaintext length or a negative errno; ret_sender only on success. */
int seal_open_message(struct seal *s, enum gossip_via via, const uint8_t *msg, size_t len, uint8_t *buf, size_t cap,
		      struct gossip_sender *ret_sender);

#endif
