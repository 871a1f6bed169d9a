/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/edgectl/edgectl.h"

static const char *flags(const msgpack_object *b)
{
	char cause[ECTL_TEXT_MAX];

	if (!strcmp(ectl_text(b, "cause", cause), "stale"))
		return " (stale)";
	if (ectl_bool(b, "is_overridden"))
		return " (drained)";
	return ectl_bool(b, "is_draining") ? " (draining)" : "";
}

static const char *slow(const msgpack_object *b, char buf[ECTL_TEXT_MAX])
{
	unsigned long long pct = ectl_uint(b, "share_pct");

	buf[0] = 0;
	if (pct < 100)
		snprintf(buf, ECTL_TEXT_MAX, ", %llu %% of it: it starts slowly", pct);
	return buf;
}

static const char *quic_id(const msgpack_object *b, char buf[ECTL_TEXT_MAX])
{
	if (!ectl_text(b, "quic_id", buf)[0])
		snprintf(buf, ECTL_TEXT_MAX, "none: its own is another's");
	return buf;
}

void ectl_show_backends(const msgpack_object *r, const char *indent)
{
	static const char *const heads[] = {"BACKEND", "REGION", "HEALTH",     "SINCE",
					    ">WEIGHT", "USE",	 "CHECK SAYS", NULL};
	static const char *const wide[] = {"BACKEND", "REGION",	 "HEALTH",     "SINCE", ">WEIGHT",
					   "USE",     "QUIC ID", "CHECK SAYS", NULL};
	struct ectl_table *t = ectl_table_new(ectl_is_wide ? wide : heads);
	char text[ECTL_TEXT_MAX], age[32];

	for (size_t i = 0; i < ectl_count(r, "backends"); i++) {
		const msgpack_object *b = ectl_at(r, "backends", i);

		ectl_cell(t, "%s", ectl_text(b, "spec", text));
		ectl_cell(t, "%s%s", ectl_text(b, "region", text),
			  ectl_bool(b, "is_summary") ? " (by summary)" : "");
		ectl_cell(t, "%s%s", ectl_text(b, "health", text), flags(b));
		ectl_cell(t, "%s", ectl_ago(b, "changed_ms", age));
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(b, "weight"));
		ectl_cell(t, "%s", ectl_text(b, "use", text));
		if (ectl_is_wide)
			ectl_cell(t, "%s", quic_id(b, text));
		ectl_cell(t, "%s", ectl_text(b, "why", text));
	}
	ectl_table_print(t, indent);
}

static void show_list(const msgpack_object *r)
{
	if (ectl_count(r, "backends"))
		ectl_show_backends(r, "");
	else
		puts("no backends");
}

static int check_add(struct ctl_args *a, struct err *e)
{
	struct model_backend b;

	return ctl_args_backend(a, &b, e);
}

static int check_set(struct ctl_args *a, struct err *e)
{
	return a->has & CTL_BIT(weight)
		       ? 0
		       : err_set(e, -EINVAL, "backend set: --weight: missing: nothing to change");
}

void ectl_fill_author(struct ctl_args *a)
{
	const char *sudo = getenv("SUDO_USER");
	const struct passwd *pw = getpwuid(getuid());

	snprintf(a->author, sizeof(a->author), "%s",
		 sudo && sudo[0] ? sudo
		 : pw		 ? pw->pw_name
				 : "");
	if (!a->author[0])
		snprintf(a->author, sizeof(a->author), "uid %u", (unsigned)getuid());
	a->has |= CTL_BIT(author);
}

static int fill_author(struct ctl_args *a, struct err *e)
{
	(void)e;
	ectl_fill_author(a);
	return 0;
}

/* "3.2 ms, 2s ago, the 4th like it; next in 700 ms" */
static void show_checked(const msgpack_object *b)
{
	const msgpack_object *c = ectl_get(b, "checked");
	char text[ECTL_TEXT_MAX], age[32], next[40] = "under way";

	if (!c || c->type != MSGPACK_OBJECT_MAP)
		return;
	if (!ectl_bool(c, "is_under_way"))
		snprintf(next, sizeof(next), "in %llu ms",
			 (unsigned long long)ectl_uint(c, "next_ms"));
	if (ectl_text(c, "output", text)[0])
		ectl_line("output    %s", text);
	if (ectl_uint(c, "streak"))
		ectl_line("checked   %s, took %.1f ms, %s, %llu in a row; next %s",
			  ectl_ago(c, "ended_ms", age), (double)ectl_uint(c, "took_us") / 1000,
			  ectl_text(c, "last", text), (unsigned long long)ectl_uint(c, "streak"),
			  next);
	else
		ectl_line("checked   not yet; next %s", next);
}

static void show_one(const msgpack_object *r)
{
	const msgpack_object *b = ectl_at(r, "backends", 0);
	char text[ECTL_TEXT_MAX], age[32];

	ectl_line("backend   %s", ectl_text(b, "spec", text));
	ectl_line("region    %s", ectl_text(b, "region", text));
	ectl_line("health    %s%s, since %s", ectl_text(b, "health", text), flags(b),
		  ectl_ago(b, "changed_ms", age));
	ectl_line("check     %s", ectl_text(b, "check", text));
	if (ectl_text(b, "why", text)[0])
		ectl_line("it says   %s", text);
	show_checked(b);
	if (ectl_text(b, "watch", text)[0])
		ectl_line("watched   %s", text);
	if (!strcmp(ectl_text(b, "cause", text), "others"))
		ectl_line("said by   other nodes: its own is headless");
	else if (!strcmp(text, "stale"))
		ectl_line("said by   nobody now: its node is headless, and no other reaches it");
	else if (text[0])
		ectl_line("out by    %s", text);
	ectl_line("weight    %llu%s", (unsigned long long)ectl_uint(b, "weight"), slow(b, text));
	ectl_line("use       %s", ectl_text(b, "use", text));
	ectl_line("ports     %s", ectl_text(b, "ports", text)[0] ? text : "all");
	ectl_line("quic id   %s", quic_id(b, text));
}

#define SPEC "[NODE/]SERVICE/ADDR:PORT"
#define WATCHED(of, what, text)                                                                    \
	{                                                                                          \
		.name = of, .arg = CTL_A_watched, .puts = of ":", .value = what, .help = text      \
	}

const struct ectl_command ectl_backend_commands[] = {
	{.noun = "backend",
	 .verb = "add",
	 .method = "backend.add",
	 .help = "Add a backend of this node: where an instance of a service listens. Its PORT "
		 "stands for the service's "
		 "lowest port, or for the lowest of its part.",
	 .positional = {{"SERVICE", CTL_A_service, false}, {"ADDR:PORT", CTL_A_addr, false}},
	 .option =
		 {{"ports", CTL_A_ports, NULL, "LO-HI",
		   "part of the service's ports that it takes (those that nobody takes a part of)",
		   false},
		  {"weight", CTL_A_weight, NULL, "W", "share of new flows, 1..1000 (100)", false},
		  {"check", CTL_A_check, NULL, "SPEC",
		   "none, tcp, udp, http, https, dns or exec with options: "
		   "tcp:interval=1s,fall=3,\n"
		   "                            http:path=/health,status=200, dns:name=a.example, "
		   "exec:run=PROGRAM (none); man edgectl",
		   false},
		  {"quic-id", CTL_A_quic_id, NULL, "HEX",
		   "8 hex digits: server id in QUIC connection ids (a hash of the backend)", false},
		  WATCHED("pid", "N", "take it out at once when this process ends"),
		  WATCHED("pidfile", "PATH", "when the process that the file names does"),
		  WATCHED("unit", "NAME", "when this systemd service has no process any more"),
		  WATCHED("cgroup", "PATH", "when this control group has none")},
	 .check = check_add,
	 .show = ectl_show_text},
	{.noun = "backend",
	 .verb = "list",
	 .method = "backend.list",
	 .help = "Backends of all nodes, their health, and whether this node's region uses them.",
	 .positional = {{"SERVICE", CTL_A_service, .is_optional = true}},
	 .show = show_list,
	 .has_wide = true},
	{.noun = "backend",
	 .verb = "show",
	 .method = "backend.show",
	 .help = "One backend, and the server id that its QUIC server must put into connection "
		 "ids. "
		 "Without NODE/ it is one of this node.",
	 .positional = {{SPEC, CTL_A_spec, .is_optional = false}},
	 .show = show_one},
	{.noun = "backend",
	 .verb = "rm",
	 .method = "backend.rm",
	 .help = "Remove a backend of this node.",
	 .positional = {{SPEC, CTL_A_spec, false}},
	 .show = ectl_show_text},
	{.noun = "backend",
	 .verb = "set",
	 .method = "backend.set",
	 .help = "Change the weight of a backend of this node. Flows that are up stay where they "
		 "are.",
	 .positional = {{SPEC, CTL_A_spec, false}},
	 .option = {{"weight", CTL_A_weight, NULL, "W", "share of new flows, 1..1000", false}},
	 .check = check_set,
	 .show = ectl_show_text},
	{.noun = "backend",
	 .verb = "drain",
	 .method = "backend.drain",
	 .help = "Give a backend no new flows; those that are up go on. Without NODE/ it is one of "
		 "this node.",
	 .positional = {{SPEC, CTL_A_spec, false}},
	 .option = {{"reason", CTL_A_reason, NULL, "TEXT", "why, for those who ask later", false}},
	 .check = fill_author,
	 .show = ectl_show_text},
	{.noun = "backend",
	 .verb = "undrain",
	 .method = "backend.undrain",
	 .help = "Let a drained backend serve again.",
	 .positional = {{SPEC, CTL_A_spec, false}},
	 .check = fill_author,
	 .show = ectl_show_text},
	{0},
};
