/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* failprobe udp|tcp|dns ADDRESS PORT RATE SECONDS - ask RATE times a second, each time as a new flow, and say which were lost.
 *
 * A question is one line, "whoami", or a DNS query over UDP for the TXT of whoami.lab; any answer is an answer. It is lost when it is refused, reset, or not answered within a second.
 * Says "begun" on stderr, then one line per lost question, "SENT_US CAUSE", and at the end "sent N lost M gap_us G
 * until_us U": the longest time between two answers, and when the last question was asked.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define RATE_MAX 2000
#define SECONDS_MAX 60
#define PATIENCE_US 1000000

struct question {
	int fd; /* -1: over */
	uint64_t sent_us;
	const char *lost; /* why */
	int is_asked;
};

static int is_tcp, is_dns, epfd;
static struct question *question;
static uint64_t last_answer_us, gap_us;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void end(struct question *q, const char *lost)
{
	struct linger now = {.l_onoff = 1};

	q->lost = lost;
	if (is_tcp) /* no TIME_WAIT: ports are needed again */
		setsockopt(q->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(q->fd);
	q->fd = -1;
	if (lost)
		return;
	if (last_answer_us && now_us() - last_answer_us > gap_us)
		gap_us = now_us() - last_answer_us;
	last_answer_us = now_us();
}

static const char *cause(int err)
{
	return err == ECONNREFUSED ? "refused" : err == ECONNRESET ? "reset" : strerror(err);
}

static void look(struct question *q, uint32_t events)
{
	static const char line[] = "whoami\n";
	static const char query[] = "\0\7\1\0\0\1\0\0\0\0\0\0\6whoami\3lab\0\0\20\0\1";
	char buf[256];
	ssize_t n;

	if (!q->is_asked && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		struct epoll_event in = {.events = EPOLLIN, .data.ptr = q};

		q->is_asked = 1;
		if (send(q->fd, is_dns ? query : line,
			 is_dns ? sizeof(query) - 1 : sizeof(line) - 1, MSG_NOSIGNAL) < 0) {
			end(q, cause(errno));
			return;
		}
		epoll_ctl(epfd, EPOLL_CTL_MOD, q->fd, &in);
		return;
	}
	n = recv(q->fd, buf, sizeof(buf), MSG_DONTWAIT);
	if (n > 0)
		end(q, NULL);
	else if (n == 0)
		end(q, "closed");
	else if (errno != EAGAIN)
		end(q, cause(errno));
}

static int ask(struct question *q, const struct sockaddr_storage *to, socklen_t len)
{
	struct epoll_event out = {.events = EPOLLOUT, .data.ptr = q};

	q->fd = socket(to->ss_family, (is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
	if (q->fd < 0)
		return -1;
	q->sent_us = now_us();
	if (connect(q->fd, (const struct sockaddr *)to, len) && errno != EINPROGRESS) {
		end(q, cause(errno));
		return 0;
	}
	return epoll_ctl(epfd, EPOLL_CTL_ADD, q->fd, &out);
}

static void collect(int wait_ms)
{
	struct epoll_event ev[64];
	int n = epoll_wait(epfd, ev, 64, wait_ms);

	for (int i = 0; i < n; i++)
		look(ev[i].data.ptr, ev[i].events);
}

static int parse(char **argv, struct sockaddr_storage *to, socklen_t *len)
{
	struct sockaddr_in *in = (void *)to;
	struct sockaddr_in6 *in6 = (void *)to;

	is_tcp = !strcmp(argv[1], "tcp");
	is_dns = !strcmp(argv[1], "dns");
	if (inet_pton(AF_INET, argv[2], &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons((uint16_t)atoi(argv[3]));
		*len = sizeof(*in);
	} else if (inet_pton(AF_INET6, argv[2], &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons((uint16_t)atoi(argv[3]));
		*len = sizeof(*in6);
	} else {
		return -1;
	}
	return is_tcp || is_dns || !strcmp(argv[1], "udp") ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct sockaddr_storage to = {0};
	size_t count = 0, first = 0, lost = 0, rate, total;
	socklen_t len;
	uint64_t start;

	if (argc != 6 || parse(argv, &to, &len) || atoi(argv[4]) < 1 || atoi(argv[4]) > RATE_MAX ||
	    atoi(argv[5]) < 1 || atoi(argv[5]) > SECONDS_MAX) {
		fprintf(stderr, "usage: failprobe udp|tcp|dns ADDRESS PORT RATE SECONDS\n");
		return 2;
	}
	rate = (size_t)atoi(argv[4]);
	total = rate * (size_t)atoi(argv[5]);
	question = calloc(total, sizeof(*question));
	epfd = epoll_create1(EPOLL_CLOEXEC);
	if (!question || epfd < 0)
		return 1;
	fprintf(stderr, "begun\n");
	start = now_us();
	while (first < total) {
		uint64_t now = now_us();

		if (count < total && now >= start + count * 1000000 / rate) {
			if (ask(&question[count++], &to, len)) {
				perror("failprobe");
				return 1;
			}
			continue;
		}
		collect(count < total ? 1 : 20);
		for (; first < count &&
		       (question[first].fd < 0 || now_us() - question[first].sent_us > PATIENCE_US);
		     first++)
			if (question[first].fd >= 0)
				end(&question[first], "silence");
	}
	for (size_t i = 0; i < total; i++) {
		if (!question[i].lost)
			continue;
		lost++;
		printf("%llu %s\n", (unsigned long long)question[i].sent_us, question[i].lost);
	}
	printf("sent %zu lost %zu gap_us %llu until_us %llu\n", total, lost,
	       (unsigned long long)gap_us, (unsigned long long)question[total - 1].sent_us);
	return 0;
}
