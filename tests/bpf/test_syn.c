/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* SYN floods: when clients are challenged, what the challenge looks like on the wire, what proves an address, and when it
 * ends. Time is injected into the maps; nobody waits. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bpf/dp_hash.h"
#include "tests/lib/bpf_fixture.h"

#define METER_SHIFT 24
#define HZ_OF_TESTS 250u
#define SECOND ((uint64_t)HZ_OF_TESTS << METER_SHIFT)
#define SYN_PPS 100u
#define SYN 0x02u
#define RST 0x04u
#define ACK 0x10u

struct gate_words { /* as bpf/dp_maps.h has them */
	uint64_t due, syn_due, syn_until, syn_tc_due, pad[4];
};

static const struct family {
	const char *name, *src, *other, *vip;
	uint32_t svc_idx, l4_off;
} families[] = {
	{"v4", BF_CLIENT4, "203.0.113.99", "192.0.2.10", BF_SVC_EXACT4, 34},
	{"v6", BF_CLIENT6, "2001:db8:d::99", "2001:db8::10", BF_SVC_EXACT6, 54},
};

static struct bf_in tcp(const struct family *f, const char *src, uint8_t flags, uint32_t seq)
{
	return (struct bf_in){.pkt = {.src = src,
				      .dst = f->vip,
				      .sport = 40000,
				      .dport = 53,
				      .l4_proto = IPPROTO_TCP,
				      .tcp_flags = flags,
				      .seq = seq,
				      .mss = flags & SYN ? 1460 : 0}};
}

static void set_syn_pps(struct bf *b, uint32_t svc_idx, uint32_t syn_pps)
{
	struct dp_svc svc;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_svc"), &svc_idx, &svc), 0);
	svc.flags = DP_SVC_GATE;
	svc.syn_pps = syn_pps;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_svc"), &svc_idx, &svc, BPF_ANY), 0);
}

static struct gate_words get_gate(struct bf *b, uint32_t svc_idx)
{
	struct gate_words g;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_gate"), &svc_idx, &g), 0);
	return g;
}

static void put_gate(struct bf *b, uint32_t svc_idx, const struct gate_words *g)
{
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_gate"), &svc_idx, g, BPF_ANY), 0);
}

static int setup(void **state)
{
	struct bf *b = *state;
	int rc = bf_setup(state);
	struct gate_words zero = {};
	uint8_t key[16];

	if (rc || b->load_rc)
		return rc;
	for (uint32_t i = 0; i < BF_SVC_END; i++)
		put_gate(b, i, &zero);
	while (!bpf_map_get_next_key(bf_map(b, "dp_proved"), NULL, key))
		bpf_map_delete_elem(bf_map(b, "dp_proved"), key);
	for (size_t i = 0; i < 2; i++)
		set_syn_pps(b, families[i].svc_idx, SYN_PPS);
	return 0;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The bucket, and what came into it since then. */
static void check_let(uint64_t let, double since)
{
	assert_in_range(let, SYN_PPS, SYN_PPS + 2 + (uint64_t)(SYN_PPS * (now_s() - since + 0.01)));
}

static void expect(struct bf *b, enum bf_prog prog, const struct bf_in *in, uint32_t reason,
		   const char *where, struct bf_out *ret_out)
{
	struct bf_out own, *out = ret_out ? ret_out : &own;

	bf_run(b, prog, in, out);
	bf_expect_reason(b, reason, where);
	if (prog != BF_XDP)
		return;
	assert_int_equal(out->retval, reason == DP_R_FORWARD_CHOSEN   ? 2
				      : reason == DP_R_SYN_CHALLENGED ? 3
								      : 1);
}

/* The time as the programs have it: a packet that finds its service's word in the past leaves "now" and its cost there. */
static uint64_t now_of_programs(struct bf *b, const struct family *f)
{
	struct bf_in in = tcp(f, f->src, SYN, 1);
	struct gate_words zero = {}, was = get_gate(b, f->svc_idx), g;
	struct bf_out out;

	put_gate(b, f->svc_idx, &zero);
	bf_run(b, BF_XDP, &in, &out);
	g = get_gate(b, f->svc_idx);
	put_gate(b, f->svc_idx, &was);
	bf_expect_reason(b, DP_R_FORWARD_CHOSEN, "asking for the time");
	return g.syn_due - SECOND / SYN_PPS;
}

static void flood(struct bf *b, const struct family *f)
{
	struct gate_words g = get_gate(b, f->svc_idx);

	g.syn_due = now_of_programs(b, f) + 500 * SECOND;
	g.syn_until = g.syn_due;
	put_gate(b, f->svc_idx, &g);
}

static uint32_t be32_at(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t ack_of(const struct bf_out *out, const struct family *f)
{
	return be32_at(out->frame + f->l4_off + 8);
}

static void test_syn_rate_when_exceeded_then_challenged(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 2; i++) {
		const struct family *f = &families[i];
		struct bf_in in = tcp(f, f->src, SYN, 1);
		double since = now_s();
		uint64_t let = 0;

		for (uint32_t n = 0; n < 3 * SYN_PPS; n++) {
			struct bf_out out;

			in.pkt.sport = (uint16_t)(1024 + n);
			bf_run(b, BF_XDP, &in, &out);
			let += out.retval == 2;
		}
		check_let(let, since);
		assert_int_equal(bf_reason(b, DP_R_SYN_CHALLENGED), 3 * SYN_PPS - let);
		setup(state);
	}
}

static void test_challenge_when_sent_then_ack_of_a_foreign_number(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 2; i++) {
		const struct family *f = &families[i];
		struct bf_in in = tcp(f, f->src, SYN, 0x01020304);
		const uint8_t *l4;
		struct bf_out out;

		flood(b, f);
		in.pkt.padding = 20; /* of the link */
		expect(b, BF_XDP, &in, DP_R_SYN_CHALLENGED, f->name, &out);
		assert_string_equal(out.seen.src,
				    f->vip); /* checksums are right: bf_run has looked */
		assert_string_equal(out.seen.dst, f->src);
		assert_int_equal(out.seen.sport, 53);
		assert_int_equal(out.seen.dport, 40000);
		assert_int_equal(out.seen.payload, 0);
		assert_int_equal(out.len, i ? 74 : 60);
		l4 = out.frame + f->l4_off;
		assert_int_equal(l4[12], 0x50);
		assert_int_equal(l4[13], ACK);
		assert_int_not_equal(ack_of(&out, f), 0x01020305);
		assert_memory_equal(out.frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01",
				    12);
	}
}

static void test_reset_when_right_number_then_proved_and_let_in(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 2; i++) {
		const struct family *f = &families[i];
		struct bf_in syn = tcp(f, f->src, SYN, 7), rst = tcp(f, f->src, RST, 0),
			     spoofed = tcp(f, f->other, SYN, 7);
		struct bf_out out;

		flood(b, f);
		expect(b, BF_XDP, &syn, DP_R_SYN_CHALLENGED, f->name, &out);
		rst.pkt.seq = ack_of(&out, f) + 1;
		expect(b, BF_XDP, &rst, DP_R_FORWARD_CHOSEN, "wrong number", NULL);
		expect(b, BF_XDP, &syn, DP_R_SYN_CHALLENGED, "not proved yet", NULL);
		rst.pkt.seq = ack_of(&out, f);
		rst.pkt.sport++;
		expect(b, BF_XDP, &rst, DP_R_FORWARD_CHOSEN, "another port's number", NULL);
		rst.pkt.sport--;
		rst.pkt.src = f->other;
		expect(b, BF_XDP, &rst, DP_R_FORWARD_CHOSEN, "another source's number", NULL);
		rst.pkt.src = f->src;
		expect(b, BF_XDP, &rst, DP_R_SYN_PROVED, f->name, NULL);
		expect(b, BF_XDP, &syn, DP_R_FORWARD_CHOSEN, "its SYN once more", NULL);
		syn.pkt.sport = 40001;
		expect(b, BF_XDP, &syn, DP_R_FORWARD_CHOSEN, "its next connection", NULL);
		expect(b, BF_XDP, &spoofed, DP_R_SYN_CHALLENGED, "somebody else", NULL);
		assert_int_equal(bf_map_count(b, "dp_proved", 16), i + 1);
	}
}

static void test_flood_when_on_then_only_syns_of_that_service(void **state)
{
	static const uint8_t flags[] = {ACK, ACK | 8, ACK | 1, SYN | ACK, RST, RST | ACK, 0x40};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 2; i++) {
		const struct family *f = &families[i];
		struct bf_in udp = tcp(f, f->src, 0, 0), next = tcp(f, f->src, SYN, 1);

		flood(b, f);
		for (size_t n = 0; n < sizeof(flags); n++) {
			struct bf_in in = tcp(f, f->src, flags[n], 99);

			in.pkt.mss = 0;
			expect(b, BF_XDP, &in, DP_R_FORWARD_CHOSEN, f->name, NULL);
		}
		udp.pkt.l4_proto = IPPROTO_UDP;
		expect(b, BF_XDP, &udp, DP_R_FORWARD_CHOSEN, "UDP", NULL);
		next.pkt.dst = i ? "2001:db8::11" : "192.0.2.11";
		next.pkt.dport = 5000;
		expect(b, BF_XDP, &next, DP_R_FORWARD_CHOSEN, "the service next door", NULL);
	}
}

static void test_challenge_when_headers_have_options_then_limited(void **state)
{
	struct bf *b = *state;
	struct bf_in in[4] = {
		tcp(&families[0], BF_CLIENT4, SYN, 1), tcp(&families[1], BF_CLIENT6, SYN, 1),
		tcp(&families[0], BF_CLIENT4, SYN, 1), tcp(&families[1], BF_CLIENT6, SYN, 1)};

	bf_need(b);
	in[0].pkt.ip_options = 1;
	in[1].pkt.dest_options = 1;
	in[2].pkt.is_first_frag = true;
	in[3].pkt.is_first_frag = true;
	for (size_t i = 0; i < 4; i++) {
		flood(b, &families[i & 1]);
		expect(b, BF_XDP, &in[i], DP_R_SYN_LIMITED, "options", NULL);
	}
}

/* Off when the rate of SYNs of sources not proved has been under half of the limit for long enough. */
static void test_flood_when_it_ends_then_hysteresis(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 2; i++) {
		const struct family *f = &families[i];
		struct bf_in in = tcp(f, f->other, SYN, 1);
		uint64_t now = now_of_programs(b, f);
		struct gate_words g = {.syn_due = now, .syn_until = now + 5 * SECOND};

		put_gate(b, f->svc_idx, &g);
		for (uint32_t n = 0; n < SYN_PPS / 2 - 5; n++)
			expect(b, BF_XDP, &in, DP_R_SYN_CHALLENGED, "few are challenged too", NULL);
		assert_int_equal(get_gate(b, f->svc_idx).syn_until, now + 5 * SECOND);
		/* Each is worth two now. */
		g.syn_due = now + SECOND - 3 * SECOND / SYN_PPS;
		put_gate(b, f->svc_idx, &g);
		expect(b, BF_XDP, &in, DP_R_SYN_CHALLENGED, "counted twice", NULL);
		assert_int_equal(get_gate(b, f->svc_idx).syn_due,
				 g.syn_due + 2 * (SECOND / SYN_PPS));
		for (uint32_t n = 0; n < 2 * SYN_PPS; n++)
			expect(b, BF_XDP, &in, DP_R_SYN_CHALLENGED, "over half the rate", NULL);
		g = get_gate(b, f->svc_idx);
		assert_in_range(g.syn_until, now + 10 * SECOND, now + 15 * SECOND);
		/* All of that time goes by, and the bucket empties. */
		g.syn_due -= 20 * SECOND;
		g.syn_until -= 20 * SECOND;
		put_gate(b, f->svc_idx, &g);
		expect(b, BF_XDP, &in, DP_R_FORWARD_CHOSEN, "over", NULL);
	}
}

static void test_proof_when_old_then_challenged_again(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 2; i++) {
		const struct family *f = &families[i];
		struct bf_in syn = tcp(f, f->src, SYN, 7), rst = tcp(f, f->src, RST, 0);
		uint64_t now = now_of_programs(b, f) >> METER_SHIFT, until;
		struct dp_addr_key key;
		struct bf_out out;

		bf_addr(f->src, key.addr);
		flood(b, f);
		expect(b, BF_XDP, &syn, DP_R_SYN_CHALLENGED, f->name, &out);
		rst.pkt.seq = ack_of(&out, f);
		expect(b, BF_XDP, &rst, DP_R_SYN_PROVED, f->name, NULL);
		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_proved"), &key, &until), 0);
		assert_in_range(until, now + 300 * HZ_OF_TESTS, now + 302 * HZ_OF_TESTS);
		until -= 302 * HZ_OF_TESTS;
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_proved"), &key, &until, BPF_ANY),
				 0);
		expect(b, BF_XDP, &syn, DP_R_SYN_CHALLENGED, "an old proof", NULL);
	}
}

/* The same number once more, from the description in docs/adr/0006. */
static uint32_t cookie_in_c(const struct family *f, uint32_t minute)
{
	uint8_t src[16] __attribute__((aligned(8))), dst[16] __attribute__((aligned(8)));
	struct dp_self self = bf_self();
	struct dp_sip sip;

	bf_addr(f->src, src);
	bf_addr(f->vip, dst);
	dp_sip_init(&sip, self.seed);
	dp_sip_word(&sip, 0x736b6f6f63ull);
	dp_sip_word(&sip, dp_word64(src));
	dp_sip_word(&sip, dp_word64(src + 8));
	dp_sip_word(&sip, dp_word64(dst));
	dp_sip_word(&sip, dp_word64(dst + 8));
	dp_sip_word(&sip, (uint64_t)htons(53) << 48 | (uint64_t)htons(40000) << 32 | minute);
	return ntohl((uint32_t)dp_sip_final(&sip));
}

static void test_number_when_older_than_a_period_then_worthless(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 2; i++) {
		const struct family *f = &families[i];
		struct bf_in rst = tcp(f, f->src, RST, 0), syn = tcp(f, f->src, SYN, 0);
		uint32_t minute, again;

		do { /* not at the moment in which a period ends */
			minute = (uint32_t)((now_of_programs(b, f) >> METER_SHIFT) / HZ_OF_TESTS) >>
				 6;
			rst.pkt.seq = cookie_in_c(f, minute - 2);
			expect(b, BF_XDP, &rst, DP_R_FORWARD_CHOSEN, "too old", NULL);
			rst.pkt.seq = cookie_in_c(f, minute - 1);
			expect(b, BF_XDP, &rst, DP_R_SYN_PROVED, "the period before", NULL);
			rst.pkt.seq = cookie_in_c(f, minute);
			expect(b, BF_XDP, &rst, DP_R_SYN_PROVED, "this period", NULL);
			/* The right answer to a SYN must never be given. */
			syn.pkt.src = f->src;
			syn.pkt.seq = cookie_in_c(f, minute) - 1;
			setup(state);
			flood(b, f);
			expect(b, BF_XDP, &syn, DP_R_SYN_LIMITED, "would be right", NULL);
			again = (uint32_t)((now_of_programs(b, f) >> METER_SHIFT) / HZ_OF_TESTS) >>
				6;
		} while (again != minute);
	}
}

static void test_tc_when_alone_then_limited(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 2; i++) {
		const struct family *f = &families[i];
		struct bf_in syn = tcp(f, f->src, SYN, 7), ack = tcp(f, f->src, ACK, 7);
		uint64_t now = now_of_programs(b, f), let = 0, until = ~0ull;
		double since = now_s();
		struct gate_words g = {};
		struct dp_addr_key key;
		struct bf_out out;

		for (uint32_t n = 0; n < 3 * SYN_PPS; n++) {
			bf_run(b, BF_PUB_IN, &syn, &out);
			let += out.retval == 7;
		}
		check_let(let, since);
		assert_int_equal(bf_reason(b, DP_R_SYN_LIMITED), 3 * SYN_PPS - let);
		setup(state);
		g.syn_tc_due = now + 500 * SECOND;
		put_gate(b, f->svc_idx, &g);
		expect(b, BF_PUB_IN, &syn, DP_R_SYN_LIMITED, f->name, NULL);
		expect(b, BF_PUB_IN, &ack, DP_R_FORWARDED, "no SYN", NULL);
		bf_addr(f->src, key.addr);
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_proved"), &key, &until, BPF_ANY),
				 0);
		expect(b, BF_PUB_IN, &syn, DP_R_FORWARDED, "proved in XDP", NULL);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_syn_rate_when_exceeded_then_challenged),
		T(test_challenge_when_sent_then_ack_of_a_foreign_number),
		T(test_reset_when_right_number_then_proved_and_let_in),
		T(test_flood_when_on_then_only_syns_of_that_service),
		T(test_challenge_when_headers_have_options_then_limited),
		T(test_flood_when_it_ends_then_hysteresis),
		T(test_proof_when_old_then_challenged_again),
		T(test_number_when_older_than_a_period_then_worthless),
		T(test_tc_when_alone_then_limited),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
