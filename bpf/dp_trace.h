/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_trace.h - asks the live maps what would become of a packet, with the functions that decide for real packets.
 *
 * Never attached: edgefwd runs it by BPF_PROG_TEST_RUN. It changes no counter, no flow and no limit's bucket; what it
 * finds goes to dp_trace_out. It runs in process context, so it keeps off dp_work, which packets of its CPU may write
 * meanwhile. (A look into an LRU table marks the entry as used: that much it does change.)
 */
#ifndef DP_TRACE_H
#define DP_TRACE_H

#include "bpf/dp_encap.h"
#include "bpf/dp_gate.h"
#include "bpf/dp_quic.h"

/* 0 -> findings. Writer dp_trace; reader edgefwd, right after the run. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dp_trace);
} dp_trace_out SEC(".maps");

/* Who gets it, now that this is known. */
static __always_inline void dp_trace_chosen(struct dp_trace *t, const struct dp_choice *c)
{
	struct dp_node *node = dp_node_get(DP_BE_NODE(c->backend_word));

	t->steps |= DP_TRACE_OWNER;
	t->backend_word = c->backend_word;
	t->backend_idx = c->backend_idx;
	t->prev_idx = c->prev_idx;
	t->node_idx = DP_BE_NODE(c->backend_word);
	if (!node)
		return;
	dp_addr_copy(t->node_addr, node->addr);
	t->node_flags = node->flags;
}

/* One row: what stands in it and why it can or can't serve. 1 if it can. */
static __always_inline int dp_trace_row(struct dp_trace *t, __u32 i, __u32 row)
{
	struct dp_choice c = {};
	struct dp_trace_try *at;
	struct dp_node *node;
	int is_usable;

	if (i >= DP_TRACE_TRIES)
		return 0;
	is_usable = dp_row_usable(row, &c);
	at = &t->try[i];
	at->row = row;
	at->owner = c.backend_idx;
	at->be_state = (__u8)DP_BE_STATE(c.backend_word);
	at->node_idx = DP_BE_NODE(c.backend_word);
	node = dp_node_get(at->node_idx);
	at->node_state = node ? (__u8)node->state : DP_NODE_DOWN;
	t->try_count = i + 1;
	if (!is_usable)
		return 0;
	dp_trace_chosen(t, &c);
	return 1;
}

/* How it leaves this machine as an edge. */
static __always_inline __u32 dp_trace_way(struct dp_trace *t)
{
	struct dp_host *host = dp_host_get();
	__u32 node_idx = t->node_idx;
	struct dp_l2 *l2;

	if (t->node_flags & DP_NODE_SELF)
		return DP_R_LOCAL_DELIVERED;
	if (!host || dp_addr_is_zero(t->node_addr) || !dp_overhead(host, t->node_addr, 0))
		return DP_R_NODE_NO_ADDR;
	t->mesh_mtu = host->mesh_mtu;
	l2 = bpf_map_lookup_elem(&dp_l2, &node_idx);
	if ((host->flags & DP_HOST_FABRIC_OUT) && l2 && l2->ifindex &&
	    dp_addr_same(l2->addr, t->node_addr))
		return DP_R_FABRIC_OUT;
	return DP_R_FORWARDED;
}

/* dp_pick() and dp_pick_row(), step by step. */
static __always_inline __u32 dp_trace_table(struct dp_trace *t, const struct dp_pkt *p,
					    const struct dp_svc *svc, const struct dp_self *self)
{
	__u64 table = *(volatile __u64 *)&svc->table;
	__u32 rows = dp_class_rows(DP_TABLE_CLASS(table)), first;

	if (svc->hash == DP_HASH_PACKET)
		t->hash = bpf_get_prandom_u32();
	else
		t->hash = (__u32)dp_flow_hash(self->seed, svc->hash, p->family, p->src, p->dst,
					      p->sport_be, p->dport_be, p->l4_proto);
	if (!(table & DP_TABLE_VALID) || !rows)
		return DP_R_NO_BACKEND;
	t->steps |= DP_TRACE_TABLE;
	t->rows = rows;
	first = dp_row_pick(t->hash, rows);
	for (__u32 try = 0; try < DP_TRACE_TRIES; try++) {
		__u32 row = try ? dp_row_subst(first, try, rows) : first;

		if (dp_trace_row(t, try, DP_TABLE_OFFSET(table) + row)) {
			return dp_trace_way(t);
		}
	}
	return DP_R_NO_BACKEND;
}

/* What the gate would say now, and what the lists have about the source. */
static __always_inline __u32 dp_trace_gate(struct dp_trace *t, const struct dp_pkt *p,
					   const struct dp_svc *svc, const struct dp_ctl *ctl)
{
	int reason = dp_gate_ask(p, t->svc_idx, svc);

	t->steps |= DP_TRACE_GATE;
	if (ctl->flags & DP_CTL_FILTER)
		t->filter_all = dp_filter_ask(p, 0);
	if (svc->flags & DP_SVC_FILTER)
		t->filter_own = dp_filter_ask(p, svc->svc_id);
	t->gate_reason = reason == DP_GO ? DP_TRACE_PASSES : (__u32)reason;
	return t->gate_reason;
}

/* dp_quic_xdp() for the short header that a trace brings, without remembering what it found. 1: that backend gets it. */
static __always_inline int dp_trace_quic(struct xdp_md *ctx, struct dp_trace *t,
					 const struct dp_pkt *p, const struct dp_svc *svc)
{
	struct dp_quic_key key = {.svc_id = svc->svc_id, .family = p->family};
	__u8 b[DP_QUIC_SHORT_BYTES] __attribute__((aligned(8)));
	struct dp_choice c = {};
	__u32 *idx;

	if (dp_quic_bytes(p) < DP_QUIC_SHORT_BYTES || p->l4_off > DP_OFF_MAX ||
	    bpf_xdp_load_bytes(ctx, p->l4_off + sizeof(struct udphdr), b, sizeof(b)) ||
	    (b[0] & DP_QUIC_LONG) || b[DP_QUIC_CID_SHORT_AT] >> 5 != DP_QUIC_CONFIG)
		return 0;
	key.server_id = dp_quic_word(b + DP_QUIC_CID_SHORT_AT + DP_QUIC_ID_AT);
	idx = bpf_map_lookup_elem(&dp_quic, &key);
	if (!idx)
		return 0;
	t->quic_idx = *idx;
	if (!dp_backend_usable(*idx, &c))
		return 0;
	t->steps |= DP_TRACE_BY_ID;
	dp_trace_chosen(t, &c);
	return 1;
}

/* How an edge ends it: the questions of dp_edge(), in its order. */
static __always_inline __u32 dp_trace_edge(struct xdp_md *ctx, struct dp_trace *t,
					   const struct dp_pkt *p, const struct dp_vip *vip,
					   const struct dp_self *self)
{
	struct dp_ctl *ctl = dp_ctl_get();
	struct dp_svc *svc;
	__u32 reason;

	t->svc_idx = dp_svc_on_port(vip, p->l4_proto, p->dport_be);
	svc = t->svc_idx ? dp_svc_get(t->svc_idx) : 0;
	if (!svc || !ctl)
		return vip->flags & DP_VIP_REJECT ? DP_R_REJECTED : DP_R_NO_SERVICE;
	t->steps |= DP_TRACE_SVC;
	t->svc_flags = svc->flags;
	t->svc_id = svc->svc_id;
	t->svc_hash = svc->hash;
	t->svc_pps = svc->pps;
	t->svc_source_pps = svc->source_pps;
	t->svc_syn_pps = svc->syn_pps;
	if ((svc->flags & DP_SVC_GATE) || (ctl->flags & DP_CTL_FILTER)) {
		reason = dp_trace_gate(t, p, svc, ctl);
		if (reason != DP_TRACE_PASSES)
			return reason;
	}
	if ((svc->flags & DP_SVC_QUIC) && dp_trace_quic(ctx, t, p, svc))
		return dp_trace_way(t);
	return dp_trace_table(t, p, svc, self);
}

/* What this node's flow tables know of it, and which backend here it would reach. */
static __always_inline void dp_trace_flows(struct dp_trace *t, const struct dp_pkt *p)
{
	struct dp_flow_fwd_key key __attribute__((aligned(8)));
	struct dp_flow_fwd *f;
	struct dp_local *l = 0;

	__builtin_memset(&key, 0, sizeof(key));
	dp_addr_copy(key.client, p->src);
	dp_addr_copy(key.vip, p->dst);
	key.cport_be = p->sport_be;
	key.vport_be = p->dport_be;
	key.l4_proto = p->l4_proto;
	t->steps |= DP_TRACE_FLOWS;
	f = bpf_map_lookup_elem(&dp_fwd, &key);
	t->flow = f ? DP_TRACE_FLOW_ASSURED : DP_TRACE_FLOW_NONE;
	if (!f) {
		f = bpf_map_lookup_elem(&dp_fwd_new, &key);
		t->flow = f ? DP_TRACE_FLOW_NEW : DP_TRACE_FLOW_NONE;
	}
	if (f) {
		t->flow_state = f->state;
		t->flow_slot = f->slot;
		t->flow_use = f->use_count;
		t->flow_edge_idx = f->edge_idx;
		t->flow_away_idx = f->away_idx;
		t->flow_idle_s = dp_now_s() - f->seen_s;
		t->flow_cport = bpf_ntohs(f->cport_be);
		if (!f->away_idx)
			l = dp_local_get(f->slot);
		if (l && l->use_count != f->use_count)
			l = 0;
	} else if (t->backend_idx && (t->node_flags & DP_NODE_SELF)) {
		l = dp_local_get(DP_TOKEN_SLOT(DP_BE_TOKEN(t->backend_word)));
		if (l && l->use_count != DP_TOKEN_USE(DP_BE_TOKEN(t->backend_word)))
			l = 0;
	}
	if (!l)
		return;
	t->steps |= DP_TRACE_LOCAL;
	dp_addr_copy(t->local_addr, l->addr);
	t->local_port = l->port;
	t->local_idx = l->backend_idx;
	t->local_ifindex = l->ifindex;
	t->local_live = l->live;
}

SEC("xdp")
int dp_trace(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct dp_self *self = dp_self_get();
	struct ethhdr *eth = data;
	struct dp_trace *t;
	struct dp_vip *vip;
	struct dp_pkt p;
	__u32 zero = 0;
	int rc;

	t = bpf_map_lookup_elem(&dp_trace_out, &zero);
	if (!t || !self || (void *)(eth + 1) > end)
		return XDP_ABORTED;
	__builtin_memset(t, 0, sizeof(*t));
	t->reason = DP_R_PASS_NOT_OURS;
	t->self_idx = self->node_idx;
	rc = dp_parse(data, end, sizeof(*eth), eth->h_proto, &p);
	if (rc) {
		t->reason = (__u32)rc;
		return XDP_DROP;
	}
	t->steps = DP_TRACE_PARSED;
	vip = dp_vip_find(p.dst);
	if (vip) {
		t->steps |= DP_TRACE_VIP;
		t->vip_flags = vip->flags;
		t->reason = DP_R_NOT_READY;
		if (self->ready) {
			t->steps |= DP_TRACE_READY;
			t->reason = dp_trace_edge(ctx, t, &p, vip, self);
		}
	} else if (self->ready) {
		t->steps |= DP_TRACE_READY;
	}
	if (dp_vip_find(p.src))
		t->steps |= DP_TRACE_FROM_VIP;
	dp_trace_flows(t, &p);
	return XDP_PASS;
}

#endif
