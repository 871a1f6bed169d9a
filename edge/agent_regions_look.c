/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is known of other regions, and what is wrong with it. */
#include <stdio.h>
#include <string.h>

#include "edge/agent_regions.h"

#define BEHIND_MS 5000 /* a summary takes a moment */

bool agent_region_look(const struct agent *a, const char *name, struct agent_region_view *ret_view)
{
	struct agent_region_view v = {0};

	for (size_t i = 0; a->regions && i < a->regions->count; i++) {
		const struct agent_region *r = a->regions->r[i];

		if (strcmp(r->name, name) != 0 || !r->summary)
			continue;
		v.version = r->version;
		v.nodes = r->summary->node_count;
		v.services = r->summary->service_count;
		v.ways = r->summary->way_count;
		v.keys = r->summary->keys;
		for (size_t k = 0; k < v.services; k++)
			v.backends += r->summary->service[k].backends;
		*ret_view = v;
		return true;
	}
	return false;
}

struct texts {
	char (*text)[AGENT_TEXT_MAX];
	size_t count, max;
};

__attribute__((format(printf, 2, 3))) static void add(struct texts *t, const char *fmt, ...)
{
	va_list ap;

	if (t->count == t->max)
		return;
	va_start(ap, fmt);
	vsnprintf(t->text[t->count++], AGENT_TEXT_MAX, fmt, ap);
	va_end(ap);
}

static void add_region(const struct agent *a, const struct gossip_region *g, struct texts *t)
{
	uint64_t now = agent_now_ms(a);
	char name[MODEL_NAME_MAX];

	if (g->is_dead)
		add(t,
		    "region %s is dead for %llu s: nobody there answers, its ways in are not used",
		    g->name, (unsigned long long)((now - g->since_ms) / 1000));
	else if (!g->has_value && now > a->opened_ms + BEHIND_MS)
		add(t, "region %s has sent no summary: no way into it is known", g->name);
	if (g->is_behind && !g->is_dead && now > g->behind_since_ms + BEHIND_MS)
		add(t,
		    "the summary of region %s is older than the one that %s has, for %llu s: this "
		    "node has asked for it",
		    g->name, agent_node_name(a, &g->newest_from, name),
		    (unsigned long long)((now - g->behind_since_ms) / 1000));
}

static void add_mismatch(const struct agent *a, const struct gossip_mismatch *x, struct texts *t)
{
	char name[MODEL_NAME_MAX], ip[IP_TEXT_MAX];
	const char *at =
		ip_port_text((const struct ip_addr *)(const void *)x->addr.ip, x->addr.port, ip);
	struct version_range own;
	unsigned int spoken = gossip_core_version(a->core, &own);

	if (x->version_lo)
		add(t,
		    "node %s at %s is not let in: it speaks versions %u-%u of the protocol, this "
		    "node "
		    "%u-%u, the mesh %u; upgrade the older ones",
		    agent_node_name(a, &x->id, name), at, x->version_lo, x->version_hi, own.lo,
		    own.hi, spoken);
	else
		add(t,
		    "node %s at %s has another [regions] mode than this one, which has %s: until "
		    "all have the same, they know less of each other",
		    agent_node_name(a, &x->id, name), at,
		    a->cfg.has_regions ? "summaries" : "flat");
}

static void add_mismatches(const struct agent *a, struct texts *t)
{
	struct gossip_mismatch list[GOSSIP_MISMATCHES_MAX];
	size_t count = gossip_core_mismatches(a->core, list);

	for (size_t i = 0; i < count; i++)
		add_mismatch(a, &list[i], t);
}

/* One name or number twice, in two regions: nobody there could refuse it. */
static void add_clashes(const struct agent *a, struct texts *t)
{
	const struct route_view *v = &a->world->view;

	if (a->regions->clash_text[0])
		add(t, "%s", a->regions->clash_text);
	for (size_t i = 0; i < v->node_count; i++) {
		const struct route_node *n = &v->node[i];

		if (n->is_summary && !strcmp(n->node.name, a->cfg.self.name)) {
			add(t, "a node of region %s is called %s like this one: rename one",
			    n->node.region, n->node.name);
			return;
		}
	}
}

size_t agent_regions_problems(const struct agent *a, char (*text)[AGENT_TEXT_MAX], size_t max)
{
	struct texts t = {.text = text, .max = max};
	struct gossip_region g;

	for (size_t i = 0; i < gossip_core_region_count(a->core); i++) {
		gossip_core_region_at(a->core, i, &g);
		if (!g.is_own)
			add_region(a, &g, &t);
	}
	add_mismatches(a, &t);
	if (a->regions && a->world)
		add_clashes(a, &t);
	return t.count;
}
