/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The versions of the protocol that this build speaks, alone in a file: tests link daemons that speak others. */
#include "gossip/version.h"

#ifndef VERSION_BUILT
#define VERSION_BUILT WIRE_VERSION > 1 ? WIRE_VERSION - 1 : 1, WIRE_VERSION
#endif

const struct version_range version_built = {VERSION_BUILT};
