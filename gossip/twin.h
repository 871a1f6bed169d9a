/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/twin.h - two machines with one key (a cloned disk): the address that answers keeps the id, the other is refused.
 *
 * A new boot nonce from where the member's card says it is: it was restarted. From elsewhere, it has moved or been cloned: what it
 * says is put aside (its probes are answered, marked HELD, with the card we know) and the known address is asked. If that
 * answers, the newcomer stays out; if it keeps silent, the newcomer has moved.
 *
 * Who is held, or sees its own card with another boot and address, asks that address itself. If its twin answers, the one that
 * nobody took in yet yields, and between two members (both were taken in, on two sides of a partition) the greater boot nonce
 * does. Who yields says nothing any more but to ask its twin; when that is silent, it joins again.
 */
#ifndef GOSSIP_TWIN_H
#define GOSSIP_TWIN_H

#include "gossip/core.h"

/* The sealed sender's boot nonce and where it came from. false: not the one we know; its message must be ignored. */
bool twin_admit(struct gossip_core *c, struct member *m, enum gossip_via via,
		const struct gossip_sender *sender, const struct gossip_addr *from,
		const struct wire_msg *msg);
/* Our own id, from another boot. */
int twin_on_self(struct gossip_core *c, enum gossip_via via, const struct gossip_sender *sender,
		 const struct gossip_addr *from, const uint8_t *buf, size_t len);
/* Our own card with another boot and address was seen: is there somebody? */
void twin_look(struct gossip_core *c, const struct wire_card *card);
/* An ack that says whether the one who sent it took us in. false: it did not, and the message is no more than that. */
bool twin_is_taken(struct gossip_core *c, const struct wire_msg *msg);
void twin_tick(struct gossip_core *c);
uint64_t twin_deadline(const struct gossip_core *c);

#endif
