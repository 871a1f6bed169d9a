/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/fwd.h - edged's end of the socket to edgefwd: gets the map fds, asks for VIP routes and WireGuard peers.
 *
 * Connects when edgefwd is there, again after it went (every 500 ms; 5 s after a refusal). The fds stay good while
 * edgefwd is dead: pinned maps outlive it. After a reconnect the maps may be the same ones (adopted) or new ones: up_cb
 * is called in both cases, the agent compares map ids.
 * Callbacks come from the loop, never out of fwd_open or fwd_send. down_cb: when a connection ends, and when the reason
 * for having none changes. Requests that are unanswered when the connection ends are forgotten without reply_cb: after
 * up_cb the caller says everything again.
 * Memory    fwd_send copies; requests and replies in reply_cb are valid during the call
 * Limits    FWD_QUEUE_MAX requests without an answer
 * Threads   the loop's thread. Close is asynchronous; no callback but its own comes after it is called.
 */
#ifndef EDGE_FWD_H
#define EDGE_FWD_H

#include <uv.h>

#include "edge/dp.h"
#include "edge/fwd_proto.h"

#define FWD_QUEUE_MAX 1024 /* a mesh of some hundred nodes and VIPs, said again at once */

struct fwd;
struct fwd_config {
	const char *socket_path;
	void (*up_cb)(const struct dp_fds *fds, uint32_t abi,
		      void *arg); /* fds now belong to the callee */
	void (*down_cb)(const char *why, void *arg);
	void (*reply_cb)(const struct fwd_msg *request, const struct fwd_msg *reply, void *arg);
	void *arg;
};
int fwd_open(uv_loop_t *uv, const struct fwd_config *cfg, struct fwd **ret_fwd, struct err *e);
bool fwd_is_up(const struct fwd *f);
/* kind, verb and the verb's fields are the caller's; the rest is filled in. -ENOTCONN, -ENOBUFS (bounded queue). */
int fwd_send(struct fwd *f, const struct fwd_msg *msg);
void fwd_close(struct fwd *f, void (*cb)(void *arg), void *arg);

#endif
