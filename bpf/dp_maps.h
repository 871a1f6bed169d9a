/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_maps.h - map definitions, nothing else. Sizes are defaults: edgefwd resizes before it loads.
 *
 * Layout of keys and values: bpf/dp_abi.h. A map without "full" in its comment is an array: it can't be full.
 */
#ifndef DP_MAPS_H
#define DP_MAPS_H

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#include "bpf/dp_abi.h"
#include "bpf/dp_reasons.h"

/* 0 -> facts about this host. Writer edgefwd; readers all programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dp_host);
} dp_host SEC(".maps");

/* 0 -> what gossip says about this node. Writer edged; readers XDP and TC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct dp_self);
} dp_self SEC(".maps");

/* 0 -> heartbeats. Writers and readers: edgefwd and edged; no program looks at it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dp_beat);
} dp_beat SEC(".maps");

/* VIP index -> address, directories, policy. Writer edged; readers XDP and TC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dp_vip);
} dp_vip SEC(".maps");

/* address -> VIP index. Writer edged; readers XDP and TC, only where dp_vipslot sends them. Full: edged's write fails and it
 * says so. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct dp_addr_key);
	__type(value, __u32);
} dp_vipmap SEC(".maps");

/* dp_vip_slot(address) -> VIP index, none, or ask. Writer edged; readers XDP and TC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DP_VIP_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u32);
} dp_vipslot SEC(".maps");

/* directory * 256 + (port >> 8) -> page. Writer edged; readers XDP and TC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024 * DP_PORTS_PER_PAGE);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u32);
} dp_portdir SEC(".maps");

/* page * 256 + (port & 255) -> service. Writer edged; readers XDP and TC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096 * DP_PORTS_PER_PAGE);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u32);
} dp_portpage SEC(".maps");

/* service -> its table and policy. Writer edged; readers XDP and TC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dp_svc);
} dp_svc SEC(".maps");

/* row -> (owner, previous owner): the Maglev tables of all services. Writer edged; readers XDP and TC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << 20);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dp_row);
} dp_rows SEC(".maps");

/* backend -> (state, node, token) in one word. Writer edged; readers XDP and TC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64);
} dp_backend SEC(".maps");

/* node -> state and mesh address. Writer edged; readers XDP and TC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dp_node);
} dp_node SEC(".maps");

/* mesh address -> node: who may send us GRE. Writer edged; reader dp_tc_mesh_in. Full: edged's write fails. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct dp_addr_key);
	__type(value, __u32);
} dp_known SEC(".maps");

/* node number -> node index. Writer edged; readers TC, for second chances. Full: edged's write fails. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} dp_num SEC(".maps");

/* node -> its neighbour on a mesh over Ethernet. Writer edgefwd; reader XDP. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct dp_l2);
} dp_l2 SEC(".maps");

/* server id of a connection id -> backend. Writer edged; readers XDP and TC. Full: edged's write fails. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct dp_quic_key);
	__type(value, __u32);
} dp_quic SEC(".maps");

/* source prefix -> deny or allow. Writer edged; readers XDP and TC. Full: edged's write fails. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct dp_filter_key);
	__type(value, __u32);
} dp_filter SEC(".maps");

/* destination prefix -> uplink. Writer edgefwd; readers XDP and TC, on machines with several. Full: edgefwd's write fails. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct dp_egress_key);
	__type(value, __u32);
} dp_egress SEC(".maps");

/* 0 -> switches. Writer edged; readers all programs. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct dp_ctl);
} dp_ctl SEC(".maps");

/* token slot -> a backend of this worker. Writer edged; readers TC. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DP_LOCAL_MAX);
	__type(key, __u32);
	__type(value, struct dp_local);
} dp_local SEC(".maps");

/* enum dp_reason -> packets. Writer every program, one per exit; readers edged, edgectl. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DP_REASON_SLOTS);
	__type(key, __u32);
	__type(value, __u64);
} dp_reason SEC(".maps");

/* service -> packets and bytes: chosen here as an edge, or delivered here as a worker. Writers XDP, TC; reader edged. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct dp_stat);
} dp_svc_stat SEC(".maps");

/* backend -> the same. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct dp_stat);
} dp_be_stat SEC(".maps");

/* Flows of this worker, by what the client sent. dp_fwd_new: the application has not answered yet; dp_fwd: it has.
 * Writers and readers TC. Full: the least recently used goes, within its own table: a flood of new flows evicts only
 * new flows. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct dp_flow_fwd_key);
	__type(value, struct dp_flow_fwd);
} dp_fwd_new SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct dp_flow_fwd_key);
	__type(value, struct dp_flow_fwd);
} dp_fwd SEC(".maps");

/* The same flows by what the application answers. A lost entry is made again by the client's next packet. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct dp_flow_rev_key);
	__type(value, struct dp_flow_rev);
} dp_rev_new SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 262144);
	__type(key, struct dp_flow_rev_key);
	__type(value, struct dp_flow_rev);
} dp_rev SEC(".maps");

/* hash of a flow -> the edge where its pointer is kept. Writer edged; readers TC, for services with DP_SVC_MOVES. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, DP_MEET_ROWS);
	__type(key, __u32);
	__type(value, __u32);
} dp_meet SEC(".maps");

/* connection -> the node that has it, which said so. Writer and reader TC on the mesh device. Full: the least recently used
 * goes; its owner says so again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct dp_flow_fwd_key);
	__type(value, struct dp_pointer);
} dp_pointer SEC(".maps");

/* Pointers that are to be left elsewhere. Writer TC; reader edged. Full: left at a later time. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, DP_LEAVE_RING);
} dp_leave SEC(".maps");

/* fragmented datagram -> what was decided for its first fragment. Writers and readers XDP and TC, on fragments only.
 * Full: the least recently used goes. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct dp_frag_key);
	__type(value, struct dp_frag);
} dp_frag SEC(".maps");

/* The same for replies on their way out of a worker: no flood from outside must make it forget one, for what follows would
 * leave under the worker's own address. Writer and reader TC. Full: the least recently used goes. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct dp_frag_key);
	__type(value, struct dp_frag);
} dp_frag_out SEC(".maps");

/* Hops to other nodes in the window under way, by a hash of service and node; those that share an entry share its
 * budget. Writers and readers TC, when they hop. */
#define DP_HOPS_BITS 12
struct dp_hops {
	__u64 window;
	__u64 used;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << DP_HOPS_BITS);
	__type(key, __u32);
	__type(value, struct dp_hops);
} dp_hops SEC(".maps");

/* enum dp_rate_kind -> answers given in the window under way, per CPU. Writers and readers: who answers. */
enum dp_rate_kind {
	DP_RATE_PING = 0,    /* data-path pings */
	DP_RATE_ECHO = 1,    /* ICMP echo */
	DP_RATE_ERROR = 2,   /* ICMP errors and resets of our own */
	DP_RATE_REJECT = 3,  /* what XDP lets through to TC to be refused there */
	DP_RATE_POINTER = 4, /* pointers noted */
	DP_RATE_KINDS
};
struct dp_rate {
	__u64 window;
	__u64 used;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DP_RATE_KINDS);
	__type(key, __u32);
	__type(value, struct dp_rate);
} dp_rate SEC(".maps");

/* service -> its rates, as dp_meter.h keeps them. Writers and readers XDP and TC, for services with DP_SVC_GATE. */
struct dp_gate {
	__u64 due;	  /* packets */
	__u64 syn_due;	  /* SYNs of sources not proved, in XDP */
	__u64 syn_until;  /* challenged until then */
	__u64 syn_tc_due; /* SYNs that XDP did not see */
	__u64 pad[4];	  /* a cache line each: a flood on one service slows no other */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct dp_gate);
} dp_gate SEC(".maps");

/* service -> packets that this CPU has taken from its rate and not used yet. */
struct dp_lot {
	__u64 taken; /* when */
	__u32 left;
	__u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct dp_lot);
} dp_lot SEC(".maps");

/* source prefix at a service -> its rate. Writers and readers XDP and TC, for services with source_pps. Full: the least
 * recently used goes, and may begin anew. */
struct dp_source_key {
	__u8 addr[16];
	__u32 svc_idx;
	__u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct dp_source_key);
	__type(value, __u64);
} dp_source SEC(".maps");

/* source that proved its address in a SYN flood -> until when that is good, jiffies. Writer XDP; readers XDP and TC. Full: the
 * least recently used goes, and must prove itself again. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct dp_addr_key);
	__type(value, __u64);
} dp_proved SEC(".maps");

#endif
