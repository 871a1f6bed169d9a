/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Echo and neighbour discovery for a VIP. */
#include "tests/bpf/icmp_cells.h"

static void test_echo_when_to_a_vip_then_answered(void **state)
{
	static const char *const vips[] = {"192.0.2.10", "2001:db8::10", "192.0.2.12",
					   "2001:db8::12"};
	static const uint16_t sizes[] = {0, 1, 56, 1400, 1472};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < 4 * 5 * 2; i++) {
		const char *vip = vips[i % 4];
		bool is_xdp = i / 4 % 2;
		uint8_t msg[PKT_MAX], frame[PKT_MAX];
		struct bf_in in = echo_to(vip, msg, sizes[i / 8]);
		struct icmp_seen seen;
		struct bf_out out;
		size_t len;

		in.pkt.is_df = i & 1;
		bf_run(b, is_xdp ? BF_XDP : BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_ECHO_ANSWERED, vip);
		assert_int_equal(out.retval, is_xdp ? TX : ACT_REDIRECT);
		seen = read_icmp(&out, vip);
		assert_string_equal(out.seen.src, vip);
		assert_string_equal(out.seen.dst, in.pkt.src);
		assert_int_equal(out.seen.ttl, 64);
		assert_int_equal(seen.type, out.seen.family == 4 ? 0 : 129);
		assert_int_equal(seen.code, 0);
		assert_int_equal(seen.rest, 0x12345678);
		assert_int_equal(seen.body_bytes, sizes[i / 8]);
		assert_memory_equal(seen.body, msg + 8, seen.body_bytes);
		len = pkt_build(&in.pkt, frame);
		assert_int_equal(out.len, len);
		assert_memory_equal(out.frame, frame + 6, 6);
		assert_memory_equal(out.frame + 6, frame, 6);
	}
}

/* What can't be answered in place, or must not be. */
static void test_echo_when_odd_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (int i = 0; i < 4; i++) {
		const char *vip = i & 1 ? "2001:db8::10" : "192.0.2.10";
		enum bf_prog prog = i & 2 ? BF_PUB_IN : BF_XDP;
		static const char *const sources[] = {"0.0.0.0", "127.0.0.1", "224.0.0.1",
						      "255.255.255.255"};
		static const char *const sources6[] = {"::", "ff02::1", "ff0e::1", "ff01::7"};
		uint8_t msg[PKT_MAX];
		struct bf_in in;
		struct bf_out out;

		for (int s = 0; s < 4; s++) {
			in = echo_to(vip, msg, 8);
			in.pkt.src = i & 1 ? sources6[s] : sources[s];
			bf_run(b, prog, &in, &out);
			bf_expect_reason(b, DP_R_ICMP_UNKNOWN, in.pkt.src);
			assert_int_equal(out.retval, i & 2 ? ACT_SHOT : 1);
		}
		in = echo_to(vip, msg, 8);
		in.pkt.ip_options = in.pkt.dest_options = 1;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_UNKNOWN, "options");
		in = echo_to(vip, msg, 8);
		msg[1] = 1;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_UNKNOWN, "code 1");
		in = echo_to(vip, msg, 8);
		in.pkt.payload = 7;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_BAD_PACKET, "cut short");
		in = echo_to(vip, msg, 8);
		msg[0] = i & 1 ? 129 : 0;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_UNKNOWN, "an answer");
		in = echo_to(vip, msg, 8);
		in.pkt.is_first_frag = true;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_FRAGMENT, "first fragment");
		in.pkt.is_first_frag = false;
		in.pkt.is_later_frag = true;
		bf_run(b, prog, &in, &out);
		bf_expect_reason(b, DP_R_FRAG_NO_FIRST, "later fragment");
	}
}

static void test_echo_when_not_to_a_vip_then_host_has_it(void **state)
{
	struct bf *b = *state;
	uint8_t msg[PKT_MAX];
	struct bf_out out;

	bf_need(b);
	for (int i = 0; i < 2; i++) {
		struct bf_in in = echo_to(i ? "2001:db8:1::5" : "10.0.0.5", msg, 56);

		bf_run(b, BF_XDP, &in, &out);
		bf_expect_reason(b, DP_R_XDP_PASS, in.pkt.dst);
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_PASS_NOT_OURS, in.pkt.dst);
	}
}

static void test_echo_when_flooded_then_limited(void **state)
{
	struct bf *b = *state;
	uint8_t msg[PKT_MAX];
	struct bf_in in = echo_to("192.0.2.10", msg, 56);
	struct bf_out out;

	bf_need(b);
	for (int hook = 0; hook < 2; hook++) {
		/* The window may end between the two steps. */
		for (int try = 0; try < 100 && !bf_reason(b, DP_R_ICMP_LIMITED); try++) {
			bf_set_rate(b, BF_RATE_ECHO, 670);
			bf_run(b, hook ? BF_PUB_IN : BF_XDP, &in, &out);
		}
		assert_int_equal(bf_reason(b, DP_R_ICMP_LIMITED), 1);
		assert_int_equal(out.retval, hook ? ACT_SHOT : 1);
		bf_forget_reasons(b);
		bf_set_rate(b, BF_RATE_ECHO, 669);
		bf_run(b, hook ? BF_PUB_IN : BF_XDP, &in, &out);
		bf_expect_reason(b, DP_R_ECHO_ANSWERED, "one more");
	}
}

static void test_neighbour_when_asked_for_a_vip_then_host_has_it(void **state)
{
	struct bf *b = *state;
	struct bf_out out;

	bf_need(b);
	for (uint8_t type = 135; type <= 136; type++) {
		struct bf_in in = {.pkt = {.src = BF_CLIENT6, .dst = "2001:db8::10"}};
		struct icmp_spec i = {.type = type, .payload = 16};
		uint8_t msg[PKT_MAX];

		icmp_fill(&in.pkt, &i, msg);
		bf_run(b, BF_XDP, &in, &out);
		bf_expect_reason(b, DP_R_XDP_PASS, "XDP");
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_PASS_NOT_OURS, "TC");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_echo_when_to_a_vip_then_answered),
		T(test_echo_when_odd_then_dropped),
		T(test_echo_when_not_to_a_vip_then_host_has_it),
		T(test_echo_when_flooded_then_limited),
		T(test_neighbour_when_asked_for_a_vip_then_host_has_it),
	};
	const char *only = getenv("T");

	if (only)
		cmocka_set_test_filter(only);
	return cmocka_run_group_tests(tests, group_setup, bf_group_teardown);
}
