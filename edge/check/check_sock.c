/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Probes that are one socket under uv_poll; freed by the poll's close callback. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "edge/check/check_int.h"

int sock_error(const struct sock_probe *s)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	return -error;
}

void sock_failed(struct sock_probe *s, int err)
{
	check_probe_done(&s->base, check_is_our_fault(err) ? CHECK_NO_RESULT : CHECK_BAD, "%s",
			 uv_strerror(err));
}

static void on_poll(uv_poll_t *h, int status, int events)
{
	struct sock_probe *s = h->data;
	int err;

	(void)events;
	if (!s->base.check)
		return;
	if (status == 0) {
		s->ready(s);
		return;
	}
	/* libuv calls any error of a socket EBADF, and stops looking; the socket knows what it was. */
	err = sock_error(s);
	if (!err)
		err = uv_poll_start(h, s->events, on_poll);
	if (err)
		sock_failed(s, err);
}

int sock_wait(struct sock_probe *s, int events)
{
	s->events = events;
	return uv_poll_start(&s->poll, events, on_poll);
}

int sock_open(struct sock_probe *s, int sock_type, int events, void (*ready)(struct sock_probe *s))
{
	struct sockaddr_storage ss;
	socklen_t len = check_sockaddr(&s->base.addr, s->base.port, &ss);
	int rc;

	s->ready = ready;
	s->fd = socket(ss.ss_family, sock_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	rc = connect(s->fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS ? -errno : 0;
	if (!rc)
		rc = uv_poll_init(s->base.pool->uv, &s->poll, s->fd);
	if (rc)
		return rc;
	s->poll.data = s;
	s->is_polled = true;
	return sock_wait(s, events);
}

static void on_closed(uv_handle_t *h)
{
	struct sock_probe *s = h->data;

	if (s->fd > 0)
		close(s->fd);
	check_pool_release(s->base.pool, false);
	free(s);
}

void sock_drop(struct check_probe *p)
{
	struct sock_probe *s = (struct sock_probe *)p;

	if (s->is_polled) {
		uv_poll_stop(&s->poll);
		uv_close((uv_handle_t *)&s->poll, on_closed);
		return;
	}
	if (s->fd > 0)
		close(s->fd);
	check_pool_release(p->pool, false);
	free(s);
}
