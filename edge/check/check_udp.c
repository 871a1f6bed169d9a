/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A UDP check sends a payload and passes when a reply comes that begins as expected and matches. A closed port says so at
 * once. */
#include <errno.h>
#include <string.h>

#include "edge/check/check_int.h"

#define REPLY_MAX 2048 /* of which the pattern sees */

static void ready(struct sock_probe *s)
{
	const struct model_check *spec = s->base.spec;
	char reply[REPLY_MAX + 1];
	ssize_t n = recv(s->fd, reply, REPLY_MAX, MSG_DONTWAIT | MSG_TRUNC);
	size_t kept = n < 0 ? 0 : (size_t)n < REPLY_MAX ? (size_t)n : REPLY_MAX;

	reply[kept] = 0;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		sock_failed(s, -errno);
	else if (kept < spec->expect_len || memcmp(reply, spec->expect, spec->expect_len) != 0)
		check_probe_done(&s->base, CHECK_BAD, "reply of %zd bytes is not as expected", n);
	else if (!check_matches(s->base.match, reply, kept))
		check_probe_done(&s->base, CHECK_BAD, "reply of %zd bytes does not match '%s'", n,
				 spec->match);
	else
		check_probe_done(&s->base, CHECK_GOOD, "%zd bytes in %.1f ms", n,
				 check_probe_age_ms(&s->base));
}

static int begin(struct check_probe *p)
{
	struct sock_probe *s = (struct sock_probe *)p;
	int rc = sock_open(s, SOCK_DGRAM, UV_READABLE, ready);

	if (rc)
		return rc;
	return send(s->fd, p->spec->send, p->spec->send_len, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

const struct check_kind check_udp = {
	.probe_bytes = sizeof(struct sock_probe),
	.begin = begin,
	.drop = sock_drop,
};
