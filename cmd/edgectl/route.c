/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>

#include "cmd/edgectl/edgectl.h"

static void show_family(const msgpack_object *f)
{
	static const char *const heads[] = {">TIER",   "BACKEND", "REGION", "HEALTH",
					    ">WEIGHT", ">SHARE",  "USE",    NULL};
	uint64_t rows = ectl_uint(f, "rows"), prev_rows = ectl_uint(f, "prev_rows");
	char text[ECTL_TEXT_MAX], part[ECTL_TEXT_MAX], prev[64] = "";
	struct ectl_table *t;

	ectl_text(f, "part", part);
	if (prev_rows)
		snprintf(prev, sizeof(prev), "  previous %.8s of %llu",
			 ectl_text(f, "prev_digest", text), (unsigned long long)prev_rows);
	ectl_line("IPv%u  %s%s%s  %llu %s  table %.8s%s%s", (unsigned)ectl_uint(f, "family"),
		  ectl_join(f, "vips", (char[ECTL_TEXT_MAX]){0}), part[0] ? "  ports " : "", part,
		  (unsigned long long)rows, rows == 1 ? "row" : "rows",
		  ectl_text(f, "digest", text), prev,
		  ectl_bool(f, "is_shadowed") ? "  (shadowed by an older service)" : "");
	if (!ectl_count(f, "choices")) {
		puts("  no backends");
		return;
	}
	t = ectl_table_new(heads);
	for (size_t i = 0; i < ectl_count(f, "choices"); i++) {
		const msgpack_object *c = ectl_at(f, "choices", i);

		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(c, "tier"));
		ectl_cell(t, "%s", ectl_text(c, "spec", text));
		ectl_cell(t, "%s%s", ectl_text(c, "region", text),
			  ectl_bool(c, "is_summary") ? " (by summary)" : "");
		ectl_cell(t, "%s", ectl_text(c, "health", text));
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(c, "weight"));
		if (rows && ectl_bool(c, "is_used"))
			ectl_cell(t, "%.1f %%",
				  100.0 * (double)ectl_uint(c, "rows") / (double)rows);
		else
			ectl_cell(t, "-");
		ectl_cell(t, "%s", ectl_text(c, "use", text));
	}
	ectl_table_print(t, "  ");
}

static void show(const msgpack_object *r)
{
	char name[ECTL_TEXT_MAX], region[ECTL_TEXT_MAX], ports[ECTL_TEXT_MAX];

	ectl_line("service %s  %s  as region %s routes it", ectl_text(r, "service", name),
		  ectl_join(r, "ports", ports), ectl_text(r, "region", region));
	for (size_t i = 0; i < ectl_count(r, "families"); i++)
		show_family(ectl_at(r, "families", i));
}

const struct ectl_command ectl_route_commands[] = {
	{.noun = "route",
	 .verb = "show",
	 .method = "route.show",
	 .help = "Which backends this node's region uses now, by tier, and why not the others.",
	 .positional = {{"SERVICE", CTL_A_service, false}},
	 .show = show},
	{0},
};
