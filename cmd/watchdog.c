/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cmd/watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOOKS                                                                                      \
	10 /* within the limit: a freeze of the whole process takes away one of them at most */

struct watchdog {
	uv_timer_t timer;
	const char *name;
	uint32_t look_ms;
	atomic_uint beats;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t stop;
	bool is_stopping;
	int notify_fd; /* -1 = nobody asked */
	struct sockaddr_un notify;
	socklen_t notify_len;
};

/* One datagram to who started us; lost ones are followed by others. */
static void notify(const struct watchdog *w, const char *text)
{
	if (w->notify_fd >= 0)
		(void)sendto(w->notify_fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
			     (const struct sockaddr *)&w->notify, w->notify_len);
}

static void open_notify(struct watchdog *w)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	w->notify_fd = -1;
	if (len < 2 || len >= sizeof(w->notify.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	w->notify.sun_family = AF_UNIX;
	memcpy(w->notify.sun_path, path, len);
	if (path[0] == '@')
		w->notify.sun_path[0] = 0; /* an abstract one */
	w->notify_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	w->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static void on_timer(uv_timer_t *t)
{
	struct watchdog *w = t->data;

	atomic_fetch_add_explicit(&w->beats, 1, memory_order_relaxed);
	notify(w, "WATCHDOG=1");
}

/* false: told to stop. */
static bool sleep_for(struct watchdog *w, uint32_t ms)
{
	struct timespec until;
	bool is_stopping;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&w->lock);
	while (!w->is_stopping && pthread_cond_timedwait(&w->stop, &w->lock, &until) == 0)
		;
	is_stopping = w->is_stopping;
	pthread_mutex_unlock(&w->lock);
	return !is_stopping;
}

static void *look(void *arg)
{
	struct watchdog *w = arg;
	unsigned int last = 0, still = 0;
	char line[160];

	while (sleep_for(w, w->look_ms)) {
		unsigned int beats = atomic_load_explicit(&w->beats, memory_order_relaxed);

		still = beats == last ? still + 1 : 0;
		last = beats;
		if (still <= LOOKS)
			continue;
		int len = snprintf(line, sizeof(line),
				   "error %s stalled text=\"the event loop stands still for %u ms: "
				   "ending, to be started again\"\n",
				   w->name, still * w->look_ms);

		/* Not through stdio: the loop may hold its lock. */
		if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0)
			abort();
		abort();
	}
	return NULL;
}

int watchdog_start(uv_loop_t *uv, const char *name, uint32_t limit_ms,
		   struct watchdog **ret_watchdog, struct err *e)
{
	struct watchdog *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;
	int rc;

	if (!w)
		return err_set(e, -ENOMEM, "watchdog: no memory");
	w->name = name;
	w->look_ms = limit_ms / LOOKS ? limit_ms / LOOKS : 1;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->stop, &attr);
	pthread_condattr_destroy(&attr);
	open_notify(w);
	(void)uv_timer_init(uv, &w->timer); /* never fails */
	w->timer.data = w;
	(void)uv_timer_start(&w->timer, on_timer, 0, w->look_ms / 2 + 1);
	uv_unref((uv_handle_t *)&w->timer); /* what keeps the loop going is its work */
	rc = pthread_create(&w->thread, NULL, look, w);
	if (rc) {
		w->thread = 0;
		*ret_watchdog = w;
		return err_set(e, -rc, "watchdog: no thread: %s", strerror(rc));
	}
	*ret_watchdog = w;
	return 0;
}

void watchdog_ready(struct watchdog *w)
{
	if (w)
		notify(w, "READY=1");
}

static void on_closed(uv_handle_t *h)
{
	struct watchdog *w = h->data;

	if (w->notify_fd >= 0)
		close(w->notify_fd);
	pthread_cond_destroy(&w->stop);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void watchdog_stop(struct watchdog *w)
{
	if (!w)
		return;
	if (w->thread) {
		pthread_mutex_lock(&w->lock);
		w->is_stopping = true;
		pthread_cond_signal(&w->stop);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->thread, NULL);
	}
	notify(w, "STOPPING=1");
	uv_close((uv_handle_t *)&w->timer, on_closed);
}
