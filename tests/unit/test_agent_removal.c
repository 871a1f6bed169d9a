/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Nodes that are gone for good, and what is known of another's records, with a real core and store. */
#include <arpa/inet.h>

#include "gossip/record_table.h"
#include "gossip/seal.h"
#include "tests/unit/agent_fake.h"

static struct gossip_member other(const char *name, uint8_t seed_byte, enum gossip_state state,
				  struct node_key **ret_key)
{
	uint8_t seed[SEAL_KEY_BYTES] = {seed_byte};
	struct gossip_member m = {.region = "r1", .generation = 5, .state = state};

	snprintf(m.name, sizeof(m.name), "%s", name);
	assert_int_equal(node_key_from_seed(seed, ret_key), 0);
	node_key_pub(*ret_key, m.pub);
	node_id_of_pub(m.pub, &m.id);
	m.addr.ip[10] = m.addr.ip[11] = 0xff;
	m.addr.ip[12] = 10;
	m.addr.ip[15] = seed_byte;
	m.addr.port = 7946;
	return m;
}

static struct record record_of(struct node_key *key, const struct gossip_member *m, uint64_t seq,
			       const char *name)
{
	struct gossip_signer signer = node_key_signer(key);
	uint8_t buf[RECORD_SIGNED_MAX];
	struct record r = {.kind = 40, /* that nobody here knows */
			   .writer = m->id,
			   .generation = 5,
			   .seq = seq,
			   .key = (const uint8_t *)name,
			   .key_len = strlen(name),
			   .value = (const uint8_t *)"\x80",
			   .value_len = 1};
	int len;

	memcpy(r.pub, m->pub, sizeof(r.pub));
	len = record_signed_bytes(&r, buf, sizeof(buf));
	assert_true(len > 0);
	assert_int_equal(signer.sign(signer.arg, buf, (size_t)len, r.sig), 0);
	return r;
}

static void rm(const char *name, int status, const char *part)
{
	struct agent_order order = {.author = "ann", .reason = "scrapped"};

	agent_node_rm(current->agent, name, &order, on_answer, NULL);
	expect(status, part);
}

static void restore(const char *name, int status, const char *part)
{
	agent_node_restore(current->agent, name, on_answer, NULL);
	expect(status, part);
}

static void test_node_rm_when_dead_then_void_until_restored(void **state)
{
	struct node_key *key[3];
	struct gossip_member dead = other("b", 1, GOSSIP_DEAD, &key[0]);
	struct gossip_member alive = other("c", 2, GOSSIP_ALIVE, &key[1]);
	struct gossip_member twin = other("b", 3, GOSSIP_LEFT, &key[2]);
	struct record r = record_of(key[0], &dead, 1, "x"), got;
	char id[2 * NODE_ID_BYTES + 1];

	node_start(*state, false);
	assert_int_equal(gossip_core_load_member(current->core, &dead), 0);
	assert_int_equal(gossip_core_load_member(current->core, &alive), 0);
	assert_int_equal(gossip_core_load_record(current->core, &r), 0);
	rm("nobody", -ENOENT, "node nobody: not known");
	rm("a", -EPERM, "is this one");
	rm("c", -EBUSY, "node c lives");
	restore("b", 0, "nothing to change");
	rm("b", 0, "node b removed");
	assert_false(gossip_core_get_record(current->core, &dead.id, 40, "x", &got));
	assert_true(gossip_core_member_get(current->core, &dead.id, &dead));
	assert_true(dead.is_removed);
	rm("b", 0, "nothing to change");
	restore("b", 0, "counts again");
	assert_int_equal(gossip_core_load_record(current->core, &r), 0);
	assert_true(gossip_core_get_record(current->core, &dead.id, 40, "x", &got));
	/* Two of one name: by id. */
	assert_int_equal(gossip_core_load_member(current->core, &twin), 0);
	rm("b", -EINVAL, "2 have this name");
	for (size_t i = 0; i < NODE_ID_BYTES; i++)
		snprintf(id + 2 * i, 3, "%02x", twin.id.b[i]);
	rm(id, 0, "node b removed");
	for (int i = 0; i < 3; i++)
		node_key_free(key[i]);
	node_stop(*state);
}

static bool is_stored(void)
{
	struct store_status st;

	store_get_status(current->store, &st);
	return st.queued == 0;
}

static void test_open_when_counted_before_then_the_count_is_known(void **state)
{
	struct node_key *key;
	struct gossip_member b = other("b", 1, GOSSIP_DEAD, &key);
	struct record r = record_of(key, &b, 1, "x"), late;
	struct origin *o;
	struct gossip_event ev = {.kind = GOSSIP_EV_RECORD, .record = r};
	struct gossip_event how_far = {.kind = GOSSIP_EV_ORIGIN,
				       .origin = {.id = b.id,
						  .generation = 5,
						  .watermark = 9,
						  .verified = 8,
						  .gc = 3,
						  .gc_told = 4,
						  .former = 2,
						  .former_watermark = 7,
						  .is_closed = true,
						  .is_disputed = true}};

	node_start(*state, false);
	assert_int_equal(gossip_core_load_record(current->core, &r), 0);
	digest_bytes(&table_origin(current->core, &b.id)->sum, how_far.origin.sum);
	agent_event(&ev, current->agent);
	agent_event(&how_far, current->agent);
	turn_until(is_stored);
	node_stop(*state);
	node_start(*state, false);
	o = table_origin(current->core, &b.id);
	assert_non_null(o);
	assert_true(o->watermark == 9 && o->verified == 8 && o->gc == 3 && o->gc_told == 4);
	assert_true(o->former == 2 && o->former_watermark == 7);
	assert_true(o->is_closed && o->is_disputed && !o->is_whole);
	/* A record that came without its count: the count is not believed any more. */
	late = record_of(key, &b, 2, "y");
	ev.record = late;
	agent_event(&ev, current->agent);
	turn_until(is_stored);
	node_stop(*state);
	node_start(*state, false);
	o = table_origin(current->core, &b.id);
	assert_int_equal(o->watermark, 2);
	node_key_free(key);
	node_stop(*state);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_node_rm_when_dead_then_void_until_restored),
		CASE(test_open_when_counted_before_then_the_count_is_known),
	};

	return cmocka_run_group_tests_name("agent_removal", tests, setup_net, NULL);
}
