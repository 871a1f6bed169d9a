/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Linked into the edged of `make bench-gossip` by --wrap: the daemon is the shipped one, but what gossip tells it is
 * stamped on the way, and a bell (an eventfd) makes it write a record or join. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edge/agent.h"
#include "gossip/loop.h"
#include "tests/bench/gossip.h"

#define KEYS 32 /* of a node: so many changes later one takes the place of another */

static struct bench_node *me;
static int bell_fd;
static struct gossip_core *the_core;
static struct gossip_loop *the_loop;
static struct gossip_addr seeds[16];
static size_t seed_count;
static uv_poll_t bell;

void __real_agent_event(const struct gossip_event *ev, void *arg);
void __wrap_agent_event(const struct gossip_event *ev, void *arg);
int __real_gossip_core_join(struct gossip_core *c, uint64_t now_ms,
			    const struct gossip_addr *seed_list, size_t count);
int __wrap_gossip_core_join(struct gossip_core *c, uint64_t now_ms,
			    const struct gossip_addr *seed_list, size_t count);
int __real_gossip_loop_open(uv_loop_t *uv, const struct gossip_loop_config *cfg,
			    struct gossip_loop **ret_loop, struct err *e);
int __wrap_gossip_loop_open(uv_loop_t *uv, const struct gossip_loop_config *cfg,
			    struct gossip_loop **ret_loop, struct err *e);

static void open_shared(void)
{
	const char *text = getenv(BENCH_FD_ENV);
	struct bench_shared *all;
	int fd, idx;

	if (!text || sscanf(text, "%d %d %d", &fd, &bell_fd, &idx) != 3)
		return;
	all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (all == MAP_FAILED)
		return;
	me = &all->node[idx];
}

static void saw_member(const struct gossip_event *ev)
{
	const struct gossip_member *m = &ev->member;
	uint64_t now = bench_now_ns();
	unsigned int i;
	size_t count, alive = 0;

	if (sscanf(m->name, "n%3u", &i) != 1 || i >= BENCH_NODES_MAX)
		return;
	if (me->state[i] != m->state || ev->is_new) {
		me->state_ns[i][m->state] = now;
		me->became[i][m->state]++;
		me->state[i] = m->state;
	}
	count = gossip_core_member_count(the_core);
	for (size_t k = 0; k < count; k++) {
		struct gossip_member x;

		gossip_core_member_at(the_core, k, &x);
		alive += x.state == GOSSIP_ALIVE;
	}
	if (me->alive != alive) {
		me->alive_ns = now;
		me->alive = (uint32_t)alive;
	}
}

/* value: {"v": uint 64} */
static uint64_t change_of(const struct record *r)
{
	uint64_t v = 0;

	if (r->kind != BENCH_KIND || r->is_tombstone || r->value_len != 12)
		return UINT64_MAX;
	for (size_t k = 4; k < 12; k++)
		v = v << 8 | r->value[k];
	return v;
}

void __wrap_agent_event(const struct gossip_event *ev, void *arg)
{
	uint64_t v;

	if (me && ev->kind == GOSSIP_EV_MEMBER)
		saw_member(ev);
	if (me && ev->kind == GOSSIP_EV_RECORD) {
		v = change_of(&ev->record);
		if (v < BENCH_CHANGES_MAX && me->heard_ns[v] == 0)
			me->heard_ns[v] = bench_now_ns();
	}
	__real_agent_event(ev, arg);
}

static void put_change(uint64_t v)
{
	uint8_t value[12] = {0x81, 0xa1, 'v', 0xcf};
	char key[16];

	for (int k = 0; k < 8; k++)
		value[4 + k] = (uint8_t)(v >> (8 * (7 - k)));
	snprintf(key, sizeof(key), "change-%u", (unsigned int)(v % KEYS));
	me->put_ns[v] = bench_now_ns();
	(void)gossip_core_put(the_core, gossip_loop_now_ms(the_loop), BENCH_KIND, key, value,
			      sizeof(value), true);
}

static void tell_counters(void)
{
	struct gossip_counters n;

	gossip_core_counters(the_core, &n);
	me->dgrams_out = n.dgrams_out;
	me->bytes_out = n.bytes_out;
	me->probes_failed = n.probes_failed;
	me->queue_drops = n.queue_drops;
	me->frozen = n.frozen;
}

static void bell_cb(uv_poll_t *h, int status, int events)
{
	uint64_t count;

	(void)h, (void)status, (void)events;
	if (read(bell_fd, &count, sizeof(count)) != sizeof(count))
		return;
	switch ((enum bench_command)atomic_load(&me->command)) {
	case BENCH_NONE:
		break;
	case BENCH_PUT:
		put_change(me->arg);
		break;
	case BENCH_JOIN:
		(void)__real_gossip_core_join(the_core, gossip_loop_now_ms(the_loop), seeds,
					      seed_count);
		break;
	case BENCH_COUNT:
		tell_counters();
		break;
	}
	me->command = BENCH_NONE;
	gossip_loop_pump(the_loop);
}

/* Asked to by arg, it starts alone and joins when told. */
int __wrap_gossip_core_join(struct gossip_core *c, uint64_t now_ms,
			    const struct gossip_addr *seed_list, size_t count)
{
	if (!me || !me->arg)
		return __real_gossip_core_join(c, now_ms, seed_list, count);
	seed_count = count < 16 ? count : 16;
	memcpy(seeds, seed_list, seed_count * sizeof(*seeds));
	me->is_ready = 1;
	return 0;
}

int __wrap_gossip_loop_open(uv_loop_t *uv, const struct gossip_loop_config *cfg,
			    struct gossip_loop **ret_loop, struct err *e)
{
	int r = __real_gossip_loop_open(uv, cfg, ret_loop, e);

	open_shared();
	if (r < 0 || !me)
		return r;
	the_core = cfg->core;
	the_loop = *ret_loop;
	uv_poll_init(uv, &bell, bell_fd);
	uv_poll_start(&bell, UV_READABLE, bell_cb);
	uv_unref((uv_handle_t *)&bell);
	return r;
}
