/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/unit/plan_mem.h - the forwarder's maps in plain memory; apply() asserts what each operation must not do. */
#ifndef PLAN_MEM_H
#define PLAN_MEM_H

#include "tests/unit/plan_world.h"

struct mem {
	struct dp_node node[24];
	uint64_t backend[60];
	struct dp_svc svc[20];
	struct dp_row row[60000];
	uint32_t portdir[24 * 256], portpage[60 * 256];
	struct dp_vip_key vip_key[64];
	struct dp_vip vip[64];
	size_t vip_count;
	struct {
		uint8_t addr[16];
		uint32_t idx;
	} known[64];
	size_t known_count;
};

static void known_del(struct mem *m, const uint8_t a[16])
{
	for (size_t i = 0; i < m->known_count; i++)
		if (memcmp(m->known[i].addr, a, 16) == 0)
			m->known[i--] = m->known[--m->known_count];
}

static uint32_t known_get(const struct mem *m, const uint8_t a[16])
{
	for (size_t i = 0; i < m->known_count; i++)
		if (memcmp(m->known[i].addr, a, 16) == 0)
			return m->known[i].idx;
	return 0;
}

static struct dp_vip *vip_get(struct mem *m, const struct dp_vip_key *key)
{
	for (size_t i = 0; i < m->vip_count; i++)
		if (memcmp(&m->vip_key[i], key, sizeof(*key)) == 0)
			return &m->vip[i];
	return NULL;
}

static uint32_t table_rows(uint64_t table)
{
	return table & DP_TABLE_VALID ? maglev_size((uint8_t)DP_TABLE_CLASS(table)) : 0;
}

static bool is_referred(const struct mem *m, uint32_t backend_idx)
{
	for (size_t s = 1; s < sizes.svcs; s++)
		for (uint32_t i = 0; i < table_rows(m->svc[s].table); i++)
			if (m->row[DP_TABLE_OFFSET(m->svc[s].table) + i].owner == backend_idx)
				return true;
	return false;
}

static bool is_svc_reachable(const struct mem *m, uint32_t svc_idx)
{
	for (size_t v = 0; v < m->vip_count; v++) {
		for (uint32_t h = 0; m->vip[v].dir_idx && h < 256; h++) {
			uint32_t page = m->portdir[m->vip[v].dir_idx * 256 + h];

			for (uint32_t p = 0; page && p < 256; p++)
				if (m->portpage[page * 256 + p] == svc_idx)
					return true;
		}
	}
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
		known_del(m, n->addr);
		assert_true(m->known_count < 64);
		memcpy(m->known[m->known_count].addr, n->addr, 16);
		m->known[m->known_count++].idx = op->idx;
		return;
	case PLAN_NODE_STATE:
		assert_true(n->node_num);
		n->state = op->arg.node.state;
		return;
	default:
		for (size_t b = 1; b < sizes.backends; b++)
			if (DP_BE_STATE(m->backend[b]) == DP_BE_UP)
				assert_int_not_equal(DP_BE_NODE(m->backend[b]), op->idx);
		known_del(m, op->arg.node.addr);
		memset(n, 0, sizeof(*n));
	}
}

static void apply_ports(struct mem *m, const struct plan_op *op)
{
	struct dp_vip *v;

	switch (op->kind) {
	case PLAN_PORTPAGE:
		assert_in_range(op->idx, 1, sizes.pages - 1);
		memcpy(m->portpage + op->idx * 256, op->arg.words, 1024);
		return;
	case PLAN_PORTDIR:
		assert_in_range(op->idx, 1, sizes.dirs - 1);
		memcpy(m->portdir + op->idx * 256, op->arg.words, 1024);
		return;
	case PLAN_VIP:
		v = vip_get(m, &op->arg.vip_key);
		if (!v) {
			assert_true(m->vip_count < 64);
			m->vip_key[m->vip_count] = op->arg.vip_key;
			v = &m->vip[m->vip_count++];
		}
		*v = (struct dp_vip){.dir_idx = op->dir_idx};
		return;
	default:
		v = vip_get(m, &op->arg.vip_key);
		assert_non_null(v);
		*v = m->vip[--m->vip_count];
		m->vip_key[v - m->vip] = m->vip_key[m->vip_count];
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

			/* Never into a table in force. */
			assert_true(!table_rows(m->svc[s].table) || op->idx + op->count <= off ||
				    off + table_rows(m->svc[s].table) <= op->idx);
		}
		memcpy(m->row + op->idx, op->arg.rows, op->count * sizeof(m->row[0]));
		return;
	case PLAN_SVC:
		apply_svc(m, op);
		return;
	case PLAN_PORTPAGE:
	case PLAN_PORTDIR:
	case PLAN_VIP:
	case PLAN_VIP_GONE:
		apply_ports(m, op);
		return;
	}
}

#endif
