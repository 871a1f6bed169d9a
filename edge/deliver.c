/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/deliver.h"

#include <errno.h>
#include <fnmatch.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REFUSED "%s is not on this node: its route refuses packets"

/* What RTM_GETROUTE answered. */
struct answer {
	uint32_t oif;
	uint8_t route_kind; /* RTN_* */
	bool is_seen;
};

static int on_attr(const struct nlattr *attr, void *arg)
{
	struct answer *ans = arg;

	if (mnl_attr_get_type(attr) == RTA_OIF && mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
		ans->oif = mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

static int on_route(const struct nlmsghdr *nlh, void *arg)
{
	struct answer *ans = arg;
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type != RTM_NEWROUTE || mnl_nlmsg_get_payload_len(nlh) < sizeof(*rtm))
		return MNL_CB_OK;
	ans->route_kind = rtm->rtm_type;
	ans->is_seen = true;
	return mnl_attr_parse(nlh, sizeof(*rtm), on_attr, ans) < 0 ? MNL_CB_ERROR : MNL_CB_STOP;
}

/* 0 | negative errno: what the kernel's lookup says for addr. */
static int ask_route(const struct ip_addr *addr, struct answer *ret_ans)
{
	char buf[8192] __attribute__((aligned(8)));
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	struct timeval limit = {.tv_sec = 1};
	struct answer ans = {0};
	struct nlmsghdr *nlh;
	struct rtmsg *rtm;
	bool is_v4 = ip_is_v4(addr);
	ssize_t n;
	int err = 0;

	if (!nl)
		return -errno;
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = 1;
	rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = is_v4 ? AF_INET : AF_INET6;
	rtm->rtm_dst_len = is_v4 ? 32 : 128;
	mnl_attr_put(nlh, RTA_DST, is_v4 ? 4 : 16, is_v4 ? addr->b + 12 : addr->b);
	/* The kernel answers at once; the limit is for a broken one. */
	if (setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0) {
		err = -errno;
		goto out;
	}
	n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
	if (n < 0 || mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), on_route, &ans) < 0)
		err = -errno;
	else if (!ans.is_seen)
		err = -ENETUNREACH;
	else
		*ret_ans = ans;
out:
	mnl_socket_close(nl);
	return err;
}

static bool is_multicast(const struct ip_addr *a)
{
	return ip_is_v4(a) ? a->b[12] >= 224 : a->b[0] == 0xff;
}

static bool is_link_local(const struct ip_addr *a)
{
	return ip_is_v4(a) ? a->b[12] == 169 && a->b[13] == 254
			   : a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80;
}

static int find_bridge(const struct ip_addr *addr, uint32_t ifindex, const char (*bridge)[32],
		       size_t bridge_count, struct deliver_way *ret_way, struct err *e)
{
	struct deliver_way way = {.ifindex = ifindex};
	char text[IP_TEXT_MAX];

	if (!if_indextoname(ifindex, way.ifname))
		return err_set(e, -EHOSTUNREACH, "%s: its interface %u has gone",
			       ip_text(addr, text), ifindex);
	for (size_t i = 0; i < bridge_count; i++)
		if (fnmatch(bridge[i], way.ifname, 0) == 0) {
			*ret_way = way;
			return 0;
		}
	return err_set(e, -EHOSTUNREACH,
		       "%s is not on this node: the route leads out of %s, which matches no bridge "
		       "pattern ([worker] bridge)",
		       ip_text(addr, text), way.ifname);
}

int deliver_find(const struct ip_addr *addr, const char (*bridge)[32], size_t bridge_count,
		 struct deliver_way *ret_way, struct err *e)
{
	char text[IP_TEXT_MAX];
	struct answer ans;
	int err;

	ip_text(addr, text);
	if (ip_is_zero(addr))
		return err_set(e, -EINVAL,
			       "%s: a backend needs one address of this node, not a wildcard",
			       text);
	if (ip_is_loopback(addr))
		return err_set(
			e, -EINVAL,
			"%s is a loopback address: packets from the mesh can't be delivered there",
			text);
	if (is_multicast(addr) || is_link_local(addr))
		return err_set(e, -EINVAL, "%s is a %s address: no backend can have it", text,
			       is_multicast(addr) ? "multicast" : "link-local");
	err = ask_route(addr, &ans);
	if (err == -ENETUNREACH || err == -EHOSTUNREACH)
		return err_set(e, -EHOSTUNREACH, "%s is not on this node: there is no route to it",
			       text);
	/* Routes of kind blackhole and prohibit answer with these. */
	if (err == -EINVAL || err == -EACCES)
		return err_set(e, -EHOSTUNREACH, REFUSED, text);
	if (err)
		return err_set(e, err, "%s: can't ask the kernel for a route: %s", text,
			       strerror(-err));
	if (ans.route_kind == RTN_LOCAL) {
		*ret_way = (struct deliver_way){0};
		return 0;
	}
	if (ans.route_kind != RTN_UNICAST || !ans.oif)
		return err_set(e, -EHOSTUNREACH, REFUSED, text);
	return find_bridge(addr, ans.oif, bridge, bridge_count, ret_way, e);
}

int deliver_watch_open(void)
{
	struct sockaddr_nl sa = {
		.nl_family = AF_NETLINK,
		.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
			     RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE,
	};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

bool deliver_watch_drain(int fd)
{
	char buf[16384];
	bool is_changed = false;

	for (int i = 0; i < 256; i++) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

		/* ENOBUFS: the kernel dropped some; that too means change. */
		if (n < 0 && errno != ENOBUFS && errno != EINTR)
			break;
		is_changed = true;
	}
	return is_changed;
}
