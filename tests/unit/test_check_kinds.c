/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* HTTP, DNS and programs: what a check makes of what a server, here a thread with a script, says. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "edge/check/check_int.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LIMIT_MS 20000

/* ---- the server */

static struct server {
	int type, fd;
	uint16_t port;
	pthread_t thread;
	const char *say; /* bytes, or one of the words below */
	size_t say_len;
	char asked[2048]; /* the last request */
	size_t asked_len;
	volatile bool is_ended;
} server;

#define ENDLESS "(endless)" /* a body without end */
#define ENDLESS_HEAD "(endless head)"
#define HANG "(hang)" /* not a byte */
#define CLOSE "(close)"

static void say_endlessly(int fd, const char *head, const char *more)
{
	if (send(fd, head, strlen(head), MSG_NOSIGNAL) < 0)
		return;
	while (send(fd, more, strlen(more), MSG_NOSIGNAL) > 0)
		;
}

static void answer(int fd)
{
	ssize_t n = recv(fd, server.asked, sizeof(server.asked) - 1, 0);
	char rest[256];

	server.asked_len = n > 0 ? (size_t)n : 0;
	server.asked[server.asked_len] = 0;
	if (strcmp(server.say, CLOSE) == 0)
		return;
	if (strcmp(server.say, ENDLESS) == 0)
		say_endlessly(fd, "HTTP/1.1 200 OK\r\n\r\n", "all work and no play ");
	else if (strcmp(server.say, ENDLESS_HEAD) == 0)
		say_endlessly(fd, "HTTP/1.1 200 OK\r\n", "X-Header: and another one of them\r\n");
	else if (strcmp(server.say, HANG) != 0)
		(void)send(fd, server.say, server.say_len, MSG_NOSIGNAL);
	if (server.say[0] == '(')
		while (recv(fd, rest, sizeof(rest), 0) > 0)
			;
}

/* DNS: the id of the question and, behind 12 bytes of a header that `say` has, the question itself; then the rest. */
static size_t dns_reply(uint8_t *reply, const char *question, size_t len)
{
	memcpy(reply, server.say, 12);
	memcpy(reply, question, 2);
	memcpy(reply + 12, question + 12, len - 12);
	memcpy(reply + len, server.say + 12, server.say_len - 12);
	return len + server.say_len - 12;
}

static bool is_guessed_first; /* one with another id comes before the answer */

static void answer_dns(void)
{
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	uint8_t reply[2048];
	ssize_t n = recvfrom(server.fd, server.asked, sizeof(server.asked), 0,
			     (struct sockaddr *)&from, &from_len);

	if (n < 12)
		return;
	if (server.say_len < 12)
		memcpy(reply, server.say, server.say_len), n = (ssize_t)server.say_len;
	else
		n = (ssize_t)dns_reply(reply, server.asked, (size_t)n);
	if (is_guessed_first) {
		reply[0] ^= 0x55;
		(void)sendto(server.fd, reply, (size_t)n, 0, (struct sockaddr *)&from, from_len);
		reply[0] ^= 0x55;
	}
	(void)sendto(server.fd, reply, (size_t)n, 0, (struct sockaddr *)&from, from_len);
}

static void answer_dns_tcp(int fd)
{
	uint8_t reply[2048];
	ssize_t n = recv(fd, server.asked, sizeof(server.asked), 0);
	size_t len;

	if (n < 14)
		return;
	len = dns_reply(reply + 2, server.asked + 2, (size_t)n - 2);
	reply[0] = (uint8_t)(len >> 8);
	reply[1] = (uint8_t)len;
	/* In pieces, the first of them half of the length. */
	for (size_t at = 0, step = 1; at < len + 2; at += step, step = 7) {
		size_t left = len + 2 - at;

		(void)send(fd, reply + at, left < step ? left : step, MSG_NOSIGNAL);
	}
}

static bool is_dns;

static void *serve(void *arg)
{
	(void)arg;
	if (server.type == SOCK_DGRAM) {
		while (!server.is_ended)
			answer_dns();
		return NULL;
	}
	while (!server.is_ended) {
		int fd = accept(server.fd, NULL, NULL);

		if (fd < 0)
			break;
		if (!server.is_ended)
			is_dns ? answer_dns_tcp(fd) : answer(fd);
		close(fd);
	}
	return NULL;
}

static void server_start(int type, const char *say, size_t say_len)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002)};
	socklen_t len = sizeof(in);

	memset(&server, 0, sizeof(server));
	server.type = type;
	server.say = say;
	server.say_len = say_len;
	server.fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server.fd, (struct sockaddr *)&in, sizeof(in)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(server.fd, 16), 0);
	assert_int_equal(getsockname(server.fd, (struct sockaddr *)&in, &len), 0);
	server.port = ntohs(in.sin_port);
	assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);
}

static void server_stop(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET,
				 .sin_port = htons(server.port),
				 .sin_addr.s_addr = htonl(0x7f000002)};
	int fd = socket(AF_INET, server.type | SOCK_CLOEXEC, 0);

	server.is_ended = true;
	(void)connect(fd, (struct sockaddr *)&in, sizeof(in));
	(void)send(fd, "end", 3, MSG_NOSIGNAL);
	pthread_join(server.thread, NULL);
	close(fd);
	close(server.fd);
}

/* ---- the check */

static struct bed {
	uv_loop_t uv;
	uv_timer_t limit;
	bool is_limit_over, is_closed;
	struct check_pool *pool;
	struct check *check;
	unsigned calls;
	struct check_result last;
	char dir[64];
} bed;

static void on_limit(uv_timer_t *t)
{
	(void)t;
	bed.is_limit_over = true;
}

static int setup(void **state)
{
	struct check_pool_config cfg = {.program_dir = bed.dir};

	(void)state;
	memset(&bed, 0, sizeof(bed));
	snprintf(bed.dir, sizeof(bed.dir), "/tmp/edge-check-XXXXXX");
	assert_non_null(mkdtemp(bed.dir));
	uv_loop_init(&bed.uv);
	uv_timer_init(&bed.uv, &bed.limit);
	uv_timer_start(&bed.limit, on_limit, LIMIT_MS, 0);
	return check_pool_open(&bed.uv, &cfg, &bed.pool);
}

static void on_pool_closed(void *arg)
{
	*(bool *)arg = true;
}

static int teardown(void **state)
{
	char command[100];

	(void)state;
	check_stop(bed.check);
	check_pool_close(bed.pool, on_pool_closed, &bed.is_closed);
	uv_close((uv_handle_t *)&bed.limit, NULL);
	uv_run(&bed.uv, UV_RUN_DEFAULT);
	snprintf(command, sizeof(command), "rm -rf %s", bed.dir);
	return !bed.is_closed || system(command) || uv_loop_close(&bed.uv);
}

static void on_result(const struct check_result *r, void *arg)
{
	(void)arg;
	bed.calls++;
	bed.last = *r;
	uv_stop(&bed.uv);
}

static void start(const char *text, uint16_t port, enum model_health_state state)
{
	struct check_of of = {.port = port, .name = "web/127.0.0.2:80", .state = state};
	struct model_check spec;
	struct err e;

	if (model_check_parse(text, &spec, &e))
		fail_msg("%s: %s", text, e.text);
	assert_int_equal(ip_parse("127.0.0.2", &of.addr), 0);
	assert_int_equal(check_start(bed.pool, &of, &spec, on_result, NULL, &bed.check), 0);
}

/* The first result from unknown, and all of its text. */
static void expect(const char *text, uint16_t port, enum model_health_state state, bool is_warning,
		   const char *why)
{
	struct check_look look;

	start(text, port, MODEL_HEALTH_UNKNOWN);
	while (!bed.calls && !bed.is_limit_over)
		uv_run(&bed.uv, UV_RUN_ONCE);
	check_see(bed.check, &look);
	if (!bed.calls || bed.last.state != state || bed.last.is_warning != is_warning ||
	    strncmp(look.output, why, strlen(why)) != 0)
		fail_msg("%s: state %d, '%s', want %d, '%s'", text, bed.last.state, look.output,
			 state, why);
	assert_true(look.unix_ms && look.streak == 1 && !look.is_under_way && look.next_ms);
}

#define PATIENT ",interval=60s,timeout=15s"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nall good"

static void test_http_when_answered_then_says_what_was_wrong(void **state)
{
	static const struct {
		const char *spec, *say, *why;
		bool is_good;
	} row[] = {
		{"http:path=/" PATIENT, OK, "status 200 in ", true},
		{"http:match=good$" PATIENT, OK, "status 200 in ", true},
		{"http:match=^bad" PATIENT, OK, "status 200, the first 8 bytes don't match '^bad'",
		 false},
		{"http:path=/" PATIENT, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
		 "status 503, want 200-399", false},
		{"http:status=204" PATIENT, OK, "status 200, want 204", false},
		{"http:path=/" PATIENT,
		 "HTTP/1.1 302 There\r\nLocation: http://127.0.0.2:9/\r\nContent-Length: 0\r\n\r\n",
		 "status 302 in ", true},
		{"http:status=200-299" PATIENT,
		 "HTTP/1.1 302 There\r\nLocation: http://127.0.0.2:9/\r\nContent-Length: 0\r\n\r\n",
		 "status 302, want 200-299", false},
		{"http:path=/" PATIENT, "SSH-2.0-x\r\n", "the answer is not HTTP", false},
		{"http:path=/" PATIENT, "\x01\x02\x03\x04garbage", "the answer is not HTTP", false},
		{"http:path=/" PATIENT, CLOSE, "closed without an answer", false},
		{"http:timeout=50ms,interval=60s", HANG, "timed out after 50 ms", false},
		{"http:path=/" PATIENT, ENDLESS, "status 200 in ", true},
		{"http:match=no play" PATIENT, ENDLESS, "status 200 in ", true},
		{"http:match=rest" PATIENT, ENDLESS,
		 "status 200, the first 16384 bytes don't match 'rest'", false},
		{"http:path=/" PATIENT, ENDLESS_HEAD, "headers of more than 65536 bytes", false},
		{"http:method=HEAD" PATIENT, OK, "status 200 in ", true},
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		if (i)
			setup(state);
		server_start(SOCK_STREAM, row[i].say, strlen(row[i].say));
		expect(row[i].spec, server.port,
		       row[i].is_good ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING, false,
		       row[i].why);
		server_stop();
		if (i + 1 < COUNT(row))
			assert_int_equal(teardown(state), 0);
	}
}

static void test_http_when_asked_then_as_the_specification_says(void **state)
{
	(void)state;
	server_start(SOCK_STREAM, OK, strlen(OK));
	expect("http:path=/a?b=c,host=a.example:81,method=HEAD" PATIENT, server.port,
	       MODEL_HEALTH_PASSING, false, "status 200");
	server_stop();
	if (strncmp(server.asked, "HEAD /a?b=c HTTP/1.1\r\n", 22) != 0 ||
	    !strstr(server.asked, "\r\nHost: a.example:81\r\n"))
		fail_msg("asked: %s", server.asked);
}

static void test_http_when_nobody_listens_then_refused(void **state)
{
	(void)state;
	server_start(SOCK_STREAM, OK, strlen(OK));
	server_stop();
	expect("http:path=/" PATIENT, server.port, MODEL_HEALTH_FAILING, false,
	       "connection refused");
}

static void test_https_when_server_speaks_plainly_then_failing(void **state)
{
	(void)state;
	server_start(SOCK_STREAM, OK, strlen(OK));
	start("https:insecure=on" PATIENT, server.port, MODEL_HEALTH_UNKNOWN);
	while (!bed.calls && !bed.is_limit_over)
		uv_run(&bed.uv, UV_RUN_ONCE);
	server_stop();
	assert_int_equal(bed.last.state, MODEL_HEALTH_FAILING);
	assert_true(strlen(bed.last.why) > 5);
}

/* ---- DNS */

#define HEADER(flags, answers) "id" flags "\0\1\0" answers "\0\0\0\0"
#define A_RECORD "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"

static void test_dns_when_answered_then_says_what_was_wrong(void **state)
{
#define SAY(s) s, sizeof(s) - 1
	static const struct {
		const char *spec, *say;
		size_t say_len;
		const char *why;
		bool is_good;
		bool is_ignored; /* over UDP, where anybody may say it */
	} row[] = {
		{"dns:name=a.example" PATIENT, SAY(HEADER("\x81\x80", "\1") A_RECORD),
		 "rcode NOERROR in ", true, false},
		{"dns:name=a.example,answer=192.0.2.1" PATIENT,
		 SAY(HEADER("\x81\x80", "\1") A_RECORD), "rcode NOERROR in ", true, false},
		{"dns:name=a.example,answer=192.0.2.2" PATIENT,
		 SAY(HEADER("\x81\x80", "\1") A_RECORD), "192.0.2.2 is not among 1 answers", false,
		 false},
		{"dns:name=a.example,answer=192.0.2.2" PATIENT, SAY(HEADER("\x83\x80", "\0") ""),
		 "192.0.2.2 is not among 0 answers, truncated", false, false},
		{"dns:name=a.example" PATIENT, SAY(HEADER("\x81\x82", "\0") ""),
		 "rcode SERVFAIL, want NOERROR", false, false},
		{"dns:name=a.example,rcode=REFUSED" PATIENT, SAY(HEADER("\x81\x85", "\0") ""),
		 "rcode REFUSED in ", true, false},
		{"dns:name=a.example" PATIENT, SAY(HEADER("\x01\x00", "\0") ""),
		 "reply of 27 bytes is no DNS answer", false, true},
		{"dns:name=a.example" PATIENT, SAY("garbage"), "reply of 7 bytes is no DNS answer",
		 false, true},
	};
#undef SAY

	for (size_t i = 0; i < 2 * COUNT(row); i++) {
		size_t n = i / 2;
		char spec[200], why[96];

		is_dns = i % 2;
		if (is_dns && row[n].say_len < 12)
			continue; /* only as a datagram */
		if (i)
			setup(state);
		snprintf(spec, sizeof(spec), "%s%s", row[n].spec, is_dns ? ",proto=tcp" : "");
		server_start(is_dns ? SOCK_STREAM : SOCK_DGRAM, row[n].say, row[n].say_len);
		if (row[n].is_ignored && !is_dns) {
			snprintf(spec, sizeof(spec),
				 "dns:name=a.example,interval=60s,timeout=300ms");
			snprintf(why, sizeof(why), "timed out after 300 ms: %s", row[n].why);
		} else {
			snprintf(why, sizeof(why), "%s", row[n].why);
		}
		expect(spec, server.port,
		       row[n].is_good ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING, false, why);
		server_stop();
		if (i + 2 < 2 * COUNT(row))
			assert_int_equal(teardown(state), 0);
	}
	is_dns = false;
}

static void test_dns_when_another_answers_first_then_it_waits_on(void **state)
{
	static const char say[] = HEADER("\x81\x80", "\1") A_RECORD;

	(void)state;
	is_guessed_first = true;
	server_start(SOCK_DGRAM, say, sizeof(say) - 1);
	expect("dns:name=a.example,answer=192.0.2.1" PATIENT, server.port, MODEL_HEALTH_PASSING,
	       false, "rcode NOERROR in ");
	server_stop();
	is_guessed_first = false;
}

/* ---- programs */

static void program(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", bed.dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0755), 0);
}

static void test_exec_when_run_then_its_code_decides(void **state)
{
	static const struct {
		const char *run, *text, *why;
		enum model_health_state to;
		bool is_warning;
	} row[] = {
		{"p", "#!/bin/sh\nexit 0\n", "exit 0 in ", MODEL_HEALTH_PASSING, false},
		{"p a b", "#!/bin/sh\necho $#: $2 $EDGE_SERVICE $EDGE_ADDR $EDGE_PORT\n",
		 "2: b web 127.0.0.2 7", MODEL_HEALTH_PASSING, false},
		{"p", "#!/bin/sh\necho disk 91 %; exit 1\n", "exit 1: disk 91 %",
		 MODEL_HEALTH_PASSING, true},
		{"p", "#!/bin/sh\necho gone >&2; exit 2\n", "exit 2: gone", MODEL_HEALTH_FAILING,
		 false},
		{"p", "#!/bin/sh\nkill -9 $$\n", "ended by signal 9", MODEL_HEALTH_FAILING, false},
		{"p", "#!/bin/sh\nprintf 'a\\033[1mb\\nc'\n", "a [1mb c", MODEL_HEALTH_PASSING,
		 false},
		{"p", "#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\n", "xxxxxxxx",
		 MODEL_HEALTH_PASSING, false},
	};

	for (size_t i = 0; i < COUNT(row); i++) {
		char spec[100];

		if (i)
			setup(state);
		program("p", row[i].text);
		snprintf(spec, sizeof(spec), "exec:run=%s" PATIENT, row[i].run);
		expect(spec, 7, row[i].to, row[i].is_warning, row[i].why);
		if (i + 1 < COUNT(row))
			assert_int_equal(teardown(state), 0);
	}
}

static void test_exec_when_time_is_over_then_all_of_it_is_killed(void **state)
{
	char path[128], text[32] = "";
	pid_t child;
	FILE *f;

	(void)state;
	/* A child of its own, that holds the pipe. */
	program("p", "#!/bin/sh\nsleep 300 &\necho $! >$(dirname $0)/pid\nwait\n");
	expect("exec:run=p,timeout=300ms,interval=60s", 7, MODEL_HEALTH_FAILING, false,
	       "timed out after 300 ms");
	snprintf(path, sizeof(path), "%s/pid", bed.dir);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	child = (pid_t)atoi(text);
	assert_true(child > 1);
	/* Whoever is its parent now may take a moment to collect it. */
	for (int i = 0; i < 1000; i++) {
		char stat[64] = "", *end;

		snprintf(path, sizeof(path), "/proc/%d/stat", child);
		f = fopen(path, "r");
		if (!f)
			return;
		(void)!fgets(stat, sizeof(stat), f);
		fclose(f);
		end = strrchr(stat, ')');
		if (!end || end[2] == 'Z' || end[2] == 'X')
			return;
		usleep(10000);
	}
	fail_msg("process %d lives on", child);
}

static void test_exec_when_it_may_not_run_then_no_result(void **state)
{
	struct check_look look = {0};
	struct check_pool *none;
	struct check_pool_config cfg = {0};
	struct model_check spec;
	struct err e;

	(void)state;
	start("exec:run=missing", 7, MODEL_HEALTH_UNKNOWN);
	while (!look.unix_ms && !bed.is_limit_over) {
		uv_run(&bed.uv, UV_RUN_ONCE);
		check_see(bed.check, &look);
	}
	assert_int_equal(bed.calls, 0);
	assert_int_equal(look.last, CHECK_NO_RESULT);
	assert_non_null(strstr(look.output, "missing: No such file"));

	assert_int_equal(model_check_parse("exec:run=p", &spec, NULL), 0);
	assert_int_equal(check_pool_open(&bed.uv, &cfg, &none), 0);
	assert_int_equal(check_pool_allows(none, &spec, &e), -EACCES);
	assert_non_null(strstr(e.text, "check_dir is not set"));
	check_pool_close(none, NULL, NULL);
}

static void test_check_dir_trust_when_others_may_write_then_refused(void **state)
{
	char file[sizeof(bed.dir) + 8], real[CHECK_DIR_MAX];
	struct err e;

	(void)state;
	assert_int_equal(check_dir_trust(bed.dir, real, &e), 0); /* 0700, ours */
	assert_int_equal(chmod(bed.dir, 0755), 0);
	assert_int_equal(check_dir_trust(bed.dir, real, &e), 0);
	assert_int_equal(chmod(bed.dir, 0775), 0);
	assert_int_equal(check_dir_trust(bed.dir, real, &e), -EPERM);
	assert_non_null(strstr(e.text, bed.dir));
	assert_non_null(strstr(e.text, "mode 0775"));
	assert_int_equal(chmod(bed.dir, 01757), 0);
	assert_int_equal(check_dir_trust(bed.dir, real, &e), -EPERM);
	assert_non_null(strstr(e.text, "mode 1757"));
	assert_int_equal(chmod(bed.dir, 0755), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(bed.dir, 12345, (gid_t)-1), 0);
		assert_int_equal(check_dir_trust(bed.dir, real, &e), -EPERM);
		assert_non_null(strstr(e.text, "belongs to user 12345"));
		assert_int_equal(seteuid(12345), 0); /* its owner runs it */
		assert_int_equal(check_dir_trust(bed.dir, real, &e), 0);
		assert_int_equal(seteuid(0), 0);
		assert_int_equal(chown(bed.dir, 0, (gid_t)-1), 0);
	}
	snprintf(file, sizeof(file), "%s/none", bed.dir);
	assert_int_equal(check_dir_trust(file, real, &e), -ENOENT);
	assert_int_equal(check_dir_trust("/dev/null", real, &e), -ENOTDIR);
}

static void test_check_dir_trust_when_others_may_write_above_it_then_refused(void **state)
{
	char above[sizeof(bed.dir) + 8], dir[sizeof(above) + 8], link[sizeof(above)];
	char real[CHECK_DIR_MAX];
	struct err e;

	(void)state;
	snprintf(above, sizeof(above), "%s/above", bed.dir);
	snprintf(dir, sizeof(dir), "%s/checks", above);
	snprintf(link, sizeof(link), "%s/link", bed.dir);
	assert_int_equal(mkdir(above, 0755) | mkdir(dir, 0755) | symlink(dir, link), 0);
	assert_int_equal(check_dir_trust(dir, real, &e), 0);
	assert_int_equal(chmod(above, 0777), 0);
	assert_int_equal(check_dir_trust(dir, real, &e), -EPERM);
	assert_non_null(strstr(e.text, "above has mode 0777"));
	assert_int_equal(check_dir_trust(link, real, &e), -EPERM);
	assert_int_equal(chmod(above, 01777), 0); /* as /tmp: what is in it is its owner's */
	assert_int_equal(check_dir_trust(link, real, &e), 0);
	assert_string_equal(real, dir);
}

static void test_exec_when_others_may_write_the_program_then_no_result(void **state)
{
	struct model_check spec;
	struct err e = {0};
	char path[sizeof(bed.dir) + 8];

	(void)state;
	program("p", "#!/bin/sh\nexit 0\n");
	assert_int_equal(model_check_parse("exec:run=p", &spec, NULL), 0);
	assert_int_equal(check_pool_allows(bed.pool, &spec, &e), 0);
	snprintf(path, sizeof(path), "%s/p", bed.dir);
	assert_int_equal(chmod(path, 0777), 0);
	assert_int_equal(check_pool_allows(bed.pool, &spec, &e), -EPERM);
	assert_non_null(strstr(e.text, "others may write it"));
}

static void test_warning_when_it_varies_then_after_fall_and_rise(void **state)
{
	struct check_look look;

	(void)state;
	/* good, warns 3 times, good from then on */
	program("p", "#!/bin/sh\nd=$(dirname $0); echo >>$d/n; n=$(wc -l <$d/n)\n"
		     "[ $n -ge 2 ] && [ $n -le 4 ] && exit 1\nexit 0\n");
	start("exec:run=p,interval=50ms,timeout=50ms,rise=2,fall=2", 7, MODEL_HEALTH_UNKNOWN);
	/* a slow machine may miss the time: only what follows a change of state is looked at */
	while (!(bed.calls && bed.last.is_warning) && !bed.is_limit_over)
		uv_run(&bed.uv, UV_RUN_ONCE);
	assert_int_equal(bed.last.state, MODEL_HEALTH_PASSING);
	check_see(bed.check, &look);
	assert_int_equal(look.last, CHECK_WARN);
	while (bed.last.is_warning && !bed.is_limit_over)
		uv_run(&bed.uv, UV_RUN_ONCE);
	assert_false(bed.last.is_warning);
}

/* ---- many */

static void test_pool_when_full_then_others_wait_their_turn(void **state)
{
	enum { MANY = CHECK_PROGRAMS_MAX + 8 };
	struct check *check[MANY];
	struct check_of of = {.port = 7, .name = "web/x:7"};
	struct model_check spec;

	(void)state;
	program("p", "#!/bin/sh\nexit 0\n");
	assert_int_equal(model_check_parse("exec:run=p,interval=60s,timeout=15s", &spec, NULL), 0);
	for (size_t i = 0; i < MANY; i++)
		assert_int_equal(check_start(bed.pool, &of, &spec, on_result, NULL, &check[i]), 0);
	while (bed.calls < MANY && !bed.is_limit_over) {
		uv_run(&bed.uv, UV_RUN_ONCE);
		assert_true(bed.pool->running[1] <= CHECK_PROGRAMS_MAX);
	}
	assert_int_equal(bed.calls, MANY);
	for (size_t i = 0; i < MANY; i++)
		check_stop(check[i]);
}

static unsigned wakes;

static void on_wake(struct check_waiter *w)
{
	(void)w;
	wakes++;
}

/* Who was told that there is room, and goes before it takes it, leaves it to the next one. */
static void test_pool_when_the_next_one_goes_then_the_one_after_it_is_told(void **state)
{
	struct check_waiter none = {0}, w[2] = {0};

	(void)state;
	bed.pool->wake = on_wake;
	wakes = 0;
	for (size_t i = 0; i < CHECK_PROGRAMS_MAX; i++)
		assert_true(check_pool_take(bed.pool, true, &none));
	assert_false(check_pool_take(bed.pool, true, &w[0]));
	assert_false(check_pool_take(bed.pool, true, &w[1]));
	check_pool_release(bed.pool, true);
	assert_int_equal(wakes, 1);
	check_pool_leave(bed.pool, true, &w[0]);
	assert_int_equal(wakes, 2);
	assert_true(check_pool_take(bed.pool, true, &w[1]));
	check_pool_leave(bed.pool, true, &w[1]); /* after it has taken it: nobody's room */
	assert_int_equal(wakes, 2);
	for (size_t i = 0; i < CHECK_PROGRAMS_MAX; i++)
		check_pool_release(bed.pool, true);
}

int main(void)
{
#define BED(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		BED(test_http_when_answered_then_says_what_was_wrong),
		BED(test_http_when_asked_then_as_the_specification_says),
		BED(test_http_when_nobody_listens_then_refused),
		BED(test_https_when_server_speaks_plainly_then_failing),
		BED(test_dns_when_answered_then_says_what_was_wrong),
		BED(test_exec_when_run_then_its_code_decides),
		BED(test_exec_when_time_is_over_then_all_of_it_is_killed),
		BED(test_exec_when_it_may_not_run_then_no_result),
		BED(test_check_dir_trust_when_others_may_write_then_refused),
		BED(test_check_dir_trust_when_others_may_write_above_it_then_refused),
		BED(test_exec_when_others_may_write_the_program_then_no_result),
		BED(test_pool_when_the_next_one_goes_then_the_one_after_it_is_told),
		BED(test_dns_when_another_answers_first_then_it_waits_on),
		BED(test_warning_when_it_varies_then_after_fall_and_rise),
		BED(test_pool_when_full_then_others_wait_their_turn),
	};
#undef BED

	return cmocka_run_group_tests(tests, NULL, NULL);
}
