/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/mp.h"

#include <errno.h>
#include <string.h>

void mp_reader_init(struct mp_reader *r, const uint8_t *buf, size_t len)
{
	r->p = buf;
	r->end = buf + len;
}

bool mp_at_end(const struct mp_reader *r)
{
	return r->p >= r->end;
}

static size_t left(const struct mp_reader *r)
{
	return (size_t)(r->end - r->p);
}

enum mp_type mp_peek(const struct mp_reader *r)
{
	uint8_t b;

	if (mp_at_end(r))
		return MP_NONE;
	b = *r->p;
	if (b <= 0x7f)
		return MP_UINT;
	if (b <= 0x8f)
		return MP_MAP;
	if (b <= 0x9f)
		return MP_ARRAY;
	if (b <= 0xbf)
		return MP_STR;
	if (b >= 0xe0)
		return MP_INT;
	switch (b) {
	case 0xc0:
		return MP_NIL;
	case 0xc2:
	case 0xc3:
		return MP_BOOL;
	case 0xc4:
	case 0xc5:
	case 0xc6:
		return MP_BIN;
	case 0xc7:
	case 0xc8:
	case 0xc9:
	case 0xd4:
	case 0xd5:
	case 0xd6:
	case 0xd7:
	case 0xd8:
		return MP_EXT;
	case 0xca:
	case 0xcb:
		return MP_FLOAT;
	case 0xcc:
	case 0xcd:
	case 0xce:
	case 0xcf:
		return MP_UINT;
	case 0xd0:
	case 0xd1:
	case 0xd2:
	case 0xd3:
		return MP_INT;
	case 0xd9:
	case 0xda:
	case 0xdb:
		return MP_STR;
	case 0xdc:
	case 0xdd:
		return MP_ARRAY;
	case 0xde:
	case 0xdf:
		return MP_MAP;
	}
	return MP_NONE; /* 0xc1: never used */
}

/* A big-endian number of `bytes` bytes behind the head byte; moves past both. */
static int read_be(struct mp_reader *r, size_t bytes, uint64_t *ret)
{
	uint64_t v = 0;

	if (left(r) < 1 + bytes)
		return -EBADMSG;
	for (size_t i = 0; i < bytes; i++)
		v = v << 8 | r->p[1 + i];
	r->p += 1 + bytes;
	*ret = v;
	return 0;
}

int mp_read_nil(struct mp_reader *r)
{
	if (mp_peek(r) != MP_NIL)
		return -EBADMSG;
	r->p++;
	return 0;
}

int mp_read_bool(struct mp_reader *r, bool *ret_value)
{
	if (mp_peek(r) != MP_BOOL)
		return -EBADMSG;
	*ret_value = *r->p++ == 0xc3;
	return 0;
}

int mp_read_uint(struct mp_reader *r, uint64_t max, uint64_t *ret_value)
{
	uint64_t v;

	if (mp_peek(r) != MP_UINT)
		return -EBADMSG;
	if (*r->p <= 0x7f)
		v = *r->p++;
	else if (read_be(r, (size_t)1 << (*r->p - 0xcc), &v))
		return -EBADMSG;
	if (v > max)
		return -EBADMSG;
	*ret_value = v;
	return 0;
}

/* Length or count behind the head byte: fixed in the head (base..base+fix), or 1 << shift bytes from `head` on. */
static int read_len(struct mp_reader *r, uint8_t fix_base, uint8_t fix_max, uint8_t head,
		    size_t first_bytes, uint64_t *ret)
{
	uint8_t b = *r->p;

	if (fix_max && b >= fix_base && b <= fix_base + fix_max) {
		*ret = (uint64_t)(b - fix_base);
		r->p++;
		return 0;
	}
	return read_be(r, first_bytes << (b - head), ret);
}

static int read_blob(struct mp_reader *r, uint64_t len, size_t max, const uint8_t **ret_data,
		     size_t *ret_len)
{
	if (len > left(r) || len > max)
		return -EBADMSG;
	*ret_data = r->p;
	*ret_len = (size_t)len;
	r->p += len;
	return 0;
}

int mp_read_str(struct mp_reader *r, size_t max, const char **ret_text, size_t *ret_len)
{
	const uint8_t *data;
	uint64_t len;

	if (mp_peek(r) != MP_STR || read_len(r, 0xa0, 0x1f, 0xd9, 1, &len) ||
	    read_blob(r, len, max, &data, ret_len))
		return -EBADMSG;
	*ret_text = (const char *)data;
	return 0;
}

int mp_read_bin(struct mp_reader *r, size_t max, const uint8_t **ret_data, size_t *ret_len)
{
	uint64_t len;

	if (mp_peek(r) != MP_BIN || read_len(r, 0, 0, 0xc4, 1, &len))
		return -EBADMSG;
	return read_blob(r, len, max, ret_data, ret_len);
}

int mp_read_bytes(struct mp_reader *r, uint8_t *ret_data, size_t len)
{
	const uint8_t *data;
	size_t got;

	if (mp_read_bin(r, len, &data, &got) || got != len)
		return -EBADMSG;
	memcpy(ret_data, data, len);
	return 0;
}

int mp_read_text(struct mp_reader *r, char *ret_text, size_t cap)
{
	const char *text;
	size_t len;

	if (mp_read_str(r, cap - 1, &text, &len) || memchr(text, 0, len))
		return -EBADMSG;
	memcpy(ret_text, text, len);
	ret_text[len] = 0;
	return 0;
}

int mp_read_array(struct mp_reader *r, size_t max, size_t *ret_count)
{
	uint64_t n;

	/* Each element takes a byte at least. */
	if (mp_peek(r) != MP_ARRAY || read_len(r, 0x90, 0x0f, 0xdc, 2, &n) || n > max ||
	    n > left(r))
		return -EBADMSG;
	*ret_count = (size_t)n;
	return 0;
}

int mp_read_map(struct mp_reader *r, size_t max, size_t *ret_pairs)
{
	uint64_t n;

	if (mp_peek(r) != MP_MAP || read_len(r, 0x80, 0x0f, 0xde, 2, &n) || n > max ||
	    n > left(r) / 2)
		return -EBADMSG;
	*ret_pairs = (size_t)n;
	return 0;
}

static int skip_ext(struct mp_reader *r)
{
	const uint8_t *data;
	uint64_t len;
	size_t got;

	if (*r->p >= 0xd4) {
		len = 1ull << (*r->p - 0xd4);
		r->p++;
	} else if (read_be(r, (size_t)1 << (*r->p - 0xc7), &len)) {
		return -EBADMSG;
	}
	return read_blob(r, len + 1, SIZE_MAX, &data, &got); /* + the type byte */
}

int mp_skip(struct mp_reader *r)
{
	/* Values still to come on each open level; no recursion, so depth costs nothing. */
	uint64_t todo[MP_DEPTH_MAX + 1] = {1};
	const uint8_t *data;
	const char *text;
	size_t depth = 0, n;
	uint64_t v;

	for (;;) {
		while (todo[depth] == 0) {
			if (depth == 0)
				return 0;
			depth--;
		}
		todo[depth]--;
		switch (mp_peek(r)) {
		case MP_NONE:
			return -EBADMSG;
		case MP_NIL:
		case MP_BOOL:
			r->p++;
			break;
		case MP_UINT:
			if (mp_read_uint(r, UINT64_MAX, &v))
				return -EBADMSG;
			break;
		case MP_INT:
			if (*r->p >= 0xe0)
				r->p++;
			else if (read_be(r, (size_t)1 << (*r->p - 0xd0), &v))
				return -EBADMSG;
			break;
		case MP_FLOAT:
			if (read_be(r, *r->p == 0xca ? 4 : 8, &v))
				return -EBADMSG;
			break;
		case MP_STR:
			if (mp_read_str(r, SIZE_MAX, &text, &n))
				return -EBADMSG;
			break;
		case MP_BIN:
			if (mp_read_bin(r, SIZE_MAX, &data, &n))
				return -EBADMSG;
			break;
		case MP_EXT:
			if (skip_ext(r))
				return -EBADMSG;
			break;
		case MP_ARRAY:
			if (depth + 1 > MP_DEPTH_MAX || mp_read_array(r, SIZE_MAX, &n))
				return -EBADMSG;
			todo[++depth] = n;
			break;
		case MP_MAP:
			if (depth + 1 > MP_DEPTH_MAX || mp_read_map(r, SIZE_MAX, &n))
				return -EBADMSG;
			todo[++depth] = (uint64_t)n * 2;
			break;
		}
	}
}

int mp_check(const uint8_t *buf, size_t len)
{
	struct mp_reader r;

	mp_reader_init(&r, buf, len);
	if (mp_skip(&r) || !mp_at_end(&r))
		return -EBADMSG;
	return 0;
}

int mp_buf_write(void *mp_buf, const char *data, size_t len)
{
	struct mp_buf *b = mp_buf;

	if (len > b->cap - b->len) {
		b->is_full = true;
		return -1;
	}
	memcpy(b->p + b->len, data, len);
	b->len += len;
	return 0;
}
