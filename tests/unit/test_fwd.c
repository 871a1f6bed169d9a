/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Both ends of the socket between edged and edgefwd, on one loop; and the command line of the wg tool. */
#include "edge/fwd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "edge/ip.h"
#include "edge/keeper_sock.h"
#include "edge/keeper_wg.h"

#define WAIT_MS 10000

struct world {
	uv_loop_t loop;
	char dir[32];
	char path[64];
	struct keeper_sock *sock;
	struct fwd *fwd;
	uv_timer_t limit;
	bool is_late;
	struct dp_fds fds; /* what the keeper hands out: /dev/null, DP_FD_COUNT times */
	/* edged's side */
	int up_count, down_count, reply_count, closed_count;
	struct dp_fds got;
	char why[200];
	struct fwd_msg asked, answered;
	/* edgefwd's side */
	int request_count, gone_count;
	int status; /* to answer with; 1 = later */
	struct fwd_msg request;
	uint64_t peer;
};

static void late_cb(uv_timer_t *t)
{
	((struct world *)t->data)->is_late = true;
}

static void wait_for(struct world *w, const int *count, int want)
{
	w->is_late = false;
	assert_int_equal(uv_timer_start(&w->limit, late_cb, WAIT_MS, 0), 0);
	while (*count < want && !w->is_late)
		uv_run(&w->loop, UV_RUN_ONCE);
	uv_timer_stop(&w->limit);
	assert_true(*count >= want);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int fd[DP_FD_COUNT];

	uv_loop_init(&w->loop);
	uv_timer_init(&w->loop, &w->limit);
	w->limit.data = w;
	snprintf(w->dir, sizeof(w->dir), "/tmp/test_fwd.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/sock", w->dir);
	for (size_t i = 0; i < DP_FD_COUNT; i++)
		fd[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	memcpy(&w->fds, fd, sizeof(fd));
	*state = w;
	return 0;
}

static void closed_cb(void *arg)
{
	((struct world *)arg)->closed_count++;
}

static void close_fds(const struct dp_fds *fds)
{
	int fd[DP_FD_COUNT];

	memcpy(fd, fds, sizeof(fd));
	for (size_t i = 0; i < DP_FD_COUNT; i++)
		assert_int_equal(close(fd[i]), 0);
}

static int teardown(void **state)
{
	struct world *w = *state;

	fwd_close(w->fwd, closed_cb, w);
	keeper_sock_close(w->sock, closed_cb, w);
	wait_for(w, &w->closed_count, 2);
	uv_close((uv_handle_t *)&w->limit, NULL);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	close_fds(&w->fds);
	unlink(w->path);
	assert_int_equal(rmdir(w->dir), 0);
	free(w);
	return 0;
}

/* ---- edged's side */

static void up_cb(const struct dp_fds *fds, uint32_t abi, void *arg)
{
	struct world *w = arg;

	assert_int_equal(abi, DP_ABI_VERSION);
	w->got = *fds;
	w->up_count++;
}

static void down_cb(const char *why, void *arg)
{
	struct world *w = arg;

	snprintf(w->why, sizeof(w->why), "%s", why);
	w->down_count++;
}

static void reply_cb(const struct fwd_msg *request, const struct fwd_msg *reply, void *arg)
{
	struct world *w = arg;

	w->asked = *request;
	w->answered = *reply;
	w->reply_count++;
}

static void open_fwd(struct world *w)
{
	struct fwd_config cfg = {.socket_path = w->path,
				 .up_cb = up_cb,
				 .down_cb = down_cb,
				 .reply_cb = reply_cb,
				 .arg = w};

	assert_int_equal(fwd_open(&w->loop, &cfg, &w->fwd, NULL), 0);
}

/* ---- edgefwd's side */

static int request_cb(const struct fwd_msg *msg, uint64_t peer, struct err *e, void *arg)
{
	struct world *w = arg;

	w->request = *msg;
	w->peer = peer;
	w->request_count++;
	return w->status < 0 ? err_set(e, w->status, "because") : w->status;
}

static void gone_cb(void *arg)
{
	((struct world *)arg)->gone_count++;
}

static void open_sock(struct world *w, uid_t uid)
{
	struct keeper_sock_config cfg = {.path = w->path,
					 .uid = uid,
					 .gid = getegid(),
					 .build = "test",
					 .fds = w->fds,
					 .request_cb = request_cb,
					 .gone_cb = gone_cb,
					 .arg = w};
	struct err e = {};

	if (keeper_sock_open(&w->loop, &cfg, &w->sock, &e) < 0)
		fail_msg("%s", e.text);
}

static void open_both(struct world *w)
{
	open_sock(w, getuid());
	open_fwd(w);
	wait_for(w, &w->up_count, 1);
}

/* ---- cases */

static void test_fwd_open_when_keeper_is_there_then_gets_all_fds(void **state)
{
	struct world *w = *state;
	struct stat want, got;

	open_both(w);
	assert_true(fwd_is_up(w->fwd));
	int fd[DP_FD_COUNT];

	memcpy(fd, &w->got, sizeof(fd));
	stat("/dev/null", &want);
	for (size_t i = 0; i < DP_FD_COUNT; i++) {
		assert_int_equal(fstat(fd[i], &got), 0);
		assert_int_equal(got.st_rdev, want.st_rdev);
		assert_true(fcntl(fd[i], F_GETFD) & FD_CLOEXEC);
	}
	close_fds(&w->got);
	assert_int_equal(w->down_count, 0);
}

static void test_fwd_open_when_nobody_listens_then_says_so_once_and_tries_again(void **state)
{
	struct world *w = *state;

	open_fwd(w);
	wait_for(w, &w->down_count, 1);
	assert_non_null(strstr(w->why, "cannot connect"));
	assert_int_equal(fwd_send(w->fwd, &(struct fwd_msg){.kind = FWD_VIP}), -ENOTCONN);
	open_sock(w, getuid());
	wait_for(w, &w->up_count, 1);
	assert_int_equal(w->down_count, 1);
	close_fds(&w->got);
}

static void test_fwd_send_when_asked_then_answered_with_the_callers_number(void **state)
{
	struct world *w = *state;
	struct fwd_msg m = {.kind = FWD_VIP, .verb = FWD_VIP_ADD, .seq = 4711, .addr = {1, 2, 3}};

	open_both(w);
	close_fds(&w->got);
	w->status = -EPERM;
	assert_int_equal(fwd_send(w->fwd, &m), 0);
	wait_for(w, &w->reply_count, 1);
	assert_memory_equal(w->request.addr, m.addr, 16);
	assert_int_equal(w->request.verb, FWD_VIP_ADD);
	assert_int_equal(w->answered.status, -EPERM);
	assert_string_equal(w->answered.text, "because");
	assert_int_equal(w->asked.seq, 4711);
	assert_int_equal(w->answered.seq, 4711);
}

static void test_fwd_send_when_queue_is_full_then_enobufs_and_all_are_answered(void **state)
{
	struct world *w = *state;
	int sent = 0;

	open_both(w);
	close_fds(&w->got);
	while (sent < FWD_QUEUE_MAX + 1 &&
	       fwd_send(w->fwd, &(struct fwd_msg){.kind = FWD_VIP, .verb = FWD_VIP_ADD}) == 0)
		sent++;
	assert_int_equal(sent, FWD_QUEUE_MAX);
	assert_int_equal(fwd_send(w->fwd, &(struct fwd_msg){.kind = FWD_VIP}), -ENOBUFS);
	wait_for(w, &w->reply_count, FWD_QUEUE_MAX);
	assert_int_equal(w->request_count, FWD_QUEUE_MAX);
	assert_int_equal(w->down_count, 0);
}

static void test_keeper_sock_answer_when_later_then_reaches_the_asker(void **state)
{
	struct world *w = *state;

	open_both(w);
	close_fds(&w->got);
	w->status = 1;
	assert_int_equal(fwd_send(w->fwd, &(struct fwd_msg){.kind = FWD_WGPEER}), 0);
	wait_for(w, &w->request_count, 1);
	assert_int_equal(w->reply_count, 0);
	keeper_sock_answer(w->sock, w->peer + 1, w->request.seq, -EIO, "nobody's");
	keeper_sock_answer(w->sock, w->peer, w->request.seq, -ETIMEDOUT, "late");
	wait_for(w, &w->reply_count, 1);
	assert_int_equal(w->answered.status, -ETIMEDOUT);
}

static void test_fwd_when_keeper_goes_and_comes_then_down_and_up_again(void **state)
{
	struct world *w = *state;

	open_both(w);
	close_fds(&w->got);
	keeper_sock_close(w->sock, closed_cb, w);
	wait_for(w, &w->down_count, 1);
	assert_false(fwd_is_up(w->fwd));
	open_sock(w, getuid());
	wait_for(w, &w->up_count, 2);
	close_fds(&w->got);
	w->closed_count = 0;
}

static void test_fwd_when_it_goes_then_keeper_is_told(void **state)
{
	struct world *w = *state;

	open_both(w);
	close_fds(&w->got);
	fwd_close(w->fwd, closed_cb, w);
	w->fwd = NULL;
	wait_for(w, &w->gone_count, 1);
	wait_for(w, &w->closed_count, 1);
	w->closed_count = 0;
}

static int raw_connect(const struct world *w)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", w->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	return fd;
}

/* What the keeper says to this, the loop running meanwhile. */
static struct fwd_msg raw_read(struct world *w, int fd)
{
	struct fwd_msg m = {};
	ssize_t n = -1;

	w->is_late = false;
	uv_timer_start(&w->limit, late_cb, WAIT_MS, 0);
	while (n < 0 && !w->is_late) {
		uv_run(&w->loop, UV_RUN_NOWAIT);
		n = recv(fd, &m, sizeof(m), 0);
	}
	uv_timer_stop(&w->limit);
	assert_int_equal(n, sizeof(m));
	return m;
}

static void test_keeper_sock_when_message_is_bad_then_refuses(void **state)
{
	static const struct {
		const char *name;
		struct fwd_msg msg;
		size_t bytes;
		int kind, status;
	} row[] = {
		{"short",
		 {.kind = FWD_HELLO, .version = FWD_PROTO_VERSION},
		 10,
		 FWD_REFUSED,
		 -EPROTONOSUPPORT},
		{"version",
		 {.kind = FWD_HELLO, .version = 9},
		 sizeof(struct fwd_msg),
		 FWD_REFUSED,
		 -EPROTONOSUPPORT},
		{"abi",
		 {.kind = FWD_HELLO, .version = FWD_PROTO_VERSION, .abi = 99},
		 sizeof(struct fwd_msg),
		 FWD_REFUSED,
		 -EPROTONOSUPPORT},
		{"no hello",
		 {.kind = FWD_VIP, .version = FWD_PROTO_VERSION},
		 sizeof(struct fwd_msg),
		 FWD_REPLY,
		 -ENOTCONN},
	};
	struct world *w = *state;

	open_sock(w, getuid());
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		int fd = raw_connect(w);

		assert_int_equal(send(fd, &row[i].msg, row[i].bytes, 0), row[i].bytes);
		struct fwd_msg m = raw_read(w, fd);

		if (m.kind != row[i].kind || m.status != row[i].status)
			fail_msg("%s: kind %d status %d", row[i].name, m.kind, m.status);
		close(fd);
	}
	assert_int_equal(w->request_count, 0);
}

static void test_keeper_sock_when_too_many_connect_then_refuses_the_last(void **state)
{
	struct world *w = *state;
	int fd[KEEPER_SOCK_PEERS_MAX + 1];

	open_sock(w, getuid());
	for (int i = 0; i <= KEEPER_SOCK_PEERS_MAX; i++) {
		fd[i] = raw_connect(w);
		uv_run(&w->loop, UV_RUN_NOWAIT);
	}
	struct fwd_msg m = raw_read(w, fd[KEEPER_SOCK_PEERS_MAX]);

	assert_int_equal(m.kind, FWD_REFUSED);
	assert_int_equal(m.status, -EBUSY);
	for (int i = 0; i <= KEEPER_SOCK_PEERS_MAX; i++)
		close(fd[i]);
}

static void test_keeper_sock_when_a_second_peer_says_hello_then_the_first_is_closed(void **state)
{
	struct fwd_msg hello = {
		.kind = FWD_HELLO, .version = FWD_PROTO_VERSION, .abi = DP_ABI_VERSION};
	struct world *w = *state;

	open_both(w);
	close_fds(&w->got);
	int fd = raw_connect(w);

	assert_int_equal(send(fd, &hello, sizeof(hello), 0), sizeof(hello));
	assert_int_equal(raw_read(w, fd).kind, FWD_WELCOME);
	wait_for(w, &w->down_count, 1);
	assert_int_equal(w->gone_count, 1);
	close(fd);
}

static void test_keeper_sock_open_when_socket_is_dead_then_replaces_it(void **state)
{
	struct world *w = *state;
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct keeper_sock *second;
	struct keeper_sock_config cfg = {.path = w->path, .gid = getegid()};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", w->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	close(fd);
	open_both(w);
	close_fds(&w->got);
	/* And one that lives stays. */
	assert_int_equal(keeper_sock_open(&w->loop, &cfg, &second, NULL), -EADDRINUSE);
}

static void test_keeper_wg_args_when_given_then_exact(void **state)
{
	static const struct {
		const char *name, *addr, *endpoint;
		uint16_t port;
		uint8_t verb, key;
		int status;
		const char *want;
	} row[] = {
		{"v4", "10.9.0.2", "192.0.2.7", 51820, FWD_WG_SET, 1, 0,
		 "wg set wg0 peer AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= allowed-ips "
		 "10.9.0.2/32 "
		 "persistent-keepalive 25 endpoint 192.0.2.7:51820"},
		{"v6", "fd00::2", "2001:db8::7", 1, FWD_WG_SET, 1, 0,
		 "wg set wg0 peer AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= allowed-ips "
		 "fd00::2/128 "
		 "persistent-keepalive 25 endpoint [2001:db8::7]:1"},
		{"endpoint kept", "10.9.0.2", NULL, 0, FWD_WG_SET, 1, 0,
		 "wg set wg0 peer AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= allowed-ips "
		 "10.9.0.2/32 "
		 "persistent-keepalive 25"},
		{"removed", "10.9.0.2", NULL, 0, FWD_WG_DEL, 1, 0,
		 "wg set wg0 peer AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE= remove"},
		{"no key", "10.9.0.2", NULL, 0, FWD_WG_SET, 0, -EINVAL, ""},
		{"everyone", "0.0.0.0", NULL, 0, FWD_WG_SET, 1, -EINVAL, ""},
		{"everyone, IPv6", "::", NULL, 0, FWD_WG_SET, 1, -EINVAL, ""},
		{"no such verb", "10.9.0.2", NULL, 0, 9, 1, -EINVAL, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct fwd_msg m = {
			.kind = FWD_WGPEER, .verb = row[i].verb, .endpoint_port = row[i].port};
		struct keeper_wg_args a;
		struct ip_addr ip;
		char line[256] = "";

		memset(m.wg_pub, row[i].key, 32);
		assert_int_equal(ip_parse(row[i].addr, &ip), 0);
		memcpy(m.addr, ip.b, 16);
		if (row[i].endpoint) {
			assert_int_equal(ip_parse(row[i].endpoint, &ip), 0);
			memcpy(m.endpoint, ip.b, 16);
		}
		int rc = keeper_wg_args("wg0", &m, &a, NULL);

		if (rc != row[i].status)
			fail_msg("%s: %d", row[i].name, rc);
		for (size_t n = 0; rc == 0 && a.argv[n]; n++)
			snprintf(line + strlen(line), sizeof(line) - strlen(line), "%s%s",
				 n ? " " : "", a.argv[n]);
		if (strcmp(line, row[i].want) != 0)
			fail_msg("%s: got '%s', want '%s'", row[i].name, line, row[i].want);
	}
}

static void wg_cb(uint64_t peer, uint32_t seq, int status, const char *text, void *arg)
{
	struct world *w = arg;

	(void)text;
	assert_int_equal(peer, 5);
	assert_int_equal(seq, w->reply_count); /* in the order of the requests */
	w->answered.status = status;
	w->reply_count++;
}

static void test_keeper_wg_request_when_tool_fails_then_each_is_answered(void **state)
{
	static const uint32_t count = 3;
	struct world *w = *state;
	struct fwd_msg m = {.kind = FWD_WGPEER, .verb = FWD_WG_DEL, .wg_pub = {1}};
	char path[4096];
	struct keeper_wg *wg;

	snprintf(path, sizeof(path), "%s", getenv("PATH"));
	setenv("PATH", w->dir, 1); /* no wg there */
	assert_int_equal(keeper_wg_open(&w->loop, "wg0", wg_cb, w, &wg), 0);
	for (m.seq = 0; m.seq < count; m.seq++)
		assert_int_equal(keeper_wg_request(wg, 5, &m, NULL), 0);
	wait_for(w, &w->reply_count, (int)count);
	assert_int_equal(w->answered.status, -ENOENT);
	setenv("PATH", path, 1);
	keeper_wg_close(wg, closed_cb, w);
	wait_for(w, &w->closed_count, 1);
	w->closed_count = 0;
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		CASE(test_fwd_open_when_keeper_is_there_then_gets_all_fds),
		CASE(test_fwd_open_when_nobody_listens_then_says_so_once_and_tries_again),
		CASE(test_fwd_send_when_asked_then_answered_with_the_callers_number),
		CASE(test_fwd_send_when_queue_is_full_then_enobufs_and_all_are_answered),
		CASE(test_keeper_sock_answer_when_later_then_reaches_the_asker),
		CASE(test_fwd_when_keeper_goes_and_comes_then_down_and_up_again),
		CASE(test_fwd_when_it_goes_then_keeper_is_told),
		CASE(test_keeper_sock_when_message_is_bad_then_refuses),
		CASE(test_keeper_sock_when_too_many_connect_then_refuses_the_last),
		CASE(test_keeper_sock_when_a_second_peer_says_hello_then_the_first_is_closed),
		CASE(test_keeper_sock_open_when_socket_is_dead_then_replaces_it),
		CASE(test_keeper_wg_request_when_tool_fails_then_each_is_answered),
#undef CASE
		cmocka_unit_test(test_keeper_wg_args_when_given_then_exact),
	};

	cmocka_set_test_filter(getenv("T"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
