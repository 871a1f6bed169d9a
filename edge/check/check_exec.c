/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A program of the node's own directory, run as this process's user in a process group of its own, without a shell: exit code
 * 0 passes, 1 warns, others fail. What it writes is read and, up to CHECK_OUTPUT_MAX bytes, kept. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edge/check/check_int.h"

#define ARGS_MAX 18  /* the program, 16 arguments, NULL */
#define READS_MAX 16 /* in one turn of the loop */

struct exec_probe {
	struct check_probe base;
	uv_poll_t end, pipe; /* its end, what it writes */
	int end_fd, pipe_fd; /* <= 0: none */
	unsigned handles;
	pid_t pid; /* 0 = not started, or over */
	bool is_over;
	size_t output_len;
	char output[CHECK_OUTPUT_MAX];
};

static void free_probe(struct exec_probe *x)
{
	struct check_pool *pool = x->base.pool;

	if (x->end_fd > 0)
		close(x->end_fd);
	if (x->pipe_fd > 0)
		close(x->pipe_fd);
	free(x);
	check_pool_release(pool, true);
}

static void on_closed(uv_handle_t *h)
{
	struct exec_probe *x = h->data;

	if (--x->handles == 0)
		free_probe(x);
}

static void close_handles(struct exec_probe *x)
{
	if (!x->handles) {
		free_probe(x);
		return;
	}
	if (x->pipe.data)
		uv_close((uv_handle_t *)&x->pipe, on_closed);
	if (x->end.data)
		uv_close((uv_handle_t *)&x->end, on_closed);
}

/* false: nobody writes any more. */
static bool read_output(struct exec_probe *x)
{
	char drain[4096];

	for (int i = 0; i < READS_MAX; i++) {
		ssize_t n = read(x->pipe_fd, drain, sizeof(drain));
		size_t room = sizeof(x->output) - 1 - x->output_len, take;

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (n == 0)
			return false;
		take = (size_t)n < room ? (size_t)n : room;
		memcpy(x->output + x->output_len, drain, take);
		x->output_len += take;
	}
	return true;
}

static void on_pipe(uv_poll_t *h, int status, int events)
{
	struct exec_probe *x = h->data;

	(void)events;
	if (status < 0 || !read_output(x))
		uv_poll_stop(h);
}

static void judge(struct exec_probe *x, const siginfo_t *end)
{
	enum check_verdict v = CHECK_BAD;

	x->output[x->output_len] = 0;
	check_printable(x->output);
	if (end->si_code != CLD_EXITED) {
		check_probe_done(&x->base, v, "ended by signal %d%s%s", end->si_status,
				 x->output[0] ? ": " : "", x->output);
		return;
	}
	if (end->si_status <= 1)
		v = end->si_status ? CHECK_WARN : CHECK_GOOD;
	if (x->output[0] && v == CHECK_GOOD)
		check_probe_done(&x->base, v, "%s", x->output);
	else if (x->output[0])
		check_probe_done(&x->base, v, "exit %d: %s", end->si_status, x->output);
	else
		check_probe_done(&x->base, v, "exit %d in %.1f ms", end->si_status,
				 check_probe_age_ms(&x->base));
}

static void on_end(uv_poll_t *h, int status, int events)
{
	struct exec_probe *x = h->data;
	siginfo_t end = {0};

	(void)status;
	(void)events;
	/* What it left running goes with it, while its own number is still taken. */
	(void)kill(-x->pid, SIGKILL);
	if (waitid(P_PID, (id_t)x->pid, &end, WEXITED | WNOHANG) && errno == EINTR)
		return;
	uv_poll_stop(h);
	x->pid = 0;
	x->is_over = true;
	if (!x->base.check) {
		close_handles(x);
		return;
	}
	(void)read_output(x);
	judge(x, &end); /* drop() follows in it */
}

static int watch(struct exec_probe *x, uv_poll_t *poll, int fd, uv_poll_cb cb)
{
	int rc = uv_poll_init(x->base.pool->uv, poll, fd);

	if (rc)
		return rc;
	poll->data = x;
	x->handles++;
	return uv_poll_start(poll, UV_READABLE, cb);
}

static int spawn(struct exec_probe *x, const char *path, char *const *args, int out_fd)
{
	char service[MODEL_NAME_MAX + 16], addr[IP_TEXT_MAX + 16], port[32], *env[5];
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, usual;
	char text[IP_TEXT_MAX];
	int rc;

	snprintf(service, sizeof(service), "EDGE_SERVICE=%.*s", (int)strcspn(x->base.name, "/"),
		 x->base.name);
	snprintf(addr, sizeof(addr), "EDGE_ADDR=%s", ip_text(&x->base.addr, text));
	snprintf(port, sizeof(port), "EDGE_PORT=%u", x->base.port);
	env[0] = (char[]){"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};
	env[1] = service;
	env[2] = addr;
	env[3] = port;
	env[4] = NULL;
	sigemptyset(&none);
	sigemptyset(&usual);
	sigaddset(&usual, SIGPIPE);
	sigaddset(&usual, SIGCHLD);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	rc = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(&files, out_fd, 1);
	if (!rc)
		rc = posix_spawn_file_actions_adddup2(&files, out_fd, 2);
	if (!rc)
		rc = posix_spawn_file_actions_addclosefrom_np(&files, 3);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &usual);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	if (!rc)
		rc = posix_spawn(&x->pid, path, &files, &attr, args, env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	if (rc)
		x->pid = 0;
	return -rc;
}

static int begin(struct check_probe *p)
{
	struct exec_probe *x = (struct exec_probe *)p;
	char words[MODEL_CHECK_TARGET_MAX], path[320], *args[ARGS_MAX], *save = NULL;
	int fds[2], count = 0, rc;
	struct err e;

	rc = check_pool_allows(p->pool, p->spec, &e);
	if (rc)
		return rc;
	memcpy(words, p->spec->target, sizeof(words));
	for (char *w = strtok_r(words, " ", &save); w && count < ARGS_MAX - 1;
	     w = strtok_r(NULL, " ", &save))
		args[count++] = w;
	args[count] = NULL;
	snprintf(path, sizeof(path), "%s/%s", p->pool->program_dir, args[0]);
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	x->pipe_fd = fds[0];
	(void)fcntl(fds[1], F_SETFL, 0); /* the program's end waits; it isn't ours for long */
	rc = spawn(x, path, args, fds[1]);
	close(fds[1]);
	if (rc)
		return rc;
	x->end_fd = (int)syscall(SYS_pidfd_open, x->pid, 0);
	rc = x->end_fd < 0 ? -errno : watch(x, &x->end, x->end_fd, on_end);
	return rc ? rc : watch(x, &x->pipe, x->pipe_fd, on_pipe);
}

static void drop(struct check_probe *p)
{
	struct exec_probe *x = (struct exec_probe *)p;

	if (x->pid) {
		(void)kill(-x->pid, SIGKILL);
		if (x->end.data && uv_is_active((uv_handle_t *)&x->end))
			return; /* on_end() frees it */
		(void)waitpid(x->pid, NULL,
			      0); /* out of descriptors: it is killed, so this is short */
	}
	close_handles(x);
}

const struct check_kind check_exec = {
	.probe_bytes = sizeof(struct exec_probe),
	.begin = begin,
	.drop = drop,
};
