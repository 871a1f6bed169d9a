/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_second.h - a packet of a flow that may live elsewhere: one hop to where it lived before. The packet is in
 * dp_work.pkt, its tunnel in dp_work.tunnel and still on. docs/DATAPATH.md draws it.
 *
 * Marks     none: from an edge; the sequence word, if any, names the flow's previous owner
 *           SECOND: from a worker that has not got the flow; SECOND|FINAL: it came back, or goes no further. On both the
 *           sequence word names the edge by which the packet entered, and the token is the first worker's own
 *           ASK with either: to the keeper of the flow's pointer, if it has one (dp_meet.h); TELL: what that one says;
 *           SECOND|FINAL|LAST: that it has none, or on to whom it named
 * No loop   whatever the tables say: without a mark at most one hop, which sets one; SECOND goes back, or on to where this
 *           worker knows the flow to be, both as FINAL. FINAL goes nowhere, but with ASK to the keeper where a previous owner
 *           passed it back; that comes back as TELL or LAST, TELL goes on as LAST, LAST nowhere. A packet crosses the mesh
 *           three times at most, six where keepers are asked
 * Budget    hops a second by service and node hopped to, over all CPUs; a flow known to be away needs none
 */
#ifndef DP_SECOND_H
#define DP_SECOND_H

#include "bpf/dp_meet.h"

#define DP_HOP_PPS 10000u /* where the service says nothing */
#define DP_SECOND_LAST (DP_GRE_F_SECOND | DP_GRE_F_FINAL | DP_GRE_F_LAST)
#define DP_HOP_WINDOWS 10u /* a second: a budget is spent by tenths of it */

/* May a flow of dp_work.choice.svc_idx be looked for there? A suspect node may be well, and a connection that is moved away
 * from it is lost for certain; a datagram that is lost there is asked again elsewhere. */
static __always_inline int dp_node_may_have(const struct dp_work *w, const struct dp_node *node)
{
	__u32 state = *(const volatile __u32 *)&node->state;
	struct dp_svc *svc;

	if (state != DP_NODE_SUSPECT)
		return state == DP_NODE_UP;
	if (w->pkt.l4_proto == IPPROTO_TCP)
		return 1;
	svc = dp_svc_get(w->choice.svc_idx);
	return svc && (svc->flags & DP_SVC_UDP_STAY);
}

/* Edge: the sequence word that goes with dp_work.choice, 0 = none. A previous owner that is dead has no flow to serve,
 * one on the owner's own node is found in the same table. */
static __always_inline __u32 dp_second_seq(const struct dp_work *w)
{
	const struct dp_choice *c = &w->choice;
	__u32 prev_idx = c->prev_idx;
	struct dp_node *node;
	__u64 *at, word;

	if (!prev_idx)
		return 0;
	at = bpf_map_lookup_elem(&dp_backend, &prev_idx);
	if (!at)
		return 0;
	word = *(volatile __u64 *)at;
	if (DP_BE_STATE(word) != DP_BE_UP || DP_BE_NODE(word) == DP_BE_NODE(c->backend_word))
		return 0;
	node = dp_node_get(DP_BE_NODE(word));
	return node && dp_node_may_have(w, node) ? node->node_num : 0;
}

/* Node index of a node number, 0 = not known. */
static __always_inline __u32 dp_num_find(__u32 num)
{
	struct dp_self *self = dp_self_get();
	__u32 *node_idx;

	if (!num)
		return 0;
	if (self && self->node_num == num)
		return self->node_idx;
	node_idx = bpf_map_lookup_elem(&dp_num, &num);
	return node_idx ? *node_idx : 0;
}

static __always_inline __u32 dp_second_marks(const struct dp_work *w)
{
	return DP_GRE_KEY_FLAGS(w->tunnel.key) & (DP_GRE_F_SECOND | DP_GRE_F_FINAL);
}

/* By a worker, as the keeper of a pointer? */
static __always_inline int dp_second_is_asked(const struct dp_work *w)
{
	return dp_second_marks(w) && (DP_GRE_KEY_FLAGS(w->tunnel.key) & DP_GRE_F_ASK);
}

/* The edge of a packet that another worker sent. 0; -1: it is unknown, so no reply would find its way; 1: the word names no
 * edge, but who has the flow. */
static __always_inline int dp_second_edge(struct dp_work *w)
{
	__u32 flags = DP_GRE_KEY_FLAGS(w->tunnel.key), edge_idx;

	if (!(flags & (DP_GRE_F_SECOND | DP_GRE_F_FINAL | DP_GRE_F_TELL)))
		return 0;
	if (flags & DP_GRE_F_TELL)
		return 1;
	edge_idx = dp_num_find(w->tunnel.seq);
	if (!edge_idx)
		return -1;
	w->tunnel.edge_idx = edge_idx;
	return 0;
}

/* Another node, or NULL. */
static __always_inline struct dp_node *dp_node_other(__u32 node_idx)
{
	struct dp_self *self = dp_self_get();

	return self && node_idx != self->node_idx ? dp_node_get(node_idx) : 0;
}

/* Can a flow begin on that other node? */
static __always_inline int dp_hop_is_open(__u32 node_idx)
{
	struct dp_node *node = dp_node_other(node_idx);

	return node && *(volatile __u32 *)&node->state == DP_NODE_UP;
}

/* Can a flow of dp_work.choice.svc_idx be there? */
static __always_inline int dp_hop_may_have(const struct dp_work *w, __u32 node_idx)
{
	struct dp_node *node = dp_node_other(node_idx);

	return node && dp_node_may_have(w, node);
}

/* One more hop for this service to that node: 1 = there is one left. */
static __always_inline int dp_hop_take(__u32 svc_idx, __u32 node_idx)
{
	__u32 at = (svc_idx * 0x9e3779b1u ^ node_idx * 0x85ebca6bu) >> (32 - DP_HOPS_BITS);
	struct dp_hops *h = bpf_map_lookup_elem(&dp_hops, &at);
	struct dp_svc *svc = dp_svc_get(svc_idx);
	__u32 span = dp_hz / DP_HOP_WINDOWS, max;
	__u64 window = bpf_jiffies64() / (span ? span : 1);

	if (!h || !svc)
		return 0;
	max = (svc->hop_pps ? svc->hop_pps : DP_HOP_PPS) / DP_HOP_WINDOWS;
	/* Two CPUs may both begin a window: then it is a little longer. */
	if (h->window != window) {
		h->window = window;
		h->used = 0;
	}
	return __sync_fetch_and_add(&h->used, 1) < (max ? max : 1);
}

/* DP_IS_HOP: to that node, with these marks and the number of that other one, counted so. Or the end. */
static __always_inline int dp_hop_with(struct dp_work *w, __u32 node_idx, __u32 marks,
				       __u32 word_idx, __u32 reason)
{
	struct dp_node *named = dp_node_get(word_idx);

	if (!named || !named->node_num)
		return DP_OUT(DP_R_REPLY_NO_EDGE, TC_ACT_SHOT);
	w->wrap.node_idx = node_idx;
	w->wrap.key = DP_GRE_KEY(marks, DP_GRE_KEY_TOKEN(w->tunnel.key));
	w->wrap.seq = named->node_num;
	w->hop.node_idx = node_idx;
	w->hop.reason = reason;
	return DP_IS_HOP;
}

/* The same with the edge by which it entered. */
static __always_inline int dp_hop_to(struct dp_work *w, __u32 node_idx, __u32 marks, __u32 reason)
{
	return dp_hop_with(w, node_idx, marks, w->tunnel.edge_idx, reason);
}

static __always_inline __u32 dp_second_question(__u32 is_asked)
{
	return is_asked ? DP_GRE_F_SECOND | DP_GRE_F_ASK : DP_GRE_F_SECOND;
}

static __always_inline int dp_hop_back(struct dp_work *w)
{
	return dp_hop_to(w, w->tunnel.from_idx, DP_GRE_F_SECOND | DP_GRE_F_FINAL, DP_R_PASSED_BACK);
}

/* The flow dp_work.fwd_key is there: its next packets go straight on. If it can't be noted, each of them asks anew. */
static __always_inline void dp_second_note(struct dp_work *w, __u32 node_idx, __u32 is_asked)
{
	__builtin_memset(&w->fwd, 0, sizeof(w->fwd));
	w->fwd.use_count = is_asked ? DP_AWAY_ASKED : DP_AWAY_PREV;
	w->fwd.edge_idx = w->tunnel.edge_idx;
	w->fwd.seen_s = dp_now_s();
	w->fwd.away_idx = node_idx;
	(void)bpf_map_update_elem(&dp_fwd_new, &w->fwd_key, &w->fwd, BPF_ANY);
}

/* The node to ask for a flow of choice.svc_idx by this packet, 0 = none; *ret_is_limited: there is one, but no hop left. */
static __always_inline __u32 dp_second_whom(const struct dp_work *w, __u32 *ret_is_limited)
{
	__u32 prev_idx;

	*ret_is_limited = 0;
	if (w->pkt.l4_proto == IPPROTO_TCP && (w->pkt.tcp_flags & DP_TCP_SYN))
		return 0;
	prev_idx = dp_num_find(w->tunnel.seq);
	if (!prev_idx || !dp_hop_may_have(w, prev_idx))
		return 0;
	*ret_is_limited = !dp_hop_take(w->choice.svc_idx, prev_idx);
	return *ret_is_limited ? 0 : prev_idx;
}

/* Worker with an entry for the flow (of choice.svc_idx) that may be out of date: the previous owner is asked first. DP_GO: there is none to ask; DP_IS_HOP; or the end. */
__noinline int dp_second_ask(void)
{
	struct dp_work *w = dp_work_get();
	__u32 prev_idx, is_limited;

	if (!w)
		return DP_GO;
	prev_idx = dp_second_whom(w, &is_limited);
	return prev_idx ? dp_hop_to(w, prev_idx, DP_GRE_F_SECOND, DP_R_PASSED_ON) : DP_GO;
}

/* Where else that flow may be: whom the pointer here names, or who keeps it. 0 = nobody; *ret_is_limited as above. */
static __always_inline __u32 dp_second_keeper(const struct dp_work *w, __u32 *ret_is_asked,
					      __u32 *ret_is_limited)
{
	struct dp_self *self = dp_self_get();
	__u32 node_idx;

	if (!self || !dp_meet_is_for(w, w->choice.svc_idx))
		return 0;
	node_idx = dp_meet_node(w);
	*ret_is_asked = node_idx != self->node_idx;
	if (!*ret_is_asked)
		node_idx = dp_meet_find(w);
	if (!node_idx || !dp_hop_may_have(w, node_idx))
		return 0;
	/* One budget for all keepers, as if they were one node. */
	*ret_is_limited = !dp_hop_take(w->choice.svc_idx, 0);
	return *ret_is_limited ? 0 : node_idx;
}

/* Keeper of pointers that was asked for a flow (dp_work.fwd_key) which it has not: who has it, or back. */
static __always_inline int dp_second_answer(struct dp_work *w)
{
	__u32 node_idx;

	if (!dp_second_is_asked(w))
		return dp_hop_back(w);
	node_idx = dp_meet_find(w);
	if (!node_idx || node_idx == w->tunnel.from_idx || !dp_hop_may_have(w, node_idx))
		return dp_hop_to(w, w->tunnel.from_idx, DP_SECOND_LAST, DP_R_PASSED_BACK);
	return dp_hop_with(w, w->tunnel.from_idx, DP_GRE_F_TELL, node_idx, DP_R_POINTED);
}

/* Worker that asked, and is told who has the flow: only if it still asks this sender, or has been told so already. The edge
 * is the one that its note has. DP_IS_HOP, or the end. */
__noinline int dp_second_told(void)
{
	const int dropped = DP_OUT(DP_R_REPLY_NO_EDGE, TC_ACT_SHOT);
	struct dp_work *w = dp_work_get();
	struct dp_flow_fwd *f;
	__u32 node_idx;

	if (!w || w->pkt.l4_proto != IPPROTO_TCP || w->pkt.frag)
		return dropped;
	__builtin_memset(&w->fwd_key, 0, sizeof(w->fwd_key));
	dp_addr_copy(w->fwd_key.client, w->pkt.src);
	dp_addr_copy(w->fwd_key.vip, w->pkt.dst);
	w->fwd_key.cport_be = w->pkt.sport_be;
	w->fwd_key.vport_be = w->pkt.dport_be;
	w->fwd_key.l4_proto = w->pkt.l4_proto;
	node_idx = dp_num_find(w->tunnel.seq);
	f = bpf_map_lookup_elem(&dp_fwd_new, &w->fwd_key);
	if (!f || f->cport_be || !f->away_idx || !dp_hop_may_have(w, node_idx) ||
	    (f->away_idx != node_idx &&
	     (f->use_count != DP_AWAY_ASKED || f->away_idx != w->tunnel.from_idx)))
		return dropped;
	f->away_idx = node_idx;
	f->use_count = DP_AWAY_TOLD;
	w->tunnel.edge_idx = f->edge_idx;
	return dp_hop_to(w, node_idx, DP_SECOND_LAST, DP_R_PASSED_ON);
}

/* Worker to which the previous owner has passed a flow back (dp_work.fwd_key, noted as away): the keeper is asked then, and
 * those that come back behind it go the same way. DP_IS_HOP, DP_IS_PASS: there is nobody to ask; or the end. */
__noinline int dp_second_again(void)
{
	struct dp_work *w = dp_work_get();
	__u32 node_idx, is_asked = 0, is_limited = 0;
	struct dp_flow_fwd *f;
	struct dp_vip *vip;

	if (!w || (DP_GRE_KEY_FLAGS(w->tunnel.key) & (DP_GRE_F_ASK | DP_GRE_F_LAST)))
		return DP_IS_PASS;
	vip = dp_vip_find(w->pkt.dst);
	w->choice.svc_idx = vip ? dp_svc_on_port(vip, w->pkt.l4_proto, w->pkt.dport_be) : 0;
	f = bpf_map_lookup_elem(&dp_fwd_new, &w->fwd_key);
	if (!f || !w->choice.svc_idx || !dp_meet_is_for(w, w->choice.svc_idx))
		return DP_IS_PASS;
	if (f->use_count == DP_AWAY_PREV) {
		node_idx = dp_second_keeper(w, &is_asked, &is_limited);
		/* That one may be the keeper as well: it was asked for the flow alone. */
		if (!node_idx || (!is_asked && node_idx == w->tunnel.from_idx))
			return DP_IS_PASS;
		f->away_idx = node_idx;
		f->use_count = is_asked ? DP_AWAY_ASKED : DP_AWAY_TOLD;
	} else if (!dp_hop_may_have(w, f->away_idx)) {
		return DP_IS_PASS;
	}
	f->edge_idx = w->tunnel.edge_idx;
	return dp_hop_to(w, f->away_idx,
			 f->use_count == DP_AWAY_ASKED
				 ? DP_GRE_F_SECOND | DP_GRE_F_FINAL | DP_GRE_F_ASK
				 : DP_SECOND_LAST,
			 DP_R_PASSED_ON);
}

/* Worker without the flow, which could make it here (hop.slot), for a service of ours (choice.svc_idx). DP_GO: do so, and
 * hop.reason says why; DP_IS_HOP; or the end. */
__noinline int dp_second_try(void)
{
	struct dp_work *w = dp_work_get();
	__u32 node_idx, is_limited, is_asked = 0;

	if (!w)
		return DP_GO;
	if (dp_second_marks(w)) {
		w->hop.reason = DP_R_ADOPTED;
		return DP_GO;
	}
	node_idx = dp_second_whom(w, &is_limited);
	if (!node_idx && !is_limited)
		node_idx = dp_second_keeper(w, &is_asked, &is_limited);
	if (!node_idx) {
		w->hop.reason = is_limited ? DP_R_HOP_LIMITED : 0;
		return DP_GO;
	}
	dp_second_note(w, node_idx, is_asked);
	return dp_hop_to(w, node_idx, dp_second_question(is_asked), DP_R_PASSED_ON);
}

/* Worker without the flow, and without a backend that could take it: to the owner by this worker's own tables, for good.
 * DP_IS_HOP, or the end. */
__noinline int dp_second_miss(void)
{
	const int dropped = DP_OUT(DP_R_TOKEN_UNKNOWN, TC_ACT_SHOT);
	struct dp_work *w = dp_work_get();
	struct dp_self *self = dp_self_get();
	struct dp_svc *svc;
	__u32 node_idx;

	if (!w || !self || dp_second_marks(w) || !w->choice.svc_idx)
		return dropped;
	svc = dp_svc_get(w->choice.svc_idx);
	if (!svc || dp_pick(&w->pkt, svc, self, &w->choice) != DP_IS_ROW)
		return dropped;
	node_idx = DP_BE_NODE(w->choice.backend_word);
	if (!dp_hop_is_open(node_idx) || !dp_hop_take(w->choice.svc_idx, node_idx))
		return dropped;
	w->tunnel.key = DP_GRE_KEY(0, DP_BE_TOKEN(w->choice.backend_word));
	dp_second_note(w, node_idx, 0);
	return dp_hop_to(w, node_idx, DP_GRE_F_SECOND | DP_GRE_F_FINAL, DP_R_PASSED_ON);
}

/* A later fragment, whose first one went to that node. DP_IS_HOP, or the end. */
static __always_inline int dp_second_frag(struct dp_work *w, __u32 node_idx)
{
	if (dp_second_marks(w) & DP_GRE_F_FINAL)
		return DP_OUT(DP_R_FRAG_NO_FIRST, TC_ACT_SHOT);
	if (dp_second_marks(w))
		return dp_hop_back(w);
	return dp_hop_to(w, node_idx, DP_GRE_F_SECOND, DP_R_PASSED_ON);
}

/* Out of a tunnel into one of the same family: the headers are written over, the word put between them. What was merged with
 * its tunnel on can't be given another one (bpf_skb_adjust_room says EALREADY), so this is the only way for it;
 * to a node of the other family it does not get. 0 or the reason. */
__noinline int dp_hop_rewrap(struct __sk_buff *skb)
{
	__u8 peer[16] __attribute__((aligned(8)));
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();
	__u32 bytes, had, is_big;
	struct dp_node *node;
	int rc;

	if (!w || !host)
		return DP_R_ENCAP_FAILED;
	node = dp_node_get(w->wrap.node_idx);
	if (!node)
		return DP_R_NODE_NO_ADDR;
	dp_addr_copy(peer, node->addr);
	bytes = dp_overhead(host, peer, w->wrap.seq);
	if (!bytes)
		return DP_R_NODE_NO_ADDR;
	is_big = w->wrap.segment_bytes + bytes > host->mesh_mtu;
	if (is_big && dp_mesh_l2)
		return DP_R_TOO_BIG;
	had = w->tunnel.inner_off - w->path.l2;
	if (bytes != had && bpf_skb_adjust_room(skb, (__s32)(bytes - had), BPF_ADJ_ROOM_MAC,
						BPF_F_ADJ_ROOM_FIXED_GSO))
		return DP_R_ENCAP_FAILED;
	if (dp_addr_is_v4(peer))
		rc = dp_put_outer4(skb, &w->wrap, host, peer, w->tunnel.inner_proto_be, !is_big);
	else
		rc = dp_put_outer6(skb, &w->wrap, host, peer, w->tunnel.inner_proto_be);
	if (rc)
		return DP_R_ENCAP_FAILED;
	skb->mark = host->gre_mark;
	return 0;
}

/* Is the next tunnel of the last one's family? */
static __always_inline int dp_hop_is_alike(const struct dp_work *w)
{
	struct dp_node *node = dp_node_get(w->wrap.node_idx);

	return node && w->tunnel.outer_family == (dp_addr_is_v4(node->addr) ? 4 : 6);
}

/* The hop itself: out of one tunnel (or from the public interface) into the next. How the program ends. */
__noinline int dp_second_send(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();
	__u32 frame_bytes;
	int rc;

	if (!w || !host)
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	w->wrap.l2 = w->path.l2;
	w->wrap.segment_bytes = dp_segment_bytes(skb, &w->pkt);
	w->wrap.may_exceed =
		1; /* the edge has told the client what fits; the way round may take more */
	frame_bytes = w->pkt.l3_off + w->pkt.l3_bytes;
	if (!w->path.is_mesh && !skb->gso_size && frame_bytes < skb->len &&
	    bpf_skb_change_tail(skb, frame_bytes, 0))
		return DP_OUT(DP_R_ENCAP_FAILED, TC_ACT_SHOT);
	if (dp_hop_is_alike(w))
		rc = dp_hop_rewrap(skb);
	else
		rc = dp_tunnel_strip(skb) ? DP_R_ENCAP_FAILED : dp_encap(skb);
	if (rc)
		return DP_OUT((__u32)rc, TC_ACT_SHOT);
	return DP_OUT(w->hop.reason, dp_send_mesh(host));
}

#endif
