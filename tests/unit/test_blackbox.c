/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A black box that is damaged is refused, with the place; nothing of it is played. Whole ones: tests/sim/test_blackbox.c. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "gossip/blackbox_file.h"

#define HALF 4096u
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static uint8_t file[BOX_HEAD_BYTES + 2 * HALF];
static struct box_head *const head = (struct box_head *)file;
static struct blackbox_report report;
static struct err e;

/* One half that is read only, with these entries. */
static void fill(const void *entries, size_t len)
{
	memset(file, 0, sizeof(file));
	head->magic = BOX_MAGIC;
	head->half_bytes = HALF;
	head->layout = box_layout();
	head->half[1] = (struct box_half){.number = 1, .start = BOX_NOTHING, .used = len};
	memcpy(file + BOX_HEAD_BYTES + HALF, entries, len);
}

/* The first `len` bytes of the file. */
static int play(size_t len)
{
	static const struct gossip_signer none;
	int fd = memfd_create("box", MFD_CLOEXEC), rc;
	char path[64];

	assert_true(fd >= 0);
	assert_int_equal(write(fd, file, len), len);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	memset(&report, 0xaa, sizeof(report));
	rc = blackbox_play(path, &none, NULL, NULL, &report, &e);
	close(fd);
	return rc;
}

#define AT (BOX_HEAD_BYTES + HALF)

static void test_play_when_an_entry_is_damaged_then_ebadmsg_and_where(void **state)
{
	static const struct row {
		const char *name;
		uint8_t b[40];
		size_t len, at; /* of what is wrong, in the half */
		const char *says;
	} rows[] = {
		{"one byte", {3}, 1, 0, "cut"},
		{"no number", {3, BOX_NOW}, 2, 0, "cut"},
		{"a number that ends nowhere", {3, BOX_NOW, 0x80, 0x80}, 4, 0, "cut"},
		{"the second is cut", {3, BOX_NOW, 5, 3}, 4, 3, "cut"},
		{"longer than the half", {1, BOX_BUF, 0x7f}, 3, 0, "longer"},
		{"an address is cut", {2, BOX_ADDR, 1, 1}, 4, 0, "cut"},
		{"a kind that is not known", {3, BOX_NOW, 5, 63, 0}, 5, 3, "kind 63"},
		{"heard from nowhere", {GOSSIP_IN_RECV, BOX_BUF, 1, 0x82}, 4, 0, "kind 1"},
		{"not sent to nowhere", {GOSSIP_IN_SEND_FAILED, 0}, 2, 0, "kind 2"},
		{"born of nothing", {GOSSIP_IN_NEW, 0}, 2, 0, "kind 0"},
		{"more seeds than there are",
		 {GOSSIP_IN_JOIN, BOX_NUMBER, 0xff, 0xff, 0xff, 0xff, 0x0f},
		 7,
		 0,
		 "kind 4"},
	};
	/* lengths that overflow when they are added up: -1 + -1 + 2 */
	static const uint8_t wraps[] = {1,    BOX_WHAT | BOX_KEY | BOX_BUF,
					0xff, 0xff,
					0xff, 0xff,
					0xff, 0xff,
					0xff, 0xff,
					0xff, 1,
					0xff, 0xff,
					0xff, 0xff,
					0xff, 0xff,
					0xff, 0xff,
					0xff, 1,
					2};
	char where[32];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		print_message("# %s\n", rows[i].name);
		fill(rows[i].b, rows[i].len);
		assert_int_equal(play(sizeof(file)), -EBADMSG);
		snprintf(where, sizeof(where), "byte %zu:", AT + rows[i].at);
		assert_non_null(strstr(e.text, where));
		assert_non_null(strstr(e.text, rows[i].says));
	}
	fill(wraps, sizeof(wraps));
	assert_int_equal(play(sizeof(file)), -EBADMSG);
}

static void test_play_when_the_head_is_damaged_then_ebadmsg_and_what(void **state)
{
	static const uint8_t tick[] = {GOSSIP_IN_TICK, BOX_NOW, 5};

	(void)state;
	fill(tick, sizeof(tick));
	assert_int_equal(play(sizeof(file)), 0);
	assert_true(report.steps == 1 && report.last_ms == 5 && !report.is_played);
	assert_int_equal(play(sizeof(file) - 1), -EBADMSG); /* cut */
	assert_int_equal(play(BOX_HEAD_BYTES - 1), -EBADMSG);
	assert_int_equal(play(0), -EBADMSG);
	assert_non_null(strstr(e.text, "/proc/self/fd"));
	head->half_bytes = UINT32_MAX;
	assert_int_equal(play(sizeof(file)), -EBADMSG);
	fill(tick, sizeof(tick));
	head->half[1].used = HALF + 1;
	assert_int_equal(play(sizeof(file)), -EBADMSG);
	assert_non_null(strstr(e.text, "half 1 says that it holds 4097 bytes"));
	fill(tick, sizeof(tick));
	head->half[1].copy_len = UINT64_MAX;
	assert_int_equal(play(sizeof(file)), -EBADMSG);
	fill(tick, sizeof(tick));
	head->layout++;
	assert_int_equal(play(sizeof(file)), -EPROTONOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_play_when_an_entry_is_damaged_then_ebadmsg_and_where),
		cmocka_unit_test(test_play_when_the_head_is_damaged_then_ebadmsg_and_what),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
