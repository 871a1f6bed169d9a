/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Datagrams of gossip and data-path pings, on sockets of our own under uv_poll. */
#include "gossip/loop_priv.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
#include <unistd.h>

#define BUFFER_BYTES (4 << 20) /* asked for; the kernel gives what it allows */
#define ERRORS_MAX 64	       /* read from the error queue in one turn; poll tells of the rest */

/* The data-path ping as it stands on the wire; the same 16 bytes as struct dp_ping of the packet programs, which this
 * folder does not include. */
#define PING_MAGIC 0x65645031u /* "edP1" */
#define PING_REQUEST 0u
#define PING_REPLY 1u
#define PING_COOKIE_BYTES 8
struct ping_wire {
	uint32_t magic_be;
	uint32_t kind_be;
	uint8_t cookie[PING_COOKIE_BYTES];
};
_Static_assert(sizeof(struct ping_wire) == 16, "as the packet programs have it");

static int on(int fd, int level, int name)
{
	int one = 1;

	return setsockopt(fd, level, name, &one, sizeof(one)) < 0 ? -errno : 0;
}

int loop_dgram_socket(const struct gossip_addr *bind_addr, const char *device, int *ret_fd,
		      struct err *e)
{
	struct sockaddr_storage sa;
	socklen_t sa_len = loop_sockaddr(bind_addr, &sa);
	char text[INET6_ADDRSTRLEN] = "?";
	int size = BUFFER_BYTES, fd, r;
	bool is_v4 = sa.ss_family == AF_INET;

	inet_ntop(sa.ss_family,
		  is_v4 ? (void *)&((struct sockaddr_in *)&sa)->sin_addr
			: (void *)&((struct sockaddr_in6 *)&sa)->sin6_addr,
		  text, sizeof(text));
	fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, -errno, "gossip: UDP socket for %s: %s", text, strerror(errno));
	r = is_v4 ? on(fd, SOL_IP, IP_RECVERR) : on(fd, SOL_IPV6, IPV6_RECVERR);
	if (r == 0 && !is_v4)
		r = on(fd, SOL_IPV6, IPV6_V6ONLY);
	if (r < 0) {
		err_set(e, r, "gossip: UDP socket for %s: %s", text, strerror(-r));
		goto out;
	}
	/* Best effort, all of these: less room, or waking by another flag, is no reason not to start. */
	(void)on(fd, SOL_SOCKET, SO_SELECT_ERR_QUEUE);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&sa, sa_len) < 0) {
		r = -errno;
		if (r == -EADDRNOTAVAIL)
			err_set(e, r,
				"gossip: UDP %s port %u: %s (is the mesh device %s up, with this "
				"address?)",
				text, bind_addr->port, strerror(-r), device ? device : "");
		else
			err_set(e, r, "gossip: UDP %s port %u: %s%s", text, bind_addr->port,
				strerror(-r),
				r == -EADDRINUSE ? " (is another edged running?)" : "");
		goto out;
	}
	*ret_fd = fd;
	return 0;
out:
	close(fd);
	return r;
}

/* ---- in */

static void handle_ping(struct gossip_loop *l, const struct gossip_addr *from, const uint8_t *msg,
			size_t len)
{
	struct ping_wire w;

	if (len != sizeof(w) || from->port != l->cfg.ping_port)
		return; /* anyone may send here; only the core knows whose cookie is right */
	memcpy(&w, msg, sizeof(w));
	if (ntohl(w.magic_be) != PING_MAGIC || ntohl(w.kind_be) != PING_REPLY)
		return;
	(void)gossip_core_recv(l->cfg.core, gossip_loop_now_ms(l), GOSSIP_PING, NULL, from,
			       w.cookie, sizeof(w.cookie));
	loop_mark(l);
}

static void handle(struct loop_sock *s, const struct msghdr *h, const uint8_t *msg, size_t len)
{
	struct gossip_addr from;

	if (loop_addr_of(h->msg_name, &from) < 0)
		return;
	if (s->via == GOSSIP_PING)
		handle_ping(s->l, &from, msg, len);
	else if (h->msg_flags & MSG_TRUNC)
		s->l->counters.unsealed++;
	else if (s->l->cfg.clear_cb && len > 1 && msg[1] != 0)
		s->l->counters.unsealed +=
			s->l->cfg.clear_cb(&from, msg, len, s->l->cfg.clear_arg) < 0;
	else
		(void)loop_deliver(s->l, GOSSIP_DGRAM, &from, msg, len); /* counted */
}

/* ICMP errors, and local ones that came late. The name is where our datagram was going. */
static void drain_errors(struct loop_sock *s)
{
	for (int i = 0; i < ERRORS_MAX; i++) {
		struct sockaddr_storage sa;
		union {
			char buf[512];
			struct cmsghdr align;
		} control;
		uint8_t byte;
		struct iovec iov = {&byte, 1};
		struct msghdr h = {
			.msg_name = &sa,
			.msg_namelen = sizeof(sa),
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.buf,
			.msg_controllen = sizeof(control.buf),
		};
		struct gossip_addr to;

		if (recvmsg(s->fd, &h, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			break;
		if (h.msg_namelen == 0 || loop_addr_of((struct sockaddr *)&sa, &to) < 0)
			continue;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
			struct sock_extended_err ee;

			if (!(c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) &&
			    !(c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR))
				continue;
			memcpy(&ee, CMSG_DATA(c), sizeof(ee));
			if (ee.ee_errno != 0)
				loop_failed(s->l, s->via, &to, -(int)ee.ee_errno);
		}
	}
}

void loop_dgram_drain(struct loop_sock *s)
{
	struct gossip_loop *l = s->l;
	struct sockaddr_storage sa[LOOP_BATCH];
	struct iovec iov[LOOP_BATCH];
	struct mmsghdr m[LOOP_BATCH];

	for (int round = 0; round < LOOP_DRAIN_MAX / LOOP_BATCH; round++) {
		int n;

		for (int i = 0; i < LOOP_BATCH; i++) {
			iov[i] = (struct iovec){l->rx[i], sizeof(l->rx[i])};
			m[i].msg_hdr = (struct msghdr){
				.msg_name = &sa[i],
				.msg_namelen = sizeof(sa[i]),
				.msg_iov = &iov[i],
				.msg_iovlen = 1,
			};
		}
		n = recvmmsg(s->fd, m, LOOP_BATCH, MSG_DONTWAIT, NULL);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			break;
		/* other errors are an ICMP error's echo, told once; the error queue has the whole of it */
		for (int i = 0; i < n; i++)
			handle(s, &m[i].msg_hdr, l->rx[i], m[i].msg_len);
	}
	drain_errors(s);
}

/* ---- out */

static int poll_start(struct loop_sock *s);

static void flush_waiting(struct loop_sock *s)
{
	struct gossip_loop *l = s->l;

	for (int tries = 0; l->waiting_count > 0;) {
		struct loop_waiting *w = &l->waiting[l->waiting_head];
		struct sockaddr_storage sa;
		socklen_t sa_len = loop_sockaddr(&w->to, &sa);

		if (sendto(s->fd, w->buf, w->len, 0, (struct sockaddr *)&sa, sa_len) < 0) {
			int error = errno;

			if (error == EAGAIN || error == EWOULDBLOCK)
				return;
			if (tries++ == 0 && error != EPERM)
				continue; /* as in send_all() */
			loop_failed(l, GOSSIP_DGRAM, &w->to, -error);
		}
		tries = 0;
		l->waiting_head = (l->waiting_head + 1) % LOOP_OUT_MAX;
		l->waiting_count--;
	}
	s->wants_writable = false;
	(void)poll_start(s); /* was started before with the same fd */
}

static void wait_for_room(struct loop_sock *s, const uint8_t *buf, size_t len,
			  const struct gossip_addr *to)
{
	struct gossip_loop *l = s->l;
	struct loop_waiting *w;

	if (s->via == GOSSIP_PING || l->waiting_count == LOOP_OUT_MAX) {
		loop_failed(l, s->via, to, -ENOBUFS);
		return;
	}
	w = &l->waiting[(l->waiting_head + l->waiting_count++) % LOOP_OUT_MAX];
	w->to = *to;
	w->len = len;
	memcpy(w->buf, buf, len);
	if (!s->wants_writable) {
		s->wants_writable = true;
		(void)poll_start(s);
	}
}

static int send_batch(struct loop_sock *s, const uint8_t *buf, size_t len,
		      const struct gossip_addr *to, size_t count)
{
	struct sockaddr_storage sa[LOOP_SEND_BATCH];
	struct iovec iov = {(void *)(uintptr_t)buf, len};
	struct mmsghdr m[LOOP_SEND_BATCH];

	for (size_t i = 0; i < count; i++)
		m[i].msg_hdr = (struct msghdr){
			.msg_name = &sa[i],
			.msg_namelen = loop_sockaddr(&to[i], &sa[i]),
			.msg_iov = &iov,
			.msg_iovlen = 1,
		};
	int n = sendmmsg(s->fd, m, (unsigned)count, 0);

	return n < 0 ? -errno : n;
}

/* sendmmsg() tells an error only of the first message of a call. That error may be another's: an ICMP error that came
 * back for an earlier datagram is told by whatever call is next, once. So each destination has a second try. */
static void send_all(struct loop_sock *s, const uint8_t *buf, size_t len,
		     const struct gossip_addr *to, size_t count)
{
	size_t i = 0;
	int tries = 0;

	while (i < count) {
		size_t n = count - i < LOOP_SEND_BATCH ? count - i : LOOP_SEND_BATCH;
		int r = send_batch(s, buf, len, to + i, n);

		if (r > 0) {
			i += (size_t)r;
			tries = 0;
		} else if (r == -EINTR) {
			continue;
		} else if (r == -EAGAIN) {
			for (; i < count; i++)
				wait_for_room(s, buf, len, &to[i]);
		} else if (tries++ > 0 || r == -EPERM) {
			loop_failed(s->l, s->via, &to[i++], r);
			tries = 0;
		}
	}
}

void loop_dgram_send(struct gossip_loop *l, const struct gossip_packet *p)
{
	int n = seal_message(l->cfg.seal, GOSSIP_DGRAM, p->buf, p->len, l->sealed,
			     sizeof(l->sealed));

	for (size_t i = 0; n < 0 && i < p->to_count; i++)
		loop_failed(l, GOSSIP_DGRAM, &p->to[i], n);
	if (n >= 0)
		send_all(&l->dgram, l->sealed, (size_t)n, p->to, p->to_count);
}

void gossip_loop_send_clear(struct gossip_loop *l, const struct gossip_addr *to, const uint8_t *buf,
			    size_t len)
{
	if (len <= SEAL_DGRAM_MAX && !l->is_closing)
		send_all(&l->dgram, buf, len, to, 1);
}

void loop_ping_send(struct gossip_loop *l, const struct gossip_packet *p)
{
	struct ping_wire w = {.magic_be = htonl(PING_MAGIC), .kind_be = htonl(PING_REQUEST)};
	uint8_t buf[sizeof(w)];

	if (l->cfg.ping_port == 0 || p->len != sizeof(w.cookie))
		return;
	memcpy(w.cookie, p->buf, sizeof(w.cookie));
	memcpy(buf, &w, sizeof(w));
	for (size_t i = 0; i < p->to_count; i++) {
		struct gossip_addr to = p->to[i];

		to.port = l->cfg.ping_port;
		send_all(&l->ping, buf, sizeof(buf), &to, 1);
	}
}

/* ---- poll */

static void poll_cb(uv_poll_t *h, int status, int events)
{
	struct loop_sock *s = h->data;

	loop_dgram_drain(s);
	if (s->wants_writable && (status < 0 || (events & UV_WRITABLE)))
		flush_waiting(s);
	if (status < 0) {
		/* libuv took a pending socket error for a bad fd and stopped. Clear what is left of it and go on. */
		int error;
		socklen_t len = sizeof(error);

		(void)getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		(void)poll_start(s);
	}
	loop_mark(s->l);
}

/* UV_PRIORITIZED with SO_SELECT_ERR_QUEUE: a filled error queue wakes us as such, instead of as a bad fd. */
static int poll_start(struct loop_sock *s)
{
	return uv_poll_start(&s->poll,
			     UV_READABLE | UV_PRIORITIZED | (s->wants_writable ? UV_WRITABLE : 0),
			     poll_cb);
}

int loop_dgram_start(struct gossip_loop *l, struct loop_sock *s)
{
	int r = uv_poll_init(l->uv, &s->poll, s->fd);

	if (r < 0)
		return r;
	s->l = l;
	s->poll.data = s;
	l->handle_count++;
	return poll_start(s);
}
