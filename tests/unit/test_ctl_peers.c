/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control socket with bad company: what a client, or a daemon, may send without harm; paths that are taken. */
#include <fcntl.h>

#include "tests/unit/ctl_clients.h"

static const uint8_t list_request[] = "\x94\x00\x07\xa9node.list\x80";
#define LIST_BYTES (sizeof(list_request) - 1)

/* ---- what a client may send */

static void test_server_when_requests_are_sent_in_one_go_or_by_bytes_then_answers_each(void **state)
{
	uint8_t two[2 * LIST_BYTES], buf[8192];
	int fd;

	(void)state;
	must_start();
	memcpy(two, list_request, LIST_BYTES);
	memcpy(two + LIST_BYTES, list_request, LIST_BYTES);
	two[LIST_BYTES + 2] = 8;
	fd = raw_connect();
	assert_int_equal(send(fd, two, sizeof(two), 0), sizeof(two));
	for (uint8_t id = 7; id <= 8; id++) {
		assert_true(raw_reply(fd, buf, sizeof(buf)) > 0);
		/* [1, id, nil, ...; ids are packed as 64-bit numbers or smaller: read them */
		uint64_t kind, got;
		struct mp_reader r;
		size_t n;

		mp_reader_init(&r, buf, sizeof(buf));
		assert_int_equal(mp_read_array(&r, 4, &n) | mp_read_uint(&r, 1, &kind) |
					 mp_read_uint(&r, 99, &got) | mp_read_nil(&r),
				 0);
		assert_int_equal(got, id);
	}
	for (size_t i = 0; i < LIST_BYTES; i++)
		assert_int_equal(send(fd, list_request + i, 1, 0), 1);
	assert_true(raw_reply(fd, buf, sizeof(buf)) > 0);
	close(fd);
}

static void test_server_when_malformed_then_error_and_end(void **state)
{
	static const struct {
		const char *name, *text;
		size_t len;
		uint64_t id, code;
	} row[] = {
		{"never used byte", "\xc1", 1, 0, EBADMSG},
		{"with an id", "\x94\x00\x05\xa1x\xc1", 6, 5, EBADMSG},
		{"not a request", "\x80", 1, 0, EBADMSG},
		{"method is no text", "\x94\x00\x09\xc0\x80", 5, 9, EBADMSG},
		{"huge string", "\xdb\xff\xff\xff\xff", 5, 0, EMSGSIZE},
		{"huge array", "\xdd\x04\x00\x00\x00", 5, 0, EMSGSIZE},
		{"too deep", "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91", 10, 0, EBADMSG},
	};
	uint8_t buf[512];

	(void)state;
	must_start();
	for (size_t i = 0; i < COUNT(row); i++) {
		int fd = raw_connect();

		assert_int_equal(send(fd, row[i].text, row[i].len, 0), (ssize_t)row[i].len);
		must_be_error(buf, raw_reply(fd, buf, sizeof(buf)), row[i].id, row[i].code);
		must_end(fd);
	}
}

static void test_server_when_request_is_too_long_then_refused(void **state)
{
	static uint8_t longest[CTL_REQUEST_MAX + 16];
	uint8_t buf[512];
	int fd;

	(void)state;
	must_start();
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "\x94\x00\x03\xdb\x00\x00\xff\xf8",
	       8); /* the method fills it up, its params don't fit */
	fd = raw_connect();
	(void)send(fd, longest, sizeof(longest),
		   MSG_NOSIGNAL); /* may be cut short: that is what is tested */
	must_be_error(buf, raw_reply(fd, buf, sizeof(buf)), 3, EMSGSIZE);
	must_end(fd);
}

/* When it has seen those go that hung up. */
static void must_serve_soon(void)
{
	for (unsigned i = 0; i < WAIT_MS; i++) {
		struct err e = {0};
		struct ctl_client *client;
		msgpack_unpacked result;
		int rc = call("node.list", NULL, &result, &client, &e);

		if (!rc)
			msgpack_unpacked_destroy(&result);
		ctl_disconnect(client);
		if (!rc)
			return;
		assert_int_equal(e.code, -EBUSY);
	}
	fail_msg("still busy");
}

static void test_server_when_noise_comes_then_goes_on_serving(void **state)
{
	uint32_t x = 2463534242u;
	uint8_t noise[256];

	(void)state;
	must_start();
	for (size_t i = 0; i < 300; i++) {
		int fd = raw_connect();

		for (size_t k = 0; k < sizeof(noise); k++) {
			x ^= x << 13;
			x ^= x >> 17;
			x ^= x << 5;
			noise[k] = (uint8_t)x;
		}
		if (i % 2)
			memcpy(noise, list_request, 2 + i % 12);
		(void)send(fd, noise, sizeof(noise),
			   MSG_NOSIGNAL); /* it may have hung up already */
		close(fd);
	}
	must_serve_soon();
}

static void test_server_when_client_is_idle_then_it_is_sent_away(void **state)
{
	int fd;

	(void)state;
	fake.cfg.idle_ms = 50;
	must_start();
	fd = raw_connect();
	assert_int_equal(send(fd, list_request, 3, 0), 3);
	must_end(fd);
}

static void test_server_when_too_many_clients_then_the_next_is_told(void **state)
{
	int fd[CTL_CLIENTS_MAX], one_more;
	uint8_t buf[8192];

	(void)state;
	must_start();
	for (size_t i = 0; i < CTL_CLIENTS_MAX; i++)
		fd[i] = raw_connect();
	one_more = raw_connect();
	must_be_error(buf, raw_reply(one_more, buf, sizeof(buf)), 0, EBUSY);
	must_end(one_more);
	assert_int_equal(send(fd[0], list_request, LIST_BYTES, 0), LIST_BYTES);
	assert_true(raw_reply(fd[0], buf, sizeof(buf)) > 0);
	for (size_t i = 0; i < CTL_CLIENTS_MAX; i++)
		close(fd[i]);
	must_serve_soon();
}

/* ---- opening */

static void test_open_when_path_is_taken_then_refused_or_replaced(void **state)
{
	struct ctl_config second = fake.cfg;
	struct ctl *other;
	struct stat st;
	struct err e = {0};
	char text[256];
	int fd;

	(void)state;
	/* something else */
	fd = open(fake.path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(ctl_open(&fake.uv, &second, &other, &e), -EEXIST);
	snprintf(text, sizeof(text), "control socket %s: something else is there", fake.path);
	assert_string_equal(e.text, text);
	unlink(fake.path);
	/* what a killed process left */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", fake.path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
	must_start();
	assert_int_equal(lstat(fake.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0660);
	/* one that lives */
	assert_int_equal(ctl_open(&fake.uv, &second, &other, &e), -EADDRINUSE);
	must_have(ask("node.list", NULL), "a1");
}

static void test_open_when_it_cannot_then_names_the_path(void **state)
{
	struct ctl_config bad = fake.cfg;
	struct ctl *other;
	struct err e = {0};
	char longest[200];

	(void)state;
	bad.path = "/nowhere/at/all/edged.sock";
	assert_int_equal(ctl_open(&fake.uv, &bad, &other, &e), -ENOENT);
	assert_string_equal(e.text,
			    "control socket /nowhere/at/all/edged.sock: No such file or directory");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	bad.path = longest;
	assert_int_equal(ctl_open(&fake.uv, &bad, &other, &e), -ENAMETOOLONG);
}

static void test_open_when_group_is_unknown_then_socket_is_the_owners_alone(void **state)
{
	struct stat st;

	(void)state;
	fake.cfg.group = "no-such-group";
	must_start();
	assert_int_equal(lstat(fake.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

/* ---- the client, and a daemon gone mad */

struct liar {
	const uint8_t *bytes;
	size_t len;
	int fd;
};

static void *lie(void *arg)
{
	struct liar *l = arg;
	char buf[4096];
	int fd = accept(l->fd, NULL, NULL);

	(void)recv(fd, buf, sizeof(buf), 0); /* the request, whatever it says */
	(void)send(fd, l->bytes, l->len, MSG_NOSIGNAL);
	close(fd);
	return NULL;
}

static void test_call_when_daemon_answers_nonsense_then_an_error_not_a_crash(void **state)
{
	static const struct {
		const char *name, *text;
		size_t len;
		int want;
	} row[] = {
		{"nothing", "", 0, -ECONNRESET},
		{"half", "\x94\x01", 2, -ECONNRESET},
		{"malformed", "\x94\x01\xc1", 3, -EBADMSG},
		{"huge", "\x94\x01\x01\xc0\xdb\xff\xff\xff\xff", 9, -EMSGSIZE},
		{"huge array", "\x94\x01\x01\xc0\xdd\x03\xff\xff\xff", 9, -ECONNRESET},
		{"request", "\x94\x00\x01\xc0\x80", 5, -EBADMSG},
		{"another id", "\x94\x01\x02\xc0\x80", 5, -EBADMSG},
		{"three", "\x93\x01\x01\xc0", 4, -EBADMSG},
		{"odd error", "\x94\x01\x01\x05\xc0", 5, CTL_REFUSED},
		{"error of another", "\x94\x01\x02\x80\xc0", 5, -EBADMSG},
		{"good", "\x94\x01\x01\xc0\x80", 5, 0},
	};
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct liar l = {.fd = socket(AF_UNIX, SOCK_STREAM, 0)};

	(void)state;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", fake.path);
	assert_int_equal(bind(l.fd, (struct sockaddr *)&sun, sizeof(sun)) | listen(l.fd, 4), 0);
	for (size_t i = 0; i < COUNT(row); i++) {
		struct ctl_client *client;
		msgpack_unpacked result;
		struct err e = {0};
		pthread_t t;
		int rc;

		l.bytes = (const uint8_t *)row[i].text;
		l.len = row[i].len;
		pthread_create(&t, NULL, lie, &l);
		rc = call("status", NULL, &result, &client, &e);
		if (rc != row[i].want)
			fail_msg("%s: %d %s", row[i].name, rc, e.text);
		if (!rc)
			msgpack_unpacked_destroy(&result);
		else
			assert_true(e.text[0]);
		ctl_disconnect(client);
		pthread_join(t, NULL);
	}
	close(l.fd);
}

static void test_connect_when_nobody_is_there_then_names_socket_and_cause(void **state)
{
	struct ctl_client *client;
	struct err e = {0};

	(void)state;
	assert_int_equal(ctl_connect("/nowhere/edged.sock", &client, &e), -ENOENT);
	assert_string_equal(
		e.text,
		"can't reach edged at /nowhere/edged.sock: no such socket (is edged running?)");
}

int main(void)
{
#define LIVE(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)
	const struct CMUnitTest tests[] = {
		LIVE(test_server_when_requests_are_sent_in_one_go_or_by_bytes_then_answers_each),
		LIVE(test_server_when_malformed_then_error_and_end),
		LIVE(test_server_when_request_is_too_long_then_refused),
		LIVE(test_server_when_noise_comes_then_goes_on_serving),
		LIVE(test_server_when_client_is_idle_then_it_is_sent_away),
		LIVE(test_server_when_too_many_clients_then_the_next_is_told),
		LIVE(test_open_when_path_is_taken_then_refused_or_replaced),
		LIVE(test_open_when_it_cannot_then_names_the_path),
		LIVE(test_open_when_group_is_unknown_then_socket_is_the_owners_alone),
		LIVE(test_call_when_daemon_answers_nonsense_then_an_error_not_a_crash),
		LIVE(test_connect_when_nobody_is_there_then_names_socket_and_cause),
	};
#undef LIVE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
