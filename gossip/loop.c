/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/loop_priv.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PUMP_MAX 4096	   /* packets and events in one turn; the rest in the next, sockets first */
#define TIMER_MAX_MS 60000 /* no deadline is trusted to be farther away */
#define PORT_TRIES 16	   /* port 0: a port that is free for UDP may be taken for TCP */

static const uint8_t v4_mapped[12] = {[10] = 0xff, [11] = 0xff};

socklen_t loop_sockaddr(const struct gossip_addr *a, struct sockaddr_storage *ret_sa)
{
	memset(ret_sa, 0, sizeof(*ret_sa));
	if (memcmp(a->ip, v4_mapped, sizeof(v4_mapped)) == 0) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret_sa;

		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->ip + 12, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_sa;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(a->port);
	memcpy(&in6->sin6_addr, a->ip, 16);
	return sizeof(*in6);
}

int loop_addr_of(const struct sockaddr *sa, struct gossip_addr *ret_addr)
{
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)sa;

		memcpy(ret_addr->ip, v4_mapped, sizeof(v4_mapped));
		memcpy(ret_addr->ip + 12, &in->sin_addr, 4);
		ret_addr->port = ntohs(in->sin_port);
		return 0;
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;

		memcpy(ret_addr->ip, &in6->sin6_addr, 16);
		ret_addr->port = ntohs(in6->sin6_port);
		return 0;
	}
	return -EAFNOSUPPORT;
}

uint64_t gossip_loop_now_ms(const struct gossip_loop *l)
{
	(void)l;
	return uv_hrtime() / 1000000; /* not uv_now(): that one stands still within a turn */
}

void gossip_loop_addr(const struct gossip_loop *l, struct gossip_addr *ret_addr)
{
	*ret_addr = l->self;
}

void gossip_loop_counters(const struct gossip_loop *l, struct gossip_loop_counters *ret_counters)
{
	*ret_counters = l->counters;
}

void gossip_loop_hold(struct gossip_loop *l, bool is_held)
{
	l->is_held = is_held;
	if (is_held)
		uv_idle_stop(&l->idle);
	else
		loop_mark(l);
}

static void idle_cb(uv_idle_t *h)
{
	(void)h; /* its being active is what matters */
}

void loop_mark(struct gossip_loop *l)
{
	l->is_marked = true;
	if (!l->is_closing && !l->is_held)
		uv_idle_start(&l->idle, idle_cb); /* can't fail with a callback */
}

void loop_failed(struct gossip_loop *l, enum gossip_via via, const struct gossip_addr *to,
		 int error)
{
	l->counters.send_errors++;
	if (l->is_closing)
		return;
	if (!l->is_sending) {
		gossip_core_send_failed(l->cfg.core, gossip_loop_now_ms(l), via, to, error);
		loop_mark(l);
		return;
	}
	/* one packet has at most GOSSIP_FANOUT_MAX destinations, and each fails once */
	if (l->failure_count < GOSSIP_FANOUT_MAX)
		l->failure[l->failure_count++] = (struct loop_failure){via, *to, error};
}

int loop_deliver(struct gossip_loop *l, enum gossip_via via, const struct gossip_addr *from,
		 const uint8_t *msg, size_t len)
{
	struct gossip_sender sender;
	int n;

	if (l->is_held)
		return -EAGAIN;
	n = seal_open_message(l->cfg.seal, via, msg, len, l->plain, sizeof(l->plain), &sender);

	if (n == -EALREADY)
		l->counters.replayed++;
	else if (n < 0)
		l->counters.unsealed++;
	if (n < 0)
		return n;
	/* what the core can't use, it counts */
	(void)gossip_core_recv(l->cfg.core, gossip_loop_now_ms(l), via, &sender, from, l->plain,
			       (size_t)n);
	loop_mark(l);
	return 0;
}

/* ---- draining the core */

static void send_packet(struct gossip_loop *l, const struct gossip_packet *p)
{
	assert(p->to_count <= GOSSIP_FANOUT_MAX);
	l->is_sending = true;
	switch (p->via) {
	case GOSSIP_DGRAM:
		loop_dgram_send(l, p);
		break;
	case GOSSIP_STREAM:
		loop_stream_send(l, p);
		break;
	case GOSSIP_PING:
		loop_ping_send(l, p);
		break;
	}
	l->is_sending = false;
	for (size_t i = 0; i < l->failure_count; i++)
		gossip_core_send_failed(l->cfg.core, gossip_loop_now_ms(l), l->failure[i].via,
					&l->failure[i].to, l->failure[i].error);
	l->failure_count = 0;
}

/* The record's bytes belong to the core until the next call into it: the callback gets a copy. */
static void report_event(struct gossip_loop *l, struct gossip_event *ev)
{
	struct record *r = &ev->record;

	if (!l->cfg.event_cb)
		return;
	if (ev->kind == GOSSIP_EV_RECORD || ev->kind == GOSSIP_EV_RECORD_GONE) {
		assert(r->key_len <= sizeof(l->event_key) &&
		       r->value_len <= sizeof(l->event_value));
		if (r->key_len > 0)
			memcpy(l->event_key, r->key, r->key_len);
		if (r->value_len > 0)
			memcpy(l->event_value, r->value, r->value_len);
		r->key = l->event_key;
		r->value = l->event_value;
	}
	l->cfg.event_cb(ev, l->cfg.arg);
}

static void arm(struct gossip_loop *l);

void gossip_loop_pump(struct gossip_loop *l)
{
	struct gossip_packet packet;
	struct gossip_event ev;
	int budget = PUMP_MAX;
	bool is_more = true;

	if (l->is_pumping || l->is_closing || l->is_held)
		return; /* the outer one goes on until the core is empty */
	l->is_pumping = true;
	while (is_more && budget > 0 && !l->is_closing) {
		is_more = false;
		while (budget-- > 0 && gossip_core_next_packet(l->cfg.core, &packet)) {
			send_packet(l, &packet);
			is_more = true;
		}
		while (budget-- > 0 && !l->is_closing && gossip_core_next_event(l->cfg.core, &ev)) {
			report_event(l, &ev);
			is_more = true;
		}
	}
	l->is_pumping = false;
	if (l->is_closing)
		return;
	if (is_more)
		loop_mark(l);
	arm(l);
}

/* ---- time */

static void timer_cb(uv_timer_t *t)
{
	loop_mark(t->data);
}

static void arm(struct gossip_loop *l)
{
	uint64_t now_ms = gossip_loop_now_ms(l), at_ms = gossip_core_deadline_ms(l->cfg.core),
		 wait_ms = 1;

	if (l->sweep_at_ms && l->sweep_at_ms < at_ms)
		at_ms = l->sweep_at_ms;
	if (at_ms > now_ms + 1)
		wait_ms = at_ms - now_ms;
	if (wait_ms > TIMER_MAX_MS)
		wait_ms = TIMER_MAX_MS;
	l->armed_ms = now_ms;
	uv_update_time(l->uv); /* else the wait would count from the start of this turn */
	uv_timer_start(&l->timer, timer_cb, wait_ms, 0);
}

static void roll_window(struct gossip_loop *l, uint64_t now_ms)
{
	uint64_t span_ms = now_ms - l->window.begun_ms;
	struct gossip_counters n;

	if (span_ms < GOSSIP_LOOP_WINDOW_MS)
		return;
	gossip_core_counters(l->cfg.core, &n);
	if (l->window.begun_ms) {
		l->counters.lag_ms = l->window.lag_ms;
		l->counters.bytes_in_s = (n.bytes_in - l->window.bytes_in) * 1000 / span_ms;
		l->counters.bytes_out_s = (n.bytes_out - l->window.bytes_out) * 1000 / span_ms;
	}
	l->window.begun_ms = now_ms;
	l->window.lag_ms = 0;
	l->window.bytes_in = n.bytes_in;
	l->window.bytes_out = n.bytes_out;
}

/* After the poll phase. Sockets are read once more before the clock is looked at, so that what arrived while we did
 * not run is heard before anyone is accused of silence. */
static void check_cb(uv_check_t *h)
{
	struct gossip_loop *l = h->data;
	uint64_t now_ms, deadline_ms;

	if (!l->is_marked || l->is_closing || l->is_held)
		return;
	l->is_marked = false;
	uv_idle_stop(&l->idle);
	now_ms = gossip_loop_now_ms(l);
	deadline_ms = gossip_core_deadline_ms(l->cfg.core);
	if (now_ms >= deadline_ms) {
		loop_dgram_drain(&l->dgram);
		loop_dgram_drain(&l->ping);
		/* a deadline that a call set to the past is late from that call on, not before */
		if (deadline_ms < l->armed_ms)
			deadline_ms = l->armed_ms;
		if (now_ms > deadline_ms + l->counters.lag_ms_max)
			l->counters.lag_ms_max = now_ms - deadline_ms;
		if (now_ms > deadline_ms + l->window.lag_ms)
			l->window.lag_ms = now_ms - deadline_ms;
		roll_window(l, now_ms);
		gossip_core_tick(l->cfg.core, gossip_loop_now_ms(l));
		l->is_marked = false; /* what draining marked is pumped below */
		uv_idle_stop(&l->idle);
	}
	if (l->sweep_at_ms && now_ms >= l->sweep_at_ms)
		loop_stream_sweep(l, now_ms);
	gossip_loop_pump(l);
}

/* ---- open and close */

static int open_sockets(struct gossip_loop *l, struct err *e)
{
	struct gossip_addr any_port = l->cfg.bind;
	int r = -EADDRINUSE, tries = l->cfg.bind.port ? 1 : PORT_TRIES;

	for (; r == -EADDRINUSE && tries > 0; tries--) {
		struct sockaddr_storage sa;
		socklen_t sa_len = sizeof(sa);

		if (l->dgram.fd >= 0)
			close(l->dgram.fd);
		l->dgram.fd = -1;
		r = loop_dgram_socket(&l->cfg.bind, l->cfg.device, &l->dgram.fd, e);
		if (r < 0)
			return r;
		if (getsockname(l->dgram.fd, (struct sockaddr *)&sa, &sa_len) < 0)
			return err_set(e, -errno, "getsockname: %s", strerror(errno));
		loop_addr_of((struct sockaddr *)&sa, &l->self);
		r = loop_stream_socket(&l->self, &l->listen_fd, e);
	}
	if (r < 0)
		return r;
	any_port.port = 0;
	return loop_dgram_socket(&any_port, l->cfg.device, &l->ping.fd, e);
}

static int start_handles(struct gossip_loop *l)
{
	int r;

	/* these three can't fail in libuv 1.x */
	uv_timer_init(l->uv, &l->timer);
	uv_check_init(l->uv, &l->check);
	uv_idle_init(l->uv, &l->idle);
	l->timer.data = l->check.data = l->idle.data = l;
	l->handle_count = 3;
	uv_check_start(&l->check, check_cb);
	r = loop_dgram_start(l, &l->dgram);
	if (r == 0)
		r = loop_dgram_start(l, &l->ping);
	if (r == 0)
		r = loop_stream_start(l);
	return r;
}

static void destroy(struct gossip_loop *l)
{
	if (l->dgram.fd >= 0)
		close(l->dgram.fd);
	if (l->ping.fd >= 0)
		close(l->ping.fd);
	if (l->listen_fd >= 0)
		close(l->listen_fd);
	free(l);
}

int gossip_loop_open(uv_loop_t *uv, const struct gossip_loop_config *cfg,
		     struct gossip_loop **ret_loop, struct err *e)
{
	struct gossip_loop *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(e, -ENOMEM, "out of memory");
	/* libuv writes without MSG_NOSIGNAL: a peer that resets its connection would end us */
	signal(SIGPIPE, SIG_IGN);
	l->uv = uv;
	l->cfg = *cfg;
	l->idle_ms = cfg->stream_idle_ms ? cfg->stream_idle_ms : LOOP_STREAM_IDLE_MS;
	l->dgram.fd = l->ping.fd = l->listen_fd = -1;
	l->dgram.via = GOSSIP_DGRAM;
	l->ping.via = GOSSIP_PING;
	LIST_INIT(&l->in);
	LIST_INIT(&l->out);
	r = open_sockets(l, e);
	l->cfg.device = NULL; /* the caller's, for this call */
	if (r < 0) {
		destroy(l);
		return r;
	}
	r = start_handles(l);
	if (r < 0) {
		gossip_loop_close(l, NULL, NULL);
		return err_set(e, r, "gossip: event loop: %s", uv_strerror(r));
	}
	loop_mark(l); /* what the core queued before there was a loop */
	*ret_loop = l;
	return 0;
}

void loop_handle_closed(struct gossip_loop *l)
{
	void (*cb)(void *arg) = l->close_cb;
	void *arg = l->close_arg;

	assert(l->handle_count > 0);
	if (--l->handle_count > 0)
		return;
	assert(l->is_closing);
	destroy(l);
	if (cb)
		cb(arg);
}

static void closed_cb(uv_handle_t *h)
{
	loop_handle_closed(h->data);
}

static void sock_closed_cb(uv_handle_t *h)
{
	loop_handle_closed(((struct loop_sock *)h->data)->l);
}

void gossip_loop_close(struct gossip_loop *l, void (*cb)(void *arg), void *arg)
{
	assert(!l->is_closing);
	l->is_closing = true;
	l->close_cb = cb;
	l->close_arg = arg;
	uv_close((uv_handle_t *)&l->timer, closed_cb);
	uv_close((uv_handle_t *)&l->check, closed_cb);
	uv_close((uv_handle_t *)&l->idle, closed_cb);
	if (l->dgram.l)
		uv_close((uv_handle_t *)&l->dgram.poll, sock_closed_cb);
	if (l->ping.l)
		uv_close((uv_handle_t *)&l->ping.poll, sock_closed_cb);
	loop_stream_close_all(l);
}
