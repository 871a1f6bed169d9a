/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/edgectl/edgectl.h"

struct row {
	const msgpack_object *node;
	char region[ECTL_TEXT_MAX], name[ECTL_TEXT_MAX];
};

static int by_region_and_name(const void *x, const void *y)
{
	const struct row *a = x, *b = y;
	int c = strcmp(a->region, b->region);

	return c ? c : strcmp(a->name, b->name);
}

static void put_node(struct ectl_table *t, const struct row *row)
{
	const msgpack_object *n = row->node;
	char text[ECTL_TEXT_MAX], age[32];
	bool is_edge = ectl_bool(n, "is_edge"), is_worker = ectl_bool(n, "is_worker");

	ectl_cell(t, "%s%s", row->name, ectl_bool(n, "is_self") ? " *" : "");
	ectl_cell(t, "%s%s%s", ectl_text(n, "state", text),
		  ectl_bool(n, "is_drained") ? ", drained" : "",
		  ectl_bool(n, "is_removed") ? ", removed" : "");
	ectl_cell(t, "%s", ectl_span(n, "since_ms", age));
	ectl_cell(t, "%s", ectl_bool(n, "is_self") ? "-" : ectl_ago(n, "heard_ms", age));
	if (ectl_has(n, "rtt_us"))
		ectl_cell(t, "%.1f ms", (double)ectl_uint(n, "rtt_us") / 1000);
	else
		ectl_cell(t, "-");
	ectl_cell(t, "%s%s%s", is_edge ? "edge" : "", is_edge && is_worker ? "+" : "",
		  is_worker ? "worker" : "");
	ectl_cell(t, "%s", ectl_text(n, "addr", text));
	if (ectl_bool(n, "is_behind"))
		ectl_cell(t, "differ for %s", ectl_span(n, "behind_ms", age));
	else
		ectl_cell(t, "%s", ectl_bool(n, "is_self") ? "-" : "same");
	ectl_cell(t, "%s", ectl_text(n, "version", text));
}

void ectl_show_nodes(const msgpack_object *r, const char *indent)
{
	static const char *const heads[] = {"NODE",  "STATE",	"FOR",	   "HEARD",   ">RTT",
					    "ROLES", "ADDRESS", "RECORDS", "VERSION", NULL};
	size_t count = ectl_count(r, "nodes");
	struct row *rows = calloc(count + 1, sizeof(*rows));
	struct ectl_table *t = ectl_table_new(heads);

	for (size_t i = 0; rows && i < count; i++) {
		rows[i].node = ectl_at(r, "nodes", i);
		ectl_text(rows[i].node, "region", rows[i].region);
		ectl_text(rows[i].node, "name", rows[i].name);
	}
	if (rows)
		qsort(rows, count, sizeof(*rows), by_region_and_name);
	for (size_t i = 0; rows && i < count; i++) {
		if (i == 0 || strcmp(rows[i].region, rows[i - 1].region) != 0)
			ectl_group(t, rows[i].region);
		put_node(t, &rows[i]);
	}
	free(rows);
	ectl_table_print(t, indent);
}

static void show_list(const msgpack_object *r)
{
	ectl_show_nodes(r, "  ");
}

static int fill_author(struct ctl_args *a, struct err *e)
{
	(void)e;
	ectl_fill_author(a);
	return 0;
}

const struct ectl_command ectl_node_commands[] = {
	{.noun = "node",
	 .verb = "list",
	 .method = "node.list",
	 .help = "All nodes that this one knows, by region, and when it heard them last.",
	 .show = show_list},
	{.noun = "node",
	 .verb = "drain",
	 .method = "node.drain",
	 .help = "Give the backends of a node no new flows; those that are up go on. "
		 "VIPs are announced no more; what still comes is forwarded.",
	 .positional = {{"NODE", CTL_A_name, false}},
	 .option = {{"reason", CTL_A_reason, NULL, "TEXT", "why, for those who ask later", false},
		    {"seconds", CTL_A_seconds, NULL, "N", "how long; else until undrain", false}},
	 .check = fill_author,
	 .show = ectl_show_text},
	{.noun = "node",
	 .verb = "undrain",
	 .method = "node.undrain",
	 .help = "Let a drained node serve again.",
	 .positional = {{"NODE", CTL_A_name, false}},
	 .check = fill_author,
	 .show = ectl_show_text},
	{.noun = "node",
	 .verb = "rm",
	 .method = "node.rm",
	 .help = "Void all records of a node that is gone for good, everywhere. It must be dead, "
		 "or have left.",
	 .positional = {{"NODE", CTL_A_name, false}},
	 .option = {{"reason", CTL_A_reason, NULL, "TEXT", "why, for those who ask later", false}},
	 .check = fill_author,
	 .show = ectl_show_text},
	{.noun = "node",
	 .verb = "restore",
	 .method = "node.restore",
	 .help = "Let the records of a removed node count again; it brings them itself.",
	 .positional = {{"NODE", CTL_A_name, false}},
	 .show = ectl_show_text},
	{0},
};

const struct ectl_command ectl_region_commands[] = {
	{.noun = "region",
	 .verb = "drain",
	 .method = "region.drain",
	 .help = "Give the backends of a region no new flows; those that are up go on. "
		 "VIPs are announced no more; what still comes is forwarded.",
	 .positional = {{"REGION", CTL_A_name, false}},
	 .option = {{"reason", CTL_A_reason, NULL, "TEXT", "why, for those who ask later", false},
		    {"seconds", CTL_A_seconds, NULL, "N", "how long; else until undrain", false}},
	 .check = fill_author,
	 .show = ectl_show_text},
	{.noun = "region",
	 .verb = "undrain",
	 .method = "region.undrain",
	 .help = "Let a drained region serve again.",
	 .positional = {{"REGION", CTL_A_name, false}},
	 .check = fill_author,
	 .show = ectl_show_text},
	{0},
};
