/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>

#include "cmd/edgectl/edgectl.h"

static void show_keys(const msgpack_object *r)
{
	static const char *const heads[] = {"KEY",	 "HERE",	">HELD BY",
					    ">SEALS AT", "NOT HELD BY", NULL};
	struct ectl_table *t = ectl_table_new(heads);
	char text[ECTL_TEXT_MAX];

	for (size_t i = 0; i < ectl_count(r, "keys"); i++) {
		const msgpack_object *k = ectl_at(r, "keys", i);

		ectl_cell(t, "%s", ectl_text(k, "id", text));
		if (ectl_has(k, "left_ms"))
			ectl_cell(t, "goes in %.0f s", (double)ectl_uint(k, "left_ms") / 1000);
		else
			ectl_cell(t, "%s", ectl_text(k, "state", text));
		ectl_cell(t, "%llu of %llu", (unsigned long long)ectl_uint(k, "holders"),
			  (unsigned long long)ectl_uint(k, "live"));
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(k, "sealers"));
		ectl_cell(t, "%s", ectl_count(k, "without") ? ectl_join(k, "without", text) : "-");
	}
	ectl_table_print(t, "");
}

#define FORCE                                                                                      \
	{                                                                                          \
		{                                                                                  \
			.name = "force", .arg = CTL_A_verb, .value = "yes",                        \
			.help = "also if not all live nodes have said that they are ready",        \
			.flag = "force"                                                            \
		}                                                                                  \
	}

const struct ectl_command ectl_keys_commands[] = {
	{.noun = "keys",
	 .verb = "list",
	 .method = "keys.list",
	 .help = "The cluster's keys: how many live nodes hold each, and seal with it.",
	 .show = show_keys},
	{.noun = "keys",
	 .verb = "add",
	 .method = "keys.add",
	 .help = "Make a key that all can open with.",
	 .show = ectl_show_text},
	{.noun = "keys",
	 .verb = "use",
	 .method = "keys.use",
	 .help = "Let all seal with it; refused until all live nodes hold it.",
	 .positional = {{"ID", CTL_A_name, .is_optional = false}},
	 .option = FORCE,
	 .show = ectl_show_text},
	{.noun = "keys",
	 .verb = "rm",
	 .method = "keys.rm",
	 .help = "Nobody opens with it any more; refused while a live node seals with it.",
	 .positional = {{"ID", CTL_A_name, .is_optional = false}},
	 .option = FORCE,
	 .show = ectl_show_text},
	{0},
};
