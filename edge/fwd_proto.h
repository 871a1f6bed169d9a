/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/fwd_proto.h - what crosses between edged and edgefwd: fixed-size structs over SOCK_SEQPACKET, nothing more.
 *
 * edged connects, sends FWD_HELLO; edgefwd checks SO_PEERCRED (root or the configured user), answers FWD_WELCOME with
 * DP_FD_COUNT fds (SCM_RIGHTS) in the order of DP_MAPS, or FWD_REFUSED. Then edged sends requests, each answered by
 * one fwd_reply with the request's seq. edgefwd keeps no state of a peer beyond its socket; one peer at a time, a new
 * one replaces the old. Byte order is the machine's: both run on it.
 */
#ifndef EDGE_FWD_PROTO_H
#define EDGE_FWD_PROTO_H

#include <stdint.h>

#define FWD_PROTO_VERSION 2
#define FWD_DATA_MAX 256

enum fwd_kind {
	FWD_HELLO = 1,
	FWD_WELCOME,
	FWD_REFUSED,
	FWD_VIP,
	FWD_WGPEER,
	FWD_REPLY,
	FWD_TRACE, /* data: an Ethernet frame; its reply has data: struct dp_trace */
};
enum fwd_vip_verb {
	FWD_VIP_ADD = 1,
	FWD_VIP_STALE,
	FWD_VIP_DEL,
	FWD_VIP_SYNC_BEGIN,
	FWD_VIP_SYNC_END
};
enum fwd_wg_verb { FWD_WG_SET = 1, FWD_WG_DEL };

struct fwd_msg {
	uint16_t kind;	  /* enum fwd_kind */
	uint16_t version; /* FWD_PROTO_VERSION */
	uint32_t seq;
	uint32_t abi;	/* HELLO: what edged was built with; WELCOME: what is loaded */
	int32_t status; /* REPLY, REFUSED: 0 or negative errno */
	uint8_t verb;	/* VIP, WGPEER */
	uint8_t pad[3];
	uint8_t addr[16];     /* VIP; WGPEER: the one mesh address allowed */
	uint8_t wg_pub[32];   /* WGPEER */
	uint8_t endpoint[16]; /* WGPEER; zero = keep */
	uint16_t endpoint_port;
	uint8_t pad2[2];
	char text[120]; /* REPLY, REFUSED: why; WELCOME, HELLO: build */
	uint16_t data_bytes;
	uint8_t pad3[2];
	uint8_t data[FWD_DATA_MAX];
};
_Static_assert(sizeof(struct fwd_msg) == 468, "struct fwd_msg has changed size");

#endif
