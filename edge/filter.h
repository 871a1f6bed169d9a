/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/filter.h - prefix lists as dp_filter holds them. PURE.
 *
 * A longest-prefix map knows no families: ::/0 would match IPv4 sources too, which are v4-mapped there. So each list that
 * has such a prefix and none of its own for all of IPv4 gets an entry for ::ffff:0:0/96 that says nothing.
 */
#ifndef EDGE_FILTER_H
#define EDGE_FILTER_H

#include "bpf/dp_abi.h"
#include "edge/mapset.h"
#include "edge/model.h"

#define FILTER_SILENT 0u /* value of an entry that says nothing */

/* svc_id: dp_svc.svc_id, 0 = of every service. 0 | -ENOMEM. */
int filter_add(struct mapset *s, uint32_t svc_id, const struct ip_prefix *prefix, uint8_t verb);
/* Sorts, and adds what keeps the families apart. 0 | -ENOMEM. */
int filter_finish(struct mapset *s);

#endif
