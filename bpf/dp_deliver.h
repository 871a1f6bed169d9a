/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_deliver.h - a client's packet, bare, to the backend on this machine. */
#ifndef DP_DELIVER_H
#define DP_DELIVER_H

#include "bpf/dp_flow.h"
#include "bpf/dp_nat.h"

/* Where the packet came in, for the way on. */
struct dp_path {
	__u32 l2;      /* link header in front of it now */
	__u32 is_mesh; /* from the mesh device: count as a worker; else from the public interface */
	__u32 mss_overhead; /* tunnel that replies will go through, 0 = none */
};

static __always_inline __u32 dp_packets(const struct __sk_buff *skb)
{
	return skb->gso_segs ? skb->gso_segs : 1;
}

static __always_inline int dp_deliver_bridge(struct __sk_buff *skb, const struct dp_pkt *p,
					     const struct dp_path *path, __u32 ifindex)
{
	/* From the public interface there is an Ethernet header already, and the kernel rewrites it. */
	if (path->is_mesh && dp_put_eth(skb, path->l2, p->family, 0))
		return dp_exit(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	return dp_exit(path->is_mesh ? DP_R_DELIVERED_BRIDGE : DP_R_LOCAL_DELIVERED,
		       bpf_redirect_neigh(ifindex, 0, 0, 0));
}

static __always_inline int dp_deliver_host(struct __sk_buff *skb, const struct dp_pkt *p,
					   const struct dp_path *path, const struct dp_host *host)
{
	__u32 ifindex = p->family == 4 ? host->deliver_ifindex4 : host->deliver_ifindex6;

	if (!path->is_mesh)
		return dp_exit(DP_R_LOCAL_DELIVERED, TC_ACT_OK);
	if (!ifindex || ifindex == host->mesh_ifindex)
		return dp_exit(DP_R_DELIVERED_HOST, TC_ACT_OK);
	/* As if it had come in on the uplink: reverse path filters and firewalls expect clients there. */
	if (dp_put_eth(skb, path->l2, p->family, host->uplink_mac))
		return dp_exit(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	return dp_exit(DP_R_DELIVERED_HOST, bpf_redirect(ifindex, BPF_F_INGRESS));
}

/* Rewrites VIP:port to the backend's and sends the packet there. Offsets in *p are those of now. */
static __noinline int dp_deliver(struct __sk_buff *skb, const struct dp_pkt *p,
				 const struct dp_hop *hop, const struct dp_path *path)
{
	struct dp_local *l = dp_local_get(hop->slot);
	struct dp_host *host = dp_host_get();
	struct dp_nat nat = {};

	if (!l || !host)
		return dp_exit(DP_R_TOKEN_UNKNOWN, TC_ACT_SHOT);
	if (!dp_local_is_family(l, p->family))
		return dp_exit(DP_R_FAMILY_MISMATCH, TC_ACT_SHOT);
	dp_addr_copy(nat.addr, l->addr);
	nat.sport_be = hop->cport_be;
	nat.dport_be = hop->bport_be;
	if (dp_nat(skb, p, &nat))
		return dp_exit(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	if (path->mss_overhead && dp_clamp_syn(skb, p, host->mesh_mtu, path->mss_overhead))
		return dp_exit(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	if (path->is_mesh)
		dp_stat_add(l->svc_idx, l->backend_idx, dp_packets(skb), skb->len - path->l2);
	return l->ifindex ? dp_deliver_bridge(skb, p, path, l->ifindex)
			  : dp_deliver_host(skb, p, path, host);
}

#endif
