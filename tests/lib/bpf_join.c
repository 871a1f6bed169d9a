/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/lib/bpf_join.h"

#include <arpa/inet.h>
#include <string.h>

const char *pkt_join_add(struct pkt_join *j, const struct pkt_seen *s)
{
	size_t end = s->frag_at + s->body_bytes;

	if (!s->is_frag)
		return "no fragment";
	if (end > PKT_JOIN_MAX || s->body_bytes == 0 || (!s->is_last_frag && s->body_bytes % 8))
		return "length of a fragment";
	if (j->has_any && (strcmp(j->first.src, s->src) || strcmp(j->first.dst, s->dst) ||
			   j->first.frag_id != s->frag_id))
		return "fragment of another datagram";
	for (size_t i = s->frag_at / 8; i < (end + 7) / 8; i++) {
		if (j->have[i])
			return "fragments overlap";
		j->have[i] = 1;
	}
	if (!j->has_any || !s->frag_at)
		j->first = *s;
	j->has_any = true;
	j->has_first |= !s->frag_at;
	j->got += s->body_bytes;
	if (s->is_last_frag)
		j->total = end;
	memcpy(j->body + s->frag_at, s->body, s->body_bytes);
	return NULL;
}

const char *pkt_join_end(const struct pkt_join *j, struct pkt_seen *ret_seen)
{
	int family = j->first.family == 4 ? AF_INET : AF_INET6;
	uint8_t src[16], dst[16];
	size_t skip = j->first.l4_at; /* extension headers behind the fragment header */

	if (!j->has_first || !j->total || j->got != j->total)
		return "fragments missing";
	if (inet_pton(family, j->first.src, src) != 1 || inet_pton(family, j->first.dst, dst) != 1)
		return "address";
	return pkt_read_l4(j->first.family, src, dst, j->first.l4_proto, j->body + skip,
			   j->total - skip, ret_seen);
}
