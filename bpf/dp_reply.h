/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_reply.h - what leaves this machine: is it a reply of a flow? Then put the VIP back and send it to its edge.
 *
 * Anything else is left alone. A reply never leaves with the backend's real address: rewritten, or dropped.
 */
#ifndef DP_REPLY_H
#define DP_REPLY_H

#include "bpf/dp_deliver.h"
#include "bpf/dp_uplink.h"

static __always_inline int dp_reply_pass(__u32 hook)
{
	return DP_OUT(hook == DP_REPLY_MESH ? DP_R_MESH_PASS : DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
}

/* Straight to the client, out of an uplink of this machine: the flow came in on its own public interface, or its service
 * wants replies so. */
static __always_inline int dp_reply_local(struct __sk_buff *skb, const struct dp_work *w,
					  const struct dp_host *host, __u32 reason)
{
	if (w->path.hook == DP_REPLY_UPLINK)
		return DP_OUT(reason, TC_ACT_OK);
	if (!host->uplink_ifindex)
		return DP_OUT(DP_R_REDIRECT_FAILED, TC_ACT_SHOT);
	if (w->path.hook == DP_REPLY_MESH && dp_put_eth(skb, w->path.l2, w->pkt.family, 0))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	return DP_OUT(reason, bpf_redirect_neigh(dp_uplink(host, w->pkt.dst), 0, 0, 0));
}

static __always_inline int dp_reply_mesh(struct __sk_buff *skb, struct dp_work *w,
					 const struct dp_host *host, __u32 segment_bytes,
					 __u32 reason)
{
	int rc;

	w->wrap.node_idx = w->back.edge_idx;
	w->wrap.key = DP_GRE_KEY(DP_GRE_F_REPLY, 0);
	w->wrap.seq = 0;
	w->wrap.l2 = w->path.l2;
	w->wrap.segment_bytes = segment_bytes;
	w->wrap.may_exceed =
		1; /* Linux sets DF on UDP: a too-big would cost each client its first large answer */
	rc = dp_encap(skb);
	if (rc)
		return DP_OUT(rc, TC_ACT_SHOT);
	return DP_OUT(reason, dp_send_mesh(host));
}

/* Puts the VIP back, except where that has been done (ICMP). */
static __always_inline int dp_reply_rewrite(struct __sk_buff *skb, struct dp_work *w,
					    __u32 mesh_mtu, __u32 overhead)
{
	if (dp_is_icmp(&w->pkt))
		return 0;
	dp_addr_copy(w->nat.addr, w->back.vip);
	w->nat.sport_be = w->back.vport_be;
	w->nat.dport_be = w->back.cport_be;
	w->nat.is_src = 1;
	if (dp_nat(skb))
		return -1;
	return overhead ? dp_clamp_syn(skb, &w->pkt, mesh_mtu, overhead) : 0;
}

/* Does the service want this reply to leave from the VIP here (return=direct)? What the host itself has routed into the mesh
 * has no other way out. */
static __always_inline int dp_reply_is_direct(const struct dp_work *w, const struct dp_host *host)
{
	struct dp_local *l;
	struct dp_svc *svc;

	if (w->path.hook == DP_REPLY_MESH || !host->uplink_ifindex || dp_is_icmp(&w->pkt))
		return 0;
	l = dp_local_get(w->back.slot);
	svc = l ? dp_svc_get(l->svc_idx) : 0;
	return svc && (svc->flags & DP_SVC_DIRECT);
}

/* The way is known (dp_work.back): rewrite and send. */
__noinline int dp_reply_send(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();
	struct dp_self *self = dp_self_get();
	__u32 segment_bytes, overhead = 0, is_local, reason;
	struct dp_node *edge;

	if (!w || !host || !self)
		return DP_OUT(DP_R_REPLY_NO_EDGE, TC_ACT_SHOT);
	edge = dp_node_get(w->back.edge_idx);
	if (!edge)
		return DP_OUT(DP_R_REPLY_NO_EDGE, TC_ACT_SHOT);
	segment_bytes = dp_segment_bytes(skb, &w->pkt);
	is_local = w->back.edge_idx == self->node_idx;
	if (!is_local) {
		if (dp_addr_is_zero(edge->addr))
			return DP_OUT(DP_R_REPLY_NO_EDGE, TC_ACT_SHOT);
		overhead = dp_overhead(host, edge->addr,
				       1); /* clients' packets may bear a sequence word */
	}
	if (dp_reply_rewrite(skb, w, host->mesh_mtu, overhead))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	if (is_local)
		return dp_reply_local(skb, w, host,
				      dp_is_icmp(&w->pkt)
					      ? DP_R_ICMP_OUT
					      : dp_frag_reason(&w->pkt, DP_R_REPLY_LOCAL));
	if (dp_reply_is_direct(w, host))
		return dp_reply_local(skb, w, host, dp_frag_reason(&w->pkt, DP_R_REPLY_DIRECT));
	reason = dp_is_icmp(&w->pkt) ? DP_R_ICMP_BACK : dp_frag_reason(&w->pkt, DP_R_REPLY_ENCAP);
	return dp_reply_mesh(skb, w, host, segment_bytes, reason);
}

/* The whole of a reply hook, once dp_work.pkt is filled in. */
__noinline int dp_reply(struct __sk_buff *skb, __u32 l2, __u32 hook)
{
	struct dp_work *w = dp_work_get();
	int out = DP_GO;

	if (!w)
		return dp_reply_pass(hook);
	w->path.l2 = l2;
	w->path.hook = hook;
	w->path.is_mesh = 0;
	if (w->pkt.frag == DP_FRAG_LATER)
		out = dp_frag_worker_out(skb);
	else if (dp_is_icmp(&w->pkt) && !w->pkt.frag)
		out = dp_icmp_worker_out(skb);
	else if (!dp_is_tcp_udp(&w->pkt) || !dp_flow_back(hook == DP_REPLY_BRIDGE))
		out = w->pkt.frag ? dp_frag_worker_other() : DP_IS_PASS;
	else if (w->pkt.frag && dp_frag_worker_note())
		out = DP_OUT(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
	if (out == DP_IS_PASS)
		return dp_reply_pass(hook);
	if (w->pkt.tcp_flags & DP_TCP_RST)
		dp_signal_reset(skb, hook == DP_REPLY_BRIDGE);
	else if (out == DP_GO && dp_is_tcp_udp(&w->pkt))
		dp_signal_heard(w->back.slot);
	return out == DP_GO ? dp_reply_send(skb) : out;
}

#endif
