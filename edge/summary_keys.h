/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* edge/summary_keys.h - bits of a summary's numbers (docs/WIRE.md). For edge/summary*.c alone. */
#ifndef EDGE_SUMMARY_KEYS_H
#define EDGE_SUMMARY_KEYS_H

/* "f" of a node */
#define SUMMARY_EDGE 1u
#define SUMMARY_WORKER 2u
#define SUMMARY_FORWARDER 4u

/* "f" of a way: its health in the lowest two bits */
#define SUMMARY_HEALTH 3u
#define SUMMARY_CHECKED 4u
#define SUMMARY_DRAINING 8u

#endif
