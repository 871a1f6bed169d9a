/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/mp.h - a bounded MessagePack cursor for input nobody vouches for, and a fixed buffer for msgpack-c to pack into.
 *
 * msgpack-c packs (msgpack_packer_init(&pk, &buf, mp_buf_write)); it never unpacks what came from a peer: its unpacker
 * calls malloc with whatever an array header claims. This reader allocates nothing, copies nothing, and refuses counts
 * larger than the bytes left.
 *
 * Errors    0 | -EBADMSG malformed, wrong type, over a limit; the cursor is then at an unspecified place: give up
 * Memory    strings and binaries point into the buffer; not NUL-terminated
 * Limits    MP_DEPTH_MAX nesting
 * Source    MessagePack specification (msgpack.org)
 */
#ifndef GOSSIP_MP_H
#define GOSSIP_MP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MP_DEPTH_MAX 8

struct mp_reader {
	const uint8_t *p, *end;
};

enum mp_type {
	MP_NONE,
	MP_NIL,
	MP_BOOL,
	MP_UINT,
	MP_INT,
	MP_FLOAT,
	MP_STR,
	MP_BIN,
	MP_ARRAY,
	MP_MAP,
	MP_EXT
};

void mp_reader_init(struct mp_reader *r, const uint8_t *buf, size_t len);
/* Type of the next value; MP_NONE at the end or for the reserved byte. MP_INT is a signed encoding (it may hold >= 0). */
enum mp_type mp_peek(const struct mp_reader *r);
bool mp_at_end(const struct mp_reader *r);

int mp_read_nil(struct mp_reader *r);
int mp_read_bool(struct mp_reader *r, bool *ret_value);
int mp_read_uint(struct mp_reader *r, uint64_t max, uint64_t *ret_value);
int mp_read_str(struct mp_reader *r, size_t max, const char **ret_text, size_t *ret_len);
int mp_read_bin(struct mp_reader *r, size_t max, const uint8_t **ret_data, size_t *ret_len);
/* A binary of exactly `len` bytes, copied. */
int mp_read_bytes(struct mp_reader *r, uint8_t *ret_data, size_t len);
/* A string copied with a NUL into buf[cap]; embedded NULs are refused. */
int mp_read_text(struct mp_reader *r, char *ret_text, size_t cap);
int mp_read_array(struct mp_reader *r, size_t max, size_t *ret_count);
int mp_read_map(struct mp_reader *r, size_t max, size_t *ret_pairs);
/* One value of any type, with all that is in it. */
int mp_skip(struct mp_reader *r);

/* 0 if buf is exactly one well-formed value of at most MP_DEPTH_MAX levels. */
int mp_check(const uint8_t *buf, size_t len);

/* Where msgpack-c packs to. `is_full` says that something did not fit: the content is then useless. */
struct mp_buf {
	uint8_t *p;
	size_t cap, len;
	bool is_full;
};
int mp_buf_write(void *mp_buf, const char *data, size_t len);

#endif
