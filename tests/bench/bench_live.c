/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bench_live - live frames through veth, by one of
 *   fwd IN OUT DST SRC     the forwarder on IN, fabric towards DST through OUT; until SIGTERM
 *   pass IF                a program that passes all; until SIGTERM
 *   sink IF                counts and drops; a line "PACKETS NANOSECONDS" for each line it reads
 *   gen IF VIP PORT FLOWS MS DST SRC     frames out of IF for so long
 * each in the network namespace that it runs in. Native mode only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "tests/bench/live.h"
#include "tests/bench/world.h"

/* Generated: not as strict as we are. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "tests/bench/bench.skel.h"
#include "tests/bench/live.skel.h"
#pragma GCC diagnostic pop

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t if_of(const char *name)
{
	uint32_t idx = if_nametoindex(name);

	if (!idx)
		bench_die(name);
	return idx;
}

static void mac_of(const char *text, uint8_t mac[6])
{
	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5]) != 6) {
		errno = EINVAL;
		bench_die(text);
	}
}

static void attach(const char *ifname, int prog_fd)
{
	if (bpf_xdp_attach((int)if_of(ifname), prog_fd, XDP_FLAGS_DRV_MODE, NULL))
		bench_die(ifname);
	printf("ready\n");
	fflush(stdout);
}

static void wait_for_end(void)
{
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigwait(&set, &sig);
}

static int forward(char **argv)
{
	struct bench_world w = {
		.family = 4, .vips = 1, .per_vip = 1, .backends = 10, .is_fabric = true};
	struct bench *skel = bench__open();

	if (!skel)
		bench_die("open");
	bench_obj = skel->obj;
	skel->rodata->dp_mesh_l2 = 14;
	bench_sizes();
	if (bench__load(skel))
		bench_die("load");
	mac_of(argv[2], w.l2.dst);
	mac_of(argv[3], w.l2.src);
	w.l2.ifindex = if_of(argv[1]);
	bench_fill(&w);
	attach(argv[0], bpf_program__fd(skel->progs.dp_xdp));
	wait_for_end();
	bench__destroy(skel);
	return 0;
}

static struct live *open_live(struct live_job **ret_job)
{
	struct live *skel = live__open_and_load();

	if (!skel)
		bench_die("live");
	*ret_job = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
			bpf_map__fd(skel->maps.live_job), 0);
	if (*ret_job == MAP_FAILED)
		bench_die("mmap");
	return skel;
}

static int sink(const char *ifname)
{
	struct live_job *j;
	struct live *skel = open_live(&j);
	char line[16];

	attach(ifname, bpf_program__fd(skel->progs.live_sink));
	while (fgets(line, sizeof(line), stdin)) {
		printf("%llu %llu\n",
		       (unsigned long long)__atomic_load_n(&j->seen, __ATOMIC_RELAXED),
		       (unsigned long long)now_ns());
		fflush(stdout);
	}
	live__destroy(skel);
	return 0;
}

static int pass(const char *ifname)
{
	struct live_job *j;
	struct live *skel = open_live(&j);

	attach(ifname, bpf_program__fd(skel->progs.live_pass));
	wait_for_end();
	live__destroy(skel);
	return 0;
}

#define BATCH 65536

static int generate(char **argv)
{
	uint8_t frame[LIVE_FRAME_BYTES] = {0};
	struct xdp_md ctx = {.data_end = sizeof(frame)};
	struct live_job *j;
	struct live *skel = open_live(&j);
	uint64_t until = now_ns() + strtoull(argv[4], NULL, 10) * 1000000u;
	struct in_addr vip;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = sizeof(frame),
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = BATCH,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = 64);

	if (inet_pton(AF_INET, argv[1], &vip) != 1) {
		errno = EINVAL;
		bench_die(argv[1]);
	}
	j->vip = ntohl(vip.s_addr);
	j->port = (uint16_t)atoi(argv[2]);
	j->flows = (uint32_t)atoi(argv[3]);
	j->client = 0xc6120001; /* 198.18.0.1: benchmarks (RFC 2544) */
	j->ifindex = if_of(argv[0]);
	mac_of(argv[5], j->dst);
	mac_of(argv[6], j->src);
	if (!j->flows)
		j->flows = 1;
	while (now_ns() < until)
		if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.live_gen), &o))
			bench_die("live frames");
	printf("%llu\n", (unsigned long long)j->made);
	live__destroy(skel);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "fwd"))
		return forward(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "pass"))
		return pass(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "sink"))
		return sink(argv[2]);
	if (argc == 9 && !strcmp(argv[1], "gen"))
		return generate(argv + 2);
	fprintf(stderr, "usage: bench_live fwd IN OUT DST SRC | pass IF | sink IF | gen IF VIP "
			"PORT FLOWS MS DST SRC\n");
	return 2;
}
