/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* keys.list, keys.add, keys.use, keys.rm: the cluster's key ring.
 *
 * keys.list  {keys: [{id, state: "seals" | "opens" | "coming" | "going", left_ms: of one that goes, live, holders, sealers:
 *            nodes, without: [node], with: [node that seals with it]}]}
 */
#include <errno.h>
#include <string.h>

#include "cmd/ctl_int.h"

#define NAMES_MAX 64 /* of a list; the counts are whole */

static int no_ring(const struct ctl_look *l, struct err *e)
{
	return l->cfg->keyring ? 0 : err_set(e, -EOPNOTSUPP, "this edged has no key ring");
}

bool ctl_keys_writers_differ(const struct ctl_look *l, const struct node_id *id)
{
	struct keyring_told t;

	return l->cfg->writers_sum && keyring_told_of(l->cfg->core, id, &t) &&
	       memcmp(t.writers_sum, l->cfg->writers_sum, sizeof(t.writers_sum)) != 0;
}

static const char *state_text(enum keyring_state s)
{
	switch (s) {
	case KEYRING_OPENS:
		return "opens";
	case KEYRING_SEALS:
		return "seals";
	case KEYRING_COMING:
		return "coming";
	case KEYRING_GOING:
		return "going";
	}
	return "?";
}

/* Live others that do not hold it, or that seal with it. */
static void put_names(const struct ctl_look *l, const struct seal_key_id *id, bool is_sealing,
		      struct ctl_out *o, struct ctl_block *m)
{
	struct ctl_block list;

	ctl_key(o, m, is_sealing ? "with" : "without");
	ctl_array(o, &list);
	for (size_t i = 0; i < gossip_core_member_count(l->cfg->core) && list.count < NAMES_MAX;
	     i++) {
		struct gossip_member member;
		struct keyring_told t;
		bool is_told, is_in;

		gossip_core_member_at(l->cfg->core, i, &member);
		if (member.state == GOSSIP_DEAD || member.state == GOSSIP_LEFT)
			continue;
		is_told = keyring_told_of(l->cfg->core, &member.id, &t);
		is_in = is_sealing ? is_told && memcmp(&t.seals, id, sizeof(*id)) == 0
				   : !is_told || !keyring_holds(&t, id);
		if (!is_in)
			continue;
		ctl_item(&list);
		ctl_text(o, member.name);
	}
	ctl_end(o, &list);
}

int ctl_keys_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		  struct err *e)
{
	char text[KEYRING_ID_TEXT];
	struct ctl_block m, list, b;
	struct keyring_key key;

	(void)a;
	if (no_ring(l, e))
		return e->code;
	ctl_map(o, &m);
	ctl_key(o, &m, "keys");
	ctl_array(o, &list);
	for (size_t i = 0; keyring_at(l->cfg->keyring, l->now_ms, i, &key); i++) {
		ctl_item(&list);
		ctl_map(o, &b);
		ctl_key_text(o, &b, "id", keyring_id_text(&key.id, text));
		ctl_key_text(o, &b, "state", state_text(key.state));
		if (key.state == KEYRING_GOING)
			ctl_key_uint(o, &b, "left_ms", key.left_ms);
		else
			ctl_key_nil(o, &b, "left_ms");
		ctl_key_uint(o, &b, "live", key.live);
		ctl_key_uint(o, &b, "holders", key.holders);
		ctl_key_uint(o, &b, "sealers", key.sealers);
		put_names(l, &key.id, false, o, &b);
		put_names(l, &key.id, true, o, &b);
		ctl_end(o, &b);
	}
	ctl_end(o, &list);
	ctl_end(o, &m);
	return 0;
}

static int done(const struct ctl_look *l, struct ctl_out *o, const char *text)
{
	struct ctl_block m;

	gossip_loop_pump(l->cfg->loop);
	ctl_map(o, &m);
	ctl_key_text(o, &m, "text", text);
	ctl_end(o, &m);
	return 0;
}

int ctl_keys_add(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		 struct err *e)
{
	char text[80], id_text[KEYRING_ID_TEXT];
	struct seal_key_id id;

	(void)a;
	if (no_ring(l, e) || keyring_add(l->cfg->keyring, l->now_ms, &id, e))
		return e->code;
	snprintf(text, sizeof(text), "key %s added: it opens, and goes to all",
		 keyring_id_text(&id, id_text));
	return done(l, o, text);
}

static bool find_key(const struct ctl_look *l, const char *id, struct keyring_key *ret_key)
{
	char text[KEYRING_ID_TEXT];

	for (size_t i = 0; keyring_at(l->cfg->keyring, l->now_ms, i, ret_key); i++)
		if (!strncmp(keyring_id_text(&ret_key->id, text), id, strlen(id)))
			return true;
	return false;
}

static bool holds(const struct summary_keys *k, const struct seal_key_id *id)
{
	for (size_t i = 0; i < k->count; i++)
		if (!memcmp(k->hold[i], id->b, sizeof(id->b)))
			return true;
	return false;
}

/* Of other regions their summaries tell what all of their nodes hold, and seal with. Who would be cut off is never forced, but
 * for those that say nothing. A key that is not known is the ring's to refuse. */
static int ask_regions(const struct ctl_look *l, const char *text, bool is_rm, bool is_forced,
		       struct err *e)
{
	struct keyring_key key;
	struct gossip_region g;

	if ((is_forced && !is_rm) || !find_key(l, text, &key))
		return 0;
	for (size_t i = 0; i < gossip_core_region_count(l->cfg->core); i++) {
		struct agent_region_view v = {0};
		bool is_silent, is_good;

		gossip_core_region_at(l->cfg->core, i, &g);
		if (g.is_own || g.is_dead)
			continue;
		is_silent = !agent_region_look(l->cfg->agent, g.name, &v) || !v.keys.count;
		is_good = is_rm ? v.keys.is_one &&
					  memcmp(v.keys.seals, key.id.b, sizeof(key.id.b)) != 0
				: holds(&v.keys, &key.id);
		if (is_good || (is_forced && is_silent))
			continue;
		return err_set(e, -EBUSY, "%s region %s: edgectl keys list there tells who",
			       is_rm ? "a node seals with it, or may, in"
				     : "not held yet by all nodes of",
			       g.name);
	}
	return 0;
}

static int is_force(const struct ctl_args *a, bool *ret_force, struct err *e)
{
	*ret_force = a->has & CTL_BIT(verb);
	return *ret_force && strcmp(a->verb, "force") != 0
		       ? err_set(e, -EINVAL, "keys: verb: got '%s', want force", a->verb)
		       : 0;
}

int ctl_keys_use(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		 struct err *e)
{
	bool is_forced;
	char text[120];

	if (no_ring(l, e) || is_force(a, &is_forced, e) ||
	    ask_regions(l, a->name, false, is_forced, e) ||
	    keyring_use(l->cfg->keyring, l->now_ms, a->name, is_forced, e))
		return e->code;
	snprintf(text, sizeof(text), "all seal with key %s from now on", a->name);
	return done(l, o, text);
}

int ctl_keys_rm(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		struct err *e)
{
	bool is_forced;
	char text[120];

	if (no_ring(l, e) || is_force(a, &is_forced, e) ||
	    ask_regions(l, a->name, true, is_forced, e) ||
	    keyring_rm(l->cfg->keyring, l->now_ms, a->name, is_forced, e))
		return e->code;
	snprintf(text, sizeof(text), "key %s opens for %d seconds more", a->name,
		 KEYRING_GRACE_MS / 1000);
	return done(l, o, text);
}
