/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/agent_int.h - what the parts of the agent share. For edge/agent*.c alone.
 *
 *   agent.c          life cycle, events, timers, problems
 *   agent_look.c     what status shows, problems
 *   agent_see.c      looking at packets: traces, histogram, captures
 *   agent_view.c     facts (decoded records) and the view and routes made from them
 *   agent_update.c   the same after a change of health, or of who is alive
 *   agent_backend.c  this node's backends: tokens, delivery
 *   agent_health.c   their health: checks, what packets tell
 *   agent_judge.c    checking the backends of headless nodes
 *   agent_report.c   what changed, and how long changes of health took to reach edges' maps
 *   agent_load.c     what the store remembers, at start
 *   agent_tables.c   what it says of its tables, and whether the maps are what they should be
 *   agent_poison.c   the quarantine: trials after a death, what is shown, release
 *   agent_ops.c      operators' verbs: how a write is answered; services
 *   agent_ops_backend.c  about backends
 *   agent_policy.c   operators' verbs about policies and filters
 *   agent_lists.c    prefix lists and server ids into their maps
 *   agent_tiers.c    other regions, nearest first
 *   agent_past.c     what was before the last changes, for edges that come new
 *   agent_gray.c     nodes that half work serve with less weight
 *   agent_drain.c    drains of nodes and regions; whether this edge hears enough to be believed
 *   agent_maps.c     the connection to edgefwd, plan, map writes
 *   agent_fwd.c      what edgefwd is asked for: VIPs, WireGuard peers
 *   agent_origin.c   how far others' records are known, over a restart
 *   agent_removal.c  nodes that are gone for good
 *   agent_regions.c  other regions by their summaries, and this region's own
 */
#ifndef EDGE_AGENT_INT_H
#define EDGE_AGENT_INT_H

#include <sys/queue.h>
#include <uthash.h>

#include "edge/agent.h"
#include "edge/check/check.h"
#include "edge/deliver.h"
#include "edge/mapw.h"
#include "edge/pointer.h"
#include "edge/poison.h"
#include "edge/report.h"
#include "edge/signal.h"
#include "edge/watch.h"

/* A kind for the journal and the quarantine alone: a region's summary is no record. */
#define AGENT_KIND_SUMMARY 191
#define AGENT_TOKEN_REST_MS                                                                        \
	(10u * 60 * 1000) /* longer than any edge keeps a stale word for a token */
#define AGENT_TEXT_MAX 240
#define AGENT_HEARD_MAX 32 /* changes of health that are not told yet */
#define AGENT_REACH_MAX 8
#define AGENT_TRACES_MAX 8 /* under way at a time */
/* edgefwd beats every second; a busy host is not yet a stuck daemon. */
#define AGENT_BEAT_SILENT_S 5
#define AGENT_SEED_UNREACHED_MS                                                                    \
	10000 /* how long a node that is alone, though others are configured, waits with a seed */

/* ---- facts: one decoded record in force each */

struct fact_id {	       /* hash key, compared as bytes: zeroed before it is filled */
	struct node_id writer; /* zero for shared kinds */
	char key[MODEL_KEY_MAX];
	uint8_t kind;
};
struct fact {
	struct fact_id id;
	union fact_value {
		struct model_node node;
		struct model_service service;
		struct model_backend backend;
		struct model_health health;
		struct model_override override;
		struct model_seed seed;
		struct model_filter filter;
	} u;
	uint8_t *value; /* as it came */
	size_t value_len;
	size_t at; /* of a backend: 1 + its index in the world, 0 = it is not in there */
	UT_hash_handle hh;
};

struct touched { /* indexes, each once */
	size_t *idx;
	bool *is_in;
	size_t count;
};

/* What one computation saw and decided; replaced as a whole, but for states (agent_update.c). */
struct world {
	struct route_view view;
	struct route_node *node;
	struct model_service *service;
	struct route_backend *backend;
	bool *has_filter;	     /* by service index */
	struct model_health *health; /* by backend index */
	struct route_capacity *capacity;
	struct fact **fact; /* likewise; good until a->is_reshaped */
	struct route_plan *routes;
	struct touched touched_node, touched_backend,
		touched_service; /* since maps were last written */
};

/* ---- this node's backends */

struct own_backend {
	struct model_backend model;
	char key[MODEL_KEY_MAX];
	struct model_health health;
	struct check *check;
	struct deliver_way way;
	bool has_way;
	char way_text[AGENT_TEXT_MAX]; /* why not */
	struct dp_local written;       /* last dp_local written for its slot */
	uint64_t born_ns;	       /* when its health last changed: the signal's own time */
	uint64_t said_ns;	       /* when that was published */
	struct silence silence;
	bool is_doubted;    /* a probe that a signal asked for is under way */
	char gone_text[64]; /* what of it is gone, "" = nothing */
	struct watch *watch;
	char watch_text[64]; /* what it stands on is gone, "" = it is there, or nobody looks */
	uint32_t
		distrust_ms; /* its signals were wrong: how long they were not believed the last time */
	uint64_t distrust_until_ms;
	uint32_t backoff_ms; /* without a check: how long it was out the last time */
	uint64_t return_ms;  /* and when it comes, or came, back */
	uint64_t refused_ms; /* a signal was not followed, last logged then */
	uint64_t slow_ms;    /* it starts slowly since then, 0 = it doesn't */
	struct own_past { /* agent_past.c; enum model_health_was, MODEL_WAS_SAME = not known yet */
		uint8_t now, settled, was;
		uint64_t since_ms, until_ms;
	} past;
	uint32_t signals_held, signals_lost;
	struct agent *agent;
	TAILQ_ENTRY(own_backend) link;
};
TAILQ_HEAD(own_backends, own_backend);

struct token_slot {
	uint16_t use_count; /* of the last token given out */
	bool is_taken;
	uint64_t rest_until_ms;
};

struct peer_sent { /* a WireGuard peer that edgefwd was asked for */
	struct node_id id;
	struct fwd_msg msg;
	bool is_seen;
	UT_hash_handle hh;
};

struct report_heard { /* a change of health, ours or another's */
	uint32_t origin, generation;
	uint64_t seq, heard_us, written_us; /* written 0: not yet */
};

struct agent_trace { /* asked of edgefwd; cb NULL = free */
	agent_trace_cb cb;
	void *arg;
	uint32_t seq;
	uint64_t until_ms;
};

struct agent_op {	     /* one operator's write: answered when the store has it */
	struct agent *agent; /* NULL: answered and cancelled, only to be freed */
	agent_cb cb;
	void *arg;
	char text[AGENT_TEXT_MAX]; /* warning, or what was done */
	char key[MODEL_KEY_MAX];
	uint8_t kind;
	bool is_unstored; /* waits for the event that brings its record */
	TAILQ_ENTRY(agent_op) link;
};
TAILQ_HEAD(agent_ops, agent_op);

struct agent {
	struct agent_config cfg;
	uv_loop_t *uv;
	struct gossip_core *core;
	struct gossip_loop *loop;
	struct store *store;
	struct node_id self;
	uint64_t opened_ms;
	uint64_t joined_ms; /* another live member was seen first, 0 = never */

	/* view */
	struct fact *facts;
	struct poison *poison;
	uint64_t trial_until_s; /* of uv_hrtime() */
	uint64_t quarantined_total;
	struct world *world;
	bool is_dirty;
	bool is_reshaped; /* more has changed than states: the world is to be built anew */
	bool has_member_changed, has_verdict_changed;
	bool is_fresh; /* the maps had no tables: what rows remember is still to be made of what others tell */
	bool is_plan_whole; /* the plan has seen this world; what was touched since is in the world */
	uint64_t computed_ms;
	uint32_t compute_us, compute_us_max;
	uint64_t next_expiry_s;	       /* of an override, 0 = none */
	struct agent_regions *regions; /* agent_regions.c; NULL: everyone knows everyone */

	/* own backends */
	struct own_backends own;
	size_t own_count;
	struct check_pool *checks;
	struct token_slot *slot; /* DP_LOCAL_MAX */
	uint32_t next_slot;
	uint16_t use_base; /* of slots nobody knows anything about */
	int watch_fd;
	uv_poll_t watch;
	bool is_watching;

	/* maps */
	struct fwd *fwd;
	bool is_fwd_up, has_fds;
	bool is_vip_synced,
		is_vip_begun; /* the first list of this connection is out; is being said */
	bool is_fwd_refused;  /* something: everything is said again at fwd_retry_ms */
	char fwd_text[AGENT_TEXT_MAX];
	struct dp_fds fds;
	uint32_t map_id[DP_FD_COUNT];
	struct mapw *mapw;
	struct plan_state *plan;
	struct dp_self self_written;
	/* What dp_filter and dp_quic hold, as far as is_lists_read says that it is known. */
	struct mapset filters, quic;
	uint32_t filter_room, quic_room;
	bool is_lists_read, is_filter_dirty;
	/* Why not, empty = they are written. */
	char filter_text[AGENT_TEXT_MAX], quic_text[AGENT_TEXT_MAX];
	bool is_ready;
	char map_text[AGENT_TEXT_MAX]; /* why maps can't be written, empty = they can */
	bool is_map_part;	       /* most of them were; map_text says what was not */
	char vip_text[AGENT_TEXT_MAX]; /* last refusal of a VIP or peer */
	struct ip_addr *vip;	       /* announced, sorted */
	size_t vip_count;
	uint64_t tiers_ms, gray_ms; /* when the order of regions was looked at */
	uint64_t deaf_since_ms; /* less than half of the region is heard since then, 0 = it is */
	bool is_stale, is_stale_said; /* for too long; as VIPs are announced now */
	uint64_t fwd_retry_ms;	      /* refused: ask again then, 0 = nothing to ask again */
	struct peer_sent *peers;

	struct agent_tables tables_said;
	uint64_t tables_ms, tables_computed_ms;
	struct tables_work *tables_work; /* sums are being computed, or NULL */
	struct judging *judging;

	/* reports */
	struct reports *reports;
	const struct record *record_now; /* whose event is being handled, since record_us */
	uint64_t record_us;
	uint64_t record_ms; /* the last of another's that is stored */
	struct report_heard heard[AGENT_HEARD_MAX];
	uint32_t heard_count; /* ever */
	uint64_t tell_due_ms, told_ms, problems_ms;
	bool is_tell_urgent;
	uint64_t problem_seen[AGENT_PROBLEMS_MAX];
	size_t problem_seen_count;
	uint32_t ops_written; /* since the last event about them */
	uint64_t map_writes;  /* ever */

	struct signals *signals;     /* NULL = no maps */
	struct pointers *pointers;   /* likewise */
	uint32_t meet[DP_MEET_ROWS]; /* dp_meet as written */
	uint64_t meet_digest;	     /* of whom it was made, 0 = not written yet */
	uv_timer_t health_timer;
	uint32_t health_ticks;

	/* seeing */
	struct dp_ctl *ctl; /* mapped; NULL = no maps */
	struct capture *capture;
	const void *capture_owner;
	uint64_t capture_ms; /* when it began */
	struct agent_trace trace[AGENT_TRACES_MAX];
	uint32_t last_trace;

	struct agent_ops ops; /* operators' writes that wait for the store */
	LIST_HEAD(generation_writes, generation_write)
	generations; /* writes of this node's generation that wait for the store */
	char conflict_text[AGENT_TEXT_MAX];
	uint64_t conflict_ms;
	char reach_text[AGENT_REACH_MAX][AGENT_TEXT_MAX]; /* who hears whom, as far as not at all */
	size_t reach_count;
	uint64_t reach_ms;

	/* loop */
	uv_timer_t compute_timer, tick_timer;
	bool is_compute_armed;
	uint64_t compute_due_ms;
	size_t open_handles;
	bool is_closing;
	void (*close_cb)(void *arg);
	void *close_arg;
	char problem_text[AGENT_PROBLEMS_MAX][AGENT_TEXT_MAX];
};

/* agent.c */
__attribute__((format(printf, 3, 4))) void agent_log(const char *level, const char *event,
						     const char *fmt, ...);
uint64_t agent_now_ms(const struct agent *a);
uint64_t agent_unix_ms(void);
/* Compute soon: at once if urgent, else within AGENT_COALESCE_MS. */
void agent_kick(struct agent *a, bool is_urgent);
/* View, routes, maps, now. */
void agent_compute(struct agent *a);
/* Send what direct calls into the core queued, hear what happened. Harmless inside an event. */
void agent_pump(struct agent *a);
int agent_put_node(struct agent *a);
const char *agent_node_name(const struct agent *a, const struct node_id *id,
			    char buf[MODEL_NAME_MAX]);

/* agent_view.c */
enum agent_change { AGENT_SAME, AGENT_CHANGED, AGENT_URGENT };
enum agent_change agent_fact_apply(struct agent *a, const struct record *r);
enum agent_change agent_fact_gone(struct agent *a, const struct record *r);
void agent_facts_free(struct agent *a);
/* writer NULL for shared kinds. */
const union fact_value *agent_fact_find(const struct agent *a, const struct node_id *writer,
					uint8_t kind, const char *key);
int agent_world_build(struct agent *a, struct world **ret_world);
void agent_world_free(struct world *w);
/* By an operator's word on this backend alone; its node may be drained besides. */
bool agent_backend_is_drained(struct agent *a, const struct model_node *n, const char *backend_key,
			      uint64_t now_s);
struct route_node *agent_world_node(const struct world *w, const struct node_id *id); /* or NULL */
/* For agent_update.c. */
void agent_fill_node(const struct agent *a, const struct gossip_member *m, struct route_node *n);
void agent_fill_health(const struct agent *a, struct world *w, size_t backend_idx);
size_t agent_service_at(const struct world *w, const char *name); /* SIZE_MAX: there is none */

/* agent_update.c */
int agent_touched_new(struct touched *t, size_t room);
void agent_touched_free(struct touched *t);
void agent_untouch(struct agent *a);
void agent_fact_changed(struct agent *a, const struct fact_id *id);
void agent_node_changed(struct agent *a, const struct node_id *id);
/* The world in place, after changes of state alone. -EAGAIN: it is to be built | -ENOMEM: the routes are the former ones */
int agent_world_update(struct agent *a);
const struct model_seed *agent_seed(const struct agent *a);

/* agent_poison.c */
/* Seconds. Of a child: of the processor's time, for a computation that never ends is poison too (one over the largest tables
 * takes a tenth of it); by the clock, after which the machine is slow, or what it waits for, and that says nothing. Of all
 * together, which the unit's TimeoutStartSec rests on. A test makes them shorter. */
extern struct agent_trial_limits {
	unsigned int cpu_s, child_s, all_s;
} agent_trial_limits;
int agent_poison_open(struct agent *a);
/* It can't be decoded; former: what stays in force, NULL = nothing. */
void agent_quarantine(struct agent *a, const struct record *r, const uint8_t *former,
		      size_t former_len);
/* All is loaded: who is to blame for the last death is found out in child processes. */
void agent_poison_try(struct agent *a);
/* A sentence about the i-th that is quarantined. */
const char *agent_poison_text(const struct agent *a, size_t i, char buf[AGENT_TEXT_MAX]);

/* agent_regions.c; all of it does nothing without a->regions */
int agent_regions_open(struct agent *a);
void agent_regions_close(struct agent *a);
void agent_regions_free(struct agent *a);
void agent_regions_summary(struct agent *a, const struct gossip_summary *s);
void agent_regions_region(struct agent *a, const struct gossip_region *g);
/* A record came or went: this region's summary may be another one, and has another version. */
void agent_regions_changed(struct agent *a);
/* Summaries that were in quarantine, if the core has them. */
void agent_regions_again(struct agent *a);
/* How many nodes and backends they could add to a view. */
void agent_regions_count(const struct agent *a, size_t *nodes, size_t *backends);
/* Adds to `count` nodes that are there; all are sorted by id then. Returns how many there are. */
size_t agent_regions_nodes(const struct agent *a, struct route_node *node, size_t count);
/* And what they have of services, into w->capacity. -ENOMEM */
int agent_regions_backends(struct agent *a, struct world *w, bool has_overrides);
/* Of the view, as it was computed last; NULL = unknown. */
const struct route_node *agent_regions_node(const struct agent *a, const struct node_id *id);
/* agent_regions_look.c */
size_t agent_regions_problems(const struct agent *a, char (*text)[AGENT_TEXT_MAX], size_t max);
/* agent_regions_file.c */
void agent_regions_load(struct agent *a);
void agent_regions_store(struct agent *a, bool is_last);

/* agent_tables.c */
void agent_tables_tick(struct agent *a);
void agent_tables_close(struct agent *a);
/* Who has just come has not heard what was said before. */
void agent_tables_newcomer(struct agent *a, const struct gossip_member *m);

/* agent_load.c: the store's records and members into the core, own records restated, facts filled. */
int agent_load(struct agent *a, struct err *e);

/* agent_origin.c */
void agent_origin_store(struct agent *a, const struct gossip_origin *g);
int agent_origins_load(struct agent *a); /* after the records */

/* agent_ops.c */
void agent_ops_cancel(struct agent *a);
/* The write that waits for this record's event, or NULL; agent_ops_stored(status, op) must follow. */
struct agent_op *agent_ops_claim(struct agent *a, const struct record *r);
void agent_ops_stored(int status, void *op);
/* For agent_policy.c. Put (value) or delete (NULL): into the core, to the store, then out; then the operator hears `text`.
 * On failure nothing has changed, and the operator has heard that. */
int agent_ops_commit(struct agent *a, uint8_t kind, const char *key, const uint8_t *value, int len,
		     const char *text, agent_cb cb, void *arg);
__attribute__((format(printf, 4, 5))) void agent_ops_refuse(agent_cb cb, void *arg, int err,
							    const char *fmt, ...);
/* Checks are made against what is known now, not against what the last computation saw. */
void agent_ops_refresh(struct agent *a);

/* agent_policy.c: service NULL: on all lists, "": on that of every service; verb 0: either. */
size_t agent_filters_count(const struct agent *a, const char *service, uint8_t verb);

/* agent_lists.c. What fails holds nothing else back: filter_text and quic_text say why, and the tick tries again.
 * Filters before the plan, so that no service looks into a list that is not there yet; server ids behind it, when
 * backends have their indexes. */
void agent_lists_filters(struct agent *a);
void agent_lists_quic(struct agent *a);
const char *agent_lists_text(const struct agent *a); /* what is wrong, "" if nothing is */
/* Other maps, or other contents. */
void agent_lists_forget(struct agent *a);

/* agent_backend.c */
int agent_backends_init(struct agent *a);
/* A token that is free; agent_own_add() takes it. -ENOSPC. */
int agent_token_new(struct agent *a, uint32_t *ret_token);
/* Takes the token, finds the way, starts the check. -EEXIST: its token's slot is taken. */
int agent_own_add(struct agent *a, const struct model_backend *b, const struct model_health *h,
		  struct own_backend **ret_own);
void agent_own_remove(struct agent *a, struct own_backend *o);
struct own_backend *agent_own_find(struct agent *a, const char *key);
void agent_tokens_adopt(struct agent *a);
void agent_locals_write(struct agent *a);
int agent_backends_watch(struct agent *a);
void agent_backends_close(struct agent *a);

/* agent_moves.c */
void agent_moves_maps(struct agent *a);
void agent_moves_no_maps(struct agent *a);
int agent_moves_write(struct agent *a, struct err *e);

/* agent_health.c */
void agent_check_start(struct own_backend *o);
/* A packet told `what` about it at born_ns (uv_hrtime). */
void agent_health_signal(struct own_backend *o, const char *what, uint64_t born_ns);
/* Its way, or what it stands on, may have changed: what is gone for certain takes it out. */
void agent_health_presence(struct own_backend *o);
void agent_health_unwatch(struct own_backend *o);
/* Fills in which port's refusals are its own. */
void agent_health_watch(const struct own_backend *o, struct dp_local *l);
void agent_health_maps(struct agent *a); /* new maps are in a->fds */
void agent_health_no_maps(struct agent *a);
void agent_health_open(struct agent *a);
int agent_health_checks(struct agent *a); /* what they share; closed with the rest */
void agent_health_close(struct agent *a);

/* agent_judge.c */
int agent_judge_open(struct agent *a);
void agent_judge_tick(struct agent *a);
/* A record of kind REPORT_KIND came or went: true if a verdict changed by it. */
bool agent_judge_record(struct agent *a, const struct record *r, bool is_gone);
/* What is thought of a backend (key) of this node, where health is its own word: others' verdicts, if it is headless. */
void agent_judge_apply(const struct agent *a, const struct route_node *node, size_t node_count,
		       const struct route_node *owner, const char *key,
		       struct model_health *health);
void agent_judge_close(struct agent *a);

/* agent_report.c */
int agent_report_open(struct agent *a);
/* An event for `edgectl events`. who NULL: nobody in particular. kind is a static text. */
__attribute__((format(printf, 5, 6))) void agent_say(struct agent *a, const char *kind,
						     const struct node_id *who, const char *what,
						     const char *fmt, ...);
/* A record changed something; health is told of by agent_report_health(). */
void agent_report_fact(struct agent *a, const struct record *r);
void agent_report_health(struct agent *a, const struct fact_id *id, const struct model_health *is);
void agent_report_word(struct agent *a);
void agent_report_written(struct agent *a);
void agent_report_record(struct agent *a, const struct record *r); /* REPORT_KIND */
void agent_report_tick(struct agent *a);

/* agent_tiers.c: the order of other regions, into the view; a tick that looks whether it has changed. */
void agent_tiers(const struct agent *a, struct route_view *v);
void agent_tiers_tick(struct agent *a, uint64_t now_ms);

/* agent_gray.c: the weight of nodes that half work, into the world; a tick that looks whether it has changed. */
void agent_gray(const struct agent *a, struct world *w);
void agent_gray_tick(struct agent *a, uint64_t now_ms);

/* agent_drain.c */
bool agent_override_stands(struct agent *a, const char *key, uint64_t now_s);
bool agent_node_is_drained(struct agent *a, const struct model_node *n, uint64_t now_s);
/* true: is_stale changed. */
bool agent_stale_tick(struct agent *a, uint64_t now_ms);

/* agent_fwd.c */
void agent_fwd_announce(struct agent *a);
void agent_fwd_peers(struct agent *a);
void agent_fwd_reply(const struct fwd_msg *request, const struct fwd_msg *reply, void *arg);
/* A new connection: everything is told again. */
void agent_fwd_forget(struct agent *a);

/* agent_see.c */
void agent_see_maps(struct agent *a); /* new maps are in a->fds */
void agent_see_no_maps(struct agent *a);
void agent_trace_reply(struct agent *a, const struct fwd_msg *request, const struct fwd_msg *reply);
void agent_traces_fail(struct agent *a, uint64_t now_ms, const char *text);
void agent_see_close(struct agent *a);

/* agent_past.c: what was before. Of an own backend, told in its health; of all, for an edge that comes new. */
uint8_t agent_past_was(struct own_backend *o);
void agent_past_is_new(struct own_backend *o); /* it was not there before */
/* May rows that an edge announces be made? It has heard the mesh out, or waited long enough. */
bool agent_past_is_heard(struct agent *a);
/* The routes before the last changes, NULL: there were none, or memory failed. route_free() frees. */
struct route_plan *agent_past_routes(const struct agent *a);

/* agent_slow.c: of its weight, in percent, 0 = all of it; `is_other`: its state has just changed. */
uint8_t agent_slow_share(struct own_backend *o, bool is_other);

/* agent_maps.c */
int agent_maps_open(struct agent *a, struct err *e);
void agent_maps_write(struct agent *a);
/* One word at once, before routes are computed again. */
void agent_maps_backend_down(struct agent *a, const struct node_id *node, const char *backend_key);
void agent_maps_node_down(struct agent *a, const struct node_id *id, bool is_suspect);
void agent_maps_tick(struct agent *a);
void agent_maps_close(struct agent *a);
void agent_handle_closed(struct agent *a);

#endif
