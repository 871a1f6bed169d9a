/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/plan.h - from what the maps hold to what they should hold: an ordered list of map operations. PURE.
 *
 * struct plan_state mirrors the contents of the maps in user space: indexes given out, rows, ports. plan_diff()
 * compares it with a wanted state and appends operations in the order that keeps every packet served:
 *   1 nodes and backends that are new   2 rows of rebuilt tables, into free ranges   3 service words (the flips)
 *   4 port pages, directories, VIPs     5 what is no longer referred to, after a second's rest
 * Urgent words (a backend or node dead or back) are operations of their own and may be applied alone and first.
 */
#ifndef EDGE_PLAN_H
#define EDGE_PLAN_H

#include "bpf/dp_abi.h"
#include "edge/route.h"

enum plan_op_kind {
	PLAN_NODE,       /* dp_node[idx] = node, dp_known[node.addr] = idx */
	PLAN_NODE_GONE,  /* dp_known without addr, dp_node[idx] zero */
	PLAN_NODE_STATE, /* dp_node[idx].state, one word */
	PLAN_BACKEND,    /* dp_backend[idx] = word */
	PLAN_ROWS,       /* dp_rows[offset .. +count] = rows */
	PLAN_SVC,        /* dp_svc[idx] = svc, table word last */
	PLAN_PORTPAGE,   /* dp_portpage[page * 256 ..] = 256 service indexes */
	PLAN_PORTDIR,    /* dp_portdir[dir * 256 ..] = 256 page indexes */
	PLAN_VIP,        /* dp_vip[key] = dir */
	PLAN_VIP_GONE,
};
struct plan_op {
	enum plan_op_kind kind;
	uint32_t idx;        /* node, backend, service, page, directory; first row for PLAN_ROWS */
	uint32_t count;      /* PLAN_ROWS */
	union plan_arg {
		struct dp_node node;
		uint64_t word;
		struct dp_svc svc;
		struct dp_vip_key vip_key;
		const struct dp_row *rows; /* valid until plan_list_clear() */
		const uint32_t *words;     /* 256 of them, likewise */
	} arg;
	uint32_t dir_idx;    /* PLAN_VIP */
};

struct plan_sizes {      /* of the maps, from the kernel */
	uint32_t svcs, backends, nodes, rows, pages, dirs;
};

struct plan_list {       /* growable list; zero-initialised is empty */
	struct plan_op *op;
	size_t op_count, op_cap;
	void *blocks;        /* row and word blocks it owns */
};
void plan_list_clear(struct plan_list *l);

struct plan_state;       /* indexes, ranges and the mirror */
int plan_state_new(const struct plan_sizes *sizes, struct plan_state **ret_state);
void plan_state_free(struct plan_state *s);

/* Bring the mirror to (view, routes) and append what changes to `l`. Freed ranges and indexes rest until
 * now_ms + PLAN_REST_MS. self: this node's id. 0 | -ENOSPC with what ran out in e: nothing was appended, the
 * mirror is unchanged. */
#define PLAN_REST_MS 1000
int plan_diff(struct plan_state *s, const struct route_view *view, const struct route_plan *routes,
	      const struct node_id *self, uint64_t now_ms, struct plan_list *l, struct err *e);

/* Lookups for status, stats and urgent writes; 0 = unknown. */
uint32_t plan_node_idx(const struct plan_state *s, const struct node_id *id);
uint32_t plan_backend_idx(const struct plan_state *s, const struct node_id *node, const char *backend_key);
uint32_t plan_svc_idx(const struct plan_state *s, const char *service, uint8_t family);

#endif
