/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who may write shared records: a member that has the cluster's key, and is not named. */
#include "tests/unit/ring_mesh.h"

#define SERVICE 65
#define OTHER 67

static struct writers guard;

/* Nodes 0, 1, 2 let node 0 write; 3 is mad and lets itself. */
static int guarded_setup(void **state)
{
	int r = mesh_setup(state);

	memset(&guard, 0, sizeof(guard));
	guard.guarded = 1ull << (SERVICE - 64);
	guard.id[guard.count++] = node[0].id;
	for (size_t i = 0; i < 3; i++)
		node[i].writers = guard;
	return r;
}

static int put(size_t i, uint8_t kind, const char *key, uint8_t value)
{
	const uint8_t map[] = {0x81, 0xa1, 'v', value};
	int r = gossip_core_put(node[i].core, now, kind, key, map, sizeof(map), true);

	pump(&node[i]);
	return r;
}

static int get(size_t i, uint8_t kind, const char *key)
{
	struct record r;

	return gossip_core_get_record(node[i].core, NULL, kind, key, &r) ? r.value[3] : -1;
}

static void test_write_when_not_named_then_no_node_takes_it(void **state)
{
	struct gossip_counters n;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(node_open(i, NULL), 0);
	assert_true(run_until(is_agreed, 10000));
	assert_int_equal(put(0, SERVICE, "dns", 1), 0);
	assert_int_equal(put(1, SERVICE, "web", 1), -EPERM);
	assert_true(run_until(is_agreed, 5000));
	assert_int_equal(put(3, SERVICE, "dns", 66), 0);
	assert_int_equal(put(3, SERVICE, "mine", 66), 0);
	assert_int_equal(gossip_core_del(node[3].core, now, SERVICE, "dns", true), 0);
	pump(&node[3]);
	assert_int_equal(put(3, OTHER, "flow", 5), 0); /* that anybody may */
	run(10000);
	node_restart(2); /* what it stored is judged again */
	run(5000);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(get(i, SERVICE, "dns"), 1);
		assert_int_equal(get(i, SERVICE, "mine"), -1);
		assert_int_equal(get(i, OTHER, "flow"), 5);
	}
	gossip_core_counters(node[0].core, &n);
	assert_true(n.bad_signatures > 0);
	assert_int_equal(put(0, SERVICE, "dns", 2), 0);
	run(5000);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(get(i, SERVICE, "dns"), 2);
}

static void test_load_when_no_longer_named_then_not_taken(void **state)
{
	(void)state;
	memset(&node[1].writers, 0, sizeof(node[1].writers));
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(node_open(i, NULL), 0);
	assert_true(run_until(is_agreed, 10000));
	assert_int_equal(put(1, SERVICE, "dns", 7), 0);
	run(3000);
	node_stop(0);
	node[1].writers = guard;
	node_restart(1);
	assert_int_equal(get(1, SERVICE, "dns"), -1);
}

static void test_sum_when_order_differs_then_the_same(void **state)
{
	struct writers a = {.count = 2, .id = {{{1, 2, 3}}, {{9, 8, 7}}}}, b = a, none = {0};
	uint8_t sa[WRITERS_SUM_BYTES], sb[WRITERS_SUM_BYTES];

	(void)state;
	b.id[0] = a.id[1];
	b.id[1] = a.id[0];
	writers_sum(&a, sa);
	writers_sum(&b, sb);
	assert_memory_equal(sa, sb, sizeof(sa));
	b.count = 1;
	writers_sum(&b, sb);
	assert_memory_not_equal(sa, sb, sizeof(sa));
	writers_sum(&none, sb);
	assert_true(sodium_is_zero(sb, sizeof(sb)));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, guarded_setup, mesh_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_write_when_not_named_then_no_node_takes_it),
		TEST(test_load_when_no_longer_named_then_not_taken),
		cmocka_unit_test(test_sum_when_order_differs_then_the_same),
	};

	cmocka_set_test_filter(getenv("T"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
