/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hostile values of records, by hand. */
#include "tests/unit/model_value.h"

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
		char key[12];

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decode_when_key_is_unknown_then_skips_it),
		cmocka_unit_test(test_decode_when_malformed_then_ebadmsg_and_untouched),
		cmocka_unit_test(test_decode_when_text_is_not_printable_then_ebadmsg),
		cmocka_unit_test(test_decode_when_cut_anywhere_then_ebadmsg),
		cmocka_unit_test(test_decode_when_ipv4_is_written_in_16_bytes_then_ebadmsg),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
