/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Gossip of 100, 1,000, ... nodes in virtual time, delays from the table of regions (tests/sim/sim_link.c):
 * gossip_sim [NODES...]. Prints a table; the same seed gives the same figures on every machine.
 * gossip_sim curve: 50 nodes on a LAN, what probing more or less often costs and brings.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gossip/seal.h"
#include "tests/sim/sim_cluster.h"

#define SIZES_MAX 8
#define ROWS_MAX 48
#define CHANGES 40
#define VICTIMS 5
#define UDP_BYTES 28 /* header of IPv4 and UDP */
#define FALSE_NODES_MAX 100
#define DAY_MS 86400000ull
#define ETHERNET_BYTES 14
#define STRING(x) #x
#define EXPAND(x) STRING(x)
#define CURVE_NODES 50
#define CURVE_VICTIMS 100

static char cell[ROWS_MAX][SIZES_MAX][32];
static const char *row_name[ROWS_MAX];
static size_t row_next, column;

static void row(const char *what, double v)
{
	row_name[row_next] = what;
	snprintf(cell[row_next++][column], sizeof(cell[0][0]), "%.*f",
		 v == (double)(long long)v ? 0
		 : v < 10		   ? 2
		 : v < 100		   ? 1
					   : 0,
		 v);
}

static void row_none(const char *what)
{
	row_name[row_next++] = what;
}

static struct sim_samples each, last;
static uint64_t event_start_ms;
static size_t event_count, victim;
static enum gossip_state event_state;
static char event_key[16];
static unsigned int false_deaths, false_suspects;
static const struct node_id *victim_id;

static void on_record(struct sim *s, struct sim_node *n, const struct gossip_event *ev, void *arg)
{
	(void)n, (void)arg;
	if (ev->kind != GOSSIP_EV_RECORD || ev->record.kind != SIM_KIND ||
	    ev->record.key_len != strlen(event_key) ||
	    memcmp(ev->record.key, event_key, ev->record.key_len) != 0)
		return;
	event_count++;
	sim_sample(&each, s->now_ms - event_start_ms);
}

static void on_member(struct sim *s, struct sim_node *n, const struct gossip_event *ev, void *arg)
{
	(void)arg;
	if (ev->kind != GOSSIP_EV_MEMBER || ev->member.state == ev->old_state || n->idx == victim)
		return;
	if (victim_id && node_id_cmp(&ev->member.id, victim_id) == 0) {
		if (ev->member.state == event_state) {
			event_count++;
			sim_sample(&each, s->now_ms - event_start_ms);
		}
		return;
	}
	false_deaths += ev->member.state == GOSSIP_DEAD;
	false_suspects += ev->member.state == GOSSIP_SUSPECT;
}

static bool is_told(struct sim *s, void *arg)
{
	(void)arg;
	return event_count >= s->cfg.nodes - (victim_id != NULL);
}

static struct sim *make(size_t nodes, unsigned int loss_pct)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = nodes,
						     .seed = 1,
						     .loss_pct = loss_pct,
						     .has_regions = true,
						     .jitter_pct = 10,
						     .check_every = 1u << 30,
						     .has_no_disk = true,
						     .has_one_seed = true});

	victim_id = NULL;
	victim = SIZE_MAX;
	s->event_cb = on_member;
	return s;
}

struct traffic {
	uint64_t dgrams, bytes;
};

static struct traffic traffic(const struct sim *s)
{
	struct traffic t = {0};

	for (size_t i = 0; i < s->cfg.nodes; i++) {
		struct gossip_counters n;

		if (!s->node[i].core)
			continue;
		gossip_core_counters(s->node[i].core, &n);
		t.dgrams += n.dgrams_out;
		t.bytes += n.bytes_out + (n.dgrams_out + n.streams_out) * (SEAL_ADDED + UDP_BYTES);
	}
	return t;
}

static bool is_whole(struct sim *s, void *arg)
{
	(void)arg;
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (s->node[i].life == SIM_UP &&
		    s->node[i].core->state_count[GOSSIP_ALIVE] != s->cfg.nodes)
			return false;
	return true;
}

/* From now on a tunnel is cold at its first use and after 180 s without one: 5 s are lost then. */
static void make_cold(struct sim *s)
{
	s->cfg.cold_after_ms = 180000;
	sim_run(s, 30000);
}

static void settle(struct sim *s)
{
	if (sim_run_until(s, sim_is_converged, NULL, 120000) < 0)
		fprintf(stderr, "bench: %zu nodes not whole and equal after 120 s\n", s->cfg.nodes);
}

static void measure_join(struct sim *s)
{
	struct traffic t;
	int64_t ms;
	double n = (double)s->cfg.nodes;

	sim_start_all(s, 0);
	ms = sim_run_until(s, is_whole, NULL, 120000);
	row("all join one at once: the last sees all, ms", (double)ms);
	settle(s);
	t = traffic(s);
	make_cold(s);
	settle(s);
	row("until all are equal: sent by a node, kB", (double)t.bytes / n / 1000);
	sim_run(s, 60000);
	t = traffic(s);
	sim_run(s, 20000);
	struct traffic after = traffic(s);

	row("60 s after all are equal: datagrams/s of a node",
	    (double)(after.dgrams - t.dgrams) / n / 20);
	row("60 s after all are equal: bytes/s of a node, with IP and UDP",
	    (double)(after.bytes - t.bytes) / n / 20);
}

static void measure_spread(struct sim *s)
{
	s->event_cb = on_record;
	each.count = last.count = 0;
	for (uint64_t k = 0; k < CHANGES; k++) {
		int64_t ms;

		snprintf(event_key, sizeof(event_key), "k%llu", (unsigned long long)k);
		event_start_ms = s->now_ms;
		event_count = 0;
		if (sim_put(s, (size_t)(k * 7) % s->cfg.nodes, SIM_KIND, event_key, k, true))
			abort();
		ms = sim_run_until(s, is_told, NULL, 20000);
		sim_sample(&last, ms < 0 ? 20000 : (uint64_t)ms);
		sim_run(s, 500);
	}
	row("a change: each node, ms, p50", (double)sim_percentile(&each, 50));
	row("a change: each node, ms, p99", (double)sim_percentile(&each, 99));
	row("a change: last node, ms, p50", (double)sim_percentile(&last, 50));
	row("a change: last node, ms, p99", (double)sim_percentile(&last, 99));
	s->event_cb = on_member;
}

static void measure_end(struct sim *s, size_t victims, void (*end)(struct sim *s, size_t i),
			enum gossip_state state, const char *p50, const char *p99)
{
	each.count = 0;
	event_state = state;
	for (size_t k = 0; k < victims; k++) {
		victim = (k * 11 + 5) % s->cfg.nodes;
		victim_id = &s->node[victim].id;
		event_start_ms = s->now_ms;
		event_count = 0;
		end(s, victim);
		(void)sim_run_until(s, is_told, NULL, 30000);
		sim_start(s, victim);
		victim_id = NULL;
		victim = SIZE_MAX;
		sim_run(s, 3000);
		settle(s);
	}
	row(p50, (double)sim_percentile(&each, 50));
	row(p99, (double)sim_percentile(&each, 99));
}

/* One node-day at this loss: deaths and suspicions of the healthy, as nodes hold them (one death may count many times). */
static void measure_false(size_t nodes, unsigned int loss_pct, unsigned int slow_pct,
			  const char *deaths, const char *suspects)
{
	struct sim *s;

	/* A day of many nodes takes minutes each: the one that matters most. */
	if (nodes > FALSE_NODES_MAX && (loss_pct != 1 || slow_pct)) {
		row_none(deaths);
		row_none(suspects);
		return;
	}
	s = make(nodes, 0);
	sim_start_all(s, 1000);
	(void)sim_run_until(s, is_whole, NULL, 120000);
	make_cold(s);
	settle(s);
	s->cfg.loss_pct = loss_pct;
	for (size_t i = 0; i < nodes * slow_pct / 100; i++)
		s->node[(i * 10 + 3) % nodes].slow_ms = 300;
	false_deaths = false_suspects = 0;
	sim_run(s, DAY_MS / nodes);
	row(deaths, false_deaths);
	row(suspects, false_suspects);
	sim_free(s);
}

static void measure(size_t nodes)
{
	struct sim *s = make(nodes, 0);

	row_next = 0;
	measure_join(s);
	measure_spread(s);
	measure_end(s, VICTIMS, sim_crash, GOSSIP_HEADLESS, "daemon killed: headless, ms, p50",
		    "daemon killed: headless, ms, p99");
	measure_end(s, VICTIMS, sim_off, GOSSIP_SUSPECT,
		    "power-off: suspect (routed around), ms, p50",
		    "power-off: suspect (routed around), ms, p99");
	measure_end(s, VICTIMS, sim_off, GOSSIP_DEAD, "power-off: dead, ms, p50",
		    "power-off: dead, ms, p99");
	sim_free(s);
	measure_false(nodes, 0, 0, "held dead per node-day, no loss",
		      "suspected per node-day, no loss");
	measure_false(nodes, 1, 0, "held dead per node-day, 1 % loss",
		      "suspected per node-day, 1 % loss");
	measure_false(nodes, 5, 0, "held dead per node-day, 5 % loss",
		      "suspected per node-day, 5 % loss");
	measure_false(nodes, 20, 0, "held dead per node-day, 20 % loss",
		      "suspected per node-day, 20 % loss");
	measure_false(nodes, 1, 10, "held dead per node-day, 1 % loss, a tenth is 0.3 s slow",
		      "suspected per node-day, 1 % loss, a tenth is 0.3 s slow");
}

/* ---- the trade: how often to probe */

static struct sim *make_lan(uint32_t interval_ms, unsigned int loss_pct)
{
	struct sim *s = sim_new(&(struct sim_config){.nodes = CURVE_NODES,
						     .seed = 1,
						     .check_every = 1u << 30,
						     .has_one_seed = true,
						     .probe_interval_ms = interval_ms});

	victim_id = NULL;
	victim = SIZE_MAX;
	s->event_cb = on_member;
	sim_start_all(s, 0);
	(void)sim_run_until(s, is_whole, NULL, 120000);
	settle(s);
	/* What is said of round trips comes at 30 and 90 s; from 180 on nothing is new. */
	sim_run(s, 200000);
	s->cfg.loss_pct = loss_pct;
	return s;
}

static void measure_curve(uint32_t interval_ms)
{
	struct sim *s = make_lan(interval_ms, 0);
	struct traffic before = traffic(s), after;

	row_next = 0;
	sim_run(s, 60000);
	after = traffic(s);
	row("at rest: bytes/s of a node, with Ethernet, IP and UDP",
	    ((double)(after.bytes - before.bytes) +
	     ETHERNET_BYTES * (double)(after.dgrams - before.dgrams)) /
		    CURVE_NODES / 60);
	measure_end(s, CURVE_VICTIMS, sim_crash, GOSSIP_HEADLESS,
		    "daemon killed: headless, ms, p50", "daemon killed: headless, ms, p99");
	measure_end(s, CURVE_VICTIMS, sim_off, GOSSIP_SUSPECT,
		    "power-off: suspect (routed around), ms, p50",
		    "power-off: suspect (routed around), ms, p99");
	sim_free(s);
	s = make_lan(interval_ms, 20);
	measure_end(s, CURVE_VICTIMS, sim_off, GOSSIP_SUSPECT,
		    "20 % loss, power-off: suspect, ms, p50",
		    "20 % loss, power-off: suspect, ms, p99");
	false_deaths = false_suspects = 0;
	sim_run(s, DAY_MS / CURVE_NODES);
	row("20 % loss: held dead per node-day", false_deaths);
	row("20 % loss: suspected per node-day", false_suspects);
	sim_free(s);
}

static void print(const char *what, const size_t *of, size_t count, const char *unit)
{
	printf("\n| %s |", what);
	for (size_t i = 0; i < count; i++)
		printf(" %zu %s |", of[i], unit);
	printf("\n|---|");
	for (size_t i = 0; i < count; i++)
		printf("---|");
	for (size_t r = 0; r < row_next; r++) {
		printf("\n| %s |", row_name[r]);
		for (size_t i = 0; i < count; i++)
			printf(" %s |", cell[r][i]);
	}
	printf("\n");
}

static int curve(void)
{
	static const size_t interval_ms[] = {100, 150, 200, 225, 250, 300, 400};
	size_t count = sizeof(interval_ms) / sizeof(interval_ms[0]);

	for (column = 0; column < count; column++)
		measure_curve((uint32_t)interval_ms[column]);
	print("simulated, 50 nodes on a LAN, a probe every", interval_ms, count, "ms");
	return 0;
}

int main(int argc, char **argv)
{
	size_t sizes[SIZES_MAX] = {100, 300}, count = 2;
	struct timespec a, b;

	if (argc == 2 && strcmp(argv[1], "curve") == 0)
		return curve();
	if (argc > 1)
		for (count = 0; count < SIZES_MAX && count + 1 < (size_t)argc; count++)
			sizes[count] = strtoul(argv[count + 1], NULL, 10);
	for (column = 0; column < count; column++) {
		if (sizes[column] < 20 || sizes[column] > 8000) {
			fprintf(stderr, "bench: nodes: got %s, want 20 to 8000\n",
				argv[column + 1]);
			return 2;
		}
		clock_gettime(CLOCK_MONOTONIC, &a);
		measure(sizes[column]);
		clock_gettime(CLOCK_MONOTONIC, &b);
		fprintf(stderr, "bench: %zu nodes simulated in %ld s\n", sizes[column],
			(long)(b.tv_sec - a.tv_sec));
	}
	print("simulated, " EXPAND(SIM_REGIONS) " regions", sizes, count, "nodes");
	return 0;
}
