/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_reasons.h - every way out of a program, once: X(NAME, "name", drop, "what it means").
 *
 * BPF counts them, edgectl prints them, docs/DATAPATH.md lists them (a test compares).
 * `drop` is 1 where the packet is gone. Append only: the number is the index in dp_reason.
 */
#ifndef DP_REASONS_H
#define DP_REASONS_H

#define DP_REASONS(X)                                                                              \
	X(PASS_NOT_OURS, "pass_not_ours", 0, "not for a VIP: left to the host")                    \
	X(FORWARDED, "forwarded", 0, "edge: encapsulated towards a worker")                        \
	X(FORWARD_CHOSEN, "forward_chosen", 0, "edge: XDP chose a row and TC carries it out")      \
	X(LOCAL_DELIVERED, "local_delivered", 0,                                                   \
	  "edge: backend on this node, rewritten and delivered")                                   \
	X(DELIVERED_HOST, "delivered_host", 0, "worker: decapsulated to a socket of this host")    \
	X(DELIVERED_BRIDGE, "delivered_bridge", 0, "worker: decapsulated to a container or VM")    \
	X(REPLY_ENCAP, "reply_encap", 0, "worker: reply encapsulated to its edge")                 \
	X(REPLY_LOCAL, "reply_local", 0, "edge: reply of a local backend, VIP put back")           \
	X(REPLY_OUT, "reply_out", 0, "edge: reply decapsulated and sent to the client")            \
	X(PING_ANSWERED, "ping_answered", 0, "data-path ping answered")                            \
	X(MESH_PASS, "mesh_pass", 0, "mesh device: not GRE, left to the host")                     \
	X(MESH_OUT_MARKED, "mesh_out_marked", 0, "mesh device egress: our own GRE")                \
	X(NO_SERVICE, "no_service", 1, "to a VIP, but no service on this protocol and port")       \
	X(NO_BACKEND, "no_backend", 1, "service has no table or no usable backend")                \
	X(NOT_READY, "not_ready", 1, "edged has not filled the maps yet")                          \
	X(BAD_PACKET, "bad_packet", 1, "header malformed or cut short")                            \
	X(BAD_EXT_HEADER, "bad_ext_header", 1,                                                     \
	  "IPv6 extension header chain too long or not understood")                                \
	X(FRAGMENT, "fragment", 1, "fragment that can't be served")                                \
	X(REPLY_FRAGMENT, "reply_fragment", 1, "fragment of a reply: must not leave raw")          \
	X(PROTO_UNSUPPORTED, "proto_unsupported", 1, "to a VIP, neither TCP nor UDP")              \
	X(TOO_BIG, "too_big", 1, "does not fit the mesh MTU with its header")                      \
	X(ENCAP_FAILED, "encap_failed", 1, "kernel refused to make room or to write")              \
	X(NODE_NO_ADDR, "node_no_addr", 1, "owner's node has no mesh address of a family we have") \
	X(GRE_UNKNOWN_PEER, "gre_unknown_peer", 1, "GRE from an address that is no node's")        \
	X(GRE_BAD, "gre_bad", 1, "GRE header not of our form or version")                          \
	X(GRE_UNMARKED, "gre_unmarked", 1,                                                         \
	  "GRE out of the mesh device that our programs did not make")                             \
	X(TOKEN_UNKNOWN, "token_unknown", 1, "token matches no backend of that service here")      \
	X(FLOW_PORT_CLASH, "flow_port_clash", 1,                                                   \
	  "no free client port for a second flow with one reply key")                              \
	X(FLOW_TABLE_FULL, "flow_table_full", 1, "flow could not be stored")                       \
	X(REPLY_NOT_SERVICE, "reply_not_service", 1,                                               \
	  "edge: reply whose source is no service we know")                                        \
	X(REPLY_NO_EDGE, "reply_no_edge", 1, "worker: the edge of this flow is unknown now")       \
	X(REDIRECT_FAILED, "redirect_failed", 1, "no interface to send or deliver through")        \
	X(PING_LIMITED, "ping_limited", 1, "data-path ping over the rate limit")                   \
	X(FAMILY_MISMATCH, "family_mismatch", 1, "inner family is not the backend's")              \
	X(XDP_PASS, "xdp_pass", 0,                                                                 \
	  "edge: XDP left it to TC: not for a VIP, or to be refused there")                        \
	X(ECHO_ANSWERED, "echo_answered", 0, "ICMP echo to a VIP answered")                        \
	X(ICMP_LIMITED, "icmp_limited", 1, "ICMP answer over the rate limit")                      \
	X(ICMP_UNKNOWN, "icmp_unknown", 1,                                                         \
	  "ICMP to a VIP, neither an echo nor about a flow of it")                                 \
	X(ICMP_NO_FLOW, "icmp_no_flow", 1, "worker: ICMP error about a flow that is not here")     \
	X(ICMP_DELIVERED, "icmp_delivered", 0,                                                     \
	  "worker: ICMP error delivered to the flow's backend")                                    \
	X(ICMP_BACK, "icmp_back", 0, "worker: ICMP error about a flow sent to its edge")           \
	X(ICMP_OUT, "icmp_out", 0, "edge: ICMP error sent to the client")                          \
	X(TOO_BIG_SENT, "too_big_sent", 1, "edge: did not fit the mesh, the client was told")      \
	X(REJECTED, "rejected", 1, "no service there: the client was told")                        \
	X(FRAG_FOLLOWED, "frag_followed", 0, "a later fragment went the way of the first")         \
	X(FRAG_NO_FIRST, "frag_no_first", 1, "later fragment whose first one was not seen")        \
	X(FRAG_TOO_MANY, "frag_too_many", 1, "more fragments of one datagram than are carried")    \
	X(PASSED_ON, "passed_on", 0, "worker: sent to the flow's previous owner")                  \
	X(PASSED_BACK, "passed_back", 0,                                                           \
	  "worker: previous owner does not know the flow, sent back")                              \
	X(HOP_LIMITED, "hop_limited", 0, "worker: no hop left in the budget: flow adopted")        \
	X(ADOPTED, "adopted", 0, "worker: nobody else has this flow: adopted")                     \
	X(DENIED, "denied", 1, "source is in a deny list, or in no allow list")                    \
	X(RATE_SERVICE, "rate_service", 1, "over the service's packet rate")                       \
	X(RATE_SOURCE, "rate_source", 1, "over the packet rate of its source prefix")              \
	X(SYN_CHALLENGED, "syn_challenged", 1,                                                     \
	  "SYN flood: the client was asked to prove its address")                                  \
	X(SYN_PROVED, "syn_proved", 1, "SYN flood: the client's proof, its address is let in")     \
	X(SYN_LIMITED, "syn_limited", 1, "SYN flood: challenge refused or not possible")           \
	X(FABRIC_OUT, "fabric_out", 0, "edge: encapsulated and sent in XDP")                       \
	X(FABRIC_IN, "fabric_in", 0, "worker: tunnel taken off in XDP, left to TC")                \
	X(FABRIC_REPLY, "fabric_reply", 0, "edge: reply's tunnel taken off and sent in XDP")       \
	X(REPLY_DIRECT, "reply_direct", 0, "worker: reply sent from the VIP, not through an edge") \
	X(SOURCE_IS_VIP, "source_is_vip", 1, "client's packet whose source is a VIP")              \
	X(POINTER_NOTED, "pointer_noted", 0, "a worker's pointer to a connection of its own")      \
	X(POINTER_REFUSED, "pointer_refused", 1,                                                   \
	  "pointer from an address that is no node's, or over the rate limit")                     \
	X(POINTED, "pointed", 0, "there is a pointer to this flow: who asked was told")

enum dp_reason {
#define DP_REASON_ENUM(name, text, drop, meaning) DP_R_##name,
	DP_REASONS(DP_REASON_ENUM)
#undef DP_REASON_ENUM
		DP_REASON_COUNT
};
#define DP_REASON_SLOTS 128u /* size of the map: room to append without a new ABI */
_Static_assert(DP_REASON_COUNT <= DP_REASON_SLOTS, "dp_reason map is too small");

#endif
