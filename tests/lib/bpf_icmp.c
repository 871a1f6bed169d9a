/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/lib/bpf_icmp.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define ICMP_BYTES 8u
#define ETH_BYTES 14u

static uint32_t sum_of(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

/* Of a whole message: 0 if its checksum is right. In ICMPv6 the pseudo header counts, in ICMP there is none. */
static uint16_t icmp_sum(const char *src, const char *dst, const uint8_t *msg, size_t len)
{
	uint8_t a[16], b[16];
	uint32_t sum = 0;

	if (strchr(src, ':')) {
		inet_pton(AF_INET6, src, a);
		inet_pton(AF_INET6, dst, b);
		sum = sum_of(a, 16, sum_of(b, 16, (uint32_t)len + IPPROTO_ICMPV6));
	}
	sum = sum_of(msg, len, sum);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void icmp_fill(struct pkt_spec *p, const struct icmp_spec *i, uint8_t *msg)
{
	uint32_t rest_be = htonl(i->rest);
	size_t len = ICMP_BYTES;
	uint16_t check_be;

	memset(msg, 0, ICMP_BYTES);
	msg[0] = i->type;
	msg[1] = i->code;
	memcpy(msg + 4, &rest_be, sizeof(rest_be));
	if (i->quote) {
		uint8_t frame[PKT_MAX];
		size_t n = pkt_build(i->quote, frame) - ETH_BYTES;

		if (i->quote_bytes && i->quote_bytes < n)
			n = i->quote_bytes;
		memcpy(msg + len, frame + ETH_BYTES, n);
		len += n;
	}
	for (size_t n = 0; n < i->payload; n++)
		msg[len++] = (uint8_t)(n * 5 + 1);
	check_be = htons(icmp_sum(p->src, p->dst, msg, len));
	memcpy(msg + 2, &check_be, sizeof(check_be));
	p->l4_proto = strchr(p->src, ':') ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
	p->payload = (uint16_t)len;
	p->data = msg;
}

const char *icmp_read(const struct pkt_seen *p, struct icmp_seen *seen)
{
	uint32_t rest_be;

	memset(seen, 0, sizeof(*seen));
	if (p->l4_proto != (p->family == 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return "not ICMP";
	if (p->body_bytes < ICMP_BYTES)
		return "ICMP header cut short";
	if (icmp_sum(p->src, p->dst, p->body, p->body_bytes))
		return "ICMP checksum";
	memcpy(&rest_be, p->body + 4, sizeof(rest_be));
	seen->type = p->body[0];
	seen->code = p->body[1];
	seen->rest = ntohl(rest_be);
	seen->body = p->body + ICMP_BYTES;
	seen->body_bytes = p->body_bytes - ICMP_BYTES;
	return NULL;
}

const char *icmp_quotes(const struct icmp_seen *i, const struct pkt_spec *wanted)
{
	static char wrong[80];
	uint8_t frame[PKT_MAX];
	size_t n = pkt_build(wanted, frame) - ETH_BYTES;

	if (i->body_bytes > n)
		return "quotes more than there was";
	for (size_t at = 0; at < i->body_bytes; at++)
		if (i->body[at] != frame[ETH_BYTES + at]) {
			snprintf(wrong, sizeof(wrong), "quote, byte %zu: got %02x, want %02x", at,
				 i->body[at], frame[ETH_BYTES + at]);
			return wrong;
		}
	return NULL;
}
