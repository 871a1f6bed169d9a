/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* First byte: 0 datagram, 1 stream: the rest arrives as it is. 2: the rest is a message; sealed, it must open to the
 * same once, and with the byte that its first two bytes point at changed it must not. 3: what a
 * node says of its keys. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/keyring.h"
#include "gossip/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct seal *make(uint8_t node, uint64_t boot_nonce)
{
	uint8_t key[SEAL_KEY_BYTES] = {7}, seed[SEAL_KEY_BYTES] = {node};
	struct node_key *k;
	struct seal *s;

	if (node_key_from_seed(seed, &k) < 0 || seal_new(key, "fuzz", k, boot_nonce, &s) < 0)
		abort();
	node_key_free(k);
	return s;
}

static void round_trip(struct seal *a, struct seal *b, const uint8_t *msg, size_t len)
{
	static uint8_t box[GOSSIP_STREAM_MAX + SEAL_OVERHEAD], out[GOSSIP_STREAM_MAX];
	struct gossip_sender from;
	int n = seal_message(a, GOSSIP_STREAM, msg, len, box, sizeof(box));
	size_t at;

	if (n < 0) {
		if (len <= GOSSIP_STREAM_MAX)
			abort();
		return;
	}
	at = len < 2 ? 0 : (size_t)(msg[0] << 8 | msg[1]) % (size_t)n;
	box[at] ^= 1;
	if (seal_open_message(b, GOSSIP_STREAM, box, (size_t)n, out, sizeof(out), &from) >= 0)
		abort();
	box[at] ^= 1;
	if (seal_open_message(b, GOSSIP_STREAM, box, (size_t)n, out, sizeof(out), &from) !=
	    (int)len)
		abort();
	if (len > 0 && memcmp(out, msg, len) != 0)
		abort();
	if (seal_open_message(b, GOSSIP_STREAM, box, (size_t)n, out, sizeof(out), &from) >= 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct seal *a, *b;
	struct gossip_sender from;

	if (!a) {
		a = make(1, 1);
		b = make(2, 2);
	}
	if (size == 0)
		return 0;
	if (data[0] == 3) {
		struct keyring_told t;

		if (keyring_told_decode(data + 1, size - 1, &t) == 0 && t.count > SEAL_KEYS_MAX)
			abort();
	} else if (data[0] == 2) {
		round_trip(a, b, data + 1, size - 1);
	} else {
		/* as much room as the caller has, on the heap: a byte too many shows */
		enum gossip_via via = data[0] & 1 ? GOSSIP_STREAM : GOSSIP_DGRAM;
		size_t cap = via == GOSSIP_DGRAM ? GOSSIP_DGRAM_MAX : GOSSIP_STREAM_MAX;
		uint8_t *out = malloc(cap);

		if (!out)
			abort();
		(void)seal_open_message(b, via, data + 1, size - 1, out, cap,
					&from); /* any answer, no crash */
		free(out);
	}
	return 0;
}
