/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_parse.h - from the bytes of an IPv4 or IPv6 packet to struct dp_pkt: one shape for both families.
 *
 * Reads only, bounded: at most DP_EXT_MAX extension headers, nothing beyond DP_OFF_MAX bytes into the packet.
 * Errors    0, or the reason to drop the packet if it turns out to be ours; has_addrs says whether src and dst
 *           could be read before that
 */
#ifndef DP_PARSE_H
#define DP_PARSE_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/dp_hash.h"
#include "bpf/dp_reasons.h"

#define DP_EXT_MAX 6 /* IPv6 extension headers; a host's own stack never sends more than four */
#define DP_OFF_MAX                                                                                 \
	0x1ff /* no header starts beyond this many bytes; a packet whose does is dropped */

/* Next header values; UAPI names only some of them. */
#define DP_NH_HOP 0
#define DP_NH_ROUTING 43
#define DP_NH_FRAGMENT 44
#define DP_NH_AUTH 51
#define DP_NH_DEST 60
#define DP_NH_GRE 47

#define DP_TCP_FIN 0x01u
#define DP_TCP_SYN 0x02u
#define DP_TCP_RST 0x04u
#define DP_TCP_ACK 0x10u

enum dp_frag_kind {
	DP_FRAG_NONE = 0,
	DP_FRAG_FIRST = 1, /* has the ports */
	DP_FRAG_LATER = 2,
};

struct dp_pkt {
	__u8 src[16]; /* v4-mapped for IPv4 */
	__u8 dst[16];
	__be16 sport_be; /* zero where there are none */
	__be16 dport_be;
	__u32 l3_off;
	__u32 l4_off;
	__u32 l3_bytes; /* by the packet's own header; 0 in super-packets over 64 KB */
	__u32 frag_id;
	__u8 family; /* 4 or 6 */
	__u8 l4_proto;
	__u8 frag; /* enum dp_frag_kind */
	__u8 tcp_flags;
	__u8 l4_bytes; /* TCP, UDP or ICMP header */
	__u8 has_addrs;
	__u8 icmp_type;
	__u8 icmp_code;
	__u8 is_df; /* may not be fragmented on the way: DF of IPv4, every IPv6 packet */
	__u8 frag_head4; /* fragment: 32-bit words of its own headers, in front of its part of the datagram */
	__u16 frag_at; /* fragment: byte of the datagram it begins at */
};

static __always_inline void dp_addr_copy(void *to, const void *from)
{
	dp_word32 *t = to;
	const dp_word32 *f = from;

	t[0] = f[0];
	t[1] = f[1];
	t[2] = f[2];
	t[3] = f[3];
}

static __always_inline void dp_addr_map4(void *to, __be32 addr_be)
{
	dp_word32 *t = to;

	t[0] = 0;
	t[1] = 0;
	t[2] = bpf_htonl(0xffff);
	t[3] = addr_be;
}

static __always_inline int dp_addr_same(const void *a, const void *b)
{
	const dp_word32 *x = a, *y = b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3];
}

static __always_inline int dp_addr_is_zero(const void *a)
{
	const dp_word32 *x = a;

	return !(x[0] | x[1] | x[2] | x[3]);
}

static __always_inline int dp_addr_is_v4(const void *a)
{
	const dp_word32 *x = a;

	return !(x[0] | x[1]) && x[2] == bpf_htonl(0xffff);
}

static __always_inline int dp_parse_ip4(void *data, void *end, __u32 l3_off, struct dp_pkt *p)
{
	struct iphdr *ip = data + l3_off;
	__u32 frag, header_bytes;

	if ((void *)(ip + 1) > end)
		return DP_R_BAD_PACKET;
	p->family = 4;
	dp_addr_map4(p->src, ip->saddr);
	dp_addr_map4(p->dst, ip->daddr);
	p->has_addrs = 1;
	header_bytes = ip->ihl * 4u;
	if (ip->version != 4 || header_bytes < sizeof(*ip))
		return DP_R_BAD_PACKET;
	frag = bpf_ntohs(ip->frag_off);
	if (frag & 0x3fff) {
		p->frag = frag & 0x1fff ? DP_FRAG_LATER : DP_FRAG_FIRST;
		p->frag_id = ip->id;
		p->frag_at = (__u16)((frag & 0x1fff) * 8);
		p->frag_head4 = ip->ihl;
	}
	p->is_df = !!(frag & 0x4000);
	p->l3_bytes = bpf_ntohs(ip->tot_len);
	p->l4_proto = ip->protocol;
	p->l4_off = l3_off + header_bytes;
	return 0;
}

/* Walks the extension headers from `next` at `off` to the upper layer. */
static __always_inline int dp_parse_ext6(void *data, void *end, __u32 l3_off, __u8 next,
					 struct dp_pkt *p)
{
	__u32 off = l3_off + sizeof(struct ipv6hdr);

	for (int i = 0; i <= DP_EXT_MAX; i++) {
		__u8 *h;

		p->l4_proto = next;
		p->l4_off = off;
		if (next != DP_NH_HOP && next != DP_NH_ROUTING && next != DP_NH_FRAGMENT &&
		    next != DP_NH_AUTH && next != DP_NH_DEST)
			return 0;
		if (i == DP_EXT_MAX || off > DP_OFF_MAX)
			return DP_R_BAD_EXT_HEADER;
		h = data + off;
		if ((void *)(h + 8) > end)
			return DP_R_BAD_EXT_HEADER;
		if (next == DP_NH_FRAGMENT) {
			__u32 frag = (__u32)h[2] << 8 | h[3];

			if (p->frag)
				return DP_R_BAD_EXT_HEADER;
			/* An "atomic" fragment (offset 0, nothing follows) is a whole packet. */
			if (frag & 0xfff9) {
				p->frag = frag & 0xfff8 ? DP_FRAG_LATER : DP_FRAG_FIRST;
				p->frag_id = *(dp_word32 *)(h + 4);
				p->frag_at = (__u16)(frag & 0xfff8);
				p->frag_head4 = (__u8)((off + 8 - l3_off) / 4);
			}
			off += 8;
			if (p->frag == DP_FRAG_LATER) {
				p->l4_proto = h[0];
				p->l4_off = off;
				return 0;
			}
		} else if (next == DP_NH_AUTH) {
			off += (h[1] + 2u) * 4;
		} else {
			off += (h[1] + 1u) * 8;
		}
		next = h[0];
	}
	return DP_R_BAD_EXT_HEADER;
}

static __always_inline int dp_parse_ip6(void *data, void *end, __u32 l3_off, struct dp_pkt *p)
{
	struct ipv6hdr *ip = data + l3_off;

	if ((void *)(ip + 1) > end)
		return DP_R_BAD_PACKET;
	p->family = 6;
	dp_addr_copy(p->src, &ip->saddr);
	dp_addr_copy(p->dst, &ip->daddr);
	p->has_addrs = 1;
	if (ip->version != 6)
		return DP_R_BAD_PACKET;
	p->l3_bytes = bpf_ntohs(ip->payload_len) ? bpf_ntohs(ip->payload_len) + sizeof(*ip) : 0;
	p->is_df = 1;
	return dp_parse_ext6(data, end, l3_off, ip->nexthdr, p);
}

/* ICMP of the packet's own family; the other one's is just a protocol that nobody serves. */
static __always_inline int dp_is_icmp(const struct dp_pkt *p)
{
	return p->l4_proto == (p->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

static __always_inline int dp_is_tcp_udp(const struct dp_pkt *p)
{
	return p->l4_proto == IPPROTO_TCP || p->l4_proto == IPPROTO_UDP;
}

static __always_inline int dp_parse_l4(void *data, void *end, struct dp_pkt *p)
{
	__u32 off = p->l4_off;
	struct udphdr *udp;
	__u8 *tcp;

	if (p->frag == DP_FRAG_LATER ||
	    (p->l4_proto != IPPROTO_TCP && p->l4_proto != IPPROTO_UDP && !dp_is_icmp(p)))
		return 0;
	if (off > DP_OFF_MAX)
		return DP_R_BAD_EXT_HEADER;
	udp = data + off; /* TCP and UDP begin with the ports; ICMP's header is as long as UDP's */
	if ((void *)(udp + 1) > end)
		return DP_R_BAD_PACKET;
	if (dp_is_icmp(p)) {
		p->icmp_type = ((__u8 *)udp)[0];
		p->icmp_code = ((__u8 *)udp)[1];
		p->l4_bytes = sizeof(*udp);
		return 0;
	}
	p->sport_be = udp->source;
	p->dport_be = udp->dest;
	p->l4_bytes = sizeof(*udp);
	if (p->l4_proto == IPPROTO_UDP)
		return 0;
	tcp = (__u8 *)udp;
	if ((void *)(tcp + sizeof(struct tcphdr)) > end)
		return DP_R_BAD_PACKET;
	p->l4_bytes = (tcp[12] >> 4) * 4;
	p->tcp_flags = tcp[13];
	return p->l4_bytes < sizeof(struct tcphdr) ? DP_R_BAD_PACKET : 0;
}

/* Fills *p from the IP packet at data + l3_off; *p is zeroed first. eth_proto_be is ETH_P_IP or ETH_P_IPV6. */
static __always_inline int dp_parse(void *data, void *end, __u32 l3_off, __be16 eth_proto_be,
				    struct dp_pkt *p)
{
	int rc;

	__builtin_memset(p, 0, sizeof(*p));
	p->l3_off = l3_off;
	if (l3_off > DP_OFF_MAX)
		return DP_R_BAD_PACKET;
	/* The same once more, where the compiler can't lose it: the verifier forgets a check of what was on the stack. */
	asm volatile("%0 &= 0x1ff" : "+r"(l3_off));
	rc = eth_proto_be == bpf_htons(ETH_P_IP) ? dp_parse_ip4(data, end, l3_off, p)
						 : dp_parse_ip6(data, end, l3_off, p);
	return rc ? rc : dp_parse_l4(data, end, p);
}

/* Is all of the packet, by its own header, within `frame_bytes`, and its headers within it? */
static __always_inline int dp_parse_is_whole(const struct dp_pkt *p, __u32 frame_bytes)
{
	return p->l3_off + p->l3_bytes <= frame_bytes &&
	       p->l3_bytes >= p->l4_off - p->l3_off + p->l4_bytes;
}

#endif
