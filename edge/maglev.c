/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Weighted Maglev tables (Eisenbud et al., NSDI 2016, section 3.4).
 *
 * Each backend has a permutation of the rows: offset and skip, taken from its own name alone. Backends take turns;
 * in its turn a backend gets the first row of its permutation that is still free, until no row is.
 *
 * Weights   the k-th turn (k = 1, 2, ...) of a backend of weight w comes at the moment (2k - 1) / 2w; moments are
 *           compared exactly, as fractions; the lower hash goes first at the same moment. With equal weights that is
 *           the round robin of the paper. A backend's moments depend on its own weight only, so a change of one weight
 *           does not reorder the others' turns. Shares are exact to about one turn.
 * Cost      O(size (log n + log size)), by a heap of the next moments; O(size log size) where weights are equal
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "bpf/dp_abi.h"
#include "edge/route.h"

#define ROWS_PER_BACKEND 100u /* imbalance then is about 1 %, as the paper measures it */
#define ROWS_LIGHTEST 10u     /* the lightest backend's share is then exact to a tenth */
#define CLASS_LARGEST 4u      /* the class behind it is for a backend that is alone, see dp_abi.h */

static const uint32_t class_rows[DP_SIZE_CLASSES] = DP_SIZE_CLASS_LIST;

uint32_t maglev_size(uint8_t k)
{
	return k < DP_SIZE_CLASSES ? class_rows[k] : 0;
}

static bool is_enough(uint32_t size, size_t n, uint64_t least, uint64_t sum)
{
	return size >= (uint64_t)ROWS_PER_BACKEND * n && size * least >= ROWS_LIGHTEST * sum;
}

uint8_t maglev_class(const uint32_t *w, size_t n)
{
	uint64_t sum = 0, least = UINT32_MAX;
	uint8_t k = 0;

	for (size_t i = 0; i < n; i++) {
		sum += w[i];
		if (w[i] < least)
			least = w[i];
	}
	while (k < CLASS_LARGEST && !is_enough(class_rows[k], n, least, sum))
		k++;
	return k;
}

uint64_t maglev_hash_add(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h;
}

/* FNV leaves the high bits of short inputs poor: two rounds of xor-shift and multiplication by odd constants (the
 * finalizer of MurmurHash3) make each input bit touch each output bit. */
uint64_t maglev_hash_end(uint64_t h)
{
	h = (h ^ h >> 33) * 0xff51afd7ed558ccdull;
	h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 33;
}

struct turn {
	uint64_t hash;
	uint64_t odd; /* 2k - 1 of the turn to come */
	uint32_t weight;
	uint32_t owner;
	uint32_t row; /* next of its permutation */
	uint32_t skip;
};

static bool turn_before(const struct turn *a, const struct turn *b)
{
	/* odd <= 2 * 65537 and weight < 2^32: the products fit. */
	uint64_t x = a->odd * b->weight, y = b->odd * a->weight;

	if (x != y)
		return x < y;
	return a->hash != b->hash ? a->hash < b->hash : a->owner < b->owner;
}

/* Let heap[i] sink to its place. */
static void sift_down(struct turn *heap, size_t n, size_t i)
{
	struct turn t = heap[i];

	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && turn_before(&heap[child + 1], &heap[child]))
			child++;
		if (turn_before(&t, &heap[child]))
			break;
		heap[i] = heap[child];
	}
	heap[i] = t;
}

static int turn_order(const void *pa, const void *pb)
{
	const struct turn *a = pa, *b = pb;

	return turn_before(a, b) ? -1 : 1;
}

/* The next free row of its permutation: with a prime size it visits every row, and one is free. */
static inline void take_row(struct turn *t, uint8_t *is_taken, uint32_t *row, uint32_t size)
{
	uint32_t at = t->row;

	while (is_taken[at]) {
		at += t->skip;
		if (at >= size)
			at -= size;
	}
	t->row = at;
	is_taken[at] = 1;
	row[at] = t->owner;
}

/* Equal weights: all have their k-th turn at one moment, in the same order each time. */
static void fill_equal(struct turn *turn, size_t n, uint8_t *is_taken, uint32_t *row, uint32_t size)
{
	qsort(turn, n, sizeof(*turn), turn_order);
	for (uint32_t left = size; left > 0;)
		for (size_t i = 0; i < n && left > 0; i++, left--)
			take_row(&turn[i], is_taken, row, size);
}

static void fill_weighted(struct turn *heap, size_t n, uint8_t *is_taken, uint32_t *row,
			  uint32_t size)
{
	for (size_t i = n / 2; i-- > 0;)
		sift_down(heap, n, i);
	for (uint32_t left = size; left > 0; left--) {
		take_row(&heap[0], is_taken, row, size);
		heap[0].odd += 2;
		sift_down(heap, n, 0);
	}
}

int maglev_fill(const uint64_t *h, const uint32_t *w, size_t n, uint32_t *row, uint32_t size)
{
	struct turn *turn;
	uint8_t *is_taken;
	bool is_equal = true;

	if (n == 0 || n > UINT32_MAX - 1 || size == 0)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (w[i] == 0)
			return -EINVAL;
		is_equal = is_equal && w[i] == w[0];
	}
	/* A byte for each row behind the turns: what is looked at most stays in the nearest cache. */
	turn = calloc(1, n * sizeof(*turn) + size);
	if (!turn)
		return -ENOMEM;
	is_taken = (uint8_t *)(turn + n);
	for (size_t i = 0; i < n; i++) {
		/* Two numbers out of one name: the second from the first, spread again. */
		turn[i] = (struct turn){
			.hash = h[i],
			.odd = 1,
			.weight = w[i],
			.owner = (uint32_t)i,
			.row = (uint32_t)(h[i] % size),
			.skip = size > 1 ? (uint32_t)(maglev_hash_end(h[i] + 1) % (size - 1)) + 1
					 : 1,
		};
	}
	if (is_equal)
		fill_equal(turn, n, is_taken, row, size);
	else
		fill_weighted(turn, n, is_taken, row, size);
	free(turn);
	return 0;
}
