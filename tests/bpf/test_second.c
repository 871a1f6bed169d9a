/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Flows that live elsewhere, as one worker sees them: passed on once, passed back, adopted; tokens that name nothing. The
 * edge's side: test_second_edge.c; whole ways over three nodes: test_second_views.c. */
#include "tests/bpf/second_cells.h"

/* ---- A worker without the flow ---- */

static void test_second_when_previous_owner_is_named_then_passed_on(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, NUM(c->prev));
		struct dp_flow_fwd f;

		drop_flows(b);
		expect_passed_on(b, c, &in);
		assert_int_equal(entry(b, &in, &f), 0);
		assert_int_equal(f.away_idx, c->prev);
		/* From now on it needs neither the word nor the budget. */
		in.pkt.gre_seq = 0;
		set_budget(b, 1u << 30);
		expect_passed_on(b, c, &in);
		set_budget(b, 0);
		assert_int_equal(bf_map_count(b, "dp_rev_new", 40), 0);
	}
}

/* Who is suspect may well be there: a connection is looked for, a question is not, unless its service says so. */
static void test_second_when_previous_owner_is_suspect_then_connections_are_looked_for(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, NUM(c->prev));

		bf_set_node_state(b, c->prev, DP_NODE_SUSPECT);
		for (uint32_t flags = 0; flags <= DP_SVC_UDP_STAY; flags += DP_SVC_UDP_STAY) {
			drop_flows(b);
			set_svc_flags(b, svc_of(c), flags);
			if (c->proto == IPPROTO_TCP || flags) {
				expect_passed_on(b, c, &in);
				expect_passed_on(b, c, &in); /* known to be there */
			} else {
				expect_here(b, &in, DP_R_DELIVERED_HOST, name_of(c));
			}
		}
		set_svc_flags(b, svc_of(c), 0);
		bf_set_node_state(b, c->prev, DP_NODE_UP);
	}
}

static void test_second_when_no_hop_is_due_then_here(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		const uint32_t words[] = {0, NUM(BF_SELF), 4711, NUM(BF_NODE_NO_ADDR + 1)};
		struct bf_in in;

		for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
			drop_flows(b);
			in = packet(c, c->edge, 0, words[i]);
			expect_here(b, &in, DP_R_DELIVERED_HOST, name_of(c));
		}
		drop_flows(b);
		bf_set_node_state(b, c->prev, DP_NODE_DOWN);
		in = packet(c, c->edge, 0, NUM(c->prev));
		expect_here(b, &in, DP_R_DELIVERED_HOST, "dead");
		bf_set_node_state(b, c->prev, DP_NODE_UP);
		/* And when it is known here. */
		expect_here(b, &in, DP_R_DELIVERED_HOST, "known");
		if (c->proto != IPPROTO_TCP)
			continue;
		drop_flows(b);
		in.pkt.tcp_flags = 2;
		expect_here(b, &in, DP_R_DELIVERED_HOST, "SYN");
		in.pkt.tcp_flags = 0x10;
		expect_here(b, &in, DP_R_DELIVERED_HOST, "behind the SYN");
	}
}

static void test_second_when_final_then_adopted_and_no_longer_away(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, NUM(c->prev)),
			     back = packet(c, c->prev, FINAL, NUM(c->edge));
		struct dp_flow_fwd f;

		drop_flows(b);
		expect_passed_on(b, c, &in);
		expect_here(b, &back, DP_R_ADOPTED, name_of(c));
		assert_int_equal(entry(b, &in, &f), 0);
		assert_int_equal(f.away_idx, 0);
		assert_int_equal(f.slot, svc_of(c));
		assert_int_equal(f.edge_idx, c->edge);
		expect_here(b, &back, DP_R_DELIVERED_HOST, "the second one that came back");
		expect_here(b, &in, DP_R_DELIVERED_HOST, "and those that follow");
	}
}

static void test_second_when_budget_is_spent_then_adopted_at_once(void **state)
{
	struct bf *b = *state;
	uint64_t limited = 0;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, NUM(c->prev));
		struct bf_out out;

		set_svc(b, svc_of(c), 0, 30); /* 3 in a tenth of a second */
		for (uint16_t i = 0; i < 60; i++) {
			in.pkt.sport = (uint16_t)(10000 + i);
			bf_run(b, BF_MESH_IN, &in, &out);
			assert_int_equal(out.retval, ACT_REDIRECT);
		}
		limited = bf_reason(b, DP_R_HOP_LIMITED);
		assert_int_equal(limited + bf_reason(b, DP_R_PASSED_ON), 60);
		assert_true(limited >= 60 - 3 * 10); /* were it a whole second in coming */
		bf_setup(state);
		set_budget(b, 0);
	}
}

static void test_away_when_it_no_longer_holds_then_begins_anew(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, NUM(c->prev)), bare = in;
		struct dp_flow_fwd f;

		bare.pkt.gre_seq = 0;
		drop_flows(b);
		expect_passed_on(b, c, &in);
		bf_set_node_state(b, c->prev, DP_NODE_DOWN);
		expect_here(b, &bare, DP_R_DELIVERED_HOST, "its node is dead");
		bf_set_node_state(b, c->prev, DP_NODE_UP);

		drop_flows(b);
		expect_passed_on(b, c, &in);
		assert_int_equal(entry(b, &in, &f), 0);
		f.seen_s -= c->proto == IPPROTO_TCP ? 7442 : 182;
		put_entry(b, &in, &f);
		expect_here(b, &bare, DP_R_DELIVERED_HOST, "idle for too long");
		if (c->proto != IPPROTO_TCP)
			continue;
		drop_flows(b);
		expect_passed_on(b, c, &in);
		bare.pkt.tcp_flags = 2;
		expect_here(b, &bare, DP_R_DELIVERED_HOST, "SYN");
	}
}

/* An entry of our own that has been silent: the row's previous owner is asked first, and ours stays in case. */
static void test_second_when_own_entry_is_doubtful_then_previous_owner_is_asked(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, NUM(c->prev)), bare = in,
			     back = packet(c, c->prev, FINAL, NUM(c->edge)), second;
		struct dp_flow_fwd f;

		bare.pkt.gre_seq = 0;
		drop_flows(b);
		expect_here(b, &bare, DP_R_DELIVERED_HOST, "begins");
		expect_here(b, &in, DP_R_DELIVERED_HOST, "not in doubt");
		assert_int_equal(entry(b, &in, &f), 0);
		f.seen_s -= 3;
		put_entry(b, &in, &f);
		expect_passed_on(b, c, &in);
		expect_passed_on(b, c, &bare);
		expect_here(b, &back, DP_R_DELIVERED_HOST, "nobody else has it");
		expect_here(b, &in, DP_R_DELIVERED_HOST, "no longer in doubt");
		assert_int_equal(entry(b, &in, &f), 0);
		assert_int_equal(f.away_idx, 0);
		f.seen_s -= 3;
		put_entry(b, &in, &f);
		expect_here(b, &bare, DP_R_DELIVERED_HOST, "no previous owner");
		/* Asked in turn meanwhile: it is where we think it is, also if the asker is that one and in doubt itself;
		 * ours if that one is down. */
		f.away_idx = c->prev;
		put_entry(b, &in, &f);
		second = packet(c, c->edge, SECOND, NUM(c->edge));
		expect_hop(b, BF_MESH_IN, &second, DP_R_PASSED_ON, c->prev, FINAL, c->edge,
			   DP_TOKEN(svc_of(c), BF_USE));
		second = packet(c, c->prev, SECOND, NUM(c->edge));
		expect_hop(b, BF_MESH_IN, &second, DP_R_PASSED_BACK, c->prev, FINAL, c->edge,
			   DP_TOKEN(svc_of(c), BF_USE));
		expect_passed_on(b, c, &bare);
		second = packet(c, c->prev, SECOND | DP_GRE_F_ASK, NUM(c->edge));
		expect_here(b, &second, DP_R_DELIVERED_HOST, "who asks for a pointer has no entry");
		put_entry(b, &in, &f);
		bf_set_node_state(b, c->prev, DP_NODE_DOWN);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "it is down");
		bf_set_node_state(b, c->prev, DP_NODE_UP);
		if (c->proto != IPPROTO_TCP)
			continue;
		bare.pkt.tcp_flags = 4;
		expect_here(b, &bare, DP_R_DELIVERED_HOST, "reset");
		assert_int_equal(entry(b, &in, &f), 0);
		assert_int_equal(f.state, DP_FLOW_CLOSING);
		f.seen_s -= 3;
		put_entry(b, &in, &f);
		expect_passed_on(b, c, &in);
		in.pkt.tcp_flags = 2;
		expect_here(b, &in, DP_R_DELIVERED_HOST, "SYN");
	}
}

/* ---- The previous owner ---- */

static void test_second_when_flow_is_here_then_served_by_the_edge_named(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in first = packet(c, c->prev, 0, 0),
			     in = packet(c, c->prev, SECOND, NUM(c->edge));
		struct bf_in answer = {.pkt = {.src = c->family == 4 ? "10.0.0.5" : "2001:db8:1::5",
					       .dst = first.pkt.src,
					       .sport = 8080,
					       .dport = 40000,
					       .l4_proto = c->proto,
					       .tcp_flags = 0x10,
					       .payload = 50}};
		struct bf_out out;

		drop_flows(b);
		expect_here(b, &first, DP_R_DELIVERED_HOST, "the flow begins");
		in.pkt.gre_key = DP_GRE_KEY(SECOND, 0x123456); /* the token is not ours */
		expect_here(b, &in, DP_R_DELIVERED_HOST, name_of(c));
		bf_run(b, BF_UP_OUT, &answer, &out);
		bf_expect_reason(b, DP_R_REPLY_ENCAP, name_of(c));
		assert_string_equal(out.seen.outer_dst, addr_of(c->edge));
		assert_int_equal(out.seen.gre_flags, 0x2000);
	}
}

static void test_second_when_flow_is_not_here_then_passed_back(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->prev, SECOND, NUM(c->edge)), away;
		struct dp_local l = bf_local(svc_of(c));
		uint32_t token = DP_TOKEN(svc_of(c), BF_USE);
		struct dp_flow_fwd f;

		drop_flows(b);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_BACK, c->prev, FINAL, c->edge, token);
		assert_int_equal(bf_map_count(b, "dp_fwd_new", 40), 0);
		/* Nor is one that was passed on from here. */
		away = packet(c, c->edge, 0, NUM(c->prev));
		expect_passed_on(b, c, &away);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_BACK, c->prev, FINAL, c->edge, token);
		assert_int_equal(entry(b, &in, &f), 0);
		assert_int_equal(f.away_idx, c->prev);
		/* Nor one of a backend that was taken off, or is ill. */
		drop_flows(b);
		away.pkt.gre_seq = 0;
		expect_here(b, &away, DP_R_DELIVERED_HOST, "a flow");
		l.live = 0;
		bf_set_local(b, svc_of(c), &l);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_BACK, c->prev, FINAL, c->edge, token);
		l.live = 1;
		bf_set_local(b, svc_of(c), &l);
		expect_here(b, &away, DP_R_DELIVERED_HOST, "a flow");
		bf_set_backend(b, svc_of(c), DP_BE_DEAD, BF_SELF);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_BACK, c->prev, FINAL, c->edge, token);
		bf_set_backend(b, svc_of(c), DP_BE_UP, BF_SELF);
	}
}

/* It moved twice: whom we passed it on to gets it, for good; and the sender if that is the one. */
static void test_second_when_flow_went_on_then_it_ends_there(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in away = packet(c, c->edge, 0, NUM(c->prev)),
			     in = packet(c, c->edge, SECOND, NUM(c->edge));
		uint32_t token = DP_TOKEN(svc_of(c), BF_USE);
		struct dp_flow_fwd f;

		drop_flows(b);
		expect_passed_on(b, c, &away);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_ON, c->prev, FINAL, c->edge, token);
		bf_set_node_state(b, c->prev, DP_NODE_DOWN);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_BACK, c->edge, FINAL, c->edge, token);
		bf_set_node_state(b, c->prev, DP_NODE_UP);
		assert_int_equal(entry(b, &in, &f), 0);
		f.seen_s -= c->proto == IPPROTO_TCP ? 7442 : 182;
		put_entry(b, &in, &f);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_BACK, c->edge, FINAL, c->edge, token);
	}
}

static void test_second_when_edge_is_unknown_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->prev, SECOND, 4711);

		expect_shot(b, &in, DP_R_REPLY_NO_EDGE, "unknown number");
		in.pkt.gre_seq = 0;
		expect_shot(b, &in, DP_R_REPLY_NO_EDGE, "no number");
		in = packet(c, c->prev, FINAL, 4711);
		expect_shot(b, &in, DP_R_REPLY_NO_EDGE, "final");
	}
}

static void test_second_when_sender_is_no_node_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (uint32_t marks = 0; marks <= FINAL; marks += 2) {
		struct bf_in in = packet(&cells[0], BF_NODE_V4, marks, NUM(BF_NODE_V6));

		in.pkt.outer_src = "10.99.0.77";
		expect_shot(b, &in, DP_R_GRE_UNKNOWN_PEER, "stranger");
	}
}

/* ---- Tokens that name nothing ---- */

static void test_miss_when_service_has_a_backend_here_then_it_takes_it(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		static const uint32_t tokens[] = {0x123456, 0, DP_TOKEN(BF_SVC_HOSTRANGE4, BF_USE)};

		for (size_t i = 0; i < 3; i++) {
			struct bf_in in =
				packet(c, c->edge, i == 2 ? FINAL : 0, i == 2 ? NUM(c->edge) : 0);

			drop_flows(b);
			set_svc(b, svc_of(c), 1 + svc_of(c), 0);
			in.pkt.gre_key = DP_GRE_KEY(i == 2 ? FINAL : 0, tokens[i]);
			expect_here(b, &in, i == 2 ? DP_R_ADOPTED : DP_R_DELIVERED_HOST,
				    name_of(c));
			/* Never a backend of another service, whatever the tables say. */
			drop_flows(b);
			set_svc(b, svc_of(c), 1 + BF_SVC_HOSTRANGE4, 0);
			set_rows(b, svc_of(c), 0, 0);
			expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "another's");
			bf_setup(state);
			drop_flows(b);
		}
	}
}

static void test_miss_when_owner_is_elsewhere_then_one_hop_for_good(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, 0);
		uint32_t remote = c->prev == BF_NODE_V4 ? BF_SVC_EXACT4 : BF_SVC_RANGE4;
		uint32_t token = DP_TOKEN(remote, BF_USE);

		drop_flows(b);
		set_budget(b, 0);
		set_svc(b, svc_of(c), 0, 10);
		set_rows(b, svc_of(c), remote, 0);
		in.pkt.gre_key = DP_GRE_KEY(0, 0x123456);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_ON, c->prev, FINAL, c->edge, token);
		/* The flow is there now. */
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_ON, c->prev, SECOND, c->edge, 0x123456);
		in = packet(c, c->prev, FINAL, NUM(c->edge));
		in.pkt.gre_key = DP_GRE_KEY(FINAL, 0x123456);
		expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "came back");
		assert_int_equal(bf_map_count(b, "dp_fwd_new", 40), 0);
		/* Out of budget, to a node that is down, to ourselves, to nobody: the end. */
		in = packet(c, c->edge, 0, 0);
		in.pkt.gre_key = DP_GRE_KEY(0, 0x123456);
		for (uint16_t i = 0; i < 40; i++) {
			struct bf_out out;

			in.pkt.sport = (uint16_t)(10000 + i);
			bf_run(b, BF_MESH_IN, &in, &out);
		}
		assert_true(bf_reason(b, DP_R_TOKEN_UNKNOWN) >= 20);
		bf_setup(state);
		set_svc(b, svc_of(c), 0, 0);
		in.pkt.sport = 50000;
		set_rows(b, svc_of(c), remote, 0);
		bf_set_node_state(b, c->prev, DP_NODE_DOWN);
		expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "down");
		bf_set_node_state(b, c->prev, DP_NODE_UP);
		set_rows(b, svc_of(c), svc_of(c), 0);
		expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "we ourselves");
		set_rows(b, svc_of(c), 0, 0);
		expect_shot(b, &in, DP_R_TOKEN_UNKNOWN, "nobody");
		bf_setup(state);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_second_when_previous_owner_is_named_then_passed_on),
		T(test_second_when_previous_owner_is_suspect_then_connections_are_looked_for),
		T(test_second_when_no_hop_is_due_then_here),
		T(test_second_when_final_then_adopted_and_no_longer_away),
		T(test_second_when_budget_is_spent_then_adopted_at_once),
		T(test_away_when_it_no_longer_holds_then_begins_anew),
		T(test_second_when_flow_is_here_then_served_by_the_edge_named),
		T(test_second_when_flow_is_not_here_then_passed_back),
		T(test_second_when_own_entry_is_doubtful_then_previous_owner_is_asked),
		T(test_second_when_flow_went_on_then_it_ends_there),
		T(test_second_when_edge_is_unknown_then_dropped),
		T(test_second_when_sender_is_no_node_then_dropped),
		T(test_miss_when_service_has_a_backend_here_then_it_takes_it),
		T(test_miss_when_owner_is_elsewhere_then_one_hop_for_good),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
