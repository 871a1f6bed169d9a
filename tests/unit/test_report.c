/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Events in their ring; bounds on when a change was written elsewhere, without a common clock; the record that carries it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "edge/report.h"

static struct reports *r;

static int setup(void **state)
{
	(void)state;
	r = calloc(1, sizeof(*r));
	return r ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	free(r);
	return 0;
}

/* ---- events */

static void test_events_when_more_than_fit_then_the_newest_in_order(void **state)
{
	const struct report_event *e;
	uint64_t cursor = 0, want = 1;

	(void)state;
	assert_null(report_event_next(r, &cursor));
	for (unsigned i = 0; i < REPORT_EVENTS_MAX + 10; i++)
		snprintf(report_event_new(r)->text, 16, "%u", i + 1);
	for (want = 11; (e = report_event_next(r, &cursor)); want++) {
		assert_int_equal(e->seq, want);
		assert_int_equal(atoi(e->text), want);
	}
	assert_int_equal(want, REPORT_EVENTS_MAX + 11);
	cursor = REPORT_EVENTS_MAX + 8;
	assert_int_equal(report_event_next(r, &cursor)->seq, REPORT_EVENTS_MAX + 9);
	cursor = UINT64_MAX;
	assert_null(report_event_next(r, &cursor));
}

static void test_event_of_when_two_have_it_then_the_newest(void **state)
{
	struct report_event *e;

	(void)state;
	assert_null(report_event_of(r, 7, 1, 5));
	for (unsigned i = 0; i < 3; i++) {
		e = report_event_new(r);
		e->origin = 7;
		e->generation = 1;
		e->record_seq = 5 + i % 2;
	}
	assert_int_equal(report_event_of(r, 7, 1, 5)->seq, 3);
	assert_int_equal(report_event_of(r, 7, 1, 6)->seq, 2);
	assert_null(report_event_of(r, 7, 2, 5));
	assert_null(report_event_of(r, 8, 1, 5));
}

/* ---- reach */

/* Born at 1,000,000, published 100 us later. The edge hears of it after `there`, writes for 50, waits for `wait`; its report
 * takes `back`. */
static bool report(struct report_change *c, uint32_t edge, uint32_t there, uint32_t wait,
		   uint32_t back)
{
	struct report_told t = {.seq = c->seq, .wrote_us = 50, .ago_us = wait};

	return report_change_told(c, edge, &t, 1000100ull + there + 50 + wait + back);
}

static void test_told_when_it_comes_then_between_its_bounds(void **state)
{
	struct report_change *c = report_change_new(r, 1, 9, 1000000, 1000100);

	(void)state;
	assert_ptr_equal(report_change_find(r, 1, 9), c);
	assert_null(report_change_find(r, 2, 9));
	assert_null(report_change_find(r, 1, 8));
	/* In truth it was written 100 + 300 + 50 after the birth. */
	assert_true(report(c, 2, 300, 40000, 200));
	assert_int_equal(c->edge[0].least_us, 150);
	assert_int_equal(c->edge[0].most_us, 650);
	/* A report that took the long way says less, a better one more. */
	assert_true(report(c, 2, 300, 40000, 90000));
	assert_int_equal(c->edge[0].most_us, 650);
	assert_true(report(c, 2, 300, 80000, 10));
	assert_int_equal(c->edge[0].most_us, 460);
	assert_int_equal(c->count, 1);
}

static void test_told_when_impossible_then_refused(void **state)
{
	struct report_change *c = report_change_new(r, 1, 9, 1000000, 1000100);
	struct report_told t = {.seq = 9, .wrote_us = 50, .ago_us = 5000};

	(void)state;
	assert_false(report_change_told(c, 2, &t, 1004000));	/* before the birth */
	assert_false(report_change_told(c, 2, &t, 999));	/* time goes back */
	assert_false(report_change_told(c, 2, &t, 1ull << 60)); /* too long ago for its field */
	t.wrote_us = 20000; /* writing took longer than all of it */
	assert_false(report_change_told(c, 2, &t, 1010000));
	assert_int_equal(c->count, 0);
	/* Clocks differ a little. */
	t.wrote_us = 5100;
	assert_true(report_change_told(c, 2, &t, 1010000));
	assert_int_equal(c->edge[0].most_us, 5000);
	assert_int_equal(c->edge[0].least_us, 5000);
}

static void test_sum_when_edges_told_then_ranks_and_the_slowest(void **state)
{
	struct report_change *c = report_change_new(r, 1, 9, 1000000, 1000100);
	struct report_sum s;

	(void)state;
	report_change_sum(c, &s);
	assert_int_equal(s.edges, 0);
	for (uint32_t i = 1; i <= 100; i++)
		assert_true(report(c, i == 40 ? 4242 : i, i == 40 ? 99999 : i * 10, 0, 0));
	report_change_sum(c, &s);
	assert_int_equal(s.edges, 100);
	assert_int_equal(s.p50_us, 150 + 510);
	assert_int_equal(s.p99_us, 150 + 1000);
	assert_int_equal(s.most_us, 150 + 99999);
	assert_int_equal(s.slowest, 4242);
	/* Of more edges than are kept the first ones count. */
	for (uint32_t i = 1000; i < 1000 + REPORT_EDGES_MAX; i++)
		assert_true(report(c, i, 1, 0, 0));
	report_change_sum(c, &s);
	assert_int_equal(s.edges, REPORT_EDGES_MAX);
}

static void test_changes_when_more_than_fit_then_the_oldest_goes(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= REPORT_CHANGES_MAX; i++)
		report_change_new(r, 1, 100 + i, 5, 5);
	assert_null(report_change_find(r, 1, 100));
	assert_non_null(report_change_find(r, 1, 101));
}

/* ---- the record */

static struct report_msg full_msg(void)
{
	struct report_msg m = {.told_count = REPORT_TOLD_MAX, .own_count = REPORT_SUMS_MAX};

	for (size_t i = 0; i < REPORT_TOLD_MAX; i++)
		m.told[i] = (struct report_told){UINT32_MAX, UINT32_MAX, RECORD_SEQ_MAX - i,
						 UINT32_MAX, UINT32_MAX};
	for (size_t i = 0; i < REPORT_SUMS_MAX; i++)
		m.own[i] = (struct report_own){
			UINT32_MAX,
			RECORD_SEQ_MAX - i,
			{REPORT_EDGES_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}};
	return m;
}

static void test_record_when_full_then_within_its_bytes_and_as_it_was(void **state)
{
	struct report_msg m = full_msg(), got;
	uint8_t buf[REPORT_BYTES_MAX];
	int len = report_encode(&m, buf, sizeof(buf));

	(void)state;
	assert_true(len > 0);
	assert_int_equal(report_decode(buf, (size_t)len, &got), 0);
	assert_int_equal(got.told_count, m.told_count);
	assert_memory_equal(got.told, m.told, sizeof(m.told));
	assert_int_equal(got.own_count, m.own_count);
	assert_memory_equal(got.own, m.own, sizeof(m.own));
	for (int cut = 0; cut < len; cut++)
		assert_int_equal(report_decode(buf, (size_t)cut, &got), -EBADMSG);
	assert_int_equal(report_encode(&m, buf, 100), -EMSGSIZE);
}

static void test_record_when_malformed_then_refused(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
		int want;
	} row[] = {
#define ROW(name, bytes, want) {name, bytes, sizeof(bytes) - 1, want}
		ROW("empty map", "\x80", 0),
		ROW("unknown key", "\x81\xa1x\x01", 0),
		ROW("a number more", "\x81\xa1r\x91\x96\x01\x02\x03\x04\x05\x06", 0),
		ROW("a number less", "\x81\xa1r\x91\x94\x01\x02\x03\x04", -EBADMSG),
		ROW("no numbers", "\x81\xa1r\x91\x95\x01\x02\x03\x04\xa1x", -EBADMSG),
		ROW("origin over 32 bits",
		    "\x81\xa1r\x91\x95\xcf\x00\x00\x00\x01\x00\x00\x00\x00\x02\x03\x04\x05",
		    -EBADMSG),
		ROW("a list of 2^32", "\x81\xa1r\xdd\xff\xff\xff\xff", -EBADMSG),
		ROW("nine of eight", "\x81\xa1r\x99\x95\x01\x02\x03\x04\x05", -EBADMSG),
		ROW("twice", "\x82\xa1r\x90\xa1r\x90", -EBADMSG),
		ROW("no map", "\x90", -EBADMSG),
		ROW("more behind it", "\x80\x80", -EBADMSG),
		ROW("short sum",
		    "\x81\xa1"
		    "c\x91\x93\x01\x02\x03",
		    -EBADMSG),
#undef ROW
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct report_msg got;
		int rc = report_decode((const uint8_t *)row[i].bytes, row[i].len, &got);

		if (rc != row[i].want)
			fail_msg("%s: %d, want %d", row[i].name, rc, row[i].want);
	}
}

int main(void)
{
#define BED(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		BED(test_events_when_more_than_fit_then_the_newest_in_order),
		BED(test_event_of_when_two_have_it_then_the_newest),
		BED(test_told_when_it_comes_then_between_its_bounds),
		BED(test_told_when_impossible_then_refused),
		BED(test_sum_when_edges_told_then_ranks_and_the_slowest),
		BED(test_changes_when_more_than_fit_then_the_oldest_goes),
		BED(test_record_when_full_then_within_its_bytes_and_as_it_was),
		BED(test_record_when_malformed_then_refused),
	};
#undef BED

	return cmocka_run_group_tests(tests, NULL, NULL);
}
