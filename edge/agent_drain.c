/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Drains of nodes and regions, and whether what this edge announces can be believed. */
#include <errno.h>
#include <string.h>

#include "edge/agent_int.h"

#define STALE_MS 30000 /* less than half of the region is heard for this long */
/* Dead for so long, by the word of those outside too: it is gone, whether or not somebody says `node rm`. */
#define GONE_MS (5u * 60 * 1000)

bool agent_override_stands(struct agent *a, const char *key, uint64_t now_s)
{
	const union fact_value *v = agent_fact_find(a, NULL, MODEL_KIND_OVERRIDE, key);

	if (!v || !v->override.is_drained)
		return false;
	if (!v->override.expires_unix_s)
		return true;
	if (v->override.expires_unix_s <= now_s)
		return false;
	if (!a->next_expiry_s || v->override.expires_unix_s < a->next_expiry_s)
		a->next_expiry_s = v->override.expires_unix_s;
	return true;
}

static const char *drain_key(enum agent_drain_scope scope, const char *name,
			     char buf[MODEL_KEY_MAX])
{
	snprintf(buf, MODEL_KEY_MAX, "%s/%s", scope == AGENT_DRAIN_REGION ? "region" : "node",
		 name);
	return buf;
}

bool agent_node_is_drained(struct agent *a, const struct model_node *n, uint64_t now_s)
{
	char key[MODEL_KEY_MAX];

	/* Both are asked, so that the first expiry of the two is known. */
	bool is_node = agent_override_stands(a, drain_key(AGENT_DRAIN_NODE, n->name, key), now_s);
	bool is_region =
		agent_override_stands(a, drain_key(AGENT_DRAIN_REGION, n->region, key), now_s);

	return is_node || is_region;
}

static bool is_known(const struct agent *a, enum agent_drain_scope scope, const char *name)
{
	for (size_t i = 0; i < a->world->view.node_count; i++) {
		const struct model_node *n = &a->world->view.node[i].node;

		if (!strcmp(scope == AGENT_DRAIN_REGION ? n->region : n->name, name))
			return true;
	}
	return false;
}

void agent_drain(struct agent *a, enum agent_drain_scope scope, const char *name, bool is_drained,
		 const struct agent_order *order, agent_cb cb, void *arg)
{
	const char *noun = scope == AGENT_DRAIN_REGION ? "region" : "node";
	struct model_override o = {.is_drained = true};
	char key[MODEL_KEY_MAX], text[AGENT_TEXT_MAX];
	uint64_t now_s = agent_unix_ms() / 1000;
	uint8_t buf[RECORD_VALUE_MAX];
	bool stands;

	agent_ops_refresh(a);
	drain_key(scope, name, key);
	stands = agent_override_stands(a, key, now_s);
	if (is_drained && !is_known(a, scope, name)) {
		agent_ops_refuse(cb, arg, -ENOENT, "%s %s: not known; edgectl node list names all",
				 noun, name);
		return;
	}
	if (!is_drained && !stands) {
		agent_ops_refuse(cb, arg, 0, "%s %s: nothing to change", noun, name);
		return;
	}
	if (!is_drained) {
		snprintf(text, sizeof(text), "%s %s serves again", noun, name);
		(void)agent_ops_commit(a, MODEL_KIND_OVERRIDE, key, NULL, 0, text, cb, arg);
		return;
	}
	snprintf(o.author, sizeof(o.author), "%s", order->author ? order->author : "");
	snprintf(o.reason, sizeof(o.reason), "%s", order->reason ? order->reason : "");
	if (order->seconds)
		o.expires_unix_s = now_s + order->seconds;
	snprintf(text, sizeof(text), "%s %s drains%s", noun, name,
		 order->seconds ? ", for a time" : "");
	(void)agent_ops_commit(a, MODEL_KIND_OVERRIDE, key, buf,
			       model_override_encode(&o, buf, sizeof(buf)), text, cb, arg);
}

/* ---- whom do we hear? */

/* Who is cut off takes all others for dead; who hears others outside would hear from them if it weren't so. */
static bool hears_outside(const struct agent *a)
{
	const struct route_view *v = &a->world->view;
	size_t known = 0, heard = 0;

	for (size_t i = 0; i < v->node_count; i++) {
		const struct route_node *n = &v->node[i];

		if (n->state == GOSSIP_LEFT || !strcmp(n->node.region, a->cfg.self.region))
			continue;
		known++;
		heard += n->state == GOSSIP_ALIVE;
	}
	return heard && 2 * heard >= known;
}

static bool is_gone(const struct agent *a, const struct route_node *n, uint64_t now_ms)
{
	struct gossip_member m;

	return n->state == GOSSIP_DEAD && gossip_core_member_get(a->core, &n->id, &m) &&
	       now_ms >= m.since_ms + GONE_MS;
}

/* Others of the region, or of the whole mesh where the region has no others; the dead count, who left doesn't. */
static void count_heard(const struct agent *a, bool is_region, uint64_t now_ms, size_t *ret_known,
			size_t *ret_heard)
{
	const struct route_view *v = &a->world->view;
	bool may_be_gone = is_region && hears_outside(a);

	*ret_known = *ret_heard = 0;
	for (size_t i = 0; i < v->node_count; i++) {
		const struct route_node *n = &v->node[i];

		if (!node_id_cmp(&n->id, &a->self) || n->state == GOSSIP_LEFT ||
		    (is_region && strcmp(n->node.region, a->cfg.self.region)) ||
		    (may_be_gone && is_gone(a, n, now_ms)))
			continue;
		(*ret_known)++;
		*ret_heard += n->state == GOSSIP_ALIVE;
	}
}

bool agent_stale_tick(struct agent *a, uint64_t now_ms)
{
	size_t known, heard;
	bool is_stale;

	count_heard(a, true, now_ms, &known, &heard);
	if (!known)
		count_heard(a, false, now_ms, &known, &heard);
	if (2 * heard >= known)
		a->deaf_since_ms = 0;
	else if (!a->deaf_since_ms)
		a->deaf_since_ms = now_ms;
	is_stale = a->deaf_since_ms && now_ms >= a->deaf_since_ms + STALE_MS;
	if (is_stale == a->is_stale)
		return false;
	a->is_stale = is_stale;
	agent_log(is_stale ? "warn" : "info", is_stale ? "stale" : "current", "known=%zu heard=%zu",
		  known, heard);
	return true;
}
