/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Measures one mesh of real processes: gossip_bench edged|serf NODES DIR LOCK. tests/bench/gossip.sh runs it in a network
 * namespace of its own and makes a table of the lines it prints: row, tab, figure.
 *
 * What needs the machine for itself (spread, rest) is done while LOCK is held; what mostly waits is not.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/gossip_mesh.h"

#define SAMPLES_MAX (BENCH_CHANGES_MAX * BENCH_NODES_MAX)
/* After a join what a node says of its tables is said again once, and after half a minute how far the others are. */
#define SETTLE_MS 40000
#define SETTLE_SERF_MS 5000
#define QUIET_MS 120000 /* then nothing is new: that is rest */
#define REST_MS 20000
#define LOAD_HZ 100
#define LOAD_CHANGES 500
#define VICTIMS 5
#define VICTIMS_SERF 3 /* each takes ten seconds */
#define LOSS_MS 30000
#define GRAY 3
#define GRAY_ROUNDS 12

static struct mesh m;
static uint32_t change_next;

struct samples {
	double *v;
	size_t count;
};

void bench_die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "bench: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	for (size_t i = 0; i < m.count; i++)
		if (m.pid[i] > 0)
			kill(m.pid[i], SIGKILL);
	exit(1);
}

void mesh_set_alive(struct bench_node *n, uint32_t alive, uint64_t now_ns)
{
	if (n->alive == alive)
		return;
	n->alive_ns = now_ns;
	n->alive = alive;
}

void mesh_set_state(struct bench_node *n, size_t other, unsigned int state, uint64_t now_ns)
{
	if (n->state[other] == state)
		return;
	n->state[other] = state;
	n->state_ns[other][state] = now_ns;
	n->became[other][state]++;
}

/* ---- figures */

static void sample(struct samples *s, double v)
{
	if (!s->v)
		s->v = malloc(SAMPLES_MAX * sizeof(*s->v));
	if (s->v && s->count < SAMPLES_MAX)
		s->v[s->count++] = v;
}

static int cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double percentile(struct samples *s, double pct)
{
	if (s->count == 0)
		return -1;
	qsort(s->v, s->count, sizeof(*s->v), cmp);
	size_t i = (size_t)(pct / 100 * (double)s->count);

	return s->v[i < s->count ? i : s->count - 1];
}

static void row(const char *what, double v)
{
	printf("%s\t%.*f\n", what, v < 10 ? 2 : v < 100 ? 1 : 0, v);
	fflush(stdout);
}

static void row_percentiles(const char *what, struct samples *s)
{
	char text[128];

	snprintf(text, sizeof(text), "%s, p50", what);
	row(text, percentile(s, 50));
	snprintf(text, sizeof(text), "%s, p99", what);
	row(text, percentile(s, 99));
	s->count = 0;
}

static double ms_between(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e6 : 0;
}

/* ---- the machine */

static void nft(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void nft(const char *fmt, ...)
{
	char rule[768], command[800];
	va_list ap;

	va_start(ap, fmt);
	if (vsnprintf(rule, sizeof(rule), fmt, ap) >= (int)sizeof(rule))
		bench_die("nft: a rule over %zu bytes", sizeof(rule));
	va_end(ap);
	snprintf(command, sizeof(command), "nft '%s'", rule);
	if (system(command) != 0)
		bench_die("%s failed", command);
}

static uint64_t device_bytes(void)
{
	unsigned long long bytes = 0;
	char line[512];
	FILE *f = fopen("/proc/self/net/dev", "r");

	while (f && fgets(line, sizeof(line), f))
		(void)sscanf(line, " lo: %llu", &bytes);
	if (f)
		fclose(f);
	return bytes;
}

/* Clock ticks that a process has used. */
static double cpu_ticks(pid_t pid)
{
	unsigned long user = 0, system = 0;
	char path[64], line[1024], *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f) && (p = strrchr(line, ')')))
		(void)sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
			     &system);
	if (f)
		fclose(f);
	return (double)(user + system);
}

/* ret_own: without the pages of programs and libraries, which all nodes of this machine share. */
static double rss_mib(pid_t pid, double *ret_own)
{
	char path[64], line[256];
	unsigned long kib = 0, anon_kib = 0, shmem_kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		(void)sscanf(line, "VmRSS: %lu", &kib);
		(void)sscanf(line, "RssAnon: %lu", &anon_kib);
		(void)sscanf(line, "RssShmem: %lu", &shmem_kib);
	}
	if (f)
		fclose(f);
	*ret_own = (double)(anon_kib + shmem_kib) / 1024;
	return (double)kib / 1024;
}

/* ---- the mesh */

static bool is_full(void)
{
	for (size_t i = 0; i < m.count; i++)
		if (!m.is_down[i] && m.shared->node[i].alive != m.count)
			return false;
	return true;
}

static bool wait_full(unsigned int limit_ms)
{
	for (unsigned int ms = 0; !is_full(); ms += 20) {
		if (ms >= limit_ms)
			return false;
		m.pump(&m, 20);
	}
	return true;
}

static void start_all(void)
{
	for (size_t i = 0; i < m.count; i++)
		m.start(&m, i, true);
	for (unsigned int ms = 0; ms < 60000; ms += 20) {
		size_t ready = 0;

		for (size_t i = 0; i < m.count; i++)
			ready += m.is_ready(&m, i);
		if (ready == m.count)
			return;
		m.pump(&m, 20);
	}
	bench_die("%s: not all of %zu started within 60 s (%s)", m.name, m.count, m.dir);
}

/* Back after it was taken down. */
static void restart(size_t i)
{
	m.start(&m, i, false);
	for (unsigned int ms = 0; !m.is_ready(&m, i) && ms < 3000; ms += 20)
		m.pump(&m, 20);
	m.is_down[i] = false;
	m.pump(&m, 500);
	if (!wait_full(60000))
		fprintf(stderr, "bench: %s: n%03zu is back but not seen by all in 60 s\n", m.name,
			i);
}

static void measure_join(void)
{
	uint64_t start_ns = bench_now_ns();
	struct samples s = {0};

	for (size_t i = 0; i < m.count; i++)
		m.join(&m, i);
	/* An agent whose request was refused in the crush does not ask again by itself. */
	for (unsigned int tries = 0; !wait_full(10000); tries++) {
		if (tries == 6)
			bench_die("%s: not all of %zu see all within a minute", m.name, m.count);
		for (size_t i = 0; i < m.count; i++)
			if (m.shared->node[i].alive <= 1)
				m.join(&m, i);
	}
	for (size_t i = 0; i < m.count; i++)
		sample(&s, ms_between(start_ns, m.shared->node[i].alive_ns));
	row("all join one at once: half see all, ms", percentile(&s, 50));
	row("all join one at once: the last sees all, ms", percentile(&s, 100));
}

/* What a node sends in REST_MS, a second. */
static double sent_bytes_s(void)
{
	uint64_t bytes = device_bytes(), start_ns = bench_now_ns();

	m.pump(&m, REST_MS);
	return (double)(device_bytes() - bytes) /
	       (ms_between(start_ns, bench_now_ns()) / 1000 * (double)m.count);
}

static void measure_rest(void)
{
	double ticks[BENCH_NODES_MAX], hz = (double)sysconf(_SC_CLK_TCK), sum = 0;
	struct samples rss = {0}, own = {0};
	double bytes_s;
	uint64_t start_ns;

	m.is_quiet = true;
	m.pump(&m, m.has_suspects ? SETTLE_MS : SETTLE_SERF_MS);
	bytes_s = sent_bytes_s();
	m.pump(&m, QUIET_MS);
	row("soon after the join: sent by a node, bytes/s", bytes_s);
	for (size_t i = 0; i < m.count; i++)
		ticks[i] = cpu_ticks(m.pid[i]);
	start_ns = bench_now_ns();
	bytes_s = sent_bytes_s();
	double s = ms_between(start_ns, bench_now_ns()) / 1000;

	for (size_t i = 0; i < m.count; i++) {
		sum += (cpu_ticks(m.pid[i]) - ticks[i]) / hz;
		double own_mib, mib = rss_mib(m.pid[i], &own_mib);

		sample(&rss, mib);
		sample(&own, own_mib);
	}
	m.is_quiet = false;
	row("at rest: CPU of a node, % of a core", 100 * sum / s / (double)m.count);
	row("at rest: resident memory, median, MiB", percentile(&rss, 50));
	row("at rest: of it not programs and libraries, MiB", percentile(&own, 50));
	row("at rest: sent by a node, bytes/s", bytes_s);
}

/* `count` changes, one every gap_ms, each by another node. */
static void measure_spread(const char *what, unsigned int count, unsigned int gap_ms,
			   unsigned int after_ms)
{
	uint32_t first = change_next;
	struct samples each = {0}, last = {0};
	uint64_t missing = 0, start_ns = bench_now_ns(), due;
	size_t *who = calloc(count, sizeof(*who));
	char text[128];

	for (unsigned int k = 0; k < count && who; k++) {
		who[k] = (k * 7 + 3) % m.count;
		m.put(&m, who[k], change_next++);
		due = start_ns + (k + 1) * (uint64_t)gap_ms * 1000000;
		for (uint64_t now; (now = bench_now_ns()) < due;)
			m.pump(&m, due - now > 2000000 ? (unsigned int)((due - now) / 1000000) : 1);
	}
	m.pump(&m, after_ms);
	for (unsigned int k = 0; k < count && who; k++) {
		uint64_t put_ns = m.shared->node[who[k]].put_ns[first + k], worst = 0;

		for (size_t i = 0; i < m.count; i++) {
			uint64_t at = m.shared->node[i].heard_ns[first + k];

			missing += at == 0;
			if (at == 0)
				worst = UINT64_MAX;
			else if (worst < at)
				worst = at;
			if (at && i != who[k])
				sample(&each, ms_between(put_ns, at));
		}
		if (worst != UINT64_MAX)
			sample(&last, ms_between(put_ns, worst));
	}
	snprintf(text, sizeof(text), "%s: each node, ms", what);
	row_percentiles(text, &each);
	snprintf(text, sizeof(text), "%s: last node, ms", what);
	row_percentiles(text, &last);
	snprintf(text, sizeof(text), "%s: not there, %% of deliveries", what);
	row(text, 100.0 * (double)missing / (double)(count * m.count));
	free(who);
}

/* How soon each other node held `victim` for so; those that never did count as `limit`. */
static void sample_states(struct samples *s, size_t victim, unsigned int state, uint64_t start_ns)
{
	for (size_t i = 0; i < m.count; i++) {
		uint64_t at = m.shared->node[i].state_ns[victim][state];

		if (i != victim && !m.is_down[i] && at > start_ns)
			sample(s, ms_between(start_ns, at));
	}
}

static bool all_hold_dead(size_t victim)
{
	for (size_t i = 0; i < m.count; i++)
		if (i != victim && !m.is_down[i] && m.shared->node[i].state[victim] != MESH_DEAD)
			return false;
	return true;
}

static void measure_loss_of_node(const char *what, bool is_power_off)
{
	struct samples suspect = {0}, dead = {0};
	size_t count = m.has_suspects ? VICTIMS : VICTIMS_SERF;
	unsigned int never = 0;
	char text[128];

	for (size_t k = 0; k < count; k++) {
		size_t v = (k * 11 + 5) % m.count;
		uint64_t start_ns;

		if (is_power_off)
			nft("add element ip bench cut { 10.77.%d.%zu }", m.has_suspects ? 1 : 2,
			    v + 1);
		m.is_down[v] = true;
		start_ns = bench_now_ns();
		kill(m.pid[v], SIGKILL);
		waitpid(m.pid[v], NULL, 0);
		for (unsigned int ms = 0; ms < 20000 && !all_hold_dead(v); ms += 20)
			m.pump(&m, 20);
		never += !all_hold_dead(v);
		sample_states(&suspect, v, MESH_SUSPECT, start_ns);
		sample_states(&dead, v, MESH_DEAD, start_ns);
		if (is_power_off)
			nft("flush set ip bench cut");
		restart(v);
	}
	if (m.has_suspects) {
		snprintf(text, sizeof(text), "%s: suspect (routed around), ms", what);
		row_percentiles(text, &suspect);
	}
	snprintf(text, sizeof(text), "%s: dead, ms", what);
	row_percentiles(text, &dead);
	if (never)
		fprintf(stderr, "bench: %s: %s: %u of %zu not dead everywhere in 20 s\n", m.name,
			what, never, count);
}

static uint32_t became[BENCH_NODES_MAX][BENCH_NODES_MAX][BENCH_STATES];

static void remember(void)
{
	for (size_t i = 0; i < m.count; i++)
		for (size_t k = 0; k < m.count; k++)
			for (size_t s = 0; s < BENCH_STATES; s++)
				became[i][k][s] = m.shared->node[i].became[k][s];
}

/* Nodes that anyone came to hold for so since remember(), from `first` on. */
static double count_became(unsigned int state, size_t first, size_t end)
{
	unsigned int n = 0;

	for (size_t k = first; k < end; k++) {
		bool any = false;

		for (size_t i = 0; i < m.count; i++)
			any |= m.shared->node[i].became[k][state] != became[i][k][state];
		n += any;
	}
	return n;
}

static void row_false(const char *what, size_t first)
{
	char text[128];

	snprintf(text, sizeof(text), "%s: healthy nodes held dead", what);
	row(text, count_became(MESH_DEAD, first, m.count));
	if (!m.has_suspects)
		return;
	snprintf(text, sizeof(text), "%s: healthy nodes suspected", what);
	row(text, count_became(MESH_SUSPECT, first, m.count));
}

static void measure_freeze(void)
{
	remember();
	for (size_t k = 0; k < VICTIMS; k++) {
		size_t v = (k * 13 + 2) % m.count;

		kill(m.pid[v], SIGSTOP);
		m.pump(&m, 1500);
		kill(m.pid[v], SIGCONT);
		m.pump(&m, 1000);
	}
	row("5 freezes of 1.5 s: nodes held dead", count_became(MESH_DEAD, 0, m.count));
}

static void measure_loss(void)
{
	remember();
	nft("add rule ip bench loss meta l4proto udp numgen random mod 100 < 20 drop");
	m.pump(&m, LOSS_MS);
	nft("flush chain ip bench loss");
	row_false("20 % loss for 30 s", 0);
	(void)wait_full(30000);
}

/* Nodes 0 to 2 run a quarter of the time. */
static void measure_gray(void)
{
	remember();
	for (unsigned int round = 0; round < GRAY_ROUNDS; round++) {
		for (size_t i = 0; i < GRAY; i++)
			kill(m.pid[i], SIGSTOP);
		m.pump(&m, 1500);
		for (size_t i = 0; i < GRAY; i++)
			kill(m.pid[i], SIGCONT);
		m.pump(&m, 500);
	}
	row_false("3 nodes run a quarter of the time for 24 s", GRAY);
	row("3 nodes run a quarter of the time for 24 s: of these, noticed (suspect or dead)",
	    count_became(m.has_suspects ? MESH_SUSPECT : MESH_DEAD, 0, GRAY));
	(void)wait_full(30000);
}

static void measure_partition(unsigned int seconds)
{
	unsigned int net = m.has_suspects ? 1 : 2;
	size_t half = m.count / 2;
	uint64_t start_ns, last_ns = 0;

	nft("add rule ip bench part ip saddr 10.77.%u.1-10.77.%u.%zu ip daddr "
	    "10.77.%u.%zu-10.77.%u.254 drop",
	    net, net, half, net, half + 1, net);
	nft("add rule ip bench part ip daddr 10.77.%u.1-10.77.%u.%zu ip saddr "
	    "10.77.%u.%zu-10.77.%u.254 drop",
	    net, net, half, net, half + 1, net);
	/* serf's streams leave from the address they go to, whoever's they are: all are cut then. */
	if (!m.has_suspects)
		nft("add rule ip bench part tcp dport 7946 drop");
	m.pump(&m, seconds * 1000);
	if (m.shared->node[0].alive > half + 1)
		fprintf(stderr, "bench: %s: the halves still see each other\n", m.name);
	start_ns = bench_now_ns();
	nft("flush chain ip bench part");
	if (!wait_full(60000))
		fprintf(stderr, "bench: %s: not whole 60 s after a partition\n", m.name);
	for (size_t i = 0; i < m.count; i++)
		if (m.shared->node[i].alive_ns > last_ns)
			last_ns = m.shared->node[i].alive_ns;
	row("partition of 90 s healed: the last sees all, ms", ms_between(start_ns, last_ns));
}

static void handle_signal(int signum)
{
	bench_die("signal %d", signum);
}

int main(int argc, char **argv)
{
	int lock;

	if (argc != 5)
		bench_die("got %d arguments, want edged|serf NODES DIR LOCK", argc - 1);
	m.count = strtoul(argv[2], NULL, 10);
	m.dir = argv[3];
	if (m.count < 5 || m.count > BENCH_NODES_MAX)
		bench_die("nodes: got %s, want 5 to %d", argv[2], BENCH_NODES_MAX);
	signal(SIGTERM, handle_signal);
	signal(SIGINT, handle_signal);
	signal(SIGPIPE, SIG_IGN);
	bool is_edged = strcmp(argv[1], "edged") == 0;

	(is_edged ? mesh_edged : mesh_serf)(&m);
	nft("add table ip bench; add set ip bench cut { type ipv4_addr; }; "
	    "add chain ip bench loss; add chain ip bench part; "
	    "add chain ip bench in { type filter hook input priority 0; }; "
	    "add rule ip bench in ip saddr @cut drop; add rule ip bench in ip daddr @cut drop; "
	    "add rule ip bench in jump loss; add rule ip bench in jump part");
	lock = open(argv[4], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX))
		bench_die("%s: %s", argv[4], strerror(errno));
	start_all();
	measure_join();
	measure_rest();
	measure_spread("a change, idle", is_edged ? 200 : 100, is_edged ? 50 : 200, 3000);
	measure_spread("100 changes/s", LOAD_CHANGES, 1000 / LOAD_HZ, is_edged ? 3000 : 15000);
	flock(lock, LOCK_UN);
	measure_loss_of_node("kill -9", false);
	measure_loss_of_node("power-off", true);
	measure_freeze();
	measure_loss();
	measure_gray();
	measure_partition(90);
	for (size_t i = 0; i < m.count; i++)
		kill(m.pid[i], SIGKILL);
	return 0;
}
