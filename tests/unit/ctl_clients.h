/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Clients of the made-up mesh's control socket: well-behaved ones, and bare sockets that send what they like. */
#ifndef TESTS_UNIT_CTL_CLIENTS_H
#define TESTS_UNIT_CTL_CLIENTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

#include "tests/unit/ctl_fake.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define WAIT_MS 10000

static inline void must_start(void)
{
	struct err e = {0};

	if (fake_start(&e))
		fail_msg("ctl_open: %s", e.text);
}

static inline int call(const char *method, const struct ctl_args *args,
		       msgpack_unpacked *ret_result, struct ctl_client **ret_client, struct err *e)
{
	static const struct ctl_args none;
	msgpack_sbuffer params;
	int rc;

	if (ctl_connect(fake.path, ret_client, e))
		fail_msg("connect: %s", e->text);
	msgpack_sbuffer_init(&params);
	ctl_args_pack(args ? args : &none, &params);
	rc = ctl_call(*ret_client, method, &params, ret_result, e);
	msgpack_sbuffer_destroy(&params);
	return rc;
}

/* The result as text, to look for things in. */
static inline const char *ask(const char *method, const struct ctl_args *args)
{
	static char text[65536];
	struct ctl_client *client;
	msgpack_unpacked result;
	struct err e = {0};
	FILE *f;

	if (call(method, args, &result, &client, &e))
		fail_msg("%s: %s", method, e.text);
	f = fmemopen(text, sizeof(text), "w");
	msgpack_object_print(f, result.data);
	fclose(f);
	msgpack_unpacked_destroy(&result);
	ctl_disconnect(client);
	return text;
}

static inline void must_refuse(const char *method, const struct ctl_args *args, int code,
			       const char *text)
{
	struct ctl_client *client;
	msgpack_unpacked result;
	struct err e = {0};

	assert_int_equal(call(method, args, &result, &client, &e), CTL_REFUSED);
	assert_int_equal(e.code, code);
	assert_string_equal(e.text, text);
	ctl_disconnect(client);
}

static inline void set(struct ctl_args *a, const char *method, enum ctl_arg which, const char *text)
{
	struct err e = {0};

	if (ctl_args_set(a, which, text, ctl_signature_find(method), &e))
		fail_msg("%s", e.text);
}

static inline int raw_connect(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = WAIT_MS / 1000};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", fake.path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

/* One whole reply; its length, 0 at the end. */
static inline size_t raw_reply(int fd, uint8_t *buf, size_t cap)
{
	struct ctl_scan scan = {0};
	size_t len = 0;

	while (ctl_scan(&scan, buf, len, cap) == 0) {
		ssize_t n =
			recv(fd, buf + len, 1, 0); /* one by one: what follows stays where it is */

		if (n <= 0)
			return 0;
		len += (size_t)n;
	}
	return len;
}

static inline void must_end(int fd)
{
	char byte;
	ssize_t n = recv(fd, &byte, 1, 0);

	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	close(fd);
}

/* [1, id, {code, text}, nil] */
static inline void must_be_error(const uint8_t *buf, size_t len, uint64_t want_id,
				 uint64_t want_code)
{
	uint64_t kind, id, code = 0;
	struct mp_reader r;
	const char *key;
	size_t n, pairs;

	assert_true(len > 0);
	mp_reader_init(&r, buf, len);
	assert_int_equal(mp_read_array(&r, 4, &n) | mp_read_uint(&r, 1, &kind) |
				 mp_read_uint(&r, UINT32_MAX, &id) | mp_read_map(&r, 2, &pairs) |
				 mp_read_str(&r, 4, &key, &n) | mp_read_uint(&r, 4095, &code),
			 0);
	assert_int_equal(id, want_id);
	assert_int_equal(code, want_code);
}

static inline void must_have(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no %s in:\n%s", part, text);
}

#endif
