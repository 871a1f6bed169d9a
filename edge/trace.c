/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/trace.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

#define TTL 64
#define QUIC_SHORT 0x40 /* a short header, and the bit that is always set */
#define QUIC_REST 16	/* what stands behind the connection id: as good as any */
#define WINDOW 64240	/* what Linux offers first */

static uint32_t sum16(const void *bytes, size_t len, uint32_t sum)
{
	const uint8_t *p = bytes;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static uint16_t csum_be(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static size_t put_ip(const struct trace_flow *f, uint8_t *at, size_t l4_bytes)
{
	if (ip_is_v4(&f->dst)) {
		struct iphdr ip = {.version = 4,
				   .ihl = 5,
				   .tot_len = htons((uint16_t)(sizeof(ip) + l4_bytes)),
				   .frag_off = htons(IP_DF),
				   .ttl = TTL,
				   .protocol = f->l4_proto};

		memcpy(&ip.saddr, f->src.b + 12, 4);
		memcpy(&ip.daddr, f->dst.b + 12, 4);
		ip.check = csum_be(sum16(&ip, sizeof(ip), 0));
		memcpy(at, &ip, sizeof(ip));
		return sizeof(ip);
	}
	struct ip6_hdr ip6 = {0};

	ip6.ip6_flow = htonl(6u << 28);
	ip6.ip6_plen = htons((uint16_t)l4_bytes);
	ip6.ip6_nxt = f->l4_proto;
	ip6.ip6_hlim = TTL;
	memcpy(&ip6.ip6_src, f->src.b, 16);
	memcpy(&ip6.ip6_dst, f->dst.b, 16);
	memcpy(at, &ip6, sizeof(ip6));
	return sizeof(ip6);
}

static size_t put_l4(const struct trace_flow *f, uint8_t *at)
{
	size_t addr = ip_is_v4(&f->dst) ? 12 : 0;
	size_t payload = f->cid_bytes ? 1u + f->cid_bytes + QUIC_REST : 0;
	size_t len = f->l4_proto == IPPROTO_TCP ? sizeof(struct tcphdr)
						: sizeof(struct udphdr) + payload;
	uint32_t sum = f->l4_proto + (uint32_t)len; /* of the pseudo-header */

	memset(at, 0, len + 1);
	sum = sum16(f->src.b + addr, 16 - addr, sum);
	sum = sum16(f->dst.b + addr, 16 - addr, sum);
	if (f->l4_proto == IPPROTO_TCP) {
		struct tcphdr tcp = {.source = htons(f->sport),
				     .dest = htons(f->dport),
				     .doff = 5,
				     .syn = 1,
				     .window = htons(WINDOW)};

		tcp.check = csum_be(sum16(&tcp, sizeof(tcp), sum));
		memcpy(at, &tcp, sizeof(tcp));
	} else {
		struct udphdr udp = {.source = htons(f->sport),
				     .dest = htons(f->dport),
				     .len = htons((uint16_t)len)};

		if (payload) {
			at[sizeof(udp)] = QUIC_SHORT;
			memcpy(at + sizeof(udp) + 1, f->cid, f->cid_bytes);
			sum = sum16(at + sizeof(udp), payload + 1, sum); /* a zero byte behind it */
		}
		udp.check = csum_be(sum16(&udp, sizeof(udp), sum));
		if (!udp.check)
			udp.check = 0xffff; /* zero means none */
		memcpy(at, &udp, sizeof(udp));
	}
	return len;
}

int trace_build(const struct trace_flow *f, uint8_t ret_frame[TRACE_FRAME_MAX], size_t *ret_bytes)
{
	struct ethhdr eth = {.h_source = {2}, .h_dest = {2, 0, 0, 0, 0, 1}};
	uint8_t l4[TRACE_FRAME_MAX];
	size_t l4_bytes, bytes = sizeof(eth);

	if (f->l4_proto != IPPROTO_TCP && f->l4_proto != IPPROTO_UDP)
		return -EPROTONOSUPPORT;
	if (f->cid_bytes > TRACE_CID_MAX || (f->cid_bytes && f->l4_proto != IPPROTO_UDP))
		return -EPROTONOSUPPORT;
	if (ip_is_v4(&f->src) != ip_is_v4(&f->dst))
		return -EAFNOSUPPORT;
	eth.h_proto = htons(ip_is_v4(&f->dst) ? ETH_P_IP : ETH_P_IPV6);
	l4_bytes = put_l4(f, l4);
	memcpy(ret_frame, &eth, sizeof(eth));
	bytes += put_ip(f, ret_frame + bytes, l4_bytes);
	memcpy(ret_frame + bytes, l4, l4_bytes);
	*ret_bytes = bytes + l4_bytes;
	return 0;
}
