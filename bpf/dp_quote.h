/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_quote.h - the packet that an ICMP error quotes: read it, rewrite it, keep all checksums right.
 *
 * Checksums by hand and incrementally: ICMP never has a partial one, and what comes in wrong goes out wrong. Every store
 * is made known to skb->csum. All that changes stands at even offsets of the ICMP message.
 */
#ifndef DP_QUOTE_H
#define DP_QUOTE_H

#include "bpf/dp_flow.h"

#define DP_ICMP_BYTES 8u
#define DP_ICMP_PULL_BYTES 512u /* of a packet that quotes another: reaches behind DP_OFF_MAX */

/* ICMPv4, then ICMPv6; UAPI names only some of the latter. */
#define DP_ICMP4_ECHO_REPLY 0
#define DP_ICMP4_UNREACH 3
#define DP_ICMP4_NO_PORT 3 /* code */
#define DP_ICMP4_TOO_BIG 4 /* code */
#define DP_ICMP4_ECHO 8
#define DP_ICMP4_TIME 11
#define DP_ICMP4_PARAM 12
#define DP_ICMP6_UNREACH 1
#define DP_ICMP6_NO_PORT 4 /* code */
#define DP_ICMP6_TOO_BIG 2
#define DP_ICMP6_PARAM 4
#define DP_ICMP6_ECHO 128
#define DP_ICMP6_ECHO_REPLY 129
#define DP_ICMP6_NS 135
#define DP_ICMP6_NA 136

static __always_inline int dp_icmp_is_error(const struct dp_pkt *p)
{
	if (p->family == 4)
		return p->icmp_type == DP_ICMP4_UNREACH || p->icmp_type == DP_ICMP4_TIME ||
		       p->icmp_type == DP_ICMP4_PARAM;
	return p->icmp_type >= DP_ICMP6_UNREACH && p->icmp_type <= DP_ICMP6_PARAM;
}

static __always_inline __u16 dp_csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* The checksum after what it covers has changed by `diff` (new minus old, not folded). */
static __always_inline __u16 dp_csum_apply(__u16 check, __u64 diff)
{
	return (__u16)~dp_csum_fold((__u16)~check + diff);
}

/* One 16-bit word became another. */
static __always_inline __u64 dp_csum_word(__u16 from, __u16 to)
{
	return (__u64)(__u16)~from + to;
}

/* One address became another; the family says how much of it stands in a packet. Both 4-aligned. */
static __always_inline __u64 dp_csum_addr(const __u8 *from, const __u8 *to, __u32 family)
{
	if (family == 4)
		return (__u32)bpf_csum_diff((__be32 *)(from + 12), 4, (__be32 *)(to + 12), 4, 0);
	return (__u32)bpf_csum_diff((__be32 *)from, 16, (__be32 *)to, 16, 0);
}

static __always_inline int dp_store(struct __sk_buff *skb, __u32 off, const void *from, __u32 bytes)
{
	return (int)bpf_skb_store_bytes(skb, off, from, bytes, BPF_F_RECOMPUTE_CSUM);
}

/* Reads it into *e, as it stands: headers up to the ports, more need not be there. 0, or nothing to go by. */
static __always_inline int dp_embed_parse(void *data, void *end, const struct dp_pkt *p,
					  struct dp_pkt *e)
{
	__u32 off = p->l4_off + DP_ICMP_BYTES;
	__be16 *ports;
	int rc;

	__builtin_memset(e, 0, sizeof(*e));
	e->l3_off = off;
	if (off > DP_OFF_MAX)
		return -1;
	rc = p->family == 4 ? dp_parse_ip4(data, end, off, e) : dp_parse_ip6(data, end, off, e);
	if (rc || !dp_is_tcp_udp(e) || e->frag == DP_FRAG_LATER)
		return -1;
	off = e->l4_off;
	/* What lies behind the packet, as the link's padding, it doesn't quote. */
	if (off > DP_OFF_MAX || off + 4 * sizeof(*ports) > p->l3_off + p->l3_bytes)
		return -1;
	ports = data + off;
	if ((void *)(ports + 4) > end)
		return -1;
	e->sport_be = ports[0];
	e->dport_be = ports[1];
	return 0;
}

/* A reply is turned around, so that it looks like its flow's packets. */
static __always_inline void dp_embed_turn(struct dp_pkt *e)
{
	__be16 port_be = e->sport_be;
	__u8 addr[16] __attribute__((aligned(8)));

	dp_addr_copy(addr, e->src);
	dp_addr_copy(e->src, e->dst);
	dp_addr_copy(e->dst, addr);
	e->sport_be = e->dport_be;
	e->dport_be = port_be;
}

/* Fills dp_work.embed. is_reply: the quoted packet went from the service to the client. 0, or nothing to go by. */
__noinline int dp_embed_tc(struct __sk_buff *skb, __u32 is_reply)
{
	struct dp_work *w = dp_work_get();

	if (!w || !dp_icmp_is_error(&w->pkt) ||
	    bpf_skb_pull_data(skb, skb->len < DP_ICMP_PULL_BYTES ? skb->len : DP_ICMP_PULL_BYTES))
		return -1;
	if (dp_embed_parse((void *)(long)skb->data, (void *)(long)skb->data_end, &w->pkt,
			   &w->embed))
		return -1;
	if (is_reply)
		dp_embed_turn(&w->embed);
	return 0;
}

__noinline int dp_embed_xdp(struct xdp_md *ctx)
{
	struct dp_work *w = dp_work_get();

	if (!w || !dp_icmp_is_error(&w->pkt) ||
	    dp_embed_parse((void *)(long)ctx->data, (void *)(long)ctx->data_end, &w->pkt,
			   &w->embed))
		return -1;
	dp_embed_turn(&w->embed);
	return 0;
}

/* Is there room for the quoted packet's checksum at `off`, in the quote and in what it quotes? */
static __always_inline int dp_embed_has(const struct dp_work *w, __u32 off)
{
	return off + 2 <= w->pkt.l3_off + w->pkt.l3_bytes &&
	       (!w->embed.l3_bytes || off + 2 <= w->embed.l3_off + w->embed.l3_bytes);
}

/* A checksum in the quote follows what changed under it. *ret_icmp: what that changes for the ICMP checksum. */
static __always_inline int dp_embed_check(struct __sk_buff *skb, __u32 off, __u64 diff,
					  __u32 is_udp, __u64 *ret_icmp)
{
	__u16 old, now;

	if (bpf_skb_load_bytes(skb, off, &old, sizeof(old)))
		return -1;
	if (is_udp && !old)
		return 0; /* it has none */
	now = dp_csum_apply(old, diff);
	if (is_udp && !now)
		now = 0xffff;
	*ret_icmp += dp_csum_word(old, now);
	return dp_store(skb, off, &now, sizeof(now));
}

/* The quoted packet: its address on our side, its ports, its checksums. dp_work.nat has ports in the order in which they
 * stand there. *ret_icmp grows by what that changes. */
static __always_inline int dp_embed_nat(struct __sk_buff *skb, const struct dp_work *w,
					__u64 *ret_icmp)
{
	const struct dp_pkt *e = &w->embed;
	const struct dp_nat *n = &w->nat;
	__u32 is_udp = e->l4_proto == IPPROTO_UDP, off;
	__u64 addr_diff = dp_csum_addr(e->dst, n->addr, e->family), diff;
	__be16 ports[2];

	if (e->family == 4) {
		off = e->l3_off +
		      (n->is_src ? offsetof(struct iphdr, daddr) : offsetof(struct iphdr, saddr));
		if (dp_store(skb, off, n->addr + 12, 4) ||
		    dp_embed_check(skb, e->l3_off + offsetof(struct iphdr, check), addr_diff, 0,
				   ret_icmp))
			return -1;
	} else {
		off = e->l3_off + (n->is_src ? offsetof(struct ipv6hdr, daddr)
					     : offsetof(struct ipv6hdr, saddr));
		if (dp_store(skb, off, n->addr, 16))
			return -1;
	}
	diff = n->is_src ? dp_csum_word(e->sport_be, n->sport_be) +
				   dp_csum_word(e->dport_be, n->dport_be)
			 : dp_csum_word(e->dport_be, n->sport_be) +
				   dp_csum_word(e->sport_be, n->dport_be);
	diff += addr_diff;
	*ret_icmp += diff;
	ports[0] = n->sport_be;
	ports[1] = n->dport_be;
	if (dp_store(skb, e->l4_off, ports, sizeof(ports)))
		return -1;
	off = e->l4_off +
	      (is_udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	return dp_embed_has(w, off) ? dp_embed_check(skb, off, diff, is_udp, ret_icmp) : 0;
}

/* Rewrites dp_work.pkt and the packet it quotes as dp_work.nat says: its own address of that side, the quoted packet's of
 * the other. 0, or negative and it may be half rewritten: drop it. */
__noinline int dp_icmp_nat(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	__u64 icmp = 0, addr_diff;
	const __u8 *old;
	__u32 off;

	if (!w || dp_embed_nat(skb, w, &icmp))
		return -1;
	old = w->nat.is_src ? w->pkt.src : w->pkt.dst;
	addr_diff = dp_csum_addr(old, w->nat.addr, w->pkt.family);
	if (w->pkt.family == 4) {
		__u64 ignored = 0;

		off = w->pkt.l3_off + (w->nat.is_src ? offsetof(struct iphdr, saddr)
						     : offsetof(struct iphdr, daddr));
		if (dp_store(skb, off, w->nat.addr + 12, 4) ||
		    dp_embed_check(skb, w->pkt.l3_off + offsetof(struct iphdr, check), addr_diff, 0,
				   &ignored))
			return -1;
	} else {
		off = w->pkt.l3_off + (w->nat.is_src ? offsetof(struct ipv6hdr, saddr)
						     : offsetof(struct ipv6hdr, daddr));
		if (dp_store(skb, off, w->nat.addr, 16))
			return -1;
		icmp += addr_diff; /* of the pseudo header */
	}
	addr_diff = 0;
	return dp_embed_check(skb, w->pkt.l4_off + 2, icmp, 0, &addr_diff);
}

#endif
