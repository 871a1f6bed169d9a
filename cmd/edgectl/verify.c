/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* verify, wait, quarantine. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cmd/edgectl/edgectl.h"

#define WAIT_DEFAULT_S 60
#define WAIT_POLL_MS 100

/* ---- verify */

static void show_verify(const msgpack_object *r)
{
	const msgpack_object *maps = ectl_get(r, "maps");
	char text[ECTL_TEXT_MAX], name[ECTL_TEXT_MAX];

	if (!ectl_bool(maps, "is_read"))
		ectl_line("maps: not compared: %s", ectl_text(maps, "text", text));
	else if (!ectl_count(r, "differences"))
		ectl_line("maps: as in memory: %llu nodes, %llu backends, %llu services, %llu "
			  "rows, %llu VIPs",
			  (unsigned long long)ectl_uint(maps, "nodes"),
			  (unsigned long long)ectl_uint(maps, "backends"),
			  (unsigned long long)ectl_uint(maps, "services"),
			  (unsigned long long)ectl_uint(maps, "rows"),
			  (unsigned long long)ectl_uint(maps, "vips"));
	else
		puts("maps: DIFFERENT");
	for (size_t i = 0; i < ectl_count(r, "differences"); i++) {
		const msgpack_object *d = ectl_at(r, "differences", i);

		if (d->type == MSGPACK_OBJECT_STR)
			ectl_line("  %.*s", (int)d->via.str.size, d->via.str.ptr);
	}
	if (ectl_uint(r, "left_out"))
		ectl_line("  and %llu more", (unsigned long long)ectl_uint(r, "left_out"));
	for (size_t i = 0; i < ectl_count(r, "edges"); i++) {
		const msgpack_object *n = ectl_at(r, "edges", i);

		ectl_line("%s: %s", ectl_text(n, "name", name), ectl_text(n, "text", text));
	}
}

static enum ectl_exit judge_verify(const msgpack_object *r)
{
	return ectl_bool(r, "is_same") ? ECTL_OK : ECTL_REFUSED;
}

const struct ectl_command ectl_verify_commands[] = {
	{.noun = "verify",
	 .method = "verify",
	 .help = "Compare routes, memory and maps of this node, and its tables with those of its "
		 "region; 1 if anything differs.",
	 .show = show_verify,
	 .judge = judge_verify},
	{0},
};

/* ---- wait */

static void show_wait(const msgpack_object *r)
{
	if (ectl_bool(r, "is_converged"))
		ectl_line("converged: %llu nodes", (unsigned long long)ectl_uint(r, "nodes"));
	for (size_t i = 0; i < ectl_count(r, "missing"); i++) {
		const msgpack_object *d = ectl_at(r, "missing", i);

		if (d->type == MSGPACK_OBJECT_STR)
			ectl_line("%.*s", (int)d->via.str.size, d->via.str.ptr);
	}
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int run_wait(const struct ectl_line *l, struct ctl_client *c, enum ectl_exit *ret_exit,
		    struct err *e)
{
	const struct timespec pause = {.tv_nsec = WAIT_POLL_MS * 1000000L};
	uint64_t seconds = l->args.has & CTL_BIT(seconds) ? l->args.seconds : WAIT_DEFAULT_S;
	uint64_t end_ms = now_ms() + seconds * 1000;
	msgpack_unpacked result;

	for (;;) {
		int rc = ectl_call(c, "converged", &l->args, &result, e);
		bool is_there;

		if (rc)
			return rc;
		is_there = ectl_bool(&result.data, "is_converged");
		if (is_there || now_ms() >= end_ms) {
			if (l->is_json)
				ectl_print_json(ectl_to_json(&result.data));
			else
				show_wait(&result.data);
			*ret_exit = is_there ? ECTL_OK : ECTL_REFUSED;
			msgpack_unpacked_destroy(&result);
			return 0;
		}
		msgpack_unpacked_destroy(&result);
		nanosleep(&pause, NULL);
	}
}

static int check_wait(struct ctl_args *a, struct err *e)
{
	if (!(a->has & CTL_BIT(verb)))
		return err_set(e, -EINVAL, "wait: for what: missing, want --converged");
	return 0;
}

const struct ectl_command ectl_wait_commands[] = {
	{.noun = "wait",
	 .method = "converged",
	 .help = "Until all live nodes have the same records and have written their maps; 1 and "
		 "what is missing if not in time.",
	 .option = {{.name = "converged",
		     .arg = CTL_A_verb,
		     .value = "yes",
		     .help = "that is what is waited for",
		     .flag = "yes"},
		    {.name = "timeout",
		     .arg = CTL_A_seconds,
		     .value = "S",
		     .help = "for so many seconds at most (60)"}},
	 .check = check_wait,
	 .show = show_wait,
	 .run = run_wait},
	{0},
};

/* ---- quarantine */

static void show_quarantine(const msgpack_object *r)
{
	static const char *const heads[] = {"RECORD", "WRITER", "SINCE", "WHY", "IN FORCE", NULL};
	struct ectl_table *t;
	char text[ECTL_TEXT_MAX], age[32];

	if (!ectl_count(r, "records")) {
		puts("nothing is in quarantine");
		return;
	}
	t = ectl_table_new(heads);
	for (size_t i = 0; i < ectl_count(r, "records"); i++) {
		const msgpack_object *q = ectl_at(r, "records", i);

		ectl_cell(t, "%s", ectl_text(q, "spec", text));
		ectl_cell(t, "%s", ectl_text(q, "writer", text));
		ectl_cell(t, "%s", ectl_ago(q, "age_ms", age));
		ectl_cell(t, "%s", ectl_text(q, "why", text));
		ectl_cell(t, "%s", ectl_bool(q, "has_former") ? "the version before" : "nothing");
	}
	ectl_table_print(t, "");
}

const struct ectl_command ectl_quarantine_commands[] = {
	{.noun = "quarantine",
	 .verb = "list",
	 .method = "quarantine.list",
	 .help = "Records that this node does not apply: they can't be read, or edged died of "
		 "them.",
	 .show = show_quarantine},
	{.noun = "quarantine",
	 .verb = "release",
	 .method = "quarantine.release",
	 .help = "Apply one again, at once. RECORD as the list shows it.",
	 .positional = {{"RECORD", CTL_A_spec, .is_optional = false}},
	 .show = ectl_show_text},
	{0},
};
