/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "cmd/edgectl/edgectl.h"

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

/* "6 nodes: 5 alive, 1 dead" */
static void show_sums(const msgpack_object *r)
{
	static const char *const state[] = {"alive", "headless", "suspect", "dead", "left"};
	size_t services = ectl_count(r, "services"), backends = ectl_count(r, "backends");
	size_t nodes = ectl_count(r, "nodes"), behind = 0, count[5] = {0}, len = 0;
	char line[256] = "", text[ECTL_TEXT_MAX];

	for (size_t i = 0; i < nodes; i++) {
		const msgpack_object *n = ectl_at(r, "nodes", i);

		behind += ectl_bool(n, "is_behind");
		for (size_t k = 0; k < 5; k++)
			count[k] += !strcmp(ectl_text(n, "state", text), state[k]);
	}
	for (size_t k = 0; k < 5; k++)
		if (count[k])
			len += (size_t)snprintf(line + len, sizeof(line) - len, "%s%zu %s",
						len ? ", " : ": ", count[k], state[k]);
	ectl_line("%zu node%s%s; %s; %zu service%s; %zu backend%s", nodes, plural(nodes), line,
		  behind ? "records differ" : "records agree", services, plural(services), backends,
		  plural(backends));
}

static void show_problems(const msgpack_object *r)
{
	size_t count = ectl_count(r, "problems");
	const msgpack_object *o;

	if (!count) {
		puts("no problems");
		return;
	}
	printf("\nPROBLEMS\n");
	for (size_t i = 0; i < count; i++) {
		o = ectl_at(r, "problems", i);
		if (o->type == MSGPACK_OBJECT_STR)
			ectl_line("  ! %.*s",
				  (int)(o->via.str.size < 1000 ? o->via.str.size : 1000),
				  o->via.str.ptr);
	}
}

static const char *list_text(const msgpack_object *r, const char *key, char buf[ECTL_TEXT_MAX])
{
	if (ectl_count(r, key))
		return ectl_join(r, key, buf);
	snprintf(buf, ECTL_TEXT_MAX, "-");
	return buf;
}

static const char *senders(const msgpack_object *g, char buf[ECTL_TEXT_MAX])
{
	char name[ECTL_TEXT_MAX];
	size_t len = 0;

	buf[0] = 0;
	for (size_t i = 0; i < ectl_count(g, "senders") && len < ECTL_TEXT_MAX - 80; i++) {
		const msgpack_object *s = ectl_at(g, "senders", i);

		len += (size_t)snprintf(buf + len, ECTL_TEXT_MAX - len, "%s%.40s%s",
					len ? ", " : "", ectl_text(s, "name", name),
					ectl_bool(s, "counts") ? "*" : "");
	}
	return buf;
}

static void put_region(struct ectl_table *t, const msgpack_object *g)
{
	char text[ECTL_TEXT_MAX], age[32];

	ectl_cell(t, "%s", ectl_text(g, "name", text));
	ectl_cell(t, "%s", ectl_text(g, "state", text));
	ectl_cell(t, "%s", ectl_ago(g, "summary_ms", age));
	if (ectl_bool(g, "is_behind"))
		ectl_cell(t, "behind for %s", ectl_span(g, "behind_ms", age));
	else if (!ectl_bool(g, "has_summary"))
		ectl_cell(t, "none");
	else
		ectl_cell(t, "%s",
			  ectl_bool(g, "is_own") || ectl_bool(g, "is_applied") ? "newest"
									       : "not applied");
	if (ectl_bool(g, "is_own"))
		ectl_cell(t, "-");
	else
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(g, "live"));
	ectl_cell(t, "%s", list_text(g, "down", text));
	if (ectl_bool(g, "is_own"))
		ectl_cell(t, "-");
	else
		ectl_cell(t, "%llu", (unsigned long long)ectl_uint(g, "ways"));
	if (!ectl_is_wide)
		return;
	ectl_cell(t, "%llu", (unsigned long long)ectl_uint(g, "bytes"));
	ectl_cell(t, "%s", ectl_text(g, "version", text));
	ectl_cell(t, "%s", ectl_text(g, "from", text));
	ectl_cell(t, "%s", senders(g, text));
}

static void show_regions(const msgpack_object *r)
{
	static const char *const heads[] = {"REGION", "STATE", "CAME",	"SUMMARY",
					    ">LIVE",  "DOWN",  ">WAYS", NULL};
	static const char *const wide[] = {"REGION",  "STATE", "CAME",	   "SUMMARY",
					   ">LIVE",   "DOWN",  ">WAYS",	   ">BYTES",
					   "VERSION", "FROM",  "SPEAKERS", NULL};
	struct ectl_table *t;

	if (!ectl_count(r, "regions"))
		return;
	t = ectl_table_new(ectl_is_wide ? wide : heads);
	for (size_t i = 0; i < ectl_count(r, "regions"); i++)
		put_region(t, ectl_at(r, "regions", i));
	ectl_table_print(t, "");
	putchar('\n');
}

static void show_here(const msgpack_object *r)
{
	const msgpack_object *f = ectl_get(r, "forwarder"), *s = ectl_get(r, "store"),
			     *l = ectl_get(r, "loop");
	char text[ECTL_TEXT_MAX], age[32];

	ectl_line("forwarder: %s%s; routes made %s in %llu us (worst %llu us)",
		  ectl_text(f, "text", text),
		  ectl_bool(f, "is_ready") ? ", maps filled"
		  : ectl_bool(f, "is_up")  ? ", maps not filled"
					   : "",
		  ectl_ago(f, "routes_ms", age), (unsigned long long)ectl_uint(f, "compute_us"),
		  (unsigned long long)ectl_uint(f, "compute_us_max"));
	ectl_text(s, "text", text);
	ectl_line("store: %s%s%s%llu commits, %llu waiting",
		  ectl_bool(s, "is_broken") ? "broken, " : "", text, text[0] ? "; " : "",
		  (unsigned long long)ectl_uint(s, "commits"),
		  (unsigned long long)ectl_uint(s, "queued"));
	ectl_line(
		"loop: at most %llu ms late in the last 10 s (worst %llu ms); gossip: %llu B/s in, "
		"%llu B/s out",
		(unsigned long long)ectl_uint(l, "lag_ms"),
		(unsigned long long)ectl_uint(l, "lag_ms_max"),
		(unsigned long long)ectl_uint(l, "bytes_in_s"),
		(unsigned long long)ectl_uint(l, "bytes_out_s"));
}

static void show(const msgpack_object *r)
{
	char cluster[ECTL_TEXT_MAX], self[ECTL_TEXT_MAX], region[ECTL_TEXT_MAX],
		version[ECTL_TEXT_MAX];

	ectl_line("mesh %s as %s (%s) sees it, edged %s, protocol %llu",
		  ectl_text(r, "cluster", cluster), ectl_text(r, "self", self),
		  ectl_text(r, "region", region), ectl_text(r, "version", version),
		  (unsigned long long)ectl_uint(r, "protocol"));
	show_sums(r);
	show_problems(r);
	putchar('\n');
	ectl_show_nodes(r, "  ");
	putchar('\n');
	show_regions(r);
	if (ectl_count(r, "services")) {
		ectl_show_services(r, "");
		putchar('\n');
	}
	if (ectl_count(r, "backends")) {
		ectl_show_backends(r, "");
		putchar('\n');
	}
	show_here(r);
}

const struct ectl_command ectl_status_commands[] = {
	{.noun = "status",
	 .method = "status",
	 .help = "The whole mesh: problems first, nodes by region, services, backends.",
	 .show = show,
	 .has_wide = true},
	{0},
};
