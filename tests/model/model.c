/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/model/model.c - the edge: lists, service, row, owner, tunnel. */
#include "tests/model/model.h"

#include <arpa/inet.h>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <string.h>

#include "bpf/dp_hash.h"

#define ETH 14u

/* ---- Endings ---- */

void model_end(struct model_step *s, uint32_t reason, int action)
{
	s->a->reason = reason;
	s->a->action = action;
}

void model_drop(struct model_step *s, uint32_t reason)
{
	model_end(s, reason, s->hook == MODEL_XDP ? XDP_DROP : TC_ACT_SHOT);
}

static void pass(struct model_step *s)
{
	s->a->verdict = DP_VERDICT_PASS;
	s->a->verdict_row = 0;
	s->a->svc_idx = 0;
	if (s->hook == MODEL_XDP)
		model_end(s, DP_R_XDP_PASS, XDP_PASS);
	else
		model_end(s, DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
}

/* ---- Choosing ---- */

const struct dp_vip *model_vip(const struct model_world *w, const uint8_t *addr)
{
	for (uint32_t i = 1; i <= w->vip_count; i++)
		if (!memcmp(w->vip[i].addr, addr, 16))
			return &w->vip[i];
	return NULL;
}

uint32_t model_svc_on(const struct model_world *w, const struct dp_vip *vip, uint8_t l4_proto,
		      uint32_t port)
{
	uint32_t dir = l4_proto == IPPROTO_TCP	 ? vip->dir_tcp
		       : l4_proto == IPPROTO_UDP ? vip->dir_udp
						 : 0;
	uint32_t page = dir ? w->portdir[dir * 256 + port / 256] : 0;

	return page ? w->portpage[page * 256 + port % 256] : 0;
}

static bool backend_is_usable(const struct model_world *w, uint32_t backend_idx)
{
	uint64_t word;
	uint32_t node;

	if (!backend_idx || backend_idx >= MODEL_BACKENDS)
		return false;
	word = w->backend[backend_idx];
	node = DP_BE_NODE(word);
	return DP_BE_STATE(word) == DP_BE_UP && node && node < MODEL_NODES &&
	       w->node[node].state == DP_NODE_UP;
}

static bool backend_is_suspect(const struct model_world *w, uint32_t backend_idx)
{
	uint64_t word = backend_idx < MODEL_BACKENDS ? w->backend[backend_idx] : 0;
	uint32_t node = DP_BE_NODE(word);

	return backend_idx && DP_BE_STATE(word) == DP_BE_UP && node && node < MODEL_NODES &&
	       w->node[node].state == DP_NODE_SUSPECT;
}

/* The flow's row, or the first of four others whose owner can serve. */
uint32_t model_choose(const struct model_world *w, const struct model_pkt *p,
		      struct model_choice *c)
{
	const struct dp_svc *svc = &w->svc[c->svc_idx];
	uint32_t rows = dp_class_rows(DP_TABLE_CLASS(svc->table)), hash, first;
	uint8_t src[16] __attribute__((aligned(8))), dst[16] __attribute__((aligned(8)));

	if (!(svc->table & DP_TABLE_VALID) || !rows)
		return DP_R_NO_BACKEND;
	memcpy(src, p->src, 16);
	memcpy(dst, p->dst, 16);
	hash = (uint32_t)dp_flow_hash(w->self.seed, svc->hash, p->family, src, dst, htons(p->sport),
				      htons(p->dport), p->l4_proto);
	first = dp_row_pick(hash, rows);
	for (uint32_t try = 0, suspect = 0; try <= DP_SUBST_TRIES; try++) {
		c->row = DP_TABLE_OFFSET(svc->table) +
			 (try ? dp_row_subst(first, try, rows) : first);
		c->backend_idx = w->row[c->row].owner;
		c->prev_idx = w->row[c->row].prev;
		if (backend_is_usable(w, c->backend_idx)) {
			if (suspect)
				c->prev_idx = suspect;
			return 0;
		}
		if (!try && backend_is_suspect(w, c->backend_idx))
			suspect = c->backend_idx; /* its flows are still there */
	}
	return DP_R_NO_BACKEND;
}

static bool prefix_has(const struct dp_filter_key *key, uint32_t svc_id, const uint8_t *addr)
{
	uint32_t bits = key->prefix_bits - 32;

	if (key->svc_id != svc_id)
		return false;
	for (uint32_t i = 0; i < bits; i++)
		if ((key->addr[i / 8] ^ addr[i / 8]) & (0x80 >> i % 8))
			return false;
	return true;
}

static uint32_t listed(const struct model_world *w, uint32_t svc_id, const uint8_t *addr)
{
	uint32_t best = 0, verb = 0;

	for (uint32_t i = 0; i < w->filter_count; i++)
		if (prefix_has(&w->filter[i].key, svc_id, addr) &&
		    w->filter[i].key.prefix_bits >= best) {
			best = w->filter[i].key.prefix_bits;
			verb = w->filter[i].verb;
		}
	return verb;
}

static bool is_denied(const struct model_world *w, const struct dp_svc *svc, const uint8_t *src)
{
	uint32_t own = 0;

	if ((w->ctl.flags & DP_CTL_FILTER) && listed(w, 0, src) == DP_FILTER_DENY)
		return true;
	if (!(svc->flags & DP_SVC_GATE))
		return false;
	if (svc->flags & DP_SVC_FILTER)
		own = listed(w, svc->svc_id, src);
	return svc->flags & DP_SVC_CLOSED ? own != DP_FILTER_ALLOW : own == DP_FILTER_DENY;
}

/* ---- Fragments ---- */

static struct dp_frag_key frag_key(const struct model_pkt *p, uint32_t where)
{
	struct dp_frag_key key = {.id = p->frag_id, .where = (uint8_t)where};

	memcpy(key.src, p->src, 16);
	memcpy(key.dst, p->dst, 16);
	key.l4_proto = p->family == 4 ? p->l4_proto : 0;
	return key;
}

static struct model_frag *frag_find(struct model_world *w, const struct dp_frag_key *key)
{
	for (uint32_t i = 0; i < w->frag_count; i++)
		if (!memcmp(&w->frag[i].key, key, sizeof(*key)))
			return &w->frag[i];
	return NULL;
}

static size_t frag_bytes(const struct model_pkt *p)
{
	return p->l3_bytes > p->frag_head ? p->l3_bytes - p->frag_head : 0;
}

struct model_frag *model_frag_put(struct model_step *s, uint32_t where)
{
	struct dp_frag_key key = frag_key(&s->p, where);
	struct model_frag *f = frag_find(s->w, &key);

	if (!f && s->w->frag_count < MODEL_FRAGS)
		f = &s->w->frag[s->w->frag_count++];
	if (!f)
		f = &s->w->frag[0];
	memset(f, 0, sizeof(*f));
	f->key = key;
	f->first_bytes = (uint32_t)frag_bytes(&s->p);
	return f;
}

uint32_t model_frag_follow(struct model_step *s, uint32_t where, struct model_frag **ret_frag)
{
	struct dp_frag_key key = frag_key(&s->p, where);
	struct model_frag *f = frag_find(s->w, &key);
	size_t bytes = frag_bytes(&s->p);

	if (!f)
		return DP_R_FRAG_NO_FIRST;
	if (!bytes || s->p.frag_at < f->first_bytes || s->p.frag_at + bytes > 65535)
		return DP_R_BAD_PACKET;
	if (f->count++ >= 64)
		return DP_R_FRAG_TOO_MANY;
	*ret_frag = f;
	if (s->p.family == 6)
		s->p.l4_proto = 0;
	return 0;
}

/* ---- ICMP at the edge ---- */

static bool is_answerable(const struct model_pkt *p)
{
	static const uint8_t nobody[16];

	if (p->family == 4)
		return p->src[12] && p->src[12] != 127 && p->src[12] < 224;
	return p->src[0] != 0xff && memcmp(p->src, nobody, 16);
}

static void replace_sum(struct model_answer *a, size_t at, uint32_t from, uint32_t to)
{
	uint32_t sum = (uint16_t)~model_get16(a->frame + at) + (uint16_t)~from + to;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	model_put16(a->frame + at, (uint16_t)~sum);
	a->sum_at[a->sums++] = at;
}

static void echo(struct model_step *s)
{
	uint8_t *f = s->a->frame, *ip = f + ETH, addr[16];
	bool is_v4 = s->p.family == 4;
	uint32_t old;

	if (s->p.l4 - s->p.l3 != (is_v4 ? 20u : 40u) || !is_answerable(&s->p) || (f[0] & 1)) {
		model_drop(s, DP_R_ICMP_UNKNOWN);
		return;
	}
	memcpy(addr, f, 6);
	memcpy(f, f + 6, 6);
	memcpy(f + 6, addr, 6);
	if (is_v4) {
		memcpy(addr, ip + 12, 4);
		memcpy(ip + 12, ip + 16, 4);
		memcpy(ip + 16, addr, 4);
		old = model_get16(ip + 8);
		ip[8] = 64;
		replace_sum(s->a, ETH + 10, old, model_get16(ip + 8));
	} else {
		memcpy(addr, ip + 8, 16);
		memcpy(ip + 8, ip + 24, 16);
		memcpy(ip + 24, addr, 16);
		ip[7] = 64;
	}
	old = model_get16(f + s->p.l4);
	f[s->p.l4] = is_v4 ? 0 : 129;
	replace_sum(s->a, s->p.l4 + 2, old, model_get16(f + s->p.l4));
	model_end(s, DP_R_ECHO_ANSWERED, s->hook == MODEL_XDP ? XDP_TX : TC_ACT_REDIRECT);
}

/* True: the owner of *c gets it; false: it has ended. */
static bool icmp(struct model_step *s, struct model_choice *c)
{
	const struct dp_vip *vip;
	struct model_pkt q;
	uint32_t reason;

	if (s->p.icmp_type == (s->p.family == 4 ? 8 : 128) && !s->p.icmp_code) {
		echo(s);
		return false;
	}
	if (s->p.family == 6 && (s->p.icmp_type == 135 || s->p.icmp_type == 136)) {
		pass(s);
		return false;
	}
	if (!model_quoted(s, true, &q) || memcmp(q.dst, s->p.dst, 16)) {
		model_drop(s, DP_R_ICMP_UNKNOWN);
		return false;
	}
	vip = model_vip(s->w, q.dst);
	c->svc_idx = vip ? model_svc_on(s->w, vip, q.l4_proto, q.dport) : 0;
	if (!c->svc_idx) {
		model_drop(s, DP_R_ICMP_UNKNOWN);
		return false;
	}
	reason = model_choose(s->w, &q, c);
	if (reason)
		model_drop(s, reason);
	return !reason;
}

/* ---- The edge ---- */

static bool later_fragment(struct model_step *s, struct model_choice *c)
{
	struct model_frag *f;
	uint32_t reason;

	if (s->p.frag == MODEL_FIRST)
		reason = DP_R_FRAGMENT; /* neither TCP nor UDP */
	else
		reason = model_frag_follow(s, DP_FRAG_EDGE_IN, &f);
	if (!reason) {
		c->svc_idx = f->svc_idx;
		c->backend_idx = f->backend_idx;
		if (!backend_is_usable(s->w, c->backend_idx))
			reason = DP_R_NO_BACKEND;
		else if (is_denied(s->w, &s->w->svc[c->svc_idx], s->p.src))
			reason = DP_R_DENIED;
	}
	if (reason)
		model_drop(s, reason);
	return !reason;
}

/* True: *c says who gets it; false: it has ended. */
static bool edge(struct model_step *s, uint32_t parse_reason, struct model_choice *c)
{
	const struct model_pkt *p = &s->p;
	const struct dp_vip *vip = p->has_addrs ? model_vip(s->w, p->dst) : NULL;
	struct model_frag *f;
	uint32_t reason = parse_reason;

	if (!vip) {
		pass(s);
		return false;
	}
	if (!reason && !s->w->self.ready)
		reason = DP_R_NOT_READY;
	if (reason) {
		model_drop(s, reason);
		return false;
	}
	if (p->frag == MODEL_LATER || (p->frag && !model_is_tcp_udp(p)))
		return later_fragment(s, c);
	if (model_is_icmp(p))
		return icmp(s, c);
	if (!model_is_tcp_udp(p)) {
		model_drop(s, DP_R_PROTO_UNSUPPORTED);
		return false;
	}
	c->svc_idx = model_svc_on(s->w, vip, p->l4_proto, p->dport);
	if (!c->svc_idx && (vip->flags & DP_VIP_REJECT)) {
		s->a->is_unknown = true;
		return false;
	}
	if (!c->svc_idx)
		reason = DP_R_NO_SERVICE;
	else if (is_denied(s->w, &s->w->svc[c->svc_idx], p->src))
		reason = DP_R_DENIED;
	else
		reason = model_choose(s->w, p, c);
	if (reason) {
		model_drop(s, reason);
		return false;
	}
	if (p->frag == MODEL_FIRST) {
		f = model_frag_put(s, DP_FRAG_EDGE_IN);
		f->backend_idx = c->backend_idx;
		f->svc_idx = c->svc_idx;
	}
	return true;
}

static uint16_t ip4_sum(const uint8_t *ip)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < 20; i += 2)
		sum += model_get16(ip + i);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void model_encap(struct model_step *s, uint32_t node_idx, uint32_t key, uint32_t seq, bool is_told,
		 uint32_t reason)
{
	const struct dp_node *node = &s->w->node[node_idx];
	static const uint8_t none[16];
	bool is_v4 = model_is_mapped4(node->addr);
	size_t outer = is_v4 ? 20 : 40, gre_bytes = seq ? 12 : 8, more = outer + gre_bytes;
	size_t inner = s->a->len - ETH;
	uint8_t *f = s->a->frame, *gre = f + ETH + outer;

	if (!memcmp(node->addr, none, 16)) {
		model_drop(s, DP_R_NODE_NO_ADDR);
		return;
	}
	if (s->p.l3_bytes + more > s->w->host.mesh_mtu) {
		/* Over Ethernet nothing is carried that doesn't fit. */
		s->a->is_unknown = seq || (is_told && is_answerable(&s->p) && !(f[0] & 1));
		model_drop(s, DP_R_TOO_BIG);
		return;
	}
	memmove(f + ETH + more, f + ETH, inner);
	memset(f + ETH, 0, more);
	s->a->len += more;
	s->a->same_from = ETH; /* the link header is the kernel's */
	model_put16(gre, seq ? 0x3000 : 0x2000);
	model_put16(gre + 2, s->p.family == 4 ? 0x0800 : 0x86dd);
	model_put16(gre + 4, key >> 16);
	model_put16(gre + 6, key & 0xffff);
	if (seq) {
		model_put16(gre + 8, seq >> 16);
		model_put16(gre + 10, seq & 0xffff);
	}
	f += ETH;
	if (is_v4) {
		f[0] = 0x45;
		model_put16(f + 2, (uint32_t)(inner + more));
		f[6] = 0x40;
		f[8] = 64;
		f[9] = 47;
		memcpy(f + 12, s->w->host.mesh_addr4 + 12, 4);
		memcpy(f + 16, node->addr + 12, 4);
		model_put16(f + 10, ip4_sum(f));
	} else {
		f[0] = 0x60;
		model_put16(f + 4, (uint32_t)(inner + gre_bytes));
		f[6] = 47;
		f[7] = 64;
		memcpy(f + 8, s->w->host.mesh_addr6, 16);
		memcpy(f + 24, node->addr, 16);
	}
	for (size_t i = 0; i < s->a->sums; i++)
		s->a->sum_at[i] += more;
	s->a->mark = s->w->host.gre_mark;
	model_end(s, reason, TC_ACT_REDIRECT);
}

static void xdp(struct model_step *s, uint32_t parse_reason)
{
	struct model_choice c = {};

	if (!edge(s, parse_reason, &c))
		return;
	s->a->svc_idx = c.svc_idx;
	s->a->verdict = s->p.frag == MODEL_LATER ? DP_VERDICT_BACKEND : DP_VERDICT_FORWARD;
	s->a->verdict_row = s->p.frag == MODEL_LATER ? c.backend_idx : c.row;
	model_end(s, s->p.frag == MODEL_LATER ? DP_R_FRAG_FOLLOWED : DP_R_FORWARD_CHOSEN, XDP_PASS);
}

/* Where a flow of this service may be, if its node is suspect: a connection always, else where the service says so. */
bool model_may_be_at(const struct model_world *w, uint32_t node, uint8_t l4_proto, uint32_t svc_idx)
{
	if (w->node[node].state == DP_NODE_SUSPECT)
		return l4_proto == IPPROTO_TCP || (w->svc[svc_idx].flags & DP_SVC_UDP_STAY);
	return w->node[node].state == DP_NODE_UP;
}

/* The number of the node where the row was before, if flows may still be there: not of a dead backend, nor of one on the
 * owner's own node. */
static uint32_t seq_of(const struct model_world *w, const struct model_choice *c, uint8_t l4_proto)
{
	uint64_t word = c->prev_idx < MODEL_BACKENDS ? w->backend[c->prev_idx] : 0;
	uint32_t node = DP_BE_NODE(word);

	if (!c->prev_idx || DP_BE_STATE(word) != DP_BE_UP || !node || node >= MODEL_NODES ||
	    node == DP_BE_NODE(w->backend[c->backend_idx]) ||
	    !model_may_be_at(w, node, l4_proto, c->svc_idx))
		return 0;
	return w->node[node].node_num;
}

static void pub_in(struct model_step *s, uint32_t parse_reason)
{
	struct model_choice c = {};
	uint64_t word;
	uint32_t node;
	bool is_told;

	if (!edge(s, parse_reason, &c))
		return;
	word = s->w->backend[c.backend_idx];
	node = DP_BE_NODE(word);
	if (s->w->node[node].flags & DP_NODE_SELF) {
		s->a->is_unknown = seq_of(s->w, &c, s->p.l4_proto);
		if (!s->a->is_unknown)
			model_deliver(s, DP_BE_TOKEN(word), s->w->self.node_idx, 0, 0);
		return;
	}
	/* Padding of the link is no part of the packet. */
	if (s->p.l3 + s->p.l3_bytes < s->a->len)
		s->a->len = s->p.l3 + s->p.l3_bytes;
	/* Nobody is told by an error about an error, or that IPv6's minimum is too much. */
	is_told = s->p.is_df && !s->p.frag && !model_is_icmp(&s->p) &&
		  (s->p.family == 4 || s->p.l3_bytes > 1280);
	model_encap(s, node, DP_GRE_KEY(0, DP_BE_TOKEN(word)), seq_of(s->w, &c, s->p.l4_proto),
		    is_told, s->p.frag == MODEL_LATER ? DP_R_FRAG_FOLLOWED : DP_R_FORWARDED);
}

void model_run(struct model_world *w, enum model_hook hook, const uint8_t *frame, size_t len,
	       uint32_t mark, struct model_answer *ret_answer)
{
	struct model_step s = {.w = w, .a = ret_answer, .hook = hook};
	uint32_t proto = model_get16(frame + 12), reason;

	memset(ret_answer, 0, sizeof(*ret_answer));
	memcpy(ret_answer->frame, frame, len);
	ret_answer->len = len;
	ret_answer->mark = mark;
	if (hook == MODEL_MESH_OUT && mark == w->host.gre_mark) {
		model_end(&s, DP_R_MESH_OUT_MARKED, TC_ACT_UNSPEC);
		return;
	}
	reason = DP_R_BAD_PACKET;
	if (proto == 0x0800 || proto == 0x86dd) {
		reason = model_parse(frame, len, ETH, proto == 0x86dd, &s.p);
		if (!reason && !model_is_whole(&s.p, len))
			reason = DP_R_BAD_PACKET;
	}
	if (hook == MODEL_XDP) {
		xdp(&s, reason);
	} else if (hook == MODEL_PUB_IN) {
		pub_in(&s, reason);
	} else if (reason) {
		model_end(&s,
			  hook == MODEL_MESH_IN || hook == MODEL_MESH_OUT ? DP_R_MESH_PASS
									  : DP_R_PASS_NOT_OURS,
			  TC_ACT_UNSPEC);
	} else if (hook == MODEL_MESH_IN) {
		model_mesh_in(&s);
	} else {
		model_reply(&s, mark);
	}
}
