/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/check/check_int.h - what the scheduler of checks and the kinds of check share.
 *
 * A probe is one attempt. Its kind allocates nothing before begin() and frees it in drop(), maybe later: it can outlive
 * the check that started it, which `check` NULL tells.
 */
#ifndef EDGE_CHECK_CHECK_INT_H
#define EDGE_CHECK_CHECK_INT_H

#include <regex.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "edge/check/check.h"

struct check_probe {
	struct check *check; /* NULL once the result is in or nobody wants it */
	struct check_pool *pool;
	const struct check_kind *kind;
	/* While check is set: */
	const struct model_check *spec;
	const regex_t *match; /* NULL = anything will do */
	const char *name;
	struct ip_addr addr;
	uint16_t port;
	uint64_t begun_ns;
	char note[64]; /* what came instead of an answer, for when none comes; may be empty */
};

/* One kind of check. */
struct check_kind {
	size_t probe_bytes; /* a struct that begins with a struct check_probe, zeroed before begin() */
	/* 0, and check_probe_done() later, from the loop; or a negative errno: drop() follows. */
	int (*begin)(struct check_probe *p);
	/* Ends whatever is under way, calls check_pool_release() and frees the probe, both maybe later. */
	void (*drop)(struct check_probe *p);
};
extern const struct check_kind check_tcp, check_udp, check_dns, check_http, check_exec;

/* Once per probe, which is the kind's no more. CHECK_NO_RESULT: the fault is this process's. */
__attribute__((format(printf, 3, 4))) void
check_probe_done(struct check_probe *p, enum check_verdict verdict, const char *fmt, ...);
double check_probe_age_ms(const struct check_probe *p);
/* What this process lacks says nothing about the backend. */
bool check_is_our_fault(int err);
/* A NUL stands behind data; there may be more of them in it. */
bool check_matches(const regex_t *re, const char *data, size_t len);
/* Printable ASCII, one line. */
void check_printable(char *text);
socklen_t check_sockaddr(const struct ip_addr *a, uint16_t port, struct sockaddr_storage *ret_ss);

/* ---- check_pool.c */
struct check_waiter { /* a check that waits its turn */
	bool is_waiting;
	bool is_woken; /* has been told that there is room, and has not taken it yet */
	TAILQ_ENTRY(check_waiter) link;
};
TAILQ_HEAD(check_waiters, check_waiter);
struct check_pool {
	uv_loop_t *uv;
	char program_dir[CHECK_DIR_MAX], ca_file[128];
	unsigned running[2]; /* probes; programs */
	struct check_waiters waiting[2];
	void (*wake)(struct check_waiter *w);
	struct check_http_multi *http; /* made when it is needed */
	unsigned open_handles;
	void (*close_cb)(void *arg);
	void *close_arg;
};
/* false: it waits, and is woken when there is room. */
bool check_pool_take(struct check_pool *pool, bool is_program, struct check_waiter *w);
void check_pool_release(struct check_pool *pool, bool is_program);
void check_pool_forget(struct check_pool *pool, bool is_program, struct check_waiter *w);
/* It is gone for good: the room that it was given goes to the next one. */
void check_pool_leave(struct check_pool *pool, bool is_program, struct check_waiter *w);
void check_pool_handle_closed(struct check_pool *pool);

/* ---- check_http.c */
void check_http_close(struct check_pool *pool); /* its handles are among open_handles */

/* ---- check_sock.c: probes that are one socket under uv_poll */
struct sock_probe {
	struct check_probe base;
	uv_poll_t poll;
	bool is_polled; /* has been initialised */
	int fd;		/* <= 0: none */
	int events;
	void (*ready)(struct sock_probe *s); /* something happened on the socket */
};
/* Open, connect, watch. */
int sock_open(struct sock_probe *s, int sock_type, int events, void (*ready)(struct sock_probe *s));
int sock_wait(struct sock_probe *s, int events);
/* of a connection that was begun; 0 or a negative errno */
int sock_error(const struct sock_probe *s);
void sock_drop(struct check_probe *p);
void sock_failed(struct sock_probe *s, int err); /* no result where the fault is ours */

/* ---- check_dnsmsg.c: PURE */
#define CHECK_DNS_QUERY_MAX 256
#define CHECK_DNS_REPLY_MAX 4096
/* Length of the query. */
size_t check_dns_query(const struct model_check *spec, uint16_t id,
		       uint8_t ret_query[CHECK_DNS_QUERY_MAX]);
/* An answer, to this very question. */
bool check_dns_is_answer(const struct model_check *spec, uint16_t id, const uint8_t *reply,
			 size_t len);
enum check_verdict check_dns_judge(const struct model_check *spec, uint16_t id,
				   const uint8_t *reply, size_t len, char ret_why[96]);

#endif
