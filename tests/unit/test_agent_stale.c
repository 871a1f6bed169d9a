/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* When an edge takes what it knows for old, by whom it hears. */
#include "tests/unit/agent_fake.h"

#define LONG_MS (6 * 60 * 1000)

static struct route_node nodes[6];
static size_t count;

static void add(const char *region, enum gossip_state state)
{
	struct route_node *n = &nodes[count++];
	struct gossip_member m = {.state = state, .addr.port = 7946, .generation = 1};

	*n = (struct route_node){.state = state};
	memset(m.pub, (int)count, sizeof(m.pub));
	node_id_of_pub(m.pub, &m.id);
	m.addr.ip[10] = m.addr.ip[11] = 0xff;
	m.addr.ip[12] = 10;
	m.addr.ip[15] = (uint8_t)(100 + count);
	snprintf(m.name, sizeof(m.name), "n%zu", count);
	snprintf(m.region, sizeof(m.region), "%s", region);
	n->id = m.id;
	snprintf(n->node.region, sizeof(n->node.region), "%s", region);
	assert_int_equal(gossip_core_load_member(current->core, &m), 0);
}

/* `ms` after they were found so, by the core's clock; twice, so that what is so for 30 s has had them. */
static bool is_stale_after(uint64_t ms)
{
	struct agent *a = current->agent;
	struct gossip_member first;

	a->world->view.node = nodes;
	a->world->view.node_count = count;
	assert_true(gossip_core_member_get(current->core, &nodes[0].id, &first));
	(void)agent_stale_tick(a, first.since_ms + ms);
	(void)agent_stale_tick(a, first.since_ms + ms + 31000);
	return a->is_stale;
}

static void begin(struct node *n)
{
	node_start(n, false);
	count = 0;
}

static void end(struct node *n)
{
	n->agent->world->view.node = n->agent->world->node;
	n->agent->world->view.node_count = 0;
	node_stop(n);
}

static void test_stale_when_the_only_neighbour_dies_then_not_for_ever(void **state)
{
	begin(*state);
	add(current->agent->cfg.self.region, GOSSIP_DEAD);
	add("far", GOSSIP_ALIVE);
	add("far", GOSSIP_ALIVE);
	add("far", GOSSIP_DEAD);
	assert_true(is_stale_after(0));
	assert_false(is_stale_after(LONG_MS));
	end(*state);
}

static void test_stale_when_others_outside_are_silent_too_then_it_stays(void **state)
{
	begin(*state);
	add(current->agent->cfg.self.region, GOSSIP_DEAD);
	add("far", GOSSIP_ALIVE);
	add("far", GOSSIP_DEAD);
	add("far", GOSSIP_SUSPECT);
	assert_true(is_stale_after(LONG_MS));
	end(*state);
}

static void test_stale_when_nobody_else_is_known_then_it_stays(void **state)
{
	begin(*state);
	add(current->agent->cfg.self.region, GOSSIP_DEAD);
	assert_true(is_stale_after(LONG_MS));
	end(*state);
}

static void test_stale_when_neighbours_are_suspect_then_they_count(void **state)
{
	begin(*state);
	add(current->agent->cfg.self.region, GOSSIP_SUSPECT);
	add("far", GOSSIP_ALIVE);
	assert_true(is_stale_after(LONG_MS));
	end(*state);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_stale_when_the_only_neighbour_dies_then_not_for_ever),
		CASE(test_stale_when_others_outside_are_silent_too_then_it_stays),
		CASE(test_stale_when_nobody_else_is_known_then_it_stays),
		CASE(test_stale_when_neighbours_are_suspect_then_they_count),
	};
#undef CASE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
