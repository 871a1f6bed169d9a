/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The agent with a real core, store and checks; loop, maps and edgefwd are memory, time is set by hand. */
#include "tests/unit/agent_fake.h"

#define KIND_OF_NOBODY 5 /* an own record's kind, none of ours */

/* ---- tests */

static void test_open_when_alone_then_makes_one_seed_and_keeps_it(void **state)
{
	struct node *n = *state;
	struct model_seed seed;

	node_start(n, true);
	assert_null(agent_seed(n->agent));
	now_ms += 2500;
	turn_until(has_seed);
	seed = *agent_seed(n->agent);
	node_stop(n);
	node_start(n, true);
	assert_non_null(agent_seed(n->agent));
	assert_memory_equal(&seed, agent_seed(n->agent), sizeof(seed));
	node_stop(n);
}

static void test_service_add_when_wrong_then_refused_with_a_reason(void **state)
{
	struct model_service s;

	node_start(*state, false);
	s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 53);
	add_service(&s, 0, "service dns added");
	add_service(&s, -EEXIST, "service dns exists already");
	s = service("other", "198.51.100.1", IPPROTO_UDP, 50, 60);
	add_service(&s, -EEXIST, "vip 198.51.100.1 udp/53 belongs to service dns");
	s = service("other", "198.51.100.1", IPPROTO_TCP, 53, 53);
	add_service(&s, 0, "service other added");
	s = service("Bad_Name", "198.51.100.2", IPPROTO_TCP, 53, 53);
	add_service(&s, -EINVAL, "got 'Bad_Name'");
	s = service("lo", "127.0.0.1", IPPROTO_TCP, 53, 53);
	add_service(&s, -EINVAL, "127.0.0.1");
	s = service("mesh", "10.80.0.1", IPPROTO_TCP, 53, 53);
	add_service(&s, -EINVAL, "mesh address of node a");
	s = service("rev", "198.51.100.2", IPPROTO_TCP, 60, 50);
	add_service(&s, -EINVAL, "tcp/60-50");
	s = service("outside", "203.0.113.1", IPPROTO_TCP, 53, 53);
	add_service(&s, 0, "no vip_prefix");
	agent_service_rm(current->agent, "nobody", on_answer, NULL);
	expect(-ENOENT, "no service nobody");
	agent_service_rm(current->agent, "dns", on_answer, NULL);
	expect(0, "service dns removed");
	s = service("again", "198.51.100.1", IPPROTO_UDP, 53, 53);
	add_service(&s, 0, "service again added");
	node_stop(*state);
}

static void test_backend_add_when_wrong_then_refused_with_a_reason(void **state)
{
	struct model_service s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 54);
	struct model_backend b;

	node_start(*state, false);
	b = backend("dns", "10.80.0.1", 5353);
	add_backend(&b, -ENOENT, "no service dns");
	add_service(&s, 0, "");
	b = backend("dns", "127.0.0.1", 5353);
	add_backend(&b, -EINVAL, "loopback");
	b = backend("dns", "fd80::1", 5353);
	add_backend(&b, -EINVAL, "no IPv6 VIP");
	b = backend("dns", "10.80.0.7", 5353);
	add_backend(&b, -EHOSTUNREACH, "eagt-u0");
	b = backend("dns", "10.80.0.1", 65535);
	add_backend(&b, -EINVAL, "beyond 65535");
	b = backend("dns", "10.80.0.1", 5353);
	b.weight = 0;
	add_backend(&b, -EINVAL, "weight");
	b = backend("dns", "10.80.0.1", 5353);
	add_backend(&b, 0, "backend dns/10.80.0.1:5353 added");
	add_backend(&b, -EEXIST, "exists already");
	agent_backend_weight(current->agent, "dns/10.80.0.1:5353", 0, on_answer, NULL);
	expect(-EINVAL, "weight: got 0, want 1 to 1000");
	agent_backend_weight(current->agent, "dns/10.80.0.9:1", 5, on_answer, NULL);
	expect(-ENOENT, "no backend dns/10.80.0.9:1");
	agent_backend_weight(current->agent, "dns/10.80.0.1:5353", 250, on_answer, NULL);
	expect(0, "weight 250 now, had 100");
	agent_backend_rm(current->agent, "dns/10.80.0.9:1", on_answer, NULL);
	expect(-ENOENT, "no backend dns/10.80.0.9:1");
	agent_backend_rm(current->agent, "what", on_answer, NULL);
	expect(-EINVAL, "got 'what'");
	agent_backend_rm(current->agent, "b/dns/10.80.0.1:5353", on_answer, NULL);
	expect(-ENOENT, "node b has no backend");
	agent_backend_rm(current->agent, "a/dns/10.80.0.1:5353", on_answer, NULL);
	expect(0, "removed");
	node_stop(*state);
}

/* What the table of records has no room for is refused whole: nothing stays behind, so that it can be tried again. */
static void test_backend_add_when_records_are_full_then_nothing_stays(void **state)
{
	static const uint8_t empty_map = 0x80;
	struct model_service s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 53);
	struct model_backend b = backend("dns", "10.80.0.1", 5353);
	int err = 0;

	node_start(*state, false);
	add_service(&s, 0, "");
	for (unsigned i = 0; !err && i < 1u << 20; i++) {
		char key[32];

		snprintf(key, sizeof(key), "fill-%u", i);
		err = gossip_core_put(current->core, now_ms, KIND_OF_NOBODY, key, &empty_map, 1,
				      false);
	}
	assert_int_equal(err, -ENOSPC);
	for (int i = 0; i < 2; i++) {
		add_backend(&b, -ENOSPC, "can't be written");
		assert_int_equal(current->agent->own_count, 0);
	}
	node_stop(*state);
}

/* The state that maps hold for the one backend, or -1. */
static int word_state(void)
{
	const struct own_backend *o = TAILQ_FIRST(&current->agent->own);

	for (size_t i = 1; o && i < sizes.backends; i++)
		if (maps->backend[i] && DP_BE_TOKEN(maps->backend[i]) == o->model.token)
			return (int)DP_BE_STATE(maps->backend[i]);
	return -1;
}

static bool is_word_up(void)
{
	return word_state() == DP_BE_UP;
}

static bool is_word_dead(void)
{
	return word_state() == DP_BE_DEAD || word_state() == -1;
}

static int listen_on(const char *addr, uint16_t port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	inet_pton(AF_INET, addr, &sa.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(fd, 16), 0);
	return fd;
}

static size_t count_sent(uint8_t verb)
{
	size_t n = 0;

	for (size_t i = 0; i < sent_count; i++)
		n += sent[i].kind == FWD_VIP && sent[i].verb == verb;
	return n;
}

static bool is_withdrawn(void)
{
	return count_sent(FWD_VIP_DEL) == 1;
}

static bool is_announced(void)
{
	return count_sent(FWD_VIP_ADD) == 1;
}

/* A range split over instances: each is alone with its part, and its slot leads to the part's entry. */
static void test_backend_add_when_it_takes_a_part_then_its_slot_names_the_entry(void **state)
{
	struct model_service s = service("voice", "198.51.100.1", IPPROTO_UDP, 5000, 6999);
	static const struct ip_port_range part[2] = {{5000, 5999}, {6000, 6999}};
	struct model_backend b;
	struct agent_view v;

	node_ready(*state);
	add_service(&s, 0, "");
	b = backend("voice", "10.80.0.1", 65000);
	b.ports = part[0];
	add_backend(&b, -EINVAL, "5000 to 5999 would go beyond 65535");
	b.ports = (struct ip_port_range){7000, 7999};
	add_backend(&b, -EINVAL, "ports 7000-7999: service voice has none of them");
	b = backend("voice", "10.80.0.1", 20000);
	b.ports = part[0];
	add_backend(&b, 0, "added");
	b = backend("voice", "10.80.0.1", 30000);
	b.ports = (struct ip_port_range){5500, 6999};
	add_backend(&b, -EINVAL, "takes 5000-5999");
	b.ports = part[1];
	add_backend(&b, 0, "added");
	agent_look(current->agent, &v);
	for (size_t i = 0, found = 0; i < DP_LOCAL_MAX; i++) {
		const struct dp_local *l = &maps->local[i];
		size_t k = l->port == 30000;

		found += l->live;
		if (i + 1 == DP_LOCAL_MAX)
			assert_int_equal(found, 2);
		if (!l->live)
			continue;
		assert_int_equal(l->svc_idx, plan_svc_idx(v.plan, "voice", 4, part[k]));
		assert_int_equal(maps->svc[l->svc_idx].port_lo, part[k].lo);
		assert_int_equal(maps->svc[l->svc_idx].local_slot, 1 + i);
	}
	node_stop(*state);
}

static void test_backend_when_it_falls_then_word_vip_and_record_follow(void **state)
{
	struct model_service s = service("web", "198.51.100.1", IPPROTO_TCP, 80, 80);
	struct model_backend b = backend("web", "10.80.0.1", 8080);
	const union fact_value *h;
	struct dp_local *local;
	struct record r;
	int fd = listen_on("10.80.0.1", 8080);

	node_ready(*state);
	assert_int_equal(count_sent(FWD_VIP_ADD), 0);
	assert_int_equal(count_sent(FWD_VIP_SYNC_END), 1);
	add_service(&s, 0, "");
	model_check_default(MODEL_CHECK_TCP, &b.check);
	b.check.interval_ms = 100;
	b.check.timeout_ms = 50;
	b.check.rise = b.check.fall = 1;
	add_backend(&b, 0, "");
	turn_until(is_word_up);
	turn_until(is_announced);
	assert_true(gossip_core_get_record(current->core, &current->agent->self, MODEL_KIND_BACKEND,
					   "web/10.80.0.1:8080", &r));
	local = &maps->local[DP_TOKEN_SLOT(TAILQ_FIRST(&current->agent->own)->model.token)];
	assert_int_equal(local->live, 1);
	assert_int_equal(local->port, 8080);
	assert_int_equal(local->ifindex, 0);
	assert_int_not_equal(local->svc_idx, 0);
	assert_int_not_equal(maps->svc[local->svc_idx].table, 0);
	close(fd);
	turn_until(is_word_dead);
	turn_until(is_withdrawn);
	h = agent_fact_find(current->agent, &current->agent->self, MODEL_KIND_HEALTH,
			    "web/10.80.0.1:8080");
	assert_non_null(h);
	assert_int_equal(h->health.state, MODEL_HEALTH_FAILING);
	node_stop(*state);
}

static bool is_announced_again(void)
{
	return count_sent(FWD_VIP_SYNC_END) == 1 && is_ready();
}

static void test_open_when_maps_are_filled_then_writes_nothing(void **state)
{
	struct model_service s = service("web", "198.51.100.1", IPPROTO_TCP, 80, 80);
	struct model_service range = service("game", "198.51.100.2", IPPROTO_UDP, 5000, 5999);
	struct model_backend b = backend("web", "10.80.0.1", 8080),
			     g = backend("game", "10.81.0.7", 7000);
	struct fake_maps *before = malloc(sizeof(*before));
	struct agent_view v;

	node_ready(*state);
	add_service(&s, 0, "");
	add_service(&range, 0, "");
	add_backend(&b, 0, "");
	add_backend(&g, 0, "");
	turn_until(is_word_up);
	agent_look(current->agent, &v);
	/* What rested is cleared first, so that the maps are at rest. */
	now_ms += 5000;
	agent_compute(current->agent);
	node_stop(*state);
	memcpy(before, maps, sizeof(*maps));
	maps->writes = 0;
	sent_count = 0;

	node_start(*state, true);
	assert_true(current->agent->cfg.self.has_forwarder);
	fwd_connect(DP_ABI_VERSION);
	turn_until(is_announced_again);
	assert_int_equal(count_sent(FWD_VIP_ADD), 2);
	assert_int_equal(maps->writes, 0);
	assert_memory_equal(before, maps, offsetof(struct fake_maps, writes));
	free(before);
	node_stop(*state);
}

static void test_write_when_a_map_refuses_then_tried_again(void **state)
{
	struct model_service s = service("web", "198.51.100.1", IPPROTO_TCP, 80, 80);
	struct model_backend b = backend("web", "10.80.0.1", 8080);
	struct agent_view v;

	node_ready(*state);
	maps->fail = -E2BIG;
	add_service(&s, 0, "");
	agent_look(current->agent, &v);
	assert_int_equal(maps->fail, 0);
	assert_true(v.problem_count >= 1);
	assert_non_null(strstr(v.problem[0], "maps are not written"));
	add_backend(&b, 0, "");
	turn_until(is_word_up);
	agent_look(current->agent, &v);
	assert_int_equal(v.problem_count, 0);
	node_stop(*state);
}

static void test_look_when_edgefwd_is_stuck_then_named(void **state)
{
	struct agent_view v;

	node_ready(*state);
	agent_look(current->agent, &v);
	assert_int_equal(v.problem_count, 0);
	the_beat_s = 1; /* a second after the machine started */
	agent_look(current->agent, &v);
	the_beat_s = 0;
	assert_int_equal(v.problem_count, 1);
	assert_non_null(strstr(v.problem[0], "edgefwd is stuck"));
	node_stop(*state);
}

static void test_up_when_abi_differs_then_nothing_is_written(void **state)
{
	struct agent_view v;

	node_start(*state, true);
	now_ms += 3000;
	turn_until(has_seed);
	fwd_connect(DP_ABI_VERSION + 1);
	agent_look(current->agent, &v);
	assert_false(v.is_ready);
	assert_int_equal(maps->writes, 0);
	assert_non_null(strstr(v.problem[0], "layout"));
	node_stop(*state);
}

static void test_record_when_unreadable_then_former_stays_and_is_shown(void **state)
{
	struct model_service s = service("web", "198.51.100.1", IPPROTO_TCP, 80, 80);
	struct gossip_event ev = {.kind = GOSSIP_EV_RECORD};
	static const uint8_t poison[] = {0x81, 0xa1, 'x', 0xc1};
	struct agent_view v;

	node_start(*state, false);
	add_service(&s, 0, "");
	ev.record = (struct record){.kind = MODEL_KIND_SERVICE,
				    .seq = 99,
				    .key = (const uint8_t *)"web",
				    .key_len = 3,
				    .value = poison,
				    .value_len = sizeof(poison)};
	assert_int_equal(agent_fact_apply(current->agent, &ev.record), AGENT_SAME);
	agent_look(current->agent, &v);
	assert_int_equal(v.view->service_count, 1);
	assert_int_equal(v.problem_count, 1);
	assert_non_null(strstr(v.problem[0], "service record"));
	assert_non_null(strstr(v.problem[0], "web"));
	assert_non_null(strstr(v.problem[0], "former version"));
	for (int i = 0; i < 200; i++) {
		char key[32];

		ev.record.key_len = (size_t)snprintf(key, sizeof(key), "s%d", i);
		ev.record.key = (const uint8_t *)key;
		assert_int_equal(agent_fact_apply(current->agent, &ev.record), AGENT_SAME);
	}
	assert_int_equal(poison_count(current->agent->poison), POISON_HELD_MAX);
	assert_int_equal(current->agent->quarantined_total, 201);
	node_stop(*state);
}

static void test_drain_when_own_then_no_rows_and_undrain_brings_them_back(void **state)
{
	struct model_service s = service("web", "198.51.100.1", IPPROTO_TCP, 80, 80);
	struct model_backend b = backend("web", "10.80.0.1", 8080);
	struct agent_view v;

	node_start(*state, true);
	fwd_connect(DP_ABI_VERSION);
	add_service(&s, 0, "");
	add_backend(&b, 0, "");
	agent_look(current->agent, &v);
	assert_int_equal(v.routes->entry_count, 1);
	assert_int_not_equal(v.routes->entry[0].row_count, 0);
	agent_backend_drain(current->agent, "web/10.80.0.1:8080", true, "me", "why", on_answer,
			    NULL);
	expect(0, "drains");
	agent_look(current->agent, &v);
	assert_int_equal(v.routes->entry[0].row_count, 0);
	agent_backend_drain(current->agent, "web/10.80.0.1:8080", true, "me", "why", on_answer,
			    NULL);
	expect(0, "nothing to change");
	agent_backend_drain(current->agent, "a/web/10.80.0.1:8080", false, "me", "why", on_answer,
			    NULL);
	expect(0, "serves again");
	agent_look(current->agent, &v);
	assert_int_not_equal(v.routes->entry[0].row_count, 0);
	node_stop(*state);
}

static void test_token_when_freed_then_rests_and_counts_on(void **state)
{
	struct model_service s = service("web", "198.51.100.1", IPPROTO_TCP, 80, 80);
	struct model_backend b = backend("web", "10.80.0.1", 8080);
	uint32_t first, second, third = 0;

	node_start(*state, false);
	add_service(&s, 0, "");
	add_backend(&b, 0, "");
	first = TAILQ_FIRST(&current->agent->own)->model.token;
	agent_backend_rm(current->agent, "web/10.80.0.1:8080", on_answer, NULL);
	expect(0, "");
	current->agent->next_slot = DP_TOKEN_SLOT(first) - 1;
	assert_int_equal(agent_token_new(current->agent, &second), 0);
	assert_int_not_equal(DP_TOKEN_SLOT(first), DP_TOKEN_SLOT(second));
	now_ms += AGENT_TOKEN_REST_MS + 1;
	current->agent->next_slot = DP_TOKEN_SLOT(first) - 1;
	assert_int_equal(agent_token_new(current->agent, &third), 0);
	assert_int_equal(DP_TOKEN_SLOT(first), DP_TOKEN_SLOT(third));
	assert_int_equal(DP_TOKEN_USE(third), (DP_TOKEN_USE(first) + 1) & 0x3ff);
	node_stop(*state);
}

static void test_compute_when_100_services_then_within_the_budget(void **state)
{
	struct agent_view v;

	node_ready(*state);
	for (unsigned i = 0; i < 100; i++) {
		char name[16], vip[32];
		struct model_service s;

		snprintf(name, sizeof(name), "s%u", i);
		snprintf(vip, sizeof(vip), "198.51.100.%u", i + 1);
		s = service(name, vip, IPPROTO_TCP, 80, 80);
		add_service(&s, 0, "");
		for (unsigned k = 0; k < 10; k++) {
			struct model_backend b = backend(name, "10.80.0.1", (uint16_t)(8000 + k));

			add_backend(&b, 0, "");
		}
	}
	agent_compute(current->agent);
	agent_look(current->agent, &v);
	assert_int_equal(v.view->backend_count, 1000);
	print_message("100 services, 1000 backends: %u us a computation, nothing changed\n",
		      v.compute_us);
	agent_backend_drain(current->agent, "s7/10.80.0.1:8003", true, "", "", on_answer, NULL);
	expect(0, "");
	agent_compute(current->agent);
	print_message("one backend drained: %u us\n", current->agent->compute_us);
	/* Generous: sanitizers and busy machines; the figure above is what counts. */
	assert_true(current->agent->compute_us < 500000);
	node_stop(*state);
}

static void test_service_add_when_disk_is_full_then_accepted_not_durable(void **state)
{
	struct model_service s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 53);
	struct rlimit was, none;
	struct agent_view v;

	node_start(*state, false);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	add_service(&s, 0, "accepted, not durable");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	agent_look(current->agent, &v);
	assert_int_equal(v.view->service_count, 1);
	node_stop(*state);
}

static bool is_peer_sent(uint8_t verb, uint8_t key_byte)
{
	return sent_count && sent[sent_count - 1].kind == FWD_WGPEER &&
	       sent[sent_count - 1].verb == verb && sent[sent_count - 1].wg_pub[0] == key_byte;
}

/* What the other node says of itself. */
static void other_says(const struct node_id *id, uint8_t key_byte)
{
	struct model_node n = {.name = "b", .region = "r1", .version = "1"};
	uint8_t buf[RECORD_VALUE_MAX];
	struct record r = {.kind = MODEL_KIND_NODE,
			   .writer = *id,
			   .key = (const uint8_t *)"node",
			   .key_len = 4,
			   .value = buf};
	int len;

	assert_int_equal(ip_parse("10.80.0.2", &n.mesh_addr), 0);
	n.wg_pub[0] = key_byte;
	len = model_node_encode(&n, buf, sizeof(buf));
	assert_true(len > 0);
	r.value_len = (size_t)len;
	assert_int_equal(agent_fact_apply(current->agent, &r), AGENT_CHANGED);
	agent_compute(current->agent);
}

static void test_peers_when_managed_then_set_replaced_and_deleted(void **state)
{
	static const uint8_t seed[SEAL_KEY_BYTES] = {42};
	struct gossip_member m = {.name = "b", .region = "r1", .generation = 5};
	struct node_key *other;
	size_t before;

	node_ready(*state);
	current->agent->cfg.manage_wireguard = true;
	assert_int_equal(node_key_from_seed(seed, &other), 0);
	node_key_pub(other, m.pub);
	node_id_of_pub(m.pub, &m.id);
	assert_int_equal(inet_pton(AF_INET6, "::ffff:10.80.0.2", m.addr.ip), 1);
	m.addr.port = 7946;
	assert_int_equal(gossip_core_load_member(current->core, &m), 0);
	other_says(&m.id, 1);
	assert_true(is_peer_sent(FWD_WG_SET, 1));
	before = sent_count;
	agent_compute(current->agent);
	assert_int_equal(sent_count, before);
	other_says(&m.id, 2); /* the old key must not keep the address */
	assert_int_equal(sent_count, before + 2);
	assert_int_equal(sent[before].verb, FWD_WG_DEL);
	assert_int_equal(sent[before].wg_pub[0], 1);
	assert_true(is_peer_sent(FWD_WG_SET, 2));
	other_says(&m.id, 0);
	assert_true(is_peer_sent(FWD_WG_DEL, 2));
	node_key_free(other);
	node_stop(*state);
}

/* The store has its say after the agent is gone. One write is on its way, so that the generation's waits behind it. */
static void test_close_when_a_generation_is_being_stored_then_it_is_forgotten(void **state)
{
	struct model_service s = service("dns", "198.51.100.1", IPPROTO_UDP, 53, 53);
	const struct gossip_event ev = {.kind = GOSSIP_EV_GENERATION, .generation = 5000};

	node_start(*state, false);
	agent_service_add(current->agent, &s, on_answer, NULL);
	agent_event(&ev, current->agent);
	node_stop(*state);
	expect(-ECANCELED, "stopping");
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_open_when_alone_then_makes_one_seed_and_keeps_it),
		CASE(test_service_add_when_wrong_then_refused_with_a_reason),
		CASE(test_backend_add_when_wrong_then_refused_with_a_reason),
		CASE(test_backend_add_when_records_are_full_then_nothing_stays),
		CASE(test_backend_add_when_it_takes_a_part_then_its_slot_names_the_entry),
		CASE(test_backend_when_it_falls_then_word_vip_and_record_follow),
		CASE(test_open_when_maps_are_filled_then_writes_nothing),
		CASE(test_write_when_a_map_refuses_then_tried_again),
		CASE(test_look_when_edgefwd_is_stuck_then_named),
		CASE(test_up_when_abi_differs_then_nothing_is_written),
		CASE(test_record_when_unreadable_then_former_stays_and_is_shown),
		CASE(test_drain_when_own_then_no_rows_and_undrain_brings_them_back),
		CASE(test_token_when_freed_then_rests_and_counts_on),
		CASE(test_service_add_when_disk_is_full_then_accepted_not_durable),
		CASE(test_peers_when_managed_then_set_replaced_and_deleted),
		CASE(test_close_when_a_generation_is_being_stored_then_it_is_forgotten),
		CASE(test_compute_when_100_services_then_within_the_budget),
	};

	return cmocka_run_group_tests(tests, setup_net, NULL);
}
