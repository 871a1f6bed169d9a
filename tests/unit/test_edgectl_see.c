/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The program edgectl, looking at a made-up data path: what it prints and writes, and how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>
#include <jansson.h>

#include "tests/unit/ctl_fake.h"

static char program[512], file[128];
static char out[65536];

/* Both outputs into `out`; the exit code. */
static int run(const char *line)
{
	char command[1024];
	size_t len;
	int status;
	FILE *f;

	snprintf(command, sizeof(command), "EDGE_SOCKET=%s %s %s 2>&1", fake.path, program, line);
	f = popen(command, "r");
	assert_non_null(f);
	len = fread(out, 1, sizeof(out) - 1, f);
	out[len] = 0;
	status = pclose(f);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void must_print(const char *part)
{
	if (!strstr(out, part))
		fail_msg("no \"%s\" in:\n%s", part, out);
}

static void must_start(void)
{
	struct err e = {0};

	if (access(program, X_OK)) {
		print_message("# skipped: %s is not built: make all\n", program);
		skip();
	}
	if (fake_start(&e))
		fail_msg("%s", e.text);
	fake.has_maps = true;
	snprintf(file, sizeof(file), "%s/a.pcapng", fake.dir);
}

static void test_trace_when_dropped_then_exit_1_and_each_step(void **state)
{
	(void)state;
	must_start();
	fake.trace = (struct dp_trace){.steps = DP_TRACE_PARSED | DP_TRACE_READY | DP_TRACE_VIP,
				       .reason = DP_R_NO_SERVICE,
				       .self_idx = fake.node[0].id.b[0]};
	assert_int_equal(run("trace udp 198.51.100.9:4444 192.0.2.53:54"), 1);
	assert_string_equal(
		out, "udp 198.51.100.9:4444 to 192.0.2.53:54\n"
		     " edge a1\n"
		     "  vip         192.0.2.53 is a VIP\n"
		     "  service     none on this protocol and port: dropped\n"
		     " dropped: no_service (to a VIP, but no service on this protocol and port)\n");
	assert_int_equal(run("--json trace udp 198.51.100.9:4444 192.0.2.53:54"), 1);
	must_print("\"reason\": \"no_service\"");
	fake.trace = (struct dp_trace){.steps = DP_TRACE_PARSED | DP_TRACE_READY,
				       .reason = DP_R_PASS_NOT_OURS};
	assert_int_equal(run("trace tcp [2001:db8::9]:1 [2001:db8::8]:2"), 0);
	must_print("2001:db8::8 is no VIP of this mesh: left to the host");
	assert_int_equal(run("trace udp 198.51.100.9:4444"), 2);
	assert_int_equal(run("trace udp 198.51.100.9:4444 nowhere"), 1);
	must_print("trace: dst: got 'nowhere', want ADDRESS:PORT");
}

static void test_hist_when_shown_then_a_bar_for_each_slot(void **state)
{
	(void)state;
	must_start();
	assert_int_equal(run("hist show"), 0);
	must_print("off; this is what was counted before\n");
	assert_int_equal(run("hist on"), 0);
	must_print("one packet in 1000 is timed");
	assert_int_equal(run("hist show"), 0);
	must_print("on: one packet in 1000 is timed");
	must_print(
		"\npub_in: 10 runs, mean 300 ns, half below 256 ns, 99 % below 512 ns\n"
		"         128 ..        255 ns             6   60.0 %  ########################\n"
		"         256 ..        511 ns             4   40.0 %  ################\n");
	assert_int_equal(run("hist off"), 0);
}

static json_t *last_line(void)
{
	char *end = strrchr(out, '}'), *line;

	assert_non_null(end);
	end[1] = 0;
	line = strrchr(out, '\n');
	return json_loads(line ? line + 1 : out, 0, NULL);
}

static void test_stats_when_watched_then_rates_between_two_looks(void **state)
{
	json_t *j, *first;

	(void)state;
	must_start();
	assert_int_equal(run("--json stats --watch=1 --count 1"), 0);
	j = last_line();
	assert_non_null(j);
	first = json_array_get(json_object_get(j, "services"), 0);
	assert_string_equal(json_string_value(json_object_get(first, "service")), "dns");
	/* the made-up counters and clock stand still */
	assert_true(json_real_value(json_object_get(first, "packets_per_s")) == 0.0);
	assert_true(json_is_real(json_object_get(first, "bytes_per_s")));
	assert_true(json_is_integer(json_object_get(j, "interval_ms")));
	json_decref(j);
	assert_int_equal(run("top --count 1"), 0);
	must_print("services: 0 packets/s, 0 bytes/s; dropped: ");
	must_print("SERVICE  FAMILY  PACKETS/S  BYTES/S  PACKETS  BYTES\n"
		   "dns      IPv4            0        0        4    400\n");
	assert_int_equal(run("stats --service web"), 0);
	assert_null(strstr(out, "dns"));
	assert_int_equal(run("stats --service nothing"), 1);
	must_print("there is no service nothing");
	assert_int_equal(run("stats --watch=0"), 2);
}

static size_t file_bytes(void)
{
	struct stat st;

	return stat(file, &st) ? 0 : (size_t)st.st_size;
}

static void test_capture_when_frames_come_then_a_file_for_its_owner(void **state)
{
	char line[256];
	struct stat st;

	(void)state;
	must_start();
	fake.frame_count = 2;
	for (size_t i = 0; i < 2; i++)
		fake.frame[i] = (struct capture_frame){.unix_ns = 1700000000000000000ull + i,
						       .rec = {.hook = DP_HOOK_XDP,
							       .reason = DP_R_NO_SERVICE,
							       .action = 1,
							       .ifindex = 1,
							       .bytes = 60,
							       .frame_bytes = 1500}};
	snprintf(line, sizeof(line), "capture %s --count 2 --every 3 --reason no_service", file);
	assert_int_equal(run(line), 0);
	must_print("capturing, until 2 packets or 60 s\n2 packets in ");
	must_print(" s, 7 more found no room\n");
	assert_int_equal(fake.capture_cfg.every, 3);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	/* section, one interface, two packets of 60 bytes */
	assert_in_range(st.st_size, 3 * 32 + 2 * 60, 4 * 1024);
}

static void test_capture_when_refused_then_an_older_file_stays(void **state)
{
	char line[256];
	size_t bytes;
	FILE *f;

	(void)state;
	must_start();
	f = fopen(file, "w");
	assert_non_null(f);
	fputs("older", f);
	fclose(f);
	bytes = file_bytes();
	fake.capture_owner = &fake; /* somebody else's */
	snprintf(line, sizeof(line), "capture %s", file);
	assert_int_equal(run(line), 1);
	assert_string_equal(out, "edgectl: a capture is going on already, since 0 s\n");
	assert_int_equal(file_bytes(), bytes);
	fake.capture_owner = NULL;
	assert_int_equal(run("capture /nowhere/at/all"), 1);
	must_print("/nowhere/at/all: No such file or directory");
	assert_int_equal(run("capture /dev/full --seconds 1"), 1);
	must_print("can't write the capture: No space left on device");
	assert_int_equal(run("capture"), 2);
}

static int teardown(void **state)
{
	(void)unlink(file); /* not every test makes one */
	return fake_teardown(state);
}

int main(void)
{
	const char *dir = getenv("OUT");
#define LIVE(f) cmocka_unit_test_setup_teardown(f, fake_setup, teardown)
	const struct CMUnitTest tests[] = {
		LIVE(test_trace_when_dropped_then_exit_1_and_each_step),
		LIVE(test_hist_when_shown_then_a_bar_for_each_slot),
		LIVE(test_stats_when_watched_then_rates_between_two_looks),
		LIVE(test_capture_when_frames_come_then_a_file_for_its_owner),
		LIVE(test_capture_when_refused_then_an_older_file_stays),
	};
#undef LIVE

	snprintf(program, sizeof(program), "%s/edgectl", dir ? dir : "build/std");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
