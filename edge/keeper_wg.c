/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_wg.c - run `wg set`, one after another. */
#include "edge/keeper_wg.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "edge/ip.h"

#define RUN_MS_MAX                                                                                 \
	5000 /* wg talks to the kernel or to wireguard-go beside us: over this it hangs */

struct job {
	uint64_t peer;
	struct fwd_msg msg;
};

struct keeper_wg {
	uv_loop_t *uv;
	char device[16];
	keeper_wg_cb cb;
	void *arg;
	struct job queue[KEEPER_WG_QUEUE_MAX]; /* [first] is running while is_running */
	size_t first, count;
	bool is_running, is_late, is_closing;
	uv_process_t process;
	uv_timer_t limit;
	int handles;
	void (*close_cb)(void *arg);
	void *close_arg;
};

int keeper_wg_args(const char *device, const struct fwd_msg *msg, struct keeper_wg_args *ret_args,
		   struct err *e)
{
	static const uint8_t no_key[32];
	struct keeper_wg_args *a = ret_args;
	struct ip_addr addr, endpoint;
	char text[IP_TEXT_MAX];
	size_t n = 0;

	memcpy(addr.b, msg->addr, 16);
	memcpy(endpoint.b, msg->endpoint, 16);
	if (!memcmp(msg->wg_pub, no_key, 32))
		return err_set(e, -EINVAL, "WireGuard peer without a key");
	_Static_assert(sizeof(a->key) >= sodium_base64_ENCODED_LEN(32, 1), "key is too small");
	sodium_bin2base64(a->key, sizeof(a->key), msg->wg_pub, 32, sodium_base64_VARIANT_ORIGINAL);
	a->argv[n++] = "wg";
	a->argv[n++] = "set";
	a->argv[n++] = device;
	a->argv[n++] = "peer";
	a->argv[n++] = a->key;
	if (msg->verb == FWD_WG_DEL) {
		a->argv[n++] = "remove";
		a->argv[n] = NULL;
		return 0;
	}
	if (msg->verb != FWD_WG_SET)
		return err_set(e, -EINVAL, "unknown WireGuard verb %u", msg->verb);
	if (ip_is_zero(&addr) || ip_is_loopback(&addr))
		return err_set(e, -EINVAL, "%s: no mesh address", ip_text(&addr, text));
	snprintf(a->allowed, sizeof(a->allowed), "%s/%d", ip_text(&addr, text),
		 ip_is_v4(&addr) ? 32 : 128);
	a->argv[n++] = "allowed-ips";
	a->argv[n++] = a->allowed;
	a->argv[n++] = "persistent-keepalive";
	a->argv[n++] = "25";
	if (!ip_is_zero(&endpoint) && msg->endpoint_port) {
		snprintf(a->endpoint, sizeof(a->endpoint), "%s",
			 ip_port_text(&endpoint, msg->endpoint_port, text));
		a->argv[n++] = "endpoint";
		a->argv[n++] = a->endpoint;
	}
	_Static_assert(KEEPER_WG_ARGS_MAX >= 12, "argv is too small");
	a->argv[n] = NULL;
	return 0;
}

static void run_next(struct keeper_wg *w);

static void closed_cb(uv_handle_t *h)
{
	struct keeper_wg *w = h->data;

	if (--w->handles > 0)
		return;
	if (w->close_cb)
		w->close_cb(w->close_arg);
	free(w);
}

/* The process handle is closed: the next run may use it. */
static void reaped_cb(uv_handle_t *h)
{
	struct keeper_wg *w = h->data;

	w->is_running = false;
	if (!w->is_closing)
		run_next(w);
	closed_cb(h);
}

static void finish(struct keeper_wg *w, int status, const char *text)
{
	struct job done = w->queue[w->first];

	w->first = (w->first + 1) % KEEPER_WG_QUEUE_MAX;
	w->count--;
	if (!w->is_closing)
		w->cb(done.peer, done.msg.seq, status, text, w->arg);
}

static void exit_cb(uv_process_t *p, int64_t code, int sig)
{
	struct keeper_wg *w = p->data;
	char text[96];

	uv_timer_stop(&w->limit);
	if (w->is_late)
		finish(w, -ETIMEDOUT, "wg did not end in 5 s");
	else if (code == 0 && sig == 0)
		finish(w, 0, "");
	else {
		snprintf(text, sizeof(text), "wg set %s: exit %lld signal %d", w->device,
			 (long long)code, sig);
		finish(w, -EIO, text);
	}
	uv_close((uv_handle_t *)p, reaped_cb);
}

static void late_cb(uv_timer_t *t)
{
	struct keeper_wg *w = t->data;

	w->is_late = true;
	(void)uv_process_kill(&w->process, SIGKILL); /* it may have ended just now */
}

static void run_next(struct keeper_wg *w)
{
	uv_stdio_container_t io[3] = {
		{.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_INHERIT_FD, .data.fd = 2}};
	struct keeper_wg_args args;
	struct err e = {};
	char text[96];

	while (!w->is_running && w->count) {
		int rc = keeper_wg_args(w->device, &w->queue[w->first].msg, &args, &e);

		if (rc < 0) {
			finish(w, rc, e.text);
			continue;
		}
		uv_process_options_t opts = {.file = args.argv[0],
					     .args = (char **)args.argv,
					     .exit_cb = exit_cb,
					     .stdio = io,
					     .stdio_count = 3};

		w->is_running = true;
		w->is_late = false;
		w->handles++;
		w->process.data = w;
		rc = uv_spawn(w->uv, &w->process, &opts);
		if (rc == 0) {
			(void)uv_timer_start(&w->limit, late_cb, RUN_MS_MAX,
					     0); /* has a callback */
			continue;
		}
		snprintf(text, sizeof(text), "cannot run wg: %s", uv_strerror(rc));
		finish(w, rc, text);
		uv_close((uv_handle_t *)&w->process, reaped_cb); /* goes on from there */
	}
}

int keeper_wg_open(uv_loop_t *uv, const char *device, keeper_wg_cb cb, void *arg,
		   struct keeper_wg **ret_wg)
{
	struct keeper_wg *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->uv = uv;
	w->cb = cb;
	w->arg = arg;
	snprintf(w->device, sizeof(w->device), "%s", device);
	int rc = uv_timer_init(uv, &w->limit);

	if (rc < 0) {
		free(w);
		return rc;
	}
	w->limit.data = w;
	w->handles = 1;
	*ret_wg = w;
	return 0;
}

int keeper_wg_request(struct keeper_wg *w, uint64_t peer, const struct fwd_msg *msg, struct err *e)
{
	struct keeper_wg_args args;
	int rc = keeper_wg_args(w->device, msg, &args, e);

	if (rc < 0)
		return rc;
	if (w->count == KEEPER_WG_QUEUE_MAX)
		return err_set(e, -ENOBUFS, "%d WireGuard requests are waiting",
			       KEEPER_WG_QUEUE_MAX);
	w->queue[(w->first + w->count++) % KEEPER_WG_QUEUE_MAX] =
		(struct job){.peer = peer, .msg = *msg};
	if (!w->is_running)
		run_next(w);
	return 0;
}

void keeper_wg_close(struct keeper_wg *w, void (*cb)(void *arg), void *arg)
{
	if (!w) {
		if (cb)
			cb(arg);
		return;
	}
	w->is_closing = true;
	w->close_cb = cb;
	w->close_arg = arg;
	/* A run goes on by itself; only its handle goes. */
	if (w->is_running && !uv_is_closing((uv_handle_t *)&w->process))
		uv_close((uv_handle_t *)&w->process, reaped_cb);
	uv_close((uv_handle_t *)&w->limit, closed_cb);
}
