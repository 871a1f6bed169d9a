#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# What each program costs: instructions as loaded, bytes of machine code, and instructions that the verifier walked
# (its limit is 1,000,000). Needs root; leaves nothing loaded.
set -eu
out=${OUT:-build/std}
mkdir -p "$out/tests/bpf"
gcc -O2 -Wall -o "$out/tests/bpf/stats" tests/bpf/stats.c $(pkg-config --cflags --libs libbpf) -lelf -lz
exec "$out/tests/bpf/stats" "$out/bpf/dp.bpf.o"
