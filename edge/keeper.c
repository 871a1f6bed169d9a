/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper.c - the loop's side: events and ticks in, the parts called in order. */
#include "edge/keeper_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 1000
#define VERIFY_TICKS 5 /* programs that somebody took off are back within 5 s */
#define FILLED_TICKS 2 /* edged's first tables are followed by what its peers know better */
#define WAIT_TICKS 60  /* a line in the log */
#define SETTLE_MS 20   /* one look at the host's facts for a burst of events */

void keeper_log(const char *level, const char *event, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap); /* cut if too long */
	va_end(ap);
	fprintf(stderr, "%s edgefwd %s %s\n", level, event, line);
}

/* ---- events */

static void settle_soon(struct keeper *k)
{
	uint64_t now = uv_now(k->uv), wait = SETTLE_MS;

	if (k->is_routes_dirty && k->routes_after_ms > now + wait)
		wait = k->routes_after_ms - now;
	if (!uv_is_active((uv_handle_t *)&k->settle))
		(void)uv_timer_start(&k->settle, k->settle.timer_cb, wait, 0);
}

static void settle_cb(uv_timer_t *t)
{
	struct keeper *k = t->data;

	keeper_host_update(k);
	keeper_gw_tick(k);
	keeper_l2_update(k);
	keeper_vip_judge(k);
	if (k->is_routes_dirty)
		settle_soon(k);
}

static void link_cb(const struct nl_link *l, void *arg)
{
	keeper_if_event(l, arg);
}

static void addr_cb(const struct nl_addr *a, void *arg)
{
	struct keeper *k = arg;

	/* The kernel drops routes together with an address, and doesn't always say so. */
	if (keeper_if_find(k, a->ifindex))
		k->is_host_dirty = k->is_routes_dirty = true;
}

static void route_cb(const struct nl_route *r, void *arg)
{
	struct keeper *k = arg;

	if (r->dst_bits == 0)
		k->is_routes_dirty = true;
}

static void neigh_cb(const struct nl_neigh *n, void *arg)
{
	struct keeper *k = arg;
	const struct keeper_if *mesh = keeper_if_mesh(k);

	keeper_gw_failed(k, n);
	if (mesh && n->ifindex == mesh->ifindex)
		k->is_host_dirty = true; /* soon, once for all that failed */
}

static void netlink_cb(uv_poll_t *h, int status, int events)
{
	struct keeper *k = h->data;
	struct nl_cbs cbs = {.link_cb = link_cb,
			     .addr_cb = addr_cb,
			     .route_cb = route_cb,
			     .neigh_cb = neigh_cb,
			     .arg = k};

	(void)status; /* the read tells */
	(void)events;
	int rc = nl_drain(k->nl, &cbs);

	if (rc == -ENOBUFS) {
		keeper_log("warn", "netlink_overrun", "text=\"looking at everything again\"");
		rc = keeper_if_scan(k);
		k->is_host_dirty = k->is_routes_dirty = true;
	}
	if (rc < 0)
		keeper_log("error", "netlink_failed", "text=\"%s\"", strerror(-rc));
	if (k->is_host_dirty || k->is_routes_dirty)
		settle_soon(k);
}

/* Programs of another ABI carry the traffic until an edged of ours has filled our maps; then each hook is replaced in place. */
static void switch_tick(struct keeper *k)
{
	unsigned int old = dp_old_abi(k->dp);

	if (!old)
		return;
	if (dp_is_waiting(k->dp)) {
		bool is_filled = dp_is_filled(k->dp, uv_hrtime() / 1000000000u);

		k->filled_ticks = is_filled ? k->filled_ticks + 1 : 0;
		if (k->tick_count % WAIT_TICKS == 1 && !is_filled)
			keeper_log("warn", "upgrade_waits",
				   "text=\"programs of ABI %u go on until an edged of ABI %u has "
				   "filled its maps: restart edged\"",
				   old, DP_ABI_VERSION);
		if (k->filled_ticks < FILLED_TICKS)
			return;
		dp_switch(k->dp);
	}
	if (keeper_if_switch(k)) {
		dp_drop_old(k->dp);
		k->is_switch_stuck = false;
		keeper_log("info", "upgraded", "from_abi=%u abi=%u", old, DP_ABI_VERSION);
	} else if (!k->is_switch_stuck) {
		k->is_switch_stuck = true;
		keeper_log("error", "upgrade_incomplete",
			   "text=\"interfaces that failed keep programs of ABI %u; trying again\"",
			   old);
	}
}

static void tick_cb(uv_timer_t *t)
{
	struct keeper *k = t->data;

	dp_beat(k->dp, uv_hrtime() / 1000000000u);
	k->tick_count++;
	switch_tick(k);
	if (k->tick_count % VERIFY_TICKS == 0)
		keeper_if_verify(k);
	keeper_host_update(k); /* sysctls change without an event */
	keeper_gw_tick(k);
	keeper_l2_update(k);
	keeper_vip_judge(k);
}

/* ---- requests of edged */

static int request_cb(const struct fwd_msg *msg, uint64_t peer, struct err *e, void *arg)
{
	struct keeper *k = arg;

	if (msg->kind == FWD_VIP)
		return keeper_vip_request(k, msg, e);
	if (!k->wg)
		return err_set(e, -EPERM,
			       "WireGuard is not managed here (mesh wireguard = manual)");
	int rc = keeper_wg_request(k->wg, peer, msg, e);

	return rc < 0 ? rc : 1;
}

/* A frame to look at; nothing is sent and nothing changes. */
static int trace_cb(const struct fwd_msg *msg, uint8_t ret_data[FWD_DATA_MAX], uint16_t *ret_bytes,
		    struct err *e, void *arg)
{
	struct keeper *k = arg;
	struct dp_trace found;
	int rc = dp_trace(k->dp, msg->data, msg->data_bytes, &found);

	_Static_assert(sizeof(found) <= FWD_DATA_MAX, "the answer does not fit");
	if (rc < 0)
		return err_set(e, rc, "the trace program did not run: %s", strerror(-rc));
	memcpy(ret_data, &found, sizeof(found));
	*ret_bytes = sizeof(found);
	return 0;
}

static void gone_cb(void *arg)
{
	keeper_log("info", "peer_gone", "text=\"routes stay\"");
	keeper_vip_peer_gone(arg);
}

static void wg_done_cb(uint64_t peer, uint32_t seq, int status, const char *text, void *arg)
{
	struct keeper *k = arg;

	if (status < 0)
		keeper_log("warn", "wireguard_failed", "text=\"%s\"", text);
	keeper_sock_answer(k->sock, peer, seq, status, text);
}

/* ---- open and close */

static int open_parts(struct keeper *k, struct err *e)
{
	bool was_adopted;
	int rc = keeper_check(&k->cfg, e);

	if (rc == -ENODEV) {
		/* Nobody else would take away what an earlier run announced. */
		if (nl_open(&k->nl, NULL) == 0 && keeper_vip_adopt(k) == 0)
			keeper_vip_give_up(k);
		return rc;
	}
	if (rc == 0)
		rc = nl_open(&k->nl, e);
	if (rc == 0)
		rc = dp_open(k->cfg.pin_dir, &k->cfg.sizes, k->cfg.is_fabric, &k->dp, &was_adopted,
			     e);
	if (rc == 0 && (keeper_l2_open(k) < 0 || keeper_egress_open(k) < 0))
		rc = err_set(e, -ENOMEM, "out of memory");
	if (rc < 0)
		return rc;
	k->is_fresh = !was_adopted && !dp_is_waiting(k->dp);
	keeper_log("info", "loaded", "pin_dir=%s abi=%u maps=%s", k->cfg.pin_dir, DP_ABI_VERSION,
		   was_adopted ? "adopted" : "new");
	keeper_host_adopt(k);
	dp_beat(k->dp, uv_hrtime() / 1000000000u);
	rc = keeper_vip_adopt(k);
	if (rc < 0)
		return err_set(e, rc, "cannot read routes: %s", strerror(-rc));
	if (k->is_fresh)
		keeper_vip_give_up(k); /* empty maps forward nothing */
	/* Without a scan the host's facts are unknown, without facts programs have nowhere to send: interfaces
	 * are found first, but the programs of an earlier run go on with what is in the map. */
	rc = keeper_if_scan(k);
	if (rc < 0)
		return err_set(e, rc, "cannot list interfaces: %s", strerror(-rc));
	keeper_host_update(k);
	rc = keeper_if_first_failure(k, e);
	if (rc < 0)
		return rc;
	struct keeper_sock_config sock = {.path = k->cfg.socket_path,
					  .uid = k->cfg.peer_uid,
					  .gid = k->cfg.peer_gid,
					  .build = k->cfg.build,
					  .request_cb = request_cb,
					  .trace_cb = trace_cb,
					  .gone_cb = gone_cb,
					  .arg = k};

	dp_fds(k->dp, &sock.fds);
	return keeper_sock_open(k->uv, &sock, &k->sock, e);
}

static int start_handles(struct keeper *k)
{
	int rc = k->cfg.is_wireguard_managed
			 ? keeper_wg_open(k->uv, k->cfg.mesh_device, wg_done_cb, k, &k->wg)
			 : 0;

	if (rc == 0)
		rc = uv_poll_init(k->uv, &k->nl_poll, nl_event_fd(k->nl));
	if (rc < 0)
		return rc;
	(void)uv_timer_init(k->uv, &k->tick); /* never fails */
	(void)uv_timer_init(k->uv, &k->settle);
	k->nl_poll.data = k->tick.data = k->settle.data = k;
	k->handles = 3;
	rc = uv_poll_start(&k->nl_poll, UV_READABLE, netlink_cb);
	if (rc == 0)
		rc = uv_timer_start(&k->tick, tick_cb, TICK_MS, TICK_MS);
	if (rc == 0)
		rc = uv_timer_start(&k->settle, settle_cb, 0, 0);
	return rc;
}

static void free_parts(struct keeper *k)
{
	keeper_l2_close(k);
	keeper_egress_close(k);
	dp_close(k->dp);
	nl_close(k->nl);
	free(k->ifs);
	free(k->vips);
	free(k);
}

int keeper_open(uv_loop_t *uv, const struct keeper_config *cfg, struct keeper **ret_keeper,
		struct err *e)
{
	struct keeper *k = calloc(1, sizeof(*k));

	if (!k)
		return err_set(e, -ENOMEM, "out of memory");
	k->uv = uv;
	k->cfg = *cfg;
	if (!k->cfg.uplink.count)
		k->cfg.uplink = k->cfg.public_if;
	int rc = open_parts(k, e);

	if (rc == 0) {
		rc = start_handles(k);
		if (rc < 0)
			(void)err_set(e, rc, "event loop: %s", uv_strerror(rc));
	}
	if (rc < 0) {
		const char *more = dp_libbpf_text();

		if (*more)
			fprintf(stderr, "%s", more);
		/* What was there before is left as it was: nothing, or an earlier run's. */
		bool is_fresh = k->is_fresh;

		keeper_close(k, NULL, NULL);
		if (is_fresh)
			(void)keeper_detach(cfg, NULL); /* the first error is the one to tell */
		return rc;
	}
	*ret_keeper = k;
	return 0;
}

static void all_closed(struct keeper *k)
{
	void (*cb)(void *) = k->close_cb;
	void *arg = k->close_arg;

	free_parts(k);
	if (cb)
		cb(arg);
}

static void part_closed_cb(void *arg)
{
	struct keeper *k = arg;

	if (--k->handles == 0)
		all_closed(k);
}

static void handle_closed_cb(uv_handle_t *h)
{
	part_closed_cb(h->data);
}

void keeper_close(struct keeper *k, void (*cb)(void *arg), void *arg)
{
	bool has_handles = k->handles > 0;

	k->close_cb = cb;
	k->close_arg = arg;
	/* Two parts beside the handles, and one for this call, so that nothing is freed under our feet. */
	k->handles += 3;
	keeper_sock_close(k->sock, part_closed_cb, k);
	keeper_wg_close(k->wg, part_closed_cb, k);
	if (has_handles) {
		uv_close((uv_handle_t *)&k->nl_poll, handle_closed_cb);
		uv_close((uv_handle_t *)&k->tick, handle_closed_cb);
		uv_close((uv_handle_t *)&k->settle, handle_closed_cb);
	}
	part_closed_cb(k);
}

/* ---- detach */

static void remove_cb(const struct nl_link *l, void *arg)
{
	struct nl_link *links = arg;

	/* The first is the count. */
	if (links[0].ifindex < KEEPER_IFS_MAX)
		links[++links[0].ifindex] = *l;
}

int keeper_detach(const struct keeper_config *cfg, struct err *e)
{
	struct keeper_config c = *cfg;
	struct nl_link *links = calloc(KEEPER_IFS_MAX + 1, sizeof(*links));
	struct nl_cbs cbs = {.link_cb = remove_cb, .arg = links};
	struct nl *nl = NULL;
	int rc = links ? nl_open(&nl, e) : err_set(e, -ENOMEM, "out of memory");

	if (rc < 0)
		goto out;
	if (!c.uplink.count)
		c.uplink = c.public_if;
	/* Programs first: it fails while an edgefwd runs, and then nothing is touched. */
	rc = dp_detach_all(c.pin_dir, e);
	if (rc < 0)
		goto out;
	rc = keeper_host_remove_routes(nl);
	if (rc == 0)
		rc = nl_dump_links(nl, &cbs);
	if (rc < 0) {
		(void)err_set(e, rc, "netlink: %s", strerror(-rc));
		goto out;
	}
	for (int i = 1; i <= links[0].ifindex; i++)
		if (keeper_roles_of(&c, links[i].name) & DP_ROLE_UPLINK)
			keeper_gw_remove_placeholders(nl, &links[i]);
out:
	nl_close(nl);
	free(links);
	return rc;
}
