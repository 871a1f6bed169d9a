/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_xdp.h - the edge's public interface, first look: drop, answer, or leave a verdict in front of the packet.
 *
 * Never rewrites what goes on to the stack (docs/adr/0001). The verdict stands in front of every passed packet, for GRO
 * merges only what has equal metadata; where the driver has no room for it, TC decides by itself.
 */
#ifndef DP_XDP_H
#define DP_XDP_H

#include "bpf/dp_edge.h"
#include "bpf/dp_fabric.h"

static __always_inline int dp_xdp_pass(struct xdp_md *ctx, int kind, const struct dp_choice *c)
{
	struct dp_verdict *v;

	if (!bpf_xdp_adjust_meta(ctx, -(int)sizeof(*v))) {
		v = (void *)(long)ctx->data_meta;
		if ((void *)(v + 1) <= (void *)(long)ctx->data) {
			v->magic = DP_VERDICT_MAGIC;
			v->version = DP_VERDICT_VERSION;
			v->verdict = kind == DP_IS_ROW	     ? DP_VERDICT_FORWARD
				     : kind == DP_IS_BACKEND ? DP_VERDICT_BACKEND
							     : DP_VERDICT_PASS;
			v->row = kind == DP_IS_BACKEND ? c->backend_idx : c->row;
			v->svc_idx = c->svc_idx;
			v->key = 0;
			v->from_idx = 0;
			v->seq = kind == DP_IS_ROW ? c->prev_idx : 0;
		}
	}
	return DP_OUT(kind == DP_IS_PASS ? DP_R_XDP_PASS : DP_R_FORWARD_CHOSEN, XDP_PASS);
}

static __always_inline int dp_xdp_run(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct dp_choice c = {};
	struct dp_pkt p;
	int rc, out;

	if ((void *)(eth + 1) > end ||
	    (eth->h_proto != bpf_htons(ETH_P_IP) && eth->h_proto != bpf_htons(ETH_P_IPV6)))
		return dp_xdp_pass(ctx, DP_IS_PASS, &c);
	rc = dp_parse(data, end, sizeof(*eth), eth->h_proto, &p);
	if (!rc && !dp_parse_is_whole(&p, (__u32)(end - data)))
		rc = DP_R_BAD_PACKET;
	out = dp_edge(ctx, &p, rc, &c, 1);
	if (out >= 0)
		return out;
	if (out == DP_IS_PASS)
		return dp_xdp_pass(ctx, out, &c);
	dp_stat_add(c.svc_idx, c.backend_idx, 1, p.l3_bytes);
	if (dp_mesh_l2 && dp_edge_show(&p, &c)) {
		rc = dp_fabric_out(ctx);
		if (rc != DP_GO)
			return rc;
	}
	if (out == DP_IS_BACKEND && p.frag) {
		(void)dp_xdp_pass(ctx, out, &c);
		return DP_OUT(DP_R_FRAG_FOLLOWED, XDP_PASS);
	}
	return dp_xdp_pass(ctx, out, &c);
}

SEC("xdp")
int dp_xdp(struct xdp_md *ctx)
{
	__u64 began_ns = dp_see_begin();

	return dp_leave_xdp(ctx, DP_HOOK_XDP, began_ns, dp_xdp_run(ctx));
}

/* The mesh interface of a fabric. */
SEC("xdp")
int dp_xdp_mesh(struct xdp_md *ctx)
{
	__u64 began_ns = dp_see_begin();

	return dp_leave_xdp(ctx, DP_HOOK_XDP_MESH, began_ns, dp_xdp_mesh_run(ctx));
}

#endif
