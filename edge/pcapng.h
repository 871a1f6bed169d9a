/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/pcapng.h - blocks of a pcapng file, put together in memory. PURE: no allocation, no I/O, no clock.
 *
 * A file is one section, then interfaces and packets in any order; a packet names an interface that was written before it,
 * by its number in that order. Byte order is the machine's: readers see it in the section header.
 * Errors    the number of bytes written, or 0: `cap` is too small (PCAPNG_BLOCK_MAX + the packet's bytes always suffice);
 *           text beyond PCAPNG_TEXT_MAX is cut
 * Source    pcapng, draft-ietf-opsawg-pcapng: sections 4.1, 4.2, 4.3
 */
#ifndef EDGE_PCAPNG_H
#define EDGE_PCAPNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCAPNG_TEXT_MAX 255
#define PCAPNG_BLOCK_MAX 1024 /* of a block without the packet's bytes */

enum pcapng_link { PCAPNG_ETHERNET = 1, PCAPNG_RAW_IP = 101 };
enum pcapng_hook { PCAPNG_HOOK_TC = 1, PCAPNG_HOOK_XDP = 2 }; /* kinds of epb_verdict */

struct pcapng_packet {
	uint32_t interface;
	uint64_t unix_ns;
	const uint8_t *data;
	uint32_t bytes;	      /* of data */
	uint32_t frame_bytes; /* of the packet as it was, >= bytes */
	bool is_out;
	enum pcapng_hook hook;
	uint64_t verdict;    /* what the program returned */
	const char *comment; /* NULL = none */
};

size_t pcapng_section(uint8_t *buf, size_t cap, const char *os, const char *application);
/* Timestamps of its packets are in nanoseconds. */
size_t pcapng_interface(uint8_t *buf, size_t cap, enum pcapng_link link, uint32_t snap_bytes,
			const char *name, const char *description);
size_t pcapng_packet(uint8_t *buf, size_t cap, const struct pcapng_packet *p);

#endif
