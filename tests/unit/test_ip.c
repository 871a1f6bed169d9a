/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "edge/ip.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_parse_when_valid_then_prints_canonically(void **state)
{
	static const struct {
		const char *in, *out;
		bool is_v4, is_zero, is_loopback, is_multicast, is_unicast;
	} row[] = {
		{"192.0.2.1", "192.0.2.1", true, false, false, false, true},
		{"0.0.0.0", "0.0.0.0", true, true, false, false, false},
		{"127.0.0.1", "127.0.0.1", true, false, true, false, false},
		{"127.255.255.254", "127.255.255.254", true, false, true, false, false},
		{"224.0.0.1", "224.0.0.1", true, false, false, true, false},
		{"239.255.255.255", "239.255.255.255", true, false, false, true, false},
		{"240.0.0.1", "240.0.0.1", true, false, false, false, true},
		{"255.255.255.255", "255.255.255.255", true, false, false, true, false},
		{"::", "::", false, true, false, false, false},
		{"::1", "::1", false, false, true, false, false},
		{"2001:DB8:0:0::0001", "2001:db8::1", false, false, false, false, true},
		{"ff02::1", "ff02::1", false, false, false, true, false},
		{"::ffff:198.51.100.7", "198.51.100.7", true, false, false, false, true},
		{"::ffff:127.0.0.1", "127.0.0.1", true, false, true, false, false},
		{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
		 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false, false, false, true, false},
	};
	char buf[IP_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct ip_addr a;

		if (ip_parse(row[i].in, &a))
			fail_msg("%s refused", row[i].in);
		assert_string_equal(ip_text(&a, buf), row[i].out);
		if (ip_is_v4(&a) != row[i].is_v4 || ip_is_zero(&a) != row[i].is_zero ||
		    ip_is_loopback(&a) != row[i].is_loopback ||
		    ip_is_multicast(&a) != row[i].is_multicast ||
		    ip_is_unicast(&a) != row[i].is_unicast)
			fail_msg("%s: wrong class", row[i].in);
	}
}

static void test_parse_when_malformed_then_einval_and_untouched(void **state)
{
	static const char *const bad[] = {"",	       " ",	     "1.2.3",	 "1.2.3.4.5",
					  "1.2.3.256", "1.2.3.4 ",   " 1.2.3.4", "01.2.3.4x",
					  "localhost", "2001:db8",   ":::",	 "fe80::1%eth0",
					  "[::1]",     "1.2.3.4/32", "::12345"};

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct ip_addr a, was;

		memset(&a, 0xaa, sizeof(a));
		was = a;
		if (ip_parse(bad[i], &a) != -EINVAL)
			fail_msg("'%s' accepted", bad[i]);
		assert_memory_equal(&a, &was, sizeof(a));
	}
}

static void test_parse_prefix_when_valid_then_contains_its_own(void **state)
{
	static const struct {
		const char *prefix, *out, *inside, *outside;
	} row[] = {
		{"192.0.2.0/24", "192.0.2.0/24", "192.0.2.255", "192.0.3.0"},
		{"192.0.2.128/25", "192.0.2.128/25", "192.0.2.200", "192.0.2.127"},
		{"10.1.2.3/32", "10.1.2.3/32", "10.1.2.3", "10.1.2.2"},
		{"0.0.0.0/0", "0.0.0.0/0", "255.1.1.1", "2001:db8::1"},
		{"::/0", "::/0", "2001:db8::1", "1.2.3.4"},
		{"2001:db8::/32", "2001:db8::/32", "2001:db8:ffff::", "2001:db80::"},
		{"2001:db8::1/128", "2001:db8::1/128", "2001:db8::1", "2001:db8::"},
		{"::ffff:192.0.2.0/120", "192.0.2.0/24", "192.0.2.9", "192.0.1.9"},
	};
	char buf[IP_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct ip_prefix p;
		struct ip_addr a;

		if (ip_parse_prefix(row[i].prefix, &p))
			fail_msg("%s refused", row[i].prefix);
		assert_string_equal(ip_prefix_text(&p, buf), row[i].out);
		assert_int_equal(ip_parse(row[i].inside, &a), 0);
		if (!ip_in_prefix(&a, &p))
			fail_msg("%s not in %s", row[i].inside, row[i].prefix);
		assert_int_equal(ip_parse(row[i].outside, &a), 0);
		if (ip_in_prefix(&a, &p))
			fail_msg("%s in %s", row[i].outside, row[i].prefix);
	}
}

static void test_parse_prefix_when_malformed_then_einval(void **state)
{
	static const char *const bad[] = {"",
					  "192.0.2.0",
					  "192.0.2.0/",
					  "192.0.2.0/33",
					  "192.0.2.0/-1",
					  "192.0.2.0/024",
					  "192.0.2.1/24",
					  "2001:db8::/129",
					  "2001:db8::1/64",
					  "/24",
					  "192.0.2.0/24/8",
					  "192.0.2.0/2x",
					  "192.0.2.0/ 24",
					  "x/24"};
	struct ip_prefix p;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		if (ip_parse_prefix(bad[i], &p) != -EINVAL)
			fail_msg("'%s' accepted", bad[i]);
}

static void test_parse_addr_port_when_valid_then_round_trips(void **state)
{
	static const char *const good[] = {"1.2.3.4:53", "[::1]:53", "[2001:db8::1]:65535",
					   "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"};
	static const char *const bad[] = {"",
					  "1.2.3.4",
					  "1.2.3.4:",
					  "1.2.3.4:0",
					  "1.2.3.4:65536",
					  ":53",
					  "::1:53",
					  "[::1]53",
					  "[::1:53",
					  "::1]:53",
					  "[]:53",
					  "[1.2.3.4:53",
					  "[::1]:x",
					  "1.2.3.4:053",
					  "1.2.3.4:+5",
					  "[::1]:",
					  "1.2.3.4:99999999999"};
	char buf[IP_TEXT_MAX];
	struct ip_addr a;
	uint16_t port;

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		if (ip_parse_addr_port(good[i], &a, &port))
			fail_msg("%s refused", good[i]);
		assert_string_equal(ip_port_text(&a, port, buf), good[i]);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		if (ip_parse_addr_port(bad[i], &a, &port) != -EINVAL)
			fail_msg("'%s' accepted", bad[i]);
}

static void test_parse_port_range_when_given_then_bounds_hold(void **state)
{
	static const struct {
		const char *text;
		int rc;
		uint16_t lo, hi;
	} row[] = {
		{"53", 0, 53, 53},	  {"1-65535", 0, 1, 65535}, {"5000-5999", 0, 5000, 5999},
		{"7-7", 0, 7, 7},	  {"0", -EINVAL, 0, 0},	    {"0-5", -EINVAL, 0, 0},
		{"6-5", -EINVAL, 0, 0},	  {"5-", -EINVAL, 0, 0},    {"-5", -EINVAL, 0, 0},
		{"5-6-7", -EINVAL, 0, 0}, {"", -EINVAL, 0, 0},	    {"5,6", -EINVAL, 0, 0},
		{"65536", -EINVAL, 0, 0}, {"udp", -EINVAL, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct ip_port_range r = {0, 0};

		if (ip_parse_port_range(row[i].text, &r) != row[i].rc)
			fail_msg("'%s': wrong answer", row[i].text);
		assert_int_equal(r.lo, row[i].lo);
		assert_int_equal(r.hi, row[i].hi);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse_when_valid_then_prints_canonically),
		cmocka_unit_test(test_parse_when_malformed_then_einval_and_untouched),
		cmocka_unit_test(test_parse_prefix_when_valid_then_contains_its_own),
		cmocka_unit_test(test_parse_prefix_when_malformed_then_einval),
		cmocka_unit_test(test_parse_addr_port_when_valid_then_round_trips),
		cmocka_unit_test(test_parse_port_range_when_given_then_bounds_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
