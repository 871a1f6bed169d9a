/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Shared records that gossip itself understands: removals. */
#include <string.h>

#include "gossip/record_table.h"

static const char hex[] = "0123456789abcdef";

static void removal_key(const struct node_id *id, uint8_t key[2 * NODE_ID_BYTES])
{
	for (size_t i = 0; i < NODE_ID_BYTES; i++) {
		key[2 * i] = (uint8_t)hex[id->b[i] >> 4];
		key[2 * i + 1] = (uint8_t)hex[id->b[i] & 15];
	}
}

bool table_is_removed(const struct gossip_core *c, const struct node_id *id)
{
	uint8_t key[2 * NODE_ID_BYTES];
	struct rec *r;

	removal_key(id, key);
	r = table_find(c, id, RECORD_KIND_REMOVAL, key, sizeof(key));
	return r && !r->blob->r.is_tombstone;
}
/* A removal came into force or was lifted. Our own records are kept, but count no more. */
void table_note_removal(struct gossip_core *c, const struct record *r)
{
	struct node_id id;
	struct origin *o;

	if (r->key_len != 2 * NODE_ID_BYTES)
		return;
	for (size_t i = 0; i < r->key_len; i++) {
		const char *digit = memchr(hex, r->key[i], 16);

		if (!digit)
			return;
		id.b[i / 2] = (uint8_t)(id.b[i / 2] << 4 | (digit - hex));
	}
	o = table_origin(c, &id);
	if (!o)
		return;
	if (o != c->own) {
		if (!r->is_tombstone)
			table_drop_origin(c, o);
		return;
	}
	if (o->is_removed == !r->is_tombstone)
		return;
	o->is_removed = !r->is_tombstone;
	if (o->is_removed)
		digest_sub(&c->root, &o->sum);
	else
		digest_add(&c->root, &o->sum);
}
