/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"

/* ---- facts */

static bool is_ours(uint8_t kind)
{
	return (kind >= MODEL_KIND_NODE && kind <= MODEL_KIND_HEALTH) ||
	       (kind >= MODEL_KIND_SERVICE && kind <= MODEL_KIND_FILTER);
}

/* -EMSGSIZE: a key longer than any of ours. */
static int make_id(const struct node_id *writer, uint8_t kind, const void *key, size_t key_len,
		   struct fact_id *ret_id)
{
	struct fact_id id;

	memset(&id, 0, sizeof(id));
	id.kind = kind;
	if (record_scope_of(kind) != RECORD_SHARED && writer)
		id.writer = *writer;
	snprintf(id.key, sizeof(id.key), "%.*s", (int)key_len, (const char *)key);
	*ret_id = id;
	return key_len < sizeof(id.key) && !memchr(key, 0, key_len) ? 0 : -EMSGSIZE;
}

static struct fact *find(const struct agent *a, const struct fact_id *id)
{
	struct fact *f;

	HASH_FIND(hh, a->facts, id, sizeof(*id), f);
	return f;
}

const union fact_value *agent_fact_find(const struct agent *a, const struct node_id *writer,
					uint8_t kind, const char *key)
{
	struct fact_id id;
	struct fact *f;

	if (make_id(writer, kind, key, strlen(key), &id))
		return NULL;
	f = find(a, &id);
	return f ? &f->u : NULL;
}

/* 0 | -EBADMSG: the value can't be read, or its key is not the one its content asks for. */
static int decode(const struct record *r, const char *key, union fact_value *ret_u)
{
	char want[MODEL_KEY_MAX];

	switch (r->kind) {
	case MODEL_KIND_NODE:
		return strcmp(key, "node")
			       ? -EBADMSG
			       : model_node_decode(r->value, r->value_len, &ret_u->node);
	case MODEL_KIND_BACKEND:
		if (model_backend_decode(r->value, r->value_len, &ret_u->backend) ||
		    model_backend_key(&ret_u->backend, want) || strcmp(key, want))
			return -EBADMSG;
		return 0;
	case MODEL_KIND_HEALTH:
		return model_health_decode(r->value, r->value_len, &ret_u->health);
	case MODEL_KIND_SERVICE:
		if (model_service_decode(r->value, r->value_len, &ret_u->service) ||
		    strcmp(key, ret_u->service.name))
			return -EBADMSG;
		return 0;
	case MODEL_KIND_OVERRIDE:
		return model_override_decode(r->value, r->value_len, &ret_u->override);
	case MODEL_KIND_SEED:
		return strcmp(key, "flow")
			       ? -EBADMSG
			       : model_seed_decode(r->value, r->value_len, &ret_u->seed);
	case MODEL_KIND_FILTER:
		if (model_filter_decode(r->value, r->value_len, &ret_u->filter) ||
		    strcmp(key, model_filter_key(&ret_u->filter, want)) != 0)
			return -EBADMSG;
		return 0;
	}
	return -EBADMSG;
}

static enum agent_change health_changed(struct agent *a, const struct fact_id *id,
					const struct model_health *was,
					const struct model_health *is)
{
	char name[MODEL_NAME_MAX];
	static const char *const text[] = {"unknown", "passing", "failing"};

	if (was && was->state == is->state)
		return AGENT_CHANGED;
	if (a->loop) /* not what the store remembers */
		agent_log("info", "health", "node=%s backend=%s state=%s why=\"%s\"",
			  agent_node_name(a, &id->writer, name), id->key, text[is->state % 3],
			  is->why);
	agent_report_health(a, id, is);
	return is->state == MODEL_HEALTH_FAILING ? AGENT_URGENT : AGENT_CHANGED;
}

static enum agent_change remove_fact(struct agent *a, const struct fact_id *id)
{
	struct fact *f = find(a, id);

	if (!f)
		return AGENT_SAME;
	a->is_filter_dirty |= id->kind == MODEL_KIND_FILTER;
	agent_fact_changed(a, id);
	HASH_DEL(a->facts, f);
	free(f->value);
	free(f);
	return AGENT_CHANGED;
}

/* The value that was decoded goes along: it is the former one, should the next be poison. */
static enum agent_change put_fact(struct agent *a, const struct fact_id *id, const uint8_t *value,
				  size_t len, const union fact_value *u)
{
	enum agent_change change = AGENT_CHANGED;
	struct fact *f = find(a, id);
	uint8_t *copy;

	if (f && !memcmp(&f->u, u, sizeof(*u)))
		return AGENT_SAME;
	if (id->kind == MODEL_KIND_HEALTH)
		change = health_changed(a, id, f ? &f->u.health : NULL, &u->health);
	copy = malloc(len + 1);
	if (!copy)
		return AGENT_SAME;
	memcpy(copy, value, len);
	if (!f) {
		f = malloc(sizeof(*f));
		if (!f) {
			free(copy);
			return AGENT_SAME;
		}
		memset(f, 0, sizeof(*f));
		f->id = *id;
		HASH_ADD(hh, a->facts, id, sizeof(f->id), f);
	}
	memcpy(&f->u, u, sizeof(*u));
	free(f->value);
	f->value = copy;
	f->value_len = len;
	a->is_filter_dirty |= id->kind == MODEL_KIND_FILTER;
	agent_fact_changed(a, id);
	return change;
}

/* What was in force before a quarantined one, if a restart forgot it. */
static enum agent_change put_former(struct agent *a, const struct fact_id *id,
				    const struct record *r)
{
	const struct poison_entry *e = poison_find(a->poison, r);
	struct record former = *r;
	union fact_value u;

	if (!e || !e->has_former || find(a, id))
		return AGENT_SAME;
	former.value = e->former;
	former.value_len = e->former_len;
	memset(&u, 0, sizeof(u));
	if (decode(&former, id->key, &u))
		return AGENT_SAME;
	return put_fact(a, id, e->former, e->former_len, &u);
}

enum agent_change agent_fact_apply(struct agent *a, const struct record *r)
{
	enum agent_change change;
	const struct fact *f;
	union fact_value u;
	struct fact_id id;
	int err;

	if (!is_ours(r->kind))
		return AGENT_SAME;
	err = make_id(&r->writer, r->kind, r->key, r->key_len, &id);
	if (r->is_tombstone) {
		poison_outdated(a->poison, r);
		return err ? AGENT_SAME : remove_fact(a, &id);
	}
	f = find(a, &id);
	if (poison_is_held(a->poison, r)) {
		poison_again(a->poison, r, f ? f->value : NULL, f ? f->value_len : 0);
		return err ? AGENT_SAME : put_former(a, &id, r);
	}
	poison_begin(a->poison, r, f ? f->value : NULL, f ? f->value_len : 0);
	memset(&u, 0, sizeof(u));
	if (!err)
		err = decode(r, id.key, &u);
	if (!err && r->kind == MODEL_KIND_SERVICE)
		poison_hook(POISON_DECODE, &u.service, 1);
	if (err) {
		agent_quarantine(a, r, f ? f->value : NULL, f ? f->value_len : 0);
		change = put_former(a, &id, r);
		poison_end(a->poison, false);
		return change;
	}
	poison_outdated(a->poison, r);
	change = put_fact(a, &id, r->value, r->value_len, &u);
	poison_end(a->poison, change != AGENT_SAME);
	return change;
}

enum agent_change agent_fact_gone(struct agent *a, const struct record *r)
{
	struct fact_id id;

	if (!is_ours(r->kind))
		return AGENT_SAME;
	poison_outdated(a->poison, r);
	if (make_id(&r->writer, r->kind, r->key, r->key_len, &id))
		return AGENT_SAME;
	return remove_fact(a, &id);
}

void agent_facts_free(struct agent *a)
{
	struct fact *f, *next;

	HASH_ITER(hh, a->facts, f, next)
	{
		HASH_DEL(a->facts, f);
		free(f->value);
		free(f);
	}
}

/* ---- the world made from them */

static int cmp_node(const void *x, const void *y)
{
	const struct route_node *a = x, *b = y;

	return node_id_cmp(&a->id, &b->id);
}

struct route_node *agent_world_node(const struct world *w, const struct node_id *id)
{
	struct route_node probe = {.id = *id};

	return bsearch(&probe, w->node, w->view.node_count, sizeof(probe), cmp_node);
}

static int cmp_service(const void *x, const void *y)
{
	const struct model_service *a = x, *b = y;

	return strcmp(a->name, b->name);
}

/* Backend facts in order of (service, node, key), before they become view entries. */
static int cmp_backend_fact(const void *x, const void *y)
{
	const struct fact *a = *(struct fact *const *)x, *b = *(struct fact *const *)y;
	int c = strcmp(a->u.backend.service, b->u.backend.service);

	if (!c)
		c = node_id_cmp(&a->id.writer, &b->id.writer);
	return c ? c : strcmp(a->id.key, b->id.key);
}

void agent_fill_node(const struct agent *a, const struct gossip_member *m, struct route_node *n)
{
	const union fact_value *v = agent_fact_find(a, &m->id, MODEL_KIND_NODE, "node");

	*n = (struct route_node){.id = m->id, .state = m->state};
	if (v) {
		n->node = v->node;
		return;
	}
	/* Not heard yet: what membership knows of it. */
	snprintf(n->node.name, sizeof(n->node.name), "%s", m->name);
	snprintf(n->node.region, sizeof(n->node.region), "%s", m->region);
	memcpy(n->node.mesh_addr.b, m->addr.ip, sizeof(n->node.mesh_addr.b));
	n->node.has_forwarder = m->has_forwarder;
}

bool agent_backend_is_drained(struct agent *a, const struct model_node *n, const char *backend_key,
			      uint64_t now_s)
{
	char key[MODEL_KEY_MAX + MODEL_NAME_MAX + 16];

	snprintf(key, sizeof(key), "backend/%s/%s", n->name, backend_key);
	return agent_override_stands(a, key, now_s);
}

static void mark_drained(struct agent *a, struct world *w)
{
	uint64_t now_s = agent_unix_ms() / 1000;

	for (size_t i = 0; i < w->view.node_count; i++)
		w->node[i].is_drained = agent_node_is_drained(a, &w->node[i].node, now_s);
}

/* By its own account, or by others' if its node is headless. */
void agent_fill_health(const struct agent *a, struct world *w, size_t backend_idx)
{
	struct route_backend *b = &w->backend[backend_idx];
	const struct fact *f = w->fact[backend_idx];
	const union fact_value *h = agent_fact_find(a, &f->id.writer, MODEL_KIND_HEALTH, f->id.key);
	struct model_health *health = &w->health[backend_idx];

	*health = h ? h->health : (struct model_health){0};
	agent_judge_apply(a, w->node, w->view.node_count, &w->node[b->node_idx], f->id.key, health);
	b->health = (enum model_health_state)health->state;
	b->is_gone = health->cause == MODEL_CAUSE_GONE && b->health == MODEL_HEALTH_FAILING;
	b->share_pct = health->share_pct;
}

static void fill_backends(struct agent *a, struct world *w, struct fact **fact, size_t count,
			  bool has_overrides)
{
	uint64_t now_s = agent_unix_ms() / 1000;

	for (size_t i = 0; i < count; i++) {
		const struct route_node *n = agent_world_node(w, &fact[i]->id.writer);
		struct route_backend *b = &w->backend[w->view.backend_count];

		fact[i]->at = 0;
		if (!n)
			continue; /* its node is not a member (yet): the member event comes back here */
		b->node_idx = (size_t)(n - w->node);
		b->backend = fact[i]->u.backend;
		w->fact[w->view.backend_count] = fact[i];
		agent_fill_health(a, w, w->view.backend_count);
		b->is_overridden = has_overrides &&
				   (n->is_drained ||
				    agent_backend_is_drained(a, &n->node, fact[i]->id.key, now_s));
		fact[i]->at = ++w->view.backend_count;
	}
}

size_t agent_service_at(const struct world *w, const char *name)
{
	struct model_service probe;
	const struct model_service *s;

	snprintf(probe.name, sizeof(probe.name), "%s", name);
	s = bsearch(&probe, w->service, w->view.service_count, sizeof(probe), cmp_service);
	return s ? (size_t)(s - w->service) : SIZE_MAX;
}

/* Which services have prefixes of their own. */
static void mark_filters(const struct agent *a, struct world *w)
{
	for (const struct fact *f = a->facts; f; f = f->hh.next) {
		size_t s;

		if (f->id.kind != MODEL_KIND_FILTER || !f->u.filter.service[0])
			continue;
		s = agent_service_at(w, f->u.filter.service);
		if (s < w->view.service_count)
			w->has_filter[s] = true;
	}
}

static void count_facts(const struct agent *a, size_t *ret_services, size_t *ret_backends,
			bool *ret_overrides)
{
	size_t services = 0, backends = 0;
	bool overrides = false;

	for (const struct fact *f = a->facts; f; f = f->hh.next) {
		services += f->id.kind == MODEL_KIND_SERVICE;
		backends += f->id.kind == MODEL_KIND_BACKEND;
		overrides |= f->id.kind == MODEL_KIND_OVERRIDE;
	}
	*ret_services = services;
	*ret_backends = backends;
	*ret_overrides = overrides;
}

int agent_world_build(struct agent *a, struct world **ret_world)
{
	struct world *w = calloc(1, sizeof(*w));
	size_t members = gossip_core_member_count(a->core), services, backends, n = 0;
	size_t nodes = members, own;
	struct fact **fact = NULL;
	bool has_overrides;
	int err = -ENOMEM;

	if (!w)
		return -ENOMEM;
	count_facts(a, &services, &own, &has_overrides);
	backends = own;
	agent_regions_count(a, &nodes, &backends);
	w->node = calloc(nodes + 1, sizeof(*w->node));
	w->service = calloc(services + 1, sizeof(*w->service));
	w->backend = calloc(backends + 1, sizeof(*w->backend));
	w->health = calloc(backends + 1, sizeof(*w->health));
	w->has_filter = calloc(services + 1, sizeof(*w->has_filter));
	w->fact = calloc(own + 1, sizeof(struct fact *));
	fact = calloc(own + 1, sizeof(struct fact *));
	if (agent_touched_new(&w->touched_node, nodes) ||
	    agent_touched_new(&w->touched_service, services) ||
	    agent_touched_new(&w->touched_backend, backends))
		goto out;
	if (!w->fact || !w->node || !w->service || !w->backend || !w->health || !w->has_filter ||
	    !fact)
		goto out;
	for (size_t i = 0; i < members; i++) {
		struct gossip_member m;

		gossip_core_member_at(a->core, i, &m);
		agent_fill_node(a, &m, &w->node[i]);
	}
	qsort(w->node, members, sizeof(*w->node), cmp_node);
	w->view.node_count = agent_regions_nodes(a, w->node, members);
	for (struct fact *f = a->facts; f; f = f->hh.next) {
		if (f->id.kind == MODEL_KIND_SERVICE)
			w->service[w->view.service_count++] = f->u.service;
		else if (f->id.kind == MODEL_KIND_BACKEND)
			fact[n++] = f;
	}
	qsort(w->service, services, sizeof(*w->service), cmp_service);
	qsort(fact, n, sizeof(struct fact *), cmp_backend_fact);
	a->next_expiry_s = 0;
	if (has_overrides)
		mark_drained(a, w);
	fill_backends(a, w, fact, n, has_overrides);
	err = agent_regions_backends(a, w, has_overrides);
	if (err)
		goto out;
	mark_filters(a, w);
	w->view.has_filter = w->has_filter;
	w->view.node = w->node;
	w->view.service = w->service;
	w->view.backend = w->backend;
	memcpy(w->view.region, a->cfg.self.region, sizeof(w->view.region));
	w->view.self = a->self;
	agent_tiers(a, &w->view);
	agent_gray(a, w);
	poison_hook(POISON_VIEW, w->service, w->view.service_count);
	err = route_compute_from(&w->view, a->world ? a->world->routes : NULL, &w->routes);
	if (!err)
		poison_hook(POISON_ROUTE, w->service, w->view.service_count);
out:
	free(fact);
	if (err)
		agent_world_free(w);
	else
		*ret_world = w;
	return err;
}

void agent_world_free(struct world *w)
{
	if (!w)
		return;
	if (w->routes)
		route_free(w->routes);
	free(w->node);
	free(w->service);
	free(w->backend);
	free(w->health);
	free(w->capacity);
	free(w->has_filter);
	free(w->fact);
	agent_touched_free(&w->touched_node);
	agent_touched_free(&w->touched_backend);
	agent_touched_free(&w->touched_service);
	free(w);
}
