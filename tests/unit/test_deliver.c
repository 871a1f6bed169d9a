/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses of a network namespace of our own: a local one, one behind a bridge, one elsewhere, none. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "edge/deliver.h"

static const char patterns[][32] = {"br-none", "eagt-b*"};

static bool has_netns;

static int setup(void **state)
{
	(void)state;
	/* The namespace dies with this process. */
	has_netns = unshare(CLONE_NEWNET) == 0 &&
		    system("ip link set lo up && ip link add eagt-b0 type bridge && ip link set "
			   "eagt-b0 up &&"
			   "ip link add eagt-u0 type veth peer name eagt-u1 && ip link set eagt-u1 "
			   "up && ip link set eagt-u0 up &&"
			   "ip addr add 10.80.0.1/24 dev eagt-u0 && ip addr add 10.81.0.1/24 dev "
			   "eagt-b0 &&"
			   "ip addr add fd80::1/64 dev eagt-u0 nodad && ip addr add fd81::1/64 dev "
			   "eagt-b0 nodad &&"
			   "ip route add blackhole 10.99.0.1/32") == 0;
	if (!has_netns)
		print_message("# skipped: needs root and ip(8)\n");
	return 0;
}

static void test_deliver_find_when_refused_or_found_then_says_so(void **state)
{
	static const struct {
		const char *addr;
		int err;
		bool is_bridge;
		const char *text;
	} row[] = {
		{"10.80.0.1", 0, false, NULL},
		{"fd80::1", 0, false, NULL},
		{"10.81.0.1", 0, false, NULL}, /* the bridge's own address is a host socket */
		{"10.81.0.7", 0, true, NULL},
		{"fd81::7", 0, true, NULL},
		{"10.80.0.7", -EHOSTUNREACH, false, "eagt-u0"},
		{"fd80::7", -EHOSTUNREACH, false, "eagt-u0"},
		{"10.90.0.1", -EHOSTUNREACH, false, "no route"},
		{"fd90::1", -EHOSTUNREACH, false, "no route"},
		{"10.99.0.1", -EHOSTUNREACH, false, NULL},
		{"127.0.0.1", -EINVAL, false, "loopback"},
		{"127.9.9.9", -EINVAL, false, "loopback"},
		{"::1", -EINVAL, false, "loopback"},
		{"0.0.0.0", -EINVAL, false, "wildcard"},
		{"::", -EINVAL, false, "wildcard"},
		{"224.0.0.1", -EINVAL, false, "multicast"},
		{"ff02::1", -EINVAL, false, "multicast"},
		{"169.254.1.1", -EINVAL, false, "link-local"},
		{"fe80::1", -EINVAL, false, "link-local"},
	};

	(void)state;
	if (!has_netns)
		skip();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct deliver_way way = {.ifindex = 12345};
		struct ip_addr addr;
		struct err e = {0};
		int err;

		assert_int_equal(ip_parse(row[i].addr, &addr), 0);
		err = deliver_find(&addr, patterns, 2, &way, &e);
		if (err != row[i].err)
			print_error("%s: %s\n", row[i].addr, e.text);
		assert_int_equal(err, row[i].err);
		if (err) {
			assert_int_equal(way.ifindex, 12345);
			assert_non_null(strstr(e.text, row[i].addr));
			if (row[i].text)
				assert_non_null(strstr(e.text, row[i].text));
			continue;
		}
		assert_int_equal(way.ifindex, row[i].is_bridge ? if_nametoindex("eagt-b0") : 0);
		assert_string_equal(way.ifname, row[i].is_bridge ? "eagt-b0" : "");
	}
}

static void test_deliver_watch_when_address_comes_then_wakes(void **state)
{
	struct pollfd p = {.events = POLLIN};

	(void)state;
	if (!has_netns)
		skip();
	p.fd = deliver_watch_open();
	assert_true(p.fd >= 0);
	(void)deliver_watch_drain(p.fd);
	assert_false(deliver_watch_drain(p.fd));
	assert_int_equal(system("ip addr add 10.82.0.1/24 dev eagt-u0"), 0);
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_true(deliver_watch_drain(p.fd));
	assert_false(deliver_watch_drain(p.fd));
	close(p.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deliver_find_when_refused_or_found_then_says_so),
		cmocka_unit_test(test_deliver_watch_when_address_comes_then_wakes),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
