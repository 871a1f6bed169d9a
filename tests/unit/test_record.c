/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gossip/record.h"

static const uint8_t map[] = {0x80};

static struct record own(uint64_t generation, uint64_t seq)
{
	return (struct record){.kind = 2,
			       .generation = generation,
			       .seq = seq,
			       .key = (const uint8_t *)"k",
			       .key_len = 1,
			       .value = map,
			       .value_len = sizeof(map)};
}

static void test_scope_of_when_at_the_edges_then_as_documented(void **state)
{
	static const struct {
		uint8_t kind;
		enum record_scope scope;
	} row[] = {
		{0, RECORD_REFUSED},	{1, RECORD_OWN},       {63, RECORD_OWN},
		{64, RECORD_SHARED},	{127, RECORD_SHARED},  {128, RECORD_VOLATILE},
		{191, RECORD_VOLATILE}, {192, RECORD_REFUSED}, {255, RECORD_REFUSED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		assert_int_equal(record_scope_of(row[i].kind), row[i].scope);
}

static void test_cmp_version_when_compared_then_generation_sequence_writer(void **state)
{
	struct record a = own(2, 1), b = own(1, 9), c = own(2, 2), d = own(2, 1);

	(void)state;
	d.writer.b[0] = 1;
	assert_true(record_cmp_version(&a, &b) > 0);
	assert_true(record_cmp_version(&b, &a) < 0);
	assert_true(record_cmp_version(&c, &a) > 0);
	assert_int_equal(record_cmp_version(&a, &a), 0);
	assert_true(record_cmp_version(&d, &a) > 0);
}

static void test_check_when_a_rule_is_broken_then_refuses(void **state)
{
	static const uint8_t nul_key[] = {'a', 0, 'b'}, array[] = {0x90}, two[] = {0x80, 0x80};
	static uint8_t long_key[RECORD_KEY_MAX + 1], long_value[RECORD_VALUE_MAX + 1];
	struct record ok = own(1, 1), r;

	(void)state;
	memset(long_key, 'k', sizeof(long_key));
	assert_int_equal(record_check(&ok), 0);
#define BROKEN(want, ...)                                                                          \
	do {                                                                                       \
		r = ok;                                                                            \
		__VA_ARGS__;                                                                       \
		assert_int_equal(record_check(&r), want);                                          \
	} while (0)
	BROKEN(-EBADMSG, r.kind = 0);
	BROKEN(-EBADMSG, r.kind = 200);
	BROKEN(-EBADMSG, r.generation = 0); /* own: has one */
	BROKEN(-EBADMSG, r.kind = 65);	    /* shared: has none */
	BROKEN(0, r.kind = 65; r.generation = 0);
	BROKEN(-EBADMSG, r.seq = 0);
	BROKEN(-EBADMSG, r.key_len = 0);
	BROKEN(-EBADMSG, r.key = nul_key; r.key_len = 3);
	BROKEN(-EMSGSIZE, r.key = long_key; r.key_len = sizeof(long_key));
	BROKEN(-EMSGSIZE, r.value = long_value; r.value_len = sizeof(long_value));
	BROKEN(-EBADMSG, r.value = array; r.value_len = 1);
	BROKEN(-EBADMSG, r.value = two; r.value_len = 2);
	BROKEN(-EBADMSG, r.value_len = 0);
	BROKEN(-EBADMSG, r.is_tombstone = true); /* a tombstone has no value */
	BROKEN(0, r.is_tombstone = true; r.value_len = 0);
#undef BROKEN
}

static int signed_of(const struct record *r, uint8_t buf[RECORD_SIGNED_MAX])
{
	memset(buf, 0, RECORD_SIGNED_MAX);
	return record_signed_bytes(r, buf, RECORD_SIGNED_MAX);
}

static void test_signed_bytes_when_anything_changes_then_differ(void **state)
{
	struct record base = own(1, 1), r[6];
	uint8_t a[RECORD_SIGNED_MAX], b[RECORD_SIGNED_MAX];
	int len = signed_of(&base, a);

	(void)state;
	assert_true(len > 0);
	for (size_t i = 0; i < 6; i++)
		r[i] = base;
	r[0].kind = 3;
	r[1].generation = 2;
	r[2].seq = 2;
	r[3].key = (const uint8_t *)"j";
	r[4].is_tombstone = true;
	r[5].value = (const uint8_t *)"\x81\x01\x02";
	r[5].value_len = 3;
	for (size_t i = 0; i < 6; i++) {
		signed_of(&r[i], b);
		assert_memory_not_equal(a, b, sizeof(a));
	}
	base.is_urgent = true; /* a hint, not signed */
	signed_of(&base, b);
	assert_memory_equal(a, b, sizeof(a));
	assert_int_equal(record_signed_bytes(&base, b, (size_t)len - 1), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scope_of_when_at_the_edges_then_as_documented),
		cmocka_unit_test(test_cmp_version_when_compared_then_generation_sequence_writer),
		cmocka_unit_test(test_check_when_a_rule_is_broken_then_refuses),
		cmocka_unit_test(test_signed_bytes_when_anything_changes_then_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
