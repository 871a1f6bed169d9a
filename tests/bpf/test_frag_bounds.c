/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments that come out of order, lie, are too many, too late, too short or none of ours: at every place alike. */
#include <stdlib.h>
#include <unistd.h>

#include "tests/bpf/frag_cases.h"

struct place {
	const char *name;
	enum bf_prog prog;
	uint32_t first;	  /* reason of a first fragment */
	uint32_t unknown; /* of a later one whose first was not seen */
	uint32_t shot;
};

/* Place n of 5, family by `six`: what to send there, whatever must have happened before done. */
static struct place place_at(struct bf *b, int n, int six, struct bf_in *ret_in)
{
	const struct target *t = &targets[six];

	switch (n) {
	case 0:
		*ret_in = datagram(remotes[six].vip, 53, IPPROTO_UDP);
		return (struct place){"client to edge, XDP", BF_XDP, DP_R_FORWARD_CHOSEN,
				      DP_R_FRAG_NO_FIRST, XDP_DROPPED};
	case 1:
		*ret_in = datagram(remotes[six].vip, 53, IPPROTO_UDP);
		return (struct place){"client to edge, TC", BF_PUB_IN, DP_R_FORWARDED,
				      DP_R_FRAG_NO_FIRST, ACT_SHOT};
	case 2:
		*ret_in = datagram(t->vip, t->port, IPPROTO_UDP);
		wrap(ret_in, 4, DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE)));
		return (struct place){"edge to worker", BF_MESH_IN, DP_R_DELIVERED_HOST,
				      DP_R_FRAG_NO_FIRST, ACT_SHOT};
	case 3:
		request(b, t, IPPROTO_UDP, 4);
		*ret_in = answer(t, IPPROTO_UDP);
		return (struct place){"worker outwards", BF_UP_OUT, DP_R_REPLY_ENCAP,
				      DP_R_PASS_NOT_OURS, ACT_SHOT};
	default:
		*ret_in = reply_of(&remotes[six], IPPROTO_UDP, 4);
		return (struct place){"worker to edge", BF_MESH_IN, DP_R_REPLY_OUT,
				      DP_R_FRAG_NO_FIRST, ACT_SHOT};
	}
}
#define PLACES 5

static void test_places_when_out_of_order_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < PLACES * 2; i++) {
		struct bf_in in;
		struct place p = place_at(b, i / 2, i & 1, &in);
		struct bf_out out;

		one(b, p.prog, &in, 2, p.unknown, &out);
		one(b, p.prog, &in, 0, p.first, &out);
		one(b, p.prog, &in, 2, DP_R_FRAG_FOLLOWED, &out);
		one(b, p.prog, &in, 1, DP_R_FRAG_FOLLOWED, &out);
		in.pkt.frag_id++;
		one(b, p.prog, &in, 1, p.unknown, &out);
	}
}

static void test_places_when_fragments_lie_then_bad_packet(void **state)
{
	/* Into the first one, and beyond what a datagram can hold. */
	static const uint16_t lies[] = {8, 16, 1216, 65528};
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < PLACES * 2; i++) {
		struct bf_in in;
		struct place p = place_at(b, i / 2, i & 1, &in);
		struct bf_out out;

		one(b, p.prog, &in, 0, p.first, &out);
		for (size_t k = 0; k < sizeof(lies) / sizeof(*lies); k++) {
			in.pkt.frag_lie = lies[k];
			one(b, p.prog, &in, 1, DP_R_BAD_PACKET, &out);
			assert_int_equal(out.retval, p.shot);
		}
		in.pkt.frag_lie = 0;
		one(b, p.prog, &in, 1, DP_R_FRAG_FOLLOWED, &out);
	}
}

static void test_places_when_too_many_then_the_rest_is_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < PLACES * 2; i++) {
		struct bf_in in;
		struct place p = place_at(b, i / 2, i & 1, &in);
		struct bf_out out;

		in.pkt.frag_mtu =
			i & 1 ? 56 : 28; /* eight bytes each: the first has the UDP header */
		in.pkt.payload = 8 * (FOLLOWERS_MAX + 2);
		one(b, p.prog, &in, 0, p.first, &out);
		for (unsigned k = 1; k <= FOLLOWERS_MAX; k++)
			one(b, p.prog, &in, k, DP_R_FRAG_FOLLOWED, &out);
		for (unsigned k = FOLLOWERS_MAX + 1; k < pkt_fragments(&in.pkt); k++) {
			one(b, p.prog, &in, k, DP_R_FRAG_TOO_MANY, &out);
			assert_int_equal(out.retval, p.shot);
		}
	}
}

/* Makes every entry `by_s` seconds older. */
static void age(struct bf *b, const char *map, uint32_t by_s)
{
	struct dp_frag_key key, next;
	void *at = NULL;
	int fd = bf_map(b, map);

	while (!bpf_map_get_next_key(fd, at, &next)) {
		struct dp_frag f;

		key = next;
		at = &key;
		assert_int_equal(bpf_map_lookup_elem(fd, &key, &f), 0);
		f.seen_s -= by_s;
		assert_int_equal(bpf_map_update_elem(fd, &key, &f, BPF_EXIST), 0);
	}
}

static void test_places_when_entry_is_old_then_none(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < PLACES * 2; i++) {
		struct bf_in in;
		struct place p = place_at(b, i / 2, i & 1, &in);
		const char *map = p.prog == BF_UP_OUT ? "dp_frag_out" : "dp_frag";
		struct bf_out out;

		one(b, p.prog, &in, 0, p.first, &out);
		age(b, map, 2);
		one(b, p.prog, &in, 1, DP_R_FRAG_FOLLOWED, &out);
		age(b, map, 4);
		one(b, p.prog, &in, 2, DP_R_FRAG_FOLLOWED, &out); /* refreshed by the one before */
		age(b, map, 7);
		one(b, p.prog, &in, 2, p.unknown, &out);
	}
}

/* A first fragment without a whole TCP header could be completed by a lie later on. */
static void test_inwards_when_first_is_tiny_then_bad_packet(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 3 * 2; i++) {
		struct bf_in in;
		struct place p = place_at(b, i / 2, i & 1, &in);
		struct bf_out out;

		in.pkt.l4_proto = IPPROTO_TCP;
		in.pkt.frag_mtu = i & 1 ? 64 : 36;
		in.pkt.payload = 100;
		one(b, p.prog, &in, 0, DP_R_BAD_PACKET, &out);
		assert_int_equal(out.retval, p.shot);
		one(b, p.prog, &in, 2, p.unknown, &out);
	}
}

static void test_inwards_when_icmp_or_other_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 4; i++) {
		struct bf_in in = datagram(remotes[i & 1].vip, 53, IPPROTO_UDP);
		struct bf_out out;

		in.pkt.l4_proto = i & 1 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
		one(b, i & 2 ? BF_PUB_IN : BF_XDP, &in, 0, DP_R_FRAGMENT, &out);
		one(b, i & 2 ? BF_PUB_IN : BF_XDP, &in, 1, DP_R_FRAG_NO_FIRST, &out);
		wrap(&in, 4, DP_GRE_KEY(0, DP_TOKEN(BF_SVC_HOST4 + (i & 1), BF_USE)));
		one(b, BF_MESH_IN, &in, 0, DP_R_FRAGMENT, &out);
		one(b, BF_MESH_IN, &in, 1, DP_R_FRAG_NO_FIRST, &out);
		wrap(&in, 4, DP_GRE_KEY(DP_GRE_F_REPLY, 0));
		one(b, BF_MESH_IN, &in, 0, DP_R_REPLY_FRAGMENT, &out);
		one(b, BF_MESH_IN, &in, 1, DP_R_FRAG_NO_FIRST, &out);
	}
}

/* The worker's backend is gone: a later fragment must not reach what lives in its slot. */
static void test_worker_in_when_slot_is_dead_then_dropped(void **state)
{
	struct bf *b = *state;
	struct dp_local l = bf_local(BF_SVC_HOST4);
	struct bf_in in;
	struct bf_out out;
	struct place p;

	bf_need(b);
	p = place_at(b, 2, 0, &in);
	one(b, p.prog, &in, 0, p.first, &out);
	l.live = 0;
	bf_set_local(b, BF_SVC_HOST4, &l);
	one(b, p.prog, &in, 1, DP_R_TOKEN_UNKNOWN, &out);
}

/* First fragments that nothing follows, more than the table holds, in the middle of a reply: its flow, and what follows its
 * first fragment, don't notice. */
static void test_flood_when_table_is_full_then_replies_go_on(void **state)
{
	struct bf *b = *state;
	struct bf_in in = datagram("192.0.2.10", 53, IPPROTO_UDP), reply;
	const struct target *t = &targets[0];
	struct pkt_seen seen;
	struct bf_out out;
	char src[32];

	bf_need(b);
	request(b, t, IPPROTO_UDP, 4);
	reply = answer(t, IPPROTO_UDP);
	one(b, t->reply, &reply, 0, DP_R_REPLY_ENCAP, &out);
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(src, sizeof(src), "203.%u.%u.7", i >> 8 & 255, i & 255);
		in.pkt.src = src;
		in.pkt.frag_id = (uint16_t)(i * 7);
		bf_run(b, BF_XDP, &in, &out);
		assert_int_equal(out.retval, 2);
	}
	assert_true(bf_map_count(b, "dp_frag", sizeof(struct dp_frag_key)) <= 16384);
	assert_int_equal(bf_reason(b, DP_R_FORWARD_CHOSEN), 20000);
	bf_forget_reasons(b);
	one(b, t->reply, &reply, 1, DP_R_FRAG_FOLLOWED, &out);
	one(b, t->reply, &reply, 2, DP_R_FRAG_FOLLOWED, &out);
	in = datagram("192.0.2.10", 53, IPPROTO_UDP);
	all(b, BF_PUB_IN, &in, DP_R_FORWARDED, ACT_REDIRECT, &seen, &out);
}

/* Lists and limits are asked for every fragment. */
static void test_edge_in_when_source_is_denied_then_followers_too(void **state)
{
	struct bf *b = *state;
	struct dp_filter_key key = {.prefix_bits = 32 + 128};
	struct dp_ctl ctl = {.flags = DP_CTL_FILTER};
	uint32_t deny = DP_FILTER_DENY, zero = 0;
	struct bf_out out;

	bf_need(b);
	for (int i = 0; i < 4; i++) {
		struct bf_in in;
		struct place p = place_at(b, i / 2, i & 1, &in);

		one(b, p.prog, &in, 0, p.first, &out);
		one(b, p.prog, &in, 1, DP_R_FRAG_FOLLOWED, &out);
		bf_addr(in.pkt.src, key.addr);
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_filter"), &key, &deny, 0), 0);
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_ctl"), &zero, &ctl, 0), 0);
		one(b, p.prog, &in, 2, DP_R_DENIED, &out);
		assert_int_equal(out.retval, p.shot);
		in.pkt.frag_id++;
		one(b, p.prog, &in, 0, DP_R_DENIED, &out);
		one(b, p.prog, &in, 1, p.unknown, &out);
		ctl.flags = 0;
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_ctl"), &zero, &ctl, 0), 0);
		assert_int_equal(bpf_map_delete_elem(bf_map(b, "dp_filter"), &key), 0);
		ctl.flags = DP_CTL_FILTER;
	}
}

/* Any order, repeated, lying: at every place what a model of five lines says. */
static void test_places_when_shuffled_then_as_the_model_says(void **state)
{
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
	struct bf *b = *state;

	bf_need(b);
	print_message("# SEED=%u\n", seed);
	srandom(seed);
	for (int i = 0; i < PLACES * 2; i++) {
		struct bf_in in;
		struct place p = place_at(b, i / 2, i & 1, &in);
		struct {
			bool seen;
			unsigned followers;
		} model[3] = {};
		uint16_t id = in.pkt.frag_id;

		next_id = (uint16_t)(next_id + 3);
		for (int step = 0; step < 300; step++) {
			unsigned m = (unsigned)random() % 3, no = (unsigned)random() % 40;
			bool is_lie = random() % 8 == 0;
			uint32_t want = p.unknown;
			struct bf_out out;

			no = no < 38 ? 1 + no % 2 : 0;
			in.pkt.frag_id = (uint16_t)(id + m);
			in.pkt.frag_lie = is_lie && no ? 8 : 0;
			if (!no)
				want = p.first;
			else if (model[m].seen && is_lie)
				want = DP_R_BAD_PACKET;
			else if (model[m].seen && model[m].followers++ >= FOLLOWERS_MAX)
				want = DP_R_FRAG_TOO_MANY;
			else if (model[m].seen)
				want = DP_R_FRAG_FOLLOWED;
			if (!no) {
				model[m].seen = true;
				model[m].followers = 0;
			}
			one(b, p.prog, &in, no, want, &out);
		}
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, bf_setup)
	const struct CMUnitTest tests[] = {
		T(test_places_when_out_of_order_then_dropped),
		T(test_places_when_fragments_lie_then_bad_packet),
		T(test_places_when_too_many_then_the_rest_is_dropped),
		T(test_places_when_entry_is_old_then_none),
		T(test_inwards_when_first_is_tiny_then_bad_packet),
		T(test_inwards_when_icmp_or_other_then_dropped),
		T(test_worker_in_when_slot_is_dead_then_dropped),
		T(test_edge_in_when_source_is_denied_then_followers_too),
		T(test_places_when_shuffled_then_as_the_model_says),
		T(test_flood_when_table_is_full_then_replies_go_on),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
