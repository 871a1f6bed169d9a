/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/model/model.h - what the forwarder has to do with a frame, once more in plain C: from docs/DATAPATH.md and
 * bpf/dp_abi.h, sharing no code with the BPF programs but the hash of dp_hash.h.
 *
 * World     the contents of the maps, and what the tables of flows and fragments hold; model_run() keeps those up
 * Mesh      an Ethernet, as in tests/lib/bpf_fixture.h, without fabric
 * Not here  rates, SYN floods, connection ids, what other workers passed on, errors of our own: is_unknown says so
 * Time      stands still: nothing is idle, no window passes
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/dp_abi.h"
#include "bpf/dp_reasons.h"

#define MODEL_FRAME_MAX 4096
#define MODEL_VIPS 16
#define MODEL_DIRS 40
#define MODEL_PAGES 64
#define MODEL_SVCS 64
#define MODEL_BACKENDS 64
#define MODEL_NODES 16
#define MODEL_ROWS 3514
#define MODEL_FILTERS 32
#define MODEL_FLOWS 1024
#define MODEL_FRAGS 1024
#define MODEL_POINTERS 1024

enum model_hook {
	MODEL_XDP,
	MODEL_PUB_IN,
	MODEL_MESH_IN,
	MODEL_MESH_OUT,
	MODEL_UP_OUT,
	MODEL_BR_IN,
	MODEL_HOOKS
};

struct model_flow {
	uint8_t client[16], vip[16], local[16]; /* local: zero for sockets of the host */
	uint16_t cport, vport, app_cport, bport;
	uint8_t l4_proto;
	uint32_t slot, use_count, edge_idx, state;
	bool is_assured;
	/* Not here, but there, which was asked for its pointer or has the flow; ports and backend mean nothing then. */
	uint32_t away_idx;
	bool is_asked;
};

struct model_pointer {
	struct dp_flow_fwd_key key;
	uint32_t node_idx;
};

struct model_frag {
	struct dp_frag_key key;
	uint32_t backend_idx, svc_idx, slot, node_idx, first_bytes, count;
	uint8_t vip[16];
};

struct model_world {
	struct dp_host host;
	struct dp_self self;
	struct dp_ctl ctl;
	struct dp_vip vip[MODEL_VIPS]; /* from 1 */
	uint32_t vip_count;
	uint32_t portdir[MODEL_DIRS * DP_PORTS_PER_PAGE], portpage[MODEL_PAGES * DP_PORTS_PER_PAGE];
	struct dp_svc svc[MODEL_SVCS];
	struct dp_row row[MODEL_ROWS];
	uint64_t backend[MODEL_BACKENDS];
	struct dp_node node[MODEL_NODES];
	struct dp_local local[MODEL_BACKENDS]; /* by token slot */
	struct {
		struct dp_filter_key key;
		uint32_t verb;
	} filter[MODEL_FILTERS];
	uint32_t filter_count;
	struct model_flow flow[MODEL_FLOWS];
	uint32_t flow_count;
	uint32_t meet[DP_MEET_ROWS];
	struct model_pointer pointer[MODEL_POINTERS];
	uint32_t pointer_count;
	struct model_frag frag[MODEL_FRAGS];
	uint32_t frag_count;
};

struct model_answer {
	bool is_unknown;
	int action; /* XDP_*, or TC_ACT_* */
	uint32_t reason;
	/* XDP, where it passes: the verdict for TC */
	uint32_t verdict, verdict_row, svc_idx;
	/* what goes on; from `same_from` on it must be so */
	uint8_t frame[MODEL_FRAME_MAX];
	size_t len, same_from;
	size_t sum_at[8]; /* checksums: 0 and 0xffff mean the same there */
	size_t sums;
	uint32_t mark;
};

void model_run(struct model_world *w, enum model_hook hook, const uint8_t *frame, size_t len,
	       uint32_t mark, struct model_answer *ret_answer);

/* ---- between the two halves of the model: model.c the edge, model_worker.c the rest, model_parse.c ---- */

enum { MODEL_WHOLE, MODEL_FIRST, MODEL_LATER };

struct model_pkt {
	uint8_t src[16], dst[16];
	uint16_t sport, dport;
	size_t l3, l4, l3_bytes;
	uint32_t frag_id; /* as it stands in memory */
	size_t frag_at, frag_head;
	uint8_t family, l4_proto, frag, tcp_flags, icmp_type, icmp_code;
	size_t l4_bytes;
	bool has_addrs, is_df;
};

struct model_choice {
	uint32_t row, svc_idx, backend_idx;
	uint32_t prev_idx; /* the row's owner before */
};

/* A packet's step: the world, what stands in the frame, what will be answered. */
struct model_step {
	struct model_world *w;
	struct model_answer *a;
	struct model_pkt p;
	enum model_hook hook;
	uint32_t hop_idx, hop_flags; /* MODEL_HOP: to that node */
};
#define MODEL_HOP DP_REASON_COUNT /* no reason: it goes on to another node */

uint32_t model_get16(const uint8_t *p);
uint32_t model_get32(const uint8_t *p);
void model_put16(uint8_t *p, uint32_t v);
/* 0, or the reason to drop. */
uint32_t model_parse(const uint8_t *frame, size_t len, size_t l3, bool is_v6, struct model_pkt *p);
/* The same without the transport's header. */
uint32_t model_parse_l3(const uint8_t *frame, size_t len, size_t l3, bool is_v6,
			struct model_pkt *p);
/* A checksum, after `bytes` (even) have changed. */
void model_carry_sum(uint8_t *sum_at, const uint8_t *from, const uint8_t *to, size_t bytes);
bool model_is_whole(const struct model_pkt *p, size_t len);
/* The packet that an ICMP error quotes; is_reply: turned around, so that it looks as its flow's packets. False: nothing to go
 * by. */
bool model_quoted(const struct model_step *s, bool is_reply, struct model_pkt *q);
/* An error: its address on the service's side, and the quoted packet's, become `addr`; the quoted ports, as they stand. */
void model_put_quoted(struct model_step *s, const struct model_pkt *q, bool is_src,
		      const uint8_t *addr, uint16_t sport, uint16_t dport);
bool model_is_icmp(const struct model_pkt *p);
bool model_is_tcp_udp(const struct model_pkt *p);
bool model_is_mapped4(const uint8_t *addr);
const struct dp_vip *model_vip(const struct model_world *w, const uint8_t *addr);
uint32_t model_svc_on(const struct model_world *w, const struct dp_vip *vip, uint8_t l4_proto,
		      uint32_t port);
/* The flow's row, or the first of four others whose owner can serve; 0 or the reason. */
uint32_t model_choose(const struct model_world *w, const struct model_pkt *p,
		      struct model_choice *c);
void model_drop(struct model_step *s, uint32_t reason);
void model_end(struct model_step *s, uint32_t reason, int action);
struct model_frag *model_frag_put(struct model_step *s, uint32_t where);
uint32_t model_frag_follow(struct model_step *s, uint32_t where, struct model_frag **ret_frag);
/* Puts the tunnel around the packet at byte 14; seq 0: no sequence word. is_told: if it doesn't fit, the client hears of it. */
void model_encap(struct model_step *s, uint32_t node_idx, uint32_t key, uint32_t seq, bool is_told,
		 uint32_t reason);
/* Where the transport's checksum is, 0 = none, or none that is in use. */
size_t model_l4_sum_at(const struct model_step *s);
/* Bytes (even) that the transport's checksum covers; is_addr4: the IPv4 header's, too. */
void model_put_bytes(struct model_step *s, size_t at, const uint8_t *to, size_t bytes,
		     bool is_addr4);
void model_put_addr(struct model_step *s, bool is_src, const uint8_t *addr);
void model_put_port(struct model_step *s, size_t at, uint16_t port);
void model_note_sums(struct model_step *s);
void model_clamp_mss(struct model_step *s, size_t tunnel_bytes);
/* A packet for a backend of this machine; tunnel_bytes 0: it came in on the public interface. */
void model_deliver(struct model_step *s, uint32_t token, uint32_t edge_idx, size_t inner,
		   size_t tunnel_bytes);
void model_mesh_in(struct model_step *s);
/* model_moves.c. Who may know the connection that began elsewhere: true with hop_* filled in, and it is noted. */
bool model_move_ask(struct model_step *s, uint32_t svc_idx, uint32_t edge_idx);
/* A flow that is away: true with hop_* filled in, false: it no longer counts. */
bool model_move_follow(struct model_step *s, struct model_flow *f, uint32_t edge_idx);
/* The packet's way on, out of its tunnel, if it had one, into another. */
void model_move_hop(struct model_step *s, uint32_t token, uint32_t edge_idx);
bool model_move_is_pointer(const struct model_step *s);
void model_move_note(struct model_step *s, uint32_t from_idx);
bool model_may_be_at(const struct model_world *w, uint32_t node, uint8_t l4_proto,
		     uint32_t svc_idx);
void model_reply(struct model_step *s, uint32_t mark);

#endif
