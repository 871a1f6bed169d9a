/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/agent.h - the shell of edge/: gossip events and check results in; routes, map writes and own records out.
 *
 * It owns the typed view (nodes, services, backends, health, overrides), this node's backends with their checks and
 * tokens, the seed, the connection to edgefwd, and calls route -> plan -> mapw. Durable writes go through the store.
 *
 * Urgent    a backend that falls, a node that turns suspect or dead: one map word is written in the event's callback,
 *           and routes are computed in the next turn of the loop; other changes are coalesced (AGENT_COALESCE_MS)
 * Acks      an operator's write is put into the core and queued to the store; it is spread when the commit is done and
 *           answered then. Should the loop send something else in those milliseconds, the write may go with it. With a
 *           broken store it is spread all the same and the answer says "accepted, not durable"
 * Poison    a record that can't be read, or of which this process died (edge/poison.h), leaves the former version in
 *           force and is shown among the problems
 * Adopting  maps that a former process filled are read back (plan_adopt()): the same names keep the same
 *           indexes, rows and tokens, so a restart writes nothing that packets could notice
 * Threads   the loop's thread
 */
#ifndef EDGE_AGENT_H
#define EDGE_AGENT_H

#include <uv.h>

#include "edge/capture.h"
#include "edge/check/check.h"
#include "edge/fwd.h"
#include "edge/hist.h"
#include "edge/report.h"
#include "edge/plan.h"
#include "edge/route.h"
#include "edge/stats.h"
#include "edge/summary.h"
#include "gossip/loop.h"
#include "store/store.h"

#define AGENT_PATTERNS_MAX 16
#define AGENT_COALESCE_MS 20
#define AGENT_PROBLEMS_MAX 16

struct agent_config {
	struct model_node self; /* what the node record says */
	char order[ROUTE_REGIONS_MAX][MODEL_NAME_MAX];
	size_t order_count;
	const char *fwd_socket; /* NULL = no forwarder on this node */
	struct ip_prefix vip_prefix[AGENT_PATTERNS_MAX];
	size_t vip_prefix_count;
	char bridge[AGENT_PATTERNS_MAX]
		   [32]; /* interface patterns (fnmatch) of containers and VMs */
	size_t bridge_count;
	bool manage_wireguard; /* ask edgefwd to set peers that node records name */
	bool has_seeds; /* others are configured: wait longer before making a flow seed alone */
	const char *version;
	struct check_pool_config checks;
	bool has_regions;      /* of other regions there are summaries; the core has it too */
	const char *state_dir; /* where the quarantine outlives this process; NULL = it doesn't */
};

struct agent;

/* Before gossip_core_join(): loads records and members from the store into the core and the view, restates own records,
 * starts checks with their remembered health. Blocks on the store (start-up only). */
int agent_open(uv_loop_t *uv, const struct agent_config *cfg, struct gossip_core *core,
	       struct store *store, struct agent **ret_agent, struct err *e);
/* The loop exists only after the agent: hand it over before the first event. */
void agent_set_loop(struct agent *a, struct gossip_loop *loop);
void agent_event(const struct gossip_event *ev, void *arg /* struct agent * */);
void agent_close(struct agent *a, void (*cb)(void *arg), void *arg);

/* ---- operator's verbs; each answers once through cb, with 0 or a negative errno and a sentence. `warning` may be set
 * with status 0 ("accepted, not durable"). */
typedef void (*agent_cb)(int status, const char *text, void *arg);
void agent_service_add(struct agent *a, const struct model_service *s, agent_cb cb, void *arg);
void agent_service_rm(struct agent *a, const char *name, agent_cb cb, void *arg);
/* policy: "pps=1000" ..., model_policy_set(); all of them or none. */
void agent_service_set(struct agent *a, const char *name, const char *const *policy, size_t count,
		       agent_cb cb, void *arg);
/* A prefix that is on the list already gets this verb and reason. */
void agent_filter_add(struct agent *a, const struct model_filter *f, agent_cb cb, void *arg);
void agent_filter_rm(struct agent *a, const char *service, const struct ip_prefix *prefix,
		     agent_cb cb, void *arg);
void agent_backend_add(struct agent *a, const struct model_backend *b, agent_cb cb, void *arg);
/* spec: "SERVICE/ADDR:PORT" of this node, or "NODE/SERVICE/ADDR:PORT" */
void agent_backend_rm(struct agent *a, const char *spec, agent_cb cb, void *arg);
void agent_backend_weight(struct agent *a, const char *spec, uint32_t weight, agent_cb cb,
			  void *arg);
void agent_backend_drain(struct agent *a, const char *spec, bool is_drained, const char *author,
			 const char *reason, agent_cb cb, void *arg);

/* ---- the quarantine: records that are not applied */
#define AGENT_KEY_TEXT (RECORD_KEY_MAX + 10) /* made printable */
struct agent_quarantined {
	char spec[256]; /* KIND/KEY, KIND/NODE/KEY of own kinds: what names it */
	const char *kind;
	char key[AGENT_KEY_TEXT], writer[MODEL_NAME_MAX];
	uint64_t generation, seq, unix_s; /* since */
	bool has_former;		  /* the version before stays in force */
	bool is_death;			  /* else it can't be read */
	int signal;			  /* that ended the process, 0 = not known */
};
bool agent_quarantine_at(const struct agent *a, size_t i, struct agent_quarantined *ret_q);
/* It is applied again, at once. -ENOENT: there is none. */
int agent_quarantine_release(struct agent *a, const char *spec, struct err *e);

/* ---- agent_tables.c: do all have the same tables, and are they written? */
#define AGENT_KIND_TABLES 131 /* volatile; what a node says of its own */
struct agent_tables {
	uint8_t digest[16]; /* of all stored records */
	bool is_written;    /* what they ask for stands in the maps, or there are none */
	bool has_sums;
	uint32_t times; /* said so */
	struct plan_sums sums;
};
void agent_tables_self(const struct agent *a, struct agent_tables *ret_tables); /* no sums */
/* With sums, if there are tables: a walk through all rows. */
void agent_tables_self_sums(const struct agent *a, struct agent_tables *ret_tables);
/* As it said last; false: nothing. */
bool agent_tables_of(const struct agent *a, const struct node_id *id,
		     struct agent_tables *ret_tables);
int agent_tables_encode(const struct agent_tables *t, uint8_t *buf,
			size_t cap); /* length, or negative */
int agent_tables_decode(const uint8_t *buf, size_t len, struct agent_tables *ret_tables);
typedef void (*plan_differs_cb)(const char *text, void *arg);
/* Routes, memory and maps of this node: a sentence for each thing that differs. -ENOTCONN: no maps. Looks at every row, so
 * not in the loop: a child process may, and asks agent_map_writes() afterwards whether the maps stood still. */
int agent_verify(struct agent *a, plan_differs_cb cb, void *arg, struct plan_verified *ret_verified,
		 struct err *e);
uint64_t agent_map_writes(const struct agent *a);

/* ---- looking at the data path. -ENOTCONN: no maps, or no edgefwd */
/* Answers once, maybe at once: status 0 with what edgefwd's run of dp_trace on the frame found, or a negative errno and a
 * sentence. */
typedef void (*agent_trace_cb)(int status, const char *text, const struct dp_trace *trace,
			       void *arg);
void agent_trace(struct agent *a, const uint8_t *frame, size_t bytes, agent_trace_cb cb, void *arg);
/* Time one packet in `every` (0 = off). What stands there is cleared when it is switched on. */
int agent_hist_set(struct agent *a, uint32_t every, struct err *e);
int agent_hist_get(struct agent *a, uint32_t *ret_every, struct hist ret_hist[DP_HOOK_COUNT],
		   struct err *e);
/* One capture at a time, for whoever `owner` points out. -EBUSY: there is one. Reading: see capture_read(). */
int agent_capture_start(struct agent *a, const void *owner, const struct capture_config *cfg,
			struct err *e);
int agent_capture_read(struct agent *a, const void *owner, capture_cb cb, void *arg, struct err *e);
void agent_capture_stop(struct agent *a, const void *owner); /* harmless if it has none */

/* A drain of all backends of a node or a region; an edge of it withdraws its VIPs and forwards what still comes. */
enum agent_drain_scope { AGENT_DRAIN_NODE, AGENT_DRAIN_REGION };
struct agent_order {
	const char *author, *reason; /* may be NULL */
	uint64_t seconds;	     /* it stands, 0 = until taken back */
};
void agent_drain(struct agent *a, enum agent_drain_scope scope, const char *name, bool is_drained,
		 const struct agent_order *order, agent_cb cb, void *arg);
/* By name or hex id, of one that is dead or has left: nothing it ever wrote counts until it is restored. */
void agent_node_rm(struct agent *a, const char *name, const struct agent_order *order, agent_cb cb,
		   void *arg);
void agent_node_restore(struct agent *a, const char *name, agent_cb cb, void *arg);

/* ---- looking: the view is valid until the loop runs on */
struct agent_view {
	const struct route_view *view;
	const struct route_plan *routes; /* NULL before the first computation */
	const struct plan_state *plan;
	const struct dp_fds *fds; /* NULL = never had any */
	bool is_fwd_up;
	const char *fwd_text; /* "connected", or why not */
	bool is_ready;	      /* maps are filled */
	bool is_stale;	      /* less than half of the region is heard: VIPs are depreferred */
	size_t vip_count;     /* announced */
	uint64_t routes_at_ms;
	uint32_t compute_us,
		compute_us_max; /* view, routes, plan and map writes: the last time, and the worst */
	const char *problem[AGENT_PROBLEMS_MAX]; /* sentences, worst first */
	size_t problem_count;
};
void agent_look(struct agent *a, struct agent_view *ret_view);
/* Health details of a backend of the view, for lists. */
bool agent_health(struct agent *a, size_t backend_idx, struct model_health *ret_health);
/* What its check did last; false: it is another node's, or has none. */
bool agent_check_look(const struct agent *a, size_t backend_idx, struct check_look *ret_look);
/* What of another region's summary (gossip_core_region_at()) is in force here; false: nothing. */
struct agent_region_view {
	struct gossip_version version;
	size_t nodes, services, ways;
	size_t backends; /* that it has, whether or not they are ways in */
	struct summary_keys keys;
};
bool agent_region_look(const struct agent *a, const char *name, struct agent_region_view *ret_view);
/* What changed lately. */
const struct reports *agent_events(const struct agent *a);
/* The filters, one after another, in no order; *cursor starts as NULL. */
const struct model_filter *agent_filter_next(const struct agent *a, const void **cursor);

#endif
