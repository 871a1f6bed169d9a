/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_reply.h - what leaves this machine: is it a reply of a flow? Then put the VIP back and send it to its edge.
 *
 * Anything else is left alone. A reply never leaves with the backend's real address: rewritten, or dropped.
 */
#ifndef DP_REPLY_H
#define DP_REPLY_H

#include "bpf/dp_deliver.h"

enum dp_reply_hook {
	DP_REPLY_UPLINK = 0, /* egress of an uplink: a host socket's */
	DP_REPLY_MESH = 1,   /* egress of the mesh device: a host socket's, routed there */
	DP_REPLY_BRIDGE = 2, /* ingress of a bridge: a container's or VM's */
};

static __always_inline void dp_frag_key(const struct dp_pkt *p, struct dp_frag_key *k)
{
	__builtin_memset(k, 0, sizeof(*k));
	dp_addr_copy(k->src, p->src);
	dp_addr_copy(k->dst, p->dst);
	k->id = p->frag_id;
	k->l4_proto = p->l4_proto;
}

static __noinline int dp_frag_note(const struct dp_pkt *p)
{
	struct dp_frag_key key __attribute__((aligned(8)));
	struct dp_frag frag = {.drop = 1, .seen_s = dp_now_s()};

	dp_frag_key(p, &key);
	return (int)bpf_map_update_elem(&dp_frag, &key, &frag, BPF_ANY);
}

static __noinline int dp_frag_is_noted(const struct dp_pkt *p)
{
	struct dp_frag_key key __attribute__((aligned(8)));

	dp_frag_key(p, &key);
	return !!bpf_map_lookup_elem(&dp_frag, &key);
}

static __always_inline int dp_reply_pass(__u32 hook)
{
	return dp_exit(hook == DP_REPLY_MESH ? DP_R_MESH_PASS : DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
}

/* The flow came in on this machine's own public interface: the reply goes straight to the client. */
static __always_inline int dp_reply_local(struct __sk_buff *skb, const struct dp_pkt *p,
					  const struct dp_host *host, __u32 l2, __u32 hook)
{
	if (hook == DP_REPLY_UPLINK)
		return dp_exit(DP_R_REPLY_LOCAL, TC_ACT_OK);
	if (!host->uplink_ifindex)
		return dp_exit(DP_R_REDIRECT_FAILED, TC_ACT_SHOT);
	if (hook == DP_REPLY_MESH && dp_put_eth(skb, l2, p->family, 0))
		return dp_exit(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	return dp_exit(DP_R_REPLY_LOCAL, bpf_redirect_neigh(host->uplink_ifindex, 0, 0, 0));
}

static __always_inline int dp_reply_mesh(struct __sk_buff *skb, const struct dp_host *host,
					 const struct dp_node *edge, __u32 l2, __u32 segment_bytes)
{
	__u8 addr[16] __attribute__((aligned(8)));
	int rc;

	dp_addr_copy(addr, edge->addr);
	rc = dp_encap(skb, l2, addr, DP_GRE_KEY(DP_GRE_F_REPLY, 0), segment_bytes);
	if (rc)
		return dp_exit((__u32)rc, TC_ACT_SHOT);
	return dp_exit(DP_R_REPLY_ENCAP, dp_send_mesh(host));
}

static __noinline int dp_reply_send(struct __sk_buff *skb, const struct dp_pkt *p,
				    const struct dp_back *back, __u32 l2, __u32 hook)
{
	struct dp_host *host = dp_host_get();
	struct dp_self *self = dp_self_get();
	struct dp_node *edge = dp_node_get(back->edge_idx);
	__u32 segment_bytes = dp_segment_bytes(skb, p), overhead = 0, is_local;
	struct dp_nat nat = {};

	if (!host || !self || !edge)
		return dp_exit(DP_R_REPLY_NO_EDGE, TC_ACT_SHOT);
	is_local = back->edge_idx == self->node_idx;
	if (!is_local) {
		if (dp_addr_is_zero(edge->addr))
			return dp_exit(DP_R_REPLY_NO_EDGE, TC_ACT_SHOT);
		overhead = dp_overhead(host, edge->addr);
	}
	dp_addr_copy(nat.addr, back->vip);
	nat.sport_be = back->vport_be;
	nat.dport_be = back->cport_be;
	nat.is_src = 1;
	if (dp_nat(skb, p, &nat) || (!is_local && dp_clamp_syn(skb, p, host->mesh_mtu, overhead)))
		return dp_exit(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	if (is_local)
		return dp_reply_local(skb, p, host, l2, hook);
	return dp_reply_mesh(skb, host, edge, l2, segment_bytes);
}

/* The whole of a reply hook, once the packet is known to be IPv4 or IPv6 at l2. */
static __always_inline int dp_reply(struct __sk_buff *skb, const struct dp_pkt *p, int parse_rc,
				    __u32 l2, __u32 hook)
{
	struct dp_back back = {};

	if (parse_rc || (p->l4_proto != IPPROTO_TCP && p->l4_proto != IPPROTO_UDP))
		return dp_reply_pass(hook);
	if (p->frag == DP_FRAG_LATER) {
		if (dp_frag_is_noted(p))
			return dp_exit(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
		return dp_reply_pass(hook);
	}
	if (!dp_flow_back(p, hook == DP_REPLY_BRIDGE, &back))
		return dp_reply_pass(hook);
	if (p->frag == DP_FRAG_FIRST) {
		(void)dp_frag_note(p); /* LRU: it evicts rather than fails */
		return dp_exit(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
	}
	return dp_reply_send(skb, p, &back, l2, hook);
}

#endif
