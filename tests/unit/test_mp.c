/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <msgpack.h>

#include "gossip/mp.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static void test_check_when_given_then_accepts_whole_values_only(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
		int rc;
	} row[] = {
		{"nothing", "", 0, -EBADMSG},
		{"nil", "\xc0", 1, 0},
		{"never used", "\xc1", 1, -EBADMSG},
		{"true", "\xc3", 1, 0},
		{"fixint", "\x7f", 1, 0},
		{"negative fixint", "\xe0", 1, 0},
		{"u8", "\xcc\xff", 2, 0},
		{"u8 cut", "\xcc", 1, -EBADMSG},
		{"u64", "\xcf\1\2\3\4\5\6\7\x8", 9, 0},
		{"u64 cut", "\xcf\1\2\3\4\5\6\7", 8, -EBADMSG},
		{"i16", "\xd1\xff\0", 3, 0},
		{"i64 cut", "\xd3\1", 2, -EBADMSG},
		{"f32", "\xca\0\0\0\0", 5, 0},
		{"f64 cut", "\xcb\0\0\0\0", 5, -EBADMSG},
		{"fixstr", "\xa2hi", 3, 0},
		{"fixstr cut", "\xa2h", 2, -EBADMSG},
		{"str32 of 4 GiB", "\xdb\xff\xff\xff\xffx", 6, -EBADMSG},
		{"bin8", "\xc4\2hi", 4, 0},
		{"bin16 cut", "\xc5\0\3hi", 5, -EBADMSG},
		{"bin32", "\xc6\0\0\0\1x", 6, 0},
		{"fixext1", "\xd4\1x", 3, 0},
		{"fixext16 cut", "\xd8\1x", 3, -EBADMSG},
		{"ext8", "\xc7\1\5x", 4, 0},
		{"ext32 of 4 GiB", "\xc9\xff\xff\xff\xff\1", 6, -EBADMSG},
		{"array32 of 2^26", "\xdd\4\0\0\0", 5, -EBADMSG},
		{"array32 of 2^32-1", "\xdd\xff\xff\xff\xff", 5, -EBADMSG},
		{"map32 of 2^32-1", "\xdf\xff\xff\xff\xff\0\0", 7, -EBADMSG},
		{"map16 of 1", "\xde\0\1\1\2", 5, 0},
		{"map without a value", "\x81\1", 2, -EBADMSG},
		{"array16 of 2", "\xdc\0\2\1\2", 5, 0},
		{"trailing", "\xc0\xc0", 2, -EBADMSG},
		{"8 levels", "\x91\x91\x91\x91\x91\x91\x91\x91\xc0", 9, 0},
		{"9 levels", "\x91\x91\x91\x91\x91\x91\x91\x91\x91\xc0", 10, -EBADMSG},
		{"8 levels of maps", "\x81\1\x81\1\x81\1\x81\1\x81\1\x81\1\x81\1\x81\1\2", 17, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		/* A block of the exact size, so that a sanitizer sees a read past it. */
		uint8_t *copy = malloc(row[i].len ? row[i].len : 1);

		assert_non_null(copy);
		memcpy(copy, row[i].bytes, row[i].len);
		if (mp_check(copy, row[i].len) != row[i].rc)
			fail_msg("%s: got %d", row[i].name, mp_check(copy, row[i].len));
		free(copy);
	}
}

static void test_read_uint_when_any_width_then_value_and_limit_hold(void **state)
{
	static const uint64_t value[] = {0,	     1,		 127,	     128,
					 255,	     256,	 65535,	     65536,
					 UINT32_MAX, 1ull << 32, 1ull << 63, UINT64_MAX};

	(void)state;
	for (size_t i = 0; i < COUNT(value); i++) {
		uint8_t mem[16];
		struct mp_buf b = {.p = mem, .cap = sizeof(mem)};
		struct mp_reader r;
		msgpack_packer pk;
		uint64_t v = 99;

		msgpack_packer_init(&pk, &b, mp_buf_write);
		msgpack_pack_uint64(&pk, value[i]);
		mp_reader_init(&r, mem, b.len);
		assert_int_equal(mp_peek(&r), MP_UINT);
		assert_int_equal(mp_read_uint(&r, value[i], &v), 0);
		assert_true(v == value[i] && mp_at_end(&r));
		if (value[i] == 0)
			continue;
		v = 99;
		mp_reader_init(&r, mem, b.len);
		assert_int_equal(mp_read_uint(&r, value[i] - 1, &v), -EBADMSG);
		assert_int_equal(v, 99);
	}
}

static void test_read_when_of_another_type_then_ebadmsg(void **state)
{
	static const uint8_t nil[] = {0xc0}, text[] = {0xa1, 'x'}, neg[] = {0xff};
	const uint8_t *data;
	const char *str;
	struct mp_reader r;
	uint64_t v;
	size_t n;
	bool b;

	(void)state;
	mp_reader_init(&r, text, sizeof(text));
	assert_int_equal(mp_read_nil(&r), -EBADMSG);
	assert_int_equal(mp_read_bool(&r, &b), -EBADMSG);
	assert_int_equal(mp_read_uint(&r, 9, &v), -EBADMSG);
	assert_int_equal(mp_read_bin(&r, 9, &data, &n), -EBADMSG);
	assert_int_equal(mp_read_array(&r, 9, &n), -EBADMSG);
	assert_int_equal(mp_read_map(&r, 9, &n), -EBADMSG);
	assert_int_equal(mp_read_str(&r, 0, &str, &n), -EBADMSG); /* over the limit */
	mp_reader_init(&r, nil, sizeof(nil));
	assert_int_equal(mp_read_str(&r, 9, &str, &n), -EBADMSG);
	assert_int_equal(mp_read_nil(&r), 0);
	assert_int_equal(mp_read_nil(&r), -EBADMSG); /* at the end */
	mp_reader_init(&r, neg, sizeof(neg));
	assert_int_equal(mp_peek(&r), MP_INT);
	assert_int_equal(mp_read_uint(&r, 9, &v), -EBADMSG);
}

static void test_read_text_when_it_holds_a_nul_or_is_long_then_ebadmsg(void **state)
{
	static const uint8_t nul[] = {0xa3, 'a', 0, 'b'}, five[] = {0xa5, 'h', 'e', 'l', 'l', 'o'};
	struct mp_reader r;
	char buf[6];

	(void)state;
	mp_reader_init(&r, nul, sizeof(nul));
	assert_int_equal(mp_read_text(&r, buf, sizeof(buf)), -EBADMSG);
	mp_reader_init(&r, five, sizeof(five));
	assert_int_equal(mp_read_text(&r, buf, 5), -EBADMSG);
	mp_reader_init(&r, five, sizeof(five));
	assert_int_equal(mp_read_text(&r, buf, 6), 0);
	assert_string_equal(buf, "hello");
}

static void test_read_bytes_when_length_differs_then_ebadmsg(void **state)
{
	static const uint8_t three[] = {0xc4, 3, 1, 2, 3};
	struct mp_reader r;
	uint8_t out[4] = {9, 9, 9, 9};

	(void)state;
	mp_reader_init(&r, three, sizeof(three));
	assert_int_equal(mp_read_bytes(&r, out, 4), -EBADMSG);
	mp_reader_init(&r, three, sizeof(three));
	assert_int_equal(mp_read_bytes(&r, out, 2), -EBADMSG);
	assert_int_equal(out[0], 9);
	mp_reader_init(&r, three, sizeof(three));
	assert_int_equal(mp_read_bytes(&r, out, 3), 0);
	assert_int_equal(out[2], 3);
}

/* What msgpack-c packs at random, we walk to its last byte; cut anywhere, we refuse it. */
static void pack_random(msgpack_packer *pk, unsigned int *seed, int depth)
{
	static const char junk[300];
	int n = rand_r(seed) % 4;

	switch (rand_r(seed) % (depth < MP_DEPTH_MAX ? 9 : 7)) {
	case 0:
		msgpack_pack_nil(pk);
		break;
	case 1:
		msgpack_pack_true(pk);
		break;
	case 2:
		msgpack_pack_int64(pk, ((int64_t)rand_r(seed) - RAND_MAX / 2) *
					       (rand_r(seed) % 2 ? 1 : 1 << 20));
		break;
	case 3:
		msgpack_pack_double(pk, rand_r(seed));
		break;
	case 4:
		msgpack_pack_str_with_body(pk, junk, (size_t)(rand_r(seed) % 300));
		break;
	case 5:
		msgpack_pack_bin_with_body(pk, junk, (size_t)(rand_r(seed) % 300));
		break;
	case 6:
		n = rand_r(seed) % 20;
		msgpack_pack_ext(pk, (size_t)n, 1);
		msgpack_pack_ext_body(pk, junk, (size_t)n);
		break;
	case 7:
		msgpack_pack_array(pk, (size_t)n);
		for (int i = 0; i < n; i++)
			pack_random(pk, seed, depth + 1);
		break;
	case 8:
		msgpack_pack_map(pk, (size_t)n);
		for (int i = 0; i < 2 * n; i++)
			pack_random(pk, seed, depth + 1);
		break;
	}
}

static void test_check_when_packed_at_random_then_accepts_and_refuses_cuts(void **state)
{
	static uint8_t mem[1 << 18];
	unsigned int seed = 1;
	size_t checked = 0;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		struct mp_buf b = {.p = mem, .cap = sizeof(mem)};
		msgpack_packer pk;
		size_t step;

		msgpack_packer_init(&pk, &b, mp_buf_write);
		pack_random(&pk, &seed, 0);
		if (b.is_full)
			continue;
		checked++;
		assert_int_equal(mp_check(mem, b.len), 0);
		step = b.len / 64 + 1;
		for (size_t cut = 0; cut < b.len; cut += step)
			assert_int_equal(mp_check(mem, cut), -EBADMSG);
		mem[b.len < sizeof(mem) ? b.len : 0] = 0;
		if (b.len < sizeof(mem))
			assert_int_equal(mp_check(mem, b.len + 1), -EBADMSG);
	}
	assert_true(checked > 2900);
}

static void test_buf_when_full_then_says_so_and_stays_inside(void **state)
{
	uint8_t mem[8] = {0};
	struct mp_buf b = {.p = mem, .cap = 4};
	msgpack_packer pk;

	(void)state;
	msgpack_packer_init(&pk, &b, mp_buf_write);
	msgpack_pack_str_with_body(&pk, "abcdef", 6);
	assert_true(b.is_full);
	assert_true(b.len <= 4);
	assert_int_equal(mem[4], 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check_when_given_then_accepts_whole_values_only),
		cmocka_unit_test(test_read_uint_when_any_width_then_value_and_limit_hold),
		cmocka_unit_test(test_read_when_of_another_type_then_ebadmsg),
		cmocka_unit_test(test_read_text_when_it_holds_a_nul_or_is_long_then_ebadmsg),
		cmocka_unit_test(test_read_bytes_when_length_differs_then_ebadmsg),
		cmocka_unit_test(test_check_when_packed_at_random_then_accepts_and_refuses_cuts),
		cmocka_unit_test(test_buf_when_full_then_says_so_and_stays_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
