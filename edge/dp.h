/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/dp.h - the forwarder's programs and maps: load, pin, adopt, attach (edgefwd); the set of map fds (both).
 *
 * Pins     PIN_DIR/v<DP_ABI_VERSION>/maps/NAME, links/xdp-IFNAME; the directory is 0700. TC filters stay by
 *          themselves on clsact. Flow tables: PIN_DIR/flows-v<DP_FLOW_VERSION>/NAME.
 * Adopt    existing pins whose ABI and sizes match are used as they are: forwarding never stops. XDP is replaced in
 *          place (bpf_link__update_program), TC filters by REPLACE with one handle and priority.
 * Errors   -ENODEV no such interface (named) | -EPROTONOSUPPORT pins of another ABI or size | libbpf's errno
 * Needs    CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON
 */
#ifndef EDGE_DP_H
#define EDGE_DP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/dp_abi.h"
#include "gossip/err.h"

/* Every map that edged gets, in the order in which fds are passed. X(field, "kernel name"). */
#define DP_MAPS(X) \
	X(host, "dp_host") X(self, "dp_self") X(beat, "dp_beat") X(vip, "dp_vip") X(portdir, "dp_portdir") \
	X(portpage, "dp_portpage") X(svc, "dp_svc") X(rows, "dp_rows") X(backend, "dp_backend") X(node, "dp_node") \
	X(known, "dp_known") X(local, "dp_local") X(reason, "dp_reason") X(svc_stat, "dp_svc_stat") \
	X(be_stat, "dp_be_stat")
struct dp_fds {
#define DP_MAP_FIELD(field, name) int field;
	DP_MAPS(DP_MAP_FIELD)
#undef DP_MAP_FIELD
};
#define DP_MAP_ONE(field, name) +1
enum { DP_FD_COUNT = 0 DP_MAPS(DP_MAP_ONE) };
#undef DP_MAP_ONE
_Static_assert(sizeof(struct dp_fds) == DP_FD_COUNT * sizeof(int), "dp_fds is passed as an array");

struct dp_sizes {        /* entries at creation; 0 = default */
	uint32_t rows;       /* 1 << 20 */
	uint32_t svcs;       /* 4096 */
	uint32_t backends;   /* 16384 */
	uint32_t nodes;      /* 4096 */
	uint32_t pages;      /* 4096 */
	uint32_t dirs;       /* 1024 */
	uint32_t flows;      /* 262144 assured */
	uint32_t flows_new;  /* 65536 unassured */
};

enum dp_role {
	DP_ROLE_PUBLIC = 1,  /* XDP + TC ingress: edge */
	DP_ROLE_UPLINK = 2,  /* TC egress, L2: replies of host sockets */
	DP_ROLE_MESH = 4,    /* TC ingress and egress, L3 */
	DP_ROLE_BRIDGE = 8,  /* TC ingress: replies of containers and VMs */
};

struct dp;

int dp_open(const char *pin_dir, const struct dp_sizes *sizes, struct dp **ret_dp, bool *ret_was_adopted, struct err *e);
/* Attach all programs that `roles` ask for; again is harmless. ret_is_native: XDP runs in the driver. */
int dp_attach(struct dp *d, const char *ifname, uint32_t roles, bool *ret_is_native, struct err *e);
/* The interface went away: forget its link pin. */
void dp_forget(struct dp *d, const char *ifname);
int dp_set_host(struct dp *d, const struct dp_host *host);
void dp_beat(struct dp *d, uint64_t now_s);
void dp_fds(const struct dp *d, struct dp_fds *ret_fds);
void dp_close(struct dp *d); /* leaves everything attached and pinned */
/* edgefwd --detach: remove filters, links and pins of this pin_dir from these interfaces and from all pinned links. */
int dp_detach_all(const char *pin_dir, struct err *e);

#endif
