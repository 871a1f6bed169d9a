/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/keeper_int.h - state that the keeper's files share; nobody else includes it. */
#ifndef EDGE_KEEPER_INT_H
#define EDGE_KEEPER_INT_H

#include "edge/keeper.h"
#include "edge/keeper_nl.h"
#include "edge/keeper_sock.h"
#include "edge/keeper_wg.h"

#define KEEPER_IFS_MAX 4096 /* interfaces with a role; more are named in the log and left alone */
#define KEEPER_DEFAULTS_MAX 64 /* default routes looked at */
#define KEEPER_GATEWAYS_MAX 16 /* watched; a host with more is a router of another kind */
#define KEEPER_VIPS_MAX 16384  /* announce routes */
#define KEEPER_EGRESS_MAX                                                                          \
	4096 /* prefixes in dp_egress; what more there is goes out of the first uplink */

struct keeper_egress;
struct keeper_l2;

struct keeper_if {
	int ifindex;
	char name[IFNAMSIZ];
	uint8_t mac[6];
	bool has_mac;
	bool is_arp;
	bool is_up;
	bool is_seen; /* by the dump that is going on */
	uint32_t mtu;
	uint32_t roles;	   /* wanted */
	uint32_t attached; /* in force */
	enum dp_xdp xdp;
	bool is_xdp_taken; /* another's XDP program was there when we came */
	int failed;	   /* last attach error that was logged, 0 = none */
};

struct keeper_gw {
	int ifindex;
	struct ip_addr addr;
	uint64_t unresolved_ms; /* uv_now when it began to be unresolved, 0 = it isn't */
	uint64_t probed_ms;
	bool is_placeholder;
	bool is_wanted;
};

struct keeper_vip {
	struct ip_addr addr;
	bool is_stale;	 /* edged said so */
	bool is_named;	 /* since SYNC_BEGIN */
	uint32_t metric; /* of its route, 0 = it has none */
};

struct keeper {
	uv_loop_t *uv;
	struct keeper_config cfg;
	struct dp_loader *dp;
	struct nl *nl;
	struct keeper_sock *sock;
	struct keeper_wg *wg;

	struct keeper_if *ifs;
	size_t if_count, if_room;
	uint32_t filled_ticks; /* beside another ABI: our maps are ready since so many */
	bool is_switch_stuck;  /* said so */
	struct nl_route defaults[KEEPER_DEFAULTS_MAX];
	size_t default_count;
	struct keeper_gw gw[KEEPER_GATEWAYS_MAX];
	size_t gw_count;
	struct keeper_vip *vips;
	size_t vip_count;
	/* Why no VIP has a route now, empty = each has. */
	char vip_gate[96];
	bool is_edged_silent;
	struct keeper_egress *egress;
	struct keeper_l2 *l2;
	bool is_syncing;
	bool is_fresh; /* no maps of an earlier run */

	struct dp_host host;	 /* as it stands in the map */
	int mesh_default_err[2]; /* logged already */
	int stray_default_oif; /* logged already: a default out of an interface that is no uplink */
	struct ip_addr mesh_found[2]; /* addresses of the mesh device, IPv4 and IPv6; zero = none */
	bool is_host_dirty, is_routes_dirty;
	uint64_t routes_after_ms; /* no dump before: a big table is not read all the time */

	uv_poll_t nl_poll;
	uv_timer_t
		tick; /* every second: heartbeat, gateways, sysctls; every fifth: are the programs still there */
	uv_timer_t settle; /* soon after an event: host facts, once for a burst */
	uint64_t tick_count;
	int handles; /* open */
	void (*close_cb)(void *arg);
	void *close_arg;
};

/* keeper_if.c */
uint32_t keeper_roles_of(const struct keeper_config *cfg, const char *name);
struct keeper_if *keeper_if_find(struct keeper *k, int ifindex);
struct keeper_if *keeper_if_mesh(struct keeper *k);
int keeper_if_scan(struct keeper *k); /* dump all links: attach what is new, forget what is gone */
void keeper_if_event(const struct nl_link *l, struct keeper *k);
void keeper_if_verify(struct keeper *k);
/* First failure among interfaces that are configured by their exact names. */
/* Our programs in place of another ABI's, everywhere; false: not on all yet. */
bool keeper_if_switch(struct keeper *k);
int keeper_if_first_failure(struct keeper *k, struct err *e);

/* keeper_host.c */
void keeper_host_adopt(struct keeper *k);
void keeper_host_update(struct keeper *k); /* routes, uplink, dp_host */
int keeper_host_remove_routes(struct nl *nl);

/* keeper_l2.c: a fabric's neighbours; without one nothing. Reads the neighbour table each time: for ticks and
 * settled events. */
int keeper_l2_open(struct keeper *k);
void keeper_l2_close(struct keeper *k);
void keeper_l2_update(struct keeper *k);

/* keeper_egress.c: which uplink leads where. */
int keeper_egress_open(struct keeper *k);
void keeper_egress_close(struct keeper *k);
/* Reads the routes again if they are due; true: there are several uplinks, and dp_egress knows them. */
bool keeper_egress_update(struct keeper *k, bool is_due);

/* keeper_gw.c */
void keeper_gw_retarget(struct keeper *k);
void keeper_gw_tick(struct keeper *k);
void keeper_gw_failed(struct keeper *k, const struct nl_neigh *n);
void keeper_gw_remove_placeholders(struct nl *nl, const struct nl_link *l);

/* keeper_vip.c */
int keeper_vip_adopt(struct keeper *k);
int keeper_vip_request(struct keeper *k, const struct fwd_msg *msg, struct err *e);
void keeper_vip_peer_gone(struct keeper *k);
/* Can this host forward, and does edged live? Sets and removes routes by the answer. */
void keeper_vip_judge(struct keeper *k);
/* What an earlier run announced, and this one can't serve, goes. */
void keeper_vip_give_up(struct keeper *k);

#endif
