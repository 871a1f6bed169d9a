/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/loop.h - the gossip core under libuv: datagrams, streams, data-path pings, one timer.
 *
 * Datagrams ride on our own non-blocking fd under uv_poll (recvmmsg/sendmmsg, IP_RECVERR, error queue drained): libuv
 * 1.44's own UDP handles are unfit (libuv #4447). The timer only marks; the core ticks in uv_check, after sockets are
 * drained, so that a thawed process accuses nobody. No protocol decision is made here.
 *
 * Order     feed -> drain packets -> drain events (event_cb) -> arm the timer
 * Streams   TCP on the same address and port: frames of 4-byte big-endian length and a sealed message; one
 *           connection per peer and direction, idle ones closed after 10 s, at most LOOP_STREAMS_MAX
 * Errors    local send errors and ICMP errors go to gossip_core_send_failed()
 * Threads   the loop's thread
 */
#ifndef GOSSIP_LOOP_H
#define GOSSIP_LOOP_H

#include <uv.h>

#include "gossip/gossip.h"
#include "gossip/seal.h"

#define LOOP_STREAMS_MAX 64
#define LOOP_STREAM_QUEUE_MAX 64 /* messages waiting per connection; over it the oldest is dropped and counted */

struct gossip_loop;

struct gossip_loop_config {
	struct gossip_addr bind;       /* own mesh address and port */
	const char *device;            /* bind to this device (SO_BINDTODEVICE is not used without privilege); may be NULL */
	uint16_t ping_port;            /* destination port of data-path pings; 0 = send none */
	struct gossip_core *core;      /* borrowed; outlives the loop */
	struct seal *seal;             /* borrowed */
	void (*event_cb)(const struct gossip_event *ev, void *arg);
	void *arg;
};

struct gossip_loop_counters {
	uint64_t unsealed;   /* messages that did not open: not sealed with our key */
	uint64_t replayed;
	uint64_t send_errors;
	uint64_t stream_drops;
	uint64_t lag_ms_max; /* longest time between two ticks over the deadline */
};

int gossip_loop_open(uv_loop_t *uv, const struct gossip_loop_config *cfg, struct gossip_loop **ret_loop, struct err *e);
/* After any direct call into the core (put, del, join): sends what it queued, reports what happened, arms the timer. */
void gossip_loop_pump(struct gossip_loop *l);
uint64_t gossip_loop_now_ms(const struct gossip_loop *l);
void gossip_loop_counters(const struct gossip_loop *l, struct gossip_loop_counters *ret_counters);
/* Asynchronous: `cb` runs when every handle is closed and `l` is freed. */
void gossip_loop_close(struct gossip_loop *l, void (*cb)(void *arg), void *arg);

#endif
