/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_see_abi.h - what looking at the data path shares with user space: hooks, the histogram, captured packets, a trace.
 *
 * Included by bpf/ programs and by edge/, like bpf/dp_abi.h and under its rules. Nothing in here steers a packet.
 */
#ifndef DP_SEE_ABI_H
#define DP_SEE_ABI_H

#include "bpf/dp_abi.h"

/* One per program. X(NAME, "name", is_out) */
#define DP_HOOKS(X)                                                                                \
	X(XDP, "xdp", 0)                                                                           \
	X(XDP_MESH, "xdp_mesh", 0)                                                                 \
	X(PUB_IN, "pub_in", 0)                                                                     \
	X(MESH_IN, "mesh_in", 0)                                                                   \
	X(MESH_OUT, "mesh_out", 1)                                                                 \
	X(UP_OUT, "up_out", 1)                                                                     \
	X(BR_IN, "br_in", 0)

enum dp_hook {
#define DP_HOOK_ENUM(name, text, is_out) DP_HOOK_##name,
	DP_HOOKS(DP_HOOK_ENUM)
#undef DP_HOOK_ENUM
		DP_HOOK_COUNT
};

/* ---- dp_hist (PERCPU_ARRAY of __u64): hook * DP_HIST_SLOTS + slot. Slot i < DP_HIST_SUM counts runs of [2^i, 2^(i+1))
 * nanoseconds, the last of them also what is longer; slot DP_HIST_SUM is the sum of all, in nanoseconds. */
#define DP_HIST_SLOTS 32u
#define DP_HIST_SUM 31u

/* ---- dp_capture (RINGBUF of struct dp_captured): packets as they leave a program, with its verdict. Full: the packet is
 * not written, dp_capture_lost counts it. Reader edged, while somebody captures. */
#define DP_CAPTURE_BYTES 256u
#define DP_CAPTURE_RING (1u << 20)
struct dp_captured {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 ifindex;
	__u32 frame_bytes; /* of the packet; a super-packet's may exceed 65535 */
	__u16 bytes;	   /* of it that are in data */
	__u8 hook;	   /* enum dp_hook */
	__u8 action;	   /* what the program returned, as a byte */
	__u32 reason;	   /* enum dp_reason */
	__u8 data[DP_CAPTURE_BYTES];
};
DP_ASSERT_SIZE(struct dp_captured, 280);

/* ---- dp_trace_out (ARRAY[1]): what dp_trace found out about the packet it was run on. Writer dp_trace. */
#define DP_TRACE_TRIES (DP_SUBST_TRIES + 1u)
struct dp_trace_try { /* one row that was asked */
	__u32 row;    /* absolute */
	__u32 owner;  /* backend index */
	__u32 node_idx;
	__u8 be_state;	 /* enum dp_be_state */
	__u8 node_state; /* enum dp_node_state */
	__u8 pad[2];
};
DP_ASSERT_SIZE(struct dp_trace_try, 16);

struct dp_trace {
	/* the edge's side */
	__u32 steps;  /* DP_TRACE_*: what was reached, and so what below means something */
	__u32 reason; /* enum dp_reason: how an edge would end this packet */
	__u32 vip_flags;
	__u32 svc_idx;
	__u32 svc_flags;
	__u32 svc_id;
	__u32 svc_hash; /* enum dp_hash_policy */
	__u32 rows;	/* of the table */
	__u32 hash;
	__u32 try_count;
	struct dp_trace_try try[DP_TRACE_TRIES]; /* the row of the hash, then its substitutes */
	__u64 backend_word;
	__u32 backend_idx; /* who gets it, 0 = nobody */
	__u32 prev_idx;	   /* previous owner of the row, 0 = none */
	__u8 node_addr[16];
	__u32 node_idx;
	__u32 node_flags;
	__u32 filter_all; /* enum dp_filter_verb that the list of every service has for the source, 0 = none */
	__u32 filter_own; /* the same of the service's own */
	__u32 gate_reason; /* DP_TRACE_PASSES, or the enum dp_reason for which the gate would refuse it now */
	__u32 svc_pps; /* the service's limits, as in struct dp_svc */
	__u32 svc_source_pps;
	__u32 svc_syn_pps;
	__u32 mesh_mtu;
	/* this node's side, as a worker */
	__u32 flow; /* enum dp_trace_flow */
	__u32 flow_state;
	__u32 flow_slot;
	__u32 flow_use;
	__u32 flow_edge_idx;
	__u32 flow_away_idx;
	__u32 flow_idle_s;
	__u16 flow_cport; /* client's port as the application sees it */
	__u16 local_port;
	__u8 local_addr[16]; /* of the backend that serves the flow, or would by its token */
	__u32 local_idx;     /* its backend index, 0 = none here */
	__u32 local_ifindex;
	__u32 local_live;
	__u32 self_idx;
	__u32 quic_idx; /* backend that the packet's connection id names, 0 = none */
};
DP_ASSERT_SIZE(struct dp_trace, 256);

#define DP_TRACE_PARSED 1u     /* addresses could be read */
#define DP_TRACE_READY 2u      /* edged has filled the maps */
#define DP_TRACE_VIP 4u	       /* the destination is a VIP */
#define DP_TRACE_SVC 8u	       /* a service is on this port */
#define DP_TRACE_GATE 16u      /* lists were asked */
#define DP_TRACE_TABLE 32u     /* the service has a table */
#define DP_TRACE_OWNER 64u     /* a usable owner was found */
#define DP_TRACE_FLOWS 128u    /* flow tables were asked */
#define DP_TRACE_LOCAL 256u    /* local_* say which backend here it would be */
#define DP_TRACE_FROM_VIP 512u /* the source is a VIP: no worker begins a flow for it */
#define DP_TRACE_BY_ID 1024u   /* the connection id decides, not the table */
#define DP_TRACE_PASSES 0xffffffffu

enum dp_trace_flow {
	DP_TRACE_FLOW_NONE = 0,
	DP_TRACE_FLOW_NEW = 1,	   /* the application has not answered yet */
	DP_TRACE_FLOW_ASSURED = 2, /* it has */
};

#endif
