/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* ICMP errors of backends on their way to the client. */
#include "tests/bpf/icmp_cells.h"

/* What the backend got of the client's request. */
static struct pkt_spec bare_request(const struct target *t, uint8_t proto, uint16_t cport)
{
	struct pkt_spec p = request(t, proto);

	p.dst = t->backend;
	p.dport = t->bport;
	p.sport = cport;
	return p;
}

static struct bf_in from_backend(const struct target *t, const struct kind *k, const char *from,
				 const struct pkt_spec *quote, uint16_t quote_bytes, uint8_t *msg)
{
	struct bf_in in = {.pkt = {.src = from, .dst = client(t->family)}};
	struct icmp_spec i = about(t, k, quote, quote_bytes);

	icmp_fill(&in.pkt, &i, msg);
	return in;
}

static void test_error_when_from_a_backend_then_in_the_vips_name(void **state)
{
	static const int outers[] = {4, 6, 0};
	static const uint16_t quoted[] = {0, 8, 18};
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < (TARGETS - REMOTE) * 2 * 3 * 3; n++) {
		const struct target *t = &targets[REMOTE + n % (TARGETS - REMOTE)];
		size_t rest = n / (TARGETS - REMOTE);
		uint8_t proto = protos[rest % 2], msg[PKT_MAX];
		int outer = outers[rest / 2 % 3];
		uint16_t cport, bytes = quoted[rest / 6];

		bf_setup(state);
		cport = make_flow(b, t, proto, outer);
		if (bytes)
			bytes = (uint16_t)(bytes + (t->family == 4 ? 20 : 40));
		for (size_t k = 0; k < KINDS; k++) {
			struct pkt_spec quote = bare_request(t, proto, cport);
			struct pkt_spec wanted = request(t, proto);
			/* The backend itself, or a router inside. */
			const char *from = k & 1 ? router(t->family) : t->backend;
			struct bf_in in = from_backend(t, &kinds[k], from, &quote, bytes, msg);
			struct icmp_seen seen;
			struct bf_out out;

			bf_run(b, t->hook, &in, &out);
			bf_expect_reason(b, outer ? DP_R_ICMP_BACK : DP_R_ICMP_OUT, t->vip);
			assert_string_equal(out.seen.outer_dst, outer == 4   ? "10.99.0.2"
								: outer == 6 ? "fd99::3"
									     : "");
			if (outer)
				assert_int_equal(out.seen.gre_key, DP_GRE_KEY(DP_GRE_F_REPLY, 0));
			assert_string_equal(out.seen.src, t->vip);
			assert_string_equal(out.seen.dst, client(t->family));
			seen = read_icmp(&out, t->vip);
			assert_int_equal(seen.rest, kinds[k].rest);
			expect_quote(&seen, &wanted, t->vip);
		}
	}
}

/* The host speaks for a container of its own that is gone. */
static void test_error_when_host_speaks_for_a_container_then_in_the_vips_name(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = TARGETS - 2; n < TARGETS; n++) {
		const struct target *t = &targets[n];
		uint16_t cport = make_flow(b, t, IPPROTO_TCP, 4);
		struct pkt_spec quote = bare_request(t, IPPROTO_TCP, cport);
		uint8_t msg[PKT_MAX];
		struct bf_in in = from_backend(t, &kinds[2], router(t->family), &quote, 0, msg);
		struct bf_out out;

		bf_run(b, BF_UP_OUT, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_BACK, t->vip);
		assert_string_equal(out.seen.src, t->vip);
	}
}

static void test_error_when_about_the_hosts_own_traffic_then_left_alone(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = REMOTE; n < TARGETS; n++) {
		const struct target *t = &targets[n];
		uint32_t pass = t->hook == BF_MESH_OUT ? DP_R_MESH_PASS : DP_R_PASS_NOT_OURS;
		uint16_t cport = make_flow(b, t, IPPROTO_UDP, 4);
		struct pkt_spec quote = bare_request(t, IPPROTO_UDP, cport);
		uint8_t msg[PKT_MAX];
		struct bf_in in;
		struct bf_out out;

		quote.sport++;
		in = from_backend(t, &kinds[1], t->backend, &quote, 0, msg);
		bf_run(b, t->hook, &in, &out);
		bf_expect_reason(b, pass, "another port");
		assert_int_equal(out.retval, ACT_UNSPEC);
		assert_string_equal(out.seen.src, t->backend);
		quote.sport = cport;
		in = from_backend(t, &kinds[1], t->backend, &quote, 0, msg);
		in.pkt.dst = router(t->family);
		bf_run(b, t->hook, &in, &out);
		bf_expect_reason(b, pass, "not to the client");
		in = from_backend(t, &kinds[1], t->vip, &quote, 0, msg);
		bf_run(b, t->hook, &in, &out);
		bf_expect_reason(b, pass, "from the VIP already");
		in = echo_to(client(t->family), msg, 56);
		in.pkt.src = t->backend;
		bf_run(b, t->hook, &in, &out);
		bf_expect_reason(b, pass, "the host's own ping");
	}
}

static void test_error_when_at_the_edge_then_out_to_the_client(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < TARGETS * 2 * KINDS; n++) {
		const struct target *t = &targets[n % TARGETS];
		uint8_t proto = protos[n / TARGETS % 2], msg[PKT_MAX];
		const struct kind *k = &kinds[n / TARGETS / 2];
		struct pkt_spec quote = request(t, proto);
		struct bf_in in = from_backend(t, k, t->vip, &quote, 0, msg);
		struct icmp_seen seen;
		struct bf_out out;

		through(&in.pkt, DP_GRE_KEY(DP_GRE_F_REPLY, 0), n & 1 ? 4 : 6);
		bf_run(b, BF_MESH_IN, &in, &out);
		bf_expect_reason(b, DP_R_ICMP_OUT, t->vip);
		assert_int_equal(out.retval, ACT_REDIRECT);
		assert_string_equal(out.seen.outer_src, "");
		assert_string_equal(out.seen.src, t->vip);
		assert_string_equal(out.seen.dst, client(t->family));
		seen = read_icmp(&out, t->vip);
		expect_quote(&seen, &quote, t->vip);
	}
}

static void test_error_when_wrong_at_the_edge_then_dropped(void **state)
{
	struct bf *b = *state;

	bf_need(b);
	for (size_t n = 0; n < 2; n++) {
		const struct target *t = &targets[n];
		struct pkt_spec quote = request(t, IPPROTO_UDP);
		static const struct {
			const char *name;
			uint32_t reason;
		} rows[] = {{"in another's name", DP_R_ICMP_UNKNOWN},
			    {"not to the quoted client", DP_R_ICMP_UNKNOWN},
			    {"about no service", DP_R_REPLY_NOT_SERVICE},
			    {"an echo", DP_R_ICMP_UNKNOWN}};

		for (size_t r = 0; r < 4; r++) {
			uint8_t msg[PKT_MAX];
			struct bf_in in;
			struct bf_out out;

			quote.dport = r == 2 ? 54 : t->port;
			in = from_backend(t, &kinds[1], t->vip, &quote, 0, msg);
			if (r == 0)
				in.pkt.src = router(t->family);
			if (r == 1)
				in.pkt.dst = router(t->family);
			if (r == 3)
				in = echo_to(t->vip, msg, 56);
			through(&in.pkt, DP_GRE_KEY(DP_GRE_F_REPLY, 0), 4);
			bf_run(b, BF_MESH_IN, &in, &out);
			bf_expect_reason(b, rows[r].reason, rows[r].name);
			assert_int_equal(out.retval, ACT_SHOT);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_error_when_from_a_backend_then_in_the_vips_name),
		T(test_error_when_host_speaks_for_a_container_then_in_the_vips_name),
		T(test_error_when_about_the_hosts_own_traffic_then_left_alone),
		T(test_error_when_at_the_edge_then_out_to_the_client),
		T(test_error_when_wrong_at_the_edge_then_dropped),
	};
	const char *only = getenv("T");

	if (only)
		cmocka_set_test_filter(only);
	return cmocka_run_group_tests(tests, group_setup, bf_group_teardown);
}
