/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/sim/sim_cluster.h - many gossip cores in one process, in virtual time, on a lossy network.
 *
 * A node is a machine with a kernel (answers data-path pings), a disk (records, members, generation: what a daemon would
 * store), and a process (the core), each of which can be lost. Signatures are a stub. Everything follows from the seed.
 *
 *   struct sim *s = sim_new(&(struct sim_config){.nodes = 100, .seed = seed});
 *   sim_start_all(s, 500);
 *   assert_true(sim_run_until(s, sim_is_converged, NULL, 10000) >= 0);
 *   sim_free(s);
 */
#ifndef SIM_CLUSTER_H
#define SIM_CLUSTER_H

#include "gossip/core.h"
#include "tests/sim/sim_net.h"

#define SIM_NODES_MAX 256
#define SIM_GENERATIONS_MAX 256
#define SIM_KIND 2 /* an own record of the application */
#define SIM_KIND_SHARED 65

struct sim_config {
	size_t nodes;
	uint64_t seed;
	unsigned int loss_pct, dup_pct;
	uint64_t latency_min_ms, latency_max_ms; /* 0, 0: 1 to 5 */
	bool no_forwarder;
	unsigned int check_every; /* gossip_core_check() after every so many events; 0: 4999 */
	size_t records_max;
};

struct sim_stored {
	struct sim_stored *next;
	struct record r;
	uint8_t bytes[];
};

enum sim_life { SIM_OFF, SIM_CRASHED, SIM_UP }; /* off: no kernel either; crashed: kernel alone */

struct sim_node {
	size_t idx;
	enum sim_life life;
	uint8_t pub[NODE_PUB_BYTES];
	struct node_id id;
	struct gossip_addr addr;
	struct gossip_core *core;
	uint64_t boot, timer_at_ms, frozen_until_ms;
	int group; /* of the partition */
	/* disk */
	struct sim_stored *records;
	struct gossip_member members[SIM_NODES_MAX];
	size_t member_count;
	uint64_t generation;
	/* A lost disk and a wrong clock can make a node use a number twice, until it hears of its former self. Nothing can be
	 * said of watermarks in such a generation. */
	uint64_t used[SIM_GENERATIONS_MAX], used_twice[SIM_GENERATIONS_MAX];
	size_t used_count, used_twice_count;
	int64_t clock_skew_s;
	unsigned int generation_events, conflict_events;
};

struct sim {
	struct sim_config cfg;
	uint64_t now_ms, rng, steps;
	struct sim_queue queue;
	uint64_t *stream_at_ms; /* per pair: streams keep their order */
	struct sim_node *node;
	void (*event_cb)(struct sim *s, struct sim_node *n, const struct gossip_event *ev,
			 void *arg);
	void *arg;
};

struct sim *sim_new(const struct sim_config *cfg);
void sim_free(struct sim *s);

/* Start the process (again): generation up, disk loaded, own records restated, joined through node 0 and 1. */
void sim_start(struct sim *s, size_t i);
void sim_start_all(struct sim *s, uint64_t within_ms);
void sim_crash(struct sim *s, size_t i); /* the process alone */
void sim_off(struct sim *s, size_t i);	 /* the machine */
void sim_wipe(struct sim *s, size_t i);	 /* the disk; the node key stays */
void sim_freeze(struct sim *s, size_t i, uint64_t ms);
void sim_leave(struct sim *s, size_t i);
void sim_partition(struct sim *s, size_t i, int group);
void sim_heal(struct sim *s);

void sim_run(struct sim *s, uint64_t ms);
/* Milliseconds until it was true, looked at every 10 ms; -1: not within the limit. */
int64_t sim_run_until(struct sim *s, bool (*is_true)(struct sim *s, void *arg), void *arg,
		      uint64_t limit_ms);

/* value is a number, put as {"v": value}. */
int sim_put(struct sim *s, size_t i, uint8_t kind, const char *key, uint64_t value, bool is_urgent);
int sim_del(struct sim *s, size_t i, uint8_t kind, const char *key, bool is_urgent);
/* -1: not there. `origin`: index of the writer, ignored for shared kinds. */
int64_t sim_get(struct sim *s, size_t i, size_t origin, uint8_t kind, const char *key);
/* After calling into a core directly. */
void sim_pump(struct sim *s, size_t i);

enum gossip_state sim_state_of(struct sim *s, size_t observer, size_t subject);
bool sim_sees(struct sim *s, size_t observer, size_t subject);
/* All that are up see each other alive, and have equal digests. */
bool sim_is_converged(struct sim *s, void *arg);
/* Equal digests of all that are up. */
bool sim_is_equal(struct sim *s, void *arg);
/* Two nodes contiguous to the same place of a writer's generation hold the same; prints and returns false otherwise. */
bool sim_watermarks_hold(struct sim *s);

/* ---- for test programs */
/* SEED of the environment, else this one; printed. */
uint64_t sim_seed(uint64_t seed);
/* Calls run(seed) for SEED, or SEEDS (else `count`) seeds; says SEED= for each failure to be repeated. */
void sim_seeds(unsigned int count, void (*run)(uint64_t seed));
struct sim_samples {
	uint64_t v[65536];
	size_t count;
};
void sim_sample(struct sim_samples *s, uint64_t v);
uint64_t sim_percentile(struct sim_samples *s, unsigned int pct);

#endif
