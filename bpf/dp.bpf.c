/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp.bpf.c - the forwarder: all programs in one object, so that they share their maps. See docs/DATAPATH.md. */
#include <stddef.h>

#include "bpf/dp_one.h"
#include "bpf/dp_tc.h"
#include "bpf/dp_xdp.h"
#include "bpf/dp_trace.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
