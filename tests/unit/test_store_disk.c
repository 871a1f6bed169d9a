/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A store whose file or disk is bad, not its own, in use, full, gone; what a kill leaves. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tests/unit/store_dir.h"

static bool has_mounts; /* our own mount namespace */

static void test_open_when_in_use_then_refused_with_the_pid(void **state)
{
	struct store *s = open_store(false), *other = NULL;
	struct err e = {0};
	char want[128];

	(void)state;
	snprintf(want, sizeof(want), "another edged uses %s (pid %d)", dir, (int)getpid());
	assert_int_equal(store_open(dir, NULL, &other, NULL, &e), -EBUSY);
	assert_string_equal(e.text, want);
	assert_null(other);
	close_store(s);
	assert_int_equal(store_open(dir, NULL, &other, NULL, &e),
			 0); /* uv NULL: the blocking half */
	assert_int_equal(store_set_generation(other, 5), 0);
	assert_int_equal(store_write_generation(other, 6, NULL, NULL), -EINVAL);
	store_close(other, NULL, NULL);
}

static void test_open_when_killed_then_next_one_opens_with_what_was_answered(void **state)
{
	struct store *s;
	int status;
	pid_t pid;

	(void)state;
	s = open_store(false);
	close_store(s);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		uv_loop_t child;
		struct ack a = {0};
		struct record r = record_of(OWN, 1, "k", 10, 1, "kept");

		uv_loop_init(&child);
		if (store_open(dir, &child, &s, NULL, NULL) < 0 ||
		    store_write_record(s, &r, ack_cb, &a) < 0)
			_exit(1);
		while (a.count == 0)
			uv_run(&child, UV_RUN_ONCE);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	s = open_store(false);
	assert_records(s, "2/1/k@10.1=kept ");
	close_store(s);
}

static void overwrite(const char *name, long at, size_t len)
{
	uint8_t junk[8192];
	int fd = open(path_of(name), O_RDWR);

	memset(junk, 0x5a, sizeof(junk));
	assert_true(fd >= 0 && len <= sizeof(junk));
	assert_int_equal(pwrite(fd, junk, len, at), len);
	close(fd);
}

static void test_open_when_corrupt_then_set_aside_and_fresh(void **state)
{
	static const struct row {
		const char *name;
		long at;
		size_t len;
	} rows[] = {
		{"header", 0, 100},
		{"first page", 100, 3000},
		{"a page", 4096, 4096},
		{"a later page", 5 * 4096, 4096},
	};
	struct store_status st;
	char bad[32];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store *s = open_store(false);
		char key[16];

		print_message("# %s\n", rows[i].name);
		for (int k = 0; k < 200; k++) {
			snprintf(key, sizeof(key), "k%d", k);
			put(s, record_of(OWN, 1, key, 10, (uint64_t)k + 1, "x"), NULL);
		}
		close_store(s);
		overwrite("edge.db", rows[i].at, rows[i].len);
		s = open_store(true);
		assert_records(s, "");
		store_get_status(s, &st);
		snprintf(bad, sizeof(bad), "edge.db.bad-%zu", i + 1);
		assert_non_null(strstr(st.last_text, bad));
		assert_int_equal(access(path_of(bad), F_OK), 0);
		put_wait(s, record_of(OWN, 1, "new", 11, 1, "x"));
		close_store(s);
		s = open_store(false);
		assert_records(s, "2/1/new@11.1=x ");
		close_store(s);
	}
}

static void test_open_when_too_many_bad_files_then_the_last_is_overwritten(void **state)
{
	char name[32];

	(void)state;
	for (int i = 0; i < STORE_BAD_MAX + 3; i++) {
		struct store *s = open_store(i > 0);

		close_store(s);
		overwrite("edge.db", 0, 100);
	}
	snprintf(name, sizeof(name), "edge.db.bad-%d", STORE_BAD_MAX + 1);
	assert_int_equal(access(path_of(name), F_OK), -1);
	assert_int_equal(access(path_of("edge.db.bad-9"), F_OK), 0);
}

static void test_open_when_not_ours_to_use_then_refused_and_untouched(void **state)
{
	static const struct row {
		const char *name, *sql, *says;
	} rows[] = {
		{"newer schema", "PRAGMA user_version = 99", "schema 99"},
		{"another program's", "PRAGMA application_id = 5", "another program's"},
		{"another program's, unmarked",
		 "PRAGMA application_id = 0; PRAGMA user_version = 0", "another program's"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store *s = open_store(false);
		struct err e = {0};

		print_message("# %s\n", rows[i].name);
		put_wait(s, record_of(OWN, 1, "k", 10, 1, "x"));
		close_store(s);
		exec_sql(rows[i].sql);
		assert_int_equal(store_open(dir, &uv, &s, NULL, &e), -EPROTONOSUPPORT);
		assert_non_null(strstr(e.text, rows[i].says));
		assert_int_equal(access(path_of("edge.db.bad-1"), F_OK), -1);
		assert_int_equal(count_rows("SELECT count(*) FROM record"), 1);
		unlink(path_of("edge.db"));
	}
	/* ours, but without its tables: that is corrupt */
	struct store *s = open_store(false);

	close_store(s);
	exec_sql("DROP TABLE member");
	s = open_store(true);
	close_store(s);
}

static void test_open_when_directory_is_read_only_then_says_so(void **state)
{
	struct store *s = NULL;
	struct err e = {0};
	int r;

	(void)state;
	assert_int_equal(chmod(dir, 0555), 0);
	if (getuid() == 0)
		assert_int_equal(seteuid(65534), 0); /* root may write anywhere */
	r = store_open(dir, NULL, &s, NULL, &e);
	if (getuid() == 0)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(r, -EACCES);
	assert_non_null(strstr(e.text, dir));
	assert_non_null(strstr(e.text, "Permission denied"));
	assert_int_equal(store_open("/proc/none/x", NULL, &s, NULL, &e), -ENOENT);
	assert_null(s);
}

/* Writes beyond the size that the process may give a file fail with EFBIG: a disk that breaks, and is mended. */
static void test_write_when_disk_breaks_then_kept_told_and_retried(void **state)
{
	struct rlimit was, none;
	struct store *s = open_store(false);
	struct store_status st;
	struct ack a = {0}, b = {0}, c = {0};

	(void)state;
	put_wait(s, record_of(OWN, 1, "before", 10, 1, "x"));
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	none = was;
	none.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	put(s, record_of(OWN, 1, "k", 10, 5, "broken"), &a);
	put(s, record_of(OWN, 1, "k", 10, 6, "newest"), &c); /* while the first is under way */
	WAIT(a.count == 1);
	assert_int_equal(a.status, -EIO);
	store_get_status(s, &st);
	assert_true(st.is_broken);
	assert_int_equal(st.last_error, -EIO);
	assert_non_null(strstr(st.last_text, "disk I/O error"));
	assert_int_equal(st.queued, 1);
	/* what came since, for the same identity and others, and an older one that must not win */
	put(s, record_of(OWN, 1, "k", 10, 4, "older"), &b);
	put(s, record_of(OWN, 1, "other", 10, 6, "y"), NULL);
	WAIT(b.count == 1); /* the retry: not at once, but told */
	assert_int_equal(b.status, -EIO);
	assert_int_equal(c.count, 1);
	assert_int_equal(c.status, -EIO);
	assert_int_equal(a.count, 1);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	put(s, record_of(OWN, 1, "third", 10, 7, "z"), &c);
	WAIT(c.count == 2);
	assert_int_equal(c.status, 0);
	store_get_status(s, &st);
	assert_false(st.is_broken);
	assert_int_equal(st.queued, 0);
	assert_records(s, "2/1/before@10.1=x 2/1/k@10.6=newest 2/1/other@10.6=y 2/1/third@10.7=z ");
	close_store(s);
}

static void test_close_when_disk_is_broken_then_ends_and_tells(void **state)
{
	struct rlimit was, none;
	struct store *s = open_store(false);
	struct ack a = {0}, b = {0};
	bool is_closed = false;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	none = was;
	none.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	put(s, record_of(OWN, 1, "k", 10, 5, "x"), &a);
	put(s, record_of(OWN, 1, "l", 10, 6, "x"), &b);
	store_close(s, closed_cb, &is_closed);
	WAIT(is_closed);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(a.count + b.count, 2);
	assert_int_equal(a.status, -EIO);
	assert_int_equal(b.status, -EIO);
	s = open_store(false);
	assert_records(s, "");
	close_store(s);
}

static void fill_disk(void)
{
	static const char junk[4096];
	int fd = open(path_of("filler"), O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	while (write(fd, junk, sizeof(junk)) > 0)
		;
	close(fd);
}

static void test_write_when_disk_is_full_then_enospc_and_retried(void **state)
{
	struct store *s;
	struct store_status st;
	struct ack a = {0}, b = {0};

	(void)state;
	if (!has_mounts) {
		print_message("# needs root and a mount namespace\n");
		skip();
	}
	assert_int_equal(mount("esto", dir, "tmpfs", 0, "size=256k"), 0);
	s = open_store(false);
	put_wait(s, record_of(OWN, 1, "before", 10, 1, "x"));
	fill_disk();
	for (int i = 0; i < 100 && a.status == 0; i++) { /* until the WAL has to grow */
		int before = a.count;

		put(s, record_of(OWN, 1, "k", 10, (uint64_t)i + 2, "x"), &a);
		WAIT(a.count == before + 1);
	}
	assert_int_equal(a.status, -ENOSPC);
	store_get_status(s, &st);
	assert_true(st.is_broken);
	assert_int_equal(st.last_error, -ENOSPC);
	unlink(path_of("filler"));
	put(s, record_of(OWN, 1, "after", 10, 1, "x"), &b);
	WAIT(b.count == 1);
	assert_int_equal(b.status, 0);
	assert_int_equal(count_rows("SELECT count(*) FROM record"), 3);
	close_store(s);
	s = open_store(false);
	close_store(s);
	assert_int_equal(umount(dir), 0);
}

/* A node that starts on a broken disk still has what it last knew, and is whole again when the disk is. */
static void test_open_when_disk_is_read_only_or_full_then_loads_and_mends(void **state)
{
	static const struct row {
		const char *name;
		bool is_full, was_killed;
		int want;
	} rows[] = {
		{"read-only", false, false, -EROFS},
		{"read-only, after kill -9", false, true, -EROFS},
		{"full", true, false, -ENOSPC},
	};

	(void)state;
	if (!has_mounts) {
		print_message("# needs root and a mount namespace\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct store *s;
		struct store_status st;
		struct ack a = {0}, b = {0};
		uint64_t v;

		print_message("# %s\n", rows[i].name);
		assert_int_equal(mount("esto", dir, "tmpfs", 0, "size=512k"), 0);
		s = open_store(false);
		assert_int_equal(store_set_generation(s, 77), 0);
		put_wait(s, record_of(OWN, 1, "known", 10, 1, "x"));
		if (rows[i].was_killed) { /* what is in the log only: a copy of the files as they stand now */
			char cmd[400];

			snprintf(cmd, sizeof(cmd), "cd %s && mkdir was && cp edge.db* was", dir);
			assert_int_equal(system(cmd), 0);
			close_store(s);
			snprintf(cmd, sizeof(cmd), "cd %s && mv was/* . && test -s edge.db-wal",
				 dir);
			assert_int_equal(system(cmd), 0);
		} else {
			close_store(s);
		}
		if (rows[i].is_full)
			fill_disk();
		else
			assert_int_equal(mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
		s = open_store(false);
		store_get_status(s, &st);
		assert_true(st.is_broken);
		assert_int_equal(st.last_error, rows[i].want);
		assert_true(st.last_text[0]);
		assert_records(s, "2/1/known@10.1=x ");
		assert_int_equal(store_get_generation(s, &v), 0);
		assert_int_equal(v, 77);
		assert_true(store_set_generation(s, 78) < 0);
		put(s, record_of(OWN, 1, "news", 10, 2, "y"), &a);
		WAIT(a.count == 1);
		assert_int_equal(a.status, rows[i].want);
		if (rows[i].is_full)
			unlink(path_of("filler"));
		else
			assert_int_equal(mount(NULL, dir, NULL, MS_REMOUNT, NULL), 0);
		put(s, record_of(OWN, 1, "third", 10, 3, "z"), &b);
		WAIT(b.count > 0);
		if (b.status < 0) { /* asked before the disk was mended: once more */
			put(s, record_of(OWN, 1, "third", 10, 4, "z"), &b);
			WAIT(b.count == 2);
		}
		assert_int_equal(b.status, 0);
		store_get_status(s, &st);
		assert_false(st.is_broken);
		assert_int_equal(store_set_generation(s, 79), 0);
		assert_int_equal(count_rows("SELECT count(*) FROM record"), 3);
		close_store(s);
		assert_int_equal(umount(dir), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(test_open_when_in_use_then_refused_with_the_pid),
		STORE_TEST(test_open_when_killed_then_next_one_opens_with_what_was_answered),
		STORE_TEST(test_open_when_corrupt_then_set_aside_and_fresh),
		STORE_TEST(test_open_when_too_many_bad_files_then_the_last_is_overwritten),
		STORE_TEST(test_open_when_not_ours_to_use_then_refused_and_untouched),
		STORE_TEST(test_open_when_directory_is_read_only_then_says_so),
		STORE_TEST(test_write_when_disk_breaks_then_kept_told_and_retried),
		STORE_TEST(test_close_when_disk_is_broken_then_ends_and_tells),
		STORE_TEST(test_write_when_disk_is_full_then_enospc_and_retried),
		STORE_TEST(test_open_when_disk_is_read_only_or_full_then_loads_and_mends),
	};

	/* Before there are threads: mounts made here are gone with the process. */
	has_mounts = getuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
		     mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
