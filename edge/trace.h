/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/trace.h - the packet that `edgectl trace` asks the data path about. PURE.
 *
 * The first packet of a flow as a client sends it: UDP without payload, a TCP SYN. Checksums are right, for whoever prints
 * it. Errors: 0 | -EAFNOSUPPORT addresses of two families | -EPROTONOSUPPORT neither TCP nor UDP; nothing is written then
 */
#ifndef EDGE_TRACE_H
#define EDGE_TRACE_H

#include <stddef.h>

#include "edge/ip.h"

#define TRACE_FRAME_MAX 74 /* Ethernet, IPv6, TCP */

struct trace_flow {
	uint8_t l4_proto;
	struct ip_addr src, dst;
	uint16_t sport, dport;
};
int trace_build(const struct trace_flow *f, uint8_t ret_frame[TRACE_FRAME_MAX], size_t *ret_bytes);

#endif
