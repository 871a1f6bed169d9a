/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/lib/bpf_pkt.h - packets for tests: built from a struct, read back into one, checksums verified on the way.
 *
 * Shares no code with bpf/: what reads a packet here is a second opinion.
 */
#ifndef BPF_PKT_H
#define BPF_PKT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PKT_MAX 4096
#define PKT_TEXT 48

/* Zero means the ordinary thing everywhere. */
struct pkt_spec {
	const char *src, *dst; /* addresses; the family follows */
	uint16_t sport, dport;
	uint8_t l4_proto; /* IPPROTO_TCP, IPPROTO_UDP, other: payload only */
	uint8_t tcp_flags;
	uint32_t seq, ack;
	uint16_t mss; /* TCP: MSS option, after mss_nops NOPs */
	uint8_t mss_nops;
	uint16_t payload;     /* bytes */
	const void *data;     /* that many, NULL = a pattern */
	bool is_df;	      /* IPv4 */
	uint8_t ip_options;   /* IPv4: 32-bit words of NOP options */
	uint8_t dest_options; /* IPv6: that many 8-byte destination option headers */
	bool is_first_frag, is_later_frag, is_atomic_frag;
	uint16_t frag_id;
	/* A real fragment: the packet cut for this MTU, and of the pieces the frag_no-th, 0 the first */
	uint16_t frag_mtu;
	uint8_t frag_no;
	uint16_t frag_lie; /* not 0: says that it begins at this byte */
	uint8_t frag_next; /* IPv6, not 0: what a later fragment says comes next; only the first one's word counts */
	uint8_t frag_options; /* IPv6: 8-byte destination option headers behind the fragment header */
	bool is_udp_csum_zero;
	bool is_vlan;
	uint8_t ping_kind; /* 1: payload is a ping request, 2: a reply */
	/* GRE around it, if outer_src is set */
	const char *outer_src, *outer_dst;
	uint32_t gre_key;
	uint16_t gre_flags; /* 0: key only (0x2000), with the sequence word if there is one */
	uint32_t gre_seq;   /* 0: none, or with 0x1000 in the flags some word */
	uint16_t gre_proto; /* 0: the inner one's */
	bool is_outer_frag;
	/* the frame */
	uint16_t padding; /* bytes behind the packet */
	uint16_t cut;	  /* bytes missing at its end */
};

/* What was read. Addresses as text, "" where absent. */
struct pkt_seen {
	uint8_t eth_dst[6];
	char outer_src[PKT_TEXT], outer_dst[PKT_TEXT];
	uint8_t outer_ttl;
	bool outer_df;
	uint32_t gre_key;
	uint16_t gre_flags;
	uint32_t gre_seq;
	char src[PKT_TEXT], dst[PKT_TEXT];
	uint8_t family, l4_proto, ttl;
	bool is_df;
	uint16_t sport, dport, mss;
	uint32_t seq;
	size_t payload; /* bytes behind the L4 header, by the packet's own length */
	size_t trailer; /* bytes behind the packet */
	uint32_t ping_kind;
	const uint8_t *payload_at;
	/* of a fragment */
	bool is_frag, is_last_frag;
	uint32_t frag_id;
	size_t frag_at; /* byte of the datagram it begins at; behind the first there are no ports */
	const uint8_t *
		body; /* what stands behind the fragment header; of a whole packet, the transport header */
	size_t body_bytes, l4_at;
};

/* An Ethernet frame in buf (PKT_MAX bytes); returns its length. */
size_t pkt_build(const struct pkt_spec *s, uint8_t *buf);
/* How many fragments frag_mtu makes of it. */
unsigned pkt_fragments(const struct pkt_spec *s);
/* NULL, or what is wrong with the transport header and its checksum; family 4 or 6, addresses of that family. */
const char *pkt_read_l4(int family, const uint8_t *src, const uint8_t *dst, uint8_t l4_proto,
			const uint8_t *l4, size_t len, struct pkt_seen *ret_seen);
/* NULL, or what is wrong with the frame: lengths, or any checksum, L3 or L4, outer or inner. */
const char *pkt_read(const uint8_t *frame, size_t len, struct pkt_seen *ret_seen);

#endif
