/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Making a summary; edge/summary_read.c reads one. docs/WIRE.md has the layout. */
#include "edge/summary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/model_map.h"
#include "edge/route.h"
#include "edge/summary_keys.h"

/* Lower ones are chosen first. */
enum rank { RANK_USABLE, RANK_DRAINED, RANK_REST };

struct candidate {
	const struct summary_from_backend *b;
	uint32_t node; /* into from.node */
	enum rank rank;
	uint64_t hash;
};

/* How much of all is said; each step says less. */
struct measure {
	size_t ways, services; /* at most: of a service; that have ways */
	bool with_unusable, with_edges;
};

struct making {
	const struct summary_from *from;
	struct measure measure;
	struct candidate *c; /* by (service, rank, hash) */
	size_t count;
	uint32_t *number; /* of a node in the value, by from.node; UINT32_MAX: it is not said */
};

static int cmp_node(const void *x, const void *y)
{
	const struct summary_from_node *a = x, *b = y;

	return node_id_cmp(&a->id, &b->id);
}

static int cmp_candidate(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;
	int c = strcmp(a->b->backend->service, b->b->backend->service);

	if (c)
		return c;
	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return 0;
}

/* As they are said: (node, address, port). Nodes are sorted already. */
static int cmp_way(const void *x, const void *y)
{
	const struct candidate *a = *(const struct candidate *const *)x;
	const struct candidate *b = *(const struct candidate *const *)y;
	int c;

	if (a->node != b->node)
		return a->node < b->node ? -1 : 1;
	c = memcmp(a->b->backend->addr.b, b->b->backend->addr.b, sizeof(a->b->backend->addr.b));
	return c ? c : (int)a->b->backend->port - (int)b->b->backend->port;
}

static enum rank rank_of(const struct summary_from_backend *b)
{
	if (b->backend->is_draining || !model_health_is_good(&b->backend->check, b->health))
		return RANK_REST;
	return b->is_drained ? RANK_DRAINED : RANK_USABLE;
}

static uint64_t hash_of(const struct summary_from_backend *b)
{
	uint8_t port_be[2] = {(uint8_t)(b->backend->port >> 8), (uint8_t)b->backend->port};
	uint64_t h = maglev_hash_add(MAGLEV_HASH_INIT, b->id.b, sizeof(b->id.b));

	h = maglev_hash_add(h, b->backend->service, strlen(b->backend->service) + 1);
	h = maglev_hash_add(h, b->backend->addr.b, sizeof(b->backend->addr.b));
	return maglev_hash_end(maglev_hash_add(h, port_be, sizeof(port_be)));
}

/* Backends of nodes that are known and forward. */
static void collect(struct making *m)
{
	const struct summary_from *f = m->from;

	for (size_t i = 0; i < f->backend_count; i++) {
		const struct summary_from_backend *b = &f->backend[i];
		struct summary_from_node probe = {.id = b->id};
		const struct summary_from_node *n =
			bsearch(&probe, f->node, f->node_count, sizeof(probe), cmp_node);

		if (!n || !n->node->has_forwarder || model_backend_rules(b->backend))
			continue;
		m->c[m->count++] = (struct candidate){.b = b,
						      .node = (uint32_t)(n - f->node),
						      .rank = rank_of(b),
						      .hash = hash_of(b)};
	}
	qsort(m->c, m->count, sizeof(*m->c), cmp_candidate);
}

/* The end of the service that begins at `from`. */
static size_t service_end(const struct making *m, size_t from)
{
	size_t i = from;

	while (i < m->count && !strcmp(m->c[i].b->backend->service, m->c[from].b->backend->service))
		i++;
	return i;
}

static size_t service_count(const struct making *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->count; i = service_end(m, i))
		n++;
	return n < SUMMARY_SERVICES_MAX ? n : SUMMARY_SERVICES_MAX;
}

/* How many of [from, to) are ways in; they stand first. k: the service's place. */
static size_t way_count(const struct making *m, size_t k, size_t from, size_t to)
{
	size_t n = 0;

	if (k >= m->measure.services)
		return 0;
	while (from + n < to && n < m->measure.ways &&
	       (m->measure.with_unusable || m->c[from + n].rank != RANK_REST))
		n++;
	return n;
}

/* Which nodes are said, and how many. */
static size_t number_nodes(struct making *m)
{
	const struct summary_from *f = m->from;
	size_t n = 0, k = 0, to;

	for (size_t i = 0; i < f->node_count; i++) {
		const struct model_node *node = f->node[i].node;
		bool is_edge = node->is_edge && node->has_forwarder;

		m->number[i] =
			i < SUMMARY_LOWEST || (is_edge && m->measure.with_edges) ? 0 : UINT32_MAX;
	}
	for (size_t i = 0; i < m->count; i = to, k++) {
		to = service_end(m, i);
		for (size_t w = 0; w < way_count(m, k, i, to); w++)
			m->number[m->c[i + w].node] = 0;
	}
	for (size_t i = 0; i < f->node_count; i++) {
		if (m->number[i] == UINT32_MAX || model_node_rules(f->node[i].node) ||
		    n == SUMMARY_NODES_MAX)
			m->number[i] = UINT32_MAX;
		else
			m->number[i] = (uint32_t)n++;
	}
	return n;
}

static void pack_node(struct model_packer *p, const struct summary_from_node *from)
{
	static const uint8_t zero[32];
	const struct model_node *n = from->node;
	bool has_key = memcmp(n->wg_pub, zero, sizeof(zero)) != 0, has_endpoint = n->wg_port != 0;

	msgpack_pack_map(&p->pk, 4u + has_key + 2u * has_endpoint);
	model_pack_text(p, "i");
	model_pack_bin(p, from->id.b, sizeof(from->id.b));
	model_pack_text(p, "n");
	model_pack_text(p, n->name);
	model_pack_text(p, "a");
	model_pack_addr(p, &n->mesh_addr);
	model_pack_key_uint(p, "f",
			    (n->is_edge ? SUMMARY_EDGE : 0) | (n->is_worker ? SUMMARY_WORKER : 0) |
				    (n->has_forwarder ? SUMMARY_FORWARDER : 0));
	if (has_key) {
		model_pack_text(p, "wk");
		model_pack_bin(p, n->wg_pub, sizeof(n->wg_pub));
	}
	if (has_endpoint) {
		model_pack_text(p, "wa");
		model_pack_addr(p, &n->wg_addr);
		model_pack_key_uint(p, "wp", n->wg_port);
	}
}

static void pack_way(const struct making *m, struct model_packer *p, const struct candidate *c)
{
	const struct model_backend *b = c->b->backend;
	bool is_checked = b->check.kind != MODEL_CHECK_NONE;
	uint32_t flags = (uint32_t)c->b->health | (is_checked ? SUMMARY_CHECKED : 0) |
			 (b->is_draining ? SUMMARY_DRAINING : 0);

	msgpack_pack_map(&p->pk, 6u + 2u * (b->ports.lo != 0) + (b->quic_id != 0));
	model_pack_key_uint(p, "n", m->number[c->node]);
	model_pack_text(p, "a");
	model_pack_addr(p, &b->addr);
	model_pack_key_uint(p, "p", b->port);
	model_pack_key_uint(p, "w", b->weight);
	model_pack_key_uint(p, "t", b->token);
	model_pack_key_uint(p, "f", flags);
	if (b->ports.lo) {
		model_pack_key_uint(p, "l", b->ports.lo);
		model_pack_key_uint(p, "h", b->ports.hi);
	}
	if (b->quic_id)
		model_pack_key_uint(p, "q", b->quic_id);
}

static void pack_service(const struct making *m, struct model_packer *p, size_t k, size_t from,
			 size_t to)
{
	const struct candidate *way[SUMMARY_WAYS_MAX];
	size_t count = way_count(m, k, from, to), n = 0;
	uint32_t usable = 0, known = 0;

	for (size_t i = from; i < to; i++) {
		known += m->c[i].b->backend->weight;
		usable += m->c[i].rank == RANK_USABLE ? m->c[i].b->backend->weight : 0;
	}
	for (size_t i = 0; i < count; i++)
		if (m->number[m->c[from + i].node] != UINT32_MAX)
			way[n++] = &m->c[from + i];
	qsort(way, n, sizeof(struct candidate *), cmp_way);
	msgpack_pack_map(&p->pk, 5);
	model_pack_text(p, "n");
	model_pack_text(p, m->c[from].b->backend->service);
	model_pack_key_uint(p, "u", usable);
	model_pack_key_uint(p, "k", known);
	model_pack_key_uint(p, "b", to - from);
	model_pack_text(p, "w");
	msgpack_pack_array(&p->pk, n);
	for (size_t i = 0; i < n; i++)
		pack_way(m, p, way[i]);
}

static void pack_keys(struct model_packer *p, const struct summary_keys *k)
{
	model_pack_text(p, "k");
	msgpack_pack_array(&p->pk, k->count);
	for (size_t i = 0; i < k->count; i++)
		model_pack_bin(p, k->hold[i], sizeof(k->hold[i]));
	if (k->is_one) {
		model_pack_text(p, "e");
		model_pack_bin(p, k->seals, sizeof(k->seals));
	}
}

static int pack(struct making *m, size_t cap, uint8_t *buf, size_t *ret_len)
{
	const struct summary_from *f = m->from;
	size_t nodes = number_nodes(m), services = service_count(m), to;
	struct model_packer p;

	model_pack_begin(&p, buf, cap, 3u + f->keys.is_one);
	pack_keys(&p, &f->keys);
	model_pack_text(&p, "n");
	msgpack_pack_array(&p.pk, nodes);
	for (size_t i = 0; i < f->node_count; i++)
		if (m->number[i] != UINT32_MAX)
			pack_node(&p, &f->node[i]);
	model_pack_text(&p, "s");
	msgpack_pack_array(&p.pk, services);
	for (size_t i = 0, k = 0; k < services && !p.buf.is_full; i = to, k++) {
		to = service_end(m, i);
		pack_service(m, &p, k, i, to);
	}
	*ret_len = p.buf.len;
	return p.buf.is_full ? -EMSGSIZE : 0;
}

/* One step less; false: there is none. */
static bool say_less(struct measure *m)
{
	if (m->with_unusable)
		m->with_unusable = false;
	else if (m->ways > 1)
		m->ways /= 2;
	else if (m->services)
		m->services /= 2;
	else if (m->with_edges)
		m->with_edges = false;
	else
		return false;
	return true;
}

int summary_encode(struct summary_from *from, size_t cap, uint8_t **ret_value, size_t *ret_len)
{
	struct making m = {.from = from,
			   .measure = {.ways = SUMMARY_WAYS_MAX,
				       .services = SUMMARY_SERVICES_MAX,
				       .with_unusable = true,
				       .with_edges = true}};
	uint8_t *buf = malloc(cap + 1), *less;
	size_t len = 0;
	int rc = -ENOMEM;

	m.c = calloc(from->backend_count + 1, sizeof(*m.c));
	m.number = calloc(from->node_count + 1, sizeof(*m.number));
	if (!buf || !m.c || !m.number)
		goto out;
	if (from->node_count)
		qsort(from->node, from->node_count, sizeof(*from->node), cmp_node);
	collect(&m);
	do
		rc = pack(&m, cap, buf, &len);
	while (rc && say_less(&m.measure));
	if (rc)
		goto out;
	less = realloc(buf, len + 1);
	*ret_value = less ? less : buf;
	*ret_len = len;
	buf = NULL;
out:
	free(buf);
	free(m.c);
	free(m.number);
	return rc;
}
