/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Who lacks a key asks for the ring, in the clear, and gets it in a box. Layout: docs/WIRE.md. */
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "gossip/keyring_priv.h"

#define QUESTION 1 /* second byte: what in a sealed message are flags 0 */
#define ANSWER 2
#define HEAD_BYTES (1 + 1 + 4)
#define QUESTION_SIG (HEAD_BYTES + NODE_PUB_BYTES + KEYRING_NONCE_BYTES)
#define QUESTION_ID (QUESTION_SIG + NODE_SIG_BYTES) /* the key that proves, and its proof */
#define QUESTION_PROOF (QUESTION_ID + SEAL_KEY_ID_BYTES)
#define PROOF_BYTES 16
#define ANSWER_BOX (HEAD_BYTES + KEYRING_NONCE_BYTES)
#define BODY_KEYS (SEAL_KEY_ID_BYTES + 1)
#define BODY_MAX (BODY_KEYS + SEAL_KEYS_MAX * SEAL_KEY_BYTES)
#define INNER_PROOF (NODE_PUB_BYTES + NODE_SIG_BYTES)
#define INNER_BODY (INNER_PROOF + PROOF_BYTES)
#define SIGNED_MAX (32 + GOSSIP_NAME_MAX + NODE_PUB_BYTES + KEYRING_NONCE_BYTES + BODY_MAX)
_Static_assert(ANSWER_BOX + NODE_BOX_BYTES + INNER_BODY + BODY_MAX <= KEYRING_CLEAR_BYTES,
	       "an answer is no longer than its question");
_Static_assert(QUESTION_PROOF + PROOF_BYTES <= KEYRING_CLEAR_BYTES, "a question fits");

#define ASK_FIRST_MS 200
#define ASK_MAX_MS 16000
#define ASK_NODES 2

static void head(const struct keyring *k, uint8_t what, uint8_t *p)
{
	uint8_t tag[crypto_generichash_BYTES_MIN];

	crypto_generichash(tag, sizeof(tag), (const uint8_t *)k->cluster, strlen(k->cluster), NULL,
			   0);
	p[0] = SEAL_VERSION;
	p[1] = what;
	memcpy(p + 2, tag, 4);
}

static size_t signed_bytes(const struct keyring *k, uint8_t what, const uint8_t *pub,
			   const uint8_t *nonce, const uint8_t *body, size_t body_len,
			   uint8_t buf[SIGNED_MAX])
{
	static const char domain[3][32] = {
		[QUESTION] = "edge-key-question-v1", [ANSWER] = "edge-key-answer-v1"};
	uint8_t *p = buf;

	memcpy(p, domain[what], 32);
	memset(p + 32, 0, GOSSIP_NAME_MAX);
	memcpy(p + 32, k->cluster, strlen(k->cluster));
	p += 32 + GOSSIP_NAME_MAX;
	memcpy(p, pub, NODE_PUB_BYTES);
	memcpy(p + NODE_PUB_BYTES, nonce, KEYRING_NONCE_BYTES);
	p += NODE_PUB_BYTES + KEYRING_NONCE_BYTES;
	if (body_len > 0)
		memcpy(p, body, body_len);
	return (size_t)(p + body_len - buf);
}

/* That its maker holds the key: a keyed hash over what is signed. -ENOENT: we do not, or it is removed. */
static int prove(const struct keyring *k, const struct seal_key_id *id, const uint8_t *text,
		 size_t len, uint8_t ret_proof[PROOF_BYTES])
{
	for (size_t i = 0; i < seal_key_count(k->cfg.seal); i++) {
		struct seal_key_id have;

		seal_key_at(k->cfg.seal, i, &have);
		if (memcmp(&have, id, sizeof(have)) != 0 || keyring_is_gone(k, &have))
			continue;
		crypto_generichash(ret_proof, PROOF_BYTES, text, len,
				   seal_key_secret(k->cfg.seal, i), SEAL_KEY_BYTES);
		return 0;
	}
	return -ENOENT;
}

static bool is_proven(const struct keyring *k, const struct seal_key_id *id, const uint8_t *text,
		      size_t len, const uint8_t proof[PROOF_BYTES])
{
	uint8_t want[PROOF_BYTES];

	return prove(k, id, text, len, want) == 0 && sodium_memcmp(want, proof, sizeof(want)) == 0;
}

/* Of other regions only those are known that speak for theirs. */
static bool is_speaker(const struct keyring *k, const struct node_id *id)
{
	struct gossip_region r;

	for (size_t i = 0; i < gossip_core_region_count(k->cfg.core); i++) {
		gossip_core_region_at(k->cfg.core, i, &r);
		for (size_t n = 0; n < r.sender_count; n++)
			if (node_id_cmp(&r.senders[n].id, id) == 0)
				return true;
	}
	return false;
}

/* What is stored of a node says who it is. A removed node's key gives it nothing, whatever else it has. */
enum standing { STRANGER, KNOWN, REMOVED };
static enum standing standing_of(const struct keyring *k, const uint8_t pub[NODE_PUB_BYTES])
{
	char hex[2 * NODE_ID_BYTES + 1];
	struct gossip_member m;
	struct node_id id;
	struct record r;

	node_id_of_pub(pub, &id);
	sodium_bin2hex(hex, sizeof(hex), id.b, sizeof(id.b));
	if (node_id_cmp(&id, &k->self) == 0 ||
	    gossip_core_get_record(k->cfg.core, NULL, RECORD_KIND_REMOVAL, hex, &r))
		return REMOVED;
	return gossip_core_member_get(k->cfg.core, &id, &m) || is_speaker(k, &id) ? KNOWN
										  : STRANGER;
}

/* ---- asking */

/* A key that was added in another region is nowhere in this one: one that speaks for each of some regions is asked. */
static size_t ask_regions(struct keyring *k, const uint8_t *buf, size_t len)
{
	size_t count = gossip_core_region_count(k->cfg.core), sent = 0, from;
	struct gossip_region r;

	from = count ? randombytes_uniform((uint32_t)count) : 0;
	for (size_t i = 0; i < count && sent < ASK_NODES; i++) {
		gossip_core_region_at(k->cfg.core, (from + i) % count, &r);
		if (r.is_own || !r.sender_count)
			continue;
		k->cfg.send(k->cfg.arg,
			    &r.senders[randombytes_uniform((uint32_t)r.sender_count)].addr, buf,
			    len);
		sent++;
	}
	return sent;
}

void keyring_ask(struct keyring *k, uint64_t now_ms)
{
	struct gossip_signer signer = node_key_signer((struct node_key *)(uintptr_t)k->cfg.self);
	uint8_t buf[KEYRING_CLEAR_BYTES] = {0}, text[SIGNED_MAX];
	size_t count = gossip_core_member_count(k->cfg.core), sent = 0, text_len;

	if (now_ms < k->ask_ms)
		return;
	k->ask_wait_ms = k->ask_wait_ms ? k->ask_wait_ms * 2 : ASK_FIRST_MS;
	if (k->ask_wait_ms > ASK_MAX_MS)
		k->ask_wait_ms = ASK_MAX_MS;
	k->ask_ms = now_ms + k->ask_wait_ms / 2 + randombytes_uniform(k->ask_wait_ms);
	head(k, QUESTION, buf);
	node_key_pub(k->cfg.self, buf + HEAD_BYTES);
	randombytes_buf(k->nonce, sizeof(k->nonce));
	k->is_asking = true;
	memcpy(buf + HEAD_BYTES + NODE_PUB_BYTES, k->nonce, sizeof(k->nonce));
	text_len = signed_bytes(k, QUESTION, buf + HEAD_BYTES, k->nonce, NULL, 0, text);
	seal_key_used(k->cfg.seal, &k->proof_id);
	memcpy(buf + QUESTION_ID, k->proof_id.b, sizeof(k->proof_id.b));
	(void)prove(k, &k->proof_id, text, text_len,
		    buf + QUESTION_PROOF); /* known ones need none */
	if (signer.sign(signer.arg, text, text_len, buf + QUESTION_SIG) < 0)
		return;
	for (size_t i = 0; count < 2 && i < k->cfg.seed_count; i++, sent++)
		k->cfg.send(k->cfg.arg, &k->cfg.seeds[i], buf, sizeof(buf));
	for (unsigned int tries = 0; count > 1 && tries < 4 * ASK_NODES && sent < ASK_NODES;
	     tries++) {
		struct gossip_member m;

		gossip_core_member_at(k->cfg.core, randombytes_uniform((uint32_t)count), &m);
		/* Who hears nothing knows nothing of who lives. */
		if (m.is_self || m.state == GOSSIP_LEFT ||
		    (m.state == GOSSIP_DEAD && !keyring_is_deaf(k, now_ms) && tries < ASK_NODES))
			continue;
		k->cfg.send(k->cfg.arg, &m.addr, buf, sizeof(buf));
		sent++;
	}
	sent += ask_regions(k, buf, sizeof(buf));
	k->n.asked += sent;
}

static int take_body(struct keyring *k, uint64_t now_ms, const uint8_t *body, size_t len)
{
	bool is_deaf = k->is_starting || keyring_is_deaf(k, now_ms), is_new = false;
	struct seal_key_id id, use;
	size_t count;

	if (len < BODY_KEYS || body[BODY_KEYS - 1] > SEAL_KEYS_MAX ||
	    len != BODY_KEYS + body[BODY_KEYS - 1] * (size_t)SEAL_KEY_BYTES)
		return -EBADMSG;
	count = body[BODY_KEYS - 1];
	memcpy(use.b, body, sizeof(use.b));
	for (size_t i = 0; i < count; i++) {
		const uint8_t *key = body + BODY_KEYS + i * SEAL_KEY_BYTES;

		seal_key_id_of(key, &id);
		if (keyring_is_gone(k, &id) || (!is_deaf && keyring_named(k, &id) != 1))
			continue;
		is_new |= keyring_take(k, key) == 0;
	}
	/* While we hear anything, records say which one seals. */
	if (is_deaf && seal_key_has(k->cfg.seal, &use) && !keyring_is_gone(k, &use))
		keyring_seal_meanwhile(k, now_ms, &use);
	k->is_starting = false;
	if (is_new || is_deaf)
		(void)keyring_write(k); /* said there; what was learned stands in memory */
	return 0;
}

static int on_answer(struct keyring *k, uint64_t now_ms, const uint8_t *msg, size_t len)
{
	struct gossip_signer signer = node_key_signer((struct node_key *)(uintptr_t)k->cfg.self);
	uint8_t inner[KEYRING_CLEAR_BYTES], text[SIGNED_MAX], pub[NODE_PUB_BYTES];
	size_t body_len, text_len;
	enum standing who;
	int r = -EBADMSG;

	if (!k->is_asking || len < ANSWER_BOX + NODE_BOX_BYTES + INNER_BODY + BODY_KEYS ||
	    sodium_memcmp(msg + HEAD_BYTES, k->nonce, KEYRING_NONCE_BYTES) != 0)
		return -EBADMSG; /* nobody asked */
	if (node_box_open(k->cfg.self, msg + ANSWER_BOX, len - ANSWER_BOX, inner) < 0)
		goto out;
	body_len = len - ANSWER_BOX - NODE_BOX_BYTES - INNER_BODY;
	node_key_pub(k->cfg.self, pub);
	if (body_len > BODY_MAX)
		goto out;
	who = standing_of(k, inner);
	text_len = signed_bytes(k, ANSWER, pub, k->nonce, inner + INNER_BODY, body_len, text);
	/* Who knows nobody yet believes who holds the key of its key file. */
	if (who == REMOVED ||
	    (who == STRANGER && (gossip_core_member_count(k->cfg.core) > 1 ||
				 !is_proven(k, &k->proof_id, text, text_len, inner + INNER_PROOF))))
		goto out;
	if (signer.verify(signer.arg, inner, text, text_len, inner + NODE_PUB_BYTES) < 0)
		goto out;
	r = take_body(k, now_ms, inner + INNER_BODY, body_len);
out:
	sodium_memzero(inner, sizeof(inner));
	sodium_memzero(text, sizeof(text));
	return r;
}

/* ---- answering */

static bool may_answer(struct keyring *k, uint64_t now_ms)
{
	if (now_ms >= k->bucket_ms + 1000) {
		k->bucket_ms = now_ms;
		k->bucket = 0;
	}
	return k->bucket < KEYRING_ANSWERS_PER_S && ++k->bucket;
}

static size_t make_body(const struct keyring *k, uint8_t *body)
{
	struct seal_key_id id;
	size_t at = BODY_KEYS;

	seal_key_used(k->cfg.seal, &id);
	memcpy(body, id.b, sizeof(id.b));
	body[BODY_KEYS - 1] = 0;
	for (size_t i = 0; i < seal_key_count(k->cfg.seal); i++) {
		seal_key_at(k->cfg.seal, i, &id);
		if (keyring_is_gone(k, &id))
			continue;
		memcpy(body + at, seal_key_secret(k->cfg.seal, i), SEAL_KEY_BYTES);
		at += SEAL_KEY_BYTES;
		body[BODY_KEYS - 1]++;
	}
	return at;
}

static int on_question(struct keyring *k, uint64_t now_ms, const struct gossip_addr *from,
		       const uint8_t *msg, size_t len)
{
	struct gossip_signer signer = node_key_signer((struct node_key *)(uintptr_t)k->cfg.self);
	const uint8_t *pub = msg + HEAD_BYTES, *nonce = pub + NODE_PUB_BYTES;
	uint8_t inner[KEYRING_CLEAR_BYTES], out[KEYRING_CLEAR_BYTES], text[SIGNED_MAX];
	struct seal_key_id proof_id;
	size_t body_len, text_len;
	enum standing who;
	int r = -EBADMSG;

	if (len != KEYRING_CLEAR_BYTES)
		return -EBADMSG;
	who = standing_of(k, pub);
	text_len = signed_bytes(k, QUESTION, pub, nonce, NULL, 0, text);
	memcpy(proof_id.b, msg + QUESTION_ID, sizeof(proof_id.b));
	/* Cheap before dear: a stranger without a key costs one hash, and of what is left only so many are looked at. */
	if (who == REMOVED ||
	    (who == STRANGER && !is_proven(k, &proof_id, text, text_len, msg + QUESTION_PROOF)))
		return -EPERM;
	if (!may_answer(k, now_ms))
		return -EBUSY;
	if (signer.verify(signer.arg, pub, text, text_len, msg + QUESTION_SIG) < 0)
		return -EBADMSG;
	node_key_pub(k->cfg.self, inner);
	body_len = make_body(k, inner + INNER_BODY);
	text_len = signed_bytes(k, ANSWER, pub, nonce, inner + INNER_BODY, body_len, text);
	memset(inner + INNER_PROOF, 0, PROOF_BYTES);
	(void)prove(k, &proof_id, text, text_len,
		    inner + INNER_PROOF); /* who knows us needs none */
	r = signer.sign(signer.arg, text, text_len, inner + NODE_PUB_BYTES);
	head(k, ANSWER, out);
	memcpy(out + HEAD_BYTES, nonce, KEYRING_NONCE_BYTES);
	if (r == 0)
		r = node_box(pub, inner, INNER_BODY + body_len, out + ANSWER_BOX);
	if (r == 0) {
		k->n.answered++;
		k->cfg.send(k->cfg.arg, from, out,
			    ANSWER_BOX + NODE_BOX_BYTES + INNER_BODY + body_len);
	}
	sodium_memzero(inner, sizeof(inner));
	sodium_memzero(text, sizeof(text));
	return r;
}

int keyring_recv(struct keyring *k, uint64_t now_ms, const struct gossip_addr *from,
		 const uint8_t *msg, size_t len)
{
	uint8_t want[HEAD_BYTES];
	int r = -EBADMSG;

	if (len < HEAD_BYTES || len > KEYRING_CLEAR_BYTES || msg[0] != SEAL_VERSION ||
	    (msg[1] != QUESTION && msg[1] != ANSWER))
		return -EBADMSG;
	head(k, msg[1], want);
	if (memcmp(msg, want, sizeof(want)) == 0)
		r = msg[1] == QUESTION ? on_question(k, now_ms, from, msg, len)
				       : on_answer(k, now_ms, msg, len);
	if (r < 0)
		k->n.refused++;
	return r;
}
