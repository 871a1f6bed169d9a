/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/lib/bpf_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Generated: not as strict as we are. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "bpf/dp.skel.h"
#pragma GCC diagnostic pop
#include "bpf/dp_hash.h"

/* BPF_F_TEST_SKB_CHECKSUM_COMPLETE of Linux 6.17: EBADMSG if skb->csum is wrong behind the program. */
#define TEST_COMPLETE (1u << 2)
#define ROWS 251u
#define PAGES 64u
#define DIRS 64u

struct svc_row {
	const char *vip;
	uint16_t lo, hi;
	uint32_t node;
	const char *addr; /* local ones */
	uint16_t port;
	uint32_t ifindex;
};

static const struct svc_row world[BF_SVC_END] = {
	[BF_SVC_EXACT4] = {"192.0.2.10", 53, 53, BF_NODE_V4, NULL, 0, 0},
	[BF_SVC_EXACT6] = {"2001:db8::10", 53, 53, BF_NODE_V4, NULL, 0, 0},
	[BF_SVC_RANGE4] = {"192.0.2.11", 5000, 5299, BF_NODE_V6, NULL, 0, 0},
	[BF_SVC_RANGE6] = {"2001:db8::11", 5000, 5299, BF_NODE_V6, NULL, 0, 0},
	[BF_SVC_HOST4] = {"192.0.2.12", 80, 80, BF_SELF, "10.0.0.5", 8080, 0},
	[BF_SVC_HOST6] = {"2001:db8::12", 80, 80, BF_SELF, "2001:db8:1::5", 8080, 0},
	[BF_SVC_BRIDGE4] = {"192.0.2.13", 80, 80, BF_SELF, "172.17.0.2", 8080, BF_BRIDGE_IF},
	[BF_SVC_BRIDGE6] = {"2001:db8::13", 80, 80, BF_SELF, "fd17::2", 8080, BF_BRIDGE_IF},
	[BF_SVC_HOSTRANGE4] = {"192.0.2.12", 6000, 6299, BF_SELF, "10.0.0.5", 7000, 0},
	[BF_SVC_HOSTRANGE6] = {"2001:db8::12", 6000, 6299, BF_SELF, "2001:db8:1::5", 7000, 0},
	[BF_SVC_TWIN4] = {"192.0.2.14", 80, 80, BF_SELF, "10.0.0.5", 8080, 0},
	[BF_SVC_EMPTY4] = {"192.0.2.15", 80, 80, 0, NULL, 0, 0},
	[BF_SVC_NOADDR4] = {"192.0.2.16", 80, 80, BF_NODE_NO_ADDR, NULL, 0, 0},
	[BF_SVC_MISFIT4] = {"192.0.2.17", 80, 80, BF_SELF, "2001:db8:1::5", 8080, 0},
};

void bf_addr(const char *text, uint8_t addr[16])
{
	memset(addr, 0, 16);
	if (inet_pton(AF_INET6, text, addr) == 1)
		return;
	memset(addr + 10, 0xff, 2);
	assert_int_equal(inet_pton(AF_INET, text, addr + 12), 1);
}

int bf_map(const struct bf *b, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(b->skel->obj, name);

	if (fd < 0)
		fail_msg("no map %s", name);
	return fd;
}

static void put(const struct bf *b, const char *map, const void *key, const void *value)
{
	int rc = bpf_map_update_elem(bf_map(b, map), key, value, BPF_ANY);

	if (rc)
		fail_msg("%s: %s", map, strerror(errno));
}

uint32_t bf_row_of(uint32_t svc_idx)
{
	return svc_idx * ROWS;
}

void bf_set_row(struct bf *b, uint32_t row, uint32_t owner)
{
	struct dp_row r = {.owner = owner};

	put(b, "dp_rows", &row, &r);
}

void bf_set_backend(struct bf *b, uint32_t backend_idx, enum dp_be_state state, uint32_t node_idx)
{
	uint64_t word = DP_BE_WORD(state, node_idx, DP_TOKEN(backend_idx, BF_USE));

	put(b, "dp_backend", &backend_idx, &word);
}

static void set_node(struct bf *b, uint32_t idx, const char *addr, uint32_t flags,
		     enum dp_node_state state)
{
	struct dp_node n = {.state = state, .node_num = idx * 1000, .flags = flags};
	struct dp_addr_key key;

	if (addr)
		bf_addr(addr, n.addr);
	put(b, "dp_node", &idx, &n);
	put(b, "dp_num", &n.node_num, &idx);
	if (addr) {
		memcpy(key.addr, n.addr, 16);
		put(b, "dp_known", &key, &idx);
	}
}

void bf_set_node_state(struct bf *b, uint32_t node_idx, enum dp_node_state state)
{
	struct dp_node n;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_node"), &node_idx, &n), 0);
	n.state = state;
	put(b, "dp_node", &node_idx, &n);
}

struct dp_host bf_host(void)
{
	struct dp_host h = {
		.abi = DP_ABI_VERSION,
		.mesh_ifindex = BF_MESH_IF,
		.uplink_ifindex = BF_UPLINK_IF,
		.gre_mark = BF_MARK,
		.uplink_mac = {2, 0, 0, 0, 0, 0x55},
		.mesh_mtu = BF_MTU,
		.deliver_ifindex4 = BF_UPLINK_IF,
		.deliver_ifindex6 = BF_UPLINK_IF,
	};

	bf_addr("10.99.0.1", h.mesh_addr4);
	bf_addr("fd99::1", h.mesh_addr6);
	return h;
}

void bf_set_host(struct bf *b, const struct dp_host *h)
{
	uint32_t zero = 0;

	put(b, "dp_host", &zero, h);
}

struct dp_self bf_self(void)
{
	return (struct dp_self){.seed = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull},
				.node_num = BF_SELF * 1000,
				.node_idx = BF_SELF,
				.ready = 1};
}

void bf_set_self(struct bf *b, const struct dp_self *s)
{
	uint32_t zero = 0;

	put(b, "dp_self", &zero, s);
}

struct dp_local bf_local(uint32_t slot)
{
	const struct svc_row *w = &world[slot];
	struct dp_local l = {.svc_idx = slot,
			     .ifindex = w->ifindex,
			     .port = w->port,
			     .use_count = BF_USE,
			     .backend_idx = slot,
			     .live = 1};

	bf_addr(w->addr, l.addr);
	return l;
}

void bf_set_local(struct bf *b, uint32_t slot, const struct dp_local *l)
{
	put(b, "dp_local", &slot, l);
}

/* A VIP's index is that of its first service, and so is its directory. */
static void set_vip(struct bf *b, uint32_t idx, const char *addr)
{
	struct dp_vip vip = {.dir_tcp = idx, .dir_udp = idx};
	uint32_t slot, there = 0, at;
	struct dp_addr_key key;

	bf_addr(addr, vip.addr);
	memcpy(key.addr, vip.addr, sizeof(key.addr));
	put(b, "dp_vip", &idx, &vip);
	put(b, "dp_vipmap", &key, &idx);
	slot = dp_vip_slot(vip.addr);
	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_vipslot"), &slot, &there), 0);
	at = there && there != idx ? DP_VIP_SLOT_ASK : idx;
	put(b, "dp_vipslot", &slot, &at);
}

/* One directory and up to two pages for a service, directories shared by the services of one VIP. */
static void set_ports(struct bf *b, uint32_t svc, const struct svc_row *w, uint32_t *next_page)
{
	uint32_t dir = svc, port;

	for (uint32_t i = svc; i-- > 1;)
		if (world[i].vip && !strcmp(world[i].vip, w->vip))
			dir = i;
	set_vip(b, dir, w->vip);
	for (port = w->lo; port <= w->hi; port++) {
		uint32_t at = dir * 256 + (port >> 8), page = 0;

		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_portdir"), &at, &page), 0);
		if (!page) {
			page = (*next_page)++;
			assert_true(page < PAGES);
			put(b, "dp_portdir", &at, &page);
		}
		at = page * 256 + (port & 255);
		put(b, "dp_portpage", &at, &svc);
	}
}

static void fill(struct bf *b)
{
	struct dp_host h = bf_host();
	struct dp_self s = bf_self();
	uint32_t next_page = 1;

	bf_set_host(b, &h);
	bf_set_self(b, &s);
	set_node(b, BF_SELF, "10.99.0.1", DP_NODE_SELF, DP_NODE_UP);
	set_node(b, BF_NODE_V4, "10.99.0.2", 0, DP_NODE_UP);
	set_node(b, BF_NODE_V6, "fd99::3", 0, DP_NODE_UP);
	set_node(b, BF_NODE_NO_ADDR, NULL, 0, DP_NODE_UP);
	for (uint32_t i = 1; i < BF_SVC_END; i++) {
		const struct svc_row *w = &world[i];
		struct dp_svc svc = {
			.rows = ROWS, .port_lo = w->lo, .family = strchr(w->vip, ':') ? 6 : 4};

		svc.table = w->node ? DP_TABLE(bf_row_of(i), 0) : 0;
		put(b, "dp_svc", &i, &svc);
		set_ports(b, i, w, &next_page);
		bf_set_backend(b, i, w->node ? DP_BE_UP : DP_BE_DEAD, w->node);
		for (uint32_t r = 0; r < ROWS; r++)
			bf_set_row(b, bf_row_of(i) + r, i);
		if (w->addr) {
			struct dp_local l = bf_local(i);

			bf_set_local(b, i, &l);
		}
	}
}

static void resize(struct dp *skel)
{
	bpf_map__set_max_entries(skel->maps.dp_portdir, DIRS * 256);
	bpf_map__set_max_entries(skel->maps.dp_portpage, PAGES * 256);
	bpf_map__set_max_entries(skel->maps.dp_svc, 64);
	bpf_map__set_max_entries(skel->maps.dp_svc_stat, 64);
	bpf_map__set_max_entries(skel->maps.dp_be_stat, 64);
	bpf_map__set_max_entries(skel->maps.dp_backend, 64);
	bpf_map__set_max_entries(skel->maps.dp_node, 64);
	bpf_map__set_max_entries(skel->maps.dp_rows, BF_SVC_END * ROWS);
	bpf_map__set_max_entries(skel->maps.dp_fwd, 4096);
	bpf_map__set_max_entries(skel->maps.dp_rev, 4096);
	bpf_map__set_max_entries(skel->maps.dp_fwd_new, 4096);
	bpf_map__set_max_entries(skel->maps.dp_rev_new, 4096);
}

int bf_open(uint32_t mesh_l2, struct bf **ret_bf)
{
	struct bf *b = calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	b->skel = dp__open();
	if (!b->skel) {
		free(b);
		return -ENOMEM;
	}
	resize(b->skel);
	b->skel->rodata->dp_mesh_l2 = mesh_l2;
	b->load_rc = dp__load(b->skel);
	*ret_bf = b;
	return b->load_rc == -EPERM ? 0 : b->load_rc;
}

void bf_close(struct bf *b)
{
	if (!b)
		return;
	dp__destroy(b->skel);
	free(b);
}

bool bf_can_complete(const struct bf *b)
{
	uint8_t frame[64] = {[12] = 0x88, [13] = 0xb5};
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = 1, .flags = TEST_COMPLETE);

	return !b->load_rc && !bpf_prog_test_run_opts(bf_program_fd(b, BF_MESH_IN), &o);
}

int bf_group_setup(void **state)
{
	struct bf *b = NULL;
	int rc = bf_open(14, &b);

	*state = b;
	return rc;
}

int bf_group_teardown(void **state)
{
	bf_close(*state);
	return 0;
}

static void clear(const struct bf *b, const char *map, size_t key_bytes)
{
	uint8_t key[64];

	assert_true(key_bytes <= sizeof(key));
	while (!bpf_map_get_next_key(bf_map(b, map), NULL, key))
		if (bpf_map_delete_elem(bf_map(b, map), key))
			break;
}

static void zero_percpu(const struct bf *b, const char *map, uint32_t entries, size_t value_bytes)
{
	void *zero = calloc((size_t)libbpf_num_possible_cpus(), value_bytes);

	assert_non_null(zero);
	for (uint32_t i = 0; i < entries; i++)
		put(b, map, &i, zero);
	free(zero);
}

int bf_setup(void **state)
{
	struct bf *b = *state;

	if (b->load_rc)
		return 0;
	fill(b);
	clear(b, "dp_fwd", sizeof(struct dp_flow_fwd_key));
	clear(b, "dp_fwd_new", sizeof(struct dp_flow_fwd_key));
	clear(b, "dp_rev", sizeof(struct dp_flow_rev_key));
	clear(b, "dp_rev_new", sizeof(struct dp_flow_rev_key));
	clear(b, "dp_frag", sizeof(struct dp_frag_key));
	clear(b, "dp_frag_out", sizeof(struct dp_frag_key));
	zero_percpu(b, "dp_reason", DP_REASON_SLOTS, sizeof(uint64_t));
	zero_percpu(b, "dp_svc_stat", 64, sizeof(struct dp_stat));
	zero_percpu(b, "dp_be_stat", 64, sizeof(struct dp_stat));
	return 0;
}

void bf_need(const struct bf *b)
{
	if (!b->load_rc)
		return;
	print_message("not allowed to load BPF programs here: %s\n", strerror(-b->load_rc));
	skip();
}

static struct bpf_program *program(const struct bf *b, enum bf_prog prog)
{
	switch (prog) {
	case BF_XDP:
		return b->skel->progs.dp_xdp;
	case BF_PUB_IN:
		return b->skel->progs.dp_tc_pub_in;
	case BF_MESH_IN:
		return b->skel->progs.dp_tc_mesh_in;
	case BF_MESH_OUT:
		return b->skel->progs.dp_tc_mesh_out;
	case BF_UP_OUT:
		return b->skel->progs.dp_tc_up_out;
	case BF_BR_IN:
		return b->skel->progs.dp_tc_br_in;
	case BF_XDP_MESH:
		return b->skel->progs.dp_xdp_mesh;
	case BF_XDP_ONE:
		return b->skel->progs.dp_xdp_one;
	case BF_ONE_IN:
		return b->skel->progs.dp_tc_one_in;
	case BF_ONE_OUT:
		return b->skel->progs.dp_tc_one_out;
	}
	return NULL;
}

int bf_program_fd(const struct bf *b, enum bf_prog prog)
{
	return bpf_program__fd(program(b, prog));
}

void bf_run(struct bf *b, enum bf_prog prog, const struct bf_in *in, struct bf_out *out)
{
	struct __sk_buff skb = {
		.mark = in->mark, .gso_size = in->gso_size, .ingress_ifindex = in->ingress_ifindex};
	struct __sk_buff skb_out = {};
	struct xdp_md xdp = {}, xdp_out = {};
	uint8_t frame[PKT_MAX], result[PKT_MAX + 64];
	bool is_xdp = prog == BF_XDP || prog == BF_XDP_MESH || prog == BF_XDP_ONE;
	const char *wrong;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_out = result,
		    .data_size_out = sizeof(result), .repeat = 1);

	memset(out, 0, sizeof(*out));
	o.data_size_in = (uint32_t)pkt_build(&in->pkt, frame);
	xdp.data_end = o.data_size_in;
	o.ctx_in = is_xdp ? (void *)&xdp : (void *)&skb;
	o.ctx_size_in = is_xdp ? sizeof(xdp) : sizeof(skb);
	o.ctx_out = is_xdp ? (void *)&xdp_out : (void *)&skb_out;
	o.ctx_size_out = o.ctx_size_in;
	if (!is_xdp && b->is_complete)
		o.flags = TEST_COMPLETE;
	if (bpf_prog_test_run_opts(bf_program_fd(b, prog), &o))
		fail_msg("test run: %s", strerror(errno));
	out->retval = o.retval;
	out->mark = skb_out.mark;
	out->meta_len = is_xdp ? xdp_out.data : 0;
	assert_true(out->meta_len <= sizeof(out->meta) && o.data_size_out <= PKT_MAX);
	memcpy(out->meta, result, out->meta_len);
	out->len = o.data_size_out - out->meta_len;
	memcpy(out->frame, result + out->meta_len, out->len);
	if (in->is_unread || in->pkt.is_vlan || in->pkt.cut || out->retval == (is_xdp ? 1u : 2u))
		return; /* dropped (XDP_DROP, TC_ACT_SHOT), or never was a packet that can be read */
	wrong = pkt_read(out->frame, out->len, &out->seen);
	if (wrong)
		fail_msg("packet out: %s", wrong);
}

static uint64_t sum_percpu(const struct bf *b, const char *map, uint32_t idx, size_t value_bytes)
{
	int cpus = libbpf_num_possible_cpus();
	uint8_t *v = calloc((size_t)cpus, value_bytes);
	uint64_t sum = 0;

	assert_non_null(v);
	assert_int_equal(bpf_map_lookup_elem(bf_map(b, map), &idx, v), 0);
	for (int i = 0; i < cpus; i++) {
		uint64_t one;

		memcpy(&one, v + (size_t)i * value_bytes, sizeof(one));
		sum += one;
	}
	free(v);
	return sum;
}

uint64_t bf_reason(const struct bf *b, uint32_t reason)
{
	return sum_percpu(b, "dp_reason", reason, sizeof(uint64_t));
}

uint64_t bf_stat_packets(const struct bf *b, const char *map, uint32_t idx)
{
	return sum_percpu(b, map, idx, sizeof(struct dp_stat));
}

void bf_set_rate(struct bf *b, enum bf_rate kind, uint64_t used)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *rate = calloc((size_t)cpus, 2 * sizeof(*rate));
	uint32_t key = kind;
	struct timespec now;

	assert_non_null(rate);
	clock_gettime(CLOCK_MONOTONIC, &now);
	for (int i = 0; i < cpus; i++) {
		rate[2 * i] = ((uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec) >> 26;
		rate[2 * i + 1] = used;
	}
	put(b, "dp_rate", &key, rate);
	free(rate);
}

void bf_expect_reason(struct bf *b, uint32_t reason, const char *where)
{
	static const char *const names[] = {
#define NAME(name, text, drop, meaning) text,
		DP_REASONS(NAME)
#undef NAME
	};

	for (uint32_t i = 0; i < DP_REASON_COUNT; i++) {
		uint64_t n = sum_percpu(b, "dp_reason", i, sizeof(uint64_t));

		if (n != (i == reason))
			fail_msg("%s: %s counted %llu times, expected %s", where, names[i],
				 (unsigned long long)n, names[reason]);
	}
	zero_percpu(b, "dp_reason", DP_REASON_SLOTS, sizeof(uint64_t));
}

void bf_forget_reasons(struct bf *b)
{
	zero_percpu(b, "dp_reason", DP_REASON_SLOTS, sizeof(uint64_t));
}

size_t bf_map_count(const struct bf *b, const char *name, size_t key_bytes)
{
	uint8_t key[64], next[64];
	size_t n = 0;
	int fd = bf_map(b, name);
	void *at = NULL;

	assert_true(key_bytes <= sizeof(key));
	while (!bpf_map_get_next_key(fd, at, next)) {
		memcpy(key, next, key_bytes);
		at = key;
		n++;
	}
	return n;
}
