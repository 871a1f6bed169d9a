/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/plan.h - from what the maps hold to what they should hold: an ordered list of map operations. PURE.
 *
 * struct plan_state mirrors the contents of the maps in user space: indexes given out, rows, ports. plan_diff()
 * compares it with a wanted state and appends operations in the order that keeps every packet served:
 *   1 words of backends and nodes that died     2 what rested a second since nothing refers to it: zeroed, free again
 *   3 new nodes, then backends that are new, changed or back     4 rows of rebuilt tables, into free ranges
 *   5 service words (the flips), then words of nodes that left     6 port pages, directories, VIPs, VIP slots
 *   7 VIPs that are gone, services left without a table
 * A list may be cut anywhere (the process dies): what was applied so far serves, and plan_adopt() goes on from there.
 *
 * Indexes   0 is none. A node, backend or service keeps its index as long as it exists; a node whose mesh address
 *           changes gets a new one (16 bytes can't be exchanged under readers). Freed ones rest PLAN_REST_MS.
 * Words     a backend's word is DEAD when its health is not good or its record is gone; a draining one stays UP until
 *           no table has it. A node is DOWN when suspect or dead, and when it left, once no table has it.
 * VIPs      one index each; a directory per protocol, 0 = no service there. dp_vipslot names the only VIP of a slot, or
 *           says that several share it
 * Previous  a row whose owner changes remembers the owner that its flows live on, PLAN_PREV_MS long: a worker passes
 *           packets of flows that it does not know on to that one. That is the owner until now if it had the row for
 *           PLAN_SETTLE_MS, else the one that was remembered; if one of the two can't be, the other. Not remembered: the
 *           row's new owner, a backend whose check fails or whose record is gone, one on a dead node. One that drains, or
 *           whose node is suspect or left, is. A table of another size class inherits by position, as hashes do.
 * Cost      O(nodes + backends + services + rows) per diff; plan_update() for what changed alone
 * Memory    heap; sorted arrays. Threads: the caller's
 */
#ifndef EDGE_PLAN_H
#define EDGE_PLAN_H

#include "bpf/dp_abi.h"
#include "edge/route.h"

enum plan_op_kind {
	PLAN_NODE, /* dp_node[idx] = node, then dp_known[node.addr] and dp_num[node.node_num] = idx */
	PLAN_NODE_GONE, /* dp_known without node.addr, dp_num without node.node_num (zero: left alone), then dp_node[idx] zero */
	PLAN_NODE_STATE, /* dp_node[idx].state = arg.node.state, one word */
	PLAN_BACKEND,	 /* dp_backend[idx] = word; 0 = gone */
	PLAN_ROWS,	 /* dp_rows[idx .. +count] = rows */
	PLAN_SVC,	 /* dp_svc[idx] = svc, table word last; all zero = gone */
	PLAN_PORTPAGE,	 /* dp_portpage[idx * 256 ..] = 256 service indexes */
	PLAN_PORTDIR,	 /* dp_portdir[idx * 256 ..] = 256 page indexes */
	PLAN_VIP,	 /* dp_vip[idx] = vip, then dp_vipmap[vip.addr] = idx */
	PLAN_VIP_SLOT,	 /* dp_vipslot[idx] = slot */
	PLAN_VIP_GONE, /* dp_vipmap without vip.addr; the entry stays for those who read its index just now */
	PLAN_VIP_FREE, /* dp_vip[idx] zero */
};
const char *plan_op_text(enum plan_op_kind kind);

struct plan_op {
	enum plan_op_kind kind;
	uint32_t
		idx; /* node, backend, service, page, directory, VIP, VIP slot; first row for PLAN_ROWS */
	uint32_t count; /* PLAN_ROWS */
	union plan_arg {
		struct dp_node node;
		uint64_t word;
		struct dp_svc svc;
		struct dp_vip vip;
		uint32_t slot;		   /* what dp_vipslot says */
		const struct dp_row *rows; /* valid until plan_list_clear() */
		const uint32_t *words;	   /* 256 of them, likewise */
	} arg;
};

struct plan_sizes { /* of the maps, from the kernel: entries; portpage and portdir divided by 256 */
	uint32_t svcs, backends, nodes, rows, pages, dirs, vips;
};

struct plan_block;
struct plan_list { /* growable list; zero-initialised is empty */
	struct plan_op *op;
	size_t op_count, op_cap;
	struct plan_block *blocks; /* row and word blocks it holds on to */
};
void plan_list_clear(struct plan_list *l); /* frees everything; may be used again */

struct plan_state; /* indexes, ranges and the mirror */
int plan_state_new(const struct plan_sizes *sizes, struct plan_state **ret_state);
void plan_state_free(struct plan_state *s);

/* Bring the mirror to (view, routes) and append what changes to `l`. Freed ranges and indexes rest until
 * now_ms + PLAN_REST_MS. self: this node's id. 0 | -ENOMEM: nothing was appended, the mirror is
 * unchanged. What finds no room is left out, and e says it beside 0: ports without a page or directory, a VIP, a service;
 * nodes and backends, whose rows go to others; a table without rows is written over the old one or is smaller. */
#define PLAN_REST_MS 1000
int plan_diff(struct plan_state *s, const struct route_view *view, const struct route_plan *routes,
	      const struct node_id *self, uint64_t now_ms, struct plan_list *l, struct err *e);

/* The same for an edge that comes new: rows remember not what this edge saw, but the owner that they have in `before`, routes of the
 * same view with backends as they were before their last change. Other entries than in `routes`, or NULL: plan_diff(). */
int plan_replay(struct plan_state *s, const struct route_view *view,
		const struct route_plan *routes, const struct route_plan *before,
		const struct node_id *self, uint64_t now_ms, struct plan_list *l, struct err *e);

/* The same, where the view and the routes have what those of the last plan_diff() had at the same indexes, and only the state of
 * nodes and the health of backends has changed since: of those named, view indexes, a node's backends and their
 * services among them. Nothing else is looked at: O(nodes + services + rows of those named). -EAGAIN: it takes a plan_diff(),
 * nothing has changed. */
struct plan_touched {
	const size_t *node, *backend, *service;
	size_t node_count, backend_count, service_count;
};
int plan_update(struct plan_state *s, const struct route_view *view,
		const struct route_plan *routes, const struct node_id *self, uint64_t now_ms,
		const struct plan_touched *touched, struct plan_list *l);

/* Longer than most flows last; every packet of such a row carries a word more, and is not merged by GRO meanwhile. */
#define PLAN_PREV_MS (15 * 60 * 1000)
/* Shorter than the steps of a rolling restart, so that the first of its moves is what is remembered. */
#define PLAN_SETTLE_MS 30000

/* When something will have rested, or been remembered, long enough: call plan_diff() then, even if nothing else has changed.
 * UINT64_MAX = nothing is. */
uint64_t plan_due_ms(const struct plan_state *s);

/* What the maps hold after a restart (mapw_image()). Borrowed during the call. */
struct plan_image {
	struct plan_sizes sizes;
	const struct dp_node *node;
	const uint64_t *backend;
	const struct dp_svc *svc;
	const struct dp_row *row;
	const uint32_t *portdir, *portpage; /* 256 per directory, page */
	const struct dp_vip *vip;
	const uint32_t *vipslot; /* DP_VIP_SLOTS */
};
/* Into a fresh state, before the first plan_diff(): nodes are recognised by number and address, backends by node and
 * token, services by svc_id, a hash of their name; they keep their indexes and tables, so the first diff disturbs no
 * flow. What `view` does not know, or makes no sense, rests and goes. 0 | -ENOMEM | -EINVAL (other sizes): the state is
 * as before. */
int plan_adopt(struct plan_state *s, const struct plan_image *image, const struct route_view *view,
	       uint64_t now_ms);

/* Urgent: before routes are computed again, one word for a backend (node) that died. The mirror is brought up to date,
 * so the next diff does not repeat it. false: unknown, or already so. */
bool plan_backend_down(struct plan_state *s, const struct node_id *node, const char *backend_key,
		       struct plan_op *ret_op);
/* state: DP_NODE_SUSPECT or DP_NODE_DOWN. */
bool plan_node_down(struct plan_state *s, const struct node_id *id, enum dp_node_state state,
		    struct plan_op *ret_op);

/* Lookups for status, stats and urgent writes; 0 = unknown. O(log n). */
uint32_t plan_node_idx(const struct plan_state *s, const struct node_id *id);
uint32_t plan_backend_idx(const struct plan_state *s, const struct node_id *node,
			  const char *backend_key);
/* `part` as in struct route_entry. */
uint32_t plan_svc_idx(const struct plan_state *s, const char *service, uint8_t family,
		      struct ip_port_range part);

/* The previous owners of a service's rows, in terms of (node id, backend key): equal on all edges that saw the same
 * changes. 0 | -ENOENT no such service in the maps | -ENOMEM. */
struct plan_prev {
	uint8_t digest[16];
	uint32_t row_count; /* rows that remember one */
};
int plan_prev_digest(const struct plan_state *s, const char *service, uint8_t family,
		     struct ip_port_range part, struct plan_prev *ret_prev);
/* ---- edge/plan_verify.c: are the maps what the mirror says, and is the mirror what routes ask for? A sentence for each
 * thing that differs; indexes at rest are nobody's business. 0 | -ENOMEM */
enum plan_verify_hash { PLAN_HASH_KNOWN, PLAN_HASH_NUM, PLAN_HASH_VIP };
struct plan_verify_ops {
	void *arg;
	void (*differs_cb)(const char *text, void *arg);
	/* In dp_known, dp_num, dp_vipmap; -ENOENT. NULL: they are not looked at. */
	int (*lookup)(enum plan_verify_hash which, const void *key, uint32_t *ret_idx, void *arg);
};
struct plan_verified { /* looked at */
	size_t nodes, backends, services, rows, vips, differences;
};
int plan_verify(const struct plan_state *s, const struct plan_image *image,
		const struct route_view *view, const struct route_plan *routes,
		const struct plan_verify_ops *ops, struct plan_verified *ret_verified);

/* Sums over the columns of all tables, by service, in terms of (node id, backend): equal on all edges of a region with the
 * same records (owners), and that saw the same changes (previous owners). */
#define PLAN_SUMS 64
struct plan_sums {
	uint32_t owners[PLAN_SUMS], prevs[PLAN_SUMS];
};
unsigned int plan_sums_bucket(const char *service);
int plan_sums(const struct plan_state *s, struct plan_sums *ret_sums); /* 0 | -ENOMEM */
/* The same in three steps, of which the middle one, the long one, may run in another thread, whatever happens to `s`. */
struct plan_summing;
struct plan_summing *plan_summing_new(const struct plan_state *s); /* NULL: no memory */
void plan_summing_run(struct plan_summing *x);
void plan_summing_free(struct plan_summing *x, struct plan_sums *ret_sums);

/* 0 = not in the maps: no service has it, or there was no room. */
uint32_t plan_vip_idx(const struct plan_state *s, const struct ip_addr *vip);
/* A port of it leads to a table as of the last plan_diff(): with less, it must not be announced. */
bool plan_vip_is_served(const struct plan_state *s, const struct ip_addr *vip);
size_t plan_vip_count(const struct plan_state *s);
size_t plan_svc_count(const struct plan_state *s); /* families and parts, each */

/* The number that stands for a node in maps and on the wire: the first 4 bytes of its id, big-endian. */
uint32_t plan_node_num(const struct node_id *id);

/* dp_svc.svc_id: a hash of the service's name, never 0, so that a restarted process knows whose slot it is. */
uint32_t plan_svc_id(const char *name);

#endif
