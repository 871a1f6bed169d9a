/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include "bpf/dp_abi.h"
#include "edge/model.h"
#include "gossip/mp.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	if (ip_parse(text, &a))
		fail_msg("bad address %s", text);
	return a;
}

static void assert_same_check(const struct model_check *a, const struct model_check *b)
{
	assert_true(a->kind == b->kind && a->port == b->port && a->interval_ms == b->interval_ms &&
		    a->timeout_ms == b->timeout_ms && a->rise == b->rise && a->fall == b->fall &&
		    a->send_len == b->send_len && a->expect_len == b->expect_len);
	assert_memory_equal(a->send, b->send, sizeof(a->send));
	assert_memory_equal(a->expect, b->expect, sizeof(a->expect));
	assert_string_equal(a->match, b->match);
	assert_string_equal(a->host, b->host);
	assert_string_equal(a->sni, b->sni);
	assert_true(a->status_lo == b->status_lo && a->status_hi == b->status_hi &&
		    a->is_head == b->is_head && a->is_insecure == b->is_insecure &&
		    a->is_dns_tcp == b->is_dns_tcp && a->dns_type == b->dns_type &&
		    a->dns_class == b->dns_class && a->dns_rcode == b->dns_rcode &&
		    ip_equal(&a->answer, &b->answer));
}

static struct model_node a_node(void)
{
	struct model_node n = {.name = "fra-1",
			       .region = "fra",
			       .mesh_addr = addr("10.9.0.1"),
			       .is_edge = true,
			       .has_forwarder = true,
			       .wg_addr = addr("2001:db8::7"),
			       .wg_port = 51820,
			       .version = "0.1.0"};

	memset(n.wg_pub, 7, sizeof(n.wg_pub));
	return n;
}

static struct model_service a_service(void)
{
	return (struct model_service){
		.name = "dns",
		.vip = {addr("192.0.2.53"), addr("2001:db8::53")},
		.vip_count = 2,
		.port = {{IPPROTO_UDP, {53, 53}}, {IPPROTO_TCP, {53, 53}}},
		.port_count = 2,
		.created = 42,
	};
}

static struct model_backend a_backend(void)
{
	struct model_backend b = {.service = "dns",
				  .addr = addr("10.0.0.5"),
				  .port = 5353,
				  .weight = 100,
				  .token = DP_TOKEN(3, 77),
				  .is_draining = true};

	assert_int_equal(model_check_parse("udp:send=hex:00ff,expect=text:ok,interval=200ms",
					   &b.check, NULL),
			 0);
	return b;
}

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

/* ---- hostile values, by hand */

struct value {
	uint8_t data[512];
	struct mp_buf buf;
	msgpack_packer pk;
};

static void begin(struct value *v, size_t pairs)
{
	v->buf = (struct mp_buf){.p = v->data, .cap = sizeof(v->data)};
	msgpack_packer_init(&v->pk, &v->buf, mp_buf_write);
	msgpack_pack_map(&v->pk, pairs);
}

static void text(struct value *v, const char *t)
{
	msgpack_pack_str_with_body(&v->pk, t, strlen(t));
}

static int decode_health(const struct value *v)
{
	struct model_health h, was;
	int rc;

	memset(&h, 0xaa, sizeof(h));
	was = h;
	rc = model_health_decode(v->data, v->buf.len, &h);
	if (rc)
		assert_memory_equal(&h, &was, sizeof(h));
	return rc;
}

static void test_decode_when_key_is_unknown_then_skips_it(void **state)
{
	struct value v;

	(void)state;
	begin(&v, 3);
	text(&v, "future");
	msgpack_pack_map(&v.pk, 1);
	text(&v, "a");
	msgpack_pack_array(&v.pk, 2);
	msgpack_pack_double(&v.pk, 1.5);
	msgpack_pack_nil(&v.pk);
	text(&v, "s");
	msgpack_pack_int(&v.pk, 1);
	text(&v, "z");
	msgpack_pack_int(&v.pk, -1);
	assert_int_equal(decode_health(&v), 0);
}

static void test_decode_when_malformed_then_ebadmsg_and_untouched(void **state)
{
	struct value v;

	(void)state;
	begin(&v, 2); /* a known key twice */
	text(&v, "s");
	msgpack_pack_int(&v.pk, 1);
	text(&v, "s");
	msgpack_pack_int(&v.pk, 2);
	assert_int_equal(decode_health(&v), -EBADMSG);

	begin(&v, 3); /* an unknown key twice */
	text(&v, "s");
	msgpack_pack_int(&v.pk, 1);
	text(&v, "q");
	msgpack_pack_int(&v.pk, 1);
	text(&v, "q");
	msgpack_pack_int(&v.pk, 1);
	assert_int_equal(decode_health(&v), -EBADMSG);

	begin(&v, 1); /* trailing byte */
	text(&v, "s");
	msgpack_pack_int(&v.pk, 1);
	msgpack_pack_nil(&v.pk);
	assert_int_equal(decode_health(&v), -EBADMSG);

	begin(&v, 0); /* a required key is missing */
	assert_int_equal(decode_health(&v), -EBADMSG);

	begin(&v, 1); /* key is no text */
	msgpack_pack_int(&v.pk, 1);
	msgpack_pack_int(&v.pk, 1);
	assert_int_equal(decode_health(&v), -EBADMSG);

	begin(&v, 1); /* out of range */
	text(&v, "s");
	msgpack_pack_int(&v.pk, 3);
	assert_int_equal(decode_health(&v), -EBADMSG);

	begin(&v, 1); /* negative */
	text(&v, "s");
	msgpack_pack_int(&v.pk, -1);
	assert_int_equal(decode_health(&v), -EBADMSG);

	begin(&v, 65); /* too many pairs */
	for (int i = 0; i < 65; i++) {
		char key[8];

		snprintf(key, sizeof(key), "%d", i);
		text(&v, i ? key : "s");
		msgpack_pack_int(&v.pk, 1);
	}
	assert_int_equal(decode_health(&v), -EBADMSG);
}

static void test_decode_when_text_is_not_printable_then_ebadmsg(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} row[] = {
		{"plain", 0},
		{"gr\xc3\xbc\xc3\x9f", 0},
		{"\xe2\x82\xac", 0},
		{"\xf0\x9f\x98\x80", 0},
		{"a\033[2Jb", -EBADMSG},
		{"line\nbreak", -EBADMSG},
		{"\x7f", -EBADMSG},
		{"\xc2\x9b", -EBADMSG},	    /* C1 control */
		{"\xc0\xaf", -EBADMSG},	    /* overlong */
		{"\xed\xa0\x80", -EBADMSG}, /* surrogate */
		{"\xe2\x80\xae", -EBADMSG}, /* right-to-left override */
		{"\xf4\x90\x80\x80", -EBADMSG},
		{"\xe2\x82", -EBADMSG}, /* cut short */
		{"\xff", -EBADMSG},
		{"0123456789012345678901234567890123456789012345678901234567890123", -EBADMSG},
	};
	struct model_health h = {.state = 1};
	uint8_t buf[RECORD_VALUE_MAX];
	int len;

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct value v;

		begin(&v, 2);
		text(&v, "s");
		msgpack_pack_int(&v.pk, 1);
		text(&v, "w");
		text(&v, row[i].text);
		if (decode_health(&v) != row[i].rc)
			fail_msg("text row %zu", i);
		/* Encoding makes it decodable, whatever it was. */
		memset(h.why, 0, sizeof(h.why));
		memcpy(h.why, row[i].text, strlen(row[i].text) < 63 ? strlen(row[i].text) : 63);
		len = model_health_encode(&h, buf, sizeof(buf));
		assert_true(len > 0);
		assert_int_equal(model_health_decode(buf, (size_t)len, &h), 0);
	}
}

static void test_decode_when_cut_anywhere_then_ebadmsg(void **state)
{
	struct model_backend b = a_backend(), b2;
	struct model_service s = a_service(), s2;
	struct model_node n = a_node(), n2;
	uint8_t buf[RECORD_VALUE_MAX];
	int len = model_backend_encode(&b, buf, sizeof(buf));

	(void)state;
	for (int i = 0; i < len; i++)
		assert_int_equal(model_backend_decode(buf, (size_t)i, &b2), -EBADMSG);
	len = model_service_encode(&s, buf, sizeof(buf));
	for (int i = 0; i < len; i++)
		assert_int_equal(model_service_decode(buf, (size_t)i, &s2), -EBADMSG);
	len = model_node_encode(&n, buf, sizeof(buf));
	for (int i = 0; i < len; i++)
		assert_int_equal(model_node_decode(buf, (size_t)i, &n2), -EBADMSG);
}

static void test_decode_when_ipv4_is_written_in_16_bytes_then_ebadmsg(void **state)
{
	struct ip_addr a = addr("10.9.0.1");
	struct model_node n;
	struct value v;

	(void)state;
	for (int is_long = 0; is_long < 2; is_long++) {
		begin(&v, 4);
		text(&v, "n");
		text(&v, "x");
		text(&v, "r");
		text(&v, "y");
		text(&v, "f");
		msgpack_pack_int(&v.pk, 7);
		text(&v, "a");
		msgpack_pack_bin_with_body(&v.pk, a.b + (is_long ? 0 : 12), is_long ? 16 : 4);
		assert_int_equal(model_node_decode(v.data, v.buf.len, &n), is_long ? -EBADMSG : 0);
	}
}

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
		cmocka_unit_test(test_decode_when_key_is_unknown_then_skips_it),
		cmocka_unit_test(test_decode_when_malformed_then_ebadmsg_and_untouched),
		cmocka_unit_test(test_decode_when_text_is_not_printable_then_ebadmsg),
		cmocka_unit_test(test_decode_when_cut_anywhere_then_ebadmsg),
		cmocka_unit_test(test_decode_when_ipv4_is_written_in_16_bytes_then_ebadmsg),
		cmocka_unit_test(test_check_parse_when_valid_then_text_round_trips),
		cmocka_unit_test(test_check_parse_when_bad_then_says_what),
		cmocka_unit_test(
			test_check_decode_when_kind_is_of_a_later_version_then_what_k_says),
		cmocka_unit_test(test_backend_key_when_parsed_then_is_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
