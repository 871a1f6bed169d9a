/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Counts of live members by the lowest and the highest version that they speak; what is spoken follows from them. */
#include "gossip/version.h"

#include <string.h>

static bool counts(const struct member *m)
{
	return m->state <= GOSSIP_SUSPECT && m->card.version.lo;
}

/* The highest of the lowest, and the lowest of the highest, of all who count. */
static struct version_range common(const struct gossip_core *c)
{
	struct version_range r = c->cfg.version;

	for (uint8_t v = 1; v <= WIRE_VERSION_MAX; v++)
		if (c->version.lo[v] && v > r.lo)
			r.lo = v;
	for (uint8_t v = WIRE_VERSION_MAX; v >= 1; v--)
		if (c->version.hi[v] && v < r.hi)
			r.hi = v;
	return r;
}

static void update(struct gossip_core *c)
{
	uint8_t v = common(c).hi;

	c->version.spoken = v < c->cfg.version.lo ? c->cfg.version.lo : v;
}

void version_count(struct gossip_core *c, const struct member *m)
{
	if (counts(m)) {
		c->version.lo[m->card.version.lo]++;
		c->version.hi[m->card.version.hi]++;
	}
	update(c);
}

void version_discount(struct gossip_core *c, const struct member *m)
{
	if (counts(m)) {
		c->version.lo[m->card.version.lo]--;
		c->version.hi[m->card.version.hi]--;
	}
}

bool version_allows(const struct gossip_core *c, const struct member *m,
		    const struct wire_card *card)
{
	struct version_range r = common(c);

	if (!card->version.lo || (card->version.lo <= r.hi && card->version.hi >= r.lo))
		return true;
	if (!m || !counts(m))
		return false;
	/* It was the one that held the others back, or drove them. */
	r = c->cfg.version;
	for (uint8_t v = 1; v <= WIRE_VERSION_MAX; v++)
		if (c->version.lo[v] > (m->card.version.lo == v) && v > r.lo)
			r.lo = v;
	for (uint8_t v = WIRE_VERSION_MAX; v >= 1; v--)
		if (c->version.hi[v] > (m->card.version.hi == v) && v < r.hi)
			r.hi = v;
	return card->version.lo <= r.hi && card->version.hi >= r.lo;
}

void version_begin(const struct gossip_core *c, struct wire_out *o, uint8_t *buf, size_t cap,
		   enum wire_type type)
{
	uint8_t v = c->regions ? c->cfg.version.lo : c->version.spoken;

	if (type == WIRE_ACK && c->version.asked)
		v = c->version.asked;
	wire_begin_as(o, buf, cap, type, v);
}

void version_knock(struct gossip_core *c, struct wire_out *o, const struct member *m)
{
	const struct version_range *own = &c->cfg.version;
	uint8_t v = (uint8_t)(own->lo + c->version.knocks++ % (own->hi - own->lo + 1u));

	if (m && m->state <= GOSSIP_SUSPECT && m->card.version.lo)
		v = c->regions ? own->lo : c->version.spoken;
	else if (c->version.asked)
		v = c->version.asked;
	wire_begin_as(o, c->dgram, sizeof(c->dgram), WIRE_PROBE, v);
}

void version_refused(struct gossip_core *c, const struct node_id *id,
		     const struct gossip_addr *addr, uint32_t lo, uint32_t hi)
{
	c->n.version_mismatches++;
	core_mismatch(c, &(struct gossip_mismatch){.id = *id,
						   .addr = *addr,
						   .heard_ms = c->now_ms,
						   .version_lo = lo,
						   .version_hi = hi});
}

uint8_t gossip_core_version(const struct gossip_core *c, struct version_range *ret_own)
{
	if (ret_own)
		*ret_own = c->cfg.version;
	return c->version.spoken;
}
