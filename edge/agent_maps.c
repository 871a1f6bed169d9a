/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/agent_int.h"

static void close_fds(const struct dp_fds *fds)
{
	const int *fd = (const int *)fds;

	for (size_t i = 0; i < DP_FD_COUNT; i++)
		close(fd[i]);
}

static int map_ids(const struct dp_fds *fds, uint32_t ret_id[DP_FD_COUNT])
{
	const int *fd = (const int *)fds;

	for (size_t i = 0; i < DP_FD_COUNT; i++) {
		struct bpf_map_info info = {0};
		uint32_t len = sizeof(info);

		if (bpf_obj_get_info_by_fd(fd[i], &info, &len))
			return -errno;
		ret_id[i] = info.id;
	}
	return 0;
}

static void drop_maps(struct agent *a)
{
	a->map_writes++;
	agent_see_no_maps(a);
	agent_health_no_maps(a);
	agent_moves_no_maps(a);
	plan_state_free(a->plan);
	a->plan = NULL;
	if (a->mapw)
		mapw_close(a->mapw);
	a->mapw = NULL;
	agent_lists_forget(a);
	if (a->has_fds)
		close_fds(&a->fds);
	a->has_fds = false;
	a->is_ready = false;
	memset(&a->self_written, 0, sizeof(a->self_written));
}

static void set_map_text(struct agent *a, const char *text)
{
	if (strcmp(a->map_text, text))
		agent_log(text[0] ? "error" : "info", text[0] ? "maps_not_written" : "maps_written",
			  "why=\"%s\"", text);
	if (strcmp(a->map_text, text))
		agent_say(a, "maps", &a->self, "", "%s", text[0] ? text : "written again");
	snprintf(a->map_text, sizeof(a->map_text), "%s", text);
}

/* ---- the mirror: indexes and rows as the maps have them */

static int adopt(struct agent *a, struct err *e)
{
	struct plan_image image;
	struct plan_state *s = NULL;
	struct plan_sizes sizes;
	struct own_backend *o;
	int err;

	mapw_sizes(a->mapw, &sizes);
	err = mapw_image(a->mapw, &image, e);
	if (err)
		return err;
	err = plan_state_new(&sizes, &s);
	if (!err)
		err = plan_adopt(s, &image, &a->world->view, agent_now_ms(a));
	if (err) {
		plan_state_free(s);
		return err_set(e, err, "can't read back what the maps hold: %s", strerror(-err));
	}
	a->plan = s;
	a->is_plan_whole = false;
	a->is_fresh |= !a->is_ready && !plan_svc_count(s);
	agent_tokens_adopt(a);
	TAILQ_FOREACH(o, &a->own, link)
	memset(&o->written, 0, sizeof(o->written));
	agent_log("info", "maps_adopted", "vips=%zu", plan_vip_count(s));
	return 0;
}

/* ---- writing */

static int write_self(struct agent *a, struct err *e)
{
	const struct model_seed *seed = agent_seed(a);
	struct mapw_ops ops = mapw_real_ops(a->mapw);
	struct dp_self self = {.node_num = plan_node_num(&a->self),
			       .node_idx = plan_node_idx(a->plan, &a->self),
			       .ready = 1};
	int err;

	memcpy(self.seed, seed->key, sizeof(self.seed));
	if (!self.node_idx)
		return err_set(e, -ENOENT, "this node has no entry in its own tables");
	if (!memcmp(&self, &a->self_written, sizeof(self)))
		return 0;
	a->map_writes++;
	err = ops.set_self(ops.arg, &self);
	if (err)
		return err_set(e, err, "dp_self: %s", strerror(-err));
	a->self_written = self;
	return 0;
}

/* At first by what others tell of the past; then by what was touched alone, if the plan has seen this world before. */
static int update_plan(struct agent *a, struct plan_list *l, struct err *e, bool *ret_is_whole)
{
	const struct world *w = a->world;
	const struct plan_touched t = {
		.node = w->touched_node.idx,
		.node_count = w->touched_node.count,
		.backend = w->touched_backend.idx,
		.backend_count = w->touched_backend.count,
		.service = w->touched_service.idx,
		.service_count = w->touched_service.count,
	};
	struct route_plan *before;
	int err = -EAGAIN;

	if (a->is_fresh && agent_past_is_heard(a)) {
		before = agent_past_routes(a);
		err = plan_replay(a->plan, &w->view, w->routes, before, &a->self, agent_now_ms(a),
				  l, e);
		route_free(before);
		a->is_fresh = err != 0;
		*ret_is_whole = true;
		return err;
	}
	if (a->is_plan_whole)
		err = plan_update(a->plan, &w->view, w->routes, &a->self, agent_now_ms(a), &t, l);
	*ret_is_whole = err == -EAGAIN;
	if (err != -EAGAIN)
		return err;
	return plan_diff(a->plan, &w->view, w->routes, &a->self, agent_now_ms(a), l, e);
}

static int write_plan(struct agent *a, struct err *e)
{
	struct mapw_ops ops = mapw_real_ops(a->mapw);
	struct plan_list list = {0};
	bool is_whole = false, has_other_nodes;
	int err;

	if (!a->plan) {
		err = adopt(a, e);
		if (err)
			return err;
	}
	agent_lists_filters(a);
	err = update_plan(a, &list, e, &is_whole);
	poison_hook(POISON_PLAN, a->world->service, a->world->view.service_count);
	if (!err) {
		agent_locals_write(a);
		poison_hook(POISON_MAP, a->world->service, a->world->view.service_count);
		a->ops_written += (uint32_t)list.op_count;
		a->map_writes += list.op_count;
		err = mapw_apply(&ops, &list, e);
		if (err) {
			/* The mirror is ahead of the maps now: read them back before the next try. */
			plan_state_free(a->plan);
			a->plan = NULL;
		}
	}
	plan_list_clear(&list);
	a->is_plan_whole = !err;
	if (err)
		return err;
	has_other_nodes = is_whole || a->world->touched_node.count;
	agent_untouch(a);
	/* Server ids are of backends, whatever state they are in. */
	if (is_whole || !a->is_lists_read || a->quic_text[0])
		agent_lists_quic(a);
	return has_other_nodes || !a->meet_digest ? agent_moves_write(a, e) : 0;
}

void agent_maps_write(struct agent *a)
{
	struct err e = {0};
	int err;

	if (!a->mapw)
		return;
	agent_fwd_peers(a); /* whether or not the maps have room: nodes must reach each other */
	if (!agent_seed(a))
		return; /* without a seed nothing may be forwarded; problems say so */
	err = write_plan(a, &e);
	if (!err)
		err = write_self(a, &e);
	if (err) {
		a->is_map_part = false;
		set_map_text(a, e.text[0] ? e.text : strerror(-err));
		a->is_dirty = true; /* the tick tries again */
		return;
	}
	a->is_map_part = true;
	/* Ports, filters, server ids that found no room; the rest is written. */
	set_map_text(a, e.text[0] ? e.text : agent_lists_text(a));
	if (!a->is_ready)
		agent_log("info", "ready", "services=%zu backends=%zu",
			  a->world->view.service_count, a->world->view.backend_count);
	a->is_ready = true;
	agent_report_written(a);
	agent_fwd_announce(a);
}

static void write_word(struct agent *a, const struct plan_op *op)
{
	struct mapw_ops ops = mapw_real_ops(a->mapw);
	int err = ops.apply(ops.arg, op);

	a->map_writes++;
	if (!err)
		return;
	agent_log("error", "word_not_written", "op=%s idx=%u error=\"%s\"", plan_op_text(op->kind),
		  op->idx, strerror(-err));
	plan_state_free(a->plan);
	a->plan = NULL;
}

void agent_maps_backend_down(struct agent *a, const struct node_id *node, const char *backend_key)
{
	struct plan_op op;

	if (a->mapw && a->plan && plan_backend_down(a->plan, node, backend_key, &op)) {
		write_word(a, &op);
		if (a->plan)
			agent_report_word(a);
	}
}

void agent_maps_node_down(struct agent *a, const struct node_id *id, bool is_suspect)
{
	enum dp_node_state state = is_suspect ? DP_NODE_SUSPECT : DP_NODE_DOWN;
	struct plan_op op;

	if (a->mapw && a->plan && plan_node_down(a->plan, id, state, &op)) {
		write_word(a, &op);
		agent_node_changed(a, id);
	}
}

/* ---- the connection */

/* -EPROTONOSUPPORT: maps of another layout. The fds stay the caller's on failure. */
static int take_maps(struct agent *a, const struct dp_fds *fds, uint32_t abi, struct err *e)
{
	uint32_t id[DP_FD_COUNT];
	struct mapw *m;
	struct dp_host host;
	int err;

	if (abi != DP_ABI_VERSION)
		return err_set(e, -EPROTONOSUPPORT,
			       "edgefwd's maps have layout %u, this edged writes %u: restart %s, "
			       "which is older",
			       abi, DP_ABI_VERSION, abi < DP_ABI_VERSION ? "edgefwd" : "edged");
	err = map_ids(fds, id);
	if (err)
		return err_set(e, err, "edgefwd's maps can't be looked at: %s", strerror(-err));
	if (a->mapw && !memcmp(id, a->map_id, sizeof(id))) {
		close_fds(fds);
		return 0;
	}
	err = mapw_open(fds, &m, e);
	if (err)
		return err;
	err = mapw_get_host(m, &host);
	if (err || host.abi != DP_ABI_VERSION) {
		mapw_close(m);
		return err ? err_set(e, err, "dp_host can't be read: %s", strerror(-err))
			   : err_set(e, -EPROTONOSUPPORT,
				     "the maps say that their layout is %u, this edged writes %u",
				     host.abi, DP_ABI_VERSION);
	}
	drop_maps(a);
	poison_all_new(a->poison);
	a->mapw = m;
	a->fds = *fds;
	a->has_fds = true;
	memcpy(a->map_id, id, sizeof(id));
	agent_see_maps(a);
	agent_health_maps(a);
	agent_moves_maps(a);
	return 0;
}

static void on_up(const struct dp_fds *fds, uint32_t abi, void *arg)
{
	struct agent *a = arg;
	struct err e = {0};
	int err;

	if (a->is_closing) {
		close_fds(fds);
		return;
	}
	err = take_maps(a, fds, abi, &e);
	a->is_fwd_up = true;
	snprintf(a->fwd_text, sizeof(a->fwd_text), "connected");
	agent_log("info", "forwarder", "state=connected abi=%u", abi);
	agent_fwd_forget(a);
	if (err) {
		close_fds(fds);
		drop_maps(a);
		a->is_map_part = false;
		set_map_text(a, e.text);
	}
	/* Programs of another ABI forward too: the forwarder is there either way. */
	if (!a->cfg.self.has_forwarder) {
		a->cfg.self.has_forwarder = true;
		err = agent_put_node(a);
		if (err)
			agent_log("error", "node_not_published", "error=\"%s\"", strerror(-err));
		agent_pump(a);
	}
	agent_kick(a, true);
}

static void on_down(const char *why, void *arg)
{
	struct agent *a = arg;

	if (a->is_fwd_up || strcmp(a->fwd_text, why))
		agent_log("warn", "forwarder", "state=gone why=\"%s\"", why);
	a->is_fwd_up = false;
	agent_traces_fail(a, UINT64_MAX, "the connection to edgefwd is lost");
	snprintf(a->fwd_text, sizeof(a->fwd_text), "%s", why);
}

int agent_maps_open(struct agent *a, struct err *e)
{
	struct fwd_config cfg = {.socket_path = a->cfg.fwd_socket,
				 .up_cb = on_up,
				 .down_cb = on_down,
				 .reply_cb = agent_fwd_reply,
				 .arg = a};
	int err;

	if (!a->cfg.fwd_socket) {
		snprintf(a->fwd_text, sizeof(a->fwd_text), "this node has none");
		return 0;
	}
	snprintf(a->fwd_text, sizeof(a->fwd_text), "not connected yet");
	err = fwd_open(a->uv, &cfg, &a->fwd, e);
	if (!err)
		a->open_handles++;
	return err;
}

void agent_maps_tick(struct agent *a)
{
	uint64_t now = agent_now_ms(a);

	if (!a->mapw)
		return;
	mapw_beat(a->mapw, uv_hrtime() / 1000000000);
	if (a->plan && plan_due_ms(a->plan) <= now)
		agent_kick(a, false);
	if (a->fwd_retry_ms && a->fwd_retry_ms <= now && a->is_ready) {
		a->fwd_retry_ms = 0;
		if (a->is_fwd_refused)
			agent_fwd_forget(a);
		agent_fwd_announce(a);
		agent_fwd_peers(a);
	}
}

static void on_fwd_closed(void *arg)
{
	agent_handle_closed(arg);
}

void agent_maps_close(struct agent *a)
{
	drop_maps(a);
	agent_fwd_forget(a);
	if (a->fwd)
		fwd_close(a->fwd, on_fwd_closed, a);
	a->fwd = NULL;
}
