/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/check/check.h - active health checks of this node's own backends, on the loop. One file per kind of check.
 *
 * A check runs every interval (with +-10 % jitter; the first one at once if nothing is known, else within a fifth of the
 * interval, by the backend's name); `fall` failures or `rise` successes in a row change the state and call back; from
 * UNKNOWN the first result does. While results disagree with the state the interval is a fifth of it. What this process
 * lacks (descriptors, memory, ports, leave to run a program) is no result.
 * A warning is a success that says so: PASSING, shown after `fall` of them in a row, gone after `rise` without.
 * The backend in another network namespace behind a bridge is reached by its address like any other.
 *
 * Limits    CHECK_PROBES_MAX under way at a time, CHECK_PROGRAMS_MAX of them programs; others wait their turn
 * Threads   the loop's thread. check_stop is asynchronous: nothing is called back after it returns, memory goes later.
 */
#ifndef EDGE_CHECK_CHECK_H
#define EDGE_CHECK_CHECK_H

#include <uv.h>

#include "edge/model.h"

#define CHECK_PROBES_MAX 512
#define CHECK_PROGRAMS_MAX 16
#define CHECK_OUTPUT_MAX 256

/* What all checks of one process share. */
struct check_pool;
struct check_pool_config {
	const char *program_dir; /* programs that checks may run are in it; NULL = none may */
	const char *ca_file;	 /* certificates that https trusts, NULL = the system's */
};
/* May programs be run from there? -EPERM: others than root and this process's user may write there, or put another directory
 * in its place (a sticky one above it, such as /tmp, is fine) | as stat(2), -ENOTDIR, -ENAMETOOLONG. ret_real: its name without
 * symbolic links, by which it is to be used. */
#define CHECK_DIR_MAX 128
int check_dir_trust(const char *path, char ret_real[CHECK_DIR_MAX], struct err *e);
int check_pool_open(uv_loop_t *uv, const struct check_pool_config *cfg,
		    struct check_pool **ret_pool);
/* After the last check_stop(). NULL is allowed, and cb, then never called. Programs under way are killed. */
void check_pool_close(struct check_pool *pool, void (*cb)(void *arg), void *arg);
/* Can such a check run on this node? -EACCES, -ENOENT; -ELIBACC: libcurl is not to be had */
int check_pool_allows(const struct check_pool *pool, const struct model_check *spec, struct err *e);

struct check;
struct check_result {
	enum model_health_state state;
	bool is_warning;
	char why[64];  /* "connected in 0.4 ms", "connection refused", "timed out after 500 ms" */
	bool is_first; /* the first one after check_signal() */
};
typedef void (*check_cb)(const struct check_result *r, void *arg);

/* What a check is of. */
struct check_of {
	struct ip_addr addr;
	uint16_t port;		  /* unless the specification has one */
	char name[MODEL_KEY_MAX]; /* the backend's key */
	enum model_health_state
		state; /* what the store remembered; kept until results say otherwise */
	bool is_warning;
};
/* Kind none calls back PASSING once, from the loop. */
int check_start(struct check_pool *pool, const struct check_of *of, const struct model_check *spec,
		check_cb cb, void *arg, struct check **ret_check);
void check_stop(struct check *c);
/* Run the next one now. */
void check_kick(struct check *c);
/* Something else than a check says that the backend is gone: a probe begins now, in place of one under way, and its result
 * alone decides, not `rise` or `fall` of them, and calls back in any case. is_out: it counts as FAILING already, and for
 * CHECK_SIGNAL_MS the interval is a fifth, at most 500 ms, while it fails. Kind none has no result. */
#define CHECK_SIGNAL_MS 30000
void check_signal(struct check *c, bool is_out);

enum check_verdict { CHECK_NO_RESULT, CHECK_GOOD, CHECK_WARN, CHECK_BAD };
struct check_look {
	enum check_verdict last;       /* CHECK_NO_RESULT: it could not be made, output says why */
	char output[CHECK_OUTPUT_MAX]; /* of the last one, printable; "" = there was none */
	uint64_t unix_ms;	       /* when it ended, 0 = there was none */
	uint32_t took_us;
	unsigned streak; /* results like the last one in a row */
	bool is_under_way;
	uint64_t next_ms; /* how long until the next begins */
};
void check_see(const struct check *c, struct check_look *ret_look);

#endif
