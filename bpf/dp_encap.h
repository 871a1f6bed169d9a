/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_encap.h - GRE with key over IPv4 or IPv6 between mesh addresses: put on, take off, send.
 *
 * Wire      28 or 48 bytes in front of the inner packet; outer TTL 64, DSCP and ECN zero, DF on IPv4
 * Devices   the mesh device carries bare IP (WireGuard, TUN) and l2 is 0 there; with dp_mesh_l2 set to 14 it is an
 *           Ethernet, and the kernel finds the neighbour
 * Order     helpers that change the packet void all pointers into it: callers keep offsets only
 */
#ifndef DP_ENCAP_H
#define DP_ENCAP_H

#include "bpf/dp_choose.h"

#define DP_OUTER_TTL 64
#define DP_GRE_FLAG_KEY 0x2000u
#define DP_GRE_FLAG_SEQ 0x1000u
#define DP_ETH_BYTES 14u

/* Bytes of link header on the mesh device: 0, or 14 for a mesh over Ethernet. Set before loading. */
const volatile __u32 dp_mesh_l2 = 0;

struct dp_gre {
	__be16 flags_be;
	__be16 proto_be;
	__be32 key_be;
};

/* Outer and GRE header towards `peer`, 0 = we have no mesh address of its family. */
static __always_inline __u32 dp_overhead(const struct dp_host *host, const void *peer, __u32 seq)
{
	__u32 gre = DP_GRE_BYTES + (seq ? DP_GRE_SEQ_BYTES : 0);

	if (dp_addr_is_v4(peer))
		return dp_addr_is_zero(host->mesh_addr4) ? 0 : sizeof(struct iphdr) + gre;
	if (dp_addr_is_zero(peer) || dp_addr_is_zero(host->mesh_addr6))
		return 0;
	return sizeof(struct ipv6hdr) + gre;
}

/* The largest IP packet that will stand on the wire: this one, or one segment of a super-packet. */
static __always_inline __u32 dp_segment_bytes(const struct __sk_buff *skb, const struct dp_pkt *p)
{
	if (skb->gso_size)
		return p->l4_off - p->l3_off + p->l4_bytes + skb->gso_size;
	return p->l3_bytes;
}

static __always_inline __u16 dp_ip4_csum(const struct iphdr *ip)
{
	const __u16 *half = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < (int)sizeof(*ip) / 2; i++)
		sum += half[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)~sum;
}

/* The headers of one encapsulation, as they will stand. */
struct dp_outer4 {
	struct iphdr ip;
	struct dp_gre gre;
	__be32 seq_be;
};
struct dp_outer6 {
	struct ipv6hdr ip;
	struct dp_gre gre;
	__be32 seq_be;
};

/* total: bytes of the whole outer packet; a super-packet's may exceed the field, each of its segments gets its own. */
static __always_inline void dp_fill_outer4(struct dp_outer4 *h, __u32 total, const void *from,
					   const void *to, __u32 is_df)
{
	h->ip.version = 4;
	h->ip.ihl = 5;
	h->ip.tot_len = bpf_htons(total > 0xffff ? 0xffff : total);
	h->ip.frag_off = is_df ? bpf_htons(0x4000) : 0;
	h->ip.ttl = DP_OUTER_TTL;
	h->ip.protocol = DP_NH_GRE;
	h->ip.saddr = ((const dp_word32 *)from)[3];
	h->ip.daddr = ((const dp_word32 *)to)[3];
	h->ip.check = dp_ip4_csum(&h->ip);
}

static __always_inline void dp_fill_outer6(struct dp_outer6 *h, __u32 total, const void *from,
					   const void *to)
{
	__u32 payload = total - sizeof(h->ip);

	h->ip.version = 6;
	h->ip.payload_len = bpf_htons(payload > 0xffff ? 0xffff : payload);
	h->ip.nexthdr = DP_NH_GRE;
	h->ip.hop_limit = DP_OUTER_TTL;
	dp_addr_copy(&h->ip.saddr, from);
	dp_addr_copy(&h->ip.daddr, to);
}

static __always_inline void dp_fill_gre(struct dp_gre *g, __be16 proto_be, __u32 key, __u32 seq)
{
	g->flags_be = bpf_htons(DP_GRE_FLAG_KEY | (seq ? DP_GRE_FLAG_SEQ : 0));
	g->proto_be = proto_be;
	g->key_be = bpf_htonl(key);
}

static __always_inline int dp_put_outer4(struct __sk_buff *skb, const struct dp_wrap *wrap,
					 const struct dp_host *host, const __u8 *peer,
					 __be16 proto_be, __u32 is_df)
{
	struct dp_outer4 h = {};
	__u32 l2 = wrap->l2;

	dp_fill_outer4(&h, skb->len - l2, host->mesh_addr4, peer, is_df);
	dp_fill_gre(&h.gre, proto_be, wrap->key, wrap->seq);
	h.seq_be = bpf_htonl(wrap->seq);
	if (wrap->seq)
		return bpf_skb_store_bytes(skb, l2, &h, sizeof(h), BPF_F_RECOMPUTE_CSUM);
	return bpf_skb_store_bytes(skb, l2, &h, sizeof(h) - DP_GRE_SEQ_BYTES, BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int dp_put_outer6(struct __sk_buff *skb, const struct dp_wrap *wrap,
					 const struct dp_host *host, const __u8 *peer,
					 __be16 proto_be)
{
	struct dp_outer6 h = {};
	__u32 l2 = wrap->l2;

	dp_fill_outer6(&h, skb->len - l2, host->mesh_addr6, peer);
	dp_fill_gre(&h.gre, proto_be, wrap->key, wrap->seq);
	h.seq_be = bpf_htonl(wrap->seq);
	if (wrap->seq)
		return bpf_skb_store_bytes(skb, l2, &h, sizeof(h), BPF_F_RECOMPUTE_CSUM);
	return bpf_skb_store_bytes(skb, l2, &h, sizeof(h) - DP_GRE_SEQ_BYTES, BPF_F_RECOMPUTE_CSUM);
}

/* Puts GRE around the IP packet that begins at dp_work.wrap.l2, as dp_work.wrap says, and sets the mark that lets it out of
 * the mesh device. 0, or the reason to drop; after TOO_BIG the packet is as it was, else it may be changed. */
__noinline int dp_encap(struct __sk_buff *skb)
{
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L4_GRE;
	__u8 peer[16] __attribute__((aligned(8)));
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();
	__u32 overhead, is_big;
	__be16 proto_be = (__be16)skb->protocol; /* making room changes it */
	struct dp_node *node;
	int rc;

	if (!host || !w)
		return DP_R_ENCAP_FAILED;
	node = dp_node_get(w->wrap.node_idx);
	if (!node)
		return DP_R_NODE_NO_ADDR;
	dp_addr_copy(peer, node->addr);
	overhead = dp_overhead(host, peer, w->wrap.seq);
	if (!overhead)
		return DP_R_NODE_NO_ADDR;
	is_big = w->wrap.segment_bytes + overhead > host->mesh_mtu;
	if (is_big && (!w->wrap.may_exceed || dp_mesh_l2))
		return DP_R_TOO_BIG;
	if (dp_addr_is_v4(peer)) {
		if (bpf_skb_adjust_room(skb, (__s32)overhead, BPF_ADJ_ROOM_MAC,
					flags | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
			return DP_R_ENCAP_FAILED;
		rc = dp_put_outer4(skb, &w->wrap, host, peer, proto_be, !is_big);
	} else {
		if (bpf_skb_adjust_room(skb, (__s32)overhead, BPF_ADJ_ROOM_MAC,
					flags | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6))
			return DP_R_ENCAP_FAILED;
		rc = dp_put_outer6(skb, &w->wrap, host, peer, proto_be);
	}
	if (rc)
		return DP_R_ENCAP_FAILED;
	skb->mark = host->gre_mark;
	return 0;
}

/* Verdict that sends an encapsulated packet out of the mesh device. */
static __always_inline int dp_send_mesh(const struct dp_host *host)
{
	if (dp_mesh_l2)
		return bpf_redirect_neigh(host->mesh_ifindex, 0, 0, 0);
	return bpf_redirect(host->mesh_ifindex, 0);
}

/* Takes `strip` bytes of outer and GRE header off behind l2. IPv6 out of IPv4, and the reverse, go through
 * bpf_skb_change_proto, which makes the outer header one of the inner family: 6.1 has no flag for it. */
__noinline int dp_decap(struct __sk_buff *skb, __u32 strip, __u32 outer_family, __u32 inner_family)
{
	const __u32 grow = sizeof(struct ipv6hdr) - sizeof(struct iphdr);

	if (outer_family == 4 && inner_family == 6) {
		if (bpf_skb_change_proto(skb, bpf_htons(ETH_P_IPV6), 0))
			return -1;
		strip += grow;
	} else if (outer_family == 6 && inner_family == 4) {
		if (bpf_skb_change_proto(skb, bpf_htons(ETH_P_IP), 0))
			return -1;
		strip -= grow;
	}
	return bpf_skb_adjust_room(skb, -(__s32)strip, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO);
}

/* Strips the tunnel and makes the offsets in dp_work.pkt (and .embed) those of the bare packet. */
__noinline int dp_tunnel_strip(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	__u32 strip;

	if (!w)
		return -1;
	if (!w->tunnel.outer_family)
		return 0;
	strip = w->tunnel.inner_off - w->path.l2;
	if (dp_decap(skb, strip, w->tunnel.outer_family, w->pkt.family))
		return -1;
	w->pkt.l3_off -= strip;
	w->pkt.l4_off -= strip;
	w->embed.l3_off -= strip;
	w->embed.l4_off -= strip;
	return 0;
}

/* Gives the packet at l2 an Ethernet header (a new one if l2 is 0); the destination is zero: the kernel fills it in, or
 * with is_uplink it is the uplink's own. */
__noinline int dp_put_eth(struct __sk_buff *skb, __u32 l2, __u32 family, __u32 is_uplink)
{
	struct dp_host *host = dp_host_get();
	struct ethhdr eth = {};

	eth.h_proto = family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
	if (is_uplink && host)
		__builtin_memcpy(eth.h_dest, host->uplink_mac, sizeof(eth.h_dest));
	if (!l2 && bpf_skb_change_head(skb, DP_ETH_BYTES, 0))
		return -1;
	return bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0);
}

#endif
