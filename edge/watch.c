/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PID_LIMIT 4194304 /* the kernel's own */
#define CGROUP_ROOT "/sys/fs/cgroup"
#define PATH_ROOM 320

enum kind { PID, PIDFILE, CGROUP, UNIT };
static const char *const prefix[] = {"pid:", "pidfile:", "cgroup:", "unit:"};

struct watch {
	enum kind kind;
	char name[WATCH_SPEC_MAX]; /* behind the prefix */
	uv_loop_t *uv;
	uv_timer_t timer;
	struct watched { /* what is looked at now; goes by itself when that changes */
		uv_poll_t poll;
		int fd;
		struct watch *watch; /* NULL: nobody wants it any more */
	} * at;
	long pid; /* of at */
	bool is_told, is_alive;
	watch_cb cb;
	void *arg;
};

/* ---- specs */

static const char *parse(const char *spec, enum kind *ret_kind)
{
	for (size_t i = 0; i < sizeof(prefix) / sizeof(prefix[0]); i++) {
		size_t len = strlen(prefix[i]);

		if (strncmp(spec, prefix[i], len) == 0) {
			*ret_kind = (enum kind)i;
			return spec + len;
		}
	}
	return NULL;
}

/* "N" or "N:START" */
static bool read_pid(const char *text, long *ret_pid, unsigned long long *ret_start)
{
	char *end;
	long pid = strtol(text, &end, 10);

	*ret_start = 0;
	if (end == text || text[0] < '0' || text[0] > '9' || pid < 1 || pid > PID_LIMIT)
		return false;
	*ret_pid = pid;
	if (!*end)
		return true;
	if (*end != ':' || end[1] < '1' || end[1] > '9')
		return false;
	*ret_start = strtoull(end + 1, &end, 10);
	return !*end;
}

static bool is_printable(const char *s)
{
	for (; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
	return true;
}

int watch_check(const char *spec, struct err *e)
{
	unsigned long long start;
	enum kind kind = PID;
	const char *name = parse(spec, &kind);
	bool is_good;
	long pid;

	if (!name || strlen(spec) >= WATCH_SPEC_MAX || !is_printable(spec))
		return err_set(e, -EINVAL,
			       "watch: got '%.60s', want pid:N, pidfile:/PATH, unit:NAME or "
			       "cgroup:/PATH, at most %d characters",
			       spec, WATCH_SPEC_MAX - 1);
	switch (kind) {
	case PID:
		is_good = read_pid(name, &pid, &start);
		break;
	case PIDFILE:
	case CGROUP:
		is_good = name[0] == '/' && name[1] && !strstr(name, "/..");
		break;
	case UNIT:
		is_good = name[0] && name[0] != '.' && !strchr(name, '/');
		break;
	default:
		is_good = false;
	}
	return is_good ? 0
		       : err_set(e, -EINVAL, "watch: got '%.60s', want %s behind %s", spec,
				 kind == PID	? "the number of a process"
				 : kind == UNIT ? "a unit's name"
						: "an absolute path",
				 prefix[kind]);
}

/* When the process began, in ticks since boot; 0 = can't be told. */
static unsigned long long started(long pid)
{
	unsigned long long start = 0;
	char path[64], buf[1024], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = 0;
	p = strrchr(buf, ')'); /* a name may have anything in it */
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (p)
		start = strtoull(p + 1, NULL, 10);
	return start;
}

static int open_pid(long pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd < 0)
		return -errno;
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC); /* it is so from the beginning */
	return fd;
}

int watch_complete(char spec[WATCH_SPEC_MAX], struct err *e)
{
	unsigned long long start;
	enum kind kind = PID;
	const char *name = parse(spec, &kind);
	long pid;
	int fd;

	if (!name || kind != PID || !read_pid(name, &pid, &start) || start)
		return 0;
	fd = open_pid(pid);
	if (fd == -ESRCH || fd == -EINVAL)
		return err_set(e, -ESRCH, "watch: there is no process %ld", pid);
	start = started(pid);
	if (fd >= 0)
		close(fd);
	if (start)
		snprintf(spec, WATCH_SPEC_MAX, "pid:%ld:%llu", pid, start);
	return 0;
}

/* ---- telling */

static void tell(struct watch *w, bool is_alive, const char *why)
{
	if (w->is_told && w->is_alive == is_alive)
		return;
	w->is_told = true;
	w->is_alive = is_alive;
	w->cb(is_alive, why, w->arg); /* last: it may close us */
}

static void on_poll_closed(uv_handle_t *h)
{
	struct watched *at = h->data;

	close(at->fd);
	free(at);
}

static void drop(struct watch *w)
{
	struct watched *at = w->at;

	w->at = NULL;
	if (!at)
		return;
	at->watch = NULL;
	uv_poll_stop(&at->poll);
	uv_close((uv_handle_t *)&at->poll, on_poll_closed);
}

static int hold(struct watch *w, int fd, int events, uv_poll_cb cb)
{
	struct watched *at = calloc(1, sizeof(*at));
	int rc = at ? uv_poll_init(w->uv, &at->poll, fd) : -ENOMEM;

	if (rc) {
		close(fd);
		free(at);
		return rc;
	}
	at->fd = fd;
	at->watch = w;
	at->poll.data = at;
	w->at = at;
	rc = uv_poll_start(&at->poll, events, cb);
	if (rc)
		drop(w);
	return rc;
}

/* ---- processes */

static void on_ended(uv_poll_t *h, int status, int events)
{
	struct watched *at = h->data;
	struct watch *w = at->watch;
	char why[96];

	(void)status;
	(void)events;
	if (!w)
		return;
	snprintf(why, sizeof(why), "process %ld has ended", w->pid);
	drop(w);
	tell(w, false, why);
}

static long pid_in_file(const char *path)
{
	char buf[32];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);
	long pid = 0;

	if (n > 0) {
		buf[n] = 0;
		pid = strtol(buf, NULL, 10);
	}
	if (fd >= 0)
		close(fd);
	return pid >= 1 && pid <= PID_LIMIT ? pid : 0;
}

static void look_pid(struct watch *w)
{
	unsigned long long start = 0, now;
	char why[WATCH_SPEC_MAX + 64];
	long pid = 0;
	int fd;

	if (w->at)
		return;
	if (w->kind == PIDFILE)
		pid = pid_in_file(w->name);
	else
		(void)read_pid(w->name, &pid, &start); /* it was checked */
	fd = pid ? open_pid(pid) : -ESRCH;
	if (fd < 0 && fd != -ESRCH && fd != -EINVAL)
		return; /* what we lack says nothing about it */
	now = fd >= 0 && start ? started(pid) : 0;
	if (fd >= 0 && now && now != start) {
		close(fd);
		fd = -ESRCH;
	}
	if (fd < 0) {
		if (w->kind == PIDFILE)
			snprintf(why, sizeof(why), "%.48s names no process", w->name);
		else
			snprintf(why, sizeof(why), "process %ld has ended", pid);
		tell(w, false, why);
		return;
	}
	w->pid = pid;
	if (hold(w, fd, UV_READABLE, on_ended))
		return;
	snprintf(why, sizeof(why), "process %ld is there", pid);
	tell(w, true, why);
}

/* ---- control groups */

static int read_populated(int fd)
{
	char buf[256], *p;
	ssize_t n = pread(fd, buf, sizeof(buf) - 1, 0);

	if (n < 0)
		return -errno;
	buf[n] = 0;
	p = strstr(buf, "populated ");
	return p ? p[10] == '1' : -EBADMSG;
}

static void tell_populated(struct watch *w, int populated)
{
	tell(w, populated == 1,
	     populated == 1 ? "its control group has processes"
			    : "its control group has no process");
}

static void judge_cgroup(struct watch *w)
{
	int populated = read_populated(w->at->fd);

	if (populated < 0)
		drop(w); /* removed; it may be made again */
	tell_populated(w, populated);
}

static void on_cgroup(uv_poll_t *h, int status, int events)
{
	struct watched *at = h->data;

	(void)status;
	(void)events;
	if (at->watch)
		judge_cgroup(at->watch);
}

static void look_cgroup(struct watch *w)
{
	char path[PATH_ROOM];
	int fd = -1, err, populated;

	if (w->at) {
		judge_cgroup(w);
		return;
	}
	if (w->kind == CGROUP) {
		snprintf(path, sizeof(path), "%s/cgroup.events", w->name);
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	if (fd < 0) {
		snprintf(path, sizeof(path), CGROUP_ROOT "%s%s%s/cgroup.events",
			 w->kind == UNIT ? "/system.slice/" : "", w->name,
			 w->kind == UNIT && !strchr(w->name, '.') ? ".service" : "");
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	err = errno;
	if (fd < 0) {
		if (err == ENOENT || err == ENODEV || err == ENOTDIR)
			tell(w, false, "its control group is not there");
		return;
	}
	/* Where it can't be waited for it is looked at. */
	populated = read_populated(fd);
	(void)hold(w, fd, UV_PRIORITIZED, on_cgroup);
	tell_populated(w, populated);
}

/* ---- life */

static void on_timer(uv_timer_t *t)
{
	struct watch *w = t->data;

	/* Again, before anything is told: the callback may close us. A process that has ended stays so. */
	if (w->kind != PID || !w->is_told)
		uv_timer_start(&w->timer, on_timer, WATCH_LOOK_MS, 0);
	if (w->kind == CGROUP || w->kind == UNIT)
		look_cgroup(w);
	else
		look_pid(w);
}

int watch_open(uv_loop_t *uv, const char *spec, watch_cb cb, void *arg, struct watch **ret_watch)
{
	struct watch *w;
	enum kind kind = PID;
	const char *name = parse(spec, &kind);

	if (!name || watch_check(spec, NULL))
		return -EINVAL;
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->kind = kind;
	snprintf(w->name, sizeof(w->name), "%s", name);
	w->uv = uv;
	w->cb = cb;
	w->arg = arg;
	(void)uv_timer_init(uv, &w->timer); /* never fails */
	w->timer.data = w;
	uv_timer_start(&w->timer, on_timer, 0, 0);
	*ret_watch = w;
	return 0;
}

static void on_timer_closed(uv_handle_t *h)
{
	free(h->data);
}

void watch_close(struct watch *w)
{
	if (!w)
		return;
	drop(w);
	uv_timer_stop(&w->timer);
	uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}
