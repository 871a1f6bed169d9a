/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What changed, for `edgectl events`, and how long changes of health took to reach edges' maps (edge/report.h).
 *
 * An edge tells at most once a second. Of a mesh of more than SAMPLE edges each tells at once of some changes, by chance,
 * so that SAMPLE of them do for each; of the others it tells at leisure, which says less about the last moments. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"

#define SAMPLE 16u
#define TELL_MS 1000 /* between two reports */
#define TELL_LATER_MS 5000
#define TELL_AGE_MS 60000 /* older ones are told no more */
#define SUM_MS 1500	  /* after a change: by then who can tell has told */

static uint64_t now_us(void)
{
	return uv_hrtime() / 1000;
}

/* ---- events */

static __attribute__((format(printf, 5, 0))) struct report_event *
say(struct agent *a, const char *kind, const struct node_id *who, const char *what, const char *fmt,
    va_list ap)
{
	struct report_event *e = report_event_new(a->reports);
	char name[MODEL_NAME_MAX];

	e->kind = kind;
	e->unix_ms = agent_unix_ms();
	if (who)
		snprintf(e->who, sizeof(e->who), "%s", agent_node_name(a, who, name));
	snprintf(e->what, sizeof(e->what), "%s", what);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	return e;
}

void agent_say(struct agent *a, const char *kind, const struct node_id *who, const char *what,
	       const char *fmt, ...)
{
	va_list ap;

	if (!a->loop) /* what the store remembers is no news */
		return;
	va_start(ap, fmt);
	(void)say(a, kind, who, what, fmt, ap);
	va_end(ap);
}

static __attribute__((format(printf, 5, 6))) struct report_event *
say_one(struct agent *a, const char *kind, const struct node_id *who, const char *what,
	const char *fmt, ...)
{
	struct report_event *e;
	va_list ap;

	va_start(ap, fmt);
	e = say(a, kind, who, what, fmt, ap);
	va_end(ap);
	return e;
}

const struct reports *agent_events(const struct agent *a)
{
	return a->reports;
}

static const char *noun_of(uint8_t kind)
{
	switch (kind) {
	case MODEL_KIND_NODE:
		return "node";
	case MODEL_KIND_BACKEND:
		return "backend";
	case MODEL_KIND_SERVICE:
		return "service";
	case MODEL_KIND_OVERRIDE:
		return "drain";
	case MODEL_KIND_SEED:
		return "seed";
	case MODEL_KIND_FILTER:
		return "filter";
	}
	return NULL;
}

static const char *state_of(const struct record *r, const union fact_value *v)
{
	if (r->is_tombstone || !v)
		return "removed";
	if (r->kind == MODEL_KIND_OVERRIDE)
		return v->override.is_drained ? "drained" : "not drained";
	if (r->kind == MODEL_KIND_BACKEND && v->backend.is_draining)
		return "draining";
	return "set";
}

void agent_report_fact(struct agent *a, const struct record *r)
{
	const char *noun = noun_of(r->kind);
	const union fact_value *v;
	char key[MODEL_KEY_MAX];

	if (!noun || !a->loop)
		return;
	snprintf(key, sizeof(key), "%.*s", (int)r->key_len, (const char *)r->key);
	v = agent_fact_find(a, &r->writer, r->kind, key);
	agent_say(a, noun, &r->writer, key, "%s", state_of(r, v));
}

/* ---- changes of health */

static const char *const health_text[] = {"unknown", "passing", "failing"};

static struct own_backend *own_of(struct agent *a, const struct record *r, const char *key)
{
	return node_id_cmp(&r->writer, &a->self) ? NULL : agent_own_find(a, key);
}

void agent_report_health(struct agent *a, const struct fact_id *id, const struct model_health *is)
{
	const struct record *r = a->record_now;
	struct report_heard *h;
	struct report_event *e;
	struct own_backend *o;

	if (!r || !a->loop) /* what the store remembers is no news */
		return;
	h = &a->heard[a->heard_count++ % AGENT_HEARD_MAX];
	*h = (struct report_heard){.origin = report_node_num(&id->writer),
				   .generation = (uint32_t)r->generation,
				   .seq = r->seq,
				   .heard_us = a->record_us};
	e = say_one(a, "health", &id->writer, id->key, "%s: %s", health_text[is->state % 3],
		    is->why);
	e->origin = h->origin;
	e->generation = h->generation;
	e->record_seq = h->seq;
	o = own_of(a, r, id->key);
	if (o && o->born_ns && o->said_ns >= o->born_ns)
		(void)report_change_new(a->reports, h->generation, h->seq, o->born_ns / 1000,
					o->said_ns / 1000);
}

static void update_event(struct agent *a, const struct report_change *c)
{
	struct report_event *e =
		report_event_of(a->reports, report_node_num(&a->self), c->generation, c->seq);

	if (e)
		report_change_sum(c, &e->sum);
}

static void told(struct agent *a, uint32_t edge, const struct report_told *t)
{
	struct report_change *c = report_change_find(a->reports, t->generation, t->seq);

	if (c && report_change_told(c, edge, t, now_us()))
		update_event(a, c);
}

static struct report_told told_of(const struct report_heard *h, uint64_t now)
{
	uint64_t wrote = h->written_us - h->heard_us, ago = now - h->written_us;

	return (struct report_told){.origin = h->origin,
				    .generation = h->generation,
				    .seq = h->seq,
				    .wrote_us = wrote < UINT32_MAX ? (uint32_t)wrote : UINT32_MAX,
				    .ago_us = ago < UINT32_MAX ? (uint32_t)ago : UINT32_MAX};
}

static size_t edges_alive(const struct agent *a)
{
	const struct route_view *v = &a->world->view;
	size_t n = 0;

	for (size_t i = 0; i < v->node_count; i++)
		n += v->node[i].node.is_edge && v->node[i].node.has_forwarder &&
		     v->node[i].state == GOSSIP_ALIVE && !v->node[i].is_summary;
	return n;
}

/* Is it for this edge to tell of that change at once? */
static bool is_sampled(const struct agent *a, const struct report_heard *h)
{
	size_t edges = edges_alive(a);
	uint32_t x = report_node_num(&a->self) ^ (uint32_t)h->seq * 0x9e3779b1u ^ h->origin;

	x = (x ^ x >> 16) * 0x85ebca6bu;
	x = (x ^ x >> 13) * 0xc2b2ae35u;
	x ^= x >> 16;
	return edges <= SAMPLE || x % edges < SAMPLE;
}

static void written(struct agent *a, struct report_heard *h)
{
	struct report_told t;
	uint64_t now = now_us(), due;

	if (h->written_us || !h->heard_us)
		return;
	h->written_us = now;
	if (h->origin == report_node_num(&a->self)) {
		t = told_of(h, now);
		told(a, h->origin, &t);
		return;
	}
	if (!a->cfg.self.is_edge)
		return;
	due = agent_now_ms(a) + (is_sampled(a, h) ? 0 : TELL_LATER_MS);
	if (!a->tell_due_ms || due < a->tell_due_ms)
		a->tell_due_ms = due;
	a->is_tell_urgent |= is_sampled(a, h);
}

/* The word of the record at hand is in the map. */
void agent_report_word(struct agent *a)
{
	const struct record *r = a->record_now;

	for (size_t i = 0; r && i < AGENT_HEARD_MAX; i++)
		if (a->heard[i].seq == r->seq &&
		    a->heard[i].generation == (uint32_t)r->generation &&
		    a->heard[i].origin == report_node_num(&r->writer))
			written(a, &a->heard[i]);
}

/* All that has been heard is. */
void agent_report_written(struct agent *a)
{
	for (size_t i = 0; i < AGENT_HEARD_MAX; i++)
		written(a, &a->heard[i]);
}

/* ---- the record */

static void fill_msg(const struct agent *a, struct report_msg *m)
{
	uint64_t now = now_us();

	for (uint32_t i = 0; i < a->heard_count && i < AGENT_HEARD_MAX; i++) {
		const struct report_heard *h =
			&a->heard[(a->heard_count - 1 - i) % AGENT_HEARD_MAX];

		if (h->written_us && m->told_count < REPORT_TOLD_MAX &&
		    h->origin != report_node_num(&a->self) && a->cfg.self.is_edge &&
		    now - h->written_us < TELL_AGE_MS * 1000ull)
			m->told[m->told_count++] = told_of(h, now);
	}
	for (uint32_t i = 0; i < a->reports->changes && i < REPORT_CHANGES_MAX; i++) {
		const struct report_change *c =
			&a->reports->change[(a->reports->changes - 1 - i) % REPORT_CHANGES_MAX];
		struct report_own *o = &m->own[m->own_count];

		if (m->own_count == REPORT_SUMS_MAX || !c->count ||
		    now - c->said_us > TELL_AGE_MS * 1000ull)
			break;
		if (now - c->said_us < SUM_MS * 1000ull)
			continue;
		*o = (struct report_own){.generation = c->generation, .seq = c->seq};
		report_change_sum(c, &o->sum);
		m->own_count++;
	}
}

static void tell(struct agent *a)
{
	struct report_msg m = {0};
	uint8_t buf[REPORT_BYTES_MAX];
	int len, err;

	fill_msg(a, &m);
	len = report_encode(&m, buf, sizeof(buf));
	err = len < 0 ? len
		      : gossip_core_put(a->core, agent_now_ms(a), REPORT_KIND, REPORT_KEY, buf,
					(size_t)len, a->is_tell_urgent);
	if (err)
		agent_log("warn", "reach_not_told", "error=\"%s\"", strerror(-err));
	a->told_ms = agent_now_ms(a);
	a->tell_due_ms = 0;
	a->is_tell_urgent = false;
	agent_pump(a);
}

static void say_sum(struct agent *a, struct report_event *of, const struct report_sum *sum)
{
	char slowest[MODEL_NAME_MAX] = "?";
	struct report_event *e;

	for (size_t i = 0; i < a->world->view.node_count; i++)
		if (report_node_num(&a->world->view.node[i].id) == sum->slowest)
			snprintf(slowest, sizeof(slowest), "%s", a->world->view.node[i].node.name);
	e = say_one(a, "reach", NULL, of->what,
		    "in the maps of %u edge%s within %.1f ms (p50), %.1f ms (p99), slowest %s",
		    sum->edges, sum->edges == 1 ? "" : "s", sum->p50_us / 1000.0,
		    sum->p99_us / 1000.0, slowest);
	memcpy(e->who, of->who, sizeof(e->who));
	e->sum = *sum;
}

void agent_report_record(struct agent *a, const struct record *r)
{
	uint32_t from = report_node_num(&r->writer);
	struct report_msg m;

	if (r->is_tombstone || r->key_len != strlen(REPORT_KEY) ||
	    memcmp(r->key, REPORT_KEY, r->key_len) != 0 || !node_id_cmp(&r->writer, &a->self) ||
	    report_decode(r->value, r->value_len, &m))
		return;
	for (size_t i = 0; i < m.told_count; i++)
		if (m.told[i].origin == report_node_num(&a->self))
			told(a, from, &m.told[i]);
	for (size_t i = 0; i < m.own_count; i++) {
		struct report_event *e =
			report_event_of(a->reports, from, m.own[i].generation, m.own[i].seq);
		bool is_new = e && !e->sum.edges;

		if (!e)
			continue;
		e->sum = m.own[i].sum;
		if (is_new && e->sum.edges) {
			struct report_event copy = *e; /* the ring may come round to it */

			say_sum(a, &copy, &copy.sum);
		}
	}
}

/* ---- problems come and go */

/* What counts or ages in a sentence doesn't make it another one. */
static uint64_t sentence_hash(const char *text)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (; *text; text++)
		if ((*text < '0' || *text > '9') && *text != '.')
			h = (h ^ (unsigned char)*text) * 0x100000001b3ull;
	return h;
}

static void watch_problems(struct agent *a)
{
	uint64_t hash[AGENT_PROBLEMS_MAX];
	struct agent_view v;
	size_t n;

	agent_look(a, &v);
	n = v.problem_count;
	for (size_t i = 0; i < n; i++) {
		bool is_old = false;

		hash[i] = sentence_hash(v.problem[i]);
		for (size_t k = 0; k < a->problem_seen_count; k++)
			is_old |= a->problem_seen[k] == hash[i];
		if (!is_old)
			agent_say(a, "problem", &a->self, "", "%s", v.problem[i]);
	}
	if (a->problem_seen_count && !n)
		agent_say(a, "problem", &a->self, "", "none left");
	memcpy(a->problem_seen, hash, n * sizeof(*hash));
	a->problem_seen_count = n;
}

/* ---- life */

void agent_report_tick(struct agent *a)
{
	uint64_t now = agent_now_ms(a);

	if (!a->loop || a->is_closing)
		return;
	for (uint32_t i = 0; i < a->reports->changes && i < REPORT_CHANGES_MAX; i++) {
		struct report_change *c = &a->reports->change[i];
		struct report_event *e;
		struct report_sum sum;

		if (c->is_summed || now_us() - c->said_us < SUM_MS * 1000ull)
			continue;
		c->is_summed = true;
		report_change_sum(c, &sum);
		e = report_event_of(a->reports, report_node_num(&a->self), c->generation, c->seq);
		if (!sum.edges || !e)
			continue;
		struct report_event copy = *e;

		say_sum(a, &copy, &sum);
		if (!a->tell_due_ms)
			a->tell_due_ms = now;
	}
	if (a->tell_due_ms && a->tell_due_ms <= now && a->told_ms + TELL_MS <= now)
		tell(a);
	if (a->problems_ms + 1000 <= now) {
		a->problems_ms = now;
		watch_problems(a);
		if (a->ops_written)
			agent_say(a, "maps", &a->self, "",
				  "%u writes; the last computation took %u us", a->ops_written,
				  a->compute_us);
		a->ops_written = 0;
	}
}

int agent_report_open(struct agent *a)
{
	a->reports = calloc(1, sizeof(*a->reports));
	return a->reports ? 0 : -ENOMEM;
}
