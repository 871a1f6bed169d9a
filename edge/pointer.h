/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/pointer.h - carries pointers to long connections: what the worker's programs want left (dp_leave) goes as datagrams over
 * the mesh to the edges that keep them, whose programs note it. Nobody answers.
 *
 * Bounds    POINTER_BATCH_MAX at a turn of the loop; POINTER_PPS_MAX a second, which is as many connections as one keeper has
 *           room for, each told once in 16 s. What is over it, or was left before the start, is dropped: it is due again
 * Threads   the loop's thread. Close is asynchronous
 */
#ifndef EDGE_POINTER_H
#define EDGE_POINTER_H

#include <uv.h>

#include "edge/dp.h"

#define POINTER_BATCH_MAX 256
#define POINTER_PPS_MAX 4096

struct pointer_config {
	/* The mesh device, by which the datagrams leave and no other; 0 = not known. Asked again where sending fails. */
	uint32_t (*mesh_cb)(void *arg);
	/* The mesh address of a node, as the maps have it; false: none. */
	bool (*addr_cb)(uint32_t node_idx, uint8_t ret_addr[16], void *arg);
	void *arg;
};
struct pointer_counts {
	uint64_t sent, held, failed; /* held: over the limit, or to nobody */
	int error;		     /* of the last one that failed */
};
struct pointers;
int pointers_open(uv_loop_t *uv, int leave_fd, const struct pointer_config *cfg,
		  struct pointers **ret_pointers, struct err *e);
struct pointer_counts pointers_counts(const struct pointers *p);
void pointers_close(struct pointers *p, void (*cb)(void *arg), void *arg);

#endif
