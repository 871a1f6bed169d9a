/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* stats and top. What is watched is JSON from here on: two answers, and the rates between them put into the newer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cmd/edgectl/edgectl.h"

#define TOP_ROWS 12

/* ---- once */

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

/* ---- rates */

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static json_int_t int_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* The same thing in the other answer: things come and go in between. */
static const json_t *find_same(const json_t *list, const json_t *like, const char *name)
{
	json_t *one;
	size_t i;

	json_array_foreach(list, i, one)
	{
		if (!strcmp(text_of(one, name), text_of(like, name)) &&
		    int_of(one, "family") == int_of(like, "family"))
			return one;
	}
	return NULL;
}

static void add_rate(json_t *one, const json_t *before, const char *key, const char *rate_key,
		     json_int_t ms)
{
	json_int_t now = int_of(one, key), was = before ? int_of(before, key) : now;

	/* Counters that went back began anew: nothing is known of this time. */
	if (json_object_get(one, key))
		json_object_set_new(
			one, rate_key,
			json_real(now > was ? (double)(now - was) * 1000.0 / (double)ms : 0.0));
}

static void add_rates(json_t *now, const json_t *before)
{
	static const struct {
		const char *list, *name;
	} part[] = {{"reasons", "name"}, {"services", "service"}, {"backends", "spec"}};
	json_int_t ms = int_of(now, "now_ms") - int_of(before, "now_ms");
	json_t *one;
	size_t i;

	json_object_set_new(now, "interval_ms", json_integer(ms));
	for (size_t k = 0; k < sizeof(part) / sizeof(part[0]); k++) {
		json_array_foreach(json_object_get(now, part[k].list), i, one)
		{
			const json_t *was =
				find_same(json_object_get(before, part[k].list), one, part[k].name);

			add_rate(one, was, "packets", "packets_per_s", ms > 0 ? ms : 1);
			add_rate(one, was, "bytes", "bytes_per_s", ms > 0 ? ms : 1);
		}
	}
}

static double rate(const json_t *o, const char *key)
{
	return json_real_value(json_object_get(o, key));
}

/* "1234", "12.3 k", "4.56 M" */
static const char *short_number(double x, char buf[24])
{
	static const char *const unit[] = {"", " k", " M", " G", " T"};
	size_t i = 0;

	while (x >= 10000 && i + 1 < sizeof(unit) / sizeof(unit[0])) {
		x /= 1000;
		i++;
	}
	snprintf(buf, 24, i || (x < 10 && x != (double)(int)x) ? "%.1f%s" : "%.0f%s", x, unit[i]);
	return buf;
}

static int by_rate(const void *x, const void *y)
{
	double a = rate(*(json_t *const *)x, "packets_per_s");
	double b = rate(*(json_t *const *)y, "packets_per_s");

	return (a < b) - (a > b);
}

/* The list in order of its rates, for top; as it is else. Returns how many there are to show. */
static size_t pick(const json_t *list, bool is_top, json_t ***ret_row)
{
	size_t count = json_array_size(list), i;
	json_t **row = ectl_need(calloc(count + 1, sizeof(json_t *)));
	json_t *one;

	json_array_foreach(list, i, one) row[i] = one;
	if (is_top)
		qsort(row, count, sizeof(json_t *), by_rate);
	*ret_row = row;
	return is_top && count > TOP_ROWS ? TOP_ROWS : count;
}

static void show_rates(const json_t *list, const char *head, const char *name, bool is_top)
{
	const char *heads[] = {head,	   "FAMILY", ">PACKETS/S", ">BYTES/S",
			       ">PACKETS", ">BYTES", NULL};
	struct ectl_table *t = ectl_table_new(heads);
	json_t **row;
	size_t count = pick(list, is_top, &row);
	char num[24];

	for (size_t i = 0; i < count; i++) {
		const char *spec = text_of(row[i], name);
		bool is_v6 = json_object_get(row[i], "family") ? int_of(row[i], "family") == 6
							       : strchr(spec, '[') != NULL;

		ectl_cell(t, "%s", spec);
		ectl_cell(t, "IPv%d", is_v6 ? 6 : 4);
		ectl_cell(t, "%s", short_number(rate(row[i], "packets_per_s"), num));
		ectl_cell(t, "%s", short_number(rate(row[i], "bytes_per_s"), num));
		ectl_cell(t, "%s", short_number((double)int_of(row[i], "packets"), num));
		ectl_cell(t, "%s", short_number((double)int_of(row[i], "bytes"), num));
	}
	free(row);
	ectl_table_print(t, "");
	putchar('\n');
}

static void show_reason_rates(const json_t *list, bool is_top)
{
	static const char *const heads[] = {"REASON", ">PACKETS/S", ">PACKETS",
					    "",	      "MEANING",    NULL};
	struct ectl_table *t = ectl_table_new(heads);
	json_t **row;
	size_t count = pick(list, is_top, &row);
	char num[24];

	for (size_t i = 0; i < count; i++) {
		if (!int_of(row[i], "packets") || (is_top && rate(row[i], "packets_per_s") == 0.0))
			continue;
		ectl_cell(t, "%s", text_of(row[i], "name"));
		ectl_cell(t, "%s", short_number(rate(row[i], "packets_per_s"), num));
		ectl_cell(t, "%s", short_number((double)int_of(row[i], "packets"), num));
		ectl_cell(t, "%s",
			  json_is_true(json_object_get(row[i], "is_drop")) ? "drop" : "    ");
		ectl_cell(t, "%s", text_of(row[i], "meaning"));
	}
	free(row);
	ectl_table_print(t, "");
	putchar('\n');
}

static void show_totals(const json_t *now)
{
	double packets = 0, bytes = 0, drops = 0;
	char a[24], b[24], c[24];
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(now, "services"), i, one)
	{
		packets += rate(one, "packets_per_s");
		bytes += rate(one, "bytes_per_s");
	}
	json_array_foreach(json_object_get(now, "reasons"), i, one)
	{
		if (json_is_true(json_object_get(one, "is_drop")))
			drops += rate(one, "packets_per_s");
	}
	ectl_line("services: %s packets/s, %s bytes/s; dropped: %s packets/s",
		  short_number(packets, a), short_number(bytes, b), short_number(drops, c));
	putchar('\n');
}

static void show_watched(const json_t *now, bool is_top)
{
	if (isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	if (!json_is_true(json_object_get(now, "is_forwarding"))) {
		ectl_line("no packet counters: %s", text_of(now, "text"));
		return;
	}
	show_totals(now);
	show_rates(json_object_get(now, "services"), "SERVICE", "service", is_top);
	show_rates(json_object_get(now, "backends"), "BACKEND", "spec", is_top);
	show_reason_rates(json_object_get(now, "reasons"), is_top);
}

/* One line each, so that a reader knows where one ends. */
static void print_line(json_t *now)
{
	json_dumpf(now, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
	putchar('\n');
}

static int watch(const struct ectl_line *l, struct ctl_client *c, bool is_top, struct err *e)
{
	uint64_t times = l->args.has & CTL_BIT(count) ? l->args.count : UINT64_MAX;
	struct timespec pause = {.tv_sec = (time_t)(l->args.watch ? l->args.watch : 1)};
	json_t *before = NULL, *now;
	int rc = 0;

	for (uint64_t i = 0; i <= times && !ferror(stdout); i++) {
		msgpack_unpacked result;

		if (i)
			nanosleep(&pause, NULL);
		rc = ectl_call(c, "stats", &l->args, &result, e);
		if (rc)
			break;
		now = ectl_need(ectl_to_json(&result.data));
		msgpack_unpacked_destroy(&result);
		if (before) {
			add_rates(now, before);
			if (l->is_json)
				print_line(now);
			else
				show_watched(now, is_top);
			fflush(stdout); /* an error stays with the stream: the loop's condition */
		}
		json_decref(before);
		before = now;
	}
	json_decref(before);
	return rc;
}

static int run_stats(const struct ectl_line *l, struct ctl_client *c, enum ectl_exit *ret_exit,
		     struct err *e)
{
	if (l->args.has & (CTL_BIT(watch) | CTL_BIT(count)))
		return watch(l, c, false, e);
	return ectl_ask_once(l, c, ret_exit, e);
}

static int run_top(const struct ectl_line *l, struct ctl_client *c, enum ectl_exit *ret_exit,
		   struct err *e)
{
	(void)ret_exit;
	return watch(l, c, true, e);
}

#define OPTION_SERVICE                                                                             \
	{                                                                                          \
		.name = "service", .arg = CTL_A_service, .value = "S", .help = "of this service"   \
	}
#define OPTION_COUNT                                                                               \
	{                                                                                          \
		.name = "count", .arg = CTL_A_count, .value = "N",                                 \
		.help = "so many times; until interrupted else"                                    \
	}

const struct ectl_command ectl_stats_commands[] = {
	{.noun = "stats",
	 .method = "stats",
	 .help = "Packets by reason, by service and by backend on this node, and gossip's "
		 "counters.",
	 .option = {OPTION_SERVICE,
		    {.name = "watch",
		     .arg = CTL_A_watch,
		     .value = "SECONDS",
		     .flag = "1",
		     .help = "again and again, with rates; --json: a line each"},
		    OPTION_COUNT},
	 .show = show,
	 .run = run_stats},
	{0},
};

const struct ectl_command ectl_top_commands[] = {
	{.noun = "top",
	 .method = "stats",
	 .help = "What this node forwards and drops a second: the busiest first.",
	 .option = {OPTION_SERVICE,
		    {.name = "watch",
		     .arg = CTL_A_watch,
		     .value = "SECONDS",
		     .flag = "1",
		     .help = "how often (1)"},
		    OPTION_COUNT},
	 .show = show,
	 .run = run_top},
	{0},
};
