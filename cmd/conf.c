/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cmd/conf.h"

#include <errno.h>
#include <ini.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 190 /* inih cuts lines at 200 silently; longer ones are refused instead */

enum { KEY_REQUIRED = 1, KEY_REPEAT = 2 };

/* One key of the file. parse returns 0, -EINVAL (value is not `want`) or -E2BIG (too many of them). */
struct key {
	const char *section, *name;
	unsigned flags;
	int (*parse)(struct conf *c, const char *value);
	const char *want;
};

static int copy_text(char *to, size_t cap, const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len >= cap)
		return -EINVAL;
	memcpy(to, value, len + 1);
	return 0;
}

static int copy_name(char to[MODEL_NAME_MAX], const char *value)
{
	return model_name_check(value) ? -EINVAL : copy_text(to, MODEL_NAME_MAX, value);
}

static int copy_path(char to[CONF_TEXT_MAX], const char *value)
{
	return value[0] == '/' ? copy_text(to, CONF_TEXT_MAX, value) : -EINVAL;
}

static int parse_count(const char *value, uint32_t min, uint32_t max, uint32_t *ret)
{
	unsigned long long n;
	char *end;

	if (value[0] < '0' || value[0] > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(value, &end, 10);
	if (errno || *end || n < min || n > max)
		return -EINVAL;
	*ret = (uint32_t)n;
	return 0;
}

static int add_pattern(char list[][32], size_t *count, const char *value)
{
	int rc;

	if (*count == AGENT_PATTERNS_MAX)
		return -E2BIG;
	if (strpbrk(value, " \t/"))
		return -EINVAL;
	rc = copy_text(list[*count], 32, value);
	if (!rc)
		(*count)++;
	return rc;
}

static int node_name(struct conf *c, const char *v)
{
	return copy_name(c->name, v);
}

static int node_region(struct conf *c, const char *v)
{
	return copy_name(c->region, v);
}

static int node_state_dir(struct conf *c, const char *v)
{
	return copy_path(c->state_dir, v);
}

static int node_control(struct conf *c, const char *v)
{
	return copy_path(c->control, v);
}

static int node_group(struct conf *c, const char *v)
{
	return copy_text(c->group, sizeof(c->group), v);
}

static int mesh_device(struct conf *c, const char *v)
{
	return copy_text(c->mesh_device, sizeof(c->mesh_device), v);
}

static int mesh_address(struct conf *c, const char *v)
{
	struct ip_addr a;

	if (c->mesh_addr_count == 2)
		return -E2BIG;
	if (ip_parse(v, &a) || ip_is_zero(&a))
		return -EINVAL;
	if (c->mesh_addr_count == 1 && ip_is_v4(&a) == ip_is_v4(&c->mesh_addr[0]))
		return -E2BIG;
	c->mesh_addr[c->mesh_addr_count++] = a;
	return 0;
}

static int mesh_port(struct conf *c, const char *v)
{
	uint32_t n;

	if (parse_count(v, 1, 65535, &n))
		return -EINVAL;
	c->mesh_port = (uint16_t)n;
	return 0;
}

static int mesh_cluster(struct conf *c, const char *v)
{
	return copy_name(c->cluster, v);
}

static int mesh_key_file(struct conf *c, const char *v)
{
	return copy_path(c->key_file, v);
}

static int mesh_seed(struct conf *c, const char *v)
{
	struct gossip_addr *s = &c->seed[c->seed_count];
	struct ip_addr a;

	if (c->seed_count == sizeof(c->seed) / sizeof(c->seed[0]))
		return -E2BIG;
	if (ip_parse_addr_port(v, &a, &s->port) || s->port == 0 || ip_is_zero(&a))
		return -EINVAL;
	memcpy(s->ip, a.b, sizeof(s->ip));
	c->seed_count++;
	return 0;
}

static int mesh_wireguard(struct conf *c, const char *v)
{
	if (strcmp(v, "manual") && strcmp(v, "managed"))
		return -EINVAL;
	c->wireguard_managed = strcmp(v, "managed") == 0;
	return 0;
}

static int mesh_endpoint(struct conf *c, const char *v)
{
	return ip_parse_addr_port(v, &c->wg_endpoint, &c->wg_endpoint_port);
}

static int mesh_wireguard_pub(struct conf *c, const char *v)
{
	size_t len;

	if (sodium_base642bin(c->wg_pub, sizeof(c->wg_pub), v, strlen(v), NULL, &len, NULL,
			      sodium_base64_VARIANT_ORIGINAL) ||
	    len != sizeof(c->wg_pub))
		return -EINVAL;
	return 0;
}

static int edge_public(struct conf *c, const char *v)
{
	return add_pattern(c->public_if, &c->public_count, v);
}

static int edge_vip_prefix(struct conf *c, const char *v)
{
	if (c->vip_prefix_count == AGENT_PATTERNS_MAX)
		return -E2BIG;
	if (ip_parse_prefix(v, &c->vip_prefix[c->vip_prefix_count]))
		return -EINVAL;
	c->vip_prefix_count++;
	return 0;
}

static int worker_uplink(struct conf *c, const char *v)
{
	return add_pattern(c->uplink, &c->uplink_count, v);
}

static int worker_bridge(struct conf *c, const char *v)
{
	return add_pattern(c->bridge, &c->bridge_count, v);
}

static int regions_order(struct conf *c, const char *v)
{
	char copy[LINE_MAX_BYTES + 1], *save = NULL;

	if (copy_text(copy, sizeof(copy), v))
		return -EINVAL;
	c->order_count = 0;
	for (char *w = strtok_r(copy, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
		if (c->order_count == ROUTE_REGIONS_MAX)
			return -E2BIG;
		for (size_t i = 0; i < c->order_count; i++)
			if (strcmp(c->order[i], w) == 0)
				return -EINVAL;
		if (copy_name(c->order[c->order_count], w))
			return -EINVAL;
		c->order_count++;
	}
	return c->order_count ? 0 : -EINVAL;
}

static int fwd_socket(struct conf *c, const char *v)
{
	return copy_path(c->fwd_socket, v);
}

static int fwd_pin_dir(struct conf *c, const char *v)
{
	return copy_path(c->pin_dir, v);
}

static int fwd_user(struct conf *c, const char *v)
{
	return copy_text(c->fwd_user, sizeof(c->fwd_user), v);
}

static int fwd_rows(struct conf *c, const char *v)
{
	return parse_count(v, 1024, DP_ROWS_MAX, &c->sizes.rows);
}

static int fwd_services(struct conf *c, const char *v)
{
	return parse_count(v, 16, DP_SVC_MAX, &c->sizes.svcs);
}

static int fwd_backends(struct conf *c, const char *v)
{
	return parse_count(v, 16, DP_BACKEND_MAX, &c->sizes.backends);
}

static int fwd_nodes(struct conf *c, const char *v)
{
	return parse_count(v, 16, DP_NODE_MAX, &c->sizes.nodes);
}

static int fwd_pages(struct conf *c, const char *v)
{
	return parse_count(v, 16, 65536, &c->sizes.pages);
}

static int fwd_flows(struct conf *c, const char *v)
{
	return parse_count(v, 1024, 1u << 26, &c->sizes.flows);
}

static int fwd_flows_new(struct conf *c, const char *v)
{
	return parse_count(v, 1024, 1u << 26, &c->sizes.flows_new);
}

static int fwd_xdp(struct conf *c, const char *v)
{
	static const char *const mode[] = {"auto", "native", "generic", "off"};

	for (uint8_t i = 0; i < 4; i++)
		if (strcmp(v, mode[i]) == 0) {
			c->xdp_mode = i;
			return 0;
		}
	return -EINVAL;
}

#define WANT_NAME "lower-case letters, digits and inner hyphens, 31 at most"
#define WANT_PATH "an absolute path of at most 107 bytes"
#define WANT_PATTERN "an interface name or pattern of at most 31 bytes"

static const struct key keys[] = {
	{"node", "name", KEY_REQUIRED, node_name, WANT_NAME},
	{"node", "region", KEY_REQUIRED, node_region, WANT_NAME},
	{"node", "state_dir", 0, node_state_dir, WANT_PATH},
	{"node", "control", 0, node_control, WANT_PATH},
	{"node", "group", 0, node_group, "a group name"},
	{"mesh", "device", KEY_REQUIRED, mesh_device, "an interface name of at most 15 bytes"},
	{"mesh", "address", KEY_REQUIRED | KEY_REPEAT, mesh_address,
	 "an IPv4 or IPv6 address, one of each family at most"},
	{"mesh", "port", 0, mesh_port, "a port, 1..65535"},
	{"mesh", "cluster", KEY_REQUIRED, mesh_cluster, WANT_NAME},
	{"mesh", "key_file", KEY_REQUIRED, mesh_key_file, WANT_PATH},
	{"mesh", "seed", KEY_REPEAT, mesh_seed, "ADDRESS:PORT, [ADDRESS]:PORT for IPv6"},
	{"mesh", "wireguard", 0, mesh_wireguard, "manual or managed"},
	{"mesh", "wireguard_pub", 0, mesh_wireguard_pub, "a WireGuard public key in base64"},
	{"mesh", "endpoint", 0, mesh_endpoint, "ADDRESS:PORT, [ADDRESS]:PORT for IPv6"},
	{"edge", "public", KEY_REPEAT, edge_public, WANT_PATTERN},
	{"edge", "vip_prefix", KEY_REPEAT, edge_vip_prefix, "ADDRESS/LENGTH without host bits"},
	{"worker", "uplink", KEY_REPEAT, worker_uplink, WANT_PATTERN},
	{"worker", "bridge", KEY_REPEAT, worker_bridge, WANT_PATTERN},
	{"regions", "order", 0, regions_order, "region names, each once, blanks between"},
	{"forwarder", "socket", 0, fwd_socket, WANT_PATH},
	{"forwarder", "pin_dir", 0, fwd_pin_dir, WANT_PATH},
	{"forwarder", "user", 0, fwd_user, "a user name"},
	{"forwarder", "rows", 0, fwd_rows, "a number, 1024..67108864"},
	{"forwarder", "services", 0, fwd_services, "a number, 16..16384"},
	{"forwarder", "backends", 0, fwd_backends, "a number, 16..65536"},
	{"forwarder", "nodes", 0, fwd_nodes, "a number, 16..8192"},
	{"forwarder", "pages", 0, fwd_pages, "a number, 16..65536"},
	{"forwarder", "flows", 0, fwd_flows, "a number, 1024..67108864"},
	{"forwarder", "flows_new", 0, fwd_flows_new, "a number, 1024..67108864"},
	{"forwarder", "xdp", 0, fwd_xdp, "auto, native, generic or off"},
};
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))

struct load {
	const char *path;
	FILE *file;
	int line;
	struct conf conf;
	bool seen[KEY_COUNT];
	struct err *e;
	int rc;
};

static int fail(struct load *l, const char *key, const char *got, const char *want)
{
	l->rc = err_set(l->e, -EINVAL, "%s:%d: %s: got '%.60s', want %s", l->path, l->line, key,
			got, want);
	return 0;
}

/* inih's line reader, counting lines: its handler isn't told them in Debian's build. */
static char *read_line(char *buf, int cap, void *arg)
{
	struct load *l = arg;
	size_t len;

	if (l->rc || !fgets(buf, cap, l->file))
		return NULL;
	l->line++;
	len = strlen(buf);
	if (len > LINE_MAX_BYTES || (len + 1 == (size_t)cap && buf[len - 1] != '\n')) {
		buf[40] = 0;
		fail(l, "line", buf, "at most 190 bytes");
		return NULL;
	}
	return buf;
}

/* inih found no sense in line `line`: read it again to show it. */
static void fail_line(struct load *l, int line)
{
	char text[LINE_MAX_BYTES + 2] = "";

	rewind(l->file);
	for (int i = 0; i < line && fgets(text, sizeof(text), l->file); i++)
		;
	text[strcspn(text, "\r\n")] = 0;
	l->line = line;
	fail(l, "line", text, "[section] or KEY = VALUE");
}

static int on_key(void *arg, const char *section, const char *name, const char *value)
{
	struct load *l = arg;
	bool has_section = false;

	if (l->rc)
		return 0;
	for (size_t i = 0; i < KEY_COUNT; i++) {
		int rc;

		if (strcmp(keys[i].section, section))
			continue;
		has_section = true;
		if (strcmp(keys[i].name, name))
			continue;
		if (l->seen[i] && !(keys[i].flags & KEY_REPEAT))
			return fail(l, name, value, "this key once only");
		l->seen[i] = true;
		rc = keys[i].parse(&l->conf, value);
		if (rc == -E2BIG)
			return fail(l, name, value, "fewer of this key");
		if (rc)
			return fail(l, name, value, keys[i].want);
		return 1;
	}
	if (!has_section)
		return fail(l, "section", section,
			    "node, mesh, edge, worker, regions or forwarder");
	return fail(l, "key", name, "a key that this section has (man edge.conf)");
}

static void set_defaults(struct conf *c)
{
	memset(c, 0, sizeof(*c));
	snprintf(c->state_dir, sizeof(c->state_dir), "%s", "/var/lib/edge");
	snprintf(c->control, sizeof(c->control), "%s", "/run/edge/edged.sock");
	snprintf(c->group, sizeof(c->group), "%s", "edge");
	snprintf(c->fwd_socket, sizeof(c->fwd_socket), "%s", "/run/edge/edgefwd.sock");
	snprintf(c->pin_dir, sizeof(c->pin_dir), "%s", "/sys/fs/bpf/edge");
	snprintf(c->fwd_user, sizeof(c->fwd_user), "%s", "edge");
	c->mesh_port = 7946;
}

/* What no single line can tell. */
static int check_whole(struct load *l)
{
	struct conf *c = &l->conf;

	for (size_t i = 0; i < KEY_COUNT; i++)
		if ((keys[i].flags & KEY_REQUIRED) && !l->seen[i])
			return err_set(l->e, -EINVAL, "%s: [%s] %s: missing, want %s", l->path,
				       keys[i].section, keys[i].name, keys[i].want);
	if (c->vip_prefix_count && !c->public_count)
		return err_set(
			l->e, -EINVAL,
			"%s: [edge] public: missing, want an interface, for vip_prefix is set",
			l->path);
	if (c->wireguard_managed &&
	    (!c->wg_endpoint_port || sodium_is_zero(c->wg_pub, sizeof(c->wg_pub))))
		return err_set(l->e, -EINVAL,
			       "%s: [mesh] wireguard: got 'managed', want endpoint and "
			       "wireguard_pub with it",
			       l->path);
	return 0;
}

int conf_load(const char *path, struct conf *ret_conf, struct err *e)
{
	struct load *l = calloc(1, sizeof(*l));
	int rc, bad;

	if (!l)
		return err_set(e, -ENOMEM, "%s: out of memory", path);
	l->path = path;
	l->e = e;
	set_defaults(&l->conf);
	l->file = fopen(path, "re");
	if (!l->file) {
		rc = err_set(e, -errno, "%s: %s", path, strerror(errno));
		free(l);
		return rc;
	}
	bad = ini_parse_stream(read_line, l, on_key, l);
	if (!l->rc && bad)
		fail_line(l, bad);
	rc = l->rc ? l->rc : check_whole(l);
	if (!rc)
		*ret_conf = l->conf;
	fclose(l->file);
	free(l);
	return rc;
}
