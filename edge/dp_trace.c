/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/dp_trace.c - runs the program dp_trace on one packet, over the live maps. */
#include <errno.h>
#include <string.h>

#include <bpf/bpf.h>

#include "edge/dp_int.h"

int dp_trace(struct dp_loader *d, const uint8_t *frame, size_t bytes, struct dp_trace *ret_trace)
{
	const struct bpf_program *prog = bpf_object__find_program_by_name(d->obj, "dp_trace");
	int out_fd = bpf_object__find_map_fd_by_name(d->obj, "dp_trace_out");
	uint8_t after[DP_TRACE_FRAME_MAX];
	uint32_t zero = 0;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = (uint32_t)bytes,
		    .data_out = after, .data_size_out = sizeof(after), .repeat = 1);

	if (!prog || out_fd < 0)
		return -ENOENT;
	if (bytes > sizeof(after))
		return -EMSGSIZE;
	if (bpf_prog_test_run_opts(bpf_program__fd(prog), &o))
		return -errno; /* too short for the kernel: -EINVAL */
	if (o.retval == XDP_ABORTED)
		return -EINVAL;
	return bpf_map_lookup_elem(out_fd, &zero, ret_trace) ? -errno : 0;
}
