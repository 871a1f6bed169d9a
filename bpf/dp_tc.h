/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_tc.h - the TC programs, top down. "Not ours" returns TC_ACT_UNSPEC: an operator's own filters come next. */
#ifndef DP_TC_H
#define DP_TC_H

#include "bpf/dp_reply.h"

static __always_inline int dp_skb_is_ip(const struct __sk_buff *skb)
{
	return !skb->vlan_present &&
	       (skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6));
}

/* ---- Public interface, ingress ---- */

/* What XDP left: PASS_NOT_OURS, FORWARD_CHOSEN with *c filled in, or -1: nothing usable, decide here. */
static __always_inline int dp_verdict_get(struct __sk_buff *skb, struct dp_choice *c)
{
	struct dp_verdict *v = (void *)(long)skb->data_meta;

	if ((void *)(v + 1) > (void *)(long)skb->data || v->magic != DP_VERDICT_MAGIC ||
	    v->version != DP_VERDICT_VERSION)
		return -1;
	if (v->verdict == DP_VERDICT_PASS)
		return DP_R_PASS_NOT_OURS;
	c->svc_idx = v->svc_idx;
	/* The owner may have died, or the table been rebuilt, since XDP looked: then ask again. */
	return dp_row_usable(v->row, c) ? DP_R_FORWARD_CHOSEN : -1;
}

static __noinline int dp_pub_local(struct __sk_buff *skb, const struct dp_pkt *p, __u32 token)
{
	struct dp_self *self = dp_self_get();
	struct dp_path path = {.l2 = DP_ETH_BYTES};
	struct dp_hop hop = {};
	int rc;

	if (!self)
		return dp_exit(DP_R_NOT_READY, TC_ACT_SHOT);
	rc = dp_flow_in(p, token, self->node_idx, &hop);
	if (rc)
		return dp_exit((__u32)rc, TC_ACT_SHOT);
	return dp_deliver(skb, p, &hop, &path);
}

static __always_inline int dp_pub_remote(struct __sk_buff *skb, const struct dp_pkt *p,
					 const struct dp_node *node, __u32 token)
{
	__u8 addr[16] __attribute__((aligned(8)));
	struct dp_host *host = dp_host_get();
	__u32 frame_bytes = p->l3_off + p->l3_bytes;
	int rc;

	if (!host)
		return dp_exit(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	/* Short frames are padded by the link; the padding is no part of the packet. */
	if (!skb->gso_size && frame_bytes < skb->len && bpf_skb_change_tail(skb, frame_bytes, 0))
		return dp_exit(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	dp_addr_copy(addr, node->addr);
	rc = dp_encap(skb, DP_ETH_BYTES, addr, DP_GRE_KEY(0, token), dp_segment_bytes(skb, p));
	if (rc)
		return dp_exit((__u32)rc, TC_ACT_SHOT);
	return dp_exit(DP_R_FORWARDED, dp_send_mesh(host));
}

SEC("tc")
int dp_tc_pub_in(struct __sk_buff *skb)
{
	struct dp_choice c = {};
	struct dp_node *node;
	struct dp_pkt p;
	int rc, reason;

	if (!dp_skb_is_ip(skb))
		return dp_exit(DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
	reason = dp_verdict_get(skb, &c);
	if (reason == DP_R_PASS_NOT_OURS)
		return dp_exit(DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
	rc = dp_parse_skb(skb, DP_ETH_BYTES, skb->protocol, &p);
	if (reason < 0) {
		reason = (int)dp_choose(&p, rc, &c);
		if (reason == DP_R_PASS_NOT_OURS)
			return dp_exit(DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
		if (reason != DP_R_FORWARD_CHOSEN)
			return dp_exit((__u32)reason, TC_ACT_SHOT);
		dp_stat_add(c.svc_idx, c.backend_idx, dp_packets(skb), skb->len - DP_ETH_BYTES);
	} else if (rc) {
		return dp_exit((__u32)rc, TC_ACT_SHOT);
	}
	node = dp_node_get(DP_BE_NODE(c.backend_word));
	if (!node)
		return dp_exit(DP_R_NO_BACKEND, TC_ACT_SHOT);
	if (node->flags & DP_NODE_SELF)
		return dp_pub_local(skb, &p, DP_BE_TOKEN(c.backend_word));
	return dp_pub_remote(skb, &p, node, DP_BE_TOKEN(c.backend_word));
}

/* ---- Mesh device, ingress ---- */

/* Pings a CPU answers within one window of 2^26 ns: about 2,000 a second. */
#define DP_PING_WINDOW_SHIFT 26
#define DP_PING_WINDOW_MAX 134

static __always_inline int dp_ping_is_allowed(void)
{
	__u64 window = bpf_ktime_get_ns() >> DP_PING_WINDOW_SHIFT;
	__u32 zero = 0;
	struct dp_rate *r = bpf_map_lookup_elem(&dp_rate, &zero);

	if (!r)
		return 0;
	if (r->window != window) {
		r->window = window;
		r->used = 0;
	}
	if (r->used >= DP_PING_WINDOW_MAX)
		return 0;
	r->used++;
	return 1;
}

static __always_inline int dp_swap_bytes(struct __sk_buff *skb, __u32 off, __u32 half)
{
	__u8 a[16], b[16];

	if (half > sizeof(a) || bpf_skb_load_bytes(skb, off, a, half) ||
	    bpf_skb_load_bytes(skb, off + half, b, half))
		return -1;
	return bpf_skb_store_bytes(skb, off, b, half, 0) ||
	       bpf_skb_store_bytes(skb, off + half, a, half, 0);
}

/* Answers in place. Swapping addresses and ports leaves every checksum as it is; only the kind changes. */
static __noinline int dp_ping_answer(struct __sk_buff *skb, const struct dp_pkt *p)
{
	__u32 addr_off = p->l3_off + (p->family == 4 ? offsetof(struct iphdr, saddr)
						     : offsetof(struct ipv6hdr, saddr));
	__u32 kind_off = p->l4_off + sizeof(struct udphdr) + offsetof(struct dp_ping, kind_be);
	__be32 reply_be = bpf_htonl(1);
	struct dp_host *host = dp_host_get();
	int rc;

	if (!host)
		return dp_exit(DP_R_REDIRECT_FAILED, TC_ACT_SHOT);
	if (!dp_ping_is_allowed())
		return dp_exit(DP_R_PING_LIMITED, TC_ACT_SHOT);
	rc = p->family == 4 ? dp_swap_bytes(skb, addr_off, 4) : dp_swap_bytes(skb, addr_off, 16);
	rc = rc || dp_swap_bytes(skb, p->l4_off, 2);
	rc = rc || bpf_l4_csum_replace(skb, p->l4_off + offsetof(struct udphdr, check), 0, reply_be,
				       BPF_F_MARK_MANGLED_0 | sizeof(reply_be));
	rc = rc || bpf_skb_store_bytes(skb, kind_off, &reply_be, sizeof(reply_be), 0);
	if (rc)
		return dp_exit(DP_R_REDIRECT_FAILED, TC_ACT_SHOT);
	return dp_exit(DP_R_PING_ANSWERED, dp_send_mesh(host));
}

static __always_inline int dp_is_ping(struct __sk_buff *skb, const struct dp_pkt *p)
{
	struct dp_ping ping;

	if (p->l4_proto != IPPROTO_UDP || p->frag || p->dport_be != bpf_htons(DP_PING_PORT) ||
	    p->l3_off + p->l3_bytes < p->l4_off + sizeof(struct udphdr) + sizeof(ping))
		return 0;
	if (bpf_skb_load_bytes(skb, p->l4_off + sizeof(struct udphdr), &ping, sizeof(ping)))
		return 0;
	return ping.magic_be == bpf_htonl(DP_PING_MAGIC_BE) && ping.kind_be == 0;
}

/* A GRE packet of ours, as far as it has been read. */
struct dp_tunnel {
	__u32 edge_idx; /* node it came from */
	__u32 key;
	__u32 inner_off;
	__u32 outer_family;
	__u32 inner_proto_be;
};

static __always_inline int dp_tunnel_read(struct __sk_buff *skb, const struct dp_pkt *outer,
					  struct dp_tunnel *t)
{
	struct dp_addr_key from __attribute__((aligned(8)));
	struct dp_gre gre;
	__u32 *node_idx;
	__u16 flags;

	dp_addr_copy(from.addr, outer->src);
	node_idx = bpf_map_lookup_elem(&dp_known, &from);
	if (!node_idx)
		return DP_R_GRE_UNKNOWN_PEER;
	if (outer->frag || bpf_skb_load_bytes(skb, outer->l4_off, &gre, sizeof(gre)))
		return DP_R_GRE_BAD;
	flags = bpf_ntohs(gre.flags_be);
	t->key = bpf_ntohl(gre.key_be);
	if ((flags & ~DP_GRE_FLAG_SEQ) != DP_GRE_FLAG_KEY ||
	    DP_GRE_KEY_VERSION(t->key) != DP_GRE_VERSION)
		return DP_R_GRE_BAD;
	if (gre.proto_be != bpf_htons(ETH_P_IP) && gre.proto_be != bpf_htons(ETH_P_IPV6))
		return DP_R_GRE_BAD;
	t->edge_idx = *node_idx;
	t->outer_family = outer->family;
	t->inner_proto_be = gre.proto_be;
	t->inner_off = outer->l4_off + DP_GRE_BYTES + (flags & DP_GRE_FLAG_SEQ ? 4 : 0);
	return 0;
}

/* Strips the tunnel and makes the offsets in *p those of the bare packet. */
static __always_inline int dp_tunnel_strip(struct __sk_buff *skb, const struct dp_tunnel *t,
					   __u32 l2, struct dp_pkt *p)
{
	__u32 strip = t->inner_off - l2;

	if (dp_decap(skb, strip, t->outer_family, p->family))
		return -1;
	p->l3_off -= strip;
	p->l4_off -= strip;
	return 0;
}

/* We are the edge: a worker's reply, out to the client. */
static __noinline int dp_mesh_to_client(struct __sk_buff *skb, struct dp_pkt *p,
					const struct dp_tunnel *t, __u32 l2)
{
	struct dp_host *host = dp_host_get();
	struct dp_vip *vip;

	if (p->frag)
		return dp_exit(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT);
	vip = dp_vip_get(p->src, p->l4_proto);
	if (!vip || !dp_svc_on_port(vip, p->sport_be))
		return dp_exit(DP_R_REPLY_NOT_SERVICE, TC_ACT_SHOT);
	if (!host || !host->uplink_ifindex)
		return dp_exit(DP_R_REDIRECT_FAILED, TC_ACT_SHOT);
	if (dp_tunnel_strip(skb, t, l2, p) || dp_put_eth(skb, l2, p->family, 0))
		return dp_exit(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	skb->mark = 0;
	return dp_exit(DP_R_REPLY_OUT, bpf_redirect_neigh(host->uplink_ifindex, 0, 0, 0));
}

/* We are the worker: a client's packet from an edge. */
static __noinline int dp_mesh_to_backend(struct __sk_buff *skb, struct dp_pkt *p,
					 const struct dp_tunnel *t, __u32 l2)
{
	struct dp_path path = {.l2 = l2, .is_mesh = 1};
	struct dp_hop hop = {};
	int rc;

	if (p->frag)
		return dp_exit(DP_R_FRAGMENT, TC_ACT_SHOT);
	rc = dp_flow_in(p, DP_GRE_KEY_TOKEN(t->key), t->edge_idx, &hop);
	if (rc)
		return dp_exit((__u32)rc, TC_ACT_SHOT);
	path.mss_overhead = DP_GRE_BYTES +
			    (t->outer_family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
	if (dp_tunnel_strip(skb, t, l2, p))
		return dp_exit(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	return dp_deliver(skb, p, &hop, &path);
}

/* The inner packet takes the place of the outer one in *p: the stack of all calls together is 512 bytes. */
static __always_inline int dp_mesh_gre(struct __sk_buff *skb, struct dp_pkt *p,
				       const struct dp_tunnel *t, __u32 l2)
{
	int rc;

	rc = dp_parse_skb(skb, t->inner_off, t->inner_proto_be, p);
	if (rc)
		return dp_exit((__u32)rc, TC_ACT_SHOT);
	if (p->l4_proto != IPPROTO_TCP && p->l4_proto != IPPROTO_UDP)
		return dp_exit(DP_R_PROTO_UNSUPPORTED, TC_ACT_SHOT);
	if (DP_GRE_KEY_FLAGS(t->key) & DP_GRE_F_REPLY)
		return dp_mesh_to_client(skb, p, t, l2);
	return dp_mesh_to_backend(skb, p, t, l2);
}

SEC("tc")
int dp_tc_mesh_in(struct __sk_buff *skb)
{
	struct dp_host *host = dp_host_get();
	struct dp_tunnel t = {};
	struct dp_pkt p;
	__u32 l2 = dp_mesh_l2;
	int rc;

	if (!host || !dp_skb_is_ip(skb) || dp_parse_skb(skb, l2, skb->protocol, &p))
		return dp_exit(DP_R_MESH_PASS, TC_ACT_UNSPEC);
	if (!dp_addr_same(p.dst, p.family == 4 ? host->mesh_addr4 : host->mesh_addr6))
		return dp_exit(DP_R_MESH_PASS, TC_ACT_UNSPEC);
	if (dp_is_ping(skb, &p))
		return dp_ping_answer(skb, &p);
	if (p.l4_proto != DP_NH_GRE)
		return dp_exit(DP_R_MESH_PASS, TC_ACT_UNSPEC);
	rc = dp_tunnel_read(skb, &p, &t);
	if (rc)
		return dp_exit((__u32)rc, TC_ACT_SHOT);
	return dp_mesh_gre(skb, &p, &t, l2);
}

/* ---- What leaves ---- */

SEC("tc")
int dp_tc_mesh_out(struct __sk_buff *skb)
{
	struct dp_host *host = dp_host_get();
	struct dp_pkt p;
	int rc;

	if (host && host->gre_mark && skb->mark == host->gre_mark)
		return dp_exit(DP_R_MESH_OUT_MARKED, TC_ACT_UNSPEC);
	if (!dp_skb_is_ip(skb))
		return dp_exit(DP_R_MESH_PASS, TC_ACT_UNSPEC);
	rc = dp_parse_skb(skb, dp_mesh_l2, skb->protocol, &p);
	if (!rc && p.l4_proto == DP_NH_GRE)
		return dp_exit(DP_R_GRE_UNMARKED, TC_ACT_SHOT);
	return dp_reply(skb, &p, rc, dp_mesh_l2, DP_REPLY_MESH);
}

SEC("tc")
int dp_tc_up_out(struct __sk_buff *skb)
{
	struct dp_pkt p;
	int rc;

	if (!dp_skb_is_ip(skb))
		return dp_exit(DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
	rc = dp_parse_skb(skb, DP_ETH_BYTES, skb->protocol, &p);
	return dp_reply(skb, &p, rc, DP_ETH_BYTES, DP_REPLY_UPLINK);
}

SEC("tc")
int dp_tc_br_in(struct __sk_buff *skb)
{
	struct dp_pkt p;
	int rc;

	if (!dp_skb_is_ip(skb))
		return dp_exit(DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
	rc = dp_parse_skb(skb, DP_ETH_BYTES, skb->protocol, &p);
	return dp_reply(skb, &p, rc, DP_ETH_BYTES, DP_REPLY_BRIDGE);
}

#endif
