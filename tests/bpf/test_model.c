/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The programs against the reference model: random worlds, random and mutated frames, the same maps for both. Any difference
 * in action, reason, verdict, mark or bytes fails, and is printed with the seed that makes it again.
 *
 * Environment  SEEDS: worlds (a thousand frames each; 100), SEED: the first one's (1)
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bpf/dp_hash.h"
#include "tests/lib/bpf_fixture.h"
#include "tests/model/world.h"

#define FRAMES 1000
#define WORLDS 100
#define CHANGE_EVERY 30	    /* frames, on average */
#define WORLD_SECONDS_MAX 4 /* fragments are forgotten after five: the model's time stands still */

static const char *const reason_names[] = {
#define NAME(name, text, drop, meaning) text,
	DP_REASONS(NAME)
#undef NAME
};

static const struct {
	const char *name;
	enum bf_prog prog;
	uint32_t share; /* of a hundred */
} hooks[MODEL_HOOKS] = {
	[MODEL_XDP] = {"xdp", BF_XDP, 25},
	[MODEL_PUB_IN] = {"pub_in", BF_PUB_IN, 25},
	[MODEL_MESH_IN] = {"mesh_in", BF_MESH_IN, 28},
	[MODEL_MESH_OUT] = {"mesh_out", BF_MESH_OUT, 4},
	[MODEL_UP_OUT] = {"up_out", BF_UP_OUT, 12},
	[MODEL_BR_IN] = {"br_in", BF_BR_IN, 6},
};

static struct model_world world, before;
static struct model_answer want;
static uint64_t seen[MODEL_HOOKS][DP_REASON_COUNT], unknown;
static uint64_t counts[DP_REASON_SLOTS];

/* ---- The world, into the maps ---- */

static void put(const struct bf *b, const char *map, const void *key, const void *value)
{
	if (bpf_map_update_elem(bf_map(b, map), key, value, BPF_ANY))
		fail_msg("%s: %s", map, strerror(errno));
}

static void put_all(const struct bf *b, const char *map, const void *values, size_t value_bytes,
		    uint32_t from, uint32_t end)
{
	static uint32_t keys[32768];
	uint32_t count = end - from;

	assert_true(count <= 32768);
	for (uint32_t i = 0; i < count; i++)
		keys[i] = from + i;
	if (bpf_map_update_batch(bf_map(b, map), keys, (const uint8_t *)values + from * value_bytes,
				 &count, NULL))
		fail_msg("%s: %s", map, strerror(errno));
}

static void forget(const struct bf *b, const char *map, size_t key_bytes)
{
	uint8_t key[64];

	assert_true(key_bytes <= sizeof(key));
	while (!bpf_map_get_next_key(bf_map(b, map), NULL, key))
		if (bpf_map_delete_elem(bf_map(b, map), key))
			break;
}

static void put_vips(const struct bf *b)
{
	static const uint32_t none[DP_VIP_SLOTS];

	put_all(b, "dp_vipslot", none, sizeof(none[0]), 0, DP_VIP_SLOTS);
	put_all(b, "dp_vip", world.vip, sizeof(world.vip[0]), 0, MODEL_VIPS);
	for (uint32_t i = 1; i <= world.vip_count; i++) {
		uint8_t addr[16] __attribute__((aligned(8)));
		uint32_t slot, at = i, there = 0;
		struct dp_addr_key key;

		memcpy(addr, world.vip[i].addr, 16);
		memcpy(key.addr, addr, 16);
		put(b, "dp_vipmap", &key, &i);
		slot = dp_vip_slot(addr);
		assert_int_equal(bpf_map_lookup_elem(bf_map(b, "dp_vipslot"), &slot, &there), 0);
		if (there || i % 3 == 0)
			at = DP_VIP_SLOT_ASK;
		put(b, "dp_vipslot", &slot, &at);
	}
}

static void put_world(const struct bf *b)
{
	uint32_t zero = 0;

	forget(b, "dp_vipmap", 16);
	forget(b, "dp_known", 16);
	forget(b, "dp_num", 4);
	forget(b, "dp_filter", sizeof(struct dp_filter_key));
	forget(b, "dp_fwd", sizeof(struct dp_flow_fwd_key));
	forget(b, "dp_fwd_new", sizeof(struct dp_flow_fwd_key));
	forget(b, "dp_rev", sizeof(struct dp_flow_rev_key));
	forget(b, "dp_rev_new", sizeof(struct dp_flow_rev_key));
	forget(b, "dp_pointer", sizeof(struct dp_flow_fwd_key));
	forget(b, "dp_frag", sizeof(struct dp_frag_key));
	forget(b, "dp_frag_out", sizeof(struct dp_frag_key));
	put(b, "dp_host", &zero, &world.host);
	put(b, "dp_self", &zero, &world.self);
	put(b, "dp_ctl", &zero, &world.ctl);
	put_vips(b);
	put_all(b, "dp_portdir", world.portdir, 4, 0, MODEL_DIRS * DP_PORTS_PER_PAGE);
	put_all(b, "dp_portpage", world.portpage, 4, 0, MODEL_PAGES * DP_PORTS_PER_PAGE);
	put_all(b, "dp_svc", world.svc, sizeof(world.svc[0]), 0, MODEL_SVCS);
	put_all(b, "dp_rows", world.row, sizeof(world.row[0]), 0, MODEL_ROWS);
	put_all(b, "dp_backend", world.backend, 8, 0, MODEL_BACKENDS);
	put_all(b, "dp_node", world.node, sizeof(world.node[0]), 0, MODEL_NODES);
	put_all(b, "dp_meet", world.meet, 4, 0, DP_MEET_ROWS);
	put_all(b, "dp_local", world.local, sizeof(world.local[0]), 0, MODEL_BACKENDS);
	for (uint32_t i = 1; i < MODEL_NODES; i++) {
		struct dp_addr_key key;

		memcpy(key.addr, world.node[i].addr, 16);
		if (world.node[i].node_num && key.addr[15])
			put(b, "dp_known", &key, &i);
	}
	for (uint32_t i = 0; i < world.filter_count; i++)
		put(b, "dp_filter", &world.filter[i].key, &world.filter[i].verb);
}

/* ---- What the programs do ---- */

struct got {
	int action;
	uint32_t reason, mark;
	struct dp_verdict verdict;
	bool has_verdict;
	const uint8_t *frame;
	size_t len;
};

/* The one reason counted since the last call; DP_REASON_COUNT: none, or more than one. */
static uint32_t counted(const struct bf *b)
{
	static uint64_t values[DP_REASON_SLOTS * 256];
	static uint32_t keys[DP_REASON_SLOTS];
	uint32_t next, count = DP_REASON_SLOTS, reason = DP_REASON_COUNT;
	uint32_t cpus = (uint32_t)libbpf_num_possible_cpus();

	assert_true(cpus <= 256);
	if (bpf_map_lookup_batch(bf_map(b, "dp_reason"), NULL, &next, keys, values, &count, NULL) &&
	    errno != ENOENT)
		fail_msg("dp_reason: %s", strerror(errno));
	for (uint32_t i = 0; i < count; i++) {
		uint64_t sum = 0;

		for (uint32_t cpu = 0; cpu < cpus; cpu++)
			sum += values[i * cpus + cpu];
		if (sum != counts[keys[i]])
			reason = reason == DP_REASON_COUNT && sum == counts[keys[i]] + 1
					 ? keys[i]
					 : DP_REASON_SLOTS;
		counts[keys[i]] = sum;
	}
	return reason;
}

/* False: the kernel's test run does not take such a frame. */
static bool run(const struct bf *b, enum model_hook hook, const uint8_t *frame, size_t len,
		uint32_t mark, struct got *ret_got)
{
	static uint8_t out[MODEL_FRAME_MAX + 256];
	struct __sk_buff skb = {.mark = mark}, skb_out = {};
	struct xdp_md xdp = {.data_end = (uint32_t)len}, xdp_out = {};
	bool is_xdp = hook == MODEL_XDP;
	size_t meta;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = (uint32_t)len,
		    .data_out = out, .data_size_out = sizeof(out), .repeat = 1);

	o.ctx_in = is_xdp ? (void *)&xdp : (void *)&skb;
	o.ctx_size_in = is_xdp ? sizeof(xdp) : sizeof(skb);
	o.ctx_out = is_xdp ? (void *)&xdp_out : (void *)&skb_out;
	o.ctx_size_out = o.ctx_size_in;
	if (bpf_prog_test_run_opts(bf_program_fd(b, hooks[hook].prog), &o)) {
		assert_int_equal(errno, EINVAL);
		return false;
	}
	meta = is_xdp ? xdp_out.data : 0;
	memset(ret_got, 0, sizeof(*ret_got));
	ret_got->action = (int)o.retval;
	ret_got->reason = counted(b);
	ret_got->mark = skb_out.mark;
	ret_got->has_verdict = meta == sizeof(ret_got->verdict);
	if (ret_got->has_verdict)
		memcpy(&ret_got->verdict, out, sizeof(ret_got->verdict));
	ret_got->frame = out + meta;
	ret_got->len = o.data_size_out - meta;
	return true;
}

/* ---- The comparison ---- */

static bool is_sum(const struct model_answer *a, size_t at)
{
	for (size_t i = 0; i < a->sums; i++)
		if (at == a->sum_at[i] || at == a->sum_at[i] + 1)
			return true;
	return false;
}

/* Checksums of 0 and of 0xffff are one. */
static bool is_same_sum(const uint8_t *x, const uint8_t *y)
{
	uint32_t a = model_get16(x), b = model_get16(y);

	return a == b || (a % 0xffff == 0 && b % 0xffff == 0);
}

static bool is_same_frame(const struct got *got)
{
	if (got->len != want.len)
		return false;
	for (size_t i = want.same_from; i < want.len; i++)
		if (got->frame[i] != want.frame[i] && !is_sum(&want, i))
			return false;
	for (size_t i = 0; i < want.sums; i++)
		if (!is_same_sum(got->frame + want.sum_at[i], want.frame + want.sum_at[i]))
			return false;
	return true;
}

static const char *difference(enum model_hook hook, const struct got *got)
{
	bool is_drop = want.action == (hook == MODEL_XDP ? 1 : 2);

	/* How many answers there were in this window the model does not know. */
	if ((want.reason == DP_R_ECHO_ANSWERED && got->reason == DP_R_ICMP_LIMITED) ||
	    (want.reason == DP_R_PING_ANSWERED && got->reason == DP_R_PING_LIMITED))
		return NULL;
	if (got->reason != want.reason)
		return "reason";
	if (got->action != want.action)
		return "action";
	if (is_drop)
		return NULL;
	if (hook == MODEL_XDP && want.action == 2 &&
	    (!got->has_verdict || got->verdict.verdict != want.verdict ||
	     got->verdict.row != want.verdict_row || got->verdict.svc_idx != want.svc_idx))
		return "verdict";
	if (hook != MODEL_XDP && got->mark != want.mark)
		return "mark";
	return is_same_frame(got) ? NULL : "frame";
}

static void hex(const char *what, const uint8_t *p, size_t len)
{
	print_message("%s (%zu)", what, len);
	for (size_t i = 0; i < len; i++)
		print_message("%s%02x", i % 32 ? "" : "\n  ", p[i]);
	print_message("\n");
}

static const char *name_of(uint32_t reason)
{
	return reason < DP_REASON_COUNT ? reason_names[reason] : "none or several";
}

static void explain(uint64_t seed, int no, enum model_hook hook, const char *what,
		    const uint8_t *frame, size_t len, const struct got *got)
{
	print_message("SEED=%llu frame %d at %s: they differ in %s\n", (unsigned long long)seed, no,
		      hooks[hook].name, what);
	print_message("model:   %s, action %d, verdict %u row %u service %u, mark %x\n",
		      name_of(want.reason), want.action, want.verdict, want.verdict_row,
		      want.svc_idx, want.mark);
	print_message("program: %s, action %d, verdict %u row %u service %u, mark %x\n",
		      name_of(got->reason), got->action, got->verdict.verdict, got->verdict.row,
		      got->verdict.svc_idx, got->mark);
	hex("frame", frame, len);
	hex("model's", want.frame, want.len);
	hex("program's", got->frame, got->len);
}

static enum model_hook pick_hook(uint64_t *seed)
{
	uint32_t n = world_rnd(seed, 100), hook = 0;

	while (hook + 1 < MODEL_HOOKS && n >= hooks[hook].share)
		n -= hooks[hook++].share;
	return (enum model_hook)hook;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void change(const struct bf *b, uint64_t *seed)
{
	const void *value;
	uint32_t idx;
	const char *map = world_change(&world, seed, &idx, &value);

	put(b, map, &idx, value);
}

static void one_world(const struct bf *b, uint64_t seed)
{
	uint64_t rnd = seed;
	struct dp_host host = bf_host();
	struct dp_self self = bf_self();
	double since;

	world_make(&world, &host, &self, &rnd);
	put_world(b);
	since = now_s();
	for (int i = 0; i < FRAMES; i++) {
		if (!world_rnd(&rnd, CHANGE_EVERY))
			change(b, &rnd);
		enum model_hook hook = pick_hook(&rnd);
		uint8_t frame[MODEL_FRAME_MAX];
		size_t len = world_frame(&world, hook, &rnd, frame);
		uint32_t mark = hook == MODEL_MESH_OUT && !world_rnd(&rnd, 4) ? BF_MARK : 0;
		const char *what;
		struct got got;

		before = world;
		model_run(&world, hook, frame, len, mark, &want);
		if (want.is_unknown || !run(b, hook, frame, len, mark, &got)) {
			world = before;
			unknown++;
			continue;
		}
		seen[hook][want.reason]++;
		what = difference(hook, &got);
		if (!what)
			continue;
		if (now_s() - since > WORLD_SECONDS_MAX) {
			print_message("SEED=%llu took too long, left\n", (unsigned long long)seed);
			return;
		}
		explain(seed, i, hook, what, frame, len, &got);
		fail();
	}
}

static uint64_t env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static void test_programs_when_compared_with_the_model_then_same(void **state)
{
	struct bf *b = *state;
	uint64_t first = env("SEED", 1), worlds = env("SEEDS", WORLDS);

	bf_need(b);
	(void)counted(b);
	print_message("SEED=%llu SEEDS=%llu\n", (unsigned long long)first,
		      (unsigned long long)worlds);
	for (uint64_t i = 0; i < worlds; i++)
		one_world(b, first + i);
	for (uint32_t hook = 0; hook < MODEL_HOOKS; hook++)
		for (uint32_t r = 0; r < DP_REASON_COUNT; r++)
			if (seen[hook][r])
				print_message("# %-8s %-18s %llu\n", hooks[hook].name,
					      reason_names[r], (unsigned long long)seen[hook][r]);
	print_message("# left out: %llu\n", (unsigned long long)unknown);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_programs_when_compared_with_the_model_then_same,
				       bf_setup),
	};

	return cmocka_run_group_tests(tests, bf_group_setup, bf_group_teardown);
}
