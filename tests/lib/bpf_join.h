/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/lib/bpf_join.h - a datagram put together again from its fragments as a program left them: then its checksum can be
 * judged. Fragments may come in any order; no two may overlap. */
#ifndef BPF_JOIN_H
#define BPF_JOIN_H

#include "tests/lib/bpf_pkt.h"

#define PKT_JOIN_MAX 65536

/* Zero it before the first fragment. */
struct pkt_join {
	struct pkt_seen
		first; /* addresses, family, protocol, id; ports once the first fragment is in */
	bool has_any, has_first;
	size_t got, total; /* bytes; total is 0 until the last one is in */
	uint8_t body[PKT_JOIN_MAX];
	uint8_t have[PKT_JOIN_MAX / 8];
};

/* NULL, or why this fragment is none of the same datagram. */
const char *pkt_join_add(struct pkt_join *j, const struct pkt_seen *s);
/* NULL and the datagram as if it had come whole, or what is wrong with it. Payload points into *j. */
const char *pkt_join_end(const struct pkt_join *j, struct pkt_seen *ret_seen);

#endif
