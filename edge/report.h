/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/report.h - what changed, when, who said so; and how long a change of health took to get into edges' maps. PURE: no clock,
 * no I/O.
 *
 * Events    the last REPORT_EVENTS_MAX, in memory alone
 * Reach     an origin keeps when each of its changes was born, by its own clock. An edge tells, for a change that it heard of
 *           and wrote into its map, how long that took and how long ago it was when it told. When that arrives, the
 *           origin knows for certain that the map was written
 *             at the latest   arrival - how long ago     (however long the report was on its way)
 *             at the soonest  publication + how long writing took     (had the news taken no time)
 *           by its own clock: no two clocks are compared, and a report that was repeated or came a long way round only
 *           widens the bounds; the narrowest of each edge count. What is shown is the later bound, "at most"
 * Record    one volatile record of each node (kind REPORT_KIND, key "reach"):
 *             {"r": [[origin number, generation mod 2^32, seq, writing us, ago us]...],      what this edge wrote
 *              "c": [[generation mod 2^32, seq, edges, p50 us, p99 us, most us, slowest edge's number]...]}   what came of its own changes
 *           at most REPORT_TOLD_MAX and REPORT_SUMS_MAX of them: REPORT_BYTES_MAX bytes
 * Memory    fixed; struct reports is about 400 KiB
 */
#ifndef EDGE_REPORT_H
#define EDGE_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gossip/record.h"

#define REPORT_KIND 129
#define REPORT_KEY "reach"
#define REPORT_EVENTS_MAX 1024
#define REPORT_CHANGES_MAX 32 /* own changes that are followed */
#define REPORT_EDGES_MAX 128  /* reports of one change that are kept */
#define REPORT_TOLD_MAX 8
#define REPORT_SUMS_MAX 4
#define REPORT_BYTES_MAX 400

/* The number by which reports name a node: the first four bytes of its id (as plan_node_num()). */
uint32_t report_node_num(const struct node_id *id);

struct report_sum { /* of one change; edges 0: nothing known */
	uint32_t edges, p50_us, p99_us, most_us;
	uint32_t slowest; /* its node number */
};

struct report_event {
	uint64_t seq; /* from 1 */
	uint64_t unix_ms;
	const char *kind; /* static text: "member", "health", "service"... */
	char who[32];	  /* node that said so */
	char what[128];	  /* what it is about */
	char text[160];
	/* of health */
	uint32_t origin, generation;
	uint64_t record_seq;
	struct report_sum sum;
};

struct report_told { /* what an edge says */
	uint32_t origin, generation;
	uint64_t seq;
	uint32_t wrote_us, ago_us;
};
struct report_own { /* what an origin says of its own change */
	uint32_t generation;
	uint64_t seq;
	struct report_sum sum;
};
struct report_msg {
	struct report_told told[REPORT_TOLD_MAX];
	size_t told_count;
	struct report_own own[REPORT_SUMS_MAX];
	size_t own_count;
};
int report_encode(const struct report_msg *m, uint8_t *buf, size_t cap); /* length | -EMSGSIZE */
int report_decode(const uint8_t *buf, size_t len, struct report_msg *ret_msg); /* 0 | -EBADMSG */

/* ---- an origin's own changes */
struct report_change {
	uint32_t generation;
	uint64_t seq, born_us, said_us;
	bool is_summed; /* what came of it has been said */
	uint32_t count; /* edges heard of; may exceed what is kept */
	struct report_edge {
		uint32_t number;
		uint32_t most_us, least_us;
	} edge[REPORT_EDGES_MAX];
};

struct reports {
	struct report_event event[REPORT_EVENTS_MAX];
	uint64_t next_seq; /* of the next event, less 1 */
	struct report_change change[REPORT_CHANGES_MAX];
	uint32_t changes; /* ever */
};

/* The one to be filled in; its seq is set, all else zero. */
struct report_event *report_event_new(struct reports *r);
/* Events from seq `after` + 1 on, oldest first: NULL = no more. *cursor starts as `after`. */
const struct report_event *report_event_next(const struct reports *r, uint64_t *cursor);
/* The newest event about this change, NULL = gone. */
struct report_event *report_event_of(struct reports *r, uint32_t origin, uint32_t generation,
				     uint64_t seq);

struct report_change *report_change_new(struct reports *r, uint32_t generation, uint64_t seq,
					uint64_t born_us, uint64_t said_us);
struct report_change *report_change_find(struct reports *r, uint32_t generation, uint64_t seq);
/* A report of an edge came in at now_us. False: it makes no sense (written before it was born). */
bool report_change_told(struct report_change *c, uint32_t edge, const struct report_told *t,
			uint64_t now_us);
void report_change_sum(const struct report_change *c, struct report_sum *ret_sum);

#endif
