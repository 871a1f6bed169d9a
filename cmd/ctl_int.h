/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cmd/ctl_int.h - what the parts of the control socket share. For cmd/ctl*.c and their tests.
 *
 *   ctl.c         server: socket, clients, dispatch       ctl_client.c  edgectl's end
 *   ctl_args.c    parameters of the methods               ctl_wire.c    message bounds, requests, reply packing
 *   ctl_look.c    what the looking methods read
 *   ctl_status.c  status, node.list, problems             ctl_list.c    service.list, backend.list, route.show
 *   ctl_stats.c   stats                                   ctl_verbs.c   what changes something
 *   ctl_show.c    service.show, backend.show, filter.list     ctl_events.c  events
 *   ctl_see.c     hist, capture                           ctl_trace.c   trace
 *   ctl_child.c   what may take long, in a process of its own; ctl_socket.c: the socket's file
 */
#ifndef CMD_CTL_INT_H
#define CMD_CTL_INT_H

#include <sys/un.h>

#include "cmd/ctl.h"
#include "cmd/ctl_args.h"
#include "gossip/mp.h"

/* ---- ctl_socket.c */
#define CTL_BACKLOG 16
struct ctl_socket { /* only this very file is removed */
	dev_t dev;
	ino_t ino;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
};
int ctl_socket_open(const char *path, const char *group, struct ctl_socket *ret_file, int *ret_fd,
		    struct err *e);
void ctl_socket_remove(const struct ctl_socket *file);

/* ctl.c */
__attribute__((format(printf, 3, 4))) void ctl_log(const char *level, const char *event,
						   const char *fmt, ...);

/* ---- ctl_wire.c: messages on the stream. Pure. */

/* Finds where the first value of a growing buffer ends; remembers how far it came, so that bytes are looked at once. */
struct ctl_scan {
	uint64_t todo[MP_DEPTH_MAX + 1]; /* values still to come on each level */
	size_t depth, at;
	bool is_begun;
};
/* 1: complete, its length is s->at. 0: more is needed. -EBADMSG malformed | -EMSGSIZE longer than max. `buf` must hold all
 * bytes from the start of the value on. */
int ctl_scan(struct ctl_scan *s, const uint8_t *buf, size_t len, size_t max);

struct ctl_request {
	uint64_t id;
	char method[CTL_METHOD_MAX];
	const uint8_t *params; /* one well-formed value, in the buffer */
	size_t params_len;
};
/* 0 | -EBADMSG; ret_request->id is set as far as it could be read, else 0. */
int ctl_request_read(const uint8_t *buf, size_t len, struct ctl_request *ret_request);

/* A reply under way. Maps and arrays are opened, counted while they are filled, and closed. */
struct ctl_out {
	msgpack_sbuffer sb;
	msgpack_packer pk;
	bool is_full; /* over CTL_REPLY_MAX, or out of memory: useless */
};
struct ctl_block { /* an open map or array */
	size_t at;
	uint32_t count;
};
void ctl_out_init(struct ctl_out *o);
void ctl_out_done(struct ctl_out *o);
/* Begin [1, id, nil, ...; one value must follow. ctl_out_error makes the whole reply, whatever was packed before. */
void ctl_out_result(struct ctl_out *o, uint64_t id);
void ctl_out_error(struct ctl_out *o, uint64_t id, int err, const char *text);
void ctl_map(struct ctl_out *o, struct ctl_block *ret_block);
void ctl_array(struct ctl_out *o, struct ctl_block *ret_block);
void ctl_end(struct ctl_out *o, const struct ctl_block *b);
/* One more element of an array: what follows packs it. */
void ctl_item(struct ctl_block *b);
/* One more pair of a map; ctl_key is followed by a value. */
void ctl_key(struct ctl_out *o, struct ctl_block *b, const char *key);
void ctl_text(struct ctl_out *o, const char *text);
void ctl_key_text(struct ctl_out *o, struct ctl_block *b, const char *key, const char *text);
void ctl_key_uint(struct ctl_out *o, struct ctl_block *b, const char *key, uint64_t value);
void ctl_key_bool(struct ctl_out *o, struct ctl_block *b, const char *key, bool value);
/* One value that is packed already. */
void ctl_packed(struct ctl_out *o, const char *value, size_t bytes);
void ctl_key_nil(struct ctl_out *o, struct ctl_block *b, const char *key);
/* How long ago `then_ms` was: nil when it is 0 (never). */
void ctl_key_age(struct ctl_out *o, struct ctl_block *b, const char *key, uint64_t now_ms,
		 uint64_t then_ms);

/* "850 ms", "3.2 s", "4 min", "2.5 h", "3 d" */
const char *ctl_span_text(uint64_t ms, char buf[24]);

/* ---- methods: put one map into the reply. 0 | negative errno with e set. */
struct ctl_use { /* what this region's routes make of a backend: the best over its families */
	enum route_why why;
	uint32_t tier;
	bool is_known, is_usable;
};
struct ctl_look { /* everything that the looking methods read, gathered once a call */
	const struct ctl_config *cfg;
	struct agent_view v;
	uint64_t now_ms, unix_ms;
	struct ctl_use *use;		 /* by view backend index */
	uint32_t *by_service;		 /* view backend indexes in order of service name */
	const struct route_node **by_id; /* nodes of the view in order of id */
	uint32_t *quic_id;		 /* by view backend index, edge/quic.h */
	bool *ret_is_doubtful; /* set where the answer is wrong if the maps were written meanwhile */
};
int ctl_look_begin(const struct ctl_config *cfg, struct ctl_look *ret_look); /* -ENOMEM */
void ctl_look_end(struct ctl_look *l);
/* The backends of a service: l->by_service[*ret_first .. + count). */
size_t ctl_look_service(const struct ctl_look *l, const char *service, size_t *ret_first);
const struct route_node *ctl_look_node(const struct ctl_look *l,
				       const struct node_id *id); /* or NULL */

int ctl_status(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
	       struct err *e);
int ctl_node_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		  struct err *e);
int ctl_node_show(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		  struct err *e);
int ctl_service_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		     struct err *e);
int ctl_backend_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		     struct err *e);
int ctl_service_show(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		     struct err *e);
int ctl_backend_show(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		     struct err *e);
int ctl_filter_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		    struct err *e);
int ctl_route_show(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		   struct err *e);
int ctl_stats(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o, struct err *e);
int ctl_events(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
	       struct err *e);
/* ctl_plan.c */
int ctl_plan(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o, struct err *e);
int ctl_verify(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
	       struct err *e);
int ctl_converged(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		  struct err *e);
/* ctl_keys.c */
/* Does that node let others write than this one? */
bool ctl_keys_writers_differ(const struct ctl_look *l, const struct node_id *id);
int ctl_keys_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		  struct err *e);
int ctl_keys_add(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		 struct err *e);
int ctl_keys_use(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		 struct err *e);
int ctl_keys_rm(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		struct err *e);
int ctl_quarantine_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
			struct err *e);

/* ctl_regions.c: "regions": [...] into the open map; nodes that summaries name, as items of the open list. */
void ctl_put_regions(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m);
void ctl_put_far_node(const struct route_node *n, struct ctl_out *o);

/* Parts that status and the lists share: "services": [...], "backends": [...] into the open map. */
void ctl_put_services(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m);
void ctl_put_node(const struct ctl_look *l, const struct gossip_member *m, struct ctl_out *o);
void ctl_put_service(const struct ctl_look *l, size_t service_idx, struct ctl_out *o);
void ctl_put_backend(const struct ctl_look *l, size_t backend_idx, struct ctl_out *o);
const struct model_service *ctl_find_service(const struct route_view *v, const char *name,
					     size_t *ret_idx); /* or NULL */
void ctl_put_backends(const struct ctl_look *l, const char *service, struct ctl_out *o,
		      struct ctl_block *m);
/* "NODE/SERVICE/ADDR:PORT" */
const char *ctl_backend_spec(const struct route_view *v, size_t backend_idx,
			     char buf[CTL_SPEC_MAX]);
const char *ctl_state_text(enum gossip_state s);
const char *ctl_health_text(enum model_health_state s);
void ctl_put_gossip_counters(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m);

/* ---- ctl_verbs.c. 0: the agent has it and will call cb once (or has done so already); else e says what was wrong with
 * the arguments, and cb is not called. */
int ctl_verb(struct agent *agent, const char *method, const struct ctl_args *a, agent_cb cb,
	     void *arg, struct err *e);
bool ctl_is_verb(const char *method);

/* ---- ctl_see.c, ctl_trace.c: methods that may be answered later. A question outlives its client; whoever took it ends it
 * once, by ctl_ask_end() or ctl_ask_refuse(). */
struct ctl_ask;
/* Where the result goes; NULL: nobody waits any more, end it all the same. */
struct ctl_out *ctl_ask_begin(struct ctl_ask *ask);
void ctl_ask_end(struct ctl_ask *ask);
void ctl_ask_refuse(struct ctl_ask *ask, int err, const char *text);
const struct ctl_config *ctl_ask_config(const struct ctl_ask *ask); /* NULL: nobody waits */
/* The client, for what is kept for it until ctl_see_gone(). */
const void *ctl_ask_client(const struct ctl_ask *ask);

/* ---- ctl_child.c. fn runs in a child process, which has a copy of everything: it packs one value, or fails with e set.
 * end_cb is called once, in the loop. -EBUSY: enough are at work. */
#define CTL_CHILD_S 25 /* less than a client waits */
struct ctl_child;
struct ctl_child_end {
	int code; /* 0, or negative errno */
	const char *text, *value;
	size_t bytes;
	bool is_doubtful;
};
typedef int (*ctl_child_fn)(struct ctl_out *o, bool *ret_is_doubtful, void *arg, struct err *e);
typedef void (*ctl_child_cb)(const struct ctl_child_end *end, void *arg);
int ctl_child_start(uv_loop_t *uv, ctl_child_fn fn, void *fn_arg, ctl_child_cb end_cb, void *arg,
		    struct ctl_child **ret_child, struct err *e);
/* Nobody waits for it any more. end_cb is called all the same, soon. */
void ctl_child_kill(struct ctl_child *c);

bool ctl_is_see(const char *method);
/* 0: the question is taken. Else e says why not, and it is the caller's. */
int ctl_see(const char *method, const struct ctl_args *a, struct ctl_ask *ask, struct err *e);
void ctl_see_gone(const struct ctl_config *cfg, const void *client);
int ctl_trace(const struct ctl_args *a, struct ctl_ask *ask, struct err *e);

#endif
