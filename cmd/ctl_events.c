/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* events.
 *
 * events  {last: number of the newest event, 0 = none,
 *          events: [{seq, unix_ms, kind, who, what, text, reach}]}   behind `after`, oldest first, at most `count` of the newest
 * reach   nil, or of a change of health {edges, p50_us, p99_us, most_us, slowest: node}: when it was in their maps, at most
 */
#include "cmd/ctl_int.h"
#include "edge/report.h"

static void put_reach(const struct ctl_look *l, const struct report_sum *s, struct ctl_out *o,
		      struct ctl_block *m)
{
	const struct route_view *v = l->v.view;
	struct ctl_block one;

	if (!s->edges) {
		ctl_key_nil(o, m, "reach");
		return;
	}
	ctl_key(o, m, "reach");
	ctl_map(o, &one);
	ctl_key_uint(o, &one, "edges", s->edges);
	ctl_key_uint(o, &one, "p50_us", s->p50_us);
	ctl_key_uint(o, &one, "p99_us", s->p99_us);
	ctl_key_uint(o, &one, "most_us", s->most_us);
	for (size_t i = 0; i < v->node_count; i++) {
		if (report_node_num(&v->node[i].id) != s->slowest)
			continue;
		ctl_key_text(o, &one, "slowest", v->node[i].node.name);
		break;
	}
	ctl_end(o, &one);
}

int ctl_events(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o, struct err *e)
{
	const struct reports *r = agent_events(l->cfg->agent);
	uint64_t cursor = a->has & CTL_BIT(after) ? a->after : 0, skip = 0;
	const struct report_event *ev;
	struct ctl_block m, list, one;

	(void)e;
	if (cursor > r->next_seq)
		cursor = 0; /* of a daemon before this one */
	if (a->has & CTL_BIT(count) && r->next_seq - cursor > a->count)
		skip = r->next_seq - a->count;
	cursor = skip > cursor ? skip : cursor;
	ctl_map(o, &m);
	ctl_key_uint(o, &m, "last", r->next_seq);
	ctl_key(o, &m, "events");
	ctl_array(o, &list);
	while ((ev = report_event_next(r, &cursor))) {
		ctl_item(&list);
		ctl_map(o, &one);
		ctl_key_uint(o, &one, "seq", ev->seq);
		ctl_key_uint(o, &one, "unix_ms", ev->unix_ms);
		ctl_key_text(o, &one, "kind", ev->kind);
		ctl_key_text(o, &one, "who", ev->who);
		ctl_key_text(o, &one, "what", ev->what);
		ctl_key_text(o, &one, "text", ev->text);
		put_reach(l, &ev->sum, o, &one);
		ctl_end(o, &one);
	}
	ctl_end(o, &list);
	ctl_end(o, &m);
	return 0;
}
