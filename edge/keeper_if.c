/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_if.c - which interfaces are ours, and that they have their programs. */
#include "edge/keeper_int.h"

#include <errno.h>
#include <fnmatch.h>
#include <linux/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static bool matches(const struct keeper_patterns *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++)
		if (fnmatch(p->text[i], name, 0) == 0)
			return true;
	return false;
}

static bool is_exact(const char *pattern)
{
	return !strpbrk(pattern, "*?[");
}

/* By its exact name. */
static bool is_named(const struct keeper_patterns *p, const char *name)
{
	for (size_t i = 0; i < p->count; i++)
		if (strcmp(p->text[i], name) == 0)
			return true;
	return false;
}

uint32_t keeper_roles_of(const struct keeper_config *cfg, const char *name)
{
	uint32_t roles = 0;

	if (!strcmp(name, cfg->mesh_device))
		/* And nothing else, whatever a wide pattern says; but one interface may be all there is. */
		return cfg->is_fabric && is_named(&cfg->public_if, name)
			       ? DP_ROLE_MESH | DP_ROLE_PUBLIC | DP_ROLE_UPLINK
			       : DP_ROLE_MESH;
	if (!strcmp(name, "lo"))
		return 0;
	/* Replies of local backends leave where clients come in. */
	if (matches(&cfg->public_if, name))
		roles |= DP_ROLE_PUBLIC | DP_ROLE_UPLINK;
	if (matches(&cfg->uplink, name))
		roles |= DP_ROLE_UPLINK;
	if (!(roles & DP_ROLE_PUBLIC) && matches(&cfg->bridge, name))
		roles |= DP_ROLE_BRIDGE;
	return roles;
}

/* Guests' ports of our bridges have the bridge's hook too: where netfilter is called for bridges and tracks connections, as
 * beside Docker, it puts fragments together before the bridge's own hook, and such a packet fits no wire. */
static uint32_t roles_of_link(const struct keeper_config *cfg, const struct nl_link *l)
{
	uint32_t roles = keeper_roles_of(cfg, l->name);
	char bridge[IF_NAMESIZE];

	if (!roles && l->is_guest && l->master && if_indextoname((unsigned)l->master, bridge))
		roles = keeper_roles_of(cfg, bridge) & DP_ROLE_BRIDGE;
	return roles;
}

static int check_exact(const struct keeper_patterns *p, const char *key, struct err *e)
{
	for (size_t i = 0; i < p->count; i++)
		if (is_exact(p->text[i]) && !if_nametoindex(p->text[i]))
			return err_set(e, -ENODEV, "%s: interface %s does not exist", key,
				       p->text[i]);
	return 0;
}

static bool is_ethernet(const char *ifname)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq r = {};

	snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", ifname);
	bool is = fd >= 0 && ioctl(fd, SIOCGIFHWADDR, &r) == 0 &&
		  r.ifr_hwaddr.sa_family == ARPHRD_ETHER;

	if (fd >= 0)
		close(fd);
	return is;
}

int keeper_check(const struct keeper_config *cfg, struct err *e)
{
	if (!if_nametoindex(cfg->mesh_device))
		return err_set(e, -ENODEV, "mesh device: interface %s does not exist",
			       cfg->mesh_device);
	if (is_ethernet(cfg->mesh_device) != cfg->is_fabric)
		return err_set(e, -EINVAL, "mesh device: %s is %s Ethernet, want %s",
			       cfg->mesh_device, cfg->is_fabric ? "no" : "an",
			       cfg->is_fabric ? "one for mesh transport = fabric"
					      : "mesh transport = fabric for it, if it is trusted");
	int rc = check_exact(&cfg->public_if, "edge public", e);

	if (rc == 0)
		rc = check_exact(&cfg->uplink, "worker uplink", e);
	return rc < 0 ? rc : check_exact(&cfg->bridge, "worker bridge", e);
}

struct keeper_if *keeper_if_find(struct keeper *k, int ifindex)
{
	for (size_t i = 0; i < k->if_count; i++)
		if (k->ifs[i].ifindex == ifindex)
			return &k->ifs[i];
	return NULL;
}

struct keeper_if *keeper_if_mesh(struct keeper *k)
{
	for (size_t i = 0; i < k->if_count; i++)
		if (k->ifs[i].roles & DP_ROLE_MESH)
			return &k->ifs[i];
	return NULL;
}

static struct keeper_if *add(struct keeper *k, const struct nl_link *l)
{
	if (k->if_count == k->if_room) {
		size_t room = k->if_room ? k->if_room * 2 : 16;
		struct keeper_if *ifs =
			room <= KEEPER_IFS_MAX ? realloc(k->ifs, room * sizeof(*ifs)) : NULL;

		if (!ifs) {
			keeper_log("error", "interface_ignored", "if=%s text=\"too many\"",
				   l->name);
			return NULL;
		}
		k->ifs = ifs;
		k->if_room = room;
	}
	struct keeper_if *i = &k->ifs[k->if_count++];

	memset(i, 0, sizeof(*i));
	i->ifindex = l->ifindex;
	return i;
}

static void forget(struct keeper *k, struct keeper_if *i)
{
	keeper_log("info", "interface_gone", "if=%s ifindex=%d", i->name, i->ifindex);
	dp_forget(k->dp, i->ifindex);
	*i = k->ifs[--k->if_count];
	k->is_host_dirty = k->is_routes_dirty = true;
}

static const char *roles_text(uint32_t roles, char buf[40])
{
	snprintf(buf, 40, "%s%s%s%s", roles & DP_ROLE_PUBLIC ? ",public" : "",
		 roles & DP_ROLE_UPLINK ? ",uplink" : "", roles & DP_ROLE_MESH ? ",mesh" : "",
		 roles & DP_ROLE_BRIDGE ? ",bridge" : "");
	return buf[0] ? buf + 1 : buf;
}

static void attach(struct keeper *k, struct keeper_if *i)
{
	static const char *const xdp_text[] = {"auto", "native", "generic", "off"};
	struct err e = {};
	char buf[40];
	int rc = dp_attach(k->dp, i->name, i->roles, k->cfg.xdp, &i->xdp, &e);

	if (rc < 0) {
		/* Gone again before we came: its event is on the way. */
		if (rc != i->failed && rc != -ENODEV) {
			const char *more = dp_libbpf_text();

			keeper_log("error", "attach_failed", "if=%s text=\"%s\"", i->name, e.text);
			if (*more)
				fprintf(stderr, "%s", more);
		}
		i->failed = rc;
		return;
	}
	i->failed = 0;
	i->attached = i->roles;
	i->is_xdp_taken = (i->roles & (DP_ROLE_PUBLIC | DP_ROLE_MESH)) &&
			  k->cfg.xdp == DP_XDP_AUTO && i->xdp == DP_XDP_OFF &&
			  dp_is_xdp_taken(k->dp, i->ifindex);
	k->is_host_dirty = true;
	keeper_log("info", "attached", "if=%s ifindex=%d roles=%s xdp=%s", i->name, i->ifindex,
		   roles_text(i->roles, buf), xdp_text[i->xdp]);
	if (k->cfg.xdp == DP_XDP_OFF || i->xdp != DP_XDP_OFF)
		return;
	if ((i->roles & DP_ROLE_PUBLIC) || ((i->roles & DP_ROLE_MESH) && k->cfg.is_fabric))
		keeper_log("warn", "xdp_unavailable", "if=%s text=\"%sTC decides\"", i->name,
			   i->is_xdp_taken	     ? "another XDP program is attached; "
			   : i->roles & DP_ROLE_MESH ? "no native mode; "
						     : "");
}

void keeper_if_event(const struct nl_link *l, struct keeper *k)
{
	struct keeper_if *i = keeper_if_find(k, l->ifindex);
	uint32_t roles = roles_of_link(&k->cfg, l);

	/* A default route may leave through an interface that has no role here. */
	for (size_t r = 0; r < k->default_count; r++)
		if (k->defaults[r].oif == l->ifindex)
			k->is_routes_dirty = true;
	if (l->is_gone) {
		if (i)
			forget(k, i);
		return;
	}
	if (!i && (!roles || !(i = add(k, l))))
		return;
	if (i->attached & ~roles) {
		dp_detach(k->dp, i->ifindex, i->attached & ~roles); /* renamed */
		keeper_log("info", "detached", "if=%s was=%s", l->name, i->name);
		i->attached &= roles;
	}
	if (i->is_up != l->is_up || i->mtu != l->mtu || i->has_mac != l->has_mac ||
	    memcmp(i->mac, l->mac, 6) != 0 || i->roles != roles)
		k->is_host_dirty = k->is_routes_dirty = true;
	snprintf(i->name, sizeof(i->name), "%s", l->name);
	memcpy(i->mac, l->mac, 6);
	i->has_mac = l->has_mac;
	i->is_arp = l->is_arp;
	i->is_up = l->is_up;
	i->mtu = l->mtu;
	i->roles = roles;
	i->is_seen = true;
	if (!roles)
		*i = k->ifs[--k->if_count];
	else if (i->attached != roles)
		attach(k, i);
}

static void seen_cb(const struct nl_link *l, void *arg)
{
	keeper_if_event(l, arg);
}

int keeper_if_scan(struct keeper *k)
{
	struct nl_cbs cbs = {.link_cb = seen_cb, .arg = k};

	for (size_t i = 0; i < k->if_count; i++)
		k->ifs[i].is_seen = false;
	int rc = nl_dump_links(k->nl, &cbs);

	if (rc < 0)
		return rc;
	for (size_t i = k->if_count; i-- > 0;)
		if (!k->ifs[i].is_seen)
			forget(k, &k->ifs[i]);
	return 0;
}

void keeper_if_verify(struct keeper *k)
{
	for (size_t n = 0; n < k->if_count; n++) {
		struct keeper_if *i = &k->ifs[n];

		bool is_free = i->is_xdp_taken && !dp_is_xdp_taken(k->dp, i->ifindex);
		bool is_there = i->attached == i->roles;

		if (is_there && !is_free && dp_is_attached(k->dp, i->ifindex, i->roles, i->xdp))
			continue;
		if (is_there && !is_free)
			keeper_log("warn", "programs_lost", "if=%s text=\"somebody took them off\"",
				   i->name);
		attach(k, i);
	}
}

bool keeper_if_switch(struct keeper *k)
{
	bool is_done = true;

	for (size_t n = 0; n < k->if_count; n++) {
		attach(k, &k->ifs[n]);
		is_done &= !k->ifs[n].failed;
	}
	return is_done;
}

int keeper_if_first_failure(struct keeper *k, struct err *e)
{
	for (size_t n = 0; n < k->if_count; n++) {
		struct keeper_if *i = &k->ifs[n];
		const struct keeper_patterns *p[] = {&k->cfg.public_if, &k->cfg.uplink,
						     &k->cfg.bridge};
		bool is_named = i->roles & DP_ROLE_MESH;

		for (size_t j = 0; j < 3; j++)
			for (size_t m = 0; m < p[j]->count; m++)
				is_named = is_named || !strcmp(p[j]->text[m], i->name);
		if (i->failed && is_named)
			return err_set(e, i->failed,
				       "interface %s: programs cannot be attached: %s", i->name,
				       strerror(-i->failed));
	}
	return 0;
}
