/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/sim/sim_watch.h - what must hold after every step of a simulation, and the story of a run in which it did not.
 *
 *   no record goes backwards at any node, over a restart with its disk as well
 *   every version of an own record that a node holds was written by its owner, and a shared one by its writer
 *   a node knows no more members, writers and records than were made; no queue is left behind
 *   equal watermarks, and equal heads that are met, mean equal records (sim_watch_agree: pairs of nodes, dearer)
 *
 * A breach prints the seed and the last things that the nodes concerned have heard and done, and ends the process.
 */
#ifndef SIM_WATCH_H
#define SIM_WATCH_H

#include "tests/sim/sim_cluster.h"

struct sim_watch_config {
	size_t own_keys,
		shared_keys; /* a node's own records, all shared ones: at most so many identities */
	size_t burst;	     /* deletions at once, at most */
	bool is_trusting;    /* false: relays lie, so watermarks prove nothing */
};
void sim_watch_begin(struct sim *s, const struct sim_watch_config *cfg);
void sim_watch_end(struct sim *s);

/* Called by the cluster. */
void sim_watch_event(struct sim *s, struct sim_node *n, const struct gossip_event *ev);
void sim_watch_packet(struct sim *s, const struct sim_event *e, bool is_path);
void sim_watch_step(struct sim *s, struct sim_node *n);

/* What the test itself does to a node (SIZE_MAX: to the network) belongs in the story. */
void sim_watch_note(struct sim *s, size_t i, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Compare all pairs. */
void sim_watch_agree(struct sim *s);
/* Tell the story and exit. a, b: the nodes concerned, SIZE_MAX for none. */
void sim_watch_fail(struct sim *s, size_t a, size_t b, const char *fmt, ...)
	__attribute__((format(printf, 4, 5), noreturn));

/* Runs run(seed) in a process of its own for SEED, or for SEEDS (else `count`) seeds from FIRST (else 1) on, and
 * returns how many failed; each is named. */
unsigned int sim_watch_seeds(unsigned int count, void (*run)(uint64_t seed));

#endif
