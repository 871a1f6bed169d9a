/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cmd/watchdog.h - a daemon whose event loop stands still ends itself, and is started again by who watches it.
 *
 * A thread looks whether the loop's own timer has fired since it looked last. After `limit_ms` of the thread's own time without
 * one it says so on stderr and abort()s: the core file shows where the loop stood. Time in which the whole process did not run
 * (stopped, its machine asleep) counts for neither, for the thread stood still as well. Under systemd (NOTIFY_SOCKET,
 * WATCHDOG_USEC) the same timer says that it lives, and once that it is ready: sd_notify(3).
 * Threads   one of its own, that touches nothing but a counter and stderr
 * Limits    one watchdog a process
 */
#ifndef CMD_WATCHDOG_H
#define CMD_WATCHDOG_H

#include <uv.h>

#include "gossip/err.h"

#define WATCHDOG_LIMIT_MS 10000u

struct watchdog;
/* name: for the line that is said. -ENOMEM | another error: no thread, but ret_watchdog is set: the manager alone looks. */
int watchdog_start(uv_loop_t *uv, const char *name, uint32_t limit_ms,
		   struct watchdog **ret_watchdog, struct err *e);
/* Up: tells systemd. NULL is harmless. */
void watchdog_ready(struct watchdog *w);
/* Ends the thread, closes the timer; the loop must run once more. NULL is harmless. */
void watchdog_stop(struct watchdog *w);

#endif
