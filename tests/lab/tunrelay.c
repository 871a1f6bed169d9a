/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tunrelay - a mesh of TUN devices, one in each namespace, for the lab: what leaves one goes into the one that has the
 * destination address. As kernel WireGuard does, devices take single packets and merge what comes in (IFF_NAPI: GRO), so
 * the programs meet super-packets; wireguard-go does not.
 *
 * usage: tunrelay NETNS IF ADDR4 ADDR6 [NETNS IF ADDR4 ADDR6]...     says "ready"; ends on a signal
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ENDS_MAX 16
#define BATCH 64 /* packets of one device before the others get their turn */

struct end {
	int fd;
	struct in_addr addr4;
	struct in6_addr addr6;
};

static void die(const char *what)
{
	fprintf(stderr, "tunrelay: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void open_end(char **argv, struct end *ret_end)
{
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_NAPI};
	int ns = open(argv[0], O_RDONLY | O_CLOEXEC);

	if (ns < 0 || setns(ns, CLONE_NEWNET))
		die(argv[0]);
	close(ns);
	ret_end->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", argv[1]);
	if (ret_end->fd < 0 || ioctl(ret_end->fd, TUNSETIFF, &r))
		die(argv[1]);
	errno = EINVAL;
	if (inet_pton(AF_INET, argv[2], &ret_end->addr4) != 1 ||
	    inet_pton(AF_INET6, argv[3], &ret_end->addr6) != 1)
		die("addresses");
}

static const struct end *find(const struct end *ends, int count, const uint8_t *p, ssize_t len)
{
	for (int i = 0; i < count; i++) {
		if (len >= 20 && p[0] >> 4 == 4 && memcmp(p + 16, &ends[i].addr4, 4) == 0)
			return &ends[i];
		if (len >= 40 && p[0] >> 4 == 6 && memcmp(p + 24, &ends[i].addr6, 16) == 0)
			return &ends[i];
	}
	return NULL;
}

static void relay(const struct end *ends, int count, int from)
{
	static uint8_t buf[65536];

	for (int i = 0; i < BATCH; i++) {
		ssize_t len = read(ends[from].fd, buf, sizeof(buf));
		const struct end *to = len > 0 ? find(ends, count, buf, len) : NULL;

		if (len < 0)
			return;
		if (to && write(to->fd, buf, (size_t)len) < 0 && errno != EAGAIN && errno != EIO)
			die("write"); /* EIO: the device is down */
	}
}

int main(int argc, char **argv)
{
	struct end ends[ENDS_MAX];
	struct pollfd fds[ENDS_MAX];
	int count = (argc - 1) / 4;

	if (argc < 5 || (argc - 1) % 4 || count > ENDS_MAX) {
		fprintf(stderr, "usage: tunrelay NETNS IF ADDR4 ADDR6 ...\n");
		return 2;
	}
	for (int i = 0; i < count; i++) {
		open_end(argv + 1 + i * 4, &ends[i]);
		fds[i] = (struct pollfd){.fd = ends[i].fd, .events = POLLIN};
	}
	printf("ready\n");
	fflush(stdout);
	while (poll(fds, (nfds_t)count, -1) > 0 || errno == EINTR)
		for (int i = 0; i < count; i++)
			if (fds[i].revents)
				relay(ends, count, i);
	return 1;
}
