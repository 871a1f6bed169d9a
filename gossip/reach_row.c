/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Rows and bands. Pure. */
#include <errno.h>
#include <string.h>

#include <msgpack.h>

#include "gossip/mp.h"
#include "gossip/reach.h"

#define PAIRS_MAX 16
#define NUMBER_BYTES 4
#define LOSS_SAMPLES_MIN 30 /* fewer say nothing */

/* Ends of the bands in ms: about half as far again each, because a share of the distance is what matters. */
static const uint32_t rtt_end_ms[REACH_RTT_BANDS] = {
	1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90, 130, 200, 300, 450, UINT32_MAX,
};
static const uint32_t loss_end_pm[REACH_LOSS_BANDS] = {10, 50, 150, 350, UINT32_MAX};

uint32_t reach_rtt_ms(uint8_t rtt_band)
{
	return rtt_end_ms[rtt_band < REACH_RTT_BANDS ? rtt_band : REACH_RTT_BANDS - 1];
}

uint32_t reach_region_of(const char *name)
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h;
}

/* A value leaves its band when it is so many per cent, and half a unit, beyond the border. */
static uint8_t band_of(const uint32_t *end, uint8_t count, uint8_t now, uint64_t value,
		       uint64_t unit, uint64_t beyond_pct)
{
	uint64_t lo, hi;
	uint8_t b = 0;

	if (now < count) {
		lo = now ? end[now - 1] * unit : 0;
		hi = end[now] == UINT32_MAX ? UINT64_MAX : end[now] * unit;
		if (value + unit / 2 + lo * beyond_pct / 100 >= lo &&
		    (hi == UINT64_MAX || value < hi + hi * beyond_pct / 100 + unit / 2))
			return now;
	}
	while (b + 1 < count && value >= end[b] * unit)
		b++;
	return b;
}

uint8_t reach_rtt_band(uint8_t now, uint64_t rtt_us)
{
	return band_of(rtt_end_ms, REACH_RTT_BANDS, now, rtt_us, 1000, 15);
}

uint8_t reach_loss_band(uint8_t now, uint64_t lost, uint64_t sent)
{
	if (sent < LOSS_SAMPLES_MIN)
		return now < REACH_LOSS_BANDS ? now : 0;
	return band_of(loss_end_pm, REACH_LOSS_BANDS, now, lost * 10000 / sent, 10, 60);
}

int reach_encode(const struct reach_row *row, uint8_t *buf, size_t cap)
{
	struct mp_buf b = {.p = buf, .cap = cap < REACH_ROW_BYTES_MAX ? cap : REACH_ROW_BYTES_MAX};
	msgpack_packer pk;

	msgpack_packer_init(&pk, &b, mp_buf_write);
	msgpack_pack_map(&pk, row->stall_pct ? 3 : 2);
	msgpack_pack_str_with_body(&pk, "x", 1);
	msgpack_pack_array(&pk, row->peer_count);
	for (size_t i = 0; i < row->peer_count; i++) {
		msgpack_pack_array(&pk, 3);
		msgpack_pack_bin_with_body(&pk, row->peer[i].number, NUMBER_BYTES);
		msgpack_pack_uint8(&pk, row->peer[i].cause);
		msgpack_pack_uint16(&pk, row->peer[i].age_s);
	}
	msgpack_pack_str_with_body(&pk, "r", 1);
	msgpack_pack_array(&pk, row->region_count);
	for (size_t i = 0; i < row->region_count; i++) {
		msgpack_pack_array(&pk, 3);
		msgpack_pack_uint32(&pk, row->region[i].region);
		msgpack_pack_uint8(&pk, row->region[i].band.rtt);
		msgpack_pack_uint8(&pk, row->region[i].band.loss);
	}
	if (row->stall_pct) {
		msgpack_pack_str_with_body(&pk, "s", 1);
		msgpack_pack_uint8(&pk, row->stall_pct);
	}
	return b.is_full ? -EMSGSIZE : (int)b.len;
}

/* An array of at least `least`; what follows them is skipped by element_end(). */
static int element_begin(struct mp_reader *r, size_t least, size_t *ret_extra)
{
	size_t n;

	if (mp_read_array(r, least + PAIRS_MAX, &n) || n < least)
		return -EBADMSG;
	*ret_extra = n - least;
	return 0;
}

static int element_end(struct mp_reader *r, size_t extra)
{
	while (extra-- > 0)
		if (mp_skip(r))
			return -EBADMSG;
	return 0;
}

static int read_peers(struct mp_reader *r, struct reach_row *row)
{
	uint64_t cause, age;
	size_t extra;

	if (mp_read_array(r, REACH_PEERS_MAX, &row->peer_count))
		return -EBADMSG;
	for (size_t i = 0; i < row->peer_count; i++) {
		if (element_begin(r, 3, &extra) ||
		    mp_read_bytes(r, row->peer[i].number, NUMBER_BYTES) ||
		    mp_read_uint(r, UINT8_MAX, &cause) || mp_read_uint(r, REACH_AGE_MAX_S, &age) ||
		    element_end(r, extra))
			return -EBADMSG;
		row->peer[i].cause = (uint8_t)cause;
		row->peer[i].age_s = (uint16_t)age;
	}
	return 0;
}

static int read_regions(struct mp_reader *r, struct reach_row *row)
{
	uint64_t region, rtt, loss;
	size_t extra;

	if (mp_read_array(r, REACH_REGIONS_MAX, &row->region_count))
		return -EBADMSG;
	for (size_t i = 0; i < row->region_count; i++) {
		if (element_begin(r, 3, &extra) || mp_read_uint(r, UINT32_MAX, &region) ||
		    mp_read_uint(r, REACH_RTT_BANDS - 1, &rtt) ||
		    mp_read_uint(r, REACH_LOSS_BANDS - 1, &loss) || element_end(r, extra))
			return -EBADMSG;
		row->region[i] =
			(struct reach_region){(uint32_t)region, {(uint8_t)rtt, (uint8_t)loss}};
	}
	return 0;
}

int reach_decode(const uint8_t *buf, size_t len, struct reach_row *ret_row)
{
	struct reach_row row = {0};
	bool has_x = false, has_r = false, has_s = false;
	struct mp_reader r;
	uint64_t v;
	size_t pairs, n;
	const char *key;

	mp_reader_init(&r, buf, len);
	if (mp_read_map(&r, PAIRS_MAX, &pairs))
		return -EBADMSG;
	while (pairs-- > 0) {
		if (mp_read_str(&r, PAIRS_MAX, &key, &n))
			return -EBADMSG;
		if (n == 1 && key[0] == 'x' && !has_x) {
			has_x = true;
			if (read_peers(&r, &row))
				return -EBADMSG;
		} else if (n == 1 && key[0] == 'r' && !has_r) {
			has_r = true;
			if (read_regions(&r, &row))
				return -EBADMSG;
		} else if (n == 1 && key[0] == 's' && !has_s) {
			has_s = true;
			if (mp_read_uint(&r, 100, &v))
				return -EBADMSG;
			row.stall_pct = (uint8_t)v;
		} else if (n == 1 && strchr("xrs", key[0]) && key[0]) {
			return -EBADMSG; /* twice */
		} else if (mp_skip(&r)) {
			return -EBADMSG;
		}
	}
	if (!has_x || !has_r || !mp_at_end(&r))
		return -EBADMSG;
	*ret_row = row;
	return 0;
}
