/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* stats: the forwarder's counters, summed over CPUs, and gossip's. With a service: its own, and the reasons of all.
 *
 * {now_ms: for rates, is_forwarding: the maps are at hand, text: why not, or "",
 *  reasons:  [{name, meaning, is_drop, packets}]              in the order of bpf/dp_reasons.h
 *  services: [{service, family: 4 | 6, packets, bytes}]       through this node as an edge
 *  backends: [{spec, packets, bytes}]
 *  gossip:   {counter: n}, loop: {counter: n}}                gossip/gossip.h GOSSIP_COUNTERS, gossip/loop.h
 */
#include <errno.h>
#include <string.h>

#include "cmd/ctl_int.h"
#include "edge/plan.h"

void ctl_put_gossip_counters(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m)
{
	struct gossip_counters c = {0};
	struct gossip_loop_counters lc = {0};
	struct ctl_block one;

	gossip_core_counters(l->cfg->core, &c);
	gossip_loop_counters(l->cfg->loop, &lc);
	ctl_key(o, m, "gossip");
	ctl_map(o, &one);
#define PUT_COUNTER(name, what) ctl_key_uint(o, &one, #name, c.name);
	GOSSIP_COUNTERS(PUT_COUNTER)
#undef PUT_COUNTER
	ctl_end(o, &one);
	ctl_key(o, m, "loop");
	ctl_map(o, &one);
	ctl_key_uint(o, &one, "unsealed", lc.unsealed);
	ctl_key_uint(o, &one, "replayed", lc.replayed);
	ctl_key_uint(o, &one, "send_errors", lc.send_errors);
	ctl_key_uint(o, &one, "stream_drops", lc.stream_drops);
	ctl_key_uint(o, &one, "lag_ms_max", lc.lag_ms_max);
	ctl_key_uint(o, &one, "lag_ms", lc.lag_ms);
	ctl_key_uint(o, &one, "bytes_in_s", lc.bytes_in_s);
	ctl_key_uint(o, &one, "bytes_out_s", lc.bytes_out_s);
	ctl_end(o, &one);
}

static void put_reasons(const struct stats_reason *r, size_t count, struct ctl_out *o,
			struct ctl_block *m)
{
	struct ctl_block list, one;

	ctl_key(o, m, "reasons");
	ctl_array(o, &list);
	for (size_t i = 0; i < count; i++) {
		ctl_item(&list);
		ctl_map(o, &one);
		ctl_key_text(o, &one, "name", r[i].name);
		ctl_key_text(o, &one, "meaning", r[i].meaning);
		ctl_key_bool(o, &one, "is_drop", r[i].is_drop);
		ctl_key_uint(o, &one, "packets", r[i].packets);
		ctl_end(o, &one);
	}
	ctl_end(o, &list);
}

static void put_stat(const struct dp_stat *s, struct ctl_out *o, struct ctl_block *m)
{
	ctl_key_uint(o, m, "packets", s->packets);
	ctl_key_uint(o, m, "bytes", s->bytes);
}

/* Of a service in one family: the whole and its parts. False: none of them is counted. */
static bool sum_entries(const struct ctl_look *l, const char *name, const struct route_entry *e,
			size_t count, struct dp_stat *ret_sum)
{
	struct dp_stat sum = {0};
	bool is_counted = false;

	for (size_t i = 0; i < count; i++) {
		uint32_t idx = plan_svc_idx(l->v.plan, name, e[i].family, e[i].part);
		struct dp_stat s;

		if (!idx || stats_svc(l->v.fds, idx, &s))
			continue;
		sum.packets += s.packets;
		sum.bytes += s.bytes;
		is_counted = true;
	}
	*ret_sum = sum;
	return is_counted;
}

static void put_services(const struct ctl_look *l, const char *only, bool has_maps,
			 struct ctl_out *o, struct ctl_block *m)
{
	const struct route_plan *r = l->v.routes;
	struct ctl_block list, one;

	ctl_key(o, m, "services");
	ctl_array(o, &list);
	for (size_t i = 0, next; has_maps && r && i < r->entry_count; i = next) {
		const char *name = l->v.view->service[r->entry[i].service_idx].name;
		struct dp_stat s;

		next = i + 1;
		while (next < r->entry_count &&
		       r->entry[next].service_idx == r->entry[i].service_idx &&
		       r->entry[next].family == r->entry[i].family)
			next++;
		if (only && strcmp(only, name))
			continue;
		if (!sum_entries(l, name, r->entry + i, next - i, &s))
			continue; /* not in the maps yet */
		ctl_item(&list);
		ctl_map(o, &one);
		ctl_key_text(o, &one, "service", name);
		ctl_key_uint(o, &one, "family", r->entry[i].family);
		put_stat(&s, o, &one);
		ctl_end(o, &one);
	}
	ctl_end(o, &list);
}

static void put_backends(const struct ctl_look *l, const char *only, bool has_maps,
			 struct ctl_out *o, struct ctl_block *m)
{
	const struct route_view *v = l->v.view;
	struct ctl_block list, one;

	ctl_key(o, m, "backends");
	ctl_array(o, &list);
	for (size_t i = 0; has_maps && i < v->backend_count; i++) {
		const struct route_backend *b = &v->backend[l->by_service[i]];
		char key[MODEL_KEY_MAX], spec[CTL_SPEC_MAX];
		struct dp_stat s;
		uint32_t idx;

		if (model_backend_key(&b->backend, key) ||
		    (only && strcmp(only, b->backend.service)))
			continue;
		idx = plan_backend_idx(l->v.plan, &v->node[b->node_idx].id, key);
		if (!idx || stats_backend(l->v.fds, idx, &s))
			continue;
		ctl_item(&list);
		ctl_map(o, &one);
		ctl_key_text(o, &one, "spec", ctl_backend_spec(v, l->by_service[i], spec));
		put_stat(&s, o, &one);
		ctl_end(o, &one);
	}
	ctl_end(o, &list);
}

static bool has_service(const struct ctl_look *l, const char *name)
{
	for (size_t i = 0; i < l->v.view->service_count; i++)
		if (strcmp(l->v.view->service[i].name, name) == 0)
			return true;
	return false;
}

int ctl_stats(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o, struct err *e)
{
	struct stats_reason reason[DP_REASON_COUNT];
	bool has_maps = l->v.fds && l->v.plan;
	const char *text = has_maps ? "" : l->v.fwd_text ? l->v.fwd_text : "no forwarder";
	const char *only = a->has & CTL_BIT(service) ? a->service : NULL;
	struct ctl_block m;
	int rc = 0;

	if (only && !has_service(l, only))
		return err_set(e, -ENOENT, "there is no service %s", only);
	if (has_maps)
		rc = stats_reasons(l->v.fds, reason);
	if (rc) {
		has_maps = false;
		text = strerror(-rc);
	}
	ctl_map(o, &m);
	ctl_key_uint(o, &m, "now_ms", l->now_ms);
	ctl_key_bool(o, &m, "is_forwarding", has_maps);
	ctl_key_text(o, &m, "text", text);
	put_reasons(reason, has_maps ? DP_REASON_COUNT : 0, o, &m);
	put_services(l, only, has_maps, o, &m);
	put_backends(l, only, has_maps, o, &m);
	ctl_put_gossip_counters(l, o, &m);
	ctl_end(o, &m);
	return 0;
}
