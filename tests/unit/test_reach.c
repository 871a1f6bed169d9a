/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rows there and back, bands at their borders, and what follows from rows that are put together by hand. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/reach.h"

static struct reach_row full_row(void)
{
	struct reach_row row = {
		.peer_count = REACH_PEERS_MAX, .region_count = REACH_REGIONS_MAX, .stall_pct = 75};

	for (size_t i = 0; i < REACH_PEERS_MAX; i++)
		row.peer[i] = (struct reach_peer){{0xff, (uint8_t)i, 0xff, 0xff}, 5, 65535};
	for (size_t i = 0; i < REACH_REGIONS_MAX; i++)
		row.region[i] = (struct reach_region){0xffffff00u + (uint32_t)i, {15, 4}};
	return row;
}

static void test_encode_when_the_row_is_full_then_it_fits_and_comes_back(void **state)
{
	uint8_t buf[REACH_ROW_BYTES_MAX], small[100];
	struct reach_row row = full_row(), back;
	int len = reach_encode(&row, buf, sizeof(buf));

	(void)state;
	assert_in_range(len, 300, REACH_ROW_BYTES_MAX);
	assert_int_equal(reach_decode(buf, (size_t)len, &back), 0);
	assert_int_equal(back.peer_count, REACH_PEERS_MAX);
	assert_int_equal(back.region_count, REACH_REGIONS_MAX);
	assert_int_equal(back.stall_pct, 75);
	assert_memory_equal(back.peer[15].number, row.peer[15].number, 4);
	assert_int_equal(back.peer[15].age_s, 65535);
	assert_int_equal(back.region[23].region, row.region[23].region);
	assert_int_equal(reach_encode(&row, small, sizeof(small)), -EMSGSIZE);
}

static void test_decode_when_malformed_then_refused_and_nothing_written(void **state)
{
	static const struct {
		const char *name;
		uint8_t bytes[40];
		size_t len;
		int want;
	} rows[] = {
		{"empty", {0}, 0, -EBADMSG},
		{"least", {0x82, 0xa1, 'x', 0x90, 0xa1, 'r', 0x90}, 7, 0},
		{"no regions", {0x81, 0xa1, 'x', 0x90}, 4, -EBADMSG},
		{"no peers", {0x81, 0xa1, 'r', 0x90}, 4, -EBADMSG},
		{"trailing", {0x82, 0xa1, 'x', 0x90, 0xa1, 'r', 0x90, 0}, 8, -EBADMSG},
		{"doubled",
		 {0x83, 0xa1, 'x', 0x90, 0xa1, 'r', 0x90, 0xa1, 'x', 0x90},
		 10,
		 -EBADMSG},
		{"unknown key", {0x83, 0xa1, 'x', 0x90, 0xa1, 'r', 0x90, 0xa1, 'q', 0x90}, 10, 0},
		{"too many", {0x82, 0xa1, 'r', 0x90, 0xa1, 'x', 0xdc, 0, 17}, 9, -EBADMSG},
		{"huge", {0x82, 0xa1, 'r', 0x90, 0xa1, 'x', 0xdd, 4, 0, 0, 0}, 11, -EBADMSG},
		{"a band of none",
		 {0x82, 0xa1, 'x', 0x90, 0xa1, 'r', 0x91, 0x93, 1, 16, 0},
		 11,
		 -EBADMSG},
		{"a loss of none",
		 {0x82, 0xa1, 'x', 0x90, 0xa1, 'r', 0x91, 0x93, 1, 15, 5},
		 11,
		 -EBADMSG},
		{"more in a region",
		 {0x82, 0xa1, 'x', 0x90, 0xa1, 'r', 0x91, 0x94, 1, 15, 4, 9},
		 12,
		 0},
		{"a number too short",
		 {0x82, 0xa1, 'r', 0x90, 0xa1, 'x', 0x91, 0x93, 0xc4, 3, 1, 2, 3, 1, 1},
		 15,
		 -EBADMSG},
	};
	struct reach_row row;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		memset(&row, 0x5a, sizeof(row));
		if (reach_decode(rows[i].bytes, rows[i].len, &row) != rows[i].want)
			fail_msg("%s", rows[i].name);
		if (rows[i].want && row.stall_pct != 0x5a)
			fail_msg("%s: written", rows[i].name);
	}
}

static void test_band_when_at_a_border_then_it_stays(void **state)
{
	uint8_t b = reach_rtt_band(REACH_RTT_BANDS, 59000);

	(void)state;
	assert_int_equal(reach_rtt_ms(b), 60);
	assert_int_equal(reach_rtt_band(b, 66000), b); /* beyond, but not by much */
	assert_int_equal(reach_rtt_ms(reach_rtt_band(b, 71000)), 90);
	assert_int_equal(reach_rtt_band(b, 36000), b);
	assert_int_equal(reach_rtt_ms(reach_rtt_band(b, 30000)), 40);
	assert_int_equal(reach_rtt_ms(reach_rtt_band(REACH_RTT_BANDS, 0)), 1);
	assert_int_equal(reach_rtt_ms(reach_rtt_band(REACH_RTT_BANDS, 5000000)), UINT32_MAX);
	assert_int_equal(reach_rtt_ms(reach_rtt_band(15, 200000)), 300);
	assert_int_equal(reach_loss_band(REACH_LOSS_BANDS, 5, 10), 0); /* too few to say */
	assert_int_equal(reach_loss_band(REACH_LOSS_BANDS, 8, 100), 2);
	assert_int_equal(reach_loss_band(2, 16, 100), 2);
	assert_int_equal(reach_loss_band(2, 40, 100), 4);
}

/* ---- a mesh by hand: node i has number i + 1 */

#define NODES 8

static struct reach_node node[NODES];
static struct reach_finding finding[16];

static void mesh(void)
{
	static const char *const name[NODES] = {"a", "b", "c", "d", "e", "f", "g", "h"};

	memset(node, 0, sizeof(node));
	for (size_t i = 0; i < NODES; i++) {
		node[i].id.b[3] = (uint8_t)(i + 1);
		node[i].name = name[i];
		node[i].region = i < 4 ? "north" : "south";
		node[i].is_up = node[i].has_row = true;
	}
}

static void say(size_t a, size_t b, enum reach_cause cause, uint16_t age_s)
{
	struct reach_row *row = &node[a].row;

	row->peer[row->peer_count++] =
		(struct reach_peer){{0, 0, 0, (uint8_t)(b + 1)}, (uint8_t)cause, age_s};
}

static size_t find(void)
{
	return reach_find(node, NODES, finding, 16);
}

static void assert_found(size_t i, enum reach_finding_kind kind, size_t a, size_t b)
{
	assert_int_equal(finding[i].kind, kind);
	assert_int_equal(finding[i].a, a);
	assert_int_equal(finding[i].b, b);
}

static void test_find_when_two_nodes_say_so_then_the_pair_is_named_once(void **state)
{
	static const struct {
		const char *name;
		enum reach_cause x, y; /* what 2 says of 5, and 5 of 2; 0: nothing */
		enum reach_finding_kind kind;
		size_t a, b;
	} rows[] = {
		{"deaf alone", REACH_DEAF, 0, REACH_FOUND_ONE_WAY, 2, 5},
		{"deaf, unheard", REACH_DEAF, REACH_UNHEARD, REACH_FOUND_ONE_WAY, 2, 5},
		{"unheard, deaf", REACH_UNHEARD, REACH_DEAF, REACH_FOUND_ONE_WAY, 5, 2},
		{"the other deaf", 0, REACH_DEAF, REACH_FOUND_ONE_WAY, 5, 2},
		{"both deaf", REACH_DEAF, REACH_DEAF, REACH_FOUND_TUNNEL, 2, 5},
		{"both unheard", REACH_UNHEARD, REACH_UNHEARD, REACH_FOUND_TUNNEL, 2, 5},
		{"unheard alone", REACH_UNHEARD, 0, REACH_FOUND_UNHEARD, 2, 5},
		{"the other unheard", 0, REACH_UNHEARD, REACH_FOUND_UNHEARD, 5, 2},
		{"data", REACH_DATA, 0, REACH_FOUND_TUNNEL, 2, 5},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		mesh();
		if (rows[i].x)
			say(2, 5, rows[i].x, 7);
		if (rows[i].y)
			say(5, 2, rows[i].y, 9);
		if (find() != 1 || finding[0].kind != rows[i].kind || finding[0].a != rows[i].a ||
		    finding[0].b != rows[i].b || finding[0].age_s != (rows[i].y ? 9 : 7))
			fail_msg("%s", rows[i].name);
		/* The dead say nothing, and nothing is said of them. */
		node[5].is_up = false;
		if (find() != 0)
			fail_msg("%s: of a dead one", rows[i].name);
	}
}

static void test_find_when_one_alone_calls_it_gray_then_it_is_not(void **state)
{
	(void)state;
	mesh();
	say(0, 3, REACH_GRAY, 4);
	assert_int_equal(find(), 0);
	say(1, 3, REACH_GRAY, 9);
	assert_int_equal(find(), 1);
	assert_found(0, REACH_FOUND_GRAY, 3, REACH_NOBODY);
	assert_int_equal(finding[0].witnesses, 2);
	assert_int_equal(finding[0].age_s, 9);
	/* A witness that stands still itself is none, and is named for it. */
	node[1].row.stall_pct = 30;
	assert_int_equal(find(), 1);
	assert_found(0, REACH_FOUND_GRAY, 1, REACH_NOBODY);
}

static void test_find_when_many_paths_of_a_node_fail_then_it_is_named_alone(void **state)
{
	(void)state;
	mesh();
	for (size_t i = 1; i < 4; i++) {
		say(i, 0, REACH_UNHEARD, 3);
		say(0, i, REACH_UNHEARD, 3);
	}
	assert_int_equal(find(), 1);
	assert_found(0, REACH_FOUND_PATHS, 0, REACH_NOBODY);
	assert_int_equal(finding[0].witnesses, 3);
}

static void test_find_when_several_kinds_then_the_node_comes_before_the_pair(void **state)
{
	(void)state;
	mesh();
	node[6].name = "b";
	say(0, 7, REACH_DATA, 3);
	say(1, 7, REACH_DATA, 5);
	say(2, 4, REACH_TWIN, 1);
	say(5, 3, REACH_DEAF, 8);
	assert_int_equal(find(), 4);
	assert_found(0, REACH_FOUND_TWIN, 1, 6);
	assert_found(1, REACH_FOUND_TWIN, 4, REACH_NOBODY);
	assert_found(2, REACH_FOUND_DATA, 7, REACH_NOBODY);
	assert_found(3, REACH_FOUND_ONE_WAY, 5, 3);
	assert_int_equal(reach_find(node, NODES, finding, 2), 2);
	/* Causes and numbers that nobody knows. */
	mesh();
	say(0, 7, (enum reach_cause)99, 3);
	say(0, 200, REACH_DEAF, 3);
	say(0, 0, REACH_DEAF, 3);
	assert_int_equal(find(), 0);
}

static void band(size_t i, const char *to, uint8_t rtt, uint8_t loss)
{
	struct reach_row *row = &node[i].row;

	row->region[row->region_count++] = (struct reach_region){reach_region_of(to), {rtt, loss}};
}

static void test_region_band_when_rows_differ_then_the_median(void **state)
{
	struct reach_band b;

	(void)state;
	mesh();
	assert_false(reach_region_band(node, NODES, "north", "south", &b));
	band(5, "north", 9, 1);
	/* Only the other side says anything. */
	assert_true(reach_region_band(node, NODES, "north", "south", &b));
	assert_int_equal(b.rtt, 9);
	band(0, "south", 7, 0);
	band(1, "south", 7, 2);
	band(2, "south", 3, 4);
	band(3, "south", 15, 4);
	band(0, "elsewhere", 0, 0);
	assert_true(reach_region_band(node, NODES, "north", "south", &b));
	assert_int_equal(b.rtt, 7);
	assert_int_equal(b.loss, 2);
	/* Who is dead or stands still has no say. */
	node[0].is_up = false;
	node[1].row.stall_pct = 15;
	assert_true(reach_region_band(node, NODES, "north", "south", &b));
	assert_int_equal(b.rtt, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode_when_the_row_is_full_then_it_fits_and_comes_back),
		cmocka_unit_test(test_decode_when_malformed_then_refused_and_nothing_written),
		cmocka_unit_test(test_band_when_at_a_border_then_it_stays),
		cmocka_unit_test(test_find_when_two_nodes_say_so_then_the_pair_is_named_once),
		cmocka_unit_test(test_find_when_one_alone_calls_it_gray_then_it_is_not),
		cmocka_unit_test(test_find_when_many_paths_of_a_node_fail_then_it_is_named_alone),
		cmocka_unit_test(test_find_when_several_kinds_then_the_node_comes_before_the_pair),
		cmocka_unit_test(test_region_band_when_rows_differ_then_the_median),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
