/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_nl.c - rtnetlink by libmnl. */
#include "edge/keeper_nl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/filter.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENT_RCVBUF_BYTES (4 << 20) /* a burst of some ten thousand interface events */
#define DRAIN_READS_MAX 64 /* datagrams per call: other handles of the loop get their turn */
#define READ_BYTES 65536   /* the kernel fills dumps up to what the reader offers, 32 KiB at most */
#define REQUEST_TIMEOUT_S 5

struct nl {
	struct mnl_socket *events;
	struct mnl_socket *requests;
	uint32_t seq;
	char buf[READ_BYTES];
};

/* ---- parsing */

struct attrs {
	const struct nlattr *tb[64];
};

static int put_attr(const struct nlattr *attr, void *arg)
{
	struct attrs *a = arg;
	uint16_t kind = mnl_attr_get_type(attr);

	if (kind < sizeof(a->tb) / sizeof(a->tb[0]))
		a->tb[kind] = attr;
	return MNL_CB_OK;
}

static bool get_ip(const struct nlattr *attr, struct ip_addr *ret_addr)
{
	size_t len = attr ? mnl_attr_get_payload_len(attr) : 0;

	memset(ret_addr, 0, sizeof(*ret_addr));
	if (len == 4) {
		ret_addr->b[10] = ret_addr->b[11] = 0xff;
		memcpy(ret_addr->b + 12, mnl_attr_get_payload(attr), 4);
	} else if (len == 16) {
		memcpy(ret_addr->b, mnl_attr_get_payload(attr), 16);
	}
	return len == 4 || len == 16;
}

static uint32_t get_u32(const struct nlattr *attr)
{
	return attr && mnl_attr_get_payload_len(attr) == 4 ? mnl_attr_get_u32(attr) : 0;
}

static bool is_guest_kind(const struct nlattr *linkinfo)
{
	struct attrs a = {};

	if (!linkinfo)
		return false;
	(void)mnl_attr_parse_nested(linkinfo, put_attr, &a);
	const struct nlattr *kind = a.tb[IFLA_INFO_KIND];

	if (!kind || mnl_attr_validate(kind, MNL_TYPE_NUL_STRING) < 0)
		return false;
	return !strcmp(mnl_attr_get_str(kind), "veth") || !strcmp(mnl_attr_get_str(kind), "tun");
}

static void parse_link(const struct nlmsghdr *nlh, const struct nl_cbs *cbs)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct attrs a = {};
	struct nl_link l = {.ifindex = ifi->ifi_index};

	/* Bridges speak of their ports in AF_BRIDGE, deletion from the bridge included. */
	if (ifi->ifi_family != AF_UNSPEC || !cbs->link_cb)
		return;
	(void)mnl_attr_parse(nlh, sizeof(*ifi), put_attr, &a);
	if (!a.tb[IFLA_IFNAME])
		return;
	snprintf(l.name, sizeof(l.name), "%s", mnl_attr_get_str(a.tb[IFLA_IFNAME]));
	l.mtu = get_u32(a.tb[IFLA_MTU]);
	l.is_up = ifi->ifi_flags & IFF_UP;
	l.is_gone = nlh->nlmsg_type == RTM_DELLINK;
	l.master = (int)get_u32(a.tb[IFLA_MASTER]);
	l.is_guest = is_guest_kind(a.tb[IFLA_LINKINFO]);
	l.is_arp = !(ifi->ifi_flags & (IFF_NOARP | IFF_LOOPBACK));
	if (ifi->ifi_type == ARPHRD_ETHER && a.tb[IFLA_ADDRESS] &&
	    mnl_attr_get_payload_len(a.tb[IFLA_ADDRESS]) == 6) {
		memcpy(l.mac, mnl_attr_get_payload(a.tb[IFLA_ADDRESS]), 6);
		l.has_mac = true;
	}
	cbs->link_cb(&l, cbs->arg);
}

static void parse_addr(const struct nlmsghdr *nlh, const struct nl_cbs *cbs)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct attrs a = {};
	struct nl_addr out = {.ifindex = (int)ifa->ifa_index,
			      .is_global = ifa->ifa_scope == RT_SCOPE_UNIVERSE};

	if (!cbs->addr_cb)
		return;
	(void)mnl_attr_parse(nlh, sizeof(*ifa), put_attr, &a);
	/* On a point-to-point device IFA_ADDRESS is the other end. */
	if (get_ip(a.tb[IFA_LOCAL] ? a.tb[IFA_LOCAL] : a.tb[IFA_ADDRESS], &out.addr))
		cbs->addr_cb(&out, cbs->arg);
}

static void parse_first_hop(const struct nlattr *multipath, struct nl_route *r)
{
	const struct rtnexthop *nh = mnl_attr_get_payload(multipath);
	struct attrs a = {};

	if (mnl_attr_get_payload_len(multipath) < sizeof(*nh) || nh->rtnh_len < sizeof(*nh) ||
	    nh->rtnh_len > mnl_attr_get_payload_len(multipath))
		return;
	r->oif = nh->rtnh_ifindex;
	(void)mnl_attr_parse_payload((const char *)nh + sizeof(*nh), nh->rtnh_len - sizeof(*nh),
				     put_attr, &a);
	(void)get_ip(a.tb[RTA_GATEWAY], &r->gateway); /* none: zero */
}

static void parse_route(const struct nlmsghdr *nlh, const struct nl_cbs *cbs)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct attrs a = {};
	struct nl_route r = {.family = rtm->rtm_family,
			     .kind = rtm->rtm_type,
			     .protocol = rtm->rtm_protocol,
			     .table = rtm->rtm_table,
			     .dst_bits = rtm->rtm_dst_len,
			     .is_gone = nlh->nlmsg_type == RTM_DELROUTE};

	if (!cbs->route_cb || (rtm->rtm_flags & RTM_F_CLONED) ||
	    (r.family != AF_INET && r.family != AF_INET6))
		return;
	(void)mnl_attr_parse(nlh, sizeof(*rtm), put_attr, &a);
	r.oif = (int)get_u32(a.tb[RTA_OIF]);
	r.metric = get_u32(a.tb[RTA_PRIORITY]);
	(void)get_ip(a.tb[RTA_DST], &r.dst); /* none: the default */
	if (a.tb[RTA_GATEWAY]) {
		(void)get_ip(a.tb[RTA_GATEWAY], &r.gateway);
	} else if (a.tb[RTA_VIA] && mnl_attr_get_payload_len(a.tb[RTA_VIA]) == 18) {
		/* An IPv4 route over an IPv6 next hop (RFC 8950). */
		memcpy(r.gateway.b, (const char *)mnl_attr_get_payload(a.tb[RTA_VIA]) + 2, 16);
	}
	if (a.tb[RTA_MULTIPATH])
		parse_first_hop(a.tb[RTA_MULTIPATH], &r);
	cbs->route_cb(&r, cbs->arg);
}

static void parse_neigh(const struct nlmsghdr *nlh, const struct nl_cbs *cbs)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct attrs a = {};
	struct nl_neigh n = {.ifindex = ndm->ndm_ifindex,
			     .state = ndm->ndm_state,
			     .is_gone = nlh->nlmsg_type == RTM_DELNEIGH};

	if (!cbs->neigh_cb || (ndm->ndm_family != AF_INET && ndm->ndm_family != AF_INET6))
		return;
	(void)mnl_attr_parse(nlh, sizeof(*ndm), put_attr, &a);
	if (!get_ip(a.tb[NDA_DST], &n.addr))
		return;
	if (a.tb[NDA_LLADDR] && mnl_attr_get_payload_len(a.tb[NDA_LLADDR]) == 6) {
		memcpy(n.mac, mnl_attr_get_payload(a.tb[NDA_LLADDR]), 6);
		n.has_mac = true;
	}
	cbs->neigh_cb(&n, cbs->arg);
}

static int parse_any(const struct nlmsghdr *nlh, void *arg)
{
	static const struct {
		uint16_t add, del;
		size_t bytes;
		void (*parse)(const struct nlmsghdr *nlh, const struct nl_cbs *cbs);
	} row[] = {
		{RTM_NEWLINK, RTM_DELLINK, sizeof(struct ifinfomsg), parse_link},
		{RTM_NEWADDR, RTM_DELADDR, sizeof(struct ifaddrmsg), parse_addr},
		{RTM_NEWROUTE, RTM_DELROUTE, sizeof(struct rtmsg), parse_route},
		{RTM_NEWNEIGH, RTM_DELNEIGH, sizeof(struct ndmsg), parse_neigh},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
		if ((nlh->nlmsg_type == row[i].add || nlh->nlmsg_type == row[i].del) &&
		    mnl_nlmsg_get_payload_len(nlh) >= row[i].bytes)
			row[i].parse(nlh, arg);
	return MNL_CB_OK;
}

/* ---- sockets */

/* In front of the event socket, in the kernel. Routes: only defaults. Neighbours: only those that have just failed.
 * Loads are big-endian, netlink is the machine's order. */
static int filter_events(int fd)
{
	const uint32_t new_route = htons(RTM_NEWROUTE), del_route = htons(RTM_DELROUTE);
	const uint32_t new_neigh = htons(RTM_NEWNEIGH), del_neigh = htons(RTM_DELNEIGH);
	const uint32_t failed = htons(NUD_FAILED);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 4), /* nlmsg_type */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, new_route, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, del_route, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, new_neigh, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, del_neigh, 6, 0),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 17), /* rtm_dst_len */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 3),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 24), /* ndm_state */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, failed, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ? -errno : 0;
}

int nl_open(struct nl **ret_nl, struct err *e)
{
	const int group[] = {RTNLGRP_LINK,	 RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
			     RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,  RTNLGRP_NEIGH};
	struct nl *nl = calloc(1, sizeof(*nl));
	struct timeval limit = {.tv_sec = REQUEST_TIMEOUT_S};
	int size = EVENT_RCVBUF_BYTES, one = 1, rc = -ENOMEM;

	if (!nl)
		return err_set(e, -ENOMEM, "out of memory");
	nl->events = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	nl->requests = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!nl->events || !nl->requests ||
	    mnl_socket_bind(nl->events, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_bind(nl->requests, 0, MNL_SOCKET_AUTOPID) < 0) {
		rc = -errno;
		goto fail;
	}
	int fd = mnl_socket_get_fd(nl->events);

	/* Needs CAP_NET_ADMIN, which we have; without it the default is what there is. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	rc = filter_events(fd);
	for (size_t i = 0; rc == 0 && i < sizeof(group) / sizeof(group[0]); i++)
		if (mnl_socket_setsockopt(nl->events, NETLINK_ADD_MEMBERSHIP, (void *)&group[i],
					  sizeof(group[i])) < 0)
			rc = -errno;
	fd = mnl_socket_get_fd(nl->requests);
	if (rc == 0 &&
	    (mnl_socket_setsockopt(nl->requests, NETLINK_GET_STRICT_CHK, &one, sizeof(one)) < 0 ||
	     setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0))
		rc = -errno;
	if (rc == 0) {
		*ret_nl = nl;
		return 0;
	}
fail:
	nl_close(nl);
	return err_set(e, rc, "netlink: cannot open: %s", strerror(-rc));
}

void nl_close(struct nl *nl)
{
	if (!nl)
		return;
	if (nl->events)
		mnl_socket_close(nl->events);
	if (nl->requests)
		mnl_socket_close(nl->requests);
	free(nl);
}

int nl_event_fd(const struct nl *nl)
{
	return mnl_socket_get_fd(nl->events);
}

int nl_drain(struct nl *nl, const struct nl_cbs *cbs)
{
	for (int i = 0; i < DRAIN_READS_MAX; i++) {
		/* A buffer of its own: callbacks make requests. */
		char buf[8192];
		ssize_t n = mnl_socket_recvfrom(nl->events, buf, sizeof(buf));

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -errno;
		(void)mnl_cb_run(buf, (size_t)n, 0, 0, parse_any, (void *)cbs);
	}
	return 0;
}

/* ---- requests */

static struct nlmsghdr *request(struct nl *nl, uint16_t kind, int flags, size_t body,
				void *ret_body)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(nl->buf);

	nlh->nlmsg_type = kind;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++nl->seq;
	*(void **)ret_body = mnl_nlmsg_put_extra_header(nlh, body);
	return nlh;
}

/* Send, and read until the kernel's ack, error or end of dump. */
static int transact(struct nl *nl, struct nlmsghdr *nlh, const struct nl_cbs *cbs)
{
	static const struct nl_cbs none;
	unsigned int port = mnl_socket_get_portid(nl->requests);
	uint32_t seq = nlh->nlmsg_seq;

	if (mnl_socket_sendto(nl->requests, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(nl->requests, nl->buf, sizeof(nl->buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n >= (ssize_t)sizeof(*nlh) && ((struct nlmsghdr *)nl->buf)->nlmsg_seq != seq)
			continue; /* the rest of an answer that an earlier call gave up on */
		int rc = mnl_cb_run(nl->buf, (size_t)n, seq, port, parse_any,
				    (void *)(cbs ? cbs : &none));

		if (rc < 0)
			return -errno;
		if (rc == MNL_CB_STOP)
			return 0;
	}
}

static void put_ip(struct nlmsghdr *nlh, uint16_t attr, uint8_t family, const struct ip_addr *a)
{
	if (family == AF_INET)
		mnl_attr_put(nlh, attr, 4, a->b + 12);
	else
		mnl_attr_put(nlh, attr, 16, a->b);
}

int nl_dump_links(struct nl *nl, const struct nl_cbs *cbs)
{
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh = request(nl, RTM_GETLINK, NLM_F_DUMP, sizeof(*ifi), &ifi);

	return transact(nl, nlh, cbs);
}

int nl_dump_addrs(struct nl *nl, int ifindex, const struct nl_cbs *cbs)
{
	struct ifaddrmsg *ifa;
	struct nlmsghdr *nlh = request(nl, RTM_GETADDR, NLM_F_DUMP, sizeof(*ifa), &ifa);

	ifa->ifa_index = (uint32_t)ifindex;
	return transact(nl, nlh, cbs);
}

static void pass_default(const struct nl_route *r, void *arg)
{
	const struct nl_cbs *cbs = arg;

	if (r->dst_bits == 0 && r->table == RT_TABLE_MAIN)
		cbs->route_cb(r, cbs->arg);
}

static int dump_routes(struct nl *nl, uint8_t kind, uint8_t protocol, const struct nl_cbs *cbs)
{
	const uint8_t family[] = {AF_INET, AF_INET6};

	for (size_t i = 0; i < 2; i++) {
		struct rtmsg *rtm;
		struct nlmsghdr *nlh = request(nl, RTM_GETROUTE, NLM_F_DUMP, sizeof(*rtm), &rtm);

		rtm->rtm_family = family[i];
		rtm->rtm_table = RT_TABLE_MAIN;
		rtm->rtm_type = kind;
		rtm->rtm_protocol = protocol;
		int rc = transact(nl, nlh, cbs);

		/* No such family, or no table yet: nothing to list. */
		if (rc < 0 && rc != -ENOENT && rc != -EOPNOTSUPP && rc != -EAFNOSUPPORT)
			return rc;
	}
	return 0;
}

int nl_dump_defaults(struct nl *nl, const struct nl_cbs *cbs)
{
	struct nl_cbs only = {.route_cb = pass_default, .arg = (void *)cbs};

	return dump_routes(nl, RTN_UNICAST, 0, &only);
}

static void pass_main(const struct nl_route *r, void *arg)
{
	const struct nl_cbs *cbs = arg;

	if (r->table == RT_TABLE_MAIN)
		cbs->route_cb(r, cbs->arg);
}

int nl_dump_unicast(struct nl *nl, const struct nl_cbs *cbs)
{
	struct nl_cbs only = {.route_cb = pass_main, .arg = (void *)cbs};

	return dump_routes(nl, RTN_UNICAST, 0, &only);
}

int nl_dump_own(struct nl *nl, const struct nl_cbs *cbs)
{
	return dump_routes(nl, 0, NL_ROUTE_PROTO, cbs);
}

int nl_dump_neighs(struct nl *nl, int ifindex, const struct nl_cbs *cbs)
{
	struct ndmsg *ndm;
	struct nlmsghdr *nlh = request(nl, RTM_GETNEIGH, NLM_F_DUMP, sizeof(*ndm), &ndm);

	mnl_attr_put_u32(nlh, NDA_IFINDEX, (uint32_t)ifindex);
	return transact(nl, nlh, cbs);
}

static int change_route(struct nl *nl, uint16_t kind, int flags, const struct nl_route *r)
{
	struct rtmsg *rtm;
	struct nlmsghdr *nlh = request(nl, kind, NLM_F_ACK | flags, sizeof(*rtm), &rtm);

	rtm->rtm_family = r->family;
	rtm->rtm_dst_len = r->dst_bits;
	rtm->rtm_table = RT_TABLE_MAIN;
	rtm->rtm_protocol = NL_ROUTE_PROTO;
	rtm->rtm_type = r->kind;
	rtm->rtm_scope = r->family == AF_INET && r->oif ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
	if (r->dst_bits)
		put_ip(nlh, RTA_DST, r->family, &r->dst);
	if (r->oif)
		mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)r->oif);
	mnl_attr_put_u32(nlh, RTA_PRIORITY, r->metric);
	return transact(nl, nlh, NULL);
}

struct found_route {
	struct nl_route route;
	bool is_found;
};

static void found_route_cb(const struct nl_route *r, void *arg)
{
	struct found_route *f = arg;

	f->route = *r;
	f->is_found = true;
}

int nl_route_get(struct nl *nl, int ifindex, const struct ip_addr *addr, struct nl_route *ret_route)
{
	uint8_t family = ip_is_v4(addr) ? AF_INET : AF_INET6;
	struct found_route found = {};
	struct nl_cbs cbs = {.route_cb = found_route_cb, .arg = &found};
	struct rtmsg *rtm;
	struct nlmsghdr *nlh = request(nl, RTM_GETROUTE, NLM_F_ACK, sizeof(*rtm), &rtm);

	rtm->rtm_family = family;
	rtm->rtm_dst_len = family == AF_INET ? 32 : 128;
	rtm->rtm_flags =
		RTM_F_FIB_MATCH; /* as it stands in the table, not as resolved for a packet */
	put_ip(nlh, RTA_DST, family, addr);
	mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)ifindex);
	int rc = transact(nl, nlh, &cbs);

	if (rc < 0)
		return rc;
	if (!found.is_found)
		return -ENOENT;
	*ret_route = found.route;
	return 0;
}

int nl_route_add(struct nl *nl, const struct nl_route *r)
{
	int rc = change_route(nl, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, r);

	return rc == -EEXIST ? 0 : rc;
}

int nl_route_del(struct nl *nl, const struct nl_route *r)
{
	int rc = change_route(nl, RTM_DELROUTE, 0, r);

	return rc == -ESRCH ? 0 : rc;
}

/* ---- neighbours */

static struct nlmsghdr *neigh_request(struct nl *nl, uint16_t kind, int flags, int ifindex,
				      const struct ip_addr *addr, struct ndmsg **ret_ndm)
{
	struct nlmsghdr *nlh = request(nl, kind, flags, sizeof(**ret_ndm), ret_ndm);
	uint8_t family = ip_is_v4(addr) ? AF_INET : AF_INET6;

	(*ret_ndm)->ndm_family = family;
	(*ret_ndm)->ndm_ifindex = ifindex;
	put_ip(nlh, NDA_DST, family, addr);
	return nlh;
}

struct found_neigh {
	struct nl_neigh neigh;
	bool is_found;
};

static void found_cb(const struct nl_neigh *n, void *arg)
{
	struct found_neigh *f = arg;

	f->neigh = *n;
	f->is_found = true;
}

int nl_neigh_get(struct nl *nl, int ifindex, const struct ip_addr *addr, struct nl_neigh *ret_neigh)
{
	struct found_neigh found = {};
	struct nl_cbs cbs = {.neigh_cb = found_cb, .arg = &found};
	struct ndmsg *ndm;
	/* The kernel answers with the entry, then with the ack asked for. */
	struct nlmsghdr *nlh = neigh_request(nl, RTM_GETNEIGH, NLM_F_ACK, ifindex, addr, &ndm);
	int rc = transact(nl, nlh, &cbs);

	if (rc < 0)
		return rc;
	if (!found.is_found)
		return -ENOENT;
	*ret_neigh = found.neigh;
	return 0;
}

int nl_neigh_probe(struct nl *nl, int ifindex, const struct ip_addr *addr)
{
	struct ndmsg *ndm;
	struct nlmsghdr *nlh =
		neigh_request(nl, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE, ifindex, addr, &ndm);

	ndm->ndm_flags = NTF_USE;
	return transact(nl, nlh, NULL);
}

int nl_neigh_set_stale(struct nl *nl, int ifindex, const struct ip_addr *addr, const uint8_t mac[6])
{
	struct ndmsg *ndm;
	/* Without NLM_F_REPLACE the kernel keeps the MAC of an entry that is valid: an answer that came in
	 * between wins. */
	struct nlmsghdr *nlh =
		neigh_request(nl, RTM_NEWNEIGH, NLM_F_ACK | NLM_F_CREATE, ifindex, addr, &ndm);

	ndm->ndm_state = NUD_STALE;
	mnl_attr_put(nlh, NDA_LLADDR, 6, mac);
	return transact(nl, nlh, NULL);
}

int nl_neigh_del(struct nl *nl, int ifindex, const struct ip_addr *addr)
{
	struct ndmsg *ndm;
	struct nlmsghdr *nlh = neigh_request(nl, RTM_DELNEIGH, NLM_F_ACK, ifindex, addr, &ndm);
	int rc = transact(nl, nlh, NULL);

	return rc == -ENOENT ? 0 : rc;
}
