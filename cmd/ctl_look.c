/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/ctl_int.h"
#include "edge/quic.h"

static int cmp_by_service(const void *x, const void *y, void *arg)
{
	const struct route_view *v = arg;
	uint32_t a = *(const uint32_t *)x, b = *(const uint32_t *)y;
	int c = strcmp(v->backend[a].backend.service, v->backend[b].backend.service);

	return c ? c : (a > b) - (a < b);
}

static int cmp_by_id(const void *x, const void *y)
{
	const struct route_node *a = *(const struct route_node *const *)x;
	const struct route_node *b = *(const struct route_node *const *)y;

	return node_id_cmp(&a->id, &b->id);
}

static bool is_usable(enum route_why why)
{
	return why == ROUTE_USED || why == ROUTE_FARTHER_TIER;
}

static void fill_use(struct ctl_look *l)
{
	const struct route_plan *r = l->v.routes;

	for (size_t i = 0; r && i < r->entry_count; i++) {
		for (size_t k = 0; k < r->entry[i].choice_count; k++) {
			const struct route_choice *ch = &r->entry[i].choice[k];
			struct ctl_use *u = &l->use[ch->backend_idx];

			/* A backend is of one family: what the other family's entry says of it is no news. */
			if (u->is_known && (is_usable(u->why) || ch->why == ROUTE_OTHER_FAMILY))
				continue;
			*u = (struct ctl_use){.why = ch->why,
					      .tier = ch->tier,
					      .is_known = true,
					      .is_usable = is_usable(ch->why)};
		}
	}
}

int ctl_look_begin(const struct ctl_config *cfg, struct ctl_look *ret_look)
{
	struct ctl_look l = {.cfg = cfg};
	const struct route_view *v;
	struct timespec ts;

	agent_look(cfg->agent, &l.v);
	v = l.v.view;
	l.now_ms = gossip_loop_now_ms(cfg->loop);
	clock_gettime(CLOCK_REALTIME, &ts);
	l.unix_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	l.use = calloc(v->backend_count + 1, sizeof(*l.use));
	l.by_service = calloc(v->backend_count + 1, sizeof(*l.by_service));
	l.by_id = calloc(v->node_count + 1, sizeof(*l.by_id));
	l.quic_id = calloc(v->backend_count + 1, sizeof(*l.quic_id));
	if (!l.use || !l.by_service || !l.by_id || !l.quic_id || quic_ids(v, l.quic_id)) {
		ctl_look_end(&l);
		return -ENOMEM;
	}
	for (size_t i = 0; i < v->backend_count; i++)
		l.by_service[i] = (uint32_t)i;
	qsort_r(l.by_service, v->backend_count, sizeof(*l.by_service), cmp_by_service, (void *)v);
	for (size_t i = 0; i < v->node_count; i++)
		l.by_id[i] = &v->node[i];
	qsort(l.by_id, v->node_count, sizeof(*l.by_id), cmp_by_id);
	fill_use(&l);
	*ret_look = l;
	return 0;
}

void ctl_look_end(struct ctl_look *l)
{
	free(l->use);
	free(l->by_service);
	free(l->by_id);
	free(l->quic_id);
	*l = (struct ctl_look){0};
}

size_t ctl_look_service(const struct ctl_look *l, const char *service, size_t *ret_first)
{
	const struct route_view *v = l->v.view;
	size_t lo = 0, hi = v->backend_count, end;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(v->backend[l->by_service[mid]].backend.service, service) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (end = lo; end < v->backend_count; end++)
		if (strcmp(v->backend[l->by_service[end]].backend.service, service) != 0)
			break;
	*ret_first = lo;
	return end - lo;
}

const struct route_node *ctl_look_node(const struct ctl_look *l, const struct node_id *id)
{
	struct route_node probe;
	const struct route_node *want = &probe, **hit;

	probe.id = *id;
	hit = bsearch(&want, l->by_id, l->v.view->node_count, sizeof(*l->by_id), cmp_by_id);
	return hit ? *hit : NULL;
}

const char *ctl_backend_spec(const struct route_view *v, size_t backend_idx, char buf[CTL_SPEC_MAX])
{
	const struct route_backend *b = &v->backend[backend_idx];
	char key[MODEL_KEY_MAX];

	if (model_backend_key(&b->backend, key))
		key[0] = 0;
	snprintf(buf, CTL_SPEC_MAX, "%s/%s", v->node[b->node_idx].node.name, key);
	return buf;
}

const char *ctl_state_text(enum gossip_state s)
{
	switch (s) {
	case GOSSIP_ALIVE:
		return "alive";
	case GOSSIP_HEADLESS:
		return "headless";
	case GOSSIP_SUSPECT:
		return "suspect";
	case GOSSIP_DEAD:
		return "dead";
	case GOSSIP_LEFT:
		return "left";
	}
	return "?";
}

const char *ctl_health_text(enum model_health_state s)
{
	switch (s) {
	case MODEL_HEALTH_UNKNOWN:
		return "unknown";
	case MODEL_HEALTH_PASSING:
		return "passing";
	case MODEL_HEALTH_FAILING:
		return "failing";
	}
	return "?";
}
