/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Gossip messages: what decodes must walk to the end of every list, as the core does, and each record must survive the
 * checks that precede its use. */
#include <stdlib.h>

#include "gossip/record_table.h"
#include "gossip/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk_records(struct wire_list *l)
{
	uint8_t signed_bytes[RECORD_SIGNED_MAX];
	struct record r;
	size_t n = 0;

	while (wire_next_record(l, &r)) {
		struct floor f;
		struct head h;

		/* What gossip itself reads, of whatever kind it is here. */
		if (head_decode(&r, &h) == 0 && h.gc > r.seq)
			abort();
		if (floor_decode(&r, &f) &&
		    (f.to >= r.seq || f.list_len > r.value_len ||
		     (f.list_len &&
		      (f.list < r.value || f.list + f.list_len > r.value + r.value_len))))
			abort();
		if (record_check(&r) == 0 &&
		    record_signed_bytes(&r, signed_bytes, sizeof(signed_bytes)) <= 0)
			abort();
		n++;
	}
	return n;
}

static void walk(struct wire_msg *m, size_t size)
{
	struct wire_shared_key key;
	struct wire_origin origin;
	struct wire_delta delta;
	struct wire_card card;
	struct wire_vote vote;
	struct wire_seen seen;
	size_t n = walk_records(&m->records);

	while (wire_next_card(&m->cards, &card)) {
		uint8_t buf[WIRE_CARD_SIGNED_MAX];

		if (wire_card_signed_bytes(&card, buf) > sizeof(buf))
			abort();
		n++;
	}
	while (wire_next_vote(&m->votes, &vote))
		n++;
	while (wire_next_seen(&m->seen, &seen))
		n++;
	while (wire_next_origin(&m->origins, &origin))
		n++;
	while (wire_next_key(&m->keys, &key))
		n++;
	while (wire_next_delta(&m->deltas, &delta))
		n += 1 + walk_records(&delta.records);
	if (n > size) /* every element takes a byte at least */
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_msg m;

	if (wire_decode(data, size, &m) == 0)
		walk(&m, size);
	return 0;
}
