/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_nl.h - rtnetlink for the keeper: events and dumps in, routes and neighbour entries out.
 *
 * Two sockets: events (non-blocking; a socket filter lets only default routes and neighbours without an answer through,
 * so that a full BGP table or a busy segment costs nothing) and requests (blocking, answered at once by the kernel).
 * Memory   what a callback gets is valid during the call
 * Errors   0 or negative errno; -ENOBUFS from nl_drain: events were lost, dump again
 * Threads  one
 */
#ifndef EDGE_KEEPER_NL_H
#define EDGE_KEEPER_NL_H

#include <net/if.h>
#include <stdbool.h>

#include "edge/ip.h"
#include "gossip/err.h"

#define NL_ROUTE_PROTO 237 /* 0xed: the protocol number of all routes that are ours */

struct nl_link {
	int ifindex;
	char name[IFNAMSIZ];
	uint8_t mac[6];
	bool has_mac; /* Ethernet: 6 bytes */
	bool is_arp;  /* neighbours are resolved on it */
	bool is_up;
	bool is_gone;  /* RTM_DELLINK */
	bool is_guest; /* veth or tap: the near end of a container's or VM's interface */
	int master;    /* bridge or the like that it is a port of, 0 = none */
	uint32_t mtu;
};
struct nl_addr {
	int ifindex;
	struct ip_addr addr;
	bool is_global;
};
struct nl_route {
	uint8_t family; /* AF_INET, AF_INET6 */
	uint8_t kind;	/* RTN_UNICAST, RTN_BLACKHOLE, ... */
	uint8_t protocol;
	uint8_t table;
	uint8_t dst_bits; /* of the family's 32 or 128 */
	bool is_gone;	  /* RTM_DELROUTE */
	struct ip_addr dst;
	struct ip_addr gateway; /* zero = none; the first hop of several */
	uint32_t metric;
	int oif;
};
struct nl_neigh {
	int ifindex;
	struct ip_addr addr;
	uint16_t state; /* NUD_* */
	uint8_t mac[6];
	bool has_mac;
	bool is_gone;
};

/* Any may be NULL. */
struct nl_cbs {
	void (*link_cb)(const struct nl_link *l, void *arg);
	void (*addr_cb)(const struct nl_addr *a, void *arg);
	void (*route_cb)(const struct nl_route *r, void *arg);
	void (*neigh_cb)(const struct nl_neigh *n, void *arg);
	void *arg;
};

struct nl;
int nl_open(struct nl **ret_nl, struct err *e);
void nl_close(struct nl *nl);
int nl_event_fd(const struct nl *nl);
/* Read what is waiting, at most a few hundred messages. */
int nl_drain(struct nl *nl, const struct nl_cbs *cbs);

int nl_dump_links(struct nl *nl, const struct nl_cbs *cbs);
int nl_dump_addrs(struct nl *nl, int ifindex, const struct nl_cbs *cbs);
/* Default routes of the main table, unicast. Reads the whole table once: not for the steady state. */
int nl_dump_defaults(struct nl *nl, const struct nl_cbs *cbs);
/* All unicast routes of the main table. The same cost. */
int nl_dump_unicast(struct nl *nl, const struct nl_cbs *cbs);
/* All routes of NL_ROUTE_PROTO in the main table; the kernel filters. */
int nl_dump_own(struct nl *nl, const struct nl_cbs *cbs);
/* Entries of one interface, both families. */
int nl_dump_neighs(struct nl *nl, int ifindex, const struct nl_cbs *cbs);

/* Main table, NL_ROUTE_PROTO. Adding what is there, or deleting what is not, is no error. */
int nl_route_add(struct nl *nl, const struct nl_route *r);
int nl_route_del(struct nl *nl, const struct nl_route *r);

/* The route to `addr` out of that interface, of any table that rules lead to; a gateway of zero: on the link. */
int nl_route_get(struct nl *nl, int ifindex, const struct ip_addr *addr,
		 struct nl_route *ret_route);

/* -ENOENT: no entry. */
int nl_neigh_get(struct nl *nl, int ifindex, const struct ip_addr *addr,
		 struct nl_neigh *ret_neigh);
/* Ask the kernel to resolve it, as if a packet wanted to go there. */
int nl_neigh_probe(struct nl *nl, int ifindex, const struct ip_addr *addr);
/* Make it stale with this MAC unless it is valid by now. */
int nl_neigh_set_stale(struct nl *nl, int ifindex, const struct ip_addr *addr,
		       const uint8_t mac[6]);
int nl_neigh_del(struct nl *nl, int ifindex, const struct ip_addr *addr);

#endif
