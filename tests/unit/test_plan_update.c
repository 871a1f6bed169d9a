/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Twins: one always computes everything, the other what was touched alone. After every step their routes, their operations and their
 * maps are the same. SEED= in the environment repeats a run. */
#include "tests/unit/plan_mem.h"

#define ROUNDS 40
#define STEPS 80

struct twins {
	struct world w;
	struct seen o;
	struct plan_state *whole, *part;
	uint64_t now_ms;
	size_t node[NODES], backend[BACKENDS], service[SERVICES]; /* touched */
	struct plan_touched touched;
	size_t updated, asked; /* steps that plan_update() did, and was asked for */
};

static struct mem mem_whole, mem_part;

/* What changes more than states. */
static void reshape(struct world *w)
{
	size_t s = rnd(SERVICES), b = rnd(BACKENDS), n = rnd(NODES);

	switch (rnd(8)) {
	case 0:
		w->has_node[n] = rnd(3);
		break;
	case 1:
		w->node[n].node.mesh_addr.b[15] = (uint8_t)(1 + rnd(NODES * 2));
		break;
	case 2:
		w->has_service[s] = rnd(3);
		break;
	case 3:
		random_service(w, s);
		w->service[s].policy.spill_pct = (uint8_t)(rnd(2) * 70);
		w->service[s].policy.panic_pct = (uint8_t)(rnd(2) * 60);
		w->service[s].policy.is_local = rnd(3) == 0;
		break;
	case 4:
		w->has_backend[b] = rnd(3);
		break;
	case 5:
		w->backend[b].is_overridden ^= 1;
		break;
	case 6:
		w->backend[b].backend.ports = random_part();
		break;
	default:
		w->backend[b].backend.weight = (uint16_t)(1 + rnd(5));
	}
}

static void add(size_t *list, size_t *count, size_t idx)
{
	for (size_t i = 0; i < *count; i++)
		if (list[i] == idx)
			return;
	list[(*count)++] = idx;
}

static void touch_backend(struct twins *t, size_t i)
{
	add(t->backend, &t->touched.backend_count, i);
	for (size_t s = 0; s < t->o.view.service_count; s++)
		if (!strcmp(t->o.service[s].name, t->o.backend[i].backend.service))
			add(t->service, &t->touched.service_count, s);
}

/* States of the world as seen, and of the world. */
static void change_states(struct twins *t)
{
	static const enum gossip_state states[] = {GOSSIP_ALIVE,   GOSSIP_ALIVE, GOSSIP_HEADLESS,
						   GOSSIP_SUSPECT, GOSSIP_DEAD,	 GOSSIP_LEFT};

	t->touched = (struct plan_touched){
		.node = t->node, .backend = t->backend, .service = t->service};
	for (unsigned int n = rnd(4); n > 0; n--) {
		size_t i = rnd(BACKENDS);

		if (rnd(3) == 0 && t->o.view.node_count) {
			struct route_node *node;

			i = rnd((unsigned int)t->o.view.node_count);
			node = &t->o.node[i];
			node->state = states[rnd(6)];
			t->w.node[node->id.b[15]].state = node->state;
			add(t->node, &t->touched.node_count, i);
			for (size_t b = 0; b < t->o.view.backend_count; b++)
				if (t->o.backend[b].node_idx == i)
					touch_backend(t, b);
		} else if (i < t->o.view.backend_count) {
			struct route_backend *b = &t->o.backend[i];

			b->health = rnd(3) ? MODEL_HEALTH_PASSING : MODEL_HEALTH_FAILING;
			b->is_gone = b->health == MODEL_HEALTH_FAILING && rnd(4) == 0;
			b->share_pct = (uint8_t)(rnd(3) ? 0 : 25);
			t->w.backend[b->backend.token - 1].health = b->health;
			t->w.backend[b->backend.token - 1].is_gone = b->is_gone;
			t->w.backend[b->backend.token - 1].share_pct = b->share_pct;
			touch_backend(t, i);
		}
	}
}

static void assert_same_entry(const struct route_entry *a, const struct route_entry *b)
{
	assert_int_equal(a->service_idx, b->service_idx);
	assert_int_equal(a->family, b->family);
	assert_memory_equal(&a->part, &b->part, sizeof(a->part));
	assert_memory_equal(&a->served, &b->served, sizeof(a->served));
	assert_int_equal(a->port_lo, b->port_lo);
	assert_int_equal(a->is_shadowed, b->is_shadowed);
	assert_int_equal(a->choice_count, b->choice_count);
	for (size_t i = 0; i < a->choice_count; i++) {
		assert_int_equal(a->choice[i].backend_idx, b->choice[i].backend_idx);
		assert_int_equal(a->choice[i].tier, b->choice[i].tier);
		assert_int_equal(a->choice[i].weight, b->choice[i].weight);
		assert_int_equal(a->choice[i].why, b->choice[i].why);
		assert_int_equal(a->choice[i].is_panic, b->choice[i].is_panic);
	}
	assert_int_equal(a->row_count, b->row_count);
	assert_int_equal(a->size_class, b->size_class);
	assert_int_equal(a->used_count, b->used_count);
	if (!a->used_count)
		return;
	assert_memory_equal(a->row, b->row, a->row_count * sizeof(*a->row));
	assert_memory_equal(a->used, b->used, a->used_count * sizeof(*a->used));
	assert_memory_equal(a->name, b->name, a->used_count * sizeof(*a->name));
	assert_memory_equal(a->weight, b->weight, a->used_count * sizeof(*a->weight));
}

static void assert_same_routes(const struct route_plan *a, const struct route_plan *b)
{
	assert_int_equal(a->entry_count, b->entry_count);
	for (size_t i = 0; i < a->entry_count; i++)
		assert_same_entry(&a->entry[i], &b->entry[i]);
}

static void assert_same_sums(struct plan_state *a, struct plan_state *b)
{
	struct plan_sums x, y;

	assert_int_equal(plan_sums(a, &x), 0);
	assert_int_equal(plan_sums(b, &y), 0);
	assert_memory_equal(&x, &y, sizeof(x));
	assert_true(plan_due_ms(a) == plan_due_ms(b));
}

/* Before routes are computed, one word is written for what fell. */
static void urgent(struct twins *t, size_t backend)
{
	const struct route_backend *b = &t->o.backend[backend];
	char key[MODEL_KEY_MAX];
	struct plan_op op;

	if (b->health != MODEL_HEALTH_FAILING)
		return;
	assert_int_equal(model_backend_key(&b->backend, key), 0);
	if (plan_backend_down(t->whole, &t->o.node[b->node_idx].id, key, &op))
		apply(&mem_whole, &op);
	if (plan_backend_down(t->part, &t->o.node[b->node_idx].id, key, &op))
		apply(&mem_part, &op);
}

static void write_both(struct twins *t, const struct route_plan *part, bool is_update)
{
	struct plan_list a = {0}, b = {0};
	int rc = -EAGAIN;
	struct err e;

	assert_int_equal(
		plan_diff(t->whole, &t->o.view, t->o.routes, &t->w.node[0].id, t->now_ms, &a, &e),
		0);
	if (is_update) {
		t->asked++;
		rc = plan_update(t->part, &t->o.view, part, &t->w.node[0].id, t->now_ms,
				 &t->touched, &b);
		t->updated += rc == 0;
	}
	if (rc) {
		assert_int_equal(rc, -EAGAIN);
		assert_int_equal(b.op_count, 0);
		assert_int_equal(
			plan_diff(t->part, &t->o.view, part, &t->w.node[0].id, t->now_ms, &b, &e),
			0);
	}
	for (size_t i = 0; a.op_count != b.op_count && i < a.op_count + b.op_count; i++) {
		const struct plan_op *op = i < a.op_count ? &a.op[i] : &b.op[i - a.op_count];

		print_message("%s: %s %u\n", i < a.op_count ? "whole" : "part",
			      plan_op_text(op->kind), op->idx);
	}
	assert_int_equal(a.op_count, b.op_count);
	for (size_t i = 0; i < a.op_count; i++)
		apply(&mem_whole, &a.op[i]);
	for (size_t i = 0; i < b.op_count; i++)
		apply(&mem_part, &b.op[i]);
	assert_memory_equal(&mem_whole, &mem_part, sizeof(mem_part));
	assert_same_sums(t->whole, t->part);
	plan_list_clear(&a);
	plan_list_clear(&b);
}

static void step_reshaped(struct twins *t)
{
	reshape(&t->w);
	route_free(t->o.routes);
	look(&t->w, &t->o);
	write_both(t, t->o.routes, false);
}

static void step_states(struct twins *t)
{
	struct route_plan *part, *old = t->o.routes;

	change_states(t);
	for (size_t i = 0; i < t->touched.backend_count && rnd(2); i++)
		urgent(t, t->backend[i]);
	assert_int_equal(route_compute(&t->o.view, &t->o.routes), 0);
	assert_int_equal(route_update(&t->o.view, old, t->service, t->touched.service_count, &part),
			 0);
	if (rnd(2)) {
		route_free(old); /* whichever is freed first */
		old = NULL;
	}
	assert_same_routes(t->o.routes, part);
	write_both(t, part, true);
	if (rnd(2)) {
		route_free(
			t->o.routes); /* the next one rests on a plan that was itself an update */
		t->o.routes = part;
	} else {
		route_free(part);
	}
	route_free(old);
}

static void test_update_when_states_change_at_random_then_all_is_as_if_computed_whole(void **state)
{
	static struct twins t;
	const char *text = getenv("SEED");
	unsigned int first = text ? (unsigned int)atoi(text) : 1, rounds = text ? 1 : ROUNDS;
	size_t updated = 0, asked = 0;

	(void)state;
	for (unsigned int round = first; round < first + rounds; round++) {
		print_message("SEED=%u\n", round);
		seed = round;
		memset(&t, 0, sizeof(t));
		memset(&mem_whole, 0, sizeof(mem_whole));
		memset(&mem_part, 0, sizeof(mem_part));
		world_init(&t.w);
		look(&t.w, &t.o);
		assert_int_equal(plan_state_new(&sizes, &t.whole), 0);
		assert_int_equal(plan_state_new(&sizes, &t.part), 0);
		write_both(&t, t.o.routes, false);
		for (size_t i = 0; i < STEPS; i++) {
			t.now_ms += rnd(20) ? rnd(3) * 600 : PLAN_PREV_MS;
			if (rnd(8))
				step_states(&t);
			else
				step_reshaped(&t);
		}
		updated += t.updated;
		asked += t.asked;
		route_free(t.o.routes);
		plan_state_free(t.whole);
		plan_state_free(t.part);
	}
	print_message("%zu of %zu steps without plan_diff()\n", updated, asked);
	assert_true(updated > asked / 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_update_when_states_change_at_random_then_all_is_as_if_computed_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
