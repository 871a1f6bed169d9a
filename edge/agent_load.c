/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/agent_int.h"

/* A record of this node's former generation, kept until all are known: health needs its backend. */
struct own_record {
	struct own_record *next;
	struct record r;
	uint8_t key[RECORD_KEY_MAX], value[RECORD_VALUE_MAX];
};
struct load {
	struct agent *agent;
	struct own_record *own, **tail;
	size_t records, refused;
};

static int on_stored_record(const struct record *r, void *arg)
{
	struct load *l = arg;
	struct own_record *o;

	l->records++;
	if (record_scope_of(r->kind) == RECORD_OWN && !node_id_cmp(&r->writer, &l->agent->self)) {
		if (r->key_len > RECORD_KEY_MAX || r->value_len > RECORD_VALUE_MAX)
			return 0;
		o = calloc(1, sizeof(*o));
		if (!o)
			return -ENOMEM;
		o->r = *r;
		memcpy(o->key, r->key, r->key_len);
		memcpy(o->value, r->value, r->value_len);
		o->r.key = o->key;
		o->r.value = o->value;
		*l->tail = o;
		l->tail = &o->next;
		return 0;
	}
	if (gossip_core_load_record(l->agent->core, r))
		l->refused++;
	return 0;
}

static int on_stored_member(const struct store_member *m, void *arg)
{
	struct load *l = arg;
	struct gossip_member gm = {.id = m->id,
				   .has_forwarder = m->has_forwarder,
				   .state = (enum gossip_state)m->state,
				   .generation = m->generation};

	if (!node_id_cmp(&m->id, &l->agent->self) || m->state > GOSSIP_LEFT)
		return 0;
	memcpy(gm.pub, m->pub, sizeof(gm.pub));
	memcpy(gm.addr.ip, m->ip, sizeof(gm.addr.ip));
	gm.addr.port = m->port;
	snprintf(gm.name, sizeof(gm.name), "%s", m->name);
	snprintf(gm.region, sizeof(gm.region), "%s", m->region);
	if (gossip_core_load_member(l->agent->core, &gm))
		l->refused++;
	return 0;
}

/* Pins in bpffs don't outlive a boot: only within one is a remembered "has a forwarder" worth anything. */
static bool is_same_boot(struct store *store)
{
	char text[64] = "";
	uint64_t now = 14695981039346656037u, was; /* FNV-1a */
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	for (ssize_t i = 0; i < n; i++)
		now = (now ^ (uint8_t)text[i]) * 1099511628211u;
	now >>= 1; /* SQLite's integers are signed */
	if (n > 0 && !store_get_setting(store, "boot", &was, 0) && was == now)
		return true;
	/* Best effort: forgetting it costs a moment without a forwarder after the next start. */
	(void)store_set_setting(store, "boot", now);
	return false;
}

static const struct own_record *find_health(const struct load *l, const struct own_record *b)
{
	for (const struct own_record *o = l->own; o; o = o->next)
		if (o->r.kind == MODEL_KIND_HEALTH && !o->r.is_tombstone &&
		    o->r.key_len == b->r.key_len && !memcmp(o->key, b->key, b->r.key_len))
			return o;
	return NULL;
}

static bool has_backend(struct agent *a, const struct own_record *o)
{
	char key[MODEL_KEY_MAX];

	snprintf(key, sizeof(key), "%.*s", (int)o->r.key_len, (const char *)o->key);
	return o->r.key_len < sizeof(key) && agent_own_find(a, key);
}

/* Backends first: what can't be read any more is left out of the new generation. */
static int adopt_backends(struct agent *a, const struct load *l)
{
	for (const struct own_record *o = l->own; o; o = o->next) {
		struct model_health health = {0};
		struct model_backend b;
		struct own_backend *own;
		const struct own_record *h;
		int err;

		if (o->r.kind != MODEL_KIND_BACKEND || o->r.is_tombstone)
			continue;
		if (poison_is_held(a->poison, &o->r)) {
			agent_log("error", "own_record_lost",
				  "key=\"%.*s\" why=\"it is in quarantine\"", (int)o->r.key_len,
				  (const char *)o->key);
			continue;
		}
		poison_begin(a->poison, &o->r, NULL, 0);
		if (model_backend_decode(o->value, o->r.value_len, &b)) {
			agent_log("error", "own_record_lost", "kind=%u key=\"%.*s\"", o->r.kind,
				  (int)o->r.key_len, (const char *)o->key);
			poison_end(a->poison, false);
			continue;
		}
		h = find_health(l, o);
		if (h && model_health_decode(h->value, h->r.value_len, &health))
			memset(&health, 0, sizeof(health));
		err = agent_own_add(a, &b, &health, &own);
		poison_end(a->poison, false);
		if (err == -EEXIST)
			agent_log("error", "own_record_lost",
				  "key=\"%.*s\" why=\"its token is another's\"", (int)o->r.key_len,
				  (const char *)o->key);
		else if (err)
			return err;
	}
	return 0;
}

static int restate(struct agent *a, const struct own_record *o)
{
	char key[RECORD_KEY_MAX + 1];

	if (poison_is_held(a->poison, &o->r))
		return 0; /* the store keeps it for when it is released */
	if (o->r.is_tombstone ||
	    ((o->r.kind == MODEL_KIND_BACKEND || o->r.kind == MODEL_KIND_HEALTH) &&
	     !has_backend(a, o)))
		return store_delete_record(a->store, &o->r, NULL, NULL);
	if (o->r.kind == MODEL_KIND_NODE || o->r.kind == RECORD_KIND_HEAD)
		return 0; /* put afresh, by us and by gossip */
	snprintf(key, sizeof(key), "%.*s", (int)o->r.key_len, (const char *)o->key);
	return gossip_core_put(a->core, agent_now_ms(a), o->r.kind, key, o->value, o->r.value_len,
			       false);
}

static void recall_forwarder(struct agent *a, const struct load *l)
{
	bool is_same = is_same_boot(a->store);

	a->cfg.self.has_forwarder = false;
	for (const struct own_record *o = l->own; a->cfg.fwd_socket && is_same && o; o = o->next) {
		struct model_node n;

		if (o->r.kind == MODEL_KIND_NODE && !o->r.is_tombstone &&
		    !model_node_decode(o->value, o->r.value_len, &n))
			a->cfg.self.has_forwarder = n.has_forwarder;
	}
}

int agent_load(struct agent *a, struct err *e)
{
	struct load l = {.agent = a};
	struct record r;
	size_t cursor = 0;
	int err;

	l.tail = &l.own;
	err = store_load_members(a->store, on_stored_member, &l);
	if (!err)
		err = store_load_records(a->store, on_stored_record, &l);
	if (!err)
		err = agent_origins_load(a);
	if (err) {
		err_set(e, err, "can't read what the store remembers: %s", strerror(-err));
		goto out;
	}
	recall_forwarder(a, &l);
	err = adopt_backends(a, &l);
	for (const struct own_record *o = l.own; o && !err; o = o->next)
		err = restate(a, o);
	if (!err)
		err = agent_put_node(a);
	if (err) {
		err_set(e, err, "can't restate this node's records: %s", strerror(-err));
		goto out;
	}
	while (gossip_core_next_record(a->core, &cursor, &r))
		(void)agent_fact_apply(a, &r);
	agent_log("info", "loaded", "records=%zu refused=%zu members=%zu backends=%zu", l.records,
		  l.refused, gossip_core_member_count(a->core), a->own_count);
out:
	while (l.own) {
		struct own_record *o = l.own;

		l.own = o->next;
		free(o);
	}
	return err;
}
