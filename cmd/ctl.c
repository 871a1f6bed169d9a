/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cmd/ctl.h"

#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/ctl_int.h"

#define BACKLOG 16

struct peer;

/* One request that is answered later. It outlives its client, and the server. */
struct ctl_ask {
	struct peer *peer; /* NULL: nobody waits for the answer any more */
	uint64_t id;
	char method[CTL_METHOD_MAX];
};

struct peer {
	uv_pipe_t pipe;
	uv_timer_t timer;
	struct ctl *ctl;
	TAILQ_ENTRY(peer) link;
	uint8_t *buf; /* CTL_REQUEST_MAX; NULL in a client that is turned away */
	size_t len;
	struct ctl_scan scan;
	struct ctl_ask *ask;
	struct ctl_out out;
	uv_write_t write;
	size_t unsent_bytes; /* at the last look of the timer */
	uid_t uid;
	bool is_busy, is_last, is_closing, is_counted;
	unsigned open_handles;
};
TAILQ_HEAD(peers, peer);

struct ctl {
	struct ctl_config cfg;
	uv_pipe_t pipe;
	struct peers peers;
	size_t count;
	dev_t dev; /* of the socket file: only ours is removed */
	ino_t ino;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	bool is_closing, is_pipe_open, is_accept_due;
	void (*close_cb)(void *arg);
	void *close_arg;
};

static void say(const char *level, const char *event, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void say(const char *level, const char *event, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s ctl %s ", level, event);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* ---- closing */

static void maybe_closed(struct ctl *c)
{
	void (*cb)(void *arg) = c->close_cb;
	void *arg = c->close_arg;

	if (!c->is_closing || c->is_pipe_open || !TAILQ_EMPTY(&c->peers))
		return;
	free(c);
	if (cb)
		cb(arg);
}

static void on_connection(uv_stream_t *s, int status);

static void on_peer_handle_closed(uv_handle_t *h)
{
	struct peer *p = h->data;
	struct ctl *c = p->ctl;

	if (--p->open_handles)
		return;
	TAILQ_REMOVE(&c->peers, p, link);
	ctl_out_done(&p->out);
	free(p->buf);
	free(p);
	if (c->is_accept_due)
		on_connection((uv_stream_t *)&c->pipe, 0);
	maybe_closed(c);
}

static void close_peer(struct peer *p)
{
	if (p->is_closing)
		return;
	p->is_closing = true;
	if (p->ask)
		p->ask->peer = NULL;
	p->ask = NULL;
	ctl_see_gone(&p->ctl->cfg, p);
	if (p->is_counted)
		p->ctl->count--;
	uv_close((uv_handle_t *)&p->pipe, on_peer_handle_closed);
	uv_close((uv_handle_t *)&p->timer, on_peer_handle_closed);
}

/* ---- answering */

static void serve(struct peer *p);

static uint32_t idle_ms(const struct ctl *c)
{
	return c->cfg.idle_ms ? c->cfg.idle_ms : CTL_IDLE_MS;
}

/* Idle, or a client that doesn't read: a reply that goes on moving may take its time. */
static void on_timer(uv_timer_t *t)
{
	struct peer *p = t->data;
	size_t unsent = uv_stream_get_write_queue_size((uv_stream_t *)&p->pipe);

	if (p->ask) /* the agent's turn, not the client's */
		return;
	if (p->is_busy && unsent < p->unsent_bytes) {
		p->unsent_bytes = unsent;
		return;
	}
	close_peer(p);
}

static void on_written(uv_write_t *w, int status)
{
	struct peer *p = w->data;

	if (p->is_closing)
		return;
	if (status || p->is_last) {
		close_peer(p);
		return;
	}
	p->is_busy = false;
	serve(p);
}

/* Send what stands in p->out. */
static void reply(struct peer *p)
{
	uv_buf_t buf;

	if (p->out.is_full) {
		close_peer(p); /* not even the error fits: out of memory */
		return;
	}
	p->is_busy = true;
	buf = uv_buf_init(p->out.sb.data, (unsigned)p->out.sb.size);
	p->write.data = p;
	p->unsent_bytes = SIZE_MAX;
	uv_timer_again(&p->timer);
	if (uv_write(&p->write, (uv_stream_t *)&p->pipe, &buf, 1, on_written))
		close_peer(p);
}

static void reply_error(struct peer *p, uint64_t id, int err, const char *text)
{
	ctl_out_error(&p->out, id, err, text);
	reply(p);
}

static void begin_reply(struct peer *p)
{
	ctl_out_done(&p->out);
	ctl_out_init(&p->out);
}

struct ctl_out *ctl_ask_begin(struct ctl_ask *ask)
{
	struct peer *p = ask->peer;

	if (!p)
		return NULL;
	begin_reply(p);
	ctl_out_result(&p->out, ask->id);
	return &p->out;
}

void ctl_ask_end(struct ctl_ask *ask)
{
	struct peer *p = ask->peer;

	if (p) {
		p->ask = NULL;
		if (p->out.is_full)
			ctl_out_error(&p->out, ask->id, -EMSGSIZE,
				      "the answer is too large for this socket");
		reply(p);
	}
	free(ask);
}

void ctl_ask_refuse(struct ctl_ask *ask, int err, const char *text)
{
	if (ctl_ask_begin(ask))
		ctl_out_error(&ask->peer->out, ask->id, err, text);
	ctl_ask_end(ask);
}

const struct ctl_config *ctl_ask_config(const struct ctl_ask *ask)
{
	return ask->peer ? &ask->peer->ctl->cfg : NULL;
}

const void *ctl_ask_client(const struct ctl_ask *ask)
{
	return ask->peer;
}

static void on_agent(int status, const char *text, void *arg)
{
	struct ctl_ask *ask = arg;
	struct ctl_out *o;
	struct ctl_block m;

	say("info", "write", "method=%s uid=%ld status=%d", ask->method,
	    ask->peer ? (long)ask->peer->uid : -1L, status);
	if (status) {
		ctl_ask_refuse(ask, status, text ? text : strerror(-status));
		return;
	}
	o = ctl_ask_begin(ask);
	if (o) {
		ctl_map(o, &m);
		ctl_key_text(o, &m, "text", text ? text : "");
		ctl_end(o, &m);
	}
	ctl_ask_end(ask);
}

/* To the agent, or to whoever looks at packets: the answer comes when it comes. */
static void ask_agent(struct peer *p, const struct ctl_request *q, const struct ctl_args *a)
{
	struct ctl_ask *ask = calloc(1, sizeof(*ask));
	struct err e = {0};
	int rc;

	if (!ask) {
		reply_error(p, q->id, -ENOMEM, "out of memory");
		return;
	}
	ask->peer = p;
	ask->id = q->id;
	snprintf(ask->method, sizeof(ask->method), "%s", q->method);
	p->ask = ask;
	p->is_busy = true;
	rc = ctl_is_see(q->method) ? ctl_see(q->method, a, ask, &e)
				   : ctl_verb(p->ctl->cfg.agent, q->method, a, on_agent, ask, &e);
	if (rc) {
		p->ask = NULL;
		free(ask);
		reply_error(p, q->id, e.code, e.text);
	}
}

static const struct look_method {
	const char *name;
	int (*fn)(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		  struct err *e);
	bool is_write; /* goes into the log */
} look_methods[] = {
	{"status", ctl_status, false},
	{"node.list", ctl_node_list, false},
	{"node.show", ctl_node_show, false},
	{"service.list", ctl_service_list, false},
	{"service.show", ctl_service_show, false},
	{"backend.list", ctl_backend_list, false},
	{"backend.show", ctl_backend_show, false},
	{"filter.list", ctl_filter_list, false},
	{"route.show", ctl_route_show, false},
	{"stats", ctl_stats, false},
	{"events", ctl_events, false},
	{"verify", ctl_verify, false},
	{"plan", ctl_plan, false},
	{"converged", ctl_converged, false},
	{"quarantine.list", ctl_quarantine_list, false},
	{"keys.list", ctl_keys_list, false},
	{"keys.add", ctl_keys_add, true},
	{"keys.use", ctl_keys_use, true},
	{"keys.rm", ctl_keys_rm, true},
};

static const struct look_method *find_look(const char *name)
{
	for (size_t i = 0; i < sizeof(look_methods) / sizeof(look_methods[0]); i++)
		if (strcmp(look_methods[i].name, name) == 0)
			return &look_methods[i];
	return NULL;
}

static void look(struct peer *p, const struct ctl_request *q, const struct ctl_args *a)
{
	const struct look_method *m = find_look(q->method);
	struct err e = {0};
	struct ctl_look l;
	int status;

	if (ctl_look_begin(&p->ctl->cfg, &l)) {
		reply_error(p, q->id, -ENOMEM, "out of memory");
		return;
	}
	ctl_out_result(&p->out, q->id);
	status = m->fn(&l, a, &p->out, &e);
	if (m->is_write)
		say("info", "write", "method=%s uid=%ld status=%d", q->method, (long)p->uid,
		    status);
	if (status)
		ctl_out_error(&p->out, q->id, e.code, e.text);
	else if (p->out.is_full)
		ctl_out_error(&p->out, q->id, -EMSGSIZE, "the answer is too large for this socket");
	ctl_look_end(&l);
	reply(p);
}

static void dispatch(struct peer *p, const uint8_t *buf, size_t len)
{
	const struct ctl_signature *s;
	struct ctl_request q;
	struct ctl_args a;
	struct err e = {0};
	char text[CTL_METHOD_MAX + 64];

	begin_reply(p);
	if (ctl_request_read(buf, len, &q)) {
		p->is_last = true;
		reply_error(p, q.id, -EBADMSG, "malformed: want [0, id, method, params]");
		return;
	}
	s = ctl_signature_find(q.method);
	if (!s) {
		snprintf(text, sizeof(text), "this edged has no method of that name");
		reply_error(p, q.id, -ENOSYS, text);
	} else if (ctl_args_read(q.params, q.params_len, s, &a, &e)) {
		reply_error(p, q.id, e.code, e.text);
	} else if (ctl_is_verb(q.method) || ctl_is_see(q.method)) {
		ask_agent(p, &q, &a);
	} else {
		look(p, &q, &a);
	}
}

/* ---- reading */

static void on_alloc(uv_handle_t *h, size_t wanted, uv_buf_t *ret_buf)
{
	struct peer *p = h->data;

	(void)wanted;
	*ret_buf = uv_buf_init((char *)p->buf + p->len, (unsigned)(CTL_REQUEST_MAX - p->len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct peer *p = s->data;

	(void)buf;
	if (n < 0) {
		close_peer(p);
		return;
	}
	p->len += (size_t)n;
	uv_timer_again(&p->timer);
	serve(p);
}

/* Handle the next whole request, or read on. */
static void serve(struct peer *p)
{
	int rc = ctl_scan(&p->scan, p->buf, p->len, CTL_REQUEST_MAX);
	size_t used = p->scan.at;

	if (rc == 0) {
		/* Starting what runs already is refused, harmlessly. */
		rc = uv_read_start((uv_stream_t *)&p->pipe, on_alloc, on_read);
		if (rc && rc != UV_EALREADY)
			close_peer(p);
		return;
	}
	uv_read_stop((uv_stream_t *)&p->pipe);
	if (rc < 0) {
		struct ctl_request q;

		begin_reply(p);
		p->is_last = true;
		(void)ctl_request_read(p->buf, p->len, &q); /* for the id alone */
		reply_error(p, q.id, rc,
			    rc == -EMSGSIZE ? "request is longer than 65536 bytes"
					    : "malformed request");
		return;
	}
	dispatch(p, p->buf, used);
	if (p->is_closing)
		return;
	memmove(p->buf, p->buf + used, p->len - used);
	p->len -= used;
	p->scan.is_begun = false;
}

/* ---- clients */

static void read_uid(struct peer *p)
{
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t len = sizeof(cred);
	uv_os_fd_t fd;

	/* Only for the log: an unknown one is shown as such. */
	if (!uv_fileno((uv_handle_t *)&p->pipe, &fd))
		(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	p->uid = cred.uid;
}

static void on_connection(uv_stream_t *s, int status)
{
	struct ctl *c = s->data;
	struct peer *p;

	if (status || c->is_closing)
		return;
	p = calloc(1, sizeof(*p));
	if (!p) {
		/* libuv waits until this one is accepted: when a client has gone there is room again. */
		c->is_accept_due = true;
		return;
	}
	c->is_accept_due = false;
	p->ctl = c;
	p->pipe.data = p->timer.data = p;
	p->open_handles = 2;
	p->is_counted = c->count < CTL_CLIENTS_MAX;
	if (p->is_counted)
		c->count++;
	ctl_out_init(&p->out);
	uv_pipe_init(s->loop, &p->pipe, 0);
	uv_timer_init(s->loop, &p->timer);
	TAILQ_INSERT_TAIL(&c->peers, p, link);
	if (uv_accept(s, (uv_stream_t *)&p->pipe)) {
		close_peer(p);
		return;
	}
	uv_timer_start(&p->timer, on_timer, idle_ms(c), idle_ms(c));
	if (!p->is_counted) {
		p->is_last = true;
		reply_error(p, 0, -EBUSY, "too many clients at a time: 32 are connected");
		return;
	}
	read_uid(p);
	p->buf = malloc(CTL_REQUEST_MAX);
	if (!p->buf)
		close_peer(p);
	else
		serve(p);
}

/* ---- open and close */

/* The path is free: nothing there, or a socket without a listener, which is removed. */
static int clear_path(const struct sockaddr_un *sun, struct err *e)
{
	struct stat st;
	int fd, rc;

	if (lstat(sun->sun_path, &st))
		return errno == ENOENT ? 0
				       : err_set(e, -errno, "control socket %s: %s", sun->sun_path,
						 strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST, "control socket %s: something else is there",
			       sun->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, -errno, "control socket: %s", strerror(errno));
	rc = connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) ? -errno : 0;
	close(fd);
	if (rc != -ECONNREFUSED)
		return err_set(e, -EADDRINUSE, "control socket %s: another process answers there",
			       sun->sun_path);
	if (unlink(sun->sun_path) && errno != ENOENT)
		return err_set(e, -errno, "control socket %s: %s", sun->sun_path, strerror(errno));
	return 0;
}

static void set_group(const char *path, const char *group)
{
	struct group *g = group ? getgrnam(group) : NULL;

	if (!g)
		say("warn", "group_unknown",
		    "group=%s socket=%s why=\"only the daemon's user and root can use it\"",
		    group ? group : "-", path);
	else if (chown(path, (uid_t)-1, g->gr_gid) || chmod(path, 0660))
		say("warn", "group_refused", "group=%s socket=%s error=\"%s\"", group, path,
		    strerror(errno));
}

/* A listening socket of mode 0600, 0660 for the group: never open to others in between. */
static int open_socket(struct ctl *c, int *ret_fd, struct err *e)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	const char *path = c->cfg.path;
	struct stat st;
	mode_t was;
	int fd, rc;

	if (strlen(path) >= sizeof(sun.sun_path))
		return err_set(e, -ENAMETOOLONG, "control socket %.100s...: want at most %zu bytes",
			       path, sizeof(sun.sun_path) - 1);
	memcpy(sun.sun_path, path, strlen(path) + 1);
	memcpy(c->path, sun.sun_path, sizeof(c->path));
	rc = clear_path(&sun, e);
	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, -errno, "control socket: %s", strerror(errno));
	was = umask(0177);
	rc = bind(fd, (struct sockaddr *)&sun, sizeof(sun)) ? -errno : 0;
	umask(was);
	if (!rc && (lstat(path, &st) || listen(fd, BACKLOG))) {
		rc = -errno;
		unlink(path);
	}
	if (rc) {
		close(fd);
		return err_set(e, rc, "control socket %s: %s", path, strerror(-rc));
	}
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	set_group(path, c->cfg.group);
	*ret_fd = fd;
	return 0;
}

static void on_pipe_closed(uv_handle_t *h)
{
	struct ctl *c = h->data;

	c->is_pipe_open = false;
	maybe_closed(c);
}

void ctl_close(struct ctl *c, void (*cb)(void *arg), void *arg)
{
	struct stat st;
	struct peer *p;

	c->is_closing = true;
	c->close_cb = cb;
	c->close_arg = arg;
	if (!lstat(c->path, &st) && st.st_dev == c->dev && st.st_ino == c->ino)
		unlink(c->path);
	TAILQ_FOREACH(p, &c->peers, link)
	close_peer(p);
	uv_close((uv_handle_t *)&c->pipe, on_pipe_closed);
}

int ctl_open(uv_loop_t *uv, const struct ctl_config *cfg, struct ctl **ret_ctl, struct err *e)
{
	struct ctl *c = calloc(1, sizeof(*c));
	int fd, rc;

	if (!c)
		return err_set(e, -ENOMEM, "control socket: out of memory");
	c->cfg = *cfg;
	TAILQ_INIT(&c->peers);
	rc = open_socket(c, &fd, e);
	if (rc) {
		free(c);
		return rc;
	}
	uv_pipe_init(uv, &c->pipe, 0);
	c->pipe.data = c;
	c->is_pipe_open = true;
	rc = uv_pipe_open(&c->pipe, fd);
	if (rc)
		close(fd);
	else
		rc = uv_listen((uv_stream_t *)&c->pipe, BACKLOG, on_connection);
	if (rc) {
		ctl_close(c, NULL, NULL);
		return err_set(e, rc, "control socket %s: %s", cfg->path, uv_strerror(rc));
	}
	*ret_ctl = c;
	return 0;
}
