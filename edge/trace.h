/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/trace.h - the packet that `edgectl trace` asks the data path about. PURE.
 *
 * The first packet of a flow as a client sends it: UDP without payload, a TCP SYN; with a
 * connection id, a QUIC packet with a short header. Checksums are right, for whoever prints
 * it. Errors: 0 | -EAFNOSUPPORT addresses of two families | -EPROTONOSUPPORT neither TCP nor UDP, or an id with TCP; nothing is written then
 */
#ifndef EDGE_TRACE_H
#define EDGE_TRACE_H

#include <stddef.h>

#include "edge/ip.h"

#define TRACE_CID_MAX 20 /* RFC 9000 */
#define TRACE_FRAME_MAX 128

struct trace_flow {
	uint8_t l4_proto;
	struct ip_addr src, dst;
	uint16_t sport, dport;
	uint8_t cid[TRACE_CID_MAX]; /* UDP */
	uint8_t cid_bytes;	    /* 0 = none */
};
int trace_build(const struct trace_flow *f, uint8_t ret_frame[TRACE_FRAME_MAX], size_t *ret_bytes);

#endif
