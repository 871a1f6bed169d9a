/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A mesh device that merges tunnel packets before TC sees them, as kernel WireGuard does after decryption: the programs
 * get super-packets with a GRE header on, and what they deliver must still be right packet by packet. */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>

#include "tests/lib/bpf_live.h"

#define SEGMENTS 6
#define SEGMENT_BYTES 1000

static struct pkt_spec data_from_edge(int family, int outer, uint32_t svc, const char *vip4,
				      const char *vip6)
{
	return (struct pkt_spec){.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				 .dst = family == 4 ? vip4 : vip6,
				 .sport = 40000,
				 .dport = 80,
				 .l4_proto = IPPROTO_TCP,
				 .tcp_flags = 0x10,
				 .outer_src = outer == 4 ? "10.99.0.2" : "fd99::3",
				 .outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1",
				 .gre_key = DP_GRE_KEY(0, DP_TOKEN(svc, BF_USE))};
}

static void send_segments(struct live *l, struct pkt_spec *p, uint32_t seq)
{
	p->payload = SEGMENT_BYTES;
	for (uint32_t i = 0; i < SEGMENTS; i++) {
		p->seq = seq + i * SEGMENT_BYTES;
		p->tcp_flags = i == SEGMENTS - 1 ? 0x18 : 0x10;
		live_send_frame(l->mesh, p, NULL);
	}
}

/* The counter of a delivery is bumped once per super-packet: fewer than segments means that they were merged. */
static void expect_merged(struct live *l, uint32_t reason, uint64_t before)
{
	assert_in_range(bf_reason(l->b, reason) - before, 1, SEGMENTS - 1);
}

static void test_container_when_super_packet_then_segments_are_right(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		uint32_t svc = family == 4 ? BF_SVC_BRIDGE4 : BF_SVC_BRIDGE6;
		struct pkt_spec p =
			data_from_edge(family, outer, svc, "192.0.2.13", "2001:db8::13");
		uint64_t before = bf_reason(l->b, DP_R_DELIVERED_BRIDGE);

		send_segments(l, &p, 1000);
		for (uint32_t n = 0; n < SEGMENTS; n++) {
			struct pkt_seen s;

			live_recv_frame(l->ct, &s, p.dst);
			assert_int_equal(s.payload, SEGMENT_BYTES);
			assert_int_equal(s.seq, 1000 + n * SEGMENT_BYTES);
			assert_string_equal(s.dst, family == 4 ? "172.17.0.2" : "fd17::2");
			assert_string_equal(s.outer_src, "");
		}
		expect_merged(l, DP_R_DELIVERED_BRIDGE, before);
	}
}

static void read_all(int fd, size_t want)
{
	static uint8_t buf[SEGMENTS * SEGMENT_BYTES];
	size_t got = 0;

	while (got < want) {
		ssize_t n = recv(fd, buf + got, want - got, 0);

		if (n <= 0)
			fail_msg("got %zu of %zu bytes", got, want);
		got += (size_t)n;
	}
	for (size_t i = 0; i < want; i++)
		assert_int_equal(buf[i], (uint8_t)(i % SEGMENT_BYTES * 7 + 3));
}

static void test_host_socket_when_super_packet_then_stream_is_right(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		uint32_t svc = family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6;
		struct pkt_spec p =
			data_from_edge(family, outer, svc, "192.0.2.12", "2001:db8::12");
		int listener = live_app_open(family, SOCK_STREAM, 8080), conn;
		struct timeval limit = {.tv_sec = 5};
		struct pkt_seen s;
		uint64_t before;

		p.sport = p.sport + (uint16_t)i;
		p.tcp_flags = 2;
		p.seq = 999;
		live_send_frame(l->mesh, &p, NULL);
		do /* the last connection's FIN may come first */
			live_recv_frame(l->mesh, &s, "SYN-ACK");
		while (s.dport != p.sport);
		p.tcp_flags = 0x10;
		p.seq = 1000;
		p.ack = s.seq + 1;
		live_send_frame(l->mesh, &p, NULL);
		conn = accept(listener, NULL, NULL);
		assert_true(conn >= 0);
		setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		before = bf_reason(l->b, DP_R_DELIVERED_HOST);
		send_segments(l, &p, 1000);
		read_all(conn, SEGMENTS * SEGMENT_BYTES);
		expect_merged(l, DP_R_DELIVERED_HOST, before);
		live_recv_frame(l->mesh, &s, "ACK");
		close(conn);
		close(listener);
	}
}

static void test_edge_when_reply_is_a_super_packet_then_segments_are_right(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		struct pkt_spec p = data_from_edge(family, outer, 0, "", "");
		uint64_t before = bf_reason(l->b, DP_R_REPLY_OUT);

		p.dst = p.src;
		p.src = family == 4 ? "192.0.2.10" : "2001:db8::10";
		p.sport = 53;
		p.dport = 40000;
		p.gre_key = DP_GRE_KEY(DP_GRE_F_REPLY, 0);
		send_segments(l, &p, 1000);
		for (uint32_t n = 0; n < SEGMENTS; n++) {
			struct pkt_seen s;

			live_recv_frame(l->up, &s, p.src);
			assert_int_equal(s.payload, SEGMENT_BYTES);
			assert_int_equal(s.seq, 1000 + n * SEGMENT_BYTES);
		}
		expect_merged(l, DP_R_REPLY_OUT, before);
	}
}

/* A worker passes a flow on that it knows to be elsewhere: out of one tunnel into the next of the same family. */
static void test_worker_when_super_packet_of_a_flow_elsewhere_then_segments_are_right(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		uint32_t to = outer == 6 ? BF_NODE_V6 : BF_NODE_V4;
		struct pkt_spec p =
			data_from_edge(family, outer, BF_SVC_BRIDGE4, "192.0.2.13", "2001:db8::13");
		struct dp_flow_fwd_key key = {.cport_be = htons(p.sport),
					      .vport_be = htons(p.dport),
					      .l4_proto = IPPROTO_TCP};
		uint64_t before = bf_reason(l->b, DP_R_PASSED_ON);
		struct dp_flow_fwd away = {.away_idx = to, .seen_s = UINT32_MAX / 2};

		bf_addr(p.src, key.client);
		bf_addr(p.dst, key.vip);
		assert_int_equal(
			bpf_map_update_elem(bf_map(l->b, "dp_fwd_new"), &key, &away, BPF_ANY), 0);
		send_segments(l, &p, 1000);
		for (uint32_t n = 0; n < SEGMENTS; n++) {
			struct pkt_seen s;

			do /* an earlier connection's last words may come first */
				live_recv_frame(l->mesh, &s, p.dst);
			while (s.gre_key >> 24 == DP_GRE_F_REPLY);
			assert_string_equal(s.outer_dst,
					    to == BF_NODE_V4 ? "10.99.0.2" : "fd99::3");
			assert_int_equal(s.gre_key >> 24, DP_GRE_F_SECOND);
			assert_int_equal(s.gre_seq, outer == 4 ? 2000 : 3000);
			assert_int_equal(s.payload, SEGMENT_BYTES);
			assert_int_equal(s.seq, 1000 + n * SEGMENT_BYTES);
			assert_string_equal(s.src, p.src);
			assert_string_equal(s.dst, p.dst);
		}
		expect_merged(l, DP_R_PASSED_ON, before);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, live_setup)
	const struct CMUnitTest tests[] = {
		T(test_container_when_super_packet_then_segments_are_right),
		T(test_host_socket_when_super_packet_then_stream_is_right),
		T(test_edge_when_reply_is_a_super_packet_then_segments_are_right),
		T(test_worker_when_super_packet_of_a_flow_elsewhere_then_segments_are_right),
	};

	return cmocka_run_group_tests(tests, live_group_setup_gro, live_group_teardown);
}
