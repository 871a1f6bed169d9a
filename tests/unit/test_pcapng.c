/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Blocks of a pcapng file, read back by a reader of this test's own. tests/net/test_see.sh asks tshark and capinfos. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "edge/pcapng.h"

static uint8_t buf[4096];

static uint32_t word(size_t at)
{
	uint32_t x;

	memcpy(&x, buf + at, sizeof(x));
	return x;
}

static uint16_t half(size_t at)
{
	uint16_t x;

	memcpy(&x, buf + at, sizeof(x));
	return x;
}

/* A block as the format wants it: its length twice, whole words, `head` bytes of fixed fields. Returns where options begin. */
static size_t expect_block(size_t len, uint32_t kind, size_t head)
{
	assert_int_equal(len % 4, 0);
	assert_int_equal(word(0), kind);
	assert_int_equal(word(4), len);
	assert_int_equal(word(len - 4), len);
	return 8 + head;
}

/* The option of that code: its length, and *ret_at where its bytes are; -1 if it isn't there. All options must be sound. */
static int option(size_t at, size_t len, uint16_t code, size_t *ret_at)
{
	int found = -1;

	while (at < len - 4) {
		uint16_t got = half(at), bytes = half(at + 2);

		if (got == 0) {
			assert_int_equal(bytes, 0);
			assert_int_equal(at + 4, len - 4);
			return found;
		}
		if (got == code) {
			found = bytes;
			*ret_at = at + 4;
		}
		at += 4u + (bytes + 3u) / 4 * 4;
	}
	fail_msg("options without an end");
	return -1;
}

static void test_section_when_written_then_header_and_names(void **state)
{
	size_t len = pcapng_section(buf, sizeof(buf), "Linux 6", "edge"), at = 0, opts;

	(void)state;
	opts = expect_block(len, 0x0a0d0d0a, 16);
	assert_int_equal(word(8), 0x1a2b3c4d);
	assert_int_equal(half(12), 1);
	assert_int_equal(half(14), 0);
	assert_int_equal(option(opts, len, 3, &at), 7);
	assert_memory_equal(buf + at, "Linux 6", 7);
	assert_int_equal(option(opts, len, 4, &at), 4);
	assert_memory_equal(buf + at, "edge", 4);
}

static void test_interface_when_written_then_link_name_and_nanoseconds(void **state)
{
	static const enum pcapng_link link[] = {PCAPNG_ETHERNET, PCAPNG_RAW_IP};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		size_t len =
			pcapng_interface(buf, sizeof(buf), link[i], 256, "eth0", "xdp of eth0");
		size_t opts = expect_block(len, 1, 8), at = 0;

		assert_int_equal(half(8), link[i]);
		assert_int_equal(word(12), 256);
		assert_int_equal(option(opts, len, 2, &at), 4);
		assert_memory_equal(buf + at, "eth0", 4);
		assert_int_equal(option(opts, len, 3, &at), 11);
		assert_int_equal(option(opts, len, 9, &at), 1);
		assert_int_equal(buf[at], 9);
	}
}

static void test_packet_when_of_any_length_then_padded_with_comment_flags_and_verdict(void **state)
{
	uint8_t data[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
	struct pcapng_packet p = {.interface = 3,
				  .unix_ns = 0x123456789abcdef0ull,
				  .data = data,
				  .frame_bytes = 1500,
				  .hook = PCAPNG_HOOK_TC,
				  .verdict = UINT64_MAX,
				  .comment = "why"};

	(void)state;
	for (p.bytes = 0; p.bytes <= sizeof(data); p.bytes++) {
		size_t len, opts, at = 0;
		uint64_t verdict;

		p.is_out = p.bytes & 1;
		len = pcapng_packet(buf, sizeof(buf), &p);
		opts = expect_block(len, 6, 20 + (p.bytes + 3u) / 4 * 4);
		assert_int_equal(word(8), 3);
		assert_int_equal(word(12), 0x12345678);
		assert_int_equal(word(16), 0x9abcdef0);
		assert_int_equal(word(20), p.bytes);
		assert_int_equal(word(24), 1500);
		assert_memory_equal(buf + 28, data, p.bytes);
		assert_int_equal(option(opts, len, 1, &at), 3);
		assert_memory_equal(buf + at, "why", 3);
		assert_int_equal(option(opts, len, 2, &at), 4);
		assert_int_equal(word(at), p.is_out ? 2 : 1);
		assert_int_equal(option(opts, len, 7, &at), 9);
		assert_int_equal(buf[at], PCAPNG_HOOK_TC);
		memcpy(&verdict, buf + at + 1, sizeof(verdict));
		assert_true(verdict == UINT64_MAX);
	}
}

static void test_blocks_when_room_is_short_then_zero_and_nothing_beyond(void **state)
{
	uint8_t data[256] = {0};
	char text[2 * PCAPNG_TEXT_MAX];
	struct pcapng_packet p = {.data = data, .bytes = 256, .frame_bytes = 256, .comment = text};
	size_t need[3];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	need[0] = pcapng_section(buf, sizeof(buf), text, text);
	need[1] = pcapng_interface(buf, sizeof(buf), PCAPNG_ETHERNET, 256, text, text);
	need[2] = pcapng_packet(buf, sizeof(buf), &p);
	assert_true(need[0] && need[0] <= PCAPNG_BLOCK_MAX);
	assert_true(need[1] && need[1] <= PCAPNG_BLOCK_MAX);
	assert_true(need[2] && need[2] <= PCAPNG_BLOCK_MAX + 256);
	for (size_t cap = 0; cap <= need[2]; cap++) {
		memset(buf, 0xee, sizeof(buf));
		assert_int_equal(pcapng_section(buf, cap, text, text), cap < need[0] ? 0 : need[0]);
		assert_int_equal(pcapng_interface(buf, cap, PCAPNG_ETHERNET, 256, text, text),
				 cap < need[1] ? 0 : need[1]);
		assert_int_equal(pcapng_packet(buf, cap, &p), cap < need[2] ? 0 : need[2]);
		for (size_t i = cap; i < sizeof(buf); i++)
			assert_int_equal(buf[i], 0xee);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_section_when_written_then_header_and_names),
		cmocka_unit_test(test_interface_when_written_then_link_name_and_nanoseconds),
		cmocka_unit_test(
			test_packet_when_of_any_length_then_padded_with_comment_flags_and_verdict),
		cmocka_unit_test(test_blocks_when_room_is_short_then_zero_and_nothing_beyond),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
