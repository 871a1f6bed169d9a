/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_uplink.h - which uplink leads to a client, on machines with several. */
#ifndef DP_UPLINK_H
#define DP_UPLINK_H

#include "bpf/dp_encap.h"

/* Interface towards `addr`, 0 = none. Only with several uplinks is anything looked up. */
static __always_inline __u32 dp_uplink(const struct dp_host *host, const void *addr)
{
	struct dp_egress_key key __attribute__((aligned(8)));
	__u32 *ifindex;

	if (!(host->flags & DP_HOST_UPLINKS))
		return host->uplink_ifindex;
	key.prefix_bits = 128;
	dp_addr_copy(key.addr, addr);
	ifindex = bpf_map_lookup_elem(&dp_egress, &key);
	return ifindex && *ifindex ? *ifindex : host->uplink_ifindex;
}

#endif
