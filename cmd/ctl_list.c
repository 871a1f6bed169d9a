/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* service.list, backend.list, route.show. `*_ms` is how long ago, in milliseconds; nil = never.
 *
 * service.list   {services: [service]}
 *   service      {name, vips: [text], ports: ["udp/53", "tcp/80-89"], hash, policy: {name: word or number; those that
 *                 are as by default left out}, is_shadowed, usable, backends,
 *                 regions: [{region, usable, backends}]}            usable: by this node's routes, of all tiers
 * backend.list   {backends: [backend]}; parameter service: only its ones, -ENOENT if there is neither
 *   backend      {spec: "NODE/SERVICE/ADDR:PORT", node, region, service, addr: "ADDR:PORT", ports: "LO-HI" (nil = all
 *                 that nobody takes a part of), weight, is_summary: a way in that its region's summary names (its check is not told), quic_id: hex (nil = its chosen id is another's), check, health,
 *                 why, changed_ms, checked: {last: "good" | "warning" | "bad" | "none", output, ended_ms, took_us, streak,
 *                 is_under_way, next_ms} (nil = another node's, or has no check), is_draining, is_overridden, is_usable, use: sentence, tier (nil = not in any route)}
 * route.show     {service, region, vips, ports, families: [family]}
 *   family       {family: 4 | 6, vips: [text], rows, part: "LO-HI" (nil = what is no part), is_shadowed, digest: hex of
 *                 the owners, prev_rows: that remember a previous owner, prev_digest: hex (nil = not in the maps),
 *                 choices: [choice]}
 *   choice       {spec, node, region, is_summary, tier, is_used, use: sentence, health, weight, rows}   by tier, in the table's order
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/ctl_int.h"
#include "edge/plan.h"
#include "edge/quic.h"

/* ---- services */

static void put_vips(const struct model_service *s, uint8_t family, struct ctl_out *o,
		     struct ctl_block *m)
{
	char text[IP_TEXT_MAX];
	struct ctl_block list;

	ctl_key(o, m, "vips");
	ctl_array(o, &list);
	for (size_t i = 0; i < s->vip_count; i++) {
		if (family && (family == 4) != ip_is_v4(&s->vip[i]))
			continue;
		ctl_item(&list);
		ctl_text(o, ip_text(&s->vip[i], text));
	}
	ctl_end(o, &list);
}

static void put_ports(const struct model_service *s, struct ctl_out *o, struct ctl_block *m)
{
	struct ctl_block list;
	char text[24];

	ctl_key(o, m, "ports");
	ctl_array(o, &list);
	for (size_t i = 0; i < s->port_count; i++) {
		ctl_item(&list);
		ctl_text(o, ctl_port_text(&s->port[i], text));
	}
	ctl_end(o, &list);
}

struct region_sum {
	const char *region;
	uint32_t usable, backends;
};

/* Per region, in order of appearance; regions beyond the table count in the total alone. */
static void put_regions(const struct ctl_look *l, const char *service, struct ctl_out *o,
			struct ctl_block *m)
{
	const struct route_view *v = l->v.view;
	struct region_sum sum[ROUTE_REGIONS_MAX];
	size_t first, count = ctl_look_service(l, service, &first), regions = 0;
	uint32_t usable = 0;
	struct ctl_block list, one;

	for (size_t i = first; i < first + count; i++) {
		uint32_t idx = l->by_service[i];
		const char *region = v->node[v->backend[idx].node_idx].node.region;
		size_t k = 0;

		while (k < regions && strcmp(sum[k].region, region) != 0)
			k++;
		usable += l->use[idx].is_usable;
		if (k == ROUTE_REGIONS_MAX)
			continue;
		if (k == regions)
			sum[regions++] = (struct region_sum){.region = region};
		sum[k].backends++;
		sum[k].usable += l->use[idx].is_usable;
	}
	ctl_key_uint(o, m, "usable", usable);
	ctl_key_uint(o, m, "backends", count);
	ctl_key(o, m, "regions");
	ctl_array(o, &list);
	for (size_t k = 0; k < regions; k++) {
		ctl_item(&list);
		ctl_map(o, &one);
		ctl_key_text(o, &one, "region", sum[k].region);
		ctl_key_uint(o, &one, "usable", sum[k].usable);
		ctl_key_uint(o, &one, "backends", sum[k].backends);
		ctl_end(o, &one);
	}
	ctl_end(o, &list);
}

/* The first route entry of a service: they are sorted by name. entry_count if there is none. */
static size_t first_entry(const struct ctl_look *l, const char *name)
{
	const struct route_plan *r = l->v.routes;
	size_t lo = 0, hi = r ? r->entry_count : 0;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (strcmp(l->v.view->service[r->entry[mid].service_idx].name, name) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Some older service has one of its addresses and ports. */
static bool is_shadowed(const struct ctl_look *l, size_t service_idx)
{
	const struct route_plan *r = l->v.routes;

	for (size_t i = first_entry(l, l->v.view->service[service_idx].name);
	     r && i < r->entry_count && r->entry[i].service_idx == service_idx; i++)
		if (r->entry[i].is_shadowed)
			return true;
	return false;
}

/* What is as by default is left out, but for the hash. */
static void put_policy(const struct model_service *s, struct ctl_out *o, struct ctl_block *m)
{
	struct model_policy_item item;
	struct ctl_block one;
	size_t cursor = 0;

	ctl_key(o, m, "policy");
	ctl_map(o, &one);
	while (model_policy_next(s, &cursor, &item)) {
		if (item.word)
			ctl_key_text(o, &one, item.name, item.word);
		else
			ctl_key_uint(o, &one, item.name, item.number);
	}
	ctl_end(o, &one);
}

void ctl_put_service(const struct ctl_look *l, size_t service_idx, struct ctl_out *o)
{
	const struct model_service *s = &l->v.view->service[service_idx];
	struct ctl_block one;

	ctl_map(o, &one);
	ctl_key_text(o, &one, "name", s->name);
	put_vips(s, 0, o, &one);
	put_ports(s, o, &one);
	ctl_key_text(o, &one, "hash", ctl_hash_text(s->hash));
	put_policy(s, o, &one);
	ctl_key_bool(o, &one, "is_shadowed", is_shadowed(l, service_idx));
	put_regions(l, s->name, o, &one);
	ctl_end(o, &one);
}

void ctl_put_services(const struct ctl_look *l, struct ctl_out *o, struct ctl_block *m)
{
	struct ctl_block list;

	ctl_key(o, m, "services");
	ctl_array(o, &list);
	for (size_t i = 0; i < l->v.view->service_count; i++) {
		ctl_item(&list);
		ctl_put_service(l, i, o);
	}
	ctl_end(o, &list);
}

int ctl_service_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		     struct err *e)
{
	struct ctl_block m;

	(void)a;
	(void)e;
	ctl_map(o, &m);
	ctl_put_services(l, o, &m);
	ctl_end(o, &m);
	return 0;
}

/* ---- backends */

static const char *use_text(const struct ctl_use *u)
{
	return u->is_known ? route_why_text(u->why) : "its service is not known here";
}

static void put_part(struct ctl_out *o, struct ctl_block *m, const char *key,
		     struct ip_port_range part)
{
	char text[16];

	snprintf(text, sizeof(text), "%u-%u", part.lo, part.hi);
	if (part.lo)
		ctl_key_text(o, m, key, text);
	else
		ctl_key_nil(o, m, key);
}

/* What took it out, or who says so where its node is headless; "" = nothing has, nobody but its node. */
static const char *cause_text(const struct model_health *h)
{
	static const char *const text[] = {"check", "signal", "gone", "others", "stale"};

	return h->cause <= MODEL_CAUSE_STALE &&
			       (h->state == MODEL_HEALTH_FAILING || h->cause >= MODEL_CAUSES)
		       ? text[h->cause]
		       : "";
}

/* What this node's own check of it did last. */
static void put_checked(const struct ctl_look *l, size_t idx, struct ctl_out *o,
			struct ctl_block *m)
{
	static const char *const last[] = {[CHECK_NO_RESULT] = "none",
					   [CHECK_GOOD] = "good",
					   [CHECK_WARN] = "warning",
					   [CHECK_BAD] = "bad"};
	struct check_look c;
	struct ctl_block map;

	if (!agent_check_look(l->cfg->agent, idx, &c)) {
		ctl_key_nil(o, m, "checked");
		return;
	}
	ctl_key(o, m, "checked");
	ctl_map(o, &map);
	ctl_key_text(o, &map, "last", last[c.last]);
	ctl_key_text(o, &map, "output", c.output);
	ctl_key_age(o, &map, "ended_ms", l->unix_ms, c.unix_ms);
	ctl_key_uint(o, &map, "took_us", c.took_us);
	ctl_key_uint(o, &map, "streak", c.streak);
	ctl_key_bool(o, &map, "is_under_way", c.is_under_way);
	ctl_key_uint(o, &map, "next_ms", c.next_ms);
	ctl_end(o, &map);
}

void ctl_put_backend(const struct ctl_look *l, size_t idx, struct ctl_out *o)
{
	const struct route_view *v = l->v.view;
	const struct route_backend *b = &v->backend[idx];
	const struct route_node *n = &v->node[b->node_idx];
	char spec[CTL_SPEC_MAX], addr[IP_TEXT_MAX], check[MODEL_CHECK_TEXT_MAX];
	char id[QUIC_ID_TEXT_MAX];
	struct model_health h = {0};
	struct ctl_block m;

	if (!agent_health(l->cfg->agent, idx, &h))
		h = (struct model_health){0};
	ctl_map(o, &m);
	ctl_key_text(o, &m, "spec", ctl_backend_spec(v, idx, spec));
	ctl_key_text(o, &m, "node", n->node.name);
	ctl_key_text(o, &m, "region", n->node.region);
	ctl_key_text(o, &m, "service", b->backend.service);
	ctl_key_text(o, &m, "addr", ip_port_text(&b->backend.addr, b->backend.port, addr));
	put_part(o, &m, "ports", b->backend.ports);
	ctl_key_uint(o, &m, "weight", b->backend.weight);
	ctl_key_uint(o, &m, "share_pct", b->share_pct ? b->share_pct : 100);
	if (l->quic_id[idx])
		ctl_key_text(o, &m, "quic_id", quic_id_text(l->quic_id[idx], id));
	else
		ctl_key_nil(o, &m, "quic_id");
	ctl_key_bool(o, &m, "is_summary", n->is_summary);
	ctl_key_text(o, &m, "check",
		     n->is_summary ? "" : model_check_text(&b->backend.check, check));
	ctl_key_text(o, &m, "health",
		     h.is_warning && b->health == MODEL_HEALTH_PASSING
			     ? "warning"
			     : ctl_health_text(b->health));
	ctl_key_text(o, &m, "why", h.why);
	ctl_key_age(o, &m, "changed_ms", l->unix_ms, h.changed_unix_ms);
	ctl_key_bool(o, &m, "is_draining", b->backend.is_draining);
	ctl_key_bool(o, &m, "is_overridden", b->is_overridden);
	ctl_key_bool(o, &m, "is_usable", l->use[idx].is_usable);
	ctl_key_text(o, &m, "use", use_text(&l->use[idx]));
	if (l->use[idx].is_known)
		ctl_key_uint(o, &m, "tier", l->use[idx].tier);
	else
		ctl_key_nil(o, &m, "tier");
	ctl_key_text(o, &m, "cause", cause_text(&h));
	ctl_key_text(o, &m, "watch", b->backend.watch);
	put_checked(l, idx, o, &m);
	ctl_end(o, &m);
}

void ctl_put_backends(const struct ctl_look *l, const char *service, struct ctl_out *o,
		      struct ctl_block *m)
{
	size_t first = 0, count = l->v.view->backend_count;
	struct ctl_block list;

	if (service)
		count = ctl_look_service(l, service, &first);
	ctl_key(o, m, "backends");
	ctl_array(o, &list);
	for (size_t i = first; i < first + count; i++) {
		ctl_item(&list);
		ctl_put_backend(l, l->by_service[i], o);
	}
	ctl_end(o, &list);
}

const struct model_service *ctl_find_service(const struct route_view *v, const char *name,
					     size_t *ret_idx)
{
	for (size_t i = 0; i < v->service_count; i++) {
		if (strcmp(v->service[i].name, name) == 0) {
			*ret_idx = i;
			return &v->service[i];
		}
	}
	return NULL;
}

int ctl_backend_list(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		     struct err *e)
{
	const char *service = a->has & CTL_BIT(service) ? a->service : NULL;
	struct ctl_block m;
	size_t idx, first;

	if (service && !ctl_find_service(l->v.view, service, &idx) &&
	    !ctl_look_service(l, service, &first))
		return err_set(e, -ENOENT, "there is no service %s", service);
	ctl_map(o, &m);
	ctl_put_backends(l, service, o, &m);
	ctl_end(o, &m);
	return 0;
}

/* ---- routes */

static void put_choice(const struct ctl_look *l, const struct route_choice *ch, uint32_t rows,
		       struct ctl_out *o)
{
	const struct route_view *v = l->v.view;
	const struct route_backend *b = &v->backend[ch->backend_idx];
	const struct route_node *n = &v->node[b->node_idx];
	char spec[CTL_SPEC_MAX], use[ROUTE_USE_TEXT_MAX];
	struct ctl_block m;

	ctl_map(o, &m);
	ctl_key_text(o, &m, "spec", ctl_backend_spec(v, ch->backend_idx, spec));
	ctl_key_text(o, &m, "node", n->node.name);
	ctl_key_text(o, &m, "region", n->node.region);
	ctl_key_uint(o, &m, "tier", ch->tier);
	ctl_key_bool(o, &m, "is_used", ch->why == ROUTE_USED);
	ctl_key_bool(o, &m, "is_panic", ch->is_panic);
	ctl_key_text(o, &m, "use", route_use_text(v, ch, use));
	ctl_key_text(o, &m, "health", ctl_health_text(b->health));
	ctl_key_bool(o, &m, "is_summary", n->is_summary);
	ctl_key_uint(o, &m, "weight", b->backend.weight);
	ctl_key_uint(o, &m, "rows", rows);
	ctl_end(o, &m);
}

static void put_hex(struct ctl_out *o, struct ctl_block *m, const char *key,
		    const uint8_t digest[16])
{
	char hex[2 * 16 + 1];

	for (size_t i = 0; i < 16; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	ctl_key_text(o, m, key, hex);
}

static void put_prev(const struct ctl_look *l, const struct route_entry *en, struct ctl_out *o,
		     struct ctl_block *m)
{
	struct plan_prev prev = {.row_count = 0};
	int rc = -ENOENT;

	if (l->v.plan)
		rc = plan_prev_digest(l->v.plan, l->v.view->service[en->service_idx].name,
				      en->family, en->part, &prev);
	ctl_key_uint(o, m, "prev_rows", prev.row_count);
	if (rc)
		ctl_key_nil(o, m, "prev_digest");
	else
		put_hex(o, m, "prev_digest", prev.digest);
}

static void put_family(const struct ctl_look *l, const struct route_entry *en, uint32_t *rows_of,
		       struct ctl_out *o)
{
	const struct route_view *v = l->v.view;
	uint8_t digest[16];
	struct ctl_block m, list;

	for (size_t i = 0; i < en->choice_count; i++)
		rows_of[en->choice[i].backend_idx] = 0;
	for (uint32_t i = 0; i < en->row_count; i++)
		rows_of[en->row[i]]++;
	route_digest(v, en, digest);
	ctl_map(o, &m);
	ctl_key_uint(o, &m, "family", en->family);
	put_vips(&v->service[en->service_idx], en->family, o, &m);
	ctl_key_uint(o, &m, "rows", en->row_count);
	put_part(o, &m, "part", en->part);
	ctl_key_bool(o, &m, "is_shadowed", en->is_shadowed);
	put_hex(o, &m, "digest", digest);
	put_prev(l, en, o, &m);
	ctl_key(o, &m, "choices");
	ctl_array(o, &list);
	for (size_t i = 0; i < en->choice_count; i++) {
		ctl_item(&list);
		put_choice(l, &en->choice[i], rows_of[en->choice[i].backend_idx], o);
	}
	ctl_end(o, &list);
	ctl_end(o, &m);
}

int ctl_route_show(const struct ctl_look *l, const struct ctl_args *a, struct ctl_out *o,
		   struct err *e)
{
	const struct route_plan *r = l->v.routes;
	const struct model_service *s;
	struct ctl_block m, list;
	uint32_t *rows_of;
	size_t idx;

	s = ctl_find_service(l->v.view, a->service, &idx);
	if (!s)
		return err_set(e, -ENOENT, "there is no service %s", a->service);
	rows_of = calloc(l->v.view->backend_count + 1, sizeof(*rows_of));
	if (!rows_of)
		return err_set(e, -ENOMEM, "out of memory");
	ctl_map(o, &m);
	ctl_key_text(o, &m, "service", s->name);
	ctl_key_text(o, &m, "region", l->v.view->region);
	put_vips(s, 0, o, &m);
	put_ports(s, o, &m);
	ctl_key(o, &m, "families");
	ctl_array(o, &list);
	for (size_t i = first_entry(l, s->name);
	     r && i < r->entry_count && r->entry[i].service_idx == idx; i++) {
		/* Where all take parts, the rest is nobody's. */
		if (!r->entry[i].choice_count && i + 1 < r->entry_count && r->entry[i + 1].part.lo)
			continue;
		ctl_item(&list);
		put_family(l, &r->entry[i], rows_of, o);
	}
	ctl_end(o, &list);
	ctl_end(o, &m);
	free(rows_of);
	return 0;
}
