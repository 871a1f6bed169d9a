/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Health of this node's backends: what checks find, what packets tell, what is published.
 *
 * A signal takes a backend out at once and starts a probe; the probe's result decides what follows:
 *   it fails    the check has the backend from now on: `rise` good results bring it back
 *   it is good  the signal was wrong: the backend is back at once, and for DISTRUST_MIN_MS, doubled each time, its signals
 *               take it out only together with a probe that fails
 * Kind none has no probe: back after RETURN_MIN_MS, doubled up to RETURN_MAX_MS when it is taken out again within ten times that.
 * Silence is never believed alone: packets that deserve no answer can be sent by anybody.
 * What is gone for certain (a process, an address) is out until its check says otherwise, or, without one, until it is back.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"

#define DISTRUST_MIN_MS 10000u
#define DISTRUST_MAX_MS 600000u
#define RETURN_MIN_MS 5000u
#define RETURN_MAX_MS 300000u

static void on_watch(bool is_alive, const char *why, void *arg);

/* ---- publishing */

static void publish(struct own_backend *o, enum model_health_state state,
		    enum model_health_cause cause, uint64_t born_ns, bool is_warning,
		    const char *why)
{
	struct agent *a = o->agent;
	bool is_other = o->health.state != state;
	uint8_t buf[RECORD_VALUE_MAX];
	int len, err;

	if (is_other)
		o->health.changed_unix_ms = agent_unix_ms();
	o->health.state = (uint8_t)state;
	o->health.is_warning = is_warning;
	o->health.share_pct = agent_slow_share(o, is_other);
	o->health.was = agent_past_was(o);
	o->health.cause = (uint8_t)(state == MODEL_HEALTH_FAILING ? cause : MODEL_CAUSE_CHECK);
	o->born_ns = born_ns;
	o->said_ns = uv_hrtime();
	snprintf(o->health.why, sizeof(o->health.why), "%s", why);
	len = model_health_encode(&o->health, buf, sizeof(buf));
	err = len < 0 ? len
		      : gossip_core_put(a->core, agent_now_ms(a), MODEL_KIND_HEALTH, o->key, buf,
					(size_t)len, is_other);
	if (err)
		agent_log("error", "health_not_published", "backend=%s error=\"%s\"", o->key,
			  strerror(-err));
	agent_pump(a);
}

/* It is as it was, but for its share. */
static void say_again(struct own_backend *o)
{
	char why[sizeof(o->health.why)];

	memcpy(why, o->health.why, sizeof(why));
	publish(o, (enum model_health_state)o->health.state,
		(enum model_health_cause)o->health.cause, o->born_ns, o->health.is_warning, why);
}

static void set_health(struct own_backend *o, enum model_health_state state,
		       enum model_health_cause cause, uint64_t born_ns, const char *why)
{
	publish(o, state, cause, born_ns, false, why);
}

/* ---- how many may be out */

static bool is_same_part(const struct model_backend *x, const struct model_backend *y)
{
	return !strcmp(x->service, y->service) && ip_is_v4(&x->addr) == ip_is_v4(&y->addr) &&
	       !memcmp(&x->ports, &y->ports, sizeof(x->ports));
}

static bool node_serves(const struct route_node *n)
{
	return n->state == GOSSIP_ALIVE || n->state == GOSSIP_HEADLESS;
}

/* NULL, or why a signal must not take it out. Of two nodes that decide at the same moment neither knows of the other. */
static const char *eject_refused(const struct own_backend *o)
{
	const struct agent *a = o->agent;
	const struct route_view *v = &a->world->view;
	uint32_t total = 0, usable = 0, ejected = 0, pct = 0;
	const union fact_value *s;

	for (size_t i = 0; i < v->backend_count; i++) {
		const struct route_backend *b = &v->backend[i];
		const struct route_node *n = &v->node[b->node_idx];
		const union fact_value *h;
		char key[MODEL_KEY_MAX];
		uint8_t state;

		if (!is_same_part(&b->backend, &o->model) || b->backend.is_draining ||
		    b->is_overridden || !node_serves(n) || model_backend_key(&b->backend, key))
			continue;
		total++;
		/* As it is now: the view may be some milliseconds old. */
		h = agent_fact_find(a, &n->id, MODEL_KIND_HEALTH, key);
		state = h ? h->health.state : MODEL_HEALTH_UNKNOWN;
		if (model_health_is_good(&b->backend.check, (enum model_health_state)state))
			usable++;
		else
			ejected += h && h->health.cause == MODEL_CAUSE_SIGNAL;
	}
	if (usable < 2)
		return "it is the last usable one";
	s = agent_fact_find(a, NULL, MODEL_KIND_SERVICE, o->model.service);
	if (s)
		pct = s->service.policy.eject_pct;
	if (!pct)
		pct = MODEL_EJECT_PCT;
	return (ejected + 1) * 100 > total * pct ? "too many are out by signals alone" : NULL;
}

/* ---- checks */

static void distrust(struct own_backend *o)
{
	uint32_t ms = o->distrust_ms ? 2 * o->distrust_ms : DISTRUST_MIN_MS;

	o->distrust_ms = ms < DISTRUST_MAX_MS ? ms : DISTRUST_MAX_MS;
	o->distrust_until_ms = agent_now_ms(o->agent) + o->distrust_ms;
	agent_log("warn", "signal_wrong", "backend=%s why=\"the check passes\" trusted_in_ms=%u",
		  o->key, o->distrust_ms);
}

static void on_check(const struct check_result *r, void *arg)
{
	struct own_backend *o = arg;
	bool is_good = r->state == MODEL_HEALTH_PASSING;

	/* The first word of a check of kind none is for what was never known. */
	if (o->model.check.kind == MODEL_CHECK_NONE && o->gone_text[0])
		return;
	if (r->is_first && o->is_doubted) {
		if (is_good && o->health.cause == MODEL_CAUSE_SIGNAL)
			distrust(o);
		else if (!is_good)
			o->distrust_ms = 0;
	}
	o->is_doubted = false;
	if (r->is_first && is_good && o->health.state == MODEL_HEALTH_PASSING &&
	    r->is_warning == o->health.is_warning)
		return; /* well, as it was */
	publish(o, r->state, MODEL_CAUSE_CHECK, uv_hrtime(), r->is_warning, r->why);
}

void agent_check_start(struct own_backend *o)
{
	const struct model_backend *b = &o->model;
	struct check_of of = {.addr = b->addr,
			      .port = b->port,
			      .state = (enum model_health_state)o->health.state,
			      .is_warning = o->health.is_warning};
	int err = b->watch[0] ? watch_open(o->agent->uv, b->watch, on_watch, o, &o->watch) : 0;

	/* Before the check, so that one of kind none is not heard first. */
	if (err) {
		o->watch = NULL;
		agent_log("error", "watch_not_started", "backend=%s watch=%s error=\"%s\"", o->key,
			  b->watch, strerror(-err));
	}
	snprintf(of.name, sizeof(of.name), "%s", o->key);
	err = check_start(o->agent->checks, &of, &b->check, on_check, o, &o->check);
	if (err) {
		o->check = NULL;
		agent_log("error", "check_not_started", "backend=%s error=\"%s\"", o->key,
			  strerror(-err));
	}
}

static bool has_check(const struct own_backend *o)
{
	return o->check && o->model.check.kind != MODEL_CHECK_NONE;
}

/* ---- signals */

static void doubt(struct own_backend *o, bool is_out)
{
	if (!has_check(o))
		return;
	o->is_doubted = true;
	check_signal(o->check, is_out);
}

static void take_out(struct own_backend *o, const char *why, uint64_t born_ns)
{
	uint64_t now = agent_now_ms(o->agent);

	agent_log("warn", "backend_ejected", "backend=%s why=\"%s\"", o->key, why);
	if (!has_check(o)) {
		uint64_t since = now - o->return_ms;

		o->backoff_ms = o->return_ms && since < 10ull * o->backoff_ms ? 2 * o->backoff_ms
									      : RETURN_MIN_MS;
		if (o->backoff_ms > RETURN_MAX_MS)
			o->backoff_ms = RETURN_MAX_MS;
		o->return_ms = now + o->backoff_ms;
	}
	set_health(o, MODEL_HEALTH_FAILING, MODEL_CAUSE_SIGNAL, born_ns, why);
	doubt(o, true);
}

void agent_health_signal(struct own_backend *o, const char *what, uint64_t born_ns)
{
	bool is_trusted = agent_now_ms(o->agent) >= o->distrust_until_ms;
	char why[sizeof(o->health.why)];
	const char *refused;

	if (o->health.state == MODEL_HEALTH_FAILING || o->is_doubted)
		return;
	refused = is_trusted ? eject_refused(o) : NULL;
	if (refused) {
		if (o->refused_ms + DISTRUST_MIN_MS < agent_now_ms(o->agent)) {
			o->refused_ms = agent_now_ms(o->agent);
			agent_log("warn", "eject_refused", "backend=%s signal=\"%s\" why=\"%s\"",
				  o->key, what, refused);
		}
		if (o->check)
			check_kick(o->check);
		return;
	}
	if (!is_trusted) {
		doubt(o, false);
		return;
	}
	snprintf(why, sizeof(why), "%s, seen in its packets", what);
	take_out(o, why, born_ns);
}

static void on_signal(const struct dp_signal *s, void *arg)
{
	struct agent *a = arg;
	struct own_backend *o;

	if (a->is_closing)
		return;
	TAILQ_FOREACH(o, &a->own, link)
	if (DP_TOKEN_SLOT(o->model.token) == s->slot &&
	    DP_TOKEN_USE(o->model.token) == s->use_count) {
		agent_health_signal(o, signal_kind_text(s->kind), s->time_ns);
		return;
	}
}

/* ---- gone, and back */

static void gone(struct own_backend *o, const char *why)
{
	if (o->gone_text[0])
		return;
	snprintf(o->gone_text, sizeof(o->gone_text), "%s", why);
	if (o->health.state == MODEL_HEALTH_FAILING)
		return;
	agent_log("warn", "backend_gone", "backend=%s why=\"%s\"", o->key, why);
	set_health(o, MODEL_HEALTH_FAILING, MODEL_CAUSE_GONE, uv_hrtime(), why);
	doubt(o, true);
}

static void back(struct own_backend *o)
{
	if (!o->gone_text[0])
		return;
	o->gone_text[0] = 0;
	if (has_check(o))
		check_signal(o->check, true);
	else if (o->health.state == MODEL_HEALTH_FAILING)
		set_health(o, MODEL_HEALTH_PASSING, MODEL_CAUSE_CHECK, uv_hrtime(),
			   "not checked: what was gone is back");
}

void agent_health_presence(struct own_backend *o)
{
	if (!o->has_way)
		gone(o, "its address or the way to it is gone");
	else if (o->watch_text[0])
		gone(o, o->watch_text);
	else
		back(o);
}

static void on_watch(bool is_alive, const char *why, void *arg)
{
	struct own_backend *o = arg;

	snprintf(o->watch_text, sizeof(o->watch_text), "%s", is_alive ? "" : why);
	agent_health_presence(o);
}

void agent_health_unwatch(struct own_backend *o)
{
	watch_close(o->watch);
	o->watch = NULL;
}

/* ---- which port says most about a backend */

static uint8_t check_proto(const struct model_check *c)
{
	switch ((enum model_check_kind)c->kind) {
	case MODEL_CHECK_TCP:
	case MODEL_CHECK_HTTP:
	case MODEL_CHECK_HTTPS:
		return IPPROTO_TCP;
	case MODEL_CHECK_UDP:
		return IPPROTO_UDP;
	case MODEL_CHECK_DNS:
		return c->is_dns_tcp ? IPPROTO_TCP : IPPROTO_UDP;
	case MODEL_CHECK_EXEC:
	case MODEL_CHECK_NONE:
	case MODEL_CHECK_KINDS:
		return 0;
	}
	return 0;
}

void agent_health_watch(const struct own_backend *o, struct dp_local *l)
{
	const struct model_backend *b = &o->model;
	const union fact_value *v = agent_fact_find(o->agent, NULL, MODEL_KIND_SERVICE, b->service);
	uint8_t proto = check_proto(&b->check), only_proto = 0;
	uint16_t checked = b->check.port ? b->check.port : b->port, lo;
	uint32_t ports = 0;

	if (!v)
		return;
	lo = b->ports.lo ? b->ports.lo : model_service_port_lo(&v->service);
	for (size_t i = 0; i < v->service.port_count; i++) {
		struct model_port p = v->service.port[i];
		int shift = (int)b->port - (int)lo;

		if (b->ports.lo && p.ports.lo < b->ports.lo)
			p.ports.lo = b->ports.lo;
		if (b->ports.lo && p.ports.hi > b->ports.hi)
			p.ports.hi = b->ports.hi;
		if (p.ports.lo > p.ports.hi)
			continue;
		ports += p.ports.hi - p.ports.lo + 1u;
		only_proto = p.l4_proto;
		if (p.l4_proto == proto && checked >= p.ports.lo + shift &&
		    checked <= p.ports.hi + shift) {
			l->watch_proto = proto;
			l->watch_port_be = htons(checked);
			return;
		}
	}
	if (ports != 1)
		return;
	l->watch_proto = only_proto;
	l->watch_port_be = htons(b->port);
}

/* ---- the maps */

static void on_tick(uv_timer_t *t)
{
	struct agent *a = t->data;
	uint64_t now = agent_now_ms(a);
	bool is_second = a->health_ticks++ % (1000 / SIGNAL_TICK_MS) == 0;
	struct own_backend *o;

	agent_report_tick(a);
	if (a->is_fresh && agent_past_is_heard(a))
		agent_kick(a, true);
	TAILQ_FOREACH(o, &a->own, link)
	{
		struct dp_pulse pulse;

		if (!o->has_way) /* since the start */
			agent_health_presence(o);
		if (o->return_ms && o->health.cause == MODEL_CAUSE_SIGNAL && !has_check(o) &&
		    o->return_ms <= now && !o->gone_text[0]) {
			o->return_ms = now;
			set_health(o, MODEL_HEALTH_PASSING, MODEL_CAUSE_CHECK, uv_hrtime(),
				   "not checked: back on trial");
		}
		if (agent_slow_share(o, false) != o->health.share_pct ||
		    (is_second && agent_past_was(o) != o->health.was))
			say_again(o);
		if (!a->signals)
			continue;
		pulse = signals_pulse(a->signals, DP_TOKEN_SLOT(o->model.token));
		o->signals_held = pulse.held;
		o->signals_lost = pulse.lost;
		if (silence_look(&o->silence, &pulse) && has_check(o) &&
		    o->health.state == MODEL_HEALTH_PASSING && !o->is_doubted) {
			agent_log("info", "backend_silent", "backend=%s", o->key);
			doubt(o, false);
		}
	}
}

static void on_signals_closed(void *arg)
{
	agent_handle_closed(arg);
}

void agent_health_maps(struct agent *a)
{
	struct err e = {0};

	if (signals_open(a->uv, &a->fds, on_signal, a, &a->signals, &e)) {
		a->signals = NULL;
		agent_log("error", "signals_unavailable", "error=\"%s\"", e.text);
		return;
	}
	a->open_handles++;
}

void agent_health_no_maps(struct agent *a)
{
	if (a->signals)
		signals_close(a->signals, on_signals_closed, a);
	a->signals = NULL;
}

void agent_health_open(struct agent *a)
{
	(void)uv_timer_init(a->uv, &a->health_timer); /* never fails */
	a->health_timer.data = a;
	a->open_handles++;
	uv_timer_start(&a->health_timer, on_tick, SIGNAL_TICK_MS, SIGNAL_TICK_MS);
}

static void on_timer_closed(uv_handle_t *h)
{
	agent_handle_closed(h->data);
}

static void on_checks_closed(void *arg)
{
	agent_handle_closed(arg);
}

int agent_health_checks(struct agent *a)
{
	int err = check_pool_open(a->uv, &a->cfg.checks, &a->checks);

	if (!err)
		a->open_handles++;
	return err;
}

void agent_health_close(struct agent *a)
{
	check_pool_close(a->checks, on_checks_closed, a);
	uv_close((uv_handle_t *)&a->health_timer, on_timer_closed);
}
