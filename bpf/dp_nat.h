/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_nat.h - rewrite one address and both ports, clamp the MSS of a SYN.
 *
 * Checksums by the skb helpers only: right for partial checksums, complete ones and super-packets.
 * In IPv6 no header checksum balances a changed address; storing it with BPF_F_RECOMPUTE_CSUM takes back what
 * BPF_F_PSEUDO_HDR does to skb->csum (needed before BPF_F_IPV6 existed, and right on all kernels).
 */
#ifndef DP_NAT_H
#define DP_NAT_H

#include "bpf/dp_encap.h"

static __always_inline int dp_nat_addr(struct __sk_buff *skb, const struct dp_pkt *p,
				       const struct dp_nat *n, __u32 csum_off, __u64 csum_flags)
{
	const __u8 *old = n->is_src ? p->src : p->dst;
	__s64 diff;
	__u32 off;

	if (p->family == 4) {
		__be32 from = ((const dp_word32 *)old)[3], to = ((const dp_word32 *)n->addr)[3];

		off = p->l3_off +
		      (n->is_src ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
		if (bpf_l4_csum_replace(skb, csum_off, from, to,
					csum_flags | BPF_F_PSEUDO_HDR | sizeof(to)) ||
		    bpf_l3_csum_replace(skb, p->l3_off + offsetof(struct iphdr, check), from, to,
					sizeof(to)))
			return -1;
		return bpf_skb_store_bytes(skb, off, &to, sizeof(to), 0);
	}
	off = p->l3_off +
	      (n->is_src ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
	diff = bpf_csum_diff((__be32 *)old, 16, (__be32 *)n->addr, 16, 0);
	if (diff < 0 ||
	    bpf_l4_csum_replace(skb, csum_off, 0, (__u64)diff, csum_flags | BPF_F_PSEUDO_HDR))
		return -1;
	return bpf_skb_store_bytes(skb, off, n->addr, 16, BPF_F_RECOMPUTE_CSUM);
}

/* No transport header here, and no checksum of one. */
static __always_inline int dp_nat_addr_only(struct __sk_buff *skb, const struct dp_pkt *p,
					    const struct dp_nat *n)
{
	const __u8 *old = n->is_src ? p->src : p->dst;
	__u32 off;

	if (p->family == 4) {
		__be32 from = ((const dp_word32 *)old)[3], to = ((const dp_word32 *)n->addr)[3];

		off = p->l3_off +
		      (n->is_src ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
		if (bpf_l3_csum_replace(skb, p->l3_off + offsetof(struct iphdr, check), from, to,
					sizeof(to)))
			return -1;
		return bpf_skb_store_bytes(skb, off, &to, sizeof(to), 0);
	}
	off = p->l3_off +
	      (n->is_src ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
	return bpf_skb_store_bytes(skb, off, n->addr, 16, BPF_F_RECOMPUTE_CSUM);
}

static __always_inline int dp_nat_port(struct __sk_buff *skb, __u32 off, __be16 from, __be16 to,
				       __u32 csum_off, __u64 csum_flags)
{
	if (from == to)
		return 0;
	if (bpf_l4_csum_replace(skb, csum_off, from, to, csum_flags | sizeof(to)))
		return -1;
	return bpf_skb_store_bytes(skb, off, &to, sizeof(to), 0);
}

/* Rewrites dp_work.pkt as dp_work.nat says; of a later fragment, the address alone. 0, or negative and the packet may be
 * half rewritten: drop it. Offsets in dp_work.pkt are those of now. */
__noinline int dp_nat(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	const struct dp_nat *n;
	const struct dp_pkt *p;
	__u32 is_udp, csum_off;
	__u64 csum_flags;

	if (!w)
		return -1;
	p = &w->pkt;
	n = &w->nat;
	if (p->frag == DP_FRAG_LATER)
		return dp_nat_addr_only(skb, p, n);
	is_udp = p->l4_proto == IPPROTO_UDP;
	csum_off = p->l4_off +
		   (is_udp ? offsetof(struct udphdr, check) : offsetof(struct tcphdr, check));
	csum_flags = is_udp ? BPF_F_MARK_MANGLED_0 : 0;
	if (dp_nat_addr(skb, p, n, csum_off, csum_flags))
		return -1;
	if (dp_nat_port(skb, p->l4_off, p->sport_be, n->sport_be, csum_off, csum_flags))
		return -1;
	return dp_nat_port(skb, p->l4_off + 2, p->dport_be, n->dport_be, csum_off, csum_flags);
}

#define DP_TCP_OPT_MSS 2
#define DP_TCP_OPTS_MAX 12 /* options looked at; MSS comes first in every stack we know */

/* Lowers the MSS option of a SYN to mss; never raises it, never adds one. A segment without the option, or with
 * options not understood, is left alone. Negative: rewriting failed, drop. */
__noinline int dp_clamp_mss(struct __sk_buff *skb, __u32 l4_off, __u32 l4_bytes, __u32 mss)
{
	__u32 off = l4_off + sizeof(struct tcphdr), end = l4_off + l4_bytes;

	for (int i = 0; i < DP_TCP_OPTS_MAX; i++) {
		__u8 opt[4] = {};
		__be16 old_be, new_be;

		if (off + sizeof(opt) > end || bpf_skb_load_bytes(skb, off, opt, sizeof(opt)))
			return 0;
		if (opt[0] == 0)
			return 0;
		if (opt[0] == 1) {
			off++;
			continue;
		}
		if (opt[0] != DP_TCP_OPT_MSS || opt[1] != 4) {
			if (opt[1] < 2)
				return 0;
			off += opt[1];
			continue;
		}
		if (((__u32)opt[2] << 8 | opt[3]) <= mss)
			return 0;
		__builtin_memcpy(&old_be, opt + 2, sizeof(old_be));
		new_be = bpf_htons(mss);
		/* The option may stand on an odd offset: then its two bytes count swapped. */
		if ((off - l4_off) & 1) {
			old_be = __builtin_bswap16(old_be);
			if (bpf_l4_csum_replace(skb, l4_off + offsetof(struct tcphdr, check),
						old_be, __builtin_bswap16(new_be), sizeof(new_be)))
				return -1;
		} else if (bpf_l4_csum_replace(skb, l4_off + offsetof(struct tcphdr, check), old_be,
					       new_be, sizeof(new_be))) {
			return -1;
		}
		return bpf_skb_store_bytes(skb, off + 2, &new_be, sizeof(new_be), 0);
	}
	return 0;
}

/* The clamp for one packet of a flow whose other half goes through a tunnel of `overhead` bytes. */
static __always_inline int dp_clamp_syn(struct __sk_buff *skb, const struct dp_pkt *p,
					__u32 mesh_mtu, __u32 overhead)
{
	__u32 headers = (p->family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) +
			sizeof(struct tcphdr);

	if (p->l4_proto != IPPROTO_TCP || !(p->tcp_flags & DP_TCP_SYN) ||
	    mesh_mtu <= overhead + headers)
		return 0;
	return dp_clamp_mss(skb, p->l4_off, p->l4_bytes, mesh_mtu - overhead - headers);
}

#endif
