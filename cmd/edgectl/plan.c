/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>

#include "cmd/edgectl/edgectl.h"

static double percent(const msgpack_object *o, const char *key)
{
	return (double)ectl_uint(o, key) / 10;
}

static void show_entry(const msgpack_object *s)
{
	static const char *const heads[] = {"WHERE", ">BEFORE", ">AFTER", NULL};
	struct ectl_table *t = ectl_table_new(heads);
	char text[ECTL_TEXT_MAX];

	ectl_line("service %s, IPv%u: %s%.1f %% of new flows go elsewhere",
		  ectl_text(s, "service", text), (unsigned)ectl_uint(s, "family"),
		  ectl_bool(s, "is_lost") ? "NOTHING SERVES IT ANY MORE; " : "",
		  percent(s, "moved"));
	for (size_t i = 0; i < ectl_count(s, "regions"); i++) {
		const msgpack_object *r = ectl_at(s, "regions", i);

		ectl_cell(t, "region %s", ectl_text(r, "region", text));
		ectl_cell(t, "%.1f %%", percent(r, "before"));
		ectl_cell(t, "%.1f %%", percent(r, "after"));
	}
	for (size_t i = 0; i < ectl_count(s, "backends"); i++) {
		const msgpack_object *b = ectl_at(s, "backends", i);

		ectl_cell(t, "%s", ectl_text(b, "spec", text));
		ectl_cell(t, "%.1f %%", percent(b, "before"));
		ectl_cell(t, "%.1f %%", percent(b, "after"));
	}
	ectl_table_print(t, "  ");
}

static void show(const msgpack_object *r)
{
	char region[ECTL_TEXT_MAX];

	ectl_line("as region %s would route it, at %u %% of today's load; nothing has changed",
		  ectl_text(r, "region", region), (unsigned)ectl_uint(r, "load"));
	for (size_t i = 0; i < ectl_count(r, "services"); i++)
		show_entry(ectl_at(r, "services", i));
	if (!ectl_count(r, "services"))
		puts("nothing would happen");
}

const struct ectl_command ectl_plan_commands[] = {
	{.noun = "plan",
	 .method = "plan",
	 .help = "What would happen if these died, computed by the route function on today's "
		 "state. "
		 "Clients of other regions: ask an edge there.",
	 .option = {{.name = "kill",
		     .arg = CTL_A_kill,
		     .value = "WHAT",
		     .help = "region:NAME, node:NAME or backend:NODE/SERVICE/ADDR:PORT",
		     .is_repeatable = true},
		    {"load", CTL_A_load, NULL, "PERCENT", "so much more traffic than today",
		     false}},
	 .show = show},
	{0},
};
