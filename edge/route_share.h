/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/route_share.h - of the usable backends of an entry, which get rows, and how many. Pure; for edge/route.c.
 *
 * The nearest tier with a usable backend serves alone. With the policy spill=P, a tier of which less than P percent (by weight)
 * is usable keeps only usable / P of what reached it, and the next tier takes what is left. A tier in which none passes, and some
 * are used in panic, keeps what their shares are of it.
 * Shares    a backend that starts slowly, one on a node that is to carry less, and one that is used in panic count with a part of
 *           their weight
 */
#ifndef EDGE_ROUTE_SHARE_H
#define EDGE_ROUTE_SHARE_H

#include "edge/route.h"

/* Choices are sorted by tier and judged. Sets `weight` of those that get rows; a usable one that gets none becomes
 * ROUTE_FARTHER_TIER. panic_pct: share of those with is_panic. Returns how many get rows. */
size_t route_share(const struct route_view *view, struct route_entry *e, unsigned int panic_pct);

#endif
