/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What may take long is computed in a child process, on a copy of all memory; the loop goes on meanwhile. The answer comes
 * through a pipe: struct head, then one packed value. The end of the pipe is the end of the child. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/ctl_int.h"

#define CHILDREN_MAX 2
#define CHUNK_BYTES 65536
#define NICE 10

struct head {
	uint64_t bytes; /* of the value */
	int32_t code;	/* 0, or why there is none */
	uint32_t is_doubtful;
	char text[sizeof(((struct err *)0)->text)];
};

struct ctl_child {
	uv_pipe_t pipe;
	pid_t pid;
	uint8_t *buf;
	size_t len, cap;
	int failed; /* of the parent's side */
	ctl_child_cb end_cb;
	void *arg;
};

static unsigned int running;

/* ---- in the child: nothing that it does may be seen outside */

static void become_harmless(pid_t parent)
{
	static const int signum[] = {SIGSEGV, SIGBUS,  SIGFPE,	SIGILL,	 SIGABRT, SIGSYS,
				     SIGALRM, SIGTERM, SIGUSR1, SIGUSR2, SIGINT,  SIGHUP};
	const struct rlimit none = {0, 0};
	FILE *f;

	for (size_t i = 0; i < sizeof(signum) / sizeof(signum[0]); i++)
		signal(signum[i], SIG_DFL);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	alarm(CTL_CHILD_S);
	/* The rest makes it a good neighbour; it can do its work without. */
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)setpriority(PRIO_PROCESS, 0, NICE);
	f = fopen("/proc/self/oom_score_adj", "we");
	if (f) {
		(void)fputs("1000\n", f);
		(void)fclose(f);
	}
}

/* A peer's end of a connection must not stay open because a copy of ours is. */
static void close_sockets(void)
{
	DIR *d = opendir("/proc/self/fd");
	const struct dirent *e;
	struct stat st;

	while (d && (e = readdir(d))) {
		int fd = atoi(e->d_name);

		if (fd > STDERR_FILENO && fd != dirfd(d) && !fstat(fd, &st) && S_ISSOCK(st.st_mode))
			close(fd);
	}
	if (d)
		closedir(d);
}

static bool write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

__attribute__((noreturn)) static void child(int fd, pid_t parent, ctl_child_fn fn, void *arg)
{
	struct head h = {0};
	struct err e = {0};
	struct ctl_out o;
	bool is_doubtful = false;

	become_harmless(parent);
	close_sockets();
	ctl_out_init(&o);
	h.code = fn(&o, &is_doubtful, arg, &e);
	if (!h.code && o.is_full)
		h.code = err_set(&e, -EMSGSIZE, "the answer is too large for this socket");
	memcpy(h.text, e.text, sizeof(h.text));
	h.is_doubtful = is_doubtful;
	h.bytes = h.code ? 0 : o.sb.size;
	if (!write_all(fd, &h, sizeof(h)) || !write_all(fd, o.sb.data, h.bytes))
		_exit(1);
	_exit(0);
}

/* ---- outside */

static void on_closed(uv_handle_t *handle)
{
	struct ctl_child *c = handle->data;

	running--;
	free(c->buf);
	free(c);
}

/* It has written all, or is dead: memory and files are gone, so it is waited for no time worth speaking of. */
static void finish(struct ctl_child *c)
{
	struct ctl_child_end end = {0};
	struct head h = {0};
	int status = 0;
	pid_t got;

	if (c->failed)
		kill(c->pid, SIGKILL);
	do
		got = waitpid(c->pid, &status, 0);
	while (got < 0 && errno == EINTR);
	if (c->len >= sizeof(h))
		memcpy(&h, c->buf, sizeof(h));
	if (c->failed) {
		end.code = c->failed;
		end.text = strerror(-c->failed);
	} else if (got == c->pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
		end.code = -ETIMEDOUT;
		end.text = "it took longer than 25 s and was given up";
	} else if (c->len < sizeof(h) || c->len - sizeof(h) != h.bytes) {
		end.code = -EIO;
		end.text = "the process that computed it ended without an answer";
	} else if (h.code) {
		h.text[sizeof(h.text) - 1] = 0;
		end.code = h.code;
		end.text = h.text;
	} else {
		end.value = (const char *)c->buf + sizeof(h);
		end.bytes = h.bytes;
		end.is_doubtful = h.is_doubtful;
	}
	c->end_cb(&end, c->arg);
	uv_close((uv_handle_t *)&c->pipe, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *ret_buf)
{
	struct ctl_child *c = handle->data;
	uint8_t *bigger;

	(void)wanted;
	if (c->cap - c->len < CHUNK_BYTES) {
		bigger = realloc(c->buf, 2 * c->cap + CHUNK_BYTES);
		if (bigger) {
			c->buf = bigger;
			c->cap = 2 * c->cap + CHUNK_BYTES;
		}
	}
	*ret_buf = uv_buf_init((char *)c->buf + c->len, (unsigned)(c->cap - c->len));
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
	struct ctl_child *c = s->data;

	(void)buf;
	if (n >= 0) {
		c->len += (size_t)n;
		if (c->len <= sizeof(struct head) + CTL_REPLY_MAX)
			return;
		n = -EMSGSIZE;
	}
	if (n != UV_EOF)
		c->failed = (int)n;
	finish(c);
}

void ctl_child_kill(struct ctl_child *c)
{
	kill(c->pid, SIGKILL);
}

static int open_pipe(uv_loop_t *uv, struct ctl_child *c, int ret_fd[2])
{
	int rc;

	(void)uv_pipe_init(uv, &c->pipe, 0); /* never fails */
	c->pipe.data = c;
	if (pipe2(ret_fd, O_CLOEXEC))
		return -errno;
	rc = uv_pipe_open(&c->pipe, ret_fd[0]);
	if (rc) {
		close(ret_fd[0]);
		close(ret_fd[1]);
	}
	return rc;
}

int ctl_child_start(uv_loop_t *uv, ctl_child_fn fn, void *fn_arg, ctl_child_cb end_cb, void *arg,
		    struct ctl_child **ret_child, struct err *e)
{
	pid_t parent = getpid();
	struct ctl_child *c;
	int fd[2], rc;

	if (running == CHILDREN_MAX)
		return err_set(e, -EBUSY,
			       "%d questions of this kind are being worked on: try again",
			       CHILDREN_MAX);
	c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, -ENOMEM, "out of memory");
	c->end_cb = end_cb;
	c->arg = arg;
	running++;
	rc = open_pipe(uv, c, fd);
	if (rc) {
		uv_close((uv_handle_t *)&c->pipe, on_closed);
		return err_set(e, rc, "no pipe to a process: %s", strerror(-rc));
	}
	c->pid = fork();
	if (c->pid == 0)
		child(fd[1], parent, fn, fn_arg);
	rc = c->pid < 0 ? -errno : 0;
	close(fd[1]);
	if (!rc)
		rc = uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
	if (rc) {
		if (c->pid > 0) {
			kill(c->pid, SIGKILL);
			(void)waitpid(c->pid, NULL, 0); /* nobody asks how it ended */
		}
		uv_close((uv_handle_t *)&c->pipe, on_closed);
		return err_set(e, rc, "no process to compute it: %s", strerror(-rc));
	}
	*ret_child = c;
	return 0;
}
