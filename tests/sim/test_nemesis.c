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
#include "tests/sim/sim_mayhem.h"
#include "tests/sim/sim_watch.h"

#define SEEDS_IN_TEST 24
#define AGREE_MS 60000	   /* from the heal to one view */
#define DAY_MS 86400000ull /* monotonic clocks differ by up to a day */

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

	sim_mayhem_end(s);
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

	sim_watch_begin(
		s, &(struct sim_watch_config){.own_keys = SIM_MAYHEM_KEYS + SIM_MAYHEM_GC_KEYS,
					      .shared_keys = SIM_MAYHEM_KEYS + SIM_MAYHEM_GC_KEYS,
					      .burst = SIM_MAYHEM_GC_KEYS + 1000,
					      .is_trusting = !is_mad});
	for (size_t i = 0; i < nodes; i++) {
		s->node[i].clock_ms = sim_below(&s->rng, DAY_MS);
		s->node[i].region = sim_below(&s->rng, SIM_REGIONS);
	}
	sim_start_all(s, 1000);
	for (uint64_t round = 0; round < rounds; round++) {
		sim_mayhem_write(s);
		if (round > 4 && sim_below(&s->rng, 3) > 0)
			sim_mayhem(s);
		sim_run(s, sim_below(&s->rng, 2500));
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
