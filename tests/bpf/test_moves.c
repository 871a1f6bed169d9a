/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Pointers to long connections: left by who has them, kept, asked for, told. Whole ways over three nodes whose tables are at
 * odds: test_second_views.c; over two regions: tests/net/test_regionmove.sh. */
#include <arpa/inet.h>

#include "tests/bpf/second_cells.h"

#define ASK (DP_GRE_F_SECOND | DP_GRE_F_ASK)
#define TELL DP_GRE_F_TELL
#define LAST (FINAL | DP_GRE_F_LAST)
#define ASK_AGAIN (FINAL | DP_GRE_F_ASK)

static void set_meet(struct bf *b, uint32_t node_idx)
{
	for (uint32_t i = 0; i < DP_MEET_ROWS; i++)
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_meet"), &i, &node_idx, 0), 0);
}

/* Every other row names the one, the rest the other. */
static void set_meet_two(struct bf *b, const uint32_t node_idx[2])
{
	for (uint32_t i = 0; i < DP_MEET_ROWS; i++)
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_meet"), &i, &node_idx[i & 1], 0),
				 0);
}

static void set_pointer(struct bf *b, const struct bf_in *in, uint32_t node_idx, int32_t age_s)
{
	struct dp_flow_fwd_key k = fwd_key(&in->pkt);
	struct dp_flow_fwd f;
	struct dp_pointer p = {.node_idx = node_idx};
	struct bf_in probe = *in;
	struct bf_out out;

	/* What time is it in there? A flow's entry says. */
	probe.pkt.sport = 65000;
	probe.pkt.l4_proto = IPPROTO_UDP;
	probe.pkt.gre_key &= 0xffffffu;
	probe.pkt.gre_seq = 0;
	bf_run(b, BF_MESH_IN, &probe, &out);
	bf_forget_reasons(b);
	assert_int_equal(entry(b, &probe, &f), 0);
	p.seen_s = f.seen_s - (uint32_t)age_s;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_pointer"), &k, &p, BPF_ANY), 0);
}

static void drop_pointers(struct bf *b)
{
	uint8_t key[40];

	while (!bpf_map_get_next_key(bf_map(b, "dp_pointer"), NULL, key))
		assert_int_equal(bpf_map_delete_elem(bf_map(b, "dp_pointer"), key), 0);
}

static uint32_t token_of(const struct cell *c)
{
	return DP_TOKEN(svc_of(c), BF_USE);
}

/* In each cell the "previous owner" is the keeper, and the edge is the one that has the flow. */
static void begin(struct bf *b, const struct cell *c)
{
	drop_flows(b);
	drop_pointers(b);
	set_budget(b, 0);
	set_meet(b, c->prev);
	set_svc_flags(b, svc_of(c), DP_SVC_MOVES);
}

static void ask(struct bf *b, const struct cell *c, const struct bf_in *in)
{
	expect_hop(b, BF_MESH_IN, in, DP_R_PASSED_ON, c->prev, ASK, c->edge, token_of(c));
}

/* ---- A worker without the flow ---- */

static void test_moves_when_connection_is_unknown_then_keeper_is_asked(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, 0),
			     back = packet(c, c->prev, LAST, NUM(c->edge));
		struct dp_flow_fwd f;

		begin(b, c);
		if (c->proto != IPPROTO_TCP) {
			expect_here(b, &in, DP_R_DELIVERED_HOST, "UDP");
			continue;
		}
		ask(b, c, &in);
		assert_int_equal(entry(b, &in, &f), 0);
		assert_int_equal(f.away_idx, c->prev);
		assert_int_equal(f.edge_idx, c->edge);
		/* Those right behind it ask as well, and need no budget. */
		set_budget(b, 1u << 30);
		ask(b, c, &in);
		set_budget(b, 0);
		/* It has none: as ever. */
		expect_here(b, &back, DP_R_ADOPTED, name_of(c));
		expect_here(b, &in, DP_R_DELIVERED_HOST, "adopted");
		assert_int_equal(bf_map_count(b, "dp_pointer", 40), 0);
	}
}

static void test_moves_when_nobody_is_to_be_asked_then_here(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, 0), syn = in;

		if (c->proto != IPPROTO_TCP)
			continue;
		begin(b, c);
		set_svc_flags(b, svc_of(c), 0);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "no such policy");
		begin(b, c);
		syn.pkt.tcp_flags = 2;
		expect_here(b, &syn, DP_R_DELIVERED_HOST, "SYN");
		expect_here(b, &in, DP_R_DELIVERED_HOST, "known");
		begin(b, c);
		set_meet(b, 0);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "no keeper");
		begin(b, c);
		set_meet(b, BF_NODE_NO_ADDR + 1);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "a keeper that is no node");
		begin(b, c);
		bf_set_node_state(b, c->prev, DP_NODE_DOWN);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "dead");
		bf_set_node_state(b, c->prev, DP_NODE_UP);
		/* The row's previous owner goes first. */
		begin(b, c);
		in.pkt.gre_seq = NUM(c->prev);
		expect_passed_on(b, c, &in);
	}
}

/* The row's previous owner has not got it: then the keeper is asked, once. */
static void test_moves_when_previous_owner_has_it_not_then_keeper_is_asked(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, NUM(c->prev)),
			     back = packet(c, c->prev, FINAL, NUM(c->edge)), told;

		if (c->proto != IPPROTO_TCP)
			continue;
		begin(b, c);
		set_meet(b, c->edge);
		expect_passed_on(b, c, &in);
		expect_hop(b, BF_MESH_IN, &back, DP_R_PASSED_ON, c->edge, ASK_AGAIN, c->edge,
			   token_of(c));
		/* Those behind it, from the edge or passed back; also when it has said so. */
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_ON, c->edge, ASK, c->edge, token_of(c));
		expect_hop(b, BF_MESH_IN, &back, DP_R_PASSED_ON, c->edge, ASK_AGAIN, c->edge,
			   token_of(c));
		told = packet(c, c->edge, TELL, NUM(c->prev));
		expect_hop(b, BF_MESH_IN, &told, DP_R_PASSED_ON, c->prev, LAST, c->edge,
			   token_of(c));
		told = packet(c, BF_NODE_V4 + BF_NODE_V6 - c->prev, FINAL, NUM(c->edge));
		expect_hop(b, BF_MESH_IN, &told, DP_R_PASSED_ON, c->prev, LAST, c->edge,
			   token_of(c));
		expect_here(b, &back, DP_R_ADOPTED, "not even there");
		/* There is no pointer, either. */
		begin(b, c);
		set_meet(b, c->edge);
		expect_passed_on(b, c, &in);
		expect_hop(b, BF_MESH_IN, &back, DP_R_PASSED_ON, c->edge, ASK_AGAIN, c->edge,
			   token_of(c));
		told = packet(c, c->edge, LAST, NUM(c->edge));
		expect_here(b, &told, DP_R_ADOPTED, "last");
		expect_here(b, &in, DP_R_DELIVERED_HOST, "adopted");
		/* The previous owner is the keeper: it was asked for the flow alone. */
		begin(b, c);
		expect_passed_on(b, c, &in);
		expect_hop(b, BF_MESH_IN, &back, DP_R_PASSED_ON, c->prev, ASK_AGAIN, c->edge,
			   token_of(c));
		/* It is the last word already; or the service has no such policy. */
		for (uint32_t flag = DP_GRE_F_ASK; flag <= DP_GRE_F_LAST; flag *= 4) {
			begin(b, c);
			set_meet(b, c->edge);
			expect_passed_on(b, c, &in);
			told = packet(c, c->prev, FINAL | flag, NUM(c->edge));
			if (flag == DP_GRE_F_LAST)
				expect_here(b, &told, DP_R_ADOPTED, "last");
			else
				expect_hop(b, BF_MESH_IN, &told, DP_R_PASSED_BACK, c->prev, LAST,
					   c->edge, token_of(c));
		}
		begin(b, c);
		set_meet(b, c->edge);
		set_svc_flags(b, svc_of(c), 0);
		expect_passed_on(b, c, &in);
		expect_here(b, &back, DP_R_ADOPTED, "no such policy");
		/* This worker keeps it itself. */
		begin(b, c);
		set_meet(b, BF_SELF);
		set_pointer(b, &in, c->edge, 0);
		expect_passed_on(b, c, &in);
		expect_hop(b, BF_MESH_IN, &back, DP_R_PASSED_ON, c->edge, LAST, c->edge,
			   token_of(c));
		begin(b, c);
		set_meet(b, BF_SELF);
		set_pointer(b, &in, c->prev, 0);
		expect_passed_on(b, c, &in);
		expect_here(b, &back, DP_R_ADOPTED, "it names whom it comes from");
	}
}

/* One budget, wherever the keepers are. */
static void test_moves_when_budget_is_spent_then_adopted_at_once(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, 0);
		struct bf_out out;
		uint64_t limited;

		if (c->proto != IPPROTO_TCP)
			continue;
		begin(b, c);
		bf_forget_reasons(b);
		limited = bf_reason(b, DP_R_HOP_LIMITED);
		set_svc(b, svc_of(c), 0, 30); /* 3 in a tenth of a second */
		set_meet_two(b, (const uint32_t[2]){c->prev, c->edge});
		for (uint16_t i = 0; i < 60; i++) {
			in.pkt.sport = (uint16_t)(10000 + i);
			bf_run(b, BF_MESH_IN, &in, &out);
			assert_int_equal(out.retval, ACT_REDIRECT);
		}
		assert_true(bf_reason(b, DP_R_HOP_LIMITED) - limited >= 60 - 3 * 10);
		set_svc(b, svc_of(c), 0, 0);
	}
}

static void test_moves_when_keeper_is_this_worker_then_its_own_pointer_counts(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, 0);

		if (c->proto != IPPROTO_TCP)
			continue;
		begin(b, c);
		set_meet(b, BF_SELF);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "there is none");
		drop_flows(b);
		set_pointer(b, &in, c->prev, 0);
		expect_passed_on(b, c, &in);
		expect_passed_on(b, c, &in);
		drop_flows(b);
		set_pointer(b, &in, BF_SELF, 0);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "to itself");
		drop_flows(b);
		set_pointer(b, &in, c->prev, 7500);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "too old");
	}
}

static void test_told_when_asked_then_on_to_the_owner_for_good(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, BF_NODE_V6, 0, 0),
			     told = packet(c, c->prev, TELL, NUM(c->edge));

		if (c->proto != IPPROTO_TCP)
			continue;
		in = packet(c, c->edge, 0, 0);
		begin(b, c);
		ask(b, c, &in);
		expect_hop(b, BF_MESH_IN, &told, DP_R_PASSED_ON, c->edge, LAST, c->edge,
			   token_of(c));
		/* And the second one that was under way; then straight there. */
		expect_hop(b, BF_MESH_IN, &told, DP_R_PASSED_ON, c->edge, LAST, c->edge,
			   token_of(c));
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_ON, c->edge, SECOND, c->edge,
			   token_of(c));
		/* It is gone from there. */
		in = packet(c, c->edge, FINAL, NUM(c->edge));
		expect_here(b, &in, DP_R_ADOPTED, "came back");
	}
}

static void test_told_when_not_asked_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, 0),
			     told = packet(c, c->prev, TELL, NUM(c->edge));
		struct dp_flow_fwd f;

		if (c->proto != IPPROTO_TCP) {
			expect_shot(b, &told, DP_R_REPLY_NO_EDGE, "UDP");
			continue;
		}
		begin(b, c);
		expect_shot(b, &told, DP_R_REPLY_NO_EDGE, "nobody asked");
		assert_int_equal(bf_map_count(b, "dp_fwd_new", 40), 0);
		ask(b, c, &in);
		told = packet(c, c->edge, TELL, NUM(c->prev));
		assert_int_equal(entry(b, &in, &f), 0);
		f.away_idx = BF_NODE_NO_ADDR;
		put_entry(b, &in, &f);
		expect_shot(b, &told, DP_R_REPLY_NO_EDGE, "another was asked");
		f.away_idx = c->edge;
		f.use_count = 0;
		put_entry(b, &in, &f);
		expect_shot(b, &told, DP_R_REPLY_NO_EDGE, "asked as a previous owner");
		told = packet(c, c->prev, TELL, 4711);
		begin(b, c);
		ask(b, c, &in);
		expect_shot(b, &told, DP_R_REPLY_NO_EDGE, "unknown number");
		told = packet(c, c->prev, TELL, NUM(BF_SELF));
		expect_shot(b, &told, DP_R_REPLY_NO_EDGE, "this node");
		/* It began here meanwhile. */
		in.pkt.tcp_flags = 2;
		expect_here(b, &in, DP_R_DELIVERED_HOST, "SYN");
		told = packet(c, c->prev, TELL, NUM(c->edge));
		expect_shot(b, &told, DP_R_REPLY_NO_EDGE, "its own");
		in.pkt.tcp_flags = 0x10;
		expect_here(b, &in, DP_R_DELIVERED_HOST, "still its own");
	}
}

/* ---- The keeper ---- */

static void test_keeper_when_asked_then_tells_or_passes_back(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->prev, ASK, NUM(c->edge)), plain;
		struct bf_out out;

		if (c->proto != IPPROTO_TCP)
			continue;
		begin(b, c);
		set_svc_flags(b, svc_of(c), 0); /* it need not know the service's policy */
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_BACK, c->prev, LAST, c->edge,
			   token_of(c));
		set_pointer(b, &in, c->edge, 0);
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_POINTED, name_of(c));
		assert_string_equal(out.seen.outer_dst, addr_of(c->prev));
		assert_int_equal(out.seen.gre_key, DP_GRE_KEY(TELL, token_of(c)));
		assert_int_equal(out.seen.gre_seq, NUM(c->edge));
		assert_int_equal(out.seen.payload, in.pkt.payload);
		/* After a previous owner: the same. */
		plain = packet(c, c->prev, ASK_AGAIN, NUM(c->edge));
		bf_run(b, BF_MESH_IN, &plain, &out);
		bf_expect_reason(b, DP_R_POINTED, "again");
		assert_int_equal(out.seen.gre_key, DP_GRE_KEY(TELL, token_of(c)));
		plain = packet(c, c->prev, SECOND, NUM(c->edge));
		expect_hop(b, BF_MESH_IN, &plain, DP_R_PASSED_BACK, c->prev, FINAL, c->edge,
			   token_of(c));
		bf_set_node_state(b, c->edge, DP_NODE_DOWN);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_BACK, c->prev, LAST, c->edge,
			   token_of(c));
		bf_set_node_state(b, c->edge, DP_NODE_UP);
		set_pointer(b, &in, c->prev, 0);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_BACK, c->prev, LAST, c->edge,
			   token_of(c));
		set_pointer(b, &in, c->edge, 7500);
		expect_hop(b, BF_MESH_IN, &in, DP_R_PASSED_BACK, c->prev, LAST, c->edge,
			   token_of(c));
		/* What it has itself, it serves. */
		plain = packet(c, c->edge, 0, 0);
		expect_here(b, &plain, DP_R_DELIVERED_HOST, "begins here");
		expect_here(b, &in, DP_R_DELIVERED_HOST, "served");
	}
}

static struct bf_in message(struct dp_pointer_msg *m, const struct bf_in *of, uint32_t from)
{
	*m = (struct dp_pointer_msg){.magic_be = htonl(DP_POINTER_MAGIC_BE),
				     .key = fwd_key(&of->pkt)};
	return (struct bf_in){.pkt = {.src = addr_of(from),
				      .dst = from == BF_NODE_V4 ? "10.99.0.1" : "fd99::1",
				      .sport = 55555,
				      .dport = DP_PING_PORT,
				      .l4_proto = IPPROTO_UDP,
				      .payload = sizeof(*m),
				      .data = m}};
}

static int pointer_of(struct bf *b, const struct bf_in *in, struct dp_pointer *p)
{
	struct dp_flow_fwd_key k = fwd_key(&in->pkt);

	return bpf_map_lookup_elem(bf_map(b, "dp_pointer"), &k, p);
}

static void test_pointer_when_of_a_node_then_noted(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, 0), msg;
		struct dp_pointer_msg m;
		struct dp_pointer p;

		begin(b, c);
		msg = message(&m, &in, c->edge);
		expect_shot(b, &msg, DP_R_POINTER_NOTED, name_of(c));
		assert_int_equal(pointer_of(b, &in, &p), 0);
		assert_int_equal(p.node_idx, c->edge);
		/* Who says so last has it. */
		msg = message(&m, &in, c->prev);
		expect_shot(b, &msg, DP_R_POINTER_NOTED, name_of(c));
		assert_int_equal(pointer_of(b, &in, &p), 0);
		assert_int_equal(p.node_idx, c->prev);
		assert_int_equal(bf_map_count(b, "dp_pointer", 40), 1);
	}
}

static void test_pointer_when_not_to_be_believed_then_not_noted(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in in = packet(c, c->edge, 0, 0), msg, other;
		struct dp_pointer_msg m;
		struct bf_out out;

		begin(b, c);
		msg = message(&m, &in, c->edge);
		other = msg;
		other.pkt.src = c->edge == BF_NODE_V4 ? "10.99.0.77" : "fd99::77";
		expect_shot(b, &other, DP_R_POINTER_REFUSED, "a stranger");
		bf_set_rate(b, BF_RATE_POINTER, 1u << 30);
		bf_run(b, BF_MESH_IN, &msg, &out);
		if (!bf_reason(b, DP_R_POINTER_REFUSED)) /* the window ended just then */
			print_message("rate: a window was new\n");
		bf_forget_reasons(b);
		drop_pointers(b);
		other = msg;
		other.pkt.payload = sizeof(m) - 1;
		bf_run(b, BF_MESH_IN, &other, &out);
		bf_expect_reason(b, DP_R_MESH_PASS, "short");
		other = msg;
		other.pkt.dport = 7946;
		bf_run(b, BF_MESH_IN, &other, &out);
		bf_expect_reason(b, DP_R_MESH_PASS, "another port");
		m.magic_be++;
		bf_run(b, BF_MESH_IN, &msg, &out);
		bf_expect_reason(b, DP_R_MESH_PASS, "something else");
		assert_int_equal(bf_map_count(b, "dp_pointer", 40), 0);
	}
}

/* ---- Who has the connection ---- */

static struct dp_leave left[4];
static size_t left_count;

static int on_leave(void *arg, void *data, size_t len)
{
	(void)arg;
	assert_int_equal(len, sizeof(struct dp_leave));
	if (left_count < 4)
		memcpy(&left[left_count], data, len);
	left_count++;
	return 0;
}

/* What is to be left now, in `left`. */
static size_t leaves(struct bf *b)
{
	struct ring_buffer *ring = ring_buffer__new(bf_map(b, "dp_leave"), on_leave, NULL, NULL);

	assert_non_null(ring);
	left_count = 0;
	assert_true(ring_buffer__consume(ring) >= 0);
	ring_buffer__free(ring);
	return left_count;
}

/* A connection that its backend has answered, whose last packet came `age_s` ago. */
static void assured(struct bf *b, const struct cell *c, const struct bf_in *in, uint32_t age_s)
{
	struct bf_in answer = {.pkt = {.src = c->family == 4 ? "10.0.0.5" : "2001:db8:1::5",
				       .dst = in->pkt.src,
				       .sport = 8080,
				       .dport = in->pkt.sport,
				       .l4_proto = c->proto,
				       .tcp_flags = 0x10,
				       .payload = 50}};
	struct dp_flow_fwd_key k = fwd_key(&in->pkt);
	struct dp_flow_fwd f;
	struct bf_out out;

	drop_flows(b);
	bf_run(b, BF_MESH_IN, in, &out);
	bf_run(b, BF_UP_OUT, &answer, &out);
	bf_forget_reasons(b);
	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_fwd"), &k, &f), 0);
	f.seen_s -= age_s;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_fwd"), &k, &f, BPF_ANY), 0);
	(void)leaves(b);
}

static void test_leave_when_due_then_once_and_at_the_keeper(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in syn = packet(c, c->edge, 0, 0), in = syn;
		struct dp_flow_fwd_key k = fwd_key(&in.pkt);

		syn.pkt.tcp_flags = 2;
		begin(b, c);
		assured(b, c, &syn, 16);
		expect_here(b, &in, DP_R_DELIVERED_HOST, name_of(c));
		if (c->proto != IPPROTO_TCP) {
			assert_int_equal(leaves(b), 0);
			continue;
		}
		assert_int_equal(leaves(b), 1);
		assert_memory_equal(&left[0].key, &k, sizeof(k));
		assert_int_equal(left[0].node_idx, c->prev);
		for (int i = 0; i < 10; i++)
			expect_here(b, &in, DP_R_DELIVERED_HOST, "the same second, or the next");
		assert_true(leaves(b) <= 1); /* its own moment may be just then */
		/* By way of another worker, too: that is where it is after it has moved. */
		assured(b, c, &syn, 16);
		in = packet(c, c->prev, FINAL, NUM(c->edge));
		expect_here(b, &in, DP_R_DELIVERED_HOST, "moved");
		assert_int_equal(leaves(b), 1);
	}
}

static void test_leave_when_not_due_then_not(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	FOR_CELLS(c)
	{
		struct bf_in syn = packet(c, c->edge, 0, 0), in = syn;
		struct dp_flow_fwd f;

		if (c->proto != IPPROTO_TCP)
			continue;
		syn.pkt.tcp_flags = 2;
		begin(b, c);
		set_svc_flags(b, svc_of(c), 0);
		assured(b, c, &syn, 16);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "no such policy");
		begin(b, c);
		set_meet(b, BF_SELF);
		assured(b, c, &syn, 16);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "its own keeper");
		set_meet(b, 0);
		assured(b, c, &syn, 16);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "no keeper");
		begin(b, c);
		assured(b, c, &syn, 16);
		in.pkt.tcp_flags = 0x11;
		expect_here(b, &in, DP_R_DELIVERED_HOST, "FIN");
		in.pkt.tcp_flags = 0x10;
		begin(b, c);
		expect_here(b, &syn, DP_R_DELIVERED_HOST, "not answered");
		assert_int_equal(entry(b, &in, &f), 0);
		f.seen_s -= 16;
		put_entry(b, &in, &f);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "still not");
		assert_int_equal(leaves(b), 0);
	}
}

/* Sixteen seconds hold one moment, wherever its port puts it. */
static void test_leave_when_sixteen_seconds_pass_then_once(void **state)
{
	const struct cell *c = &cells[1];
	struct bf *b = *state;

	bf_need(b);
	begin(b, c);
	for (uint16_t i = 0; i < 16; i++) {
		struct bf_in in = packet(c, c->edge, 0, 0), syn;

		in.pkt.sport = (uint16_t)(40000 + i);
		syn = in;
		syn.pkt.tcp_flags = 2;
		assured(b, c, &syn, 16);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "sixteen");
		assert_int_equal(leaves(b), 1);
	}
}

/* Of sixteen connections whose ports follow each other, one in sixteen is due at a second's end. */
static void test_leave_when_a_second_passes_then_one_in_sixteen(void **state)
{
	const struct cell *c = &cells[1];
	struct bf *b = *state;
	size_t sum = 0;

	bf_need(b);
	begin(b, c);
	for (uint16_t i = 0; i < 160; i++) {
		struct bf_in in = packet(c, c->edge, 0, 0), syn;

		in.pkt.sport = (uint16_t)(40000 + i);
		syn = in;
		syn.pkt.tcp_flags = 2;
		assured(b, c, &syn, 1);
		expect_here(b, &in, DP_R_DELIVERED_HOST, "one");
		sum += leaves(b);
	}
	assert_in_range(sum, 5, 40); /* 10, but for seconds that end meanwhile */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_moves_when_connection_is_unknown_then_keeper_is_asked),
		T(test_moves_when_nobody_is_to_be_asked_then_here),
		T(test_moves_when_previous_owner_has_it_not_then_keeper_is_asked),
		T(test_moves_when_budget_is_spent_then_adopted_at_once),
		T(test_moves_when_keeper_is_this_worker_then_its_own_pointer_counts),
		T(test_told_when_asked_then_on_to_the_owner_for_good),
		T(test_told_when_not_asked_then_dropped),
		T(test_keeper_when_asked_then_tells_or_passes_back),
		T(test_pointer_when_of_a_node_then_noted),
		T(test_pointer_when_not_to_be_believed_then_not_noted),
		T(test_leave_when_due_then_once_and_at_the_keeper),
		T(test_leave_when_not_due_then_not),
		T(test_leave_when_sixteen_seconds_pass_then_once),
		T(test_leave_when_a_second_passes_then_one_in_sixteen),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
