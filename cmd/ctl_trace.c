/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* trace: what the data path would make of a flow's first packet, asked of the live maps by the programs' own code.
 *
 * {proto, src, dst, node: this one,
 *  reason, meaning, is_drop: how this node would end it, as an edge
 *  text: the verdict as a sentence,
 *  service, family, hash, row: absolute, rows: of the table              nil where it did not come so far
 *  backend: spec, owner_node, is_here: the owner's node is this one, is_by_id: its connection id decided, token, previous: spec
 *  tries: [{row, backend, is_up, node, is_node_up}]                      rows asked, the flow's own first
 *  gate: {is_passing, reason, list_all, list_service: "deny" | "allow" | nil}    nil: the service has none
 *  flow: {state: "none" | "new" | "assured", is_closing, away_node, backend, edge_node, client_port, idle_s}
 *  steps: [{where, what, text}]}                                         the same for people, in order
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cmd/ctl_int.h"
#include "edge/plan.h"
#include "edge/reason.h"
#include "edge/trace.h"

struct question {
	struct ctl_ask *ask;
	struct trace_flow flow;
};

#define BACKENDS_MAX                                                                               \
	(DP_TRACE_TRIES + 4) /* owners of rows, previous, chosen, the flow's, the id's */

/* What an answer is made of. */
struct teller {
	const struct ctl_look *l;
	const struct trace_flow *flow;
	const struct dp_trace *t;
	const struct model_service *service; /* NULL = unknown, or none */
	struct ctl_out *o;
	struct ctl_block *steps;
	const char *where;
	char at[MODEL_NAME_MAX + 8];
	struct {
		uint32_t idx;	   /* as the maps have it */
		size_t backend_at; /* in the view */
	} backend[BACKENDS_MAX];
	size_t backend_count;
};

/* ---- names of what the maps have by index */

static const char *node_name(const struct teller *w, uint32_t node_idx)
{
	const struct route_view *v = w->l->v.view;

	for (size_t i = 0; node_idx && i < v->node_count; i++)
		if (plan_node_idx(w->l->v.plan, &v->node[i].id) == node_idx)
			return v->node[i].node.name;
	return node_idx ? "a node without a record" : "no node";
}

/* All that will be named, in one pass: there may be 65,536. */
static void find_backends(struct teller *w)
{
	const struct route_view *v = w->l->v.view;
	const struct dp_trace *t = w->t;
	uint32_t want[BACKENDS_MAX] = {t->backend_idx, t->prev_idx, t->local_idx, t->quic_idx};
	char key[MODEL_KEY_MAX];

	for (uint32_t i = 0; i < t->try_count && i < DP_TRACE_TRIES; i++)
		want[4 + i] = t->try[i].owner;
	for (size_t i = 0; i < v->backend_count; i++) {
		const struct route_backend *b = &v->backend[i];
		uint32_t idx =
			model_backend_key(&b->backend, key)
				? 0
				: plan_backend_idx(w->l->v.plan, &v->node[b->node_idx].id, key);

		for (size_t k = 0; idx && k < BACKENDS_MAX; k++) {
			if (want[k] != idx || w->backend_count == BACKENDS_MAX)
				continue;
			w->backend[w->backend_count].idx = idx;
			w->backend[w->backend_count++].backend_at = i;
			break;
		}
	}
}

static const char *backend_spec(const struct teller *w, uint32_t idx, char buf[CTL_SPEC_MAX])
{
	for (size_t i = 0; idx && i < w->backend_count; i++)
		if (w->backend[i].idx == idx)
			return ctl_backend_spec(w->l->v.view, w->backend[i].backend_at, buf);
	snprintf(buf, CTL_SPEC_MAX, idx ? "backend %u, which has no record" : "nobody", idx);
	return buf;
}

static const struct model_service *find_service(const struct ctl_look *l, uint32_t svc_id)
{
	for (size_t i = 0; i < l->v.view->service_count; i++)
		if (plan_svc_id(l->v.view->service[i].name) == svc_id)
			return &l->v.view->service[i];
	return NULL;
}

static const char *self_name(const struct teller *w)
{
	return node_name(w, w->t->self_idx);
}

/* ---- steps */

static void step(struct teller *w, const char *what, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void step(struct teller *w, const char *what, const char *fmt, ...)
{
	struct ctl_block one;
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ctl_item(w->steps);
	ctl_map(w->o, &one);
	ctl_key_text(w->o, &one, "where", w->at);
	ctl_key_text(w->o, &one, "what", what);
	ctl_key_text(w->o, &one, "text", text);
	ctl_end(w->o, &one);
}

static void tell_gate(struct teller *w)
{
	static const char *const verb[] = {"says nothing", "denies it", "allows it"};
	const struct dp_trace *t = w->t;

	if (!(t->steps & DP_TRACE_GATE)) {
		step(w, "gate", "no limits and no lists: nothing is asked");
		return;
	}
	step(w, "lists", "the list of all services %s, the service's own %s%s",
	     verb[t->filter_all % 3], verb[t->filter_own % 3],
	     t->svc_flags & DP_SVC_CLOSED ? "; the service is closed to all others" : "");
	if (t->svc_pps)
		step(w, "limit", "%u packets a second in all", t->svc_pps);
	if (t->svc_source_pps)
		step(w, "limit", "%u packets a second of each source", t->svc_source_pps);
	if (t->svc_syn_pps)
		step(w, "limit", "above %u SYNs a second clients are challenged", t->svc_syn_pps);
	if (t->gate_reason == DP_TRACE_PASSES)
		step(w, "gate", "lets it pass now");
	else
		step(w, "gate", "refuses it now: %s", reason_meaning(t->gate_reason));
}

static void tell_rows(struct teller *w)
{
	const struct dp_trace *t = w->t;
	char spec[CTL_SPEC_MAX];

	if (!(t->steps & DP_TRACE_TABLE)) {
		step(w, "table", "the service has none: no backend is usable in any region");
		return;
	}
	step(w, "hash", "%s hash 0x%08x points to row %u of %u",
	     ctl_hash_text((uint8_t)t->svc_hash), t->hash, t->try[0].row, t->rows);
	for (uint32_t i = 0; i < t->try_count && i < DP_TRACE_TRIES; i++) {
		const struct dp_trace_try *y = &t->try[i];
		bool is_up = y->be_state == DP_BE_UP, is_node_up = y->node_state == DP_NODE_UP;

		step(w, i ? "substitute" : "row", "row %u: %s%s", y->row,
		     backend_spec(w, y->owner, spec),
		     !y->owner				? ""
		     : !is_up				? " is dead"
		     : is_node_up			? " is up, and so is its node"
		     : y->node_state == DP_NODE_SUSPECT ? " is up, but its node is suspect"
							: " is up, but its node is down");
	}
	if (!(t->steps & DP_TRACE_OWNER)) {
		step(w, "owner", "none of %u rows has a usable owner", t->try_count);
		return;
	}
	if (t->prev_idx && t->prev_idx != t->backend_idx)
		step(w, "previous",
		     "the row was %s's before: a worker that does not know the flow asks there "
		     "once",
		     backend_spec(w, t->prev_idx, spec));
}

/* Does the connection id decide? */
static bool tell_id(struct teller *w)
{
	const struct dp_trace *t = w->t;
	char spec[CTL_SPEC_MAX];

	if (!(t->svc_flags & DP_SVC_QUIC) || !w->flow->cid_bytes)
		return false;
	if (t->steps & DP_TRACE_BY_ID)
		step(w, "id", "the connection id names %s, which is up: the table is not asked",
		     backend_spec(w, t->backend_idx, spec));
	else if (t->quic_idx)
		step(w, "id", "the connection id names %s, which is not up: by the table",
		     backend_spec(w, t->quic_idx, spec));
	else
		step(w, "id", "the connection id names no backend: by the table");
	return t->steps & DP_TRACE_BY_ID;
}

static void tell_way(struct teller *w)
{
	const struct dp_trace *t = w->t;
	const char *node = node_name(w, t->node_idx);
	struct ip_addr addr;
	char ip[IP_TEXT_MAX];

	memcpy(addr.b, t->node_addr, sizeof(addr.b));
	if (t->node_flags & DP_NODE_SELF)
		step(w, "way", "the backend is on this node: no tunnel");
	else if (t->reason == DP_R_NODE_NO_ADDR)
		step(w, "way", "node %s has no mesh address of a family that this node has", node);
	else
		step(w, "way", "GRE to %s (%s), token 0x%06x, %s; the mesh carries %u bytes", node,
		     ip_text(&addr, ip), DP_BE_TOKEN(t->backend_word),
		     t->reason == DP_R_FABRIC_OUT ? "put on and sent in XDP"
						  : "put on in TC, out of the mesh device",
		     t->mesh_mtu);
}

static void tell_edge(struct teller *w)
{
	const struct dp_trace *t = w->t;
	char ip[IP_TEXT_MAX];

	snprintf(w->at, sizeof(w->at), "edge %s", self_name(w));
	ip_text(&w->flow->dst, ip);
	if (!(t->steps & DP_TRACE_READY)) {
		step(w, "ready", "edged has not filled the maps yet");
		if (t->steps & DP_TRACE_VIP)
			return;
	}
	if (!(t->steps & DP_TRACE_VIP)) {
		step(w, "vip", "%s is no VIP of this mesh: left to the host", ip);
		return;
	}
	step(w, "vip", "%s is a VIP", ip);
	if (!(t->steps & DP_TRACE_SVC)) {
		step(w, "service", "none on this protocol and port: %s",
		     t->vip_flags & DP_VIP_REJECT ? "refused with an ICMP error, within a limit"
						  : "dropped");
		return;
	}
	step(w, "service", "%s%s%s", w->service ? w->service->name : "one that has no record",
	     t->svc_flags & DP_SVC_QUIC ? ", which routes QUIC by connection id where there is one"
					: "",
	     t->svc_flags & DP_SVC_DIRECT ? ", whose workers answer from the VIP themselves" : "");
	tell_gate(w);
	if ((t->steps & DP_TRACE_GATE) && t->gate_reason != DP_TRACE_PASSES)
		return;
	if (!tell_id(w))
		tell_rows(w);
	if (t->steps & DP_TRACE_OWNER)
		tell_way(w);
}

static void tell_worker(struct teller *w)
{
	static const char *const kind[] = {"", "seen, but the application has not answered yet",
					   "assured: the application has answered"};
	const struct dp_trace *t = w->t;
	bool is_owner = t->node_flags & DP_NODE_SELF && t->steps & DP_TRACE_OWNER;
	char spec[CTL_SPEC_MAX], ip[IP_TEXT_MAX];
	struct ip_addr addr;

	snprintf(w->at, sizeof(w->at), "worker %s", self_name(w));
	if (!t->flow && (t->steps & DP_TRACE_FROM_VIP))
		step(w, "flow", "the source is a VIP: no worker begins a flow from it");
	else if (!t->flow)
		step(w, "flow",
		     is_owner ? "not known: the packet begins it" : "not known on this node");
	else if (t->flow_away_idx)
		step(w, "flow", "known to live on %s: passed on there",
		     node_name(w, t->flow_away_idx));
	else
		step(w, "flow", "%s; the client's port is %u to it, last packet %u s ago%s",
		     kind[t->flow % 3], t->flow_cport, t->flow_idle_s,
		     t->flow_state == DP_FLOW_CLOSING ? ", closing" : "");
	if (t->flow && !t->flow_away_idx)
		step(w, "answer", "replies go back through %s", node_name(w, t->flow_edge_idx));
	memcpy(addr.b, t->local_addr, sizeof(addr.b));
	if ((t->steps & DP_TRACE_LOCAL) && t->local_live)
		step(w, "backend", "%s, %s %s", backend_spec(w, t->local_idx, spec),
		     t->local_ifindex ? "a container or virtual machine at"
				      : "a socket of this host at",
		     ip_port_text(&addr, t->local_port, ip));
	else if (t->flow && !t->flow_away_idx)
		step(w, "backend", "the flow's backend is gone: the packet begins it anew");
	else if (is_owner)
		step(w, "backend", "the token names no live backend here: %s",
		     reason_meaning(DP_R_TOKEN_UNKNOWN));
	if (t->steps & DP_TRACE_OWNER && !is_owner)
		step(w, "owner", "node %s decides the rest: ask there", node_name(w, t->node_idx));
}

/* ---- the answer */

static void put_tries(struct teller *w, struct ctl_block *m)
{
	struct ctl_block list, one;
	char spec[CTL_SPEC_MAX];

	ctl_key(w->o, m, "tries");
	ctl_array(w->o, &list);
	for (uint32_t i = 0; i < w->t->try_count && i < DP_TRACE_TRIES; i++) {
		const struct dp_trace_try *y = &w->t->try[i];

		ctl_item(&list);
		ctl_map(w->o, &one);
		ctl_key_uint(w->o, &one, "row", y->row);
		ctl_key_text(w->o, &one, "backend", backend_spec(w, y->owner, spec));
		ctl_key_bool(w->o, &one, "is_up", y->be_state == DP_BE_UP);
		ctl_key_text(w->o, &one, "node", node_name(w, y->node_idx));
		ctl_key_bool(w->o, &one, "is_node_up", y->node_state == DP_NODE_UP);
		ctl_end(w->o, &one);
	}
	ctl_end(w->o, &list);
}

static void put_list(struct teller *w, struct ctl_block *m, const char *key, uint32_t verb)
{
	if (verb)
		ctl_key_text(w->o, m, key, verb == DP_FILTER_DENY ? "deny" : "allow");
	else
		ctl_key_nil(w->o, m, key);
}

static void put_gate(struct teller *w, struct ctl_block *m)
{
	const struct dp_trace *t = w->t;
	bool is_passing = t->gate_reason == DP_TRACE_PASSES;
	struct ctl_block one;

	if (!(t->steps & DP_TRACE_GATE)) {
		ctl_key_nil(w->o, m, "gate");
		return;
	}
	ctl_key(w->o, m, "gate");
	ctl_map(w->o, &one);
	ctl_key_bool(w->o, &one, "is_passing", is_passing);
	ctl_key_text(w->o, &one, "reason", is_passing ? "" : reason_name(t->gate_reason));
	put_list(w, &one, "list_all", t->filter_all);
	put_list(w, &one, "list_service", t->filter_own);
	ctl_end(w->o, &one);
}

static void put_flow(struct teller *w, struct ctl_block *m)
{
	static const char *const state[] = {"none", "new", "assured"};
	const struct dp_trace *t = w->t;
	char spec[CTL_SPEC_MAX];
	struct ctl_block one;

	ctl_key(w->o, m, "flow");
	ctl_map(w->o, &one);
	ctl_key_text(w->o, &one, "state", state[t->flow % 3]);
	if (t->flow) {
		ctl_key_bool(w->o, &one, "is_closing", t->flow_state == DP_FLOW_CLOSING);
		if (t->flow_away_idx)
			ctl_key_text(w->o, &one, "away_node", node_name(w, t->flow_away_idx));
		else
			ctl_key_nil(w->o, &one, "away_node");
		if (t->steps & DP_TRACE_LOCAL)
			ctl_key_text(w->o, &one, "backend", backend_spec(w, t->local_idx, spec));
		else
			ctl_key_nil(w->o, &one, "backend");
		ctl_key_text(w->o, &one, "edge_node", node_name(w, t->flow_edge_idx));
		ctl_key_uint(w->o, &one, "client_port", t->flow_cport);
		ctl_key_uint(w->o, &one, "idle_s", t->flow_idle_s);
	}
	ctl_end(w->o, &one);
}

static void put_choice(struct teller *w, struct ctl_block *m)
{
	const struct dp_trace *t = w->t;
	char spec[CTL_SPEC_MAX];

	if (t->steps & DP_TRACE_SVC) {
		ctl_key_text(w->o, m, "service", w->service ? w->service->name : "?");
		ctl_key_uint(w->o, m, "family", ip_is_v4(&w->flow->dst) ? 4 : 6);
	}
	if (t->steps & DP_TRACE_TABLE) {
		ctl_key_uint(w->o, m, "hash", t->hash);
		ctl_key_uint(w->o, m, "row", t->try[0].row);
		ctl_key_uint(w->o, m, "rows", t->rows);
	}
	if (!(t->steps & DP_TRACE_OWNER))
		return;
	ctl_key_text(w->o, m, "backend", backend_spec(w, t->backend_idx, spec));
	ctl_key_text(w->o, m, "owner_node", node_name(w, t->node_idx));
	ctl_key_bool(w->o, m, "is_here", t->node_flags & DP_NODE_SELF);
	ctl_key_bool(w->o, m, "is_by_id", t->steps & DP_TRACE_BY_ID);
	ctl_key_uint(w->o, m, "token", DP_BE_TOKEN(t->backend_word));
	if (t->prev_idx)
		ctl_key_text(w->o, m, "previous", backend_spec(w, t->prev_idx, spec));
	else
		ctl_key_nil(w->o, m, "previous");
}

/* How it ends, once this node's own backends are asked too. */
static uint32_t final_reason(const struct dp_trace *t)
{
	bool is_here = t->node_flags & DP_NODE_SELF && t->steps & DP_TRACE_OWNER;

	if (is_here && !t->flow && (t->steps & DP_TRACE_FROM_VIP))
		return DP_R_SOURCE_IS_VIP;
	if (is_here && !t->flow && !((t->steps & DP_TRACE_LOCAL) && t->local_live))
		return DP_R_TOKEN_UNKNOWN;
	return t->reason;
}

static void put_answer(struct teller *w)
{
	uint32_t reason = final_reason(w->t);
	char from[IP_TEXT_MAX], to[IP_TEXT_MAX];
	struct ctl_block m, steps;

	ctl_map(w->o, &m);
	ctl_key_text(w->o, &m, "proto", w->flow->l4_proto == IPPROTO_TCP ? "tcp" : "udp");
	ctl_key_text(w->o, &m, "src", ip_port_text(&w->flow->src, w->flow->sport, from));
	ctl_key_text(w->o, &m, "dst", ip_port_text(&w->flow->dst, w->flow->dport, to));
	ctl_key_text(w->o, &m, "node", self_name(w));
	ctl_key_text(w->o, &m, "reason", reason_name(reason));
	ctl_key_text(w->o, &m, "meaning", reason_meaning(reason));
	ctl_key_bool(w->o, &m, "is_drop", reason_is_drop(reason));
	put_choice(w, &m);
	put_tries(w, &m);
	put_gate(w, &m);
	put_flow(w, &m);
	ctl_key(w->o, &m, "steps");
	ctl_array(w->o, &steps);
	w->steps = &steps;
	tell_edge(w);
	if ((w->t->steps & DP_TRACE_VIP) && (w->t->flow || (w->t->steps & DP_TRACE_OWNER)))
		tell_worker(w);
	ctl_end(w->o, &steps);
	ctl_end(w->o, &m);
}

static void on_trace(int status, const char *text, const struct dp_trace *t, void *arg)
{
	struct question *q = arg;
	const struct ctl_config *cfg = ctl_ask_config(q->ask);
	struct ctl_look l;

	if (status || !cfg) {
		ctl_ask_refuse(q->ask, status, text);
	} else if (ctl_look_begin(cfg, &l)) {
		ctl_ask_refuse(q->ask, -ENOMEM, "out of memory");
	} else if (!l.v.plan) {
		ctl_look_end(&l);
		ctl_ask_refuse(q->ask, -EAGAIN, "the maps are not filled yet");
	} else {
		struct teller w = {.l = &l, .flow = &q->flow, .t = t};

		if (t->steps & DP_TRACE_SVC)
			w.service = find_service(&l, t->svc_id);
		find_backends(&w);
		w.o = ctl_ask_begin(q->ask);
		put_answer(&w);
		ctl_look_end(&l);
		ctl_ask_end(q->ask);
	}
	free(q);
}

/* ---- the question */

static int read_end(const char *param, const char *text, struct ip_addr *ret_addr,
		    uint16_t *ret_port, struct err *e)
{
	if (ip_parse_addr_port(text, ret_addr, ret_port))
		return err_set(e, -EINVAL,
			       "trace: %s: got '%.60s', want ADDRESS:PORT, [ADDRESS]:PORT for IPv6",
			       param, text);
	return 0;
}

static int read_flow(const struct ctl_args *a, struct trace_flow *ret_flow, struct err *e)
{
	struct trace_flow f = {0};
	size_t bytes = strlen(a->cid) / 2;

	if (strcasecmp(a->proto, "udp") == 0)
		f.l4_proto = IPPROTO_UDP;
	else if (strcasecmp(a->proto, "tcp") == 0)
		f.l4_proto = IPPROTO_TCP;
	else
		return err_set(e, -EINVAL, "trace: proto: got '%.8s', want udp or tcp", a->proto);
	if (read_end("src", a->src, &f.src, &f.sport, e) ||
	    read_end("dst", a->dst, &f.dst, &f.dport, e))
		return -EINVAL;
	if (a->has & CTL_BIT(cid)) {
		if (!bytes || strlen(a->cid) % 2 ||
		    strspn(a->cid, "0123456789abcdefABCDEF") != 2 * bytes)
			return err_set(e, -EINVAL,
				       "trace: cid: got '%.40s', want 1 to 20 bytes in hex",
				       a->cid);
		if (f.l4_proto != IPPROTO_UDP)
			return err_set(e, -EINVAL, "trace: cid: want udp with it");
		for (size_t i = 0; i < bytes; i++)
			(void)sscanf(a->cid + 2 * i, "%2hhx", &f.cid[i]); /* checked above */
		f.cid_bytes = (uint8_t)bytes;
	}
	*ret_flow = f;
	return 0;
}

/* Traces are this node's: another one's maps may differ, and only its own edgefwd can ask them. */
static int check_node(const struct ctl_config *cfg, const char *node, struct err *e)
{
	struct gossip_member m;

	for (size_t i = 0; i < gossip_core_member_count(cfg->core); i++) {
		gossip_core_member_at(cfg->core, i, &m);
		if (m.is_self && strcmp(m.name, node))
			return err_set(e, -EINVAL, "trace: node: this is %s: run it on %.31s",
				       m.name, node);
	}
	return 0;
}

int ctl_trace(const struct ctl_args *a, struct ctl_ask *ask, struct err *e)
{
	const struct ctl_config *cfg = ctl_ask_config(ask);
	struct question *q = calloc(1, sizeof(*q));
	uint8_t frame[TRACE_FRAME_MAX];
	size_t bytes;
	int rc = q ? read_flow(a, &q->flow, e) : err_set(e, -ENOMEM, "out of memory");

	if (!rc && (a->has & CTL_BIT(node)))
		rc = check_node(cfg, a->node, e);
	if (!rc && trace_build(&q->flow, frame, &bytes))
		rc = err_set(e, -EINVAL, "trace: got addresses of two families");
	if (rc) {
		free(q);
		return rc;
	}
	q->ask = ask;
	agent_trace(cfg->agent, frame, bytes, on_trace, q);
	return 0;
}
