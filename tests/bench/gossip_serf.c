/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A mesh of serf agents, looked at through their RPC port (MessagePack over TCP): user events as they come, and how many
 * members have failed, asked ten times a second. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <msgpack.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/bench/gossip_mesh.h"

#define ASK_EVERY_MS 100
#define SEQ_EVENTS 2
#define SEQ_STATS 3

static struct {
	msgpack_unpacker in;
	uint64_t body_of; /* the next object is the answer to this; 0: a header */
} rpc[BENCH_NODES_MAX];
static uint64_t asked_ns;

static void pack_text(msgpack_packer *p, const char *text)
{
	msgpack_pack_str(p, strlen(text));
	msgpack_pack_str_body(p, text, strlen(text));
}

static void pack_head(msgpack_packer *p, const char *command, uint64_t seq)
{
	msgpack_pack_map(p, 2);
	pack_text(p, "Command");
	pack_text(p, command);
	pack_text(p, "Seq");
	msgpack_pack_uint64(p, seq);
}

static void flush(const struct mesh *m, size_t i, msgpack_sbuffer *b)
{
	if (write(m->fd[i], b->data, b->size) != (ssize_t)b->size)
		bench_die("serf n%03zu: RPC: %s", i, strerror(errno));
	msgpack_sbuffer_destroy(b);
}

static void start(struct mesh *m, size_t i, bool is_alone)
{
	char node[32], bind[64], at[64], log[256], seed[64];

	snprintf(node, sizeof(node), "-node=n%03zu", i);
	snprintf(bind, sizeof(bind), "-bind=10.77.2.%zu:7946", i + 1);
	snprintf(at, sizeof(at), "-rpc-addr=10.77.2.%zu:7373", i + 1);
	snprintf(seed, sizeof(seed), "-join=10.77.2.%d:7946", i == 0 ? 2 : 1);
	snprintf(log, sizeof(log), "%s/n%03zu.log", m->dir, i);
	if (m->fd[i] > 0) {
		close(m->fd[i]);
		msgpack_unpacker_destroy(&rpc[i].in);
	}
	m->fd[i] = 0;
	m->pid[i] = fork();
	if (m->pid[i] < 0)
		bench_die("fork: %s", strerror(errno));
	if (m->pid[i] > 0)
		return;
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);

	dup2(fd, 1);
	dup2(fd, 2);
	execlp("serf", "serf", "agent", node, bind, at, "-profile=lan", "-log-level=warn",
	       is_alone ? NULL : seed, NULL);
	_exit(127);
}

/* Connect and ask for events; false: it does not listen yet. */
static bool is_ready(struct mesh *m, size_t i)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons(7373),
				 .sin_addr.s_addr = htonl(0x0a4d0200u + (uint32_t)i + 1)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	msgpack_sbuffer b;
	msgpack_packer p;

	if (m->fd[i] > 0)
		return close(fd) == 0;
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		close(fd);
		return false;
	}
	m->fd[i] = fd;
	msgpack_unpacker_init(&rpc[i].in, 65536);
	rpc[i].body_of = 0;
	msgpack_sbuffer_init(&b);
	msgpack_packer_init(&p, &b, msgpack_sbuffer_write);
	pack_head(&p, "handshake", 1);
	msgpack_pack_map(&p, 1);
	pack_text(&p, "Version");
	msgpack_pack_int(&p, 1);
	pack_head(&p, "stream", SEQ_EVENTS);
	msgpack_pack_map(&p, 1);
	pack_text(&p, "Type");
	pack_text(&p, "user");
	flush(m, i, &b);
	return true;
}

static void join(struct mesh *m, size_t i)
{
	msgpack_sbuffer b;
	msgpack_packer p;

	if (i == 0)
		return;
	msgpack_sbuffer_init(&b);
	msgpack_packer_init(&p, &b, msgpack_sbuffer_write);
	pack_head(&p, "join", 4);
	msgpack_pack_map(&p, 2);
	pack_text(&p, "Existing");
	msgpack_pack_array(&p, 1);
	pack_text(&p, "10.77.2.1:7946");
	pack_text(&p, "Replay");
	msgpack_pack_false(&p);
	flush(m, i, &b);
}

static void put(struct mesh *m, size_t i, uint64_t change)
{
	char name[32], payload[64] = "";
	msgpack_sbuffer b;
	msgpack_packer p;

	snprintf(name, sizeof(name), "c%llu", (unsigned long long)change);
	memset(payload, 'x', sizeof(payload));
	msgpack_sbuffer_init(&b);
	msgpack_packer_init(&p, &b, msgpack_sbuffer_write);
	pack_head(&p, "event", 5);
	msgpack_pack_map(&p, 3);
	pack_text(&p, "Name");
	pack_text(&p, name);
	pack_text(&p, "Payload");
	msgpack_pack_bin(&p, sizeof(payload));
	msgpack_pack_bin_body(&p, payload, sizeof(payload));
	pack_text(&p, "Coalesce");
	msgpack_pack_false(&p);
	m->shared->node[i].put_ns[change] = bench_now_ns();
	flush(m, i, &b);
}

static const msgpack_object *get(const msgpack_object *o, const char *key)
{
	for (uint32_t k = 0; o && o->type == MSGPACK_OBJECT_MAP && k < o->via.map.size; k++) {
		const msgpack_object_kv *kv = &o->via.map.ptr[k];
		/* Go's codec of that time writes text as bin or str */
		if ((kv->key.type == MSGPACK_OBJECT_STR || kv->key.type == MSGPACK_OBJECT_BIN) &&
		    kv->key.via.str.size == strlen(key) &&
		    memcmp(kv->key.via.str.ptr, key, strlen(key)) == 0)
			return &kv->val;
	}
	return NULL;
}

static uint64_t number(const msgpack_object *o)
{
	char text[32] = "";

	if (!o)
		return 0;
	if (o->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
		return o->via.u64;
	if (o->type == MSGPACK_OBJECT_STR || o->type == MSGPACK_OBJECT_BIN)
		memcpy(text, o->via.str.ptr,
		       o->via.str.size < sizeof(text) ? o->via.str.size : sizeof(text) - 1);
	return strtoull(text, NULL, 10);
}

static void take_stats(struct mesh *m, size_t i, const msgpack_object *o)
{
	const msgpack_object *s = get(o, "serf");
	uint64_t failed = number(get(s, "failed")), members = number(get(s, "members")), down = 0;
	uint64_t now = bench_now_ns();

	if (!s)
		return;
	mesh_set_alive(&m->shared->node[i], (uint32_t)(members - failed), now);
	for (size_t k = 0; k < m->count; k++)
		down += m->is_down[k];
	/* It says how many, not who: those that we took down first. */
	for (size_t k = 0; k < m->count; k++) {
		bool is_dead = m->is_down[k] && failed >= down;

		mesh_set_state(&m->shared->node[i], k, is_dead ? MESH_DEAD : 0, now);
	}
	if (failed > down)
		m->shared->node[i].became[i][MESH_DEAD]++; /* somebody else's, unjustly */
}

static void take(struct mesh *m, size_t i, const msgpack_object *o)
{
	uint64_t seq = number(get(o, "Seq")), change;
	const msgpack_object *name, *error;

	if (rpc[i].body_of == 0) {
		error = get(o, "Error");
		/* the first answer to "stream" has no body, and its later ones are events */
		if (seq == SEQ_STATS || seq == 4)
			rpc[i].body_of = seq;
		else if (seq == SEQ_EVENTS && m->shared->node[i].is_ready)
			rpc[i].body_of = seq;
		else if (seq == SEQ_EVENTS)
			m->shared->node[i].is_ready = 1;
		if (error && error->via.str.size > 0)
			rpc[i].body_of = seq == 4 ? seq : 0;
		return;
	}
	if (rpc[i].body_of == SEQ_STATS)
		take_stats(m, i, o);
	name = get(o, "Name");
	if (rpc[i].body_of == SEQ_EVENTS && name && name->via.str.size > 1) {
		change = strtoull(name->via.str.ptr + 1, NULL, 10);
		if (change < BENCH_CHANGES_MAX && m->shared->node[i].heard_ns[change] == 0)
			m->shared->node[i].heard_ns[change] = bench_now_ns();
	}
	rpc[i].body_of = 0;
}

static void read_from(struct mesh *m, size_t i)
{
	msgpack_unpacked u;
	ssize_t n;

	msgpack_unpacker_reserve_buffer(&rpc[i].in, 65536);
	n = recv(m->fd[i], msgpack_unpacker_buffer(&rpc[i].in), 65536, MSG_DONTWAIT);
	if (n <= 0) {
		if (n == 0 || errno != EAGAIN) {
			close(m->fd[i]);
			m->fd[i] = 0;
			m->shared->node[i].is_ready = 0;
			msgpack_unpacker_destroy(&rpc[i].in);
		}
		return;
	}
	msgpack_unpacker_buffer_consumed(&rpc[i].in, (size_t)n);
	msgpack_unpacked_init(&u);
	while (msgpack_unpacker_next(&rpc[i].in, &u) == MSGPACK_UNPACK_SUCCESS)
		take(m, i, &u.data);
	msgpack_unpacked_destroy(&u);
}

static void ask_all(struct mesh *m)
{
	for (size_t i = 0; i < m->count; i++) {
		msgpack_sbuffer b;
		msgpack_packer p;

		if (m->fd[i] <= 0 || m->is_down[i])
			continue;
		msgpack_sbuffer_init(&b);
		msgpack_packer_init(&p, &b, msgpack_sbuffer_write);
		pack_head(&p, "stats", SEQ_STATS);
		flush(m, i, &b);
	}
}

static void pump(struct mesh *m, unsigned int ms)
{
	uint64_t end = bench_now_ns() + ms * 1000000ull;

	do {
		struct pollfd fds[BENCH_NODES_MAX];
		size_t who[BENCH_NODES_MAX];
		nfds_t n = 0;

		if (!m->is_quiet && bench_now_ns() >= asked_ns + ASK_EVERY_MS * 1000000ull) {
			asked_ns = bench_now_ns();
			ask_all(m);
		}
		for (size_t i = 0; i < m->count; i++)
			if (m->fd[i] > 0) {
				who[n] = i;
				fds[n++] = (struct pollfd){.fd = m->fd[i], .events = POLLIN};
			}
		if (poll(fds, n, 1) <= 0)
			continue;
		for (nfds_t k = 0; k < n; k++)
			if (fds[k].revents)
				read_from(m, who[k]);
	} while (bench_now_ns() < end);
}

void mesh_serf(struct mesh *m)
{
	m->name = "serf";
	m->start = start;
	m->is_ready = is_ready;
	m->join = join;
	m->put = put;
	m->pump = pump;
	m->shared = calloc(1, sizeof(*m->shared));
	if (!m->shared)
		bench_die("out of memory");
}
