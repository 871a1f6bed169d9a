/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The libuv shell with a core that only remembers: gossip_core_* is defined here, so the real one is not linked. */
#include "gossip/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 20000 /* for what should take milliseconds */
#define QUEUE 600

/* ---- the core */

struct message {
	enum gossip_via via;
	struct gossip_addr to[4];
	size_t to_count;
	uint8_t *buf;
	size_t len;
};

struct gossip_core {
	struct message out[QUEUE];
	size_t out_head, out_tail;
	struct gossip_event event[8];
	size_t event_head, event_tail;
	uint64_t deadline_ms;
	bool is_in_packet; /* the shell may not call in while it sends */

	size_t recv_count[3], recv_bytes, tick_count, fail_count[3];
	size_t recv_at_tick;
	uint8_t last[GOSSIP_STREAM_MAX];
	size_t last_len;
	struct gossip_sender sender;
	bool has_sender;
	struct gossip_addr from, failed_to;
	int error;
};

static struct gossip_core *core_new(void)
{
	struct gossip_core *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->deadline_ms = UINT64_MAX;
	return c;
}

static void core_free(struct gossip_core *c)
{
	for (size_t i = 0; i < c->out_tail; i++)
		free(c->out[i].buf);
	free(c);
}

static void core_send(struct gossip_core *c, enum gossip_via via, const struct gossip_addr *to,
		      size_t to_count, const void *buf, size_t len)
{
	struct message *m = &c->out[c->out_tail++];

	assert_true(c->out_tail <= QUEUE);
	m->via = via;
	m->to_count = to_count;
	memcpy(m->to, to, to_count * sizeof(*to));
	m->buf = malloc(len + 1);
	assert_non_null(m->buf);
	memcpy(m->buf, buf, len);
	m->len = len;
}

int gossip_core_recv(struct gossip_core *c, uint64_t now_ms, enum gossip_via via,
		     const struct gossip_sender *sender, const struct gossip_addr *from,
		     const uint8_t *buf, size_t len)
{
	(void)now_ms;
	assert_false(c->is_in_packet);
	c->recv_count[via]++;
	c->recv_bytes += len;
	c->has_sender = sender;
	if (sender)
		c->sender = *sender;
	c->from = *from;
	memcpy(c->last, buf, len);
	c->last_len = len;
	return 0;
}

void gossip_core_send_failed(struct gossip_core *c, uint64_t now_ms, enum gossip_via via,
			     const struct gossip_addr *to, int error)
{
	(void)now_ms;
	c->is_in_packet = false; /* packets were let go of */
	c->fail_count[via]++;
	c->failed_to = *to;
	c->error = error;
}

void gossip_core_tick(struct gossip_core *c, uint64_t now_ms)
{
	assert_true(now_ms >= c->deadline_ms);
	c->tick_count++;
	c->recv_at_tick = c->recv_count[GOSSIP_DGRAM];
	c->deadline_ms = UINT64_MAX;
}

bool gossip_core_next_packet(struct gossip_core *c, struct gossip_packet *ret_packet)
{
	struct message *m = &c->out[c->out_head];

	c->is_in_packet = false;
	if (c->out_head == c->out_tail)
		return false;
	c->out_head++;
	*ret_packet = (struct gossip_packet){m->via, m->to, m->to_count, m->buf, m->len};
	c->is_in_packet = true;
	return true;
}

void gossip_core_counters(const struct gossip_core *c, struct gossip_counters *ret_counters)
{
	(void)c;
	*ret_counters = (struct gossip_counters){0};
}

bool gossip_core_next_event(struct gossip_core *c, struct gossip_event *ret_event)
{
	if (c->event_head == c->event_tail)
		return false;
	*ret_event = c->event[c->event_head++];
	return true;
}

uint64_t gossip_core_deadline_ms(const struct gossip_core *c)
{
	return c->deadline_ms;
}

/* ---- what the kernel says to sendmmsg, when a test wants it to */

static int refuse_errno;
static unsigned refuse_count;

int sendmmsg(int fd, struct mmsghdr *m, unsigned count, int flags)
{
	if (refuse_count > 0) {
		refuse_count--;
		errno = refuse_errno;
		return -1;
	}
	return (int)syscall(SYS_sendmmsg, fd, m, count, flags);
}

/* ---- one node, and the loop they share */

struct node {
	struct gossip_core *core;
	struct seal *seal;
	struct gossip_loop *loop;
	struct gossip_addr addr;
	struct node_id id;
	size_t events;
	bool is_closed;
};

static uv_loop_t uv;
static uv_timer_t limit;
static size_t turns;
static uv_check_t turn_check;

static void turn_cb(uv_check_t *h)
{
	(void)h;
	turns++;
}

static void limit_cb(uv_timer_t *t)
{
	(void)t;
	/* no jump out of libuv: its loop would be left half-way, and closing it would hang */
	fprintf(stderr, "not ok - waited for %d ms\n", LIMIT_MS);
	exit(1);
}

static int uv_setup(void **state)
{
	(void)state;
	refuse_count = 0;
	turns = 0;
	uv_loop_init(&uv);
	uv_timer_init(&uv, &limit);
	uv_check_init(&uv, &turn_check);
	uv_check_start(&turn_check, turn_cb);
	uv_unref((uv_handle_t *)&turn_check);
	return 0;
}

static int uv_teardown(void **state)
{
	(void)state;
	uv_close((uv_handle_t *)&limit, NULL);
	uv_close((uv_handle_t *)&turn_check, NULL);
	for (int i = 0; i < 100; i++)
		uv_run(&uv, UV_RUN_NOWAIT);
	return uv_loop_close(&uv); /* 0, or something was left open */
}

/* Run until the condition holds. */
#define WAIT(cond)                                                                                 \
	do {                                                                                       \
		uv_timer_start(&limit, limit_cb, LIMIT_MS, 0);                                     \
		while (!(cond))                                                                    \
			uv_run(&uv, UV_RUN_ONCE);                                                  \
		uv_timer_stop(&limit);                                                             \
	} while (0)

static void nothing_cb(uv_timer_t *t)
{
	(void)t;
}

/* Run for a while, where nothing is supposed to happen. */
static void run_for(uint64_t ms)
{
	uint64_t end = uv_hrtime() + ms * 1000000;

	while (uv_hrtime() < end) {
		uv_timer_start(&limit, nothing_cb, ms, 0);
		uv_run(&uv, UV_RUN_ONCE);
	}
	uv_timer_stop(&limit);
}

static struct gossip_addr addr_of(const char *ip, uint16_t port)
{
	struct gossip_addr a = {.port = port};

	if (inet_pton(AF_INET6, ip, a.ip) != 1) {
		a.ip[10] = a.ip[11] = 0xff;
		assert_int_equal(inet_pton(AF_INET, ip, a.ip + 12), 1);
	}
	return a;
}

static void event_cb(const struct gossip_event *ev, void *arg)
{
	struct node *n = arg;

	(void)ev;
	n->events++;
}

static struct gossip_loop_config config_of(struct node *n, const char *ip, uint8_t number,
					   uint8_t key_byte)
{
	uint8_t key[SEAL_KEY_BYTES] = {key_byte}, seed[SEAL_KEY_BYTES] = {number},
		pub[NODE_PUB_BYTES];
	struct node_key *k;

	memset(n, 0, sizeof(*n));
	n->core = core_new();
	assert_int_equal(node_key_from_seed(seed, &k), 0);
	assert_int_equal(seal_new(key, "test", k, 100 + number, &n->seal), 0);
	node_key_pub(k, pub);
	node_id_of_pub(pub, &n->id);
	node_key_free(k);
	return (struct gossip_loop_config){
		.bind = addr_of(ip, 0),
		.core = n->core,
		.seal = n->seal,
		.event_cb = event_cb,
		.arg = n,
	};
}

static void node_open(struct node *n, const struct gossip_loop_config *cfg)
{
	struct err e = {0};
	int r = gossip_loop_open(&uv, cfg, &n->loop, &e);

	if (r < 0)
		fail_msg("open: %s", e.text);
	gossip_loop_addr(n->loop, &n->addr);
	assert_true(n->addr.port > 0);
}

static void node_start(struct node *n, const char *ip, uint8_t number)
{
	struct gossip_loop_config cfg = config_of(n, ip, number, 5);

	node_open(n, &cfg);
}

static void closed_cb(void *arg)
{
	((struct node *)arg)->is_closed = true;
}

static void node_free(struct node *n)
{
	seal_free(n->seal);
	core_free(n->core);
}

static void node_stop(struct node *n)
{
	gossip_loop_close(n->loop, closed_cb, n);
	WAIT(n->is_closed);
	node_free(n);
}

static struct gossip_loop_counters counters_of(const struct node *n)
{
	struct gossip_loop_counters c;

	gossip_loop_counters(n->loop, &c);
	return c;
}

static int client_socket(const char *ip, int kind, const struct gossip_addr *to)
{
	struct gossip_addr from = addr_of(ip, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = 0}, b = {.sin_family = AF_INET};
	int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);

	memcpy(&a.sin_addr, from.ip + 12, 4);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	if (to) {
		memcpy(&b.sin_addr, to->ip + 12, 4);
		b.sin_port = htons(to->port);
		assert_int_equal(connect(fd, (struct sockaddr *)&b, sizeof(b)), 0);
	}
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return ntohs(a.sin_port);
}

/* ---- tests */

static void test_send_when_any_family_and_via_then_arrives_whole(void **state)
{
	static const struct row {
		const char *name, *ip_a, *ip_b;
		enum gossip_via via;
		size_t len;
	} rows[] = {
		{"v4 datagram", "127.0.0.1", "127.0.0.2", GOSSIP_DGRAM, 11},
		{"v4 full datagram", "127.0.0.1", "127.0.0.2", GOSSIP_DGRAM, GOSSIP_DGRAM_MAX},
		{"v4 stream", "127.0.0.1", "127.0.0.2", GOSSIP_STREAM, 11},
		{"v4 full stream", "127.0.0.1", "127.0.0.2", GOSSIP_STREAM, GOSSIP_STREAM_MAX},
		{"v6 datagram", "::1", "::1", GOSSIP_DGRAM, 11},
		{"v6 full datagram", "::1", "::1", GOSSIP_DGRAM, GOSSIP_DGRAM_MAX},
		{"v6 stream", "::1", "::1", GOSSIP_STREAM, 11},
		{"v6 full stream", "::1", "::1", GOSSIP_STREAM, GOSSIP_STREAM_MAX},
	};
	static uint8_t msg[GOSSIP_STREAM_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(msg); i++)
		msg[i] = (uint8_t)(i * 13);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct node a, b;

		print_message("# %s\n", rows[i].name);
		node_start(&a, rows[i].ip_a, 1);
		node_start(&b, rows[i].ip_b, 2);
		core_send(a.core, rows[i].via, &b.addr, 1, msg, rows[i].len);
		gossip_loop_pump(a.loop);
		WAIT(b.core->recv_count[rows[i].via] == 1);
		assert_int_equal(b.core->last_len, rows[i].len);
		assert_memory_equal(b.core->last, msg, rows[i].len);
		assert_true(b.core->has_sender);
		assert_memory_equal(&b.core->sender.id, &a.id, sizeof(a.id));
		assert_int_equal(b.core->sender.boot_nonce, 101);
		assert_memory_equal(b.core->from.ip, a.addr.ip, 16);
		if (rows[i].via == GOSSIP_DGRAM)
			assert_int_equal(b.core->from.port, a.addr.port);
		/* and back */
		core_send(b.core, rows[i].via, &a.addr, 1, msg, rows[i].len);
		gossip_loop_pump(b.loop);
		WAIT(a.core->recv_count[rows[i].via] == 1);
		assert_int_equal(counters_of(&a).send_errors + counters_of(&b).send_errors, 0);
		assert_int_equal(counters_of(&a).unsealed + counters_of(&b).unsealed, 0);
		node_stop(&a);
		node_stop(&b);
	}
}

static void test_send_when_many_destinations_then_all_get_it(void **state)
{
	struct node a, b[4];
	struct gossip_addr to[4];
	char ip[16];

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	for (uint8_t i = 0; i < 4; i++) {
		snprintf(ip, sizeof(ip), "127.0.0.%d", i + 2);
		node_start(&b[i], ip, (uint8_t)(i + 2));
		to[i] = b[i].addr;
	}
	core_send(a.core, GOSSIP_DGRAM, to, 4, "news", 4);
	core_send(a.core, GOSSIP_STREAM, to, 4, "longer news", 11);
	gossip_loop_pump(a.loop);
	for (int i = 0; i < 4; i++)
		WAIT(b[i].core->recv_count[GOSSIP_DGRAM] == 1 &&
		     b[i].core->recv_count[GOSSIP_STREAM] == 1);
	node_stop(&a);
	for (int i = 0; i < 4; i++)
		node_stop(&b[i]);
}

static void test_recv_when_not_sealed_or_replayed_then_counted_and_dropped(void **state)
{
	struct node a, b, stranger;
	struct gossip_loop_config cfg = config_of(&stranger, "127.0.0.3", 3, 6); /* another key */
	uint8_t box[SEAL_DGRAM_MAX + 100] = {0};
	int fd, n;

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	node_start(&b, "127.0.0.2", 2);
	node_open(&stranger, &cfg);
	fd = client_socket("127.0.0.9", SOCK_DGRAM, &b.addr);
	assert_int_equal(send(fd, box, 0, 0), 0);
	assert_int_equal(send(fd, box, 300, 0), 300);
	assert_int_equal(send(fd, box, sizeof(box), 0), sizeof(box));
	WAIT(counters_of(&b).unsealed == 3);
	core_send(stranger.core, GOSSIP_DGRAM, &b.addr, 1, "x", 1);
	core_send(stranger.core, GOSSIP_STREAM, &b.addr, 1, "x", 1);
	gossip_loop_pump(stranger.loop);
	WAIT(counters_of(&b).unsealed == 5);
	n = seal_message(a.seal, GOSSIP_DGRAM, (const uint8_t *)"x", 1, box, sizeof(box));
	for (int i = 0; i < 3; i++)
		assert_int_equal(send(fd, box, (size_t)n, 0), n);
	WAIT(counters_of(&b).replayed == 2);
	assert_int_equal(b.core->recv_count[GOSSIP_DGRAM], 1);
	assert_int_equal(b.core->recv_count[GOSSIP_STREAM], 0);
	close(fd);
	node_stop(&a);
	node_stop(&b);
	node_stop(&stranger);
}

static void test_send_when_port_closed_then_reported_and_no_spinning(void **state)
{
	static const char *ips[] = {"127.0.0.1", "::1"};

	(void)state;
	for (size_t f = 0; f < 2; f++) {
		enum { SENDS = 100 };
		struct node a, b;
		struct gossip_addr gone;
		size_t before;

		node_start(&a, ips[f], 1);
		node_start(&b, ips[f], 2);
		gone = b.addr;
		node_stop(&b);
		for (size_t i = 0; i < SENDS; i++) {
			core_send(a.core, GOSSIP_DGRAM, &gone, 1, "anyone?", 7);
			gossip_loop_pump(a.loop);
			WAIT(a.core->fail_count[GOSSIP_DGRAM] == i + 1);
		}
		assert_int_equal(a.core->error, -ECONNREFUSED);
		assert_memory_equal(&a.core->failed_to, &gone, sizeof(gone));
		assert_int_equal(counters_of(&a).send_errors, SENDS);
		/* now quiet: libuv's own handles would turn for ever here */
		run_for(50);
		before = turns;
		run_for(200);
		assert_true(turns - before < 20);
		/* and the socket still works both ways */
		node_start(&b, ips[f], 2);
		core_send(a.core, GOSSIP_DGRAM, &b.addr, 1, "x", 1);
		core_send(b.core, GOSSIP_DGRAM, &a.addr, 1, "x", 1);
		gossip_loop_pump(a.loop);
		gossip_loop_pump(b.loop);
		WAIT(b.core->recv_count[GOSSIP_DGRAM] == 1 &&
		     a.core->recv_count[GOSSIP_DGRAM] == 1);
		assert_int_equal(a.core->fail_count[GOSSIP_DGRAM], SENDS);
		node_stop(&a);
		node_stop(&b);
	}
}

/* A fan-out with a closed port in it: the others get theirs, and only the closed one is blamed. */
static void test_send_when_one_of_many_closed_then_only_that_fails(void **state)
{
	struct node a, b, c, gone;
	struct gossip_addr to[4];

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	node_start(&b, "127.0.0.2", 2);
	node_start(&c, "127.0.0.3", 3);
	node_start(&gone, "127.0.0.4", 4);
	to[0] = to[2] = gone.addr;
	to[1] = b.addr;
	to[3] = c.addr;
	node_stop(&gone);
	for (size_t i = 1; i <= 50; i++) {
		core_send(a.core, GOSSIP_DGRAM, to, 4, "news", 4);
		gossip_loop_pump(a.loop);
		WAIT(b.core->recv_count[GOSSIP_DGRAM] == i &&
		     c.core->recv_count[GOSSIP_DGRAM] == i);
		WAIT(a.core->fail_count[GOSSIP_DGRAM] >= i);
		assert_memory_equal(&a.core->failed_to, &to[0], sizeof(to[0]));
	}
	node_stop(&a);
	node_stop(&b);
	node_stop(&c);
}

static void test_send_when_kernel_refuses_then_counts_as_failure(void **state)
{
	static const struct row {
		const char *name;
		int error;
		unsigned count;
		size_t want_failed, want_received;
	} rows[] = {
		{"a firewall", EPERM, 1, 1, 0},	    {"another's ICMP error", ECONNREFUSED, 1, 0, 1},
		{"no route", ENETUNREACH, 2, 1, 0}, {"queue of the device full", ENOBUFS, 2, 1, 0},
		{"socket full", EAGAIN, 1, 0, 1}, /* waits for room, then goes */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct node a, b;

		print_message("# %s\n", rows[i].name);
		node_start(&a, "127.0.0.1", 1);
		node_start(&b, "127.0.0.2", 2);
		refuse_errno = rows[i].error;
		refuse_count = rows[i].count;
		core_send(a.core, GOSSIP_DGRAM, &b.addr, 1, "x", 1);
		gossip_loop_pump(a.loop);
		WAIT(a.core->fail_count[GOSSIP_DGRAM] == rows[i].want_failed &&
		     b.core->recv_count[GOSSIP_DGRAM] == rows[i].want_received);
		if (rows[i].want_failed)
			assert_int_equal(a.core->error, -rows[i].error);
		run_for(20);
		assert_int_equal(a.core->fail_count[GOSSIP_DGRAM], rows[i].want_failed);
		assert_int_equal(b.core->recv_count[GOSSIP_DGRAM], rows[i].want_received);
		node_stop(&a);
		node_stop(&b);
	}
}

static void test_send_when_socket_full_for_long_then_bounded(void **state)
{
	struct node a, b;

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	node_start(&b, "127.0.0.2", 2);
	refuse_errno = EAGAIN;
	refuse_count = LOOP_OUT_MAX + 10;
	for (size_t i = 0; i < LOOP_OUT_MAX + 10; i++)
		core_send(a.core, GOSSIP_DGRAM, &b.addr, 1, "x", 1);
	gossip_loop_pump(a.loop);
	assert_int_equal(a.core->fail_count[GOSSIP_DGRAM], 10);
	assert_int_equal(a.core->error, -ENOBUFS);
	WAIT(b.core->recv_count[GOSSIP_DGRAM] == LOOP_OUT_MAX);
	node_stop(&a);
	node_stop(&b);
}

static void test_tick_when_frozen_then_after_what_arrived(void **state)
{
	struct node a, b;

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	node_start(&b, "127.0.0.2", 2);
	for (int i = 0; i < 100; i++) /* more than one batch */
		core_send(a.core, GOSSIP_DGRAM, &b.addr, 1, "ack", 3);
	b.core->deadline_ms = gossip_loop_now_ms(b.loop) + 20;
	gossip_loop_pump(b.loop); /* arms */
	gossip_loop_pump(a.loop);
	usleep(60000); /* frozen: this is what is tested, not a wait for something */
	WAIT(b.core->tick_count == 1);
	assert_int_equal(b.core->recv_at_tick, 100);
	assert_in_range(counters_of(&b).lag_ms_max, 39, 5000);
	/* a deadline that the core sets to the past is no lateness of ours */
	b.core->deadline_ms = 1;
	gossip_loop_pump(b.loop);
	WAIT(b.core->tick_count == 2);
	assert_in_range(counters_of(&b).lag_ms_max, 39, 5000);
	/* a deadline far away costs no turns */
	b.core->deadline_ms = gossip_loop_now_ms(b.loop) + 100;
	gossip_loop_pump(b.loop);
	run_for(10);
	turns = 0;
	WAIT(b.core->tick_count == 3);
	assert_true(turns < 20);
	node_stop(&a);
	node_stop(&b);
}

static void test_ping_when_sent_then_the_forwarders_bytes_and_reply_with_cookie(void **state)
{
	struct node a;
	struct gossip_loop_config cfg = config_of(&a, "127.0.0.1", 1, 5);
	struct gossip_addr forwarder = addr_of("127.0.0.2", 1);
	int fd = client_socket("127.0.0.2", SOCK_DGRAM, NULL),
	    other = client_socket("127.0.0.2", SOCK_DGRAM, NULL);
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	uint8_t buf[64];

	(void)state;
	cfg.ping_port = port_of(fd);
	node_open(&a, &cfg);
	core_send(a.core, GOSSIP_PING, &forwarder, 1, "\1\2\3\4\5\6\7\10", 8);
	gossip_loop_pump(a.loop);
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len),
			 16);
	assert_memory_equal(buf, "edP1\0\0\0\0\1\2\3\4\5\6\7\10", 16);
	assert_int_equal(from.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
	assert_int_not_equal(ntohs(from.sin_port), a.addr.port);
#define REPLY(sock, bytes, len)                                                                    \
	assert_int_equal(sendto(sock, bytes, len, 0, (struct sockaddr *)&from, from_len), len)
	REPLY(fd, "edP1\0\0\0\0\1\2\3\4\5\6\7\10", 16);	   /* a request */
	REPLY(fd, "edP2\0\0\0\1\1\2\3\4\5\6\7\10", 16);	   /* another magic */
	REPLY(fd, "edP1\0\0\0\1\1\2\3\4\5\6\7", 15);	   /* short */
	REPLY(fd, "edP1\0\0\0\1\1\2\3\4\5\6\7\10\0", 17);  /* long */
	REPLY(other, "edP1\0\0\0\1\1\2\3\4\5\6\7\10", 16); /* from another port */
	REPLY(fd, "edP1\0\0\0\1\1\2\3\4\5\6\7\11", 16);
#undef REPLY
	WAIT(a.core->recv_count[GOSSIP_PING] == 1);
	assert_int_equal(a.core->last_len, 8);
	assert_memory_equal(a.core->last, "\1\2\3\4\5\6\7\11", 8);
	assert_false(a.core->has_sender);
	assert_memory_equal(a.core->from.ip, forwarder.ip, 16);
	/* nobody there: ICMP says so */
	close(fd);
	core_send(a.core, GOSSIP_PING, &forwarder, 1, "\1\2\3\4\5\6\7\10", 8);
	gossip_loop_pump(a.loop);
	WAIT(a.core->fail_count[GOSSIP_PING] == 1);
	assert_int_equal(a.core->error, -ECONNREFUSED);
	assert_memory_equal(a.core->failed_to.ip, forwarder.ip, 16);
	assert_int_equal(a.core->recv_count[GOSSIP_PING], 1);
	close(other);
	node_stop(&a);
}

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

static void closing_event_cb(const struct gossip_event *ev, void *arg)
{
	struct node *n = arg;

	n->events++;
	if (ev->kind == GOSSIP_EV_RECORD) {
		assert_int_equal(ev->record.key_len, 3);
		core_send(n->core, GOSSIP_DGRAM, &n->addr, 1, "x", 1); /* the core moves on ... */
		gossip_loop_pump(n->loop);
		assert_memory_equal(ev->record.key, "key", 3); /* ... the event stays */
	} else {
		gossip_loop_close(n->loop, closed_cb, n);
	}
}

static void test_event_when_callback_calls_in_then_safe(void **state)
{
	struct node a;
	struct gossip_loop_config cfg = config_of(&a, "127.0.0.1", 1, 5);

	(void)state;
	cfg.event_cb = closing_event_cb;
	a.core->event[0] = (struct gossip_event){
		.kind = GOSSIP_EV_RECORD, .record = {.key = (const uint8_t *)"key", .key_len = 3}};
	a.core->event[1] = (struct gossip_event){.kind = GOSSIP_EV_MEMBER};
	a.core->event[2] =
		(struct gossip_event){.kind = GOSSIP_EV_MEMBER}; /* after the close: not told */
	a.core->event_tail = 3;
	node_open(&a, &cfg);
	WAIT(a.is_closed);
	assert_int_equal(a.events, 2);
	node_free(&a);
}

static void test_open_when_address_taken_or_not_ours_then_says_so(void **state)
{
	struct node a, b;
	struct gossip_loop_config cfg;
	struct err e = {0};

	(void)state;
	node_start(&a, "127.0.0.1", 1);
	cfg = config_of(&b, "127.0.0.1", 2, 5);
	cfg.bind = a.addr;
	assert_int_equal(gossip_loop_open(&uv, &cfg, &b.loop, &e), -EADDRINUSE);
	assert_non_null(strstr(e.text, "127.0.0.1"));
	assert_non_null(strstr(e.text, "another edged"));
	cfg.bind = addr_of("192.0.2.1", 7946);
	cfg.device = "wg-mesh";
	assert_int_equal(gossip_loop_open(&uv, &cfg, &b.loop, &e), -EADDRNOTAVAIL);
	assert_non_null(strstr(e.text, "192.0.2.1"));
	assert_non_null(strstr(e.text, "mesh device wg-mesh up"));
	node_free(&b);
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

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, uv_setup, uv_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(test_send_when_any_family_and_via_then_arrives_whole),
		LOOP_TEST(test_send_when_many_destinations_then_all_get_it),
		LOOP_TEST(test_recv_when_not_sealed_or_replayed_then_counted_and_dropped),
		LOOP_TEST(test_send_when_port_closed_then_reported_and_no_spinning),
		LOOP_TEST(test_send_when_one_of_many_closed_then_only_that_fails),
		LOOP_TEST(test_send_when_kernel_refuses_then_counts_as_failure),
		LOOP_TEST(test_send_when_socket_full_for_long_then_bounded),
		LOOP_TEST(test_tick_when_frozen_then_after_what_arrived),
		LOOP_TEST(test_ping_when_sent_then_the_forwarders_bytes_and_reply_with_cookie),
		LOOP_TEST(test_stream_when_peer_closed_then_reported),
		LOOP_TEST(test_stream_when_peer_reads_nothing_then_bounded_and_cut),
		LOOP_TEST(test_stream_when_many_small_then_queue_bounded_by_count),
		LOOP_TEST(test_stream_in_when_noise_then_cut),
		LOOP_TEST(test_stream_in_when_in_pieces_then_each_message_once),
		LOOP_TEST(test_stream_in_when_too_many_then_strangers_go_first),
		LOOP_TEST(test_stream_when_idle_then_closed_quietly_and_opened_again),
		LOOP_TEST(test_stream_out_when_too_many_peers_then_bounded),
		LOOP_TEST(test_event_when_callback_calls_in_then_safe),
		LOOP_TEST(test_open_when_address_taken_or_not_ours_then_says_so),
		LOOP_TEST(test_close_when_streams_are_busy_then_all_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
