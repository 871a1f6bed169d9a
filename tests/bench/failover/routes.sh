#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# From an event to the last map write of one edge that knows SERVICES services (1,000) of BACKENDS backends (100) on NODES nodes (100).
set -u
OUT=${OUT:-build/std}
[ "$(id -u)" -eq 0 ] || {
	echo "bench: got user $(id -un), want root: BPF maps need it" >&2
	exit 1
}
dir=$(mktemp -d /run/edge-bench-XXXXXX)
clean() {
	umount "$dir" 2>/dev/null
	rmdir "$dir"
}
trap clean EXIT
trap 'exit 130' INT TERM
mount -t bpf bpf "$dir" || exit 1
"$OUT/tests/bench/failover/routes" "${SERVICES:-1000}" "${BACKENDS:-100}" "${NODES:-100}" "${EVENTS:-30}" "$dir/pins" 2>"$dir.err"
rc=$?
grep '^# ' "$dir.err" >&2
[ $rc -eq 0 ] || tail -n 5 "$dir.err" >&2
rm -f "$dir.err"
exit $rc
