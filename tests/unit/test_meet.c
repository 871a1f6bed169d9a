/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where pointers are kept: the same on all nodes, and no row moves that need not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/meet.h"

#define NODES 20u

static struct route_node nodes[NODES];
static size_t rows[DP_MEET_ROWS], others[DP_MEET_ROWS];

static int setup(void **state)
{
	(void)state;
	memset(nodes, 0, sizeof(nodes));
	for (uint32_t i = 0; i < NODES; i++) {
		nodes[i].id.b[0] = (uint8_t)(i * 37);
		nodes[i].id.b[5] = (uint8_t)i;
		nodes[i].state = GOSSIP_ALIVE;
		nodes[i].node.is_edge = nodes[i].node.has_forwarder = true;
		nodes[i].node.mesh_addr.b[15] = (uint8_t)(i + 1);
		nodes[i].node.mesh_addr.b[0] = 0xfd;
	}
	return 0;
}

static struct route_view view(size_t count)
{
	return (struct route_view){.node = nodes, .node_count = count};
}

static void test_rows_when_view_is_in_another_order_then_same(void **state)
{
	struct route_view v = view(NODES);
	struct route_node turned[NODES];
	struct route_view w = {.node = turned, .node_count = NODES};

	(void)state;
	for (size_t i = 0; i < NODES; i++)
		turned[i] = nodes[NODES - 1 - i];
	meet_rows(&v, rows);
	meet_rows(&w, others);
	for (size_t r = 0; r < DP_MEET_ROWS; r++)
		assert_int_equal(rows[r], NODES - 1 - others[r]);
}

static void test_rows_when_all_are_keepers_then_shared_out(void **state)
{
	struct route_view v = view(NODES);
	size_t has[NODES] = {0};

	(void)state;
	meet_rows(&v, rows);
	for (size_t r = 0; r < DP_MEET_ROWS; r++)
		has[rows[r]]++;
	for (size_t i = 0; i < NODES; i++)
		assert_in_range(has[i], DP_MEET_ROWS / NODES / 2, DP_MEET_ROWS / NODES * 2);
}

static void test_rows_when_one_goes_then_only_its_own_move(void **state)
{
	struct route_view v = view(NODES);

	(void)state;
	meet_rows(&v, rows);
	nodes[7].state = GOSSIP_DEAD;
	meet_rows(&v, others);
	for (size_t r = 0; r < DP_MEET_ROWS; r++) {
		assert_int_not_equal(others[r], 7);
		if (rows[r] != 7)
			assert_int_equal(others[r], rows[r]);
	}
}

static void test_keeper_when_it_can_not_keep_then_has_no_row(void **state)
{
	struct route_view v = view(NODES);

	(void)state;
	nodes[0].node.is_edge = false;
	nodes[1].node.has_forwarder = false;
	nodes[2].is_drained = true;
	nodes[3].state = GOSSIP_LEFT;
	memset(&nodes[4].node.mesh_addr, 0, sizeof(nodes[4].node.mesh_addr));
	nodes[5].state = GOSSIP_SUSPECT; /* it may be well: it stays */
	nodes[6].state = GOSSIP_HEADLESS;
	meet_rows(&v, rows);
	for (size_t i = 0; i < NODES; i++) {
		size_t n = 0;

		for (size_t r = 0; r < DP_MEET_ROWS; r++)
			n += rows[r] == i;
		assert_int_equal(n > 0, i > 4);
		assert_int_equal(meet_is_keeper(&nodes[i]), i > 4);
	}
}

static void test_rows_when_nobody_can_keep_then_none(void **state)
{
	struct route_view v = view(0);

	(void)state;
	meet_rows(&v, rows);
	for (size_t r = 0; r < DP_MEET_ROWS; r++)
		assert_true(rows[r] == MEET_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_rows_when_view_is_in_another_order_then_same, setup),
		cmocka_unit_test_setup(test_rows_when_all_are_keepers_then_shared_out, setup),
		cmocka_unit_test_setup(test_rows_when_one_goes_then_only_its_own_move, setup),
		cmocka_unit_test_setup(test_keeper_when_it_can_not_keep_then_has_no_row, setup),
		cmocka_unit_test_setup(test_rows_when_nobody_can_keep_then_none, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
