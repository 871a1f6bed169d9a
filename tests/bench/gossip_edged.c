/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A mesh of edged, without forwarders: on loopback there is no device for the packet programs. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/gossip_mesh.h"

static int shared_fd;

static void write_file(const char *path, mode_t mode, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		bench_die("%s: %s", path, strerror(errno));
	close(fd);
}

static void configure(const struct mesh *m, size_t i)
{
	char path[256], text[2048];

	snprintf(path, sizeof(path), "%s/n%03zu", m->dir, i);
	if (mkdir(path, 0700) && errno != EEXIST)
		bench_die("%s: %s", path, strerror(errno));
	snprintf(text, sizeof(text),
		 "[node]\nname = n%03zu\nregion = r%zu\nstate_dir = %s\ncontrol = %s/ctl.sock\n"
		 "[mesh]\ndevice = lo\naddress = 10.77.1.%zu\nport = 7946\ncluster = bench\n"
		 "key_file = %s/cluster.key\nseed = 10.77.1.%d:7946\ntransport = fabric\n"
		 "[forwarder]\nuser = root\n",
		 i, i % 3, path, path, i + 1, m->dir, i == 0 ? 2 : 1);
	snprintf(path, sizeof(path), "%s/n%03zu/edge.conf", m->dir, i);
	write_file(path, 0600, text);
}

static void start(struct mesh *m, size_t i, bool is_alone)
{
	char fds[64], conf[256], log[256], program[256];
	const char *out = getenv("OUT");

	configure(m, i);
	if (m->fd[i] <= 0)
		m->fd[i] = eventfd(0, EFD_NONBLOCK);
	m->shared->node[i].arg = is_alone;
	m->shared->node[i].is_ready = 0;
	snprintf(fds, sizeof(fds), "%d %d %zu", shared_fd, m->fd[i], i);
	snprintf(conf, sizeof(conf), "%s/n%03zu/edge.conf", m->dir, i);
	snprintf(log, sizeof(log), "%s/n%03zu/log", m->dir, i);
	snprintf(program, sizeof(program), "%s/tests/bench/edged", out ? out : "build/std");
	m->pid[i] = fork();
	if (m->pid[i] < 0)
		bench_die("fork: %s", strerror(errno));
	if (m->pid[i] > 0)
		return;
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

	dup2(fd, 1);
	dup2(fd, 2);
	for (size_t k = 0; k < m->count; k++)
		if (k != i && m->fd[k] > 0)
			close(m->fd[k]);
	setenv(BENCH_FD_ENV, fds, 1);
	execl(program, program, "-c", conf, NULL);
	_exit(127);
}

static bool is_ready(struct mesh *m, size_t i)
{
	return m->shared->node[i].is_ready;
}

static void ring(struct mesh *m, size_t i, enum bench_command command, uint64_t arg)
{
	uint64_t one = 1;

	m->shared->node[i].arg = arg;
	m->shared->node[i].command = command;
	if (write(m->fd[i], &one, sizeof(one)) != sizeof(one))
		bench_die("eventfd of n%03zu: %s", i, strerror(errno));
}

static void join(struct mesh *m, size_t i)
{
	ring(m, i, BENCH_JOIN, 0);
}

static void put(struct mesh *m, size_t i, uint64_t change)
{
	ring(m, i, BENCH_PUT, change);
}

static void pump(struct mesh *m, unsigned int ms)
{
	(void)m;
	usleep(ms * 1000);
}

void mesh_edged(struct mesh *m)
{
	char path[256];

	m->name = "edged";
	m->has_suspects = true;
	m->start = start;
	m->is_ready = is_ready;
	m->join = join;
	m->put = put;
	m->pump = pump;
	shared_fd = memfd_create("bench", 0);
	if (shared_fd < 0 || ftruncate(shared_fd, sizeof(*m->shared)))
		bench_die("shared memory: %s", strerror(errno));
	m->shared =
		mmap(NULL, sizeof(*m->shared), PROT_READ | PROT_WRITE, MAP_SHARED, shared_fd, 0);
	if (m->shared == MAP_FAILED)
		bench_die("shared memory: %s", strerror(errno));
	snprintf(path, sizeof(path), "%s/cluster.key", m->dir);
	write_file(path, 0600,
		   "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n");
}
