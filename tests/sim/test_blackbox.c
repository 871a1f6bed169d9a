/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a core was told, played back: the same packets and digests, from its birth and from a copy in mid-life, after loss,
 * partitions, crashes; and a box that was tampered with is found out. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "gossip/blackbox.h"
#include "tests/sim/sim_cluster.h"

#define NODES 9
#define SMALL (2u << 20)

static char dir[] = "/tmp/test_blackbox.XXXXXX";
static char path[64], old[80];
static struct gossip_signer pure;

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test_blackbox.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/blackbox", dir);
	snprintf(old, sizeof(old), "%s.old", path);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	unlink(old);
	return rmdir(dir);
}

static void put_box(const struct sim_node *n, struct gossip_config *cfg, void *arg)
{
	if (n->idx != 4)
		return;
	pure = cfg->signer;
	blackbox_attach(arg, cfg);
}

/* A life with everything in it; node 4 has the box, and ends with `digest`. */
static uint64_t live(uint64_t seed, unsigned int rounds, size_t box_bytes, uint8_t digest[16])
{
	struct sim_config cfg = {.nodes = NODES,
				 .seed = seed,
				 .loss_pct = 10,
				 .dup_pct = 5,
				 .damage_inside_pm = 2,
				 .config_cb = put_box};
	struct blackbox *b = NULL;
	struct err e = {0};
	struct sim *s;
	uint64_t bytes;
	char key[32];

	assert_int_equal(blackbox_open(path, box_bytes, &b, &e), 0);
	cfg.config_arg = b;
	s = sim_new(&cfg);
	sim_start_all(s, 300);
	for (unsigned int i = 0; i < rounds; i++) {
		size_t who = (size_t)(seed + i * 7) % NODES, at = (size_t)(seed + i * 5) % NODES;

		for (unsigned int k = 0; k < 12; k++) {
			size_t w = (who + k) % NODES;

			snprintf(key, sizeof(key), "k%u", k);
			if (s->node[w].core && k % 4 == 3)
				(void)sim_del(s, w, SIM_KIND, "k1", false);
			else if (s->node[w].core)
				(void)sim_put(s, w, k % 2 ? SIM_KIND_SHARED : SIM_KIND, key,
					      i * 100 + k, k % 3 == 0);
		}
		sim_run(s, 400);
		if (i % 5 == 1)
			sim_partition(s, at, 1);
		if (i % 5 == 3)
			sim_heal(s);
		if (i % 8 == 4 && at != 4)
			sim_crash(s, at);
		if (i % 8 == 7)
			for (size_t k = 0; k < NODES; k++)
				if (!s->node[k].core)
					sim_start(s, k);
		if (i == rounds / 2)
			sim_freeze(s, 4, 900);
		sim_run(s, 400);
	}
	gossip_core_digest(s->node[4].core, digest);
	bytes = blackbox_bytes(b);
	/* As kill -9 would: nothing is said at the end. But the arena has to go before another is made. */
	sim_free(s);
	blackbox_close(b);
	return bytes;
}

struct seen {
	uint8_t digest[16];
};
static void look(const struct gossip_core *c, const struct blackbox_step *s, void *arg)
{
	struct seen *seen = arg;

	if (s->has_core)
		gossip_core_digest(c, seen->digest);
}

static void must_play(struct blackbox_report *ret_report, const uint8_t digest[16])
{
	struct seen seen = {0};
	struct err e = {0};

	if (blackbox_play(path, &pure, look, &seen, ret_report, &e))
		fail_msg("not the same: %s", e.text);
	printf("# %llu inputs, %llu packets, %llu events, %llu digests\n",
	       (unsigned long long)ret_report->steps, (unsigned long long)ret_report->packets,
	       (unsigned long long)ret_report->events, (unsigned long long)ret_report->digests);
	assert_true(ret_report->is_played);
	assert_memory_equal(seen.digest, digest, 16);
}

static void one_seed(uint64_t seed)
{
	struct blackbox_report r;
	uint8_t digest[16];
	uint64_t bytes = live(seed, 6, SMALL, digest);

	assert_true(bytes < SMALL / 2);
	must_play(&r, digest);
	assert_int_equal(r.copies, 0);
	assert_true(r.packets > 100 && r.events > 20);
}

static void test_play_from_birth_then_the_same(void **state)
{
	(void)state;
	sim_seeds(20, one_seed);
}

static void one_long(uint64_t seed)
{
	struct blackbox_report r;
	uint8_t digest[16];
	uint64_t bytes = live(seed, 130, SMALL, digest);

	assert_true(bytes > SMALL);
	must_play(&r, digest);
	assert_int_equal(r.copies, 1);
	assert_true(r.packets > 1000 && r.digests > 1);
}

static void test_play_when_the_file_went_round_then_from_a_copy_the_same(void **state)
{
	(void)state;
	sim_seeds(4, one_long);
}

static void test_play_when_a_byte_is_another_then_it_does_not_pass(void **state)
{
	struct blackbox_report r;
	uint8_t digest[16];
	uint64_t bytes;
	unsigned int refused = 0;
	struct err e = {0};

	(void)state;
	bytes = live(7, 6, SMALL, digest);
	/* Bytes of messages and numbers all over the first half: a core that hears another thing says another. */
	for (unsigned int i = 0; i < 200; i++) {
		long at = 4096 + (long)(bytes * (i + 20) / 250);
		FILE *f = fopen(path, "r+");
		int c;

		assert_non_null(f);
		fseek(f, at, SEEK_SET);
		c = fgetc(f);
		fseek(f, at, SEEK_SET);
		fputc(c ^ 0x41, f);
		fclose(f);
		e.text[0] = 0;
		refused += blackbox_play(path, &pure, NULL, NULL, &r, &e) != 0;
		f = fopen(path, "r+");
		assert_non_null(f);
		fseek(f, at, SEEK_SET);
		fputc(c, f);
		fclose(f);
	}
	printf("# %u of 200 changes were found out\n", refused);
	assert_true(refused > 5); /* most bytes are of signatures, whose checking is not repeated */
	must_play(&r, digest);
}

static void test_open_again_then_the_former_box_is_kept(void **state)
{
	struct blackbox *b = NULL;
	struct err e = {0};
	uint8_t digest[16];
	struct stat st;

	(void)state;
	(void)live(3, 4, SMALL, digest);
	assert_int_equal(blackbox_open(path, 0, &b, &e), 0);
	blackbox_close(b);
	assert_int_equal(stat(old, &st), 0);
	assert_int_equal(st.st_size, SMALL);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, BLACKBOX_BYTES);
	assert_int_equal(rename(old, path), 0);
	struct blackbox_report r;
	must_play(&r, digest);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_play_from_birth_then_the_same),
		CASE(test_play_when_the_file_went_round_then_from_a_copy_the_same),
		CASE(test_play_when_a_byte_is_another_then_it_does_not_pass),
		CASE(test_open_again_then_the_former_box_is_kept),
	};
	const char *t = getenv("T");

	if (t)
		cmocka_set_test_filter(t);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
