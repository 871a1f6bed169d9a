/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_gw.c - default gateways that don't answer: a placeholder keeps packets coming to TC egress. */
#include "edge/keeper_int.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <string.h>

#define PROBE_MS 2000 /* ask again this often while there is no answer */
#define UNRESOLVED_MS                                                                              \
	2000 /* a live gateway answers in milliseconds; the kernel itself gives up after 3 s */
#define RESOLICIT                                                                                  \
	"3" /* broadcasts after unicast probes failed: finds a gateway whose MAC has changed */

static bool is_same_gw(const struct keeper_gw *g, int ifindex, const struct ip_addr *addr)
{
	return g->ifindex == ifindex && ip_equal(&g->addr, addr);
}

/* The kernel forgets a stale entry's failure only if it may ask everyone again. */
static void set_resolicit(const char *ifname)
{
	static const char *const family[] = {"ipv4", "ipv6"};

	for (size_t i = 0; i < 2; i++) {
		char path[128], old[16] = "";

		snprintf(path, sizeof(path), "/proc/sys/net/%s/neigh/%s/mcast_resolicit", family[i],
			 ifname);
		FILE *f = fopen(path, "re");

		if (!f)
			continue; /* no such family */
		bool is_zero = fgets(old, sizeof(old), f) && old[0] == '0';

		fclose(f);
		f = is_zero ? fopen(path, "we") : NULL;
		if (!f)
			continue;
		bool is_bad = fputs(RESOLICIT, f) < 0;

		if (fclose(f) != 0 || is_bad)
			keeper_log("warn", "sysctl_failed", "path=%s", path);
	}
}

/* All default routes' gateways on interfaces where our egress program waits. */
void keeper_gw_retarget(struct keeper *k)
{
	for (size_t i = 0; i < k->gw_count; i++)
		k->gw[i].is_wanted = false;
	for (size_t r = 0; r < k->default_count; r++) {
		const struct nl_route *d = &k->defaults[r];
		const struct keeper_if *out = keeper_if_find(k, d->oif);
		size_t i = 0;

		if (ip_is_zero(&d->gateway) || !out || !out->is_up || !out->has_mac ||
		    !out->is_arp || !(out->roles & DP_ROLE_UPLINK))
			continue;
		while (i < k->gw_count && !is_same_gw(&k->gw[i], d->oif, &d->gateway))
			i++;
		if (i == KEEPER_GATEWAYS_MAX)
			continue;
		if (i == k->gw_count) {
			k->gw[i] = (struct keeper_gw){.ifindex = d->oif, .addr = d->gateway};
			k->gw_count++;
		}
		k->gw[i].is_wanted = true;
	}
	for (size_t i = k->gw_count; i-- > 0;)
		if (!k->gw[i].is_wanted)
			k->gw[i] = k->gw[--k->gw_count];
}

static void place(struct keeper *k, struct keeper_gw *g, const struct keeper_if *out)
{
	char text[IP_TEXT_MAX];
	int rc;

	set_resolicit(out->name);
	rc = nl_neigh_set_stale(k->nl, g->ifindex, &g->addr, out->mac);
	if (!g->is_placeholder || rc < 0)
		keeper_log("warn", "gateway_silent", "gateway=%s if=%s placeholder=%s",
			   ip_text(&g->addr, text), out->name, rc < 0 ? strerror(-rc) : "set");
	g->is_placeholder = rc == 0;
	g->unresolved_ms = 0;
}

static void look(struct keeper *k, struct keeper_gw *g)
{
	const struct keeper_if *out = keeper_if_find(k, g->ifindex);
	uint64_t now = uv_now(k->uv);
	struct nl_neigh n = {};
	char text[IP_TEXT_MAX];

	if (!out)
		return;
	int rc = nl_neigh_get(k->nl, g->ifindex, &g->addr, &n);

	if (rc < 0 && rc != -ENOENT)
		return; /* the interface is on its way out */
	bool is_ours = n.has_mac && memcmp(n.mac, out->mac, 6) == 0;

	if (n.state & (NUD_PERMANENT | NUD_NOARP))
		return; /* the operator's own */
	if ((n.state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)) && !is_ours) {
		if (g->is_placeholder)
			keeper_log("info", "gateway_back", "gateway=%s if=%s",
				   ip_text(&g->addr, text), out->name);
		g->is_placeholder = false;
		g->unresolved_ms = 0;
		return;
	}
	if (n.state & NUD_FAILED) {
		place(k, g, out);
	} else if (n.state & NUD_INCOMPLETE) {
		if (!g->unresolved_ms)
			g->unresolved_ms = now;
		else if (now - g->unresolved_ms >= UNRESOLVED_MS)
			place(k, g, out);
	}
	if (n.state & (NUD_STALE | NUD_DELAY | NUD_PROBE))
		g->is_placeholder = true; /* of an earlier run, perhaps */
	if (!g->probed_ms || now - g->probed_ms >= PROBE_MS) {
		(void)nl_neigh_probe(k->nl, g->ifindex, &g->addr); /* again in two seconds */
		g->probed_ms = now;
	}
}

void keeper_gw_tick(struct keeper *k)
{
	for (size_t i = 0; i < k->gw_count; i++)
		look(k, &k->gw[i]);
}

void keeper_gw_failed(struct keeper *k, const struct nl_neigh *n)
{
	for (size_t i = 0; i < k->gw_count; i++)
		if (is_same_gw(&k->gw[i], n->ifindex, &n->addr))
			look(k, &k->gw[i]);
}

struct placeholders {
	struct ip_addr addr[KEEPER_GATEWAYS_MAX];
	size_t count;
	const struct nl_link *link;
};

static void collect_cb(const struct nl_neigh *n, void *arg)
{
	struct placeholders *p = arg;

	if (n->ifindex == p->link->ifindex && n->has_mac && !(n->state & NUD_PERMANENT) &&
	    memcmp(n->mac, p->link->mac, 6) == 0 && p->count < KEEPER_GATEWAYS_MAX)
		p->addr[p->count++] = n->addr;
}

void keeper_gw_remove_placeholders(struct nl *nl, const struct nl_link *l)
{
	struct placeholders p = {.link = l};
	struct nl_cbs cbs = {.neigh_cb = collect_cb, .arg = &p};

	if (!l->has_mac || nl_dump_neighs(nl, l->ifindex, &cbs) < 0)
		return;
	for (size_t i = 0; i < p.count; i++)
		(void)nl_neigh_del(nl, l->ifindex, &p.addr[i]); /* it may have found its MAC */
}
