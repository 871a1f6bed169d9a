/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The programs on real hooks: the mesh is a TUN device, as bare of link headers as WireGuard; the uplink and a
 * container's side are TAPs; applications are real sockets. All in a network namespace of this process alone.
 *
 * Shows what the test run can't: metadata from XDP to TC, bare-IP packets, neighbours, delivery under rp_filter=1,
 * partial checksums and segmentation offload on replies.
 */
#include <linux/if_link.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/udp.h>

#include "tests/lib/bpf_join.h"
#include "tests/lib/bpf_live.h"

static struct pkt_spec request(int family, uint8_t proto, uint32_t svc, const char *vip4,
			       const char *vip6, int outer)
{
	return (struct pkt_spec){.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				 .dst = family == 4 ? vip4 : vip6,
				 .sport = 40000,
				 .dport = 80,
				 .l4_proto = proto,
				 .payload = proto == IPPROTO_UDP ? 300 : 0,
				 .tcp_flags = 2,
				 .mss = 1460,
				 .outer_src = outer == 4   ? "10.99.0.2"
					      : outer == 6 ? "fd99::3"
							   : NULL,
				 .outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1",
				 .gre_key = DP_GRE_KEY(0, DP_TOKEN(svc, BF_USE))};
}

static void expect_reply_tunnel(const struct pkt_seen *s, int family, int outer, const char *vip4,
				const char *vip6)
{
	assert_string_equal(s->outer_src, outer == 4 ? "10.99.0.1" : "fd99::1");
	assert_string_equal(s->outer_dst, outer == 4 ? "10.99.0.2" : "fd99::3");
	assert_int_equal(s->gre_key >> 24, DP_GRE_F_REPLY);
	assert_string_equal(s->src, family == 4 ? vip4 : vip6);
	assert_string_equal(s->dst, family == 4 ? BF_CLIENT4 : BF_CLIENT6);
	assert_int_equal(s->sport, 80);
	assert_int_equal(s->dport, 40000);
}

/* ---- tests ---- */

static void edge_forwards(struct live *l, uint32_t first_reason)
{
	for (int i = 0; i < 8; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 4 ? 6 : 4;
		struct pkt_spec p = {.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				     .sport = 40000,
				     .payload = 99,
				     .l4_proto = i & 2 ? IPPROTO_TCP : IPPROTO_UDP,
				     .dport = outer == 4 ? 53 : 5100};
		uint64_t chosen = bf_reason(l->b, first_reason),
			 forwarded = bf_reason(l->b, DP_R_FORWARDED),
			 marked = bf_reason(l->b, DP_R_MESH_OUT_MARKED);
		struct pkt_seen s;

		p.dst = outer == 4 ? (family == 4 ? "192.0.2.10" : "2001:db8::10")
				   : (family == 4 ? "192.0.2.11" : "2001:db8::11");
		live_send_frame(l->up, &p, LIVE_UP_MAC);
		live_recv_frame(l->mesh, &s, p.dst);
		assert_string_equal(s.outer_dst, outer == 4 ? "10.99.0.2" : "fd99::3");
		assert_string_equal(s.src, p.src);
		assert_string_equal(s.dst, p.dst);
		assert_int_equal(s.payload, 99);
		assert_int_equal(bf_reason(l->b, first_reason), chosen + 1);
		assert_int_equal(bf_reason(l->b, DP_R_FORWARDED), forwarded + 1);
		assert_int_equal(bf_reason(l->b, DP_R_MESH_OUT_MARKED), marked + 1);
	}
}

static void test_edge_when_xdp_attached_then_tc_takes_its_verdict(void **state)
{
	static const uint32_t modes[] = {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
	struct live *l = *state;

	live_need(l);
	for (size_t i = 0; i < 2; i++) {
		uint64_t by_tc;

		assert_int_equal(
			bpf_xdp_attach((int)l->up_if, bf_program_fd(l->b, BF_XDP), modes[i], NULL),
			0);
		edge_forwards(l, DP_R_FORWARD_CHOSEN);
		/* TC would have counted the service once more if it had decided itself. */
		by_tc = bf_stat_packets(l->b, "dp_svc_stat", BF_SVC_EXACT4);
		assert_int_equal(by_tc, 2 * (i + 1));
		bpf_xdp_detach((int)l->up_if, modes[i], NULL);
	}
}

/* A tag is the VLAN interface's business: with XDP and without, what has one passes, to VIPs too. */
static void test_edge_when_tagged_then_passed(void **state)
{
	static const uint32_t modes[] = {0, XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
	struct live *l = *state;

	live_need(l);
	for (size_t i = 0; i < 6; i++) {
		uint32_t mode = modes[i / 2];
		struct pkt_spec p = {.src = i & 1 ? BF_CLIENT6 : BF_CLIENT4,
				     .dst = i & 1 ? "2001:db8::10" : "192.0.2.10",
				     .sport = 40000,
				     .dport = 53,
				     .l4_proto = IPPROTO_UDP,
				     .payload = 99,
				     .is_vlan = true};
		uint64_t xdp = bf_reason(l->b, DP_R_XDP_PASS),
			 tc = bf_reason(l->b, DP_R_PASS_NOT_OURS),
			 forwarded = bf_reason(l->b, DP_R_FORWARDED);

		if (mode)
			assert_int_equal(bpf_xdp_attach((int)l->up_if, bf_program_fd(l->b, BF_XDP),
							mode, NULL),
					 0);
		live_send_frame(l->up, &p, LIVE_UP_MAC);
		/* A write returns when the packet has been through. */
		assert_int_equal(bf_reason(l->b, DP_R_XDP_PASS) - xdp, mode != 0);
		assert_true(bf_reason(l->b, DP_R_PASS_NOT_OURS) > tc);
		assert_int_equal(bf_reason(l->b, DP_R_FORWARDED), forwarded);
		if (mode)
			bpf_xdp_detach((int)l->up_if, mode, NULL);
	}
}

static void test_edge_when_no_xdp_then_tc_decides(void **state)
{
	struct live *l = *state;

	live_need(l);
	edge_forwards(l, DP_R_FORWARDED);
}

static void test_edge_when_checksums_are_partial_then_right_on_the_mesh(void **state)
{
	struct live *l = *state;

	live_need(l);
	l->is_partial = true;
	edge_forwards(l, DP_R_FORWARDED);
	l->is_partial = false;
}

/* Rewritten on the way to a container: the device of its side has to see the right sum in the end. */
static void test_edge_when_partial_and_container_here_then_right(void **state)
{
	struct live *l = *state;

	live_need(l);
	l->is_partial = true;
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4;
		struct pkt_spec p = request(family, i & 2 ? IPPROTO_TCP : IPPROTO_UDP, 0,
					    "192.0.2.13", "2001:db8::13", 0);
		struct pkt_seen s;

		live_send_frame(l->up, &p, LIVE_UP_MAC);
		live_recv_frame(l->ct, &s, p.dst);
		assert_string_equal(s.dst, family == 4 ? "172.17.0.2" : "fd17::2");
		assert_int_equal(s.dport, 8080);
		assert_string_equal(s.src, p.src);
	}
	l->is_partial = false;
}

static void test_edge_when_reply_comes_then_sent_to_the_gateway(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int i = 0; i < 8; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 4 ? 6 : 4;
		struct pkt_spec p = {.src = family == 4 ? "192.0.2.10" : "2001:db8::10",
				     .sport = 53,
				     .dport = 40000,
				     .dst = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				     .payload = 77,
				     .l4_proto = i & 2 ? IPPROTO_TCP : IPPROTO_UDP,
				     .outer_src = outer == 4 ? "10.99.0.2" : "fd99::3",
				     .outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1",
				     .gre_key = DP_GRE_KEY(DP_GRE_F_REPLY, 1)};
		struct pkt_seen s;

		live_send_frame(l->mesh, &p, NULL);
		live_recv_frame(l->up, &s, p.src);
		assert_memory_equal(s.eth_dst, LIVE_GW_MAC, 6);
		assert_string_equal(s.src, p.src);
		assert_string_equal(s.dst, p.dst);
		assert_int_equal(s.payload, 77);
	}
}

static void test_worker_when_udp_host_socket_then_answers_through_the_edge(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		struct pkt_spec p =
			request(family, IPPROTO_UDP, family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6,
				"192.0.2.12", "2001:db8::12", outer);
		int app = live_app_open(family, SOCK_DGRAM, 8080);
		struct pkt_seen s;

		live_send_frame(l->mesh, &p, NULL);
		live_app_echo(app, family, 300, 1000);
		live_recv_frame(l->mesh, &s, p.dst);
		expect_reply_tunnel(&s, family, outer, "192.0.2.12", "2001:db8::12");
		assert_int_equal(s.payload, 1000);
		close(app);
	}
}

static void test_worker_when_tcp_syn_then_syn_ack_is_clamped(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		struct pkt_spec p =
			request(family, IPPROTO_TCP, family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6,
				"192.0.2.12", "2001:db8::12", outer);
		int app = live_app_open(family, SOCK_STREAM, 8080);
		struct pkt_seen s;

		live_send_frame(l->mesh, &p, NULL);
		live_recv_frame(l->mesh, &s, p.dst);
		expect_reply_tunnel(&s, family, outer, "192.0.2.12", "2001:db8::12");
		/* 4 bytes for the sequence word that clients' packets may bear. */
		assert_int_equal(s.mss, BF_MTU - (outer == 4 ? 32 : 52) - (family == 4 ? 40 : 60));
		close(app);
	}
}

static void test_worker_when_container_then_there_and_back(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int i = 0; i < 8; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 4 ? 6 : 4;
		uint8_t proto = i & 2 ? IPPROTO_TCP : IPPROTO_UDP;
		struct pkt_spec p =
			request(family, proto, family == 4 ? BF_SVC_BRIDGE4 : BF_SVC_BRIDGE6,
				"192.0.2.13", "2001:db8::13", outer);
		struct pkt_spec back = {.src = family == 4 ? "172.17.0.2" : "fd17::2",
					.sport = 8080,
					.dport = 40000,
					.dst = p.src,
					.l4_proto = proto,
					.payload = 400};
		char ct_if_mac[6] = {};
		struct pkt_seen s;

		live_send_frame(l->mesh, &p, NULL);
		live_recv_frame(l->ct, &s, "container");
		assert_memory_equal(s.eth_dst, LIVE_CT_MAC, 6);
		assert_string_equal(s.src, p.src);
		assert_string_equal(s.dst, back.src);
		assert_int_equal(s.dport, 8080);
		assert_int_equal(s.mss, proto == IPPROTO_TCP ? BF_MTU - (outer == 4 ? 28 : 48) -
								       (family == 4 ? 40 : 60)
							     : 0);
		live_send_frame(l->ct, &back, ct_if_mac);
		live_recv_frame(l->mesh, &s, "reply");
		expect_reply_tunnel(&s, family, outer, "192.0.2.13", "2001:db8::13");
		assert_int_equal(s.payload, 400);
	}
}

static void test_edge_when_backend_is_here_then_there_and_back(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4;
		bool is_xdp = i & 2;
		uint32_t partial = l->partial_seen;
		struct pkt_spec p =
			request(family, IPPROTO_UDP, 0, "192.0.2.12", "2001:db8::12", 0);
		int app = live_app_open(family, SOCK_DGRAM, 8080);
		struct pkt_seen s;

		if (is_xdp)
			assert_int_equal(bpf_xdp_attach((int)l->up_if, bf_program_fd(l->b, BF_XDP),
							XDP_FLAGS_SKB_MODE, NULL),
					 0);
		live_send_frame(l->up, &p, LIVE_UP_MAC);
		live_app_echo(app, family, 300, 1400);
		live_recv_frame(l->up, &s, p.dst);
		assert_int_equal(l->partial_seen, partial + 1);
		assert_memory_equal(s.eth_dst, LIVE_GW_MAC, 6);
		assert_string_equal(s.src, p.dst);
		assert_string_equal(s.dst, p.src);
		assert_int_equal(s.sport, 80);
		assert_int_equal(s.payload, 1400);
		if (is_xdp)
			bpf_xdp_detach((int)l->up_if, XDP_FLAGS_SKB_MODE, NULL);
		close(app);
	}
}

/* One super-packet out of the application becomes tunnel packets, each with right checksums and lengths. */
static void test_worker_when_reply_is_a_super_packet_then_segmented_in_the_tunnel(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4, segment = 500;
		struct pkt_spec p =
			request(family, IPPROTO_UDP, family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6,
				"192.0.2.12", "2001:db8::12", outer);
		int app = live_app_open(family, SOCK_DGRAM, 8080);

		assert_int_equal(setsockopt(app, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)),
				 0);
		live_send_frame(l->mesh, &p, NULL);
		live_app_echo(app, family, 300, 2300);
		for (size_t n = 0; n < 5; n++) {
			struct pkt_seen s;

			live_recv_frame(l->mesh, &s, "segment");
			expect_reply_tunnel(&s, family, outer, "192.0.2.12", "2001:db8::12");
			assert_int_equal(s.payload, n < 4 ? 500 : 300);
		}
		close(app);
	}
}

/* n fragments come out of fd and make one datagram: *ret_last is what was read of the last of them. */
static void recv_fragments(struct live *l, int fd, unsigned n, struct pkt_seen *ret_last,
			   struct pkt_seen *ret_whole)
{
	static struct pkt_join join;
	const char *wrong;

	memset(&join, 0, sizeof(join));
	for (unsigned i = 0; i < n; i++) {
		live_recv_frame(fd, ret_last, "fragment");
		wrong = pkt_join_add(&join, ret_last);
		if (wrong)
			fail_msg("fragment %u: %s", i, wrong);
		if (fd == l->mesh) {
			assert_int_equal(ret_last->gre_key >> 24, DP_GRE_F_REPLY);
			assert_string_equal(ret_last->outer_dst, "10.99.0.2");
		}
	}
	wrong = pkt_join_end(&join, ret_whole);
	if (wrong)
		fail_msg("%s", wrong);
}

/* Both ways: the kernel puts the request together, the application's answer leaves in fragments through the tunnel, and
 * nothing else leaves. */
static void test_worker_when_both_ways_are_fragmented_then_whole(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int family = 4; family <= 6; family += 2) {
		struct pkt_spec p =
			request(family, IPPROTO_UDP, family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6,
				"192.0.2.12", "2001:db8::12", 4);
		struct pkt_spec other = {.src = family == 4 ? "192.0.2.10" : "2001:db8::10",
					 .sport = 53,
					 .dport = 40000,
					 .dst = p.src,
					 .l4_proto = IPPROTO_UDP,
					 .payload = 1,
					 .outer_src = "10.99.0.2",
					 .outer_dst = "10.99.0.1",
					 .gre_key = DP_GRE_KEY(DP_GRE_F_REPLY, 1)};
		int app = live_app_open(family, SOCK_DGRAM, 8080);
		struct pkt_seen s, whole;

		p.payload = 3500;
		p.frag_mtu = 1500;
		p.frag_id = (uint16_t)(70 + family);
		for (unsigned i = 0; i < pkt_fragments(&p); i++) {
			p.frag_no = (uint8_t)i;
			live_send_frame(l->mesh, &p, NULL);
		}
		live_app_echo(app, family, 3500, 4000);
		recv_fragments(l, l->mesh, 3, &s, &whole);
		assert_string_equal(whole.src, p.dst);
		assert_int_equal(whole.sport, 80);
		assert_int_equal(whole.dport, 40000);
		assert_int_equal(whole.payload, 4000);
		/* What comes out next at the uplink is what we send next, and not a fragment. */
		live_send_frame(l->mesh, &other, NULL);
		live_recv_frame(l->up, &s, "marker");
		assert_string_equal(s.src, other.src);
		close(app);
	}
}

/* The edge's own backend, with XDP in the driver, generic, and without: the later fragments have no ports anywhere. */
static void test_edge_when_fragmented_and_backend_here_then_whole(void **state)
{
	static const uint32_t modes[] = {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE, 0};
	struct live *l = *state;

	live_need(l);
	for (unsigned i = 0; i < 6; i++) {
		int family = i & 1 ? 6 : 4;
		uint32_t mode = modes[i / 2];
		struct pkt_spec p =
			request(family, IPPROTO_UDP, 0, "192.0.2.12", "2001:db8::12", 0);
		int app = live_app_open(family, SOCK_DGRAM, 8080),
		    xdp = bf_program_fd(l->b, BF_XDP);
		struct pkt_seen s, whole;

		if (mode)
			assert_int_equal(bpf_xdp_attach((int)l->up_if, xdp, mode, NULL), 0);
		p.payload = 3500;
		p.frag_mtu = 1500;
		p.frag_id = (uint16_t)(80 + i);
		for (unsigned k = 0; k < pkt_fragments(&p); k++) {
			p.frag_no = (uint8_t)k;
			live_send_frame(l->up, &p, LIVE_UP_MAC);
		}
		live_app_echo(app, family, 3500, 4000);
		recv_fragments(l, l->up, 3, &s, &whole);
		assert_memory_equal(s.eth_dst, LIVE_GW_MAC, 6);
		assert_string_equal(whole.src, p.dst);
		assert_int_equal(whole.sport, 80);
		assert_int_equal(whole.payload, 4000);
		if (mode)
			bpf_xdp_detach((int)l->up_if, mode, NULL);
		close(app);
	}
}

static void test_ping_when_bare_then_answered(void **state)
{
	struct live *l = *state;

	live_need(l);
	for (int family = 4; family <= 6; family += 2) {
		struct pkt_spec p = {.src = family == 4 ? "10.99.0.2" : "fd99::3",
				     .sport = 5555,
				     .dst = family == 4 ? "10.99.0.1" : "fd99::1",
				     .dport = DP_PING_PORT,
				     .l4_proto = IPPROTO_UDP,
				     .payload = DP_PING_BYTES,
				     .ping_kind = 1};
		struct pkt_seen s;

		live_send_frame(l->mesh, &p, NULL);
		live_recv_frame(l->mesh, &s, "ping");
		assert_string_equal(s.dst, p.src);
		assert_int_equal(s.dport, 5555);
		assert_int_equal(s.ping_kind, 1);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, live_setup)
	const struct CMUnitTest tests[] = {
		T(test_edge_when_xdp_attached_then_tc_takes_its_verdict),
		T(test_edge_when_tagged_then_passed),
		T(test_edge_when_no_xdp_then_tc_decides),
		T(test_edge_when_checksums_are_partial_then_right_on_the_mesh),
		T(test_edge_when_partial_and_container_here_then_right),
		T(test_edge_when_reply_comes_then_sent_to_the_gateway),
		T(test_worker_when_udp_host_socket_then_answers_through_the_edge),
		T(test_worker_when_tcp_syn_then_syn_ack_is_clamped),
		T(test_worker_when_container_then_there_and_back),
		T(test_edge_when_backend_is_here_then_there_and_back),
		T(test_worker_when_reply_is_a_super_packet_then_segmented_in_the_tunnel),
		T(test_worker_when_both_ways_are_fragmented_then_whole),
		T(test_edge_when_fragmented_and_backend_here_then_whole),
		T(test_ping_when_bare_then_answered),
	};

	return cmocka_run_group_tests(tests, live_group_setup, live_group_teardown);
}
