/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policies of services and filter records: typed, shown, carried. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include "bpf/dp_abi.h"
#include "edge/model.h"
#include "gossip/mp.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct model_service a_service(uint8_t proto_a, uint8_t proto_b)
{
	struct model_service s = {.name = "dns",
				  .vip_count = 1,
				  .port = {{proto_a, {53, 53}}, {proto_b, {53, 53}}},
				  .port_count = proto_b ? 2 : 1,
				  .created = 42};

	assert_int_equal(ip_parse("192.0.2.53", &s.vip[0]), 0);
	return s;
}

static const char *const all[] = {
	"hash=source",	"pps=200000", "source_pps=50", "prefix4=24", "prefix6=56",
	"syn_pps=1000", "hop_pps=77", "return=direct", "mtu=carry",  "reject=on",
	"quic=on",	"closed=on",  "rows=1021",
};

static void test_policy_set_when_all_then_shown_and_carried(void **state)
{
	struct model_service s = a_service(IPPROTO_UDP, IPPROTO_TCP), back;
	char text[MODEL_POLICY_TEXT_MAX], want[MODEL_POLICY_TEXT_MAX] = "";
	size_t at = 0;
	uint8_t buf[RECORD_VALUE_MAX];
	struct err e;
	int len;

	(void)state;
	for (size_t i = 0; i < COUNT(all); i++) {
		assert_int_equal(model_policy_set(&s, all[i], &e), 0);
		at += (size_t)snprintf(want + at, sizeof(want) - at, "%s%s", i ? " " : "", all[i]);
	}
	assert_string_equal(model_policy_text(&s, text), want);
	assert_int_equal(model_policy_check(&s, &e), 0);
	len = model_service_encode(&s, buf, sizeof(buf));
	assert_true(len > 0);
	assert_int_equal(model_service_decode(buf, (size_t)len, &back), 0);
	assert_memory_equal(&back.policy, &s.policy, sizeof(s.policy));
	assert_int_equal(back.hash, DP_HASH_SOURCE);
	assert_true(s.policy.pps == 200000 && s.policy.source_pps == 50 && s.policy.prefix4 == 24 &&
		    s.policy.prefix6 == 56 && s.policy.syn_pps == 1000 && s.policy.hop_pps == 77 &&
		    s.policy.rows == 1021);
	assert_true(s.policy.is_direct && s.policy.is_carried && s.policy.is_rejecting &&
		    s.policy.is_quic && s.policy.is_closed);
	for (int cut = 0; cut < len; cut++)
		assert_int_equal(model_service_decode(buf, (size_t)cut, &back), -EBADMSG);
}

static void test_policy_set_when_taken_back_then_as_if_never_set(void **state)
{
	static const char *const off[] = {
		"hash=5tuple", "pps=off",     "source_pps=off", "prefix4=off", "prefix6=off",
		"syn_pps=off", "hop_pps=off", "return=edge",	"mtu=too-big", "reject=off",
		"quic=off",    "closed=off",  "rows=off",
	};
	struct model_service s = a_service(IPPROTO_UDP, 0), plain = s;
	uint8_t a[RECORD_VALUE_MAX], b[RECORD_VALUE_MAX];
	char text[MODEL_POLICY_TEXT_MAX];
	struct err e;
	int len;

	(void)state;
	for (size_t i = 0; i < COUNT(all); i++)
		assert_int_equal(model_policy_set(&s, all[i], &e), 0);
	for (size_t i = 0; i < COUNT(off); i++)
		assert_int_equal(model_policy_set(&s, off[i], &e), 0);
	assert_string_equal(model_policy_text(&s, text), "hash=5tuple");
	len = model_service_encode(&s, a, sizeof(a));
	assert_true(len > 0 && len == model_service_encode(&plain, b, sizeof(b)));
	assert_memory_equal(a, b, (size_t)len);
}

static void test_policy_set_when_bad_then_says_what(void **state)
{
	static const struct {
		const char *text, *want;
	} row[] = {
		{"pps", "policy: got 'pps', want KEY=VALUE with a policy's key: hash=, pps=, ..."},
		{"", "policy: got '', want KEY=VALUE with a policy's key: hash=, pps=, ..."},
		{"=5", "policy: got '=5', want"},
		{"sticky=on", "policy: got 'sticky=on', want"},
		{"hash=maglev", "policy hash: got 'maglev', want 5tuple, source or packet"},
		{"hash=off", "policy hash: got 'off'"},
		{"pps=", "policy pps: got '', want 1..1000000000 a second, or off"},
		{"pps=0", "policy pps: got '0'"},
		{"pps=-1", "policy pps: got '-1'"},
		{"pps= 1", "policy pps: got ' 1'"},
		{"pps=1k", "policy pps: got '1k'"},
		{"pps=1000000001", "policy pps: got '1000000001'"},
		{"pps=99999999999999999999", "policy pps: got '99999999999999999999'"},
		{"prefix4=33", "policy prefix4: got '33', want 1..32 bits, or off"},
		{"prefix6=129", "policy prefix6: got '129', want 1..128 bits, or off"},
		{"rows=1", "policy rows: got '1', want 251, 1021, 4099, 16381, 65537, or off"},
		{"rows=1000", "policy rows: got '1000'"},
		{"quic=yes", "policy quic: got 'yes', want on or off"},
		{"return=back", "policy return: got 'back', want edge or direct"},
		{"mtu=1400", "policy mtu: got '1400', want too-big or carry"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct model_service s = a_service(IPPROTO_UDP, 0), was = s;
		struct err e = {0};

		if (model_policy_set(&s, row[i].text, &e) != -EINVAL)
			fail_msg("%s: taken", row[i].text);
		if (strncmp(e.text, row[i].want, strlen(row[i].want)) != 0)
			fail_msg("%s: '%s'", row[i].text, e.text);
		assert_memory_equal(&s, &was, sizeof(s));
	}
}

static void test_policy_check_when_it_fits_no_port_then_einval(void **state)
{
	static const struct {
		const char *text;
		uint8_t proto_a, proto_b;
		bool is_ok;
	} row[] = {
		{"hash=packet", IPPROTO_UDP, 0, true},
		{"hash=packet", IPPROTO_TCP, 0, false},
		{"hash=packet", IPPROTO_UDP, IPPROTO_TCP, false},
		{"hash=source", IPPROTO_TCP, 0, true},
		{"quic=on", IPPROTO_UDP, IPPROTO_TCP, true},
		{"quic=on", IPPROTO_TCP, 0, false},
		{"syn_pps=5", IPPROTO_UDP, IPPROTO_TCP, true},
		{"syn_pps=5", IPPROTO_UDP, 0, false},
		{"prefix4=24", IPPROTO_UDP, 0, false},
		{"prefix6=48", IPPROTO_UDP, 0, false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct model_service s = a_service(row[i].proto_a, row[i].proto_b);
		struct err e = {0};

		assert_int_equal(model_policy_set(&s, row[i].text, &e), 0);
		if (model_policy_check(&s, &e) != (row[i].is_ok ? 0 : -EINVAL))
			fail_msg("row %zu, %s: '%s'", i, row[i].text, e.text);
		if (!row[i].is_ok)
			assert_true(strncmp(e.text, "policy ", 7) == 0);
	}
}

/* A service record with one policy; unknown ones of a later version are skipped, odd values refused whole. */
static void test_service_decode_when_policy_is_odd_then_by_rule(void **state)
{
	static const struct {
		const char *name;
		uint64_t value;
		int rc;
	} row[] = {
		{"pps", 1000, 0},
		{"pps", MODEL_PPS_MAX, 0},
		{"pps", MODEL_PPS_MAX + 1ull, -EBADMSG},
		{"pps", 1ull << 32, -EBADMSG},
		{"prefix4", 33, -EBADMSG},
		{"prefix6", 200, -EBADMSG},
		{"rows", 1, -EBADMSG},
		{"rows", 65537, 0},
		{"quic", 2, -EBADMSG},
		{"return", 2, -EBADMSG},
		{"hash", 77, 0}, /* not said here: unknown */
		{"warp", 77, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct model_service s = a_service(IPPROTO_UDP, 0), back;
		uint8_t buf[RECORD_VALUE_MAX];
		int len = model_service_encode(&s, buf, sizeof(buf));
		msgpack_sbuffer sb;
		msgpack_packer pk;

		assert_true(len > 0 && buf[0] == 0x85);
		buf[0] = 0x86; /* one pair more */
		msgpack_sbuffer_init(&sb);
		msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
		msgpack_pack_str(&pk, 1);
		msgpack_pack_str_body(&pk, "o", 1);
		msgpack_pack_map(&pk, 1);
		msgpack_pack_str(&pk, strlen(row[i].name));
		msgpack_pack_str_body(&pk, row[i].name, strlen(row[i].name));
		msgpack_pack_uint64(&pk, row[i].value);
		memcpy(buf + len, sb.data, sb.size);
		if (model_service_decode(buf, (size_t)len + sb.size, &back) != row[i].rc)
			fail_msg("%s %llu", row[i].name, (unsigned long long)row[i].value);
		msgpack_sbuffer_destroy(&sb);
	}
}

static struct model_filter a_filter(const char *service, const char *prefix)
{
	struct model_filter f = {.verb = DP_FILTER_DENY, .why = "scraper", .author = "ann"};

	snprintf(f.service, sizeof(f.service), "%s", service);
	if (ip_parse_prefix(prefix, &f.prefix))
		fail_msg("bad prefix %s", prefix);
	return f;
}

static void test_filter_when_carried_then_the_same(void **state)
{
	static const struct {
		const char *service, *prefix, *key;
	} row[] = {
		{"dns", "192.0.2.0/24", "filter/dns/192.0.2.0/24"},
		{"", "192.0.2.1/32", "filter/*/192.0.2.1/32"},
		{"", "0.0.0.0/0", "filter/*/0.0.0.0/0"},
		{"dns", "::/0", "filter/dns/::/0"},
		{"dns", "2001:db8::/32", "filter/dns/2001:db8::/32"},
		{"dns", "2001:db8::1/128", "filter/dns/2001:db8::1/128"},
	};
	char key[MODEL_KEY_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct model_filter f = a_filter(row[i].service, row[i].prefix), back;
		uint8_t buf[RECORD_VALUE_MAX];
		int len = model_filter_encode(&f, buf, sizeof(buf));

		assert_true(len > 0);
		assert_int_equal(model_filter_decode(buf, (size_t)len, &back), 0);
		assert_memory_equal(&f, &back, sizeof(f));
		assert_string_equal(model_filter_key(&f, key), row[i].key);
		for (int cut = 0; cut < len; cut++)
			assert_int_equal(model_filter_decode(buf, (size_t)cut, &back), -EBADMSG);
	}
}

static void test_filter_when_a_rule_is_broken_then_ebadmsg(void **state)
{
	uint8_t buf[RECORD_VALUE_MAX];
	struct model_filter f;

	(void)state;
	f = a_filter("dns", "192.0.2.0/24");
	f.verb = 0;
	assert_int_equal(model_filter_encode(&f, buf, sizeof(buf)), -EBADMSG);
	f = a_filter("dns", "192.0.2.0/24");
	f.verb = 3;
	assert_int_equal(model_filter_encode(&f, buf, sizeof(buf)), -EBADMSG);
	f = a_filter("dns", "192.0.2.0/24");
	f.prefix.addr.b[15] = 1;
	assert_int_equal(model_filter_encode(&f, buf, sizeof(buf)), -EBADMSG);
	f = a_filter("dns", "192.0.2.0/24");
	f.prefix.bits = 90;
	assert_int_equal(model_filter_encode(&f, buf, sizeof(buf)), -EBADMSG);
	f = a_filter("dns", "2001:db8::/32");
	f.prefix.bits = 129;
	assert_int_equal(model_filter_encode(&f, buf, sizeof(buf)), -EBADMSG);
	f = a_filter("", "2001:db8::/32");
	f.service[0] = 'N';
	assert_int_equal(model_filter_encode(&f, buf, sizeof(buf)), -EBADMSG);
	f = a_filter("dns", "2001:db8::/32");
	assert_int_equal(model_filter_encode(&f, buf, 10), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policy_set_when_all_then_shown_and_carried),
		cmocka_unit_test(test_policy_set_when_taken_back_then_as_if_never_set),
		cmocka_unit_test(test_policy_set_when_bad_then_says_what),
		cmocka_unit_test(test_policy_check_when_it_fits_no_port_then_einval),
		cmocka_unit_test(test_service_decode_when_policy_is_odd_then_by_rule),
		cmocka_unit_test(test_filter_when_carried_then_the_same),
		cmocka_unit_test(test_filter_when_a_rule_is_broken_then_ebadmsg),
	};

	return cmocka_run_group_tests_name("model_policy", tests, NULL, NULL);
}
