/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* abuse WHAT ... - a sender of bytes that nobody should send. The same seed sends the same bytes.
 *
 *   dgrams  ADDR PORT COUNT SEED [PCAP]   datagrams: random, and those of a bare-IP capture, mutated and as they were
 *   replay  ADDR PORT COUNT PCAP          datagrams of such a capture as they were, again and again
 *   frames  ADDR PORT COUNT SEED          TCP streams: random, cut short, great lengths; each is closed again
 *   idle    ADDR PORT COUNT               TCP streams held open until stdin ends; "held N" when they are up
 *   ctl     PATH COUNT SEED               control socket: garbage, partial requests, wrong types, great sizes
 *   ctlidle PATH COUNT                    control socket: clients that say nothing, as idle
 *   ctlslow PATH COUNT                    control socket: asks much, reads nothing, goes in the middle of the answer
 *   fwd     PATH COUNT SEED               edgefwd's socket: wrong sizes, versions and kinds, floods
 *   packets DEV MAC SRC DST COUNT SEED    malformed IP packets to DST; MAC "-" on a device without Ethernet
 *   gre     DEV MAC SRC DST INNER-SRC INNER-DST COUNT SEED [MARK]   malformed GRE with malformed packets in it
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BYTES_MAX 70000
#define CAPTURED_MAX 64
#define IDLE_MAX 1024
#define PACE 64 /* packets between two pauses: 2 cores are shared */
#define PAUSE_US 2000

static uint64_t seed;
static uint8_t buf[BYTES_MAX];

static uint32_t rnd(uint32_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return below ? (uint32_t)(seed >> 33) % below : 0;
}

static void fill(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)rnd(256);
}

static int die(const char *what)
{
	fprintf(stderr, "abuse: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static void pace(long i)
{
	if (i % PACE == PACE - 1)
		usleep(PAUSE_US);
}

/* ---- gossip */

static int inet_to(const char *addr, const char *port, int type)
{
	struct sockaddr_in6 s6 = {.sin6_family = AF_INET6};
	struct sockaddr_in s4 = {.sin_family = AF_INET};
	bool is_v6 = strchr(addr, ':');
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, type, 0);

	s4.sin_port = s6.sin6_port = htons((uint16_t)atoi(port));
	if (inet_pton(is_v6 ? AF_INET6 : AF_INET, addr,
		      is_v6 ? (void *)&s6.sin6_addr : (void *)&s4.sin_addr) != 1 ||
	    fd < 0)
		die(addr);
	if (is_v6 ? connect(fd, (struct sockaddr *)&s6, sizeof(s6))
		  : connect(fd, (struct sockaddr *)&s4, sizeof(s4)))
		die("connect");
	return fd;
}

static struct {
	uint8_t bytes[1500];
	size_t len;
} captured[CAPTURED_MAX];

/* UDP payloads of a capture of bare IPv4. */
static size_t read_capture(const char *path)
{
	uint8_t head[24], rec[16], pkt[2048];
	size_t n = 0;
	FILE *f = fopen(path, "rb");

	if (!f || fread(head, sizeof(head), 1, f) != 1)
		die(path);
	while (n < CAPTURED_MAX && fread(rec, sizeof(rec), 1, f) == 1) {
		uint32_t len;
		size_t off;

		memcpy(&len, rec + 8, sizeof(len));
		if (len > sizeof(pkt) || fread(pkt, 1, len, f) != len)
			break;
		off = (pkt[0] & 15u) * 4u + 8u;
		if (pkt[0] >> 4 != 4 || pkt[9] != IPPROTO_UDP || len <= off || len - off > 1500)
			continue;
		captured[n].len = len - off;
		memcpy(captured[n++].bytes, pkt + off, len - off);
	}
	fclose(f);
	return n;
}

static void send_dgrams(char **a, int count_args)
{
	long count = atol(a[2]);
	size_t n = count_args > 4 ? read_capture(a[4]) : 0;
	int fd = inet_to(a[0], a[1], SOCK_DGRAM);

	for (long i = 0; i < count; i++) {
		size_t len = rnd(10) ? rnd(1400) : rnd(9000);

		fill(buf, len);
		if (n && rnd(4)) {
			size_t k = rnd((uint32_t)n);

			len = captured[k].len;
			memcpy(buf, captured[k].bytes, len);
			for (uint32_t flips = rnd(4); flips; flips--)
				buf[rnd((uint32_t)len)] ^= (uint8_t)(1u << rnd(8));
			if (rnd(4) == 0)
				len = rnd((uint32_t)len);
		}
		(void)!send(fd, buf, len, 0); /* refused or not: the next one */
		pace(i);
	}
	printf("sent %ld, %zu captured\n", count, n);
}

static void replay_dgrams(char **a)
{
	size_t n = read_capture(a[3]);
	int fd = inet_to(a[0], a[1], SOCK_DGRAM);

	if (n == 0)
		die("nothing captured");
	for (long i = 0; i < atol(a[2]); i++) {
		(void)!send(fd, captured[(size_t)i % n].bytes, captured[(size_t)i % n].len, 0);
		pace(i);
	}
	printf("sent %s, %zu captured\n", a[2], n);
}

static void send_frames(char **a)
{
	for (long i = 0; i < atol(a[2]); i++) {
		static const uint32_t lengths[] = {0,	    1,	      50,	  99,
						   100,	    1000,     65536,	  262144,
						   1 << 20, 16777216, 0x7fffffff, 0xffffffff};
		size_t len = rnd(3) ? rnd(300) : rnd(60000);
		int fd = inet_to(a[0], a[1], SOCK_STREAM);

		fill(buf, len + 4);
		put32(buf, lengths[rnd(sizeof(lengths) / sizeof(lengths[0]))]);
		(void)!send(fd, buf, rnd(4) ? len + 4 : rnd(5), MSG_NOSIGNAL);
		if (rnd(2)) {
			struct linger hard = {.l_onoff = 1}; /* a reset */

			(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		}
		close(fd);
		pace(i);
	}
	printf("sent %s\n", a[2]);
}

static int unix_to(const char *path, int type)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, type, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sun, sizeof(sun)))
		die(path);
	return fd;
}

static void hold(long count, const char *addr, const char *port)
{
	for (long i = 0; i < count && i < IDLE_MAX; i++)
		(void)(port ? inet_to(addr, port, SOCK_STREAM) : unix_to(addr, SOCK_STREAM));
	printf("held %ld\n", count);
	fflush(stdout);
	while (read(0, buf, sizeof(buf)) > 0)
		;
}

/* ---- control socket */

#define STR(s) s, sizeof(s) - 1
static const struct {
	const char *bytes;
	size_t len;
} requests[] = {
	{STR("\x94\x00\x01\xa6status\x80")}, /* right */
	{STR("\x94\x00\x01\xa6status\xc0")}, /* parameters of the wrong types */
	{STR("\x94\x00\x01\xa6status\x91\x01")},
	{STR("\x94\x00\x01\xabservice.add\x81\xa4name\x01")},
	{STR("\x94\x00\x01\xabservice.add\x82\xa4name\xa1x\xa4name\xa1y")}, /* twice */
	{STR("\x94\x00\x01\xabservice.add\x83\xa4name\xa1x\xa4vips\xdd\xff\xff\xff\xff")},
	{STR("\x94\x00\x01\xabservice.add\x83\xa4name\xa1x\xa4vips\x90\xa5ports\x90")},
	{STR("\x94\x00\x01\xabservice.add\x81\xa4name\xa4\x00\x1b[2J")},
	{STR("\x94\x00\x01\xaa"
	     "route.show\x81\xa7service\xc4\x01x")},
	{STR("\x94\x00\x01\xabservice.add\xdf\xff\xff\xff\xff")}, /* a map of four billion */
	{STR("\x94\x00\x01\xdb\xff\xff\xff\xff")},
	{STR("\x94\x00\x01\xc6\x7f\xff\xff\xff")},
	{STR("\x94\x00\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa6status\x80")},
	{STR("\x94\x01\x01\xa6status\x80")}, /* an answer */
	{STR("\x94\x00\x01\xa6no.way\x80")},
	{STR("\x93\x00\x01\xa6status")},
	{STR("\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91")},
	{STR("\xc1")},
	{STR("GET / HTTP/1.1\r\n\r\n")},
	{STR("")},
};
#define REQUESTS (sizeof(requests) / sizeof(requests[0]))

static void send_ctl(char **a)
{
	for (long i = 0; i < atol(a[1]); i++) {
		int fd = unix_to(a[0], SOCK_STREAM);
		size_t k = (size_t)i % (REQUESTS + 2), len;
		struct timeval limit = {.tv_usec = 20000};

		if (k < REQUESTS) {
			len = requests[k].len;
			memcpy(buf, requests[k].bytes, len);
			if (i >= (long)REQUESTS + 2 && len) {
				if (rnd(2))
					len = rnd((uint32_t)len); /* partial */
				else
					buf[rnd((uint32_t)len)] = (uint8_t)rnd(256);
			}
		} else if (k == REQUESTS) { /* longer than any request may be */
			len = BYTES_MAX;
			memset(buf, 0xc0, len);
			memcpy(buf, "\x94\x00\x01\xa6status\xdd\x00\x00\xff\xff", 15);
		} else {
			len = rnd(4000);
			fill(buf, len);
		}
		(void)!send(fd, buf, len, MSG_NOSIGNAL);
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		if (rnd(4)) /* else gone before the answer */
			(void)!recv(fd, buf, sizeof(buf), 0);
		close(fd);
		pace(i);
	}
	printf("sent %s\n", a[1]);
}

static void send_ctl_slow(char **a)
{
	for (long i = 0; i < atol(a[1]); i++) {
		int fd = unix_to(a[0], SOCK_STREAM), small = 1;

		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		for (int k = 0; k < 200; k++)
			(void)!send(fd, "\x94\x00\x01\xa6status\x80", 11,
				    MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)!recv(fd, buf, 1, 0); /* it writes now */
		close(fd);
	}
	printf("sent %s\n", a[1]);
}

static void send_fwd(char **a)
{
	for (long i = 0; i < atol(a[1]); i++) {
		int fd = unix_to(a[0], SOCK_SEQPACKET);
		struct timeval limit = {.tv_usec = 20000};
		size_t len = rnd(3) ? 468 : rnd(4096);

		fill(buf, len);
		if (rnd(3) && len >= 8) {
			memset(buf, 0, 8);
			buf[0] = (uint8_t)(1 + rnd(8));
			buf[2] = rnd(8) ? 2 : 1; /* version */
		}
		for (uint32_t k = rnd(8) ? 1 : 1000; k; k--)
			(void)!send(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		(void)!recv(fd, buf, sizeof(buf), 0);
		close(fd);
	}
	printf("sent %s\n", a[1]);
}

/* ---- packets */

struct ends {
	uint8_t src[16], dst[16];
	bool is_v6;
};

static void parse_ends(const char *src, const char *dst, struct ends *ret)
{
	int family;

	ret->is_v6 = strchr(dst, ':');
	family = ret->is_v6 ? AF_INET6 : AF_INET;
	if (inet_pton(family, src, ret->src) != 1 || inet_pton(family, dst, ret->dst) != 1)
		die(dst);
}

static void checksum(uint8_t *ip)
{
	uint32_t sum = 0;
	size_t len = (ip[0] & 15u) * 4u;

	put16(ip + 10, 0);
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	put16(ip + 10, ~(sum + (sum >> 16)) & 0xffff);
}

/* TCP or UDP with something wrong about it; the length that it has. */
static size_t bad_l4(uint8_t *p, uint8_t l4_proto)
{
	static const uint16_t ports[] = {0, 7, 22, 53, 80, 7946, 65535};

	fill(p, 64);
	put16(p, rnd(3) ? 1024 + rnd(60000) : 0);
	put16(p + 2, ports[rnd(sizeof(ports) / sizeof(ports[0]))]);
	if (l4_proto == IPPROTO_TCP)
		p[12] = (uint8_t)(rnd(16) << 4);
	else
		put16(p + 4, rnd(4) ? rnd(9) : rnd(65536)); /* a lie */
	return rnd(4) ? 8 + rnd(56) : rnd(8);
}

static size_t bad_ip4(uint8_t *p, const struct ends *e, uint8_t l4_proto, size_t body)
{
	memset(p, 0, 20);
	p[0] = 0x45;
	put16(p + 2, (uint32_t)(20 + body));
	p[8] = 64;
	p[9] = l4_proto;
	memcpy(p + 12, e->src, 4);
	memcpy(p + 16, e->dst, 4);
	switch (rnd(8)) {
	case 0:
		p[0] = (uint8_t)rnd(256); /* version and header length */
		break;
	case 1:
		put16(p + 2, rnd(65536)); /* length */
		break;
	case 2:
		put16(p + 6, rnd(65536)); /* fragment */
		break;
	case 3:
		put16(p + 2, rnd(28));
		break;
	}
	checksum(p);
	return 20 + body;
}

static size_t bad_ip6(uint8_t *p, const struct ends *e, uint8_t l4_proto, size_t body)
{
	static const uint8_t kinds[] = {0, 43, 44, 51, 60};
	uint8_t l4[BYTES_MAX > 2048 ? 2048 : 1], *next = p + 6;
	size_t len = 40;

	memcpy(l4, p + 40, body); /* it was put where it stands without extensions */
	memset(p, 0, 40);
	p[0] = 0x60;
	p[7] = 64;
	memcpy(p + 8, e->src, 16);
	memcpy(p + 24, e->dst, 16);
	for (uint32_t n = rnd(2) ? rnd(12) : 0; n; n--) {
		*next = kinds[rnd(sizeof(kinds))];
		next = p + len;
		fill(p + len, 8);
		if (rnd(4))
			p[len + 1] = 0;
		len += 8;
	}
	*next = l4_proto;
	memcpy(p + len, l4, body);
	len += body;
	put16(p + 4, rnd(6) ? (uint32_t)len - 40 : rnd(65536));
	if (rnd(16) == 0)
		p[0] = (uint8_t)rnd(256);
	return len;
}

/* Most times an error about a reply: with a quote that is wrong, cut, or of no flow at all. */
static size_t bad_icmp(uint8_t *p, const struct ends *e)
{
	static const uint8_t types4[] = {0, 3, 3, 4, 5, 8, 11, 12, 13, 255};
	static const uint8_t types6[] = {1, 2, 2, 3, 4, 127, 128, 129, 135, 136};
	uint8_t quoted = rnd(4) ? IPPROTO_UDP : (uint8_t)rnd(256);
	struct ends back = {.is_v6 = e->is_v6};
	size_t len = bad_l4(p + 8 + (e->is_v6 ? 40 : 20), quoted);

	memcpy(back.src, e->dst, sizeof(back.src));
	memcpy(back.dst, e->src, sizeof(back.dst));
	len = 8 +
	      (e->is_v6 ? bad_ip6(p + 8, &back, quoted, len) : bad_ip4(p + 8, &back, quoted, len));
	fill(p, 8);
	p[0] = e->is_v6 ? types6[rnd(sizeof(types6))] : types4[rnd(sizeof(types4))];
	return rnd(3) ? len : rnd((uint32_t)len + 1);
}

static size_t bad_packet(uint8_t *p, const struct ends *e)
{
	uint8_t l4_proto = rnd(4) ? (rnd(2) ? IPPROTO_UDP : IPPROTO_TCP) : (uint8_t)rnd(256);
	uint8_t *l4 = p + (e->is_v6 ? 40 : 20);
	size_t body, len;

	if (rnd(5)) {
		body = bad_l4(l4, l4_proto);
	} else {
		l4_proto = e->is_v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
		body = bad_icmp(l4, e);
	}
	len = e->is_v6 ? bad_ip6(p, e, l4_proto, body) : bad_ip4(p, e, l4_proto, body);
	return rnd(6) ? len : rnd((uint32_t)len + 1); /* cut short */
}

static size_t bad_gre(uint8_t *p, const struct ends *outer, const struct ends *inner)
{
	size_t off = outer->is_v6 ? 40 : 20, len = 8;
	uint8_t *g = p + off;

	put16(g, rnd(3) ? 0x2000 : rnd(65536)); /* flags and version */
	put16(g + 2, rnd(4) ? (inner->is_v6 ? 0x86dd : 0x0800) : rnd(65536));
	put32(g + 4, rnd(3) ? (rnd(2) << 24 | 1 << 10 | rnd(1024)) : (uint32_t)rnd(1u << 31) << 1);
	len += bad_packet(g + 8, inner);
	if (rnd(6) == 0)
		len = rnd((uint32_t)len);
	/* The outer header is right most times: else nothing behind it is looked at. */
	for (;;) {
		uint8_t copy[4096];
		size_t all;

		memcpy(copy, g, len);
		all = outer->is_v6 ? bad_ip6(p, outer, 47, len) : bad_ip4(p, outer, 47, len);
		if (rnd(4) == 0 || all == off + len)
			return all;
		memcpy(g, copy, len);
	}
}

static void send_packets(char **a, bool is_gre, int count_args)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_halen = 6};
	bool is_eth = strcmp(a[1], "-") != 0;
	struct ends outer, inner;
	int at = is_gre ? 6 : 4, fd;
	long count = atol(a[at]), sent = 0;

	seed = strtoull(a[at + 1], NULL, 10);
	parse_ends(a[2], a[3], &outer);
	if (is_gre)
		parse_ends(a[4], a[5], &inner);
	to.sll_ifindex = (int)if_nametoindex(a[0]);
	if (is_eth &&
	    sscanf(a[1], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", to.sll_addr, to.sll_addr + 1,
		   to.sll_addr + 2, to.sll_addr + 3, to.sll_addr + 4, to.sll_addr + 5) != 6)
		die(a[1]);
	to.sll_protocol = htons(outer.is_v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IP);
	fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	if (fd < 0 || to.sll_ifindex == 0)
		die(a[0]);
	if (is_gre && count_args > 8) {
		uint32_t mark = (uint32_t)strtoul(a[8], NULL, 0);

		if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)))
			die("mark");
	}
	for (long i = 0; i < count; i++) {
		size_t len = is_gre ? bad_gre(buf, &outer, &inner) : bad_packet(buf, &outer);

		if (sendto(fd, buf, len, 0, (struct sockaddr *)&to, sizeof(to)) >= 0)
			sent++;
		pace(i);
	}
	printf("sent %ld of %ld\n", sent, count);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *what;
		int args;
	} forms[] = {{"dgrams", 4},  {"frames", 4}, {"idle", 3},    {"ctl", 3}, {"ctlidle", 2},
		     {"ctlslow", 2}, {"fwd", 3},    {"packets", 6}, {"gre", 8}, {"replay", 4}};
	char **a = argv + 2;
	size_t i = 0;

	while (i < sizeof(forms) / sizeof(forms[0]) &&
	       (argc < 2 || strcmp(argv[1], forms[i].what) != 0))
		i++;
	if (i == sizeof(forms) / sizeof(forms[0]) || argc - 2 < forms[i].args) {
		fprintf(stderr, "usage: abuse "
				"dgrams|replay|frames|idle|ctl|ctlidle|ctlslow|fwd|packets|gre "
				"ARGS, see the source\n");
		return 2;
	}
	if (forms[i].args > 2 && forms[i].args < 6 && i != 2 && i != 9)
		seed = strtoull(a[forms[i].args - 1], NULL, 10);
	switch (i) {
	case 0:
		send_dgrams(a, argc - 2);
		break;
	case 1:
		send_frames(a);
		break;
	case 2:
		hold(atol(a[2]), a[0], a[1]);
		break;
	case 3:
		send_ctl(a);
		break;
	case 4:
		hold(atol(a[1]), a[0], NULL);
		break;
	case 5:
		send_ctl_slow(a);
		break;
	case 6:
		send_fwd(a);
		break;
	case 9:
		replay_dgrams(a);
		break;
	default:
		send_packets(a, i == 8, argc - 2);
	}
	return 0;
}
