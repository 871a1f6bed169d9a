/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A member with the cluster's key gone mad: forged cards and records of others, votes about everybody, heads and
 * watermarks that lie, huge numbers, junk. It can claim nothing that belongs to others, and nothing grows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/sim_cluster.h"

#define NODES 8
#define MAD (NODES - 1)
#define RECORDS_MAX 2000
#define ROUNDS 2000 /* of one message to each, 5 ms apart */

static uint64_t state_;

static uint64_t rnd(uint64_t below)
{
	state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
	return (state_ >> 33) % below;
}

static uint64_t number(void)
{
	static const uint64_t big[] = {
		0, 1, 2, 1000, 1ull << 32, RECORD_SEQ_MAX - 1, RECORD_SEQ_MAX};

	return rnd(2) ? big[rnd(sizeof(big) / sizeof(big[0]))] : rnd(1ull << 20);
}

static void fill(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)rnd(256);
}

static void add_record(struct sim *s, struct wire_out *o)
{
	static const uint8_t kinds[] = {1, 2, 5, 17, 63, 63, 65, 66, 69, 100, 128, 131, 200};
	static const uint8_t value[] = {0x81, 0xa1, 'v', 9};
	char key[24];
	struct record r = {.kind = kinds[rnd(sizeof(kinds))],
			   .is_tombstone = rnd(4) == 0,
			   .is_urgent = rnd(2),
			   .generation = number(),
			   .seq = number(),
			   .key = (const uint8_t *)key,
			   .value = value,
			   .value_len = sizeof(value)};

	snprintf(key, sizeof(key),
		 rnd(2)	  ? "key"
		 : rnd(2) ? "head"
			  : "k%llu",
		 (unsigned long long)rnd(100000));
	r.key_len = strlen(key);
	if (record_scope_of(r.kind) == RECORD_SHARED)
		r.generation = 0;
	if (r.is_tombstone)
		r.value_len = 0;
	/* Of another: its key can't sign. */
	memcpy(r.pub, s->node[rnd(MAD)].pub, sizeof(r.pub));
	fill(r.sig, sizeof(r.sig));
	(void)wire_add_record(o, &r);
}

static void add_card(struct sim *s, struct wire_out *o)
{
	struct wire_card c = {.addr = s->node[rnd(NODES)].addr,
			      .generation = number(),
			      .boot_nonce = number(),
			      .incarnation = (uint32_t)rnd(WIRE_INCARNATION_MAX),
			      .is_left = rnd(2)};

	snprintf(c.name, sizeof(c.name), "n%llu", (unsigned long long)rnd(NODES));
	snprintf(c.region, sizeof(c.region), "r");
	memcpy(c.pub, s->node[rnd(MAD)].pub, sizeof(c.pub));
	if (rnd(2))
		fill(c.pub, sizeof(c.pub)); /* somebody new */
	fill(c.sig, sizeof(c.sig));
	(void)wire_add_card(o, &c);
}

static void add_delta(struct sim *s, struct wire_out *o)
{
	if (!wire_delta_begin(o, &s->node[rnd(NODES)].id, number(), number(), number()))
		return;
	for (uint64_t n = rnd(4); n > 0; n--)
		add_record(s, o);
	wire_delta_end(o, number(), (unsigned int)rnd(4));
}

static void add_lies(struct sim *s, struct wire_out *o)
{
	wire_list_begin(o, WIRE_K_VOTES);
	for (uint64_t n = rnd(8); n > 0; n--) {
		struct sim_node *who = &s->node[rnd(MAD)];
		struct wire_vote v = {.id = who->id,
				      .generation = rnd(2) ? who->generation : number(),
				      .incarnation = (uint32_t)rnd(4),
				      .state = GOSSIP_HEADLESS + (unsigned int)rnd(3)};

		(void)wire_add_vote(o, &v);
	}
	wire_list_end(o);
	wire_list_begin(o, WIRE_K_CARDS);
	for (uint64_t n = rnd(3); n > 0; n--)
		add_card(s, o);
	wire_list_end(o);
	wire_list_begin(o, WIRE_K_RECORDS);
	for (uint64_t n = rnd(4); n > 0; n--)
		add_record(s, o);
	wire_list_end(o);
}

static size_t make(struct sim *s, uint8_t *buf, size_t cap, enum gossip_via *ret_via)
{
	enum wire_type type = (enum wire_type)(WIRE_PROBE + rnd(7));
	uint8_t root[16], table[WIRE_BUCKETS * WIRE_BUCKET_BYTES];
	struct wire_out o;
	size_t len;

	*ret_via = type >= WIRE_SYNC ? GOSSIP_STREAM : GOSSIP_DGRAM;
	if (*ret_via == GOSSIP_DGRAM)
		cap = GOSSIP_DGRAM_MAX;
	wire_begin(&o, buf, cap, type);
	wire_put_cookie(&o, rnd(1ull << 40));
	wire_put_target(&o, &s->node[rnd(NODES)].id);
	fill(root, sizeof(root));
	wire_put_digest(&o, root, rnd(1000), number(), NULL);
	wire_put_flags(&o, (unsigned int)rnd(64));
	if (*ret_via == GOSSIP_DGRAM) {
		add_lies(s, &o);
	} else {
		fill(table, sizeof(table));
		if (rnd(2))
			wire_put_buckets(&o, table);
		if (rnd(2))
			wire_put_sums(&o, table);
		wire_list_begin(&o, WIRE_K_ORIGINS);
		for (uint64_t n = rnd(8); n > 0; n--) {
			struct wire_origin x = {.id = s->node[rnd(NODES)].id,
						.generation = number(),
						.watermark = number(),
						.top = number(),
						.gc = number()};

			(void)wire_add_origin(&o, &x);
		}
		wire_list_end(&o);
		wire_list_begin(&o, WIRE_K_DELTAS);
		for (uint64_t n = rnd(4); n > 0; n--)
			add_delta(s, &o);
		wire_list_end(&o);
	}
	len = wire_end(&o);
	for (uint64_t n = rnd(4) ? 0 : 1 + rnd(6); len > 0 && n > 0; n--)
		buf[rnd(len)] ^= (uint8_t)(1u << rnd(8));
	return len;
}

static void attack(struct sim *s, const struct gossip_sender *mad)
{
	static uint8_t buf[GOSSIP_STREAM_MAX];

	for (size_t i = 0; i < MAD; i++) {
		enum gossip_via via;
		size_t len = make(s, buf, sizeof(buf), &via);

		(void)gossip_core_recv(s->node[i].core, sim_clock(s, &s->node[i]), via, mad,
				       &s->node[MAD].addr, buf, len);
		sim_pump(s, i);
	}
}

static void run(uint64_t seed)
{
	struct sim *s = sim_new(
		&(struct sim_config){.nodes = NODES, .seed = seed, .records_max = RECORDS_MAX});
	struct gossip_sender mad;
	struct gossip_counters n;
	struct gossip_member m;
	size_t wrong = 0;

	state_ = seed * 77 + 1;
	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 20000) >= 0);
	for (size_t i = 0; i < MAD; i++)
		assert_int_equal(sim_put(s, i, SIM_KIND, "key", 100 + i, true), 0);
	assert_int_equal(sim_put(s, 0, SIM_KIND_SHARED, "key", 7, true), 0);
	assert_true(sim_run_until(s, sim_is_equal, NULL, 20000) >= 0);
	assert_true(gossip_core_member_get(s->node[0].core, &s->node[MAD].id, &m));
	mad = (struct gossip_sender){.id = m.id, .boot_nonce = m.boot_nonce};
	for (unsigned int round = 0; round < ROUNDS; round++) {
		attack(s, &mad);
		sim_run(s, 5);
		if (round % 100)
			continue;
		for (size_t i = 0; i < MAD; i++)
			gossip_core_check(s->node[i].core);
	}
	gossip_core_counters(s->node[0].core, &n);
	assert_true(n.bad_signatures > ROUNDS / 4); /* it was listened to */
	assert_true(n.dgrams_in + n.streams_in > ROUNDS / 2);
	sim_off(s, MAD);
	sim_run(s, 20000);
	for (size_t i = 0; i < MAD; i++) {
		assert_true(gossip_core_member_count(s->node[i].core) <= NODES);
		assert_true(s->node[i].core->rec_count <= 64);
		for (size_t k = 0; k < MAD; k++) {
			wrong += sim_get(s, i, k, SIM_KIND, "key") != (int64_t)(100 + k);
			wrong += sim_state_of(s, i, k) != GOSSIP_ALIVE;
		}
		wrong += sim_get(s, i, 0, SIM_KIND_SHARED, "key") != 7;
	}
	assert_int_equal(wrong, 0);
	assert_true(sim_run_until(s, sim_is_equal, NULL, 20000) >= 0);
	sim_free(s);
}

static void test_member_when_mad_then_others_keep_what_is_theirs(void **state)
{
	(void)state;
	sim_seeds(5, run);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_member_when_mad_then_others_keep_what_is_theirs),
	};

	cmocka_set_test_filter(getenv("T"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
