/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/suspect.h - who is alive: probes, bursts, data-path pings, votes, suspicion, local health.
 *
 * A vote is one sender's own opinion and counts for that sender alone (the seal says who it is). Two votes make a member
 * suspect; when fewer than two could vote, one does. Suspicion ends by a newer card of the member itself, or in death.
 */
#ifndef GOSSIP_SUSPECT_H
#define GOSSIP_SUSPECT_H

#include "gossip/core.h"

void suspect_tick(struct gossip_core *c);
uint64_t suspect_deadline(const struct gossip_core *c);
/* We did not run for `gap_ms`: nothing that was due in that time says anything about others. */
void suspect_thaw(struct gossip_core *c, uint64_t gap_ms);

void suspect_on_probe(struct gossip_core *c, struct member *from, const struct gossip_addr *addr,
		      const struct wire_msg *msg);
/* Of a node that can be no member here: no more than that we are there. */
void suspect_ack_stranger(struct gossip_core *c, const struct gossip_addr *addr, uint64_t cookie);
/* Does it answer a probe that went to someone we don't know yet? */
bool suspect_is_awaited(const struct gossip_core *c, uint64_t cookie);
/* Returns the role of the probe that this answers, PROBE_FREE if none. */
enum probe_role suspect_on_ack(struct gossip_core *c, struct member *from,
			       const struct wire_msg *msg);
void suspect_on_ask(struct gossip_core *c, struct member *from, const struct wire_msg *msg);
void suspect_on_pong(struct gossip_core *c, uint64_t cookie);
void suspect_on_vote(struct gossip_core *c, struct member *from, const struct wire_vote *vote);
void suspect_on_send_failed(struct gossip_core *c, struct member *m);

/* An unknown sender: send a cookie to where it says it is. */
void suspect_challenge(struct gossip_core *c, const struct gossip_addr *addr);
/* One whom we hold dead, another each time; NULL: none was met this time. Deaths are told again and again, so that who missed
 * the news of one learns of it from its neighbours on the ring. */
const struct member *suspect_next_death(struct gossip_core *c);
/* Forget all votes about it: it has a newer card. */
void suspect_clear(struct gossip_core *c, struct member *m);

#endif
