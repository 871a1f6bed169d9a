/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/reach.h - who hears whom: each node says with whom it has trouble, and what follows from all that is said.
 *
 * Row       a volatile record of kind REACH_KIND, key "reach", written by each node for itself (docs/WIRE.md): exceptions only, a
 *           round trip and a loss band for each region, and how much of the time the node itself stood still. Written when it
 *           changes, exceptions at most every 3 s, bands every 30 s; at most REACH_ROW_BYTES_MAX bytes
 * Findings  a pure function of the rows and of who is alive: the same on every node that has the same rows
 * Bands     reach_region_band() is what places that need distances between regions use: bands, not milliseconds, because these
 *           stay the same for long, so that all who compute from them come to the same
 * Memory    fixed-size structs; names in struct reach_node are the caller's; reach_find() finds nothing without memory
 * Errors    0 | -EBADMSG malformed, -EMSGSIZE
 */
#ifndef GOSSIP_REACH_H
#define GOSSIP_REACH_H

#include "gossip/record.h"

#define REACH_KIND 128
#define REACH_KEY "reach"
#define REACH_PEERS_MAX 16   /* exceptions in a row */
#define REACH_REGIONS_MAX 24 /* regions in a row */
#define REACH_ROW_BYTES_MAX 400
#define REACH_AGE_MAX_S 65535

/* ---- rows */

enum reach_cause {
	REACH_UNHEARD = 1, /* others reach it; it doesn't answer us, and we hear nothing of it */
	REACH_DEAF = 2, /* we hear it, but it answers nothing of ours: our packets don't arrive */
	REACH_DATA = 3, /* it answers gossip, its kernel does not answer data-path pings */
	REACH_GRAY = 4, /* it goes and comes, or is far slower than its neighbours */
	REACH_TWIN = 5, /* two claim its id, number or name */
};

struct reach_peer {
	uint8_t number[4]; /* the node number: first bytes of the id */
	uint8_t cause;	   /* enum reach_cause, or one of the future */
	uint16_t age_s;	   /* how long, when the row was written */
};

/* Bands have borders that a value must pass by some way before the band changes. */
struct reach_band {
	uint8_t rtt;  /* 0 <= rtt < REACH_RTT_BANDS: round trip below reach_rtt_ms(rtt) */
	uint8_t loss; /* of probes' round trips: 0 < 1 %, 1 < 5 %, 2 < 15 %, 3 < 35 %, 4 more */
};
#define REACH_RTT_BANDS 16
#define REACH_LOSS_BANDS 5
uint32_t reach_rtt_ms(uint8_t rtt_band); /* UINT32_MAX: the last one has no end */

struct reach_region {
	uint32_t region; /* reach_region_of(name) */
	struct reach_band band;
};
uint32_t reach_region_of(const char *name);

struct reach_row {
	struct reach_peer peer[REACH_PEERS_MAX];
	size_t peer_count;
	struct reach_region region[REACH_REGIONS_MAX];
	size_t region_count;
	uint8_t stall_pct; /* 0, 15, 30, 50, 75: at least so much of the last half minute it did not run */
};
/* The length, or -EMSGSIZE. Same row, same bytes. */
int reach_encode(const struct reach_row *row, uint8_t *buf, size_t cap);
int reach_decode(const uint8_t *buf, size_t len, struct reach_row *ret_row);
/* The next band from the present one (REACH_RTT_BANDS, REACH_LOSS_BANDS: there was none). */
uint8_t reach_rtt_band(uint8_t now, uint64_t rtt_us);
uint8_t reach_loss_band(uint8_t now, uint64_t lost, uint64_t sent);

/* ---- what follows */

struct reach_node {
	struct node_id id;
	const char *name, *region;
	bool is_up; /* alive, headless or suspect; who is dead or left says and is said nothing */
	bool has_row;
	uint64_t row_ms; /* when the row came, on this node's clock */
	struct reach_row row;
};

enum reach_finding_kind {
	REACH_FOUND_TWIN, /* a: its id, number or name is claimed twice; b: who has the same name, if that */
	REACH_FOUND_GRAY,    /* a: half dead */
	REACH_FOUND_DATA,    /* a: to two or more its forwarder doesn't answer, though edged does */
	REACH_FOUND_PATHS,   /* a: its paths to many fail; witnesses: how many */
	REACH_FOUND_ONE_WAY, /* packets of a don't get to b; those of b do get to a */
	REACH_FOUND_TUNNEL,  /* nothing gets through between a and b, or no data of a's gets to b */
	REACH_FOUND_UNHEARD, /* a hears nothing of b, and b has not said what it hears of a */
};
#define REACH_NOBODY SIZE_MAX
struct reach_finding {
	enum reach_finding_kind kind;
	size_t a, b;	    /* indexes of nodes; b REACH_NOBODY if it takes one only */
	uint32_t witnesses; /* rows that say so */
	uint32_t age_s;	    /* the longest that one of them said */
};
/* Worst first, each once, at most max; returns how many there are. nodes sorted by id. */
size_t reach_find(const struct reach_node *nodes, size_t node_count,
		  struct reach_finding *ret_findings, size_t max);

/* From one region to another, by name: the lower median of what its nodes say; if they say nothing, of what the other's say.
 * false: nobody says anything. A pure function of the rows: all who have the same ones get the same. */
bool reach_region_band(const struct reach_node *nodes, size_t count, const char *from,
		       const char *to, struct reach_band *ret_band);

/* ---- in the core (reach.c): what it observes, in suspect_probe.c's words; rows in and out */

struct gossip_core;
struct member;
struct record;

/* All members by id, ourselves included, with their rows; at most max. */
size_t reach_collect(const struct gossip_core *c, struct reach_node *ret_nodes, size_t max);

struct reach_state { /* of the core */
	struct reach_view {
		char name[32];
		struct reach_band band;
		uint32_t sent, lost; /* decaying */
		uint32_t rtt_us;     /* the median member's */
		size_t measured;     /* members it is the median of */
		uint8_t rtt_looks, loss_looks;
		uint64_t seen_ms;
	} view[REACH_REGIONS_MAX];
	size_t view_count;
	uint64_t tick_ms, put_ms, bands_put_ms, bands_wait_ms, begun_ms;
	uint64_t stall_ms; /* decaying: what of the last half minute we did not run */
	size_t next_view;
	size_t next; /* in the ring: whose row is read, who is probed next */
	struct reach_row said;
};

struct reach_path {	      /* of a member */
	uint64_t bad_ms;      /* since when ours don't get an answer though others' do; 0 = well */
	uint64_t data_bad_ms; /* since when its kernel does not answer though it does */
	uint64_t ping_ms;     /* last data-path ping sent to it while alive */
	uint64_t flap_ms, gray_ms;
	uint64_t row_ms, row_told; /* when its row came; sequence of ours that it was sent */
	uint64_t row_seq, generation;
	uint16_t flaps; /* decaying, in hundredths */
	uint8_t fails, ping_fails, slow_looks;
	bool names_us; /* its row has trouble with us */
};

void reach_on_answer(struct gossip_core *c, struct member *m); /* ours, from itself */
/* Are so few lost on the way there that some in a row mean something? */
bool reach_is_clean(struct gossip_core *c, const struct member *m);
void reach_on_detour(struct gossip_core *c, struct member *m); /* only others' were answered */
void reach_on_sample(struct gossip_core *c, const struct member *m, bool is_lost);
bool reach_wants_ping(const struct gossip_core *c, const struct member *m);
void reach_on_ping(struct gossip_core *c, struct member *m);
void reach_on_pong(struct gossip_core *c, struct member *m);
void reach_on_return(struct gossip_core *c, struct member *m); /* it was headless or suspect */
void reach_on_frozen(struct gossip_core *c, uint64_t gap_ms);
void reach_tick(struct gossip_core *c);

#endif
