/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/ip.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool ip_is_v4(const struct ip_addr *a)
{
	return memcmp(a->b, v4_mapped, sizeof(v4_mapped)) == 0;
}

bool ip_is_zero(const struct ip_addr *a)
{
	static const uint8_t zero[16];

	return memcmp(a->b, zero, sizeof(zero)) == 0 ||
	       (ip_is_v4(a) && memcmp(a->b + 12, zero, 4) == 0);
}

bool ip_is_loopback(const struct ip_addr *a)
{
	static const uint8_t one[16] = {[15] = 1};

	return ip_is_v4(a) ? a->b[12] == 127 : memcmp(a->b, one, sizeof(one)) == 0;
}

bool ip_is_multicast(const struct ip_addr *a)
{
	static const uint8_t broadcast[4] = {255, 255, 255, 255};

	if (!ip_is_v4(a))
		return a->b[0] == 0xff;
	return (a->b[12] & 0xf0) == 0xe0 || memcmp(a->b + 12, broadcast, 4) == 0;
}

bool ip_is_unicast(const struct ip_addr *a)
{
	return !ip_is_zero(a) && !ip_is_loopback(a) && !ip_is_multicast(a);
}

bool ip_equal(const struct ip_addr *a, const struct ip_addr *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

/* The bits of byte i that belong to a prefix of `bits` bits. */
static uint8_t prefix_byte_mask(unsigned int bits, unsigned int i)
{
	if (bits >= (i + 1) * 8)
		return 0xff;
	if (bits <= i * 8)
		return 0;
	return (uint8_t)(0xff << (8 - (bits - i * 8)));
}

bool ip_in_prefix(const struct ip_addr *a, const struct ip_prefix *p)
{
	if (p->bits < 96 && ip_is_v4(a))
		return false;
	for (unsigned int i = 0; i < 16; i++)
		if ((a->b[i] ^ p->addr.b[i]) & prefix_byte_mask(p->bits, i))
			return false;
	return true;
}

int ip_parse(const char *text, struct ip_addr *ret_addr)
{
	struct ip_addr a;

	if (inet_pton(AF_INET, text, a.b + 12) == 1)
		memcpy(a.b, v4_mapped, sizeof(v4_mapped));
	else if (inet_pton(AF_INET6, text, a.b) != 1)
		return -EINVAL;
	*ret_addr = a;
	return 0;
}

/* Decimal digits up to `end`, no sign, no leading zero. */
static int parse_number(const char *p, const char *end, uint32_t max, uint32_t *ret)
{
	uint32_t v = 0;

	if (p == end || end - p > 9 || (*p == '0' && end - p > 1))
		return -EINVAL;
	for (; p < end; p++) {
		if (*p < '0' || *p > '9')
			return -EINVAL;
		v = v * 10 + (uint32_t)(*p - '0');
	}
	if (v > max)
		return -EINVAL;
	*ret = v;
	return 0;
}

/* The address that stands in [p, end). */
static int parse_slice(const char *p, const char *end, struct ip_addr *ret_addr)
{
	char text[IP_TEXT_MAX];
	size_t len = (size_t)(end - p);

	if (len >= sizeof(text))
		return -EINVAL;
	memcpy(text, p, len);
	text[len] = 0;
	return ip_parse(text, ret_addr);
}

int ip_parse_prefix(const char *text, struct ip_prefix *ret_prefix)
{
	const char *slash = strchr(text, '/');
	struct ip_prefix p;
	uint32_t bits;
	bool is_dotted;

	if (!slash || parse_slice(text, slash, &p.addr))
		return -EINVAL;
	/* "::ffff:192.0.2.0/120" counts all 128 bits, "192.0.2.0/24" only its own. */
	is_dotted = ip_is_v4(&p.addr) && !memchr(text, ':', (size_t)(slash - text));
	if (parse_number(slash + 1, slash + strlen(slash), is_dotted ? 32 : 128, &bits))
		return -EINVAL;
	p.bits = (uint8_t)(is_dotted ? bits + 96 : bits);
	for (unsigned int i = 0; i < 16; i++)
		if (p.addr.b[i] & (uint8_t)~prefix_byte_mask(p.bits, i))
			return -EINVAL;
	*ret_prefix = p;
	return 0;
}

static int parse_port(const char *p, const char *end, uint16_t *ret_port)
{
	uint32_t v;

	if (parse_number(p, end, 65535, &v) || v == 0)
		return -EINVAL;
	*ret_port = (uint16_t)v;
	return 0;
}

int ip_parse_port(const char *text, uint16_t *ret_port)
{
	return parse_port(text, text + strlen(text), ret_port);
}

int ip_parse_addr_port(const char *text, struct ip_addr *ret_addr, uint16_t *ret_port)
{
	const char *colon = strrchr(text, ':');
	struct ip_addr a;
	uint16_t port;

	if (!colon || ip_parse_port(colon + 1, &port))
		return -EINVAL;
	if (*text == '[') {
		if (colon[-1] != ']' || parse_slice(text + 1, colon - 1, &a) ||
		    !memchr(text, ':', (size_t)(colon - text)))
			return -EINVAL;
	} else if (memchr(text, ':', (size_t)(colon - text)) || parse_slice(text, colon, &a)) {
		return -EINVAL; /* an IPv6 address without brackets is ambiguous */
	}
	*ret_addr = a;
	*ret_port = port;
	return 0;
}

int ip_parse_port_range(const char *text, struct ip_port_range *ret_range)
{
	const char *end = text + strlen(text), *dash = strchr(text, '-');
	struct ip_port_range r;

	if (parse_port(text, dash ? dash : end, &r.lo))
		return -EINVAL;
	r.hi = r.lo;
	if (dash && (parse_port(dash + 1, end, &r.hi) || r.hi < r.lo))
		return -EINVAL;
	*ret_range = r;
	return 0;
}

const char *ip_text(const struct ip_addr *a, char buf[IP_TEXT_MAX])
{
	bool v4 = ip_is_v4(a);

	if (!inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a->b + 12 : a->b, buf, IP_TEXT_MAX))
		buf[0] = 0;
	return buf;
}

const char *ip_port_text(const struct ip_addr *a, uint16_t port, char buf[IP_TEXT_MAX])
{
	char addr[IP_TEXT_MAX];
	bool v4 = ip_is_v4(a);

	ip_text(a, addr);
	snprintf(buf, IP_TEXT_MAX, "%s%.46s%s:%u", v4 ? "" : "[", addr, v4 ? "" : "]",
		 (unsigned int)port);
	return buf;
}

const char *ip_prefix_text(const struct ip_prefix *p, char buf[IP_TEXT_MAX])
{
	char addr[IP_TEXT_MAX];
	unsigned int bits = p->bits;

	ip_text(&p->addr, addr);
	/* Shorter than the mapping prefix is IPv6, whatever the bytes look like. */
	if (bits >= 96 && ip_is_v4(&p->addr))
		bits -= 96;
	snprintf(buf, IP_TEXT_MAX, "%.46s/%u", addr, bits);
	return buf;
}
