/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Second chances, the edge's side: when a row's previous owner is named, what that costs, an edge that is the owner itself; and
 * fragments, which stay together. */
#include "tests/bpf/second_cells.h"

/* ---- The edge ---- */

static void test_edge_when_row_has_previous_owner_elsewhere_then_names_it(void **state)
{
	static const struct {
		const char *name;
		uint32_t owner, prev;
		enum dp_be_state prev_state;
		enum dp_node_state node_state;
		uint32_t word;
	} rows[] = {
		{"none", BF_SVC_EXACT4, 0, DP_BE_UP, DP_NODE_UP, 0},
		{"another node", BF_SVC_EXACT4, BF_SVC_RANGE4, DP_BE_UP, DP_NODE_UP, 3000},
		{"this node", BF_SVC_EXACT4, BF_SVC_HOST4, DP_BE_UP, DP_NODE_UP, 1000},
		{"the same node", BF_SVC_EXACT4, BF_SVC_EXACT6, DP_BE_UP, DP_NODE_UP, 0},
		{"dead backend", BF_SVC_EXACT4, BF_SVC_RANGE4, DP_BE_DEAD, DP_NODE_UP, 0},
		{"dead node", BF_SVC_EXACT4, BF_SVC_RANGE4, DP_BE_UP, DP_NODE_DOWN, 0},
		{"no such backend", BF_SVC_EXACT4, 63, DP_BE_UP, DP_NODE_UP, 0},
		{"beyond the table", BF_SVC_EXACT4, 1u << 30, DP_BE_UP, DP_NODE_UP, 0},
	};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows) * 4; i++) {
		size_t r = i / 4;
		int family = i & 1 ? 6 : 4;
		uint32_t svc = family == 4 ? BF_SVC_EXACT4 : BF_SVC_EXACT6;
		struct bf_in in = {.pkt = {.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
					   .dst = family == 4 ? "192.0.2.10" : "2001:db8::10",
					   .sport = 40000,
					   .dport = 53,
					   .l4_proto = i & 2 ? IPPROTO_TCP : IPPROTO_UDP,
					   .payload = 100}};
		uint32_t prev_svc = rows[r].prev < BF_SVC_END ? rows[r].prev : 0;
		struct bf_out out;

		set_rows(b, svc, rows[r].owner, rows[r].prev);
		if (prev_svc == BF_SVC_RANGE4) {
			bf_set_backend(b, prev_svc, rows[r].prev_state, BF_NODE_V6);
			bf_set_node_state(b, BF_NODE_V6, rows[r].node_state);
		}
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_FORWARDED, rows[r].name);
		assert_string_equal(out.seen.outer_dst, "10.99.0.2");
		assert_int_equal(out.seen.gre_flags, rows[r].word ? 0x3000 : 0x2000);
		assert_int_equal(out.seen.gre_seq, rows[r].word);
		assert_int_equal(out.seen.gre_key >> 24, 0);
		assert_int_equal(out.seen.payload, 100);
	}
}

static void
test_edge_when_previous_owner_is_suspect_then_named_where_flows_are_looked_for(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	set_rows(b, BF_SVC_EXACT4, BF_SVC_EXACT4, BF_SVC_RANGE4);
	bf_set_backend(b, BF_SVC_RANGE4, DP_BE_UP, BF_NODE_V6);
	bf_set_node_state(b, BF_NODE_V6, DP_NODE_SUSPECT);
	for (size_t i = 0; i < 4; i++) {
		bool is_tcp = i & 1, is_stay = i & 2;
		struct bf_in in = {.pkt = {.src = BF_CLIENT4,
					   .dst = "192.0.2.10",
					   .sport = 40000,
					   .dport = 53,
					   .l4_proto = is_tcp ? IPPROTO_TCP : IPPROTO_UDP,
					   .tcp_flags = 0x10,
					   .payload = 100}};
		struct bf_out out;

		set_svc_flags(b, BF_SVC_EXACT4, is_stay ? DP_SVC_UDP_STAY : 0);
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_FORWARDED, is_tcp ? "TCP" : "UDP");
		assert_int_equal(out.seen.gre_seq, is_tcp || is_stay ? 3000 : 0);
	}
	/* Nor does it own anything meanwhile. */
	set_rows(b, BF_SVC_EXACT4, BF_SVC_RANGE4, 0);
	struct bf_in in = {.pkt = {.src = BF_CLIENT4,
				   .dst = "192.0.2.10",
				   .sport = 40000,
				   .dport = 53,
				   .l4_proto = IPPROTO_TCP,
				   .tcp_flags = 0x10}};
	struct bf_out out;

	bf_run(b, BF_PUB_IN, &in, &out);
	bf_expect_reason(b, DP_R_NO_BACKEND, "owner suspect");
}

/* One word says that a node is suspect; until the tables are made anew, its rows' substitutes name it. */
static void test_edge_when_owner_is_suspect_then_substitute_names_it(void **state)
{
	struct bf *b = *state;
	uint32_t none = 0, other = 0;

	bf_need(b);
	set_rows(b, BF_SVC_EXACT4, BF_SVC_EXACT4, 0);
	for (uint32_t i = 0; i < 251; i += 2) {
		struct dp_row row = {.owner = BF_SVC_RANGE4};
		uint32_t at = bf_row_of(BF_SVC_EXACT4) + i;

		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_rows"), &at, &row, 0), 0);
	}
	bf_set_backend(b, BF_SVC_RANGE4, DP_BE_UP, BF_NODE_V6);
	bf_set_node_state(b, BF_NODE_V6, DP_NODE_SUSPECT);
	for (uint16_t sport = 40000; sport < 40100; sport++) {
		struct bf_in in = {.pkt = {.src = BF_CLIENT4,
					   .dst = "192.0.2.10",
					   .sport = sport,
					   .dport = 53,
					   .l4_proto = IPPROTO_TCP,
					   .tcp_flags = 0x10}};
		struct bf_out out;

		bf_run(b, BF_PUB_IN, &in, &out);
		if (out.seen.gre_seq == 3000)
			other++;
		else if (!out.seen.gre_seq && !strcmp(out.seen.outer_dst, "10.99.0.2"))
			none++;
	}
	/* About half of the rows; of those, one in 32 has no substitute within four tries. */
	assert_in_range(other, 25, 75);
	assert_in_range(none, 25, 75);
}

/* The word is 4 bytes: what just fits without it does not with it, and the client is told. */
static void test_edge_when_word_makes_it_too_big_then_counted(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int has_word = 0; has_word < 2; has_word++) {
		struct bf_in in = {.pkt = {.src = BF_CLIENT6,
					   .dst = "2001:db8::10",
					   .sport = 40000,
					   .dport = 53,
					   .l4_proto = IPPROTO_UDP,
					   .payload = BF_MTU - 28 - 48}};
		struct bf_out out;

		set_rows(b, BF_SVC_EXACT6, BF_SVC_EXACT4, has_word ? BF_SVC_RANGE4 : 0);
		bf_run(b, BF_PUB_IN, &in, &out);
		assert_int_equal(bf_reason(b, DP_R_FORWARDED), !has_word);
		bf_setup(state);
	}
}

/* An edge that is the new owner itself: the packet comes from its public interface, padding and all. */
static void test_edge_when_it_is_the_owner_then_passes_on_itself(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, 0), back;
		uint32_t prev = c->prev == BF_NODE_V4 ? BF_SVC_EXACT4 : BF_SVC_RANGE4;

		drop_flows(b);
		in.pkt.outer_src = NULL;
		in.pkt.payload = 4;
		in.pkt.padding = 10;
		set_rows(b, svc_of(c), svc_of(c), prev);
		expect_hop(b, BF_PUB_IN, &in, DP_R_PASSED_ON, c->prev, SECOND, BF_SELF,
			   DP_TOKEN(svc_of(c), BF_USE));
		back = packet(c, c->prev, FINAL, NUM(BF_SELF));
		expect_here(b, &back, DP_R_ADOPTED, name_of(c));
	}
}

/* ---- Fragments ---- */

static void test_second_when_fragments_then_they_stay_together(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int family = 4; family <= 6; family += 2) {
		const struct cell c = {family, IPPROTO_UDP, BF_NODE_V4, BF_NODE_V6};
		uint32_t token = DP_TOKEN(svc_of(&c), BF_USE);
		struct bf_in in = packet(&c, c.edge, 0, NUM(c.prev)), back;
		struct bf_out out;

		drop_flows(b);
		in.pkt.payload = 2000;
		in.pkt.frag_mtu = 1280;
		in.pkt.frag_id = 77;
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_PASSED_ON, "first");
		in.pkt.frag_no = 1;
		in.pkt.gre_seq = 0;
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_PASSED_ON, "later");
		assert_int_equal(out.seen.gre_key, DP_GRE_KEY(SECOND, token));
		assert_string_equal(out.seen.outer_dst, "fd99::3");
		/* The previous owner knows nothing of it: both come back, and are adopted. */
		back = packet(&c, c.prev, FINAL, NUM(c.edge));
		back.pkt.payload = 2000;
		back.pkt.frag_mtu = 1280;
		back.pkt.frag_id = 77;
		back.pkt.frag_no = 1;
		expect_shot(b, &back, DP_R_FRAG_NO_FIRST, "later one before the first is back");
		back.pkt.frag_no = 0;
		bf_run(b, BF_MESH_IN, &back, &out);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_string_equal(out.seen.outer_dst, "");
		back.pkt.frag_no = 1;
		bf_run(b, BF_MESH_IN, &back, &out);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_string_equal(out.seen.outer_dst, "");
		/* As the previous owner. */
		bf_setup(state);
		drop_flows(b);
		in = packet(&c, c.prev, SECOND, NUM(c.edge));
		in.pkt.payload = 2000;
		in.pkt.frag_mtu = 1280;
		in.pkt.frag_id = 78;
		for (uint8_t no = 0; no < 2; no++) {
			in.pkt.frag_no = no;
			bf_run(b, BF_MESH_IN, &in, &out);
			bf_expect_reason(b, DP_R_PASSED_BACK, "neither is here");
			assert_int_equal(out.seen.gre_key, DP_GRE_KEY(FINAL, token));
		}
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_edge_when_row_has_previous_owner_elsewhere_then_names_it),
		T(test_edge_when_previous_owner_is_suspect_then_named_where_flows_are_looked_for),
		T(test_edge_when_owner_is_suspect_then_substitute_names_it),
		T(test_edge_when_word_makes_it_too_big_then_counted),
		T(test_edge_when_it_is_the_owner_then_passes_on_itself),
		T(test_second_when_fragments_then_they_stay_together),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
