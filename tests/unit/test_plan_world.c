/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The plan against maps made of plain memory: a model world changes at random, every operation is applied one by one,
 * and after each one the memory is walked as the forwarder walks it. SEED= in the environment repeats a run. */
#include "tests/unit/plan_mem.h"

static void mutate(struct world *w)
{
	static const enum gossip_state states[] = {GOSSIP_ALIVE, GOSSIP_ALIVE, GOSSIP_HEADLESS,
						   GOSSIP_SUSPECT, GOSSIP_DEAD};
	size_t n = rnd(NODES), s = rnd(SERVICES), b = rnd(BACKENDS);

	switch (rnd(13)) {
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
	case 10:
		w->backend[b].backend.ports = random_part();
		break;
	default:
		w->backend[b].health = rnd(3) ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING;
	}
}

/* ---- walking the memory */

static uint32_t svc_on(struct mem *m, const struct ip_addr *vip, uint8_t l4_proto, uint32_t port)
{
	const struct dp_vip *v = vip_get(m, vip->b);
	uint32_t dir = !v ? 0 : l4_proto == IPPROTO_TCP ? v->dir_tcp : v->dir_udp, page;

	page = dir ? m->portdir[dir * 256 + (port >> 8)] : 0;
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
			    o->routes->entry[k].family == (ip_is_v4(&x->vip) ? 4 : 6) &&
			    (!o->routes->entry[k].part.lo ||
			     (x->port >= o->routes->entry[k].served.lo &&
			      x->port <= o->routes->entry[k].served.hi)))
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
	bool seen[128] = {false}; /* by service index */

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
		assert_int_equal(idx, plan_svc_idx(s, svc->name, e->family, e->part));
		assert_int_equal(r->m.svc[idx].port_lo,
				 e->part.lo ? e->part.lo : model_service_port_lo(svc));
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
		assert_int_equal(addrs_get(&r->m.known, n->node.mesh_addr.b), idx);
		assert_int_equal(num_get(&r->m, plan_node_num(&n->id)), idx);
		assert_int_equal(r->m.node[idx].state,
				 n->state == GOSSIP_ALIVE || n->state == GOSSIP_HEADLESS
					 ? DP_NODE_UP
				 : n->state == GOSSIP_SUSPECT ? DP_NODE_SUSPECT
							      : DP_NODE_DOWN);
	}
	for (size_t i = 0; i < o->view.service_count; i++) {
		for (size_t v = 0; v < o->service[i].vip_count; v++) {
			const struct ip_addr *vip = &o->service[i].vip[v];

			assert_non_null(vip_get(&r->m, vip->b));
			assert_ptr_equal(vip_get(&r->m, vip->b), &r->m.vip[plan_vip_idx(s, vip)]);
		}
	}
	for (uint32_t i = 0, said = 0; i < DP_VIP_SLOTS; i++) {
		said += r->m.vipslot[i] != 0;
		if (i + 1 == DP_VIP_SLOTS)
			assert_true(said <= plan_vip_count(s));
	}
	assert_int_equal(r->m.vipmap.count, plan_vip_count(s));
}

/* Words of the dying come first, then what is free again, nodes, backends, rows, services, ports. */
static void check_order(const struct mem *m, const struct plan_list *l)
{
	static const int rank[] = {
		[PLAN_NODE] = 2, [PLAN_NODE_GONE] = 1, [PLAN_NODE_STATE] = 2, [PLAN_BACKEND] = 3,
		[PLAN_ROWS] = 4, [PLAN_SVC] = 5,       [PLAN_PORTPAGE] = 6,   [PLAN_PORTDIR] = 7,
		[PLAN_VIP] = 8,	 [PLAN_VIP_SLOT] = 9,  [PLAN_VIP_GONE] = 10,  [PLAN_VIP_FREE] = 1,
	};
	int last = 0;

	for (size_t i = 0; i < l->op_count; i++) {
		const struct plan_op *op = &l->op[i];
		int k = rank[op->kind];

		if (op->kind == PLAN_NODE_STATE && op->arg.node.state != DP_NODE_UP)
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
			k = 11;
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
		.vip = r->m.vip,
		.vipslot = r->m.vipslot,
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

/* Tables taken over from an earlier plan are those that are computed. */
static void check_taken_over(const struct seen *o, const struct route_plan *old)
{
	const struct route_plan *want = o->routes;
	struct route_plan *got;

	assert_int_equal(route_compute_from(&o->view, old, &got), 0);
	assert_int_equal(got->entry_count, want->entry_count);
	for (size_t i = 0; i < want->entry_count; i++) {
		assert_int_equal(got->entry[i].row_count, want->entry[i].row_count);
		assert_memory_equal(got->entry[i].row, want->entry[i].row,
				    want->entry[i].row_count * sizeof(uint32_t));
	}
	route_free(got);
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
			/* Adopted long before the diff: what was found at rest is not yet free. */
			restart(&r, &o, now_ms > 2000 ? now_ms - 2000 : 0, &s);
			if (plan_diff(s, &o.view, o.routes, &self, now_ms, &l, &e))
				fail_msg("SEED=%u round %zu: %s", world_seed, round, e.text);
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
		check_taken_over(&o, has_before ? before.routes : NULL);
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

/* ---- maps that are too small */

/* Whatever a port leads to is right, and VIPs that are said to be served are. */
static void check_scarce(struct run *r, const struct seen *o, const struct plan_state *s)
{
	bool is_served[VIPS] = {false};

	for (size_t i = 0; i < r->watch_count; i++) {
		struct watch *x = &r->watch[i];
		const struct route_entry *e = wanted(o, x);
		uint32_t idx = svc_on(&r->m, &x->vip, x->l4_proto, x->port);
		const struct dp_svc *svc = &r->m.svc[idx];

		if (!idx)
			continue;
		assert_non_null(e);
		assert_int_equal(
			idx, plan_svc_idx(s, o->service[e->service_idx].name, e->family, e->part));
		assert_true(e->row_count || !svc->table);
		for (uint32_t k = 0; k < table_rows(svc->table); k++) {
			bool is_up;
			size_t b = owner_of(&r->m, &r->w, DP_TABLE_OFFSET(svc->table) + k, &is_up);

			assert_string_equal(r->w.backend[b].backend.service,
					    o->service[e->service_idx].name);
		}
		for (unsigned int v = 0; svc->table && v < VIPS; v++) {
			struct ip_addr vip = vip_at(v);

			is_served[v] |= ip_equal(&vip, &x->vip);
		}
	}
	for (unsigned int v = 0; v < VIPS; v++) {
		struct ip_addr vip = vip_at(v);

		if (is_served[v])
			assert_true(plan_vip_is_served(s, &vip));
		if (plan_vip_is_served(s, &vip))
			assert_non_null(vip_get(&r->m, vip.b));
	}
}

static void test_diff_when_maps_are_small_then_what_is_served_is_right(void **state)
{
	const struct plan_sizes all = sizes;
	static struct run r;
	static struct seen o;
	size_t short_rounds = 0;
	struct err e;

	(void)state;
	for (unsigned int i = 1; i <= 20; i++) {
		struct plan_list l = {0};
		struct plan_state *s;
		uint64_t now_ms = 5;

		seed = i;
		sizes = (struct plan_sizes){.svcs = 3 + rnd(40),
					    .backends = 3 + rnd(40),
					    .nodes = 3 + rnd(16),
					    .rows = 100 + rnd(20000),
					    .pages = 2 + rnd(40),
					    .dirs = 2 + rnd(12),
					    .vips = 2 + rnd(6)};
		memset(&r, 0, sizeof(r));
		world_init(&r.w);
		watch_init(&r);
		assert_int_equal(plan_state_new(&sizes, &s), 0);
		for (size_t round = 0; round < 100; round++) {
			bool dies = rnd(10) == 0;

			for (unsigned int k = rnd(4); round && k-- > 0;)
				mutate(&r.w);
			now_ms += rnd(3) ? rnd(700) : 1500;
			look(&r.w, &o);
			if (dies)
				restart(&r, &o, now_ms, &s);
			assert_int_equal(
				plan_diff(s, &o.view, o.routes, &r.w.node[3].id, now_ms, &l, &e),
				0);
			short_rounds += e.text[0] != 0;
			for (size_t k = 0; k < l.op_count; k++)
				apply(&r.m, &l.op[k]);
			plan_list_clear(&l);
			check_scarce(&r, &o, s);
			assert_int_equal(
				plan_diff(s, &o.view, o.routes, &r.w.node[3].id, now_ms, &l, &e),
				0);
			assert_int_equal(l.op_count, 0);
			route_free(o.routes);
		}
		plan_state_free(s);
	}
	print_message("# something had no room in %zu of 2000 rounds\n", short_rounds);
	assert_true(short_rounds > 500);
	sizes = all;
}

/* ---- adoption */

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
			p[rnd(offsetof(struct mem, vipslot))] = (uint8_t)rnd(256);
		for (uint32_t i = 1; i < sizes.vips; i++)
			r.m.vip[i].dir_udp = rnd(sizes.dirs + 5);
		for (size_t i = 0; i < 50; i++)
			r.m.vipslot[rnd(DP_VIP_SLOTS)] = rnd(sizes.vips + 5);
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
				else if (op->kind == PLAN_VIP_SLOT)
					r.m.vipslot[op->idx] = op->arg.slot;
				else if (op->kind == PLAN_VIP_FREE)
					memset(&r.m.vip[op->idx], 0, sizeof(r.m.vip[0]));
				else if (op->kind == PLAN_VIP_GONE)
					addrs_del(&r.m.vipmap, op->arg.vip.addr);
				else if (op->kind == PLAN_VIP) {
					r.m.vip[op->idx] = op->arg.vip;
					addrs_put(&r.m.vipmap, op->arg.vip.addr, op->idx);
				} else
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_diff_when_world_changes_at_random_then_served_at_every_moment),
		cmocka_unit_test(test_diff_when_maps_are_small_then_what_is_served_is_right),
		cmocka_unit_test(test_adopt_when_nothing_changed_then_indexes_and_tables_stay),
		cmocka_unit_test(test_adopt_when_maps_are_garbage_then_a_diff_mends_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
