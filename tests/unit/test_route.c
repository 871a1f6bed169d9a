/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
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

#include "edge/route.h"
#include "edge/route_claims.h"

#define NODES 12
#define SERVICES 6
#define BACKENDS 40

struct world {
	struct route_node node[NODES];
	struct model_service service[SERVICES];
	struct route_backend backend[BACKENDS];
	struct route_view view;
};

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	if (ip_parse(text, &a))
		fail_msg("bad address %s", text);
	return a;
}

static void add_node(struct world *w, uint8_t id, const char *region)
{
	struct route_node *n = &w->node[w->view.node_count++];

	*n = (struct route_node){.id = {{id, (uint8_t)(id * 7), 3}},
				 .node = {.has_forwarder = true, .is_worker = true},
				 .state = GOSSIP_ALIVE};
	snprintf(n->node.name, sizeof(n->node.name), "n%u", id);
	snprintf(n->node.region, sizeof(n->node.region), "%s", region);
	n->node.mesh_addr = addr("10.9.0.0");
	n->node.mesh_addr.b[15] = id;
}

static struct model_service *add_service(struct world *w, const char *name, const char *vip4,
					 const char *vip6, struct ip_port_range ports)
{
	struct model_service *s = &w->service[w->view.service_count++];

	*s = (struct model_service){.port = {{IPPROTO_UDP, ports}}, .port_count = 1, .created = 1};
	snprintf(s->name, sizeof(s->name), "%s", name);
	if (vip4)
		s->vip[s->vip_count++] = addr(vip4);
	if (vip6)
		s->vip[s->vip_count++] = addr(vip6);
	return s;
}

static struct route_backend *add_backend(struct world *w, size_t node_idx, const char *service,
					 const char *ip, uint16_t port)
{
	struct route_backend *b = &w->backend[w->view.backend_count++];

	*b = (struct route_backend){.node_idx = node_idx, .health = MODEL_HEALTH_PASSING};
	snprintf(b->backend.service, sizeof(b->backend.service), "%s", service);
	b->backend.addr = addr(ip);
	b->backend.port = port;
	b->backend.weight = 100;
	model_check_default(MODEL_CHECK_TCP, &b->backend.check);
	return b;
}

static void begin(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->view.node = w->node;
	w->view.service = w->service;
	w->view.backend = w->backend;
	snprintf(w->view.region, sizeof(w->view.region), "fra");
}

static const struct ip_port_range p53 = {53, 53};

/* The `why` of a backend of the only service. */
static enum route_why why_of(const struct route_entry *e, size_t backend_idx)
{
	for (size_t i = 0; i < e->choice_count; i++)
		if (e->choice[i].backend_idx == backend_idx)
			return e->choice[i].why;
	fail_msg("backend %zu not among the choices", backend_idx);
	return ROUTE_USED;
}

static void test_compute_when_backend_has_a_fault_then_why_says_it(void **state)
{
	static const struct {
		enum gossip_state state;
		bool has_forwarder, is_overridden, is_draining;
		enum model_check_kind check;
		enum model_health_state health;
		const char *ip;
		enum route_why why;
	} row[] = {
		{GOSSIP_ALIVE, 1, 0, 0, MODEL_CHECK_TCP, MODEL_HEALTH_PASSING, "10.0.0.1",
		 ROUTE_USED},
		{GOSSIP_HEADLESS, 1, 0, 0, MODEL_CHECK_TCP, MODEL_HEALTH_PASSING, "10.0.0.1",
		 ROUTE_USED},
		{GOSSIP_SUSPECT, 1, 0, 0, MODEL_CHECK_TCP, MODEL_HEALTH_PASSING, "10.0.0.1",
		 ROUTE_NODE_DOWN},
		{GOSSIP_DEAD, 1, 0, 0, MODEL_CHECK_TCP, MODEL_HEALTH_PASSING, "10.0.0.1",
		 ROUTE_NODE_DOWN},
		{GOSSIP_LEFT, 1, 0, 0, MODEL_CHECK_TCP, MODEL_HEALTH_PASSING, "10.0.0.1",
		 ROUTE_NODE_DOWN},
		{GOSSIP_ALIVE, 0, 0, 0, MODEL_CHECK_TCP, MODEL_HEALTH_PASSING, "10.0.0.1",
		 ROUTE_NO_FORWARDER},
		{GOSSIP_ALIVE, 1, 1, 0, MODEL_CHECK_TCP, MODEL_HEALTH_PASSING, "10.0.0.1",
		 ROUTE_OVERRIDDEN},
		{GOSSIP_ALIVE, 1, 0, 1, MODEL_CHECK_TCP, MODEL_HEALTH_PASSING, "10.0.0.1",
		 ROUTE_DRAINING},
		{GOSSIP_ALIVE, 1, 0, 0, MODEL_CHECK_TCP, MODEL_HEALTH_FAILING, "10.0.0.1",
		 ROUTE_UNHEALTHY},
		{GOSSIP_ALIVE, 1, 0, 0, MODEL_CHECK_UDP, MODEL_HEALTH_UNKNOWN, "10.0.0.1",
		 ROUTE_UNCHECKED},
		{GOSSIP_ALIVE, 1, 0, 0, MODEL_CHECK_NONE, MODEL_HEALTH_UNKNOWN, "10.0.0.1",
		 ROUTE_USED},
		{GOSSIP_ALIVE, 1, 0, 0, MODEL_CHECK_NONE, MODEL_HEALTH_FAILING, "10.0.0.1",
		 ROUTE_UNHEALTHY},
		{GOSSIP_ALIVE, 1, 0, 0, MODEL_CHECK_TCP, MODEL_HEALTH_PASSING, "2001:db8::1",
		 ROUTE_OTHER_FAMILY},
	};
	struct route_plan *plan;
	struct world w;

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct route_backend *b;

		begin(&w);
		add_node(&w, 1, "fra");
		add_service(&w, "dns", "192.0.2.1", NULL, p53);
		b = add_backend(&w, 0, "dns", row[i].ip, 53);
		w.node[0].state = row[i].state;
		w.node[0].node.has_forwarder = row[i].has_forwarder;
		b->is_overridden = row[i].is_overridden;
		b->backend.is_draining = row[i].is_draining;
		model_check_default(row[i].check, &b->backend.check);
		b->health = row[i].health;
		assert_int_equal(route_compute(&w.view, &plan), 0);
		assert_int_equal(plan->entry_count, 1);
		if (plan->entry[0].choice[0].why != row[i].why)
			fail_msg("row %zu: %s", i, route_why_text(plan->entry[0].choice[0].why));
		assert_int_equal(plan->entry[0].row_count, row[i].why == ROUTE_USED ? 1 : 0);
		route_free(plan);
	}
}

/* Who drains, fails or takes over changes no table's size. */
static void test_compute_when_backends_fail_then_size_stays(void **state)
{
	struct route_plan *plan;
	struct world w;

	(void)state;
	begin(&w);
	add_node(&w, 1, "fra");
	add_node(&w, 2, "ams");
	add_service(&w, "dns", "192.0.2.1", NULL, p53);
	for (uint16_t i = 0; i < 11; i++)
		add_backend(&w, 0, "dns", "10.0.0.1", (uint16_t)(53 + i));
	for (uint16_t i = 0; i < 2; i++)
		add_backend(&w, 1, "dns", "10.0.0.1", (uint16_t)(53 + i));
	for (size_t fail = 0; fail < 12; fail++) {
		assert_int_equal(route_compute(&w.view, &plan), 0);
		assert_int_equal(plan->entry[0].row_count, 4099);
		route_free(plan);
		w.backend[fail].health = MODEL_HEALTH_FAILING;
	}
	w.service[0].policy.rows = 16381;
	assert_int_equal(route_compute(&w.view, &plan), 0);
	assert_int_equal(plan->entry[0].row_count, 16381);
	assert_int_equal(plan->entry[0].size_class, 3);
	route_free(plan);
}

static void test_compute_when_ports_overflow_then_not_used(void **state)
{
	struct route_plan *plan;
	struct world w;

	(void)state;
	begin(&w);
	add_node(&w, 1, "fra");
	add_service(&w, "rtp", "192.0.2.1", NULL, (struct ip_port_range){10000, 10999});
	add_backend(&w, 0, "rtp", "10.0.0.1", 64536);
	add_backend(&w, 0, "rtp", "10.0.0.1", 64537);
	assert_int_equal(route_compute(&w.view, &plan), 0);
	assert_int_equal(why_of(&plan->entry[0], 0), ROUTE_USED);
	assert_int_equal(why_of(&plan->entry[0], 1), ROUTE_PORT_OVERFLOW);
	route_free(plan);
}

static void tiers_world(struct world *w)
{
	static const char *const region[] = {"fra", "ams", "nyc", "sin", "lax"};

	begin(w);
	/* lax and ams are not in the order: they come after it, by name. */
	snprintf(w->view.order[0], MODEL_NAME_MAX, "sin");
	snprintf(w->view.order[1], MODEL_NAME_MAX, "nyc");
	w->view.order_count = 2;
	add_service(w, "dns", "192.0.2.1", NULL, p53);
	for (uint8_t i = 0; i < 5; i++) {
		add_node(w, (uint8_t)(i + 1), region[i]);
		add_backend(w, i, "dns", "10.0.0.1", 53);
	}
}

static void test_compute_when_tiers_fail_one_by_one_then_next_in_order_serves(void **state)
{
	static const size_t order[] = {0 /* fra */, 3 /* sin */, 2 /* nyc */, 1 /* ams */,
				       4 /* lax */};
	struct route_plan *plan;
	struct world w;

	(void)state;
	tiers_world(&w);
	for (size_t dead = 0; dead <= 5; dead++) {
		assert_int_equal(route_compute(&w.view, &plan), 0);
		for (size_t i = 0; i < 5; i++) {
			assert_int_equal(plan->entry[0].choice[i].backend_idx, order[i]);
			assert_int_equal(plan->entry[0].choice[i].tier, i);
			assert_int_equal(plan->entry[0].choice[i].why,
					 i < dead    ? ROUTE_UNHEALTHY
					 : i == dead ? ROUTE_USED
						     : ROUTE_FARTHER_TIER);
		}
		for (uint32_t r = 0; r < plan->entry[0].row_count; r++)
			assert_int_equal(plan->entry[0].row[r], order[dead]);
		assert_int_equal(plan->entry[0].row_count, dead < 5 ? 251 : 0);
		route_free(plan);
		if (dead < 5)
			w.backend[order[dead]].health = MODEL_HEALTH_FAILING;
	}
}

static void test_compute_when_service_has_two_families_then_two_entries(void **state)
{
	struct route_plan *plan;
	struct world w;

	(void)state;
	begin(&w);
	add_node(&w, 1, "fra");
	add_service(&w, "web", NULL, "2001:db8::80", (struct ip_port_range){80, 80});
	add_service(&w, "dns", "192.0.2.1", "2001:db8::53", p53);
	add_backend(&w, 0, "dns", "10.0.0.1", 53);
	add_backend(&w, 0, "dns", "2001:db8:1::1", 53);
	add_backend(&w, 0, "nobody", "10.0.0.1", 54); /* service unknown: ignored */
	assert_int_equal(route_compute(&w.view, &plan), 0);
	assert_int_equal(plan->entry_count, 3);
	assert_int_equal(plan->entry[0].service_idx, 1);
	assert_int_equal(plan->entry[0].family, 4);
	assert_int_equal(plan->entry[0].choice_count, 2);
	assert_int_equal(why_of(&plan->entry[0], 0), ROUTE_USED);
	assert_int_equal(why_of(&plan->entry[0], 1), ROUTE_OTHER_FAMILY);
	assert_int_equal(plan->entry[1].family, 6);
	assert_int_equal(plan->entry[1].row_count, 1); /* it is alone */
	assert_int_equal(plan->entry[1].row[0], 1);
	assert_int_equal(plan->entry[2].service_idx, 0);
	assert_int_equal(plan->entry[2].family, 6);
	assert_int_equal(plan->entry[2].choice_count, 0);
	assert_int_equal(plan->entry[2].row_count, 0);
	route_free(plan);
}

static void test_compute_when_backends_take_parts_then_an_entry_each(void **state)
{
	static const struct ip_port_range part[] = {{0, 0},	  {5000, 5999}, {6000, 6999},
						    {6000, 6999}, {6500, 7999}, {6600, 6700}};
	static const struct {
		struct ip_port_range part, served;
		uint16_t port_lo;
		size_t choices;
	} want[] = {
		{{0, 0}, {0, 0}, 5000, 2}, /* with the backend of the other family */
		{{5000, 5999}, {5000, 5999}, 5000, 1},
		{{6000, 6999}, {6000, 6999}, 6000, 2},
		{{6500, 7999}, {7000, 7999}, 6500, 1},
		{{6600, 6700}, {1, 0}, 6600, 1},
	};
	struct route_plan *plan;
	struct world w;

	(void)state;
	begin(&w);
	add_node(&w, 1, "fra");
	add_service(&w, "voice", "192.0.2.1", NULL, (struct ip_port_range){5000, 14999});
	for (uint16_t i = 0; i < 6; i++)
		add_backend(&w, 0, "voice", "10.0.0.1", (uint16_t)(1000 + i))->backend.ports =
			part[i];
	add_backend(&w, 0, "voice", "2001:db8::1", 53)->backend.ports = part[1];
	assert_int_equal(route_compute(&w.view, &plan), 0);
	assert_int_equal(plan->entry_count, 5);
	for (size_t i = 0; i < 5; i++) {
		const struct route_entry *e = &plan->entry[i];

		assert_memory_equal(&e->part, &want[i].part, sizeof(e->part));
		assert_memory_equal(&e->served, &want[i].served, sizeof(e->served));
		assert_int_equal(e->port_lo, want[i].port_lo);
		assert_int_equal(e->choice_count, want[i].choices);
		assert_int_equal(e->row_count, i == 2 ? 251 : 1);
	}
	assert_int_equal(why_of(&plan->entry[0], 6), ROUTE_OTHER_FAMILY);
	route_free(plan);
	/* A part's ports must fit, not the service's; and a part whose backends are down stays one. */
	w.backend[1].backend.port = 64536;
	w.backend[4].backend.port = 64537;
	w.backend[2].health = w.backend[3].health = MODEL_HEALTH_FAILING;
	assert_int_equal(route_compute(&w.view, &plan), 0);
	assert_int_equal(plan->entry_count, 5);
	assert_int_equal(why_of(&plan->entry[1], 1), ROUTE_USED);
	assert_int_equal(plan->entry[2].row_count, 0);
	assert_int_equal(why_of(&plan->entry[3], 4), ROUTE_PORT_OVERFLOW);
	route_free(plan);
}

static void test_compute_when_view_is_empty_then_empty_plan(void **state)
{
	struct route_plan *plan;
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(route_compute(&w.view, &plan), 0);
	assert_int_equal(plan->entry_count, 0);
	route_free(plan);
	add_backend(&w, 0, "dns", "10.0.0.1", 53); /* there is no node 0 */
	assert_int_equal(route_compute(&w.view, &plan), -EINVAL);
}

/* ---- the same from any order */

static void shuffle(void *base, size_t n, size_t size, uint32_t *perm, unsigned int *seed)
{
	uint8_t *b = base, tmp[1024];

	assert_true(size <= sizeof(tmp));
	for (uint32_t i = 0; i < n; i++)
		perm[i] = i;
	for (size_t i = n; i-- > 1;) {
		size_t j = (size_t)rand_r(seed) % (i + 1);
		uint32_t t = perm[i];

		perm[i] = perm[j];
		perm[j] = t;
		memcpy(tmp, b + i * size, size);
		memcpy(b + i * size, b + j * size, size);
		memcpy(b + j * size, tmp, size);
	}
}

static void big_world(struct world *w)
{
	static const char *const region[] = {"fra", "ams", "nyc"};
	static const char *const service[] = {"dns", "web", "voice"};
	char ip[32];

	begin(w);
	snprintf(w->view.order[0], MODEL_NAME_MAX, "nyc");
	w->view.order_count = 1;
	for (uint8_t i = 0; i < NODES; i++)
		add_node(w, (uint8_t)(200 - 13 * i), region[i % 3]);
	add_service(w, "dns", "192.0.2.1", "2001:db8::1", p53);
	add_service(w, "web", "192.0.2.2", NULL, (struct ip_port_range){80, 80});
	add_service(w, "voice", "192.0.2.1", NULL, (struct ip_port_range){40, 60})->created = 9;
	for (unsigned int i = 0; i < BACKENDS; i++) {
		snprintf(ip, sizeof(ip), i % 4 == 3 ? "2001:db8:1::%u" : "10.0.0.%u", i / 3);
		if (i < 3)
			snprintf(ip, sizeof(ip), "10.1.0.%u", i + 1);
		add_backend(w, (i * 5) % NODES, service[i % 3], ip, (uint16_t)(1000 + i / 20))
			->backend.weight = (uint16_t)(1 + i * 37 % 200);
		w->backend[i].health = i % 7 == 6 ? MODEL_HEALTH_FAILING : MODEL_HEALTH_PASSING;
	}
}

static void test_compute_when_view_is_shuffled_then_digests_are_the_same(void **state)
{
	uint32_t node_perm[NODES], back[NODES], perm[BACKENDS];
	uint8_t digest[8][16], d[16];
	struct route_plan *plan;
	unsigned int seed = 11;
	size_t rows = 0;
	struct world w;

	(void)state;
	big_world(&w);
	assert_int_equal(route_compute(&w.view, &plan), 0);
	assert_int_equal(plan->entry_count, 4);
	for (size_t i = 0; i < plan->entry_count; i++) {
		route_digest(&w.view, &plan->entry[i], digest[i]);
		rows += plan->entry[i].row_count;
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(digest[i], digest[j], 16);
	}
	assert_true(rows > 1000);
	route_free(plan);
	for (int round = 0; round < 50; round++) {
		shuffle(w.node, NODES, sizeof(w.node[0]), node_perm, &seed);
		for (uint32_t i = 0; i < NODES; i++)
			back[node_perm[i]] = i;
		for (size_t i = 0; i < BACKENDS; i++)
			w.backend[i].node_idx = back[w.backend[i].node_idx];
		shuffle(w.service, w.view.service_count, sizeof(w.service[0]), perm, &seed);
		shuffle(w.backend, BACKENDS, sizeof(w.backend[0]), perm, &seed);
		assert_int_equal(route_compute(&w.view, &plan), 0);
		for (size_t i = 0; i < plan->entry_count; i++) {
			route_digest(&w.view, &plan->entry[i], d);
			assert_memory_equal(d, digest[i], 16);
		}
		route_free(plan);
	}
}

static void test_digest_when_an_owner_or_weight_changes_then_differs(void **state)
{
	uint8_t before[16], after[16];
	struct route_plan *plan;
	struct world w;

	(void)state;
	tiers_world(&w);
	add_backend(&w, 0, "dns", "10.0.0.2", 53);
	assert_int_equal(route_compute(&w.view, &plan), 0);
	route_digest(&w.view, &plan->entry[0], before);
	route_free(plan);
	w.backend[0].backend.weight = 99;
	assert_int_equal(route_compute(&w.view, &plan), 0);
	route_digest(&w.view, &plan->entry[0], after);
	route_free(plan);
	assert_memory_not_equal(before, after, 16);
	/* What is not in the table does not matter: a farther backend's health. */
	w.backend[0].backend.weight = 100;
	w.backend[4].health = MODEL_HEALTH_FAILING;
	assert_int_equal(route_compute(&w.view, &plan), 0);
	route_digest(&w.view, &plan->entry[0], after);
	route_free(plan);
	assert_memory_equal(before, after, 16);
}

/* ---- clashes */

static void test_claims_when_ranges_overlap_then_lower_created_and_name_wins(void **state)
{
	static const struct {
		const char *name;
		uint64_t created_a, created_b;
		struct ip_port_range a, b;
		struct {
			uint16_t lo, hi;
			char who;
		} want[4];
		char shadowed; /* a, b or 0 */
	} row[] = {
		{"apart", 1, 2, {10, 20}, {21, 30}, {{10, 20, 'a'}, {21, 30, 'b'}}, 0},
		{"same, a older", 1, 2, {10, 20}, {10, 20}, {{10, 20, 'a'}}, 'b'},
		{"same, b older", 2, 1, {10, 20}, {10, 20}, {{10, 20, 'b'}}, 'a'},
		{"same, as old: by name", 5, 5, {10, 20}, {10, 20}, {{10, 20, 'a'}}, 'b'},
		{"b inside a, a older", 1, 2, {10, 30}, {15, 20}, {{10, 30, 'a'}}, 'b'},
		{"b inside a, b older",
		 2,
		 1,
		 {10, 30},
		 {15, 20},
		 {{10, 14, 'a'}, {15, 20, 'b'}, {21, 30, 'a'}},
		 'a'},
		{"overlap, a older", 1, 2, {10, 20}, {15, 30}, {{10, 20, 'a'}, {21, 30, 'b'}}, 'b'},
		{"overlap, b older", 2, 1, {10, 20}, {15, 30}, {{10, 14, 'a'}, {15, 30, 'b'}}, 'a'},
		{"touching end", 2, 1, {10, 20}, {20, 20}, {{10, 19, 'a'}, {20, 20, 'b'}}, 'a'},
		{"whole range", 1, 2, {1, 65535}, {65535, 65535}, {{1, 65535, 'a'}}, 'b'},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct route_claims c;
		struct world w;
		size_t n = 0;

		begin(&w);
		add_service(&w, "b", "192.0.2.1", NULL, row[i].b)->created = row[i].created_b;
		add_service(&w, "a", "192.0.2.1", "2001:db8::1", row[i].a)->created =
			row[i].created_a;
		/* On another VIP nothing clashes. */
		assert_int_equal(route_claims_compute(&w.view, &c), 0);
		for (size_t k = 0; k < c.claim_count; k++) {
			if (!ip_is_v4(&c.claim[k].vip)) {
				assert_int_equal(c.claim[k].service_idx, 1);
				continue;
			}
			if (n == 4 || c.claim[k].ports.lo != row[i].want[n].lo ||
			    c.claim[k].ports.hi != row[i].want[n].hi ||
			    c.claim[k].service_idx != (row[i].want[n].who == 'a'))
				fail_msg("%s: claim %zu", row[i].name, n);
			n++;
		}
		assert_true(n == 4 || row[i].want[n].lo == 0);
		assert_int_equal(c.shadowed[1], row[i].shadowed == 'a' ? ROUTE_SHADOWED_V4 : 0);
		assert_int_equal(c.shadowed[0], row[i].shadowed == 'b' ? ROUTE_SHADOWED_V4 : 0);
		route_claims_done(&c);
	}
}

/* Against painting port by port, the obvious way. */
static void test_claims_when_random_then_same_as_painting(void **state)
{
	static uint8_t owner[2][65536];
	unsigned int seed = 3;

	(void)state;
	for (int round = 0; round < 300; round++) {
		bool lost[SERVICES] = {false};
		struct route_claims c;
		struct world w;

		begin(&w);
		for (size_t s = 0; s < SERVICES; s++) {
			uint16_t lo = (uint16_t)(1 + rand_r(&seed) % 60);
			char name[] = {(char)('f' - s), 0};
			struct model_service *svc;

			svc = add_service(
				&w, name, "192.0.2.1", NULL,
				(struct ip_port_range){lo, (uint16_t)(lo + rand_r(&seed) % 20)});
			svc->created = (uint64_t)(rand_r(&seed) % 3);
			svc->port[1] = (struct model_port){
				IPPROTO_TCP, {lo, (uint16_t)(lo + rand_r(&seed) % 3)}};
			svc->port_count = 2;
		}
		memset(owner, 0xff, sizeof(owner));
		for (uint8_t s = 0; s < SERVICES; s++) {
			for (size_t p = 0; p < 2; p++) {
				for (uint32_t x = w.service[s].port[p].ports.lo;
				     x <= w.service[s].port[p].ports.hi; x++) {
					uint8_t o = owner[p][x];
					bool win =
						o == 0xff ||
						w.service[s].created < w.service[o].created ||
						(w.service[s].created == w.service[o].created &&
						 strcmp(w.service[s].name, w.service[o].name) < 0);

					if (o != 0xff)
						lost[win ? o : s] = true;
					if (win)
						owner[p][x] = s;
				}
			}
		}
		assert_int_equal(route_claims_compute(&w.view, &c), 0);
		for (size_t k = 0; k < c.claim_count; k++) {
			size_t p = c.claim[k].l4_proto == IPPROTO_TCP;

			for (uint32_t x = c.claim[k].ports.lo; x <= c.claim[k].ports.hi; x++) {
				assert_int_equal(owner[p][x], c.claim[k].service_idx);
				owner[p][x] = 0xff; /* each port once */
			}
		}
		for (size_t p = 0; p < 2; p++)
			for (uint32_t x = 0; x < 65536; x++)
				assert_int_equal(owner[p][x], 0xff);
		for (size_t s = 0; s < SERVICES; s++)
			assert_int_equal(c.shadowed[s], lost[s] ? ROUTE_SHADOWED_V4 : 0);
		route_claims_done(&c);
	}
}

static void test_compute_when_services_clash_then_loser_is_shadowed_everywhere(void **state)
{
	struct route_plan *plan;
	struct world w;

	(void)state;
	big_world(&w); /* voice wants 40-60 on dns's IPv4 VIP */
	assert_int_equal(route_compute(&w.view, &plan), 0);
	for (size_t i = 0; i < plan->entry_count; i++) {
		const char *name = w.service[plan->entry[i].service_idx].name;

		assert_int_equal(plan->entry[i].is_shadowed, strcmp(name, "voice") == 0);
	}
	route_free(plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compute_when_backend_has_a_fault_then_why_says_it),
		cmocka_unit_test(test_compute_when_backends_fail_then_size_stays),
		cmocka_unit_test(test_compute_when_ports_overflow_then_not_used),
		cmocka_unit_test(test_compute_when_tiers_fail_one_by_one_then_next_in_order_serves),
		cmocka_unit_test(test_compute_when_service_has_two_families_then_two_entries),
		cmocka_unit_test(test_compute_when_backends_take_parts_then_an_entry_each),
		cmocka_unit_test(test_compute_when_view_is_empty_then_empty_plan),
		cmocka_unit_test(test_compute_when_view_is_shuffled_then_digests_are_the_same),
		cmocka_unit_test(test_digest_when_an_owner_or_weight_changes_then_differs),
		cmocka_unit_test(test_claims_when_ranges_overlap_then_lower_created_and_name_wins),
		cmocka_unit_test(test_claims_when_random_then_same_as_painting),
		cmocka_unit_test(
			test_compute_when_services_clash_then_loser_is_shadowed_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
