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
	ectl_cell(t, "%s",
		  ectl_bool(n, "is_summary") ? "by summary"
		  : ectl_bool(n, "is_self")  ? "-"
					     : ectl_ago(n, "heard_ms", age));
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
		ectl_cell(t, "%s",
			  ectl_bool(n, "is_self") || ectl_bool(n, "is_summary") ? "-" : "same");
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

static void show_words(const msgpack_object *r, const char *key, const char *before)
{
	char node[ECTL_TEXT_MAX], cause[ECTL_TEXT_MAX], age[32];

	for (size_t i = 0; i < ectl_count(r, key); i++) {
		const msgpack_object *w = ectl_at(r, key, i);

		ectl_line("  %s %s: %s, for %s", before, ectl_text(w, "node", node),
			  ectl_text(w, "cause", cause), ectl_span(w, "for_ms", age));
	}
}

static void show_node(const msgpack_object *r)
{
	static const char *const heads[] = {"TO REGION", ">ROUND TRIP", "LOSS", NULL};
	char text[ECTL_TEXT_MAX], age[32];
	struct ectl_table *t;

	ectl_show_nodes(r, "  ");
	for (size_t i = 0; i < ectl_count(r, "findings"); i++) {
		const msgpack_object *f = ectl_at(r, "findings", i);

		if (f->type == MSGPACK_OBJECT_STR)
			ectl_line("problem: %.*s", (int)f->via.str.size, f->via.str.ptr);
	}
	if (ectl_count(r, "says") + ectl_count(r, "said") > 0)
		puts("who hears whom, where something is wrong:");
	show_words(r, "says", "it, of");
	show_words(r, "said", "of it,");
	if (!ectl_has(r, "row_ms")) {
		puts("it has not said whom it hears");
		return;
	}
	if (ectl_uint(r, "stall_pct"))
		ectl_line("it stood still for over %llu %% of half a minute",
			  (unsigned long long)ectl_uint(r, "stall_pct"));
	t = ectl_table_new(heads);
	for (size_t i = 0; i < ectl_count(r, "regions"); i++) {
		const msgpack_object *g = ectl_at(r, "regions", i);

		ectl_cell(t, "%s", ectl_text(g, "region", text));
		if (ectl_has(g, "rtt_below_ms"))
			ectl_cell(t, "< %llu ms", (unsigned long long)ectl_uint(g, "rtt_below_ms"));
		else
			ectl_cell(t, "far");
		ectl_cell(t, "%s", ectl_text(g, "loss", text));
	}
	ectl_table_print(t, "  ");
	ectl_line("as it said %s ago", ectl_span(r, "row_ms", age));
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
	 .verb = "show",
	 .method = "node.show",
	 .help = "One node, whom it hears and who hears it, and how far the regions are from it.",
	 .positional = {{"NODE", CTL_A_name, false}},
	 .show = show_node},
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
