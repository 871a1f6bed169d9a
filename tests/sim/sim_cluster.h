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
#define SIM_REGIONS 12

struct sim_node;
struct sim_config {
	size_t nodes;
	uint64_t seed;
	unsigned int loss_pct, dup_pct;
	uint64_t latency_min_ms, latency_max_ms; /* 0, 0: 1 to 5 */
	bool no_forwarder;
	unsigned int check_every; /* gossip_core_check() after every so many events; 0: 4999 */
	size_t records_max;
	/* Delays from a table of regions, node i in region i % SIM_REGIONS; latency_* don't count then. */
	bool has_regions;
	/* Summaries between so many regions, node i in i % regions; a summary of at least so many bytes. 0: everyone knows
	 * everyone. */
	size_t regions, summary_bytes;
	unsigned int jitter_pct, reorder_pct;
	/* Of 1000 messages so many are damaged: on the wire, where the seal makes it a loss, or before they were sealed
	 * (memory that turns bits over), when the receiver has to cope. */
	unsigned int damage_wire_pm, damage_inside_pm;
	uint32_t probe_interval_ms; /* 0: as built in */
	bool has_one_seed;	    /* all join through node 0 */
	bool has_region_seeds; /* through the first node of their region, and of the next one */
	/* Before a core is made: the last word on its configuration. */
	void (*config_cb)(const struct sim_node *n, struct gossip_config *cfg, void *arg);
	void *config_arg;
	bool has_no_disk;	/* nothing is kept: more than SIM_NODES_MAX nodes then */
	uint64_t cold_after_ms; /* a tunnel without use for so long loses all for 5 s; 0: never */
};

struct sim_stored {
	struct sim_stored *next;
	struct record r;
	uint8_t bytes[];
};

struct sim_stored_summary {
	struct sim_stored_summary *next;
	struct gossip_summary s;
	uint8_t *bytes;
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
	uint64_t slow_ms;  /* whatever it does is up to so late */
	uint64_t clock_ms; /* its monotonic clock is ahead of virtual time by this */
	uint32_t life_count, disk_count;
	size_t region;
	size_t name_idx; /* it calls itself "n" and this */
	bool no_forwarder;
	int group; /* of the partition */
	/* disk */
	struct sim_stored *records;
	struct sim_stored_summary *summaries;
	struct gossip_member *members; /* SIM_NODES_MAX of them */
	size_t member_count;
	struct gossip_origin origins[SIM_NODES_MAX];
	size_t origin_count;
	uint64_t generation;
	/* A lost disk and a wrong clock can make a node use a number twice, until it hears of its former self. Nothing can be
	 * said of watermarks in such a generation. */
	uint64_t used[SIM_GENERATIONS_MAX], used_twice[SIM_GENERATIONS_MAX];
	size_t used_count, used_twice_count;
	int64_t clock_skew_s;
	unsigned int generation_events, conflict_events, stale_origins;
	bool is_summary_stale;
};

struct sim_tunnel {
	bool is_made;
	uint64_t used_ms, ready_ms;
};

struct sim_watch;

struct sim {
	struct sim_config cfg; /* the network's part may be changed while it runs */
	uint64_t now_ms, rng, steps;
	bool *cut;  /* per ordered pair */
	bool *deny; /* the same: sending fails at once, on the sender's own machine */
	struct sim_tunnel *tunnel; /* per pair */
	struct sim_watch *watch;   /* invariants and trace (sim_watch.h), or NULL */
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
void sim_cut(struct sim *s, size_t src, size_t dst, bool is_cut); /* one way */
void sim_deny(struct sim *s, size_t src, size_t dst, bool is_denied);
/* `copy` becomes the same machine twice: key and disk, but its own address. */
void sim_clone(struct sim *s, size_t from, size_t copy);
void sim_heal(struct sim *s);			    /* no partition and no cut is left */
void sim_move(struct sim *s, size_t i);		    /* it has another address from now on */
bool sim_is_running(const struct sim *s, size_t i); /* up, and not frozen */
/* What the node's monotonic clock says. */
uint64_t sim_clock(const struct sim *s, const struct sim_node *n);

/* sim_region.c */
const char *sim_region_of(const struct sim *s, const struct sim_node *n, char buf[GOSSIP_NAME_MAX]);
/* What the application makes of the records that node i holds now: at most GOSSIP_SUMMARY_MAX bytes. */
size_t sim_summary(struct sim *s, size_t i, uint8_t *buf, size_t cap);
void sim_summary_put(struct sim *s, struct sim_node *n);
/* What node i has of that region; false: it does not know it. */
bool sim_region_at(struct sim *s, size_t i, size_t region, struct gossip_region *ret_region);
/* All that are up see the members of their region and no others, hold the same, and have the summaries of all regions in which
 * somebody is up. */
bool sim_regions_are_one(struct sim *s, void *arg);

/* sim_link.c */
const char *sim_region_name(size_t region);
uint64_t sim_link_delay(struct sim *s, size_t src, size_t dst);
bool sim_link_loses(struct sim *s);
bool sim_link_is_up(const struct sim *s, size_t src, size_t dst);
uint64_t sim_link_ready_ms(struct sim *s, size_t src, size_t dst);
struct sim_payload *sim_link_corrupt(struct sim *s, const struct sim_payload *p);

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
/* The writer lost its disk and gave this number to two generations. */
bool sim_is_used_twice(const struct sim *s, const struct origin *o);
/* true: these two don't. */
bool sim_watermarks_broken(struct sim *s, size_t *ret_a, size_t *ret_b);

/* ---- for test programs */
/* SEED of the environment, else this one; printed. */
uint64_t sim_seed(uint64_t seed);
/* Calls run(seed) for SEED, or SEEDS (else `count`) seeds from FIRST (else 1) on; says SEED= for each failure to be repeated. */
void sim_seeds(unsigned int count, void (*run)(uint64_t seed));
struct sim_samples {
	uint64_t v[65536];
	size_t count;
};
void sim_sample(struct sim_samples *s, uint64_t v);
uint64_t sim_percentile(struct sim_samples *s, unsigned int pct);

#endif
