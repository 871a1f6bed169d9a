/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/lib/bpf_live.h - the world of bpf_fixture.h on real hooks, in a network namespace of this process alone: the
 * mesh is a TUN device, as bare of link headers as WireGuard; the uplink and a container's side are TAPs.
 *
 * Nothing is left behind: all of it goes with the process.
 */
#ifndef BPF_LIVE_H
#define BPF_LIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/lib/bpf_fixture.h"

#define LIVE_UP_MAC "\2\0\0\0\0\x55"
#define LIVE_GW_MAC "\2\0\0\0\0\x99"
#define LIVE_CT_MAC "\2\0\0\0\0\x77"

struct live {
	struct bf *b;
	int mesh, up, ct; /* TUN, TAP, TAP */
	uint32_t up_if;
	bool is_partial;       /* what we send to up0 has its checksum still to do */
	uint32_t partial_seen; /* frames that left up0 with their checksum still to do */
	const char *skip;
};

extern struct live live;

int live_group_setup(void **state); /* *state = &live */
int live_group_setup_gro(
	void **state); /* the mesh device merges what comes in, as kernel WireGuard does */
int live_group_teardown(void **state);
int live_setup(void **state);
void live_need(const struct live *l); /* skips where this can't run */

/* Into fd (live.mesh, live.up or live.ct); dst_mac NULL: bare IP. */
void live_send_frame(int fd, const struct pkt_spec *p, const char *dst_mac);
/* The next TCP or UDP packet on fd, whatever else the kernel sends there; checksums verified. */
void live_recv_frame(int fd, struct pkt_seen *seen, const char *where);
void live_recv_icmp_error(int fd, struct pkt_seen *seen,
			  const char *where); /* icmp_read() judges it */
/* A wildcard socket with a receive timeout, listening if SOCK_STREAM. */
int live_app_open(int family, int kind, uint16_t port);
/* The application gets a datagram of got_bytes, sees the client's address and port, answers with reply_bytes. */
void live_app_echo(int fd, int family, size_t got_bytes, size_t reply_bytes);

#endif
