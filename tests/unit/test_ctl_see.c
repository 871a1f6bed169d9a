/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control socket: traces, histogram and captures, over an agent that is made up. */
#include <netinet/in.h>

#include "tests/unit/ctl_clients.h"

/* Nodes' and backends' indexes are the first byte of their node's id: a1, f1, s1, s2 in this order. */
static uint32_t idx(size_t node)
{
	return fake.node[node].id.b[0];
}

static struct ctl_args flow(const char *proto, const char *src, const char *dst)
{
	struct ctl_args a = {0};

	set(&a, "trace", CTL_A_proto, proto);
	set(&a, "trace", CTL_A_src, src);
	set(&a, "trace", CTL_A_dst, dst);
	return a;
}

static struct dp_trace forwarded_to(size_t node)
{
	struct dp_trace t = {.steps = DP_TRACE_PARSED | DP_TRACE_READY | DP_TRACE_VIP |
				      DP_TRACE_SVC | DP_TRACE_TABLE | DP_TRACE_OWNER |
				      DP_TRACE_FLOWS,
			     .reason = DP_R_FORWARDED,
			     .svc_idx = 4,
			     .svc_id = 'd',
			     .rows = 251,
			     .hash = 0xabcd,
			     .try_count = 1,
			     .backend_idx = idx(node),
			     .node_idx = idx(node),
			     .self_idx = idx(0)};

	t.backend_word = DP_BE_WORD(DP_BE_UP, idx(node), DP_TOKEN(7, 1));
	t.try[0] = (struct dp_trace_try){.row = 17,
					 .owner = idx(node),
					 .node_idx = idx(node),
					 .be_state = DP_BE_UP,
					 .node_state = DP_NODE_UP};
	memcpy(t.node_addr, fake.node[node].node.mesh_addr.b, 16);
	return t;
}

static void test_trace_when_forwarded_then_names_and_steps(void **state)
{
	struct ctl_args a = flow("udp", "198.51.100.9:4444", "192.0.2.53:53");
	const char *text;

	(void)state;
	must_start();
	fake.has_maps = true;
	fake.trace = forwarded_to(1);
	fake.trace.prev_idx = idx(0);
	text = ask("trace", &a);
	must_have(text, "\"proto\"=>\"udp\", \"src\"=>\"198.51.100.9:4444\", "
			"\"dst\"=>\"192.0.2.53:53\", \"node\"=>\"a1\", \"reason\"=>\"forwarded\"");
	must_have(text, "\"is_drop\"=>false, \"service\"=>\"dns\", \"family\"=>4, \"hash\"=>43981, "
			"\"row\"=>17, \"rows\"=>251, \"backend\"=>\"f1/dns/10.0.0.2:5300\", "
			"\"owner_node\"=>\"f1\", \"is_here\"=>false, "
			"\"is_by_id\"=>false, \"token\"=>16391, "
			"\"previous\"=>\"a1/dns/10.0.0.1:5300\"");
	must_have(text, "\"gate\"=>nil, \"flow\"=>{\"state\"=>\"none\"}");
	must_have(text, "\"what\"=>\"way\", \"text\"=>\"GRE to f1 (10.0.0.2), token 0x004007");
	must_have(text, "node f1 decides the rest");
	/* an IPv4 frame of UDP went to edgefwd */
	assert_int_equal(fake.traced_bytes, 14 + 20 + 8);
	assert_int_equal(fake.traced[23], IPPROTO_UDP);
	assert_int_equal(fake.traced[36] << 8 | fake.traced[37], 53);
}

static void test_trace_when_dropped_then_reason_and_where(void **state)
{
	struct ctl_args a = flow("tcp", "[2001:db8::9]:1", "[2001:db8::53]:54");
	const char *text;

	(void)state;
	must_start();
	fake.has_maps = true;
	fake.trace = (struct dp_trace){.steps = DP_TRACE_PARSED | DP_TRACE_READY | DP_TRACE_VIP |
						DP_TRACE_FLOWS,
				       .reason = DP_R_NO_SERVICE,
				       .self_idx = idx(0)};
	text = ask("trace", &a);
	must_have(text, "\"reason\"=>\"no_service\"");
	must_have(text, "\"is_drop\"=>true, \"tries\"=>[]");
	must_have(text, "none on this protocol and port: dropped");
	/* a SYN in IPv6 */
	assert_int_equal(fake.traced_bytes, 14 + 40 + 20);
	assert_int_equal(fake.traced[20], IPPROTO_TCP);
	assert_int_equal(fake.traced[14 + 40 + 13], 2);
}

static void test_trace_when_backend_is_here_then_the_flow_and_its_backend(void **state)
{
	struct ctl_args a = flow("udp", "198.51.100.9:4444", "192.0.2.53:53");
	const char *text;

	(void)state;
	must_start();
	fake.has_maps = true;
	fake.trace = forwarded_to(0);
	fake.trace.reason = DP_R_LOCAL_DELIVERED;
	fake.trace.node_flags = DP_NODE_SELF;
	/* the token names nobody: it would be dropped here, and new flows with it */
	text = ask("trace", &a);
	must_have(text, "\"reason\"=>\"token_unknown\"");
	must_have(text, "\"is_drop\"=>true");
	fake.trace.steps |= DP_TRACE_LOCAL;
	fake.trace.local_idx = idx(0);
	fake.trace.local_live = 1;
	fake.trace.local_port = 5300;
	fake.trace.flow = DP_TRACE_FLOW_ASSURED;
	fake.trace.flow_edge_idx = idx(1);
	fake.trace.flow_cport = 4445;
	text = ask("trace", &a);
	must_have(text, "\"reason\"=>\"local_delivered\"");
	must_have(text, "\"flow\"=>{\"state\"=>\"assured\", \"is_closing\"=>false, "
			"\"away_node\"=>nil, \"backend\"=>\"a1/dns/10.0.0.1:5300\", "
			"\"edge_node\"=>\"f1\", \"client_port\"=>4445, \"idle_s\"=>0}");
	must_have(text, "replies go back through f1");
	/* known to live elsewhere */
	fake.trace.flow_away_idx = idx(2);
	must_have(ask("trace", &a), "known to live on s1: passed on there");
}

static void test_trace_when_rows_and_lists_refuse_then_each_is_told(void **state)
{
	struct ctl_args a = flow("udp", "198.51.100.9:4444", "192.0.2.53:53");
	const char *text;

	(void)state;
	must_start();
	fake.has_maps = true;
	fake.trace = forwarded_to(1);
	fake.trace.try_count = 3;
	fake.trace.try[1] = fake.trace.try[0];
	fake.trace.try[1].be_state = DP_BE_DEAD;
	fake.trace.try[2] = fake.trace.try[0];
	fake.trace.try[2].node_state = DP_NODE_DOWN;
	fake.trace.steps &= ~DP_TRACE_OWNER;
	fake.trace.reason = DP_R_NO_BACKEND;
	text = ask("trace", &a);
	must_have(text, "f1/dns/10.0.0.2:5300 is dead");
	must_have(text, "f1/dns/10.0.0.2:5300 is up, but its node is down");
	must_have(text, "none of 3 rows has a usable owner");
	fake.trace.steps = (fake.trace.steps | DP_TRACE_GATE) & ~DP_TRACE_TABLE;
	fake.trace.gate_reason = fake.trace.reason = DP_R_DENIED;
	fake.trace.filter_own = DP_FILTER_DENY;
	text = ask("trace", &a);
	must_have(text, "\"gate\"=>{\"is_passing\"=>false, \"reason\"=>\"denied\", "
			"\"list_all\"=>nil, \"list_service\"=>\"deny\"}");
	must_have(text, "the list of all services says nothing, the service's own denies it");
}

static void test_trace_when_connection_id_is_given_then_who_it_names(void **state)
{
	struct ctl_args a = flow("udp", "198.51.100.9:4444", "192.0.2.53:53");
	const char *text;

	(void)state;
	must_start();
	fake.has_maps = true;
	set(&a, "trace", CTL_A_cid, "05000000070a0B0c");
	fake.trace = forwarded_to(1);
	fake.trace.svc_flags = DP_SVC_QUIC;
	must_have(ask("trace", &a), "the connection id names no backend: by the table");
	fake.trace.quic_idx = idx(0);
	must_have(ask("trace", &a),
		  "the connection id names a1/dns/10.0.0.1:5300, which is not up: by the table");
	fake.trace.quic_idx = idx(1);
	fake.trace.steps = (fake.trace.steps | DP_TRACE_BY_ID) & ~DP_TRACE_TABLE;
	fake.trace.try_count = 0;
	text = ask("trace", &a);
	must_have(text, "\"is_by_id\"=>true");
	must_have(text, "names f1/dns/10.0.0.2:5300, which is up: the table is not asked");
	assert_null(strstr(text, "\"what\"=>\"hash\""));
	/* a short header with that id */
	assert_int_equal(fake.traced_bytes, 14 + 20 + 8 + 1 + 8 + 16);
	assert_memory_equal(fake.traced + 42, "\x40\x05\0\0\0\x07\x0a\x0b\x0c", 9);
	a = flow("udp", "198.51.100.9:4444", "192.0.2.53:53");
	set(&a, "trace", CTL_A_cid, "050");
	must_refuse("trace", &a, -EINVAL, "trace: cid: got '050', want 1 to 20 bytes in hex");
	a = flow("tcp", "198.51.100.9:4444", "192.0.2.53:53");
	set(&a, "trace", CTL_A_cid, "05");
	must_refuse("trace", &a, -EINVAL, "trace: cid: want udp with it");
}

static void test_trace_when_wrong_then_refused(void **state)
{
	static const struct {
		const char *proto, *src, *dst, *text;
	} row[] = {
		{"icmp", "1.2.3.4:5", "1.2.3.4:5", "trace: proto: got 'icmp', want udp or tcp"},
		{"udp", "1.2.3.4", "1.2.3.4:5",
		 "trace: src: got '1.2.3.4', want ADDRESS:PORT, [ADDRESS]:PORT for IPv6"},
		{"udp", "1.2.3.4:5", "1.2.3.4:0",
		 "trace: dst: got '1.2.3.4:0', want ADDRESS:PORT, [ADDRESS]:PORT for IPv6"},
		{"udp", "1.2.3.4:5", "[::1]:5", "trace: got addresses of two families"},
	};
	struct ctl_args a;

	(void)state;
	must_start();
	for (size_t i = 0; i < COUNT(row); i++) {
		a = flow(row[i].proto, row[i].src, row[i].dst);
		must_refuse("trace", &a, -EINVAL, row[i].text);
	}
	a = flow("udp", "1.2.3.4:5", "1.2.3.4:5");
	must_refuse("trace", &a, -ENOTCONN, "made up");
	set(&a, "trace", CTL_A_node, "f1");
	must_refuse("trace", &a, -EINVAL, "trace: node: this is a1: run it on f1");
}

static void test_hist_when_switched_then_shows(void **state)
{
	struct ctl_args a = {0};

	(void)state;
	must_start();
	must_refuse("hist.on", NULL, -ENOTCONN, "no forwarder: made up");
	must_refuse("hist.show", NULL, -ENOTCONN, "no forwarder: made up");
	fake.has_maps = true;
	set(&a, "hist.on", CTL_A_every, "50");
	must_have(ask("hist.on", &a), "one packet in 50 is timed");
	must_have(ask("hist.show", NULL),
		  "{\"is_on\"=>true, \"every\"=>50, \"hooks\"=>[{\"hook\"=>\"pub_in\", "
		  "\"runs\"=>10, \"mean_ns\"=>300, \"p50_below_ns\"=>256, \"p99_below_ns\"=>512, "
		  "\"slots\"=>[{\"below_ns\"=>256, \"runs\"=>6}, {\"below_ns\"=>512, "
		  "\"runs\"=>4}]}]}");
	must_have(ask("hist.off", NULL), "no packet is timed");
	assert_int_equal(fake.hist_every, 0);
}

static int call_on(struct ctl_client *c, const char *method, const struct ctl_args *a, char *text,
		   size_t cap)
{
	msgpack_unpacked result;
	msgpack_sbuffer params;
	struct err e = {0};
	FILE *f;
	int rc;

	msgpack_sbuffer_init(&params);
	ctl_args_pack(a, &params);
	rc = ctl_call(c, method, &params, &result, &e);
	msgpack_sbuffer_destroy(&params);
	if (rc)
		return rc;
	f = fmemopen(text, cap, "w");
	msgpack_object_print(f, result.data);
	fclose(f);
	msgpack_unpacked_destroy(&result);
	return 0;
}

static void test_capture_when_read_then_frames_and_it_ends_with_its_client(void **state)
{
	static char text[4096];
	struct ctl_args a = {0};
	struct ctl_client *first, *second;
	struct err e = {0};

	(void)state;
	must_start();
	set(&a, "capture.start", CTL_A_reasons, "no_service");
	set(&a, "capture.start", CTL_A_reasons, "denied");
	assert_int_equal(ctl_connect(fake.path, &first, &e) | ctl_connect(fake.path, &second, &e),
			 0);
	assert_int_equal(call_on(first, "capture.start", &a, text, sizeof(text)), 0);
	must_have(text, "\"every\"=>1");
	assert_true(fake.capture_cfg.reasons[0] == (1ull << DP_R_NO_SERVICE | 1ull << DP_R_DENIED));
	fake.frame[0] = (struct capture_frame){.unix_ns = 1234,
					       .rec = {.hook = DP_HOOK_XDP,
						       .reason = DP_R_NO_SERVICE,
						       .action = 1,
						       .ifindex = 1,
						       .bytes = 3,
						       .frame_bytes = 1500,
						       .data = "abc"}};
	fake.frame_count = 1;
	a = (struct ctl_args){0};
	assert_int_equal(call_on(second, "capture.start", &a, text, sizeof(text)), CTL_REFUSED);
	assert_int_equal(call_on(second, "capture.read", &a, text, sizeof(text)), CTL_REFUSED);
	assert_int_equal(call_on(second, "capture.stop", &a, text, sizeof(text)), 0);
	assert_int_equal(call_on(first, "capture.read", &a, text, sizeof(text)), 0);
	must_have(text, "\"lost\"=>7, \"interfaces\"=>[{\"ifindex\"=>1, \"name\"=>\"lo\"}], "
			"\"frames\"=>[[1234, 0, ");
	must_have(text, ", 1, 1, false, 1500, \"abc\"]]");
	/* The client goes, and with it its capture: another one may begin, soon. */
	ctl_disconnect(first);
	for (int ms = 0; ms < WAIT_MS; ms++) {
		if (!call_on(second, "capture.start", &a, text, sizeof(text)))
			break;
		usleep(1000);
	}
	assert_int_equal(fake.captures, 2);
	assert_int_equal(call_on(second, "capture.stop", &a, text, sizeof(text)), 0);
	assert_int_equal(call_on(second, "capture.read", &a, text, sizeof(text)), CTL_REFUSED);
	ctl_disconnect(second);
	set(&a, "capture.start", CTL_A_reasons, "nothing");
	must_refuse("capture.start", &a, -EINVAL,
		    "capture: reason: got 'nothing', want one that `edgectl stats` shows");
}

int main(void)
{
#define LIVE(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)
	const struct CMUnitTest tests[] = {
		LIVE(test_trace_when_forwarded_then_names_and_steps),
		LIVE(test_trace_when_dropped_then_reason_and_where),
		LIVE(test_trace_when_backend_is_here_then_the_flow_and_its_backend),
		LIVE(test_trace_when_rows_and_lists_refuse_then_each_is_told),
		LIVE(test_trace_when_connection_id_is_given_then_who_it_names),
		LIVE(test_trace_when_wrong_then_refused),
		LIVE(test_hist_when_switched_then_shows),
		LIVE(test_capture_when_read_then_frames_and_it_ends_with_its_client),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
