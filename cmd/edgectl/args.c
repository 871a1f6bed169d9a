/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/edgectl/edgectl.h"

#define SOCKET_DEFAULT "/run/edge/edged.sock"

static const struct ectl_command *const tables[] = {
	ectl_status_commands,  ectl_node_commands,  ectl_region_commands,     ectl_service_commands,
	ectl_backend_commands, ectl_route_commands, ectl_stats_commands,      ectl_top_commands,
	ectl_trace_commands,   ectl_hist_commands,  ectl_capture_commands,    ectl_filter_commands,
	ectl_verify_commands,  ectl_wait_commands,  ectl_quarantine_commands, ectl_keys_commands,
	ectl_plan_commands,    ectl_events_commands};
#define TABLE_COUNT (sizeof(tables) / sizeof(tables[0]))

/* ---- finding the command */

static int no_such_noun(const char *noun, struct err *e)
{
	char want[256] = "";
	size_t len = 0;

	for (size_t i = 0; i < TABLE_COUNT && len < sizeof(want); i++)
		len += (size_t)snprintf(want + len, sizeof(want) - len, "%s%s",
					i == 0		       ? ""
					: i + 1 == TABLE_COUNT ? " or "
							       : ", ",
					tables[i]->noun);
	return noun ? err_set(e, -EINVAL, "command: got '%.40s', want %s", noun, want)
		    : err_set(e, -EINVAL, "command: missing, want %s", want);
}

static int no_such_verb(const struct ectl_command *table, const char *verb, struct err *e)
{
	char want[128] = "";
	size_t len = 0;

	for (const struct ectl_command *c = table; c->noun && len < sizeof(want); c++)
		len += (size_t)snprintf(want + len, sizeof(want) - len, "%s%s",
					c == table  ? ""
					: c[1].noun ? ", "
						    : " or ",
					c->verb);
	return verb ? err_set(e, -EINVAL, "%s: got '%.40s', want %s", table->noun, verb, want)
		    : err_set(e, -EINVAL, "%s: missing, want %s", table->noun, want);
}

static const struct ectl_command *find_table(const char *noun)
{
	for (size_t i = 0; i < TABLE_COUNT; i++)
		if (strcmp(tables[i]->noun, noun) == 0)
			return tables[i];
	return NULL;
}

static const struct ectl_command *find_verb(const struct ectl_command *table, const char *verb)
{
	for (const struct ectl_command *c = table; c->noun; c++)
		if (c->verb && strcmp(c->verb, verb) == 0)
			return c;
	return NULL;
}

/* ---- reading the line */

struct reader {
	struct ectl_line *line;
	const struct ectl_command *table; /* of the noun, before its verb is known */
	const struct ctl_signature *signature;
	size_t positional_count;
	struct err *e;
};

static const char *spoken(const struct ectl_command *c, char buf[64])
{
	snprintf(buf, 64, "%s%s%s", c->noun, c->verb ? " " : "", c->verb ? c->verb : "");
	return buf;
}

static int choose(struct reader *r, const struct ectl_command *c)
{
	r->line->command = c;
	r->signature = ctl_signature_find(c->method);
	return r->signature ? 0 : err_set(r->e, -EINVAL, "%s: no method %s", c->noun, c->method);
}

static int read_word(struct reader *r, const char *word)
{
	const struct ectl_command *c = r->line->command;
	char name[64];

	if (!r->table) {
		r->table = find_table(word);
		if (!r->table)
			return no_such_noun(word, r->e);
		return r->table->verb ? 0 : choose(r, r->table);
	}
	if (!c) {
		c = find_verb(r->table, word);
		return c ? choose(r, c) : no_such_verb(r->table, word, r->e);
	}
	if (r->positional_count && c->positional[r->positional_count - 1].is_list)
		r->positional_count--;
	if (r->positional_count == ECTL_WORDS_MAX || !c->positional[r->positional_count].name)
		return err_set(r->e, -EINVAL, "%s: got '%.40s', want no more words",
			       spoken(c, name), word);
	return ctl_args_set(&r->line->args, c->positional[r->positional_count++].arg, word,
			    r->signature, r->e);
}

static const struct ectl_option *find_option(const struct ectl_command *c, const char *name,
					     size_t len)
{
	for (size_t i = 0; c && i < ECTL_OPTIONS_MAX && c->option[i].name; i++)
		if (strlen(c->option[i].name) == len && memcmp(c->option[i].name, name, len) == 0)
			return &c->option[i];
	return NULL;
}

static int set_option(struct reader *r, const struct ectl_option *opt, const char *value)
{
	char name[64];
	size_t prefix = opt->prefix ? strlen(opt->prefix) : 0;

	if (prefix && strncmp(value, opt->prefix, prefix) != 0)
		return err_set(r->e, -EINVAL, "%s: %s: got '%.40s', want %s",
			       spoken(r->line->command, name), opt->name, value, opt->value);
	if (opt->puts) {
		char text[MODEL_WATCH_MAX + 32];

		snprintf(text, sizeof(text), "%s%s", opt->puts, value);
		return ctl_args_set(&r->line->args, opt->arg, text, r->signature, r->e);
	}
	return ctl_args_set(&r->line->args, opt->arg, value + prefix, r->signature, r->e);
}

/* --name, --name=value or --name value. ret_used: arguments that it took. */
static int read_option(struct reader *r, char **argv, int left, int *ret_used)
{
	const char *name = argv[0] + 2, *equals = strchr(name, '=');
	size_t len = equals ? (size_t)(equals - name) : strlen(name);
	const struct ectl_option *opt = find_option(r->line->command, name, len);
	bool is_flag = opt && opt->flag;
	const char *value = equals ? equals + 1 : is_flag ? opt->flag : left > 1 ? argv[1] : NULL;
	bool is_socket = len == 6 && !memcmp(name, "socket", 6);
	char words[64];

	*ret_used = 1;
	if (!opt && !is_socket) {
		if (!strcmp(name, "json"))
			r->line->is_json = true;
		else if (!strcmp(name, "help"))
			r->line->is_help = true;
		else if (!strcmp(name, "version"))
			r->line->is_version = true;
		else if (!strcmp(name, "wide") && r->line->command && r->line->command->has_wide)
			r->line->is_wide = true;
		else if (r->line->command)
			return err_set(r->e, -EINVAL,
				       "%s: got option '%.40s', which it does not have",
				       spoken(r->line->command, words), argv[0]);
		else
			return err_set(
				r->e, -EINVAL,
				"got option '%.40s', want --socket, --json, --help or --version",
				argv[0]);
		return 0;
	}
	if (!value)
		return err_set(r->e, -EINVAL, "--%.*s: value is missing", (int)len, name);
	*ret_used = equals || is_flag ? 1 : 2;
	if (!is_socket)
		return set_option(r, opt, value);
	r->line->socket = value;
	return value[0] ? 0 : err_set(r->e, -EINVAL, "--socket: got '', want a path");
}

static int check_whole(struct reader *r)
{
	const struct ectl_command *c = r->line->command;
	char name[64];

	if (r->line->is_help || r->line->is_version)
		return 0;
	if (!c)
		return r->table ? no_such_verb(r->table, NULL, r->e) : no_such_noun(NULL, r->e);
	if (r->positional_count < ECTL_WORDS_MAX && c->positional[r->positional_count].name &&
	    !c->positional[r->positional_count].is_optional)
		return err_set(r->e, -EINVAL, "%s: %s: missing", spoken(c, name),
			       c->positional[r->positional_count].name);
	return c->check ? c->check(&r->line->args, r->e) : 0;
}

int ectl_parse(int argc, char **argv, struct ectl_line *ret_line, struct err *e)
{
	const char *env = getenv("EDGE_SOCKET");
	struct reader r = {.line = ret_line, .e = e};
	bool is_words_only = false;
	int used, rc = 0;

	*ret_line = (struct ectl_line){.socket = env && env[0] ? env : SOCKET_DEFAULT};
	/* Known early, so that any error can be told as the caller wants it. */
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--json"))
			ret_line->is_json = true;
	for (int i = 1; i < argc && !rc; i += used) {
		used = 1;
		if (!is_words_only && !strcmp(argv[i], "--"))
			is_words_only = true;
		else if (!is_words_only && !strcmp(argv[i], "-h"))
			ret_line->is_help = true;
		else if (!is_words_only && !strncmp(argv[i], "--", 2))
			rc = read_option(&r, argv + i, argc - i, &used);
		else if (!is_words_only && argv[i][0] == '-' && argv[i][1])
			rc = err_set(e, -EINVAL,
				     "got option '%.40s', want a long one (--help shows them)",
				     argv[i]);
		else
			rc = read_word(&r, argv[i]);
	}
	return rc ? rc : check_whole(&r);
}

/* ---- help */

static void usage_line(const struct ectl_command *c)
{
	char name[64];

	printf("edgectl %s", spoken(c, name));
	for (size_t i = 0; i < ECTL_WORDS_MAX && c->positional[i].name; i++)
		printf(c->positional[i].is_optional ? " [%s]"
		       : c->positional[i].is_list   ? " %s..."
						    : " %s",
		       c->positional[i].name);
	for (size_t i = 0; i < ECTL_OPTIONS_MAX && c->option[i].name; i++)
		printf(c->option[i].flag	    ? " [--%s[=%s]]"
		       : c->option[i].is_list	    ? " --%s %s..."
		       : c->option[i].is_repeatable ? " [--%s %s]..."
						    : " [--%s %s]",
		       c->option[i].name, c->option[i].value);
	if (c->has_wide)
		fputs(" [--wide]", stdout);
	putchar('\n');
}

void ectl_help(const struct ectl_command *c)
{
	if (c) {
		fputs("usage: ", stdout);
		usage_line(c);
		printf("\n%s\n", c->help);
		if (c->option[0].name)
			putchar('\n');
		for (size_t i = 0; i < ECTL_OPTIONS_MAX && c->option[i].name; i++) {
			char left[64];

			snprintf(left, sizeof(left), c->option[i].flag ? "--%s[=%s]" : "--%s %s",
				 c->option[i].name, c->option[i].value);
			printf("  %-24s  %s\n", left, c->option[i].help);
		}
		puts("\nand --socket PATH, --json: see edgectl --help");
		return;
	}
	puts("usage: edgectl [--socket PATH] [--json] COMMAND ...\n");
	for (size_t i = 0; i < TABLE_COUNT; i++) {
		for (const struct ectl_command *k = tables[i]; k->noun; k++) {
			fputs("  ", stdout);
			usage_line(k);
			printf("      %s\n", k->help);
		}
	}
	puts("\n  --socket PATH  edged's control socket (EDGE_SOCKET, else " SOCKET_DEFAULT ")\n"
	     "  --json         the answer as JSON\n"
	     "  --version      version of edgectl\n"
	     "\nexit: 0 ok, 1 refused or not found, 2 usage, 3 edged can't be reached");
}
