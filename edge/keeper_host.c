/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_host.c - default routes, the uplink, and what struct dp_host says about them. */
#include "edge/keeper_int.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/random.h>

#define DUMP_SHARE 10 /* reading routes takes at most a tenth of our time */

static bool is_ours(const struct nl_route *r)
{
	return r->protocol == NL_ROUTE_PROTO;
}

/* ---- default routes */

static void default_cb(const struct nl_route *r, void *arg)
{
	struct keeper *k = arg;

	if (k->default_count < KEEPER_DEFAULTS_MAX)
		k->defaults[k->default_count++] = *r;
}

static void read_defaults(struct keeper *k)
{
	struct nl_cbs cbs = {.route_cb = default_cb, .arg = k};
	uint64_t begin_ns = uv_hrtime();

	k->default_count = 0;
	int rc = nl_dump_defaults(k->nl, &cbs);

	if (rc < 0)
		keeper_log("error", "routes_unreadable", "text=\"%s\"", strerror(-rc));
	uint64_t took_ms = (uv_hrtime() - begin_ns) / 1000000;

	k->is_routes_dirty = rc < 0;
	k->routes_after_ms = uv_now(k->uv) + took_ms * DUMP_SHARE;
}

static const struct nl_route *best_default(struct keeper *k, uint8_t family, uint32_t role)
{
	const struct nl_route *best = NULL;

	for (size_t i = 0; i < k->default_count; i++) {
		const struct nl_route *r = &k->defaults[i];
		const struct keeper_if *out = keeper_if_find(k, r->oif);

		if (r->family != family || is_ours(r))
			continue;
		if (role && (!out || !out->is_up || !(out->roles & role)))
			continue;
		if (!best || r->metric < best->metric)
			best = r;
	}
	return best;
}

/* With no default of its own a family gets one through the mesh device, for sendto() needs a route. */
static bool keep_mesh_default(struct keeper *k, uint8_t family, const struct keeper_if *mesh)
{
	/* On a fabric the kernel would ask for the client's MAC there and never come to send. */
	bool is_wanted = mesh && mesh->is_up && !k->cfg.is_fabric && !best_default(k, family, 0);
	int *logged = &k->mesh_default_err[family == AF_INET6];
	bool is_there = false;

	for (size_t i = 0; i < k->default_count; i++) {
		const struct nl_route *r = &k->defaults[i];

		if (r->family != family || !is_ours(r))
			continue;
		if (is_wanted && r->oif == mesh->ifindex && r->metric == KEEPER_METRIC_MESH) {
			is_there = true;
			continue;
		}
		int rc = nl_route_del(k->nl, r);

		keeper_log(rc < 0 ? "warn" : "info", "mesh_default_removed", "family=%s%s%s",
			   family == AF_INET ? "ipv4" : "ipv6", rc < 0 ? " text=" : "",
			   rc < 0 ? strerror(-rc) : "");
	}
	if (!is_wanted || is_there)
		return is_wanted;
	struct nl_route r = {.family = family,
			     .kind = RTN_UNICAST,
			     .protocol = NL_ROUTE_PROTO,
			     .oif = mesh->ifindex,
			     .metric = KEEPER_METRIC_MESH};
	int rc = nl_route_add(k->nl, &r);

	if (rc == 0 && k->default_count < KEEPER_DEFAULTS_MAX)
		k->defaults[k->default_count++] = r; /* its event comes later */
	if (rc == 0)
		keeper_log("info", "mesh_default_added", "family=%s if=%s",
			   family == AF_INET ? "ipv4" : "ipv6", mesh->name);
	else if (rc != *logged)
		keeper_log("warn", "mesh_default_failed", "family=%s if=%s text=\"%s\"",
			   family == AF_INET ? "ipv4" : "ipv6", mesh->name, strerror(-rc));
	*logged = rc;
	return rc == 0;
}

/* ---- facts */

static int read_int(const char *path)
{
	FILE *f = fopen(path, "re");
	int value = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%d", &value) != 1)
		value = 0;
	fclose(f);
	return value;
}

static bool is_rp_filter_strict(const char *ifname)
{
	char path[96];
	int all = read_int("/proc/sys/net/ipv4/conf/all/rp_filter");

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/rp_filter", ifname);
	int own = read_int(path);

	return (all > own ? all : own) == 1;
}

static const struct keeper_if *choose_uplink(struct keeper *k)
{
	const uint8_t family[] = {AF_INET, AF_INET6};
	const struct keeper_if *first = NULL;

	for (size_t i = 0; i < 2; i++) {
		const struct nl_route *best = best_default(k, family[i], DP_ROLE_UPLINK);

		if (best)
			return keeper_if_find(k, best->oif);
	}
	for (size_t i = 0; i < k->if_count; i++) {
		const struct keeper_if *c = &k->ifs[i];

		if (!(c->roles & DP_ROLE_UPLINK) || !c->is_up)
			continue;
		if (c->ifindex == (int)k->host.uplink_ifindex)
			return c; /* no reason to change */
		if (!first || c->ifindex < first->ifindex)
			first = c;
	}
	return first;
}

static void addr_cb(const struct nl_addr *a, void *arg)
{
	struct keeper *k = arg;
	struct ip_addr *slot = &k->mesh_found[!ip_is_v4(&a->addr)];

	if (a->is_global && ip_is_zero(slot))
		*slot = a->addr;
}

static void find_mesh_addrs(struct keeper *k, const struct keeper_if *mesh)
{
	struct nl_cbs cbs = {.addr_cb = addr_cb, .arg = k};

	memset(k->mesh_found, 0, sizeof(k->mesh_found));
	if (k->cfg.mesh_addr_count) {
		for (size_t i = 0; i < k->cfg.mesh_addr_count; i++)
			k->mesh_found[!ip_is_v4(&k->cfg.mesh_addr[i])] = k->cfg.mesh_addr[i];
	} else if (mesh) {
		(void)nl_dump_addrs(k->nl, mesh->ifindex, &cbs); /* none found: no address */
	}
}

/* A default route that no uplink pattern names: replies would leave where no program of ours is. */
static void warn_stray_default(struct keeper *k)
{
	const struct nl_route *any = best_default(k, AF_INET, 0);
	const struct keeper_if *out = any ? keeper_if_find(k, any->oif) : NULL;
	char name[IF_NAMESIZE];
	int oif = any && !out ? any->oif : 0;

	if (oif && oif != k->stray_default_oif && if_indextoname((unsigned int)oif, name))
		keeper_log(
			"warn", "default_not_uplink",
			"if=%s text=\"the default route leads out of it, no uplink pattern does\"",
			name);
	k->stray_default_oif = oif;
}

/* XDP handles tunnels only where every frame it sees is one packet with a finished checksum: natively. */
static uint32_t fabric_flags(struct keeper *k, const struct keeper_if *mesh)
{
	uint32_t flags = DP_HOST_FABRIC | DP_HOST_FABRIC_OUT | DP_HOST_FABRIC_REPLY;

	if (!k->cfg.is_fabric || !mesh || !mesh->is_up || mesh->xdp != DP_XDP_NATIVE)
		return 0;
	for (size_t i = 0; i < k->if_count; i++) {
		const struct keeper_if *f = &k->ifs[i];

		if ((f->roles & DP_ROLE_PUBLIC) && f->xdp != DP_XDP_NATIVE)
			flags &= ~DP_HOST_FABRIC_OUT;
		/* A driver sends frames of XDP for sure where it has a program of XDP itself. */
		if ((f->roles & DP_ROLE_UPLINK) && f->xdp != DP_XDP_NATIVE)
			flags &= ~DP_HOST_FABRIC_REPLY;
	}
	return flags;
}

/* For the log: who takes tunnels off and puts them on. */
static const char *fabric_text(const struct keeper *k, uint32_t flags)
{
	if (!k->cfg.is_fabric)
		return "no";
	if (!(flags & DP_HOST_FABRIC))
		return "tc";
	return flags & DP_HOST_FABRIC_OUT ? "xdp" : "xdp-in";
}

void keeper_host_adopt(struct keeper *k)
{
	/* What an earlier run found out holds until we know better. */
	if (dp_get_host(k->dp, &k->host) < 0)
		memset(&k->host, 0, sizeof(k->host));
	k->host.abi = DP_ABI_VERSION;
	if (!k->host.gre_mark) /* what one program marks, another one lets out, whichever is replaced first */
		k->host.gre_mark = dp_old_gre_mark(k->dp);
	while (!k->host.gre_mark)
		if (getrandom(&k->host.gre_mark, sizeof(k->host.gre_mark), 0) < 0)
			k->host.gre_mark = (uint32_t)uv_hrtime() | 1;
	(void)dp_set_host(k->dp, &k->host); /* keeper_host_update tells */
	k->is_host_dirty = k->is_routes_dirty = true;
}

void keeper_host_update(struct keeper *k)
{
	const struct keeper_if *mesh = keeper_if_mesh(k);
	struct dp_host h = k->host;
	bool is_over_mesh[2], is_due;

	is_due = k->is_routes_dirty && uv_now(k->uv) >= k->routes_after_ms;
	if (is_due)
		read_defaults(k);
	is_over_mesh[0] = keep_mesh_default(k, AF_INET, mesh);
	is_over_mesh[1] = keep_mesh_default(k, AF_INET6, mesh);
	warn_stray_default(k);
	keeper_gw_retarget(k);
	find_mesh_addrs(k, mesh);
	const struct keeper_if *up = choose_uplink(k);

	h.mesh_ifindex = mesh ? (uint32_t)mesh->ifindex : 0;
	h.mesh_mtu = mesh ? (uint16_t)(mesh->mtu < UINT16_MAX ? mesh->mtu : UINT16_MAX) : 0;
	memcpy(h.mesh_addr4, k->mesh_found[0].b, 16);
	memcpy(h.mesh_addr6, k->mesh_found[1].b, 16);
	h.uplink_ifindex = up ? (uint32_t)up->ifindex : 0;
	memset(h.uplink_mac, 0, sizeof(h.uplink_mac));
	if (up && up->has_mac)
		memcpy(h.uplink_mac, up->mac, 6);
	h.deliver_ifindex4 = h.deliver_ifindex6 = h.uplink_ifindex;
	/* Strict reverse path filtering would miss the way back on the uplink; IPv6 has no such sysctl. */
	if (up && is_over_mesh[0] && is_rp_filter_strict(up->name))
		h.deliver_ifindex4 = 0;
	h.flags = fabric_flags(k, mesh);
	if (keeper_egress_update(k, is_due))
		h.flags |= DP_HOST_UPLINKS;
	k->is_host_dirty = false;
	if (memcmp(&h, &k->host, sizeof(h)) == 0)
		return;
	int rc = dp_set_host(k->dp, &h);

	if (rc < 0) {
		keeper_log("error", "host_failed", "text=\"%s\"", strerror(-rc));
		return;
	}
	k->host = h;
	keeper_log("info", "host",
		   "mesh_ifindex=%u mesh_mtu=%u uplink_ifindex=%u deliver4=%u deliver6=%u "
		   "fabric=%s uplinks=%s",
		   h.mesh_ifindex, h.mesh_mtu, h.uplink_ifindex, h.deliver_ifindex4,
		   h.deliver_ifindex6, fabric_text(k, h.flags),
		   h.flags & DP_HOST_UPLINKS ? "several" : "one");
}

/* ---- detach */

struct own_routes {
	struct nl_route *route;
	size_t count, room;
};

static void own_cb(const struct nl_route *r, void *arg)
{
	struct own_routes *o = arg;

	if (o->count < o->room)
		o->route[o->count++] = *r;
}

int keeper_host_remove_routes(struct nl *nl)
{
	struct nl_route route[64];

	/* Not while the dump is going on: in rounds. */
	for (int round = 0; round <= KEEPER_VIPS_MAX / 64 + 1; round++) {
		struct own_routes own = {.route = route, .room = 64};
		struct nl_cbs cbs = {.route_cb = own_cb, .arg = &own};
		int rc = nl_dump_own(nl, &cbs);

		for (size_t i = 0; rc == 0 && i < own.count; i++)
			rc = nl_route_del(nl, &route[i]);
		if (rc < 0 || !own.count)
			return rc;
	}
	return 0;
}
