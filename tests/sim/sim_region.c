/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Regions that know summaries of each other: what the application would make of a region's records, and looking. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"
#include "tests/sim/sim_cluster.h"

const char *sim_region_of(const struct sim *s, const struct sim_node *n, char buf[GOSSIP_NAME_MAX])
{
	(void)s;
	snprintf(buf, GOSSIP_NAME_MAX, "%s-%zu", sim_region_name(n->region), n->region);
	return buf;
}

size_t sim_summary(struct sim *s, size_t i, uint8_t *buf, size_t cap)
{
	const struct gossip_core *c = s->node[i].core;
	size_t len = s->cfg.summary_bytes > 24 ? s->cfg.summary_bytes : 24;
	struct digest sum = {{0, 0}};
	uint64_t count = 0, h;

	/* A function of the records in force alone, whatever their order. */
	for (size_t k = 0; k < c->rec_count; k++) {
		const struct rec *r = c->recs[k];
		struct digest x = {{0, 0}};

		if (!table_is_in_force(r) ||
		    (r->blob->r.kind != SIM_KIND && r->blob->r.kind != SIM_KIND_SHARED))
			continue;
		x.w[0] = sim_mix(r->blob->r.kind, r->blob->r.key, r->blob->r.key_len);
		x.w[0] = sim_mix(x.w[0], r->blob->r.value, r->blob->r.value_len);
		if (r->origin)
			x.w[0] = sim_mix(x.w[0], &r->origin->id, sizeof(r->origin->id));
		digest_add(&sum, &x);
		count++;
	}
	if (len > cap)
		len = cap;
	h = sum.w[0];
	for (size_t k = 0; k < len; k++) {
		if (k % 8 == 0)
			h = h * 0x9e3779b97f4a7c15ull + count;
		buf[k] = (uint8_t)(h >> (8 * (k % 8)));
	}
	return len;
}

void sim_summary_put(struct sim *s, struct sim_node *n)
{
	static uint8_t buf[GOSSIP_SUMMARY_MAX];

	n->is_summary_stale = false;
	if (!n->core->regions)
		return;
	if (gossip_core_put_summary(n->core, sim_clock(s, n), buf,
				    sim_summary(s, n->idx, buf, sizeof(buf))))
		abort();
}

bool sim_region_at(struct sim *s, size_t i, size_t region, struct gossip_region *ret_region)
{
	const struct sim_node like = {.region = region};
	char name[GOSSIP_NAME_MAX];

	(void)sim_region_of(s, &like, name);
	for (size_t k = 0; k < gossip_core_region_count(s->node[i].core); k++) {
		gossip_core_region_at(s->node[i].core, k, ret_region);
		if (strcmp(ret_region->name, name) == 0)
			return true;
	}
	return false;
}

/* The first of each region that is up. */
static void find_first(const struct sim *s, size_t *ret_first)
{
	for (size_t r = 0; r < s->cfg.regions; r++)
		ret_first[r] = SIZE_MAX;
	for (size_t i = s->cfg.nodes; i-- > 0;)
		if (s->node[i].life == SIM_UP)
			ret_first[s->node[i].region] = i;
}

static bool is_member_view(const struct sim *s, size_t i, size_t up)
{
	const struct gossip_core *c = s->node[i].core;

	for (size_t k = 0; k < c->ring_count; k++)
		if (strcmp(c->ring[k]->card.region, c->cfg.region) != 0)
			return false;
	return c->state_count[GOSSIP_ALIVE] == up;
}

static bool has_all(struct sim *s, size_t i, const size_t *first, const uint8_t *want, size_t len)
{
	struct gossip_region g;

	for (size_t r = 0; r < s->cfg.regions; r++) {
		if (first[r] == SIZE_MAX)
			continue;
		if (!sim_region_at(s, i, r, &g) || g.is_dead || !g.has_value || g.len != len ||
		    memcmp(g.value, want + r * len, len) != 0)
			return false;
	}
	return true;
}

bool sim_regions_are_one(struct sim *s, void *arg)
{
	size_t *first = calloc(s->cfg.regions, 2 * sizeof(*first)), *up = first + s->cfg.regions;
	size_t len = s->cfg.summary_bytes > 24 ? s->cfg.summary_bytes : 24;
	uint8_t *want = malloc(s->cfg.regions * len);
	bool is_one = true;

	(void)arg;
	if (!first || !want)
		abort();
	find_first(s, first);
	for (size_t i = 0; i < s->cfg.nodes; i++)
		up[s->node[i].region] += s->node[i].life == SIM_UP;
	for (size_t r = 0; r < s->cfg.regions; r++)
		if (first[r] != SIZE_MAX)
			(void)sim_summary(s, first[r], want + r * len, len);
	for (size_t i = 0; i < s->cfg.nodes && is_one; i++) {
		const struct sim_node *n = &s->node[i];

		if (n->life != SIM_UP)
			continue;
		is_one = is_member_view(s, i, up[n->region]) &&
			 digest_eq(&n->core->root, &s->node[first[n->region]].core->root) &&
			 has_all(s, i, first, want, len);
	}
	free(want);
	free(first);
	return is_one;
}
