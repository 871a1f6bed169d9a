/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "cmd/ctl_int.h"

/* ---- where a message ends */

struct head {
	size_t bytes;	 /* head with all lengths in it */
	uint64_t body;	 /* bytes that follow */
	uint64_t values; /* values that follow */
	bool is_nest;
};

/* The head of a value: 1, 0 when it is not whole yet, -EBADMSG. */
static int read_head(const uint8_t *p, size_t left, struct head *ret)
{
	/* Bytes of the number behind 0xc4..0xdf: a length, a count, or the value itself. */
	static const uint8_t number_bytes[] = {
		[0x00] = 1, [0x01] = 2, [0x02] = 4, [0x03] = 1, [0x04] = 2,
		[0x05] = 4,						    /* bin, ext */
		[0x06] = 4, [0x07] = 8,					    /* float */
		[0x08] = 1, [0x09] = 2, [0x0a] = 4, [0x0b] = 8,		    /* uint */
		[0x0c] = 1, [0x0d] = 2, [0x0e] = 4, [0x0f] = 8,		    /* int */
		[0x10] = 1, [0x11] = 1, [0x12] = 1, [0x13] = 1, [0x14] = 1, /* fixext: the type */
		[0x15] = 1, [0x16] = 2, [0x17] = 4,			    /* str */
		[0x18] = 2, [0x19] = 4, [0x1a] = 2, [0x1b] = 4,		    /* array, map */
	};
	struct head h = {.bytes = 1};
	uint64_t n = 0;
	uint8_t b;

	if (!left)
		return 0;
	b = p[0];
	if (b <= 0x7f || b >= 0xe0 || b == 0xc0 || b == 0xc2 || b == 0xc3) {
		*ret = h;
		return 1;
	}
	if (b == 0xc1)
		return -EBADMSG;
	if (b >= 0xc4) {
		h.bytes += number_bytes[b - 0xc4];
		if (left < h.bytes)
			return 0;
		for (size_t i = 1; i < h.bytes; i++)
			n = n << 8 | p[i];
	} else {
		n = b & (b >= 0xa0 ? 0x1f : 0x0f);
	}
	if (b <= 0x8f || b == 0xde || b == 0xdf) {
		h.values = 2 * n;
		h.is_nest = true;
	} else if (b <= 0x9f || b == 0xdc || b == 0xdd) {
		h.values = n;
		h.is_nest = true;
	} else if (b <= 0xbf || (b >= 0xd9 && b <= 0xdb) || (b >= 0xc4 && b <= 0xc6)) {
		h.body = n;
	} else if (b >= 0xc7 && b <= 0xc9) {
		h.body = n + 1; /* and the type */
	} else if (b >= 0xd4 && b <= 0xd8) {
		h.body = 1ull << (b - 0xd4);
	}
	*ret = h;
	return 1;
}

int ctl_scan(struct ctl_scan *s, const uint8_t *buf, size_t len, size_t max)
{
	struct head h;
	int rc;

	if (!s->is_begun) {
		memset(s, 0, sizeof(*s));
		s->todo[0] = 1;
		s->is_begun = true;
	}
	for (;;) {
		while (s->todo[s->depth] == 0) {
			if (s->depth == 0)
				return 1;
			s->depth--;
		}
		rc = read_head(buf + s->at, len - s->at, &h);
		if (rc < 0)
			return rc;
		/* What is claimed must fit: a value takes a byte at least. */
		if (rc == 0)
			return len >= max ? -EMSGSIZE : 0;
		if (h.body > max || h.values > max || s->at + h.bytes + h.body > max)
			return -EMSGSIZE;
		if (len - s->at < h.bytes + h.body)
			return 0;
		s->todo[s->depth]--;
		s->at += h.bytes + (size_t)h.body;
		if (h.is_nest) {
			if (s->depth == MP_DEPTH_MAX)
				return -EBADMSG;
			s->todo[++s->depth] = h.values;
		}
	}
}

/* ---- requests */

int ctl_request_read(const uint8_t *buf, size_t len, struct ctl_request *ret_request)
{
	struct ctl_request q = {0};
	struct mp_reader r;
	uint64_t kind;
	size_t count;

	ret_request->id = 0;
	mp_reader_init(&r, buf, len);
	if (mp_read_array(&r, 4, &count) || count != 4 || mp_read_uint(&r, 0, &kind) ||
	    mp_read_uint(&r, UINT32_MAX, &q.id))
		return -EBADMSG;
	ret_request->id = q.id;
	if (mp_read_text(&r, q.method, sizeof(q.method)))
		return -EBADMSG;
	q.params = r.p;
	if (mp_skip(&r) || !mp_at_end(&r))
		return -EBADMSG;
	q.params_len = (size_t)(r.p - q.params);
	*ret_request = q;
	return 0;
}

/* ---- replies */

static int write_bounded(void *arg, const char *data, size_t len)
{
	struct ctl_out *o = arg;

	if (o->is_full || len > CTL_REPLY_MAX - o->sb.size ||
	    msgpack_sbuffer_write(&o->sb, data, len)) {
		o->is_full = true;
		return -1;
	}
	return 0;
}

void ctl_out_init(struct ctl_out *o)
{
	memset(o, 0, sizeof(*o));
	msgpack_sbuffer_init(&o->sb);
	msgpack_packer_init(&o->pk, o, write_bounded);
}

void ctl_out_done(struct ctl_out *o)
{
	msgpack_sbuffer_destroy(&o->sb);
}

void ctl_out_result(struct ctl_out *o, uint64_t id)
{
	msgpack_pack_array(&o->pk, 4);
	msgpack_pack_uint64(&o->pk, 1);
	msgpack_pack_uint64(&o->pk, id);
	msgpack_pack_nil(&o->pk);
}

void ctl_out_error(struct ctl_out *o, uint64_t id, int err, const char *text)
{
	struct ctl_block m;

	msgpack_sbuffer_clear(&o->sb);
	o->is_full = false;
	msgpack_pack_array(&o->pk, 4);
	msgpack_pack_uint64(&o->pk, 1);
	msgpack_pack_uint64(&o->pk, id);
	ctl_map(o, &m);
	ctl_key_uint(o, &m, "code", (uint64_t)(err < 0 ? -err : err));
	ctl_key_text(o, &m, "text", text);
	ctl_end(o, &m);
	msgpack_pack_nil(&o->pk);
}

void ctl_packed(struct ctl_out *o, const char *value, size_t bytes)
{
	(void)write_bounded(o, value, bytes); /* failure stays in is_full */
}

static void open_block(struct ctl_out *o, uint8_t head, struct ctl_block *ret_block)
{
	const uint8_t bytes[5] = {head};

	*ret_block = (struct ctl_block){.at = o->sb.size};
	(void)write_bounded(o, (const char *)bytes, sizeof(bytes)); /* failure stays in is_full */
}

void ctl_map(struct ctl_out *o, struct ctl_block *ret_block)
{
	open_block(o, 0xdf, ret_block);
}

void ctl_array(struct ctl_out *o, struct ctl_block *ret_block)
{
	open_block(o, 0xdd, ret_block);
}

void ctl_end(struct ctl_out *o, const struct ctl_block *b)
{
	if (o->is_full)
		return;
	for (size_t i = 0; i < 4; i++)
		o->sb.data[b->at + 1 + i] = (char)(b->count >> (24 - 8 * i));
}

void ctl_item(struct ctl_block *b)
{
	b->count++;
}

void ctl_text(struct ctl_out *o, const char *text)
{
	size_t len = strlen(text);

	msgpack_pack_str(&o->pk, len);
	msgpack_pack_str_body(&o->pk, text, len);
}

void ctl_key(struct ctl_out *o, struct ctl_block *b, const char *key)
{
	b->count++;
	ctl_text(o, key);
}

void ctl_key_text(struct ctl_out *o, struct ctl_block *b, const char *key, const char *text)
{
	ctl_key(o, b, key);
	ctl_text(o, text);
}

void ctl_key_uint(struct ctl_out *o, struct ctl_block *b, const char *key, uint64_t value)
{
	ctl_key(o, b, key);
	msgpack_pack_uint64(&o->pk, value);
}

void ctl_key_bool(struct ctl_out *o, struct ctl_block *b, const char *key, bool value)
{
	ctl_key(o, b, key);
	if (value)
		msgpack_pack_true(&o->pk);
	else
		msgpack_pack_false(&o->pk);
}

void ctl_key_nil(struct ctl_out *o, struct ctl_block *b, const char *key)
{
	ctl_key(o, b, key);
	msgpack_pack_nil(&o->pk);
}

void ctl_key_age(struct ctl_out *o, struct ctl_block *b, const char *key, uint64_t now_ms,
		 uint64_t then_ms)
{
	if (then_ms)
		ctl_key_uint(o, b, key, now_ms > then_ms ? now_ms - then_ms : 0);
	else
		ctl_key_nil(o, b, key);
}

const char *ctl_span_text(uint64_t ms, char buf[24])
{
	static const struct {
		uint64_t below_ms, unit_ms;
		const char *unit;
	} step[] = {
		{60 * 1000, 1000, "s"},
		{3600 * 1000, 60 * 1000, "min"},
		{2 * 24 * 3600 * 1000, 3600 * 1000, "h"},
		{UINT64_MAX, 24 * 3600 * 1000, "d"},
	};
	size_t i = 0;

	if (ms < 1000) {
		snprintf(buf, 24, "%u ms", (unsigned)ms);
		return buf;
	}
	while (ms >= step[i].below_ms && i < 3)
		i++;
	/* One decimal where it tells something. */
	if (ms / step[i].unit_ms < 10)
		snprintf(buf, 24, "%u.%u %s", (unsigned)(ms / step[i].unit_ms),
			 (unsigned)(ms % step[i].unit_ms * 10 / step[i].unit_ms), step[i].unit);
	else
		snprintf(buf, 24, "%llu %s", (unsigned long long)(ms / step[i].unit_ms),
			 step[i].unit);
	return buf;
}
