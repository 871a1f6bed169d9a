/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/deliver.h - how a backend's address is reached on this machine: a socket of the host, or behind a bridge.
 *
 * Asks the kernel's own routing (rtnetlink, RTM_GETROUTE), which needs no privilege: a local address is a host socket;
 * a route out of an interface that matches a configured pattern is a container or VM behind it; anything else is no
 * backend of this node.
 * Errors    -EINVAL an address that no backend can have | -EHOSTUNREACH not local and not behind a bridge of ours, or
 *           no route | netlink's errno; the sentence names the address and the interface
 * Blocks    for one or two netlink round trips, some 10 us each; sockets are opened and closed in the call
 */
#ifndef EDGE_DELIVER_H
#define EDGE_DELIVER_H

#include <net/if.h>

#include "edge/ip.h"
#include "gossip/err.h"

struct deliver_way {
	uint32_t ifindex; /* bridge (or lone veth, tap); 0 = a socket of this host */
	char ifname[IF_NAMESIZE];
};

/* bridge: fnmatch patterns of interface names. */
int deliver_find(const struct ip_addr *addr, const char (*bridge)[32], size_t bridge_count,
		 struct deliver_way *ret_way, struct err *e);

/* A non-blocking socket that turns readable when links, addresses or routes change, or a negative errno. */
int deliver_watch_open(void);
/* Read it empty. True when something changed since the last call. */
bool deliver_watch_drain(int fd);

#endif
