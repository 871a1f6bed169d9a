/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What lies between two nodes: distance, loss, cuts, tunnels that went cold.
 *
 * Round trips between regions, in tenths of a millisecond. The first ten: means measured between cloud regions in 2017,
 * "Latency Between AWS Global Regions", as quoted in acomputerscientistlearnsaws.blogspot.com/2017/04/aws-regions.html.
 * Cape Town and Hong Kong: the rows of cloudping.co. Both directions are taken as equal.
 */
#include <string.h>

#include "tests/sim/sim_cluster.h"

static const char *const region_name[SIM_REGIONS] = {
	"virginia", "california", "oregon", "ireland",	"frankfurt", "tokyo",
	"seoul",    "singapore",  "sydney", "saopaulo", "capetown",  "hongkong",
};

/* clang-format off */
static const uint16_t rtt_tenths[SIM_REGIONS][SIM_REGIONS] = {
	{0},
	{ 727},
	{ 870,  195},
	{ 806, 1532, 1370},
	{ 887, 1666, 1595,  196},
	{1453, 1025,  891, 2124, 2365},
	{1784, 1315, 1183, 2424, 2662,  314},
	{2167, 1740, 1614, 2390, 3259,  738,  719},
	{2300, 1575, 1622, 3096, 3235, 1039, 1340, 1753},
	{1195, 1927, 1827, 1913, 1949, 2568, 2863, 3281, 3225},
	{2269, 2866, 2788, 1566, 1554, 2857, 2705, 2052, 2950, 3373},
	{2025, 1549, 1463, 2575, 1985,  526,  397,  340, 1255, 3123, 2384},
};
/* clang-format on */

#define HERE_RTT_TENTHS 10 /* inside a region */
#define NEAR_TENTHS 50	   /* one way */
#define HANDSHAKE_MS 5000  /* a lost handshake is tried again after so long */

const char *sim_region_name(size_t region)
{
	return region_name[region % SIM_REGIONS];
}

static uint64_t one_way_tenths(size_t a, size_t b)
{
	if (a == b)
		return HERE_RTT_TENTHS / 2;
	return a > b ? rtt_tenths[a][b] / 2u : rtt_tenths[b][a] / 2u;
}

uint64_t sim_link_delay(struct sim *s, size_t src, size_t dst)
{
	uint64_t min = s->cfg.latency_min_ms, max = s->cfg.latency_max_ms, tenths;

	if (!s->cfg.has_regions) {
		if (max == 0) {
			min = 1;
			max = 5;
		}
		return min + sim_below(&s->rng, max - min + 1);
	}
	tenths = one_way_tenths(s->node[src].region % SIM_REGIONS,
				s->node[dst].region % SIM_REGIONS);
	/* More regions than the table has: those that share a place lie near each other. */
	if (s->node[src].region != s->node[dst].region && tenths < NEAR_TENTHS)
		tenths = NEAR_TENTHS;
	tenths += sim_below(&s->rng, tenths * s->cfg.jitter_pct / 100 + 10);
	if (s->cfg.reorder_pct && sim_below(&s->rng, 100) < s->cfg.reorder_pct)
		tenths += sim_below(&s->rng, 4 * tenths + 200);
	return tenths / 10 + 1;
}

bool sim_link_loses(struct sim *s)
{
	return sim_below(&s->rng, 100) < s->cfg.loss_pct;
}

bool sim_link_is_up(const struct sim *s, size_t src, size_t dst)
{
	return s->node[src].group == s->node[dst].group && !s->cut[src * s->cfg.nodes + dst];
}

/* When a packet sent now gets through the tunnel of the pair: it may have to be made anew, and until then all is lost. */
uint64_t sim_link_ready_ms(struct sim *s, size_t src, size_t dst)
{
	size_t lo = src < dst ? src : dst, hi = src < dst ? dst : src;
	struct sim_tunnel *t = &s->tunnel[lo * s->cfg.nodes + hi];

	if (!s->cfg.cold_after_ms || lo == hi)
		return s->now_ms;
	if (!t->is_made || s->now_ms > t->used_ms + s->cfg.cold_after_ms) {
		t->is_made = true;
		t->ready_ms = s->now_ms + HANDSHAKE_MS;
	}
	if (s->now_ms >= t->ready_ms)
		t->used_ms = s->now_ms;
	else
		t->used_ms = t->ready_ms;
	return t->ready_ms;
}

/* Bits turn over, or the end is missing. */
struct sim_payload *sim_link_corrupt(struct sim *s, const struct sim_payload *p)
{
	struct sim_payload *bad = sim_payload_new(p->bytes, p->len);

	if (bad->len > 1 && sim_below(&s->rng, 4) == 0)
		bad->len = 1 + sim_below(&s->rng, bad->len - 1);
	for (uint64_t k = 1 + sim_below(&s->rng, 4); bad->len > 0 && k > 0; k--)
		bad->bytes[sim_below(&s->rng, bad->len)] ^= (uint8_t)(1u << sim_below(&s->rng, 8));
	return bad;
}

void sim_cut(struct sim *s, size_t src, size_t dst, bool is_cut)
{
	s->cut[src * s->cfg.nodes + dst] = is_cut;
}

void sim_deny(struct sim *s, size_t src, size_t dst, bool is_denied)
{
	s->deny[src * s->cfg.nodes + dst] = is_denied;
}

void sim_partition(struct sim *s, size_t i, int group)
{
	s->node[i].group = group;
}

void sim_heal(struct sim *s)
{
	for (size_t i = 0; i < s->cfg.nodes; i++)
		s->node[i].group = 0;
	memset(s->cut, 0, s->cfg.nodes * s->cfg.nodes);
	memset(s->deny, 0, s->cfg.nodes * s->cfg.nodes);
}
