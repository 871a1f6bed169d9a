/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Everything goes wrong at once, for some virtual minutes, by seed; then all is well again and must become one.
 *
 * SEEDS= and FIRST= say which seeds, SEED= runs one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "tests/sim/sim_cluster.h"
#include "tests/sim/sim_watch.h"

#define SEEDS_IN_TEST 24
#define KEYS 8
#define GC_KEYS (CORE_TOMBSTONES_MAX + 20)
#define AGREE_MS 60000 /* from the heal to one view */
#define DAY_S 86400

static uint64_t below(struct sim *s, uint64_t n)
{
	return sim_below(&s->rng, n);
}

static size_t any(struct sim *s)
{
	return below(s, s->cfg.nodes);
}

static size_t count_up(const struct sim *s)
{
	size_t up = 0;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		up += s->node[i].life == SIM_UP;
	return up;
}

/* ---- what nodes write */

static void write_some(struct sim *s)
{
	char key[16];

	for (uint64_t k = below(s, 6); k > 0; k--) {
		size_t i = any(s);
		uint64_t what = below(s, 10);
		uint8_t kind = what < 3 ? SIM_KIND_SHARED : SIM_KIND;

		if (!sim_is_running(s, i))
			continue;
		snprintf(key, sizeof(key), "k%u", (unsigned int)below(s, KEYS));
		if (what % 3 == 2)
			(void)sim_del(s, i, kind, key, what > 5);
		else
			(void)sim_put(s, i, kind, key, sim_random(&s->rng), what > 5);
	}
}

/* So many deletions that the owner collects. */
static void delete_many(struct sim *s)
{
	size_t i = any(s);
	uint8_t kind = below(s, 2) ? SIM_KIND : SIM_KIND_SHARED;
	char key[16];

	if (!sim_is_running(s, i))
		return;
	sim_watch_note(s, i, "-- writes and deletes %d of kind %u", GC_KEYS, kind);
	for (int k = 0; k < GC_KEYS; k++) {
		snprintf(key, sizeof(key), "gc%d", k);
		(void)sim_put(s, i, kind, key, 1, false);
	}
	sim_run(s, below(s, 2000));
	for (int k = 0; k < GC_KEYS && sim_is_running(s, i); k++) {
		snprintf(key, sizeof(key), "gc%d", k);
		(void)sim_del(s, i, kind, key, false);
	}
}

/* ---- what is done to nodes */

static void go_down(struct sim *s, size_t i, uint64_t how)
{
	static const char *const name[] = {"process dies", "machine dies", "leaves"};

	if (s->node[i].life != SIM_UP || count_up(s) <= 3)
		return;
	sim_watch_note(s, i, "-- %s", name[how]);
	if (how == 0)
		sim_crash(s, i);
	else if (how == 1 || !sim_is_running(s, i))
		sim_off(s, i);
	else
		sim_leave(s, i);
}

static void come_up(struct sim *s, size_t i)
{
	if (s->node[i].life == SIM_UP)
		return;
	if (below(s, 4) == 0) {
		sim_watch_note(s, i, "-- disk wiped");
		sim_wipe(s, i);
	}
	if (below(s, 4) == 0) {
		s->node[i].clock_skew_s = (int64_t)below(s, 2 * DAY_S) - DAY_S;
		sim_watch_note(s, i, "-- clock off by %lld s", (long long)s->node[i].clock_skew_s);
	}
	if (below(s, 8) == 0) {
		sim_watch_note(s, i, "-- another address");
		sim_move(s, i);
	}
	sim_watch_note(s, i, "-- starts");
	sim_start(s, i);
}

/* Half of all at once. */
static void join_storm(struct sim *s)
{
	sim_watch_note(s, SIZE_MAX, "half of all go down, and come back at once");
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (below(s, 2))
			go_down(s, i, below(s, 2));
	sim_run(s, below(s, 8000));
	for (size_t i = 0; i < s->cfg.nodes; i++)
		come_up(s, i);
}

static void hamper(struct sim *s, size_t i)
{
	static const uint64_t freeze_ms[] = {80, 300, 1500, 4000, 20000};

	if (s->node[i].life != SIM_UP)
		return;
	if (below(s, 3) > 0) {
		uint64_t ms = freeze_ms[below(s, 5)];

		sim_watch_note(s, i, "-- frozen for %llu ms", (unsigned long long)ms);
		sim_freeze(s, i, ms);
	} else {
		s->node[i].slow_ms = below(s, 2) ? 0 : 20 + below(s, 500);
		sim_watch_note(s, i, "-- slow by %llu ms", (unsigned long long)s->node[i].slow_ms);
	}
}

/* ---- what is done to the network */

static void split(struct sim *s)
{
	uint64_t groups = 2 + below(s, 2);

	sim_watch_note(s, SIZE_MAX, "split into %llu", (unsigned long long)groups);
	for (size_t i = 0; i < s->cfg.nodes; i++)
		sim_partition(s, i, (int)below(s, groups));
}

static void cut_some(struct sim *s)
{
	bool is_both = below(s, 2);
	size_t one = any(s);

	if (below(s, 3) == 0) {
		sim_watch_note(s, one, "-- %s",
			       is_both ? "hears nobody, half hear it" : "hears nobody");
		for (size_t k = 0; k < s->cfg.nodes; k++) {
			sim_cut(s, k, one, true);
			if (is_both && k % 2)
				sim_cut(s, one, k, true);
		}
		return;
	}
	sim_watch_note(s, SIZE_MAX, "a quarter of the pairs cut, %s",
		       is_both ? "both ways" : "one way");
	for (size_t k = 0; k < s->cfg.nodes * s->cfg.nodes / 4; k++) {
		size_t a = any(s), b = any(s);

		sim_cut(s, a, b, true);
		if (is_both)
			sim_cut(s, b, a, true);
	}
}

static void weather(struct sim *s)
{
	struct sim_config *cfg = &s->cfg;

	cfg->loss_pct = below(s, 2) ? (unsigned int)below(s, 5) : (unsigned int)below(s, 40);
	cfg->dup_pct = (unsigned int)below(s, 15);
	cfg->jitter_pct = (unsigned int)below(s, 100);
	cfg->reorder_pct = (unsigned int)below(s, 20);
	cfg->damage_wire_pm = (unsigned int)below(s, 30);
	cfg->cold_after_ms = below(s, 3) ? 180000 : 10000;
	sim_watch_note(s, SIZE_MAX, "%u %% lost, %u %% twice, %u %% late, tunnels cold after %llu",
		       cfg->loss_pct, cfg->dup_pct, cfg->reorder_pct,
		       (unsigned long long)cfg->cold_after_ms);
}

static void nemesis(struct sim *s)
{
	uint64_t what = below(s, 100);

	if (what < 14) {
		go_down(s, any(s), below(s, 10) ? below(s, 2) : 2);
	} else if (what < 40) {
		come_up(s, any(s));
	} else if (what < 58) {
		hamper(s, any(s));
	} else if (what < 64) {
		split(s);
	} else if (what < 70) {
		cut_some(s);
	} else if (what < 82) {
		sim_watch_note(s, SIZE_MAX, "the network is whole");
		sim_heal(s);
	} else if (what < 92) {
		weather(s);
	} else if (what < 95) {
		delete_many(s);
	} else if (what < 96) {
		join_storm(s);
	} else {
		sim_run(s, below(s, 6000));
	}
}

/* ---- the end */

/* The first pair of which one does not see the other as it is; false if there is none. */
static bool find_discord(struct sim *s, size_t *ret_a, size_t *ret_b, const char **ret_what)
{
	for (size_t i = 0; i < s->cfg.nodes; i++)
		for (size_t k = 0; k < s->cfg.nodes; k++) {
			struct origin *o = table_origin(s->node[i].core, &s->node[k].id);

			*ret_a = i;
			*ret_b = k;
			*ret_what = "does not see alive";
			if (sim_state_of(s, i, k) != GOSSIP_ALIVE)
				return true;
			*ret_what = "is not whole of";
			if (!o || !o->is_whole)
				return true;
			*ret_what = "holds other records than it wrote itself:";
			if (!digest_eq(&o->sum, &s->node[k].core->own->sum))
				return true;
		}
	*ret_what = "holds other records, of somebody else, than";
	for (*ret_a = 0, *ret_b = 1; *ret_b < s->cfg.nodes; ++*ret_b)
		if (!digest_eq(&s->node[0].core->root, &s->node[*ret_b].core->root))
			return true;
	return false;
}

static bool is_one(struct sim *s, void *arg)
{
	const char *what;
	size_t a, b;

	(void)arg;
	return sim_is_converged(s, NULL) && !find_discord(s, &a, &b, &what);
}

static void heal_all(struct sim *s)
{
	sim_watch_note(s, SIZE_MAX, "all is well from here on");
	sim_heal(s);
	s->cfg.loss_pct = s->cfg.dup_pct = 1;
	s->cfg.reorder_pct = s->cfg.damage_wire_pm = s->cfg.damage_inside_pm = 0;
	s->cfg.jitter_pct = 10;
	s->cfg.cold_after_ms = 180000;
	for (size_t i = 0; i < s->cfg.nodes; i++) {
		s->node[i].slow_ms = 0;
		if (s->node[i].frozen_until_ms > s->now_ms)
			sim_run(s, s->node[i].frozen_until_ms - s->now_ms);
	}
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (s->node[i].life != SIM_UP)
			sim_start(s, i);
}

/* What one holds and the other doesn't, in this version. */
static void note_records(struct sim *s, size_t a, size_t b)
{
	const struct gossip_core *c = s->node[a].core;

	for (size_t i = 0; i < c->rec_count; i++) {
		const struct record *r = &c->recs[i]->blob->r;
		struct rec *x =
			table_find(s->node[b].core, &r->writer, r->kind, r->key, r->key_len);

		if (x && digest_eq(&x->hash, &c->recs[i]->hash))
			continue;
		sim_watch_note(s, a,
			       "-- alone holds kind %u '%.*s' of %02x%02x %llu.%llu%s, bucket %u",
			       r->kind, (int)r->key_len, (const char *)r->key, r->writer.b[0],
			       r->writer.b[1], (unsigned long long)r->generation,
			       (unsigned long long)r->seq, r->is_tombstone ? " (deleted)" : "",
			       table_bucket_of(r->kind, r->key, r->key_len));
	}
}

/* What each of the two thinks of the other one's card. */
static void note_cards(struct sim *s, size_t a, size_t b)
{
	struct member *m = member_get(s->node[a].core, &s->node[b].id);
	const struct wire_card *own = &s->node[b].core->self->card;

	if (m)
		sim_watch_note(s, a, "-- knows n%zu in state %d, card %llu.%u, its own %llu.%u", b,
			       m->state, (unsigned long long)m->card.generation,
			       m->card.incarnation, (unsigned long long)own->generation,
			       own->incarnation);
	if (m)
		sim_watch_note(s, a,
			       "-- heard it at %llu, its kernel at %llu, %u us away, votes %u, "
			       "at %02x, it is at %02x",
			       (unsigned long long)(m->heard_ms - s->node[a].clock_ms),
			       (unsigned long long)(m->data_heard_ms - s->node[a].clock_ms),
			       m->rtt_us, m->vote_count, m->card.addr.ip[13], own->addr.ip[13]);
}

static void settle(struct sim *s)
{
	const char *what = "?";
	size_t a = SIZE_MAX, b = SIZE_MAX;
	int64_t ms;

	heal_all(s);
	ms = sim_run_until(s, is_one, NULL, AGREE_MS);
	if (ms < 0) {
		(void)find_discord(s, &a, &b, &what);
		note_cards(s, a, b);
		note_cards(s, b, a);
		note_records(s, a, b);
		note_records(s, b, a);
		sim_watch_fail(s, a, b, "%d s after the heal n%zu %s n%zu", AGREE_MS / 1000, a,
			       what, b);
	}
	if (getenv("SEED") || getenv("SEEDS"))
		printf("# SEED=%llu: %zu nodes, %llu s, one view %lld ms after the heal\n",
		       (unsigned long long)s->cfg.seed, s->cfg.nodes,
		       (unsigned long long)(s->now_ms / 1000 - 1000), (long long)ms);
	for (size_t i = 0; i < s->cfg.nodes; i++)
		gossip_core_check(s->node[i].core);
}

static void run_nemesis(uint64_t seed)
{
	bool is_mad = seed % 8 == 7; /* relays change bits before they seal */
	uint64_t nodes = 10 + seed * 7 % 21, rounds = seed % 16 == 0 ? 240 : 60;
	struct sim *s = sim_new(&(struct sim_config){.nodes = nodes,
						     .seed = seed,
						     .has_regions = true,
						     .dup_pct = 2,
						     .loss_pct = 1,
						     .cold_after_ms = 180000,
						     .damage_inside_pm = is_mad ? 5 : 0,
						     .check_every = 499});

	sim_watch_begin(s, &(struct sim_watch_config){.own_keys = KEYS + GC_KEYS,
						      .shared_keys = KEYS + GC_KEYS,
						      .burst = GC_KEYS + 1000,
						      .is_trusting = !is_mad});
	for (size_t i = 0; i < nodes; i++) {
		s->node[i].clock_ms = below(s, 1000ull * DAY_S);
		s->node[i].region = below(s, SIM_REGIONS);
	}
	sim_start_all(s, 1000);
	for (uint64_t round = 0; round < rounds; round++) {
		write_some(s);
		if (round > 4 && below(s, 3) > 0)
			nemesis(s);
		sim_run(s, below(s, 2500));
		if (round % 8 == 0)
			sim_watch_agree(s);
	}
	settle(s);
	sim_watch_agree(s);
	sim_free(s);
}

static void test_nemesis_when_all_is_well_again_then_all_agree(void **state)
{
	(void)state;
	assert_int_equal(sim_watch_seeds(SEEDS_IN_TEST, run_nemesis), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nemesis_when_all_is_well_again_then_all_agree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
