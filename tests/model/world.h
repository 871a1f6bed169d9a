/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/model/world.h - random worlds and random frames for them: mostly well-formed, then mutated. The same seed makes the
 * same ones. */
#ifndef MODEL_WORLD_H
#define MODEL_WORLD_H

#include "tests/model/model.h"

#define WORLD_BRIDGE_IF 103u
#define WORLD_SVCS 13u
#define WORLD_BACKENDS 40u

uint32_t world_rnd(uint64_t *seed, uint32_t below);
/* `host` is the fixture's; its MTU and interfaces are varied. */
void world_make(struct model_world *w, const struct dp_host *host, const struct dp_self *self,
		uint64_t *seed);
/* Something changes while packets flow: what, is an element of one map. Returns the map's name. */
const char *world_change(struct model_world *w, uint64_t *seed, uint32_t *ret_idx,
			 const void **ret_value);
/* A frame for this hook; returns its length. */
size_t world_frame(const struct model_world *w, enum model_hook hook, uint64_t *seed,
		   uint8_t frame[MODEL_FRAME_MAX]);

#endif
