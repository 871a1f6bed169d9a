/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How often somebody who is well is taken for headless, suspect or dead. NODE_HOURS= says for how long each row is simulated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/sim_cluster.h"

#define NODES 50
#define HOURS_IN_TEST 1
#define COLD_MS 180000
#define FAR_TIMES 8 /* so much longer are those rows in which tunnels have to get cold first */
#define INCIDENT_MS 10000 /* what several say of one node within so long is one mistake */

struct tally {
	uint64_t last_ms[GOSSIP_LEFT + 1][SIM_NODES_MAX];
	size_t well[GOSSIP_LEFT + 1], slow[GOSSIP_LEFT + 1];
};

static void count_cb(struct sim *s, struct sim_node *n, const struct gossip_event *ev, void *arg)
{
	enum gossip_state state = ev->member.state;
	struct tally *t = arg;
	size_t i = 0;

	(void)n;
	if (ev->kind != GOSSIP_EV_MEMBER || state == GOSSIP_ALIVE || state == ev->old_state)
		return;
	while (i < s->cfg.nodes && node_id_cmp(&s->node[i].id, &ev->member.id) != 0)
		i++;
	if (i == s->cfg.nodes)
		return;
	if (s->now_ms >= t->last_ms[state][i] + INCIDENT_MS) {
		if (s->node[i].slow_ms)
			t->slow[state]++;
		else
			t->well[state]++;
	}
	t->last_ms[state][i] = s->now_ms;
}

struct row {
	unsigned int loss_pct, slow_pct, slow_ms;
	bool no_forwarder;
	bool is_far; /* twelve regions, tunnels that go cold */
};

static void run(const struct row *r, struct tally *t)
{
	const char *text = getenv("NODE_HOURS");
	double hours = text ? strtod(text, NULL) : HOURS_IN_TEST * (r->is_far ? FAR_TIMES : 1);
	double days = hours / 24;
	struct sim *s =
		sim_new(&(struct sim_config){.nodes = NODES,
					     .seed = sim_seed(100 + r->loss_pct + r->slow_pct),
					     .loss_pct = r->loss_pct,
					     .has_regions = r->is_far,
					     .jitter_pct = 10,
					     .no_forwarder = r->no_forwarder});

	memset(t, 0, sizeof(*t));
	sim_start_all(s, 500);
	assert_true(sim_run_until(s, sim_is_converged, NULL, 30000) >= 0);
	sim_run(s, 5000);
	if (r->is_far)
		s->cfg.cold_after_ms = COLD_MS;
	for (size_t i = 0; i < NODES * r->slow_pct / 100; i++)
		s->node[3 + i * 7].slow_ms = r->slow_ms;
	sim_run(s, r->is_far ? 30000 : 5000); /* each tunnel's first use is cold */
	s->event_cb = count_cb;
	s->arg = t;
	sim_run(s, (uint64_t)(hours * 3600000 / NODES));
	printf("# %2u %% loss%s%s", r->loss_pct, r->no_forwarder ? ", no forwarders" : "",
	       r->is_far ? ", 12 regions, cold tunnels" : "");
	if (r->slow_pct)
		printf(", %u %% late by up to %u ms", r->slow_pct, r->slow_ms);
	printf(", %.0f node hours: of who is well, a node day: %.2f headless, %.2f suspect, %.2f "
	       "dead\n",
	       hours, (double)t->well[GOSSIP_HEADLESS] / days,
	       (double)t->well[GOSSIP_SUSPECT] / days, (double)t->well[GOSSIP_DEAD] / days);
	if (r->slow_pct)
		printf("#   of the late: %.2f headless, %.2f suspect, %.2f dead\n",
		       (double)t->slow[GOSSIP_HEADLESS] / days * 100 / r->slow_pct,
		       (double)t->slow[GOSSIP_SUSPECT] / days * 100 / r->slow_pct,
		       (double)t->slow[GOSSIP_DEAD] / days * 100 / r->slow_pct);
	sim_free(s);
}

static void test_well_when_packets_are_lost_or_others_slow_then_not_suspected(void **state)
{
	static const struct row rows[] = {
		{0, 0, 0, false, false},  {1, 0, 0, false, false},    {5, 0, 0, false, false},
		{20, 0, 0, false, false}, {1, 10, 300, false, false}, {1, 10, 1500, false, false},
		{5, 0, 0, true, false},	  {20, 0, 0, true, false},    {1, 10, 1500, true, false},
		{0, 0, 0, false, true},	  {1, 0, 0, false, true},     {5, 0, 0, false, true},
		{20, 0, 0, false, true},  {1, 10, 300, false, true},  {0, 0, 0, true, true},
		{1, 0, 0, true, true},
	};
	struct tally *t = malloc(sizeof(*t));
	const char *one = getenv("ROW"); /* from 0 */

	(void)state;
	assert_non_null(t);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (one && strtoul(one, NULL, 10) != i)
			continue;
		run(&rows[i], t);
		assert_int_equal(t->well[GOSSIP_DEAD], 0);
		if (!rows[i].slow_pct && rows[i].loss_pct <= 5)
			assert_int_equal(t->well[GOSSIP_SUSPECT] + t->well[GOSSIP_HEADLESS], 0);
	}
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_well_when_packets_are_lost_or_others_slow_then_not_suspected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
