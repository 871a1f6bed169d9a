/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How soon a record is everywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/sim_cluster.h"

#define NODES 100

static struct sim_samples samples, last;

struct watch {
	const char *key;
	uint64_t start_ms;
	size_t count;
};

static void watch_cb(struct sim *s, struct sim_node *n, const struct gossip_event *ev, void *arg)
{
	struct watch *w = arg;

	(void)n;
	if (ev->kind != GOSSIP_EV_RECORD || ev->record.key_len != strlen(w->key) ||
	    memcmp(ev->record.key, w->key, ev->record.key_len) != 0)
		return;
	w->count++;
	sim_sample(&samples, s->now_ms - w->start_ms);
}

static bool is_everywhere(struct sim *s, void *arg)
{
	struct watch *w = arg;

	return w->count == s->cfg.nodes;
}

static void spread(unsigned int loss_pct, bool is_urgent, uint8_t kind, uint64_t p99_max)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = NODES,
						     .seed = sim_seed(3 + loss_pct),
						     .loss_pct = loss_pct,
						     .dup_pct = 2});
	struct watch w = {0};

	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 5000);
	s->event_cb = watch_cb;
	s->arg = &w;
	samples.count = last.count = 0;
	for (uint64_t k = 0; k < 20; k++) {
		char key[16];
		int64_t ms;

		snprintf(key, sizeof(key), "spread-%llu", (unsigned long long)k);
		w = (struct watch){.key = key, .start_ms = s->now_ms};
		assert_int_equal(sim_put(s, k * 5, kind, key, k, is_urgent), 0);
		ms = sim_run_until(s, is_everywhere, &w, 15000);
		assert_true(ms >= 0);
		sim_sample(&last, (uint64_t)ms);
		sim_run(s, 200);
	}
	printf("# %d nodes, %u %% loss, %s: each node p50 %llu p99 %llu ms, last node p50 %llu max "
	       "%llu "
	       "ms\n",
	       NODES, loss_pct, is_urgent ? "urgent" : "not urgent",
	       (unsigned long long)sim_percentile(&samples, 50),
	       (unsigned long long)sim_percentile(&samples, 99),
	       (unsigned long long)sim_percentile(&last, 50),
	       (unsigned long long)sim_percentile(&last, 100));
	assert_in_range(sim_percentile(&samples, 99), 0, p99_max);
	sim_free(s);
}

static void test_put_when_urgent_then_everywhere_at_once(void **state)
{
	(void)state;
	spread(0, true, SIM_KIND, 20);
}

static void test_put_when_urgent_and_20_pct_are_lost_then_everywhere_soon(void **state)
{
	(void)state;
	spread(20, true, SIM_KIND, 600);
}

static void test_put_when_not_urgent_then_it_rides_on_probes(void **state)
{
	(void)state;
	spread(20, false, SIM_KIND, 4000);
}

static void test_put_when_shared_then_everywhere(void **state)
{
	(void)state;
	spread(20, true, SIM_KIND_SHARED, 600);
}

static void test_put_when_volatile_then_everywhere_and_in_no_digest(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = 20, .seed = sim_seed(9)});
	uint8_t before[16], after[16];
	size_t have = 0;

	(void)state;
	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 3000);
	gossip_core_digest(s->node[3].core, before);
	assert_int_equal(sim_put(s, 3, 130, "load", 7, false), 0);
	sim_run(s, 3000);
	gossip_core_digest(s->node[3].core, after);
	assert_memory_equal(before, after, 16);
	for (size_t i = 0; i < 20; i++)
		have += sim_get(s, i, 3, 130, "load") == 7;
	assert_int_equal(have, 20);
	sim_free(s);
}

/* 100 changes a second of one record: news, not messages. */
static void test_put_when_100_a_second_then_nobody_waits_behind_old_news(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = 50, .seed = sim_seed(10)});

	(void)state;
	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	for (uint64_t k = 1; k <= 500; k++) {
		assert_int_equal(sim_put(s, 5, SIM_KIND, "hot", k, true), 0);
		sim_run(s, 10);
	}
	sim_run(s, 20);
	for (size_t i = 0; i < 50; i++)
		assert_int_equal(sim_get(s, i, 5, SIM_KIND, "hot"), 500);
	assert_true(sim_run_until(s, sim_is_equal, NULL, 5000) >= 0);
	sim_free(s);
}

/* Over 250 it can't go to everyone at once: a sample hears, and passes it on. */
static void test_put_when_400_nodes_then_a_sample_hears_and_passes_it_on(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){
		.nodes = 400, .seed = sim_seed(11), .has_no_disk = true, .check_every = 1000003});
	struct watch w = {0};

	(void)state;
	sim_start_all(s, 2000);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 60000) >= 0);
	sim_run(s, 10000);
	s->event_cb = watch_cb;
	s->arg = &w;
	samples.count = last.count = 0;
	for (uint64_t k = 0; k < 10; k++) {
		char key[16];
		int64_t ms;

		snprintf(key, sizeof(key), "wide-%llu", (unsigned long long)k);
		w = (struct watch){.key = key, .start_ms = s->now_ms};
		assert_int_equal(sim_put(s, k * 37, SIM_KIND, key, k, true), 0);
		ms = sim_run_until(s, is_everywhere, &w, 15000);
		assert_true(ms >= 0);
		sim_sample(&last, (uint64_t)ms);
	}
	printf("# 400 nodes: each node p50 %llu p99 %llu ms, last node p50 %llu max %llu ms\n",
	       (unsigned long long)sim_percentile(&samples, 50),
	       (unsigned long long)sim_percentile(&samples, 99),
	       (unsigned long long)sim_percentile(&last, 50),
	       (unsigned long long)sim_percentile(&last, 100));
	assert_in_range(sim_percentile(&samples, 99), 0, 200);
	assert_in_range(sim_percentile(&last, 100), 0, 1000);
	sim_free(s);
}

static int put_big(struct gossip_core *c, uint64_t now_ms, const char *key, uint64_t v)
{
	uint8_t value[520] = {0x82, 0xa1, 'v', 0xcf};
	uint8_t *p = value + 4;

	for (int k = 0; k < 8; k++)
		*p++ = (uint8_t)(v >> (8 * (7 - k)));
	memcpy(p, "\xa1p\xc5\x01\xf4", 5); /* "p": bin of 500 */
	return gossip_core_put(c, now_ms, SIM_KIND, key, value, 12 + 5 + 500, true);
}

static void test_put_when_urgent_then_one_packet_for_all_and_one_seal(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = 50, .seed = sim_seed(12)});
	struct gossip_packet p;

	(void)state;
	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 3000);
	assert_int_equal(put_big(s->node[7].core, sim_clock(s, &s->node[7]), "one", 1), 0);
	assert_true(gossip_core_next_packet(s->node[7].core, &p));
	assert_int_equal(p.via, GOSSIP_DGRAM);
	assert_int_equal(p.to_count, 49);
	assert_false(gossip_core_next_packet(s->node[7].core, &p));
	sim_free(s);
}

/* One node gone mad writes 100 large records a millisecond: what it sends stays within its bytes, and the newest of each
 * arrives. */
static void test_put_when_without_end_then_bytes_are_bounded_and_the_newest_arrive(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = 50, .seed = sim_seed(13)});
	struct gossip_counters before, after;
	uint64_t v = 0;

	(void)state;
	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 10000);
	gossip_core_counters(s->node[7].core, &before);
	for (int ms = 0; ms < 1000; ms++) {
		for (int k = 0; k < 100; k++) {
			char key[16];

			snprintf(key, sizeof(key), "mad-%d", k % 20);
			assert_int_equal(
				put_big(s->node[7].core, sim_clock(s, &s->node[7]), key, ++v), 0);
		}
		sim_pump(s, 7);
		sim_run(s, 1);
	}
	gossip_core_counters(s->node[7].core, &after);
	printf("# 100,000 changes in a second: %llu bytes sent to 49\n",
	       (unsigned long long)(after.bytes_out - before.bytes_out));
	assert_in_range(after.bytes_out - before.bytes_out, CORE_URGENT_BYTES_S / 2,
			CORE_URGENT_BYTES_S + CORE_URGENT_BURST_BYTES + 300000);
	sim_run(s, 300);
	for (size_t i = 0; i < 50; i++)
		for (int k = 0; k < 20; k++) {
			char key[16];
			struct record r;

			snprintf(key, sizeof(key), "mad-%d", k);
			assert_true(gossip_core_get_record(s->node[i].core, &s->node[7].id,
							   SIM_KIND, key, &r));
			/* the last twenty, one of each */
			assert_in_range((uint64_t)r.value[9] << 16 | (uint64_t)r.value[10] << 8 |
						r.value[11],
					v - 19, v);
		}
	sim_free(s);
}

/* Packets are full of records everywhere; a death finds room all the same. */
static void test_death_when_all_packets_are_full_then_it_finds_room(void **state)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = 40, .seed = sim_seed(14)});
	uint64_t start_ms, v = 0;
	size_t know = 0;

	(void)state;
	sim_start_all(s, 200);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_off(s, 9);
	start_ms = s->now_ms;
	while (know < 39 && s->now_ms < start_ms + 10000) {
		for (size_t i = 0; i < 40; i++) {
			char key[16];

			snprintf(key, sizeof(key), "full-%llu", (unsigned long long)(v % 7));
			if (i != 9)
				assert_int_equal(put_big(s->node[i].core, sim_clock(s, &s->node[i]),
							 key, ++v),
						 0);
			if (i != 9)
				sim_pump(s, i);
		}
		sim_run(s, 50);
		know = 0;
		for (size_t i = 0; i < 40; i++)
			know += i != 9 && sim_state_of(s, i, 9) == GOSSIP_DEAD;
	}
	printf("# all packets full: dead to all after %llu ms\n",
	       (unsigned long long)(s->now_ms - start_ms));
	assert_in_range(s->now_ms - start_ms, 0, 3500);
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_when_urgent_then_everywhere_at_once),
		cmocka_unit_test(test_put_when_urgent_and_20_pct_are_lost_then_everywhere_soon),
		cmocka_unit_test(test_put_when_not_urgent_then_it_rides_on_probes),
		cmocka_unit_test(test_put_when_shared_then_everywhere),
		cmocka_unit_test(test_put_when_volatile_then_everywhere_and_in_no_digest),
		cmocka_unit_test(test_put_when_100_a_second_then_nobody_waits_behind_old_news),
		cmocka_unit_test(test_put_when_400_nodes_then_a_sample_hears_and_passes_it_on),
		cmocka_unit_test(test_put_when_urgent_then_one_packet_for_all_and_one_seal),
		cmocka_unit_test(
			test_put_when_without_end_then_bytes_are_bounded_and_the_newest_arrive),
		cmocka_unit_test(test_death_when_all_packets_are_full_then_it_finds_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
