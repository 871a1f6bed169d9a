/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/unit/plan_mem.h - the forwarder's maps in plain memory; apply() asserts what each operation must not do. */
#ifndef PLAN_MEM_H
#define PLAN_MEM_H

#include "bpf/dp_hash.h"
#include "tests/unit/plan_world.h"

struct mem {
	struct dp_node node[24];
	uint64_t backend[60];
	struct dp_svc svc[100];
	struct dp_row row[120000];
	uint32_t portdir[24 * 256], portpage[60 * 256];
	struct dp_vip vip[12];
	uint32_t vipslot[DP_VIP_SLOTS];
	struct mem_addrs { /* a hash by address */
		struct {
			uint8_t addr[16];
			uint32_t idx;
		} at[64];
		size_t count;
	} known, vipmap;
	struct {
		uint32_t node_num, idx;
	} num[64];
	size_t num_count;
};

static void addrs_del(struct mem_addrs *h, const uint8_t a[16])
{
	for (size_t i = 0; i < h->count; i++)
		if (memcmp(h->at[i].addr, a, 16) == 0)
			h->at[i--] = h->at[--h->count];
}

static uint32_t addrs_get(const struct mem_addrs *h, const uint8_t a[16])
{
	for (size_t i = 0; i < h->count; i++)
		if (memcmp(h->at[i].addr, a, 16) == 0)
			return h->at[i].idx;
	return 0;
}

static void addrs_put(struct mem_addrs *h, const uint8_t a[16], uint32_t idx)
{
	addrs_del(h, a);
	assert_true(h->count < 64);
	memcpy(h->at[h->count].addr, a, 16);
	h->at[h->count++].idx = idx;
}

static void num_del(struct mem *m, uint32_t node_num)
{
	for (size_t i = 0; i < m->num_count; i++)
		if (m->num[i].node_num == node_num)
			m->num[i--] = m->num[--m->num_count];
}

static inline uint32_t num_get(const struct mem *m, uint32_t node_num)
{
	for (size_t i = 0; i < m->num_count; i++)
		if (m->num[i].node_num == node_num)
			return m->num[i].idx;
	return 0;
}

/* As a program looks a VIP up: NULL = none of ours. */
static const struct dp_vip *vip_get(const struct mem *m, const uint8_t a[16])
{
	uint32_t idx = m->vipslot[dp_vip_slot(a)];

	if (idx == DP_VIP_SLOT_ASK)
		idx = addrs_get(&m->vipmap, a);
	assert_true(idx < sizes.vips);
	return idx && memcmp(m->vip[idx].addr, a, 16) == 0 ? &m->vip[idx] : NULL;
}

static uint32_t table_rows(uint64_t table)
{
	return table & DP_TABLE_VALID ? maglev_size((uint8_t)DP_TABLE_CLASS(table)) : 0;
}

static bool is_referred(const struct mem *m, uint32_t backend_idx)
{
	for (size_t s = 1; s < sizes.svcs; s++)
		for (uint32_t i = 0; i < table_rows(m->svc[s].table); i++)
			if (m->row[DP_TABLE_OFFSET(m->svc[s].table) + i].owner == backend_idx ||
			    m->row[DP_TABLE_OFFSET(m->svc[s].table) + i].prev == backend_idx)
				return true;
	return false;
}

static bool is_svc_in_dir(const struct mem *m, uint32_t dir, uint32_t svc_idx)
{
	for (uint32_t h = 0; dir && h < 256; h++) {
		uint32_t page = m->portdir[dir * 256 + h];

		for (uint32_t p = 0; page && p < 256; p++)
			if (m->portpage[page * 256 + p] == svc_idx)
				return true;
	}
	return false;
}

static bool is_vip_reachable(const struct mem *m, uint32_t idx)
{
	const struct dp_vip *v = vip_get(m, m->vip[idx].addr);

	return v && v == &m->vip[idx];
}

static bool is_svc_reachable(const struct mem *m, uint32_t svc_idx)
{
	for (uint32_t v = 1; v < sizes.vips; v++)
		if (is_vip_reachable(m, v) && (is_svc_in_dir(m, m->vip[v].dir_tcp, svc_idx) ||
					       is_svc_in_dir(m, m->vip[v].dir_udp, svc_idx)))
			return true;
	return false;
}

static void apply_node(struct mem *m, const struct plan_op *op)
{
	struct dp_node *n = &m->node[op->idx];

	assert_in_range(op->idx, 1, sizes.nodes - 1);
	switch (op->kind) {
	case PLAN_NODE:
		/* An index is another node's only after it was empty. */
		if (n->node_num)
			assert_int_equal(n->node_num, op->arg.node.node_num);
		if (n->node_num)
			assert_memory_equal(n->addr, op->arg.node.addr, 16);
		*n = op->arg.node;
		addrs_put(&m->known, n->addr, op->idx);
		num_del(m, n->node_num);
		assert_true(m->num_count < 64);
		m->num[m->num_count].node_num = n->node_num;
		m->num[m->num_count++].idx = op->idx;
		return;
	case PLAN_NODE_STATE:
		assert_true(n->node_num);
		n->state = op->arg.node.state;
		return;
	default:
		for (size_t b = 1; b < sizes.backends; b++)
			if (DP_BE_STATE(m->backend[b]) == DP_BE_UP)
				assert_int_not_equal(DP_BE_NODE(m->backend[b]), op->idx);
		addrs_del(&m->known, op->arg.node.addr);
		num_del(m, op->arg.node.node_num);
		memset(n, 0, sizeof(*n));
	}
}

static void apply_vip(struct mem *m, const struct plan_op *op)
{
	static const struct dp_vip none;
	struct dp_vip *v = &m->vip[op->idx];

	assert_in_range(op->idx, 1, sizes.vips - 1);
	switch (op->kind) {
	case PLAN_VIP:
		/* An index is another VIP's only after it was empty. */
		if (memcmp(v, &none, sizeof(none)) != 0)
			assert_memory_equal(v->addr, op->arg.vip.addr, 16);
		*v = op->arg.vip;
		addrs_put(&m->vipmap, v->addr, op->idx);
		return;
	case PLAN_VIP_GONE:
		assert_false(is_vip_reachable(m, op->idx));
		assert_memory_equal(v->addr, op->arg.vip.addr, 16);
		addrs_del(&m->vipmap, v->addr);
		return;
	default:
		assert_false(is_vip_reachable(m, op->idx));
		*v = none;
	}
}

static void apply_slot(struct mem *m, const struct plan_op *op)
{
	assert_true(op->idx < DP_VIP_SLOTS);
	m->vipslot[op->idx] = op->arg.slot;
	/* Whoever is asked for there is already in its place. */
	if (!op->arg.slot)
		return;
	if (op->arg.slot != DP_VIP_SLOT_ASK) {
		assert_in_range(op->arg.slot, 1, sizes.vips - 1);
		assert_int_equal(dp_vip_slot(m->vip[op->arg.slot].addr), op->idx);
		assert_int_equal(addrs_get(&m->vipmap, m->vip[op->arg.slot].addr), op->arg.slot);
	}
}

static void apply_svc(struct mem *m, const struct plan_op *op)
{
	struct dp_svc *s = &m->svc[op->idx];

	assert_in_range(op->idx, 1, sizes.svcs - 1);
	if (!op->arg.svc.family)
		assert_false(is_svc_reachable(m, op->idx));
	else if (s->family)
		assert_true(s->svc_id == op->arg.svc.svc_id && s->family == op->arg.svc.family);
	*s = op->arg.svc;
	assert_int_equal(table_rows(s->table), s->rows);
}

static void apply(struct mem *m, const struct plan_op *op)
{
	switch (op->kind) {
	case PLAN_NODE:
	case PLAN_NODE_STATE:
	case PLAN_NODE_GONE:
		apply_node(m, op);
		return;
	case PLAN_BACKEND:
		assert_in_range(op->idx, 1, sizes.backends - 1);
		if (op->arg.word == 0)
			assert_false(is_referred(m, op->idx));
		else if (m->backend[op->idx])
			assert_int_equal(DP_BE_TOKEN(m->backend[op->idx]),
					 DP_BE_TOKEN(op->arg.word));
		m->backend[op->idx] = op->arg.word;
		return;
	case PLAN_ROWS:
		assert_true(op->idx + op->count <= sizes.rows);
		for (size_t s = 1; s < sizes.svcs; s++) {
			uint32_t off = DP_TABLE_OFFSET(m->svc[s].table);

			/* Never into a table in force, but of the same rows. */
			if (op->idx == off && op->count == table_rows(m->svc[s].table))
				continue;
			assert_true(!table_rows(m->svc[s].table) || op->idx + op->count <= off ||
				    off + table_rows(m->svc[s].table) <= op->idx);
		}
		memcpy(m->row + op->idx, op->arg.rows, op->count * sizeof(m->row[0]));
		return;
	case PLAN_SVC:
		apply_svc(m, op);
		return;
	case PLAN_PORTPAGE:
		assert_in_range(op->idx, 1, sizes.pages - 1);
		memcpy(m->portpage + op->idx * 256, op->arg.words, 1024);
		return;
	case PLAN_PORTDIR:
		assert_in_range(op->idx, 1, sizes.dirs - 1);
		memcpy(m->portdir + op->idx * 256, op->arg.words, 1024);
		return;
	case PLAN_VIP:
	case PLAN_VIP_GONE:
	case PLAN_VIP_FREE:
		apply_vip(m, op);
		return;
	case PLAN_VIP_SLOT:
		apply_slot(m, op);
		return;
	}
}

#endif
