/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>

#include "cmd/edgectl/edgectl.h"

void ectl_show_filters(const msgpack_object *r, const char *indent)
{
	static const char *const heads[] = {"SERVICE", "PREFIX", "VERB", "WHY", "BY", NULL};
	struct ectl_table *t = ectl_table_new(heads);
	char text[ECTL_TEXT_MAX];

	for (size_t i = 0; i < ectl_count(r, "filters"); i++) {
		const msgpack_object *f = ectl_at(r, "filters", i);

		ectl_cell(t, "%s", ectl_has(f, "service") ? ectl_text(f, "service", text) : "*");
		ectl_cell(t, "%s", ectl_text(f, "prefix", text));
		ectl_cell(t, "%s", ectl_text(f, "verb", text));
		ectl_cell(t, "%s", ectl_text(f, "why", text));
		ectl_cell(t, "%s", ectl_text(f, "author", text));
	}
	ectl_table_print(t, indent);
}

static void show_list(const msgpack_object *r)
{
	if (ectl_count(r, "filters"))
		ectl_show_filters(r, "");
	else
		puts("no filters");
}

static int check(struct ctl_args *a, struct err *e)
{
	struct model_filter f;

	return ctl_args_filter(a, &f, e);
}

static int check_add(struct ctl_args *a, struct err *e)
{
	ectl_fill_author(a);
	return check(a, e);
}

const struct ectl_command ectl_filter_commands[] = {
	{.noun = "filter",
	 .verb = "add",
	 .method = "filter.add",
	 .help = "Deny packets of a source prefix at every edge, or allow them where a wider "
		 "prefix is "
		 "denied or the\n"
		 "      service is closed. The longest prefix of a list decides.",
	 .positional = {{"deny|allow", CTL_A_verb, .is_optional = false},
			{"PREFIX", CTL_A_prefix, .is_optional = false}},
	 .option = {{"service", CTL_A_service, NULL, "NAME",
		     "on the list of this service (*: of every service)", false},
		    {"why", CTL_A_reason, NULL, "TEXT", "for those who ask later", false}},
	 .check = check_add,
	 .show = ectl_show_text},
	{.noun = "filter",
	 .verb = "list",
	 .method = "filter.list",
	 .help = "Prefixes of all lists, or of one.",
	 .positional = {{"SERVICE", CTL_A_service, .is_optional = true}},
	 .show = show_list},
	{.noun = "filter",
	 .verb = "rm",
	 .method = "filter.rm",
	 .help = "Take a prefix off a list.",
	 .positional = {{"PREFIX", CTL_A_prefix, .is_optional = false}},
	 .option = {{"service", CTL_A_service, NULL, "NAME",
		     "the list of this service (*: of every service)", false}},
	 .check = check,
	 .show = ectl_show_text},
	{0},
};
