/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* States and views: what speakers say. Pure. */
#include <errno.h>
#include <string.h>

#include "gossip/region.h"

static bool is_key(const char *key, size_t len, char want)
{
	return len == 1 && key[0] == want;
}

int region_word_encode(const struct region_word *w, uint8_t *buf, size_t cap)
{
	struct mp_buf b = {.p = buf, .cap = cap};
	msgpack_packer pk;

	msgpack_packer_init(&pk, &b, mp_buf_write);
	msgpack_pack_map(&pk, 3);
	msgpack_pack_str_with_body(&pk, "d", 1);
	msgpack_pack_bin_with_body(&pk, w->down, w->down_count * sizeof(w->down[0]));
	msgpack_pack_str_with_body(&pk, "l", 1);
	msgpack_pack_bin_with_body(&pk, w->lowest, w->lowest_count * sizeof(w->lowest[0]));
	msgpack_pack_str_with_body(&pk, "n", 1);
	msgpack_pack_uint64(&pk, w->live);
	return b.is_full ? -EMSGSIZE : (int)b.len;
}

int region_word_decode(const uint8_t *buf, size_t len, struct region_word *ret_word)
{
	struct region_word w = {0};
	struct mp_reader m;
	const uint8_t *data;
	const char *key;
	size_t pairs, n;

	mp_reader_init(&m, buf, len);
	if (mp_read_map(&m, 16, &pairs))
		return -EBADMSG;
	while (pairs-- > 0) {
		if (mp_read_str(&m, 16, &key, &n))
			return -EBADMSG;
		if (is_key(key, n, 'd')) {
			if (mp_read_bin(&m, sizeof(w.down), &data, &n) || n % sizeof(w.down[0]))
				return -EBADMSG;
			w.down_count = n / sizeof(w.down[0]);
			memcpy(w.down, data, n);
		} else if (is_key(key, n, 'l')) {
			if (mp_read_bin(&m, sizeof(w.lowest), &data, &n) || n % NODE_ID_BYTES)
				return -EBADMSG;
			w.lowest_count = n / NODE_ID_BYTES;
			memcpy(w.lowest, data, n);
		} else if (is_key(key, n, 'n')) {
			if (mp_read_uint(&m, GOSSIP_MEMBERS_MAX, &w.live))
				return -EBADMSG;
		} else if (mp_skip(&m)) {
			return -EBADMSG;
		}
	}
	*ret_word = w;
	return mp_at_end(&m) ? 0 : -EBADMSG;
}

int region_view_encode(const struct region_view *v, uint8_t *buf, size_t cap)
{
	struct mp_buf b = {.p = buf, .cap = cap};
	msgpack_packer pk;

	msgpack_packer_init(&pk, &b, mp_buf_write);
	msgpack_pack_map(&pk, 2);
	msgpack_pack_str_with_body(&pk, "t", 1);
	msgpack_pack_uint64(&pk, v->turn);
	msgpack_pack_str_with_body(&pk, "v", 1);
	msgpack_pack_array(&pk, v->count);
	for (size_t i = 0; i < v->count; i++) {
		msgpack_pack_array(&pk, 3);
		msgpack_pack_uint32(&pk, v->of[i].region);
		msgpack_pack_uint8(&pk, v->of[i].is_dead);
		msgpack_pack_bin_with_body(&pk, v->of[i].speaker, sizeof(v->of[i].speaker));
	}
	return b.is_full ? -EMSGSIZE : (int)b.len;
}

static int read_view_of(struct mp_reader *m, struct region_view_of *ret)
{
	uint64_t region, is_dead;
	size_t n;

	if (mp_read_array(m, 64, &n) || n < 3 || mp_read_uint(m, UINT32_MAX, &region) ||
	    mp_read_uint(m, 1, &is_dead) || mp_read_bytes(m, ret->speaker, sizeof(ret->speaker)))
		return -EBADMSG;
	for (; n > 3; n--)
		if (mp_skip(m))
			return -EBADMSG;
	ret->region = (uint32_t)region;
	ret->is_dead = is_dead;
	return 0;
}

int region_view_decode(const uint8_t *buf, size_t len, struct region_view *ret_view)
{
	struct mp_reader m;
	const char *key;
	size_t pairs, n;

	memset(ret_view, 0, sizeof(*ret_view));
	mp_reader_init(&m, buf, len);
	if (mp_read_map(&m, 16, &pairs))
		return -EBADMSG;
	while (pairs-- > 0) {
		if (mp_read_str(&m, 16, &key, &n))
			return -EBADMSG;
		if (is_key(key, n, 't')) {
			if (mp_read_uint(&m, UINT64_MAX, &ret_view->turn))
				return -EBADMSG;
		} else if (is_key(key, n, 'v')) {
			if (mp_read_array(&m, GOSSIP_REGIONS_MAX, &ret_view->count))
				return -EBADMSG;
			for (size_t i = 0; i < ret_view->count; i++)
				if (read_view_of(&m, &ret_view->of[i]))
					return -EBADMSG;
		} else if (mp_skip(&m)) {
			return -EBADMSG;
		}
	}
	return mp_at_end(&m) ? 0 : -EBADMSG;
}
