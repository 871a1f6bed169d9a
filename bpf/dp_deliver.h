/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_deliver.h - a client's packet, bare, to the backend on this machine. */
#ifndef DP_DELIVER_H
#define DP_DELIVER_H

#include "bpf/dp_flow.h"
#include "bpf/dp_frag.h"
#include "bpf/dp_icmp.h"
#include "bpf/dp_nat.h"
#include "bpf/dp_signal.h"

static __always_inline __u32 dp_packets(const struct __sk_buff *skb)
{
	return skb->gso_segs ? skb->gso_segs : 1;
}

static __always_inline __u32 dp_deliver_reason(const struct dp_work *w, __u32 of_worker)
{
	if (dp_is_icmp(&w->pkt))
		return DP_R_ICMP_DELIVERED;
	if (w->hop.reason)
		return w->hop.reason;
	return dp_frag_reason(&w->pkt, w->path.is_mesh ? of_worker : DP_R_LOCAL_DELIVERED);
}

static __always_inline int dp_deliver_bridge(struct __sk_buff *skb, const struct dp_work *w,
					     __u32 ifindex)
{
	__u32 reason = dp_deliver_reason(w, DP_R_DELIVERED_BRIDGE);

	/* From the public interface there is an Ethernet header already, and the kernel rewrites it. */
	if (w->path.is_mesh && dp_put_eth(skb, w->path.l2, w->pkt.family, 0))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	return DP_OUT(reason, bpf_redirect_neigh(ifindex, 0, 0, 0));
}

static __always_inline int dp_deliver_host(struct __sk_buff *skb, const struct dp_work *w,
					   const struct dp_host *host)
{
	__u32 ifindex = w->pkt.family == 4 ? host->deliver_ifindex4 : host->deliver_ifindex6;
	__u32 reason = dp_deliver_reason(w, DP_R_DELIVERED_HOST);

	if (!w->path.is_mesh || !ifindex || ifindex == host->mesh_ifindex)
		return DP_OUT(reason, TC_ACT_OK);
	/* As if it had come in on the uplink: reverse path filters and firewalls expect clients there. */
	if (dp_put_eth(skb, w->path.l2, w->pkt.family, 1))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	return DP_OUT(reason, bpf_redirect(ifindex, BPF_F_INGRESS));
}

static __always_inline int dp_deliver_rewrite(struct __sk_buff *skb, struct dp_work *w,
					      const struct dp_local *l, __u32 mesh_mtu)
{
	if (dp_is_icmp(&w->pkt) && !w->pkt.frag)
		return dp_icmp_worker_nat(skb);
	dp_addr_copy(w->nat.addr, l->addr);
	w->nat.sport_be = w->hop.cport_be;
	w->nat.dport_be = w->hop.bport_be;
	w->nat.is_src = 0;
	if (dp_nat(skb))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	if (w->path.mss_overhead && dp_clamp_syn(skb, &w->pkt, mesh_mtu, w->path.mss_overhead))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	return DP_GO;
}

/* Rewrites VIP:port to the backend's (dp_work.hop) and sends the packet there. Offsets in dp_work.pkt are those of now. */
__noinline int dp_deliver(struct __sk_buff *skb)
{
	struct dp_host *host = dp_host_get();
	struct dp_work *w = dp_work_get();
	struct dp_local *l;
	int out;

	if (!w || !host)
		return DP_OUT(DP_R_TOKEN_UNKNOWN, TC_ACT_SHOT);
	l = dp_local_get(w->hop.slot);
	if (!l)
		return DP_OUT(DP_R_TOKEN_UNKNOWN, TC_ACT_SHOT);
	if (!dp_local_is_family(l, w->pkt.family))
		return DP_OUT(DP_R_FAMILY_MISMATCH, TC_ACT_SHOT);
	out = dp_deliver_rewrite(skb, w, l, host->mesh_mtu);
	if (out != DP_GO)
		return out;
	dp_signal_asked(&w->pkt, w->hop.slot);
	if (w->path.is_mesh)
		dp_stat_add(l->svc_idx, l->backend_idx, dp_packets(skb), skb->len - w->path.l2);
	return l->ifindex ? dp_deliver_bridge(skb, w, l->ifindex) : dp_deliver_host(skb, w, host);
}

/* Which backend here gets dp_work.pkt? DP_GO with dp_work.hop filled in, or how the program ends: also on the way to another
 * node. */
static __always_inline int dp_deliver_where(struct __sk_buff *skb, struct dp_work *w)
{
	int out, rc;

	w->hop.node_idx = 0;
	w->hop.reason = 0;
	rc = dp_second_edge(w);
	if (rc < 0)
		return DP_OUT(DP_R_REPLY_NO_EDGE, TC_ACT_SHOT);
	if (rc) {
		out = dp_second_told();
	} else if (w->pkt.frag == DP_FRAG_LATER) {
		out = dp_frag_worker_in(skb);
	} else if (dp_is_icmp(&w->pkt)) {
		out = w->pkt.frag ? DP_OUT(DP_R_FRAGMENT, TC_ACT_SHOT) : dp_icmp_worker_in(skb);
	} else {
		out = dp_flow_in(skb);
		if (out < 0 && w->pkt.frag) {
			rc = dp_frag_worker_in(skb);
			out = rc == DP_GO ? out : rc;
		}
	}
	return out == DP_IS_HOP ? dp_second_send(skb) : out;
}

#endif
