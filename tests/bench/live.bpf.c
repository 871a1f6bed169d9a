/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bench/live.bpf.c - what makes, counts and lets pass live frames. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tests/bench/live.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct live_job);
} live_job SEC(".maps");

static __always_inline struct live_job *job(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&live_job, &zero);
}

static __always_inline __u16 ip_sum(const struct iphdr *ip)
{
	const __u16 *w = (const __u16 *)ip;
	__u32 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += w[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16) ~((sum & 0xffff) + (sum >> 16));
}

/* A recycled frame keeps what the path did to it: the whole header is written each time. */
SEC("xdp")
int live_gen(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct live_job *j = job();
	__u32 flow;

	if (!j || data + LIVE_FRAME_BYTES > end)
		return XDP_ABORTED;
	flow = j->made++ % j->flows;
	__builtin_memcpy(eth->h_dest, j->dst, 6);
	__builtin_memcpy(eth->h_source, j->src, 6);
	eth->h_proto = bpf_htons(ETH_P_IP);
	__builtin_memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->tot_len = bpf_htons(LIVE_FRAME_BYTES - sizeof(*eth));
	ip->saddr = bpf_htonl(j->client + (flow >> 8));
	ip->daddr = bpf_htonl(j->vip);
	ip->check = ip_sum(ip);
	udp->source = bpf_htons((__u16)(1024 + (flow & 255)));
	udp->dest = bpf_htons(j->port);
	udp->len = bpf_htons(LIVE_FRAME_BYTES - sizeof(*eth) - sizeof(*ip));
	udp->check = 0;
	return bpf_redirect(j->ifindex, 0);
}

SEC("xdp")
int live_sink(struct xdp_md *ctx)
{
	struct live_job *j = job();

	if (j)
		__sync_fetch_and_add(&j->seen, 1);
	return XDP_DROP;
}

SEC("xdp")
int live_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
