/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* verify, converged, quarantine.list.
 *
 * verify           {is_same, maps: {is_read, text: why not, nodes, backends, services, rows, vips: looked at},
 *                   differences: [sentence], left_out, edges: [{name, is_same, text: sentence}]}   of this region
 * converged        {is_converged, missing: [sentence], nodes: that agree}     of other regions: their summaries
 * quarantine.list  {records: [{spec, kind, key, writer, generation, seq, why, age_ms, has_former}]}
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/ctl_int.h"

#define SENTENCES_MAX 100

struct sentences {
	struct ctl_out *o;
	struct ctl_block list;
	size_t left_out;
};

static void begin(struct sentences *s, struct ctl_out *o, struct ctl_block *m, const char *key)
{
	*s = (struct sentences){.o = o};
	ctl_key(o, m, key);
	ctl_array(o, &s->list);
}

static void say(const char *text, void *arg)
{
	struct sentences *s = arg;

	if (s->list.count == SENTENCES_MAX) {
		s->left_out++;
		return;
	}
	ctl_item(&s->list);
	ctl_text(s->o, text);
}

__attribute__((format(printf, 2, 3))) static void sayf(struct sentences *s, const char *fmt, ...)
{
	char text[320];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	say(text, s);
}

/* ---- verify */

static size_t put_maps(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m)
{
	struct plan_verified done = {0};
	struct sentences s;
	struct ctl_block b;
	struct err e = {0};
	int rc;

	begin(&s, o, m, "differences");
	rc = agent_verify(l->cfg->agent, say, &s, &done, &e);
	ctl_end(o, &s.list);
	ctl_key_uint(o, m, "left_out", s.left_out);
	ctl_key(o, m, "maps");
	ctl_map(o, &b);
	ctl_key_bool(o, &b, "is_read", !rc);
	ctl_key_text(o, &b, "text", rc ? e.text : "");
	ctl_key_uint(o, &b, "nodes", done.nodes);
	ctl_key_uint(o, &b, "backends", done.backends);
	ctl_key_uint(o, &b, "services", done.services);
	ctl_key_uint(o, &b, "rows", done.rows);
	ctl_key_uint(o, &b, "vips", done.vips);
	ctl_end(o, &b);
	return done.differences;
}

/* The services in the buckets that differ: the right one is among them. */
static bool name_services(const struct ctl_look *l, const uint32_t *ours, const uint32_t *theirs,
			  char *buf, size_t cap)
{
	const struct route_view *v = l->v.view;
	size_t len = 0, named = 0;

	buf[0] = 0;
	if (!memcmp(ours, theirs, PLAN_SUMS * sizeof(*ours)))
		return false;
	for (size_t i = 0; i < v->service_count; i++) {
		unsigned int k = plan_sums_bucket(v->service[i].name);

		if (ours[k] == theirs[k] || len + 1 >= cap)
			continue;
		len += (size_t)snprintf(buf + len, cap - len, "%s%s", named++ ? ", " : "",
					v->service[i].name);
	}
	return true;
}

/* 0 the same, else a sentence in buf. */
static bool compare(const struct ctl_look *l, const struct agent_tables *ours,
		    const struct gossip_member *m, char *buf, size_t cap)
{
	struct agent_tables theirs;
	char owners[120], prevs[120];
	bool is_owner, is_prev;

	if (!agent_tables_of(l->cfg->agent, &m->id, &theirs)) {
		snprintf(buf, cap, "has not said what its tables are");
		return false;
	}
	if (memcmp(theirs.digest, ours->digest, sizeof(theirs.digest)) != 0) {
		snprintf(buf, cap,
			 "has other records, or has not said anything since they changed");
		return false;
	}
	if (!theirs.has_sums || !theirs.is_written) {
		snprintf(buf, cap, "its maps are not written");
		return false;
	}
	is_owner = name_services(l, ours->sums.owners, theirs.sums.owners, owners, sizeof(owners));
	is_prev = name_services(l, ours->sums.prevs, theirs.sums.prevs, prevs, sizeof(prevs));
	if (!is_owner && !is_prev) {
		snprintf(buf, cap, "the same tables");
		return true;
	}
	snprintf(buf, cap, "%s%s%s%s%s", is_owner ? "other owners: " : "", owners,
		 is_owner && is_prev ? "; " : "", is_prev ? "other previous owners: " : "", prevs);
	return false;
}

static bool put_edges(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m)
{
	size_t count = gossip_core_member_count(l->cfg->core);
	struct agent_tables ours;
	struct ctl_block list, b;
	bool is_same = true;

	agent_tables_self_sums(l->cfg->agent, &ours);
	ctl_key(o, m, "edges");
	ctl_array(o, &list);
	for (size_t i = 0; i < count && ours.has_sums; i++) {
		struct gossip_member member;
		char text[300];
		bool is_it;

		gossip_core_member_at(l->cfg->core, i, &member);
		if (member.is_self || member.state != GOSSIP_ALIVE || !member.has_forwarder ||
		    strcmp(member.region, l->v.view->region) != 0)
			continue;
		is_it = compare(l, &ours, &member, text, sizeof(text));
		is_same &= is_it;
		ctl_item(&list);
		ctl_map(o, &b);
		ctl_key_text(o, &b, "name", member.name);
		ctl_key_bool(o, &b, "is_same", is_it);
		ctl_key_text(o, &b, "text", text);
		ctl_end(o, &b);
	}
	ctl_end(o, &list);
	return is_same;
}

int ctl_verify(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o, struct err *e)
{
	struct ctl_block m;
	size_t differences;
	bool is_same;

	(void)a;
	(void)e;
	ctl_map(o, &m);
	differences = put_maps(l, o, &m);
	if (l->ret_is_doubtful)
		*l->ret_is_doubtful = differences > 0;
	is_same = put_edges(l, o, &m);
	ctl_key_bool(o, &m, "is_same", is_same && !differences);
	ctl_end(o, &m);
	return 0;
}

/* ---- converged */

static void add_missing(const struct ctl_look *l, const struct agent_tables *ours,
			const struct gossip_member *m, struct sentences *s)
{
	struct agent_tables theirs;

	switch (m->state) {
	case GOSSIP_ALIVE:
		break;
	case GOSSIP_HEADLESS:
	case GOSSIP_SUSPECT:
		sayf(s, "node %s is %s", m->name, ctl_state_text(m->state));
		return;
	case GOSSIP_DEAD:
	case GOSSIP_LEFT:
		return;
	}
	if (!agent_tables_of(l->cfg->agent, &m->id, &theirs))
		sayf(s, "node %s has not said yet what it knows", m->name);
	else if (memcmp(theirs.digest, ours->digest, sizeof(theirs.digest)) != 0)
		sayf(s, "node %s has other records, or has not said anything since they changed",
		     m->name);
	else if (!theirs.is_written)
		sayf(s, "node %s has not written its maps yet", m->name);
}

static void add_regions(const struct ctl_look *l, struct sentences *s)
{
	struct gossip_region g;

	for (size_t i = 0; i < gossip_core_region_count(l->cfg->core); i++) {
		gossip_core_region_at(l->cfg->core, i, &g);
		if (g.is_own || g.is_dead)
			continue;
		if (!g.has_value)
			sayf(s, "region %s has sent no summary yet", g.name);
		else if (g.is_behind)
			sayf(s, "the summary of region %s is not the newest one", g.name);
	}
}

int ctl_converged(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		  struct err *e)
{
	size_t count = gossip_core_member_count(l->cfg->core), live = 0;
	struct agent_tables ours;
	struct sentences s;
	struct ctl_block m;

	(void)a;
	(void)e;
	agent_tables_self(l->cfg->agent, &ours);
	ctl_map(o, &m);
	begin(&s, o, &m, "missing");
	if (!ours.is_written)
		say("this node has not written its maps yet", &s);
	for (size_t i = 0; i < count; i++) {
		struct gossip_member member;

		gossip_core_member_at(l->cfg->core, i, &member);
		live += member.state == GOSSIP_ALIVE;
		if (!member.is_self)
			add_missing(l, &ours, &member, &s);
	}
	add_regions(l, &s);
	ctl_end(o, &s.list);
	ctl_key_bool(o, &m, "is_converged", !s.list.count);
	ctl_key_uint(o, &m, "nodes", live);
	ctl_end(o, &m);
	return 0;
}

/* ---- quarantine */

int ctl_quarantine_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
			struct err *e)
{
	struct agent_quarantined q;
	struct ctl_block m, list, b;

	(void)a;
	(void)e;
	ctl_map(o, &m);
	ctl_key(o, &m, "records");
	ctl_array(o, &list);
	for (size_t i = 0; agent_quarantine_at(l->cfg->agent, i, &q); i++) {
		char why[80] = "it can't be read";

		if (q.is_death && q.signal)
			snprintf(why, sizeof(why), "edged died of it: %s", strsignal(q.signal));
		else if (q.is_death)
			snprintf(why, sizeof(why), "edged died of it");
		ctl_item(&list);
		ctl_map(o, &b);
		ctl_key_text(o, &b, "spec", q.spec);
		ctl_key_text(o, &b, "kind", q.kind);
		ctl_key_text(o, &b, "key", q.key);
		ctl_key_text(o, &b, "writer", q.writer);
		ctl_key_uint(o, &b, "generation", q.generation);
		ctl_key_uint(o, &b, "seq", q.seq);
		ctl_key_text(o, &b, "why", why);
		ctl_key_age(o, &b, "age_ms", l->unix_ms, q.unix_s * 1000);
		ctl_key_bool(o, &b, "has_former", q.has_former);
		ctl_end(o, &b);
	}
	ctl_end(o, &list);
	ctl_end(o, &m);
	return 0;
}
