/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/unit/agent_fake.h - what test_agent.c stands on: maps, edgefwd and the gossip loop in memory, one node with a real
 * core, store and checks, time set by hand. Its functions replace those of mapw.c, fwd.c and loop.c at link time, so one
 * test program may include it. */
#ifndef AGENT_FAKE_H
#define AGENT_FAKE_H

#include <bpf/bpf.h>
#include <errno.h>
#include <arpa/inet.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "edge/agent_int.h"
#include "gossip/seal.h"

/* ---- maps in memory */

static const struct plan_sizes sizes = {.svcs = 512,
					.backends = 4096,
					.nodes = 64,
					.rows = 1 << 19,
					.pages = 512,
					.dirs = 512,
					.vips = 512};

struct fake_maps {
	struct dp_node node[64];
	uint64_t backend[4096];
	struct dp_svc svc[512];
	struct dp_row row[1 << 19];
	uint32_t portdir[512 * 256], portpage[512 * 256];
	struct dp_vip vip[512];
	uint32_t vipslot[DP_VIP_SLOTS];
	struct dp_local local[DP_LOCAL_MAX];
	struct dp_self self;
	uint32_t meet[DP_MEET_ROWS];
	struct fake_set {
		uint8_t key[32][MAPSET_KEY_MAX];
		uint32_t value[32], count;
	} set[2]; /* by enum mapw_set */
	uint32_t flags;
	/* But of dp_self, and of nodes, services and VIPs: those are repeated as they are after adopting. */
	unsigned writes;
	int fail; /* -errno of the next write */
};
static struct fake_maps *maps;
struct mapw {
	int unused;
};
static struct mapw the_mapw;

static int fake_apply(void *arg, const struct plan_op *op)
{
	int fail = maps->fail;

	(void)arg;
	maps->writes += op->kind != PLAN_NODE && op->kind != PLAN_VIP && op->kind != PLAN_SVC;
	if (fail) {
		maps->fail = 0;
		return fail;
	}
	switch (op->kind) {
	case PLAN_NODE:
		maps->node[op->idx] = op->arg.node;
		break;
	case PLAN_NODE_GONE:
		memset(&maps->node[op->idx], 0, sizeof(struct dp_node));
		break;
	case PLAN_NODE_STATE:
		maps->node[op->idx].state = op->arg.node.state;
		break;
	case PLAN_BACKEND:
		maps->backend[op->idx] = op->arg.word;
		break;
	case PLAN_ROWS:
		memcpy(&maps->row[op->idx], op->arg.rows, op->count * sizeof(struct dp_row));
		break;
	case PLAN_SVC:
		maps->svc[op->idx] = op->arg.svc;
		break;
	case PLAN_PORTPAGE:
		memcpy(&maps->portpage[op->idx * 256], op->arg.words, 1024);
		break;
	case PLAN_PORTDIR:
		memcpy(&maps->portdir[op->idx * 256], op->arg.words, 1024);
		break;
	case PLAN_VIP:
		maps->vip[op->idx] = op->arg.vip;
		break;
	case PLAN_VIP_SLOT:
		maps->vipslot[op->idx] = op->arg.slot;
		break;
	case PLAN_VIP_GONE:
		break;
	case PLAN_VIP_FREE:
		memset(&maps->vip[op->idx], 0, sizeof(struct dp_vip));
		break;
	}
	return 0;
}

static int fake_set_local(void *arg, uint32_t slot, const struct dp_local *local)
{
	(void)arg;
	maps->writes += memcmp(&maps->local[slot], local, sizeof(*local)) != 0;
	maps->local[slot] = *local;
	return 0;
}

static int fake_set_self(void *arg, const struct dp_self *self)
{
	(void)arg;
	maps->self = *self;
	return 0;
}

int mapw_open(const struct dp_fds *fds, struct mapw **ret_mapw, struct err *e)
{
	(void)fds;
	(void)e;
	*ret_mapw = &the_mapw;
	return 0;
}

static uint64_t the_beat_s;

uint64_t mapw_edgefwd_beat(const struct mapw *m)
{
	(void)m;
	return the_beat_s;
}

void mapw_close(struct mapw *m)
{
	(void)m;
}

struct mapw_ops mapw_real_ops(struct mapw *m)
{
	return (struct mapw_ops){.arg = m,
				 .apply = fake_apply,
				 .set_local = fake_set_local,
				 .set_self = fake_set_self};
}

int mapw_apply(const struct mapw_ops *ops, const struct plan_list *l, struct err *e)
{
	for (size_t i = 0; i < l->op_count; i++) {
		int err = ops->apply(ops->arg, &l->op[i]);

		if (err)
			return err_set(e, err, "fake: %s", strerror(-err));
	}
	return 0;
}

void mapw_beat(struct mapw *m, uint64_t now_s)
{
	(void)m;
	(void)now_s;
}

int mapw_get_host(const struct mapw *m, struct dp_host *ret_host)
{
	(void)m;
	*ret_host = (struct dp_host){.abi = DP_ABI_VERSION};
	return 0;
}

int mapw_get_local(const struct mapw *m, uint32_t slot, struct dp_local *ret_local)
{
	(void)m;
	*ret_local = maps->local[slot];
	return 0;
}

void mapw_sizes(const struct mapw *m, struct plan_sizes *ret_sizes)
{
	(void)m;
	*ret_sizes = sizes;
}

int mapw_image(struct mapw *m, struct plan_image *ret_image, struct err *e)
{
	(void)m;
	(void)e;
	*ret_image = (struct plan_image){.sizes = sizes,
					 .node = maps->node,
					 .backend = maps->backend,
					 .svc = maps->svc,
					 .row = maps->row,
					 .portdir = maps->portdir,
					 .portpage = maps->portpage,
					 .vip = maps->vip,
					 .vipslot = maps->vipslot};
	return 0;
}

/* ---- sets: room for 32 each */

static int set_fail; /* -errno of the next write */

static size_t set_key_bytes(const struct fake_set *s)
{
	return s == &maps->set[MAPW_QUIC] ? sizeof(struct dp_quic_key)
					  : sizeof(struct dp_filter_key);
}

static int set_put(void *arg, const void *key, uint32_t value)
{
	struct fake_set *s = arg;
	uint32_t i = 0;
	int fail = set_fail;

	set_fail = 0;
	if (fail)
		return fail;
	while (i < s->count && memcmp(s->key[i], key, set_key_bytes(s)) != 0)
		i++;
	if (i == 32)
		return -ENOSPC;
	memcpy(s->key[i], key, set_key_bytes(s));
	s->value[i] = value;
	s->count += i == s->count;
	maps->writes++;
	return 0;
}

static int set_del(void *arg, const void *key)
{
	struct fake_set *s = arg;

	for (uint32_t i = 0; i < s->count; i++) {
		if (memcmp(s->key[i], key, set_key_bytes(s)) != 0)
			continue;
		s->count--;
		memcpy(s->key[i], s->key[s->count], sizeof(s->key[i]));
		s->value[i] = s->value[s->count];
		maps->writes++;
		return 0;
	}
	return 0;
}

struct mapset_ops mapw_set_ops(struct mapw *m, enum mapw_set which)
{
	(void)m;
	return (struct mapset_ops){&maps->set[which], which == MAPW_QUIC ? "server ids" : "filters",
				   set_put, set_del};
}

int mapw_set_read(struct mapw *m, enum mapw_set which, struct mapset *ret_have, uint32_t *ret_room,
		  struct err *e)
{
	struct fake_set *s = &maps->set[which];

	(void)m;
	(void)e;
	*ret_have = (struct mapset){.key_bytes = set_key_bytes(s)};
	for (uint32_t i = 0; i < s->count; i++)
		assert_int_equal(mapset_add(ret_have, s->key[i], s->value[i]), 0);
	mapset_sort(ret_have);
	*ret_room = 32;
	return 0;
}

int mapw_set_meet(struct mapw *m, uint32_t row, uint32_t node_idx)
{
	(void)m;
	maps->meet[row] = node_idx;
	return 0;
}

bool mapw_node_addr(const struct mapw *m, uint32_t node_idx, uint8_t ret_addr[16])
{
	(void)m;
	(void)node_idx;
	(void)ret_addr;
	return false;
}

void mapw_set_flag(struct mapw *m, uint32_t flag, bool is_on)
{
	(void)m;
	maps->flags = is_on ? maps->flags | flag : maps->flags & ~flag;
}

/* Every fd is map number 1: the same maps for ever. */
int bpf_obj_get_info_by_fd(int fd, void *info, __u32 *len)
{
	(void)fd;
	(void)len;
	((struct bpf_map_info *)info)->id = 1;
	return 0;
}

/* ---- edgefwd in memory */

static struct fwd_config fwd_cfg;
static struct fwd_msg sent[256];
static size_t sent_count;

int fwd_open(uv_loop_t *uv, const struct fwd_config *cfg, struct fwd **ret_fwd, struct err *e)
{
	(void)uv;
	(void)e;
	fwd_cfg = *cfg;
	*ret_fwd = (struct fwd *)&fwd_cfg;
	return 0;
}

int fwd_send(struct fwd *f, const struct fwd_msg *msg)
{
	(void)f;
	if (sent_count == 256)
		return -ENOBUFS;
	sent[sent_count++] = *msg;
	return 0;
}

static void (*fwd_closed)(void *arg);
static void *fwd_closed_arg;
static uv_timer_t fwd_close_timer;

static void on_fwd_timer_closed(uv_handle_t *h)
{
	(void)h;
	fwd_closed(fwd_closed_arg);
}

void fwd_close(struct fwd *f, void (*cb)(void *arg), void *arg)
{
	(void)f;
	fwd_closed = cb;
	fwd_closed_arg = arg;
	uv_close((uv_handle_t *)&fwd_close_timer, on_fwd_timer_closed);
}

static void fwd_connect(uint32_t abi)
{
	struct dp_fds fds;

	memset(&fds, 0xff, sizeof(fds));
	fwd_cfg.up_cb(&fds, abi, fwd_cfg.arg);
}

/* ---- one node */

struct node {
	char dir[64];
	uv_loop_t uv;
	struct node_key *key;
	struct store *store;
	struct gossip_core *core;
	struct agent *agent;
	uint64_t generation;
};
static struct node *current; /* whose loop gossip_loop_* are */
static uint64_t now_ms;

uint64_t gossip_loop_now_ms(const struct gossip_loop *l)
{
	(void)l;
	return now_ms;
}

void gossip_loop_pump(struct gossip_loop *l)
{
	struct gossip_packet p;
	struct gossip_event ev;
	static bool is_pumping;

	(void)l;
	if (is_pumping)
		return;
	is_pumping = true;
	while (gossip_core_next_packet(current->core, &p))
		;
	while (gossip_core_next_event(current->core, &ev))
		agent_event(&ev, current->agent);
	is_pumping = false;
}

static void pump(void)
{
	gossip_loop_pump(NULL);
}

/* Turn the loop until `done`, at most ten seconds. */
static void turn_until(bool (*done)(void))
{
	uint64_t end = uv_hrtime() + 10000000000ull;

	while (!done() && uv_hrtime() < end) {
		uv_run(&current->uv, UV_RUN_NOWAIT);
		usleep(200);
	}
	assert_true(done());
}

static void node_start(struct node *n, bool has_forwarder)
{
	struct gossip_config g = {.name = "a",
				  .region = "r1",
				  .has_forwarder = has_forwarder,
				  .boot_nonce = 7,
				  .seed = 9};
	struct agent_config c = {.fwd_socket = has_forwarder ? "/nowhere" : NULL,
				 .bridge = {"eagt-b*"},
				 .bridge_count = 1};
	char path[96];
	struct err e = {0};
	bool was_reset;

	assert_int_equal(uv_loop_init(&n->uv), 0);
	uv_timer_init(&n->uv, &fwd_close_timer);
	if (!has_forwarder)
		uv_close((uv_handle_t *)&fwd_close_timer, NULL);
	snprintf(path, sizeof(path), "%s/node.key", n->dir);
	assert_int_equal(node_key_open(path, &n->key, &e), 0);
	assert_int_equal(store_open(n->dir, &n->uv, &n->store, &was_reset, &e), 0);
#ifdef FAKE_REGIONS
	g.has_regions = true;
#endif
	node_key_pub(n->key, g.pub);
	g.signer = node_key_signer(n->key);
	g.generation = ++n->generation;
	assert_int_equal(inet_pton(AF_INET6, "::ffff:10.80.0.1", g.addr.ip), 1);
	g.addr.port = 7946;
	assert_int_equal(gossip_core_new(&g, now_ms, &n->core, &e), 0);
	snprintf(c.self.name, sizeof(c.self.name), "a");
	snprintf(c.self.region, sizeof(c.self.region), "r1");
	memcpy(c.self.mesh_addr.b, g.addr.ip, 16);
#ifdef FAKE_REGIONS
	c.has_regions = true;
#endif
#ifdef FAKE_STATE_DIR
	c.state_dir = n->dir;
#endif
	c.self.is_edge = c.self.is_worker = true;
	assert_int_equal(ip_parse_prefix("198.51.100.0/24", &c.vip_prefix[0]), 0);
	c.vip_prefix_count = 1;
	current = n;
	if (agent_open(&n->uv, &c, n->core, n->store, &n->agent, &e))
		fail_msg("agent_open: %s", e.text);
	agent_set_loop(n->agent, (struct gossip_loop *)n);
	pump();
}

static void on_closed(void *arg)
{
	*(bool *)arg = true;
}

static void node_stop(struct node *n)
{
	bool is_agent_closed = false, is_store_closed = false;

	agent_close(n->agent, on_closed, &is_agent_closed);
	while (!is_agent_closed)
		uv_run(&n->uv, UV_RUN_ONCE);
	n->agent = NULL;
	store_close(n->store, on_closed, &is_store_closed);
	while (!is_store_closed)
		uv_run(&n->uv, UV_RUN_ONCE);
	uv_run(&n->uv, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&n->uv), 0);
	gossip_core_free(n->core);
	node_key_free(n->key);
}

static int setup(void **state)
{
	struct node *n = calloc(1, sizeof(*n));

	snprintf(n->dir, sizeof(n->dir), "/tmp/test_agent.XXXXXX");
	assert_non_null(mkdtemp(n->dir));
	maps = calloc(1, sizeof(*maps));
	n->generation = 1000;
	now_ms = 1000000;
	sent_count = 0;
	*state = n;
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	struct node *n = *state;

	nftw(n->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(maps);
	free(n);
	return 0;
}

/* ---- answers */

static struct {
	int status;
	char text[256];
	bool is_in;
} answer;

static void on_answer(int status, const char *text, void *arg)
{
	(void)arg;
	assert_false(answer.is_in);
	answer.status = status;
	snprintf(answer.text, sizeof(answer.text), "%s", text);
	answer.is_in = true;
}

static bool is_answered(void)
{
	return answer.is_in;
}

static void expect(int status, const char *part)
{
	turn_until(is_answered);
	if (answer.status != status || !strstr(answer.text, part))
		print_error("got %d '%s', want %d '%s'\n", answer.status, answer.text, status,
			    part);
	assert_int_equal(answer.status, status);
	assert_non_null(strstr(answer.text, part));
	answer.is_in = false;
}

static inline struct model_service service(const char *name, const char *vip, uint8_t proto,
					   uint16_t lo, uint16_t hi)
{
	struct model_service s = {.vip_count = 1, .port_count = 1};

	snprintf(s.name, sizeof(s.name), "%s", name);
	assert_int_equal(ip_parse(vip, &s.vip[0]), 0);
	s.port[0] = (struct model_port){.l4_proto = proto, .ports = {lo, hi}};
	return s;
}

static inline struct model_backend backend(const char *svc, const char *addr, uint16_t port)
{
	struct model_backend b = {.port = port, .weight = 100};

	snprintf(b.service, sizeof(b.service), "%s", svc);
	assert_int_equal(ip_parse(addr, &b.addr), 0);
	model_check_default(MODEL_CHECK_NONE, &b.check);
	return b;
}

static inline void add_service(const struct model_service *s, int status, const char *part)
{
	agent_service_add(current->agent, s, on_answer, NULL);
	expect(status, part);
}

static inline void add_backend(const struct model_backend *b, int status, const char *part)
{
	agent_backend_add(current->agent, b, on_answer, NULL);
	expect(status, part);
}

/* A record of another comes into force, or, with len -1, goes. */
static inline void hear(const struct node_id *writer, uint8_t kind, const char *key,
			const uint8_t *value, int len)
{
	static uint64_t version;
	struct gossip_event ev = {.kind = len < 0 ? GOSSIP_EV_RECORD_GONE : GOSSIP_EV_RECORD,
				  .record = {.kind = kind,
					     .writer = *writer,
					     .generation = 5,
					     .seq = ++version,
					     .key = (const uint8_t *)key,
					     .key_len = strlen(key),
					     .value = value,
					     .value_len = len < 0 ? 0 : (size_t)len}};

	agent_event(&ev, current->agent);
}

static bool has_seed(void)
{
	return agent_seed(current->agent) != NULL;
}

static bool is_ready(void)
{
	struct agent_view v;

	agent_look(current->agent, &v);
	return v.is_ready && maps->self.ready;
}

/* A node that has its seed and maps. */
static inline void node_ready(struct node *n)
{
	node_start(n, true);
	now_ms += 3000;
	turn_until(has_seed);
	fwd_connect(DP_ABI_VERSION);
	turn_until(is_ready);
}

/* Another node, n<key> at 10.80.0.<key>, as the store has it. */
static inline struct node_id add_member(uint8_t key, const char *region)
{
	const uint8_t key_seed[SEAL_KEY_BYTES] = {key};
	struct gossip_member m = {.generation = 5, .has_forwarder = true};
	struct node_key *k;

	snprintf(m.name, sizeof(m.name), "n%u", key);
	snprintf(m.region, sizeof(m.region), "%s", region);
	assert_int_equal(node_key_from_seed(key_seed, &k), 0);
	node_key_pub(k, m.pub);
	node_id_of_pub(m.pub, &m.id);
	node_key_free(k);
	assert_int_equal(inet_pton(AF_INET6, "::ffff:10.80.0.9", m.addr.ip), 1);
	m.addr.ip[15] = key;
	m.addr.port = 7946;
	assert_int_equal(gossip_core_load_member(current->core, &m), 0);
	return m.id;
}

/* For a group of tests: a network namespace that dies with the process, an uplink and a bridge in it. */
static inline int setup_net(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET) ||
	    system("ip link set lo up && ip link add eagt-u0 type veth peer name eagt-u1 && "
		   "ip link set eagt-u1 up && ip link set eagt-u0 up && "
		   "ip addr add 10.80.0.1/24 dev eagt-u0 && ip link add eagt-b0 type bridge && "
		   "ip link set eagt-b0 up && ip addr add 10.81.0.1/24 dev eagt-b0")) {
		fprintf(stderr, "needs root and ip(8)\n");
		return -1;
	}
	return 0;
}

#endif
