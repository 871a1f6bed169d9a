/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/whatif.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t kill_nodes(struct whatif *w, const char *region, const char *name)
{
	size_t found = 0;

	for (size_t i = 0; i < w->view.node_count; i++) {
		struct route_node *n = &w->node[i];

		if (strcmp(region ? n->node.region : n->node.name, region ? region : name) != 0)
			continue;
		n->state = GOSSIP_DEAD;
		found++;
	}
	return found;
}

static size_t kill_backend(struct whatif *w, const char *spec)
{
	for (size_t i = 0; i < w->view.backend_count; i++) {
		struct route_backend *b = &w->backend[i];
		char key[MODEL_KEY_MAX], full[MODEL_NAME_MAX + MODEL_KEY_MAX + 1];

		if (model_backend_key(&b->backend, key))
			continue;
		snprintf(full, sizeof(full), "%s/%s", w->node[b->node_idx].node.name, key);
		if (strcmp(full, spec) != 0)
			continue;
		b->health = MODEL_HEALTH_FAILING;
		return 1;
	}
	return 0;
}

static int kill_one(struct whatif *w, const char *what, struct err *e)
{
	size_t found;

	if (!strncmp(what, "region:", 7))
		found = kill_nodes(w, what + 7, NULL);
	else if (!strncmp(what, "node:", 5))
		found = kill_nodes(w, NULL, what + 5);
	else if (!strncmp(what, "backend:", 8))
		found = kill_backend(w, what + 8);
	else
		return err_set(e, -EINVAL,
			       "plan: kill: got '%.60s', want region:NAME, node:NAME or "
			       "backend:NODE/SERVICE/ADDR:PORT",
			       what);
	return found ? 0 : err_set(e, -ENOENT, "plan: kill: %.100s is not known here", what);
}

int whatif_compute(const struct route_view *view, const char *const *kill, size_t kill_count,
		   struct whatif *ret_whatif, struct err *e)
{
	struct whatif w = {.view = *view};
	int rc = 0;

	w.node = calloc(view->node_count + 1, sizeof(*w.node));
	w.backend = calloc(view->backend_count + 1, sizeof(*w.backend));
	if (!w.node || !w.backend) {
		rc = err_set(e, -ENOMEM, "plan: no memory");
		goto fail;
	}
	memcpy(w.node, view->node, view->node_count * sizeof(*w.node));
	memcpy(w.backend, view->backend, view->backend_count * sizeof(*w.backend));
	w.view.node = w.node;
	w.view.backend = w.backend;
	for (size_t i = 0; i < kill_count && !rc; i++)
		rc = kill_one(&w, kill[i], e);
	if (!rc) {
		rc = route_compute(&w.view, &w.routes);
		if (rc)
			(void)err_set(e, rc, "plan: routes can't be computed: %s", strerror(-rc));
	}
	if (rc)
		goto fail;
	*ret_whatif = w;
	return 0;
fail:
	whatif_free(&w);
	return rc;
}

void whatif_free(struct whatif *w)
{
	route_free(w->routes);
	free(w->node);
	free(w->backend);
	*w = (struct whatif){0};
}

uint32_t whatif_rows_region(const struct route_view *view, const struct route_entry *e,
			    const char *region)
{
	uint32_t n = 0;

	for (uint32_t r = 0; r < e->row_count; r++)
		n += strcmp(view->node[view->backend[e->row[r]].node_idx].node.region, region) == 0;
	return n;
}

uint32_t whatif_rows_backend(const struct route_entry *e, size_t backend_idx)
{
	uint32_t n = 0;

	for (uint32_t r = 0; r < e->row_count; r++)
		n += e->row[r] == backend_idx;
	return n;
}
