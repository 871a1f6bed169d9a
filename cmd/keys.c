/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cmd/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define START_TICK_MS 20 /* until it may speak */

struct keys {
	struct keys_config cfg;
	struct keyring *ring;
	struct gossip_loop *loop;
	uv_timer_t timer;
	char path[256];
	bool is_ready;
};

/* The ring's lines have their event names from it. */
static void on_say(void *arg, const char *level, const char *event, const char *text)
{
	(void)arg;
	fprintf(stderr, "%s keys %s %s\n", level, event, text);
}

static void on_send(void *arg, const struct gossip_addr *to, const uint8_t *buf, size_t len)
{
	struct keys *k = arg;

	if (k->loop)
		gossip_loop_send_clear(k->loop, to, buf, len);
}

int keys_open(uv_loop_t *uv, const struct keys_config *cfg, struct keys **ret_keys, struct err *e)
{
	struct keys *k = calloc(1, sizeof(*k));
	struct keyring_config ring = {.cluster = cfg->cluster,
				      .seal = cfg->seal,
				      .self = cfg->key,
				      .core = cfg->core,
				      .seeds = cfg->seeds,
				      .seed_count = cfg->seed_count,
				      .writers_sum = cfg->writers_sum,
				      .send = on_send,
				      .say = on_say};
	int r;

	if (!k)
		return err_set(e, -ENOMEM, "key ring: out of memory");
	k->cfg = *cfg;
	snprintf(k->path, sizeof(k->path), "%s/keyring", cfg->state_dir);
	ring.path = k->path;
	ring.arg = k;
	r = keyring_open(&ring, &k->ring, e);
	if (r < 0) {
		free(k);
		return r;
	}
	uv_timer_init(uv, &k->timer);
	k->timer.data = k;
	*ret_keys = k;
	return 0;
}

static void maybe_ready(struct keys *k)
{
	if (k->is_ready || !keyring_is_ready(k->ring, gossip_loop_now_ms(k->loop)))
		return;
	k->is_ready = true;
	k->cfg.ready_cb(k->cfg.arg);
}

static void on_timer(uv_timer_t *t)
{
	struct keys *k = t->data;

	keyring_tick(k->ring, gossip_loop_now_ms(k->loop));
	maybe_ready(k);
	gossip_loop_pump(k->loop);
	uv_timer_start(t, on_timer, k->is_ready ? KEYRING_TICK_MS : START_TICK_MS, 0);
}

void keys_start(struct keys *k, struct gossip_loop *loop)
{
	k->loop = loop;
	keyring_start(k->ring, gossip_loop_now_ms(loop));
	maybe_ready(k);
	uv_timer_start(&k->timer, on_timer, START_TICK_MS, 0);
}

void keys_event(struct keys *k, const struct gossip_event *ev)
{
	if (ev->kind == GOSSIP_EV_RECORD && ev->record.kind == KEYRING_KIND)
		keyring_record(k->ring, gossip_loop_now_ms(k->loop), &ev->record);
}

int keys_clear(const struct gossip_addr *from, const uint8_t *msg, size_t len, void *keys)
{
	struct keys *k = keys;
	int r;

	if (!k->loop)
		return -EAGAIN;
	r = keyring_recv(k->ring, gossip_loop_now_ms(k->loop), from, msg, len);
	if (r >= 0)
		maybe_ready(k);
	return r;
}

struct keyring *keys_ring(struct keys *k)
{
	return k->ring;
}

static void on_closed(uv_handle_t *h)
{
	(void)h;
}

void keys_stop(struct keys *k)
{
	if (!k)
		return;
	k->loop = NULL;
	if (!uv_is_closing((uv_handle_t *)&k->timer))
		uv_close((uv_handle_t *)&k->timer, on_closed);
}

void keys_free(struct keys *k)
{
	if (!k)
		return;
	keyring_close(k->ring);
	free(k);
}
