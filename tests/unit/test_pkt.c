/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The judge of the data path's tests, judged itself: what it cuts it can put together again, and it sees what is wrong. */
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/bpf_join.h"

static const struct pkt_spec specs[] = {
	{.src = "198.51.100.7", .dst = "192.0.2.10", .l4_proto = IPPROTO_UDP},
	{.src = "198.51.100.7", .dst = "192.0.2.10", .l4_proto = IPPROTO_TCP, .ip_options = 2},
	{.src = "2001:db8:c::7", .dst = "2001:db8::10", .l4_proto = IPPROTO_UDP, .dest_options = 1},
	{.src = "2001:db8:c::7", .dst = "2001:db8::10", .l4_proto = IPPROTO_TCP, .frag_options = 2},
};

static void test_join_when_fragments_come_in_any_order_then_whole(void **state)
{
	struct pkt_join *j = malloc(sizeof(*j));

	(void)state;
	assert_non_null(j);
	for (size_t i = 0; i < sizeof(specs) / sizeof(*specs) * 2; i++) {
		struct pkt_spec s = specs[i / 2];
		struct pkt_seen seen;
		uint8_t buf[PKT_MAX];
		unsigned n;

		s.sport = 40000;
		s.dport = 53;
		s.payload = 3001;
		s.frag_mtu = 1280;
		s.frag_id = 77;
		n = pkt_fragments(&s);
		assert_int_equal(n, 3);
		memset(j, 0, sizeof(*j));
		for (unsigned k = 0; k < n; k++) {
			size_t len;

			s.frag_no = (uint8_t)(i & 1 ? n - 1 - k : k);
			len = pkt_build(&s, buf);
			assert_true(len <= 14u + 1280u);
			assert_null(pkt_read(buf, len, &seen));
			assert_int_equal(seen.is_last_frag, s.frag_no == n - 1);
			assert_null(pkt_join_add(j, &seen));
			if (k == 0)
				assert_string_equal(pkt_join_end(j, &seen), "fragments missing");
		}
		assert_null(pkt_join_end(j, &seen));
		assert_int_equal(seen.sport, 40000);
		assert_int_equal(seen.dport, 53);
		assert_int_equal(seen.payload, 3001);
		for (size_t k = 0; k < seen.payload; k++)
			assert_int_equal(seen.payload_at[k], (uint8_t)(k * 7 + 3));
		j->body[1500] ^= 1;
		assert_non_null(pkt_join_end(j, &seen));
	}
	free(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_join_when_fragments_come_in_any_order_then_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
