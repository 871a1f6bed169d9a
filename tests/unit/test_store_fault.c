/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The store on a disk that fails: at every single write a crash, with and without what was not synced yet, and an error; a disk
 * that takes seconds; files that are deleted or replaced under it. Below SQLite stands a VFS that does so. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_MS 20000
#define PUTS 6
#define UNDO_MAX 4096
#define KIND 70 /* shared */

/* ---- the disk */

enum fault { CRASH_KEEPS_ALL, CRASH_LOSES_UNSYNCED, CRASH_TEARS, FAILS_ONCE, FAULTS };

static struct disk {
	enum fault fault;
	int at, count;	  /* which operation; so far */
	unsigned slow_ms; /* a sync takes */
	struct undo {	  /* what stood there before a write that is not synced */
		sqlite3_file *real;
		sqlite3_int64 at, size;
		int len;
		uint8_t *old;
	} undo[UNDO_MAX];
	size_t undo_count;
} disk;

struct file {
	sqlite3_file base;
	sqlite3_file *real;
};
static sqlite3_vfs *real_vfs, shim;

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct file *)f)->real;
}

static void power_cut(void)
{
	for (size_t i = disk.undo_count; i-- > 0;) {
		struct undo *u = &disk.undo[i];

		if (disk.fault == CRASH_KEEPS_ALL ||
		    (disk.fault == CRASH_TEARS && (i * 7 + (size_t)disk.at) % 3 == 0))
			continue;
		(void)u->real->pMethods->xWrite(u->real, u->old, u->len, u->at);
		if (disk.fault == CRASH_LOSES_UNSYNCED)
			(void)u->real->pMethods->xTruncate(u->real, u->size);
	}
	_exit(77);
}

/* true: this one fails. */
static bool is_hit(void)
{
	if (++disk.count != disk.at)
		return false;
	if (disk.fault != FAILS_ONCE)
		power_cut();
	return true;
}

static void remember(sqlite3_file *real, sqlite3_int64 at, int len)
{
	struct undo *u = &disk.undo[disk.undo_count];

	if (disk.undo_count == UNDO_MAX)
		_exit(3);
	*u = (struct undo){.real = real, .at = at, .len = len, .old = calloc(1, (size_t)len + 1)};
	(void)real->pMethods->xFileSize(real, &u->size);
	if (at < u->size) /* what lies behind the end is zeros */
		(void)real->pMethods->xRead(real, u->old, len, at);
	disk.undo_count++;
}

static int do_write(sqlite3_file *f, const void *buf, int len, sqlite3_int64 at)
{
	sqlite3_file *real = real_of(f);

	remember(real, at, len);
	if (disk.count + 1 == disk.at && disk.fault == CRASH_TEARS)
		(void)real->pMethods->xWrite(real, buf, len / 2, at);
	if (is_hit())
		return SQLITE_IOERR_WRITE;
	return real->pMethods->xWrite(real, buf, len, at);
}

static int do_sync(sqlite3_file *f, int flags)
{
	sqlite3_file *real = real_of(f);
	size_t kept = 0;

	if (is_hit())
		return SQLITE_IOERR_FSYNC;
	if (disk.slow_ms)
		usleep(disk.slow_ms * 1000);
	for (size_t i = 0; i < disk.undo_count; i++)
		if (disk.undo[i].real == real)
			free(disk.undo[i].old);
		else
			disk.undo[kept++] = disk.undo[i];
	disk.undo_count = kept;
	return real->pMethods->xSync(real, flags);
}

static int do_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	sqlite3_file *real = real_of(f);
	sqlite3_int64 was = 0;

	(void)real->pMethods->xFileSize(real, &was);
	if (was > size)
		remember(real, size, (int)(was - size));
	return is_hit() ? SQLITE_IOERR_TRUNCATE : real->pMethods->xTruncate(real, size);
}

static int do_close(sqlite3_file *f)
{
	sqlite3_file *real = real_of(f);
	size_t kept = 0;
	int rc;

	for (size_t i = 0; i < disk.undo_count; i++)
		if (disk.undo[i].real != real)
			disk.undo[kept++] = disk.undo[i];
		else
			free(disk.undo[i].old);
	disk.undo_count = kept;
	rc = real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
	free(real);
	return rc;
}

static int do_read(sqlite3_file *f, void *buf, int len, sqlite3_int64 at)
{
	return real_of(f)->pMethods->xRead(real_of(f), buf, len, at);
}
static int do_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return real_of(f)->pMethods->xFileSize(real_of(f), size);
}
static int do_lock(sqlite3_file *f, int how)
{
	return real_of(f)->pMethods->xLock(real_of(f), how);
}
static int do_unlock(sqlite3_file *f, int how)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), how);
}
static int do_reserved(sqlite3_file *f, int *ret)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), ret);
}
static int do_control(sqlite3_file *f, int op, void *arg)
{
	return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}
static int do_sector(sqlite3_file *f)
{
	return real_of(f)->pMethods->xSectorSize(real_of(f));
}
static int do_device(sqlite3_file *f)
{
	(void)f;
	return 0; /* it promises nothing */
}
static int do_shm_map(sqlite3_file *f, int page, int bytes, int extend, void volatile **ret)
{
	return real_of(f)->pMethods->xShmMap(real_of(f), page, bytes, extend, ret);
}
static int do_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
	return real_of(f)->pMethods->xShmLock(real_of(f), offset, n, flags);
}
static void do_shm_barrier(sqlite3_file *f)
{
	real_of(f)->pMethods->xShmBarrier(real_of(f));
}
static int do_shm_unmap(sqlite3_file *f, int is_delete)
{
	return real_of(f)->pMethods->xShmUnmap(real_of(f), is_delete);
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = do_close,
	.xRead = do_read,
	.xWrite = do_write,
	.xTruncate = do_truncate,
	.xSync = do_sync,
	.xFileSize = do_size,
	.xLock = do_lock,
	.xUnlock = do_unlock,
	.xCheckReservedLock = do_reserved,
	.xFileControl = do_control,
	.xSectorSize = do_sector,
	.xDeviceCharacteristics = do_device,
	.xShmMap = do_shm_map,
	.xShmLock = do_shm_lock,
	.xShmBarrier = do_shm_barrier,
	.xShmUnmap = do_shm_unmap,
};

static int do_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
	struct file *file = (struct file *)f;
	int rc;

	(void)vfs;
	file->base.pMethods = NULL;
	file->real = calloc(1, (size_t)real_vfs->szOsFile);
	if (!file->real)
		return SQLITE_NOMEM;
	rc = real_vfs->xOpen(real_vfs, name, file->real, flags, ret_flags);
	if (rc == SQLITE_OK)
		file->base.pMethods = &methods;
	else
		free(file->real);
	return rc;
}

static int do_delete(sqlite3_vfs *vfs, const char *name, int is_dir_synced)
{
	(void)vfs;
	return is_hit() ? SQLITE_IOERR_DELETE : real_vfs->xDelete(real_vfs, name, is_dir_synced);
}

static void use_disk(enum fault fault, int at)
{
	disk = (struct disk){.fault = fault, .at = at};
	if (!real_vfs) {
		sqlite3_initialize();
		real_vfs = sqlite3_vfs_find(NULL);
		shim = *real_vfs;
		shim.szOsFile = sizeof(struct file);
		shim.zName = "fault";
		shim.xOpen = do_open;
		shim.xDelete = do_delete;
	}
	sqlite3_vfs_register(&shim, 1);
}

static void use_real_disk(void)
{
	sqlite3_vfs_unregister(&shim);
}

/* ---- the store on it */

static char dir[64];

static const char *path_of(const char *name)
{
	static char path[2][128];
	static unsigned turn;
	char *p = path[turn++ % 2];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void empty_dir(void)
{
	char cmd[100];

	snprintf(cmd, sizeof(cmd), "rm -f %s/*", dir);
	assert_int_equal(system(cmd), 0);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/esto-fault-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	empty_dir();
	return rmdir(dir);
}

struct ack {
	int count, status;
};

static void ack_cb(int status, void *arg)
{
	struct ack *a = arg;

	a->count++;
	a->status = status;
}

static struct record record_of(uint8_t value[4], uint64_t n)
{
	memcpy(value, (const uint8_t[]){0x81, 0xa1, 'v', (uint8_t)n}, 4);
	return (struct record){.kind = KIND,
			       .seq = n,
			       .key = (const uint8_t *)"k",
			       .key_len = 1,
			       .value = value,
			       .value_len = 4};
}

/* The result of the write; with_loop: the loop turns meanwhile. */
static int put(uv_loop_t *uv, struct store *s, uint64_t n)
{
	uint8_t value[4];
	struct record r = record_of(value, n);
	struct ack a = {0};
	int rc = store_write_record(s, &r, ack_cb, &a);

	while (!rc && !a.count)
		uv_run(uv, UV_RUN_ONCE);
	return rc ? rc : a.status;
}

struct seen {
	uint64_t n;
	size_t count;
};

static int seen_cb(const struct record *r, void *arg)
{
	struct seen *s = arg;

	s->count++;
	s->n = r->value[3];
	if (r->seq != s->n)
		s->n = 99; /* half of one */
	return 0;
}

/* Opened anew on a sound disk: what is there; it must not have been taken for damaged. */
static struct seen look(void)
{
	struct seen seen = {0};
	bool was_reset = false;
	struct err e = {0};
	struct store *s;

	if (store_open(dir, NULL, &s, &was_reset, &e))
		fail_msg("%s", e.text);
	assert_false(was_reset);
	assert_int_equal(store_load_records(s, seen_cb, &seen), 0);
	store_close(s, NULL, NULL);
	return seen;
}

struct progress {
	volatile int asked, answered;
};

/* In a child: from an empty directory on. */
static void live(struct progress *p, enum fault fault, int at)
{
	uv_loop_t uv;
	struct store *s;
	struct err e = {0};
	bool is_opened = false;

	use_disk(fault, at);
	uv_loop_init(&uv);
	/* What fails at the start is tried again by who starts it. */
	for (int i = 0; i < 2 && !is_opened; i++)
		is_opened = !store_open(dir, &uv, &s, NULL, &e);
	if (!is_opened)
		_exit(2);
	for (int i = 1; i <= PUTS; i++) {
		p->asked = i;
		for (int k = 0; k < 3 && put(&uv, s, (uint64_t)i); k++)
			if (fault != FAILS_ONCE)
				_exit(3);
		p->answered = i;
	}
	store_close(s, NULL, NULL);
	uv_run(&uv, UV_RUN_DEFAULT);
	_exit(0);
}

static void test_fault_when_at_any_write_then_no_state_that_was_not_there(void **state)
{
	struct progress *p =
		mmap(NULL, sizeof(*p), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_ptr_not_equal(p, MAP_FAILED);
	for (enum fault fault = 0; fault < FAULTS; fault++) {
		int status = 1, at = 0;

		for (at = 1; status != 0 || at < 20; at++) {
			struct seen seen;
			pid_t pid;

			empty_dir();
			*p = (struct progress){0, 0};
			fflush(NULL);
			pid = fork();
			if (pid == 0) {
				alarm(LIMIT_MS / 1000);
				live(p, fault, at);
			}
			assert_int_equal(waitpid(pid, &status, 0), pid);
			if (!WIFEXITED(status) ||
			    (WEXITSTATUS(status) && WEXITSTATUS(status) != 77))
				fail_msg("fault %d at write %d: status %x", fault, at, status);
			seen = look();
			if (seen.n < (uint64_t)p->answered || seen.n > (uint64_t)p->asked ||
			    seen.count != (seen.n > 0))
				fail_msg("fault %d at write %d: %zu records, %d, asked %d, "
					 "answered %d",
					 fault, at, seen.count, (int)seen.n, p->asked, p->answered);
			if (fault == FAILS_ONCE) {
				assert_int_equal(seen.n, PUTS);
				if (at > 60)
					break; /* all that a life writes */
				status = 1;
				at += 6; /* each waits for the next try */
			}
		}
		print_message("# fault %d: at %d writes\n", fault, at - 1);
		assert_true(at > 20);
	}
	munmap(p, sizeof(*p));
}

struct beat {
	uint64_t last_ms, gap_ms;
};

static void on_beat(uv_timer_t *t)
{
	struct beat *b = t->data;
	uint64_t now = uv_hrtime() / 1000000;

	if (b->last_ms && now - b->last_ms > b->gap_ms)
		b->gap_ms = now - b->last_ms;
	b->last_ms = now;
}

static void test_write_when_disk_is_slow_then_the_loop_goes_on_and_it_is_told(void **state)
{
	struct beat beat = {0};
	struct store_status st;
	struct ack a = {0};
	uint8_t value[4];
	struct record r = record_of(value, 1);
	uint64_t most_ms = 0;
	struct store *s;
	uv_timer_t timer;
	uv_loop_t uv;

	(void)state;
	use_disk(CRASH_KEEPS_ALL, 0);
	uv_loop_init(&uv);
	uv_timer_init(&uv, &timer);
	timer.data = &beat;
	assert_int_equal(store_open(dir, &uv, &s, NULL, NULL), 0);
	disk.slow_ms = 1500;
	uv_timer_start(&timer, on_beat, 0, 10);
	assert_int_equal(store_write_record(s, &r, ack_cb, &a), 0);
	while (!a.count) {
		uv_run(&uv, UV_RUN_ONCE);
		store_get_status(s, &st);
		most_ms = st.busy_ms > most_ms ? st.busy_ms : most_ms;
	}
	disk.slow_ms = 0;
	assert_int_equal(a.status, 0);
	assert_true(most_ms >= 1000);
	assert_true(beat.gap_ms < 1000);
	store_get_status(s, &st);
	assert_int_equal(st.busy_ms, 0);
	uv_close((uv_handle_t *)&timer, NULL);
	store_close(s, NULL, NULL);
	uv_run(&uv, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&uv), 0);
	use_real_disk();
}

static void test_write_when_file_is_deleted_or_replaced_then_it_is_written_anew(void **state)
{
	static const char *const how[] = {"rm -f edge.db", "rm -f edge.db*",
					  "cp edge.db x && mv x edge.db",
					  "echo no database >x && mv x edge.db"};

	(void)state;
	for (size_t i = 0; i < sizeof(how) / sizeof(how[0]); i++) {
		struct store_status st;
		struct store *s;
		struct seen seen;
		char cmd[200];
		uv_loop_t uv;

		print_message("# %s\n", how[i]);
		empty_dir();
		uv_loop_init(&uv);
		assert_int_equal(store_open(dir, &uv, &s, NULL, NULL), 0);
		assert_int_equal(store_set_generation(s, 4711), 0);
		assert_int_equal(put(&uv, s, 1), 0);
		snprintf(cmd, sizeof(cmd), "cd %s && %s", dir, how[i]);
		assert_int_equal(system(cmd), 0);
		assert_int_equal(put(&uv, s, 2), 0);
		assert_int_equal(put(&uv, s, 3), 0);
		store_get_status(s, &st);
		assert_false(st.is_broken);
		assert_int_equal(st.rescues, 1);
		assert_int_equal(access(path_of("edge.db.bad-1"), F_OK), i < 2 ? -1 : 0);
		store_close(s, NULL, NULL);
		uv_run(&uv, UV_RUN_DEFAULT);
		assert_int_equal(uv_loop_close(&uv), 0);
		seen = look();
		assert_int_equal(seen.count, 1);
		assert_int_equal(seen.n, 3);
		assert_int_equal(access(path_of("edge.db-new"), F_OK), -1);
	}
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(test_fault_when_at_any_write_then_no_state_that_was_not_there),
		CASE(test_write_when_disk_is_slow_then_the_loop_goes_on_and_it_is_told),
		CASE(test_write_when_file_is_deleted_or_replaced_then_it_is_written_anew),
	};
#undef CASE

	return cmocka_run_group_tests(tests, NULL, NULL);
}
