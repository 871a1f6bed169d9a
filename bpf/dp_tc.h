/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_tc.h - the TC programs, top down. "Not ours" returns TC_ACT_UNSPEC: an operator's own filters come next. */
#ifndef DP_TC_H
#define DP_TC_H

#include "bpf/dp_edge.h"
#include "bpf/dp_fabric.h"
#include "bpf/dp_reply.h"

static __always_inline int dp_skb_is_ip(const struct __sk_buff *skb)
{
	return !skb->vlan_present &&
	       (skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6));
}

/* ---- Public interface, ingress ---- */

/* What XDP left: DP_IS_PASS; DP_IS_ROW or DP_IS_BACKEND with *c filled in; or DP_GO: nothing usable, decide here. */
static __always_inline int dp_verdict_get(struct __sk_buff *skb, struct dp_choice *c)
{
	struct dp_verdict *v = (void *)(long)skb->data_meta;

	if ((void *)(v + 1) > (void *)(long)skb->data || v->magic != DP_VERDICT_MAGIC ||
	    v->version != DP_VERDICT_VERSION)
		return DP_GO;
	c->svc_idx = v->svc_idx;
	/* The owner may have died, or the table been rebuilt, since XDP looked: then ask again. */
	switch (v->verdict) {
	case DP_VERDICT_PASS:
		return DP_IS_PASS;
	case DP_VERDICT_FORWARD:
		if (!dp_row_usable(v->row, c))
			return DP_GO;
		c->prev_idx = v->seq;
		return DP_IS_ROW;
	case DP_VERDICT_BACKEND:
		return dp_backend_usable(v->row, c) ? DP_IS_BACKEND : DP_GO;
	}
	return DP_GO;
}

static __always_inline int dp_pub_local(struct __sk_buff *skb, struct dp_work *w)
{
	struct dp_self *self = dp_self_get();
	int out;

	if (!self)
		return DP_OUT(DP_R_NOT_READY, TC_ACT_SHOT);
	__builtin_memset(&w->tunnel, 0, sizeof(w->tunnel));
	w->tunnel.edge_idx = self->node_idx;
	w->tunnel.from_idx = self->node_idx;
	w->tunnel.key = DP_GRE_KEY(0, DP_BE_TOKEN(w->choice.backend_word));
	w->tunnel.seq = dp_second_seq(w);
	w->path.l2 = DP_ETH_BYTES;
	w->path.is_mesh = 0;
	w->path.mss_overhead = 0;
	out = dp_deliver_where(skb, w);
	return out == DP_GO ? dp_deliver(skb) : out;
}

static __always_inline int dp_pub_remote(struct __sk_buff *skb, struct dp_work *w)
{
	__u32 frame_bytes = w->pkt.l3_off + w->pkt.l3_bytes;
	struct dp_host *host = dp_host_get();
	struct dp_svc *svc = dp_svc_get(w->choice.svc_idx);
	struct dp_node *node;
	int rc;

	if (!host || !svc)
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	/* Short frames are padded by the link; the padding is no part of the packet. */
	if (!skb->gso_size && frame_bytes < skb->len && bpf_skb_change_tail(skb, frame_bytes, 0))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	w->wrap.node_idx = DP_BE_NODE(w->choice.backend_word);
	w->wrap.key = DP_GRE_KEY(0, DP_BE_TOKEN(w->choice.backend_word));
	w->wrap.seq = dp_second_seq(w);
	w->wrap.l2 = DP_ETH_BYTES;
	w->wrap.segment_bytes = dp_segment_bytes(skb, &w->pkt);
	w->wrap.may_exceed = (svc->flags & DP_SVC_CARRY) ||
			     dp_is_untold(&w->pkt, w->wrap.segment_bytes) ||
			     dp_seq_exceeds(w, host);
	rc = dp_encap(skb);
	if (rc == DP_R_TOO_BIG) {
		node = dp_node_get(w->wrap.node_idx);
		if (!node)
			return DP_OUT(rc, TC_ACT_SHOT);
		return dp_too_big(skb, host->mesh_mtu - dp_overhead(host, node->addr,
								    dp_mesh_l2 ? w->wrap.seq : 0));
	}
	if (rc)
		return DP_OUT(rc, TC_ACT_SHOT);
	return DP_OUT(dp_frag_reason(&w->pkt, DP_R_FORWARDED), dp_send_mesh(host));
}

static __always_inline int dp_pub_in_run(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_choice c = {};
	struct dp_node *node;
	int rc, out;

	if (!w || !dp_skb_is_ip(skb))
		return DP_OUT(DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
	out = dp_verdict_get(skb, &c);
	if (out == DP_IS_PASS)
		return DP_OUT(DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
	rc = dp_parse_skb(skb, DP_ETH_BYTES, skb->protocol);
	if (out == DP_GO) {
		out = dp_edge(skb, &w->pkt, rc, &c, 0);
		if (out == DP_IS_PASS)
			return DP_OUT(DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
		if (out >= 0)
			return out;
		dp_stat_add(c.svc_idx, c.backend_idx, dp_packets(skb), skb->len - DP_ETH_BYTES);
	} else if (rc) {
		return DP_OUT(rc, TC_ACT_SHOT);
	}
	w->choice = c;
	node = dp_node_get(DP_BE_NODE(c.backend_word));
	if (!node)
		return DP_OUT(DP_R_NO_BACKEND, TC_ACT_SHOT);
	return node->flags & DP_NODE_SELF ? dp_pub_local(skb, w) : dp_pub_remote(skb, w);
}

SEC("tc")
int dp_tc_pub_in(struct __sk_buff *skb)
{
	__u64 began_ns = dp_see_begin();

	return dp_leave_tc(skb, DP_HOOK_PUB_IN, began_ns, dp_pub_in_run(skb));
}

/* ---- Mesh device, ingress ---- */

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
__noinline int dp_ping_answer(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();
	__u32 addr_off, kind_off, is_v4;
	__be32 reply_be = bpf_htonl(1);
	int rc;

	if (!host || !w)
		return DP_OUT(DP_R_REDIRECT_FAILED, TC_ACT_SHOT);
	if (!dp_rate_take(DP_RATE_PING, DP_RATE_PING_MAX))
		return DP_OUT(DP_R_PING_LIMITED, TC_ACT_SHOT);
	is_v4 = w->pkt.family == 4;
	addr_off = w->pkt.l3_off +
		   (is_v4 ? offsetof(struct iphdr, saddr) : offsetof(struct ipv6hdr, saddr));
	kind_off = w->pkt.l4_off + sizeof(struct udphdr) + offsetof(struct dp_ping, kind_be);
	rc = is_v4 ? dp_swap_bytes(skb, addr_off, 4) : dp_swap_bytes(skb, addr_off, 16);
	rc = rc || dp_swap_bytes(skb, w->pkt.l4_off, 2);
	rc = rc || bpf_l4_csum_replace(skb, w->pkt.l4_off + offsetof(struct udphdr, check), 0,
				       reply_be, BPF_F_MARK_MANGLED_0 | sizeof(reply_be));
	rc = rc || bpf_skb_store_bytes(skb, kind_off, &reply_be, sizeof(reply_be), 0);
	if (rc)
		return DP_OUT(DP_R_REDIRECT_FAILED, TC_ACT_SHOT);
	return DP_OUT(DP_R_PING_ANSWERED, dp_send_mesh(host));
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

/* Reads the tunnel of dp_work.pkt into dp_work.tunnel. 0 or the reason to drop. */
__noinline int dp_tunnel_read(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_tunnel *t;
	__u32 *node_idx;
	struct dp_gre gre;
	__be32 seq_be = 0;
	__u16 flags;

	if (!w)
		return DP_R_GRE_BAD;
	t = &w->tunnel;
	node_idx = dp_known_get(w->pkt.src);
	if (!node_idx)
		return DP_R_GRE_UNKNOWN_PEER;
	if (w->pkt.frag || bpf_skb_load_bytes(skb, w->pkt.l4_off, &gre, sizeof(gre)))
		return DP_R_GRE_BAD;
	flags = bpf_ntohs(gre.flags_be);
	t->key = bpf_ntohl(gre.key_be);
	if ((flags & ~DP_GRE_FLAG_SEQ) != DP_GRE_FLAG_KEY ||
	    DP_GRE_KEY_VERSION(t->key) != DP_GRE_VERSION)
		return DP_R_GRE_BAD;
	if (gre.proto_be != bpf_htons(ETH_P_IP) && gre.proto_be != bpf_htons(ETH_P_IPV6))
		return DP_R_GRE_BAD;
	t->inner_off = w->pkt.l4_off + DP_GRE_BYTES;
	if (flags & DP_GRE_FLAG_SEQ) {
		if (bpf_skb_load_bytes(skb, t->inner_off, &seq_be, sizeof(seq_be)))
			return DP_R_GRE_BAD;
		t->inner_off += DP_GRE_SEQ_BYTES;
	}
	t->seq = bpf_ntohl(seq_be);
	t->from_idx = *node_idx;
	t->edge_idx = *node_idx;
	t->outer_family = w->pkt.family;
	t->inner_proto_be = gre.proto_be;
	return 0;
}

/* Is a worker's reply one that a service of ours could have given? DP_GO, or how the program ends. */
static __always_inline int dp_mesh_reply_check(struct __sk_buff *skb, struct dp_work *w)
{
	struct dp_vip *vip;

	if (w->pkt.frag == DP_FRAG_LATER)
		return dp_frag_edge_out(skb);
	if (dp_is_icmp(&w->pkt))
		return w->pkt.frag ? DP_OUT(DP_R_REPLY_FRAGMENT, TC_ACT_SHOT)
				   : dp_icmp_edge_out(skb);
	vip = dp_vip_find(w->pkt.src);
	if (!vip || !dp_svc_on_port(vip, w->pkt.l4_proto, w->pkt.sport_be))
		return DP_OUT(DP_R_REPLY_NOT_SERVICE, TC_ACT_SHOT);
	return w->pkt.frag ? dp_frag_edge_out(skb) : DP_GO;
}

/* We are the edge: a worker's reply, out to the client. */
__noinline int dp_mesh_to_client(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();
	__u32 reason;
	int out;

	if (!w || !host || !host->uplink_ifindex)
		return DP_OUT(DP_R_REDIRECT_FAILED, TC_ACT_SHOT);
	out = dp_mesh_reply_check(skb, w);
	if (out != DP_GO)
		return out;
	if (dp_tunnel_strip(skb) || dp_put_eth(skb, w->path.l2, w->pkt.family, 0))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	skb->mark = 0;
	reason = dp_is_icmp(&w->pkt) ? DP_R_ICMP_OUT : dp_frag_reason(&w->pkt, DP_R_REPLY_OUT);
	return DP_OUT(reason, bpf_redirect_neigh(dp_uplink(host, w->pkt.dst), 0, 0, 0));
}

/* The tunnel that replies will go through: as the packet's own, or, if that is off already, as its sender's address. */
static __always_inline __u32 dp_tunnel_bytes(const struct dp_tunnel *t)
{
	__u32 family = t->outer_family;
	struct dp_node *node;

	if (!family) {
		node = dp_node_get(t->from_idx);
		family = node && dp_addr_is_v4(node->addr) ? 4 : 6;
	}
	return DP_GRE_BYTES + (family == 6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
}

/* We are the worker: a client's packet from an edge. */
__noinline int dp_mesh_to_backend(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	int out;

	if (!w)
		return DP_OUT(DP_R_TOKEN_UNKNOWN, TC_ACT_SHOT);
	w->path.mss_overhead = dp_tunnel_bytes(&w->tunnel);
	out = dp_deliver_where(skb, w);
	if (out != DP_GO)
		return out;
	if (dp_tunnel_strip(skb))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	return dp_deliver(skb);
}

/* The inner packet takes the place of the outer one in dp_work.pkt. */
static __always_inline int dp_mesh_gre(struct __sk_buff *skb, struct dp_work *w)
{
	int rc = dp_tunnel_read(skb);

	if (!rc)
		rc = dp_parse_skb(skb, w->tunnel.inner_off, w->tunnel.inner_proto_be);
	if (rc)
		return DP_OUT(rc, TC_ACT_SHOT);
	if (!dp_is_tcp_udp(&w->pkt) && !dp_is_icmp(&w->pkt) && w->pkt.frag != DP_FRAG_LATER)
		return DP_OUT(DP_R_PROTO_UNSUPPORTED, TC_ACT_SHOT);
	if (DP_GRE_KEY_FLAGS(w->tunnel.key) & DP_GRE_F_REPLY)
		return dp_mesh_to_client(skb);
	return dp_mesh_to_backend(skb);
}

static __always_inline int dp_mesh_in_run(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();

	if (!host || !w || !dp_skb_is_ip(skb) || dp_parse_skb(skb, dp_mesh_l2, skb->protocol))
		return DP_OUT(DP_R_MESH_PASS, TC_ACT_UNSPEC);
	w->path.l2 = dp_mesh_l2;
	w->path.is_mesh = 1;
	if (dp_fabric_took(skb, w, host))
		return dp_mesh_to_backend(skb);
	if (!dp_addr_same(w->pkt.dst, w->pkt.family == 4 ? host->mesh_addr4 : host->mesh_addr6))
		return DP_OUT(DP_R_MESH_PASS, TC_ACT_UNSPEC);
	if (dp_is_ping(skb, &w->pkt))
		return dp_ping_answer(skb);
	if (dp_is_pointer(skb, &w->pkt))
		return dp_meet_note(skb);
	if (w->pkt.l4_proto != DP_NH_GRE)
		return DP_OUT(DP_R_MESH_PASS, TC_ACT_UNSPEC);
	return dp_mesh_gre(skb, w);
}

SEC("tc")
int dp_tc_mesh_in(struct __sk_buff *skb)
{
	__u64 began_ns = dp_see_begin();

	return dp_leave_tc(skb, DP_HOOK_MESH_IN, began_ns, dp_mesh_in_run(skb));
}

/* ---- What leaves ---- */

static __always_inline int dp_mesh_out_run(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();
	int rc;

	if (host && host->gre_mark && skb->mark == host->gre_mark)
		return DP_OUT(DP_R_MESH_OUT_MARKED, TC_ACT_UNSPEC);
	if (!w || !dp_skb_is_ip(skb))
		return DP_OUT(DP_R_MESH_PASS, TC_ACT_UNSPEC);
	rc = dp_parse_skb(skb, dp_mesh_l2, skb->protocol);
	if (rc)
		return DP_OUT(DP_R_MESH_PASS, TC_ACT_UNSPEC);
	if (w->pkt.l4_proto == DP_NH_GRE)
		return DP_OUT(DP_R_GRE_UNMARKED, TC_ACT_SHOT);
	return dp_reply(skb, dp_mesh_l2, DP_REPLY_MESH);
}

SEC("tc")
int dp_tc_mesh_out(struct __sk_buff *skb)
{
	__u64 began_ns = dp_see_begin();

	return dp_leave_tc(skb, DP_HOOK_MESH_OUT, began_ns, dp_mesh_out_run(skb));
}

static __always_inline int dp_eth_out_run(struct __sk_buff *skb, __u32 hook)
{
	if (!dp_skb_is_ip(skb) || dp_parse_skb(skb, DP_ETH_BYTES, skb->protocol))
		return DP_OUT(DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
	return dp_reply(skb, DP_ETH_BYTES, hook);
}

SEC("tc")
int dp_tc_up_out(struct __sk_buff *skb)
{
	__u64 began_ns = dp_see_begin();

	return dp_leave_tc(skb, DP_HOOK_UP_OUT, began_ns, dp_eth_out_run(skb, DP_REPLY_UPLINK));
}

SEC("tc")
int dp_tc_br_in(struct __sk_buff *skb)
{
	__u64 began_ns = dp_see_begin();

	return dp_leave_tc(skb, DP_HOOK_BR_IN, began_ns, dp_eth_out_run(skb, DP_REPLY_BRIDGE));
}

#endif
