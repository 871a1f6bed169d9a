/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/route.h - which backends a region uses for each service, and the Maglev table over them. PURE.
 *
 * Input is mesh records and a region's name, nothing that one edge alone knows, so all edges of a region with the
 * same records compute the same owners byte for byte. Backends are named by (node id, service, address, port) and sorted
 * by that, never by local indexes; the order of the view does not matter.
 *
 * Tiers     own region first, then the regions in configured order, then the rest by name. The first tier with a
 *           usable backend is used whole. With the policy local=prefer backends on `self` are a tier before these, and the
 *           table is that edge's own
 * Usable    health passing (or check none), not draining, not overridden, node alive or headless, family matches
 * Table     weighted Maglev (Eisenbud et al., NSDI 2016, section 3.4)
 * Class     by number and weights of all backends of the tier that needs most, used or not: who drains, fails, recovers
 *           or takes over from another tier changes no table's size, only who is added and removed can; and edges with
 *           the same records have the same size whatever they saw before. One row for a backend that is alone.
 *           A policy may name another number of rows
 * Parts     backends that state the same part of the ports have an entry of their own beside the one of the whole
 *           service, which has what nobody states a part of. Where parts overlap, ports go to the part that begins
 *           lower, then to the one that ends lower. A part whose backends are all down is not served by others
 * Clashes   (VIP, protocol, port) of two services goes to the lower (created, name); edge/route_claims.h
 * Cost      O(backends log backends + rows log rows); route_compute_from() O(rows) for tables that stay; route_update()
 *           O(nodes log nodes + services), and of the services named what route_compute() costs
 * Memory    route_compute allocates ret_plan, route_free frees; plans of route_update() share what has not changed, whichever
 *           is freed first. The view is borrowed during the call
 */
#ifndef EDGE_ROUTE_H
#define EDGE_ROUTE_H

#include "bpf/dp_abi.h"
#include "edge/model.h"
#include "gossip/gossip.h"

#define ROUTE_REGIONS_MAX 64

struct route_node {
	struct node_id id;
	struct model_node node;
	enum gossip_state state;
	bool is_drained;   /* with all its backends; announces nothing */
	uint8_t share_pct; /* of its backends' weights, 0 = all of them */
	bool is_summary;   /* all that is known of it is what its region's summary says */
};
struct route_backend {
	size_t node_idx; /* into view.node */
	struct model_backend backend;
	enum model_health_state health;
	bool is_overridden; /* a drain override stands */
	bool is_gone; /* fails, and not by a check's word: its process or its address is gone */
	uint8_t share_pct; /* of its weight, while it starts slowly; 0 = all of it */
};
/* What a region that is known by its summary has of a service in all, named among the backends or not: sums of weights. */
struct route_capacity {
	char service[MODEL_NAME_MAX], region[MODEL_NAME_MAX];
	uint32_t usable, known;
};
int route_capacity_cmp(const void *a, const void *b); /* for qsort() and bsearch() */
struct route_view {
	const struct route_node *node;
	size_t node_count;
	const struct model_service *service;
	size_t service_count;
	const bool *has_filter; /* by service: there are prefixes of its own; NULL = of none */
	const struct route_backend *backend;
	size_t backend_count;
	const struct route_capacity *capacity; /* by (service, region) */
	size_t capacity_count;
	char region[MODEL_NAME_MAX]; /* whose table */
	struct node_id self;	     /* for services with local=prefer; zero = no node's */
	char order[ROUTE_REGIONS_MAX][MODEL_NAME_MAX]; /* other regions, nearest first */
	size_t order_count;
};

enum route_why { /* why a backend is or is not used; route_why_text() */
		 ROUTE_USED,
		 ROUTE_FARTHER_TIER, /* usable, but a nearer tier serves */
		 ROUTE_UNHEALTHY,
		 ROUTE_UNCHECKED, /* health not known yet */
		 ROUTE_DRAINING,
		 ROUTE_OVERRIDDEN,
		 ROUTE_NODE_DOWN, /* suspect, dead or left */
		 ROUTE_NO_FORWARDER,
		 ROUTE_OTHER_FAMILY,
		 ROUTE_PORT_OVERFLOW, /* the service's ports, shifted to the backend's, go beyond 65535 */
};
const char *route_why_text(enum route_why w);
#define ROUTE_USE_TEXT_MAX 96

struct route_choice {
	size_t backend_idx; /* into view.backend */
	uint32_t tier;	    /* 0 = own region; with local=prefer 0 = own node, 1 = own region */
	uint32_t weight;    /* in the table, of those used */
	enum route_why why;
	bool is_panic; /* used although it fails: edge/route_panic.h */
};
/* The same with how much of its weight counts, and why not all. */
const char *route_use_text(const struct route_view *view, const struct route_choice *c,
			   char buf[ROUTE_USE_TEXT_MAX]);
/* One service in one family: the ports that no backend takes a part of, or one part. */
struct route_entry {
	size_t service_idx;	   /* into view.service */
	uint8_t family;		   /* 4, 6 */
	struct ip_port_range part; /* as its backends state it; zero = the others */
	struct ip_port_range
		served;	  /* what of the part no lower one has; lo > hi = nothing is left */
	uint16_t port_lo; /* a backend's port stands for it: the part's, or the service's, lowest */
	bool is_shadowed; /* some (VIP, protocol, port) of it belongs to a lower (created, name) */
	struct route_choice *
		choice; /* every backend of the service, sorted by (tier, node id, address, port) */
	size_t choice_count;
	uint32_t row_count; /* 0 = nothing usable */
	uint32_t *row;	    /* view.backend indexes */
	uint8_t size_class;
	/* What went into the table, in order: view.backend indexes, hashes of names, weights. */
	size_t used_count;
	uint32_t *used;
	uint64_t *name;
	uint32_t *weight;
	struct route_piece *piece; /* all of this entry's memory; counted */
};
struct route_plan {
	struct route_entry *
		entry; /* sorted by (service name, family, part); only families the service has a VIP of */
	size_t entry_count;
};
/* 0 | -ENOMEM | -EINVAL (a backend whose node_idx is none). The order of what the view holds does not matter. */
int route_compute(const struct route_view *view, struct route_plan **ret_plan);
/* The same result; tables that are those of `old` (NULL = none; of any view) are copied from it. */
int route_compute_from(const struct route_view *view, const struct route_plan *old,
		       struct route_plan **ret_plan);
/* The same result, where the view has the nodes, services and backends of `old`'s view at the same indexes, and all that has
 * changed is the state of nodes and the health of backends: `service` names those services (view.service) of which a backend
 * has changed, or its node. -EAGAIN: more has changed; compute it all. */
int route_update(const struct route_view *view, const struct route_plan *old, const size_t *service,
		 size_t count, struct route_plan **ret_plan);
void route_free(struct route_plan *p);

/* 16-byte digest of one entry's owner column in terms of (node id, key): equal on all edges of a region. */
void route_digest(const struct route_view *view, const struct route_entry *e,
		  uint8_t ret_digest[16]);

/* edge/maglev.c. owners: weights w[0..n-1] >= 1 and stable names (64-bit hashes) h; fills row[0..size-1] with indexes
 * below n. size: a prime. 0 | -ENOMEM | -EINVAL (n is 0, a weight is 0). */
int maglev_fill(const uint64_t *h, const uint32_t *w, size_t n, uint32_t *row, uint32_t size);
#define MAGLEV_CLASS_ALONE (DP_SIZE_CLASSES - 1) /* one row, for one backend */
/* Smallest other class with size >= 100 * n (Maglev: M > 100 N) in which the lightest backend is due 10 rows, the largest
 * if none. */
uint8_t maglev_class(const uint32_t *w, size_t n);
uint32_t maglev_size(uint8_t size_class); /* rows; 0 for no class */
/* FNV-1a, 64 bits, over `len` bytes onto `h` (start: MAGLEV_HASH_INIT); maglev_hash_end spreads the bits. */
#define MAGLEV_HASH_INIT 0xcbf29ce484222325ull
uint64_t maglev_hash_add(uint64_t h, const void *data, size_t len);
uint64_t maglev_hash_end(uint64_t h);

#endif
