/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A region's summary: the same bytes from the same records, which ways are chosen, what is left out, what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "edge/summary.h"

#define NODES_MAX 600
#define BACKENDS_MAX 4000

struct region {
	struct model_node node[NODES_MAX];
	struct model_backend backend[BACKENDS_MAX];
	struct summary_from_node from_node[NODES_MAX];
	struct summary_from_backend from_backend[BACKENDS_MAX];
	struct summary_from from;
};

static struct region *region_new(void)
{
	struct region *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->from.node = r->from_node;
	r->from.backend = r->from_backend;
	return r;
}

static struct node_id id_of(size_t i)
{
	/* Neither in order of i nor of names. */
	return (struct node_id){{(uint8_t)(i * 37 + 11), (uint8_t)(i >> 3), (uint8_t)i, 9}};
}

static struct ip_addr addr_of(uint8_t net, size_t i)
{
	return (struct ip_addr){{[10] = 0xff,
				 [11] = 0xff,
				 [12] = 10,
				 [13] = net,
				 [14] = (uint8_t)(i >> 8),
				 [15] = (uint8_t)(i % 255)}};
}

static void add_node(struct region *r, bool is_edge)
{
	size_t i = r->from.node_count++;
	struct model_node *n = &r->node[i];

	snprintf(n->name, sizeof(n->name), "node-%zu", i);
	snprintf(n->region, sizeof(n->region), "fra");
	n->mesh_addr = addr_of(77, i + 1);
	n->is_edge = is_edge;
	n->is_worker = n->has_forwarder = true;
	memset(n->wg_pub, (int)(i % 250) + 1, sizeof(n->wg_pub));
	n->wg_addr = addr_of(1, i + 1);
	n->wg_port = 51820;
	r->from_node[i] = (struct summary_from_node){id_of(i), n};
}

static struct summary_from_backend *add_backend(struct region *r, size_t node, const char *service,
						enum model_health_state health)
{
	size_t i = r->from.backend_count++;
	struct model_backend *b = &r->backend[i];

	snprintf(b->service, sizeof(b->service), "%s", service);
	b->addr = addr_of(2, i + 1);
	b->port = 53;
	b->weight = 100;
	b->token = (uint32_t)i + 1;
	model_check_default(MODEL_CHECK_TCP, &b->check);
	r->from_backend[i] =
		(struct summary_from_backend){.id = id_of(node), .backend = b, .health = health};
	return &r->from_backend[i];
}

static struct summary *summary_of(struct region *r, size_t cap, size_t *ret_len)
{
	struct summary *s;
	uint8_t *value;
	size_t len;

	assert_int_equal(summary_encode(&r->from, cap, &value, &len), 0);
	assert_true(len <= cap);
	assert_int_equal(summary_decode(value, len, &s), 0);
	free(value);
	if (ret_len)
		*ret_len = len;
	return s;
}

static void test_encode_when_everything_is_in_another_order_then_the_same_bytes(void **state)
{
	struct region *r = region_new();
	uint8_t *a, *b;
	size_t a_len, b_len;

	(void)state;
	for (size_t i = 0; i < 20; i++)
		add_node(r, i % 3 == 0);
	for (size_t i = 0; i < 100; i++)
		add_backend(r, i % 20, i % 2 ? "dns" : "web",
			    i % 5 ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING);
	assert_int_equal(summary_encode(&r->from, SUMMARY_VALUE_MAX, &a, &a_len), 0);
	for (size_t i = 0; i < 50; i++) {
		struct summary_from_backend x = r->from_backend[i];

		r->from_backend[i] = r->from_backend[99 - i];
		r->from_backend[99 - i] = x;
	}
	for (size_t i = 0; i < 10; i++) {
		struct summary_from_node x = r->from_node[i];

		r->from_node[i] = r->from_node[19 - i];
		r->from_node[19 - i] = x;
	}
	assert_int_equal(summary_encode(&r->from, SUMMARY_VALUE_MAX, &b, &b_len), 0);
	assert_int_equal(a_len, b_len);
	assert_memory_equal(a, b, a_len);
	free(a);
	free(b);
	free(r);
}

static void test_decode_when_it_was_encoded_then_all_facts_are_there(void **state)
{
	struct region *r = region_new();
	struct summary_from_backend *f;
	struct model_backend *want, got;
	struct summary *s;

	(void)state;
	add_node(r, false);
	add_node(r, true); /* no backend: an edge is named all the same */
	f = add_backend(r, 0, "dns", MODEL_HEALTH_PASSING);
	want = &r->backend[0];
	want->ports = (struct ip_port_range){1000, 2000};
	want->quic_id = 77;
	want->weight = 333;
	add_backend(r, 0, "web", MODEL_HEALTH_UNKNOWN);
	r->backend[1].check.kind = MODEL_CHECK_NONE;
	r->from.keys = (struct summary_keys){
		.hold = {{1}, {2, 5}}, .count = 2, .seals = {1}, .is_one = true};
	s = summary_of(r, SUMMARY_VALUE_MAX, NULL);
	assert_memory_equal(&s->keys, &r->from.keys, sizeof(s->keys));
	assert_int_equal(s->node_count, 2);
	for (size_t i = 0; i < 2; i++) {
		size_t k = node_id_cmp(&s->node[i].id, &f->id) ? 1 : 0;
		struct model_node n = r->node[k];

		memset(n.region, 0, sizeof(n.region));
		assert_memory_equal(&s->node[i].node, &n, sizeof(n));
	}
	assert_int_equal(s->service_count, 2);
	assert_string_equal(s->service[0].name, "dns");
	assert_int_equal(s->service[0].usable, 333);
	assert_int_equal(s->service[0].backends, 1);
	assert_int_equal(node_id_cmp(&s->node[s->way[0].node].id, &f->id), 0);
	summary_backend(s, &s->service[0], &s->way[0], &got);
	want->check = got.check; /* of which only that there is one is told */
	assert_memory_equal(&got, want, sizeof(got));
	assert_int_equal(s->way[0].health, MODEL_HEALTH_PASSING);
	assert_true(s->way[0].is_checked);
	assert_false(s->way[1].is_checked);
	assert_int_equal(s->service[1].usable, 100);
	summary_free(s);
	free(r);
}

static void
test_encode_when_a_node_is_neither_way_nor_edge_then_named_if_its_id_is_low(void **state)
{
	struct region *r = region_new();
	struct summary *s;

	(void)state;
	for (size_t i = 0; i < 50; i++)
		add_node(r, i < 5);
	s = summary_of(r, SUMMARY_VALUE_MAX, NULL);
	assert_true(s->node_count >= SUMMARY_LOWEST && s->node_count <= SUMMARY_LOWEST + 5);
	for (size_t i = 0; i < 5; i++) {
		struct node_id edge = id_of(i);
		bool is_there = false;

		for (size_t k = 0; k < s->node_count; k++)
			is_there |= !node_id_cmp(&s->node[k].id, &edge);
		assert_true(is_there);
	}
	summary_free(s);
	free(r);
}

static size_t common(const struct summary *a, const struct summary *b)
{
	size_t n = 0;

	for (size_t i = 0; i < a->way_count; i++)
		for (size_t k = 0; k < b->way_count; k++)
			n += a->way[i].token == b->way[k].token;
	return n;
}

static void test_encode_when_one_of_many_fails_then_one_way_is_exchanged(void **state)
{
	struct region *r = region_new();
	struct summary *before, *after;
	size_t fails;

	(void)state;
	for (size_t i = 0; i < 50; i++)
		add_node(r, false);
	for (size_t i = 0; i < 200; i++)
		add_backend(r, i % 50, "dns", MODEL_HEALTH_PASSING);
	before = summary_of(r, SUMMARY_VALUE_MAX, NULL);
	assert_int_equal(before->way_count, SUMMARY_WAYS_MAX);
	assert_int_equal(before->service[0].usable, 200 * 100);
	fails = before->way[7].token - 1;
	r->from_backend[fails].health = MODEL_HEALTH_FAILING;
	after = summary_of(r, SUMMARY_VALUE_MAX, NULL);
	assert_int_equal(after->way_count, SUMMARY_WAYS_MAX);
	assert_int_equal(common(before, after), SUMMARY_WAYS_MAX - 1);
	assert_int_equal(after->service[0].usable, 199 * 100);
	assert_int_equal(after->service[0].known, 200 * 100);
	assert_int_equal(after->service[0].backends, 200);
	summary_free(before);
	summary_free(after);
	free(r);
}

static void test_encode_when_few_are_usable_then_the_others_are_told_behind_them(void **state)
{
	struct region *r = region_new();
	struct summary *s;
	size_t passing = 0, failing = 0;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		add_node(r, false);
	for (size_t i = 0; i < 60; i++)
		add_backend(r, i % 4, "dns", i < 10 ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING);
	r->from_backend[0].is_drained = true;
	r->from_backend[1].id = (struct node_id){{1, 2, 3}}; /* of a node nobody knows */
	s = summary_of(r, SUMMARY_VALUE_MAX, NULL);
	assert_int_equal(s->way_count, SUMMARY_WAYS_MAX);
	for (size_t i = 0; i < s->way_count; i++) {
		passing += s->way[i].health == MODEL_HEALTH_PASSING;
		failing += s->way[i].health == MODEL_HEALTH_FAILING;
		assert_int_not_equal(s->way[i].token, 2);
	}
	assert_int_equal(passing, 9);
	assert_int_equal(failing, SUMMARY_WAYS_MAX - 9);
	assert_int_equal(s->service[0].usable, 8 * 100); /* not the drained one */
	summary_free(s);
	free(r);
}

static void test_encode_when_it_is_too_long_then_edges_stay_and_ways_go(void **state)
{
	static const size_t cap[] = {SUMMARY_VALUE_MAX, 80000, 40000, 25000, 15500, 10};
	struct region *r = region_new();
	uint8_t *value;
	size_t last = SIZE_MAX, len;
	char name[MODEL_NAME_MAX];

	(void)state;
	for (size_t i = 0; i < 100; i++)
		add_node(r, true);
	for (size_t i = 0; i < BACKENDS_MAX; i++) {
		snprintf(name, sizeof(name), "s%03zu", i % 100);
		add_backend(r, i % 100, name,
			    i < 2000 ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING);
	}
	for (size_t i = 0; i < 5; i++) {
		struct summary *s = summary_of(r, cap[i], &len);
		size_t failing = 0;

		for (size_t k = 0; k < s->way_count; k++)
			failing += s->way[k].health == MODEL_HEALTH_FAILING;
		assert_true(s->way_count < last);
		assert_int_equal(failing != 0, i == 0);
		assert_true(i != 1 || s->way_count == 2000); /* all that are usable */
		assert_int_equal(s->service_count, 100);
		assert_int_equal(s->node_count, 100);
		/* While there is room for one each, every service has as many. */
		assert_true(i > 3 || s->service[99].count == s->service[0].count);
		last = s->way_count;
		summary_free(s);
	}
	assert_int_equal(summary_encode(&r->from, cap[5], &value, &len), -EMSGSIZE);
	free(r);
}

static void test_decode_when_cut_or_altered_then_refused_or_sound(void **state)
{
	struct region *r = region_new();
	struct summary *s;
	uint8_t *value, *cut;
	size_t len;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		add_node(r, i == 0);
	for (size_t i = 0; i < 6; i++)
		add_backend(r, i % 3, i % 2 ? "dns" : "web", MODEL_HEALTH_PASSING);
	assert_int_equal(summary_encode(&r->from, SUMMARY_VALUE_MAX, &value, &len), 0);
	for (size_t i = 0; i < len; i++) {
		cut = malloc(i + 1);
		assert_non_null(cut);
		memcpy(cut, value, i);
		assert_int_equal(summary_decode(cut, i, &s), -EBADMSG);
		free(cut);
	}
	for (size_t i = 0; i < len; i++) {
		for (unsigned int bit = 0; bit < 8; bit++) {
			value[i] ^= (uint8_t)(1u << bit);
			if (!summary_decode(value, len, &s)) {
				for (size_t k = 0; k < s->way_count; k++)
					assert_true(s->way[k].node < s->node_count);
				summary_free(s);
			}
			value[i] ^= (uint8_t)(1u << bit);
		}
	}
	free(value);
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_encode_when_everything_is_in_another_order_then_the_same_bytes),
		cmocka_unit_test(test_decode_when_it_was_encoded_then_all_facts_are_there),
		cmocka_unit_test(
			test_encode_when_a_node_is_neither_way_nor_edge_then_named_if_its_id_is_low),
		cmocka_unit_test(test_encode_when_one_of_many_fails_then_one_way_is_exchanged),
		cmocka_unit_test(
			test_encode_when_few_are_usable_then_the_others_are_told_behind_them),
		cmocka_unit_test(test_encode_when_it_is_too_long_then_edges_stay_and_ways_go),
		cmocka_unit_test(test_decode_when_cut_or_altered_then_refused_or_sound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
