/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_signal.h - what a worker's packets tell of its backends: asked, answered, refused.
 *
 * Pulse     each packet that wants an answer, and each answer, leaves the time in its slot of dp_pulse, in ticks of the
 *           kernel's clock and only if that is another one than what stands there: no counter, no shared cache line
 *           written more than once a tick. edged sees where questions go on and answers don't
 * Signals   a refusal goes to the ring dp_signal, one per backend in DP_SIGNAL_NS; the rest is counted
 * Forging   only what the backend or this machine itself says counts: at an egress hook a packet that was made here, not
 *           forwarded; on a bridge one that has the backend's address; about a flow of ours; and about the port that edged
 *           watches (struct dp_local): a client that knocks at other ports of a range says nothing about the backend
 * Resets    one that answers a SYN to a closed port has the number zero and acknowledges (RFC 9293, 3.10.7.1): no packet
 *           makes a socket that is open answer so
 */
#ifndef DP_SIGNAL_H
#define DP_SIGNAL_H

#include "bpf/dp_work.h"

/* token slot -> when its backend was asked and when it answered; its signals. Writers TC; reader edged. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DP_LOCAL_MAX);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dp_pulse);
} dp_pulse SEC(".maps");

/* refusals, struct dp_signal. Writers TC; reader edged. Full: the signal is not written, dp_pulse.lost counts. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DP_SIGNAL_RING);
} dp_signal SEC(".maps");

static __always_inline struct dp_pulse *dp_pulse_get(__u32 slot)
{
	return bpf_map_lookup_elem(&dp_pulse, &slot);
}

/* Does this client's packet want an answer? Bare acknowledgements don't. */
static __always_inline int dp_wants_answer(const struct dp_pkt *p)
{
	if (p->l4_proto == IPPROTO_UDP)
		return 1;
	return p->l4_proto == IPPROTO_TCP &&
	       ((p->tcp_flags & DP_TCP_SYN) || p->l3_off + p->l3_bytes > p->l4_off + p->l4_bytes);
}

/* dp_work.pkt is on its way to that backend. */
static __always_inline void dp_signal_asked(const struct dp_pkt *p, __u32 slot)
{
	struct dp_pulse *pulse = dp_wants_answer(p) ? dp_pulse_get(slot) : 0;
	__u32 now = (__u32)bpf_jiffies64();

	if (pulse && pulse->asked != now)
		pulse->asked = now;
}

/* Its application, or its kernel, has answered. */
static __always_inline void dp_signal_heard(__u32 slot)
{
	struct dp_pulse *pulse = dp_pulse_get(slot);
	__u32 now = (__u32)bpf_jiffies64();

	if (pulse && pulse->heard != now)
		pulse->heard = now;
}

/* Into the ring, unless the last one of this backend is too young. */
static __noinline void dp_signal_send(__u32 slot, __u32 kind, __u32 l4_proto, __u32 port_be)
{
	struct dp_local *l = dp_local_get(slot);
	struct dp_pulse *pulse = dp_pulse_get(slot);
	__u64 now_ns = bpf_ktime_get_ns();
	struct dp_signal *s;

	if (!l || !pulse)
		return;
	/* Two CPUs at once may both send: edged takes two for one. */
	if (now_ns < pulse->due_ns) {
		__sync_fetch_and_add(&pulse->held, 1);
		return;
	}
	s = bpf_ringbuf_reserve(&dp_signal, sizeof(*s), 0);
	if (!s) {
		__sync_fetch_and_add(&pulse->lost, 1);
		return;
	}
	pulse->due_ns = now_ns + DP_SIGNAL_NS;
	s->time_ns = now_ns;
	s->slot = slot;
	s->use_count = l->use_count;
	s->held = pulse->held;
	s->kind = (__u8)kind;
	s->l4_proto = (__u8)l4_proto;
	s->port_be = (__be16)port_be;
	bpf_ringbuf_submit(s, 0);
}

static __always_inline int dp_signal_is_watched(const struct dp_local *l, __u32 l4_proto,
						__be16 port_be)
{
	return l->live && l->watch_proto == l4_proto && l->watch_port_be == port_be;
}

/* Was it made on this machine (or, on a bridge, has the hook's caller matched the backend's address)? */
static __always_inline int dp_signal_is_ours(const struct __sk_buff *skb, __u32 is_bridge)
{
	return is_bridge || !skb->ingress_ifindex;
}

/* A backend's reset (dp_work.pkt) of the flow in dp_work.back, not rewritten yet: does it say that nobody listens? */
__noinline int dp_signal_reset(struct __sk_buff *skb, __u32 is_bridge)
{
	struct dp_work *w = dp_work_get();
	struct dp_local *l;
	__be32 seq_be = 1;

	if (!w || !(w->pkt.tcp_flags & DP_TCP_ACK) || !dp_signal_is_ours(skb, is_bridge))
		return 0;
	l = dp_local_get(w->back.slot);
	if (!l || !dp_signal_is_watched(l, IPPROTO_TCP, w->pkt.sport_be))
		return 0;
	if (bpf_skb_load_bytes(skb, w->pkt.l4_off + offsetof(struct tcphdr, seq), &seq_be,
			       sizeof(seq_be)) ||
	    seq_be)
		return 0;
	dp_signal_send(w->back.slot, DP_SIGNAL_RESET, IPPROTO_TCP, w->pkt.sport_be);
	return 0;
}

/* enum dp_signal_kind of an ICMP error, 0: none that says that the backend is gone. A filter's refusal is none. */
static __always_inline __u32 dp_signal_icmp_kind(const struct dp_pkt *p)
{
	if (p->family == 4) {
		if (p->icmp_type != 3)
			return 0;
		if (p->icmp_code == 2 || p->icmp_code == 3)
			return DP_SIGNAL_PORT;
		return p->icmp_code <= 1 ? DP_SIGNAL_HOST : 0;
	}
	if (p->icmp_type != 1)
		return 0;
	if (p->icmp_code == 4)
		return DP_SIGNAL_PORT;
	return p->icmp_code == 0 || p->icmp_code == 3 ? DP_SIGNAL_HOST : 0;
}

/* An ICMP error (dp_work.pkt) about a packet that the flow in dp_work.rev_key and dp_work.back delivered. */
__noinline int dp_signal_icmp(struct __sk_buff *skb, __u32 is_bridge)
{
	struct dp_work *w = dp_work_get();
	struct dp_local *l;
	__u32 kind;

	if (!w || !dp_signal_is_ours(skb, is_bridge))
		return 0;
	kind = dp_signal_icmp_kind(&w->pkt);
	l = kind ? dp_local_get(w->back.slot) : 0;
	/* Host sockets' flows are found without their address. */
	if (!l || !dp_addr_same(w->embed.dst, l->addr) ||
	    (is_bridge && !dp_addr_same(w->pkt.src, l->addr)))
		return 0;
	if (kind == DP_SIGNAL_PORT
		    ? !dp_signal_is_watched(l, w->rev_key.l4_proto, w->rev_key.bport_be)
		    : !l->live)
		return 0;
	dp_signal_send(w->back.slot, kind, w->rev_key.l4_proto, w->rev_key.bport_be);
	return 0;
}

#endif
