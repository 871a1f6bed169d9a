/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/fwd.c - a socket to edgefwd that mends itself. */
#include "edge/fwd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_MS 500 /* edgefwd is back within a second of its restart */
#define REFUSED_MS                                                                                 \
	5000 /* what edgefwd refuses once it refuses again; each time is a line in its log */
#define HELLO_MS 3000 /* edgefwd answers at once unless it is stuck */
#define READS_PER_TURN 256

/* One attempt; outlives its file descriptor's close until libuv lets go of the handle. */
struct conn {
	struct fwd *fwd;
	uv_poll_t poll;
	int fd;
};

struct slot {
	struct fwd_msg msg; /* with the sequence number that is on the wire */
	uint32_t caller_seq;
	bool is_used;
};

struct fwd {
	uv_loop_t *uv;
	struct fwd_config cfg;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	uv_timer_t retry; /* next attempt, or end of patience with the one going on */
	struct conn *conn;
	bool is_up;
	bool is_polling_write;
	char why[160]; /* last reason told */
	struct slot slot[FWD_QUEUE_MAX];
	size_t slot_count;
	uint32_t order[FWD_QUEUE_MAX]; /* slots that wait to be sent, a ring */
	size_t order_first, order_count;
	uint32_t next_seq;
	int handles;
	bool is_closing;
	void (*close_cb)(void *arg);
	void *close_arg;
};

static void retry_cb(uv_timer_t *t);
static void ready_cb(uv_poll_t *h, int status, int events);

static void put_handle(struct fwd *f)
{
	if (--f->handles > 0 || !f->is_closing)
		return;
	if (f->close_cb)
		f->close_cb(f->close_arg);
	free(f);
}

static void conn_closed_cb(uv_handle_t *h)
{
	struct conn *c = h->data;
	struct fwd *f = c->fwd;

	close(c->fd);
	free(c);
	put_handle(f);
}

/* End of a connection, or of an attempt. */
static void down(struct fwd *f, uint64_t again_ms, const char *why)
{
	bool is_news = f->is_up || strcmp(f->why, why) != 0;

	if (f->conn)
		uv_close((uv_handle_t *)&f->conn->poll, conn_closed_cb);
	f->conn = NULL;
	f->is_up = false;
	memset(f->slot, 0, sizeof(f->slot));
	f->slot_count = f->order_count = f->order_first = 0;
	snprintf(f->why, sizeof(f->why), "%s", why);
	(void)uv_timer_start(&f->retry, retry_cb, again_ms, 0); /* has a callback, isn't closing */
	if (is_news && f->cfg.down_cb)
		f->cfg.down_cb(f->why, f->cfg.arg);
}

static int poll_for(struct fwd *f, bool is_write)
{
	f->is_polling_write = is_write;
	return uv_poll_start(&f->conn->poll, UV_READABLE | (is_write ? UV_WRITABLE : 0), ready_cb);
}

/* ---- sending */

static void send_waiting(struct fwd *f)
{
	while (f->order_count) {
		const struct slot *s = &f->slot[f->order[f->order_first]];
		ssize_t n = send(f->conn->fd, &s->msg, sizeof(s->msg), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		/* A broken socket shows itself as readable, too: that ends the connection. */
		if (n < 0)
			break;
		f->order_first = (f->order_first + 1) % FWD_QUEUE_MAX;
		f->order_count--;
	}
	if (f->is_polling_write != (f->order_count > 0))
		(void)poll_for(f, f->order_count > 0); /* the handle is active: it can't fail */
}

int fwd_send(struct fwd *f, const struct fwd_msg *msg)
{
	uint32_t i = 0;

	if (!f->is_up || f->is_closing)
		return -ENOTCONN;
	if (f->slot_count == FWD_QUEUE_MAX)
		return -ENOBUFS;
	while (f->slot[i].is_used)
		i++;
	struct slot *s = &f->slot[i];

	*s = (struct slot){.msg = *msg, .caller_seq = msg->seq, .is_used = true};
	s->msg.version = FWD_PROTO_VERSION;
	s->msg.abi = DP_ABI_VERSION;
	s->msg.seq = ++f->next_seq;
	f->slot_count++;
	f->order[(f->order_first + f->order_count++) % FWD_QUEUE_MAX] = i;
	send_waiting(f);
	return 0;
}

/* ---- receiving */

/* 1 = a message, 0 = none now, or a negative errno. Fds that come along are the caller's if all are there, else closed. */
static int receive(int fd, struct fwd_msg *ret_msg, struct dp_fds *ret_fds, bool *ret_has_fds)
{
	union {
		char buf[CMSG_SPACE(sizeof(struct dp_fds))];
		struct cmsghdr align;
	} ctl;
	struct iovec iov = {.iov_base = ret_msg, .iov_len = sizeof(*ret_msg)};
	struct msghdr hdr = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = ctl.buf,
			     .msg_controllen = CMSG_LEN(sizeof(struct dp_fds))};
	ssize_t n = recvmsg(fd, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*ret_has_fds = false;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&hdr); c; c = CMSG_NXTHDR(&hdr, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int got[DP_FD_COUNT];

		memcpy(got, CMSG_DATA(c), count * sizeof(int));
		if (count == DP_FD_COUNT && !*ret_has_fds) {
			memcpy(ret_fds, got, sizeof(*ret_fds));
			*ret_has_fds = true;
			continue;
		}
		for (size_t i = 0; i < count; i++)
			close(got[i]);
	}
	if (n == 0)
		return -ECONNRESET;
	ret_msg->text[sizeof(ret_msg->text) - 1] = '\0';
	return n == (ssize_t)sizeof(*ret_msg) && ret_msg->version == FWD_PROTO_VERSION
		       ? 1
		       : -EPROTONOSUPPORT;
}

static void close_fds(const struct dp_fds *fds)
{
	int fd[DP_FD_COUNT];

	memcpy(fd, fds, sizeof(fd));
	for (size_t i = 0; i < DP_FD_COUNT; i++)
		close(fd[i]);
}

/* What the operator has to do; which may be half-way through an upgrade. */
static void other_abi(uint32_t abi, char *why, size_t cap)
{
	snprintf(why, cap,
		 "edgefwd has ABI %u, this edged %u: restart %s, which is older; packets flow "
		 "meanwhile as the maps say",
		 abi, DP_ABI_VERSION, abi < DP_ABI_VERSION ? "edgefwd" : "edged");
}

static void welcome(struct fwd *f, const struct fwd_msg *msg, const struct dp_fds *fds,
		    bool has_fds)
{
	char why[160];

	if (!has_fds || f->is_up || msg->abi != DP_ABI_VERSION) {
		if (has_fds)
			close_fds(fds);
		if (msg->abi != DP_ABI_VERSION)
			other_abi(msg->abi, why, sizeof(why));
		else
			snprintf(why, sizeof(why), "edgefwd's answer has %s maps",
				 has_fds ? "all" : "not all");
		down(f, REFUSED_MS, why);
		return;
	}
	uv_timer_stop(&f->retry);
	f->is_up = true;
	f->why[0] = '\0';
	f->cfg.up_cb(fds, msg->abi, f->cfg.arg);
}

static void reply(struct fwd *f, const struct fwd_msg *msg)
{
	for (size_t i = 0; i < FWD_QUEUE_MAX; i++) {
		struct slot *s = &f->slot[i];

		if (!s->is_used || s->msg.seq != msg->seq)
			continue;
		struct fwd_msg asked = s->msg, answer = *msg;

		asked.seq = answer.seq = s->caller_seq;
		s->is_used = false;
		f->slot_count--;
		if (f->cfg.reply_cb)
			f->cfg.reply_cb(&asked, &answer, f->cfg.arg);
		return;
	}
}

static void take(struct fwd *f, const struct fwd_msg *msg, const struct dp_fds *fds, bool has_fds)
{
	char why[160];

	if (msg->kind == FWD_WELCOME) {
		welcome(f, msg, fds, has_fds);
		return;
	}
	if (has_fds)
		close_fds(fds);
	if (msg->kind == FWD_REFUSED) {
		if (msg->abi != DP_ABI_VERSION)
			other_abi(msg->abi, why, sizeof(why));
		else
			snprintf(why, sizeof(why), "edgefwd refuses: %s", msg->text);
		down(f, REFUSED_MS, why);
	} else if (msg->kind == FWD_REPLY) {
		reply(f, msg);
	}
}

static void ready_cb(uv_poll_t *h, int status, int events)
{
	struct conn *c = h->data;
	struct fwd *f = c->fwd;
	char why[160];

	(void)events;
	for (int i = 0; i < READS_PER_TURN && f->conn == c; i++) {
		struct fwd_msg msg;
		struct dp_fds fds;
		bool has_fds = false;
		int rc = status < 0 ? status : receive(c->fd, &msg, &fds, &has_fds);

		if (rc == 0)
			break;
		if (rc > 0) {
			take(f, &msg, &fds, has_fds);
			continue;
		}
		if (has_fds)
			close_fds(&fds);
		snprintf(why, sizeof(why), "%s: connection lost: %s", f->path, strerror(-rc));
		down(f, RETRY_MS, why);
	}
	if (f->conn == c && f->is_up)
		send_waiting(f);
}

/* ---- connecting */

static int connect_now(struct fwd *f)
{
	struct fwd_msg hello = {
		.kind = FWD_HELLO, .version = FWD_PROTO_VERSION, .abi = DP_ABI_VERSION};
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct conn *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	memcpy(sun.sun_path, f->path, sizeof(sun.sun_path));
	snprintf(hello.text, sizeof(hello.text), "%s", EDGE_VERSION);
	c->fwd = f;
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
	    send(c->fd, &hello, sizeof(hello), MSG_NOSIGNAL) < 0) {
		rc = -errno;
		goto fail;
	}
	rc = uv_poll_init(f->uv, &c->poll, c->fd);
	if (rc < 0)
		goto fail;
	c->poll.data = c;
	f->handles++;
	f->conn = c;
	rc = poll_for(f, false);
	if (rc == 0)
		return 0;
	f->conn = NULL;
	uv_close((uv_handle_t *)&c->poll, conn_closed_cb);
	return rc;
fail:
	if (c->fd >= 0)
		close(c->fd);
	free(c);
	return rc;
}

static void retry_cb(uv_timer_t *t)
{
	struct fwd *f = t->data;
	char why[160];

	if (f->conn) {
		down(f, RETRY_MS, "edgefwd doesn't answer");
		return;
	}
	int rc = connect_now(f);

	if (rc == 0) {
		(void)uv_timer_start(&f->retry, retry_cb, HELLO_MS, 0);
		return;
	}
	snprintf(why, sizeof(why), "%s: cannot connect: %s", f->path, strerror(-rc));
	down(f, RETRY_MS, why);
}

int fwd_open(uv_loop_t *uv, const struct fwd_config *cfg, struct fwd **ret_fwd, struct err *e)
{
	struct fwd *f = calloc(1, sizeof(*f));

	if (!f)
		return err_set(e, -ENOMEM, "out of memory");
	f->uv = uv;
	f->cfg = *cfg;
	if (snprintf(f->path, sizeof(f->path), "%s", cfg->socket_path) >= (int)sizeof(f->path)) {
		free(f);
		return err_set(e, -ENAMETOOLONG, "%s: too long for a socket", cfg->socket_path);
	}
	f->cfg.socket_path = f->path;
	(void)uv_timer_init(uv, &f->retry); /* never fails */
	f->retry.data = f;
	f->handles = 1;
	(void)uv_timer_start(&f->retry, retry_cb, 0, 0);
	*ret_fwd = f;
	return 0;
}

bool fwd_is_up(const struct fwd *f)
{
	return f->is_up;
}

static void timer_closed_cb(uv_handle_t *h)
{
	put_handle(h->data);
}

void fwd_close(struct fwd *f, void (*cb)(void *arg), void *arg)
{
	if (!f) {
		if (cb)
			cb(arg);
		return;
	}
	f->is_closing = true;
	f->close_cb = cb;
	f->close_arg = arg;
	f->is_up = false;
	if (f->conn)
		uv_close((uv_handle_t *)&f->conn->poll, conn_closed_cb);
	f->conn = NULL;
	uv_close((uv_handle_t *)&f->retry, timer_closed_cb);
}
