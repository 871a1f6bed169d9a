/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edgectl - asks edged over its control socket and shows the answer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/edgectl/edgectl.h"

static void print_json(json_t *j)
{
	if (!j || json_dumpf(j, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER)) {
		fputs("edgectl: out of memory\n", stderr);
		exit(ECTL_REFUSED);
	}
	putchar('\n');
	json_decref(j);
}

/* The sentence on stderr; with --json an object on stdout too, so that scripts parse one thing. */
static int fail(const struct ectl_line *l, int status, const struct err *e)
{
	fprintf(stderr, "edgectl: %s\n", e->text);
	if (l->is_json)
		print_json(json_pack("{s:{s:i, s:s}}", "error", "code", -e->code, "text", e->text));
	if (status == ECTL_USAGE && l->command)
		fprintf(stderr, "see: edgectl %s%s%s --help\n", l->command->noun,
			l->command->verb ? " " : "", l->command->verb ? l->command->verb : "");
	else if (status == ECTL_USAGE)
		fputs("see: edgectl --help\n", stderr);
	return status;
}

static int run(const struct ectl_line *l)
{
	struct ctl_client *client = NULL;
	msgpack_unpacked result;
	msgpack_sbuffer params;
	struct err e = {0};
	int rc;

	msgpack_sbuffer_init(&params);
	ctl_args_pack(&l->args, &params);
	rc = ctl_connect(l->socket, &client, &e);
	if (!rc)
		rc = ctl_call(client, l->command->method, &params, &result, &e);
	msgpack_sbuffer_destroy(&params);
	if (rc) {
		ctl_disconnect(client);
		return fail(l, rc == CTL_REFUSED ? ECTL_REFUSED : ECTL_UNREACHABLE, &e);
	}
	if (l->is_json)
		print_json(ectl_to_json(&result.data));
	else
		l->command->show(&result.data);
	msgpack_unpacked_destroy(&result);
	ctl_disconnect(client);
	if (fflush(stdout) || ferror(stdout)) {
		fputs("edgectl: can't write the answer\n", stderr);
		return ECTL_REFUSED;
	}
	return ECTL_OK;
}

int main(int argc, char **argv)
{
	struct ectl_line l;
	struct err e = {0};

	if (ectl_parse(argc, argv, &l, &e))
		return fail(&l, ECTL_USAGE, &e);
	if (l.is_version) {
		puts("edgectl " EDGE_VERSION);
		return ECTL_OK;
	}
	if (l.is_help) {
		ectl_help(l.command);
		return ECTL_OK;
	}
	return run(&l);
}
