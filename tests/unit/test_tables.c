/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Balance and disruption of our tables beside those of the textbook: Maglev as its paper has it, and rendezvous hashing
 * put into a table. Printed for docs/BENCHMARKS.md; the limits only catch what is broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/route.h"

#define N_MAX 1000
#define ROWS_MAX 65537
#define NONE UINT32_MAX

/* owner[row] for backends 0 .. n - 1 of which `gone` (NONE: nobody) is not there. */
typedef void (*fill_fn)(size_t n, size_t gone, uint32_t size, uint32_t *owner);

static uint64_t name_hash(uint64_t i)
{
	return maglev_hash_end(maglev_hash_add(MAGLEV_HASH_INIT, &i, sizeof(i)));
}

static void fill_ours(size_t n, size_t gone, uint32_t size, uint32_t *owner)
{
	static uint64_t hash[N_MAX];
	static uint32_t weight[N_MAX], place[N_MAX];
	size_t kept = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (i == gone)
			continue;
		hash[kept] = name_hash(i);
		weight[kept] = 100;
		place[kept++] = i;
	}
	assert_int_equal(maglev_fill(hash, weight, kept, owner, size), 0);
	for (uint32_t r = 0; r < size; r++)
		owner[r] = place[owner[r]];
}

/* Section 3.4 of the paper: an offset and a skip from two hashes of the name, and turns in the order of the list. */
static void fill_textbook(size_t n, size_t gone, uint32_t size, uint32_t *owner)
{
	static uint32_t at[N_MAX], skip[N_MAX];
	uint32_t left = size;

	for (uint32_t i = 0; i < n; i++) {
		at[i] = (uint32_t)(name_hash(i) % size);
		skip[i] = (uint32_t)(name_hash(i + 1000000) % (size - 1)) + 1;
	}
	for (uint32_t r = 0; r < size; r++)
		owner[r] = NONE;
	for (uint32_t i = 0; left; i = i + 1 == n ? 0 : i + 1) {
		if (i == gone)
			continue;
		while (owner[at[i]] != NONE)
			at[i] = (uint32_t)(((uint64_t)at[i] + skip[i]) % size);
		owner[at[i]] = i;
		left--;
	}
}

/* Each row's owner is the backend whose hash together with the row is the highest. */
static void fill_rendezvous(size_t n, size_t gone, uint32_t size, uint32_t *owner)
{
	for (uint32_t r = 0; r < size; r++) {
		uint64_t best = 0;

		owner[r] = NONE;
		for (uint32_t i = 0; i < n; i++) {
			uint64_t h = (r + 1ull) * 0x9e3779b97f4a7c15ull ^
				     (i + 1ull) * 0xc2b2ae3d27d4eb4full;

			h = (h ^ h >> 31) * 0xff51afd7ed558ccdull;
			h = (h ^ h >> 29) * 0xc4ceb9fe1a85ec53ull;
			h ^= h >> 32;
			if (i != gone && (owner[r] == NONE || h > best)) {
				best = h;
				owner[r] = i;
			}
		}
	}
}

struct measured {
	double over_pct;  /* most loaded backend above its share */
	double moved_pct; /* rows of others that move when one leaves: mean over the tries */
	double after_pct; /* most loaded backend above its share then, worst try */
};

static double over_pct(const uint32_t *owner, size_t n, size_t there, uint32_t size)
{
	static uint32_t got[N_MAX];
	uint32_t most = 0;

	memset(got, 0, sizeof(got));
	for (uint32_t r = 0; r < size; r++) {
		assert_true(owner[r] < n);
		if (++got[owner[r]] > most)
			most = got[owner[r]];
	}
	return 100.0 * ((double)most * (double)there / size - 1);
}

static struct measured measure(fill_fn fill, size_t n, uint32_t size, size_t tries)
{
	static uint32_t before[ROWS_MAX], after[ROWS_MAX];
	struct measured m = {0};

	fill(n, NONE, size, before);
	m.over_pct = over_pct(before, n, n, size);
	for (size_t k = 0; k < tries; k++) {
		size_t gone = k * 7 % n;
		uint32_t moved = 0;
		double over;

		fill(n, gone, size, after);
		for (uint32_t r = 0; r < size; r++)
			moved += before[r] != gone && before[r] != after[r];
		m.moved_pct += 100.0 * moved / size / (double)tries;
		over = over_pct(after, n, n - 1, size);
		if (over > m.after_pct)
			m.after_pct = over;
	}
	return m;
}

static void test_tables_when_one_of_n_leaves_then_beside_the_textbook(void **state)
{
	static const struct {
		size_t n;
		uint32_t size;
		bool is_class; /* the size that we would take */
	} row[] = {
		{10, 1021, true},    {10, 65537, false}, {100, 16381, true},
		{100, 65537, false}, {500, 65537, true}, {1000, 65537, true},
	};
	uint32_t weight[N_MAX];

	(void)state;
	for (size_t i = 0; i < N_MAX; i++)
		weight[i] = 100;
	print_message("# backends  rows   | ours: above share, others moved, above share then | "
		      "textbook Maglev       | rendezvous\n");
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		size_t n = row[i].n;
		struct measured ours = measure(fill_ours, n, row[i].size, 5);
		struct measured book = measure(fill_textbook, n, row[i].size, 5);
		struct measured rend = measure(fill_rendezvous, n, row[i].size, n > 100 ? 1 : 5);

		if (row[i].is_class)
			assert_int_equal(maglev_size(maglev_class(weight, n)), row[i].size);
		print_message(
			"# %8zu %6u%s | %5.2f %% %5.2f %% %5.2f %% | %5.2f %% %5.2f %% %5.2f %% "
			"| %5.2f %% %5.2f %% %5.2f %%\n",
			n, row[i].size, row[i].is_class ? "*" : " ", ours.over_pct, ours.moved_pct,
			ours.after_pct, book.over_pct, book.moved_pct, book.after_pct,
			rend.over_pct, rend.moved_pct, rend.after_pct);
		assert_true(ours.over_pct < 2 && ours.after_pct < 2);
		assert_true(ours.moved_pct < 4 && ours.moved_pct < book.moved_pct * 2 + 0.5);
		assert_true(rend.moved_pct == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables_when_one_of_n_leaves_then_beside_the_textbook),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
