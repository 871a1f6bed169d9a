/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/ip.h - addresses, ports and prefixes: parse and print. Pure.
 *
 * Addresses are 16 bytes, network order, IPv4 as v4-mapped (::ffff:a.b.c.d). Ports are host order.
 * Parsers read the whole string or fail with -EINVAL and leave the result alone; no names are looked up.
 */
#ifndef EDGE_IP_H
#define EDGE_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IP_TEXT_MAX 64 /* "[addr]:port" or "addr/len" with the NUL */

struct ip_addr {
	uint8_t b[16];
};
struct ip_prefix {
	struct ip_addr addr; /* host bits zero */
	uint8_t bits;	     /* of the 128: an IPv4 /24 is 120 */
};
struct ip_port_range {
	uint16_t lo, hi; /* inclusive, lo >= 1 */
};

bool ip_is_v4(const struct ip_addr *a);
bool ip_is_zero(const struct ip_addr *a);      /* :: or 0.0.0.0 */
bool ip_is_loopback(const struct ip_addr *a);  /* ::1, 127/8 */
bool ip_is_multicast(const struct ip_addr *a); /* ff00::/8, 224/4, 255.255.255.255 */
/* One host may have it and another reach it: none of the above. */
bool ip_is_unicast(const struct ip_addr *a);
bool ip_equal(const struct ip_addr *a, const struct ip_addr *b);
/* An IPv4 address is only in IPv4 prefixes: never in ::/0. */
bool ip_in_prefix(const struct ip_addr *a, const struct ip_prefix *p);

int ip_parse(const char *text, struct ip_addr *ret_addr);
int ip_parse_prefix(const char *text,
		    struct ip_prefix *ret_prefix); /* "192.0.2.0/24"; host bits must be zero */
int ip_parse_addr_port(const char *text, struct ip_addr *ret_addr,
		       uint16_t *ret_port);		 /* "1.2.3.4:53", "[::1]:53" */
int ip_parse_port(const char *text, uint16_t *ret_port); /* 1..65535, no leading zero */
int ip_parse_port_range(const char *text,
			struct ip_port_range *ret_range); /* "53" or "5000-5999" */

/* Print into buf (IP_TEXT_MAX bytes) and return it. */
const char *ip_text(const struct ip_addr *a, char buf[IP_TEXT_MAX]);
const char *ip_port_text(const struct ip_addr *a, uint16_t port, char buf[IP_TEXT_MAX]);
const char *ip_prefix_text(const struct ip_prefix *p, char buf[IP_TEXT_MAX]);

#endif
