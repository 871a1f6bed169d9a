/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Checks of backends: as text and as values. */
#include "tests/unit/model_value.h"

static void test_check_parse_when_valid_then_text_round_trips(void **state)
{
	static const char *const row[][2] = {
		{"none", "none"},
		{"tcp", "tcp"},
		{"udp", "udp"},
		{"tcp:interval=500ms,timeout=200ms,rise=1,fall=2,port=8080",
		 "tcp:interval=500ms,timeout=200ms,rise=1,port=8080"},
		{"udp:send=hex:00ff,expect=text:ok,interval=1s",
		 "udp:send=hex:00ff,expect=text:ok"},
		{"udp:send=hex:6869", "udp:send=text:hi"},
		{"udp:send=text:a b", "udp:send=hex:612062"},
		{"tcp:interval=200ms", "tcp:interval=200ms"},
		{"tcp:interval=3600s,timeout=3599999ms,rise=20,fall=20",
		 "tcp:interval=3600s,timeout=3599999ms,rise=20,fall=20"},
		{"udp:match=^HTTP/1\\.[01] (200|204)", "udp:match=^HTTP/1\\.[01] (200|204)"},
		{"http", "http"},
		{"http:path=/,status=200-399,method=GET", "http"},
		{"http:path=/a\\,b,status=204,match=^a{1\\,3}=,method=GET",
		 "http:path=/a\\,b,status=204,match=^a{1\\,3}="},
		{"http:method=HEAD,host=[::1]:80,status=200-204",
		 "http:status=200-204,host=[::1]:80,method=HEAD"},
		{"https:insecure=on,sni=a.example,host=b.example,port=8443",
		 "https:port=8443,host=b.example,sni=a.example,insecure=on"},
		{"dns:name=example.org", "dns:name=example.org"},
		{"dns:name=.,type=SOA,class=CH,rcode=REFUSED,proto=tcp",
		 "dns:name=.,type=SOA,class=CH,rcode=REFUSED,proto=tcp"},
		{"dns:type=28,name=a.,answer=2001:db8::1,rcode=9,class=7,proto=udp",
		 "dns:name=a.,type=AAAA,class=7,rcode=9,answer=2001:db8::1"},
		{"exec:run=disk /var 90%,interval=10s", "exec:interval=10s,run=disk /var 90%"},
	};
	char buf[MODEL_CHECK_TEXT_MAX];
	struct model_check c, c2;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		if (model_check_parse(row[i][0], &c, &e))
			fail_msg("%s: %s", row[i][0], e.text);
		assert_string_equal(model_check_text(&c, buf), row[i][1]);
		assert_int_equal(model_check_parse(buf, &c2, &e), 0);
		assert_same_check(&c, &c2);
	}
	assert_int_equal(model_check_parse("tcp:interval=200ms", &c, NULL), 0);
	assert_int_equal(c.timeout_ms, 200);
	/* The longest there is fits. */
	model_check_default(MODEL_CHECK_UDP, &c);
	c.interval_ms = 3599999, c.timeout_ms = 3599998, c.rise = c.fall = 20, c.port = 65535;
	c.send_len = c.expect_len = 64;
	memset(c.send, 0xff, 64);
	memset(c.expect, 0xff, 64);
	memset(c.match, ',', sizeof(c.match) - 1);
	assert_int_equal(model_check_parse(model_check_text(&c, buf), &c2, &e), 0);
	assert_same_check(&c, &c2);
	model_check_default(MODEL_CHECK_HTTPS, &c);
	c.interval_ms = 3599999, c.timeout_ms = 3599998, c.rise = c.fall = 20, c.port = 65535;
	memset(c.target + 1, ',', sizeof(c.target) - 2);
	memset(c.match, ',', sizeof(c.match) - 1);
	memset(c.host, 'x', sizeof(c.host) - 1);
	memset(c.sni, 'x', sizeof(c.sni) - 1);
	c.status_lo = 201, c.status_hi = 202, c.is_insecure = true;
	if (model_check_parse(model_check_text(&c, buf), &c2, &e))
		fail_msg("%s", e.text);
	assert_same_check(&c, &c2);
}

/* A backend's value: what every version reads, and `more` in its check. */
static int decode_check(unsigned kind, void (*more)(msgpack_packer *pk), struct model_backend *b)
{
	struct value v;

	begin(&v, 5);
	text(&v, "s"), text(&v, "dns");
	text(&v, "a"), msgpack_pack_bin_with_body(&v.pk, "\x0a\0\0\1", 4);
	text(&v, "p"), msgpack_pack_uint8(&v.pk, 53);
	text(&v, "t"), msgpack_pack_uint8(&v.pk, 1);
	text(&v, "c"), msgpack_pack_map(&v.pk, 2);
	text(&v, "k"), msgpack_pack_unsigned_int(&v.pk, kind);
	text(&v, "x");
	more(&v.pk);
	return model_backend_decode(v.data, v.buf.len, b);
}

static void later_kind(msgpack_packer *pk)
{
	msgpack_pack_map(pk, 2);
	msgpack_pack_str_with_body(pk, "k", 1), msgpack_pack_uint8(pk, 200);
	msgpack_pack_str_with_body(pk, "zz", 2), msgpack_pack_nil(pk);
}

static void no_map(msgpack_packer *pk)
{
	msgpack_pack_nil(pk);
}

static void exec_of_a_path(msgpack_packer *pk)
{
	msgpack_pack_map(pk, 2);
	msgpack_pack_str_with_body(pk, "k", 1), msgpack_pack_uint8(pk, MODEL_CHECK_EXEC);
	msgpack_pack_str_with_body(pk, "g", 1), msgpack_pack_str_with_body(pk, "../sh", 5);
}

static void test_check_decode_when_kind_is_of_a_later_version_then_what_k_says(void **state)
{
	struct model_backend b;

	(void)state;
	assert_int_equal(decode_check(MODEL_CHECK_TCP, later_kind, &b), 0);
	assert_int_equal(b.check.kind, MODEL_CHECK_TCP);
	assert_int_equal(decode_check(MODEL_CHECK_HTTP, later_kind, &b), -EBADMSG);
	assert_int_equal(decode_check(MODEL_CHECK_TCP, no_map, &b), -EBADMSG);
	assert_int_equal(decode_check(MODEL_CHECK_TCP, exec_of_a_path, &b), -EBADMSG);
}

static void test_check_parse_when_bad_then_says_what(void **state)
{
	static const char *const row[][2] = {
		{"", "want none, tcp, udp, http"},
		{"ftp", "got 'ftp'"},
		{"TCP", "got 'TCP'"},
		{"none:interval=1s", "takes no options"},
		{"tcp:", "want option=value"},
		{"tcp:interval", "want option=value"},
		{"tcp:interval=", "interval: got ''"},
		{"tcp:interval=1", "50ms to 3600s"},
		{"tcp:interval=49ms", "got '49ms'"},
		{"tcp:interval=3601s", "got '3601s'"},
		{"tcp:interval=99999999999s", "interval"},
		{"tcp:interval=1m", "got '1m'"},
		{"tcp:timeout=2s", "at most the interval"},
		{"tcp:timeout=9ms", "10ms"},
		{"tcp:rise=0", "1 to 20"},
		{"tcp:fall=21", "1 to 20"},
		{"tcp:fall=1x", "1 to 20"},
		{"tcp:port=0", "1 to 65535"},
		{"tcp:send=text:x", "got option 'send'"},
		{"udp:send=x", "hex:DIGITS"},
		{"udp:send=hex:0", "hex:DIGITS"},
		{"udp:send=hex:0g", "hex:DIGITS"},
		{"udp:send=text:", "1 to 64"},
		{"udp:expect=text:"
		 "01234567890123456789012345678901234567890123456789012345678901234",
		 "at most 64"},
		{"tcp:bogus=1", "got option 'bogus'"},
		{"tcp:interval=1s,,rise=1", "want option=value"},
		{"tcp:match=x", "got option 'match'"},
		{"http:sni=x", "got option 'sni'"},
		{"http:path=x", "path: got 'x'"},
		{"http:path=/a b", "no blank"},
		{"http:status=99", "100 to 599"},
		{"http:status=300-200", "100 to 599"},
		{"http:status=200-", "100 to 599"},
		{"http:method=POST", "GET or HEAD"},
		{"http:method=HEAD,match=x", "no body"},
		{"http:host=a b", "a host name"},
		{"https:insecure=yes", "on or off"},
		{"http:match=(", "Unmatched"},
		{"http:match=a\\1", "no \\1 to"},
		{"http:match=a{33}", "to 32"},
		{"http:match=a{2}b{2}", "at most one"},
		{"http:match=a\\", "at the end"},
		{"udp:match=0123456789012345678901234567890123456789012345678901234567890123456789"
		 "01234567890123456789012345",
		 "got 96 characters, want at most 95"},
		{"dns", "want name="},
		{"dns:name=a..b", "a domain name"},
		{"dns:name=a,type=X", "AAAA"},
		{"dns:name=a,type=0", "1 to 65535"},
		{"dns:name=a,rcode=16", "0 to 15"},
		{"dns:name=a,class=XX", "CH"},
		{"dns:name=a,answer=x", "an address"},
		{"dns:name=a,proto=tls", "udp or tcp"},
		{"exec", "want run="},
		{"exec:run=/bin/sh", "a file name"},
		{"exec:run=../sh", "a file name"},
		{"exec:run=a  b", "one blank"},
		{"exec:run=a ", "one blank"},
		{"exec:run=a 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", "at most 16"},
	};
	struct model_check c, was;
	struct err e;

	(void)state;
	memset(&c, 0xaa, sizeof(c));
	was = c;
	for (size_t i = 0; i < COUNT(row); i++) {
		if (model_check_parse(row[i][0], &c, &e) != -EINVAL)
			fail_msg("'%s' accepted", row[i][0]);
		if (!strstr(e.text, row[i][1]))
			fail_msg("'%s': '%s' does not say '%s'", row[i][0], e.text, row[i][1]);
		assert_memory_equal(&c, &was, sizeof(c));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_parse_when_valid_then_text_round_trips),
		cmocka_unit_test(test_check_parse_when_bad_then_says_what),
		cmocka_unit_test(
			test_check_decode_when_kind_is_of_a_later_version_then_what_k_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
