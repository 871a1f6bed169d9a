/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/dp_int.h - shared by dp.c (maps and pins), dp_pin.c (the pin directory), dp_attach.c, dp_xdp.c
 * (hooks) and dp_way.c (neighbours and routes) alone. */
#ifndef EDGE_DP_INT_H
#define EDGE_DP_INT_H

#include <bpf/libbpf.h>

#include "edge/dp.h"

#define DP_PATH_MAX 256	 /* PIN_DIR (sun_path size) + directories + map name */
#define DP_PINNED_MAX 64 /* maps of one object */

/* One place on clsact, so that a new edgefwd replaces the old one's filter. Priority: before what `tc` picks by itself
 * (49152), after an operator who wants to be first. */
#define DP_TC_HANDLE 0xedu
#define DP_TC_PRIORITY 237u

struct dp_loader {
	char pin_dir[DP_PATH_MAX];
	int lock_fd;
	struct bpf_object *obj;
	struct dp_fds fds;
	struct dp_beat *beat;
	bool is_fabric;
	unsigned int old_abi;	     /* its pins are there too; 0 = none */
	bool is_waiting;	     /* and its programs stay where they are for now */
	const struct dp_node *nodes; /* mapped read-only */
	uint32_t node_count;
};

/* dp_attach.c */
int dp_prog_fd(const struct dp_loader *d, const char *name);

/* dp_xdp.c. roles: PUBLIC, or MESH, where only a fabric has XDP, and only natively. */
int dp_xdp_attach(struct dp_loader *d, int ifindex, const char *ifname, uint32_t roles,
		  enum dp_xdp want, enum dp_xdp *ret_xdp, struct err *e);
enum dp_xdp dp_xdp_mode(int ifindex); /* anyone's */
void dp_xdp_unlink(const char *pin_dir, int ifindex);

/* dp_filter.c */
#define DP_FILTER_NAME_MAX 64
bool dp_filter_has_any(int ifindex); /* anyone's; true also when that can't be found out */
/* At our place, named like a program of ours. By netlink: asking for a program by its id takes CAP_SYS_ADMIN. */
bool dp_filter_is_ours(int ifindex, enum bpf_tc_attach_point point);

/* dp_pin.c. Paths are built by these alone. 0 or -ENAMETOOLONG. */
int dp_pin_path(const char *pin_dir, const char *sub, const char *name, char ret_path[DP_PATH_MAX]);
/* Make the directory on a bpffs (mounting /sys/fs/bpf if that is where it lies) and lock it: fd or negative errno. */
int dp_pin_lock(const char *pin_dir, struct err *e);
int dp_pin_mkdir(const char *path, struct err *e);
/* Whose pins, if not this ABI's, are in pin_dir: 0 = nobody's. */
unsigned int dp_pin_other_abi(const char *pin_dir);
void dp_pin_remove_others(const char *pin_dir);
/* Remove pin_dir and what is in it; stays on bpffs, bounded depth. */
void dp_pin_remove(const char *pin_dir);
/* Ids of the maps pinned in pin_dir. */
size_t dp_pin_map_ids(const char *pin_dir, uint32_t *ret_id, size_t max);
const char *dp_pin_maps_dir(void);  /* "v1/maps" */
const char *dp_pin_flows_dir(void); /* "flows-v1" */

#endif
