/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control socket from both ends: what is shown, what is asked for, and what a client may send without harm. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "tests/unit/ctl_fake.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define WAIT_MS 10000

/* ---- clients */

static void must_start(void)
{
	struct err e = {0};

	if (fake_start(&e))
		fail_msg("ctl_open: %s", e.text);
}

static int call(const char *method, const struct ctl_args *args, msgpack_unpacked *ret_result,
		struct ctl_client **ret_client, struct err *e)
{
	static const struct ctl_args none;
	msgpack_sbuffer params;
	int rc;

	if (ctl_connect(fake.path, ret_client, e))
		fail_msg("connect: %s", e->text);
	msgpack_sbuffer_init(&params);
	ctl_args_pack(args ? args : &none, &params);
	rc = ctl_call(*ret_client, method, &params, ret_result, e);
	msgpack_sbuffer_destroy(&params);
	return rc;
}

/* The result as text, to look for things in. */
static const char *ask(const char *method, const struct ctl_args *args)
{
	static char text[65536];
	struct ctl_client *client;
	msgpack_unpacked result;
	struct err e = {0};
	FILE *f;

	if (call(method, args, &result, &client, &e))
		fail_msg("%s: %s", method, e.text);
	f = fmemopen(text, sizeof(text), "w");
	msgpack_object_print(f, result.data);
	fclose(f);
	msgpack_unpacked_destroy(&result);
	ctl_disconnect(client);
	return text;
}

static void must_refuse(const char *method, const struct ctl_args *args, int code, const char *text)
{
	struct ctl_client *client;
	msgpack_unpacked result;
	struct err e = {0};

	assert_int_equal(call(method, args, &result, &client, &e), CTL_REFUSED);
	assert_int_equal(e.code, code);
	assert_string_equal(e.text, text);
	ctl_disconnect(client);
}

static void set(struct ctl_args *a, const char *method, enum ctl_arg which, const char *text)
{
	struct err e = {0};

	if (ctl_args_set(a, which, text, ctl_signature_find(method), &e))
		fail_msg("%s", e.text);
}

static int raw_connect(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = WAIT_MS / 1000};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", fake.path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

/* One whole reply; its length, 0 at the end. */
static size_t raw_reply(int fd, uint8_t *buf, size_t cap)
{
	struct ctl_scan scan = {0};
	size_t len = 0;

	while (ctl_scan(&scan, buf, len, cap) == 0) {
		ssize_t n =
			recv(fd, buf + len, 1, 0); /* one by one: what follows stays where it is */

		if (n <= 0)
			return 0;
		len += (size_t)n;
	}
	return len;
}

static void must_end(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);

	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	close(fd);
}

/* [1, id, {code, text}, nil] */
static void must_be_error(const uint8_t *buf, size_t len, uint64_t want_id, uint64_t want_code)
{
	uint64_t kind, id, code = 0;
	struct mp_reader r;
	const char *key;
	size_t n, pairs;

	assert_true(len > 0);
	mp_reader_init(&r, buf, len);
	assert_int_equal(mp_read_array(&r, 4, &n) | mp_read_uint(&r, 1, &kind) |
				 mp_read_uint(&r, UINT32_MAX, &id) | mp_read_map(&r, 2, &pairs) |
				 mp_read_str(&r, 4, &key, &n) | mp_read_uint(&r, 4095, &code),
			 0);
	assert_int_equal(id, want_id);
	assert_int_equal(code, want_code);
}

/* ---- messages */

static const uint8_t list_request[] = "\x94\x00\x07\xa9node.list\x80";
#define LIST_BYTES (sizeof(list_request) - 1)

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
	set(&a, "service.add", CTL_A_hash, "source");
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
		const char *name, *vip, *port, *hash, *want;
	} row[] = {
		{"dns", "192.0.2.1", "udp/53", "5tuple", NULL},
		{"dns", "2001:db8::1", "tcp/5000-5999", "packet", NULL},
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
		{"dns", "192.0.2.1", "udp/53", "maglev",
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
		if (row[i].hash)
			set(&a, "service.add", CTL_A_hash, row[i].hash);
		rc = ctl_args_service(&a, &s, &e);
		assert_int_equal(rc, row[i].want ? -EINVAL : 0);
		if (row[i].want)
			assert_string_equal(e.text, row[i].want);
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
		{"10.0.0.1:53", "http", "backend add: check: got 'http', want none, tcp or udp"},
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

/* ---- what is shown */

static void must_have(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no %s in:\n%s", part, text);
}

static void test_status_when_asked_then_shows_nodes_services_backends(void **state)
{
	const char *text;

	(void)state;
	must_start();
	text = ask("status", NULL);
	must_have(text, "\"cluster\"=>\"lab\", \"self\"=>\"a1\", \"region\"=>\"ams\", "
			"\"version\"=>\"0.1.0\"");
	must_have(
		text,
		"\"name\"=>\"f1\", \"region\"=>\"fra\", "
		"\"id\"=>\"09000000000000000000000000000000\", "
		"\"addr\"=>\"10.0.0.2:7946\", \"state\"=>\"headless\", \"since_ms\"=>3200, "
		"\"heard_ms\"=>200, \"data_heard_ms\"=>nil, \"rtt_us\"=>1500, \"is_self\"=>false, "
		"\"is_edge\"=>true, \"is_worker\"=>true, \"has_forwarder\"=>true, "
		"\"is_behind\"=>true, "
		"\"behind_ms\"=>1500");
	must_have(text, "\"name\"=>\"dns\", \"vips\"=>[\"192.0.2.53\", \"2001:db8::53\"], "
			"\"ports\"=>[\"udp/53\", \"tcp/53-59\"], \"hash\"=>\"5tuple\", "
			"\"is_shadowed\"=>false, "
			"\"usable\"=>1, \"backends\"=>3");
	must_have(text,
		  "\"spec\"=>\"f1/dns/10.0.0.2:5300\", \"node\"=>\"f1\", \"region\"=>\"fra\"");
	must_have(text,
		  "\"health\"=>\"failing\", \"why\"=>\"connection refused\", \"changed_ms\"=>6");
	must_have(text, "\"store\"=>{\"is_broken\"=>false, \"text\"=>\"\", \"queued\"=>1, "
			"\"commits\"=>12}");
	must_have(text,
		  "\"forwarder\"=>{\"is_up\"=>true, \"text\"=>\"connected\", \"is_ready\"=>true, "
		  "\"routes_ms\"=>500, \"compute_us\"=>120, \"compute_us_max\"=>300}");
	must_have(text, "\"dgrams_in\"=>7");
	must_have(text, "\"unsealed\"=>3");
}

static void test_status_when_things_are_wrong_then_worst_comes_first(void **state)
{
	static const char *const want[] = {
		"\"problems\"=>[\"service dns (IPv6) has no usable backend: 3 known\"",
		"service web (IPv4) has no backend",
		"the made-up problem",
		"node f1 (fra) is headless for 3.2 s: edged is silent there",
		"node s1 (sin) is dead for 3.2 s: packets go elsewhere",
		"node s2 (sin) is suspect for 3.2 s: silent",
		"backend f1/dns/10.0.0.2:5300 is failing for 1.0 min: connection refused",
	};
	const char *text, *at;

	(void)state;
	must_start();
	at = text = ask("status", NULL);
	for (size_t i = 0; i < COUNT(want); i++) {
		const char *next = strstr(at, want[i]);

		if (!next)
			fail_msg("\"%s\" is not there, or not in order:\n%s", want[i], text);
		at = next;
	}
}

static void test_lists_when_asked_then_show_their_part(void **state)
{
	struct ctl_args a = {0};

	(void)state;
	must_start();
	must_have(ask("node.list", NULL), "{\"nodes\"=>[{\"name\"=>\"a1\"");
	must_have(ask("service.list", NULL),
		  "\"regions\"=>[{\"region\"=>\"sin\", \"usable\"=>0, \"backends\"=>1}, "
		  "{\"region\"=>\"fra\", \"usable\"=>0, \"backends\"=>1}, "
		  "{\"region\"=>\"ams\", \"usable\"=>1, \"backends\"=>1}]");
	must_have(ask("backend.list", NULL), "\"spec\"=>\"s1/dns/10.0.0.3:5300\"");
	/* What the other family's table says of them is no news. */
	assert_null(strstr(ask("backend.list", NULL), route_why_text(ROUTE_OTHER_FAMILY)));
	set(&a, "backend.list", CTL_A_service, "web");
	must_have(ask("backend.list", &a), "{\"backends\"=>[]}");
	a = (struct ctl_args){0};
	set(&a, "backend.list", CTL_A_service, "nothing");
	must_refuse("backend.list", &a, -ENOENT, "there is no service nothing");
}

static void test_route_show_when_asked_then_says_who_and_why_not(void **state)
{
	struct ctl_args a = {0};
	const char *text;

	(void)state;
	must_start();
	set(&a, "route.show", CTL_A_service, "dns");
	text = ask("route.show", &a);
	must_have(text, "\"family\"=>4, \"vips\"=>[\"192.0.2.53\"], \"rows\"=>251");
	must_have(text, "{\"spec\"=>\"a1/dns/10.0.0.1:5300\", \"node\"=>\"a1\", "
			"\"region\"=>\"ams\", \"tier\"=>0, "
			"\"is_used\"=>true");
	must_have(text, "\"rows\"=>251}");
	must_have(text, route_why_text(ROUTE_UNHEALTHY));
	must_have(text, route_why_text(ROUTE_NODE_DOWN));
	must_have(text, route_why_text(ROUTE_OTHER_FAMILY));
	a = (struct ctl_args){0};
	set(&a, "route.show", CTL_A_service, "nothing");
	must_refuse("route.show", &a, -ENOENT, "there is no service nothing");
}

static void test_stats_when_no_maps_then_says_so(void **state)
{
	(void)state;
	must_start();
	must_have(ask("stats", NULL),
		  "\"is_forwarding\"=>false, \"text\"=>\"connected\", \"reasons\"=>[]");
}

static void test_stats_when_maps_then_counts(void **state)
{
	const char *text;

	(void)state;
	fake.has_maps = true;
	must_start();
	text = ask("stats", NULL);
	must_have(text, "\"is_drop\"=>true, \"packets\"=>99");
	must_have(text, "{\"service\"=>\"dns\", \"family\"=>6, \"packets\"=>6, \"bytes\"=>600}");
	must_have(text, "{\"spec\"=>\"s1/dns/10.0.0.3:5300\", \"packets\"=>8, \"bytes\"=>800}");
	assert_null(strstr(text, "web"));
}

/* ---- what is asked for */

static void test_verbs_when_asked_then_the_agent_gets_what_was_meant(void **state)
{
	struct ctl_args a = {0};
	struct ip_addr ip;

	(void)state;
	must_start();
	set(&a, "service.add", CTL_A_name, "game");
	set(&a, "service.add", CTL_A_vips, "192.0.2.9");
	set(&a, "service.add", CTL_A_ports, "udp/5000-5099");
	set(&a, "service.add", CTL_A_hash, "source");
	must_have(ask("service.add", &a), "{\"text\"=>\"done\"}");
	ip_parse("192.0.2.9", &ip);
	assert_string_equal(fake.got_service.name, "game");
	assert_true(ip_equal(&fake.got_service.vip[0], &ip));
	assert_int_equal(fake.got_service.port[0].l4_proto, IPPROTO_UDP);
	assert_int_equal(fake.got_service.port[0].ports.hi, 5099);
	assert_int_equal(fake.got_service.hash, 1);

	a = (struct ctl_args){0};
	set(&a, "backend.add", CTL_A_service, "game");
	set(&a, "backend.add", CTL_A_addr, "10.0.0.7:6000");
	set(&a, "backend.add", CTL_A_weight, "7");
	set(&a, "backend.add", CTL_A_check, "udp:send=text:hi");
	fake.answer = FAKE_LATER;
	must_have(ask("backend.add", &a), "done");
	assert_int_equal(fake.got_backend.port, 6000);
	assert_int_equal(fake.got_backend.weight, 7);
	assert_int_equal(fake.got_backend.check.kind, MODEL_CHECK_UDP);

	a = (struct ctl_args){0};
	set(&a, "backend.drain", CTL_A_spec, "f1/dns/10.0.0.2:5300");
	set(&a, "backend.drain", CTL_A_author, "eve");
	set(&a, "backend.drain", CTL_A_reason, "new disk");
	must_have(ask("backend.drain", &a), "done");
	assert_true(fake.got_drain);
	assert_string_equal(fake.got_spec, "f1/dns/10.0.0.2:5300");
	assert_string_equal(fake.got_author, "eve");
	assert_string_equal(fake.got_reason, "new disk");
	a.has &= ~CTL_BIT(reason);
	must_have(ask("backend.undrain", &a), "done");
	assert_false(fake.got_drain);
	assert_int_equal(fake.verbs, 4);
}

static void test_verbs_when_refused_then_code_and_sentence_come_back(void **state)
{
	struct ctl_args a = {0};

	(void)state;
	must_start();
	fake.status = -ENOENT;
	fake.text = "there is no service x";
	set(&a, "service.rm", CTL_A_name, "x");
	must_refuse("service.rm", &a, -ENOENT, "there is no service x");
	fake.answer = FAKE_LATER;
	must_refuse("service.rm", &a, -ENOENT, "there is no service x");
	a = (struct ctl_args){.has = CTL_BIT(name) | CTL_BIT(vips) | CTL_BIT(ports), .name = "Bad"};
	must_refuse("service.add", &a, -EINVAL,
		    "service add: name: got 'Bad', want 1 to 31 of a-z, 0-9 and hyphens, none at "
		    "either end");
	assert_int_equal(fake.verbs, 2);
	must_refuse("no.such", NULL, -ENOSYS, "this edged has no method of that name");
}

static void test_verbs_when_client_goes_first_then_the_answer_is_dropped(void **state)
{
	static const uint8_t rm[] = "\x94\x00\x01\xaaservice.rm\x81\xa4name\xa1x";
	int fd;

	(void)state;
	must_start();
	fake.answer = FAKE_LATER;
	fd = raw_connect();
	assert_int_equal(send(fd, rm, sizeof(rm) - 1, 0), sizeof(rm) - 1);
	close(fd);
	/* Another is served, after it. */
	for (unsigned i = 0; fake.pending_cb || !fake.verbs; i++) {
		assert_true(i < WAIT_MS);
		must_have(ask("node.list", NULL), "a1");
	}
}

static void test_close_when_an_answer_is_due_then_client_is_cut_off(void **state)
{
	static const uint8_t rm[] = "\x94\x00\x01\xaaservice.rm\x81\xa4name\xa1x";
	int fd;

	(void)state;
	must_start();
	fake.answer = FAKE_AT_CLOSE;
	fd = raw_connect();
	assert_int_equal(send(fd, rm, sizeof(rm) - 1, 0), sizeof(rm) - 1);
	while (!*(volatile unsigned *)&fake.verbs)
		must_have(ask("node.list", NULL), "a1");
	fake_stop();
	must_end(fd);
	assert_int_equal(access(fake.path, F_OK), -1);
}

/* ---- what a client may send */

static void test_server_when_requests_are_sent_in_one_go_or_by_bytes_then_answers_each(void **state)
{
	uint8_t two[2 * LIST_BYTES], buf[8192];
	int fd;

	(void)state;
	must_start();
	memcpy(two, list_request, LIST_BYTES);
	memcpy(two + LIST_BYTES, list_request, LIST_BYTES);
	two[LIST_BYTES + 2] = 8;
	fd = raw_connect();
	assert_int_equal(send(fd, two, sizeof(two), 0), sizeof(two));
	for (uint8_t id = 7; id <= 8; id++) {
		assert_true(raw_reply(fd, buf, sizeof(buf)) > 0);
		/* [1, id, nil, ...; ids are packed as 64-bit numbers or smaller: read them */
		uint64_t kind, got;
		struct mp_reader r;
		size_t n;

		mp_reader_init(&r, buf, sizeof(buf));
		assert_int_equal(mp_read_array(&r, 4, &n) | mp_read_uint(&r, 1, &kind) |
					 mp_read_uint(&r, 99, &got) | mp_read_nil(&r),
				 0);
		assert_int_equal(got, id);
	}
	for (size_t i = 0; i < LIST_BYTES; i++)
		assert_int_equal(send(fd, list_request + i, 1, 0), 1);
	assert_true(raw_reply(fd, buf, sizeof(buf)) > 0);
	close(fd);
}

static void test_server_when_malformed_then_error_and_end(void **state)
{
	static const struct {
		const char *name, *text;
		size_t len;
		uint64_t id, code;
	} row[] = {
		{"never used byte", "\xc1", 1, 0, EBADMSG},
		{"with an id", "\x94\x00\x05\xa1x\xc1", 6, 5, EBADMSG},
		{"not a request", "\x80", 1, 0, EBADMSG},
		{"method is no text", "\x94\x00\x09\xc0\x80", 5, 9, EBADMSG},
		{"huge string", "\xdb\xff\xff\xff\xff", 5, 0, EMSGSIZE},
		{"huge array", "\xdd\x04\x00\x00\x00", 5, 0, EMSGSIZE},
		{"too deep", "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91", 10, 0, EBADMSG},
	};
	uint8_t buf[512];

	(void)state;
	must_start();
	for (size_t i = 0; i < COUNT(row); i++) {
		int fd = raw_connect();

		assert_int_equal(send(fd, row[i].text, row[i].len, 0), (ssize_t)row[i].len);
		must_be_error(buf, raw_reply(fd, buf, sizeof(buf)), row[i].id, row[i].code);
		must_end(fd);
	}
}

static void test_server_when_request_is_too_long_then_refused(void **state)
{
	static uint8_t longest[CTL_REQUEST_MAX + 16];
	uint8_t buf[512];
	int fd;

	(void)state;
	must_start();
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "\x94\x00\x03\xdb\x00\x00\xff\xf8",
	       8); /* the method fills it up, its params don't fit */
	fd = raw_connect();
	(void)send(fd, longest, sizeof(longest),
		   MSG_NOSIGNAL); /* may be cut short: that is what is tested */
	must_be_error(buf, raw_reply(fd, buf, sizeof(buf)), 3, EMSGSIZE);
	must_end(fd);
}

/* When it has seen those go that hung up. */
static void must_serve_soon(void)
{
	for (unsigned i = 0; i < WAIT_MS; i++) {
		struct err e = {0};
		struct ctl_client *client;
		msgpack_unpacked result;
		int rc = call("node.list", NULL, &result, &client, &e);

		if (!rc)
			msgpack_unpacked_destroy(&result);
		ctl_disconnect(client);
		if (!rc)
			return;
		assert_int_equal(e.code, -EBUSY);
	}
	fail_msg("still busy");
}

static void test_server_when_noise_comes_then_goes_on_serving(void **state)
{
	uint32_t x = 2463534242u;
	uint8_t noise[256];

	(void)state;
	must_start();
	for (size_t i = 0; i < 300; i++) {
		int fd = raw_connect();

		for (size_t k = 0; k < sizeof(noise); k++) {
			x ^= x << 13;
			x ^= x >> 17;
			x ^= x << 5;
			noise[k] = (uint8_t)x;
		}
		if (i % 2)
			memcpy(noise, list_request, 2 + i % 12);
		(void)send(fd, noise, sizeof(noise),
			   MSG_NOSIGNAL); /* it may have hung up already */
		close(fd);
	}
	must_serve_soon();
}

static void test_server_when_client_is_idle_then_it_is_sent_away(void **state)
{
	int fd;

	(void)state;
	fake.cfg.idle_ms = 50;
	must_start();
	fd = raw_connect();
	assert_int_equal(send(fd, list_request, 3, 0), 3);
	must_end(fd);
}

static void test_server_when_too_many_clients_then_the_next_is_told(void **state)
{
	int fd[CTL_CLIENTS_MAX], one_more;
	uint8_t buf[8192];

	(void)state;
	must_start();
	for (size_t i = 0; i < CTL_CLIENTS_MAX; i++)
		fd[i] = raw_connect();
	one_more = raw_connect();
	must_be_error(buf, raw_reply(one_more, buf, sizeof(buf)), 0, EBUSY);
	must_end(one_more);
	assert_int_equal(send(fd[0], list_request, LIST_BYTES, 0), LIST_BYTES);
	assert_true(raw_reply(fd[0], buf, sizeof(buf)) > 0);
	for (size_t i = 0; i < CTL_CLIENTS_MAX; i++)
		close(fd[i]);
	must_serve_soon();
}

/* ---- opening */

static void test_open_when_path_is_taken_then_refused_or_replaced(void **state)
{
	struct ctl_config second = fake.cfg;
	struct ctl *other;
	struct stat st;
	struct err e = {0};
	char text[256];
	int fd;

	(void)state;
	/* something else */
	fd = open(fake.path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(ctl_open(&fake.uv, &second, &other, &e), -EEXIST);
	snprintf(text, sizeof(text), "control socket %s: something else is there", fake.path);
	assert_string_equal(e.text, text);
	unlink(fake.path);
	/* what a killed process left */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", fake.path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
	must_start();
	assert_int_equal(lstat(fake.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	/* one that lives */
	assert_int_equal(ctl_open(&fake.uv, &second, &other, &e), -EADDRINUSE);
	must_have(ask("node.list", NULL), "a1");
}

static void test_open_when_it_cannot_then_names_the_path(void **state)
{
	struct ctl_config bad = fake.cfg;
	struct ctl *other;
	struct err e = {0};
	char longest[200];

	(void)state;
	bad.path = "/nowhere/at/all/edged.sock";
	assert_int_equal(ctl_open(&fake.uv, &bad, &other, &e), -ENOENT);
	assert_string_equal(e.text,
			    "control socket /nowhere/at/all/edged.sock: No such file or directory");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	bad.path = longest;
	assert_int_equal(ctl_open(&fake.uv, &bad, &other, &e), -ENAMETOOLONG);
}

static void test_open_when_group_is_unknown_then_socket_is_the_owners_alone(void **state)
{
	struct stat st;

	(void)state;
	fake.cfg.group = "no-such-group";
	must_start();
	assert_int_equal(lstat(fake.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

/* ---- the client, and a daemon gone mad */

struct liar {
	const uint8_t *bytes;
	size_t len;
	int fd;
};

static void *lie(void *arg)
{
	struct liar *l = arg;
	char buf[4096];
	int fd = accept(l->fd, NULL, NULL);

	(void)recv(fd, buf, sizeof(buf), 0); /* the request, whatever it says */
	(void)send(fd, l->bytes, l->len, MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

static void test_call_when_daemon_answers_nonsense_then_an_error_not_a_crash(void **state)
{
	static const struct {
		const char *name, *text;
		size_t len;
		int want;
	} row[] = {
		{"nothing", "", 0, -ECONNRESET},
		{"half", "\x94\x01", 2, -ECONNRESET},
		{"malformed", "\x94\x01\xc1", 3, -EBADMSG},
		{"huge", "\x94\x01\x01\xc0\xdb\xff\xff\xff\xff", 9, -EMSGSIZE},
		{"huge array", "\x94\x01\x01\xc0\xdd\x03\xff\xff\xff", 9, -ECONNRESET},
		{"request", "\x94\x00\x01\xc0\x80", 5, -EBADMSG},
		{"another id", "\x94\x01\x02\xc0\x80", 5, -EBADMSG},
		{"three", "\x93\x01\x01\xc0", 4, -EBADMSG},
		{"odd error", "\x94\x01\x01\x05\xc0", 5, CTL_REFUSED},
		{"error of another", "\x94\x01\x02\x80\xc0", 5, -EBADMSG},
		{"good", "\x94\x01\x01\xc0\x80", 5, 0},
	};
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct liar l = {.fd = socket(AF_UNIX, SOCK_STREAM, 0)};

	(void)state;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", fake.path);
	assert_int_equal(bind(l.fd, (struct sockaddr *)&sun, sizeof(sun)) | listen(l.fd, 4), 0);
	for (size_t i = 0; i < COUNT(row); i++) {
		struct ctl_client *client;
		msgpack_unpacked result;
		struct err e = {0};
		pthread_t t;
		int rc;

		l.bytes = (const uint8_t *)row[i].text;
		l.len = row[i].len;
		pthread_create(&t, NULL, lie, &l);
		rc = call("status", NULL, &result, &client, &e);
		if (rc != row[i].want)
			fail_msg("%s: %d %s", row[i].name, rc, e.text);
		if (!rc)
			msgpack_unpacked_destroy(&result);
		else
			assert_true(e.text[0]);
		ctl_disconnect(client);
		pthread_join(t, NULL);
	}
	close(l.fd);
}

static void test_connect_when_nobody_is_there_then_names_socket_and_cause(void **state)
{
	struct ctl_client *client;
	struct err e = {0};

	(void)state;
	assert_int_equal(ctl_connect("/nowhere/edged.sock", &client, &e), -ENOENT);
	assert_string_equal(
		e.text,
		"can't reach edged at /nowhere/edged.sock: no such socket (is edged running?)");
}

int main(void)
{
#define LIVE(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_when_fed_byte_by_byte_then_finds_the_same_end),
		cmocka_unit_test(test_scan_when_malformed_or_too_long_then_says_which),
		cmocka_unit_test(test_request_read_when_malformed_then_refused_with_the_id_it_has),
		cmocka_unit_test(test_out_when_over_the_limit_then_full_and_an_error_still_fits),
		cmocka_unit_test(test_span_text_when_larger_then_coarser),
		cmocka_unit_test(test_args_read_when_wrong_then_names_method_and_parameter),
		cmocka_unit_test(test_args_when_packed_then_read_back_the_same),
		cmocka_unit_test(test_args_service_when_value_is_wrong_then_says_what_was_wanted),
		cmocka_unit_test(test_args_backend_when_value_is_wrong_then_says_what_was_wanted),
		LIVE(test_status_when_asked_then_shows_nodes_services_backends),
		LIVE(test_status_when_things_are_wrong_then_worst_comes_first),
		LIVE(test_lists_when_asked_then_show_their_part),
		LIVE(test_route_show_when_asked_then_says_who_and_why_not),
		LIVE(test_stats_when_no_maps_then_says_so),
		LIVE(test_stats_when_maps_then_counts),
		LIVE(test_verbs_when_asked_then_the_agent_gets_what_was_meant),
		LIVE(test_verbs_when_refused_then_code_and_sentence_come_back),
		LIVE(test_verbs_when_client_goes_first_then_the_answer_is_dropped),
		LIVE(test_close_when_an_answer_is_due_then_client_is_cut_off),
		LIVE(test_server_when_requests_are_sent_in_one_go_or_by_bytes_then_answers_each),
		LIVE(test_server_when_malformed_then_error_and_end),
		LIVE(test_server_when_request_is_too_long_then_refused),
		LIVE(test_server_when_noise_comes_then_goes_on_serving),
		LIVE(test_server_when_client_is_idle_then_it_is_sent_away),
		LIVE(test_server_when_too_many_clients_then_the_next_is_told),
		LIVE(test_open_when_path_is_taken_then_refused_or_replaced),
		LIVE(test_open_when_it_cannot_then_names_the_path),
		LIVE(test_open_when_group_is_unknown_then_socket_is_the_owners_alone),
		LIVE(test_call_when_daemon_answers_nonsense_then_an_error_not_a_crash),
		LIVE(test_connect_when_nobody_is_there_then_names_socket_and_cause),
	};
#undef LIVE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
