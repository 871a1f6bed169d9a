/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper.h - what edgefwd does all day: keeps the programs attached and the host's facts right, serves edged.
 *
 * Interfaces  what matches a pattern gets its programs when it appears, again when it comes back, again when somebody
 *             took them off (looked at every 5 s)
 * Routes      protocol number 237. `default dev MESH metric 4000000000` per family that has no default; `blackhole VIP`
 *             metric 100, or 2000 when stale, as edged says, inside vip_prefix only
 * Uplinks     with several, dp_egress gets the main table's prefixes that lead out of them, KEEPER_EGRESS_MAX at most
 * Fabric      dp_l2 gets the mesh interface's neighbours that are nodes; XDP carries the mesh where all XDP is native
 * Neighbours  a default gateway that doesn't answer gets the uplink's own MAC as a placeholder: TC egress runs only on
 *             what has a next hop (docs/adr/0005)
 * Leaves      everything in place when it ends or dies; keeper_detach takes it away
 * Logs        one line per event to stderr
 * Threads     the loop's thread; keeper_open blocks on netlink and the BPF loader (start-up only)
 */
#ifndef EDGE_KEEPER_H
#define EDGE_KEEPER_H

#include <sys/types.h>
#include <uv.h>

#include "edge/dp.h"
#include "edge/ip.h"

#define KEEPER_PATTERN_MAX 32
#define KEEPER_METRIC_VIP 100u
#define KEEPER_METRIC_STALE 2000u
#define KEEPER_METRIC_MESH 4000000000u

struct keeper_patterns {
	const char (*text)[KEEPER_PATTERN_MAX]; /* fnmatch(3); without * ? [ it is an exact name */
	size_t count;
};
/* Strings stay the caller's and must outlive the keeper. */
struct keeper_config {
	const char *pin_dir;
	struct dp_sizes sizes;
	enum dp_xdp xdp;
	const char *socket_path;
	uid_t peer_uid; /* may connect, besides root */
	gid_t peer_gid; /* group of the socket */
	const char *mesh_device;
	bool is_fabric; /* the mesh device is a trusted Ethernet, not WireGuard */
	struct ip_addr
		mesh_addr[2]; /* at most one of each family; none: the device's first global ones */
	size_t mesh_addr_count;
	struct keeper_patterns public_if, uplink, bridge; /* no uplink: public_if */
	const struct ip_prefix *vip_prefix;
	size_t vip_prefix_count;
	bool is_wireguard_managed;
	const char *build;
};

struct keeper;
/* -ENODEV: an interface configured by its exact name doesn't exist. */
int keeper_check(const struct keeper_config *cfg, struct err *e);
int keeper_open(uv_loop_t *uv, const struct keeper_config *cfg, struct keeper **ret_keeper,
		struct err *e);
void keeper_close(struct keeper *k, void (*cb)(void *arg), void *arg);
/* Remove routes, placeholders, programs and pins. -EBUSY while an edgefwd runs on the same pin_dir. */
int keeper_detach(const struct keeper_config *cfg, struct err *e);

/* level: "debug", "info", "warn", "error". Keys of docs/OPERATIONS.md; fmt may be "". */
void keeper_log(const char *level, const char *event, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
