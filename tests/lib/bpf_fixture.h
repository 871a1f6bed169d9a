/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/lib/bpf_fixture.h - the forwarder's programs in a little world, run packet by packet in the kernel's test run.
 *
 * The test run puts an Ethernet header in front of every packet, so the mesh device is an Ethernet here
 * (dp_mesh_l2 = 14); tests/bpf/test_live.c runs the same programs on a TUN device, which has none.
 *
 * World     this node: index 1, mesh 10.99.0.1 and fd99::1. Node 2: 10.99.0.2. Node 3: fd99::3. Node 4: no address. A node's
 *           number is a thousand times its index
 *           backends and services: enum bf_svc; each VIP has its services on UDP and on TCP alike
 */
#ifndef BPF_FIXTURE_H
#define BPF_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/dp_abi.h"
#include "bpf/dp_reasons.h"
#include "tests/lib/bpf_pkt.h"

#define BF_MESH_IF 101u
#define BF_UPLINK_IF 102u
#define BF_BRIDGE_IF 103u
#define BF_MARK 0xed6e0001u
#define BF_MTU 1420u
#define BF_USE 5u /* use count of every slot */
#define BF_CLIENT4 "198.51.100.7"
#define BF_CLIENT6 "2001:db8:c::7"

enum bf_node { BF_SELF = 1, BF_NODE_V4 = 2, BF_NODE_V6 = 3, BF_NODE_NO_ADDR = 4 };
/* As enum dp_rate_kind in bpf/dp_maps.h. */
enum bf_rate { BF_RATE_PING, BF_RATE_ECHO, BF_RATE_ERROR, BF_RATE_REJECT, BF_RATE_POINTER };
enum bf_prog {
	BF_XDP,
	BF_PUB_IN,
	BF_MESH_IN,
	BF_MESH_OUT,
	BF_UP_OUT,
	BF_BR_IN,
	BF_XDP_MESH,
	BF_XDP_ONE,
	BF_ONE_IN,
	BF_ONE_OUT
};

/* Service index = backend index; local ones sit in the token slot of the same number. */
enum bf_svc {
	BF_SVC_EXACT4 = 1, /* 192.0.2.10 :53         on node 2 */
	BF_SVC_EXACT6,	   /* 2001:db8::10 :53       on node 2 */
	BF_SVC_RANGE4,	   /* 192.0.2.11 :5000-5299  on node 3 */
	BF_SVC_RANGE6,	   /* 2001:db8::11 the same  on node 3 */
	BF_SVC_HOST4,	   /* 192.0.2.12 :80         here, 10.0.0.5:8080 */
	BF_SVC_HOST6,	   /* 2001:db8::12 :80       here, 2001:db8:1::5, 8080 */
	BF_SVC_BRIDGE4,	   /* 192.0.2.13 :80         here, behind a bridge, 172.17.0.2:8080 */
	BF_SVC_BRIDGE6,	   /* 2001:db8::13 :80       here, behind a bridge, fd17::2, 8080 */
	BF_SVC_HOSTRANGE4, /* 192.0.2.12 :6000-6299  here, 10.0.0.5:7000-7299 */
	BF_SVC_HOSTRANGE6, /* 2001:db8::12 the same */
	BF_SVC_TWIN4, /* 192.0.2.14 :80         the backend of HOST4 once more, in a slot of its own */
	BF_SVC_EMPTY4,	/* 192.0.2.15 :80         no table */
	BF_SVC_NOADDR4, /* 192.0.2.16 :80         on node 4 */
	BF_SVC_MISFIT4, /* 192.0.2.17 :80         here, at an IPv6 address */
	BF_SVC_END
};

struct dp;
struct bf {
	struct dp *skel; /* build/.../dp.skel.h */
	int load_rc;	 /* negative: this kernel doesn't let us; tests skip */
	bool is_complete; /* the card has summed up the whole packet, and what is delivered must still have that sum */
};

struct bf_out {
	uint32_t retval;
	uint32_t mark;
	uint8_t frame[PKT_MAX];
	size_t len;
	uint8_t meta[64]; /* XDP only */
	size_t meta_len;
	struct pkt_seen seen; /* of frame, checksums verified, unless the packet was dropped */
};

struct bf_in {
	struct pkt_spec pkt;
	uint32_t mark;
	uint32_t gso_size;
	uint32_t ingress_ifindex; /* not made here but forwarded, 0 = made here */
	bool is_unread;		  /* what comes out can't be read, as it went in */
};

/* mesh_l2: link header on the mesh device, 0 or 14. Not allowed to load is 0 with load_rc set. */
int bf_open(uint32_t mesh_l2, struct bf **ret_bf);
void bf_close(struct bf *b);
bool bf_can_complete(const struct bf *b); /* does this kernel know of is_complete? */
int bf_group_setup(void **state);	  /* loads once; *state = struct bf */
int bf_group_teardown(void **state);
int bf_setup(void **state); /* fresh world, no flows, counters zero */

void bf_need(const struct bf *b); /* skips the test where programs can't be loaded */
int bf_program_fd(const struct bf *b, enum bf_prog prog);
void bf_run(struct bf *b, enum bf_prog prog, const struct bf_in *in, struct bf_out *ret_out);
/* Exactly this reason was counted, exactly once, since the last call. */
void bf_expect_reason(struct bf *b, uint32_t reason, const char *where);
uint64_t bf_reason(const struct bf *b, uint32_t reason);
void bf_forget_reasons(struct bf *b); /* as after bf_expect_reason() */
/* So many answers of that kind were given in the window under way, which may end before the next packet. */
void bf_set_rate(struct bf *b, enum bf_rate kind, uint64_t used);
int bf_map(const struct bf *b, const char *name);
void bf_addr(const char *text, uint8_t addr[16]);
void bf_set_backend(struct bf *b, uint32_t backend_idx, enum dp_be_state state, uint32_t node_idx);
void bf_set_node_state(struct bf *b, uint32_t node_idx, enum dp_node_state state);
void bf_set_row(struct bf *b, uint32_t row, uint32_t owner);
uint32_t bf_row_of(uint32_t svc_idx); /* first row of a service's table; 251 rows */
struct dp_host bf_host(void);
void bf_set_host(struct bf *b, const struct dp_host *h);
struct dp_self bf_self(void);
void bf_set_self(struct bf *b, const struct dp_self *s);
struct dp_local bf_local(uint32_t slot);
void bf_set_local(struct bf *b, uint32_t slot, const struct dp_local *l);
size_t bf_map_count(const struct bf *b, const char *name, size_t key_bytes);
uint64_t bf_stat_packets(const struct bf *b, const char *map, uint32_t idx);

#endif
