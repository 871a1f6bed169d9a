/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Stream messages: TCP, one connection per peer and direction, frames of 4-byte length and a sealed message. */
#include "gossip/loop_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LENGTH_BYTES 4
#define BACKLOG 32
#define SWEEPS_PER_IDLE 10

struct message {
	STAILQ_ENTRY(message) link;
	size_t len;
	uint8_t buf[]; /* length, sealed message */
};
STAILQ_HEAD(messages, message);

struct loop_conn {
	LIST_ENTRY(loop_conn) link;
	struct gossip_loop *l;
	uv_tcp_t tcp;
	struct gossip_addr peer; /* out: the address that was asked for; in: where it comes from */
	bool is_out;
	uint64_t
		last_ms; /* out: began to connect or to write, or last wrote; in: came, or last whole message */

	/* out */
	uv_connect_t connect;
	uv_write_t write;
	bool is_connected;
	struct message *writing;
	struct messages queue;
	size_t queue_count, queue_bytes;

	/* in */
	bool is_known;	  /* has shown a sealed message */
	size_t frame_len; /* bytes in frame[] */
	uint8_t *frame;	  /* LENGTH_BYTES + LOOP_FRAME_MAX */
};

/* ---- life */

static struct loop_conn *conn_new(struct gossip_loop *l, bool is_out)
{
	struct loop_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	if (!is_out) {
		c->frame = malloc(LENGTH_BYTES + LOOP_FRAME_MAX);
		if (!c->frame) {
			free(c);
			return NULL;
		}
	}
	c->l = l;
	c->is_out = is_out;
	c->last_ms = gossip_loop_now_ms(l);
	STAILQ_INIT(&c->queue);
	uv_tcp_init(l->uv, &c->tcp); /* makes no socket yet: can't fail */
	c->tcp.data = c;
	l->handle_count++;
	if (is_out) {
		LIST_INSERT_HEAD(&l->out, c, link);
		l->out_count++;
	} else {
		LIST_INSERT_HEAD(&l->in, c, link);
		l->in_count++;
	}
	if (!l->sweep_at_ms)
		l->sweep_at_ms = c->last_ms + l->idle_ms / SWEEPS_PER_IDLE + 1;
	loop_mark(l); /* so that the timer is armed for the sweep */
	return c;
}

static void conn_closed_cb(uv_handle_t *h)
{
	struct loop_conn *c = h->data;
	struct gossip_loop *l = c->l;

	free(c->writing); /* its callback came before this one */
	free(c->frame);
	free(c);
	loop_handle_closed(l);
}

static void drop_queue(struct loop_conn *c)
{
	struct message *m;

	while ((m = STAILQ_FIRST(&c->queue))) {
		STAILQ_REMOVE_HEAD(&c->queue, link);
		free(m);
		c->l->counters.stream_drops++;
	}
	c->queue_count = c->queue_bytes = 0;
}

/* Off the lists at once, so that no one finds it; freed when libuv is done with it. */
static void conn_close(struct loop_conn *c)
{
	if (uv_is_closing((uv_handle_t *)&c->tcp))
		return;
	LIST_REMOVE(c, link);
	if (c->is_out)
		c->l->out_count--;
	else
		c->l->in_count--;
	drop_queue(c);
	uv_close((uv_handle_t *)&c->tcp, conn_closed_cb);
}

/* Outgoing, with something to lose. */
static void conn_fail(struct loop_conn *c, int error)
{
	struct gossip_loop *l = c->l;
	struct gossip_addr peer = c->peer;

	if (uv_is_closing((uv_handle_t *)&c->tcp))
		return;
	if (c->writing)
		l->counters.stream_drops++;
	conn_close(c);
	loop_failed(l, GOSSIP_STREAM, &peer, error);
}

static bool has_work(const struct loop_conn *c)
{
	return !c->is_connected || c->writing || !STAILQ_EMPTY(&c->queue);
}

/* ---- out */

static void write_next(struct loop_conn *c);

static void write_cb(uv_write_t *req, int status)
{
	struct loop_conn *c = req->data;

	if (uv_is_closing((uv_handle_t *)&c->tcp))
		return;
	if (status < 0) {
		conn_fail(c, status);
		return;
	}
	free(c->writing);
	c->writing = NULL;
	c->last_ms = gossip_loop_now_ms(c->l);
	write_next(c);
}

static void write_next(struct loop_conn *c)
{
	struct message *m = STAILQ_FIRST(&c->queue);
	uv_buf_t buf;
	int r;

	if (!m || c->writing || !c->is_connected)
		return;
	STAILQ_REMOVE_HEAD(&c->queue, link);
	c->queue_count--;
	c->queue_bytes -= m->len;
	c->writing = m;
	c->last_ms = gossip_loop_now_ms(c->l);
	c->write.data = c;
	buf = uv_buf_init((char *)m->buf, (unsigned)m->len);
	r = uv_write(&c->write, (uv_stream_t *)&c->tcp, &buf, 1, write_cb);
	if (r < 0)
		conn_fail(c, r);
}

static void discard_alloc_cb(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct loop_conn *c = h->data;

	(void)suggested;
	*buf = uv_buf_init((char *)c->l->discard, sizeof(c->l->discard));
}

/* Nothing is said in this direction: reading tells us when the peer goes. */
static void discard_read_cb(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct loop_conn *c = s->data;

	(void)buf;
	if (n == 0)
		return;
	if (has_work(c))
		conn_fail(c, n == UV_EOF ? -ECONNRESET : n < 0 ? (int)n : -EPROTO);
	else
		conn_close(c);
}

static void connect_cb(uv_connect_t *req, int status)
{
	struct loop_conn *c = req->data;

	if (uv_is_closing((uv_handle_t *)&c->tcp))
		return;
	if (status == 0)
		status = uv_read_start((uv_stream_t *)&c->tcp, discard_alloc_cb, discard_read_cb);
	if (status < 0) {
		conn_fail(c, status);
		return;
	}
	c->is_connected = true;
	write_next(c);
}

static int conn_connect(struct loop_conn *c)
{
	struct gossip_addr from = c->l->self;
	struct sockaddr_storage sa;
	int r;

	from.port = 0;
	loop_sockaddr(&from, &sa);
	r = uv_tcp_bind(&c->tcp, (struct sockaddr *)&sa, 0);
	if (r < 0)
		return r;
	(void)uv_tcp_nodelay(&c->tcp, 1); /* slower without, not wrong */
	loop_sockaddr(&c->peer, &sa);
	c->connect.data = c;
	return uv_tcp_connect(&c->connect, &c->tcp, (struct sockaddr *)&sa, connect_cb);
}

/* Room for one more going out: the one that has been idle longest goes. */
static bool make_room_out(struct gossip_loop *l)
{
	struct loop_conn *c, *longest = NULL;

	if (l->out_count < LOOP_DIRECTION_MAX)
		return true;
	LIST_FOREACH(c, &l->out, link)
	if (!has_work(c) && (!longest || c->last_ms < longest->last_ms))
		longest = c;
	if (longest)
		conn_close(longest);
	return longest;
}

static struct loop_conn *conn_to(struct gossip_loop *l, const struct gossip_addr *to)
{
	struct loop_conn *c;
	int r;

	LIST_FOREACH(c, &l->out, link)
	if (c->peer.port == to->port && memcmp(c->peer.ip, to->ip, sizeof(to->ip)) == 0)
		return c;
	if (!make_room_out(l) || !(c = conn_new(l, true))) {
		loop_failed(l, GOSSIP_STREAM, to, -ENOBUFS);
		return NULL;
	}
	c->peer = *to;
	r = conn_connect(c);
	if (r < 0) {
		conn_fail(c, r);
		return NULL;
	}
	return c;
}

static void enqueue(struct loop_conn *c, struct message *m)
{
	while (c->queue_count >= LOOP_STREAM_QUEUE_MAX ||
	       c->queue_bytes + m->len > LOOP_STREAM_BYTES_MAX) {
		struct message *oldest = STAILQ_FIRST(&c->queue);

		STAILQ_REMOVE_HEAD(&c->queue, link);
		c->queue_count--;
		c->queue_bytes -= oldest->len;
		c->l->counters.stream_drops++;
		free(oldest);
	}
	STAILQ_INSERT_TAIL(&c->queue, m, link);
	c->queue_count++;
	c->queue_bytes += m->len;
	write_next(c);
}

void loop_stream_send(struct gossip_loop *l, const struct gossip_packet *p)
{
	int n = seal_message(l->cfg.seal, GOSSIP_STREAM, p->buf, p->len, l->sealed,
			     sizeof(l->sealed));

	for (size_t i = 0; i < p->to_count; i++) {
		struct loop_conn *c;
		struct message *m;
		uint32_t len_be = htonl((uint32_t)n);

		if (n < 0) {
			loop_failed(l, GOSSIP_STREAM, &p->to[i], n);
			continue;
		}
		c = conn_to(l, &p->to[i]);
		if (!c)
			continue;
		m = malloc(sizeof(*m) + LENGTH_BYTES + (size_t)n);
		if (!m) {
			l->counters.stream_drops++;
			continue;
		}
		m->len = LENGTH_BYTES + (size_t)n;
		memcpy(m->buf, &len_be, LENGTH_BYTES);
		memcpy(m->buf + LENGTH_BYTES, l->sealed, (size_t)n);
		enqueue(c, m);
	}
}

/* ---- in */

/* Whole frames from the front; false: what came is no sealed message, and the connection has no more to say. */
static bool take_frames(struct loop_conn *c)
{
	size_t at = 0;

	while (c->frame_len - at >= LENGTH_BYTES) {
		const uint8_t *p = c->frame + at;
		size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];

		if (len < SEAL_ADDED || len > LOOP_FRAME_MAX) {
			c->l->counters.unsealed++;
			return false;
		}
		if (c->frame_len - at - LENGTH_BYTES < len)
			break;
		if (loop_deliver(c->l, GOSSIP_STREAM, &c->peer, p + LENGTH_BYTES, len) < 0)
			return false;
		c->is_known = true;
		c->last_ms = gossip_loop_now_ms(c->l);
		at += LENGTH_BYTES + len;
	}
	c->frame_len -= at;
	memmove(c->frame, c->frame + at, c->frame_len);
	return true;
}

static void frame_alloc_cb(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
	struct loop_conn *c = h->data;

	(void)suggested;
	/* never empty: a frame that fits is taken out, one that does not ends the connection */
	*buf = uv_buf_init((char *)c->frame + c->frame_len,
			   (unsigned)(LENGTH_BYTES + LOOP_FRAME_MAX - c->frame_len));
}

static void frame_read_cb(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct loop_conn *c = s->data;

	(void)buf;
	if (n == 0)
		return;
	if (n > 0)
		c->frame_len += (size_t)n;
	if (n < 0 || !take_frames(c))
		conn_close(c);
}

/* Room for one more coming in: strangers go first, the longest silent first. */
static void make_room_in(struct gossip_loop *l)
{
	struct loop_conn *c, *worst = NULL;

	if (l->in_count < LOOP_DIRECTION_MAX)
		return;
	LIST_FOREACH(c, &l->in, link)
	if (!worst || (worst->is_known && !c->is_known) ||
	    (worst->is_known == c->is_known && c->last_ms <= worst->last_ms))
		worst = c; /* the list has the newest first */
	conn_close(worst);
}

static void listen_cb(uv_stream_t *server, int status)
{
	struct gossip_loop *l = server->data;
	struct sockaddr_storage sa;
	int sa_len = sizeof(sa);
	struct loop_conn *c;

	if (status < 0)
		return;
	make_room_in(l);
	c = conn_new(l, false);
	l->is_accept_due = !c;
	if (!c) { /* libuv waits for uv_accept() before it listens on: the sweep tries again */
		l->sweep_at_ms = gossip_loop_now_ms(l) + l->idle_ms / SWEEPS_PER_IDLE + 1;
		loop_mark(l);
		return;
	}
	if (uv_accept(server, (uv_stream_t *)&c->tcp) < 0 ||
	    uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&sa, &sa_len) < 0 ||
	    loop_addr_of((struct sockaddr *)&sa, &c->peer) < 0 ||
	    uv_read_start((uv_stream_t *)&c->tcp, frame_alloc_cb, frame_read_cb) < 0)
		conn_close(c);
}

/* ---- all */

static void sweep_out(struct gossip_loop *l, uint64_t now_ms)
{
	uint64_t connect_ms =
		l->idle_ms < LOOP_STREAM_CONNECT_MS ? l->idle_ms : LOOP_STREAM_CONNECT_MS;
	struct loop_conn *c, *next;

	for (c = LIST_FIRST(&l->out); c; c = next) {
		next = LIST_NEXT(c, link);
		if (now_ms < c->last_ms + (c->is_connected ? l->idle_ms : connect_ms))
			continue;
		if (has_work(c))
			conn_fail(c, -ETIMEDOUT);
		else
			conn_close(c);
	}
}

void loop_stream_sweep(struct gossip_loop *l, uint64_t now_ms)
{
	/* the receiving side waits longer, so that it is the sender who ends an idle connection */
	uint64_t in_idle_ms = l->idle_ms + l->idle_ms / 2;
	struct loop_conn *c, *next;

	sweep_out(l, now_ms);
	for (c = LIST_FIRST(&l->in); c; c = next) {
		next = LIST_NEXT(c, link);
		if (now_ms >= c->last_ms + in_idle_ms)
			conn_close(c);
	}
	if (l->is_accept_due)
		listen_cb((uv_stream_t *)&l->listener, 0);
	l->sweep_at_ms = LIST_EMPTY(&l->in) && LIST_EMPTY(&l->out) && !l->is_accept_due
				 ? 0
				 : now_ms + l->idle_ms / SWEEPS_PER_IDLE + 1;
}

int loop_stream_socket(const struct gossip_addr *bind_addr, int *ret_fd, struct err *e)
{
	struct sockaddr_storage sa;
	socklen_t sa_len = loop_sockaddr(bind_addr, &sa);
	int one = 1, r = 0;
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_set(e, -errno, "gossip: TCP socket: %s", strerror(errno));
	/* REUSEADDR: connections of a former run in TIME_WAIT */
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    (sa.ss_family == AF_INET6 &&
	     setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0) ||
	    bind(fd, (struct sockaddr *)&sa, sa_len) < 0 || listen(fd, BACKLOG) < 0)
		r = err_set(e, -errno, "gossip: TCP port %u: %s%s", bind_addr->port,
			    strerror(errno),
			    errno == EADDRINUSE ? " (is another edged running?)" : "");
	if (r < 0)
		close(fd);
	else
		*ret_fd = fd;
	return r;
}

int loop_stream_start(struct gossip_loop *l)
{
	int r;

	uv_tcp_init(l->uv, &l->listener);
	l->listener.data = l;
	l->handle_count++;
	r = uv_tcp_open(&l->listener, l->listen_fd);
	if (r < 0)
		return r;
	l->listen_fd = -1; /* libuv's now */
	return uv_listen((uv_stream_t *)&l->listener, BACKLOG, listen_cb);
}

static void listener_closed_cb(uv_handle_t *h)
{
	loop_handle_closed(h->data);
}

void loop_stream_close_all(struct gossip_loop *l)
{
	while (!LIST_EMPTY(&l->in))
		conn_close(LIST_FIRST(&l->in));
	while (!LIST_EMPTY(&l->out))
		conn_close(LIST_FIRST(&l->out));
	if (l->listener.data)
		uv_close((uv_handle_t *)&l->listener, listener_closed_cb);
}
