/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "edge/whatif.h"

#define NODES 4 /* two in fra, two in ams, one backend each */

struct world {
	struct route_node node[NODES];
	struct model_service service;
	struct route_backend backend[NODES];
	struct route_view view;
};

static void build(struct world *w)
{
	*w = (struct world){0};
	for (size_t i = 0; i < NODES; i++) {
		struct route_node *n = &w->node[i];
		struct route_backend *b = &w->backend[i];

		*n = (struct route_node){.id = {{(uint8_t)(i + 1), 9}},
					 .node = {.has_forwarder = true, .is_worker = true},
					 .state = GOSSIP_ALIVE};
		snprintf(n->node.name, sizeof(n->node.name), "n%zu", i);
		snprintf(n->node.region, sizeof(n->node.region), "%s", i < 2 ? "fra" : "ams");
		*b = (struct route_backend){.node_idx = i, .health = MODEL_HEALTH_PASSING};
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
	w->view = (struct route_view){.node = w->node,
				      .node_count = NODES,
				      .service = &w->service,
				      .service_count = 1,
				      .backend = w->backend,
				      .backend_count = NODES,
				      .region = "fra",
				      .order = {"ams"},
				      .order_count = 1};
}

static void test_whatif_when_something_dies_then_its_rows_go_elsewhere(void **state)
{
	static const struct {
		const char *kill[2];
		unsigned fra_pct, ams_pct, n1_pct;
	} row[] = {
		{{NULL}, 100, 0, 50},
		{{"region:ams"}, 100, 0, 50},
		{{"node:n0"}, 100, 0, 100},
		{{"backend:n0/dns/10.0.0.1:53"}, 100, 0, 100},
		{{"region:fra"}, 0, 100, 0},
		{{"node:n0", "node:n1"}, 0, 100, 0},
		{{"region:fra", "region:ams"}, 0, 0, 0},
	};
	struct world w, before;

	(void)state;
	build(&w);
	before = w;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		size_t count = 0;
		struct whatif what;
		struct err e = {0};

		while (count < 2 && row[i].kill[count])
			count++;
		assert_int_equal(whatif_compute(&w.view, row[i].kill, count, &what, &e), 0);
		const struct route_entry *en = &what.routes->entry[0];
		uint32_t all = en->row_count ? en->row_count : 1;

		assert_in_range(100 * whatif_rows_region(&what.view, en, "fra") / all + 1,
				row[i].fra_pct, row[i].fra_pct + 1);
		assert_in_range(100 * whatif_rows_region(&what.view, en, "ams") / all + 1,
				row[i].ams_pct, row[i].ams_pct + 1);
		assert_in_range(100 * whatif_rows_backend(en, 1) / all + 1, row[i].n1_pct,
				row[i].n1_pct + 2);
		whatif_free(&what);
	}
	assert_memory_equal(before.node, w.node, sizeof(w.node));
	assert_memory_equal(before.backend, w.backend, sizeof(w.backend));
}

static void test_whatif_when_word_is_wrong_then_it_is_named(void **state)
{
	static const struct {
		const char *kill, *want;
		int rc;
	} row[] = {
		{"fra", "plan: kill: got 'fra', want region:NAME", -EINVAL},
		{"", "plan: kill: got '', want", -EINVAL},
		{"region:nowhere", "plan: kill: region:nowhere is not known here", -ENOENT},
		{"node:n9", "plan: kill: node:n9 is not known", -ENOENT},
		{"backend:n0/dns/10.0.0.1:54", "backend:n0/dns/10.0.0.1:54 is not known", -ENOENT},
	};
	struct world w;

	(void)state;
	build(&w);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct whatif what;
		struct err e = {0};

		assert_int_equal(whatif_compute(&w.view, &row[i].kill, 1, &what, &e), row[i].rc);
		if (!strstr(e.text, row[i].want))
			fail_msg("got '%s', want '%s'", e.text, row[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whatif_when_something_dies_then_its_rows_go_elsewhere),
		cmocka_unit_test(test_whatif_when_word_is_wrong_then_it_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
