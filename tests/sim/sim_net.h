/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/sim/sim_net.h - a network in virtual time: what was sent arrives later, twice, or never; always the same for a seed.
 *
 * Time is in milliseconds. Events at the same time come in the order in which they were scheduled.
 */
#ifndef SIM_NET_H
#define SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t sim_random(uint64_t *state);
/* 0 <= result < n */
uint64_t sim_below(uint64_t *state, uint64_t n);
/* Not cryptography: a fast mix that tells different inputs apart. */
uint64_t sim_mix(uint64_t seed, const void *bytes, size_t len);

struct sim_payload {
	unsigned int refs;
	size_t len;
	uint8_t bytes[];
};
struct sim_payload *sim_payload_new(const void *bytes, size_t len);
void sim_payload_unref(struct sim_payload *p);

enum sim_event_kind { SIM_TIMER, SIM_DGRAM, SIM_STREAM, SIM_PING, SIM_PONG, SIM_SEND_FAILED };

struct sim_event {
	uint64_t at_ms, order;
	enum sim_event_kind kind;
	size_t src, dst;
	uint64_t boot; /* of the sender */
	bool is_late;  /* a slow node has kept it waiting already */
	struct sim_payload *payload;
};

struct sim_queue {
	struct sim_event *heap;
	size_t count, cap;
	uint64_t order;
};
void sim_queue_push(struct sim_queue *q, struct sim_event e);
bool sim_queue_pop(struct sim_queue *q, uint64_t until_ms, struct sim_event *ret_event);
void sim_queue_done(struct sim_queue *q);

#endif
