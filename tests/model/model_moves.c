/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/model/model_moves.c - pointers to long connections: noted, asked for, followed. Time stands still here, so none is left. */
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <string.h>

#include "bpf/dp_hash.h"
#include "tests/model/model.h"

#define TCP_SYN 0x02u

static bool may_ask(const struct model_step *s, uint32_t svc_idx)
{
	return s->p.l4_proto == IPPROTO_TCP && !s->p.frag && !(s->p.tcp_flags & TCP_SYN) &&
	       (s->w->svc[svc_idx].flags & DP_SVC_MOVES);
}

/* Another node, where it may be. */
static bool may_be_there(const struct model_step *s, uint32_t node_idx)
{
	return node_idx && node_idx < MODEL_NODES && node_idx != s->w->self.node_idx &&
	       model_may_be_at(s->w, node_idx, s->p.l4_proto, 0);
}

static uint16_t swapped(uint16_t v)
{
	return (uint16_t)(v << 8 | v >> 8);
}

static struct dp_flow_fwd_key key_of(const struct model_pkt *p)
{
	struct dp_flow_fwd_key k = {.l4_proto = p->l4_proto};

	memcpy(k.client, p->src, 16);
	memcpy(k.vip, p->dst, 16);
	k.cport_be = swapped(p->sport);
	k.vport_be = swapped(p->dport);
	return k;
}

static struct model_pointer *pointer_of(struct model_world *w, const struct dp_flow_fwd_key *key)
{
	for (uint32_t i = 0; i < w->pointer_count; i++)
		if (!memcmp(&w->pointer[i].key, key, sizeof(*key)))
			return &w->pointer[i];
	return NULL;
}

static uint32_t keeper_of(const struct model_step *s)
{
	uint8_t src[16] __attribute__((aligned(8))), dst[16] __attribute__((aligned(8)));

	memcpy(src, s->p.src, 16);
	memcpy(dst, s->p.dst, 16);
	return s->w->meet[dp_meet_row(dp_flow_hash(s->w->self.seed, DP_HASH_5TUPLE, s->p.family,
						   src, dst, swapped(s->p.sport),
						   swapped(s->p.dport), s->p.l4_proto))];
}

static void hop(struct model_step *s, const struct model_flow *f)
{
	s->hop_idx = f->away_idx;
	s->hop_flags = DP_GRE_F_SECOND | (f->is_asked ? DP_GRE_F_ASK : 0);
}

bool model_move_ask(struct model_step *s, uint32_t svc_idx, uint32_t edge_idx)
{
	struct model_world *w = s->w;
	struct model_flow f = {.l4_proto = s->p.l4_proto, .edge_idx = edge_idx};
	struct dp_flow_fwd_key key = key_of(&s->p);
	const struct model_pointer *p;

	if (!may_ask(s, svc_idx))
		return false;
	f.away_idx = keeper_of(s);
	f.is_asked = f.away_idx != w->self.node_idx;
	if (!f.is_asked) {
		p = pointer_of(w, &key);
		f.away_idx = p ? p->node_idx : 0;
	}
	if (!may_be_there(s, f.away_idx) || w->flow_count == MODEL_FLOWS)
		return false;
	memcpy(f.client, s->p.src, 16);
	memcpy(f.vip, s->p.dst, 16);
	f.cport = s->p.sport;
	f.vport = s->p.dport;
	w->flow[w->flow_count++] = f;
	hop(s, &f);
	return true;
}

bool model_move_follow(struct model_step *s, struct model_flow *f, uint32_t edge_idx)
{
	if ((s->p.tcp_flags & TCP_SYN) || !may_be_there(s, f->away_idx))
		return false;
	s->a->is_unknown = s->p.frag != MODEL_WHOLE;
	f->edge_idx = edge_idx;
	hop(s, f);
	return true;
}

void model_move_hop(struct model_step *s, uint32_t token, uint32_t edge_idx)
{
	/* Padding of the link is no part of the packet. */
	if (s->hook != MODEL_MESH_IN && s->p.l3 + s->p.l3_bytes < s->a->len)
		s->a->len = s->p.l3 + s->p.l3_bytes;
	model_encap(s, s->hop_idx, DP_GRE_KEY(s->hop_flags, token), s->w->node[edge_idx].node_num,
		    false, DP_R_PASSED_ON);
}

bool model_move_is_pointer(const struct model_step *s)
{
	const struct model_pkt *p = &s->p;

	return p->l4_proto == IPPROTO_UDP && !p->frag && p->dport == DP_PING_PORT &&
	       p->l3 + p->l3_bytes >= p->l4 + 8 + sizeof(struct dp_pointer_msg) &&
	       model_get32(s->a->frame + p->l4 + 8) == DP_POINTER_MAGIC_BE;
}

void model_move_note(struct model_step *s, uint32_t from_idx)
{
	struct dp_flow_fwd_key key;
	struct model_pointer *p;

	if (!from_idx) {
		model_drop(s, DP_R_POINTER_REFUSED);
		return;
	}
	memcpy(&key, s->a->frame + s->p.l4 + 8 + offsetof(struct dp_pointer_msg, key), sizeof(key));
	p = pointer_of(s->w, &key);
	if (!p && s->w->pointer_count < MODEL_POINTERS)
		p = &s->w->pointer[s->w->pointer_count++];
	s->a->is_unknown = !p;
	if (p)
		*p = (struct model_pointer){.key = key, .node_idx = from_idx};
	model_drop(s, DP_R_POINTER_NOTED);
}
