/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a worker's packets tell of its backends: the pulse, refusals in the ring, and what must not be taken for one. */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"
#include "tests/lib/bpf_icmp.h"

#define FIN 0x01u
#define SYN 0x02u
#define RST 0x04u
#define ACK 0x10u

static const struct way {
	enum bf_prog hook;
	int family;
	uint32_t svc;
	const char *vip;
	uint16_t port;
	const char *backend;
	uint16_t bport;
} ways[] = {
	{BF_UP_OUT, 4, BF_SVC_HOST4, "192.0.2.12", 80, "10.0.0.5", 8080},
	{BF_UP_OUT, 6, BF_SVC_HOST6, "2001:db8::12", 80, "2001:db8:1::5", 8080},
	{BF_MESH_OUT, 4, BF_SVC_HOSTRANGE4, "192.0.2.12", 6200, "10.0.0.5", 7200},
	{BF_MESH_OUT, 6, BF_SVC_HOSTRANGE6, "2001:db8::12", 6200, "2001:db8:1::5", 7200},
	{BF_BR_IN, 4, BF_SVC_BRIDGE4, "192.0.2.13", 80, "172.17.0.2", 8080},
	{BF_BR_IN, 6, BF_SVC_BRIDGE6, "2001:db8::13", 80, "fd17::2", 8080},
};
#define WAYS (sizeof(ways) / sizeof(*ways))

static struct dp_signal got[16];
static size_t got_count;

static int on_signal(void *arg, void *data, size_t len)
{
	(void)arg;
	assert_int_equal(len, sizeof(struct dp_signal));
	if (got_count < 16)
		memcpy(&got[got_count], data, len);
	got_count++;
	return 0;
}

/* What the ring holds now, in `got`. */
static size_t signals(struct bf *b)
{
	struct ring_buffer *ring = ring_buffer__new(bf_map(b, "dp_signal"), on_signal, NULL, NULL);

	assert_non_null(ring);
	got_count = 0;
	assert_true(ring_buffer__consume(ring) >= 0);
	ring_buffer__free(ring);
	return got_count;
}

static struct dp_pulse pulse(struct bf *b, uint32_t slot)
{
	struct dp_pulse p;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_pulse"), &slot, &p), 0);
	return p;
}

/* Each backend is watched at `port` (0: as it listens), nothing has been asked, the ring is empty. */
static void watch(struct bf *b, uint8_t proto, uint16_t port)
{
	(void)signals(b);
	for (size_t i = 0; i < WAYS; i++) {
		struct dp_local l = bf_local(ways[i].svc);
		struct dp_pulse none = {0};

		l.watch_proto = proto;
		l.watch_port_be = htons(port ? port : ways[i].bport);
		bf_set_local(b, ways[i].svc, &l);
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_pulse"), &ways[i].svc, &none, 0),
				 0);
	}
}

static const char *client_of(const struct way *w)
{
	return w->family == 4 ? BF_CLIENT4 : BF_CLIENT6;
}

static struct pkt_spec asked(const struct way *w, uint8_t proto)
{
	return (struct pkt_spec){.src = client_of(w),
				 .dst = w->vip,
				 .sport = 40000,
				 .dport = w->port,
				 .l4_proto = proto,
				 .tcp_flags = proto == IPPROTO_TCP ? SYN : 0,
				 .payload = proto == IPPROTO_TCP ? 0 : 20,
				 .outer_src = "10.99.0.2",
				 .outer_dst = "10.99.0.1",
				 .gre_key = DP_GRE_KEY(0, DP_TOKEN(w->svc, BF_USE))};
}

static void send_in(struct bf *b, const struct pkt_spec *p)
{
	struct bf_in in = {.pkt = *p};
	struct bf_out out;

	bf_run(b, BF_MESH_IN, &in, &out);
	assert_int_not_equal(out.retval, 2);
	bf_forget_reasons(b);
}

static void request(struct bf *b, const struct way *w, uint8_t proto)
{
	struct pkt_spec p = asked(w, proto);

	send_in(b, &p);
}

static void reply(struct bf *b, const struct way *w, uint8_t proto, uint8_t flags, uint32_t seq,
		  uint32_t ingress_ifindex)
{
	struct bf_in in = {.pkt = {.src = w->backend,
				   .dst = client_of(w),
				   .sport = w->bport,
				   .dport = 40000,
				   .l4_proto = proto,
				   .tcp_flags = flags,
				   .seq = seq,
				   .ack = 1},
			   .ingress_ifindex = ingress_ifindex};
	struct bf_out out;

	bf_run(b, w->hook, &in, &out);
	bf_forget_reasons(b);
}

/* The error that `from` makes of the packet that the backend got. */
static void refuse(struct bf *b, const struct way *w, enum bf_prog hook, const char *from,
		   uint8_t proto, uint8_t type, uint8_t code, uint32_t ingress_ifindex)
{
	struct pkt_spec quote = {.src = client_of(w),
				 .dst = w->backend,
				 .sport = 40000,
				 .dport = w->bport,
				 .l4_proto = proto,
				 .payload = 20};
	struct icmp_spec i = {.type = type, .code = code, .quote = &quote};
	struct bf_in in = {.pkt = {.src = from, .dst = client_of(w)},
			   .ingress_ifindex = ingress_ifindex};
	uint8_t msg[PKT_MAX];
	struct bf_out out;

	icmp_fill(&in.pkt, &i, msg);
	bf_run(b, hook, &in, &out);
	bf_forget_reasons(b);
}

static void port_unreachable(struct bf *b, const struct way *w, uint8_t proto)
{
	refuse(b, w, w->hook, w->backend, proto, w->family == 4 ? 3 : 1, w->family == 4 ? 3 : 4, 0);
}

static void expect_one(struct bf *b, const struct way *w, uint8_t kind, uint8_t proto)
{
	if (signals(b) != 1)
		fail_msg("%s: %zu signals, want 1", w->vip, got_count);
	assert_int_equal(got[0].slot, w->svc);
	assert_int_equal(got[0].use_count, BF_USE);
	assert_int_equal(got[0].kind, kind);
	assert_int_equal(got[0].l4_proto, proto);
	assert_int_equal(ntohs(got[0].port_be), w->bport);
	assert_true(got[0].time_ns > 0);
}

/* ---- pulse */

static void test_pulse_when_asked_and_answered_then_says_when(void **state)
{
	static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS * 2; i++) {
		const struct way *w = &ways[i / 2];
		uint8_t proto = protos[i & 1];

		watch(b, proto, 0);
		request(b, w, proto);
		assert_int_not_equal(pulse(b, w->svc).asked, 0);
		assert_int_equal(pulse(b, w->svc).heard, 0);
		reply(b, w, proto, SYN | ACK, 77, 0);
		assert_int_not_equal(pulse(b, w->svc).heard, 0);
		assert_int_equal(signals(b), 0);
	}
}

static void test_pulse_when_no_answer_is_due_then_as_before(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];
		struct pkt_spec p = asked(w, IPPROTO_TCP);

		watch(b, IPPROTO_TCP, 0);
		p.tcp_flags = ACK;
		send_in(b, &p);
		assert_int_equal(pulse(b, w->svc).asked, 0);
		reply(b, w, IPPROTO_TCP, RST | ACK, 0, 0);
		assert_int_equal(pulse(b, w->svc).heard, 0);
		p.payload = 1;
		send_in(b, &p);
		assert_int_not_equal(pulse(b, w->svc).asked, 0);
	}
}

/* ---- resets */

static void test_reset_when_it_answers_a_syn_then_signal(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS; i++) {
		watch(b, IPPROTO_TCP, 0);
		request(b, &ways[i], IPPROTO_TCP);
		reply(b, &ways[i], IPPROTO_TCP, RST | ACK, 0, 0);
		expect_one(b, &ways[i], DP_SIGNAL_RESET, IPPROTO_TCP);
	}
}

static void test_reset_when_not_of_a_closed_port_then_none(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];

		watch(b, IPPROTO_TCP, 0);
		request(b, w, IPPROTO_TCP);
		/* What a stray ACK gets; what a connection's end looks like; a FIN. */
		reply(b, w, IPPROTO_TCP, RST, 0, 0);
		reply(b, w, IPPROTO_TCP, RST | ACK, 4711, 0);
		reply(b, w, IPPROTO_TCP, FIN | ACK, 0, 0);
		assert_int_equal(signals(b), 0);
		/* Another port than the watched one; watched for UDP; not at all. */
		watch(b, IPPROTO_TCP, (uint16_t)(w->bport - 1));
		reply(b, w, IPPROTO_TCP, RST | ACK, 0, 0);
		watch(b, IPPROTO_UDP, 0);
		reply(b, w, IPPROTO_TCP, RST | ACK, 0, 0);
		watch(b, 0, 0);
		reply(b, w, IPPROTO_TCP, RST | ACK, 0, 0);
		assert_int_equal(signals(b), 0);
		/* Forwarded by this machine; a bridge's own hook matches the address instead. */
		watch(b, IPPROTO_TCP, 0);
		reply(b, w, IPPROTO_TCP, RST | ACK, 0, 1);
		assert_int_equal(signals(b), w->hook == BF_BR_IN);
	}
}

/* ---- ICMP */

static void test_icmp_when_port_unreachable_then_signal(void **state)
{
	static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS * 2; i++) {
		const struct way *w = &ways[i / 2];
		uint8_t proto = protos[i & 1];

		watch(b, proto, 0);
		request(b, w, proto);
		port_unreachable(b, w, proto);
		expect_one(b, w, DP_SIGNAL_PORT, proto);
	}
}

/* The machine itself has no way to its container. */
static void test_icmp_when_the_host_has_no_way_then_signal(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];
		bool is_v4 = w->family == 4;

		watch(b, IPPROTO_TCP, 1);
		request(b, w, IPPROTO_UDP);
		refuse(b, w, BF_UP_OUT, is_v4 ? "10.0.0.1" : "2001:db8:1::1", IPPROTO_UDP,
		       is_v4 ? 3 : 1, is_v4 ? 1 : 3, 0);
		expect_one(b, w, DP_SIGNAL_HOST, IPPROTO_UDP);
		bf_setup(state);
	}
}

static void test_icmp_when_anybody_could_have_made_it_then_none(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];
		uint8_t type = w->family == 4 ? 3 : 1, code = w->family == 4 ? 3 : 4;
		const char *neighbour = w->family == 4 ? "172.17.0.3" : "fd17::3";
		struct way stranger = *w;

		/* About no flow of ours. */
		watch(b, IPPROTO_UDP, 0);
		port_unreachable(b, w, IPPROTO_UDP);
		assert_int_equal(signals(b), 0);
		request(b, w, IPPROTO_UDP);
		/* By another container on the bridge; forwarded, from wherever. */
		if (w->hook == BF_BR_IN)
			refuse(b, w, w->hook, neighbour, IPPROTO_UDP, type, code, 0);
		else
			refuse(b, w, w->hook, w->backend, IPPROTO_UDP, type, code, 1);
		assert_int_equal(signals(b), 0);
		/* A filter's refusal, a redirect, too big; another client's flow. */
		refuse(b, w, w->hook, w->backend, IPPROTO_UDP, type, w->family == 4 ? 13 : 1, 0);
		refuse(b, w, w->hook, w->backend, IPPROTO_UDP, w->family == 4 ? 11 : 3, 0, 0);
		stranger.bport++;
		refuse(b, &stranger, w->hook, w->backend, IPPROTO_UDP, type, code, 0);
		/* Another address behind the same ports. */
		stranger = *w;
		stranger.backend = neighbour;
		refuse(b, &stranger, w->hook, neighbour, IPPROTO_UDP, type, code, 0);
		assert_int_equal(signals(b), 0);
		/* From outside, to the VIP, about a packet that the client sent: no worker's hook. */
		port_unreachable(b, w, IPPROTO_UDP);
		expect_one(b, w, DP_SIGNAL_PORT, IPPROTO_UDP);
	}
}

/* A client's error comes in through the tunnel and goes to the backend: it says nothing about it. */
static void test_icmp_when_from_the_client_then_none(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];
		struct pkt_spec quote = {.src = w->vip,
					 .dst = client_of(w),
					 .sport = w->port,
					 .dport = 40000,
					 .l4_proto = IPPROTO_UDP,
					 .payload = 20};
		struct icmp_spec icmp = {.type = w->family == 4 ? 3 : 1,
					 .code = w->family == 4 ? 3 : 4,
					 .quote = &quote};
		struct bf_in in = {.pkt = {.src = client_of(w), .dst = w->vip}};
		uint8_t msg[PKT_MAX];
		struct bf_out out;

		watch(b, IPPROTO_UDP, 0);
		request(b, w, IPPROTO_UDP);
		icmp_fill(&in.pkt, &icmp, msg);
		in.pkt.outer_src = "10.99.0.2";
		in.pkt.outer_dst = "10.99.0.1";
		in.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(w->svc, BF_USE));
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_DELIVERED, w->vip);
		assert_int_equal(signals(b), 0);
	}
}

/* ---- limits */

static void test_signals_when_many_then_one_and_a_count(void **state)
{
	struct bf *b = *state;
	const struct way *w = &ways[0];
	struct dp_pulse p;

	bf_need(b);
	watch(b, IPPROTO_UDP, 0);
	request(b, w, IPPROTO_UDP);
	for (int i = 0; i < 5; i++)
		port_unreachable(b, w, IPPROTO_UDP);
	p = pulse(b, w->svc);
	/* On a machine that stood still between two of them there may be more. */
	assert_int_equal(signals(b) + p.held, 5);
	assert_true(got_count >= 1 && got_count < 5);
	assert_int_equal(p.lost, 0);
	assert_true(p.due_ns > got[0].time_ns);
	p.due_ns = 0;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_pulse"), &w->svc, &p, 0), 0);
	port_unreachable(b, w, IPPROTO_UDP);
	expect_one(b, w, DP_SIGNAL_PORT, IPPROTO_UDP);
	assert_int_equal(got[0].held, p.held);
}

static void test_signals_when_the_ring_is_full_then_counted(void **state)
{
	struct bf *b = *state;
	const struct way *w = &ways[0];
	struct dp_pulse p = {0};

	bf_need(b);
	watch(b, IPPROTO_UDP, 0);
	request(b, w, IPPROTO_UDP);
	for (unsigned i = 0; i < DP_SIGNAL_RING / sizeof(struct dp_signal) && !p.lost; i++) {
		p = pulse(b, w->svc);
		p.due_ns = 0;
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_pulse"), &w->svc, &p, 0), 0);
		port_unreachable(b, w, IPPROTO_UDP);
	}
	assert_true(pulse(b, w->svc).lost >= 1);
	assert_true(signals(b) > 1000); /* and empties it */
}

/* A backend that was taken off rests in its slot: what its last packets tell is nobody's business. */
static void test_signals_when_the_slot_rests_then_none(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t i = 0; i < WAYS; i++) {
		const struct way *w = &ways[i];
		struct dp_local l = bf_local(w->svc);

		watch(b, IPPROTO_TCP, 0);
		request(b, w, IPPROTO_TCP);
		l.watch_proto = IPPROTO_TCP;
		l.watch_port_be = htons(w->bport);
		l.live = 0;
		bf_set_local(b, w->svc, &l);
		reply(b, w, IPPROTO_TCP, RST | ACK, 0, 0);
		assert_int_equal(signals(b), 0);
		bf_setup(state);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_pulse_when_asked_and_answered_then_says_when, bf_setup),
		cmocka_unit_test_setup(test_pulse_when_no_answer_is_due_then_as_before, bf_setup),
		cmocka_unit_test_setup(test_reset_when_it_answers_a_syn_then_signal, bf_setup),
		cmocka_unit_test_setup(test_reset_when_not_of_a_closed_port_then_none, bf_setup),
		cmocka_unit_test_setup(test_icmp_when_port_unreachable_then_signal, bf_setup),
		cmocka_unit_test_setup(test_icmp_when_the_host_has_no_way_then_signal, bf_setup),
		cmocka_unit_test_setup(test_icmp_when_anybody_could_have_made_it_then_none,
				       bf_setup),
		cmocka_unit_test_setup(test_icmp_when_from_the_client_then_none, bf_setup),
		cmocka_unit_test_setup(test_signals_when_many_then_one_and_a_count, bf_setup),
		cmocka_unit_test_setup(test_signals_when_the_ring_is_full_then_counted, bf_setup),
		cmocka_unit_test_setup(test_signals_when_the_slot_rests_then_none, bf_setup),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
