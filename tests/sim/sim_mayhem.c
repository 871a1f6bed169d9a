/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/sim/sim_mayhem.h"

#include <stdio.h>

#include "tests/sim/sim_watch.h"

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

void sim_mayhem_write(struct sim *s)
{
	char key[16];

	for (uint64_t k = below(s, 6); k > 0; k--) {
		size_t i = any(s);
		uint64_t what = below(s, 10);
		uint8_t kind = what < 3 ? SIM_KIND_SHARED : SIM_KIND;

		if (!sim_is_running(s, i))
			continue;
		snprintf(key, sizeof(key), "k%u", (unsigned int)below(s, SIM_MAYHEM_KEYS));
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
	sim_watch_note(s, i, "-- writes and deletes %d of kind %u", SIM_MAYHEM_GC_KEYS, kind);
	for (int k = 0; k < SIM_MAYHEM_GC_KEYS; k++) {
		snprintf(key, sizeof(key), "gc%d", k);
		(void)sim_put(s, i, kind, key, 1, false);
	}
	sim_run(s, below(s, 2000));
	for (int k = 0; k < SIM_MAYHEM_GC_KEYS && sim_is_running(s, i); k++) {
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

void sim_mayhem(struct sim *s)
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

void sim_mayhem_end(struct sim *s)
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
	for (size_t i = 0; i < s->cfg.nodes; i++) {
		const struct gossip_core *c = s->node[i].core;

		/* Who has met nobody yet may look for seeds where they were: it is told where they are. */
		if (s->node[i].life == SIM_UP && !c->is_joined && c->state_count[GOSSIP_ALIVE] <= 1)
			sim_crash(s, i);
		if (s->node[i].life != SIM_UP)
			sim_start(s, i);
	}
}
