/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/model/model_worker.c - the worker: tunnels, flows, backends, replies; and the edge's way out. */
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <string.h>

#include "tests/model/model.h"

#define ETH 14u
#define TCP_FIN 0x01u
#define TCP_SYN 0x02u
#define TCP_RST 0x04u
#define PORT_TRIES 4u

/* ---- Flows ---- */

static bool is_syn(const struct model_pkt *p)
{
	return p->l4_proto == IPPROTO_TCP && (p->tcp_flags & TCP_SYN);
}

static uint32_t next_state(uint32_t state, const struct model_pkt *p, bool is_reply)
{
	const uint32_t both = DP_FLOW_FIN_IN | DP_FLOW_FIN_OUT;

	if (p->l4_proto != IPPROTO_TCP)
		return DP_FLOW_OPEN;
	if (p->tcp_flags & TCP_RST)
		return state | DP_FLOW_CLOSING;
	if (p->tcp_flags & TCP_FIN)
		state |= is_reply ? DP_FLOW_FIN_OUT : DP_FLOW_FIN_IN;
	else if (is_reply)
		state &= ~(uint32_t)DP_FLOW_CLOSING; /* the client's reset was not believed */
	return (state & both) == both ? state | DP_FLOW_CLOSING : state;
}

static struct model_flow *flow_of(struct model_world *w, const struct model_pkt *p)
{
	for (uint32_t i = 0; i < w->flow_count; i++) {
		struct model_flow *f = &w->flow[i];

		if (f->l4_proto == p->l4_proto && f->cport == p->sport && f->vport == p->dport &&
		    !memcmp(f->client, p->src, 16) && !memcmp(f->vip, p->dst, 16))
			return f;
	}
	return NULL;
}

/* Does the flow's backend still have its slot, and take packets? */
static bool slot_is(const struct model_world *w, const struct model_flow *f)
{
	return w->local[f->slot].use_count == f->use_count;
}

static bool slot_serves(const struct model_world *w, const struct model_flow *f)
{
	return slot_is(w, f) && w->local[f->slot].live;
}

static struct model_flow *flow_by_reply(struct model_world *w, const uint8_t *client,
					const uint8_t *local, uint16_t app_cport, uint16_t bport,
					uint8_t l4_proto)
{
	for (uint32_t i = 0; i < w->flow_count; i++) {
		struct model_flow *f = &w->flow[i];

		if (!f->away_idx && f->l4_proto == l4_proto && f->app_cport == app_cport &&
		    f->bport == bport && !memcmp(f->client, client, 16) &&
		    !memcmp(f->local, local, 16))
			return f;
	}
	return NULL;
}

static void flow_forget(struct model_world *w, struct model_flow *f)
{
	*f = w->flow[--w->flow_count];
}

static uint16_t shifted(uint16_t port, uint32_t try)
{
	return try ? (uint16_t)(1024 + (port * 31u + try * 7919) % (65536 - 1024)) : port;
}

/* Which slot takes a new flow: the token's, else that of any backend of the service here. */
static uint32_t flow_slot(const struct model_step *s, uint32_t token, uint32_t *ret_slot)
{
	const struct model_world *w = s->w;
	const struct dp_vip *vip = model_vip(w, s->p.dst);
	uint32_t svc = vip ? model_svc_on(w, vip, s->p.l4_proto, s->p.dport) : 0;
	uint32_t slot = DP_TOKEN_SLOT(token);

	if (!svc)
		return DP_R_TOKEN_UNKNOWN;
	if (slot >= MODEL_BACKENDS || !w->local[slot].live || w->local[slot].svc_idx != svc ||
	    w->local[slot].use_count != DP_TOKEN_USE(token)) {
		slot = w->svc[svc].local_slot - 1;
		if (!w->svc[svc].local_slot || !w->local[slot].live ||
		    w->local[slot].svc_idx != svc)
			return DP_R_TOKEN_UNKNOWN;
	}
	*ret_slot = slot;
	return model_is_mapped4(w->local[slot].addr) == (s->p.family == 4) ? 0
									   : DP_R_FAMILY_MISMATCH;
}

static uint32_t flow_begin(struct model_step *s, uint32_t token, uint32_t edge_idx,
			   struct model_flow **ret_flow)
{
	struct model_world *w = s->w;
	struct model_flow n = {.l4_proto = s->p.l4_proto}, *other;
	const struct dp_local *l;
	uint32_t reason;

	if (model_vip(w, s->p.src))
		return DP_R_SOURCE_IS_VIP;
	reason = flow_slot(s, token, &n.slot);
	if (reason)
		return reason;
	l = &w->local[n.slot];
	if (model_move_ask(s, l->svc_idx, edge_idx))
		return MODEL_HOP;
	memcpy(n.client, s->p.src, 16);
	memcpy(n.vip, s->p.dst, 16);
	if (l->ifindex)
		memcpy(n.local, l->addr, 16);
	n.cport = s->p.sport;
	n.vport = s->p.dport;
	n.bport = (uint16_t)(l->port + n.vport - w->svc[l->svc_idx].port_lo);
	n.use_count = l->use_count;
	n.edge_idx = edge_idx;
	n.state = next_state(DP_FLOW_OPEN, &s->p, false);
	for (uint32_t try = 0; try <= PORT_TRIES; try++) {
		n.app_cport = shifted(n.cport, try);
		other = flow_by_reply(w, n.client, n.local, n.app_cport, n.bport, n.l4_proto);
		if (other && slot_serves(w, other))
			continue;
		if (other)
			flow_forget(w, other); /* in nobody's way any more */
		if (w->flow_count == MODEL_FLOWS)
			return DP_R_FLOW_TABLE_FULL;
		w->flow[w->flow_count] = n;
		*ret_flow = &w->flow[w->flow_count++];
		return 0;
	}
	return DP_R_FLOW_PORT_CLASH;
}

static uint32_t flow_in(struct model_step *s, uint32_t token, uint32_t edge_idx,
			struct model_flow **ret_flow)
{
	struct model_flow *f = flow_of(s->w, &s->p);

	if (f && f->away_idx) {
		if (model_move_follow(s, f, edge_idx))
			return MODEL_HOP;
		flow_forget(s->w, f);
		f = NULL;
	}
	/* Its backend is gone, or the client's port is used again. */
	if (f && (!slot_serves(s->w, f) || (f->state && is_syn(&s->p)))) {
		flow_forget(s->w, f);
		f = NULL;
	}
	if (!f)
		return flow_begin(s, token, edge_idx, ret_flow);
	f->edge_idx = edge_idx;
	f->state = next_state(f->state, &s->p, false);
	*ret_flow = f;
	return 0;
}

/* ---- Delivery ---- */

static void put_eth(struct model_step *s, const uint8_t *dst)
{
	memset(s->a->frame, 0, 12);
	if (dst)
		memcpy(s->a->frame, dst, 6);
	model_put16(s->a->frame + 12, s->p.family == 4 ? 0x0800 : 0x86dd);
}

static void strip(struct model_step *s, size_t inner)
{
	size_t cut = inner - ETH;

	memmove(s->a->frame + ETH, s->a->frame + inner, s->a->len - inner);
	s->a->len -= cut;
	s->p.l3 -= cut;
	s->p.l4 -= cut;
}

static void hand_over(struct model_step *s, const struct dp_local *l, bool is_mesh)
{
	const struct dp_host *h = &s->w->host;
	uint32_t to = s->p.family == 4 ? h->deliver_ifindex4 : h->deliver_ifindex6;
	uint32_t reason = !is_mesh     ? DP_R_LOCAL_DELIVERED
			  : l->ifindex ? DP_R_DELIVERED_BRIDGE
				       : DP_R_DELIVERED_HOST;

	if (s->p.frag == MODEL_LATER)
		reason = DP_R_FRAG_FOLLOWED;
	if (l->ifindex) {
		if (is_mesh)
			put_eth(s, NULL);
		model_end(s, reason, TC_ACT_REDIRECT);
	} else if (!is_mesh || !to || to == h->mesh_ifindex) {
		model_end(s, reason, TC_ACT_OK);
	} else {
		put_eth(s, h->uplink_mac);
		model_end(s, reason, TC_ACT_REDIRECT);
	}
}

/* The slot that this packet goes to, and what its ports become; 0 or the reason. */
static uint32_t find_backend(struct model_step *s, uint32_t token, uint32_t edge_idx,
			     uint32_t *slot, uint16_t *cport, uint16_t *bport)
{
	struct model_frag *frag = NULL;
	struct model_flow *f = NULL;
	uint32_t reason;

	if (s->p.frag == MODEL_LATER) {
		reason = model_frag_follow(s, DP_FRAG_WORKER_IN, &frag);
		if (reason)
			return reason;
		*slot = frag->slot;
		return s->w->local[frag->slot].live ? 0 : DP_R_TOKEN_UNKNOWN;
	}
	reason = flow_in(s, token, edge_idx, &f);
	if (reason)
		return reason;
	*slot = f->slot;
	*cport = f->app_cport;
	*bport = f->bport;
	if (s->p.frag == MODEL_FIRST)
		model_frag_put(s, DP_FRAG_WORKER_IN)->slot = f->slot;
	return 0;
}

/* No backend of it here: would this worker's own tables name another node? */
static bool is_elsewhere(const struct model_step *s)
{
	const struct dp_vip *vip = model_vip(s->w, s->p.dst);
	struct model_choice c = {};

	c.svc_idx = vip && s->p.frag != MODEL_LATER
			    ? model_svc_on(s->w, vip, s->p.l4_proto, s->p.dport)
			    : 0;
	return c.svc_idx && !model_choose(s->w, &s->p, &c) &&
	       DP_BE_NODE(s->w->backend[c.backend_idx]) != s->w->self.node_idx;
}

/* An error about a reply of ours, to the backend that sent it. */
static void deliver_error(struct model_step *s, size_t inner, bool is_mesh)
{
	const struct model_flow *f;
	const struct dp_local *l;
	struct model_pkt q;

	if (s->p.frag) {
		model_drop(s, DP_R_FRAGMENT);
		return;
	}
	if (!model_quoted(s, true, &q) || memcmp(q.dst, s->p.dst, 16)) {
		model_drop(s, DP_R_ICMP_UNKNOWN);
		return;
	}
	f = flow_of(s->w, &q);
	s->a->is_unknown = f && f->away_idx;
	if (!f || !slot_serves(s->w, f)) {
		model_drop(s, DP_R_ICMP_NO_FLOW);
		return;
	}
	l = &s->w->local[f->slot];
	if (is_mesh) {
		strip(s, inner);
		q.l3 -= inner - ETH;
		q.l4 -= inner - ETH;
	}
	model_put_quoted(s, &q, false, l->addr, f->bport, f->app_cport);
	hand_over(s, l, is_mesh);
	s->a->reason = DP_R_ICMP_DELIVERED;
}

void model_deliver(struct model_step *s, uint32_t token, uint32_t edge_idx, size_t inner,
		   size_t tunnel_bytes)
{
	uint16_t cport = 0, bport = 0;
	const struct dp_local *l;
	uint32_t slot, reason;

	if (model_is_icmp(&s->p) && s->p.frag != MODEL_LATER) {
		deliver_error(s, inner, tunnel_bytes);
		return;
	}
	reason = find_backend(s, token, edge_idx, &slot, &cport, &bport);
	if (reason == MODEL_HOP) {
		if (tunnel_bytes)
			strip(s, inner);
		model_move_hop(s, token, edge_idx);
		return;
	}
	if (reason) {
		s->a->is_unknown = reason == DP_R_TOKEN_UNKNOWN && is_elsewhere(s);
		model_drop(s, reason);
		return;
	}
	l = &s->w->local[slot];
	if (tunnel_bytes)
		strip(s, inner);
	if (model_is_mapped4(l->addr) != (s->p.family == 4)) {
		model_drop(s, DP_R_FAMILY_MISMATCH);
		return;
	}
	model_put_addr(s, false, l->addr);
	model_put_port(s, s->p.l4, cport);
	model_put_port(s, s->p.l4 + 2, bport);
	if (tunnel_bytes)
		model_clamp_mss(s, tunnel_bytes);
	model_note_sums(s);
	hand_over(s, l, tunnel_bytes);
}

/* ---- Mesh device, ingress ---- */

static uint32_t known_node(const struct model_world *w, const uint8_t *addr)
{
	for (uint32_t i = 1; i < MODEL_NODES; i++)
		if (!memcmp(w->node[i].addr, addr, 16))
			return i;
	return 0;
}

static bool is_ping(const struct model_step *s)
{
	const struct model_pkt *p = &s->p;
	const uint8_t *ping = s->a->frame + p->l4 + 8;

	return p->l4_proto == IPPROTO_UDP && !p->frag && p->dport == DP_PING_PORT &&
	       p->l3 + p->l3_bytes >= p->l4 + 8 + DP_PING_BYTES &&
	       model_get32(ping) == DP_PING_MAGIC_BE && !model_get32(ping + 4);
}

static void swap(uint8_t *a, uint8_t *b, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		uint8_t was = a[i];

		a[i] = b[i];
		b[i] = was;
	}
}

static void answer_ping(struct model_step *s)
{
	size_t bytes = s->p.family == 4 ? 4 : 16;
	uint8_t *f = s->a->frame, *addr = f + s->p.l3 + (bytes == 4 ? 12 : 8), *l4 = f + s->p.l4;
	static const uint8_t one[4] = {0, 0, 0, 1};

	model_put_bytes(s, s->p.l4 + 8 + 4, one, 4, false);
	swap(addr, addr + bytes, bytes);
	swap(l4, l4 + 2, 2);
	s->a->same_from = ETH;
	if (model_l4_sum_at(s))
		s->a->sum_at[s->a->sums++] = model_l4_sum_at(s);
	model_end(s, DP_R_PING_ANSWERED, TC_ACT_REDIRECT);
}

/* A worker's error in a VIP's name: 0 if it is about a service of that VIP. */
static uint32_t error_out(struct model_step *s)
{
	const struct dp_vip *vip;
	struct model_pkt q;

	if (s->p.frag)
		return DP_R_REPLY_FRAGMENT;
	if (!model_quoted(s, false, &q) || memcmp(q.src, s->p.dst, 16) ||
	    memcmp(q.dst, s->p.src, 16))
		return DP_R_ICMP_UNKNOWN;
	vip = model_vip(s->w, q.dst);
	return vip && model_svc_on(s->w, vip, q.l4_proto, q.dport) ? 0 : DP_R_REPLY_NOT_SERVICE;
}

static void to_client(struct model_step *s, uint32_t from_idx, size_t inner)
{
	const struct dp_vip *vip;
	struct model_frag *f = NULL;
	uint32_t reason = 0;

	if (s->p.frag == MODEL_LATER) {
		reason = model_frag_follow(s, DP_FRAG_EDGE_OUT, &f);
		if (!reason && f->node_idx != from_idx)
			reason = DP_R_REPLY_FRAGMENT;
	} else if (model_is_icmp(&s->p)) {
		reason = error_out(s);
	} else {
		vip = model_vip(s->w, s->p.src);
		if (!vip || !model_svc_on(s->w, vip, s->p.l4_proto, s->p.sport))
			reason = DP_R_REPLY_NOT_SERVICE;
		else if (s->p.frag)
			model_frag_put(s, DP_FRAG_EDGE_OUT)->node_idx = from_idx;
	}
	if (reason) {
		model_drop(s, reason);
		return;
	}
	strip(s, inner);
	put_eth(s, NULL);
	s->a->mark = 0;
	model_end(s,
		  s->p.frag == MODEL_LATER ? DP_R_FRAG_FOLLOWED
		  : model_is_icmp(&s->p)   ? DP_R_ICMP_OUT
					   : DP_R_REPLY_OUT,
		  TC_ACT_REDIRECT);
}

void model_mesh_in(struct model_step *s)
{
	const struct dp_host *h = &s->w->host;
	const uint8_t *gre = s->a->frame + s->p.l4;
	size_t left = s->a->len > s->p.l4 ? s->a->len - s->p.l4 : 0, inner, tunnel;
	uint32_t flags, from, key, proto, reason;

	if (memcmp(s->p.dst, s->p.family == 4 ? h->mesh_addr4 : h->mesh_addr6, 16)) {
		model_end(s, DP_R_MESH_PASS, TC_ACT_UNSPEC);
		return;
	}
	if (is_ping(s)) {
		answer_ping(s);
		return;
	}
	from = known_node(s->w, s->p.src);
	if (model_move_is_pointer(s)) {
		model_move_note(s, from);
		return;
	}
	if (s->p.l4_proto != 47) {
		model_end(s, DP_R_MESH_PASS, TC_ACT_UNSPEC);
		return;
	}
	if (!from) {
		model_drop(s, DP_R_GRE_UNKNOWN_PEER);
		return;
	}
	flags = left >= 8 ? model_get16(gre) : 0;
	proto = left >= 8 ? model_get16(gre + 2) : 0;
	key = left >= 8 ? model_get32(gre + 4) : 0;
	inner = s->p.l4 + 8 + (flags & 0x1000 ? 4 : 0);
	if (s->p.frag || left < 8 || (flags & ~0x1000u) != 0x2000 || key >> 30 ||
	    (proto != 0x0800 && proto != 0x86dd) || inner > s->a->len) {
		model_drop(s, DP_R_GRE_BAD);
		return;
	}
	tunnel = (s->p.family == 4 ? 20 : 40) + 8;
	reason = model_parse(s->a->frame, s->a->len, inner, proto == 0x86dd, &s->p);
	if (!reason && !model_is_whole(&s->p, s->a->len))
		reason = DP_R_BAD_PACKET;
	if (!reason && !model_is_tcp_udp(&s->p) && !model_is_icmp(&s->p) &&
	    s->p.frag != MODEL_LATER)
		reason = DP_R_PROTO_UNSUPPORTED;
	if (reason) {
		model_drop(s, reason);
		return;
	}
	if (DP_GRE_KEY_FLAGS(key) & DP_GRE_F_REPLY) {
		to_client(s, from, inner);
		return;
	}
	if (DP_GRE_KEY_FLAGS(key) & DP_GRE_F_TELL) {
		model_drop(s, DP_R_REPLY_NO_EDGE); /* no number is known here, so it names nobody */
		return;
	}
	if ((DP_GRE_KEY_FLAGS(key) & (DP_GRE_F_SECOND | DP_GRE_F_FINAL)) || (flags & 0x1000)) {
		s->a->is_unknown = true;
		return;
	}
	model_deliver(s, DP_GRE_KEY_TOKEN(key), from, inner, tunnel);
}

/* ---- What leaves ---- */

static void reply_pass(struct model_step *s)
{
	model_end(s, s->hook == MODEL_MESH_OUT ? DP_R_MESH_PASS : DP_R_PASS_NOT_OURS,
		  TC_ACT_UNSPEC);
}

static struct model_flow *reply_flow(struct model_step *s)
{
	static const uint8_t nowhere[16];
	bool is_bridge = s->hook == MODEL_BR_IN;
	struct model_flow *f;

	if (!model_is_tcp_udp(&s->p))
		return NULL;
	f = flow_by_reply(s->w, s->p.dst, is_bridge ? s->p.src : nowhere, s->p.dport, s->p.sport,
			  s->p.l4_proto);
	if (!f || (!is_bridge && model_vip(s->w, s->p.src)) || !slot_is(s->w, f))
		return NULL;
	if (!s->w->local[f->slot].live)
		return f; /* the last words of a backend that was taken off */
	f->state = next_state(f->state, &s->p, true);
	if (!(s->p.tcp_flags & (TCP_SYN | TCP_RST)))
		f->is_assured = true;
	return f;
}

/* To the edge that the flow comes by; from here if that is this machine, or if it is_direct. */
static void reply_out(struct model_step *s, uint32_t edge_idx, bool is_direct,
		      uint32_t local_reason, uint32_t reason)
{
	bool is_here = edge_idx == s->w->self.node_idx || is_direct;

	if (!is_here) {
		model_encap(s, edge_idx, DP_GRE_KEY(DP_GRE_F_REPLY, 0), 0, false, reason);
		return;
	}
	if (s->hook == MODEL_MESH_OUT)
		put_eth(s, NULL);
	model_end(s, local_reason, s->hook == MODEL_UP_OUT ? TC_ACT_OK : TC_ACT_REDIRECT);
}

static void reply_send(struct model_step *s, const uint8_t *vip, uint16_t vport, uint16_t cport,
		       uint32_t edge_idx, uint32_t slot)
{
	static const uint8_t none[16];
	const struct dp_node *edge = &s->w->node[edge_idx];
	bool is_local = edge_idx == s->w->self.node_idx, is_later = s->p.frag == MODEL_LATER;
	bool is_direct = s->hook != MODEL_MESH_OUT &&
			 (s->w->svc[s->w->local[slot].svc_idx].flags & DP_SVC_DIRECT);

	if (!is_local && !memcmp(edge->addr, none, 16)) {
		model_drop(s, DP_R_REPLY_NO_EDGE);
		return;
	}
	model_put_addr(s, true, vip);
	model_put_port(s, s->p.l4, vport);
	model_put_port(s, s->p.l4 + 2, cport);
	if (!is_local) /* room for a sequence word, too: clients' packets may bear one */
		model_clamp_mss(s, (model_is_mapped4(edge->addr) ? 20 : 40) + 12);
	model_note_sums(s);
	reply_out(s, edge_idx, is_direct,
		  is_later   ? DP_R_FRAG_FOLLOWED
		  : is_local ? DP_R_REPLY_LOCAL
			     : DP_R_REPLY_DIRECT,
		  is_later ? DP_R_FRAG_FOLLOWED : DP_R_REPLY_ENCAP);
}

/* A backend's, this machine's or a router's error about a client's packet. */
static void error_back(struct model_step *s)
{
	static const uint8_t nowhere[16];
	struct model_flow *f = NULL;
	struct model_pkt q;

	if (!model_quoted(s, false, &q) || memcmp(q.src, s->p.dst, 16)) {
		reply_pass(s);
		return;
	}
	if (s->hook != MODEL_BR_IN)
		f = flow_by_reply(s->w, q.src, nowhere, q.sport, q.dport, q.l4_proto);
	if (!f || !slot_is(s->w, f))
		f = flow_by_reply(s->w, q.src, q.dst, q.sport, q.dport, q.l4_proto);
	if (!f || model_vip(s->w, s->p.src) || !slot_is(s->w, f)) {
		reply_pass(s);
		return;
	}
	model_put_quoted(s, &q, true, f->vip, f->cport, f->vport);
	reply_out(s, f->edge_idx, false, DP_R_ICMP_OUT, DP_R_ICMP_BACK);
}

void model_reply(struct model_step *s, uint32_t mark)
{
	struct model_frag *frag = NULL;
	struct model_flow *f;
	uint32_t reason;

	(void)mark;
	if (s->hook == MODEL_MESH_OUT && s->p.l4_proto == 47) {
		model_drop(s, DP_R_GRE_UNMARKED);
		return;
	}
	if (s->p.frag == MODEL_LATER) {
		reason = model_frag_follow(s, DP_FRAG_WORKER_OUT, &frag);
		if (reason == DP_R_FRAG_NO_FIRST)
			reply_pass(s);
		else if (reason)
			model_drop(s, reason);
		else
			reply_send(s, frag->vip, 0, 0, frag->node_idx, frag->slot);
		return;
	}
	if (model_is_icmp(&s->p) && !s->p.frag) {
		error_back(s);
		return;
	}
	f = reply_flow(s);
	if (!f) {
		if (s->p.frag)
			s->a->is_unknown = true;
		reply_pass(s);
		return;
	}
	if (s->p.frag) {
		frag = model_frag_put(s, DP_FRAG_WORKER_OUT);
		memcpy(frag->vip, f->vip, 16);
		frag->node_idx = f->edge_idx;
		frag->slot = f->slot;
	}
	reply_send(s, f->vip, f->vport, f->cport, f->edge_idx, f->slot);
}
