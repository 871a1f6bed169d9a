/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who checks the backends of a headless node: its edged is silent, so nobody there does, and what it said last may be old.
 *
 * Two other live nodes, of its own region first, chosen by a hash that all compute alike, run each check from where they
 * are: to the node's mesh address, at the port that is checked, the only way from there that no client takes. That reaches a socket of
 * the host that is bound to that address or to all; a container, or a socket on another address, it does not. So a
 * failure counts only where the backend's address is the mesh address, or where a probe has passed before it.
 * Their verdicts are volatile records (kind REPORT_KIND, key "check/NODE/SERVICE/ADDR:PORT", a health value); they end
 * with the node's silence, or with theirs. A backend fails by them when those who have a verdict, two if there are two
 * to ask, all say so. Where nobody can tell, the last known health stands and is shown with its age. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"

#define JUDGES 2
#define JUDGED_MAX 256 /* backends that one node checks for others */
#define VERDICTS_MAX 4096
#define PREFIX "check/"

struct judged { /* a check that we run for another node */
	struct agent *agent;
	struct node_id owner;
	char key[MODEL_KEY_MAX]; /* the backend's */
	char record[RECORD_KEY_MAX + 1];
	struct check *check;
	bool is_proven; /* a probe has passed, or none is needed for failures to count */
	bool is_said, is_wanted;
	TAILQ_ENTRY(judged) link;
};

struct verdict_id { /* hash key, zeroed before it is filled */
	struct node_id judge;
	char record[RECORD_KEY_MAX + 1];
};
struct verdict {
	struct verdict_id id;
	struct model_health health;
	UT_hash_handle hh;
};

struct judging {
	TAILQ_HEAD(, judged) judged;
	size_t count;
	struct verdict *verdicts;
};

/* ---- who */

static uint64_t rank_of(const struct route_node *n, const struct route_node *owner)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < NODE_ID_BYTES; i++)
		h = (h ^ n->id.b[i] ^ (uint64_t)owner->id.b[i] << 8) * 0x100000001b3ull;
	/* Of another region: behind all of its own. */
	return h >> 1 | (uint64_t)(strcmp(n->node.region, owner->node.region) != 0) << 63;
}

/* How many of the live nodes are asked to judge before this one? SIZE_MAX: it is not alive, or the owner itself. */
static size_t place_of(const struct route_view *v, const struct route_node *owner,
		       const struct node_id *id, size_t *ret_alive)
{
	uint64_t own = 0;
	size_t before = 0, alive = 0;
	bool is_there = false;

	for (size_t i = 0; i < v->node_count; i++)
		if (!node_id_cmp(&v->node[i].id, id) && v->node[i].state == GOSSIP_ALIVE &&
		    !v->node[i].is_summary) {
			own = rank_of(&v->node[i], owner);
			is_there = true;
		}
	for (size_t i = 0; i < v->node_count; i++) {
		const struct route_node *n = &v->node[i];

		if (n == owner || n->state != GOSSIP_ALIVE || n->is_summary)
			continue;
		alive++;
		before += rank_of(n, owner) < own;
	}
	*ret_alive = alive;
	return is_there ? before : SIZE_MAX;
}

static void record_key(const struct route_node *owner, const char *key,
		       char buf[RECORD_KEY_MAX + 1])
{
	/* Names are unique in a mesh; a backend's key leaves room for one. */
	snprintf(buf, RECORD_KEY_MAX + 1, PREFIX "%.31s/%.89s", owner->node.name, key);
}

/* ---- our own verdicts */

static void unsay(struct judged *j)
{
	if (j->is_said)
		(void)gossip_core_del(j->agent->core, agent_now_ms(j->agent), REPORT_KIND,
				      j->record, true);
	j->is_said = false;
}

static void on_check(const struct check_result *r, void *arg)
{
	struct judged *j = arg;
	struct model_health h = {.state = (uint8_t)r->state, .changed_unix_ms = agent_unix_ms()};
	uint8_t buf[RECORD_VALUE_MAX];
	int len, err;

	j->is_proven |= r->state == MODEL_HEALTH_PASSING;
	if (!j->is_proven)
		return;
	memcpy(h.why, r->why, sizeof(h.why));
	len = model_health_encode(&h, buf, sizeof(buf));
	err = len < 0 ? len
		      : gossip_core_put(j->agent->core, agent_now_ms(j->agent), REPORT_KIND,
					j->record, buf, (size_t)len, true);
	j->is_said |= !err;
	if (err)
		agent_log("warn", "verdict_not_told", "backend=%s error=\"%s\"", j->record,
			  strerror(-err));
	agent_pump(j->agent);
}

static void stop(struct agent *a, struct judged *j)
{
	check_stop(j->check);
	if (!a->is_closing)
		unsay(j);
	TAILQ_REMOVE(&a->judging->judged, j, link);
	a->judging->count--;
	free(j);
}

static void want(struct agent *a, const struct route_node *owner, const struct model_backend *b)
{
	struct check_of of = {.state = MODEL_HEALTH_UNKNOWN};
	struct judging *g = a->judging;
	char key[MODEL_KEY_MAX];
	struct judged *j;

	/* Programs are run for own backends only: a record of another's must not choose one, and one asks its own machine. */
	if (b->check.kind == MODEL_CHECK_NONE || b->check.kind == MODEL_CHECK_EXEC ||
	    ip_is_zero(&owner->node.mesh_addr) || model_backend_key(b, key))
		return;
	TAILQ_FOREACH(j, &g->judged, link)
	if (!node_id_cmp(&j->owner, &owner->id) && !strcmp(j->key, key)) {
		j->is_wanted = true;
		return;
	}
	j = g->count < JUDGED_MAX ? calloc(1, sizeof(*j)) : NULL;
	if (!j)
		return;
	j->agent = a;
	j->owner = owner->id;
	j->is_wanted = true;
	j->is_proven = ip_equal(&b->addr, &owner->node.mesh_addr);
	memcpy(j->key, key, sizeof(j->key));
	record_key(owner, key, j->record);
	of.addr = owner->node.mesh_addr;
	of.port = b->port;
	snprintf(of.name, sizeof(of.name), "%s", key);
	if (check_start(a->checks, &of, &b->check, on_check, j, &j->check)) {
		free(j);
		return;
	}
	TAILQ_INSERT_TAIL(&g->judged, j, link);
	g->count++;
	agent_log("info", "judging", "backend=%s why=\"its node is headless\"", j->record);
}

void agent_judge_tick(struct agent *a)
{
	const struct route_view *v = &a->world->view;
	struct judging *g = a->judging;
	struct judged *j, *next;

	TAILQ_FOREACH(j, &g->judged, link)
	j->is_wanted = false;
	for (size_t i = 0; i < v->backend_count; i++) {
		const struct route_node *owner = &v->node[v->backend[i].node_idx];
		size_t alive;

		if (owner->state == GOSSIP_HEADLESS &&
		    place_of(v, owner, &a->self, &alive) < JUDGES)
			want(a, owner, &v->backend[i].backend);
	}
	for (j = TAILQ_FIRST(&g->judged); j; j = next) {
		next = TAILQ_NEXT(j, link);
		if (!j->is_wanted)
			stop(a, j);
	}
}

/* ---- verdicts of all */

static bool make_id(const struct record *r, struct verdict_id *ret_id)
{
	memset(ret_id, 0, sizeof(*ret_id));
	if (r->key_len <= strlen(PREFIX) || r->key_len > RECORD_KEY_MAX ||
	    memcmp(r->key, PREFIX, strlen(PREFIX)) != 0)
		return false;
	ret_id->judge = r->writer;
	memcpy(ret_id->record, r->key, r->key_len);
	return true;
}

bool agent_judge_record(struct agent *a, const struct record *r, bool is_gone)
{
	struct judging *g = a->judging;
	struct verdict_id id;
	struct model_health h;
	struct verdict *d;

	if (!make_id(r, &id))
		return false;
	HASH_FIND(hh, g->verdicts, &id, sizeof(id), d);
	if (is_gone || r->is_tombstone) {
		if (d) {
			HASH_DEL(g->verdicts, d);
			free(d);
		}
		return d != NULL;
	}
	if (model_health_decode(r->value, r->value_len, &h))
		return false;
	if (!d) {
		d = HASH_COUNT(g->verdicts) < VERDICTS_MAX ? calloc(1, sizeof(*d)) : NULL;
		if (!d)
			return false;
		d->id = id;
		HASH_ADD(hh, g->verdicts, id, sizeof(d->id), d);
	}
	if (d->health.state != h.state)
		agent_say(a, "verdict", &r->writer, id.record + strlen(PREFIX), "%s: %s",
			  h.state == MODEL_HEALTH_PASSING ? "passing" : "failing", h.why);
	d->health = h;
	return true;
}

void agent_judge_apply(const struct agent *a, const struct route_node *node, size_t node_count,
		       const struct route_node *owner, const char *key, struct model_health *health)
{
	size_t failing = 0, passing = 0, alive = 0, needed;
	const struct model_health *last[MODEL_HEALTH_FAILING + 1] = {NULL};
	struct verdict_id id;

	if (owner->state != GOSSIP_HEADLESS)
		return;
	memset(&id, 0, sizeof(id));
	record_key(owner, key, id.record);
	for (size_t i = 0; i < node_count; i++) {
		struct verdict *d;

		if (node[i].state != GOSSIP_ALIVE || &node[i] == owner || node[i].is_summary)
			continue;
		alive++;
		id.judge = node[i].id;
		HASH_FIND(hh, a->judging->verdicts, &id, sizeof(id), d);
		if (!d)
			continue;
		last[d->health.state] = &d->health;
		passing += d->health.state == MODEL_HEALTH_PASSING;
		failing += d->health.state == MODEL_HEALTH_FAILING;
	}
	needed = alive < JUDGES ? alive : JUDGES;
	if (failing && !passing && failing >= needed)
		*health = *last[MODEL_HEALTH_FAILING];
	else if (passing && !failing && passing >= needed)
		*health = *last[MODEL_HEALTH_PASSING];
	health->cause =
		passing + failing >= needed && needed ? MODEL_CAUSE_OTHERS : MODEL_CAUSE_STALE;
}

/* ---- life */

int agent_judge_open(struct agent *a)
{
	a->judging = calloc(1, sizeof(*a->judging));
	if (!a->judging)
		return -ENOMEM;
	TAILQ_INIT(&a->judging->judged);
	return 0;
}

void agent_judge_close(struct agent *a)
{
	struct verdict *d, *next;
	struct judged *j;

	if (!a->judging)
		return;
	while ((j = TAILQ_FIRST(&a->judging->judged)))
		stop(a, j);
	HASH_ITER(hh, a->judging->verdicts, d, next)
	{
		HASH_DEL(a->judging->verdicts, d);
		free(d);
	}
	free(a->judging);
	a->judging = NULL;
}
