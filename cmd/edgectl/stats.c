/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>

#include "cmd/edgectl/edgectl.h"

static void show_reasons(const msgpack_object *r)
{
	static const char *const heads[] = {"REASON", ">PACKETS", "", "MEANING", NULL};
	struct ectl_table *t = ectl_table_new(heads);
	char text[ECTL_TEXT_MAX];
	size_t shown = 0;

	for (size_t i = 0; i < ectl_count(r, "reasons"); i++) {
		const msgpack_object *o = ectl_at(r, "reasons", i);

		if (!ectl_uint(o, "packets"))
			continue;
		shown++;
		ectl_cell(t, "%s", ectl_text(o, "name", text));
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(o, "packets"));
		ectl_cell(t, "%s", ectl_bool(o, "is_drop") ? "drop" : "    ");
		ectl_cell(t, "%s", ectl_text(o, "meaning", text));
	}
	ectl_table_print(t, "");
	if (!shown)
		puts("no packets yet");
	putchar('\n');
}

static void show_services(const msgpack_object *r)
{
	static const char *const heads[] = {"SERVICE", "FAMILY", ">PACKETS", ">BYTES", NULL};
	struct ectl_table *t = ectl_table_new(heads);
	char text[ECTL_TEXT_MAX];

	for (size_t i = 0; i < ectl_count(r, "services"); i++) {
		const msgpack_object *s = ectl_at(r, "services", i);

		ectl_cell(t, "%s", ectl_text(s, "service", text));
		ectl_cell(t, "IPv%u", (unsigned)ectl_uint(s, "family"));
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(s, "packets"));
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(s, "bytes"));
	}
	ectl_table_print(t, "");
	putchar('\n');
}

static void show_backends(const msgpack_object *r)
{
	static const char *const heads[] = {"BACKEND", ">PACKETS", ">BYTES", NULL};
	struct ectl_table *t = ectl_table_new(heads);
	char text[ECTL_TEXT_MAX];

	for (size_t i = 0; i < ectl_count(r, "backends"); i++) {
		const msgpack_object *b = ectl_at(r, "backends", i);

		ectl_cell(t, "%s", ectl_text(b, "spec", text));
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(b, "packets"));
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(b, "bytes"));
	}
	ectl_table_print(t, "");
	putchar('\n');
}

static void show_counters(const msgpack_object *r)
{
	static const char *const heads[] = {"GOSSIP", ">COUNT", NULL};
	static const char *const part[] = {"gossip", "loop"};
	struct ectl_table *t = ectl_table_new(heads);

	for (size_t k = 0; k < 2; k++) {
		const msgpack_object *m = ectl_get(r, part[k]);

		for (uint32_t i = 0; m && m->type == MSGPACK_OBJECT_MAP && i < m->via.map.size;
		     i++) {
			const msgpack_object_kv *kv = &m->via.map.ptr[i];

			if (kv->key.type != MSGPACK_OBJECT_STR ||
			    kv->val.type != MSGPACK_OBJECT_POSITIVE_INTEGER)
				continue;
			ectl_cell(t, "%.*s", (int)(kv->key.via.str.size & 0xff),
				  kv->key.via.str.ptr);
			ectl_cell(t, "%llu", (unsigned long long)kv->val.via.u64);
		}
	}
	ectl_table_print(t, "");
}

static void show(const msgpack_object *r)
{
	char text[ECTL_TEXT_MAX];

	if (ectl_bool(r, "is_forwarding")) {
		show_reasons(r);
		show_services(r);
		show_backends(r);
	} else {
		ectl_line("no packet counters: %s", ectl_text(r, "text", text));
		putchar('\n');
	}
	show_counters(r);
}

const struct ectl_command ectl_stats_commands[] = {
	{.noun = "stats",
	 .method = "stats",
	 .help = "Packets by reason, by service and by backend on this node, and gossip's "
		 "counters.",
	 .show = show},
	{0},
};
