/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Each case is a process of its own, for what is tested may end it. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/watchdog.h"

#define LIMIT_MS 300

struct child {
	uv_loop_t uv;
	uv_timer_t timer;
	struct watchdog *dog;
	unsigned int ticks;
};

static void stall(uv_timer_t *t)
{
	(void)t;
	for (;;)
		pause();
}

static void run_on(uv_timer_t *t)
{
	struct child *c = t->data;

	if (++c->ticks < 20)
		return;
	watchdog_stop(c->dog);
	uv_close((uv_handle_t *)t, NULL);
}

static int child_main(uv_timer_cb cb)
{
	static const struct rlimit none;
	static struct child c;
	struct err e;

	setrlimit(RLIMIT_CORE, &none);
	if (uv_loop_init(&c.uv) || watchdog_start(&c.uv, "edged", LIMIT_MS, &c.dog, &e))
		return 1;
	watchdog_ready(c.dog);
	uv_timer_init(&c.uv, &c.timer);
	c.timer.data = &c;
	uv_timer_start(&c.timer, cb, 10, LIMIT_MS / 10);
	uv_run(&c.uv, UV_RUN_DEFAULT);
	return uv_loop_close(&c.uv) ? 2 : 0;
}

/* Its wait status; what it said goes to said[]. */
static char said[512];

static pid_t start(uv_timer_cb cb, int *ret_fd)
{
	int fd[2];
	pid_t pid;

	assert_int_equal(pipe(fd), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(fd[1], STDERR_FILENO);
		close(fd[0]);
		close(fd[1]);
		_exit(child_main(cb));
	}
	close(fd[1]);
	*ret_fd = fd[0];
	return pid;
}

static int finish(pid_t pid, int fd)
{
	size_t len = 0;
	ssize_t n;
	int status;

	while (len < sizeof(said) - 1 && (n = read(fd, said + len, sizeof(said) - 1 - len)) > 0)
		len += (size_t)n;
	said[len] = 0;
	close(fd);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_watchdog_when_loop_stalls_then_process_says_so_and_ends(void **state)
{
	int fd, status;
	pid_t pid;

	(void)state;
	pid = start(stall, &fd);
	status = finish(pid, fd);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(said, "error edged stalled text=\"the event loop stands still"));
}

static void test_watchdog_when_loop_runs_then_nothing_happens(void **state)
{
	int fd, status;
	pid_t pid;

	(void)state;
	pid = start(run_on, &fd);
	status = finish(pid, fd);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_string_equal(said, "");
}

/* Stopped as a whole for longer than the limit: that is no stall. */
static void test_watchdog_when_process_was_frozen_then_nothing_happens(void **state)
{
	struct timespec pause = {.tv_nsec = 2 * LIMIT_MS * 1000000L};
	int fd, status;
	pid_t pid;

	(void)state;
	pid = start(run_on, &fd);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	assert_true(WIFSTOPPED(status));
	nanosleep(&pause, NULL);
	assert_int_equal(kill(pid, SIGCONT), 0);
	status = finish(pid, fd);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_watchdog_when_a_manager_asked_then_it_hears(void **state)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char name[64], text[64] = "";
	bool is_ready = false, is_alive = false, is_over = false;
	int s = socket(AF_UNIX, SOCK_DGRAM, 0), fd, status;
	struct timeval patience = {.tv_sec = 20};
	pid_t pid;

	(void)state;
	snprintf(name, sizeof(name), "@edge-watchdog-%d", (int)getpid());
	memcpy(a.sun_path + 1, name + 1, strlen(name) - 1);
	assert_int_equal(bind(s, (struct sockaddr *)&a,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
			 0);
	assert_int_equal(setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	pid = start(run_on, &fd);
	unsetenv("NOTIFY_SOCKET");
	while (!is_over) {
		ssize_t n = recv(s, text, sizeof(text) - 1, 0);

		assert_true(n > 0);
		text[n] = 0;
		is_ready |= !strcmp(text, "READY=1");
		is_alive |= !strcmp(text, "WATCHDOG=1");
		is_over = !strcmp(text, "STOPPING=1");
	}
	status = finish(pid, fd);
	close(s);
	assert_true(is_ready && is_alive);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_watchdog_when_loop_stalls_then_process_says_so_and_ends),
		cmocka_unit_test(test_watchdog_when_loop_runs_then_nothing_happens),
		cmocka_unit_test(test_watchdog_when_process_was_frozen_then_nothing_happens),
		cmocka_unit_test(test_watchdog_when_a_manager_asked_then_it_hears),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
