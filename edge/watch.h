/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/watch.h - is the process, or the control group, that a backend stands on still there?
 *
 * Specs     "pid:N" or "pid:N:START" (START: field 22 of /proc/N/stat, so that a number used again is another process);
 *           "pidfile:/PATH", read again until it names a living process; "cgroup:/PATH" of the unified hierarchy, below
 *           /sys/fs/cgroup or wherever PATH/cgroup.events is; "unit:NAME" is cgroup:/system.slice/NAME
 * Tells     once soon after the start, then on every change, from the loop. A death is heard by pidfd, or by cgroup.events
 *           turning to "populated 0"; what comes back is looked for every WATCH_LOOK_MS
 * Errors    what can't be looked at for lack of descriptors or memory is no death: looked at again later
 * Threads   the loop's thread. watch_close is asynchronous: nothing is told after it returns, memory goes later
 */
#ifndef EDGE_WATCH_H
#define EDGE_WATCH_H

#include <stdbool.h>

#include <uv.h>

#include "gossip/err.h"

#define WATCH_SPEC_MAX 128
#define WATCH_LOOK_MS 200

struct watch;
/* why: "process 4711 has ended", valid during the call */
typedef void (*watch_cb)(bool is_alive, const char *why, void *arg);

/* Is it a spec? -EINVAL with e set. */
int watch_check(const char *spec, struct err *e);
/* "pid:N" gets its START; the others stay. -ESRCH: there is no such process. */
int watch_complete(char spec[WATCH_SPEC_MAX], struct err *e);
int watch_open(uv_loop_t *uv, const char *spec, watch_cb cb, void *arg, struct watch **ret_watch);
void watch_close(struct watch *w);

#endif
