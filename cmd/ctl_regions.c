/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Other regions, as far as this node knows them by summaries. With [regions] mode = flat the list is empty.
 *
 * regions    [{name, is_own, state: "own" | "alive" | "dead" | "unheard", since_ms, heard_ms (nil = others of this region ask it),
 *             rtt_us (nil = not measured), has_summary, summary_ms: since it came, bytes, version: "removals.lives.marks.hash",
 *             is_applied: it is what routes are made from, from: who sent it, live: members that live, as it says,
 *             down: [name or number], nodes, services, ways, backends: what its summary names, is_behind, behind_ms,
 *             newest_from, senders: [{name, addr, counts, heard_ms}]}]    own first, then by name
 */
#include <string.h>

#include "cmd/ctl_int.h"

static const char *name_of(const struct ctl_look *l, const struct gossip_region *g,
			   const struct node_id *id, char buf[MODEL_NAME_MAX])
{
	static const struct node_id nobody;
	const struct route_node *n = ctl_look_node(l, id);
	struct gossip_member m;

	buf[0] = 0;
	if (!node_id_cmp(id, &nobody))
		return buf;
	snprintf(buf, MODEL_NAME_MAX, "%02x%02x%02x%02x", id->b[0], id->b[1], id->b[2], id->b[3]);
	if (n)
		snprintf(buf, MODEL_NAME_MAX, "%s", n->node.name);
	else if (gossip_core_member_get(l->cfg->core, id, &m))
		snprintf(buf, MODEL_NAME_MAX, "%s", m.name);
	for (size_t i = 0; g && i < g->sender_count; i++)
		if (!node_id_cmp(&g->senders[i].id, id))
			snprintf(buf, MODEL_NAME_MAX, "%s", g->senders[i].name);
	return buf;
}

void ctl_put_far_node(const struct route_node *n, struct ctl_out *o)
{
	char id[2 * NODE_ID_BYTES + 1], addr[IP_TEXT_MAX];
	struct ctl_block b;

	for (size_t i = 0; i < NODE_ID_BYTES; i++)
		snprintf(id + 2 * i, 3, "%02x", n->id.b[i]);
	ctl_map(o, &b);
	ctl_key_text(o, &b, "name", n->node.name);
	ctl_key_text(o, &b, "region", n->node.region);
	ctl_key_text(o, &b, "id", id);
	ctl_key_text(o, &b, "addr", ip_text(&n->node.mesh_addr, addr));
	ctl_key_text(o, &b, "state", ctl_state_text(n->state));
	ctl_key_nil(o, &b, "since_ms");
	ctl_key_nil(o, &b, "heard_ms");
	ctl_key_nil(o, &b, "data_heard_ms");
	ctl_key_nil(o, &b, "rtt_us");
	ctl_key_bool(o, &b, "is_self", false);
	ctl_key_bool(o, &b, "is_summary", true);
	ctl_key_bool(o, &b, "is_removed", false);
	ctl_key_bool(o, &b, "is_edge", n->node.is_edge);
	ctl_key_bool(o, &b, "is_worker", n->node.is_worker);
	ctl_key_bool(o, &b, "is_drained", n->is_drained);
	ctl_key_bool(o, &b, "has_forwarder", n->node.has_forwarder);
	ctl_key_bool(o, &b, "is_behind", false);
	ctl_key_text(o, &b, "version", "");
	ctl_end(o, &b);
}

static void put_down(const struct ctl_look *l, const struct gossip_region *g, struct ctl_out *o,
		     struct ctl_block *m)
{
	struct ctl_block list;
	char text[MODEL_NAME_MAX];

	ctl_key(o, m, "down");
	ctl_array(o, &list);
	for (size_t i = 0; i < g->down_count; i++) {
		const uint8_t *d = g->down[i];

		snprintf(text, sizeof(text), "%02x%02x%02x%02x", d[0], d[1], d[2], d[3]);
		for (size_t k = 0; k < l->v.view->node_count; k++) {
			const struct route_node *n = &l->v.view->node[k];

			if (!memcmp(n->id.b, d, sizeof(g->down[i])) &&
			    !strcmp(n->node.region, g->name))
				snprintf(text, sizeof(text), "%s", n->node.name);
		}
		ctl_item(&list);
		ctl_text(o, text);
	}
	ctl_end(o, &list);
}

static void put_senders(const struct ctl_look *l, const struct gossip_region *g, struct ctl_out *o,
			struct ctl_block *m)
{
	struct ctl_block list, b;
	char addr[IP_TEXT_MAX];
	struct ip_addr ip;

	ctl_key(o, m, "senders");
	ctl_array(o, &list);
	for (size_t i = 0; i < g->sender_count; i++) {
		memcpy(ip.b, g->senders[i].addr.ip, sizeof(ip.b));
		ctl_item(&list);
		ctl_map(o, &b);
		ctl_key_text(o, &b, "name", g->senders[i].name);
		ctl_key_text(o, &b, "addr", ip_port_text(&ip, g->senders[i].addr.port, addr));
		ctl_key_bool(o, &b, "counts", g->senders[i].counts);
		ctl_key_age(o, &b, "heard_ms", l->now_ms, g->senders[i].heard_ms);
		ctl_end(o, &b);
	}
	ctl_end(o, &list);
}

static void put_summary(const struct ctl_look *l, const struct gossip_region *g, struct ctl_out *o,
			struct ctl_block *m)
{
	struct agent_region_view v = {0};
	bool is_known = agent_region_look(l->cfg->agent, g->name, &v);
	char text[96], name[MODEL_NAME_MAX];
	const uint8_t *h = g->version.hash;

	snprintf(text, sizeof(text), "%llu.%llu.%llu.%02x%02x%02x%02x",
		 (unsigned long long)g->version.removals, (unsigned long long)g->version.lives,
		 (unsigned long long)g->version.marks, h[0], h[1], h[2], h[3]);
	ctl_key_bool(o, m, "has_summary", g->has_value);
	ctl_key_age(o, m, "summary_ms", l->now_ms, g->has_value ? g->value_ms : 0);
	ctl_key_uint(o, m, "bytes", g->len);
	ctl_key_text(o, m, "version", g->has_value ? text : "");
	ctl_key_bool(o, m, "is_applied",
		     is_known && !memcmp(v.version.hash, h, sizeof(g->version.hash)));
	ctl_key_text(o, m, "from", name_of(l, g, &g->from, name));
	ctl_key_uint(o, m, "nodes", v.nodes);
	ctl_key_uint(o, m, "services", v.services);
	ctl_key_uint(o, m, "ways", v.ways);
	ctl_key_uint(o, m, "backends", v.backends);
}

static const char *state_of(const struct gossip_region *g)
{
	if (g->is_own)
		return "own";
	if (g->is_dead)
		return "dead";
	return g->sender_count ? "alive" : "unheard";
}

static void put_region(const struct ctl_look *l, const struct gossip_region *g, struct ctl_out *o)
{
	char name[MODEL_NAME_MAX];
	struct ctl_block b;

	ctl_map(o, &b);
	ctl_key_text(o, &b, "name", g->name);
	ctl_key_bool(o, &b, "is_own", g->is_own);
	ctl_key_text(o, &b, "state", state_of(g));
	ctl_key_age(o, &b, "since_ms", l->now_ms, g->since_ms);
	ctl_key_age(o, &b, "heard_ms", l->now_ms, g->heard_ms);
	if (g->rtt_us)
		ctl_key_uint(o, &b, "rtt_us", g->rtt_us);
	else
		ctl_key_nil(o, &b, "rtt_us");
	put_summary(l, g, o, &b);
	ctl_key_uint(o, &b, "live", g->live_count);
	put_down(l, g, o, &b);
	ctl_key_bool(o, &b, "is_behind", g->is_behind);
	ctl_key_age(o, &b, "behind_ms", l->now_ms, g->is_behind ? g->behind_since_ms : 0);
	ctl_key_text(o, &b, "newest_from",
		     g->is_behind ? name_of(l, g, &g->newest_from, name) : "");
	put_senders(l, g, o, &b);
	ctl_end(o, &b);
}

void ctl_put_regions(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m)
{
	struct ctl_block list;
	struct gossip_region g;

	ctl_key(o, m, "regions");
	ctl_array(o, &list);
	for (size_t i = 0; i < gossip_core_region_count(l->cfg->core); i++) {
		gossip_core_region_at(l->cfg->core, i, &g);
		ctl_item(&list);
		put_region(l, &g, o);
	}
	ctl_end(o, &list);
}
