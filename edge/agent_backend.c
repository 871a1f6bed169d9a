/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/agent_int.h"

/* Use counts that no map and no record remembers move on by this much with every start, so that tokens given out
 * before a reboot are not given out again soon: 64 starts. */
#define USE_BASE_STEP 16u
#define USE_MASK ((1u << DP_TOKEN_USE_BITS) - 1)

/* ---- tokens */

int agent_backends_init(struct agent *a)
{
	uint64_t base;

	a->slot = calloc(DP_LOCAL_MAX, sizeof(*a->slot));
	if (!a->slot)
		return -ENOMEM;
	if (store_get_setting(a->store, "token_use_base", &base, UINT64_MAX) || base == UINT64_MAX)
		base = randombytes_uniform(USE_MASK + 1);
	base = (base + USE_BASE_STEP) & USE_MASK;
	/* A store that can't keep it is reported by its own status; random is then the next start's base. */
	(void)store_set_setting(a->store, "token_use_base", base);
	a->use_base = (uint16_t)base;
	for (uint32_t i = 0; i < DP_LOCAL_MAX; i++)
		a->slot[i].use_count = a->use_base;
	return 0;
}

int agent_token_new(struct agent *a, uint32_t *ret_token)
{
	uint64_t now = agent_now_ms(a);

	/* Slot 0 stays free: token 0 is nobody's. */
	for (uint32_t i = 1; i < DP_LOCAL_MAX; i++) {
		uint32_t n = 1 + (a->next_slot + i - 1) % (DP_LOCAL_MAX - 1);
		struct token_slot *s = &a->slot[n];

		if (s->is_taken || s->rest_until_ms > now)
			continue;
		a->next_slot = n;
		*ret_token = DP_TOKEN(n, (s->use_count + 1u) & USE_MASK);
		return 0;
	}
	return -ENOSPC;
}

/* False: its slot belongs to another already. */
static bool take_token(struct agent *a, uint32_t token)
{
	struct token_slot *s = &a->slot[DP_TOKEN_SLOT(token)];

	if (!DP_TOKEN_SLOT(token) || s->is_taken)
		return false;
	s->is_taken = true;
	s->use_count = (uint16_t)DP_TOKEN_USE(token);
	return true;
}

static void free_token(struct agent *a, uint32_t token)
{
	struct token_slot *s = &a->slot[DP_TOKEN_SLOT(token)];

	s->is_taken = false;
	s->rest_until_ms = agent_now_ms(a) + AGENT_TOKEN_REST_MS;
}

/* Pinned maps remember more than the store: use counts of free slots, and slots of backends that are no more. */
void agent_tokens_adopt(struct agent *a)
{
	struct mapw_ops ops = mapw_real_ops(a->mapw);

	for (uint32_t i = 1; i < DP_LOCAL_MAX; i++) {
		struct dp_local local;

		if (mapw_get_local(a->mapw, i, &local))
			break;
		if (a->slot[i].is_taken)
			continue;
		if (local.use_count)
			a->slot[i].use_count = local.use_count & USE_MASK;
		if (local.live) {
			local.live = 0;
			(void)ops.set_local(ops.arg, i, &local); /* the next adoption tries again */
			a->slot[i].rest_until_ms = agent_now_ms(a) + AGENT_TOKEN_REST_MS;
		}
	}
}

/* ---- where they are */

static void find_way(struct own_backend *o)
{
	struct agent *a = o->agent;
	struct deliver_way way;
	struct err e = {0};

	if (deliver_find(&o->model.addr, a->cfg.bridge, a->cfg.bridge_count, &way, &e)) {
		if (strcmp(o->way_text, e.text))
			agent_log("warn", "backend_unreachable", "backend=%s why=\"%s\"", o->key,
				  e.text);
		snprintf(o->way_text, sizeof(o->way_text), "%s", e.text);
		o->has_way = false;
		return;
	}
	o->way = way;
	o->has_way = true;
	o->way_text[0] = 0;
}

static void on_watch(uv_poll_t *p, int status, int events)
{
	struct agent *a = p->data;
	struct own_backend *o;

	(void)status; /* an error is drained like any other change */
	(void)events;
	if (!deliver_watch_drain(a->watch_fd))
		return;
	TAILQ_FOREACH(o, &a->own, link)
	{
		uint32_t was = o->way.ifindex;
		bool had = o->has_way;

		find_way(o);
		if (had != o->has_way)
			agent_health_presence(o);
		else if (o->check && had && o->way.ifindex != was)
			check_kick(o->check);
	}
	if (a->own_count)
		agent_kick(a, false);
}

static void on_watch_closed(uv_handle_t *h)
{
	struct agent *a = h->data;

	close(a->watch_fd);
	agent_handle_closed(a);
}

int agent_backends_watch(struct agent *a)
{
	int err;

	a->watch_fd = deliver_watch_open();
	if (a->watch_fd < 0)
		return a->watch_fd;
	err = uv_poll_init(a->uv, &a->watch, a->watch_fd);
	if (err) {
		close(a->watch_fd);
		a->watch_fd = -1;
		return err;
	}
	a->watch.data = a;
	a->is_watching = true;
	a->open_handles++;
	return uv_poll_start(&a->watch, UV_READABLE, on_watch);
}

/* ---- the list */

struct own_backend *agent_own_find(struct agent *a, const char *key)
{
	struct own_backend *o;

	TAILQ_FOREACH(o, &a->own, link)
	if (!strcmp(o->key, key))
		return o;
	return NULL;
}

int agent_own_add(struct agent *a, const struct model_backend *b, const struct model_health *h,
		  struct own_backend **ret_own)
{
	struct own_backend *o = calloc(1, sizeof(*o));
	int err;

	if (!o)
		return -ENOMEM;
	o->agent = a;
	o->model = *b;
	o->health = *h;
	err = model_backend_key(b, o->key);
	if (!err && !take_token(a, b->token))
		err = -EEXIST;
	if (err) {
		free(o);
		return err;
	}
	find_way(o);
	TAILQ_INSERT_TAIL(&a->own, o, link);
	a->own_count++;
	agent_check_start(o);
	*ret_own = o;
	return 0;
}

void agent_own_remove(struct agent *a, struct own_backend *o)
{
	agent_health_unwatch(o);
	if (o->check)
		check_stop(o->check);
	if (o->written.live && a->mapw) {
		struct mapw_ops ops = mapw_real_ops(a->mapw);

		o->written.live = 0;
		(void)ops.set_local(ops.arg, DP_TOKEN_SLOT(o->model.token), &o->written);
	}
	free_token(a, o->model.token);
	TAILQ_REMOVE(&a->own, o, link);
	a->own_count--;
	free(o);
}

/* What dp_local should say of each own backend; written where it differs. Before edges can know of it. */
void agent_locals_write(struct agent *a)
{
	struct mapw_ops ops = mapw_real_ops(a->mapw);
	struct own_backend *o;

	TAILQ_FOREACH(o, &a->own, link)
	{
		uint8_t family = ip_is_v4(&o->model.addr) ? 4 : 6;
		struct dp_local want = {
			.svc_idx = plan_svc_idx(a->plan, o->model.service, family, o->model.ports),
			.ifindex = o->way.ifindex,
			.port = o->model.port,
			.use_count = (uint16_t)DP_TOKEN_USE(o->model.token),
			.backend_idx = plan_backend_idx(a->plan, &a->self, o->key),
		};
		int err;

		memcpy(want.addr, o->model.addr.b, sizeof(want.addr));
		want.live = o->has_way && want.svc_idx;
		agent_health_watch(o, &want);
		if (!memcmp(&want, &o->written, sizeof(want)))
			continue;
		err = ops.set_local(ops.arg, DP_TOKEN_SLOT(o->model.token), &want);
		if (err)
			agent_log("error", "slot_not_written", "backend=%s error=\"%s\"", o->key,
				  strerror(-err));
		else
			o->written = want;
	}
}

void agent_backends_close(struct agent *a)
{
	struct own_backend *o;

	while ((o = TAILQ_FIRST(&a->own))) {
		/* Slots stay as they are: the forwarder serves on. */
		agent_health_unwatch(o);
		if (o->check)
			check_stop(o->check);
		TAILQ_REMOVE(&a->own, o, link);
		free(o);
	}
	if (a->is_watching)
		uv_close((uv_handle_t *)&a->watch, on_watch_closed);
}
