/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_work.h - the packet under way: what one program's functions tell each other, per CPU.
 *
 * The verifier allows 512 bytes of stack for all frames together, so what is large lives here. Programs of one CPU
 * never interleave (all run with bottom halves off); what an earlier packet left is stale: write before you read.
 * Functions that are verified by themselves (global ones) take the context and scalars, nothing else, and return
 * an outcome:
 *   >= 0     DP_OUT(reason, action): the program ends so, and dp_leave_*() counts the reason
 *   < 0      one of DP_GO, DP_IS_*
 */
#ifndef DP_WORK_H
#define DP_WORK_H

#include "bpf/dp_maps.h"
#include "bpf/dp_parse.h"

#define DP_OUT(reason, action) ((int)((reason) << 8 | ((__u32)(action)&0xffu)))
#define DP_OUT_REASON(out) ((__u32)(out) >> 8)
#define DP_OUT_ACTION(out) ((int)(__s8)((out)&0xff))
#define DP_GO (-1)	   /* not decided here: go on */
#define DP_IS_PASS (-2)	   /* not ours */
#define DP_IS_ROW (-3)	   /* the owner of choice.row gets it */
#define DP_IS_HOP (-5)	   /* dp_work.wrap says to which node it goes on */
#define DP_IS_BACKEND (-4) /* choice.backend_idx gets it, whatever the rows say */

/* A global function must use its context, else the compiler passes none and the verifier refuses the call. */
#define DP_USES(ctx) asm volatile("" : : "r"(ctx))

/* Which backend gets a packet. */
struct dp_choice {
	__u64 backend_word;
	__u32 row; /* absolute */
	__u32 svc_idx;
	__u32 backend_idx;
	__u32 prev_idx; /* the row's previous owner, a backend index; 0 = none */
};

/* A tunnelled packet, as far as it has been read. */
struct dp_tunnel {
	__u32 from_idx; /* node it came from */
	__u32 edge_idx; /* node by which it entered: the same, except on second chances */
	__u32 key;
	__u32 seq; /* sequence word, 0 = none */
	__u32 inner_off;
	__u32 outer_family; /* 0: XDP took it off already */
	__u32 inner_proto_be;
};

/* Where a client's packet goes on this worker. */
struct dp_hop {
	__u32 slot;
	__be16 cport_be; /* client's port as the application sees it */
	__be16 bport_be;
	__u32 node_idx; /* not here but there; 0 = here */
	__u32 reason;	/* counted instead of delivered_*; 0 = that */
};

/* Where a reply goes. */
struct dp_back {
	__u8 vip[16];
	__be16 vport_be;
	__be16 cport_be;
	__u32 edge_idx;
	__u32 slot;
};

enum dp_reply_hook {
	DP_REPLY_UPLINK = 0, /* egress of an uplink: a host socket's */
	DP_REPLY_MESH = 1,   /* egress of the mesh device: a host socket's, routed there */
	DP_REPLY_BRIDGE = 2, /* ingress of a bridge: a container's or VM's */
};

/* Where the packet came in, for the way on. */
struct dp_path {
	__u32 l2;      /* link header in front of it now */
	__u32 is_mesh; /* from the mesh device: count as a worker; else from the public interface */
	__u32 mss_overhead; /* tunnel that replies will go through, 0 = none */
	__u32 hook;	    /* enum dp_reply_hook, on the way out */
};

/* What dp_nat() writes. */
struct dp_nat {
	__u8 addr[16]; /* the new address, of the packet's family */
	__be16 sport_be;
	__be16 dport_be;
	__u32 is_src; /* which address: 1 source, 0 destination */
};

/* What dp_encap() puts in front. */
struct dp_wrap {
	__u32 node_idx; /* to whom */
	__u32 key;
	__u32 seq; /* 0 = no sequence word */
	__u32 l2;
	__u32 segment_bytes; /* the largest IP packet that will stand on the wire */
	__u32 may_exceed;    /* 1: beyond the mesh MTU it is carried all the same */
};

struct dp_work {
	struct dp_pkt pkt; /* the packet; the inner one once a tunnel has been read */
	struct dp_pkt
		embed; /* the packet inside an ICMP error; offsets are those of the whole frame */
	struct dp_tunnel tunnel;
	struct dp_choice choice;
	struct dp_hop hop;
	struct dp_back back;
	struct dp_path path;
	struct dp_nat nat;
	struct dp_wrap wrap;
	struct dp_flow_fwd_key fwd_key __attribute__((aligned(8)));
	struct dp_flow_fwd fwd __attribute__((aligned(8)));
	struct dp_flow_rev_key rev_key __attribute__((aligned(8)));
	struct dp_flow_rev rev __attribute__((aligned(8)));
	struct dp_frag_key frag_key __attribute__((aligned(8)));
	struct dp_frag frag __attribute__((aligned(8)));
	__u8 bytes[128] __attribute__((aligned(8))); /* headers being built or moved */
};

/* 0 -> the packet under way. Writers and readers: all programs, on their own CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dp_work);
} dp_work SEC(".maps");

static __always_inline struct dp_work *dp_work_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dp_work, &zero);
}

static __always_inline struct dp_host *dp_host_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dp_host, &zero);
}

static __always_inline struct dp_self *dp_self_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dp_self, &zero);
}

static __always_inline struct dp_ctl *dp_ctl_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&dp_ctl, &zero);
}

static __always_inline struct dp_svc *dp_svc_get(__u32 svc_idx)
{
	return bpf_map_lookup_elem(&dp_svc, &svc_idx);
}

static __always_inline struct dp_node *dp_node_get(__u32 node_idx)
{
	return node_idx ? bpf_map_lookup_elem(&dp_node, &node_idx) : 0;
}

static __always_inline struct dp_local *dp_local_get(__u32 slot)
{
	return bpf_map_lookup_elem(&dp_local, &slot);
}

/* Ticks of the kernel's clock a second; set before loading. */
const volatile __u32 dp_hz = 250;

/* Seconds since boot, or so (jiffies begin five minutes before it): no clock is read. */
static __always_inline __u32 dp_now_s(void)
{
	return (__u32)(bpf_jiffies64() / (dp_hz ? dp_hz : 250));
}

/* For programs of TC: parses into dp_work.pkt. Headers of ours may lie in the non-linear part; pull them in only then
 * (pulling copies, and most of what passes on egress isn't ours). 0 or the reason, as dp_parse(). */
#define DP_PULL_BYTES 256u
__noinline int dp_parse_skb(struct __sk_buff *skb, __u32 l3_off, __u32 eth_proto_be)
{
	__u32 linear = skb->data_end - skb->data;
	struct dp_work *w = dp_work_get();
	int rc;

	if (!w)
		return DP_R_BAD_PACKET;
	/* Else the compiler keeps the low half of data on the stack, which the verifier refuses. */
	asm volatile("" : "+r"(linear) : : "memory");
	rc = dp_parse((void *)(long)skb->data, (void *)(long)skb->data_end, l3_off,
		      (__be16)eth_proto_be, &w->pkt);
	if (rc && linear < skb->len && linear < DP_PULL_BYTES) {
		if (bpf_skb_pull_data(skb, skb->len < DP_PULL_BYTES ? skb->len : DP_PULL_BYTES))
			return rc;
		rc = dp_parse((void *)(long)skb->data, (void *)(long)skb->data_end, l3_off,
			      (__be16)eth_proto_be, &w->pkt);
	}
	if (!rc && !skb->gso_size && !dp_parse_is_whole(&w->pkt, skb->len))
		rc = DP_R_BAD_PACKET;
	return rc;
}

#endif
