/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Shares of tiers and backends: spill, panic, slow start, nodes that carry less, local=prefer. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "edge/route.h"

#define PER_TIER 10
#define TIERS 3
#define ALL (PER_TIER * TIERS)

static const char *const regions[TIERS] = {"fra", "ams", "nyc"};

struct world {
	struct route_node node[ALL];
	struct model_service service;
	struct route_backend backend[ALL];
	struct route_view view;
};

/* Ten backends of weight 100 in each of three regions; of region k only usable[k] pass. */
static void build(struct world *w, uint8_t spill_pct, const size_t usable[TIERS])
{
	*w = (struct world){0};
	for (size_t i = 0; i < ALL; i++) {
		struct route_node *n = &w->node[i];
		struct route_backend *b = &w->backend[i];

		*n = (struct route_node){.id = {{(uint8_t)(i + 1), 9}},
					 .node = {.has_forwarder = true, .is_worker = true},
					 .state = GOSSIP_ALIVE};
		snprintf(n->node.region, sizeof(n->node.region), "%s", regions[i / PER_TIER]);
		*b = (struct route_backend){.node_idx = i,
					    .health = i % PER_TIER < usable[i / PER_TIER]
							      ? MODEL_HEALTH_PASSING
							      : MODEL_HEALTH_FAILING};
		snprintf(b->backend.service, sizeof(b->backend.service), "dns");
		assert_int_equal(ip_parse("10.0.0.1", &b->backend.addr), 0);
		b->backend.port = 53;
		b->backend.weight = 100;
		model_check_default(MODEL_CHECK_TCP, &b->backend.check);
	}
	snprintf(w->service.name, sizeof(w->service.name), "dns");
	assert_int_equal(ip_parse("192.0.2.53", &w->service.vip[0]), 0);
	w->service.vip_count = 1;
	w->service.port[0] = (struct model_port){IPPROTO_UDP, {53, 53}};
	w->service.port_count = 1;
	w->service.policy.spill_pct = spill_pct;
	w->view = (struct route_view){.node = w->node,
				      .node_count = ALL,
				      .service = &w->service,
				      .service_count = 1,
				      .backend = w->backend,
				      .backend_count = ALL,
				      .region = "fra",
				      .order = {"ams", "nyc"},
				      .order_count = 2};
}

/* Rows of each tier, in percent of all, rounded. */
static void rows(const struct world *w, unsigned ret_pct[TIERS])
{
	size_t count[TIERS] = {0};
	struct route_plan *p;

	assert_int_equal(route_compute(&w->view, &p), 0);
	assert_int_equal(p->entry_count, 1);
	for (uint32_t r = 0; r < p->entry[0].row_count; r++)
		count[p->entry[0].row[r] / PER_TIER]++;
	for (size_t k = 0; k < TIERS; k++)
		ret_pct[k] = p->entry[0].row_count
				     ? (unsigned)((100 * count[k] + p->entry[0].row_count / 2) /
						  p->entry[0].row_count)
				     : 0;
	route_free(p);
}

static void test_share_when_usable_weight_is_short_then_next_tiers_get_the_rest(void **state)
{
	static const struct {
		uint8_t spill;
		size_t usable[TIERS];
		unsigned want[TIERS];
	} row[] = {
		{0, {10, 10, 10}, {100, 0, 0}},
		{0, {1, 10, 10}, {100, 0, 0}},
		{0, {0, 10, 10}, {0, 100, 0}},
		{70, {10, 10, 10}, {100, 0, 0}},
		{70, {7, 10, 10}, {100, 0, 0}},
		{70, {6, 10, 10}, {86, 14, 0}},
		{70, {1, 10, 10}, {14, 86, 0}},
		{70, {0, 10, 10}, {0, 100, 0}},
		{100, {9, 10, 10}, {90, 10, 0}},
		{100, {5, 5, 10}, {50, 25, 25}},
		/* Short everywhere: what nobody could take is shared as the rest is. */
		{100, {5, 5, 0}, {67, 33, 0}},
		{100, {0, 0, 0}, {0, 0, 0}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct world w;
		unsigned pct[TIERS];

		build(&w, row[i].spill, row[i].usable);
		rows(&w, pct);
		for (size_t k = 0; k < TIERS; k++)
			if (pct[k] + 1 < row[i].want[k] || pct[k] > row[i].want[k] + 1)
				fail_msg("row %zu: got %u %u %u, want %u %u %u", i, pct[0], pct[1],
					 pct[2], row[i].want[0], row[i].want[1], row[i].want[2]);
	}
}

/* A tier that shares within itself by weight does so when it spills, too. */
/* What of the rows the k-th region has, in percent. */
static unsigned int pct_of(const struct world *w, const struct route_plan *p, size_t k)
{
	size_t n = 0;

	for (uint32_t i = 0; i < p->entry[0].row_count; i++)
		n += w->backend[p->entry[0].row[i]].node_idx / PER_TIER == k;
	return (unsigned int)((100 * n + p->entry[0].row_count / 2) / p->entry[0].row_count);
}

static void test_share_when_a_summary_names_some_of_many_then_all_count(void **state)
{
	static const struct route_capacity half = {"dns", "fra", 5000, 10000};
	const size_t usable[TIERS] = {PER_TIER, PER_TIER, PER_TIER};
	struct route_plan *p;
	struct world w;

	(void)state;
	build(&w, 100, usable);
	snprintf(w.view.region, sizeof(w.view.region), "sin");
	snprintf(w.view.order[0], sizeof(w.view.order[0]), "fra");
	w.view.order_count = 1;
	w.view.capacity = &half;
	w.view.capacity_count = 1;
	assert_int_equal(route_compute(&w.view, &p), 0);
	assert_int_equal(pct_of(&w, p, 0), 100); /* its own records say what it has */
	route_free(p);
	for (size_t i = 0; i < PER_TIER; i++)
		w.node[i].is_summary = true;
	assert_int_equal(route_compute(&w.view, &p), 0);
	assert_in_range(pct_of(&w, p, 0), 48, 52);
	route_free(p);
	/* Of those that are named, half are on nodes that are down: known to be missing. */
	for (size_t i = 0; i < PER_TIER / 2; i++)
		w.node[i].state = GOSSIP_SUSPECT;
	assert_int_equal(route_compute(&w.view, &p), 0);
	assert_in_range(pct_of(&w, p, 0), 43, 47);
	route_free(p);
}

static void test_share_when_spilling_then_weights_hold_within_a_tier(void **state)
{
	static const size_t usable[TIERS] = {4, 10, 10};
	size_t heavy = 0, light = 0;
	struct route_plan *p;
	struct world w;

	(void)state;
	build(&w, 100, usable);
	w.backend[0].backend.weight = 400;
	assert_int_equal(route_compute(&w.view, &p), 0);
	for (uint32_t r = 0; r < p->entry[0].row_count; r++) {
		heavy += p->entry[0].row[r] == 0;
		light += p->entry[0].row[r] == 1;
	}
	if (heavy < 39 * light / 10 || heavy > 41 * light / 10)
		fail_msg("weight 400 got %zu rows, 100 got %zu", heavy, light);
	route_free(p);
}

/* Fifty edges decide at once from the same records, whatever order those came in: one table, and the next round changes
 * nothing, for nothing that is decided is an input. */
static void test_share_when_all_edges_decide_then_one_table(void **state)
{
	static const size_t usable[TIERS] = {5, 9, 10};
	uint8_t first[16], other[16];
	struct world w, v;
	struct route_plan *p;

	(void)state;
	build(&w, 90, usable);
	assert_int_equal(route_compute(&w.view, &p), 0);
	route_digest(&w.view, &p->entry[0], first);
	route_free(p);
	for (unsigned edge = 0; edge < 50; edge++) {
		v = w;
		v.view.backend = v.backend;
		v.view.node = v.node;
		v.view.service = &v.service;
		for (size_t i = 0; i < ALL; i++)
			v.backend[i] = w.backend[(i * 7 + edge) % ALL];
		assert_int_equal(route_compute(&v.view, &p), 0);
		route_digest(&v.view, &p->entry[0], other);
		assert_memory_equal(first, other, sizeof(first));
		route_free(p);
	}
}

static void expect_tiers(const struct world *w, const unsigned want[TIERS])
{
	unsigned pct[TIERS];

	rows(w, pct);
	for (size_t k = 0; k < TIERS; k++)
		if (pct[k] + 1 < want[k] || pct[k] > want[k] + 1)
			fail_msg("got %u %u %u, want %u %u %u", pct[0], pct[1], pct[2], want[0],
				 want[1], want[2]);
}

/* Rows of backends a and b, one to the other, in percent. */
static unsigned ratio(const struct world *w, size_t a, size_t b)
{
	size_t count[ALL] = {0};
	struct route_plan *p;

	assert_int_equal(route_compute(&w->view, &p), 0);
	for (uint32_t r = 0; r < p->entry[0].row_count; r++)
		count[p->entry[0].row[r]]++;
	route_free(p);
	assert_true(count[b] > 0);
	return (unsigned)(100 * count[a] / count[b]);
}

static void test_panic_when_few_pass_then_those_that_fail_are_used_the_more_the_fewer(void **state)
{
	static const struct {
		uint8_t panic;
		bool is_gone;
		size_t usable[TIERS];
		unsigned want[TIERS];
	} row[] = {
		{0, false, {0, 0, 10}, {0, 0, 100}},
		{0, false, {0, 0, 0}, {0, 0, 0}},
		{50, false, {0, 0, 0}, {100, 0, 0}},
		{50, false, {10, 5, 0}, {100, 0, 0}},
		{50, false, {0, 10, 5}, {0, 100, 0}},
		/* A third passes, far away: a third of the rest's weight is tried on the way there. */
		{50, false, {0, 0, 10}, {33, 22, 45}},
		{50, true, {0, 0, 10}, {0, 0, 100}},
		{50, true, {0, 0, 0}, {0, 0, 0}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct world w;

		build(&w, 0, row[i].usable);
		w.service.policy.panic_pct = row[i].panic;
		for (size_t k = 0; k < ALL; k++)
			w.backend[k].is_gone =
				row[i].is_gone && w.backend[k].health == MODEL_HEALTH_FAILING;
		expect_tiers(&w, row[i].want);
	}
}

static void test_panic_when_some_pass_then_others_get_less(void **state)
{
	struct world w;

	(void)state;
	build(&w, 0, (const size_t[]){5, 0, 0});
	w.service.policy.panic_pct = 50;
	assert_in_range(ratio(&w, 9, 0), 62, 70); /* (50 - 16.7) / 50 */
	w.backend[9].is_overridden = true;
	w.node[8].state = GOSSIP_SUSPECT;
	assert_int_equal(ratio(&w, 9, 0), 0);
	assert_int_equal(ratio(&w, 8, 0), 0);
}

static void test_share_when_backend_or_node_counts_in_part_then_fewer_rows(void **state)
{
	struct world w;

	(void)state;
	build(&w, 0, (const size_t[]){10, 10, 10});
	w.backend[3].share_pct = 25;
	w.node[4].share_pct = 50;
	w.backend[5].share_pct = 50;
	w.node[5].share_pct = 50;
	assert_in_range(ratio(&w, 3, 0), 22, 28);
	assert_in_range(ratio(&w, 4, 0), 46, 54);
	assert_in_range(ratio(&w, 5, 0), 22, 28);
	assert_in_range(ratio(&w, 1, 0), 95, 105);
	/* Its tier is short of it. */
	w.service.policy.spill_pct = 100;
	expect_tiers(&w, (const unsigned[]){80, 20, 0});
}

static void test_local_when_preferred_then_own_backends_serve_alone(void **state)
{
	struct route_choice *c;
	struct route_plan *p;
	struct world w;

	(void)state;
	build(&w, 0, (const size_t[]){10, 10, 10});
	w.service.policy.is_local = 1;
	w.view.self = w.node[12].id; /* in another region than the view's, even */
	assert_int_equal(route_compute(&w.view, &p), 0);
	assert_int_equal(p->entry[0].used_count, 1);
	c = &p->entry[0].choice[0];
	assert_int_equal(c->backend_idx, 12);
	assert_int_equal(c->tier, 0);
	assert_int_equal(c[1].tier, 1);
	route_free(p);
	w.backend[12].health = MODEL_HEALTH_FAILING;
	expect_tiers(&w, (const unsigned[]){100, 0, 0});
	w.backend[12].health = MODEL_HEALTH_PASSING;
	w.service.policy.is_local = 0;
	expect_tiers(&w, (const unsigned[]){100, 0, 0});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_share_when_usable_weight_is_short_then_next_tiers_get_the_rest),
		cmocka_unit_test(test_share_when_a_summary_names_some_of_many_then_all_count),
		cmocka_unit_test(test_share_when_spilling_then_weights_hold_within_a_tier),
		cmocka_unit_test(
			test_panic_when_few_pass_then_those_that_fail_are_used_the_more_the_fewer),
		cmocka_unit_test(test_panic_when_some_pass_then_others_get_less),
		cmocka_unit_test(test_share_when_backend_or_node_counts_in_part_then_fewer_rows),
		cmocka_unit_test(test_local_when_preferred_then_own_backends_serve_alone),
		cmocka_unit_test(test_share_when_all_edges_decide_then_one_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
