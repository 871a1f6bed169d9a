/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What another region says of itself. What is decoded holds together, and can be said and read again. */
#include <stdlib.h>
#include <string.h>

#include "edge/summary.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct summary *s)
{
	struct summary_from from = {.node_count = s->node_count};
	struct model_backend *backend = calloc(s->way_count + 1, sizeof(*backend));
	struct model_node *node = calloc(s->node_count + 1, sizeof(*node));
	struct summary *twice = NULL;
	uint8_t *value = NULL;
	size_t len;

	from.node = calloc(s->node_count + 1, sizeof(*from.node));
	from.backend = calloc(s->way_count + 1, sizeof(*from.backend));
	if (!backend || !node || !from.node || !from.backend)
		goto out;
	for (size_t i = 0; i < s->node_count; i++) {
		node[i] = s->node[i].node;
		memcpy(node[i].region, "any", 4);
		from.node[i] = (struct summary_from_node){s->node[i].id, &node[i]};
	}
	for (size_t i = 0; i < s->service_count; i++) {
		const struct summary_service *v = &s->service[i];

		if (v->first + v->count > s->way_count || v->count > SUMMARY_WAYS_MAX)
			abort();
		for (size_t k = v->first; k < v->first + v->count; k++) {
			const struct summary_way *w = &s->way[k];

			if (w->node >= s->node_count)
				abort();
			summary_backend(s, v, w, &backend[k]);
			from.backend[from.backend_count++] = (struct summary_from_backend){
				.id = s->node[w->node].id,
				.backend = &backend[k],
				.health = (enum model_health_state)w->health};
		}
	}
	if (summary_encode(&from, SUMMARY_VALUE_MAX, &value, &len) ||
	    summary_decode(value, len, &twice))
		abort();
	if (twice->node_count > s->node_count || twice->way_count > s->way_count)
		abort();
out:
	summary_free(twice);
	free(value);
	free(from.node);
	free(from.backend);
	free(node);
	free(backend);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct summary *s;

	if (summary_decode(data, size, &s))
		return 0;
	again(s);
	summary_free(s);
	return 0;
}
