/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A DNS check asks one question, over UDP or TCP, and passes when the answer has the wanted code and address. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "edge/check/check_int.h"

struct dns_probe {
	struct sock_probe sock;
	uint16_t id;
	bool is_asked;
	size_t len;				/* of what has come of a TCP reply */
	uint8_t reply[2 + CHECK_DNS_REPLY_MAX]; /* over TCP its length stands first */
};

static void judge(struct dns_probe *d, const uint8_t *reply, size_t len)
{
	struct check_probe *p = &d->sock.base;
	char why[96];
	enum check_verdict v = check_dns_judge(p->spec, d->id, reply, len, why);

	if (v == CHECK_GOOD)
		check_probe_done(p, v, "%s in %.1f ms", why, check_probe_age_ms(p));
	else
		check_probe_done(p, v, "%s", why);
}

static void ready_udp(struct sock_probe *s)
{
	struct dns_probe *d = (struct dns_probe *)s;
	ssize_t n = recv(s->fd, d->reply, sizeof(d->reply), MSG_DONTWAIT | MSG_TRUNC);
	char why[96];

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		sock_failed(s, -errno);
	} else if (check_dns_is_answer(s->base.spec, d->id, d->reply, (size_t)n)) {
		judge(d, d->reply, (size_t)n);
	} else { /* of somebody who guesses, or late: ours may still come */
		(void)check_dns_judge(s->base.spec, d->id, d->reply, (size_t)n, why);
		snprintf(s->base.note, sizeof(s->base.note), "%.63s", why);
	}
}

/* With its length before it over TCP. 0 or a negative errno. */
static int ask(struct dns_probe *d)
{
	uint8_t query[2 + CHECK_DNS_QUERY_MAX];
	bool is_tcp = d->sock.base.spec->is_dns_tcp;
	size_t len;
	ssize_t n;

	if (getrandom(&d->id, sizeof(d->id), GRND_NONBLOCK) != sizeof(d->id))
		d->id = (uint16_t)uv_hrtime(); /* the port is random as well */
	len = check_dns_query(d->sock.base.spec, d->id, query + 2);
	query[0] = 0;
	query[1] = (uint8_t)len;
	n = send(d->sock.fd, is_tcp ? query : query + 2, is_tcp ? len + 2 : len, MSG_NOSIGNAL);
	return n < 0 ? -errno : 0; /* an empty socket buffer takes it whole */
}

static void ready_tcp(struct sock_probe *s)
{
	struct dns_probe *d = (struct dns_probe *)s;
	size_t want;
	ssize_t n;
	int err;

	if (!d->is_asked) {
		d->is_asked = true;
		err = sock_error(s);
		if (!err)
			err = ask(d);
		if (!err)
			err = sock_wait(s, UV_READABLE);
		if (err)
			sock_failed(s, err);
		return;
	}
	n = recv(s->fd, d->reply + d->len, sizeof(d->reply) - d->len, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		sock_failed(s, -errno);
		return;
	}
	d->len += (size_t)n;
	want = d->len < 2 ? 2 : 2u + (size_t)(d->reply[0] << 8 | d->reply[1]);
	if (want > sizeof(d->reply))
		check_probe_done(&s->base, CHECK_BAD, "reply of %zu bytes, want at most %d",
				 want - 2, CHECK_DNS_REPLY_MAX);
	else if (d->len >= 2 && d->len >= want)
		judge(d, d->reply + 2, want - 2);
	else if (n == 0)
		check_probe_done(&s->base, CHECK_BAD, "closed after %zu bytes of an answer",
				 d->len);
}

static int begin(struct check_probe *p)
{
	struct dns_probe *d = (struct dns_probe *)p;
	int rc;

	if (p->spec->is_dns_tcp)
		return sock_open(&d->sock, SOCK_STREAM, UV_WRITABLE, ready_tcp);
	rc = sock_open(&d->sock, SOCK_DGRAM, UV_READABLE, ready_udp);
	return rc ? rc : ask(d);
}

const struct check_kind check_dns = {
	.probe_bytes = sizeof(struct dns_probe),
	.begin = begin,
	.drop = sock_drop,
};
