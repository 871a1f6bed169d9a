/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "edge/mapw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>

/* An mmapable array whose elements the kernel pads to 8 bytes: a 4-byte value takes two words. */
#define WORD_STRIDE 2u

struct area {
	void *p; /* MAP_FAILED or NULL = not mapped */
	size_t bytes;
};

enum {
	AREA_NODE,
	AREA_BACKEND,
	AREA_SVC,
	AREA_ROWS,
	AREA_PORTDIR,
	AREA_PORTPAGE,
	AREA_VIP,
	AREA_VIPSLOT,
	AREA_BEAT,
	AREA_CTL,
	AREA_COUNT
};

struct mapw {
	struct dp_fds fds;
	struct plan_sizes sizes;
	uint32_t locals;
	struct area area[AREA_COUNT];
	struct dp_node *node;
	uint64_t *backend;
	struct dp_svc *svc;
	struct dp_row *row;
	uint32_t *portdir, *portpage; /* WORD_STRIDE apart */
	struct dp_vip *vip;
	uint32_t *vipslot; /* WORD_STRIDE apart */
	struct dp_beat *beat;
	struct dp_ctl *ctl;
	/* mapw_image() */
	uint32_t *image_dir, *image_page, *image_slot;
};

/* What each map must look like; 0 = any. */
static int map_info(int fd, const char *name, enum bpf_map_type type, uint32_t key_size,
		    uint32_t value_size, uint32_t *ret_entries, struct err *e)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return err_set(e, -errno, "map %s: %s", name, strerror(errno));
	if (info.type != type || info.key_size != key_size || info.value_size != value_size)
		return err_set(e, -EPROTONOSUPPORT,
			       "map %s: got type %u, key %u, value %u bytes, want %u, %u, %u", name,
			       info.type, info.key_size, info.value_size, type, key_size,
			       value_size);
	if (ret_entries)
		*ret_entries = info.max_entries;
	return 0;
}

static int map_area(int fd, const char *name, uint32_t value_size, struct area *ret_area,
		    uint32_t *ret_entries, struct err *e)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct area a;
	int rc = map_info(fd, name, BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), value_size, ret_entries,
			  e);

	if (rc)
		return rc;
	a.bytes = (size_t)*ret_entries * ((value_size + 7u) & ~7u);
	a.bytes = (a.bytes + page - 1) / page * page;
	a.p = mmap(NULL, a.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (a.p == MAP_FAILED)
		return err_set(e, -errno, "map %s: cannot map it: %s", name, strerror(errno));
	*ret_area = a;
	return 0;
}

static int map_areas(struct mapw *m, struct err *e)
{
	const struct dp_fds *f = &m->fds;
	struct plan_sizes *s = &m->sizes;
	uint32_t slots, one;
	const struct {
		int fd;
		const char *name;
		uint32_t value_size;
		uint32_t *ret_entries;
	} want[AREA_COUNT] = {
		[AREA_NODE] = {f->node, "dp_node", sizeof(struct dp_node), &s->nodes},
		[AREA_BACKEND] = {f->backend, "dp_backend", sizeof(uint64_t), &s->backends},
		[AREA_SVC] = {f->svc, "dp_svc", sizeof(struct dp_svc), &s->svcs},
		[AREA_ROWS] = {f->rows, "dp_rows", sizeof(struct dp_row), &s->rows},
		[AREA_PORTDIR] = {f->portdir, "dp_portdir", sizeof(uint32_t), &s->dirs},
		[AREA_PORTPAGE] = {f->portpage, "dp_portpage", sizeof(uint32_t), &s->pages},
		[AREA_VIP] = {f->vip, "dp_vip", sizeof(struct dp_vip), &s->vips},
		[AREA_VIPSLOT] = {f->vipslot, "dp_vipslot", sizeof(uint32_t), &slots},
		[AREA_BEAT] = {f->beat, "dp_beat", sizeof(struct dp_beat), &one},
		[AREA_CTL] = {f->ctl, "dp_ctl", sizeof(struct dp_ctl), &one},
	};
	int rc = 0;

	for (size_t i = 0; i < AREA_COUNT && !rc; i++)
		rc = map_area(want[i].fd, want[i].name, want[i].value_size, &m->area[i],
			      want[i].ret_entries, e);
	if (rc)
		return rc;
	if (slots != DP_VIP_SLOTS)
		return err_set(e, -EPROTONOSUPPORT, "map dp_vipslot: got %u entries, want %u",
			       slots, DP_VIP_SLOTS);
	s->dirs /= DP_PORTS_PER_PAGE;
	s->pages /= DP_PORTS_PER_PAGE;
	return 0;
}

static int map_all(struct mapw *m, struct err *e)
{
	const struct dp_fds *f = &m->fds;
	const struct {
		int fd;
		const char *name;
		enum bpf_map_type type;
		uint32_t key_size, value_size;
		uint32_t *ret_entries;
	} want[] = {
		{f->vipmap, "dp_vipmap", BPF_MAP_TYPE_HASH, sizeof(struct dp_addr_key), 4, NULL},
		{f->known, "dp_known", BPF_MAP_TYPE_HASH, sizeof(struct dp_addr_key), 4, NULL},
		{f->num, "dp_num", BPF_MAP_TYPE_HASH, 4, 4, NULL},
		{f->quic, "dp_quic", BPF_MAP_TYPE_HASH, sizeof(struct dp_quic_key), 4, NULL},
		{f->filter, "dp_filter", BPF_MAP_TYPE_LPM_TRIE, sizeof(struct dp_filter_key), 4,
		 NULL},
		{f->local, "dp_local", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct dp_local), &m->locals},
		{f->meet, "dp_meet", BPF_MAP_TYPE_ARRAY, 4, 4, NULL},
		{f->host, "dp_host", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct dp_host), NULL},
		{f->self, "dp_self", BPF_MAP_TYPE_ARRAY, 4, sizeof(struct dp_self), NULL},
	};
	int rc = map_areas(m, e);

	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]) && !rc; i++)
		rc = map_info(want[i].fd, want[i].name, want[i].type, want[i].key_size,
			      want[i].value_size, want[i].ret_entries, e);
	return rc;
}

int mapw_open(const struct dp_fds *fds, struct mapw **ret_mapw, struct err *e)
{
	struct mapw *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return err_set(e, -ENOMEM, "map writer: out of memory");
	m->fds = *fds;
	rc = map_all(m, e);
	if (rc) {
		mapw_close(m);
		return rc;
	}
	m->node = m->area[AREA_NODE].p;
	m->backend = m->area[AREA_BACKEND].p;
	m->svc = m->area[AREA_SVC].p;
	m->row = m->area[AREA_ROWS].p;
	m->portdir = m->area[AREA_PORTDIR].p;
	m->portpage = m->area[AREA_PORTPAGE].p;
	m->vip = m->area[AREA_VIP].p;
	m->vipslot = m->area[AREA_VIPSLOT].p;
	m->beat = m->area[AREA_BEAT].p;
	m->ctl = m->area[AREA_CTL].p;
	*ret_mapw = m;
	return 0;
}

static void image_free(struct mapw *m)
{
	free(m->image_dir);
	free(m->image_page);
	free(m->image_slot);
	m->image_dir = m->image_page = m->image_slot = NULL;
}

void mapw_close(struct mapw *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < AREA_COUNT; i++)
		if (m->area[i].p)
			munmap(m->area[i].p, m->area[i].bytes);
	image_free(m);
	free(m);
}

const struct dp_fds *mapw_fds(const struct mapw *m)
{
	return &m->fds;
}

void mapw_set_flag(struct mapw *m, uint32_t flag, bool is_on)
{
	if (is_on)
		__atomic_or_fetch(&m->ctl->flags, flag, __ATOMIC_RELEASE);
	else
		__atomic_and_fetch(&m->ctl->flags, ~flag, __ATOMIC_RELEASE);
}

void mapw_quic_changed(struct mapw *m)
{
	__atomic_add_fetch(&m->ctl->quic_gen, 1, __ATOMIC_RELEASE);
}

void mapw_sizes(const struct mapw *m, struct plan_sizes *ret_sizes)
{
	*ret_sizes = m->sizes;
}

/* ---- operations */

static int write_addr(int fd, const uint8_t addr[16], uint32_t idx)
{
	struct dp_addr_key key;

	memcpy(key.addr, addr, sizeof(key.addr));
	return bpf_map_update_elem(fd, &key, &idx, BPF_ANY) ? -errno : 0;
}

static int remove_key(int fd, const void *key)
{
	return bpf_map_delete_elem(fd, key) && errno != ENOENT ? -errno : 0;
}

/* Everything but the state first: what sees the state sees the rest. */
static int write_node(struct mapw *m, const struct plan_op *op)
{
	struct dp_node *to = &m->node[op->idx], from = op->arg.node;
	int rc;

	to->node_num = from.node_num;
	memcpy(to->addr, from.addr, sizeof(to->addr));
	to->flags = from.flags;
	to->pad = 0;
	__atomic_store_n(&to->state, from.state, __ATOMIC_RELEASE);
	rc = write_addr(m->fds.known, from.addr, op->idx);
	if (!rc && bpf_map_update_elem(m->fds.num, &from.node_num, &op->idx, BPF_ANY))
		rc = -errno;
	return rc;
}

static int clear_node(struct mapw *m, const struct plan_op *op)
{
	static const struct dp_addr_key zero;
	struct dp_node *to = &m->node[op->idx];
	struct dp_addr_key key;
	int rc = 0;

	memcpy(key.addr, op->arg.node.addr, sizeof(key.addr));
	if (memcmp(&key, &zero, sizeof(zero)) != 0)
		rc = remove_key(m->fds.known, &key);
	if (!rc && op->arg.node.node_num)
		rc = remove_key(m->fds.num, &op->arg.node.node_num);
	if (rc)
		return rc;
	__atomic_store_n(&to->state, DP_NODE_DOWN, __ATOMIC_RELEASE);
	memset(to, 0, sizeof(*to));
	return 0;
}

/* The address of an entry in use never changes; its directories are words. */
static int write_vip(struct mapw *m, const struct plan_op *op)
{
	struct dp_vip *to = &m->vip[op->idx];
	const struct dp_vip *from = &op->arg.vip;

	__atomic_store_n(&to->dir_tcp, from->dir_tcp, __ATOMIC_RELAXED);
	__atomic_store_n(&to->dir_udp, from->dir_udp, __ATOMIC_RELAXED);
	__atomic_store_n(&to->flags, from->flags, __ATOMIC_RELAXED);
	to->pad = 0;
	memcpy(to->addr, from->addr, sizeof(to->addr));
	__atomic_thread_fence(__ATOMIC_RELEASE);
	return write_addr(m->fds.vipmap, from->addr, op->idx);
}

/* A table: rows, then (release) the word. A service that loses its table loses the word first. */
static void write_svc(struct mapw *m, const struct plan_op *op)
{
	uint64_t *to = (uint64_t *)(void *)&m->svc[op->idx], from[sizeof(struct dp_svc) / 8];

	_Static_assert(offsetof(struct dp_svc, table) == 0 && sizeof(struct dp_svc) % 8 == 0,
		       "the table is the first word");
	memcpy(from, &op->arg.svc, sizeof(from));
	if (!from[0])
		__atomic_store_n(&to[0], 0, __ATOMIC_RELEASE);
	for (size_t i = 1; i < sizeof(from) / sizeof(from[0]); i++)
		__atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
	__atomic_store_n(&to[0], from[0], __ATOMIC_RELEASE);
}

static void write_rows(struct mapw *m, const struct plan_op *op)
{
	memcpy(m->row + op->idx, op->arg.rows, op->count * sizeof(*m->row));
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void write_words(uint32_t *area, const struct plan_op *op)
{
	uint32_t *to = area + (size_t)op->idx * DP_PORTS_PER_PAGE * WORD_STRIDE;

	for (size_t i = 0; i < DP_PORTS_PER_PAGE; i++)
		__atomic_store_n(&to[i * WORD_STRIDE], op->arg.words[i], __ATOMIC_RELEASE);
}

static bool is_in_bounds(const struct mapw *m, const struct plan_op *op)
{
	switch (op->kind) {
	case PLAN_NODE:
	case PLAN_NODE_GONE:
	case PLAN_NODE_STATE:
		return op->idx && op->idx < m->sizes.nodes;
	case PLAN_BACKEND:
		return op->idx && op->idx < m->sizes.backends;
	case PLAN_ROWS:
		return (uint64_t)op->idx + op->count <= m->sizes.rows;
	case PLAN_SVC:
		return op->idx && op->idx < m->sizes.svcs;
	case PLAN_PORTPAGE:
		return op->idx && op->idx < m->sizes.pages;
	case PLAN_PORTDIR:
		return op->idx && op->idx < m->sizes.dirs;
	case PLAN_VIP:
		return op->idx && op->idx < m->sizes.vips && op->arg.vip.dir_tcp < m->sizes.dirs &&
		       op->arg.vip.dir_udp < m->sizes.dirs;
	case PLAN_VIP_SLOT:
		return op->idx < DP_VIP_SLOTS &&
		       (op->arg.slot < m->sizes.vips || op->arg.slot == DP_VIP_SLOT_ASK);
	case PLAN_VIP_GONE:
	case PLAN_VIP_FREE:
		return op->idx && op->idx < m->sizes.vips;
	}
	return false;
}

static int real_apply(void *arg, const struct plan_op *op)
{
	struct mapw *m = arg;
	struct dp_addr_key key;

	if (!is_in_bounds(m, op))
		return -ERANGE;
	switch (op->kind) {
	case PLAN_NODE:
		return write_node(m, op);
	case PLAN_NODE_GONE:
		return clear_node(m, op);
	case PLAN_NODE_STATE:
		__atomic_store_n(&m->node[op->idx].state, op->arg.node.state, __ATOMIC_RELEASE);
		return 0;
	case PLAN_BACKEND:
		__atomic_store_n(&m->backend[op->idx], op->arg.word, __ATOMIC_RELEASE);
		return 0;
	case PLAN_ROWS:
		write_rows(m, op);
		return 0;
	case PLAN_SVC:
		write_svc(m, op);
		return 0;
	case PLAN_PORTPAGE:
		write_words(m->portpage, op);
		return 0;
	case PLAN_PORTDIR:
		write_words(m->portdir, op);
		return 0;
	case PLAN_VIP:
		return write_vip(m, op);
	case PLAN_VIP_SLOT:
		__atomic_store_n(&m->vipslot[(size_t)op->idx * WORD_STRIDE], op->arg.slot,
				 __ATOMIC_RELEASE);
		return 0;
	case PLAN_VIP_GONE:
		memcpy(key.addr, op->arg.vip.addr, sizeof(key.addr));
		return remove_key(m->fds.vipmap, &key);
	case PLAN_VIP_FREE:
		memset(&m->vip[op->idx], 0, sizeof(m->vip[op->idx]));
		return 0;
	}
	return -EINVAL;
}

static int real_set_local(void *arg, uint32_t slot, const struct dp_local *local)
{
	struct mapw *m = arg;

	if (slot >= m->locals)
		return -ERANGE;
	return bpf_map_update_elem(m->fds.local, &slot, local, BPF_ANY) ? -errno : 0;
}

static int real_set_self(void *arg, const struct dp_self *self)
{
	struct mapw *m = arg;
	uint32_t zero = 0;

	return bpf_map_update_elem(m->fds.self, &zero, self, BPF_ANY) ? -errno : 0;
}

struct mapw_ops mapw_real_ops(struct mapw *m)
{
	return (struct mapw_ops){.arg = m,
				 .apply = real_apply,
				 .set_local = real_set_local,
				 .set_self = real_set_self};
}

int mapw_apply(const struct mapw_ops *ops, const struct plan_list *l, struct err *e)
{
	for (size_t i = 0; i < l->op_count; i++) {
		const struct plan_op *op = &l->op[i];
		char vip[IP_TEXT_MAX] = "";
		struct ip_addr a;
		int rc = ops->apply(ops->arg, op);

		if (!rc)
			continue;
		if (op->kind == PLAN_VIP || op->kind == PLAN_VIP_GONE) {
			memcpy(a.b, op->arg.vip.addr, sizeof(a.b));
			ip_text(&a, vip);
		}
		return err_set(e, rc, "map write %zu of %zu: %s %u%s%s: %s", i + 1, l->op_count,
			       plan_op_text(op->kind), op->idx, vip[0] ? " " : "", vip,
			       strerror(-rc));
	}
	return 0;
}

/* ---- reading */

void mapw_beat(struct mapw *m, uint64_t now_s)
{
	uint64_t s = now_s;

	__atomic_store_n(&m->beat->edged_s, s, __ATOMIC_RELAXED);
}

uint64_t mapw_edgefwd_beat(const struct mapw *m)
{
	return __atomic_load_n(&m->beat->edgefwd_s, __ATOMIC_RELAXED);
}

int mapw_get_host(const struct mapw *m, struct dp_host *ret_host)
{
	struct dp_host host;
	uint32_t zero = 0;

	if (bpf_map_lookup_elem(m->fds.host, &zero, &host))
		return -errno;
	*ret_host = host;
	return 0;
}

int mapw_get_local(const struct mapw *m, uint32_t slot, struct dp_local *ret_local)
{
	struct dp_local local;

	if (slot >= m->locals)
		return -ERANGE;
	if (bpf_map_lookup_elem(m->fds.local, &slot, &local))
		return -errno;
	*ret_local = local;
	return 0;
}

bool mapw_node_addr(const struct mapw *m, uint32_t node_idx, uint8_t ret_addr[16])
{
	static const uint8_t none[16];

	if (!node_idx || node_idx >= m->sizes.nodes ||
	    __atomic_load_n(&m->node[node_idx].state, __ATOMIC_ACQUIRE) == DP_NODE_DOWN)
		return false;
	memcpy(ret_addr, m->node[node_idx].addr, sizeof(none));
	return memcmp(ret_addr, none, sizeof(none)) != 0;
}

static uint32_t *packed_words(const uint32_t *area, size_t n)
{
	uint32_t *w = calloc(n ? n : 1, sizeof(*w));

	for (size_t i = 0; w && i < n; i++)
		w[i] = area[i * WORD_STRIDE];
	return w;
}

int mapw_image(struct mapw *m, struct plan_image *ret_image, struct err *e)
{
	image_free(m);
	m->image_dir = packed_words(m->portdir, (size_t)m->sizes.dirs * DP_PORTS_PER_PAGE);
	m->image_page = packed_words(m->portpage, (size_t)m->sizes.pages * DP_PORTS_PER_PAGE);
	m->image_slot = packed_words(m->vipslot, DP_VIP_SLOTS);
	if (!m->image_dir || !m->image_page || !m->image_slot)
		return err_set(e, -ENOMEM, "map image: out of memory");
	*ret_image = (struct plan_image){
		.sizes = m->sizes,
		.node = m->node,
		.backend = m->backend,
		.svc = m->svc,
		.row = m->row,
		.portdir = m->image_dir,
		.portpage = m->image_page,
		.vip = m->vip,
		.vipslot = m->image_slot,
	};
	return 0;
}
