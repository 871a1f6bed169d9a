/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/model/model_parse.c - reading packets. */
#include <netinet/in.h>
#include <string.h>

#include "tests/model/model.h"

#define FARTHEST 511u /* no header begins behind that byte */
#define EXTENSIONS 6

uint32_t model_get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

uint32_t model_get32(const uint8_t *p)
{
	return model_get16(p) << 16 | model_get16(p + 2);
}

void model_put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void map4(uint8_t *addr, const uint8_t *v4)
{
	memset(addr, 0, 10);
	memset(addr + 10, 0xff, 2);
	memcpy(addr + 12, v4, 4);
}

bool model_is_mapped4(const uint8_t *addr)
{
	static const uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

	return !memcmp(addr, prefix, 12);
}

bool model_is_icmp(const struct model_pkt *p)
{
	return p->family == 4 ? p->l4_proto == IPPROTO_ICMP : p->l4_proto == IPPROTO_ICMPV6;
}

bool model_is_tcp_udp(const struct model_pkt *p)
{
	return p->l4_proto == IPPROTO_TCP || p->l4_proto == IPPROTO_UDP;
}

static uint32_t parse4(const uint8_t *ip, size_t left, struct model_pkt *p)
{
	uint32_t frag;

	if (left < 20)
		return DP_R_BAD_PACKET;
	p->family = 4;
	map4(p->src, ip + 12);
	map4(p->dst, ip + 16);
	p->has_addrs = true;
	if (ip[0] >> 4 != 4 || (ip[0] & 15) < 5)
		return DP_R_BAD_PACKET;
	p->l3_bytes = model_get16(ip + 2);
	p->l4_proto = ip[9];
	p->l4 = p->l3 + (ip[0] & 15u) * 4;
	frag = model_get16(ip + 6);
	p->is_df = frag & 0x4000;
	if (frag & 0x3fff) {
		p->frag = frag & 0x1fff ? MODEL_LATER : MODEL_FIRST;
		p->frag_id = ip[4] | (uint32_t)ip[5] << 8;
		p->frag_at = (frag & 0x1fff) * 8;
		p->frag_head = (ip[0] & 15u) * 4;
	}
	return 0;
}

/* Hop-by-hop 0, routing 43, fragment 44, authentication 51, destination 60. */
static bool is_extension(uint8_t next)
{
	return next == 0 || next == 43 || next == 44 || next == 51 || next == 60;
}

static uint32_t parse6(const uint8_t *frame, size_t len, struct model_pkt *p)
{
	const uint8_t *ip = frame + p->l3;
	size_t at = p->l3 + 40;
	uint8_t next;

	if (len < at)
		return DP_R_BAD_PACKET;
	p->family = 6;
	memcpy(p->src, ip + 8, 16);
	memcpy(p->dst, ip + 24, 16);
	p->has_addrs = true;
	if (ip[0] >> 4 != 6)
		return DP_R_BAD_PACKET;
	p->is_df = true;
	p->l3_bytes = model_get16(ip + 4);
	if (p->l3_bytes)
		p->l3_bytes += 40;
	next = ip[6];
	for (int seen = 0; is_extension(next); seen++) {
		const uint8_t *h = frame + at;
		uint32_t frag;

		p->l4_proto = next;
		p->l4 = at;
		if (seen >= EXTENSIONS || at > FARTHEST || len < at + 8)
			return DP_R_BAD_EXT_HEADER;
		next = h[0];
		if (p->l4_proto == 44) {
			frag = model_get16(h + 2);
			if (p->frag)
				return DP_R_BAD_EXT_HEADER; /* a fragment of a fragment */
			at += 8;
			if (frag & 0xfff9) { /* else whole: it only says it could be cut */
				p->frag = frag & 0xfff8 ? MODEL_LATER : MODEL_FIRST;
				memcpy(&p->frag_id, h + 4, 4);
				p->frag_at = frag & 0xfff8;
				p->frag_head = at - p->l3;
			}
			if (p->frag == MODEL_LATER)
				break;
		} else {
			at += p->l4_proto == 51 ? (h[1] + 2u) * 4 : (h[1] + 1u) * 8;
		}
	}
	p->l4_proto = next;
	p->l4 = at;
	return 0;
}

static uint32_t parse_l4(const uint8_t *frame, size_t len, struct model_pkt *p)
{
	const uint8_t *l4 = frame + p->l4;

	if (p->frag == MODEL_LATER || (!model_is_tcp_udp(p) && !model_is_icmp(p)))
		return 0;
	if (p->l4 > FARTHEST)
		return DP_R_BAD_EXT_HEADER;
	if (len < p->l4 + 8)
		return DP_R_BAD_PACKET;
	p->l4_bytes = 8;
	if (model_is_icmp(p)) {
		p->icmp_type = l4[0];
		p->icmp_code = l4[1];
		return 0;
	}
	p->sport = (uint16_t)model_get16(l4);
	p->dport = (uint16_t)model_get16(l4 + 2);
	if (p->l4_proto == IPPROTO_UDP)
		return 0;
	if (len < p->l4 + 20)
		return DP_R_BAD_PACKET;
	p->l4_bytes = (l4[12] >> 4) * 4u;
	p->tcp_flags = l4[13];
	return p->l4_bytes < 20 ? DP_R_BAD_PACKET : 0;
}

uint32_t model_parse_l3(const uint8_t *frame, size_t len, size_t l3, bool is_v6,
			struct model_pkt *p)
{
	memset(p, 0, sizeof(*p));
	p->l3 = l3;
	if (l3 > FARTHEST || l3 > len)
		return DP_R_BAD_PACKET;
	return is_v6 ? parse6(frame, len, p) : parse4(frame + l3, len - l3, p);
}

uint32_t model_parse(const uint8_t *frame, size_t len, size_t l3, bool is_v6, struct model_pkt *p)
{
	uint32_t reason = model_parse_l3(frame, len, l3, is_v6, p);

	return reason ? reason : parse_l4(frame, len, p);
}

bool model_is_whole(const struct model_pkt *p, size_t len)
{
	return p->l3 + p->l3_bytes <= len && p->l3_bytes >= p->l4 - p->l3 + p->l4_bytes;
}
