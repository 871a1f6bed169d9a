/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/loop_priv.h - what loop.c, loop_dgram.c and loop_stream.c share; for no one else. */
#ifndef GOSSIP_LOOP_PRIV_H
#define GOSSIP_LOOP_PRIV_H

#include <sys/queue.h>
#include <sys/socket.h>

#include "gossip/loop.h"

/* Datagrams per recvmmsg, addresses per sendmmsg: beyond that nothing is saved. */
#define LOOP_BATCH 32
#define LOOP_SEND_BATCH 64
#define LOOP_FRAME_MAX (GOSSIP_STREAM_MAX + SEAL_OVERHEAD)
#define LOOP_DIRECTION_MAX (LOOP_STREAMS_MAX / 2)

/* A datagram socket of ours: gossip, or data-path pings. */
struct loop_sock {
	struct gossip_loop *l;
	uv_poll_t poll;
	int fd;
	enum gossip_via via;
	bool wants_writable;
};

struct loop_waiting { /* a sealed datagram that found the socket full */
	struct gossip_addr to;
	size_t len;
	uint8_t buf[SEAL_DGRAM_MAX];
};

struct loop_failure {
	enum gossip_via via;
	struct gossip_addr to;
	int error;
};

struct loop_conn;
LIST_HEAD(loop_conns, loop_conn);

struct gossip_loop {
	uv_loop_t *uv;
	struct gossip_loop_config cfg;
	struct gossip_addr self;
	struct gossip_loop_counters counters;
	struct { /* the window that is under way */
		uint64_t begun_ms, lag_ms, bytes_in, bytes_out;
	} window;

	uv_timer_t timer;
	uint64_t armed_ms; /* when the timer was last set */
	uv_check_t check;
	uv_idle_t
		idle; /* runs while work is marked, so that the poll phase doesn't sleep before uv_check */
	size_t handle_count; /* initialised and not yet closed */
	bool is_closing, is_marked, is_pumping, is_held;
	void (*close_cb)(void *arg);
	void *close_arg;

	struct loop_sock dgram, ping;
	bool is_sending; /* a packet of the core's is being sent: it must not be called */
	struct loop_failure failure[GOSSIP_FANOUT_MAX];
	size_t failure_count;
	struct loop_waiting waiting[LOOP_OUT_MAX]; /* ring */
	size_t waiting_head, waiting_count;
	uint8_t rx[LOOP_BATCH][SEAL_DGRAM_MAX + 1];

	uv_tcp_t listener;
	int listen_fd; /* until libuv owns it */
	struct loop_conns in, out;
	size_t in_count, out_count;
	uint32_t idle_ms;
	uint64_t sweep_at_ms; /* 0 = no connection */
	bool is_accept_due;   /* there was no memory for one that wants in */

	uint8_t sealed[LOOP_FRAME_MAX];
	uint8_t plain[GOSSIP_STREAM_MAX];
	uint8_t discard[64];
	uint8_t event_key[RECORD_KEY_MAX], event_value[RECORD_VALUE_MAX];
};

socklen_t loop_sockaddr(const struct gossip_addr *a, struct sockaddr_storage *ret_sa);
int loop_addr_of(const struct sockaddr *sa, struct gossip_addr *ret_addr);

/* Something happened that the core must be drained for, in this turn of the loop. */
void loop_mark(struct gossip_loop *l);
/* Tell the core; while one of its packets is being sent, remember it until that is over. */
void loop_failed(struct gossip_loop *l, enum gossip_via via, const struct gossip_addr *to,
		 int error);
/* Open what arrived and hand it to the core. */
int loop_deliver(struct gossip_loop *l, enum gossip_via via, const struct gossip_addr *from,
		 const uint8_t *msg, size_t len);
void loop_handle_closed(struct gossip_loop *l);

int loop_dgram_socket(const struct gossip_addr *bind, const char *device, int *ret_fd,
		      struct err *e);
int loop_dgram_start(struct gossip_loop *l, struct loop_sock *s);
void loop_dgram_drain(struct loop_sock *s);
void loop_dgram_send(struct gossip_loop *l, const struct gossip_packet *p);
void loop_ping_send(struct gossip_loop *l, const struct gossip_packet *p);

int loop_stream_socket(const struct gossip_addr *bind, int *ret_fd, struct err *e);
int loop_stream_start(struct gossip_loop *l);
void loop_stream_send(struct gossip_loop *l, const struct gossip_packet *p);
void loop_stream_sweep(struct gossip_loop *l, uint64_t now_ms);
void loop_stream_close_all(struct gossip_loop *l);

#endif
