/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_sock.h - edgefwd's end of the socket that edged connects to (edge/fwd_proto.h).
 *
 * Peers    SO_PEERCRED uid must be root or the configured one; others get FWD_REFUSED and a line in the log. The newest
 *          peer that said HELLO is the one that is served, an older one is closed.
 * Limits   KEEPER_SOCK_PEERS_MAX connections; a peer that doesn't read its answers, or sends what is no fwd_msg, is
 *          closed
 * Socket   mode 0660, group cfg.gid; a dead one in its place is replaced, one that somebody listens on is -EADDRINUSE
 * Threads  the loop's thread
 */
#ifndef EDGE_KEEPER_SOCK_H
#define EDGE_KEEPER_SOCK_H

#include <sys/types.h>
#include <uv.h>

#include "edge/dp.h"
#include "edge/fwd_proto.h"

#define KEEPER_SOCK_PEERS_MAX 8

struct keeper_sock;
struct keeper_sock_config {
	const char *path;
	uid_t uid;
	gid_t gid;
	const char *build;
	struct dp_fds fds; /* stay the caller's */
	/* 0 or negative errno: answered at once. Positive: keeper_sock_answer() will be called. */
	int (*request_cb)(const struct fwd_msg *msg, uint64_t peer, struct err *e, void *arg);
	/* FWD_TRACE: 0 with the answer in ret_data, or negative errno. NULL = such requests are unknown. */
	int (*trace_cb)(const struct fwd_msg *msg, uint8_t ret_data[FWD_DATA_MAX],
			uint16_t *ret_bytes, struct err *e, void *arg);
	void (*gone_cb)(void *arg); /* the peer that was served is gone */
	void *arg;
};
int keeper_sock_open(uv_loop_t *uv, const struct keeper_sock_config *cfg,
		     struct keeper_sock **ret_sock, struct err *e);
/* Nothing happens when the peer is gone. */
void keeper_sock_answer(struct keeper_sock *s, uint64_t peer, uint32_t seq, int status,
			const char *text);
void keeper_sock_close(struct keeper_sock *s, void (*cb)(void *arg), void *arg);

#endif
