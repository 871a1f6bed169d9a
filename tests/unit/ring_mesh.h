/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/unit/ring_mesh.h - a few real cores with real seals and key rings in virtual time, which restart from what they stored.
 * Header only. Refused messages are counted. */
#ifndef RING_MESH_H
#define RING_MESH_H

#include <errno.h>
#include <setjmp.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "gossip/keyring.h"
#include "gossip/writers.h"

#define NODES 8
#define STORED_MAX 512
#define FLYING_MAX 16384
#define GRACE_MS 3000

struct stored {
	struct record r;
	uint8_t key[RECORD_KEY_MAX], value[RECORD_VALUE_MAX];
};
struct tnode {
	bool is_up, is_joined;
	struct node_key *key;
	struct node_id id;
	struct seal *seal;
	struct gossip_core *core;
	struct keyring *ring;
	struct gossip_addr addr, seeds[2];
	uint64_t generation, boot, refused, ring_ms;
	char path[128];
	uint8_t file_key[SEAL_KEY_BYTES];
	struct writers writers;
	struct stored *stored;
	size_t stored_count;
	struct gossip_member member[NODES];
	size_t member_count;
};
struct flying {
	uint64_t at_ms;
	size_t from, to, len;
	enum gossip_via via;
	bool is_clear, is_pong;
	uint8_t *buf;
};
static struct tnode node[NODES];
static struct flying flying[FLYING_MAX];
static size_t flying_count;
static uint64_t now, rng;
static char dir[64];
static void (*spy)(const struct flying *f); /* sees all that flies */

static inline uint64_t rnd(uint64_t below)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (rng >> 33) % below;
}

static inline void fly(size_t from, const struct gossip_addr *to, enum gossip_via via,
		       bool is_clear, bool is_pong, const uint8_t *buf, size_t len)
{
	struct flying *f = &flying[flying_count];
	size_t i = to->ip[15];

	if (i >= NODES)
		return;
	assert_true(flying_count < FLYING_MAX);
	*f = (struct flying){now + 1 + rnd(via == GOSSIP_STREAM ? 400 : 8),
			     from,
			     i,
			     len,
			     via,
			     is_clear,
			     is_pong,
			     malloc(len)};
	memcpy(f->buf, buf, len);
	if (spy)
		spy(f);
	flying_count++;
}

static inline void ring_send(void *arg, const struct gossip_addr *to, const uint8_t *buf,
			     size_t len)
{
	fly((size_t)((struct tnode *)arg - node), to, GOSSIP_DGRAM, true, false, buf, len);
}

static inline void store_event(struct tnode *n, const struct gossip_event *ev)
{
	const struct record *r = &ev->record;
	size_t i = 0;

	if (ev->kind == GOSSIP_EV_MEMBER && !ev->member.is_self) {
		while (i < n->member_count &&
		       memcmp(&n->member[i].id, &ev->member.id, sizeof(ev->member.id)) != 0)
			i++;
		n->member_count += i == n->member_count;
		n->member[i] = ev->member;
	}
	if (ev->kind != GOSSIP_EV_RECORD && ev->kind != GOSSIP_EV_RECORD_GONE)
		return;
	while (i < n->stored_count &&
	       !(n->stored[i].r.kind == r->kind && n->stored[i].r.key_len == r->key_len &&
		 memcmp(n->stored[i].key, r->key, r->key_len) == 0 &&
		 (record_scope_of(r->kind) == RECORD_SHARED ||
		  memcmp(&n->stored[i].r.writer, &r->writer, sizeof(r->writer)) == 0)))
		i++;
	if (ev->kind == GOSSIP_EV_RECORD_GONE) {
		if (i < n->stored_count)
			n->stored[i] = n->stored[--n->stored_count];
		return;
	}
	assert_true(i < STORED_MAX);
	n->stored_count += i == n->stored_count;
	n->stored[i].r = *r;
	memcpy(n->stored[i].key, r->key, r->key_len);
	memcpy(n->stored[i].value, r->value, r->value_len);
}

static inline void pump(struct tnode *n)
{
	struct gossip_packet p;
	struct gossip_event ev;
	uint8_t sealed[GOSSIP_STREAM_MAX + SEAL_OVERHEAD];
	bool is_more = true;

	while (is_more) {
		is_more = false;
		while (gossip_core_next_packet(n->core, &p)) {
			int len = p.via == GOSSIP_PING ? 0
						       : seal_message(n->seal, p.via, p.buf, p.len,
								      sealed, sizeof(sealed));

			assert_true(len >= 0);
			for (size_t i = 0; i < p.to_count; i++)
				fly((size_t)(n - node), &p.to[i], p.via, false, false,
				    p.via == GOSSIP_PING ? p.buf : sealed,
				    p.via == GOSSIP_PING ? p.len : (size_t)len);
			is_more = true;
		}
		while (gossip_core_next_event(n->core, &ev)) {
			struct stored copy = {.r = ev.record};

			if (ev.kind == GOSSIP_EV_RECORD) {
				memcpy(copy.key, ev.record.key, ev.record.key_len);
				memcpy(copy.value, ev.record.value, ev.record.value_len);
				copy.r.key = copy.key;
				copy.r.value = copy.value;
			}
			store_event(n, &ev);
			if (ev.kind == GOSSIP_EV_RECORD)
				keyring_record(n->ring, now, &copy.r);
			if (ev.kind == GOSSIP_EV_GENERATION) {
				n->generation = ev.generation;
				gossip_core_set_generation(n->core, now, ev.generation);
			}
			is_more = true;
		}
	}
}

static inline int node_open(size_t i, struct err *e)
{
	struct tnode *n = &node[i];
	struct keyring_config k = {.path = n->path,
				   .cluster = "test",
				   .grace_ms = GRACE_MS,
				   .send = ring_send,
				   .arg = n};
	struct gossip_config g = {.region = "r", .generation = ++n->generation};
	int r;

	n->boot = rnd(1u << 31) + 1;
	assert_int_equal(seal_new(n->file_key, "test", n->key, n->boot, &n->seal), 0);
	snprintf(g.name, sizeof(g.name), "n%zu", i);
	node_key_pub(n->key, g.pub);
	g.addr = n->addr;
	g.boot_nonce = n->boot;
	g.seed = rnd(1u << 31);
	g.signer = node_key_signer(n->key);
	writers_guard(&n->writers, &n->id, &g.signer);
	assert_int_equal(gossip_core_new(&g, now, &n->core, e), 0);
	k.seal = n->seal;
	memcpy(n->seeds,
	       (struct gossip_addr[2]){node[i < 2 ? 1 - i : 0].addr, node[i == 2 ? 1 : 2].addr},
	       sizeof(n->seeds));
	k.seeds = n->seeds;
	k.seed_count = 2;
	k.self = n->key;
	k.core = n->core;
	r = keyring_open(&k, &n->ring, e);
	if (r < 0) {
		gossip_core_free(n->core);
		seal_free(n->seal);
		return r;
	}
	for (size_t j = 0; j < n->stored_count; j++) {
		struct record rec = n->stored[j].r;

		rec.key = n->stored[j].key;
		rec.value = n->stored[j].value;
		(void)gossip_core_load_record(n->core, &rec);
	}
	for (size_t j = 0; j < n->member_count; j++)
		(void)gossip_core_load_member(n->core, &n->member[j]);
	keyring_start(n->ring, now);
	n->is_joined = false;
	n->is_up = true;
	n->ring_ms = now;
	return 0;
}

static inline void node_stop(size_t i)
{
	struct tnode *n = &node[i];

	if (!n->is_up)
		return;
	keyring_close(n->ring);
	gossip_core_free(n->core);
	seal_free(n->seal);
	n->is_up = false;
}

static inline void node_restart(size_t i)
{
	node_stop(i);
	assert_int_equal(node_open(i, NULL), 0);
}

static inline void arrive(struct flying *f)
{
	static uint8_t plain[GOSSIP_STREAM_MAX];
	struct tnode *n = &node[f->to];
	struct gossip_sender sender;
	int len;

	if (n->is_up && f->is_pong) {
		(void)gossip_core_recv(n->core, now, GOSSIP_PING, NULL, &node[f->from].addr, f->buf,
				       f->len);
	} else if (n->is_up && f->via == GOSSIP_PING) {
		fly(f->to, &node[f->from].addr, GOSSIP_PING, false, true, f->buf, f->len);
	} else if (n->is_up && f->is_clear) {
		(void)keyring_recv(n->ring, now, &node[f->from].addr, f->buf, f->len);
	} else if (n->is_up && n->is_joined) {
		len = seal_open_message(n->seal, f->via, f->buf, f->len, plain, sizeof(plain),
					&sender);
		if (len >= 0)
			(void)gossip_core_recv(n->core, now, f->via, &sender, &node[f->from].addr,
					       plain, (size_t)len);
		else if (len != -EALREADY)
			n->refused++;
	}
	if (n->is_up && n->is_joined)
		pump(n);
	free(f->buf);
}

static inline void run(uint64_t ms)
{
	for (uint64_t end = now + ms; now < end; now++) {
		for (size_t i = 0; i < flying_count;) {
			struct flying f = flying[i];

			if (f.at_ms > now) {
				i++;
				continue;
			}
			flying[i] = flying[--flying_count];
			arrive(&f);
		}
		for (size_t i = 0; i < NODES; i++) {
			struct tnode *n = &node[i];

			if (!n->is_up)
				continue;
			if (now >= n->ring_ms + KEYRING_TICK_MS) {
				keyring_tick(n->ring, now);
				n->ring_ms = now;
				if (n->is_joined)
					pump(n);
			}
			if (!n->is_joined && !keyring_is_ready(n->ring, now))
				continue;
			if (!n->is_joined) {
				n->is_joined = true;
				assert_int_equal(gossip_core_join(n->core, now, n->seeds, 2), 0);
				pump(n);
			}
			if (now >= gossip_core_deadline_ms(n->core)) {
				gossip_core_tick(n->core, now);
				pump(n);
			}
		}
	}
}

static inline bool run_until(bool (*is_true)(void), uint64_t limit_ms)
{
	for (uint64_t end = now + limit_ms; now < end;) {
		if (is_true())
			return true;
		run(10);
	}
	return is_true();
}

static inline int mesh_setup(void **state)
{
	(void)state;
	assert_true(sodium_init() >= 0);
	now = 1000000;
	rng = 7;
	spy = NULL;
	memset(node, 0, sizeof(node));
	snprintf(dir, sizeof(dir), "/tmp/esto-ring-XXXXXX");
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < NODES; i++) {
		uint8_t seed[SEAL_KEY_BYTES] = {(uint8_t)(i + 1)}, pub[NODE_PUB_BYTES];

		assert_int_equal(node_key_from_seed(seed, &node[i].key), 0);
		node_key_pub(node[i].key, pub);
		node_id_of_pub(pub, &node[i].id);
		memset(node[i].file_key, 0x11, SEAL_KEY_BYTES);
		snprintf(node[i].path, sizeof(node[i].path), "%s/ring%zu", dir, i);
		node[i].addr = (struct gossip_addr){.ip = {10, [15] = (uint8_t)i}, .port = 7946};
		node[i].generation = 100;
		node[i].stored = calloc(STORED_MAX, sizeof(struct stored));
	}
	return 0;
}

static inline int mesh_teardown(void **state)
{
	char cmd[100];

	(void)state;
	for (size_t i = 0; i < NODES; i++) {
		node_stop(i);
		node_key_free(node[i].key);
		free(node[i].stored);
	}
	while (flying_count > 0)
		free(flying[--flying_count].buf);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static inline uint64_t refused(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < NODES; i++)
		sum += node[i].refused;
	return sum;
}

/* All that are up see each other alive, and know the same. */
static inline bool is_agreed(void)
{
	uint8_t first[16], d[16];
	struct gossip_member m;
	bool had = false;

	for (size_t i = 0; i < NODES; i++) {
		if (!node[i].is_up)
			continue;
		gossip_core_digest(node[i].core, had ? d : first);
		if (had && memcmp(d, first, sizeof(d)) != 0)
			return false;
		had = true;
		for (size_t j = 0; j < NODES; j++)
			if (j != i && node[j].is_up &&
			    (!gossip_core_member_get(node[i].core, &node[j].id, &m) ||
			     m.state != GOSSIP_ALIVE))
				return false;
	}
	return true;
}

#endif
