/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* cmd/conf.h - the one configuration file (INI, by inih) of edged and edgefwd, described by one table of keys.
 *
 * All or nothing: the first fault ends it with "FILE:LINE: KEY: got 'X', want Y" (-EINVAL), and ret_conf is untouched.
 * Unknown sections and keys, doubled keys and values, and missing required keys are faults. Keys marked * may repeat, one
 * value a line. A blank and ; begin a comment; lines have at most 190 bytes. man edge.conf says more.
 *
 * [node]       name, region, state_dir (/var/lib/edge), control (/run/edge/edged.sock), group (edge)
 * [mesh]       device, address *, port (7946), cluster, key_file, seed * (ADDR:PORT), wireguard (manual | managed),
 *              endpoint (ADDR:PORT) and wireguard_pub (base64): this node's, for managed;
 *              service_writers * (all, or node ids, blanks between)
 * [edge]       public * (interface pattern), vip_prefix *
 * [worker]     uplink * (interface pattern), bridge * (interface pattern), check_dir, check_ca (of checks; none)
 * [regions]    mode (flat | summaries), order * (names, blanks between)
 * [forwarder]  socket (/run/edge/edgefwd.sock), pin_dir (/sys/fs/bpf/edge), user (edge), rows, services, backends,
 *              nodes, pages, flows, flows_new, xdp (auto | native | generic | off)
 */
#ifndef CMD_CONF_H
#define CMD_CONF_H

#include "edge/agent.h"
#include "gossip/writers.h"

#define CONF_TEXT_MAX 108 /* fits sun_path */

struct conf {
	char name[MODEL_NAME_MAX], region[MODEL_NAME_MAX];
	char state_dir[CONF_TEXT_MAX], control[CONF_TEXT_MAX], group[32];
	char mesh_device[16];
	struct ip_addr mesh_addr[2];
	size_t mesh_addr_count;
	uint16_t mesh_port;
	char cluster[MODEL_NAME_MAX], key_file[CONF_TEXT_MAX];
	struct gossip_addr seed[16];
	size_t seed_count;
	struct node_id writer[WRITERS_MAX]; /* none: all */
	size_t writer_count;
	bool wireguard_managed;
	bool mesh_fabric; /* transport = fabric */
	struct ip_addr wg_endpoint;
	uint16_t wg_endpoint_port;
	uint8_t wg_pub[32];
	char public_if[AGENT_PATTERNS_MAX][32];
	size_t public_count;
	struct ip_prefix vip_prefix[AGENT_PATTERNS_MAX];
	size_t vip_prefix_count;
	char uplink[AGENT_PATTERNS_MAX][32];
	size_t uplink_count;
	char bridge[AGENT_PATTERNS_MAX][32];
	size_t bridge_count;
	char check_dir[CONF_TEXT_MAX], check_ca[CONF_TEXT_MAX];
	char order[ROUTE_REGIONS_MAX][MODEL_NAME_MAX];
	size_t order_count;
	bool has_summaries; /* [regions] mode */
	char fwd_socket[CONF_TEXT_MAX], pin_dir[CONF_TEXT_MAX], fwd_user[32];
	struct dp_sizes sizes;
	uint8_t xdp_mode; /* enum conf_xdp */
};
enum conf_xdp { CONF_XDP_AUTO, CONF_XDP_NATIVE, CONF_XDP_GENERIC, CONF_XDP_OFF };

int conf_load(const char *path, struct conf *ret_conf, struct err *e);

/* The table of keys, for documents and their tests; false past the end. */
struct conf_doc {
	const char *section, *name, *want, *def; /* def NULL: none */
	bool is_required, is_list;
};
bool conf_describe(size_t i, struct conf_doc *ret_doc);

#endif
