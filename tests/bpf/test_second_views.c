/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Three nodes whose tables disagree in every way: each is edge and worker, with its own indexes, rows, backends, tokens, node
 * states and numbers, drawn anew every few packets, while flow tables live on. The test carries each packet from program to
 * program until it ends. It always does: after six mesh hops at most, with one reason per program, never at another
 * service's backend; and what is delivered can be answered, through the edge it came by. SEED=n repeats a run. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/bpf_fixture.h"

#define ACT_SHOT 2u

#define NODES 3u
#define PACKETS 12000u
#define PER_VIEW 40u
#define HOPS_MAX 6u

static const struct service {
	uint32_t idx; /* service, and its token slot on every node */
	int family;
	const char *vip;
	uint16_t port;
} services[] = {
	{BF_SVC_EXACT4, 4, "192.0.2.10", 53},
	{BF_SVC_EXACT6, 6, "2001:db8::10", 53},
	{BF_SVC_HOST4, 4, "192.0.2.12", 80},
	{BF_SVC_HOST6, 6, "2001:db8::12", 80},
};
#define SERVICES (sizeof(services) / sizeof(*services))

static struct bf *nodes[NODES];
static uint16_t uses[NODES][SERVICES]; /* use counts as they are */
static bool are_numbers_right;
static uint64_t rng;

static uint32_t draw(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 33) % below;
}

static bool chance(uint32_t pct)
{
	return draw(100) < pct;
}

/* Index of node m in n's tables. */
static uint32_t idx_of(uint32_t n, uint32_t m)
{
	return 1 + (m + n) % NODES;
}

static uint32_t backend_of(uint32_t s, uint32_t m)
{
	return 1 + s * NODES + m;
}

static const char *text(const char *format, uint32_t a, uint32_t b)
{
	static char buf[8][48];
	static unsigned at;

	at = (at + 1) % 8;
	snprintf(buf[at], sizeof(buf[at]), format, a, b);
	return buf[at];
}

static const char *app_addr(uint32_t s, uint32_t n)
{
	return text(services[s].family == 4 ? "10.0.%u.%u" : "fd00:0:%u::%u", s, n + 1);
}

static void put(uint32_t n, const char *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(bf_map(nodes[n], map), key, value, BPF_ANY))
		fail_msg("%s: %s", map, strerror(errno));
}

/* ---- Views ---- */

static void view_nodes(uint32_t n)
{
	struct dp_self self = bf_self();
	struct dp_host host = bf_host();

	self.node_num = 1000 * (n + 1);
	self.node_idx = idx_of(n, n);
	bf_set_self(nodes[n], &self);
	bf_addr(text("10.99.0.%u%.0u", n + 1, 0), host.mesh_addr4);
	bf_addr(text("fd99::%u%.0u", n + 1, 0), host.mesh_addr6);
	bf_set_host(nodes[n], &host);
	for (uint32_t m = 0; m < NODES; m++) {
		uint32_t idx = idx_of(n, m), num = 1000 * (m + 1), at = idx;
		struct dp_node node = {.state = n == m || chance(85), .node_num = num};
		struct dp_addr_key known;

		node.flags = n == m ? DP_NODE_SELF : 0;
		bf_addr(text(m == 2 ? "fd99::%u%.0u" : "10.99.0.%u%.0u", m + 1, 0), node.addr);
		put(n, "dp_node", &idx, &node);
		bf_addr(text("10.99.0.%u%.0u", m + 1, 0), known.addr);
		put(n, "dp_known", &known, &idx);
		bf_addr(text("fd99::%u%.0u", m + 1, 0), known.addr);
		put(n, "dp_known", &known, &idx);
		if (!are_numbers_right && chance(20))
			at = 1 + draw(NODES);
		put(n, "dp_num", &num, &at);
		if (chance(5))
			bpf_map_delete_elem(bf_map(nodes[n], "dp_num"), &num);
	}
}

static void view_backends(uint32_t n, uint32_t s)
{
	for (uint32_t m = 0; m < NODES; m++) {
		uint32_t idx = backend_of(s, m), use = uses[m][s];
		uint32_t slot = services[s].idx, node = chance(95) ? m : draw(NODES);
		uint64_t word;

		if (chance(15))
			use = draw(1024);
		if (chance(5))
			slot = services[draw(SERVICES)].idx;
		word = DP_BE_WORD(chance(85) ? DP_BE_UP : DP_BE_DEAD, idx_of(n, node),
				  DP_TOKEN(slot, use));
		put(n, "dp_backend", &idx, &word);
	}
}

static void view_service(uint32_t n, uint32_t s)
{
	uint32_t at = bf_row_of(services[s].idx), of = chance(97) ? s : draw(SERVICES);
	struct dp_row row = {.owner = backend_of(of, draw(NODES)),
			     .prev = chance(70) ? backend_of(of, draw(NODES)) : 0};
	struct dp_local local = bf_local(BF_SVC_HOST4);
	struct dp_svc svc = {.table = DP_TABLE(at, 5),
			     .rows = 1,
			     .port_lo = services[s].port,
			     .family = (uint8_t)services[s].family,
			     .flags = chance(60) ? DP_SVC_MOVES : 0,
			     .hop_pps = chance(10) ? 1 : 0};

	if (chance(70))
		svc.local_slot = 1 + services[chance(90) ? s : draw(SERVICES)].idx;
	put(n, "dp_rows", &at, &row);
	at = services[s].idx;
	put(n, "dp_svc", &at, &svc);
	if (chance(5))
		uses[n][s] = (uint16_t)((uses[n][s] + 1) & 1023);
	bf_addr(app_addr(s, n), local.addr);
	local.svc_idx = services[s].idx;
	local.port = (uint16_t)(7000 + s);
	local.use_count = uses[n][s];
	local.backend_idx = chance(90) ? backend_of(s, n) : 0;
	local.live = chance(90);
	bf_set_local(nodes[n], services[s].idx, &local);
}

/* Where pointers are kept. */
static void view_meet(uint32_t n)
{
	for (uint32_t row = 0; row < DP_MEET_ROWS; row++) {
		uint32_t idx = draw(NODES + 1);

		put(n, "dp_meet", &row, &idx);
	}
}

static void views_draw(void)
{
	are_numbers_right = chance(50);
	for (uint32_t n = 0; n < NODES; n++) {
		view_nodes(n);
		view_meet(n);
		for (uint32_t s = 0; s < SERVICES; s++) {
			view_backends(n, s);
			view_service(n, s);
		}
	}
}

/* ---- Programs ---- */

static uint64_t *counts_of(uint32_t n)
{
	static uint64_t *now;
	static uint32_t keys[DP_REASON_SLOTS];
	static size_t cpus;
	uint32_t count = DP_REASON_SLOTS, next;
	LIBBPF_OPTS(bpf_map_batch_opts, o);

	if (!now) {
		cpus = (size_t)libbpf_num_possible_cpus();
		now = calloc(cpus * DP_REASON_SLOTS, sizeof(*now));
	}
	assert_non_null(now);
	if (bpf_map_lookup_batch(bf_map(nodes[n], "dp_reason"), NULL, &next, keys, now, &count,
				 &o) &&
	    errno != ENOENT)
		fail_msg("dp_reason: %s", strerror(errno));
	for (uint32_t r = 0; r < DP_REASON_SLOTS; r++) {
		uint64_t sum = 0;

		for (size_t c = 0; c < cpus; c++)
			sum += now[r * cpus + c];
		now[r] = sum;
	}
	return now;
}

/* One program on a node; frame and *len become what came out. Returns its reason: exactly one. */
static uint32_t run(uint32_t n, enum bf_prog prog, uint8_t *frame, size_t *len,
		    uint32_t *ret_retval)
{
	static uint64_t before[NODES][DP_REASON_SLOTS];
	uint8_t out[PKT_MAX];
	uint32_t reason = DP_REASON_SLOTS;
	uint64_t *now, total = 0;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_out = out,
		    .data_size_in = (uint32_t)*len, .data_size_out = sizeof(out), .repeat = 1);

	if (bpf_prog_test_run_opts(bf_program_fd(nodes[n], prog), &o))
		fail_msg("test run: %s", strerror(errno));
	memcpy(frame, out, o.data_size_out);
	*len = o.data_size_out;
	*ret_retval = o.retval;
	now = counts_of(n);
	for (uint32_t r = 0; r < DP_REASON_SLOTS; r++) {
		if (now[r] != before[n][r])
			reason = r;
		total += now[r] - before[n][r];
	}
	memcpy(before[n], now, sizeof(before[n]));
	assert_int_equal(total, 1);
	return reason;
}

/* Whose mesh address the frame is for; it gets the link header that it would arrive with. */
static uint32_t mesh_next(uint8_t *frame, size_t len, struct pkt_seen *ret_seen)
{
	const char *wrong = pkt_read(frame, len, ret_seen);
	bool is_v6;

	if (wrong)
		fail_msg("on the mesh: %s", wrong);
	is_v6 = strchr(ret_seen->outer_dst, ':');
	frame[12] = is_v6 ? 0x86 : 0x08;
	frame[13] = is_v6 ? 0xdd : 0x00;
	for (uint32_t m = 0; m < NODES; m++)
		if (!strcmp(ret_seen->outer_dst,
			    text(is_v6 ? "fd99::%u%.0u" : "10.99.0.%u%.0u", m + 1, 0)))
			return m;
	fail_msg("to nobody: %s", ret_seen->outer_dst);
	return 0;
}

struct tally {
	unsigned delivered, adopted, dropped, answered, hops[HOPS_MAX + 1];
	unsigned passed_on, passed_back, pointed, limited;
};

static bool is_hop(uint32_t reason)
{
	return reason == DP_R_FORWARDED || reason == DP_R_PASSED_ON || reason == DP_R_PASSED_BACK ||
	       reason == DP_R_POINTED;
}

/* The backend answers: back to the client, through the edge by which the question came. */
static void answer(uint32_t n, uint32_t edge, const struct service *svc,
		   const struct pkt_seen *asked, uint16_t client_port, struct tally *t)
{
	struct pkt_spec p = {.src = asked->dst,
			     .dst = asked->src,
			     .sport = asked->dport,
			     .dport = asked->sport,
			     .l4_proto = asked->l4_proto,
			     .tcp_flags = 0x10,
			     .payload = 20};
	uint8_t frame[PKT_MAX];
	size_t len = pkt_build(&p, frame);
	struct pkt_seen seen;
	uint32_t reason, retval, at = n;

	reason = run(n, BF_UP_OUT, frame, &len, &retval);
	if (reason == DP_R_REPLY_ENCAP) {
		at = mesh_next(frame, len, &seen);
		reason = run(at, BF_MESH_IN, frame, &len, &retval);
		assert_int_equal(reason, DP_R_REPLY_OUT);
	} else {
		assert_int_equal(reason, DP_R_REPLY_LOCAL);
	}
	if (are_numbers_right)
		assert_int_equal(at, edge);
	assert_null(pkt_read(frame, len, &seen));
	assert_string_equal(seen.src, svc->vip);
	assert_int_equal(seen.sport, svc->port);
	assert_int_equal(seen.dport, client_port);
	t->answered++;
}

static void walk(struct tally *t)
{
	static const uint8_t flags[] = {0x02, 0x10, 0x10, 0x10, 0x11, 0x04};
	uint32_t s = draw(SERVICES), edge = draw(NODES), n = edge, hops = 0, reason, retval;
	struct pkt_spec p = {.src = services[s].family == 4 ? BF_CLIENT4 : BF_CLIENT6,
			     .dst = services[s].vip,
			     .sport = (uint16_t)(40000 + draw(12)),
			     .dport = services[s].port,
			     .l4_proto = chance(50) ? IPPROTO_UDP : IPPROTO_TCP,
			     .tcp_flags = flags[draw(sizeof(flags))],
			     .payload = (uint16_t)draw(64)};
	uint8_t frame[PKT_MAX];
	size_t len = pkt_build(&p, frame);
	struct pkt_seen seen;

	reason = run(n, BF_PUB_IN, frame, &len, &retval);
	while (is_hop(reason)) {
		t->passed_on += reason == DP_R_PASSED_ON;
		t->passed_back += reason == DP_R_PASSED_BACK;
		t->pointed += reason == DP_R_POINTED;
		assert_true(++hops <= HOPS_MAX);
		n = mesh_next(frame, len, &seen);
		reason = run(n, BF_MESH_IN, frame, &len, &retval);
	}
	t->hops[hops]++;
	if (retval == ACT_SHOT) {
		t->dropped++;
		return;
	}
	t->delivered++;
	t->adopted += reason == DP_R_ADOPTED;
	t->limited += reason == DP_R_HOP_LIMITED;
	assert_true(reason == DP_R_DELIVERED_HOST || reason == DP_R_LOCAL_DELIVERED ||
		    reason == DP_R_ADOPTED || reason == DP_R_HOP_LIMITED);
	assert_null(pkt_read(frame, len, &seen));
	assert_string_equal(seen.dst, app_addr(s, n));
	assert_int_equal(seen.dport, 7000 + s);
	if (chance(60))
		answer(n, edge, &services[s], &seen, p.sport, t);
}

/* One of the nodes says that it has one of the connections. */
static void say(uint32_t n)
{
	const struct service *s = &services[draw(SERVICES)];
	struct dp_pointer_msg m = {.magic_be = htonl(DP_POINTER_MAGIC_BE)};
	struct pkt_spec p = {.src = text("10.99.0.%u%.0u", draw(NODES) + 1, 0),
			     .dst = text("10.99.0.%u%.0u", n + 1, 0),
			     .sport = 50000,
			     .dport = DP_PING_PORT,
			     .l4_proto = IPPROTO_UDP,
			     .payload = sizeof(m),
			     .data = &m};
	uint8_t frame[PKT_MAX];
	uint32_t retval, reason;
	size_t len;

	bf_addr(s->family == 4 ? BF_CLIENT4 : BF_CLIENT6, m.key.client);
	bf_addr(s->vip, m.key.vip);
	m.key.cport_be = htons((uint16_t)(40000 + draw(12)));
	m.key.vport_be = htons(s->port);
	m.key.l4_proto = IPPROTO_TCP;
	len = pkt_build(&p, frame);
	reason = run(n, BF_MESH_IN, frame, &len, &retval);
	assert_int_equal(reason, DP_R_POINTER_NOTED);
}

static void test_walk_when_views_disagree_then_it_ends_and_mixes_nothing(void **state)
{
	const char *seed = getenv("SEED");
	struct tally t = {0};

	(void)state;
	bf_need(nodes[0]);
	rng = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) << 16 ^ (uint32_t)getpid();
	print_message("SEED=%llu\n", (unsigned long long)rng);
	rng |= 1;
	for (uint32_t n = 0; n < NODES; n++)
		counts_of(n);
	for (uint32_t i = 0; i < PACKETS; i++) {
		if (i % PER_VIEW == 0)
			views_draw();
		if (chance(60))
			say(draw(NODES));
		walk(&t);
	}
	print_message(
		"%u packets: %u delivered (%u adopted, %u out of budget), %u dropped; %u answered; "
		"hops 0: %u, 1: %u, 2: %u, 3: %u, 4: %u, 5: %u, 6: %u; %u passed on, %u back, %u "
		"pointed\n",
		PACKETS, t.delivered, t.adopted, t.limited, t.dropped, t.answered, t.hops[0],
		t.hops[1], t.hops[2], t.hops[3], t.hops[4], t.hops[5], t.hops[6], t.passed_on,
		t.passed_back, t.pointed);
	/* Else it has proved nothing. */
	assert_true(t.delivered > PACKETS / 4 && t.adopted > 50 && t.hops[3] > 50 &&
		    t.passed_back > 50 && t.hops[4] > 2 && t.pointed > 10 &&
		    t.answered > PACKETS / 10);
}

static int group_setup(void **state)
{
	(void)state;
	for (uint32_t n = 0; n < NODES; n++) {
		void *b;
		int rc = bf_group_setup(&b);

		if (rc)
			return rc;
		nodes[n] = b;
		bf_setup(&b);
	}
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	for (uint32_t n = 0; n < NODES; n++)
		bf_close(nodes[n]);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_walk_when_views_disagree_then_it_ends_and_mixes_nothing),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
