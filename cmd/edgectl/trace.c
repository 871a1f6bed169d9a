/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "cmd/edgectl/edgectl.h"

static void show(const msgpack_object *r)
{
	char a[ECTL_TEXT_MAX], b[ECTL_TEXT_MAX], c[ECTL_TEXT_MAX], where[ECTL_TEXT_MAX] = "";

	ectl_line("%s %s to %s", ectl_text(r, "proto", a), ectl_text(r, "src", b),
		  ectl_text(r, "dst", c));
	for (size_t i = 0; i < ectl_count(r, "steps"); i++) {
		const msgpack_object *s = ectl_at(r, "steps", i);

		if (strcmp(where, ectl_text(s, "where", a))) {
			snprintf(where, sizeof(where), "%s", a);
			ectl_line(" %s", where);
		}
		ectl_line("  %-10s  %s", ectl_text(s, "what", b), ectl_text(s, "text", c));
	}
	ectl_line(" %s: %s (%s)", ectl_bool(r, "is_drop") ? "dropped" : "goes on",
		  ectl_text(r, "reason", a), ectl_text(r, "meaning", b));
}

static enum ectl_exit judge(const msgpack_object *r)
{
	return ectl_bool(r, "is_drop") ? ECTL_REFUSED : ECTL_OK;
}

const struct ectl_command ectl_trace_commands[] = {
	{.noun = "trace",
	 .method = "trace",
	 .help = "What the data path would make of a packet now, step by step. Exit 1: it is "
		 "dropped.",
	 .positional = {{"PROTO", CTL_A_proto, false},
			{"SRC:PORT", CTL_A_src, false},
			{"DST:PORT", CTL_A_dst, false}},
	 .option = {{.name = "cid",
		     .arg = CTL_A_cid,
		     .value = "HEX",
		     .help = "a QUIC packet of an open connection, with this connection id"},
		    {.name = "node",
		     .arg = CTL_A_node,
		     .value = "N",
		     .help = "only if this node is N: the maps asked are its own"}},
	 .show = show,
	 .judge = judge},
	{0},
};
