/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"

/* ---- answering: put into the core, commit, spread, answer */

static void answer(struct agent_op *op, int status)
{
	struct agent *a = op->agent;

	if (a) {
		TAILQ_REMOVE(&a->ops, op, link);
		op->cb(status, op->text, op->arg);
	}
	free(op);
}

void agent_ops_stored(int status, void *arg)
{
	struct agent_op *op = arg;
	struct agent *a = op->agent;

	if (a && status) {
		agent_log("error", "not_durable", "error=\"%s\"", strerror(-status));
		snprintf(op->text, sizeof(op->text), "accepted, not durable: the store says %s",
			 strerror(-status));
	}
	if (a)
		agent_pump(a);
	answer(op, 0);
}

void agent_ops_cancel(struct agent *a)
{
	struct agent_op *op;

	/* The store still holds them: agent_ops_stored() frees. */
	while ((op = TAILQ_FIRST(&a->ops))) {
		TAILQ_REMOVE(&a->ops, op, link);
		op->agent = NULL;
		op->cb(-ECANCELED,
		       "this edged is stopping; the change may or may not have been made", op->arg);
	}
}

void agent_ops_refuse(agent_cb cb, void *arg, int err, const char *fmt, ...)
{
	char text[AGENT_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cb(err, text, arg);
}

/* The event of a delete that waits for its record (tombstones can't be looked up). Another node's record may have the
 * same key. */
struct agent_op *agent_ops_claim(struct agent *a, const struct record *r)
{
	struct agent_op *op;

	if (!r->is_tombstone ||
	    (record_scope_of(r->kind) != RECORD_SHARED && node_id_cmp(&r->writer, &a->self)))
		return NULL;
	TAILQ_FOREACH(op, &a->ops, link)
	if (op->is_unstored && op->kind == r->kind && strlen(op->key) == r->key_len &&
	    !memcmp(op->key, r->key, r->key_len)) {
		op->is_unstored = false;
		return op;
	}
	return NULL;
}

int agent_ops_commit(struct agent *a, uint8_t kind, const char *key, const uint8_t *value, int len,
		     const char *text, agent_cb cb, void *arg)
{
	bool is_shared = record_scope_of(kind) == RECORD_SHARED;
	uint64_t now = agent_now_ms(a);
	struct agent_op *op = calloc(1, sizeof(*op));
	struct record r;
	int err;

	if (!op) {
		agent_ops_refuse(cb, arg, -ENOMEM, "out of memory");
		return -ENOMEM;
	}
	*op = (struct agent_op){.agent = a, .cb = cb, .arg = arg, .kind = kind};
	snprintf(op->text, sizeof(op->text), "%s", text);
	snprintf(op->key, sizeof(op->key), "%s", key);
	if (value && len < 0)
		err = len;
	else if (value)
		err = gossip_core_put(a->core, now, kind, key, value, (size_t)len, true);
	else
		err = gossip_core_del(a->core, now, kind, key, true);
	if (err) {
		free(op);
		agent_ops_refuse(cb, arg, err, "%s can't be written: %s", key, strerror(-err));
		return err;
	}
	TAILQ_INSERT_TAIL(&a->ops, op, link);
	if (!value) {
		op->is_unstored = true;
		agent_pump(a);
		return 0;
	}
	err = gossip_core_get_record(a->core, is_shared ? NULL : &a->self, kind, key, &r)
		      ? store_write_record(a->store, &r, agent_ops_stored, op)
		      : -EIO;
	if (err)
		agent_ops_stored(err, op); /* in force, though not durable */
	return 0;
}

/* ---- services */

static const char *proto_text(uint8_t l4_proto)
{
	return l4_proto == IPPROTO_TCP ? "tcp" : l4_proto == IPPROTO_UDP ? "udp" : "?";
}

static const char *port_text(const struct model_port *p, char buf[32])
{
	if (p->ports.lo == p->ports.hi)
		snprintf(buf, 32, "%s/%u", proto_text(p->l4_proto), p->ports.lo);
	else
		snprintf(buf, 32, "%s/%u-%u", proto_text(p->l4_proto), p->ports.lo, p->ports.hi);
	return buf;
}

static bool ports_overlap(const struct model_port *a, const struct model_port *b)
{
	return a->l4_proto == b->l4_proto && a->ports.lo <= b->ports.hi &&
	       b->ports.lo <= a->ports.hi;
}

static bool has_vip(const struct model_service *s, const struct ip_addr *vip)
{
	for (size_t i = 0; i < s->vip_count; i++)
		if (ip_equal(&s->vip[i], vip))
			return true;
	return false;
}

static int check_clash(const struct model_service *s, const struct model_service *other,
		       struct err *e)
{
	char ip[IP_TEXT_MAX], port[32];

	for (size_t v = 0; v < s->vip_count; v++) {
		if (!has_vip(other, &s->vip[v]))
			continue;
		for (size_t i = 0; i < s->port_count; i++)
			for (size_t k = 0; k < other->port_count; k++)
				if (ports_overlap(&s->port[i], &other->port[k]))
					return err_set(
						e, -EEXIST, "vip %s %s belongs to service %s",
						ip_text(&s->vip[v], ip),
						port_text(&other->port[k], port), other->name);
	}
	return 0;
}

static int check_vips(const struct agent *a, const struct model_service *s, struct err *e)
{
	const struct route_view *view = &a->world->view;
	char ip[IP_TEXT_MAX];

	if (s->vip_count == 0 || s->vip_count > MODEL_VIPS_MAX)
		return err_set(e, -EINVAL, "service %s: got %zu VIPs, want 1 to %d", s->name,
			       s->vip_count, MODEL_VIPS_MAX);
	for (size_t i = 0; i < s->vip_count; i++) {
		ip_text(&s->vip[i], ip);
		if (!ip_is_unicast(&s->vip[i]))
			return err_set(e, -EINVAL, "vip %s: want one unicast address, not loopback",
				       ip);
		for (size_t k = 0; k < i; k++)
			if (ip_equal(&s->vip[i], &s->vip[k]))
				return err_set(e, -EINVAL, "vip %s is given twice", ip);
		for (size_t k = 0; k < view->node_count; k++)
			if (ip_equal(&s->vip[i], &view->node[k].node.mesh_addr))
				return err_set(e, -EINVAL, "vip %s is the mesh address of node %s",
					       ip, view->node[k].node.name);
	}
	return 0;
}

static int check_ports(const struct model_service *s, struct err *e)
{
	char one[32], two[32];

	if (s->port_count == 0 || s->port_count > MODEL_PORTS_MAX)
		return err_set(e, -EINVAL, "service %s: got %zu ports, want 1 to %d", s->name,
			       s->port_count, MODEL_PORTS_MAX);
	for (size_t i = 0; i < s->port_count; i++) {
		const struct model_port *p = &s->port[i];

		if (!p->ports.lo || p->ports.lo > p->ports.hi ||
		    p->ports.hi - p->ports.lo >= MODEL_RANGE_MAX)
			return err_set(e, -EINVAL,
				       "port %s: want 1 to 65535, at most %d in a range",
				       port_text(p, one), MODEL_RANGE_MAX);
		for (size_t k = 0; k < i; k++)
			if (ports_overlap(p, &s->port[k]))
				return err_set(e, -EINVAL, "ports %s and %s overlap",
					       port_text(p, one), port_text(&s->port[k], two));
	}
	return 0;
}

static int check_service(const struct agent *a, const struct model_service *s, struct err *e)
{
	const struct route_view *view = &a->world->view;
	int err;

	if (model_name_check(s->name))
		return err_set(e, -EINVAL,
			       "service name: got '%s', want lower case letters, digits and '-'",
			       s->name);
	err = check_vips(a, s, e);
	if (!err)
		err = check_ports(s, e);
	if (!err)
		err = model_policy_check(s, e);
	for (size_t i = 0; !err && i < view->service_count; i++) {
		if (!strcmp(view->service[i].name, s->name))
			err = err_set(e, -EEXIST, "service %s exists already", s->name);
		else
			err = check_clash(s, &view->service[i], e);
	}
	return err;
}

/* The first VIP that this edge would not announce, or NULL. */
static const struct ip_addr *outside_prefixes(const struct agent *a, const struct model_service *s)
{
	for (size_t i = 0; a->cfg.self.is_edge && i < s->vip_count; i++) {
		bool is_in = false;

		for (size_t k = 0; k < a->cfg.vip_prefix_count; k++)
			is_in |= ip_in_prefix(&s->vip[i], &a->cfg.vip_prefix[k]);
		if (!is_in)
			return &s->vip[i];
	}
	return NULL;
}

void agent_ops_refresh(struct agent *a)
{
	if (a->is_dirty)
		agent_compute(a);
}

void agent_service_add(struct agent *a, const struct model_service *s, agent_cb cb, void *arg)
{
	const struct ip_addr *odd;
	struct model_service copy = *s;
	uint8_t buf[RECORD_VALUE_MAX];
	char text[AGENT_TEXT_MAX], ip[IP_TEXT_MAX];
	struct err e = {0};

	agent_ops_refresh(a);
	if (check_service(a, s, &e)) {
		agent_ops_refuse(cb, arg, e.code, "%s", e.text);
		return;
	}
	copy.created = 1;
	for (size_t i = 0; i < a->world->view.service_count; i++)
		if (a->world->view.service[i].created >= copy.created)
			copy.created = a->world->view.service[i].created + 1;
	odd = outside_prefixes(a, s);
	if (odd)
		snprintf(text, sizeof(text),
			 "service %s added; vip %s is in no vip_prefix of this node: it won't "
			 "announce it",
			 s->name, ip_text(odd, ip));
	else
		snprintf(text, sizeof(text), "service %s added", s->name);
	(void)agent_ops_commit(a, MODEL_KIND_SERVICE, s->name, buf,
			       model_service_encode(&copy, buf, sizeof(buf)), text, cb, arg);
}

void agent_service_rm(struct agent *a, const char *name, agent_cb cb, void *arg)
{
	char text[AGENT_TEXT_MAX];
	size_t left = 0, filters, len;

	agent_ops_refresh(a);
	if (!agent_fact_find(a, NULL, MODEL_KIND_SERVICE, name)) {
		agent_ops_refuse(cb, arg, -ENOENT, "there is no service %s", name);
		return;
	}
	for (size_t i = 0; i < a->world->view.backend_count; i++)
		left += !strcmp(a->world->view.backend[i].backend.service, name);
	filters = agent_filters_count(a, name, 0);
	len = (size_t)snprintf(text, sizeof(text), "service %s removed", name);
	if (left)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"; its %zu backend%s stay recorded at their nodes", left,
					left == 1 ? "" : "s");
	if (filters)
		snprintf(text + len, sizeof(text) - len, "; its filters (%zu) stay listed",
			 filters);
	(void)agent_ops_commit(a, MODEL_KIND_SERVICE, name, NULL, 0, text, cb, arg);
}
