/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* udpecho PORT NAME - the plainest UDP application: one socket bound to every address, replies with what it got.
 *
 * "whoami" is answered with "NAME CLIENT-ADDRESS CLIENT-PORT", "size N" with N bytes. The reply leaves by sendto() on the
 * wildcard socket, so its source address is whatever the kernel's routing picks: the case that anycast systems get wrong.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define DATAGRAM_MAX 65536

int main(int argc, char **argv)
{
	static char buf[DATAGRAM_MAX];
	struct sockaddr_in6 me = {.sin6_family = AF_INET6};
	int off = 0, fd;
	long port;

	port = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
	if (port < 1 || port > 65535) {
		fprintf(stderr, "usage: udpecho PORT NAME, PORT in 1..65535\n");
		return 2;
	}
	me.sin6_port = htons((uint16_t)port);
	fd = socket(AF_INET6, SOCK_DGRAM, 0);
	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
	    bind(fd, (struct sockaddr *)&me, sizeof(me))) {
		perror("udpecho");
		return 1;
	}
	for (;;) {
		struct sockaddr_in6 from;
		socklen_t len = sizeof(from);
		char addr[INET6_ADDRSTRLEN];
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);

		if (n < 0)
			continue; /* an ICMP error about an earlier reply */
		if (n > 5 && n < 12 && memcmp(buf, "size ", 5) == 0) {
			buf[n] = '\0';
			n = (ssize_t)(strtoul(buf + 5, NULL, 10) % DATAGRAM_MAX);
		} else if (n == 6 && memcmp(buf, "whoami", 6) == 0) {
			inet_ntop(AF_INET6, &from.sin6_addr, addr, sizeof(addr));
			n = snprintf(buf, sizeof(buf), "%s %s %u", argv[2],
				     strncmp(addr, "::ffff:", 7) ? addr : addr + 7,
				     ntohs(from.sin6_port));
		}
		(void)sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from,
			     len); /* as UDP goes: or it is lost */
	}
}
