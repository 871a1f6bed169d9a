/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* After every change, the world that was changed in place is the one that is built anew. SEED= in the environment repeats a
 * run. */
#include "edge/plan_priv.h"
#include "edge/report.h"
#include "gossip/member.h"
#include "tests/unit/agent_fake.h"

#define MEMBERS 6
#define SERVICES 4
#define STEPS 1000

static unsigned int seed;
static struct node_id id[MEMBERS];

static unsigned int rnd(unsigned int n)
{
	return (unsigned int)rand_r(&seed) % n;
}

static struct model_backend backend_at(unsigned int member, unsigned int i)
{
	char name[16];
	struct model_backend b;

	snprintf(name, sizeof(name), "svc-%u", i % SERVICES);
	b = backend(name, "10.0.0.1", (uint16_t)(2000 + i));
	b.token = member * 64 + i + 1;
	model_check_default(MODEL_CHECK_TCP, &b.check);
	return b;
}

static void say_backend(unsigned int member, unsigned int i, bool is_gone)
{
	struct model_backend b = backend_at(member, i);
	uint8_t buf[RECORD_VALUE_MAX];
	char key[MODEL_KEY_MAX];

	b.weight = (uint16_t)(1 + rnd(3));
	assert_int_equal(model_backend_key(&b, key), 0);
	hear(&id[member], MODEL_KIND_BACKEND, key, buf,
	     is_gone ? -1 : model_backend_encode(&b, buf, sizeof(buf)));
}

static void say_health(unsigned int member, unsigned int i)
{
	struct model_backend b = backend_at(member, i);
	struct model_health h = {.state = rnd(3) ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING};
	uint8_t buf[RECORD_VALUE_MAX];
	char key[MODEL_KEY_MAX];

	if (h.state == MODEL_HEALTH_FAILING)
		h.cause = rnd(2) ? MODEL_CAUSE_GONE : 0;
	else
		h.share_pct = rnd(3) ? 0 : 25;
	assert_int_equal(model_backend_key(&b, key), 0);
	hear(&id[member], MODEL_KIND_HEALTH, key, buf,
	     rnd(10) ? model_health_encode(&h, buf, sizeof(buf)) : -1);
}

/* Of one member about another's backend: it counts while that one is headless. */
static void say_verdict(unsigned int judge, unsigned int member, unsigned int i)
{
	struct model_backend b = backend_at(member, i);
	struct model_health h = {.state = rnd(3) ? MODEL_HEALTH_FAILING : MODEL_HEALTH_PASSING};
	uint8_t buf[RECORD_VALUE_MAX];
	char backend_key[MODEL_KEY_MAX], key[RECORD_KEY_MAX + 1];

	assert_int_equal(model_backend_key(&b, backend_key), 0);
	snprintf(key, sizeof(key), "check/n%u/%.80s", member, backend_key);
	hear(&id[judge], REPORT_KIND, key, buf,
	     rnd(4) ? model_health_encode(&h, buf, sizeof(buf)) : -1);
}

static void say_service(unsigned int i)
{
	char name[16], vip[32];
	struct model_service s;
	uint8_t buf[RECORD_VALUE_MAX];

	snprintf(name, sizeof(name), "svc-%u", i);
	snprintf(vip, sizeof(vip), "198.51.100.%u", i + 1);
	s = service(name, vip, IPPROTO_UDP, 53, 53);
	s.policy.panic_pct = (uint8_t)(rnd(2) * 60);
	s.policy.spill_pct = (uint8_t)(rnd(2) * 80);
	hear(&id[0], MODEL_KIND_SERVICE, name, buf,
	     rnd(8) ? model_service_encode(&s, buf, sizeof(buf)) : -1);
}

static void say_override(unsigned int member)
{
	struct model_override o = {.is_drained = true};
	uint8_t buf[RECORD_VALUE_MAX];
	char key[32];

	snprintf(key, sizeof(key), "node/n%u", member);
	hear(&id[0], MODEL_KIND_OVERRIDE, key, buf,
	     rnd(2) ? model_override_encode(&o, buf, sizeof(buf)) : -1);
}

/* Who is headless is judged by others. */
static void set_state(unsigned int i, enum gossip_state state)
{
	struct member *m = member_get(current->core, &id[i]);
	struct gossip_event ev = {.kind = GOSSIP_EV_MEMBER, .old_state = m->state};

	m->state = state;
	assert_true(gossip_core_member_get(current->core, &id[i], &ev.member));
	agent_event(&ev, current->agent);
}

static void change_member(unsigned int i)
{
	static const enum gossip_state states[] = {GOSSIP_ALIVE, GOSSIP_ALIVE, GOSSIP_HEADLESS,
						   GOSSIP_SUSPECT, GOSSIP_DEAD};

	set_state(i, states[rnd(5)]);
}

/* Suspected, and refuted before anything is computed: its word was written at once. */
static void flap_member(unsigned int i)
{
	enum gossip_state was = member_get(current->core, &id[i])->state;

	set_state(i, GOSSIP_SUSPECT);
	set_state(i, was);
}

static void assert_same_entry(const struct route_entry *x, const struct route_entry *y)
{
	assert_int_equal(x->service_idx, y->service_idx);
	assert_int_equal(x->choice_count, y->choice_count);
	for (size_t i = 0; i < x->choice_count; i++) {
		assert_int_equal(x->choice[i].backend_idx, y->choice[i].backend_idx);
		assert_int_equal(x->choice[i].why, y->choice[i].why);
		assert_int_equal(x->choice[i].is_panic, y->choice[i].is_panic);
		assert_int_equal(x->choice[i].weight, y->choice[i].weight);
	}
	assert_int_equal(x->row_count, y->row_count);
	if (x->row_count)
		assert_memory_equal(x->row, y->row, x->row_count * sizeof(*x->row));
}

static void assert_same_world(const struct world *x, const struct world *y)
{
	assert_int_equal(x->view.node_count, y->view.node_count);
	for (size_t i = 0; i < x->view.node_count; i++) {
		assert_memory_equal(&x->node[i].id, &y->node[i].id, sizeof(x->node[i].id));
		assert_int_equal(x->node[i].state, y->node[i].state);
		assert_int_equal(x->node[i].is_drained, y->node[i].is_drained);
		assert_int_equal(x->node[i].share_pct, y->node[i].share_pct);
	}
	assert_int_equal(x->view.service_count, y->view.service_count);
	assert_int_equal(x->view.backend_count, y->view.backend_count);
	for (size_t i = 0; i < x->view.backend_count; i++) {
		const struct route_backend *a = &x->backend[i], *b = &y->backend[i];

		assert_int_equal(a->node_idx, b->node_idx);
		assert_int_equal(a->backend.token, b->backend.token);
		assert_int_equal(a->backend.weight, b->backend.weight);
		assert_int_equal(a->health, b->health);
		assert_int_equal(a->is_gone, b->is_gone);
		assert_int_equal(a->share_pct, b->share_pct);
		assert_int_equal(a->is_overridden, b->is_overridden);
		assert_memory_equal(&x->health[i], &y->health[i], sizeof(x->health[i]));
	}
	assert_int_equal(x->routes->entry_count, y->routes->entry_count);
	for (size_t i = 0; i < x->routes->entry_count; i++)
		assert_same_entry(&x->routes->entry[i], &y->routes->entry[i]);
}

/* What the maps say of nodes and of who is well. */
static void assert_words(const struct agent *a)
{
	const struct route_view *v = &a->world->view;

	for (size_t i = 0; a->plan && i < v->node_count; i++) {
		uint32_t idx = plan_node_idx(a->plan, &v->node[i].id);

		if (idx)
			assert_int_equal(maps->node[idx].state, plan_node_state(&v->node[i]));
	}
	for (size_t i = 0; a->plan && i < v->backend_count; i++) {
		const struct route_backend *b = &v->backend[i];
		char key[MODEL_KEY_MAX];
		uint32_t idx;

		assert_int_equal(model_backend_key(&b->backend, key), 0);
		idx = plan_backend_idx(a->plan, &v->node[b->node_idx].id, key);
		if (idx && model_health_is_good(&b->backend.check, b->health))
			assert_int_equal(DP_BE_STATE(maps->backend[idx]), DP_BE_UP);
	}
}

/* Was the world changed in place? */
static bool compute_and_compare(void)
{
	struct agent *a = current->agent;
	const struct world *was = a->world;
	struct world *anew;
	bool is_update;

	agent_compute(a);
	is_update = a->world == was;
	assert_int_equal(agent_world_build(a, &anew), 0);
	assert_same_world(a->world, anew);
	assert_words(a);
	agent_world_free(anew);
	return is_update;
}

static void change(void)
{
	unsigned int member = rnd(MEMBERS), i = rnd(8);

	switch (rnd(40)) {
	case 0:
		say_backend(member, i, rnd(2));
		break;
	case 1:
		say_service(rnd(SERVICES));
		break;
	case 2:
		say_override(member);
		break;
	case 3:
	case 4:
	case 5:
	case 6:
	case 7:
		change_member(member);
		break;
	case 8:
		flap_member(member);
		break;
	case 9:
	case 10:
	case 11:
	case 12:
	case 13:
	case 14:
		say_verdict(rnd(MEMBERS), member, i);
		break;
	default:
		say_health(member, i);
	}
}

static void test_compute_when_the_mesh_changes_at_random_then_as_if_built_anew(void **state)
{
	const char *text = getenv("SEED");
	unsigned int updates = 0;

	seed = text ? (unsigned int)atoi(text) : 1;
	print_message("SEED=%u\n", seed);
	node_ready(*state);
	for (uint8_t i = 0; i < MEMBERS; i++)
		id[i] = add_member((uint8_t)(10 + i), i % 2 ? "r1" : "r2");
	for (unsigned int i = 0; i < SERVICES; i++)
		say_service(i);
	for (unsigned int m = 0; m < MEMBERS; m++)
		for (unsigned int i = 0; i < 8; i++)
			say_backend(m, i, false);
	(void)compute_and_compare();
	for (unsigned int step = 0; step < STEPS; step++) {
		for (unsigned int n = 1 + rnd(3); n > 0; n--)
			change();
		now_ms += rnd(50);
		updates += compute_and_compare();
	}
	print_message("%u of %u computations in place\n", updates, STEPS);
	assert_true(updates > STEPS / 2);
	node_stop(*state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_compute_when_the_mesh_changes_at_random_then_as_if_built_anew, setup,
			teardown),
	};

	return cmocka_run_group_tests_name("agent_update", tests, setup_net, NULL);
}
