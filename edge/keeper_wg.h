/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_wg.h - WireGuard peers of one device, by the wg tool (docs/adr/0004): no shell, one at a time.
 *
 * Limits   KEEPER_WG_QUEUE_MAX requests wait, then -ENOBUFS; a run that takes over 5 s is killed (-ETIMEDOUT)
 * Threads  the loop's thread
 */
#ifndef EDGE_KEEPER_WG_H
#define EDGE_KEEPER_WG_H

#include <uv.h>

#include "edge/fwd_proto.h"
#include "gossip/err.h"

#define KEEPER_WG_QUEUE_MAX 512 /* a mesh restating all its peers */
#define KEEPER_WG_ARGS_MAX 12

/* status 0 or negative errno; text says why. peer: as given to keeper_wg_request. */
typedef void (*keeper_wg_cb)(uint64_t peer, uint32_t seq, int status, const char *text, void *arg);

struct keeper_wg;
int keeper_wg_open(uv_loop_t *uv, const char *device, keeper_wg_cb cb, void *arg,
		   struct keeper_wg **ret_wg);
/* 0: cb will be called, later. Else the request is refused, e says why. */
int keeper_wg_request(struct keeper_wg *w, uint64_t peer, const struct fwd_msg *msg, struct err *e);
/* Waiting requests are dropped without a callback. */
void keeper_wg_close(struct keeper_wg *w, void (*cb)(void *arg), void *arg);

/* The command line of one request, for tests: NULL-terminated, pointing into store. */
struct keeper_wg_args {
	char key[48];
	char allowed[64];
	char endpoint[64];
	const char *argv[KEEPER_WG_ARGS_MAX];
};
int keeper_wg_args(const char *device, const struct fwd_msg *msg, struct keeper_wg_args *ret_args,
		   struct err *e);

#endif
