/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/sync.h"

#include <stdlib.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "gossip/region.h"
#include "gossip/version.h"

#define SYNC_EVERY_MS 500 /* we begin at most so many comparisons */
#define SYNC_PEER_MS 1000 /* and with one peer */
#define SUMS_FROM 32	  /* members and writers: with fewer, lists are shorter than sums */
#define RUNS_MAX 16	  /* ranges listed in answer to sums */
#define PAGE_ENTRIES 512  /* members or writers compared in one message */

/* ---- when to compare */

bool sync_is_fresh(const struct gossip_core *c, const struct member *m)
{
	return c->now_ms < m->digest_ms + SYNC_FRESH_MS;
}

/* All cards and stored records that we have, in one word; never 0. */
static uint64_t all_of(const struct gossip_core *c)
{
	return (c->root.w[0] + c->root.w[1] * 0x9e3779b97f4a7c15ull +
		c->members_digest * 0xff51afd7ed558ccdull) |
	       1;
}

uint64_t sync_word(const struct gossip_core *c)
{
	return (all_of(c) * 0xc4ceb9fe1a85ec53ull + c->standing * 0x94d049bb133111ebull +
		(c->regions ? region_digest(c) : 0)) |
	       1;
}

bool sync_has_all(const struct gossip_core *c, const struct member *m)
{
	return m->same == all_of(c);
}

/* It says that its root, its members, its standing are ours, or not. */
static void note(struct gossip_core *c, struct member *from, bool is_root, bool is_members,
		 bool is_standing)
{
	/* Between two words far apart it may have been the same for long: begin anew. */
	if (!sync_is_fresh(c, from))
		from->differs_since_ms = from->members_differ_since_ms = 0;
	from->digest_ms = c->now_ms;
	if (is_root) {
		from->differs_since_ms = 0;
		memset(&from->lag, 0, sizeof(from->lag));
	} else if (!from->differs_since_ms) {
		from->differs_since_ms = c->now_ms;
	}
	if (is_members)
		from->members_differ_since_ms = 0;
	else if (!from->members_differ_since_ms)
		from->members_differ_since_ms = c->now_ms;
	from->same = is_root && is_members ? all_of(c) : 0;
	if (is_standing)
		shared_confirm(c, from);
}

static bool is_root(const struct gossip_core *c, const struct wire_msg *msg)
{
	uint8_t root[16];

	digest_bytes(&c->root, root);
	return memcmp(root, msg->root, sizeof(root)) == 0;
}

bool sync_is_same(const struct gossip_core *c, const struct wire_msg *msg)
{
	return msg->has_digest && msg->has_standing && is_root(c, msg) &&
	       msg->members == c->members_digest && msg->standing == c->standing &&
	       msg->has_regions == (c->regions != NULL) &&
	       (!c->regions || msg->regions_digest == region_digest(c));
}

void sync_on_digest(struct gossip_core *c, struct member *from, const struct wire_msg *msg)
{
	if (!msg->has_digest || from->has_other_mode)
		return;
	if (c->regions && msg->has_regions)
		region_on_digest(c, from, msg->regions_digest);
	note(c, from, is_root(c, msg), msg->members == c->members_digest,
	     msg->has_standing && msg->standing == c->standing);
}

void sync_on_same(struct gossip_core *c, struct member *from)
{
	if (from->has_other_mode)
		return;
	if (c->regions)
		region_on_digest(c, from, region_digest(c));
	note(c, from, true, true, true);
}

static bool lasts(const struct gossip_core *c, uint64_t since_ms)
{
	return since_ms && c->now_ms >= since_ms + SYNC_DIFFERS_MS;
}

void sync_tick(struct gossip_core *c)
{
	size_t start;

	if (c->now_ms < c->sync_next_ms)
		return;
	start = core_random_below(c, c->ring_count);
	for (size_t i = 0; i < c->ring_count; i++) {
		struct member *m = c->ring[(start + i) % c->ring_count];

		if (m->is_self || m->state != GOSSIP_ALIVE || !sync_is_fresh(c, m) ||
		    (m->sync_ms && c->now_ms < m->sync_ms + SYNC_PEER_MS))
			continue;
		if (lasts(c, m->differs_since_ms) || lasts(c, m->members_differ_since_ms)) {
			sync_start(c, m);
			c->sync_next_ms = c->now_ms + SYNC_EVERY_MS;
			return;
		}
	}
}

/* ---- what I have */

static int cmp_origin(const void *a, const void *b)
{
	return node_id_cmp(&(*(struct origin *const *)a)->id, &(*(struct origin *const *)b)->id);
}

/* Writers with lo <= id <= hi, by id; free the array. */
static struct origin **sorted_origins(const struct gossip_core *c, const struct node_id *lo,
				      const struct node_id *hi, size_t *ret_count)
{
	struct origin **list = malloc((HASH_COUNT(c->origins) + 1) * sizeof(*list));
	struct origin *o, *next;
	size_t n = 0;

	if (!list)
		return NULL;
	HASH_ITER(hh, c->origins, o, next)
	{
		if (o->rec_count > 0 && !o->is_removed && node_id_cmp(&o->id, lo) >= 0 &&
		    node_id_cmp(&o->id, hi) <= 0)
			list[n++] = o;
	}
	qsort(list, n, sizeof(*list), cmp_origin);
	*ret_count = n;
	return list;
}

static struct wire_origin describe(const struct origin *o)
{
	struct wire_origin w = {.id = o->id,
				.generation = o->generation,
				.watermark = o->watermark,
				.top = o->top,
				.gc = o->gc_told};

	digest_bytes(&o->sum, w.sum);
	return w;
}

struct page {
	struct node_id lo, hi;
	size_t member_from, member_to; /* in the ring */
	size_t origin_from, origin_to; /* in the sorted list */
};

enum pages { PAGES_FIRST, PAGES_OF_SUMS, PAGES_REPLY };

static void send_page(struct gossip_core *c, struct member *to, const struct page *p,
		      struct origin **origins, enum pages why, bool is_first)
{
	uint8_t sums[WIRE_BUCKETS * WIRE_BUCKET_BYTES];
	struct wire_out o;

	version_begin(c, &o, c->stream, GOSSIP_STREAM_MAX, WIRE_SYNC);
	wire_put_range(&o, &p->lo, &p->hi);
	if (why == PAGES_REPLY)
		wire_put_flags(&o, WIRE_F_REPLY);
	wire_list_begin(&o, WIRE_K_SEEN);
	for (size_t i = p->member_from; i < p->member_to; i++) {
		const struct member *m = c->ring[i];
		struct wire_seen s = {.id = m->id,
				      .generation = m->card.generation,
				      .incarnation = m->card.incarnation};

		if (m->has_card)
			(void)wire_add_seen(&o, &s); /* pages are cut to fit */
	}
	wire_list_end(&o);
	wire_list_begin(&o, WIRE_K_ORIGINS);
	for (size_t i = p->origin_from; i < p->origin_to; i++) {
		struct wire_origin w = describe(origins[i]);

		(void)wire_add_origin(&o, &w);
	}
	wire_list_end(&o);
	if (is_first && why == PAGES_FIRST) {
		shared_bucket_sums(c, sums);
		wire_put_buckets(&o, sums);
	}
	queue_packet(c, GOSSIP_STREAM, &to->card.addr, 1, c->stream, wire_end(&o));
}

/* Tell `to` what we have between lo and hi, in pages of neighbouring ids. */
static void send_pages(struct gossip_core *c, struct member *to, const struct node_id *lo,
		       const struct node_id *hi, enum pages why)
{
	size_t origin_count, m = 0, o = 0;
	struct origin **origins = sorted_origins(c, lo, hi, &origin_count);
	struct page p = {.lo = *lo};
	bool is_first = true;

	if (!c->stream)
		c->stream = malloc(GOSSIP_STREAM_MAX);
	if (!origins || !c->stream)
		goto out;
	while (m < c->ring_count && node_id_cmp(&c->ring[m]->id, lo) < 0)
		m++;
	for (;;) {
		size_t n = 0;

		p.member_from = m;
		p.origin_from = o;
		p.hi = *hi;
		/* Merge the two sorted lists; the page ends at the id that fills it. */
		while (n < PAGE_ENTRIES) {
			bool has_m = m < c->ring_count && node_id_cmp(&c->ring[m]->id, hi) <= 0;
			bool has_o = o < origin_count;
			int d = !has_o	 ? -1
				: !has_m ? 1
					 : node_id_cmp(&c->ring[m]->id, &origins[o]->id);

			if (!has_m && !has_o)
				break;
			if (++n == PAGE_ENTRIES)
				p.hi = d <= 0 ? c->ring[m]->id : origins[o]->id;
			m += d <= 0;
			o += d >= 0;
		}
		p.member_to = m;
		p.origin_to = o;
		send_page(c, to, &p, origins, why, is_first);
		is_first = false;
		if (n < PAGE_ENTRIES || node_id_cmp(&p.hi, hi) >= 0)
			break;
		/* The next page begins right behind this one. */
		p.lo = p.hi;
		for (int i = NODE_ID_BYTES - 1; i >= 0 && ++p.lo.b[i] == 0; i--)
			;
	}
out:
	free(origins);
}

/* ---- sums first */

/* Of what `sync` pages list: cards, and all records of writers, by the first byte of the id. */
static void node_sums(const struct gossip_core *c, uint64_t sum[WIRE_BUCKETS])
{
	struct origin *o, *next;

	memset(sum, 0, WIRE_BUCKETS * sizeof(*sum));
	for (size_t i = 0; i < c->ring_count; i++)
		sum[c->ring[i]->id.b[0]] += c->ring[i]->card_hash;
	HASH_ITER(hh, c->origins, o, next)
	{
		if (o->rec_count > 0 && !o->is_removed)
			sum[o->id.b[0]] += o->sum.w[0];
	}
}

static void send_sums(struct gossip_core *c, struct member *to, bool is_reply)
{
	uint8_t buf[WIRE_BUCKETS * WIRE_BUCKET_BYTES];
	uint64_t sum[WIRE_BUCKETS];
	struct wire_out o;

	if (!c->stream)
		c->stream = malloc(GOSSIP_STREAM_MAX);
	if (!c->stream)
		return;
	node_sums(c, sum);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(sum[i / WIRE_BUCKET_BYTES] >> (8 * (i % WIRE_BUCKET_BYTES)));
	version_begin(c, &o, c->stream, GOSSIP_STREAM_MAX, WIRE_SYNC);
	if (is_reply)
		wire_put_flags(&o, WIRE_F_REPLY);
	wire_put_sums(&o, buf);
	if (!is_reply) {
		shared_bucket_sums(c, buf);
		wire_put_buckets(&o, buf);
	}
	queue_packet(c, GOSSIP_STREAM, &to->card.addr, 1, c->stream, wire_end(&o));
}

static void find_differing(const struct gossip_core *c, const uint8_t *theirs,
			   bool ret_differs[WIRE_BUCKETS], size_t *ret_count)
{
	uint64_t sum[WIRE_BUCKETS];

	node_sums(c, sum);
	*ret_count = 0;
	for (size_t i = 0; i < WIRE_BUCKETS; i++) {
		uint64_t x = 0;

		for (unsigned int k = 0; k < WIRE_BUCKET_BYTES; k++)
			x |= (uint64_t)theirs[i * WIRE_BUCKET_BYTES + k] << (8 * k);
		ret_differs[i] = x != sum[i];
		*ret_count += ret_differs[i];
	}
}

/* Ends of the run that begins at `first`; gaps of up to `gap` equal buckets are taken along. */
static size_t run_end(const bool differs[WIRE_BUCKETS], size_t first, size_t gap)
{
	size_t last = first;

	for (size_t i = first; i < WIRE_BUCKETS && i <= last + gap + 1; i++)
		if (differs[i])
			last = i;
	return last;
}

static size_t count_runs(const bool differs[WIRE_BUCKETS], size_t gap)
{
	size_t runs = 0;

	for (size_t i = 0; i < WIRE_BUCKETS; i++)
		if (differs[i]) {
			runs++;
			i = run_end(differs, i, gap);
		}
	return runs;
}

/* List what we have where the sums differ: the rest of it goes as if we had begun, but about these ranges alone. */
static void on_sums(struct gossip_core *c, struct member *from, const uint8_t *sums)
{
	bool differs[WIRE_BUCKETS];
	size_t count, gap = 0;

	find_differing(c, sums, differs, &count);
	if (count == 0) {
		send_sums(c, from, true); /* heard, and the same */
		return;
	}
	while (count_runs(differs, gap) > RUNS_MAX)
		gap = 2 * gap + 1;
	for (size_t i = 0; i < WIRE_BUCKETS; i++) {
		struct node_id lo, hi;
		size_t last;

		if (!differs[i])
			continue;
		last = run_end(differs, i, gap);
		memset(&lo, 0, sizeof(lo));
		memset(&hi, 0xff, sizeof(hi));
		lo.b[0] = (uint8_t)i;
		hi.b[0] = (uint8_t)last;
		send_pages(c, from, &lo, &hi, PAGES_OF_SUMS);
		i = last;
	}
}

void sync_start(struct gossip_core *c, struct member *to)
{
	struct node_id lo, hi;

	memset(&lo, 0, sizeof(lo));
	memset(&hi, 0xff, sizeof(hi));
	to->sync_ms = c->now_ms;
	/* Who does not answer sums may not know them: every other time it gets the lists. */
	if (c->ring_count + HASH_COUNT(c->origins) > SUMS_FROM && !to->is_sums_sent) {
		to->is_sums_sent = true;
		send_sums(c, to, false);
		return;
	}
	to->is_sums_sent = false;
	send_pages(c, to, &lo, &hi, PAGES_FIRST);
}

void sync_on_sync(struct gossip_core *c, struct member *from, const struct wire_msg *msg)
{
	from->sync_ms = c->now_ms;
	if (from->has_other_mode)
		return; /* what one has, the other never takes */
	if (!msg->has_range && msg->sums) {
		sync_lag_begin(c, from);
		if (msg->flags & WIRE_F_REPLY)
			from->is_sums_sent = false;
		else
			on_sums(c, from, msg->sums);
	} else if (!msg->has_range || node_id_cmp(&msg->range_lo, &msg->range_hi) > 0) {
		return;
	} else {
		sync_answer(c, from, msg);
	}
	if (msg->flags & WIRE_F_REPLY)
		return;
	if (msg->buckets)
		shared_on_buckets(c, from, msg->buckets);
	if (msg->has_range) {
		from->is_sums_sent = false;
		send_pages(c, from, &msg->range_lo, &msg->range_hi, PAGES_REPLY);
	}
}
