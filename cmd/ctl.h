/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cmd/ctl.h - the control socket: MessagePack-RPC (request [0, id, method, params], reply [1, id, error, result]).
 *
 * Server    Unix stream socket, mode 0660, group from the configuration; at most CTL_CLIENTS_MAX at a time, requests of
 *           at most CTL_REQUEST_MAX bytes, one outstanding per client, 30 s idle. A malformed request gets an error
 *           reply where it has an id, then the connection is closed. Nothing a client sends can stop the daemon.
 * Params    one map. Error is nil or a map {code: errno, text: string}. Results are maps, documented in docs/WIRE.md.
 * Methods   status, node.list, service.add|list|rm, backend.add|list|rm|drain|undrain, route.show, stats
 */
#ifndef CMD_CTL_H
#define CMD_CTL_H

#include <msgpack.h>
#include <uv.h>

#include "edge/agent.h"

#define CTL_CLIENTS_MAX 32
#define CTL_REQUEST_MAX 65536
#define CTL_REPLY_MAX (64u << 20)

/* ---- server (edged) */
struct ctl;
struct ctl_config {
	const char *path;
	const char *group;          /* NULL or unknown group: socket stays 0600 and the log says so */
	struct agent *agent;
	struct gossip_core *core;
	struct gossip_loop *loop;
	struct store *store;
	const char *version;
};
int ctl_open(uv_loop_t *uv, const struct ctl_config *cfg, struct ctl **ret_ctl, struct err *e);
void ctl_close(struct ctl *c, void (*cb)(void *arg), void *arg);

/* ---- client (edgectl), blocking */
struct ctl_client;
int ctl_connect(const char *path, struct ctl_client **ret_client, struct err *e); /* e names the socket and the cause */
void ctl_disconnect(struct ctl_client *c);
/* params: a packed map. On 0 ret_result owns the reply until msgpack_unpacked_destroy; refused -> e. */
int ctl_call(struct ctl_client *c, const char *method, const msgpack_sbuffer *params, msgpack_unpacked *ret_result,
	     struct err *e);

#endif
