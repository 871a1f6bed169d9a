/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/unit/loop_fake.h - a core that only remembers, nodes of it, and the loop they share. gossip_core_* is defined here, so
 * the real one is not linked. Included by test_loop*.c. */
#ifndef LOOP_FAKE_H
#define LOOP_FAKE_H

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

#include "gossip/loop.h"

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

static inline struct gossip_core *core_new(void)
{
	struct gossip_core *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->deadline_ms = UINT64_MAX;
	return c;
}

static inline void core_free(struct gossip_core *c)
{
	for (size_t i = 0; i < c->out_tail; i++)
		free(c->out[i].buf);
	free(c);
}

static inline void core_send(struct gossip_core *c, enum gossip_via via,
			     const struct gossip_addr *to, size_t to_count, const void *buf,
			     size_t len)
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

static inline void turn_cb(uv_check_t *h)
{
	(void)h;
	turns++;
}

static inline void limit_cb(uv_timer_t *t)
{
	(void)t;
	/* no jump out of libuv: its loop would be left half-way, and closing it would hang */
	fprintf(stderr, "not ok - waited for %d ms\n", LIMIT_MS);
	exit(1);
}

static inline int uv_setup(void **state)
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

static inline int uv_teardown(void **state)
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

static inline void nothing_cb(uv_timer_t *t)
{
	(void)t;
}

/* Run for a while, where nothing is supposed to happen. */
static inline void run_for(uint64_t ms)
{
	uint64_t end = uv_hrtime() + ms * 1000000;

	while (uv_hrtime() < end) {
		uv_timer_start(&limit, nothing_cb, ms, 0);
		uv_run(&uv, UV_RUN_ONCE);
	}
	uv_timer_stop(&limit);
}

static inline struct gossip_addr addr_of(const char *ip, uint16_t port)
{
	struct gossip_addr a = {.port = port};

	if (inet_pton(AF_INET6, ip, a.ip) != 1) {
		a.ip[10] = a.ip[11] = 0xff;
		assert_int_equal(inet_pton(AF_INET, ip, a.ip + 12), 1);
	}
	return a;
}

static inline void event_cb(const struct gossip_event *ev, void *arg)
{
	struct node *n = arg;

	(void)ev;
	n->events++;
}

static inline struct gossip_loop_config config_of(struct node *n, const char *ip, uint8_t number,
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

static inline void node_open(struct node *n, const struct gossip_loop_config *cfg)
{
	struct err e = {0};
	int r = gossip_loop_open(&uv, cfg, &n->loop, &e);

	if (r < 0)
		fail_msg("open: %s", e.text);
	gossip_loop_addr(n->loop, &n->addr);
	assert_true(n->addr.port > 0);
}

static inline void node_start(struct node *n, const char *ip, uint8_t number)
{
	struct gossip_loop_config cfg = config_of(n, ip, number, 5);

	node_open(n, &cfg);
}

static inline void closed_cb(void *arg)
{
	((struct node *)arg)->is_closed = true;
}

static inline void node_free(struct node *n)
{
	seal_free(n->seal);
	core_free(n->core);
}

static inline void node_stop(struct node *n)
{
	gossip_loop_close(n->loop, closed_cb, n);
	WAIT(n->is_closed);
	node_free(n);
}

static inline struct gossip_loop_counters counters_of(const struct node *n)
{
	struct gossip_loop_counters c;

	gossip_loop_counters(n->loop, &c);
	return c;
}

static inline int client_socket(const char *ip, int kind, const struct gossip_addr *to)
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

static inline uint16_t port_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof(a);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	return ntohs(a.sin_port);
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, uv_setup, uv_teardown)

#endif
