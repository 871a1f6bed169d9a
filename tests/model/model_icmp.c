/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/model/model_icmp.c - what ICMP errors quote. */
#include <netinet/in.h>
#include <string.h>

#include "tests/model/model.h"

#define FARTHEST 511u

static bool is_error(const struct model_pkt *p)
{
	if (p->family == 4)
		return p->icmp_type == 3 || p->icmp_type == 11 || p->icmp_type == 12;
	return p->icmp_type >= 1 && p->icmp_type <= 4;
}

bool model_quoted(const struct model_step *s, bool is_reply, struct model_pkt *q)
{
	const uint8_t *frame = s->a->frame;
	const struct model_pkt *p = &s->p;
	size_t len = s->a->len;
	uint8_t addr[16];
	uint16_t port;

	if (!is_error(p) || model_parse_l3(frame, len, p->l4 + 8, p->family == 6, q))
		return false;
	if (!model_is_tcp_udp(q) || q->frag == MODEL_LATER || q->l4 > FARTHEST ||
	    p->l3 + p->l3_bytes < q->l4 + 8) /* what lies behind the packet it doesn't quote */
		return false;
	q->sport = (uint16_t)model_get16(frame + q->l4);
	q->dport = (uint16_t)model_get16(frame + q->l4 + 2);
	if (!is_reply)
		return true;
	port = q->sport;
	q->sport = q->dport;
	q->dport = port;
	memcpy(addr, q->src, 16);
	memcpy(q->src, q->dst, 16);
	memcpy(q->dst, addr, 16);
	return true;
}

/* The checksum at sum_at follows what changed from `was`; the whole words of [from, end). */
static void follow(uint8_t *f, size_t sum_at, const uint8_t *was, size_t from, size_t end)
{
	for (size_t at = from; at + 1 < end; at += 2)
		if (at != sum_at)
			model_carry_sum(f + sum_at, was + at, f + at, 2);
}

void model_put_quoted(struct model_step *s, const struct model_pkt *q, bool is_src,
		      const uint8_t *addr, uint16_t sport, uint16_t dport)
{
	uint8_t was[MODEL_FRAME_MAX], *f = s->a->frame;
	const struct model_pkt *p = &s->p;
	bool is_v4 = p->family == 4, is_udp = q->l4_proto == IPPROTO_UDP;
	size_t bytes = is_v4 ? 4 : 16, ip = is_v4 ? 12 : 8, sum_at = q->l4 + (is_udp ? 6 : 16);
	const uint8_t *to = addr + 16 - bytes;

	memcpy(was, f, s->a->len);
	s->a->sums = 0;
	/* The service's side: the source of an error in its name, and the destination of what it quotes; or the reverse. */
	memcpy(f + p->l3 + ip + (is_src ? 0 : bytes), to, bytes);
	memcpy(f + q->l3 + ip + (is_src ? bytes : 0), to, bytes);
	model_put16(f + q->l4, sport);
	model_put16(f + q->l4 + 2, dport);
	if (is_v4) {
		follow(f, p->l3 + 10, was, p->l3 + 12, p->l3 + 20);
		follow(f, q->l3 + 10, was, q->l3 + 12, q->l3 + 20);
		s->a->sum_at[s->a->sums++] = p->l3 + 10;
		s->a->sum_at[s->a->sums++] = q->l3 + 10;
	}
	/* The quoted packet's own checksum, if so much of it is here. */
	if (sum_at + 2 <= p->l3 + p->l3_bytes &&
	    (!q->l3_bytes || sum_at + 2 <= q->l3 + q->l3_bytes) &&
	    !(is_udp && !model_get16(f + sum_at))) {
		follow(f, sum_at, was, q->l3 + ip, q->l3 + ip + 2 * bytes);
		follow(f, sum_at, was, q->l4, q->l4 + 4);
		if (is_udp && !model_get16(f + sum_at))
			model_put16(f + sum_at, 0xffff);
		s->a->sum_at[s->a->sums++] = sum_at;
	}
	follow(f, p->l4 + 2, was, p->l4 + 4, p->l3 + p->l3_bytes);
	if (!is_v4) /* it covers the addresses as well */
		follow(f, p->l4 + 2, was, p->l3 + ip, p->l3 + ip + 2 * bytes);
	s->a->sum_at[s->a->sums++] = p->l4 + 2;
}
