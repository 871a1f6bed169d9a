/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Watching real processes, a file that names them, and what stands for a control group. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "edge/watch.h"

#define LIMIT_MS 20000

static struct bed {
	uv_loop_t uv;
	uv_timer_t limit;
	bool is_limit_over;
	char dir[64], path[96];
	struct watch *watch;
	unsigned calls;
	bool is_alive;
	char why[128];
	pid_t child;
} bed;

static void on_limit(uv_timer_t *t)
{
	(void)t;
	bed.is_limit_over = true;
}

static int setup(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	snprintf(bed.dir, sizeof(bed.dir), "/tmp/test_watch.XXXXXX");
	assert_non_null(mkdtemp(bed.dir));
	uv_loop_init(&bed.uv);
	uv_timer_init(&bed.uv, &bed.limit);
	uv_timer_start(&bed.limit, on_limit, LIMIT_MS, 0);
	return 0;
}

static void end_child(void)
{
	if (bed.child > 0) {
		kill(bed.child, SIGKILL);
		waitpid(bed.child, NULL, 0);
	}
	bed.child = 0;
}

static int teardown(void **state)
{
	(void)state;
	watch_close(bed.watch);
	uv_close((uv_handle_t *)&bed.limit, NULL);
	uv_run(&bed.uv, UV_RUN_DEFAULT);
	end_child();
	unlink(bed.path);
	rmdir(bed.dir);
	return uv_loop_close(&bed.uv);
}

static void on_watch(bool is_alive, const char *why, void *arg)
{
	assert_ptr_equal(arg, &bed);
	bed.calls++;
	bed.is_alive = is_alive;
	snprintf(bed.why, sizeof(bed.why), "%s", why);
}

static void until_calls(unsigned n, bool is_alive)
{
	while (bed.calls < n && !bed.is_limit_over)
		uv_run(&bed.uv, UV_RUN_ONCE);
	assert_int_equal(bed.calls, n);
	if (bed.is_alive != is_alive)
		fail_msg("it says: %s", bed.why);
}

static void begin_child(void)
{
	bed.child = fork();
	assert_true(bed.child >= 0);
	if (bed.child == 0) {
		pause();
		_exit(0);
	}
}

static void put(const char *name, const char *text)
{
	FILE *f;

	snprintf(bed.path, sizeof(bed.path), "%s/%s", bed.dir, name);
	f = fopen(bed.path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void start(const char *fmt, ...)
{
	char spec[WATCH_SPEC_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(spec, sizeof(spec), fmt, ap);
	va_end(ap);
	assert_int_equal(watch_open(&bed.uv, spec, on_watch, &bed, &bed.watch), 0);
}

/* ---- specs */

static void test_check_when_no_spec_then_refused(void **state)
{
	static const char *const good[] = {"pid:1",	      "pid:4194304", "pid:7:123",
					   "pidfile:/x",      "cgroup:/a/b", "unit:nsd",
					   "unit:a@b.service"};
	static const char *const bad[] = {
		"",	     "pid",	 "pid:",	"pid:0",     "pid:-1",	 "pid:4194305",
		"pid:1x",    "pid:1:",	 "pid:1:0",	"pid: 1",    "pidfile:", "pidfile:x",
		"pidfile:/", "unit:",	 "unit:a/b",	"unit:../x", "cgroup:x", "cgroup:/../x",
		"exec:/x",   "unit:a b", "pidfile:/a\n"};
	char longest[WATCH_SPEC_MAX + 2];
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		if (watch_check(good[i], &e))
			fail_msg("%s: %s", good[i], e.text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (watch_check(bad[i], &e) != -EINVAL)
			fail_msg("%s is taken for a spec", bad[i]);
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "pidfile:/", 9);
	longest[WATCH_SPEC_MAX] = 0;
	assert_int_equal(watch_check(longest, &e), -EINVAL);
	longest[WATCH_SPEC_MAX - 1] = 0;
	assert_int_equal(watch_check(longest, &e), 0);
}

/* ---- processes */

static void test_pid_when_it_ends_then_told_once(void **state)
{
	char spec[WATCH_SPEC_MAX];
	struct err e;

	(void)state;
	begin_child();
	snprintf(spec, sizeof(spec), "pid:%d", bed.child);
	assert_int_equal(watch_complete(spec, &e), 0);
	assert_non_null(strchr(spec + 4, ':'));
	start("%s", spec);
	until_calls(1, true);
	kill(bed.child, SIGKILL);
	until_calls(2, false);
	assert_non_null(strstr(bed.why, "has ended"));
	end_child();
}

static void test_pid_when_another_has_its_number_then_ended(void **state)
{
	char spec[WATCH_SPEC_MAX];
	struct err e;

	(void)state;
	start("pid:%d:1", getpid()); /* as if one that began at boot had had our number */
	until_calls(1, false);
	begin_child();
	snprintf(spec, sizeof(spec), "pid:%d", bed.child);
	end_child();
	assert_int_equal(watch_complete(spec, &e), -ESRCH);
}

static void test_pidfile_when_processes_come_and_go_then_told_each_time(void **state)
{
	char text[16];

	(void)state;
	start("pidfile:%s/pid", bed.dir);
	until_calls(1, false); /* no file yet */
	for (unsigned i = 0; i < 2; i++) {
		begin_child();
		snprintf(text, sizeof(text), "%d\n", bed.child);
		put("pid", text);
		until_calls(2 + 2 * i, true);
		end_child();
		until_calls(3 + 2 * i, false);
	}
	put("pid", "rubbish");
	for (int i = 0; i < 3; i++)
		uv_run(&bed.uv, UV_RUN_ONCE);
	assert_int_equal(bed.calls, 5);
}

/* ---- control groups: a file of that name is read in turns, one of the kernel's is waited for */

static void test_cgroup_when_its_processes_are_gone_then_told(void **state)
{
	(void)state;
	start("cgroup:%s", bed.dir);
	until_calls(1, false);
	put("cgroup.events", "populated 1\nfrozen 0\n");
	until_calls(2, true);
	put("cgroup.events", "populated 0\nfrozen 0\n");
	until_calls(3, false);
	assert_non_null(strstr(bed.why, "no process"));
	put("cgroup.events", "populated 1\nfrozen 0\n");
	until_calls(4, true);
	unlink(bed.path);
	until_calls(5, false);
}

/* A pipe of that name, which nobody writes, must not hold the loop up. */
static void test_cgroup_when_a_fifo_stands_there_then_nobody_waits(void **state)
{
	char path[sizeof(bed.dir) + 16];
	unsigned left;

	(void)state;
	snprintf(path, sizeof(path), "%s/cgroup.events", bed.dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(10);
	start("cgroup:%s", bed.dir);
	until_calls(1, false);
	left = alarm(0);
	assert_true(left > 0);
	unlink(path);
}

/* A real one, in a mount namespace of our own. */
static void test_cgroup_when_of_the_kernel_then_waited_for(void **state)
{
	char group[96], procs[128], pid[16];
	int fd, n;

	(void)state;
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", bed.dir, "cgroup2", 0, NULL)) {
		print_message("no cgroup2 can be mounted here: %s\n", strerror(errno));
		skip();
	}
	snprintf(group, sizeof(group), "%s/edge-test-%d", bed.dir, getpid());
	snprintf(procs, sizeof(procs), "%s/cgroup.procs", group);
	assert_int_equal(mkdir(group, 0755), 0);
	begin_child();
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	n = snprintf(pid, sizeof(pid), "%d", bed.child);
	assert_int_equal(write(fd, pid, (size_t)n), n);
	close(fd);
	start("cgroup:%s", group);
	until_calls(1, true);
	end_child();
	until_calls(2, false);
	assert_int_equal(rmdir(group), 0);
	watch_close(bed.watch);
	bed.watch = NULL;
	uv_run(&bed.uv, UV_RUN_NOWAIT);
	assert_int_equal(umount2(bed.dir, MNT_DETACH), 0);
}

static void test_unit_when_there_is_none_then_gone(void **state)
{
	(void)state;
	start("unit:no-such-unit-of-this-test");
	until_calls(1, false);
	assert_non_null(strstr(bed.why, "not there"));
}

/* Closed at any moment, nothing is told afterwards and the loop is empty. */
static void test_close_when_anywhere_then_silent(void **state)
{
	(void)state;
	begin_child();
	start("pid:%d", bed.child);
	watch_close(bed.watch);
	start("pid:%d", bed.child);
	until_calls(1, true);
	watch_close(bed.watch);
	bed.watch = NULL;
	kill(bed.child, SIGKILL);
	for (int i = 0; i < 3; i++)
		uv_run(&bed.uv, UV_RUN_NOWAIT);
	assert_int_equal(bed.calls, 1);
}

int main(void)
{
#define BED(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		BED(test_check_when_no_spec_then_refused),
		BED(test_pid_when_it_ends_then_told_once),
		BED(test_pid_when_another_has_its_number_then_ended),
		BED(test_pidfile_when_processes_come_and_go_then_told_each_time),
		BED(test_cgroup_when_its_processes_are_gone_then_told),
		BED(test_cgroup_when_a_fifo_stands_there_then_nobody_waits),
		BED(test_cgroup_when_of_the_kernel_then_waited_for),
		BED(test_unit_when_there_is_none_then_gone),
		BED(test_close_when_anywhere_then_silent),
	};
#undef BED

	return cmocka_run_group_tests(tests, NULL, NULL);
}
