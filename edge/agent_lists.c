/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"
#include "edge/filter.h"
#include "edge/plan_priv.h"
#include "edge/quic.h"

void agent_lists_forget(struct agent *a)
{
	mapset_clear(&a->filters);
	mapset_clear(&a->quic);
	a->is_lists_read = false;
	a->filter_text[0] = a->quic_text[0] = 0;
}

const char *agent_lists_text(const struct agent *a)
{
	return a->filter_text[0] ? a->filter_text : a->quic_text;
}

/* A process that goes on from filled maps, and one that failed to write them. */
static int read_back(struct agent *a, struct err *e)
{
	int err;

	if (a->is_lists_read)
		return 0;
	mapset_clear(&a->filters);
	mapset_clear(&a->quic);
	err = mapw_set_read(a->mapw, MAPW_FILTER, &a->filters, &a->filter_room, e);
	if (!err)
		err = mapw_set_read(a->mapw, MAPW_QUIC, &a->quic, &a->quic_room, e);
	if (err)
		return err;
	a->is_lists_read = a->is_filter_dirty = true;
	return 0;
}

/* -E2BIG: nothing was touched, and the next try would say the same until something changes. */
static void done(struct agent *a, int err, const struct err *e, char text[AGENT_TEXT_MAX])
{
	snprintf(text, AGENT_TEXT_MAX, "%s", err ? e->text : "");
	if (!err || err == -E2BIG)
		return;
	a->is_lists_read = false;
	a->is_dirty = true; /* the tick tries again */
}

/* ---- prefix lists */

static int wanted_filters(const struct agent *a, struct mapset *want, bool *ret_has_global)
{
	int err = 0;

	*ret_has_global = false;
	for (const struct fact *f = a->facts; f && !err; f = f->hh.next) {
		const struct model_filter *m = &f->u.filter;

		if (f->id.kind != MODEL_KIND_FILTER)
			continue;
		*ret_has_global |= !m->service[0];
		err = filter_add(want, m->service[0] ? plan_svc_id(m->service) : 0, &m->prefix,
				 m->verb);
	}
	return err ? err : filter_finish(want);
}

static int write_filters(struct agent *a, struct err *e)
{
	struct mapset want = {.key_bytes = sizeof(struct dp_filter_key)};
	struct mapset_ops ops;
	bool has_global;
	int err = read_back(a, e);

	if (err || !a->is_filter_dirty)
		return err;
	ops = mapw_set_ops(a->mapw, MAPW_FILTER);
	err = wanted_filters(a, &want, &has_global);
	err = err ? err_set(e, err, "filters: out of memory")
		  : mapset_apply(&a->filters, &want, a->filter_room, &ops, e);
	mapset_clear(&want);
	if (err)
		return err;
	mapw_set_flag(a->mapw, DP_CTL_FILTER, has_global);
	a->is_filter_dirty = false;
	return 0;
}

void agent_lists_filters(struct agent *a)
{
	struct err e = {0};
	int err = write_filters(a, &e);

	done(a, err, &e, a->filter_text);
}

/* ---- server ids */

static const struct model_service *service_of(const struct route_view *v, const char *name)
{
	for (size_t i = 0; i < v->service_count; i++)
		if (!strcmp(v->service[i].name, name))
			return &v->service[i];
	return NULL;
}

/* Backends that are draining keep their connections; one that is down has a word that says so. */
static int wanted_quic(const struct agent *a, struct mapset *want)
{
	const struct route_view *v = &a->world->view;
	const struct model_service *s = NULL;
	uint32_t *id = calloc(v->backend_count + 1, sizeof(*id));
	int err = id ? quic_ids(v, id) : -ENOMEM;

	for (size_t i = 0; i < v->backend_count && !err; i++) {
		const struct model_backend *b = &v->backend[i].backend;
		struct dp_quic_key key = {.server_id = id[i], .family = ip_is_v4(&b->addr) ? 4 : 6};
		char text[MODEL_KEY_MAX];
		uint32_t idx;

		if (!s || strcmp(s->name, b->service) != 0)
			s = service_of(v, b->service);
		if (!id[i] || !s || !s->policy.is_quic || model_backend_key(b, text))
			continue;
		idx = plan_backend_idx(a->plan, &v->node[v->backend[i].node_idx].id, text);
		key.svc_id = plan_svc_id(b->service);
		if (idx)
			err = mapset_add(want, &key, idx);
	}
	free(id);
	mapset_sort(want);
	return err;
}

static int write_quic(struct agent *a, struct err *e)
{
	struct mapset want = {.key_bytes = sizeof(struct dp_quic_key)};
	struct mapset_ops ops = mapw_set_ops(a->mapw, MAPW_QUIC);
	bool is_wanted = false;
	int err = read_back(a, e);

	for (size_t i = 0; i < a->world->view.service_count; i++)
		is_wanted |= a->world->view.service[i].policy.is_quic;
	if (!err && is_wanted && wanted_quic(a, &want))
		err = err_set(e, -ENOMEM, "server ids: out of memory");
	if (!err)
		err = mapset_apply(&a->quic, &want, a->quic_room, &ops, e);
	mapset_clear(&want);
	return err;
}

void agent_lists_quic(struct agent *a)
{
	struct err e = {0};
	int err = write_quic(a, &e);

	done(a, err, &e, a->quic_text);
}
