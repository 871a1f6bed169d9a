/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Messages and parameters of the control socket, without a socket. */
#include "tests/unit/ctl_clients.h"

static void test_scan_when_fed_byte_by_byte_then_finds_the_same_end(void **state)
{
	static const struct {
		const char *name;
		const uint8_t *buf;
		size_t len;
	} row[] = {
#define ROW(name, text) {name, (const uint8_t *)(text), sizeof(text) - 1}
		ROW("request", "\x94\x00\x07\xa9node.list\x80"),
		ROW("nil", "\xc0"),
		ROW("uint64", "\xcf\1\2\3\4\5\6\7\x08"),
		ROW("negative", "\xd1\xff\x00"),
		ROW("float", "\xcb\1\2\3\4\5\6\7\x08"),
		ROW("str8", "\xd9\x03"
			    "abc"),
		ROW("bin16", "\xc5\x00\x02\x01\x02"),
		ROW("ext8", "\xc7\x02\x05\x01\x02"),
		ROW("fixext4", "\xd6\x05\x01\x02\x03\x04"),
		ROW("map of arrays", "\x82\xa1x\x92\x01\x02\xa1y\xdc\x00\x01\x03"),
		ROW("empty map32", "\xdf\0\0\0\0"),
#undef ROW
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct ctl_scan s = {0};
		uint8_t buf[64] = {0};

		memcpy(buf, row[i].buf, row[i].len);
		for (size_t n = 0; n < row[i].len; n++)
			if (ctl_scan(&s, buf, n, sizeof(buf)))
				fail_msg("%s: ends after %zu", row[i].name, n);
		/* What follows is another's. */
		if (ctl_scan(&s, buf, row[i].len + 1, sizeof(buf)) != 1 || s.at != row[i].len)
			fail_msg("%s: ends at %zu", row[i].name, s.at);
		assert_int_equal(mp_check(buf, s.at), 0);
	}
}

static void test_scan_when_malformed_or_too_long_then_says_which(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		int want;
	} row[] = {
		{"\xc1", 1, -EBADMSG},
		{"\x91\xc1", 2, -EBADMSG},
		{"\xdb\xff\xff\xff\xff", 5, -EMSGSIZE},
		{"\xdd\xff\xff\xff\xff", 5, -EMSGSIZE},
		{"\xdf\xff\xff\xff\xff", 5, -EMSGSIZE},
		{"\xc6\x00\x00\x00\x40", 5, -EMSGSIZE}, /* 64 and its head are over 64 */
		{"\x91\x91\x91\x91\x91\x91\x91\x91\x91", 9, -EBADMSG},
		{"\x91\x91\x91\x91\x91\x91\x91\x91", 8, 0},
	};
	uint8_t many[64];
	struct ctl_scan s = {0};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		s = (struct ctl_scan){0};
		if (ctl_scan(&s, (const uint8_t *)row[i].text, row[i].len, 64) != row[i].want)
			fail_msg("row %zu", i);
	}
	memset(many, 1, sizeof(many));
	many[0] = 0xdc;
	many[1] = 0;
	many[2] = 64;
	s = (struct ctl_scan){0};
	assert_int_equal(ctl_scan(&s, many, sizeof(many), sizeof(many)), -EMSGSIZE);
}

static void test_request_read_when_malformed_then_refused_with_the_id_it_has(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		int want;
		uint64_t id;
	} row[] = {
		{"\x94\x00\x07\xa9node.list\x80", 14, 0, 7},
		{"\x94\x01\x07\xa9node.list\x80", 14, -EBADMSG, 0}, /* a reply */
		{"\x93\x00\x07\xa1x", 5, -EBADMSG, 0},		    /* three */
		{"\x94\x00\xff\xa1x\x80", 6, -EBADMSG, 0},	    /* negative id */
		{"\x94\x00\x07\xc0\x80", 5, -EBADMSG, 7},	    /* no method */
		{"\x94\x00\x07\xa3x\0y\x80", 8, -EBADMSG, 7},	    /* NUL in it */
		{"\x94\x00\x07\xa1x", 5, -EBADMSG, 7},		    /* no params */
		{"\x94\x00\x07\xa1x\x80\xc0", 7, -EBADMSG, 7},	    /* more behind */
		{"\x80", 1, -EBADMSG, 0},
		{"", 0, -EBADMSG, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct ctl_request q = {.id = 99};

		if (ctl_request_read((const uint8_t *)row[i].text, row[i].len, &q) != row[i].want ||
		    q.id != row[i].id)
			fail_msg("row %zu: id %llu", i, (unsigned long long)q.id);
	}
}

static void test_out_when_over_the_limit_then_full_and_an_error_still_fits(void **state)
{
	static char chunk[1 << 20];
	struct ctl_block list;
	struct ctl_out o;
	size_t sent = 0;

	(void)state;
	memset(chunk, 'x', sizeof(chunk) - 1);
	ctl_out_init(&o);
	ctl_out_result(&o, 5);
	ctl_array(&o, &list);
	for (; !o.is_full && sent < 2 * CTL_REPLY_MAX; sent += sizeof(chunk)) {
		ctl_item(&list);
		ctl_text(&o, chunk);
	}
	ctl_end(&o, &list);
	assert_true(o.is_full);
	assert_true(o.sb.size <= CTL_REPLY_MAX);
	ctl_out_error(&o, 5, -EMSGSIZE, "too large");
	assert_false(o.is_full);
	must_be_error((const uint8_t *)o.sb.data, o.sb.size, 5, EMSGSIZE);
	ctl_out_done(&o);
}

static void test_span_text_when_larger_then_coarser(void **state)
{
	static const struct {
		uint64_t ms;
		const char *want;
	} row[] = {{0, "0 ms"},	       {999, "999 ms"},	     {3250, "3.2 s"},
		   {59999, "59 s"},    {60000, "1.0 min"},   {3600000, "1.0 h"},
		   {86400000, "24 h"}, {200000000, "2.3 d"}, {UINT64_MAX, "213503982334 d"}};
	char buf[24];

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++)
		assert_string_equal(ctl_span_text(row[i].ms, buf), row[i].want);
}

/* ---- parameters */

static void test_args_read_when_wrong_then_names_method_and_parameter(void **state)
{
	static const struct {
		const char *method, *text;
		size_t len;
		const char *want; /* NULL = good */
	} row[] = {
#define ROW(method, text, want) {method, text, sizeof(text) - 1, want}
		ROW("status", "\x80", NULL),
		ROW("status", "\xc0", "status: params: want a map of at most 64"),
		ROW("status", "\x80\xc0", "status: params: bytes follow the map"),
		ROW("status", "\x81\xa4name\xa1x", "status: takes no parameter 'name'"),
		ROW("status", "\x81\x01\x02", "status: params: want short text as keys"),
		ROW("service.rm", "\x81\xa4name\xa1x", NULL),
		ROW("service.rm", "\x80", "service rm: name: missing"),
		ROW("service.rm", "\x81\xa4name\x05", "service rm: name: want text"),
		ROW("service.rm", "\x82\xa4name\xa1x\xa4name\xa1y",
		    "service rm: name: given twice"),
		ROW("service.rm", "\x82\xa4name\xa1x\xa5wight\x01",
		    "service rm: takes no parameter 'wight'"),
		ROW("service.rm",
		    "\x81\xa4name\xd9\x40"
		    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		    "service rm: name: got 64 bytes, want at most 63"),
		ROW("service.rm", "\x81\xa4name\xa3x\0y",
		    "service rm: name: got 3 bytes, want at most 63"),
		ROW("backend.add",
		    "\x83\xa7service\xa1s\xa4"
		    "addr\xa1"
		    "a\xa6weight\x00",
		    "backend add: weight: want 1..1000"),
		ROW("backend.add",
		    "\x83\xa7service\xa1s\xa4"
		    "addr\xa1"
		    "a\xa6weight\xcd\x03\xe9",
		    "backend add: weight: want 1..1000"),
		ROW("backend.add",
		    "\x83\xa7service\xa1s\xa4"
		    "addr\xa1"
		    "a\xa6weight\xa1"
		    "5",
		    "backend add: weight: want 1..1000"),
		ROW("service.add", "\x83\xa4name\xa1s\xa4vips\xa1x\xa5ports\x90",
		    "service add: vips: want a list of at most 8 texts"),
		ROW("service.add",
		    "\x83\xa4name\xa1s\xa4vips\x99\xa0\xa0\xa0\xa0\xa0\xa0\xa0\xa0\xa0\xa5ports"
		    "\x90",
		    "service add: vips: want a list of at most 8 texts"),
		ROW("service.add", "\x83\xa4name\xa1s\xa4vips\x91\xa1x\xa5ports\x92\xa1x\x05",
		    "service add: ports: want text"),
#undef ROW
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct ctl_args a = {.has = 0xdead};
		struct err e = {0};
		int rc = ctl_args_read((const uint8_t *)row[i].text, row[i].len,
				       ctl_signature_find(row[i].method), &a, &e);

		if (!row[i].want) {
			assert_int_equal(rc, 0);
			continue;
		}
		assert_int_equal(rc, -EINVAL);
		assert_string_equal(e.text, row[i].want);
		assert_int_equal(a.has, 0xdead);
	}
}

static void test_args_when_packed_then_read_back_the_same(void **state)
{
	struct ctl_args a = {0}, b;
	msgpack_sbuffer sb;
	struct err e = {0};

	(void)state;
	set(&a, "service.add", CTL_A_name, "dns");
	set(&a, "service.add", CTL_A_vips, "192.0.2.1");
	set(&a, "service.add", CTL_A_vips, "2001:db8::1");
	set(&a, "service.add", CTL_A_ports, "udp/53");
	set(&a, "service.add", CTL_A_policy, "hash=source");
	set(&a, "service.add", CTL_A_policy, "pps=7");
	msgpack_sbuffer_init(&sb);
	ctl_args_pack(&a, &sb);
	assert_int_equal(ctl_args_read((const uint8_t *)sb.data, sb.size,
				       ctl_signature_find("service.add"), &b, &e),
			 0);
	msgpack_sbuffer_destroy(&sb);
	assert_memory_equal(&a, &b, sizeof(a));
}

static void test_args_service_when_value_is_wrong_then_says_what_was_wanted(void **state)
{
	static const struct {
		const char *name, *vip, *port, *policy, *want;
	} row[] = {
		{"dns", "192.0.2.1", "udp/53", "hash=5tuple", NULL},
		{"dns", "2001:db8::1", "udp/5000-5999", "hash=packet", NULL},
		{"Dns", "192.0.2.1", "udp/53", NULL,
		 "service add: name: got 'Dns', want 1 to 31 of a-z, 0-9 and hyphens, none at "
		 "either end"},
		{"dns", "192.0.2.256", "udp/53", NULL,
		 "service add: vip: got '192.0.2.256', want an IPv4 or IPv6 address"},
		{"dns", "192.0.2.1", "sctp/53", NULL,
		 "service add: port: got 'sctp/53', want udp/PORT, tcp/PORT or a range like "
		 "udp/5000-5999 of at "
		 "most 16384"},
		{"dns", "192.0.2.1", "udp/9-8", NULL,
		 "service add: port: got 'udp/9-8', want udp/PORT, tcp/PORT or a range like "
		 "udp/5000-5999 of at "
		 "most 16384"},
		{"dns", "192.0.2.1", "udp/1-16385", NULL,
		 "service add: port: got 'udp/1-16385', want udp/PORT, tcp/PORT or a range like "
		 "udp/5000-5999 of "
		 "at most 16384"},
		{"dns", "192.0.2.1", "tcp/53", "hash=packet",
		 "service add: policy hash=packet: the service has a TCP port, and the packets of "
		 "a connection must reach one backend; want 5tuple or source"},
		{"dns", "192.0.2.1", "udp/53", "pps=lots",
		 "service add: policy pps: got 'lots', want 1..1000000000 a second, or off"},
		{"dns", "192.0.2.1", "udp/53", "hash=maglev",
		 "service add: policy hash: got 'maglev', want 5tuple, source or packet"},
		{"dns", NULL, "udp/53", NULL, "service add: vip: want at least one"},
		{"dns", "192.0.2.1", NULL, NULL, "service add: port: want at least one"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct model_service s;
		struct ctl_args a = {0};
		struct err e = {0};
		int rc;

		set(&a, "service.add", CTL_A_name, row[i].name);
		if (row[i].vip)
			set(&a, "service.add", CTL_A_vips, row[i].vip);
		if (row[i].port)
			set(&a, "service.add", CTL_A_ports, row[i].port);
		if (row[i].policy)
			set(&a, "service.add", CTL_A_policy, row[i].policy);
		rc = ctl_args_service(&a, &s, &e);
		assert_int_equal(rc, row[i].want ? -EINVAL : 0);
		if (row[i].want)
			assert_string_equal(e.text, row[i].want);
	}
}

static void test_args_filter_when_value_is_wrong_then_says_what_was_wanted(void **state)
{
	static const struct {
		const char *verb, *prefix, *service, *want;
	} row[] = {
		{"deny", "192.0.2.0/24", NULL, NULL},
		{"allow", "2001:db8::1", "dns", NULL},
		{NULL, "::/0", "*", NULL},
		{"drop", "192.0.2.0/24", NULL, "filter add: verb: got 'drop', want deny or allow"},
		{"deny", "192.0.2.1/24", NULL,
		 "filter add: prefix: got '192.0.2.1/24', want an address, or a prefix like "
		 "192.0.2.0/24 or 2001:db8::/32 whose host bits are zero"},
		{NULL, "192.0.2.0/33", NULL,
		 "filter rm: prefix: got '192.0.2.0/33', want an address, or a prefix like "
		 "192.0.2.0/24 or 2001:db8::/32 whose host bits are zero"},
		{"deny", "::/0", "D",
		 "filter add: service: got 'D', want 1 to 31 of a-z, 0-9 and hyphens, none at "
		 "either end"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		const char *method = row[i].verb ? "filter.add" : "filter.rm";
		struct model_filter f = {.verb = 77};
		struct ctl_args a = {0};
		struct err e = {0};

		if (row[i].verb)
			set(&a, method, CTL_A_verb, row[i].verb);
		set(&a, method, CTL_A_prefix, row[i].prefix);
		if (row[i].service)
			set(&a, method, CTL_A_service, row[i].service);
		assert_int_equal(ctl_args_filter(&a, &f, &e), row[i].want ? -EINVAL : 0);
		if (row[i].want)
			assert_string_equal(e.text, row[i].want);
		assert_true((f.verb == 77) == (row[i].want != NULL));
	}
}

static void test_args_backend_when_value_is_wrong_then_says_what_was_wanted(void **state)
{
	static const struct {
		const char *addr, *check, *want;
	} row[] = {
		{"10.0.0.1:53", NULL, NULL},
		{"[2001:db8::1]:53", "tcp:interval=500ms", NULL},
		{"10.0.0.1", NULL,
		 "backend add: address: got '10.0.0.1', want ADDRESS:PORT, [ADDRESS]:PORT for "
		 "IPv6"},
		{"127.0.0.1:53", NULL,
		 "backend add: address: got '127.0.0.1:53', want an address that other hosts can "
		 "reach: no "
		 "loopback, wildcard or multicast"},
		{"10.0.0.1:53", "ftp",
		 "backend add: check: got 'ftp', want none, tcp, udp, http, https, dns or exec"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct model_backend b;
		struct ctl_args a = {0};
		struct err e = {0};
		int rc;

		set(&a, "backend.add", CTL_A_service, "dns");
		set(&a, "backend.add", CTL_A_addr, row[i].addr);
		if (row[i].check)
			set(&a, "backend.add", CTL_A_check, row[i].check);
		rc = ctl_args_backend(&a, &b, &e);
		assert_int_equal(rc, row[i].want ? -EINVAL : 0);
		if (row[i].want)
			assert_string_equal(e.text, row[i].want);
		else
			assert_int_equal(b.weight, 100);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_when_fed_byte_by_byte_then_finds_the_same_end),
		cmocka_unit_test(test_scan_when_malformed_or_too_long_then_says_which),
		cmocka_unit_test(test_request_read_when_malformed_then_refused_with_the_id_it_has),
		cmocka_unit_test(test_out_when_over_the_limit_then_full_and_an_error_still_fits),
		cmocka_unit_test(test_span_text_when_larger_then_coarser),
		cmocka_unit_test(test_args_read_when_wrong_then_names_method_and_parameter),
		cmocka_unit_test(test_args_when_packed_then_read_back_the_same),
		cmocka_unit_test(test_args_service_when_value_is_wrong_then_says_what_was_wanted),
		cmocka_unit_test(test_args_filter_when_value_is_wrong_then_says_what_was_wanted),
		cmocka_unit_test(test_args_backend_when_value_is_wrong_then_says_what_was_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
