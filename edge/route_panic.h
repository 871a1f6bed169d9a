/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/route_panic.h - when too few backends of an entry pass, those that fail are used too. Pure; for edge/route.c.
 *
 * Policy panic=P. Of all backends that could serve (no drain, no node that is down, nothing that is gone for certain) less than P
 * percent by weight pass: then each that fails gets a share of its weight, the larger the fewer pass: (P - passing) / P. There
 * is no edge to swing over: with just less than P it is next to nothing, and all of it when none passes. A function of the
 * records alone, so all edges of a region decide the same.
 */
#ifndef EDGE_ROUTE_PANIC_H
#define EDGE_ROUTE_PANIC_H

#include "edge/route.h"

/* Choices are judged. Makes those that fail ROUTE_USED with is_panic; returns their share in percent, 0 = there is no panic. */
unsigned int route_panic(const struct route_view *view, struct route_entry *e);

#endif
