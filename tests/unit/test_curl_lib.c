/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* libcurl comes with the first HTTP check; without it such a check has no result, and that is no word on the backend. Needs
 * root: the library is hidden in a mount namespace. */
#include <errno.h>
#include <glob.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>

#include <cmocka.h>

#include "edge/check/check_int.h"
#include "edge/check/curl_lib.h"

static void test_curl_lib_when_hidden_then_refused_and_when_back_then_there(void **state)
{
	struct model_check spec;
	struct err e = {0};
	glob_t found;

	(void)state;
	assert_int_equal(glob("/usr/lib/*/" CURL_LIB_SONAME, 0, NULL, &found), 0);
	assert_int_equal(model_check_parse("http:path=/", &spec, &e), 0);
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	assert_int_equal(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
	assert_int_equal(mount("/dev/null", found.gl_pathv[0], NULL, MS_BIND, NULL), 0);

	assert_null(curl_lib_get(&e));
	assert_int_equal(e.code, -ELIBACC);
	assert_non_null(strstr(e.text, CURL_LIB_SONAME));
	assert_int_equal(check_pool_allows(NULL, &spec, &e), -ELIBACC);
	assert_true(check_is_our_fault(-ELIBACC));

	assert_int_equal(umount(found.gl_pathv[0]), 0);
	assert_int_equal(check_pool_allows(NULL, &spec, &e), 0);
	assert_non_null(curl_lib_get(&e));
	globfree(&found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_curl_lib_when_hidden_then_refused_and_when_back_then_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
