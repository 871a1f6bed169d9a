/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* udprtt ADDRESS PORT COUNT [FROM] - datagrams of 64 bytes, one after another: "P50 P99 LOST", microseconds. */
#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define COUNT_MAX 1000000
#define TIMEOUT_MS 500

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The answer to number `seq` ends the wait; one to an earlier number came too late to count. */
static int ask(int fd, uint64_t seq)
{
	char out[64] = {0}, in[256];
	struct pollfd p = {.fd = fd, .events = POLLIN};

	memcpy(out, &seq, sizeof(seq));
	if (send(fd, out, sizeof(out), 0) < 0)
		return -1;
	while (poll(&p, 1, TIMEOUT_MS) > 0)
		if (recv(fd, in, sizeof(in), 0) >= (ssize_t)sizeof(seq) &&
		    memcmp(in, &seq, sizeof(seq)) == 0)
			return 0;
	return -1;
}

static int from(int fd, const char *address)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM};
	struct addrinfo *a;
	int rc = getaddrinfo(address, NULL, &hints, &a);

	if (rc)
		return -1;
	rc = bind(fd, a->ai_addr, a->ai_addrlen);
	freeaddrinfo(a);
	return rc;
}

int main(int argc, char **argv)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				 .ai_socktype = SOCK_DGRAM};
	struct addrinfo *to;
	long count = argc == 4 || argc == 5 ? atol(argv[3]) : 0, got = 0;
	uint64_t *ns;
	int fd, rc;

	if (count < 1 || count > COUNT_MAX) {
		fprintf(stderr, "usage: udprtt ADDRESS PORT COUNT [FROM] (at most %d)\n",
			COUNT_MAX);
		return 2;
	}
	rc = getaddrinfo(argv[1], argv[2], &hints, &to);
	if (rc) {
		fprintf(stderr, "udprtt: %s port %s: %s\n", argv[1], argv[2], gai_strerror(rc));
		return 2;
	}
	ns = calloc((size_t)count, sizeof(*ns));
	fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (argc == 5 && fd >= 0 && from(fd, argv[4])) {
		fprintf(stderr, "udprtt: %s: cannot send from it\n", argv[4]);
		return 2;
	}
	if (!ns || fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen)) {
		perror("udprtt");
		return 1;
	}
	freeaddrinfo(to);
	for (long i = 0; i < count; i++) {
		uint64_t began = now_ns();

		if (ask(fd, (uint64_t)i) == 0)
			ns[got++] = now_ns() - began;
	}
	close(fd);
	if (!got) {
		fprintf(stderr, "udprtt: no answer\n");
		return 1;
	}
	qsort(ns, (size_t)got, sizeof(*ns), by_value);
	printf("%.1f %.1f %ld\n", (double)ns[got / 2] / 1e3, (double)ns[got * 99 / 100] / 1e3,
	       count - got);
	free(ns);
	return 0;
}
