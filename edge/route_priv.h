/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Inside of route: what edge/route.c and edge/route_update.c share. */
#ifndef EDGE_ROUTE_PRIV_H
#define EDGE_ROUTE_PRIV_H

#include "edge/route.h"
#include "edge/route_claims.h"

/* What is worked out once per computation. */
struct route_work {
	const struct route_view *view;
	uint32_t *tier;		    /* by node */
	size_t *service;	    /* view.service indexes by name */
	size_t *backend;	    /* view.backend indexes by (service, node id, address, port) */
	struct ip_port_range *part; /* of one service in one family */
	struct route_claims claims;
	struct route_choice *choice; /* of all entries, one after another */
	struct route_entry *entry;   /* pointers not set yet */
	size_t entry_count, choice_count;
	uint32_t *weight; /* of one entry's backends */
};

struct route_piece {   /* of entries: choices, names, lists, rows */
	uint32_t refs; /* entries of plans */
	uint64_t data[];
};

void route_rank_nodes(struct route_work *w, size_t *sorted);
bool route_has_family(const struct model_service *s, uint8_t family);
int route_part_cmp(const void *pa, const void *pb);
/* Drafts of the entries of one service in one family, from w->backend[from, to). */
void route_add_parts(struct route_work *w, size_t s, uint8_t family, size_t from, size_t to);
struct route_plan *route_plan_alloc(size_t entry_count);
/* What `draft` says, into memory of its own, with its names, weights and room for rows. */
int route_make_piece(const struct route_work *w, const struct route_entry *draft,
		     struct route_entry *e);
int route_fill_rows(struct route_entry *e);
void route_work_done(struct route_work *w);

#endif
