/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/dp_abi.h"
#include "edge/route.h"

#define N_MAX 1000

static const uint32_t class_rows[DP_SIZE_CLASSES] = DP_SIZE_CLASS_LIST;
static uint64_t hash[N_MAX];
static uint32_t weight[N_MAX];
static uint32_t row_a[65537], row_b[65537];

static uint64_t name_hash(unsigned int i)
{
	char name[32];

	snprintf(name, sizeof(name), "backend-%u", i);
	return maglev_hash_end(maglev_hash_add(MAGLEV_HASH_INIT, name, strlen(name)));
}

static void names(size_t n, uint32_t w)
{
	for (unsigned int i = 0; i < n; i++) {
		hash[i] = name_hash(i);
		weight[i] = w;
	}
}

static void test_hash_when_known_input_then_known_value(void **state)
{
	(void)state;
	/* FNV-1a's published values for "" and "a". */
	assert_true(maglev_hash_add(MAGLEV_HASH_INIT, "", 0) == 0xcbf29ce484222325ull);
	assert_true(maglev_hash_add(MAGLEV_HASH_INIT, "a", 1) == 0xaf63dc4c8601ec8cull);
	assert_true(maglev_hash_end(0) == 0);
	assert_true(maglev_hash_end(1) == 0xb456bcfc34c2cb2cull);
}

static void test_class_when_backends_and_weights_vary_then_smallest_that_fits(void **state)
{
	static const struct {
		size_t n;
		uint32_t first, rest;
		uint32_t rows;
	} row[] = {
		{1, 100, 100, 251},  {2, 100, 100, 251},   {3, 100, 100, 1021}, {10, 1, 1, 1021},
		{11, 1, 1, 4099},    {40, 1, 1, 4099},	   {41, 1, 1, 16381},	{164, 9, 9, 65537},
		{1000, 1, 1, 65537}, {2, 24, 1, 251},	   {2, 25, 1, 1021},	{2, 1000, 1, 16381},
		{10, 1, 100, 16381}, {10, 1, 1000, 65537},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		names(row[i].n, row[i].rest);
		weight[0] = row[i].first;
		if (maglev_size(maglev_class(weight, row[i].n)) != row[i].rows)
			fail_msg("row %zu: %u rows", i,
				 maglev_size(maglev_class(weight, row[i].n)));
	}
	assert_int_equal(maglev_size(DP_SIZE_CLASSES), 0);
}

static void test_class_sizes_when_listed_then_are_primes(void **state)
{
	(void)state;
	for (size_t c = 0; c < DP_SIZE_CLASSES; c++)
		for (uint32_t d = 2; d * d <= class_rows[c]; d++)
			assert_int_not_equal(class_rows[c] % d, 0);
}

static void test_fill_when_arguments_are_bad_then_einval(void **state)
{
	(void)state;
	names(3, 5);
	assert_int_equal(maglev_fill(hash, weight, 0, row_a, 251), -EINVAL);
	weight[1] = 0;
	assert_int_equal(maglev_fill(hash, weight, 3, row_a, 251), -EINVAL);
	weight[1] = 1;
	assert_int_equal(maglev_fill(hash, weight, 3, row_a, 0), -EINVAL);
	assert_int_equal(maglev_fill(hash, weight, 3, row_a, 251), 0);
}

/* Largest |rows - due| / due over the backends, in percent, and in rows. */
static double imbalance_pct(const uint32_t *row, uint32_t size, size_t n, double *ret_rows)
{
	static uint32_t got[N_MAX];
	double worst = 0, sum = 0;

	*ret_rows = 0;
	memset(got, 0, sizeof(got));
	for (uint32_t i = 0; i < size; i++) {
		assert_true(row[i] < n);
		got[row[i]]++;
	}
	for (size_t i = 0; i < n; i++)
		sum += weight[i];
	for (size_t i = 0; i < n; i++) {
		double due = size * (double)weight[i] / sum, off = fabs(got[i] - due);

		if (off > *ret_rows)
			*ret_rows = off;
		if (100 * off / due > worst)
			worst = 100 * off / due;
	}
	return worst;
}

static void test_fill_when_weighted_then_shares_are_within_a_turn(void **state)
{
	static const struct {
		const char *name;
		size_t n;
		uint32_t first, rest;
	} row[] = {
		{"2 equal", 2, 100, 100},
		{"10 equal", 10, 100, 100},
		{"100 equal", 100, 1, 1},
		{"600 equal", 600, 1, 1},
		{"1 of 1000 beside 1", 2, 1000, 1},
		{"canary 1 beside 9 of 100", 10, 1, 100},
		{"1 of 50 beside 4 of 100", 5, 50, 100},
		{"1 of 1000 beside 99 of 500", 100, 1000, 500},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		uint32_t size;
		double rows, pct;

		names(row[i].n, row[i].rest);
		weight[0] = row[i].first;
		size = maglev_size(maglev_class(weight, row[i].n));
		assert_int_equal(maglev_fill(hash, weight, row[i].n, row_a, size), 0);
		pct = imbalance_pct(row_a, size, row[i].n, &rows);
		print_message("# balance: %-28s %6u rows: worst error %.2f rows, %.2f %%\n",
			      row[i].name, size, rows, pct);
		assert_true(rows <= 1.5);
		assert_true(pct <= 10);
	}
}

static void test_fill_when_order_differs_then_same_owners(void **state)
{
	size_t n = 37;
	uint64_t h2[37];
	uint32_t w2[37], perm[37];
	unsigned int seed = 5;

	(void)state;
	names(n, 1);
	for (uint32_t i = 0; i < n; i++) {
		weight[i] = 1 + i * 7 % 13;
		perm[i] = i;
	}
	for (size_t i = n - 1; i > 0; i--) {
		size_t j = (size_t)rand_r(&seed) % (i + 1);
		uint32_t t = perm[i];

		perm[i] = perm[j];
		perm[j] = t;
	}
	for (size_t i = 0; i < n; i++) {
		h2[i] = hash[perm[i]];
		w2[i] = weight[perm[i]];
	}
	assert_int_equal(maglev_fill(hash, weight, n, row_a, 16381), 0);
	assert_int_equal(maglev_fill(h2, w2, n, row_b, 16381), 0);
	for (size_t i = 0; i < 16381; i++)
		assert_int_equal(row_a[i], perm[row_b[i]]);
}

/* Rows that changed owner, though neither owner is the backend `gone`, as a share of all. */
static double needless_pct(uint32_t size, size_t gone)
{
	uint32_t moved = 0;

	for (uint32_t i = 0; i < size; i++) {
		/* row_b was filled without `gone`: its indexes are one lower from there on. */
		uint32_t b = row_b[i] >= gone ? row_b[i] + 1 : row_b[i];

		if (row_a[i] != gone && row_a[i] != b)
			moved++;
	}
	return 100.0 * moved / size;
}

static void test_fill_when_one_leaves_then_few_other_rows_move(void **state)
{
	static const struct {
		size_t n;
		uint32_t rows;
		double limit_pct;
	} row[] = {{3, 1021, 8}, {10, 1021, 8}, {10, 16381, 4}, {100, 16381, 5}, {600, 65537, 5}};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		double sum = 0, worst = 0;
		size_t tries = row[i].n < 20 ? row[i].n : 20;

		names(row[i].n, 10);
		assert_int_equal(maglev_fill(hash, weight, row[i].n, row_a, row[i].rows), 0);
		for (size_t gone = 0; gone < tries; gone++) {
			double pct;

			names(row[i].n, 10);
			memmove(hash + gone, hash + gone + 1,
				(row[i].n - gone - 1) * sizeof(hash[0]));
			assert_int_equal(
				maglev_fill(hash, weight, row[i].n - 1, row_b, row[i].rows), 0);
			pct = needless_pct(row[i].rows, gone);
			sum += pct;
			worst = pct > worst ? pct : worst;
		}
		print_message("# disruption: 1 of %3zu leaves, %5u rows: other rows moved: mean "
			      "%.2f %%, worst %.2f %%\n",
			      row[i].n, row[i].rows, sum / (double)tries, worst);
		assert_true(worst <= row[i].limit_pct);
	}
}

static void test_fill_when_a_weight_changes_then_rows_move_in_proportion(void **state)
{
	uint32_t size = 16381, moved = 0;
	size_t n = 10;
	double ideal;

	(void)state;
	names(n, 100);
	assert_int_equal(maglev_fill(hash, weight, n, row_a, size), 0);
	weight[3] = 50;
	assert_int_equal(maglev_fill(hash, weight, n, row_b, size), 0);
	for (uint32_t i = 0; i < size; i++)
		moved += row_a[i] != row_b[i];
	ideal = 100.0 * (1.0 / 10 - 50.0 / 950);
	print_message("# weight 100 -> 50 of 1 in 10: %.2f %% of rows moved, %.2f %% are due\n",
		      100.0 * moved / size, ideal);
	assert_true(100.0 * moved / size < ideal + 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hash_when_known_input_then_known_value),
		cmocka_unit_test(test_class_when_backends_and_weights_vary_then_smallest_that_fits),
		cmocka_unit_test(test_class_sizes_when_listed_then_are_primes),
		cmocka_unit_test(test_fill_when_arguments_are_bad_then_einval),
		cmocka_unit_test(test_fill_when_weighted_then_shares_are_within_a_turn),
		cmocka_unit_test(test_fill_when_order_differs_then_same_owners),
		cmocka_unit_test(test_fill_when_one_leaves_then_few_other_rows_move),
		cmocka_unit_test(test_fill_when_a_weight_changes_then_rows_move_in_proportion),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
