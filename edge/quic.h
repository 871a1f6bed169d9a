/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/quic.h - which server id stands for which backend in QUIC connection ids. PURE.
 *
 * Made from (service, address, port, node id), so every node that has the same records finds the same ids, and so does
 * a restarted one; an operator may have chosen a backend's himself. Within a service no two ids are equal, but for a
 * chosen one that stands for a backend of each family (one server that listens on both): the backend that comes later
 * by (node id, address, port) gets the next number of its hash, or none if its id was chosen.
 * Cost      O(backends log backends)
 */
#ifndef EDGE_QUIC_H
#define EDGE_QUIC_H

#include "edge/route.h"

/* ret_id: one for each of view.backend, 0 = none, its chosen id is another's. 0 | -ENOMEM. */
int quic_ids(const struct route_view *view, uint32_t *ret_id);

/* Eight hex digits, as shown and typed: "a1b2c3d4", not all zero. -EINVAL. */
#define QUIC_ID_TEXT_MAX 9
int quic_id_parse(const char *text, uint32_t *ret_id);
const char *quic_id_text(uint32_t id, char buf[QUIC_ID_TEXT_MAX]);

#endif
