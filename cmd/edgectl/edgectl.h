/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cmd/edgectl/edgectl.h - what the subcommands share. One file per noun; each gives a table of its commands.
 *
 * A command is data: the method it calls, the arguments it takes, and how its result is shown. Results come from the daemon
 * and are shown as text that no terminal can be upset by. Exit codes: 0 ok, 1 refused or not found, 2 usage, 3 the daemon
 * can't be reached (or makes no sense).
 */
#ifndef CMD_EDGECTL_EDGECTL_H
#define CMD_EDGECTL_EDGECTL_H

#include <jansson.h>
#include <msgpack.h>

#include "cmd/ctl.h"
#include "cmd/ctl_args.h"

enum ectl_exit { ECTL_OK = 0, ECTL_REFUSED = 1, ECTL_USAGE = 2, ECTL_UNREACHABLE = 3 };

/* ---- commands */

#define ECTL_OPTIONS_MAX 12
#define ECTL_WORDS_MAX 3
struct ectl_line;
struct ectl_option {
	const char *name; /* "weight" of --weight */
	enum ctl_arg arg;
	const char *prefix; /* what the value must begin with ("hash="), NULL = nothing */
	const char *value;  /* for the help text: "W" */
	const char *help;
	bool is_list;	    /* once at least, and may repeat */
	bool is_repeatable; /* may be missing, and may repeat */
	const char *
		flag; /* what it means without =VALUE, for those that take none; NULL = it needs one */
	const char *puts; /* put in front of the value ("pid:"); NULL = nothing */
};
struct ectl_command {
	const char *noun, *verb; /* verb NULL: the noun alone */
	const char *method;
	const char *help; /* one sentence */
	struct ectl_positional {
		const char *name; /* for the help text; NULL = no more */
		enum ctl_arg arg;
		bool is_optional;
		bool is_list; /* this and all words behind it */
	} positional[ECTL_WORDS_MAX];
	struct ectl_option option[ECTL_OPTIONS_MAX];
	/* Before the call: what can be judged here is a usage error. May fill in defaults. NULL = nothing to do. */
	int (*check)(struct ctl_args *a, struct err *e);
	void (*show)(const msgpack_object *result);
	/* What the result means for scripts; NULL = it is fine. */
	enum ectl_exit (*judge)(const msgpack_object *result);
	/* Instead of one call and show(): a command that goes on for a while. As ctl_call(); ret_exit is for 0. */
	int (*run)(const struct ectl_line *l, struct ctl_client *c, enum ectl_exit *ret_exit,
		   struct err *e);
	bool has_wide; /* takes --wide: more columns */
};
extern const struct ectl_command ectl_status_commands[], ectl_node_commands[],
	ectl_region_commands[], ectl_service_commands[], ectl_backend_commands[],
	ectl_route_commands[], ectl_stats_commands[], ectl_top_commands[], ectl_trace_commands[],
	ectl_hist_commands[], ectl_capture_commands[], ectl_filter_commands[],
	ectl_events_commands[], ectl_plan_commands[], ectl_verify_commands[], ectl_wait_commands[],
	ectl_quarantine_commands[], ectl_keys_commands[]; /* noun NULL ends each */
extern bool ectl_is_wide;

/* ---- args.c: the command line */
struct ectl_line {
	const char *socket;
	bool is_json, is_help, is_version, is_wide;
	const struct ectl_command *command; /* NULL: only is_help or is_version */
	struct ctl_args args;
};
/* 0 | -EINVAL with e set: usage. */
int ectl_parse(int argc, char **argv, struct ectl_line *ret_line, struct err *e);
void ectl_help(const struct ectl_command *c); /* NULL: of all */

/* ---- main.c */
/* Calls a method with those of the arguments that it takes. As ctl_call(). */
int ectl_call(struct ctl_client *c, const char *method, const struct ctl_args *a,
	      msgpack_unpacked *ret_result, struct err *e);
/* The ordinary command: one call of its method, shown. */
int ectl_ask_once(const struct ectl_line *l, struct ctl_client *c, enum ectl_exit *ret_exit,
		  struct err *e);
void ectl_print_json(json_t *j); /* and lets go of it */
void *ectl_need(void *p);	 /* NULL: says that memory ran out, and ends */

/* ---- result.c: reading results; a field that is missing or of another type reads as empty, 0, false */
#define ECTL_TEXT_MAX 512
const msgpack_object *ectl_get(const msgpack_object *map, const char *key); /* NULL = none */
const char *ectl_text(const msgpack_object *map, const char *key, char buf[ECTL_TEXT_MAX]);
uint64_t ectl_uint(const msgpack_object *map, const char *key);
bool ectl_has(const msgpack_object *map, const char *key); /* there, and not nil */
bool ectl_bool(const msgpack_object *map, const char *key);
/* Elements of a list: 0 if it is none. */
size_t ectl_count(const msgpack_object *map, const char *key);
const msgpack_object *ectl_at(const msgpack_object *map, const char *key, size_t i);
/* A list of texts, commas between. */
const char *ectl_join(const msgpack_object *map, const char *key, char buf[ECTL_TEXT_MAX]);
/* "3.2 s ago", "-" for nil */
const char *ectl_ago(const msgpack_object *map, const char *key, char buf[32]);
const char *ectl_span(const msgpack_object *map, const char *key, char buf[32]);
json_t *ectl_to_json(const msgpack_object *o); /* new reference, NULL = out of memory */

/* ---- table.c: aligned columns on stdout */
#define ECTL_COLUMNS_MAX 12
struct ectl_table;
/* heads: column titles, NULL ends; a title that begins with '>' is right-aligned. */
struct ectl_table *ectl_table_new(const char *const *heads);
void ectl_cell(struct ectl_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void ectl_group(struct ectl_table *t,
		const char *title); /* a line of its own, before the next row */
void ectl_table_print(struct ectl_table *t, const char *indent); /* and frees it */
/* One line of text, made harmless. */
void ectl_line(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Parts of results that several commands show. */
void ectl_show_nodes(const msgpack_object *r, const char *indent);
void ectl_show_services(const msgpack_object *r, const char *indent);
void ectl_show_filters(const msgpack_object *r, const char *indent);
/* "hash=source pps=1000" */
const char *ectl_policy(const msgpack_object *service, char buf[ECTL_TEXT_MAX]);
/* Before the call: who does this, the person behind sudo if there is one. */
void ectl_fill_author(struct ctl_args *a);
void ectl_show_backends(const msgpack_object *r, const char *indent);
void ectl_show_text(const msgpack_object *r); /* {text} of a change */

#endif
