/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/dp_filter.c - which TC filters a clsact has: libbpf tells of one program's id, never of names or of others'. */
#include "edge/dp_int.h"

#include <libmnl/libmnl.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <string.h>

#define ATTRS 32	  /* more than TCA_ and TCA_BPF_ attributes that are read here */
#define REPLY_BYTES 32768 /* the most that the kernel puts into one part of a dump */

struct looking {
	int count;  /* filters of anyone */
	char *name; /* of the one at our place */
};

static int put_attr(const struct nlattr *attr, void *arg)
{
	const struct nlattr **tb = arg;
	uint16_t kind = mnl_attr_get_type(attr);

	if (kind < ATTRS)
		tb[kind] = attr;
	return MNL_CB_OK;
}

static int filter_cb(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *tb[ATTRS] = {}, *bpf[ATTRS] = {};
	struct looking *l = arg;
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);

	if (nlh->nlmsg_type != RTM_NEWTFILTER || mnl_nlmsg_get_payload_len(nlh) < sizeof(*tcm))
		return MNL_CB_OK;
	l->count++;
	if (!l->name || tcm->tcm_handle != DP_TC_HANDLE || tcm->tcm_info >> 16 != DP_TC_PRIORITY)
		return MNL_CB_OK;
	(void)mnl_attr_parse(nlh, sizeof(*tcm), put_attr, tb);
	if (!tb[TCA_OPTIONS])
		return MNL_CB_OK;
	(void)mnl_attr_parse_nested(tb[TCA_OPTIONS], put_attr, bpf);
	snprintf(l->name, DP_FILTER_NAME_MAX, "%s",
		 bpf[TCA_BPF_NAME] ? mnl_attr_get_str(bpf[TCA_BPF_NAME]) : "?");
	return MNL_CB_OK;
}

/* One dump of ingress or egress: 0, or -1 when it can't be had. */
static int dump(struct mnl_socket *nl, int ifindex, uint32_t parent, struct looking *l)
{
	char buf[REPLY_BYTES];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct tcmsg *tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));
	int rc = MNL_CB_OK;

	nlh->nlmsg_type = RTM_GETTFILTER;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	tcm->tcm_family = AF_UNSPEC;
	tcm->tcm_ifindex = ifindex;
	tcm->tcm_parent = parent;
	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -1;
	while (rc > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(nl, buf, sizeof(buf));

		rc = n > 0 ? mnl_cb_run(buf, (size_t)n, 0, 0, filter_cb, l) : -1;
	}
	return rc < 0 ? -1 : 0;
}

static int look(int ifindex, bool is_ingress, bool is_egress, struct looking *l)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int rc = nl ? 0 : -1;

	if (rc == 0 && is_ingress)
		rc = dump(nl, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS), l);
	if (rc == 0 && is_egress)
		rc = dump(nl, ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS), l);
	if (nl)
		mnl_socket_close(nl);
	return rc;
}

bool dp_filter_has_any(int ifindex)
{
	struct looking l = {};

	return look(ifindex, true, true, &l) < 0 || l.count > 0;
}

bool dp_filter_is_ours(int ifindex, enum bpf_tc_attach_point point)
{
	char name[DP_FILTER_NAME_MAX] = "";
	struct looking l = {.name = name};

	return look(ifindex, point == BPF_TC_INGRESS, point == BPF_TC_EGRESS, &l) == 0 &&
	       !strncmp(name, "dp_tc_", 6);
}
