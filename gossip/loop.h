/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/loop.h - the gossip core under libuv: datagrams, streams, data-path pings, one timer.
 *
 * Datagrams ride on our own non-blocking fd under uv_poll (recvmmsg/sendmmsg, IP_RECVERR, error queue drained): libuv
 * 1.44's own UDP handles are unfit (libuv #4447). The timer only marks; the core ticks in uv_check, after sockets are
 * drained, so that a thawed process accuses nobody. No protocol decision is made here.
 *
 * Order     feed -> drain packets -> drain events (event_cb) -> arm the timer
 * Events    event_cb gets a copy: it may call into the core (put, del, ...), gossip_loop_pump() (which then only notes
 *           that there is more to do) and gossip_loop_close()
 * Streams   TCP on the same address and port: frames of 4-byte big-endian length and a sealed message; one
 *           connection per peer and direction, idle ones closed after 10 s, at most LOOP_STREAMS_MAX, half of them in
 *           each direction. A peer that can't take a message, or finish one, within that time is cut off. What does
 *           not open with our key ends its connection; when too many come in, those that have not yet shown a sealed
 *           message go first, the longest silent first.
 * Pings     16 bytes (magic "edP1", kind, 8-byte cookie) from a socket of their own on the mesh address, to ping_port
 * Device    sockets are bound to the address, not to the mesh device: a device that is taken away and made anew would
 *           leave a bound socket deaf for good. What arrives by another way is sealed, or it is nothing.
 * Errors    local send errors (EPERM too) and ICMP errors go to gossip_core_send_failed() as negative errno; a socket
 *           that is full for the moment is no error: up to LOOP_OUT_MAX datagrams wait for it
 * Limits    all buffers are made at open, but for streams: <= 64 KiB for each that comes in, <= LOOP_STREAM_BYTES_MAX
 *           for each that goes out. One call of the event loop reads at most LOOP_DRAIN_MAX datagrams.
 * Signals   SIGPIPE is ignored from gossip_loop_open() on: libuv would let a peer that resets its connection end us
 * Threads   the loop's thread
 */
#ifndef GOSSIP_LOOP_H
#define GOSSIP_LOOP_H

#include <uv.h>

#include "gossip/gossip.h"
#include "gossip/seal.h"

#define LOOP_STREAMS_MAX 64
#define LOOP_STREAM_QUEUE_MAX 64 /* messages waiting per connection; then the oldest is dropped */
#define LOOP_STREAM_BYTES_MAX (1u << 20) /* the same in bytes */
#define LOOP_STREAM_IDLE_MS 10000
#define LOOP_STREAM_CONNECT_MS 5000 /* SYN and two more; the kernel would try for minutes */
#define LOOP_OUT_MAX 256    /* a whole fan-out (GOSSIP_FANOUT_MAX) that found the socket full */
#define LOOP_DRAIN_MAX 2048 /* more than a receive buffer of the default size can hold */

struct gossip_loop;

struct gossip_loop_config {
	struct gossip_addr bind;  /* own mesh address and port */
	const char *device;	  /* its name, for error texts only; may be NULL */
	uint16_t ping_port;	  /* destination port of data-path pings; 0 = send none */
	uint32_t stream_idle_ms;  /* 0 = LOOP_STREAM_IDLE_MS */
	struct gossip_core *core; /* borrowed; outlives the loop */
	struct seal *seal;	  /* borrowed */
	void (*event_cb)(const struct gossip_event *ev, void *arg);
	void *arg;
	/* A datagram that says that it is not sealed (gossip/keyring.h); negative: it counts as unsealed. May be NULL. */
	int (*clear_cb)(const struct gossip_addr *from, const uint8_t *msg, size_t len, void *arg);
	void *clear_arg;
};

#define GOSSIP_LOOP_WINDOW_MS 10000
struct gossip_loop_counters {
	uint64_t unsealed; /* messages that did not open: not sealed with our key */
	uint64_t replayed;
	uint64_t send_errors;  /* destinations not sent to, ICMP errors included */
	uint64_t stream_drops; /* waiting stream messages dropped: full, or failed */
	uint64_t lag_ms_max;   /* longest time between two ticks over the deadline */
	/* Of the last whole GOSSIP_LOOP_WINDOW_MS: the same; plaintext bytes a second. 0 until one has gone by. */
	uint64_t lag_ms, bytes_in_s, bytes_out_s;
};

/* bind.port 0: any that is free for both UDP and TCP; gossip_loop_addr() tells. After a failure the event loop must
 * run once more if uv_loop_close() is to return 0. */
int gossip_loop_open(uv_loop_t *uv, const struct gossip_loop_config *cfg,
		     struct gossip_loop **ret_loop, struct err *e);
/* After any direct call into the core (put, del, join): sends what it queued, reports what happened, arms the timer. */
void gossip_loop_pump(struct gossip_loop *l);
/* From the beginning, if it is called before the event loop runs: nothing sealed goes in or out, and no time passes for the
 * core; clear datagrams do. */
void gossip_loop_hold(struct gossip_loop *l, bool is_held);
/* One datagram as it is. What fails is lost. */
void gossip_loop_send_clear(struct gossip_loop *l, const struct gossip_addr *to, const uint8_t *buf,
			    size_t len);
uint64_t gossip_loop_now_ms(const struct gossip_loop *l);
void gossip_loop_addr(const struct gossip_loop *l, struct gossip_addr *ret_addr);
void gossip_loop_counters(const struct gossip_loop *l, struct gossip_loop_counters *ret_counters);
/* Asynchronous: `cb` (may be NULL) runs when every handle is closed and `l` is freed. The core and the seal are not
 * called from here on. */
void gossip_loop_close(struct gossip_loop *l, void (*cb)(void *arg), void *arg);

#endif
