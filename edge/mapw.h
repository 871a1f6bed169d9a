/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/mapw.h - the only writer of BPF maps: applies plan operations in order, and a worker's own backend slots.
 *
 * Through fds that edgefwd handed over (edge/dp.h), as an unprivileged process. Arrays marked mmapable are written by
 * aligned stores; a service's table word, a backend word and a node's state are single stores.
 * Order is the caller's (edge/plan.h); mapw stops at the first error and says which operation.
 * Errors    -EPROTONOSUPPORT a map of another layout (named) | -ERANGE an index the map does not have | the kernel's
 *           errno. After a failed mapw_apply() the mirror is ahead of the maps: adopt them anew (mapw_image()).
 * Threads   the loop's thread
 */
#ifndef EDGE_MAPW_H
#define EDGE_MAPW_H

#include "edge/dp.h"
#include "edge/mapset.h"
#include "edge/plan.h"

struct mapw;

/* Where operations go: the kernel's maps, or a test's memory. */
struct mapw_ops {
	void *arg;
	int (*apply)(void *arg, const struct plan_op *op);
	int (*set_local)(void *arg, uint32_t slot, const struct dp_local *local);
	int (*set_self)(void *arg, const struct dp_self *self);
};

/* Takes no ownership of fds; maps what is mmapable. */
int mapw_open(const struct dp_fds *fds, struct mapw **ret_mapw, struct err *e);
void mapw_close(struct mapw *m);
struct mapw_ops mapw_real_ops(struct mapw *m);

int mapw_apply(const struct mapw_ops *ops, const struct plan_list *l, struct err *e);
void mapw_beat(struct mapw *m, uint64_t now_s);
uint64_t mapw_edgefwd_beat(const struct mapw *m);
int mapw_get_host(const struct mapw *m, struct dp_host *ret_host);
int mapw_get_local(const struct mapw *m, uint32_t slot,
		   struct dp_local *ret_local); /* adopt use counts */
void mapw_sizes(const struct mapw *m, struct plan_sizes *ret_sizes);
/* What the maps hold now, for plan_adopt(); pointers into the maps, valid until the next call or mapw_close(). */
int mapw_image(struct mapw *m, struct plan_image *ret_image, struct err *e);

/* The mesh address of a node that is not down; false: there is none. */
bool mapw_node_addr(const struct mapw *m, uint32_t node_idx, uint8_t ret_addr[16]);

const struct dp_fds *mapw_fds(const struct mapw *m);
/* dp_quic has changed: programs must look again. */
void mapw_quic_changed(struct mapw *m);
/* One of dp_ctl's flags, for all programs at once. */
void mapw_set_flag(struct mapw *m, uint32_t flag, bool is_on);

/* edge/mapw_set.c: where pointers of that row are kept (bpf/dp_meet.h). 0 or the kernel's errno. */
int mapw_set_meet(struct mapw *m, uint32_t row, uint32_t node_idx);
/* Maps that are sets of keys. What one holds now, sorted, and how many it has room for. */
enum mapw_set { MAPW_QUIC, MAPW_FILTER };
int mapw_set_read(struct mapw *m, enum mapw_set which, struct mapset *ret_have, uint32_t *ret_room,
		  struct err *e);
struct mapset_ops mapw_set_ops(struct mapw *m, enum mapw_set which);

#endif
