/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Previous owners: what each kind of change leaves in a table's rows. One service, a backend on each node. */
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

#define N 12
#define ROWS_MAX 1021

static const struct plan_sizes sizes = {
	.svcs = 4, .backends = 64, .nodes = 64, .rows = 20000, .pages = 8, .dirs = 8, .vips = 8};

struct edge { /* one edge's view and maps */
	struct route_node node[N];
	struct route_backend backend[N];
	bool has[N];
	struct model_service service;
	struct plan_state *s;
	struct dp_row mem[20000];
	struct dp_svc svc;
	uint64_t now_ms;
	unsigned int shuffle; /* order in which plan and route see things */
	size_t last_ops;
	/* by name: 1 + number of the backend, 0 = none */
	uint32_t rows, owner[ROWS_MAX], prev[ROWS_MAX];
	uint32_t rows_was, owner_was[ROWS_MAX], prev_was[ROWS_MAX];
};

static void edge_init(struct edge *g, size_t n, unsigned int shuffle)
{
	memset(g, 0, sizeof(*g));
	g->shuffle = shuffle;
	g->now_ms = 1000000;
	g->service = (struct model_service){
		.name = "dns", .vip_count = 1, .port = {{IPPROTO_UDP, {53, 53}}}, .port_count = 1};
	assert_int_equal(ip_parse("192.0.2.1", &g->service.vip[0]), 0);
	for (uint8_t i = 0; i < N; i++) {
		struct route_node *node = &g->node[i];
		struct route_backend *b = &g->backend[i];

		*node = (struct route_node){.id = {{(uint8_t)(1 + i * 19), 3, i}},
					    .state = GOSSIP_ALIVE,
					    .node = {.has_forwarder = true, .region = "fra"}};
		assert_int_equal(ip_parse("10.9.0.1", &node->node.mesh_addr), 0);
		node->node.mesh_addr.b[15] = (uint8_t)(i + 1);
		*b = (struct route_backend){
			.node_idx = i,
			.backend = {.service = "dns", .port = 53, .weight = 100, .token = i + 1u},
			.health = MODEL_HEALTH_PASSING};
		model_check_default(MODEL_CHECK_TCP, &b->backend.check);
		assert_int_equal(ip_parse("10.0.0.1", &b->backend.addr), 0);
		g->has[i] = i < n;
	}
	assert_int_equal(plan_state_new(&sizes, &g->s), 0);
}

/* 1 + number of the backend that has an index; 0 = none has. */
static void who_is_who(const struct edge *g, uint32_t who[64])
{
	memset(who, 0, 64 * sizeof(*who));
	for (uint32_t i = 0; i < N; i++) {
		char key[MODEL_KEY_MAX];

		model_backend_key(&g->backend[i].backend, key);
		who[plan_backend_idx(g->s, &g->node[i].id, key)] = 1 + i;
	}
	who[0] = 0;
}

static void see(const struct edge *g, struct route_backend *backend, struct route_view *ret_view)
{
	*ret_view = (struct route_view){.node = g->node,
					.node_count = N,
					.service = &g->service,
					.service_count = 1,
					.backend = backend,
					.region = "fra"};
	for (size_t i = 0; i < N; i++)
		if (g->has[(i * 5 + g->shuffle) % N])
			backend[ret_view->backend_count++] = g->backend[(i * 5 + g->shuffle) % N];
}

/* Compute, diff, apply; what the rows say by name. */
static void step(struct edge *g, uint64_t after_ms)
{
	struct route_backend backend[N];
	struct plan_list l = {0};
	struct route_plan *routes;
	struct route_view view;
	uint32_t who[64];
	struct err e;

	g->now_ms += after_ms;
	see(g, backend, &view);
	assert_int_equal(route_compute(&view, &routes), 0);
	if (plan_diff(g->s, &view, routes, &g->node[0].id, g->now_ms, &l, &e))
		fail_msg("%s", e.text);
	g->last_ops = l.op_count;
	for (size_t i = 0; i < l.op_count; i++) {
		if (l.op[i].kind == PLAN_ROWS)
			memcpy(g->mem + l.op[i].idx, l.op[i].arg.rows,
			       l.op[i].count * sizeof(struct dp_row));
		if (l.op[i].kind == PLAN_SVC)
			g->svc = l.op[i].arg.svc;
	}
	plan_list_clear(&l);
	route_free(routes);
	g->rows_was = g->rows;
	memcpy(g->owner_was, g->owner, sizeof(g->owner));
	memcpy(g->prev_was, g->prev, sizeof(g->prev));
	g->rows = g->svc.rows;
	assert_true(g->rows <= ROWS_MAX);
	who_is_who(g, who);
	for (uint32_t i = 0; i < g->rows; i++) {
		const struct dp_row *row = &g->mem[DP_TABLE_OFFSET(g->svc.table) + i];

		assert_true(row->owner < sizes.backends && row->prev < sizes.backends);
		g->owner[i] = who[row->owner];
		g->prev[i] = who[row->prev];
		assert_int_not_equal(g->owner[i], 0);
		assert_true(!row->prev || g->prev[i]);
		assert_int_not_equal(g->owner[i], g->prev[i]);
	}
}

static uint32_t moved(const struct edge *g)
{
	uint32_t n = 0;

	assert_int_equal(g->rows, g->rows_was);
	for (uint32_t i = 0; i < g->rows; i++)
		n += g->owner[i] != g->owner_was[i];
	return n;
}

static uint32_t remembered(const struct edge *g)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < g->rows; i++)
		n += g->prev[i] != 0;
	return n;
}

/* Each row that moved names its owner until now, and no other row anything. */
static void check_all_named(const struct edge *g)
{
	for (uint32_t i = 0; i < g->rows; i++)
		assert_int_equal(g->prev[i], g->owner[i] == g->owner_was[i] ? 0 : g->owner_was[i]);
}

static void settle(struct edge *g)
{
	step(g, PLAN_PREV_MS + 1000);
	step(g, PLAN_REST_MS);
	assert_int_equal(remembered(g), 0);
}

/* ---- one change */

static void one_change(const char *name, void (*change)(struct edge *g), double due_share)
{
	struct edge g;
	double share;

	edge_init(&g, 10, 3);
	g.has[9] = false;
	g.backend[8].backend.is_draining = true;
	step(&g, 0);
	settle(&g);
	change(&g);
	step(&g, 1000);
	/* 9 and 10 are both 1,021 rows: see who is counted. */
	assert_int_equal(g.rows, 1021);
	share = (double)moved(&g) / g.rows;
	print_message("# %-22s %5.2f %% of rows moved, %5.2f %% are due; all of them name their "
		      "owner until now\n",
		      name, share * 100, due_share * 100);
	assert_true(share >= due_share * 0.9 && share <= due_share * 1.5 + 0.02);
	check_all_named(&g);
	plan_state_free(g.s);
}

static void change_join(struct edge *g)
{
	g->has[9] = true;
}
static void change_drain(struct edge *g)
{
	g->backend[2].backend.is_draining = true;
}
static void change_override(struct edge *g)
{
	g->backend[2].is_overridden = true;
}
static void change_recovery(struct edge *g)
{
	g->backend[8].backend.is_draining = false;
}
static void change_weight(struct edge *g)
{
	g->backend[2].backend.weight = 50;
}
static void change_suspect(struct edge *g)
{
	g->node[2].state = GOSSIP_SUSPECT;
}
static void change_left(struct edge *g)
{
	g->node[2].state = GOSSIP_LEFT;
}

static void test_diff_when_one_thing_changes_then_moved_rows_name_their_owner(void **state)
{
	(void)state;
	one_change("one joins", change_join, 1.0 / 9);
	one_change("one drains", change_drain, 1.0 / 8);
	one_change("one is drained", change_override, 1.0 / 8);
	one_change("one is back", change_recovery, 1.0 / 9);
	one_change("weight 100 -> 50", change_weight, 1.0 / 8 - 0.5 / 7.5);
	one_change("a node is suspect", change_suspect, 1.0 / 8);
	one_change("a node left", change_left, 1.0 / 8);
}

static void test_diff_when_owner_can_not_answer_then_it_is_not_named(void **state)
{
	for (int way = 0; way < 4; way++) {
		struct edge g;

		(void)state;
		edge_init(&g, 5, 0);
		step(&g, 0);
		if (way == 0)
			g.backend[2].health = MODEL_HEALTH_FAILING;
		else if (way == 1)
			g.node[2].state = GOSSIP_DEAD;
		else if (way == 2)
			g.has[2] = false;
		else
			g.node[2].node.has_forwarder = false;
		step(&g, 60000);
		for (uint32_t i = 0; i < g.rows; i++) {
			assert_int_not_equal(g.owner[i], 3);
			assert_int_not_equal(g.prev[i], 3);
			/* The few that moved between the living are. */
			if (g.owner_was[i] != 3 && g.owner[i] != g.owner_was[i])
				assert_int_equal(g.prev[i], g.owner_was[i]);
		}
		plan_state_free(g.s);
	}
}

/* Suspicion, then death: the rows forget the dead one, and stay where they are. */
static void test_diff_when_previous_owner_dies_then_it_is_forgotten(void **state)
{
	struct edge g;

	(void)state;
	edge_init(&g, 5, 0);
	step(&g, 0);
	g.node[2].state = GOSSIP_SUSPECT;
	step(&g, 60000);
	assert_true(remembered(&g) > 0);
	g.node[2].state = GOSSIP_DEAD;
	step(&g, 3000);
	assert_int_equal(moved(&g), 0);
	for (uint32_t i = 0; i < g.rows; i++)
		assert_int_not_equal(g.prev[i], 3);
	plan_state_free(g.s);
}

static void test_diff_when_lifetime_is_over_then_forgotten_and_due_says_when(void **state)
{
	struct edge g;
	uint64_t due;

	(void)state;
	edge_init(&g, 5, 0);
	step(&g, 0);
	assert_true(plan_due_ms(g.s) == UINT64_MAX);
	g.backend[1].backend.is_draining = true;
	step(&g, 60000);
	assert_true(remembered(&g) > 0);
	step(&g, PLAN_REST_MS);
	due = plan_due_ms(g.s);
	assert_in_range(due, g.now_ms + PLAN_PREV_MS - PLAN_REST_MS - 1000,
			g.now_ms + PLAN_PREV_MS);
	step(&g, due - 1000 - g.now_ms);
	assert_int_equal(g.last_ops, 0);
	step(&g, 1000);
	assert_int_equal(g.last_ops, 2); /* rows and the flip */
	assert_int_equal(remembered(&g), 0);
	assert_int_equal(moved(&g), 0);
	step(&g, PLAN_REST_MS);
	assert_true(plan_due_ms(g.s) == UINT64_MAX);
	plan_state_free(g.s);
}

/* ---- several changes */

static void test_diff_when_row_moves_again_soon_then_the_long_owner_is_kept(void **state)
{
	struct edge g;
	uint32_t long_owner[ROWS_MAX], twice = 0;

	(void)state;
	edge_init(&g, 6, 0);
	step(&g, 0);
	memcpy(long_owner, g.owner, sizeof(long_owner));
	g.backend[0].backend.is_draining = true;
	step(&g, 60000);
	g.backend[1].backend.is_draining = true;
	step(&g, PLAN_SETTLE_MS - 1000);
	for (uint32_t i = 0; i < g.rows; i++) {
		if (long_owner[i] == 1 && g.owner_was[i] == 2) {
			assert_int_equal(g.prev[i], 1);
			twice++;
		}
		if (long_owner[i] == 2)
			assert_int_equal(g.prev[i], 2);
	}
	assert_true(twice > 10);
	plan_state_free(g.s);

	/* Later the one in between has most of them. */
	edge_init(&g, 6, 0);
	step(&g, 0);
	g.backend[0].backend.is_draining = true;
	step(&g, 60000);
	g.backend[1].backend.is_draining = true;
	step(&g, PLAN_SETTLE_MS + 1000);
	for (uint32_t i = 0; i < g.rows; i++)
		if (long_owner[i] == 1 && g.owner_was[i] == 2)
			assert_int_equal(g.prev[i], 2);
	/* The one in between dies: who was there before it is gone from the row. */
	g.backend[1].health = MODEL_HEALTH_FAILING;
	step(&g, 1000);
	for (uint32_t i = 0; i < g.rows; i++)
		assert_int_not_equal(g.prev[i], 2);
	plan_state_free(g.s);
}

static void test_diff_when_owner_was_away_briefly_then_it_is_the_long_one_again(void **state)
{
	struct edge g;
	uint32_t first[ROWS_MAX], taken = 0;

	(void)state;
	edge_init(&g, 6, 0);
	step(&g, 0);
	memcpy(first, g.owner, sizeof(first));
	g.node[2].state = GOSSIP_SUSPECT;
	step(&g, 60000);
	g.node[2].state = GOSSIP_ALIVE;
	step(&g, 4000);
	/* As before; rows that were elsewhere remember where. */
	for (uint32_t i = 0; i < g.rows; i++) {
		assert_int_equal(g.owner[i], first[i]);
		assert_int_equal(g.prev[i], g.owner_was[i] == first[i] ? 0 : g.owner_was[i]);
	}
	g.backend[2].backend.is_draining = true;
	step(&g, 4000);
	for (uint32_t i = 0; i < g.rows; i++)
		if (first[i] == 3)
			assert_int_equal(g.prev[i], 3);
	plan_state_free(g.s);

	/* What takes a row from it right after it is back is not told of the one in between. */
	edge_init(&g, 6, 0);
	step(&g, 0);
	g.node[2].state = GOSSIP_SUSPECT;
	step(&g, 60000);
	g.node[2].state = GOSSIP_ALIVE;
	step(&g, 4000);
	g.has[6] = true;
	step(&g, 4000);
	for (uint32_t i = 0; i < g.rows; i++) {
		if (first[i] != 3 || g.owner[i] == 3)
			continue;
		assert_int_equal(g.prev[i], 3);
		taken++;
	}
	assert_true(taken > 10);
	plan_state_free(g.s);
}

/* 251 rows become 1,021: the old owner of a hash is that of its place in the old table. */
static void test_diff_when_table_grows_then_rows_inherit_by_place(void **state)
{
	struct edge g;

	(void)state;
	edge_init(&g, 2, 0);
	step(&g, 0);
	assert_int_equal(g.rows, 251);
	g.has[2] = true;
	step(&g, 60000);
	assert_int_equal(g.rows, 1021);
	for (uint32_t i = 0; i < g.rows; i++) {
		uint32_t was = g.owner_was[(uint64_t)i * 251 / 1021];

		assert_int_equal(g.prev[i], g.owner[i] == was ? 0 : was);
	}
	plan_state_free(g.s);

	/* One alone has one row; a second one joins. */
	edge_init(&g, 1, 0);
	step(&g, 0);
	assert_int_equal(g.rows, 1);
	g.has[1] = true;
	step(&g, 60000);
	assert_int_equal(g.rows, 251);
	for (uint32_t i = 0; i < g.rows; i++)
		assert_int_equal(g.prev[i], g.owner[i] == 1 ? 0 : 1);
	plan_state_free(g.s);
}

/* ---- restart, and another edge */

static void restart(struct edge *g)
{
	static struct dp_node node[64];
	static uint64_t backend[64];
	static struct dp_svc svc[4];
	static uint32_t dir[8 * 256], page[8 * 256], slot[DP_VIP_SLOTS];
	static struct dp_vip vip[8];
	struct plan_image image = {.sizes = sizes,
				   .node = node,
				   .backend = backend,
				   .svc = svc,
				   .row = g->mem,
				   .portdir = dir,
				   .portpage = page,
				   .vip = vip,
				   .vipslot = slot};
	struct route_backend seen[N];
	struct route_view view;

	memset(node, 0, sizeof(node));
	memset(backend, 0, sizeof(backend));
	memset(svc, 0, sizeof(svc));
	see(g, seen, &view);
	for (size_t i = 0; i < N; i++) {
		uint32_t node_idx = plan_node_idx(g->s, &g->node[i].id), idx;
		char key[MODEL_KEY_MAX];

		node[node_idx] = (struct dp_node){.state = DP_NODE_UP,
						  .node_num = plan_node_num(&g->node[i].id)};
		memcpy(node[node_idx].addr, g->node[i].node.mesh_addr.b, 16);
		model_backend_key(&g->backend[i].backend, key);
		idx = plan_backend_idx(g->s, &g->node[i].id, key);
		if (idx)
			backend[idx] = DP_BE_WORD(DP_BE_UP, node_idx, g->backend[i].backend.token);
	}
	svc[plan_svc_idx(g->s, "dns", 4, (struct ip_port_range){0})] = g->svc;
	plan_state_free(g->s);
	assert_int_equal(plan_state_new(&sizes, &g->s), 0);
	assert_int_equal(plan_adopt(g->s, &image, &view, g->now_ms), 0);
}

static void test_adopt_when_rows_remember_then_they_still_do(void **state)
{
	struct edge g;
	uint64_t table;

	(void)state;
	edge_init(&g, 5, 0);
	step(&g, 0);
	g.backend[1].backend.is_draining = true;
	step(&g, 60000);
	table = g.svc.table;
	g.now_ms = 5000; /* the machine was started anew, too */
	restart(&g);
	step(&g, 0);
	assert_true(g.svc.table == table);
	assert_memory_equal(g.prev, g.prev_was, sizeof(g.prev));
	assert_true(remembered(&g) > 0);
	step(&g, PLAN_PREV_MS - 2000);
	assert_true(g.svc.table == table);
	step(&g, 2000);
	assert_int_equal(remembered(&g), 0);
	plan_state_free(g.s);
}

static unsigned int seed;

static unsigned int rnd(unsigned int n)
{
	return (unsigned int)rand_r(&seed) % n;
}

static void random_change(struct edge *a, struct edge *b, unsigned int what, unsigned int i,
			  unsigned int value)
{
	static const enum gossip_state states[] = {GOSSIP_ALIVE, GOSSIP_ALIVE, GOSSIP_SUSPECT,
						   GOSSIP_DEAD, GOSSIP_LEFT};
	struct edge *g = a;

	for (int k = 0; k < 2; k++, g = b) {
		switch (what) {
		case 0:
			g->node[i].state = states[value % 5];
			break;
		case 1:
			g->backend[i].backend.is_draining = value & 1;
			break;
		case 2:
			g->backend[i].backend.weight = (uint16_t)(50 + value % 3 * 50);
			break;
		case 3:
			g->backend[i].health =
				value % 4 ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING;
			break;
		default:
			g->has[i] = value % 3;
		}
	}
}

static void test_diff_when_two_edges_saw_the_same_then_the_same_names(void **state)
{
	const char *env = getenv("SEED");
	unsigned int first = env ? (unsigned int)strtoul(env, NULL, 10) : 1;
	size_t rows = 0;

	(void)state;
	for (unsigned int i = first; i < (env ? first + 1 : first + 5); i++) {
		static struct edge a, b;

		seed = i;
		edge_init(&a, 6, 0);
		edge_init(&b, 6, 7);
		/* Other indexes: one of them saw another world before. */
		b.has[7] = b.has[0] = true;
		step(&b, 0);
		b.has[7] = false;
		step(&b, 1000);
		settle(&b);
		a.now_ms = b.now_ms;
		b.now_ms += 3600000; /* another clock */
		step(&a, 0);
		for (size_t round = 0; round < 60; round++) {
			struct plan_prev pa, pb;
			uint64_t after = 1000u * (rnd(4) ? rnd(40) : rnd(1000));

			random_change(&a, &b, rnd(5), rnd(N - 1), rnd(1000));
			step(&a, after);
			step(&b, after);
			assert_int_equal(a.rows, b.rows);
			if (memcmp(a.owner, b.owner, sizeof(a.owner)) ||
			    memcmp(a.prev, b.prev, a.rows * sizeof(a.prev[0])))
				fail_msg("SEED=%u round %zu: two edges differ", i, round);
			assert_int_equal(
				plan_prev_digest(a.s, "dns", 4, (struct ip_port_range){0}, &pa), 0);
			assert_int_equal(
				plan_prev_digest(b.s, "dns", 4, (struct ip_port_range){0}, &pb), 0);
			assert_memory_equal(&pa, &pb, sizeof(pa));
			assert_int_equal(pa.row_count, remembered(&a));
			rows += pa.row_count;
			assert_int_equal(
				plan_prev_digest(a.s, "dns", 6, (struct ip_port_range){0}, &pa),
				-ENOENT);
		}
		plan_state_free(a.s);
		plan_state_free(b.s);
	}
	print_message("# %zu rows remembered, the same on both edges\n", rows);
	assert_true(rows > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_diff_when_one_thing_changes_then_moved_rows_name_their_owner),
		cmocka_unit_test(test_diff_when_owner_can_not_answer_then_it_is_not_named),
		cmocka_unit_test(test_diff_when_previous_owner_dies_then_it_is_forgotten),
		cmocka_unit_test(test_diff_when_lifetime_is_over_then_forgotten_and_due_says_when),
		cmocka_unit_test(test_diff_when_row_moves_again_soon_then_the_long_owner_is_kept),
		cmocka_unit_test(
			test_diff_when_owner_was_away_briefly_then_it_is_the_long_one_again),
		cmocka_unit_test(test_diff_when_table_grows_then_rows_inherit_by_place),
		cmocka_unit_test(test_adopt_when_rows_remember_then_they_still_do),
		cmocka_unit_test(test_diff_when_two_edges_saw_the_same_then_the_same_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
