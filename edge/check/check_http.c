/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* An HTTP check makes a connection of its own, asks once, follows nothing, and reads no more than it needs. libcurl's multi
 * interface on the loop: it says which sockets to watch and when to call it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "edge/check/check_int.h"
#include "edge/check/curl_lib.h"

#define BODY_MAX 16384 /* of which the pattern sees */
#define HEADERS_MAX 65536

static const struct curl_lib *lib; /* set before anything here is begun */

struct check_http_multi {
	struct check_pool *pool;
	CURLM *curl;
	uv_timer_t timer;
};

struct http_sock { /* one that libcurl has open */
	uv_poll_t poll;
	struct check_http_multi *multi; /* may be gone before the handle is */
	struct check_pool *pool;
	curl_socket_t fd;
};

struct http_probe {
	struct check_probe base;
	CURL *easy;
	struct curl_slist *headers, *connect_to;
	bool is_added, is_enough; /* in the multi handle; the rest need not be read */
	bool is_headers_huge;
	size_t headers_bytes, body_bytes;
	char error[CURL_ERROR_SIZE];
	char *body; /* BODY_MAX and a NUL, if a pattern is to see it */
};

/* ---- what came of it */

static void judge(struct http_probe *h, CURLcode rc)
{
	struct check_probe *p = &h->base;
	const struct model_check *spec = p->spec;
	long status = 0, error = 0;

	(void)lib->easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)lib->easy_getinfo(h->easy, CURLINFO_OS_ERRNO, &error);
	if (rc && h->is_enough)
		rc = CURLE_OK;
	if (h->is_headers_huge) {
		check_probe_done(p, CHECK_BAD, "headers of more than %d bytes", HEADERS_MAX);
	} else if (rc == CURLE_COULDNT_CONNECT && error) {
		check_probe_done(p, check_is_our_fault(-(int)error) ? CHECK_NO_RESULT : CHECK_BAD,
				 "%s", uv_strerror(-(int)error));
	} else if (rc == CURLE_OUT_OF_MEMORY) {
		check_probe_done(p, CHECK_NO_RESULT, "out of memory");
	} else if (rc == CURLE_UNSUPPORTED_PROTOCOL || rc == CURLE_WEIRD_SERVER_REPLY) {
		check_probe_done(p, CHECK_BAD, "the answer is not HTTP");
	} else if (rc == CURLE_GOT_NOTHING) {
		check_probe_done(p, CHECK_BAD, "closed without an answer");
	} else if (rc) {
		check_probe_done(p, CHECK_BAD, "%s",
				 h->error[0] ? h->error : lib->easy_strerror(rc));
	} else if (status < spec->status_lo || status > spec->status_hi) {
		if (spec->status_lo == spec->status_hi)
			check_probe_done(p, CHECK_BAD, "status %ld, want %u", status,
					 spec->status_lo);
		else
			check_probe_done(p, CHECK_BAD, "status %ld, want %u-%u", status,
					 spec->status_lo, spec->status_hi);
	} else if (!check_matches(p->match, h->body ? h->body : "", h->body_bytes)) {
		check_probe_done(p, CHECK_BAD, "status %ld, the first %zu bytes don't match '%s'",
				 status, h->body_bytes, spec->match);
	} else {
		check_probe_done(p, CHECK_GOOD, "status %ld in %.1f ms", status,
				 check_probe_age_ms(p));
	}
}

static void reap(struct check_http_multi *m)
{
	CURLMsg *msg;
	int left;

	while ((msg = lib->multi_info_read(m->curl, &left))) {
		struct http_probe *h = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		(void)lib->easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&h);
		judge(h, msg->data.result);
	}
}

/* ---- libcurl and the loop */

static void on_timer(uv_timer_t *t)
{
	struct check_http_multi *m = t->data;
	int running;

	(void)lib->multi_socket_action(m->curl, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(m);
}

static int timer_cb(CURLM *curl, long ms, void *arg)
{
	struct check_http_multi *m = arg;

	(void)curl;
	if (ms < 0)
		uv_timer_stop(&m->timer);
	else
		uv_timer_start(&m->timer, on_timer, (uint64_t)ms, 0);
	return 0;
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct http_sock *s = h->data;
	struct check_http_multi *m = s->multi;
	int running, what = status < 0 ? CURL_CSELECT_ERR
				       : (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
						 (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);

	(void)lib->multi_socket_action(m->curl, s->fd, what, &running); /* s may be gone now */
	reap(m);
}

static void on_sock_closed(uv_handle_t *h)
{
	struct http_sock *s = h->data;

	check_pool_handle_closed(s->pool);
	free(s);
}

static int socket_cb(CURL *easy, curl_socket_t fd, int what, void *arg, void *sock_arg)
{
	struct check_http_multi *m = arg;
	struct http_sock *s = sock_arg;

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (s) {
			(void)lib->multi_assign(m->curl, fd, NULL);
			uv_poll_stop(&s->poll);
			uv_close((uv_handle_t *)&s->poll, on_sock_closed);
		}
		return 0;
	}
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s || uv_poll_init(m->pool->uv, &s->poll, fd)) {
			free(s);
			return -1; /* the transfer fails */
		}
		m->pool->open_handles++;
		s->multi = m;
		s->pool = m->pool;
		s->fd = fd;
		s->poll.data = s;
		(void)lib->multi_assign(m->curl, fd, s);
	}
	return uv_poll_start(&s->poll,
			     (what & CURL_POLL_IN ? UV_READABLE : 0) |
				     (what & CURL_POLL_OUT ? UV_WRITABLE : 0),
			     on_poll)
		       ? -1
		       : 0;
}

static int multi_open(struct check_pool *pool)
{
	struct check_http_multi *m;
	struct err e = {0};

	lib = curl_lib_get(&e);
	if (!lib)
		return e.code;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->pool = pool;
	m->curl = lib->multi_init();
	if (!m->curl) {
		free(m);
		return -ENOMEM;
	}
	(void)uv_timer_init(pool->uv, &m->timer); /* never fails */
	m->timer.data = m;
	pool->open_handles++;
	lib->multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, socket_cb);
	lib->multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
	lib->multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, timer_cb);
	lib->multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
	pool->http = m;
	return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
	struct check_http_multi *m = h->data;
	struct check_pool *pool = m->pool;

	free(m);
	check_pool_handle_closed(pool);
}

void check_http_close(struct check_pool *pool)
{
	struct check_http_multi *m = pool->http;

	if (!m)
		return;
	pool->http = NULL;
	(void)lib->multi_cleanup(m->curl);
	uv_close((uv_handle_t *)&m->timer, on_timer_closed);
}

/* ---- one request */

static size_t on_body(char *data, size_t one, size_t len, void *arg)
{
	struct http_probe *h = arg;
	size_t room = h->body ? BODY_MAX - h->body_bytes : 0;
	size_t take = len < room ? len : room;

	(void)one;
	if (take)
		memcpy(h->body + h->body_bytes, data, take);
	h->body_bytes += take;
	h->is_enough = take == room;
	return h->is_enough ? 0 : len; /* less than there was ends the transfer */
}

static size_t on_header(char *data, size_t one, size_t len, void *arg)
{
	struct http_probe *h = arg;

	(void)data;
	(void)one;
	h->headers_bytes += len;
	h->is_headers_huge = h->headers_bytes > HEADERS_MAX;
	return h->is_headers_huge ? 0 : len;
}

/* Programs that checks run must not inherit it. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	(void)arg;
	(void)purpose;
	return socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
}

static struct curl_slist *append(struct curl_slist *list, const char *text, bool *ret_is_failed)
{
	struct curl_slist *longer = lib->slist_append(list, text);

	if (!longer)
		*ret_is_failed = true;
	return longer ? longer : list;
}

/* The URL's host is the name that TLS asks for and looks for in the certificate; the connection goes to the address, and the
 * Host header is a matter of its own. */
static int set_target(struct http_probe *h)
{
	const struct model_check *spec = h->base.spec;
	bool is_tls = spec->kind == MODEL_CHECK_HTTPS, is_failed = false;
	char addr[IP_TEXT_MAX], text[400], name[MODEL_CHECK_HOST_MAX + 2];
	const char *host = spec->host[0] ? spec->host : NULL;

	ip_text(&h->base.addr, addr);
	if (spec->sni[0])
		snprintf(name, sizeof(name), "%s", spec->sni);
	else if (host && host[0] != '[')
		snprintf(name, sizeof(name), "%.*s", (int)strcspn(host, ":"), host);
	else
		snprintf(name, sizeof(name), ip_is_v4(&h->base.addr) ? "%s" : "[%s]", addr);
	snprintf(text, sizeof(text), "%s://%s:%u%s", is_tls ? "https" : "http", name, h->base.port,
		 spec->target);
	if (lib->easy_setopt(h->easy, CURLOPT_URL, text))
		return -ENOMEM;
	snprintf(text, sizeof(text), ip_is_v4(&h->base.addr) ? "::%s:%u" : "::[%s]:%u", addr,
		 h->base.port);
	h->connect_to = append(NULL, text, &is_failed);
	if (host) {
		snprintf(text, sizeof(text), "Host: %s", host);
	} else {
		char at[IP_TEXT_MAX];

		snprintf(text, sizeof(text), "Host: %s",
			 ip_port_text(&h->base.addr, h->base.port, at));
	}
	h->headers = append(NULL, text, &is_failed);
	h->headers = append(h->headers, "Accept: */*", &is_failed);
	lib->easy_setopt(h->easy, CURLOPT_CONNECT_TO, h->connect_to);
	lib->easy_setopt(h->easy, CURLOPT_HTTPHEADER, h->headers);
	return is_failed ? -ENOMEM : 0;
}

static void set_rest(struct http_probe *h)
{
	const struct model_check *spec = h->base.spec;
	const char *ca_file = h->base.pool->ca_file;
	CURL *e = h->easy;

	lib->easy_setopt(e, CURLOPT_PRIVATE, h);
	lib->easy_setopt(e, CURLOPT_ERRORBUFFER, h->error);
	lib->easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	lib->easy_setopt(e, CURLOPT_PROXY, "");
	lib->easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	lib->easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	lib->easy_setopt(e, CURLOPT_USERAGENT, "edge-check");
	lib->easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	lib->easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
	lib->easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
	lib->easy_setopt(e, CURLOPT_SSL_SESSIONID_CACHE, 0L);
	lib->easy_setopt(e, CURLOPT_BUFFERSIZE, 4096L);
	lib->easy_setopt(e, CURLOPT_NOBODY, spec->is_head ? 1L : 0L);
	lib->easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	lib->easy_setopt(e, CURLOPT_WRITEDATA, h);
	lib->easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	lib->easy_setopt(e, CURLOPT_HEADERDATA, h);
	lib->easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
	lib->easy_setopt(e, CURLOPT_SSL_VERIFYPEER, spec->is_insecure ? 0L : 1L);
	lib->easy_setopt(e, CURLOPT_SSL_VERIFYHOST, spec->is_insecure ? 0L : 2L);
	if (ca_file[0])
		lib->easy_setopt(e, CURLOPT_CAINFO, ca_file);
}

static int begin(struct check_probe *p)
{
	struct http_probe *h = (struct http_probe *)p;
	int rc = p->pool->http ? 0 : multi_open(p->pool);

	if (rc)
		return rc;
	h->easy = lib->easy_init();
	if (p->match)
		h->body = calloc(1, BODY_MAX + 1);
	if (!h->easy || (p->match && !h->body))
		return -ENOMEM;
	rc = set_target(h);
	if (rc)
		return rc;
	set_rest(h);
	if (lib->multi_add_handle(p->pool->http->curl, h->easy))
		return -ENOMEM;
	h->is_added = true;
	return 0;
}

static void drop(struct check_probe *p)
{
	struct http_probe *h = (struct http_probe *)p;

	if (h->is_added)
		(void)lib->multi_remove_handle(p->pool->http->curl, h->easy);
	if (h->easy) {
		lib->easy_cleanup(h->easy);
		lib->slist_free_all(h->headers);
		lib->slist_free_all(h->connect_to);
	}
	free(h->body);
	check_pool_release(p->pool, false);
	free(h);
}

const struct check_kind check_http = {
	.probe_bytes = sizeof(struct http_probe),
	.begin = begin,
	.drop = drop,
};
