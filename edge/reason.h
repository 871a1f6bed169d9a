/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/reason.h - the names of bpf/dp_reasons.h by number. PURE. Beyond the last reason: "?", no drop. */
#ifndef EDGE_REASON_H
#define EDGE_REASON_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/dp_reasons.h"

const char *reason_name(uint32_t reason);
const char *reason_meaning(uint32_t reason);
bool reason_is_drop(uint32_t reason);
int reason_find(const char *name, uint32_t *ret_reason); /* 0 | -ENOENT */

#endif
