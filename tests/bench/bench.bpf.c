/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bench/bench.bpf.c - the forwarder's programs inside programs that make every repeat of a test run alike.
 *
 * A test run repeats on one buffer: what the program did to it is undone here, and the next flow's addresses are
 * written. `*_null` does only that: its cost is taken off. TC programs are timed inside, for their undoing costs more than
 * they do.
 */
#include <stddef.h>

#include "bpf/dp_xdp.h"

#include "bpf/dp_tc.h"

#include "tests/bench/bench.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bench_job);
} bench_job SEC(".maps");

static __always_inline struct bench_job *job(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&bench_job, &zero);
}

/* The next flow: spreads over addresses and ports so that neighbours in time are strangers. */
static __always_inline __u32 next_flow(struct bench_job *j)
{
	__u32 n = j->at++;

	return (n * 0x9e3779b1u) & j->flow_mask;
}

static __always_inline int prepare(struct xdp_md *ctx, struct bench_job *j)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	__u32 flow, svc;

	flow = next_flow(j);
	svc = j->vip_mask ? (j->at >> 2) & j->vip_mask : 0;
	if (j->family == 4) {
		struct iphdr *ip = data + sizeof(*eth);
		struct udphdr *l4 = (void *)(ip + 1);

		if ((void *)(l4 + 1) > end)
			return -1;
		ip->saddr = bpf_htonl(0xc6330000u | (flow >> 6));
		if (j->vip_mask)
			ip->daddr = bpf_htonl(j->vip4 + svc);
		l4->source = bpf_htons((__u16)(1024 + (flow & 63)));
	} else {
		struct ipv6hdr *ip = data + sizeof(*eth);
		struct udphdr *l4 = (void *)(ip + 1);

		if ((void *)(l4 + 1) > end)
			return -1;
		ip->saddr.in6_u.u6_addr32[3] = bpf_htonl(flow >> 6);
		if (j->vip_mask)
			ip->daddr.in6_u.u6_addr32[3] = bpf_htonl(j->vip4 + svc);
		l4->source = bpf_htons((__u16)(1024 + (flow & 63)));
	}
	return 0;
}

SEC("xdp")
int bench_empty(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* Takes back what the program did: a tunnel of `overhead` bytes, or a verdict of `meta` bytes. */
static __always_inline void undo(struct xdp_md *ctx, struct bench_job *j, __u32 overhead,
				 __u32 meta)
{
	struct ethhdr *eth;

	if (!j->overhead) {
		if (!j->is_dropped)
			bpf_xdp_adjust_meta(ctx, (int)meta);
		return;
	}
	if (bpf_xdp_adjust_head(ctx, (int)overhead))
		return;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return;
	__builtin_memset(eth->h_dest, 2, sizeof(eth->h_dest));
	__builtin_memset(eth->h_source, 4, sizeof(eth->h_source));
	eth->h_proto = j->family == 4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
}

SEC("xdp")
int bench_null(struct xdp_md *ctx)
{
	struct bench_job *j = job();

	if (!j || prepare(ctx, j))
		return XDP_ABORTED;
	undo(ctx, j, 0, 0);
	return XDP_PASS;
}

SEC("xdp")
int bench_xdp(struct xdp_md *ctx)
{
	struct bench_job *j = job();
	int action;

	if (!j || prepare(ctx, j))
		return XDP_ABORTED;
	action = dp_leave_xdp(ctx, DP_HOOK_XDP, 0, dp_xdp_run(ctx));
	undo(ctx, j, j->overhead, ctx->data_meta < ctx->data ? sizeof(struct dp_verdict) : 0);
	return action;
}

/* ---- Where the time goes: the same steps, as far as bench_stage says. Set before loading. */
const volatile __u32 bench_stage = 0;

static __always_inline __u64 staged(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct dp_choice c = {};
	struct dp_self *self;
	struct dp_vip *vip;
	struct dp_svc *svc;
	struct dp_pkt p;
	__u32 hash;

	if (bench_stage < 1 || (void *)(eth + 1) > end ||
	    dp_parse(data, end, sizeof(*eth), eth->h_proto, &p))
		return 0;
	if (bench_stage < 2)
		return p.sport_be + p.l3_bytes;
	vip = dp_vip_find(p.dst);
	if (bench_stage < 3 || !vip)
		return !!vip;
	c.svc_idx = dp_svc_on_port(vip, p.l4_proto, p.dport_be);
	svc = dp_svc_get(c.svc_idx);
	self = dp_self_get();
	if (bench_stage < 4 || !svc || !self)
		return c.svc_idx;
	hash = (__u32)dp_flow_hash(self->seed, svc->hash, p.family, p.src, p.dst, p.sport_be,
				   p.dport_be, p.l4_proto);
	if (bench_stage < 5)
		return hash;
	if (dp_pick_row(svc, hash, &c) != DP_IS_ROW)
		return 0;
	if (bench_stage < 6)
		return c.row;
	dp_stat_add(c.svc_idx, c.backend_idx, 1, p.l3_bytes);
	return c.row;
}

SEC("xdp")
int bench_stages(struct xdp_md *ctx)
{
	struct bench_job *j = job();

	if (!j || prepare(ctx, j))
		return XDP_ABORTED;
	j->sink += staged(ctx);
	return XDP_PASS;
}

/* ---- TC: timed inside */

static __always_inline void put_template(struct __sk_buff *skb, struct bench_job *j)
{
	__u32 n = j->template_bytes;

	if (n == BENCH_TEMPLATE_GRE)
		bpf_skb_store_bytes(skb, 0, j->template, BENCH_TEMPLATE_GRE, 0);
	else
		bpf_skb_store_bytes(skb, 0, j->template, BENCH_TEMPLATE_BARE, 0);
}

static __always_inline void flow_into_template(struct bench_job *j, __u32 addr_off, __u32 port_off)
{
	__u32 flow = next_flow(j);

	if (addr_off > BENCH_TEMPLATE_GRE - 4 || port_off > BENCH_TEMPLATE_GRE - 2)
		return;
	*(__be32 *)(j->template + addr_off) = bpf_htonl(0xc6330000u | (flow >> 6));
	*(__be16 *)(j->template + port_off) = bpf_htons((__u16)(1024 + (flow & 63)));
}

/* The offsets are those of IPv4, behind Ethernet and perhaps an outer IPv4 and GRE. */
static __always_inline void refresh(struct __sk_buff *skb, struct bench_job *j)
{
	if (j->template_bytes == BENCH_TEMPLATE_GRE)
		flow_into_template(j, 14 + 28 + 12, 14 + 28 + 20);
	else if (j->is_reply)
		flow_into_template(j, 14 + 16, 14 + 22);
	else
		flow_into_template(j, 14 + 12, 14 + 20);
	put_template(skb, j);
}

static __always_inline void note(struct bench_job *j, __u64 ns)
{
	j->ns += ns;
	j->runs++;
}

SEC("tc")
int bench_tc_null(struct __sk_buff *skb)
{
	struct bench_job *j = job();
	__u64 began;

	if (!j)
		return TC_ACT_SHOT;
	refresh(skb, j);
	began = bpf_ktime_get_ns();
	note(j, bpf_ktime_get_ns() - began);
	return TC_ACT_OK;
}

SEC("tc")
int bench_tc_mesh_in(struct __sk_buff *skb)
{
	struct bench_job *j = job();
	__u64 began;

	if (!j)
		return TC_ACT_SHOT;
	refresh(skb, j);
	began = bpf_ktime_get_ns();
	dp_leave_tc(skb, DP_HOOK_MESH_IN, 0, dp_mesh_in_run(skb));
	note(j, bpf_ktime_get_ns() - began);
	return bpf_skb_adjust_room(skb, 28, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO)
		       ? TC_ACT_SHOT
		       : TC_ACT_OK;
}

/* These two mark the packet as encapsulated, which nothing takes back: one test run each. */
SEC("tc")
int bench_tc_pub_in(struct __sk_buff *skb)
{
	struct bench_job *j = job();
	__u64 began;

	if (!j)
		return TC_ACT_SHOT;
	refresh(skb, j);
	began = bpf_ktime_get_ns();
	dp_leave_tc(skb, DP_HOOK_PUB_IN, 0, dp_pub_in_run(skb));
	note(j, bpf_ktime_get_ns() - began);
	return TC_ACT_OK;
}

SEC("tc")
int bench_tc_up_out(struct __sk_buff *skb)
{
	struct bench_job *j = job();
	__u64 began;

	if (!j)
		return TC_ACT_SHOT;
	refresh(skb, j);
	began = bpf_ktime_get_ns();
	dp_leave_tc(skb, DP_HOOK_UP_OUT, 0, dp_eth_out_run(skb, DP_REPLY_UPLINK));
	note(j, bpf_ktime_get_ns() - began);
	return TC_ACT_OK;
}
