/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/capture.h - packets as the forwarder's programs leave them: switches the capture on in dp_ctl, reads dp_capture.
 *
 * The ring buffer in the kernel is the only queue: whoever reads too slowly loses packets there, and they are counted. The
 * capture ends by itself when nobody reads for CAPTURE_SILENT_MS.
 * Time      records carry CLOCK_MONOTONIC; batches, nanoseconds since 1970 by the clock of now
 * Memory    a batch is valid during the call of its callback
 * Threads   the loop's thread; one capture at a time on one set of maps. No callback comes out of capture_open(), and none
 *           but its own after capture_close()
 */
#ifndef EDGE_CAPTURE_H
#define EDGE_CAPTURE_H

#include <uv.h>

#include "bpf/dp_reasons.h"
#include "bpf/dp_see_abi.h"
#include "edge/dp.h"

#define CAPTURE_BATCH_MAX 256
#define CAPTURE_WAIT_MS 500
#define CAPTURE_SILENT_MS 5000

struct capture;
struct capture_config {
	uint32_t every;	     /* one packet in so many, at least 1 */
	uint64_t reasons[2]; /* a bit per enum dp_reason; all zero = every reason */
};
struct capture_frame {
	uint64_t unix_ns;
	struct dp_captured rec;
};
struct capture_batch {
	const struct capture_frame *frame;
	size_t count;
	uint64_t lost; /* since the capture began: no room in the ring */
};
/* status 0 with a batch, which may be empty; or a negative errno: the capture is over */
typedef void (*capture_cb)(int status, const struct capture_batch *batch, void *arg);

/* ctl: dp_ctl, mapped; must live until capture_close() returns, the fds until its cb. over_cb: it ended by itself;
 * capture_close() must follow, and may come out of it. */
int capture_open(uv_loop_t *uv, const struct dp_fds *fds, struct dp_ctl *ctl,
		 const struct capture_config *cfg, void (*over_cb)(void *arg), void *arg,
		 struct capture **ret_capture, struct err *e);
/* What is there now, or will be within CAPTURE_WAIT_MS: cb is called once, maybe at once. -EBUSY: one read waits already. */
int capture_read(struct capture *c, capture_cb cb, void *arg);
/* Off at once; a read that waits is answered -ECANCELED. cb (may be NULL) comes from the loop. */
void capture_close(struct capture *c, void (*cb)(void *arg), void *arg);
/* Is the link header of this packet there, or does it begin with IP? */
bool capture_is_raw_ip(const struct dp_captured *rec);

#endif
