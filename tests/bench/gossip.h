/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bench/gossip.h - what the daemons of `make bench-gossip` tell the program that measures them: memory that both
 * share, written by whoever saw it, read by the measuring program.
 *
 * Time   CLOCK_MONOTONIC in nanoseconds, of one machine, so that stamps of all processes compare
 * Node   its name is "n" and its index, three digits
 */
#ifndef BENCH_GOSSIP_H
#define BENCH_GOSSIP_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#define BENCH_NODES_MAX 128
#define BENCH_CHANGES_MAX 4096
#define BENCH_STATES 5
#define BENCH_KIND 62		 /* an own record that nothing but gossip and the store looks at */
#define BENCH_FD_ENV "BENCH_FDS" /* "memory eventfd index" */

enum bench_command { BENCH_NONE, BENCH_PUT, BENCH_JOIN, BENCH_COUNT };

struct bench_node {
	_Atomic uint32_t command; /* taken when the eventfd is written, then BENCH_NONE */
	_Atomic uint64_t arg;
	_Atomic uint64_t put_ns[BENCH_CHANGES_MAX];		  /* writer: when it was put */
	_Atomic uint64_t heard_ns[BENCH_CHANGES_MAX];		  /* when it was known here */
	_Atomic uint32_t alive;					  /* members that it holds alive */
	_Atomic uint64_t alive_ns;				  /* when that number changed */
	_Atomic uint32_t state[BENCH_NODES_MAX];		  /* enum gossip_state of each */
	_Atomic uint64_t state_ns[BENCH_NODES_MAX][BENCH_STATES]; /* when it last became so */
	_Atomic uint32_t became[BENCH_NODES_MAX][BENCH_STATES];	  /* and how often */
	_Atomic uint64_t is_ready, dgrams_out, bytes_out, probes_failed, queue_drops, frozen;
};

struct bench_shared {
	struct bench_node node[BENCH_NODES_MAX];
};

static inline uint64_t bench_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

#endif
