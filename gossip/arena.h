/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/arena.h - memory of one core at a fixed place, so that a copy of it is the core.
 *
 * A black box (gossip/blackbox.h) keeps such copies: whatever the core consists of, now or later, is in it, with pointers that
 * mean the same where the copy is put back. Files of the core that include gossip/core.h get their memory here, by the
 * macros below; without an arena, and in all other cores of a process, it is the heap's.
 *
 * Memory   address space is reserved, pages come when they are touched; freed blocks are used again for their size class
 *          and never given back. At most a quarter of a block is lost to its class.
 * Limits   one arena in a process, ARENA_BYTES_MAX
 * Threads  one
 */
#ifndef GOSSIP_ARENA_H
#define GOSSIP_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define ARENA_BYTES_MAX (2ull << 30)

struct arena;

/* -EEXIST: there is one, or something else is in its place. */
int arena_open(struct arena **ret_arena);
void arena_close(struct arena *a);
/* What a copy has to hold: from the arena's own address on. */
size_t arena_used(const struct arena *a);
/* A fresh arena becomes what the copy was. -EINVAL: it is none. */
int arena_restore(struct arena *a, const uint8_t *copy, size_t len);

/* Where the next block comes from: NULL is the heap. */
void arena_enter(struct arena *a);
void *arena_malloc(size_t bytes);
void *arena_calloc(size_t n, size_t bytes);
void *arena_realloc(void *p, size_t bytes); /* stays where it was */
void arena_free(void *p);		    /* of either kind */

#endif
