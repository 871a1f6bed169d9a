/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>

#include "cmd/edgectl/edgectl.h"

static const char *regions(const msgpack_object *s, char buf[ECTL_TEXT_MAX])
{
	char name[ECTL_TEXT_MAX];
	size_t len = 0;

	buf[0] = 0;
	for (size_t i = 0; i < ectl_count(s, "regions") && len < ECTL_TEXT_MAX; i++) {
		const msgpack_object *g = ectl_at(s, "regions", i);

		len += (size_t)snprintf(buf + len, ECTL_TEXT_MAX - len, "%s%.60s %llu/%llu",
					i ? ", " : "", ectl_text(g, "region", name),
					(unsigned long long)ectl_uint(g, "usable"),
					(unsigned long long)ectl_uint(g, "backends"));
	}
	return buf;
}

void ectl_show_services(const msgpack_object *r, const char *indent)
{
	static const char *const heads[] = {"SERVICE", "VIPS",	  "PORTS", "HASH",
					    ">USABLE", "REGIONS", NULL};
	struct ectl_table *t = ectl_table_new(heads);
	char text[ECTL_TEXT_MAX];

	for (size_t i = 0; i < ectl_count(r, "services"); i++) {
		const msgpack_object *s = ectl_at(r, "services", i);

		ectl_cell(t, "%s%s", ectl_text(s, "name", text),
			  ectl_bool(s, "is_shadowed") ? " (shadowed)" : "");
		ectl_cell(t, "%s", ectl_join(s, "vips", text));
		ectl_cell(t, "%s", ectl_join(s, "ports", text));
		ectl_cell(t, "%s", ectl_text(s, "hash", text));
		ectl_cell(t, "%llu/%llu", (unsigned long long)ectl_uint(s, "usable"),
			  (unsigned long long)ectl_uint(s, "backends"));
		ectl_cell(t, "%s", regions(s, text));
	}
	ectl_table_print(t, indent);
}

static void show_list(const msgpack_object *r)
{
	if (ectl_count(r, "services"))
		ectl_show_services(r, "");
	else
		puts("no services");
}

static int check_add(struct ctl_args *a, struct err *e)
{
	struct model_service s;

	return ctl_args_service(a, &s, e);
}

const struct ectl_command ectl_service_commands[] = {
	{.noun = "service",
	 .verb = "add",
	 .method = "service.add",
	 .help = "Declare a service for the whole mesh: its anycast addresses, protocols and "
		 "ports.",
	 .positional = {{"NAME", CTL_A_name, false}},
	 .option = {{"vip", CTL_A_vips, NULL, "ADDRESS",
		     "an anycast address, IPv4 or IPv6; at least one, may repeat", true},
		    {"port", CTL_A_ports, NULL, "PROTO/PORT",
		     "udp/53, tcp/80 or a range udp/5000-5999; at least one, may repeat", true},
		    {"policy", CTL_A_hash, "hash=", "hash=5tuple|source|packet",
		     "what chooses the backend (5tuple)", false}},
	 .check = check_add,
	 .show = ectl_show_text},
	{.noun = "service",
	 .verb = "list",
	 .method = "service.list",
	 .help = "All services, and how many backends are usable in each region.",
	 .show = show_list},
	{.noun = "service",
	 .verb = "rm",
	 .method = "service.rm",
	 .help = "Remove a service from the whole mesh.",
	 .positional = {{"NAME", CTL_A_name, false}},
	 .show = ectl_show_text},
	{0},
};
