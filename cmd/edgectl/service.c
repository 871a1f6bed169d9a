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
	static const char *const wide[] = {"SERVICE", "VIPS",	 "PORTS",    "HASH",
					   ">USABLE", "REGIONS", "POLICIES", NULL};
	struct ectl_table *t = ectl_table_new(ectl_is_wide ? wide : heads);
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
		if (ectl_is_wide)
			ectl_cell(t, "%s", ectl_policy(s, text));
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

static void show_one(const msgpack_object *r)
{
	const msgpack_object *s = ectl_at(r, "services", 0);
	char text[ECTL_TEXT_MAX];

	ectl_line("service   %s%s", ectl_text(s, "name", text),
		  ectl_bool(s, "is_shadowed") ? " (shadowed: an older service has its ports)" : "");
	ectl_line("vips      %s", ectl_join(s, "vips", text));
	ectl_line("ports     %s", ectl_join(s, "ports", text));
	ectl_line("policies  %s", ectl_policy(s, text));
	ectl_line("usable    %llu of %llu, by region: %s",
		  (unsigned long long)ectl_uint(s, "usable"),
		  (unsigned long long)ectl_uint(s, "backends"), regions(s, text));
	if (ectl_count(r, "filters")) {
		puts("\nfilters");
		ectl_show_filters(r, "  ");
	}
	if (ectl_count(r, "backends")) {
		puts("\nbackends");
		ectl_is_wide = true;
		ectl_show_backends(r, "  ");
	}
}

static int check_set(struct ctl_args *a, struct err *e)
{
	return ctl_args_policy(a, e);
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
	 .positional = {{"NAME", CTL_A_name, .is_optional = false}},
	 .option = {{"vip", CTL_A_vips, NULL, "ADDRESS",
		     "an anycast address, IPv4 or IPv6; at least one, may repeat", true},
		    {"port", CTL_A_ports, NULL, "PROTO/PORT",
		     "udp/53, tcp/80 or a range udp/5000-5999; at least one, may repeat", true},
		    {"policy", CTL_A_policy, NULL, "KEY=VALUE", "see service set",
		     .is_repeatable = true}},
	 .check = check_add,
	 .show = ectl_show_text},
	{.noun = "service",
	 .verb = "set",
	 .method = "service.set",
	 .help = "Change policies of a service, for the whole mesh, and nothing else of it: "
		 "hash=5tuple|source|packet,\n"
		 "      pps=N, source_pps=N, prefix4=BITS, prefix6=BITS, syn_pps=N, hop_pps=N, "
		 "return=edge|direct,\n"
		 "      mtu=too-big|carry, reject=on|off, quic=on|off, closed=on|off, "
		 "eject=PERCENT,\n"
		 "      spill=PERCENT, panic=PERCENT, slow_start=SECONDS, local=prefer|off, "
		 "udp_suspect=move|stay,\n"
		 "      rows=N. Numbers are taken back by off.",
	 .positional = {{"NAME", CTL_A_name, .is_optional = false},
			{"KEY=VALUE", CTL_A_policy, .is_list = true}},
	 .check = check_set,
	 .show = ectl_show_text},
	{.noun = "service",
	 .verb = "show",
	 .method = "service.show",
	 .help = "One service: its policies, filters and backends.",
	 .positional = {{"NAME", CTL_A_name, .is_optional = false}},
	 .show = show_one},
	{.noun = "service",
	 .verb = "list",
	 .method = "service.list",
	 .help = "All services, and how many backends are usable in each region.",
	 .show = show_list,
	 .has_wide = true},
	{.noun = "service",
	 .verb = "rm",
	 .method = "service.rm",
	 .help = "Remove a service from the whole mesh.",
	 .positional = {{"NAME", CTL_A_name, .is_optional = false}},
	 .show = ectl_show_text},
	{0},
};
