/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/unit/plan_world.h - a small mesh for the tests of plans, and what route and plan see of it. */
#ifndef PLAN_WORLD_H
#define PLAN_WORLD_H

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/plan.h"
#include "edge/route_claims.h"

#define NODES 8
#define SERVICES 5
#define BACKENDS 24
#define VIPS 4

/* Small, so that indexes are used again. */
static struct plan_sizes sizes = {.svcs = 100,
				  .backends = 60,
				  .nodes = 24,
				  .rows = 120000,
				  .pages = 60,
				  .dirs = 24,
				  .vips = 12};

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;

	if (ip_parse(text, &a))
		fail_msg("bad address %s", text);
	return a;
}

struct world {
	struct route_node node[NODES];
	struct model_service service[SERVICES];
	struct route_backend backend[BACKENDS]; /* node_idx: into node[] here; token = place + 1 */
	bool has_node[NODES], has_service[SERVICES], has_backend[BACKENDS];
};

/* What route and plan see of it, in shuffled order. */
struct seen {
	struct route_node node[NODES];
	struct model_service service[SERVICES];
	struct route_backend backend[BACKENDS];
	struct route_view view;
	struct route_plan *routes;
};

static unsigned int seed;

static unsigned int rnd(unsigned int n)
{
	return (unsigned int)rand_r(&seed) % n;
}

/* The first two share a slot of dp_vipslot; the others have one each. */
static struct ip_addr vip_at(unsigned int i)
{
	static const char *const text[VIPS] = {"192.0.2.1", "192.0.96.224", "2001:db8::1",
					       "2001:db8::2"};

	return addr(text[i]);
}

static void random_service(struct world *w, size_t i)
{
	struct model_service *s = &w->service[i];
	uint16_t base = (uint16_t)(1 + rnd(4) * 200);

	*s = (struct model_service){.created = rnd(3), .hash = (uint8_t)rnd(3), .port_count = 2};
	snprintf(s->name, sizeof(s->name), "svc-%zu", i);
	s->vip[s->vip_count++] = vip_at(rnd(2));
	if (rnd(2))
		s->vip[s->vip_count++] = vip_at(2 + rnd(2));
	s->port[0] = (struct model_port){IPPROTO_UDP, {base, (uint16_t)(base + rnd(300))}};
	s->port[1] = (struct model_port){rnd(4) ? IPPROTO_TCP : IPPROTO_UDP, {1000, 1000}};
}

/* Half of them take all ports. */
static struct ip_port_range random_part(void)
{
	uint16_t lo = (uint16_t)(1 + rnd(6) * 100);

	return rnd(2) ? (struct ip_port_range){0, 0}
		      : (struct ip_port_range){lo, (uint16_t)(lo + rnd(3) * 150)};
}

static void random_backend(struct world *w, size_t i)
{
	struct route_backend *b = &w->backend[i];

	*b = (struct route_backend){.node_idx = i % NODES, .health = MODEL_HEALTH_PASSING};
	snprintf(b->backend.service, sizeof(b->backend.service), "svc-%zu", i % SERVICES);
	b->backend.addr = addr(i % 3 ? "10.0.0.1" : "2001:db8:1::1");
	b->backend.port = (uint16_t)(2000 + i);
	b->backend.weight = (uint16_t)(1 + rnd(5));
	b->backend.token = (uint32_t)i + 1;
	b->backend.ports = random_part();
	model_check_default(MODEL_CHECK_TCP, &b->backend.check);
}

static void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	for (uint8_t i = 0; i < NODES; i++) {
		struct route_node *n = &w->node[i];

		n->id.b[0] = (uint8_t)(1 + i * 37);
		n->id.b[15] = i;
		n->state = GOSSIP_ALIVE;
		n->node.has_forwarder = true;
		snprintf(n->node.region, sizeof(n->node.region), i % 2 ? "fra" : "ams");
		n->node.mesh_addr = addr("10.9.0.1");
		n->node.mesh_addr.b[15] = (uint8_t)(i + 1);
		w->has_node[i] = true;
	}
	for (size_t i = 0; i < SERVICES; i++) {
		random_service(w, i);
		w->has_service[i] = true;
	}
	for (size_t i = 0; i < BACKENDS; i++) {
		random_backend(w, i);
		w->has_backend[i] = rnd(4);
	}
}

static void look(const struct world *w, struct seen *o)
{
	uint8_t order[BACKENDS];
	size_t place[NODES];

	memset(o, 0, sizeof(*o));
	for (size_t i = 0; i < NODES; i++) {
		size_t k = (i + seed) % NODES;

		if (!w->has_node[k])
			continue;
		place[k] = o->view.node_count;
		o->node[o->view.node_count++] = w->node[k];
	}
	for (size_t i = 0; i < SERVICES; i++)
		if (w->has_service[(i + seed) % SERVICES])
			o->service[o->view.service_count++] = w->service[(i + seed) % SERVICES];
	for (uint8_t i = 0; i < BACKENDS; i++)
		order[i] = i;
	for (size_t i = BACKENDS; i-- > 1;) {
		size_t j = rnd((unsigned int)i + 1);
		uint8_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (size_t i = 0; i < BACKENDS; i++) {
		const struct route_backend *b = &w->backend[order[i]];

		if (!w->has_backend[order[i]] || !w->has_node[b->node_idx])
			continue;
		o->backend[o->view.backend_count] = *b;
		o->backend[o->view.backend_count++].node_idx = place[b->node_idx];
	}
	o->view.node = o->node;
	o->view.service = o->service;
	o->view.backend = o->backend;
	snprintf(o->view.region, sizeof(o->view.region), "fra");
	o->view.self = w->node[0].id;
	assert_int_equal(route_compute(&o->view, &o->routes), 0);
}

static inline size_t count_kind(const struct plan_list *l, enum plan_op_kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < l->op_count; i++)
		n += l->op[i].kind == kind;
	return n;
}

#endif
