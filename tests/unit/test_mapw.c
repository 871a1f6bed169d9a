/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Operations through real maps, read back as the kernel has them. Needs CAP_BPF, else the cases skip. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "bpf/dp_hash.h"
#include "edge/mapw.h"

struct maps {
	struct dp_fds fds;
	struct mapw *m;
	struct mapw_ops ops;
};

static const struct plan_sizes want_sizes = {
	.svcs = 16, .backends = 32, .nodes = 16, .rows = 5000, .pages = 8, .dirs = 8, .vips = 30};

static int create(enum bpf_map_type type, const char *name, uint32_t key, size_t value,
		  uint32_t entries, bool is_mmapable)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts,
		    .map_flags = is_mmapable ? (uint32_t)BPF_F_MMAPABLE : 0u);

	return bpf_map_create(type, name, key, (uint32_t)value, entries, &opts);
}

static int array(const char *name, size_t value, uint32_t entries)
{
	return create(BPF_MAP_TYPE_ARRAY, name, 4, value, entries, true);
}

static int setup(void **state)
{
	LIBBPF_OPTS(bpf_map_create_opts, no_prealloc, .map_flags = BPF_F_NO_PREALLOC);
	struct maps *t = calloc(1, sizeof(*t));
	const struct plan_sizes *s = &want_sizes;
	struct err e;
	int *fd;

	if (!t)
		return -1;
	t->fds = (struct dp_fds){
		.host = create(BPF_MAP_TYPE_ARRAY, "t_host", 4, sizeof(struct dp_host), 1, false),
		.self = create(BPF_MAP_TYPE_ARRAY, "t_self", 4, sizeof(struct dp_self), 1, false),
		.beat = array("t_beat", sizeof(struct dp_beat), 1),
		.vip = array("t_vip", sizeof(struct dp_vip), s->vips),
		.vipmap = create(BPF_MAP_TYPE_HASH, "t_vipmap", sizeof(struct dp_addr_key), 4, 4,
				 false),
		.vipslot = array("t_vipslot", 4, DP_VIP_SLOTS),
		.portdir = array("t_portdir", 4, s->dirs * 256),
		.portpage = array("t_portpage", 4, s->pages * 256),
		.svc = array("t_svc", sizeof(struct dp_svc), s->svcs),
		.rows = array("t_rows", sizeof(struct dp_row), s->rows),
		.backend = array("t_backend", 8, s->backends),
		.node = array("t_node", sizeof(struct dp_node), s->nodes),
		.known = create(BPF_MAP_TYPE_HASH, "t_known", sizeof(struct dp_addr_key), 4, 16,
				false),
		.num = create(BPF_MAP_TYPE_HASH, "t_num", 4, 4, 16, false),
		.quic = create(BPF_MAP_TYPE_HASH, "t_quic", sizeof(struct dp_quic_key), 4, 16,
			       false),
		.filter = bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "t_filter",
					 sizeof(struct dp_filter_key), 4, 16, &no_prealloc),
		.ctl = array("t_ctl", sizeof(struct dp_ctl), 1),
		.local = create(BPF_MAP_TYPE_ARRAY, "t_local", 4, sizeof(struct dp_local), 64,
				false),
		.meet = create(BPF_MAP_TYPE_ARRAY, "t_meet", 4, 4, DP_MEET_ROWS, false),
	};
	*state = t;
	for (fd = (int *)&t->fds; fd < (int *)(&t->fds + 1); fd++)
		if (*fd == 0)
			*fd = -1; /* maps that mapw does not look at */
	if (t->fds.host < 0)
		return 0; /* the cases skip */
	if (mapw_open(&t->fds, &t->m, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	t->ops = mapw_real_ops(t->m);
	return 0;
}

static int teardown(void **state)
{
	struct maps *t = *state;
	const int *fd = (const int *)&t->fds;

	mapw_close(t->m);
	for (int i = 0; i < DP_FD_COUNT; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	free(t);
	return 0;
}

static void need_maps(const struct maps *t)
{
	if (t->m)
		return;
	print_message("# skipped: the kernel does not let us create BPF maps (needs CAP_BPF)\n");
	skip();
}

static struct plan_list one(struct plan_op *op)
{
	return (struct plan_list){.op = op, .op_count = 1, .op_cap = 1};
}

static void apply_ok(struct maps *t, struct plan_op op)
{
	struct plan_list l = one(&op);
	struct err e;

	if (mapw_apply(&t->ops, &l, &e))
		fail_msg("%s", e.text);
}

static uint32_t word_at(int fd, uint32_t i)
{
	uint32_t v = 0;

	assert_int_equal(bpf_map_lookup_elem(fd, &i, &v), 0);
	return v;
}

static void test_open_when_maps_are_right_then_sizes_are_theirs(void **state)
{
	struct maps *t = *state;
	struct plan_sizes s;

	need_maps(t);
	mapw_sizes(t->m, &s);
	assert_memory_equal(&s, &want_sizes, sizeof(s));
}

static void test_open_when_a_map_differs_then_named_and_refused(void **state)
{
	struct maps *t = *state;
	struct dp_fds fds = t->fds;
	struct mapw *m = NULL;
	struct err e;

	need_maps(t);
	fds.svc = t->fds.rows;
	assert_int_equal(mapw_open(&fds, &m, &e), -EPROTONOSUPPORT);
	assert_non_null(strstr(e.text, "dp_svc"));
	assert_null(m);
	fds.svc = -1;
	assert_true(mapw_open(&fds, &m, &e) < 0);
	assert_non_null(strstr(e.text, "dp_svc"));
	/* Not mmapable. */
	fds = t->fds;
	fds.backend = create(BPF_MAP_TYPE_ARRAY, "t_plain", 4, 8, 32, false);
	assert_true(fds.backend >= 0);
	assert_true(mapw_open(&fds, &m, &e) < 0);
	assert_non_null(strstr(e.text, "dp_backend"));
	close(fds.backend);
}

static void test_apply_when_node_comes_and_goes_then_known_follows(void **state)
{
	struct maps *t = *state;
	struct plan_op op = {
		.kind = PLAN_NODE,
		.idx = 3,
		.arg.node = {.state = DP_NODE_UP, .node_num = 77, .flags = DP_NODE_SELF}};
	struct dp_addr_key key;
	struct dp_node got;
	uint32_t idx = 3, known, num = 77;

	need_maps(t);
	memset(op.arg.node.addr, 9, 16);
	memcpy(key.addr, op.arg.node.addr, 16);
	apply_ok(t, op);
	assert_int_equal(bpf_map_lookup_elem(t->fds.node, &idx, &got), 0);
	assert_memory_equal(&got, &op.arg.node, sizeof(got));
	assert_int_equal(bpf_map_lookup_elem(t->fds.known, &key, &known), 0);
	assert_int_equal(known, 3);
	assert_int_equal(bpf_map_lookup_elem(t->fds.num, &num, &known), 0);
	assert_int_equal(known, 3);
	op.kind = PLAN_NODE_STATE;
	op.arg.node.state = DP_NODE_DOWN;
	apply_ok(t, op);
	assert_int_equal(bpf_map_lookup_elem(t->fds.node, &idx, &got), 0);
	assert_int_equal(got.state, DP_NODE_DOWN);
	assert_int_equal(got.node_num, 77);
	op.kind = PLAN_NODE_GONE;
	/* Another has the address, this node another index: dp_known and dp_num stay. */
	memset(op.arg.node.addr, 0, 16);
	op.arg.node.node_num = 0;
	apply_ok(t, op);
	assert_int_equal(bpf_map_lookup_elem(t->fds.node, &idx, &got), 0);
	assert_int_equal(got.node_num, 0);
	assert_int_equal(bpf_map_lookup_elem(t->fds.known, &key, &known), 0);
	assert_int_equal(bpf_map_lookup_elem(t->fds.num, &num, &known), 0);
	memcpy(op.arg.node.addr, key.addr, 16);
	op.arg.node.node_num = num;
	apply_ok(t, op);
	assert_int_not_equal(bpf_map_lookup_elem(t->fds.known, &key, &known), 0);
	assert_int_not_equal(bpf_map_lookup_elem(t->fds.num, &num, &known), 0);
	apply_ok(t, op); /* gone twice is gone */
}

static void test_apply_when_words_and_tables_then_kernel_has_them(void **state)
{
	struct dp_row rows[251], row;
	uint32_t page[256], idx;
	struct maps *t = *state;
	struct dp_svc svc;
	uint64_t word;
	struct plan_op op = {
		.kind = PLAN_BACKEND, .idx = 31, .arg.word = DP_BE_WORD(DP_BE_UP, 3, 0xabcdef)};

	need_maps(t);
	apply_ok(t, op);
	idx = 31;
	assert_int_equal(bpf_map_lookup_elem(t->fds.backend, &idx, &word), 0);
	assert_true(word == op.arg.word);
	for (uint32_t i = 0; i < 251; i++)
		rows[i] = (struct dp_row){.owner = i + 1};
	apply_ok(t,
		 (struct plan_op){.kind = PLAN_ROWS, .idx = 4749, .count = 251, .arg.rows = rows});
	for (uint32_t i = 0; i < 251; i++) {
		idx = 4749 + i;
		assert_int_equal(bpf_map_lookup_elem(t->fds.rows, &idx, &row), 0);
		assert_int_equal(row.owner, i + 1);
	}
	op = (struct plan_op){.kind = PLAN_SVC,
			      .idx = 15,
			      .arg.svc = {.table = DP_TABLE(4749, 0),
					  .rows = 251,
					  .port_lo = 53,
					  .hash = 1,
					  .family = 6,
					  .svc_id = 9}};
	apply_ok(t, op);
	idx = 15;
	assert_int_equal(bpf_map_lookup_elem(t->fds.svc, &idx, &svc), 0);
	assert_memory_equal(&svc, &op.arg.svc, sizeof(svc));
	apply_ok(t, (struct plan_op){.kind = PLAN_SVC, .idx = 15});
	assert_int_equal(bpf_map_lookup_elem(t->fds.svc, &idx, &svc), 0);
	assert_int_equal(svc.table, 0);
	assert_int_equal(svc.family, 0);
	/* Four-byte values lie eight bytes apart in the mapped area: the neighbours must stay untouched. */
	for (uint32_t i = 0; i < 256; i++)
		page[i] = 1000 + i;
	apply_ok(t, (struct plan_op){.kind = PLAN_PORTPAGE, .idx = 7, .arg.words = page});
	apply_ok(t, (struct plan_op){.kind = PLAN_PORTDIR, .idx = 1, .arg.words = page});
	for (uint32_t i = 0; i < 256; i++) {
		assert_int_equal(word_at(t->fds.portpage, 7 * 256 + i), 1000 + i);
		assert_int_equal(word_at(t->fds.portpage, 6 * 256 + i), 0);
		assert_int_equal(word_at(t->fds.portdir, 256 + i), 1000 + i);
		assert_int_equal(word_at(t->fds.portdir, 2 * 256 + i), 0);
	}
}

static struct dp_vip vip_of(uint8_t last, uint32_t dir_udp)
{
	return (struct dp_vip){.addr = {[10] = 255, [11] = 255, [12] = 192, [15] = last},
			       .dir_udp = dir_udp};
}

static void test_apply_when_vip_then_added_changed_removed(void **state)
{
	struct plan_op op = {.kind = PLAN_VIP, .idx = 29, .arg.vip = vip_of(7, 5)};
	struct maps *t = *state;
	struct dp_addr_key key;
	struct dp_vip vip;
	uint32_t idx = 29, got;

	need_maps(t);
	memcpy(key.addr, op.arg.vip.addr, sizeof(key.addr));
	apply_ok(t, op);
	assert_int_equal(bpf_map_lookup_elem(t->fds.vip, &idx, &vip), 0);
	assert_memory_equal(&vip, &op.arg.vip, sizeof(vip));
	assert_int_equal(bpf_map_lookup_elem(t->fds.vipmap, &key, &got), 0);
	assert_int_equal(got, 29);
	op.arg.vip.dir_udp = 0;
	op.arg.vip.dir_tcp = 7;
	apply_ok(t, op);
	assert_int_equal(bpf_map_lookup_elem(t->fds.vip, &idx, &vip), 0);
	assert_memory_equal(&vip, &op.arg.vip, sizeof(vip));
	apply_ok(t, (struct plan_op){.kind = PLAN_VIP_SLOT, .idx = 16383, .arg.slot = 29});
	apply_ok(t, (struct plan_op){
			    .kind = PLAN_VIP_SLOT, .idx = 16381, .arg.slot = DP_VIP_SLOT_ASK});
	assert_int_equal(word_at(t->fds.vipslot, 16383), 29);
	assert_int_equal(word_at(t->fds.vipslot, 16382), 0);
	assert_int_equal(word_at(t->fds.vipslot, 16381), DP_VIP_SLOT_ASK);
	/* First from the hash, the entry later. */
	op.kind = PLAN_VIP_GONE;
	apply_ok(t, op);
	assert_int_not_equal(bpf_map_lookup_elem(t->fds.vipmap, &key, &got), 0);
	assert_int_equal(bpf_map_lookup_elem(t->fds.vip, &idx, &vip), 0);
	assert_int_equal(vip.dir_tcp, 7);
	apply_ok(t, op);
	op.kind = PLAN_VIP_FREE;
	apply_ok(t, op);
	assert_int_equal(bpf_map_lookup_elem(t->fds.vip, &idx, &vip), 0);
	assert_memory_equal(&vip, &(struct dp_vip){0}, sizeof(vip));
}

static void test_apply_when_out_of_bounds_then_names_the_operation(void **state)
{
	const struct {
		struct plan_op op;
		const char *says;
	} row[] = {
		{{.kind = PLAN_NODE, .idx = 16}, "node 16"},
		{{.kind = PLAN_NODE, .idx = 0}, "node 0"},
		{{.kind = PLAN_NODE_STATE, .idx = 16}, "node state 16"},
		{{.kind = PLAN_NODE_GONE, .idx = 99}, "node gone 99"},
		{{.kind = PLAN_BACKEND, .idx = 32}, "backend 32"},
		{{.kind = PLAN_ROWS, .idx = 4750, .count = 251}, "rows 4750"},
		{{.kind = PLAN_ROWS, .idx = UINT32_MAX, .count = 2}, "rows 4294967295"},
		{{.kind = PLAN_SVC, .idx = 16}, "service 16"},
		{{.kind = PLAN_PORTPAGE, .idx = 8}, "port page 8"},
		{{.kind = PLAN_PORTDIR, .idx = 0}, "port directory 0"},
		{{.kind = PLAN_VIP, .idx = 2, .arg.vip = vip_of(0, 8)}, "VIP 2 192.0.0.0"},
		{{.kind = PLAN_VIP, .idx = 30, .arg.vip = vip_of(1, 0)}, "VIP 30 192.0.0.1"},
		{{.kind = PLAN_VIP_SLOT, .idx = 16384}, "VIP slot 16384"},
		{{.kind = PLAN_VIP_SLOT, .idx = 1, .arg.slot = 30}, "VIP slot 1"},
		{{.kind = PLAN_VIP_GONE, .idx = 0}, "VIP gone 0"},
		{{.kind = PLAN_VIP_FREE, .idx = 30}, "VIP free 30"},
	};
	struct maps *t = *state;
	struct dp_local local;
	struct err e;

	need_maps(t);
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		struct plan_op op[2] = {{.kind = PLAN_BACKEND, .idx = 1}, row[i].op};
		struct plan_list l = {.op = op, .op_count = 2, .op_cap = 2};

		assert_int_equal(mapw_apply(&t->ops, &l, &e), -ERANGE);
		if (!strstr(e.text, row[i].says) || !strstr(e.text, "2 of 2"))
			fail_msg("'%s' does not say '%s'", e.text, row[i].says);
	}
	assert_int_equal(t->ops.set_local(t->ops.arg, 64, &(struct dp_local){0}), -ERANGE);
	assert_int_equal(mapw_get_local(t->m, 64, &local), -ERANGE);
}

static void test_apply_when_vip_map_is_full_then_the_error_is_the_kernels(void **state)
{
	struct maps *t = *state;
	struct plan_op op = {.kind = PLAN_VIP, .idx = 1};
	struct plan_list l = one(&op);
	struct err e;
	int rc = 0;

	need_maps(t);
	for (uint8_t i = 0; i < 10 && !rc; i++) {
		op.arg.vip = vip_of(i, 1);
		rc = mapw_apply(&t->ops, &l, &e);
	}
	assert_int_equal(rc, -E2BIG);
	assert_non_null(strstr(e.text, "VIP"));
	op.kind = PLAN_VIP_GONE;
	for (uint8_t i = 0; i < 10; i++) {
		op.arg.vip = vip_of(i, 1);
		assert_int_equal(mapw_apply(&t->ops, &l, &e), 0);
	}
}

static void test_local_self_beat_and_host_when_written_then_read_back(void **state)
{
	struct dp_local local = {.port = 53, .live = 1, .use_count = 1023}, got_local;
	struct dp_self self = {.seed = {1, 2}, .node_num = 3, .ready = 1}, got_self;
	struct dp_host host = {.abi = DP_ABI_VERSION, .mesh_mtu = 1420}, got_host;
	struct dp_beat beat = {0};
	struct maps *t = *state;
	uint32_t zero = 0;

	need_maps(t);
	assert_int_equal(t->ops.set_local(t->ops.arg, 63, &local), 0);
	assert_int_equal(mapw_get_local(t->m, 63, &got_local), 0);
	assert_memory_equal(&local, &got_local, sizeof(local));
	assert_int_equal(t->ops.set_self(t->ops.arg, &self), 0);
	assert_int_equal(bpf_map_lookup_elem(t->fds.self, &zero, &got_self), 0);
	assert_memory_equal(&self, &got_self, sizeof(self));
	assert_int_equal(bpf_map_update_elem(t->fds.host, &zero, &host, BPF_ANY), 0);
	assert_int_equal(mapw_get_host(t->m, &got_host), 0);
	assert_memory_equal(&host, &got_host, sizeof(host));
	beat.edgefwd_s = 55;
	assert_int_equal(bpf_map_update_elem(t->fds.beat, &zero, &beat, BPF_ANY), 0);
	mapw_beat(t->m, 66);
	assert_int_equal(mapw_edgefwd_beat(t->m), 55);
	assert_int_equal(bpf_map_lookup_elem(t->fds.beat, &zero, &beat), 0);
	assert_int_equal(beat.edged_s, 66);
	assert_int_equal(beat.edgefwd_s, 55);
}

/* ---- a whole plan, and back out of the maps */

struct tiny {
	struct route_node node;
	struct model_service service;
	struct route_backend backend;
	struct route_view view;
	struct route_plan *routes;
};

static void tiny_world(struct tiny *w)
{
	memset(w, 0, sizeof(*w));
	w->node = (struct route_node){.id = {{1, 2, 3, 4}}, .node = {.has_forwarder = true}};
	snprintf(w->node.node.region, MODEL_NAME_MAX, "fra");
	ip_parse("10.9.0.1", &w->node.node.mesh_addr);
	w->service = (struct model_service){
		.name = "dns", .vip_count = 1, .port = {{IPPROTO_UDP, {53, 53}}}, .port_count = 1};
	ip_parse("192.0.2.1", &w->service.vip[0]);
	w->backend = (struct route_backend){
		.backend = {.service = "dns", .port = 53, .weight = 1, .token = 5},
		.health = MODEL_HEALTH_PASSING};
	ip_parse("10.0.0.1", &w->backend.backend.addr);
	w->view = (struct route_view){.node = &w->node,
				      .node_count = 1,
				      .service = &w->service,
				      .service_count = 1,
				      .backend = &w->backend,
				      .backend_count = 1,
				      .region = "fra"};
	assert_int_equal(route_compute(&w->view, &w->routes), 0);
}

static void test_image_when_plan_was_applied_then_adoption_finds_it(void **state)
{
	struct maps *t = *state;
	struct plan_image image;
	struct plan_list l = {0};
	struct plan_sizes sizes;
	struct plan_state *s;
	struct tiny w;
	struct err e;

	need_maps(t);
	tiny_world(&w);
	mapw_sizes(t->m, &sizes);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	assert_int_equal(plan_diff(s, &w.view, w.routes, &w.node.id, 0, &l, &e), 0);
	assert_int_equal(mapw_apply(&t->ops, &l, &e), 0);
	plan_list_clear(&l);
	plan_state_free(s);

	assert_int_equal(mapw_image(t->m, &image, &e), 0);
	assert_int_equal(image.vip[1].addr[15], 1);
	assert_int_not_equal(image.vip[1].dir_udp, 0);
	assert_int_equal(image.vipslot[dp_vip_slot(image.vip[1].addr)], 1);
	assert_int_equal(plan_state_new(&sizes, &s), 0);
	assert_int_equal(plan_adopt(s, &image, &w.view, 0), 0);
	assert_int_equal(plan_node_idx(s, &w.node.id), 1);
	assert_int_equal(plan_backend_idx(s, &w.node.id, "dns/10.0.0.1:53"), 1);
	assert_int_equal(plan_svc_idx(s, "dns", 4, (struct ip_port_range){0}), 1);
	assert_int_equal(plan_diff(s, &w.view, w.routes, &w.node.id, 1, &l, &e), 0);
	for (size_t i = 0; i < l.op_count; i++)
		assert_true(l.op[i].kind == PLAN_NODE || l.op[i].kind == PLAN_SVC ||
			    l.op[i].kind == PLAN_VIP);
	assert_int_equal(mapw_apply(&t->ops, &l, &e), 0);
	plan_list_clear(&l);
	plan_state_free(s);
	route_free(w.routes);
}

/* edged has no capability: fds that it was handed must do. */
/* Real tries and hashes: written, read back by another process's eyes, emptied; full is the kernel's word. */
static void test_sets_when_written_then_read_back_sorted(void **state)
{
	struct maps *t = *state;

	need_maps(t);
	for (enum mapw_set which = MAPW_QUIC; which <= MAPW_FILTER; which++) {
		struct mapset_ops ops = mapw_set_ops(t->m, which);
		struct mapset have, want, again;
		struct err e = {0};
		uint32_t room;

		assert_int_equal(mapw_set_read(t->m, which, &have, &room, &e), 0);
		assert_true(have.count == 0 && room == 16);
		want = (struct mapset){.key_bytes = have.key_bytes};
		for (uint32_t i = 0; i < 16; i++) {
			struct dp_filter_key f = {.prefix_bits = 32 + 104 + i % 8, .svc_id = 9};
			struct dp_quic_key q = {
				.svc_id = 9, .server_id = i * 77, .family = i % 2 ? 4 : 6};

			f.addr[12] = (uint8_t)(i * 8);
			assert_int_equal(mapset_add(&want,
						    which == MAPW_QUIC ? (void *)&q : (void *)&f,
						    1 + i % 2),
					 0);
		}
		mapset_sort(&want);
		assert_int_equal(want.count, 16);
		assert_int_equal(mapset_apply(&have, &want, room, &ops, &e), 0);
		assert_int_equal(mapw_set_read(t->m, which, &again, &room, &e), 0);
		assert_int_equal(again.count, 16);
		assert_memory_equal(again.rows, have.rows, 16 * (have.key_bytes + 4));
		assert_int_equal(mapset_apply(&again, &want, room, &ops, &e), 0); /* nothing */
		mapset_clear(&have);
		assert_int_equal(mapw_set_read(t->m, which, &have, &room, &e), 0);
		assert_int_equal(have.count, 0);
		mapset_clear(&again);
		mapset_clear(&have);
	}
	mapw_set_flag(t->m, DP_CTL_FILTER, true);
	{
		struct dp_ctl ctl;

		assert_int_equal(bpf_map_lookup_elem(t->fds.ctl, &(uint32_t){0}, &ctl), 0);
		assert_int_equal(ctl.flags, DP_CTL_FILTER);
	}
	mapw_set_flag(t->m, DP_CTL_FILTER, false);
}

static void test_apply_when_unprivileged_then_works_through_the_fds(void **state)
{
	struct maps *t = *state;
	int status = -1;
	pid_t pid;

	need_maps(t);
	if (geteuid() != 0) {
		print_message("# skipped: needs root to become somebody else\n");
		skip();
	}
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct plan_op op = {.kind = PLAN_VIP, .idx = 1, .arg.vip = vip_of(1, 1)};
		struct plan_list l = one(&op);
		struct plan_image image;
		struct mapw_ops ops;
		struct mapw *m;
		struct err e;

		if (setgid(65534) || setuid(65534))
			_exit(2);
		if (mapw_open(&t->fds, &m, &e))
			_exit(3);
		ops = mapw_real_ops(m);
		if (mapw_apply(&ops, &l, &e))
			_exit(4);
		op = (struct plan_op){.kind = PLAN_BACKEND, .idx = 2, .arg.word = 77};
		if (mapw_apply(&ops, &l, &e))
			_exit(5);
		if (mapw_image(m, &image, &e))
			_exit(6);
		mapw_close(m);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_open_when_maps_are_right_then_sizes_are_theirs,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_open_when_a_map_differs_then_named_and_refused,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_apply_when_node_comes_and_goes_then_known_follows, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_apply_when_words_and_tables_then_kernel_has_them, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sets_when_written_then_read_back_sorted, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_apply_when_vip_then_added_changed_removed,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_apply_when_out_of_bounds_then_names_the_operation, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_apply_when_vip_map_is_full_then_the_error_is_the_kernels, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			test_local_self_beat_and_host_when_written_then_read_back, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_image_when_plan_was_applied_then_adoption_finds_it, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_apply_when_unprivileged_then_works_through_the_fds, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
