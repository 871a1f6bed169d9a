/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_icmp.h - ICMP to VIPs and about flows. The packet is in dp_work.pkt.
 *
 * Echo      answered by the edge itself, within a limit; no backend hears of it
 * Errors    one about a reply (from a router, or from the client) goes where the reply came from; one about a client's
 *           packet (from a backend, its machine, a router behind it) goes out to the client in the VIP's name.
 *           dp_work.embed is the quoted packet, always as the client sees it: source client, destination service
 * MTU       a too-big's figure stands as it is: it speaks of the bare packet, and our tunnel carries what exceeds it
 */
#ifndef DP_ICMP_H
#define DP_ICMP_H

#include "bpf/dp_quote.h"
#include "bpf/dp_signal.h"

#define DP_ANSWER_TTL 64

static __always_inline int dp_icmp_is_echo(const struct dp_pkt *p)
{
	return p->icmp_type == (p->family == 4 ? DP_ICMP4_ECHO : DP_ICMP6_ECHO) && !p->icmp_code;
}

/* Neighbours asking for each other: the host's own business, also where a VIP is on the link. */
static __always_inline int dp_icmp_is_neighbour(const struct dp_pkt *p)
{
	return p->family == 6 && (p->icmp_type == DP_ICMP6_NS || p->icmp_type == DP_ICMP6_NA);
}

/* May this source be answered? Not one that stands for nobody or for many. */
static __always_inline int dp_answerable(const struct dp_pkt *p)
{
	__u8 first = p->src[12];

	if (p->family == 4)
		return first && first != 127 && first < 224;
	return p->src[0] != 0xff && !dp_addr_is_zero(p->src);
}

/* ---- Edge, from the client's side ---- */

/* The owner of the flow that dp_work.embed is of: DP_IS_ROW with dp_work.choice filled in, or the reason to drop. */
__noinline int dp_icmp_pick(void)
{
	struct dp_self *self = dp_self_get();
	struct dp_work *w = dp_work_get();
	struct dp_vip *vip;
	struct dp_svc *svc;

	if (!w || !self || !dp_addr_same(w->embed.dst, w->pkt.dst))
		return DP_R_ICMP_UNKNOWN;
	vip = dp_vip_find(w->embed.dst);
	if (!vip)
		return DP_R_ICMP_UNKNOWN;
	w->choice.svc_idx = dp_svc_on_port(vip, w->embed.l4_proto, w->embed.dport_be);
	svc = w->choice.svc_idx ? dp_svc_get(w->choice.svc_idx) : 0;
	if (!svc)
		return DP_R_ICMP_UNKNOWN;
	return dp_pick(&w->embed, svc, self, &w->choice);
}

/* Can this echo be turned into its answer where it stands? No options, no extension headers. */
static __always_inline int dp_echo_is_plain(const struct dp_pkt *p)
{
	return p->l4_off - p->l3_off ==
		       (p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) &&
	       dp_answerable(p);
}

/* The type's word and the checksum behind it, turned from a question into its answer. */
static __always_inline void dp_echo_turn(__u16 icmp[2], __u32 family)
{
	__u16 old = icmp[0];

	*(__u8 *)icmp = family == 4 ? DP_ICMP4_ECHO_REPLY : DP_ICMP6_ECHO_REPLY;
	icmp[1] = dp_csum_apply(icmp[1], dp_csum_word(old, icmp[0]));
}

/* Swapping the addresses leaves the checksums as they are; the type changes, and the TTL. */
static __always_inline int dp_echo_rewrite_xdp(void *l3, void *end, const struct dp_pkt *p)
{
	__u16 *icmp;

	if (p->family == 4) {
		struct iphdr *ip = l3;
		__u16 *ttl = (void *)&ip->ttl, old;

		icmp = (void *)(ip + 1);
		if ((void *)(icmp + 2) > end)
			return -1;
		ip->saddr = ((const dp_word32 *)p->dst)[3];
		ip->daddr = ((const dp_word32 *)p->src)[3];
		old = *ttl;
		ip->ttl = DP_ANSWER_TTL;
		ip->check = dp_csum_apply(ip->check, dp_csum_word(old, *ttl));
	} else {
		struct ipv6hdr *ip = l3;

		icmp = (void *)(ip + 1);
		if ((void *)(icmp + 2) > end)
			return -1;
		dp_addr_copy(&ip->saddr, p->dst);
		dp_addr_copy(&ip->daddr, p->src);
		ip->hop_limit = DP_ANSWER_TTL;
	}
	dp_echo_turn(icmp, p->family);
	return 0;
}

static __always_inline int dp_echo_xdp(struct xdp_md *ctx, const struct dp_pkt *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u8 mac[6];

	if (!dp_echo_is_plain(p) || (void *)(eth + 1) > end || (eth->h_dest[0] & 1))
		return DP_OUT(DP_R_ICMP_UNKNOWN, XDP_DROP);
	if (!dp_rate_take(DP_RATE_ECHO, DP_RATE_ECHO_MAX))
		return DP_OUT(DP_R_ICMP_LIMITED, XDP_DROP);
	if (dp_echo_rewrite_xdp(eth + 1, end, p))
		return DP_OUT(DP_R_BAD_PACKET, XDP_DROP);
	__builtin_memcpy(mac, eth->h_dest, sizeof(mac));
	__builtin_memcpy(eth->h_dest, eth->h_source, sizeof(mac));
	__builtin_memcpy(eth->h_source, mac, sizeof(mac));
	return DP_OUT(DP_R_ECHO_ANSWERED, XDP_TX);
}

/* The link header, back to who sent it. */
static __always_inline int dp_eth_turn(struct __sk_buff *skb)
{
	__u8 mac[12];

	if (bpf_skb_load_bytes(skb, 0, mac + 6, 6) || bpf_skb_load_bytes(skb, 6, mac, 6))
		return -1;
	return (int)bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0);
}

static __always_inline int dp_echo_rewrite_tc(struct __sk_buff *skb, const struct dp_pkt *p)
{
	__u16 icmp[2], ttl[2];
	__be32 addr[2];
	__u8 hops = DP_ANSWER_TTL;

	if (p->family == 4) {
		/* TTL and protocol, then the header's checksum. */
		if (bpf_skb_load_bytes(skb, p->l3_off + offsetof(struct iphdr, ttl), ttl,
				       sizeof(ttl)))
			return -1;
		addr[0] = ttl[0];
		*(__u8 *)ttl = DP_ANSWER_TTL;
		ttl[1] = dp_csum_apply(ttl[1], dp_csum_word((__u16)addr[0], ttl[0]));
		addr[0] = ((const dp_word32 *)p->dst)[3];
		addr[1] = ((const dp_word32 *)p->src)[3];
		if (dp_store(skb, p->l3_off + offsetof(struct iphdr, ttl), ttl, sizeof(ttl)) ||
		    dp_store(skb, p->l3_off + offsetof(struct iphdr, saddr), addr, sizeof(addr)))
			return -1;
	} else if (dp_store(skb, p->l3_off + offsetof(struct ipv6hdr, hop_limit), &hops, 1) ||
		   dp_store(skb, p->l3_off + offsetof(struct ipv6hdr, saddr), p->dst, 16) ||
		   dp_store(skb, p->l3_off + offsetof(struct ipv6hdr, daddr), p->src, 16)) {
		return -1;
	}
	if (bpf_skb_load_bytes(skb, p->l4_off, icmp, sizeof(icmp)))
		return -1;
	dp_echo_turn(icmp, p->family);
	return dp_store(skb, p->l4_off, icmp, sizeof(icmp));
}

/* Sent to our link address, or to everybody's? */
static __always_inline int dp_eth_is_group(struct __sk_buff *skb)
{
	__u8 first;

	return bpf_skb_load_bytes(skb, 0, &first, 1) || (first & 1);
}

static __always_inline int dp_echo_tc(struct __sk_buff *skb, const struct dp_pkt *p)
{
	if (!dp_echo_is_plain(p) || dp_eth_is_group(skb))
		return DP_OUT(DP_R_ICMP_UNKNOWN, TC_ACT_SHOT);
	if (!dp_rate_take(DP_RATE_ECHO, DP_RATE_ECHO_MAX))
		return DP_OUT(DP_R_ICMP_LIMITED, TC_ACT_SHOT);
	if (dp_echo_rewrite_tc(skb, p) || dp_eth_turn(skb))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	return DP_OUT(DP_R_ECHO_ANSWERED, bpf_redirect(skb->ifindex, 0));
}

/* Client's side -> edge, to a VIP: DP_IS_ROW with dp_work.choice filled in, DP_IS_PASS, or the end. */
__noinline int dp_icmp_edge_xdp(struct xdp_md *ctx)
{
	struct dp_work *w = dp_work_get();
	int out = DP_R_ICMP_UNKNOWN;

	if (!w)
		return DP_OUT(DP_R_ICMP_UNKNOWN, XDP_DROP);
	if (dp_icmp_is_echo(&w->pkt))
		return dp_echo_xdp(ctx, &w->pkt);
	if (dp_icmp_is_neighbour(&w->pkt))
		return DP_IS_PASS;
	if (!dp_embed_xdp(ctx))
		out = dp_icmp_pick();
	return out < 0 ? out : DP_OUT(out, XDP_DROP);
}

__noinline int dp_icmp_edge_tc(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	int out = DP_R_ICMP_UNKNOWN;

	if (!w)
		return DP_OUT(DP_R_ICMP_UNKNOWN, TC_ACT_SHOT);
	if (dp_icmp_is_echo(&w->pkt))
		return dp_echo_tc(skb, &w->pkt);
	if (dp_icmp_is_neighbour(&w->pkt))
		return DP_IS_PASS;
	if (!dp_embed_tc(skb, 1))
		out = dp_icmp_pick();
	return out < 0 ? out : DP_OUT(out, TC_ACT_SHOT);
}

/* ---- Worker ---- */

/* The flow is not here: once on to where it is, or where it was before its row changed hands. DP_IS_HOP, or the end. */
static __always_inline int dp_icmp_hop(struct dp_work *w, __u32 away_idx)
{
	const int dropped = DP_OUT(DP_R_ICMP_NO_FLOW, TC_ACT_SHOT);
	struct dp_vip *vip;

	if (dp_second_marks(w))
		return dropped;
	if (!away_idx) {
		away_idx = dp_num_find(w->tunnel.seq);
		vip = dp_vip_find(w->embed.dst);
		if (!away_idx || !vip ||
		    !dp_hop_take(dp_svc_on_port(vip, w->embed.l4_proto, w->embed.dport_be),
				 away_idx))
			return dropped;
	}
	if (!dp_hop_is_open(away_idx))
		return dropped;
	return dp_hop_to(w, away_idx, DP_GRE_F_SECOND | DP_GRE_F_FINAL, DP_R_PASSED_ON);
}

/* Edge -> worker, about a reply; the tunnel is still on. Finds its flow: DP_GO with dp_work.hop filled in, DP_IS_HOP: it is
 * elsewhere; or the end. */
__noinline int dp_icmp_worker_in(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_flow_fwd *f;
	struct dp_local *l;

	if (!w || dp_embed_tc(skb, 1) || !dp_addr_same(w->embed.dst, w->pkt.dst))
		return DP_OUT(DP_R_ICMP_UNKNOWN, TC_ACT_SHOT);
	dp_fwd_key(&w->embed, &w->fwd_key);
	f = bpf_map_lookup_elem(&dp_fwd, &w->fwd_key);
	if (!f)
		f = bpf_map_lookup_elem(&dp_fwd_new, &w->fwd_key);
	if (!f || f->away_idx)
		return dp_icmp_hop(w, f ? f->away_idx : 0);
	l = dp_local_get(f->slot);
	if (!dp_slot_serves(l, f->use_count))
		return DP_OUT(DP_R_ICMP_NO_FLOW, TC_ACT_SHOT);
	w->hop.slot = f->slot;
	w->hop.cport_be = f->cport_be;
	w->hop.bport_be = dp_backend_port(&w->embed, l);
	return DP_GO;
}

/* Then, bare: rewrites it for the backend of dp_work.hop. DP_GO: deliver it. */
__noinline int dp_icmp_worker_nat(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_local *l;

	if (!w)
		return DP_OUT(DP_R_ICMP_NO_FLOW, TC_ACT_SHOT);
	l = dp_local_get(w->hop.slot);
	if (!l)
		return DP_OUT(DP_R_ICMP_NO_FLOW, TC_ACT_SHOT);
	dp_addr_copy(w->nat.addr, l->addr);
	w->nat.sport_be = w->hop.bport_be;
	w->nat.dport_be = w->hop.cport_be;
	w->nat.is_src = 0;
	return dp_icmp_nat(skb) ? DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT) : DP_GO;
}

/* The way back of the flow that dp_work.embed was of, as delivered to the backend. `is_local`: its key holds the backend's
 * address. */
static __always_inline struct dp_flow_rev *dp_embed_back(struct dp_work *w, __u32 is_local)
{
	struct dp_flow_rev *r;

	__builtin_memset(&w->rev_key, 0, sizeof(w->rev_key));
	dp_addr_copy(w->rev_key.client, w->embed.src);
	if (is_local)
		dp_addr_copy(w->rev_key.local, w->embed.dst);
	w->rev_key.cport_be = w->embed.sport_be;
	w->rev_key.bport_be = w->embed.dport_be;
	w->rev_key.l4_proto = w->embed.l4_proto;
	r = bpf_map_lookup_elem(&dp_rev, &w->rev_key);
	if (!r)
		r = bpf_map_lookup_elem(&dp_rev_new, &w->rev_key);
	/* An entry of a slot that is another backend's now is none. */
	return r && dp_slot_is(dp_local_get(r->slot), r->use_count) ? r : 0;
}

/* A backend, this machine or a router behind it -> client: rewritten, with dp_work.back filled in (DP_GO: encapsulate it);
 * DP_IS_PASS: about no flow of ours; or the end. */
__noinline int dp_icmp_worker_out(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_flow_rev *r = 0;

	if (!w || dp_embed_tc(skb, 0) || !dp_addr_same(w->embed.src, w->pkt.dst))
		return DP_IS_PASS;
	/* Of this machine about a container, too: its key has the address. */
	if (w->path.hook != DP_REPLY_BRIDGE)
		r = dp_embed_back(w, 0);
	if (!r)
		r = dp_embed_back(w, 1);
	/* In a VIP's name it has been here before, or is this machine's as an edge. */
	if (!r || dp_vip_find(w->pkt.src))
		return DP_IS_PASS;
	dp_addr_copy(w->back.vip, r->vip);
	w->back.vport_be = r->vport_be;
	w->back.cport_be = r->cport_be;
	w->back.edge_idx = r->edge_idx;
	w->back.slot = r->slot;
	dp_signal_icmp(skb, w->path.hook == DP_REPLY_BRIDGE);
	dp_addr_copy(w->nat.addr, w->back.vip);
	w->nat.sport_be = w->back.cport_be;
	w->nat.dport_be = w->back.vport_be;
	w->nat.is_src = 1;
	return dp_icmp_nat(skb) ? DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT) : DP_GO;
}

/* ---- Edge, from a worker ---- */

/* The tunnel is still on. DP_GO: it is about a service of ours and in that VIP's name, send it out. */
__noinline int dp_icmp_edge_out(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_vip *vip;

	if (!w || dp_embed_tc(skb, 0) || !dp_addr_same(w->embed.src, w->pkt.dst) ||
	    !dp_addr_same(w->embed.dst, w->pkt.src))
		return DP_OUT(DP_R_ICMP_UNKNOWN, TC_ACT_SHOT);
	vip = dp_vip_find(w->embed.dst);
	if (!vip || !dp_svc_on_port(vip, w->embed.l4_proto, w->embed.dport_be))
		return DP_OUT(DP_R_REPLY_NOT_SERVICE, TC_ACT_SHOT);
	return DP_GO;
}

#endif
