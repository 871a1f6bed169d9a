/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading a summary that nobody vouches for: bounds before use, all or nothing. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/model_map.h"
#include "edge/summary.h"
#include "edge/summary_keys.h"

/* Room for one more; grown in proportion to what was read, never to what a header claims. */
static void *grown(void *list, size_t count, size_t size)
{
	size_t room = count ? count : 1;

	/* Room is the next power of two: full exactly when count is one. */
	if (count & (count - 1))
		return list;
	return realloc(list, 2 * room * size);
}

/* ---- nodes */

static int read_node(struct mp_reader *r, struct summary_node *n)
{
	enum { I = 1, N = 2, A = 4, F = 8, REQUIRED = I | N | A | F };
	static const char any_region[] = "any";
	unsigned int seen = 0;
	struct model_map m;
	uint8_t flags = 0;
	int rc;

	memset(n, 0, sizeof(*n));
	if (model_map_open(&m, r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "i")) {
			rc = mp_read_bytes(r, n->id.b, sizeof(n->id.b));
			seen |= I;
		} else if (model_map_is(&m, "n")) {
			rc = mp_read_text(r, n->node.name, sizeof(n->node.name));
			seen |= N;
		} else if (model_map_is(&m, "a")) {
			rc = model_read_addr(r, &n->node.mesh_addr);
			seen |= A;
		} else if (model_map_is(&m, "f")) {
			rc = model_read_u8(r, UINT8_MAX, &flags);
			seen |= F;
		} else if (model_map_is(&m, "wk")) {
			rc = mp_read_bytes(r, n->node.wg_pub, sizeof(n->node.wg_pub));
		} else if (model_map_is(&m, "wa")) {
			rc = model_read_addr(r, &n->node.wg_addr);
		} else if (model_map_is(&m, "wp")) {
			rc = model_read_u16(r, UINT16_MAX, &n->node.wg_port);
		} else {
			rc = mp_skip(r);
		}
		if (rc)
			return -EBADMSG;
	}
	n->node.is_edge = flags & SUMMARY_EDGE;
	n->node.is_worker = flags & SUMMARY_WORKER;
	n->node.has_forwarder = flags & SUMMARY_FORWARDER;
	/* The rules want a region, which is not said. */
	memcpy(n->node.region, any_region, sizeof(any_region));
	if (rc || (seen & REQUIRED) != REQUIRED || model_node_rules(&n->node))
		return -EBADMSG;
	memset(n->node.region, 0, sizeof(n->node.region));
	return 0;
}

static int read_nodes(struct mp_reader *r, struct summary *s)
{
	size_t count;
	void *list;

	if (mp_read_array(r, SUMMARY_NODES_MAX, &count))
		return -EBADMSG;
	for (size_t i = 0; i < count; i++) {
		list = grown(s->node, s->node_count, sizeof(*s->node));
		if (!list)
			return -ENOMEM;
		s->node = list;
		if (read_node(r, &s->node[i]) ||
		    (i && node_id_cmp(&s->node[i - 1].id, &s->node[i].id) >= 0))
			return -EBADMSG;
		s->node_count++;
	}
	return 0;
}

/* ---- services and their ways */

void summary_backend(const struct summary *s, const struct summary_service *service,
		     const struct summary_way *way, struct model_backend *ret_backend)
{
	struct model_backend b = {.addr = way->addr,
				  .port = way->port,
				  .weight = way->weight,
				  .ports = way->ports,
				  .token = way->token,
				  .quic_id = way->quic_id,
				  .is_draining = way->is_draining};

	(void)s;
	memcpy(b.service, service->name, sizeof(b.service));
	model_check_default(way->is_checked ? MODEL_CHECK_TCP : MODEL_CHECK_NONE, &b.check);
	*ret_backend = b;
}

static int read_way(struct mp_reader *r, struct summary_way *w)
{
	enum { N = 1, A = 2, P = 4, W = 8, T = 16, F = 32, REQUIRED = N | A | P | W | T | F };
	unsigned int seen = 0;
	struct model_map m;
	uint8_t flags = 0;
	int rc;

	memset(w, 0, sizeof(*w));
	if (model_map_open(&m, r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "n")) {
			rc = model_read_u32(r, SUMMARY_NODES_MAX, &w->node);
			seen |= N;
		} else if (model_map_is(&m, "a")) {
			rc = model_read_addr(r, &w->addr);
			seen |= A;
		} else if (model_map_is(&m, "p")) {
			rc = model_read_u16(r, UINT16_MAX, &w->port);
			seen |= P;
		} else if (model_map_is(&m, "w")) {
			rc = model_read_u16(r, MODEL_WEIGHT_MAX, &w->weight);
			seen |= W;
		} else if (model_map_is(&m, "t")) {
			rc = model_read_u32(r, UINT32_MAX, &w->token);
			seen |= T;
		} else if (model_map_is(&m, "f")) {
			rc = model_read_u8(r, UINT8_MAX, &flags);
			seen |= F;
		} else if (model_map_is(&m, "l")) {
			rc = model_read_u16(r, UINT16_MAX, &w->ports.lo);
		} else if (model_map_is(&m, "h")) {
			rc = model_read_u16(r, UINT16_MAX, &w->ports.hi);
		} else if (model_map_is(&m, "q")) {
			rc = model_read_u32(r, UINT32_MAX, &w->quic_id);
		} else {
			rc = mp_skip(r);
		}
		if (rc)
			return -EBADMSG;
	}
	w->health = flags & SUMMARY_HEALTH;
	w->is_checked = flags & SUMMARY_CHECKED;
	w->is_draining = flags & SUMMARY_DRAINING;
	return rc || (seen & REQUIRED) != REQUIRED || w->health > MODEL_HEALTH_FAILING ? -EBADMSG
										       : 0;
}

static int cmp_way(const struct summary_way *a, const struct summary_way *b)
{
	int c;

	if (a->node != b->node)
		return a->node < b->node ? -1 : 1;
	c = memcmp(a->addr.b, b->addr.b, sizeof(a->addr.b));
	return c ? c : (int)a->port - (int)b->port;
}

/* The service's name may come behind them: their rules are looked at when it is whole. */
static int read_ways(struct mp_reader *r, struct summary *s, struct summary_service *v)
{
	size_t count;
	void *list;

	if (mp_read_array(r, SUMMARY_WAYS_MAX, &count))
		return -EBADMSG;
	v->first = s->way_count;
	v->count = count;
	for (size_t i = 0; i < count; i++) {
		struct summary_way *w;

		list = grown(s->way, s->way_count, sizeof(*s->way));
		if (!list)
			return -ENOMEM;
		s->way = list;
		w = &s->way[s->way_count];
		if (read_way(r, w) || w->node >= s->node_count || (i && cmp_way(w - 1, w) >= 0))
			return -EBADMSG;
		s->way_count++;
	}
	return 0;
}

static int service_rules(const struct summary *s, const struct summary_service *v)
{
	struct model_backend b;

	if (model_name_check(v->name) || v->usable > v->known || v->count > v->backends)
		return -EBADMSG;
	for (size_t i = 0; i < v->count; i++) {
		summary_backend(s, v, &s->way[v->first + i], &b);
		if (model_backend_rules(&b))
			return -EBADMSG;
	}
	return 0;
}

static int read_service(struct mp_reader *r, struct summary *s, struct summary_service *v)
{
	enum { N = 1, U = 2, K = 4, B = 8, W = 16, REQUIRED = N | U | K | B | W };
	unsigned int seen = 0;
	struct model_map m;
	int rc;

	memset(v, 0, sizeof(*v));
	if (model_map_open(&m, r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "n")) {
			rc = mp_read_text(r, v->name, sizeof(v->name));
			seen |= N;
		} else if (model_map_is(&m, "u")) {
			rc = model_read_u32(r, UINT32_MAX, &v->usable);
			seen |= U;
		} else if (model_map_is(&m, "k")) {
			rc = model_read_u32(r, UINT32_MAX, &v->known);
			seen |= K;
		} else if (model_map_is(&m, "b")) {
			rc = model_read_u32(r, UINT32_MAX, &v->backends);
			seen |= B;
		} else if (model_map_is(&m, "w")) {
			rc = read_ways(r, s, v);
			seen |= W;
		} else {
			rc = mp_skip(r);
		}
		if (rc)
			return rc == -ENOMEM ? rc : -EBADMSG;
	}
	return rc || (seen & REQUIRED) != REQUIRED ? -EBADMSG : service_rules(s, v);
}

static int read_services(struct mp_reader *r, struct summary *s)
{
	size_t count;
	void *list;
	int rc;

	if (mp_read_array(r, SUMMARY_SERVICES_MAX, &count))
		return -EBADMSG;
	for (size_t i = 0; i < count; i++) {
		list = grown(s->service, s->service_count, sizeof(*s->service));
		if (!list)
			return -ENOMEM;
		s->service = list;
		rc = read_service(r, s, &s->service[i]);
		if (rc)
			return rc;
		if (i && strcmp(s->service[i - 1].name, s->service[i].name) >= 0)
			return -EBADMSG;
		s->service_count++;
	}
	return 0;
}

static int read_keys(struct mp_reader *r, struct summary_keys *k)
{
	if (mp_read_array(r, SUMMARY_KEYS_MAX, &k->count))
		return -EBADMSG;
	for (size_t i = 0; i < k->count; i++)
		if (mp_read_bytes(r, k->hold[i], sizeof(k->hold[i])) ||
		    (i && memcmp(k->hold[i - 1], k->hold[i], sizeof(k->hold[i])) >= 0))
			return -EBADMSG;
	return 0;
}

/* ---- the whole */

static int read_all(struct mp_reader *r, struct summary *s)
{
	bool has_nodes = false, has_services = false;
	struct model_map m;
	int rc;

	if (model_map_open(&m, r))
		return -EBADMSG;
	while ((rc = model_map_next(&m)) > 0) {
		if (model_map_is(&m, "n")) {
			rc = read_nodes(r, s);
			has_nodes = true;
		} else if (model_map_is(&m, "s")) {
			/* Ways name nodes: those come first. */
			rc = has_nodes ? read_services(r, s) : -EBADMSG;
			has_services = true;
		} else if (model_map_is(&m, "k")) {
			rc = read_keys(r, &s->keys);
		} else if (model_map_is(&m, "e")) {
			rc = mp_read_bytes(r, s->keys.seals, sizeof(s->keys.seals));
			s->keys.is_one = true;
		} else {
			rc = mp_skip(r);
		}
		if (rc)
			return rc == -ENOMEM ? rc : -EBADMSG;
	}
	return rc || !mp_at_end(r) || !has_nodes || !has_services ? -EBADMSG : 0;
}

int summary_decode(const uint8_t *value, size_t len, struct summary **ret_summary)
{
	struct summary *s;
	struct mp_reader r;
	int rc;

	if (len > SUMMARY_VALUE_MAX)
		return -EBADMSG;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	mp_reader_init(&r, value, len);
	rc = read_all(&r, s);
	if (rc)
		summary_free(s);
	else
		*ret_summary = s;
	return rc;
}

void summary_free(struct summary *s)
{
	if (!s)
		return;
	free(s->node);
	free(s->service);
	free(s->way);
	free(s);
}
