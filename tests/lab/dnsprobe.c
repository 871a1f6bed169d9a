/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* dnsprobe ADDRESS PORT NAME SECONDS INTERVAL_MS - ask for a TXT record at a steady rate and say who answered each time.
 *
 * Every query leaves from a socket of its own, so each is a new flow. Prints, in order of sending, "SENT ANSWER MS" with SENT
 * in Unix milliseconds and ANSWER the TXT's text or "lost" (no answer within 2 s of the last query). Says "begun" on stderr first.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define QUERIES_MAX 20000
#define OPEN_MAX_FDS 800 /* queries under way; older ones are given up */
#define GRACE_MS 2000

struct query {
	int fd; /* -1 = answered or given up */
	uint64_t sent_ms;
	uint64_t answered_ms;
	char answer[64];
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static size_t build(uint8_t *buf, uint16_t id, const char *name)
{
	static const uint8_t head[10] = {0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0};
	static const uint8_t tail[5] = {0, 0, 16, 0, 1}; /* root, TXT, IN */
	size_t n = 12;

	buf[0] = (uint8_t)(id >> 8);
	buf[1] = (uint8_t)id;
	memcpy(buf + 2, head, sizeof(head));
	while (*name) {
		size_t len = strcspn(name, ".");

		buf[n++] = (uint8_t)len;
		memcpy(buf + n, name, len);
		n += len;
		name += len + (name[len] == '.');
	}
	memcpy(buf + n, tail, sizeof(tail));
	return n + sizeof(tail);
}

/* The text of the first TXT answer: its owner is a compressed name, as every server writes it. */
static void read_answer(struct query *q, const uint8_t *buf, size_t len, size_t question_end)
{
	size_t at = question_end + 12; /* pointer, type, class, ttl, length */
	size_t n;

	if (len <= at || buf[7] == 0)
		return;
	n = buf[at];
	if (n >= sizeof(q->answer) || at + 1 + n > len)
		return;
	memcpy(q->answer, buf + at + 1, n);
	q->answer[n] = 0;
}

static void collect(struct query *queries, size_t first, size_t count, size_t question_end,
		    int wait_ms)
{
	static struct pollfd fds[OPEN_MAX_FDS];
	static size_t which[OPEN_MAX_FDS];
	nfds_t n = 0;

	for (size_t i = first; i < count && n < OPEN_MAX_FDS; i++) {
		if (queries[i].fd < 0)
			continue;
		fds[n] = (struct pollfd){.fd = queries[i].fd, .events = POLLIN};
		which[n++] = i;
	}
	if (poll(fds, n, wait_ms) <= 0)
		return;
	for (nfds_t k = 0; k < n; k++) {
		struct query *q = &queries[which[k]];
		uint8_t buf[1500];
		ssize_t got;

		if (!fds[k].revents)
			continue;
		got = recv(q->fd, buf, sizeof(buf), MSG_DONTWAIT);
		if (got > 12) {
			q->answered_ms = now_ms();
			read_answer(q, buf, (size_t)got, question_end);
			close(q->fd);
			q->fd = -1;
		}
	}
}

static int ask(struct query *q, const struct sockaddr_in *to, uint16_t id, const char *name,
	       size_t *ret_question_end)
{
	uint8_t buf[300];
	size_t len = build(buf, id, name);

	*ret_question_end = len;
	q->fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (q->fd < 0)
		return -errno;
	q->sent_ms = now_ms();
	if (connect(q->fd, (const struct sockaddr *)to, sizeof(*to)) ||
	    send(q->fd, buf, len, 0) < 0)
		return -errno;
	return 0;
}

int main(int argc, char **argv)
{
	static struct query queries[QUERIES_MAX];
	struct sockaddr_in to = {.sin_family = AF_INET};
	size_t count = 0, first = 0, question_end = 0;
	uint64_t start = now_ms(), end, interval;

	if (argc != 6 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || strlen(argv[3]) > 200 ||
	    atoi(argv[4]) < 1 || atoi(argv[5]) < 1) {
		fprintf(stderr, "usage: dnsprobe ADDRESS PORT NAME SECONDS INTERVAL_MS\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)atoi(argv[2]));
	interval = (uint64_t)atoi(argv[5]);
	end = start + (uint64_t)atoi(argv[4]) * 1000;
	fprintf(stderr, "begun\n");
	while (now_ms() < end && count < QUERIES_MAX) {
		uint64_t due = start + count * interval, now = now_ms();

		if (now < due) {
			collect(queries, first, count, question_end, (int)(due - now));
			continue;
		}
		if (ask(&queries[count], &to, (uint16_t)count, argv[3], &question_end)) {
			perror("dnsprobe");
			return 1;
		}
		count++;
		while (first < count && (queries[first].fd < 0 || count - first >= OPEN_MAX_FDS)) {
			if (queries[first].fd >= 0)
				close(queries[first].fd);
			queries[first++].fd = -1;
		}
	}
	for (end = now_ms() + GRACE_MS; first < count && now_ms() < end;) {
		collect(queries, first, count, question_end, 50);
		while (first < count && queries[first].fd < 0)
			first++;
	}
	for (size_t i = 0; i < count; i++)
		printf("%llu %s %llu\n", (unsigned long long)queries[i].sent_ms,
		       queries[i].answer[0] ? queries[i].answer : "lost",
		       (unsigned long long)(queries[i].answered_ms
						    ? queries[i].answered_ms - queries[i].sent_ms
						    : 0));
	return 0;
}
