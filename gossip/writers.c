/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include "gossip/writers.h"

#include <errno.h>
#include <string.h>

#include "gossip/record.h"

/* Of what is signed, a record begins with this, then its kind (docs/WIRE.md). */
static const char record_domain[] = "edge-record-v1";

static bool is_guarded(const struct writers *w, const uint8_t *msg, size_t len)
{
	uint8_t kind;

	if (len <= sizeof(record_domain) || memcmp(msg, record_domain, sizeof(record_domain)) != 0)
		return false;
	kind = msg[sizeof(record_domain)];
	return kind >= 64 && kind < 128 && (w->guarded >> (kind - 64) & 1);
}

static bool is_writer(const struct writers *w, const struct node_id *id)
{
	for (size_t i = 0; i < w->count; i++)
		if (node_id_cmp(&w->id[i], id) == 0)
			return true;
	return false;
}

static int guard_sign(void *arg, const uint8_t *msg, size_t len, uint8_t sig[NODE_SIG_BYTES])
{
	struct writers *w = arg;

	if (is_guarded(w, msg, len) && !is_writer(w, &w->self))
		return -EPERM;
	return w->inner.sign(w->inner.arg, msg, len, sig);
}

static int guard_verify(void *arg, const uint8_t pub[NODE_PUB_BYTES], const uint8_t *msg,
			size_t len, const uint8_t sig[NODE_SIG_BYTES])
{
	struct writers *w = arg;
	struct node_id id;

	w->inner.id_of(w->inner.arg, pub, &id);
	if (is_guarded(w, msg, len) && !is_writer(w, &id))
		return -EBADMSG;
	return w->inner.verify(w->inner.arg, pub, msg, len, sig);
}

static void guard_id_of(void *arg, const uint8_t pub[NODE_PUB_BYTES], struct node_id *ret_id)
{
	struct writers *w = arg;

	w->inner.id_of(w->inner.arg, pub, ret_id);
}

static void guard_hash(void *arg, const uint8_t *msg, size_t len, uint8_t ret[16])
{
	struct writers *w = arg;

	w->inner.hash(w->inner.arg, msg, len, ret);
}

void writers_guard(struct writers *w, const struct node_id *self, struct gossip_signer *signer)
{
	w->self = *self;
	if (w->count == 0)
		return;
	w->inner = *signer;
	*signer = (struct gossip_signer){.arg = w,
					 .sign = guard_sign,
					 .verify = guard_verify,
					 .id_of = guard_id_of,
					 .hash = guard_hash};
}

/* A sum of parts, for their order must not matter; ids are hashes already. */
void writers_sum(const struct writers *w, uint8_t ret_sum[WRITERS_SUM_BYTES])
{
	uint64_t sum = w->count;

	for (size_t i = 0; i < w->count; i++)
		for (size_t b = 0; b < 8; b++)
			sum += (uint64_t)(w->id[i].b[b] ^ w->id[i].b[8 + b]) << (8 * b);
	memcpy(ret_sum, &sum, WRITERS_SUM_BYTES);
}
