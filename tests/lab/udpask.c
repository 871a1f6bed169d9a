/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* udpask ADDRESS PORT TIMEOUT_MS - send stdin as one datagram, write the answer to stdout as soon as it is there.
 *
 * The socket is connected: an answer from another address or port than was asked is none. Exit code 1: no answer in time.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAM_MAX 65536

static int open_socket(const char *address, const char *port)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				 .ai_socktype = SOCK_DGRAM};
	struct addrinfo *to;
	int fd, rc = getaddrinfo(address, port, &hints, &to);

	if (rc) {
		fprintf(stderr, "udpask: %s port %s: %s\n", address, port, gai_strerror(rc));
		return -1;
	}
	fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, to->ai_addr, to->ai_addrlen)) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(to);
	return fd;
}

int main(int argc, char **argv)
{
	static char buf[DATAGRAM_MAX];
	struct pollfd p = {.events = POLLIN};
	int timeout_ms = argc == 4 ? atoi(argv[3]) : 0;
	size_t len;
	ssize_t n;

	if (timeout_ms < 1) {
		fprintf(stderr, "usage: udpask ADDRESS PORT TIMEOUT_MS <DATAGRAM\n");
		return 2;
	}
	len = fread(buf, 1, sizeof(buf), stdin);
	p.fd = open_socket(argv[1], argv[2]);
	if (p.fd < 0 || send(p.fd, buf, len, 0) < 0) {
		perror("udpask");
		return 1;
	}
	if (poll(&p, 1, timeout_ms) <= 0) {
		fprintf(stderr, "udpask: no answer in %d ms\n", timeout_ms);
		return 1;
	}
	n = recv(p.fd, buf, sizeof(buf), 0);
	if (n < 0) {
		perror("udpask");
		return 1;
	}
	return fwrite(buf, 1, (size_t)n, stdout) == (size_t)n ? 0 : 1;
}
