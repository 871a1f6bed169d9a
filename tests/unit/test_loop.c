/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The libuv shell: datagrams, pings, ticks, events, opening. */
#include "tests/unit/loop_fake.h"

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
		LOOP_TEST(test_event_when_callback_calls_in_then_safe),
		LOOP_TEST(test_open_when_address_taken_or_not_ours_then_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
