/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* flows serve PORT NAME - answer every datagram and every line on a connection with NAME, on all addresses.
 * flows hold ADDRESS PORT UDP TCP - keep that many flows of each kind alive, and say who answers them.
 *
 * hold asks each flow about once a second. It reads commands, one a line, and answers each with one JSON object in one
 * line. A flow is lost when nobody answers (UDP: three times in a row; TCP: the connection ends, or is silent for
 * SILENT_MS); it is moved when another backend answers it than last time, which then counts as its own.
 *   report   once every flow has been asked and has answered, or is lost: what happened since the last report, by the
 *            backend that a flow was at then: {"flows":N,"by":[{"name":"w-1","udp":1,"tcp":1,"lost":0,"moved":0}]}
 *   reopen   lost flows begin again, as new ones
 *   quiet    once every flow has been silent for QUIET_MS: {}. They stay so until the next report
 * Each flow that is lost or moved is a line on stderr as well.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NAME_MAX_BYTES 32
#define NAMES_MAX 16
#define FLOWS_MAX 20000
#define ASK_MS 1000  /* between two questions on one flow */
#define RETRY_MS 600 /* UDP: between tries */
#define TRIES 3
#define SILENT_MS 6000 /* TCP: the kernel's own retries have had their time */
#define QUIET_MS 2100  /* longer than a worker is sure of a flow (DP_DOUBT_S) */
#define BATCH 64

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "flows: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void allow_files(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim))
		die("open files");
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim))
		die("open files");
}

static void watch(int ep, int fd, uint32_t events, uint64_t tag)
{
	struct epoll_event ev = {.events = events, .data.u64 = tag};

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev))
		die("epoll");
}

/* ---- serve */

static int serve_socket(int kind, uint16_t port)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, zero = 0;
	int room = 1 << 20;

	if (fd < 0)
		die("socket");
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_IPV6, 26 /* IPV6_V6ONLY */, &zero, sizeof(zero));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) ||
	    (kind == SOCK_STREAM && listen(fd, 4096)))
		die("bind");
	return fd;
}

static void answer_datagrams(int fd, const char *name)
{
	struct sockaddr_in6 from;
	socklen_t len = sizeof(from);
	char buf[64];

	while (recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len) >= 0) {
		(void)sendto(fd, name, strlen(name), 0, (struct sockaddr *)&from, len);
		len = sizeof(from);
	}
}

/* One answer for what there is: the asker waits before it asks again. */
static void answer_connection(int fd, const char *line)
{
	char buf[256];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n > 0)
		(void)send(fd, line, strlen(line), MSG_NOSIGNAL);
	else if (!n || (errno != EAGAIN && errno != EINTR))
		close(fd);
}

static _Noreturn void serve(uint16_t port, const char *name)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	int udp = serve_socket(SOCK_DGRAM, port), tcp = serve_socket(SOCK_STREAM, port);
	struct epoll_event ev[BATCH];
	char line[NAME_MAX_BYTES + 2];

	snprintf(line, sizeof(line), "%s\n", name);
	watch(ep, udp, EPOLLIN, (uint64_t)udp);
	watch(ep, tcp, EPOLLIN, (uint64_t)tcp);
	for (;;) {
		int n = epoll_wait(ep, ev, BATCH, -1);

		for (int i = 0; i < n; i++) {
			int fd = (int)ev[i].data.u64, c;

			if (fd == udp) {
				answer_datagrams(udp, name);
			} else if (fd == tcp) {
				while ((c = accept4(tcp, NULL, NULL,
						    SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
					watch(ep, c, EPOLLIN, (uint64_t)c);
			} else {
				answer_connection(fd, line);
			}
		}
	}
}

/* ---- hold */

struct flow {
	int fd; /* -1: lost */
	bool is_tcp;
	int owner; /* index of name, -1: nobody has answered yet */
	int home;  /* the owner at the last report, the first one if it is younger; -1: none yet */
	int64_t asked_ms; /* 0: nothing is outstanding */
	int64_t begun_ms;
	int64_t due_ms; /* next question, or next try */
	unsigned tries;
	unsigned asked_round, round; /* of the question under way; of the last one answered */
};
static struct flow flows[FLOWS_MAX];
static size_t flow_count;
static struct name {
	char text[NAME_MAX_BYTES];
	unsigned lost, moved;
} names[NAMES_MAX];
static int name_count;
static unsigned nobody_lost; /* flows that never had an answer */
static unsigned round_no;
static bool is_quiet, is_quiet_due;
static int64_t quiet_ms; /* since then; 0: not yet */
static int ep_fd;
static struct addrinfo *to;

static int name_of(const char *text, size_t len)
{
	if (len && text[len - 1] == '\n')
		len--;
	for (int i = 0; i < name_count; i++)
		if (strlen(names[i].text) == len && !memcmp(names[i].text, text, len))
			return i;
	if (name_count == NAMES_MAX || len >= NAME_MAX_BYTES)
		return -1;
	memcpy(names[name_count].text, text, len);
	return name_count++;
}

/* One line on stderr, in the words of a capture: which flow, whose, and what became of it. */
static void tell(const struct flow *f, int64_t now, const char *what, const char *more)
{
	struct sockaddr_in6 at = {.sin6_port = 0}; /* the port is where IPv4 has it */
	socklen_t len = sizeof(at);
	struct timespec t;

	(void)getsockname(f->fd, (struct sockaddr *)&at, &len);
	clock_gettime(CLOCK_REALTIME, &t);
	fprintf(stderr,
		"%lld.%03ld %s client port %u at %s: %s%s; %u tries, asked %lld ms ago, begun %lld "
		"ms ago\n",
		(long long)t.tv_sec, t.tv_nsec / 1000000, f->is_tcp ? "tcp" : "udp",
		ntohs(at.sin6_port), f->owner >= 0 ? names[f->owner].text : "nobody", what, more,
		f->tries, f->asked_ms ? (long long)(now - f->asked_ms) : -1LL,
		(long long)(now - f->begun_ms));
}

static void lose(struct flow *f, int64_t now, const char *why, const char *more)
{
	tell(f, now, why, more);
	if (f->home >= 0)
		names[f->home].lost++;
	else
		nobody_lost++;
	close(f->fd);
	f->fd = -1;
}

static void begin(struct flow *f, int64_t now)
{
	size_t i = (size_t)(f - flows);

	f->fd = socket(to->ai_family,
		       (f->is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0)
		die("socket");
	f->owner = f->home = -1;
	f->begun_ms = now;
	f->asked_ms = 0;
	f->tries = 0;
	/* Spread over the time between two questions. */
	f->due_ms = now + (int64_t)(i * ASK_MS / flow_count);
	if (connect(f->fd, to->ai_addr, to->ai_addrlen) && errno != EINPROGRESS)
		die("connect");
	watch(ep_fd, f->fd, EPOLLIN, i);
}

static void ask(struct flow *f, int64_t now)
{
	if (f->is_tcp && f->asked_ms) {
		if (now - f->asked_ms > SILENT_MS)
			lose(f, now, "silent", "");
		return;
	}
	if (f->tries == TRIES) {
		lose(f, now, "silent", "");
		return;
	}
	if (send(f->fd, "who\n", 4, MSG_NOSIGNAL) < 0 && errno != ECONNREFUSED) {
		bool is_connecting = errno == EAGAIN || errno == ENOTCONN || errno == EINPROGRESS;

		if (f->is_tcp && (!is_connecting || now - f->begun_ms > SILENT_MS))
			lose(f, now, "not sent, ", strerror(errno));
		else
			f->due_ms = now + 50;
		return;
	}
	if (!f->asked_ms) {
		f->asked_ms = now;
		f->asked_round = round_no;
	}
	f->tries++;
	f->due_ms = now + RETRY_MS;
}

static void hear(struct flow *f, int64_t now)
{
	char buf[256];
	ssize_t n = recv(f->fd, buf, sizeof(buf), 0);
	int who;

	if (n <= 0) {
		if (f->is_tcp && (!n || (errno != EAGAIN && errno != EINTR)))
			lose(f, now, "ended, ", n ? strerror(errno) : "by the backend");
		return; /* UDP: an ICMP error; the next try tells */
	}
	if (!f->asked_ms)
		return; /* a second answer to a question that was asked twice */
	who = name_of(buf, (size_t)n);
	if (f->owner >= 0 && who != f->owner) {
		tell(f, now, "moved to ", who >= 0 ? names[who].text : "nobody known");
		names[f->home].moved++;
	}
	f->owner = who;
	if (f->home < 0)
		f->home = who;
	f->asked_ms = 0;
	f->tries = 0;
	f->round = f->asked_round;
	f->due_ms = now + ASK_MS;
}

static void report(void)
{
	const char *comma = "";
	unsigned up = 0;

	for (size_t i = 0; i < flow_count; i++)
		up += flows[i].fd >= 0;
	printf("{\"flows\":%u,\"never\":%u,\"by\":[", up, nobody_lost);
	for (int n = 0; n < name_count; n++) {
		unsigned count[2] = {0, 0};

		for (size_t i = 0; i < flow_count; i++)
			if (flows[i].fd >= 0 && flows[i].owner == n)
				count[flows[i].is_tcp]++;
		printf("%s{\"name\":\"%s\",\"udp\":%u,\"tcp\":%u,\"lost\":%u,\"moved\":%u}", comma,
		       names[n].text, count[0], count[1], names[n].lost, names[n].moved);
		names[n].lost = names[n].moved = 0;
		comma = ",";
	}
	for (size_t i = 0; i < flow_count; i++)
		flows[i].home = flows[i].owner;
	nobody_lost = 0;
	printf("]}\n");
	fflush(stdout);
}

static bool is_round_done(void)
{
	for (size_t i = 0; i < flow_count; i++)
		if (flows[i].fd >= 0 && flows[i].round != round_no)
			return false;
	return true;
}

static bool is_any_asked(void)
{
	for (size_t i = 0; i < flow_count; i++)
		if (flows[i].fd >= 0 && flows[i].asked_ms)
			return true;
	return false;
}

/* Nothing is said; says so when that has lasted. */
static void keep_quiet(int64_t now)
{
	if (!quiet_ms || is_any_asked())
		quiet_ms = now;
	if (is_quiet_due && now - quiet_ms > QUIET_MS) {
		is_quiet_due = false;
		printf("{}\n");
		fflush(stdout);
	}
}

/* One command; false at the end of them. `*is_due`: a report is. */
static bool command(bool *is_due)
{
	char line[64];

	if (!fgets(line, sizeof(line), stdin))
		return false;
	if (!strcmp(line, "report\n")) {
		round_no++;
		*is_due = true;
		is_quiet = false;
	} else if (!strcmp(line, "quiet\n")) {
		is_quiet = is_quiet_due = true;
		quiet_ms = 0;
	} else if (!strcmp(line, "reopen\n")) {
		for (size_t i = 0; i < flow_count; i++)
			if (flows[i].fd < 0)
				begin(&flows[i], now_ms());
		printf("{}\n");
		fflush(stdout);
	}
	return true;
}

static int hold(size_t udp, size_t tcp)
{
	struct epoll_event ev[BATCH];
	bool is_due = false;

	flow_count = udp + tcp;
	ep_fd = epoll_create1(EPOLL_CLOEXEC);
	watch(ep_fd, STDIN_FILENO, EPOLLIN, FLOWS_MAX);
	for (size_t i = 0; i < flow_count; i++) {
		flows[i].is_tcp = i >= udp;
		begin(&flows[i], now_ms());
	}
	for (;;) {
		int n = epoll_wait(ep_fd, ev, BATCH, 10);
		int64_t now = now_ms();

		for (int i = 0; i < n; i++) {
			if (ev[i].data.u64 < flow_count && flows[ev[i].data.u64].fd >= 0)
				hear(&flows[ev[i].data.u64], now);
			else if (ev[i].data.u64 == FLOWS_MAX && !is_due && !command(&is_due))
				return 0;
		}
		for (size_t i = 0; i < flow_count; i++)
			if (flows[i].fd >= 0 && now >= flows[i].due_ms &&
			    (!is_quiet || flows[i].asked_ms))
				ask(&flows[i], now);
		if (is_quiet)
			keep_quiet(now);
		if (is_due && is_round_done()) {
			is_due = false;
			report();
		}
	}
}

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				 .ai_socktype = SOCK_STREAM};
	long udp, tcp;

	allow_files();
	if (argc == 4 && !strcmp(argv[1], "serve"))
		serve((uint16_t)atoi(argv[2]), argv[3]);
	udp = argc == 6 ? atol(argv[4]) : -1;
	tcp = argc == 6 ? atol(argv[5]) : -1;
	if (udp < 0 || tcp < 0 || udp + tcp < 1 || udp + tcp > FLOWS_MAX ||
	    strcmp(argv[1], "hold")) {
		fprintf(stderr, "usage: flows serve PORT NAME | flows hold ADDRESS PORT UDP TCP\n");
		return 2;
	}
	setvbuf(stdin, NULL, _IONBF, 0);
	if (getaddrinfo(argv[2], argv[3], &hints, &to)) {
		fprintf(stderr, "flows: %s port %s: no address\n", argv[2], argv[3]);
		return 2;
	}
	return hold((size_t)udp, (size_t)tcp);
}
