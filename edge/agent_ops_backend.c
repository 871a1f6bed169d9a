/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Operators' verbs about this node's backends, and drains of any. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"

/* A server that listens on both families may have one id for its two backends. */
static int check_quic_id(struct agent *a, const struct model_backend *b, struct err *e)
{
	const struct route_view *view;
	char ip[IP_TEXT_MAX];

	agent_ops_refresh(a);
	view = &a->world->view;
	for (size_t i = 0; i < view->backend_count; i++) {
		const struct model_backend *other = &view->backend[i].backend;

		if (other->quic_id == b->quic_id && !strcmp(other->service, b->service) &&
		    ip_is_v4(&other->addr) == ip_is_v4(&b->addr))
			return err_set(e, -EEXIST,
				       "quic id %08x is that of node %s's backend %s:%u",
				       b->quic_id, view->node[view->backend[i].node_idx].node.name,
				       ip_text(&other->addr, ip), other->port);
	}
	return 0;
}

static bool is_other_part(const struct model_backend *a, const struct model_backend *b)
{
	return !strcmp(a->service, b->service) && ip_is_v4(&a->addr) == ip_is_v4(&b->addr) &&
	       a->ports.lo && b->ports.lo && a->ports.lo <= b->ports.hi &&
	       b->ports.lo <= a->ports.hi && memcmp(&a->ports, &b->ports, sizeof(a->ports)) != 0;
}

static int refuse_part(const struct model_backend *b, const struct model_backend *has,
		       const char *node, struct err *e)
{
	return err_set(e, -EINVAL,
		       "ports %u-%u: a backend of %s takes %u-%u: want the same part, or one "
		       "beside it",
		       b->ports.lo, b->ports.hi, node, has->ports.lo, has->ports.hi);
}

/* Do the ports that it takes exist, fit above its own, and are they nobody else's part? */
static int check_part(const struct agent *a, const struct model_service *s,
		      const struct model_backend *b, struct err *e)
{
	uint16_t lo = b->ports.lo ? b->ports.lo : model_service_port_lo(s), hi = 0;
	const struct route_view *v = &a->world->view;
	const struct own_backend *o;
	bool has_port = false;

	for (size_t i = 0; i < s->port_count; i++) {
		has_port |=
			s->port[i].ports.lo <= b->ports.hi && b->ports.lo <= s->port[i].ports.hi;
		if (s->port[i].ports.hi > hi)
			hi = s->port[i].ports.hi;
	}
	if (b->ports.lo && !has_port)
		return err_set(e, -EINVAL, "ports %u-%u: service %s has none of them", b->ports.lo,
			       b->ports.hi, s->name);
	if (b->ports.lo && b->ports.hi < hi)
		hi = b->ports.hi;
	if (b->port + (hi - lo) > 65535)
		return err_set(e, -EINVAL,
			       "port %u: the service's ports %u to %u would go beyond 65535",
			       b->port, lo, hi);
	TAILQ_FOREACH(o, &a->own, link)
	if (is_other_part(&o->model, b))
		return refuse_part(b, &o->model, "this node", e);
	for (size_t i = 0; i < v->backend_count; i++)
		if (is_other_part(&v->backend[i].backend, b))
			return refuse_part(b, &v->backend[i].backend,
					   v->node[v->backend[i].node_idx].node.name, e);
	return 0;
}

static int check_backend(struct agent *a, const struct model_backend *b, struct err *e)
{
	const union fact_value *v = agent_fact_find(a, NULL, MODEL_KIND_SERVICE, b->service);
	char ip[IP_TEXT_MAX], key[MODEL_KEY_MAX];
	struct deliver_way way;
	bool has_family = false;

	if (!v)
		return err_set(e, -ENOENT, "there is no service %s", b->service);
	if (!b->port || !b->weight || b->weight > MODEL_WEIGHT_MAX)
		return err_set(e, -EINVAL,
			       "backend port %u weight %u: want a port, and a weight of 1 to %d",
			       b->port, b->weight, MODEL_WEIGHT_MAX);
	for (size_t i = 0; i < v->service.vip_count; i++)
		has_family |= ip_is_v4(&v->service.vip[i]) == ip_is_v4(&b->addr);
	ip_text(&b->addr, ip);
	if (!has_family)
		return err_set(e, -EINVAL, "%s is IPv%d, but service %s has no IPv%d VIP", ip,
			       ip_is_v4(&b->addr) ? 4 : 6, b->service, ip_is_v4(&b->addr) ? 4 : 6);
	if (check_part(a, &v->service, b, e))
		return -EINVAL;
	if (model_backend_key(b, key))
		return err_set(e, -EINVAL, "%s: no valid backend", ip);
	if (agent_own_find(a, key))
		return err_set(e, -EEXIST, "backend %s exists already on this node", key);
	if (b->quic_id && check_quic_id(a, b, e))
		return -EEXIST;
	if (check_pool_allows(a->checks, &b->check, e))
		return e->code;
	return deliver_find(&b->addr, a->cfg.bridge, a->cfg.bridge_count, &way, e);
}

static int put_backend(struct own_backend *o, const char *text, agent_cb cb, void *arg)
{
	uint8_t buf[RECORD_VALUE_MAX];
	int len = model_backend_encode(&o->model, buf, sizeof(buf));

	return agent_ops_commit(o->agent, MODEL_KIND_BACKEND, o->key, buf, len, text, cb, arg);
}

void agent_backend_add(struct agent *a, const struct model_backend *b, agent_cb cb, void *arg)
{
	static const struct model_health unknown;
	struct model_backend copy = *b;
	char text[AGENT_TEXT_MAX];
	struct own_backend *o;
	struct err e = {0};
	int err;

	if (check_backend(a, b, &e)) {
		agent_ops_refuse(cb, arg, e.code, "%s", e.text);
		return;
	}
	if (watch_complete(copy.watch, &e)) {
		agent_ops_refuse(cb, arg, e.code, "%s", e.text);
		return;
	}
	copy.is_draining = false;
	err = agent_token_new(a, &copy.token);
	if (err) {
		agent_ops_refuse(
			cb, arg, err,
			"this node has %u backends, or removed some in the last ten minutes: no "
			"token is free",
			(unsigned)a->own_count);
		return;
	}
	err = agent_own_add(a, &copy, &unknown, &o);
	if (err) {
		agent_ops_refuse(cb, arg, err, "backend can't be added: %s", strerror(-err));
		return;
	}
	agent_past_is_new(o);
	snprintf(text, sizeof(text), "backend %s added%s", o->key,
		 a->cfg.fwd_socket ? "" : "; this node has no forwarder: it gets no packets");
	if (a->plan)
		agent_locals_write(a); /* before any edge knows the token */
	if (put_backend(o, text, cb, arg))
		agent_own_remove(a, o);
}

/* A backend that an operator named. */
struct named {
	struct own_backend *own; /* NULL: another node's */
	char node[MODEL_NAME_MAX];
	char key[MODEL_KEY_MAX];
};

/* "SERVICE/ADDR:PORT" of this node, or "NODE/SERVICE/ADDR:PORT". */
static int find_named(struct agent *a, const char *spec, struct named *ret_named, struct err *e)
{
	const struct route_view *view = &a->world->view;
	struct named n = {0};
	struct model_backend b = {0};
	const char *slash = strchr(spec, '/'), *key = spec;

	snprintf(n.node, sizeof(n.node), "%s", a->cfg.self.name);
	if (slash && strchr(slash + 1, '/')) {
		snprintf(n.node, sizeof(n.node), "%.*s", (int)(slash - spec), spec);
		key = slash + 1;
	}
	/* Written as keys are, whatever way the operator wrote the address. */
	if (model_backend_key_parse(key, &b) || model_backend_key(&b, n.key))
		return err_set(e, -EINVAL, "backend: got '%.100s', want [NODE/]SERVICE/ADDR:PORT",
			       spec);
	if (!strcmp(n.node, a->cfg.self.name)) {
		n.own = agent_own_find(a, n.key);
		*ret_named = n;
		return n.own ? 0 : err_set(e, -ENOENT, "this node has no backend %s", n.key);
	}
	for (size_t i = 0; i < view->backend_count; i++) {
		char have[MODEL_KEY_MAX];

		if (!strcmp(view->node[view->backend[i].node_idx].node.name, n.node) &&
		    !model_backend_key(&view->backend[i].backend, have) && !strcmp(have, n.key)) {
			*ret_named = n;
			return 0;
		}
	}
	return err_set(e, -ENOENT, "node %s has no backend %s", n.node, n.key);
}

void agent_backend_rm(struct agent *a, const char *spec, agent_cb cb, void *arg)
{
	char text[AGENT_TEXT_MAX];
	struct named n;
	struct err e = {0};

	agent_ops_refresh(a);
	if (!find_named(a, spec, &n, &e) && !n.own)
		err_set(&e, -EPERM, "backend %s belongs to node %s: remove it there, or drain it",
			n.key, n.node);
	if (e.code) {
		agent_ops_refuse(cb, arg, e.code, "%s", e.text);
		return;
	}
	snprintf(text, sizeof(text), "backend %s removed", n.key);
	if (agent_ops_commit(a, MODEL_KIND_BACKEND, n.key, NULL, 0, text, cb, arg))
		return;
	agent_own_remove(a, n.own);
	/* Health goes with it; that it has none yet is no failure. */
	(void)gossip_core_del(a->core, agent_now_ms(a), MODEL_KIND_HEALTH, n.key, false);
	agent_pump(a);
}

void agent_backend_weight(struct agent *a, const char *spec, uint32_t weight, agent_cb cb,
			  void *arg)
{
	char text[AGENT_TEXT_MAX];
	struct err e = {0};
	struct named n;
	uint16_t was;

	agent_ops_refresh(a);
	if (!weight || weight > MODEL_WEIGHT_MAX)
		err_set(&e, -EINVAL, "weight: got %u, want 1 to %d", weight, MODEL_WEIGHT_MAX);
	else if (!find_named(a, spec, &n, &e) && !n.own)
		err_set(&e, -EPERM, "backend %s belongs to node %s: set its weight there", n.key,
			n.node);
	if (e.code) {
		agent_ops_refuse(cb, arg, e.code, "%s", e.text);
		return;
	}
	was = n.own->model.weight;
	n.own->model.weight = (uint16_t)weight;
	snprintf(text, sizeof(text), "backend %s has weight %u now, had %u", n.key, weight, was);
	if (put_backend(n.own, text, cb, arg))
		n.own->model.weight = was;
}

static void put_override(struct agent *a, const char *key, const char *author, const char *reason,
			 const char *text, agent_cb cb, void *arg)
{
	struct model_override o = {.is_drained = true};
	uint8_t buf[RECORD_VALUE_MAX];

	snprintf(o.author, sizeof(o.author), "%s", author ? author : "");
	snprintf(o.reason, sizeof(o.reason), "%s", reason ? reason : "");
	(void)agent_ops_commit(a, MODEL_KIND_OVERRIDE, key, buf,
			       model_override_encode(&o, buf, sizeof(buf)), text, cb, arg);
}

void agent_backend_drain(struct agent *a, const char *spec, bool is_drained, const char *author,
			 const char *reason, agent_cb cb, void *arg)
{
	const char *verb = is_drained ? "drains" : "serves again";
	char override[MODEL_KEY_MAX + MODEL_NAME_MAX + 16], text[AGENT_TEXT_MAX];
	bool is_overridden;
	struct named n;
	struct err e = {0};

	agent_ops_refresh(a);
	if (find_named(a, spec, &n, &e)) {
		agent_ops_refuse(cb, arg, e.code, "%s", e.text);
		return;
	}
	snprintf(override, sizeof(override), "backend/%s/%s", n.node, n.key);
	is_overridden = agent_fact_find(a, NULL, MODEL_KIND_OVERRIDE, override) != NULL;
	snprintf(text, sizeof(text), "backend %s/%s %s", n.node, n.key, verb);
	if (n.own && n.own->model.is_draining != is_drained) {
		n.own->model.is_draining = is_drained;
		if (put_backend(n.own, text, cb, arg)) {
			n.own->model.is_draining = !is_drained;
			return;
		}
		/* Undrained here: an order from elsewhere falls with it. */
		if (!is_drained && is_overridden)
			(void)gossip_core_del(a->core, agent_now_ms(a), MODEL_KIND_OVERRIDE,
					      override, true);
		agent_pump(a);
		return;
	}
	if (!is_drained && is_overridden) {
		(void)agent_ops_commit(a, MODEL_KIND_OVERRIDE, override, NULL, 0, text, cb, arg);
		return;
	}
	if (is_drained && !n.own && !is_overridden) {
		put_override(a, override, author, reason, text, cb, arg);
		return;
	}
	agent_ops_refuse(cb, arg, 0, "backend %s/%s: nothing to change", n.node, n.key);
}
