/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/check/curl_lib.h - libcurl, loaded by the first HTTP check and not before.
 *
 * Why       Debian's build brings 20 other libraries along (two TLS stacks, Kerberos, LDAP, SSH): 5 of the daemon's 12 MiB
 *           resident, which a node without HTTP checks does not need.
 * Source    dlopen(3) of the soname of the headers that this was built with
 */
#ifndef EDGE_CHECK_CURL_LIB_H
#define EDGE_CHECK_CURL_LIB_H

#include <curl/curl.h>

#include "gossip/err.h"

#define CURL_LIB_SONAME "libcurl.so.4"

/* What is called of it, by libcurl's own names less the prefix. */
struct curl_lib {
	__typeof__(&curl_global_init) global_init;
	__typeof__(&curl_easy_init) easy_init;
	__typeof__(&(curl_easy_setopt)) easy_setopt;
	__typeof__(&(curl_easy_getinfo)) easy_getinfo;
	__typeof__(&curl_easy_strerror) easy_strerror;
	__typeof__(&curl_easy_cleanup) easy_cleanup;
	__typeof__(&curl_slist_append) slist_append;
	__typeof__(&curl_slist_free_all) slist_free_all;
	__typeof__(&curl_multi_init) multi_init;
	__typeof__(&(curl_multi_setopt)) multi_setopt;
	__typeof__(&curl_multi_assign) multi_assign;
	__typeof__(&curl_multi_socket_action) multi_socket_action;
	__typeof__(&curl_multi_info_read) multi_info_read;
	__typeof__(&curl_multi_add_handle) multi_add_handle;
	__typeof__(&curl_multi_remove_handle) multi_remove_handle;
	__typeof__(&curl_multi_cleanup) multi_cleanup;
};

/* For good once it is there; takes some ms the first time. NULL with -ELIBACC in e: it isn't, or lacks a function; asked
 * again the next time. From one thread. */
const struct curl_lib *curl_lib_get(struct err *e);

#endif
