/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How far other writers' records are known, to the store and back: the core's numbers as the store's. */
#include <string.h>

#include "edge/agent_int.h"

void agent_origin_store(struct agent *a, const struct gossip_origin *g)
{
	struct store_origin o = {.id = g->id,
				 .generation = g->generation,
				 .watermark = g->watermark,
				 .verified = g->verified,
				 .gc = g->gc,
				 .gc_told = g->gc_told,
				 .former = g->former,
				 .former_watermark = g->former_watermark};

	o.flags = (uint8_t)((g->is_whole ? STORE_ORIGIN_WHOLE : 0) |
			    (g->is_closed ? STORE_ORIGIN_CLOSED : 0) |
			    (g->is_disputed ? STORE_ORIGIN_DISPUTED : 0));
	memcpy(o.sum, g->sum, sizeof(o.sum));
	/* A failure shows in store_get_status(), once. What is not stored is counted again after the next start. */
	(void)store_write_origin(a->store, &o);
}

struct load {
	struct agent *agent;
	size_t known, stale;
};

static int on_stored(const struct store_origin *o, void *arg)
{
	struct load *l = arg;
	struct gossip_origin g = {.id = o->id,
				  .generation = o->generation,
				  .watermark = o->watermark,
				  .verified = o->verified,
				  .gc = o->gc,
				  .gc_told = o->gc_told,
				  .former = o->former,
				  .former_watermark = o->former_watermark,
				  .is_whole = o->flags & STORE_ORIGIN_WHOLE,
				  .is_closed = o->flags & STORE_ORIGIN_CLOSED,
				  .is_disputed = o->flags & STORE_ORIGIN_DISPUTED};

	memcpy(g.sum, o->sum, sizeof(g.sum));
	if (!gossip_core_load_origin(l->agent->core, &g)) {
		l->known++;
		return 0;
	}
	/* The records are what they are; the core counts them anew and tells what to store. */
	l->stale++;
	(void)store_delete_origin(l->agent->store, &o->id);
	return 0;
}

int agent_origins_load(struct agent *a)
{
	struct load l = {.agent = a};
	int err = store_load_origins(a->store, on_stored, &l);

	if (!err)
		agent_log("info", "counted", "writers=%zu stale=%zu", l.known, l.stale);
	return err;
}
