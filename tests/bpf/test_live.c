/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The programs on real hooks: the mesh is a TUN device, as bare of link headers as WireGuard; the uplink and a
 * container's side are TAPs; applications are real sockets. All in a network namespace of this process alone.
 *
 * Shows what the test run can't: metadata from XDP to TC, bare-IP packets, neighbours, delivery under rp_filter=1,
 * partial checksums and segmentation offload on replies.
 */
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/udp.h>

#include "tests/lib/bpf_fixture.h"

unsigned int if_nametoindex(const char *name);

#define WAIT_MS 5000

struct live {
	struct bf *b;
	int mesh, up, ct; /* TUN, TAP, TAP */
	uint32_t up_if;
	bool is_partial;       /* what we send to up0 has its checksum still to do */
	uint32_t partial_seen; /* frames that left up0 with their checksum still to do */
	const char *skip;
};

static struct live live;

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
	int rc = bpf_tc_hook_create(&hook);

	return rc && rc != -EEXIST ? rc : bpf_tc_attach(&hook, &opts);
}

static int attach_all(struct bf *b)
{
	return attach_tc("up0", false, bf_program_fd(b, BF_PUB_IN)) ||
	       attach_tc("up0", true, bf_program_fd(b, BF_UP_OUT)) ||
	       attach_tc("mesh0", false, bf_program_fd(b, BF_MESH_IN)) ||
	       attach_tc("mesh0", true, bf_program_fd(b, BF_MESH_OUT)) ||
	       attach_tc("ct0", false, bf_program_fd(b, BF_BR_IN));
}

static int group_setup(void **state)
{
	*state = &live;
	live.mesh = live.up = live.ct = -1;
	if (unshare(CLONE_NEWNET)) {
		live.skip = "no network namespace of our own";
		return 0;
	}
	live.mesh = tun_open("mesh0", IFF_TUN);
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

static int group_teardown(void **state)
{
	(void)state;
	bf_close(live.b);
	close(live.mesh);
	close(live.up);
	close(live.ct);
	return 0;
}

static int setup(void **state)
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

static void need(const struct live *l)
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

static void send_frame(int fd, const struct pkt_spec *p, const char *dst_mac)
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

/* The next TCP or UDP packet on fd, whatever else the kernel sends there; checksums verified. */
static void recv_frame(int fd, struct pkt_seen *seen, const char *where)
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
		if (seen->l4_proto == IPPROTO_UDP || seen->l4_proto == IPPROTO_TCP)
			return;
	}
}

#define UP_MAC "\2\0\0\0\0\x55"
#define GW_MAC "\2\0\0\0\0\x99"
#define CT_MAC "\2\0\0\0\0\x77"

/* A wildcard socket: the reply's source address is the kernel's choice. */
static int app_open(int family, int kind, uint16_t port)
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
static void app_echo(int fd, int family, size_t got_bytes, size_t reply_bytes)
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

static struct pkt_spec request(int family, uint8_t proto, uint32_t svc, const char *vip4,
			       const char *vip6, int outer)
{
	return (struct pkt_spec){.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				 .dst = family == 4 ? vip4 : vip6,
				 .sport = 40000,
				 .dport = 80,
				 .l4_proto = proto,
				 .payload = proto == IPPROTO_UDP ? 300 : 0,
				 .tcp_flags = 2,
				 .mss = 1460,
				 .outer_src = outer == 4   ? "10.99.0.2"
					      : outer == 6 ? "fd99::3"
							   : NULL,
				 .outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1",
				 .gre_key = DP_GRE_KEY(0, DP_TOKEN(svc, BF_USE))};
}

static void expect_reply_tunnel(const struct pkt_seen *s, int family, int outer, const char *vip4,
				const char *vip6)
{
	assert_string_equal(s->outer_src, outer == 4 ? "10.99.0.1" : "fd99::1");
	assert_string_equal(s->outer_dst, outer == 4 ? "10.99.0.2" : "fd99::3");
	assert_int_equal(s->gre_key >> 24, DP_GRE_F_REPLY);
	assert_string_equal(s->src, family == 4 ? vip4 : vip6);
	assert_string_equal(s->dst, family == 4 ? BF_CLIENT4 : BF_CLIENT6);
	assert_int_equal(s->sport, 80);
	assert_int_equal(s->dport, 40000);
}

/* ---- tests ---- */

static void edge_forwards(struct live *l, uint32_t first_reason)
{
	for (int i = 0; i < 8; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 4 ? 6 : 4;
		struct pkt_spec p = {.src = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				     .sport = 40000,
				     .payload = 99,
				     .l4_proto = i & 2 ? IPPROTO_TCP : IPPROTO_UDP,
				     .dport = outer == 4 ? 53 : 5100};
		uint64_t chosen = bf_reason(l->b, first_reason),
			 forwarded = bf_reason(l->b, DP_R_FORWARDED),
			 marked = bf_reason(l->b, DP_R_MESH_OUT_MARKED);
		struct pkt_seen s;

		p.dst = outer == 4 ? (family == 4 ? "192.0.2.10" : "2001:db8::10")
				   : (family == 4 ? "192.0.2.11" : "2001:db8::11");
		send_frame(l->up, &p, UP_MAC);
		recv_frame(l->mesh, &s, p.dst);
		assert_string_equal(s.outer_dst, outer == 4 ? "10.99.0.2" : "fd99::3");
		assert_string_equal(s.src, p.src);
		assert_string_equal(s.dst, p.dst);
		assert_int_equal(s.payload, 99);
		assert_int_equal(bf_reason(l->b, first_reason), chosen + 1);
		assert_int_equal(bf_reason(l->b, DP_R_FORWARDED), forwarded + 1);
		assert_int_equal(bf_reason(l->b, DP_R_MESH_OUT_MARKED), marked + 1);
	}
}

static void test_edge_when_xdp_attached_then_tc_takes_its_verdict(void **state)
{
	static const uint32_t modes[] = {XDP_FLAGS_DRV_MODE, XDP_FLAGS_SKB_MODE};
	struct live *l = *state;

	need(l);
	for (size_t i = 0; i < 2; i++) {
		uint64_t by_tc;

		assert_int_equal(
			bpf_xdp_attach((int)l->up_if, bf_program_fd(l->b, BF_XDP), modes[i], NULL),
			0);
		edge_forwards(l, DP_R_FORWARD_CHOSEN);
		/* TC would have counted the service once more if it had decided itself. */
		by_tc = bf_stat_packets(l->b, "dp_svc_stat", BF_SVC_EXACT4);
		assert_int_equal(by_tc, 2 * (i + 1));
		bpf_xdp_detach((int)l->up_if, modes[i], NULL);
	}
}

static void test_edge_when_no_xdp_then_tc_decides(void **state)
{
	struct live *l = *state;

	need(l);
	edge_forwards(l, DP_R_FORWARDED);
}

static void test_edge_when_checksums_are_partial_then_right_on_the_mesh(void **state)
{
	struct live *l = *state;

	need(l);
	l->is_partial = true;
	edge_forwards(l, DP_R_FORWARDED);
	l->is_partial = false;
}

/* Rewritten on the way to a container: the device of its side has to see the right sum in the end. */
static void test_edge_when_partial_and_container_here_then_right(void **state)
{
	struct live *l = *state;

	need(l);
	l->is_partial = true;
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4;
		struct pkt_spec p = request(family, i & 2 ? IPPROTO_TCP : IPPROTO_UDP, 0,
					    "192.0.2.13", "2001:db8::13", 0);
		struct pkt_seen s;

		send_frame(l->up, &p, UP_MAC);
		recv_frame(l->ct, &s, p.dst);
		assert_string_equal(s.dst, family == 4 ? "172.17.0.2" : "fd17::2");
		assert_int_equal(s.dport, 8080);
		assert_string_equal(s.src, p.src);
	}
	l->is_partial = false;
}

static void test_edge_when_reply_comes_then_sent_to_the_gateway(void **state)
{
	struct live *l = *state;

	need(l);
	for (int i = 0; i < 8; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 4 ? 6 : 4;
		struct pkt_spec p = {.src = family == 4 ? "192.0.2.10" : "2001:db8::10",
				     .sport = 53,
				     .dport = 40000,
				     .dst = family == 4 ? BF_CLIENT4 : BF_CLIENT6,
				     .payload = 77,
				     .l4_proto = i & 2 ? IPPROTO_TCP : IPPROTO_UDP,
				     .outer_src = outer == 4 ? "10.99.0.2" : "fd99::3",
				     .outer_dst = outer == 4 ? "10.99.0.1" : "fd99::1",
				     .gre_key = DP_GRE_KEY(DP_GRE_F_REPLY, 1)};
		struct pkt_seen s;

		send_frame(l->mesh, &p, NULL);
		recv_frame(l->up, &s, p.src);
		assert_memory_equal(s.eth_dst, GW_MAC, 6);
		assert_string_equal(s.src, p.src);
		assert_string_equal(s.dst, p.dst);
		assert_int_equal(s.payload, 77);
	}
}

static void test_worker_when_udp_host_socket_then_answers_through_the_edge(void **state)
{
	struct live *l = *state;

	need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		struct pkt_spec p =
			request(family, IPPROTO_UDP, family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6,
				"192.0.2.12", "2001:db8::12", outer);
		int app = app_open(family, SOCK_DGRAM, 8080);
		struct pkt_seen s;

		send_frame(l->mesh, &p, NULL);
		app_echo(app, family, 300, 1000);
		recv_frame(l->mesh, &s, p.dst);
		expect_reply_tunnel(&s, family, outer, "192.0.2.12", "2001:db8::12");
		assert_int_equal(s.payload, 1000);
		close(app);
	}
}

static void test_worker_when_tcp_syn_then_syn_ack_is_clamped(void **state)
{
	struct live *l = *state;

	need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4;
		struct pkt_spec p =
			request(family, IPPROTO_TCP, family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6,
				"192.0.2.12", "2001:db8::12", outer);
		int app = app_open(family, SOCK_STREAM, 8080);
		struct pkt_seen s;

		send_frame(l->mesh, &p, NULL);
		recv_frame(l->mesh, &s, p.dst);
		expect_reply_tunnel(&s, family, outer, "192.0.2.12", "2001:db8::12");
		assert_int_equal(s.mss, BF_MTU - (outer == 4 ? 28 : 48) - (family == 4 ? 40 : 60));
		close(app);
	}
}

static void test_worker_when_container_then_there_and_back(void **state)
{
	struct live *l = *state;

	need(l);
	for (int i = 0; i < 8; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 4 ? 6 : 4;
		uint8_t proto = i & 2 ? IPPROTO_TCP : IPPROTO_UDP;
		struct pkt_spec p =
			request(family, proto, family == 4 ? BF_SVC_BRIDGE4 : BF_SVC_BRIDGE6,
				"192.0.2.13", "2001:db8::13", outer);
		struct pkt_spec back = {.src = family == 4 ? "172.17.0.2" : "fd17::2",
					.sport = 8080,
					.dport = 40000,
					.dst = p.src,
					.l4_proto = proto,
					.payload = 400};
		char ct_if_mac[6] = {};
		struct pkt_seen s;

		send_frame(l->mesh, &p, NULL);
		recv_frame(l->ct, &s, "container");
		assert_memory_equal(s.eth_dst, CT_MAC, 6);
		assert_string_equal(s.src, p.src);
		assert_string_equal(s.dst, back.src);
		assert_int_equal(s.dport, 8080);
		assert_int_equal(s.mss, proto == IPPROTO_TCP ? BF_MTU - (outer == 4 ? 28 : 48) -
								       (family == 4 ? 40 : 60)
							     : 0);
		send_frame(l->ct, &back, ct_if_mac);
		recv_frame(l->mesh, &s, "reply");
		expect_reply_tunnel(&s, family, outer, "192.0.2.13", "2001:db8::13");
		assert_int_equal(s.payload, 400);
	}
}

static void test_edge_when_backend_is_here_then_there_and_back(void **state)
{
	struct live *l = *state;

	need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4;
		bool is_xdp = i & 2;
		uint32_t partial = l->partial_seen;
		struct pkt_spec p =
			request(family, IPPROTO_UDP, 0, "192.0.2.12", "2001:db8::12", 0);
		int app = app_open(family, SOCK_DGRAM, 8080);
		struct pkt_seen s;

		if (is_xdp)
			assert_int_equal(bpf_xdp_attach((int)l->up_if, bf_program_fd(l->b, BF_XDP),
							XDP_FLAGS_SKB_MODE, NULL),
					 0);
		send_frame(l->up, &p, UP_MAC);
		app_echo(app, family, 300, 1400);
		recv_frame(l->up, &s, p.dst);
		assert_int_equal(l->partial_seen, partial + 1);
		assert_memory_equal(s.eth_dst, GW_MAC, 6);
		assert_string_equal(s.src, p.dst);
		assert_string_equal(s.dst, p.src);
		assert_int_equal(s.sport, 80);
		assert_int_equal(s.payload, 1400);
		if (is_xdp)
			bpf_xdp_detach((int)l->up_if, XDP_FLAGS_SKB_MODE, NULL);
		close(app);
	}
}

/* One super-packet out of the application becomes tunnel packets, each with right checksums and lengths. */
static void test_worker_when_reply_is_a_super_packet_then_segmented_in_the_tunnel(void **state)
{
	struct live *l = *state;

	need(l);
	for (int i = 0; i < 4; i++) {
		int family = i & 1 ? 6 : 4, outer = i & 2 ? 6 : 4, segment = 500;
		struct pkt_spec p =
			request(family, IPPROTO_UDP, family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6,
				"192.0.2.12", "2001:db8::12", outer);
		int app = app_open(family, SOCK_DGRAM, 8080);

		assert_int_equal(setsockopt(app, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment)),
				 0);
		send_frame(l->mesh, &p, NULL);
		app_echo(app, family, 300, 2300);
		for (size_t n = 0; n < 5; n++) {
			struct pkt_seen s;

			recv_frame(l->mesh, &s, "segment");
			expect_reply_tunnel(&s, family, outer, "192.0.2.12", "2001:db8::12");
			assert_int_equal(s.payload, n < 4 ? 500 : 300);
		}
		close(app);
	}
}

/* A reply larger than the uplink's MTU leaves the socket in fragments: none may reach the wire. */
static void test_worker_when_reply_is_fragmented_then_nothing_leaks(void **state)
{
	struct live *l = *state;

	need(l);
	for (int family = 4; family <= 6; family += 2) {
		struct pkt_spec p =
			request(family, IPPROTO_UDP, family == 4 ? BF_SVC_HOST4 : BF_SVC_HOST6,
				"192.0.2.12", "2001:db8::12", 4);
		struct pkt_spec other = {.src = family == 4 ? "192.0.2.10" : "2001:db8::10",
					 .sport = 53,
					 .dport = 40000,
					 .dst = p.src,
					 .l4_proto = IPPROTO_UDP,
					 .payload = 1,
					 .outer_src = "10.99.0.2",
					 .outer_dst = "10.99.0.1",
					 .gre_key = DP_GRE_KEY(DP_GRE_F_REPLY, 1)};
		uint64_t before = bf_reason(l->b, DP_R_REPLY_FRAGMENT);
		int app = app_open(family, SOCK_DGRAM, 8080), off = 0; /* IP_PMTUDISC_DONT */
		struct pkt_seen s;

		setsockopt(app, IPPROTO_IP, IP_MTU_DISCOVER, &off, sizeof(off));
		send_frame(l->mesh, &p, NULL);
		app_echo(app, family, 300, 4000);
		/* The kernel gives up the rest when the first one is refused. */
		assert_in_range(bf_reason(l->b, DP_R_REPLY_FRAGMENT), before + 1, before + 3);
		/* What comes out next is what we send next, and not a fragment. */
		send_frame(l->mesh, &other, NULL);
		recv_frame(l->up, &s, "marker");
		assert_string_equal(s.src, other.src);
		close(app);
	}
}

static void test_ping_when_bare_then_answered(void **state)
{
	struct live *l = *state;

	need(l);
	for (int family = 4; family <= 6; family += 2) {
		struct pkt_spec p = {.src = family == 4 ? "10.99.0.2" : "fd99::3",
				     .sport = 5555,
				     .dst = family == 4 ? "10.99.0.1" : "fd99::1",
				     .dport = DP_PING_PORT,
				     .l4_proto = IPPROTO_UDP,
				     .payload = DP_PING_BYTES,
				     .ping_kind = 1};
		struct pkt_seen s;

		send_frame(l->mesh, &p, NULL);
		recv_frame(l->mesh, &s, "ping");
		assert_string_equal(s.dst, p.src);
		assert_int_equal(s.dport, 5555);
		assert_int_equal(s.ping_kind, 1);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, setup)
	const struct CMUnitTest tests[] = {
		T(test_edge_when_xdp_attached_then_tc_takes_its_verdict),
		T(test_edge_when_no_xdp_then_tc_decides),
		T(test_edge_when_checksums_are_partial_then_right_on_the_mesh),
		T(test_edge_when_partial_and_container_here_then_right),
		T(test_edge_when_reply_comes_then_sent_to_the_gateway),
		T(test_worker_when_udp_host_socket_then_answers_through_the_edge),
		T(test_worker_when_tcp_syn_then_syn_ack_is_clamped),
		T(test_worker_when_container_then_there_and_back),
		T(test_edge_when_backend_is_here_then_there_and_back),
		T(test_worker_when_reply_is_a_super_packet_then_segmented_in_the_tunnel),
		T(test_worker_when_reply_is_fragmented_then_nothing_leaks),
		T(test_ping_when_bare_then_answered),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
