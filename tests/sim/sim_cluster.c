/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/sim/sim_cluster.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "tests/sim/sim_watch.h"

#define EPOCH_S 1700000000ull /* what the nodes' clocks say at virtual time 0 */

/* ---- stub signatures: deterministic, and wrong for any other key or text */

static int stub_sign(void *arg, const uint8_t *msg, size_t len, uint8_t sig[NODE_SIG_BYTES])
{
	const struct sim_node *n = arg;
	uint64_t h = sim_mix(sim_mix(1, n->pub, NODE_PUB_BYTES), msg, len);

	memset(sig, 0x5a, NODE_SIG_BYTES);
	memcpy(sig, &h, sizeof(h));
	return 0;
}

static int stub_verify(void *arg, const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg, size_t len,
		       const uint8_t sig[NODE_SIG_BYTES])
{
	uint64_t h = sim_mix(sim_mix(1, pub, NODE_PUB_BYTES), msg, len);

	(void)arg;
	return memcmp(sig, &h, sizeof(h)) == 0 && sig[8] == 0x5a ? 0 : -EBADMSG;
}

static void stub_hash(void *arg, const uint8_t *msg, size_t len, uint8_t ret[16])
{
	uint64_t h[2] = {sim_mix(2, msg, len), sim_mix(3, msg, len)};

	(void)arg;
	memcpy(ret, h, 16);
}

static void stub_id_of(void *arg, const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id)
{
	stub_hash(arg, pub, NODE_PUB_BYTES, ret_id->b);
}

/* ---- disk */

static void disk_drop(struct sim_node *n, const struct record *r)
{
	struct sim_stored **p = &n->records;

	while (*p) {
		struct sim_stored *e = *p;

		if (e->r.kind == r->kind && e->r.key_len == r->key_len &&
		    memcmp(e->r.key, r->key, r->key_len) == 0 &&
		    (record_scope_of(r->kind) == RECORD_SHARED ||
		     node_id_cmp(&e->r.writer, &r->writer) == 0)) {
			*p = e->next;
			free(e);
			return;
		}
		p = &e->next;
	}
}

static void disk_put(struct sim_node *n, const struct record *r)
{
	struct sim_stored *e;

	if (!n->members || record_scope_of(r->kind) == RECORD_VOLATILE)
		return;
	disk_drop(n, r);
	e = malloc(sizeof(*e) + r->key_len + r->value_len);
	if (!e)
		abort();
	e->r = *r;
	memcpy(e->bytes, r->key, r->key_len);
	if (r->value_len > 0)
		memcpy(e->bytes + r->key_len, r->value, r->value_len);
	e->r.key = e->bytes;
	e->r.value = e->bytes + r->key_len;
	e->next = n->records;
	n->records = e;
}

static void disk_member(struct sim_node *n, const struct gossip_member *m)
{
	size_t i = 0;

	if (!n->members)
		return;
	while (i < n->member_count && node_id_cmp(&n->members[i].id, &m->id) != 0)
		i++;
	if (i == SIM_NODES_MAX)
		return;
	if (i == n->member_count)
		n->member_count++;
	n->members[i] = *m;
	n->members[i].incarnation = 0; /* as the store has it */
}

static void disk_origin(struct sim_node *n, const struct gossip_origin *o)
{
	size_t i = 0;

	if (!n->members)
		return;
	while (i < n->origin_count && node_id_cmp(&n->origins[i].id, &o->id) != 0)
		i++;
	if (i == SIM_NODES_MAX)
		return;
	if (i == n->origin_count)
		n->origin_count++;
	n->origins[i] = *o;
}

static void disk_summary(struct sim_node *n, const struct gossip_summary *x)
{
	struct sim_stored_summary *e;

	if (!n->members)
		return;
	for (e = n->summaries; e && strcmp(e->s.region, x->region) != 0; e = e->next)
		;
	if (!e) {
		e = calloc(1, sizeof(*e));
		if (!e)
			abort();
		e->next = n->summaries;
		n->summaries = e;
	}
	e->s = *x;
	free(e->bytes);
	e->bytes = malloc(x->len + 1);
	if (!e->bytes)
		abort();
	memcpy(e->bytes, x->value, x->len);
	e->s.value = e->bytes;
}

static void disk_wipe(struct sim_node *n)
{
	while (n->summaries) {
		struct sim_stored_summary *e = n->summaries;

		n->summaries = e->next;
		free(e->bytes);
		free(e);
	}
	while (n->records) {
		struct sim_stored *e = n->records;

		n->records = e->next;
		free(e);
	}
	n->member_count = n->origin_count = 0;
	n->generation = 0;
}

static void use_generation(struct sim_node *n, uint64_t generation)
{
	n->generation = generation;
	for (size_t i = 0; i < n->used_count; i++)
		if (n->used[i] == generation && n->used_twice_count < SIM_GENERATIONS_MAX)
			n->used_twice[n->used_twice_count++] = generation;
	if (n->used_count < SIM_GENERATIONS_MAX)
		n->used[n->used_count++] = generation;
}

/* ---- network */

static size_t node_at(const struct sim *s, const struct gossip_addr *a)
{
	size_t i = (size_t)a->ip[14] << 8 | a->ip[15];

	return i < s->cfg.nodes && memcmp(s->node[i].addr.ip, a->ip, sizeof(a->ip)) == 0 ? i
											 : SIZE_MAX;
}

static void send_one(struct sim *s, struct sim_node *n, const struct gossip_packet *p, size_t dst,
		     struct sim_payload *payload)
{
	struct sim_event e = {.src = n->idx, .dst = dst, .boot = n->boot, .payload = payload};
	uint64_t *order = &s->stream_at_ms[n->idx * s->cfg.nodes + dst];
	uint64_t ready_ms = sim_link_ready_ms(s, n->idx, dst);

	if (s->deny[n->idx * s->cfg.nodes + dst]) {
		payload->refs++;
		sim_queue_push(&s->queue, (struct sim_event){.at_ms = s->now_ms,
							     .kind = SIM_SEND_FAILED,
							     .src = dst,
							     .dst = n->idx,
							     .payload = payload});
		return;
	}
	e.at_ms = s->now_ms + sim_link_delay(s, n->idx, dst);
	if (p->via == GOSSIP_STREAM) {
		e.kind = SIM_STREAM;
		if (ready_ms > s->now_ms)
			e.at_ms += ready_ms - s->now_ms;
		if (e.at_ms < *order)
			e.at_ms = *order;
		*order = e.at_ms;
		payload->refs++;
		sim_queue_push(&s->queue, e);
		return;
	}
	e.kind = p->via == GOSSIP_DGRAM ? SIM_DGRAM : SIM_PING;
	if (sim_link_loses(s) || ready_ms > s->now_ms)
		return;
	if (s->cfg.damage_wire_pm && sim_below(&s->rng, 1000) < s->cfg.damage_wire_pm)
		return; /* the seal does not open */
	payload->refs++;
	sim_queue_push(&s->queue, e);
	if (sim_below(&s->rng, 100) < s->cfg.dup_pct) {
		e.at_ms += sim_link_delay(s, n->idx, dst);
		payload->refs++;
		sim_queue_push(&s->queue, e);
	}
}

uint64_t sim_clock(const struct sim *s, const struct sim_node *n)
{
	return s->now_ms + n->clock_ms;
}

static void arm(struct sim *s, struct sim_node *n)
{
	uint64_t clock = sim_clock(s, n), due = gossip_core_deadline_ms(n->core), at;

	if (due > clock + 3600000)
		return;
	at = s->now_ms + (due > clock ? due - clock : 1);
	if (at == n->timer_at_ms)
		return;
	n->timer_at_ms = at;
	sim_queue_push(&s->queue,
		       (struct sim_event){.at_ms = at, .kind = SIM_TIMER, .dst = n->idx});
}

void sim_pump(struct sim *s, size_t i)
{
	struct sim_node *n = &s->node[i];
	struct gossip_packet p;
	struct gossip_event ev;

	while (n->core && gossip_core_next_packet(n->core, &p)) {
		struct sim_payload *payload = sim_payload_new(p.buf, p.len);

		if (s->cfg.damage_inside_pm && p.via != GOSSIP_PING &&
		    sim_below(&s->rng, 1000) < s->cfg.damage_inside_pm) {
			struct sim_payload *bad = sim_link_corrupt(s, payload);

			sim_payload_unref(payload);
			payload = bad;
		}
		if (p.len > (p.via == GOSSIP_STREAM ? GOSSIP_STREAM_MAX : GOSSIP_DGRAM_MAX) ||
		    p.to_count > GOSSIP_FANOUT_MAX)
			abort();
		for (size_t k = 0; k < p.to_count; k++) {
			size_t dst = node_at(s, &p.to[k]);

			if (dst != SIZE_MAX)
				send_one(s, n, &p, dst, payload);
		}
		sim_payload_unref(payload);
	}
	while (gossip_core_next_event(n->core, &ev)) {
		if (ev.kind == GOSSIP_EV_RECORD) {
			disk_put(n, &ev.record);
		} else if (ev.kind == GOSSIP_EV_RECORD_GONE) {
			disk_drop(n, &ev.record);
		} else if (ev.kind == GOSSIP_EV_SUMMARY) {
			disk_summary(n, &ev.summary);
		} else if (ev.kind == GOSSIP_EV_MEMBER) {
			disk_member(n, &ev.member);
		} else if (ev.kind == GOSSIP_EV_ORIGIN) {
			disk_origin(n, &ev.origin);
		} else if (ev.kind == GOSSIP_EV_CONFLICT) {
			n->conflict_events++;
		} else if (ev.kind == GOSSIP_EV_GENERATION) {
			n->generation_events++;
			use_generation(n, ev.generation);
			gossip_core_set_generation(n->core, sim_clock(s, n), ev.generation);
		}
		n->is_summary_stale |= ev.kind == GOSSIP_EV_RECORD ||
				       ev.kind == GOSSIP_EV_RECORD_GONE ||
				       ev.kind == GOSSIP_EV_ORIGIN;
		if (s->watch)
			sim_watch_event(s, n, &ev);
		if (s->event_cb)
			s->event_cb(s, n, &ev, s->arg);
	}
	if (n->is_summary_stale && s->cfg.regions)
		sim_summary_put(s, n);
	if (!TAILQ_EMPTY(&n->core->out))
		sim_pump(s, i);
	else
		arm(s, n);
}

static void deliver(struct sim *s, const struct sim_event *e)
{
	struct sim_node *src = &s->node[e->src], *dst = &s->node[e->dst];
	struct gossip_sender sender = {.id = src->id, .boot_nonce = e->boot};
	bool is_path = sim_link_is_up(s, e->src, e->dst);
	struct sim_event back = {.src = e->dst, .dst = e->src, .payload = e->payload};

	if (s->watch && dst->life == SIM_UP)
		sim_watch_packet(s, e, is_path);
	switch (e->kind) {
	case SIM_TIMER:
		if (dst->life == SIM_UP && dst->timer_at_ms == e->at_ms)
			gossip_core_tick(dst->core, sim_clock(s, dst));
		break;
	case SIM_DGRAM:
		if (dst->life == SIM_UP && is_path)
			(void)gossip_core_recv(dst->core, sim_clock(s, dst), GOSSIP_DGRAM, &sender,
					       &src->addr, e->payload->bytes, e->payload->len);
		break;
	case SIM_STREAM:
		if (dst->life == SIM_UP && is_path && sim_link_is_up(s, e->dst, e->src)) {
			(void)gossip_core_recv(dst->core, sim_clock(s, dst), GOSSIP_STREAM, &sender,
					       &src->addr, e->payload->bytes, e->payload->len);
		} else {
			back.kind = SIM_SEND_FAILED;
			back.at_ms = s->now_ms + 100;
			e->payload->refs++;
			sim_queue_push(&s->queue, back);
		}
		break;
	case SIM_PING:
		if (dst->life == SIM_OFF || !is_path || s->cfg.no_forwarder || dst->no_forwarder ||
		    sim_link_loses(s))
			break;
		back.kind = SIM_PONG;
		back.at_ms = s->now_ms + sim_link_delay(s, e->dst, e->src);
		e->payload->refs++;
		sim_queue_push(&s->queue, back);
		break;
	case SIM_PONG:
		if (dst->life == SIM_UP && is_path)
			(void)gossip_core_recv(dst->core, sim_clock(s, dst), GOSSIP_PING, NULL,
					       &src->addr, e->payload->bytes, e->payload->len);
		break;
	case SIM_SEND_FAILED:
		if (dst->life == SIM_UP)
			gossip_core_send_failed(dst->core, sim_clock(s, dst), GOSSIP_STREAM,
						&src->addr, -ECONNRESET);
		break;
	}
	if (dst->life == SIM_UP)
		sim_pump(s, dst->idx);
}

/* A frozen process finds its packets when it thaws, and only then its timer; a slow one is late with everything. */
static bool is_put_off(struct sim *s, struct sim_event *e)
{
	struct sim_node *n = &s->node[e->dst];

	if (n->slow_ms && n->life == SIM_UP && !e->is_late && e->kind != SIM_PING &&
	    s->now_ms >= n->frozen_until_ms &&
	    (e->kind != SIM_TIMER || n->timer_at_ms == e->at_ms)) {
		e->is_late = true;
		e->at_ms += sim_below(&s->rng, n->slow_ms);
		if (e->kind == SIM_TIMER)
			n->timer_at_ms = e->at_ms;
		sim_queue_push(&s->queue, *e);
		return true;
	}
	if (e->kind == SIM_PING || n->life != SIM_UP || s->now_ms >= n->frozen_until_ms)
		return false;
	if (e->kind == SIM_TIMER && n->timer_at_ms != e->at_ms)
		return false;
	e->at_ms = n->frozen_until_ms + (e->kind == SIM_TIMER);
	if (e->kind == SIM_TIMER)
		n->timer_at_ms = e->at_ms;
	sim_queue_push(&s->queue, *e);
	return true;
}

void sim_run(struct sim *s, uint64_t ms)
{
	uint64_t until = s->now_ms + ms;
	struct sim_event e;

	while (sim_queue_pop(&s->queue, until, &e)) {
		s->now_ms = e.at_ms;
		/* Another deadline has taken its place. */
		if (e.kind == SIM_TIMER && s->node[e.dst].timer_at_ms != e.at_ms)
			continue;
		if (is_put_off(s, &e))
			continue;
		deliver(s, &e);
		sim_payload_unref(e.payload);
		if (++s->steps % s->cfg.check_every == 0 && s->node[e.dst].core)
			gossip_core_check(s->node[e.dst].core);
		if (s->watch && s->node[e.dst].core)
			sim_watch_step(s, &s->node[e.dst]);
	}
	s->now_ms = until;
}

int64_t sim_run_until(struct sim *s, bool (*is_true)(struct sim *s, void *arg), void *arg,
		      uint64_t limit_ms)
{
	uint64_t start = s->now_ms;

	for (;;) {
		if (is_true(s, arg))
			return (int64_t)(s->now_ms - start);
		if (s->now_ms >= start + limit_ms)
			return -1;
		sim_run(s, 10);
	}
}

/* ---- life of nodes */

struct sim *sim_new(const struct sim_config *cfg)
{
	struct sim *s = calloc(1, sizeof(*s));

	if (!s || (cfg->nodes > SIM_NODES_MAX && !cfg->has_no_disk))
		abort();
	s->cfg = *cfg;
	if (!s->cfg.check_every)
		s->cfg.check_every = 4999;
	s->now_ms = 1000000;
	s->rng = sim_mix(7, &cfg->seed, sizeof(cfg->seed));
	s->node = calloc(cfg->nodes, sizeof(*s->node));
	s->stream_at_ms = calloc(cfg->nodes * cfg->nodes, sizeof(*s->stream_at_ms));
	s->cut = calloc(cfg->nodes * cfg->nodes, sizeof(*s->cut));
	s->deny = calloc(cfg->nodes * cfg->nodes, sizeof(*s->deny));
	s->tunnel = calloc(cfg->nodes * cfg->nodes, sizeof(*s->tunnel));
	if (!s->node || !s->stream_at_ms || !s->cut || !s->deny || !s->tunnel)
		abort();
	for (size_t i = 0; i < cfg->nodes; i++) {
		struct sim_node *n = &s->node[i];

		n->idx = n->name_idx = i;
		n->members = cfg->has_no_disk ? NULL : calloc(SIM_NODES_MAX, sizeof(*n->members));
		n->region = i % (cfg->regions ? cfg->regions : SIM_REGIONS);
		for (size_t k = 0; k < NODE_PUB_BYTES; k++)
			n->pub[k] = (uint8_t)sim_random(&s->rng);
		stub_id_of(NULL, n->pub, &n->id);
		n->addr.ip[10] = n->addr.ip[11] = 0xff;
		n->addr.ip[12] = 10;
		n->addr.ip[14] = (uint8_t)(i >> 8);
		n->addr.ip[15] = (uint8_t)i;
		n->addr.port = 7946;
	}
	return s;
}

static void stop(struct sim_node *n, enum sim_life life)
{
	gossip_core_free(n->core);
	n->core = NULL;
	n->life = life;
	n->timer_at_ms = n->frozen_until_ms = 0;
	n->life_count++;
}

void sim_free(struct sim *s)
{
	for (size_t i = 0; i < s->cfg.nodes; i++) {
		stop(&s->node[i], SIM_OFF);
		disk_wipe(&s->node[i]);
		free(s->node[i].members);
	}
	sim_queue_done(&s->queue);
	sim_watch_end(s);
	free(s->stream_at_ms);
	free(s->cut);
	free(s->deny);
	free(s->tunnel);
	free(s->node);
	free(s);
}

/* What the daemon does: load everything, then put its own records again under the new generation. */
static void load_disk(struct sim *s, struct sim_node *n)
{
	struct sim_stored *own = NULL, *e, *next, *all = n->records;

	for (struct sim_stored_summary *x = n->summaries; x; x = x->next)
		(void)gossip_core_load_summary(n->core, &x->s);
	n->records = NULL;
	for (size_t i = 0; i < n->member_count; i++)
		(void)gossip_core_load_member(n->core, &n->members[i]);
	for (e = all; e; e = next) {
		next = e->next;
		if (record_scope_of(e->r.kind) == RECORD_OWN &&
		    node_id_cmp(&e->r.writer, &n->id) == 0) {
			e->next = own;
			own = e;
			continue;
		}
		if (gossip_core_load_record(n->core, &e->r) == 0) {
			e->next = n->records;
			n->records = e;
		} else {
			free(e);
		}
	}
	for (size_t i = 0; i < n->origin_count; i++)
		if (gossip_core_load_origin(n->core, &n->origins[i]))
			n->stale_origins++;
	for (e = own; e; e = next) {
		char key[RECORD_KEY_MAX + 1] = "";

		next = e->next;
		memcpy(key, e->r.key, e->r.key_len);
		if (!e->r.is_tombstone && e->r.kind != RECORD_KIND_HEAD)
			(void)gossip_core_put(n->core, sim_clock(s, n), e->r.kind, key, e->r.value,
					      e->r.value_len, false);
		free(e);
	}
}

void sim_start(struct sim *s, size_t i)
{
	struct sim_node *n = &s->node[i];
	uint64_t unix_s = EPOCH_S + s->now_ms / 1000 + (uint64_t)n->clock_skew_s;
	struct gossip_config cfg = {
		.addr = n->addr,
		.has_forwarder = !s->cfg.no_forwarder && !n->no_forwarder,
		.signer = {.arg = n,
			   .sign = stub_sign,
			   .verify = stub_verify,
			   .id_of = stub_id_of,
			   .hash = stub_hash},
		.seed = sim_random(&s->rng),
		.boot_nonce = sim_random(&s->rng),
		.records_max = s->cfg.records_max,
		.probe_interval_ms = s->cfg.probe_interval_ms,
	};
	struct gossip_addr seeds[2] = {s->node[0].addr, s->node[s->cfg.nodes > 1].addr};
	struct err e = {0};

	if (s->cfg.has_region_seeds) {
		seeds[0] = s->node[n->region].addr;
		seeds[1] = s->node[(n->region + 1) % s->cfg.regions].addr;
	}
	stop(n, SIM_UP);
	use_generation(n, (n->generation > unix_s ? n->generation : unix_s) + 1);
	cfg.generation = n->generation;
	n->boot = cfg.boot_nonce;
	snprintf(cfg.name, sizeof(cfg.name), "n%zu", n->name_idx);
	cfg.has_regions = s->cfg.regions > 0;
	if (s->cfg.regions)
		(void)sim_region_of(s, n, cfg.region);
	else if (s->cfg.has_regions)
		snprintf(cfg.region, sizeof(cfg.region), "%s", sim_region_name(n->region));
	else
		snprintf(cfg.region, sizeof(cfg.region), "r%zu", i % 3);
	memcpy(cfg.pub, n->pub, sizeof(cfg.pub));
	if (s->cfg.config_cb)
		s->cfg.config_cb(n, &cfg, s->cfg.config_arg);
	if (gossip_core_new(&cfg, sim_clock(s, n), &n->core, &e)) {
		fprintf(stderr, "gossip_core_new: %s\n", e.text);
		abort();
	}
	load_disk(s, n);
	gossip_core_join(n->core, sim_clock(s, n), seeds, s->cfg.has_one_seed ? 1 : 2);
	sim_pump(s, i);
}

void sim_start_all(struct sim *s, uint64_t within_ms)
{
	uint64_t *at = calloc(s->cfg.nodes, sizeof(*at)), t;

	if (!at)
		abort();
	for (size_t i = 0; i < s->cfg.nodes; i++)
		at[i] = s->now_ms + sim_below(&s->rng, within_ms + 1);
	for (t = s->now_ms; t <= s->now_ms + within_ms && within_ms + 1 > 0;) {
		for (size_t i = 0; i < s->cfg.nodes; i++)
			if (at[i] == s->now_ms)
				sim_start(s, i);
		if (within_ms == 0)
			break;
		within_ms--;
		sim_run(s, 1);
		t = s->now_ms;
	}
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (s->node[i].life != SIM_UP)
			sim_start(s, i);
	free(at);
}

void sim_crash(struct sim *s, size_t i)
{
	stop(&s->node[i], SIM_CRASHED);
}

void sim_off(struct sim *s, size_t i)
{
	stop(&s->node[i], SIM_OFF);
}

void sim_wipe(struct sim *s, size_t i)
{
	disk_wipe(&s->node[i]);
	s->node[i].disk_count++;
}

void sim_freeze(struct sim *s, size_t i, uint64_t ms)
{
	s->node[i].frozen_until_ms = s->now_ms + ms;
}

bool sim_is_running(const struct sim *s, size_t i)
{
	return s->node[i].life == SIM_UP && s->now_ms >= s->node[i].frozen_until_ms;
}

void sim_leave(struct sim *s, size_t i)
{
	gossip_core_leave(s->node[i].core, sim_clock(s, &s->node[i]));
	sim_pump(s, i);
	stop(&s->node[i], SIM_OFF);
}

void sim_move(struct sim *s, size_t i)
{
	s->node[i].addr.ip[13]++;
}

void sim_clone(struct sim *s, size_t from, size_t copy)
{
	struct sim_node *a = &s->node[from], *b = &s->node[copy];

	stop(b, SIM_OFF);
	disk_wipe(b);
	memcpy(b->pub, a->pub, sizeof(b->pub));
	b->id = a->id;
	b->name_idx = a->name_idx;
	b->generation = a->generation;
	memcpy(b->members, a->members, SIM_NODES_MAX * sizeof(*b->members));
	b->member_count = a->member_count;
	for (const struct sim_stored *e = a->records; e; e = e->next)
		disk_put(b, &e->r);
}
