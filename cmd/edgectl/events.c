/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/edgectl/edgectl.h"

#define FOLLOW_MS 250

static void print_event(const msgpack_object *ev, bool is_following)
{
	const msgpack_object *reach = ectl_get(ev, "reach");
	char kind[ECTL_TEXT_MAX], who[ECTL_TEXT_MAX], what[ECTL_TEXT_MAX], text[ECTL_TEXT_MAX],
		when[32] = "?", tail[ECTL_TEXT_MAX + 128] = "";
	uint64_t unix_ms = ectl_uint(ev, "unix_ms");
	time_t s = (time_t)(unix_ms / 1000);
	struct tm tm;

	ectl_text(ev, "kind", kind);
	if (!is_following && !strcmp(kind, "reach"))
		return; /* stands beside the change itself */
	if (localtime_r(&s, &tm))
		strftime(when, sizeof(when), "%m-%d %H:%M:%S", &tm);
	if (strcmp(kind, "reach") != 0 && reach && reach->type == MSGPACK_OBJECT_MAP) {
		char slowest[ECTL_TEXT_MAX];

		snprintf(tail, sizeof(tail),
			 "  [%llu edges: p50 %.1f ms, p99 %.1f ms, slowest %.31s]",
			 (unsigned long long)ectl_uint(reach, "edges"),
			 (double)ectl_uint(reach, "p50_us") / 1000,
			 (double)ectl_uint(reach, "p99_us") / 1000,
			 ectl_text(reach, "slowest", slowest));
	}
	ectl_text(ev, "what", what);
	ectl_line("%s.%03u  %-8s %-12s %s%s%s%s", when, (unsigned)(unix_ms % 1000), kind,
		  ectl_text(ev, "who", who), what, what[0] ? " " : "", ectl_text(ev, "text", text),
		  tail);
}

static void show(const msgpack_object *r)
{
	for (size_t i = 0; i < ectl_count(r, "events"); i++)
		print_event(ectl_at(r, "events", i), false);
	if (!ectl_count(r, "events"))
		puts("no events");
}

static void print_new(const msgpack_object *r, bool is_json)
{
	for (size_t i = 0; i < ectl_count(r, "events"); i++) {
		const msgpack_object *ev = ectl_at(r, "events", i);

		if (is_json) {
			json_t *j = ectl_need(ectl_to_json(ev));

			json_dumpf(j, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
			putchar('\n');
			json_decref(j);
		} else {
			print_event(ev, true);
		}
	}
	fflush(stdout);
}

static int run(const struct ectl_line *l, struct ctl_client *c, enum ectl_exit *ret_exit,
	       struct err *e)
{
	const struct timespec pause = {.tv_nsec = FOLLOW_MS * 1000000};
	struct ctl_args a = l->args;
	int rc = 0;

	if (!(a.has & CTL_BIT(watch)))
		return ectl_ask_once(l, c, ret_exit, e);
	while (!ferror(stdout)) {
		msgpack_unpacked result;

		rc = ectl_call(c, "events", &a, &result, e);
		if (rc)
			break;
		print_new(&result.data, l->is_json);
		a.after = ectl_uint(&result.data, "last");
		msgpack_unpacked_destroy(&result);
		if (a.after)
			a.has = (a.has | CTL_BIT(after)) & ~CTL_BIT(count);
		nanosleep(&pause, NULL);
	}
	return rc;
}

const struct ectl_command ectl_events_commands[] = {
	{.noun = "events",
	 .method = "events",
	 .help = "What changed as this node saw it: members, health, services, drains, maps, "
		 "problems; and how long each "
		 "change of health took to get into edges' maps.",
	 .option =
		 {{.name = "follow",
		   .arg = CTL_A_watch,
		   .flag = "1",
		   .help = "go on with what happens; --json: a line each"},
		  {.name = "count", .arg = CTL_A_count, .value = "N", .help = "only the newest N"},
		  {.name = "after",
		   .arg = CTL_A_after,
		   .value = "SEQ",
		   .help = "only what came behind that one"}},
	 .show = show,
	 .run = run},
	{0},
};
