/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_vip.c - announce routes: `blackhole VIP`, for a BGP daemon to export. */
#include "edge/keeper_int.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

static struct nl_route vip_route(const struct ip_addr *vip, bool is_stale)
{
	bool is_v4 = ip_is_v4(vip);

	return (struct nl_route){.family = is_v4 ? AF_INET : AF_INET6,
				 .kind = RTN_BLACKHOLE,
				 .dst = *vip,
				 .dst_bits = is_v4 ? 32 : 128,
				 .metric = is_stale ? KEEPER_METRIC_STALE : KEEPER_METRIC_VIP};
}

static struct keeper_vip *find(struct keeper *k, const struct ip_addr *addr)
{
	for (size_t i = 0; i < k->vip_count; i++)
		if (ip_equal(&k->vips[i].addr, addr))
			return &k->vips[i];
	return NULL;
}

static bool is_allowed(const struct keeper *k, const struct ip_addr *addr)
{
	for (size_t i = 0; i < k->cfg.vip_prefix_count; i++)
		if (ip_in_prefix(addr, &k->cfg.vip_prefix[i]))
			return true;
	return false;
}

static int del(struct keeper *k, struct keeper_vip *v)
{
	struct nl_route r = vip_route(&v->addr, v->is_stale);
	char text[IP_TEXT_MAX];
	int rc = nl_route_del(k->nl, &r);

	keeper_log(rc < 0 ? "error" : "info", "vip_withdrawn", "vip=%s status=%d",
		   ip_text(&v->addr, text), rc);
	if (rc == 0)
		*v = k->vips[--k->vip_count];
	return rc;
}

static int put(struct keeper *k, const struct ip_addr *addr, bool is_stale)
{
	struct nl_route now = vip_route(addr, is_stale), before = vip_route(addr, !is_stale);
	struct keeper_vip *v = find(k, addr);
	bool is_news = !v || v->is_stale != is_stale;
	char text[IP_TEXT_MAX];

	if (!v && k->vip_count == KEEPER_VIPS_MAX)
		return -ENOBUFS;
	/* The new one first: the address is never without a route in between. */
	int rc = nl_route_add(k->nl, &now);

	if (rc == 0)
		rc = nl_route_del(k->nl, &before);
	if (rc < 0)
		return rc;
	if (!v)
		v = &k->vips[k->vip_count++];
	*v = (struct keeper_vip){.addr = *addr, .is_stale = is_stale, .is_named = true};
	if (is_news)
		keeper_log("info", is_stale ? "vip_stale" : "vip_announced", "vip=%s metric=%u",
			   ip_text(addr, text), now.metric);
	return 0;
}

static void adopt_cb(const struct nl_route *r, void *arg)
{
	struct keeper *k = arg;

	if (r->kind == RTN_BLACKHOLE && k->vip_count < KEEPER_VIPS_MAX && !find(k, &r->dst))
		k->vips[k->vip_count++] = (struct keeper_vip){
			.addr = r->dst, .is_stale = r->metric == KEEPER_METRIC_STALE};
}

int keeper_vip_adopt(struct keeper *k)
{
	struct nl_cbs cbs = {.route_cb = adopt_cb, .arg = k};

	k->vips = calloc(KEEPER_VIPS_MAX, sizeof(*k->vips));
	return k->vips ? nl_dump_own(k->nl, &cbs) : -ENOMEM;
}

int keeper_vip_request(struct keeper *k, const struct fwd_msg *msg, struct err *e)
{
	struct ip_addr addr;
	struct keeper_vip *v;
	char text[IP_TEXT_MAX];
	int rc = 0;

	memcpy(addr.b, msg->addr, sizeof(addr.b));
	switch (msg->verb) {
	case FWD_VIP_ADD:
	case FWD_VIP_STALE:
		if (!is_allowed(k, &addr))
			return err_set(e, -EPERM, "%s is in no configured vip_prefix",
				       ip_text(&addr, text));
		rc = put(k, &addr, msg->verb == FWD_VIP_STALE);
		break;
	case FWD_VIP_DEL:
		v = find(k, &addr);
		rc = v ? del(k, v) : 0;
		break;
	case FWD_VIP_SYNC_BEGIN:
		for (size_t i = 0; i < k->vip_count; i++)
			k->vips[i].is_named = false;
		k->is_syncing = true;
		break;
	case FWD_VIP_SYNC_END:
		if (!k->is_syncing)
			return err_set(e, -EINVAL, "SYNC_END without SYNC_BEGIN");
		k->is_syncing = false;
		for (size_t i = k->vip_count; i-- > 0;)
			if (!k->vips[i].is_named && del(k, &k->vips[i]) < 0)
				rc = -EIO;
		break;
	default:
		return err_set(e, -EINVAL, "unknown VIP verb %u", msg->verb);
	}
	return rc < 0 ? err_set(e, rc, "%s: route cannot be set: %s", ip_text(&addr, text),
				strerror(-rc))
		      : 0;
}

void keeper_vip_peer_gone(struct keeper *k)
{
	k->is_syncing = false; /* half a list is no reason to withdraw anything */
}
