/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_sock.c - accept edged, check who it is, hand over map fds, take requests. */
#include "edge/keeper_sock.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "edge/keeper.h"

#define SNDBUF_BYTES                                                                               \
	(4 << 20) /* answers to all that edged may have asked (FWD_QUEUE_MAX), unread */
#define REFUSED_MAX 4
#define MESSAGES_PER_TURN 64 /* of one peer: the loop's other handles get theirs */

struct peer {
	struct keeper_sock *sock;
	uv_poll_t poll;
	int fd;
	uint64_t id;
	bool is_used;
};

struct keeper_sock {
	uv_loop_t *uv;
	struct keeper_sock_config cfg;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd;
	uv_poll_t poll;
	struct peer peer[KEEPER_SOCK_PEERS_MAX];
	int refused_fd[REFUSED_MAX]; /* strangers, told and left open for a while; -1 = none */
	size_t refused_next;
	uint64_t served; /* id of the peer that said HELLO last, 0 = none */
	uint64_t last_id;
	int handles;
	bool is_closing;
	void (*close_cb)(void *arg);
	void *close_arg;
};

/* ---- peers */

static void closed_cb(uv_handle_t *h)
{
	struct keeper_sock *s = h->data;

	if (--s->handles > 0 || !s->is_closing)
		return;
	if (s->close_cb)
		s->close_cb(s->close_arg);
	free(s);
}

static void peer_closed_cb(uv_handle_t *h)
{
	struct peer *p = h->data;

	close(p->fd);
	p->is_used = false;
	h->data = p->sock;
	closed_cb(h);
}

static void drop(struct peer *p)
{
	struct keeper_sock *s = p->sock;

	if (uv_is_closing((uv_handle_t *)&p->poll))
		return;
	uv_close((uv_handle_t *)&p->poll, peer_closed_cb);
	if (s->served != p->id)
		return;
	s->served = 0;
	if (s->cfg.gone_cb)
		s->cfg.gone_cb(s->cfg.arg);
}

/* One message with the map fds, if any. */
static int send_msg(int fd, const struct fwd_msg *msg, const struct dp_fds *fds)
{
	union {
		char buf[CMSG_SPACE(sizeof(struct dp_fds))];
		struct cmsghdr align;
	} ctl = {};
	struct iovec iov = {.iov_base = (void *)msg, .iov_len = sizeof(*msg)};
	struct msghdr hdr = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fds) {
		hdr.msg_control = ctl.buf;
		hdr.msg_controllen = sizeof(ctl.buf);
		struct cmsghdr *c = CMSG_FIRSTHDR(&hdr);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(*fds));
		memcpy(CMSG_DATA(c), fds, sizeof(*fds));
	}
	return sendmsg(fd, &hdr, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static struct fwd_msg make_msg(uint16_t kind, uint32_t seq, int status, const char *text)
{
	struct fwd_msg m = {.kind = kind,
			    .version = FWD_PROTO_VERSION,
			    .seq = seq,
			    .abi = DP_ABI_VERSION,
			    .status = status};

	snprintf(m.text, sizeof(m.text), "%.*s", (int)sizeof(m.text) - 1, text);
	return m;
}

static void refuse(int fd, const char *uid_text, int status, const char *text)
{
	struct fwd_msg m = make_msg(FWD_REFUSED, 0, status, text);

	keeper_log("warn", "peer_refused", "%stext=\"%s\"", uid_text, text);
	(void)send_msg(fd, &m, NULL); /* it is closed anyway */
}

/* Closing now, with its HELLO unread or still on the way, would take the reason from it: a reset comes first. So the
 * socket is kept until some others were refused. */
static void refuse_stranger(struct keeper_sock *s, int fd, const char *uid_text, int status,
			    const char *text)
{
	int *slot = &s->refused_fd[s->refused_next++ % REFUSED_MAX];

	refuse(fd, uid_text, status, text);
	(void)shutdown(fd, SHUT_WR); /* the reason, then the end */
	if (*slot >= 0)
		close(*slot);
	*slot = fd;
}

static void hello(struct peer *p, const struct fwd_msg *msg)
{
	struct keeper_sock *s = p->sock;
	char text[120];

	if (msg->abi != DP_ABI_VERSION) {
		snprintf(text, sizeof(text),
			 "edged has ABI %u, edgefwd %u: restart %s, which is older; packets flow "
			 "meanwhile",
			 msg->abi, DP_ABI_VERSION, msg->abi < DP_ABI_VERSION ? "edged" : "edgefwd");
		refuse(p->fd, "", -EPROTONOSUPPORT, text);
		drop(p);
		return;
	}
	if (s->served && s->served != p->id)
		for (size_t i = 0; i < KEEPER_SOCK_PEERS_MAX; i++)
			if (s->peer[i].is_used && s->peer[i].id == s->served)
				drop(&s->peer[i]);
	struct fwd_msg m = make_msg(FWD_WELCOME, msg->seq, 0, s->cfg.build);

	s->served = p->id;
	int rc = send_msg(p->fd, &m, &s->cfg.fds);

	if (rc < 0) {
		drop(p);
		return;
	}
	keeper_log("info", "peer_connected", "build=\"%.100s\"", msg->text);
}

static void answer(struct peer *p, uint32_t seq, int status, const char *text)
{
	struct fwd_msg m = make_msg(FWD_REPLY, seq, status, text);
	int rc = send_msg(p->fd, &m, NULL);

	if (rc < 0) {
		keeper_log("warn", "peer_dropped", "text=\"answer: %s\"", strerror(-rc));
		drop(p);
	}
}

static void trace(struct peer *p, const struct fwd_msg *msg)
{
	struct keeper_sock *s = p->sock;
	struct fwd_msg m = make_msg(FWD_REPLY, msg->seq, 0, "");
	struct err e = {};
	int rc = msg->data_bytes > sizeof(msg->data)
			 ? err_set(&e, -EMSGSIZE, "frame of %u bytes", msg->data_bytes)
			 : s->cfg.trace_cb(msg, m.data, &m.data_bytes, &e, s->cfg.arg);

	if (rc < 0)
		m = make_msg(FWD_REPLY, msg->seq, rc, e.text);
	rc = send_msg(p->fd, &m, NULL);
	if (rc < 0) {
		keeper_log("warn", "peer_dropped", "text=\"trace: %s\"", strerror(-rc));
		drop(p);
	}
}

static void request(struct peer *p, const struct fwd_msg *msg)
{
	struct keeper_sock *s = p->sock;
	struct err e = {};

	if (s->served != p->id) {
		answer(p, msg->seq, -ENOTCONN, "HELLO comes first");
		return;
	}
	if (msg->kind == FWD_TRACE && s->cfg.trace_cb) {
		trace(p, msg);
		return;
	}
	if (msg->kind != FWD_VIP && msg->kind != FWD_WGPEER) {
		answer(p, msg->seq, -EINVAL, "unknown request");
		return;
	}
	int rc = s->cfg.request_cb(msg, p->id, &e, s->cfg.arg);

	if (rc < 0)
		keeper_log("warn", "request_refused", "kind=%u verb=%u text=\"%s\"", msg->kind,
			   msg->verb, e.text);
	if (rc <= 0)
		answer(p, msg->seq, rc, e.text);
}

static void readable_cb(uv_poll_t *h, int status, int events)
{
	struct peer *p = h->data;

	(void)events; /* only readable is asked for */
	for (int i = 0; i < MESSAGES_PER_TURN && !uv_is_closing((uv_handle_t *)h); i++) {
		/* One byte more than a message: too long is seen. Fds that a peer sends are never taken. */
		char buf[sizeof(struct fwd_msg) + 1];
		struct fwd_msg msg;
		ssize_t n = status < 0 ? 0 : recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			drop(p);
			return;
		}
		memcpy(&msg, buf, sizeof(msg));
		if (n != (ssize_t)sizeof(msg) || msg.version != FWD_PROTO_VERSION) {
			refuse(p->fd, "", -EPROTONOSUPPORT, "message of another protocol version");
			drop(p);
			return;
		}
		msg.text[sizeof(msg.text) - 1] = '\0';
		for (char *c = msg.text; *c; c++)
			if ((unsigned char)*c < ' ' || *c == '"' || *c == 0x7f)
				*c = '?'; /* it goes into the log */
		if (msg.kind == FWD_HELLO)
			hello(p, &msg);
		else
			request(p, &msg);
	}
}

static void accept_cb(uv_poll_t *h, int status, int events)
{
	struct keeper_sock *s = h->data;
	struct peer *p = NULL;
	struct ucred who = {.uid = (uid_t)-1};
	socklen_t len = sizeof(who);
	char text[48];

	(void)events;
	int fd = status < 0 ? -1 : accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return; /* gone again */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0 ||
	    (who.uid != 0 && who.uid != s->cfg.uid)) {
		snprintf(text, sizeof(text), "uid=%u pid=%d ", who.uid, who.pid);
		refuse_stranger(s, fd, text, -EPERM, "this user may not speak to edgefwd");
		return;
	}
	for (size_t i = 0; i < KEEPER_SOCK_PEERS_MAX && !p; i++)
		if (!s->peer[i].is_used)
			p = &s->peer[i];
	if (!p || uv_poll_init(s->uv, &p->poll, fd) < 0) {
		refuse_stranger(s, fd, "", -EBUSY, "too many connections");
		return;
	}
	int bytes = SNDBUF_BYTES;

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes,
			 sizeof(bytes)); /* else the default */
	p->sock = s;
	p->fd = fd;
	p->id = ++s->last_id;
	p->is_used = true;
	p->poll.data = p;
	s->handles++;
	if (uv_poll_start(&p->poll, UV_READABLE, readable_cb) < 0)
		drop(p);
}

void keeper_sock_answer(struct keeper_sock *s, uint64_t peer, uint32_t seq, int status,
			const char *text)
{
	for (size_t i = 0; i < KEEPER_SOCK_PEERS_MAX; i++) {
		struct peer *p = &s->peer[i];

		if (p->is_used && p->id == peer && !uv_is_closing((uv_handle_t *)&p->poll))
			answer(p, seq, status, text);
	}
}

/* ---- the listening socket */

/* Is there something at the path that we may remove? 0 = the path is free now. */
static int clear_path(const struct sockaddr_un *sun, struct err *e)
{
	struct stat st;

	if (lstat(sun->sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST, "%s is there and is no socket", sun->sun_path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_set(e, -errno, "socket: %s", strerror(errno));
	int rc = connect(fd, (const struct sockaddr *)sun, sizeof(*sun));
	bool is_dead = rc < 0 && errno == ECONNREFUSED;

	close(fd);
	if (!is_dead)
		return err_set(e, -EADDRINUSE, "%s: another process listens there", sun->sun_path);
	return unlink(sun->sun_path) < 0
		       ? err_set(e, -errno, "%s: cannot remove: %s", sun->sun_path, strerror(errno))
		       : 0;
}

static int listen_at(struct keeper_sock *s, struct err *e)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char dir[sizeof(s->path)];

	memcpy(sun.sun_path, s->path, sizeof(sun.sun_path));
	memcpy(dir, s->path, sizeof(dir));
	/* Group and mode are right from the first moment, and no path is followed twice: whoever owns the
	 * directory could put a link there in between. */
	gid_t old_gid = getegid();
	bool is_group = old_gid == s->cfg.gid || setegid(s->cfg.gid) == 0;
	mode_t old_mask = umask(0002);
	int rc = 0;

	(void)mkdir(dirname(dir), 0775); /* there already, or bind says so */
	umask(is_group ? 0117 : 0177);
	s->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		rc = err_set(e, -errno, "socket: %s", strerror(errno));
	if (rc == 0)
		rc = clear_path(&sun, e);
	if (rc == 0 && (bind(s->fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
			listen(s->fd, KEEPER_SOCK_PEERS_MAX) < 0))
		rc = err_set(e, -errno, "%s: cannot listen: %s", s->path, strerror(errno));
	umask(old_mask);
	if (is_group && old_gid != s->cfg.gid)
		(void)setegid(old_gid); /* it was ours a moment ago */
	return rc;
}

int keeper_sock_open(uv_loop_t *uv, const struct keeper_sock_config *cfg,
		     struct keeper_sock **ret_sock, struct err *e)
{
	struct keeper_sock *s = calloc(1, sizeof(*s));
	int rc = 0;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->uv = uv;
	s->cfg = *cfg;
	s->fd = -1;
	for (size_t i = 0; i < REFUSED_MAX; i++)
		s->refused_fd[i] = -1;
	if (snprintf(s->path, sizeof(s->path), "%s", cfg->path) >= (int)sizeof(s->path))
		rc = err_set(e, -ENAMETOOLONG, "%s: too long for a socket", cfg->path);
	if (rc == 0)
		rc = listen_at(s, e);
	if (rc == 0) {
		rc = uv_poll_init(uv, &s->poll, s->fd);
		if (rc < 0)
			(void)err_set(e, rc, "%s: %s", cfg->path, uv_strerror(rc));
	}
	if (rc < 0) {
		if (s->fd >= 0)
			close(s->fd);
		free(s);
		return rc;
	}
	s->handles = 1;
	s->poll.data = s;
	(void)uv_poll_start(&s->poll, UV_READABLE, accept_cb); /* fails only on a closing handle */
	*ret_sock = s;
	return 0;
}

void keeper_sock_close(struct keeper_sock *s, void (*cb)(void *arg), void *arg)
{
	if (!s) {
		if (cb)
			cb(arg);
		return;
	}
	s->is_closing = true;
	s->close_cb = cb;
	s->close_arg = arg;
	(void)unlink(s->path); /* a new edgefwd would replace it anyway */
	for (size_t i = 0; i < KEEPER_SOCK_PEERS_MAX; i++)
		if (s->peer[i].is_used)
			drop(&s->peer[i]);
	for (size_t i = 0; i < REFUSED_MAX; i++)
		if (s->refused_fd[i] >= 0)
			close(s->refused_fd[i]);
	uv_poll_stop(&s->poll);
	close(s->fd);
	uv_close((uv_handle_t *)&s->poll, closed_cb);
}
