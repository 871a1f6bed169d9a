/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/member.h - who is in the cluster: signed cards, states, the ring in hash order, conflicts.
 *
 * A card is a member's own signed statement (address, generation, incarnation); it is believed whoever passed it on,
 * and the higher (generation, incarnation) wins. What others think of a member is in suspect.h.
 */
#ifndef GOSSIP_MEMBER_H
#define GOSSIP_MEMBER_H

#include "gossip/core.h"

struct member *member_get(const struct gossip_core *c, const struct node_id *id);
struct member *member_by_addr(const struct gossip_core *c, const struct gossip_addr *addr);
bool member_is_at(const struct member *m, const struct gossip_addr *addr);

enum card_result { CARD_OLD, CARD_REFUSED, CARD_UPDATED, CARD_NEW };
/* A card arrived, from whomever; `votes` (may be NULL) is what its bearer thinks of members: a card that comes with the
 * news of its owner's death brings nobody back to life. ret_member (may be NULL) is set unless refused. */
enum card_result member_offer_card(struct gossip_core *c, const struct wire_card *card,
				   const struct wire_list *votes, struct member **ret_member);
/* Make and sign our card anew; `is_bump`: with the next incarnation. Everyone will hear. */
void member_renew_self(struct gossip_core *c, bool is_bump);
int member_load(struct gossip_core *c, const struct gossip_member *m);
int member_add_self(struct gossip_core *c);
/* Its place in core.ring. */
size_t member_ring_idx(const struct gossip_core *c, const struct member *m);

/* <0, 0, >0: is (generation, incarnation) older than, the same as, newer than the card we have? */
int member_cmp_version(const struct member *m, uint64_t generation, uint32_t incarnation);
void member_set_state(struct gossip_core *c, struct member *m, enum gossip_state state);
/* A control message came from it. */
void member_heard(struct gossip_core *c, struct member *m);
/* Two nodes with one identity, name or number: said once in ten seconds. */
void member_conflict(struct gossip_core *c, struct member *m);
bool member_is_card_signed(struct gossip_core *c, const struct wire_card *card);

/* A random other member that is alive; NULL if none. `not1`, `not2` may be NULL. */
struct member *member_random_alive(struct gossip_core *c, const struct member *not1,
				   const struct member *not2);
/* The next on the ring that is alive, or the one before; NULL if there is none. `not1` may be NULL. */
struct member *member_neighbour(const struct gossip_core *c, const struct member *m, bool is_before,
				const struct member *not1);
/* One after the other, so that none waits for long; NULL: none is in that state. */
struct member *member_next_in(struct gossip_core *c, enum gossip_state state, size_t *cursor);
/* Addresses of all others alive, at most `max`: those around `m` on the ring then, or random ones if it is NULL. */
size_t member_live_addrs(struct gossip_core *c, const struct member *m,
			 struct gossip_addr *ret_addrs, size_t max);
void member_export(const struct gossip_core *c, const struct member *m,
		   struct gossip_member *ret_member);
void member_free_all(struct gossip_core *c);

#endif
