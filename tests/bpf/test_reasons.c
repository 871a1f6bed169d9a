/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* docs/DATAPATH.md lists every reason and every map, as the code has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bpf/dp_reasons.h"

static char *read_all(const char *path)
{
	char *text = calloc(1, 1 << 18);
	FILE *f = fopen(path, "r");

	assert_non_null(text);
	if (!f)
		fail_msg("%s: not found (run from the root of the tree)", path);
	assert_in_range(fread(text, 1, (1 << 18) - 1, f), 1, (1 << 18) - 2);
	fclose(f);
	return text;
}

static void test_doc_when_reason_exists_then_listed(void **state)
{
	static const struct {
		const char *text, *meaning;
		int drop;
	} reasons[] = {
#define ROW(name, text, drop, meaning) {text, meaning, drop},
		DP_REASONS(ROW)
#undef ROW
	};
	char *doc = read_all("docs/DATAPATH.md"), line[256];

	(void)state;
	for (size_t i = 0; i < DP_REASON_COUNT; i++) {
		snprintf(line, sizeof(line), "| `%s` | %s | %s |", reasons[i].text,
			 reasons[i].drop ? "dropped" : "goes on", reasons[i].meaning);
		if (!strstr(doc, line))
			fail_msg("docs/DATAPATH.md lacks: %s", line);
	}
	free(doc);
}

static void test_doc_when_map_exists_then_listed(void **state)
{
	char *doc = read_all("docs/DATAPATH.md"), *maps = read_all("bpf/dp_maps.h"), name[16],
	     quoted[20];

	(void)state;
	for (char *at = maps; (at = strstr(at, "} dp_")); at++) {
		if (sscanf(at, "} %15[a-z0-9_] SEC", name) != 1)
			continue;

		snprintf(quoted, sizeof(quoted), "`%s`", name);
		if (!strstr(doc, quoted))
			fail_msg("docs/DATAPATH.md lacks the map %s", quoted);
	}
	free(doc);
	free(maps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_doc_when_reason_exists_then_listed),
		cmocka_unit_test(test_doc_when_map_exists_then_listed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
