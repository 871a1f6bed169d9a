/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Slow start: a backend of this node that comes, or comes back, is given its weight in steps. Its node says so in the health
 * record, so all edges know the same; four steps, so few records are written and few rows move. */
#include "edge/agent_int.h"

static const uint8_t step_pct[] = {10, 25, 50, 75};
#define STEPS (sizeof(step_pct) / sizeof(step_pct[0]))

static uint64_t slow_start_ms(const struct own_backend *o)
{
	const union fact_value *v =
		agent_fact_find(o->agent, NULL, MODEL_KIND_SERVICE, o->model.service);

	return v ? v->service.policy.slow_start_s * 1000ull : 0;
}

uint8_t agent_slow_share(struct own_backend *o, bool is_other)
{
	uint64_t span_ms = slow_start_ms(o), now_ms = agent_now_ms(o->agent), step;

	if (o->health.state != MODEL_HEALTH_PASSING || !span_ms) {
		o->slow_ms = 0;
		return 0;
	}
	if (is_other)
		o->slow_ms = now_ms;
	/* This daemon was started under way: on from the step that was reached. */
	for (size_t i = 0; !o->slow_ms && o->health.share_pct && i < STEPS; i++)
		if (step_pct[i] == o->health.share_pct)
			o->slow_ms = now_ms - i * span_ms / STEPS;
	step = o->slow_ms ? (now_ms - o->slow_ms) * STEPS / span_ms : STEPS;
	if (step < STEPS)
		return step_pct[step];
	o->slow_ms = 0;
	return 0;
}
