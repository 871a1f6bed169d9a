/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_l2.c - a fabric's neighbours: what the kernel knows of the nodes' MACs goes to dp_l2, for XDP.
 *
 * A node's next hop is itself, or the router that the routing table names on the mesh interface (of several the first).
 * Without a valid neighbour there is no entry, and TC sends through the kernel, which asks. XDP's packets don't tell the
 * kernel that a neighbour is in use, so those that went stale are used here. A program may read an entry while it is
 * written: at worst one packet goes to the MAC before.
 */
#include "edge/keeper_int.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <stdlib.h>
#include <string.h>

#define PROBES_MAX 64 /* a call: a mesh of thousands of nodes is asked for over some time */
#define ROUTES_MAX 64 /* a call */
#define ROUTE_MS 3000 /* a route is looked up again this often: its changes make no event here */
#define USABLE (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT | NUD_NOARP)

/* The next hop to a node. */
struct hop {
	struct ip_addr node, addr; /* addr zero: no way out of the mesh interface */
	uint64_t looked_ms;
};

struct keeper_l2 {
	uint32_t count; /* nodes; 0: no fabric */
	struct dp_l2 *is;
	struct hop *hop;
	struct nl_neigh *neigh;
	size_t neigh_count, neigh_room;
	uint32_t next;	/* where the last call ran out of questions */
	uint32_t known; /* logged */
};

int keeper_l2_open(struct keeper *k)
{
	struct keeper_l2 *l = calloc(1, sizeof(*l));

	k->l2 = l;
	if (!l)
		return -ENOMEM;
	if (!k->cfg.is_fabric || !dp_nodes(k->dp, &l->count))
		return 0;
	l->is = calloc(l->count, sizeof(*l->is));
	l->hop = calloc(l->count, sizeof(*l->hop));
	l->neigh_room = l->count + 64;
	l->neigh = calloc(l->neigh_room, sizeof(*l->neigh));
	if (!l->is || !l->hop || !l->neigh)
		return -ENOMEM;
	/* Of an earlier run: it holds until the first look. */
	for (uint32_t i = 0; i < l->count; i++)
		(void)dp_get_l2(k->dp, i, &l->is[i]); /* fails for no index of the map */
	return 0;
}

void keeper_l2_close(struct keeper *k)
{
	if (!k->l2)
		return;
	free(k->l2->is);
	free(k->l2->hop);
	free(k->l2->neigh);
	free(k->l2);
	k->l2 = NULL;
}

static void neigh_cb(const struct nl_neigh *n, void *arg)
{
	struct keeper_l2 *l = arg;

	if (l->neigh_count < l->neigh_room)
		l->neigh[l->neigh_count++] = *n;
}

static int by_addr(const void *a, const void *b)
{
	const struct nl_neigh *x = a, *y = b;

	return memcmp(x->addr.b, y->addr.b, sizeof(x->addr.b));
}

static const struct nl_neigh *find(const struct keeper_l2 *l, const uint8_t addr[16])
{
	struct nl_neigh key = {};

	memcpy(key.addr.b, addr, sizeof(key.addr.b));
	return bsearch(&key, l->neigh, l->neigh_count, sizeof(*l->neigh), by_addr);
}

static void put(struct keeper *k, uint32_t idx, const struct dp_l2 *want)
{
	int rc;

	if (memcmp(&k->l2->is[idx], want, sizeof(*want)) == 0)
		return;
	rc = dp_set_l2(k->dp, idx, want);
	if (rc < 0)
		keeper_log("error", "neighbour_failed", "node_idx=%u text=\"%s\"", idx,
			   strerror(-rc));
	else
		k->l2->is[idx] = *want;
}

/* Questions to the kernel that this call may still ask. */
struct budget {
	unsigned probes, routes;
};

static const struct ip_addr *hop_to(struct keeper *k, const struct keeper_if *mesh, uint32_t idx,
				    const struct ip_addr *node, struct budget *left)
{
	struct hop *h = &k->l2->hop[idx];
	uint64_t now_ms = uv_now(k->uv);
	bool is_known = ip_equal(&h->node, node);
	struct nl_route r;

	if ((is_known && now_ms - h->looked_ms < ROUTE_MS) || !left->routes)
		return is_known ? &h->addr : node;
	if (--left->routes == 0)
		k->l2->next = idx + 1;
	*h = (struct hop){.node = *node, .looked_ms = now_ms};
	if (nl_route_get(k->nl, mesh->ifindex, node, &r) == 0 && r.oif == mesh->ifindex)
		h->addr = ip_is_zero(&r.gateway) ? *node : r.gateway;
	return &h->addr;
}

/* The entry of one node; asks the kernel to look again where that helps. */
static void look(struct keeper *k, const struct keeper_if *mesh, uint32_t idx,
		 const struct dp_node *node, struct budget *left)
{
	struct dp_l2 want = {};
	const struct ip_addr *hop;
	const struct nl_neigh *n;
	struct ip_addr addr;

	memcpy(addr.b, node->addr, sizeof(addr.b)); /* edged may be writing: read once */
	if (ip_is_zero(&addr) || (node->flags & DP_NODE_SELF) || node->state == DP_NODE_DOWN) {
		put(k, idx, &want);
		return;
	}
	hop = hop_to(k, mesh, idx, &addr, left);
	n = ip_is_zero(hop) ? NULL : find(k->l2, hop->b);
	if (n && n->has_mac && (n->state & USABLE)) {
		memcpy(want.addr, addr.b, sizeof(want.addr));
		memcpy(want.dst, n->mac, sizeof(want.dst));
		memcpy(want.src, mesh->mac, sizeof(want.src));
		want.ifindex = (uint32_t)mesh->ifindex;
	}
	put(k, idx, &want);
	if (ip_is_zero(hop) || !left->probes || (n && !(n->state & (NUD_STALE | NUD_FAILED))))
		return;
	(void)nl_neigh_probe(k->nl, mesh->ifindex, hop); /* if it fails, TC will do */
	if (--left->probes == 0)
		k->l2->next = idx + 1;
}

void keeper_l2_update(struct keeper *k)
{
	struct nl_cbs cbs = {.neigh_cb = neigh_cb, .arg = k->l2};
	const struct keeper_if *mesh = keeper_if_mesh(k);
	struct keeper_l2 *l = k->l2;
	struct dp_l2 none = {};
	uint32_t count, known = 0;
	struct budget left = {.probes = PROBES_MAX, .routes = ROUTES_MAX};

	if (!l->is)
		return;
	const struct dp_node *nodes = dp_nodes(k->dp, &count);

	l->neigh_count = 0;
	if (!mesh || !mesh->is_up || !mesh->has_mac || !nodes) {
		for (uint32_t i = 0; i < l->count; i++)
			put(k, i, &none);
	} else if (nl_dump_neighs(k->nl, mesh->ifindex, &cbs) == 0) {
		qsort(l->neigh, l->neigh_count, sizeof(*l->neigh), by_addr);
		/* Round and round, so that each node gets its turn to be asked for. */
		uint32_t first = l->next < l->count ? l->next : 0;

		for (uint32_t i = 0; i < l->count; i++)
			look(k, mesh, (first + i) % l->count, &nodes[(first + i) % l->count],
			     &left);
	}
	for (uint32_t i = 0; i < l->count; i++)
		known += l->is[i].ifindex != 0;
	if (known != l->known)
		keeper_log("info", "neighbours", "known=%u", known);
	l->known = known;
}
