/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Port pages, directories and VIP keys of the next mirror. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/plan_priv.h"

/* Protocols of the keys of a VIP, ascending: 0 is for all that is neither TCP nor UDP. */
static const uint8_t key_protos[] = {0, IPPROTO_TCP, IPPROTO_UDP};
#define KEYS_PER_VIP 3u

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
static int diff_page(struct plan_work *w, const struct dp_vip_key *key, uint8_t high,
		     const uint32_t word[256], uint32_t *ret_idx)
{
	const struct plan_page_ent *old = plan_find_page(w->old, key, high);
	struct plan_page_ent *next = page_append(&w->next);
	struct plan_op op = {.kind = PLAN_PORTPAGE};
	int rc;

	if (!next)
		return -ENOMEM;
	next->key = *key;
	next->high = high;
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
		    const uint32_t word[256])
{
	struct plan_op op = {.kind = PLAN_PORTDIR};
	int rc;

	if (old && old->dir_idx)
		next->dir_idx = old->dir_idx;
	else if ((rc = plan_take(w, POOL_DIR, &next->dir_idx)))
		return rc;
	if (old && old->dir && memcmp(plan_words_of(old->dir), word, 256 * sizeof(*word)) == 0) {
		next->dir = plan_block_ref(old->dir);
		return 0;
	}
	next->dir = plan_block_words(word);
	if (!next->dir)
		return -ENOMEM;
	op.idx = next->dir_idx;
	op.arg.words = plan_words_of(next->dir);
	return plan_list_add(&w->stage[STAGE_DIR], &op, next->dir);
}

/* No room is no reason to hold back what has room: these ports are not served, and e says so. */
static int without(struct plan_work *w, const struct dp_vip_key *key)
{
	char text[IP_TEXT_MAX], why[sizeof(w->e->text)];
	struct ip_addr vip;

	if (!w->e)
		return 0;
	memcpy(vip.b, key->addr, sizeof(vip.b));
	snprintf(why, sizeof(why), "%.100s", w->e->text);
	(void)err_set(w->e, -ENOSPC, "%s; ports of VIP %s are not served", why,
		      ip_text(&vip, text));
	return 0;
}

static int put_page(struct plan_work *w, const struct dp_vip_key *key, int high,
		    const uint32_t word[256], uint32_t dir[256], bool *ret_has_pages)
{
	int rc = diff_page(w, key, (uint8_t)high, word, &dir[high]);

	if (rc == -ENOSPC)
		return without(w, key);
	*ret_has_pages |= !rc;
	return rc;
}

/* Claims [*at, ..) of this key, page by page; *at moves behind them. `dir` gets the pages' indexes. */
static int diff_pages(struct plan_work *w, const struct dp_vip_key *key, size_t *at,
		      uint32_t dir[256], bool *ret_has_pages)
{
	const struct route_claims *c = &w->claims;
	uint32_t word[256] = {0};
	int high = -1, rc;

	*ret_has_pages = false;
	for (; *at < c->claim_count; ++*at) {
		const struct route_claim *claim = &c->claim[*at];
		size_t is_v6 = !ip_is_v4(&claim->vip);
		uint32_t svc_idx = w->svc_idx[2 * claim->service_idx + is_v6];

		if (memcmp(claim->vip.b, key->addr, sizeof(key->addr)) != 0 ||
		    claim->l4_proto != key->l4_proto)
			break;
		for (uint32_t port = claim->ports.lo; port <= claim->ports.hi; port++) {
			if ((int)(port >> 8) != high) {
				if (high >= 0 &&
				    (rc = put_page(w, key, high, word, dir, ret_has_pages)))
					return rc;
				memset(word, 0, sizeof(word));
				high = (int)(port >> 8);
			}
			word[port & 255] = svc_idx;
		}
	}
	return high < 0 ? 0 : put_page(w, key, high, word, dir, ret_has_pages);
}

static int diff_key(struct plan_work *w, const struct dp_vip_key *key, size_t *at)
{
	const struct plan_vip_ent *old = plan_find_vip(w->old, key);
	struct plan_vip_ent *next = &w->next.vip[w->next.vip_count++];
	struct plan_op op = {.kind = PLAN_VIP, .arg.vip_key = *key};
	uint32_t dir[256] = {0};
	bool has_pages = false;
	int rc = 0;

	*next = (struct plan_vip_ent){.key = *key};
	if (key->l4_proto)
		rc = diff_pages(w, key, at, dir, &has_pages);
	if (!rc && has_pages)
		rc = diff_dir(w, old, next, dir);
	if (rc == -ENOSPC)
		rc = without(w, key);
	if (rc || (old && old->dir_idx == next->dir_idx && !w->old->is_adopted))
		return rc;
	op.dir_idx = next->dir_idx;
	return plan_list_add(&w->stage[STAGE_VIP], &op, NULL);
}

/* What the next mirror lacks: pages and directories rest; keys go, that of protocol 0 last, so that none of the
 * VIP's packets is taken for the host's while another key still serves. */
static int drop_old(struct plan_work *w)
{
	const struct plan_state *old = w->old;
	int rc = 0;

	for (size_t i = 0; i < old->page_count && !rc; i++)
		if (!plan_find_page(&w->next, &old->page[i].key, old->page[i].high))
			rc = plan_let_rest(w, REST_PAGE, old->page[i].idx);
	for (size_t i = old->vip_count; i-- > 0 && !rc;) {
		const struct plan_vip_ent *o = &old->vip[i];
		const struct plan_vip_ent *n = plan_find_vip(&w->next, &o->key);
		struct plan_op op = {.kind = PLAN_VIP_GONE, .arg.vip_key = o->key};

		if (o->dir_idx && (!n || !n->dir_idx))
			rc = plan_let_rest(w, REST_DIR, o->dir_idx);
		if (!rc && !n)
			rc = plan_list_add(&w->stage[STAGE_VIP_GONE], &op, NULL);
	}
	return rc;
}

int plan_diff_ports(struct plan_work *w)
{
	struct ip_addr *vip = NULL;
	size_t count, at = 0;
	int rc = gather_vips(w->view, &vip, &count);

	if (rc)
		return rc;
	rc = -ENOMEM;
	w->next.vip = calloc(KEYS_PER_VIP * count + 1, sizeof(*w->next.vip));
	if (!w->next.vip)
		goto out;
	rc = -ENOSPC;
	if (w->next.sizes.vips && KEYS_PER_VIP * count > w->next.sizes.vips) {
		(void)err_set(w->e, rc, "forwarder: VIPs: room for %u, want %zu",
			      w->next.sizes.vips / KEYS_PER_VIP, count);
		goto out;
	}
	rc = 0;
	for (size_t i = 0; i < count && !rc; i++) {
		for (size_t k = 0; k < KEYS_PER_VIP && !rc; k++) {
			struct dp_vip_key key = {.l4_proto = key_protos[k]};

			memcpy(key.addr, vip[i].b, sizeof(key.addr));
			rc = diff_key(w, &key, &at);
		}
	}
	if (!rc)
		rc = drop_old(w);
out:
	free(vip);
	return rc;
}
