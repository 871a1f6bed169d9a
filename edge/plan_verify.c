/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Do the maps hold what the mirror says, and the mirror what routes want? */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/plan_priv.h"

#define TEXT_MAX 256

struct verify {
	const struct plan_state *s;
	const struct plan_image *image;
	const struct plan_backend_ent **by_idx; /* backends */
	const struct plan_verify_ops *ops;
	size_t differences;
};

__attribute__((format(printf, 2, 3))) static void differs(struct verify *v, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	v->differences++;
	v->ops->differs_cb(text, v->ops->arg);
}

static bool rests(const struct plan_state *s, enum plan_rest_kind kind, uint32_t idx)
{
	for (size_t i = 0; i < s->rest_count; i++)
		if (s->rest[i].kind == kind && s->rest[i].idx == idx)
			return true;
	return false;
}

static bool is_zero(const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		if (b[i])
			return false;
	return true;
}

static void verify_hash(struct verify *v, enum plan_verify_hash which, const char *map,
			const void *key, uint32_t want)
{
	uint32_t got = 0;

	if (!v->ops->lookup)
		return;
	if (v->ops->lookup(which, key, &got, v->ops->arg))
		differs(v, "%s: entry for index %u is missing in the map", map, want);
	else if (got != want)
		differs(v, "%s: index %u in memory, %u in the map", map, want, got);
}

static int verify_nodes(struct verify *v)
{
	bool *used = calloc((size_t)v->s->sizes.nodes + 1, sizeof(*used));

	if (!used)
		return -ENOMEM;
	for (size_t i = 0; i < v->s->node_count; i++) {
		const struct plan_node_ent *n = &v->s->node[i];
		const struct dp_node *map = &v->image->node[n->idx];

		used[n->idx] = true;
		if (map->state != n->value.state)
			differs(v, "dp_node %u: state %u in memory, %u in the map", n->idx,
				n->value.state, map->state);
		else if (memcmp(map, &n->value, sizeof(*map)) != 0)
			differs(v, "dp_node %u: another node than in memory", n->idx);
		verify_hash(v, PLAN_HASH_KNOWN, "dp_known", n->value.addr, n->idx);
		verify_hash(v, PLAN_HASH_NUM, "dp_num", &n->value.node_num, n->idx);
	}
	for (uint32_t i = 1; i < v->s->sizes.nodes; i++)
		if (!used[i] && !is_zero(&v->image->node[i], sizeof(struct dp_node)) &&
		    !rests(v->s, REST_NODE, i))
			differs(v, "dp_node %u: none in memory, one in the map", i);
	free(used);
	return 0;
}

/* Rows are what the maps held when they were adopted: any number may stand there. */
static const struct plan_backend_ent *entry_at(const struct plan_state *s,
					       const struct plan_backend_ent **by_idx, uint32_t idx)
{
	return idx < s->sizes.backends ? by_idx[idx] : NULL;
}

static void backend_text(const struct verify *v, uint32_t idx, char buf[80])
{
	const struct plan_backend_ent *b = idx < v->s->sizes.backends ? v->by_idx[idx] : NULL;
	char addr[IP_TEXT_MAX];

	if (!idx)
		snprintf(buf, 80, "none");
	else if (!b)
		snprintf(buf, 80, "%u (unknown)", idx);
	else
		snprintf(buf, 80, "%u (%s)", idx, ip_port_text(&b->key.addr, b->key.port, addr));
}

static void verify_backends(struct verify *v)
{
	for (uint32_t i = 1; i < v->s->sizes.backends; i++) {
		const struct plan_backend_ent *b = v->by_idx[i];
		uint64_t want = b ? b->word : 0, got = v->image->backend[i];
		char text[80];

		if (want == got || (!b && rests(v->s, REST_BACKEND, i)))
			continue;
		backend_text(v, i, text);
		differs(v, "dp_backend %s: %016llx in memory, %016llx in the map", text,
			(unsigned long long)want, (unsigned long long)got);
	}
}

static void verify_rows(struct verify *v, const struct plan_svc_ent *svc)
{
	uint32_t at = DP_TABLE_OFFSET(svc->value.table);
	const struct dp_row *want = plan_rows_of(svc->rows), *got = v->image->row + at;
	char memory[80], map[80];

	if ((uint64_t)at + svc->value.rows > v->s->sizes.rows) {
		differs(v, "service %s: its table lies outside of dp_rows", svc->name);
		return;
	}
	for (uint32_t i = 0; i < svc->value.rows; i++) {
		if (want[i].owner != got[i].owner) {
			backend_text(v, want[i].owner, memory);
			backend_text(v, got[i].owner, map);
			differs(v,
				"service %s IPv%u, row %u (dp_rows %u): owner %s in memory, %s in "
				"the map",
				svc->name, svc->value.family, i, at + i, memory, map);
		}
		if (want[i].prev != got[i].prev) {
			backend_text(v, want[i].prev, memory);
			backend_text(v, got[i].prev, map);
			differs(v,
				"service %s IPv%u, row %u (dp_rows %u): previous owner %s in "
				"memory, %s in the map",
				svc->name, svc->value.family, i, at + i, memory, map);
		}
	}
}

static int verify_svcs(struct verify *v, size_t *ret_rows)
{
	bool *used = calloc((size_t)v->s->sizes.svcs + 1, sizeof(*used));

	if (!used)
		return -ENOMEM;
	for (size_t i = 0; i < v->s->svc_count; i++) {
		const struct plan_svc_ent *svc = &v->s->svc[i];

		used[svc->idx] = true;
		if (memcmp(&v->image->svc[svc->idx], &svc->value, sizeof(svc->value)) != 0)
			differs(v, "dp_svc %u (service %s IPv%u): other than in memory", svc->idx,
				svc->name, svc->value.family);
		if (svc->rows) {
			*ret_rows += svc->value.rows;
			verify_rows(v, svc);
		}
	}
	for (uint32_t i = 1; i < v->s->sizes.svcs; i++)
		if (!used[i] && !is_zero(&v->image->svc[i], sizeof(struct dp_svc)) &&
		    !rests(v->s, REST_SVC, i))
			differs(v, "dp_svc %u: none in memory, one in the map", i);
	free(used);
	return 0;
}

static void verify_words(struct verify *v, const char *map, uint32_t idx, const uint32_t *want,
			 const uint32_t *got)
{
	for (uint32_t i = 0; i < DP_PORTS_PER_PAGE; i++)
		if (want[i] != got[i])
			differs(v, "%s %u, entry %u: %u in memory, %u in the map", map, idx, i,
				want[i], got[i]);
}

static void verify_vips(struct verify *v)
{
	const struct plan_state *s = v->s;

	for (size_t i = 0; i < s->vip_count; i++) {
		struct plan_vip_ent *e = &s->vip[i];
		char text[IP_TEXT_MAX];
		struct ip_addr a;

		memcpy(a.b, e->value.addr, sizeof(a.b));
		ip_text(&a, text);
		if (memcmp(&v->image->vip[e->idx], &e->value, sizeof(e->value)) != 0)
			differs(v, "dp_vip %u (%s): other than in memory", e->idx, text);
		verify_hash(v, PLAN_HASH_VIP, "dp_vipmap", e->value.addr, e->idx);
		for (enum plan_dir k = 0; k < PLAN_DIRS; k++)
			if (e->dir[k])
				verify_words(v, "dp_portdir", *plan_dir_of(&e->value, k),
					     plan_words_of(e->dir[k]),
					     v->image->portdir +
						     (size_t)*plan_dir_of(&e->value, k) *
							     DP_PORTS_PER_PAGE);
	}
	for (size_t i = 0; i < s->page_count; i++)
		verify_words(v, "dp_portpage", s->page[i].idx, plan_words_of(s->page[i].page),
			     v->image->portpage + (size_t)s->page[i].idx * DP_PORTS_PER_PAGE);
	for (uint32_t i = 0, k = 0; i < DP_VIP_SLOTS; i++) {
		uint32_t want = 0;

		if (k < s->slot_count && s->slot[k].slot == i)
			want = s->slot[k++].says;
		if (v->image->vipslot[i] != want)
			differs(v, "dp_vipslot %u: %u in memory, %u in the map", i, want,
				v->image->vipslot[i]);
	}
}

/* The mirror's owners are those that the records ask for. */
static void verify_routes(struct verify *v, const struct route_view *view,
			  const struct route_plan *routes)
{
	for (size_t i = 0; i < routes->entry_count; i++) {
		const struct route_entry *e = &routes->entry[i];
		const char *name = view->service[e->service_idx].name;
		const struct plan_svc_ent *svc =
			plan_find_svc(v->s, &(struct plan_svc_key){name, e->family, e->part});
		uint32_t wrong = 0;

		if (!e->row_count || e->is_shadowed)
			continue;
		if (!svc || !svc->rows || svc->value.rows != e->row_count) {
			differs(v, "service %s IPv%u: %u rows wanted, %u in memory", name,
				e->family, e->row_count, svc ? svc->value.rows : 0);
			continue;
		}
		for (uint32_t k = 0; k < e->row_count; k++) {
			struct plan_backend_key key;
			const struct plan_backend_ent *b =
				entry_at(v->s, v->by_idx, plan_rows_of(svc->rows)[k].owner);

			plan_backend_key_of(view, e->row[k], &key);
			wrong += !b || plan_backend_key_cmp(&b->key, &key) != 0;
		}
		if (wrong)
			differs(v,
				"service %s IPv%u: %u of %u rows have another owner than the "
				"records ask for",
				name, e->family, wrong, e->row_count);
	}
}

static const struct plan_backend_ent **index_backends(const struct plan_state *s)
{
	const struct plan_backend_ent **by_idx =
		calloc((size_t)s->sizes.backends + 1, sizeof(*by_idx));

	for (size_t i = 0; by_idx && i < s->backend_count; i++)
		by_idx[s->backend[i].idx] = &s->backend[i];
	return by_idx;
}

int plan_verify(const struct plan_state *s, const struct plan_image *image,
		const struct route_view *view, const struct route_plan *routes,
		const struct plan_verify_ops *ops, struct plan_verified *ret_verified)
{
	struct verify v = {.s = s, .image = image, .ops = ops, .by_idx = index_backends(s)};
	struct plan_verified done = {.nodes = s->node_count,
				     .backends = s->backend_count,
				     .services = s->svc_count,
				     .vips = s->vip_count};
	int rc;

	if (!v.by_idx)
		return -ENOMEM;
	verify_routes(&v, view, routes);
	verify_backends(&v);
	rc = verify_nodes(&v);
	if (!rc)
		rc = verify_svcs(&v, &done.rows);
	verify_vips(&v);
	free(v.by_idx);
	if (rc)
		return rc;
	done.differences = v.differences;
	*ret_verified = done;
	return 0;
}

/* ---- sums for others to compare with */

struct plan_summing {
	struct plan_sums sums;
	uint64_t *backend; /* by index: hash of its name, of nothing where there is none */
	uint32_t backends;
	size_t count;
	struct summing_svc {
		struct plan_block *rows; /* immutable; ours until the end */
		uint32_t row_count;
		unsigned int bucket;
		uint64_t name;
	} svc[];
};

static uint64_t backend_hash(const struct plan_backend_key *k)
{
	uint8_t port_be[2] = {(uint8_t)(k->port >> 8), (uint8_t)k->port};
	uint64_t h = maglev_hash_add(MAGLEV_HASH_INIT, k->node.b, sizeof(k->node.b));

	h = maglev_hash_add(h, k->addr.b, sizeof(k->addr.b));
	return maglev_hash_end(maglev_hash_add(h, port_be, sizeof(port_be)));
}

struct plan_summing *plan_summing_new(const struct plan_state *s)
{
	struct plan_summing *x = calloc(1, sizeof(*x) + s->svc_count * sizeof(x->svc[0]));

	if (x)
		x->backend = malloc(((size_t)s->sizes.backends + 1) * sizeof(*x->backend));
	if (!x || !x->backend) {
		free(x);
		return NULL;
	}
	x->backends = s->sizes.backends;
	for (uint32_t i = 0; i < x->backends; i++)
		x->backend[i] = maglev_hash_end(0);
	for (size_t i = 0; i < s->backend_count; i++)
		x->backend[s->backend[i].idx] = backend_hash(&s->backend[i].key);
	for (; x->count < s->svc_count; x->count++) {
		const struct plan_svc_ent *svc = &s->svc[x->count];
		struct summing_svc *to = &x->svc[x->count];
		uint64_t h = maglev_hash_add(MAGLEV_HASH_INIT, svc->name, strlen(svc->name) + 1);

		h = maglev_hash_add(h, &svc->value.family, sizeof(svc->value.family));
		to->name = maglev_hash_add(h, &svc->part, sizeof(svc->part));
		to->bucket = plan_sums_bucket(svc->name);
		to->rows = plan_block_ref(svc->rows);
		to->row_count = svc->rows && !svc->is_local ? svc->value.rows : 0;
	}
	return x;
}

void plan_summing_run(struct plan_summing *x)
{
	for (size_t i = 0; i < x->count; i++) {
		struct summing_svc *svc = &x->svc[i];
		const struct dp_row *row = svc->rows ? plan_rows_of(svc->rows) : NULL;
		uint64_t owners = svc->name, prevs = svc->name, none = maglev_hash_end(0);

		for (uint32_t k = 0; k < svc->row_count; k++) {
			uint32_t owner = row[k].owner, prev = row[k].prev;

			owners = maglev_hash_end(owners ^
						 (owner < x->backends ? x->backend[owner] : none));
			prevs = maglev_hash_end(prevs ^
						(prev < x->backends ? x->backend[prev] : none));
		}
		x->sums.owners[svc->bucket] += (uint32_t)maglev_hash_end(owners);
		x->sums.prevs[svc->bucket] += (uint32_t)maglev_hash_end(prevs);
	}
}

void plan_summing_free(struct plan_summing *x, struct plan_sums *ret_sums)
{
	*ret_sums = x->sums;
	for (size_t i = 0; i < x->count; i++)
		plan_block_unref(x->svc[i].rows);
	free(x->backend);
	free(x);
}

unsigned int plan_sums_bucket(const char *service)
{
	return plan_svc_id(service) % PLAN_SUMS;
}

int plan_sums(const struct plan_state *s, struct plan_sums *ret_sums)
{
	struct plan_summing *x = plan_summing_new(s);

	if (!x)
		return -ENOMEM;
	plan_summing_run(x);
	plan_summing_free(x, ret_sums);
	return 0;
}
