/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/model/model_rewrite.c - addresses, ports, a SYN's MSS, and the checksums that follow them. */
#include <netinet/in.h>
#include <string.h>

#include "tests/model/model.h"

#define TCP_SYN 0x02u

void model_carry_sum(uint8_t *sum_at, const uint8_t *from, const uint8_t *to, size_t bytes)
{
	uint32_t sum = (uint16_t)~model_get16(sum_at);

	for (size_t i = 0; i < bytes; i += 2)
		sum += (uint16_t)~model_get16(from + i) + model_get16(to + i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	model_put16(sum_at, (uint16_t)~sum);
}

/* Where the transport's checksum is, 0 = none, or none that is in use. */
size_t model_l4_sum_at(const struct model_step *s)
{
	size_t at;

	if (s->p.frag == MODEL_LATER)
		return 0;
	at = s->p.l4 + (s->p.l4_proto == IPPROTO_UDP ? 6 : 16);
	return s->p.l4_proto == IPPROTO_UDP && !model_get16(s->a->frame + at) ? 0 : at;
}

void model_put_bytes(struct model_step *s, size_t at, const uint8_t *to, size_t bytes,
		     bool is_addr4)
{
	uint8_t *f = s->a->frame;
	size_t sum_at = model_l4_sum_at(s);

	if (sum_at)
		model_carry_sum(f + sum_at, f + at, to, bytes);
	if (is_addr4)
		model_carry_sum(f + s->p.l3 + 10, f + at, to, bytes);
	memcpy(f + at, to, bytes);
	if (sum_at && s->p.l4_proto == IPPROTO_UDP && !model_get16(f + sum_at))
		model_put16(f + sum_at, 0xffff); /* 0 would mean that there is none */
}

void model_put_addr(struct model_step *s, bool is_src, const uint8_t *addr)
{
	if (s->p.family == 4)
		model_put_bytes(s, s->p.l3 + (is_src ? 12 : 16), addr + 12, 4, true);
	else
		model_put_bytes(s, s->p.l3 + (is_src ? 8 : 24), addr, 16, false);
}

void model_put_port(struct model_step *s, size_t at, uint16_t port)
{
	uint8_t two[2] = {(uint8_t)(port >> 8), (uint8_t)port};

	if (s->p.frag != MODEL_LATER)
		model_put_bytes(s, at, two, 2, false);
}

void model_note_sums(struct model_step *s)
{
	s->a->sums = 0;
	if (s->p.family == 4)
		s->a->sum_at[s->a->sums++] = s->p.l3 + 10;
	if (model_l4_sum_at(s))
		s->a->sum_at[s->a->sums++] = model_l4_sum_at(s);
}

/* A SYN's MSS option, the first of the first twelve options, lowered to what fits. */
void model_clamp_mss(struct model_step *s, size_t tunnel_bytes)
{
	size_t headers = (s->p.family == 4 ? 20 : 40) + 20, mtu = s->w->host.mesh_mtu;
	size_t at = s->p.l4 + 20, end = s->p.l4 + s->p.l4_bytes;
	uint8_t *f = s->a->frame, two[2], old[2];
	size_t mss = mtu - tunnel_bytes - headers;

	if (s->p.frag == MODEL_LATER || s->p.l4_proto != IPPROTO_TCP || !(s->p.tcp_flags & TCP_SYN))
		return;
	for (int i = 0; i < 12 && at + 4 <= end && at + 4 <= s->a->len && f[at]; i++) {
		if (f[at] == 1) {
			at++;
			continue;
		}
		if (f[at] != 2 || f[at + 1] != 4) {
			if (f[at + 1] < 2)
				return;
			at += f[at + 1];
			continue;
		}
		if (model_get16(f + at + 2) <= mss)
			return;
		two[0] = (uint8_t)(mss >> 8);
		two[1] = (uint8_t)mss;
		memcpy(old, f + at + 2, 2);
		memcpy(f + at + 2, two, 2);
		if ((at - s->p.l4) & 1) { /* on an odd offset its bytes count swapped */
			uint8_t swapped_old[2] = {old[1], old[0]},
				swapped_new[2] = {two[1], two[0]};

			model_carry_sum(f + s->p.l4 + 16, swapped_old, swapped_new, 2);
		} else {
			model_carry_sum(f + s->p.l4 + 16, old, two, 2);
		}
		return;
	}
}
