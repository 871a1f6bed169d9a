/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static int make_dir(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/esto-seal-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char cmd[100];

	(void)state;
	snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

static const char *path_of(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static struct node_key *key_of(uint8_t n)
{
	uint8_t seed[SEAL_KEY_BYTES] = {n};
	struct node_key *k;

	assert_int_equal(node_key_from_seed(seed, &k), 0);
	return k;
}

static struct seal *seal_of(uint8_t node, uint64_t boot_nonce, const char *cluster,
			    uint8_t key_byte)
{
	uint8_t key[SEAL_KEY_BYTES] = {key_byte};
	struct node_key *k = key_of(node);
	struct seal *s;

	assert_int_equal(seal_new(key, cluster, k, boot_nonce, &s), 0);
	node_key_free(k);
	return s;
}

static void test_node_key_open_when_missing_then_made_and_the_same_again(void **state)
{
	struct node_key *a, *b;
	uint8_t pa[NODE_PUB_BYTES], pb[NODE_PUB_BYTES];
	struct stat st;
	struct err e;

	(void)state;
	assert_int_equal(node_key_open(path_of("made.key"), &a, &e), 0);
	assert_int_equal(stat(path_of("made.key"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 65);
	assert_int_equal(node_key_open(path_of("made.key"), &b, &e), 0);
	node_key_pub(a, pa);
	node_key_pub(b, pb);
	assert_memory_equal(pa, pb, sizeof(pa));
	node_key_free(a);
	node_key_free(b);
	/* nothing but the key is left in the directory */
	snprintf(e.text, sizeof(e.text), "test $(ls %s | grep -c made) = 1", dir);
	assert_int_equal(system(e.text), 0);
}

static void test_node_key_open_when_no_directory_then_says_path(void **state)
{
	struct node_key *k;
	struct err e;

	(void)state;
	assert_int_equal(node_key_open(path_of("none/x.key"), &k, &e), -ENOENT);
	assert_non_null(strstr(e.text, "none/x.key"));
	assert_non_null(strstr(e.text, "No such file"));
}

static void test_key_files_when_bad_then_refused_in_words(void **state)
{
	static const struct row {
		const char *name, *text;
		mode_t mode;
		int node_want, cluster_want;
		const char *says;
	} rows[] = {
		{"good", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n", 0600,
		 0, 0, ""},
		{"no line end", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		 0400, 0, 0, ""},
		{"group reads",
		 "000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n", 0640, -EPERM,
		 0, "chmod"},
		{"all read", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
		 0604, -EPERM, -EPERM, "mode 0604"},
		{"group writes",
		 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n", 0620, -EPERM,
		 -EPERM, "mode 0620"},
		{"empty", "", 0600, -EINVAL, -EINVAL, "got 0 characters"},
		{"short", "0001\n", 0600, -EINVAL, -EINVAL, "got 4 characters"},
		{"odd digit", "000x02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
		 0600, -EINVAL, -EINVAL, "character 4"},
		{"even digit", "00x102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
		 0600, -EINVAL, -EINVAL, "character 3"},
		{"last digit", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1 \n",
		 0600, -EINVAL, -EINVAL, "character 64"},
		{"one too many",
		 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0\n", 0600,
		 -EINVAL, -EINVAL, "got 65"},
		{"long",
		 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
		 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f000",
		 0600, -EINVAL, -EINVAL, "over 128"},
	};
	struct node_key *self = key_of(1);

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct node_key *k = NULL;
		struct seal *s = NULL;
		struct err e = {0};

		put_file("x.key", rows[i].text, rows[i].mode);
		print_message("# %s\n", rows[i].name);
		assert_int_equal(node_key_open(path_of("x.key"), &k, &e), rows[i].node_want);
		if (rows[i].node_want < 0) {
			assert_null(k);
			assert_non_null(strstr(e.text, "x.key"));
			assert_non_null(strstr(e.text, rows[i].says));
		} else {
			node_key_free(k);
		}
		assert_int_equal(seal_open_file(path_of("x.key"), "c", self, 1, &s, &e),
				 rows[i].cluster_want);
		if (rows[i].cluster_want < 0) {
			assert_null(s);
			assert_non_null(strstr(e.text, rows[i].says));
		}
		seal_free(s);
		unlink(path_of("x.key"));
	}
	node_key_free(self);
}

static void test_seal_open_file_when_no_file_then_not_made(void **state)
{
	struct node_key *self = key_of(1);
	struct seal *s;
	struct err e;

	(void)state;
	assert_int_equal(seal_open_file(path_of("no.key"), "c", self, 1, &s, &e), -ENOENT);
	assert_non_null(strstr(e.text, "cluster key"));
	assert_int_equal(access(path_of("no.key"), F_OK), -1);
	assert_int_equal(mkdir(path_of("d.key"), 0700), 0);
	assert_int_equal(seal_open_file(path_of("d.key"), "c", self, 1, &s, &e), -EINVAL);
	assert_int_equal(mkfifo(path_of("f.key"), 0600), 0);
	assert_int_equal(seal_open_file(path_of("f.key"), "c", self, 1, &s, &e), -EINVAL);
	node_key_free(self);
}

static void test_signer_when_signed_then_verified_and_nothing_else_is(void **state)
{
	struct node_key *k = key_of(3), *other = key_of(4);
	struct gossip_signer s = node_key_signer(k);
	uint8_t pub[NODE_PUB_BYTES], other_pub[NODE_PUB_BYTES], sig[NODE_SIG_BYTES], msg[] = "fact",
										     h[16], h2[16];
	struct node_id a, b;

	(void)state;
	node_key_pub(k, pub);
	node_key_pub(other, other_pub);
	assert_int_equal(s.sign(s.arg, msg, sizeof(msg), sig), 0);
	assert_int_equal(s.verify(s.arg, pub, msg, sizeof(msg), sig), 0);
	assert_int_equal(s.verify(s.arg, other_pub, msg, sizeof(msg), sig), -EBADMSG);
	assert_int_equal(s.verify(s.arg, pub, msg, sizeof(msg) - 1, sig), -EBADMSG);
	sig[63] ^= 1;
	assert_int_equal(s.verify(s.arg, pub, msg, sizeof(msg), sig), -EBADMSG);
	s.id_of(s.arg, pub, &a);
	node_id_of_pub(pub, &b);
	assert_memory_equal(&a, &b, sizeof(a));
	s.hash(s.arg, msg, sizeof(msg), h);
	s.hash(s.arg, msg, sizeof(msg) - 1, h2);
	assert_memory_not_equal(h, h2, 16);
	node_key_free(k);
	node_key_free(other);
}

static void test_seal_message_when_any_length_then_opens_to_the_same(void **state)
{
	static const struct row {
		enum gossip_via via;
		size_t len;
		int want;
	} rows[] = {
		{GOSSIP_DGRAM, 0, 0},
		{GOSSIP_DGRAM, 1, 0},
		{GOSSIP_DGRAM, GOSSIP_DGRAM_MAX, 0},
		{GOSSIP_DGRAM, GOSSIP_DGRAM_MAX + 1, -EMSGSIZE},
		{GOSSIP_STREAM, 0, 0},
		{GOSSIP_STREAM, GOSSIP_STREAM_MAX, 0},
		{GOSSIP_STREAM, GOSSIP_STREAM_MAX + 1, -EMSGSIZE},
		{GOSSIP_PING, 8, -EINVAL},
	};
	static uint8_t msg[GOSSIP_STREAM_MAX + 1], box[GOSSIP_STREAM_MAX + SEAL_OVERHEAD],
		out[GOSSIP_STREAM_MAX];
	struct seal *a = seal_of(1, 11, "c", 9), *b = seal_of(2, 22, "c", 9);
	struct node_key *ka = key_of(1);
	uint8_t pub[NODE_PUB_BYTES];
	struct node_id id;

	(void)state;
	for (size_t i = 0; i < sizeof(msg); i++)
		msg[i] = (uint8_t)(i * 7);
	node_key_pub(ka, pub);
	node_id_of_pub(pub, &id);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct gossip_sender from = {.boot_nonce = 99};
		int n = seal_message(a, rows[i].via, msg, rows[i].len, box, sizeof(box));

		if (rows[i].want < 0) {
			assert_int_equal(n, rows[i].want);
			continue;
		}
		assert_int_equal(n, rows[i].len + SEAL_ADDED);
		assert_true(n <= (int)rows[i].len + SEAL_OVERHEAD);
		if (rows[i].len > 0)
			assert_int_equal(seal_open_message(b, rows[i].via, box, (size_t)n, out,
							   rows[i].len - 1, &from),
					 -EMSGSIZE);
		assert_int_equal(from.boot_nonce, 99);
		assert_int_equal(
			seal_open_message(b, rows[i].via, box, (size_t)n, out, sizeof(out), &from),
			rows[i].len);
		assert_memory_equal(out, msg, rows[i].len);
		assert_int_equal(from.boot_nonce, 11);
		assert_memory_equal(&from.id, &id, sizeof(id));
	}
	assert_int_equal(seal_message(a, GOSSIP_DGRAM, msg, 10, box, 10 + SEAL_ADDED - 1),
			 -EMSGSIZE);
	node_key_free(ka);
	seal_free(a);
	seal_free(b);
}

static void test_seal_open_message_when_any_byte_differs_then_refused(void **state)
{
	struct seal *a = seal_of(1, 11, "c", 9), *b = seal_of(2, 22, "c", 9);
	uint8_t box[SEAL_DGRAM_MAX], out[GOSSIP_DGRAM_MAX];
	struct gossip_sender from;
	int n = seal_message(a, GOSSIP_DGRAM, (const uint8_t *)"hello", 5, box, sizeof(box));

	(void)state;
	for (int i = 0; i < n; i++) {
		int r;

		box[i] ^= 0x40;
		r = seal_open_message(b, GOSSIP_DGRAM, box, (size_t)n, out, sizeof(out), &from);
		assert_int_equal(r, i < 2 ? -EPROTONOSUPPORT : -EBADMSG);
		box[i] ^= 0x40;
	}
	for (int len = 0; len < n; len++)
		assert_int_equal(seal_open_message(b, GOSSIP_DGRAM, box, (size_t)len, out,
						   sizeof(out), &from),
				 -EBADMSG);
	/* a datagram is not a stream message */
	assert_int_equal(
		seal_open_message(b, GOSSIP_STREAM, box, (size_t)n, out, sizeof(out), &from),
		-EBADMSG);
	/* and after all of that it still opens: refused ones mark nothing as seen */
	assert_int_equal(
		seal_open_message(b, GOSSIP_DGRAM, box, (size_t)n, out, sizeof(out), &from), 5);
	seal_free(a);
	seal_free(b);
}

static void test_seal_open_message_when_other_cluster_or_key_then_refused(void **state)
{
	struct seal *a = seal_of(1, 11, "c", 9), *name = seal_of(2, 22, "d", 9),
		    *key = seal_of(2, 22, "c", 8);
	uint8_t box[SEAL_DGRAM_MAX], out[GOSSIP_DGRAM_MAX];
	struct gossip_sender from;
	int n = seal_message(a, GOSSIP_DGRAM, (const uint8_t *)"hello", 5, box, sizeof(box));

	(void)state;
	assert_int_equal(
		seal_open_message(name, GOSSIP_DGRAM, box, (size_t)n, out, sizeof(out), &from),
		-EBADMSG);
	assert_int_equal(
		seal_open_message(key, GOSSIP_DGRAM, box, (size_t)n, out, sizeof(out), &from),
		-EBADMSG);
	/* also with the tag put right: the tag is a hint, the key decides */
	uint8_t theirs[SEAL_DGRAM_MAX];
	assert_true(seal_message(name, GOSSIP_DGRAM, (const uint8_t *)"x", 1, theirs,
				 sizeof(theirs)) > 0);
	memcpy(box, theirs, SEAL_CLEAR_BYTES);
	assert_int_equal(
		seal_open_message(name, GOSSIP_DGRAM, box, (size_t)n, out, sizeof(out), &from),
		-EBADMSG);
	seal_free(a);
	seal_free(name);
	seal_free(key);
}

static void test_seal_open_message_when_replayed_then_refused(void **state)
{
	enum { COUNT = 600 };
	static uint8_t box[COUNT][SEAL_ADDED + 1];
	struct seal *a = seal_of(1, 11, "c", 9), *b = seal_of(2, 22, "c", 9);
	uint8_t out[8];
	struct gossip_sender from;

	(void)state;
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(seal_message(a, GOSSIP_DGRAM, (const uint8_t *)"x", 1, box[i],
					      sizeof(box[i])),
				 sizeof(box[i]));
#define OPEN(i) seal_open_message(b, GOSSIP_DGRAM, box[i], sizeof(box[i]), out, sizeof(out), &from)
	assert_int_equal(OPEN(0), 1);
	assert_int_equal(OPEN(0), -EALREADY);
	assert_int_equal(OPEN(255), 1); /* leaves 1..254 open */
	assert_int_equal(OPEN(1), 1);
	assert_int_equal(OPEN(1), -EALREADY);
	assert_int_equal(OPEN(0), -EALREADY);
	assert_int_equal(OPEN(256), 1); /* the slot of 0: now out of the window */
	assert_int_equal(OPEN(0), -EALREADY);
	assert_int_equal(OPEN(300), 1);
	assert_int_equal(OPEN(44), -EALREADY); /* 256 behind */
	assert_int_equal(OPEN(45), 1);	       /* 255 behind */
	for (int i = 299; i > 256; i--)
		assert_int_equal(OPEN(i), 1);
	for (int i = 0; i <= 300; i++)
		if (i <= 44 || i >= 256)
			assert_int_equal(OPEN(i), -EALREADY);
	assert_int_equal(OPEN(599), 1); /* a jump over the whole window */
	assert_int_equal(OPEN(300), -EALREADY);
	assert_int_equal(OPEN(400), 1);
	assert_int_equal(OPEN(400), -EALREADY);
	assert_int_equal(OPEN(599), -EALREADY);
	seal_free(b);
	b = seal_of(2, 22, "c", 9);
	for (int i = 0; i < 300; i++)
		assert_int_equal(OPEN(i), 1);
	assert_int_equal(OPEN(500),
			 1); /* a jump within it: what was skipped is not taken for seen */
	for (int i = 300; i < 500; i++)
		assert_int_equal(OPEN(i), 1);
#undef OPEN
	seal_free(a);
	seal_free(b);
}

static void test_seal_open_message_when_sender_restarts_then_new_window(void **state)
{
	struct seal *a = seal_of(1, 11, "c", 9), *again = seal_of(1, 12, "c", 9),
		    *b = seal_of(2, 22, "c", 9);
	uint8_t old[SEAL_DGRAM_MAX], new[SEAL_DGRAM_MAX], stream[SEAL_DGRAM_MAX], out[8];
	struct gossip_sender from;
	int n = seal_message(a, GOSSIP_DGRAM, (const uint8_t *)"x", 1, old, sizeof(old));

	(void)state;
	assert_int_equal(
		seal_message(again, GOSSIP_DGRAM, (const uint8_t *)"x", 1, new, sizeof(new)), n);
	assert_int_equal(
		seal_message(a, GOSSIP_STREAM, (const uint8_t *)"x", 1, stream, sizeof(stream)), n);
	assert_int_equal(
		seal_open_message(b, GOSSIP_DGRAM, old, (size_t)n, out, sizeof(out), &from), 1);
	assert_int_equal(
		seal_open_message(b, GOSSIP_DGRAM, new, (size_t)n, out, sizeof(out), &from), 1);
	assert_int_equal(from.boot_nonce, 12);
	/* streams count apart; both old windows still stand */
	assert_int_equal(
		seal_open_message(b, GOSSIP_STREAM, stream, (size_t)n, out, sizeof(out), &from), 1);
	assert_int_equal(
		seal_open_message(b, GOSSIP_STREAM, stream, (size_t)n, out, sizeof(out), &from),
		-EALREADY);
	assert_int_equal(
		seal_open_message(b, GOSSIP_DGRAM, old, (size_t)n, out, sizeof(out), &from),
		-EALREADY);
	assert_int_equal(
		seal_open_message(b, GOSSIP_DGRAM, new, (size_t)n, out, sizeof(out), &from),
		-EALREADY);
	/* what we sent ourselves is not news */
	assert_int_equal(
		seal_open_message(a, GOSSIP_DGRAM, old, (size_t)n, out, sizeof(out), &from),
		-EALREADY);
	assert_int_equal(
		seal_open_message(again, GOSSIP_DGRAM, old, (size_t)n, out, sizeof(out), &from), 1);
	seal_free(a);
	seal_free(again);
	seal_free(b);
}

static void test_senders_when_table_full_then_least_recently_heard_goes(void **state)
{
	static uint8_t first[SEAL_ADDED], second[SEAL_ADDED], box[SEAL_ADDED];
	uint8_t key[SEAL_KEY_BYTES] = {9}, out[1];
	struct node_key *k = key_of(1);
	struct seal *b = seal_of(2, 22, "c", 9);
	struct gossip_sender from;

	(void)state;
	for (uint64_t i = 0; i < SEAL_SENDERS_MAX + 1; i++) {
		struct seal *a;
		uint8_t *to = i == 0 ? first : i == 1 ? second : box;

		if (i ==
		    SEAL_SENDERS_MAX) /* heard again (though only a replay): now the second is the oldest */
			assert_int_equal(seal_open_message(b, GOSSIP_DGRAM, first, sizeof(first),
							   out, 1, &from),
					 -EALREADY);
		assert_int_equal(seal_new(key, "c", k, 1000 + i, &a), 0);
		assert_int_equal(seal_message(a, GOSSIP_DGRAM, NULL, 0, to, SEAL_ADDED),
				 SEAL_ADDED);
		assert_int_equal(seal_open_message(b, GOSSIP_DGRAM, to, SEAL_ADDED, out, 1, &from),
				 0);
		seal_free(a);
	}
	assert_int_equal(seal_open_message(b, GOSSIP_DGRAM, first, sizeof(first), out, 1, &from),
			 -EALREADY);
	assert_int_equal(seal_open_message(b, GOSSIP_DGRAM, box, sizeof(box), out, 1, &from),
			 -EALREADY);
	assert_int_equal(seal_open_message(b, GOSSIP_DGRAM, second, sizeof(second), out, 1, &from),
			 0); /* forgotten */
	node_key_free(k);
	seal_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_node_key_open_when_missing_then_made_and_the_same_again),
		cmocka_unit_test(test_node_key_open_when_no_directory_then_says_path),
		cmocka_unit_test(test_key_files_when_bad_then_refused_in_words),
		cmocka_unit_test(test_seal_open_file_when_no_file_then_not_made),
		cmocka_unit_test(test_signer_when_signed_then_verified_and_nothing_else_is),
		cmocka_unit_test(test_seal_message_when_any_length_then_opens_to_the_same),
		cmocka_unit_test(test_seal_open_message_when_any_byte_differs_then_refused),
		cmocka_unit_test(test_seal_open_message_when_other_cluster_or_key_then_refused),
		cmocka_unit_test(test_seal_open_message_when_replayed_then_refused),
		cmocka_unit_test(test_seal_open_message_when_sender_restarts_then_new_window),
		cmocka_unit_test(test_senders_when_table_full_then_least_recently_heard_goes),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
