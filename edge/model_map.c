/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/model_map.h"

#include <errno.h>
#include <string.h>

int model_map_open(struct model_map *m, struct mp_reader *r)
{
	m->r = r;
	m->next = 0;
	return mp_read_map(r, MODEL_MAP_PAIRS_MAX, &m->pair_count);
}

int model_map_next(struct model_map *m)
{
	struct model_map_key *k = &m->key[m->next];

	if (m->next == m->pair_count)
		return 0;
	if (mp_read_str(m->r, SIZE_MAX, &k->text, &k->len))
		return -EBADMSG;
	for (size_t i = 0; i < m->next; i++)
		if (m->key[i].len == k->len && memcmp(m->key[i].text, k->text, k->len) == 0)
			return -EBADMSG;
	m->next++;
	return 1;
}

bool model_map_is(const struct model_map *m, const char *key)
{
	const struct model_map_key *k = &m->key[m->next - 1];

	return k->len == strlen(key) && memcmp(k->text, key, k->len) == 0;
}

int model_read_u32(struct mp_reader *r, uint64_t max, uint32_t *ret_value)
{
	uint64_t v;

	if (mp_read_uint(r, max, &v))
		return -EBADMSG;
	*ret_value = (uint32_t)v;
	return 0;
}

int model_read_u16(struct mp_reader *r, uint64_t max, uint16_t *ret_value)
{
	uint64_t v;

	if (mp_read_uint(r, max, &v))
		return -EBADMSG;
	*ret_value = (uint16_t)v;
	return 0;
}

int model_read_u8(struct mp_reader *r, uint64_t max, uint8_t *ret_value)
{
	uint64_t v;

	if (mp_read_uint(r, max, &v))
		return -EBADMSG;
	*ret_value = (uint8_t)v;
	return 0;
}

int model_read_addr(struct mp_reader *r, struct ip_addr *ret_addr)
{
	struct ip_addr a = {{[10] = 0xff, [11] = 0xff}};
	const uint8_t *data;
	size_t len;

	if (mp_read_bin(r, sizeof(a.b), &data, &len))
		return -EBADMSG;
	if (len == 4) {
		memcpy(a.b + 12, data, 4);
	} else if (len == sizeof(a.b)) {
		memcpy(a.b, data, len);
		if (ip_is_v4(&a))
			return -EBADMSG; /* one address, one form */
	} else {
		return -EBADMSG;
	}
	*ret_addr = a;
	return 0;
}

/* Bytes of the printable UTF-8 character at p, 0 = none: a control, a surrogate, an overlong form, a stray byte. */
static size_t utf8_printable(const uint8_t *p, size_t left)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = p[0] < 0x80	     ? 1
		     : (p[0] & 0xe0) == 0xc0 ? 2
		     : (p[0] & 0xf0) == 0xe0 ? 3
		     : (p[0] & 0xf8) == 0xf0 ? 4
					     : 0;
	uint32_t c;

	if (len == 0 || len > left)
		return 0;
	if (len == 1)
		return p[0] >= 0x20 && p[0] != 0x7f ? 1 : 0;
	c = p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[len] || c < 0xa0 || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
		return 0;
	/* What reorders or hides text on a terminal is no text: marks, embeddings, isolates. */
	if ((c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	    (c >= 0x2066 && c <= 0x2069) || c == 0xfeff)
		return 0;
	return len;
}

int model_read_free_text(struct mp_reader *r, char *ret_text, size_t cap)
{
	const char *text;
	size_t len, n;

	if (mp_read_str(r, cap - 1, &text, &len))
		return -EBADMSG;
	for (size_t i = 0; i < len; i += n) {
		n = utf8_printable((const uint8_t *)text + i, len - i);
		if (n == 0)
			return -EBADMSG;
	}
	memcpy(ret_text, text, len);
	ret_text[len] = 0;
	return 0;
}

void model_pack_begin(struct model_packer *p, uint8_t *buf, size_t cap, size_t pairs)
{
	p->buf = (struct mp_buf){.p = buf, .cap = cap};
	msgpack_packer_init(&p->pk, &p->buf, mp_buf_write);
	msgpack_pack_map(&p->pk, pairs);
}

int model_pack_end(const struct model_packer *p)
{
	if (p->buf.is_full || p->buf.len > RECORD_VALUE_MAX)
		return -EMSGSIZE;
	return (int)p->buf.len;
}

void model_pack_text(struct model_packer *p, const char *text)
{
	msgpack_pack_str_with_body(&p->pk, text, strlen(text));
}

void model_pack_free_text(struct model_packer *p, const char *text, size_t cap)
{
	const uint8_t *b = (const uint8_t *)text;
	size_t len = strnlen(text, cap - 1), n;
	char out[256];

	if (len >= sizeof(out))
		len = sizeof(out) - 1;
	for (size_t i = 0; i < len; i += n) {
		n = utf8_printable(b + i, len - i);
		if (n == 0) {
			out[i] = '?';
			n = 1;
		} else {
			memcpy(out + i, b + i, n);
		}
	}
	msgpack_pack_str_with_body(&p->pk, out, len);
}

void model_pack_bin(struct model_packer *p, const uint8_t *data, size_t len)
{
	msgpack_pack_bin_with_body(&p->pk, data, len);
}

void model_pack_addr(struct model_packer *p, const struct ip_addr *a)
{
	if (ip_is_v4(a))
		model_pack_bin(p, a->b + 12, 4);
	else
		model_pack_bin(p, a->b, sizeof(a->b));
}

void model_pack_key_uint(struct model_packer *p, const char *key, uint64_t value)
{
	model_pack_text(p, key);
	msgpack_pack_uint64(&p->pk, value);
}
