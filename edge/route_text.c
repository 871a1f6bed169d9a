/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Why a backend is used, or not, as operators read it. */
#include <stdio.h>

#include "edge/route.h"

const char *route_why_text(enum route_why w)
{
	switch (w) {
	case ROUTE_USED:
		return "used";
	case ROUTE_FARTHER_TIER:
		return "a nearer region serves";
	case ROUTE_UNHEALTHY:
		return "its check fails";
	case ROUTE_UNCHECKED:
		return "not checked yet";
	case ROUTE_DRAINING:
		return "draining";
	case ROUTE_OVERRIDDEN:
		return "drained by an override";
	case ROUTE_NODE_DOWN:
		return "its node is down";
	case ROUTE_NO_FORWARDER:
		return "its node has no forwarder";
	case ROUTE_OTHER_FAMILY:
		return "other address family";
	case ROUTE_PORT_OVERFLOW:
		return "the service's port range does not fit above its port";
	}
	return "?";
}

const char *route_use_text(const struct route_view *view, const struct route_choice *c,
			   char buf[ROUTE_USE_TEXT_MAX])
{
	const struct route_backend *b = &view->backend[c->backend_idx];
	uint8_t node_pct = view->node[b->node_idx].share_pct;

	if (c->why != ROUTE_USED)
		return route_why_text(c->why);
	snprintf(buf, ROUTE_USE_TEXT_MAX, "used");
	if (c->is_panic)
		snprintf(buf, ROUTE_USE_TEXT_MAX, "used in panic: it fails, but too few pass");
	else if (b->share_pct)
		snprintf(buf, ROUTE_USE_TEXT_MAX, "used with %u %% of its weight: it starts slowly",
			 b->share_pct);
	else if (node_pct)
		snprintf(buf, ROUTE_USE_TEXT_MAX, "used with %u %% of its weight: its node is gray",
			 node_pct);
	return buf;
}
