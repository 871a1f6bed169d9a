/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The flow hash: known answers, what enters it, how evenly rows and substitutes spread. No kernel needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/dp_hash.h"

static const __u64 seed[2] = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};

/* SipHash-1-3 of the empty message and SipHash-2-4's published answers, with the rounds done by hand. */
static void test_siphash_when_known_messages_then_known_answers(void **state)
{
	struct dp_sip s;

	(void)state;
	dp_sip_init(&s, seed);
	assert_true(dp_sip_final(&s) == 0xabac0158050fc4dcull);

	/* 2-4 over bytes 00..07: the same parts, one more round each. */
	dp_sip_init(&s, seed);
	s.v3 ^= 0x0706050403020100ull;
	dp_sip_round(&s);
	dp_sip_round(&s);
	s.v0 ^= 0x0706050403020100ull;
	s.v3 ^= 8ull << 56;
	dp_sip_round(&s);
	dp_sip_round(&s);
	s.v0 ^= 8ull << 56;
	s.v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		dp_sip_round(&s);
	assert_true((s.v0 ^ s.v1 ^ s.v2 ^ s.v3) == 0x93f5f5799a932462ull);
}

struct flow {
	__u8 src[16], dst[16];
	__be16 sport, dport;
	__u8 proto;
} __attribute__((aligned(8)));

static __u64 hash(const struct flow *f, __u8 policy, __u8 family)
{
	return dp_flow_hash(seed, policy, family, f->src, f->dst, f->sport, f->dport, f->proto);
}

static void test_flow_hash_when_any_field_changes_then_differs(void **state)
{
	struct flow f = {.src = {[15] = 1}, .dst = {[15] = 2}, .sport = 3, .dport = 4, .proto = 6};

	(void)state;
	for (__u8 family = 4; family <= 6; family += 2) {
		__u64 h = hash(&f, DP_HASH_5TUPLE, family),
		      by_src = hash(&f, DP_HASH_SOURCE, family);

		for (size_t i = 0; i < 37; i++) {
			struct flow g = f;

			((__u8 *)&g)[i] ^= 0x40;
			if (family == 4 && (i < 12 || (i >= 16 && i < 28)))
				assert_true(hash(&g, DP_HASH_5TUPLE, family) ==
					    h); /* the mapped prefix */
			else
				assert_true(hash(&g, DP_HASH_5TUPLE, family) != h);
			if (i >= 16)
				assert_true(hash(&g, DP_HASH_SOURCE, family) == by_src);
		}
	}
}

static void test_class_rows_when_class_unknown_then_zero(void **state)
{
	(void)state;
	assert_int_equal(dp_class_rows(0), 251);
	assert_int_equal(dp_class_rows(4), 65537);
	assert_int_equal(dp_class_rows(5), 1);
	assert_int_equal(dp_class_rows(6), 0);
	assert_int_equal(dp_class_rows(255), 0);
}

static void test_row_when_many_flows_then_spread_evenly(void **state)
{
	static unsigned int hits[251], subst[251];
	struct flow f = {.dst = {[15] = 9}, .dport = 0x3500, .proto = 17};

	(void)state;
	for (unsigned int i = 0; i < 251000; i++) {
		memcpy(f.src + 12, &i, 4);
		f.sport = (__be16)(i * 7);
		hits[dp_row_pick((__u32)hash(&f, DP_HASH_5TUPLE, 4), 251)]++;
	}
	for (int i = 0; i < 251; i++)
		assert_in_range(hits[i], 850, 1150); /* 1,000 each, 4.7 sigma */
	/* Substitutes of all rows over all tries: no row inherits many. */
	for (__u32 row = 0; row < 251; row++)
		for (__u32 try = 1; try <= 40; try++)
			subst[dp_row_subst(row, try, 251)]++;
	for (int i = 0; i < 251; i++)
		assert_in_range(subst[i], 15, 70);
	assert_in_range(dp_row_pick(0xffffffffu, 65537), 0, 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash_when_known_messages_then_known_answers),
		cmocka_unit_test(test_flow_hash_when_any_field_changes_then_differs),
		cmocka_unit_test(test_class_rows_when_class_unknown_then_zero),
		cmocka_unit_test(test_row_when_many_flows_then_spread_evenly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
