/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bench/gossip_mesh.h - a mesh of real processes on addresses of the loopback device, of one kind or another.
 *
 * All of it ends the program when something can't be done: it is a benchmark, and says what was in the way.
 */
#ifndef BENCH_GOSSIP_MESH_H
#define BENCH_GOSSIP_MESH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tests/bench/gossip.h"

#define MESH_DEAD 3 /* GOSSIP_DEAD: what serf calls failed */
#define MESH_SUSPECT 2

struct mesh {
	const char *name; /* "edged" or "serf" */
	const char *dir;
	size_t count;
	pid_t pid[BENCH_NODES_MAX];
	int fd[BENCH_NODES_MAX]; /* edged: the bell. serf: the connection */
	struct bench_shared *shared;
	bool is_down
		[BENCH_NODES_MAX]; /* on purpose: no news is expected of it, and its death is no error */
	bool has_suspects;	   /* tells of suspicion */
	bool is_quiet;		   /* measures rest: asks nothing */
	/* start node i; `is_alone`: it joins when told */
	void (*start)(struct mesh *m, size_t i, bool is_alone);
	bool (*is_ready)(struct mesh *m, size_t i);
	void (*join)(struct mesh *m, size_t i);
	void (*put)(struct mesh *m, size_t i, uint64_t change);
	void (*pump)(struct mesh *m,
		     unsigned int ms); /* let so much time go by, taking in what comes */
};

void mesh_edged(struct mesh *m);
void mesh_serf(struct mesh *m);

void bench_die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void mesh_set_alive(struct bench_node *n, uint32_t alive, uint64_t now_ns);
void mesh_set_state(struct bench_node *n, size_t other, unsigned int state, uint64_t now_ns);

#endif
