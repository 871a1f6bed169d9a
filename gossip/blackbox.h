/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/blackbox.h - the last minutes of what a core was told, in a file of fixed size, and playing them back.
 *
 * Two halves, used in turn. A half begins with the birth of the core or with a copy of it (its arena), and holds everything
 * that it was told from there on, in order; of what it gave out, a hash of each packet; and now and then its digest. The
 * file is mapped: what was written outlives kill -9, and the disk gets it when the kernel likes.
 *
 * Secrets   none of this node's: no keys, what is signed is public. Records stand there as they do in the store. Mode 0600
 * Before    the box of the process before this one is kept as PATH.old
 * Limits    a core whose copy is larger than half a half is not copied: that half can be read, not played
 * Same      what plays must be built from the same source: copies and structs are as they lie in memory
 * Threads   the core's
 */
#ifndef GOSSIP_BLACKBOX_H
#define GOSSIP_BLACKBOX_H

#include "gossip/gossip.h"

#define BLACKBOX_BYTES (8u << 20)
#define BLACKBOX_BYTES_MIN (1u << 20)

struct blackbox;
/* bytes: 0 = BLACKBOX_BYTES. */
int blackbox_open(const char *path, size_t bytes, struct blackbox **ret_box, struct err *e);
/* Before gossip_core_new(): the core is born into the arena, signs through the box, and tells it everything. The box outlives
 * the core. */
void blackbox_attach(struct blackbox *b, struct gossip_config *cfg);
/* NULL-safe. The file stays. */
void blackbox_close(struct blackbox *b);
/* What is written, since it was opened. */
uint64_t blackbox_bytes(const struct blackbox *b);

/* ---- playing: gossip/blackbox_play.c. There must be no arena in this process. */
struct blackbox_step {
	uint64_t at; /* place in the file */
	struct gossip_input in;
	bool has_core; /* what stands there was done: the core is as it was after it */
};
struct blackbox_report {
	uint64_t steps, packets, events, digests; /* compared */
	uint64_t copies; /* of the core, that it went on from; 0 = from its birth */
	uint64_t first_ms, last_ms;
	bool is_played; /* else only read: no copy to begin with */
};
/* `pure`: id_of and hash as the core had them; signatures stand in the box. step_cb may be NULL; the core may be looked at
 * in it. 0 | -EBADMSG the file is damaged | -EPROTONOSUPPORT made by another build | -EILSEQ it did not come out the same */
int blackbox_play(const char *path, const struct gossip_signer *pure,
		  void (*step_cb)(const struct gossip_core *c, const struct blackbox_step *s,
				  void *arg),
		  void *arg, struct blackbox_report *ret_report, struct err *e);

#endif
