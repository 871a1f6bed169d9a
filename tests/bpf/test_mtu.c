/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What doesn't fit into the mesh: told to the client, carried, or dropped; segment sizes lowered so that TCP never gets there.
 * And what no service takes, refused in the same way. The mesh is bare of link headers here, as WireGuard is, except where
 * a test says otherwise. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"
#include "tests/lib/bpf_icmp.h"
#include "tests/lib/bpf_live.h"

#define ACT_SHOT 2u
#define ACT_REDIRECT 7u
#define XDP_DROPS 1u
#define XDP_PASSES 2u

static const uint8_t protos[] = {IPPROTO_UDP, IPPROTO_TCP};

static const struct far {
	int family, outer;
	uint32_t svc;
	const char *vip;
	uint16_t port;
} fars[] = {
	{4, 4, BF_SVC_EXACT4, "192.0.2.10", 53},
	{6, 4, BF_SVC_EXACT6, "2001:db8::10", 53},
	{4, 6, BF_SVC_RANGE4, "192.0.2.11", 5042},
	{6, 6, BF_SVC_RANGE6, "2001:db8::11", 5042},
};
#define FARS (sizeof(fars) / sizeof(*fars))

static uint32_t fits(const struct far *f)
{
	return BF_MTU - (f->outer == 4 ? 28 : 48);
}

/* A client's IP packet of that many bytes. */
static struct bf_in packet(const struct far *f, uint8_t proto, uint32_t bytes)
{
	uint32_t head = (f->family == 4 ? 20u : 40u) + (proto == IPPROTO_UDP ? 8u : 20u);

	return (struct bf_in){.pkt = {.src = f->family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				      .dst = f->vip,
				      .sport = 40000,
				      .dport = f->port,
				      .l4_proto = proto,
				      .is_df = true,
				      .payload = (uint16_t)(bytes - head)}};
}

static void set_svc_flags(struct bf *b, uint32_t svc_idx, uint32_t flags)
{
	struct dp_svc svc;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_svc"), &svc_idx, &svc), 0);
	svc.flags = flags;
	assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_svc"), &svc_idx, &svc, BPF_ANY), 0);
}

static void set_vip_flags(struct bf *b, const char *vip, uint32_t flags)
{
	uint8_t addr[16];
	struct dp_vip v;

	bf_addr(vip, addr);
	for (uint32_t i = 1; !bpf_map_lookup_elem(bf_map(b, "dp_vip"), &i, &v); i++) {
		if (memcmp(v.addr, addr, 16))
			continue;
		v.flags = flags;
		assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_vip"), &i, &v, BPF_ANY), 0);
		return;
	}
	fail_msg("no VIP %s", vip);
}

static void set_mtu(struct bf *b, uint16_t mtu)
{
	struct dp_host h = bf_host();

	h.mesh_mtu = mtu;
	bf_set_host(b, &h);
}

/* Errors of our own are limited: each test begins with a window of its own. */
static int setup(void **state)
{
	struct bf *b = *state;

	if (!b->load_rc)
		bf_set_rate(b, BF_RATE_ERROR, 0);
	return bf_setup(state);
}

/* An ICMP error in the VIP's name about this packet, sent back where it came from. */
static void expect_error(struct bf *b, const struct bf_in *in, uint32_t reason, uint8_t type,
			 uint8_t code, uint32_t rest, const char *where)
{
	uint8_t frame[PKT_MAX];
	struct icmp_seen seen;
	struct bf_out out;
	const char *wrong;

	bf_run(b, BF_PUB_IN, in, &out);
	bf_expect_reason(b, reason, where);
	assert_int_equal(out.retval, ACT_REDIRECT);
	assert_string_equal(out.seen.outer_src, "");
	assert_string_equal(out.seen.src, in->pkt.dst);
	assert_string_equal(out.seen.dst, in->pkt.src);
	assert_int_equal(out.seen.ttl, 64);
	assert_int_equal(out.seen.trailer, 0);
	pkt_build(&in->pkt, frame);
	assert_memory_equal(out.frame, frame + 6, 6);
	assert_memory_equal(out.frame + 6, frame, 6);
	wrong = icmp_read(&out.seen, &seen);
	if (wrong)
		fail_msg("%s: %s", where, wrong);
	assert_int_equal(seen.type, type);
	assert_int_equal(seen.code, code);
	assert_int_equal(seen.rest, rest);
	wrong = icmp_quotes(&seen, &in->pkt);
	if (wrong)
		fail_msg("%s: %s", where, wrong);
	/* The ports and more, or all there was. */
	if (in->pkt.payload > 200)
		assert_in_range(seen.body_bytes, 20 + 120, 1280 - 48);
}

static void expect_too_big(struct bf *b, const struct bf_in *in, int family, uint32_t mtu,
			   const char *where)
{
	expect_error(b, in, DP_R_TOO_BIG_SENT, family == 4 ? 3 : 2, family == 4 ? 4 : 0, mtu,
		     where);
}

static void test_packet_when_too_big_then_client_is_told(void **state)
{
	static const uint32_t over[] = {1, 2, 3, 80};
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < FARS * 2 * 4; n++) {
		const struct far *f = &fars[n % FARS];
		uint8_t proto = protos[n / FARS % 2];
		struct bf_in in = packet(f, proto, fits(f));
		struct bf_out out;

		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_FORWARDED, "just fits");
		if (f->outer == 4)
			assert_true(out.seen.outer_df);
		in = packet(f, proto, fits(f) + over[n / FARS / 2]);
		expect_too_big(b, &in, f->family, fits(f), f->vip);
	}
}

static void test_packet_when_too_big_with_options_then_quoted_with_them(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < FARS * 2 * 8; n++) {
		const struct far *f = &fars[n % FARS];
		struct bf_in in = packet(f, protos[n / FARS % 2], 1440);

		in.pkt.ip_options = (uint8_t)(n / FARS / 2 + 1);
		in.pkt.dest_options = (uint8_t)(n / FARS / 2 / 2 + 1);
		if (n % 3)
			in.pkt.mss = 1460;
		in.pkt.mss_nops = (uint8_t)(n % 3);
		expect_too_big(b, &in, f->family, fits(f), f->vip);
		if (n % 32 == 31)
			setup(state);
	}
}

static void test_packet_when_it_may_exceed_then_carried(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < FARS * 2 * 2; n++) {
		const struct far *f = &fars[n % FARS];
		struct bf_in in = packet(f, protos[n / FARS % 2], 1500);
		bool is_flag = n / FARS / 2;
		struct bf_out out;

		if (!is_flag && f->family == 6)
			continue; /* no router may cut those */
		setup(state);
		in.pkt.is_df = is_flag;
		set_svc_flags(b, f->svc, is_flag ? DP_SVC_CARRY : 0);
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_FORWARDED, f->vip);
		assert_false(out.seen.outer_df);
		assert_int_equal(out.len, 14 + 1500 + (f->outer == 4 ? 28 : 48));
		assert_string_equal(out.seen.src, in.pkt.src);
	}
}

/* A row that has changed hands costs a sequence word; the client isn't told of those 4 bytes. */
static void test_packet_when_only_the_sequence_word_exceeds_then_carried(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < FARS; n++) {
		const struct far *f = &fars[n];
		struct bf_in in = packet(f, IPPROTO_UDP, fits(f));
		struct bf_out out;

		for (uint32_t i = 0; i < 251; i++) {
			uint32_t row = bf_row_of(f->svc) + i;
			struct dp_row r = {f->svc, fars[n ^ 2].svc};

			assert_int_equal(bpf_map_update_elem(bf_map(b, "dp_rows"), &row, &r, 0), 0);
		}
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_FORWARDED, f->vip);
		assert_int_equal(out.seen.gre_flags, 0x3000);
		assert_int_equal(out.len, 14 + BF_MTU + 4);
		assert_false(out.seen.outer_df);
		in = packet(f, IPPROTO_UDP, fits(f) + 1);
		expect_too_big(b, &in, f->family, fits(f), f->vip);
	}
}

static void test_icmp_error_when_too_big_then_carried(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < FARS; n++) {
		const struct far *f = &fars[n];
		struct pkt_spec quote = packet(f, IPPROTO_UDP, 1400).pkt;
		struct bf_in in = {.pkt = {.src = f->family == 4 ? "203.0.113.9" : "2001:db8:f::9",
					   .dst = f->vip,
					   .is_df = true}};
		struct icmp_spec i = {.type = f->family == 4 ? 3 : 1, .code = 1, .quote = &quote};
		uint8_t msg[PKT_MAX];
		struct bf_out out;

		quote.dst = quote.src;
		quote.src = f->vip;
		quote.dport = quote.sport;
		quote.sport = f->port;
		icmp_fill(&in.pkt, &i, msg);
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_FORWARDED, f->vip);
	}
}

/* A mesh so narrow that IPv6's minimum doesn't fit: that is carried, and nobody is asked for less. */
static void test_ipv6_when_mesh_is_narrow_then_its_minimum_is_carried(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < FARS; n++) {
		const struct far *f = &fars[n];
		struct bf_in in = packet(f, IPPROTO_UDP, 1280);
		struct bf_out out;

		setup(state);
		set_mtu(b, 1300);
		if (f->family == 6) {
			bf_run(b, BF_PUB_IN, &in, &out);
			bf_expect_reason(b, DP_R_FORWARDED, f->vip);
			in = packet(f, IPPROTO_UDP, 1281);
		}
		expect_too_big(b, &in, f->family,
			       f->family == 4 ? f->outer == 4 ? 1272 : 1252 : 1280, f->vip);
	}
}

static void test_packet_when_too_big_and_source_is_nobody_then_dropped(void **state)
{
	static const char *const sources[][2] = {{"127.0.0.1", "::"}, {"239.1.1.1", "ff02::1"}};
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < FARS * 2; n++) {
		const struct far *f = &fars[n % FARS];
		struct bf_in in = packet(f, IPPROTO_UDP, 1500);
		struct bf_out out;

		in.pkt.src = sources[n / FARS][f->family == 6];
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_TOO_BIG, in.pkt.src);
		assert_int_equal(out.retval, ACT_SHOT);
	}
}

/* The window may end between the two steps. */
static void expect_limited(struct bf *b, enum bf_prog prog, const struct bf_in *in,
			   enum bf_rate kind, uint32_t drop)
{
	struct bf_out out;

	for (int try = 0; try < 100 && !bf_reason(b, DP_R_ICMP_LIMITED); try++) {
		bf_set_rate(b, kind, 67);
		bf_run(b, prog, in, &out);
	}
	assert_int_equal(bf_reason(b, DP_R_ICMP_LIMITED), 1);
	assert_int_equal(out.retval, drop);
	bf_forget_reasons(b);
	bf_set_rate(b, kind, 66);
	bf_run(b, prog, in, &out);
	assert_int_equal(bf_reason(b, DP_R_ICMP_LIMITED), 0);
	assert_int_not_equal(out.retval, drop);
	bf_forget_reasons(b);
}

static void test_packet_when_many_are_too_big_then_limited(void **state)
{
	struct bf *b = *state;
	struct bf_in in = packet(&fars[0], IPPROTO_UDP, 1500);

	bf_need(b);
	expect_limited(b, BF_PUB_IN, &in, BF_RATE_ERROR, ACT_SHOT);
}

/* ---- replies ---- */

static const struct near {
	enum bf_prog hook;
	int family;
	uint32_t svc;
	const char *vip;
	uint16_t port;
	const char *backend;
	uint16_t bport;
} nears[] = {
	{BF_UP_OUT, 4, BF_SVC_HOST4, "192.0.2.12", 80, "10.0.0.5", 8080},
	{BF_UP_OUT, 6, BF_SVC_HOST6, "2001:db8::12", 80, "2001:db8:1::5", 8080},
	{BF_MESH_OUT, 4, BF_SVC_HOSTRANGE4, "192.0.2.12", 6299, "10.0.0.5", 7299},
	{BF_MESH_OUT, 6, BF_SVC_HOSTRANGE6, "2001:db8::12", 6001, "2001:db8:1::5", 7001},
	{BF_BR_IN, 4, BF_SVC_BRIDGE4, "192.0.2.13", 80, "172.17.0.2", 8080},
	{BF_BR_IN, 6, BF_SVC_BRIDGE6, "2001:db8::13", 80, "fd17::2", 8080},
};
#define NEARS (sizeof(nears) / sizeof(*nears))

static struct bf_in request(const struct near *t, uint8_t proto, int outer)
{
	struct bf_in in = {.pkt = {.src = t->family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				   .dst = t->vip,
				   .sport = 40000,
				   .dport = t->port,
				   .l4_proto = proto}};

	if (outer) {
		in.pkt.outer_src = outer == 4 ? "10.99.0.2" : "fd99::3";
		in.pkt.outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1";
		in.pkt.gre_key = DP_GRE_KEY(0, DP_TOKEN(t->svc, BF_USE));
	}
	return in;
}

static struct bf_in answer(const struct near *t, uint8_t proto)
{
	return (struct bf_in){.pkt = {.src = t->backend,
				      .dst = t->family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				      .sport = t->bport,
				      .dport = 40000,
				      .l4_proto = proto}};
}

/* On a mesh over Ethernet nothing larger can cross, so the reply is dropped there. */
static void test_reply_when_too_big_on_ethernet_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < NEARS * 2; n++) {
		const struct near *t = &nears[n % NEARS];
		int outer = n / NEARS ? 6 : 4;
		uint16_t room =
			(uint16_t)(BF_MTU - (outer == 4 ? 28 : 48) - (t->family == 4 ? 28 : 48));
		struct bf_in in = request(t, IPPROTO_UDP, outer);
		struct bf_out out;

		bf_run(b, BF_MESH_IN, &in, &out);
		bf_forget_reasons(b);
		in = answer(t, IPPROTO_UDP);
		in.pkt.payload = room;
		bf_run(b, t->hook, &in, &out);
		bf_expect_reason(b, DP_R_REPLY_ENCAP, "just fits");
		in.pkt.payload++;
		bf_run(b, t->hook, &in, &out);
		bf_expect_reason(b, DP_R_TOO_BIG, t->vip);
	}
}

/* Nor can what a client sent, whatever the policy: it is told, where that may be. */
static void test_packet_when_too_big_on_ethernet_then_told_or_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < FARS * 2; n++) {
		const struct far *f = &fars[n % FARS];
		struct bf_in in = packet(f, IPPROTO_UDP, fits(f) + 1);
		struct bf_out out;

		set_svc_flags(b, f->svc, n / FARS ? DP_SVC_CARRY : 0);
		expect_too_big(b, &in, f->family, fits(f), f->vip);
		if (f->family == 6)
			continue;
		in.pkt.is_df = false;
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_TOO_BIG, f->vip);
		assert_int_equal(out.retval, ACT_SHOT);
	}
}

/* SYN and SYN-ACK, every pair of families, to a host socket and to a container, through a tunnel and without. */
static void test_mss_when_through_a_tunnel_then_fits(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < NEARS * 3; n++) {
		const struct near *t = &nears[n % NEARS];
		int outer = (int[]){4, 6, 0}[n / NEARS];
		uint16_t most =
			(uint16_t)(BF_MTU - (outer == 4 ? 28 : 48) - (t->family == 4 ? 40 : 60));
		struct bf_in syn = request(t, IPPROTO_TCP, outer), ack = answer(t, IPPROTO_TCP);
		struct bf_out out;

		for (uint16_t mss = (uint16_t)(most - 5); mss <= most + 1; mss++) {
			/* What the client sends may have a sequence word in front of it, of 4 bytes. */
			uint16_t in_most = (uint16_t)(most - 4);
			uint16_t wanted_syn = mss > most && outer ? most : mss;
			uint16_t wanted_ack = mss > in_most && outer ? in_most : mss;

			setup(state);
			syn.pkt.mss = ack.pkt.mss = mss;
			syn.pkt.tcp_flags = 0x02;
			ack.pkt.tcp_flags = 0x12;
			bf_run(b, outer ? BF_MESH_IN : BF_PUB_IN, &syn, &out);
			bf_forget_reasons(b);
			assert_string_equal(out.seen.dst, t->backend);
			assert_int_equal(out.seen.mss, wanted_syn);
			bf_run(b, t->hook, &ack, &out);
			bf_expect_reason(b, outer ? DP_R_REPLY_ENCAP : DP_R_REPLY_LOCAL, t->vip);
			assert_int_equal(out.seen.mss, wanted_ack);
		}
	}
}

/* ---- no service ---- */

static void test_udp_when_refused_then_client_is_told(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < FARS * 4; n++) {
		const struct far *f = &fars[n % FARS];
		struct bf_in in =
			packet(f, IPPROTO_UDP, (uint32_t[]){60, 100, 1400, 1500}[n / FARS]);
		struct bf_out out;

		in.pkt.dport = 9;
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_NO_SERVICE, "no such policy");
		set_vip_flags(b, f->vip, DP_VIP_REJECT);
		bf_run(b, BF_XDP, &in, &out);
		bf_expect_reason(b, DP_R_XDP_PASS, "XDP leaves it to TC");
		assert_int_equal(out.retval, XDP_PASSES);
		assert_int_equal(out.meta_len, 0);
		expect_error(b, &in, DP_R_REJECTED, f->family == 4 ? 3 : 1, f->family == 4 ? 3 : 4,
			     0, f->vip);
		in.pkt.dport = f->port;
		if (n / FARS < 2) {
			bf_run(b, BF_PUB_IN, &in, &out);
			bf_expect_reason(b, DP_R_FORWARDED, "its service is served");
		}
		setup(state);
	}
}

static uint32_t tcp_word(const struct bf_out *out, size_t at)
{
	uint32_t word;

	memcpy(&word, out->seen.body + at, sizeof(word));
	return ntohl(word);
}

static void test_tcp_when_refused_then_reset(void **state)
{
	static const struct {
		uint8_t flags;
		uint16_t payload;
		uint32_t seq, ack; /* of the reset */
		uint8_t wanted;
	} rows[] = {
		{0x02, 0, 0, 1001, 0x14},   {0x02, 7, 0, 1008, 0x14}, {0x10, 0, 777, 0, 0x04},
		{0x18, 1400, 777, 0, 0x04}, {0x12, 0, 777, 0, 0x04},  {0x01, 3, 0, 1004, 0x14},
	};
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < FARS * 6; n++) {
		const struct far *f = &fars[n % FARS];
		struct bf_in in = packet(f, IPPROTO_TCP, 100);
		size_t r = n / FARS;
		struct bf_out out;

		set_vip_flags(b, f->vip, DP_VIP_REJECT);
		in.pkt.dport = 9;
		in.pkt.tcp_flags = rows[r].flags;
		in.pkt.payload = rows[r].payload;
		in.pkt.seq = 1000;
		in.pkt.ack = 777;
		in.pkt.mss = r & 1 ? 1460 : 0;
		bf_run(b, BF_XDP, &in, &out);
		bf_expect_reason(b, DP_R_XDP_PASS, "XDP leaves it to TC");
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_REJECTED, f->vip);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_string_equal(out.seen.src, f->vip);
		assert_string_equal(out.seen.dst, in.pkt.src);
		assert_int_equal(out.seen.sport, 9);
		assert_int_equal(out.seen.dport, 40000);
		assert_int_equal(out.seen.payload, 0);
		assert_int_equal(out.seen.trailer, 0);
		assert_int_equal(out.seen.body_bytes, 20);
		assert_int_equal(tcp_word(&out, 4), rows[r].seq);
		assert_int_equal(tcp_word(&out, 8), rows[r].ack);
		assert_int_equal(out.seen.body[13], rows[r].wanted);
		in.pkt.tcp_flags |= 4;
		bf_run(b, BF_PUB_IN, &in, &out);
		bf_expect_reason(b, DP_R_NO_SERVICE, "a reset is not answered");
		assert_int_equal(out.retval, ACT_SHOT);
	}
}

static void test_refusal_when_flooded_then_limited(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	set_vip_flags(b, fars[0].vip, DP_VIP_REJECT);
	for (int i = 0; i < 2; i++) {
		struct bf_in in = packet(&fars[0], protos[i], 60);

		in.pkt.dport = 9;
		expect_limited(b, BF_XDP, &in, BF_RATE_REJECT, XDP_DROPS);
		expect_limited(b, BF_PUB_IN, &in, BF_RATE_ERROR, ACT_SHOT);
	}
}

/* ---- on real hooks ---- */

static int live_limits(void **state)
{
	void *b = live.b;

	if (!live.skip && setup(&b))
		return -1;
	return live_setup(state);
}

/* As they come from a virtual machine: the transport checksum is still to do, and is done behind our back. */
static void test_error_when_checksum_was_still_to_do_then_right(void **state)
{
	live_need(*state);
	live.is_partial = true;
	for (size_t n = 0; n < FARS * 3; n++) {
		const struct far *f = &fars[n % FARS];
		bool is_refusal = n / FARS == 2;
		struct bf_in in = packet(f, protos[n / FARS & 1], is_refusal ? 100 : 1450);
		uint32_t partial = live.partial_seen;
		struct pkt_seen seen;
		struct icmp_seen icmp;
		const char *wrong;

		set_vip_flags(live.b, f->vip, DP_VIP_REJECT);
		if (is_refusal)
			in.pkt.dport = 9;
		live_send_frame(live.up, &in.pkt, LIVE_UP_MAC);
		live_recv_icmp_error(live.up, &seen, f->vip);
		assert_int_equal(live.partial_seen, partial + 1);
		wrong = icmp_read(&seen, &icmp);
		if (wrong)
			fail_msg("%s: %s", f->vip, wrong);
		assert_string_equal(seen.src, f->vip);
		assert_string_equal(seen.dst, in.pkt.src);
		assert_int_equal(icmp.rest, is_refusal ? 0 : fits(f));
	}
}

static void test_reset_when_checksum_was_still_to_do_then_right(void **state)
{
	live_need(*state);
	for (size_t n = 0; n < FARS * 4; n++) {
		const struct far *f = &fars[n % FARS];
		struct bf_in in = packet(f, IPPROTO_TCP, n / FARS & 1 ? 100 : 61);
		uint32_t partial = live.partial_seen;
		struct pkt_seen seen;

		set_vip_flags(live.b, f->vip, DP_VIP_REJECT);
		live.is_partial = n / FARS / 2;
		in.pkt.dport = 9;
		in.pkt.tcp_flags = 2;
		live_send_frame(live.up, &in.pkt, LIVE_UP_MAC);
		live_recv_frame(live.up, &seen, f->vip);
		assert_int_equal(live.partial_seen, partial + live.is_partial);
		assert_string_equal(seen.src, f->vip);
		assert_int_equal(seen.sport, 9);
		assert_int_equal(seen.dport, 40000);
	}
}

/* Here the mesh has no link header. */
static int bare_setup(void **state)
{
	struct bf *b = NULL;
	int rc = bf_open(0, &b);

	*state = b;
	return rc;
}

#define T(f) cmocka_unit_test_setup(f, setup)
#define L(f) cmocka_unit_test_setup(f, live_limits)
int main(void)
{
	const struct CMUnitTest ethernet[] = {
		T(test_reply_when_too_big_on_ethernet_then_dropped),
		T(test_packet_when_too_big_on_ethernet_then_told_or_dropped),
		T(test_mss_when_through_a_tunnel_then_fits),
	};
	const struct CMUnitTest bare[] = {
		T(test_packet_when_too_big_then_client_is_told),
		T(test_packet_when_too_big_with_options_then_quoted_with_them),
		T(test_packet_when_it_may_exceed_then_carried),
		T(test_packet_when_only_the_sequence_word_exceeds_then_carried),
		T(test_icmp_error_when_too_big_then_carried),
		T(test_ipv6_when_mesh_is_narrow_then_its_minimum_is_carried),
		T(test_packet_when_too_big_and_source_is_nobody_then_dropped),
		T(test_packet_when_many_are_too_big_then_limited),
		T(test_udp_when_refused_then_client_is_told),
		T(test_tcp_when_refused_then_reset),
		T(test_refusal_when_flooded_then_limited),
	};
	const struct CMUnitTest hooks[] = {
		L(test_error_when_checksum_was_still_to_do_then_right),
		L(test_reset_when_checksum_was_still_to_do_then_right),
	};
	const char *only = getenv("T");
	int bad;
	if (only)
		cmocka_set_test_filter(only);
	bad = cmocka_run_group_tests(bare, bare_setup, bf_group_teardown);
	bad += cmocka_run_group_tests(ethernet, bf_group_setup, bf_group_teardown);
	return bad + cmocka_run_group_tests(hooks, live_group_setup, live_group_teardown);
}
