/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/check/check_int.h - what the scheduler of checks and the kinds of check share.
 *
 * A probe is one attempt: a non-blocking socket under uv_poll, freed by its own close callback, so that it can outlive
 * the check that started it.
 */
#ifndef EDGE_CHECK_CHECK_INT_H
#define EDGE_CHECK_CHECK_INT_H

#include <sys/socket.h>

#include "edge/check/check.h"

struct check_probe {
	uv_poll_t poll;
	struct check *check; /* NULL once the result is in or nobody wants it */
	int fd;
	const struct model_check *spec;
};

/* One kind of check. */
struct check_kind {
	int sock_type;
	int events; /* what to wait for: UV_WRITABLE, UV_READABLE */
	/* The socket is connected (UDP) or connecting (TCP). 0, or a negative errno: failed at once. */
	int (*begin)(struct check_probe *p);
	/* Something happened on the socket. Calls check_probe_done(), or returns to wait on. */
	void (*ready)(struct check_probe *p);
};
extern const struct check_kind check_tcp;
extern const struct check_kind check_udp;

/* Once per probe. */
__attribute__((format(printf, 3, 4))) void check_probe_done(struct check_probe *p, bool is_ok,
							    const char *fmt, ...);
uint64_t check_probe_age_us(const struct check_probe *p);

#endif
