/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A TCP check passes when the connection is made. */
#include <errno.h>

#include "edge/check/check_int.h"

static int begin(struct check_probe *p)
{
	(void)p; /* connect() is under way */
	return 0;
}

static void ready(struct check_probe *p)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (error)
		check_probe_done(p, false, "%s", uv_strerror(-error));
	else
		check_probe_done(p, true, "connected in %.1f ms",
				 (double)check_probe_age_us(p) / 1000);
}

const struct check_kind check_tcp = {
	.sock_type = SOCK_STREAM,
	.events = UV_WRITABLE,
	.begin = begin,
	.ready = ready,
};
