/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/route_claims.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Services in order of precedence: (created, name). */
static int precedence(const struct model_service *a, const struct model_service *b)
{
	if (a->created != b->created)
		return a->created < b->created ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int same_vip_cmp(const struct route_claim *a, const struct route_claim *b)
{
	int rc = memcmp(a->vip.b, b->vip.b, sizeof(a->vip.b));

	return rc ? rc : (int)a->l4_proto - (int)b->l4_proto;
}

static int claim_cmp(const void *pa, const void *pb, void *arg)
{
	const struct route_claim *a = pa, *b = pb;
	const struct route_view *view = arg;
	int rc = same_vip_cmp(a, b);

	if (rc)
		return rc;
	if (a->ports.lo != b->ports.lo)
		return a->ports.lo < b->ports.lo ? -1 : 1;
	rc = precedence(&view->service[a->service_idx], &view->service[b->service_idx]);
	if (rc)
		return rc;
	return (int)a->ports.hi - (int)b->ports.hi;
}

static size_t gather(const struct route_view *view, struct route_claim *claim)
{
	size_t n = 0;

	for (size_t s = 0; s < view->service_count; s++) {
		const struct model_service *svc = &view->service[s];

		for (size_t v = 0; v < svc->vip_count; v++) {
			for (size_t p = 0; p < svc->port_count; p++) {
				if (claim)
					claim[n] = (struct route_claim){svc->vip[v],
									svc->port[p].l4_proto,
									svc->port[p].ports, s};
				n++;
			}
		}
	}
	return n;
}

/* The claims that cover the port at hand, best on top. */
struct active {
	const struct route_view *view;
	const struct route_claim **heap;
	size_t count;
};

static bool better(const struct active *a, const struct route_claim *x, const struct route_claim *y)
{
	return precedence(&a->view->service[x->service_idx], &a->view->service[y->service_idx]) < 0;
}

static void push(struct active *a, const struct route_claim *c)
{
	size_t i = a->count++;

	for (; i > 0 && better(a, c, a->heap[(i - 1) / 2]); i = (i - 1) / 2)
		a->heap[i] = a->heap[(i - 1) / 2];
	a->heap[i] = c;
}

static void pop(struct active *a)
{
	const struct route_claim *last = a->heap[--a->count];
	size_t i = 0;

	for (size_t child; (child = 2 * i + 1) < a->count; i = child) {
		if (child + 1 < a->count && better(a, a->heap[child + 1], a->heap[child]))
			child++;
		if (!better(a, a->heap[child], last))
			break;
		a->heap[i] = a->heap[child];
	}
	a->heap[i] = last;
}

static void shadow(struct route_claims *c, const struct route_claim *loser)
{
	c->shadowed[loser->service_idx] |=
		ip_is_v4(&loser->vip) ? ROUTE_SHADOWED_V4 : ROUTE_SHADOWED_V6;
}

static void add_range(struct route_claims *c, const struct route_claim *winner, uint16_t lo,
		      uint16_t hi)
{
	struct route_claim *last = c->claim_count ? &c->claim[c->claim_count - 1] : NULL;

	if (last && last->service_idx == winner->service_idx && same_vip_cmp(last, winner) == 0 &&
	    last->ports.hi + 1 == lo) {
		last->ports.hi = hi;
		return;
	}
	c->claim[c->claim_count++] =
		(struct route_claim){winner->vip, winner->l4_proto, {lo, hi}, winner->service_idx};
}

/* One (VIP, protocol): sweep over the ports; each step begins or ends a claim, so there are at most 2 n steps. */
static void sweep(struct route_claims *c, struct active *a, const struct route_claim *in, size_t n)
{
	uint32_t port = 0;
	size_t next = 0;

	a->count = 0;
	while (next < n || a->count) {
		uint32_t until;

		while (a->count && a->heap[0]->ports.hi < port)
			pop(a);
		if (!a->count) {
			if (next == n)
				break;
			port = in[next].ports.lo;
		}
		for (; next < n && in[next].ports.lo == port; next++) {
			const struct route_claim *top = a->count ? a->heap[0] : NULL;

			push(a, &in[next]);
			/* Whoever is below the top while its claim lasts has lost a port. */
			if (top && top->ports.hi >= port &&
			    top->service_idx != in[next].service_idx)
				shadow(c, a->heap[0] == top ? &in[next] : top);
		}
		until = a->heap[0]->ports.hi;
		if (next < n && in[next].ports.lo <= until)
			until = in[next].ports.lo - 1u;
		add_range(c, a->heap[0], (uint16_t)port, (uint16_t)until);
		port = until + 1;
	}
}

int route_claims_compute(const struct route_view *view, struct route_claims *ret_claims)
{
	size_t n = gather(view, NULL), end;
	struct route_claims c = {0};
	struct route_claim *in = NULL;
	struct active a = {.view = view};
	int rc = -ENOMEM;

	in = calloc(n + 1, sizeof(*in));
	a.heap = calloc(n + 1, sizeof(*a.heap));
	c.claim = calloc(2 * n + 1, sizeof(*c.claim));
	c.shadowed = calloc(view->service_count + 1, sizeof(*c.shadowed));
	if (!in || !a.heap || !c.claim || !c.shadowed)
		goto out;
	gather(view, in);
	qsort_r(in, n, sizeof(*in), claim_cmp, (void *)view);
	for (size_t i = 0; i < n; i = end) {
		for (end = i + 1; end < n && same_vip_cmp(&in[i], &in[end]) == 0; end++)
			;
		sweep(&c, &a, in + i, end - i);
	}
	*ret_claims = c;
	c = (struct route_claims){0};
	rc = 0;
out:
	route_claims_done(&c);
	free(a.heap);
	free(in);
	return rc;
}

void route_claims_done(struct route_claims *c)
{
	free(c->claim);
	free(c->shadowed);
	*c = (struct route_claims){0};
}
