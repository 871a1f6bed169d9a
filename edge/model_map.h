/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/model_map.h - walking the map of a record value, and packing one; shared by edge/model*.c and others that read
 * parts of values.
 *
 *   model_map_open(&m, &r);
 *   while ((rc = model_map_next(&m)) > 0) { if (model_map_is(&m, "x")) rc = mp_read_...(&r, ...); else rc = mp_skip(&r);
 *                                           if (rc) return -EBADMSG; }
 *
 * Keys are text; a key that comes twice is refused, known or not. Pairs <= MODEL_MAP_PAIRS_MAX.
 */
#ifndef EDGE_MODEL_MAP_H
#define EDGE_MODEL_MAP_H

#include <msgpack.h>

#include "edge/model.h"
#include "gossip/mp.h"

#define MODEL_MAP_PAIRS_MAX 64

struct model_map {
	struct mp_reader *r;
	size_t pair_count, next;
	struct model_map_key {
		const char *text;
		size_t len;
	} key[MODEL_MAP_PAIRS_MAX]; /* key[next - 1] is the one at hand */
};

int model_map_open(struct model_map *m, struct mp_reader *r);
int model_map_next(
	struct model_map *m); /* 1 = a key, its value comes next in r; 0 = end | -EBADMSG */
bool model_map_is(const struct model_map *m, const char *key);

int model_read_u16(struct mp_reader *r, uint64_t max, uint16_t *ret_value);
int model_read_u32(struct mp_reader *r, uint64_t max, uint32_t *ret_value);
int model_read_u8(struct mp_reader *r, uint64_t max, uint8_t *ret_value);
int model_read_addr(struct mp_reader *r,
		    struct ip_addr *ret_addr); /* 4 or 16 bytes; 16 is never IPv4 */
int model_read_free_text(struct mp_reader *r, char *ret_text, size_t cap); /* printable UTF-8 */

struct model_packer {
	msgpack_packer pk;
	struct mp_buf buf;
};
void model_pack_begin(struct model_packer *p, uint8_t *buf, size_t cap, size_t pairs);
int model_pack_end(const struct model_packer *p); /* length | -EMSGSIZE */
void model_pack_text(struct model_packer *p, const char *text);
void model_pack_free_text(struct model_packer *p, const char *text, size_t cap);
void model_pack_bin(struct model_packer *p, const uint8_t *data, size_t len);
void model_pack_addr(struct model_packer *p, const struct ip_addr *a);
void model_pack_key_uint(struct model_packer *p, const char *key, uint64_t value);

int model_node_rules(const struct model_node *n); /* 0 | -EBADMSG */
int model_backend_rules(const struct model_backend *b);

/* edge/model_policy.c: the map of a service's policies; unknown ones are skipped */
bool model_policy_is_default(const struct model_policy *p);
int model_policy_read(struct mp_reader *r, struct model_policy *ret_policy); /* 0 | -EBADMSG */
void model_policy_pack(struct model_packer *p, const struct model_policy *policy);
int model_policy_rules(const struct model_policy *p); /* 0 | -EBADMSG */

/* edge/model_check.c */
int model_check_rules(const struct model_check *c); /* 0 | -EBADMSG */
int model_check_read(struct mp_reader *r, struct model_check *ret_check);
void model_check_pack(struct model_packer *p, const struct model_check *c);

#endif
