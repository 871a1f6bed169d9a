/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/dp.h - the forwarder's programs and maps: load, pin, adopt, attach (edgefwd); the set of map fds (both).
 *
 * Pins     PIN_DIR/v<DP_ABI_VERSION>/maps/NAME, PIN_DIR/flows-v<DP_FLOW_VERSION>/NAME for the flow tables,
 *          PIN_DIR/links/xdp-IFINDEX (bpffs allows no dot in a name, interfaces do; and a link belongs to an ifindex).
 *          Directories are 0700. TC filters stay by themselves on clsact; PIN_DIR/links/clsact-IFINDEX is an empty
 *          directory that says that the clsact qdisc there is ours to remove.
 * Lock     PIN_DIR is locked (flock) from dp_open to dp_close: one keeper per PIN_DIR.
 * Upgrade  pins of another ABI: their programs go on, over their maps, while edged fills ours; then dp_switch()
 * Adopt    existing pins whose ABI and sizes match are used as they are: forwarding never stops. XDP is replaced in
 *          place (bpf_link_update), TC filters by REPLACE with one handle and priority.
 * Errors   -ENODEV no such interface (named) | -EPROTONOSUPPORT pins of another size | -EBUSY locked, or
 *          another program holds the hook | libbpf's errno
 * Needs    CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON
 * Threads  one; libbpf's messages go to one process-wide buffer (dp_libbpf_text)
 */
#ifndef EDGE_DP_H
#define EDGE_DP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/dp_abi.h"
#include "bpf/dp_see_abi.h"
#include "gossip/err.h"

/* Every map that edged gets, in the order in which fds are passed. X(field, "kernel name"). */
/* clang-format off */
#define DP_MAPS(X) \
	X(host, "dp_host") \
	X(self, "dp_self") \
	X(beat, "dp_beat") \
	X(vip, "dp_vip") \
	X(vipmap, "dp_vipmap") \
	X(vipslot, "dp_vipslot") \
	X(portdir, "dp_portdir") \
	X(portpage, "dp_portpage") \
	X(svc, "dp_svc") \
	X(rows, "dp_rows") \
	X(backend, "dp_backend") \
	X(node, "dp_node") \
	X(known, "dp_known") \
	X(num, "dp_num") \
	X(quic, "dp_quic") \
	X(filter, "dp_filter") \
	X(ctl, "dp_ctl") \
	X(local, "dp_local") \
	X(reason, "dp_reason") \
	X(svc_stat, "dp_svc_stat") \
	X(be_stat, "dp_be_stat") \
	X(hist, "dp_hist") \
	X(capture, "dp_capture") \
	X(capture_lost, "dp_capture_lost") \
	X(pulse, "dp_pulse") \
	X(signal, "dp_signal") \
	X(meet, "dp_meet") \
	X(leave, "dp_leave")

struct dp_fds {
#define DP_MAP_FIELD(field, name) int field;
	DP_MAPS(DP_MAP_FIELD)
#undef DP_MAP_FIELD
};
#define DP_MAP_ONE(field, name) +1
enum { DP_FD_COUNT = 0 DP_MAPS(DP_MAP_ONE) };
#undef DP_MAP_ONE
/* clang-format on */
_Static_assert(sizeof(struct dp_fds) == DP_FD_COUNT * sizeof(int), "dp_fds is passed as an array");

struct dp_sizes {	    /* entries at creation; 0 = default */
	uint32_t rows;	    /* 1 << 20 */
	uint32_t svcs;	    /* 4096 */
	uint32_t backends;  /* 16384 */
	uint32_t nodes;	    /* 4096 */
	uint32_t pages;	    /* 4096 */
	uint32_t dirs;	    /* 1024; also VIPs, DP_VIP_MAX at most */
	uint32_t flows;	    /* 262144 assured */
	uint32_t flows_new; /* 65536 unassured */
};

enum dp_role {
	DP_ROLE_PUBLIC = 1, /* XDP + TC ingress: edge */
	DP_ROLE_UPLINK = 2, /* TC egress, L2: replies of host sockets */
	DP_ROLE_MESH = 4,   /* TC ingress and egress, L3; of a fabric: L2, and XDP */
	DP_ROLE_BRIDGE = 8, /* TC ingress: replies of containers and VMs */
};

/* Asked for: AUTO is native, else generic, else off (TC decides). In force: never AUTO. */
enum dp_xdp { DP_XDP_AUTO, DP_XDP_NATIVE, DP_XDP_GENERIC, DP_XDP_OFF };

struct dp_loader;

/* is_fabric: the mesh device is an Ethernet, not WireGuard. ret_was_adopted: maps of an earlier run are in use, with what
 * they hold. */
int dp_open(const char *pin_dir, const struct dp_sizes *sizes, bool is_fabric,
	    struct dp_loader **ret_dp, bool *ret_was_adopted, struct err *e);
/* Attach all programs that `roles` ask for; again is harmless. On failure what was there before is there again.
 * MESH goes with no other role, or, on a fabric, with PUBLIC and UPLINK; PUBLIC and BRIDGE want the same hook: else -EINVAL. */
int dp_attach(struct dp_loader *d, const char *ifname, uint32_t roles, enum dp_xdp want,
	      enum dp_xdp *ret_xdp, struct err *e);
/* Are all programs of `roles` still there? False after somebody removed a qdisc or a filter. */
bool dp_is_attached(struct dp_loader *d, int ifindex, uint32_t roles, enum dp_xdp xdp);
/* Another ABI's number whose programs carry the traffic, 0 = none: nothing is attached where something of ours is, until
 * dp_switch(). Then dp_attach() replaces, and dp_drop_old() removes what is left of the old. */
unsigned int dp_old_abi(const struct dp_loader *d);
bool dp_is_waiting(const struct dp_loader *d);
/* An edged that is alive has written all that it knows into our maps. */
bool dp_is_filled(const struct dp_loader *d, uint64_t now_s);
void dp_switch(struct dp_loader *d);
void dp_drop_old(struct dp_loader *d);
/* The mark that programs of the old ABI know; 0 = there are none, or it can't be read. */
uint32_t dp_old_gre_mark(const struct dp_loader *d);
/* Take our programs off one interface that stays. */
void dp_detach(struct dp_loader *d, int ifindex, uint32_t roles);
/* The interface went away, and the kernel took the filters with it: forget its pins. */
void dp_forget(struct dp_loader *d, int ifindex);
/* Is another's XDP program on it? */
bool dp_is_xdp_taken(struct dp_loader *d, int ifindex);
int dp_set_host(struct dp_loader *d, const struct dp_host *host);
int dp_get_host(struct dp_loader *d, struct dp_host *ret_host);
/* Nodes as edged has written them, entry 0 unused; they change while one looks. */
const struct dp_node *dp_nodes(struct dp_loader *d, uint32_t *ret_count);
int dp_set_l2(struct dp_loader *d, uint32_t node_idx, const struct dp_l2 *l2);
int dp_get_l2(struct dp_loader *d, uint32_t node_idx, struct dp_l2 *ret_l2);
/* ifindex 0: no such prefix any more. */
int dp_set_egress(struct dp_loader *d, const struct dp_egress_key *prefix, uint32_t ifindex);
/* The prefix behind `prev` (NULL: the first); -ENOENT: no more. */
int dp_next_egress(struct dp_loader *d, const struct dp_egress_key *prev,
		   struct dp_egress_key *ret_next);
void dp_beat(struct dp_loader *d, uint64_t now_s);
/* edged's last one; 0 = none since these maps were made. */
uint64_t dp_edged_beat(const struct dp_loader *d);
/* What the live maps would make of this Ethernet frame: runs dp_trace, which changes nothing. -EMSGSIZE: longer than
 * DP_TRACE_FRAME_MAX | -EINVAL: no Ethernet frame */
#define DP_TRACE_FRAME_MAX 2048
int dp_trace(struct dp_loader *d, const uint8_t *frame, size_t bytes, struct dp_trace *ret_trace);
void dp_fds(const struct dp_loader *d, struct dp_fds *ret_fds);
void dp_close(struct dp_loader *d); /* leaves everything attached and pinned */
/* edgefwd --detach: remove our filters from all interfaces of this network namespace, all links and pins of pin_dir.
 * Nothing there is no error. -EBUSY while an edgefwd runs on it. */
int dp_detach_all(const char *pin_dir, struct err *e);

/* The last warnings of libbpf and the kernel's verifier, "" if none; forgotten when read. */
const char *dp_libbpf_text(void);

#endif
