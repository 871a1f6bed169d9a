/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The plan against maps made of plain memory: a model world changes at random, every operation is applied one by one,
 * and after each one the memory is walked as the forwarder walks it. SEED= in the environment repeats a run. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/plan.h"
#include "edge/route_claims.h"

#define NODES 8
#define SERVICES 5
#define BACKENDS 24
#define VIPS 4

static const struct plan_sizes sizes = {
	.svcs = 20, .backends = 60, .nodes = 24, .rows = 60000, .pages = 60, .dirs = 24};

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	if (ip_parse(text, &a))
		fail_msg("bad address %s", text);
	return a;
}

/* ---- maps in memory; small, so that indexes are used again */

struct mem {
	struct dp_node node[24];
	uint64_t backend[60];
	struct dp_svc svc[20];
	struct dp_row row[60000];
	uint32_t portdir[24 * 256], portpage[60 * 256];
	struct dp_vip_key vip_key[64];
	struct dp_vip vip[64];
	size_t vip_count;
	struct {
		uint8_t addr[16];
		uint32_t idx;
	} known[64];
	size_t known_count;
};

static void known_del(struct mem *m, const uint8_t a[16])
{
	for (size_t i = 0; i < m->known_count; i++)
		if (memcmp(m->known[i].addr, a, 16) == 0)
			m->known[i--] = m->known[--m->known_count];
}

static uint32_t known_get(const struct mem *m, const uint8_t a[16])
{
	for (size_t i = 0; i < m->known_count; i++)
		if (memcmp(m->known[i].addr, a, 16) == 0)
			return m->known[i].idx;
	return 0;
}

static struct dp_vip *vip_get(struct mem *m, const struct dp_vip_key *key)
{
	for (size_t i = 0; i < m->vip_count; i++)
		if (memcmp(&m->vip_key[i], key, sizeof(*key)) == 0)
			return &m->vip[i];
	return NULL;
}

static uint32_t table_rows(uint64_t table)
{
	return table & DP_TABLE_VALID ? maglev_size((uint8_t)DP_TABLE_CLASS(table)) : 0;
}

static bool is_referred(const struct mem *m, uint32_t backend_idx)
{
	for (size_t s = 1; s < sizes.svcs; s++)
		for (uint32_t i = 0; i < table_rows(m->svc[s].table); i++)
			if (m->row[DP_TABLE_OFFSET(m->svc[s].table) + i].owner == backend_idx)
				return true;
	return false;
}

static bool is_svc_reachable(const struct mem *m, uint32_t svc_idx)
{
	for (size_t v = 0; v < m->vip_count; v++) {
		for (uint32_t h = 0; m->vip[v].dir_idx && h < 256; h++) {
			uint32_t page = m->portdir[m->vip[v].dir_idx * 256 + h];

			for (uint32_t p = 0; page && p < 256; p++)
				if (m->portpage[page * 256 + p] == svc_idx)
					return true;
		}
	}
	return false;
}

static void apply_node(struct mem *m, const struct plan_op *op)
{
	struct dp_node *n = &m->node[op->idx];

	assert_in_range(op->idx, 1, sizes.nodes - 1);
	switch (op->kind) {
	case PLAN_NODE:
		/* An index is another node's only after it was empty. */
		if (n->node_num)
			assert_int_equal(n->node_num, op->arg.node.node_num);
		if (n->node_num)
			assert_memory_equal(n->addr, op->arg.node.addr, 16);
		*n = op->arg.node;
		known_del(m, n->addr);
		assert_true(m->known_count < 64);
		memcpy(m->known[m->known_count].addr, n->addr, 16);
		m->known[m->known_count++].idx = op->idx;
		return;
	case PLAN_NODE_STATE:
		assert_true(n->node_num);
		n->state = op->arg.node.state;
		return;
	default:
		for (size_t b = 1; b < sizes.backends; b++)
			if (DP_BE_STATE(m->backend[b]) == DP_BE_UP)
				assert_int_not_equal(DP_BE_NODE(m->backend[b]), op->idx);
		known_del(m, op->arg.node.addr);
		memset(n, 0, sizeof(*n));
	}
}

static void apply_ports(struct mem *m, const struct plan_op *op)
{
	struct dp_vip *v;

	switch (op->kind) {
	case PLAN_PORTPAGE:
		assert_in_range(op->idx, 1, sizes.pages - 1);
		memcpy(m->portpage + op->idx * 256, op->arg.words, 1024);
		return;
	case PLAN_PORTDIR:
		assert_in_range(op->idx, 1, sizes.dirs - 1);
		memcpy(m->portdir + op->idx * 256, op->arg.words, 1024);
		return;
	case PLAN_VIP:
		v = vip_get(m, &op->arg.vip_key);
		if (!v) {
			assert_true(m->vip_count < 64);
			m->vip_key[m->vip_count] = op->arg.vip_key;
			v = &m->vip[m->vip_count++];
		}
		*v = (struct dp_vip){.dir_idx = op->dir_idx};
		return;
	default:
		v = vip_get(m, &op->arg.vip_key);
		assert_non_null(v);
		*v = m->vip[--m->vip_count];
		m->vip_key[v - m->vip] = m->vip_key[m->vip_count];
	}
}

static void apply_svc(struct mem *m, const struct plan_op *op)
{
	struct dp_svc *s = &m->svc[op->idx];

	assert_in_range(op->idx, 1, sizes.svcs - 1);
	if (!op->arg.svc.family)
		assert_false(is_svc_reachable(m, op->idx));
	else if (s->family)
		assert_true(s->svc_id == op->arg.svc.svc_id && s->family == op->arg.svc.family);
	*s = op->arg.svc;
	assert_int_equal(table_rows(s->table), s->rows);
}

static void apply(struct mem *m, const struct plan_op *op)
{
	switch (op->kind) {
	case PLAN_NODE:
	case PLAN_NODE_STATE:
	case PLAN_NODE_GONE:
		apply_node(m, op);
		return;
	case PLAN_BACKEND:
		assert_in_range(op->idx, 1, sizes.backends - 1);
		if (op->arg.word == 0)
			assert_false(is_referred(m, op->idx));
		else if (m->backend[op->idx])
			assert_int_equal(DP_BE_TOKEN(m->backend[op->idx]),
					 DP_BE_TOKEN(op->arg.word));
		m->backend[op->idx] = op->arg.word;
		return;
	case PLAN_ROWS:
		assert_true(op->idx + op->count <= sizes.rows);
		for (size_t s = 1; s < sizes.svcs; s++) {
			uint32_t off = DP_TABLE_OFFSET(m->svc[s].table);

			/* Never into a table in force. */
			assert_true(!table_rows(m->svc[s].table) || op->idx + op->count <= off ||
				    off + table_rows(m->svc[s].table) <= op->idx);
		}
		memcpy(m->row + op->idx, op->arg.rows, op->count * sizeof(m->row[0]));
		return;
	case PLAN_SVC:
		apply_svc(m, op);
		return;
	case PLAN_PORTPAGE:
	case PLAN_PORTDIR:
	case PLAN_VIP:
	case PLAN_VIP_GONE:
		apply_ports(m, op);
		return;
	}
}

/* ---- the world that changes */

struct world {
	struct route_node node[NODES];
	struct model_service service[SERVICES];
	struct route_backend backend[BACKENDS]; /* node_idx: into node[] here; token = place + 1 */
	bool has_node[NODES], has_service[SERVICES], has_backend[BACKENDS];
};

/* What route and plan see of it, in shuffled order. */
struct seen {
	struct route_node node[NODES];
	struct model_service service[SERVICES];
	struct route_backend backend[BACKENDS];
	struct route_view view;
	struct route_plan *routes;
};

static unsigned int seed;

static unsigned int rnd(unsigned int n)
{
	return (unsigned int)rand_r(&seed) % n;
}

static struct ip_addr vip_at(unsigned int i)
{
	static const char *const text[VIPS] = {"192.0.2.1", "192.0.2.2", "2001:db8::1",
					       "2001:db8::2"};

	return addr(text[i]);
}

static void random_service(struct world *w, size_t i)
{
	struct model_service *s = &w->service[i];
	uint16_t base = (uint16_t)(1 + rnd(4) * 200);

	*s = (struct model_service){.created = rnd(3), .hash = (uint8_t)rnd(3), .port_count = 2};
	snprintf(s->name, sizeof(s->name), "svc-%zu", i);
	s->vip[s->vip_count++] = vip_at(rnd(2));
	if (rnd(2))
		s->vip[s->vip_count++] = vip_at(2 + rnd(2));
	s->port[0] = (struct model_port){IPPROTO_UDP, {base, (uint16_t)(base + rnd(300))}};
	s->port[1] = (struct model_port){rnd(4) ? IPPROTO_TCP : IPPROTO_UDP, {1000, 1000}};
}

static void random_backend(struct world *w, size_t i)
{
	struct route_backend *b = &w->backend[i];

	*b = (struct route_backend){.node_idx = i % NODES, .health = MODEL_HEALTH_PASSING};
	snprintf(b->backend.service, sizeof(b->backend.service), "svc-%zu", i % SERVICES);
	b->backend.addr = addr(i % 3 ? "10.0.0.1" : "2001:db8:1::1");
	b->backend.port = (uint16_t)(2000 + i);
	b->backend.weight = (uint16_t)(1 + rnd(5));
	b->backend.token = (uint32_t)i + 1;
	model_check_default(MODEL_CHECK_TCP, &b->backend.check);
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	for (uint8_t i = 0; i < NODES; i++) {
		struct route_node *n = &w->node[i];

		n->id.b[0] = (uint8_t)(1 + i * 37);
		n->id.b[15] = i;
		n->state = GOSSIP_ALIVE;
		n->node.has_forwarder = true;
		snprintf(n->node.region, sizeof(n->node.region), i % 2 ? "fra" : "ams");
		n->node.mesh_addr = addr("10.9.0.1");
		n->node.mesh_addr.b[15] = (uint8_t)(i + 1);
		w->has_node[i] = true;
	}
	for (size_t i = 0; i < SERVICES; i++) {
		random_service(w, i);
		w->has_service[i] = true;
	}
	for (size_t i = 0; i < BACKENDS; i++) {
		random_backend(w, i);
		w->has_backend[i] = rnd(4);
	}
}

static void mutate(struct world *w)
{
	static const enum gossip_state states[] = {GOSSIP_ALIVE, GOSSIP_ALIVE, GOSSIP_HEADLESS,
						   GOSSIP_SUSPECT, GOSSIP_DEAD};
	size_t n = rnd(NODES), s = rnd(SERVICES), b = rnd(BACKENDS);

	switch (rnd(12)) {
	case 0:
	case 1:
		w->node[n].state = states[rnd(5)];
		break;
	case 2:
		w->has_node[n] = rnd(3);
		break;
	case 3: /* another mesh address, sometimes one that somebody else has */
		w->node[n].node.mesh_addr.b[15] = (uint8_t)(1 + rnd(NODES * 2));
		break;
	case 4:
		w->has_service[s] = rnd(3);
		break;
	case 5:
		random_service(w, s);
		break;
	case 6:
		w->has_backend[b] = rnd(3);
		break;
	case 7:
		w->backend[b].backend.is_draining ^= 1;
		break;
	case 8:
		w->backend[b].backend.weight = (uint16_t)(1 + rnd(5));
		break;
	case 9:
		w->backend[b].is_overridden ^= 1;
		break;
	default:
		w->backend[b].health = rnd(3) ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING;
	}
}

static void look(const struct world *w, struct seen *o)
{
	uint8_t order[BACKENDS];
	size_t place[NODES];

	memset(o, 0, sizeof(*o));
	for (size_t i = 0; i < NODES; i++) {
		size_t k = (i + seed) % NODES;

		if (!w->has_node[k])
			continue;
		place[k] = o->view.node_count;
		o->node[o->view.node_count++] = w->node[k];
	}
	for (size_t i = 0; i < SERVICES; i++)
		if (w->has_service[(i + seed) % SERVICES])
			o->service[o->view.service_count++] = w->service[(i + seed) % SERVICES];
	for (uint8_t i = 0; i < BACKENDS; i++)
		order[i] = i;
	for (size_t i = BACKENDS; i-- > 1;) {
		size_t j = rnd((unsigned int)i + 1);
		uint8_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (size_t i = 0; i < BACKENDS; i++) {
		const struct route_backend *b = &w->backend[order[i]];

		if (!w->has_backend[order[i]] || !w->has_node[b->node_idx])
			continue;
		o->backend[o->view.backend_count] = *b;
		o->backend[o->view.backend_count++].node_idx = place[b->node_idx];
	}
	o->view.node = o->node;
	o->view.service = o->service;
	o->view.backend = o->backend;
	snprintf(o->view.region, sizeof(o->view.region), "fra");
	assert_int_equal(route_compute(&o->view, &o->routes), 0);
}

/* ---- walking the memory */

static uint32_t svc_on(struct mem *m, const struct ip_addr *vip, uint8_t l4_proto, uint32_t port)
{
	struct dp_vip_key key = {.l4_proto = l4_proto};
	struct dp_vip *v;
	uint32_t page;

	memcpy(key.addr, vip->b, sizeof(key.addr));
	v = vip_get(m, &key);
	if (!v || !v->dir_idx)
		return 0;
	page = m->portdir[v->dir_idx * 256 + (port >> 8)];
	return page ? m->portpage[page * 256 + (port & 255)] : 0;
}

/* Of a row's owner: its number in the world, and whether it takes packets now. Nothing on the way may dangle. */
static size_t owner_of(const struct mem *m, const struct world *w, uint32_t row, bool *ret_is_up)
{
	uint32_t backend_idx = m->row[row].owner;
	const struct dp_node *n;
	uint64_t word;
	size_t b;

	assert_in_range(backend_idx, 1, sizes.backends - 1);
	word = m->backend[backend_idx];
	assert_true(word != 0);
	b = DP_BE_TOKEN(word) - 1;
	assert_true(b < BACKENDS);
	*ret_is_up = false;
	if (DP_BE_STATE(word) != DP_BE_UP)
		return b;
	assert_in_range(DP_BE_NODE(word), 1, sizes.nodes - 1);
	n = &m->node[DP_BE_NODE(word)];
	assert_int_equal(n->node_num, plan_node_num(&w->node[w->backend[b].node_idx].id));
	*ret_is_up = n->state == DP_NODE_UP;
	return b;
}

struct watch { /* one (VIP, protocol, port) */
	struct ip_addr vip;
	uint8_t l4_proto;
	uint16_t port;
	bool was_served;
	char before[MODEL_NAME_MAX], after[MODEL_NAME_MAX]; /* names of the service */
};
#define WATCHES (VIPS * 2 * 12)

struct run {
	struct world w;
	struct mem m;
	struct watch watch[WATCHES];
	size_t watch_count;
	bool is_good[2][BACKENDS]; /* usable before, after */
};

static void watch_init(struct run *r)
{
	static const uint16_t port[] = {1, 100, 200, 201, 255, 256, 301, 401, 500, 601, 900, 1000};

	for (unsigned int v = 0; v < VIPS; v++)
		for (size_t p = 0; p < 24; p++)
			r->watch[r->watch_count++] =
				(struct watch){.vip = vip_at(v),
					       .l4_proto = p % 2 ? IPPROTO_TCP : IPPROTO_UDP,
					       .port = port[p / 2]};
}

/* The service that should be on a watched port, and its entry. */
static const struct route_entry *wanted(const struct seen *o, const struct watch *x)
{
	struct route_claims c;
	const struct route_entry *found = NULL;

	assert_int_equal(route_claims_compute(&o->view, &c), 0);
	for (size_t i = 0; i < c.claim_count; i++) {
		if (!ip_equal(&c.claim[i].vip, &x->vip) || c.claim[i].l4_proto != x->l4_proto ||
		    x->port < c.claim[i].ports.lo || x->port > c.claim[i].ports.hi)
			continue;
		for (size_t k = 0; k < o->routes->entry_count; k++)
			if (o->routes->entry[k].service_idx == c.claim[i].service_idx &&
			    o->routes->entry[k].family == (ip_is_v4(&x->vip) ? 4 : 6))
				found = &o->routes->entry[k];
	}
	route_claims_done(&c);
	return found;
}

static void note_good(struct run *r, const struct seen *o, int when)
{
	memset(r->is_good[when], 0, sizeof(r->is_good[when]));
	for (size_t i = 0; i < o->view.backend_count; i++) {
		const struct route_backend *b = &o->backend[i];
		enum gossip_state state = o->node[b->node_idx].state;

		r->is_good[when][b->backend.token - 1] =
			b->health == MODEL_HEALTH_PASSING &&
			(state == GOSSIP_ALIVE || state == GOSSIP_HEADLESS);
	}
	/* Of two nodes with one address only one is in the maps; leave those out. */
	for (size_t b = 0; b < BACKENDS; b++)
		for (size_t i = 0; i < NODES; i++)
			if (i != r->w.backend[b].node_idx &&
			    ip_equal(&r->w.node[i].node.mesh_addr,
				     &r->w.node[r->w.backend[b].node_idx].node.mesh_addr))
				r->is_good[when][b] = false;
}

/* What holds between any two operations. */
static void check_moment(struct run *r)
{
	bool seen[64] = {false};

	for (size_t i = 0; i < r->watch_count; i++) {
		struct watch *x = &r->watch[i];
		uint32_t idx = svc_on(&r->m, &x->vip, x->l4_proto, x->port);
		const struct dp_svc *s = &r->m.svc[idx];
		bool must = x->was_served && x->after[0];
		uint32_t rows = table_rows(s->table), up = 0, excused = 0;

		if (!idx) {
			if (must)
				fail_msg("port %u of %s fell out of the maps", x->port, x->after);
			continue;
		}
		assert_true(idx < sizes.svcs);
		assert_int_equal(s->family, ip_is_v4(&x->vip) ? 4 : 6);
		if (must && !rows)
			fail_msg("port %u of %s has no table", x->port, x->after);
		if (seen[idx] && !must)
			continue;
		seen[idx] = true;
		assert_true(DP_TABLE_OFFSET(s->table) + rows <= sizes.rows);
		for (uint32_t k = 0; k < rows; k++) {
			bool is_up;
			size_t b = owner_of(&r->m, &r->w, DP_TABLE_OFFSET(s->table) + k, &is_up);
			const char *name = r->w.backend[b].backend.service;

			if (strcmp(name, x->before) != 0 && strcmp(name, x->after) != 0)
				fail_msg("port %u: packets of %s|%s go to %s", x->port, x->before,
					 x->after, name);
			up += is_up;
			if (r->is_good[0][b] && r->is_good[1][b])
				assert_true(is_up);
			else
				excused++;
		}
		if (must && !up && !excused)
			fail_msg("port %u of %s is served by nobody", x->port, x->after);
	}
}

/* The maps say what the routes want, and nothing else. */
static void check_final(struct run *r, const struct seen *o, const struct plan_state *s)
{
	for (size_t i = 0; i < r->watch_count; i++) {
		struct watch *x = &r->watch[i];
		const struct route_entry *e = wanted(o, x);
		uint32_t idx = svc_on(&r->m, &x->vip, x->l4_proto, x->port), off;
		const struct model_service *svc;
		char key[MODEL_KEY_MAX];

		if (!e) {
			assert_int_equal(idx, 0);
			continue;
		}
		svc = &o->view.service[e->service_idx];
		assert_int_equal(idx, plan_svc_idx(s, svc->name, e->family));
		assert_int_equal(r->m.svc[idx].port_lo, model_service_port_lo(svc));
		assert_int_equal(r->m.svc[idx].hash, svc->hash);
		assert_int_equal(r->m.svc[idx].rows, e->row_count);
		off = DP_TABLE_OFFSET(r->m.svc[idx].table);
		for (uint32_t k = 0; k < e->row_count; k++) {
			const struct route_backend *b = &o->backend[e->row[k]];
			uint64_t word = r->m.backend[r->m.row[off + k].owner];

			assert_int_equal(DP_BE_TOKEN(word), b->backend.token);
			if (r->is_good[1][b->backend.token - 1])
				assert_int_equal(DP_BE_STATE(word), DP_BE_UP);
			if (k == 0) {
				model_backend_key(&b->backend, key);
				assert_int_equal(plan_backend_idx(s, &o->node[b->node_idx].id, key),
						 r->m.row[off + k].owner);
			}
		}
	}
	for (size_t i = 0; i < o->view.node_count; i++) {
		const struct route_node *n = &o->node[i];
		uint32_t idx = plan_node_idx(s, &n->id);

		if (!idx)
			continue; /* another node has its address */
		assert_memory_equal(r->m.node[idx].addr, n->node.mesh_addr.b, 16);
		assert_int_equal(known_get(&r->m, n->node.mesh_addr.b), idx);
		assert_int_equal(r->m.node[idx].state,
				 n->state == GOSSIP_ALIVE || n->state == GOSSIP_HEADLESS);
	}
	for (size_t i = 0; i < o->view.service_count; i++) {
		for (size_t v = 0; v < o->service[i].vip_count; v++) {
			struct dp_vip_key key = {0};

			memcpy(key.addr, o->service[i].vip[v].b, 16);
			for (size_t p = 0; p < 3; p++) {
				key.l4_proto = (uint8_t)(p == 0 ? 0 : p == 1 ? 6 : 17);
				assert_non_null(vip_get(&r->m, &key));
			}
			key.l4_proto = 0;
			assert_int_equal(vip_get(&r->m, &key)->dir_idx, 0);
		}
	}
}

/* Words of the dying come first, then what is free again, nodes, backends, rows, services, ports. */
static void check_order(const struct mem *m, const struct plan_list *l)
{
	static const int rank[] = {
		[PLAN_NODE] = 2, [PLAN_NODE_GONE] = 1, [PLAN_NODE_STATE] = 2, [PLAN_BACKEND] = 3,
		[PLAN_ROWS] = 4, [PLAN_SVC] = 5,       [PLAN_PORTPAGE] = 6,   [PLAN_PORTDIR] = 7,
		[PLAN_VIP] = 8,	 [PLAN_VIP_GONE] = 9,
	};
	int last = 0;

	for (size_t i = 0; i < l->op_count; i++) {
		const struct plan_op *op = &l->op[i];
		int k = rank[op->kind];

		if (op->kind == PLAN_NODE_STATE && op->arg.node.state == DP_NODE_DOWN)
			k = 0;
		if (op->kind == PLAN_BACKEND && DP_BE_STATE(op->arg.word) == DP_BE_DEAD) {
			if (op->arg.word == 0)
				k = 1;
			else if (DP_BE_STATE(m->backend[op->idx]) == DP_BE_UP)
				k = 0;
		}
		if (op->kind == PLAN_SVC && !op->arg.svc.family)
			k = 1;
		else if (op->kind == PLAN_SVC && !op->arg.svc.table && m->svc[op->idx].table)
			k = 10;
		assert_true(k >= last);
		last = k;
	}
}

static void restart(struct run *r, const struct seen *o, uint64_t now_ms, struct plan_state **s)
{
	struct plan_image image = {
		.sizes = sizes,
		.node = r->m.node,
		.backend = r->m.backend,
		.svc = r->m.svc,
		.row = r->m.row,
		.portdir = r->m.portdir,
		.portpage = r->m.portpage,
		.vip_key = r->m.vip_key,
		.vip = r->m.vip,
		.vip_count = r->m.vip_count,
	};

	plan_state_free(*s);
	assert_int_equal(plan_state_new(&sizes, s), 0);
	assert_int_equal(plan_adopt(*s, &image, &o->view, now_ms), 0);
}

static void note_before(struct run *r, const struct seen *o)
{
	for (size_t i = 0; i < r->watch_count; i++) {
		struct watch *x = &r->watch[i];
		const struct route_entry *e = o ? wanted(o, x) : NULL;

		x->before[0] = 0;
		x->was_served = e && e->row_count;
		if (e)
			memcpy(x->before, o->service[e->service_idx].name, sizeof(x->before));
	}
}

static void note_after(struct run *r, const struct seen *o)
{
	for (size_t i = 0; i < r->watch_count; i++) {
		struct watch *x = &r->watch[i];
		const struct route_entry *e = wanted(o, x);

		x->after[0] = 0;
		if (e && e->row_count)
			memcpy(x->after, o->service[e->service_idx].name, sizeof(x->after));
		else if (e)
			x->was_served = false; /* nobody is left to serve it */
		if (e && !x->after[0])
			memcpy(x->after, o->service[e->service_idx].name, sizeof(x->after));
	}
}

static void one_world(unsigned int world_seed, size_t rounds, size_t *ret_ops, size_t *ret_restarts)
{
	static struct run r;
	static struct seen o, before;
	struct plan_state *s;
	struct node_id self;
	struct err e;
	uint64_t now_ms = 5;
	bool has_before = false;

	seed = world_seed;
	memset(&r, 0, sizeof(r));
	world_init(&r.w);
	watch_init(&r);
	self = r.w.node[3].id;
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	for (size_t round = 0; round < rounds; round++) {
		struct plan_list l = {0};
		size_t cut;
		bool dies = rnd(10) == 0;

		for (unsigned int i = rnd(4); round && i-- > 0;)
			mutate(&r.w);
		now_ms += rnd(3) ? rnd(700) : 1500;
		note_before(&r, has_before ? &before : NULL);
		look(&r.w, &o);
		note_after(&r, &o);
		note_good(&r, &o, 1);
		if (plan_diff(s, &o.view, o.routes, &self, now_ms, &l, &e))
			fail_msg("SEED=%u round %zu: %s", world_seed, round, e.text);
		check_order(&r.m, &l);
		cut = dies && l.op_count ? rnd((unsigned int)l.op_count) : l.op_count;
		for (size_t i = 0; i < cut; i++) {
			apply(&r.m, &l.op[i]);
			check_moment(&r);
		}
		*ret_ops += cut;
		plan_list_clear(&l);
		if (dies) {
			restart(&r, &o, now_ms, &s);
			assert_int_equal(plan_diff(s, &o.view, o.routes, &self, now_ms, &l, &e), 0);
			for (size_t i = 0; i < l.op_count; i++) {
				apply(&r.m, &l.op[i]);
				check_moment(&r);
			}
			*ret_ops += l.op_count;
			++*ret_restarts;
			plan_list_clear(&l);
		}
		check_final(&r, &o, s);
		/* Again changes nothing. */
		assert_int_equal(plan_diff(s, &o.view, o.routes, &self, now_ms, &l, &e), 0);
		assert_int_equal(l.op_count, 0);
		plan_list_clear(&l);
		memcpy(r.is_good[0], r.is_good[1], sizeof(r.is_good[0]));
		if (has_before)
			route_free(before.routes);
		before = o;
		before.view.node = before.node;
		before.view.service = before.service;
		before.view.backend = before.backend;
		has_before = true;
	}
	route_free(before.routes);
	plan_state_free(s);
}

static void test_diff_when_world_changes_at_random_then_served_at_every_moment(void **state)
{
	const char *env = getenv("SEED");
	unsigned int first = env ? (unsigned int)strtoul(env, NULL, 10) : 1;
	size_t ops = 0, restarts = 0;

	(void)state;
	for (unsigned int i = first; i < (env ? first + 1 : first + 10); i++) {
		print_message("# SEED=%u\n", i);
		one_world(i, 100, &ops, &restarts);
	}
	print_message("# %zu operations applied, %zu restarts in the middle of a list\n", ops,
		      restarts);
	assert_true(ops > 100);
}

/* ---- a small fixed world */

static void small_world(struct world *w)
{
	seed = 1;
	memset(w, 0, sizeof(*w));
	world_init(w);
	memset(w->has_backend, 0, sizeof(w->has_backend));
	for (size_t i = 1; i < SERVICES; i++)
		w->has_service[i] = false;
	w->service[0].vip[0] = vip_at(0);
	w->service[0].vip_count = 1;
	w->service[0].port[0] = (struct model_port){IPPROTO_UDP, {53, 53}};
	w->service[0].port_count = 1;
	for (size_t i = 5; i <= 20; i += 5) {
		w->has_backend[i] = true;
		w->backend[i].backend.addr = addr("10.0.0.1");
		w->backend[i].backend.weight = 1;
		snprintf(w->node[w->backend[i].node_idx].node.region, MODEL_NAME_MAX, "fra");
	}
}

static void diff(const struct world *w, struct plan_state *s, uint64_t now_ms, struct plan_list *l)
{
	static struct seen o;
	struct err e;

	plan_list_clear(l);
	look(w, &o);
	if (plan_diff(s, &o.view, o.routes, &w->node[0].id, now_ms, l, &e))
		fail_msg("%s", e.text);
	route_free(o.routes);
}

static size_t count_kind(const struct plan_list *l, enum plan_op_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < l->op_count; i++)
		n += l->op[i].kind == kind;
	return n;
}

static void test_diff_when_first_then_writes_all_of_it(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	struct world w;

	(void)state;
	small_world(&w);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	assert_int_equal(count_kind(&l, PLAN_NODE), NODES);
	assert_int_equal(count_kind(&l, PLAN_BACKEND), 4);
	assert_int_equal(count_kind(&l, PLAN_ROWS), 1);
	assert_int_equal(count_kind(&l, PLAN_SVC), 1);
	assert_int_equal(count_kind(&l, PLAN_PORTPAGE), 1);
	assert_int_equal(count_kind(&l, PLAN_PORTDIR), 1);
	assert_int_equal(count_kind(&l, PLAN_VIP), 3);
	assert_int_equal(l.op_count, NODES + 11);
	assert_true(plan_due_ms(s) == UINT64_MAX);
	/* The self flag is on one node. */
	for (size_t i = 0, selves = 0; i < l.op_count; i++) {
		if (l.op[i].kind == PLAN_NODE)
			selves += l.op[i].arg.node.flags & DP_NODE_SELF;
		if (i + 1 == l.op_count)
			assert_int_equal(selves, 1);
	}
	plan_list_clear(&l);
	plan_state_free(s);
}

static void test_diff_when_backend_dies_then_its_word_comes_first(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	uint32_t idx, first_rows;
	char key[MODEL_KEY_MAX];
	struct world w;

	(void)state;
	small_world(&w);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	model_backend_key(&w.backend[5].backend, key);
	idx = plan_backend_idx(s, &w.node[5].id, key);
	assert_int_not_equal(idx, 0);
	w.backend[5].health = MODEL_HEALTH_FAILING;
	diff(&w, s, 10, &l);
	assert_int_equal(l.op_count, 3);
	assert_int_equal(l.op[0].kind, PLAN_BACKEND);
	assert_int_equal(l.op[0].idx, idx);
	assert_int_equal(DP_BE_STATE(l.op[0].arg.word), DP_BE_DEAD);
	assert_int_equal(DP_BE_TOKEN(l.op[0].arg.word), w.backend[5].backend.token);
	assert_int_equal(l.op[1].kind, PLAN_ROWS);
	first_rows = l.op[1].idx;
	assert_int_not_equal(first_rows, 0); /* not where the table in force is */
	assert_int_equal(l.op[2].kind, PLAN_SVC);
	assert_int_equal(DP_TABLE_OFFSET(l.op[2].arg.svc.table), first_rows);
	assert_int_equal(plan_due_ms(s), 10 + PLAN_REST_MS);
	/* Back: the word before the rows that use it; the index is still its own. */
	w.backend[5].health = MODEL_HEALTH_PASSING;
	diff(&w, s, 20, &l);
	assert_int_equal(l.op_count, 3);
	assert_int_equal(l.op[0].kind, PLAN_BACKEND);
	assert_int_equal(l.op[0].idx, idx);
	assert_int_equal(DP_BE_STATE(l.op[0].arg.word), DP_BE_UP);
	assert_int_equal(l.op[1].kind, PLAN_ROWS);
	assert_true(l.op[1].idx > first_rows); /* the first range still rests */
	plan_list_clear(&l);
	plan_state_free(s);
}

static void test_diff_when_node_is_suspect_then_its_state_comes_first(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	struct world w;

	(void)state;
	small_world(&w);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	w.node[5].state = GOSSIP_SUSPECT;
	w.node[1].state = GOSSIP_HEADLESS; /* moves nothing */
	diff(&w, s, 10, &l);
	assert_int_equal(l.op_count, 3);
	assert_int_equal(l.op[0].kind, PLAN_NODE_STATE);
	assert_int_equal(l.op[0].idx, plan_node_idx(s, &w.node[5].id));
	assert_int_equal(l.op[0].arg.node.state, DP_NODE_DOWN);
	plan_list_clear(&l);
	plan_state_free(s);
}

static void test_down_when_urgent_then_the_diff_does_not_repeat_it(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	char key[MODEL_KEY_MAX];
	struct plan_op op;
	struct world w;

	(void)state;
	small_world(&w);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	model_backend_key(&w.backend[5].backend, key);
	assert_true(plan_backend_down(s, &w.node[5].id, key, &op));
	assert_int_equal(op.kind, PLAN_BACKEND);
	assert_int_equal(op.idx, plan_backend_idx(s, &w.node[5].id, key));
	assert_int_equal(DP_BE_STATE(op.arg.word), DP_BE_DEAD);
	assert_int_equal(DP_BE_NODE(op.arg.word), plan_node_idx(s, &w.node[5].id));
	assert_false(plan_backend_down(s, &w.node[5].id, key, &op));
	assert_false(plan_backend_down(s, &w.node[6].id, key, &op));
	assert_false(plan_backend_down(s, &w.node[5].id, "nonsense", &op));
	w.backend[5].health = MODEL_HEALTH_FAILING;
	assert_true(plan_node_down(s, &w.node[2].id, &op));
	assert_int_equal(op.kind, PLAN_NODE_STATE);
	assert_false(plan_node_down(s, &w.node[2].id, &op));
	w.node[2].state = GOSSIP_DEAD;
	diff(&w, s, 5, &l);
	assert_int_equal(count_kind(&l, PLAN_BACKEND), 0);
	assert_int_equal(count_kind(&l, PLAN_NODE_STATE), 0);
	assert_int_equal(count_kind(&l, PLAN_SVC), 1);
	plan_list_clear(&l);
	plan_state_free(s);
}

static void test_diff_when_things_go_then_indexes_rest_before_reuse(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	uint32_t idx, svc_idx;
	char key[MODEL_KEY_MAX];
	struct world w;

	(void)state;
	small_world(&w);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	model_backend_key(&w.backend[5].backend, key);
	idx = plan_backend_idx(s, &w.node[5].id, key);
	svc_idx = plan_svc_idx(s, "svc-0", 4);
	w.has_backend[5] = false;
	w.has_service[0] = false;
	diff(&w, s, 100, &l);
	assert_int_equal(count_kind(&l, PLAN_VIP_GONE), 3);
	/* That of protocol 0 goes last. */
	assert_int_equal(l.op[l.op_count - 1].arg.vip_key.l4_proto, 0);
	assert_int_equal(count_kind(&l, PLAN_SVC), 0);
	assert_int_equal(plan_backend_idx(s, &w.node[5].id, key), 0);
	diff(&w, s, 100 + PLAN_REST_MS - 1, &l);
	assert_int_equal(l.op_count, 0);
	diff(&w, s, 100 + PLAN_REST_MS, &l);
	assert_int_equal(l.op_count, 2);
	assert_int_equal(l.op[0].kind == PLAN_BACKEND ? l.op[0].idx : l.op[1].idx, idx);
	assert_int_equal(l.op[0].kind == PLAN_SVC ? l.op[0].idx : l.op[1].idx, svc_idx);
	/* Its rows rest once more, from the moment when its word went. */
	assert_int_equal(plan_due_ms(s), 100 + 2 * PLAN_REST_MS);
	diff(&w, s, 100 + 2 * PLAN_REST_MS, &l);
	assert_int_equal(l.op_count, 0);
	assert_true(plan_due_ms(s) == UINT64_MAX);
	plan_list_clear(&l);
	plan_state_free(s);
}

static void test_diff_when_mesh_address_changes_then_new_index_and_words_move(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	uint32_t old_idx, new_idx;
	struct world w;

	(void)state;
	small_world(&w);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	old_idx = plan_node_idx(s, &w.node[5].id);
	w.node[5].node.mesh_addr = addr("10.9.0.77");
	diff(&w, s, 10, &l);
	new_idx = plan_node_idx(s, &w.node[5].id);
	assert_int_not_equal(old_idx, new_idx);
	assert_int_equal(l.op_count, 2);
	assert_int_equal(l.op[0].kind, PLAN_NODE);
	assert_int_equal(l.op[0].idx, new_idx);
	assert_int_equal(l.op[1].kind, PLAN_BACKEND);
	assert_int_equal(DP_BE_NODE(l.op[1].arg.word), new_idx);
	assert_int_equal(DP_BE_STATE(l.op[1].arg.word), DP_BE_UP);
	diff(&w, s, 10 + PLAN_REST_MS, &l);
	assert_int_equal(l.op_count, 1);
	assert_int_equal(l.op[0].kind, PLAN_NODE_GONE);
	assert_int_equal(l.op[0].idx, old_idx);
	plan_list_clear(&l);
	plan_state_free(s);
}

static void test_diff_when_two_nodes_have_one_address_then_the_live_one_is_in(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	struct world w;

	(void)state;
	small_world(&w);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	/* The machine of node 5 comes back as node 6. */
	w.node[5].state = GOSSIP_DEAD;
	w.node[6].node.mesh_addr = w.node[5].node.mesh_addr;
	diff(&w, s, 10, &l);
	assert_int_equal(plan_node_idx(s, &w.node[5].id), 0);
	assert_int_not_equal(plan_node_idx(s, &w.node[6].id), 0);
	diff(&w, s, 10 + PLAN_REST_MS, &l);
	assert_int_equal(count_kind(&l, PLAN_NODE_GONE), 2);
	for (size_t i = 0; i < l.op_count; i++) {
		struct ip_addr a;

		if (l.op[i].kind != PLAN_NODE_GONE)
			continue;
		/* dp_known of the shared address stays. */
		memcpy(a.b, l.op[i].arg.node.addr, sizeof(a.b));
		assert_false(ip_equal(&a, &w.node[6].node.mesh_addr));
	}
	plan_list_clear(&l);
	plan_state_free(s);
}

static void test_diff_when_something_is_full_then_enospc_and_nothing_changed(void **state)
{
	static const struct {
		struct plan_sizes sizes;
		const char *says;
	} row[] = {
		{{40, 120, 8, 60000, 60, 40, 0}, "nodes"},
		{{40, 4, 40, 60000, 60, 40, 0}, "backends"},
		{{1, 120, 40, 60000, 60, 40, 0}, "services"},
		{{40, 120, 40, 1020, 60, 40, 0}, "rows"},
		{{40, 120, 40, 60000, 1, 40, 0}, "pages"},
		{{40, 120, 40, 60000, 60, 1, 0}, "directories"},
		{{40, 120, 40, 60000, 60, 40, 2}, "VIPs"},
		{{0, 0, 0, 0, 0, 0, 0}, "nodes"},
	};
	struct plan_list l = {0};
	struct plan_state *s;
	struct seen o;
	struct world w;
	struct err e;

	(void)state;
	small_world(&w);
	look(&w, &o);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		assert_int_equal(plan_state_new(&row[i].sizes, &s), 0);
		assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[0].id, 0, &l, &e),
				 -ENOSPC);
		if (!strstr(e.text, row[i].says))
			fail_msg("'%s' does not name %s", e.text, row[i].says);
		assert_int_equal(l.op_count, 0);
		assert_int_equal(plan_node_idx(s, &w.node[0].id), 0);
		plan_state_free(s);
	}
	route_free(o.routes);
	/* Room for two tables of 1021 rows: a third one in time waits until the first has rested. */
	assert_int_equal(plan_state_new(&(struct plan_sizes){40, 120, 40, 2042, 60, 40, 0}, &s), 0);
	diff(&w, s, 0, &l);
	w.backend[5].backend.weight = 2;
	diff(&w, s, 10, &l);
	w.backend[5].backend.weight = 3;
	plan_list_clear(&l);
	look(&w, &o);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[0].id, 20, &l, &e), -ENOSPC);
	assert_int_equal(l.op_count, 0);
	assert_int_equal(plan_due_ms(s), 10 + PLAN_REST_MS);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[0].id, 10 + PLAN_REST_MS, &l, &e),
			 0);
	route_free(o.routes);
	plan_list_clear(&l);
	plan_state_free(s);
}

static void test_adopt_when_nothing_changed_then_indexes_and_tables_stay(void **state)
{
	static struct run r;
	static struct seen o;
	struct plan_list l = {0};
	struct plan_state *s;
	struct err e;

	(void)state;
	memset(&r, 0, sizeof(r));
	seed = 77;
	world_init(&r.w);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	look(&r.w, &o);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &r.w.node[0].id, 0, &l, &e), 0);
	for (size_t i = 0; i < l.op_count; i++)
		apply(&r.m, &l.op[i]);
	plan_list_clear(&l);
	restart(&r, &o, 5, &s);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &r.w.node[0].id, 5, &l, &e), 0);
	assert_int_equal(count_kind(&l, PLAN_ROWS), 0);
	assert_int_equal(count_kind(&l, PLAN_BACKEND), 0);
	assert_int_equal(count_kind(&l, PLAN_PORTPAGE), 0);
	assert_int_equal(count_kind(&l, PLAN_PORTDIR), 0);
	/* What is said again says the same. */
	for (size_t i = 0; i < l.op_count; i++) {
		static struct mem was;

		was = r.m;
		apply(&r.m, &l.op[i]);
		assert_memory_equal(&was.node, &r.m.node, sizeof(was.node));
		assert_memory_equal(&was.svc, &r.m.svc, sizeof(was.svc));
		assert_memory_equal(&was.vip, &r.m.vip, sizeof(was.vip));
	}
	plan_list_clear(&l);
	assert_true(plan_due_ms(s) == UINT64_MAX);
	route_free(o.routes);
	plan_state_free(s);
}

static void test_adopt_when_maps_are_garbage_then_a_diff_mends_them(void **state)
{
	static struct run r;
	static struct seen o;
	struct plan_list l = {0};
	struct plan_state *s = NULL;
	struct err e;

	(void)state;
	for (unsigned int round = 0; round < 30; round++) {
		uint8_t *p = (uint8_t *)&r.m;

		memset(&r, 0, sizeof(r));
		seed = 1000 + round;
		world_init(&r.w);
		watch_init(&r);
		look(&r.w, &o);
		assert_int_equal(plan_state_new(&sizes, &s), 0);
		assert_int_equal(plan_diff(s, &o.view, o.routes, &r.w.node[0].id, 0, &l, &e), 0);
		for (size_t i = 0; i < l.op_count; i++)
			apply(&r.m, &l.op[i]);
		plan_list_clear(&l);
		for (size_t i = 0; i < 3000; i++)
			p[rnd(offsetof(struct mem, vip_key))] = (uint8_t)rnd(256);
		for (size_t i = 0; i < r.m.vip_count; i++)
			r.m.vip[i].dir_idx = rnd(sizes.dirs + 5);
		restart(&r, &o, 5, &s);
		/* Twice: what rests may fill the maps at first. */
		for (uint64_t t = 5; t < 4000; t += PLAN_REST_MS) {
			(void)plan_diff(s, &o.view, o.routes, &r.w.node[0].id, t, &l, &e);
			for (size_t i = 0; i < l.op_count; i++) {
				const struct plan_op *op = &l.op[i];

				/* apply() asserts what only holds for sane maps: write plainly. */
				if (op->kind == PLAN_SVC)
					r.m.svc[op->idx] = op->arg.svc;
				else if (op->kind == PLAN_BACKEND)
					r.m.backend[op->idx] = op->arg.word;
				else if (op->kind == PLAN_ROWS)
					memcpy(r.m.row + op->idx, op->arg.rows,
					       op->count * sizeof(r.m.row[0]));
				else if (op->kind == PLAN_NODE_GONE)
					memset(&r.m.node[op->idx], 0, sizeof(r.m.node[0]));
				else
					apply(&r.m, op);
			}
			plan_list_clear(&l);
		}
		note_good(&r, &o, 1);
		check_final(&r, &o, s);
		route_free(o.routes);
		plan_state_free(s);
	}
}

static void test_adopt_when_sizes_differ_then_einval(void **state)
{
	struct plan_image image = {.sizes = sizes};
	struct route_view view = {0};
	struct plan_state *s;

	(void)state;
	image.sizes.rows++;
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	assert_int_equal(plan_adopt(s, &image, &view, 0), -EINVAL);
	plan_state_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_diff_when_first_then_writes_all_of_it),
		cmocka_unit_test(test_diff_when_backend_dies_then_its_word_comes_first),
		cmocka_unit_test(test_diff_when_node_is_suspect_then_its_state_comes_first),
		cmocka_unit_test(test_down_when_urgent_then_the_diff_does_not_repeat_it),
		cmocka_unit_test(test_diff_when_things_go_then_indexes_rest_before_reuse),
		cmocka_unit_test(test_diff_when_mesh_address_changes_then_new_index_and_words_move),
		cmocka_unit_test(test_diff_when_two_nodes_have_one_address_then_the_live_one_is_in),
		cmocka_unit_test(test_diff_when_something_is_full_then_enospc_and_nothing_changed),
		cmocka_unit_test(test_adopt_when_nothing_changed_then_indexes_and_tables_stay),
		cmocka_unit_test(test_adopt_when_maps_are_garbage_then_a_diff_mends_them),
		cmocka_unit_test(test_adopt_when_sizes_differ_then_einval),
		cmocka_unit_test(
			test_diff_when_world_changes_at_random_then_served_at_every_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
