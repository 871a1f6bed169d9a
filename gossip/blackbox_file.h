/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/blackbox_file.h - how a box lies in its file; for gossip/blackbox*.c alone. Numbers as the machine has them. */
#ifndef GOSSIP_BLACKBOX_FILE_H
#define GOSSIP_BLACKBOX_FILE_H

#include "gossip/blackbox.h"

#define BOX_MAGIC 0x65424231u /* "eBB1" */
#define BOX_HEAD_BYTES 4096
#define BOX_CHECK_EVERY 64 /* inputs between two digests */
#define BOX_RESERVE                                                                                \
	(192u << 10) /* in a half, for what the largest input brings: itself, and its signatures */

enum box_start { BOX_EMPTY, BOX_BIRTH, BOX_COPY, BOX_NOTHING };

struct box_half {
	uint64_t number; /* higher is later, 0 = never used */
	uint64_t used;	 /* bytes, written last */
	uint64_t start;	 /* enum box_start */
	uint64_t core;	 /* its address, for BOX_COPY */
	uint64_t copy_len;
	uint64_t is_cut; /* something did not fit: ends there */
};
struct box_head {
	uint32_t magic, half_bytes;
	uint64_t layout; /* of structs, and version */
	struct box_half half[2];
};

/* After an input: what signing and checking gave; a digest. Else enum gossip_input_kind. */
enum box_op { BOX_SIGNED = 64, BOX_VERIFIED, BOX_DIGEST };

/* An entry: op, flags, then as numbers of 1 to 10 bytes (7 bits each, lowest first) those that the flags name: now_ms, number,
 * and lengths of what, key, buf; then the bytes of what, address (of fixed size), key, buf. */
#define BOX_URGENT 1u
#define BOX_WHAT 2u
#define BOX_ADDR 4u
#define BOX_KEY 8u
#define BOX_BUF 16u
#define BOX_NOW 32u
#define BOX_NUMBER 64u
#define BOX_NUMBER_MAX 10
struct box_entry {
	uint8_t op, flags;
	uint64_t now_ms, number;
	uint32_t what_len, key_len, buf_len;
};

uint64_t box_layout(void);
uint64_t box_hash(uint64_t h, const void *p, size_t len);
/* Of a packet with its destinations. */
uint64_t box_packet_hash(const struct gossip_packet *p);

#endif
