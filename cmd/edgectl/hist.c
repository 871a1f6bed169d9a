/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <stdio.h>

#include "cmd/edgectl/edgectl.h"

#define BAR_MAX 40

static void show_slots(const msgpack_object *hook)
{
	uint64_t runs = ectl_uint(hook, "runs");

	for (size_t i = 0; i < ectl_count(hook, "slots"); i++) {
		const msgpack_object *s = ectl_at(hook, "slots", i);
		uint64_t below_ns = ectl_uint(s, "below_ns"), n = ectl_uint(s, "runs");
		int bar = runs ? (int)((double)n * BAR_MAX / (double)runs + 0.5) : 0;

		printf("  %10llu .. %10llu ns  %12llu  %5.1f %%  %.*s\n",
		       (unsigned long long)below_ns / 2, (unsigned long long)below_ns - 1,
		       (unsigned long long)n, runs ? 100.0 * (double)n / (double)runs : 0.0,
		       bar < BAR_MAX ? bar : BAR_MAX, "########################################");
	}
}

static void show(const msgpack_object *r)
{
	char name[ECTL_TEXT_MAX];

	if (ectl_bool(r, "is_on"))
		ectl_line("on: one packet in %llu is timed, at each program that it meets",
			  (unsigned long long)ectl_uint(r, "every"));
	else
		ectl_line("off%s",
			  ectl_count(r, "hooks") ? "; this is what was counted before" : "");
	for (size_t i = 0; i < ectl_count(r, "hooks"); i++) {
		const msgpack_object *h = ectl_at(r, "hooks", i);

		putchar('\n');
		ectl_line("%s: %llu runs, mean %llu ns, half below %llu ns, 99 %% below %llu ns",
			  ectl_text(h, "hook", name), (unsigned long long)ectl_uint(h, "runs"),
			  (unsigned long long)ectl_uint(h, "mean_ns"),
			  (unsigned long long)ectl_uint(h, "p50_below_ns"),
			  (unsigned long long)ectl_uint(h, "p99_below_ns"));
		show_slots(h);
	}
}

const struct ectl_command ectl_hist_commands[] = {
	{.noun = "hist",
	 .verb = "on",
	 .method = "hist.on",
	 .help = "Begin to time the forwarder's programs on this node; what was counted before "
		 "goes.",
	 .option = {{.name = "every",
		     .arg = CTL_A_every,
		     .value = "N",
		     .help = "one packet in N (1000)"}},
	 .show = ectl_show_text},
	{.noun = "hist",
	 .verb = "off",
	 .method = "hist.off",
	 .help = "Stop timing.",
	 .show = ectl_show_text},
	{.noun = "hist",
	 .verb = "show",
	 .method = "hist.show",
	 .help = "How long the forwarder's programs ran, by hook, in powers of two nanoseconds.",
	 .show = show},
	{0},
};
