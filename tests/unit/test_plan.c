/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Single changes of a small world, and the list of operations that each makes. */
#include "edge/plan_priv.h"
#include "tests/unit/plan_world.h"

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
		w->backend[i].backend.ports = (struct ip_port_range){0};
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
	assert_int_equal(count_kind(&l, PLAN_VIP), 1);
	assert_int_equal(count_kind(&l, PLAN_VIP_SLOT), 1);
	assert_int_equal(l.op_count, NODES + 10);
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
	assert_int_equal(l.op[0].arg.node.state, DP_NODE_SUSPECT);
	plan_list_clear(&l);
	plan_state_free(s);
}

/* No packet needs a substitute: the tables do without the node before its word says so. */
static void test_diff_when_node_left_then_its_state_follows_the_flips(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	struct world w;

	(void)state;
	small_world(&w);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	w.node[5].state = GOSSIP_LEFT;
	diff(&w, s, 10, &l);
	assert_int_equal(l.op_count, 3);
	assert_int_equal(l.op[0].kind, PLAN_ROWS);
	assert_int_equal(l.op[1].kind, PLAN_SVC);
	assert_int_equal(l.op[2].kind, PLAN_NODE_STATE);
	assert_int_equal(l.op[2].idx, plan_node_idx(s, &w.node[5].id));
	assert_int_equal(l.op[2].arg.node.state, DP_NODE_DOWN);
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
	assert_true(plan_node_down(s, &w.node[2].id, DP_NODE_SUSPECT, &op));
	assert_int_equal(op.kind, PLAN_NODE_STATE);
	assert_int_equal(op.arg.node.state, DP_NODE_SUSPECT);
	assert_false(plan_node_down(s, &w.node[2].id, DP_NODE_SUSPECT, &op));
	assert_true(plan_node_down(s, &w.node[2].id, DP_NODE_DOWN, &op));
	assert_int_equal(op.arg.node.state, DP_NODE_DOWN);
	assert_false(plan_node_down(s, &w.node[2].id, DP_NODE_DOWN, &op));
	assert_false(plan_node_down(s, &w.node[2].id, DP_NODE_SUSPECT, &op));
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
	svc_idx = plan_svc_idx(s, "svc-0", 4, (struct ip_port_range){0});
	w.has_backend[5] = false;
	w.has_service[0] = false;
	diff(&w, s, 100, &l);
	/* The slot, the hash, and later the entry. */
	assert_int_equal(count_kind(&l, PLAN_VIP_SLOT), 1);
	assert_int_equal(l.op[l.op_count - 2].kind, PLAN_VIP_SLOT);
	assert_int_equal(l.op[l.op_count - 2].arg.slot, 0);
	assert_int_equal(l.op[l.op_count - 1].kind, PLAN_VIP_GONE);
	assert_int_equal(count_kind(&l, PLAN_SVC), 0);
	assert_int_equal(plan_backend_idx(s, &w.node[5].id, key), 0);
	diff(&w, s, 100 + PLAN_REST_MS - 1, &l);
	assert_int_equal(l.op_count, 0);
	diff(&w, s, 100 + PLAN_REST_MS, &l);
	assert_int_equal(l.op_count, 3);
	assert_int_equal(l.op[0].kind, PLAN_VIP_FREE);
	assert_int_equal(l.op[1].kind, PLAN_SVC);
	assert_int_equal(l.op[1].idx, svc_idx);
	assert_int_equal(l.op[2].kind, PLAN_BACKEND);
	assert_int_equal(l.op[2].idx, idx);
	/* Its rows rest once more, from the moment when its word went. */
	assert_int_equal(plan_due_ms(s), 100 + 2 * PLAN_REST_MS);
	diff(&w, s, 100 + 2 * PLAN_REST_MS, &l);
	assert_int_equal(l.op_count, 0);
	assert_true(plan_due_ms(s) == UINT64_MAX);
	plan_list_clear(&l);
	plan_state_free(s);
}

static uint32_t slot_said(const struct plan_list *l)
{
	for (size_t i = 0; i < l->op_count; i++)
		if (l->op[i].kind == PLAN_VIP_SLOT)
			return l->op[i].arg.slot;
	fail_msg("no slot was written");
	return 0;
}

static void test_diff_when_two_vips_share_a_slot_then_it_says_ask(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	struct ip_addr first, second;
	struct world w;

	(void)state;
	small_world(&w);
	first = vip_at(0);
	second = vip_at(1);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	assert_int_equal(slot_said(&l), plan_vip_idx(s, &first));
	w.service[0].vip[1] = second;
	w.service[0].vip_count = 2;
	diff(&w, s, 10, &l);
	assert_int_equal(slot_said(&l), DP_VIP_SLOT_ASK);
	assert_int_equal(l.op[l.op_count - 1].kind, PLAN_VIP_SLOT);
	assert_int_equal(l.op[l.op_count - 2].kind, PLAN_VIP);
	w.service[0].vip[0] = second;
	w.service[0].vip_count = 1;
	diff(&w, s, 20, &l);
	assert_int_equal(l.op_count, 2);
	assert_int_equal(slot_said(&l), plan_vip_idx(s, &second));
	assert_int_equal(l.op[1].kind, PLAN_VIP_GONE);
	assert_int_equal(plan_vip_idx(s, &first), 0);
	/* One for another. */
	w.service[0].vip[0] = first;
	diff(&w, s, 30, &l);
	assert_int_equal(slot_said(&l), plan_vip_idx(s, &first));
	assert_int_not_equal(plan_vip_idx(s, &first), 1); /* that one rests */
	w.has_service[0] = false;
	diff(&w, s, 40, &l);
	assert_int_equal(slot_said(&l), 0);
	plan_list_clear(&l);
	plan_state_free(s);
}

static void test_diff_when_vips_have_no_room_then_the_others_are_served(void **state)
{
	struct plan_sizes one_vip = sizes;
	struct plan_list l = {0};
	struct ip_addr first, second;
	struct plan_state *s;
	struct seen o;
	struct world w;
	struct err e;

	(void)state;
	small_world(&w);
	first = vip_at(0);
	second = vip_at(1);
	one_vip.vips = 2; /* one of them is "none" */
	w.service[0].vip[1] = second;
	w.service[0].vip_count = 2;
	assert_int_equal(plan_state_new(&one_vip, &s), 0);
	look(&w, &o);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[0].id, 0, &l, &e), 0);
	assert_non_null(strstr(e.text, "VIPs"));
	assert_non_null(strstr(e.text, "are not served"));
	assert_int_not_equal(plan_vip_idx(s, &first), 0);
	assert_int_equal(plan_vip_idx(s, &second), 0);
	assert_int_equal(count_kind(&l, PLAN_PORTPAGE), 1);
	assert_int_equal(slot_said(&l), plan_vip_idx(s, &first));
	plan_list_clear(&l);
	/* The first goes, and when its index has rested, the second gets it. */
	w.service[0].vip[0] = second;
	w.service[0].vip_count = 1;
	route_free(o.routes);
	look(&w, &o);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[0].id, 10, &l, &e), 0);
	assert_non_null(strstr(e.text, "VIPs"));
	assert_int_equal(plan_due_ms(s), 10 + PLAN_REST_MS);
	plan_list_clear(&l);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[0].id, 10 + PLAN_REST_MS, &l, &e),
			 0);
	assert_string_equal(e.text, "");
	assert_int_equal(l.op[0].kind, PLAN_VIP_FREE);
	assert_int_equal(plan_vip_idx(s, &second), 1);
	plan_list_clear(&l);
	route_free(o.routes);
	plan_state_free(s);
}

/* Tokens of backends here stand in the service, for packets whose token misses. */
static void test_diff_when_self_hosts_a_backend_then_service_names_its_slot(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	struct world w;

	(void)state;
	small_world(&w);
	w.backend[5].node_idx = w.backend[10].node_idx = 0; /* diff() is node 0 */
	w.backend[10].backend.addr = addr("10.0.0.2");
	w.backend[5].backend.token = DP_TOKEN(9, 3);
	w.backend[10].backend.token = DP_TOKEN(4, 1);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	for (size_t i = 0; i < l.op_count; i++)
		if (l.op[i].kind == PLAN_SVC)
			assert_int_equal(l.op[i].arg.svc.local_slot, 5);
	w.backend[10].backend.is_draining = true; /* the other is for new flows */
	diff(&w, s, 10, &l);
	assert_int_equal(l.op[l.op_count - 1].kind, PLAN_SVC);
	assert_int_equal(l.op[l.op_count - 1].arg.svc.local_slot, 10);
	w.backend[5].health = MODEL_HEALTH_FAILING;
	diff(&w, s, 20, &l);
	assert_int_equal(l.op[l.op_count - 1].arg.svc.local_slot, 5);
	w.has_backend[10] = false;
	diff(&w, s, 30, &l);
	assert_int_equal(l.op[l.op_count - 1].arg.svc.local_slot, 0);
	plan_list_clear(&l);
	plan_state_free(s);
}

/* 10,000 ports over 4 backends, of which one takes what nobody else does. */
static void test_diff_when_ports_are_split_then_pages_lead_to_parts(void **state)
{
	static const struct ip_port_range part[4] = {
		{5000, 7499}, {7500, 9999}, {9800, 12499}, {0, 0}};
	struct plan_list l = {0};
	struct plan_state *s;
	uint32_t port[65536] = {0}, svc[4];
	struct world w;

	(void)state;
	small_world(&w);
	w.service[0].port[0].ports = (struct ip_port_range){5000, 14999};
	for (size_t i = 0; i < 4; i++)
		w.backend[5 * (i + 1)].backend.ports = part[i];
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	diff(&w, s, 0, &l);
	for (size_t i = 0; i < 4; i++) {
		svc[i] = plan_svc_idx(s, "svc-0", 4, part[i]);
		assert_int_not_equal(svc[i], 0);
	}
	for (size_t i = 0; i < l.op_count; i++) {
		const struct plan_op *op = &l.op[i];

		if (op->kind == PLAN_SVC) {
			/* Each is alone in its part; a backend's port stands for the part's lowest. */
			assert_int_equal(op->arg.svc.rows, 1);
			assert_int_equal(op->arg.svc.svc_id, plan_svc_id("svc-0"));
			for (size_t k = 0; k < 4; k++)
				if (op->idx == svc[k])
					assert_int_equal(op->arg.svc.port_lo,
							 part[k].lo ? part[k].lo : 5000);
		}
		if (op->kind != PLAN_PORTDIR)
			continue;
		for (uint32_t high = 0; high < 256; high++)
			for (size_t k = 0; op->arg.words[high] && k < l.op_count; k++)
				if (l.op[k].kind == PLAN_PORTPAGE &&
				    l.op[k].idx == op->arg.words[high])
					memcpy(port + high * 256, l.op[k].arg.words, 1024);
	}
	for (uint32_t p = 0; p < 65536; p++) {
		uint32_t want = p < 5000 || p > 14999 ? 0
				: p < 7500	      ? svc[0]
				: p < 10000	      ? svc[1]
				: p < 12500	      ? svc[2]
						      : svc[3];

		if (port[p] != want)
			fail_msg("port %u: got service %u, want %u", p, port[p], want);
	}
	/* One takes all ports again: its part is gone from pages before it is gone. */
	w.backend[10].backend.ports = part[3];
	diff(&w, s, 10, &l);
	assert_int_equal(plan_svc_idx(s, "svc-0", 4, part[1]), 0);
	diff(&w, s, 10 + PLAN_REST_MS, &l);
	assert_int_equal(l.op[0].kind, PLAN_SVC);
	assert_int_equal(l.op[0].idx, svc[1]);
	assert_int_equal(l.op[0].arg.svc.svc_id, 0);
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

static void test_diff_when_ports_have_no_room_then_the_rest_goes_on(void **state)
{
	struct plan_sizes two_pages = sizes;
	struct plan_list l = {0};
	struct plan_state *s;
	struct seen o;
	struct world w;
	struct err e;

	(void)state;
	small_world(&w);
	two_pages.pages = 2; /* one of them is "none" */
	assert_int_equal(plan_state_new(&two_pages, &s), 0);
	diff(&w, s, 0, &l);
	w.service[0].port[1] = (struct model_port){IPPROTO_UDP, {5000, 5000}};
	w.service[0].port_count = 2;
	w.backend[5].health = MODEL_HEALTH_FAILING;
	plan_list_clear(&l);
	look(&w, &o);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[0].id, 10, &l, &e), 0);
	route_free(o.routes);
	assert_non_null(strstr(e.text, "pages"));
	assert_non_null(strstr(e.text, "are not served"));
	assert_int_equal(count_kind(&l, PLAN_BACKEND), 1);
	assert_int_equal(count_kind(&l, PLAN_SVC), 1);
	assert_int_equal(count_kind(&l, PLAN_PORTPAGE), 0);
	assert_int_equal(count_kind(&l, PLAN_PORTDIR), 0);
	/* Once the page in the way has rested, the next diff finds room. */
	w.service[0].port[0] = w.service[0].port[1];
	w.service[0].port_count = 1;
	plan_list_clear(&l);
	look(&w, &o);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[0].id, 20, &l, &e), 0);
	route_free(o.routes);
	assert_non_null(strstr(e.text, "pages"));
	assert_true(plan_due_ms(s) <= 20 + PLAN_REST_MS);
	plan_list_clear(&l);
	look(&w, &o);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[0].id, 20 + PLAN_REST_MS, &l, &e),
			 0);
	route_free(o.routes);
	assert_string_equal(e.text, "");
	assert_int_equal(count_kind(&l, PLAN_PORTPAGE), 1);
	plan_list_clear(&l);
	plan_state_free(s);
}

static void test_diff_when_something_is_full_then_the_rest_is_served(void **state)
{
	static const struct {
		struct plan_sizes sizes;
		const char *says, *what;
		uint32_t rows;
	} row[] = {
		{{40, 120, 7, 60000, 60, 40, 9}, "nodes", "not reached (and 1 more)", 1021},
		{{40, 4, 40, 60000, 60, 40, 9},
		 "backends",
		 "of service svc-0 gets no packets",
		 1021},
		{{40, 1, 40, 60000, 60, 40, 9}, "backends", "gets no packets (and 3 more)", 0},
		{{1, 120, 40, 60000, 60, 40, 9}, "services", "svc-0 is not served", 0},
		{{40, 120, 40, 1020, 60, 40, 9}, "rows", "svc-0 has 251", 251},
		{{40, 120, 40, 250, 60, 40, 9}, "rows", "svc-0 is not served", 0},
	};
	const struct ip_addr vip = vip_at(0);
	struct plan_list l = {0};
	struct plan_state *s;
	struct seen o;
	struct world w;
	struct err e;

	(void)state;
	small_world(&w);
	look(&w, &o);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		uint32_t rows = 0;

		assert_int_equal(plan_state_new(&row[i].sizes, &s), 0);
		assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[5].id, 0, &l, &e), 0);
		if (!strstr(e.text, row[i].says) || !strstr(e.text, row[i].what))
			fail_msg("'%s' does not say %s, %s", e.text, row[i].says, row[i].what);
		/* Whoever has no room, this machine has. */
		assert_int_not_equal(plan_node_idx(s, &w.node[5].id), 0);
		for (size_t k = 0; k < l.op_count; k++) {
			for (uint32_t n = 0; l.op[k].kind == PLAN_ROWS && n < l.op[k].count; n++)
				assert_int_not_equal(l.op[k].arg.rows[n].owner, 0);
			if (l.op[k].kind == PLAN_SVC)
				rows = l.op[k].arg.svc.rows;
		}
		assert_int_equal(rows, row[i].rows);
		assert_int_equal(plan_vip_is_served(s, &vip), rows != 0);
		plan_list_clear(&l);
		plan_state_free(s);
	}
	assert_int_equal(plan_state_new(&(struct plan_sizes){0}, &s), 0);
	assert_int_equal(plan_diff(s, &o.view, o.routes, &w.node[0].id, 0, &l, &e), 0);
	assert_non_null(strstr(e.text, "nodes"));
	assert_int_equal(l.op_count, 0);
	plan_state_free(s);
	route_free(o.routes);
}

/* Room for two tables of 1021 rows: a third one in time goes where the second one is. */
static void test_diff_when_rows_are_full_then_written_in_place(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	uint32_t offset;
	struct world w;

	(void)state;
	small_world(&w);
	assert_int_equal(plan_state_new(&(struct plan_sizes){40, 120, 40, 2042, 60, 40, 9}, &s), 0);
	diff(&w, s, 0, &l);
	w.backend[5].backend.weight = 2;
	diff(&w, s, 10, &l);
	assert_int_equal(l.op[0].kind, PLAN_ROWS);
	offset = l.op[0].idx;
	w.backend[5].backend.weight = 3;
	diff(&w, s, 20, &l);
	assert_int_equal(l.op_count, 1);
	assert_int_equal(l.op[0].kind, PLAN_ROWS);
	assert_int_equal(l.op[0].idx, offset);
	assert_int_equal(plan_due_ms(s), 10 + PLAN_REST_MS);
	diff(&w, s, 10 + PLAN_REST_MS, &l);
	assert_int_equal(l.op_count, 0);
	w.backend[5].backend.weight = 2;
	diff(&w, s, 20 + PLAN_REST_MS, &l);
	assert_int_equal(l.op_count, 2);
	assert_int_not_equal(l.op[0].idx, offset);
	plan_list_clear(&l);
	plan_state_free(s);
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
		cmocka_unit_test(test_diff_when_node_left_then_its_state_follows_the_flips),
		cmocka_unit_test(test_down_when_urgent_then_the_diff_does_not_repeat_it),
		cmocka_unit_test(test_diff_when_things_go_then_indexes_rest_before_reuse),
		cmocka_unit_test(test_diff_when_two_vips_share_a_slot_then_it_says_ask),
		cmocka_unit_test(test_diff_when_vips_have_no_room_then_the_others_are_served),
		cmocka_unit_test(test_diff_when_self_hosts_a_backend_then_service_names_its_slot),
		cmocka_unit_test(test_diff_when_ports_are_split_then_pages_lead_to_parts),
		cmocka_unit_test(test_diff_when_mesh_address_changes_then_new_index_and_words_move),
		cmocka_unit_test(test_diff_when_two_nodes_have_one_address_then_the_live_one_is_in),
		cmocka_unit_test(test_diff_when_ports_have_no_room_then_the_rest_goes_on),
		cmocka_unit_test(test_diff_when_something_is_full_then_the_rest_is_served),
		cmocka_unit_test(test_diff_when_rows_are_full_then_written_in_place),
		cmocka_unit_test(test_adopt_when_sizes_differ_then_einval),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
