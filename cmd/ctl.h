/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cmd/ctl.h - the control socket: MessagePack-RPC (request [0, id, method, params], reply [1, id, error, result]).
 *
 * Server    Unix stream socket, mode 0660, group from the configuration; at most CTL_CLIENTS_MAX at a time, requests of
 *           at most CTL_REQUEST_MAX bytes, one outstanding per client, CTL_IDLE_MS idle. A malformed request gets an error
 *           reply (id 0 where it has none), then the connection is closed. Nothing a client sends can stop the daemon.
 * Params    one map; what each method takes stands in one table (cmd/ctl_args.h). Unknown and doubled ones are refused.
 * Error     nil, or a map {code: positive errno, text: sentence}
 * Results   maps; their fields are listed at the top of cmd/ctl_status.c, ctl_list.c, ctl_stats.c and in docs/WIRE.md
 * Methods   status, node.list, service.add|list|rm, backend.add|list|rm|drain|undrain, route.show, stats,
 *           trace, hist.on|off|show, capture.start|read|stop
 */
#ifndef CMD_CTL_H
#define CMD_CTL_H

#include <msgpack.h>
#include <uv.h>

#include "edge/agent.h"
#include "gossip/keyring.h"

#define CTL_CLIENTS_MAX 32
#define CTL_REQUEST_MAX 65536
#define CTL_REPLY_MAX (64u << 20)
#define CTL_IDLE_MS 30000

/* ---- server (edged) */
struct ctl;
struct ctl_config {
	const char *path;
	const char *group; /* NULL or unknown group: socket stays 0600 and the log says so */
	struct agent *agent;
	struct gossip_core *core;
	struct gossip_loop *loop;
	struct store *store;
	struct keyring *keyring;    /* NULL = none */
	const uint8_t *writers_sum; /* gossip/writers.h; NULL = unknown */
	const char *version;
	const char *cluster; /* shown in status; may be NULL */
	uint32_t idle_ms;    /* 0 = CTL_IDLE_MS */
};
/* A socket that nobody listens on any more is replaced; -EADDRINUSE when somebody answers there, -EEXIST when the path is
 * something else. SIGPIPE must be ignored by the process. */
int ctl_open(uv_loop_t *uv, const struct ctl_config *cfg, struct ctl **ret_ctl, struct err *e);
/* Asynchronous. Operations that the agent has not answered yet are cut off from their clients; their answers may still
 * come afterwards and are dropped. */
void ctl_close(struct ctl *c, void (*cb)(void *arg), void *arg);

/* ---- client (edgectl), blocking */
#define CTL_ANSWER_S 30 /* no answer for so long: -ETIMEDOUT */
struct ctl_client;
int ctl_connect(const char *path, struct ctl_client **ret_client,
		struct err *e); /* e names the socket and the cause */
void ctl_disconnect(struct ctl_client *c);
/* params: a packed map. 0: ret_result is the result, until msgpack_unpacked_destroy(), and its strings until the next call
 * or ctl_disconnect(). CTL_REFUSED: the daemon said no, e has its errno (negative) and sentence. Negative: no talking. */
#define CTL_REFUSED 1
int ctl_call(struct ctl_client *c, const char *method, const msgpack_sbuffer *params,
	     msgpack_unpacked *ret_result, struct err *e);

#endif
