/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/arena.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define AT                                                                                         \
	((void *)0x300000000000ull) /* far from where the kernel puts things, and from a sanitizer's shadow */
#define MAGIC 0x65415231u	    /* "eAR1" */
#define CLASSES 128
#define SMALL_MAX 1024 /* below: steps of 32 bytes; above: four to each doubling */
#define SMALL_STEP 32

struct block {
	uint64_t size_class;
	union {
		struct block *next; /* free */
		uint64_t pad;	    /* keeps what follows at 16 bytes */
	};
};

struct arena {
	uint32_t magic, pad;
	uint64_t used; /* bytes, this header included */
	struct block *free[CLASSES];
};

static struct arena *now;

static size_t class_of(size_t bytes, size_t *ret_bytes)
{
	size_t step = SMALL_MAX / 4, base = SMALL_MAX, k = SMALL_MAX / SMALL_STEP;

	if (bytes <= SMALL_MAX) {
		k = bytes ? (bytes - 1) / SMALL_STEP : 0;
		*ret_bytes = (k + 1) * SMALL_STEP;
		return k;
	}
	for (; k + 4 <= CLASSES; base *= 2, step *= 2)
		for (size_t i = 1; i <= 4; i++, k++)
			if (bytes <= base + i * step) {
				*ret_bytes = base + i * step;
				return k;
			}
	return CLASSES;
}

static bool is_ours(const void *p)
{
	return (uintptr_t)p >= (uintptr_t)AT && (uintptr_t)p < (uintptr_t)AT + ARENA_BYTES_MAX;
}

static void *take(struct arena *a, size_t bytes)
{
	size_t room, k = class_of(bytes, &room);
	struct block *b;

	if (k >= CLASSES)
		return NULL;
	b = a->free[k];
	if (b) {
		a->free[k] = b->next;
		return b + 1;
	}
	if (a->used + sizeof(*b) + room > ARENA_BYTES_MAX)
		return NULL;
	b = (struct block *)((uint8_t *)a + a->used);
	a->used += sizeof(*b) + room;
	b->size_class = k;
	return b + 1;
}

static size_t room_of(const void *p)
{
	size_t k = (size_t)((const struct block *)p - 1)->size_class;
	size_t step = SMALL_MAX / 4, base = SMALL_MAX, at = SMALL_MAX / SMALL_STEP;

	if (k < at)
		return (k + 1) * SMALL_STEP;
	for (; at + 4 <= k; at += 4) {
		base *= 2;
		step *= 2;
	}
	return base + (k - at + 1) * step;
}

void arena_enter(struct arena *a)
{
	now = a;
}

void *arena_malloc(size_t bytes)
{
	return now ? take(now, bytes) : malloc(bytes);
}

void *arena_calloc(size_t n, size_t bytes)
{
	void *p;

	if (!now)
		return calloc(n, bytes);
	if (bytes && n > ARENA_BYTES_MAX / bytes)
		return NULL;
	p = take(now, n * bytes);
	if (p)
		memset(p, 0, n * bytes);
	return p;
}

void arena_free(void *p)
{
	struct block *b;

	if (!is_ours(p)) {
		free(p);
		return;
	}
	b = (struct block *)p - 1;
	b->next = ((struct arena *)AT)->free[b->size_class];
	((struct arena *)AT)->free[b->size_class] = b;
}

void *arena_realloc(void *p, size_t bytes)
{
	void *to;

	if (!p)
		return arena_malloc(bytes);
	if (!is_ours(p))
		return realloc(p, bytes);
	if (bytes <= room_of(p))
		return p;
	to = take(AT, bytes);
	if (!to)
		return NULL;
	memcpy(to, p, room_of(p));
	arena_free(p);
	return to;
}

int arena_open(struct arena **ret_arena)
{
	struct arena *a =
		mmap(AT, ARENA_BYTES_MAX, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

	if (a == MAP_FAILED)
		return -errno;
	if (a != AT) { /* a kernel that does not know the flag */
		munmap(a, ARENA_BYTES_MAX);
		return -EEXIST;
	}
	a->magic = MAGIC;
	a->used = (sizeof(*a) + 15) / 16 * 16;
	*ret_arena = a;
	return 0;
}

void arena_close(struct arena *a)
{
	if (!a)
		return;
	if (now == a)
		now = NULL;
	munmap(a, ARENA_BYTES_MAX);
}

size_t arena_used(const struct arena *a)
{
	return a->used;
}

int arena_restore(struct arena *a, const uint8_t *copy, size_t len)
{
	struct arena head;

	if (len < sizeof(head))
		return -EINVAL;
	memcpy(&head, copy, sizeof(head));
	if (head.magic != MAGIC || head.used != len)
		return -EINVAL;
	memcpy(a, copy, len);
	return 0;
}
