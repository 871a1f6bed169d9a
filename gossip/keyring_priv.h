/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/keyring_priv.h - what keyring.c, keyring_ask.c and keyring_file.c share; for no one else. */
#ifndef GOSSIP_KEYRING_PRIV_H
#define GOSSIP_KEYRING_PRIV_H

#include "gossip/keyring.h"

#define KEYRING_NONCE_BYTES 16
#define KEYRING_RECORD_KEY_MAX 24

struct keyring {
	struct keyring_config cfg;
	char cluster[GOSSIP_NAME_MAX];
	struct node_id self;
	struct seal_key_id gone[KEYRING_GONE_MAX]; /* newest last; the oldest is forgotten */
	uint64_t drop_ms[KEYRING_GONE_MAX];	   /* 0: it no longer opens */
	size_t gone_count;
	uint64_t use_seq;	   /* of the record that named the key that seals here */
	struct seal_key_id before; /* sealed, before keyring_seal_meanwhile() */
	uint64_t meanwhile_ms;	   /* 0: a record, or the key file, named what seals */
	struct seal_key_id want[KEYRING_WANT_MAX];
	size_t want_count;
	struct keyring_told told; /* last put */
	bool has_told, is_started, is_file_bad;

	/* asking */
	uint8_t nonce[KEYRING_NONCE_BYTES];
	struct seal_key_id proof_id;
	bool is_asking, is_starting;
	uint64_t ready_ms;
	uint64_t ask_ms; /* next time */
	uint32_t ask_wait_ms;
	uint64_t opened, opened_ms; /* last count of opened messages, and when it changed */
	/* answering */
	uint64_t bucket_ms;
	unsigned int bucket;
	struct keyring_counters n;
};

__attribute__((format(printf, 4, 5))) void keyring_say(struct keyring *k, const char *level,
						       const char *event, const char *fmt, ...);
bool keyring_is_gone(const struct keyring *k, const struct seal_key_id *id);
/* By its record: 1 named, 0 there is no record, -1 removed. */
int keyring_named(const struct keyring *k, const struct seal_key_id *id);
void keyring_note_gone(struct keyring *k, const struct seal_key_id *id, uint64_t drop_ms);
int keyring_take(struct keyring *k, const uint8_t key[SEAL_KEY_BYTES]);
/* On the word of one member, when nothing is heard: until records can be heard. */
void keyring_seal_meanwhile(struct keyring *k, uint64_t now_ms, const struct seal_key_id *id);
bool keyring_is_deaf(const struct keyring *k, uint64_t now_ms);

/* keyring_file.c */
int keyring_read(struct keyring *k, struct err *e); /* -ENOENT: there is none */
int keyring_write(struct keyring *k);

/* keyring_ask.c */
void keyring_ask(struct keyring *k, uint64_t now_ms);

#endif
