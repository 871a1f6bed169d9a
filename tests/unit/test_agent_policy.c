/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Policies, prefix lists and server ids, from the operator's verb to the maps: the agent with a real core and store. */
#include "edge/plan_priv.h"
#include "edge/quic.h"
#include "tests/unit/agent_fake.h"

static void set_policy(const char *name, const char *policy, int status, const char *part)
{
	agent_service_set(current->agent, name, &policy, 1, on_answer, NULL);
	expect(status, part);
}

static struct model_filter a_filter(const char *service, const char *prefix, uint8_t verb)
{
	struct model_filter f = {.verb = verb, .why = "test"};

	snprintf(f.service, sizeof(f.service), "%s", service);
	assert_int_equal(ip_parse_prefix(prefix, &f.prefix), 0);
	return f;
}

static void add_filter(const char *service, const char *prefix, uint8_t verb, int status,
		       const char *part)
{
	struct model_filter f = a_filter(service, prefix, verb);

	agent_filter_add(current->agent, &f, on_answer, NULL);
	expect(status, part);
}

static void rm_filter(const char *service, const char *prefix, int status, const char *part)
{
	struct model_filter f = a_filter(service, prefix, DP_FILTER_DENY);

	agent_filter_rm(current->agent, service, &f.prefix, on_answer, NULL);
	expect(status, part);
}

/* Everything that is due is in the maps. */
static struct agent_view settle(void)
{
	struct agent_view v;

	agent_look(current->agent, &v);
	return v;
}

static const struct dp_svc *svc_of(const char *name)
{
	for (uint32_t i = 1; i < sizes.svcs; i++)
		if (maps->svc[i].svc_id == plan_svc_id(name))
			return &maps->svc[i];
	fail_msg("no service %s", name);
	return NULL;
}

/* What the list says of exactly this prefix: a verb, or -1. */
static int on_list(const char *service, const char *prefix)
{
	const struct fake_set *s = &maps->set[MAPW_FILTER];
	struct model_filter f = a_filter(service, prefix, DP_FILTER_DENY);

	for (uint32_t i = 0; i < s->count; i++) {
		struct dp_filter_key k;

		memcpy(&k, s->key[i], sizeof(k));
		if (k.svc_id == (service[0] ? plan_svc_id(service) : 0) &&
		    k.prefix_bits == 32u + f.prefix.bits && !memcmp(k.addr, f.prefix.addr.b, 16))
			return (int)s->value[i];
	}
	return -1;
}

static void test_service_set_when_changed_then_in_the_maps_at_once(void **state)
{
	struct model_service s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 53);
	struct model_service web = service("web", "198.51.100.2", IPPROTO_TCP, 80, 80);
	struct model_backend b = backend("dns", "10.80.0.1", 5353);
	static const char *const two[] = {"pps=500", "hash=source"};
	static const char *const half[] = {"pps=600", "rows=7"};
	uint64_t table;

	node_ready(*state);
	assert_int_equal(model_policy_set(&s, "source_pps=20", NULL), 0);
	add_service(&s, 0, "service dns added");
	add_backend(&b, 0, "");
	add_service(&web, 0, "");
	settle();
	assert_true(svc_of("dns")->flags == DP_SVC_GATE && svc_of("dns")->source_pps == 20);
	table = svc_of("dns")->table;
	assert_true(table & DP_TABLE_VALID);
	agent_service_set(current->agent, "dns", two, 2, on_answer, NULL);
	expect(0, "service dns has hash=source pps=500 source_pps=20");
	settle();
	assert_true(svc_of("dns")->pps == 500 && svc_of("dns")->source_pps == 20 &&
		    svc_of("dns")->hash == DP_HASH_SOURCE);
	assert_true(svc_of("dns")->table == table);
	agent_service_set(current->agent, "dns", half, 2, on_answer, NULL);
	expect(-EINVAL, "policy rows: got '7'");
	settle();
	assert_int_equal(svc_of("dns")->pps, 500);
	set_policy("dns", "pps=500", 0, "nothing to change");
	set_policy("dns", "syn_pps=5", -EINVAL, "no TCP port");
	set_policy("web", "hash=packet", -EINVAL, "has a TCP port");
	set_policy("nope", "pps=5", -ENOENT, "no service nope");
	set_policy("dns", "closed=on", 0, "no filter of its own allows a source");
	set_policy("dns", "pps=off", 0, "service dns has hash=source source_pps=20 closed=on");
	settle();
	assert_true(svc_of("dns")->pps == 0);
	/* Kept by the store. */
	node_stop(*state);
	node_start(*state, true);
	fwd_connect(DP_ABI_VERSION);
	turn_until(is_ready);
	assert_true(svc_of("dns")->source_pps == 20 &&
		    svc_of("dns")->flags == (DP_SVC_GATE | DP_SVC_CLOSED));
	node_stop(*state);
}

static int answers;

static void count_answer(int status, const char *text, void *arg)
{
	(void)text;
	(void)arg;
	assert_int_equal(status, 0);
	answers++;
}

static bool both_answered(void)
{
	return answers == 2;
}

static void test_service_set_when_two_at_once_then_both_stand(void **state)
{
	struct model_service s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 53);
	const char *const one = "pps=5", *const two = "source_pps=6";

	node_ready(*state);
	add_service(&s, 0, "");
	agent_service_set(current->agent, "dns", &one, 1, count_answer, NULL);
	agent_service_set(current->agent, "dns", &two, 1, count_answer, NULL);
	turn_until(both_answered);
	settle();
	assert_true(svc_of("dns")->pps == 5 && svc_of("dns")->source_pps == 6);
	node_stop(*state);
}

static void test_service_add_when_policy_does_not_fit_then_refused(void **state)
{
	struct model_service s = service("web", "198.51.100.2", IPPROTO_TCP, 80, 80);

	node_start(*state, false);
	s.hash = DP_HASH_PACKET;
	add_service(&s, -EINVAL, "policy hash=packet: the service has a TCP port");
	node_stop(*state);
}

static void test_filter_when_added_and_removed_then_lists_and_flags_follow(void **state)
{
	struct model_service s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 53);
	const void *cursor = NULL;
	size_t n = 0;

	node_ready(*state);
	add_service(&s, 0, "");
	add_filter("dns", "192.0.2.0/24", DP_FILTER_DENY, 0,
		   "192.0.2.0/24 is denied for service dns");
	settle();
	assert_int_equal(on_list("dns", "192.0.2.0/24"), DP_FILTER_DENY);
	assert_int_equal(svc_of("dns")->flags, DP_SVC_GATE | DP_SVC_FILTER);
	assert_int_equal(maps->flags, 0);
	add_filter("dns", "192.0.2.0/24", DP_FILTER_ALLOW, 0, "the other way round before");
	add_filter("", "2001:db8::/32", DP_FILTER_DENY, 0,
		   "2001:db8::/32 is denied for every service");
	settle();
	assert_int_equal(on_list("dns", "192.0.2.0/24"), DP_FILTER_ALLOW);
	assert_int_equal(on_list("", "2001:db8::/32"), DP_FILTER_DENY);
	assert_int_equal(maps->flags, DP_CTL_FILTER);
	assert_int_equal(maps->set[MAPW_FILTER].count, 2);
	while (agent_filter_next(current->agent, &cursor))
		n++;
	assert_int_equal(n, 2);
	add_filter("nope", "192.0.2.0/24", DP_FILTER_DENY, -ENOENT, "no service nope");
	rm_filter("dns", "192.0.3.0/24", -ENOENT, "192.0.3.0/24 is not on the list of service dns");
	rm_filter("dns", "192.0.2.0/24", 0, "is off the list of service dns");
	rm_filter("", "2001:db8::/32", 0, "is off the list of every service");
	settle();
	assert_int_equal(maps->set[MAPW_FILTER].count, 0);
	assert_int_equal(svc_of("dns")->flags, 0);
	assert_int_equal(maps->flags, 0);
	add_filter("dns", "192.0.2.0/24", DP_FILTER_DENY, 0, "");
	agent_service_rm(current->agent, "dns", on_answer, NULL);
	expect(0, "service dns removed; its filters (1) stay listed");
	node_stop(*state);
}

/* What a former process left in the maps, and what only it knew. */
static void test_filter_when_restarted_then_map_is_read_back(void **state)
{
	struct model_service s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 53);
	struct dp_filter_key stray = {.prefix_bits = 32 + 128, .svc_id = 77};

	node_ready(*state);
	add_service(&s, 0, "");
	add_filter("dns", "192.0.2.0/24", DP_FILTER_DENY, 0, "");
	add_filter("", "192.0.3.0/24", DP_FILTER_DENY, 0, "");
	settle();
	node_stop(*state);
	set_put(&maps->set[MAPW_FILTER], &stray, 1);
	maps->writes = 0;
	node_start(*state, true);
	fwd_connect(DP_ABI_VERSION);
	turn_until(is_ready);
	assert_int_equal(on_list("dns", "192.0.2.0/24"), DP_FILTER_DENY);
	assert_int_equal(maps->set[MAPW_FILTER].count, 2);
	assert_int_equal(maps->writes, 1); /* the stray one went */
	assert_int_equal(maps->flags, DP_CTL_FILTER);
	node_stop(*state);
}

static void test_filter_when_too_many_then_shown_and_those_in_force_stay(void **state)
{
	struct model_service s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 53);
	struct agent_view v;
	char prefix[32];

	node_ready(*state);
	add_service(&s, 0, "");
	for (int i = 0; i < 32; i++) {
		snprintf(prefix, sizeof(prefix), "10.0.%d.0/24", i);
		add_filter("dns", prefix, DP_FILTER_DENY, 0, "");
	}
	v = settle();
	assert_int_equal(v.problem_count, 0);
	assert_int_equal(maps->set[MAPW_FILTER].count, 32);
	rm_filter("dns", "10.0.0.0/24", 0, "");
	add_filter("dns", "10.0.32.0/24", DP_FILTER_DENY, 0, "");
	add_filter("dns", "10.0.33.0/24", DP_FILTER_DENY, 0, "");
	v = settle();
	assert_int_equal(v.problem_count, 1);
	assert_non_null(strstr(v.problem[0], "not written in full: filters: 33 are wanted, the map "
					     "has room for 32"));
	assert_int_equal(maps->set[MAPW_FILTER].count, 32);
	/* Other changes go on. */
	set_policy("dns", "pps=9", 0, "");
	v = settle();
	assert_int_equal(svc_of("dns")->pps, 9);
	rm_filter("dns", "10.0.33.0/24", 0, "");
	v = settle();
	assert_int_equal(v.problem_count, 0);
	assert_int_equal(on_list("dns", "10.0.32.0/24"), DP_FILTER_DENY);
	assert_int_equal(on_list("dns", "10.0.0.0/24"), -1);
	node_stop(*state);
}

static void test_filter_when_a_write_fails_then_tried_again(void **state)
{
	struct model_service s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 53);
	struct agent_view v;

	node_ready(*state);
	add_service(&s, 0, "");
	settle();
	set_fail = -ENOMEM;
	add_filter("dns", "192.0.2.0/24", DP_FILTER_DENY, 0, "");
	v = settle();
	assert_int_equal(set_fail, 0);
	assert_int_equal(v.problem_count, 1);
	assert_non_null(strstr(v.problem[0], "filters: the map can't be written: Cannot allocate"));
	v = settle();
	assert_int_equal(v.problem_count, 0);
	assert_int_equal(on_list("dns", "192.0.2.0/24"), DP_FILTER_DENY);
	node_stop(*state);
}

static void test_quic_when_on_then_ids_name_backends(void **state)
{
	struct model_service s = service("h3", "198.51.100.1", IPPROTO_UDP, 443, 443);
	struct model_backend a = backend("h3", "10.80.0.1", 443),
			     b = backend("h3", "10.80.0.1", 444),
			     c = backend("h3", "10.80.0.1", 445);
	const struct fake_set *set = &maps->set[MAPW_QUIC];
	uint32_t id[2], value = 0;
	struct dp_quic_key k;

	node_ready(*state);
	add_service(&s, 0, "");
	b.quic_id = 0xa1b2c3d4;
	add_backend(&a, 0, "");
	add_backend(&b, 0, "");
	c.quic_id = 0xa1b2c3d4;
	add_backend(&c, -EEXIST, "quic id a1b2c3d4 is that of node a's backend 10.80.0.1:444");
	settle();
	assert_int_equal(set->count, 0);
	set_policy("h3", "quic=on", 0, "quic=on");
	settle();
	assert_int_equal(set->count, 2);
	assert_int_equal(svc_of("h3")->flags, DP_SVC_QUIC);
	assert_int_equal(quic_ids(&current->agent->world->view, id), 0);
	for (uint32_t i = 0; i < 2; i++) {
		memcpy(&k, set->key[i], sizeof(k));
		assert_true(k.svc_id == plan_svc_id("h3") && k.family == 4);
		assert_true(k.server_id == id[0] || k.server_id == id[1]);
		if (k.server_id == 0xa1b2c3d4)
			value = set->value[i];
	}
	assert_true(value == plan_backend_idx(current->agent->plan, &current->agent->self,
					      "h3/10.80.0.1:444"));
	assert_int_equal(DP_BE_STATE(maps->backend[value]), DP_BE_UP);
	/* A backend that is gone must be named by nothing when its index is used again. */
	agent_backend_rm(current->agent, "h3/10.80.0.1:444", on_answer, NULL);
	expect(0, "removed");
	settle();
	assert_int_equal(set->count, 1);
	set_policy("h3", "quic=off", 0, "");
	settle();
	assert_int_equal(set->count, 0);
	node_stop(*state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_service_set_when_changed_then_in_the_maps_at_once),
		CASE(test_service_set_when_two_at_once_then_both_stand),
		CASE(test_service_add_when_policy_does_not_fit_then_refused),
		CASE(test_filter_when_added_and_removed_then_lists_and_flags_follow),
		CASE(test_filter_when_restarted_then_map_is_read_back),
		CASE(test_filter_when_too_many_then_shown_and_those_in_force_stay),
		CASE(test_filter_when_a_write_fails_then_tried_again),
		CASE(test_quic_when_on_then_ids_name_backends),
	};

	return cmocka_run_group_tests_name("agent_policy", tests, setup_net, NULL);
}
