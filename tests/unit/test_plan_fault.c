/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every allocation of route, plan and adoption fails: once, then from there on, n = 0, 1, 2 ... until it works.
 * After each failure nothing is appended, the mirror is as before, and nothing leaks (the sanitizer looks). The
 * sources are compiled in, with their allocator exchanged. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static long fail_at = -1; /* the allocation that fails; -1 = none */
static bool fail_after;	  /* and all that follow */
static long allocations;
static bool has_failed;

static bool is_failing(void)
{
	long n = allocations++;
	bool fails = fail_at >= 0 && (n == fail_at || (fail_after && n > fail_at));

	has_failed |= fails;
	return fails;
}

static void *fault_malloc(size_t size)
{
	return is_failing() ? NULL : malloc(size);
}

static void *fault_calloc(size_t n, size_t size)
{
	return is_failing() ? NULL : calloc(n, size);
}

static void *fault_realloc(void *p, size_t size)
{
	return is_failing() ? NULL : realloc(p, size);
}

#define malloc fault_malloc
#define calloc fault_calloc
#define realloc fault_realloc

#include "edge/maglev.c"
#include "edge/route_claims.c"
#include "edge/route_table.c"
#include "edge/route.c"
#include "edge/route_update.c"
#include "edge/plan.c"
#include "edge/plan_pool.c"
#include "edge/plan_diff.c"
#define begin update_begin /* static in plan_diff.c too */
#include "edge/plan_update.c"
#undef begin
#include "edge/plan_rows.c"
#include "edge/plan_svc.c"
#include "edge/plan_ports.c"
#include "edge/plan_adopt.c"

#define N 6

struct world {
	struct route_node node[N];
	struct model_service service[2];
	struct route_backend backend[N];
	struct route_view view;
};

static const struct plan_sizes sizes = {
	.svcs = 8, .backends = 32, .nodes = 16, .rows = 5000, .pages = 16, .dirs = 8, .vips = 8};

static void world_init(struct world *w, unsigned int variant)
{
	memset(w, 0, sizeof(*w));
	for (uint8_t i = 0; i < N; i++) {
		w->node[i] = (struct route_node){.id = {{(uint8_t)(i + 1)}},
						 .node = {.has_forwarder = true, .region = "fra"}};
		assert_int_equal(ip_parse("10.9.0.1", &w->node[i].node.mesh_addr), 0);
		w->node[i].node.mesh_addr.b[15] = (uint8_t)(i + 1 + (i == 3 ? variant : 0));
		w->backend[i] = (struct route_backend){
			.node_idx = i,
			.backend = {.service = "a", .port = 53, .weight = 1, .token = i + 1u},
			.health = variant && i == 2 ? MODEL_HEALTH_FAILING : MODEL_HEALTH_PASSING};
		if (i % 2)
			w->backend[i].backend.service[0] = 'b';
		assert_int_equal(ip_parse("10.0.0.1", &w->backend[i].backend.addr), 0);
		w->backend[i].backend.check.kind = MODEL_CHECK_TCP;
	}
	for (size_t i = 0; i < 2; i++) {
		w->service[i] = (struct model_service){
			.name = {(char)('a' + i)},
			.vip_count = 2,
			.port = {{IPPROTO_UDP, {53, (uint16_t)(53 + variant * 300)}},
				 {IPPROTO_TCP, {53, 53}}},
			.port_count = 2};
		assert_int_equal(ip_parse("192.0.2.1", &w->service[i].vip[0]), 0);
		w->service[i].vip[0].b[15] = (uint8_t)(1 + i + variant);
		assert_int_equal(ip_parse("2001:db8::1", &w->service[i].vip[1]), 0);
	}
	w->view = (struct route_view){.node = w->node,
				      .node_count = N,
				      .service = w->service,
				      .service_count = variant ? 1 : 2,
				      .backend = w->backend,
				      .backend_count = variant ? N - 1 : N,
				      .region = "fra"};
}

/* Run `op` with its n-th allocation failing, for all n, until nothing failed. way: 0 one by one | 1 with all that follow */
static void one_way(const char *name, int way, int (*op)(void *arg), void (*unchanged)(void *arg),
		    void *arg)
{
	long n = 0;
	int rc;

	for (;; n++) {
		assert_true(n < 10000);
		fail_after = way;
		fail_at = n;
		allocations = 0;
		has_failed = false;
		rc = op(arg);
		fail_at = -1;
		if (rc == 0)
			break;
		if (rc != -ENOMEM)
			fail_msg("%s: allocation %ld fails: got %d", name, n, rc);
		unchanged(arg);
	}
	assert_false(has_failed); /* it worked because there was nothing left to fail */
	assert_true(n > 5);
	print_message("# %s: %ld allocations failed, %s\n", name, n,
		      way ? "each with all that follow" : "one by one");
}

static void fault_loop(const char *name, int (*op)(void *arg), void (*unchanged)(void *arg),
		       void *arg)
{
	one_way(name, 0, op, unchanged, arg);
	one_way(name, 1, op, unchanged, arg);
}

/* ---- route_compute */

struct route_case {
	struct world w;
	struct route_plan *plan, *old;
};

static int do_route(void *arg)
{
	struct route_case *c = arg;
	int rc = route_compute_from(&c->w.view, c->old, &c->plan);

	if (rc == 0) {
		route_free(c->plan);
		c->plan = NULL;
	}
	return rc;
}

static void route_unchanged(void *arg)
{
	assert_null(((struct route_case *)arg)->plan);
}

static void test_compute_when_memory_fails_then_enomem_and_nothing_written(void **state)
{
	struct route_case c = {.plan = NULL};

	(void)state;
	world_init(&c.w, 0);
	fault_loop("route_compute", do_route, route_unchanged, &c);
	world_init(&c.w, 1);
	assert_int_equal(route_compute(&c.w.view, &c.old), 0);
	world_init(&c.w, 0);
	fault_loop("route_compute_from", do_route, route_unchanged, &c);
	route_free(c.old);
}

/* ---- plan_diff: the second one, over a full mirror */

struct diff_case {
	struct world before, after;
	struct route_plan *routes_before, *routes;
	struct plan_state *s;
	struct plan_list l;
	size_t ops; /* in l before */
};

static void diff_case_init(struct diff_case *c)
{
	memset(c, 0, sizeof(*c));
	world_init(&c->before, 0);
	world_init(&c->after, 1);
	assert_int_equal(route_compute(&c->before.view, &c->routes_before), 0);
	assert_int_equal(route_compute(&c->after.view, &c->routes), 0);
}

static void diff_case_state(struct diff_case *c)
{
	plan_state_free(c->s);
	plan_list_clear(&c->l);
	assert_int_equal(plan_state_new(&sizes, &c->s), 0);
	assert_int_equal(plan_diff(c->s, &c->before.view, c->routes_before, &c->before.node[0].id,
				   0, &c->l, NULL),
			 0);
	c->ops = c->l.op_count;
}

static int do_diff(void *arg)
{
	struct diff_case *c = arg;
	struct err e;
	int rc = plan_diff(c->s, &c->after.view, c->routes, &c->after.node[0].id, 10, &c->l, &e);

	if (rc == 0) {
		/* As good as new for the other way. */
		fail_at = -1;
		assert_true(c->l.op_count > c->ops + 8);
		diff_case_state(c);
	} else {
		assert_string_equal(e.text, "forwarder: out of memory");
	}
	return rc;
}

static void diff_unchanged(void *arg)
{
	struct diff_case *c = arg;

	assert_int_equal(c->l.op_count, c->ops);
	assert_int_equal(plan_node_idx(c->s, &c->before.node[3].id), 4);
	assert_int_equal(plan_backend_idx(c->s, &c->before.node[5].id, "b/10.0.0.1:53"), 6);
	assert_int_not_equal(plan_svc_idx(c->s, "b", 4, (struct ip_port_range){0}), 0);
	assert_true(plan_due_ms(c->s) == UINT64_MAX);
}

static void test_diff_when_memory_fails_then_list_and_mirror_are_as_before(void **state)
{
	struct diff_case c;

	(void)state;
	diff_case_init(&c);
	diff_case_state(&c);
	fault_loop("plan_diff", do_diff, diff_unchanged, &c);
	plan_list_clear(&c.l);
	plan_state_free(c.s);
	route_free(c.routes);
	route_free(c.routes_before);
}

/* ---- route_update, plan_update: a backend fails and a node is suspect */

struct update_case {
	struct diff_case d;
	size_t node, backend, service[2];
	struct plan_touched touched;
};

static int do_route_update(void *arg)
{
	struct update_case *c = arg;
	struct route_plan *routes = NULL;
	int rc = route_update(&c->d.before.view, c->d.routes_before, c->service, 2, &routes);

	if (rc)
		assert_null(routes);
	route_free(routes);
	return rc;
}

static int do_plan_update(void *arg)
{
	struct update_case *c = arg;
	struct diff_case *d = &c->d;
	int rc = plan_update(d->s, &d->before.view, d->routes, &d->before.node[0].id, 10,
			     &c->touched, &d->l);

	if (rc == 0)
		assert_true(d->l.op_count > d->ops + 2);
	return rc;
}

/* What was not touched is as it was, and so is the plan before: both are read again. */
static void update_unchanged(void *arg)
{
	struct update_case *c = arg;

	assert_int_equal(c->d.l.op_count, c->d.ops);
	assert_int_equal(plan_node_idx(c->d.s, &c->d.before.node[3].id), 4);
	assert_int_equal(c->d.routes_before->entry[0].row_count > 0, 1);
}

static void test_update_when_memory_fails_then_plan_and_mirror_are_as_before(void **state)
{
	struct update_case c = {.node = 3, .backend = 2, .service = {0, 1}};
	struct diff_case *d = &c.d;

	(void)state;
	world_init(&d->before, 0);
	assert_int_equal(route_compute(&d->before.view, &d->routes_before), 0);
	c.touched = (struct plan_touched){
		.node = &c.node,
		.node_count = 1,
		.backend = (size_t[]){2, 3},
		.backend_count = 2,
		.service = c.service,
		.service_count = 2,
	};
	for (int way = 0; way < 2; way++) {
		diff_case_state(d);
		d->before.node[3].state = GOSSIP_SUSPECT;
		d->before.backend[2].health = MODEL_HEALTH_FAILING;
		if (way == 0) {
			fault_loop("route_update", do_route_update, update_unchanged, &c);
			assert_int_equal(route_update(&d->before.view, d->routes_before, c.service,
						      2, &d->routes),
					 0);
		}
		one_way("plan_update", way, do_plan_update, update_unchanged, &c);
		d->before.node[3].state = GOSSIP_ALIVE;
		d->before.backend[2].health = MODEL_HEALTH_PASSING;
	}
	plan_list_clear(&d->l);
	plan_state_free(d->s);
	route_free(d->routes_before);
	route_free(d->routes);
}

/* ---- plan_adopt */

struct adopt_case {
	struct world w;
	struct plan_image image;
	struct plan_state *s;
};

static int do_adopt(void *arg)
{
	struct adopt_case *c = arg;
	int rc = plan_adopt(c->s, &c->image, &c->w.view, 0);

	if (rc == 0) {
		fail_at = -1;
		assert_int_not_equal(plan_node_idx(c->s, &c->w.node[1].id), 0);
		plan_state_free(c->s);
		assert_int_equal(plan_state_new(&sizes, &c->s), 0);
	}
	return rc;
}

static void adopt_unchanged(void *arg)
{
	struct adopt_case *c = arg;

	assert_int_equal(plan_node_idx(c->s, &c->w.node[1].id), 0);
	assert_true(plan_due_ms(c->s) == UINT64_MAX);
}

/* The maps that a list makes, as far as adoption looks. */
static struct dp_node node_mem[16];
static uint64_t backend_mem[32];
static struct dp_svc svc_mem[8];
static struct dp_row row_mem[5000];
static uint32_t dir_mem[8 * 256], page_mem[16 * 256];
static struct dp_vip vip_mem[8];
static uint32_t slot_mem[DP_VIP_SLOTS];

static void apply_all(const struct plan_list *l)
{
	for (size_t i = 0; i < l->op_count; i++) {
		const struct plan_op *op = &l->op[i];

		if (op->kind == PLAN_NODE) {
			node_mem[op->idx] = op->arg.node;
		} else if (op->kind == PLAN_BACKEND) {
			backend_mem[op->idx] = op->arg.word;
		} else if (op->kind == PLAN_SVC) {
			svc_mem[op->idx] = op->arg.svc;
		} else if (op->kind == PLAN_ROWS) {
			memcpy(row_mem + op->idx, op->arg.rows, op->count * sizeof(row_mem[0]));
		} else if (op->kind == PLAN_PORTPAGE) {
			memcpy(page_mem + op->idx * 256, op->arg.words, 1024);
		} else if (op->kind == PLAN_PORTDIR) {
			memcpy(dir_mem + op->idx * 256, op->arg.words, 1024);
		} else if (op->kind == PLAN_VIP) {
			vip_mem[op->idx] = op->arg.vip;
		} else if (op->kind == PLAN_VIP_SLOT) {
			slot_mem[op->idx] = op->arg.slot;
		}
	}
}

static void test_adopt_when_memory_fails_then_state_is_as_before(void **state)
{
	struct route_plan *routes;
	struct plan_list l = {0};
	struct adopt_case c;
	struct world full;

	(void)state;
	memset(&c, 0, sizeof(c));
	world_init(&full, 0);
	world_init(&c.w, 1); /* some of it is unknown now, and rests */
	assert_int_equal(route_compute(&full.view, &routes), 0);
	assert_int_equal(plan_state_new(&sizes, &c.s), 0);
	assert_int_equal(plan_diff(c.s, &full.view, routes, &full.node[0].id, 0, &l, NULL), 0);
	c.image = (struct plan_image){.sizes = sizes,
				      .node = node_mem,
				      .backend = backend_mem,
				      .svc = svc_mem,
				      .row = row_mem,
				      .portdir = dir_mem,
				      .portpage = page_mem,
				      .vip = vip_mem,
				      .vipslot = slot_mem};
	apply_all(&l);
	plan_list_clear(&l);
	plan_state_free(c.s);
	assert_int_equal(plan_state_new(&sizes, &c.s), 0);
	fault_loop("plan_adopt", do_adopt, adopt_unchanged, &c);
	plan_state_free(c.s);
	route_free(routes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compute_when_memory_fails_then_enomem_and_nothing_written),
		cmocka_unit_test(test_update_when_memory_fails_then_plan_and_mirror_are_as_before),
		cmocka_unit_test(test_diff_when_memory_fails_then_list_and_mirror_are_as_before),
		cmocka_unit_test(test_adopt_when_memory_fails_then_state_is_as_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
