/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/seal.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == SEAL_KEY_BYTES, "key");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == SEAL_NONCE_BYTES, "nonce");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_ABYTES == SEAL_MAC_BYTES, "mac");

#define TAG_BYTES 4
#define VIA_COUNT 2   /* GOSSIP_DGRAM, GOSSIP_STREAM: pings are not sealed */
#define BUCKETS 16384 /* power of two */
#define NONE UINT32_MAX

/* Counters top-255..top; bit (counter % SEAL_WINDOW) is set when that one was seen. top 0: none seen yet. */
struct window {
	uint64_t top;
	uint64_t seen[SEAL_WINDOW / 64];
};

struct sender {
	struct node_id id;
	uint64_t boot_nonce;
	struct window window[VIA_COUNT];
	uint32_t bucket_next;
	uint32_t newer, older; /* a list by when last heard */
};

struct ring_key {
	struct seal_key_id id;
	uint8_t raw[SEAL_KEY_BYTES]; /* as the operator has it */
	uint8_t key[SEAL_KEY_BYTES]; /* what seals: of raw and the cluster's name */
	uint8_t tag[TAG_BYTES];
};

struct secrets {
	struct ring_key ring[SEAL_KEYS_MAX];
};

struct seal {
	struct secrets *secrets;
	size_t key_count, used; /* used: the one that seals */
	uint64_t opened;
	char cluster[GOSSIP_NAME_MAX];
	uint8_t pub[NODE_PUB_BYTES];
	struct node_id id;
	uint64_t boot_nonce;
	uint64_t counter[VIA_COUNT];
	uint8_t hash_key[crypto_shorthash_KEYBYTES];
	struct sender *sender; /* SEAL_SENDERS_MAX, used from the front */
	uint32_t sender_count;
	uint32_t newest, oldest;
	uint32_t bucket[BUCKETS];
	uint8_t scratch[SEAL_INNER_BYTES + GOSSIP_STREAM_MAX];
};

static void put_u64(uint8_t *p, uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		p[i] = (uint8_t)v;
}

static uint64_t get_u64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static size_t via_max(enum gossip_via via)
{
	switch (via) {
	case GOSSIP_DGRAM:
		return GOSSIP_DGRAM_MAX;
	case GOSSIP_STREAM:
		return GOSSIP_STREAM_MAX;
	case GOSSIP_PING:
		break;
	}
	return 0;
}

int seal_new(const uint8_t key[SEAL_KEY_BYTES], const char *cluster, const struct node_key *self,
	     uint64_t boot_nonce, struct seal **ret_seal)
{
	struct seal *s;

	if (!cluster[0] || strlen(cluster) >= GOSSIP_NAME_MAX)
		return -EINVAL;
	if (sodium_init() < 0)
		return -EIO;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->sender = calloc(SEAL_SENDERS_MAX, sizeof(*s->sender));
	s->secrets = sodium_malloc(sizeof(*s->secrets));
	if (!s->sender || !s->secrets) {
		seal_free(s);
		return -ENOMEM;
	}
	memcpy(s->cluster, cluster, strlen(cluster) + 1);
	(void)seal_key_add(s, key); /* the first fits */
	node_key_pub(self, s->pub);
	node_id_of_pub(s->pub, &s->id);
	s->boot_nonce = boot_nonce;
	randombytes_buf(s->hash_key, sizeof(s->hash_key));
	s->newest = s->oldest = NONE;
	memset(s->bucket, 0xff, sizeof(s->bucket)); /* NONE */
	*ret_seal = s;
	return 0;
}

void seal_free(struct seal *s)
{
	if (!s)
		return;
	sodium_free(s->secrets); /* wipes */
	free(s->sender);
	sodium_memzero(s->scratch, sizeof(s->scratch));
	free(s);
}

/* ---- the ring */

void seal_key_id_of(const uint8_t key[SEAL_KEY_BYTES], struct seal_key_id *ret_id)
{
	static const char domain[] = "edge key id";
	uint8_t hash[crypto_generichash_BYTES_MIN];

	crypto_generichash(hash, sizeof(hash), (const uint8_t *)domain, sizeof(domain) - 1, key,
			   SEAL_KEY_BYTES);
	memcpy(ret_id->b, hash, sizeof(ret_id->b));
}

static size_t key_find(const struct seal *s, const struct seal_key_id *id)
{
	size_t i = 0;

	while (i < s->key_count && memcmp(&s->secrets->ring[i].id, id, sizeof(*id)) != 0)
		i++;
	return i;
}

int seal_key_add(struct seal *s, const uint8_t key[SEAL_KEY_BYTES])
{
	static const char tag_domain[] = "edge cluster tag";
	uint8_t tag[crypto_generichash_BYTES_MIN];
	struct seal_key_id id;
	struct ring_key *k;

	seal_key_id_of(key, &id);
	if (key_find(s, &id) < s->key_count)
		return -EEXIST;
	if (s->key_count == SEAL_KEYS_MAX)
		return -ENOSPC;
	k = &s->secrets->ring[s->key_count++];
	k->id = id;
	memcpy(k->raw, key, SEAL_KEY_BYTES);
	crypto_generichash(k->key, SEAL_KEY_BYTES, (const uint8_t *)s->cluster, strlen(s->cluster),
			   key, SEAL_KEY_BYTES);
	/* From the sealing key: tells clusters and keys apart without work, and tells strangers nothing. */
	crypto_generichash(tag, sizeof(tag), (const uint8_t *)tag_domain, sizeof(tag_domain) - 1,
			   k->key, SEAL_KEY_BYTES);
	memcpy(k->tag, tag, TAG_BYTES);
	return 0;
}

int seal_key_use(struct seal *s, const struct seal_key_id *id)
{
	size_t i = key_find(s, id);

	if (i == s->key_count)
		return -ENOENT;
	s->used = i;
	return 0;
}

int seal_key_rm(struct seal *s, const struct seal_key_id *id)
{
	size_t i = key_find(s, id);

	if (i == s->key_count)
		return -ENOENT;
	if (i == s->used)
		return -EBUSY;
	s->secrets->ring[i] = s->secrets->ring[--s->key_count];
	if (s->used == s->key_count)
		s->used = i;
	sodium_memzero(&s->secrets->ring[s->key_count], sizeof(s->secrets->ring[0]));
	return 0;
}

size_t seal_key_count(const struct seal *s)
{
	return s->key_count;
}

void seal_key_at(const struct seal *s, size_t i, struct seal_key_id *ret_id)
{
	assert(i < s->key_count);
	*ret_id = s->secrets->ring[i].id;
}

void seal_key_used(const struct seal *s, struct seal_key_id *ret_id)
{
	*ret_id = s->secrets->ring[s->used].id;
}

bool seal_key_has(const struct seal *s, const struct seal_key_id *id)
{
	return key_find(s, id) < s->key_count;
}

const uint8_t *seal_key_secret(const struct seal *s, size_t i)
{
	assert(i < s->key_count);
	return s->secrets->ring[i].raw;
}

uint64_t seal_opened(const struct seal *s)
{
	return s->opened;
}

/* ---- sealing */

int seal_message(struct seal *s, enum gossip_via via, const uint8_t *msg, size_t len, uint8_t *buf,
		 size_t cap)
{
	uint8_t *nonce = buf + SEAL_CLEAR_BYTES, *p = s->scratch;

	if (via_max(via) == 0)
		return -EINVAL;
	if (len > via_max(via) || cap < len + SEAL_ADDED)
		return -EMSGSIZE;
	buf[0] = SEAL_VERSION;
	buf[1] = 0;
	memcpy(buf + 2, s->secrets->ring[s->used].tag, TAG_BYTES);
	randombytes_buf(nonce, SEAL_NONCE_BYTES);
	memcpy(p, s->pub, NODE_PUB_BYTES);
	put_u64(p + NODE_PUB_BYTES, s->boot_nonce);
	put_u64(p + NODE_PUB_BYTES + 8, ++s->counter[via]);
	p[NODE_PUB_BYTES + 16] = (uint8_t)via;
	if (len > 0)
		memcpy(p + SEAL_INNER_BYTES, msg, len);
	crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + SEAL_NONCE_BYTES, NULL, p,
						   SEAL_INNER_BYTES + len, buf, SEAL_CLEAR_BYTES,
						   NULL, nonce, s->secrets->ring[s->used].key);
	return (int)(len + SEAL_ADDED);
}

/* ---- senders: hashed by (id, boot nonce), in a list by when last heard */

static uint32_t bucket_of(const struct seal *s, const struct node_id *id, uint64_t boot_nonce)
{
	uint8_t in[NODE_ID_BYTES + 8], out[crypto_shorthash_BYTES];

	memcpy(in, id->b, NODE_ID_BYTES);
	put_u64(in + NODE_ID_BYTES, boot_nonce);
	crypto_shorthash(out, in, sizeof(in), s->hash_key);
	return (uint32_t)get_u64(out) & (BUCKETS - 1);
}

static void list_remove(struct seal *s, uint32_t i)
{
	struct sender *x = &s->sender[i];

	if (x->newer != NONE)
		s->sender[x->newer].older = x->older;
	else
		s->newest = x->older;
	if (x->older != NONE)
		s->sender[x->older].newer = x->newer;
	else
		s->oldest = x->newer;
}

static void list_put_newest(struct seal *s, uint32_t i)
{
	struct sender *x = &s->sender[i];

	x->newer = NONE;
	x->older = s->newest;
	if (s->newest != NONE)
		s->sender[s->newest].newer = i;
	else
		s->oldest = i;
	s->newest = i;
}

static void bucket_remove(struct seal *s, uint32_t i)
{
	uint32_t *link = &s->bucket[bucket_of(s, &s->sender[i].id, s->sender[i].boot_nonce)];

	while (*link != i) {
		assert(*link != NONE);
		link = &s->sender[*link].bucket_next;
	}
	*link = s->sender[i].bucket_next;
}

/* The sender's entry, now the most recently heard; a new one pushes out the least recently heard. */
static struct sender *sender_get(struct seal *s, const struct node_id *id, uint64_t boot_nonce)
{
	uint32_t *head = &s->bucket[bucket_of(s, id, boot_nonce)], i;

	for (i = *head; i != NONE; i = s->sender[i].bucket_next) {
		struct sender *x = &s->sender[i];

		if (x->boot_nonce == boot_nonce && memcmp(&x->id, id, sizeof(*id)) == 0)
			break;
	}
	if (i != NONE) {
		list_remove(s, i);
	} else {
		if (s->sender_count < SEAL_SENDERS_MAX) {
			i = s->sender_count++;
		} else {
			i = s->oldest;
			list_remove(s, i);
			bucket_remove(s, i);
		}
		s->sender[i] =
			(struct sender){.id = *id, .boot_nonce = boot_nonce, .bucket_next = *head};
		*head = i;
	}
	list_put_newest(s, i);
	return &s->sender[i];
}

/* Seen before, or too old to tell: false. Otherwise it is now seen. */
static bool window_accept(struct window *w, uint64_t counter)
{
	uint64_t bit = counter % SEAL_WINDOW;

	if (counter > w->top) {
		if (counter - w->top >= SEAL_WINDOW) {
			memset(w->seen, 0, sizeof(w->seen));
		} else {
			for (uint64_t c = w->top + 1; c < counter; c++)
				w->seen[c % SEAL_WINDOW / 64] &= ~(1ull << c % 64);
		}
		w->top = counter;
	} else if (w->top - counter >= SEAL_WINDOW || (w->seen[bit / 64] & 1ull << bit % 64)) {
		return false;
	}
	w->seen[bit / 64] |= 1ull << bit % 64;
	return true;
}

/* Into the scratch buffer, by a key that has this tag. Two keys may have one by chance: at most SEAL_KEYS_MAX tries, of which all
 * but one in 2^32 need none beyond the first. */
static int decrypt(struct seal *s, const uint8_t *msg, size_t len)
{
	const uint8_t *nonce = msg + SEAL_CLEAR_BYTES;

	for (size_t i = 0; i < s->key_count; i++) {
		const struct ring_key *k = &s->secrets->ring[i];

		if (memcmp(msg + 2, k->tag, TAG_BYTES) == 0 &&
		    crypto_aead_xchacha20poly1305_ietf_decrypt(
			    s->scratch, NULL, NULL, nonce + SEAL_NONCE_BYTES,
			    len - SEAL_CLEAR_BYTES - SEAL_NONCE_BYTES, msg, SEAL_CLEAR_BYTES, nonce,
			    k->key) == 0)
			return 0;
	}
	return -EBADMSG;
}

static bool has_tag(const struct seal *s, const uint8_t *msg)
{
	for (size_t i = 0; i < s->key_count; i++)
		if (memcmp(msg + 2, s->secrets->ring[i].tag, TAG_BYTES) == 0)
			return true;
	return false;
}

int seal_open_message(struct seal *s, enum gossip_via via, const uint8_t *msg, size_t len,
		      uint8_t *buf, size_t cap, struct gossip_sender *ret_sender)
{
	const uint8_t *p = s->scratch;
	struct gossip_sender from;
	uint64_t counter;
	size_t plain_len;

	if (via_max(via) == 0)
		return -EINVAL;
	if (len < SEAL_ADDED)
		return -EBADMSG;
	if (!has_tag(s, msg))
		return -EBADMSG; /* another cluster, another key, or noise */
	if (msg[0] != SEAL_VERSION || msg[1] != 0)
		return -EPROTONOSUPPORT;
	plain_len = len - SEAL_ADDED;
	if (plain_len > via_max(via) || plain_len > cap)
		return -EMSGSIZE;
	if (decrypt(s, msg, len) < 0)
		return -EBADMSG;
	counter = get_u64(p + NODE_PUB_BYTES + 8);
	if (counter == 0 || p[NODE_PUB_BYTES + 16] != (uint8_t)via)
		return -EBADMSG; /* a datagram put into a stream, or the reverse */
	node_id_of_pub(p, &from.id);
	from.boot_nonce = get_u64(p + NODE_PUB_BYTES);
	if (from.boot_nonce == s->boot_nonce && memcmp(&from.id, &s->id, sizeof(s->id)) == 0)
		return -EALREADY; /* our own, sent back to us */
	if (!window_accept(&sender_get(s, &from.id, from.boot_nonce)->window[via], counter))
		return -EALREADY;
	if (plain_len > 0)
		memcpy(buf, p + SEAL_INNER_BYTES, plain_len);
	s->opened++;
	*ret_sender = from;
	return (int)plain_len;
}
