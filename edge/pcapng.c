/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/pcapng.h"

#include <string.h>

enum block { BLOCK_INTERFACE = 1, BLOCK_PACKET = 6, BLOCK_SECTION = 0x0a0d0d0a };
#define BYTE_ORDER_MAGIC 0x1a2b3c4du

enum option {
	OPT_END = 0,
	OPT_COMMENT = 1,
	SHB_OS = 3,
	SHB_APPLICATION = 4,
	IF_NAME = 2,
	IF_DESCRIPTION = 3,
	IF_TSRESOL = 9,
	EPB_FLAGS = 2,
	EPB_VERDICT = 7,
};
#define TSRESOL_NS 9u /* 10^-9 s */
#define EPB_INBOUND 1u
#define EPB_OUTBOUND 2u

/* A block under way; what does not fit leaves is_full. */
struct out {
	uint8_t *buf;
	size_t cap, len;
	bool is_full;
};

static void put(struct out *o, const void *p, size_t len)
{
	if (o->is_full || len > o->cap - o->len) {
		o->is_full = true;
		return;
	}
	memcpy(o->buf + o->len, p, len);
	o->len += len;
}

static void put16(struct out *o, uint16_t x)
{
	put(o, &x, sizeof(x));
}

static void put32(struct out *o, uint32_t x)
{
	put(o, &x, sizeof(x));
}

/* Everything is padded to 32 bits; the padding is in no length. */
static void put_padded(struct out *o, const void *p, size_t len)
{
	static const uint8_t zero[4];

	put(o, p, len);
	put(o, zero, (4 - len % 4) % 4);
}

static void put_option(struct out *o, enum option code, const void *p, size_t len)
{
	put16(o, (uint16_t)code);
	put16(o, (uint16_t)len);
	put_padded(o, p, len);
}

static void put_text(struct out *o, enum option code, const char *text)
{
	if (text && text[0])
		put_option(o, code, text, strnlen(text, PCAPNG_TEXT_MAX));
}

static void begin(struct out *o, uint8_t *buf, size_t cap, enum block kind)
{
	*o = (struct out){.buf = buf, .cap = cap};
	put32(o, (uint32_t)kind);
	put32(o, 0); /* length of the block, known at its end */
}

static size_t end(struct out *o)
{
	uint32_t len = (uint32_t)o->len + 8;

	put32(o, OPT_END);
	put32(o, len);
	if (o->is_full)
		return 0;
	memcpy(o->buf + 4, &len, sizeof(len));
	return o->len;
}

size_t pcapng_section(uint8_t *buf, size_t cap, const char *os, const char *application)
{
	struct out o;

	begin(&o, buf, cap, BLOCK_SECTION);
	put32(&o, BYTE_ORDER_MAGIC);
	put16(&o, 1); /* version 1.0 */
	put16(&o, 0);
	put32(&o, UINT32_MAX); /* length of the section: not known */
	put32(&o, UINT32_MAX);
	put_text(&o, SHB_OS, os);
	put_text(&o, SHB_APPLICATION, application);
	return end(&o);
}

size_t pcapng_interface(uint8_t *buf, size_t cap, enum pcapng_link link, uint32_t snap_bytes,
			const char *name, const char *description)
{
	const uint8_t tsresol = TSRESOL_NS;
	struct out o;

	begin(&o, buf, cap, BLOCK_INTERFACE);
	put16(&o, (uint16_t)link);
	put16(&o, 0);
	put32(&o, snap_bytes);
	put_text(&o, IF_NAME, name);
	put_text(&o, IF_DESCRIPTION, description);
	put_option(&o, IF_TSRESOL, &tsresol, sizeof(tsresol));
	return end(&o);
}

size_t pcapng_packet(uint8_t *buf, size_t cap, const struct pcapng_packet *p)
{
	uint32_t flags = p->is_out ? EPB_OUTBOUND : EPB_INBOUND;
	uint8_t verdict[9] = {(uint8_t)p->hook};
	struct out o;

	memcpy(verdict + 1, &p->verdict, sizeof(p->verdict));
	begin(&o, buf, cap, BLOCK_PACKET);
	put32(&o, p->interface);
	put32(&o, (uint32_t)(p->unix_ns >> 32));
	put32(&o, (uint32_t)p->unix_ns);
	put32(&o, p->bytes);
	put32(&o, p->frame_bytes);
	put_padded(&o, p->data, p->bytes);
	put_text(&o, OPT_COMMENT, p->comment);
	put_option(&o, EPB_FLAGS, &flags, sizeof(flags));
	put_option(&o, EPB_VERDICT, verdict, sizeof(verdict));
	return end(&o);
}
