/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/model_check.h - what the two forms of a check share, text and record. For edge/model_check*.c alone.
 *
 * The _is_good functions say whether one value may stand in a check; texts may come without their NUL and are then bad.
 */
#ifndef EDGE_MODEL_CHECK_H
#define EDGE_MODEL_CHECK_H

#include "edge/model_map.h"

#define CHECK_INTERVAL_DEFAULT_MS 1000u
#define CHECK_TIMEOUT_DEFAULT_MS 500u
#define CHECK_INTERVAL_MIN_MS 50u /* a fifth of it, while changing state, is still a sane timer */
#define CHECK_INTERVAL_MAX_MS 3600000u
#define CHECK_TIMEOUT_MIN_MS 10u
#define CHECK_STREAK_DEFAULT 2
#define CHECK_STREAK_MAX 20
#define CHECK_STATUS_LO 200
#define CHECK_STATUS_HI 399
#define CHECK_ARGS_MAX 16 /* of a program */

static inline uint32_t model_check_timeout_ms(uint32_t interval_ms)
{
	return interval_ms < CHECK_TIMEOUT_DEFAULT_MS ? interval_ms : CHECK_TIMEOUT_DEFAULT_MS;
}
static inline bool model_check_is_http(const struct model_check *c)
{
	return c->kind == MODEL_CHECK_HTTP || c->kind == MODEL_CHECK_HTTPS;
}

bool model_check_host_is_good(const char *host);
bool model_check_sni_is_good(const char *sni);
bool model_check_path_is_good(const char *path);
bool model_check_name_is_good(const char *name);
bool model_check_run_is_good(const char *run);
bool model_check_match_is_good(const char *match);

#endif
