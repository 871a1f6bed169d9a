/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/check/check.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edge/check/check_int.h"

#define FAST_DIVISOR 5 /* interval while results disagree with the state */
#define JITTER_PCT 10
#define SIGNALLED_MAX_MS                                                                           \
	500 /* the interval for a while after a signal, however long it is otherwise */
#define INTERVAL_MIN_MS 20 /* nothing is checked more often, however fast it changes */
#define SPREAD_MAX_MS 500  /* over which first probes after a start are spread */

struct check {
	uv_timer_t timer; /* waits for the next probe, or for the end of this one's time */
	struct check_pool *pool;
	struct check_waiter waiter;
	struct check_of of;
	struct model_check spec;
	regex_t match;
	bool has_match, is_match_bad;
	enum model_health_state state;
	bool is_warning;
	unsigned run;	   /* results in a row that disagree with the state */
	unsigned warn_run; /* with is_warning */
	struct check_probe *probe;
	uint64_t fast_until_ns;
	bool is_signalled; /* no result since check_signal() */
	uint32_t random;
	struct check_look look;
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
	case MODEL_CHECK_HTTP:
	case MODEL_CHECK_HTTPS:
		return &check_http;
	case MODEL_CHECK_DNS:
		return &check_dns;
	case MODEL_CHECK_EXEC:
		return &check_exec;
	case MODEL_CHECK_NONE:
	case MODEL_CHECK_KINDS:
		return NULL;
	}
	return NULL;
}

static bool is_program(const struct check *c)
{
	return c->spec.kind == MODEL_CHECK_EXEC;
}

/* ---- small things that kinds share */

bool check_is_our_fault(int err)
{
	return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -ENOBUFS ||
	       err == -EAGAIN || err == -EADDRNOTAVAIL || err == -ELIBACC;
}

double check_probe_age_ms(const struct check_probe *p)
{
	return (double)(uv_hrtime() - p->begun_ns) / 1e6;
}

bool check_matches(const regex_t *re, const char *data, size_t len)
{
	regmatch_t part = {.rm_so = 0, .rm_eo = (regoff_t)len};

	return !re || regexec(re, data, 1, &part, REG_STARTEND) == 0;
}

void check_printable(char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			text[i] = text[i] >= 0 && text[i] < 0x20 ? ' ' : '?';
	while (len && text[len - 1] == ' ')
		text[--len] = 0;
}

socklen_t check_sockaddr(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *ret_ss)
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

/* ---- when */

static uint32_t next_random(struct check *c) /* xorshift32 */
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 17;
	c->random ^= c->random << 5;
	return c->random;
}

/* A little disorder, so that a thousand checks started together do not stay together. */
static uint64_t with_jitter(struct check *c, uint64_t ms)
{
	uint64_t span = ms * 2 * JITTER_PCT / 100;

	return ms - span / 2 + (span ? next_random(c) % (span + 1) : 0);
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

/* ---- what came of it */

/* true: is_warning has changed. */
static bool note_warning(struct check *c, enum check_verdict verdict)
{
	bool is_warning = verdict == CHECK_WARN;

	c->warn_run = is_warning == c->is_warning ? 0 : c->warn_run + 1;
	if (c->warn_run < (is_warning ? c->spec.fall : c->spec.rise))
		return false;
	c->warn_run = 0;
	c->is_warning = is_warning;
	return true;
}

static void result(struct check *c, enum check_verdict verdict)
{
	bool is_ok = verdict != CHECK_BAD, is_changed = false;
	enum model_health_state seen = is_ok ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING;
	unsigned needed = is_ok ? c->spec.rise : c->spec.fall;
	struct check_result r = {.is_first = c->is_signalled};

	c->is_signalled = false;
	c->run = seen == c->state ? 0 : c->run + 1;
	/* What was never known needs no run of results to become known. */
	if (r.is_first || (c->run > 0 && (c->run >= needed || c->state == MODEL_HEALTH_UNKNOWN))) {
		c->state = seen;
		c->run = c->warn_run = 0;
		c->is_warning = verdict == CHECK_WARN;
		is_changed = true;
	} else if (is_ok && c->state == MODEL_HEALTH_PASSING) {
		is_changed = note_warning(c, verdict);
	}
	schedule(c);
	if (!is_changed)
		return;
	r.state = c->state;
	r.is_warning = c->is_warning;
	snprintf(r.why, sizeof(r.why), "%.63s", c->look.output);
	c->cb(&r, c->arg); /* last: it may stop us */
}

/* c->look.output is written. */
static void end_probe(struct check *c, enum check_verdict verdict, uint64_t took_ns)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	check_printable(c->look.output);
	c->look.unix_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	c->look.took_us = (uint32_t)(took_ns / 1000);
	c->look.streak = verdict == c->look.last ? c->look.streak + 1 : 1;
	c->look.last = verdict;
	if (verdict == CHECK_NO_RESULT)
		schedule(c);
	else
		result(c, verdict);
}

static void drop_probe(struct check_probe *p)
{
	p->check = NULL;
	p->spec = NULL;
	p->match = NULL;
	p->name = NULL;
	p->kind->drop(p);
}

void check_probe_done(struct check_probe *p, enum check_verdict verdict, const char *fmt, ...)
{
	struct check *c = p->check;
	uint64_t took_ns = uv_hrtime() - p->begun_ns;
	va_list ap;

	if (!c)
		return;
	va_start(ap, fmt);
	vsnprintf(c->look.output, sizeof(c->look.output), fmt, ap);
	va_end(ap);
	c->probe = NULL;
	drop_probe(p);
	end_probe(c, verdict, took_ns);
}

/* ---- probes */

static void begin_probe(struct check *c)
{
	const struct check_kind *k = kind_of(c);
	struct check_probe *p;
	struct err e = {0};
	int rc = -ENOMEM;

	if (!check_pool_take(c->pool, is_program(c), &c->waiter))
		return;
	p = calloc(1, k->probe_bytes);
	if (!p) {
		check_pool_release(c->pool, is_program(c));
	} else {
		p->check = c;
		p->pool = c->pool;
		p->kind = k;
		p->spec = &c->spec;
		p->match = c->has_match ? &c->match : NULL;
		p->name = c->of.name;
		p->addr = c->of.addr;
		p->port = c->spec.port ? c->spec.port : c->of.port;
		p->begun_ns = uv_hrtime();
		rc = k->begin(p);
	}
	if (!rc) {
		c->probe = p;
		uv_timer_start(&c->timer, on_timer, c->spec.timeout_ms, 0);
		return;
	}
	if (p)
		drop_probe(p);
	snprintf(c->look.output, sizeof(c->look.output), "%s",
		 check_pool_allows(c->pool, &c->spec, &e) ? e.text : uv_strerror(rc));
	/* A program that can't be run says nothing about the backend. */
	end_probe(c, is_program(c) || check_is_our_fault(rc) ? CHECK_NO_RESULT : CHECK_BAD, 0);
}

static void on_timer(uv_timer_t *t)
{
	struct check *c = t->data;

	if (c->probe) {
		char note[sizeof(c->probe->note)];

		memcpy(note, c->probe->note, sizeof(note));
		check_probe_done(c->probe, CHECK_BAD, "timed out after %u ms%s%s",
				 c->spec.timeout_ms, note[0] ? ": " : "", note);
		return;
	}
	if (!kind_of(c)) {
		const struct check_result r = {.state = MODEL_HEALTH_PASSING, .why = "not checked"};

		c->cb(&r, c->arg);
		return;
	}
	if (c->is_match_bad) {
		snprintf(c->look.output, sizeof(c->look.output), "pattern '%s' does not compile",
			 c->spec.match);
		end_probe(c, CHECK_NO_RESULT, 0);
		return;
	}
	check_pool_forget(c->pool, is_program(c), &c->waiter);
	begin_probe(c);
}

/* There is room: in the next turn of the loop, for the one that made it is not done yet. */
static void on_room(struct check_waiter *w)
{
	struct check *c = (struct check *)((char *)w - offsetof(struct check, waiter));

	uv_timer_start(&c->timer, on_timer, 0, 0);
}

/* ---- life */

static uint32_t hash_name(const char *name) /* FNV-1a */
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h;
}

int check_start(struct check_pool *pool, const struct check_of *of, const struct model_check *spec,
		check_cb cb, void *arg, struct check **ret_check)
{
	struct check *c = calloc(1, sizeof(*c));
	uint64_t spread = spec->interval_ms / FAST_DIVISOR;
	int rc;

	if (!c)
		return -ENOMEM;
	c->pool = pool;
	pool->wake = on_room;
	c->of = *of;
	c->spec = *spec;
	c->state = of->state;
	c->is_warning = of->is_warning;
	c->cb = cb;
	c->arg = arg;
	c->random = hash_name(of->name) ^ ((uint32_t)of->port << 16) ^ of->addr.b[15];
	if (!c->random)
		c->random = 1;
	rc = uv_timer_init(pool->uv, &c->timer);
	if (rc) {
		free(c);
		return rc;
	}
	c->timer.data = c;
	if (spec->match[0]) {
		c->is_match_bad = regcomp(&c->match, spec->match, REG_EXTENDED | REG_NEWLINE) != 0;
		c->has_match = !c->is_match_bad;
	}
	if (spread > SPREAD_MAX_MS)
		spread = SPREAD_MAX_MS;
	uv_timer_start(
		&c->timer, on_timer,
		c->state == MODEL_HEALTH_UNKNOWN || !kind_of(c) ? 0 : next_random(c) % spread, 0);
	*ret_check = c;
	return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
	struct check *c = h->data;

	if (c->has_match)
		regfree(&c->match);
	free(c);
}

void check_stop(struct check *c)
{
	if (!c)
		return;
	if (c->probe)
		drop_probe(c->probe);
	c->probe = NULL;
	check_pool_leave(c->pool, is_program(c), &c->waiter);
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
		c->is_warning = false;
		c->run = c->warn_run = 0;
		c->fast_until_ns = uv_hrtime() + CHECK_SIGNAL_MS * 1000000ull;
	}
	uv_timer_start(&c->timer, on_timer, 0, 0);
}

void check_kick(struct check *c)
{
	if (!c->probe && kind_of(c))
		uv_timer_start(&c->timer, on_timer, 0, 0);
}

void check_see(const struct check *c, struct check_look *ret_look)
{
	*ret_look = c->look;
	ret_look->is_under_way = c->probe || c->waiter.is_waiting;
	ret_look->next_ms = ret_look->is_under_way ? 0 : uv_timer_get_due_in(&c->timer);
}
