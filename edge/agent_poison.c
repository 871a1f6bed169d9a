/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The quarantine as the agent sees it. Where a death left several suspects, the computation is tried in child processes: one
 * that applies the first k of them, and dies or not. The smallest k that dies names the guilty one, also if it takes
 * another record to make it dangerous; log2(n) children, then again without it. What is written into maps is not tried. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "edge/agent_int.h"

#define CONVICTS_MAX 16 /* in one trial */

struct agent_trial_limits agent_trial_limits = {.cpu_s = 20, .child_s = 60, .all_s = 300};

/* Any maps will do for a plan that is never written. */
static const struct plan_sizes trial_sizes = {.svcs = DP_SVC_MAX,
					      .backends = DP_BACKEND_MAX,
					      .nodes = DP_NODE_MAX,
					      .rows = 1u << 22,
					      .pages = 4096,
					      .dirs = 4096,
					      .vips = 4096};

/* ---- what is shown */

static const char *kind_text(uint8_t kind)
{
	switch (kind) {
	case MODEL_KIND_NODE:
		return "node";
	case MODEL_KIND_BACKEND:
		return "backend";
	case MODEL_KIND_HEALTH:
		return "health";
	case MODEL_KIND_SERVICE:
		return "service";
	case MODEL_KIND_OVERRIDE:
		return "override";
	case MODEL_KIND_SEED:
		return "seed";
	case MODEL_KIND_FILTER:
		return "filter";
	case AGENT_KIND_SUMMARY:
		return "summary";
	}
	return "unknown";
}

/* As it came, but what could upset a terminal is replaced; then a hash tells it from others that look alike. */
static void key_text(const uint8_t *key, size_t len, char buf[AGENT_KEY_TEXT])
{
	uint32_t hash = 2166136261u; /* FNV-1a */
	bool is_plain = true;

	len = len < RECORD_KEY_MAX ? len : RECORD_KEY_MAX;
	for (size_t i = 0; i < len; i++) {
		bool is_printable = key[i] >= 0x20 && key[i] < 0x7f;

		hash = (hash ^ key[i]) * 16777619u;
		is_plain &= is_printable;
		buf[i] = is_printable ? (char)key[i] : '?';
	}
	buf[len] = 0;
	if (!is_plain)
		snprintf(buf + len, AGENT_KEY_TEXT - len, "#%08x", hash);
}

const char *agent_poison_text(const struct agent *a, size_t i, char buf[AGENT_TEXT_MAX])
{
	const struct poison_entry *e = poison_at(a->poison, i);
	char name[MODEL_NAME_MAX], key[AGENT_KEY_TEXT];

	key_text(e->key, e->key_len, key);
	if (e->kind == AGENT_KIND_SUMMARY)
		snprintf(buf, AGENT_TEXT_MAX,
			 "the summary of region %s %s: its former one, if any, stays in force", key,
			 e->cause == POISON_DEATH ? "ended this process and is not applied"
						  : "can't be read");
	else
		snprintf(buf, AGENT_TEXT_MAX, "a %s record written by %s %s, %s: \"%.100s\"",
			 kind_text(e->kind), agent_node_name(a, &e->writer, name),
			 e->cause == POISON_DEATH ? "ended this process and is not applied"
						  : "can't be read",
			 e->has_former ? "its former version stays in force" : "it is left out",
			 key);
	return buf;
}

static void log_held(const struct agent *a, const struct record *r, const char *why)
{
	char name[MODEL_NAME_MAX], key[AGENT_KEY_TEXT];

	key_text(r->key, r->key_len, key);
	agent_log("warn", "record_quarantined", "node=%s kind=%u key=\"%s\" seq=%llu why=\"%s\"",
		  agent_node_name(a, &r->writer, name), r->kind, key, (unsigned long long)r->seq,
		  why);
}

void agent_quarantine(struct agent *a, const struct record *r, const uint8_t *former,
		      size_t former_len)
{
	const struct poison_entry *e = poison_find(a->poison, r);
	uint8_t kept[RECORD_VALUE_MAX];

	a->quarantined_total++;
	log_held(a, r, "it can't be read");
	if (!former && e && e->has_former) {
		former_len = e->former_len;
		memcpy(kept, e->former, former_len);
		former = kept;
	}
	poison_hold(a->poison, r, POISON_UNREADABLE, former, former_len);
}

static bool core_record(const struct agent *a, const struct poison_entry *e,
			struct record *ret_record)
{
	char key[RECORD_KEY_MAX + 1];

	snprintf(key, sizeof(key), "%.*s", (int)e->key_len, (const char *)e->key);
	return gossip_core_get_record(a->core,
				      record_scope_of(e->kind) == RECORD_SHARED ? NULL : &e->writer,
				      e->kind, key, ret_record);
}

static struct record record_of(const struct poison_entry *e)
{
	return (struct record){.kind = e->kind,
			       .writer = e->writer,
			       .generation = e->generation,
			       .seq = e->seq,
			       .key = e->key,
			       .key_len = e->key_len,
			       .value = e->value,
			       .value_len = e->value_len};
}

bool agent_quarantine_at(const struct agent *a, size_t i, struct agent_quarantined *ret_q)
{
	const struct poison_entry *e;
	struct agent_quarantined q = {0};
	char name[MODEL_NAME_MAX];

	if (i >= poison_count(a->poison))
		return false;
	e = poison_at(a->poison, i);
	q.kind = kind_text(e->kind);
	key_text(e->key, e->key_len, q.key);
	snprintf(q.writer, sizeof(q.writer), "%s", agent_node_name(a, &e->writer, name));
	/* Own kinds are one per writer. */
	if (record_scope_of(e->kind) == RECORD_SHARED || e->kind == AGENT_KIND_SUMMARY)
		snprintf(q.spec, sizeof(q.spec), "%s/%s", q.kind, q.key);
	else
		snprintf(q.spec, sizeof(q.spec), "%s/%s/%s", q.kind, name, q.key);
	q.generation = e->generation;
	q.seq = e->seq;
	q.unix_s = e->unix_s;
	q.has_former = e->has_former;
	q.is_death = e->cause == POISON_DEATH;
	q.signal = e->signal;
	*ret_q = q;
	return true;
}

int agent_quarantine_release(struct agent *a, const char *spec, struct err *e)
{
	struct agent_quarantined q;
	struct poison_entry held;
	struct record r;

	for (size_t i = 0; agent_quarantine_at(a, i, &q); i++) {
		if (strcmp(q.spec, spec) != 0)
			continue;
		held = *poison_at(a->poison, i);
		r = record_of(&held);
		poison_drop(a->poison, &r);
		agent_log("info", "record_released", "record=\"%s\"", q.spec);
		if (held.kind == AGENT_KIND_SUMMARY)
			agent_regions_again(a);
		if (core_record(a, &held, &r) && agent_fact_apply(a, &r) != AGENT_SAME)
			agent_kick(a, true);
		return 0;
	}
	return err_set(e, -ENOENT, "nothing of that name is in quarantine: %.150s", spec);
}

/* ---- the trial */

/* In the child: nothing that it does is anybody else's. */
static void compute_and_end(struct agent *a)
{
	struct plan_state *plan = NULL;
	struct plan_list list = {0};
	struct world *w = NULL;
	struct err e;

	if (agent_world_build(a, &w))
		_exit(0); /* no memory: says nothing about records */
	if (!a->cfg.fwd_socket || plan_state_new(&trial_sizes, &plan))
		_exit(0); /* as ever on this node */
	(void)plan_diff(plan, &w->view, w->routes, &a->self, agent_now_ms(a), &list, &e);
	poison_hook(POISON_PLAN, w->view.service, w->view.service_count);
	_exit(0);
}

static void begin_child(struct agent *a)
{
	static const int signum[] = {SIGSEGV, SIGBUS, SIGFPE,  SIGILL,
				     SIGABRT, SIGSYS, SIGALRM, SIGXCPU};
	const struct rlimit none = {0, 0},
			    cpu = {agent_trial_limits.cpu_s, agent_trial_limits.cpu_s + 5};

	for (size_t i = 0; i < sizeof(signum) / sizeof(signum[0]); i++)
		signal(signum[i], SIG_DFL);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setrlimit(RLIMIT_CORE, &none); /* a file more, if it fails */
	(void)setrlimit(RLIMIT_CPU, &cpu);
	alarm(agent_trial_limits.child_s);
	/* Not the file: the child's death is no death. */
	if (poison_open(NULL, &a->poison, NULL))
		_exit(0);
}

/* As it came; the store had no time to keep it. false: there is a newer one, which has been applied. */
static bool suspect_record(const struct agent *a, size_t i, struct record *ret_record)
{
	const struct poison_entry *e = poison_suspect_at(a->poison, i);
	struct record r = record_of(e), known;

	*ret_record = r;
	return !core_record(a, e, &known) || record_cmp_version(&r, &known) >= 0;
}

static void child_suspects(struct agent *a, size_t k)
{
	struct record *r = calloc(k + 1, sizeof(*r));
	size_t n = 0;

	if (!r)
		_exit(0);
	for (size_t i = 0; i < k; i++)
		n += suspect_record(a, i, &r[n]);
	begin_child(a);
	for (size_t i = 0; i < n; i++)
		(void)agent_fact_apply(a, &r[i]);
	compute_and_end(a);
}

static void child_all(struct agent *a, size_t k)
{
	struct fact *f, *next;
	size_t i = 0;

	begin_child(a);
	HASH_ITER(hh, a->facts, f, next)
	if (i++ >= k)
		HASH_DEL(a->facts, f);
	compute_and_end(a);
}

/* Does a computation with the first k of them die? is_all: of the facts, else of the suspects. ret_cpu_ms: what it took. */
static bool dies(struct agent *a, bool is_all, size_t k, uint64_t *ret_cpu_ms)
{
	struct rusage used = {0};
	int status = 0;
	pid_t pid, got;

	*ret_cpu_ms = 0;
	if (uv_hrtime() / 1000000000 >= a->trial_until_s)
		return false;
	pid = fork();
	if (pid < 0)
		return false;
	if (pid == 0) {
		if (is_all)
			child_all(a, k);
		else
			child_suspects(a, k);
	}
	do
		got = wait4(pid, &status, 0, &used);
	while (got < 0 && errno == EINTR);
	*ret_cpu_ms = (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
		      (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000;
	return got == pid && WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL &&
	       WTERMSIG(status) != SIGALRM;
}

/* The smallest k that dies; 0: it is none of these. n + 1: nothing dies, or all is slow. */
static size_t first_deadly(struct agent *a, bool is_all, size_t n)
{
	size_t lo = 0, hi = n; /* lo lives, hi dies */
	uint64_t lo_cpu_ms, cpu_ms;

	if (!dies(a, is_all, n, &cpu_ms))
		return n + 1;
	if (dies(a, is_all, 0, &lo_cpu_ms))
		return 0;
	while (hi - lo > 1) {
		size_t mid = lo + (hi - lo) / 2;

		if (dies(a, is_all, mid, &cpu_ms)) {
			hi = mid;
		} else {
			lo = mid;
			lo_cpu_ms = cpu_ms;
		}
	}
	/* One record more would have been one too many for a slow machine. */
	return lo_cpu_ms >= agent_trial_limits.cpu_s * 500 ? n + 1 : hi;
}

static void convict_fact(struct agent *a, size_t k)
{
	struct fact *f = a->facts;
	struct record r;
	char key[MODEL_KEY_MAX];
	bool is_shared;

	while (--k)
		f = f->hh.next;
	is_shared = record_scope_of(f->id.kind) == RECORD_SHARED;
	memcpy(key, f->id.key, sizeof(key));
	if (!gossip_core_get_record(a->core, is_shared ? NULL : &f->id.writer, f->id.kind, key, &r))
		return;
	log_held(a, &r, "this process dies of it");
	(void)agent_fact_gone(a, &r);
	poison_hold(a->poison, &r, POISON_DEATH, NULL, 0);
}

static bool try_all(struct agent *a)
{
	size_t found = 0, n, k;

	for (; found < CONVICTS_MAX && (n = HASH_COUNT(a->facts)) > 0; found++) {
		k = first_deadly(a, true, n);
		if (k == 0 || k > n)
			break;
		convict_fact(a, k);
	}
	return found > 0;
}

static bool try_suspects(struct agent *a)
{
	size_t found = 0, n, k;

	for (; found < CONVICTS_MAX && (n = poison_suspect_count(a->poison)) > 0; found++) {
		struct record r;

		k = first_deadly(a, false, n);
		if (k == 0 && try_all(a))
			continue; /* what was there before was deadly too, or alone */
		if (k == 0 || k > n)
			break;
		r = record_of(poison_suspect_at(a->poison, k - 1));
		log_held(a, &r, "this process dies of it");
		poison_convict(a->poison, k - 1);
	}
	return found > 0;
}

void agent_poison_try(struct agent *a)
{
	struct record r[POISON_FRESH_MAX];
	size_t n = 0;
	bool has_found;

	a->trial_until_s = uv_hrtime() / 1000000000 + agent_trial_limits.all_s;
	switch (poison_trial(a->poison)) {
	case POISON_NO_TRIAL:
		return;
	case POISON_TRY_ALL:
		has_found = try_all(a);
		poison_trial_end(a->poison, has_found);
		break;
	case POISON_TRY_SUSPECTS:
		has_found = try_suspects(a);
		for (size_t i = 0; i < poison_suspect_count(a->poison); i++)
			n += core_record(a, poison_suspect_at(a->poison, i), &r[n]);
		poison_trial_end(a->poison, has_found);
		/* Who is free is applied now if the store had it, else when it comes again; who is not, is not. */
		for (size_t i = 0; i < n; i++)
			(void)agent_fact_apply(a, &r[i]);
		break;
	}
	agent_log("warn", "trial", "why=\"this process died in a computation\" quarantined=%zu",
		  poison_count(a->poison));
}

int agent_poison_open(struct agent *a)
{
	struct err e = {0};
	int err = poison_open(a->cfg.state_dir, &a->poison, &e);

	if (!a->poison)
		return -ENOMEM;
	if (err)
		agent_log("error", "poison_not_durable", "why=\"%s\"", e.text);
	if (a->cfg.state_dir)
		poison_catch(a->poison);
	for (size_t i = 0; i < poison_count(a->poison); i++) {
		const struct record r = record_of(poison_at(a->poison, i));

		log_held(a, &r, "since before this start");
	}
	return 0;
}
