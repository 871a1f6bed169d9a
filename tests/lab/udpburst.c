/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* udpburst - answers one datagram with many, handed to the kernel as one super-packet (UDP_SEGMENT); and the client that
 * looks whether all of them came, whole.
 *
 * usage: udpburst serve PORT                      both families
 *        udpburst ask ADDRESS PORT COUNT BYTES    exit 0: COUNT datagrams of BYTES bytes, each as it was sent
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TOTAL_MAX 64000 /* of one super-packet */

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

struct request {
	uint16_t count_be, bytes_be;
};

static void die(const char *what)
{
	fprintf(stderr, "udpburst: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Byte `at` of datagram `n`. */
static uint8_t content(unsigned n, unsigned at)
{
	return (uint8_t)(at ? n * 31 + at * 7 : n);
}

static void serve(const char *port)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6,
				   .sin6_port = htons((uint16_t)atoi(port))};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), off = 0;

	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
	    bind(fd, (void *)&any, sizeof(any)))
		die("socket");
	for (;;) {
		static uint8_t buf[TOTAL_MAX];
		struct sockaddr_in6 from;
		socklen_t from_len = sizeof(from);
		struct request r;
		ssize_t n = recvfrom(fd, &r, sizeof(r), 0, (void *)&from, &from_len);
		unsigned count = ntohs(r.count_be);
		int bytes = ntohs(r.bytes_be);

		if (n != sizeof(r) || !bytes || count * (unsigned)bytes > sizeof(buf))
			continue;
		for (unsigned i = 0; i < count * (unsigned)bytes; i++)
			buf[i] = content(i / (unsigned)bytes, i % (unsigned)bytes);
		if (setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &bytes, sizeof(bytes)))
			die("UDP_SEGMENT");
		if (sendto(fd, buf, count * (unsigned)bytes, 0, (void *)&from, from_len) < 0)
			fprintf(stderr, "udpburst: sendto: %s\n", strerror(errno));
	}
}

static int check(const uint8_t *buf, ssize_t n, unsigned count, unsigned bytes, uint8_t *seen)
{
	if (n != (ssize_t)bytes || buf[0] >= count || seen[buf[0]]) {
		printf("a datagram of %zd bytes, number %u\n", n, buf[0]);
		return 1;
	}
	seen[buf[0]] = 1;
	for (unsigned i = 1; i < bytes; i++)
		if (buf[i] != content(buf[0], i)) {
			printf("datagram %u: byte %u is wrong\n", buf[0], i);
			return 1;
		}
	return 0;
}

static int ask(char **argv)
{
	unsigned count = (unsigned)atoi(argv[2]), bytes = (unsigned)atoi(argv[3]);
	struct request r = {.count_be = htons((uint16_t)count), .bytes_be = htons((uint16_t)bytes)};
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST}, *to;
	struct timeval limit = {.tv_sec = 3};
	uint8_t buf[65536], seen[256] = {};

	if (!count || count > 256 || !bytes || bytes > 9000 ||
	    getaddrinfo(argv[0], argv[1], &hints, &to))
		return 2;
	int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), room = 1 << 20;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)); /* as much as it gives */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    connect(fd, to->ai_addr, to->ai_addrlen) || send(fd, &r, sizeof(r), 0) != sizeof(r))
		die(argv[0]);
	freeaddrinfo(to);
	for (unsigned got = 0; got < count; got++) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n < 0) {
			printf("%u of %u datagrams came\n", got, count);
			return 1;
		}
		if (check(buf, n, count, bytes, seen))
			return 1;
	}
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(argv[2]); /* never returns */
	if (argc == 6 && !strcmp(argv[1], "ask"))
		return ask(argv + 2);
	fprintf(stderr, "usage: udpburst serve PORT | ask ADDRESS PORT COUNT BYTES\n");
	return 2;
}
