/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_xdp.h - the edge's public interface, first look: drop, or leave a verdict in front of the packet.
 *
 * Never rewrites (docs/adr/0001). The verdict stands in front of every passed packet, for GRO merges only what has
 * equal metadata; where the driver has no room for it, TC decides by itself.
 */
#ifndef DP_XDP_H
#define DP_XDP_H

#include "bpf/dp_choose.h"

static __always_inline int dp_xdp_pass(struct xdp_md *ctx, __u32 reason, const struct dp_choice *c)
{
	struct dp_verdict *v;

	if (!bpf_xdp_adjust_meta(ctx, -(int)sizeof(*v))) {
		v = (void *)(long)ctx->data_meta;
		if ((void *)(v + 1) <= (void *)(long)ctx->data) {
			v->magic = DP_VERDICT_MAGIC;
			v->version = DP_VERDICT_VERSION;
			v->verdict = reason == DP_R_FORWARD_CHOSEN ? DP_VERDICT_FORWARD
								   : DP_VERDICT_PASS;
			v->row = c->row;
			v->svc_idx = c->svc_idx;
		}
	}
	return dp_exit(reason, XDP_PASS);
}

SEC("xdp")
int dp_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct dp_choice c = {};
	struct dp_pkt p;
	__u32 reason;
	int rc;

	if ((void *)(eth + 1) > end ||
	    (eth->h_proto != bpf_htons(ETH_P_IP) && eth->h_proto != bpf_htons(ETH_P_IPV6)))
		return dp_xdp_pass(ctx, DP_R_XDP_PASS, &c);
	rc = dp_parse(data, end, sizeof(*eth), eth->h_proto, &p);
	if (!rc && !dp_parse_is_whole(&p, (__u32)(end - data)))
		rc = DP_R_BAD_PACKET;
	reason = dp_choose(&p, rc, &c);
	if (reason == DP_R_PASS_NOT_OURS)
		return dp_xdp_pass(ctx, DP_R_XDP_PASS, &c);
	if (reason != DP_R_FORWARD_CHOSEN)
		return dp_exit(reason, XDP_DROP);
	dp_stat_add(c.svc_idx, c.backend_idx, 1, p.l3_bytes);
	return dp_xdp_pass(ctx, reason, &c);
}

#endif
