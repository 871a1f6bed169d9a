/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The MessagePack cursor: bytes up to the first zero choose what is read, the rest is the input. Nothing may be read
 * past the end, what mp_check() accepts must be walked to exactly its end, and strings must lie inside. */
#include <stdlib.h>
#include <string.h>

#include "gossip/mp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const struct mp_reader *r, const uint8_t *buf, const void *p, size_t len)
{
	const uint8_t *b = p;

	if (b < buf || b > r->end || len > (size_t)(r->end - b))
		abort();
}

static int read_one(struct mp_reader *r, const uint8_t *buf, uint8_t what)
{
	const uint8_t *data;
	const char *str;
	char text[17];
	uint8_t bytes[4];
	uint64_t v;
	size_t n;
	bool b;

	switch (what % 10) {
	case 0:
		return mp_read_nil(r);
	case 1:
		return mp_read_bool(r, &b);
	case 2:
		if (mp_read_uint(r, 1u << (what / 10), &v))
			return -1;
		if (v > 1u << (what / 10))
			abort();
		return 0;
	case 3:
		if (mp_read_str(r, what, &str, &n))
			return -1;
		inside(r, buf, str, n);
		if (n > what)
			abort();
		return 0;
	case 4:
		if (mp_read_bin(r, what, &data, &n))
			return -1;
		inside(r, buf, data, n);
		return 0;
	case 5:
		return mp_read_bytes(r, bytes, sizeof(bytes));
	case 6:
		if (mp_read_text(r, text, sizeof(text)))
			return -1;
		if (strlen(text) >= sizeof(text))
			abort();
		return 0;
	case 7:
		if (mp_read_array(r, what, &n))
			return -1;
		if (n > (size_t)(r->end - r->p))
			abort();
		return 0;
	case 8:
		if (mp_read_map(r, what, &n))
			return -1;
		if (n * 2 > (size_t)(r->end - r->p))
			abort();
		return 0;
	}
	return mp_skip(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	const uint8_t *buf = zero ? zero + 1 : data;
	size_t len = (size_t)(data + size - buf), at = 0;
	struct mp_reader r;

	mp_reader_init(&r, buf, len);
	if (mp_check(buf, len) == 0 && (mp_skip(&r) || !mp_at_end(&r)))
		abort();
	mp_reader_init(&r, buf, len);
	for (const uint8_t *p = data; zero && p < zero; p++, at++) {
		const uint8_t *before = r.p;

		(void)mp_peek(&r);
		if (read_one(&r, buf, *p))
			break;
		if (r.p <= before || r.p > r.end)
			abort();
	}
	return 0;
}
