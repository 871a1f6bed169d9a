/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a small map should hold against what it holds; prefix lists; server ids. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/filter.h"
#include "edge/quic.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A map in memory that has room for so many, and can be told to fail. */
struct fake {
	uint32_t key[64], value[64];
	size_t count, cap, ops, most;
	size_t fail_at; /* 0 = never */
};

static int fake_put(void *arg, const void *key, uint32_t value)
{
	struct fake *f = arg;
	uint32_t k;

	memcpy(&k, key, sizeof(k));
	if (++f->ops == f->fail_at)
		return -EIO;
	for (size_t i = 0; i < f->count; i++) {
		if (f->key[i] == k) {
			f->value[i] = value;
			return 0;
		}
	}
	if (f->count == f->cap)
		return -ENOSPC;
	f->key[f->count] = k;
	f->value[f->count++] = value;
	if (f->count > f->most)
		f->most = f->count;
	return 0;
}

static int fake_del(void *arg, const void *key)
{
	struct fake *f = arg;
	uint32_t k;

	memcpy(&k, key, sizeof(k));
	if (++f->ops == f->fail_at)
		return -EIO;
	for (size_t i = 0; i < f->count; i++) {
		if (f->key[i] == k) {
			f->key[i] = f->key[--f->count];
			f->value[i] = f->value[f->count];
			return 0;
		}
	}
	fail_msg("deletes %u, which is not there", k);
	return 0;
}

static void fill(struct mapset *s, const uint32_t *pairs, size_t count)
{
	*s = (struct mapset){.key_bytes = 4};
	for (size_t i = 0; i < count; i++)
		assert_int_equal(mapset_add(s, &pairs[2 * i], pairs[2 * i + 1]), 0);
	mapset_sort(s);
}

static void check(const struct fake *f, const struct mapset *have, const uint32_t *pairs,
		  size_t count)
{
	assert_int_equal(f->count, count);
	assert_int_equal(have->count, count);
	for (size_t i = 0; i < count; i++) {
		size_t k = 0;

		while (k < f->count && f->key[k] != pairs[2 * i])
			k++;
		assert_true(k < f->count && f->value[k] == pairs[2 * i + 1]);
	}
}

static void test_apply_when_changed_then_only_that_is_written(void **state)
{
	static const uint32_t a[] = {5, 1, 3, 1, 9, 2}, b[] = {3, 1, 9, 7, 4, 4};
	struct fake f = {.cap = 64};
	struct mapset_ops ops = {.arg = &f, .what = "things", .put = fake_put, .del = fake_del};
	struct mapset have = {.key_bytes = 4}, want;
	struct err e = {0};

	(void)state;
	fill(&want, a, 3);
	assert_int_equal(mapset_apply(&have, &want, 64, &ops, &e), 0);
	check(&f, &have, a, 3);
	assert_int_equal(f.ops, 3);
	fill(&want, a, 3);
	assert_int_equal(mapset_apply(&have, &want, 64, &ops, &e), 0);
	assert_int_equal(f.ops, 3);
	fill(&want, b, 3);
	assert_int_equal(mapset_apply(&have, &want, 64, &ops, &e), 0);
	check(&f, &have, b, 3);
	assert_int_equal(f.ops, 3 + 3); /* 4 new, 9 another value, 5 gone */
	fill(&want, b, 0);
	assert_int_equal(mapset_apply(&have, &want, 64, &ops, &e), 0);
	assert_int_equal(f.count, 0);
	mapset_clear(&have);
	mapset_clear(&want);
}

static void test_apply_when_too_many_then_nothing_is_touched(void **state)
{
	static const uint32_t a[] = {1, 1, 2, 1}, b[] = {3, 1, 4, 1, 5, 1}, c[] = {3, 1, 4, 1};
	struct fake f = {.cap = 2};
	struct mapset_ops ops = {.arg = &f, .what = "things", .put = fake_put, .del = fake_del};
	struct mapset have = {.key_bytes = 4}, want;
	struct err e = {0};

	(void)state;
	fill(&want, a, 2);
	assert_int_equal(mapset_apply(&have, &want, 2, &ops, &e), 0);
	fill(&want, b, 3);
	assert_int_equal(mapset_apply(&have, &want, 2, &ops, &e), -E2BIG);
	assert_string_equal(e.text, "things: 3 are wanted, the map has room for 2: none of the "
				    "change is made");
	check(&f, &have, a, 2);
	assert_int_equal(f.ops, 2);
	mapset_clear(&want);
	/* Both together don't fit: the old ones go first. */
	fill(&want, c, 2);
	assert_int_equal(mapset_apply(&have, &want, 2, &ops, &e), 0);
	check(&f, &have, c, 2);
	mapset_clear(&have);
}

static void test_apply_when_room_then_new_before_old_goes(void **state)
{
	static const uint32_t a[] = {1, 1, 2, 1}, b[] = {3, 1, 4, 1};
	struct fake f = {.cap = 4};
	struct mapset_ops ops = {.arg = &f, .what = "things", .put = fake_put, .del = fake_del};
	struct mapset have = {.key_bytes = 4}, want;
	struct err e = {0};

	(void)state;
	fill(&want, a, 2);
	assert_int_equal(mapset_apply(&have, &want, 4, &ops, &e), 0);
	fill(&want, b, 2);
	assert_int_equal(mapset_apply(&have, &want, 4, &ops, &e), 0);
	assert_int_equal(f.most, 4);
	check(&f, &have, b, 2);
	mapset_clear(&have);
}

static void test_apply_when_a_write_fails_then_says_so(void **state)
{
	static const uint32_t a[] = {1, 1, 2, 1, 3, 1}, b[] = {3, 2, 4, 1};

	(void)state;
	for (size_t n = 1;; n++) {
		struct fake f = {.cap = 64};
		struct mapset_ops ops = {
			.arg = &f, .what = "things", .put = fake_put, .del = fake_del};
		struct mapset have = {.key_bytes = 4}, want;
		struct err e = {0};
		int rc;

		fill(&want, a, 3);
		assert_int_equal(mapset_apply(&have, &want, 64, &ops, &e), 0);
		f.fail_at = 3 + n;
		fill(&want, b, 2);
		rc = mapset_apply(&have, &want, 64, &ops, &e);
		if (!rc)
			check(&f, &have, b, 2);
		else
			assert_string_equal(e.text, "things: the map can't be written: "
						    "Input/output error");
		mapset_clear(&have);
		mapset_clear(&want);
		if (!rc) {
			assert_int_equal(n, 5); /* 2 puts, 2 deletions */
			break;
		}
	}
}

/* What the kernel's longest-prefix map would say. */
static uint32_t ask(const struct mapset *s, uint32_t svc_id, const char *source)
{
	uint32_t best_bits = 0, verb = 0;
	struct ip_addr a;

	assert_int_equal(ip_parse(source, &a), 0);
	for (size_t i = 0; i < s->count; i++) {
		struct dp_filter_key k;
		bool is_hit = true;

		memcpy(&k, mapset_key(s, i), sizeof(k));
		for (uint32_t bit = 0; bit < k.prefix_bits - 32; bit++)
			is_hit &= !((k.addr[bit / 8] ^ a.b[bit / 8]) >> (7 - bit % 8) & 1);
		if (k.svc_id == svc_id && is_hit && k.prefix_bits > best_bits) {
			best_bits = k.prefix_bits;
			verb = mapset_value(s, i);
		}
	}
	return verb;
}

static void add(struct mapset *s, uint32_t svc_id, const char *prefix, uint8_t verb)
{
	struct ip_prefix p;

	assert_int_equal(ip_parse_prefix(prefix, &p), 0);
	assert_int_equal(filter_add(s, svc_id, &p, verb), 0);
}

static void test_filter_when_all_of_ipv6_then_ipv4_is_apart(void **state)
{
	struct mapset s = {.key_bytes = sizeof(struct dp_filter_key)};

	(void)state;
	add(&s, 7, "::/0", DP_FILTER_DENY);
	add(&s, 7, "::/3", DP_FILTER_DENY);
	add(&s, 7, "2001:db8::/32", DP_FILTER_ALLOW);
	add(&s, 8, "::/0", DP_FILTER_DENY);
	add(&s, 8, "0.0.0.0/0", DP_FILTER_ALLOW);
	add(&s, 8, "192.0.2.0/24", DP_FILTER_DENY);
	add(&s, 9, "0.0.0.0/0", DP_FILTER_DENY);
	assert_int_equal(filter_finish(&s), 0);
	assert_int_equal(s.count, 8); /* one for list 7 */
	assert_int_equal(ask(&s, 7, "2001:db9::1"), DP_FILTER_DENY);
	assert_int_equal(ask(&s, 7, "2001:db8::1"), DP_FILTER_ALLOW);
	assert_int_equal(ask(&s, 7, "192.0.2.1"), FILTER_SILENT);
	assert_int_equal(ask(&s, 8, "192.0.2.1"), DP_FILTER_DENY);
	assert_int_equal(ask(&s, 8, "192.0.3.1"), DP_FILTER_ALLOW);
	assert_int_equal(ask(&s, 8, "2001:db8::1"), DP_FILTER_DENY);
	assert_int_equal(ask(&s, 9, "192.0.3.1"), DP_FILTER_DENY);
	assert_int_equal(ask(&s, 9, "2001:db8::1"), 0);
	mapset_clear(&s);
}

/* ---- server ids */

#define BACKENDS 5
struct world {
	struct route_node node[2];
	struct route_backend backend[BACKENDS];
	struct route_view view;
};

static void world(struct world *w)
{
	static const char *const addr[BACKENDS] = {"10.0.0.1", "10.0.0.2", "10.0.0.2",
						   "2001:db8::2", "10.0.0.1"};

	*w = (struct world){.view = {.node = w->node,
				     .node_count = 2,
				     .backend = w->backend,
				     .backend_count = BACKENDS}};
	w->node[0].id.b[0] = 1;
	w->node[1].id.b[0] = 2;
	for (size_t i = 0; i < BACKENDS; i++) {
		struct model_backend *b = &w->backend[i].backend;

		w->backend[i].node_idx = i % 2;
		snprintf(b->service, sizeof(b->service), "%s", i == 4 ? "quic" : "h3");
		b->port = (uint16_t)(443 + i);
		assert_int_equal(ip_parse(addr[i], &b->addr), 0);
	}
}

static void test_quic_ids_when_made_then_stable_and_apart(void **state)
{
	uint32_t id[BACKENDS], again[BACKENDS];
	struct route_backend first;
	struct world w;

	(void)state;
	world(&w);
	assert_int_equal(quic_ids(&w.view, id), 0);
	for (size_t i = 0; i < BACKENDS; i++)
		for (size_t k = 0; k < i; k++)
			assert_true(id[i] && id[i] != id[k]);
	/* They are configured in servers: a change of this number is a change for operators. */
	assert_int_equal(id[0], 0xab01cf6b);
	/* Neither the order of the view nor the others matter. */
	first = w.backend[0];
	w.backend[0] = w.backend[2];
	w.backend[2] = first;
	w.view.backend_count = 3;
	assert_int_equal(quic_ids(&w.view, again), 0);
	assert_true(again[0] == id[2] && again[2] == id[0] && again[1] == id[1]);
	w.view.backend_count = 0;
	assert_int_equal(quic_ids(&w.view, again), 0);
}

static void test_quic_ids_when_they_collide_then_one_each(void **state)
{
	uint32_t id[BACKENDS], again[BACKENDS];
	struct world w;

	(void)state;
	world(&w);
	assert_int_equal(quic_ids(&w.view, id), 0);
	/* Chosen: what the first one would have been given. It moves on. */
	w.backend[1].backend.quic_id = id[0];
	assert_int_equal(quic_ids(&w.view, again), 0);
	assert_int_equal(again[1], id[0]);
	assert_true(again[0] && again[0] != id[0]);
	assert_true(again[2] == id[2] && again[3] == id[3] && again[4] == id[4]);
	/* Chosen twice: of one family only the first by node has it; a server of both families has it once in each. */
	w.backend[0].backend.quic_id = w.backend[3].backend.quic_id = id[0];
	assert_int_equal(quic_ids(&w.view, again), 0);
	assert_int_equal(again[0], id[0]);
	assert_int_equal(again[1], 0);
	assert_int_equal(again[3], id[0]);
	/* Another service has ids of its own. */
	w.backend[4].backend.quic_id = id[0];
	assert_int_equal(quic_ids(&w.view, again), 0);
	assert_int_equal(again[4], id[0]);
}

static void test_quic_id_when_typed_then_eight_hex_digits(void **state)
{
	static const char *const bad[] = {"",	      "a1b2c3d",  "a1b2c3d45", "0xa1b2c3",
					  "A1B2C3D4", "a1b2c3dg", "00000000",  " 1b2c3d4"};
	char text[QUIC_ID_TEXT_MAX];
	uint32_t id = 7;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(quic_id_parse(bad[i], &id), -EINVAL);
	assert_int_equal(id, 7);
	assert_int_equal(quic_id_parse("00b2c3d4", &id), 0);
	assert_int_equal(id, 0xb2c3d4);
	assert_string_equal(quic_id_text(id, text), "00b2c3d4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_apply_when_changed_then_only_that_is_written),
		cmocka_unit_test(test_apply_when_too_many_then_nothing_is_touched),
		cmocka_unit_test(test_apply_when_room_then_new_before_old_goes),
		cmocka_unit_test(test_apply_when_a_write_fails_then_says_so),
		cmocka_unit_test(test_filter_when_all_of_ipv6_then_ipv4_is_apart),
		cmocka_unit_test(test_quic_ids_when_made_then_stable_and_apart),
		cmocka_unit_test(test_quic_ids_when_they_collide_then_one_each),
		cmocka_unit_test(test_quic_id_when_typed_then_eight_hex_digits),
	};

	return cmocka_run_group_tests_name("mapset", tests, NULL, NULL);
}
