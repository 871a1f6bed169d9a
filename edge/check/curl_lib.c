/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/check/curl_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define FUNCTION(name)                                                                             \
	{                                                                                          \
		"curl_" #name, offsetof(struct curl_lib, name)                                     \
	}

static const struct {
	const char *symbol;
	size_t at;
} function[] = {
	FUNCTION(global_init),	   FUNCTION(easy_init),	       FUNCTION(easy_setopt),
	FUNCTION(easy_getinfo),	   FUNCTION(easy_strerror),    FUNCTION(easy_cleanup),
	FUNCTION(slist_append),	   FUNCTION(slist_free_all),   FUNCTION(multi_init),
	FUNCTION(multi_setopt),	   FUNCTION(multi_assign),     FUNCTION(multi_socket_action),
	FUNCTION(multi_info_read), FUNCTION(multi_add_handle), FUNCTION(multi_remove_handle),
	FUNCTION(multi_cleanup),
};

_Static_assert(sizeof(function) / sizeof(function[0]) * sizeof(void (*)(void)) ==
		       sizeof(struct curl_lib),
	       "each function is looked up");

const struct curl_lib *curl_lib_get(struct err *e)
{
	static struct curl_lib lib;
	static bool is_loaded;
	void *handle, *symbol;

	if (is_loaded)
		return &lib;
	handle = dlopen(CURL_LIB_SONAME, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		(void)err_set(e, -ELIBACC, "check: http: %s", dlerror());
		return NULL;
	}
	for (size_t i = 0; i < sizeof(function) / sizeof(function[0]); i++) {
		symbol = dlsym(handle, function[i].symbol);
		if (!symbol) {
			(void)err_set(e, -ELIBACC, "check: http: %s", dlerror());
			(void)dlclose(handle);
			return NULL;
		}
		memcpy((char *)&lib + function[i].at, &symbol, sizeof(symbol));
	}
	if (lib.global_init(CURL_GLOBAL_DEFAULT)) {
		(void)err_set(e, -ELIBACC, "check: http: %s can't begin", CURL_LIB_SONAME);
		(void)dlclose(handle);
		return NULL;
	}
	is_loaded = true;
	return &lib;
}
