/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A process that dies leaves a trace; the next one reads it. Each death is a real one, of a child. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "edge/poison.h"

static char dir[] = "/tmp/test_poison.XXXXXX";
static char path[64];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_poison.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/applying", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static struct record record(const char *key, const char *value)
{
	return (struct record){.kind = MODEL_KIND_SERVICE,
			       .seq = 7,
			       .key = (const uint8_t *)key,
			       .key_len = strlen(key),
			       .value = (const uint8_t *)value,
			       .value_len = strlen(value)};
}

static struct poison *open_it(void)
{
	struct poison *p = NULL;
	struct err e = {0};

	assert_int_equal(poison_open(dir, &p, &e), 0);
	assert_non_null(p);
	return p;
}

/* A process that applies records one by one and computes; it ends by `signum` in the middle of the named place. */
enum place { IDLE, ONE, BATCH, FIRST_BATCH };
static void live_and_die(enum place place, int signum, const char *const *keys, size_t count)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		const struct rlimit none = {0, 0};
		struct poison *p = open_it();

		setrlimit(RLIMIT_CORE, &none);
		poison_catch(p);
		if (place != FIRST_BATCH) {
			poison_batch_begin(p);
			poison_batch_end(p, true);
		}
		for (size_t i = 0; i < count; i++) {
			struct record r = record(keys[i], "bad");

			if (poison_is_held(p, &r))
				continue;
			poison_begin(p, &r, (const uint8_t *)"good", 4);
			if (place == ONE && i + 1 == count)
				raise(signum);
			poison_end(p, true);
		}
		if (place == BATCH || place == FIRST_BATCH) {
			poison_batch_begin(p);
			raise(signum);
		}
		raise(signum);
		_exit(9);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), signum);
}

static void assert_held(size_t count, const char *key, const char *value)
{
	struct poison *p = open_it();
	struct record r = record(key, value);

	assert_int_equal(poison_count(p), count);
	assert_int_equal(poison_is_held(p, &r), count > 0);
	poison_close(p);
}

static const char *const one[] = {"a"};
static const char *const three[] = {"a", "b", "c"};

static void test_open_after_a_seen_crash_in_one_then_it_is_held_with_its_former_value(void **state)
{
	struct poison *p;
	struct record r = record("a", "bad"), fixed = record("a", "mended"),
		      other = record("b", "bad");

	(void)state;
	live_and_die(ONE, SIGSEGV, one, 1);
	p = open_it();
	assert_int_equal(poison_count(p), 1);
	assert_true(poison_is_held(p, &r));
	assert_false(poison_is_held(p, &fixed));
	assert_false(poison_is_held(p, &other));
	assert_int_equal(poison_at(p, 0)->cause, POISON_DEATH);
	assert_int_equal(poison_at(p, 0)->signal, SIGSEGV);
	assert_int_equal(poison_at(p, 0)->seq, 7);
	assert_int_equal(poison_at(p, 0)->former_len, 4);
	assert_memory_equal(poison_at(p, 0)->former, "good", 4);
	r.seq = 8; /* said again, and the same */
	assert_true(poison_is_held(p, &r));
	poison_drop(p, &r);
	poison_close(p);
	assert_held(0, "a", "bad");
}

static void test_outdated_when_an_older_one_applies_then_the_newer_is_still_held(void **state)
{
	struct record r = record("a", "bad"), older = record("a", "good"),
		      newer = record("a", "mended");
	struct poison *p;

	(void)state;
	live_and_die(ONE, SIGSEGV, one, 1);
	p = open_it();
	older.seq = r.seq - 1;
	poison_outdated(p, &older);
	assert_true(poison_is_held(p, &r));
	newer.seq = r.seq + 1;
	poison_outdated(p, &newer);
	assert_int_equal(poison_count(p), 0);
	poison_close(p);
}

/* Its newer one may never come again: it was removed, and the store has forgotten that too. */
static void test_open_when_an_outdated_one_stays_for_many_starts_then_others_are_held(void **state)
{
	struct record r = record("a", "bad"), other = record("b", "bad"), newer = record("a", "");
	struct poison *p = open_it();

	(void)state;
	poison_hold(p, &r, POISON_DEATH, NULL, 0);
	poison_hold(p, &other, POISON_DEATH, NULL, 0);
	newer.seq = r.seq + 1;
	poison_outdated(p, &newer);
	for (size_t i = 0; i < 10; i++) {
		poison_close(p);
		p = open_it();
		assert_int_equal(poison_count(p), 1);
		assert_true(poison_is_held(p, &other));
	}
	poison_close(p);
}

static void test_open_after_kill_in_one_then_the_second_time_holds_it(void **state)
{
	(void)state;
	live_and_die(ONE, SIGKILL, one, 1);
	assert_held(0, "a", "bad");
	live_and_die(ONE, SIGKILL, one, 1);
	assert_held(1, "a", "bad");
}

static void test_open_when_it_went_well_in_between_then_the_strike_is_gone(void **state)
{
	struct record r = record("a", "bad");
	struct poison *p;

	(void)state;
	live_and_die(ONE, SIGKILL, one, 1);
	p = open_it();
	poison_begin(p, &r, NULL, 0);
	poison_end(p, true);
	poison_batch_begin(p);
	poison_batch_end(p, true);
	poison_close(p);
	live_and_die(ONE, SIGKILL, one, 1);
	assert_held(0, "a", "bad");
}

static void test_open_after_deaths_while_idle_then_nobody_is_held(void **state)
{
	(void)state;
	live_and_die(IDLE, SIGSEGV, three, 3);
	live_and_die(IDLE, SIGKILL, three, 3);
	assert_held(0, "a", "bad");
}

static void test_open_after_a_crash_in_a_batch_of_one_then_it_is_held(void **state)
{
	(void)state;
	live_and_die(BATCH, SIGABRT, one, 1);
	assert_held(1, "a", "bad");
}

static void test_open_after_a_crash_in_a_batch_of_three_then_they_are_tried(void **state)
{
	struct record b = record("b", "bad"), a = record("a", "bad");
	struct poison *p;

	(void)state;
	live_and_die(BATCH, SIGSEGV, three, 3);
	p = open_it();
	assert_int_equal(poison_trial(p), POISON_TRY_SUSPECTS);
	assert_int_equal(poison_suspect_count(p), 3);
	assert_true(poison_is_held(p, &b));
	poison_convict(p, 1);
	poison_trial_end(p, true);
	assert_int_equal(poison_count(p), 1);
	assert_true(poison_is_held(p, &b));
	assert_false(poison_is_held(p, &a));
	poison_close(p);
}

static void test_trial_when_nobody_is_found_twice_then_all_are_held(void **state)
{
	struct poison *p;

	(void)state;
	live_and_die(BATCH, SIGSEGV, three, 3);
	p = open_it();
	poison_trial_end(p, false);
	assert_int_equal(poison_count(p), 0);
	poison_close(p);
	/* Two others are new this time: those with a strike are suspected, not they. */
	live_and_die(FIRST_BATCH, SIGSEGV, (const char *[]){"a", "b", "c", "d", "e"}, 5);
	p = open_it();
	assert_int_equal(poison_trial(p), POISON_TRY_SUSPECTS);
	assert_int_equal(poison_suspect_count(p), 3);
	poison_trial_end(p, false);
	assert_int_equal(poison_count(p), 3);
	poison_close(p);
}

static void test_open_after_a_crash_in_the_first_batch_then_all_are_tried(void **state)
{
	struct poison *p;

	(void)state;
	live_and_die(FIRST_BATCH, SIGKILL, three, 3);
	p = open_it();
	assert_int_equal(poison_trial(p), POISON_NO_TRIAL);
	poison_close(p);
	live_and_die(FIRST_BATCH, SIGSEGV, three, 3);
	p = open_it();
	assert_int_equal(poison_trial(p), POISON_TRY_ALL);
	poison_trial_end(p, false);
	poison_close(p);
}

static void test_hold_when_full_then_deaths_push_out_what_cant_be_read(void **state)
{
	struct poison *p = open_it();
	char key[16];

	(void)state;
	for (int i = 0; i < POISON_HELD_MAX + 9; i++) {
		struct record r;

		snprintf(key, sizeof(key), "k%d", i);
		r = record(key, "x");
		poison_hold(p, &r, POISON_UNREADABLE, NULL, 0);
	}
	assert_int_equal(poison_count(p), POISON_HELD_MAX);
	for (int i = 0; i < POISON_HELD_MAX + 9; i++) {
		struct record r;

		snprintf(key, sizeof(key), "d%d", i);
		r = record(key, "x");
		poison_hold(p, &r, POISON_DEATH, NULL, 0);
		assert_true(poison_is_held(p, &r));
	}
	assert_int_equal(poison_count(p), POISON_HELD_MAX);
	poison_close(p);
}

static void test_open_when_the_file_is_garbage_then_it_begins_anew(void **state)
{
	struct record r = record("a", "bad");
	uint8_t junk[8192];
	struct poison *p = open_it();
	FILE *f;

	(void)state;
	poison_hold(p, &r, POISON_DEATH, NULL, 0);
	poison_close(p);
	for (size_t at = 0; at < 40; at += 4) {
		f = fopen(path, "r+");
		assert_non_null(f);
		memset(junk, 0xfb, sizeof(junk));
		fseek(f, (long)at, SEEK_SET);
		fwrite(junk, 1, sizeof(junk), f);
		fclose(f);
		p = open_it();
		assert_true(poison_count(p) <= POISON_HELD_MAX);
		poison_close(p);
	}
}

static void test_open_when_there_is_no_directory_then_memory_serves(void **state)
{
	struct record r = record("a", "bad");
	struct poison *p = NULL;
	struct err e = {0};

	(void)state;
	assert_int_equal(poison_open("/nonexistent", &p, &e), -ENOENT);
	assert_non_null(strstr(e.text, "/nonexistent"));
	assert_non_null(p);
	poison_hold(p, &r, POISON_DEATH, NULL, 0);
	assert_true(poison_is_held(p, &r));
	poison_close(p);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_open_after_a_seen_crash_in_one_then_it_is_held_with_its_former_value),
		CASE(test_outdated_when_an_older_one_applies_then_the_newer_is_still_held),
		CASE(test_open_when_an_outdated_one_stays_for_many_starts_then_others_are_held),
		CASE(test_open_after_kill_in_one_then_the_second_time_holds_it),
		CASE(test_open_when_it_went_well_in_between_then_the_strike_is_gone),
		CASE(test_open_after_deaths_while_idle_then_nobody_is_held),
		CASE(test_open_after_a_crash_in_a_batch_of_one_then_it_is_held),
		CASE(test_open_after_a_crash_in_a_batch_of_three_then_they_are_tried),
		CASE(test_trial_when_nobody_is_found_twice_then_all_are_held),
		CASE(test_open_after_a_crash_in_the_first_batch_then_all_are_tried),
		CASE(test_hold_when_full_then_deaths_push_out_what_cant_be_read),
		CASE(test_open_when_the_file_is_garbage_then_it_begins_anew),
		CASE(test_open_when_there_is_no_directory_then_memory_serves),
	};
	const char *t = getenv("T");

	if (t)
		cmocka_set_test_filter(t);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
