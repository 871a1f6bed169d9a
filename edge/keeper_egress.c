/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_egress.c - several uplinks: which one leads where, from the routing table to dp_egress.
 *
 * Programs can't ask the kernel on a machine that doesn't forward, so they get a table: the main table's unicast prefixes
 * that lead out of an uplink, each family's default among them. The kernel still finds the next hop on that interface. Of
 * several next hops the first counts. More than KEEPER_EGRESS_MAX prefixes: the rest go where the shorter ones lead.
 */
#include "edge/keeper_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Other routes than defaults change without an event here: looked at in turns, sooner while something is going on. */
#define EVERY_MS 10000
#define SOON_MS 500
#define SOON_FOR_MS 10000

struct way {
	struct dp_egress_key prefix;
	uint32_t ifindex;
	uint32_t metric;
};

struct keeper_egress {
	struct way *was, *now; /* KEEPER_EGRESS_MAX + some, sorted */
	size_t was_count, now_count, room;
	size_t over;	  /* prefixes that had no place */
	size_t over_told; /* logged */
	uint64_t after_ms, soon_until_ms;
	uint32_t uplinks; /* up */
	bool is_several;
};

int keeper_egress_open(struct keeper *k)
{
	struct keeper_egress *g = calloc(1, sizeof(*g));
	struct dp_egress_key key;

	k->egress = g;
	if (!g)
		return -ENOMEM;
	/* A table may have one prefix several times, with metrics of their own. */
	g->room = KEEPER_EGRESS_MAX * 2;
	g->was = calloc(g->room, sizeof(*g->was));
	g->now = calloc(g->room, sizeof(*g->now));
	if (!g->was || !g->now)
		return -ENOMEM;
	/* An earlier run's: unknown where to, so that each is written again. */
	for (int rc = dp_next_egress(k->dp, NULL, &key); rc == 0 && g->was_count < g->room;
	     rc = dp_next_egress(k->dp, &key, &key))
		g->was[g->was_count++] = (struct way){.prefix = key};
	return 0;
}

void keeper_egress_close(struct keeper *k)
{
	if (!k->egress)
		return;
	free(k->egress->was);
	free(k->egress->now);
	free(k->egress);
	k->egress = NULL;
}

static void route_cb(const struct nl_route *r, void *arg)
{
	struct keeper *k = arg;
	struct keeper_egress *g = k->egress;
	const struct keeper_if *out = keeper_if_find(k, r->oif);
	struct way w = {.ifindex = (uint32_t)r->oif, .metric = r->metric};

	if (!out || !out->is_up || !(out->roles & DP_ROLE_UPLINK))
		return;
	if (g->now_count == g->room) {
		g->over++;
		return;
	}
	/* A default has no destination in the message, of neither family. */
	w.prefix.prefix_bits = r->dst_bits + (r->family == AF_INET ? 96u : 0u);
	if (r->dst_bits) {
		memcpy(w.prefix.addr, r->dst.b, sizeof(w.prefix.addr));
	} else if (r->family == AF_INET) {
		memset(w.prefix.addr + 10, 0xff, 2);
	}
	g->now[g->now_count++] = w;
}

static int by_prefix(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct dp_egress_key));
}

static int by_prefix_and_metric(const void *a, const void *b)
{
	const struct way *x = a, *y = b;
	int rc = by_prefix(a, b);

	return rc ? rc : (x->metric > y->metric) - (x->metric < y->metric);
}

/* One way a prefix: the best metric's. Short prefixes sort first, and stay when there are too many. */
static void thin_out(struct keeper_egress *g)
{
	size_t kept = 0;

	qsort(g->now, g->now_count, sizeof(*g->now), by_prefix_and_metric);
	for (size_t i = 0; i < g->now_count; i++) {
		if (kept && by_prefix(&g->now[kept - 1], &g->now[i]) == 0)
			continue;
		g->now[kept++] = g->now[i];
	}
	g->over += kept > KEEPER_EGRESS_MAX ? kept - KEEPER_EGRESS_MAX : 0;
	g->now_count = kept > KEEPER_EGRESS_MAX ? KEEPER_EGRESS_MAX : kept;
}

static int write_all(struct keeper *k)
{
	struct keeper_egress *g = k->egress;
	int rc = 0;

	/* What goes, goes first: the map has room for what is wanted and no more. */
	for (size_t i = 0; rc == 0 && i < g->was_count; i++)
		if (!bsearch(&g->was[i], g->now, g->now_count, sizeof(*g->now), by_prefix))
			rc = dp_set_egress(k->dp, &g->was[i].prefix, 0);
	for (size_t i = 0; rc == 0 && i < g->now_count; i++) {
		const struct way *old = g->was_count ? bsearch(&g->now[i], g->was, g->was_count,
							       sizeof(*g->was), by_prefix)
						     : NULL;

		if (!old || old->ifindex != g->now[i].ifindex)
			rc = dp_set_egress(k->dp, &g->now[i].prefix, g->now[i].ifindex);
	}
	return rc;
}

static uint32_t uplinks_up(const struct keeper *k)
{
	uint32_t n = 0;

	for (size_t i = 0; i < k->if_count; i++)
		n += k->ifs[i].is_up && (k->ifs[i].roles & DP_ROLE_UPLINK);
	return n;
}

static bool leads_to_several(const struct keeper_egress *g)
{
	for (size_t i = 1; i < g->now_count; i++)
		if (g->now[i].ifindex != g->now[0].ifindex)
			return true;
	return false;
}

bool keeper_egress_update(struct keeper *k, bool is_due)
{
	struct nl_cbs cbs = {.route_cb = route_cb, .arg = k};
	struct keeper_egress *g = k->egress;
	uint32_t uplinks = uplinks_up(k);
	uint64_t now_ms = uv_now(k->uv);

	if (!is_due && uplinks == g->uplinks && (uplinks < 2 || now_ms < g->after_ms))
		return g->is_several;
	if (is_due || uplinks != g->uplinks)
		g->soon_until_ms = now_ms + SOON_FOR_MS;
	g->uplinks = uplinks;
	g->now_count = g->over = 0;
	uint64_t begin_ns = uv_hrtime();
	int rc = uplinks > 1 ? nl_dump_unicast(k->nl, &cbs) : 0;
	uint64_t took_ms = (uv_hrtime() - begin_ns) / 1000000;
	uint64_t pause_ms = now_ms < g->soon_until_ms ? SOON_MS : EVERY_MS;

	/* A table of a million routes takes a second to read: not more than a tenth of our time. */
	g->after_ms = now_ms + (took_ms * 10 > pause_ms ? took_ms * 10 : pause_ms);
	if (rc == 0) {
		thin_out(g);
		if (uplinks < 2 || !leads_to_several(g))
			g->now_count = 0;
		rc = write_all(k);
	}
	if (rc < 0) {
		keeper_log("error", "egress_failed", "text=\"%s\"", strerror(-rc));
		return g->is_several;
	}
	if (g->over != g->over_told && g->over)
		keeper_log("warn", "egress_full",
			   "prefixes=%zu over=%zu text=\"the rest go where shorter ones lead\"",
			   g->now_count, g->over);
	if ((g->now_count > 0) != g->is_several || g->now_count != g->was_count)
		keeper_log("info", "egress", "uplinks=%u prefixes=%zu", uplinks, g->now_count);
	g->over_told = g->over;
	g->is_several = g->now_count > 0;
	struct way *spare = g->was;

	g->was = g->now;
	g->was_count = g->now_count;
	g->now = spare;
	return g->is_several;
}
