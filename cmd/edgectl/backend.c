/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/edgectl/edgectl.h"

static const char *flags(const msgpack_object *b)
{
	if (ectl_bool(b, "is_overridden"))
		return " (drained)";
	return ectl_bool(b, "is_draining") ? " (draining)" : "";
}

void ectl_show_backends(const msgpack_object *r, const char *indent)
{
	static const char *const heads[] = {"BACKEND", "REGION", "HEALTH",     "SINCE",
					    ">WEIGHT", "USE",	 "CHECK SAYS", NULL};
	struct ectl_table *t = ectl_table_new(heads);
	char text[ECTL_TEXT_MAX], age[32];

	for (size_t i = 0; i < ectl_count(r, "backends"); i++) {
		const msgpack_object *b = ectl_at(r, "backends", i);

		ectl_cell(t, "%s", ectl_text(b, "spec", text));
		ectl_cell(t, "%s", ectl_text(b, "region", text));
		ectl_cell(t, "%s%s", ectl_text(b, "health", text), flags(b));
		ectl_cell(t, "%s", ectl_ago(b, "changed_ms", age));
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(b, "weight"));
		ectl_cell(t, "%s", ectl_text(b, "use", text));
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

/* Who does this: the person behind sudo, if there is one. */
static int fill_author(struct ctl_args *a, struct err *e)
{
	const char *sudo = getenv("SUDO_USER");
	const struct passwd *pw = getpwuid(getuid());

	(void)e;
	snprintf(a->author, sizeof(a->author), "%s",
		 sudo && sudo[0] ? sudo
		 : pw		 ? pw->pw_name
				 : "");
	if (!a->author[0])
		snprintf(a->author, sizeof(a->author), "uid %u", (unsigned)getuid());
	a->has |= CTL_BIT(author);
	return 0;
}

#define SPEC "[NODE/]SERVICE/ADDR:PORT"

const struct ectl_command ectl_backend_commands[] = {
	{.noun = "backend",
	 .verb = "add",
	 .method = "backend.add",
	 .help = "Add a backend of this node: where an instance of a service listens. Its PORT "
		 "stands for the service's "
		 "lowest port.",
	 .positional = {{"SERVICE", CTL_A_service, false}, {"ADDR:PORT", CTL_A_addr, false}},
	 .option = {{"weight", CTL_A_weight, NULL, "W", "share of new flows, 1..1000 (100)", false},
		    {"check", CTL_A_check, NULL, "SPEC",
		     "none, tcp, udp with options: "
		     "tcp:interval=1s,timeout=500ms,rise=2,fall=2,port=8080,\n"
		     "                            udp:send=hex:00ff,expect=text:ok (none)",
		     false}},
	 .check = check_add,
	 .show = ectl_show_text},
	{.noun = "backend",
	 .verb = "list",
	 .method = "backend.list",
	 .help = "Backends of all nodes, their health, and whether this node's region uses them.",
	 .positional = {{"SERVICE", CTL_A_service, true}},
	 .show = show_list},
	{.noun = "backend",
	 .verb = "rm",
	 .method = "backend.rm",
	 .help = "Remove a backend of this node.",
	 .positional = {{SPEC, CTL_A_spec, false}},
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
