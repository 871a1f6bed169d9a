/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/route_claims.h - which service each (VIP, protocol, port) belongs to. PURE.
 *
 * Services may claim the same ports after a partition: the one with the lower (created, name) has them everywhere.
 * Cost      O(claims log claims), whatever the width of the ranges
 * Memory    route_claims_compute allocates, route_claims_done frees; zero-initialised is empty
 */
#ifndef EDGE_ROUTE_CLAIMS_H
#define EDGE_ROUTE_CLAIMS_H

#include "edge/route.h"

struct route_claim { /* ports that one service has */
	struct ip_addr vip;
	uint8_t l4_proto;
	struct ip_port_range ports;
	size_t service_idx; /* into view.service */
};
struct route_claims {
	struct route_claim *claim; /* disjoint, sorted by (VIP, protocol, port) */
	size_t claim_count;
	uint8_t *shadowed; /* by view.service: ROUTE_SHADOWED_* */
};
#define ROUTE_SHADOWED_V4 1u /* lost a port of an IPv4 VIP to another service */
#define ROUTE_SHADOWED_V6 2u

int route_claims_compute(const struct route_view *view,
			 struct route_claims *ret_claims); /* 0 | -ENOMEM */
void route_claims_done(struct route_claims *c);

#endif
