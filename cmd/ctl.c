/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cmd/ctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/ctl_int.h"

#define LONG_TRIES 5

struct peer;

/* One request that is answered later. It outlives its client, and the server. */
struct ctl_ask {
	struct peer *peer; /* NULL: nobody waits for the answer any more */
	uint64_t id;
	char method[CTL_METHOD_MAX];
	char object[CTL_OBJECT_TEXT];
	uid_t uid;
	struct ctl_child *child; /* that works on it, or NULL */
	uint64_t map_writes;	 /* when it began */
	unsigned int tries;
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
	uid_t uid;	     /* SO_PEERCRED */
	bool is_busy, is_last, is_closing, is_counted;
	unsigned open_handles;
};
TAILQ_HEAD(peers, peer);

struct ctl {
	struct ctl_config cfg;
	uv_pipe_t pipe;
	struct peers peers;
	size_t count;
	struct ctl_socket file;
	bool is_closing, is_pipe_open, is_accept_due;
	void (*close_cb)(void *arg);
	void *close_arg;
};

void ctl_log(const char *level, const char *event, const char *fmt, ...)
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
	if (p->ask && p->ask->child)
		ctl_child_kill(p->ask->child);
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

	ctl_log("info", "write", "method=%s object=\"%s\" uid=%u status=%d", ask->method,
		ask->object, (unsigned int)ask->uid, status);
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

static struct ctl_ask *ask_new(struct peer *p, const struct ctl_request *q,
			       const struct ctl_args *a)
{
	struct ctl_ask *ask = calloc(1, sizeof(*ask));

	if (!ask) {
		reply_error(p, q->id, -ENOMEM, "out of memory");
		return NULL;
	}
	ask->peer = p;
	ask->id = q->id;
	ask->uid = p->uid;
	ctl_args_object(a, ask->object);
	snprintf(ask->method, sizeof(ask->method), "%s", q->method);
	p->ask = ask;
	p->is_busy = true;
	return ask;
}

/* To the agent, or to whoever looks at packets: the answer comes when it comes. */
static void ask_agent(struct peer *p, const struct ctl_request *q, const struct ctl_args *a)
{
	struct ctl_ask *ask = ask_new(p, q, a);
	struct err e = {0};
	int rc;

	if (!ask)
		return;
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
	enum look_kind {
		LOOK_ONLY,
		LOOK_WRITES, /* goes into the log */
		LOOK_LONG,   /* in a process of its own */
	} kind;
} look_methods[] = {
	{"status", ctl_status, LOOK_ONLY},
	{"node.list", ctl_node_list, LOOK_ONLY},
	{"node.show", ctl_node_show, LOOK_ONLY},
	{"service.list", ctl_service_list, LOOK_ONLY},
	{"service.show", ctl_service_show, LOOK_ONLY},
	{"backend.list", ctl_backend_list, LOOK_ONLY},
	{"backend.show", ctl_backend_show, LOOK_ONLY},
	{"filter.list", ctl_filter_list, LOOK_ONLY},
	{"route.show", ctl_route_show, LOOK_ONLY},
	{"stats", ctl_stats, LOOK_ONLY},
	{"events", ctl_events, LOOK_ONLY},
	{"verify", ctl_verify, LOOK_LONG},
	{"plan", ctl_plan, LOOK_LONG},
	{"converged", ctl_converged, LOOK_ONLY},
	{"quarantine.list", ctl_quarantine_list, LOOK_ONLY},
	{"keys.list", ctl_keys_list, LOOK_ONLY},
	{"keys.add", ctl_keys_add, LOOK_WRITES},
	{"keys.use", ctl_keys_use, LOOK_WRITES},
	{"keys.rm", ctl_keys_rm, LOOK_WRITES},
};

static const struct look_method *find_look(const char *name)
{
	for (size_t i = 0; i < sizeof(look_methods) / sizeof(look_methods[0]); i++)
		if (strcmp(look_methods[i].name, name) == 0)
			return &look_methods[i];
	return NULL;
}

static bool is_long(const char *method)
{
	const struct look_method *m = find_look(method);

	return m && m->kind == LOOK_LONG;
}

/* ---- in a process of its own */

struct long_look { /* as the child sees it */
	const struct ctl_config *cfg;
	const struct look_method *method;
	const struct ctl_args *args;
};

static int look_long(struct ctl_out *o, bool *ret_is_doubtful, void *arg, struct err *e)
{
	const struct long_look *x = arg;
	struct ctl_look l;

	if (ctl_look_begin(x->cfg, &l))
		return err_set(e, -ENOMEM, "out of memory");
	l.ret_is_doubtful = ret_is_doubtful;
	return x->method->fn(&l, x->args, o, e) ? e->code : 0;
}

static void on_long(const struct ctl_child_end *end, void *arg);

static int start_long(struct ctl_ask *ask, const struct ctl_args *a, struct err *e)
{
	struct ctl *c = ask->peer->ctl;
	struct long_look x = {.cfg = &c->cfg, .method = find_look(ask->method), .args = a};

	ask->tries++;
	ask->map_writes = agent_map_writes(c->cfg.agent);
	return ctl_child_start(c->pipe.loop, look_long, &x, on_long, ask, &ask->child, e);
}

static void on_long(const struct ctl_child_end *end, void *arg)
{
	struct ctl_ask *ask = arg;
	struct ctl_out *o;
	struct err e = {0};

	ask->child = NULL;
	if (ask->peer && end->is_doubtful &&
	    agent_map_writes(ask->peer->ctl->cfg.agent) != ask->map_writes) {
		static const struct ctl_args none;

		if (ask->tries == LONG_TRIES)
			ctl_ask_refuse(ask, -EAGAIN,
				       "the maps are written all the time: try again");
		else if (start_long(ask, &none, &e))
			ctl_ask_refuse(ask, e.code, e.text);
		return;
	}
	if (end->code) {
		ctl_ask_refuse(ask, end->code, end->text);
		return;
	}
	o = ctl_ask_begin(ask);
	if (o)
		ctl_packed(o, end->value, end->bytes);
	ctl_ask_end(ask);
}

static void ask_long(struct peer *p, const struct ctl_request *q, const struct ctl_args *a)
{
	struct ctl_ask *ask = ask_new(p, q, a);
	struct err e = {0};

	if (ask && start_long(ask, a, &e))
		ctl_ask_refuse(ask, e.code, e.text);
}

static void look(struct peer *p, const struct ctl_request *q, const struct ctl_args *a)
{
	const struct look_method *m = find_look(q->method);
	struct err e = {0};
	struct ctl_look l;
	char object[CTL_OBJECT_TEXT];
	int status;

	if (ctl_look_begin(&p->ctl->cfg, &l)) {
		reply_error(p, q->id, -ENOMEM, "out of memory");
		return;
	}
	ctl_out_result(&p->out, q->id);
	status = m->fn(&l, a, &p->out, &e);
	if (m->kind == LOOK_WRITES)
		ctl_log("info", "write", "method=%s object=\"%s\" uid=%u status=%d", q->method,
			ctl_args_object(a, object), (unsigned int)p->uid, status);
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
		return;
	}
	if (ctl_args_read(q.params, q.params_len, s, &a, &e)) {
		reply_error(p, q.id, e.code, e.text);
		return;
	}
	/* What the client says of itself is a help at most. */
	ctl_args_author(&a, s, p->uid);
	if (ctl_is_verb(q.method) || ctl_is_see(q.method)) {
		ask_agent(p, &q, &a);
	} else if (is_long(q.method)) {
		ask_long(p, &q, &a);
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
	if (p->ask) { /* read only to notice that it goes */
		if (p->len == CTL_REQUEST_MAX)
			uv_read_stop(s);
		return;
	}
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
	/* Without: its process goes on until its limit, for nobody. */
	if (p->ask && p->ask->child && p->len < CTL_REQUEST_MAX)
		(void)uv_read_start((uv_stream_t *)&p->pipe, on_alloc, on_read);
}

/* ---- clients */

static void read_uid(struct peer *p)
{
	struct ucred cred = {.uid = (uid_t)-1};
	socklen_t len = sizeof(cred);
	uv_os_fd_t fd;

	/* An unknown one is shown as such. */
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

static void on_pipe_closed(uv_handle_t *h)
{
	struct ctl *c = h->data;

	c->is_pipe_open = false;
	maybe_closed(c);
}

void ctl_close(struct ctl *c, void (*cb)(void *arg), void *arg)
{
	struct peer *p;

	c->is_closing = true;
	c->close_cb = cb;
	c->close_arg = arg;
	ctl_socket_remove(&c->file);
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
	rc = ctl_socket_open(cfg->path, cfg->group, &c->file, &fd, e);
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
		rc = uv_listen((uv_stream_t *)&c->pipe, CTL_BACKLOG, on_connection);
	if (rc) {
		ctl_close(c, NULL, NULL);
		return err_set(e, rc, "control socket %s: %s", cfg->path, uv_strerror(rc));
	}
	*ret_ctl = c;
	return 0;
}
