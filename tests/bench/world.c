/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/bench/world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "bpf/dp_hash.h"

#define ROWS_CLASS 1u

enum world_node { SELF = 1, REMOTE = 2 };

struct bpf_object *bench_obj;

void bench_die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

int bench_map_fd(const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(bench_obj, name);

	if (fd < 0)
		bench_die(name);
	return fd;
}

void bench_put(const char *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(bench_map_fd(map), key, value, BPF_ANY))
		bench_die(map);
}

void bench_map4(uint32_t addr, uint8_t out[16])
{
	uint32_t be = htonl(addr);

	memset(out, 0, 16);
	memset(out + 10, 0xff, 2);
	memcpy(out + 12, &be, 4);
}

void bench_map6(uint32_t last, uint8_t out[16])
{
	uint32_t be = htonl(last);

	memset(out, 0, 16);
	out[0] = 0xfd;
	memcpy(out + 12, &be, 4);
}

static void put_vip(uint32_t idx, const uint8_t addr[16])
{
	struct dp_vip vip = {.dir_tcp = idx, .dir_udp = idx};
	uint32_t slot = dp_vip_slot(addr), there = 0, at;
	struct dp_addr_key key;

	memcpy(vip.addr, addr, 16);
	memcpy(key.addr, addr, 16);
	bench_put("dp_vip", &idx, &vip);
	bench_put("dp_vipmap", &key, &idx);
	if (bpf_map_lookup_elem(bench_map_fd("dp_vipslot"), &slot, &there))
		bench_die("dp_vipslot");
	at = there && there != idx ? DP_VIP_SLOT_ASK : idx;
	bench_put("dp_vipslot", &slot, &at);
}

static uint32_t next_row, next_backend;

/* A service and a table whose owners are new backends. */
static void put_svc(uint32_t idx, const struct bench_world *w)
{
	uint32_t n = dp_class_rows(ROWS_CLASS);
	struct dp_svc svc = {.rows = n,
			     .table = DP_TABLE(next_row, ROWS_CLASS),
			     .port_lo = (uint16_t)BENCH_PORT,
			     .family = w->family,
			     .flags = w->svc_flags,
			     .svc_id = 1000 + idx,
			     .pps = w->pps,
			     .source_pps = w->source_pps};
	uint32_t backends = w->backends, node = w->is_worker ? SELF : REMOTE;

	for (uint32_t i = 0; i < backends; i++) {
		uint64_t word = DP_BE_WORD(DP_BE_UP, node, DP_TOKEN(1, 5));
		uint32_t b = next_backend + i;

		bench_put("dp_backend", &b, &word);
	}
	for (uint32_t i = 0; i < n; i++) {
		struct dp_row r = {.owner = next_backend + i % backends};
		uint32_t at = next_row + i;

		bench_put("dp_rows", &at, &r);
	}
	bench_put("dp_svc", &idx, &svc);
	if (w->svc_flags & DP_SVC_QUIC) {
		struct dp_quic_key key = {
			.svc_id = svc.svc_id, .server_id = BENCH_SERVER_ID, .family = w->family};

		bench_put("dp_quic", &key, &next_backend);
	}
	if (w->is_denied) {
		struct dp_filter_key key = {.prefix_bits = 32 + 96, .svc_id = svc.svc_id};
		uint32_t verb = DP_FILTER_DENY;

		memset(key.addr + 10, 0xff, 2);
		bench_put("dp_filter", &key, &verb);
	}
	next_row += n;
	next_backend += backends;
}

/* Services on the ports BENCH_PORT, BENCH_PORT + 1 ... of one VIP; the page has the VIP's index. */
static void put_ports(uint32_t vip_idx, uint32_t first_svc, uint32_t count)
{
	uint32_t at = vip_idx * 256 + (BENCH_PORT >> 8), page = vip_idx;

	bench_put("dp_portdir", &at, &page);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t svc = first_svc + i;

		at = page * 256 + ((BENCH_PORT + i) & 255);
		bench_put("dp_portpage", &at, &svc);
	}
}

static void put_node(uint32_t idx, uint32_t addr, uint32_t flags)
{
	struct dp_node n = {.state = DP_NODE_UP, .node_num = idx, .flags = flags};
	struct dp_addr_key key;

	bench_map4(addr, n.addr);
	memcpy(key.addr, n.addr, 16);
	bench_put("dp_node", &idx, &n);
	bench_put("dp_known", &key, &idx);
}

void bench_fill(const struct bench_world *r)
{
	struct dp_host h = {.abi = DP_ABI_VERSION,
			    .mesh_ifindex = 1,
			    .uplink_ifindex = 1,
			    .gre_mark = 7,
			    .mesh_mtu = 1420,
			    .deliver_ifindex4 = 1,
			    .deliver_ifindex6 = 1};
	struct dp_self self = {.seed = {1, 2}, .node_num = SELF, .node_idx = SELF, .ready = 1};
	struct dp_local local = {
		.svc_idx = 1, .port = 8080, .use_count = 5, .backend_idx = 1, .live = 1};
	uint32_t zero = 0, one = 1, svc = 1, remote = REMOTE;
	uint32_t vips = r->vips > r->loaded ? r->vips : r->loaded;
	uint8_t addr[16];

	bench_map4(BENCH_MESH4, h.mesh_addr4);
	h.flags = r->is_fabric ? DP_HOST_FABRIC | DP_HOST_FABRIC_OUT : 0;
	bench_put("dp_host", &zero, &h);
	bench_put("dp_self", &zero, &self);
	put_node(SELF, BENCH_MESH4, DP_NODE_SELF);
	put_node(REMOTE, BENCH_MESH4 + 1, 0);
	if (r->is_fabric) {
		struct dp_l2 l2 = r->l2;

		bench_map4(BENCH_MESH4 + 1, l2.addr);
		bench_put("dp_l2", &remote, &l2);
	}
	next_row = 0;
	next_backend = 1;
	for (uint32_t v = 0; v < vips; v++) {
		if (r->family == 4)
			bench_map4(bench_vip(r->vips) + v, addr);
		else
			bench_map6(bench_vip(r->vips) + v, addr);
		put_vip(v + 1, addr);
		put_ports(v + 1, svc, r->per_vip);
		for (uint32_t i = 0; i < r->per_vip; i++)
			put_svc(svc++, r);
	}
	bench_map4(0x0a000005, local.addr);
	bench_put("dp_local", &one, &local);
}

void bench_resize(const char *map, uint32_t entries)
{
	struct bpf_map *m = bpf_object__find_map_by_name(bench_obj, map);

	if (!m || bpf_map__set_max_entries(m, entries))
		bench_die(map);
}

void bench_sizes(void)
{
	bench_resize("dp_svc", 16384);
	bench_resize("dp_svc_stat", 16384);
	bench_resize("dp_backend", 131072);
	bench_resize("dp_be_stat", 131072);
	bench_resize("dp_rows", 11u << 20);
	bench_resize("dp_portdir", 1100 * 256);
	bench_resize("dp_portpage", 1100 * 256);
	bench_resize("dp_vip", 2048);
	bench_resize("dp_vipmap", 2048);
}
