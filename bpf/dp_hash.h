/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_hash.h - flow -> row: SipHash-1-3, the row of a table, the substitute of a row whose owner is dead.
 *
 * Included by bpf/ programs and by gcc (tests, trace): pure, no map, no helper. All edges of a cluster must agree
 * on every bit of this; a change moves every flow that has no entry at a worker yet.
 * Words     the message is whole 64-bit words, as the bytes of the packet lie in memory (little-endian hosts)
 * Source    SipHash (Aumasson, Bernstein 2012); range reduction by multiplication (Lemire 2019)
 */
#ifndef DP_HASH_H
#define DP_HASH_H

#include "bpf/dp_abi.h"

#define DP_HASH_INLINE static inline __attribute__((always_inline, unused))

struct dp_sip {
	__u64 v0, v1, v2, v3;
	__u64 bytes;
};

DP_HASH_INLINE __u64 dp_rotl(__u64 x, unsigned int bits)
{
	return (x << bits) | (x >> (64 - bits));
}

DP_HASH_INLINE void dp_sip_round(struct dp_sip *s)
{
	s->v0 += s->v1;
	s->v1 = dp_rotl(s->v1, 13) ^ s->v0;
	s->v0 = dp_rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = dp_rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = dp_rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = dp_rotl(s->v1, 17) ^ s->v2;
	s->v2 = dp_rotl(s->v2, 32);
}

DP_HASH_INLINE void dp_sip_init(struct dp_sip *s, const __u64 seed[2])
{
	s->v0 = seed[0] ^ 0x736f6d6570736575ull;
	s->v1 = seed[1] ^ 0x646f72616e646f6dull;
	s->v2 = seed[0] ^ 0x6c7967656e657261ull;
	s->v3 = seed[1] ^ 0x7465646279746573ull;
	s->bytes = 0;
}

DP_HASH_INLINE void dp_sip_word(struct dp_sip *s, __u64 word)
{
	s->v3 ^= word;
	dp_sip_round(s);
	s->v0 ^= word;
	s->bytes += 8;
}

DP_HASH_INLINE __u64 dp_sip_final(struct dp_sip *s)
{
	__u64 last = s->bytes << 56;

	s->v3 ^= last;
	dp_sip_round(s);
	s->v0 ^= last;
	s->v2 ^= 0xff;
	dp_sip_round(s);
	dp_sip_round(s);
	dp_sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

typedef __u32 __attribute__((__may_alias__)) dp_word32;

DP_HASH_INLINE __u64 dp_word64(const void *bytes)
{
	const dp_word32 *w = bytes;

	return (__u64)w[1] << 32 | w[0];
}

/* Where dp_vipslot has a VIP. Not keyed: VIPs are the operator's, and a foreign address that shares a slot costs one
 * comparison. */
DP_HASH_INLINE __u32 dp_vip_slot(const void *addr)
{
	const dp_word32 *a = addr;
	__u32 x = a[3] ^ a[2] * 0x85ebca6bu ^ a[1] * 0xc2b2ae35u ^ a[0] * 0x27d4eb2fu;

	return (x * 0x9e3779b1u) >> 18;
}

/* Hash of a flow. src and dst are 16 bytes, 4-aligned; for IPv4 only their last 4 bytes enter. `policy` is
 * DP_HASH_5TUPLE or DP_HASH_SOURCE (the source address alone). */
DP_HASH_INLINE __u64 dp_flow_hash(const __u64 seed[2], __u8 policy, __u8 family, const void *src,
				  const void *dst, __be16 sport_be, __be16 dport_be, __u8 l4_proto)
{
	const dp_word32 *s = src, *d = dst;
	struct dp_sip sip;

	dp_sip_init(&sip, seed);
	if (policy == DP_HASH_SOURCE) {
		if (family == 4) {
			dp_sip_word(&sip, s[3]);
		} else {
			dp_sip_word(&sip, dp_word64(s));
			dp_sip_word(&sip, dp_word64(s + 2));
		}
		return dp_sip_final(&sip);
	}
	if (family == 4) {
		dp_sip_word(&sip, (__u64)d[3] << 32 | s[3]);
	} else {
		dp_sip_word(&sip, dp_word64(s));
		dp_sip_word(&sip, dp_word64(s + 2));
		dp_sip_word(&sip, dp_word64(d));
		dp_sip_word(&sip, dp_word64(d + 2));
	}
	dp_sip_word(&sip, (__u64)l4_proto << 32 | (__u32)dport_be << 16 | sport_be);
	return dp_sip_final(&sip);
}

/* Rows of a size class, 0 for a class that doesn't exist. */
DP_HASH_INLINE __u32 dp_class_rows(__u32 size_class)
{
	static const __u32 rows[DP_SIZE_CLASSES] = DP_SIZE_CLASS_LIST;

	return size_class < DP_SIZE_CLASSES ? rows[size_class] : 0;
}

/* Row (relative to the table's offset) of a flow hash. */
DP_HASH_INLINE __u32 dp_row_pick(__u32 hash, __u32 rows)
{
	return (__u32)(((__u64)hash * rows) >> 32);
}

/* Where in dp_meet this flow's pointer is kept: by other bits than the row of its service's table. */
DP_HASH_INLINE __u32 dp_meet_row(__u64 hash)
{
	return (__u32)(hash >> 32) % DP_MEET_ROWS;
}

/* Row to ask instead of `row` (both relative) at the try-th attempt, try >= 1: spread over the whole table, so that
 * no single node inherits all of a dead one's load. The mixer is MurmurHash3's 32-bit finalizer. */
DP_HASH_INLINE __u32 dp_row_subst(__u32 row, __u32 try, __u32 rows)
{
	__u32 x = row * 0x9e3779b1u + try * 0x85ebca77u;

	x ^= x >> 16;
	x *= 0x85ebca6bu;
	x ^= x >> 13;
	x *= 0xc2b2ae35u;
	x ^= x >> 16;
	return dp_row_pick(x, rows);
}

#endif
