/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* status and node.list. `*_ms` is how long ago, or for how long, in milliseconds; nil = never.
 *
 * status     {cluster, self: name, region, version, digest: hex of all stored records, problems: [sentence], worst first,
 *             nodes: [node], regions: [region] (ctl_regions.c), services: [service], backends: [backend] (ctl_list.c),
 *             store: {is_broken, text, queued, commits},
 *             forwarder: {is_up, text, is_ready, routes_ms, compute_us, compute_us_max}, gossip, loop (ctl_stats.c)}
 * node.list  {nodes: [node]}
 *   node     {name, region, id: hex, addr: "ADDR:PORT", state, since_ms, heard_ms, data_heard_ms, rtt_us (nil = not
 *             measured), is_self, is_summary: all that is known of it comes from its region's summary, is_removed, is_edge, is_worker, is_drained, has_forwarder, is_behind, behind_ms, lacks_records, lacks_writers,
 *             lacks_shared, ahead_writers (0 unless it is behind), generation, version}
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cmd/ctl_int.h"

#define PROBLEMS_MAX 100      /* shown; more are counted */
#define TOMBSTONES_SHOWN 1024 /* a quarter of what there is room for */

static void hex(const uint8_t *p, size_t len, char *buf)
{
	for (size_t i = 0; i < len; i++)
		snprintf(buf + 2 * i, 3, "%02x", p[i]);
}

/* ---- nodes */

void ctl_put_node(const struct ctl_look *l, const struct gossip_member *m, struct ctl_out *o)
{
	const struct route_node *n = ctl_look_node(l, &m->id);
	char id[2 * NODE_ID_BYTES + 1], addr[IP_TEXT_MAX];
	struct ip_addr ip;
	struct ctl_block b;

	hex(m->id.b, sizeof(m->id.b), id);
	memcpy(ip.b, m->addr.ip, sizeof(ip.b));
	ctl_map(o, &b);
	ctl_key_text(o, &b, "name", m->name);
	ctl_key_text(o, &b, "region", m->region);
	ctl_key_text(o, &b, "id", id);
	ctl_key_text(o, &b, "addr", ip_port_text(&ip, m->addr.port, addr));
	ctl_key_text(o, &b, "state", ctl_state_text(m->state));
	ctl_key_age(o, &b, "since_ms", l->now_ms, m->since_ms);
	if (m->is_self) {
		ctl_key_uint(o, &b, "heard_ms", 0);
		ctl_key_nil(o, &b, "data_heard_ms");
	} else {
		ctl_key_age(o, &b, "heard_ms", l->now_ms, m->heard_ms);
		ctl_key_age(o, &b, "data_heard_ms", l->now_ms, m->data_heard_ms);
	}
	if (m->rtt_us)
		ctl_key_uint(o, &b, "rtt_us", m->rtt_us);
	else
		ctl_key_nil(o, &b, "rtt_us");
	ctl_key_bool(o, &b, "is_self", m->is_self);
	ctl_key_bool(o, &b, "is_summary", false);
	ctl_key_bool(o, &b, "is_removed", m->is_removed);
	ctl_key_bool(o, &b, "is_edge", n && n->node.is_edge);
	ctl_key_bool(o, &b, "is_worker", n && n->node.is_worker);
	ctl_key_bool(o, &b, "is_drained", n && n->is_drained);
	ctl_key_bool(o, &b, "has_forwarder", m->has_forwarder);
	ctl_key_bool(o, &b, "is_behind", m->is_behind);
	ctl_key_age(o, &b, "behind_ms", l->now_ms, m->is_behind ? m->behind_since_ms : 0);
	ctl_key_uint(o, &b, "lacks_records", m->lacks_records);
	ctl_key_uint(o, &b, "lacks_writers", m->lacks_writers);
	ctl_key_uint(o, &b, "lacks_shared", m->lacks_shared);
	ctl_key_uint(o, &b, "ahead_writers", m->ahead_writers);
	ctl_key_uint(o, &b, "protocol_lo", m->version.lo);
	ctl_key_uint(o, &b, "protocol_hi", m->version.hi);
	ctl_key_uint(o, &b, "generation", m->generation);
	ctl_key_text(o, &b, "version", n ? n->node.version : "");
	ctl_end(o, &b);
}

static void put_nodes(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m)
{
	size_t count = gossip_core_member_count(l->cfg->core);
	struct ctl_block list;

	ctl_key(o, m, "nodes");
	ctl_array(o, &list);
	for (size_t i = 0; i < count; i++) {
		struct gossip_member member;

		gossip_core_member_at(l->cfg->core, i, &member);
		ctl_item(&list);
		ctl_put_node(l, &member, o);
	}
	for (size_t i = 0; i < l->v.view->node_count; i++) {
		if (!l->v.view->node[i].is_summary)
			continue;
		ctl_item(&list);
		ctl_put_far_node(&l->v.view->node[i], o);
	}
	ctl_end(o, &list);
}

int ctl_node_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		  struct err *e)
{
	struct ctl_block m;

	(void)a;
	(void)e;
	ctl_map(o, &m);
	put_nodes(l, o, &m);
	ctl_end(o, &m);
	return 0;
}

/* ---- problems */

struct problems {
	struct ctl_out *o;
	struct ctl_block list;
	size_t left_out;
};

static void add(struct problems *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct problems *p, const char *fmt, ...)
{
	char text[320];
	va_list ap;

	if (p->list.count == PROBLEMS_MAX) {
		p->left_out++;
		return;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ctl_item(&p->list);
	ctl_text(p->o, text);
}

static const char *since(uint64_t now_ms, uint64_t then_ms, char buf[32])
{
	char span[24];

	if (!then_ms)
		buf[0] = 0;
	else
		snprintf(buf, 32, " for %s",
			 ctl_span_text(now_ms > then_ms ? now_ms - then_ms : 0, span));
	return buf;
}

/* What nobody can reach any more comes first. */
static void add_services(const struct ctl_look *l, struct problems *p)
{
	const struct route_plan *r = l->v.routes;

	for (size_t i = 0; r && i < r->entry_count; i++) {
		const struct route_entry *en = &r->entry[i];
		const char *name = l->v.view->service[en->service_idx].name;

		if (en->row_count || en->is_shadowed) /* the agent speaks of shadows */
			continue;
		if (en->choice_count)
			add(p, "service %s (IPv%u) has no usable backend: %zu known", name,
			    en->family, en->choice_count);
		else
			add(p, "service %s (IPv%u) has no backend", name, en->family);
	}
}

static void add_nodes(const struct ctl_look *l, enum gossip_state state, const char *meaning,
		      struct problems *p)
{
	size_t count = gossip_core_member_count(l->cfg->core);

	for (size_t i = 0; i < count; i++) {
		struct gossip_member m;
		char text[32];

		gossip_core_member_at(l->cfg->core, i, &m);
		if (m.state == state && !m.is_removed)
			add(p, "node %s (%s) is %s%s: %s", m.name, m.region, ctl_state_text(state),
			    since(l->now_ms, m.since_ms, text), meaning);
	}
}

static void add_backends(const struct ctl_look *l, struct problems *p)
{
	const struct route_view *v = l->v.view;

	for (size_t i = 0; i < v->backend_count; i++) {
		const struct route_backend *b = &v->backend[l->by_service[i]];
		char spec[CTL_SPEC_MAX], text[32];
		struct model_health h;

		if (!agent_health(l->cfg->agent, l->by_service[i], &h))
			h = (struct model_health){0};
		if (h.cause == MODEL_CAUSE_STALE && b->backend.check.kind != MODEL_CHECK_NONE)
			add(p,
			    "backend %s is checked by nobody: its node is headless, and no other "
			    "reaches it",
			    ctl_backend_spec(v, l->by_service[i], spec));
		if (b->health != MODEL_HEALTH_FAILING)
			continue;
		add(p, "backend %s is failing%s%s%s", ctl_backend_spec(v, l->by_service[i], spec),
		    since(l->unix_ms, h.changed_unix_ms, text), h.why[0] ? ": " : "", h.why);
	}
}

/* As the last comparison with it found. */
static const char *by_how_much(const struct gossip_member *m, char *buf, size_t cap)
{
	int n = 0;

	buf[0] = 0;
	if (m->lacks_records)
		n = snprintf(buf, cap, ": it lacks %zu of %zu nodes", m->lacks_records,
			     m->lacks_writers);
	if (m->lacks_shared)
		n += snprintf(buf + n, cap - (size_t)n, "%s %zu shared", n ? "," : ": it lacks",
			      m->lacks_shared);
	if (m->ahead_writers)
		snprintf(buf + n, cap - (size_t)n, "%s newer ones of %zu", n ? ", has" : ": it has",
			 m->ahead_writers);
	return buf;
}

static void add_behind(const struct ctl_look *l, struct problems *p)
{
	size_t count = gossip_core_member_count(l->cfg->core);

	for (size_t i = 0; i < count; i++) {
		struct gossip_member m;
		char text[32], much[160];

		gossip_core_member_at(l->cfg->core, i, &m);
		if (m.is_behind && m.state == GOSSIP_ALIVE)
			add(p, "node %s (%s) has other records than this one%s%s", m.name, m.region,
			    since(l->now_ms, m.behind_since_ms, text),
			    by_how_much(&m, much, sizeof(much)));
	}
}

/* Such nodes never have the same records, once somebody writes whom only one of them lets. */
static void add_writers(const struct ctl_look *l, struct problems *p)
{
	for (size_t i = 0; i < gossip_core_member_count(l->cfg->core); i++) {
		struct gossip_member m;

		gossip_core_member_at(l->cfg->core, i, &m);
		if (!m.is_self && m.state == GOSSIP_ALIVE && ctl_keys_writers_differ(l, &m.id))
			add(p, "node %s (%s) has another service_writers than this one", m.name,
			    m.region);
	}
}

/* Deletions that can't be forgotten, long before there is no room for more. */
static void add_tombstones(const struct ctl_look *l, struct problems *p)
{
	struct gossip_shared shared;
	struct gossip_member m;
	char text[32];

	gossip_core_shared(l->cfg->core, &shared);
	if (!shared.is_waiting || shared.tombstones < TOMBSTONES_SHOWN)
		return;
	if (gossip_core_member_get(l->cfg->core, &shared.whom, &m))
		add(p,
		    "%zu deletions are remembered until node %s (%s%s) has seen them; if it is "
		    "gone for "
		    "good: edgectl node rm %s",
		    shared.tombstones, m.name, ctl_state_text(m.state),
		    since(l->now_ms, m.since_ms, text), m.name);
	else
		add(p, "%zu deletions are remembered until a node that is not known has seen them",
		    shared.tombstones);
}

static void put_problems(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m)
{
	struct problems p = {.o = o};

	ctl_key(o, m, "problems");
	ctl_array(o, &p.list);
	add_services(l, &p);
	for (size_t i = 0; i < l->v.problem_count; i++)
		add(&p, "%s", l->v.problem[i]);
	add_nodes(l, GOSSIP_HEADLESS, "edged is silent there, its forwarder goes on", &p);
	add_nodes(l, GOSSIP_DEAD, "packets go elsewhere", &p);
	add_nodes(l, GOSSIP_SUSPECT, "silent, packets go elsewhere", &p);
	add_backends(l, &p);
	add_behind(l, &p);
	add_writers(l, &p);
	add_tombstones(l, &p);
	if (p.left_out) {
		char text[48];

		snprintf(text, sizeof(text), "and %zu more", p.left_out);
		ctl_item(&p.list);
		ctl_text(o, text);
	}
	ctl_end(o, &p.list);
}

/* ---- status */

static void put_store(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m)
{
	struct store_status st = {0};
	struct ctl_block b;

	store_get_status(l->cfg->store, &st);
	ctl_key(o, m, "store");
	ctl_map(o, &b);
	ctl_key_bool(o, &b, "is_broken", st.is_broken);
	ctl_key_text(o, &b, "text", st.is_broken ? st.last_text : "");
	ctl_key_uint(o, &b, "queued", st.queued);
	ctl_key_uint(o, &b, "commits", st.commits);
	ctl_end(o, &b);
}

static void put_forwarder(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m)
{
	struct ctl_block b;

	ctl_key(o, m, "forwarder");
	ctl_map(o, &b);
	ctl_key_bool(o, &b, "is_up", l->v.is_fwd_up);
	ctl_key_text(o, &b, "text", l->v.fwd_text ? l->v.fwd_text : "");
	ctl_key_bool(o, &b, "is_ready", l->v.is_ready);
	ctl_key_age(o, &b, "routes_ms", l->now_ms, l->v.routes_at_ms);
	ctl_key_uint(o, &b, "compute_us", l->v.compute_us);
	ctl_key_uint(o, &b, "compute_us_max", l->v.compute_us_max);
	ctl_end(o, &b);
}

static void put_self(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m)
{
	size_t count = gossip_core_member_count(l->cfg->core);
	const char *name = "";
	struct gossip_member member;

	for (size_t i = 0; i < count && !name[0]; i++) {
		gossip_core_member_at(l->cfg->core, i, &member);
		if (member.is_self)
			name = member.name;
	}
	ctl_key_text(o, m, "self", name);
}

int ctl_status(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o, struct err *e)
{
	uint8_t digest[16];
	char text[2 * sizeof(digest) + 1];
	struct ctl_block m;

	(void)a;
	(void)e;
	gossip_core_digest(l->cfg->core, digest);
	hex(digest, sizeof(digest), text);
	ctl_map(o, &m);
	ctl_key_text(o, &m, "cluster", l->cfg->cluster ? l->cfg->cluster : "");
	put_self(l, o, &m);
	ctl_key_text(o, &m, "region", l->v.view->region);
	ctl_key_text(o, &m, "version", l->cfg->version ? l->cfg->version : "");
	ctl_key_uint(o, &m, "protocol", gossip_core_version(l->cfg->core, NULL));
	ctl_key_text(o, &m, "digest", text);
	put_problems(l, o, &m);
	put_nodes(l, o, &m);
	ctl_put_regions(l, o, &m);
	ctl_put_services(l, o, &m);
	ctl_put_backends(l, NULL, o, &m);
	put_store(l, o, &m);
	put_forwarder(l, o, &m);
	ctl_put_gossip_counters(l, o, &m);
	ctl_end(o, &m);
	return 0;
}
