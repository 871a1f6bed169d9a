/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The program edgectl, run against a made-up mesh: what it prints, what it refuses, how it ends. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/unit/ctl_fake.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define WORDS_MAX 16
#define OUT_MAX 65536

static char program[512];
static char out[OUT_MAX], err_out[OUT_MAX];

static void drain(int fd, char *buf)
{
	size_t len = 0;
	ssize_t n;

	while (len < OUT_MAX - 1 && (n = read(fd, buf + len, OUT_MAX - 1 - len)) > 0)
		len += (size_t)n;
	buf[len] = 0;
	close(fd);
}

/* Run it with these words, blanks between; its exit code. What it prints is far below a pipe's size. */
static int run(const char *line)
{
	char copy[512], *word[WORDS_MAX] = {program}, *save = NULL;
	int o[2], e[2], status, n = 1;
	pid_t pid;

	snprintf(copy, sizeof(copy), "%s", line);
	for (char *w = strtok_r(copy, " ", &save); w && n < WORDS_MAX - 1;
	     w = strtok_r(NULL, " ", &save))
		word[n++] = w;
	assert_int_equal(pipe(o) | pipe(e), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		setenv("EDGE_SOCKET", fake.path, 1);
		dup2(o[1], 1);
		dup2(e[1], 2);
		execv(program, word);
		_exit(127);
	}
	close(o[1]);
	close(e[1]);
	drain(o[0], out);
	drain(e[0], err_out);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void must_print(const char *part)
{
	if (!strstr(out, part))
		fail_msg("no \"%s\" in:\n%s%s", part, out, err_out);
}

static void must_be_built(void)
{
	if (!access(program, X_OK))
		return;
	print_message("# skipped: %s is not built: make all\n", program);
	skip();
}

static void must_start(void)
{
	struct err e = {0};

	must_be_built();
	if (fake_start(&e))
		fail_msg("%s", e.text);
}

/* ---- looking */

static void test_status_when_asked_then_problems_come_first_and_ages_show(void **state)
{
	(void)state;
	must_start();
	assert_int_equal(run("status"), 0);
	assert_string_equal(err_out, "");
	must_print("mesh lab as a1 (ams) sees it, edged 0.1.0, protocol 1\n"
		   "4 nodes: 1 alive, 1 headless, 1 suspect, 1 dead; records differ; 2 services; 3 "
		   "backends\n"
		   "\nPROBLEMS\n  ! service dns (IPv6) has no usable backend: 3 known\n");
	must_print("\n ams\n  a1 *  alive     3.2 s  -");
	must_print("\n fra\n  f1    headless  3.2 s  200 ms ago  1.5 ms  edge+worker  "
		   "10.0.0.2:7946  differ for 1.5 s");
	must_print("dns      192.0.2.53, 2001:db8::53  udp/53, tcp/53-59  5tuple     1/3  sin 0/1, "
		   "fra 0/1, ams 1/1");
	must_print("a1/dns/10.0.0.1:5300  ams     passing  1.0 min ago     100  ");
	must_print("forwarder: connected, maps filled; routes made 500 ms ago in 120 us (worst 300 "
		   "us)");
	must_print("loop: at most 0 ms late in the last 10 s (worst 0 ms); gossip: 0 B/s in, 0 B/s "
		   "out");
	assert_true(strstr(out, "PROBLEMS") < strstr(out, "NODE "));
}

static void test_commands_when_json_then_the_result_as_it_is(void **state)
{
	static const struct {
		const char *line, *key;
		size_t count;
	} row[] = {
		{"--json status", "nodes", 4},
		{"status --json", "problems", 7},
		{"node list --json", "nodes", 4},
		{"service --json list", "services", 2},
		{"backend list --json", "backends", 3},
		{"backend list web --json", "backends", 0},
		{"route show dns --json", "families", 2},
		{"stats --json", "reasons", 0},
	};

	(void)state;
	must_start();
	for (size_t i = 0; i < COUNT(row); i++) {
		json_error_t why;
		json_t *j;

		assert_int_equal(run(row[i].line), 0);
		j = json_loads(out, 0, &why);
		if (!j || json_array_size(json_object_get(j, row[i].key)) != row[i].count)
			fail_msg("%s: %s %s", row[i].line, j ? "wrong" : why.text, out);
		json_decref(j);
	}
	assert_int_equal(run("service add x --vip 192.0.2.7 --port udp/1 --json"), 0);
	must_print("{\n  \"text\": \"done\"\n}\n");
}

static void test_lists_when_asked_then_tables(void **state)
{
	(void)state;
	fake.has_maps = true;
	must_start();
	assert_int_equal(run("node list"), 0);
	must_print("  NODE  STATE     FOR    HEARD");
	assert_int_equal(run("node show a1"), 0);
	must_print("it, of f1: does not hear it, for 5.0 s\n");
	must_print("  TO REGION  ROUND TRIP  LOSS\n  fra           < 60 ms  1 to 5 %\n");
	must_print("as it said 2.0 s ago\n");
	assert_int_equal(run("node show f1"), 0);
	must_print("problem: node f1 (fra) is half dead: it stands still for a part of the time\n");
	must_print("of it, a1: does not hear it, for 5.0 s\n");
	assert_int_equal(run("node show s2"), 0);
	must_print("it has not said whom it hears\n");
	assert_int_equal(run("service list"), 0);
	must_print("web      192.0.2.80");
	assert_int_equal(run("backend list dns"), 0);
	must_print("f1/dns/10.0.0.2:5300  fra     failing  1.0 min ago     100");
	assert_int_equal(run("backend list web"), 0);
	must_print("no backends\n");
	assert_int_equal(run("route show dns"), 0);
	must_print("service dns  udp/53, tcp/53-59  as region ams routes it\n"
		   "IPv4  192.0.2.53  251 rows  table ");
	must_print("  previous abcdef01 of 30\n");
	must_print("   0  a1/dns/10.0.0.1:5300  ams     passing     100  100.0 %");
	assert_int_equal(run("stats"), 0);
	must_print("reason       99  drop  what it means\n");
	must_print("s1/dns/10.0.0.3:5300        8    800\n");
	must_print("unsealed ");
}

static void test_tables_when_text_is_hostile_then_harmless(void **state)
{
	(void)state;
	memcpy(fake.health[1].why, "\x1b[2J\xc2\x9b\xff \xe2\x82\xac\n", 13);
	must_start();
	assert_int_equal(run("backend list"), 0);
	must_print("?[2J??? \xe2\x82\xac?\n");
	assert_int_equal(run("backend list --json"), 0);
	json_t *j = json_loads(out, 0, NULL);
	assert_non_null(j);
	json_decref(j);
}

/* ---- changing */

static void test_changes_when_asked_then_reach_the_daemon(void **state)
{
	(void)state;
	must_start();
	fake.text = "accepted, not durable: the store says disk full";
	assert_int_equal(run("service add game --vip 192.0.2.9 --vip=2001:db8::9 --port "
			     "udp/5000-5099 --port tcp/80 "
			     "--policy hash=source"),
			 0);
	assert_string_equal(out, "accepted, not durable: the store says disk full\n");
	assert_string_equal(fake.got_service.name, "game");
	assert_int_equal(fake.got_service.vip_count, 2);
	assert_int_equal(fake.got_service.port_count, 2);
	assert_int_equal(fake.got_service.hash, 1);
	assert_int_equal(run("backend add game [2001:db8::7]:6000 --weight 5 --check tcp:rise=1"),
			 0);
	assert_int_equal(fake.got_backend.weight, 5);
	assert_int_equal(fake.got_backend.check.rise, 1);
	assert_int_equal(run("backend add game 10.0.0.7:6000 --ports 5000-5049"), 0);
	assert_int_equal(fake.got_backend.ports.lo, 5000);
	assert_int_equal(fake.got_backend.ports.hi, 5049);
	assert_int_equal(run("backend add game 10.0.0.7:6000 --quic-id a1b2c3d4"), 0);
	assert_int_equal(fake.got_backend.quic_id, 0xa1b2c3d4);
	assert_int_equal(run("backend add game 10.0.0.7:6000 --unit game.service"), 0);
	assert_string_equal(fake.got_backend.watch, "unit:game.service");
	assert_int_equal(run("service add quic --vip 192.0.2.9 --port udp/443 --policy quic=on "
			     "--policy pps=9"),
			 0);
	assert_true(fake.got_service.policy.is_quic && fake.got_service.policy.pps == 9);
	assert_int_equal(run("service set game pps=5 quic=on --json closed=off"), 0);
	assert_string_equal(fake.got_spec, "game");
	assert_int_equal(fake.got_policies, 3);
	assert_string_equal(fake.got_policy[2], "closed=off");
	assert_int_equal(run("filter add deny 192.0.2.0/24 --service game --why scrapers"), 0);
	assert_int_equal(fake.got_filter.prefix.bits, 120);
	assert_string_equal(fake.got_filter.why, "scrapers");
	assert_true(fake.got_filter.author[0]);
	assert_int_equal(run("filter rm 2001:db8::/32"), 0);
	assert_int_equal(fake.got_filter.prefix.bits, 32);
	assert_int_equal(run("backend drain f1/game/10.0.0.2:6000 --reason disk"), 0);
	assert_true(fake.got_drain);
	assert_string_equal(fake.got_reason, "disk");
	assert_true(fake.got_author[0]);
	assert_int_equal(run("backend undrain f1/game/10.0.0.2:6000"), 0);
	assert_false(fake.got_drain);
	assert_int_equal(run("node rm f1 --reason scrapped"), 0);
	assert_true(fake.got_drain);
	assert_string_equal(fake.got_reason, "scrapped");
	assert_int_equal(run("node restore f1"), 0);
	assert_false(fake.got_drain);
	assert_int_equal(run("backend set game/10.0.0.2:6000 --weight 250"), 0);
	assert_int_equal(fake.got_weight, 250);
	assert_int_equal(run("backend set game/10.0.0.2:6000"), 2);
	assert_int_equal(run("backend rm game/10.0.0.2:6000"), 0);
	assert_string_equal(fake.got_spec, "game/10.0.0.2:6000");
	assert_int_equal(run("service rm -- game"), 0);
	assert_string_equal(fake.got_spec, "game");
}

static void test_verify_when_maps_differ_then_names_it_and_exit_1(void **state)
{
	(void)state;
	must_start();
	assert_int_equal(run("verify"), 1);
	must_print("maps: DIFFERENT\n  dp_backend 3: other\n");
}

static void test_wait_when_time_is_up_then_names_who_is_missing_and_exit_1(void **state)
{
	(void)state;
	must_start();
	assert_int_equal(run("wait --converged --timeout 1"), 1);
	must_print("node f1 is headless\n");
}

static void test_quarantine_when_asked_then_lists_and_releases(void **state)
{
	(void)state;
	must_start();
	assert_int_equal(run("quarantine list"), 0);
	must_print("service/bad  fra-1   -      edged died of it: Segmentation fault  "
		   "the version before");
	assert_int_equal(run("quarantine release service/bad"), 0);
	must_print("released: it is applied again\n");
	assert_int_equal(run("quarantine release service/good"), 1);
	assert_non_null(strstr(err_out, "nothing of that name is in quarantine: service/good"));
}

static void test_events_when_asked_then_lines_with_what_became_of_them(void **state)
{
	(void)state;
	must_start();
	assert_int_equal(run("events"), 0);
	must_print("member   fra-1        fra-2 dead, was suspect\n");
	must_print(
		"dns/10.0.0.1:53 failing: ?[31mport unreachable  [2 edges: p50 1.5 ms, p99 2.5 ms");
	assert_int_equal(run("events --after 1"), 0);
	assert_null(strstr(out, "member"));
	assert_int_equal(run("events --count 1 --json"), 0);
	assert_null(strstr(out, "member"));
	must_print("\"p99_us\": 2500");
	assert_int_equal(run("events --after 2"), 0);
	must_print("no events\n");
}

static void test_changes_when_refused_then_exit_1_and_the_sentence(void **state)
{
	json_t *j;

	(void)state;
	must_start();
	fake.status = -ENOENT;
	fake.text = "there is no service x";
	assert_int_equal(run("service rm x"), 1);
	assert_string_equal(out, "");
	assert_string_equal(err_out, "edgectl: there is no service x\n");
	assert_int_equal(run("service rm x --json"), 1);
	j = json_loads(out, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "error"), "code")),
			 ENOENT);
	json_decref(j);
	assert_int_equal(run("route show nothing"), 1);
	assert_string_equal(err_out, "edgectl: there is no service nothing\n");
}

/* ---- usage */

static void test_usage_when_wrong_then_exit_2_and_what_was_wanted(void **state)
{
	static const struct {
		const char *line, *want;
	} row[] = {
		{"", "command: missing, want status, node, region, service, backend, route, stats, "
		     "top, trace, hist, capture, filter, verify, wait, quarantine, keys, plan or "
		     "events"},
		{"nonsense",
		 "command: got 'nonsense', want status, node, region, service, backend, route, "
		 "stats, "
		 "top, trace, hist, capture, filter, verify, wait, quarantine, keys, plan or "
		 "events"},
		{"node", "node: missing, want list, show, drain, undrain, rm or restore"},
		{"region", "region: missing, want drain or undrain"},
		{"backend frob",
		 "backend: got 'frob', want add, list, show, rm, set, drain or undrain"},
		{"status now", "status: got 'now', want no more words"},
		{"--frob status",
		 "got option '--frob', want --socket, --json, --help or --version"},
		{"status --frob", "status: got option '--frob', which it does not have"},
		{"-x status", "got option '-x', want a long one (--help shows them)"},
		{"status --socket", "--socket: value is missing"},
		{"status --socket=", "--socket: got '', want a path"},
		{"backend set dns/10.0.0.1:53",
		 "backend set: --weight: missing: nothing to change"},
		{"service rm", "service rm: NAME: missing"},
		{"service add dns", "service add: vip: want at least one"},
		{"service add dns --vip 1.2.3.4", "service add: port: want at least one"},
		{"service add dns --vip 1.2.3 --port udp/53",
		 "service add: vip: got '1.2.3', want an IPv4 or IPv6 address"},
		{"service add dns --vip 1.2.3.4 --port 53",
		 "service add: port: got '53', want udp/PORT, tcp/PORT or a range like "
		 "udp/5000-5999 of at most 16384"},
		{"service add dns --vip 1.2.3.4 --port udp/53 --policy sticky",
		 "service add: policy: got 'sticky', want KEY=VALUE with a policy's key: hash=, "
		 "pps=, ..."},
		{"service add dns --vip 1.2.3.4 --port udp/53 --policy hash=x",
		 "service add: policy hash: got 'x', want 5tuple, source or packet"},
		{"service set dns", "service set: KEY=VALUE: missing"},
		{"service set dns pps=x",
		 "service set: policy pps: got 'x', want 1..1000000000 a second, or off"},
		{"service rm dns --wide",
		 "service rm: got option '--wide', which it does not have"},
		{"filter add deny", "filter add: PREFIX: missing"},
		{"filter add 192.0.2.0/24 deny",
		 "filter add: verb: got '192.0.2.0/24', want deny or allow"},
		{"backend add dns 10.0.0.1:53 --quic-id 7",
		 "backend add: quic-id: got '7', want eight digits of 0-9 and a-f, not all zero"},
		{"backend add dns", "backend add: ADDR:PORT: missing"},
		{"backend add dns 10.0.0.1:53 --pid x",
		 "backend add: watch: got 'pid:x', want the number of a process behind pid:"},
		{"backend add dns 10.0.0.1:53 --pidfile x",
		 "backend add: watch: got 'pidfile:x', want an absolute path behind pidfile:"},
		{"backend add dns 10.0.0.1:53 --ports 5-4",
		 "backend add: ports: got '5-4', want one range like 5000-5999"},
		{"backend add dns 10.0.0.1:53 --weight 0",
		 "backend add: weight: got '0', want 1..1000"},
		{"backend add dns 10.0.0.1:53 --weight 1001",
		 "backend add: weight: got '1001', want 1..1000"},
		{"backend add dns 10.0.0.1:53 --weight 5x",
		 "backend add: weight: got '5x', want 1..1000"},
		{"backend add dns 10.0.0.1:53 --weight 5 --weight 6",
		 "backend add: weight: got '6' a second time"},
		{"backend add dns 10.0.0.1:53 --check tcp:rise=0",
		 "backend add: check: rise: got '0', want 1 to 20"},
		{"backend add dns 10.0.0.1 --weight 5",
		 "backend add: address: got '10.0.0.1', want ADDRESS:PORT, [ADDRESS]:PORT for "
		 "IPv6"},
	};
	char want[512];

	(void)state;
	must_start();
	for (size_t i = 0; i < COUNT(row); i++) {
		int rc = run(row[i].line);

		snprintf(want, sizeof(want), "edgectl: %s\nsee: edgectl ", row[i].want);
		if (rc != 2 || strncmp(err_out, want, strlen(want)) || out[0])
			fail_msg("edgectl %s: exit %d\n%s%s", row[i].line, rc, out, err_out);
	}
	assert_int_equal(fake.verbs, 0);
}

static void test_help_when_asked_then_exit_0_without_a_daemon(void **state)
{
	static const char *const line[] = {
		"--help",
		"-h",
		"status --help",
		"node list --help",
		"service add --help",
		"service list --help",
		"service rm --help",
		"backend add --help",
		"backend list --help",
		"backend rm --help",
		"backend set --help",
		"backend drain --help",
		"backend undrain --help",
		"route show --help",
		"stats --help",
	};

	(void)state;
	must_be_built();
	for (size_t i = 0; i < COUNT(line); i++) {
		assert_int_equal(run(line[i]), 0);
		must_print("usage: edgectl ");
	}
	assert_int_equal(run("--version"), 0);
	must_print("edgectl ");
	assert_int_equal(run("backend add --help"), 0);
	must_print("--weight W ");
}

static void test_connect_when_no_daemon_then_exit_3_names_the_socket(void **state)
{
	char want[256];

	(void)state;
	must_be_built();
	assert_int_equal(run("status"), 3);
	snprintf(want, sizeof(want),
		 "edgectl: can't reach edged at %s: no such socket (is edged running?)\n",
		 fake.path);
	assert_string_equal(err_out, want);
	assert_int_equal(run("--socket /nowhere/x status --json"), 3);
	must_print("\"error\"");
	assert_non_null(strstr(err_out, "/nowhere/x"));
}

static void test_completion_when_line_is_begun_then_offers_what_fits(void **state)
{
	static const struct {
		const char *line, *want;
	} row[] = {
		{"edgectl st", "status stats"},
		{"edgectl backend u", "undrain"},
		{"edgectl --json service ", "add set list show rm --json --socket --help"},
		{"edgectl service set dns clo", "closed=on closed=off"},
		{"edgectl service set dns pps=5 quic=", "on off"},
		{"edgectl filter add ", "deny allow"},
		{"edgectl filter add deny 192.0.2.0/24 --se", "--service"},
		{"edgectl filter rm 192.0.2.0/24 --service d", "dns"},
		{"edgectl route show d", "dns"},
		{"edgectl backend drain f1/dns/10.0.0.2:5", "5300"},
		{"edgectl backend drain f1/dns/10.0.0.2:5300 --r", "--reason"},
		{"edgectl service add x --policy hash=s", "source"},
		{"edgectl service add x --vip ", ""},
	};

	(void)state;
	must_start();
	for (size_t i = 0; i < COUNT(row); i++) {
		char command[1024], got[256] = "";
		FILE *f;

		snprintf(command, sizeof(command),
			 "PATH=%.*s:$PATH EDGE_SOCKET=%s bash -c 'source "
			 "packaging/edgectl.bash-completion; "
			 "COMP_LINE=\"%s\" COMP_POINT=999; _edgectl; echo \"${COMPREPLY[*]}\"'",
			 (int)(strrchr(program, '/') - program), program, fake.path, row[i].line);
		f = popen(command, "r");
		assert_non_null(fgets(got, sizeof(got), f));
		assert_int_equal(pclose(f), 0);
		got[strcspn(got, "\n")] = 0;
		if (strcmp(got, row[i].want))
			fail_msg("%s: %s", row[i].line, got);
	}
}

int main(void)
{
	const char *dir = getenv("OUT");
#define LIVE(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)
	const struct CMUnitTest tests[] = {
		LIVE(test_status_when_asked_then_problems_come_first_and_ages_show),
		LIVE(test_commands_when_json_then_the_result_as_it_is),
		LIVE(test_lists_when_asked_then_tables),
		LIVE(test_tables_when_text_is_hostile_then_harmless),
		LIVE(test_changes_when_asked_then_reach_the_daemon),
		LIVE(test_changes_when_refused_then_exit_1_and_the_sentence),
		LIVE(test_verify_when_maps_differ_then_names_it_and_exit_1),
		LIVE(test_wait_when_time_is_up_then_names_who_is_missing_and_exit_1),
		LIVE(test_quarantine_when_asked_then_lists_and_releases),
		LIVE(test_events_when_asked_then_lines_with_what_became_of_them),
		LIVE(test_usage_when_wrong_then_exit_2_and_what_was_wanted),
		LIVE(test_help_when_asked_then_exit_0_without_a_daemon),
		LIVE(test_connect_when_no_daemon_then_exit_3_names_the_socket),
		LIVE(test_completion_when_line_is_begun_then_offers_what_fits),
	};
#undef LIVE

	snprintf(program, sizeof(program), "%s/edgectl", dir ? dir : "build/std");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
