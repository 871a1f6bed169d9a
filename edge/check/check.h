/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/check/check.h - active health checks of this node's own backends, on the loop. One file per kind of check.
 *
 * A check runs every interval (with +-10 % jitter, and at once at the start); `fall` failures or `rise` successes in a
 * row change the state and call back; from UNKNOWN the first result does. While results disagree with the state the
 * interval is a fifth of it. What this process lacks (descriptors, memory, ports) is no result.
 * The backend in another network namespace behind a bridge is reached by its address like any other.
 * Threads   the loop's thread. check_stop is asynchronous: nothing is called back after it returns, memory goes later.
 */
#ifndef EDGE_CHECK_CHECK_H
#define EDGE_CHECK_CHECK_H

#include <uv.h>

#include "edge/model.h"

struct check;
struct check_result {
	enum model_health_state state;
	char why[64];  /* "connected in 0.4 ms", "connection refused", "no answer in 500 ms" */
	bool is_first; /* the first one after check_signal() */
};
typedef void (*check_cb)(const struct check_result *r, void *arg);

/* state: what the store remembered; kept until results say otherwise. Kind none calls back PASSING
 * once, from the loop. */
int check_start(uv_loop_t *uv, const struct ip_addr *addr, uint16_t port,
		const struct model_check *spec, enum model_health_state state, check_cb cb,
		void *arg, struct check **ret_check);
void check_stop(struct check *c);
/* Run the next one now. */
void check_kick(struct check *c);
/* Something else than a check says that the backend is gone: a probe begins now, in place of one under way, and its result
 * alone decides, not `rise` or `fall` of them, and calls back in any case. is_out: it counts as FAILING already, and for
 * CHECK_SIGNAL_MS the interval is a fifth, at most 500 ms, while it fails. Kind none has no result. */
#define CHECK_SIGNAL_MS 30000
void check_signal(struct check *c, bool is_out);

#endif
