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

#include "gossip/wire.h"

static const uint8_t value[] = {0x81, 0xa1, 'k', 0x01};

static struct record some_record(void)
{
	struct record r = {.kind = 2,
			   .is_urgent = true,
			   .generation = 7,
			   .seq = 9,
			   .key = (const uint8_t *)"dns/10.0.0.1:53",
			   .key_len = 15,
			   .value = value,
			   .value_len = sizeof(value)};

	memset(r.pub, 0x11, sizeof(r.pub));
	memset(r.sig, 0x22, sizeof(r.sig));
	return r;
}

static struct wire_card some_card(void)
{
	struct wire_card c = {.name = "fra-1",
			      .region = "fra",
			      .addr = {.port = 7946},
			      .generation = 1ull << 40,
			      .boot_nonce = UINT64_MAX,
			      .incarnation = WIRE_INCARNATION_MAX,
			      .has_forwarder = true};

	memset(c.pub, 0x33, sizeof(c.pub));
	memset(c.addr.ip, 0x44, sizeof(c.addr.ip));
	return c;
}

/* One of everything that a message can carry. */
static size_t pack_all(uint8_t *buf, size_t cap)
{
	static const uint8_t buckets[WIRE_BUCKETS * WIRE_BUCKET_BYTES] = {1};
	static const uint8_t mask[WIRE_MASK_BYTES] = {0x80}, root[16] = {5};
	struct node_id id = {{6}};
	struct record r = some_record();
	struct wire_card card = some_card();
	struct wire_vote vote = {id, 3, 4, GOSSIP_SUSPECT};
	struct wire_seen seen = {id, 5, 6};
	struct wire_origin origin = {id, 7, 8, 9, 1, {1}};
	struct wire_shared_key key = {65, (const uint8_t *)"dns", 3, 12, id};
	struct wire_out o;

	wire_begin(&o, buf, cap, WIRE_SYNC);
	wire_put_cookie(&o, 0x0102030405060708ull);
	wire_put_target(&o, &id);
	wire_put_digest(&o, root, 100, 7, NULL);
	wire_put_flags(&o, WIRE_F_REPLY);
	wire_put_range(&o, &id, &id);
	wire_put_buckets(&o, buckets);
	wire_put_mask(&o, mask);
	wire_list_begin(&o, WIRE_K_CARDS);
	assert_true(wire_add_card(&o, &card));
	wire_list_end(&o);
	wire_list_begin(&o, WIRE_K_VOTES);
	assert_true(wire_add_vote(&o, &vote));
	wire_list_end(&o);
	wire_list_begin(&o, WIRE_K_SEEN);
	assert_true(wire_add_seen(&o, &seen));
	wire_list_end(&o);
	wire_list_begin(&o, WIRE_K_ORIGINS);
	assert_true(wire_add_origin(&o, &origin));
	wire_list_end(&o);
	wire_list_begin(&o, WIRE_K_KEYS);
	assert_true(wire_add_key(&o, &key));
	wire_list_end(&o);
	wire_list_begin(&o, WIRE_K_RECORDS);
	assert_true(wire_add_record(&o, &r));
	wire_list_end(&o);
	wire_list_begin(&o, WIRE_K_DELTAS);
	assert_true(wire_delta_begin(&o, &id, 7, 2, 1));
	assert_true(wire_add_record(&o, &r));
	wire_delta_end(&o, 9, WIRE_D_RESET | WIRE_D_LAST);
	wire_list_end(&o);
	return wire_end(&o);
}

static void check_record(const struct record *r)
{
	struct record want = some_record();

	assert_int_equal(r->kind, want.kind);
	assert_true(r->is_urgent);
	assert_false(r->is_tombstone);
	assert_int_equal(r->generation, want.generation);
	assert_int_equal(r->seq, want.seq);
	assert_memory_equal(r->pub, want.pub, sizeof(r->pub));
	assert_memory_equal(r->sig, want.sig, sizeof(r->sig));
	assert_int_equal(r->key_len, want.key_len);
	assert_memory_equal(r->key, want.key, want.key_len);
	assert_int_equal(r->value_len, want.value_len);
	assert_memory_equal(r->value, want.value, want.value_len);
}

static void test_decode_when_all_is_packed_then_all_comes_back(void **state)
{
	static uint8_t buf[8192];
	size_t len = pack_all(buf, sizeof(buf));
	struct wire_card card, want = some_card();
	struct wire_shared_key key;
	struct wire_origin origin;
	struct wire_delta delta;
	struct wire_vote vote;
	struct wire_seen seen;
	struct wire_msg m;
	struct record r;

	(void)state;
	assert_true(len > 0);
	assert_int_equal(wire_decode(buf, len, &m), 0);
	assert_int_equal(m.type, WIRE_SYNC);
	assert_int_equal(m.flags, WIRE_F_REPLY);
	assert_true(m.has_cookie && m.has_target && m.has_digest && m.has_range);
	assert_true(m.cookie == 0x0102030405060708ull);
	assert_int_equal(m.members, 100);
	assert_true(m.has_standing && m.standing == 7);
	assert_int_equal(m.target.b[0], 6);
	assert_int_equal(m.buckets[0], 1);
	assert_int_equal(m.mask[0], 0x80);
	assert_true(wire_next_card(&m.cards, &card));
	assert_string_equal(card.name, want.name);
	assert_string_equal(card.region, want.region);
	assert_memory_equal(&card.addr, &want.addr, sizeof(card.addr));
	assert_true(card.generation == want.generation && card.boot_nonce == want.boot_nonce);
	assert_int_equal(card.incarnation, want.incarnation);
	assert_true(card.has_forwarder && !card.is_left);
	assert_false(wire_next_card(&m.cards, &card));
	assert_true(wire_next_vote(&m.votes, &vote));
	assert_int_equal(vote.state, GOSSIP_SUSPECT);
	assert_true(wire_next_seen(&m.seen, &seen));
	assert_int_equal(seen.generation, 5);
	assert_true(wire_next_origin(&m.origins, &origin));
	assert_int_equal(origin.watermark, 8);
	assert_true(wire_next_key(&m.keys, &key));
	assert_int_equal(key.counter, 12);
	assert_true(wire_next_record(&m.records, &r));
	check_record(&r);
	assert_false(wire_next_record(&m.records, &r));
	assert_true(wire_next_delta(&m.deltas, &delta));
	assert_int_equal(delta.from, 2);
	assert_int_equal(delta.to, 9);
	assert_int_equal(delta.flags, WIRE_D_RESET | WIRE_D_LAST);
	assert_true(wire_next_record(&delta.records, &r));
	check_record(&r);
	assert_false(wire_next_delta(&m.deltas, &delta));
}

static void test_decode_when_cut_anywhere_then_refuses(void **state)
{
	static uint8_t buf[8192];
	size_t len = pack_all(buf, sizeof(buf));
	struct wire_msg m;

	(void)state;
	for (size_t n = 0; n < len; n++)
		assert_int_equal(wire_decode(buf, n, &m), -EBADMSG);
	assert_true(len + 1 < sizeof(buf));
	assert_int_equal(wire_decode(buf, len + 1, &m), -EBADMSG); /* a byte too many */
}

static void test_decode_when_hostile_then_refuses(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
		int rc;
	} row[] = {
		{"nothing", "", 0, -EBADMSG},
		{"an array of 2^26", "\xdd\x04\0\0\0", 5, -EBADMSG},
		{"a map of 2^32-1", "\xdf\xff\xff\xff\xff", 5, -EBADMSG},
		{"no version", "\x81\x01\x01", 3, -EBADMSG},
		{"no type", "\x81\x00\x01", 3, -EBADMSG},
		{"version 0", "\x82\x00\x00\x01\x01", 5, -EPROTONOSUPPORT},
		{"a doubled key", "\x83\x00\x01\x01\x01\x01\x01", 7, -EBADMSG},
		{"text as key", "\x83\x00\x01\x01\x01\xa1x\x01", 8, -EBADMSG},
		{"nine levels", "\x83\x00\x01\x01\x01\x60\x91\x91\x91\x91\x91\x91\x91\x91\x91\xc0",
		 16, -EBADMSG},
		{"an unknown key", "\x83\x00\x01\x01\x01\x60\x92\xc0\xa1x", 10, 0},
		{"records, but no list", "\x83\x00\x01\x01\x04\x08\x01", 7, -EBADMSG},
		{"a record of one element", "\x83\x00\x01\x01\x04\x08\x91\x91\x02", 9, -EBADMSG},
	};
	struct wire_msg m;

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		int rc = wire_decode((const uint8_t *)row[i].bytes, row[i].len, &m);

		if (rc != row[i].rc)
			fail_msg("%s: got %d, want %d", row[i].name, rc, row[i].rc);
	}
}

/* Any single byte changed: refused, or every list still walks to its end inside the buffer. */
static void test_decode_when_bytes_flip_then_stays_inside(void **state)
{
	static uint8_t buf[8192];
	size_t len = pack_all(buf, sizeof(buf));
	uint8_t *copy = malloc(len);

	(void)state;
	assert_non_null(copy);
	for (size_t i = 0; i < len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			struct wire_msg m;
			struct record r;

			memcpy(copy, buf, len);
			copy[i] ^= (uint8_t)(1 << bit);
			if (wire_decode(copy, len, &m))
				continue;
			while (wire_next_record(&m.records, &r)) {
				assert_true(r.key >= copy && r.key + r.key_len <= copy + len);
				assert_true(r.value >= copy && r.value + r.value_len <= copy + len);
			}
		}
	}
	free(copy);
}

static void test_add_when_full_then_writes_nothing(void **state)
{
	uint8_t buf[GOSSIP_DGRAM_MAX];
	struct record r = some_record();
	struct wire_out o;
	struct wire_msg m;
	size_t n = 0, got = 0, len;

	(void)state;
	wire_begin(&o, buf, sizeof(buf), WIRE_NEWS);
	wire_list_begin(&o, WIRE_K_RECORDS);
	while (wire_add_record(&o, &r))
		n++;
	wire_list_end(&o);
	len = wire_end(&o);
	assert_true(n > 5 && len > 0 && len <= sizeof(buf));
	assert_int_equal(wire_decode(buf, len, &m), 0);
	while (wire_next_record(&m.records, &r))
		got++;
	assert_int_equal(got, n);
}

/* The range and flags of later versions come back as they were, and are signed. */
static void test_card_when_it_says_versions_then_they_come_back_and_are_signed(void **state)
{
	uint8_t buf[1024], a[WIRE_CARD_SIGNED_MAX], b[WIRE_CARD_SIGNED_MAX];
	struct wire_card card = some_card(), got;
	struct wire_msg m;
	struct wire_out o;
	size_t len;

	(void)state;
	card.version = (struct version_range){2, 16};
	card.rest = 0x84;
	wire_begin_as(&o, buf, sizeof(buf), WIRE_NEWS, 3);
	wire_list_begin(&o, WIRE_K_CARDS);
	assert_true(wire_add_card(&o, &card));
	wire_list_end(&o);
	len = wire_end(&o);
	assert_int_equal(wire_decode(buf, len, &m), -EPROTONOSUPPORT);
	assert_int_equal(m.version, 3);
	assert_int_equal(wire_decode_as(buf, len, (struct version_range){4, 5}, &m),
			 -EPROTONOSUPPORT);
	assert_int_equal(wire_decode_as(buf, len, (struct version_range){2, 3}, &m), 0);
	assert_true(wire_next_card(&m.cards, &got));
	assert_int_equal(got.version.lo, 2);
	assert_int_equal(got.version.hi, 16);
	assert_int_equal(got.rest, 0x84);
	len = wire_card_signed_bytes(&card, a);
	assert_int_equal(wire_card_signed_bytes(&got, b), len);
	assert_memory_equal(a, b, len);
	got.version.hi = 15;
	(void)wire_card_signed_bytes(&got, b);
	assert_memory_not_equal(a, b, len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decode_when_all_is_packed_then_all_comes_back),
		cmocka_unit_test(test_decode_when_cut_anywhere_then_refuses),
		cmocka_unit_test(test_decode_when_hostile_then_refuses),
		cmocka_unit_test(test_decode_when_bytes_flip_then_stays_inside),
		cmocka_unit_test(
			test_card_when_it_says_versions_then_they_come_back_and_are_signed),
		cmocka_unit_test(test_add_when_full_then_writes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
