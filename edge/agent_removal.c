/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Nodes that are gone for good: their records are voided by one shared record, and count again when it is taken back. */
#include <errno.h>
#include <msgpack.h>
#include <string.h>

#include "edge/agent_int.h"
#include "gossip/mp.h"

#define ID_TEXT (2 * NODE_ID_BYTES)

static void id_text(const struct node_id *id, char text[ID_TEXT + 1])
{
	for (size_t i = 0; i < NODE_ID_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", id->b[i]);
}

/* By name, or by id, which is what is left where two had one name. */
static int find_member(const struct agent *a, const char *name, struct gossip_member *ret_member,
		       struct err *e)
{
	struct gossip_member m;
	char text[ID_TEXT + 1];
	size_t found = 0;

	for (size_t i = 0; i < gossip_core_member_count(a->core); i++) {
		gossip_core_member_at(a->core, i, &m);
		id_text(&m.id, text);
		if (strcmp(text, name) != 0 && strcmp(m.name, name) != 0)
			continue;
		*ret_member = m;
		found++;
	}
	if (found > 1)
		return err_set(e, -EINVAL,
			       "node %s: %zu have this name; give the id (edgectl "
			       "--json node list)",
			       name, found);
	for (size_t i = 0; !found && i < a->world->view.node_count; i++) {
		const struct route_node *n = &a->world->view.node[i];

		if (n->is_summary && !strcmp(n->node.name, name))
			return err_set(e, -EXDEV,
				       "node %s is of region %s, which this node knows by its "
				       "summary alone: ask a node there",
				       name, n->node.region);
	}
	return found ? 0
		     : err_set(e, -ENOENT, "node %s: not known; edgectl node list names all", name);
}

static int may_go(const struct gossip_member *m, struct err *e)
{
	switch (m->state) {
	case GOSSIP_ALIVE:
	case GOSSIP_HEADLESS:
	case GOSSIP_SUSPECT:
		return err_set(e, -EBUSY, "node %s lives: stop its edged first, or drain it",
			       m->name);
	case GOSSIP_DEAD:
	case GOSSIP_LEFT:
		break;
	}
	return 0;
}

static int encode(const struct agent_order *order, uint8_t *buf, size_t cap)
{
	struct mp_buf b = {.p = buf, .cap = cap};
	const char *text[] = {order->author ? order->author : "",
			      order->reason ? order->reason : ""};
	msgpack_packer pk;

	msgpack_packer_init(&pk, &b, mp_buf_write);
	msgpack_pack_map(&pk, 2);
	for (size_t i = 0; i < 2; i++) {
		msgpack_pack_str_with_body(&pk, i ? "r" : "a", 1);
		msgpack_pack_str_with_body(&pk, text[i], strlen(text[i]));
	}
	return b.is_full ? -EMSGSIZE : (int)b.len;
}

void agent_node_rm(struct agent *a, const char *name, const struct agent_order *order, agent_cb cb,
		   void *arg)
{
	char key[ID_TEXT + 1], text[AGENT_TEXT_MAX];
	uint8_t buf[RECORD_VALUE_MAX];
	struct gossip_member m;
	struct err e = {0};

	if (!find_member(a, name, &m, &e) && m.is_self)
		err_set(&e, -EPERM, "node %s is this one: remove it on another", m.name);
	if (!e.code && !m.is_removed)
		(void)may_go(&m, &e); /* e tells */
	if (e.code) {
		agent_ops_refuse(cb, arg, e.code, "%s", e.text);
		return;
	}
	if (m.is_removed) {
		agent_ops_refuse(cb, arg, 0, "node %s: nothing to change", m.name);
		return;
	}
	id_text(&m.id, key);
	snprintf(text, sizeof(text), "node %s removed: its records are void everywhere", m.name);
	(void)agent_ops_commit(a, RECORD_KIND_REMOVAL, key, buf, encode(order, buf, sizeof(buf)),
			       text, cb, arg);
}

void agent_node_restore(struct agent *a, const char *name, agent_cb cb, void *arg)
{
	char key[ID_TEXT + 1], text[AGENT_TEXT_MAX];
	struct gossip_member m;
	struct err e = {0};

	if (find_member(a, name, &m, &e)) {
		agent_ops_refuse(cb, arg, e.code, "%s", e.text);
		return;
	}
	if (!m.is_removed) {
		agent_ops_refuse(cb, arg, 0, "node %s: nothing to change", m.name);
		return;
	}
	id_text(&m.id, key);
	snprintf(text, sizeof(text), "node %s counts again; its records come from itself", m.name);
	(void)agent_ops_commit(a, RECORD_KIND_REMOVAL, key, NULL, 0, text, cb, arg);
}
