/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What this node observes of the ways to others, and its row. Fed by suspect_probe.c. */
#include "gossip/reach.h"

#include <stdlib.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"
#include "gossip/suspect_probe.h"

#define TICK_MS 1000
#define FAILS_MIN 8	  /* so many probes in a row that only others had answered */
#define FAILS_MIN_CLEAN 3 /* where hardly anything is lost */
#define PINGS_MIN 12	  /* so many data-path pings in a row without an answer */
#define PINGS_MIN_CLEAN 5
#define CLEAN_SAMPLES 40
#define CLEAN_PCT 3	   /* of round trips lost, and less */
#define PING_EVERY_MS 2000 /* to a node that we probe anyway */
#define PING_DOUBT 1	   /* after so many without an answer */
#define PING_DOUBT_MS 400
#define HEARD_FRESH_MS 5000 /* heard so lately: it is our packets that don't arrive */
#define FLAP 100	    /* one return, in hundredths */
#define FLAPS_GRAY 250	    /* about three within ten seconds */
#define FLAPS_WELL 60
#define FLAPS_HALF_MS 15000
#define SLOW_TIMES 4 /* as its neighbours, and this much on top */
#define SLOW_MS 150
#define SLOW_NEIGHBOURS 3 /* fewer are no measure */
#define SLOW_LOOKS 16
#define BAND_LOOKS 8	      /* a band changes when it was another for so many */
#define MEDIAN_MAX 64	      /* members of a region that are looked at for its round trip */
#define REGION_SHARE 16	      /* decay of what was sent and lost: over about so many looks */
#define TWIN_FRESH_MS 30000   /* a conflict is said for so long after it was seen */
#define STALL_KEEP 31	      /* of 32 parts a second */
#define STALL_WINDOW_MS 32000 /* what was lost of it then is the share */
#define STALL_ONE_MAX_MS 2500 /* one long sleep is not half a life */
#define ROWS_A_TICK 32
#define PROBES_A_TICK 4
#define PUT_EVERY_MS 3000
#define BANDS_EVERY_MS 30000 /* at first, then twice as long each time */
#define BANDS_EVERY_MAX_MS 480000
#define BEGIN_MS 5000 /* the first row waits for what is measured first */

/* ---- paths */

void reach_on_answer(struct gossip_core *c, struct member *m)
{
	(void)c;
	m->reach.fails = 0;
	m->reach.bad_ms = 0;
}

static struct reach_view *find_view(struct gossip_core *c, const struct member *m)
{
	for (size_t i = 0; i < c->reach.view_count; i++)
		if (strcmp(c->reach.view[i].name, m->card.region) == 0)
			return &c->reach.view[i];
	return NULL;
}

static struct reach_view *view_of(struct gossip_core *c, const struct member *m)
{
	struct reach_state *s = &c->reach;
	struct reach_view *oldest = &s->view[0], *v = find_view(c, m);

	if (v)
		return v;
	for (size_t i = 0; i < s->view_count; i++)
		if (s->view[i].seen_ms < oldest->seen_ms)
			oldest = &s->view[i];
	if (s->view_count < REACH_REGIONS_MAX)
		oldest = &s->view[s->view_count++];
	*oldest = (struct reach_view){.band = {REACH_RTT_BANDS, REACH_LOSS_BANDS},
				      .seen_ms = c->now_ms};
	memcpy(oldest->name, m->card.region, sizeof(oldest->name));
	return oldest;
}

bool reach_is_clean(struct gossip_core *c, const struct member *m)
{
	const struct reach_view *v = find_view(c, m);

	return v && v->sent >= CLEAN_SAMPLES && v->lost * 100 < v->sent * CLEAN_PCT;
}

void reach_on_detour(struct gossip_core *c, struct member *m)
{
	if (m->reach.fails < FAILS_MIN)
		m->reach.fails++;
	if (m->reach.fails >= (reach_is_clean(c, m) ? FAILS_MIN_CLEAN : FAILS_MIN) &&
	    !m->reach.bad_ms)
		m->reach.bad_ms = c->now_ms;
}

void reach_on_sample(struct gossip_core *c, const struct member *m, bool is_lost)
{
	struct reach_view *v = view_of(c, m);

	v->seen_ms = c->now_ms;
	v->sent++;
	v->lost += is_lost;
	if (v->sent >= 400) {
		v->sent -= v->sent / REGION_SHARE;
		v->lost -= v->lost / REGION_SHARE;
	}
}

bool reach_wants_ping(const struct gossip_core *c, const struct member *m)
{
	uint64_t every_ms = m->reach.ping_fails >= PING_DOUBT ? PING_DOUBT_MS : PING_EVERY_MS;

	return m->card.has_forwarder && m->state == GOSSIP_ALIVE &&
	       c->now_ms >= m->reach.ping_ms + every_ms + 2 * probe_rtt_ms(c, m);
}

void reach_on_ping(struct gossip_core *c, struct member *m)
{
	struct reach_path *p = &m->reach;

	/* Control answered since, and the kernel did not. */
	if (p->ping_ms && m->data_heard_ms < p->ping_ms && m->heard_ms > p->ping_ms) {
		if (p->ping_fails < PINGS_MIN)
			p->ping_fails++;
		if (p->ping_fails >= (reach_is_clean(c, m) ? PINGS_MIN_CLEAN : PINGS_MIN) &&
		    !p->data_bad_ms)
			p->data_bad_ms = c->now_ms;
	}
	p->ping_ms = c->now_ms;
}

void reach_on_pong(struct gossip_core *c, struct member *m)
{
	(void)c;
	m->reach.ping_fails = 0;
	m->reach.data_bad_ms = 0;
}

/* ---- the half dead */

static void settle_flaps(struct gossip_core *c, struct reach_path *p)
{
	while (p->flaps && c->now_ms >= p->flap_ms + FLAPS_HALF_MS) {
		p->flaps /= 2;
		p->flap_ms += FLAPS_HALF_MS;
	}
}

void reach_on_return(struct gossip_core *c, struct member *m)
{
	struct reach_path *p = &m->reach;

	settle_flaps(c, p);
	/* A restart is no flap. */
	if (p->generation != m->card.generation) {
		p->generation = m->card.generation;
		return;
	}
	if (!p->flaps)
		p->flap_ms = c->now_ms;
	if (p->flaps < 10 * FLAP)
		p->flaps = (uint16_t)(p->flaps + FLAP);
}

void reach_on_frozen(struct gossip_core *c, uint64_t gap_ms)
{
	c->reach.stall_ms += gap_ms < STALL_ONE_MAX_MS ? gap_ms : STALL_ONE_MAX_MS;
}

static uint8_t stall_pct(uint8_t now, uint64_t stall_ms)
{
	static const uint8_t step[] = {75, 50, 30, 15};
	uint64_t pct = stall_ms * 100 / STALL_WINDOW_MS;

	if (now && pct + 5 >= now && pct < now + 20u)
		return now;
	for (size_t i = 0; i < sizeof(step); i++)
		if (pct >= step[i])
			return step[i];
	return 0;
}

/* ---- looking */

static int cmp_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static uint32_t median_rtt(const struct gossip_core *c, const char *region, size_t *ret_count)
{
	uint32_t rtt[MEDIAN_MAX];
	size_t n = 0;

	for (size_t i = 0; i < c->ring_count && n < MEDIAN_MAX; i++) {
		const struct member *m = c->ring[i];

		if (m->rtt_us && !m->is_self && m->state <= GOSSIP_SUSPECT &&
		    strcmp(m->card.region, region) == 0)
			rtt[n++] = m->rtt_us;
	}
	if (n == 0)
		n = region_rtts(c, region, rtt, MEDIAN_MAX);
	*ret_count = n;
	if (n == 0)
		return 0;
	qsort(rtt, n, sizeof(rtt[0]), cmp_u32);
	return rtt[(n - 1) / 2];
}

/* The first one at once; another one when it was so for some looks on end. */
static void settle_band(uint8_t *band, uint8_t seen, uint8_t none, uint8_t *looks)
{
	if (*band == none || (seen != *band && ++*looks >= BAND_LOOKS))
		*band = seen;
	if (seen == *band)
		*looks = 0;
}

static void look_at_region(struct gossip_core *c, struct reach_view *v)
{
	uint32_t rtt_us = median_rtt(c, v->name, &v->measured);

	if (v->measured == 0)
		return;
	v->rtt_us = v->rtt_us ? (v->rtt_us * 7 + rtt_us) / 8 : rtt_us;
	settle_band(&v->band.rtt, reach_rtt_band(v->band.rtt, v->rtt_us), REACH_RTT_BANDS,
		    &v->rtt_looks);
	settle_band(&v->band.loss, reach_loss_band(v->band.loss, v->lost, v->sent),
		    REACH_LOSS_BANDS, &v->loss_looks);
}

/* Far slower than its neighbours, look after look. Whoever is unwell itself sees all others slow. */
static void look_at_pace(struct gossip_core *c, struct member *m)
{
	const struct reach_view *v = find_view(c, m);
	struct reach_path *p = &m->reach;
	uint64_t limit;

	if (!v || v->measured < SLOW_NEIGHBOURS || c->health > 0 || c->reach.said.stall_pct)
		return;
	limit = (uint64_t)v->rtt_us * SLOW_TIMES + SLOW_MS * 1000;
	if (m->rtt_us > limit && p->slow_looks < SLOW_LOOKS)
		p->slow_looks++;
	if (m->rtt_us < limit / 2)
		p->slow_looks = 0;
}

static void look_at_member(struct gossip_core *c, struct member *m)
{
	struct reach_path *p = &m->reach;

	settle_flaps(c, p);
	look_at_pace(c, m);
	if ((p->flaps >= FLAPS_GRAY || p->slow_looks >= SLOW_LOOKS) && !p->gray_ms)
		p->gray_ms = c->now_ms;
	if (p->gray_ms && p->flaps < FLAPS_WELL && p->slow_looks == 0)
		p->gray_ms = 0;
	if (m->state >= GOSSIP_DEAD) {
		p->bad_ms = p->data_bad_ms = p->gray_ms = 0;
		p->fails = p->ping_fails = 0;
		p->flaps = p->slow_looks = 0;
	}
}

/* It has trouble with us: so have we with it, perhaps, and it hears us when we look. */
static bool is_of_path(uint8_t cause)
{
	return cause == REACH_UNHEARD || cause == REACH_DEAF || cause == REACH_DATA;
}

static const struct record *row_of(const struct gossip_core *c, const struct member *m)
{
	const struct rec *r = table_find(c, &m->id, REACH_KIND, (const uint8_t *)REACH_KEY,
					 sizeof(REACH_KEY) - 1);

	return r && table_is_in_force(r) ? &r->blob->r : NULL;
}

static void read_row(struct gossip_core *c, struct member *m)
{
	const struct record *r = row_of(c, m);
	struct reach_row row;

	if (!r || (r->seq == m->reach.row_seq && m->reach.row_ms))
		return;
	m->reach.row_seq = r->seq;
	m->reach.row_ms = c->now_ms;
	m->reach.names_us = false;
	if (reach_decode(r->value, r->value_len, &row))
		return;
	for (size_t i = 0; i < row.peer_count; i++)
		if (is_of_path(row.peer[i].cause) &&
		    memcmp(row.peer[i].number, c->self->id.b, sizeof(row.peer[i].number)) == 0)
			m->reach.names_us = true;
}

/* ---- saying */

static uint8_t cause_of(const struct gossip_core *c, const struct member *m, uint64_t *ret_since)
{
	const struct reach_path *p = &m->reach;

	if (m->is_self || m->state >= GOSSIP_DEAD)
		return 0;
	if (m->conflict_ms && c->now_ms < m->conflict_ms + TWIN_FRESH_MS) {
		*ret_since = m->conflict_ms;
		return REACH_TWIN;
	}
	if (p->gray_ms) {
		*ret_since = p->gray_ms;
		return REACH_GRAY;
	}
	if (p->bad_ms && m->state != GOSSIP_SUSPECT) {
		*ret_since = p->bad_ms;
		return c->now_ms < m->heard_ms + HEARD_FRESH_MS ? REACH_DEAF : REACH_UNHEARD;
	}
	if (p->data_bad_ms && m->state == GOSSIP_ALIVE) {
		*ret_since = p->data_bad_ms;
		return REACH_DATA;
	}
	return 0;
}

static void make_row(struct gossip_core *c, struct reach_row *row)
{
	struct reach_state *s = &c->reach;
	uint64_t since = 0, age_s;

	memset(row, 0, sizeof(*row));
	for (size_t i = 0; i < c->ring_count && row->peer_count < REACH_PEERS_MAX; i++) {
		const struct member *m = c->ring[i];
		struct reach_peer *p = &row->peer[row->peer_count];

		p->cause = cause_of(c, m, &since);
		if (!p->cause)
			continue;
		age_s = (c->now_ms - since) / 1000;
		p->age_s = (uint16_t)(age_s < REACH_AGE_MAX_S ? age_s : REACH_AGE_MAX_S);
		memcpy(p->number, m->id.b, sizeof(p->number));
		row->peer_count++;
	}
	for (size_t i = 0; i < s->view_count; i++)
		if (s->view[i].band.rtt < REACH_RTT_BANDS)
			row->region[row->region_count++] = (struct reach_region){
				reach_region_of(s->view[i].name), s->view[i].band};
	row->stall_pct = stall_pct(s->said.stall_pct, s->stall_ms);
}

static bool is_same_trouble(const struct reach_row *a, const struct reach_row *b)
{
	if (a->peer_count != b->peer_count || a->stall_pct != b->stall_pct)
		return false;
	for (size_t i = 0; i < a->peer_count; i++)
		if (a->peer[i].cause != b->peer[i].cause ||
		    memcmp(a->peer[i].number, b->peer[i].number, sizeof(a->peer[i].number)))
			return false;
	return true;
}

static void say(struct gossip_core *c)
{
	struct reach_state *s = &c->reach;
	uint8_t buf[REACH_ROW_BYTES_MAX];
	struct reach_row row;
	bool is_trouble, is_bands;
	int len;

	make_row(c, &row);
	is_trouble = !is_same_trouble(&row, &s->said) && c->now_ms >= s->put_ms + PUT_EVERY_MS;
	is_bands = (row.region_count != s->said.region_count ||
		    memcmp(row.region, s->said.region, row.region_count * sizeof(row.region[0])) !=
			    0) &&
		   (!s->bands_put_ms || c->now_ms >= s->bands_put_ms + s->bands_wait_ms);
	if (!is_trouble && !is_bands)
		return;
	len = reach_encode(&row, buf, sizeof(buf));
	if (len < 0 || own_write(c, REACH_KIND, (const uint8_t *)REACH_KEY, sizeof(REACH_KEY) - 1,
				 buf, (size_t)len, false, false))
		return;
	if (is_bands && !is_trouble) {
		s->bands_put_ms = c->now_ms;
		s->bands_wait_ms = s->bands_wait_ms ? s->bands_wait_ms * 2 : BANDS_EVERY_MS;
		if (s->bands_wait_ms > BANDS_EVERY_MAX_MS)
			s->bands_wait_ms = BANDS_EVERY_MAX_MS;
	}
	s->said = row;
	s->put_ms = c->now_ms;
}

void reach_tick(struct gossip_core *c)
{
	struct reach_state *s = &c->reach;
	unsigned int probes = 0;

	if (!s->begun_ms)
		s->begun_ms = c->now_ms;
	if (c->now_ms < s->tick_ms + TICK_MS)
		return;
	s->tick_ms = c->now_ms;
	s->stall_ms = s->stall_ms * STALL_KEEP / (STALL_KEEP + 1);
	for (size_t i = 0; i < ROWS_A_TICK && i < c->ring_count; i++) {
		struct member *m = c->ring[s->next++ % c->ring_count];

		if (m->is_self)
			continue;
		read_row(c, m);
		look_at_member(c, m);
		/* In doubt, here or there: look again, so that it is not left to chance when. */
		if ((m->reach.fails || m->reach.ping_fails || m->reach.names_us ||
		     m->reach.slow_looks) &&
		    m->state == GOSSIP_ALIVE && probes < PROBES_A_TICK) {
			probe_start(c, m);
			probes++;
		}
	}
	if (s->view_count > 0)
		look_at_region(c, &s->view[s->next_view++ % s->view_count]);
	if (c->now_ms >= s->begun_ms + BEGIN_MS && !c->has_left)
		say(c);
}

size_t reach_collect(const struct gossip_core *c, struct reach_node *ret_nodes, size_t max)
{
	size_t n = 0;

	for (; n < c->ring_count && n < max; n++) {
		const struct member *m = c->ring[n];
		const struct record *r = row_of(c, m);
		struct reach_node *x = &ret_nodes[n];

		*x = (struct reach_node){.id = m->id,
					 .name = m->card.name,
					 .region = m->card.region,
					 .is_up = m->state <= GOSSIP_SUSPECT,
					 .row_ms = m->is_self ? c->reach.put_ms : m->reach.row_ms};
		x->has_row = r && reach_decode(r->value, r->value_len, &x->row) == 0;
	}
	return n;
}
