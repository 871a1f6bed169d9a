/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A datagram in the clear at the key ring of a node that asks, and knows nobody. The first byte says what is made right, so
 * that what lies behind is reached: 1 the head and the length, 2 the proof and the signature of a question, 4 the rest is
 * what an answer's box holds, 8 its length and signature too. What comes out is no longer than a question. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/keyring.h"

#define HEAD_BYTES 6
#define NONCE_BYTES 16
#define PROOF_BYTES 16
#define QUESTION_SIG (HEAD_BYTES + NODE_PUB_BYTES + NONCE_BYTES)
#define QUESTION_ID (QUESTION_SIG + NODE_SIG_BYTES)
#define INNER_BODY (NODE_PUB_BYTES + NODE_SIG_BYTES + PROOF_BYTES)
#define TEXT_HEAD (32 + GOSSIP_NAME_MAX + NODE_PUB_BYTES + NONCE_BYTES)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t cluster_key[SEAL_KEY_BYTES] = {7};
static struct world {
	struct node_key *self, *other;
	struct seal *seal;
	struct gossip_core *core;
	struct keyring *ring;
	uint8_t asked[KEYRING_CLEAR_BYTES]; /* its last question */
	uint64_t now;
} w;
static const struct gossip_addr seed_addr = {.ip = {10, [15] = 2}, .port = 7946};

static void on_send(void *arg, const struct gossip_addr *to, const uint8_t *buf, size_t len)
{
	(void)arg;
	(void)to;
	if (len > KEYRING_CLEAR_BYTES)
		abort();
	if (buf[1] == 1 && len == KEYRING_CLEAR_BYTES)
		memcpy(w.asked, buf, len);
}

static void on_say(void *arg, const char *level, const char *event, const char *text)
{
	(void)arg;
	(void)level;
	(void)event;
	(void)text;
}

static void begin(void)
{
	uint8_t seed[2][SEAL_KEY_BYTES] = {{1}, {2}};
	struct gossip_config g = {.name = "n", .region = "r", .generation = 1, .boot_nonce = 1};
	struct keyring_config k = {.cluster = "fuzz",
				   .seeds = &seed_addr,
				   .seed_count = 1,
				   .send = on_send,
				   .say = on_say};

	w.now = 1000000;
	if (sodium_init() < 0 || node_key_from_seed(seed[0], &w.self) < 0 ||
	    node_key_from_seed(seed[1], &w.other) < 0 ||
	    seal_new(cluster_key, "fuzz", w.self, 1, &w.seal) < 0)
		abort();
	node_key_pub(w.self, g.pub);
	g.addr = (struct gossip_addr){.ip = {10, [15] = 1}, .port = 7946};
	g.signer = node_key_signer(w.self);
	if (gossip_core_new(&g, w.now, &w.core, NULL) < 0)
		abort();
	k.seal = w.seal;
	k.self = w.self;
	k.core = w.core;
	if (keyring_open(&k, &w.ring, NULL) < 0)
		abort();
	keyring_start(w.ring, w.now);
	if (w.asked[1] != 1)
		abort(); /* it asks */
}

static void end(void)
{
	keyring_close(w.ring);
	gossip_core_free(w.core);
	seal_free(w.seal);
	node_key_free(w.self);
	node_key_free(w.other);
	memset(&w, 0, sizeof(w));
}

/* What is signed: domain, cluster, who asked, nonce, body. */
static size_t signed_text(const char *domain, const uint8_t *who, const uint8_t *nonce,
			  const uint8_t *body, size_t len, uint8_t *text)
{
	memset(text, 0, TEXT_HEAD);
	memcpy(text, domain, strlen(domain));
	memcpy(text + 32, "fuzz", 4);
	memcpy(text + 32 + GOSSIP_NAME_MAX, who, NODE_PUB_BYTES);
	memcpy(text + 32 + GOSSIP_NAME_MAX + NODE_PUB_BYTES, nonce, NONCE_BYTES);
	if (len)
		memcpy(text + TEXT_HEAD, body, len);
	return TEXT_HEAD + len;
}

static void prove(const uint8_t *text, size_t len, uint8_t *ret_proof, uint8_t *ret_sig)
{
	struct gossip_signer signer = node_key_signer(w.other);

	crypto_generichash(ret_proof, PROOF_BYTES, text, len, cluster_key, sizeof(cluster_key));
	if (signer.sign(signer.arg, text, len, ret_sig) < 0)
		abort();
}

static void make_question(uint8_t *msg)
{
	uint8_t text[TEXT_HEAD];
	struct seal_key_id id;
	size_t len;

	node_key_pub(w.other, msg + HEAD_BYTES);
	seal_key_id_of(cluster_key, &id);
	memcpy(msg + QUESTION_ID, id.b, sizeof(id.b));
	len = signed_text("edge-key-question-v1", msg + HEAD_BYTES,
			  msg + HEAD_BYTES + NODE_PUB_BYTES, NULL, 0, text);
	prove(text, len, msg + QUESTION_ID + sizeof(id.b), msg + QUESTION_SIG);
}

/* `data` in a box for the asker: all that is inside (4), or the body alone (8). */
static size_t make_answer(uint8_t how, const uint8_t *data, size_t size, uint8_t *msg)
{
	uint8_t inner[KEYRING_CLEAR_BYTES] = {0}, text[TEXT_HEAD + KEYRING_CLEAR_BYTES];
	uint8_t pub[NODE_PUB_BYTES];
	const uint8_t *nonce = w.asked + HEAD_BYTES + NODE_PUB_BYTES;
	size_t at = how & 8 ? INNER_BODY : 0, head = HEAD_BYTES + NONCE_BYTES, len;

	len = KEYRING_CLEAR_BYTES - head - NODE_BOX_BYTES - at;
	len = size < len ? size : len;
	if (len)
		memcpy(inner + at, data, len);
	node_key_pub(w.self, pub);
	if (how & 8) {
		size_t text_len =
			signed_text("edge-key-answer-v1", pub, nonce, inner + at, len, text);

		node_key_pub(w.other, inner);
		prove(text, text_len, inner + NODE_PUB_BYTES + NODE_SIG_BYTES,
		      inner + NODE_PUB_BYTES);
	}
	memcpy(msg, w.asked, HEAD_BYTES);
	msg[1] = 2;
	memcpy(msg + HEAD_BYTES, nonce, NONCE_BYTES);
	if (node_box(pub, inner, at + len, msg + head) < 0)
		abort();
	return head + NODE_BOX_BYTES + at + len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t how = size ? data[0] : 0, *msg;
	struct keyring_counters before, after;
	size_t len = size ? size - 1 : 0;
	int r;

	if (size == 0 || size > 2 * KEYRING_CLEAR_BYTES)
		return 0;
	begin();
	msg = calloc(1, len > KEYRING_CLEAR_BYTES ? len : KEYRING_CLEAR_BYTES);
	if (!msg)
		abort();
	if (how & 12) {
		len = make_answer(how, data + 1, len, msg);
	} else {
		memcpy(msg, data + 1, len);
		if (how & 3) {
			memcpy(msg, w.asked, HEAD_BYTES);
			len = KEYRING_CLEAR_BYTES;
		}
		if (how & 2)
			make_question(msg);
	}
	/* the exact size: a byte too many shows */
	data = memcpy(malloc(len ? len : 1), msg, len);
	keyring_counters(w.ring, &before);
	r = keyring_recv(w.ring, w.now, &seed_addr, data, len);
	keyring_counters(w.ring, &after);
	if ((how & 14) == 2 && r < 0)
		abort(); /* a right one is answered */
	if (r < 0 && (after.answered != before.answered || after.learned != before.learned))
		abort();
	if (seal_key_count(w.seal) > SEAL_KEYS_MAX)
		abort();
	keyring_tick(w.ring, w.now + KEYRING_TICK_MS);
	free((void *)(uintptr_t)data);
	free(msg);
	end();
	return 0;
}
