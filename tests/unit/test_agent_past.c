/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a backend's node tells of the past, and what an edge that comes new makes of it before it announces anything. */
#include "gossip/member.h"
#include "tests/unit/agent_fake.h"

#define MINUTE_MS 60000

static void test_was_when_use_changes_then_told_for_as_long_as_rows_remember(void **state)
{
	struct model_service s = service("dns", "198.51.100.53", IPPROTO_UDP, 53, 53);
	struct model_backend b = backend("dns", "10.80.0.1", 5353);
	struct own_backend *o;

	node_ready(*state);
	add_service(&s, 0, "");
	add_backend(&b, 0, "");
	o = TAILQ_FIRST(&current->agent->own);
	assert_int_equal(agent_past_was(o), MODEL_WAS_UNUSED); /* it was not there */
	now_ms += MINUTE_MS;
	assert_int_equal(agent_past_was(o), MODEL_WAS_UNUSED);
	now_ms += 15 * MINUTE_MS;
	assert_int_equal(agent_past_was(o), MODEL_WAS_SAME);
	o->model.is_draining = true;
	assert_int_equal(agent_past_was(o), MODEL_WAS_USED);
	now_ms += 5000;
	o->model.is_draining = false; /* too short for a row to forget who had it */
	assert_int_equal(agent_past_was(o), MODEL_WAS_SAME);
	o->model.is_draining = true;
	assert_int_equal(agent_past_was(o), MODEL_WAS_USED);
	now_ms += MINUTE_MS;
	assert_int_equal(agent_past_was(o), MODEL_WAS_USED);
	now_ms += 14 * MINUTE_MS + 1;
	assert_int_equal(agent_past_was(o), MODEL_WAS_SAME);
	node_stop(*state);
}

/* ---- an edge that comes new */

static void say(const struct node_id *node, uint16_t port, bool is_draining,
		enum model_health_was was)
{
	struct model_backend b = backend("dns", "10.0.0.1", port);
	struct model_health h = {.state = MODEL_HEALTH_PASSING, .was = was};
	uint8_t buf[RECORD_VALUE_MAX];
	char key[MODEL_KEY_MAX];

	b.token = port;
	b.is_draining = is_draining;
	assert_int_equal(model_backend_key(&b, key), 0);
	hear(node, MODEL_KIND_BACKEND, key, buf, model_backend_encode(&b, buf, sizeof(buf)));
	hear(node, MODEL_KIND_HEALTH, key, buf, model_health_encode(&h, buf, sizeof(buf)));
}

static bool is_written(void)
{
	return maps->self.ready && maps->svc[1].rows;
}

static bool is_announcing(void)
{
	return current->agent->vip_count == 1;
}

static void
test_start_when_the_maps_are_empty_then_rows_know_their_owners_before_a_vip_is_announced(
	void **state)
{
	struct model_service s = service("dns", "198.51.100.53", IPPROTO_UDP, 53, 53);
	uint32_t drained = 0, fell = 0, rows;
	struct node_id n[3];
	uint8_t buf[RECORD_VALUE_MAX];
	const struct dp_row *row;

	node_start(*state, true);
	now_ms += 3000;
	turn_until(has_seed);
	current->agent->cfg.has_seeds = true;
	current->agent->opened_ms = now_ms; /* before it had a loop the clock was another */
	for (uint8_t i = 0; i < 3; i++)
		n[i] = add_member((uint8_t)(50 + i), "r1");
	hear(&n[0], MODEL_KIND_SERVICE, "dns", buf, model_service_encode(&s, buf, sizeof(buf)));
	say(&n[0], 5000, true, MODEL_WAS_USED);
	say(&n[1], 5001, false, MODEL_WAS_SAME);
	say(&n[2], 5002, false, MODEL_WAS_SAME);
	fwd_connect(DP_ABI_VERSION);
	turn_until(is_written);
	assert_true(current->agent->is_fresh);
	assert_int_equal(current->agent->vip_count, 0);
	for (size_t i = 0; i < sent_count; i++)
		assert_int_not_equal(sent[i].kind, FWD_VIP); /* no empty list either */
	now_ms += 6000;
	turn_until(is_announcing);
	assert_false(current->agent->is_fresh);
	rows = maps->svc[1].rows;
	row = &maps->row[DP_TABLE_OFFSET(maps->svc[1].table)];
	for (uint32_t i = 0; i < rows; i++) {
		drained += row[i].prev && DP_BE_TOKEN(maps->backend[row[i].prev]) == 5000;
		fell += row[i].prev && DP_BE_TOKEN(maps->backend[row[i].prev]) != 5000;
	}
	/* A third of the rows was its own; next to no other has moved. */
	assert_in_range(drained, rows * 3 / 10, rows * 4 / 10);
	assert_in_range(fell, 0, rows / 20);
	node_stop(*state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_was_when_use_changes_then_told_for_as_long_as_rows_remember),
		CASE(test_start_when_the_maps_are_empty_then_rows_know_their_owners_before_a_vip_is_announced),
	};

	return cmocka_run_group_tests_name("agent_past", tests, setup_net, NULL);
}
