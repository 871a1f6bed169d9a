/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/sim/sim_watch.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gossip/member.h"
#include "gossip/record_table.h"

#define STORY_LEN 16384
#define STORY_LEN_ALL 131072 /* when all is to be told */
#define STORY_TOLD 70	     /* lines per node concerned */
#define WATCH_NODES_MAX 256
#define FLIGHT_MAX 4096 /* packets under way, per node */

struct story {
	uint64_t at_ms;
	size_t node, peer; /* peer: SIZE_MAX for none */
	struct sim_payload *payload;
	enum sim_event_kind kind;
	bool is_lost;
	char text[160];
};

struct version { /* the highest that a node has held of an identity */
	UT_hash_handle hh;
	uint64_t id[2];
	struct record r;
	uint64_t content, written_ms;
	bool is_gone; /* it is not held any more */
	/* Who was known of when it went, a bit each: nobody can have asked the others. */
	uint8_t known[(WATCH_NODES_MAX + 7) / 8];
};

/* Whom the writer of the floor knew of when it wrote it: whoever takes the floor may have heard of others since. */
struct asked {
	size_t by; /* whose floor this node took last; SIZE_MAX: none */
	uint8_t known[(WATCH_NODES_MAX + 7) / 8]; /* as this node wrote its own last floor */
};

struct written {
	UT_hash_handle hh;
	uint64_t id[2];
	uint64_t at_ms;
};

struct sim_watch {
	struct sim_watch_config cfg;
	struct version *versions;
	struct written *written;
	struct asked asked[WATCH_NODES_MAX];
	struct story *story; /* a ring */
	size_t story_len;
	uint64_t story_count;
};

static struct sim *watched; /* for the story of an assertion inside the core */

/* ---- the story */

static struct story *story_next(struct sim *s, size_t node, size_t peer)
{
	struct sim_watch *w = s->watch;
	struct story *t = &w->story[w->story_count++ % w->story_len];

	sim_payload_unref(t->payload);
	*t = (struct story){.at_ms = s->now_ms, .node = node, .peer = peer};
	return t;
}

void sim_watch_note(struct sim *s, size_t i, const char *fmt, ...)
{
	struct story *t;
	va_list ap;

	if (!s->watch)
		return;
	t = story_next(s, i, SIZE_MAX);
	va_start(ap, fmt);
	vsnprintf(t->text, sizeof(t->text), fmt, ap);
	va_end(ap);
}

void sim_watch_packet(struct sim *s, const struct sim_event *e, bool is_path)
{
	struct story *t;

	if (e->kind != SIM_DGRAM && e->kind != SIM_STREAM && e->kind != SIM_SEND_FAILED)
		return;
	t = story_next(s, e->dst, e->src);
	t->kind = e->kind;
	t->payload = e->payload;
	t->payload->refs++;
	t->is_lost = !is_path;
}

static void tell_packet(const struct story *t)
{
	static const char *const name[] = {"?",	   "probe", "ack",   "ask",
					   "news", "sync",  "delta", "keys"};
	struct wire_msg m;

	printf("# %9llu  n%-2zu <- n%-2zu %s", (unsigned long long)t->at_ms, t->node, t->peer,
	       t->kind == SIM_SEND_FAILED ? "stream failed" : "");
	if (wire_decode(t->payload->bytes, t->payload->len, &m))
		printf("damaged");
	else
		printf("%s", name[m.type < 8 ? m.type : 0]);
	printf(", %zu bytes%s\n", t->payload->len, t->is_lost ? ", cut off" : "");
}

/* STORY=all: of every node, as far back as is known. */
static bool is_all_told(void)
{
	return getenv("STORY") != NULL;
}

static bool concerns(const struct story *t, size_t a, size_t b)
{
	return is_all_told() || t->node == a || t->node == b ||
	       (t->node == SIZE_MAX && t->peer == SIZE_MAX);
}

static void tell(struct sim *s, size_t a, size_t b)
{
	const struct sim_watch *w = s->watch;
	uint64_t first = w->story_count > w->story_len ? w->story_count - w->story_len : 0;
	uint64_t from = w->story_count;
	unsigned int lines = 0;

	while (from > first && (lines < 2 * STORY_TOLD || is_all_told()))
		lines += concerns(&w->story[--from % w->story_len], a, b);
	for (uint64_t i = from; i < w->story_count; i++) {
		const struct story *t = &w->story[i % w->story_len];

		if (!concerns(t, a, b))
			continue;
		if (t->payload)
			tell_packet(t);
		else if (t->node == SIZE_MAX)
			printf("# %9llu  --  %s\n", (unsigned long long)t->at_ms, t->text);
		else
			printf("# %9llu  n%-2zu %s\n", (unsigned long long)t->at_ms, t->node,
			       t->text);
	}
}

void sim_watch_fail(struct sim *s, size_t a, size_t b, const char *fmt, ...)
{
	va_list ap;

	watched = NULL;
	tell(s, a, b);
	printf("# at %llu ms: ", (unsigned long long)s->now_ms);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n# broken with SEED=%llu\n", (unsigned long long)s->cfg.seed);
	fflush(stdout);
	_exit(1);
}

static void on_abort(int sig)
{
	(void)sig;
	if (watched)
		sim_watch_fail(watched, SIZE_MAX, SIZE_MAX, "an assertion failed");
}

/* ---- records */

static void mix_id(uint64_t id[2], const void *bytes, size_t len)
{
	id[0] = sim_mix(11, bytes, len);
	id[1] = sim_mix(13, bytes, len);
}

static uint64_t content_of(const struct record *r)
{
	uint8_t buf[RECORD_SIGNED_MAX];
	int len = record_signed_bytes(r, buf, sizeof(buf));

	return len < 0 ? 0 : sim_mix(17, buf, (size_t)len);
}

/* Identity at this node; another disk, another memory. A restart alone forgets nothing. */
static void held_id(uint64_t id[2], const struct sim_node *n, const struct record *r)
{
	uint8_t buf[16 + 1 + NODE_ID_BYTES + RECORD_KEY_MAX] = {0};
	/* What is not stored may be forgotten by every restart. */
	uint64_t where[2] = {n->idx, record_scope_of(r->kind) == RECORD_VOLATILE ? n->life_count
										 : n->disk_count};

	memcpy(buf, where, 16);
	buf[16] = r->kind;
	if (record_scope_of(r->kind) != RECORD_SHARED)
		memcpy(buf + 17, r->writer.b, NODE_ID_BYTES);
	memcpy(buf + 17 + NODE_ID_BYTES, r->key, r->key_len);
	mix_id(id, buf, 17 + NODE_ID_BYTES + r->key_len);
}

static void written_id(uint64_t id[2], const struct record *r)
{
	uint8_t buf[NODE_ID_BYTES + RECORD_SIGNED_MAX];
	int len = record_signed_bytes(r, buf + NODE_ID_BYTES, RECORD_SIGNED_MAX);

	memcpy(buf, r->writer.b, NODE_ID_BYTES);
	mix_id(id, buf, NODE_ID_BYTES + (size_t)(len < 0 ? 0 : len));
}

/* Returns when that was. */
static uint64_t check_written(struct sim *s, struct sim_node *n, const struct record *r)
{
	struct written *w = NULL;
	uint64_t id[2];

	written_id(id, r);
	HASH_FIND(hh, s->watch->written, id, sizeof(id), w);
	if (w)
		return w->at_ms;
	if (node_id_cmp(&r->writer, &n->id) != 0)
		sim_watch_fail(s, n->idx, SIZE_MAX,
			       "n%zu took kind %u '%.*s' seq %llu, which its writer never wrote",
			       n->idx, r->kind, (int)r->key_len, (const char *)r->key,
			       (unsigned long long)r->seq);
	w = calloc(1, sizeof(*w));
	if (!w)
		abort();
	memcpy(w->id, id, sizeof(id));
	w->at_ms = s->now_ms;
	HASH_ADD(hh, s->watch->written, id, sizeof(w->id), w);
	return w->at_ms;
}

static size_t node_of(const struct sim *s, const struct node_id *id)
{
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (node_id_cmp(&s->node[i].id, id) == 0)
			return i;
	return SIZE_MAX;
}

static struct version *find_version(struct sim *s, struct sim_node *n, const struct record *r,
				    uint64_t id[2])
{
	struct version *v = NULL;

	held_id(id, n, r);
	HASH_FIND(hh, s->watch->versions, id, 16, v);
	return v;
}

/* A shared tombstone that was collected is behind us for good: only what was written after it may come, by a writer that has
 * lost the count, or what somebody wrote alone whom nobody had heard of. */
static bool is_anew(struct sim *s, const struct version *v, const struct record *r,
		    uint64_t written_ms)
{
	size_t writer = node_of(s, &r->writer);

	return record_scope_of(r->kind) == RECORD_SHARED && v->is_gone && v->r.is_tombstone &&
	       (written_ms > v->written_ms ||
		(writer < WATCH_NODES_MAX && !(v->known[writer / 8] >> writer % 8 & 1)));
}

static void check_forward(struct sim *s, struct sim_node *n, const struct record *r,
			  uint64_t written_ms)
{
	uint64_t id[2];
	struct version *v = find_version(s, n, r, id);
	int d;

	if (!v) {
		v = calloc(1, sizeof(*v));
		if (!v)
			abort();
		memcpy(v->id, id, sizeof(v->id));
		HASH_ADD(hh, s->watch->versions, id, sizeof(v->id), v);
	} else {
		d = record_cmp_version(r, &v->r);
		if (d < 0 && !is_anew(s, v, r, written_ms))
			sim_watch_fail(
				s, n->idx, node_of(s, &r->writer),
				"n%zu went back: kind %u '%.*s' from %llu.%llu%s to %llu.%llu%s",
				n->idx, r->kind, (int)r->key_len, (const char *)r->key,
				(unsigned long long)v->r.generation, (unsigned long long)v->r.seq,
				v->r.is_tombstone ? " (deleted)" : "",
				(unsigned long long)r->generation, (unsigned long long)r->seq,
				r->is_tombstone ? " (deleted)" : "");
	}
	v->r = *r;
	v->r.key = v->r.value = NULL;
	v->content = content_of(r);
	v->written_ms = written_ms;
	v->is_gone = false;
}

static void note_known(const struct sim *s, const struct sim_node *n, uint8_t *ret_known)
{
	memset(ret_known, 0, (WATCH_NODES_MAX + 7) / 8);
	for (size_t i = 0; i < s->cfg.nodes && i < WATCH_NODES_MAX; i++)
		if (member_get(n->core, &s->node[i].id) || table_origin(n->core, &s->node[i].id))
			ret_known[i / 8] |= (uint8_t)(1u << i % 8);
}

static void note_floor(struct sim *s, struct sim_node *n, const struct record *r)
{
	struct asked *a = &s->watch->asked[n->idx];

	a->by = node_of(s, &r->writer);
	if (a->by == n->idx)
		note_known(s, n, a->known);
}

static void note_gone(struct sim *s, struct sim_node *n, const struct record *r)
{
	uint64_t id[2];
	struct version *v = find_version(s, n, r, id);
	size_t by = s->watch->asked[n->idx].by;

	if (!v || record_cmp_version(r, &v->r) != 0)
		return;
	v->is_gone = true;
	note_known(s, n, v->known);
	for (size_t i = 0; by < WATCH_NODES_MAX && i < sizeof(v->known); i++)
		v->known[i] &= s->watch->asked[by].known[i];
}

void sim_watch_event(struct sim *s, struct sim_node *n, const struct gossip_event *ev)
{
	static const char *const state[] = {"alive", "headless", "suspect", "dead", "left"};
	const struct record *r = &ev->record;

	switch (ev->kind) {
	case GOSSIP_EV_RECORD:
	case GOSSIP_EV_RECORD_GONE:
		sim_watch_note(s, n->idx, "%s kind %u '%.*s' of n%zu %llu.%llu%s",
			       ev->kind == GOSSIP_EV_RECORD ? "takes" : "drops", r->kind,
			       (int)(r->key_len > 20 ? 20 : r->key_len), (const char *)r->key,
			       node_of(s, &r->writer), (unsigned long long)r->generation,
			       (unsigned long long)r->seq, r->is_tombstone ? " (deleted)" : "");
		if (ev->kind == GOSSIP_EV_RECORD_GONE)
			note_gone(s, n, r);
		else
			check_forward(s, n, r, check_written(s, n, r));
		if (ev->kind == GOSSIP_EV_RECORD && r->kind == RECORD_KIND_FLOOR)
			note_floor(s, n, r);
		return;
	case GOSSIP_EV_MEMBER:
		sim_watch_note(s, n->idx, "sees n%zu %s, was %s", node_of(s, &ev->member.id),
			       state[ev->member.state],
			       ev->is_new ? "unknown" : state[ev->old_state]);
		return;
	case GOSSIP_EV_GENERATION:
		sim_watch_note(s, n->idx, "generation goes up to %llu",
			       (unsigned long long)ev->generation);
		return;
	case GOSSIP_EV_CONFLICT:
		sim_watch_note(s, n->idx, "conflict about n%zu", node_of(s, &ev->member.id));
		return;
	case GOSSIP_EV_SUMMARY:
		sim_watch_note(s, n->idx, "takes the summary of %s, %zu bytes", ev->summary.region,
			       ev->summary.len);
		return;
	case GOSSIP_EV_REGION:
		sim_watch_note(s, n->idx, "region %s is %s, %zu down there", ev->region->name,
			       ev->region->is_dead ? "dead" : "alive", ev->region->down_count);
		return;
	case GOSSIP_EV_ORIGIN:
		return;
	}
}

/* ---- bounds */

void sim_watch_step(struct sim *s, struct sim_node *n)
{
	const struct gossip_core *c = n->core;
	const struct sim_watch_config *cfg = &s->watch->cfg;
	size_t own = cfg->own_keys + CORE_TOMBSTONES_MAX + cfg->burst + 1;

	if (!TAILQ_EMPTY(&c->out) || !TAILQ_EMPTY(&c->events))
		sim_watch_fail(s, n->idx, SIZE_MAX, "n%zu left something in its queues", n->idx);
	if (c->ring_count > s->cfg.nodes || HASH_COUNT(c->origins) > s->cfg.nodes)
		sim_watch_fail(s, n->idx, SIZE_MAX, "n%zu knows %zu members and %u writers of %zu",
			       n->idx, c->ring_count, HASH_COUNT(c->origins), s->cfg.nodes);
	/* And a floor of each node. */
	if (c->rec_count > s->cfg.nodes * (own + 1) + cfg->shared_keys)
		sim_watch_fail(s, n->idx, SIZE_MAX, "n%zu holds %zu records", n->idx, c->rec_count);
	if (s->queue.count > s->cfg.nodes * FLIGHT_MAX)
		sim_watch_fail(s, n->idx, SIZE_MAX, "%zu packets under way", s->queue.count);
}

/* ---- pairs */

/* Its own count or a head says that it holds all that the head speaks of, and nothing came since. */
static bool is_head_met(const struct origin *o)
{
	return o->is_whole && !o->is_disputed && o->head &&
	       o->head->blob->r.generation == o->generation && o->top == o->head->blob->r.seq &&
	       o->verified >= o->top;
}

static bool heads_agree(const struct origin *a, const struct origin *b)
{
	if (!is_head_met(a) || !is_head_met(b) || a->generation != b->generation)
		return true;
	return !digest_eq(&a->head->hash, &b->head->hash) || digest_eq(&a->gsum, &b->gsum);
}

void sim_watch_agree(struct sim *s)
{
	struct origin *o, *next, *x;
	size_t a, b;

	if (!s->watch || !s->watch->cfg.is_trusting)
		return;
	if (sim_watermarks_broken(s, &a, &b))
		sim_watch_fail(s, a, b, "n%zu and n%zu: equal watermarks, other records", a, b);
	for (size_t i = 0; i < s->cfg.nodes; i++)
		for (size_t k = i + 1; k < s->cfg.nodes; k++) {
			if (s->node[i].life != SIM_UP || s->node[k].life != SIM_UP)
				continue;
			HASH_ITER(hh, s->node[i].core->origins, o, next)
			{
				x = table_origin(s->node[k].core, &o->id);
				if (x && !heads_agree(o, x) && !sim_is_used_twice(s, o))
					sim_watch_fail(s, i, k,
						       "n%zu and n%zu: one head of n%zu, two sets",
						       i, k, node_of(s, &o->id));
			}
		}
}

/* ---- life */

void sim_watch_begin(struct sim *s, const struct sim_watch_config *cfg)
{
	s->watch = calloc(1, sizeof(*s->watch));
	if (!s->watch)
		abort();
	s->watch->cfg = *cfg;
	for (size_t i = 0; i < WATCH_NODES_MAX; i++)
		s->watch->asked[i].by = SIZE_MAX;
	s->watch->story_len = is_all_told() ? STORY_LEN_ALL : STORY_LEN;
	s->watch->story = calloc(s->watch->story_len, sizeof(*s->watch->story));
	if (!s->watch->story)
		abort();
	watched = s;
}

void sim_watch_end(struct sim *s)
{
	struct sim_watch *w = s->watch;
	struct version *v, *v_next;
	struct written *x, *x_next;

	if (!w)
		return;
	HASH_ITER(hh, w->versions, v, v_next)
	{
		HASH_DELETE(hh, w->versions, v);
		free(v);
	}
	HASH_ITER(hh, w->written, x, x_next)
	{
		HASH_DELETE(hh, w->written, x);
		free(x);
	}
	for (size_t i = 0; i < w->story_len; i++)
		sim_payload_unref(w->story[i].payload);
	free(w->story);
	free(w);
	s->watch = NULL;
	watched = NULL;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *v = getenv(name);

	return v ? strtoull(v, NULL, 0) : otherwise;
}

static bool runs_well(uint64_t seed, void (*run)(uint64_t seed))
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return false;
	if (pid == 0) {
		signal(SIGABRT, on_abort);
		run(seed);
		fflush(stdout);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return status == 0;
}

unsigned int sim_watch_seeds(unsigned int count, void (*run)(uint64_t seed))
{
	uint64_t first = env_number("FIRST", 1), one = env_number("SEED", 0);
	unsigned int failed = 0;

	count = (unsigned int)env_number("SEEDS", count);
	if (one) {
		first = one;
		count = 1;
	}
	for (uint64_t seed = first; seed < first + count; seed++) {
		if (runs_well(seed, run))
			continue;
		failed++;
		printf("# failed: SEED=%llu\n", (unsigned long long)seed);
	}
	printf("# %u seeds from %llu on, %u failed\n", count, (unsigned long long)first, failed);
	return failed;
}
