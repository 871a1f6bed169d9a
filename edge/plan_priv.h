/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/plan_priv.h - the mirror behind edge/plan.h, for edge/plan*.c alone.
 *
 * A diff never edits the mirror: it builds the next one beside it and swaps at the end, so a failure half-way leaves
 * nothing to undo. Tables, pages and directories are immutable counted blocks that both mirrors share.
 *
 * Invariants   arrays sorted by their keys, none twice; an index is in exactly one of: an entry, `rest`, a pool's free
 *              part; a row is in exactly one of: a service's table, `rest`, `rows`
 */
#ifndef EDGE_PLAN_PRIV_H
#define EDGE_PLAN_PRIV_H

#include "edge/plan.h"
#include "edge/route_claims.h"

struct plan_block {
	struct plan_block *list_next; /* in the one plan_list that emits it */
	uint32_t refs;
	uint32_t count;	 /* of rows or words */
	uint64_t data[]; /* struct dp_row, and behind them as many struct plan_past; or uint32_t */
};
/* What a row of dp_rows does not say. In plan_second()s; 0 = longer ago than anybody here remembers. */
struct plan_past {
	uint32_t since_s; /* has its owner */
	uint32_t prev_s;  /* has its previous owner */
};
static inline uint32_t plan_second(uint64_t now_ms)
{
	return (uint32_t)(now_ms / 1000) + 1;
}
struct plan_block *plan_block_rows(uint32_t count);	       /* NULL: no memory */
struct plan_block *plan_block_words(const uint32_t word[256]); /* copies */
struct plan_block *plan_block_ref(struct plan_block *b);       /* NULL-safe */
void plan_block_unref(struct plan_block *b);
static inline struct dp_row *plan_rows_of(struct plan_block *b)
{
	return (struct dp_row *)b->data;
}
static inline struct plan_past *plan_past_of(struct plan_block *b)
{
	return (struct plan_past *)(b->data + b->count);
}
static inline uint32_t *plan_words_of(struct plan_block *b)
{
	return (uint32_t *)b->data;
}

int plan_list_add(struct plan_list *l, const struct plan_op *op,
		  struct plan_block *b); /* b may be NULL */

/* Indexes 1 .. cap - 1. Those never used go first, then the one that is free longest. */
struct plan_pool {
	uint32_t cap, high; /* high: lowest never used */
	uint32_t *free;	    /* a queue in an array */
	size_t head, count, room;
};
int plan_pool_copy(const struct plan_pool *from, struct plan_pool *ret_pool);
int plan_pool_take(struct plan_pool *p, uint32_t *ret_idx); /* 0 | -ENOSPC */
int plan_pool_give(struct plan_pool *p, uint32_t idx);	    /* 0 | -ENOMEM */

/* Free rows: sorted, apart from each other. */
struct plan_range {
	uint32_t offset, count;
};
struct plan_ranges {
	struct plan_range *r;
	size_t count, room;
};
int plan_ranges_copy(const struct plan_ranges *from, struct plan_ranges *ret_ranges);
int plan_ranges_take(struct plan_ranges *s, uint32_t count,
		     uint32_t *ret_offset); /* first fit; 0 | -ENOSPC */
int plan_ranges_take_at(struct plan_ranges *s, uint32_t offset,
			uint32_t count); /* -EEXIST: not all free */
int plan_ranges_give(struct plan_ranges *s, uint32_t offset, uint32_t count); /* 0 | -ENOMEM */

enum plan_pool_kind {
	POOL_NODE,
	POOL_BACKEND,
	POOL_SVC,
	POOL_PAGE,
	POOL_DIR,
	POOL_VIP,
	POOL_COUNT
};

struct plan_rest {
	enum plan_rest_kind {
		REST_VIP, /* the order in which they go */
		REST_SVC,
		REST_BACKEND,
		REST_NODE,
		REST_PAGE,
		REST_DIR,
		REST_ROWS,
		REST_KINDS
	} kind;
	uint32_t idx;		/* not for REST_ROWS */
	uint32_t offset, count; /* REST_ROWS, and the table that goes with a REST_SVC */
	uint64_t at_ms;
	struct ip_addr addr; /* REST_NODE */
	uint32_t node_num;   /* REST_NODE */
};

struct plan_node_ent { /* by id */
	struct node_id id;
	uint32_t idx;
	struct dp_node value;
};
struct plan_backend_key {
	struct node_id node;
	char service[MODEL_NAME_MAX];
	struct ip_addr addr;
	uint16_t port;
};
struct plan_backend_ent { /* by key */
	struct plan_backend_key key;
	uint32_t idx;
	uint64_t word;
};
struct plan_svc_ent { /* by (name, family, part) */
	char name[MODEL_NAME_MAX];
	struct ip_port_range part;
	uint32_t idx;
	struct dp_svc value;
	struct plan_block *rows; /* NULL = no table */
	uint64_t forget_ms; /* a previous owner of its rows is to be forgotten; UINT64_MAX = none */
	bool is_local;	    /* local=prefer: no other edge has this table */
};
/* Protocols of a VIP's directories, ascending. */
enum plan_dir { PLAN_DIR_TCP, PLAN_DIR_UDP, PLAN_DIRS };
struct plan_vip_ent { /* by address */
	uint32_t idx;
	struct dp_vip value;
	bool is_served;			   /* a port of it leads to a table */
	struct plan_block *dir[PLAN_DIRS]; /* NULL where the directory's index is 0 */
};
struct plan_page_key {
	uint8_t addr[16];
	uint8_t which; /* enum plan_dir */
	uint8_t high;  /* port >> 8 */
};
struct plan_page_ent { /* by key */
	struct plan_page_key key;
	uint32_t idx;
	struct plan_block *page;
};
struct plan_slot_ent { /* by slot; slots of which dp_vipslot says 0 have none */
	uint32_t slot;
	uint32_t says;
};

/* What the last plan_diff() saw, by index of its view and routes; for plan_update(). */
struct plan_seen {
	bool is_valid;
	size_t node_count, backend_count, service_count, entry_count;
	uint32_t *node_idx, *backend_idx, *svc_idx;
	bool *is_svc_up, *may_be_prev; /* the latter by dp_backend index */
};

struct plan_state {
	struct plan_sizes sizes;
	struct plan_seen seen;
	struct plan_node_ent *node;
	size_t node_count;
	struct plan_backend_ent *backend;
	size_t backend_count;
	struct plan_svc_ent *svc;
	size_t svc_count;
	struct plan_vip_ent *vip;
	size_t vip_count;
	struct plan_page_ent *page;
	size_t page_count, page_room;
	struct plan_slot_ent *slot;
	size_t slot_count;
	struct plan_pool pool[POOL_COUNT];
	struct plan_ranges rows;
	struct plan_rest *rest;
	size_t rest_count, rest_room;
	bool is_adopted; /* say nodes, services and VIPs again: a list may have been cut between two halves of an operation */
};
void plan_state_done(struct plan_state *s);			    /* contents only */
int plan_rest_add(struct plan_state *s, const struct plan_rest *r); /* 0 | -ENOMEM */

int plan_backend_key_cmp(const struct plan_backend_key *a, const struct plan_backend_key *b);
void plan_backend_key_of(const struct route_view *view, size_t backend_idx,
			 struct plan_backend_key *ret_key);
struct plan_svc_key {
	const char *name;
	uint8_t family;
	struct ip_port_range part;
};
int plan_svc_cmp(const struct plan_svc_key *a, const struct plan_svc_key *b);
static inline struct plan_svc_key plan_svc_key_of(const struct plan_svc_ent *s)
{
	return (struct plan_svc_key){s->name, s->value.family, s->part};
}
struct plan_node_ent *plan_find_node(const struct plan_state *s, const struct node_id *id);
const struct plan_svc_ent *plan_find_svc(const struct plan_state *s,
					 const struct plan_svc_key *key);
struct plan_backend_ent *plan_find_backend(const struct plan_state *s,
					   const struct plan_backend_key *key);
struct plan_vip_ent *plan_find_vip(const struct plan_state *s, const uint8_t addr[16]);
struct plan_page_ent *plan_find_page(const struct plan_state *s, const struct plan_page_key *key);
static inline uint32_t *plan_dir_of(struct dp_vip *vip, enum plan_dir which)
{
	return which == PLAN_DIR_TCP ? &vip->dir_tcp : &vip->dir_udp;
}

/* Stages of a list, in order. */
enum plan_stage {
	STAGE_DOWN,
	STAGE_FREE,
	STAGE_NODE,
	STAGE_BACKEND,
	STAGE_ROWS,
	STAGE_SVC,
	STAGE_LEFT,
	STAGE_PAGE,
	STAGE_DIR,
	STAGE_VIP,
	STAGE_VIP_SLOT,
	STAGE_VIP_GONE,
	STAGE_SVC_EMPTY,
	STAGE_COUNT
};
struct plan_work {
	struct plan_state *old; /* read; plan_update() changes it when all is done */
	struct plan_state next;
	const struct route_view *view;
	const struct route_plan *routes;
	const struct route_plan *before; /* of plan_replay(), else NULL */
	const struct node_id *self;
	uint64_t now_ms;
	struct err *e;
	struct err why; /* of the last failure to find room */
	size_t short_count;
	uint32_t self_idx; /* taken for this node where it is new */
	struct plan_list stage[STAGE_COUNT];
	size_t *node_order; /* view indexes of the nodes that belong in the maps, by id */
	size_t node_order_count;
	uint32_t *node_idx;    /* by view.node; 0 = not in the maps */
	uint32_t *backend_idx; /* by view.backend */
	bool *is_panic;	       /* by view.backend: it fails, and is used */
	bool *is_svc_up;       /* by routes.entry: it has a table */
	bool *may_be_prev;     /* by dp_backend index: flows may live on it */
	uint32_t *svc_idx;     /* by routes.entry */
	size_t *first_entry; /* by view.service * 2 + (family == 6): 1 + its first in routes.entry, 0 = none */
	struct route_claims claims;
};
void plan_seen_take(struct plan_work *w, struct plan_seen *ret_seen); /* edge/plan_update.c */
void plan_seen_done(struct plan_seen *seen);
uint32_t plan_node_state(const struct route_node *n); /* enum dp_node_state */
int plan_append(struct plan_list *l, struct plan_list stage[STAGE_COUNT]);
bool plan_may_be_prev(const struct route_view *view, const struct route_backend *b);
int plan_entry_cmp(const struct plan_work *w, const struct route_entry *e,
		   const struct plan_svc_ent *s);
int plan_diff_svc(struct plan_work *w, const struct plan_svc_ent *old, const struct route_entry *e);
int plan_take(struct plan_work *w, enum plan_pool_kind kind,
	      uint32_t *ret_idx); /* -ENOSPC fills w->why */
int plan_let_rest(struct plan_work *w, enum plan_rest_kind kind, uint32_t idx);
int plan_diff_ports(struct plan_work *w); /* edge/plan_ports.c */

/* edge/plan_policy.c: flags and limits; DP_VIP_* */
void plan_policy_fill(const struct route_view *view, size_t service_idx, struct dp_svc *svc);
uint32_t plan_policy_vip(const struct route_view *view, const uint8_t addr[16]);
int plan_diff_svcs(struct plan_work *w); /* edge/plan_svc.c */
/* What is left out after a plan_take() that failed; the first is said in e, the others are counted. */
__attribute__((format(printf, 2, 3))) void plan_short(struct plan_work *w, const char *fmt, ...);
int plan_emit(struct plan_work *w, enum plan_stage stage, const struct plan_op *op);
int plan_rows_rest(struct plan_work *w, uint32_t offset, uint32_t count);
/* edge/plan_rows.c: e's owners on `count` rows, over the rows of `old` (NULL = none). Equal to them: *ret_rows is a
 * reference to the old block. 0 | -ENOMEM */
int plan_make_rows(const struct plan_work *w, const struct route_entry *e, struct plan_block *old,
		   uint32_t count, struct plan_block **ret_rows, uint64_t *ret_forget_ms);
bool plan_has_owner(struct plan_block *rows); /* false: no backend of it has room */

#endif
