/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/lib/bpf_icmp.h - ICMP messages for tests, and the packets that errors quote: built, and read with all checksums
 * verified. Shares no code with bpf/.
 */
#ifndef BPF_ICMP_H
#define BPF_ICMP_H

#include "tests/lib/bpf_pkt.h"

struct icmp_spec {
	uint8_t type, code;
	uint32_t rest;		      /* the second word: MTU; id and sequence number */
	const struct pkt_spec *quote; /* an error's; its own family is that of the message */
	uint16_t quote_bytes;	      /* so much of it, 0 = all */
	uint16_t payload;	      /* an echo's */
};

struct icmp_seen {
	uint8_t type, code;
	uint32_t rest;
	const uint8_t *body; /* behind the ICMP header */
	size_t body_bytes;
};

/* Makes *p, whose src and dst are set, this message; msg (PKT_MAX bytes) holds it and must live as long as *p. */
void icmp_fill(struct pkt_spec *p, const struct icmp_spec *i, uint8_t *msg);
/* NULL, or what is wrong with the message: length, checksum. */
const char *icmp_read(const struct pkt_seen *p, struct icmp_seen *ret_seen);
/* NULL, or what is wrong: the quote is not the beginning of this very packet, checksums and all. */
const char *icmp_quotes(const struct icmp_seen *i, const struct pkt_spec *wanted);

#endif
