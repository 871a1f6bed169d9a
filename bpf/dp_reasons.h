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
	X(XDP_PASS, "xdp_pass", 0, "edge: XDP left it to TC, not for a VIP")

enum dp_reason {
#define DP_REASON_ENUM(name, text, drop, meaning) DP_R_##name,
	DP_REASONS(DP_REASON_ENUM)
#undef DP_REASON_ENUM
		DP_REASON_COUNT
};
#define DP_REASON_SLOTS 64u /* size of the map: room to append without a new ABI */
_Static_assert(DP_REASON_COUNT <= DP_REASON_SLOTS, "dp_reason map is too small");

#endif
