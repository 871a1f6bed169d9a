/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policies of a service as the programs read them. */
#include <string.h>

#include "edge/plan_priv.h"

void plan_policy_fill(const struct route_view *view, size_t service_idx, struct dp_svc *svc)
{
	const struct model_policy *p = &view->service[service_idx].policy;
	bool has_filter = view->has_filter && view->has_filter[service_idx];

	svc->pps = p->pps;
	svc->source_pps = p->source_pps;
	svc->syn_pps = p->syn_pps;
	svc->hop_pps = p->hop_pps;
	svc->prefix4 = p->prefix4;
	svc->prefix6 = p->prefix6;
	if (has_filter)
		svc->flags |= DP_SVC_FILTER;
	if (p->is_closed)
		svc->flags |= DP_SVC_CLOSED;
	if (has_filter || p->is_closed || p->pps || p->source_pps || p->syn_pps)
		svc->flags |= DP_SVC_GATE;
	if (p->is_quic)
		svc->flags |= DP_SVC_QUIC;
	if (p->is_direct)
		svc->flags |= DP_SVC_DIRECT;
	if (p->is_carried)
		svc->flags |= DP_SVC_CARRY;
	if (p->is_udp_stay)
		svc->flags |= DP_SVC_UDP_STAY;
	if (p->is_moving)
		svc->flags |= DP_SVC_MOVES;
}

/* A VIP that several services share is of the mind of any of them. */
uint32_t plan_policy_vip(const struct route_view *view, const uint8_t addr[16])
{
	for (size_t i = 0; i < view->service_count; i++) {
		const struct model_service *s = &view->service[i];

		if (!s->policy.is_rejecting)
			continue;
		for (size_t k = 0; k < s->vip_count; k++)
			if (!memcmp(s->vip[k].b, addr, sizeof(s->vip[k].b)))
				return DP_VIP_REJECT;
	}
	return 0;
}
