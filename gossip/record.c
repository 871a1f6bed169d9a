/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/record.h"

#include <errno.h>
#include <string.h>

#include "gossip/mp.h"

/* No text of this kind is signed for anything else. */
static const char domain[] = "edge-record-v1";

enum record_scope record_scope_of(uint8_t kind)
{
	if (kind >= 1 && kind <= 63)
		return RECORD_OWN;
	if (kind >= 64 && kind <= 127)
		return RECORD_SHARED;
	if (kind >= 128 && kind <= 191)
		return RECORD_VOLATILE;
	return RECORD_REFUSED;
}

int node_id_cmp(const struct node_id *a, const struct node_id *b)
{
	return memcmp(a->b, b->b, NODE_ID_BYTES);
}

static int cmp_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

int record_cmp_version(const struct record *a, const struct record *b)
{
	int d = cmp_u64(a->generation, b->generation);

	if (d == 0)
		d = cmp_u64(a->seq, b->seq);
	if (d == 0)
		d = node_id_cmp(&a->writer, &b->writer);
	return d;
}

static uint8_t *put_be(uint8_t *p, uint64_t v, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--)
		*p++ = (uint8_t)(v >> (8 * i));
	return p;
}

int record_signed_bytes(const struct record *r, uint8_t *buf, size_t cap)
{
	size_t len = sizeof(domain) + 2 + 8 + 8 + 2 + r->key_len + 2 + r->value_len;
	uint8_t *p = buf;

	if (r->key_len > RECORD_KEY_MAX || r->value_len > RECORD_VALUE_MAX || len > cap)
		return -EMSGSIZE;
	memcpy(p, domain, sizeof(domain));
	p += sizeof(domain);
	*p++ = r->kind;
	*p++ = r->is_tombstone;
	p = put_be(p, r->generation, 8);
	p = put_be(p, r->seq, 8);
	p = put_be(p, r->key_len, 2);
	memcpy(p, r->key, r->key_len);
	p += r->key_len;
	p = put_be(p, r->value_len, 2);
	if (r->value_len > 0)
		memcpy(p, r->value, r->value_len);
	return (int)len;
}

int record_check(const struct record *r)
{
	enum record_scope scope = record_scope_of(r->kind);
	struct mp_reader m;

	if (scope == RECORD_REFUSED)
		return -EBADMSG;
	if (r->key_len > RECORD_KEY_MAX || r->value_len > RECORD_VALUE_MAX)
		return -EMSGSIZE;
	if (r->key_len == 0 || memchr(r->key, 0, r->key_len))
		return -EBADMSG;
	if ((scope == RECORD_SHARED) != (r->generation == 0))
		return -EBADMSG;
	if (r->seq == 0 || r->seq > RECORD_SEQ_MAX || r->generation > RECORD_SEQ_MAX)
		return -EBADMSG;
	if (r->is_tombstone)
		return r->value_len == 0 ? 0 : -EBADMSG;
	mp_reader_init(&m, r->value, r->value_len);
	if (mp_peek(&m) != MP_MAP)
		return -EBADMSG;
	return mp_check(r->value, r->value_len);
}
