/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/blackbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gossip/arena.h"
#include "gossip/blackbox_file.h"

struct blackbox {
	struct box_head *head;
	size_t bytes;
	struct arena *arena;
	struct gossip_signer inner;
	unsigned int at; /* the half that is written */
	unsigned int since_digest;
	uint64_t written, number;
	size_t kept; /* in the half at `at`, what was written before this is not kept mapped */
};

#define KEEP_BYTES (128u << 10) /* more of what was written than this is given back at once */

uint64_t box_hash(uint64_t h, const void *p, size_t len)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * 0x100000001b3ull;
	return h;
}

uint64_t box_packet_hash(const struct gossip_packet *p)
{
	uint64_t h = 0xcbf29ce484222325ull + (uint64_t)p->via;

	for (size_t i = 0; i < p->to_count; i++) {
		h = box_hash(h, p->to[i].ip, sizeof(p->to[i].ip));
		h = box_hash(h, &p->to[i].port, sizeof(p->to[i].port));
	}
	h = box_hash(h, p->buf, p->len);
	return (h ^ h >> 32) & UINT32_MAX; /* room in the file */
}

/* ---- writing */

static uint8_t *base(const struct blackbox *b)
{
	return (uint8_t *)b->head + BOX_HEAD_BYTES + (size_t)b->at * b->head->half_bytes;
}

/* What was written stays in the file (in the page cache), only its place in this process's memory is given back. */
static void give_back(struct blackbox *b)
{
	size_t used = b->head->half[b->at].used, page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t from = ((uintptr_t)base(b) + b->kept) & ~(page - 1);
	uintptr_t to = ((uintptr_t)base(b) + used) & ~(page - 1);

	/* Refused: then it takes more memory, and nothing else. */
	if (to > from)
		(void)madvise((void *)from, to - from, MADV_DONTNEED);
	b->kept = used;
}

static void begin_half(struct blackbox *b, const struct gossip_core *core)
{
	struct box_half *h;
	size_t len = b->arena ? arena_used(b->arena) : 0;

	give_back(b);
	b->at = b->number ? 1 - b->at : 0;
	b->kept = 0;
	h = &b->head->half[b->at];
	__atomic_store_n(&h->number, 0, __ATOMIC_SEQ_CST);
	h->used = h->copy_len = h->is_cut = 0;
	h->core = (uintptr_t)core;
	h->start = !core					? BOX_BIRTH
		   : b->arena && len <= b->head->half_bytes / 2 ? BOX_COPY
								: BOX_NOTHING;
	if (h->start == BOX_COPY) {
		memcpy(base(b), b->arena, len);
		h->copy_len = h->used = len;
		b->written += len;
	}
	b->since_digest = 0;
	__atomic_store_n(&h->number, ++b->number, __ATOMIC_SEQ_CST);
}

static uint8_t *put_number(uint8_t *p, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		*p++ = (uint8_t)(v | 0x80);
	*p++ = (uint8_t)v;
	return p;
}

static uint8_t *put_bytes(uint8_t *p, const void *from, size_t len)
{
	if (len)
		memcpy(p, from, len);
	return p + len;
}

static void put(struct blackbox *b, const struct box_entry *e, const void *what,
		const struct gossip_addr *addr, const char *key, const void *buf)
{
	struct box_half *h = &b->head->half[b->at];
	uint8_t flags = (uint8_t)(e->flags | (e->now_ms ? BOX_NOW : 0) |
				  (e->number ? BOX_NUMBER : 0) | (addr ? BOX_ADDR : 0));
	size_t most =
		2 + 5 * BOX_NUMBER_MAX + e->what_len + sizeof(*addr) + e->key_len + e->buf_len;
	uint8_t *start = base(b) + h->used, *p = start;

	if (h->is_cut || h->used + most > b->head->half_bytes) {
		h->is_cut = 1;
		return;
	}
	*p++ = e->op;
	*p++ = flags;
	if (flags & BOX_NOW)
		p = put_number(p, e->now_ms);
	if (flags & BOX_NUMBER)
		p = put_number(p, e->number);
	if (flags & BOX_WHAT)
		p = put_number(p, e->what_len);
	if (flags & BOX_KEY)
		p = put_number(p, e->key_len);
	if (flags & BOX_BUF)
		p = put_number(p, e->buf_len);
	p = put_bytes(p, what, e->what_len);
	p = put_bytes(p, addr, addr ? sizeof(*addr) : 0);
	p = put_bytes(p, key, e->key_len);
	p = put_bytes(p, buf, e->buf_len);
	b->written += (uint64_t)(p - start);
	__atomic_store_n(&h->used, h->used + (uint64_t)(p - start), __ATOMIC_RELEASE);
	if (h->used - b->kept >= KEEP_BYTES)
		give_back(b);
}

static void put_digest(struct blackbox *b, const struct gossip_core *c)
{
	struct box_entry e = {.op = BOX_DIGEST, .flags = BOX_BUF, .buf_len = 16};
	uint8_t digest[16];

	gossip_core_digest(c, digest);
	put(b, &e, NULL, NULL, NULL, digest);
}

/* Fixed-size things as they are; a record with what it points at. */
static void put_input(struct blackbox *b, const struct gossip_input *in)
{
	struct box_entry e = {.op = (uint8_t)in->kind,
			      .flags = in->is_urgent ? BOX_URGENT : 0,
			      .now_ms = in->now_ms,
			      .number = in->number};
	struct gossip_config cfg;
	const void *what = in->what, *buf = in->buf;
	const char *key = in->key;
	const struct record *r = in->what;

	switch (in->kind) {
	case GOSSIP_IN_NEW:
		cfg = *(const struct gossip_config *)in->what;
		memset(&cfg.signer, 0, sizeof(cfg.signer)); /* no pointer to a key */
		memset(&cfg.tap, 0, sizeof(cfg.tap));
		cfg.arena = NULL;
		what = &cfg;
		e.what_len = sizeof(cfg);
		break;
	case GOSSIP_IN_RECV:
		e.what_len = what ? sizeof(struct gossip_sender) : 0;
		break;
	case GOSSIP_IN_JOIN:
		e.what_len = (uint32_t)(in->number * sizeof(struct gossip_addr));
		break;
	case GOSSIP_IN_LOAD_RECORD:
		e.what_len = sizeof(*r);
		key = (const char *)r->key;
		e.key_len = (uint32_t)r->key_len;
		buf = r->value;
		e.buf_len = (uint32_t)r->value_len;
		e.flags |= BOX_BUF;
		break;
	case GOSSIP_IN_LOAD_ORIGIN:
		e.what_len = sizeof(struct gossip_origin);
		break;
	case GOSSIP_IN_LOAD_MEMBER:
		e.what_len = sizeof(struct gossip_member);
		break;
	case GOSSIP_IN_LOAD_SUMMARY:
		e.what_len = sizeof(struct gossip_summary);
		break;
	case GOSSIP_IN_PACKET: /* its hash is enough */
		e.number = what ? box_packet_hash(what) : 0;
		e.flags |= what ? BOX_BUF : 0;
		what = buf = NULL;
		break;
	case GOSSIP_IN_EVENT:
		e.flags |= what ? BOX_BUF : 0;
		what = buf = NULL;
		break;
	case GOSSIP_IN_PUT:
	case GOSSIP_IN_DEL:
		e.key_len = (uint32_t)strnlen(key, RECORD_KEY_MAX + 1);
		break;
	case GOSSIP_IN_PUT_SUMMARY:
	case GOSSIP_IN_SEND_FAILED:
	case GOSSIP_IN_TICK:
	case GOSSIP_IN_LEAVE:
	case GOSSIP_IN_SET_GENERATION:
		break;
	}
	if (buf && in->kind != GOSSIP_IN_LOAD_RECORD) {
		e.buf_len = (uint32_t)in->len;
		e.flags |= BOX_BUF;
	}
	e.flags |= (uint8_t)((e.what_len ? BOX_WHAT : 0) | (key ? BOX_KEY : 0));
	put(b, &e, what, in->addr, key, buf);
}

static void on_input(void *arg, const struct gossip_core *c, const struct gossip_input *in)
{
	struct blackbox *b = arg;
	const struct box_half *h = &b->head->half[b->at];

	/* These tell of something that is being done: no place for a copy. */
	if (in->kind != GOSSIP_IN_PACKET && in->kind != GOSSIP_IN_EVENT) {
		if (!c || h->is_cut || h->used + BOX_RESERVE + in->len > b->head->half_bytes)
			begin_half(b, c);
		if (c && ++b->since_digest >= BOX_CHECK_EVERY) {
			b->since_digest = 0;
			put_digest(b, c);
		}
	}
	put_input(b, in);
}

/* ---- signatures: what they gave stands in the box, so that nobody needs a key to play it */

static int box_sign(void *arg, const uint8_t *msg, size_t len, uint8_t sig[NODE_SIG_BYTES])
{
	struct blackbox *b = arg;
	int rc = b->inner.sign(b->inner.arg, msg, len, sig);
	struct box_entry e = {.op = BOX_SIGNED,
			      .flags = BOX_BUF,
			      .number = (uint64_t)-rc,
			      .buf_len = rc ? 0 : NODE_SIG_BYTES};

	put(b, &e, NULL, NULL, NULL, sig);
	return rc;
}

static int box_verify(void *arg, const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg, size_t len,
		      const uint8_t sig[NODE_SIG_BYTES])
{
	struct blackbox *b = arg;
	int rc = b->inner.verify(b->inner.arg, pub, msg, len, sig);
	struct box_entry e = {.op = BOX_VERIFIED, .number = (uint64_t)-rc};

	put(b, &e, NULL, NULL, NULL, NULL);
	return rc;
}

static void box_id_of(void *arg, const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id)
{
	const struct blackbox *b = arg;

	b->inner.id_of(b->inner.arg, pub, ret_id);
}

static void box_hash16(void *arg, const uint8_t *msg, size_t len, uint8_t ret[16])
{
	const struct blackbox *b = arg;

	b->inner.hash(b->inner.arg, msg, len, ret);
}

void blackbox_attach(struct blackbox *b, struct gossip_config *cfg)
{
	b->inner = cfg->signer;
	cfg->signer = (struct gossip_signer){.arg = b,
					     .sign = box_sign,
					     .verify = box_verify,
					     .id_of = box_id_of,
					     .hash = box_hash16};
	cfg->tap = (struct gossip_tap){.arg = b, .input = on_input};
	cfg->arena = b->arena;
}

/* ---- the file */

static int map_file(const char *path, size_t bytes, void **ret_at, struct err *e)
{
	char old[512];
	int fd, rc;

	snprintf(old, sizeof(old), "%s.old", path);
	if (rename(path, old) && errno != ENOENT)
		return err_set(e, -errno, "%s: %s", old, strerror(errno));
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	/* The blocks too: a full disk must not be found out about by a store. */
	rc = -posix_fallocate(fd, 0, (off_t)bytes);
	if (!rc) {
		*ret_at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (*ret_at == MAP_FAILED)
			rc = -errno;
	}
	close(fd);
	return rc ? err_set(e, rc, "%s: %s", path, strerror(-rc)) : 0;
}

int blackbox_open(const char *path, size_t bytes, struct blackbox **ret_box, struct err *e)
{
	struct blackbox *b = calloc(1, sizeof(*b));
	void *at = NULL;
	int rc;

	if (!b)
		return err_set(e, -ENOMEM, "out of memory");
	b->bytes = bytes ? bytes : BLACKBOX_BYTES;
	if (b->bytes < BLACKBOX_BYTES_MIN)
		b->bytes = BLACKBOX_BYTES_MIN;
	rc = map_file(path, b->bytes, &at, e);
	if (rc) {
		free(b);
		return rc;
	}
	b->head = at;
	b->head->half_bytes = (uint32_t)((b->bytes - BOX_HEAD_BYTES) / 2 & ~15ul);
	b->head->layout = box_layout();
	b->head->magic = BOX_MAGIC;
	/* Without it there are no copies: only what happened since the birth can be played. */
	if (arena_open(&b->arena))
		b->arena = NULL;
	*ret_box = b;
	return 0;
}

void blackbox_close(struct blackbox *b)
{
	if (!b)
		return;
	arena_close(b->arena);
	munmap(b->head, b->bytes);
	free(b);
}

uint64_t blackbox_bytes(const struct blackbox *b)
{
	return b->written;
}
