/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Other regions by their summaries: what becomes of them in the view, the routes and the maps; who is believed; what a
 * restart remembers; and this region's own. */
#define FAKE_STATE_DIR
#define FAKE_REGIONS
#include "edge/summary.h"
#include "tests/unit/agent_fake.h"

/* A region of up to four nodes with one backend each of the service dns. */
struct far {
	struct node_id id[4];
	size_t count;
	enum model_health_state health[4];
};

static void id_of_key(uint8_t key, struct node_id *ret_id, uint8_t pub[NODE_PUB_BYTES])
{
	const uint8_t seed[SEAL_KEY_BYTES] = {key};
	struct node_key *k;

	assert_int_equal(node_key_from_seed(seed, &k), 0);
	node_key_pub(k, pub);
	node_id_of_pub(pub, ret_id);
	node_key_free(k);
}

static struct far far_region(size_t count)
{
	struct far f = {.count = count};
	uint8_t pub[NODE_PUB_BYTES];

	for (size_t i = 0; i < count; i++) {
		id_of_key((uint8_t)(60 + i), &f.id[i], pub);
		f.health[i] = MODEL_HEALTH_PASSING;
	}
	return f;
}

static struct ip_addr v4(const char *text)
{
	struct ip_addr a;

	assert_int_equal(ip_parse(text, &a), 0);
	return a;
}

/* The bytes of its summary, and their hash. */
static uint8_t *value_of(const char *region, const struct far *f, struct gossip_summary *s)
{
	struct summary_from_node node[4];
	struct summary_from_backend backend[4];
	struct model_node m[4];
	struct model_backend b[4];
	struct summary_from from = {.node = node, .backend = backend};
	uint8_t hash[16], *value;
	char text[32];

	memset(m, 0, sizeof(m));
	memset(b, 0, sizeof(b));
	for (size_t i = 0; i < f->count; i++) {
		snprintf(m[i].name, sizeof(m[i].name), "%s-%zu", region, i);
		snprintf(m[i].region, sizeof(m[i].region), "%s", region);
		snprintf(text, sizeof(text), "10.90.%u.%zu", region[0], i + 1);
		m[i].mesh_addr = v4(text);
		m[i].is_edge = m[i].has_forwarder = true;
		memset(m[i].wg_pub, (int)i + 1, sizeof(m[i].wg_pub));
		m[i].wg_addr = v4("10.1.0.1");
		m[i].wg_port = 51820;
		snprintf(b[i].service, sizeof(b[i].service), "dns");
		b[i].addr = m[i].mesh_addr;
		b[i].port = 53;
		b[i].weight = 100;
		b[i].token = (uint32_t)i + 7;
		model_check_default(MODEL_CHECK_TCP, &b[i].check);
		node[from.node_count++] = (struct summary_from_node){f->id[i], &m[i]};
		backend[from.backend_count++] = (struct summary_from_backend){
			.id = f->id[i], .backend = &b[i], .health = f->health[i]};
	}
	assert_int_equal(summary_encode(&from, SUMMARY_VALUE_MAX, &value, &s->len), 0);
	node_key_signer(current->key).hash(NULL, value, s->len, hash);
	memcpy(s->version.hash, hash, sizeof(s->version.hash));
	return value;
}

/* Under version `marks`, as it comes out of the core. */
static void tell(const char *region, const struct far *f, uint64_t marks)
{
	struct gossip_summary s = {.version = {.lives = 100, .marks = marks}};
	uint8_t *value = value_of(region, f, &s);

	snprintf(s.region, sizeof(s.region), "%s", region);
	s.value = value;
	assert_int_equal(gossip_core_load_summary(current->core, &s), 0);
	pump();
	free(value);
}

static void tell_region(const char *name, bool is_dead, const struct node_id *down)
{
	struct gossip_region g = {.is_dead = is_dead, .down_count = down ? 1 : 0};
	struct gossip_event ev = {.kind = GOSSIP_EV_REGION, .region = &g};

	snprintf(g.name, sizeof(g.name), "%s", name);
	if (down)
		memcpy(g.down[0], down->b, sizeof(g.down[0]));
	agent_event(&ev, current->agent);
}

static void add_dns(void)
{
	struct model_service s = {.name = "dns", .vip_count = 1, .port_count = 1};

	s.vip[0] = v4("198.51.100.53");
	s.port[0].l4_proto = IPPROTO_UDP;
	s.port[0].ports = (struct ip_port_range){53, 53};
	answer.is_in = false;
	agent_service_add(current->agent, &s, on_answer, NULL);
	expect(0, "");
}

/* How many backends the routes of dns use. */
static size_t used(void)
{
	struct agent_view v;

	agent_look(current->agent, &v);
	return v.routes->entry_count ? v.routes->entry[0].used_count : 0;
}

static uint8_t map_state(const struct node_id *id)
{
	for (size_t i = 0; i < 64; i++)
		if (maps->node[i].node_num == plan_node_num(id))
			return (uint8_t)maps->node[i].state;
	return 255;
}

static void test_summary_when_it_comes_then_its_ways_are_routes_until_the_next_one(void **state)
{
	struct far f = far_region(3);
	char name[MODEL_NAME_MAX];

	node_ready(*state);
	add_dns();
	assert_int_equal(used(), 0);
	tell("nyc", &f, 1);
	assert_int_equal(used(), 3);
	assert_int_equal(map_state(&f.id[2]), DP_NODE_UP);
	assert_string_equal(agent_node_name(current->agent, &f.id[1], name), "nyc-1");
	f.health[1] = MODEL_HEALTH_FAILING;
	tell("nyc", &f, 2);
	assert_int_equal(used(), 2);
	f.count = 1;
	tell("nyc", &f, 3);
	assert_int_equal(used(), 1);
	assert_null(agent_regions_node(current->agent, &f.id[2]));
	tell("nyc", &f, 2); /* older */
	assert_int_equal(used(), 1);
	node_stop(*state);
}

static void
test_region_when_nodes_or_all_of_it_fall_then_words_first_and_routes_follow(void **state)
{
	struct far f = far_region(3);

	node_ready(*state);
	add_dns();
	tell("nyc", &f, 1);
	assert_int_equal(used(), 3);
	tell_region("nyc", false, &f.id[1]);
	assert_int_equal(map_state(&f.id[1]), DP_NODE_SUSPECT); /* nothing was computed yet */
	assert_int_equal(map_state(&f.id[0]), DP_NODE_UP);
	assert_int_equal(used(), 2);
	tell_region("nyc", true, NULL);
	assert_int_equal(map_state(&f.id[0]), DP_NODE_DOWN);
	assert_int_equal(used(), 0);
	tell_region("nyc", false, NULL);
	assert_int_equal(used(), 3);
	assert_int_equal(map_state(&f.id[1]), DP_NODE_UP);
	node_stop(*state);
}

static void
test_summary_when_two_name_a_node_then_members_and_lower_names_are_believed(void **state)
{
	struct far f = far_region(2);
	struct gossip_member m = {.generation = 5, .state = GOSSIP_ALIVE};

	node_ready(*state);
	add_dns();
	tell("zzz", &f, 1);
	assert_int_equal(used(), 2);
	assert_string_equal(agent_regions_node(current->agent, &f.id[0])->node.region, "zzz");
	f.count = 1;
	tell("nyc", &f, 1);
	assert_int_equal(used(), 1); /* that of nyc, which is the nearer one */
	assert_string_equal(agent_regions_node(current->agent, &f.id[0])->node.region, "nyc");
	assert_string_equal(agent_regions_node(current->agent, &f.id[1])->node.region, "zzz");
	/* It is one of this region now, and has said nothing of backends. */
	id_of_key(60, &m.id, m.pub);
	snprintf(m.name, sizeof(m.name), "near");
	snprintf(m.region, sizeof(m.region), "r1");
	memcpy(m.addr.ip, v4("10.80.0.9").b, sizeof(m.addr.ip));
	m.addr.port = 7946;
	assert_int_equal(gossip_core_load_member(current->core, &m), 0);
	pump();
	agent_kick(current->agent, true);
	assert_int_equal(used(), 1);
	assert_false(agent_regions_node(current->agent, &f.id[0])->is_summary);
	node_stop(*state);
}

/* Asked of edgefwd last, by mesh address. */
static const struct fwd_msg *peer_asked(const char *mesh_addr)
{
	struct ip_addr a = v4(mesh_addr);

	for (size_t i = sent_count; i > 0; i--)
		if (sent[i - 1].kind == FWD_WGPEER && !memcmp(sent[i - 1].addr, a.b, sizeof(a.b)))
			return &sent[i - 1];
	return NULL;
}

static void test_summary_when_wireguard_is_managed_then_its_nodes_become_peers(void **state)
{
	struct far f = far_region(2);
	uint8_t key[32];

	node_ready(*state);
	current->agent->cfg.manage_wireguard = true;
	add_dns();
	tell("nyc", &f, 1);
	assert_int_equal(used(), 2);
	memset(key, 2, sizeof(key));
	assert_non_null(peer_asked("10.90.110.2"));
	assert_int_equal(peer_asked("10.90.110.2")->verb, FWD_WG_SET);
	assert_memory_equal(peer_asked("10.90.110.2")->wg_pub, key, sizeof(key));
	assert_int_equal(peer_asked("10.90.110.2")->endpoint_port, 51820);
	f.count = 1;
	tell("nyc", &f, 2);
	assert_int_equal(used(), 1);
	assert_int_equal(peer_asked("10.90.110.2")->verb, FWD_WG_DEL);
	assert_int_equal(peer_asked("10.90.110.1")->verb, FWD_WG_SET);
	node_stop(*state);
}

static void test_summary_when_a_number_is_taken_then_left_out_and_named(void **state)
{
	struct far f = far_region(2);
	struct agent_view v;

	node_ready(*state);
	add_dns();
	memcpy(f.id[1].b, current->agent->self.b, 4);
	tell("nyc", &f, 1);
	assert_int_equal(used(), 1);
	agent_look(current->agent, &v);
	assert_true(v.problem_count > 0);
	for (size_t i = 0; i < v.problem_count; i++)
		if (strstr(v.problem[i], "node nyc-1 (nyc) has the number of node a (r1)"))
			i = v.problem_count = 0;
	assert_int_equal(v.problem_count, 0);
	node_stop(*state);
}

static void test_summary_when_it_ended_the_process_then_held_until_it_is_let_out(void **state)
{
	struct far f = far_region(2);
	struct gossip_summary s = {.region = "nyc"};
	struct agent_quarantined q;
	struct err e = {0};
	uint8_t *value;

	node_ready(*state);
	add_dns();
	tell("nyc", &f, 1);
	f.count = 1;
	value = value_of("nyc", &f, &s);
	/* As a life before this one left it. */
	poison_hold(current->agent->poison,
		    &(struct record){.kind = AGENT_KIND_SUMMARY,
				     .key = (const uint8_t *)"nyc",
				     .key_len = 3,
				     .value = s.version.hash,
				     .value_len = sizeof(s.version.hash)},
		    POISON_DEATH, NULL, 0);
	free(value);
	tell("nyc", &f, 2);
	assert_int_equal(used(), 2);
	assert_true(agent_quarantine_at(current->agent, 0, &q));
	assert_true(q.is_death);
	assert_int_equal(agent_quarantine_release(current->agent, "summary/nyc", &e), 0);
	assert_int_equal(used(), 1);
	node_stop(*state);
}

static void test_open_when_summaries_are_on_disk_then_routes_before_anyone_is_heard(void **state)
{
	struct far f = far_region(3);
	struct node *n = *state;

	node_ready(n);
	add_dns();
	tell("nyc", &f, 1);
	assert_int_equal(used(), 3);
	node_stop(n);
	node_start(n, true);
	assert_int_equal(used(), 3);
	node_stop(n);
}

static void test_summary_when_it_cant_be_read_then_held_and_the_former_stays(void **state)
{
	static const uint8_t bad[] = {0x82, 0xa1, 'n', 0xdd, 4, 0, 0, 0};
	struct gossip_summary s = {.region = "nyc",
				   .version = {.lives = 100, .marks = 9},
				   .value = bad,
				   .len = sizeof(bad)};
	struct far f = far_region(2);
	struct agent_quarantined q;
	uint8_t hash[16];

	node_ready(*state);
	add_dns();
	tell("nyc", &f, 1);
	node_key_signer(current->key).hash(NULL, bad, sizeof(bad), hash);
	memcpy(s.version.hash, hash, sizeof(s.version.hash));
	assert_int_equal(gossip_core_load_summary(current->core, &s), 0);
	pump();
	assert_int_equal(used(), 2);
	assert_true(agent_quarantine_at(current->agent, 0, &q));
	assert_string_equal(q.spec, "summary/nyc");
	f.count = 1;
	tell("nyc", &f, 10);
	assert_int_equal(used(), 1);
	assert_false(agent_quarantine_at(current->agent, 0, &q));
	node_stop(*state);
}

static struct gossip_region own;

static bool is_said(void)
{
	pump();
	gossip_core_region_at(current->core, 0, &own);
	return own.has_value;
}

static void test_own_when_records_are_there_then_a_summary_of_them_is_put(void **state)
{
	struct summary *s;

	node_ready(*state);
	turn_until(is_said);
	assert_true(own.is_own);
	assert_int_equal(summary_decode(own.value, own.len, &s), 0);
	assert_int_equal(s->node_count, 1);
	assert_string_equal(s->node[0].node.name, "a");
	assert_int_equal(node_id_cmp(&s->node[0].id, &current->agent->self), 0);
	summary_free(s);
	node_stop(*state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_summary_when_it_comes_then_its_ways_are_routes_until_the_next_one),
		CASE(test_region_when_nodes_or_all_of_it_fall_then_words_first_and_routes_follow),
		CASE(test_summary_when_two_name_a_node_then_members_and_lower_names_are_believed),
		CASE(test_summary_when_wireguard_is_managed_then_its_nodes_become_peers),
		CASE(test_summary_when_a_number_is_taken_then_left_out_and_named),
		CASE(test_summary_when_it_ended_the_process_then_held_until_it_is_let_out),
		CASE(test_open_when_summaries_are_on_disk_then_routes_before_anyone_is_heard),
		CASE(test_summary_when_it_cant_be_read_then_held_and_the_former_stays),
		CASE(test_own_when_records_are_there_then_a_summary_of_them_is_put),
	};

	return cmocka_run_group_tests_name("agent_regions", tests, setup_net, NULL);
}
