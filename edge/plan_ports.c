/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Port pages, directories, VIPs and their slots of the next mirror. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpf/dp_hash.h"
#include "edge/plan_priv.h"

static const uint8_t dir_proto[PLAN_DIRS] = {
	[PLAN_DIR_TCP] = IPPROTO_TCP,
	[PLAN_DIR_UDP] = IPPROTO_UDP,
};

static int addr_order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_addr));
}

/* The VIPs of all services, each once, sorted. */
static int gather_vips(const struct route_view *view, struct ip_addr **ret_vip, size_t *ret_count)
{
	size_t n = 0, kept = 0;
	struct ip_addr *vip;

	for (size_t i = 0; i < view->service_count; i++)
		n += view->service[i].vip_count;
	vip = calloc(n + 1, sizeof(*vip));
	if (!vip)
		return -ENOMEM;
	n = 0;
	for (size_t i = 0; i < view->service_count; i++)
		for (size_t j = 0; j < view->service[i].vip_count; j++)
			vip[n++] = view->service[i].vip[j];
	qsort(vip, n, sizeof(*vip), addr_order);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || !ip_equal(&vip[i], &vip[kept - 1]))
			vip[kept++] = vip[i];
	*ret_vip = vip;
	*ret_count = kept;
	return 0;
}

static struct plan_page_ent *page_append(struct plan_state *s)
{
	if (s->page_count == s->page_room) {
		size_t room = s->page_room ? 2 * s->page_room : 16;
		struct plan_page_ent *p = realloc(s->page, room * sizeof(*p));

		if (!p)
			return NULL;
		s->page = p;
		s->page_room = room;
	}
	s->page[s->page_count] = (struct plan_page_ent){0};
	return &s->page[s->page_count++];
}

/* A page with these words: the old one, the old index with new words, or a new one. */
static int diff_page(struct plan_work *w, const struct plan_page_key *key, const uint32_t word[256],
		     uint32_t *ret_idx)
{
	const struct plan_page_ent *old = plan_find_page(w->old, key);
	struct plan_page_ent *next = page_append(&w->next);
	struct plan_op op = {.kind = PLAN_PORTPAGE};
	int rc;

	if (!next)
		return -ENOMEM;
	next->key = *key;
	if (old)
		next->idx = old->idx;
	else if ((rc = plan_take(w, POOL_PAGE, &next->idx))) {
		w->next.page_count--;
		return rc;
	}
	*ret_idx = next->idx;
	if (old && memcmp(plan_words_of(old->page), word, 256 * sizeof(*word)) == 0) {
		next->page = plan_block_ref(old->page);
		return 0;
	}
	next->page = plan_block_words(word);
	if (!next->page)
		return -ENOMEM;
	op.idx = next->idx;
	op.arg.words = plan_words_of(next->page);
	return plan_list_add(&w->stage[STAGE_PAGE], &op, next->page);
}

static int diff_dir(struct plan_work *w, const struct plan_vip_ent *old, struct plan_vip_ent *next,
		    enum plan_dir which, const uint32_t word[256])
{
	struct plan_vip_ent was = old ? *old : (struct plan_vip_ent){0};
	struct plan_block *block = was.dir[which];
	struct plan_op op = {.kind = PLAN_PORTDIR, .idx = *plan_dir_of(&was.value, which)};
	int rc;

	if (!op.idx && (rc = plan_take(w, POOL_DIR, &op.idx)))
		return rc;
	*plan_dir_of(&next->value, which) = op.idx;
	if (block && memcmp(plan_words_of(block), word, 256 * sizeof(*word)) == 0) {
		next->dir[which] = plan_block_ref(block);
		return 0;
	}
	next->dir[which] = plan_block_words(word);
	if (!next->dir[which])
		return -ENOMEM;
	op.arg.words = plan_words_of(next->dir[which]);
	return plan_list_add(&w->stage[STAGE_DIR], &op, next->dir[which]);
}

/* No room is no reason to hold back what has room: these ports are not served. */
static int without(struct plan_work *w, const uint8_t addr[16])
{
	char text[IP_TEXT_MAX];
	struct ip_addr vip;

	memcpy(vip.b, addr, sizeof(vip.b));
	plan_short(w, "ports of VIP %s are not served", ip_text(&vip, text));
	return 0;
}

/* One directory under construction. */
struct pages {
	struct plan_page_key key; /* of the page at hand */
	bool has_page, is_page_used, is_page_up;
	uint32_t word[256], dir[256];
	bool has_pages;
	bool is_served; /* a port leads to a table */
};

/* The page at hand is done. */
static int put_page(struct plan_work *w, struct pages *p)
{
	int rc = p->is_page_used ? diff_page(w, &p->key, p->word, &p->dir[p->key.high]) : 0;

	if (rc == -ENOSPC) {
		rc = without(w, p->key.addr);
	} else if (!rc && p->is_page_used) {
		p->has_pages = true;
		p->is_served |= p->is_page_up;
	}
	memset(p->word, 0, sizeof(p->word));
	p->is_page_used = p->is_page_up = false;
	return rc;
}

/* The entries of one service in one family, walked along with its ports. */
struct parts {
	const struct plan_work *w;
	size_t whole, at, end; /* into routes.entry */
};

static struct parts parts_of(const struct plan_work *w, const struct route_claim *claim)
{
	const struct route_plan *r = w->routes;
	size_t first = w->first_entry[2 * claim->service_idx + !ip_is_v4(&claim->vip)] - 1;
	struct parts p = {.w = w, .whole = first, .at = first + 1, .end = first + 1};

	while (p.end < r->entry_count &&
	       r->entry[p.end].service_idx == r->entry[first].service_idx &&
	       r->entry[p.end].family == r->entry[first].family)
		p.end++;
	return p;
}

/* Ports ascend from call to call. */
static size_t entry_of_port(struct parts *p, uint32_t port)
{
	const struct route_entry *e = p->w->routes->entry;

	/* What a part serves lies behind what the parts before it serve, if it serves anything. */
	while (p->at < p->end && e[p->at].served.hi < port)
		p->at++;
	if (p->at < p->end && e[p->at].served.lo <= port)
		return p->at;
	return p->whole;
}

static int put_port(struct plan_work *w, struct pages *p, uint16_t port, size_t entry)
{
	uint8_t high = (uint8_t)(port >> 8);
	int rc = p->has_page && high != p->key.high ? put_page(w, p) : 0;

	p->has_page = true;
	p->key.high = high;
	p->word[port & 255] = w->svc_idx[entry];
	p->is_page_used |= w->svc_idx[entry] != 0;
	p->is_page_up |= w->is_svc_up[entry];
	return rc;
}

/* Claims [*at, ..) of this VIP and protocol, page by page; *at moves behind them. */
static int diff_pages(struct plan_work *w, const uint8_t addr[16], enum plan_dir which, size_t *at,
		      struct pages *p)
{
	const struct route_claims *c = &w->claims;
	int rc;

	*p = (struct pages){.key = {.which = (uint8_t)which}};
	memcpy(p->key.addr, addr, sizeof(p->key.addr));
	for (; *at < c->claim_count; ++*at) {
		const struct route_claim *claim = &c->claim[*at];
		struct parts parts;

		if (memcmp(claim->vip.b, addr, sizeof(claim->vip.b)) != 0 ||
		    claim->l4_proto != dir_proto[which])
			break;
		parts = parts_of(w, claim);
		for (uint32_t port = claim->ports.lo; port <= claim->ports.hi; port++) {
			rc = put_port(w, p, (uint16_t)port, entry_of_port(&parts, port));
			if (rc)
				return rc;
		}
	}
	return p->has_page ? put_page(w, p) : 0;
}

static int diff_vip(struct plan_work *w, const uint8_t addr[16], size_t *at)
{
	const struct plan_vip_ent *old = plan_find_vip(w->old, addr);
	struct plan_vip_ent *next = &w->next.vip[w->next.vip_count];
	struct plan_op op = {.kind = PLAN_VIP};
	int rc = 0;

	*next = (struct plan_vip_ent){.idx = old ? old->idx : 0};
	memcpy(next->value.addr, addr, sizeof(next->value.addr));
	next->value.flags = plan_policy_vip(w->view, addr);
	if (!old && (rc = plan_take(w, POOL_VIP, &next->idx)))
		return rc;
	w->next.vip_count++;
	for (enum plan_dir k = 0; k < PLAN_DIRS; k++) {
		struct pages p;

		rc = diff_pages(w, addr, k, at, &p);
		if (!rc && p.has_pages)
			rc = diff_dir(w, old, next, k, p.dir);
		if (rc == -ENOSPC)
			rc = without(w, addr);
		else if (!rc)
			next->is_served |= p.is_served;
		if (rc)
			return rc;
	}
	if (old && memcmp(&old->value, &next->value, sizeof(old->value)) == 0 &&
	    !w->old->is_adopted)
		return 0;
	op.idx = next->idx;
	op.arg.vip = next->value;
	return plan_list_add(&w->stage[STAGE_VIP], &op, NULL);
}

/* ---- slots */

static int slot_order(const void *a, const void *b)
{
	const struct plan_slot_ent *x = a, *y = b;

	if (x->slot != y->slot)
		return x->slot < y->slot ? -1 : 1;
	return x->says < y->says ? -1 : x->says > y->says;
}

static int say_slot(struct plan_work *w, uint32_t slot, uint32_t says)
{
	struct plan_op op = {.kind = PLAN_VIP_SLOT, .idx = slot, .arg.slot = says};

	return plan_list_add(&w->stage[STAGE_VIP_SLOT], &op, NULL);
}

static int diff_slots(struct plan_work *w)
{
	const struct plan_state *old = w->old;
	struct plan_state *next = &w->next;
	size_t i = 0, j = 0, kept = 0;
	int rc = 0;

	next->slot = calloc(next->vip_count + 1, sizeof(*next->slot));
	if (!next->slot)
		return -ENOMEM;
	for (size_t k = 0; k < next->vip_count; k++)
		next->slot[k] = (struct plan_slot_ent){dp_vip_slot(next->vip[k].value.addr),
						       next->vip[k].idx};
	qsort(next->slot, next->vip_count, sizeof(*next->slot), slot_order);
	for (size_t k = 0; k < next->vip_count; k++) {
		if (kept && next->slot[kept - 1].slot == next->slot[k].slot)
			next->slot[kept - 1].says = DP_VIP_SLOT_ASK;
		else
			next->slot[kept++] = next->slot[k];
	}
	next->slot_count = kept;
	while (!rc && (i < kept || j < old->slot_count)) {
		const struct plan_slot_ent *n = i < kept ? &next->slot[i] : NULL;
		const struct plan_slot_ent *o = j < old->slot_count ? &old->slot[j] : NULL;

		if (!n || (o && o->slot < n->slot)) {
			rc = say_slot(w, o->slot, 0);
			j++;
			continue;
		}
		if (!o || n->slot < o->slot || n->says != o->says)
			rc = say_slot(w, n->slot, n->says);
		j += o && n->slot == o->slot;
		i++;
	}
	return rc;
}

/* ---- */

/* What the next mirror lacks: pages, directories and VIPs rest. */
static int drop_old(struct plan_work *w)
{
	const struct plan_state *old = w->old;
	int rc = 0;

	for (size_t i = 0; i < old->page_count && !rc; i++)
		if (!plan_find_page(&w->next, &old->page[i].key))
			rc = plan_let_rest(w, REST_PAGE, old->page[i].idx);
	for (size_t i = 0; i < old->vip_count && !rc; i++) {
		struct plan_vip_ent *o = &old->vip[i];
		struct plan_vip_ent *n = plan_find_vip(&w->next, o->value.addr);
		struct plan_op op = {.kind = PLAN_VIP_GONE, .idx = o->idx, .arg.vip = o->value};

		for (enum plan_dir k = 0; k < PLAN_DIRS && !rc; k++)
			if (*plan_dir_of(&o->value, k) && (!n || !*plan_dir_of(&n->value, k)))
				rc = plan_let_rest(w, REST_DIR, *plan_dir_of(&o->value, k));
		if (!rc && !n)
			rc = plan_let_rest(w, REST_VIP, o->idx);
		if (!rc && !n)
			rc = plan_list_add(&w->stage[STAGE_VIP_GONE], &op, NULL);
	}
	return rc;
}

int plan_diff_ports(struct plan_work *w)
{
	const struct route_claims *c = &w->claims;
	struct ip_addr *vip = NULL;
	size_t count, at = 0;
	int rc = gather_vips(w->view, &vip, &count);

	if (rc)
		return rc;
	rc = -ENOMEM;
	w->next.vip = calloc(count + 1, sizeof(*w->next.vip));
	if (!w->next.vip)
		goto out;
	rc = 0;
	for (size_t i = 0; i < count && !rc; i++) {
		rc = diff_vip(w, vip[i].b, &at);
		if (rc == -ENOSPC) {
			while (at < c->claim_count && ip_equal(&c->claim[at].vip, &vip[i]))
				at++;
			rc = without(w, vip[i].b);
		}
	}
	if (!rc)
		rc = diff_slots(w);
	if (!rc)
		rc = drop_old(w);
out:
	free(vip);
	return rc;
}
