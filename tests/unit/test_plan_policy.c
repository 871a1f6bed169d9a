/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A service's policies on their way to the maps: flags and limits, and nothing else is touched when they change. */
#include "tests/unit/plan_world.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const struct {
	const char *text[3];
	bool has_filter;
	struct dp_svc want;
} rows[] = {
	{{NULL}, false, {.flags = 0}},
	{{"pps=1000"}, false, {.flags = DP_SVC_GATE, .pps = 1000}},
	{{"source_pps=10", "prefix4=24", "prefix6=48"},
	 false,
	 {.flags = DP_SVC_GATE, .source_pps = 10, .prefix4 = 24, .prefix6 = 48}},
	{{"syn_pps=99"}, false, {.flags = DP_SVC_GATE, .syn_pps = 99}},
	{{"hop_pps=7"}, false, {.hop_pps = 7}},
	{{"closed=on"}, false, {.flags = DP_SVC_GATE | DP_SVC_CLOSED}},
	{{NULL}, true, {.flags = DP_SVC_GATE | DP_SVC_FILTER}},
	{{"quic=on"}, false, {.flags = DP_SVC_QUIC}},
	{{"return=direct", "mtu=carry"}, false, {.flags = DP_SVC_DIRECT | DP_SVC_CARRY}},
	{{"hash=source"}, false, {.hash = DP_HASH_SOURCE}},
};

static struct model_service plain(const struct model_service *s)
{
	struct model_service p = *s;

	p.hash = 0;
	p.policy = (struct model_policy){0};
	return p;
}

static void plan_once(struct plan_state *s, struct seen *o, const bool *has_filter,
		      struct plan_list *l)
{
	struct node_id self = {{1}};
	struct err e;

	o->view.has_filter = has_filter;
	assert_int_equal(plan_diff(s, &o->view, o->routes, &self, 5000, l, &e), 0);
}

static void test_diff_when_policy_changes_then_the_service_alone_is_written(void **state)
{
	struct plan_state *s;
	struct world w;
	struct seen o;

	(void)state;
	world_init(&w);
	memset(w.has_backend, 1, sizeof(w.has_backend));
	for (size_t i = 0; i < SERVICES; i++)
		w.service[i] = plain(&w.service[i]);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	for (size_t r = 0; r < COUNT(rows); r++) {
		bool has_filter[SERVICES] = {false};
		struct plan_list l = {0};
		size_t tables = 0, entries = 0,
		       at = 0; /* one for each family and part of its ports */

		w.service[2] = plain(&w.service[2]);
		for (size_t k = 0; k < 3 && rows[r].text[k]; k++)
			assert_int_equal(model_policy_set(&w.service[2], rows[r].text[k], NULL), 0);
		look(&w, &o);
		while (strcmp(o.service[at].name, "svc-2") != 0)
			at++;
		has_filter[at] = rows[r].has_filter;
		for (size_t i = 0; i < o.routes->entry_count; i++)
			entries += o.routes->entry[i].service_idx == at;
		plan_once(s, &o, has_filter, &l);
		if (r) {
			assert_int_equal(count_kind(&l, PLAN_SVC), entries);
			assert_int_equal(l.op_count, entries);
			for (size_t i = 0; i < l.op_count; i++) {
				const struct dp_svc *v = &l.op[i].arg.svc;

				assert_int_equal(l.op[i].kind, PLAN_SVC);
				assert_true(v->flags == rows[r].want.flags &&
					    v->pps == rows[r].want.pps &&
					    v->source_pps == rows[r].want.source_pps &&
					    v->syn_pps == rows[r].want.syn_pps &&
					    v->hop_pps == rows[r].want.hop_pps &&
					    v->prefix4 == rows[r].want.prefix4 &&
					    v->prefix6 == rows[r].want.prefix6 &&
					    v->hash == rows[r].want.hash);
				tables += v->table != 0;
			}
			assert_true(tables > 0);
		}
		plan_list_clear(&l);
		route_free(o.routes);
	}
	plan_state_free(s);
}

static void test_diff_when_one_service_rejects_then_its_vips_do(void **state)
{
	struct plan_list l = {0};
	struct plan_state *s;
	size_t vips = 0;
	struct world w;
	struct seen o;

	(void)state;
	world_init(&w);
	for (size_t i = 0; i < SERVICES; i++)
		w.service[i] = plain(&w.service[i]);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	look(&w, &o);
	plan_once(s, &o, NULL, &l);
	route_free(o.routes);
	for (size_t i = 0; i < l.op_count; i++)
		assert_true(l.op[i].kind != PLAN_VIP || l.op[i].arg.vip.flags == 0);
	plan_list_clear(&l);
	assert_int_equal(model_policy_set(&w.service[1], "reject=on", NULL), 0);
	look(&w, &o);
	plan_once(s, &o, NULL, &l);
	route_free(o.routes);
	assert_int_equal(l.op_count, w.service[1].vip_count);
	for (size_t i = 0; i < l.op_count; i++) {
		assert_int_equal(l.op[i].kind, PLAN_VIP);
		assert_int_equal(l.op[i].arg.vip.flags, DP_VIP_REJECT);
		for (size_t k = 0; k < w.service[1].vip_count; k++)
			vips += !memcmp(l.op[i].arg.vip.addr, w.service[1].vip[k].b, 16);
	}
	assert_int_equal(vips, w.service[1].vip_count);
	plan_list_clear(&l);
	plan_state_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_diff_when_policy_changes_then_the_service_alone_is_written),
		cmocka_unit_test(test_diff_when_one_service_rejects_then_its_vips_do),
	};

	seed = 7;
	return cmocka_run_group_tests_name("plan_policy", tests, NULL, NULL);
}
