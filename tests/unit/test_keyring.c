/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Life of the cluster's keys, in a mesh whose every message is sealed and opened. */
#include "tests/unit/ring_mesh.h"

#include <fcntl.h>

static struct seal_key_id added;
static char added_text[KEYRING_ID_TEXT], first_text[KEYRING_ID_TEXT];

static void start(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		assert_int_equal(node_open(i, NULL), 0);
}

static bool all_hold(void)
{
	for (size_t i = 0; i < NODES; i++)
		if (node[i].is_up && !seal_key_has(node[i].seal, &added))
			return false;
	return true;
}

static bool all_seal(void)
{
	struct seal_key_id used;

	for (size_t i = 0; i < NODES; i++) {
		if (!node[i].is_up)
			continue;
		seal_key_used(node[i].seal, &used);
		if (memcmp(&used, &added, sizeof(used)) != 0)
			return false;
	}
	return true;
}

static bool all_have_one(void)
{
	for (size_t i = 0; i < NODES; i++)
		if (node[i].is_up && seal_key_count(node[i].seal) != 1)
			return false;
	return true;
}

static void add_at(size_t i)
{
	struct err e = {0};

	assert_int_equal(keyring_add(node[i].ring, now, &added, &e), 0);
	keyring_id_text(&added, added_text);
	pump(&node[i]);
}

/* A second round of a key's life may be refused until everybody has said so. */
static bool use_goes(void)
{
	int r = keyring_use(node[1].ring, now, added_text, false, &(struct err){0});

	assert_true(r == 0 || r == -EBUSY);
	pump(&node[1]);
	return r == 0;
}

static bool rm_goes(void)
{
	int r = keyring_rm(node[2].ring, now, first_text, false, &(struct err){0});

	assert_true(r == 0 || r == -EBUSY);
	pump(&node[2]);
	return r == 0;
}

static void remember_first(void)
{
	struct seal_key_id id;

	seal_key_used(node[0].seal, &id);
	keyring_id_text(&id, first_text);
}

static void rotate(void)
{
	remember_first();
	add_at(0);
	assert_true(run_until(all_hold, 5000));
	assert_true(run_until(use_goes, 5000));
	assert_true(run_until(all_seal, 5000));
	assert_true(run_until(rm_goes, 5000));
	assert_true(run_until(all_have_one, GRACE_MS + 2000));
}

static void test_rotation_when_nodes_restart_and_join_then_nothing_is_refused(void **state)
{
	(void)state;
	start(0, 5);
	assert_true(run_until(is_agreed, 10000));
	remember_first();
	add_at(3);
	node_restart(1); /* before it has heard of it, or while it asks */
	assert_int_equal(node_open(5, NULL), 0);
	assert_true(run_until(all_hold, 8000));
	node_restart(2);
	assert_true(run_until(use_goes, 8000));
	node_restart(3);
	assert_int_equal(node_open(6, NULL), 0); /* the first key still lets it in */
	run(1);
	node_restart(0);
	assert_true(run_until(all_seal, 8000));
	assert_true(run_until(rm_goes, 8000));
	run(1);
	node_restart(4);
	assert_true(run_until(all_have_one, GRACE_MS + 3000));
	for (size_t i = 0; i < 7; i++) {
		node_restart(i);
		run(300);
	}
	assert_true(run_until(is_agreed, 10000));
	assert_true(all_seal());
	assert_int_equal(refused(), 0);
}

static void test_verbs_when_someone_is_not_ready_then_refused_by_name(void **state)
{
	struct err e = {0};

	(void)state;
	start(0, 3);
	assert_true(run_until(is_agreed, 10000));
	remember_first();
	add_at(0);
	assert_int_equal(keyring_use(node[0].ring, now, added_text, false, &e), -EBUSY);
	assert_non_null(strstr(e.text, "n1"));
	assert_non_null(strstr(e.text, "n2"));
	assert_int_equal(keyring_use(node[0].ring, now, "nothing", false, &e), -ENOENT);
	assert_int_equal(keyring_rm(node[0].ring, now, first_text, false, &e), -EBUSY);
	assert_true(run_until(all_hold, 5000));
	run(500);
	assert_int_equal(keyring_use(node[0].ring, now, added_text, false, &e), 0);
	/* it seals with the new one, the others do not yet */
	assert_int_equal(keyring_rm(node[0].ring, now, first_text, false, &e), -EBUSY);
	assert_non_null(strstr(e.text, "n1"));
	assert_int_equal(keyring_rm(node[0].ring, now, first_text, true, &e), -EBUSY);
	pump(&node[0]);
	assert_true(run_until(all_seal, 5000));
	for (size_t i = 1; i < SEAL_KEYS_MAX - 1; i++)
		add_at(0);
	assert_int_equal(keyring_add(node[0].ring, now, &added, &e), -ENOSPC);
}

static void test_node_when_away_for_a_rotation_then_gets_the_ring(void **state)
{
	(void)state;
	start(0, 5);
	assert_true(run_until(is_agreed, 10000));
	node_stop(4);
	run(6000); /* it is dead */
	rotate();
	assert_int_equal(refused(), 0);
	assert_int_equal(node_open(4, NULL), 0);
	assert_true(run_until(all_seal, 20000));
	assert_true(run_until(is_agreed, 10000));
	assert_true(run_until(all_have_one, GRACE_MS + 2000));
	assert_true(all_hold());
	/* and it keeps it */
	uint64_t before = refused();

	node_restart(4);
	assert_true(run_until(is_agreed, 10000));
	assert_int_equal(refused(), before);
}

static void remove_node(size_t i)
{
	static const uint8_t empty[] = {0x80};
	char hex[2 * NODE_ID_BYTES + 1];

	sodium_bin2hex(hex, sizeof(hex), node[i].id.b, sizeof(node[i].id.b));
	assert_int_equal(gossip_core_put(node[0].core, now, RECORD_KIND_REMOVAL, hex, empty,
					 sizeof(empty), true),
			 0);
	pump(&node[0]);
}

static void test_node_when_removed_then_gets_nothing(void **state)
{
	struct keyring_counters n;
	uint64_t answered = 0;

	(void)state;
	start(0, 5);
	assert_true(run_until(is_agreed, 10000));
	node_stop(4);
	remove_node(4);
	run(6000);
	rotate();
	for (size_t i = 0; i < 4; i++) {
		keyring_counters(node[i].ring, &n);
		answered += n.answered;
	}
	assert_int_equal(node_open(4, NULL), 0);
	run(20000);
	assert_false(seal_key_has(node[4].seal, &added));
	keyring_counters(node[4].ring, &n);
	assert_true(n.asked > 0);
	for (size_t i = 0; i < 4; i++) {
		keyring_counters(node[i].ring, &n);
		answered -= n.answered;
	}
	assert_int_equal(answered, 0);
}

static size_t spy_opened, spy_seen;
static struct seal *spy_seal;
static void spy_open(const struct flying *f)
{
	static uint8_t plain[GOSSIP_STREAM_MAX];
	struct gossip_sender sender;

	if (f->is_clear || f->via == GOSSIP_PING || f->is_pong)
		return;
	spy_seen++;
	spy_opened += seal_open_message(spy_seal, f->via, f->buf, f->len, plain, sizeof(plain),
					&sender) >= 0;
}

static void test_intruder_when_it_has_the_old_key_only_then_neither_reads_nor_writes(void **state)
{
	struct gossip_member m;

	(void)state;
	start(0, 4);
	assert_true(run_until(is_agreed, 10000));
	rotate();
	run(500);
	assert_int_equal(seal_new(node[7].file_key, "test", node[7].key, 99, &spy_seal), 0);
	spy = spy_open;
	assert_int_equal(node_open(7, NULL), 0); /* a node of its own, with the old key file */
	run(5000);
	spy = NULL;
	assert_true(spy_seen > 100);
	/* what it reads is what it sent itself */
	node[7].is_up = false;
	size_t own = spy_opened;

	spy = spy_open;
	run(5000);
	spy = NULL;
	assert_int_equal(spy_opened, own);
	for (size_t i = 0; i < 4; i++)
		assert_false(gossip_core_member_get(node[i].core, &node[7].id, &m));
	assert_int_equal(node[7].refused > 0 ? 1 : 0, 0); /* nobody even answered */
	assert_int_equal(gossip_core_member_count(node[7].core), 1);
	node[7].is_up = true;
	seal_free(spy_seal);
}

/* ---- questions and answers that lie */

static struct flying kept;
static uint8_t kept_buf[KEYRING_CLEAR_BYTES];
static uint8_t kept_what;
static void keep_clear(const struct flying *f)
{
	if (!f->is_clear || f->buf[1] != kept_what)
		return;
	kept = *f;
	memcpy(kept_buf, f->buf, f->len);
	kept.buf = kept_buf;
}

static void test_questions_when_changed_or_strange_then_no_answer(void **state)
{
	struct keyring_counters n, before;

	(void)state;
	start(0, 3);
	assert_true(run_until(is_agreed, 10000));
	kept_what = 1;
	spy = keep_clear;
	add_at(0);
	assert_true(run_until(all_hold, 5000));
	spy = NULL;
	assert_int_equal(kept.len, KEYRING_CLEAR_BYTES);
	keyring_counters(node[kept.to].ring, &before);
	for (size_t i = 0; i < 118; i++) { /* behind is a proof that a known node does not need */
		kept_buf[i] ^= 1;
		assert_true(keyring_recv(node[kept.to].ring, now, &node[kept.from].addr, kept_buf,
					 kept.len) < 0);
		kept_buf[i] ^= 1;
		if (i % 20 == 0)
			run(1000); /* not for its number */
	}
	for (size_t len = 0; len < KEYRING_CLEAR_BYTES; len++)
		assert_true(keyring_recv(node[kept.to].ring, now, &node[kept.from].addr, kept_buf,
					 len) < 0);
	keyring_counters(node[kept.to].ring, &n);
	assert_int_equal(n.answered, before.answered);
	/* the same again: so many a second, and no more */
	run(1000);
	for (size_t i = 0; i < 500; i++)
		(void)keyring_recv(node[kept.to].ring, now, &node[kept.from].addr, kept_buf,
				   kept.len);
	keyring_counters(node[kept.to].ring, &n);
	assert_int_equal(n.answered, before.answered + KEYRING_ANSWERS_PER_S);
}

static void test_answers_when_changed_or_late_then_nothing_is_learned(void **state)
{
	(void)state;
	start(0, 3);
	assert_true(run_until(is_agreed, 10000));
	kept_what = 2;
	spy = keep_clear;
	add_at(0);
	assert_true(run_until(all_hold, 5000));
	spy = NULL;
	assert_true(kept.len > 0);
	for (size_t i = 0; i < kept.len; i++) {
		kept_buf[i] ^= 1;
		assert_true(keyring_recv(node[kept.to].ring, now, &node[kept.from].addr, kept_buf,
					 kept.len) < 0);
		kept_buf[i] ^= 1;
	}
	for (size_t i = 0; i < NODES; i++)
		if (i != kept.to && node[i].is_up)
			assert_true(keyring_recv(node[i].ring, now, &node[kept.from].addr, kept_buf,
						 kept.len) < 0);
}

/* A member writes what it likes about keys. */
static void test_records_when_a_member_is_mad_then_all_go_on_hearing_each_other(void **state)
{
	uint8_t junk[14] = {0x81, 0xa1, 'k', 0xc4, 8, 1, 2, 3, 4, 5, 6, 7, 8};
	static const uint8_t gone[] = {0x81, 0xa1, 's', 2}, here[] = {0x81, 0xa1, 's', 1};
	char key[40];

	(void)state;
	start(0, 4);
	assert_true(run_until(is_agreed, 10000));
	remember_first();
	snprintf(key, sizeof(key), "k/%s", first_text);
	assert_int_equal(
		gossip_core_put(node[3].core, now, KEYRING_KIND, key, gone, sizeof(gone), true), 0);
	assert_int_equal(gossip_core_put(node[3].core, now, KEYRING_KIND, "use", junk, 13, true),
			 0);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(key, sizeof(key), "k/%016x", i);
		assert_int_equal(gossip_core_put(node[3].core, now, KEYRING_KIND, key, here,
						 sizeof(here), false),
				 0);
	}
	assert_int_equal(gossip_core_put(node[3].core, now, KEYRING_KIND, "k/x", junk, 13, true),
			 0);
	pump(&node[3]);
	run(GRACE_MS + 10000);
	assert_true(run_until(is_agreed, 5000));
	assert_int_equal(refused(), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(seal_key_count(node[i].seal), 1);
}

/* ---- the file */

static void put_ring(const char *text, mode_t mode)
{
	int fd = open(node[0].path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void test_open_when_the_file_is_wrong_then_says_where(void **state)
{
	struct err e = {0};
	static const char *const bad[] = {
		"key 12\n",
		"nonsense\n",
		"use 1 0011223344556677\n",
		"gone 00\n",
		"key \n",
		"use x\n",
		"# fine\nkey 00112233445566778899aabbccddeeff00112233445566778899aabbccddeefg\n"};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put_ring(bad[i], 0600);
		assert_int_equal(node_open(0, &e), -EINVAL);
		assert_non_null(strstr(e.text, node[0].path));
		assert_null(strstr(e.text, "0011223344"));
	}
	put_ring("", 0640);
	assert_int_equal(node_open(0, &e), -EPERM);
	put_ring("# nothing\n", 0600);
	assert_int_equal(node_open(0, &e), 0);
}

static void
test_open_when_the_key_file_was_removed_then_refused_unless_there_is_another(void **state)
{
	struct stat st;
	struct err e = {0};

	(void)state;
	start(0, 3);
	assert_true(run_until(is_agreed, 10000));
	rotate();
	assert_int_equal(stat(node[0].path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	node_restart(0); /* its key file still has the first */
	assert_int_equal(seal_key_count(node[0].seal), 1);
	node_stop(0);
	put_ring("gone ", 0600);
	char text[64];

	snprintf(text, sizeof(text), "gone %s\n", first_text);
	put_ring(text, 0600);
	assert_int_equal(node_open(0, &e), -ENOKEY);
}

static void test_told_decode_when_malformed_then_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {{"\x80", 1},
		   {"\x81\xa1h\xc4\x00", 5},
		   {"\x82\xa1h\xc4\x07"
		    "1234567\xa1s\xc4\x08"
		    "12345678",
		    24},
		   {"\x82\xa1h\xc4\x00\xa1s\xc4\x07"
		    "1234567",
		    16},
		   {"\x83\xa1h\xc4\x00\xa1h\xc4\x00\xa1s\xc4\x08"
		    "12345678",
		    21}};
	struct keyring_told t;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(keyring_told_decode((const uint8_t *)bad[i].bytes, bad[i].len, &t),
				 -EBADMSG);
	assert_int_equal(keyring_told_decode((const uint8_t *)"\x82\xa1h\xc4\x00\xa1s\xc4\x08"
							      "12345678",
					     17, &t),
			 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, mesh_setup, mesh_teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_rotation_when_nodes_restart_and_join_then_nothing_is_refused),
		TEST(test_verbs_when_someone_is_not_ready_then_refused_by_name),
		TEST(test_node_when_away_for_a_rotation_then_gets_the_ring),
		TEST(test_node_when_removed_then_gets_nothing),
		TEST(test_intruder_when_it_has_the_old_key_only_then_neither_reads_nor_writes),
		TEST(test_questions_when_changed_or_strange_then_no_answer),
		TEST(test_answers_when_changed_or_late_then_nothing_is_learned),
		TEST(test_records_when_a_member_is_mad_then_all_go_on_hearing_each_other),
		TEST(test_open_when_the_file_is_wrong_then_says_where),
		TEST(test_open_when_the_key_file_was_removed_then_refused_unless_there_is_another),
		TEST(test_told_decode_when_malformed_then_refused),
	};

	cmocka_set_test_filter(getenv("T"));
	return cmocka_run_group_tests(tests, NULL, NULL);
}
