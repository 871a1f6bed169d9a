/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A control socket over a mesh that is made up: real server, real routes; agent, core, store and counters are what this
 * file says. For one test program each: it defines their functions.
 *
 * The mesh: a1 (ams, self), f1 (fra, headless), s1 (sin, dead), s2 (sin, suspect, differs). Services: dns (IPv4 and IPv6,
 * backends on a1, f1, s1), web (no backend). */
#ifndef TESTS_UNIT_CTL_FAKE_H
#define TESTS_UNIT_CTL_FAKE_H

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cmd/ctl_int.h"
#include "edge/plan.h"
#include "gossip/reach.h"

#define FAKE_NOW_MS 1000000u

enum fake_answer { FAKE_NOW, FAKE_LATER, FAKE_AT_CLOSE };

struct fake {
	uv_loop_t uv;
	uv_async_t wake;
	uv_timer_t later;
	pthread_t thread;
	struct ctl *ctl;
	struct ctl_config cfg;
	char dir[64], path[96];
	/* what it shows */
	struct route_node node[4];
	struct gossip_member member[4];
	struct gossip_shared shared;
	struct model_service service[2];
	struct route_backend backend[3];
	struct model_health health[3];
	struct route_view view;
	struct route_plan *routes;
	struct dp_fds fds;
	bool has_maps, is_stopping;
	/* what it was asked to do */
	enum fake_answer answer;
	int status;
	const char *text;
	agent_cb pending_cb;
	void *pending_arg;
	struct model_service got_service;
	struct model_backend got_backend;
	struct model_filter filter[3], got_filter;
	size_t filter_count;
	char got_policy[MODEL_POLICIES_MAX][80];
	size_t got_policies;
	char got_spec[CTL_SPEC_MAX], got_author[64], got_reason[80];
	bool got_drain;
	uint32_t got_weight;
	unsigned verbs;
	/* verify, plan */
	enum fake_verify { FAKE_VERIFY_ANSWERS, FAKE_VERIFY_DIES, FAKE_VERIFY_HANGS } verify;
	uint64_t map_writes;
	bool is_writing; /* between any two looks at map_writes */
	/* looking at packets */
	uint32_t hist_every;
	const void *capture_owner;
	struct capture_config capture_cfg;
	unsigned captures;
	struct capture_frame frame[4];
	size_t frame_count;
	struct dp_trace trace;
	uint8_t traced[128];
	size_t traced_bytes;
};
static struct fake fake;

/* ---- the agent */

static void fake_answer_pending(int status, const char *text)
{
	agent_cb cb = fake.pending_cb;

	fake.pending_cb = NULL;
	if (cb)
		cb(status, text, fake.pending_arg);
}

static void fake_on_later(uv_timer_t *t)
{
	(void)t;
	fake_answer_pending(fake.status, fake.text);
}

static void fake_verb(agent_cb cb, void *arg)
{
	fake.verbs++;
	fake.pending_cb = cb;
	fake.pending_arg = arg;
	if (fake.answer == FAKE_NOW)
		fake_answer_pending(fake.status, fake.text);
	else if (fake.answer == FAKE_LATER)
		uv_timer_start(&fake.later, fake_on_later, 20, 0);
}

void agent_service_add(struct agent *a, const struct model_service *s, agent_cb cb, void *arg)
{
	(void)a;
	fake.got_service = *s;
	fake_verb(cb, arg);
}

void agent_service_rm(struct agent *a, const char *name, agent_cb cb, void *arg)
{
	(void)a;
	snprintf(fake.got_spec, sizeof(fake.got_spec), "%s", name);
	fake_verb(cb, arg);
}

void agent_backend_add(struct agent *a, const struct model_backend *b, agent_cb cb, void *arg)
{
	(void)a;
	fake.got_backend = *b;
	fake_verb(cb, arg);
}

void agent_backend_rm(struct agent *a, const char *spec, agent_cb cb, void *arg)
{
	agent_service_rm(a, spec, cb, arg);
}

void agent_backend_weight(struct agent *a, const char *spec, uint32_t weight, agent_cb cb,
			  void *arg)
{
	fake.got_weight = weight;
	agent_service_rm(a, spec, cb, arg);
}

void agent_backend_drain(struct agent *a, const char *spec, bool is_drained, const char *author,
			 const char *reason, agent_cb cb, void *arg)
{
	fake.got_drain = is_drained;
	snprintf(fake.got_author, sizeof(fake.got_author), "%s", author);
	snprintf(fake.got_reason, sizeof(fake.got_reason), "%s", reason);
	agent_service_rm(a, spec, cb, arg);
}

void agent_drain(struct agent *a, enum agent_drain_scope scope, const char *name, bool is_drained,
		 const struct agent_order *order, agent_cb cb, void *arg)
{
	(void)scope;
	agent_backend_drain(a, name, is_drained, order->author, order->reason, cb, arg);
}

void agent_node_rm(struct agent *a, const char *name, const struct agent_order *order, agent_cb cb,
		   void *arg)
{
	agent_backend_drain(a, name, true, order->author, order->reason, cb, arg);
}

void agent_node_restore(struct agent *a, const char *name, agent_cb cb, void *arg)
{
	agent_backend_drain(a, name, false, "", "", cb, arg);
}

void agent_service_set(struct agent *a, const char *name, const char *const *policy, size_t count,
		       agent_cb cb, void *arg)
{
	for (size_t i = 0; i < count; i++)
		snprintf(fake.got_policy[i], sizeof(fake.got_policy[i]), "%s", policy[i]);
	fake.got_policies = count;
	agent_service_rm(a, name, cb, arg);
}

void agent_filter_add(struct agent *a, const struct model_filter *f, agent_cb cb, void *arg)
{
	(void)a;
	fake.got_filter = *f;
	fake_verb(cb, arg);
}

void agent_filter_rm(struct agent *a, const char *service, const struct ip_prefix *prefix,
		     agent_cb cb, void *arg)
{
	(void)a;
	fake.got_filter = (struct model_filter){.prefix = *prefix};
	snprintf(fake.got_filter.service, sizeof(fake.got_filter.service), "%s", service);
	fake_verb(cb, arg);
}

const struct model_filter *agent_filter_next(const struct agent *a, const void **cursor)
{
	const struct model_filter *f =
		*cursor ? (const struct model_filter *)*cursor + 1 : fake.filter;

	(void)a;
	if (f == fake.filter + fake.filter_count)
		return NULL;
	*cursor = f;
	return f;
}

void agent_look(struct agent *a, struct agent_view *ret_view)
{
	(void)a;
	*ret_view = (struct agent_view){
		.view = &fake.view,
		.routes = fake.routes,
		.plan = fake.has_maps ? (const struct plan_state *)&fake : NULL,
		.fds = fake.has_maps ? &fake.fds : NULL,
		.is_fwd_up = true,
		.fwd_text = "connected",
		.is_ready = true,
		.routes_at_ms = FAKE_NOW_MS - 500,
		.compute_us = 120,
		.compute_us_max = 300,
		.problem = {"the made-up problem"},
		.problem_count = 1,
	};
}

bool agent_check_look(const struct agent *a, size_t backend_idx, struct check_look *ret_look)
{
	(void)a;
	if (backend_idx != 0)
		return false;
	*ret_look = (struct check_look){.last = CHECK_WARN,
					.output = "exit 1: disk 91 % full",
					.took_us = 3210,
					.streak = 4,
					.next_ms = 700};
	return true;
}

bool agent_health(struct agent *a, size_t backend_idx, struct model_health *ret_health)
{
	(void)a;
	if (backend_idx >= fake.view.backend_count)
		return false;
	*ret_health = fake.health[backend_idx];
	return true;
}

/* ---- looking at packets: hist keeps `every`; a capture gives what fake.frame holds, once; a trace says what fake.trace does */

int agent_hist_set(struct agent *a, uint32_t every, struct err *e)
{
	(void)a;
	if (!fake.has_maps)
		return err_set(e, -ENOTCONN, "no forwarder: made up");
	fake.hist_every = every;
	return 0;
}

int agent_hist_get(struct agent *a, uint32_t *ret_every, struct hist ret_hist[DP_HOOK_COUNT],
		   struct err *e)
{
	(void)a;
	if (!fake.has_maps)
		return err_set(e, -ENOTCONN, "no forwarder: made up");
	memset(ret_hist, 0, DP_HOOK_COUNT * sizeof(*ret_hist));
	for (size_t i = 0; i < DP_HOOK_COUNT; i++)
		ret_hist[i].name = i == DP_HOOK_PUB_IN ? "pub_in" : "other";
	ret_hist[DP_HOOK_PUB_IN].runs = 10;
	ret_hist[DP_HOOK_PUB_IN].sum_ns = 3000;
	ret_hist[DP_HOOK_PUB_IN].slot[7] = 6;
	ret_hist[DP_HOOK_PUB_IN].slot[8] = 4;
	*ret_every = fake.hist_every;
	return 0;
}

int agent_capture_start(struct agent *a, const void *owner, const struct capture_config *cfg,
			struct err *e)
{
	(void)a;
	if (fake.capture_owner)
		return err_set(e, -EBUSY, "a capture is going on already, since 0 s");
	fake.capture_owner = owner;
	fake.capture_cfg = *cfg;
	fake.captures++;
	return 0;
}

int agent_capture_read(struct agent *a, const void *owner, capture_cb cb, void *arg, struct err *e)
{
	struct capture_batch b = {.frame = fake.frame, .count = fake.frame_count, .lost = 7};

	(void)a;
	if (owner != fake.capture_owner)
		return err_set(e, -ENOENT, "no capture of yours is going on");
	fake.frame_count = 0;
	cb(0, &b, arg);
	return 0;
}

void agent_capture_stop(struct agent *a, const void *owner)
{
	(void)a;
	if (owner == fake.capture_owner)
		fake.capture_owner = NULL;
}

void agent_trace(struct agent *a, const uint8_t *frame, size_t bytes, agent_trace_cb cb, void *arg)
{
	(void)a;
	memcpy(fake.traced, frame, bytes);
	fake.traced_bytes = bytes;
	if (!fake.has_maps)
		cb(-ENOTCONN, "made up", NULL, arg);
	else
		cb(0, "", &fake.trace, arg);
}

/* ---- core, loop, store, counters */

size_t gossip_core_member_count(const struct gossip_core *c)
{
	(void)c;
	return fake.view.node_count;
}

void gossip_core_member_at(const struct gossip_core *c, size_t i, struct gossip_member *ret_member)
{
	(void)c;
	*ret_member = fake.member[i];
}

/* a1 hears f1, which does not hear a1; f1 stands still for a part of the time. s2 has said nothing. */
size_t reach_collect(const struct gossip_core *c, struct reach_node *ret_nodes, size_t max)
{
	(void)c;
	for (size_t i = 0; i < 4 && i < max; i++) {
		const struct gossip_member *m = &fake.member[i];

		ret_nodes[i] = (struct reach_node){.id = m->id,
						   .name = m->name,
						   .region = m->region,
						   .is_up = m->state <= GOSSIP_SUSPECT,
						   .has_row = i < 2,
						   .row_ms = i < 2 ? FAKE_NOW_MS - 2000 : 0};
	}
	if (max >= 2) {
		struct reach_row *row = &ret_nodes[0].row;

		row->peer_count = 1;
		row->peer[0] = (struct reach_peer){.cause = REACH_DEAF, .age_s = 3};
		memcpy(row->peer[0].number, fake.member[1].id.b, 4);
		row->region_count = 1;
		row->region[0] = (struct reach_region){reach_region_of("fra"), {9, 1}};
		ret_nodes[1].row.stall_pct = 30;
	}
	return max < 4 ? max : 4;
}

bool gossip_core_has_yielded(const struct gossip_core *c, struct gossip_addr *ret_addr)
{
	(void)c;
	(void)ret_addr;
	return false;
}

void gossip_core_shared(const struct gossip_core *c, struct gossip_shared *ret_shared)
{
	(void)c;
	*ret_shared = fake.shared;
}

bool gossip_core_member_get(const struct gossip_core *c, const struct node_id *id,
			    struct gossip_member *ret_member)
{
	for (size_t i = 0; i < gossip_core_member_count(c); i++) {
		gossip_core_member_at(c, i, ret_member);
		if (node_id_cmp(&ret_member->id, id) == 0)
			return true;
	}
	return false;
}

void gossip_core_digest(const struct gossip_core *c, uint8_t ret_digest[16])
{
	(void)c;
	memset(ret_digest, 0xab, 16);
}

uint8_t gossip_core_version(const struct gossip_core *c, struct version_range *ret_own)
{
	(void)c;
	if (ret_own)
		*ret_own = (struct version_range){1, 1};
	return 1;
}

void gossip_core_counters(const struct gossip_core *c, struct gossip_counters *ret_counters)
{
	(void)c;
	*ret_counters = (struct gossip_counters){.dgrams_in = 7, .refutations = 1};
}

/* ---- the key ring, as far as the verbs go */
bool keyring_at(struct keyring *k, uint64_t now_ms, size_t i, struct keyring_key *ret_key)
{
	(void)k, (void)now_ms, (void)i, (void)ret_key;
	return false;
}
int keyring_add(struct keyring *k, uint64_t now_ms, struct seal_key_id *ret_id, struct err *e)
{
	(void)k, (void)now_ms, (void)ret_id, (void)e;
	return 0;
}
int keyring_use(struct keyring *k, uint64_t now_ms, const char *id, bool is_forced, struct err *e)
{
	(void)k, (void)now_ms, (void)id, (void)is_forced, (void)e;
	return 0;
}
int keyring_rm(struct keyring *k, uint64_t now_ms, const char *id, bool is_forced, struct err *e)
{
	(void)k, (void)now_ms, (void)id, (void)is_forced, (void)e;
	return 0;
}
bool keyring_told_of(const struct gossip_core *c, const struct node_id *id,
		     struct keyring_told *ret_told)
{
	(void)c, (void)id, (void)ret_told;
	return false;
}
bool keyring_holds(const struct keyring_told *t, const struct seal_key_id *id)
{
	(void)t, (void)id;
	return false;
}
const char *keyring_id_text(const struct seal_key_id *id, char buf[KEYRING_ID_TEXT])
{
	(void)id;
	buf[0] = 0;
	return buf;
}
void gossip_loop_pump(struct gossip_loop *l)
{
	(void)l;
}

uint64_t gossip_loop_now_ms(const struct gossip_loop *l)
{
	(void)l;
	return FAKE_NOW_MS;
}

void gossip_loop_counters(const struct gossip_loop *l, struct gossip_loop_counters *ret_counters)
{
	(void)l;
	*ret_counters = (struct gossip_loop_counters){.unsealed = 3};
}

void store_get_status(const struct store *s, struct store_status *ret_status)
{
	(void)s;
	*ret_status = (struct store_status){.commits = 12, .queued = 1};
}

int plan_prev_digest(const struct plan_state *s, const char *service, uint8_t family,
		     struct ip_port_range part, struct plan_prev *ret_prev)
{
	(void)s;
	(void)service;
	(void)part;
	if (family != 4)
		return -ENOENT;
	*ret_prev = (struct plan_prev){.digest = {0xab, 0xcd, 0xef, 0x01}, .row_count = 30};
	return 0;
}

uint32_t plan_svc_idx(const struct plan_state *s, const char *service, uint8_t family,
		      struct ip_port_range part)
{
	(void)part;
	(void)s;
	return strcmp(service, "dns") ? 0 : family;
}

uint32_t plan_node_idx(const struct plan_state *s, const struct node_id *id)
{
	(void)s;
	return id->b[0];
}

/* One record in quarantine; maps with one difference; another node that agrees, or has said nothing. */
/* Two events; the second one reached two edges. */
/* Other regions, where a test has some. */
static struct gossip_region fake_region[2];
static size_t fake_region_count;

size_t gossip_core_region_count(const struct gossip_core *c)
{
	(void)c;
	return fake_region_count;
}

void gossip_core_region_at(const struct gossip_core *c, size_t i, struct gossip_region *ret_region)
{
	(void)c;
	*ret_region = fake_region[i];
}

bool agent_region_look(const struct agent *a, const char *name, struct agent_region_view *ret_view)
{
	(void)a;
	*ret_view = (struct agent_region_view){
		.version = fake_region[0].version, .nodes = 2, .services = 1, .ways = 2};
	return !strcmp(name, fake_region[0].name);
}

const struct reports *agent_events(const struct agent *a)
{
	static struct reports r;
	struct report_event *e;

	(void)a;
	if (r.next_seq)
		return &r;
	e = report_event_new(&r);
	e->kind = "member";
	snprintf(e->who, sizeof(e->who), "fra-1");
	snprintf(e->what, sizeof(e->what), "fra-2");
	snprintf(e->text, sizeof(e->text), "dead, was suspect");
	e = report_event_new(&r);
	e->kind = "health";
	snprintf(e->what, sizeof(e->what), "dns/10.0.0.1:53");
	snprintf(e->text, sizeof(e->text), "failing: \033[31mport unreachable");
	e->sum = (struct report_sum){.edges = 2, .p50_us = 1500, .p99_us = 2500, .most_us = 2500};
	return &r;
}

bool agent_quarantine_at(const struct agent *a, size_t i, struct agent_quarantined *ret_q)
{
	(void)a;
	if (i > 0)
		return false;
	*ret_q = (struct agent_quarantined){.spec = "service/bad",
					    .kind = "service",
					    .key = "bad",
					    .writer = "fra-1",
					    .is_death = true,
					    .signal = 11,
					    .has_former = true};
	return true;
}

int agent_quarantine_release(struct agent *a, const char *spec, struct err *e)
{
	(void)a;
	return strcmp(spec, "service/bad") == 0
		       ? 0
		       : err_set(e, -ENOENT, "nothing of that name is in quarantine: %s", spec);
}

int agent_verify(struct agent *a, plan_differs_cb cb, void *arg, struct plan_verified *ret_verified,
		 struct err *e)
{
	(void)a;
	(void)e;
	if (fake.verify == FAKE_VERIFY_DIES)
		raise(SIGSEGV);
	while (fake.verify == FAKE_VERIFY_HANGS)
		pause();
	cb("dp_backend 3: other", arg);
	*ret_verified = (struct plan_verified){.rows = 251, .differences = 1};
	return 0;
}

void agent_tables_self(const struct agent *a, struct agent_tables *ret_tables)
{
	(void)a;
	memset(ret_tables, 0, sizeof(*ret_tables));
	ret_tables->is_written = ret_tables->has_sums = true;
}

void agent_tables_self_sums(const struct agent *a, struct agent_tables *ret_tables)
{
	agent_tables_self(a, ret_tables);
}

uint64_t agent_map_writes(const struct agent *a)
{
	(void)a;
	fake.map_writes += fake.is_writing;
	return fake.map_writes;
}

bool agent_tables_of(const struct agent *a, const struct node_id *id,
		     struct agent_tables *ret_tables)
{
	(void)id;
	agent_tables_self_sums(a, ret_tables);
	return true;
}

unsigned int plan_sums_bucket(const char *service)
{
	return (unsigned int)service[0] % PLAN_SUMS;
}

uint32_t plan_svc_id(const char *name)
{
	return (uint32_t)name[0];
}

uint32_t plan_backend_idx(const struct plan_state *s, const struct node_id *node,
			  const char *backend_key)
{
	(void)s;
	(void)backend_key;
	return node->b[0];
}

int stats_reasons(const struct dp_fds *fds, struct stats_reason ret_reason[DP_REASON_COUNT])
{
	(void)fds;
	for (size_t i = 0; i < DP_REASON_COUNT; i++)
		ret_reason[i] =
			(struct stats_reason){"reason", "what it means", i == 3, i == 3 ? 99 : 0};
	return 0;
}

int stats_svc(const struct dp_fds *fds, uint32_t svc_idx, struct dp_stat *ret_stat)
{
	(void)fds;
	*ret_stat = (struct dp_stat){.packets = svc_idx, .bytes = svc_idx * 100};
	return 0;
}

int stats_backend(const struct dp_fds *fds, uint32_t backend_idx, struct dp_stat *ret_stat)
{
	return stats_svc(fds, backend_idx, ret_stat);
}

/* ---- making it up */

static void fake_node(size_t i, const char *name, const char *region, enum gossip_state state)
{
	struct route_node *n = &fake.node[i];
	struct gossip_member *m = &fake.member[i];

	*n = (struct route_node){.id.b = {(uint8_t)(10 - i)}, .state = state};
	snprintf(n->node.name, sizeof(n->node.name), "%s", name);
	snprintf(n->node.region, sizeof(n->node.region), "%s", region);
	snprintf(n->node.version, sizeof(n->node.version), "0.1.0");
	n->node.is_edge = n->node.is_worker = n->node.has_forwarder = true;
	*m = (struct gossip_member){.id = n->id,
				    .addr.port = 7946,
				    .has_forwarder = true,
				    .state = state,
				    .since_ms = FAKE_NOW_MS - 3200,
				    .heard_ms = i == 0 ? 0 : FAKE_NOW_MS - 200 * i,
				    .rtt_us = i == 0 ? 0 : (uint32_t)(1500 * i),
				    .is_self = i == 0};
	memcpy(m->name, n->node.name, sizeof(m->name));
	memcpy(m->region, n->node.region, sizeof(m->region));
	ip_parse("10.0.0.1", &n->node.mesh_addr);
	n->node.mesh_addr.b[15] = (uint8_t)(i + 1);
	memcpy(m->addr.ip, n->node.mesh_addr.b, sizeof(m->addr.ip));
}

static void fake_backend(size_t i, size_t node_idx, enum model_health_state health, const char *why)
{
	struct route_backend *b = &fake.backend[i];
	struct timespec now;

	*b = (struct route_backend){.node_idx = node_idx, .health = health};
	snprintf(b->backend.service, sizeof(b->backend.service), "dns");
	ip_parse("10.0.0.1", &b->backend.addr);
	b->backend.addr.b[15] = (uint8_t)(node_idx + 1);
	b->backend.port = 5300;
	b->backend.weight = 100;
	model_check_default(MODEL_CHECK_TCP, &b->backend.check);
	clock_gettime(CLOCK_REALTIME, &now);
	fake.health[i] = (struct model_health){
		.state = (uint8_t)health, .changed_unix_ms = (uint64_t)now.tv_sec * 1000 - 60000};
	snprintf(fake.health[i].why, sizeof(fake.health[i].why), "%s", why);
}

static void fake_mesh(void)
{
	struct model_service *s = fake.service;

	fake_node(0, "a1", "ams", GOSSIP_ALIVE);
	fake_node(1, "f1", "fra", GOSSIP_HEADLESS);
	fake_node(2, "s1", "sin", GOSSIP_DEAD);
	fake_node(3, "s2", "sin", GOSSIP_SUSPECT);
	fake.member[1].is_behind = true;
	fake.member[1].behind_since_ms = FAKE_NOW_MS - 1500;
	fake.member[1].lacks_records = 12;
	fake.member[1].lacks_writers = 3;
	fake.member[1].lacks_shared = 2;
	fake.member[1].ahead_writers = 1;
	s[0] = (struct model_service){.name = "dns", .vip_count = 2, .port_count = 2, .created = 1};
	ip_parse("192.0.2.53", &s[0].vip[0]);
	ip_parse("2001:db8::53", &s[0].vip[1]);
	ctl_port_parse("udp/53", &s[0].port[0]);
	ctl_port_parse("tcp/53-59", &s[0].port[1]);
	s[1] = (struct model_service){.name = "web", .vip_count = 1, .port_count = 1, .created = 2};
	ip_parse("192.0.2.80", &s[1].vip[0]);
	ctl_port_parse("tcp/80", &s[1].port[0]);
	fake_backend(0, 2, MODEL_HEALTH_PASSING, "connected in 0.2 ms");
	fake_backend(1, 1, MODEL_HEALTH_FAILING, "connection refused");
	fake_backend(2, 0, MODEL_HEALTH_PASSING, "connected in 0.1 ms");
	fake.view = (struct route_view){.node = fake.node,
					.node_count = 4,
					.service = fake.service,
					.service_count = 2,
					.backend = fake.backend,
					.backend_count = 3,
					.region = "ams"};
	if (route_compute(&fake.view, &fake.routes))
		abort();
}

/* ---- running it: the loop in a thread of its own, for clients block */

static void fake_on_closed(void *arg)
{
	(void)arg;
	fake_answer_pending(-ECANCELED, "stopping");
	uv_close((uv_handle_t *)&fake.wake, NULL);
	uv_close((uv_handle_t *)&fake.later, NULL);
}

static void fake_on_wake(uv_async_t *w)
{
	(void)w;
	if (!fake.is_stopping)
		return;
	fake.is_stopping = false;
	ctl_close(fake.ctl, fake_on_closed, NULL);
}

static void *fake_run(void *arg)
{
	(void)arg;
	uv_run(&fake.uv, UV_RUN_DEFAULT);
	return NULL;
}

static inline int fake_setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	memset(&fake, 0, sizeof(fake));
	fake.text = "done";
	snprintf(fake.dir, sizeof(fake.dir), "/tmp/edge-ctl-XXXXXX");
	if (!mkdtemp(fake.dir))
		return -1;
	snprintf(fake.path, sizeof(fake.path), "%s/edged.sock", fake.dir);
	uv_loop_init(&fake.uv);
	uv_async_init(&fake.uv, &fake.wake, fake_on_wake);
	uv_timer_init(&fake.uv, &fake.later);
	fake_mesh();
	fake.cfg = (struct ctl_config){.path = fake.path,
				       .group = "root",
				       .agent = (struct agent *)&fake,
				       .core = (struct gossip_core *)&fake,
				       .loop = (struct gossip_loop *)&fake,
				       .store = (struct store *)&fake,
				       .version = "0.1.0",
				       .cluster = "lab"};
	return 0;
}

static inline int fake_start(struct err *e)
{
	int rc = ctl_open(&fake.uv, &fake.cfg, &fake.ctl, e);

	return rc ? rc : pthread_create(&fake.thread, NULL, fake_run, NULL);
}

/* Close it from outside, and wait. */
static void fake_stop(void)
{
	fake.is_stopping = true;
	uv_async_send(&fake.wake);
	pthread_join(fake.thread, NULL);
	fake.ctl = NULL;
}

static inline int fake_teardown(void **state)
{
	(void)state;
	if (fake.ctl) {
		fake_stop();
	} else if (!uv_is_closing((uv_handle_t *)&fake.wake)) {
		uv_close((uv_handle_t *)&fake.wake, NULL);
		uv_close((uv_handle_t *)&fake.later, NULL);
		uv_run(&fake.uv, UV_RUN_DEFAULT);
	}
	route_free(fake.routes);
	unlink(fake.path);
	return rmdir(fake.dir) || uv_loop_close(&fake.uv) ? -1 : 0;
}

#endif
