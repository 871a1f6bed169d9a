/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/writers.h - who may write shared records: a signer that knows only some signatures under some kinds.
 *
 * It stands between the core and the node's key. What a node may not write does not verify, whoever passed it on, and is not
 * signed here. By node id, not by name: anybody can call itself as it likes.
 * Limits   WRITERS_MAX
 * Threads  none
 */
#ifndef GOSSIP_WRITERS_H
#define GOSSIP_WRITERS_H

#include "gossip/gossip.h"

#define WRITERS_MAX 32
#define WRITERS_SUM_BYTES 8

struct writers {
	struct node_id id[WRITERS_MAX];
	size_t count;	  /* 0: all may write all */
	uint64_t guarded; /* kinds 64..127: bit kind - 64 */
	struct gossip_signer inner;
	struct node_id self;
};

/* Puts itself around *signer; must live as long as that is used. With count 0 it leaves it alone. */
void writers_guard(struct writers *w, const struct node_id *self, struct gossip_signer *signer);
/* The same on nodes that let the same nodes write, in whatever order they are named; zero for all. */
void writers_sum(const struct writers *w, uint8_t ret_sum[WRITERS_SUM_BYTES]);

#endif
