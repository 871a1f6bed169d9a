/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A UDP check sends a payload and passes when a reply comes that begins as expected. A closed port says so at once. */
#include <errno.h>
#include <string.h>

#include "edge/check/check_int.h"

static int begin(struct check_probe *p)
{
	static const uint8_t zero[1];
	const uint8_t *payload = p->spec->send_len ? p->spec->send : zero;
	size_t len = p->spec->send_len ? p->spec->send_len : sizeof(zero);

	return send(p->fd, payload, len, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void ready(struct check_probe *p)
{
	uint8_t reply[sizeof(p->spec->expect)];
	ssize_t n = recv(p->fd, reply, sizeof(reply), MSG_DONTWAIT | MSG_TRUNC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0)
		check_probe_done(p, false, "%s", uv_strerror(-errno));
	else if (n < p->spec->expect_len || memcmp(reply, p->spec->expect, p->spec->expect_len))
		check_probe_done(p, false, "reply of %zd bytes is not as expected", n);
	else
		check_probe_done(p, true, "%zd bytes in %.1f ms", n,
				 (double)check_probe_age_us(p) / 1000);
}

const struct check_kind check_udp = {
	.sock_type = SOCK_DGRAM,
	.events = UV_READABLE,
	.begin = begin,
	.ready = ready,
};
