/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/lib/bpf_pkt.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "bpf/dp_abi.h"

static void put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint32_t sum_bytes(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += get16(p + i);
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Checksum of an upper-layer packet with its pseudo header; 0 when a received one is right. */
static uint16_t l4_sum(int family, const uint8_t *src, const uint8_t *dst, uint8_t proto,
		       const uint8_t *l4, size_t len)
{
	size_t addr = family == 4 ? 4 : 16;
	uint32_t sum = (uint32_t)proto + (uint32_t)len;

	sum = sum_bytes(src, addr, sum);
	sum = sum_bytes(dst, addr, sum);
	return fold(sum_bytes(l4, len, sum));
}

static size_t build_l4(const struct pkt_spec *s, uint8_t *p)
{
	size_t head = 0;

	if (s->l4_proto == IPPROTO_UDP)
		head = 8;
	else if (s->l4_proto == IPPROTO_TCP)
		head = 20 + (s->mss ? (s->mss_nops + 4u + 3u) / 4 * 4 : 0);
	memset(p, 0, head);
	if (head) {
		put16(p, s->sport);
		put16(p + 2, s->dport);
	}
	if (s->l4_proto == IPPROTO_TCP) {
		put32(p + 4, s->seq);
		put32(p + 8, s->ack);
		p[12] = (uint8_t)(head / 4 << 4);
		p[13] = s->tcp_flags ? s->tcp_flags : 0x10;
		put16(p + 14, 512);
		if (s->mss) {
			memset(p + 20, 1, head - 20);
			p[20 + s->mss_nops] = 2;
			p[21 + s->mss_nops] = 4;
			put16(p + 22 + s->mss_nops, s->mss);
		}
	}
	for (size_t i = 0; i < s->payload; i++)
		p[head + i] = s->data ? ((const uint8_t *)s->data)[i] : (uint8_t)(i * 7 + 3);
	if (s->ping_kind) {
		put32(p + head, DP_PING_MAGIC_BE);
		put32(p + head + 4, s->ping_kind - 1u);
	}
	if (s->l4_proto == IPPROTO_UDP)
		put16(p + 4, head + s->payload);
	return head + s->payload;
}

static size_t build_ip4(uint8_t *p, const uint8_t *src, const uint8_t *dst, uint8_t proto,
			size_t words, uint16_t frag, uint16_t id, size_t payload)
{
	size_t head = 20 + words * 4;

	memset(p, 0, 20);
	memset(p + 20, 1, words * 4);
	p[0] = (uint8_t)(0x40 | head / 4);
	put16(p + 2, head + payload);
	put16(p + 4, id);
	put16(p + 6, frag);
	p[8] = 61;
	p[9] = proto;
	memcpy(p + 12, src, 4);
	memcpy(p + 16, dst, 4);
	put16(p + 10, fold(sum_bytes(p, head, 0)));
	return head;
}

/* frag: offset and flag as in a fragment header, if there is to be one. */
static size_t build_ip6(uint8_t *p, const uint8_t *src, const uint8_t *dst, uint8_t proto,
			const struct pkt_spec *s, size_t frag, size_t payload)
{
	bool is_frag =
		s && (s->frag_mtu || s->is_first_frag || s->is_later_frag || s->is_atomic_frag);
	size_t exts = s ? s->dest_options : 0, off = 40;
	uint8_t *next = p + 6;

	memset(p, 0, 40);
	p[0] = 0x60;
	p[7] = 61;
	memcpy(p + 8, src, 16);
	memcpy(p + 24, dst, 16);
	for (size_t i = 0; i < exts; i++) {
		*next = 60;
		next = p + off;
		memcpy(p + off, "\0\0\1\4\0\0\0\0", 8); /* PadN */
		off += 8;
	}
	if (is_frag) {
		*next = 44;
		next = p + off;
		memset(p + off, 0, 8);
		put16(p + off + 2, frag);
		put32(p + off + 4, s->frag_id);
		off += 8;
	}
	*next = proto;
	put16(p + 4, off - 40 + payload);
	return off;
}

static int parse_addr(const char *text, uint8_t *a)
{
	if (inet_pton(AF_INET, text, a) == 1)
		return 4;
	return inet_pton(AF_INET6, text, a) == 1 ? 6 : 0;
}

/* Bytes of a fragment's headers and of what it carries at most. */
static size_t frag_head(const struct pkt_spec *s)
{
	return strchr(s->src, ':') ? 48 + s->dest_options * 8u : 20 + s->ip_options * 4u;
}

static size_t frag_room(const struct pkt_spec *s)
{
	return (s->frag_mtu - frag_head(s)) & ~7ul;
}

unsigned pkt_fragments(const struct pkt_spec *s)
{
	uint8_t l4[PKT_MAX];
	size_t len = build_l4(s, l4) + s->frag_options * 8u;

	return (unsigned)((len + frag_room(s) - 1) / frag_room(s));
}

/* What IP carries: the transport packet, or of a fragment its piece. *ret_frag: offset in bytes, bit 0 more to come. */
static size_t build_body(const struct pkt_spec *s, int family, const uint8_t *src,
			 const uint8_t *dst, uint8_t *body, uint8_t *ret_proto, size_t *ret_frag)
{
	size_t head = s->frag_options * 8u, at, n, len;
	uint8_t *l4 = body + head;

	len = build_l4(s, l4);
	if (s->l4_proto == IPPROTO_TCP)
		put16(l4 + 16, l4_sum(family, src, dst, s->l4_proto, l4, len));
	if (s->l4_proto == IPPROTO_UDP && !s->is_udp_csum_zero) {
		uint16_t sum = l4_sum(family, src, dst, s->l4_proto, l4, len);

		put16(l4 + 6, sum ? sum : 0xffff);
	}
	for (size_t i = 0; i < s->frag_options; i++)
		memcpy(body + i * 8, i + 1 < s->frag_options ? "\74\0\1\4\0\0\0" : "\0\0\1\4\0\0\0",
		       8);
	if (head)
		body[head - 8] = s->l4_proto;
	*ret_proto = head ? 60 : s->l4_proto;
	len += head;
	*ret_frag = s->is_later_frag ? 1480 : s->is_first_frag ? 1 : 0;
	if (!s->frag_mtu)
		return len;
	if (s->frag_next && s->frag_no)
		*ret_proto = s->frag_next;
	at = s->frag_no * frag_room(s);
	n = len - at < frag_room(s) ? len - at : frag_room(s);
	*ret_frag = (s->frag_lie ? s->frag_lie : at) | (at + n < len);
	memmove(body, body + at, n);
	return n;
}

/* IP packet of the spec itself, without GRE. */
static size_t build_inner(const struct pkt_spec *s, uint8_t *p)
{
	uint8_t src[16], dst[16], body[PKT_MAX], proto;
	int family = parse_addr(s->src, src);
	size_t frag, len, head;

	parse_addr(s->dst, dst);
	len = build_body(s, family, src, dst, body, &proto, &frag);
	if (family == 4)
		head = build_ip4(
			p, src, dst, proto, s->ip_options,
			(uint16_t)(frag >> 3 | (frag & 1) << 13 | (s->is_df ? 0x4000u : 0)),
			s->frag_id, len);
	else
		head = build_ip6(p, src, dst, proto, s, frag, len);
	memcpy(p + head, body, len);
	return head + len;
}

static size_t build_gre(const struct pkt_spec *s, int inner_family, uint8_t *p)
{
	uint16_t flags = s->gre_flags ? s->gre_flags : s->gre_seq ? 0x3000 : 0x2000;
	size_t off = 4;

	put16(p, flags);
	put16(p + 2, s->gre_proto ? s->gre_proto : inner_family == 4 ? 0x0800 : 0x86dd);
	if (flags & 0x8000) {
		put32(p + off, 0);
		off += 4;
	}
	if (flags & 0x2000) {
		put32(p + off, s->gre_key);
		off += 4;
	}
	if (flags & 0x1000) {
		put32(p + off, s->gre_seq ? s->gre_seq : 0xabcd1234);
		off += 4;
	}
	return off;
}

size_t pkt_build(const struct pkt_spec *s, uint8_t *buf)
{
	uint8_t inner[PKT_MAX], src[16], dst[16];
	int family = parse_addr(s->src, src);
	size_t off = 14, len = build_inner(s, inner);

	memset(buf, 0, PKT_MAX);
	memcpy(buf, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02", 12);
	if (s->outer_src) {
		uint8_t gre[20];
		size_t gre_len = build_gre(s, family, gre);

		family = parse_addr(s->outer_src, src);
		parse_addr(s->outer_dst, dst);
		if (family == 4)
			off += build_ip4(buf + off, src, dst, 47, 0,
					 s->is_outer_frag ? 0x2000 : 0x4000, 0, gre_len + len);
		else
			off += build_ip6(buf + off, src, dst, 47, NULL, 0, gre_len + len);
		memcpy(buf + off, gre, gre_len);
		off += gre_len;
	}
	memcpy(buf + off, inner, len);
	put16(buf + 12, family == 4 ? 0x0800 : 0x86dd);
	if (s->is_vlan) {
		memmove(buf + 18, buf + 14, off + len - 14);
		put16(buf + 12, 0x8100);
		put16(buf + 14, 7);
		put16(buf + 16, family == 4 ? 0x0800 : 0x86dd);
		off += 4;
	}
	return off + len + s->padding - s->cut;
}

/* ---- reading ---- */

struct ip_view {
	int family;
	const uint8_t *src, *dst;
	uint8_t proto, ttl;
	bool is_df, is_frag, is_last_frag;
	size_t frag_at;
	uint32_t frag_id;
	const uint8_t *body; /* of a fragment: behind its header */
	const uint8_t *l4;
	size_t l4_len, l3_len;
};

static const char *read_ip(const uint8_t *p, size_t len, struct ip_view *v)
{
	memset(v, 0, sizeof(*v));
	if (len >= 20 && p[0] >> 4 == 4) {
		size_t head = (p[0] & 15u) * 4u, total = get16(p + 2);

		if (head < 20 || total < head || total > len)
			return "IPv4 length";
		if (fold(sum_bytes(p, head, 0)))
			return "IPv4 header checksum";
		*v = (struct ip_view){.family = 4,
				      .src = p + 12,
				      .dst = p + 16,
				      .proto = p[9],
				      .ttl = p[8],
				      .is_df = !!(p[6] & 0x40),
				      .is_frag = !!(get16(p + 6) & 0x3fff),
				      .is_last_frag = !(p[6] & 0x20),
				      .frag_at = (get16(p + 6) & 0x1fffu) * 8u,
				      .frag_id = get16(p + 4),
				      .body = p + head,
				      .l4 = p + head,
				      .l4_len = total - head,
				      .l3_len = total};
		return NULL;
	}
	if (len >= 40 && p[0] >> 4 == 6) {
		size_t total = 40u + get16(p + 4), off = 40;
		uint8_t next = p[6];

		if (total > len)
			return "IPv6 length";
		v->is_last_frag = true;
		while ((next == 60 || next == 44 || next == 0) && off + 8 <= total && !v->frag_at) {
			uint8_t now = next;

			next = p[off];
			if (now == 44) {
				v->is_frag = !!(get16(p + off + 2) & 0xfff9);
				v->is_last_frag = !(p[off + 3] & 1);
				v->frag_at = get16(p + off + 2) & 0xfff8u;
				v->frag_id = get32(p + off + 4);
			}
			off += now == 44 ? 8 : (p[off + 1] + 1u) * 8;
			if (now == 44)
				v->body = p + off;
		}
		v->family = 6;
		v->src = p + 8;
		v->dst = p + 24;
		v->proto = next;
		v->ttl = p[7];
		v->l4 = p + off;
		v->l4_len = total - off;
		v->l3_len = total;
		return NULL;
	}
	return "no IP packet";
}

static void text_of(const uint8_t *a, int family, char *text)
{
	inet_ntop(family == 4 ? AF_INET : AF_INET6, a, text, PKT_TEXT);
}

/* is_whole: the checksum can be judged. */
static const char *read_l4(const struct ip_view *v, bool is_whole, struct pkt_seen *seen)
{
	const uint8_t *l4 = v->l4;
	size_t head = v->proto == IPPROTO_TCP ? 20 : 8;

	if (v->proto != IPPROTO_TCP && v->proto != IPPROTO_UDP)
		return NULL;
	if (v->l4_len < head)
		return "L4 header cut short";
	seen->sport = get16(l4);
	seen->dport = get16(l4 + 2);
	if (v->proto == IPPROTO_UDP) {
		if (get16(l4 + 4) != v->l4_len && is_whole)
			return "UDP length";
		if (get16(l4 + 6) == 0 && v->family == 6)
			return "UDP checksum zero in IPv6";
	} else {
		head = (l4[12] >> 4) * 4u;
		seen->seq = get32(l4 + 4);
		if (head < 20 || head > v->l4_len)
			return "TCP header length";
		for (size_t i = 20; i + 4 <= head && l4[i]; i += l4[i] == 1 ? 1 : l4[i + 1])
			if (l4[i] == 2)
				seen->mss = get16(l4 + i + 2);
	}
	seen->payload = v->l4_len - head;
	seen->payload_at = l4 + head;
	if (seen->payload >= 8 && get32(l4 + head) == DP_PING_MAGIC_BE)
		seen->ping_kind = get32(l4 + head + 4);
	if (v->proto == IPPROTO_UDP && get16(l4 + 6) == 0)
		return NULL;
	if (is_whole && l4_sum(v->family, v->src, v->dst, v->proto, l4, v->l4_len))
		return v->proto == IPPROTO_UDP ? "UDP checksum" : "TCP checksum";
	return NULL;
}

const char *pkt_read_l4(int family, const uint8_t *src, const uint8_t *dst, uint8_t l4_proto,
			const uint8_t *l4, size_t len, struct pkt_seen *seen)
{
	struct ip_view v = {.family = family,
			    .src = src,
			    .dst = dst,
			    .proto = l4_proto,
			    .l4 = l4,
			    .l4_len = len};

	memset(seen, 0, sizeof(*seen));
	text_of(src, family, seen->src);
	text_of(dst, family, seen->dst);
	seen->family = (uint8_t)family;
	seen->l4_proto = l4_proto;
	return read_l4(&v, true, seen);
}

const char *pkt_read(const uint8_t *frame, size_t len, struct pkt_seen *seen)
{
	struct ip_view v;
	const uint8_t *p = frame + 14;
	size_t left = len - 14;
	const char *wrong;

	memset(seen, 0, sizeof(*seen));
	if (len < 14)
		return "no Ethernet header";
	memcpy(seen->eth_dst, frame, 6);
	wrong = read_ip(p, left, &v);
	if (wrong)
		return wrong;
	/* The redirect writes the link header of what was encapsulated, behind the test run's back. */
	if (v.proto != 47 && get16(frame + 12) != (v.family == 4 ? 0x0800 : 0x86dd))
		return "ethertype";
	if (v.proto == 47) {
		size_t gre = 4;

		text_of(v.src, v.family, seen->outer_src);
		text_of(v.dst, v.family, seen->outer_dst);
		seen->outer_ttl = v.ttl;
		seen->outer_df = v.is_df;
		seen->gre_flags = get16(v.l4);
		if (seen->gre_flags & 0x2000) {
			seen->gre_key = get32(v.l4 + gre);
			gre += 4;
		}
		if (seen->gre_flags & 0x1000) {
			seen->gre_seq = get32(v.l4 + gre);
			gre += 4;
		}
		if (v.l3_len != left)
			return "bytes behind the outer packet";
		p = v.l4 + gre;
		left = v.l4_len - gre;
		wrong = read_ip(p, left, &v);
		if (wrong)
			return wrong;
		if (get16(frame + 14 + (size_t)(p - frame - 14) - gre + 2) !=
		    (v.family == 4 ? 0x0800 : 0x86dd))
			return "GRE protocol";
	}
	text_of(v.src, v.family, seen->src);
	text_of(v.dst, v.family, seen->dst);
	seen->family = (uint8_t)v.family;
	seen->l4_proto = v.proto;
	seen->ttl = v.ttl;
	seen->is_df = v.is_df;
	seen->trailer = left - v.l3_len;
	seen->is_frag = v.is_frag;
	seen->is_last_frag = v.is_last_frag;
	seen->frag_id = v.frag_id;
	seen->frag_at = v.frag_at;
	seen->body = v.is_frag ? v.body : v.l4;
	seen->body_bytes = v.l4_len + (size_t)(v.l4 - seen->body);
	seen->l4_at = (size_t)(v.l4 - seen->body);
	return v.frag_at ? NULL : read_l4(&v, !v.is_frag, seen);
}
