/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* bpf/dp_quic.h - connection ids that name the backend. The packet is in dp_work.pkt, its service in
 * dp_work.choice.svc_idx. DP_IS_BACKEND with dp_work.choice filled in, or DP_GO: by the hash, as usual.
 *
 * Only where the server has chosen the id: short headers, and long ones of versions 1 and 2 that are neither Initial
 * nor 0-RTT. What names no backend that is up, and whatever is no QUIC at all, goes by the hash. Fragments too: QUIC
 * forbids them, and their followers have no connection id.
 * Source    RFC 8999, 9000 section 17, 9369 section 3.2; encoding: docs/DATAPATH.md
 */
#ifndef DP_QUIC_H
#define DP_QUIC_H

#include "bpf/dp_choose.h"

#define DP_QUIC_LONG 0x80u
#define DP_QUIC_V1 1u
#define DP_QUIC_V2 0x6b3343cfu
#define DP_QUIC_CID_SHORT_AT 1u	  /* where the connection id begins: behind the first byte */
#define DP_QUIC_CID_LONG_AT 6u	  /* behind the first byte, the version and the id's length */
#define DP_QUIC_CID_LONG_BYTES 9u /* the least that holds first octet, server id and nonce */
#define DP_QUIC_SHORT_BYTES (DP_QUIC_CID_SHORT_AT + DP_QUIC_ID_AT + DP_QUIC_ID_BYTES)
#define DP_QUIC_LONG_BYTES (DP_QUIC_CID_LONG_AT + DP_QUIC_ID_AT + DP_QUIC_ID_BYTES)

static __always_inline __u32 dp_quic_word(const __u8 *b)
{
	return (__u32)b[0] << 24 | (__u32)b[1] << 16 | (__u32)b[2] << 8 | b[3];
}

/* Does the server choose the connection ids of packets of this kind? Initial and 0-RTT, whatever the version calls
 * them, may still carry what the client made up. */
static __always_inline int dp_quic_is_servers(__u8 first, __u32 version)
{
	__u32 kind = (first >> 4) & 3;

	if (version == DP_QUIC_V1)
		return kind == 2; /* 0 Initial, 1 0-RTT, 2 Handshake, 3 Retry: a server's packet */
	if (version == DP_QUIC_V2)
		return kind == 3; /* 1 Initial, 2 0-RTT, 3 Handshake, 0 Retry */
	return 0;
}

/* What dp_quic said lately, so that a connection's packets cost no hash lookup. By a hash of the key; per CPU. */
struct dp_quic_seen {
	__u32 gen;
	__u32 svc_id;
	__u32 server_id;
	__u32 family;
	__u32 backend_idx; /* 0: nothing is remembered here */
	__u32 pad;
};
#define DP_QUIC_SEEN_BITS 12u
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1 << DP_QUIC_SEEN_BITS);
	__type(key, __u32);
	__type(value, struct dp_quic_seen);
} dp_quic_seen SEC(".maps");

/* Backend index, 0 = none has this id. */
static __always_inline __u32 dp_quic_backend(const struct dp_quic_key *key)
{
	__u32 at = (key->server_id ^ key->svc_id * 0x85ebca6bu) * 0x9e3779b1u, gen, *idx;
	struct dp_ctl *ctl = dp_ctl_get();
	struct dp_quic_seen *seen;

	at >>= 32 - DP_QUIC_SEEN_BITS;
	seen = bpf_map_lookup_elem(&dp_quic_seen, &at);
	if (!ctl || !seen)
		return 0;
	/* Read first: what is looked up now holds for this number, or for one that is no longer asked for. */
	gen = *(volatile __u32 *)&ctl->quic_gen;
	if (seen->backend_idx && seen->gen == gen && seen->server_id == key->server_id &&
	    seen->svc_id == key->svc_id && seen->family == key->family)
		return seen->backend_idx;
	idx = bpf_map_lookup_elem(&dp_quic, key);
	if (!idx)
		return 0;
	seen->gen = gen;
	seen->svc_id = key->svc_id;
	seen->server_id = key->server_id;
	seen->family = key->family;
	seen->backend_idx = *idx;
	return *idx;
}

/* b: the first DP_QUIC_LONG_BYTES of the payload, of which `bytes` are there. */
static __always_inline int dp_quic_choose(struct dp_work *w, const __u8 *b, __u32 bytes)
{
	struct dp_svc *svc = dp_svc_get(w->choice.svc_idx);
	struct dp_quic_key key = {};
	__u8 first_octet;
	__u32 idx;

	if (!svc)
		return DP_GO;
	if (!(b[0] & DP_QUIC_LONG)) {
		first_octet = b[DP_QUIC_CID_SHORT_AT];
		key.server_id = dp_quic_word(b + DP_QUIC_CID_SHORT_AT + DP_QUIC_ID_AT);
	} else {
		if (bytes < DP_QUIC_LONG_BYTES || b[5] < DP_QUIC_CID_LONG_BYTES ||
		    !dp_quic_is_servers(b[0], dp_quic_word(b + 1)))
			return DP_GO;
		first_octet = b[DP_QUIC_CID_LONG_AT];
		key.server_id = dp_quic_word(b + DP_QUIC_CID_LONG_AT + DP_QUIC_ID_AT);
	}
	if (first_octet >> 5 != DP_QUIC_CONFIG)
		return DP_GO;
	key.svc_id = svc->svc_id;
	key.family = w->pkt.family;
	idx = dp_quic_backend(&key);
	if (!idx || !dp_backend_usable(idx, &w->choice))
		return DP_GO;
	w->choice.row = 0;
	w->choice.prev_idx = 0;
	return DP_IS_BACKEND;
}

/* Bytes of payload to look at, 0: none of it. Super-packets over 64 KB don't say how long they are. */
static __always_inline __u32 dp_quic_bytes(const struct dp_pkt *p)
{
	__u32 head = p->l4_off - p->l3_off + sizeof(struct udphdr), bytes;

	if (p->l4_proto != IPPROTO_UDP || p->frag)
		return 0;
	if (!p->l3_bytes)
		return DP_QUIC_LONG_BYTES;
	bytes = p->l3_bytes > head ? p->l3_bytes - head : 0;
	if (bytes >= DP_QUIC_LONG_BYTES)
		return DP_QUIC_LONG_BYTES;
	return bytes >= DP_QUIC_SHORT_BYTES ? DP_QUIC_SHORT_BYTES : 0;
}

__noinline int dp_quic_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct dp_work *w = dp_work_get();
	__u32 bytes, off;
	__u8 *at;

	if (!w)
		return DP_GO;
	bytes = dp_quic_bytes(&w->pkt);
	off = w->pkt.l4_off + sizeof(struct udphdr);
	if (!bytes || off > DP_OFF_MAX)
		return DP_GO;
	at = data + off;
	if ((void *)(at + DP_QUIC_SHORT_BYTES) > end)
		return DP_GO;
	if (!(*at & DP_QUIC_LONG))
		return dp_quic_choose(w, at, DP_QUIC_SHORT_BYTES);
	if (bytes < DP_QUIC_LONG_BYTES || (void *)(at + DP_QUIC_LONG_BYTES) > end)
		return DP_GO;
	return dp_quic_choose(w, at, DP_QUIC_LONG_BYTES);
}

__noinline int dp_quic_tc(struct __sk_buff *skb)
{
	struct dp_work *w = dp_work_get();
	__u32 bytes, off;
	long rc;

	if (!w)
		return DP_GO;
	bytes = dp_quic_bytes(&w->pkt);
	off = w->pkt.l4_off + sizeof(struct udphdr);
	if (bytes == DP_QUIC_LONG_BYTES)
		rc = bpf_skb_load_bytes(skb, off, w->bytes, DP_QUIC_LONG_BYTES);
	else if (bytes == DP_QUIC_SHORT_BYTES)
		rc = bpf_skb_load_bytes(skb, off, w->bytes, DP_QUIC_SHORT_BYTES);
	else
		return DP_GO;
	return rc ? DP_GO : dp_quic_choose(w, w->bytes, bytes);
}

#endif
