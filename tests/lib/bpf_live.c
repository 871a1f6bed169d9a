/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "tests/lib/bpf_live.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>

/* <net/if.h> and <linux/if.h> don't go together. */
unsigned int if_nametoindex(const char *name);

#define WAIT_MS 5000

struct live live;

static int tun_open(const char *name, int flags)
{
	struct ifreq r = {.ifr_flags = (short)(flags | IFF_NO_PI)};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
	if (fd >= 0 && ioctl(fd, TUNSETIFF, &r)) {
		close(fd);
		return -1;
	}
	return fd;
}

static const char *const net_setup[] = {
	"ip link set lo up",
	"sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1",
	"sysctl -qw net.ipv6.conf.all.router_solicitations=0 "
	"net.ipv6.conf.default.router_solicitations=0",
	"ip link set up0 address 02:00:00:00:00:55",
	"ip link set up0 mtu 1500 up",
	"ip link set ct0 up",
	"ip link set mesh0 mtu 1420 up",
	"ip addr add 10.0.0.5/24 dev up0",
	"ip addr add 2001:db8:1::5/64 dev up0 nodad",
	"ip addr add 172.17.0.1/16 dev ct0",
	"ip addr add fd17::1/64 dev ct0 nodad",
	"ip addr add 10.99.0.1/24 dev mesh0",
	"ip addr add fd99::1/64 dev mesh0 nodad",
	"ip neigh add 10.0.0.1 lladdr 02:00:00:00:00:99 dev up0 nud permanent",
	"ip neigh add 2001:db8:1::1 lladdr 02:00:00:00:00:99 dev up0 nud permanent",
	"ip neigh add 172.17.0.2 lladdr 02:00:00:00:00:77 dev ct0 nud permanent",
	"ip neigh add fd17::2 lladdr 02:00:00:00:00:77 dev ct0 nud permanent",
	"ip route add default via 10.0.0.1 dev up0",
	"ip -6 route add default via 2001:db8:1::1 dev up0",
};

static int attach_tc(const char *ifname, bool is_egress, int prog_fd)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)if_nametoindex(ifname),
		    .attach_point = is_egress ? BPF_TC_EGRESS : BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = prog_fd, .handle = 1, .priority = 1);

	/* Ingress comes first, and clsact serves both. */
	if (!is_egress && bpf_tc_hook_create(&hook))
		return -1;
	return bpf_tc_attach(&hook, &opts);
}

static int attach_all(struct bf *b)
{
	return attach_tc("up0", false, bf_program_fd(b, BF_PUB_IN)) ||
	       attach_tc("up0", true, bf_program_fd(b, BF_UP_OUT)) ||
	       attach_tc("mesh0", false, bf_program_fd(b, BF_MESH_IN)) ||
	       attach_tc("mesh0", true, bf_program_fd(b, BF_MESH_OUT)) ||
	       attach_tc("ct0", false, bf_program_fd(b, BF_BR_IN));
}

/* Packets wait up to a second to be merged, unless one says PSH. */
static int merge_on_mesh(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL))
		return -1;
	return system("echo 1000000000 > /sys/class/net/mesh0/gro_flush_timeout && "
		      "echo 100 > /sys/class/net/mesh0/napi_defer_hard_irqs");
}

static int group_setup(void **state, int mesh_flags)
{
	*state = &live;
	live.mesh = live.up = live.ct = -1;
	if (unshare(CLONE_NEWNET)) {
		live.skip = "no network namespace of our own";
		return 0;
	}
	live.mesh = tun_open("mesh0", IFF_TUN | mesh_flags);
	live.up = tun_open("up0", IFF_TAP | IFF_VNET_HDR);
	live.ct = tun_open("ct0", IFF_TAP);
	if (live.mesh < 0 || live.up < 0 || live.ct < 0) {
		live.skip = "no TUN devices";
		return 0;
	}
	for (size_t i = 0; i < sizeof(net_setup) / sizeof(*net_setup); i++)
		if (system(net_setup[i])) {
			print_error("failed: %s\n", net_setup[i]);
			return -1;
		}
	if (mesh_flags & IFF_NAPI && merge_on_mesh()) {
		print_error("no merging on the mesh device\n");
		return -1;
	}
	/* As a network card does: the stack leaves checksums to the device, so programs see partial ones. (The other
	 * kind: on a device without, Linux marks the checksum of an UDP super-packet as done when it isn't.) */
	if (ioctl(live.up, TUNSETOFFLOAD, TUN_F_CSUM))
		return -1;
	live.up_if = if_nametoindex("up0");
	if (bf_open(0, &live.b))
		return -1;
	if (live.b->load_rc) {
		live.skip = "not allowed to load BPF programs";
		return 0;
	}
	return attach_all(live.b);
}

int live_group_setup(void **state)
{
	return group_setup(state, 0);
}

int live_group_setup_gro(void **state)
{
	return group_setup(state, IFF_NAPI);
}

int live_group_teardown(void **state)
{
	(void)state;
	bf_close(live.b);
	close(live.mesh);
	close(live.up);
	close(live.ct);
	return 0;
}

int live_setup(void **state)
{
	struct live *l = *state;
	struct dp_host h = bf_host();

	l->is_partial = false;
	if (l->skip)
		return 0;
	if (bf_setup((void **)&l->b))
		return -1;
	h.mesh_ifindex = if_nametoindex("mesh0");
	h.uplink_ifindex = h.deliver_ifindex4 = h.deliver_ifindex6 = l->up_if;
	bf_set_host(l->b, &h);
	for (uint32_t slot = BF_SVC_BRIDGE4; slot <= BF_SVC_BRIDGE6; slot++) {
		struct dp_local local = bf_local(slot);

		local.ifindex = if_nametoindex("ct0");
		bf_set_local(l->b, slot, &local);
	}
	return 0;
}

void live_need(const struct live *l)
{
	if (l->skip) {
		print_message("%s\n", l->skip);
		skip();
	}
}

/* ---- wire ---- */

#define VNET_BYTES sizeof(struct virtio_net_hdr)

/* Makes it what a VM or a veth neighbour with checksum offload sends: only the pseudo header is summed up. */
static void undo_checksum(const struct pkt_spec *p, struct virtio_net_hdr *h, uint8_t *frame,
			  size_t len)
{
	bool is_v6 = strchr(p->src, ':');
	size_t l4 = is_v6 ? 54 : 34, at = l4 + (p->l4_proto == IPPROTO_UDP ? 6 : 16);
	uint32_t sum = p->l4_proto + (uint32_t)(len - l4);

	for (size_t i = is_v6 ? 22 : 26; i < l4; i += 2)
		sum += (uint32_t)frame[i] << 8 | frame[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	frame[at] = (uint8_t)(sum >> 8);
	frame[at + 1] = (uint8_t)sum;
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = (uint16_t)l4;
	h->csum_offset = (uint16_t)(at - l4);
}

void live_send_frame(int fd, const struct pkt_spec *p, const char *dst_mac)
{
	uint8_t buf[VNET_BYTES + PKT_MAX] = {}, *frame = buf + VNET_BYTES;
	size_t len = pkt_build(p, frame);

	if (dst_mac)
		memcpy(frame, dst_mac, 6);
	else /* bare IP */
		memmove(frame, frame + 14, len -= 14);
	if (fd == live.up && live.is_partial)
		undo_checksum(p, (struct virtio_net_hdr *)buf, frame, len);
	if (fd == live.up)
		assert_int_equal(write(fd, buf, VNET_BYTES + len), VNET_BYTES + len);
	else
		assert_int_equal(write(fd, frame, len), len);
}

/* What the card does for the stack: the checksum from csum_start on. */
static void finish_checksum(const struct virtio_net_hdr *h, uint8_t *frame, size_t len)
{
	uint32_t sum = 0;

	if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return;
	live.partial_seen++;
	for (size_t i = h->csum_start; i < len; i++)
		sum += (i - h->csum_start) & 1 ? frame[i] : (uint32_t)frame[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	frame[h->csum_start + h->csum_offset] = (uint8_t)(sum >> 8);
	frame[h->csum_start + h->csum_offset + 1] = (uint8_t)sum;
}

/* One frame, with an Ethernet header whatever the device. */
static ssize_t read_frame(int fd, uint8_t *frame, size_t cap)
{
	uint8_t buf[VNET_BYTES + PKT_MAX];
	struct virtio_net_hdr h;
	ssize_t len;

	if (fd == live.mesh) {
		len = read(fd, frame + 14, cap - 14);
		memset(frame, 0, 14);
		memcpy(frame + 12, frame[14] >> 4 == 4 ? "\x08\x00" : "\x86\xdd", 2);
		return len < 0 ? len : len + 14;
	}
	if (fd != live.up)
		return read(fd, frame, cap);
	len = read(fd, buf, sizeof(buf)) - (ssize_t)VNET_BYTES;
	if (len < 0 || (size_t)len > cap)
		return -1;
	memcpy(&h, buf, sizeof(h));
	memcpy(frame, buf + VNET_BYTES, (size_t)len);
	finish_checksum(&h, frame, (size_t)len);
	return len;
}

static bool is_tcp_udp(const struct pkt_seen *seen)
{
	return seen->l4_proto == IPPROTO_UDP || seen->l4_proto == IPPROTO_TCP;
}

/* Neither echo nor what IPv6 neighbours tell each other. */
static bool is_icmp_error(const struct pkt_seen *seen)
{
	if (!seen->body_bytes)
		return false;
	return (seen->l4_proto == IPPROTO_ICMP && seen->body[0] != 0 && seen->body[0] != 8) ||
	       (seen->l4_proto == IPPROTO_ICMPV6 && seen->body[0] < 128);
}

/* The next packet on fd that is one of those, whatever else the kernel sends there; checksums verified, not ICMP's. */
static void recv_of(int fd, bool (*is_meant)(const struct pkt_seen *), struct pkt_seen *seen,
		    const char *where)
{
	static uint8_t buf[PKT_MAX]; /* *seen points into it */
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct timespec end, now;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += WAIT_MS / 1000;
	for (;;) {
		ssize_t len = read_frame(fd, buf, sizeof(buf));
		const char *wrong;

		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > end.tv_sec)
			fail_msg("%s: nothing came", where);
		if (len < 0) {
			(void)poll(&pfd, 1, 100);
			continue;
		}
		wrong = pkt_read(buf, (size_t)len, seen);
		if (wrong)
			fail_msg("%s: %s", where, wrong);
		if (is_meant(seen))
			return;
	}
}

void live_recv_frame(int fd, struct pkt_seen *seen, const char *where)
{
	recv_of(fd, is_tcp_udp, seen, where);
}

void live_recv_icmp_error(int fd, struct pkt_seen *seen, const char *where)
{
	recv_of(fd, is_icmp_error, seen, where);
}

/* A wildcard socket: the reply's source address is the kernel's choice. */
int live_app_open(int family, int kind, uint16_t port)
{
	struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct timeval limit = {.tv_sec = WAIT_MS / 1000};
	int fd = socket(family == 4 ? AF_INET : AF_INET6, kind | SOCK_CLOEXEC, 0), on = 1;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (family == 6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	assert_int_equal(bind(fd, family == 4 ? (void *)&a4 : (void *)&a6,
			      family == 4 ? sizeof(a4) : sizeof(a6)),
			 0);
	if (kind == SOCK_STREAM)
		assert_int_equal(listen(fd, 4), 0);
	return fd;
}

/* The application gets the datagram and sees the client; it answers with reply_bytes. */
void live_app_echo(int fd, int family, size_t got_bytes, size_t reply_bytes)
{
	uint8_t buf[9000] = {};
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	char text[PKT_TEXT];
	ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (void *)&from, &len);

	assert_int_equal(n, got_bytes);
	if (family == 4)
		inet_ntop(AF_INET, &((struct sockaddr_in *)&from)->sin_addr, text, sizeof(text));
	else
		inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&from)->sin6_addr, text, sizeof(text));
	assert_string_equal(text, family == 4 ? BF_CLIENT4 : BF_CLIENT6);
	assert_int_equal(ntohs(((struct sockaddr_in *)&from)->sin_port), 40000);
	assert_int_equal(sendto(fd, buf, reply_bytes, 0, (void *)&from, len), reply_bytes);
}
