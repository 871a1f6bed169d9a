/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The mirror's life, and lookups in it. */
#include "edge/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/plan_priv.h"

const char *plan_op_text(enum plan_op_kind kind)
{
	switch (kind) {
	case PLAN_NODE:
		return "node";
	case PLAN_NODE_GONE:
		return "node gone";
	case PLAN_NODE_STATE:
		return "node state";
	case PLAN_BACKEND:
		return "backend";
	case PLAN_ROWS:
		return "rows";
	case PLAN_SVC:
		return "service";
	case PLAN_PORTPAGE:
		return "port page";
	case PLAN_PORTDIR:
		return "port directory";
	case PLAN_VIP:
		return "VIP";
	case PLAN_VIP_SLOT:
		return "VIP slot";
	case PLAN_VIP_GONE:
		return "VIP gone";
	case PLAN_VIP_FREE:
		return "VIP free";
	}
	return "?";
}

uint32_t plan_node_num(const struct node_id *id)
{
	return (uint32_t)id->b[0] << 24 | (uint32_t)id->b[1] << 16 | (uint32_t)id->b[2] << 8 |
	       id->b[3];
}

uint32_t plan_svc_id(const char *name)
{
	uint64_t h = maglev_hash_end(maglev_hash_add(MAGLEV_HASH_INIT, name, strlen(name)));

	return (uint32_t)h ? (uint32_t)h : 1;
}

int plan_state_new(const struct plan_sizes *sizes, struct plan_state **ret_state)
{
	const uint32_t cap[POOL_COUNT] = {
		[POOL_NODE] = sizes->nodes, [POOL_BACKEND] = sizes->backends,
		[POOL_SVC] = sizes->svcs,   [POOL_PAGE] = sizes->pages,
		[POOL_DIR] = sizes->dirs,   [POOL_VIP] = sizes->vips,
	};
	struct plan_state *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->sizes = *sizes;
	for (size_t i = 0; i < POOL_COUNT; i++)
		s->pool[i] = (struct plan_pool){.cap = cap[i], .high = 1};
	if (sizes->rows && plan_ranges_give(&s->rows, 0, sizes->rows)) {
		plan_state_free(s);
		return -ENOMEM;
	}
	*ret_state = s;
	return 0;
}

void plan_state_done(struct plan_state *s)
{
	for (size_t i = 0; i < s->svc_count; i++)
		plan_block_unref(s->svc[i].rows);
	for (size_t i = 0; i < s->vip_count; i++)
		for (size_t k = 0; k < PLAN_DIRS; k++)
			plan_block_unref(s->vip[i].dir[k]);
	for (size_t i = 0; i < s->page_count; i++)
		plan_block_unref(s->page[i].page);
	free(s->node);
	free(s->backend);
	free(s->svc);
	free(s->vip);
	free(s->page);
	free(s->slot);
	for (size_t i = 0; i < POOL_COUNT; i++)
		free(s->pool[i].free);
	free(s->rows.r);
	free(s->rest);
	plan_seen_done(&s->seen);
	*s = (struct plan_state){0};
}

void plan_state_free(struct plan_state *s)
{
	if (!s)
		return;
	plan_state_done(s);
	free(s);
}

uint64_t plan_due_ms(const struct plan_state *s)
{
	uint64_t due = UINT64_MAX;

	for (size_t i = 0; i < s->rest_count; i++)
		if (s->rest[i].at_ms < due)
			due = s->rest[i].at_ms;
	for (size_t i = 0; i < s->svc_count; i++)
		if (s->svc[i].forget_ms < due)
			due = s->svc[i].forget_ms;
	return due;
}

/* ---- order */

int plan_backend_key_cmp(const struct plan_backend_key *a, const struct plan_backend_key *b)
{
	int rc = node_id_cmp(&a->node, &b->node);

	if (!rc)
		rc = strcmp(a->service, b->service);
	if (!rc)
		rc = memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));
	return rc ? rc : (int)a->port - (int)b->port;
}

void plan_backend_key_of(const struct route_view *view, size_t backend_idx,
			 struct plan_backend_key *ret_key)
{
	const struct route_backend *b = &view->backend[backend_idx];

	*ret_key = (struct plan_backend_key){
		.node = view->node[b->node_idx].id,
		.addr = b->backend.addr,
		.port = b->backend.port,
	};
	memcpy(ret_key->service, b->backend.service, sizeof(ret_key->service));
}

int plan_svc_cmp(const struct plan_svc_key *a, const struct plan_svc_key *b)
{
	int rc = strcmp(a->name, b->name);

	if (!rc)
		rc = (int)a->family - (int)b->family;
	if (!rc)
		rc = (int)a->part.lo - (int)b->part.lo;
	return rc ? rc : (int)a->part.hi - (int)b->part.hi;
}

/* ---- lookups */

struct plan_node_ent *plan_find_node(const struct plan_state *s, const struct node_id *id)
{
	size_t lo = 0, hi = s->node_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int rc = node_id_cmp(&s->node[mid].id, id);

		if (rc == 0)
			return &s->node[mid];
		if (rc < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

struct plan_backend_ent *plan_find_backend(const struct plan_state *s,
					   const struct plan_backend_key *key)
{
	size_t lo = 0, hi = s->backend_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int rc = plan_backend_key_cmp(&s->backend[mid].key, key);

		if (rc == 0)
			return &s->backend[mid];
		if (rc < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

static struct plan_backend_ent *find_backend(const struct plan_state *s, const struct node_id *node,
					     const char *backend_key)
{
	struct plan_backend_key key = {.node = *node};
	struct model_backend b = {0};

	if (model_backend_key_parse(backend_key, &b))
		return NULL;
	memcpy(key.service, b.service, sizeof(key.service));
	key.addr = b.addr;
	key.port = b.port;
	return plan_find_backend(s, &key);
}

struct plan_vip_ent *plan_find_vip(const struct plan_state *s, const uint8_t addr[16])
{
	size_t lo = 0, hi = s->vip_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int rc = memcmp(s->vip[mid].value.addr, addr, sizeof(s->vip[mid].value.addr));

		if (rc == 0)
			return &s->vip[mid];
		if (rc < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

struct plan_page_ent *plan_find_page(const struct plan_state *s, const struct plan_page_key *key)
{
	size_t lo = 0, hi = s->page_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int rc = memcmp(&s->page[mid].key, key, sizeof(*key));

		if (rc == 0)
			return &s->page[mid];
		if (rc < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

uint32_t plan_node_idx(const struct plan_state *s, const struct node_id *id)
{
	const struct plan_node_ent *n = plan_find_node(s, id);

	return n ? n->idx : 0;
}

uint32_t plan_backend_idx(const struct plan_state *s, const struct node_id *node,
			  const char *backend_key)
{
	const struct plan_backend_ent *b = find_backend(s, node, backend_key);

	return b ? b->idx : 0;
}

const struct plan_svc_ent *plan_find_svc(const struct plan_state *s, const struct plan_svc_key *key)
{
	size_t lo = 0, hi = s->svc_count;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		struct plan_svc_key here = plan_svc_key_of(&s->svc[mid]);
		int rc = plan_svc_cmp(&here, key);

		if (rc == 0)
			return &s->svc[mid];
		if (rc < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return NULL;
}

uint32_t plan_svc_idx(const struct plan_state *s, const char *service, uint8_t family,
		      struct ip_port_range part)
{
	const struct plan_svc_ent *svc =
		plan_find_svc(s, &(struct plan_svc_key){service, family, part});

	return svc ? svc->idx : 0;
}

uint32_t plan_vip_idx(const struct plan_state *s, const struct ip_addr *vip)
{
	const struct plan_vip_ent *v = plan_find_vip(s, vip->b);

	return v ? v->idx : 0;
}

bool plan_vip_is_served(const struct plan_state *s, const struct ip_addr *vip)
{
	const struct plan_vip_ent *v = plan_find_vip(s, vip->b);

	return v && v->is_served;
}

size_t plan_svc_count(const struct plan_state *s)
{
	return s->svc_count;
}

size_t plan_vip_count(const struct plan_state *s)
{
	return s->vip_count;
}

/* ---- urgent words */

bool plan_backend_down(struct plan_state *s, const struct node_id *node, const char *backend_key,
		       struct plan_op *ret_op)
{
	struct plan_backend_ent *b = find_backend(s, node, backend_key);

	if (!b || DP_BE_STATE(b->word) == DP_BE_DEAD)
		return false;
	b->word = DP_BE_WORD(DP_BE_DEAD, DP_BE_NODE(b->word), DP_BE_TOKEN(b->word));
	*ret_op = (struct plan_op){.kind = PLAN_BACKEND, .idx = b->idx, .arg.word = b->word};
	return true;
}

bool plan_node_down(struct plan_state *s, const struct node_id *id, enum dp_node_state state,
		    struct plan_op *ret_op)
{
	struct plan_node_ent *n = plan_find_node(s, id);

	if (!n || n->value.state == DP_NODE_DOWN || n->value.state == state)
		return false;
	n->value.state = state;
	*ret_op = (struct plan_op){.kind = PLAN_NODE_STATE, .idx = n->idx, .arg.node = n->value};
	return true;
}
