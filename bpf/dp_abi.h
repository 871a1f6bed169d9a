/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_abi.h - what the BPF programs and user space share: keys, values, flags, limits.
 *
 * Included by bpf/ programs (clang -target bpf) and by edge/ (gcc). Fixed width only, no hidden padding,
 * every struct has a size assert. Change anything here: bump DP_ABI_VERSION, edit docs/DATAPATH.md.
 *
 * Addresses  16 bytes, network order; IPv4 is v4-mapped (::ffff:a.b.c.d)
 * Ports      __be16 where the name ends in _be, else host order
 * Writers    each map has one writer, named at its struct; readers never write, counters and flows excepted
 * Indexes    0 means "none" for service, backend, node, port page and port directory indexes
 */
#ifndef DP_ABI_H
#define DP_ABI_H

#include <linux/types.h>

#if !defined(DP_ABI_VERSION) /* a test builds the programs of the next one */
#define DP_ABI_VERSION 4
#endif

#define DP_ASSERT_SIZE(type, bytes)                                                                \
	_Static_assert(sizeof(type) == (bytes), #type " has changed size")

/* Limits: the largest sizes of the maps; edgefwd may create them smaller (struct dp_sizes). */
#define DP_SVC_MAX 16384u      /* service slots: one per (service, family) */
#define DP_BACKEND_MAX 262144u /* backends an edge can know */
#define DP_NODE_MAX 8192u      /* nodes an edge can know */
#define DP_LOCAL_MAX 16384u    /* a worker's own backends: 14-bit token slot */
#define DP_ROWS_MAX (1u << 26) /* rows of all tables: 27-bit offset in the table word */
#define DP_SUBST_TRIES 4u      /* rows tried after a dead owner before the packet is dropped */
#define DP_VIP_MAX 4096u       /* VIPs an edge can know */
#define DP_FILTER_MAX 65536u   /* prefixes in all deny and allow lists together */

/* ---- VIPs. Writer edged: entry, then dp_vipmap, then slot; in reverse when a VIP goes.
 * dp_vip (ARRAY, mmapable)     VIP index -> its address and port directories
 * dp_vipmap (HASH)             address -> VIP index
 * dp_vipslot (ARRAY, __u32, mmapable)  dp_vip_slot(address) -> 0: no VIP has this slot; DP_VIP_SLOT_ASK: several have,
 *                              ask dp_vipmap; else the index of the only one. Readers compare the address. */
struct dp_vip {
	__u8 addr[16];
	__u32 dir_tcp; /* directory: dp_portdir[dir * 256 + (port >> 8)] = page index; 0 = no service on TCP */
	__u32 dir_udp;
	__u32 flags; /* DP_VIP_* */
	__u32 pad;
};
DP_ASSERT_SIZE(struct dp_vip, 32);
#define DP_VIP_REJECT 1u /* what no service takes is answered with an ICMP error, within a limit */
#define DP_VIP_SLOTS 16384u
#define DP_VIP_SLOT_ASK 0xffffffffu

/* dp_portdir (ARRAY, __u32, mmapable): page index, 0 = no service on these 256 ports. Writer edged.
 * dp_portpage (ARRAY, __u32, mmapable): dp_portpage[page * 256 + (port & 255)] = service index. Writer edged. */
#define DP_PORTS_PER_PAGE 256u

/* ---- dp_svc (ARRAY, mmapable): one service in one family, or one part of a split port range. Writer edged.
 * `table` is stored and read as one aligned 64-bit word: that store is the flip to a rebuilt table. */
struct dp_svc {
	__u64 table; /* DP_TABLE(offset, size class), 0 = no table: drop no_backend */
	__u32 flags; /* DP_SVC_* */
	__u32 rows; /* rows of the table in force, for readers of dumps; the program derives it from `table` */
	__u16 port_lo; /* lowest port of the service: backend port = base + (dport - port_lo) */
	__u8 hash;     /* enum dp_hash_policy */
	__u8 family;   /* 4 or 6 */
	__u32 svc_id;  /* 32-bit hash of the service's name, the same for both families */
	__u32 local_slot; /* 1 + dp_local slot of a live backend of it here, 0 = none: for tokens that miss */
	__u32 pps; /* DP_SVC_GATE: packets a second of the whole service at this edge, 0 = no limit */
	__u32 source_pps; /* the same for each source prefix */
	__u32 syn_pps;	  /* more SYNs a second than this: clients are challenged; 0 = never */
	__u32 hop_pps;	  /* second-chance hops a second at this worker, 0 = the default */
	__u8 prefix4;	  /* bits of a source prefix for source_pps, IPv4 */
	__u8 prefix6;
	__u8 pad[18];
};
DP_ASSERT_SIZE(struct dp_svc, 64);
#define DP_SVC_GATE 1u	    /* has a limit or a list: ask the gate */
#define DP_SVC_FILTER 2u    /* has prefixes of its own in dp_filter */
#define DP_SVC_CLOSED 4u    /* only sources that a prefix of its own allows */
#define DP_SVC_QUIC 8u	    /* connection ids name the backend, see dp_quic */
#define DP_SVC_DIRECT 16u   /* return=direct: the worker answers from the VIP itself */
#define DP_SVC_CARRY 32u    /* mtu=carry: no too-big to clients, the mesh fragments */
#define DP_SVC_UDP_STAY 64u /* udp_suspect=stay: UDP flows are looked for on suspect nodes, too */
#define DP_SVC_MOVES 128u   /* moves=on: long connections leave pointers, see dp_meet */

enum dp_hash_policy {
	DP_HASH_5TUPLE = 0,
	DP_HASH_SOURCE = 1,
	DP_HASH_PACKET = 2,
};

/* Table word: offset (rows) in bits 0..31, size class in bits 32..39, bit 63 set when there is a table. */
#define DP_TABLE_VALID (1ull << 63)
#define DP_TABLE(offset, size_class)                                                               \
	(DP_TABLE_VALID | ((__u64)(size_class) << 32) | (__u32)(offset))
#define DP_TABLE_OFFSET(word) ((__u32)(word))
#define DP_TABLE_CLASS(word) ((__u32)((word) >> 32) & 0xffu)
#define DP_SIZE_CLASSES 6u
/* Primes, so that Maglev's skip visits every row (Maglev, NSDI 2016, section 3.4); class 5 is for one backend alone. */
#define DP_SIZE_CLASS_LIST                                                                         \
	{                                                                                          \
		251u, 1021u, 4099u, 16381u, 65537u, 1u                                             \
	}

/* ---- dp_rows (ARRAY, mmapable): Maglev rows of all services, a flat pool. Writer edged. */
struct dp_row {
	__u32 owner; /* backend index */
	__u32 prev;  /* previous owner's backend index, 0 = none */
};
DP_ASSERT_SIZE(struct dp_row, 8);

/* ---- dp_backend (ARRAY of __u64, mmapable): one word per backend as an edge sees it. Writer edged.
 * bits 0..23 token, 24..47 node index, 48..55 enum dp_be_state. */
#define DP_BE_WORD(state, node_idx, token)                                                         \
	(((__u64)(state) << 48) | ((__u64)((node_idx)&0xffffffu) << 24) | ((token)&0xffffffu))
#define DP_BE_TOKEN(word) ((__u32)(word)&0xffffffu)
#define DP_BE_NODE(word) ((__u32)((word) >> 24) & 0xffffffu)
#define DP_BE_STATE(word) ((__u32)((word) >> 48) & 0xffu)
enum dp_be_state {
	DP_BE_DEAD = 0, /* also: no such backend */
	DP_BE_UP = 1,
};

/* ---- dp_node (ARRAY, mmapable): one node of the mesh. Writer edged. `state` is written alone, as one word. */
struct dp_node {
	__u32 state;	/* enum dp_node_state */
	__u32 node_num; /* first 4 bytes of the node id */
	__u8 addr[16];	/* mesh address */
	__u32 flags;	/* DP_NODE_* */
	__u32 pad;
};
DP_ASSERT_SIZE(struct dp_node, 32);
enum dp_node_state {
	DP_NODE_DOWN = 0,
	DP_NODE_UP = 1,
	DP_NODE_SUSPECT =
		2, /* nothing new goes there; flows that it may have do: dp_node_may_have() */
};
#define DP_NODE_SELF 1u /* this machine: deliver here, don't encapsulate */

/* ---- dp_known (HASH): mesh address -> node index; GRE from any other source is dropped. Writer edged. */
struct dp_addr_key {
	__u8 addr[16];
};
DP_ASSERT_SIZE(struct dp_addr_key, 16);

/* ---- dp_num (HASH): node number -> node index, for the GRE sequence word. Writer edged. */

/* ---- dp_l2 (ARRAY): node index -> the way to it on a mesh over Ethernet. Writer edgefwd, from the neighbour table. */
struct dp_l2 {
	__u8 addr
		[16]; /* the mesh address it belongs to: node indexes are used again, readers compare */
	__u8 dst[6];
	__u8 src[6];
	__u32 ifindex; /* 0 = not known: the kernel finds the neighbour, in TC */
};
DP_ASSERT_SIZE(struct dp_l2, 32);

/* ---- dp_quic (HASH): server id in a connection id -> backend index. Writer edged. docs/DATAPATH.md has the encoding. */
struct dp_quic_key {
	__u32 svc_id;
	__u32 server_id; /* host order */
	__u8 family; /* of the packet: one server may be a backend of each family, under one id */
	__u8 pad[3];
};
DP_ASSERT_SIZE(struct dp_quic_key, 12);
#define DP_QUIC_ID_AT 1u /* where the server id stands in a connection id, behind the first octet */
#define DP_QUIC_ID_BYTES                                                                           \
	4u /* server id, big-endian; at least 4 octets of nonce follow (draft-ietf-quic-load-balancers) */
#define DP_QUIC_CONFIG 0u /* the first octet's upper 3 bits; no other configuration is read */

/* ---- dp_filter (LPM_TRIE): deny and allow lists. Writer edged. */
struct dp_filter_key {
	__u32 prefix_bits; /* 32 + those of the address (v4-mapped: 96 + the prefix length) */
	__u32 svc_id;	   /* 0 = of every service */
	__u8 addr[16];
};
DP_ASSERT_SIZE(struct dp_filter_key, 24);
enum dp_filter_verb { DP_FILTER_DENY = 1, DP_FILTER_ALLOW = 2 }; /* the value, __u32 */

/* ---- dp_ctl (ARRAY[1], mmapable): what is switched at run time. Writer edged; zero = all off. */
struct dp_ctl {
	__u32 flags;	       /* DP_CTL_* */
	__u32 capture_every;   /* one packet in so many goes to dp_capture, 0 = none */
	__u64 capture_reasons; /* bit per enum dp_reason; 0 = all */
	__u32 hist_every;      /* time one packet in so many, 0 = none */
	__u32 quic_gen; /* counts changes of dp_quic: what programs remember of it holds for one number */
	__u64 capture_reasons_hi; /* reasons 64 and up */
};
DP_ASSERT_SIZE(struct dp_ctl, 32);
#define DP_CTL_FILTER 1u /* there are prefixes of every service in dp_filter */

/* ---- dp_local (ARRAY): this worker's backends by token slot. Writer edged. */
struct dp_local {
	__u8 addr[16]; /* where the application listens; v4-mapped for IPv4 */
	__u32 svc_idx; /* dp_svc index this backend serves */
	__u32 ifindex; /* bridge (or lone veth/tap) it is reached through, 0 = a socket of this host */
	__u16 port;    /* base port, see dp_svc.port_lo */
	__u16 use_count;   /* 10 bits: the token's second half */
	__u32 backend_idx; /* this backend's own index in dp_backend, for counters */
	__u8 live;	   /* 1 = serves; 0 = slot is free or resting */
	__u8 watch_proto;  /* a refusal here is a signal (dp_signal.h); 0 = nowhere */
	__be16 watch_port_be;
	__u8 pad[4];
};
DP_ASSERT_SIZE(struct dp_local, 40);
#define DP_TOKEN_SLOT_BITS 14u
#define DP_TOKEN_USE_BITS 10u
#define DP_TOKEN(slot, use_count) ((((use_count)&0x3ffu) << DP_TOKEN_SLOT_BITS) | ((slot)&0x3fffu))
#define DP_TOKEN_SLOT(token) ((token)&0x3fffu)
#define DP_TOKEN_USE(token) (((token) >> DP_TOKEN_SLOT_BITS) & 0x3ffu)

/* ---- GRE key on the wire (RFC 2890; host order here): 2 bits version, 6 bits flags, 24 bits token. */
#define DP_GRE_VERSION 0u
#define DP_GRE_KEY(flags, token)                                                                   \
	((DP_GRE_VERSION << 30) | ((__u32)(flags) << 24) | ((token)&0xffffffu))
#define DP_GRE_KEY_VERSION(key) ((key) >> 30)
#define DP_GRE_KEY_FLAGS(key) (((key) >> 24) & 0x3fu)
#define DP_GRE_KEY_TOKEN(key) ((key)&0xffffffu)
#define DP_GRE_F_REPLY                                                                             \
	1u /* worker -> edge: decapsulate and send to the client; token is the worker's own, unused */
#define DP_GRE_F_SECOND                                                                            \
	2u /* second chance: passed on by a worker; sequence word = edge's node number */
#define DP_GRE_F_FINAL                                                                             \
	4u		/* came back from the previous owner, or goes no further: adopt, or drop */
#define DP_GRE_F_ASK 8u /* with SECOND: a pointer to the flow is an answer, too (dp_pointer) */
#define DP_GRE_F_TELL                                                                              \
	16u /* that answer: sequence word = number of the node that has the flow; alone */
#define DP_GRE_F_LAST                                                                              \
	32u /* with SECOND|FINAL: the keeper of pointers has been asked already; it is not asked again */
#define DP_GRE_BYTES 8u /* flags+protocol, key */
#define DP_GRE_SEQ_BYTES                                                                           \
	4u /* with the sequence word: previous owner's node number, or with SECOND and FINAL the edge's */

/* ---- Metadata from XDP to TC, in front of every passed packet. It names rows of one set of maps, so a program of another
 * ABI does not read it, and decides by itself. Nothing in it may differ between the packets of one flow: GRO merges only
 * what has equal metadata. */
#define DP_VERDICT_VERSION DP_ABI_VERSION
struct dp_verdict {
	__u16 magic;  /* DP_VERDICT_MAGIC */
	__u8 version; /* DP_VERDICT_VERSION */
	__u8 verdict; /* enum dp_verdict_kind */
	__u32 row; /* FORWARD: absolute index into dp_rows, after substitution. BACKEND: backend index */
	__u32 svc_idx;
	__u32 key;	/* TUNNEL: the GRE key, host order */
	__u32 from_idx; /* TUNNEL: dp_node index of the sender */
	__u32 seq; /* TUNNEL: sequence word, 0 = none. FORWARD: previous owner, a backend index, 0 = none */
};
DP_ASSERT_SIZE(struct dp_verdict, 24);
#define DP_VERDICT_MAGIC 0xed6eu
enum dp_verdict_kind {
	DP_VERDICT_PASS = 0,	/* not ours: the host's own stack has it */
	DP_VERDICT_FORWARD = 1, /* the owner of `row` gets it */
	DP_VERDICT_BACKEND = 2, /* that backend gets it, whatever the rows say (connection ids) */
	DP_VERDICT_TUNNEL = 3,	/* was in a tunnel, which XDP took off */
};

/* ---- dp_host (ARRAY[1]): facts about this host. Writer edgefwd. */
struct dp_host {
	__u32 abi; /* DP_ABI_VERSION; edged refuses another one */
	__u32 mesh_ifindex;
	__u32 uplink_ifindex; /* replies to clients and local deliveries go through this one */
	__u32 gre_mark; /* skb mark of packets that our programs encapsulated; random per boot. Here in every ABI */
	__u8 uplink_mac[6];
	__u16 mesh_mtu;	     /* bytes of the largest outer packet */
	__u8 mesh_addr4[16]; /* own mesh addresses, zero = none */
	__u8 mesh_addr6[16];
	__u32 deliver_ifindex4; /* host sockets get their packets through it: the uplink, or 0 = the mesh device */
	__u32 deliver_ifindex6; /*   itself, where reverse path filtering would refuse the uplink */
	__u32 flags;		/* DP_HOST_* */
	__u32 pad;
};
DP_ASSERT_SIZE(struct dp_host, 72);
#define DP_HOST_FABRIC 1u	/* the mesh is a trusted Ethernet: XDP takes tunnels off there */
#define DP_HOST_UPLINKS 2u	/* several uplinks: dp_egress says which one leads to a client */
#define DP_HOST_FABRIC_OUT 4u	/* and XDP on the public interfaces puts them on (dp_l2) */
#define DP_HOST_FABRIC_REPLY 8u /* and XDP on the mesh interface can send out of every uplink */

/* ---- dp_egress (LPM_TRIE): destination -> interface, __u32. Writer edgefwd, from the routing table. */
struct dp_egress_key {
	__u32 prefix_bits; /* v4-mapped: 96 + the prefix length */
	__u8 addr[16];
};
DP_ASSERT_SIZE(struct dp_egress_key, 20);

/* ---- dp_self (ARRAY[1]): what gossip says about this node. Writer edged. */
struct dp_self {
	__u64 seed[2]; /* SipHash key of the flow hash: the same on all nodes of a cluster */
	__u32 node_num;
	__u32 node_idx; /* this node's own index in dp_node */
	__u32 ready; /* 1 = seed and tables are in; before that every VIP packet is dropped (not_ready) */
	__u32 pad;
};
DP_ASSERT_SIZE(struct dp_self, 32);

/* ---- dp_beat (ARRAY[1], mmapable): heartbeats, CLOCK_MONOTONIC seconds. Writers: each its own word. */
struct dp_beat {
	__u64 edgefwd_s;
	__u64 edged_s;
};
DP_ASSERT_SIZE(struct dp_beat, 16);

/* ---- Flow tables of a worker (LRU_HASH): dp_fwd_new, dp_fwd (assured), dp_rev_new, dp_rev (assured).
 * Writer: the TC programs. The flow table has a version of its own and survives ABI bumps. */
#define DP_FLOW_VERSION 2
struct dp_flow_fwd_key {
	__u8 client[16];
	__u8 vip[16];
	__be16 cport_be;
	__be16 vport_be;
	__u8 l4_proto;
	__u8 pad[3];
};
DP_ASSERT_SIZE(struct dp_flow_fwd_key, 40);

struct dp_flow_fwd {
	__u32 slot; /* dp_local slot */
	__u16 use_count; /* of that slot when the flow began: another one means another backend lives there */
	__be16 cport_be; /* client's port as the application sees it: shifted when two flows would share a reply key */
	__u32 edge_idx; /* dp_node index of the edge that sent the last packet; own index = this machine */
	__u32 seen_s; /* seconds since boot, for idle times */
	__u32 away_idx; /* dp_node index of the node that has this flow, 0 = it is here. Then slot is 0, use_count an
			 * enum dp_away; but for an own entry in doubt, which has its cport_be */
	__u32 state; /* enum dp_flow_state */
};
DP_ASSERT_SIZE(struct dp_flow_fwd, 24);
/* Why it is thought to be there. */
enum dp_away {
	DP_AWAY_PREV = 0,  /* it was there before */
	DP_AWAY_ASKED = 1, /* that node is asked who has it */
	DP_AWAY_TOLD = 2,  /* and said so */
};
/* Bits; of TCP alone. */
enum dp_flow_state {
	DP_FLOW_OPEN = 0,
	DP_FLOW_FIN_IN = 1,  /* the client's FIN was seen */
	DP_FLOW_FIN_OUT = 2, /* the backend's */
	DP_FLOW_CLOSING = 4, /* both were, or a reset of either side */
};

struct dp_flow_rev_key {
	__u8 client[16];
	__u8 local[16]; /* zero for host sockets: a wildcard application answers from any address */
	__be16 cport_be; /* as the application sees it */
	__be16 bport_be; /* the application's port */
	__u8 l4_proto;
	__u8 pad[3];
};
DP_ASSERT_SIZE(struct dp_flow_rev_key, 40);

struct dp_flow_rev {
	__u8 vip[16];
	__be16 vport_be;
	__be16 cport_be; /* the client's real port */
	__u32 edge_idx;
	__u32 seen_s;
	__u32 slot;
	__u32 use_count; /* of that slot when the flow began */
	__u32 state;	 /* enum dp_flow_state */
};
DP_ASSERT_SIZE(struct dp_flow_rev, 40);

/* ---- Pointers: where long connections live, for workers that were never told (bpf/dp_meet.h).
 * dp_meet (ARRAY, __u32)            dp_meet_row(flow hash) -> node index of the edge where pointers to such flows are kept;
 *                                   0 = nowhere. In terms of nodes the same on all of them. Writer edged
 * dp_pointer (LRU_HASH)             struct dp_flow_fwd_key -> who has that flow. Writer: TC, from struct dp_pointer_msg
 * dp_leave (RINGBUF)                struct dp_leave: a pointer to be left at a node. Writer TC; reader edged, which sends it
 */
#define DP_MEET_ROWS 1024u
struct dp_pointer {
	__u32 node_idx;
	__u32 seen_s; /* seconds since boot, when it was left */
};
DP_ASSERT_SIZE(struct dp_pointer, 8);
#define DP_LEAVE_RING (1u << 16)
struct dp_leave {
	struct dp_flow_fwd_key key;
	__u32 node_idx; /* where */
	__u32 pad;
};
DP_ASSERT_SIZE(struct dp_leave, 48);
/* UDP to DP_PING_PORT of a mesh address: its sender has this connection. Never answered. */
#define DP_POINTER_MAGIC_BE 0x65644d31u /* "edM1", as it stands on the wire */
struct dp_pointer_msg {
	__be32 magic_be;
	__u8 pad[4];
	struct dp_flow_fwd_key key;
};
DP_ASSERT_SIZE(struct dp_pointer_msg, 48);

/* ---- dp_frag and, for WORKER_OUT, dp_frag_out (LRU_HASH): what was decided for the first fragment of a datagram, for those that follow it.
 * Writer: XDP and TC programs; touched by fragments only. */
struct dp_frag_key {
	__u8 src[16];
	__u8 dst[16];
	__u32 id;      /* IPv6 fragment id, or the IPv4 id */
	__u8 l4_proto; /* IPv4; 0 for IPv6 */
	__u8 where;    /* enum dp_frag_where */
	__u8 pad[2];
};
DP_ASSERT_SIZE(struct dp_frag_key, 40);
enum dp_frag_where {
	DP_FRAG_EDGE_IN = 0,	/* client -> edge */
	DP_FRAG_WORKER_IN = 1,	/* edge -> worker */
	DP_FRAG_WORKER_OUT = 2, /* backend -> */
	DP_FRAG_EDGE_OUT = 3,	/* worker -> edge */
};
struct dp_frag {
	__u32 row;  /* EDGE_IN: as in dp_verdict */
	__u32 kind; /* EDGE_IN: enum dp_verdict_kind */
	__u32 svc_idx;
	__u32 slot;	/* WORKER_IN: dp_local slot */
	__u32 node_idx; /* WORKER_IN: away_idx of the flow; WORKER_OUT: the edge it goes back to */
	__u32 seen_s;
	__u32 count;	   /* fragments that followed */
	__u16 drop;	   /* 1: the first one was not served, nor are these */
	__u16 first_bytes; /* of the datagram, in the first one: no other may begin before them */
	__u8 vip[16];	   /* WORKER_OUT */
};
DP_ASSERT_SIZE(struct dp_frag, 48);

/* ---- Counters. dp_reason (PERCPU_ARRAY of __u64 by enum dp_reason); writer: programs, one bump per exit.
 * dp_svc_stat / dp_be_stat (PERCPU_ARRAY of struct dp_stat by service / backend index). */
struct dp_stat {
	__u64 packets;
	__u64 bytes;
};
DP_ASSERT_SIZE(struct dp_stat, 16);

/* ---- Data-path ping (DESIGN: the second life of a node). UDP to the mesh address, answered in TC. */
#define DP_PING_PORT                                                                               \
	7947u /* destination port of requests; replies go to the request's source port */
#define DP_PING_BYTES 16u	     /* payload: magic, kind, cookie */
#define DP_PING_MAGIC_BE 0x65645031u /* "edP1", as it stands on the wire */
struct dp_ping {
	__be32 magic_be;
	__be32 kind_be; /* 0 request, 1 reply */
	__u8 cookie[8];
};
DP_ASSERT_SIZE(struct dp_ping, 16);

/* ---- dp_pulse (ARRAY, mmapable): token slot -> the last packet to its backend that wants an answer, its last answer, in
 * ticks of the kernel's clock, for comparing with itself alone; and its signals. Writer: the TC programs. */
struct dp_pulse {
	__u32 asked;
	__u32 heard;
	__u64 due_ns; /* no signal before that */
	__u32 held;   /* signals that came too soon after the last one */
	__u32 lost;   /* that found no room in the ring */
	__u64 pad;
};
DP_ASSERT_SIZE(struct dp_pulse, 32);

/* ---- dp_signal (RINGBUF of struct dp_signal): a backend of this worker refused a client's packet. Writer: the TC programs. */
#define DP_SIGNAL_RING (1u << 16)
#define DP_SIGNAL_NS 20000000ull /* at most one per backend and so many nanoseconds */
enum dp_signal_kind {
	DP_SIGNAL_PORT = 1,  /* ICMP: nobody has that port */
	DP_SIGNAL_HOST = 2,  /* ICMP: no way to it */
	DP_SIGNAL_RESET = 3, /* a SYN was answered with a reset */
};
struct dp_signal {
	__u64 time_ns; /* CLOCK_MONOTONIC */
	__u32 slot;
	__u32 use_count;
	__u32 held; /* dp_pulse.held so far */
	__u8 kind;  /* enum dp_signal_kind */
	__u8 l4_proto;
	__be16 port_be; /* of the backend */
};
DP_ASSERT_SIZE(struct dp_signal, 24);

#endif
