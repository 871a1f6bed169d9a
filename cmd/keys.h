/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cmd/keys.h - the key ring (gossip/keyring.h) in the daemon: its file, its timer, its log lines, the loop it sends by.
 *
 * Order    keys_open() when the core has its records; keys_start() when the loop is there, held; ready_cb once, when the node may
 *          speak, at once or half a second later. keys_stop() closes the timer, keys_free() when the event loop has ended
 * Threads  the loop's thread
 */
#ifndef CMD_KEYS_H
#define CMD_KEYS_H

#include <uv.h>

#include "gossip/keyring.h"
#include "gossip/loop.h"

struct keys;
struct keys_config {
	const char *state_dir, *cluster;
	const struct gossip_addr *seeds; /* borrowed, as all of these */
	size_t seed_count;
	const uint8_t *writers_sum;
	struct node_key *key;
	struct seal *seal;
	struct gossip_core *core;
	void (*ready_cb)(void *arg);
	void *arg;
};

int keys_open(uv_loop_t *uv, const struct keys_config *cfg, struct keys **ret_keys, struct err *e);
void keys_start(struct keys *k, struct gossip_loop *loop);
void keys_event(struct keys *k, const struct gossip_event *ev);
int keys_clear(const struct gossip_addr *from, const uint8_t *msg, size_t len, void *keys);
struct keyring *keys_ring(struct keys *k);
void keys_stop(struct keys *k); /* harmless if there is none */
void keys_free(struct keys *k);

#endif
