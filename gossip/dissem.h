/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/dissem.h - spreading: urgent news to everyone at once, the rest on whatever packet goes out anyway.
 *
 * Queues hold records and members, not messages: a newer version takes the older one's place by itself, and no queue
 * can be longer than its table.
 */
#ifndef GOSSIP_DISSEM_H
#define GOSSIP_DISSEM_H

#include "gossip/core.h"

enum dissem_way {
	DISSEM_SOME,  /* ride on a few probes and acks: most know it already */
	DISSEM_LAZY,  /* ride on probes and acks */
	DISSEM_ALL,   /* at once to all that live, then lazily */
	DISSEM_RELAY, /* once to two random members, then lazily */
};
void dissem_record(struct gossip_core *c, struct rec *r, enum dissem_way way);
void dissem_member(struct gossip_core *c, struct member *m, enum dissem_way way);
/* Somebody tells us what we have: one who need not be told any more. Interest dies with those who hear, not by count alone. */
void dissem_known_record(struct gossip_core *c, struct rec *r);
void dissem_known_member(struct gossip_core *c, struct member *m);
void dissem_forget_record(struct gossip_core *c, struct rec *r);
void dissem_forget_member(struct gossip_core *c, struct member *m);

/* Fill what is left of a datagram to `dest` (NULL: many, or unknown) with what it should hear. */
void dissem_fill(struct gossip_core *c, struct wire_out *o, struct member *dest);
/* Turn urgent news into packets, as far as its bytes allow. */
void dissem_flush(struct gossip_core *c);
/* When urgent news that waits may go on; UINT64_MAX: none waits. */
uint64_t dissem_deadline(const struct gossip_core *c);
/* Our opinion of one member, now, to everyone and to itself. */
void dissem_vote(struct gossip_core *c, const struct member *m, enum gossip_state state);
/* Finish and queue a datagram. */
void dissem_send(struct gossip_core *c, struct wire_out *o, const struct gossip_addr *to,
		 size_t to_count);

#endif
