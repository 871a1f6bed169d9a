/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/keyring.h - the cluster's keys over time: added, used, removed, without one refused message between.
 *
 * The key file is the first key. `add` makes one, and names it in a shared record; who lacks it asks for it, and can open
 * with it from then on. `use` names the one that all seal with, `rm` one that nobody opens with any more. Records carry
 * names (hashes) of keys, never keys.
 *
 * Asking    a clear datagram, signed with the node's key: so it works for a node that was away when all its keys went. Who is
 *           asked answers known members and who proves to hold a key that still opens, removed nodes never: all its keys
 *           in a box that only the asker's node key opens, signed by itself. The asker takes answers to its own question,
 *           from members it knows (knowing nobody: from who proves to hold its key), and of them keys that records name;
 *           at its start and if it hears nothing at all any more, any.
 * Told      by each node in an own record: which keys it holds, and which one it seals with (docs/WIRE.md)
 * Removed   a key opens for `grace_ms` more: what was sealed with it by then has arrived. Not while this node seals with it.
 * Disk      keyring.path, mode 0600, written before anything is told (docs/adr/0013)
 * Cost      at most KEYRING_ANSWERS_PER_S questions are looked at a second; a stranger's without a key
 *           costs one hash
 * Time      *_ms given by the caller; random numbers and file from here
 * Memory    fixed; borrows seal, node key and core
 * Errors    0 or a negative errno; operators' verbs say why in struct err
 * Threads   one
 */
#ifndef GOSSIP_KEYRING_H
#define GOSSIP_KEYRING_H

#include "gossip/seal.h"

#define KEYRING_KIND 69	    /* shared; key "use" or "k/" and the id */
#define KEYRING_KIND_TOLD 5 /* own; key "keys" */
#define KEYRING_GRACE_MS                                                                           \
	11000 /* longer than a message may wait for its stream (LOOP_STREAM_IDLE_MS) */
#define KEYRING_GONE_MAX 64
#define KEYRING_WANT_MAX 8
#define KEYRING_ANSWERS_PER_S 64
#define KEYRING_CLEAR_BYTES 512 /* a question, padded; an answer is never longer */
#define KEYRING_ID_TEXT (2 * SEAL_KEY_ID_BYTES + 1)

struct keyring;
struct keyring_config {
	const char *path;    /* of its file; NULL = it has none */
	const char *cluster; /* as the seal has it */
	struct seal *seal;   /* with the key of the key file */
	const struct node_key *self;
	struct gossip_core *core;
	const struct gossip_addr *seeds; /* borrowed; for a node that knows nobody yet */
	size_t seed_count;
	uint32_t grace_ms; /* 0 = KEYRING_GRACE_MS */
	const uint8_t *
		writers_sum; /* 8 bytes: who may write shared records, by this node's configuration; NULL = all */
	/* An unsealed datagram goes out, also while keyring_recv() or keyring_tick() run. */
	void (*send)(void *arg, const struct gossip_addr *to, const uint8_t *buf, size_t len);
	/* One line for the log. */
	void (*say)(void *arg, const char *level, const char *event, const char *text);
	void *arg;
};

/* Reads the file, if there is one, into the seal. The seal has the key of the key file already.
 * -EINVAL, -EPERM: the file can't be trusted | -ENOKEY the key file's key was removed, and there is no other */
int keyring_open(const struct keyring_config *cfg, struct keyring **ret_ring, struct err *e);
void keyring_close(struct keyring *k);
/* When the core knows what the store knew, and before it joins. */
void keyring_start(struct keyring *k, uint64_t now_ms);
/* It may send now: it was told which key seals, or nobody tells. Until then what it says may be refused. */
bool keyring_is_ready(const struct keyring *k, uint64_t now_ms);
/* Each record of KEYRING_KIND that came into force. */
void keyring_record(struct keyring *k, uint64_t now_ms, const struct record *r);
#define KEYRING_TICK_MS 250
void keyring_tick(struct keyring *k, uint64_t now_ms);
/* An unsealed datagram (its second byte is not 0). Negative: nothing of ours, or refused. */
int keyring_recv(struct keyring *k, uint64_t now_ms, const struct gossip_addr *from,
		 const uint8_t *msg, size_t len);

/* ---- operators' verbs */
int keyring_add(struct keyring *k, uint64_t now_ms, struct seal_key_id *ret_id, struct err *e);
/* id: as text, or the beginning of it if no other has that. -EBUSY: not all live nodes hold it; force: never mind */
int keyring_use(struct keyring *k, uint64_t now_ms, const char *id, bool is_forced, struct err *e);
/* -EBUSY: somebody alive seals with it, or has not said what it seals with (that alone can be forced). */
int keyring_rm(struct keyring *k, uint64_t now_ms, const char *id, bool is_forced, struct err *e);

/* ---- looking */
enum keyring_state { KEYRING_OPENS, KEYRING_SEALS, KEYRING_COMING, KEYRING_GOING };
struct keyring_key {
	struct seal_key_id id;
	enum keyring_state
		state; /* here. coming: named by a record, not held yet; going: removed, still opens */
	uint64_t left_ms;	       /* of going */
	size_t live, holders, sealers; /* live nodes, this one included; of them */
};
bool keyring_at(struct keyring *k, uint64_t now_ms, size_t i, struct keyring_key *ret_key);
struct keyring_told { /* what a node says */
	struct seal_key_id holds[SEAL_KEYS_MAX], seals;
	size_t count;
	uint8_t writers_sum[8];
};
/* false: it says nothing, or nothing that can be read. */
bool keyring_told_of(const struct gossip_core *c, const struct node_id *id,
		     struct keyring_told *ret_told);
int keyring_told_decode(const uint8_t *value, size_t len, struct keyring_told *ret_told);
bool keyring_holds(const struct keyring_told *t, const struct seal_key_id *id);
const char *keyring_id_text(const struct seal_key_id *id, char buf[KEYRING_ID_TEXT]);

struct keyring_counters {
	uint64_t asked, answered, refused, learned;
};
void keyring_counters(const struct keyring *k, struct keyring_counters *ret_counters);

#endif
