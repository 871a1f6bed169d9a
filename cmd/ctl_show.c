/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* service.show, backend.show, filter.list.
 *
 * service.show   {services: [the one], filters: [its own], backends: [backend]}    services and backends: ctl_list.c
 * backend.show   {backends: [the one]}; without NODE/ one of this node
 * filter.list    {filters: [filter]}; parameter service: only its own, "*" those of every service
 *   filter       {service (nil = every one), prefix, verb: "deny" | "allow", why, author}   by service, prefix
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/dp_abi.h"
#include "cmd/ctl_int.h"

/* ---- filters */

static int cmp_filter(const void *x, const void *y)
{
	const struct model_filter *a = *(const struct model_filter *const *)x;
	const struct model_filter *b = *(const struct model_filter *const *)y;
	int c = strcmp(a->service, b->service);

	if (!c)
		c = memcmp(a->prefix.addr.b, b->prefix.addr.b, sizeof(a->prefix.addr.b));
	return c ? c : (a->prefix.bits > b->prefix.bits) - (a->prefix.bits < b->prefix.bits);
}

static void put_filter(const struct model_filter *f, struct ctl_out *o)
{
	char prefix[IP_TEXT_MAX];
	struct ctl_block m;

	ctl_map(o, &m);
	if (f->service[0])
		ctl_key_text(o, &m, "service", f->service);
	else
		ctl_key_nil(o, &m, "service");
	ctl_key_text(o, &m, "prefix", ip_prefix_text(&f->prefix, prefix));
	ctl_key_text(o, &m, "verb", f->verb == DP_FILTER_DENY ? "deny" : "allow");
	ctl_key_text(o, &m, "why", f->why);
	ctl_key_text(o, &m, "author", f->author);
	ctl_end(o, &m);
}

/* service NULL: all of them; "": those of every service. */
static int put_filters(const struct ctl_look *l, const char *service, struct ctl_out *o,
		       struct ctl_block *m, struct err *e)
{
	const struct model_filter *f, **list;
	const void *cursor = NULL;
	struct ctl_block block;
	size_t n = 0, i = 0;

	while (agent_filter_next(l->cfg->agent, &cursor))
		n++;
	list = calloc(n + 1, sizeof(*list));
	if (!list)
		return err_set(e, -ENOMEM, "out of memory");
	n = 0;
	for (cursor = NULL; (f = agent_filter_next(l->cfg->agent, &cursor));)
		if (!service || !strcmp(f->service, service))
			list[n++] = f;
	qsort(list, n, sizeof(*list), cmp_filter);
	ctl_key(o, m, "filters");
	ctl_array(o, &block);
	for (i = 0; i < n; i++) {
		ctl_item(&block);
		put_filter(list[i], o);
	}
	ctl_end(o, &block);
	free(list);
	return 0;
}

int ctl_filter_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		    struct err *e)
{
	const char *service = a->has & CTL_BIT(service) ? a->service : NULL;
	struct ctl_block m;
	int rc;

	if (service && !strcmp(service, "*"))
		service = "";
	ctl_map(o, &m);
	rc = put_filters(l, service, o, &m, e);
	ctl_end(o, &m);
	return rc;
}

/* ---- one service, one backend */

int ctl_service_show(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		     struct err *e)
{
	struct ctl_block m, list;
	size_t idx;
	int rc;

	if (!ctl_find_service(l->v.view, a->name, &idx))
		return err_set(e, -ENOENT, "there is no service %s", a->name);
	ctl_map(o, &m);
	ctl_key(o, &m, "services");
	ctl_array(o, &list);
	ctl_item(&list);
	ctl_put_service(l, idx, o);
	ctl_end(o, &list);
	rc = put_filters(l, a->name, o, &m, e);
	ctl_put_backends(l, a->name, o, &m);
	ctl_end(o, &m);
	return rc;
}

static bool is_self(const struct ctl_look *l, const struct node_id *id)
{
	for (size_t i = 0; i < gossip_core_member_count(l->cfg->core); i++) {
		struct gossip_member m;

		gossip_core_member_at(l->cfg->core, i, &m);
		if (m.is_self)
			return !node_id_cmp(&m.id, id);
	}
	return false;
}

int ctl_backend_show(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		     struct err *e)
{
	const struct route_view *v = l->v.view;
	const char *slash = strchr(a->spec, '/');
	bool has_node = slash && strchr(slash + 1, '/');
	struct ctl_block m, list;

	for (size_t i = 0; i < v->backend_count; i++) {
		const struct route_node *n = &v->node[v->backend[i].node_idx];
		char spec[CTL_SPEC_MAX];

		ctl_backend_spec(v, i, spec);
		if (strcmp(has_node ? spec : strchr(spec, '/') + 1, a->spec) != 0)
			continue;
		if (!has_node && !is_self(l, &n->id))
			continue;
		ctl_map(o, &m);
		ctl_key(o, &m, "backends");
		ctl_array(o, &list);
		ctl_item(&list);
		ctl_put_backend(l, i, o);
		ctl_end(o, &list);
		ctl_end(o, &m);
		return 0;
	}
	return err_set(e, -ENOENT, "there is no backend %.100s", a->spec);
}
