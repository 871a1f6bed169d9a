/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A fresh mirror from what the maps hold: whatever can be recognised keeps its place, the rest rests and goes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/dp_hash.h"
#include "edge/plan_priv.h"

struct adopt {
	struct plan_state *s;
	const struct plan_image *image;
	const struct route_view *view;
	uint64_t now_ms;
	uint32_t *svc_id;	    /* by view.service */
	struct ip_port_range *part; /* by dp_backend index; lo > hi = not known */
	bool *is_used[POOL_COUNT];  /* by index: in an entry or at rest */
};

static int rest(struct adopt *a, enum plan_rest_kind kind, enum plan_pool_kind pool, uint32_t idx)
{
	a->is_used[pool][idx] = true;
	return plan_rest_add(
		a->s,
		&(struct plan_rest){.kind = kind, .idx = idx, .at_ms = a->now_ms + PLAN_REST_MS});
}

/* ---- nodes, by number and address */

static const struct route_node *node_of(const struct route_view *view, const struct dp_node *value)
{
	for (size_t i = 0; i < view->node_count; i++) {
		const struct route_node *n = &view->node[i];

		if (plan_node_num(&n->id) == value->node_num &&
		    memcmp(n->node.mesh_addr.b, value->addr, sizeof(value->addr)) == 0)
			return n;
	}
	return NULL;
}

static int node_ent_cmp(const void *a, const void *b)
{
	const struct plan_node_ent *x = a, *y = b;

	return node_id_cmp(&x->id, &y->id);
}

static bool has_node(const struct plan_state *s, const struct node_id *id)
{
	for (size_t i = 0; i < s->node_count; i++)
		if (node_id_cmp(&s->node[i].id, id) == 0)
			return true;
	return false;
}

static int adopt_nodes(struct adopt *a)
{
	static const struct dp_node none;
	struct plan_state *s = a->s;

	s->node = calloc(a->view->node_count + 1, sizeof(*s->node));
	if (!s->node)
		return -ENOMEM;
	for (uint32_t i = 1; i < s->sizes.nodes; i++) {
		const struct dp_node *value = &a->image->node[i];
		struct plan_rest r = {.kind = REST_NODE,
				      .idx = i,
				      .at_ms = a->now_ms + PLAN_REST_MS,
				      .node_num = value->node_num};
		const struct route_node *n;

		if (memcmp(value, &none, sizeof(none)) == 0)
			continue;
		a->is_used[POOL_NODE][i] = true;
		n = node_of(a->view, value);
		if (n && !has_node(s, &n->id)) {
			s->node[s->node_count++] = (struct plan_node_ent){n->id, i, *value};
			continue;
		}
		memcpy(r.addr.b, value->addr, sizeof(r.addr.b));
		if (plan_rest_add(s, &r))
			return -ENOMEM;
	}
	qsort(s->node, s->node_count, sizeof(*s->node), node_ent_cmp);
	return 0;
}

/* ---- backends, by node and token */

static int backend_ent_cmp(const void *a, const void *b)
{
	const struct plan_backend_ent *x = a, *y = b;

	return plan_backend_key_cmp(&x->key, &y->key);
}

/* What a word has to be, its state aside, for the backend of the view; UINT64_MAX = its node is not in the maps. */
static uint64_t identity_of(const struct adopt *a, size_t backend_idx)
{
	const struct route_backend *b = &a->view->backend[backend_idx];
	uint32_t node_idx = plan_node_idx(a->s, &a->view->node[b->node_idx].id);

	return node_idx ? DP_BE_WORD(0, node_idx, b->backend.token) : UINT64_MAX;
}

struct identity {
	uint64_t word;
	size_t backend_idx;
	bool is_taken;
};

static int identity_cmp(const void *a, const void *b)
{
	const struct identity *x = a, *y = b;

	if (x->word != y->word)
		return x->word < y->word ? -1 : 1;
	return x->backend_idx < y->backend_idx ? -1 : x->backend_idx > y->backend_idx;
}

static struct identity *find_identity(struct identity *id, size_t n, uint64_t word)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (id[mid].word < word)
			lo = mid + 1;
		else
			hi = mid;
	}
	while (lo < n && id[lo].word == word && id[lo].is_taken)
		lo++;
	return lo < n && id[lo].word == word ? &id[lo] : NULL;
}

static int adopt_backends(struct adopt *a)
{
	struct plan_state *s = a->s;
	size_t n = a->view->backend_count;
	struct identity *id = calloc(n + 1, sizeof(*id));
	int rc = 0;

	s->backend = calloc(n + 1, sizeof(*s->backend));
	if (!id || !s->backend) {
		free(id);
		return -ENOMEM;
	}
	for (size_t i = 0; i < n; i++)
		id[i] = (struct identity){.word = identity_of(a, i), .backend_idx = i};
	qsort(id, n, sizeof(*id), identity_cmp);
	for (uint32_t i = 1; i < s->sizes.backends && !rc; i++) {
		uint64_t word = a->image->backend[i];
		struct plan_backend_ent *ent = &s->backend[s->backend_count];
		struct identity *known;

		if (!word)
			continue;
		known = find_identity(id, n, DP_BE_WORD(0, DP_BE_NODE(word), DP_BE_TOKEN(word)));
		if (!known) {
			rc = rest(a, REST_BACKEND, POOL_BACKEND, i);
			continue;
		}
		known->is_taken = true;
		a->is_used[POOL_BACKEND][i] = true;
		a->part[i] = a->view->backend[known->backend_idx].backend.ports;
		ent->idx = i;
		ent->word = word;
		plan_backend_key_of(a->view, known->backend_idx, &ent->key);
		s->backend_count++;
	}
	qsort(s->backend, s->backend_count, sizeof(*s->backend), backend_ent_cmp);
	free(id);
	return rc;
}

/* ---- ports: VIPs, directories and pages as they are; what makes no sense is left out and written anew */

static int vip_ent_cmp(const void *a, const void *b)
{
	const struct plan_vip_ent *x = a, *y = b;
	int rc = memcmp(x->value.addr, y->value.addr, sizeof(x->value.addr));

	return rc ? rc : x->idx < y->idx ? -1 : x->idx > y->idx;
}

static int adopt_pages(struct adopt *a, const struct plan_vip_ent *v, enum plan_dir which)
{
	struct plan_state *s = a->s;
	const uint32_t *dir = plan_words_of(v->dir[which]);

	for (uint32_t high = 0; high < DP_PORTS_PER_PAGE; high++) {
		uint32_t idx = dir[high];
		struct plan_page_ent *p;

		if (!idx || idx >= s->sizes.pages || a->is_used[POOL_PAGE][idx])
			continue;
		p = realloc(s->page, (s->page_count + 1) * sizeof(*p));
		if (!p)
			return -ENOMEM;
		s->page = p;
		s->page_room = s->page_count + 1;
		p += s->page_count;
		*p = (struct plan_page_ent){
			.key = {.which = (uint8_t)which, .high = (uint8_t)high},
			.idx = idx,
			.page = plan_block_words(a->image->portpage +
						 (size_t)idx * DP_PORTS_PER_PAGE),
		};
		memcpy(p->key.addr, v->value.addr, sizeof(p->key.addr));
		if (!p->page)
			return -ENOMEM;
		a->is_used[POOL_PAGE][idx] = true;
		s->page_count++;
	}
	return 0;
}

static int adopt_dir(struct adopt *a, struct plan_vip_ent *v, enum plan_dir which)
{
	uint32_t *idx = plan_dir_of(&v->value, which);

	if (*idx >= a->s->sizes.dirs || a->is_used[POOL_DIR][*idx])
		*idx = 0;
	if (!*idx)
		return 0;
	v->dir[which] = plan_block_words(a->image->portdir + (size_t)*idx * DP_PORTS_PER_PAGE);
	if (!v->dir[which])
		return -ENOMEM;
	a->is_used[POOL_DIR][*idx] = true;
	return adopt_pages(a, v, which);
}

static int adopt_vips(struct adopt *a)
{
	static const struct dp_vip none;
	struct plan_state *s = a->s;
	size_t kept = 0;
	int rc = 0;

	s->vip = calloc((size_t)s->sizes.vips + 1, sizeof(*s->vip));
	if (!s->vip)
		return -ENOMEM;
	for (uint32_t i = 1; i < s->sizes.vips; i++)
		if (memcmp(&a->image->vip[i], &none, sizeof(none)) != 0)
			s->vip[s->vip_count++] =
				(struct plan_vip_ent){.idx = i, .value = a->image->vip[i]};
	qsort(s->vip, s->vip_count, sizeof(*s->vip), vip_ent_cmp);
	for (size_t i = 0; i < s->vip_count; i++) {
		struct plan_vip_ent v = s->vip[i];

		a->is_used[POOL_VIP][v.idx] = true;
		if (!kept || memcmp(s->vip[kept - 1].value.addr, v.value.addr, 16) != 0) {
			s->vip[kept++] = v;
			continue;
		}
		/* An address twice: one of them rested when the writer died. */
		if (a->image->vipslot[dp_vip_slot(v.value.addr)] == v.idx) {
			const struct plan_vip_ent other = s->vip[kept - 1];

			s->vip[kept - 1] = v;
			v = other;
		}
		if (rest(a, REST_VIP, POOL_VIP, v.idx))
			return -ENOMEM;
	}
	s->vip_count = kept;
	for (size_t i = 0; i < kept && !rc; i++)
		for (enum plan_dir k = 0; k < PLAN_DIRS && !rc; k++)
			rc = adopt_dir(a, &s->vip[i], k);
	return rc;
}

static int adopt_slots(struct adopt *a)
{
	struct plan_state *s = a->s;
	size_t n = 0;

	for (uint32_t i = 0; i < DP_VIP_SLOTS; i++)
		n += a->image->vipslot[i] != 0;
	s->slot = calloc(n + 1, sizeof(*s->slot));
	if (!s->slot)
		return -ENOMEM;
	for (uint32_t i = 0; i < DP_VIP_SLOTS; i++)
		if (a->image->vipslot[i])
			s->slot[s->slot_count++] = (struct plan_slot_ent){i, a->image->vipslot[i]};
	return 0;
}

/* ---- services, by the hash of their name, and family */

/* The table of a slot: 0 with rows 0 if it has none or if it is out of bounds or overlaps another. */
static int adopt_table(struct adopt *a, uint32_t idx, uint32_t *ret_offset, uint32_t *ret_count)
{
	uint64_t table = a->image->svc[idx].table;
	uint32_t offset = DP_TABLE_OFFSET(table);
	uint32_t count = maglev_size((uint8_t)DP_TABLE_CLASS(table));
	int rc;

	*ret_offset = *ret_count = 0;
	if (!(table & DP_TABLE_VALID) || !count)
		return 0;
	rc = plan_ranges_take_at(&a->s->rows, offset, count);
	if (rc)
		return rc == -EEXIST ? 0 : rc;
	*ret_offset = offset;
	*ret_count = count;
	return 0;
}

/* Which part of its service's ports a table serves, by who is in it; false = nobody there is known. */
static bool part_of_table(const struct adopt *a, uint32_t offset, uint32_t count,
			  struct ip_port_range *ret_part)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t owner = a->image->row[offset + i].owner;

		if (owner >= a->s->sizes.backends || a->part[owner].lo > a->part[owner].hi)
			continue;
		*ret_part = a->part[owner];
		return true;
	}
	return false;
}

static bool has_svc(const struct adopt *a, const struct plan_svc_key *key)
{
	for (size_t i = 0; i < a->s->svc_count; i++) {
		struct plan_svc_key here = plan_svc_key_of(&a->s->svc[i]);

		if (plan_svc_cmp(&here, key) == 0)
			return true;
	}
	return false;
}

/* A slot of this service; what is no use, or there already, rests. */
static int adopt_svc(struct adopt *a, const struct model_service *svc, uint32_t idx)
{
	struct plan_rest r = {.kind = REST_SVC, .idx = idx, .at_ms = a->now_ms + PLAN_REST_MS};
	struct plan_svc_ent *ent = &a->s->svc[a->s->svc_count];
	struct plan_svc_key key = {.name = svc ? svc->name : NULL,
				   .family = a->image->svc[idx].family};
	int rc = adopt_table(a, idx, &r.offset, &r.count);

	if (rc)
		return rc;
	a->is_used[POOL_SVC][idx] = true;
	if (!svc || (r.count && !part_of_table(a, r.offset, r.count, &key.part)) ||
	    has_svc(a, &key))
		return plan_rest_add(a->s, &r);
	*ent = (struct plan_svc_ent){
		.part = key.part, .idx = idx, .value = a->image->svc[idx], .forget_ms = UINT64_MAX};
	memcpy(ent->name, svc->name, sizeof(ent->name));
	a->s->svc_count++;
	if (!r.count) {
		ent->value.table = 0; /* a table word that means nothing is written over */
		return 0;
	}
	ent->rows = plan_block_rows(r.count);
	if (!ent->rows)
		return -ENOMEM;
	memcpy(plan_rows_of(ent->rows), a->image->row + r.offset, r.count * sizeof(struct dp_row));
	/* Nobody knows since when; remembered once more for as long as if it were new. */
	for (uint32_t i = 0; i < r.count; i++)
		if (plan_rows_of(ent->rows)[i].prev)
			plan_past_of(ent->rows)[i].prev_s = plan_second(a->now_ms);
	return 0;
}

static int svc_ent_cmp(const void *a, const void *b)
{
	const struct plan_svc_ent *x = a, *y = b;

	const struct plan_svc_key kx = plan_svc_key_of(x), ky = plan_svc_key_of(y);

	return plan_svc_cmp(&kx, &ky);
}

static bool has_family(const struct model_service *s, uint8_t family)
{
	for (size_t i = 0; i < s->vip_count; i++)
		if (ip_is_v4(&s->vip[i]) == (family == 4))
			return true;
	return false;
}

/* The service whose slot this is, by two names' hashes being the same at worst another one. */
static const struct model_service *service_of(const struct adopt *a, const struct dp_svc *value)
{
	for (size_t i = 0; i < a->view->service_count; i++)
		if (a->svc_id[i] == value->svc_id &&
		    has_family(&a->view->service[i], value->family))
			return &a->view->service[i];
	return NULL;
}

static int adopt_svcs(struct adopt *a)
{
	static const struct dp_svc none;
	struct plan_state *s = a->s;
	int rc = 0;

	s->svc = calloc((size_t)s->sizes.svcs + 1, sizeof(*s->svc));
	if (!s->svc)
		return -ENOMEM;
	for (uint32_t i = 1; i < s->sizes.svcs && !rc; i++) {
		const struct dp_svc *value = &a->image->svc[i];

		if (memcmp(value, &none, sizeof(none)) != 0)
			rc = adopt_svc(a, service_of(a, value), i);
	}
	qsort(s->svc, s->svc_count, sizeof(*s->svc), svc_ent_cmp);
	return rc;
}

/* ---- */

/* All that is used lies below `high`; the holes below it are free. */
static int fill_pools(struct adopt *a)
{
	for (size_t k = 0; k < POOL_COUNT; k++) {
		struct plan_pool *p = &a->s->pool[k];

		for (uint32_t i = 1; i < p->cap; i++)
			if (a->is_used[k][i])
				p->high = i + 1;
		for (uint32_t i = 1; i < p->high; i++)
			if (!a->is_used[k][i] && plan_pool_give(p, i))
				return -ENOMEM;
	}
	return 0;
}

static bool is_same_size(const struct plan_sizes *a, const struct plan_sizes *b)
{
	return a->svcs == b->svcs && a->backends == b->backends && a->nodes == b->nodes &&
	       a->rows == b->rows && a->pages == b->pages && a->dirs == b->dirs &&
	       a->vips == b->vips;
}

int plan_adopt(struct plan_state *s, const struct plan_image *image, const struct route_view *view,
	       uint64_t now_ms)
{
	struct plan_state *next = NULL, was;
	struct adopt a = {.image = image, .view = view, .now_ms = now_ms};
	int rc;

	if (!is_same_size(&s->sizes, &image->sizes))
		return -EINVAL;
	rc = plan_state_new(&s->sizes, &next);
	if (rc)
		return rc;
	a.s = next;
	next->is_adopted = true;
	rc = -ENOMEM;
	a.part = calloc((size_t)next->sizes.backends + 1, sizeof(*a.part));
	a.svc_id = calloc(view->service_count + 1, sizeof(*a.svc_id));
	if (!a.part || !a.svc_id)
		goto out;
	for (size_t i = 0; i < next->sizes.backends; i++)
		a.part[i] = (struct ip_port_range){1, 0};
	for (size_t i = 0; i < view->service_count; i++)
		a.svc_id[i] = plan_svc_id(view->service[i].name);
	for (size_t k = 0; k < POOL_COUNT; k++) {
		a.is_used[k] = calloc((size_t)next->pool[k].cap + 1, sizeof(bool));
		if (!a.is_used[k])
			goto out;
	}
	rc = adopt_nodes(&a);
	if (!rc)
		rc = adopt_backends(&a);
	if (!rc)
		rc = adopt_vips(&a);
	if (!rc)
		rc = adopt_slots(&a);
	if (!rc)
		rc = adopt_svcs(&a);
	if (!rc)
		rc = fill_pools(&a);
	if (!rc) {
		was = *s;
		*s = *next;
		*next = was;
	}
out:
	for (size_t k = 0; k < POOL_COUNT; k++)
		free(a.is_used[k]);
	free(a.part);
	free(a.svc_id);
	plan_state_free(next);
	return rc;
}
