/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_ptb.h - errors of our own, in the VIP's name, to the client: too big for the mesh, no service on this port. The
 * packet is in dp_work.pkt and becomes its own answer, which leaves by the interface it came by. In TC alone: XDP leaves to
 * it what is to be refused.
 *
 * Quote     the IP header and up to DP_QUOTE_BYTES behind it: more than the ports, less than the minimum MTU
 * Checksums a packet from a virtual machine or a neighbouring namespace may have its transport checksum still to do: the
 *           kernel or the card will then write into the quote what makes the part from there on sum up to the inverse of
 *           what stands in the field now. Whether it will, a helper tells: such a packet can't be cut in front of the field
 */
#ifndef DP_PTB_H
#define DP_PTB_H

#include "bpf/dp_icmp.h"

/* Of IPv6 extension headers, transport header and payload; a mask, too. */
#define DP_QUOTE_BYTES 0x7cu
#define DP_QUOTE_EXTS_MAX 0x40u /* of the former */
#define DP_IP6_MTU_MIN 1280u	/* RFC 8200: nobody may ask for less */
#define DP_TOS_ERROR 0xc0	/* RFC 1812, 4.3.2.5: internetwork control */

struct dp_error4 {
	struct iphdr ip;
	__u8 type, code;
	__u16 check;
	__be32 rest_be;
};
struct dp_error6 {
	struct ipv6hdr ip;
	__u8 type, code;
	__u16 check;
	__be32 rest_be;
};

static __always_inline __u32 dp_fixed_header(const struct dp_pkt *p)
{
	return p->family == 4 ? p->l4_off - p->l3_off : sizeof(struct ipv6hdr);
}

/* Cuts the packet down to its quote, and sums up what of it stands behind the IP header. Bytes kept, 0 = it can't be
 * done. */
static __always_inline __u32 dp_quote_cut(struct __sk_buff *skb, struct dp_work *w, __u64 *ret_sum)
{
	__u32 off = w->pkt.l3_off + dp_fixed_header(&w->pkt), exts = w->pkt.l4_off - off;
	__u32 end = w->pkt.l3_off + w->pkt.l3_bytes, bytes, check_off, is_partial;
	__s64 sum;

	if (!w->pkt.l3_bytes || end > skb->len)
		end = skb->len;
	bytes = end - off;
	if (end < off || exts > DP_QUOTE_EXTS_MAX)
		return 0;
	if (bytes > DP_QUOTE_BYTES)
		bytes = DP_QUOTE_BYTES;
	bytes &= DP_QUOTE_BYTES;
	exts &= DP_QUOTE_EXTS_MAX | 0x3c;
	if (bytes < exts + 8 || bytes < 8 || bpf_skb_load_bytes(skb, off, w->bytes, bytes))
		return 0;
	is_partial = bpf_skb_change_tail(skb, w->pkt.l4_off + 7, 0) != 0;
	if (bpf_skb_change_tail(skb, off + bytes, 0))
		return 0;
	if (!is_partial) {
		if (bpf_skb_store_bytes(skb, off, w->bytes, bytes, BPF_F_RECOMPUTE_CSUM))
			return 0;
		sum = bpf_csum_diff(0, 0, (__be32 *)w->bytes, bytes, 0);
		*ret_sum = (__u32)sum;
		return bytes;
	}
	check_off = exts + (w->pkt.l4_proto == IPPROTO_UDP ? offsetof(struct udphdr, check)
							   : offsetof(struct tcphdr, check));
	sum = exts ? bpf_csum_diff(0, 0, (__be32 *)w->bytes, exts, 0) : 0;
	*ret_sum = (__u64)(__u32)sum + (__u16) ~*(__u16 *)(w->bytes + check_off);
	return bytes;
}

static __always_inline int dp_error_put4(struct __sk_buff *skb, const struct dp_pkt *p,
					 __u32 type_code, __u32 rest, __u32 bytes, __u64 sum)
{
	struct dp_error4 h = {};

	h.ip.version = 4;
	h.ip.ihl = 5;
	h.ip.tos = DP_TOS_ERROR;
	h.ip.tot_len = bpf_htons(sizeof(h) + p->l4_off - p->l3_off + bytes);
	h.ip.frag_off = bpf_htons(0x4000);
	h.ip.ttl = DP_ANSWER_TTL;
	h.ip.protocol = IPPROTO_ICMP;
	h.ip.saddr = ((const dp_word32 *)p->dst)[3];
	h.ip.daddr = ((const dp_word32 *)p->src)[3];
	h.ip.check = dp_ip4_csum(&h.ip);
	h.type = type_code >> 8;
	h.code = (__u8)type_code;
	h.rest_be = bpf_htonl(rest);
	/* The quoted IP header adds nothing: its own checksum sees to that. */
	sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)&h.type, DP_ICMP_BYTES, 0);
	h.check = (__u16)~dp_csum_fold(sum);
	if (bpf_skb_adjust_room(skb, sizeof(h), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	return dp_store(skb, DP_ETH_BYTES, &h, sizeof(h));
}

static __always_inline int dp_error_put6(struct __sk_buff *skb, const struct dp_pkt *p,
					 __u32 type_code, __u32 rest, __u32 bytes, __u64 sum)
{
	__u32 payload = DP_ICMP_BYTES + sizeof(struct ipv6hdr) + bytes;
	struct dp_error6 h = {};

	/* What is quoted of the fixed header, then what goes in front of it. */
	if (bpf_skb_load_bytes(skb, p->l3_off, &h.ip, sizeof(h.ip)))
		return -1;
	sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)&h.ip, sizeof(h.ip), 0);
	__builtin_memset(&h.ip, 0, sizeof(h.ip));
	h.ip.version = 6;
	h.ip.payload_len = bpf_htons(payload);
	h.ip.nexthdr = IPPROTO_ICMPV6;
	h.ip.hop_limit = DP_ANSWER_TTL;
	dp_addr_copy(&h.ip.saddr, p->dst);
	dp_addr_copy(&h.ip.daddr, p->src);
	h.type = type_code >> 8;
	h.code = (__u8)type_code;
	h.rest_be = bpf_htonl(rest);
	sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)&h.ip.saddr, 32 + DP_ICMP_BYTES, 0);
	sum += bpf_htons(payload) + bpf_htons(IPPROTO_ICMPV6);
	h.check = (__u16)~dp_csum_fold(sum);
	if (bpf_skb_adjust_room(skb, sizeof(h), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO))
		return -1;
	return dp_store(skb, DP_ETH_BYTES, &h, sizeof(h));
}

/* Makes the packet an ICMP error about itself, type_code being type * 256 +
 * code. 0, or negative: it may be half done. */
__noinline int dp_error_make(struct __sk_buff *skb, __u32 type_code, __u32 rest)
{
	struct dp_work *w = dp_work_get();
	__u64 sum = 0;
	__u32 bytes;
	int rc;

	if (!w)
		return -1;
	bytes = dp_quote_cut(skb, w, &sum);
	if (!bytes)
		return -1;
	if (w->pkt.family == 4)
		rc = dp_error_put4(skb, &w->pkt, type_code, rest, bytes, sum);
	else
		rc = dp_error_put6(skb, &w->pkt, type_code, rest, bytes, sum);
	return rc || dp_eth_turn(skb) ? -1 : 0;
}

/* ---- Too big ---- */

/* Is there nobody to tell that a packet of so many bytes (the largest that will stand on the wire) doesn't fit? */
static __always_inline __u32 dp_is_untold(const struct dp_pkt *p, __u32 bytes)
{
	/* Nobody answers an error with an error, and nobody may refuse IPv6's minimum. */
	return !p->is_df || p->frag || dp_is_icmp(p) || (p->family == 6 && bytes <= DP_IP6_MTU_MIN);
}

/* Does it fit but for the sequence word? That comes and goes with the rows, and is no reason to tell the client less. */
static __always_inline __u32 dp_seq_exceeds(const struct dp_work *w, const struct dp_host *host)
{
	struct dp_node *node;

	if (!w->wrap.seq || dp_mesh_l2)
		return 0;
	node = dp_node_get(w->wrap.node_idx);
	return node && w->wrap.segment_bytes + dp_overhead(host, node->addr, 0) <= host->mesh_mtu;
}

/* The bare packet at Ethernet doesn't fit into mtu bytes: tell the client. */
__noinline int dp_too_big(struct __sk_buff *skb, __u32 mtu)
{
	struct dp_work *w = dp_work_get();
	int rc;

	if (!w || dp_is_untold(&w->pkt, w->wrap.segment_bytes) || !dp_answerable(&w->pkt) ||
	    dp_eth_is_group(skb))
		return DP_OUT(DP_R_TOO_BIG, TC_ACT_SHOT);
	if (!dp_rate_take(DP_RATE_ERROR, DP_RATE_ERROR_MAX))
		return DP_OUT(DP_R_ICMP_LIMITED, TC_ACT_SHOT);
	if (w->pkt.family == 4)
		rc = dp_error_make(skb, DP_ICMP4_UNREACH << 8 | DP_ICMP4_TOO_BIG, mtu & 0xffff);
	else
		rc = dp_error_make(skb, DP_ICMP6_TOO_BIG << 8,
				   mtu < DP_IP6_MTU_MIN ? DP_IP6_MTU_MIN : mtu);
	if (rc)
		return DP_OUT(DP_R_TOO_BIG, TC_ACT_SHOT);
	return DP_OUT(DP_R_TOO_BIG_SENT, bpf_redirect(skb->ifindex, 0));
}

/* ---- No service ---- */

struct dp_reset4 {
	struct iphdr ip;
	struct tcphdr tcp;
};
struct dp_reset6 {
	struct ipv6hdr ip;
	struct tcphdr tcp;
};

/* The reset that answers `old`, which was followed by `payload` bytes (RFC 9293, 3.10.7.1). */
static __always_inline void dp_reset_fill(struct tcphdr *tcp, const struct tcphdr *old,
					  __u32 payload)
{
	__builtin_memset(tcp, 0, sizeof(*tcp));
	tcp->source = old->dest;
	tcp->dest = old->source;
	tcp->doff = sizeof(*tcp) / 4;
	tcp->rst = 1;
	if (old->ack) {
		tcp->seq = old->ack_seq;
		return;
	}
	tcp->ack = 1;
	tcp->ack_seq = bpf_htonl(bpf_ntohl(old->seq) + payload + old->syn + old->fin);
}

/* The checksum, or with one still to do what it begins with: the pseudo header's sum. `addrs`: of the addresses. */
static __always_inline __u16 dp_reset_check(const struct tcphdr *tcp, __u64 addrs, __u32 is_partial)
{
	__u64 sum = addrs + bpf_htons(sizeof(*tcp)) + bpf_htons(IPPROTO_TCP);

	if (is_partial)
		return dp_csum_fold(sum);
	sum += (__u32)bpf_csum_diff(0, 0, (__be32 *)tcp, sizeof(*tcp), 0);
	return (__u16)~dp_csum_fold(sum);
}

static __always_inline int dp_reset_put4(struct __sk_buff *skb, const struct dp_pkt *p,
					 const struct tcphdr *old, __u32 payload, __u32 is_partial)
{
	struct dp_reset4 h = {};
	__u64 addrs;

	h.ip.version = 4;
	h.ip.ihl = 5;
	h.ip.tot_len = bpf_htons(sizeof(h));
	h.ip.frag_off = bpf_htons(0x4000);
	h.ip.ttl = DP_ANSWER_TTL;
	h.ip.protocol = IPPROTO_TCP;
	h.ip.saddr = ((const dp_word32 *)p->dst)[3];
	h.ip.daddr = ((const dp_word32 *)p->src)[3];
	h.ip.check = dp_ip4_csum(&h.ip);
	dp_reset_fill(&h.tcp, old, payload);
	addrs = (__u32)bpf_csum_diff(0, 0, (__be32 *)&h.ip.saddr, 8, 0);
	h.tcp.check = dp_reset_check(&h.tcp, addrs, is_partial);
	return dp_store(skb, DP_ETH_BYTES, &h, sizeof(h));
}

static __always_inline int dp_reset_put6(struct __sk_buff *skb, const struct dp_pkt *p,
					 const struct tcphdr *old, __u32 payload, __u32 is_partial)
{
	struct dp_reset6 h = {};
	__u64 addrs;

	h.ip.version = 6;
	h.ip.payload_len = bpf_htons(sizeof(h.tcp));
	h.ip.nexthdr = IPPROTO_TCP;
	h.ip.hop_limit = DP_ANSWER_TTL;
	dp_addr_copy(&h.ip.saddr, p->dst);
	dp_addr_copy(&h.ip.daddr, p->src);
	dp_reset_fill(&h.tcp, old, payload);
	addrs = (__u32)bpf_csum_diff(0, 0, (__be32 *)&h.ip.saddr, 32, 0);
	h.tcp.check = dp_reset_check(&h.tcp, addrs, is_partial);
	return dp_store(skb, DP_ETH_BYTES, &h, sizeof(h));
}

/* Makes the segment the reset that answers it. 0, or negative: it can't be answered, and may be half done. */
__noinline int dp_reset_make(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	__u32 head, payload, is_partial;
	struct tcphdr old;
	int rc;

	if (!w || w->pkt.frag || (w->pkt.tcp_flags & DP_TCP_RST))
		return -1;
	head = w->pkt.l4_off - w->pkt.l3_off;
	if (head != (w->pkt.family == 4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr)) ||
	    w->pkt.l3_bytes < head + w->pkt.l4_bytes ||
	    bpf_skb_load_bytes(skb, w->pkt.l4_off, &old, sizeof(old)))
		return -1;
	payload = w->pkt.l3_bytes - head - w->pkt.l4_bytes;
	is_partial = bpf_skb_change_tail(skb, w->pkt.l4_off + offsetof(struct tcphdr, check) + 1,
					 0) != 0;
	if (bpf_skb_change_tail(skb, w->pkt.l4_off + sizeof(old), 0))
		return -1;
	if (w->pkt.family == 4)
		rc = dp_reset_put4(skb, &w->pkt, &old, payload, is_partial);
	else
		rc = dp_reset_put6(skb, &w->pkt, &old, payload, is_partial);
	return rc || dp_eth_turn(skb) ? -1 : 0;
}

/* To a VIP with DP_VIP_REJECT, on a port without a service. XDP lets as many through as one CPU may answer. */
__noinline int dp_reject_xdp(struct xdp_md *ctx)
{
	DP_USES(ctx);
	if (!dp_rate_take(DP_RATE_REJECT, DP_RATE_ERROR_MAX))
		return DP_OUT(DP_R_ICMP_LIMITED, XDP_DROP);
	return DP_OUT(DP_R_XDP_PASS, XDP_PASS);
}

__noinline int dp_reject_tc(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	int rc;

	if (!w || !dp_answerable(&w->pkt) || dp_eth_is_group(skb))
		return DP_OUT(DP_R_NO_SERVICE, TC_ACT_SHOT);
	if (!dp_rate_take(DP_RATE_ERROR, DP_RATE_ERROR_MAX))
		return DP_OUT(DP_R_ICMP_LIMITED, TC_ACT_SHOT);
	if (w->pkt.l4_proto == IPPROTO_TCP)
		rc = dp_reset_make(skb);
	else if (w->pkt.family == 4)
		rc = dp_error_make(skb, DP_ICMP4_UNREACH << 8 | DP_ICMP4_NO_PORT, 0);
	else
		rc = dp_error_make(skb, DP_ICMP6_UNREACH << 8 | DP_ICMP6_NO_PORT, 0);
	if (rc)
		return DP_OUT(DP_R_NO_SERVICE, TC_ACT_SHOT);
	return DP_OUT(DP_R_REJECTED, bpf_redirect(skb->ifindex, 0));
}

#endif
