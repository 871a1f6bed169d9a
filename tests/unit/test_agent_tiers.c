/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The order of other regions: what is configured, then distance, then names; and the weight of nodes that half work. */
#include "gossip/reach.h"
#include "tests/unit/agent_fake.h"

/* This node says how far the others are. */
static void say(uint8_t near_rtt, uint8_t far_rtt)
{
	struct reach_row row = {.region = {{reach_region_of("aaa"), {far_rtt, 0}},
					   {reach_region_of("zzz"), {near_rtt, 0}}},
				.region_count = 2};
	uint8_t buf[REACH_ROW_BYTES_MAX];
	int len = reach_encode(&row, buf, sizeof(buf));

	assert_true(len > 0);
	assert_int_equal(gossip_core_put(current->core, agent_now_ms(current->agent), REACH_KIND,
					 REACH_KEY, buf, (size_t)len, false),
			 0);
}

static void order_is(const char *want)
{
	const struct route_view *v;
	char got[256] = "";

	agent_compute(current->agent);
	v = &current->agent->world->view;
	for (size_t i = 0; i < v->order_count; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%s", i ? " " : "",
			 v->order[i]);
	assert_string_equal(got, want);
}

static void test_tiers_when_regions_are_known_then_configured_near_named(void **state)
{
	node_ready(*state);
	add_member(50, "aaa");
	add_member(51, "zzz");
	add_member(52, "mmm");
	order_is("aaa mmm zzz"); /* nobody says anything: by name */
	say(2, 9);
	order_is("zzz aaa mmm"); /* nobody knows how far mmm is: last */
	snprintf(current->agent->cfg.order[0], MODEL_NAME_MAX, "mmm");
	current->agent->cfg.order_count = 1;
	order_is("mmm zzz aaa");
	node_stop(*state);
}

static void test_tiers_when_distance_changes_then_the_tick_sees_it(void **state)
{
	node_ready(*state);
	add_member(50, "aaa");
	add_member(51, "zzz");
	say(2, 9);
	order_is("zzz aaa");
	say(9, 2);
	agent_tiers_tick(current->agent, agent_now_ms(current->agent) + 60000);
	assert_true(current->agent->is_compute_armed || current->agent->is_dirty);
	order_is("aaa zzz");
	current->agent->is_dirty = false;
	node_stop(*state);
}

/* This node says that it stands still for so much of the time. */
static void say_stall(uint8_t pct)
{
	struct reach_row row = {.stall_pct = pct};
	uint8_t buf[REACH_ROW_BYTES_MAX];
	int len = reach_encode(&row, buf, sizeof(buf));

	assert_true(len > 0);
	assert_int_equal(gossip_core_put(current->core, agent_now_ms(current->agent), REACH_KIND,
					 REACH_KEY, buf, (size_t)len, false),
			 0);
}

static unsigned int own_share(void)
{
	const struct world *w = current->agent->world;

	for (size_t i = 0; i < w->view.node_count; i++)
		if (!node_id_cmp(&w->node[i].id, &current->agent->self))
			return w->node[i].share_pct;
	fail_msg("this node is not in its own world");
	return 0;
}

static unsigned int share_after_tick(void)
{
	now_ms += 60000;
	agent_gray_tick(current->agent, now_ms);
	agent_compute(current->agent);
	return own_share();
}

static void test_gray_when_a_node_half_works_then_a_quarter_of_its_weight(void **state)
{
	struct model_service s = service("dns", "198.51.100.53", IPPROTO_UDP, 53, 53);
	struct model_backend b = backend("dns", "10.80.0.1", 5353);
	const struct route_entry *e;

	node_ready(*state);
	add_service(&s, 0, "");
	add_backend(&b, 0, "");
	add_member(50, "r1");
	say_stall(50);
	assert_int_equal(share_after_tick(), 0); /* half of all: then it is not the nodes */
	add_member(51, "r1");
	assert_int_equal(share_after_tick(), 25);
	e = &current->agent->world->routes->entry[0];
	assert_int_equal(e->used_count, 1);
	assert_int_equal(e->choice[0].weight, 100 * 25);
	say_stall(0);
	assert_int_equal(share_after_tick(), 0);
	assert_int_equal(current->agent->world->routes->entry[0].choice[0].weight, 100);
	node_stop(*state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_tiers_when_regions_are_known_then_configured_near_named),
		CASE(test_tiers_when_distance_changes_then_the_tick_sees_it),
		CASE(test_gray_when_a_node_half_works_then_a_quarter_of_its_weight),
	};

	return cmocka_run_group_tests_name("agent_tiers", tests, setup_net, NULL);
}
