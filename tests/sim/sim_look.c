/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Writing to nodes and looking at them; seeds and percentiles for the test programs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/member.h"
#include "gossip/record_table.h"
#include "tests/sim/sim_cluster.h"

int sim_put(struct sim *s, size_t i, uint8_t kind, const char *key, uint64_t value, bool is_urgent)
{
	uint8_t buf[32] = {0x81, 0xa1, 'v', 0xcf};
	int err;

	for (int k = 0; k < 8; k++)
		buf[4 + k] = (uint8_t)(value >> (8 * (7 - k)));
	err = gossip_core_put(s->node[i].core, sim_clock(s, &s->node[i]), kind, key, buf, 12,
			      is_urgent);
	sim_pump(s, i);
	return err;
}

int sim_del(struct sim *s, size_t i, uint8_t kind, const char *key, bool is_urgent)
{
	int err = gossip_core_del(s->node[i].core, sim_clock(s, &s->node[i]), kind, key, is_urgent);

	sim_pump(s, i);
	return err;
}

int64_t sim_get(struct sim *s, size_t i, size_t origin, uint8_t kind, const char *key)
{
	struct record r;
	uint64_t v = 0;

	if (!s->node[i].core ||
	    !gossip_core_get_record(s->node[i].core, &s->node[origin].id, kind, key, &r))
		return -1;
	for (size_t k = 4; k < r.value_len; k++)
		v = v << 8 | r.value[k];
	return (int64_t)v;
}

bool sim_sees(struct sim *s, size_t observer, size_t subject)
{
	return member_get(s->node[observer].core, &s->node[subject].id) != NULL;
}

enum gossip_state sim_state_of(struct sim *s, size_t observer, size_t subject)
{
	struct member *m = member_get(s->node[observer].core, &s->node[subject].id);

	return m ? m->state : GOSSIP_LEFT;
}

static bool is_up(const struct sim *s, size_t i)
{
	return s->node[i].life == SIM_UP;
}

bool sim_is_equal(struct sim *s, void *arg)
{
	const struct digest *first = NULL;

	(void)arg;
	for (size_t i = 0; i < s->cfg.nodes; i++) {
		if (!is_up(s, i))
			continue;
		if (first && !digest_eq(first, &s->node[i].core->root))
			return false;
		first = &s->node[i].core->root;
	}
	return true;
}

bool sim_is_converged(struct sim *s, void *arg)
{
	size_t up = 0;

	for (size_t i = 0; i < s->cfg.nodes; i++)
		up += is_up(s, i);
	for (size_t i = 0; i < s->cfg.nodes; i++)
		if (is_up(s, i) && s->node[i].core->state_count[GOSSIP_ALIVE] != up)
			return false;
	return sim_is_equal(s, arg);
}

/* Does b know everything that a holds of this writer up to their common watermark? */
static bool knows(const struct origin *a, const struct gossip_core *b_core, const struct origin *b)
{
	struct rec *r;

	TAILQ_FOREACH(r, &a->recs, of_origin)
	{
		const struct record *v = &r->blob->r;
		struct rec *other;

		if (record_scope_of(v->kind) != RECORD_OWN || v->generation != a->generation ||
		    v->seq > a->watermark)
			continue;
		other = table_find(b_core, &v->writer, v->kind, v->key, v->key_len);
		if (other && record_cmp_version(&other->blob->r, v) >= 0)
			continue;
		/* Collected there, or deleted above the watermark and collected; what the former generation had stands until
		 * this one is whole. */
		if ((!other || (other->blob->r.generation < a->generation && !b->is_whole)) &&
		    ((v->is_tombstone && v->seq <= b->gc_told) || b->gc_told > a->watermark))
			continue;
		fprintf(stderr,
			"# writer %02x%02x generation %llu watermark %llu: one holds kind %u "
			"'%.*s' "
			"seq %llu%s, the other %s\n",
			v->writer.b[0], v->writer.b[1], (unsigned long long)a->generation,
			(unsigned long long)a->watermark, v->kind, (int)v->key_len,
			(const char *)v->key, (unsigned long long)v->seq,
			v->is_tombstone ? " (tombstone)" : "", other ? "an older one" : "none");
		return false;
	}
	return true;
}

bool sim_is_used_twice(const struct sim *s, const struct origin *o)
{
	for (size_t i = 0; i < s->cfg.nodes; i++) {
		const struct sim_node *n = &s->node[i];

		if (node_id_cmp(&n->id, &o->id) != 0)
			continue;
		for (size_t k = 0; k < n->used_twice_count; k++)
			if (n->used_twice[k] == o->generation)
				return true;
	}
	return false;
}

/* All of the generation that is stored, at both: sums that are equal without looking. */
static bool is_alike(const struct origin *a, const struct origin *b)
{
	bool is_head_alike = !a->head || !b->head ? a->head == b->head
						  : digest_eq(&a->head->hash, &b->head->hash);

	return is_head_alike && digest_eq(&a->gsum, &b->gsum) && a->is_whole && b->is_whole;
}

static bool pair_holds(const struct sim *s, struct gossip_core *a, struct gossip_core *b)
{
	struct origin *o, *next, *x;

	HASH_ITER(hh, a->origins, o, next)
	{
		x = table_origin(b, &o->id);
		if (!x || x->generation != o->generation || x->watermark != o->watermark ||
		    x->is_removed || o->is_removed || sim_is_used_twice(s, o))
			continue;
		if (!is_alike(o, x) && (!knows(o, b, x) || !knows(x, a, o)))
			return false;
	}
	return true;
}

bool sim_watermarks_hold(struct sim *s)
{
	size_t a, b;

	return !sim_watermarks_broken(s, &a, &b);
}

bool sim_watermarks_broken(struct sim *s, size_t *ret_a, size_t *ret_b)
{
	for (size_t i = 0; i < s->cfg.nodes; i++)
		for (size_t k = i + 1; k < s->cfg.nodes; k++)
			if (is_up(s, i) && is_up(s, k) &&
			    !pair_holds(s, s->node[i].core, s->node[k].core)) {
				fprintf(stderr, "# nodes %zu and %zu\n", i, k);
				*ret_a = i;
				*ret_b = k;
				return true;
			}
	return false;
}

uint64_t sim_seed(uint64_t seed)
{
	const char *one = getenv("SEED");

	if (one)
		seed = strtoull(one, NULL, 0);
	printf("# SEED=%llu\n", (unsigned long long)seed);
	fflush(stdout);
	return seed;
}

void sim_seeds(unsigned int count, void (*run)(uint64_t seed))
{
	const char *one = getenv("SEED"), *many = getenv("SEEDS"), *from = getenv("FIRST");
	uint64_t first = from ? strtoull(from, NULL, 0) : 1;

	if (one) {
		first = strtoull(one, NULL, 0);
		count = 1;
	} else if (many) {
		count = (unsigned int)strtoul(many, NULL, 0);
	}
	for (unsigned int i = 0; i < count; i++) {
		/* Said before: the last one printed is the one that failed. */
		printf("# SEED=%llu\n", (unsigned long long)(first + i));
		fflush(stdout);
		run(first + i);
	}
}

void sim_sample(struct sim_samples *s, uint64_t v)
{
	if (s->count < sizeof(s->v) / sizeof(s->v[0]))
		s->v[s->count++] = v;
}

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

uint64_t sim_percentile(struct sim_samples *s, unsigned int pct)
{
	if (s->count == 0)
		return 0;
	qsort(s->v, s->count, sizeof(s->v[0]), cmp_u64);
	return s->v[(s->count - 1) * pct / 100];
}
