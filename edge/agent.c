/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edge/agent_int.h"

#define TICK_MS 1000
#define LOG_LINES_PER_S 200
/* A flow seed is made by the lowest live node, once nobody is behind; these bound how long that is waited for. */
#define SEED_ALONE_MS 2000
#define SEED_JOINED_MS 2000
#define SEED_BEHIND_MS 6000

void agent_log(const char *level, const char *event, const char *fmt, ...)
{
	static uint64_t window_s, lines, dropped;
	uint64_t now_s = uv_hrtime() / 1000000000;
	va_list ap;

	if (now_s != window_s) {
		if (dropped)
			fprintf(stderr, "warn agent log_suppressed lines=%llu\n",
				(unsigned long long)dropped);
		window_s = now_s;
		lines = dropped = 0;
	}
	if (++lines > LOG_LINES_PER_S) {
		dropped++;
		return;
	}
	fprintf(stderr, "%s agent %s ", level, event);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

uint64_t agent_now_ms(const struct agent *a)
{
	return a->loop ? gossip_loop_now_ms(a->loop) : uv_hrtime() / 1000000;
}

uint64_t agent_unix_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

const char *agent_node_name(const struct agent *a, const struct node_id *id,
			    char buf[MODEL_NAME_MAX])
{
	const struct route_node *n;
	struct gossip_member m;

	if (gossip_core_member_get(a->core, id, &m) && m.name[0])
		snprintf(buf, MODEL_NAME_MAX, "%s", m.name);
	else if ((n = agent_regions_node(a, id)))
		snprintf(buf, MODEL_NAME_MAX, "%s", n->node.name);
	else
		snprintf(buf, MODEL_NAME_MAX, "%02x%02x%02x%02x", id->b[0], id->b[1], id->b[2],
			 id->b[3]);
	return buf;
}

/* ---- computing */

static int renew_world(struct agent *a)
{
	struct world *w;
	int err;

	a->is_reshaped = true; /* until this one stands: facts point into it */
	a->is_plan_whole = false;
	err = agent_world_build(a, &w);
	if (err)
		return err;
	agent_world_free(a->world);
	a->world = w;
	a->is_reshaped = a->has_member_changed = a->has_verdict_changed = false;
	return 0;
}

void agent_compute(struct agent *a)
{
	uint64_t start_ns = uv_hrtime();
	int err;

	a->is_compute_armed = false;
	a->is_dirty = false;
	uv_timer_stop(&a->compute_timer);
	poison_batch_begin(a->poison);
	err = agent_world_update(a);
	if (err == -EAGAIN)
		err = renew_world(a);
	if (err) {
		poison_batch_end(a->poison, false);
		/* Out of memory: the former world stays in force; the tick tries again. */
		a->is_dirty = true;
		agent_log("error", "compute_failed", "error=\"%s\"", strerror(-err));
		return;
	}
	agent_maps_write(a);
	poison_batch_end(a->poison, true);
	a->computed_ms = agent_now_ms(a);
	a->compute_us = (uint32_t)((uv_hrtime() - start_ns) / 1000);
	if (a->compute_us > a->compute_us_max)
		a->compute_us_max = a->compute_us;
}

static void on_compute_timer(uv_timer_t *t)
{
	agent_compute(t->data);
}

void agent_kick(struct agent *a, bool is_urgent)
{
	uint64_t now = uv_now(a->uv), rest_ms = a->compute_us / 1000;
	uint64_t since_ms = agent_now_ms(a) - a->computed_ms, delay = AGENT_COALESCE_MS;

	/* Urgent ones of one burst fall together too: never more than half of the time goes into computing. */
	if (is_urgent)
		delay = since_ms < rest_ms ? rest_ms - since_ms : 0;

	a->is_dirty = true;
	if (a->is_closing || (a->is_compute_armed && a->compute_due_ms <= now + delay))
		return;
	a->is_compute_armed = true;
	a->compute_due_ms = now + delay;
	uv_timer_start(&a->compute_timer, on_compute_timer, delay, 0);
}

void agent_pump(struct agent *a)
{
	/* None yet: what the core queues leaves with the loop's first turn. */
	if (a->loop)
		gossip_loop_pump(a->loop);
}

/* ---- own node record */

int agent_put_node(struct agent *a)
{
	uint8_t buf[RECORD_VALUE_MAX];
	int len = model_node_encode(&a->cfg.self, buf, sizeof(buf));

	if (len < 0)
		return len;
	return gossip_core_put(a->core, agent_now_ms(a), MODEL_KIND_NODE, "node", buf, (size_t)len,
			       false);
}

/* ---- the flow seed */

const struct model_seed *agent_seed(const struct agent *a)
{
	const union fact_value *v = agent_fact_find(a, NULL, MODEL_KIND_SEED, "flow");

	return v ? &v->seed : NULL;
}

static void make_seed(struct agent *a)
{
	struct model_seed seed;
	uint8_t buf[64];
	int len, err;

	randombytes_buf(seed.key, sizeof(seed.key));
	len = model_seed_encode(&seed, buf, sizeof(buf));
	err = len < 0 ? len
		      : gossip_core_put(a->core, agent_now_ms(a), MODEL_KIND_SEED, "flow", buf,
					(size_t)len, true);
	agent_log(err ? "error" : "info", "seed_made", "status=%d", err);
	agent_pump(a);
}

/* Of other regions only the lowest nodes are known, which is enough. */
static bool is_elsewhere(const struct agent *a, size_t *live, bool *is_alone)
{
	size_t count = gossip_core_region_count(a->core);
	struct gossip_region r;

	*is_alone = count > 0;
	for (size_t i = 0; i < count; i++) {
		gossip_core_region_at(a->core, i, &r);
		if (r.is_own || r.is_dead || !r.sender_count)
			continue;
		*is_alone = false;
		*live += r.sender_count;
		for (size_t k = 0; k < r.sender_count; k++)
			if (node_id_cmp(&r.senders[k].id, &a->self) < 0)
				return true;
	}
	return false;
}

/* The live node with the lowest id makes it, when it has heard all that the others know. */
static void consider_seed(struct agent *a)
{
	uint64_t now = agent_now_ms(a), waited;
	bool is_behind = false, is_alone;
	size_t live = 0;

	if (agent_seed(a) || is_elsewhere(a, &live, &is_alone))
		return;
	for (size_t i = 0; i < gossip_core_member_count(a->core); i++) {
		struct gossip_member m;

		gossip_core_member_at(a->core, i, &m);
		if (m.is_self || m.state != GOSSIP_ALIVE || !m.heard_ms)
			continue;
		live++;
		is_behind |= m.is_behind;
		if (node_id_cmp(&m.id, &a->self) < 0)
			return;
	}
	if (live && !a->joined_ms)
		a->joined_ms = now;
	waited = now - (live ? a->joined_ms : a->opened_ms);
	if (!live ? waited >= (a->cfg.has_seeds ? AGENT_SEED_UNREACHED_MS : SEED_ALONE_MS)
		  : waited >= (is_behind || is_alone ? SEED_BEHIND_MS : SEED_JOINED_MS))
		make_seed(a);
}

/* ---- events */

static bool is_down(enum gossip_state s)
{
	switch (s) {
	case GOSSIP_ALIVE:
	case GOSSIP_HEADLESS:
		return false;
	case GOSSIP_SUSPECT:
	case GOSSIP_DEAD:
	case GOSSIP_LEFT:
		return true;
	}
	return true;
}

static const char *state_text(enum gossip_state s)
{
	switch (s) {
	case GOSSIP_ALIVE:
		return "alive";
	case GOSSIP_HEADLESS:
		return "headless";
	case GOSSIP_SUSPECT:
		return "suspect";
	case GOSSIP_DEAD:
		return "dead";
	case GOSSIP_LEFT:
		return "left";
	}
	return "?";
}

static void on_member(struct agent *a, const struct gossip_event *ev)
{
	const struct gossip_member *m = &ev->member;
	struct store_member sm = {.id = m->id,
				  .port = m->addr.port,
				  .has_forwarder = m->has_forwarder,
				  .state = (uint8_t)m->state,
				  .generation = m->generation};

	a->has_member_changed = true;
	if (ev->is_new || m->state != ev->old_state)
		agent_say(a, "member", &a->self, m->name, "%s, was %s", state_text(m->state),
			  ev->is_new ? "unknown" : state_text(ev->old_state));
	if (ev->is_new || m->state != ev->old_state)
		agent_log("info", "member", "node=%s region=%s state=%s was=%s", m->name, m->region,
			  state_text(m->state), ev->is_new ? "new" : state_text(ev->old_state));
	if (!m->is_self) {
		memcpy(sm.pub, m->pub, sizeof(sm.pub));
		memcpy(sm.ip, m->addr.ip, sizeof(sm.ip));
		snprintf(sm.name, sizeof(sm.name), "%s", m->name);
		snprintf(sm.region, sizeof(sm.region), "%s", m->region);
		/* A failure shows in store_get_status(), once; the commit's callback has nothing to add. */
		(void)store_write_member(a->store, &sm, NULL, NULL);
		agent_tables_newcomer(a, m);
	}
	/* Who left still serves: its word follows the tables that do without it. */
	if (is_down(m->state) && m->state != GOSSIP_LEFT)
		agent_maps_node_down(a, &m->id, m->state == GOSSIP_SUSPECT);
	if (is_down(m->state) && (ev->is_new || !is_down(ev->old_state))) {
		agent_kick(a, true);
	} else {
		agent_kick(a, false);
	}
}

struct generation_write {
	struct agent *agent; /* NULL: closed meanwhile, the store outlives it */
	uint64_t generation;
	LIST_ENTRY(generation_write) link;
};

static void on_generation_stored(int status, void *arg)
{
	struct generation_write *g = arg;
	struct agent *a = g->agent;

	if (status)
		agent_log("error", "generation_not_durable", "generation=%llu error=\"%s\"",
			  (unsigned long long)g->generation, strerror(-status));
	if (a) {
		LIST_REMOVE(g, link);
		gossip_core_set_generation(a->core, agent_now_ms(a), g->generation);
		agent_pump(a);
	}
	free(g);
}

static void forget_generations(struct agent *a)
{
	struct generation_write *g;

	while ((g = LIST_FIRST(&a->generations))) {
		LIST_REMOVE(g, link);
		g->agent = NULL;
	}
}

static void on_generation(struct agent *a, uint64_t generation)
{
	struct generation_write *g = malloc(sizeof(*g));
	int err;

	if (!g)
		return; /* the core asks again when it hears the higher one again */
	*g = (struct generation_write){.agent = a, .generation = generation};
	LIST_INSERT_HEAD(&a->generations, g, link);
	agent_log("warn", "generation",
		  "generation=%llu why=\"others know a higher one of this node\"",
		  (unsigned long long)generation);
	err = store_write_generation(a->store, generation, on_generation_stored, g);
	if (err)
		on_generation_stored(err, g);
}

/* A failure without an operator waiting shows in store_get_status(). */
static void store_record(struct agent *a, const struct record *r)
{
	struct agent_op *op = agent_ops_claim(a, r);
	int err = store_write_record(a->store, r, op ? agent_ops_stored : NULL, op);

	if (err && op)
		agent_ops_stored(err, op);
}

static void on_record(struct agent *a, const struct gossip_event *ev)
{
	enum agent_change change;
	char key[MODEL_KEY_MAX];

	if (record_scope_of(ev->record.kind) != RECORD_VOLATILE) {
		agent_regions_changed(a);
		if (node_id_cmp(&ev->record.writer, &a->self))
			a->record_ms = agent_now_ms(a);
		if (ev->kind == GOSSIP_EV_RECORD)
			store_record(a, &ev->record);
		else
			(void)store_delete_record(a->store, &ev->record, NULL, NULL);
	}
	a->record_now = &ev->record;
	a->record_us = uv_hrtime() / 1000;
	if (ev->record.kind == REPORT_KIND && !poison_is_held(a->poison, &ev->record)) {
		poison_begin(a->poison, &ev->record, NULL, 0);
		if (agent_judge_record(a, &ev->record, ev->kind == GOSSIP_EV_RECORD_GONE)) {
			a->has_verdict_changed = true;
			agent_kick(a, true);
		}
		if (ev->kind == GOSSIP_EV_RECORD)
			agent_report_record(a, &ev->record);
		poison_end(a->poison, false);
	}
	change = ev->kind == GOSSIP_EV_RECORD ? agent_fact_apply(a, &ev->record)
					      : agent_fact_gone(a, &ev->record);
	poison_batch_begin(a->poison);
	if (change == AGENT_URGENT) {
		/* Health that fails; its key is known to fit. */
		snprintf(key, sizeof(key), "%.*s", (int)ev->record.key_len,
			 (const char *)ev->record.key);
		agent_maps_backend_down(a, &ev->record.writer, key);
	}
	if (change != AGENT_SAME)
		agent_report_fact(a, &ev->record);
	poison_batch_end(a->poison, false);
	a->record_now = NULL;
	if (change != AGENT_SAME)
		agent_kick(a, change == AGENT_URGENT);
}

void agent_event(const struct gossip_event *ev, void *arg)
{
	struct agent *a = arg;
	char ip[IP_TEXT_MAX];

	if (a->is_closing)
		return;
	switch (ev->kind) {
	case GOSSIP_EV_MEMBER:
		on_member(a, ev);
		break;
	case GOSSIP_EV_RECORD:
	case GOSSIP_EV_RECORD_GONE:
		on_record(a, ev);
		break;
	case GOSSIP_EV_GENERATION:
		on_generation(a, ev->generation);
		break;
	case GOSSIP_EV_CONFLICT:
		agent_log("error", "conflict",
			  "node=%s address=%s why=\"same id, name or number twice\"",
			  ev->member.name,
			  ip_port_text((const struct ip_addr *)(const void *)ev->member.addr.ip,
				       ev->member.addr.port, ip));
		snprintf(a->conflict_text, sizeof(a->conflict_text),
			 "two nodes claim one identity: %s at %s has the id, name or number of "
			 "another",
			 ev->member.name, ip);
		a->conflict_ms = agent_now_ms(a);
		break;
	case GOSSIP_EV_ORIGIN:
		agent_origin_store(a, &ev->origin);
		break;
	case GOSSIP_EV_SUMMARY:
		agent_regions_summary(a, &ev->summary);
		break;
	case GOSSIP_EV_REGION:
		agent_regions_region(a, ev->region);
		break;
	}
}

static void on_tick(uv_timer_t *t)
{
	struct agent *a = t->data;

	consider_seed(a);
	if (a->next_expiry_s && agent_unix_ms() / 1000 >= a->next_expiry_s)
		agent_kick(a, false);
	else if (a->is_dirty)
		agent_kick(a, true);
	if (agent_stale_tick(a, agent_now_ms(a)))
		agent_fwd_announce(a);
	agent_judge_tick(a);
	agent_tiers_tick(a, agent_now_ms(a));
	agent_gray_tick(a, agent_now_ms(a));
	agent_maps_tick(a);
	agent_tables_tick(a);
	agent_regions_store(a, false);
	agent_traces_fail(a, agent_now_ms(a), "edgefwd gave no answer");
}

/* ---- open and close */

void agent_set_loop(struct agent *a, struct gossip_loop *loop)
{
	a->loop = loop;
}

static int find_self(struct agent *a)
{
	for (size_t i = 0; i < gossip_core_member_count(a->core); i++) {
		struct gossip_member m;

		gossip_core_member_at(a->core, i, &m);
		if (m.is_self) {
			a->self = m.id;
			return 0;
		}
	}
	return -EINVAL;
}

int agent_open(uv_loop_t *uv, const struct agent_config *cfg, struct gossip_core *core,
	       struct store *store, struct agent **ret_agent, struct err *e)
{
	struct agent *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	if (e)
		e->text[0] = 0;
	a->cfg = *cfg;
	a->uv = uv;
	a->core = core;
	a->store = store;
	a->watch_fd = -1;
	a->opened_ms = agent_now_ms(a);
	TAILQ_INIT(&a->own);
	TAILQ_INIT(&a->ops);
	LIST_INIT(&a->generations);
	uv_timer_init(uv, &a->compute_timer);
	uv_timer_init(uv, &a->tick_timer);
	a->compute_timer.data = a->tick_timer.data = a;
	a->open_handles = 2;
	agent_health_open(a);
	err = agent_health_checks(a);
	if (!err)
		err = find_self(a);
	if (!err)
		err = agent_report_open(a);
	if (!err)
		err = agent_judge_open(a);
	if (!err)
		err = agent_poison_open(a);
	if (!err)
		err = agent_regions_open(a);
	if (!err)
		err = agent_backends_init(a);
	if (!err)
		err = agent_load(a, e);
	if (!err) {
		agent_regions_load(a);
		agent_poison_try(a);
		poison_batch_begin(a->poison);
		err = renew_world(a);
		poison_batch_end(a->poison, false);
	}
	if (!err)
		err = agent_backends_watch(a);
	if (!err)
		err = agent_maps_open(a, e);
	if (err) {
		if (e && !e->text[0])
			err_set(e, err, "can't start the agent: %s", strerror(-err));
		agent_close(a, NULL, NULL);
		return err;
	}
	uv_timer_start(&a->tick_timer, on_tick, TICK_MS, TICK_MS);
	agent_regions_changed(a);
	agent_kick(a, true);
	*ret_agent = a;
	return 0;
}

static void free_all(struct agent *a)
{
	agent_facts_free(a);
	agent_regions_free(a);
	agent_world_free(a->world);
	poison_close(a->poison);
	free(a->slot);
	free(a->vip);
	free(a->reports);
	free(a);
}

void agent_handle_closed(struct agent *a)
{
	void (*cb)(void *arg) = a->close_cb;
	void *arg = a->close_arg;

	if (--a->open_handles)
		return;
	free_all(a);
	if (cb)
		cb(arg);
}

static void on_timer_closed(uv_handle_t *h)
{
	agent_handle_closed(h->data);
}

void agent_close(struct agent *a, void (*cb)(void *arg), void *arg)
{
	a->is_closing = true;
	a->close_cb = cb;
	a->close_arg = arg;
	agent_ops_cancel(a);
	agent_tables_close(a);
	agent_see_close(a);
	forget_generations(a);
	agent_judge_close(a);
	agent_regions_close(a);
	agent_backends_close(a);
	agent_maps_close(a);
	uv_close((uv_handle_t *)&a->compute_timer, on_timer_closed);
	uv_close((uv_handle_t *)&a->tick_timer, on_timer_closed);
	agent_health_close(a);
}
