/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A TCP check passes when the connection is made. */
#include "edge/check/check_int.h"

static void ready(struct sock_probe *s)
{
	int err = sock_error(s);

	if (err)
		sock_failed(s, err);
	else
		check_probe_done(&s->base, CHECK_GOOD, "connected in %.1f ms",
				 check_probe_age_ms(&s->base));
}

static int begin(struct check_probe *p)
{
	return sock_open((struct sock_probe *)p, SOCK_STREAM, UV_WRITABLE, ready);
}

const struct check_kind check_tcp = {
	.probe_bytes = sizeof(struct sock_probe),
	.begin = begin,
	.drop = sock_drop,
};
