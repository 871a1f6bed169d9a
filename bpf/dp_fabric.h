/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_fabric.h - a mesh over trusted Ethernet: the tunnel on and off in XDP.
 *
 * Only the ordinary packet: TCP or UDP, not a fragment on its way off the tunnel, no sequence word, neighbour known, within
 * the mesh MTU. Whatever else comes is left as it is, and TC does it with the same bytes on the wire; so nodes with and
 * without this mix.
 * Native mode only (edgefwd sees to it, DP_HOST_FABRIC): there every frame is one packet with a finished checksum.
 * Generic XDP sees super-packets, which can't be told from packets here and must not lose a header behind the stack's back.
 */
#ifndef DP_FABRIC_H
#define DP_FABRIC_H

#include "bpf/dp_second.h"
#include "bpf/dp_uplink.h"

#define DP_FABRIC_OFF4 (DP_ETH_BYTES + sizeof(struct iphdr) + DP_GRE_BYTES)
#define DP_FABRIC_OFF6 (DP_ETH_BYTES + sizeof(struct ipv6hdr) + DP_GRE_BYTES)

static __always_inline __u32 *dp_known_get(const void *addr)
{
	struct dp_addr_key from __attribute__((aligned(8)));

	dp_addr_copy(from.addr, addr);
	return bpf_map_lookup_elem(&dp_known, &from);
}

static __always_inline __u32 dp_frame_bytes(struct xdp_md *ctx)
{
	__u32 bytes = ctx->data_end - ctx->data;

	/* Else the compiler keeps the low half of data on the stack, which the verifier refuses. */
	asm volatile("" : "+r"(bytes) : : "memory");
	return bytes;
}

/* ---- On, at the edge ---- */

/* Ethernet, outer and GRE header into the room in front of the packet. -1: no room, as it cannot be. */
static __always_inline int dp_fabric_put(struct xdp_md *ctx, const struct dp_host *host,
					 const struct dp_l2 *l2, __be16 proto_be, __u32 total,
					 __u32 key, __u32 seq)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

	/* Without a sequence word its place is the inner packet's first bytes, and they are there. */
	if (dp_addr_is_v4(l2->addr)) {
		struct dp_outer4 *to = data + sizeof(*eth), h = {};

		if ((void *)(to + 1) > end)
			return -1;
		dp_fill_outer4(&h, total, host->mesh_addr4, l2->addr, 1);
		dp_fill_gre(&h.gre, proto_be, key, seq);
		__builtin_memcpy(to, &h, sizeof(h) - DP_GRE_SEQ_BYTES);
		if (seq)
			to->seq_be = bpf_htonl(seq);
		eth->h_proto = bpf_htons(ETH_P_IP);
	} else {
		struct dp_outer6 *to = data + sizeof(*eth), h = {};

		if ((void *)(to + 1) > end)
			return -1;
		dp_fill_outer6(&h, total, host->mesh_addr6, l2->addr);
		dp_fill_gre(&h.gre, proto_be, key, seq);
		__builtin_memcpy(to, &h, sizeof(h) - DP_GRE_SEQ_BYTES);
		if (seq)
			to->seq_be = bpf_htonl(seq);
		eth->h_proto = bpf_htons(ETH_P_IPV6);
	}
	__builtin_memcpy(eth->h_dest, l2->dst, sizeof(eth->h_dest));
	__builtin_memcpy(eth->h_source, l2->src, sizeof(eth->h_source));
	return 0;
}

/* Edge: encapsulate dp_work.pkt towards dp_work.choice and send. DP_GO: leave it to TC. */
__noinline int dp_fabric_out(struct xdp_md *ctx)
{
	__u32 frame_bytes = dp_frame_bytes(ctx), node_idx, seq, overhead, total;
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();
	struct dp_node *node;
	struct dp_l2 *l2;

	if (!w || !host || !(host->flags & DP_HOST_FABRIC_OUT))
		return DP_GO;
	node_idx = DP_BE_NODE(w->choice.backend_word);
	node = dp_node_get(node_idx);
	l2 = bpf_map_lookup_elem(&dp_l2, &node_idx);
	if (!node || !l2 || !l2->ifindex || (node->flags & DP_NODE_SELF) ||
	    !dp_addr_same(l2->addr, node->addr))
		return DP_GO;
	seq = dp_second_seq(w);
	overhead = dp_overhead(host, l2->addr, seq);
	total = w->pkt.l3_bytes + overhead;
	if (!overhead || total > host->mesh_mtu || w->pkt.l3_off != DP_ETH_BYTES)
		return DP_GO;
	/* Short frames are padded by the link; the padding is no part of the packet. */
	if (frame_bytes > DP_ETH_BYTES + w->pkt.l3_bytes &&
	    bpf_xdp_adjust_tail(ctx, (int)(DP_ETH_BYTES + w->pkt.l3_bytes) - (int)frame_bytes))
		return DP_GO;
	if (bpf_xdp_adjust_head(ctx, -(int)overhead))
		return DP_GO;
	if (dp_fabric_put(ctx, host, l2,
			  w->pkt.family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6), total,
			  DP_GRE_KEY(0, DP_BE_TOKEN(w->choice.backend_word)), seq))
		return DP_OUT(DP_R_ENCAP_FAILED, XDP_DROP);
	if (l2->ifindex == ctx->ingress_ifindex)
		return DP_OUT(DP_R_FABRIC_OUT, XDP_TX);
	return DP_OUT(DP_R_FABRIC_OUT, bpf_redirect(l2->ifindex, 0));
}

/* ---- Off ---- */

/* Is the outer header one that we would have written, for this machine? Then dp_work.tunnel, but for the sender. */
static __always_inline int dp_fabric_outer(struct xdp_md *ctx, struct dp_work *w,
					   const struct dp_host *host, void *from)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u8 to[16] __attribute__((aligned(8)));
	struct ethhdr *eth = data;
	struct dp_gre *gre;

	if ((void *)(eth + 1) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		struct dp_outer4 *o = data + sizeof(*eth);

		if ((void *)(o + 1) > end || o->ip.version != 4 || o->ip.ihl != 5 ||
		    o->ip.protocol != DP_NH_GRE || (o->ip.frag_off & bpf_htons(0x3fff)))
			return 0;
		dp_addr_map4(from, o->ip.saddr);
		dp_addr_map4(to, o->ip.daddr);
		if (!dp_addr_same(to, host->mesh_addr4))
			return 0;
		gre = &o->gre;
		w->tunnel.outer_family = 4;
		w->tunnel.inner_off = DP_FABRIC_OFF4;
	} else if (eth->h_proto == bpf_htons(ETH_P_IPV6)) {
		struct dp_outer6 *o = data + sizeof(*eth);

		if ((void *)(o + 1) > end || o->ip.version != 6 || o->ip.nexthdr != DP_NH_GRE)
			return 0;
		dp_addr_copy(from, &o->ip.saddr);
		if (!dp_addr_same(&o->ip.daddr, host->mesh_addr6))
			return 0;
		gre = &o->gre;
		w->tunnel.outer_family = 6;
		w->tunnel.inner_off = DP_FABRIC_OFF6;
	} else {
		return 0;
	}
	w->tunnel.key = bpf_ntohl(gre->key_be);
	w->tunnel.inner_proto_be = gre->proto_be;
	return gre->flags_be == bpf_htons(DP_GRE_FLAG_KEY) &&
	       DP_GRE_KEY_VERSION(w->tunnel.key) == DP_GRE_VERSION &&
	       (gre->proto_be == bpf_htons(ETH_P_IP) || gre->proto_be == bpf_htons(ETH_P_IPV6));
}

/* 1 with dp_work.tunnel and dp_work.pkt (the inner packet) filled in; 0: nothing for us, TC decides. */
static __always_inline int dp_fabric_read(struct xdp_md *ctx, struct dp_work *w,
					  const struct dp_host *host)
{
	__u32 frame_bytes = dp_frame_bytes(ctx), *node_idx;
	__u8 from[16] __attribute__((aligned(8)));

	if (!dp_fabric_outer(ctx, w, host, from))
		return 0;
	node_idx = dp_known_get(from);
	if (!node_idx)
		return 0;
	w->tunnel.from_idx = *node_idx;
	w->tunnel.edge_idx = *node_idx;
	w->tunnel.seq = 0;
	if (dp_parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, w->tunnel.inner_off,
		     (__be16)w->tunnel.inner_proto_be, &w->pkt))
		return 0;
	return dp_is_tcp_udp(&w->pkt) && !w->pkt.frag &&
	       w->pkt.l3_off + w->pkt.l3_bytes == frame_bytes &&
	       dp_parse_is_whole(&w->pkt, frame_bytes);
}

/* Takes the tunnel off: the Ethernet header moves to the inner packet. -1: no room, as it cannot be. */
static __always_inline int dp_fabric_strip(struct xdp_md *ctx, const struct dp_work *w,
					   const struct ethhdr *eth)
{
	void *data, *end;

	if (bpf_xdp_adjust_head(ctx, (int)w->tunnel.inner_off - (int)DP_ETH_BYTES))
		return -1;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + sizeof(*eth) > end)
		return -1;
	__builtin_memcpy(data, eth, sizeof(*eth));
	return 0;
}

/* Worker: the bare packet and a verdict go to TC, which has the flow table and rewrites. */
__noinline int dp_fabric_in(struct xdp_md *ctx)
{
	struct dp_work *w = dp_work_get();
	struct dp_verdict *v;
	struct ethhdr eth;

	if (!w || bpf_xdp_adjust_meta(ctx, -(int)sizeof(*v)))
		return DP_GO;
	v = (void *)(long)ctx->data_meta;
	if ((void *)(v + 1) > (void *)(long)ctx->data ||
	    (void *)(long)ctx->data + sizeof(eth) > (void *)(long)ctx->data_end)
		return DP_GO;
	v->magic = DP_VERDICT_MAGIC;
	v->version = DP_VERDICT_VERSION;
	v->verdict = DP_VERDICT_TUNNEL;
	v->row = 0;
	v->svc_idx = 0;
	v->key = w->tunnel.key;
	v->from_idx = w->tunnel.from_idx;
	v->seq = 0;
	__builtin_memcpy(&eth, (void *)(long)ctx->data, sizeof(eth));
	eth.h_proto = (__be16)w->tunnel.inner_proto_be;
	if (dp_fabric_strip(ctx, w, &eth))
		return DP_OUT(DP_R_ENCAP_FAILED, XDP_DROP);
	return DP_OUT(DP_R_FABRIC_IN, XDP_PASS);
}

/* Edge: a worker's reply, straight out of the uplink. DP_GO where that can't be done here: the reply of no service, a
 * machine that doesn't forward on the mesh interface (the kernel tells programs no next hop then), a neighbour unknown. */
__noinline int dp_fabric_reply(struct xdp_md *ctx)
{
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();
	struct bpf_fib_lookup fib = {};
	struct dp_vip *vip;
	struct ethhdr eth;

	if (!w || !host || !(host->flags & DP_HOST_FABRIC_REPLY))
		return DP_GO;
	vip = dp_vip_find(w->pkt.src);
	if (!vip || !dp_svc_on_port(vip, w->pkt.l4_proto, w->pkt.sport_be))
		return DP_GO;
	fib.ifindex = ctx->ingress_ifindex;
	fib.l4_protocol = w->pkt.l4_proto;
	fib.tot_len = (__u16)w->pkt.l3_bytes;
	if (w->pkt.family == 4) {
		fib.family = 2; /* AF_INET */
		fib.ipv4_src = ((const dp_word32 *)w->pkt.src)[3];
		fib.ipv4_dst = ((const dp_word32 *)w->pkt.dst)[3];
	} else {
		fib.family = 10; /* AF_INET6 */
		dp_addr_copy(fib.ipv6_src, w->pkt.src);
		dp_addr_copy(fib.ipv6_dst, w->pkt.dst);
	}
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS ||
	    fib.ifindex != dp_uplink(host, w->pkt.dst))
		return DP_GO;
	__builtin_memcpy(eth.h_dest, fib.dmac, sizeof(eth.h_dest));
	__builtin_memcpy(eth.h_source, fib.smac, sizeof(eth.h_source));
	eth.h_proto = (__be16)w->tunnel.inner_proto_be;
	if (dp_fabric_strip(ctx, w, &eth))
		return DP_OUT(DP_R_ENCAP_FAILED, XDP_DROP);
	if (fib.ifindex == ctx->ingress_ifindex)
		return DP_OUT(DP_R_FABRIC_REPLY, XDP_TX);
	return DP_OUT(DP_R_FABRIC_REPLY, bpf_redirect(fib.ifindex, 0));
}

static __always_inline int dp_xdp_mesh_run(struct xdp_md *ctx)
{
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();
	int out = DP_GO;

	if (!dp_mesh_l2 || !w || !host || !(host->flags & DP_HOST_FABRIC))
		return DP_OUT(DP_R_XDP_PASS, XDP_PASS);
	if (dp_fabric_read(ctx, w, host)) {
		if (!DP_GRE_KEY_FLAGS(w->tunnel.key))
			out = dp_fabric_in(ctx);
		else if (DP_GRE_KEY_FLAGS(w->tunnel.key) == DP_GRE_F_REPLY)
			out = dp_fabric_reply(ctx);
	}
	return out == DP_GO ? DP_OUT(DP_R_XDP_PASS, XDP_PASS) : out;
}

/* ---- What TC finds ---- */

/* A packet whose tunnel dp_fabric_in() took off: 1 with dp_work.tunnel filled in. */
static __always_inline int dp_fabric_took(struct __sk_buff *skb, struct dp_work *w,
					  const struct dp_host *host)
{
	struct dp_verdict *v = (void *)(long)skb->data_meta;

	if (!dp_mesh_l2 || !(host->flags & DP_HOST_FABRIC) ||
	    (void *)(v + 1) > (void *)(long)skb->data || v->magic != DP_VERDICT_MAGIC ||
	    v->version != DP_VERDICT_VERSION || v->verdict != DP_VERDICT_TUNNEL)
		return 0;
	w->tunnel.key = v->key;
	w->tunnel.from_idx = v->from_idx;
	w->tunnel.edge_idx = v->from_idx;
	w->tunnel.seq = v->seq;
	w->tunnel.inner_off = DP_ETH_BYTES;
	w->tunnel.outer_family = 0;
	w->tunnel.inner_proto_be = skb->protocol;
	return 1;
}

#endif
