/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/model/world.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/bpf_pkt.h"

#define CLIENTS 6u
#define ROWS 251u

uint32_t world_rnd(uint64_t *seed, uint32_t below)
{
	uint64_t x;

	*seed += 0x9e3779b97f4a7c15ull;
	x = *seed;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return below ? (uint32_t)((x ^ x >> 31) % below) : 0;
}

static bool chance(uint64_t *seed, uint32_t percent)
{
	return world_rnd(seed, 100) < percent;
}

static void set_addr(uint8_t addr[16], const char *text)
{
	memset(addr, 0, 16);
	if (inet_pton(AF_INET6, text, addr) == 1)
		return;
	memset(addr + 10, 0xff, 2);
	(void)inet_pton(AF_INET, text, addr + 12); /* texts of our own */
}

static void set_addr_no(uint8_t addr[16], bool is_v4, const char *v4, const char *v6, uint32_t no)
{
	char text[64];

	snprintf(text, sizeof(text), is_v4 ? "%s%u" : "%s%x", is_v4 ? v4 : v6, no);
	set_addr(addr, text);
}

static const char *text_of(const uint8_t addr[16], char text[INET6_ADDRSTRLEN])
{
	if (model_is_mapped4(addr))
		return inet_ntop(AF_INET, addr + 12, text, INET6_ADDRSTRLEN);
	return inet_ntop(AF_INET6, addr, text, INET6_ADDRSTRLEN);
}

/* ---- Worlds ---- */

static void make_nodes(struct model_world *w, uint64_t *seed)
{
	for (uint32_t i = 1; i <= 8; i++) {
		struct dp_node *n = &w->node[i];

		n->node_num = i * 1000;
		n->state = i == 1 || chance(seed, 85) ? DP_NODE_UP
			   : chance(seed, 50)	      ? DP_NODE_DOWN
						      : DP_NODE_SUSPECT;
		n->flags = i == 1 ? DP_NODE_SELF : 0;
		if (i == 1 || !chance(seed, 8))
			set_addr_no(n->addr, i == 1 || chance(seed, 50), "10.99.0.", "fd99::", i);
	}
}

/* Many keep their own, for only then it matters here what pointers say. */
static void make_meet(struct model_world *w, uint64_t *seed)
{
	for (uint32_t i = 0; i < DP_MEET_ROWS; i++)
		w->meet[i] = chance(seed, 40) ? 1 : world_rnd(seed, 10);
}

static void make_vips(struct model_world *w, uint64_t *seed)
{
	w->vip_count = 8;
	for (uint32_t i = 1; i <= 8; i++) {
		struct dp_vip *v = &w->vip[i];

		set_addr_no(v->addr, i & 1, "192.0.2.", "2001:db8::", i);
		v->dir_tcp = chance(seed, 95) ? 2 * i - 1 : 0;
		v->dir_udp = chance(seed, 95) ? 2 * i : 0;
		v->flags = chance(seed, 10) ? DP_VIP_REJECT : 0;
	}
}

static void make_ports(struct model_world *w, uint32_t svc, uint32_t vip, uint32_t lo, uint32_t hi,
		       uint32_t protos, uint32_t *pages)
{
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t dir = i ? w->vip[vip].dir_udp : w->vip[vip].dir_tcp;

		for (uint32_t port = lo; dir && (protos & (1u << i)) && port <= hi; port++) {
			uint32_t *page = &w->portdir[dir * 256 + port / 256];

			if (!*page && *pages < MODEL_PAGES)
				*page = (*pages)++;
			if (*page && !w->portpage[*page * 256 + port % 256])
				w->portpage[*page * 256 + port % 256] = svc;
		}
	}
}

static void make_svcs(struct model_world *w, uint64_t *seed)
{
	static const uint16_t ports[] = {53, 80, 443, 5000, 250};
	uint32_t pages = 1;

	for (uint32_t i = 1; i <= WORLD_SVCS; i++) {
		struct dp_svc *s = &w->svc[i];
		uint32_t vip = 1 + world_rnd(seed, 8), kind = world_rnd(seed, 20);

		s->family = vip & 1 ? 4 : 6;
		s->svc_id = 1000 + i;
		s->port_lo = ports[world_rnd(seed, 5)];
		s->hash = chance(seed, 70) ? DP_HASH_5TUPLE : DP_HASH_SOURCE;
		s->table = DP_TABLE(i * ROWS, kind < 16 ? 0 : kind == 16 ? 7 : 5);
		s->table = kind == 17 ? 0 : s->table;
		if (chance(seed, 30))
			s->flags |= DP_SVC_GATE | (chance(seed, 70) ? DP_SVC_FILTER : 0) |
				    (chance(seed, 30) ? DP_SVC_CLOSED : 0);
		s->flags |= chance(seed, 15) ? DP_SVC_DIRECT : 0;
		s->flags |= chance(seed, 30) ? DP_SVC_CARRY : 0;
		s->flags |= chance(seed, 30) ? DP_SVC_UDP_STAY : 0;
		s->flags |= chance(seed, 40) ? DP_SVC_MOVES : 0;
		make_ports(w, i, vip, s->port_lo,
			   s->port_lo + (chance(seed, 50) ? 0 : world_rnd(seed, 300)),
			   1 + world_rnd(seed, 3), &pages);
	}
}

static void make_backends(struct model_world *w, uint64_t *seed)
{
	for (uint32_t i = 1; i <= WORLD_BACKENDS; i++) {
		uint32_t svc = 1 + i % WORLD_SVCS, use = world_rnd(seed, 1024);
		uint32_t node = chance(seed, 40) ? 1 : world_rnd(seed, 10);
		bool is_up = chance(seed, 85), is_v4 = (w->svc[svc].family == 4) ^ chance(seed, 4);
		struct dp_local *l = &w->local[i];

		w->backend[i] = DP_BE_WORD(is_up ? DP_BE_UP : DP_BE_DEAD, node, DP_TOKEN(i, use));
		if (node != 1)
			continue;
		/* Few addresses and ports: replies of different flows look alike. */
		set_addr_no(l->addr, is_v4, "10.0.0.", "2001:db8:1::", 5 + world_rnd(seed, 2));
		l->svc_idx = svc;
		l->ifindex = chance(seed, 35) ? WORLD_BRIDGE_IF : 0;
		l->port = (uint16_t)(chance(seed, 60) ? 8080 : 7000 + world_rnd(seed, 5));
		l->use_count = (uint16_t)use;
		l->backend_idx = is_up ? i : 0;
		l->live = chance(seed, 92);
		if (chance(seed, 50))
			w->svc[svc].local_slot = i + 1;
	}
	for (uint32_t i = 1; i <= WORLD_SVCS; i++)
		for (uint32_t r = 0; r < ROWS; r++) {
			w->row[i * ROWS + r].owner =
				world_rnd(seed, 3) * WORLD_SVCS + (i + WORLD_SVCS - 1) % WORLD_SVCS;
			if (i % 4 == 0 && chance(seed, 40))
				w->row[i * ROWS + r].prev = world_rnd(seed, WORLD_BACKENDS);
		}
}

static void client_addr(uint8_t addr[16], bool is_v4, uint64_t *seed)
{
	set_addr_no(addr, is_v4, "198.51.100.", "2001:db8:c::", 7 + world_rnd(seed, CLIENTS));
}

static void make_filters(struct model_world *w, uint64_t *seed)
{
	w->ctl.flags = chance(seed, 30) ? DP_CTL_FILTER : 0;
	for (uint32_t i = 0; i < 12; i++) {
		struct dp_filter_key k = {};
		bool is_v4 = chance(seed, 50), is_known = false;
		uint32_t bits = is_v4 ? 96 + world_rnd(seed, 33) : world_rnd(seed, 129);

		k.svc_id = chance(seed, 30) ? 0 : 1001 + world_rnd(seed, WORLD_SVCS);
		k.prefix_bits = 32 + bits;
		client_addr(k.addr, is_v4, seed);
		for (uint32_t b = bits; b < 128; b++)
			k.addr[b / 8] &= (uint8_t) ~(0x80 >> b % 8);
		for (uint32_t n = 0; n < w->filter_count; n++)
			is_known |= !memcmp(&w->filter[n].key, &k, sizeof(k));
		if (is_known)
			continue;
		w->filter[w->filter_count].key = k;
		w->filter[w->filter_count++].verb =
			chance(seed, 50) ? DP_FILTER_DENY : DP_FILTER_ALLOW;
	}
}

void world_make(struct model_world *w, const struct dp_host *host, const struct dp_self *self,
		uint64_t *seed)
{
	static const uint16_t mtus[] = {1420, 1420, 1280, 576};

	memset(w, 0, sizeof(*w));
	w->host = *host;
	w->host.mesh_mtu = mtus[world_rnd(seed, 4)];
	if (chance(seed, 15))
		w->host.deliver_ifindex4 = 0;
	if (chance(seed, 15))
		w->host.deliver_ifindex6 = w->host.mesh_ifindex;
	w->self = *self;
	w->self.seed[0] ^= *seed;
	w->self.ready = chance(seed, 97);
	make_nodes(w, seed);
	make_meet(w, seed);
	make_vips(w, seed);
	make_svcs(w, seed);
	make_backends(w, seed);
	make_filters(w, seed);
}

static const char *change_local(struct model_world *w, uint32_t i, uint64_t *seed, const void **ret)
{
	struct dp_local *l = &w->local[i];

	if (l->live && chance(seed, 50)) {
		l->live = 0; /* it rests for minutes before another has it, which here is no time */
	} else {	     /* another backend has the slot now; edges will hear of it */
		l->live = 1;
		l->use_count = (l->use_count + 1) & 0x3ff;
		l->port = (uint16_t)(7000 + world_rnd(seed, 5));
		l->svc_idx = 1 + world_rnd(seed, WORLD_SVCS);
	}
	*ret = l;
	return "dp_local";
}

const char *world_change(struct model_world *w, uint64_t *seed, uint32_t *ret_idx,
			 const void **ret_value)
{
	uint32_t be = 1 + world_rnd(seed, WORLD_BACKENDS), node = 2 + world_rnd(seed, 7);
	uint32_t row = ROWS + world_rnd(seed, MODEL_ROWS - ROWS);
	uint64_t word = w->backend[be];

	switch (world_rnd(seed, 4)) {
	case 0:
		w->node[node].state = !w->node[node].state;
		*ret_idx = node;
		*ret_value = &w->node[node];
		return "dp_node";
	case 1:
		w->row[row].owner = world_rnd(seed, WORLD_BACKENDS);
		*ret_idx = row;
		*ret_value = &w->row[row];
		return "dp_rows";
	case 2:
		*ret_idx = be;
		if (w->local[be].svc_idx)
			return change_local(w, be, seed, ret_value);
		break;
	}
	/* An edge hears of a backend's death, its return, or that its slot is used again. */
	if (w->local[be].svc_idx)
		word = DP_BE_WORD(DP_BE_STATE(word), 1, DP_TOKEN(be, w->local[be].use_count));
	else
		word ^= 1ull << 48;
	w->backend[be] = word;
	*ret_idx = be;
	*ret_value = &w->backend[be];
	return "dp_backend";
}

/* ---- Frames ---- */

struct draft {
	struct pkt_spec spec;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];
	char outer_src[INET6_ADDRSTRLEN], outer_dst[INET6_ADDRSTRLEN];
	uint8_t data[MODEL_FRAME_MAX];
};

static uint16_t payload_size(uint64_t *seed)
{
	static const uint16_t edges[] = {0, 1, 8, 40, 500, 1180, 1232, 1340, 1352, 1400, 1500};

	return (uint16_t)(edges[world_rnd(seed, 11)] + world_rnd(seed, 40));
}

/* Somewhere that there is a service on, if luck finds one: VIP, protocol and port. */
struct target {
	uint32_t vip, svc;
	uint16_t port;
	uint8_t l4_proto;
};

static struct target pick_target(const struct model_world *w, uint64_t *seed)
{
	struct target t = {};

	for (int i = 0; i < 200 && !t.svc; i++) {
		const struct dp_svc *s = &w->svc[1 + world_rnd(seed, WORLD_SVCS)];

		t.vip = 1 + world_rnd(seed, 8);
		t.l4_proto = chance(seed, 50) ? IPPROTO_TCP : IPPROTO_UDP;
		t.port = (uint16_t)(s->port_lo + (chance(seed, 70) ? 0 : world_rnd(seed, 300)));
		t.svc = model_svc_on(w, &w->vip[t.vip], t.l4_proto, t.port);
	}
	if (chance(seed, 4))
		t.port = (uint16_t)world_rnd(seed, 65536);
	if (chance(seed, 3))
		t.l4_proto = (uint8_t)world_rnd(seed, 256);
	return t;
}

static void vary(struct draft *d, uint64_t *seed)
{
	static const uint8_t flags[] = {0x02, 0x10, 0x18, 0x11, 0x04, 0x12, 0x14};
	struct pkt_spec *s = &d->spec;
	uint32_t odd = world_rnd(seed, 30);

	s->tcp_flags = flags[world_rnd(seed, 7)];
	s->payload = payload_size(seed);
	s->seq = world_rnd(seed, 0xffffffff);
	if (s->tcp_flags & 2 && chance(seed, 70)) {
		s->mss = (uint16_t)(400 + world_rnd(seed, 1200));
		s->mss_nops = (uint8_t)world_rnd(seed, 8);
	}
	s->padding = chance(seed, 20) ? (uint16_t)world_rnd(seed, 20) : 0;
	s->is_udp_csum_zero = chance(seed, 10);
	s->frag_id = (uint16_t)world_rnd(seed, 2);
	s->ip_options = odd < 3 ? (uint8_t)world_rnd(seed, 11) : 0;
	s->dest_options = odd < 3 ? (uint8_t)world_rnd(seed, 9) : 0;
	s->is_first_frag = odd == 3 || odd == 4;
	if (s->is_first_frag)
		s->payload = (uint16_t)world_rnd(seed, 1500);
	s->is_later_frag = odd == 5 || odd == 6 || odd == 9;
	s->is_atomic_frag = odd == 7;
	s->is_vlan = odd == 8 && chance(seed, 20);
}

/* From a client to a VIP. Returns the service that it is meant for. */
static uint32_t draft_in(struct draft *d, const struct model_world *w, uint64_t *seed)
{
	struct target t = pick_target(w, seed);
	uint32_t vip = t.vip;
	uint8_t src[16], dst[16];

	memset(d, 0, sizeof(*d));
	client_addr(src, vip & 1, seed);
	memcpy(dst, w->vip[vip].addr, 16);
	if (chance(seed, 3))
		dst[15] ^= (uint8_t)(1 + world_rnd(seed, 255));
	if (chance(seed, 1))
		memcpy(src, w->vip[1 + (vip + 1) % 8].addr, 16);
	vary(d, seed);
	d->spec.src = text_of(src, d->src);
	d->spec.dst = text_of(dst, d->dst);
	d->spec.l4_proto = t.l4_proto;
	d->spec.sport = (uint16_t)(40000 + world_rnd(seed, 4));
	d->spec.dport = t.port;
	if (strchr(d->src, ':') && !strchr(d->dst, ':'))
		set_addr(src, "198.51.100.9"), d->spec.src = text_of(src, d->src);
	if (!strchr(d->src, ':') && strchr(d->dst, ':'))
		set_addr(src, "2001:db8:c::9"), d->spec.src = text_of(src, d->src);
	return t.svc;
}

/* From a VIP to a client, as a worker sends it to the edge. */
static void turn(struct draft *d)
{
	char text[INET6_ADDRSTRLEN];
	uint16_t port = d->spec.sport;

	memcpy(text, d->src, sizeof(text));
	memcpy(d->src, d->dst, sizeof(text));
	memcpy(d->dst, text, sizeof(text));
	d->spec.sport = d->spec.dport;
	d->spec.dport = port;
}

/* An error (or another message) from src to dst that quotes q. */
static void draft_quote(struct draft *d, struct draft *q, const char *src, const char *dst,
			uint64_t *seed)
{
	static const uint8_t types4[] = {3, 3, 11, 12, 8, 0}, types6[] = {1, 2, 3, 4, 128, 135};
	static uint8_t frame[PKT_MAX]; /* one thread */
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
	bool is_v4 = !strchr(src, ':');
	uint32_t cut = chance(seed, 20) ? world_rnd(seed, 40) : 0;
	size_t len;

	snprintf(from, sizeof(from), "%s", src);
	snprintf(to, sizeof(to), "%s", dst);
	q->spec.outer_src = NULL;
	q->spec.data = NULL;
	q->spec.is_vlan = false;
	q->spec.is_later_frag = chance(seed, 5);
	q->spec.payload = (uint16_t)world_rnd(seed, 60);
	len = pkt_build(&q->spec, frame) - 14;
	memset(d, 0, sizeof(*d));
	vary(d, seed);
	memcpy(d->src, from, sizeof(d->src));
	memcpy(d->dst, to, sizeof(d->dst));
	d->spec.src = d->src;
	d->spec.dst = d->dst;
	d->spec.is_vlan = false;
	d->spec.is_first_frag &= chance(seed, 30);
	d->spec.is_later_frag &= chance(seed, 30);
	d->spec.l4_proto = is_v4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
	d->data[0] = (is_v4 ? types4 : types6)[world_rnd(seed, 6)];
	d->data[1] = (uint8_t)(chance(seed, 80) ? 0 : world_rnd(seed, 16));
	d->data[2] = (uint8_t)world_rnd(seed, 256);
	memcpy(d->data + 8, frame + 14, len);
	d->spec.data = d->data;
	d->spec.payload = (uint16_t)(8 + len - (cut < len ? cut : len));
}

/* An error about something that the VIP may have sent, or (is_from_vip) that the client did. */
static void draft_icmp(struct draft *d, const struct model_world *w, bool is_from_vip,
		       uint64_t *seed)
{
	const struct model_flow *f;
	static struct draft q; /* one thread */

	(void)draft_in(&q, w, seed);
	if (w->flow_count && chance(seed, 70)) {
		f = &w->flow[world_rnd(seed, w->flow_count)];
		q.spec.src = text_of(f->client, q.src);
		q.spec.dst = text_of(f->vip, q.dst);
		q.spec.sport = f->cport;
		q.spec.dport = f->vport;
		q.spec.l4_proto = f->l4_proto;
	}
	if (is_from_vip) {
		draft_quote(d, &q, q.dst, q.src, seed);
		return;
	}
	if (!chance(seed, 5))
		turn(&q); /* else it is about somebody else's packet */
	draft_quote(d, &q, chance(seed, 5) ? q.src : q.dst, q.src, seed);
}

static void draft_tunnel(struct draft *d, const struct model_world *w, uint64_t *seed)
{
	const struct dp_node *n = &w->node[1 + world_rnd(seed, 8)];
	uint32_t be = 1 + world_rnd(seed, WORLD_BACKENDS), flags = 0, token;
	uint32_t svc = draft_in(d, w, seed), kind = world_rnd(seed, 100);
	bool is_v4;

	for (int i = 0; i < 4 && !n->addr[15]; i++)
		n = &w->node[1 + world_rnd(seed, 8)];

	d->spec.padding = chance(seed, 5) ? d->spec.padding : 0;
	if (kind < 27) {
		turn(d);
		flags = DP_GRE_F_REPLY;
	} else if (kind < 32) {
		draft_icmp(d, w, true, seed);
		flags = DP_GRE_F_REPLY;
	} else if (kind < 40) {
		draft_icmp(d, w, false, seed);
	}
	/* Mostly a backend that serves what is asked for. */
	for (uint32_t i = 0; i < 100 && !(w->local[be].live && w->local[be].svc_idx == svc); i++)
		be = 1 + world_rnd(seed, WORLD_BACKENDS);
	token = DP_BE_TOKEN(w->backend[be]);
	if (chance(seed, 3))
		flags = world_rnd(seed, 64);
	is_v4 = model_is_mapped4(n->addr) || !n->addr[0];
	text_of(n->addr, d->outer_src);
	if (!n->addr[0] && !is_v4)
		snprintf(d->outer_src, sizeof(d->outer_src), "10.99.0.77");
	if (is_v4 && strchr(d->outer_src, ':'))
		snprintf(d->outer_src, sizeof(d->outer_src), "10.99.0.77");
	snprintf(d->outer_dst, sizeof(d->outer_dst), "%s", is_v4 ? "10.99.0.1" : "fd99::1");
	d->spec.outer_src = d->outer_src;
	d->spec.outer_dst = d->outer_dst;
	d->spec.gre_key = DP_GRE_KEY(flags, token);
	d->spec.is_vlan = false;
	if (chance(seed, 2))
		d->spec.gre_flags = (uint16_t)(world_rnd(seed, 16) << 12);
	if (chance(seed, 2))
		d->spec.gre_proto = (uint16_t)world_rnd(seed, 65536);
	d->spec.is_outer_frag = chance(seed, 1);
}

/* What the application of a flow that there is answers. */
static void draft_reply(struct draft *d, const struct model_world *w, bool is_bridge,
			uint64_t *seed)
{
	const struct model_flow *f;
	const struct dp_local *l;
	struct draft q;

	(void)draft_in(d, w, seed);
	d->spec.is_vlan = false;
	turn(d);
	if (!w->flow_count || chance(seed, 5))
		return;
	f = &w->flow[world_rnd(seed, w->flow_count)];
	for (int i = 0; i < 8 && !!w->local[f->slot].ifindex != is_bridge; i++)
		f = &w->flow[world_rnd(seed, w->flow_count)];
	l = &w->local[f->slot];
	d->spec.src = text_of(l->addr, d->src);
	d->spec.dst = text_of(f->client, d->dst);
	d->spec.sport = f->bport;
	d->spec.dport = f->app_cport;
	d->spec.l4_proto = f->l4_proto;
	if (!chance(seed, 12))
		return;
	q = *d; /* an error about what the client sent instead */
	q.spec.src = q.src;
	q.spec.dst = q.dst;
	turn(&q);
	draft_quote(d, &q,
		    chance(seed, 70)		? q.dst
		    : model_is_mapped4(l->addr) ? "10.0.0.1"
						: "2001:db8:1::1",
		    q.src, seed);
}

/* One node asks another whether its data path lives. */
static void draft_ping(struct draft *d, uint64_t *seed)
{
	bool is_v4 = chance(seed, 50);

	memset(d, 0, sizeof(*d));
	d->spec = (struct pkt_spec){.src = is_v4 ? "10.99.0.2" : "fd99::2",
				    .dst = is_v4 ? "10.99.0.1" : "fd99::1",
				    .l4_proto = IPPROTO_UDP,
				    .sport = (uint16_t)world_rnd(seed, 65536),
				    .dport = DP_PING_PORT,
				    .payload =
					    (uint16_t)(chance(seed, 80) ? 16 : world_rnd(seed, 20)),
				    .ping_kind = (uint8_t)world_rnd(seed, 3)};
}

/* One node tells another that it has a connection: mostly one that comes by here, too. */
static void draft_pointer(struct draft *d, const struct model_world *w, uint64_t *seed)
{
	struct dp_pointer_msg *m = (void *)d->data;
	const struct dp_node *n = &w->node[2 + world_rnd(seed, 7)];
	bool is_v4 = model_is_mapped4(n->addr) || !n->addr[0];
	struct draft of;

	(void)draft_in(&of, w, seed);
	memset(d, 0, sizeof(*d));
	m->magic_be = htonl(DP_POINTER_MAGIC_BE);
	m->key.cport_be = htons(of.spec.sport);
	m->key.vport_be = htons(of.spec.dport);
	m->key.l4_proto = chance(seed, 90) ? IPPROTO_TCP : of.spec.l4_proto;
	if (strchr(of.spec.src, ':')) {
		inet_pton(AF_INET6, of.spec.src, m->key.client);
		inet_pton(AF_INET6, of.spec.dst, m->key.vip);
	} else {
		m->key.client[10] = m->key.client[11] = m->key.vip[10] = m->key.vip[11] = 0xff;
		inet_pton(AF_INET, of.spec.src, m->key.client + 12);
		inet_pton(AF_INET, of.spec.dst, m->key.vip + 12);
	}
	text_of(n->addr, d->src);
	d->spec = (struct pkt_spec){
		.src = n->addr[15] ? d->src : "10.99.0.77",
		.dst = is_v4 ? "10.99.0.1" : "fd99::1",
		.l4_proto = IPPROTO_UDP,
		.sport = (uint16_t)world_rnd(seed, 65536),
		.dport = DP_PING_PORT,
		.payload = (uint16_t)(chance(seed, 90) ? sizeof(*m) : world_rnd(seed, 60)),
		.data = d->data};
}

static size_t mutate(uint8_t *frame, size_t len, uint64_t *seed)
{
	uint32_t times = chance(seed, 70) ? 0 : 1 + world_rnd(seed, 3);

	while (times--) {
		uint32_t span = (uint32_t)(len < 130 ? len : 130), at = world_rnd(seed, span);

		switch (world_rnd(seed, 6)) {
		case 0:
			frame[at] = (uint8_t)world_rnd(seed, 256);
			break;
		case 1:
			frame[at] ^= (uint8_t)(1u << world_rnd(seed, 8));
			break;
		case 2: /* the network header, where every bit counts */
			frame[14 + world_rnd(seed, 10)] ^= (uint8_t)(1u << world_rnd(seed, 8));
			break;
		case 3:
			len -= world_rnd(seed, (uint32_t)(len > 80 ? len - 74 : 1));
			break;
		case 4: /* a length: a little more or less */
			at = 16 + world_rnd(seed, 4);
			frame[at] = (uint8_t)(frame[at] + world_rnd(seed, 9) - 4);
			break;
		default: /* an extension header's name */
			frame[world_rnd(seed, 2) ? 20 : at] =
				(uint8_t[]){0, 43, 44, 51, 60, 6, 17, 58, 1}[world_rnd(seed, 9)];
		}
	}
	return len;
}

size_t world_frame(const struct model_world *w, enum model_hook hook, uint64_t *seed,
		   uint8_t frame[MODEL_FRAME_MAX])
{
	static struct draft d; /* one thread */
	size_t len;

	_Static_assert(PKT_MAX <= MODEL_FRAME_MAX, "frames fit");
	if (hook == MODEL_MESH_IN && chance(seed, 3))
		draft_ping(&d, seed);
	else if (hook == MODEL_MESH_IN && chance(seed, 6))
		draft_pointer(&d, w, seed);
	else if (hook == MODEL_MESH_IN)
		draft_tunnel(&d, w, seed);
	else if (hook == MODEL_UP_OUT || hook == MODEL_BR_IN || hook == MODEL_MESH_OUT)
		draft_reply(&d, w, hook == MODEL_BR_IN, seed);
	else if (chance(seed, 8))
		draft_icmp(&d, w, false, seed);
	else
		(void)draft_in(&d, w, seed);
	len = pkt_build(&d.spec, frame);
	return mutate(frame, len, seed);
}
