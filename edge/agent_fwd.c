/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edge/agent_int.h"

#define RETRY_MS 5000 /* between askings for what edgefwd refused */

static int cmp_addr(const void *x, const void *y)
{
	return memcmp(x, y, sizeof(struct ip_addr));
}

static int ask(struct agent *a, struct fwd_msg *msg)
{
	msg->version = FWD_PROTO_VERSION;
	return fwd_send(a->fwd, msg);
}

/* ---- VIPs: announced exactly while this edge has a usable route for a service on them */

static bool is_announced_here(const struct agent *a, const struct ip_addr *vip)
{
	for (size_t i = 0; i < a->cfg.vip_prefix_count; i++)
		if (ip_in_prefix(vip, &a->cfg.vip_prefix[i]))
			return true;
	return false;
}

static bool is_self_drained(const struct agent *a)
{
	const struct route_view *v = &a->world->view;

	for (size_t i = 0; i < v->node_count; i++)
		if (!node_id_cmp(&v->node[i].id, &a->self))
			return v->node[i].is_drained;
	return false;
}

/* Sorted, without doubles; NULL when memory ran out. */
static struct ip_addr *wanted_vips(const struct agent *a, size_t *ret_count)
{
	const struct route_plan *r = a->world->routes;
	struct ip_addr *vip = calloc(r->entry_count * MODEL_VIPS_MAX + 1, sizeof(*vip));
	bool is_any = a->cfg.self.is_edge && !is_self_drained(a);
	size_t n = 0, kept = 0;

	if (!vip)
		return NULL;
	for (size_t i = 0; is_any && i < r->entry_count; i++) {
		const struct route_entry *en = &r->entry[i];
		const struct model_service *s = &a->world->view.service[en->service_idx];

		for (size_t k = 0; en->row_count && k < s->vip_count; k++)
			if ((ip_is_v4(&s->vip[k]) ? 4 : 6) == en->family &&
			    is_announced_here(a, &s->vip[k]) &&
			    (!a->plan || plan_vip_is_served(a->plan, &s->vip[k])))
				vip[n++] = s->vip[k];
	}
	qsort(vip, n, sizeof(*vip), cmp_addr);
	for (size_t i = 0; i < n; i++)
		if (!kept || cmp_addr(&vip[kept - 1], &vip[i]))
			vip[kept++] = vip[i];
	*ret_count = kept;
	return vip;
}

static int send_vip(struct agent *a, enum fwd_vip_verb verb, const struct ip_addr *vip)
{
	struct fwd_msg msg = {.kind = FWD_VIP, .verb = (uint8_t)verb};
	char text[IP_TEXT_MAX];

	if (vip) {
		memcpy(msg.addr, vip->b, sizeof(msg.addr));
		if (!a->is_vip_begun) /* a whole list is one line */
			agent_log("info", "vip", "address=%s verb=%s", ip_text(vip, text),
				  verb == FWD_VIP_DEL	? "withdraw"
				  : verb == FWD_VIP_ADD ? "announce"
							: "announce_stale");
	}
	return ask(a, &msg);
}

/* What is announced and what should be are both sorted: one pass tells what is new and what is gone. Stops when
 * edgefwd's queue is full; a->vip is what was said so far. */
static int send_changes(struct agent *a, const struct ip_addr *vip, size_t count)
{
	struct ip_addr *said = calloc(a->vip_count + count + 1, sizeof(*said));
	enum fwd_vip_verb verb = a->is_stale ? FWD_VIP_STALE : FWD_VIP_ADD;
	bool is_other = a->is_stale != a->is_stale_said; /* all are said again */
	size_t i = 0, k = 0, n = 0;
	int err = 0;

	if (!said)
		return -ENOMEM;
	while (i < a->vip_count || k < count) {
		int c = i == a->vip_count ? 1 : k == count ? -1 : cmp_addr(&a->vip[i], &vip[k]);

		if (c < 0)
			err = send_vip(a, FWD_VIP_DEL, &a->vip[i]);
		else if (c > 0 || is_other)
			err = send_vip(a, verb, &vip[k]);
		if (err)
			break;
		if (c >= 0)
			said[n++] = vip[k++];
		if (c <= 0)
			i++;
	}
	while (i < a->vip_count)
		said[n++] = a->vip[i++];
	if (!err)
		a->is_stale_said = a->is_stale;
	free(a->vip);
	a->vip = said;
	a->vip_count = n;
	return err;
}

/* The first list on a connection stands between BEGIN and END: what it doesn't name is withdrawn. */
static int send_vips(struct agent *a, const struct ip_addr *vip, size_t count)
{
	int err = 0;

	if (!a->is_vip_synced && !a->is_vip_begun) {
		err = send_vip(a, FWD_VIP_SYNC_BEGIN, NULL);
		if (err)
			return err;
		a->is_vip_begun = true;
		a->vip_count = 0;
	}
	err = send_changes(a, vip, count);
	if (!err && a->is_vip_begun) {
		err = send_vip(a, FWD_VIP_SYNC_END, NULL);
		agent_log("info", "vips", "announced=%zu", a->vip_count);
		a->is_vip_begun = err != 0;
		a->is_vip_synced = err == 0;
	}
	return err;
}

void agent_fwd_announce(struct agent *a)
{
	struct ip_addr *vip;
	size_t count;

	/* Until the mesh is heard out what edgefwd announces stays as it is: after an upgrade to another ABI that is all. */
	if (!a->is_fwd_up || !a->is_ready || a->is_fresh)
		return;
	vip = wanted_vips(a, &count);
	/* Out of memory or room: what is announced stays so, the tick goes on from there. */
	if ((!vip || send_vips(a, vip, count)) && !a->fwd_retry_ms)
		a->fwd_retry_ms = agent_now_ms(a) + 1;
	free(vip);
}

/* ---- WireGuard peers that node records name */

static bool peer_wanted(const struct agent *a, const struct route_node *n, struct fwd_msg *ret_msg)
{
	static const uint8_t zero[32];
	struct fwd_msg msg = {.kind = FWD_WGPEER, .verb = FWD_WG_SET, .version = FWD_PROTO_VERSION};

	if (!node_id_cmp(&n->id, &a->self) || !memcmp(n->node.wg_pub, zero, sizeof(zero)) ||
	    n->state == GOSSIP_LEFT)
		return false;
	memcpy(msg.wg_pub, n->node.wg_pub, sizeof(msg.wg_pub));
	memcpy(msg.addr, n->node.mesh_addr.b, sizeof(msg.addr));
	memcpy(msg.endpoint, n->node.wg_addr.b, sizeof(msg.endpoint));
	msg.endpoint_port = n->node.wg_port;
	*ret_msg = msg;
	return true;
}

static void set_peer(struct agent *a, const struct route_node *n)
{
	struct peer_sent *p;
	struct fwd_msg msg;
	bool is_new;

	if (!peer_wanted(a, n, &msg))
		return;
	HASH_FIND(hh, a->peers, &n->id, sizeof(n->id), p);
	if (p)
		p->is_seen = true;
	if (p && !memcmp(&p->msg, &msg, sizeof(msg)))
		return;
	is_new = !p;
	if (is_new)
		p = calloc(1, sizeof(*p));
	if (!p)
		return;
	if (!is_new && memcmp(p->msg.wg_pub, msg.wg_pub, sizeof(msg.wg_pub))) {
		/* Another key: the old one must not keep the mesh address. */
		p->msg.verb = FWD_WG_DEL;
		(void)ask(a, &p->msg);
	}
	p->id = n->id;
	p->is_seen = true;
	p->msg = msg;
	if (ask(a, &msg)) {
		if (!a->fwd_retry_ms)
			a->fwd_retry_ms = agent_now_ms(a) + 1;
		memset(&p->msg, 0, sizeof(p->msg));
	}
	if (is_new)
		HASH_ADD(hh, a->peers, id, sizeof(p->id), p);
}

void agent_fwd_peers(struct agent *a)
{
	struct peer_sent *p, *next;

	if (!a->cfg.manage_wireguard || !a->is_fwd_up)
		return;
	HASH_ITER(hh, a->peers, p, next)
	p->is_seen = false;
	for (size_t i = 0; i < a->world->view.node_count; i++)
		set_peer(a, &a->world->view.node[i]);
	HASH_ITER(hh, a->peers, p, next)
	{
		if (p->is_seen)
			continue;
		p->msg.verb = FWD_WG_DEL;
		(void)ask(
			a,
			&p->msg); /* lost with the connection: edgefwd keeps a peer that nobody names */
		HASH_DEL(a->peers, p);
		free(p);
	}
}

/* ---- answers */

void agent_fwd_reply(const struct fwd_msg *request, const struct fwd_msg *reply, void *arg)
{
	struct agent *a = arg;
	char ip[IP_TEXT_MAX];
	char text[AGENT_TEXT_MAX];

	if (a->is_closing)
		return;
	if (request->kind == FWD_TRACE) {
		agent_trace_reply(a, request, reply);
		return;
	}
	if (reply->status == 0) {
		if (request->kind == FWD_VIP && request->verb == FWD_VIP_SYNC_END)
			a->vip_text[0] = 0;
		return;
	}
	snprintf(text, sizeof(text), "edgefwd refused %s %s: %.*s",
		 request->kind == FWD_VIP ? "the VIP" : "the WireGuard peer",
		 ip_text((const struct ip_addr *)(const void *)request->addr, ip),
		 (int)sizeof(reply->text), reply->text);
	if (strcmp(text, a->vip_text))
		agent_log("error", "refused", "why=\"%s\"", text);
	memcpy(a->vip_text, text, sizeof(a->vip_text));
	/* Asked again later, with everything: the cause may go away. */
	a->is_fwd_refused = true;
	a->fwd_retry_ms = agent_now_ms(a) + RETRY_MS;
}

void agent_fwd_forget(struct agent *a)
{
	struct peer_sent *p, *next;

	a->is_vip_synced = a->is_vip_begun = a->is_fwd_refused = false;
	HASH_ITER(hh, a->peers, p, next)
	{
		HASH_DEL(a->peers, p);
		free(p);
	}
}
