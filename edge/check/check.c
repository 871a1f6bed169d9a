/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/check/check.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/check/check_int.h"

#define FAST_DIVISOR 5 /* interval while results disagree with the state */
#define JITTER_PCT 10
#define SIGNALLED_MAX_MS                                                                           \
	500 /* the interval for a while after a signal, however long it is otherwise */
#define INTERVAL_MIN_MS 20 /* nothing is checked more often, however fast it changes */

struct check {
	uv_timer_t timer; /* waits for the next probe, or for the end of this one's time */
	uv_loop_t *uv;
	struct ip_addr addr;
	uint16_t port;
	struct model_check spec;
	enum model_health_state state;
	unsigned run; /* results in a row that disagree with the state */
	struct check_probe *probe;
	uint64_t begun_ns;
	uint64_t fast_until_ns;
	bool is_signalled; /* no result since check_signal() */
	uint32_t random;
	check_cb cb;
	void *arg;
};

static const struct check_kind *kind_of(const struct check *c)
{
	switch ((enum model_check_kind)c->spec.kind) {
	case MODEL_CHECK_TCP:
		return &check_tcp;
	case MODEL_CHECK_UDP:
		return &check_udp;
	case MODEL_CHECK_NONE:
		return NULL;
	}
	return NULL;
}

/* A little disorder, so that a thousand checks started together do not stay together. xorshift32. */
static uint64_t with_jitter(struct check *c, uint64_t ms)
{
	uint64_t span = ms * 2 * JITTER_PCT / 100;

	c->random ^= c->random << 13;
	c->random ^= c->random >> 17;
	c->random ^= c->random << 5;
	return ms - span / 2 + (span ? c->random % (span + 1) : 0);
}

static void on_timer(uv_timer_t *t);

static void schedule(struct check *c)
{
	uint64_t ms = c->spec.interval_ms;

	bool is_signalled = c->state == MODEL_HEALTH_FAILING && uv_hrtime() < c->fast_until_ns;

	if (c->run > 0 || c->state == MODEL_HEALTH_UNKNOWN || is_signalled)
		ms /= FAST_DIVISOR;
	if (is_signalled && ms > SIGNALLED_MAX_MS)
		ms = SIGNALLED_MAX_MS;
	if (ms < INTERVAL_MIN_MS)
		ms = INTERVAL_MIN_MS;
	uv_timer_start(&c->timer, on_timer, with_jitter(c, ms), 0);
}

static void result(struct check *c, bool is_ok, const char *why)
{
	enum model_health_state seen = is_ok ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING;
	unsigned needed = is_ok ? c->spec.rise : c->spec.fall;
	struct check_result r = {.is_first = c->is_signalled};

	c->is_signalled = false;
	if (r.is_first)
		needed = 1;

	c->run = seen == c->state ? 0 : c->run + 1;
	/* What was never known needs no run of results to become known. */
	if (r.is_first || (c->run > 0 && (c->run >= needed || c->state == MODEL_HEALTH_UNKNOWN))) {
		c->state = seen;
		c->run = 0;
		r.state = seen;
		snprintf(r.why, sizeof(r.why), "%s", why);
		schedule(c);
		c->cb(&r, c->arg); /* last: it may stop us */
		return;
	}
	schedule(c);
}

static void on_probe_closed(uv_handle_t *h)
{
	struct check_probe *p = h->data;

	close(p->fd);
	free(p);
}

static void drop_probe(struct check_probe *p)
{
	p->check = NULL;
	uv_poll_stop(&p->poll);
	uv_close((uv_handle_t *)&p->poll, on_probe_closed);
}

void check_probe_done(struct check_probe *p, bool is_ok, const char *fmt, ...)
{
	struct check *c = p->check;
	char why[64];
	va_list ap;

	if (!c)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	c->probe = NULL;
	drop_probe(p);
	result(c, is_ok, why);
}

uint64_t check_probe_age_us(const struct check_probe *p)
{
	return p->check ? (uv_hrtime() - p->check->begun_ns) / 1000 : 0;
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct check_probe *p = h->data;

	int error = 0;
	socklen_t len = sizeof(error);

	(void)events;
	if (!p->check)
		return;
	if (status == 0) {
		kind_of(p->check)->ready(p);
		return;
	}
	/* libuv calls any error of a socket EBADF, and stops looking; the socket knows what it was. */
	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (!error)
		error = -uv_poll_start(h, kind_of(p->check)->events, on_poll);
	if (error)
		check_probe_done(p, false, "%s", uv_strerror(-error));
}

static socklen_t to_sockaddr(const struct ip_addr *a, uint16_t port,
			     struct sockaddr_storage *ret_ss)
{
	memset(ret_ss, 0, sizeof(*ret_ss));
	if (ip_is_v4(a)) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret_ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		memcpy(&in->sin_addr, a->b + 12, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_ss;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	memcpy(&in6->sin6_addr, a->b, 16);
	return sizeof(*in6);
}

/* What this process lacks says nothing about the backend. */
static bool is_our_fault(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -ENOBUFS ||
	       err == -EAGAIN || err == -EADDRNOTAVAIL;
}

/* Open, connect, watch. 0 or a negative errno with nothing left open. */
static int begin_probe(struct check *c)
{
	const struct check_kind *k = kind_of(c);
	struct check_probe *p = calloc(1, sizeof(*p));
	struct sockaddr_storage ss;
	socklen_t len = to_sockaddr(&c->addr, c->spec.port ? c->spec.port : c->port, &ss);
	int rc;

	if (!p)
		return -ENOMEM;
	p->check = c;
	p->spec = &c->spec;
	p->poll.data = p;
	p->fd = socket(ss.ss_family, k->sock_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0) {
		rc = -errno;
		free(p);
		return rc;
	}
	rc = connect(p->fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS ? -errno : 0;
	if (!rc)
		rc = uv_poll_init(c->uv, &p->poll, p->fd);
	if (rc) {
		close(p->fd);
		free(p);
		return rc;
	}
	rc = k->begin(p);
	if (!rc)
		rc = uv_poll_start(&p->poll, k->events, on_poll);
	if (rc) {
		drop_probe(p);
		return rc;
	}
	c->probe = p;
	return 0;
}

static void on_timer(uv_timer_t *t)
{
	struct check *c = t->data;
	int rc;

	if (c->probe) {
		check_probe_done(c->probe, false, "no answer in %u ms", c->spec.timeout_ms);
		return;
	}
	if (!kind_of(c)) {
		const struct check_result r = {.state = MODEL_HEALTH_PASSING, .why = "not checked"};

		c->cb(&r, c->arg);
		return;
	}
	c->begun_ns = uv_hrtime();
	rc = begin_probe(c);
	if (!rc)
		uv_timer_start(&c->timer, on_timer, c->spec.timeout_ms, 0);
	else if (is_our_fault(rc))
		schedule(c);
	else
		result(c, false, uv_strerror(rc));
}

int check_start(uv_loop_t *uv, const struct ip_addr *addr, uint16_t port,
		const struct model_check *spec, enum model_health_state state, check_cb cb,
		void *arg, struct check **ret_check)
{
	struct check *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	c->uv = uv;
	c->addr = *addr;
	c->port = port;
	c->spec = *spec;
	c->state = state;
	c->cb = cb;
	c->arg = arg;
	c->random = (uint32_t)uv_hrtime() ^ ((uint32_t)port << 16) ^ addr->b[15] ^ 0x9e3779b9u;
	if (!c->random)
		c->random = 1;
	rc = uv_timer_init(uv, &c->timer);
	if (rc) {
		free(c);
		return rc;
	}
	c->timer.data = c;
	uv_timer_start(&c->timer, on_timer, 0, 0);
	*ret_check = c;
	return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
	free(h->data);
}

void check_stop(struct check *c)
{
	if (!c)
		return;
	if (c->probe)
		drop_probe(c->probe);
	c->probe = NULL;
	uv_timer_stop(&c->timer);
	uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

void check_signal(struct check *c, bool is_out)
{
	if (!kind_of(c))
		return;
	if (c->probe)
		drop_probe(c->probe); /* it asked before that */
	c->probe = NULL;
	c->is_signalled = true;
	if (is_out) {
		c->state = MODEL_HEALTH_FAILING;
		c->run = 0;
		c->fast_until_ns = uv_hrtime() + CHECK_SIGNAL_MS * 1000000ull;
	}
	uv_timer_start(&c->timer, on_timer, 0, 0);
}

void check_kick(struct check *c)
{
	if (!c->probe && kind_of(c))
		uv_timer_start(&c->timer, on_timer, 0, 0);
}
