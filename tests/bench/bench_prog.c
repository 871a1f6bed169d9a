/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/bench/bench_prog.c - nanoseconds per packet of the forwarder's programs, by the kernel's test run.
 *
 * XDP rows     (program in its wrapper) - (the wrapper alone), interleaved; median of RUNS
 * TC rows      time between two readings of the clock inside, less that of two readings in a row; median of RUNS
 * Peer         Katran (commit 19f08fe, IPIP, 100 reals) in wrappers like these, median of 7, on the machine and in the hour
 *              of docs/BENCHMARKS.md; tcp-v4-syn with its flood guard tripped, that is without inserting
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/dp_abi.h"
#include "bpf/dp_reasons.h"
#include "tests/bench/bench.h"
#include "tests/bench/world.h"

/* Generated: not as strict as we are. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "tests/bench/bench.skel.h"
#pragma GCC diagnostic pop

#define RUNS 7
#define REPEAT 1000000u

struct row {
	const char *name;
	const char *peer; /* NULL: no such row */
	uint32_t flows;	  /* a power of two; 0: one */
	uint8_t family;	  /* 0: 4 */
	uint8_t l4_proto; /* 0: UDP */
	uint8_t tcp_flags;
	bool is_foreign;   /* not to a VIP */
	bool is_dropped;   /* XDP: leaves no verdict that must be taken off again */
	bool is_fabric;	   /* XDP: encapsulated and sent, as on a mesh over Ethernet */
	bool is_new;	   /* TC: every packet a new flow */
	uint16_t port;	   /* 0: BENCH_PORT */
	uint32_t vips;	   /* that traffic is for, in turn; 0: one */
	uint32_t loaded;   /* VIPs that are there besides those */
	uint32_t per_vip;  /* services on each; 0: one */
	uint32_t backends; /* of each service; 0: 10 */
	uint32_t svc_flags;
	uint32_t pps, source_pps;
	bool is_denied, is_quic;
	uint16_t frag_be; /* IPv4 fragment field; 0: none */
	const char *prog; /* TC rows; NULL: XDP */
};

/* Names as in the kernel's own xdp-lb benchmark where the scenario is the same. */
#define MANY 65536u
#define MORE (1u << 20)
static const struct row rows[] = {
	{.is_fabric = true, .name = "udp-v4", .peer = "163"},
	{.is_fabric = true, .name = "udp-v4, 64k flows", .peer = "273", .flows = MANY},
	{.is_fabric = true, .name = "udp-v4, 1M flows", .peer = "340", .flows = MORE},
	{.is_fabric = true,
	 .name = "tcp-v4-ack",
	 .peer = "127",
	 .l4_proto = IPPROTO_TCP,
	 .tcp_flags = 0x10},
	{.is_fabric = true,
	 .name = "tcp-v4-ack, 64k flows",
	 .peer = "231",
	 .flows = MANY,
	 .l4_proto = IPPROTO_TCP,
	 .tcp_flags = 0x10},
	{.is_fabric = true,
	 .name = "tcp-v4-syn",
	 .peer = "112",
	 .flows = MANY,
	 .l4_proto = IPPROTO_TCP,
	 .tcp_flags = 0x02},
	{.is_fabric = true, .name = "udp-v6", .peer = "152", .family = 6},
	{.is_fabric = true, .name = "udp-v6, 64k flows", .peer = "286", .family = 6, .flows = MANY},
	{.is_fabric = true,
	 .name = "tcp-v6-ack",
	 .peer = "125",
	 .family = 6,
	 .l4_proto = IPPROTO_TCP,
	 .tcp_flags = 0x10},
	{.name = "udp-v4, verdict for TC"},
	{.name = "udp-v4, verdict, 64k flows", .flows = MANY},
	{.name = "udp-v6, verdict for TC", .family = 6},
	{.name = "pass-v4-no-vip", .peer = "59", .is_foreign = true},
	{.name = "pass-v6-no-vip", .family = 6, .is_foreign = true},
	{.name = "drop-v4-no-service", .port = 54, .is_dropped = true},
	{.is_fabric = true, .name = "udp-v4, 128 services hit", .flows = MANY, .vips = 128},
	{.is_fabric = true,
	 .name = "udp-v4, 1,024 of 10,240 hit",
	 .flows = MANY,
	 .vips = 1024,
	 .per_vip = 10},
	{.is_fabric = true,
	 .name = "udp-v4, 1 of 10,240 services hit",
	 .flows = MANY,
	 .loaded = 1024,
	 .per_vip = 10},
	{.is_fabric = true, .name = "udp-v4, 1,000 backends", .flows = MANY, .backends = 1000},
	{.name = "quic-v4, one flow",
	 .peer = "122",
	 .is_fabric = true,
	 .is_quic = true,
	 .svc_flags = DP_SVC_QUIC},
	{.name = "quic-v4, id names the backend",
	 .peer = "251",
	 .is_fabric = true,
	 .flows = MANY,
	 .is_quic = true,
	 .svc_flags = DP_SVC_QUIC},
	{.name = "udp-v4, packet rate of the service",
	 .is_fabric = true,
	 .flows = MANY,
	 .svc_flags = DP_SVC_GATE,
	 .pps = 1000000000},
	{.name = "udp-v4, packet rate of each source",
	 .is_fabric = true,
	 .flows = MANY,
	 .svc_flags = DP_SVC_GATE,
	 .source_pps = 100000000},
	{.name = "drop-v4, denied by a list",
	 .is_dropped = true,
	 .flows = MANY,
	 .svc_flags = DP_SVC_GATE | DP_SVC_FILTER,
	 .is_denied = true},
	{.name = "drop-v4-frag, first not seen",
	 .is_dropped = true,
	 .flows = MANY,
	 .frag_be = 0x1700},
	{.name = "edge, TC: encapsulate", .prog = "bench_tc_pub_in"},
	{.name = "worker: known flow", .prog = "bench_tc_mesh_in"},
	{.name = "worker: 64k known flows", .flows = MANY, .prog = "bench_tc_mesh_in"},
	{.name = "worker: new flow", .flows = MORE, .prog = "bench_tc_mesh_in", .is_new = true},
	{.name = "worker: reply", .prog = "bench_tc_up_out"},
};

static int prog_fd(const char *name)
{
	struct bpf_program *p = bpf_object__find_program_by_name(bench_obj, name);

	if (!p)
		bench_die(name);
	return bpf_program__fd(p);
}

/* ---- the packet */

static size_t bare(const struct row *r, uint8_t *f)
{
	struct ethhdr *eth = (void *)f;
	uint16_t port = r->port ? r->port : BENCH_PORT;
	uint32_t base = bench_vip(r->vips);
	size_t l4_bytes = r->l4_proto == IPPROTO_TCP ? 20 : 8, payload = 18, off;
	struct tcphdr *l4;

	memset(f, 0, 256);
	memset(eth->h_dest, 2, 6);
	if (r->family == 4) {
		struct iphdr *ip = (void *)(f + 14);

		eth->h_proto = htons(ETH_P_IP);
		ip->version = 4;
		ip->ihl = 5;
		ip->ttl = 64;
		ip->protocol = r->l4_proto;
		ip->frag_off = r->frag_be;
		ip->tot_len = htons((uint16_t)(20 + l4_bytes + payload));
		ip->saddr = htonl(0xc6336401);
		ip->daddr = htonl(r->is_foreign ? 0xcb007101 : base);
		off = 34;
	} else {
		struct ipv6hdr *ip = (void *)(f + 14);

		eth->h_proto = htons(ETH_P_IPV6);
		ip->version = 6;
		ip->hop_limit = 64;
		ip->nexthdr = r->l4_proto;
		ip->payload_len = htons((uint16_t)(l4_bytes + payload));
		bench_map6(1, (uint8_t *)&ip->saddr);
		bench_map6(r->is_foreign ? 0xcb007101 : base, (uint8_t *)&ip->daddr);
		off = 54;
	}
	l4 = (void *)(f + off);
	l4->source = htons(1024);
	l4->dest = htons(port);
	if (r->l4_proto == IPPROTO_TCP) {
		l4->doff = 5;
		f[off + 13] = r->tcp_flags;
	} else {
		struct udphdr *udp = (void *)l4;

		udp->len = htons((uint16_t)(8 + payload));
	}
	if (r->is_quic) { /* a short header, first octet 0, the server id, the rest of the id */
		f[off + 8] = 0x40;
		f[off + 13] = BENCH_SERVER_ID;
	}
	return off + l4_bytes + payload;
}

static uint16_t ip_sum(const void *p)
{
	const uint16_t *w = p;
	uint32_t sum = 0;

	for (int i = 0; i < 10; i++)
		sum += w[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

static size_t tunnelled(const struct row *r, uint8_t *f)
{
	uint8_t inner[256];
	size_t n = bare(r, inner);
	struct iphdr *ip = (void *)(f + 14);
	uint32_t key = htonl(DP_GRE_KEY(0, DP_TOKEN(1, 5)));

	memcpy(f, inner, 14);
	memset(ip, 0, 28);
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = IPPROTO_GRE;
	ip->tot_len = htons((uint16_t)(28 + n - 14));
	ip->saddr = htonl(0x0a000002);
	ip->daddr = htonl(0x0a000001);
	ip->check = ip_sum(ip);
	f[34] = 0x20;
	f[36] = 0x08;
	memcpy(f + 38, &key, 4);
	memcpy(f + 42, inner + 14, n - 14);
	return n + 28;
}

/* What the application at 10.0.0.5:8080 answers to the first flow. */
static size_t reply(const struct row *r, uint8_t *f)
{
	size_t n = bare(r, f);
	struct iphdr *ip = (void *)(f + 14);
	struct udphdr *udp = (void *)(f + 34);

	ip->daddr = htonl(0xc6330000);
	ip->saddr = htonl(0x0a000005);
	udp->dest = udp->source;
	udp->source = htons(8080);
	return n;
}

/* ---- running */

static double run(const char *prog, const uint8_t *frame, size_t len, uint32_t repeat, int *ret_val)
{
	uint8_t out[4096];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = (uint32_t)len,
		    .data_out = out, .data_size_out = sizeof(out), .repeat = (int)repeat);

	if (bpf_prog_test_run_opts(prog_fd(prog), &o))
		bench_die(prog);
	*ret_val = (int)o.retval;
	return (double)o.duration;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void get_job(struct bench_job *j)
{
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(bench_map_fd("bench_job"), &zero, j))
		bench_die("bench_job");
}

static uint64_t reason_total(uint32_t reason)
{
	uint64_t v[256] = {0}, sum = 0;

	if (bpf_map_lookup_elem(bench_map_fd("dp_reason"), &reason, v))
		bench_die("dp_reason");
	for (int i = 0; i < libbpf_num_possible_cpus() && i < 256; i++)
		sum += v[i];
	return sum;
}

static double once_xdp(const uint8_t *frame, size_t len)
{
	int null_rv, rv;
	double null = run("bench_null", frame, len, REPEAT, &null_rv);
	double all = run("bench_xdp", frame, len, REPEAT, &rv);

	if (null_rv != 2 || rv == 0) {
		errno = EINVAL;
		bench_die("packet");
	}
	return all - null;
}

#define ALONE 50000u /* test runs of one packet each */

/* ns inside `prog`, by its own clock. */
static double time_tc(const char *prog, const struct bench_job *j, const uint8_t *frame, size_t len,
		      uint32_t repeat, bool is_alone)
{
	struct bench_job after;
	uint32_t zero = 0;
	int rv;

	bench_put("bench_job", &zero, j);
	for (uint32_t i = 0; i < (is_alone ? ALONE : 1); i++)
		run(prog, frame, len, is_alone ? 1 : repeat, &rv);
	get_job(&after);
	if (rv == 2) {
		errno = EINVAL;
		bench_die(prog);
	}
	return (double)after.ns / (double)after.runs;
}

static double once_tc(const struct row *r, const struct bench_job *j, const uint8_t *frame,
		      size_t len)
{
	bool is_alone = strcmp(r->prog, "bench_tc_mesh_in") != 0;
	double null = time_tc("bench_tc_null", j, frame, len, REPEAT / 4, is_alone);

	return time_tc(r->prog, j, frame, len, r->is_new ? r->flows : REPEAT / 2, is_alone) - null;
}

static void measure(const struct row *given)
{
	struct row row = *given, *r = &row;
	struct bench_job j = {.vip_mask = r->vips ? r->vips - 1 : 0,
			      .vip4 = bench_vip(r->vips),
			      .is_dropped = r->is_dropped};
	bool is_in = r->prog && !strcmp(r->prog, "bench_tc_mesh_in");
	bool is_out = r->prog && !strcmp(r->prog, "bench_tc_up_out");
	uint8_t frame[256];
	double ns[RUNS];
	uint32_t zero = 0;
	size_t len;
	int rv;

	r->family = r->family ? r->family : 4;
	r->flows = r->flows ? r->flows : 1;
	r->l4_proto = r->l4_proto ? r->l4_proto : IPPROTO_UDP;
	j.family = r->family;
	j.flow_mask = r->flows - 1;
	j.overhead = r->is_fabric ? 28 : 0;
	bench_fill(&(struct bench_world){
		.family = r->family,
		.vips = r->vips ? r->vips : 1,
		.loaded = r->loaded,
		.per_vip = r->per_vip ? r->per_vip : 1,
		.backends = r->backends ? r->backends : 10,
		/* The worker's own programs want the backend here. */
		.is_worker = r->prog && strcmp(r->prog, "bench_tc_pub_in") != 0,
		.is_fabric = r->is_fabric,
		.svc_flags = r->svc_flags,
		.pps = r->pps,
		.source_pps = r->source_pps,
		.is_denied = r->is_denied,
		.l2 = {.dst = {2, 0, 0, 0, 0, 1}, .src = {2, 0, 0, 0, 0, 2}, .ifindex = 1},
	});
	if (is_out) { /* the flow that it answers */
		len = tunnelled(r, frame);
		memcpy(j.template, frame, BENCH_TEMPLATE_GRE);
		j.template_bytes = BENCH_TEMPLATE_GRE;
		bench_put("bench_job", &zero, &j);
		run("bench_tc_mesh_in", frame, len, 4, &rv);
		j.is_reply = 1;
	}
	len = is_in ? tunnelled(r, frame) : is_out ? reply(r, frame) : bare(r, frame);
	j.template_bytes = is_in ? BENCH_TEMPLATE_GRE : BENCH_TEMPLATE_BARE;
	memcpy(j.template, frame, j.template_bytes);
	bench_put("bench_job", &zero, &j);
	for (int i = 0; i < RUNS; i++)
		ns[i] = r->prog ? once_tc(r, &j, frame, len) : once_xdp(frame, len);
	qsort(ns, RUNS, sizeof(*ns), by_value);
	printf("| %-32s | %6.1f | %6.1f | %-9s |", r->name, ns[0], ns[RUNS / 2],
	       r->peer ? r->peer : "");
	if (r->peer)
		printf(" %.2f |\n", ns[RUNS / 2] / atof(r->peer));
	else
		printf("      |\n");
	fflush(stdout);
}

static int no_print(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, args) : 0;
}

static struct bench *load(uint32_t mesh_l2, uint32_t stage)
{
	struct bench *s = bench__open();

	if (!s)
		bench_die("open");
	bench_obj = s->obj;
	s->rodata->dp_mesh_l2 = mesh_l2;
	s->rodata->bench_stage = stage;
	bench_sizes();
	if (bench__load(s))
		bench_die("load");
	return s;
}

/* Where the time of the row "udp-v4, 64k flows" goes: each step's cost is what the program with it takes more. */
static void measure_stages(void)
{
	static const char *const step[] = {"the wrapper alone",
					   "parse",
					   "is it a VIP? (2 arrays)",
					   "which service? (4 arrays)",
					   "hash (SipHash-1-3)",
					   "row, backend, node",
					   "counters of service and backend"};
	struct bench_world w = {.family = 4, .vips = 1, .per_vip = 1, .backends = 10};
	struct bench_job j = {.flow_mask = MANY - 1, .family = 4, .is_dropped = 1};
	struct row r = {.family = 4, .flows = MANY, .l4_proto = IPPROTO_UDP};
	double last = 0;

	printf("\n| %-32s | %6s | %6s |\n|---|---|---|\n", "step", "ns", "sum");
	for (uint32_t stage = 0; stage < sizeof(step) / sizeof(step[0]); stage++) {
		struct bench *s = load(0, stage);
		uint8_t frame[256];
		size_t len = bare(&r, frame);
		double ns[RUNS];
		uint32_t zero = 0;
		int rv;

		bench_fill(&w);
		bench_put("bench_job", &zero, &j);
		for (int i = 0; i < RUNS; i++)
			ns[i] = run("bench_stages", frame, len, REPEAT, &rv) -
				run("bench_null", frame, len, REPEAT, &rv);
		qsort(ns, RUNS, sizeof(*ns), by_value);
		printf("| %-32s | %6.1f | %6.1f |\n", step[stage], ns[RUNS / 2] - last,
		       ns[RUNS / 2]);
		last = ns[RUNS / 2];
		bench__destroy(s);
	}
	printf("The rest of a whole row: the reason's counter, the verdict (bpf_xdp_adjust_meta) "
	       "or the tunnel "
	       "(bpf_xdp_adjust_head, 42 bytes written, checksum).\n");
}

int main(int argc, char **argv)
{
	if (argc > 2) {
		fprintf(stderr, "usage: %s [ROW | steps]\n", argv[0]);
		return 2;
	}
	libbpf_set_print(no_print);
	printf("| %-32s | %6s | %6s | %-9s | %s |\n", "ns per packet, net", "best", "median",
	       "Katran", "ratio");
	printf("|---|---|---|---|---|\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct bench *s;

		if (argc > 1 && !strstr(rows[i].name, argv[1]))
			continue;
		s = load(rows[i].prog || rows[i].is_fabric ? 14 : 0, 0);
		measure(&rows[i]);
		if (getenv("BENCH_REASONS"))
			for (uint32_t k = 0; k < DP_REASON_SLOTS; k++)
				if (reason_total(k))
					printf("    reason %u: %llu\n", k,
					       (unsigned long long)reason_total(k));
		bench__destroy(s);
	}
	if (argc == 1 || !strcmp(argv[1], "steps"))
		measure_stages();
	return 0;
}
