/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/version.h - versions of the protocol: which ones a node speaks, and which one its messages are in.
 *
 * Range     each node's card says the lowest and the highest version that it speaks. A build speaks its own and, from 2 on, the one before, so
 *           that a mesh is upgraded node by node
 * Spoken    the lowest of the highest that live members speak: everyone can read what anyone writes. It rises by itself when
 *           the last old node is gone, and falls for one that comes back. An answer has the version of its question, and who knocks where
 *           it is not known tries one version after the other. With summaries between regions: the lowest of our own range,
 *           for of other regions a node knows a few members alone
 * Refused   a node that shares no version with all who live does not become a member, wherever it knocks: half of the mesh would
 *           hear it and half would not. Messages in versions that we don't read are dropped; both are named
 *           (gossip_core_mismatches())
 * New things  ask version_spoken() before a message carries what older readers would misunderstand; what they may skip needs
 *           no version (unknown keys, kinds and fields are kept or skipped)
 * Memory    counts in the core; nothing is allocated
 */
#ifndef GOSSIP_VERSION_H
#define GOSSIP_VERSION_H

#include "gossip/core.h"

/* What this build speaks: 1 <= lo <= hi <= WIRE_VERSION_MAX. */
extern const struct version_range version_built;

static inline uint8_t version_spoken(const struct gossip_core *c)
{
	return c->version.spoken;
}

/* Begin a message: an answer in the version of what is answered, all else in the one that is spoken. */
void version_begin(const struct gossip_core *c, struct wire_out *o, uint8_t *buf, size_t cap,
		   enum wire_type type);

/* Begin a probe in c->dgram: to whom we don't know, or hold for dead, in the version that it spoke just now, or in each of ours in
 * turn. */
void version_knock(struct gossip_core *c, struct wire_out *o, const struct member *m);

/* `m` counts, or counts no more: around every change of its card and its state. */
void version_count(struct gossip_core *c, const struct member *m);
void version_discount(struct gossip_core *c, const struct member *m);

/* Could all who live speak with the owner of this card? m: as whom it is known, or NULL. */
bool version_allows(const struct gossip_core *c, const struct member *m,
		    const struct wire_card *card);
/* Somebody was refused for it. */
void version_refused(struct gossip_core *c, const struct node_id *id,
		     const struct gossip_addr *addr, uint32_t lo, uint32_t hi);

#endif
