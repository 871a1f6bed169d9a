/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bench/world.h - services, backends and nodes for benchmarks, straight into the maps of bench_obj. Errors end the
 * process. */
#ifndef BENCH_WORLD_H
#define BENCH_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include <bpf/libbpf.h>

#include "bpf/dp_abi.h"

#define BENCH_PORT 53u
#define BENCH_SERVER_ID 7u	/* of backend 1 in connection ids, with DP_SVC_QUIC */
#define BENCH_MESH4 0x0a000001u /* this node's mesh address; the worker's is the next */

struct bench_world {
	uint8_t family;
	uint32_t vips;	   /* that traffic is for */
	uint32_t loaded;   /* VIPs in all, if that is more */
	uint32_t per_vip;  /* services on each */
	uint32_t backends; /* of each service */
	bool is_worker;	   /* the backends are here */
	bool is_fabric;
	struct dp_l2 l2; /* to the worker, with is_fabric */
	uint32_t svc_flags;
	uint32_t pps, source_pps; /* with DP_SVC_GATE */
	bool is_denied; /* the source is in the service's list, with DP_SVC_GATE | DP_SVC_FILTER */
};

extern struct bpf_object *bench_obj;

/* First VIP, host order; IPv6: its last word. */
static inline uint32_t bench_vip(uint32_t vips)
{
	return vips > 1 ? 0x0a640000u : 0xc0000200u;
}

void bench_die(const char *what);
int bench_map_fd(const char *name);
void bench_put(const char *map, const void *key, const void *value);
void bench_map4(uint32_t addr, uint8_t out[16]);
void bench_map6(uint32_t last, uint8_t out[16]);
void bench_resize(const char *map, uint32_t entries); /* before loading */
void bench_sizes(void);				      /* of all maps, before loading */
void bench_fill(const struct bench_world *w);

#endif
