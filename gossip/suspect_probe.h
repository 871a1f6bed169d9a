/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* gossip/suspect_probe.h - probes of every kind; what they find out goes to suspect.c as a vote, a state or local health.
 *
 * Own       PROBE -> ack. None in time: a burst of direct probes, requests to three helpers and data-path pings every 30 ms for
 *           120 ms. Then: an ack by anyone ends it; only the kernel answered: headless; nothing did: a vote.
 * Asked     a probe for somebody else; what comes back is passed on
 * Retry     one probe without consequences when it fails
 * Late      a failed burst whose answer would still tell how far it is
 * Challenge, join   to addresses whose node we don't know
 */
#ifndef GOSSIP_SUSPECT_PROBE_H
#define GOSSIP_SUSPECT_PROBE_H

#include "gossip/core.h"

#define PROBE_INTERVAL_MS 225
#define ASKED_FRESH_MS 1000 /* a helper's probe older than this says nothing about now */
#define PROBE_WARM_MS 60000 /* heard so lately: the tunnel between us is up */
#define JOIN_WAIT_MS 500
#define JOIN_WAIT_MAX_MS 5000

/* How far it is, as far as we know: measured, or else as its region's others. */
uint64_t probe_rtt_ms(const struct gossip_core *c, const struct member *m);
/* Does silence say something of it? A tunnel that was not in use for minutes has to be made anew, and until then loses all. */
bool probe_is_path_known(const struct gossip_core *c, const struct member *m);
void probe_start(struct gossip_core *c, struct member *m);
void probe_burst(struct gossip_core *c, struct member *m);
void probe_once(struct gossip_core *c, struct member *m);
/* The same once more, if it is not answered yet. */
void probe_again(struct gossip_core *c, struct member *m);
/* An ack that shows nothing but the card that we know its sender by. */
void probe_ack_held(struct gossip_core *c, struct member *m, const struct gossip_addr *addr,
		    uint64_t cookie);
/* It goes: nothing may point to it. */
void probe_forget(struct gossip_core *c, struct member *m);
void probe_join(struct gossip_core *c);
void probe_tick(struct gossip_core *c);
uint64_t probe_deadline(const struct gossip_core *c);
void probe_void_all(struct gossip_core *c);
/* We did not run for a while: probes that are out prove nothing, but those of who was asked for long. */
void probe_void(struct gossip_core *c);
/* It was asked for seconds in which we ran, and did not answer once. */
bool probe_is_unheard(const struct gossip_core *c, const struct member *m);

/* suspect.c */
void suspect_cast_vote(struct gossip_core *c, struct member *m);
void suspect_health(struct gossip_core *c, int change);

#endif
