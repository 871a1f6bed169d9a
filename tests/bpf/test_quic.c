/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Connection ids that name a backend: which packets are read, which ids are taken, and that all else goes by the hash. */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/bpf_fixture.h"

#define SVC_ID 0x00515543u
#define ID 0xa1b2c3d4u
#define OTHER BF_SVC_RANGE4 /* the backend that ID names: on node 3, in no row of the service */
#define OTHER6 BF_SVC_RANGE6

/* What stands behind the first octet of a connection id made for this: server id, nonce. */
#define SERVER_ID 0xa1, 0xb2, 0xc3, 0xd4
#define NONCE 1, 2, 3, 4
#define V1 0, 0, 0, 1
#define V2 0x6b, 0x33, 0x43, 0xcf

static const struct {
	const char *name;
	uint8_t data[40];
	uint16_t bytes;
	bool is_named;
} forms[] = {
	{"short", {0x40, 0x08, SERVER_ID, NONCE, 9, 9}, 30, true},
	{"short, random length bits", {0x5f, 0x1f, SERVER_ID, NONCE, 9, 9}, 30, true},
	{"short, fixed bit greased", {0x1f, 0x08, SERVER_ID, NONCE, 9, 9}, 30, true},
	{"short, just long enough", {0x40, 0x08, SERVER_ID}, 6, true},
	{"short, one byte less", {0x40, 0x08, SERVER_ID}, 5, false},
	{"short, between the two lengths", {0x40, 0x08, SERVER_ID, NONCE}, 10, true},
	{"short, configuration 1", {0x40, 0x28, SERVER_ID, NONCE, 9, 9}, 30, false},
	{"short, configuration 7: not routable", {0x40, 0xe8, SERVER_ID, NONCE}, 30, false},
	{"short, unknown server", {0x40, 0x08, 0xa1, 0xb2, 0xc3, 0xd5, NONCE}, 30, false},
	{"short, server id one byte off", {0x40, 8, 8, SERVER_ID, NONCE}, 30, false},
	{"v1 handshake", {0xe0, V1, 9, 8, SERVER_ID, NONCE, 0}, 39, true},
	{"v1 handshake, long id", {0xef, V1, 20, 8, SERVER_ID, NONCE, 0}, 39, true},
	{"v1 handshake, no bytes behind the id", {0xe0, V1, 9, 8, SERVER_ID}, 11, true},
	{"v1 handshake, cut short", {0xe0, V1, 9, 8, SERVER_ID}, 10, false},
	{"v1 handshake, id too short for a nonce", {0xe0, V1, 8, 8, SERVER_ID, NONCE}, 39, false},
	{"v1 handshake, no id", {0xe0, V1, 0, 8, SERVER_ID, NONCE}, 39, false},
	{"v1 initial", {0xc0, V1, 9, 8, SERVER_ID, NONCE, 0}, 39, false},
	{"v1 0-RTT", {0xd0, V1, 9, 8, SERVER_ID, NONCE, 0}, 39, false},
	{"v1 retry", {0xf0, V1, 9, 8, SERVER_ID, NONCE, 0}, 39, false},
	{"v2 handshake", {0xf0, V2, 9, 8, SERVER_ID, NONCE, 0}, 39, true},
	{"v2 initial", {0xd0, V2, 9, 8, SERVER_ID, NONCE, 0}, 39, false},
	{"v2 0-RTT", {0xe0, V2, 9, 8, SERVER_ID, NONCE, 0}, 39, false},
	{"v2 retry", {0xc0, V2, 9, 8, SERVER_ID, NONCE, 0}, 39, false},
	{"version negotiation", {0xe0, 0, 0, 0, 0, 9, 8, SERVER_ID, NONCE, 0}, 39, false},
	{"a version to come", {0xe0, 0, 0, 0, 3, 9, 8, SERVER_ID, NONCE, 0}, 39, false},
	{"empty", {0}, 0, false},
	{"one byte", {0x40}, 1, false},
	{"a DNS query", {0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 'w', 'w', 'w'}, 30, false},
};

static void put(struct bf *b, const char *map, const void *key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(bf_map(b, map), key, value, BPF_ANY), 0);
}

/* What dp_quic holds has changed: as edged says it. */
static void changed(struct bf *b)
{
	struct dp_ctl ctl;
	uint32_t zero = 0;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_ctl"), &zero, &ctl), 0);
	ctl.quic_gen++;
	put(b, "dp_ctl", &zero, &ctl);
}

static void name(struct bf *b, uint8_t family, uint32_t server_id, uint32_t backend_idx)
{
	struct dp_quic_key key = {.svc_id = SVC_ID, .server_id = server_id, .family = family};

	put(b, "dp_quic", &key, &backend_idx);
	changed(b);
}

static void set_flags(struct bf *b, uint32_t svc_idx, uint32_t flags)
{
	struct dp_svc svc;

	assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_svc"), &svc_idx, &svc), 0);
	svc.flags = flags;
	svc.svc_id = SVC_ID;
	put(b, "dp_svc", &svc_idx, &svc);
}

/* What tests/lab/quicecho sent and tcpdump saw before the VIP: how each datagram of two connections begins, one over
 * IPv4 to the server 374a892f, one over IPv6 to f1b53c67. The library greases the fixed bit. */
static const struct {
	const char *name, *hex;
	int family;
	uint16_t bytes;
	bool is_named;
} real[] = {
	{"client's first Initial",
	 "c9000000010cebb739f439072e25880368ab0ceb22e0ece74761a469890b45008000048ccda15677", 4,
	 1200, false},
	{"Initial with the server's id, and a Handshake behind it",
	 "88000000010c0b374a892ff6117b4ba9efde0ceb22e0ece74761a469890b450080000016b98e4b8c", 4,
	 1200, false},
	{"1-RTT",
	 "050b374a892ff6117b4ba9efde729c201dcb6a8580f10e5c7e4708f584c0a8c3e5e8ca715b5d5a91", 4, 254,
	 true},
	{"1-RTT behind a NAT that moved",
	 "0d0b374a892ff6117b4ba9efdedb20e7c61c003a095b24fe74fc0ab361e1305c2fe839dd02", 4, 37, true},
	{"1-RTT after a migration, with another id of the same server",
	 "070b374a892f0e9db1b91b888cee48c1b21f7a4047f57965bccfb7b71fa35a58e6c5bfdd2855638a", 4,
	 1200, true},
	{"IPv6, Initial with the server's id",
	 "cb000000010c0bf1b53c6781862c4624ac160ceb21593d129c0bf662aa80630080000016b03515fdb6a31748",
	 6, 1200, false},
	{"IPv6, 1-RTT",
	 "460bf1b53c6781862c4624ac165f441402572f20fa3a68a72493357954c0988a5bd3ae0c8319620e", 6,
	 1200, true},
	{"IPv6, after a migration",
	 "4f0bf1b53c67a8d0387343fc41cc50cce03e8391cbe6cc53bc34673ec702a47aea6f51fb6b6091e0", 6,
	 1200, true},
};

static void from_hex(const char *hex, uint8_t *bytes)
{
	for (size_t i = 0; hex[2 * i]; i++) {
		unsigned int b;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &b), 1);
		bytes[i] = (uint8_t)b;
	}
}

static int setup(void **state)
{
	struct bf *b;
	int rc = bf_setup(state);

	b = *state;
	if (rc || b->load_rc)
		return rc;
	set_flags(b, BF_SVC_EXACT4, DP_SVC_QUIC);
	set_flags(b, BF_SVC_EXACT6, DP_SVC_QUIC);
	name(b, 4, ID, OTHER);
	name(b, 6, ID, OTHER6);
	return 0;
}

static int teardown(void **state)
{
	struct bf *b = *state;

	for (uint8_t family = 4; !b->load_rc && family <= 6; family += 2) {
		struct dp_quic_key key = {.svc_id = SVC_ID, .server_id = ID, .family = family};

		bpf_map_delete_elem(bf_map(b, "dp_quic"), &key);
		changed(b);
	}
	return 0;
}

static struct pkt_spec packet(int family, const uint8_t *data, uint16_t bytes)
{
	return (struct pkt_spec){.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				 .dst = family == 4 ? "192.0.2.10" : "2001:db8::10",
				 .sport = 40000,
				 .dport = 53,
				 .l4_proto = IPPROTO_UDP,
				 .payload = bytes,
				 .data = data};
}

/* Through XDP, and through TC alone: the backend that both choose. */
static uint32_t chosen(struct bf *b, const struct pkt_spec *pkt, const char *text)
{
	struct bf_in in = {.pkt = *pkt};
	struct dp_verdict v;
	uint32_t idx, token;
	struct dp_row row;
	struct bf_out out;

	bf_run(b, BF_XDP, &in, &out);
	bf_expect_reason(b, DP_R_FORWARD_CHOSEN, text);
	assert_int_equal(out.meta_len, sizeof(v));
	memcpy(&v, out.meta, sizeof(v));
	idx = v.row;
	if (v.verdict == DP_VERDICT_FORWARD) {
		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_rows"), &v.row, &row), 0);
		idx = row.owner;
	} else {
		assert_int_equal(v.verdict, DP_VERDICT_BACKEND);
	}
	bf_run(b, BF_PUB_IN, &in, &out);
	bf_expect_reason(b, DP_R_FORWARDED, text);
	token = DP_GRE_KEY_TOKEN(out.seen.gre_key);
	if (DP_TOKEN_SLOT(token) != idx)
		fail_msg("%s: XDP chose %u, TC %u", text, idx, DP_TOKEN_SLOT(token));
	return idx;
}

static void check(struct bf *b, const struct pkt_spec *pkt, bool is_named, const char *text)
{
	bool is_v6 = strchr(pkt->dst, ':') != NULL;
	uint32_t named = is_v6 ? OTHER6 : OTHER, hashed = is_v6 ? BF_SVC_EXACT6 : BF_SVC_EXACT4;
	uint32_t idx = chosen(b, pkt, text);

	if (idx != (is_named ? named : hashed))
		fail_msg("%s: got backend %u, want %u", text, idx, is_named ? named : hashed);
}

static void test_form_when_servers_id_then_named_backend(void **state)
{
	struct bf *b = *state;
	struct pkt_spec p;

	bf_need(b);
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++) {
		p = packet(4, forms[i].data, forms[i].bytes);
		check(b, &p, forms[i].is_named, forms[i].name);
		p = packet(6, forms[i].data, forms[i].bytes);
		check(b, &p, forms[i].is_named, forms[i].name);
	}
	/* Behind options and extension headers it stands elsewhere. */
	p = packet(4, forms[0].data, 30);
	p.ip_options = 10;
	check(b, &p, true, "IPv4 options");
	p = packet(6, forms[0].data, 30);
	p.dest_options = 5;
	check(b, &p, true, "IPv6 options");
	/* What pads a frame is no payload. */
	p = packet(4, forms[0].data, 4);
	p.padding = 20;
	check(b, &p, false, "padding");
}

static void test_real_packets_when_servers_id_then_named_backend(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	name(b, 4, 0x374a892f, OTHER);
	name(b, 6, 0xf1b53c67, OTHER6);
	for (size_t i = 0; i < sizeof(real) / sizeof(*real); i++) {
		uint8_t data[1200] = {0};
		struct pkt_spec p;

		from_hex(real[i].hex, data);
		p = packet(real[i].family, data, real[i].bytes);
		check(b, &p, real[i].is_named, real[i].name);
	}
}

static void test_short_when_client_moves_then_same_backend(void **state)
{
	struct bf *b = *state;
	struct pkt_spec p;

	bf_need(b);
	for (uint16_t port = 1024; port < 1064; port++) {
		p = packet(4, forms[0].data, 30);
		p.sport = port;
		p.src = port % 2 ? "203.0.113.77" : BF_CLIENT4;
		check(b, &p, true, "moved");
	}
}

static void test_named_when_not_up_then_hash(void **state)
{
	struct bf *b = *state;
	struct pkt_spec p = packet(4, forms[0].data, 30);

	bf_need(b);
	bf_set_backend(b, OTHER, DP_BE_DEAD, BF_NODE_V6);
	check(b, &p, false, "backend down");
	bf_set_backend(b, OTHER, DP_BE_UP, BF_NODE_V6);
	check(b, &p, true, "backend up again");
	bf_set_node_state(b, BF_NODE_V6, DP_NODE_DOWN);
	check(b, &p, false, "node down");
	bf_set_node_state(b, BF_NODE_V6, DP_NODE_UP);
	name(b, 4, ID, 0);
	check(b, &p, false, "no backend");
	name(b, 4, ID, 63);
	check(b, &p, false, "a backend that does not exist");
	name(b, 4, ID, 5000);
	check(b, &p, false, "an index that the map does not have");
}

/* The named one is up though no row has one that is. */
static void test_named_when_table_empty_then_served(void **state)
{
	struct bf *b = *state;
	struct pkt_spec p = packet(4, forms[0].data, 30);

	bf_need(b);
	bf_set_backend(b, BF_SVC_EXACT4, DP_BE_DEAD, BF_NODE_V4);
	check(b, &p, true, "rows without a backend");
}

static void test_other_services_and_families_when_same_id_then_hash(void **state)
{
	struct dp_quic_key key = {.svc_id = SVC_ID, .server_id = ID, .family = 4};
	struct bf *b = *state;
	struct pkt_spec p;

	bf_need(b);
	set_flags(b, BF_SVC_EXACT4, 0);
	p = packet(4, forms[0].data, 30);
	check(b, &p, false, "off");
	set_flags(b, BF_SVC_EXACT4, DP_SVC_QUIC);
	p.l4_proto = IPPROTO_TCP;
	p.tcp_flags = 0x10;
	check(b, &p, false, "TCP");
	assert_int_equal(bpf_map_delete_elem(bf_map(b, "dp_quic"), &key), 0);
	key.svc_id++;
	put(b, "dp_quic", &key, &(uint32_t){OTHER});
	changed(b);
	p = packet(4, forms[0].data, 30);
	check(b, &p, false, "another service's, and the other family's");
	assert_int_equal(bpf_map_delete_elem(bf_map(b, "dp_quic"), &key), 0);
}

/* What a program remembers of the map holds until edged says that it has changed. */
static void test_id_when_given_to_another_then_followed(void **state)
{
	struct bf *b = *state;
	struct pkt_spec p;

	bf_need(b);
	p = packet(4, forms[0].data, 30);
	check(b, &p, true, "named");
	name(b, 4, ID, BF_SVC_EXACT4);
	check(b, &p, false, "named anew: the owner of the row");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_id_when_given_to_another_then_followed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_form_when_servers_id_then_named_backend, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_real_packets_when_servers_id_then_named_backend, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short_when_client_moves_then_same_backend,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_named_when_not_up_then_hash, setup, teardown),
		cmocka_unit_test_setup_teardown(test_named_when_table_empty_then_served, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_other_services_and_families_when_same_id_then_hash, setup, teardown),
	};

	return cmocka_run_group_tests_name("quic", tests, bf_group_setup, bf_group_teardown);
}
