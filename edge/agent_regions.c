/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Other regions by their summaries (edge/summary.h), and this region's own. With [regions] mode = flat, a->regions is NULL and
 * all of this does nothing.
 *
 * What a summary names goes into the view beside what records say: nodes, and their backends as ways in. Of a node that is a
 * member, or that a region with a lower name names as well, the summary is not believed.
 * A summary is poison like any record (edge/poison.h): it stands in the journal as a record of kind AGENT_KIND_SUMMARY, whose
 * value is the hash of the summary; the former one stays in force. What went through a computation is kept in the state
 * directory, so that an edge that starts alone knows the ways. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_regions.h"
#include "gossip/keyring.h"

#define NODE_NUM_BYTES 4
#define SAY_SOON_MS 20	 /* changes come in bursts */
#define SAY_EVERY_MS 250 /* own summaries, at most */

/* ---- the table */

static struct agent_region *region_at(struct agent_regions *g, const char *name)
{
	size_t i = 0;

	while (i < g->count && strcmp(g->r[i]->name, name) < 0)
		i++;
	if (i < g->count && !strcmp(g->r[i]->name, name))
		return g->r[i];
	if (g->count == GOSSIP_REGIONS_MAX)
		return NULL;
	memmove(&g->r[i + 1], &g->r[i], (g->count - i) * sizeof(struct agent_region *));
	g->r[i] = calloc(1, sizeof(struct agent_region));
	if (!g->r[i]) {
		memmove(&g->r[i], &g->r[i + 1], (g->count - i) * sizeof(struct agent_region *));
		return NULL;
	}
	snprintf(g->r[i]->name, sizeof(g->r[i]->name), "%s", name);
	g->count++;
	return g->r[i];
}

static bool is_down(const struct agent_region *r, const struct node_id *id)
{
	for (size_t i = 0; i < r->down_count; i++)
		if (!memcmp(r->down[i], id->b, sizeof(r->down[i])))
			return true;
	return false;
}

static enum gossip_state state_of(const struct agent_region *r, const struct node_id *id)
{
	if (r->is_dead)
		return GOSSIP_DEAD;
	return is_down(r, id) ? GOSSIP_SUSPECT : GOSSIP_ALIVE;
}

/* ---- into the view */

void agent_regions_count(const struct agent *a, size_t *nodes, size_t *backends)
{
	for (size_t i = 0; a->regions && i < a->regions->count; i++) {
		const struct summary *s = a->regions->r[i]->summary;

		*nodes += s ? s->node_count : 0;
		*backends += s ? s->way_count : 0;
	}
}

static bool is_removed(const struct agent *a, const struct node_id *id)
{
	static const char digit[] = "0123456789abcdef";
	char key[2 * NODE_ID_BYTES + 1] = "";
	struct record r;

	for (size_t i = 0; i < NODE_ID_BYTES; i++) {
		key[2 * i] = digit[id->b[i] >> 4];
		key[2 * i + 1] = digit[id->b[i] & 15];
	}
	return gossip_core_get_record(a->core, NULL, RECORD_KIND_REMOVAL, key, &r);
}

/* By number, with which ids begin; what members are comes first, then regions by name. */
static int cmp_believed(const void *x, const void *y)
{
	const struct route_node *a = x, *b = y;
	int c = memcmp(a->id.b, b->id.b, NODE_NUM_BYTES);

	if (!c)
		c = (int)a->is_summary - (int)b->is_summary;
	if (!c)
		c = strcmp(a->node.region, b->node.region);
	return c ? c : node_id_cmp(&a->id, &b->id);
}

/* Does the next one have a number that is taken? Maps hold one node of a number. */
static bool is_taken(struct agent_regions *g, const struct route_node *last,
		     const struct route_node *next)
{
	if (!next->is_summary || memcmp(last->id.b, next->id.b, NODE_NUM_BYTES) != 0)
		return false;
	if (node_id_cmp(&last->id, &next->id) != 0)
		snprintf(g->clash_text, sizeof(g->clash_text),
			 "node %s (%s) has the number of node %s (%s) and is not used: give it a "
			 "new key",
			 next->node.name, next->node.region, last->node.name, last->node.region);
	return true;
}

size_t agent_regions_nodes(const struct agent *a, struct route_node *node, size_t count)
{
	size_t n = count, kept = 0;

	if (!a->regions)
		return count;
	for (size_t i = 0; i < a->regions->count; i++) {
		const struct agent_region *r = a->regions->r[i];

		for (size_t k = 0; r->summary && k < r->summary->node_count; k++) {
			const struct summary_node *from = &r->summary->node[k];

			if (is_removed(a, &from->id))
				continue;
			node[n] = (struct route_node){.id = from->id,
						      .node = from->node,
						      .state = state_of(r, &from->id),
						      .is_summary = true};
			snprintf(node[n].node.region, sizeof(node[n].node.region), "%s", r->name);
			n++;
		}
	}
	qsort(node, n, sizeof(*node), cmp_believed);
	a->regions->clash_text[0] = 0;
	for (size_t i = 0; i < n; i++)
		if (!kept || !is_taken(a->regions, &node[kept - 1], &node[i]))
			node[kept++] = node[i];
	return kept;
}

static void add_way(struct agent *a, struct world *w, const struct agent_region *r,
		    const struct summary_service *s, const struct summary_way *way,
		    bool has_overrides, uint64_t now_s)
{
	const struct route_node *n = agent_world_node(w, &r->summary->node[way->node].id);
	struct route_backend *b = &w->backend[w->view.backend_count];
	char key[MODEL_KEY_MAX];

	if (!n || !n->is_summary || strcmp(n->node.region, r->name) != 0)
		return;
	b->node_idx = (size_t)(n - w->node);
	summary_backend(r->summary, s, way, &b->backend);
	b->health = (enum model_health_state)way->health;
	w->health[w->view.backend_count] = (struct model_health){.state = way->health};
	if (has_overrides && !model_backend_key(&b->backend, key))
		b->is_overridden =
			n->is_drained || agent_backend_is_drained(a, &n->node, key, now_s);
	w->view.backend_count++;
}

/* Of services of which more is there than is named. */
static int fill_capacity(const struct agent *a, struct world *w)
{
	struct route_capacity *c;
	size_t count = 0, n = 0;

	for (size_t i = 0; i < a->regions->count; i++)
		count += a->regions->r[i]->summary ? a->regions->r[i]->summary->service_count : 0;
	c = calloc(count + 1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	for (size_t i = 0; i < a->regions->count; i++) {
		const struct agent_region *r = a->regions->r[i];

		for (size_t k = 0; r->summary && k < r->summary->service_count; k++) {
			const struct summary_service *s = &r->summary->service[k];

			if (s->backends <= s->count)
				continue;
			c[n] = (struct route_capacity){.usable = s->usable, .known = s->known};
			memcpy(c[n].service, s->name, sizeof(c[n].service));
			memcpy(c[n++].region, r->name, sizeof(r->name));
		}
	}
	qsort(c, n, sizeof(*c), route_capacity_cmp);
	w->capacity = c;
	w->view.capacity = c;
	w->view.capacity_count = n;
	return 0;
}

int agent_regions_backends(struct agent *a, struct world *w, bool has_overrides)
{
	uint64_t now_s = agent_unix_ms() / 1000;

	for (size_t i = 0; a->regions && i < a->regions->count; i++) {
		const struct agent_region *r = a->regions->r[i];

		for (size_t k = 0; r->summary && k < r->summary->service_count; k++) {
			const struct summary_service *s = &r->summary->service[k];

			for (size_t n = s->first; n < s->first + s->count; n++)
				add_way(a, w, r, s, &r->summary->way[n], has_overrides, now_s);
		}
	}
	return a->regions ? fill_capacity(a, w) : 0;
}

/* ---- a summary comes */

/* How it stands in the journal of what is being applied. */
static struct record journal_of(const struct agent_region *r, const struct gossip_version *v)
{
	return (struct record){.kind = AGENT_KIND_SUMMARY,
			       .generation = v->lives & RECORD_SEQ_MAX,
			       .seq = v->marks & RECORD_SEQ_MAX,
			       .key = (const uint8_t *)r->name,
			       .key_len = strlen(r->name),
			       .value = v->hash,
			       .value_len = sizeof(v->hash)};
}

/* false: nothing has changed. */
static bool apply(struct agent *a, struct agent_region *r, const struct gossip_version *v,
		  const uint8_t *value, size_t len)
{
	struct record journal = journal_of(r, v);
	struct summary *s;
	int err;

	if (r->summary && !memcmp(v->hash, r->version.hash, sizeof(v->hash))) {
		r->version = *v;
		return false;
	}
	if (poison_is_held(a->poison, &journal)) {
		poison_again(a->poison, &journal, NULL, 0);
		return false;
	}
	poison_begin(a->poison, &journal, NULL, 0);
	err = summary_decode(value, len, &s);
	if (err == -EBADMSG)
		agent_quarantine(a, &journal, NULL, 0);
	if (err) {
		poison_end(a->poison, false);
		return false;
	}
	poison_outdated(a->poison, &journal);
	summary_free(r->summary);
	r->summary = s;
	r->version = *v;
	r->is_unstored = true;
	poison_end(a->poison, true);
	agent_log("info", "summary", "region=%s nodes=%zu services=%zu ways=%zu bytes=%zu", r->name,
		  s->node_count, s->service_count, s->way_count, len);
	return true;
}

void agent_regions_summary(struct agent *a, const struct gossip_summary *s)
{
	struct agent_region *r = a->regions ? region_at(a->regions, s->region) : NULL;

	if (r && apply(a, r, &s->version, s->value, s->len))
		agent_kick(a, false);
}

/* Words of nodes that fell, at once; the rest follows with the next computation. */
void agent_regions_region(struct agent *a, const struct gossip_region *g)
{
	struct agent_region *r = a->regions && !g->is_own ? region_at(a->regions, g->name) : NULL;
	struct agent_region was;

	if (!r)
		return;
	was = *r;
	r->is_dead = g->is_dead;
	r->down_count = g->down_count < GOSSIP_DOWN_MAX ? g->down_count : GOSSIP_DOWN_MAX;
	memcpy(r->down, g->down, sizeof(r->down));
	if (was.is_dead != r->is_dead) {
		agent_log(r->is_dead ? "warn" : "info", "region", "name=%s state=%s", r->name,
			  r->is_dead ? "dead" : "heard");
		agent_say(a, "region", &a->self, r->name, "%s",
			  r->is_dead ? "none of it answers: its ways in are not used"
				     : "it answers again");
	}
	for (size_t i = 0; r->summary && i < r->summary->node_count; i++) {
		const struct node_id *id = &r->summary->node[i].id;
		const struct route_node *n = agent_regions_node(a, id);

		if (state_of(&was, id) == GOSSIP_ALIVE && state_of(r, id) != GOSSIP_ALIVE && n &&
		    n->is_summary && !strcmp(n->node.region, r->name))
			agent_maps_node_down(a, id, state_of(r, id) == GOSSIP_SUSPECT);
	}
	agent_kick(a, true);
}

const struct route_node *agent_regions_node(const struct agent *a, const struct node_id *id)
{
	return a->world ? agent_world_node(a->world, id) : NULL;
}

/* What was let out of quarantine is applied now. */
void agent_regions_again(struct agent *a)
{
	for (size_t i = 0; a->regions && i < gossip_core_region_count(a->core); i++) {
		struct gossip_region g;
		struct agent_region *r;

		gossip_core_region_at(a->core, i, &g);
		r = g.is_own || !g.has_value ? NULL : region_at(a->regions, g.name);
		if (r && apply(a, r, &g.version, g.value, g.len))
			agent_kick(a, true);
	}
}

/* ---- our own */

static void fill_node(const struct agent *a, const struct fact *f, struct summary_from *from)
{
	if (f->id.kind == MODEL_KIND_NODE && !strcmp(f->u.node.region, a->cfg.self.region))
		from->node[from->node_count++] =
			(struct summary_from_node){f->id.writer, &f->u.node};
}

/* On record, whether or not it has expired: clocks differ, records don't. */
static bool has_drain(const struct agent *a, const struct fact *f)
{
	const union fact_value *node = agent_fact_find(a, &f->id.writer, MODEL_KIND_NODE, "node"),
			       *v;
	char key[MODEL_KEY_MAX + MODEL_NAME_MAX + 16];

	if (!node)
		return false;
	snprintf(key, sizeof(key), "node/%s", node->node.name);
	v = agent_fact_find(a, NULL, MODEL_KIND_OVERRIDE, key);
	if (!v || !v->override.is_drained) {
		snprintf(key, sizeof(key), "backend/%s/%s", node->node.name, f->id.key);
		v = agent_fact_find(a, NULL, MODEL_KIND_OVERRIDE, key);
	}
	return v && v->override.is_drained;
}

static void fill_backend(const struct agent *a, const struct fact *f, struct summary_from *from)
{
	const union fact_value *h;

	if (f->id.kind != MODEL_KIND_BACKEND)
		return;
	h = agent_fact_find(a, &f->id.writer, MODEL_KIND_HEALTH, f->id.key);
	from->backend[from->backend_count++] = (struct summary_from_backend){
		.id = f->id.writer,
		.backend = &f->u.backend,
		.health = h ? (enum model_health_state)h->health.state : MODEL_HEALTH_UNKNOWN,
		.is_drained = has_drain(a, f)};
}

static int cmp_key(const void *x, const void *y)
{
	return memcmp(x, y, sizeof(struct seal_key_id));
}

/* What all nodes of the region hold, and seal with, if it is one; who has said nothing holds nothing. */
static void fill_keys(const struct agent *a, const struct summary_from *from,
		      struct summary_keys *k)
{
	struct keyring_told all = {.count = 0}, t;

	for (size_t i = 0; i < from->node_count; i++) {
		size_t kept = 0;

		if (!keyring_told_of(a->core, &from->node[i].id, &t))
			memset(&t, 0, sizeof(t));
		if (!i) {
			all = t;
			k->is_one = t.count > 0;
			continue;
		}
		for (size_t n = 0; n < all.count; n++)
			if (keyring_holds(&t, &all.holds[n]))
				all.holds[kept++] = all.holds[n];
		all.count = kept;
		k->is_one &= !cmp_key(&t.seals, &all.seals);
	}
	qsort(all.holds, all.count, sizeof(all.holds[0]), cmp_key);
	k->count = all.count;
	memcpy(k->hold, all.holds, all.count * sizeof(all.holds[0]));
	memcpy(k->seals, all.seals.b, sizeof(k->seals));
}

static int put_own(struct agent *a)
{
	size_t count = HASH_COUNT(a->facts) + 1, len = 0;
	struct summary_from from = {.node = calloc(count, sizeof(*from.node)),
				    .backend = calloc(count, sizeof(*from.backend))};
	uint8_t *value = NULL;
	int err = -ENOMEM;

	if (from.node && from.backend) {
		for (const struct fact *f = a->facts; f; f = f->hh.next) {
			fill_node(a, f, &from);
			fill_backend(a, f, &from);
		}
		fill_keys(a, &from, &from.keys);
		err = summary_encode(&from, SUMMARY_VALUE_MAX, &value, &len);
	}
	if (!err)
		err = gossip_core_put_summary(a->core, agent_now_ms(a), value, len);
	a->regions->own_bytes = len;
	free(value);
	free(from.node);
	free(from.backend);
	return err;
}

static void on_say(uv_timer_t *t)
{
	struct agent *a = t->data;
	int err = put_own(a);

	a->regions->is_say_armed = false;
	a->regions->said_ms = uv_now(a->uv);
	if (err)
		agent_log("error", "summary_not_made", "error=\"%s\"", strerror(-err));
	agent_pump(a);
}

void agent_regions_changed(struct agent *a)
{
	struct agent_regions *g = a->regions;
	uint64_t now, due;

	if (!g || g->is_say_armed || a->is_closing)
		return;
	now = uv_now(a->uv);
	due = g->said_ms + SAY_EVERY_MS;
	g->is_say_armed = true;
	uv_timer_start(&g->say_timer, on_say, due > now + SAY_SOON_MS ? due - now : SAY_SOON_MS, 0);
}

/* ---- life */

int agent_regions_open(struct agent *a)
{
	if (!a->cfg.has_regions)
		return 0;
	a->regions = calloc(1, sizeof(*a->regions));
	if (!a->regions)
		return -ENOMEM;
	uv_timer_init(a->uv, &a->regions->say_timer);
	a->regions->say_timer.data = a;
	a->open_handles++;
	return 0;
}

static void on_closed(uv_handle_t *h)
{
	agent_handle_closed(h->data);
}

void agent_regions_close(struct agent *a)
{
	if (!a->regions)
		return;
	agent_regions_store(a, true);
	uv_close((uv_handle_t *)&a->regions->say_timer, on_closed);
}

void agent_regions_free(struct agent *a)
{
	for (size_t i = 0; a->regions && i < a->regions->count; i++) {
		summary_free(a->regions->r[i]->summary);
		free(a->regions->r[i]);
	}
	free(a->regions);
}
