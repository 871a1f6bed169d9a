/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/mapset.h - keys of a fixed size with a 32-bit value each: what a map should hold against what it holds. PURE.
 *
 *   struct mapset have, want;
 *   fill both with mapset_add(), mapset_sort() want; mapset_apply(&have, &want, room, ops, e)
 *
 * Overflow  more than the map has room for: -E2BIG, and nothing has been touched
 * Order     what is new first, then what goes; the other way round where both don't fit together
 * Memory    heap; zero-initialised with key_bytes set is empty
 */
#ifndef EDGE_MAPSET_H
#define EDGE_MAPSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gossip/err.h"

#define MAPSET_KEY_MAX 40

struct mapset {
	size_t key_bytes; /* a multiple of 4 */
	size_t count, room;
	uint8_t *rows; /* key, value */
};
struct mapset_ops {
	void *arg;
	const char *what; /* for errors: "filters" */
	int (*put)(void *arg, const void *key, uint32_t value);
	int (*del)(void *arg, const void *key); /* of what is gone already: 0 */
};

int mapset_add(struct mapset *s, const void *key, uint32_t value); /* 0 | -ENOMEM */
/* By key; of equal keys the lowest value stays. */
void mapset_sort(struct mapset *s);
const void *mapset_key(const struct mapset *s, size_t i);
uint32_t mapset_value(const struct mapset *s, size_t i);
void mapset_set(struct mapset *s, size_t i, uint32_t value);
void mapset_clear(struct mapset *s); /* frees; key_bytes stays */

/* Both sorted. On success `have` is as `want`, and `want` is empty. After an error from ops, read the map back. */
int mapset_apply(struct mapset *have, struct mapset *want, size_t room,
		 const struct mapset_ops *ops, struct err *e);

#endif
