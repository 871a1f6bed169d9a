/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* routes SERVICES BACKENDS NODES EVENTS PIN_DIR - how long one edge needs from an event to its maps.
 *
 * The real agent, store and BPF maps (loaded, attached nowhere, under PIN_DIR on a bpffs); only the members are made up, by
 * --wrap. Every service has BACKENDS backends, spread over the nodes; nodes and backends take turns in failing and coming back. Times
 * are from the moment at which gossip would tell the agent: to the first word (the backend's or the node's), to the last map
 * write, and the CPU time of the thread until then. Prints "result" lines as tests/bench/failover/common.sh has them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "edge/agent_int.h"
#include "edge/dp.h"
#include "gossip/seal.h"

#define EVENTS_MAX 1000
#define NODES_MAX 4096

static size_t services, backends, nodes, events;
static struct gossip_member member[NODES_MAX];
static uv_loop_t uv;
static struct agent *agent;

size_t __wrap_gossip_core_member_count(const struct gossip_core *c);
void __wrap_gossip_core_member_at(const struct gossip_core *c, size_t i,
				  struct gossip_member *ret_member);
bool __wrap_gossip_core_member_get(const struct gossip_core *c, const struct node_id *id,
				   struct gossip_member *ret_member);
void __real_gossip_core_member_at(const struct gossip_core *c, size_t i,
				  struct gossip_member *ret_member);

size_t __wrap_gossip_core_member_count(const struct gossip_core *c)
{
	(void)c;
	return nodes;
}

void __wrap_gossip_core_member_at(const struct gossip_core *c, size_t i,
				  struct gossip_member *ret_member)
{
	if (i == 0)
		__real_gossip_core_member_at(c, 0, ret_member); /* ourselves */
	else
		*ret_member = member[i];
}

bool __wrap_gossip_core_member_get(const struct gossip_core *c, const struct node_id *id,
				   struct gossip_member *ret_member)
{
	(void)c;
	for (size_t i = 1; i < nodes; i++) {
		if (node_id_cmp(&member[i].id, id) != 0)
			continue;
		*ret_member = member[i];
		return true;
	}
	return false;
}

static void die(const char *what, int err)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* ---- the mesh */

static void make_members(void)
{
	for (size_t i = 1; i < nodes; i++) {
		struct gossip_member *m = &member[i];
		uint64_t h = maglev_hash_end(i);

		memcpy(m->id.b, &h, sizeof(h));
		memcpy(m->id.b + 8, &i, sizeof(i));
		snprintf(m->name, sizeof(m->name), "n%zu", i);
		snprintf(m->region, sizeof(m->region), "fra");
		m->addr.ip[10] = m->addr.ip[11] = 0xff;
		m->addr.ip[12] = 10;
		m->addr.ip[14] = (uint8_t)(i >> 8);
		m->addr.ip[15] = (uint8_t)i;
		m->addr.port = 7946;
		m->has_forwarder = true;
		m->state = GOSSIP_ALIVE;
	}
}

static void apply(const struct node_id *writer, uint8_t kind, const char *key, const uint8_t *value,
		  int len)
{
	struct record r = {.kind = kind, .generation = 1, .seq = 1};

	if (len < 0)
		die(key, len);
	if (writer)
		r.writer = *writer;
	r.key = (const uint8_t *)key;
	r.key_len = (uint8_t)strlen(key);
	r.value = value;
	r.value_len = (uint16_t)len;
	(void)agent_fact_apply(agent, &r);
}

static void service_name(size_t s, char buf[MODEL_NAME_MAX])
{
	snprintf(buf, MODEL_NAME_MAX, "svc-%05zu", s);
}

static struct model_backend backend_of(size_t s, size_t i, size_t *ret_node)
{
	struct model_backend b = {.weight = 100, .token = DP_TOKEN(1 + s % 4095, 1)};
	size_t node = 1 + (s * backends + i) % (nodes - 1);

	service_name(s, b.service);
	memcpy(b.addr.b, member[node].addr.ip, sizeof(b.addr.b));
	b.port = (uint16_t)(1024 + s);
	model_check_default(MODEL_CHECK_TCP, &b.check);
	*ret_node = node;
	return b;
}

static int health_value(enum model_health_state state, uint8_t *buf, size_t cap)
{
	struct model_health h = {.state = (uint8_t)state, .why = "as the benchmark says"};

	return model_health_encode(&h, buf, cap);
}

static void make_facts(void)
{
	struct model_seed seed = {.key = {1}};
	uint8_t buf[RECORD_VALUE_MAX], health[RECORD_VALUE_MAX];
	int health_len = health_value(MODEL_HEALTH_PASSING, health, sizeof(health));
	char key[MODEL_KEY_MAX];

	apply(NULL, MODEL_KIND_SEED, "flow", buf, model_seed_encode(&seed, buf, sizeof(buf)));
	for (size_t s = 0; s < services; s++) {
		struct model_service svc = {.vip_count = 1, .port_count = 1, .created = s + 1};

		service_name(s, svc.name);
		/* Ten services on each VIP. */
		svc.vip[0].b[10] = svc.vip[0].b[11] = 0xff;
		svc.vip[0].b[12] = 198;
		svc.vip[0].b[13] = 18;
		svc.vip[0].b[14] = (uint8_t)(s / 10 >> 8);
		svc.vip[0].b[15] = (uint8_t)(s / 10);
		svc.port[0] = (struct model_port){
			17, {(uint16_t)(1000 + s % 10), (uint16_t)(1000 + s % 10)}};
		apply(NULL, MODEL_KIND_SERVICE, svc.name, buf,
		      model_service_encode(&svc, buf, sizeof(buf)));
		for (size_t i = 0; i < backends; i++) {
			size_t node;
			struct model_backend b = backend_of(s, i, &node);

			if (model_backend_key(&b, key))
				die("key", EINVAL);
			apply(&member[node].id, MODEL_KIND_BACKEND, key, buf,
			      model_backend_encode(&b, buf, sizeof(buf)));
			apply(&member[node].id, MODEL_KIND_HEALTH, key, health, health_len);
		}
	}
}

static void open_agent(const char *dir)
{
	struct gossip_config g = {
		.name = "self", .region = "fra", .boot_nonce = 7, .seed = 9, .generation = 1};
	struct agent_config c = {.version = "bench"};
	struct gossip_core *core;
	struct node_key *key;
	struct store *store;
	struct err e = {0};
	bool was_reset;
	char path[256];

	snprintf(path, sizeof(path), "%s/node.key", dir);
	if (node_key_open(path, &key, &e) || store_open(dir, &uv, &store, &was_reset, &e))
		die(e.text, EIO);
	node_key_pub(key, g.pub);
	g.signer = node_key_signer(key);
	g.addr.ip[10] = g.addr.ip[11] = 0xff;
	g.addr.ip[12] = 10;
	g.addr.ip[13] = 1;
	g.addr.port = 7946;
	if (gossip_core_new(&g, 0, &core, &e))
		die(e.text, EIO);
	snprintf(c.self.name, sizeof(c.self.name), "self");
	snprintf(c.self.region, sizeof(c.self.region), "fra");
	memcpy(c.self.mesh_addr.b, g.addr.ip, sizeof(c.self.mesh_addr.b));
	c.self.is_edge = true;
	if (agent_open(&uv, &c, core, store, &agent, &e))
		die(e.text, EIO);
}

static void open_maps(const char *pin_dir)
{
	size_t all = services * backends;
	uint32_t rows = maglev_size(maglev_class(&(uint32_t){100}, 1));
	struct dp_sizes sizes = {.flows = 1024, .flows_new = 1024};
	struct dp_loader *dp;
	struct err e = {0};
	bool was_adopted;
	uint32_t weight[4096];

	for (size_t i = 0; i < backends; i++)
		weight[i] = 100;
	rows = maglev_size(backends == 1 ? MAGLEV_CLASS_ALONE : maglev_class(weight, backends));
	sizes.svcs = (uint32_t)services + 16;
	sizes.backends = (uint32_t)all + 16;
	sizes.nodes = (uint32_t)nodes + 16;
	sizes.pages = (uint32_t)services / 10 + 16;
	sizes.dirs = (uint32_t)services / 10 + 16;
	/* Twice: while all tables are rebuilt, the old ones stand. */
	sizes.rows = (uint32_t)(2 * services * rows + rows);
	if (dp_open(pin_dir, &sizes, false, &dp, &was_adopted, &e))
		die(e.text, EIO);
	dp_fds(dp, &agent->fds);
	if (mapw_open(&agent->fds, &agent->mapw, &e))
		die(e.text, EIO);
}

/* ---- events */

static bool is_done(void)
{
	return !agent->is_dirty && !agent->is_compute_armed;
}

static void rest(uint64_t ms)
{
	uint64_t end = uv_hrtime() + ms * 1000000;

	while (uv_hrtime() < end || !is_done()) {
		uv_run(&uv, UV_RUN_NOWAIT);
		uv_sleep(1);
	}
}

struct series {
	const char *name;
	const char *word_aim, *all_aim;
	double word[EVENTS_MAX], all[EVENTS_MAX], cpu[EVENTS_MAX];
	size_t count;
};

static void tell(struct series *s, const struct gossip_event *ev)
{
	uint64_t start = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);

	uv_update_time(&uv);
	agent_event(ev, agent);
	s->word[s->count] = (double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e6;
	while (!is_done()) {
		uv_run(&uv, UV_RUN_NOWAIT);
		if (!is_done())
			usleep(50);
	}
	s->all[s->count] = (double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e6;
	s->cpu[s->count] = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) / 1e6;
	s->count++;
	rest(PLAN_REST_MS + 300); /* what is freed rests, then goes */
}

static void check_word(const struct model_backend *b, const struct node_id *node,
		       enum dp_be_state want)
{
	struct plan_image image;
	char key[MODEL_KEY_MAX];
	uint32_t idx;
	struct err e;

	if (model_backend_key(b, key) || mapw_image(agent->mapw, &image, &e))
		die("looking at the maps", EIO);
	idx = plan_backend_idx(agent->plan, node, key);
	if (!idx || DP_BE_STATE(image.backend[idx]) != want)
		die("the backend's word is not what it should be", EINVAL);
}

static void one_backend(struct series *s, size_t event, enum model_health_state state)
{
	static uint64_t seq = 2;
	struct gossip_event ev = {.kind = GOSSIP_EV_RECORD};
	size_t node;
	struct model_backend b = backend_of(event * 37 % services, event * 11 % backends, &node);
	uint8_t buf[RECORD_VALUE_MAX];
	char key[MODEL_KEY_MAX];

	(void)model_backend_key(&b, key);
	ev.record = (struct record){.kind = MODEL_KIND_HEALTH, .generation = 1, .seq = seq++};
	ev.record.writer = member[node].id;
	ev.record.key = (const uint8_t *)key;
	ev.record.key_len = (uint8_t)strlen(key);
	ev.record.value = buf;
	ev.record.value_len = (uint16_t)health_value(state, buf, sizeof(buf));
	tell(s, &ev);
	check_word(&b, &member[node].id, state == MODEL_HEALTH_PASSING ? DP_BE_UP : DP_BE_DEAD);
}

static void one_node(struct series *s, size_t event, enum gossip_state state)
{
	struct gossip_member *m = &member[1 + event * 7 % (nodes - 1)];
	struct gossip_event ev = {.kind = GOSSIP_EV_MEMBER, .old_state = m->state};

	m->state = state;
	ev.member = *m;
	tell(s, &ev);
}

static int order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void say(const char *name, const char *what, double *v, size_t n, const char *aim)
{
	double p99, limit = aim[0] ? atof(strchr(aim, '=') + 1) : 0;

	qsort(v, n, sizeof(*v), order);
	p99 = v[(n * 99 + 99) / 100 - 1];
	printf("result\troutes\t%s: %s\tms\t%zu\t%.3f\t%.3f\t%.3f\t%s\t%s\n", name, what, n,
	       v[(n + 1) / 2 - 1], p99, v[n - 1], aim,
	       !aim[0]	      ? ""
	       : p99 <= limit ? "yes"
			      : "no");
}

static void say_series(struct series *s)
{
	say(s->name, "first word", s->word, s->count, s->word_aim);
	say(s->name, "last map write", s->all, s->count, s->all_aim);
	say(s->name, "CPU until then", s->cpu, s->count, "");
}

int main(int argc, char **argv)
{
	static struct series fails = {.name = "a backend fails",
				      .word_aim = "p99<=1",
				      .all_aim = "p99<=50"},
			     back = {.name = "it is back", .word_aim = "", .all_aim = "p99<=50"},
			     dies = {.name = "a node is suspect",
				     .word_aim = "p99<=1",
				     .all_aim = ""},
			     alive = {.name = "it is alive", .word_aim = "", .all_aim = ""};
	char dir[] = "/tmp/edge-bench-XXXXXX", command[64];
	struct rusage u;
	uint64_t start;

	if (argc != 6) {
		fprintf(stderr, "usage: routes SERVICES BACKENDS NODES EVENTS PIN_DIR\n");
		return 2;
	}
	services = (size_t)atol(argv[1]);
	backends = (size_t)atol(argv[2]);
	nodes = (size_t)atol(argv[3]) + 1;
	events = (size_t)atol(argv[4]);
	if (!services || services > 60000 || !backends || backends > 4096 || nodes < 2 ||
	    nodes > NODES_MAX || backends > nodes - 1 || !events || events > EVENTS_MAX)
		die("SERVICES, BACKENDS, NODES or EVENTS", EINVAL);
	if (!mkdtemp(dir))
		die(dir, errno);
	uv_loop_init(&uv);
	make_members();
	open_agent(dir);
	make_facts();
	open_maps(argv[5]);
	agent->cfg.has_seeds = true;
	start = clock_ns(CLOCK_MONOTONIC);
	agent_compute(agent);
	if (!agent->is_ready || agent->map_text[0])
		die(agent->map_text[0] ? agent->map_text : "no seed", EIO);
	fprintf(stderr, "# all maps filled in %.0f ms\n",
		(double)(clock_ns(CLOCK_MONOTONIC) - start) / 1e6);
	rest(PLAN_REST_MS + 1500);
	for (size_t i = 0; i < events; i++) {
		one_backend(&fails, i, MODEL_HEALTH_FAILING);
		one_backend(&back, i, MODEL_HEALTH_PASSING);
	}
	for (size_t i = 0; i < events; i++) {
		one_node(&dies, i, GOSSIP_SUSPECT);
		one_node(&alive, i, GOSSIP_ALIVE);
	}
	getrusage(RUSAGE_SELF, &u);
	fprintf(stderr, "# memory, largest: %ld MiB\n", u.ru_maxrss / 1024);
	say_series(&fails);
	say_series(&back);
	say_series(&dies);
	say_series(&alive);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command) != 0;
}
