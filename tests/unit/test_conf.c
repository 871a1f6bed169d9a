/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/conf.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LEAST                                                                                      \
	"[node]\nname = a1\nregion = ams\n[mesh]\ndevice = wg0\naddress = 10.0.0.1\ncluster = "    \
	"lab\n"                                                                                    \
	"key_file = /etc/edge/key\n"

static char path[64];

static int setup(void **state)
{
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/edge-conf-XXXXXX");
	fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	(void)state;
	return unlink(path);
}

static int load_bytes(const char *text, size_t len, struct conf *c, struct err *e)
{
	FILE *f = fopen(path, "w");

	assert_int_equal(fwrite(text, 1, len, f), len);
	fclose(f);
	return conf_load(path, c, e);
}

static int load(const char *text, struct conf *c, struct err *e)
{
	return load_bytes(text, strlen(text), c, e);
}

static void test_load_when_only_required_then_defaults(void **state)
{
	struct conf c;
	struct err e = {0};

	(void)state;
	if (load(LEAST, &c, &e))
		fail_msg("%s", e.text);
	assert_string_equal(c.name, "a1");
	assert_string_equal(c.region, "ams");
	assert_string_equal(c.state_dir, "/var/lib/edge");
	assert_string_equal(c.control, "/run/edge/edged.sock");
	assert_string_equal(c.group, "edge");
	assert_int_equal(c.mesh_port, 7946);
	assert_int_equal(c.mesh_addr_count, 1);
	assert_false(c.wireguard_managed);
	assert_false(c.mesh_fabric);
	assert_string_equal(c.fwd_socket, "/run/edge/edgefwd.sock");
	assert_string_equal(c.pin_dir, "/sys/fs/bpf/edge");
	assert_string_equal(c.fwd_user, "edge");
	assert_int_equal(c.xdp_mode, CONF_XDP_AUTO);
	assert_int_equal(c.sizes.rows | c.sizes.flows | c.sizes.dirs, 0);
	assert_int_equal(
		c.seed_count + c.public_count + c.uplink_count + c.bridge_count + c.order_count, 0);
}

static void test_load_when_everything_is_set_then_all_of_it_is_there(void **state)
{
	static const char text[] =
		"; all keys\n# and comments\n" LEAST
		"  address = fd00::1  ; an indented line, a comment behind a blank\n"
		"port=7000\nseed = 10.0.0.2:7000\nseed = [fd00::2]:7001\nwireguard = managed\n"
		"endpoint = 198.51.100.1:51820\nwireguard_pub = "
		"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"
		"[edge]\r\npublic = eth0\r\npublic = ens*\nvip_prefix = 192.0.2.0/24\nvip_prefix = "
		"2001:db8::/32\n"
		"[worker]\nuplink = eth1\nbridge = br*\nbridge = docker0\n[regions]\norder = fra "
		"lon\norder = sin\n"
		"[forwarder]\nsocket = /run/x.sock\npin_dir = /sys/fs/bpf/x\nuser = nobody\nrows = "
		"1024\nservices = 16\n"
		"backends = 65536\nnodes = 8192\npages = 16\nflows = 67108864\nflows_new = "
		"1024\nxdp = off\n"
		"[node]\nstate_dir = /x\ncontrol = /y\ngroup = staff"; /* a section again, no newline at the end */
	struct ip_addr a;
	struct conf c;
	struct err e = {0};
	char buf[IP_TEXT_MAX];

	(void)state;
	if (load(text, &c, &e))
		fail_msg("%s", e.text);
	assert_int_equal(c.mesh_addr_count, 2);
	assert_string_equal(ip_text(&c.mesh_addr[1], buf), "fd00::1");
	assert_int_equal(c.mesh_port, 7000);
	assert_int_equal(c.seed_count, 2);
	ip_parse("fd00::2", &a);
	assert_memory_equal(c.seed[1].ip, a.b, 16);
	assert_int_equal(c.seed[1].port, 7001);
	assert_true(c.wireguard_managed);
	assert_string_equal(ip_port_text(&c.wg_endpoint, c.wg_endpoint_port, buf),
			    "198.51.100.1:51820");
	assert_int_equal(c.wg_pub[31], 31);
	assert_string_equal(c.public_if[0], "eth0");
	assert_string_equal(c.public_if[1], "ens*");
	assert_int_equal(c.public_count, 2);
	assert_string_equal(ip_prefix_text(&c.vip_prefix[1], buf), "2001:db8::/32");
	assert_string_equal(c.uplink[0], "eth1");
	assert_string_equal(c.bridge[1], "docker0");
	assert_int_equal(c.order_count, 3);
	assert_string_equal(c.order[2], "sin");
	assert_string_equal(c.fwd_socket, "/run/x.sock");
	assert_string_equal(c.pin_dir, "/sys/fs/bpf/x");
	assert_string_equal(c.fwd_user, "nobody");
	assert_int_equal(c.sizes.rows, 1024);
	assert_int_equal(c.sizes.svcs, 16);
	assert_int_equal(c.sizes.backends, 65536);
	assert_int_equal(c.sizes.nodes, 8192);
	assert_int_equal(c.sizes.pages, 16);
	assert_int_equal(c.sizes.flows, 67108864);
	assert_int_equal(c.sizes.flows_new, 1024);
	assert_int_equal(c.xdp_mode, CONF_XDP_OFF);
	assert_string_equal(c.state_dir, "/x");
	assert_string_equal(c.control, "/y");
	assert_string_equal(c.group, "staff");
}

#define NAME "1 to 31 of a-z, 0-9 and hyphens, none at either end"
#define PATH "an absolute path of at most 107 bytes"
#define A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void test_load_when_a_line_is_wrong_then_file_line_key_value_and_want(void **state)
{
	/* Behind LEAST, which has 8 lines, in [mesh]. */
	static const struct {
		const char *text, *want; /* behind the file's name */
	} row[] = {
		{"port = 0\n", ":9: port: got '0', want a port, 1..65535"},
		{"\n\nport = 65536\n", ":11: port: got '65536', want a port, 1..65535"},
		{"port =\n", ":9: port: got '', want a port, 1..65535"},
		{"cluster = b\n", ":9: cluster: got 'b', want this key once"},
		{"address = 10.0.0.2\n",
		 ":9: address: got '10.0.0.2', want an IPv4 or IPv6 address, one of each at most"},
		{"address = ::\n",
		 ":9: address: got '::', want an IPv4 or IPv6 address, one of each at most"},
		{"seed = 10.0.0.2\n",
		 ":9: seed: got '10.0.0.2', want ADDRESS:PORT, [ADDRESS]:PORT for IPv6"},
		{"seed = 10.0.0.2:1\nseed = 10.0.0.2:1\n",
		 ":10: seed: got '10.0.0.2:1', want each value once"},
		{"transport = air\n", ":9: transport: got 'air', want wireguard or fabric"},
		{"wireguard = maybe\n", ":9: wireguard: got 'maybe', want manual or managed"},
		{"wireguard_pub = AAECAw==\n",
		 ":9: wireguard_pub: got 'AAECAw==', want a WireGuard public key in base64"},
		{"service_writers = fra-1\n", ":9: service_writers: got 'fra-1', want all, or ids "
					      "of nodes (32 hex digits each), blanks "
					      "between"},
		{"service_writers = 00112233445566778899aabbccddeeff\nservice_writers = all\n",
		 ":10: service_writers: got 'all', want all, or ids of nodes (32 hex digits each), "
		 "blanks between"},
		{"endpoint = ams:1\n",
		 ":9: endpoint: got 'ams:1', want ADDRESS:PORT, [ADDRESS]:PORT for IPv6"},
		{"prot = 1\n", ":9: key: got 'prot', want device, address, port, cluster, "
			       "key_file, seed, service_writers, transport, wireguard, "
			       "wireguard_pub or endpoint"},
		{"[mash]\n",
		 ":9: section: got 'mash', want node, mesh, edge, worker, regions or forwarder"},
		{"[Mesh]\nport = 1\n",
		 ":9: section: got 'Mesh', want node, mesh, edge, worker, regions or forwarder"},
		{"[mesh\n", ":9: line: got '[mesh', want [section] or KEY = VALUE"},
		{"[edge]\npublic\n", ":10: line: got 'public', want [section] or KEY = VALUE"},
		{"[edge]\npublic = a/b\n", ":10: public: got 'a/b', want an interface name or "
					   "pattern (eth0, br*) of at most 31 bytes"},
		{"[edge]\npublic = " A32 "\n",
		 ":10: public: got '" A32 "', want an interface name or pattern (eth0, "
		 "br*) of at most 31 bytes"},
		{"[edge]\nvip_prefix = 192.0.2.1/24\n",
		 ":10: vip_prefix: got '192.0.2.1/24', want ADDRESS/LENGTH without host bits"},
		{"[edge]\nvip_prefix = 192.0.2.0/24\n",
		 ": [edge] public: missing, want an interface, for vip_prefix "
		 "is set"},
		{"[regions]\norder = fra Fra\n",
		 ":10: order: got 'fra Fra', want region names, nearest first, blanks between"},
		{"[regions]\norder = fra lon fra\n",
		 ":10: order: got 'fra lon fra', want each value once"},
		{"[node]\nname = b\n", ":10: name: got 'b', want this key once"},
		{"[node]\nstate_dir = var\n", ":10: state_dir: got 'var', want " PATH},
		{"[node]\ngroup = two words\n", ":10: group: got 'two words', want a group name"},
		{"[forwarder]\nrows = 1023\n",
		 ":10: rows: got '1023', want a number, 1024..67108864"},
		{"[forwarder]\nrows = 67108865\n",
		 ":10: rows: got '67108865', want a number, 1024..67108864"},
		{"[forwarder]\nrows = 99999999999999999999\n",
		 ":10: rows: got '99999999999999999999', want a number, 1024..67108864"},
		{"[forwarder]\nrows = 0x1000\n",
		 ":10: rows: got '0x1000', want a number, 1024..67108864"},
		{"[forwarder]\nxdp = fast\n",
		 ":10: xdp: got 'fast', want auto, native, generic or off"},
		{"transport = fabric\nwireguard = managed\n",
		 ": [mesh] wireguard: got 'managed', want manual with transport = fabric"},
		{"wireguard = managed\n",
		 ": [mesh] wireguard: got 'managed', want endpoint and wireguard_pub with it"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct conf c, was;
		char text[1024], want[256];
		struct err e = {0};

		memset(&c, 0x5a, sizeof(c));
		was = c;
		snprintf(text, sizeof(text), "%s%s", LEAST, row[i].text);
		snprintf(want, sizeof(want), "%s%s", path, row[i].want);
		want[sizeof(e.text) - 1] = 0;
		assert_int_equal(load(text, &c, &e), -EINVAL);
		assert_int_equal(e.code, -EINVAL);
		assert_string_equal(e.text, want);
		assert_memory_equal(&c, &was, sizeof(c));
	}
}

static void test_load_when_the_file_is_odd_then_refused(void **state)
{
	static char longest[4096];
	struct conf c;
	struct err e = {0};
	char want[300];

	(void)state;
	/* a key before any section */
	assert_int_equal(load("name = a1\n", &c, &e), -EINVAL);
	snprintf(want, sizeof(want), "%s:1: name: got 'a1', want a [section] before the first key",
		 path);
	assert_string_equal(e.text, want);
	/* what is required is missing */
	assert_int_equal(load("", &c, &e), -EINVAL);
	snprintf(want, sizeof(want), "%s: [node] name: missing, want " NAME, path);
	assert_string_equal(e.text, want);
	/* a NUL byte */
	assert_int_equal(load_bytes("[node]\nname = a\0b\n", 18, &c, &e), -EINVAL);
	snprintf(want, sizeof(want), "%s:2: line: got 'name = a', want text without NUL bytes",
		 path);
	assert_string_equal(e.text, want);
	/* 190 bytes are read whole, 191 are refused, wherever the fault would be */
	memset(longest, ' ', sizeof(longest));
	memcpy(longest, "[node]\nname = a1", 16);
	memcpy(longest + 7 + 190, "\n[nowhere]\n", 11);
	assert_int_equal(load_bytes(longest, 7 + 190 + 11, &c, &e), -EINVAL);
	snprintf(
		want, sizeof(want),
		"%s:3: section: got 'nowhere', want node, mesh, edge, worker, regions or forwarder",
		path);
	assert_string_equal(e.text, want);
	longest[7 + 190] = ' ';
	assert_int_equal(load_bytes(longest, sizeof(longest), &c, &e), -EINVAL);
	snprintf(want, sizeof(want), "%s:2: line: got 'name = a1", path);
	assert_memory_equal(e.text, want, strlen(want));
	assert_non_null(strstr(e.text, "', want at most 190 bytes"));
	/* no file at all */
	assert_int_equal(conf_load("/nowhere/edge.conf", &c, &e), -ENOENT);
	assert_string_equal(e.text, "/nowhere/edge.conf: No such file or directory");
	assert_int_equal(conf_load("/tmp", &c, &e), -EISDIR);
	assert_string_equal(e.text, "/tmp: Is a directory");
	assert_int_equal(conf_load("/tmp", &c, NULL), -EISDIR);
}

static void test_load_when_a_list_is_full_then_refused(void **state)
{
	static const char *const key[] = {"[mesh]\nseed = 10.0.0.%d:1\n",
					  "[edge]\npublic = e%d\n",
					  "[edge]\nvip_prefix = 10.0.%d.0/24\n",
					  "[worker]\nuplink = e%d\n",
					  "[worker]\nbridge = b%d\n",
					  "[regions]\norder = r%d\n"};
	static const int max[] = {16, 16, 16, 16, 16, ROUTE_REGIONS_MAX};

	(void)state;
	for (size_t i = 0; i < COUNT(key); i++) {
		char text[8192];
		struct conf c;
		struct err e = {0};
		size_t len = (size_t)snprintf(text, sizeof(text), "%s[edge]\npublic = x\n", LEAST);

		if (i == 1)
			len = (size_t)snprintf(text, sizeof(text), "%s", LEAST);
		for (int n = 1; n <= max[i]; n++)
			len += (size_t)snprintf(text + len, sizeof(text) - len, key[i], n);
		if (load(text, &c, &e))
			fail_msg("%s", e.text);
		snprintf(text + len, sizeof(text) - len, key[i], max[i] + 1);
		assert_int_equal(load(text, &c, &e), -EINVAL);
		assert_non_null(strstr(e.text, "', want fewer of this key"));
	}
}

/* ---- the documents say what the table says */

static char *read_file(const char *name)
{
	static char text[65536];
	FILE *f = fopen(name, "r");
	size_t len;

	if (!f)
		fail_msg("%s: %s", name, strerror(errno));
	len = fread(text, 1, sizeof(text) - 1, f);
	text[len] = 0;
	fclose(f);
	return text;
}

static void test_example_when_read_then_good_and_complete(void **state)
{
	const char *text = read_file("packaging/edge.conf.example");
	struct conf_doc d;
	struct conf c;
	struct err e = {0};

	(void)state;
	if (conf_load("packaging/edge.conf.example", &c, &e))
		fail_msg("%s", e.text);
	for (size_t i = 0; conf_describe(i, &d); i++) {
		char line[200];

		if (d.is_required || d.is_list)
			snprintf(line, sizeof(line), "\n%s = ", d.name);
		else
			snprintf(line, sizeof(line), "\n#%s = %s", d.name, d.def ? d.def : "");
		if (!strstr(text, line))
			fail_msg("the example has no line '%s'", line + 1);
	}
}

static void test_manual_when_read_then_has_each_key_with_its_default(void **state)
{
	const char *text = read_file("docs/man/edge.conf.8"), *at = text;
	const char *section = "";
	struct conf_doc d;

	(void)state;
	for (size_t i = 0; conf_describe(i, &d); i++) {
		char head[80], want[120];
		const char *end, *found;

		if (strcmp(section, d.section)) {
			section = d.section;
			snprintf(head, sizeof(head), "\n.SH [%s]\n", section);
			at = strstr(at, head);
			if (!at)
				fail_msg("no section %s", section);
		}
		snprintf(head, sizeof(head), "\n.TP\n.B %s\n", d.name);
		at = strstr(at, head);
		if (!at)
			fail_msg("no key %s in its place", d.name);
		at += strlen(head) - 1;
		end = strstr(at, "\n.TP");
		found = d.def ? strstr(at, d.def) : at;
		if (!found || (end && found > end))
			fail_msg("%s: no default %s", d.name, d.def);
		snprintf(want, sizeof(want), "%s",
			 d.is_required && d.is_list ? "\nRequired, list. "
			 : d.is_required	    ? "\nRequired. "
			 : d.is_list		    ? "\nList"
						    : "");
		if (strncmp(at, want, strlen(want)))
			fail_msg("%s: want '%s'", d.name, want + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load_when_only_required_then_defaults),
		cmocka_unit_test(test_load_when_everything_is_set_then_all_of_it_is_there),
		cmocka_unit_test(test_load_when_a_line_is_wrong_then_file_line_key_value_and_want),
		cmocka_unit_test(test_load_when_the_file_is_odd_then_refused),
		cmocka_unit_test(test_load_when_a_list_is_full_then_refused),
		cmocka_unit_test(test_example_when_read_then_good_and_complete),
		cmocka_unit_test(test_manual_when_read_then_has_each_key_with_its_default),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
