/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/poison.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x65504f31u /* "ePO1": another layout has another number */
#define STACK_BYTES 16384 /* of the signal handler: the ordinary stack may be what overflowed */

enum doing { DOING_NOTHING, DOING_ONE, DOING_BATCH };

struct page {
	uint32_t magic, bytes;
	uint32_t doing;	  /* enum doing */
	uint32_t signal;  /* that our handler saw, 0 = none */
	uint32_t is_many; /* more records are new than `fresh` can name */
	uint32_t strikes; /* when nobody in particular was to blame */
	uint32_t fresh_count, held_count;
	struct poison_entry current;
	struct poison_entry fresh[POISON_FRESH_MAX];
	struct poison_entry held[POISON_HELD_MAX];
};

struct poison {
	struct page *page;
	enum poison_trial trial;
	bool is_file;
};

static struct page *marked; /* where the signal handler leaves its mark */
static pid_t marked_thread;

/* ---- entries */

static uint64_t content_of(const struct record *r)
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < r->value_len; i++)
		h = (h ^ r->value[i]) * 0x100000001b3ull;
	return h;
}

static bool is_identity(const struct poison_entry *e, const struct record *r)
{
	return e->kind == r->kind && e->key_len == r->key_len &&
	       memcmp(e->key, r->key, r->key_len) == 0 &&
	       (record_scope_of(r->kind) == RECORD_SHARED ||
		node_id_cmp(&e->writer, &r->writer) == 0);
}

static void fill(struct poison_entry *e, const struct record *r, const uint8_t *former,
		 size_t former_len)
{
	e->kind = r->kind;
	e->cause = POISON_DEATH;
	e->strikes = e->signal = e->is_tried = e->is_seen = e->is_past = 0;
	e->writer = r->writer;
	e->generation = r->generation;
	e->seq = r->seq;
	e->content = content_of(r);
	e->unix_s = 0;
	e->key_len = (uint16_t)(r->key_len < sizeof(e->key) ? r->key_len : sizeof(e->key));
	memcpy(e->key, r->key, e->key_len);
	e->value_len =
		(uint16_t)(r->value_len < sizeof(e->value) ? r->value_len : sizeof(e->value));
	if (e->value_len)
		memcpy(e->value, r->value, e->value_len);
	e->has_former = former && former_len <= sizeof(e->former);
	e->former_len = e->has_former ? (uint16_t)former_len : 0;
	if (e->has_former && former_len)
		memcpy(e->former, former, former_len);
}

static struct poison_entry *find(struct poison_entry *list, uint32_t count, const struct record *r)
{
	for (uint32_t i = 0; i < count; i++)
		if (!list[i].is_past && is_identity(&list[i], r))
			return &list[i];
	return NULL;
}

static void take_out(struct poison_entry *list, uint32_t *count, uint32_t i)
{
	memmove(&list[i], &list[i + 1], (*count - i - 1) * sizeof(*list));
	(*count)--;
}

static bool is_same_entry(const struct poison_entry *a, const struct poison_entry *b)
{
	return a->kind == b->kind && a->key_len == b->key_len &&
	       memcmp(a->key, b->key, a->key_len) == 0 &&
	       (record_scope_of(a->kind) == RECORD_SHARED ||
		node_id_cmp(&a->writer, &b->writer) == 0);
}

static void quarantine(struct page *g, const struct poison_entry *e)
{
	uint32_t oldest = 0;

	for (uint32_t i = 0; i < g->held_count; i++)
		if (is_same_entry(&g->held[i], e) &&
		    (!g->held[i].is_past || g->held[i].content == e->content))
			take_out(g->held, &g->held_count, i--);
	if (g->held_count == POISON_HELD_MAX) {
		for (uint32_t i = 0; i < g->held_count; i++)
			if (g->held[i].is_past || g->held[i].cause == POISON_UNREADABLE) {
				oldest = i;
				break;
			}
		take_out(g->held, &g->held_count, oldest);
	}
	g->held[g->held_count] = *e;
	g->held[g->held_count++].unix_s = (uint64_t)time(NULL);
}

/* ---- the last death */

static void drop_innocent(struct page *g)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < g->fresh_count; i++)
		if (g->fresh[i].strikes)
			g->fresh[kept++] = g->fresh[i];
	g->fresh_count = kept;
}

static void judge_one(struct page *g, uint8_t weight)
{
	struct poison_entry e = g->current, *known = NULL;

	for (uint32_t i = 0; i < g->fresh_count; i++)
		if (is_same_entry(&g->fresh[i], &e) && g->fresh[i].content == e.content)
			known = &g->fresh[i];
	e.strikes = (uint8_t)(weight + (known ? known->strikes : 0));
	e.signal = (uint8_t)g->signal;
	if (e.strikes >= POISON_STRIKES) {
		if (known)
			take_out(g->fresh, &g->fresh_count, (uint32_t)(known - g->fresh));
		quarantine(g, &e);
	} else if (known) {
		*known = e;
	} else if (g->fresh_count < POISON_FRESH_MAX) {
		g->fresh[g->fresh_count++] = e;
	}
	drop_innocent(g);
}

static enum poison_trial judge_batch(struct page *g, uint8_t weight)
{
	uint8_t most = 0;
	bool has_struck = false;

	for (uint32_t i = 0; i < g->fresh_count; i++)
		has_struck |= g->fresh[i].strikes && g->fresh[i].is_seen;
	if (!has_struck && g->is_many) {
		drop_innocent(g);
		g->strikes += weight;
		return g->strikes >= POISON_STRIKES ? POISON_TRY_ALL : POISON_NO_TRIAL;
	}
	for (uint32_t i = 0; i < g->fresh_count; i++) {
		struct poison_entry *e = &g->fresh[i];

		if (!e->is_seen || (has_struck && !e->strikes))
			continue;
		e->strikes = (uint8_t)(e->strikes + weight);
		e->signal = (uint8_t)g->signal;
		most = e->strikes > most ? e->strikes : most;
	}
	drop_innocent(g);
	if (most < POISON_STRIKES)
		return POISON_NO_TRIAL;
	if (g->fresh_count > 1)
		return POISON_TRY_SUSPECTS;
	if (g->fresh_count) {
		quarantine(g, &g->fresh[0]);
		g->fresh_count = 0;
	}
	return POISON_NO_TRIAL;
}

static enum poison_trial judge(struct page *g)
{
	uint8_t weight = g->signal ? POISON_STRIKES : 1;
	enum poison_trial trial = POISON_NO_TRIAL;

	switch ((enum doing)g->doing) {
	case DOING_NOTHING:
		drop_innocent(g);
		break;
	case DOING_ONE:
		judge_one(g, weight);
		break;
	case DOING_BATCH:
		trial = judge_batch(g, weight);
		break;
	}
	for (uint32_t i = 0; i < g->fresh_count; i++)
		g->fresh[i].is_seen = 0;
	for (uint32_t i = 0; i < g->held_count; i++)
		g->held[i].is_past = g->held[i].is_past ? 2 : 0;
	g->doing = DOING_NOTHING;
	g->signal = 0;
	g->is_many = 1; /* all that will be loaded */
	return trial;
}

/* ---- the file */

static bool is_entry(const struct poison_entry *e)
{
	return e->key_len <= RECORD_KEY_MAX && e->value_len <= RECORD_VALUE_MAX &&
	       e->former_len <= RECORD_VALUE_MAX;
}

static bool is_sound(const struct page *g)
{
	if (g->magic != MAGIC || g->bytes != sizeof(*g) || g->doing > DOING_BATCH ||
	    g->fresh_count > POISON_FRESH_MAX || g->held_count > POISON_HELD_MAX ||
	    !is_entry(&g->current))
		return false;
	for (uint32_t i = 0; i < g->fresh_count; i++)
		if (!is_entry(&g->fresh[i]))
			return false;
	for (uint32_t i = 0; i < g->held_count; i++)
		if (!is_entry(&g->held[i]) || g->held[i].is_past > 2)
			return false;
	return true;
}

static int map_file(const char *dir, struct page **ret_page, struct err *e)
{
	char path[512];
	void *at;
	int fd, rc = 0;

	snprintf(path, sizeof(path), "%s/applying", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	/* The blocks too: a full disk must not be found out about by a store. */
	if (ftruncate(fd, sizeof(struct page)))
		rc = -errno;
	if (!rc)
		rc = -posix_fallocate(fd, 0, sizeof(struct page));
	at = rc ? MAP_FAILED
		: mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!rc && at == MAP_FAILED)
		rc = -errno;
	close(fd);
	if (rc)
		return err_set(e, rc, "%s: %s", path, strerror(-rc));
	*ret_page = at;
	return 0;
}

int poison_open(const char *dir, struct poison **ret_poison, struct err *e)
{
	struct poison *p = calloc(1, sizeof(*p));
	void *at;
	int rc = 0;

	if (!p)
		return err_set(e, -ENOMEM, "out of memory");
	if (dir)
		rc = map_file(dir, &p->page, e);
	p->is_file = dir && !rc;
	if (!p->page) {
		at = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED) {
			free(p);
			return err_set(e, -ENOMEM, "out of memory");
		}
		p->page = at;
	}
	if (!is_sound(p->page)) {
		memset(p->page, 0, sizeof(*p->page));
		p->page->magic = MAGIC;
		p->page->bytes = sizeof(*p->page);
	}
	p->trial = judge(p->page);
	if (p->is_file)
		/* What fails here is as good as the page cache is. */
		(void)msync(p->page, sizeof(*p->page), MS_SYNC);
	*ret_poison = p;
	return rc;
}

void poison_close(struct poison *p)
{
	if (!p)
		return;
	if (marked == p->page)
		marked = NULL;
	p->page->doing = DOING_NOTHING;
	if (p->is_file)
		(void)msync(p->page, sizeof(*p->page), MS_SYNC); /* as above */
	munmap(p->page, sizeof(*p->page));
	free(p);
}

/* ---- signals */

/* Our own doing, in the thread that applies records; not someone's kill. */
static void on_crash(int signum, siginfo_t *info, void *context)
{
	struct page *g = marked;

	(void)context;
	if (g && gettid() == marked_thread && (info->si_code > 0 || info->si_pid == getpid()))
		__atomic_store_n(&g->signal, (uint32_t)signum, __ATOMIC_RELEASE);
	signal(signum, SIG_DFL);
	raise(signum); /* comes when this handler returns; a fault would also come again by itself */
}

void poison_catch(struct poison *p)
{
	static const int signum[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
	static uint64_t stack[STACK_BYTES / 8];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction sa = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	marked = p->page;
	marked_thread = gettid();
	sigemptyset(&sa.sa_mask);
	/* Without: a death that nobody saw, which takes two. */
	if (sigaltstack(&ss, NULL))
		sa.sa_flags &= ~SA_ONSTACK;
	for (size_t i = 0; i < sizeof(signum) / sizeof(signum[0]); i++)
		(void)sigaction(signum[i], &sa, NULL);
}

/* ---- applying */

static void set_doing(struct poison *p, enum doing what)
{
	__atomic_store_n(&p->page->doing, (uint32_t)what, __ATOMIC_SEQ_CST);
}

void poison_begin(struct poison *p, const struct record *r, const uint8_t *former,
		  size_t former_len)
{
	struct page *g = p->page;
	const struct poison_entry *e;

	fill(&g->current, r, former, former_len);
	if (!former) {
		e = find(g->held, g->held_count, r);
		if (!e)
			e = find(g->fresh, g->fresh_count, r);
		if (e && e->has_former) {
			g->current.has_former = 1;
			g->current.former_len = e->former_len;
			memcpy(g->current.former, e->former, e->former_len);
		}
	}
	set_doing(p, DOING_ONE);
}

void poison_end(struct poison *p, bool has_changed)
{
	struct page *g = p->page;
	const struct poison_entry *c = &g->current;

	set_doing(p, DOING_NOTHING);
	for (uint32_t i = 0; i < g->fresh_count; i++)
		if (is_same_entry(&g->fresh[i], c)) {
			/* what was before both of them is what was good */
			if (g->fresh[i].content != c->content)
				g->fresh[i].strikes = g->fresh[i].is_tried = 0;
			g->fresh[i].generation = c->generation;
			g->fresh[i].seq = c->seq;
			g->fresh[i].content = c->content;
			g->fresh[i].value_len = c->value_len;
			memcpy(g->fresh[i].value, c->value, c->value_len);
			g->fresh[i].is_seen = 1;
			return;
		}
	if (!has_changed || g->is_many)
		return;
	if (g->fresh_count == POISON_FRESH_MAX) {
		g->is_many = 1;
		return;
	}
	g->fresh[g->fresh_count] = *c;
	g->fresh[g->fresh_count++].is_seen = 1;
}

void poison_batch_begin(struct poison *p)
{
	set_doing(p, DOING_BATCH);
}

void poison_batch_end(struct poison *p, bool has_ended)
{
	struct page *g = p->page;
	uint32_t kept = 0;

	set_doing(p, DOING_NOTHING);
	if (!has_ended)
		return;
	for (uint32_t i = 0; i < g->fresh_count; i++)
		if (!g->fresh[i].is_seen) /* has a strike, and did not come yet */
			g->fresh[kept++] = g->fresh[i];
	g->fresh_count = kept;
	g->is_many = g->strikes = 0;
}

void poison_all_new(struct poison *p)
{
	p->page->is_many = 1;
}

/* ---- quarantine */

const struct poison_entry *poison_find(const struct poison *p, const struct record *r)
{
	const struct poison_entry *e = find(p->page->held, p->page->held_count, r);

	return e || p->trial != POISON_TRY_SUSPECTS ? e
						    : find(p->page->fresh, p->page->fresh_count, r);
}

bool poison_is_held(const struct poison *p, const struct record *r)
{
	const struct page *g = p->page;
	const struct poison_entry *e = poison_find(p, r);
	uint64_t content = content_of(r);

	if (e && e->cause == POISON_DEATH && e->content == content)
		return true;
	for (uint32_t i = 0; i < g->held_count; i++)
		if (g->held[i].is_past && g->held[i].cause == POISON_DEATH &&
		    g->held[i].content == content && is_identity(&g->held[i], r))
			return true;
	return false;
}

void poison_again(struct poison *p, const struct record *r, const uint8_t *former,
		  size_t former_len)
{
	struct page *g = p->page;
	uint64_t content = content_of(r);

	for (uint32_t i = 0; i < g->held_count; i++) {
		struct poison_entry *e = &g->held[i];
		const struct record held = {.kind = e->kind,
					    .writer = e->writer,
					    .generation = e->generation,
					    .seq = e->seq};
		struct poison_entry next;

		if (!is_identity(e, r) || e->content != content ||
		    record_cmp_version(&held, r) >= 0)
			continue;
		next = *e;
		fill(&next, r, former, former_len);
		next.signal = e->signal;
		if (!former && e->has_former) {
			next.has_former = 1;
			next.former_len = e->former_len;
		}
		quarantine(g, &next);
		return;
	}
}

void poison_hold(struct poison *p, const struct record *r, enum poison_cause cause,
		 const uint8_t *former, size_t former_len)
{
	struct poison_entry e;

	memset(&e, 0, sizeof(e));
	fill(&e, r, former, former_len);
	e.cause = (uint8_t)cause;
	if (cause == POISON_UNREADABLE && p->page->held_count == POISON_HELD_MAX &&
	    !poison_find(p, r))
		return; /* the list is what is shown; nothing is lost but a line */
	quarantine(p->page, &e);
}

void poison_drop(struct poison *p, const struct record *r)
{
	struct page *g = p->page;

	for (uint32_t i = 0; i < g->held_count; i++)
		if (is_identity(&g->held[i], r))
			take_out(g->held, &g->held_count, i--);
}

void poison_outdated(struct poison *p, const struct record *r)
{
	struct page *g = p->page;

	for (uint32_t i = 0; i < g->held_count; i++) {
		struct poison_entry *e = &g->held[i];
		const struct record held = {.kind = e->kind,
					    .writer = e->writer,
					    .generation = e->generation,
					    .seq = e->seq};

		if (!is_identity(e, r) || record_cmp_version(&held, r) > 0)
			continue;
		if (e->is_past == 2)
			take_out(g->held, &g->held_count, i--);
		else
			e->is_past = 1;
	}
}

size_t poison_count(const struct poison *p)
{
	size_t n = 0;

	for (uint32_t i = 0; i < p->page->held_count; i++)
		n += !p->page->held[i].is_past;
	return n;
}

const struct poison_entry *poison_at(const struct poison *p, size_t i)
{
	const struct poison_entry *e = p->page->held;

	for (;; e++)
		if (!e->is_past && i-- == 0)
			return e;
}

/* ---- trial */

enum poison_trial poison_trial(const struct poison *p)
{
	return p->trial;
}

size_t poison_suspect_count(const struct poison *p)
{
	return p->page->fresh_count;
}

const struct poison_entry *poison_suspect_at(const struct poison *p, size_t i)
{
	return &p->page->fresh[i];
}

void poison_convict(struct poison *p, size_t suspect)
{
	quarantine(p->page, &p->page->fresh[suspect]);
	take_out(p->page->fresh, &p->page->fresh_count, (uint32_t)suspect);
}

void poison_trial_end(struct poison *p, bool has_found)
{
	struct page *g = p->page;

	if (has_found)
		g->fresh_count = 0;
	for (uint32_t i = g->fresh_count; i-- > 0;) {
		if (g->fresh[i].is_tried) {
			poison_convict(p, i);
			continue;
		}
		g->fresh[i].is_tried = 1;
		g->fresh[i].strikes = POISON_STRIKES - 1;
	}
	g->strikes = 0;
	p->trial = POISON_NO_TRIAL;
	if (p->is_file)
		(void)msync(g, sizeof(*g), MS_SYNC); /* as in poison_open() */
}
