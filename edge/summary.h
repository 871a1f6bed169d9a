/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/summary.h - what other regions need to know of a region, as one value: who forwards there, what each service can carry,
 * and ways in to it (docs/adr/0014). PURE.
 *
 * Made of    records alone, so that all nodes of a region that hold the same ones make the same bytes, whatever their order
 * Nodes      those that a chosen way goes to; every edge with a forwarder: a worker answers only edges that it knows; and the
 *            lowest ids, for those of them that live speak for the region and must be reached through WireGuard
 * Ways in    at most SUMMARY_WAYS_MAX of a service: usable ones first, then those that an operator drained, then the rest; within
 *            these by a hash of the backend's name, so that one that fails makes room for one other and moves no third
 * Left out   when the value would be longer than `cap`: first ways that are not usable, then more and more of each service's
 *            (16, 8, 4, 2, 1), then the ways of services from the end of the alphabet, then edges that are no way in
 * Capacity   of all backends of a service, chosen or not: sums of weights
 * Liveness   is in no record: who is down there is told beside the summary (GOSSIP_EV_REGION)
 * Memory     decoding allocates one struct summary, in proportion to what was read
 * Errors     0 | -EBADMSG malformed | -EMSGSIZE not even the shortest form fits | -ENOMEM
 * Limits     SUMMARY_NODES_MAX, SUMMARY_SERVICES_MAX, SUMMARY_WAYS_MAX a service
 */
#ifndef EDGE_SUMMARY_H
#define EDGE_SUMMARY_H

#include "edge/model.h"

#define SUMMARY_WAYS_MAX 32
#define SUMMARY_LOWEST 16 /* nodes that are named in any case */
#define SUMMARY_NODES_MAX 4096
#define SUMMARY_SERVICES_MAX 8192
#define SUMMARY_VALUE_MAX (256u << 10)

/* Keys of the cluster: those that all of its nodes hold, as their records say, and the one that all seal with. Whether a key can
 * be used, or removed, is asked of all regions. */
#define SUMMARY_KEYS_MAX 8
struct summary_keys {
	uint8_t hold[SUMMARY_KEYS_MAX][8]; /* their names, in order */
	size_t count;
	uint8_t seals[8];
	bool is_one; /* all seal with `seals` */
};

/* ---- making one */

struct summary_from_node {
	struct node_id id;
	const struct model_node *node;
};
struct summary_from_backend {
	struct node_id id; /* its node's; left out if that is not among the nodes */
	const struct model_backend *backend;
	enum model_health_state health;
	bool is_drained; /* an operator's drain is on record, whether or not it has expired */
};
struct summary_from {
	struct summary_from_node *node; /* in any order; sorted by the call */
	size_t node_count;
	struct summary_from_backend *backend;
	size_t backend_count;
	struct summary_keys keys;
};
/* ret_value: from malloc(), at most cap bytes. */
int summary_encode(struct summary_from *from, size_t cap, uint8_t **ret_value, size_t *ret_len);

/* ---- reading one */

struct summary_way {
	uint32_t node; /* into summary.node */
	struct ip_addr addr;
	uint16_t port, weight;
	struct ip_port_range ports;
	uint32_t token, quic_id;
	uint8_t health; /* enum model_health_state */
	bool is_checked, is_draining;
};
struct summary_service {
	char name[MODEL_NAME_MAX];
	uint32_t usable, known; /* sums of weights */
	uint32_t backends;	/* how many there are */
	size_t first, count;	/* of its ways, into summary.way */
};
struct summary_node {
	struct node_id id;
	struct model_node node; /* region "": the caller knows whose summary it is */
};
struct summary {
	struct summary_node *node; /* by id */
	size_t node_count;
	struct summary_service *service; /* by name */
	size_t service_count;
	struct summary_way *way; /* of one service after another, by (node, address, port) */
	size_t way_count;
	struct summary_keys keys;
};
int summary_decode(const uint8_t *value, size_t len, struct summary **ret_summary);
void summary_free(struct summary *s);

/* A way as a backend of its service. Its check is none, or stands for one that is not told: kind tcp. */
void summary_backend(const struct summary *s, const struct summary_service *service,
		     const struct summary_way *way, struct model_backend *ret_backend);

#endif
