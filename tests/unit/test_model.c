/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Values of records: what is written is read back; what breaks a rule is not written. */
#include "tests/unit/model_value.h"

static void test_encode_when_valid_then_decodes_to_the_same(void **state)
{
	struct model_override o = {
		.is_drained = true, .author = "ann", .reason = "kernel", .expires_unix_s = 9};
	struct model_health h = {.state = MODEL_HEALTH_FAILING,
				 .why = "connection refused",
				 .changed_unix_ms = 1,
				 .was = MODEL_WAS_USED};
	struct model_seed seed = {{1, 2, 3}}, seed2;
	struct model_service s = a_service(), s2;
	struct model_backend b = a_backend(), b2;
	struct model_node n = a_node(), n2;
	uint8_t buf[RECORD_VALUE_MAX];
	struct model_override o2;
	struct model_health h2;
	int len;

	(void)state;
	len = model_node_encode(&n, buf, sizeof(buf));
	assert_true(len > 0);
	assert_int_equal(model_node_decode(buf, (size_t)len, &n2), 0);
	assert_string_equal(n2.name, n.name);
	assert_string_equal(n2.region, n.region);
	assert_string_equal(n2.version, n.version);
	assert_true(n2.is_edge && !n2.is_worker && n2.has_forwarder);
	assert_true(ip_equal(&n2.mesh_addr, &n.mesh_addr) && ip_equal(&n2.wg_addr, &n.wg_addr));
	assert_int_equal(n2.wg_port, n.wg_port);
	assert_memory_equal(n2.wg_pub, n.wg_pub, sizeof(n.wg_pub));

	len = model_service_encode(&s, buf, sizeof(buf));
	assert_true(len > 0);
	assert_int_equal(model_service_decode(buf, (size_t)len, &s2), 0);
	assert_string_equal(s2.name, "dns");
	assert_int_equal(s2.vip_count, 2);
	assert_true(ip_equal(&s2.vip[1], &s.vip[1]));
	assert_int_equal(s2.port_count, 2);
	assert_int_equal(s2.port[1].l4_proto, IPPROTO_TCP);
	assert_int_equal(s2.port[1].ports.hi, 53);
	assert_int_equal(s2.created, 42);

	len = model_backend_encode(&b, buf, sizeof(buf));
	assert_true(len > 0);
	assert_int_equal(model_backend_decode(buf, (size_t)len, &b2), 0);
	assert_string_equal(b2.service, "dns");
	assert_true(ip_equal(&b2.addr, &b.addr) && b2.port == 5353 && b2.weight == 100);
	assert_true(b2.token == b.token && b2.is_draining);
	assert_same_check(&b2.check, &b.check);
	assert_true(!b2.ports.lo && !b2.ports.hi);
	b.ports = (struct ip_port_range){5000, 5999};
	len = model_backend_encode(&b, buf, sizeof(buf));
	assert_true(len > 0);
	assert_int_equal(model_backend_decode(buf, (size_t)len, &b2), 0);
	assert_memory_equal(&b2.ports, &b.ports, sizeof(b.ports));

	len = model_health_encode(&h, buf, sizeof(buf));
	assert_int_equal(model_health_decode(buf, (size_t)len, &h2), 0);
	assert_int_equal(h2.was, MODEL_WAS_USED);
	assert_true(h2.state == h.state && h2.changed_unix_ms == 1);
	assert_string_equal(h2.why, h.why);

	len = model_override_encode(&o, buf, sizeof(buf));
	assert_int_equal(model_override_decode(buf, (size_t)len, &o2), 0);
	assert_true(o2.is_drained && o2.expires_unix_s == 9);
	assert_string_equal(o2.author, "ann");
	assert_string_equal(o2.reason, "kernel");

	len = model_seed_encode(&seed, buf, sizeof(buf));
	assert_int_equal(model_seed_decode(buf, (size_t)len, &seed2), 0);
	assert_memory_equal(&seed, &seed2, sizeof(seed));
}

/* Everything at its limit still fits a record. */
static void test_encode_when_at_limits_then_fits_a_record(void **state)
{
	struct model_service s = {.vip_count = MODEL_VIPS_MAX,
				  .port_count = MODEL_PORTS_MAX,
				  .hash = DP_HASH_PACKET,
				  .created = UINT64_MAX};
	struct model_backend b = a_backend();
	struct model_node n = a_node();
	struct model_health h = {0};
	struct model_override o = {.expires_unix_s = UINT64_MAX};
	uint8_t buf[RECORD_VALUE_MAX];
	int len;

	(void)state;
	memset(s.name, 'x', MODEL_NAME_MAX - 1);
	for (size_t i = 0; i < MODEL_VIPS_MAX; i++) {
		s.vip[i] = addr("2001:db8:ffff:ffff:ffff:ffff:ffff:ff00");
		s.vip[i].b[15] = (uint8_t)(i + 1);
	}
	for (uint16_t i = 0; i < MODEL_PORTS_MAX; i++)
		s.port[i] = (struct model_port){
			IPPROTO_UDP, {(uint16_t)(30000 + 100 * i), (uint16_t)(30050 + 100 * i)}};
	len = model_service_encode(&s, buf, sizeof(buf));
	print_message("# largest service value: %d bytes\n", len);
	assert_true(len > 0);
	assert_int_equal(model_service_decode(buf, (size_t)len, &s), 0);

	memset(b.service, 'x', MODEL_NAME_MAX - 1);
	b.addr = s.vip[0];
	memset(b.check.send, 1, sizeof(b.check.send));
	memset(b.check.expect, 1, sizeof(b.check.expect));
	b.check.send_len = b.check.expect_len = 64;
	memset(b.check.match, 'x', sizeof(b.check.match) - 1);
	b.token = 0xffffff;
	b.ports = (struct ip_port_range){65534, 65535};
	b.quic_id = UINT32_MAX;
	memset(b.watch, 'x', sizeof(b.watch) - 1);
	len = model_backend_encode(&b, buf, sizeof(buf));
	print_message("# largest backend value with a UDP check: %d bytes\n", len);
	assert_true(len > 0);
	model_check_default(MODEL_CHECK_HTTPS, &b.check);
	memset(b.check.target + 1, 'x', sizeof(b.check.target) - 2);
	memset(b.check.match, 'x', sizeof(b.check.match) - 1);
	memset(b.check.host, 'x', sizeof(b.check.host) - 1);
	memset(b.check.sni, 'x', sizeof(b.check.sni) - 1);
	b.check.interval_ms = 3600000, b.check.timeout_ms = 3599999, b.check.port = 65535;
	len = model_backend_encode(&b, buf, sizeof(buf));
	print_message("# largest backend value: %d bytes\n", len);
	assert_true(len > 0);

	memset(n.name, 'x', MODEL_NAME_MAX - 1);
	memset(n.region, 'x', MODEL_NAME_MAX - 1);
	memset(n.version, 'x', sizeof(n.version) - 1);
	n.mesh_addr = s.vip[0];
	len = model_node_encode(&n, buf, sizeof(buf));
	print_message("# largest node value: %d bytes\n", len);
	assert_true(len > 0);
	memset(h.why, 'x', sizeof(h.why) - 1);
	assert_true(model_health_encode(&h, buf, sizeof(buf)) > 0);
	memset(o.author, 'x', sizeof(o.author) - 1);
	memset(o.reason, 'x', sizeof(o.reason) - 1);
	assert_true(model_override_encode(&o, buf, sizeof(buf)) > 0);
}

static void test_encode_when_buffer_is_short_then_emsgsize(void **state)
{
	struct model_service s = a_service();
	uint8_t buf[RECORD_VALUE_MAX];
	int len = model_service_encode(&s, buf, sizeof(buf));

	(void)state;
	for (size_t cap = 0; cap < (size_t)len; cap++)
		assert_int_equal(model_service_encode(&s, buf, cap), -EMSGSIZE);
	assert_int_equal(model_service_encode(&s, buf, (size_t)len), len);
}

static void test_service_encode_when_a_rule_is_broken_then_ebadmsg(void **state)
{
	static const char *const bad_vip[] = {"0.0.0.0",   "::",      "127.0.0.1",	"::1",
					      "224.0.0.9", "ff02::1", "255.255.255.255"};
	static const char *const bad_name[] = {"",    "-a",  "a-",  "A",
					       "a_b", "a b", "a/b", "\xc3\xa9"};
	static const struct model_port bad_port[] = {
		{0, {53, 53}},
		{IPPROTO_ICMP, {53, 53}},
		{IPPROTO_UDP, {0, 53}},
		{IPPROTO_UDP, {54, 53}},
		{IPPROTO_UDP, {1, MODEL_RANGE_MAX + 1}},
		{IPPROTO_TCP, {50, 60}}, /* overlaps tcp/53 */
	};
	struct model_service s;
	uint8_t buf[RECORD_VALUE_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(bad_vip); i++) {
		s = a_service();
		s.vip[1] = addr(bad_vip[i]);
		if (model_service_encode(&s, buf, sizeof(buf)) != -EBADMSG)
			fail_msg("VIP %s accepted", bad_vip[i]);
	}
	for (size_t i = 0; i < COUNT(bad_name); i++) {
		s = a_service();
		strncpy(s.name, bad_name[i], sizeof(s.name) - 1);
		s.name[strlen(bad_name[i])] = 0;
		if (model_service_encode(&s, buf, sizeof(buf)) != -EBADMSG)
			fail_msg("name '%s' accepted", bad_name[i]);
	}
	for (size_t i = 0; i < COUNT(bad_port); i++) {
		s = a_service();
		s.port[2] = bad_port[i];
		s.port_count = 3;
		if (model_service_encode(&s, buf, sizeof(buf)) != -EBADMSG)
			fail_msg("port row %zu accepted", i);
	}
	s = a_service();
	s.vip[1] = s.vip[0];
	assert_int_equal(model_service_encode(&s, buf, sizeof(buf)), -EBADMSG);
	s = a_service();
	s.vip_count = 0;
	assert_int_equal(model_service_encode(&s, buf, sizeof(buf)), -EBADMSG);
	s = a_service();
	s.vip_count = MODEL_VIPS_MAX + 1;
	assert_int_equal(model_service_encode(&s, buf, sizeof(buf)), -EBADMSG);
	s = a_service();
	s.port_count = 0;
	assert_int_equal(model_service_encode(&s, buf, sizeof(buf)), -EBADMSG);
	s = a_service();
	s.hash = 3;
	assert_int_equal(model_service_encode(&s, buf, sizeof(buf)), -EBADMSG);
	memset(s.name, 'x', sizeof(s.name)); /* no NUL */
	assert_int_equal(model_name_check(s.name), -EINVAL);
}

static void test_backend_encode_when_a_rule_is_broken_then_ebadmsg(void **state)
{
	static const char *const bad_addr[] = {"0.0.0.0", "127.0.0.1", "::1", "::", "239.1.1.1"};
	struct model_backend b;
	uint8_t buf[RECORD_VALUE_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(bad_addr); i++) {
		b = a_backend();
		b.addr = addr(bad_addr[i]);
		if (model_backend_encode(&b, buf, sizeof(buf)) != -EBADMSG)
			fail_msg("%s accepted", bad_addr[i]);
	}
	b = a_backend(), b.port = 0;
	assert_int_equal(model_backend_encode(&b, buf, sizeof(buf)), -EBADMSG);
	b = a_backend(), b.weight = 0;
	assert_int_equal(model_backend_encode(&b, buf, sizeof(buf)), -EBADMSG);
	b = a_backend(), b.weight = MODEL_WEIGHT_MAX + 1;
	assert_int_equal(model_backend_encode(&b, buf, sizeof(buf)), -EBADMSG);
	b = a_backend(), b.ports.hi = 53;
	assert_int_equal(model_backend_encode(&b, buf, sizeof(buf)), -EBADMSG);
	b = a_backend(), b.ports.lo = 53;
	assert_int_equal(model_backend_encode(&b, buf, sizeof(buf)), -EBADMSG);
	b = a_backend(), b.ports = (struct ip_port_range){54, 53};
	assert_int_equal(model_backend_encode(&b, buf, sizeof(buf)), -EBADMSG);
	b = a_backend(), b.token = 1u << 24;
	assert_int_equal(model_backend_encode(&b, buf, sizeof(buf)), -EBADMSG);
	b = a_backend(), b.check.send_len = 65;
	assert_int_equal(model_backend_encode(&b, buf, sizeof(buf)), -EBADMSG);
	b = a_backend(), b.check.timeout_ms = b.check.interval_ms + 1;
	assert_int_equal(model_backend_encode(&b, buf, sizeof(buf)), -EBADMSG);
	b = a_backend(), memset(&b.check, 0, sizeof(b.check)); /* all zero is "none" */
	assert_true(model_backend_encode(&b, buf, sizeof(buf)) > 0);
}

static void test_backend_key_when_parsed_then_is_the_same(void **state)
{
	static const char *const bad[] = {"",
					  "dns",
					  "/10.0.0.1:53",
					  "dns/",
					  "dns/10.0.0.1",
					  "DNS/10.0.0.1:53",
					  "dns/10.0.0.1:53/x",
					  "dns/::1:53",
					  "0123456789012345678901234567890123/10.0.0.1:53"};
	struct model_backend b = a_backend(), b2 = {0};
	char key[MODEL_KEY_MAX], key2[MODEL_KEY_MAX];

	(void)state;
	model_backend_key(&b, key);
	assert_string_equal(key, "dns/10.0.0.5:5353");
	assert_int_equal(model_backend_key_parse(key, &b2), 0);
	model_backend_key(&b2, key2);
	assert_string_equal(key, key2);
	b.addr = addr("2001:db8::1");
	model_backend_key(&b, key);
	assert_string_equal(key, "dns/[2001:db8::1]:5353");
	assert_int_equal(model_backend_key_parse(key, &b2), 0);
	for (size_t i = 0; i < COUNT(bad); i++)
		if (model_backend_key_parse(bad[i], &b2) != -EINVAL)
			fail_msg("'%s' accepted", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode_when_valid_then_decodes_to_the_same),
		cmocka_unit_test(test_encode_when_at_limits_then_fits_a_record),
		cmocka_unit_test(test_encode_when_buffer_is_short_then_emsgsize),
		cmocka_unit_test(test_service_encode_when_a_rule_is_broken_then_ebadmsg),
		cmocka_unit_test(test_backend_encode_when_a_rule_is_broken_then_ebadmsg),
		cmocka_unit_test(test_backend_key_when_parsed_then_is_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
