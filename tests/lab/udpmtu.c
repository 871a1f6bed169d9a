/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* udpmtu ADDRESS PORT BYTES df|may TIMEOUT_MS - send one datagram of so many bytes, say what became of it.
 *
 * Prints `echo N` (the answer's bytes), `mtu N` (it was too big for the path, whose MTU is now known to be N), `refused`
 * (port unreachable), `nothing` (in time), or the error. df: no router may cut it; may: they may, as far as the family lets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAM_MAX 65536

static int open_socket(const char *address, const char *port, int is_df, int *ret_family)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
				 .ai_socktype = SOCK_DGRAM};
	int mode4 = is_df ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
	int mode6 = is_df ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT;
	struct addrinfo *to;
	int fd, rc = getaddrinfo(address, port, &hints, &to);

	if (rc) {
		fprintf(stderr, "udpmtu: %s port %s: %s\n", address, port, gai_strerror(rc));
		return -1;
	}
	*ret_family = to->ai_family;
	fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	rc = to->ai_family == AF_INET
		     ? setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &mode4, sizeof(mode4))
		     : setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &mode6, sizeof(mode6));
	if (fd >= 0 && (rc || connect(fd, to->ai_addr, to->ai_addrlen))) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(to);
	return fd;
}

static int say_error(int fd, int family, int error)
{
	int mtu = 0;
	socklen_t len = sizeof(mtu);

	if (error == ECONNREFUSED) {
		printf("refused\n");
	} else if (error == EMSGSIZE) {
		if (family == AF_INET)
			getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &len);
		else
			getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &len);
		printf("mtu %d\n", mtu);
	} else {
		printf("%s\n", strerror(error));
	}
	return 0;
}

int main(int argc, char **argv)
{
	static char buf[DATAGRAM_MAX];
	struct pollfd p = {.events = POLLIN};
	int family = 0;
	size_t bytes = argc == 6 ? strtoul(argv[3], NULL, 10) : 0;
	ssize_t n;

	if (!bytes || bytes > sizeof(buf)) {
		fprintf(stderr, "usage: udpmtu ADDRESS PORT BYTES df|may TIMEOUT_MS\n");
		return 2;
	}
	for (size_t i = 0; i < bytes; i++)
		buf[i] = (char)(i * 13 + 5);
	p.fd = open_socket(argv[1], argv[2], !strcmp(argv[4], "df"), &family);
	if (p.fd < 0) {
		perror("udpmtu");
		return 1;
	}
	if (send(p.fd, buf, bytes, 0) < 0)
		return say_error(p.fd, family, errno);
	if (poll(&p, 1, atoi(argv[5])) <= 0) {
		printf("nothing\n");
		return 0;
	}
	n = recv(p.fd, buf, sizeof(buf), 0);
	if (n < 0)
		return say_error(p.fd, family, errno);
	printf("echo %zd\n", n);
	return 0;
}
