/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edgectl - asks edged over its control socket and shows the answer. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/edgectl/edgectl.h"

void ectl_print_json(json_t *j)
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
		ectl_print_json(
			json_pack("{s:{s:i, s:s}}", "error", "code", -e->code, "text", e->text));
	if (status == ECTL_USAGE && l->command)
		fprintf(stderr, "see: edgectl %s%s%s --help\n", l->command->noun,
			l->command->verb ? " " : "", l->command->verb ? l->command->verb : "");
	else if (status == ECTL_USAGE)
		fputs("see: edgectl --help\n", stderr);
	return status;
}

int ectl_call(struct ctl_client *c, const char *method, const struct ctl_args *a,
	      msgpack_unpacked *ret_result, struct err *e)
{
	const struct ctl_signature *s = ctl_signature_find(method);
	struct ctl_args taken = *a;
	msgpack_sbuffer params;
	int rc;

	taken.has &= s ? s->takes : 0;
	msgpack_sbuffer_init(&params);
	ctl_args_pack(&taken, &params);
	rc = ctl_call(c, method, &params, ret_result, e);
	msgpack_sbuffer_destroy(&params);
	return rc;
}

int ectl_ask_once(const struct ectl_line *l, struct ctl_client *c, enum ectl_exit *ret_exit,
		  struct err *e)
{
	msgpack_unpacked result;
	int rc = ectl_call(c, l->command->method, &l->args, &result, e);

	if (rc)
		return rc;
	if (l->is_json)
		ectl_print_json(ectl_to_json(&result.data));
	else
		l->command->show(&result.data);
	if (l->command->judge)
		*ret_exit = l->command->judge(&result.data);
	msgpack_unpacked_destroy(&result);
	return 0;
}

static int run(const struct ectl_line *l)
{
	enum ectl_exit status = ECTL_OK;
	struct ctl_client *client = NULL;
	struct err e = {0};
	int rc = ctl_connect(l->socket, &client, &e);

	ectl_is_wide = l->is_wide;
	if (!rc)
		rc = (l->command->run ? l->command->run : ectl_ask_once)(l, client, &status, &e);
	ctl_disconnect(client);
	if (rc)
		return fail(l, rc == CTL_REFUSED ? ECTL_REFUSED : ECTL_UNREACHABLE, &e);
	if (fflush(stdout) || ferror(stdout)) {
		fputs("edgectl: can't write the answer\n", stderr);
		return ECTL_REFUSED;
	}
	return (int)status;
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
