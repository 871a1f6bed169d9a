/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* tests/sim/sim_mayhem.h - what goes wrong, drawn from the simulation's own numbers: processes and machines that die, leave, come back
 * with a lost disk, a wrong clock or another address, freeze or are slow; splits, cuts one way and both, loss, damage; many deletions,
 * half of all at once. Each act goes into the story (sim_watch.h).
 */
#ifndef SIM_MAYHEM_H
#define SIM_MAYHEM_H

#include "tests/sim/sim_cluster.h"

#define SIM_MAYHEM_KEYS 8
#define SIM_MAYHEM_GC_KEYS (CORE_TOMBSTONES_MAX + 20)

/* Up to five records are written or deleted by whoever runs. */
void sim_mayhem_write(struct sim *s);
/* One act. */
void sim_mayhem(struct sim *s);
/* All is well again: the network is whole, everyone runs. */
void sim_mayhem_end(struct sim *s);

#endif
