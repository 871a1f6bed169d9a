/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_vip.c - announce routes: `blackhole VIP`, for a BGP daemon to export. */
#include "edge/keeper_int.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#define EDGED_SILENT_S 30 /* it restarts in one; longer, and what it last said may be wrong */

static struct nl_route vip_route(const struct ip_addr *vip, uint32_t metric)
{
	bool is_v4 = ip_is_v4(vip);

	return (struct nl_route){.family = is_v4 ? AF_INET : AF_INET6,
				 .kind = RTN_BLACKHOLE,
				 .dst = *vip,
				 .dst_bits = is_v4 ? 32 : 128,
				 .metric = metric};
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

static int del_route(struct keeper *k, const struct ip_addr *addr, uint32_t metric)
{
	struct nl_route r = vip_route(addr, metric);

	return metric ? nl_route_del(k->nl, &r) : 0;
}

static uint32_t wanted_metric(const struct keeper *k, const struct keeper_vip *v)
{
	if (k->vip_gate[0])
		return 0;
	return v->is_stale || k->is_edged_silent ? KEEPER_METRIC_STALE : KEEPER_METRIC_VIP;
}

/* The new route first: the address is never without one in between. */
static int apply(struct keeper *k, struct keeper_vip *v)
{
	uint32_t metric = wanted_metric(k, v);
	struct nl_route now = vip_route(&v->addr, metric);
	char text[IP_TEXT_MAX];
	int rc = 0;

	if (metric == v->metric)
		return 0;
	if (metric)
		rc = nl_route_add(k->nl, &now);
	if (rc == 0)
		rc = del_route(k, &v->addr, v->metric);
	if (rc < 0)
		return rc;
	v->metric = metric;
	keeper_log("info",
		   !metric			   ? "vip_withdrawn"
		   : metric == KEEPER_METRIC_STALE ? "vip_stale"
						   : "vip_announced",
		   "vip=%s metric=%u", ip_text(&v->addr, text), metric);
	return 0;
}

static int del(struct keeper *k, struct keeper_vip *v)
{
	char text[IP_TEXT_MAX];
	int rc = del_route(k, &v->addr, v->metric);

	if (v->metric || rc < 0)
		keeper_log(rc < 0 ? "error" : "info", "vip_withdrawn", "vip=%s status=%d",
			   ip_text(&v->addr, text), rc);
	if (rc == 0)
		*v = k->vips[--k->vip_count];
	return rc;
}

static int put(struct keeper *k, const struct ip_addr *addr, bool is_stale)
{
	struct keeper_vip *v = find(k, addr);
	bool is_new = !v;

	if (is_new && k->vip_count == KEEPER_VIPS_MAX)
		return -ENOBUFS;
	if (is_new) {
		v = &k->vips[k->vip_count++];
		*v = (struct keeper_vip){.addr = *addr};
	}
	v->is_stale = is_stale;
	v->is_named = true;
	int rc = apply(k, v);

	if (rc < 0 && is_new)
		k->vip_count--;
	return rc;
}

/* ---- whether to announce at all */

static const char *why_not(struct keeper *k)
{
	const struct keeper_if *mesh = keeper_if_mesh(k);
	bool has_public = false;

	for (size_t n = 0; n < k->if_count; n++) {
		const struct keeper_if *i = &k->ifs[n];

		has_public |= i->is_up && (i->roles & i->attached & DP_ROLE_PUBLIC);
	}
	if (!mesh)
		return "the mesh device is gone";
	if (!mesh->is_up)
		return "the mesh device is down";
	if (!(mesh->attached & DP_ROLE_MESH))
		return "the mesh device has no programs";
	return has_public ? NULL : "no public interface is up and has programs";
}

static bool is_edged_silent(const struct keeper *k)
{
	uint64_t now_s = uv_hrtime() / 1000000000u, beat_s = dp_edged_beat(k->dp);

	return beat_s && now_s > beat_s + EDGED_SILENT_S;
}

void keeper_vip_judge(struct keeper *k)
{
	const char *why = why_not(k);
	bool is_silent = is_edged_silent(k);

	if (is_silent != k->is_edged_silent)
		keeper_log(is_silent ? "warn" : "info", is_silent ? "edged_silent" : "edged_back",
			   "text=\"%s\"",
			   is_silent ? "VIPs are announced as stale"
				     : "VIPs are announced as before");
	if (why && strcmp(why, k->vip_gate) != 0)
		keeper_log("error", "cannot_forward", "text=\"%s: no VIP is announced\"", why);
	if (!why && k->vip_gate[0])
		keeper_log("info", "forwards_again", "text=\"VIPs are announced again\"");
	k->is_edged_silent = is_silent;
	snprintf(k->vip_gate, sizeof(k->vip_gate), "%s", why ? why : "");
	/* What fails is tried again by the next tick. */
	for (size_t i = 0; i < k->vip_count; i++)
		(void)apply(k, &k->vips[i]);
}

void keeper_vip_give_up(struct keeper *k)
{
	/* del() puts the last one in its place, which has had its turn. What stays is in the log. */
	for (size_t i = k->vip_count; i-- > 0;)
		(void)del(k, &k->vips[i]);
}

static void adopt_cb(const struct nl_route *r, void *arg)
{
	struct keeper *k = arg;

	if (r->kind == RTN_BLACKHOLE && k->vip_count < KEEPER_VIPS_MAX && !find(k, &r->dst))
		k->vips[k->vip_count++] =
			(struct keeper_vip){.addr = r->dst,
					    .is_stale = r->metric == KEEPER_METRIC_STALE,
					    .metric = r->metric};
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
