/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The control socket: what it shows of a made-up mesh, and what reaches the agent. */
#include "bpf/dp_abi.h"
#include "tests/unit/ctl_clients.h"

static void test_status_when_asked_then_shows_nodes_services_backends(void **state)
{
	const char *text;

	(void)state;
	must_start();
	text = ask("status", NULL);
	must_have(text, "\"cluster\"=>\"lab\", \"self\"=>\"a1\", \"region\"=>\"ams\", "
			"\"version\"=>\"0.1.0\"");
	must_have(
		text,
		"\"name\"=>\"f1\", \"region\"=>\"fra\", "
		"\"id\"=>\"09000000000000000000000000000000\", "
		"\"addr\"=>\"10.0.0.2:7946\", \"state\"=>\"headless\", \"since_ms\"=>3200, "
		"\"heard_ms\"=>200, \"data_heard_ms\"=>nil, \"rtt_us\"=>1500, \"is_self\"=>false, "
		"\"is_summary\"=>false, \"is_removed\"=>false, "
		"\"is_edge\"=>true, \"is_worker\"=>true, \"is_drained\"=>false, "
		"\"has_forwarder\"=>true, "
		"\"is_behind\"=>true, "
		"\"behind_ms\"=>1500, \"lacks_records\"=>12, \"lacks_writers\"=>3, "
		"\"lacks_shared\"=>2, \"ahead_writers\"=>1");
	must_have(text, "\"name\"=>\"dns\", \"vips\"=>[\"192.0.2.53\", \"2001:db8::53\"], "
			"\"ports\"=>[\"udp/53\", \"tcp/53-59\"], \"hash\"=>\"5tuple\", "
			"\"policy\"=>{\"hash\"=>\"5tuple\"}, "
			"\"is_shadowed\"=>false, "
			"\"usable\"=>1, \"backends\"=>3");
	must_have(text,
		  "\"spec\"=>\"f1/dns/10.0.0.2:5300\", \"node\"=>\"f1\", \"region\"=>\"fra\"");
	must_have(text,
		  "\"health\"=>\"failing\", \"why\"=>\"connection refused\", \"changed_ms\"=>6");
	must_have(text, "\"store\"=>{\"is_broken\"=>false, \"text\"=>\"\", \"queued\"=>1, "
			"\"commits\"=>12}");
	must_have(text,
		  "\"forwarder\"=>{\"is_up\"=>true, \"text\"=>\"connected\", \"is_ready\"=>true, "
		  "\"routes_ms\"=>500, \"compute_us\"=>120, \"compute_us_max\"=>300}");
	must_have(text, "\"dgrams_in\"=>7");
	must_have(text, "\"unsealed\"=>3");
}

static void test_status_when_things_are_wrong_then_worst_comes_first(void **state)
{
	static const char *const want[] = {
		"\"problems\"=>[\"service dns (IPv6) has no usable backend: 3 known\"",
		"service web (IPv4) has no backend",
		"the made-up problem",
		"node f1 (fra) is headless for 3.2 s: edged is silent there",
		"node s1 (sin) is dead for 3.2 s: packets go elsewhere",
		"node s2 (sin) is suspect for 3.2 s: silent",
		"backend f1/dns/10.0.0.2:5300 is failing for 1.0 min: connection refused",
		"node a1 (ams) has other records than this one: it lacks 4 of 2 nodes, 1 shared, "
		"has "
		"newer ones of 3",
		"2000 deletions are remembered until node s1 (dead for 3.2 s) has seen them",
	};
	const char *text, *at;

	(void)state;
	must_start();
	fake.member[0].is_behind = true;
	fake.member[0].lacks_records = 4;
	fake.member[0].lacks_writers = 2;
	fake.member[0].lacks_shared = 1;
	fake.member[0].ahead_writers = 3;
	fake.shared = (struct gossip_shared){
		.tombstones = 2000, .is_waiting = true, .whom = fake.member[2].id};
	at = text = ask("status", NULL);
	for (size_t i = 0; i < COUNT(want); i++) {
		const char *next = strstr(at, want[i]);

		if (!next)
			fail_msg("\"%s\" is not there, or not in order:\n%s", want[i], text);
		at = next;
	}
}

static void test_status_when_regions_are_known_by_summaries_then_shows_them(void **state)
{
	struct gossip_region *g = &fake_region[0];
	const char *text;

	(void)state;
	*g = (struct gossip_region){
		.name = "nyc",
		.has_value = true,
		.version = {.removals = 1, .lives = 20, .marks = 300, .hash = {0xab}},
		.len = 1234,
		.value_ms = 1,
		.live_count = 7,
		.down = {{0xca, 0xfe, 1, 2}},
		.down_count = 1,
		.senders = {{.name = "nyc-1", .counts = true}},
		.sender_count = 1};
	fake_region_count = 1;
	must_start();
	text = ask("status", NULL);
	fake_region_count = 0;
	must_have(text,
		  "\"regions\"=>[{\"name\"=>\"nyc\", \"is_own\"=>false, \"state\"=>\"alive\"");
	must_have(text,
		  "\"bytes\"=>1234, \"version\"=>\"1.20.300.ab000000\", \"is_applied\"=>true");
	must_have(text, "\"nodes\"=>2, \"services\"=>1, \"ways\"=>2");
	must_have(text, "\"live\"=>7, \"down\"=>[\"cafe0102\"], \"is_behind\"=>false");
	must_have(text, "\"senders\"=>[{\"name\"=>\"nyc-1\"");
}

static void test_lists_when_asked_then_show_their_part(void **state)
{
	struct ctl_args a = {0};

	(void)state;
	must_start();
	must_have(ask("node.list", NULL), "{\"nodes\"=>[{\"name\"=>\"a1\"");
	set(&a, "node.show", CTL_A_name, "f1");
	must_have(ask("node.show", &a),
		  "\"findings\"=>[\"node f1 (fra) is half dead: it stands still for a part of the "
		  "time\"], \"says\"=>[], \"said\"=>[{\"node\"=>\"a1\", \"cause\"=>\"does not "
		  "hear it\", \"for_ms\"=>5000}], \"regions\"=>[], \"stall_pct\"=>30, "
		  "\"row_ms\"=>2000}");
	a = (struct ctl_args){0};
	set(&a, "node.show", CTL_A_name, "x1");
	must_refuse("node.show", &a, -ENOENT, "no node is called x1");
	a = (struct ctl_args){0};
	must_have(ask("service.list", NULL),
		  "\"regions\"=>[{\"region\"=>\"sin\", \"usable\"=>0, \"backends\"=>1}, "
		  "{\"region\"=>\"fra\", \"usable\"=>0, \"backends\"=>1}, "
		  "{\"region\"=>\"ams\", \"usable\"=>1, \"backends\"=>1}]");
	must_have(ask("backend.list", NULL), "\"spec\"=>\"s1/dns/10.0.0.3:5300\"");
	/* What the other family's table says of them is no news. */
	assert_null(strstr(ask("backend.list", NULL), route_why_text(ROUTE_OTHER_FAMILY)));
	set(&a, "backend.list", CTL_A_service, "web");
	must_have(ask("backend.list", &a), "{\"backends\"=>[]}");
	a = (struct ctl_args){0};
	set(&a, "backend.list", CTL_A_service, "nothing");
	must_refuse("backend.list", &a, -ENOENT, "there is no service nothing");
}

static void test_route_show_when_asked_then_says_who_and_why_not(void **state)
{
	struct ctl_args a = {0};
	const char *text;

	(void)state;
	must_start();
	set(&a, "route.show", CTL_A_service, "dns");
	text = ask("route.show", &a);
	must_have(text, "\"family\"=>4, \"vips\"=>[\"192.0.2.53\"], \"rows\"=>251");
	must_have(text, "{\"spec\"=>\"a1/dns/10.0.0.1:5300\", \"node\"=>\"a1\", "
			"\"region\"=>\"ams\", \"tier\"=>0, "
			"\"is_used\"=>true");
	must_have(text, "\"rows\"=>251}");
	must_have(text, route_why_text(ROUTE_UNHEALTHY));
	must_have(text, route_why_text(ROUTE_NODE_DOWN));
	must_have(text, route_why_text(ROUTE_OTHER_FAMILY));
	a = (struct ctl_args){0};
	set(&a, "route.show", CTL_A_service, "nothing");
	must_refuse("route.show", &a, -ENOENT, "there is no service nothing");
}

static void test_stats_when_no_maps_then_says_so(void **state)
{
	(void)state;
	must_start();
	must_have(ask("stats", NULL),
		  "\"is_forwarding\"=>false, \"text\"=>\"connected\", \"reasons\"=>[]");
}

static void test_stats_when_maps_then_counts(void **state)
{
	const char *text;

	(void)state;
	fake.has_maps = true;
	must_start();
	text = ask("stats", NULL);
	must_have(text, "\"is_drop\"=>true, \"packets\"=>99");
	must_have(text, "{\"service\"=>\"dns\", \"family\"=>6, \"packets\"=>6, \"bytes\"=>600}");
	must_have(text, "{\"spec\"=>\"s1/dns/10.0.0.3:5300\", \"packets\"=>8, \"bytes\"=>800}");
	assert_null(strstr(text, "web"));
}

static void make_filters(void)
{
	static const struct {
		const char *service, *prefix;
		uint8_t verb;
	} row[] = {{"web", "192.0.2.0/24", DP_FILTER_DENY},
		   {"dns", "2001:db8::/32", DP_FILTER_ALLOW},
		   {"", "203.0.113.0/24", DP_FILTER_DENY}};

	for (size_t i = 0; i < COUNT(row); i++) {
		fake.filter[i] = (struct model_filter){.verb = row[i].verb, .why = "so"};
		snprintf(fake.filter[i].service, MODEL_NAME_MAX, "%s", row[i].service);
		ip_parse_prefix(row[i].prefix, &fake.filter[i].prefix);
	}
	fake.filter_count = COUNT(row);
}

static void test_show_when_asked_then_one_and_what_belongs_to_it(void **state)
{
	struct ctl_args a = {0};
	const char *text;

	(void)state;
	must_start();
	make_filters();
	assert_int_equal(model_policy_set(&fake.service[0], "source_pps=9", NULL), 0);
	fake.backend[1].backend.quic_id = 0xa1b2c3d4;
	set(&a, "service.show", CTL_A_name, "dns");
	text = ask("service.show", &a);
	must_have(text, "\"policy\"=>{\"hash\"=>\"5tuple\", \"source_pps\"=>9}");
	must_have(text, "\"filters\"=>[{\"service\"=>\"dns\", \"prefix\"=>\"2001:db8::/32\", "
			"\"verb\"=>\"allow\", \"why\"=>\"so\", \"author\"=>\"\"}]");
	must_have(text, "\"quic_id\"=>\"a1b2c3d4\"");
	assert_null(strstr(text, "\"web\""));
	a = (struct ctl_args){0};
	set(&a, "service.show", CTL_A_name, "nope");
	must_refuse("service.show", &a, -ENOENT, "there is no service nope");

	a = (struct ctl_args){0};
	set(&a, "backend.show", CTL_A_spec, "f1/dns/10.0.0.2:5300");
	text = ask("backend.show", &a);
	must_have(text, "{\"backends\"=>[{\"spec\"=>\"f1/dns/10.0.0.2:5300\"");
	must_have(text, "\"quic_id\"=>\"a1b2c3d4\"");
	a = (struct ctl_args){0};
	set(&a, "backend.show", CTL_A_spec, "dns/10.0.0.1:5300"); /* of this node */
	must_have(ask("backend.show", &a), "\"spec\"=>\"a1/dns/10.0.0.1:5300\"");
	a = (struct ctl_args){0};
	set(&a, "backend.show", CTL_A_spec, "dns/10.0.0.2:5300");
	must_refuse("backend.show", &a, -ENOENT, "there is no backend dns/10.0.0.2:5300");

	text = ask("filter.list", NULL);
	must_have(text, "{\"filters\"=>[{\"service\"=>nil, \"prefix\"=>\"203.0.113.0/24\"");
	must_have(text, "\"why\"=>\"so\", \"author\"=>\"\"}, {\"service\"=>\"web\", "
			"\"prefix\"=>\"192.0.2.0/24\", \"verb\"=>\"deny\"");
	a = (struct ctl_args){0};
	set(&a, "filter.list", CTL_A_service, "*");
	assert_null(strstr(ask("filter.list", &a), "web"));
	a = (struct ctl_args){0};
	set(&a, "filter.list", CTL_A_service, "web");
	assert_null(strstr(ask("filter.list", &a), "203.0.113"));
}

/* ---- what is asked for */

static void test_verbs_when_asked_then_the_agent_gets_what_was_meant(void **state)
{
	char author[48];
	struct ctl_args a = {0};
	struct ip_addr ip;

	(void)state;
	must_start();
	set(&a, "service.add", CTL_A_name, "game");
	set(&a, "service.add", CTL_A_vips, "192.0.2.9");
	set(&a, "service.add", CTL_A_ports, "udp/5000-5099");
	set(&a, "service.add", CTL_A_policy, "hash=source");
	set(&a, "service.add", CTL_A_policy, "pps=500");
	must_have(ask("service.add", &a), "{\"text\"=>\"done\"}");
	ip_parse("192.0.2.9", &ip);
	assert_string_equal(fake.got_service.name, "game");
	assert_true(ip_equal(&fake.got_service.vip[0], &ip));
	assert_int_equal(fake.got_service.port[0].l4_proto, IPPROTO_UDP);
	assert_int_equal(fake.got_service.port[0].ports.hi, 5099);
	assert_int_equal(fake.got_service.hash, 1);
	assert_int_equal(fake.got_service.policy.pps, 500);

	a = (struct ctl_args){0};
	set(&a, "service.set", CTL_A_name, "game");
	set(&a, "service.set", CTL_A_policy, "pps=off");
	set(&a, "service.set", CTL_A_policy, "quic=on");
	must_have(ask("service.set", &a), "{\"text\"=>\"done\"}");
	assert_string_equal(fake.got_spec, "game");
	assert_int_equal(fake.got_policies, 2);
	assert_string_equal(fake.got_policy[1], "quic=on");

	a = (struct ctl_args){0};
	set(&a, "filter.add", CTL_A_verb, "allow");
	set(&a, "filter.add", CTL_A_prefix, "2001:db8::/32");
	set(&a, "filter.add", CTL_A_service, "game");
	set(&a, "filter.add", CTL_A_reason, "the office");
	set(&a, "filter.add", CTL_A_author, "ann");
	must_have(ask("filter.add", &a), "{\"text\"=>\"done\"}");
	assert_int_equal(fake.got_filter.verb, DP_FILTER_ALLOW);
	assert_int_equal(fake.got_filter.prefix.bits, 32);
	assert_string_equal(fake.got_filter.service, "game");
	assert_string_equal(fake.got_filter.why, "the office");
	snprintf(author, sizeof(author), "ann (uid %u)", getuid());
	assert_string_equal(fake.got_filter.author, author);

	a = (struct ctl_args){0};
	set(&a, "filter.rm", CTL_A_prefix, "192.0.2.7");
	set(&a, "filter.rm", CTL_A_service, "*");
	must_have(ask("filter.rm", &a), "{\"text\"=>\"done\"}");
	assert_int_equal(fake.got_filter.prefix.bits, 128);
	assert_string_equal(fake.got_filter.service, "");

	a = (struct ctl_args){0};
	set(&a, "backend.add", CTL_A_service, "game");
	set(&a, "backend.add", CTL_A_addr, "10.0.0.7:6000");
	set(&a, "backend.add", CTL_A_weight, "7");
	set(&a, "backend.add", CTL_A_check, "udp:send=text:hi");
	fake.answer = FAKE_LATER;
	must_have(ask("backend.add", &a), "done");
	assert_int_equal(fake.got_backend.port, 6000);
	assert_int_equal(fake.got_backend.weight, 7);
	assert_int_equal(fake.got_backend.check.kind, MODEL_CHECK_UDP);

	a = (struct ctl_args){0};
	set(&a, "backend.drain", CTL_A_spec, "f1/dns/10.0.0.2:5300");
	set(&a, "backend.drain", CTL_A_author, "eve");
	set(&a, "backend.drain", CTL_A_reason, "new disk");
	must_have(ask("backend.drain", &a), "done");
	assert_true(fake.got_drain);
	assert_string_equal(fake.got_spec, "f1/dns/10.0.0.2:5300");
	snprintf(author, sizeof(author), "eve (uid %u)", getuid());
	assert_string_equal(fake.got_author, author);
	assert_string_equal(fake.got_reason, "new disk");
	a.has &= ~(CTL_BIT(reason) | CTL_BIT(author));
	must_have(ask("backend.undrain", &a), "done");
	snprintf(author, sizeof(author), "uid %u", getuid());
	assert_string_equal(fake.got_author, author); /* who says nothing is known all the same */
	a.has |= CTL_BIT(author);
	snprintf(a.author, sizeof(a.author), "%s", "a-name-of-thirty-one-bytes-isit");
	must_have(ask("backend.undrain", &a), "done");
	snprintf(author, sizeof(author), " (uid %u)", getuid());
	must_have(fake.got_author, author);
	assert_false(fake.got_drain);
	assert_int_equal(fake.verbs, 8);
}

static void test_verbs_when_refused_then_code_and_sentence_come_back(void **state)
{
	struct ctl_args a = {0};

	(void)state;
	must_start();
	fake.status = -ENOENT;
	fake.text = "there is no service x";
	set(&a, "service.rm", CTL_A_name, "x");
	must_refuse("service.rm", &a, -ENOENT, "there is no service x");
	fake.answer = FAKE_LATER;
	must_refuse("service.rm", &a, -ENOENT, "there is no service x");
	a = (struct ctl_args){.has = CTL_BIT(name) | CTL_BIT(vips) | CTL_BIT(ports), .name = "Bad"};
	must_refuse("service.add", &a, -EINVAL,
		    "service add: name: got 'Bad', want 1 to 31 of a-z, 0-9 and hyphens, none at "
		    "either end");
	assert_int_equal(fake.verbs, 2);
	must_refuse("no.such", NULL, -ENOSYS, "this edged has no method of that name");
}

static void test_verbs_when_client_goes_first_then_the_answer_is_dropped(void **state)
{
	static const uint8_t rm[] = "\x94\x00\x01\xaaservice.rm\x81\xa4name\xa1x";
	int fd;

	(void)state;
	must_start();
	fake.answer = FAKE_LATER;
	fd = raw_connect();
	assert_int_equal(send(fd, rm, sizeof(rm) - 1, 0), sizeof(rm) - 1);
	close(fd);
	/* Another is served, after it. */
	for (unsigned i = 0; fake.pending_cb || !fake.verbs; i++) {
		assert_true(i < WAIT_MS);
		must_have(ask("node.list", NULL), "a1");
	}
}

static void test_close_when_an_answer_is_due_then_client_is_cut_off(void **state)
{
	static const uint8_t rm[] = "\x94\x00\x01\xaaservice.rm\x81\xa4name\xa1x";
	int fd;

	(void)state;
	must_start();
	fake.answer = FAKE_AT_CLOSE;
	fd = raw_connect();
	assert_int_equal(send(fd, rm, sizeof(rm) - 1, 0), sizeof(rm) - 1);
	while (!*(volatile unsigned *)&fake.verbs)
		must_have(ask("node.list", NULL), "a1");
	fake_stop();
	must_end(fd);
	assert_int_equal(access(fake.path, F_OK), -1);
}

int main(void)
{
#define LIVE(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)
	const struct CMUnitTest tests[] = {
		LIVE(test_status_when_asked_then_shows_nodes_services_backends),
		LIVE(test_status_when_things_are_wrong_then_worst_comes_first),
		LIVE(test_status_when_regions_are_known_by_summaries_then_shows_them),
		LIVE(test_lists_when_asked_then_show_their_part),
		LIVE(test_route_show_when_asked_then_says_who_and_why_not),
		LIVE(test_stats_when_no_maps_then_says_so),
		LIVE(test_stats_when_maps_then_counts),
		LIVE(test_show_when_asked_then_one_and_what_belongs_to_it),
		LIVE(test_verbs_when_asked_then_the_agent_gets_what_was_meant),
		LIVE(test_verbs_when_refused_then_code_and_sentence_come_back),
		LIVE(test_verbs_when_client_goes_first_then_the_answer_is_dropped),
		LIVE(test_close_when_an_answer_is_due_then_client_is_cut_off),
	};
#undef LIVE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
