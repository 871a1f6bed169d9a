/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/gossip.h - membership and records of a cluster as a state machine without I/O.
 *
 * The core knows no clock, socket, random source, log or event loop. Time, packets and a seed go in; packets
 * and events come out. The same core runs under libuv (gossip/loop.h) and in the simulator (tests/sim).
 *
 *   feed (recv, tick, put) -> drain gossip_core_next_packet() -> drain gossip_core_next_event()
 *   -> wait until gossip_core_deadline_ms()
 *
 * Memory   the caller owns what it passes in, the core copies what it keeps, what it hands out is valid until
 *          the next call into it
 * Time     *_ms: monotonic milliseconds given by the caller, never going back
 * Errors   0 or a negative errno; a datagram that can't be used is counted, never fatal
 * Threads  none: one thread, or the caller's lock
 * Source   SWIM (Das, Gupta, Motivala 2002), Lifeguard (Dadgar, Phillips, Currey 2017); docs/WIRE.md
 */
#ifndef GOSSIP_GOSSIP_H
#define GOSSIP_GOSSIP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gossip/err.h"
#include "gossip/record.h"

#define GOSSIP_DGRAM_MAX 1100	/* plaintext; sealed it stays <= 1200 bytes (gossip/seal.h) */
#define GOSSIP_STREAM_MAX 65536 /* plaintext bytes of one stream message */
#define GOSSIP_NAME_MAX 32	/* node name, region name: [a-z0-9-], with the NUL */
#define GOSSIP_MEMBERS_MAX 8192
#define GOSSIP_FANOUT_MAX 256

/* Mesh address and port of a peer; IPv4 is v4-mapped. */
struct gossip_addr {
	uint8_t ip[16];
	uint16_t port;
};

/* Signing is a seam: the daemon gives libsodium (gossip/seal.h), the simulator gives a stub. */
struct gossip_signer {
	void *arg;
	int (*sign)(void *arg, const uint8_t *msg, size_t len, uint8_t sig[NODE_SIG_BYTES]);
	/* 0 when sig is pub's over msg, -EBADMSG otherwise */
	int (*verify)(void *arg, const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg, size_t len,
		      const uint8_t sig[NODE_SIG_BYTES]);
	void (*id_of)(void *arg, const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id);
	/* keyless digest, 16 bytes, for record digests */
	void (*hash)(void *arg, const uint8_t *msg, size_t len, uint8_t ret[16]);
};

/* Everything that a core is told, before it acts on it, and what it gives out: for a black box (gossip/blackbox.h). Told the
 * same in the same order, with the same signatures, a core does the same, bit for bit. */
enum gossip_input_kind {
	GOSSIP_IN_NEW,
	GOSSIP_IN_RECV,
	GOSSIP_IN_SEND_FAILED,
	GOSSIP_IN_TICK,
	GOSSIP_IN_JOIN,
	GOSSIP_IN_LEAVE,
	GOSSIP_IN_PUT,
	GOSSIP_IN_DEL,
	GOSSIP_IN_LOAD_RECORD,
	GOSSIP_IN_LOAD_ORIGIN,
	GOSSIP_IN_LOAD_MEMBER,
	GOSSIP_IN_SET_GENERATION,
	GOSSIP_IN_PACKET, /* one was given out, or buf NULL: none was there */
	GOSSIP_IN_EVENT,  /* likewise, by what; number: its kind */
	GOSSIP_IN_PUT_SUMMARY,
	GOSSIP_IN_LOAD_SUMMARY /* what: summary; buf: its value */
};
struct gossip_input {
	enum gossip_input_kind kind;
	uint64_t now_ms, number; /* number: via, error, record kind, generation, count of items */
	bool is_urgent;
	const void *what; /* config, sender, record, origin, member, packet; seeds */
	const struct gossip_addr *addr;
	const char *key;
	const uint8_t *buf;
	size_t len;
};
struct gossip_core;
struct gossip_tap {
	void *arg;
	void (*input)(void *arg, const struct gossip_core *c, const struct gossip_input *in);
};
struct arena;

struct version_range { /* of the protocol, both ends included; lo 0: not known */
	uint8_t lo, hi;
};

struct gossip_config {
	char name[GOSSIP_NAME_MAX];
	char region[GOSSIP_NAME_MAX];
	uint8_t pub[NODE_PUB_BYTES];
	struct gossip_addr addr; /* own mesh address */
	bool has_forwarder;	 /* answers data-path pings */
	uint64_t
		generation; /* max(stored, unix seconds) + 1, already committed to disk by the caller */
	uint64_t boot_nonce;
	struct gossip_signer signer;
	uint64_t seed;		    /* of the core's own random numbers */
	size_t records_max;	    /* 0 = default */
	uint32_t probe_interval_ms; /* 0 = default 225 */
	uint32_t suspicion_min_ms;  /* 0 = default 1500 */
	struct gossip_tap tap;	    /* may be empty */
	bool has_regions; /* summaries between regions: "regions" below; the same on all nodes */
	struct version_range version; /* that it speaks; lo 0: what this build speaks (version.h) */
	struct arena *arena;	      /* where its memory comes from; NULL = the heap */
};

int gossip_core_new(const struct gossip_config *cfg, uint64_t now_ms, struct gossip_core **ret_core,
		    struct err *e);
void gossip_core_free(struct gossip_core *c);

/* ---- in. Each of these calls core_told() first (gossip/core.h), and blackbox_play.c knows it. */

enum gossip_via { GOSSIP_DGRAM, GOSSIP_STREAM, GOSSIP_PING };

/* A message that arrived and was opened (seal.h). GOSSIP_PING: buf is the 8-byte cookie of a data-path reply.
 * `sender` is the authenticated sender id and boot nonce that the seal carried (NULL for GOSSIP_PING). */
struct gossip_sender {
	struct node_id id;
	uint64_t boot_nonce;
};
int gossip_core_recv(struct gossip_core *c, uint64_t now_ms, enum gossip_via via,
		     const struct gossip_sender *sender, const struct gossip_addr *from,
		     const uint8_t *buf, size_t len);

/* Sending to `to` failed locally, or an ICMP error came back: counts as a failed probe. */
void gossip_core_send_failed(struct gossip_core *c, uint64_t now_ms, enum gossip_via via,
			     const struct gossip_addr *to, int error);

/* Time passed. A gap of over 100 ms past the deadline means that we were frozen: outstanding probes are void. */
void gossip_core_tick(struct gossip_core *c, uint64_t now_ms);

/* Ask these addresses to let us in; asked again, ever more slowly, until a member answers. */
int gossip_core_join(struct gossip_core *c, uint64_t now_ms, const struct gossip_addr *seeds,
		     size_t seed_count);

/* Tell everyone that this node goes away on purpose. Drain packets afterwards, then stop. */
void gossip_core_leave(struct gossip_core *c, uint64_t now_ms);

/* Write a record of this node (own or volatile kind), or a shared one. Value is one MessagePack map; the same
 * value again is no new version. Signs, applies, and queues it to spread.
 * -EINVAL kind or value | -EMSGSIZE | -ENOSPC records_max | -EPERM shared, and this node was removed */
int gossip_core_put(struct gossip_core *c, uint64_t now_ms, uint8_t kind, const char *key,
		    const uint8_t *value, size_t value_len, bool is_urgent);
/* Write a tombstone. -ENOENT if there is no such live record (of this node's, for own kinds) | -ENOSPC shared, and too many
 * tombstones wait for a member that is away: gossip_core_shared() | -EPERM */
int gossip_core_del(struct gossip_core *c, uint64_t now_ms, uint8_t kind, const char *key,
		    bool is_urgent);

/* At start, before join: what the store remembered. Signatures are verified again; own records of this node are
 * restated under the new generation by the caller's gossip_core_put(), not by loading. */
int gossip_core_load_record(struct gossip_core *c, const struct record *r);

/* How far the records of one writer are known. Stored beside them, in the same transaction, so that a restart goes on
 * counting where it was: what was deleted and collected before does not come back from a third node. */
struct gossip_origin {
	struct node_id id;
	uint64_t generation;
	uint64_t watermark,
		verified;     /* contiguous to here: as peers told; by our own count or a head */
	uint64_t gc, gc_told; /* tombstones up to here are gone: likewise */
	uint64_t former, former_watermark; /* the generation before */
	bool is_whole, is_closed, is_disputed;
	uint8_t sum[16]; /* of all records of the writer that were stored with this */
};
/* After all records, before join. A statement counts only if the records add up to its sum.
 * -ESTALE they don't, and nothing is known but the records: drop it | -EBADMSG it contradicts itself */
int gossip_core_load_origin(struct gossip_core *c, const struct gossip_origin *o);

enum gossip_state { GOSSIP_ALIVE, GOSSIP_HEADLESS, GOSSIP_SUSPECT, GOSSIP_DEAD, GOSSIP_LEFT };

struct gossip_member {
	struct node_id id;
	uint8_t pub[NODE_PUB_BYTES];
	char name[GOSSIP_NAME_MAX];
	char region[GOSSIP_NAME_MAX];
	struct gossip_addr addr;
	bool has_forwarder;
	struct version_range version; /* of the protocol, that it speaks; lo 0: not heard yet */
	enum gossip_state state;
	uint64_t generation;
	uint64_t boot_nonce;
	uint64_t since_ms;	/* when the state began, on this node's clock */
	uint64_t heard_ms;	/* last sign of control life, 0 = never in this run */
	uint64_t data_heard_ms; /* last data-path ping answered */
	uint32_t rtt_us;	/* smoothed; 0 = not measured */
	uint32_t incarnation;
	bool is_self;
	bool is_removed; /* a removal stands: none of its records counts */
	bool is_behind;	 /* its digest, heard in the last 2 s, differs from ours for over 1 s */
	uint64_t behind_since_ms;
	/* What the last comparison with it found, as long as it is behind: of our records it lacked so many of so many
	 * writers, and so many shared ones; of so many writers it had more than we. */
	size_t lacks_records, lacks_writers, lacks_shared, ahead_writers;
};
/* -EXDEV: with has_regions, of another region; it is not kept, and the store need not either. Records of such nodes that were
 * loaded go at gossip_core_join(), each with its GOSSIP_EV_RECORD_GONE. */
int gossip_core_load_member(struct gossip_core *c, const struct gossip_member *m);

/* ---- regions. With has_regions members and own records are those of this node's region alone; of each other region there is
 * a summary, and its three lowest live nodes. Shared records reach everyone. */

#define GOSSIP_REGIONS_MAX 48
#define GOSSIP_SUMMARY_MAX (256u << 10)
#define GOSSIP_DOWN_MAX 128
#define GOSSIP_SENDERS_MAX 3

/* Of a summary. Compared in this order; of two with the same numbers the lower hash is the newer one. */
struct gossip_version {
	uint64_t
		removals; /* highest counter of a removal of a node, or of its lifting, or of what collected one */
	uint64_t lives;	 /* sum of the writers' generations, and the floor of shared tombstones */
	uint64_t marks;	 /* sum of their watermarks, and of the versions of shared records */
	uint8_t hash[8]; /* of the value */
};
int gossip_version_cmp(const struct gossip_version *a, const struct gossip_version *b);

/* A region's value as an application makes it from all that it was told by events until the last gossip_core_next_event() that
 * was false; a function of records alone, so that each node of the region makes the same. To be called after each change of
 * records, also with the same value: that raises its version. Other regions get it from this node only while it is one of the
 * two lowest that live. -ENOTSUP without has_regions | -EMSGSIZE | -ENOMEM */
int gossip_core_put_summary(struct gossip_core *c, uint64_t now_ms, const uint8_t *value,
			    size_t len);

struct gossip_summary {
	char region[GOSSIP_NAME_MAX];
	struct gossip_version version;
	const uint8_t *value;
	size_t len;
	struct node_id from; /* who sent it; zero: it was loaded */
};
/* At start, before join: another region's, as GOSSIP_EV_SUMMARY had it. What is newer takes its place.
 * -ENOTSUP | -EINVAL a name, or this node's own region | -EBADMSG hash or length | -ENOSPC | -ENOMEM */
int gossip_core_load_summary(struct gossip_core *c, const struct gossip_summary *s);

struct gossip_region {
	char name[GOSSIP_NAME_MAX];
	bool is_own;
	bool is_dead; /* none of it answers those of us that ask: its ways in are not to be used */
	bool has_value;
	struct gossip_version version;
	const uint8_t *value; /* valid until the next call */
	size_t len;
	struct node_id from;
	uint64_t since_ms; /* is_dead is as it is */
	uint64_t value_ms; /* when the value came */
	uint64_t
		heard_ms; /* this node heard of it itself; only the three lowest of a region ask others. 0 = never */
	uint32_t rtt_us; /* likewise; 0 = not measured */
	/* Its lowest nodes: who can speak for it. The one that counts says how many of its members live, and who is suspect or
	 * dead there. */
	struct gossip_contact {
		struct node_id id;
		char name[GOSSIP_NAME_MAX];
		struct gossip_addr addr;
		bool counts;
		uint64_t heard_ms;
	} senders[GOSSIP_SENDERS_MAX];
	size_t sender_count;
	size_t live_count;
	uint8_t down[GOSSIP_DOWN_MAX][4]; /* node numbers: the first bytes of ids */
	size_t down_count;
	/* Somebody has a newer version, since then. */
	bool is_behind;
	struct gossip_version newest;
	struct node_id newest_from;
	uint64_t behind_since_ms;
};
/* Own region first, then by name. 0 without has_regions. */
size_t gossip_core_region_count(const struct gossip_core *c);
void gossip_core_region_at(const struct gossip_core *c, size_t i, struct gossip_region *ret_region);

/* Nodes heard lately that have the other mode, in either mode, or speak no version of the protocol that all speak; newest first. */
struct gossip_mismatch {
	struct node_id id;
	struct gossip_addr addr;
	uint64_t heard_ms;
	uint32_t version_lo,
		version_hi; /* of the protocol, of which we share none with it; 0: it is the mode */
};
#define GOSSIP_MISMATCHES_MAX 8
size_t gossip_core_mismatches(const struct gossip_core *c,
			      struct gossip_mismatch ret[GOSSIP_MISMATCHES_MAX]);

/* ---- out */

/* One plaintext for one or many destinations (one seal per fan-out). For GOSSIP_PING, buf is an 8-byte cookie and
 * the port in `to` is meaningless: the shell sends a data-path ping. */
struct gossip_packet {
	enum gossip_via via;
	const struct gossip_addr *to;
	size_t to_count;
	const uint8_t *buf;
	size_t len;
};
bool gossip_core_next_packet(struct gossip_core *c, struct gossip_packet *ret_packet);

enum gossip_event_kind {
	GOSSIP_EV_MEMBER, /* a member appeared or changed state, address or generation */
	GOSSIP_EV_RECORD, /* a record came into force (also a tombstone), ours or another's */
	GOSSIP_EV_RECORD_GONE, /* it was dropped: not restated by a new generation, removal, or tombstone collected */
	GOSSIP_EV_GENERATION, /* our own generation must go up to `generation`: store it durably, then call
				gossip_core_set_generation() */
	GOSSIP_EV_CONFLICT, /* duplicate node: same id with another nonce, same name, or same number */
	GOSSIP_EV_ORIGIN, /* we know a writer's records differently far: store it with the records told so far.
				Comes when no other event waits; several changes of one writer make one */
	GOSSIP_EV_SUMMARY, /* another region's value is another one: summary */
	GOSSIP_EV_REGION /* another region appeared (is_new), died, came back, or who is down there changed: region.
				Its value is not told here */
};
struct gossip_event {
	enum gossip_event_kind kind;
	struct gossip_member member; /* MEMBER, CONFLICT */
	enum gossip_state old_state; /* MEMBER: == member.state when new */
	bool is_new;
	struct record record;	     /* RECORD, RECORD_GONE */
	struct gossip_origin origin; /* ORIGIN */
	struct gossip_summary summary;
	const struct gossip_region *region;
	uint64_t generation;
};
bool gossip_core_next_event(struct gossip_core *c, struct gossip_event *ret_event);

/* After GOSSIP_EV_GENERATION: the number is safe on disk; the core restates everything under it. */
void gossip_core_set_generation(struct gossip_core *c, uint64_t now_ms, uint64_t generation);

uint64_t gossip_core_deadline_ms(const struct gossip_core *c);

/* ---- look */

/* The version of the protocol that the mesh speaks; ret_own, may be NULL: those that this node does. */
uint8_t gossip_core_version(const struct gossip_core *c, struct version_range *ret_own);
size_t gossip_core_member_count(const struct gossip_core *c);
/* i < count; order is stable between calls that change nothing. Self is one of them. */
void gossip_core_member_at(const struct gossip_core *c, size_t i, struct gossip_member *ret_member);
bool gossip_core_member_get(const struct gossip_core *c, const struct node_id *id,
			    struct gossip_member *ret_member);

/* Walk all records in force, tombstones not: cursor starts at 0; false at the end. */
bool gossip_core_next_record(const struct gossip_core *c, size_t *cursor,
			     struct record *ret_record);
/* id NULL for shared kinds. */
bool gossip_core_get_record(const struct gossip_core *c, const struct node_id *id, uint8_t kind,
			    const char *key, struct record *ret_record);

/* Another machine has this node's key and keeps the id: this one says nothing while that answers, at ret_addr. */
bool gossip_core_has_yielded(const struct gossip_core *c, struct gossip_addr *ret_addr);

/* Tombstones of shared records, and whom they wait for. They are collected when every member that was not removed, also the
 * dead and those that left, was seen to have them. */
struct gossip_shared {
	size_t tombstones;
	uint64_t floor;	     /* those with a counter up to here are gone */
	bool is_waiting;     /* there are so many that they would go, but for */
	struct node_id whom; /* who was longest not seen to have what we have */
};
void gossip_core_shared(const struct gossip_core *c, struct gossip_shared *ret_shared);

/* Digest of all stored-scope records: equal digests mean equal records. */
void gossip_core_digest(const struct gossip_core *c, uint8_t ret_digest[16]);

/* The bounds that hold after every step; abort()s in tests when broken. O(all state). */
void gossip_core_check(const struct gossip_core *c);

/* Counters, by name for metrics: X(name, "what"). */
#define GOSSIP_COUNTERS(X)                                                                         \
	X(dgrams_in, "datagrams accepted")                                                         \
	X(dgrams_out, "datagrams sent")                                                            \
	X(bytes_in, "plaintext bytes accepted")                                                    \
	X(bytes_out, "plaintext bytes sent, by destination")                                       \
	X(bad_dgrams, "malformed messages dropped")                                                \
	X(bad_signatures, "records with a wrong signature dropped")                                \
	X(refused_records,                                                                         \
	  "records dropped: not the writer's to write, over a limit, or of a removed node")        \
	X(records_new, "records that came into force")                                             \
	X(records_old, "records we already had or newer")                                          \
	X(probes_sent, "probes sent")                                                              \
	X(probes_failed, "probes without an answer in time")                                       \
	X(streams_in, "stream messages accepted")                                                  \
	X(streams_out, "stream messages sent")                                                     \
	X(queue_drops, "news dropped because a queue was full (anti-entropy repairs it)")          \
	X(frozen, "times this process found that it had been frozen")                              \
	X(refutations, "suspicions of ourselves refuted")                                          \
	X(mode_mismatches, "messages of nodes whose regions mode is another one")                  \
	X(version_mismatches,                                                                      \
	  "messages and cards of nodes whose protocol versions don't meet ours")                   \
	X(summaries_in, "summaries of regions that came in whole")                                 \
	X(summaries_out, "summaries of regions sent")                                              \
	X(region_dgrams_out, "datagrams sent about regions, or to other regions")
struct gossip_counters {
#define GOSSIP_COUNTER_FIELD(name, what) uint64_t name;
	GOSSIP_COUNTERS(GOSSIP_COUNTER_FIELD)
#undef GOSSIP_COUNTER_FIELD
};
void gossip_core_counters(const struct gossip_core *c, struct gossip_counters *ret_counters);

#endif
