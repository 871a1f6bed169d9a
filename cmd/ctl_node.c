/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* node.show: one node, and who hears whom about it (gossip/reach.h).
 *
 * node.show   {nodes: [the one; several, if they have one name], findings: [sentence], says: [word], said: [word],
 *              regions: [{region, rtt_below_ms (nil = it is far), loss: text}], stall_pct, row_ms (nil = it has said nothing)}
 *   word      {node, cause: text, for_ms}     says: the node of others; said: others of it
 */
#include <errno.h>
#include <string.h>

#include "cmd/ctl_int.h"
#include "edge/reach_text.h"

static bool is_one(const struct reach_node *n, const char *name)
{
	return n && strcmp(n->name, name) == 0;
}

/* As old as when it was written, and since. */
static void put_word(const struct ctl_look *l, const struct reach_node *writer, const char *node,
		     const struct reach_peer *p, struct ctl_out *o)
{
	uint64_t since_ms = writer->row_ms ? l->now_ms - writer->row_ms : 0;
	struct ctl_block b;

	ctl_map(o, &b);
	ctl_key_text(o, &b, "node", node);
	ctl_key_text(o, &b, "cause", reach_cause_text(p->cause));
	ctl_key_uint(o, &b, "for_ms", p->age_s * 1000u + since_ms);
	ctl_end(o, &b);
}

static void put_says(const struct ctl_look *l, const struct reach_look *r, const char *name,
		     struct ctl_out *o, struct ctl_block *m)
{
	struct ctl_block list;

	ctl_key(o, m, "says");
	ctl_array(o, &list);
	for (size_t i = 0; i < r->node_count; i++) {
		const struct reach_node *n = &r->node[i];

		if (!is_one(n, name))
			continue;
		for (size_t k = 0; k < n->row.peer_count; k++) {
			const struct reach_node *of = reach_look_number(r, n->row.peer[k].number);

			if (!of)
				continue;
			ctl_item(&list);
			put_word(l, n, of->name, &n->row.peer[k], o);
		}
	}
	ctl_end(o, &list);
	ctl_key(o, m, "said");
	ctl_array(o, &list);
	for (size_t i = 0; i < r->node_count; i++) {
		const struct reach_node *n = &r->node[i];

		for (size_t k = 0; n->is_up && k < n->row.peer_count; k++) {
			if (!is_one(reach_look_number(r, n->row.peer[k].number), name))
				continue;
			ctl_item(&list);
			put_word(l, n, n->name, &n->row.peer[k], o);
		}
	}
	ctl_end(o, &list);
}

static const char *region_name(const struct reach_look *r, uint32_t region)
{
	for (size_t i = 0; i < r->node_count; i++)
		if (reach_region_of(r->node[i].region) == region)
			return r->node[i].region;
	return NULL;
}

static void put_regions(const struct reach_look *r, const struct reach_node *n, struct ctl_out *o,
			struct ctl_block *m)
{
	struct ctl_block list, b;

	ctl_key(o, m, "regions");
	ctl_array(o, &list);
	for (size_t i = 0; n && i < n->row.region_count; i++) {
		const struct reach_region *g = &n->row.region[i];
		const char *name = region_name(r, g->region);
		uint32_t ms = reach_rtt_ms(g->band.rtt);

		if (!name)
			continue;
		ctl_item(&list);
		ctl_map(o, &b);
		ctl_key_text(o, &b, "region", name);
		if (ms == UINT32_MAX)
			ctl_key_nil(o, &b, "rtt_below_ms");
		else
			ctl_key_uint(o, &b, "rtt_below_ms", ms);
		ctl_key_text(o, &b, "loss", reach_loss_text(g->band.loss));
		ctl_end(o, &b);
	}
	ctl_end(o, &list);
}

static void put_findings(const struct reach_look *r, const char *name, struct ctl_out *o,
			 struct ctl_block *m)
{
	char text[REACH_TEXT_MAX];
	struct ctl_block list;

	ctl_key(o, m, "findings");
	ctl_array(o, &list);
	for (size_t i = 0; i < r->found_count; i++) {
		const struct reach_finding *f = &r->found[i];

		if (!is_one(&r->node[f->a], name) &&
		    (f->b == REACH_NOBODY || !is_one(&r->node[f->b], name)))
			continue;
		ctl_item(&list);
		ctl_text(o, reach_finding_text(r, f, text));
	}
	ctl_end(o, &list);
}

static size_t put_nodes(const struct ctl_look *l, const char *name, struct ctl_out *o,
			struct ctl_block *m)
{
	size_t count = gossip_core_member_count(l->cfg->core), n = 0;
	struct gossip_member member;
	struct ctl_block list;

	ctl_key(o, m, "nodes");
	ctl_array(o, &list);
	for (size_t i = 0; i < count; i++) {
		gossip_core_member_at(l->cfg->core, i, &member);
		if (strcmp(member.name, name) != 0)
			continue;
		ctl_item(&list);
		ctl_put_node(l, &member, o);
		n++;
	}
	for (size_t i = 0; i < l->v.view->node_count; i++) {
		const struct route_node *far = &l->v.view->node[i];

		if (!far->is_summary || strcmp(far->node.name, name) != 0)
			continue;
		ctl_item(&list);
		ctl_put_far_node(far, o);
		n++;
	}
	ctl_end(o, &list);
	return n;
}

int ctl_node_show(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		  struct err *e)
{
	const struct reach_node *n = NULL;
	struct reach_look r;
	struct ctl_block m;

	if (reach_look_begin(l->cfg->core, &r))
		return err_set(e, -ENOMEM, "out of memory");
	ctl_map(o, &m);
	if (!put_nodes(l, a->name, o, &m)) {
		reach_look_end(&r);
		return err_set(e, -ENOENT, "no node is called %.63s", a->name);
	}
	for (size_t i = 0; i < r.node_count; i++)
		if (is_one(&r.node[i], a->name) && (!n || !n->is_up))
			n = &r.node[i];
	put_findings(&r, a->name, o, &m);
	put_says(l, &r, a->name, o, &m);
	put_regions(&r, n, o, &m);
	ctl_key_uint(o, &m, "stall_pct", n ? n->row.stall_pct : 0);
	ctl_key_age(o, &m, "row_ms", l->now_ms, n && n->has_row ? n->row_ms : 0);
	ctl_end(o, &m);
	reach_look_end(&r);
	return 0;
}
