/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_one.h - a machine with one interface: public, uplink, and the mesh of a fabric at once.
 *
 * What is for the mesh address, and tunnels, goes the mesh's way; all else is a client's. Each half is the program that
 * a machine with two interfaces has, in a function of its own.
 */
#ifndef DP_ONE_H
#define DP_ONE_H

#include "bpf/dp_tc.h"
#include "bpf/dp_xdp.h"

__noinline int dp_one_client(struct xdp_md *ctx)
{
	return dp_xdp_run(ctx);
}

SEC("xdp")
int dp_xdp_one(struct xdp_md *ctx)
{
	__u64 began_ns = dp_see_begin();
	int out = dp_xdp_mesh_run(ctx);

	if (DP_OUT_REASON(out) == DP_R_XDP_PASS)
		out = dp_one_client(ctx);
	return dp_leave_xdp(ctx, DP_HOOK_XDP, began_ns, out);
}

__noinline int dp_one_mesh_in(struct __sk_buff *skb)
{
	return dp_mesh_in_run(skb);
}

__noinline int dp_one_pub_in(struct __sk_buff *skb)
{
	return dp_pub_in_run(skb);
}

SEC("tc")
int dp_tc_one_in(struct __sk_buff *skb)
{
	__u64 began_ns = dp_see_begin();
	int out = dp_one_mesh_in(skb);

	if (DP_OUT_REASON(out) == DP_R_MESH_PASS)
		out = dp_one_pub_in(skb);
	return dp_leave_tc(skb, DP_HOOK_PUB_IN, began_ns, out);
}

/* GRE from the mesh address that we did not make is somebody's who was masqueraded to it; other GRE is the host's own. */
static __always_inline int dp_one_out_run(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	struct dp_host *host = dp_host_get();

	if (host && host->gre_mark && skb->mark == host->gre_mark)
		return DP_OUT(DP_R_MESH_OUT_MARKED, TC_ACT_UNSPEC);
	if (!w || !host || !dp_skb_is_ip(skb) || dp_parse_skb(skb, DP_ETH_BYTES, skb->protocol))
		return DP_OUT(DP_R_PASS_NOT_OURS, TC_ACT_UNSPEC);
	if (w->pkt.l4_proto == DP_NH_GRE &&
	    dp_addr_same(w->pkt.src, w->pkt.family == 4 ? host->mesh_addr4 : host->mesh_addr6))
		return DP_OUT(DP_R_GRE_UNMARKED, TC_ACT_SHOT);
	return dp_reply(skb, DP_ETH_BYTES, DP_REPLY_UPLINK);
}

SEC("tc")
int dp_tc_one_out(struct __sk_buff *skb)
{
	__u64 began_ns = dp_see_begin();

	return dp_leave_tc(skb, DP_HOOK_UP_OUT, began_ns, dp_one_out_run(skb));
}

#endif
