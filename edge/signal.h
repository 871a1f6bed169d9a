/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/signal.h - what the worker's packets tell of its backends: the ring of refusals, and the pulse of each slot.
 *
 * Reads the maps dp_signal and dp_pulse (bpf/dp_signal.h). What it means is the agent's to judge (edge/agent_health.c).
 * Refusals  signal_cb is called for each from the loop, SIGNAL_BATCH_MAX at a turn; what an earlier process left in the
 *           ring is dropped at the start
 * Silence   a pure judge of pulses, looked at every SIGNAL_TICK_MS: of looks between which a backend was asked, the
 *           last SILENT_LOOKS found no answer, where STEADY_LOOKS before them had
 * Threads   the loop's thread. Close is asynchronous
 */
#ifndef EDGE_SIGNAL_H
#define EDGE_SIGNAL_H

#include <uv.h>

#include "edge/dp.h"

#define SIGNAL_BATCH_MAX 256
#define SIGNAL_TICK_MS 50
#define SIGNAL_STEADY_LOOKS 10
#define SIGNAL_SILENT_LOOKS 5

typedef void (*signal_cb)(const struct dp_signal *s, void *arg);
struct signals;
int signals_open(uv_loop_t *uv, const struct dp_fds *fds, signal_cb cb, void *arg,
		 struct signals **ret_signals, struct err *e);
/* The slot's pulse as it is now; zero where there is none. */
struct dp_pulse signals_pulse(const struct signals *s, uint32_t slot);
void signals_close(struct signals *s, void (*cb)(void *arg), void *arg);

const char *signal_kind_text(uint8_t kind); /* "port unreachable" */

struct silence { /* zero: nothing is known */
	uint32_t asked, heard;
	uint8_t steady, silent; /* looks that found answers; that found questions alone, in a row */
	bool is_begun;
};
/* One more look. True once per silence: then a steady history is asked for again. */
bool silence_look(struct silence *s, const struct dp_pulse *now);

#endif
