/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The libuv shell: streams, in and out. */
#include "tests/unit/loop_fake.h"

static void test_stream_when_peer_closed_then_reported(void **state)
{
	struct node a, b;
	struct gossip_addr gone;

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	node_start(&b, "127.0.0.2", 2);
	gone = b.addr;
	core_send(a.core, GOSSIP_STREAM, &gone, 1, "x", 1);
	gossip_loop_pump(a.loop);
	WAIT(b.core->recv_count[GOSSIP_STREAM] == 1);
	node_stop(&b);
	run_for(20); /* the connection that stood is gone quietly: nothing was lost with it */
	assert_int_equal(a.core->fail_count[GOSSIP_STREAM], 0);
	core_send(a.core, GOSSIP_STREAM, &gone, 1, "x", 1);
	core_send(a.core, GOSSIP_STREAM, &gone, 1, "y", 1);
	gossip_loop_pump(a.loop);
	WAIT(a.core->fail_count[GOSSIP_STREAM] == 1);
	assert_int_equal(a.core->error, -ECONNREFUSED);
	assert_memory_equal(&a.core->failed_to, &gone, sizeof(gone));
	assert_int_equal(counters_of(&a).stream_drops, 2);
	node_stop(&a);
}

/* A listener that never accepts nor reads: what waits for it is bounded, and it is given up. */
static void test_stream_when_peer_reads_nothing_then_bounded_and_cut(void **state)
{
	enum { SENDS = 100 };
	static uint8_t big[GOSSIP_STREAM_MAX];
	struct node a;
	struct gossip_loop_config cfg = config_of(&a, "127.0.0.1", 1, 5);
	int fd = client_socket("127.0.0.2", SOCK_STREAM, NULL);
	struct gossip_addr to = addr_of("127.0.0.2", port_of(fd));

	(void)state;
	assert_int_equal(listen(fd, 1), 0);
	cfg.stream_idle_ms = 300;
	node_open(&a, &cfg);
	for (int i = 0; i < SENDS; i++)
		core_send(a.core, GOSSIP_STREAM, &to, 1, big, sizeof(big));
	gossip_loop_pump(a.loop);
	/* not yet connected: LOOP_STREAM_BYTES_MAX wait */
	assert_in_range(counters_of(&a).stream_drops, SENDS - LOOP_STREAM_BYTES_MAX / sizeof(big),
			SENDS - 10);
	/* the kernel takes some megabytes before it says stop */
	for (int i = 0; i < 400 && a.core->fail_count[GOSSIP_STREAM] == 0; i++) {
		core_send(a.core, GOSSIP_STREAM, &to, 1, big, sizeof(big));
		gossip_loop_pump(a.loop);
		uv_run(&uv, UV_RUN_NOWAIT);
	}
	WAIT(a.core->fail_count[GOSSIP_STREAM] == 1);
	assert_int_equal(a.core->error, -ETIMEDOUT);
	close(fd);
	node_stop(&a);
}

static void test_stream_when_many_small_then_queue_bounded_by_count(void **state)
{
	struct node a, b;

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	node_start(&b, "127.0.0.2", 2);
	for (int i = 0; i < LOOP_STREAM_QUEUE_MAX + 9; i++)
		core_send(a.core, GOSSIP_STREAM, &b.addr, 1, "x", 1);
	core_send(a.core, GOSSIP_STREAM, &b.addr, 1, "last", 4);
	gossip_loop_pump(a.loop);
	assert_int_equal(counters_of(&a).stream_drops,
			 10); /* the oldest: not yet connected, none is being sent */
	WAIT(b.core->recv_count[GOSSIP_STREAM] == LOOP_STREAM_QUEUE_MAX);
	assert_int_equal(b.core->last_len, 4);
	node_stop(&a);
	node_stop(&b);
}

static bool is_cut(int fd)
{
	uint8_t byte;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);

	return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void test_stream_in_when_noise_then_cut(void **state)
{
	static const struct row {
		const char *name, *bytes;
		size_t len;
	} rows[] = {
		{"length 0", "\0\0\0\0", 4},
		{"length below a seal", "\0\0\0\x5e", 4},
		{"length over the most", "\0\1\0\x65", 4},
		{"length huge", "\xff\xff\xff\xff", 4},
		{"not sealed",
		 "\0\0\0\x60"
		 "012345678901234567890123456789012345678901234567890123456789012345678901234567890"
		 "1234567890123456789",
		 104},
		{"http", "GET / HTTP/1.1\r\n\r\n", 18},
	};
	struct node b;

	(void)state;
	node_start(&b, "127.0.0.2", 2);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int fd = client_socket("127.0.0.9", SOCK_STREAM, &b.addr);

		print_message("# %s\n", rows[i].name);
		assert_int_equal(send(fd, rows[i].bytes, rows[i].len, 0), rows[i].len);
		WAIT(is_cut(fd));
		assert_int_equal(counters_of(&b).unsealed, i + 1);
		close(fd);
	}
	assert_int_equal(b.core->recv_count[GOSSIP_STREAM], 0);
	node_stop(&b);
}

static void test_stream_in_when_in_pieces_then_each_message_once(void **state)
{
	struct node a, b;
	uint8_t buf[600];
	size_t len = 0;
	int fd;

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	node_start(&b, "127.0.0.2", 2);
	for (int i = 0; i < 3; i++) {
		int n = seal_message(a.seal, GOSSIP_STREAM, (const uint8_t *)"piece", 5,
				     buf + len + 4, 200);

		memcpy(buf + len, (uint8_t[]){0, 0, 0, (uint8_t)n}, 4);
		len += 4 + (size_t)n;
	}
	fd = client_socket("127.0.0.9", SOCK_STREAM, &b.addr);
	for (size_t i = 0; i < len; i += 7) {
		size_t n = len - i < 7 ? len - i : 7;

		assert_int_equal(send(fd, buf + i, n, 0), n);
		uv_run(&uv, UV_RUN_NOWAIT);
	}
	WAIT(b.core->recv_count[GOSSIP_STREAM] == 3);
	assert_int_equal(b.core->last_len, 5);
	close(fd);
	node_stop(&a);
	node_stop(&b);
}

/* Strangers who hold connections open keep no member out. */
static void test_stream_in_when_too_many_then_strangers_go_first(void **state)
{
	struct node a, b;
	int fd[LOOP_STREAMS_MAX];
	uint16_t port;

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	node_start(&b, "127.0.0.2", 2);
	core_send(a.core, GOSSIP_STREAM, &b.addr, 1, "x", 1);
	gossip_loop_pump(a.loop);
	WAIT(b.core->recv_count[GOSSIP_STREAM] == 1);
	port = b.core->from.port;
	for (int i = 0; i < LOOP_STREAMS_MAX; i++) {
		fd[i] = client_socket("127.0.0.9", SOCK_STREAM, &b.addr);
		uv_run(&uv, UV_RUN_NOWAIT);
	}
	WAIT(is_cut(fd[0]) && is_cut(fd[LOOP_STREAMS_MAX / 2]));
	assert_false(is_cut(fd[LOOP_STREAMS_MAX - 1]));
	core_send(a.core, GOSSIP_STREAM, &b.addr, 1, "x", 1);
	gossip_loop_pump(a.loop);
	WAIT(b.core->recv_count[GOSSIP_STREAM] == 2);
	assert_int_equal(b.core->from.port, port); /* the same connection */
	assert_int_equal(a.core->fail_count[GOSSIP_STREAM], 0);
	for (int i = 0; i < LOOP_STREAMS_MAX; i++)
		close(fd[i]);
	node_stop(&a);
	node_stop(&b);
}

static void test_stream_when_idle_then_closed_quietly_and_opened_again(void **state)
{
	struct node a, b;
	struct gossip_loop_config ca = config_of(&a, "127.0.0.1", 1, 5),
				  cb = config_of(&b, "127.0.0.2", 2, 5);
	int fd;

	(void)state;
	ca.stream_idle_ms = cb.stream_idle_ms = 100;
	node_open(&a, &ca);
	node_open(&b, &cb);
	for (size_t i = 1; i <= 2; i++) {
		core_send(a.core, GOSSIP_STREAM, &b.addr, 1, "x", 1);
		gossip_loop_pump(a.loop);
		WAIT(b.core->recv_count[GOSSIP_STREAM] == i);
		run_for(400);
	}
	/* a stranger who says nothing is cut as well */
	fd = client_socket("127.0.0.9", SOCK_STREAM, &b.addr);
	WAIT(is_cut(fd));
	close(fd);
	run_for(50);
	turns = 0;
	run_for(200); /* with no connection left there is nothing to sweep */
	assert_true(turns < 10);
	assert_int_equal(a.core->fail_count[GOSSIP_STREAM], 0);
	node_stop(&a);
	node_stop(&b);
}

static void test_stream_out_when_too_many_peers_then_bounded(void **state)
{
	struct node a;
	int fd[LOOP_STREAMS_MAX];

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	for (int i = 0; i < LOOP_STREAMS_MAX; i++) {
		struct gossip_addr to;

		fd[i] = client_socket("127.0.0.2", SOCK_STREAM, NULL);
		assert_int_equal(listen(fd[i], 1), 0);
		to = addr_of("127.0.0.2", port_of(fd[i]));
		core_send(a.core, GOSSIP_STREAM, &to, 1, "x", 1);
	}
	gossip_loop_pump(a.loop);
	assert_int_equal(a.core->fail_count[GOSSIP_STREAM], LOOP_STREAMS_MAX / 2);
	assert_int_equal(a.core->error, -ENOBUFS);
	/* once those are idle, one of them makes room */
	run_for(50);
	struct gossip_addr to = addr_of("127.0.0.2", port_of(fd[LOOP_STREAMS_MAX - 1]));
	core_send(a.core, GOSSIP_STREAM, &to, 1, "x", 1);
	gossip_loop_pump(a.loop);
	run_for(20);
	assert_int_equal(a.core->fail_count[GOSSIP_STREAM], LOOP_STREAMS_MAX / 2);
	for (int i = 0; i < LOOP_STREAMS_MAX; i++)
		close(fd[i]);
	node_stop(&a);
}

static void test_close_when_streams_are_busy_then_all_is_closed(void **state)
{
	static uint8_t big[GOSSIP_STREAM_MAX];
	struct node a, b;
	int fd;

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	node_start(&b, "127.0.0.2", 2);
	fd = client_socket("127.0.0.9", SOCK_STREAM, &b.addr);
	for (int i = 0; i < 10; i++)
		core_send(a.core, GOSSIP_STREAM, &b.addr, 1, big, sizeof(big));
	gossip_loop_pump(a.loop);
	uv_run(&uv, UV_RUN_NOWAIT);
	gossip_loop_close(b.loop, closed_cb, &b);
	gossip_loop_close(a.loop, closed_cb, &a);
	WAIT(a.is_closed && b.is_closed);
	node_free(&a);
	node_free(&b);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(test_stream_when_peer_closed_then_reported),
		LOOP_TEST(test_stream_when_peer_reads_nothing_then_bounded_and_cut),
		LOOP_TEST(test_stream_when_many_small_then_queue_bounded_by_count),
		LOOP_TEST(test_stream_in_when_noise_then_cut),
		LOOP_TEST(test_stream_in_when_in_pieces_then_each_message_once),
		LOOP_TEST(test_stream_in_when_too_many_then_strangers_go_first),
		LOOP_TEST(test_stream_when_idle_then_closed_quietly_and_opened_again),
		LOOP_TEST(test_stream_out_when_too_many_peers_then_bounded),
		LOOP_TEST(test_close_when_streams_are_busy_then_all_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
