/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Gossip of 1,000, 5,000, ... nodes in 20 regions that know summaries of each other, in virtual time:
 * region_sim NODES [CHANGES [LOSS_PCT [SLOW_PCT]]]. Delays from the table of regions, tunnels that are cold at first and after 180 s,
 * 1 % loss, summaries of 4 kB; so many nodes do whatever they do up to 0.3 s late.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gossip/region.h"
#include "gossip/seal.h"
#include "tests/sim/sim_cluster.h"

#define REGIONS 20
#define SUMMARY_BYTES 4096
#define UDP_BYTES 28 /* header of IPv4 and UDP */
#define LIMIT_MS 30000

static struct sim_samples near, far, suspect, dead, down;
static struct {
	size_t region, of; /* the node that writes or dies */
	uint64_t start_ms;
	uint8_t hash[8];
	size_t near_count, far_count;
	bool *has;
} change;

/* Members that are well, held for suspect or dead; each observer counts. */
static size_t false_suspects, false_deaths;
static void (*inner_cb)(struct sim *s, struct sim_node *n, const struct gossip_event *ev,
			void *arg);

static void on_event(struct sim *s, struct sim_node *n, const struct gossip_event *ev, void *arg)
{
	if (ev->kind == GOSSIP_EV_MEMBER && ev->member.state != ev->old_state &&
	    (ev->member.state == GOSSIP_SUSPECT || ev->member.state == GOSSIP_DEAD)) {
		const struct sim_node *of = NULL;

		for (size_t i = n->region; i < s->cfg.nodes && !of; i += REGIONS)
			if (node_id_cmp(&s->node[i].id, &ev->member.id) == 0)
				of = &s->node[i];
		if (of && of->life == SIM_UP) {
			false_suspects += ev->member.state == GOSSIP_SUSPECT;
			false_deaths += ev->member.state == GOSSIP_DEAD;
		}
	}
	if (inner_cb)
		inner_cb(s, n, ev, arg);
}

static double wall(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void row(const char *what, double v)
{
	printf("| %s | %.*f |\n", what, v == (double)(long long)v ? 0 : v < 100 ? 1 : 0, v);
	fflush(stdout);
}

static void on_change(struct sim *s, struct sim_node *n, const struct gossip_event *ev, void *arg)
{
	(void)arg;
	if (ev->kind == GOSSIP_EV_RECORD && ev->record.kind == SIM_KIND &&
	    n->region == change.region && n->idx != change.of && !change.has[n->idx]) {
		change.has[n->idx] = true;
		change.near_count++;
		sim_sample(&near, s->now_ms - change.start_ms);
	}
	if (ev->kind == GOSSIP_EV_SUMMARY && !change.has[n->idx] &&
	    memcmp(ev->summary.version.hash, change.hash, sizeof(change.hash)) == 0) {
		change.has[n->idx] = true;
		change.far_count++;
		sim_sample(&far, s->now_ms - change.start_ms);
	}
}

static void on_down(struct sim *s, struct sim_node *n, const struct gossip_event *ev, void *arg)
{
	(void)arg;
	if (ev->kind == GOSSIP_EV_MEMBER && n->region == change.region &&
	    node_id_cmp(&s->node[change.of].id, &ev->member.id) == 0 &&
	    ev->member.state != ev->old_state) {
		if (ev->member.state == GOSSIP_SUSPECT)
			sim_sample(&suspect, s->now_ms - change.start_ms);
		if (ev->member.state == GOSSIP_DEAD) {
			sim_sample(&dead, s->now_ms - change.start_ms);
			change.near_count++;
		}
	}
	if (ev->kind != GOSSIP_EV_REGION || change.has[n->idx])
		return;
	for (size_t i = 0; i < ev->region->down_count; i++)
		if (memcmp(ev->region->down[i], s->node[change.of].id.b, 4) == 0) {
			change.has[n->idx] = true;
			change.far_count++;
			sim_sample(&down, s->now_ms - change.start_ms);
			return;
		}
}

static size_t count_up(const struct sim *s, bool is_there)
{
	size_t n = 0;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		n += s->node[i].life == SIM_UP && (s->node[i].region == change.region) == is_there;
	return n;
}

static bool is_told(struct sim *s, void *arg)
{
	(void)arg;
	return change.near_count + 1 >= count_up(s, true) && change.far_count >= count_up(s, false);
}

static bool is_known_down(struct sim *s, void *arg)
{
	(void)arg;
	return change.near_count >= count_up(s, true) && change.far_count >= count_up(s, false);
}

struct traffic {
	double dgrams, bytes, between, max_bytes;
};

static double *bytes_before;

static struct traffic traffic(const struct sim *s)
{
	struct traffic t = {0};

	for (size_t i = 0; i < s->cfg.nodes; i++) {
		struct gossip_counters n;
		double bytes;

		if (!s->node[i].core)
			continue;
		gossip_core_counters(s->node[i].core, &n);
		bytes = (double)(n.bytes_out +
				 (n.dgrams_out + n.streams_out) * (SEAL_ADDED + UDP_BYTES));
		t.dgrams += (double)n.dgrams_out;
		t.between += (double)n.region_dgrams_out;
		t.bytes += bytes;
		if (bytes - bytes_before[i] > t.max_bytes)
			t.max_bytes = bytes - bytes_before[i];
		bytes_before[i] = bytes;
	}
	return t;
}

static void measure_rest(struct sim *s, const char *when)
{
	struct traffic a = traffic(s), b;
	double n = (double)s->cfg.nodes, seconds = 20;

	sim_run(s, (uint64_t)(seconds * 1000));
	b = traffic(s);
	printf("| **%s** | |\n", when);
	row("datagrams/s of a node", (b.dgrams - a.dgrams) / n / seconds);
	row("of these about or to other regions", (b.between - a.between) / n / seconds);
	row("bytes/s of a node, with IP and UDP", (b.bytes - a.bytes) / n / seconds);
	row("bytes/s of the node that sends most", b.max_bytes / seconds);
}

static void begin(struct sim *s, size_t k)
{
	change.region = k % REGIONS;
	change.of = change.region + REGIONS * (1 + (k * 7) % (s->cfg.nodes / REGIONS - 1));
	change.start_ms = s->now_ms;
	change.near_count = change.far_count = 0;
	memset(change.has, 0, s->cfg.nodes * sizeof(bool));
}

/* Whom it did not reach, and what they have of it. */
static void print_late(struct sim *s, size_t k)
{
	fprintf(stderr,
		"bench: change %zu of region %zu: %zu of its nodes, %zu others after %d ms;", k,
		change.region, change.near_count, change.far_count, LIMIT_MS);
	for (size_t i = 0, n = 0; i < s->cfg.nodes && n < 8; i++) {
		struct gossip_region g;

		if (change.has[i] || i == change.of || s->node[i].life != SIM_UP)
			continue;
		if (s->node[i].region == change.region && inner_cb == on_down)
			continue;
		n++;
		fprintf(stderr, " %zu", i);
		if (sim_region_at(s, i, change.region, &g))
			fprintf(stderr, ":%s, %zu down, region %zu rank %d",
				memcmp(g.version.hash, change.hash, sizeof(change.hash)) == 0
					? "same"
					: "other",
				g.down_count, s->node[i].region, s->node[i].core->regions->rank);
	}
	fprintf(stderr, "\n");
}

static void measure_changes(struct sim *s, size_t changes)
{
	size_t late = 0, nodes = s->cfg.nodes; /* their numbers are their loads at first */

	inner_cb = on_change;
	for (size_t k = 0; k < changes; k++) {
		struct gossip_region g;

		begin(s, k);
		memset(change.hash, 0xff, sizeof(change.hash));
		if (sim_put(s, change.of, SIM_KIND, "load", nodes + k, true) ||
		    !sim_region_at(s, change.of, change.region, &g))
			abort();
		memcpy(change.hash, g.version.hash, sizeof(change.hash));
		if (sim_run_until(s, is_told, NULL, LIMIT_MS) < 0) {
			late++;
			print_late(s, k);
		}
		sim_run(s, 300);
	}
	inner_cb = NULL;
	printf("| **%zu urgent changes, one after another** | |\n", changes);
	row("to each node of its region, ms, p50", (double)sim_percentile(&near, 50));
	row("to each node of its region, ms, p99", (double)sim_percentile(&near, 99));
	row("as a summary to each node of the others, ms, p50", (double)sim_percentile(&far, 50));
	row("as a summary to each node of the others, ms, p99", (double)sim_percentile(&far, 99));
	row("as a summary to each node of the others, ms, max", (double)sim_percentile(&far, 100));
	row("changes not everywhere after 30 s", (double)late);
}

static void measure_deaths(struct sim *s, size_t deaths)
{
	size_t late = 0;

	inner_cb = on_down;
	for (size_t k = 0; k < deaths; k++) {
		begin(s, k + 3);
		sim_off(s, change.of);
		if (sim_run_until(s, is_known_down, NULL, LIMIT_MS) < 0) {
			late++;
			print_late(s, k);
		}
		sim_run(s, 500);
	}
	inner_cb = NULL;
	printf("| **%zu machines switched off** | |\n", deaths);
	row("suspect to each node of its region, ms, p50", (double)sim_percentile(&suspect, 50));
	row("suspect to each node of its region, ms, p99", (double)sim_percentile(&suspect, 99));
	row("dead to each node of its region, ms, p50", (double)sim_percentile(&dead, 50));
	row("dead to each node of its region, ms, p99", (double)sim_percentile(&dead, 99));
	row("down to each node of other regions, ms, p50", (double)sim_percentile(&down, 50));
	row("down to each node of other regions, ms, p99", (double)sim_percentile(&down, 99));
	row("deaths not known everywhere after 30 s", (double)late);
}

int main(int argc, char **argv)
{
	size_t nodes = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000;
	size_t changes = argc > 2 ? strtoul(argv[2], NULL, 10) : REGIONS;
	size_t loss_pct = argc > 3 ? strtoul(argv[3], NULL, 10) : 1;
	size_t slow_pct = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
	double start = wall(), before;
	uint64_t start_ms;
	struct sim *s;
	int64_t ms;

	if (nodes < 5 * REGIONS || nodes > 8000) {
		fprintf(stderr, "bench: nodes: got %zu, want %d to 8000\n", nodes, 5 * REGIONS);
		return 2;
	}
	if (loss_pct > 50 || slow_pct > 50) {
		fprintf(stderr, "bench: %% lost: got %zu, %% slow: got %zu, want at most 50\n",
			loss_pct, slow_pct);
		return 2;
	}
	s = sim_new(&(struct sim_config){.nodes = nodes,
					 .seed = 1,
					 .loss_pct = (unsigned int)loss_pct,
					 .has_regions = true,
					 .regions = REGIONS,
					 .summary_bytes = SUMMARY_BYTES,
					 .jitter_pct = 10,
					 .check_every = 1u << 30,
					 .has_no_disk = true,
					 .has_region_seeds = true,
					 .cold_after_ms = 180000});
	change.has = calloc(nodes, sizeof(bool));
	bytes_before = calloc(nodes, sizeof(double));
	if (!change.has || !bytes_before)
		abort();
	before = (double)mallinfo2().uordblks;
	printf("| %zu nodes in %d regions, %zu %% loss, %zu %% slow, simulated | |\n|---|---|\n",
	       nodes, REGIONS, loss_pct, slow_pct);
	sim_start_all(s, 2000);
	for (size_t i = 0; i < nodes * slow_pct / 100; i++)
		s->node[(i * 11 + 3) % nodes].slow_ms = 300; /* in each region */
	for (size_t i = 0; i < nodes; i++)
		(void)sim_put(s, i, SIM_KIND, "load", i, false);
	s->event_cb = on_event;
	ms = sim_run_until(s, sim_regions_are_one, NULL, 120000);
	false_suspects = false_deaths = 0;
	start_ms = s->now_ms;
	row("all start within 2 s: one view, ms", (double)ms);
	fprintf(stderr, "bench: %.0f s\n", wall() - start);
	measure_rest(s, "until 20 s after that");
	row("memory of a node, kB", ((double)mallinfo2().uordblks - before) / (double)nodes / 1000);
	measure_changes(s, changes);
	sim_run(s, 10000);
	measure_rest(s, "at rest");
	measure_deaths(s, changes / 2);
	printf("| **since the start, %.1f node-days** | |\n",
	       (double)(s->now_ms - start_ms) / 86400000 * (double)nodes);
	row("members that are well held for suspect", (double)false_suspects);
	row("members that are well held for dead", (double)false_deaths);
	fprintf(stderr, "bench: %zu nodes simulated in %.0f s\n", nodes, wall() - start);
	sim_free(s);
	free(change.has);
	free(bytes_before);
	return 0;
}
