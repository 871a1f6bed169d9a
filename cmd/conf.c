/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "cmd/conf.h"

#include <errno.h>
#include <ini.h>
#include <sodium.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES 190 /* inih cuts lines at 200 silently; longer ones are refused instead */

enum { KEY_REQUIRED = 1, KEY_REPEAT = 2 };
#define PARSE_TWICE (-EEXIST) /* this value is in the list already */
#define PARSE_MANY (-E2BIG)   /* the list is full */

/* One key of the file. `at` is where its value is, or its list and `count_at` the list's length. parse returns 0, -EINVAL
 * (value is not `want`), PARSE_TWICE or PARSE_MANY. */
struct key {
	const char *section, *name;
	unsigned flags;
	int (*parse)(struct conf *c, const struct key *k, const char *value);
	size_t at, count_at;
	uint32_t min, max; /* of a number; max of a text's bytes, with the NUL */
	const char *def, *want;
};

static void *field(struct conf *c, size_t at)
{
	return (char *)c + at;
}

/* ---- values */

static int copy_text(char *to, size_t cap, const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len >= cap)
		return -EINVAL;
	memcpy(to, value, len + 1);
	return 0;
}

static int parse_text(struct conf *c, const struct key *k, const char *value)
{
	return strpbrk(value, " \t") ? -EINVAL : copy_text(field(c, k->at), k->max, value);
}

static int parse_name(struct conf *c, const struct key *k, const char *value)
{
	return model_name_check(value) ? -EINVAL
				       : copy_text(field(c, k->at), MODEL_NAME_MAX, value);
}

static int parse_path(struct conf *c, const struct key *k, const char *value)
{
	return value[0] == '/' ? copy_text(field(c, k->at), CONF_TEXT_MAX, value) : -EINVAL;
}

static int read_number(const char *value, uint32_t min, uint32_t max, uint32_t *ret)
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

static int parse_number(struct conf *c, const struct key *k, const char *value)
{
	return read_number(value, k->min, k->max, field(c, k->at));
}

static int parse_port(struct conf *c, const struct key *k, const char *value)
{
	return ip_parse_port(value, field(c, k->at));
}

static int parse_xdp(struct conf *c, const struct key *k, const char *value)
{
	static const char *const mode[] = {[CONF_XDP_AUTO] = "auto",
					   [CONF_XDP_NATIVE] = "native",
					   [CONF_XDP_GENERIC] = "generic",
					   [CONF_XDP_OFF] = "off"};

	(void)k;
	for (uint8_t i = 0; i < sizeof(mode) / sizeof(mode[0]); i++) {
		if (strcmp(value, mode[i]) == 0) {
			c->xdp_mode = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_transport(struct conf *c, const struct key *k, const char *value)
{
	(void)k;
	if (strcmp(value, "wireguard") && strcmp(value, "fabric"))
		return -EINVAL;
	c->mesh_fabric = strcmp(value, "fabric") == 0;
	return 0;
}

static int parse_wireguard(struct conf *c, const struct key *k, const char *value)
{
	(void)k;
	if (strcmp(value, "manual") && strcmp(value, "managed"))
		return -EINVAL;
	c->wireguard_managed = strcmp(value, "managed") == 0;
	return 0;
}

static int parse_wireguard_pub(struct conf *c, const struct key *k, const char *value)
{
	uint8_t pub[sizeof(c->wg_pub)];
	size_t len;

	(void)k;
	if (sodium_base642bin(pub, sizeof(pub), value, strlen(value), NULL, &len, NULL,
			      sodium_base64_VARIANT_ORIGINAL) ||
	    len != sizeof(pub) || sodium_is_zero(pub, sizeof(pub)))
		return -EINVAL;
	memcpy(c->wg_pub, pub, sizeof(pub));
	return 0;
}

static int parse_endpoint(struct conf *c, const struct key *k, const char *value)
{
	struct ip_addr a;
	uint16_t port;

	(void)k;
	if (ip_parse_addr_port(value, &a, &port) || ip_is_zero(&a) || ip_is_multicast(&a))
		return -EINVAL;
	c->wg_endpoint = a;
	c->wg_endpoint_port = port;
	return 0;
}

/* ---- lists */

/* Append one item of `size` bytes, unless it is there or there is no room. Items are zeroed before they are filled. */
static int append(struct conf *c, const struct key *k, size_t cap, const void *item, size_t size)
{
	size_t *count = field(c, k->count_at);
	char *list = field(c, k->at);

	for (size_t i = 0; i < *count; i++)
		if (memcmp(list + i * size, item, size) == 0)
			return PARSE_TWICE;
	if (*count == cap)
		return PARSE_MANY;
	memcpy(list + *count * size, item, size);
	(*count)++;
	return 0;
}

static int parse_pattern(struct conf *c, const struct key *k, const char *value)
{
	char item[32] = {0};

	if (strpbrk(value, " \t/") || copy_text(item, sizeof(item), value))
		return -EINVAL;
	return append(c, k, AGENT_PATTERNS_MAX, item, sizeof(item));
}

static int parse_prefix(struct conf *c, const struct key *k, const char *value)
{
	struct ip_prefix item;

	memset(&item, 0, sizeof(item));
	if (ip_parse_prefix(value, &item))
		return -EINVAL;
	return append(c, k, AGENT_PATTERNS_MAX, &item, sizeof(item));
}

static int parse_seed(struct conf *c, const struct key *k, const char *value)
{
	struct gossip_addr item;
	struct ip_addr a;

	memset(&item, 0, sizeof(item));
	if (ip_parse_addr_port(value, &a, &item.port) || ip_is_zero(&a) || ip_is_multicast(&a))
		return -EINVAL;
	memcpy(item.ip, a.b, sizeof(item.ip));
	return append(c, k, sizeof(c->seed) / sizeof(c->seed[0]), &item, sizeof(item));
}

static int parse_address(struct conf *c, const struct key *k, const char *value)
{
	struct ip_addr a;

	if (ip_parse(value, &a) || ip_is_zero(&a) || ip_is_multicast(&a))
		return -EINVAL;
	if (c->mesh_addr_count == 1 && ip_is_v4(&a) == ip_is_v4(&c->mesh_addr[0]))
		return -EINVAL;
	return append(c, k, sizeof(c->mesh_addr) / sizeof(c->mesh_addr[0]), &a, sizeof(a));
}

static int parse_regions(struct conf *c, const struct key *k, const char *value)
{
	char copy[LINE_MAX_BYTES + 1], *save = NULL;

	if (copy_text(copy, sizeof(copy), value))
		return -EINVAL;
	for (char *w = strtok_r(copy, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
		char item[MODEL_NAME_MAX] = {0};
		int rc;

		if (model_name_check(w) || copy_text(item, sizeof(item), w))
			return -EINVAL;
		rc = append(c, k, ROUTE_REGIONS_MAX, item, sizeof(item));
		if (rc)
			return rc;
	}
	return 0;
}

static int parse_mode(struct conf *c, const struct key *k, const char *value)
{
	(void)k;
	if (strcmp(value, "flat") != 0 && strcmp(value, "summaries") != 0)
		return -EINVAL;
	c->has_summaries = strcmp(value, "summaries") == 0;
	return 0;
}

static int parse_writers(struct conf *c, const struct key *k, const char *value)
{
	char copy[LINE_MAX_BYTES + 1], *save = NULL;

	if (strcmp(value, "all") == 0)
		return c->writer_count ? -EINVAL : 0;
	if (copy_text(copy, sizeof(copy), value))
		return -EINVAL;
	for (char *w = strtok_r(copy, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
		struct node_id id;
		size_t len;
		int rc;

		if (strlen(w) != 2 * NODE_ID_BYTES ||
		    sodium_hex2bin(id.b, sizeof(id.b), w, strlen(w), NULL, &len, NULL) ||
		    len != sizeof(id.b))
			return -EINVAL;
		rc = append(c, k, WRITERS_MAX, &id, sizeof(id));
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- the table */

#define WANT_NAME "1 to 31 of a-z, 0-9 and hyphens, none at either end"
#define WANT_PATH "an absolute path of at most 107 bytes"
#define WANT_PATTERN "an interface name or pattern (eth0, br*) of at most 31 bytes"
#define WANT_ENDPOINT "ADDRESS:PORT, [ADDRESS]:PORT for IPv6"
#define AT(f) offsetof(struct conf, f)
#define LIST(f, count) .at = AT(f), .count_at = AT(count), .flags = KEY_REPEAT
#define NUMBER(f, lo, hi, text)                                                                    \
	.parse = parse_number, .at = AT(f), .min = lo, .max = hi, .want = text

/* clang-format off */
static const struct key keys[] = {
	{"node", "name", KEY_REQUIRED, parse_name, AT(name), .want = WANT_NAME},
	{"node", "region", KEY_REQUIRED, parse_name, AT(region), .want = WANT_NAME},
	{"node", "state_dir", 0, parse_path, AT(state_dir), .want = WANT_PATH, .def = "/var/lib/edge"},
	{"node", "control", 0, parse_path, AT(control), .want = WANT_PATH, .def = "/run/edge/edged.sock"},
	{"node", "group", 0, parse_text, AT(group), .max = 32, .want = "a group name", .def = "edge"},
	{"mesh", "device", KEY_REQUIRED, parse_text, AT(mesh_device), .max = 16,
	 .want = "an interface name of at most 15 bytes"},
	{"mesh", "address", LIST(mesh_addr, mesh_addr_count) | KEY_REQUIRED, .parse = parse_address,
	 .want = "an IPv4 or IPv6 address, one of each at most"},
	{"mesh", "port", 0, parse_port, AT(mesh_port), .want = "a port, 1..65535", .def = "7946"},
	{"mesh", "cluster", KEY_REQUIRED, parse_name, AT(cluster), .want = WANT_NAME},
	{"mesh", "key_file", KEY_REQUIRED, parse_path, AT(key_file), .want = WANT_PATH},
	{"mesh", "seed", LIST(seed, seed_count), .parse = parse_seed, .want = WANT_ENDPOINT},
	{"mesh", "service_writers", LIST(writer, writer_count), .parse = parse_writers,
	 .want = "all, or ids of nodes (32 hex digits each), blanks between"},
	{"mesh", "transport", 0, parse_transport, .want = "wireguard or fabric", .def = "wireguard"},
	{"mesh", "wireguard", 0, parse_wireguard, .want = "manual or managed", .def = "manual"},
	{"mesh", "wireguard_pub", 0, parse_wireguard_pub, .want = "a WireGuard public key in base64"},
	{"mesh", "endpoint", 0, parse_endpoint, .want = WANT_ENDPOINT},
	{"edge", "public", LIST(public_if, public_count), .parse = parse_pattern, .want = WANT_PATTERN},
	{"edge", "vip_prefix", LIST(vip_prefix, vip_prefix_count), .parse = parse_prefix,
	 .want = "ADDRESS/LENGTH without host bits"},
	{"worker", "uplink", LIST(uplink, uplink_count), .parse = parse_pattern, .want = WANT_PATTERN},
	{"worker", "bridge", LIST(bridge, bridge_count), .parse = parse_pattern, .want = WANT_PATTERN},
	{"worker", "check_dir", 0, parse_path, AT(check_dir), .want = WANT_PATH},
	{"worker", "check_ca", 0, parse_path, AT(check_ca), .want = WANT_PATH},
	{"regions", "mode", 0, parse_mode, .want = "flat or summaries", .def = "flat"},
	{"regions", "order", LIST(order, order_count), .parse = parse_regions,
	 .want = "region names, nearest first, blanks between"},
	{"forwarder", "socket", 0, parse_path, AT(fwd_socket), .want = WANT_PATH, .def = "/run/edge/edgefwd.sock"},
	{"forwarder", "pin_dir", 0, parse_path, AT(pin_dir), .want = WANT_PATH, .def = "/sys/fs/bpf/edge"},
	{"forwarder", "user", 0, parse_text, AT(fwd_user), .max = 32, .want = "a user name", .def = "edge"},
	{"forwarder", "rows", 0, NUMBER(sizes.rows, 1024, DP_ROWS_MAX, "a number, 1024..67108864")},
	{"forwarder", "services", 0, NUMBER(sizes.svcs, 16, DP_SVC_MAX, "a number, 16..16384")},
	{"forwarder", "backends", 0, NUMBER(sizes.backends, 16, DP_BACKEND_MAX, "a number, 16..262144")},
	{"forwarder", "nodes", 0, NUMBER(sizes.nodes, 16, DP_NODE_MAX, "a number, 16..8192")},
	{"forwarder", "pages", 0, NUMBER(sizes.pages, 16, 65536, "a number, 16..65536")},
	{"forwarder", "flows", 0, NUMBER(sizes.flows, 1024, 1u << 26, "a number, 1024..67108864")},
	{"forwarder", "flows_new", 0, NUMBER(sizes.flows_new, 1024, 1u << 26, "a number, 1024..67108864")},
	{"forwarder", "xdp", 0, parse_xdp, .want = "auto, native, generic or off", .def = "auto"},
};
/* clang-format on */
#define KEY_COUNT (sizeof(keys) / sizeof(keys[0]))
_Static_assert(sizeof(((struct conf *)0)->public_if[0]) == 32, "parse_pattern");

bool conf_describe(size_t i, struct conf_doc *ret_doc)
{
	if (i >= KEY_COUNT)
		return false;
	*ret_doc = (struct conf_doc){.section = keys[i].section,
				     .name = keys[i].name,
				     .want = keys[i].want,
				     .def = keys[i].def,
				     .is_required = keys[i].flags & KEY_REQUIRED,
				     .is_list = keys[i].flags & KEY_REPEAT};
	return true;
}

/* "node, mesh, edge or worker": the sections (section NULL), or the keys of one. */
static const char *list_text(const char *section, char *buf, size_t cap)
{
	const char *word[KEY_COUNT];
	size_t count = 0, len = 0;

	buf[0] = 0;
	for (size_t i = 0; i < KEY_COUNT; i++) {
		if (section && strcmp(keys[i].section, section) == 0)
			word[count++] = keys[i].name;
		else if (!section && (i == 0 || strcmp(keys[i].section, keys[i - 1].section) != 0))
			word[count++] = keys[i].section;
	}
	for (size_t i = 0; i < count && len < cap; i++)
		len += (size_t)snprintf(buf + len, cap - len, "%s%s",
					i == 0		 ? ""
					: i + 1 == count ? " or "
							 : ", ",
					word[i]);
	return buf;
}

/* ---- reading the file */

struct load {
	const char *path;
	FILE *file;
	int line;
	char text[LINE_MAX_BYTES + 2]; /* of that line */
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

static bool is_section(const char *name, size_t len)
{
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (strlen(keys[i].section) == len && memcmp(keys[i].section, name, len) == 0)
			return true;
	return false;
}

/* inih says nothing of a section without keys, so its head is looked at here. */
static void check_section(struct load *l)
{
	const char *p = l->text + strspn(l->text, " \t"), *end;
	char name[64], want[120];

	if (*p != '[')
		return;
	end = strchr(++p, ']');
	if (!end || is_section(p, (size_t)(end - p)))
		return; /* inih complains of a missing bracket */
	snprintf(name, sizeof(name), "%.*s", (int)(end - p), p);
	fail(l, "section", name, list_text(NULL, want, sizeof(want)));
}

/* inih's line reader, counting lines: its handler isn't told them in Debian's build. */
static char *read_line(char *buf, int cap, void *arg)
{
	struct load *l = arg;
	size_t len = 0;
	int c = EOF;

	if (l->rc)
		return NULL;
	while (len < LINE_MAX_BYTES && (c = getc(l->file)) != EOF && c != '\n' && c)
		l->text[len++] = (char)c;
	l->text[len] = 0;
	if (c == EOF && ferror(l->file)) {
		l->rc = err_set(l->e, -errno, "%s: %s", l->path, strerror(errno));
		return NULL;
	}
	if (c == EOF && len == 0)
		return NULL;
	l->line++;
	if (len == LINE_MAX_BYTES && (c = getc(l->file)) != '\n' && c != EOF) {
		l->text[40] = 0;
		fail(l, "line", l->text, "at most 190 bytes");
	} else if (c == 0) {
		fail(l, "line", l->text, "text without NUL bytes");
	} else {
		check_section(l);
	}
	if (l->rc || len + 2 > (size_t)cap)
		return NULL;
	memcpy(buf, l->text, len);
	memcpy(buf + len, "\n", 2);
	return buf;
}

static int on_key(void *arg, const char *section, const char *name, const char *value)
{
	struct load *l = arg;
	char want[160];

	if (l->rc)
		return 0;
	if (!section[0])
		return fail(l, name, value, "a [section] before the first key");
	for (size_t i = 0; i < KEY_COUNT; i++) {
		int rc;

		if (strcmp(keys[i].section, section) || strcmp(keys[i].name, name))
			continue;
		if (l->seen[i] && !(keys[i].flags & KEY_REPEAT))
			return fail(l, name, value, "this key once");
		l->seen[i] = true;
		rc = keys[i].parse(&l->conf, &keys[i], value);
		if (rc == PARSE_TWICE)
			return fail(l, name, value, "each value once");
		if (rc == PARSE_MANY)
			return fail(l, name, value, "fewer of this key");
		return rc ? fail(l, name, value, keys[i].want) : 1;
	}
	return fail(l, "key", name, list_text(section, want, sizeof(want)));
}

static void set_defaults(struct conf *c)
{
	memset(c, 0, sizeof(*c));
	for (size_t i = 0; i < KEY_COUNT; i++)
		if (keys[i].def && keys[i].parse(c, &keys[i], keys[i].def))
			abort(); /* a default that its own key refuses */
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
	if (c->wireguard_managed && c->mesh_fabric)
		return err_set(l->e, -EINVAL,
			       "%s: [mesh] wireguard: got 'managed', want manual with transport = "
			       "fabric",
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
	/* inih's own settings: an indented line is a line like any other, and the first fault ends it. */
	ini_allow_multiline = false;
	ini_stop_on_first_error = true;
	bad = ini_parse_stream(read_line, l, on_key, l);
	if (!l->rc && bad)
		fail(l, "line", l->text, "[section] or KEY = VALUE");
	rc = l->rc ? l->rc : check_whole(l);
	if (!rc)
		*ret_conf = l->conf;
	fclose(l->file);
	free(l);
	return rc;
}
